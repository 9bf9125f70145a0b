package pg

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

func (c *cast) state(id int) string { return c.a(id).g.Stat(10, 1000).State }

// wantNoShares fails if an OSD has something of its Throttle though it teaches and learns nothing.
func (c *cast) wantNoShares() {
	c.t.Helper()
	for _, a := range c.all() {
		t := a.g.cfg.Throttle
		for k := range t.queues {
			if n := len(t.queues[k].held); n > 0 {
				c.t.Fatalf("%s keeps %d slots of kind %d", a.id, n, k)
			}
		}
		if t.total != 0 || len(t.pushes) != 0 {
			c.t.Fatalf("%s counts %d pushes: %v", a.id, t.total, t.pushes)
		}
	}
}

func (c *cast) flags(f placement.Flags) {
	c.view.Flags = f
	c.publish()
}

// A whole PG does not move while norebalance is set; a degraded one does, and neither does
// anything while norecover is set. What is under way when the flag comes stops.
func TestRecoveryFlags(t *testing.T) {
	c := active(t, 5)
	c.mustWrite(0, "a", "long enough for several pieces")
	c.flags(placement.FlagNoRebalance)
	c.view.Target = ids(0, 1, 3)
	c.publish()
	c.govern(2 * time.Second)
	c.wantSet(0, 1, 2)
	if s := c.state(0); s != "active+backfill_wait+remapped" {
		t.Fatalf("state %q", s)
	}
	c.crash(2, 0)
	c.down(2)
	c.govern(2 * time.Second)
	c.wantSet(0, 1, 3)
	c.flags(placement.FlagNoRecover)
	c.crash(3, 0)
	c.down(3)
	c.view.Target = ids(0, 1, 4)
	c.publish()
	c.govern(2 * time.Second)
	c.wantSet(0, 1)
	if s := c.state(0); s != "active+recovery_wait+undersized+degraded+remapped" {
		t.Fatalf("state %q", s)
	}
	c.a(0).slowReads = true
	c.flags(0)
	c.govern(500 * time.Millisecond)
	if p := c.peer(0, 4); p.phase != learning {
		t.Fatalf("osd.4 does not learn: %s", c.query(0))
	}
	c.flags(placement.FlagNoRecover)
	c.a(0).slowReads = false
	c.govern(2 * time.Second)
	c.wantSet(0, 1)
	c.flags(0)
	c.govern(2 * time.Second)
	c.wantSet(0, 1, 4)
	c.wantSame(0, 1, 4)
	c.wantNoShares()
}

// nobackfill keeps back what needs a scan of the whole PG, and nothing else.
func TestNoBackfill(t *testing.T) {
	c := active(t, 4, smallLog)
	for range 20 {
		c.mustWrite(0, "a", "x")
	}
	c.flags(placement.FlagNoBackfill)
	c.crash(2, 0)
	c.down(2)
	c.govern(time.Second)
	c.mustWrite(0, "a", "y")
	c.restart(2) // the log tells what it lacks
	c.govern(2 * time.Second)
	c.wantSet(0, 1, 2)
	c.view.Target = ids(0, 1, 3)
	c.publish()
	c.govern(3 * time.Second)
	c.wantSet(0, 1, 2)
	if s := c.state(0); s != "active+backfill_wait+remapped" {
		t.Fatalf("state %q", s)
	}
	c.flags(0)
	c.govern(3 * time.Second)
	c.wantSet(0, 1, 3)
	c.wantNoShares()
}

// An OSD that learns enough PGs says so, and is asked again; the PG goes on without it. One whose
// clients wait for the learner gets a slot all the same.
func TestLearnerHasNoSlot(t *testing.T) {
	c := active(t, 4)
	c.mustWrite(0, "a", "one")
	th := c.a(3).g.cfg.Throttle
	th.SetLimits(Limits{Targets: 1})
	other := placement.PGID{Pool: 9}
	if !th.take(taught, c.now, other, 0) {
		t.Fatal("no slot")
	}
	c.view.Target = ids(0, 1, 3)
	c.publish()
	c.govern(2 * time.Second)
	c.wantSet(0, 1, 2)
	if s := c.state(0); s != "active+backfill_wait+remapped" {
		t.Fatalf("state %q", s)
	}
	if n := len(c.a(0).g.cfg.Throttle.queues[teaching].held); n != 0 {
		t.Fatalf("osd.0 keeps %d slots while it waits for osd.3", n)
	}
	th.giveBack(taught, other)
	c.govern(2 * time.Second)
	c.wantSet(0, 1, 3)
	c.wantNoShares()
	// Now below min_size.
	if !th.take(taught, c.now, other, 0) {
		t.Fatal("the slot was not given back")
	}
	c.record(func(r *placement.PGRecord) { r.InSync = ids(0, 1) })
	c.view.MinSize = 3
	c.publish()
	c.govern(2 * time.Second)
	c.wantSet(0, 1, 3)
}

