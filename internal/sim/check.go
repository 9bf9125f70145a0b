package sim

import (
	"slices"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/placement"
)

// checks is what the checkers remember.
type checks struct {
	pgs       map[placement.PGID]*pgCheck
	acked     map[request]bool // whose log entry was seen committed
	damaged   bool             // a copy was, or seemed to be, not readable
	unknowns  int
	undecided int // objects whose history took too long to check
}

// request is a request id.
type request struct{ client, seq uint64 }

// pgCheck is what they remember of a PG.
type pgCheck struct {
	leaders map[placement.Term]placement.OSDID // who served in a term
	served  placement.Term                     // the newest that was ever served
	chain   []*wirepb.LogEntry                 // everything ever committed, by sequence number
	latest  map[string]*wirepb.LogEntry        // the last of them for each object
	names   []string                           // of those objects
	seen    map[*pg.Group]seen
	heirs   []heir // PGs that were split from it
}

// heir is a PG that was split from another one, which then got a new term.
type heir struct {
	id     placement.PGID
	before placement.Term // what is committed by a primary of an older one is the heir's history, too
}

// seen is how far a group's committed entries have been compared in its present term.
type seen struct {
	term placement.Term
	upTo uint64
}

func (c *checks) init() {
	c.pgs, c.acked = map[placement.PGID]*pgCheck{}, map[request]bool{}
}

func (c *checks) pg(id placement.PGID) *pgCheck {
	p := c.pgs[id]
	if p == nil {
		p = &pgCheck{
			leaders: map[placement.Term]placement.OSDID{}, latest: map[string]*wirepb.LogEntry{}, seen: map[*pg.Group]seen{},
		}
		c.pgs[id] = p
	}
	return p
}

// sorted returns the PGs that anything is known of.
func (c *checks) sorted() []placement.PGID {
	ids := make([]placement.PGID, 0, len(c.pgs))
	for id := range c.pgs {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b placement.PGID) int {
		if a.Less(b) {
			return -1
		}
		return 1
	})
	return ids
}

// observe checks, after each step of a group, what must hold at every moment.
func (w *world) observe(n *osd, g *pg.Group) {
	w.checkServing(n, g)
	w.checkQueues(n, g)
	w.checkLog(n, g)
}

// mapChanged checks what must hold of every map.
func (w *world) mapChanged(why string, old, m *placement.Map) {
	for i := range m.Pools {
		if p, was := &m.Pools[i], old.Pool(m.Pools[i].ID); was != nil && p.PGNum > was.PGNum {
			w.poolGrew(was.PGNum, p)
		}
	}
	for i := range m.PGs {
		for shard := range m.PGs[i].Records {
			id := placement.PGID{Pool: m.PGs[i].Pool, Shard: uint32(shard)}
			rec := &m.PGs[i].Records[shard]
			if before := old.PG(id); before != nil && before.Version == rec.Version {
				continue
			}
			w.logf("mon: %s: PG %s: %+v", why, id, *rec)
			w.checkMembers(id, true)
		}
	}
}

// checkEnd checks what must hold when all is quiet.
func (w *world) checkEnd() {
	for _, check := range []func(){w.checkHistory, w.compareCopies, w.checkRefs, w.checkChunks, w.checkLeftovers, w.checkMonitors} {
		if len(w.fails) == 0 {
			check()
		}
	}
}
