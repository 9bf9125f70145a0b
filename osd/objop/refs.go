package objop

import (
	"fmt"
	"math"
	"slices"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
)

// References to chunks lie in the object's omap (chunk.Ref), where clients do not see them. Their ranges do not overlap
// and lie within the object's size; each leaves some byte bare, or it would not be there. What a write gives the object
// bytes of its own for is covered from then on; what a SET_REF replaces, or a TRUNCATE cuts off, is cut off
// of references. One with nothing left is lost, and if no other part of it is left either, it is one of Outcome.Drops.

// MaxRefs is how many references an object may have when another one is set.
const MaxRefs = 16384

// refs is what the writes of a request know of the object's references, and have done to them. Only those are read that lie
// where the writes do.
type refs struct {
	from, to uint64    // those that touch this range are known
	gone     bool      // the object was removed meanwhile: the store's do not count any more
	keys     []string  // of those read, sorted, as the store has them
	live     []liveRef // as the writes so far leave them, in order
	lost     []liveRef
	drops    []chunk.Dropped
}

type liveRef struct {
	chunk.Ref
	changed bool // the store does not have it like this
}

func (r *liveRef) touches(from, to uint64) bool { return r.Range.From < to && r.Range.To > from }

func (r *liveRef) dropped() chunk.Dropped { return chunk.Dropped{Chunk: r.Chunk, Nonce: r.Nonce} }

// mayRefer reports whether there can be references, in the store or by what the request did.
func (e *executor) mayRefer() bool { return e.refs != nil || e.before.OmapKeys > 0 }

// scan calls f for the references in the store that touch a range, in order, with their keys and encodings.
func (e *executor) scan(i int, from, to uint64, f func(ref chunk.Ref, kv store.KV)) *Error {
	// As many at a time as there would be of small ones.
	page := int(min((to-from)>>16+2, 256))
	for start := []byte(chunk.RefKeyFrom(from)); ; {
		kvs, more, err := e.r.OmapList(e.k, start, []byte(chunk.RefKeysEnd), page)
		if err != nil {
			return e.readError(i, "references", err)
		}
		for _, kv := range kvs {
			ref, err := chunk.DecodeRef(kv.Value)
			if err != nil {
				return &Error{Code: wirepb.Code_INTERNAL, Index: i, Text: fmt.Sprintf("%s: %v", e.k, err)}
			}
			if ref.Range.From >= to {
				return nil
			}
			f(ref, kv)
		}
		if !more || len(kvs) == 0 {
			return nil
		}
		start = append(kvs[len(kvs)-1].Key, 0)
	}
}

// know reads the references that touch a range, unless they are known.
func (e *executor) know(i int, from, to uint64) *Error {
	s := e.refs
	if s == nil {
		s = &refs{gone: !e.existed || e.before.OmapKeys == 0}
		e.refs = s
	}
	if s.gone {
		return nil
	}
	if s.from == s.to {
		if err := e.learn(i, from, to); err != nil {
			return err
		}
		s.from, s.to = from, to
		return nil
	}
	// Who asks for one range after the other gets to know more each time, or there would be as many listings.
	wide := s.to - s.from
	if from < s.from {
		from = min(from, s.from-min(s.from, wide))
		if err := e.learn(i, from, s.from); err != nil {
			return err
		}
		s.from = from
	}
	if to > s.to {
		to = max(to, s.to+min(wide, math.MaxUint64-s.to))
		if err := e.learn(i, s.to, to); err != nil {
			return err
		}
		s.to = to
	}
	return nil
}

func (e *executor) learn(i int, from, to uint64) *Error {
	s := e.refs
	return e.scan(i, from, to, func(ref chunk.Ref, kv store.KV) {
		key := string(kv.Key)
		at, known := slices.BinarySearch(s.keys, key)
		if known {
			return // and perhaps changed
		}
		s.keys = slices.Insert(s.keys, at, key)
		s.insert(liveRef{Ref: ref})
	})
}

// insert puts a reference in its place; it overlaps no other.
func (s *refs) insert(r liveRef) {
	at, _ := slices.BinarySearchFunc(s.live, r.Range.From, func(x liveRef, from uint64) int {
		if x.Range.From < from {
			return -1
		}
		return 1
	})
	s.live = slices.Insert(s.live, at, r)
}

