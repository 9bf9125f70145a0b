package pg

import (
	"fmt"
	"slices"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// scrubRun compares the copies of all objects, page by page. A page is described by each member on its own
// and without any lock, so writes under way look like differences. Whatever differs is looked at again
// under the object's lock (check.go), one object after the other, before the next page.
type scrubRun struct {
	deep   bool
	repair bool // an administrator's
	stamp  int64
	began  clock.Mono
	peers  map[placement.OSDID]uint64 // who takes part, and in which stream

	after string
	id    uint64 // of the page under way; 0: none
	asked clock.Mono
	pages map[placement.OSDID]*wirepb.PGScrubPage
	last  bool // the page in work is the last one

	objects, found, fixed int64
}

// mayScrub reports whether the PG is quiet enough: it serves, and every peer is a member that is up to date.
func (g *Group) mayScrub() bool {
	ld := g.lead
	if ld == nil || !ld.serving || ld.pending != nil || ld.scrub != nil {
		return false
	}
	for _, id := range g.view.Record.InSync {
		if p := ld.peers[id]; id != g.cfg.Self && (p == nil || p.phase != live) {
			return false
		}
	}
	for _, p := range ld.peers {
		if p.phase != live {
			return false
		}
	}
	return true
}

func (g *Group) onScrubEvent(ev ScrubEvent) {
	ld := g.lead
	if ld == nil {
		return
	}
	if g.scrubs.st.Since == 0 && ev.Wall != 0 && ld.serving {
		g.scrubs.st.Since = ev.Wall
		g.saveScrubs()
	}
	if ev.Start {
		ld.scrubWanted = &ev
	}
}

// tendScrub moves a scrub on.
func (g *Group) tendScrub() {
	ld := g.lead
	if ld.scrub == nil && ld.scrubWanted != nil && g.mayScrub() {
		g.beginScrub(*ld.scrubWanted)
	}
	sc := ld.scrub
	if sc == nil {
		return
	}
	for _, p := range g.peerList() {
		if stream, ok := sc.peers[p.id]; ok && (p.stream != stream || p.phase != live) {
			g.stopScrub(fmt.Sprintf("the connection to %s was lost", p.id))
			return
		}
	}
	for id := range sc.peers {
		if ld.peers[id] == nil {
			g.stopScrub("the PG's members changed")
			return
		}
	}
	switch {
	case ld.check != nil || len(ld.suspects) > 0:
	case sc.id != 0:
		if g.now.Sub(sc.asked) > g.cfg.ScrubPatience {
			g.stopScrub("a page was not described in time")
		}
	case sc.last:
		g.endScrub()
	default:
		g.askScrubPage()
	}
}

func (g *Group) beginScrub(ev ScrubEvent) {
	ld := g.lead
	ld.scrubWanted = nil
	sc := &scrubRun{deep: ev.Deep || ev.Repair, repair: ev.Repair, stamp: ev.Wall, began: g.now, peers: map[placement.OSDID]uint64{}}
	for _, p := range g.peerList() {
		sc.peers[p.id] = p.stream
	}
	ld.scrub = sc
	g.notice(ScrubStarted, "", placement.NoOSD, sc.kind())
	if sc.deep {
		g.scrubs.st.More = 0 // they are found again, if they are still there
	}
	g.scrubs.st.Bad = slices.DeleteFunc(slices.Clone(g.scrubs.st.Bad), func(b *wirepb.PGInconsistent) bool {
		return !g.ours(string(b.Object)) // the PG has split since
	})
	for _, b := range g.scrubs.st.Bad {
		g.suspect(string(b.Object), sc.repair)
	}
}

// ours reports whether objects of a name belong to this PG.
func (g *Group) ours(name string) bool {
	n := g.view.PGNum
	return n == 0 || placement.StableMod(placement.NameHash(name), n) == g.id.Shard
}

func (sc *scrubRun) kind() string {
	switch {
	case sc.repair:
		return "repair"
	case sc.deep:
		return "deep scrub"
	}
	return "scrub"
}

func (g *Group) stopScrub(why string) {
	sc := g.lead.scrub
	g.lead.scrub = nil
	g.lead.suspects = nil // the next scrub finds them again
	g.notice(ScrubStopped, "", placement.NoOSD, fmt.Sprintf("%s stopped after %d objects: %s", sc.kind(), sc.objects, why))
}

func (g *Group) endScrub() {
	sc := g.lead.scrub
	g.lead.scrub = nil
	g.scrubs.st.Last = max(g.scrubs.st.Last, sc.stamp)
	if sc.deep {
		g.scrubs.st.LastDeep = max(g.scrubs.st.LastDeep, sc.stamp)
	}
	g.saveScrubs()
	g.notice(ScrubEnded, "", placement.NoOSD, fmt.Sprintf("%s of %d objects: %d damaged copies found, %d repaired", sc.kind(), sc.objects, sc.found, sc.fixed))
}

// askScrubPage has the next page described here and everywhere.
func (g *Group) askScrubPage() {
	ld, sc := g.lead, g.lead.scrub
	sc.id, sc.asked, sc.pages = g.token(), g.now, map[placement.OSDID]*wirepb.PGScrubPage{}
	id := sc.id
	g.look(Look{After: sc.after, Limit: g.cfg.ScrubObjects, MaxBytes: scrubBytes, Deep: sc.deep}, func(ev LookedEvent) {
		page := &wirepb.PGScrubPage{Id: id, Items: ev.Items, More: ev.More}
		if ev.Err != nil {
			page.Error = ev.Err.Error()
		}
		if g.lead == ld {
			g.onScrubPage(g.cfg.Self, page)
		}
	})
	for _, p := range g.peerList() {
		if _, ok := sc.peers[p.id]; ok {
			g.sendQuietly(p, &wirepb.PGMsg_Scrub{Scrub: &wirepb.PGScrub{
				Id: id, After: []byte(sc.after), Limit: uint32(g.cfg.ScrubObjects), MaxBytes: scrubBytes, Deep: sc.deep,
			}})
		}
	}
}

// scrubBytes bounds the data of a page.
const scrubBytes = 16 << 20

// onScrubPage takes in somebody's page, or description of one object.
func (g *Group) onScrubPage(from placement.OSDID, m *wirepb.PGScrubPage) {
	ld := g.lead
	if ck := ld.check; ck != nil && ck.id == m.Id {
		g.onChecked(from, m)
		return
	}
	sc := ld.scrub
	if sc == nil || sc.id == 0 || sc.id != m.Id {
		return
	}
	if m.Error != "" {
		g.stopScrub(fmt.Sprintf("%s cannot list its objects: %s", from, m.Error))
		return
	}
	sc.pages[from] = m
	if len(sc.pages) == len(sc.peers)+1 {
		g.compareScrubPage()
	}
}

// compareScrubPage finds what differs, up to where all pages reach.
func (g *Group) compareScrubPage() {
	sc := g.lead.scrub
	sc.id = 0
	end, all := "", true
	for _, m := range sc.pages {
		if n := len(m.Items); m.More && n > 0 {
			if last := string(m.Items[n-1].Object); all || last < end {
				end, all = last, false
			}
		}
	}
	if !all && end <= sc.after {
		g.stopScrub("a member's page ends where it begins")
		return
	}
	copies := map[string]map[placement.OSDID]*wirepb.ScrubItem{}
	var names []string
	for from, m := range sc.pages {
		for _, it := range m.Items {
			name := string(it.Object)
			if name <= sc.after || !all && name > end {
				continue
			}
			if copies[name] == nil {
				copies[name] = map[placement.OSDID]*wirepb.ScrubItem{}
				names = append(names, name)
			}
			copies[name][from] = it
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if agree(copies[name], len(sc.pages)) {
			continue
		}
		if g.cfg.is(TrustPages) {
			g.trustPage(name, copies[name])
			continue
		}
		g.suspect(name, sc.repair)
	}
	sc.objects += int64(len(names))
	sc.pages, sc.after, sc.last = nil, end, all
}

// trustPage is TrustPages: what the pages say is taken for the truth.
func (g *Group) trustPage(name string, copies map[placement.OSDID]*wirepb.ScrubItem) {
	ld := g.lead
	if ld.check != nil {
		return
	}
	ck := &check{suspect: suspect{name: name}, peers: map[placement.OSDID]uint64{}}
	for from := range ld.scrub.pages {
		if copies[from] == nil {
			copies[from] = &wirepb.ScrubItem{Object: []byte(name), Missing: true}
		}
	}
	ck.copies, ld.check = copies, ck
	g.judge(ck)
}

// agree reports whether n copies are there, readable and equal.
func agree(copies map[placement.OSDID]*wirepb.ScrubItem, n int) bool {
	if len(copies) != n {
		return false
	}
	var first *wirepb.ScrubItem
	for _, it := range copies {
		if first == nil {
			first = it
		}
		if it.Error != "" || it.Missing || fromPos(it.Version) != fromPos(first.Version) || len(differences(it, first)) > 0 {
			return false
		}
	}
	return true
}

// ---- the other side ----

// looksMax bounds the descriptions that a peer makes for its primary at a time.
const looksMax = 64

// onScrub describes our copies for the primary.
func (g *Group) onScrub(m *wirepb.PGScrub) {
	f := &g.fol
	if !g.exists || len(m.Object) > 0 && !fitName(m.Object) || len(f.looks) >= looksMax {
		g.reject("scrub does not fit")
		return
	}
	l := Look{Token: g.token(), Object: string(m.Object), After: string(m.After), Limit: int(min(max(m.Limit, 1), 4096)),
		MaxBytes: min(m.MaxBytes, 4*scrubBytes), Deep: m.Deep}
	if f.looks == nil {
		f.looks = map[uint64]uint64{}
	}
	f.looks[l.Token] = m.Id
	// What we have received must be in it: the primary looks again under the object's lock.
	look := func() { g.fx.Look = append(g.fx.Look, l) }
	if g.cfg.is(LookEarly) {
		look()
		return
	}
	g.whenDurable(look)
}

func (g *Group) followerLooked(ev LookedEvent) {
	f := &g.fol
	id, ok := f.looks[ev.Token]
	if !ok || f.broken {
		return // of an earlier stream
	}
	delete(f.looks, ev.Token)
	m := &wirepb.PGScrubPage{Id: id, Items: ev.Items, More: ev.More}
	if ev.Err != nil {
		m.Items, m.Error = nil, ev.Err.Error()
	}
	g.answer(&wirepb.PGMsg_ScrubPage{ScrubPage: m})
}
