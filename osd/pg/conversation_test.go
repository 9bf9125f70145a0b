package pg

import (
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// A learner that is complete must acknowledge writes. When it falls silent before it is even
// proposed, writes must not wait for it longer than for a member.
func TestSilentNewcomer(t *testing.T) { silentNewcomer(t) }

func silentNewcomer(t tester) {
	c := newCast(t, 4)
	c.mute[[2]placement.OSDID{0, 3}] = true // no lease, hence no proposal
	c.created()
	c.mustWrite(0, "a", "one")
	c.view.Target = ids(0, 1, 2, 3)
	c.publish()
	c.pass(200 * time.Millisecond)
	if p := c.peer(0, 3); p == nil || p.phase != ready {
		t.Fatalf("want osd.3 to be ready: %s", c.query(0))
	}
	c.cut[[2]placement.OSDID{0, 3}] = true
	h := c.write(0, "a", "two", 0)
	c.wantNoReply(0, h)
	c.pass(1200 * time.Millisecond)
	c.wantReply(0, h, wirepb.Code_OK)
}

// Leases that are worth nothing because we lack the newest map are no reason to drop anybody.
func TestOldMapDropsNobody(t *testing.T) { oldMapDropsNobody(t) }

func oldMapDropsNobody(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one")
	c.a(0).blind = true
	c.publish()
	c.pass(2 * time.Second)
	h := c.read(0, "a")
	c.pass(3 * time.Second)
	c.wantNoReply(0, h)
	if p := c.proposed(0); p != nil {
		t.Fatalf("proposed %v", p.Change)
	}
	c.a(0).blind = false
	c.a(0).fetch()
	c.pass(200 * time.Millisecond)
	c.wantReply(0, h, wirepb.Code_OK)
}

// Whoever is neither member nor wanted erases its copy; it may come back as if it were new.
func TestStrayErasesAndReturns(t *testing.T) { strayErasesAndReturns(t) }

func strayErasesAndReturns(t tester) {
	c := active(t, 4)
	c.mustWrite(0, "a", "one")
	c.view.Target = ids(0, 1, 3)
	c.publish()
	c.govern(time.Second)
	if c.a(2).g.Exists() || c.objects(2) != "" {
		t.Fatalf("osd.2 still has its copy: %s", c.query(2))
	}
	if b, err := c.a(2).st.PGs(); err != nil || len(b) != 0 {
		t.Fatalf("osd.2's store has %v, %v", b, err)
	}
	c.mustWrite(0, "b", "two")
	c.view.Target = ids(0, 1, 2)
	c.publish()
	c.govern(time.Second)
	c.wantSame(0, 1, 2)
	if c.a(3).g.Exists() {
		t.Fatal("osd.3 still has its copy")
	}
}

// The erasure is not durable yet when the OSD is wanted again, and it crashes in between.
func TestErasureIsLost(t *testing.T) { erasureIsLost(t) }

func erasureIsLost(t tester) {
	c := active(t, 4)
	c.mustWrite(0, "a", "one")
	c.mustWrite(0, "gone", "one")
	c.a(2).slowDisk = true
	c.view.Target = ids(0, 1, 3)
	c.publish()
	c.govern(time.Second)
	c.wantReply(0, c.remove(0, "gone"), wirepb.Code_OK)
	c.mustWrite(0, "a", "two")
	c.view.Target = ids(0, 1, 2)
	c.publish()
	c.pass(200 * time.Millisecond)
	c.crash(2, 0) // what it had before the erasure is there again
	c.restart(2)
	c.govern(2 * time.Second)
	c.wantSame(0, 1, 2)
}

// An answer to an earlier query waits for the disk when the OSD erases its copy and is asked
// again. It must not answer the new query: the erasure is not on disk, and a listing would
// show objects that are about to go.
func TestInfoOfEarlierQuery(t *testing.T) { infoOfEarlierQuery(t) }

func infoOfEarlierQuery(t tester) {
	c := active(t, 4, func(cfg *Config) { cfg.LogMax = 4 })
	for range 20 { // the log forgets its beginning: a new copy comes from comparing listings
		c.mustWrite(0, "a", "one")
	}
	c.a(2).slowDisk = true
	h := c.write(0, "b", "one", 0)
	c.govern(1500 * time.Millisecond) // osd.2 is dropped and asked what it has; its disk keeps it from answering
	c.wantReply(0, h, wirepb.Code_OK)
	c.view.Target = ids(0, 1, 3)
	c.publish()
	c.govern(time.Second)
	c.view.Target = ids(0, 1, 2)
	c.publish()
	c.pass(200 * time.Millisecond)
	c.a(2).st.Complete(2) // the write, and what the first query began; not the erasure
	c.settle()
	c.a(2).slowDisk = false
	c.govern(2 * time.Second)
	c.wantSame(0, 1, 2)
}

// An OSD is no target any more when the primary's first lesson reaches it. No further map would
// tell it to erase what it learned.
func TestNoTargetIsNotTaught(t *testing.T) {
	c := active(t, 4)
	c.mustWrite(0, "a", "one")
	c.keep = func(p parcel) bool { return p.to == 3 && p.msg.GetLearn() != nil }
	c.view.Target = ids(0, 1, 3)
	c.publish()
	if len(c.held) == 0 {
		t.Fatalf("osd.3 is not taught: %s", c.query(0))
	}
	c.view.Target = ids(0, 1, 2)
	c.publish()
	c.unhold()
	if c.a(3).g.Exists() || c.objects(3) != "" {
		t.Fatalf("osd.3 keeps a copy that nobody wants: %s", c.query(3))
	}
}

// A pool that is removed takes everything with it, and its clients are told.
func TestPoolRemoved(t *testing.T) { poolRemoved(t) }

func poolRemoved(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one")
	c.cut[[2]placement.OSDID{0, 1}] = true
	inFlight := c.write(0, "a", "two", 0)
	behind := c.read(0, "a")
	c.view.Exists = false
	c.publish()
	c.wantReply(0, inFlight, wirepb.Code_NOT_FOUND)
	c.wantReply(0, behind, wirepb.Code_NOT_FOUND)
	for _, a := range c.all() {
		if got, err := a.st.PGs(); err != nil || len(got) != 0 {
			t.Fatalf("%s's store has %v, %v", a.id, got, err)
		}
	}
	c.wantReply(0, c.read(0, "a"), wirepb.Code_NOT_FOUND)
}

// A PG that was never created changes its members; what an attempt left behind does no harm.
func TestNeverCreated(t *testing.T) { neverCreated(t) }

func neverCreated(t tester) {
	c := newCast(t, 5)
	c.view.Target = ids(0, 1, 2)
	c.view.Record = placement.PGRecord{Term: 1, Version: 1, Primary: 0, InSync: ids(0, 1, 2)}
	c.publish()
	first := c.wantProposal(0, 0, 1, 2)
	h := c.write(0, "a", "early", 0)
	c.wantNoReply(0, h) // the monitors do not know yet that there will be data
	c.a(0).proposals = nil
	c.record(func(r *placement.PGRecord) { r.Term, r.Primary, r.InSync = 2, 1, ids(1, 2, 3) })
	c.wantReply(0, h, wirepb.Code_WRONG_PRIMARY)
	if c.apply(first.Change) {
		t.Fatal("the proposal of the first attempt was accepted")
	}
	c.accept(1)
	c.pass(2 * time.Second)
	c.wantServing(1)
	c.mustWrite(1, "a", "one")
	c.view.Target = ids(0, 1, 4)
	c.publish()
	c.govern(2 * time.Second)
	c.wantSame(1, 0, 4)
	if s := c.a(int(c.view.Record.Primary)).g.Stat(1, 3); s.State != "active+clean" {
		t.Fatalf("state %q", s.State)
	}
}

// Below min_size writes wait, and go on when it is reached again.
func TestBelowMinSize(t *testing.T) { belowMinSize(t) }

func belowMinSize(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one")
	c.view.Size, c.view.MinSize = 4, 4
	c.publish()
	h := c.write(0, "a", "two", 0)
	c.pass(time.Second)
	c.wantNoReply(0, h)
	c.view.MinSize = 3
	c.publish()
	c.wantReply(0, h, wirepb.Code_OK)
	c.view.MinSize = 4
	c.publish()
	h = c.write(0, "a", "three", 0)
	c.pass(waitMax + time.Second)
	if r := c.wantReply(0, h, wirepb.Code_TRY_LATER); r.Text == "" {
		t.Fatal("no reason given")
	}
}

// The target has moved away altogether: the PG follows, one step at a time.
func TestMoves(t *testing.T) { moves(t) }

func moves(t tester) {
	c := active(t, 6)
	for i := range 10 {
		c.mustWrite(0, string(rune('a'+i)), "x")
	}
	c.view.Target = ids(3, 4, 5)
	c.publish()
	c.govern(6 * time.Second)
	if rec := c.view.Record; rec.Primary != 3 || len(rec.InSync) != 3 || rec.Has(0) || rec.Has(1) || rec.Has(2) {
		t.Fatalf("record %+v, want osd.3, 4 and 5", rec)
	}
	c.wantSame(3, 4, 5)
	for _, id := range []int{0, 1, 2} {
		if c.a(id).g.Exists() {
			t.Fatalf("osd.%d keeps its copy", id)
		}
	}
	c.wantRead(3, "a", "x")
}

// A request that is repeated while it is under way is answered together with the first; one
// that is repeated later is answered from the log, result and all, by whoever leads then.
func TestRepeats(t *testing.T) { repeats(t) }

func repeats(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "old")
	swap := func(id int) Handle {
		return c.op(id, true, &wirepb.OpRequest{Object: []byte("a"), Req: &wirepb.ReqID{Client: 7, Seq: 1},
			Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_READ}, {Kind: wirepb.OpKind_WRITE_FULL, DataLen: 3}}}, "new")
	}
	old := func(id int, h Handle) {
		t.Helper()
		if r := c.wantReply(id, h, wirepb.Code_OK); string(r.Reply.Results[0].Value) != "old" || r.Reply.Version != 2 {
			t.Fatalf("answered %v", r.Reply)
		}
	}
	c.keep = func(p parcel) bool { return p.msg.GetAcked() != nil }
	first, second := swap(0), swap(0)
	c.wantNoReply(0, first)
	c.wantNoReply(0, second)
	c.unhold()
	old(0, first)
	old(0, second)
	old(0, swap(0))
	c.crash(0, 0)
	c.down(0)
	c.lead(1)
	c.govern(3 * time.Second)
	old(1, swap(1))
	c.wantRead(1, "a", "new")
}

