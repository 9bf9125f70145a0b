package admin_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstore/cairn/gateways/admin/admintest"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// withChunks is the sample cluster, whose first pool has chunks, 100 shards of them on each OSD. edit changes reports.
func withChunks(redundancy string, edit func(id placement.OSDID, r *wirepb.OSDReport)) *admintest.Backend {
	b := admintest.New()
	r, err := placement.ParseRedundancy(redundancy)
	if err != nil {
		panic(err)
	}
	b.Edit(func(s *admintest.State) {
		p := &s.Map.Pools[0]
		p.Chunks = placement.ChunkPolicy{Redundancy: r, ChunkSize: placement.DefaultChunkSize}
		for id, st := range s.Reports {
			c := proto.Clone(st.Report).(*wirepb.OSDReport)
			c.Shards = []*wirepb.PoolShards{{Pool: uint32(p.ID), Shards: 100, Bytes: 50 << 20}}
			if edit != nil {
				edit(id, c)
			}
			st.Report = c
			s.Reports[id] = st
		}
	})
	return b
}

// look3 is osd.0's report that it has looked at all chunks of the first pool, by the present map.
func look3(b *admintest.Backend, stat *wirepb.ChunkStat) {
	b.Edit(func(s *admintest.State) {
		st := s.Reports[0]
		c := proto.Clone(st.Report).(*wirepb.OSDReport)
		stat.Pool, stat.Pgs, stat.Looked, stat.Epoch = uint32(s.Map.Pools[0].ID), s.Map.Pools[0].PGNum, s.Map.Pools[0].PGNum, uint64(s.Map.Epoch)
		c.Chunks = []*wirepb.ChunkStat{stat}
		st.Report = c
		s.Reports[0] = st
	})
}

func TestOKToStopWithChunks(t *testing.T) {
	b := withChunks("2:1:xor", nil)
	wantCheck(t, "one of three", look(b).OKToStop(osds(1)), 0)
	b.Edit(func(s *admintest.State) {
		for i := range s.Map.Pools {
			s.Map.Pools[i].MinSize = 1
		}
	})
	wantCheck(t, "two of three", look(b).OKToStop(osds(1, 2)), 0, "pool 'rbd': its chunks (2:1:xor) can be read while 1 host is down, and then 2 would be")
	b.Edit(func(s *admintest.State) { s.Map.OSDs[2].Up = false })
	wantCheck(t, "a second one", look(b).OKToStop(osds(1)), 0, "and then 2 would be")
	wantCheck(t, "the one that is down", look(b).OKToStop(osds(2)), 0)
	b.Edit(func(s *admintest.State) { s.Map.OSDs[2].Weight = 0 })
	wantCheck(t, "a second one when the first is out", look(b).OKToStop(osds(1)), 0)

	none := withChunks("2:1:xor", func(id placement.OSDID, r *wirepb.OSDReport) {
		if id == 2 {
			r.Shards = nil
		}
	})
	none.Edit(func(s *admintest.State) {
		s.Map.OSDs[2].Up = false
		for i := range s.Map.Pools {
			s.Map.Pools[i].MinSize = 1
		}
	})
	wantCheck(t, "the other one has no shards", look(none).OKToStop(osds(1)), 0)
}

