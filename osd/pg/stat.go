package pg

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// Leads reports whether this OSD is the PG's primary in the map it acts on.
func (g *Group) Leads() bool { return g.lead != nil }

// Exists reports whether the store holds data of the PG.
func (g *Group) Exists() bool { return g.exists }

// View returns the map's view the group acts on.
func (g *Group) View() View { return g.view }

// Stat describes the PG as its primary sees it, in Ceph's words; nil when this
// OSD does not lead it. objects and bytes are what the store counts here.
func (g *Group) Stat(objects, bytes int64) *wirepb.PGStat {
	ld, v := g.lead, &g.view
	if ld == nil {
		return nil
	}
	s := &wirepb.PGStat{
		Pool: uint32(g.id.Pool), Shard: g.id.Shard, Term: uint32(ld.term), State: g.stateWords(objects),
		Objects: objects, Bytes: bytes, HeadSeq: g.log.head().Seq, LogEntries: uint32(len(g.log.entries)),
	}
	for _, id := range v.Target {
		if v.up(id) {
			s.Up = append(s.Up, int32(id))
		}
	}
	s.Acting = append(s.Acting, int32(g.cfg.Self))
	for _, id := range v.Record.InSync {
		if id != g.cfg.Self {
			s.Acting = append(s.Acting, int32(id))
		}
	}
	copies := 0
	for _, id := range v.Record.InSync {
		if v.up(id) {
			copies++
		}
	}
	s.Degraded = objects * int64(max(0, v.Size-copies))
	for _, p := range g.peerList() {
		if p.phase == learning && copies < v.Size && p.backfill == nil {
			// It has all objects but those it still needs.
			s.Degraded -= max(0, objects-int64(len(p.need)))
		}
		if p.phase == learning && copies < v.Size && p.backfill != nil {
			s.Degraded -= max(0, min(objects, p.scanned)-int64(len(p.need)))
		}
		s.RecoveringBytes += p.pushed
	}
	g.progress(s, objects, bytes)
	s.Degraded = max(0, s.Degraded)
	if copies >= v.Size {
		for _, id := range v.Record.InSync {
			if !slices.Contains(v.Target, id) {
				s.Misplaced += objects
			}
		}
	}
	if !ld.serving || !g.writable() {
		s.Waiting = g.why()
	}
	g.fillScrubStat(s)
	return s
}

// stateWords composes the state as Ceph does, most important word first.
func (g *Group) stateWords(objects int64) string {
	ld, v := g.lead, &g.view
	var w []string
	switch {
	case v.Record.Created && g.unfit() && g.split == nil && !g.held:
		w = append(w, "incomplete") // as long as nobody else can lead
	case !v.Record.Created:
		w = append(w, "creating")
		if !ld.activated {
			w = append(w, "peering")
		}
	case !ld.activated && g.tooFew():
		w = append(w, "peered")
	case !ld.serving:
		w = append(w, "peering")
	case !g.writable():
		w = append(w, "peered") // Ceph's word, though reads are answered as long as there are leases for them
	default:
		w = append(w, "active")
	}
	recovering, backfilling := false, false
	for _, p := range ld.peers {
		switch {
		case p.phase == learning && p.backfill != nil:
			backfilling = true
		case p.phase == learning || p.phase == completing || p.phase == ready:
			recovering = true
		}
	}
	up := 0
	for _, id := range v.Record.InSync {
		if v.up(id) {
			up++
		}
	}
	switch {
	case backfilling:
		w = append(w, "backfilling")
	case recovering:
		w = append(w, "recovering")
	}
	if ld.serving || g.stuck() {
		w = append(w, g.waitWords()...)
	}
	if up < v.Size {
		w = append(w, "undersized")
		if objects > 0 {
			w = append(w, "degraded")
		}
	}
	remapped := false
	for _, id := range v.Target {
		remapped = remapped || v.up(id) && !v.Record.Has(id)
	}
	for _, id := range v.Record.InSync {
		remapped = remapped || !slices.Contains(v.Target, id)
	}
	if remapped {
		w = append(w, "remapped")
	}
	if len(w) == 1 && w[0] == "active" {
		w = append(w, "clean")
	}
	w = append(w, g.scrubWords()...)
	return strings.Join(w, "+")
}

// tooFew reports whether members are missing that the PG may not go on without.
func (g *Group) tooFew() bool {
	up := 0
	for _, id := range g.view.Record.InSync {
		if g.view.up(id) {
			up++
		}
	}
	return up < g.view.MinSize
}

