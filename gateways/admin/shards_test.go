package admin_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstore/cairn/gateways/admin/admintest"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// The shards of a pool's chunks are space that it uses; the sizes of its objects, whose bytes are in chunks, are not.
func TestSpaceOfChunks(t *testing.T) {
	b := admintest.New()
	const local = 1 << 20 // what each OSD has of the objects of pool 0 beside chunks
	b.Edit(func(s *admintest.State) {
		s.Map.Pools[0].Chunks.Redundancy = placement.Redundancy{Codec: placement.ReedSolomon, K: 4, M: 2}
		others := int64(0)
		for _, st := range s.Reports {
			for _, p := range st.Report.Pgs {
				if p.Pool == uint32(s.Map.Pools[1].ID) {
					others += p.Bytes
				}
			}
		}
		for id, st := range s.Reports {
			r := proto.Clone(st.Report).(*wirepb.OSDReport)
			r.Shards = []*wirepb.PoolShards{{Pool: uint32(s.Map.Pools[0].ID), Shards: 100, Bytes: 50 << 20}, {Pool: 4711, Shards: 1, Bytes: 1 << 20}}
			r.DataBytes = others + 51<<20 + local // in three copies each OSD has one of everything
			st.Report = r
			s.Reports[id] = st
		}
	})
	pools := look(b).DF().Pools
	if s := pools[0].Stats; s.Shards != 300 || s.ShardBytes != 150<<20 || s.Stored != 8<<20 || s.Used != 150<<20+3*local {
		t.Errorf("pool with chunks: %+v", s)
	}
	if s := pools[1].Stats; s.Shards != 0 || s.Used != 3*s.Stored {
		t.Errorf("pool without: %+v", s)
	}
	// As much as in copies, but for 6 shards of 4 instead of 3 copies.
	if got, want := pools[0].Stats.MaxAvail, 2*pools[1].Stats.MaxAvail; got < want-4 || got > want+4 {
		t.Errorf("max avail %d, want %d", got, want)
	}
}
