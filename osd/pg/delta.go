package pg

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
)

// A learner that is brought by the log gets only what changed within an object (a delta), if the log
// still tells what that was. Why that is enough:
//
//   - An entry with `partial` says that the object was there before, and names all that its write changed. So
//     does the union of several. Everything else of the object is as it was before the first of them.
//   - The learner has every object as of some position between base, where it was complete, and now: an
//     object that it needs is changed only by pushes, a whole one moves in place as a whole, and a delta
//     is one batch. Whatever it got in earlier, interrupted attempts, from whomever, outside of the
//     union is as it is here. It may also have got a write that we do not have. Then it has an entry that we do
//     not have, and gets whole objects only; once that entry is dropped, it remembers that nobody can tell
//     (state.scan).
//   - What is read is read while the object stands still, and writes that come later follow on the stream.

// Limits of what one entry describes: beyond them it stands for the whole object.
const (
	describeExtents   = 32
	describeNames     = 64   // keys and attributes
	describeNameBytes = 2048 // of all of them
)

// Limits of a delta: beyond them the whole object goes. It is one message and one batch.
const (
	deltaExtents = 2048
	deltaNames   = 4096
	deltaBytes   = 4 << 20 // data, names and values
)

// Extent is a range of an object's data. Len 0: up to the object's end.
type Extent struct{ Off, Len uint64 }

// end is where the extent ends in an object of that size, or in any.
func (x Extent) end(size uint64) uint64 {
	if x.Len == 0 || x.Len > math.MaxUint64-x.Off {
		return size
	}
	return min(size, x.Off+x.Len)
}

// Parts names parts of an object for a Read: ranges of its data and some of its attributes and omap keys.
type Parts struct {
	Extents     []Extent // in order, without overlaps
	Attrs, Keys [][]byte
	MaxBytes    uint64 // more than that is not wanted
}

// merge sorts extents and joins those that touch.
func merge(all []Extent) []Extent {
	slices.SortFunc(all, func(a, b Extent) int {
		if a.Off < b.Off {
			return -1
		}
		if a.Off > b.Off {
			return 1
		}
		return 0
	})
	out := all[:0]
	for _, x := range all {
		end := x.end(math.MaxUint64)
		if n := len(out); n > 0 && x.Off <= out[n-1].end(math.MaxUint64) {
			last := &out[n-1]
			if end = max(end, last.end(math.MaxUint64)); end == math.MaxUint64 {
				last.Len = 0
			} else {
				last.Len = end - last.Off
			}
			continue
		}
		out = append(out, x)
	}
	return out
}

// unique sorts names and drops repetitions.
func unique(all [][]byte) [][]byte {
	slices.SortFunc(all, bytes.Compare)
	return slices.CompactFunc(all, bytes.Equal)
}

// describe notes in an entry what a write changes of an object that exists, unless that is too
// much or cannot be said: then the entry stands for the whole object.
func describe(e *wirepb.LogEntry, ops []store.Op) {
	var t Parts
	for i := range ops {
		op := &ops[i]
		switch op.Kind {
		case store.OpWrite:
			if len(op.Data) > 0 {
				t.Extents = append(t.Extents, Extent{op.Off, uint64(len(op.Data))})
			}
		case store.OpZero:
			if op.Len > 0 {
				t.Extents = append(t.Extents, Extent{op.Off, op.Len})
			}
		case store.OpTruncate:
			if op.Off == 0 {
				return // it is written anew
			}
			// Shorter or longer: whatever is behind that some day is not what was there before.
			t.Extents = append(t.Extents, Extent{Off: op.Off})
		case store.OpSetAttr, store.OpRmAttr:
			t.Attrs = append(t.Attrs, op.Name)
		case store.OpOmapSet, store.OpOmapRm:
			t.Keys = append(t.Keys, op.Name)
		default:
			return
		}
	}
	t.Extents, t.Attrs, t.Keys = merge(t.Extents), unique(t.Attrs), unique(t.Keys)
	n := 0
	for _, names := range [][][]byte{t.Attrs, t.Keys} {
		for _, name := range names {
			n += len(name)
		}
	}
	if len(t.Extents) > describeExtents || len(t.Attrs)+len(t.Keys) > describeNames || n > describeNameBytes {
		return
	}
	e.Partial, e.Extents, e.Attrs, e.Keys = true, extentsOut(t.Extents), t.Attrs, t.Keys
}

