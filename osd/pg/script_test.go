package pg

import (
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

func TestActiveClean(t *testing.T) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one")
	c.wantRead(0, "a", "one")
	c.wantSame(0, 1, 2)
	if s := c.a(0).g.Stat(1, 3); s.State != "active+clean" {
		t.Fatalf("state %q, want active+clean", s.State)
	}
}

// A newcomer that dies between the proposal and the monitors' decision is refused with CONFLICT.
// The primary must find out that this was no race, or it waits for the dead one for ever.
func TestRefusedNewcomerDoesNotBlock(t *testing.T) {
	c := active(t, 4)
	c.view.Target = ids(0, 1, 2, 3)
	c.publish()
	p := c.wantProposal(0, 0, 1, 2, 3)
	c.a(0).proposals = nil
	c.crash(3, 0)
	c.down(3)
	c.answer(0, p, wirepb.Code_CONFLICT)
	h := c.write(0, "a", "one", 0)
	c.govern(3 * time.Second)
	c.wantReply(0, h, wirepb.Code_OK)
	if c.apply(p.Change) {
		t.Fatal("a delayed copy of the proposal was accepted")
	}
}

// Until the monitors can no longer accept the proposal, the refused newcomer stays required.
func TestRefusedNewcomerStaysRequired(t *testing.T) {
	c := active(t, 4)
	c.view.Target = ids(0, 1, 2, 3)
	c.publish()
	p := c.wantProposal(0, 0, 1, 2, 3)
	c.a(0).proposals = nil
	c.sever(0, 3)
	c.answer(0, p, wirepb.Code_CONFLICT)
	h := c.write(0, "a", "one", 0)
	c.pass(200 * time.Millisecond)
	c.wantNoReply(0, h)
	if !c.apply(p.Change) { // a copy that was delayed on its way; meanwhile osd.3 is up again
		t.Fatal("the copy was refused")
	}
	c.wantNoReply(0, h)
	c.mend(0, 3)
	c.pass(4 * time.Second)
	c.wantReply(0, h, wirepb.Code_OK)
	c.wantSame(0, 1, 2, 3)
}

// A handover to an OSD that has just died must not keep the primary from dropping it.
func TestRefusedHandoverDoesNotBlock(t *testing.T) {
	c := active(t, 3)
	c.view.Target = ids(1, 2)
	c.publish()
	p := c.proposed(0)
	if p == nil || p.Change.Primary != 1 {
		t.Fatalf("want a handover to osd.1, got %+v", p)
	}
	c.a(0).proposals = nil
	c.crash(1, 0)
	c.down(1)
	c.answer(0, p, wirepb.Code_CONFLICT)
	h := c.write(0, "a", "one", 0)
	c.govern(3 * time.Second)
	c.wantReply(0, h, wirepb.Code_OK)
	if c.view.Record.Has(1) {
		t.Fatalf("the dead member is still in %v", c.view.Record.InSync)
	}
}

// A former member comes back with a write that no primary since has known. It is told to drop it
// and dies before it gets the object as it should be: its log no longer names the object.
func TestLearnerForgetsItsTailHalfWay(t *testing.T) {
	c := active(t, 3)
	c.mustWrite(0, "a", "old")
	c.mustWrite(0, "b", "old")
	// A write reaches osd.2 only, then osd.0 dies and osd.1 goes on without either.
	c.cut[[2]placement.OSDID{0, 1}] = true
	c.write(0, "a", "lost", 0)
	c.write(0, "ghost", "lost", 0)
	c.crash(0, 0)
	c.crash(2, 0)
	c.down(2)
	c.view.MinSize = 1
	c.down(0)
	c.lead(1)
	delete(c.cut, [2]placement.OSDID{0, 1})
	c.govern(3 * time.Second)
	c.wantServing(1)
	c.mustWrite(1, "b", "new")
	// It learns, and dies when the log is cut but the objects are not there yet.
	c.a(1).slowReads = true
	c.restart(2)
	c.pass(500 * time.Millisecond)
	if c.a(2).g.st.complete {
		t.Fatalf("osd.2 does not learn: %s", c.query(1))
	}
	c.crash(2, 0)
	c.down(2)
	c.a(1).slowReads = false
	c.restart(2)
	c.govern(2 * time.Second)
	if !c.view.Record.Has(2) {
		t.Fatalf("osd.2 did not come back: %s", c.query(1))
	}
	c.wantSame(1, 2)
}