// A learner whose primary died or lost interest does not keep its slot for ever.
func TestSlotsEnd(t *testing.T) {
	c := active(t, 4)
	c.mustWrite(0, "a", "long enough for several pieces")
	c.a(0).slowReads = true
	c.view.Target = ids(0, 1, 3)
	c.publish()
	c.pass(time.Second)
	if n := len(c.a(3).g.cfg.Throttle.queues[taught].held); n != 1 {
		t.Fatalf("osd.3 has %d slots while it learns", n)
	}
	c.a(0).slowReads, c.a(1).slowReads = false, true
	c.lead(1)
	if n := len(c.a(0).g.cfg.Throttle.queues[teaching].held); n != 0 {
		t.Fatalf("osd.0 has %d slots though it does not lead any more", n)
	}
	c.govern(3 * time.Second)
	if p := c.peer(1, 3); p.phase != learning {
		t.Fatalf("osd.3 does not learn: %s", c.query(1))
	}
	c.view.Target = ids(0, 1, 2)
	c.publish()
	c.pass(16 * time.Second)
	if !c.a(3).g.cfg.Throttle.take(taught, c.now, placement.PGID{Pool: 9}, 0) ||
		len(c.a(3).g.cfg.Throttle.queues[taught].held) != 1 {
		t.Fatal("osd.3 keeps the slot of a PG that it does not learn any more")
	}
}

func TestThrottle(t *testing.T) {
	pg := func(n int) placement.PGID { return placement.PGID{Pool: 1, Shard: uint32(n)} }
	th := NewThrottle(Limits{Sources: 2, Pushes: 4, Busy: 3})
	for i := range 2 {
		if !th.take(teaching, 1, pg(i), 0) {
			t.Fatalf("slot %d refused", i)
		}
	}
	if th.take(teaching, 1, pg(2), 2) {
		t.Fatal("a third slot of two")
	}
	if !th.take(teaching, 1, pg(9), urgent) || !th.take(teaching, 1, pg(8), urgent) || th.take(teaching, 1, pg(7), urgent) {
		t.Fatal("want as many again for those whose clients wait, and no more")
	}
	th.giveBack(teaching, pg(9))
	th.giveBack(teaching, pg(8))
	th.giveBack(teaching, pg(7))
	th.giveBack(teaching, pg(0))
	if th.take(teaching, 2, pg(3), 1) {
		t.Fatal("a slot went past somebody with a higher priority")
	}
	if !th.take(teaching, 1+claimFor, pg(3), 1) {
		t.Fatal("somebody who does not ask any more keeps others waiting")
	}
	th.note(pg(0), 3)
	if !th.room(pg(1), 0, 0) || th.room(pg(1), 1, 0) || !th.room(pg(1), 1, urgent) {
		t.Fatal("want room for four pushes, more if urgent")
	}
	th.Clients(3)
	if th.room(pg(1), 0, 0) || !th.room(pg(1), 0, urgent) {
		t.Fatal("recovery does not step back for clients")
	}
	th.note(pg(0), 0)
	if !th.room(pg(1), 0, 0) || th.room(pg(1), 1, 0) {
		t.Fatal("want one push at a time while clients are busy")
	}
	th.Clients(-3)
	if !th.room(pg(1), 3, 0) {
		t.Fatal("clients are gone, and recovery still waits")
	}
}

// A large object on its way to a learner is written: the client does not wait for the push, which
// begins again behind the write.
func TestWriteOvertakesPush(t *testing.T) { writeOvertakesPush(t) }

func writeOvertakesPush(t tester) {
	c := active(t, 4)
	c.mustWrite(0, "a", strings.Repeat("x", 40))
	c.a(0).slowReads = true
	c.view.Target = ids(0, 1, 3)
	c.publish()
	c.pass(500 * time.Millisecond)
	for range 3 {
		c.a(0).read()
		c.settle()
	}
	for i := range yieldMax {
		c.mustWrite(0, "a", strings.Repeat(string(rune('a'+i)), 40))
		c.a(0).read()
		c.settle()
		c.a(0).read()
		c.settle()
	}
	h := c.write(0, "a", "last", 0) // enough: now it has to arrive
	c.wantNoReply(0, h)
	c.a(0).slowReads = false
	c.settle()
	c.wantReply(0, h, wirepb.Code_OK)
	c.govern(2 * time.Second)
	c.wantSet(0, 1, 3)
	c.wantSame(0, 1, 3)
	c.wantNoShares()
}

