package pg

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// scrubAttr of the PG's Meta object holds what the PG remembers of its scrubs: a byte with the format,
// then a PGScrubState. See docs/formats/pg.md. It is a note, not a part of the PG's truth: where it is
// missing or damaged, the PG counts as never scrubbed.
const (
	scrubAttr    = "scrub"
	scrubVersion = 1
)

// badMax bounds how many inconsistent objects a PG remembers by name.
const badMax = 100

// scrubs is what every member remembers of the PG's scrubs.
type scrubs struct {
	st  *wirepb.PGScrubState // never nil
	rev uint64               // grows with each change: members with an older one are told
}

func (g *Group) loadScrubs(r store.Reader) error {
	b, err := r.Attr(g.metaKey(), []byte(scrubAttr))
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrCorrupt):
		return nil
	case err != nil:
		return fmt.Errorf("read scrub state of PG %s: %w", g.id, err)
	case len(b) == 0 || b[0] != scrubVersion:
		return nil
	}
	st := &wirepb.PGScrubState{}
	if st.UnmarshalVT(b[1:]) == nil {
		boundScrubs(st)
		g.scrubs.st, g.scrubs.rev = st, 1
	}
	return nil
}

func noScrubs() scrubs { return scrubs{st: &wirepb.PGScrubState{}} }

// boundScrubs cuts a state that came from elsewhere down to our limits.
func boundScrubs(st *wirepb.PGScrubState) {
	if n := len(st.Bad); n > badMax {
		st.More += uint64(n - badMax)
		st.Bad = st.Bad[:badMax]
	}
}

// saveScrubs makes a change durable here; tendScrubNotes tells the members.
func (g *Group) saveScrubs() {
	g.scrubs.rev++
	if g.exists {
		g.persist([]store.Op{g.opScrubs()}, nil)
	}
}

func (g *Group) opScrubs() store.Op {
	b, err := g.scrubs.st.MarshalVT()
	if err != nil {
		panic("encode scrub state: " + err.Error()) // cannot fail, see opEntry
	}
	return store.Op{Kind: store.OpSetAttr, Key: g.metaKey(), Name: []byte(scrubAttr), Value: append([]byte{scrubVersion}, b...)}
}

// tendScrubNotes gives members that may not have it what we remember of scrubs.
func (g *Group) tendScrubNotes() {
	if g.scrubs.rev == 0 || !g.lead.serving {
		return
	}
	for _, p := range g.peerList() {
		if p.phase == live && p.scrubRev != g.scrubs.rev {
			p.scrubRev = g.scrubs.rev
			g.sendQuietly(p, &wirepb.PGMsg_ScrubNote{ScrubNote: &wirepb.PGScrubNote{State: g.scrubs.copy()}})
		}
	}
}

// onScrubNote keeps the primary's notes.
func (g *Group) onScrubNote(m *wirepb.PGScrubNote) {
	if st := m.State; st != nil && g.exists {
		boundScrubs(st)
		g.scrubs.st = st
		g.scrubs.rev++
		if op := g.opScrubs(); refusal([]store.Op{op}) == nil {
			g.persist([]store.Op{op}, nil)
		}
	}
	g.answerDurable(&wirepb.PGMsg_ScrubNoted{ScrubNoted: &wirepb.PGScrubNoted{}})
}

// copy returns the state as it is now: a message may be encoded later.
func (s *scrubs) copy() *wirepb.PGScrubState {
	st := &wirepb.PGScrubState{Since: s.st.Since, Last: s.st.Last, LastDeep: s.st.LastDeep, More: s.st.More}
	st.Bad = slices.Clone(s.st.Bad) // what is listed of an object is replaced, never changed
	return st
}

func (s *scrubs) find(name string) (int, bool) {
	return slices.BinarySearchFunc(s.st.Bad, name, func(b *wirepb.PGInconsistent, n string) int { return cmp.Compare(string(b.Object), n) })
}

// noteBad lists an object whose copies are not equal, or replaces what is listed of it.
func (g *Group) noteBad(b *wirepb.PGInconsistent) {
	s := &g.scrubs
	i, listed := s.find(string(b.Object))
	switch {
	case listed:
		s.st.Bad[i] = b
	case len(s.st.Bad) >= badMax:
		s.st.More++
	default:
		s.st.Bad = slices.Insert(s.st.Bad, i, b)
	}
	g.saveScrubs()
}

