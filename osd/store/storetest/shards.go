package storetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

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
