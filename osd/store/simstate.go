package store

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/cairnstore/cairn/placement"
)

// simObject is an object of a Sim: pages of one block, nil where it is a hole.
// Bytes of the last page beyond size are zero, so growing needs no work.
type simObject struct {
	size    uint64
	version Version
	mtime   int64
	pages   []*simPage
	attrs   []KV // sorted
	omap    []KV // sorted
}

// simPage is a block of data, and how many objects have it: clones share pages.
type simPage struct {
	b     []byte
	users int
	bad   bool // rotten
}

type simSpaceKey struct {
	pg placement.PGID
	sp Space
}

type simSpace struct {
	names []string // sorted
	bytes int64    // sum of the sizes
}

type simState struct {
	objs   map[Key]*simObject
	spaces map[simSpaceKey]*simSpace
	usage  Usage // Data, Omap, Meta, Objects
}

const simObjectCost = 256 // bytes of index an object is charged with

func newSimState() *simState {
	return &simState{objs: map[Key]*simObject{}, spaces: map[simSpaceKey]*simSpace{}}
}

func simReserve(capacity int64) int64 { return capacity / 64 }

func kvCost(kv KV) int64 { return int64(len(kv.Key)+len(kv.Value)) + 32 }

// check decides whether the whole batch can be applied, so that apply cannot
// fail half way.
func (st *simState) check(b *Batch, capacity int64) error {
	if err := checkBatch(b); err != nil {
		return err
	}
	if err := st.checkState(b); err != nil {
		return err
	}
	grow := st.growth(b)
	if grow == 0 || onlyShrinks(b) {
		return nil
	}
	limit := capacity
	switch {
	case usesReserve(b):
	case b.Reserve:
		limit -= simReserve(capacity) / 2
	default:
		limit -= simReserve(capacity)
	}
	if used := st.usage.Data + st.usage.Omap + st.usage.Meta; used+grow > limit {
		return fmt.Errorf("batch needs %d bytes, %d of %d are used: %w", grow, used, capacity, ErrNoSpace)
	}
	return nil
}

// checkState follows which objects exist through the batch: a rename needs its source.
func (st *simState) checkState(b *Batch) error {
	if !slices.ContainsFunc(b.Ops, func(op Op) bool { return op.Kind == OpRename || op.Kind == OpClone }) {
		return nil
	}
	seen := map[Key]bool{}
	wiped := map[simSpaceKey]bool{}
	exists := func(k Key) bool {
		if e, ok := seen[k]; ok {
			return e
		}
		return st.objs[k] != nil && !wiped[simSpaceKey{k.PG, k.Space}]
	}
	for i := range b.Ops {
		op := &b.Ops[i]
		switch op.Kind {
		case OpRemoveSpace:
			sp := simSpaceKey{op.Key.PG, op.Key.Space}
			wiped[sp] = true
			for k := range seen {
				if k.PG == sp.pg && k.Space == sp.sp {
					seen[k] = false
				}
			}
		case OpRemove:
			seen[op.Key] = false
		case OpRename:
			if !exists(op.Key) {
				return fmt.Errorf("rename object %s to %s: %w", op.Key, op.To, ErrNotFound)
			}
			if op.Key != op.To {
				seen[op.Key], seen[op.To] = false, true
			}
		case OpClone:
			if !exists(op.Key) {
				return fmt.Errorf("clone object %s to %s: %w", op.Key, op.To, ErrNotFound)
			}
			seen[op.To] = true
		default:
			seen[op.Key] = true
		}
	}
	return nil
}

// growth is an upper bound of the bytes a batch adds.
func (st *simState) growth(b *Batch) (n int64) {
	clones := int64(0) // made by this batch: what they share may have to be copied, what it sets is theirs too
	for i := range b.Ops {
		op := &b.Ops[i]
		o := st.objs[op.Key]
		switch op.Kind {
		case OpRemove, OpRemoveSpace, OpRename:
			continue
		case OpClone:
			clones++
			if n += simObjectCost; o != nil {
				n += costKVs(o.attrs) + costKVs(o.omap)
			}
			continue
		case OpZero, OpTruncate:
			for _, off := range [2]uint64{op.Off, op.Off + op.Len} {
				if o != nil && (clones > 0 || o.shares(off/blockBytes)) {
					n += blockBytes
				}
			}
		case OpWrite:
			if len(op.Data) > 0 {
				for p := op.Off / blockBytes; p <= (op.Off+uint64(len(op.Data))-1)/blockBytes; p++ {
					if o == nil || clones > 0 || p >= uint64(len(o.pages)) || o.pages[p] == nil || o.shares(p) {
						n += blockBytes
					}
				}
			}
		case OpSetAttr, OpOmapSet:
			n += kvCost(KV{op.Name, op.Value})
		}
		if o == nil {
			n += simObjectCost
		}
	}
	return n * (1 + clones)
}

