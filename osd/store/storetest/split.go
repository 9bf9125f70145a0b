package storetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// testSplit moves objects from PG to PG as the split of a PG does: with all they
// have, in batches, their names the same in both. Both PGs are counted right
// meanwhile, a batch that fails moves nothing, and a space that objects have left
// may be removed without touching them.
func testSplit(t *testing.T, s store.Store) {
	child := placement.PGID{Pool: pg.Pool, Shard: pg.Shard + 64}
	at := func(p placement.PGID, i int) store.Key { return store.Key{PG: p, Name: fmt.Sprintf("o%03d", i)} }
	const n = 120
	size := func(i int) int { return 100 + i*700 }
	var ops []store.Op
	for i := range n {
		ops = append(ops, write(at(pg, i), 0, pattern(size(i), byte(i))),
			store.Op{Kind: store.OpSetAttr, Key: at(pg, i), Name: []byte("a"), Value: []byte{byte(i)}},
			store.Op{Kind: store.OpOmapSet, Key: at(pg, i), Name: []byte("k"), Value: []byte{byte(i), 1}},
			store.Op{Kind: store.OpSetVersion, Key: at(pg, i), Version: store.Version{Term: 2, Seq: uint64(i)}, Mtime: int64(i)})
	}
	must(t, s, ops...)
	used := s.Usage()

	moves := func(i int) bool { return i%3 != 0 }
	var left, gone [2]int64 // objects, bytes
	for i := range n {
		if moves(i) {
			gone[0], gone[1] = gone[0]+1, gone[1]+int64(size(i))
		} else {
			left[0], left[1] = left[0]+1, left[1]+int64(size(i))
		}
	}
	// One that cannot be carried out: nothing of it may be.
	err := store.Apply(s, batch(store.Op{Kind: store.OpRename, Key: at(pg, 1), To: at(child, 1)},
		store.Op{Kind: store.OpRename, Key: at(pg, n), To: at(child, n)}))
	if !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("a batch with a rename of nothing: %v", err)
	}
	if o, b := s.PGUsage(child); o != 0 || b != 0 {
		t.Fatalf("a batch that failed moved %d objects of %d bytes", o, b)
	}
	wantData(t, s, at(pg, 1), pattern(size(1), 1))
	for from := 0; from < n; from += 16 {
		ops = nil
		for i := from; i < min(n, from+16); i++ {
			if moves(i) {
				ops = append(ops, store.Op{Kind: store.OpRename, Key: at(pg, i), To: at(child, i)})
			}
		}
		must(t, s, ops...)
	}
	check := func(p placement.PGID, want [2]int64, mine func(int) bool) {
		t.Helper()
		if o, b := s.PGUsage(p); o != want[0] || b != want[1] {
			t.Errorf("PG %s: %d objects, %d bytes; want %d, %d", p, o, b, want[0], want[1])
		}
		objs, more, err := s.List(p, store.Objects, "", n+1)
		if err != nil || more || int64(len(objs)) != want[0] {
			t.Fatalf("PG %s: %d objects listed, more %v, %v; want %d", p, len(objs), more, err, want[0])
		}
		for i := range n {
			k := at(p, i)
			if !mine(i) {
				if _, err := s.Stat(k); !errors.Is(err, store.ErrNotFound) {
					t.Fatalf("%s is in the wrong PG: %v", k, err)
				}
				continue
			}
			wantData(t, s, k, pattern(size(i), byte(i)))
			info, err := s.Stat(k)
			if err != nil || info.Version != (store.Version{Term: 2, Seq: uint64(i)}) || info.Mtime != int64(i) {
				t.Fatalf("%s: %+v, %v", k, info, err)
			}
			if v, err := s.Attr(k, []byte("a")); err != nil || len(v) != 1 || v[0] != byte(i) {
				t.Fatalf("%s: attribute %x, %v", k, v, err)
			}
			if kvs, _, err := s.OmapList(k, nil, nil, 10); err != nil || len(kvs) != 1 || kvs[0].Value[0] != byte(i) {
				t.Fatalf("%s: omap %s, %v", k, showKVs(kvs), err)
			}
		}
	}
	check(pg, left, func(i int) bool { return !moves(i) })
	check(child, gone, moves)
	if u := s.Usage(); u.Objects != used.Objects || u.Data != used.Data {
		t.Errorf("objects and data of the store went from %d, %d to %d, %d by moving", used.Objects, used.Data, u.Objects, u.Data)
	}
	if pgs, err := s.PGs(); err != nil || len(pgs) != 2 || pgs[0] != pg || pgs[1] != child {
		t.Errorf("PGs: %v, %v", pgs, err)
	}
	must(t, s, store.Op{Kind: store.OpRename, Key: at(pg, 0), To: at(child, 0)}, store.Op{Kind: store.OpRemoveSpace, Key: store.Key{PG: pg}})
	wantData(t, s, at(child, 0), pattern(size(0), 0))
	must(t, s, store.Op{Kind: store.OpRename, Key: at(child, 0), To: at(pg, 0)}, store.Op{Kind: store.OpRemoveSpace, Key: store.Key{PG: child}})
	check(pg, [2]int64{1, int64(size(0))}, func(i int) bool { return i == 0 })
	check(child, [2]int64{}, func(int) bool { return false })
}
