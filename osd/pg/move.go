package pg

import (
	"slices"

	"github.com/cairnstore/cairn/placement"
)

// setMax is how many times the pool's size the in-sync set may have: the old copies and as
// many new ones, when the whole target moves at once.
const setMax = 2

// mayGrow reports whether the set may take another member. A target that changes again and
// again must not collect members without end: nextMove lets one go first then.
func (g *Group) mayGrow() bool {
	return len(g.view.Record.InSync) < setMax*max(1, g.view.Size) || !g.lead.serving
}

// proposeMove takes the next step towards the target.
func (g *Group) proposeMove() {
	if set, primary, ok := g.nextMove(); ok {
		g.change(set, primary)
	}
}

// nextMove returns the next change of the record that brings the PG to its target: once the
// target has everything, a primary that is not part of it hands over, and members that are
// not part of it go, one after the other.
//
// A member that is up and well goes only when the copies that remain are as many as the pool
// wants. CRUSH may name fewer OSDs than that, say because one of three hosts was taken out;
// until there is another place for the third copy, it stays where it is.
func (g *Group) nextMove() (set []placement.OSDID, primary placement.OSDID, ok bool) {
	rec, v := &g.view.Record, &g.view
	if !g.lead.serving || len(v.Target) == 0 {
		return nil, placement.NoOSD, false
	}
	there := true
	for _, id := range v.Target {
		there = there && v.up(id) && rec.Has(id)
	}
	if there && !slices.Contains(v.Target, g.cfg.Self) {
		return rec.InSync, v.Target[0], true
	}
	if !there && len(rec.InSync) < setMax*v.Size {
		return nil, placement.NoOSD, false
	}
	for _, id := range rec.InSync {
		if id != g.cfg.Self && !slices.Contains(v.Target, id) && g.spare(id) {
			return without(rec.InSync, id), g.cfg.Self, true
		}
	}
	return nil, placement.NoOSD, false
}

// spare reports whether there are as many good copies as the pool wants without a member.
func (g *Group) spare(id placement.OSDID) bool {
	if g.cfg.is(ShrinkToTarget) {
		return g.dispensable()
	}
	good := 0
	for _, m := range g.view.Record.InSync {
		if m != id && (m == g.cfg.Self || !g.dead(m)) {
			good++
		}
	}
	return good >= max(g.view.Size, g.view.MinSize, 1)
}