// replace lets f say what becomes of each reference that touches a range.
func (e *executor) replace(i int, from, to uint64, f func(liveRef) []liveRef) *Error {
	if from >= to || !e.mayRefer() {
		return nil
	}
	if err := e.know(i, from, to); err != nil {
		return err
	}
	s := e.refs
	for n := 0; n < len(s.live); {
		r := s.live[n]
		if !r.touches(from, to) {
			n++
			continue
		}
		left := slices.DeleteFunc(f(r), func(p liveRef) bool { return len(p.Covered) == 1 && p.Covered[0] == p.Range })
		for k := range left {
			// A piece that is alone is what the reference was; with others it shares the nonce.
			left[k].changed, left[k].Split = true, r.Split || len(left) > 1
		}
		if len(left) == 0 {
			s.lost = append(s.lost, r)
		}
		s.live = slices.Replace(s.live, n, n+1, left...)
		n += len(left)
	}
	return nil
}

// coverRefs notes that the object has bytes of its own in a range.
func (e *executor) coverRefs(i int, from, to uint64) *Error {
	return e.replace(i, from, to, func(r liveRef) []liveRef {
		r.Covered = slices.Clone(r.Covered)
		r.Cover(chunk.Range{From: from, To: to})
		if len(r.Covered) <= chunk.MaxCovered {
			return []liveRef{r}
		}
		// Between two covered parts there is a bare one, so both halves have something left.
		a, b := r.Cut(r.Covered[len(r.Covered)/2].From)
		return []liveRef{{Ref: a}, {Ref: b}}
	})
}

// cutRefs takes a range out of references.
func (e *executor) cutRefs(i int, from, to uint64) *Error {
	return e.replace(i, from, to, func(r liveRef) []liveRef {
		var left []liveRef
		if r.Range.From < from {
			a, _ := r.Cut(from)
			left = append(left, liveRef{Ref: a})
		}
		if r.Range.To > to {
			_, b := r.Cut(to)
			left = append(left, liveRef{Ref: b})
		}
		return left
	})
}

// loseRefs takes in that the object is removed.
func (e *executor) loseRefs(i int) *Error {
	if !e.mayRefer() {
		return nil
	}
	if err := e.know(i, 0, math.MaxUint64); err != nil {
		return err
	}
	s := e.refs
	s.lost = append(s.lost, s.live...)
	s.live, s.keys, s.gone = nil, nil, true
	return nil
}

// hasRefs reports whether the object has references in the store.
func (e *executor) hasRefs(i int) (bool, *Error) {
	if e.before.OmapKeys == 0 {
		return false, nil
	}
	kvs, _, err := e.r.OmapList(e.k, []byte(chunk.RefKeys), []byte(chunk.RefKeysEnd), 1)
	if err != nil {
		return false, e.readError(i, "references", err)
	}
	return len(kvs) > 0, nil
}

// setRef makes a range of the object that of a chunk.
func (e *executor) setRef(i int, op *wirepb.ObjOp) *Error {
	ref, err := refOf(i, op, e.k.Name)
	if err != nil {
		return err
	}
	void, err := e.hasRecord(i, chunk.VoidRefName(ref.Nonce, e.k.Name))
	if err != nil {
		return err
	}
	if void {
		return conflict(i, "reference %s was declared void: it was given up before it was set; make another one", ref.Nonce)
	}
	from, to := ref.Range.From, ref.Range.To
	if err := e.know(i, from, to); err != nil {
		return err
	}
	if e.before.OmapKeys >= MaxRefs {
		if err := e.know(i, 0, math.MaxUint64); err != nil {
			return err
		}
	}
	if len(e.refs.live) >= MaxRefs {
		return invalid(i, "the object has %d references to chunks: at most %d; write it anew in larger chunks", len(e.refs.live), MaxRefs)
	}
	for k := range e.refs.live {
		// The same again replaces itself.
		if r := &e.refs.live[k]; r.Nonce == ref.Nonce && r.touches(from, to) && (r.Range.From < from || r.Range.To > to) {
			return invalid(i, "reference %s is one to bytes %d to %d already: a nonce names one reference", ref.Nonce, r.Range.From, r.Range.To)
		}
	}
	if err := e.cutRefs(i, from, to); err != nil {
		return err
	}
	if e.exists && from < e.size {
		e.emit(store.Op{Kind: store.OpZero, Off: from, Len: min(to, e.size) - from})
	}
	if !e.exists || e.size < to {
		e.create()
		e.emit(store.Op{Kind: store.OpTruncate, Off: to})
		e.size = to
	}
	e.refs.insert(liveRef{Ref: ref, changed: true})
	return nil
}

