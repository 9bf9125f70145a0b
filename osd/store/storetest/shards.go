package storetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// testRecords: objects with the names of records are counted as such, whatever becomes of them.
func testRecords(t *testing.T, s store.Store) {
	rec := func(name string) store.Key {
		return key(placement.RecordName(placement.Outbox, make([]byte, 12), name))
	}
	want := func(n int64) {
		t.Helper()
		if got := s.PGRecords(pg); got != n {
			t.Fatalf("%d records, want %d", got, n)
		}
	}
	want(0)
	must(t, s, write(key("a"), 0, []byte("x")), write(key("\x01"), 0, []byte("x")), write(rec("a"), 0, []byte("y")))
	want(1)
	must(t, s, write(rec("b"), 0, nil), store.Op{Kind: store.OpTouch, Key: rec("a")}, write(rec("a"), 5, []byte("more")))
	want(2)
	must(t, s, store.Op{Kind: store.OpClone, Key: key("a"), To: rec("c")}, store.Op{Kind: store.OpRename, Key: rec("b"), To: key("b")})
	want(2)
	staged := rec("d")
	staged.Space = store.Staging
	must(t, s, write(staged, 0, []byte("z")))
	want(2)
	must(t, s, store.Op{Kind: store.OpRename, Key: staged, To: rec("d")}, store.Op{Kind: store.OpRemove, Key: rec("a")})
	want(2)
	must(t, s, store.Op{Kind: store.OpRemoveSpace, Key: key("")})
	want(0)
}

// testShards: shards of chunks are counted by pool, and make no PG.
func testShards(t *testing.T, s store.Store) {
	const here, other = placement.PoolID(3), placement.PoolID(4)
	for i := range 5 {
		for _, pool := range []placement.PoolID{here, other} {
			k := store.ShardKey(pool, fmt.Sprintf("s%d", i))
			must(t, s, write(k, 0, make([]byte, 5000)), store.Op{Kind: store.OpSetVersion, Key: k, Mtime: int64(100 + i)})
		}
	}
	count := func(want ...store.PoolShards) {
		t.Helper()
		if got := s.PoolShards(); !slices.Equal(got, want) {
			t.Fatalf("shards %+v, want %+v", got, want)
		}
		var n, bytes int64
		for _, p := range want {
			n, bytes = n+p.Shards, bytes+p.Bytes
		}
		if u := s.Usage(); u.Shards != n || u.InShards != bytes || u.Objects != 0 || u.Stored != 0 {
			t.Fatalf("usage %+v, want %d shards with %d bytes and nothing else", u, n, bytes)
		}
	}
	count(store.PoolShards{Pool: here, Shards: 5, Bytes: 25000}, store.PoolShards{Pool: other, Shards: 5, Bytes: 25000})
	if ids, err := s.PGs(); err != nil || len(ids) != 0 {
		t.Fatalf("PGs %v, %v: there are only shards", ids, err)
	}
	if n, bytes := s.PGUsage(store.ShardKey(here, "").PG); n != 0 || bytes != 0 {
		t.Fatalf("a PG of %d objects with %d bytes: there are only shards", n, bytes)
	}
	k := store.ShardKey(here, "")
	got, more, err := s.List(k.PG, k.Space, "s1", 2)
	if err != nil || !more || len(got) != 2 || got[0].Name != "s2" || got[0].Size != 5000 || got[0].Mtime != 102 || got[1].Name != "s3" {
		t.Fatalf("list: %+v, %v, %v", got, more, err)
	}
	must(t, s, store.Op{Kind: store.OpRemove, Key: store.ShardKey(here, "s1")})
	count(store.PoolShards{Pool: here, Shards: 4, Bytes: 20000}, store.PoolShards{Pool: other, Shards: 5, Bytes: 25000})
	must(t, s, store.Op{Kind: store.OpRemoveSpace, Key: k})
	count(store.PoolShards{Pool: other, Shards: 5, Bytes: 25000})
	if _, err := s.Stat(store.ShardKey(other, "s1")); err != nil {
		t.Fatal(err)
	}
}
