package pg

import (
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// One of three hosts is taken out: CRUSH names two OSDs only. The third copy is good and stays
// where it is until there is another place for it; then it moves, and nothing is left behind.
func TestOutKeepsTheThirdCopy(t *testing.T) { outKeepsTheThirdCopy(t) }

func outKeepsTheThirdCopy(t tester) {
	c := active(t, 4)
	c.mustWrite(0, "a", "one")
	c.view.Target = ids(0, 1)
	c.publish()
	c.govern(5 * time.Second)
	if n := len(c.view.Record.InSync); n != 3 {
		t.Fatalf("in-sync set %v, want the three good copies", c.view.Record.InSync)
	}
	c.mustWrite(0, "a", "two")
	c.wantSame(0, 1, 2)
	c.view.Target = ids(0, 1, 3)
	c.publish()
	c.govern(3 * time.Second)
	c.wantSet(0, 1, 3)
	c.wantSame(0, 1, 3)
	if c.a(2).g.Exists() || c.objects(2) != "" {
		t.Fatalf("osd.2 keeps a copy that nobody wants: %q", c.objects(2))
	}
	if s := c.a(0).g.Stat(1, 3); s.State != "active+clean" {
		t.Fatalf("state %q, want active+clean", s.State)
	}
}

// The same when it is the primary that is taken out: it hands over and keeps its copy.
func TestOutPrimaryHandsOver(t *testing.T) { outPrimaryHandsOver(t) }

func outPrimaryHandsOver(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one")
	c.view.Target = ids(1, 2)
	c.publish()
	c.govern(5 * time.Second)
	c.wantServing(1)
	if n := len(c.view.Record.InSync); n != 3 {
		t.Fatalf("in-sync set %v, want the three good copies", c.view.Record.InSync)
	}
	term := c.view.Record.Term
	c.govern(5 * time.Second)
	if c.view.Record.Term != term {
		t.Fatalf("term %d became %d: the PG wanders about", term, c.view.Record.Term)
	}
	c.mustWrite(1, "a", "two")
	c.wantSame(1, 0, 2)
}

// A pool's size is lowered: the copy too many goes.
func TestSmallerPool(t *testing.T) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one")
	c.view.Size, c.view.Target = 2, ids(0, 1)
	c.publish()
	c.govern(3 * time.Second)
	c.wantSet(0, 1)
	if c.a(2).g.Exists() {
		t.Fatal("osd.2 keeps its copy")
	}
}

// A member of the target dies while the target moves: the dead one goes, not the good copy that
// is not wanted any more. That one goes when there is a third again.
func TestMoveWaitsForGoodCopies(t *testing.T) {
	c := active(t, 4)
	c.mustWrite(0, "a", "one")
	c.crash(1, 0)
	c.view.Target = ids(0, 1, 3)
	c.down(1)
	c.govern(3 * time.Second)
	c.wantSet(0, 2, 3)
	c.restart(1)
	c.govern(3 * time.Second)
	c.wantSet(0, 1, 3)
	c.wantSame(0, 1, 3)
}

// The target changes before the last change is done, again and again, all the time with a
// member of it that cannot be reached: members do not pile up.
func TestMovesDoNotPileUp(t *testing.T) {
	c := active(t, 12)
	c.mustWrite(0, "a", "one")
	for i := range 9 {
		c.view.Target = ids(0, 3+i, 3+(i+1)%9)
		c.publish()
		c.accept(0)
		if n := len(c.view.Record.InSync); n > setMax*c.view.Size {
			t.Fatalf("in-sync set %v after %d changes of the target", c.view.Record.InSync, i+1)
		}
	}
	c.govern(5 * time.Second)
	c.wantSet(0, 11, 3)
	c.mustWrite(0, "a", "two")
	c.wantSame(0, 3, 11)
}

// A write's first attempt is under way for so long that a later one was carried out in a new
// term and its request id trimmed with the log. Its age says nothing; its map does.
func TestDelayedFirstAttempt(t *testing.T) { delayedFirstAttempt(t) }

func delayedFirstAttempt(t tester) {
	c := active(t, 3, smallLog)
	began := c.view.Epoch
	c.mustWrite(0, "a", "x")
	appendTo := func(age time.Duration, epoch placement.Epoch) Handle {
		c.next++
		c.a(1).step(OpEvent{Handle: c.next, Payload: []byte("!"), Write: true, Wall: int64(c.now), Epoch: epoch,
			Op: &wirepb.OpRequest{Pool: 1, Object: []byte("a"), Req: &wirepb.ReqID{Client: 1, Seq: 1}, AgeMs: uint64(age.Milliseconds()),
				Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_APPEND, DataLen: 1}}}})
		c.settle()
		return c.next
	}
	c.crash(0, 0)
	c.down(0)
	c.lead(1)
	c.govern(3 * time.Second)
	c.wantReply(1, appendTo(3*time.Second, c.view.Epoch), wirepb.Code_OK)
	for range 30 {
		c.mustWrite(1, "b", "x")
	}
	c.wantReply(1, appendTo(0, began), wirepb.Code_STALE_MAP)
	c.wantRead(1, "a", "x!")
}
