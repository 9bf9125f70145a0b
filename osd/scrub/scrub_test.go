package scrub_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/scrub"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

var id = placement.PGID{Pool: 1, Shard: 2}

func key(name string) store.Key { return store.Key{PG: id, Space: store.Objects, Name: name} }

func filled(t *testing.T, ops ...store.Op) *store.Sim {
	t.Helper()
	st := store.NewSim(store.SimOptions{})
	t.Cleanup(func() { st.Close() })
	if err := store.Apply(st, &store.Batch{Ops: ops}); err != nil {
		t.Fatal(err)
	}
	return st
}

func object(t *testing.T, st store.Reader, name string, deep bool) *wirepb.ScrubItem {
	t.Helper()
	it, err := scrub.Object(st, key(name), deep, nil)
	if err != nil {
		t.Fatal(err)
	}
	return it
}

func pairs(kind store.OpKind, kvs ...string) (ops []store.Op) {
	for i := 0; i < len(kvs); i += 2 {
		ops = append(ops, store.Op{Kind: kind, Key: key("a"), Name: []byte(kvs[i]), Value: []byte(kvs[i+1])})
	}
	return ops
}

// What differs in an object differs in its description, and nothing else does.
func TestDescriptionsDiffer(t *testing.T) {
	write := store.Op{Kind: store.OpWrite, Key: key("a"), Data: []byte("abc")}
	version := store.Op{Kind: store.OpSetVersion, Key: key("a"), Version: store.Version{Term: 3, Seq: 9}, Mtime: 5}
	cases := map[string][]store.Op{
		"base":          {write, version},
		"bytes":         {{Kind: store.OpWrite, Key: key("a"), Data: []byte("abd")}, version},
		"longer":        {write, {Kind: store.OpTruncate, Key: key("a"), Off: 4}, version},
		"attr":          append(pairs(store.OpSetAttr, "k", "v"), write, version),
		"attr, moved":   append(pairs(store.OpSetAttr, "kv", ""), write, version),
		"attrs, two":    append(pairs(store.OpSetAttr, "k", "", "v", ""), write, version),
		"omap":          append(pairs(store.OpOmapSet, "k", "v"), write, version),
		"omap, moved":   append(pairs(store.OpOmapSet, "", "kv"), write, version),
		"other version": {write, {Kind: store.OpSetVersion, Key: key("a"), Version: store.Version{Term: 3, Seq: 8}, Mtime: 5}},
	}
	seen := map[string]string{}
	for name, ops := range cases {
		a, b := object(t, filled(t, ops...), "a", true), object(t, filled(t, ops...), "a", true)
		if a.String() != b.String() {
			t.Errorf("%s: equal copies are described as %v and %v", name, a, b)
		}
		if other, ok := seen[a.String()]; ok {
			t.Errorf("%s is described as %s is: %v", name, other, a)
		}
		seen[a.String()] = name
	}
}

func TestObject(t *testing.T) {
	st := filled(t, store.Op{Kind: store.OpWrite, Key: key("a"), Data: bytes.Repeat([]byte("x"), 3<<20)},
		store.Op{Kind: store.OpWrite, Key: key("b"), Data: []byte("b")})
	if it := object(t, st, "none", true); !it.Missing {
		t.Errorf("a missing object is described as %v", it)
	}
	if it := object(t, st, "a", false); it.Deep || len(it.DataDigest) != 0 || it.Size != 3<<20 {
		t.Errorf("without reading it: %v", it)
	}
	if it := object(t, st, "a", true); !it.Deep || len(it.DataDigest) != 16 || it.Error != "" {
		t.Errorf("with reading it: %v", it)
	}
	if err := st.Rot(key("a"), 2<<20); err != nil {
		t.Fatal(err)
	}
	if it := object(t, st, "a", true); !strings.Contains(it.Error, "checksum") || it.Size != 3<<20 {
		t.Errorf("damaged: %v", it)
	}
	if it := object(t, st, "a", false); it.Error != "" {
		t.Errorf("a light look reads no data: %v", it)
	}
	stop := errors.New("stop")
	n := 0
	_, err := scrub.Object(st, key("a"), true, func(int) error {
		if n++; n > 2 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) {
		t.Errorf("stopped by its pace: %v", err)
	}
	st.Close()
	if _, err := scrub.Object(st, key("b"), true, nil); !errors.Is(err, store.ErrClosed) {
		t.Errorf("closed store: %v", err)
	}
}

// An omap of several pages is described whole.
func TestLongOmap(t *testing.T) {
	var ops []store.Op
	for i := range 2500 {
		ops = append(ops, store.Op{Kind: store.OpOmapSet, Key: key("a"), Name: fmt.Appendf(nil, "%05d", i)})
	}
	st := filled(t, ops...)
	whole := object(t, st, "a", false)
	if whole.Omap != 2500 {
		t.Fatalf("%d pairs, want 2500", whole.Omap)
	}
	if err := store.Apply(st, &store.Batch{Ops: []store.Op{{Kind: store.OpOmapSet, Key: key("a"), Name: []byte("02499"), Value: []byte("x")}}}); err != nil {
		t.Fatal(err)
	}
	if it := object(t, st, "a", false); bytes.Equal(it.OmapDigest, whole.OmapDigest) {
		t.Fatal("the last pair changed, the digest did not")
	}
}

// Pages follow one another without a gap and keep their limits.
func TestPages(t *testing.T) {
	var ops []store.Op
	for i := range 10 {
		ops = append(ops, store.Op{Kind: store.OpWrite, Key: key(fmt.Sprint(i)), Data: make([]byte, 1000*i)})
	}
	st := filled(t, ops...)
	for _, c := range []struct {
		limit int
		bytes uint64
		deep  bool
		want  string
	}{
		{4, 1 << 20, true, "0123 4567 89"},
		{100, 7000, true, "0123 4 5 6 7 8 9"},
		{100, 7000, false, "0123456789"},
		{100, 1, true, "0 1 2 3 4 5 6 7 8 9"},
	} {
		var got []string
		for after, more := "", true; more; {
			var items []*wirepb.ScrubItem
			var err error
			items, more, err = scrub.Page(st, id, after, c.limit, c.bytes, c.deep, nil)
			if err != nil || len(items) == 0 {
				t.Fatalf("page after %q: %d items, %v", after, len(items), err)
			}
			page := ""
			for _, it := range items {
				page += string(it.Object)
				after = string(it.Object)
			}
			got = append(got, page)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("limit %d, %d bytes, deep %v: pages %s, want %s", c.limit, c.bytes, c.deep, s, c.want)
		}
	}
}
