package sim

import (
	"bytes"
	"slices"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/placement"
)

// Invariants: what primaries call committed is one history that nobody ever disagrees with;
// it is on the disk of every member of the in-sync set; and clients are told of nothing else.

// checkLog takes over what a primary calls committed.
func (w *world) checkLog(n *osd, g *pg.Group) {
	c := w.check.pg(g.ID())
	s := c.seen[g]
	if term := g.LeadTerm(); term != s.term {
		s = seen{term: term}
	}
	if s.term == 0 {
		delete(c.seen, g)
		return
	}
	for _, e := range g.Committed(s.upTo) {
		if !w.commit(c, n, g.ID(), s.term, e) {
			return
		}
		s.upTo = e.Pos.Seq
	}
	c.seen[g] = s
}

// commit compares an entry, which was committed in a term, with the history, or makes it the next of it.
func (w *world) commit(c *pgCheck, n *osd, id placement.PGID, term placement.Term, e *wirepb.LogEntry) bool {
	have := uint64(len(c.chain))
	if e.Pos.Seq <= have {
		if old := c.chain[e.Pos.Seq-1]; !sameEntry(old, e) {
			w.failf("PG %s: %s calls %v of %q committed, but %v of %q was", id, n.id, e.Pos, e.Object, old.Pos, old.Object)
			return false
		}
		return true
	}
	if e.Pos.Seq != have+1 {
		w.failf("PG %s: %s calls %v committed, but nobody committed %d", id, n.id, e.Pos, have+1)
		return false
	}
	c.chain = append(c.chain, e)
	if pool := w.mons.st.Map().Pool(id.Pool); pool != nil && placement.PGOf(pool, string(e.Object)) == id {
		c.latestOf(e)
		w.plane.committed(n, id, e)
	}
	w.check.acked[request{e.Req.GetClient(), e.Req.GetSeq()}] = true
	w.checkMembers(id, false)
	for _, h := range c.heirs { // what a primary commits that has not heard of the split yet is theirs, too
		if term < h.before && !w.commit(w.check.pg(h.id), n, h.id, term, e) {
			return false
		}
	}
	return true
}

func sameEntry(a, b *wirepb.LogEntry) bool {
	return a.Pos.Term == b.Pos.Term && bytes.Equal(a.Object, b.Object) &&
		a.Req.GetClient() == b.Req.GetClient() && a.Req.GetSeq() == b.Req.GetSeq()
}

// acknowledged checks that a write whose client is told of success is in the history.
func (w *world) acknowledged(c *client, a *attempt, r pg.Reply) {
	if r.Code == wirepb.Code_OK && a.in.writes() && !w.check.acked[request{uint64(c.id) + 1, a.seq}] {
		w.failf("client %d: %+v was acknowledged, but nobody committed it", c.id, a.in)
	}
}

// latestOf notes that an entry is the last that was committed of its object.
func (c *pgCheck) latestOf(e *wirepb.LogEntry) {
	name := string(e.Object)
	if c.latest[name] == nil {
		c.names = append(c.names, name)
	}
	c.latest[name] = e
}

// poolGrew gives new PGs the history of those they were split from, and each its own objects.
func (w *world) poolGrew(from uint32, p *placement.Pool) {
	for shard := from; shard < p.PGNum; shard++ {
		kid := w.check.pg(placement.PGID{Pool: p.ID, Shard: shard})
		parent := w.check.pg(placement.PGID{Pool: p.ID, Shard: placement.SplitParent(shard, from)})
		kid.chain = slices.Clone(parent.chain)
		id := placement.PGID{Pool: p.ID, Shard: shard}
		parent.heirs = append(parent.heirs, heir{id, w.mons.record(id).Term})
	}
	for shard := range p.PGNum {
		id := placement.PGID{Pool: p.ID, Shard: shard}
		c := w.check.pg(id)
		c.latest, c.names = map[string]*wirepb.LogEntry{}, nil
		for _, e := range c.chain {
			if placement.PGOf(p, string(e.Object)) == id {
				c.latestOf(e)
			}
		}
	}
}
