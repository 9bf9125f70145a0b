package pg

import (
	"slices"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// dead reports whether a member should leave the in-sync set: the map says it is
// down, it has lost its copy, or it has owed us an answer, a lease or room for too long.
func (g *Group) dead(id placement.OSDID) bool {
	if !g.view.up(id) {
		return true
	}
	p := g.lead.peers[id]
	late := func(since clock.Mono) bool { return since != 0 && g.now.Sub(since) > g.cfg.AckTimeout }
	return p != nil && (p.lost || late(p.silentSince) || late(p.leaseless) || late(p.roomless))
}

// dispensable reports whether the set may lose a member.
func (g *Group) dispensable() bool {
	return len(g.view.Record.InSync)-1 >= max(1, g.view.MinSize)
}

// stuck reports that peering cannot end: a member is dead, and the set may not lose it.
// Perhaps it never returns. So that the last copies do not wait for ever, we teach the
// targets already, before there is anything to serve: with one more member the dead one
// may go. Nothing changes meanwhile, so that pushes need no locks.
func (g *Group) stuck() bool {
	if g.lead.activated || !g.view.Record.Created || g.dispensable() || g.cfg.is(WaitForDead) {
		return false
	}
	for _, id := range g.view.Record.InSync {
		if id != g.cfg.Self && g.dead(id) {
			return true
		}
	}
	return false
}

// abdicateAfter is how many RetryAfter an unfit primary waits before it passes the PG on:
// should there be no fit member at all, terms must not rise by the thousand.
const abdicateAfter = 10

// abdicate hands the PG to the next member that is up.
func (g *Group) abdicate() {
	ld, set := g.lead, g.view.Record.InSync
	if ld.pending != nil || g.now.Sub(ld.since) < abdicateAfter*g.cfg.RetryAfter {
		g.repropose()
		return
	}
	if id := g.nextMember(); id != placement.NoOSD {
		g.change(set, id)
	}
}

// nextMember returns the member behind us that is up, or NoOSD.
func (g *Group) nextMember() placement.OSDID {
	set := g.view.Record.InSync
	self := slices.Index(set, g.cfg.Self)
	for i := range set {
		if id := set[(self+1+i)%len(set)]; id != g.cfg.Self && g.view.up(id) {
			return id
		}
	}
	return placement.NoOSD
}

// repropose sends a pending proposal again when it is time to.
func (g *Group) repropose() {
	if pd := g.lead.pending; pd != nil && pd.retry != 0 && g.now >= pd.retry {
		pd.token, pd.retry = g.token(), 0
		g.fx.Propose = &Proposal{Token: pd.token, Change: pd.change}
	}
}

// propose asks the monitors for the next change of the record, one at a time (R2).
func (g *Group) propose() {
	ld := g.lead
	if ld.pending != nil {
		g.repropose()
		return
	}
	rec := &g.view.Record
	if id := g.relief(); id != placement.NoOSD {
		g.change(rec.InSync, id)
		return
	}
	if id := g.leaver(); id != placement.NoOSD && g.dispensable() {
		g.change(without(rec.InSync, id), g.cfg.Self)
		return
	}
	if ld.activated && !rec.Created {
		g.change(rec.InSync, g.cfg.Self)
		return
	}
	if !ld.activated && !g.stuck() {
		return
	}
	if g.now < ld.quiet && !g.cfg.is(GrowEarly) {
		return // a newcomer does not know whom our former primaries need leases of, see believe
	}
	for _, p := range g.peerList() {
		// Its acknowledgements count since it became ready; only when they cover everything that
		// was committed before may others rely on it. Nor must reads wait for its first lease.
		if p.phase == ready && p.acked >= ld.committed.Seq && !rec.Has(p.id) && g.grants(p.id) && g.mayGrow() {
			g.change(g.inTargetOrder(append(slices.Clone(rec.InSync), p.id)), g.cfg.Self)
			return
		}
	}
	g.proposeMove()
}

// servedLong is how many AckTimeout a primary serves before it hands over for the sake of
// an object that it cannot read: should nobody be able to, the PG must not wander about.
const servedLong = 20

// relief returns who should lead instead of us because our disk does not answer, or cannot
// give us what a peer needs; or NoOSD. Nobody else could tell: we are up, and the others owe
// us nothing.
func (g *Group) relief() placement.OSDID {
	ld := g.lead
	hangs := g.lastPersist != g.donePersist && g.now.Sub(g.busySince) > 2*g.cfg.AckTimeout
	patience := abdicateAfter * g.cfg.RetryAfter
	if ld.activated {
		patience = servedLong * g.cfg.AckTimeout
	}
	if !hangs && !(ld.unreadable && g.now.Sub(ld.since) > patience) {
		return placement.NoOSD
	}
	for _, id := range g.view.Record.InSync {
		if id != g.cfg.Self && !g.dead(id) {
			return id
		}
	}
	return placement.NoOSD
}

// leaver returns the member that should leave the set first, or NoOSD.
func (g *Group) leaver() placement.OSDID {
	first := placement.NoOSD
	for _, id := range g.view.Record.InSync {
		if id == g.cfg.Self || !g.dead(id) {
			continue
		}
		if p := g.lead.peers[id]; p != nil && p.lost {
			return id // the others at least have something to come back with
		}
		if first == placement.NoOSD {
			first = id
		}
	}
	return first
}

func without(set []placement.OSDID, id placement.OSDID) []placement.OSDID {
	return slices.DeleteFunc(slices.Clone(set), func(m placement.OSDID) bool { return m == id })
}

// inTargetOrder sorts a set: CRUSH's order first, others behind by id.
func (g *Group) inTargetOrder(set []placement.OSDID) []placement.OSDID {
	rank := func(id placement.OSDID) int {
		if i := slices.Index(g.view.Target, id); i >= 0 {
			return i
		}
		return len(g.view.Target) + int(id)
	}
	slices.SortFunc(set, func(a, b placement.OSDID) int { return rank(a) - rank(b) })
	return set
}

// change begins a proposal.
func (g *Group) change(inSync []placement.OSDID, primary placement.OSDID) {
	c := g.newChange(inSync, primary)
	pd := &pending{change: c, require: c.InSync, token: g.token()}
	g.lead.pending = pd
	g.fx.Propose = &Proposal{Token: pd.token, Change: c}
}

// newChange describes a change of the record as it is now. It is not changed once proposed:
// the driver may be sending it.
func (g *Group) newChange(inSync []placement.OSDID, primary placement.OSDID) *wirepb.PGChange {
	rec := &g.view.Record
	c := &wirepb.PGChange{
		Pool: uint32(g.id.Pool), Shard: g.id.Shard, Term: uint32(rec.Term), Version: uint64(rec.Version),
		From: int32(g.cfg.Self), Primary: int32(primary), Created: rec.Created || g.lead.activated,
	}
	for _, id := range inSync {
		c.InSync = append(c.InSync, int32(id))
	}
	return c
}

func (g *Group) onProposed(ev ProposedEvent) {
	if g.lead == nil || g.lead.pending == nil || g.lead.pending.token != ev.Token {
		return
	}
	pd := g.lead.pending
	switch ev.Code {
	case wirepb.Code_OK:
		// The map that has it is on its way; ask again only if it does not come.
		pd.retry = g.now.Add(10 * g.cfg.RetryAfter)
	case wirepb.Code_CONFLICT, wirepb.Code_INVALID:
		if g.cfg.is(HoldRefused) {
			pd.retry = g.now.Add(10 * g.cfg.RetryAfter)
			return
		}
		// Either the record has changed, and the map that says so is on its way. Or this attempt was
		// refused on its merits (the newcomer has just died), but an earlier copy of it may still be
		// under way and be accepted later. Replace the record by itself: its new version makes
		// every older attempt void, and until that is in the map everybody proposed stays required.
		pd.change = g.newChange(g.view.Record.InSync, g.cfg.Self)
		pd.retry = g.now.Add(g.cfg.RetryAfter)
		if ev.Code == wirepb.Code_CONFLICT && ev.Epoch > g.view.Epoch {
			pd.retry = g.now.Add(10 * g.cfg.RetryAfter)
		}
	default:
		pd.retry = g.now.Add(g.cfg.RetryAfter) // outcome unknown: the same proposal again
	}
}
