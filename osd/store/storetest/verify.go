package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/cairnstore/cairn/osd/store"
)

// compare reads everything a store answers and says where it differs from the
// model. It uses every method of store.Reader.
func compare(s store.Store, m *model) error {
	pgs, err := s.PGs()
	if err != nil {
		return err
	}
	if want := m.pgs(); !slices.Equal(pgs, want) {
		return fmt.Errorf("PGs: got %v, want %v", pgs, want)
	}
	var objects int64
	for _, pg := range pgs {
		for sp := store.Objects; sp <= store.Staging; sp++ {
			var got []string
			after, more := "", true
			for more {
				var page []store.ListEntry
				if page, more, err = s.List(pg, sp, after, 3); err != nil {
					return err
				}
				if len(page) == 0 && more {
					return fmt.Errorf("list %s space %d after %q: no entries but more to come", pg, sp, after)
				}
				for _, e := range page {
					o := m.objs[store.Key{PG: pg, Space: sp, Name: e.Name}]
					if o == nil || o.version != e.Version || uint64(len(o.data)) != e.Size {
						return fmt.Errorf("list %s space %d: entry %+v, want object %+v", pg, sp, e, o != nil)
					}
					got, after = append(got, e.Name), e.Name
				}
			}
			if want := m.names(pg, sp); !slices.Equal(got, want) {
				return fmt.Errorf("list %s space %d: got %q, want %q", pg, sp, got, want)
			}
		}
		gotN, gotB := s.PGUsage(pg)
		wantN, wantB := m.usage(pg)
		objects += wantN
		if gotN != wantN || gotB != wantB {
			return fmt.Errorf("usage of PG %s: got %d objects, %d bytes; want %d, %d", pg, gotN, gotB, wantN, wantB)
		}
	}
	if u := s.Usage(); u.Objects != objects {
		return fmt.Errorf("usage: got %d objects, want %d", u.Objects, objects)
	}
	for _, k := range m.keys() {
		if err := compareObject(s, k, m.objs[k]); err != nil {
			return fmt.Errorf("object %s space %d: %w", k, k.Space, err)
		}
	}
	return nil
}

func compareObject(s store.Store, k store.Key, o *object) error {
	info, err := s.Stat(k)
	if err != nil {
		return err
	}
	if info.Size != uint64(len(o.data)) || info.Version != o.version || info.Mtime != o.mtime || info.OmapKeys < uint64(len(o.omap)) {
		return fmt.Errorf("stat: got %+v, want size %d version %s mtime %d and at least %d keys", info, len(o.data), o.version, o.mtime, len(o.omap))
	}
	data, err := s.Read(k, 0, store.MaxObjectBytes)
	if err != nil {
		return err
	}
	if !bytes.Equal(data, o.data) {
		return fmt.Errorf("data differs at %d: got %d bytes, want %d", firstDiff(data, o.data), len(data), len(o.data))
	}
	attrs, err := s.Attrs(k)
	if err != nil {
		return err
	}
	want := sortedKVs(o.attrs)
	if !equalKVs(attrs, want) {
		return fmt.Errorf("attributes: got %s, want %s", showKVs(attrs), showKVs(want))
	}
	for _, kv := range want {
		if v, err := s.Attr(k, kv.Key); err != nil || !bytes.Equal(v, kv.Value) {
			return fmt.Errorf("attribute %q: got %d bytes, %v; want %d", kv.Key, len(v), err, len(kv.Value))
		}
	}
	want = sortedKVs(o.omap)
	var got []store.KV
	var start []byte
	for more := true; more; {
		var page []store.KV
		if page, more, err = s.OmapList(k, start, nil, 7); err != nil {
			return err
		}
		if len(page) == 0 && more {
			return errors.New("omap list: nothing, but more to come")
		}
		if got = append(got, page...); more {
			start = append(slices.Clone(got[len(got)-1].Key), 0)
		}
	}
	if !equalKVs(got, want) {
		return fmt.Errorf("omap: got %s, want %s", showKVs(got), showKVs(want))
	}
	return nil
}

func firstDiff(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func equalKVs(a, b []store.KV) bool {
	return slices.EqualFunc(a, b, func(x, y store.KV) bool {
		return bytes.Equal(x.Key, y.Key) && bytes.Equal(x.Value, y.Value)
	})
}

func showKVs(kvs []store.KV) string {
	var b bytes.Buffer
	for i, kv := range kvs {
		if i == 20 {
			fmt.Fprintf(&b, " ... %d in all", len(kvs))
			break
		}
		fmt.Fprintf(&b, " %q=%d bytes", kv.Key, len(kv.Value))
	}
	return b.String()
}
