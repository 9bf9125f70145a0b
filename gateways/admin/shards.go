package admin

import (
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// shardsOf sums up the shards of chunks that an OSD reports.
func shardsOf(r *wirepb.OSDReport) (n, bytes int64) {
	for _, p := range r.GetShards() {
		n += p.GetShards()
		bytes += p.GetBytes()
	}
	return n, bytes
}

// addShards adds to the pools' figures what the OSDs hold of their chunks. What an object of a pool with chunks has of its
// size on its own OSDs nobody counts: it is taken to be what the OSDs hold beside shards and the other pools' objects.
func (v *View) addShards(pools []api.DFPool) {
	at := map[placement.PoolID]*api.DFPoolStats{}
	chunked := map[placement.PoolID]bool{}
	for i := range pools {
		at[placement.PoolID(pools[i].ID)] = &pools[i].Stats
	}
	rest := int64(0) // data that are neither shards nor objects of pools without chunks
	for i := range v.Map.OSDs {
		st, _ := v.report(v.Map.OSDs[i].ID)
		if st.Report == nil {
			continue
		}
		rest += st.Report.GetDataBytes()
		for _, p := range st.Report.GetShards() {
			rest -= p.GetBytes()
			if s := at[placement.PoolID(p.GetPool())]; s != nil {
				s.Shards += p.GetShards()
				s.ShardBytes += p.GetBytes()
			}
		}
	}
	sizes := int64(0) // of the objects of pools with chunks, in all copies
	for i := range v.Map.Pools {
		p := &v.Map.Pools[i]
		s := at[p.ID]
		if chunked[p.ID] = !p.Chunks.Redundancy.IsZero() || s.Shards > 0; chunked[p.ID] {
			sizes += s.Used
		} else {
			rest -= s.Used
		}
	}
	rest = max(0, rest)
	for id, s := range at {
		if !chunked[id] {
			continue
		}
		if sizes > rest {
			s.Used = int64(float64(s.Used) / float64(sizes) * float64(rest))
		}
		s.Used += s.ShardBytes
	}
}

// copiesOf is how many bytes are stored for each byte of a pool's clients.
func copiesOf(p *placement.Pool) float64 {
	if r := p.Chunks.Redundancy; !r.IsZero() {
		return float64(r.Shards()) / float64(max(r.K, 1))
	}
	return float64(max(p.Size, 1))
}
