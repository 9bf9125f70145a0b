package pg

import (
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

func TestActiveClean(t *testing.T) { activeClean(t) }

func activeClean(t tester) {
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
func TestRefusedNewcomerDoesNotBlock(t *testing.T) { refusedNewcomerDoesNotBlock(t) }

func refusedNewcomerDoesNotBlock(t tester) {
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
func TestRefusedNewcomerStaysRequired(t *testing.T) { refusedNewcomerStaysRequired(t) }

func refusedNewcomerStaysRequired(t tester) {
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
func TestRefusedHandoverDoesNotBlock(t *testing.T) { refusedHandoverDoesNotBlock(t) }

func refusedHandoverDoesNotBlock(t tester) {
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
func TestLearnerForgetsItsTailHalfWay(t *testing.T) { learnerForgetsItsTailHalfWay(t) }

func learnerForgetsItsTailHalfWay(t tester) {
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

func smallLog(cfg *Config) { cfg.LogMax, cfg.ScanLimit = 8, 2 }

// scanOnward holds back a scan for an OSD and whatever follows it on the way.
func scanOnward(id placement.OSDID) func(parcel) bool {
	seen := false
	return func(p parcel) bool {
		seen = seen || p.to == id && p.msg.GetScan() != nil
		return seen && p.to == id
	}
}

// A listing that a learner made in an earlier session must not answer the new session's scan:
// it begins elsewhere, and what it leaves out would be taken for missing.
func TestListingOfEarlierSession(t *testing.T) { listingOfEarlierSession(t) }

func listingOfEarlierSession(t tester) {
	c := active(t, 4, smallLog)
	for i := range 20 {
		c.mustWrite(0, string(rune('a'+i%6)), "x")
	}
	c.view.Target = ids(0, 1, 2, 3)
	c.a(3).slowLists = true
	c.publish() // the first page is asked
	c.a(3).list()
	c.settle()
	if len(c.a(3).lists) != 1 || c.a(3).lists[0].After == "" {
		t.Fatalf("want the second page to be asked, got %+v", c.a(3).lists)
	}
	c.a(0).step(ResetEvent{Peer: 3})
	c.wantReply(0, c.remove(0, "a"), wirepb.Code_OK)
	for range 20 { // the log no longer reaches back to where the backfill was
		c.mustWrite(0, "z", "x")
	}
	c.keep = scanOnward(3)
	c.pass(200 * time.Millisecond)
	if len(c.held) != 1 {
		t.Fatalf("want a new scan under way, got %d", len(c.held))
	}
	c.a(3).list() // of the earlier session
	c.settle()
	c.a(3).slowLists = false
	c.unhold()
	c.govern(time.Second)
	if !c.view.Record.Has(3) {
		t.Fatalf("osd.3 did not join: %s", c.query(0))
	}
	c.wantSame(0, 3)
}

// The same when the OSD made the listing while it led the PG itself.
func TestListingOfEarlierLead(t *testing.T) { listingOfEarlierLead(t) }

func listingOfEarlierLead(t tester) {
	c := active(t, 4, smallLog)
	for i := range 20 {
		c.mustWrite(0, string(rune('a'+i%6)), "x")
	}
	c.view.Target = ids(0, 1, 2, 3)
	c.a(0).slowLists = true
	c.publish()
	c.a(0).list()
	c.settle()
	if len(c.a(0).lists) != 1 || c.a(0).lists[0].After == "" {
		t.Fatalf("want the second page to be asked, got %+v", c.a(0).lists)
	}
	// osd.0 falls out of the set, and learns from osd.1.
	c.a(0).blind = true
	c.record(func(r *placement.PGRecord) { r.Term++; r.Primary = 1; r.InSync = ids(1, 2) })
	c.pass(2 * time.Second)
	c.wantServing(1)
	c.wantReply(1, c.remove(1, "a"), wirepb.Code_OK)
	for i := range 20 {
		c.mustWrite(1, string(rune('b'+i%5)), "y")
	}
	c.keep = scanOnward(0)
	c.a(0).blind = false
	c.a(0).fetch()
	c.settle()
	c.pass(4 * time.Second)
	if len(c.held) == 0 {
		t.Fatalf("want a scan under way: %s", c.query(1))
	}
	c.a(0).list()
	c.settle()
	c.a(0).slowLists = false
	c.unhold()
	c.govern(5 * time.Second)
	if !c.view.Record.Has(0) {
		t.Fatalf("osd.0 did not join: %s", c.query(1))
	}
	c.wantSame(1, 0)
}

// Two of three copies are lost for good, one after the other. The set may not shrink below
// min_size, so the dead member stays in it; the last copy must reach other OSDs all the same.
func TestRecoversFromLastCopy(t *testing.T) { recoversFromLastCopy(t) }

func recoversFromLastCopy(t tester) {
	c := active(t, 5)
	c.mustWrite(0, "a", "one")
	c.mustWrite(0, "b", "two")
	c.crash(2, 0)
	c.down(2)
	c.govern(time.Second) // {0, 1}
	c.crash(1, 0)
	h := c.write(0, "a", "three", 7)
	c.down(1)
	c.govern(time.Second)
	c.wantNoReply(0, h)
	c.view.Target = ids(0, 3, 4) // the dead are out
	c.publish()
	c.govern(3 * time.Second)
	c.wantReply(0, h, wirepb.Code_OK)
	c.wantRead(0, "a", "three")
	c.wantSame(0, 3, 4)
	if s := c.a(0).g.Stat(1, 3); s.State != "active+clean" {
		t.Fatalf("state %q, want active+clean: %s", s.State, c.query(0))
	}
}

// Nor does a write keep the last copy from being copied that changes nothing: it was refused, but its answer
// tells what is, so it waits for the lease of the dead member, with its object locked.
func TestRecoversFromLastCopyBesideRefusal(t *testing.T) { recoversFromLastCopyBesideRefusal(t) }

func recoversFromLastCopyBesideRefusal(t tester) {
	c := active(t, 5)
	c.mustWrite(0, "a", "one")
	c.crash(2, 0)
	c.down(2)
	c.govern(time.Second) // {0, 1}
	c.crash(1, 0)
	c.down(1)
	c.pass(5 * time.Second) // its last lease runs out
	h := c.op(0, true, &wirepb.OpRequest{Object: []byte("a"), Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_CREATE, Flag: true}}}, "")
	c.settle()
	c.wantNoReply(0, h)
	c.view.Target = ids(0, 3, 4) // the dead are out
	c.publish()
	c.govern(3 * time.Second)
	c.wantReply(0, h, wirepb.Code_EXISTS)
	c.wantSame(0, 3, 4)
}

// The same when the last copy has to take over first.
func TestRecoversFromLastCopyInNewTerm(t *testing.T) { recoversFromLastCopyInNewTerm(t) }

func recoversFromLastCopyInNewTerm(t tester) {
	c := active(t, 5)
	c.mustWrite(0, "a", "one")
	c.mustWrite(0, "b", "two")
	c.crash(2, 0)
	c.down(2)
	c.govern(time.Second) // {0, 1}
	c.crash(0, 0)
	c.down(0)
	c.lead(1)
	c.view.Target = ids(1, 3, 4)
	c.publish()
	c.govern(4 * time.Second)
	c.wantServing(1)
	c.wantRead(1, "a", "one")
	c.mustWrite(1, "a", "three")
	c.wantSame(1, 3, 4)
	if c.view.Record.Has(0) {
		t.Fatalf("the dead member is still in %v", c.view.Record.InSync)
	}
}

// The dead member returns while the last copy is being recovered.
func TestMemberReturnsDuringRecovery(t *testing.T) { memberReturnsDuringRecovery(t) }

func memberReturnsDuringRecovery(t tester) {
	c := active(t, 5)
	c.mustWrite(0, "a", "one, and long enough for several pieces")
	c.crash(2, 0)
	c.down(2)
	c.govern(time.Second) // {0, 1}
	c.crash(0, 0)
	c.down(0)
	c.lead(1)
	c.view.Target = ids(1, 3, 4)
	c.a(1).slowReads = true
	c.publish()
	c.pass(time.Second)
	if p := c.peer(1, 3); p == nil || p.phase != learning {
		t.Fatalf("want osd.3 to learn: %s", c.query(1))
	}
	c.a(1).read() // the first piece leaves
	c.settle()
	c.restart(0)
	c.pass(3 * time.Second)
	c.wantServing(1)
	h := c.write(1, "a", "ONE, AND LONG ENOUGH FOR SEVERAL PIECES", 0)
	c.a(1).slowReads = false
	c.settle()
	c.wantReply(1, h, wirepb.Code_OK)
	c.govern(3 * time.Second)
	c.wantSame(1, 3, 4)
}

// A member that has erased its copy in the very moment it was accepted may be made primary. It
// can serve nothing, and must hand over to somebody who can.
func TestPrimaryWithoutCopyHandsOver(t *testing.T) { primaryWithoutCopyHandsOver(t) }

func primaryWithoutCopyHandsOver(t tester) {
	c := active(t, 4)
	c.mustWrite(0, "a", "one")
	c.record(func(r *placement.PGRecord) { r.Term++; r.Primary = 3; r.InSync = ids(0, 1, 2, 3) })
	c.pass(300 * time.Millisecond)
	c.wantSame(0, 1, 2) // by its empty log they would throw away what they have
	c.govern(5 * time.Second)
	p := c.view.Record.Primary
	if p == 3 || c.view.Record.Has(3) {
		t.Fatalf("record %+v: osd.3 has nothing and should be out; %s", c.view.Record, c.query(3))
	}
	c.wantServing(int(p))
	c.wantRead(int(p), "a", "one")
}

// A member that has lost its copy leaves first, while the set is large enough for anybody to leave.
func TestMemberWithoutCopyLeavesFirst(t *testing.T) { memberWithoutCopyLeavesFirst(t) }

func memberWithoutCopyLeavesFirst(t tester) {
	c := active(t, 4)
	c.mustWrite(0, "a", "one")
	c.crash(1, 0)
	c.crash(2, 0)
	c.view.MinSize = 3
	c.record(func(r *placement.PGRecord) { r.InSync = ids(0, 1, 2, 3) })
	c.pass(500 * time.Millisecond)
	c.wantProposal(0, 0, 1, 2)
}

// Only reads, and a member that lives but does not renew our lease: it must leave, or the reads
// wait for ever. It may come back when it grants leases again.
func TestMemberWithoutLeaseLeaves(t *testing.T) { memberWithoutLeaseLeaves(t) }

func memberWithoutLeaseLeaves(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one")
	c.mute[[2]placement.OSDID{0, 2}] = true
	c.pass(2 * time.Second)
	h := c.read(0, "a")
	c.wantNoReply(0, h)
	c.govern(3 * time.Second)
	if r := c.wantReply(0, h, wirepb.Code_OK); string(r.Payload) != "one" {
		t.Fatalf("read %q", r.Payload)
	}
	for range 20 { // and it does not return as long as it is like that
		c.govern(500 * time.Millisecond)
		if c.view.Record.Has(2) {
			t.Fatalf("osd.2 was taken back without a lease: %s", c.query(0))
		}
		c.wantRead(0, "a", "one")
	}
	delete(c.mute, [2]placement.OSDID{0, 2})
	c.govern(3 * time.Second)
	if !c.view.Record.Has(2) {
		t.Fatalf("osd.2 did not come back: %s", c.query(0))
	}
}

// An old primary that cannot reach the monitors, but everybody else, must not answer reads once
// another has begun to serve.
func TestNoStaleRead(t *testing.T) { noStaleRead(t) }

func noStaleRead(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "old")
	c.a(0).blind = true
	c.lead(1)
	c.govern(4 * time.Second)
	c.wantServing(1)
	c.mustWrite(1, "a", "new")
	h := c.read(0, "a")
	c.pass(100 * time.Millisecond)
	c.wantNoReply(0, h)
}

// An OSD that restarts forgets what it has granted, and may be made primary at once.
func TestNoStaleReadAfterRestart(t *testing.T) { noStaleReadAfterRestart(t) }

func noStaleReadAfterRestart(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "old")
	c.crash(1, 0)
	c.a(0).blind = true
	c.cut[[2]placement.OSDID{0, 1}], c.cut[[2]placement.OSDID{1, 0}] = true, true
	c.restart(1)
	c.down(0)
	c.lead(1)
	c.apply(c.proposed(1).Change) // osd.0 is out
	h := c.write(1, "a", "new", 0)
	if _, ok := c.a(1).replies[h]; ok {
		c.wantNoReply(0, c.read(0, "a"))
	}
	c.a(1).proposals = nil
	c.govern(3 * time.Second)
	c.wantReply(1, h, wirepb.Code_OK)
}

// A primary that has not waited for its own grants serves while the old one still may.
func TestNoStaleReadAfterPromotion(t *testing.T) { noStaleReadAfterPromotion(t) }

func noStaleReadAfterPromotion(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "old")
	c.a(0).blind = true
	c.cut[[2]placement.OSDID{0, 1}], c.cut[[2]placement.OSDID{1, 0}] = true, true
	c.down(0)
	c.lead(1)
	c.apply(c.proposed(1).Change)
	h := c.write(1, "a", "new", 0)
	if _, ok := c.a(1).replies[h]; ok {
		c.wantNoReply(0, c.read(0, "a"))
	}
}

// What a new primary has in its log is not yet committed, and may never be.
func TestTailIsNotServed(t *testing.T) { tailIsNotServed(t) }

func tailIsNotServed(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "old")
	c.cut[[2]placement.OSDID{0, 2}] = true
	c.write(0, "a", "tail", 0)
	c.crash(0, 0)
	c.down(0)
	c.keep = func(p parcel) bool { return p.msg.GetActivate() != nil }
	c.lead(1)
	c.govern(700 * time.Millisecond) // osd.0 is out
	h := c.read(1, "a")
	c.pass(900 * time.Millisecond)
	c.wantNoReply(1, h)
	c.unhold()
	c.govern(2 * time.Second)
	if r := c.wantReply(1, h, wirepb.Code_OK); string(r.Payload) != "tail" {
		t.Fatalf("read %q", r.Payload)
	}
}

