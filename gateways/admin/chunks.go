package admin

import (
	"fmt"
	"sort"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/placement"
)

// chunkSum is what all OSDs' care found of the chunks of one pool.
type chunkSum struct {
	api.ChunkStat
	whole bool // every PG's entries have been looked at, by this map or a later one
}

// chunkSums sums up by pool what the OSDs report of the chunks of the PGs they lead.
func (v *View) chunkSums() map[placement.PoolID]*chunkSum {
	out := map[placement.PoolID]*chunkSum{}
	current := map[placement.PoolID]uint32{}
	for i := range v.Map.OSDs {
		st, fresh := v.report(v.Map.OSDs[i].ID)
		if !fresh {
			continue
		}
		for _, c := range st.Report.GetChunks() {
			id := placement.PoolID(c.GetPool())
			s := out[id]
			if s == nil {
				s = &chunkSum{}
				out[id] = s
			}
			s.Add(c.Counts())
			if placement.Epoch(c.GetEpoch()) >= v.Map.Epoch {
				current[id] += c.GetLooked()
			}
		}
	}
	for id, s := range out {
		p := v.Map.Pool(id)
		s.whole = p != nil && current[id] >= p.PGNum
	}
	return out
}

// holding is what an OSD is known to hold of one pool's chunks.
type holding struct {
	shards, bytes int64
	known         bool // else it has not reported
}

func (v *View) holds(id placement.OSDID, pool placement.PoolID) holding {
	st, _ := v.report(id)
	if st.Report == nil {
		return holding{}
	}
	h := holding{known: true}
	for _, p := range st.Report.GetShards() {
		if placement.PoolID(p.GetPool()) == pool {
			h.shards += p.GetShards()
			h.bytes += p.GetBytes()
		}
	}
	return h
}

// chunked returns the pools that make chunks, or have some.
func (v *View) chunked() []*placement.Pool {
	have := map[placement.PoolID]bool{}
	for _, st := range v.Reports {
		for _, p := range st.Report.GetShards() {
			have[placement.PoolID(p.GetPool())] = have[placement.PoolID(p.GetPool())] || p.GetShards() > 0
		}
	}
	var out []*placement.Pool
	for i := range v.Map.Pools {
		if p := &v.Map.Pools[i]; !p.Chunks.IsZero() || have[p.ID] {
			out = append(out, p)
		}
	}
	return out
}

// spared is how many losses the chunks of a pool survive. It goes by the policy that the pool has now; of a pool that
// makes no chunks any more nothing is known, so none.
func spared(p *placement.Pool) int { return int(p.Chunks.Redundancy.M) }

// stopsChunks says which pools' chunks could not all be read if these OSDs stopped now. A chunk has one shard in each
// failure domain.
func (v *View) stopsChunks(ids []placement.OSDID) []string {
	var out []string
	pools := v.chunked()
	if len(pools) == 0 {
		return nil
	}
	table := placement.NewTable(v.Map)
	stops := map[placement.OSDID]bool{}
	for _, id := range ids {
		stops[id] = v.Map.IsUp(id)
	}
	for _, p := range pools {
		down, more := map[int]bool{}, map[int]bool{}
		for i := range v.Map.OSDs {
			o := &v.Map.OSDs[i]
			domain, in := table.Domain(p.ID, o.ID)
			if h := v.holds(o.ID, p.ID); h.known && h.shards == 0 || !in && !o.Up {
				continue // it has nothing of them; or it is out for good, and its shards are made anew elsewhere
			}
			if !in {
				domain = -1 << 30 * (1 + int(o.ID)) // it is being emptied: wherever it is
			}
			switch {
			case stops[o.ID]:
				more[domain] = true
			case !o.Up:
				down[domain] = true
			}
		}
		had := len(down)
		for d := range more {
			down[d] = true
		}
		if len(down) <= spared(p) || len(down) == had {
			continue
		}
		_, typ := table.Domains(p.ID)
		out = append(out, fmt.Sprintf("pool '%s': its chunks (%s) can be read while %s down, and then %d would be", p.Name,
			p.Chunks.Redundancy, areDown(spared(p), typ), len(down)))
	}
	return out
}

func areDown(n int, what string) string {
	switch n {
	case 0:
		return "no " + what + " is"
	case 1:
		return "1 " + what + " is"
	}
	return fmt.Sprintf("%d %ss are", n, what)
}

