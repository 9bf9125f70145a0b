package sim

import (
	"slices"

	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/placement"
)

// What follows is what osd/nursery.go does for the daemon: PGs that another PG of the same OSD
// may still split off wait until that is done.

// resumeSplits holds the PGs that the groups, as they were loaded, have still to split off.
func (n *osd) resumeSplits(m *placement.Map) {
	for _, s := range n.shards {
		for _, g := range pg.Sorted(s.groups) {
			if p := m.Pool(g.ID().Pool); p != nil {
				n.nursery.Resume(g, p.FirstPGNum, p.PGNum)
			}
		}
	}
	for _, s := range n.shards {
		for _, g := range pg.Sorted(s.groups) {
			if n.nursery.Holds(g.ID()) {
				g.Hold()
			}
		}
	}
}

// release lets go of the PGs that a parent of this shard has split off, or never will.
func (s *shard) release(parent placement.PGID) {
	g := s.groups[parent]
	if g != nil && g.Splitting() {
		return
	}
	for _, kid := range s.d.nursery.Held(parent) {
		if s.m.PG(kid) == nil {
			continue // of a map that this shard has not seen
		}
		var led placement.Term
		if g != nil {
			led = g.LedFor(kid.Shard)
		}
		s.d.nursery.Release(kid)
		to := s.d.shardOf(kid)
		s.d.later(0, func() { to.onReleased(kid, led) })
	}
}

func (s *shard) releaseAll() {
	for _, p := range s.d.nursery.Parents() {
		if s.d.shardOf(p) == s {
			s.release(p)
		}
	}
}

// onReleased goes on with a PG that had to wait.
func (s *shard) onReleased(id placement.PGID, led placement.Term) {
	if s.m == nil || s.m.PG(id) == nil {
		return // the map that has it comes yet
	}
	if g := s.groups[id]; g == nil {
		s.adopt(id)
	} else {
		fx, err := g.Release(s.d.mono(), s.d.disk.st, led)
		if err != nil {
			s.d.w.failf("%s: PG %s, split off: %v", s.d.id, id, err)
			return
		}
		events := s.carryOut(g, fx)
		s.d.w.observe(s.d, g)
		s.follow(g, events)
	}
	s.release(id)
}

// adopt makes the group of a PG that the store may hold without our being wanted for it.
func (s *shard) adopt(id placement.PGID) {
	g := s.load(id)
	if s.m.PG(id).Has(s.d.id) || slices.Contains(s.table.Target(id), s.d.id) || g.Exists() {
		s.step(g, pg.MapEvent{View: pg.ViewOf(s.m, s.table, id)})
		return
	}
	delete(s.groups, id)
	delete(s.lines, id)
}