// noteGood takes an object off the list.
func (g *Group) noteGood(name string) bool {
	i, listed := g.scrubs.find(name)
	if listed {
		g.scrubs.st.Bad = slices.Delete(g.scrubs.st.Bad, i, i+1)
		g.saveScrubs()
	}
	return listed
}

// noteUnfound lists an object of which no member has a good copy.
func (g *Group) noteUnfound(name, why string) {
	g.notice(Unfound, name, placement.NoOSD, why)
	if i, listed := g.scrubs.find(name); listed && g.scrubs.st.Bad[i].Unfound {
		return
	}
	g.noteBad(&wirepb.PGInconsistent{Object: []byte(name), Unfound: true, Why: why, Shards: []*wirepb.PGShardError{
		{Osd: int32(g.cfg.Self), Primary: true, Errors: []string{"read_error"}},
	}})
}

// scrubCounts returns how many copies are damaged and how many objects are lost, as far as is known.
func (g *Group) scrubCounts() (errs, unfound int64) {
	for _, b := range g.scrubs.st.Bad {
		n := int64(0)
		for _, s := range b.Shards {
			if len(s.Errors) > 0 {
				n++
			}
		}
		errs += max(1, n)
		if b.Unfound {
			unfound++
		}
	}
	return errs + int64(g.scrubs.st.More), unfound
}

// scrubWords are the words of the PG's state that speak of scrubs, as Ceph's do.
func (g *Group) scrubWords() (w []string) {
	if sc := g.lead.scrub; sc != nil {
		w = append(w, "scrubbing")
		if sc.deep {
			w = append(w, "deep")
		}
		if sc.repair {
			w = append(w, "repair")
		}
	}
	if errs, _ := g.scrubCounts(); errs > 0 {
		w = append(w, "inconsistent")
	}
	return w
}

// fillScrubStat adds what scrubs found to a PGStat.
func (g *Group) fillScrubStat(s *wirepb.PGStat) {
	errs, unfound := g.scrubCounts()
	s.ScrubErrors = uint64(errs)
	s.Unfound += unfound
	s.LastScrub, s.LastDeepScrub = g.scrubs.st.Last, g.scrubs.st.LastDeep
}

// QueryScrub is what `pg query` shows of scrubs.
type QueryScrub struct {
	Last     int64  `json:"last"` // unix seconds, 0: never; when the scrub began
	LastDeep int64  `json:"last_deep"`
	Errors   int64  `json:"errors"`  // damaged copies that are not repaired
	Unfound  int64  `json:"unfound"` // objects without a good copy
	Running  string `json:"running,omitempty"`
	Objects  int64  `json:"objects,omitempty"` // compared so far
	Suspects int    `json:"suspects,omitempty"`
}

func (g *Group) queryScrub() QueryScrub {
	q := QueryScrub{Last: g.scrubs.st.Last / 1e9, LastDeep: g.scrubs.st.LastDeep / 1e9}
	q.Errors, q.Unfound = g.scrubCounts()
	if ld := g.lead; ld != nil {
		q.Suspects = len(ld.suspects)
		if ld.check != nil {
			q.Suspects++
		}
		if sc := ld.scrub; sc != nil {
			q.Running, q.Objects = sc.kind(), sc.objects
		}
	}
	return q
}

// ScrubState is what a driver needs to know to plan scrubs.
type ScrubState struct {
	Leads          bool
	Ready          bool // a scrub would begin at once
	Running        bool
	Wanted         bool // asked for by an administrator, and not begun
	Since          int64
	Last, LastDeep int64 // unix nanoseconds, 0: never
}

// ScrubState returns where the group stands with scrubs.
func (g *Group) ScrubState() ScrubState {
	s := ScrubState{Since: g.scrubs.st.Since, Last: g.scrubs.st.Last, LastDeep: g.scrubs.st.LastDeep}
	if ld := g.lead; ld != nil {
		s.Leads, s.Ready, s.Running, s.Wanted = true, g.mayScrub(), ld.scrub != nil, ld.scrubWanted != nil
	}
	return s
}

// Inconsistencies returns the objects whose copies are known to differ, by name, and how many more there are.
func (g *Group) Inconsistencies() (bad []*wirepb.PGInconsistent, more uint64) {
	return slices.Clone(g.scrubs.st.Bad), g.scrubs.st.More
}