// A repeat that comes when its request may have been forgotten is refused; a new request is not.
func TestRepeatAfterHorizon(t *testing.T) { repeatAfterHorizon(t) }

func repeatAfterHorizon(t tester) {
	c := active(t, 3, smallLog)
	first := c.now
	c.wantReply(0, c.write(0, "a", "one", 1), wirepb.Code_OK)
	for range 30 {
		c.mustWrite(0, "b", "x")
	}
	c.pass(5 * time.Second)
	again := func(age time.Duration) Handle {
		return c.op(0, true, &wirepb.OpRequest{Object: []byte("a"), Req: &wirepb.ReqID{Client: 1, Seq: 1}, AgeMs: uint64(age.Milliseconds()),
			Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_APPEND, DataLen: 1}}}, "!")
	}
	c.wantReply(0, again(c.now.Sub(first)), wirepb.Code_TIMED_OUT)
	c.wantReply(0, again(100*time.Millisecond), wirepb.Code_OK)
	// Also by those who learnt the PG since.
	c.crash(2, 0)
	c.down(2)
	c.govern(time.Second)
	for range 30 {
		c.mustWrite(0, "b", "x")
	}
	c.restart(2)
	c.govern(2 * time.Second)
	if got, want := c.a(2).g.st.horizon, int64(first); got < want {
		t.Fatalf("horizon of the learner %d, want at least %d", got, want)
	}
}

