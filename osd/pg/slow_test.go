package pg

import (
	"testing"
	"time"

	"github.com/cairnstore/cairn/placement"
)

// shun says in the next map whether another than an OSD should lead.
func (c *cast) shun(id int, on bool) {
	p := c.view.Peers[placement.OSDID(id)]
	p.Shunned = on
	c.view.Peers[placement.OSDID(id)] = p
	c.publish()
}

// A primary whose device has become slow hands over to the next target, and stays a member:
// no copy is given up. When the device is well again it leads again.
func TestSlowPrimaryHandsOver(t *testing.T) {
	c := active(t, 3, soonHome)
	c.mustWrite(0, "a", "one")
	c.shun(0, true)
	c.govern(10 * time.Second)
	c.wantServing(1)
	c.wantSet(0, 1, 2)
	c.mustWrite(1, "a", "two")
	c.wantSame(0, 1, 2)
	term := c.view.Record.Term
	c.govern(30 * time.Second)
	if c.view.Record.Term != term {
		t.Fatalf("term %d became %d: the PG wanders about", term, c.view.Record.Term)
	}
	c.shun(1, true)
	c.govern(10 * time.Second)
	c.wantServing(2)
	c.shun(2, true) // all are slow: as if none were
	c.govern(10 * time.Second)
	c.wantServing(0)
	c.shun(0, false)
	term = c.view.Record.Term
	c.govern(30 * time.Second)
	c.wantServing(0)
	if c.view.Record.Term != term {
		t.Fatalf("term %d became %d: it leads already", term, c.view.Record.Term)
	}
	c.wantRead(0, "a", "two")
}

// A PG that is not whole stays where it is, however slow its primary: what is missing comes first.
func TestSlowPrimaryOfDegradedStays(t *testing.T) {
	c := active(t, 3, soonHome)
	c.crash(2, 0)
	c.down(2)
	c.shun(0, true)
	c.govern(15 * time.Second)
	c.wantServing(0)
	c.restart(2)
	c.govern(15 * time.Second)
	c.wantServing(1)
	c.wantSet(0, 1, 2)
}

// A target moves away from a primary that is no part of it: a slow one does not get the PG.
func TestMoveDoesNotGoToTheSlow(t *testing.T) {
	c := active(t, 4)
	c.mustWrite(0, "a", "one")
	p := c.view.Peers[3]
	p.Shunned = true
	c.view.Peers[3] = p
	c.view.Target = ids(3, 1, 2)
	c.publish()
	c.govern(5 * time.Second)
	c.wantServing(1)
	c.wantSet(1, 2, 3)
}
