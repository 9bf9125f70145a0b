package sim

import (
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/pg"
)

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
	c := w.check.pg(g.ID())
	c.served = max(c.served, term)
}

// Invariant: once a term is served, no primary of an earlier one answers reads, or what it
// says might be the past (R6). Nobody needs to have seen a stale value for this to fail.

func (w *world) checkAnswer(n *osd, g *pg.Group, write bool, r pg.Reply) {
	switch r.Code {
	case wirepb.Code_OK:
		if write {
			return // it has committed, whoever says so
		}
	case wirepb.Code_NOT_FOUND, wirepb.Code_CONFLICT: // told of what is there
	default:
		return
	}
	if term, served := g.LeadTerm(), w.check.pg(g.ID()).served; term != 0 && term < served {
		w.failf("PG %s: %s answers a read in term %d, though term %d is served already", g.ID(), n.id, term, served)
	}
}

// Invariant: what waits is bounded.

func (w *world) checkQueues(n *osd, g *pg.Group) {
	if have, limit := g.Queued(); have > limit {
		w.failf("PG %s: %s holds %d requests, the limit is %d", g.ID(), n.id, have, limit)
	}
}
