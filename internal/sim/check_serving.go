package sim

import "github.com/cairnstore/cairn/osd/pg"

// Invariant: in each term of a PG one OSD serves at most.

func (w *world) checkServing(n *osd, g *pg.Group) {
	term, ok := g.Serving()
	if !ok {
		return
	}
	leaders := w.check.pg(g.ID()).leaders
	if who, known := leaders[term]; known && who != n.id {
		w.failf("PG %s: %s and %s both serve in term %d", g.ID(), who, n.id, term)
	}
	leaders[term] = n.id
}

// Invariant: what waits is bounded.

func (w *world) checkQueues(n *osd, g *pg.Group) {
	if have, limit := g.Queued(); have > limit {
		w.failf("PG %s: %s holds %d requests, the limit is %d", g.ID(), n.id, have, limit)
	}
}
