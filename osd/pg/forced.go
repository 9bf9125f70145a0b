package pg

import (
	"github.com/cairnstore/cairn/osd/store"
)

// takeForced makes our copy of the PG, whatever it is, the truth if an administrator
// said so, because nobody who has everything will come back (Record.Forced). It does so
// once in each term, and not before the copy is divided as the map wants it: what a split
// hands on must be the log of before.
//
// The objects may be a mixture of old and new, and the log may name writes that they
// lack. So the log begins anew, at a position of this term that no other copy ever had.
// Whoever comes back, however much it knows, has nothing in common with such a log and
// is compared object by object; if it were brought up by the log, what it has and we
// lack would stay, and the copies would differ for ever. With the old entries go their
// request ids: the horizon rises above them, so that a repeat of such a request is told
// that its outcome is unknown.
func (g *Group) takeForced() {
	ld := g.lead
	if ld.forced || !g.view.Record.Forced {
		return
	}
	ld.forced = true
	if g.cfg.is(KeepForcedLog) {
		g.exists, g.st.complete = true, true
		return
	}
	for _, e := range g.log.entries {
		g.st.horizon = max(g.st.horizon, e.At)
	}
	begin := store.Version{Term: g.view.Record.Term, Seq: g.log.head().Seq + 1}
	g.log = pgLog{tail: begin}
	g.exists, g.damaged = true, ""
	g.st.complete, g.st.completeTo, g.st.scan = true, store.Version{}, false
	g.st.committed, ld.committed = begin, begin
	g.persist([]store.Op{
		{Kind: store.OpOmapClear, Key: g.metaKey()},
		{Kind: store.OpRemoveSpace, Key: store.Key{PG: g.id, Space: store.Staging}},
		g.opState(),
	}, nil)
}