func extentsOut(all []Extent) []uint64 {
	out := make([]uint64, 0, 2*len(all))
	for _, x := range all {
		out = append(out, x.Off, x.Len)
	}
	return out
}

// extentsIn is the inverse of extentsOut; half a pair counts for nothing.
func extentsIn(all []uint64) []Extent {
	out := make([]Extent, 0, len(all)/2)
	for i := 0; i+1 < len(all); i += 2 {
		out = append(out, Extent{all[i], all[i+1]})
	}
	return out
}

// since returns the entries of an object behind a position.
func (l *pgLog) since(name string, seq uint64) []*wirepb.LogEntry {
	list := l.byName(name)
	i, _ := slices.BinarySearchFunc(list, seq+1, func(e *wirepb.LogEntry, seq uint64) int {
		switch s := e.Pos.GetSeq(); {
		case s < seq:
			return -1
		case s > seq:
			return 1
		}
		return 0
	})
	return list[i:]
}

// partial reports whether the log tells all that has changed within an object since a position.
func (l *pgLog) partial(name string, base store.Version) bool {
	list := l.since(name, base.Seq)
	return len(list) > 0 && l.tail.Seq <= base.Seq && !slices.ContainsFunc(list, func(e *wirepb.LogEntry) bool { return !e.Partial })
}

// deltaFor says which parts of an object a learner lacks, nil if it needs all of it. The object is
// locked: all that changed it is in the log.
func (g *Group) deltaFor(p *peer, name string) *Parts {
	if p.phase != learning || !p.deltas {
		return nil
	}
	base := p.base
	if g.cfg.is(DeltaAfterTrim) {
		base.Seq = max(base.Seq, g.log.tail.Seq)
	}
	if !g.log.partial(name, base) {
		return nil
	}
	list := g.log.since(name, base.Seq)
	if g.cfg.is(ForgetTouched) {
		list = list[len(list)-1:]
	}
	t := &Parts{MaxBytes: deltaBytes}
	for i, e := range list {
		t.Extents = append(t.Extents, extentsIn(e.Extents)...)
		t.Attrs = append(t.Attrs, e.Attrs...)
		t.Keys = append(t.Keys, e.Keys...)
		if i%64 == 63 || i == len(list)-1 { // so that a list of many entries stays short
			t.Extents, t.Attrs, t.Keys = merge(t.Extents), unique(t.Attrs), unique(t.Keys)
			if len(t.Extents) > deltaExtents || len(t.Attrs)+len(t.Keys) > deltaNames {
				return nil
			}
		}
	}
	return t
}

// onDelta takes in what changed within an object. It is one batch, so nobody sees half of it, and
// an interruption leaves the object as it was.
//
// The parts would be made into an object of their own if ours did not exist. That cannot be: the first
// entry since completeTo is partial, so the object was there at that position, where our
// objects were complete; and no entry since has removed it. We look that up in our own log and do not take
// the primary's word for it; where we cannot, we ask for whole objects.
func (g *Group) onDelta(p *wirepb.PGPush, payload []byte) {
	name, base := string(p.Object), fromPos(p.Base)
	if p.Staged || !fitName(p.Object) {
		g.reject("changed parts of an object do not fit")
		return
	}
	sure := g.log.has(g.st.completeTo) && base.Seq <= g.st.completeTo.Seq && g.log.partial(name, g.st.completeTo)
	ops, ok := g.opsDelta(p, payload)
	if !ok || g.st.complete || g.st.scan || !g.fol.live || !sure && !g.cfg.is(DeltaAfterTrim) {
		g.answerDurable(&wirepb.PGMsg_Pushed{Pushed: &wirepb.PGPushed{Id: p.Id, Object: p.Object, Failed: true}})
		return
	}
	delete(g.fol.pushing, name)
	g.persist(ops, nil)
	g.fx.Persist[len(g.fx.Persist)-1].Reserve = false // as for whole objects
	g.answerDurable(&wirepb.PGMsg_Pushed{Pushed: &wirepb.PGPushed{Id: p.Id, Object: p.Object}})
}

