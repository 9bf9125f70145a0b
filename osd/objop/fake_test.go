package objop_test

import (
	"bytes"
	"errors"
	"fmt"
	"sort"

	"github.com/cairnstore/cairn/osd/store"
)

// fake is one object of a store, small enough to be obviously right. Only the
// object of its key exists.
type fake struct {
	exists  bool
	version uint64
	mtime   int64
	data    []byte
	attrs   map[string][]byte
	omap    map[string][]byte

	records map[string]bool // other objects that exist
	listMax int             // pairs that OmapList returns at most; 0: no bound
	err     error           // what every read returns when set
	readErr error           // what Read returns when set
	store.Reader
}

var errDevice = errors.New("device on fire")

func newFake() *fake {
	return &fake{attrs: map[string][]byte{}, omap: map[string][]byte{}}
}

// object makes a fake with an object of some bytes at version 7.
func object(data string, attrsAndOmap ...map[string]string) *fake {
	f := newFake()
	f.exists, f.version, f.mtime, f.data = true, 7, 1234, []byte(data)
	for i, to := range []map[string][]byte{f.attrs, f.omap} {
		if i < len(attrsAndOmap) {
			for k, v := range attrsAndOmap[i] {
				to[k] = []byte(v)
			}
		}
	}
	return f
}

func (f *fake) clone() *fake {
	c := *f
	c.data = bytes.Clone(f.data)
	c.attrs, c.omap = map[string][]byte{}, map[string][]byte{}
	for k, v := range f.attrs {
		c.attrs[k] = v
	}
	for k, v := range f.omap {
		c.omap[k] = v
	}
	return &c
}

func (f *fake) look() error {
	if f.err != nil {
		return f.err
	}
	if !f.exists {
		return store.ErrNotFound
	}
	return nil
}

func (f *fake) Stat(k store.Key) (store.Info, error) {
	if k.Name != key.Name {
		if f.records[k.Name] {
			return store.Info{Version: store.Version{Term: 3, Seq: 1}}, f.err
		}
		return store.Info{}, store.ErrNotFound
	}
	if err := f.look(); err != nil {
		return store.Info{}, err
	}
	return store.Info{Size: uint64(len(f.data)), Version: store.Version{Term: 3, Seq: f.version}, Mtime: f.mtime, OmapKeys: uint64(len(f.omap))}, nil
}

func (f *fake) Read(_ store.Key, off, n uint64) ([]byte, error) {
	if f.readErr != nil {
		return nil, f.readErr
	}
	if err := f.look(); err != nil || off >= uint64(len(f.data)) {
		return nil, err
	}
	return bytes.Clone(f.data[off:min(off+n, uint64(len(f.data)))]), nil
}

func sorted(m map[string][]byte) []store.KV {
	var out []store.KV
	for k, v := range m {
		out = append(out, store.KV{Key: []byte(k), Value: v})
	}
	sort.Slice(out, func(i, j int) bool { return bytes.Compare(out[i].Key, out[j].Key) < 0 })
	return out
}

func (f *fake) Attrs(store.Key) ([]store.KV, error) { return sorted(f.attrs), f.look() }

func (f *fake) Attr(_ store.Key, name []byte) ([]byte, error) {
	if v, ok := f.attrs[string(name)]; ok {
		return v, f.look()
	}
	return nil, store.ErrNotFound
}

func (f *fake) OmapGet(_ store.Key, keys [][]byte) ([]store.KV, error) {
	var out []store.KV
	for _, k := range keys {
		if v, ok := f.omap[string(k)]; ok {
			out = append(out, store.KV{Key: k, Value: v})
		}
	}
	return out, f.look()
}

func (f *fake) OmapList(_ store.Key, start, end []byte, limit int) (out []store.KV, more bool, err error) {
	if f.listMax > 0 {
		limit = min(limit, f.listMax)
	}
	if len(start) > store.MaxKeyBytes {
		return nil, false, store.ErrInvalid
	}
	for _, kv := range sorted(f.omap) {
		if bytes.Compare(kv.Key, start) < 0 || len(end) > 0 && bytes.Compare(kv.Key, end) >= 0 {
			continue
		}
		if len(out) == limit {
			return out, true, f.look()
		}
		out = append(out, kv)
	}
	return out, false, f.look()
}

// apply carries out ops as the store's documentation says, and version as a PG would.
func (f *fake) apply(ops []store.Op, version uint64) {
	for _, op := range ops {
		if op.Kind != store.OpRemove {
			f.exists = true
		}
		switch op.Kind {
		case store.OpTouch:
		case store.OpWrite:
			f.grow(op.Off + uint64(len(op.Data)))
			copy(f.data[op.Off:], op.Data)
		case store.OpZero:
			clear(f.data[op.Off : op.Off+op.Len])
		case store.OpTruncate:
			f.grow(op.Off)
			f.data = f.data[:op.Off]
		case store.OpRemove:
			*f = *newFake()
		case store.OpSetAttr:
			f.attrs[string(op.Name)] = bytes.Clone(op.Value)
		case store.OpRmAttr:
			delete(f.attrs, string(op.Name))
		case store.OpOmapSet:
			f.omap[string(op.Name)] = bytes.Clone(op.Value)
		case store.OpOmapRm:
			delete(f.omap, string(op.Name))
		case store.OpOmapRmRange:
			for k := range f.omap {
				if k >= string(op.Name) && (len(op.End) == 0 || k < string(op.End)) {
					delete(f.omap, k)
				}
			}
		case store.OpOmapClear:
			clear(f.omap)
		default:
			panic(fmt.Sprintf("objop must not emit operation kind %d", op.Kind))
		}
	}
	if f.exists {
		f.version = version
	}
}

func (f *fake) grow(size uint64) {
	if n := uint64(len(f.data)); n < size {
		f.data = append(f.data, make([]byte, size-n)...)
	}
}

// String is the whole state, for comparisons and messages.
func (f *fake) String() string {
	if !f.exists {
		return "absent"
	}
	s := fmt.Sprintf("v%d %q", f.version, f.data)
	for _, kv := range sorted(f.attrs) {
		s += fmt.Sprintf(" @%s=%s", kv.Key, kv.Value)
	}
	for _, kv := range sorted(f.omap) {
		s += fmt.Sprintf(" %s=%s", kv.Key, kv.Value)
	}
	return s
}
