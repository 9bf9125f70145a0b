package pg

import (
	"slices"

	"github.com/cairnstore/cairn/internal/clock"
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
		return
	}
	if at, ok := g.homeAt(); ok && g.now >= at && g.cfg.Throttle.take(homing, g.now, g.id, 0) {
		g.shares.homing = true
		g.change(g.view.Record.InSync, g.home())
	}
}

// home is the OSD that should lead: the first target, or the first whose device is not slow.
func (g *Group) home() placement.OSDID {
	for _, id := range g.view.Target {
		if !g.view.Peers[id].Shunned {
			return id
		}
	}
	return g.view.Target[0]
}

// homeAt returns when the PG goes back to the OSD that should lead it, so that primaries are
// spread as CRUSH has it after OSDs have failed and returned, and leave one that has become
// slow. It does so only when it is whole, and not soon after the last change.
func (g *Group) homeAt() (clock.Mono, bool) {
	ld, v := g.lead, &g.view
	if !ld.serving || ld.pending != nil || len(v.Target) == 0 || g.home() == g.cfg.Self || len(v.Record.InSync) < v.Size {
		return 0, false
	}
	for _, id := range v.Target {
		if !v.Record.Has(id) {
			return 0, false
		}
	}
	for _, id := range v.Record.InSync {
		if id == g.cfg.Self {
			continue
		}
		if p := ld.peers[id]; p == nil || p.phase != live || g.dead(id) {
			return 0, false
		}
	}
	return ld.served.Add(g.cfg.HomeAfter), true
}

// believe takes a peer's word, or our own memory, of the last term it led and served. If that
// is the term before ours, there is nobody left who may answer reads: before it began to
// serve, the primaries of all earlier terms had fallen silent for good, and it has itself
// stopped, since it acts on a map with our term. So we need not wait until our own
// grants have run out (R6). A term has one primary, so nobody else can say this of it.
func (g *Group) believe(led placement.Term) {
	ld := g.lead
	if led != 0 && (led+1 == ld.term || g.cfg.is(AnyWord)) {
		ld.quiet = min(ld.quiet, g.now)
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
		return rec.InSync, g.home(), true
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
