package osd

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/placement"
)

// nursery is the PGs whose copies other PGs of this OSD may still split off. Parent and
// child can live in different shards. The order is what matters:
//
//   - onMap holds the new PGs before any shard hears of the map that has them;
//   - a group of them that is made meanwhile is told to hold;
//   - the parent's shard, once it has acted on that map, releases them when its split
//     is on disk, or when it finds that there is nothing to split, and tells their shard.
type nursery struct {
	busy atomic.Bool // something is held

	mu sync.Mutex // guards below
	n  pg.Nursery
}

// change changes what is held.
func (y *nursery) change(f func(*pg.Nursery)) {
	y.mu.Lock()
	defer y.mu.Unlock()
	f(&y.n)
	y.busy.Store(!y.n.Empty())
}

// holds reports whether the PG waits.
func (y *nursery) holds(id placement.PGID) bool {
	if !y.busy.Load() {
		return false
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.n.Holds(id)
}

// held returns the PGs that wait for a parent.
func (y *nursery) held(parent placement.PGID) []placement.PGID {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.n.Held(parent)
}

// parents returns the PGs that others wait for.
func (y *nursery) parents() []placement.PGID {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.n.Parents()
}

// follow goes on from one map to the next. Most of them change nothing, and take no lock.
func (y *nursery) follow(old, m *placement.Map) {
	if y.busy.Load() || len(pg.Grown(old, m)) > 0 {
		y.change(func(n *pg.Nursery) { n.Follow(old, m) })
	}
}

// resumeSplits holds the PGs that the groups, as they were loaded, have still to split off.
// It runs before the shards do.
func (d *OSD) resumeSplits(m *placement.Map) {
	d.nursery.change(func(n *pg.Nursery) {
		for _, s := range d.shards {
			for _, g := range pg.Sorted(s.groups) {
				if p := m.Pool(g.ID().Pool); p != nil {
					n.Resume(g, p.FirstPGNum, p.PGNum)
				}
			}
		}
	})
	for _, s := range d.shards {
		for id, g := range s.groups {
			if d.nursery.holds(id) {
				g.Hold()
			}
		}
	}
}

// released tells a shard that a PG of its own need not wait any longer.
type released struct {
	id  placement.PGID
	led placement.Term // see pg.Group.LedFor
}

// release lets go of the PGs that a parent of this shard has split off, or never will.
func (s *shard) release(parent placement.PGID) {
	g := s.groups[parent]
	if g != nil && g.Splitting() {
		return
	}
	for _, kid := range s.d.nursery.held(parent) {
		if s.m.PG(kid) == nil {
			continue // of a map that this shard has not seen
		}
		var led placement.Term
		if g != nil {
			led = g.LedFor(kid.Shard)
		}
		s.d.nursery.change(func(n *pg.Nursery) { n.Release(kid) })
		s.d.shardOf(kid).say(released{kid, led})
	}
}

// releaseAll is release for all parents of this shard, which has just acted on a map.
func (s *shard) releaseAll() {
	if !s.d.nursery.busy.Load() {
		return
	}
	for _, p := range s.d.nursery.parents() {
		if s.d.shardOf(p) == s {
			s.release(p)
		}
	}
}

// onReleased goes on with a PG that had to wait.
func (s *shard) onReleased(r released) {
	if s.m == nil || s.m.PG(r.id) == nil {
		return // the map that has it comes yet
	}
	if g := s.groups[r.id]; g == nil {
		s.adopt(r.id)
	} else {
		now := s.d.clk.Mono()
		fx, err := g.Release(now, s.d.o.Store, r.led)
		if err != nil {
			s.d.fail(fmt.Errorf("%s: PG %s, split off: %w", s.d.id, r.id, err))
			return
		}
		s.follow(g, s.carryOut(g, &fx, now, nil))
	}
	s.release(r.id)
}

// adopt makes the group of a PG that the store may hold without our being wanted for it.
func (s *shard) adopt(id placement.PGID) {
	wanted := s.m.PG(id).Has(s.d.id) || slices.Contains(s.table.Target(id), s.d.id)
	if err := s.load(id); err != nil {
		s.d.fail(err)
		return
	}
	if g := s.groups[id]; wanted || g.Exists() {
		s.step(g, pg.MapEvent{View: s.view(id)})
		return
	}
	delete(s.groups, id)
}
