package storetest

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// testClone makes copies that share what they have, changes each of them, and takes them away one by one.
func testClone(t *testing.T, s store.Store) {
	other := placement.PGID{Pool: pg.Pool, Shard: pg.Shard + 1}
	head, snap := key("head"), store.Key{PG: other, Name: "snap"}
	clone := func(from, to store.Key) store.Op { return store.Op{Kind: store.OpClone, Key: from, To: to} }
	set := func(k store.Key, name, value string) []store.Op {
		return []store.Op{{Kind: store.OpSetAttr, Key: k, Name: []byte(name), Value: []byte(value)},
			{Kind: store.OpOmapSet, Key: k, Name: []byte(name), Value: []byte(value)}}
	}
	wantKVs := func(k store.Key, name, value string) {
		t.Helper()
		attrs, err := s.Attrs(k)
		omap, _, err2 := s.OmapList(k, nil, nil, 10)
		want := []store.KV{{Key: []byte(name), Value: []byte(value)}}
		if err != nil || err2 != nil || !equalKVs(attrs, want) || !equalKVs(omap, want) {
			t.Fatalf("object %s: attributes %s, omap %s, %v, %v; want %s", k, showKVs(attrs), showKVs(omap), err, err2, value)
		}
	}
	if err := store.Apply(s, batch(clone(head, snap))); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("clone of nothing: %v, want ErrNotFound", err)
	}
	for _, size := range []int{0, 1, 1500, 4096, 5000, 70000, 3 << 20} {
		empty := s.Usage()
		data := pattern(size, 1)
		must(t, s, append(set(head, "n", "old"), write(head, 0, data),
			store.Op{Kind: store.OpSetVersion, Key: head, Version: store.Version{Term: 2, Seq: 5}, Mtime: 77})...)
		one := s.Usage()
		// Into something that is there, with what the batch itself has just set.
		must(t, s, append(append(set(snap, "gone", "x"), set(head, "n", "new")...), write(snap, 0, pattern(9000, 3)), clone(head, snap))...)
		must(t, s, set(head, "n", "newer")...)
		wantKVs(head, "n", "newer")
		wantKVs(snap, "n", "new")
		wantData(t, s, snap, data)
		if info, err := s.Stat(snap); err != nil || info.Version != (store.Version{Term: 2, Seq: 5}) || info.Mtime != 77 {
			t.Fatalf("stat of a clone: %+v, %v", info, err)
		}
		if objects, bytes := s.PGUsage(other); objects != 1 || bytes != int64(size) {
			t.Fatalf("PG of the clone: %d objects, %d bytes", objects, bytes)
		}
		if u := s.Usage(); u.Objects != empty.Objects+2 || u.Data-one.Data > 4096 {
			t.Errorf("a clone of %d bytes takes %d of data", size, u.Data-one.Data)
		}
		// Both are changed, in every way; neither sees the other's changes.
		want := [2][]byte{bytes.Clone(data), bytes.Clone(data)}
		for i, k := range []store.Key{head, snap} {
			for _, off := range []int{0, 5, 4096, 8190, 66000, 1 << 20, size - 3} {
				if off < 0 || off+7 > size {
					continue
				}
				p := pattern(7, byte(off+i))
				copy(want[i][off:], p)
				must(t, s, write(k, uint64(off), p))
			}
			if size > 100000 {
				p := pattern(80000, byte(i))
				copy(want[i][12288:], p)
				clear(want[i][200000+i:][:50000])
				clear(want[i][300000:][:10])
				must(t, s, write(k, 12288, p), store.Op{Kind: store.OpZero, Key: k, Off: uint64(200000 + i), Len: 50000},
					store.Op{Kind: store.OpZero, Key: k, Off: 300000, Len: 10})
			}
			wantData(t, s, head, want[0])
			wantData(t, s, snap, want[1])
		}
		third := key("third")
		must(t, s, clone(snap, third), clone(third, third), store.Op{Kind: store.OpTruncate, Key: snap, Off: uint64(size / 2)})
		wantData(t, s, third, want[1])
		wantData(t, s, snap, want[1][:size/2])
		must(t, s, store.Op{Kind: store.OpRemove, Key: head})
		wantData(t, s, third, want[1])
		must(t, s, store.Op{Kind: store.OpRemoveSpace, Key: snap}, store.Op{Kind: store.OpRename, Key: third, To: head})
		wantData(t, s, head, want[1])
		wantKVs(head, "n", "new")
		// A batch that fails leaves nothing, and takes nothing off.
		err := store.Apply(s, batch(clone(head, snap), write(head, 0, []byte("x")), store.Op{Kind: store.OpRemove, Key: head}, clone(key("none"), third)))
		if !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("clone of nothing: %v", err)
		}
		wantData(t, s, head, want[1])
		must(t, s, clone(head, third), store.Op{Kind: store.OpRemove, Key: head}, store.Op{Kind: store.OpRemove, Key: third})
		for i := 0; s.Usage().Data != empty.Data; i++ { // the removed space is purged by and by
			if i == 100 {
				t.Fatalf("%d bytes: all are gone, and %d bytes of data left", size, s.Usage().Data-empty.Data)
			}
			must(t, s, store.Op{Kind: store.OpTouch, Key: third}, store.Op{Kind: store.OpRemove, Key: third})
		}
	}
}