// Followers, and most of all the new primary, take nothing from the old one.
func TestOldTermIsRefused(t *testing.T) { oldTermIsRefused(t) }

func oldTermIsRefused(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "old")
	c.a(0).blind = true
	c.lead(1)
	c.govern(4 * time.Second)
	c.wantServing(1)
	c.keep = func(p parcel) bool { return p.from == 0 && p.to == 2 }
	h := c.write(0, "a", "late", 0)
	c.wantNoReply(0, h)
	c.wantRead(1, "a", "old")
	c.unhold()
	c.wantNoReply(0, h)
	c.wantSame(1, 2)
}

// A write to an object of the page that is being listed: our listing does not have it yet, and
// the learner gets no bytes of objects that it is not known to have.
func TestWriteDuringListing(t *testing.T) { writeDuringListing(t) }

func writeDuringListing(t tester) {
	c := active(t, 4, smallLog)
	for i := range 20 {
		c.mustWrite(0, string(rune('a'+i%6)), "x")
	}
	// osd.3 was a member until just now: it has everything.
	c.record(func(r *placement.PGRecord) { r.InSync = ids(0, 1, 2) })
	c.view.Target = ids(0, 1, 2, 3)
	c.publish()
	c.govern(time.Second)
	c.record(func(r *placement.PGRecord) { r.InSync = ids(0, 1, 2) })
	c.crash(3, 0)
	for range 20 {
		c.mustWrite(0, "z", "x")
	}
	c.a(0).slowLists = true
	c.restart(3)
	c.pass(200 * time.Millisecond)
	if len(c.a(0).lists) != 1 {
		t.Fatalf("want a backfill: %s", c.query(0))
	}
	l := c.a(0).lists[0]
	c.a(0).lists = nil
	objs, more, err := c.a(0).st.List(castPG, store.Objects, l.After, l.Limit)
	c.mustWrite(0, objs[0].Name, "y")
	c.a(0).step(ListedEvent{Token: l.Token, Objects: objs, More: more, Err: err})
	c.a(0).slowLists = false
	c.settle()
	c.govern(2 * time.Second)
	if !c.view.Record.Has(3) {
		t.Fatalf("osd.3 did not join: %s", c.query(0))
	}
	c.wantSame(0, 1, 2, 3)
}