// What is to do and what is done, for whoever wants to know when it ends.
func TestProgress(t *testing.T) {
	c := active(t, 4, smallLog, func(cfg *Config) { cfg.PushMax = 1 })
	for i := range 20 {
		c.mustWrite(0, string(rune('a'+i%10)), "x")
	}
	c.a(0).slowReads = true
	c.view.Target = ids(0, 1, 3)
	c.publish()
	c.pass(500 * time.Millisecond)
	s := c.a(0).g.Stat(10, 1000)
	if s.RecoverObjects != 10 || s.RecoverBytes != 1000 || s.RecoveredObjects != 2 {
		t.Fatalf("at first %v", s) // a page of two is compared, both are to be pushed
	}
	for range 5 {
		c.a(0).read()
		c.settle()
	}
	s = c.a(0).g.Stat(10, 1000)
	if s.RecoverObjects != 5 || s.RecoveredObjects < 5 || s.RecoveredBytes != 5 {
		t.Fatalf("half way %v", s)
	}
	c.a(0).slowReads = false
	c.govern(2 * time.Second)
	if s = c.a(0).g.Stat(10, 1000); s.RecoverObjects != 0 || s.State != "active+clean" {
		t.Fatalf("in the end %v", s)
	}
}

// A member's disk is full: writes that need space are refused, deletes are not, and a request that
// was carried out before is answered as it was.
func TestFullMember(t *testing.T) { fullMember(t) }

func fullMember(t tester) {
	c := active(t, 3)
	grow := func(seq uint64, full bool) Handle {
		c.next++
		c.a(0).step(OpEvent{Handle: c.next, Payload: []byte("!"), Write: true, Wall: int64(c.now), Grows: true, Full: full,
			Op: &wirepb.OpRequest{Pool: 1, Object: []byte("a"), Req: &wirepb.ReqID{Client: 1, Seq: seq},
				Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_APPEND, DataLen: 1}}}})
		c.settle()
		return c.next
	}
	full := func(id int, f placement.Fullness) {
		p := c.view.Peers[placement.OSDID(id)]
		p.Full = f
		c.view.Peers[placement.OSDID(id)] = p
		c.publish()
	}
	c.wantReply(0, grow(1, false), wirepb.Code_OK)
	full(2, placement.Full)
	c.wantReply(0, grow(2, false), wirepb.Code_NO_SPACE)
	c.wantReply(0, grow(1, false), wirepb.Code_OK)
	c.wantRead(0, "a", "!")
	full(2, placement.NearFull)
	c.wantReply(0, grow(3, false), wirepb.Code_OK)
	c.wantReply(0, grow(4, true), wirepb.Code_NO_SPACE) // our own
	c.a(0).g.cfg.Throttle.SetFull(1, placement.Full)
	c.wantReply(0, grow(5, false), wirepb.Code_NO_SPACE) // it said so itself
	c.wantReply(0, c.remove(0, "a"), wirepb.Code_OK)
}

// Nothing moves to an OSD that is nearly full; a returning member gets what it missed until it is
// entirely full.
func TestTooFull(t *testing.T) {
	c := active(t, 4, smallLog)
	for range 20 {
		c.mustWrite(0, "a", "x")
	}
	full := func(id int, f placement.Fullness) {
		p := c.view.Peers[placement.OSDID(id)]
		p.Full = f
		c.view.Peers[placement.OSDID(id)] = p
		c.publish()
	}
	full(3, placement.BackfillFull)
	c.view.Target = ids(0, 1, 3)
	c.publish()
	c.govern(3 * time.Second)
	c.wantSet(0, 1, 2)
	if s := c.state(0); s != "active+backfill_toofull+remapped" {
		t.Fatalf("state %q", s)
	}
	full(3, placement.NotFull)
	c.govern(3 * time.Second)
	c.wantSet(0, 1, 3)
	full(3, placement.BackfillFull)
	c.crash(3, 0)
	c.down(3)
	c.govern(time.Second)
	c.mustWrite(0, "a", "y")
	c.restart(3)
	c.govern(time.Second)
	c.wantSet(0, 1, 3)
	c.crash(3, 0)
	c.down(3)
	c.govern(time.Second)
	c.a(0).g.cfg.Throttle.SetFull(3, placement.Full) // as it says itself
	c.restart(3)
	c.govern(time.Second)
	c.wantSet(0, 1)
	if s := c.state(0); s != "active+recovery_toofull+undersized+degraded+remapped" {
		t.Fatalf("state %q", s)
	}
	c.wantNoShares()
}