// finishRefs emits what has changed of references, and finds out which are dropped.
func (e *executor) finishRefs() *Error {
	s := e.refs
	if s == nil {
		return nil
	}
	if slices.ContainsFunc(s.lost, func(r liveRef) bool { return r.Split }) {
		// Other parts may lie anywhere.
		if err := e.know(-1, 0, math.MaxUint64); err != nil {
			return err
		}
	}
	if len(s.lost) > 0 {
		seen := make(map[chunk.Dropped]bool, len(s.live)+len(s.lost))
		for k := range s.live {
			seen[s.live[k].dropped()] = true
		}
		for k := range s.lost {
			if d := s.lost[k].dropped(); !seen[d] {
				seen[d] = true
				s.drops = append(s.drops, d)
			}
		}
	}
	kept := make(map[string]bool, len(s.live))
	for k := range s.live {
		kept[s.live[k].Key()] = true
	}
	for _, key := range s.keys {
		if !kept[key] {
			e.emit(store.Op{Kind: store.OpOmapRm, Name: []byte(key)})
		}
	}
	for k := range s.live {
		if r := &s.live[k]; r.changed {
			e.emit(store.Op{Kind: store.OpOmapSet, Name: []byte(r.Key()), Value: r.Append(nil)})
		}
	}
	return nil
}

// readAround answers a READ of bytes some of which chunks have; done is false if none have.
func (e *executor) readAround(i int, off, n uint64, res *wirepb.ObjResult) (done bool, _ *Error) {
	end, at := off+n, off
	var own uint64
	var over *Error
	local := func(to uint64) {
		if at < to {
			res.Local = append(res.Local, at, to-at)
			own += to - at
		}
	}
	err := e.scan(i, off, end, func(ref chunk.Ref, kv store.KV) {
		bare := false
		ref.Bare(chunk.Range{From: off, To: end}, func(x chunk.Range) {
			bare = true
			local(x.From)
			at = x.To
		})
		if bare && over == nil {
			res.Refs = append(res.Refs, kv.Value)
			over = e.spend(i, uint64(len(kv.Value)), true, 1)
		}
	})
	if err != nil {
		return true, err
	}
	if len(res.Refs) == 0 {
		res.Local = nil
		return false, nil
	}
	local(end)
	if over == nil {
		over = e.spend(i, uint64(len(res.Local))*localOverhead, true, 0)
	}
	if over == nil {
		over = e.spend(i, own, e.write, 0)
	}
	if over != nil {
		return true, over
	}
	res.Length = n
	if !e.write {
		res.DataOff, res.DataLen = uint64(len(e.out)), own
	}
	for k := 0; k < len(res.Local); k += 2 {
		data, mem, err := e.readLocal(i, res.Local[k], res.Local[k+1])
		if err != nil {
			return true, err
		}
		if e.write {
			res.Value = append(res.Value, data...)
			mem.Release()
			continue
		}
		e.give(data, mem)
	}
	return true, nil
}

// readRefs answers a READ that asks for references only, those with bytes at its offset or behind it: at most so many as
// its limit says, fewer if those do not fit; all if that is 0.
func (e *executor) readRefs(i int, op *wirepb.ObjOp, n uint64, res *wirepb.ObjResult) *Error {
	if e.before.OmapKeys == 0 {
		return nil
	}
	var over *Error
	err := e.scan(i, op.Offset, op.Offset+n, func(ref chunk.Ref, kv store.KV) {
		switch {
		case res.More || op.Limit > 0 && (uint32(len(res.Refs)) == op.Limit || len(res.Refs) > 0 && !e.fits(uint64(len(kv.Value)))):
			res.More = true
		case over == nil:
			res.Refs = append(res.Refs, kv.Value)
			over = e.spend(i, uint64(len(kv.Value)), true, 1)
		}
	})
	if err != nil {
		return err
	}
	return over
}

// localOverhead is what a number of ObjResult.local takes at most: less than that of any object's range.
const localOverhead = 5