// What a deposed primary has under way is answered once: a write that is in its log, which its
// successor may have, otherwise than what surely came to nothing. Late answers of its store, its
// reads and its executions do nothing.
func TestDeposedWithWorkUnderWay(t *testing.T) { deposedWithWorkUnderWay(t) }

func deposedWithWorkUnderWay(t tester) {
	c := active(t, 4)
	c.mustWrite(0, "a", "one")
	a := c.a(0)
	a.slowDisk, a.slowReads, a.slowLists = true, true, true
	logged := c.write(0, "a", "two", 0)
	a.slowExecs = true
	executing, queued, read := c.write(0, "b", "x", 0), c.write(0, "a", "three", 0), c.read(0, "c")
	c.view.Target = ids(0, 1, 2, 3)
	c.publish()
	c.lead(1)
	c.wantReply(0, logged, wirepb.Code_STALE_TERM)
	for _, h := range []Handle{executing, queued, read} {
		c.wantReply(0, h, wirepb.Code_WRONG_PRIMARY)
	}
	a.exec()
	a.read()
	a.list()
	a.slowDisk, a.slowReads, a.slowLists, a.slowExecs = false, false, false, false
	c.settle() // answering twice would fail the test
	c.govern(4 * time.Second)
	c.wantServing(1)
	c.wantSame(1, 0, 2)
}

