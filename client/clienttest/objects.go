package clienttest

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// objects are the objects of one pool by name. It implements store.Reader; the
// PG of a key does not matter. It copies whatever it takes and gives.
type objects map[string]*object

type object struct {
	data    []byte
	version uint64
	mtime   int64
	attrs   pairs
	omap    pairs
}

func (o *object) info(version uint64, mtime int64) { o.version, o.mtime = version, mtime }

func (o *object) clone() *object {
	return &object{data: bytes.Clone(o.data), version: o.version, mtime: o.mtime, attrs: o.attrs.clone(), omap: o.omap.clone()}
}

// pairs are sorted by key.
type pairs []store.KV

func (p pairs) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(p, key, func(kv store.KV, k []byte) int { return bytes.Compare(kv.Key, k) })
}

func (p *pairs) set(key, value []byte) {
	i, found := p.find(key)
	if found {
		(*p)[i].Value = own(value)
		return
	}
	*p = slices.Insert(*p, i, store.KV{Key: own(key), Value: own(value)})
}

// remove removes the keys from start to end (exclusive; empty: no bound).
func (p *pairs) remove(start, end []byte) {
	i, _ := p.find(start)
	j := len(*p)
	if len(end) > 0 {
		j, _ = p.find(end)
	}
	if i < j {
		*p = slices.Delete(*p, i, j)
	}
}

func (p pairs) clone() pairs {
	c := make(pairs, len(p))
	for i, kv := range p {
		c[i] = store.KV{Key: own(kv.Key), Value: own(kv.Value)}
	}
	return c
}

// own copies b and never returns nil: a value that is there is not missing.
func own(b []byte) []byte { return append(make([]byte, 0, len(b)), b...) }

func (os objects) get(k store.Key) (*object, error) {
	if o, ok := os[k.Name]; ok {
		return o, nil
	}
	return nil, fmt.Errorf("object %q: %w", k.Name, store.ErrNotFound)
}

func (os objects) make(name string) *object {
	o := os[name]
	if o == nil {
		o = &object{}
		os[name] = o
	}
	return o
}

// Stat implements store.Reader.
func (os objects) Stat(k store.Key) (store.Info, error) {
	o, err := os.get(k)
	if err != nil {
		return store.Info{}, err
	}
	return store.Info{Size: uint64(len(o.data)), Version: store.Version{Term: 1, Seq: o.version}, Mtime: o.mtime, OmapKeys: uint64(len(o.omap))}, nil
}

// Read implements store.Reader.
func (os objects) Read(k store.Key, off, n uint64) ([]byte, error) {
	o, err := os.get(k)
	if err != nil || off >= uint64(len(o.data)) {
		return nil, err
	}
	return own(o.data[off : off+min(n, uint64(len(o.data))-off)]), nil
}

// Attrs implements store.Reader.
func (os objects) Attrs(k store.Key) ([]store.KV, error) {
	o, err := os.get(k)
	if err != nil {
		return nil, err
	}
	return o.attrs.clone(), nil
}

// Attr implements store.Reader.
func (os objects) Attr(k store.Key, name []byte) ([]byte, error) {
	o, err := os.get(k)
	if err != nil {
		return nil, err
	}
	i, found := o.attrs.find(name)
	if !found {
		return nil, fmt.Errorf("attribute %q of object %q: %w", name, k.Name, store.ErrNotFound)
	}
	return own(o.attrs[i].Value), nil
}

// OmapGet implements store.Reader.
func (os objects) OmapGet(k store.Key, keys [][]byte) ([]store.KV, error) {
	o, err := os.get(k)
	if err != nil {
		return nil, err
	}
	var kvs []store.KV
	for _, key := range keys {
		if i, found := o.omap.find(key); found {
			kvs = append(kvs, store.KV{Key: own(key), Value: own(o.omap[i].Value)})
		}
	}
	return kvs, nil
}

// OmapList implements store.Reader.
func (os objects) OmapList(k store.Key, start, end []byte, limit int) ([]store.KV, bool, error) {
	o, err := os.get(k)
	if err != nil {
		return nil, false, err
	}
	i, _ := o.omap.find(start)
	rest := o.omap[i:]
	if len(end) > 0 {
		j, _ := rest.find(end)
		rest = rest[:j]
	}
	more := len(rest) > limit
	if more {
		rest = rest[:limit]
	}
	return rest.clone(), more, nil
}

// List implements store.Reader.
func (os objects) List(_ placement.PGID, _ store.Space, after string, limit int) ([]store.ListEntry, bool, error) {
	var all []store.ListEntry
	for name, o := range os {
		if name > after {
			all = append(all, store.ListEntry{Name: name, Version: store.Version{Term: 1, Seq: o.version}, Size: uint64(len(o.data))})
		}
	}
	slices.SortFunc(all, func(a, b store.ListEntry) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	if len(all) > limit {
		return all[:limit], true, nil
	}
	return all, false, nil
}

// PGs implements store.Reader.
func (os objects) PGs() ([]placement.PGID, error) {
	if len(os) == 0 {
		return nil, nil
	}
	return []placement.PGID{{Pool: 1}}, nil
}

// apply carries out what objop.Execute returned.
func (os objects) apply(ops []store.Op) {
	for _, op := range ops {
		if op.Kind == store.OpRemove {
			delete(os, op.Key.Name)
			continue
		}
		os.make(op.Key.Name).apply(op)
	}
}

func (o *object) apply(op store.Op) {
	switch op.Kind {
	case store.OpTouch:
	case store.OpWrite:
		o.resize(max(uint64(len(o.data)), op.Off+uint64(len(op.Data))))
		copy(o.data[op.Off:], op.Data)
	case store.OpZero:
		clear(o.data[op.Off : op.Off+op.Len])
	case store.OpTruncate:
		o.resize(op.Off)
	case store.OpSetAttr:
		o.attrs.set(op.Name, op.Value)
	case store.OpRmAttr:
		o.attrs.remove(op.Name, append(own(op.Name), 0))
	case store.OpOmapSet:
		o.omap.set(op.Name, op.Value)
	case store.OpOmapRm:
		o.omap.remove(op.Name, append(own(op.Name), 0))
	case store.OpOmapRmRange:
		o.omap.remove(op.Name, op.End)
	case store.OpOmapClear:
		o.omap = nil
	default:
		panic(fmt.Sprintf("clienttest: objop emitted operation kind %d, which changes no object", op.Kind))
	}
}

// resize cuts or extends with zeros.
func (o *object) resize(size uint64) {
	n := uint64(len(o.data))
	if size <= n {
		clear(o.data[size:]) // bytes behind the end must not come back when it grows again
		o.data = o.data[:size]
		return
	}
	o.data = append(o.data, make([]byte, size-n)...)
}