func (o *simObject) shares(page uint64) bool {
	return page < uint64(len(o.pages)) && o.pages[page] != nil && o.pages[page].users > 1
}

func (st *simState) apply(b *Batch) {
	for i := range b.Ops {
		st.applyOp(&b.Ops[i])
	}
}

func (st *simState) applyOp(op *Op) {
	switch op.Kind {
	case OpRemove:
		st.remove(op.Key)
		return
	case OpRemoveSpace:
		if sp := st.spaces[simSpaceKey{op.Key.PG, op.Key.Space}]; sp != nil {
			for _, name := range slices.Clone(sp.names) {
				st.remove(Key{op.Key.PG, op.Key.Space, name})
			}
		}
		return
	case OpRename:
		if op.Key == op.To {
			return
		}
		o := st.objs[op.Key]
		st.remove(op.To)
		st.detach(op.Key, o)
		st.attach(op.To, o)
		return
	case OpClone:
		st.clone(op)
		return
	}
	o := st.objs[op.Key]
	if o == nil {
		o = &simObject{}
		st.attach(op.Key, o)
	}
	switch op.Kind {
	case OpWrite:
		st.write(op.Key, o, op.Off, op.Data)
	case OpZero:
		st.zero(o, op.Off, op.Len)
	case OpTruncate:
		if op.Off < o.size {
			st.zero(o, op.Off, o.size-op.Off)
			last := (op.Off + blockMask) / blockBytes
			o.pages = slices.Clip(o.pages[:min(uint64(len(o.pages)), last)])
		}
		st.resize(op.Key, o, op.Off)
	case OpSetAttr:
		st.usage.Meta += setKV(&o.attrs, op.Name, op.Value)
	case OpRmAttr:
		st.usage.Meta -= cutKV(&o.attrs, op.Name)
	case OpOmapSet:
		st.usage.Omap += setKV(&o.omap, op.Name, op.Value)
	case OpOmapRm:
		st.usage.Omap -= cutKV(&o.omap, op.Name)
	case OpOmapRmRange:
		from, to := rangeKVs(o.omap, op.Name, op.End)
		st.usage.Omap -= costKVs(o.omap[from:to])
		o.omap = slices.Delete(o.omap, from, to)
	case OpOmapClear:
		st.usage.Omap -= costKVs(o.omap)
		o.omap = nil
	case OpSetVersion:
		o.version, o.mtime = op.Version, op.Mtime
	}
}

func (st *simState) space(k Key) *simSpace {
	sk := simSpaceKey{k.PG, k.Space}
	sp := st.spaces[sk]
	if sp == nil {
		sp = &simSpace{}
		st.spaces[sk] = sp
	}
	return sp
}

// attach gives an object a name and counts it.
func (st *simState) attach(k Key, o *simObject) {
	st.objs[k] = o
	sp := st.space(k)
	i, _ := slices.BinarySearch(sp.names, k.Name)
	sp.names = slices.Insert(sp.names, i, k.Name)
	sp.bytes += int64(o.size)
	if k.Space == Objects {
		st.usage.Objects++
	}
	st.usage.Meta += simObjectCost + costKVs(o.attrs)
	st.usage.Omap += costKVs(o.omap)
}

func (st *simState) detach(k Key, o *simObject) {
	delete(st.objs, k)
	sp := st.space(k)
	if i, ok := slices.BinarySearch(sp.names, k.Name); ok {
		sp.names = slices.Delete(sp.names, i, i+1)
	}
	sp.bytes -= int64(o.size)
	if k.Space == Objects {
		st.usage.Objects--
	}
	st.usage.Meta -= simObjectCost + costKVs(o.attrs)
	st.usage.Omap -= costKVs(o.omap)
}

func (st *simState) remove(k Key) {
	if o := st.objs[k]; o != nil {
		st.detach(k, o)
		for i := range o.pages {
			st.drop(o, uint64(i))
		}
	}
}

// clone makes op.To share all that op.Key has.
func (st *simState) clone(op *Op) {
	if op.Key == op.To {
		return
	}
	st.remove(op.To)
	o := *st.objs[op.Key]
	o.pages = slices.Clone(o.pages)
	for _, p := range o.pages {
		if p != nil {
			p.users++
		}
	}
	o.attrs, o.omap = slices.Clone(o.attrs), slices.Clone(o.omap) // keys and values do not change
	st.attach(op.To, &o)
}

