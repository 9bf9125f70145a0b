package pg

import (
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// TestBusyPGNoticesTime: a PG whose clients keep it so busy that no tick ever comes still drops the member that does not
// answer. (Routine events do without most of what an advance looks after.)
func TestBusyPGNoticesTime(t *testing.T) {
	c := active(t, 3)
	c.mustWrite(0, "a", "1")
	c.keep = func(p parcel) bool { return p.from == c.a(2).id } // its answers are lost, nothing breaks
	skipped := false
	for n := 0; len(c.a(0).proposals) == 0; n++ {
		c.now = c.now.Add(10 * time.Millisecond)
		if c.now.Sub(c.a(0).g.lead.since) > time.Minute {
			t.Fatal("osd.2 has not answered for a minute, and is not proposed to be dropped")
		}
		c.write(0, string(rune('b'+n%20)), "x", 0)
		skipped = skipped || c.a(0).g.lead.tended != 0 && c.a(0).g.lead.tended < c.now
	}
	c.wantProposal(0, 0, 1)
	if !skipped {
		t.Fatal("every advance was a whole one: what this test is about did not happen")
	}
}

// TestCalm: what a PG must still look after is looked after by the next event, even a routine one.
func TestCalm(t *testing.T) {
	c := active(t, 3)
	c.mustWrite(0, "a", "1")
	g := c.a(0).g
	if !g.calm() || g.lead.tended == 0 {
		t.Fatal("a PG with nothing to do is not calm")
	}
	for name, change := range map[string]func() func(){
		"a suspect": func() func() { g.lead.suspects = []suspect{{}}; return func() { g.lead.suspects = nil } },
		"a pull":    func() func() { g.lead.pulls["a"] = &pull{}; return func() { delete(g.lead.pulls, "a") } },
		"a scrub that is wanted": func() func() {
			g.lead.scrubWanted = &ScrubEvent{}
			return func() { g.lead.scrubWanted = nil }
		},
		"a proposal": func() func() {
			g.lead.pending = &pending{change: &wirepb.PGChange{}}
			return func() { g.lead.pending = nil }
		},
		"a peer that is not live":  func() func() { c.peer(0, 1).phase = idle; return func() { c.peer(0, 1).phase = live } },
		"a peer without room":      func() func() { c.peer(0, 1).roomless = 1; return func() { c.peer(0, 1).roomless = 0 } },
		"scrub notes to be told":   func() func() { g.scrubs.rev++; return func() { g.scrubs.rev-- } },
		"a PG that does not serve": func() func() { g.lead.serving = false; return func() { g.lead.serving = true } },
	} {
		undo := change()
		if g.calm() {
			t.Errorf("calm with %s", name)
		}
		undo()
	}
}