// A full OSD returns, and clients have removed objects meanwhile. It must learn of that, or it
// would stay full for ever; it becomes a member when it has space, not before.
func TestFullReturnsToRemovals(t *testing.T) {
	c := active(t, 3)
	for _, name := range []string{"a", "b", "c", "d"} {
		c.mustWrite(0, name, "x")
	}
	c.crash(2, 0)
	c.down(2)
	c.govern(time.Second)
	c.wantSet(0, 1)
	c.mustWrite(0, "a", "y")
	for _, name := range []string{"b", "c", "d"} {
		c.wantReply(0, c.remove(0, name), wirepb.Code_OK)
	}
	c.a(0).g.cfg.Throttle.SetFull(2, placement.Full)
	c.restart(2)
	c.govern(time.Second)
	if got, want := c.objects(2), "a 1'1 \"x\"\n"; got != want {
		t.Fatalf("the full OSD has\n%swant only the object that was not removed\n%s", got, want)
	}
	c.wantSet(0, 1)
	if s := c.state(0); s != "active+recovery_toofull+undersized+degraded+remapped" {
		t.Fatalf("state %q", s)
	}
	c.mustWrite(0, "a", "z") // nobody is kept from writing
	c.a(0).g.cfg.Throttle.SetFull(2, placement.NotFull)
	c.govern(time.Second)
	c.wantSet(0, 1, 2)
	c.wantSame(0, 1, 2)
	c.wantNoShares()
}

// A member's disk has no room for a write although its primary thought so. It has acknowledged
// nothing that is not on the disk: it starts over and is brought up to date, while its daemon and
// its other PGs go on.
func TestMemberWithoutSpace(t *testing.T) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one")
	noRoom := 2
	c.a(2).st.SetHooks(nil, func(b *store.Batch) error {
		if noRoom == 0 {
			return nil
		}
		noRoom--
		return store.ErrNoSpace
	})
	h, h2 := c.write(0, "a", "two", 0), c.write(0, "b", "three", 0)
	c.govern(500 * time.Millisecond)
	c.wantReply(0, h, wirepb.Code_OK)
	c.wantReply(0, h2, wirepb.Code_OK)
	if c.a(2).reloads == 0 || c.a(2).failed != nil {
		t.Fatalf("osd.2 started over %d times, failure %v", c.a(2).reloads, c.a(2).failed)
	}
	c.wantSame(0, 1, 2)
	c.wantSet(0, 1, 2)
	noRoom = 1 << 30 // for good: it is dropped
	h = c.write(0, "a", "four", 0)
	c.govern(3 * time.Second)
	c.wantReply(0, h, wirepb.Code_OK)
	c.wantSet(0, 1)
	noRoom = 0
	c.govern(3 * time.Second)
	c.wantSame(0, 1, 2)
}

// A member answers, and has no room for what it must have. What is logged cannot be refused any more:
// it is acknowledged without the member, and what comes meanwhile is refused at once.
func TestMemberWithoutRoom(t *testing.T) { memberWithoutRoom(t) }

func memberWithoutRoom(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one")
	c.mustWrite(0, "c", "one")
	c.a(2).st.SetHooks(nil, noData)
	h, removal := c.write(0, "a", "two", 0), c.remove(0, "c")
	c.govern(100 * time.Millisecond)
	c.next++
	c.a(0).step(OpEvent{Handle: c.next, Payload: []byte("three"), Write: true, Wall: int64(c.now), Grows: true,
		Op: &wirepb.OpRequest{Pool: 1, Object: []byte("b"), Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_WRITE_FULL, DataLen: 5}}}})
	c.settle()
	c.wantReply(0, c.next, wirepb.Code_NO_SPACE)
	c.govern(3 * time.Second)
	c.wantReply(0, h, wirepb.Code_OK)
	c.wantReply(0, removal, wirepb.Code_OK)
	c.wantSet(0, 1)
	c.mustWrite(0, "b", "three")
	c.a(2).st.SetHooks(nil, nil)
	c.govern(3 * time.Second)
	c.wantSet(0, 1, 2)
	c.wantSame(0, 1, 2)
	c.mustWrite(0, "b", "four")
}

// noData is a disk that has no room for data: what removes, and small changes, still fit.
func noData(b *store.Batch) error {
	if slices.ContainsFunc(b.Ops, func(op store.Op) bool { return op.Kind == store.OpWrite }) {
		return store.ErrNoSpace
	}
	return nil
}

// A primary's disk: it must not go on in the same term with what is on the disk.
func TestPrimaryWithoutSpace(t *testing.T) {
	c := active(t, 3)
	c.a(0).st.SetHooks(nil, func(b *store.Batch) error { return store.ErrNoSpace })
	h := c.write(0, "a", "one", 0)
	c.wantReply(0, h, wirepb.Code_STALE_TERM) // the others have it
	if c.a(0).failed == nil || c.a(0).reloads > 0 {
		t.Fatalf("osd.0 started over %d times, failure %v", c.a(0).reloads, c.a(0).failed)
	}
}