// page returns a page for writing.
func (st *simState) page(o *simObject, i uint64) *simPage {
	p := o.pages[i]
	switch {
	case p == nil:
		p = &simPage{b: make([]byte, blockBytes), users: 1}
	case p.users > 1:
		p.users--
		p = &simPage{b: slices.Clone(p.b), users: 1, bad: p.bad}
	default:
		return p
	}
	st.usage.Data += blockBytes
	o.pages[i] = p
	return p
}

// drop makes a page a hole.
func (st *simState) drop(o *simObject, i uint64) {
	if p := o.pages[i]; p != nil {
		if p.users--; p.users == 0 {
			st.usage.Data -= blockBytes
		}
		o.pages[i] = nil
	}
}

func (st *simState) resize(k Key, o *simObject, size uint64) {
	st.space(k).bytes += int64(size) - int64(o.size)
	o.size = size
}

func (st *simState) write(k Key, o *simObject, off uint64, data []byte) {
	if len(data) == 0 {
		return
	}
	end := off + uint64(len(data))
	if need := int((end + blockMask) / blockBytes); need > len(o.pages) {
		o.pages = append(o.pages, make([]*simPage, need-len(o.pages))...)
	}
	for len(data) > 0 {
		i, in := off/blockBytes, off%blockBytes
		p := st.page(o, i)
		n := copy(p.b[in:], data)
		if in == 0 && (n == blockBytes || off+uint64(n) >= o.size) {
			p.bad = false // a part that is written does not make the rest whole
		}
		data, off = data[n:], off+uint64(n)
	}
	if end > o.size {
		st.resize(k, o, end)
	}
}

func (st *simState) zero(o *simObject, off, n uint64) {
	end := min(off+n, o.size)
	for off < end {
		i, in := off/blockBytes, off%blockBytes
		step := min(blockBytes-in, end-off)
		if i < uint64(len(o.pages)) && o.pages[i] != nil {
			if in == 0 && (step == blockBytes || off+step == o.size) {
				st.drop(o, i)
			} else {
				clear(st.page(o, i).b[in : in+step])
			}
		}
		off += step
	}
}

func (o *simObject) read(b []byte, off uint64) {
	for len(b) > 0 {
		i, in := off/blockBytes, off%blockBytes
		n := min(len(b), int(blockBytes-in))
		if i < uint64(len(o.pages)) && o.pages[i] != nil {
			copy(b[:n], o.pages[i].b[in:])
		}
		b, off = b[n:], off+uint64(n)
	}
}

func (o *simObject) firstBad(off, n uint64) (uint64, bool) {
	if n == 0 {
		return 0, false
	}
	for i := off / blockBytes; i <= (off+n-1)/blockBytes && i < uint64(len(o.pages)); i++ {
		if o.pages[i] != nil && o.pages[i].bad {
			return i * blockBytes, true
		}
	}
	return 0, false
}

func findKV(kvs []KV, key []byte) (int, bool) {
	return slices.BinarySearchFunc(kvs, key, func(kv KV, k []byte) int { return bytes.Compare(kv.Key, k) })
}

// rangeKVs finds [start, end); an empty end is no bound.
func rangeKVs(kvs []KV, start, end []byte) (from, to int) {
	from, _ = findKV(kvs, start)
	to = len(kvs)
	if len(end) > 0 {
		to, _ = findKV(kvs, end)
	}
	return from, max(from, to)
}

// setKV stores copies and returns how much the cost changed.
func setKV(kvs *[]KV, key, value []byte) int64 {
	kv := KV{cloneBytes(key), cloneBytes(value)}
	i, ok := findKV(*kvs, key)
	if ok {
		old := kvCost((*kvs)[i])
		(*kvs)[i] = kv
		return kvCost(kv) - old
	}
	*kvs = slices.Insert(*kvs, i, kv)
	return kvCost(kv)
}

// cutKV removes a key and returns what it cost.
func cutKV(kvs *[]KV, key []byte) int64 {
	i, ok := findKV(*kvs, key)
	if !ok {
		return 0
	}
	cost := kvCost((*kvs)[i])
	*kvs = slices.Delete(*kvs, i, i+1)
	return cost
}

func costKVs(kvs []KV) (n int64) {
	for _, kv := range kvs {
		n += kvCost(kv)
	}
	return n
}

// cloneBytes copies; never nil, so that an empty value is told from none.
func cloneBytes(b []byte) []byte { return append(make([]byte, 0, len(b)), b...) }

func cloneKVs(kvs []KV) []KV {
	var out []KV
	for _, kv := range kvs {
		out = append(out, KV{cloneBytes(kv.Key), cloneBytes(kv.Value)})
	}
	return out
}
