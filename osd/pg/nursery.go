package pg

import (
	"cmp"
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

// Grow holds the PGs that a pool has got between two maps. It must be called before any
// group is told of the newer map.
func (n *Nursery) Grow(pool placement.PoolID, from, to uint32) {
	for c := from; from > 0 && c < to; c++ {
		n.hold(placement.PGID{Pool: pool, Shard: c}, placement.PGID{Pool: pool, Shard: placement.SplitParent(c, from)})
	}
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

// All returns every PG that is held, sorted.
func (n *Nursery) All() []placement.PGID {
	all := make([]placement.PGID, 0, len(n.parents))
	for kid := range n.parents {
		all = append(all, kid)
	}
	slices.SortFunc(all, comparePGs)
	return all
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

func comparePGs(a, b placement.PGID) int {
	return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Shard, b.Shard))
}

// Release ends the wait of a PG: its parent has acted on a map that has it, and is not Splitting,
// or is not here.
func (n *Nursery) Release(kid placement.PGID) { delete(n.parents, kid) }
