package pg

import (
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

func soonHome(cfg *Config) { cfg.HomeAfter = 5 * time.Second }

// The first target returns after a failure, learns, and leads again: not before the PG is
// whole, not soon after the last change, and without a pause, since the one that hands over
// says that it served and has stopped.
func TestPrimaryGoesHome(t *testing.T) { primaryGoesHome(t) }

func primaryGoesHome(t tester) {
	c := active(t, 3, soonHome)
	c.mustWrite(0, "a", "one")
	c.crash(0, 0)
	c.down(0)
	c.lead(1)
	c.govern(3 * time.Second)
	c.wantServing(1)
	c.restart(0)
	c.govern(time.Second)
	c.wantSet(0, 1, 2)
	c.wantServing(1)
	c.pass(4 * time.Second)
	p := c.wantProposal(1, 0, 1, 2)
	if p.Change.Primary != 0 {
		t.Fatalf("proposed %v, want osd.0 to lead", p.Change)
	}
	h := c.write(1, "a", "two", 0)
	c.wantReply(1, h, wirepb.Code_OK) // it serves until the map says otherwise
	c.accept(1)
	c.wantServing(0)
	c.wantRead(0, "a", "two")
	c.mustWrite(0, "a", "three")
	c.wantSame(0, 1, 2)
	term := c.view.Record.Term
	c.govern(10 * time.Second)
	if c.view.Record.Term != term {
		t.Fatalf("term %d became %d: nothing should move any more", term, c.view.Record.Term)
	}
}

// A member that is missing keeps the PG where it is.
func TestDegradedStays(t *testing.T) {
	c := active(t, 3, soonHome)
	c.crash(2, 0)
	c.down(2)
	c.lead(1)
	c.govern(15 * time.Second)
	c.wantServing(1)
	c.wantSet(0, 1)
	c.restart(2)
	c.govern(3 * time.Second)
	c.wantServing(0)
}

// Only so many PGs of an OSD go home at a time.
func TestHomingIsLimited(t *testing.T) {
	c := active(t, 3, soonHome, func(cfg *Config) { cfg.Throttle = NewThrottle(Limits{Homes: 1}) })
	if !c.cfg.Throttle.take(homing, c.now, placement.PGID{Pool: 9}, 0) {
		t.Fatal("no slot")
	}
	c.lead(1)
	c.govern(12 * time.Second)
	c.wantServing(1)
	c.cfg.Throttle.giveBack(homing, placement.PGID{Pool: 9})
	c.govern(time.Second)
	c.wantServing(0)
	if !c.cfg.Throttle.take(homing, c.now, placement.PGID{Pool: 9}, 0) {
		t.Fatal("the slot was not given back")
	}
}

// newPrimaryReads makes osd.1 the primary of a set without osd.0, which does not know it. If
// osd.1 serves already, osd.0 must not.
func newPrimaryReads(t tester, c *cast) {
	c.lead(1)
	if p := c.proposed(1); p != nil {
		c.apply(p.Change)
	}
	h := c.write(1, "a", "new", 0)
	if _, ok := c.a(1).replies[h]; ok {
		c.wantNoReply(0, c.read(0, "a"))
	}
}

// Somebody who led two terms ago knows nothing of who led since.
func TestWordOfAnEarlierTerm(t *testing.T) { wordOfAnEarlierTerm(t) }

func wordOfAnEarlierTerm(t tester) {
	c := newCast(t, 3)
	c.created()
	c.mustWrite(0, "a", "old")
	c.lead(2)
	c.pass(3 * time.Second)
	c.wantServing(2)
	c.lead(0)
	c.pass(3 * time.Second)
	c.wantServing(0)
	c.wantRead(0, "a", "old")
	c.a(0).blind = true
	c.cut[[2]placement.OSDID{0, 1}], c.cut[[2]placement.OSDID{1, 0}] = true, true
	c.down(0)
	newPrimaryReads(t, c)
}

// Somebody who led but did not serve has not waited for its predecessors.
func TestWordOfTheUnserved(t *testing.T) { wordOfTheUnserved(t) }

func wordOfTheUnserved(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "old")
	c.a(0).blind = true
	for _, id := range []placement.OSDID{1, 2} {
		c.cut[[2]placement.OSDID{0, id}], c.cut[[2]placement.OSDID{id, 0}] = true, true
	}
	c.down(0)
	c.lead(2)
	newPrimaryReads(t, c)
}

// A former primary that does not know that it is one reads by the lease of osd.1 alone. osd.1 must
// not bring in a member before that lease has run out: the newcomer could lead, and would wait for
// its own grants only.
func TestNewcomerDoesNotOvertakeLeases(t *testing.T) { newcomerDoesNotOvertakeLeases(t) }

func newcomerDoesNotOvertakeLeases(t tester) {
	c := active(t, 4)
	c.mustWrite(0, "a", "old")
	c.crash(2, 0)
	c.down(2)
	c.govern(time.Second)
	c.wantSet(0, 1)
	c.mute[[2]placement.OSDID{0, 3}], c.mute[[2]placement.OSDID{1, 3}] = true, true // the last grants of osd.3
	c.pass(800 * time.Millisecond)
	c.a(0).blind = true
	for _, id := range []placement.OSDID{1, 3} {
		c.cut[[2]placement.OSDID{0, id}], c.cut[[2]placement.OSDID{id, 0}] = true, true
	}
	c.view.Target = ids(1, 3)
	c.down(0)
	c.lead(1)
	for range 2 { // osd.3 comes in, osd.0 goes
		if p := c.proposed(1); p != nil {
			c.a(1).proposals = nil
			c.apply(p.Change)
		}
	}
	if c.view.Record.Has(3) && !c.view.Record.Has(0) {
		c.lead(3)
		c.pass(250 * time.Millisecond)
		if h := c.write(3, "a", "new", 0); len(c.a(3).replies) > 0 {
			c.wantReply(3, h, wirepb.Code_OK)
			c.wantNoReply(0, c.read(0, "a"))
		}
	}
	delete(c.mute, [2]placement.OSDID{1, 3})
	c.govern(3 * time.Second)
	c.wantSet(1, 3)
}