// countsOn says which chunks count on the shards that an OSD holds, or may.
func (v *View) countsOn(id placement.OSDID, sums map[placement.PoolID]*chunkSum) []string {
	var out []string
	o := v.Map.OSD(id)
	if o == nil {
		return nil
	}
	for _, p := range v.chunked() {
		h, s := v.holds(id, p.ID), sums[p.ID]
		switch {
		case o.Up && !h.known:
			out = append(out, fmt.Sprintf("%s has not reported yet what it holds of the chunks of pool '%s'", id, p.Name))
		case o.Up && h.shards > 0:
			out = append(out, fmt.Sprintf("%s holds %s of chunks of pool '%s'", id, count(int(h.shards), "shard"), p.Name))
		case o.Up:
		case o.In():
			out = append(out, fmt.Sprintf("%s is down and in: chunks of pool '%s' count on what it holds", id, p.Name))
		case s == nil || !s.whole:
			out = append(out, fmt.Sprintf("not all chunks of pool '%s' have been looked at since %s went: some may count on it", p.Name, id))
		case s.DegradedShards > 0 || s.Missing > 0:
			out = append(out, fmt.Sprintf("%s of chunks of pool '%s' are missing, and may be on %s", count(int(s.DegradedShards), "shard"), p.Name, id))
		}
	}
	return out
}

// drainsChunks says which pools' chunks would find too few failure domains without OSDs; t is the table without them.
func (v *View) drainsChunks(t *placement.Table) []string {
	var out []string
	for i := range v.Map.Pools {
		p := &v.Map.Pools[i]
		if need := p.Chunks.Redundancy.Shards(); need > 0 {
			if have, typ := t.Domains(p.ID); have < need {
				out = append(out, fmt.Sprintf("pool '%s': chunks %s need %d %ss, without them there are %d", p.Name, p.Chunks.Redundancy, need, typ, have))
			}
		}
	}
	return out
}

// checkChunks tells of chunks that have lost shards, cannot be read, or do not find enough places.
func (v *View) checkChunks(h checks) {
	var few, lack, bad []string
	lacking, lost := int64(0), int64(0)
	var table *placement.Table
	for i := range v.Map.Pools {
		p := &v.Map.Pools[i]
		need := p.Chunks.Redundancy.Shards()
		if need == 0 {
			continue
		}
		if table == nil {
			table = placement.NewTable(v.Map)
		}
		if have, typ := table.Domains(p.ID); have < need {
			few = append(few, fmt.Sprintf("pool '%s': chunks %s want %d %ss, there are %d with OSDs that are in", p.Name, p.Chunks.Redundancy, need, typ, have))
		}
	}
	sums := v.chunkSums()
	ids := make([]placement.PoolID, 0, len(sums))
	for id := range sums {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i] < ids[j] })
	for _, id := range ids {
		p, s := v.Map.Pool(id), sums[id]
		if p == nil {
			continue
		}
		if s.DegradedShards > 0 {
			lacking += s.DegradedShards
			lack = append(lack, fmt.Sprintf("pool '%s': %d of %d chunks lack %s", p.Name, s.Degraded, s.Chunks, count(int(s.DegradedShards), "shard")))
		}
		for _, c := range []struct {
			n    int64
			what string
		}{{s.Missing, "chunks have too few shards to be read"}, {s.Damaged, "chunks are damaged"}, {s.Dangling, "references of objects lead to no chunk"}} {
			if c.n > 0 {
				lost += c.n
				bad = append(bad, fmt.Sprintf("pool '%s': %d %s", p.Name, c.n, c.what))
			}
		}
	}
	if len(few) > 0 {
		h.add("POOL_TOO_FEW_DOMAINS", api.HealthWarn, len(few), fmt.Sprintf("%d pool(s) have too few failure domains for their chunks", len(few)), few)
	}
	if len(lack) > 0 {
		h.add("CHUNKS_DEGRADED", api.HealthWarn, int(lacking), fmt.Sprintf("%s of chunks missing", count(int(lacking), "shard")), lack)
	}
	if len(bad) > 0 {
		h.add("CHUNKS_DAMAGED", api.HealthErr, int(lost), fmt.Sprintf("Possible data damage: %s unreadable, damaged or not there", count(int(lost), "chunk")), bad)
	}
}