// TestSafeToDestroyWithChunks: an OSD is empty only without shards, or, if it is down, when all chunks have been looked
// at since it went and none lacks any.
func TestSafeToDestroyWithChunks(t *testing.T) {
	noPGs := func(s *admintest.State) {
		s.Map.OSDs[1].Draining = true
		for i := range s.Map.PGs {
			for j := range s.Map.PGs[i].Records {
				s.Map.PGs[i].Records[j].InSync, s.Map.PGs[i].Records[j].Primary = osds(0, 2), 0
			}
		}
	}
	empty := func(b *admintest.Backend, want bool, shards int64) {
		t.Helper()
		d := look(b).Drains()
		if len(d) != 1 || d[0].Empty != want || d[0].Shards != shards {
			t.Fatalf("drains: %+v, want empty %v with %d shards", d, want, shards)
		}
	}
	b := withChunks("2:1:xor", nil)
	b.Edit(noPGs)
	wantCheck(t, "with shards", look(b).SafeToDestroy(osds(1)), 0, "osd.1 holds 100 shards of chunks of pool 'rbd'")
	empty(b, false, 100)

	b.Edit(func(s *admintest.State) { s.Map.OSDs[1].Up = false })
	wantCheck(t, "down", look(b).SafeToDestroy(osds(1)), 0, "not all chunks of pool 'rbd' have been looked at since osd.1 went")
	look3(b, &wirepb.ChunkStat{Chunks: 100, Degraded: 7, Lacking: 7})
	wantCheck(t, "down, not made anew", look(b).SafeToDestroy(osds(1)), 0, "7 shards of chunks of pool 'rbd' are missing, and may be on osd.1")
	empty(b, false, 100)
	look3(b, &wirepb.ChunkStat{Chunks: 100, Missing: 1})
	wantCheck(t, "down, a chunk cannot be read", look(b).SafeToDestroy(osds(1)), 0, "are missing")
	look3(b, &wirepb.ChunkStat{Chunks: 100})
	wantCheck(t, "down, made anew", look(b).SafeToDestroy(osds(1)), 0)
	empty(b, true, 0)
	b.Edit(func(s *admintest.State) { s.Map.Epoch++ })
	wantCheck(t, "the look was before", look(b).SafeToDestroy(osds(1)), 0, "have been looked at")

	gone := withChunks("2:1:xor", func(id placement.OSDID, r *wirepb.OSDReport) {
		if id == 1 {
			r.Shards = nil
		}
	})
	gone.Edit(noPGs)
	wantCheck(t, "without shards", look(gone).SafeToDestroy(osds(1)), 0)
	empty(gone, true, 0)
	gone.Edit(func(s *admintest.State) { delete(s.Reports, 1) })
	wantCheck(t, "silent", look(gone).SafeToDestroy(osds(1)), 0, "osd.1 has not reported yet what it holds")
	gone.Edit(func(s *admintest.State) { s.Map.Pools[0].Chunks = placement.ChunkPolicy{} })
	wantCheck(t, "chunks of another policy", look(gone).SafeToDestroy(osds(1)), 0, "has not reported yet")
	for id := range placement.OSDID(3) {
		gone.Edit(func(s *admintest.State) { delete(s.Reports, id) })
	}
	wantCheck(t, "no chunks", look(gone).SafeToDestroy(osds(1)), 0)
}

func TestOKToDrainWithChunks(t *testing.T) {
	b := withChunks("2:1:xor", nil)
	if c := look(b).OKToDrain(osds(1)); !slices.Contains(c.Reasons, "pool 'rbd': chunks 2:1:xor need 3 hosts, without them there are 2") {
		t.Errorf("%q", c.Reasons)
	}
	if c := look(withChunks("replica:2", nil)).OKToDrain(osds(1)); strings.Contains(fmt.Sprint(c.Reasons), "chunks") {
		t.Errorf("%q", c.Reasons)
	}
}

// TestObjectsWithoutRecords: entries of the chunk index and other records are objects for the PGs, but not for people.
func TestObjectsWithoutRecords(t *testing.T) {
	b := withChunks("2:1:xor", nil)
	df, sum := look(b).DF().Pools[0].Stats.Objects, look(b).PGSummary(look(b).PGs())
	pool := uint32(look(b).Map.Pools[0].ID)
	b.Edit(func(s *admintest.State) {
		for id, st := range s.Reports {
			r := proto.Clone(st.Report).(*wirepb.OSDReport)
			for _, p := range r.Pgs {
				if p.Pool == pool && p.Shard == 0 {
					p.Records = 5
				}
			}
			st.Report = r
			s.Reports[id] = st
		}
	})
	if got := look(b).DF().Pools[0].Stats.Objects; got != df-5 {
		t.Errorf("%d objects, 5 of them records: df shows %d", df, got)
	}
	if got := look(b).PGSummary(look(b).PGs()); got.Objects != sum.Objects-5 || got.Copies != sum.Copies {
		t.Errorf("summary of %d objects in %d copies with 5 records, of %d in %d without", got.Objects, got.Copies, sum.Objects, sum.Copies)
	}
}

func TestHealthOfChunks(t *testing.T) {
	b := withChunks("2:1:xor", nil)
	look3(b, &wirepb.ChunkStat{Chunks: 100})
	if h := look(b).Health(); len(h.Checks) != 0 {
		t.Fatalf("%+v", h)
	}
	look3(b, &wirepb.ChunkStat{Chunks: 100, Degraded: 4, Lacking: 5, Missing: 1, Damaged: 2, Dangling: 3})
	b.Edit(func(s *admintest.State) { s.Map.OSDs[1].Weight = 0 })
	h := look(b).Health()
	for code, want := range map[string]string{
		"POOL_TOO_FEW_DOMAINS": "pool 'rbd': chunks 2:1:xor want 3 hosts, there are 2 with OSDs that are in",
		"CHUNKS_DEGRADED":      "pool 'rbd': 4 of 100 chunks lack 5 shards",
		"CHUNKS_DAMAGED":       "pool 'rbd': 2 chunks are damaged",
	} {
		if c := h.Checks[code]; !strings.Contains(fmt.Sprint(c.Detail), want) {
			t.Errorf("%s: %+v, want %q", code, c, want)
		}
	}
	if h.Status != "HEALTH_ERR" {
		t.Errorf("status %s", h.Status)
	}
}
