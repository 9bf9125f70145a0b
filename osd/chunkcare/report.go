package chunkcare

import (
	"cmp"
	"slices"

	"github.com/cairnstore/cairn/placement"
)

// PoolStat is what was found in the PGs of one pool that the OSD leads.
type PoolStat struct {
	Pool   placement.PoolID
	PGs    int
	Looked int             // PGs whose entries have all been looked at since an OSD came, went for good, or was marked out or in
	Epoch  placement.Epoch // of the map by which Looked counts
	Stat   Stat
}

// Pools sums up by pool what was found in the PGs that the OSD leads.
func (c *Care) Pools() []PoolStat {
	m := c.o.Cluster.Map()
	if m == nil {
		return nil
	}
	where := holdersOf(m)
	c.mu.Lock()
	defer c.mu.Unlock()
	pools := map[placement.PoolID]*PoolStat{}
	for _, g := range c.groups {
		s := pools[g.id.Pool]
		if s == nil {
			s = &PoolStat{Pool: g.id.Pool, Epoch: m.Epoch}
			pools[g.id.Pool] = s
		}
		s.PGs++
		if !g.light.last.IsZero() && g.where == where {
			s.Looked++
		}
		s.Stat.Add(g.stat)
	}
	out := make([]PoolStat, 0, len(pools))
	for _, s := range pools {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b PoolStat) int { return cmp.Compare(a.Pool, b.Pool) })
	return out
}
