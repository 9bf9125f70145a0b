package pg

import (
	"cmp"
	"maps"
	"slices"

	"github.com/cairnstore/cairn/placement"
)

// Nursery tells a driver for which PGs of an OSD another PG there may still split off a
// copy. Their groups are told to Hold, and released later.
//
// The zero Nursery is empty. It is not safe for concurrent use.
type Nursery struct {
	parents map[placement.PGID]placement.PGID // of the PGs held
}

// Empty reports whether nothing is held.
func (n *Nursery) Empty() bool { return len(n.parents) == 0 }

// Holds reports whether the PG is to be kept back.
func (n *Nursery) Holds(id placement.PGID) bool {
	_, ok := n.parents[id]
	return ok
}

func (n *Nursery) hold(kid, parent placement.PGID) {
	if n.parents == nil {
		n.parents = map[placement.PGID]placement.PGID{}
	}
	if !n.Holds(kid) {
		n.parents[kid] = parent
	}
}

// Grown returns the pools of m that have more PGs than they had in an older map.
func Grown(old, m *placement.Map) []*placement.Pool {
	var grown []*placement.Pool
	for i := range m.Pools {
		if p, was := &m.Pools[i], old.Pool(m.Pools[i].ID); was != nil && p.PGNum > was.PGNum {
			grown = append(grown, p)
		}
	}
	return grown
}

// Follow goes on from one map to the next: it holds the PGs that pools have got, and lets go
// of those whose pool was removed. It must be called before any group is told of the newer map.
func (n *Nursery) Follow(old, m *placement.Map) {
	for _, p := range Grown(old, m) {
		from := old.Pool(p.ID).PGNum
		for c := from; from > 0 && c < p.PGNum; c++ {
			n.hold(placement.PGID{Pool: p.ID, Shard: c}, placement.PGID{Pool: p.ID, Shard: placement.SplitParent(c, from)})
		}
	}
	maps.DeleteFunc(n.parents, func(kid, _ placement.PGID) bool { return m.Pool(kid.Pool) == nil })
}

// Resume holds the PGs that a group, as it was loaded, has still to split off: its pool had
// `first` PGs when it was made and has `now`.
func (n *Nursery) Resume(g *Group, first, now uint32) {
	if !g.exists {
		return
	}
	from, step := g.SplitFrom()
	if from == 0 {
		from, step = first, first
	}
	if step == from {
		step = now // the next split goes all the way
	}
	for _, c := range placement.SplitChildren(g.id.Shard, from, now) {
		parent := g.id
		if c >= step {
			parent.Shard = placement.SplitParent(c, step)
		}
		n.hold(placement.PGID{Pool: g.id.Pool, Shard: c}, parent)
	}
}

// Held returns the PGs that wait for a parent, sorted.
func (n *Nursery) Held(parent placement.PGID) []placement.PGID {
	if n.Holds(parent) {
		return nil // itself not there yet
	}
	var kids []placement.PGID
	for kid, p := range n.parents {
		if p == parent {
			kids = append(kids, kid)
		}
	}
	slices.SortFunc(kids, comparePGs)
	return kids
}

// Parents returns the PGs that others wait for, sorted.
func (n *Nursery) Parents() []placement.PGID {
	var all []placement.PGID
	for _, p := range n.parents {
		all = append(all, p)
	}
	slices.SortFunc(all, comparePGs)
	return slices.Compact(all)
}

// Sorted returns groups in the order of their ids.
func Sorted(groups map[placement.PGID]*Group) []*Group {
	return slices.SortedFunc(maps.Values(groups), func(a, b *Group) int { return comparePGs(a.id, b.id) })
}

func comparePGs(a, b placement.PGID) int {
	return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Shard, b.Shard))
}

// Release ends the wait of a PG: its parent has acted on a map that has it, and is not Splitting,
// or is not here.
func (n *Nursery) Release(kid placement.PGID) { delete(n.parents, kid) }
