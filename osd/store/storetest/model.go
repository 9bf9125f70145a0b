package storetest

import (
	"slices"
	"sort"

	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// model is the plainest thing that behaves like a store: no blocks, no
// sharing, no cleverness. The random test believes it.
type model struct{ objs map[store.Key]*object }

type object struct {
	data    []byte
	attrs   map[string][]byte
	omap    map[string][]byte
	version store.Version
	mtime   int64
}

func newModel() *model { return &model{objs: map[store.Key]*object{}} }

func (o *object) clone() *object {
	return &object{slices.Clone(o.data), cloneMap(o.attrs), cloneMap(o.omap), o.version, o.mtime}
}

func cloneMap(m map[string][]byte) map[string][]byte {
	c := make(map[string][]byte, len(m))
	for k, v := range m {
		c[k] = v // values are never changed in place
	}
	return c
}

// apply changes the model, or leaves it alone and answers false when a rename
// has nothing to rename.
func (m *model) apply(b *store.Batch) bool {
	saved := map[store.Key]*object{}
	save := func(k store.Key) {
		if _, ok := saved[k]; !ok {
			saved[k] = nil
			if o := m.objs[k]; o != nil {
				saved[k] = o.clone()
			}
		}
	}
	for i := range b.Ops {
		op := &b.Ops[i]
		switch op.Kind {
		case store.OpRemoveSpace:
			for k := range m.objs {
				if k.PG == op.Key.PG && k.Space == op.Key.Space {
					save(k)
					delete(m.objs, k)
				}
			}
			continue
		case store.OpRemove:
			save(op.Key)
			delete(m.objs, op.Key)
			continue
		case store.OpRename, store.OpClone:
			o := m.objs[op.Key]
			if o == nil {
				for k, old := range saved {
					delete(m.objs, k)
					if old != nil {
						m.objs[k] = old
					}
				}
				return false
			}
			save(op.Key)
			save(op.To)
			if op.Kind == store.OpRename {
				delete(m.objs, op.Key)
			} else if op.Key != op.To {
				o = o.clone()
			}
			m.objs[op.To] = o
			continue
		}
		save(op.Key)
		o := m.objs[op.Key]
		if o == nil {
			o = &object{attrs: map[string][]byte{}, omap: map[string][]byte{}}
			m.objs[op.Key] = o
		}
		o.apply(op)
	}
	return true
}

func (o *object) apply(op *store.Op) {
	switch op.Kind {
	case store.OpWrite:
		if end := int(op.Off) + len(op.Data); end > len(o.data) && len(op.Data) > 0 {
			o.data = append(o.data, make([]byte, end-len(o.data))...)
		}
		if len(op.Data) > 0 {
			copy(o.data[op.Off:], op.Data)
		}
	case store.OpZero:
		if end := min(op.Off+op.Len, uint64(len(o.data))); op.Off < end {
			clear(o.data[op.Off:end])
		}
	case store.OpTruncate:
		if n := int(op.Off); n <= len(o.data) {
			o.data = o.data[:n:n]
		} else {
			o.data = append(o.data, make([]byte, n-len(o.data))...)
		}
	case store.OpSetAttr:
		o.attrs[string(op.Name)] = slices.Clone(op.Value)
	case store.OpRmAttr:
		delete(o.attrs, string(op.Name))
	case store.OpOmapSet:
		o.omap[string(op.Name)] = slices.Clone(op.Value)
	case store.OpOmapRm:
		delete(o.omap, string(op.Name))
	case store.OpOmapRmRange:
		for k := range o.omap {
			if k >= string(op.Name) && (len(op.End) == 0 || k < string(op.End)) {
				delete(o.omap, k)
			}
		}
	case store.OpOmapClear:
		clear(o.omap)
	case store.OpSetVersion:
		o.version, o.mtime = op.Version, op.Mtime
	}
}

func (m *model) names(pg placement.PGID, sp store.Space) (names []string) {
	for k := range m.objs {
		if k.PG == pg && k.Space == sp {
			names = append(names, k.Name)
		}
	}
	sort.Strings(names)
	return names
}

func (m *model) keys() []store.Key {
	var keys []store.Key
	for k := range m.objs {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b store.Key) int {
		switch {
		case a.PG != b.PG && a.PG.Less(b.PG), a.PG == b.PG && a.Space < b.Space,
			a.PG == b.PG && a.Space == b.Space && a.Name < b.Name:
			return -1
		case a == b:
			return 0
		}
		return 1
	})
	return keys
}

func (m *model) pgs() (pgs []placement.PGID) {
	for _, k := range m.keys() {
		if len(pgs) == 0 || pgs[len(pgs)-1] != k.PG {
			pgs = append(pgs, k.PG)
		}
	}
	return pgs
}

func (m *model) usage(pg placement.PGID) (objects, bytes int64) {
	for k, o := range m.objs {
		if k.PG == pg && k.Space == store.Objects {
			objects++
			bytes += int64(len(o.data))
		}
	}
	return objects, bytes
}

// sortedKVs is a map as the store answers it.
func sortedKVs(m map[string][]byte) (kvs []store.KV) {
	for k, v := range m {
		kvs = append(kvs, store.KV{Key: []byte(k), Value: v})
	}
	slices.SortFunc(kvs, func(a, b store.KV) int { return slices.Compare(a.Key, b.Key) })
	return kvs
}