// A listing shows what is committed: it waits for the writes that it may have seen.
func TestListingWaits(t *testing.T) { listingWaits(t) }

func listingWaits(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one")
	c.keep = func(p parcel) bool { return p.from == 1 && p.msg.GetAcked() != nil }
	c.write(0, "b", "two", 0)
	c.next++
	h := c.next
	c.a(0).step(OpEvent{Handle: h, List: &wirepb.PGList{Pool: 1}})
	c.settle()
	c.wantNoReply(0, h)
	c.unhold()
	if r := c.wantReply(0, h, wirepb.Code_OK); len(r.List.Objects) != 2 {
		t.Fatalf("listed %q", r.List.Objects)
	}
}

// A follower that dies in the middle of its activation is as it was before.
func TestFollowerDiesDuringActivation(t *testing.T) { followerDiesDuringActivation(t) }

func followerDiesDuringActivation(t tester) {
	for keep := range 12 {
		c := active(t, 3)
		for i := range 6 {
			c.mustWrite(0, string(rune('a'+i)), "one, of several pieces")
		}
		c.cut[[2]placement.OSDID{0, 1}] = true
		c.write(0, "a", "tail, which only osd.2 has", 0)
		c.write(0, "ghost", "tail", 0)
		delete(c.cut, [2]placement.OSDID{0, 1})
		c.crash(0, 0)
		c.down(0)
		c.a(2).slowDisk = true
		c.lead(1)
		for range 8 { // a few batches of the activation at a time
			c.a(2).st.Complete(1)
			c.settle()
		}
		c.crash(2, keep)
		c.restart(2)
		c.govern(4 * time.Second)
		c.wantServing(1)
		if !c.view.Record.Has(2) {
			t.Fatalf("osd.2 is not back: %s", c.query(1))
		}
		c.wantSame(1, 2)
	}
}

// A member's connection breaks with writes in flight, and it has some of them.
func TestResume(t *testing.T) { resume(t) }