// opsDelta turns a delta into changes; it reports false if it makes no sense, or is more than
// a batch may hold.
func (g *Group) opsDelta(p *wirepb.PGPush, payload []byte) ([]store.Op, bool) {
	key := g.objKey(string(p.Object))
	var ops []store.Op
	for _, kv := range p.Attrs {
		ops = append(ops, store.Op{Kind: store.OpSetAttr, Key: key, Name: kv.Key, Value: kv.Value})
	}
	for _, name := range p.RmAttrs {
		ops = append(ops, store.Op{Kind: store.OpRmAttr, Key: key, Name: name})
	}
	for _, x := range extentsIn(p.Extents) {
		if x.Len == 0 || x.Len > uint64(len(payload)) || x.Off > p.Size || x.Len > p.Size-x.Off {
			return nil, false
		}
		ops = append(ops, store.Op{Kind: store.OpWrite, Key: key, Off: x.Off, Data: payload[:x.Len]})
		payload = payload[x.Len:]
	}
	for _, kv := range p.Omap {
		ops = append(ops, store.Op{Kind: store.OpOmapSet, Key: key, Name: kv.Key, Value: kv.Value})
	}
	for _, name := range p.RmKeys {
		ops = append(ops, store.Op{Kind: store.OpOmapRm, Key: key, Name: name})
	}
	ops = append(ops,
		store.Op{Kind: store.OpTruncate, Key: key, Off: p.Size},
		store.Op{Kind: store.OpSetVersion, Key: key, Version: fromPos(p.Version), Mtime: p.Mtime},
		store.Op{Kind: store.OpRemove, Key: g.stagedKey(string(p.Object))}) // of a push that was given up
	return ops, len(payload) == 0 && refusal(ops) == nil
}

// keysAtOnce bounds the values that are read before they are counted.
const keysAtOnce = 64

// readParts answers a Read with Parts.
func readParts(st store.Reader, k store.Key, info store.Info, t *Parts) (Piece, error) {
	p := Piece{Info: info, Last: true}
	n := uint64(0)
	for _, x := range t.Extents {
		if end := x.end(info.Size); end > x.Off {
			p.Extents = append(p.Extents, Extent{x.Off, end - x.Off})
			n += end - x.Off
		}
	}
	for _, name := range t.Attrs {
		v, err := st.Attr(k, name)
		switch {
		case errors.Is(err, store.ErrNotFound):
			p.RmAttrs = append(p.RmAttrs, name)
		case err != nil:
			return p, err
		default:
			p.Attrs = append(p.Attrs, store.KV{Key: name, Value: v})
		}
		n += uint64(len(name) + len(v))
	}
	for keys := range slices.Chunk(t.Keys, keysAtOnce) {
		if n > t.MaxBytes {
			break
		}
		kvs, err := st.OmapGet(k, keys)
		if err != nil {
			return p, err
		}
		for _, key := range keys {
			n += uint64(len(key))
			i := slices.IndexFunc(kvs, func(kv store.KV) bool { return bytes.Equal(kv.Key, key) })
			if i < 0 {
				p.RmKeys = append(p.RmKeys, key)
				continue
			}
			p.Omap = append(p.Omap, kvs[i])
			n += uint64(len(kvs[i].Value))
		}
	}
	if n > t.MaxBytes {
		return Piece{Info: info, TooMuch: true}, nil
	}
	for _, x := range p.Extents {
		data, err := st.Read(k, x.Off, x.Len)
		if err != nil {
			return p, err
		}
		if uint64(len(data)) != x.Len {
			return p, fmt.Errorf("read %s: %d bytes at %d, want %d: %w", k, len(data), x.Off, x.Len, store.ErrCorrupt)
		}
		if len(p.Extents) == 1 {
			p.Data = data
			break
		}
		p.Data = append(p.Data, data...)
	}
	return p, nil
}
