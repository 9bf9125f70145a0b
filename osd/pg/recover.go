package pg

import (
	"fmt"
	"slices"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// hold is why a target that is no member is not taught now.
type hold uint8

const (
	notHeld   hold = iota
	heldFlags      // the cluster's flags forbid it
	heldSlot       // we, or the target, have enough to do with other PGs
	heldFull       // the target is too full
)

func (h hold) String() string {
	switch h {
	case heldFlags:
		return "the flags norecover, nobackfill or norebalance"
	case heldSlot:
		return "enough PGs recover on it or on the primary"
	case heldFull:
		return "its disk is too full"
	}
	return ""
}

// busyWait is how many RetryAfter pass before a target that had no slot is asked again.
const busyWait = 5

// fullWait is how many pass before a full target is taught again what was removed meanwhile: long
// enough for its slots to become free for other PGs (heldFor). When it has space it is taught at once.
const fullWait = 200

// good counts the members that are up and answer, ourselves included.
func (g *Group) good() int {
	n := 0
	for _, id := range g.view.Record.InSync {
		if id == g.cfg.Self || !g.dead(id) {
			n++
		}
	}
	return n
}

// priority says how much the PG needs its learners: most of all if its clients wait for them,
// then by the copies that are missing; a mere move comes last.
func (g *Group) priority() uint32 {
	n := g.good()
	missing := uint32(max(0, g.view.Size-n))
	if n < g.view.MinSize {
		return urgent + missing
	}
	return missing
}

// held tells whether a learner may be taught now, by the flags and by the space it has. all: by
// a scan of the whole PG.
func (g *Group) heldBack(p *peer, all bool) hold {
	f := g.view.Flags
	switch full := g.fullness(p.id); {
	case f&placement.FlagNoRecover != 0, all && f&placement.FlagNoBackfill != 0,
		f&placement.FlagNoRebalance != 0 && g.good() >= g.view.Size:
		return heldFlags
	case all && full >= placement.BackfillFull:
		return heldFull // what it may have by the log, pump decides
	}
	return notHeld
}

// fullness is what the map says of an OSD, or what it said itself since.
func (g *Group) fullness(id placement.OSDID) placement.Fullness {
	return max(g.view.Peers[id].Full, g.cfg.Throttle.fullness(id))
}

// mayTeach reports whether a stream to a learner may begin.
func (g *Group) mayTeach(p *peer) bool {
	if p.held = g.heldBack(p, p.whole && !p.old); p.held != notHeld {
		return false
	}
	if !g.cfg.Throttle.take(teaching, g.now, g.id, g.priority()) {
		p.held = heldSlot
		return false
	}
	g.shares.teaching = true
	return true
}

// restrain stops teaching a peer that is held back meanwhile.
func (g *Group) restrain(p *peer) {
	if p.phase != learning && p.phase != querying || g.required(p.id) {
		return
	}
	if h := g.heldBack(p, p.backfill != nil); h != notHeld {
		g.breakStream(p)
		p.held = h
	}
}

// holdBack ends a stream because of what its beginning has shown.
func (g *Group) holdBack(p *peer, h hold) {
	g.breakStream(p)
	p.held = h
	p.retryAt = g.now.Add(busyWait * g.cfg.RetryAfter)
	if h == heldFull {
		p.retryAt = g.now.Add(fullWait * g.cfg.RetryAfter)
	}
}

// empty tells a learner that is too full for a backfill to give up its copy, which is so old that
// the log says no more what was removed from it. Were it kept, the OSD could stay full of what
// clients have long removed, and the PG degraded, for ever. What it has counts for nothing, and a
// backfill would write over it; still it goes only while there are two good copies and as many
// as clients need, and one PG's after another, so that no more is copied anew than has to be.
func (g *Group) empty(p *peer) {
	ld := g.lead
	p.old = p.info.Exists && !p.emptied
	if !p.old || !ld.serving || ld.pending != nil || g.required(p.id) || g.view.Record.Has(p.id) || g.good() < max(2, g.view.MinSize) {
		return
	}
	if !g.cfg.Throttle.mayEmpty(g.now, p.id) {
		return
	}
	g.send(p, &wirepb.PGMsg_Forget{Forget: &wirepb.PGForget{}}, nil)
	p.old, p.emptied = false, true
}

// pumpRemovals teaches a full learner only what frees space: objects that were removed meanwhile.
// Were it taught nothing, it would stay full for ever, although clients have made room. As a member
// it would keep clients from writing, so it becomes none before it has space.
func (g *Group) pumpRemovals(p *peer) {
	if !p.removing {
		p.removing = true
		slices.SortStableFunc(p.order, func(a, b string) int {
			switch x, y := g.isRemoved(a), g.isRemoved(b); {
			case x && !y:
				return -1
			case y && !x:
				return 1
			}
			return 0
		})
	}
	for len(p.order) > 0 && g.isRemoved(p.order[0]) && g.mayPush(p) {
		name := p.order[0]
		p.order = p.order[1:]
		g.startPush(p, name)
	}
	if p.pushing == 0 {
		g.holdBack(p, heldFull)
	}
}

// mayPush reports whether another object may be sent to a peer now. Members are never kept
// waiting: the PG stands still until they are activated.
func (g *Group) mayPush(p *peer) bool {
	if p.pushing >= g.cfg.PushMax {
		return false
	}
	if p.phase != learning {
		return true
	}
	mine := 0
	for _, o := range g.lead.peers {
		if o.phase == learning {
			mine += o.pushing
		}
	}
	return g.cfg.Throttle.room(g.id, mine, g.priority())
}

// yieldMax is how often the push of an object is given up for writes to it. Then they wait
// for it, or an object that is written all the time would never arrive.
const yieldMax = 3

// yield gives up a push of an object that a client wants to write, unless it is as good as done;
// the object is pushed again later, with what was written.
func (g *Group) yield(name string) {
	ld := g.lead
	var late []uint64
	for id, ps := range ld.pushes {
		if ps.object == name && ps.locked && !ps.last && ps.peer.phase == learning && ps.peer.yields[name] < yieldMax {
			late = append(late, id)
		}
	}
	slices.Sort(late)
	for _, id := range late {
		ps := ld.pushes[id]
		p := ps.peer
		delete(ld.pushes, id)
		if p.yields == nil {
			p.yields = map[string]int{}
		}
		p.yields[name]++
		p.pushing--
		p.need[name] = false
		p.order = append(p.order, name)
		g.unlockPush(ps)
	}
}

// fullMember names an OSD without whose disk a write cannot commit and which has no space, or NoOSD.
func (g *Group) fullMember() placement.OSDID {
	var room [8]placement.OSDID
	for _, id := range g.appendRequired(room[:0]) {
		if g.fullness(id) >= placement.Full && !g.dead(id) {
			return id
		}
		if p := g.lead.peers[id]; p != nil && p.roomless != 0 {
			return id // whatever it says of its space: what it was given did not fit
		}
	}
	return placement.NoOSD
}

// noSpace refuses a write that needs space where there is none. A full disk must not come so far
// that it cannot keep what it has acknowledged, or what it needs to delete something.
func (g *Group) noSpace(r *request) bool {
	if !r.ev.Grows || g.cfg.is(FillDisks) {
		return false
	}
	full := g.cfg.Self
	if !r.ev.Full {
		if full = g.fullMember(); full == placement.NoOSD {
			return false
		}
	}
	g.reply(r.handles, Reply{Code: wirepb.Code_NO_SPACE, Text: fmt.Sprintf("PG %s: %s is full: delete data or add OSDs", g.id, full)})
	return true
}

// progress estimates what learners still need, and what they have got.
func (g *Group) progress(s *wirepb.PGStat, objects, bytes int64) {
	ld := g.lead
	for _, id := range g.view.Target {
		if id == g.cfg.Self || g.view.Record.Has(id) || !g.view.up(id) {
			continue
		}
		p := ld.peers[id]
		switch {
		case p == nil || p.phase == idle || p.phase == querying:
			s.RecoverObjects += objects
		case p.backfill != nil:
			s.RecoverObjects += max(0, objects-p.scanned) + int64(len(p.need))
		default:
			s.RecoverObjects += int64(len(p.need))
		}
		if p != nil {
			s.RecoveredObjects += max(p.scanned, p.copied)
			s.RecoveredBytes += p.pushed
		}
	}
	if objects > 0 {
		s.RecoverBytes = int64(float64(s.RecoverObjects) * float64(bytes) / float64(objects))
	}
}

// waitWords are the words of a PG's state for targets that are held back.
func (g *Group) waitWords() []string {
	var words []string
	add := func(w string) {
		if !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	for _, p := range g.peerList() {
		if p.phase != idle || g.view.Record.Has(p.id) {
			continue
		}
		kind := "recovery"
		if p.whole || g.good() >= g.view.Size {
			kind = "backfill"
		}
		switch p.held {
		case heldFull:
			add(kind + "_toofull")
		case heldFlags, heldSlot:
			add(kind + "_wait")
		}
	}
	return words
}

// isRemoved reports whether an object is gone, by what the log still says of it.
func (g *Group) isRemoved(name string) bool {
	e := g.log.lastOf(name)
	return e != nil && e.Removed
}