func resume(t tester) {
	for lost := range 4 {
		c := active(t, 3)
		c.mustWrite(0, "a", "one")
		n := 0
		c.keep = func(p parcel) bool {
			return p.to == 2 && p.msg.GetReplicate() != nil && func() bool { n++; return n > lost }()
		}
		var hs []Handle
		for i := range 3 {
			hs = append(hs, c.write(0, string(rune('a'+i)), "two", 0))
		}
		c.keep, c.held = nil, nil // what was held back is lost
		c.a(0).step(ResetEvent{Peer: 2})
		c.pass(200 * time.Millisecond)
		for _, h := range hs {
			c.wantReply(0, h, wirepb.Code_OK)
		}
		c.wantSame(0, 1, 2)
		if p := c.peer(0, 2); p.phase != live {
			t.Fatalf("osd.2 is %s", p.phase)
		}
	}
}

// One message is lost without anybody's noticing: the next one shows it.
func TestGap(t *testing.T) { gap(t) }

func gap(t tester) {
	c := active(t, 3)
	lose := true
	c.keep = func(p parcel) bool {
		if lose && p.to == 1 && p.msg.GetReplicate() != nil {
			lose = false
			return true
		}
		return false
	}
	h := c.write(0, "a", "one", 0)
	c.keep, c.held = nil, nil
	c.wantNoReply(0, h)
	h2 := c.write(0, "b", "two", 0)
	c.pass(200 * time.Millisecond)
	c.wantReply(0, h, wirepb.Code_OK)
	c.wantReply(0, h2, wirepb.Code_OK)
	c.wantSame(0, 1, 2)
}

// The primary's own disk hangs. Nobody else can tell: it grants leases, and its peers owe it nothing.
func TestOwnDiskHangs(t *testing.T) { ownDiskHangs(t) }

func ownDiskHangs(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one")
	c.a(0).slowDisk = true
	h := c.write(0, "a", "two", 1)
	c.govern(7 * time.Second)
	c.wantReply(0, h, wirepb.Code_STALE_TERM)
	p := int(c.view.Record.Primary)
	if p == 0 || c.view.Record.Has(0) {
		t.Fatalf("record %+v: want osd.0 out; %s", c.view.Record, c.query(p))
	}
	c.wantReply(p, c.write(p, "a", "two", 1), wirepb.Code_OK)
	c.a(0).slowDisk = false
	c.govern(3 * time.Second)
	c.wantSame(0, 1, 2)
}

// rot makes an object unreadable on an OSD.
func (c *cast) rot(id int, object string) {
	c.a(id).st.SetHooks(func(k store.Key) error {
		if k.Space == store.Objects && k.Name == object {
			return store.ErrCorrupt
		}
		return nil
	}, nil)
}

// A new primary must copy an object that it cannot read itself. Another member can.
func TestUnreadableTail(t *testing.T) { unreadableTail(t) }

func unreadableTail(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one")
	c.cut[[2]placement.OSDID{0, 2}] = true
	c.write(0, "a", "two", 0) // osd.2 lacks it
	c.rot(1, "a")
	c.crash(0, 0)
	c.down(0)
	c.lead(1)
	c.govern(5 * time.Second)
	p := int(c.view.Record.Primary)
	c.wantServing(p)
	if p != 2 {
		t.Fatalf("osd.%d leads, want osd.2", p)
	}
	c.wantRead(2, "a", "one")
}

// A learner needs an object that the primary cannot read.
func TestUnreadableForLearner(t *testing.T) { unreadableForLearner(t) }

func unreadableForLearner(t tester) {
	c := active(t, 4)
	c.mustWrite(0, "a", "one")
	c.mustWrite(0, "b", "two")
	c.rot(0, "a")
	c.crash(2, 0)
	c.down(2)
	c.view.Target = ids(0, 1, 3)
	c.publish()
	c.govern(25 * time.Second)
	if !c.view.Record.Has(3) {
		t.Fatalf("osd.3 did not get everything: %s", c.query(int(c.view.Record.Primary)))
	}
	c.wantSame(1, 3)
}