// why says, for people, what the PG waits for.
func (g *Group) why() string {
	ld, v := g.lead, &g.view
	if ld == nil {
		return fmt.Sprintf("led by %s", v.Record.Primary)
	}
	var missing []string
	for _, id := range v.Record.InSync {
		if id == g.cfg.Self {
			continue
		}
		if p := ld.peers[id]; !v.up(id) {
			missing = append(missing, id.String()+" (down)")
		} else if p == nil || p.phase != live {
			missing = append(missing, id.String())
		}
	}
	switch {
	case g.split != nil:
		return "peering, " + g.split.String()
	case g.held:
		return "peering, being split off from another PG"
	case g.damaged != "":
		return fmt.Sprintf("inactive: the records of PG %s on %s are damaged (%s), and its copy counts as lost", g.id, g.cfg.Self, g.damaged)
	case g.unfit():
		text := fmt.Sprintf("inactive: %s has lost its copy of PG %s, or never had all of it", g.cfg.Self, g.id)
		if len(missing) > 0 {
			text += "; one of these must lead: " + strings.Join(missing, ", ")
		}
		return text
	case !ld.activated && len(missing) > 0:
		return "peering, waiting for " + strings.Join(missing, ", ")
	case !ld.activated:
		return "peering, waiting for the local store"
	case !v.Record.Created:
		return "being created, waiting for the monitors"
	case !ld.serving:
		return "peering, waiting for read leases of the former primary to end"
	case !g.canWrite():
		return fmt.Sprintf("peered: writes wait, %d in-sync copies are fewer than min_size %d", len(v.Record.InSync), v.MinSize)
	case !g.writable():
		var dead []string
		what := "writes wait"
		for _, id := range v.Record.InSync {
			if id == g.cfg.Self || !g.dead(id) {
				continue
			}
			if !g.grants(id) {
				what = "reads and writes wait" // R6
			}
			text := id.String() + " (does not answer)"
			if p := ld.peers[id]; p != nil && p.roomless != 0 {
				text = id.String() + " (has no space)"
			}
			if !v.up(id) {
				text = id.String() + " (down)"
			}
			dead = append(dead, text)
		}
		return fmt.Sprintf("peered: %s for %s; min_size is %d", what, strings.Join(dead, ", "), v.MinSize)
	}
	return "active"
}

// writable reports whether writes commit, as far as we know: there are enough copies, and none
// whose acknowledgement is required is out of reach for longer than it takes to drop it.
func (g *Group) writable() bool {
	return g.canWrite() && (g.leaver() == placement.NoOSD || g.dispensable())
}

// PeerState describes one peer for `pg query`.
type PeerState struct {
	OSD     placement.OSDID `json:"osd"`
	Phase   string          `json:"phase"`
	Acked   uint64          `json:"acked"`
	Missing int             `json:"missing"`
	Scan    string          `json:"backfill_position,omitempty"`
	Held    string          `json:"held_back,omitempty"` // why it is not being taught
}

// QueryState is what `pg query` shows.
type QueryState struct {
	PG        string            `json:"pgid"`
	State     string            `json:"state"`
	Epoch     placement.Epoch   `json:"epoch"`
	Term      placement.Term    `json:"term"`
	Primary   placement.OSDID   `json:"primary"`
	InSync    []placement.OSDID `json:"in_sync"`
	Target    []placement.OSDID `json:"target"`
	Head      string            `json:"log_head"`
	Tail      string            `json:"log_tail"`
	Committed string            `json:"committed"`
	Exists    bool              `json:"exists"`
	Complete  bool              `json:"complete"`
	PGNum     uint32            `json:"pg_num,omitempty"`    // the copy is divided for so many PGs of the pool
	Splitting string            `json:"splitting,omitempty"` // how far the split under way is
	InFlight  int               `json:"in_flight"`
	Waiting   int               `json:"waiting"`
	WaitsFor  string            `json:"waits_for,omitempty"`
	Scrub     QueryScrub        `json:"scrub"`
	Damaged   string            `json:"damaged,omitempty"` // what is wrong with this OSD's records of the PG
	Peers     []PeerState       `json:"peers,omitempty"`
}

// Query describes the group in full.
func (g *Group) Query(objects int64) QueryState {
	v := &g.view
	q := QueryState{
		PG: g.id.String(), State: "replica", Epoch: v.Epoch, Term: v.Record.Term, Primary: v.Record.Primary,
		InSync: v.Record.InSync, Target: v.Target, Head: g.log.head().String(), Tail: g.log.tail.String(),
		Committed: g.st.committed.String(), Exists: g.exists, Complete: g.st.complete, Damaged: g.damaged, Scrub: g.queryScrub(), PGNum: g.st.pgNum,
	}
	if g.split != nil {
		q.Splitting = g.split.String()
	}
	ld := g.lead
	if ld == nil {
		return q
	}
	q.State, q.InFlight, q.Waiting = g.stateWords(objects), len(ld.inflight), len(ld.waiting)
	if !ld.serving || !g.writable() {
		q.WaitsFor = g.why()
	}
	for _, p := range g.peerList() {
		ps := PeerState{OSD: p.id, Phase: p.phase.String(), Acked: p.acked, Missing: len(p.need), Held: p.held.String()}
		if p.backfill != nil {
			ps.Scan = p.backfill.upTo
		}
		q.Peers = append(q.Peers, ps)
	}
	return q
}
