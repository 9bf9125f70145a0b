package pg

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// decay damages the block at the begin of an object's data, until all of it is written anew.
func (c *cast) decay(id int, object string) {
	c.t.Helper()
	if err := c.a(id).st.Rot(store.Key{PG: castPG, Name: object}, 0); err != nil {
		c.t.Fatal(err)
	}
}

// meddle changes what an OSD's disk holds behind the PG's back.
func (c *cast) meddle(id int, object string, ops ...store.Op) {
	c.t.Helper()
	for i := range ops {
		ops[i].Key = store.Key{PG: castPG, Name: object}
	}
	var failed error
	c.a(id).st.Submit(&store.Batch{Ops: ops}, func(err error) { failed = err })
	c.a(id).st.Flush()
	if failed != nil {
		c.t.Fatal(failed)
	}
}

// corrupt replaces an object's bytes by others without a checksum telling, as a bug or bad memory would.
func (c *cast) corrupt(id int, object, data string) {
	c.t.Helper()
	c.meddle(id, object, store.Op{Kind: store.OpWrite, Data: []byte(data)})
}

// scrub scrubs the PG and waits for the end.
func (c *cast) scrub(id int, deep, repair bool) {
	c.t.Helper()
	c.a(id).step(ScrubEvent{Start: true, Deep: deep, Repair: repair, Wall: int64(c.now)})
	c.settle()
	c.pass(200 * time.Millisecond)
	if s := c.a(id).g.ScrubState(); s.Running || s.Wanted {
		c.t.Fatalf("the scrub does not end: %+v; %s", s, c.query(id))
	}
}

// said returns the OSD's notices of one kind, as "object osd.N".
func (c *cast) said(id int, kind NoticeKind) string {
	var out []string
	for _, n := range c.a(id).notices {
		if n.Kind == kind {
			out = append(out, strings.TrimSpace(n.Object+" "+n.OSD.String()))
		}
	}
	return strings.Join(out, ", ")
}

func (c *cast) wantSaid(id int, kind NoticeKind, want string) {
	c.t.Helper()
	if got := c.said(id, kind); got != want {
		c.t.Fatalf("osd.%d noticed %q (kind %d), want %q: %+v", id, got, kind, want, c.a(id).notices)
	}
}

// wantState wants a word in the PG's state, or with a "-" before it, wants it not to be there.
func (c *cast) wantState(id int, words ...string) {
	c.t.Helper()
	state := "+" + c.a(id).g.Stat(1, 1).State + "+"
	for _, w := range words {
		word, not := strings.CutPrefix(w, "-")
		if strings.Contains(state, "+"+word+"+") == not {
			c.t.Fatalf("the PG is %s, want %s", state, w)
		}
	}
}

// ---- read repair ----

// A read finds the primary's copy damaged: the client gets the right bytes, and the copy is good again.
func TestReadRepair(t *testing.T) { readRepair(t) }

func readRepair(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one and a few pieces more")
	c.decay(0, "a")
	c.wantRead(0, "a", "one and a few pieces more")
	c.wantSame(0, 1, 2)
	c.wantSaid(0, ReadFailed, "a osd.0")
	c.wantSaid(0, Repaired, "a osd.0")
	c.wantState(0, "clean", "-inconsistent")
}

// A write that reads what is damaged (a compare, an append is none) is evaluated on the repaired copy.
func TestWriteRepair(t *testing.T) { writeRepair(t) }

func writeRepair(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one")
	c.decay(0, "a")
	h := c.op(0, true, &wirepb.OpRequest{Object: []byte("a"), Ops: []*wirepb.ObjOp{
		{Kind: wirepb.OpKind_READ}, {Kind: wirepb.OpKind_APPEND, DataLen: 4},
	}}, " two")
	r := c.wantReply(0, h, wirepb.Code_OK)
	if got := string(r.Reply.Results[0].Value); got != "one" {
		t.Fatalf("the write read %q, want one", got)
	}
	c.wantRead(0, "a", "one two")
	c.wantSame(0, 1, 2)
}

// The first member that is asked has a damaged copy, too: the next one helps, and the first is repaired as well.
func TestReadRepairFromTheThird(t *testing.T) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one")
	c.decay(0, "a")
	c.decay(1, "a")
	c.wantRead(0, "a", "one")
	c.pass(200 * time.Millisecond)
	c.wantSame(0, 1, 2)
	c.wantSaid(0, Repaired, "a osd.0, a osd.1")
}

// Nobody has a good copy: the client is told so, and the PG says which object is lost.
func TestNoGoodCopy(t *testing.T) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one")
	for id := range 3 {
		c.decay(id, "a")
	}
	h := c.read(0, "a")
	c.pass(time.Second)
	r := c.wantReply(0, h, wirepb.Code_IO_ERROR)
	for _, want := range []string{`"a"`, "osd.0", "osd.1", "osd.2", "no good copy"} {
		if !strings.Contains(r.Text, want) {
			t.Errorf("the answer %q does not name %s", r.Text, want)
		}
	}
	c.wantState(0, "inconsistent")
	if s := c.a(0).g.Stat(1, 1); s.Unfound != 1 {
		t.Errorf("%d objects unfound, want 1", s.Unfound)
	}
	c.mustWrite(0, "a", "two") // all of it is written anew
	c.wantRead(0, "a", "two")
	c.pass(200 * time.Millisecond) // a read of what was lost has it looked at
	c.wantState(0, "clean", "-inconsistent")
}

// A member that cannot be reached may have a good copy: the client is to try again.
func TestReadRepairOutOfReach(t *testing.T) {
	c := active(t, 3, func(cfg *Config) { cfg.AckTimeout = 10 * time.Second })
	c.mustWrite(0, "a", "one")
	c.decay(0, "a")
	c.decay(1, "a")
	c.sever(0, 2)
	h := c.read(0, "a")
	c.pass(25 * time.Second)
	c.mend(0, 2)
	c.pass(40 * time.Second)
	c.wantReply(0, h, wirepb.Code_TRY_LATER)
	c.wantRead(0, "a", "one")
}

// A member dies while it sends its copy: another one does it.
func TestMemberDiesDuringPull(t *testing.T) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one and a few pieces more")
	c.decay(0, "a")
	n := 0
	c.keep = func(p parcel) bool {
		if p.msg.GetFetched() != nil && p.from == 1 {
			n++
		}
		return p.from == 1 && n > 2
	}
	h := c.read(0, "a")
	c.wantNoReply(0, h)
	c.crash(1, 0)
	c.keep, c.held = nil, nil
	c.down(1)
	c.govern(3 * time.Second)
	if r := c.wantReply(0, h, wirepb.Code_OK); string(r.Payload) != "one and a few pieces more" {
		t.Fatalf("read %q", r.Payload)
	}
	c.wantSame(0, 2)
}

// Writes to the object wait for its repair; others go on.
func TestWritesDuringPull(t *testing.T) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one")
	c.decay(0, "a")
	c.a(1).slowReads = true
	read := c.read(0, "a")
	write := c.write(0, "a", "two", 0)
	c.mustWrite(0, "b", "other")
	c.wantNoReply(0, read)
	c.wantNoReply(0, write)
	c.a(1).slowReads = false
	c.settle()
	if r := c.wantReply(0, read, wirepb.Code_OK); string(r.Payload) != "one" {
		t.Fatalf("read %q, want one", r.Payload)
	}
	c.wantReply(0, write, wirepb.Code_OK)
	c.wantRead(0, "a", "two")
	c.wantSame(0, 1, 2)
}

// A new primary must copy an object to a member and cannot read it itself. Another member can: it stays primary.
func TestUnreadableTailIsPulled(t *testing.T) { unreadableTailIsPulled(t) }

func unreadableTailIsPulled(t tester) {
	c := active(t, 4)
	c.view.Size, c.view.Target = 4, ids(0, 1, 2, 3)
	c.publish()
	c.accept(0)
	c.pass(time.Second)
	c.mustWrite(0, "a", "one")
	c.cut[[2]placement.OSDID{0, 2}] = true
	c.write(0, "a", "two", 0) // osd.2 lacks it
	c.decay(1, "a")
	c.crash(0, 0)
	c.down(0)
	c.lead(1)
	c.govern(2 * time.Second)
	c.wantServing(1)
	c.wantRead(1, "a", "two")
	c.wantSame(1, 2, 3)
}

// A learner needs an object that the primary cannot read; a member sends it.
func TestUnreadableForLearnerIsPulled(t *testing.T) {
	c := active(t, 4)
	c.mustWrite(0, "a", "one")
	c.mustWrite(0, "b", "two")
	c.decay(0, "a")
	c.crash(2, 0)
	c.down(2)
	c.view.Target = ids(0, 1, 3)
	c.publish()
	c.govern(2 * time.Second)
	if !c.view.Record.Has(3) || c.view.Record.Primary != 0 {
		t.Fatalf("osd.3 did not get everything from osd.0: %s", c.query(0))
	}
	c.wantSame(0, 1, 3)
}

// ---- scrub ----

func TestScrubOfHealthyPG(t *testing.T) {
	c := active(t, 3, func(cfg *Config) { cfg.ScrubObjects = 3 })
	for _, name := range strings.Split("abcdefghijk", "") {
		c.mustWrite(0, name, "bytes of "+name)
	}
	c.wantReply(0, c.remove(0, "e"), wirepb.Code_OK)
	for _, deep := range []bool{false, true} {
		c.scrub(0, deep, false)
	}
	c.wantSaid(0, ScrubEnded, "none, none")
	for _, kind := range []NoticeKind{Found, Repaired, Inconsistent, Unfound, ReadFailed, ScrubStopped} {
		c.wantSaid(0, kind, "")
	}
	st := c.a(0).g.ScrubState()
	if st.Last == 0 || st.LastDeep == 0 {
		t.Fatalf("stamps %+v", st)
	}
	// Every member remembers, and so do the disks.
	for id := range 3 {
		got := c.a(id).g.ScrubState()
		if got.Last != st.Last || got.LastDeep != st.LastDeep {
			t.Errorf("osd.%d remembers %+v, the primary %+v", id, got, st)
		}
		c.crash(id, 0)
		c.a(id).boot()
		if got := c.a(id).g.ScrubState(); got.Last != st.Last || got.Since != st.Since {
			t.Errorf("after a restart osd.%d remembers %+v, before %+v", id, got, st)
		}
	}
}

// What is wrong with a copy, who notices, and that it is right in the end.
func TestScrubRepairs(t *testing.T) {
	for _, c := range []struct {
		name   string
		break_ func(c *cast)
		light  bool   // a light scrub sees it
		fixed  string // the notices of repairs
	}{
		{"block of the primary", func(c *cast) { c.decay(0, "b") }, false, "b osd.0"},
		{"block of a replica", func(c *cast) { c.decay(2, "b") }, false, "b osd.2"},
		{"blocks of two", func(c *cast) { c.decay(0, "b"); c.decay(2, "b") }, false, "b osd.0, b osd.2"},
		{"bytes of a replica", func(c *cast) { c.corrupt(1, "b", "X") }, false, "b osd.1"},
		{"bytes of the primary", func(c *cast) { c.corrupt(0, "b", "X") }, false, "b osd.0"},
		{"size", func(c *cast) { c.corrupt(2, "b", strings.Repeat("longer", 5)) }, true, "b osd.2"},
		{"missing on a replica", func(c *cast) { c.meddle(1, "b", store.Op{Kind: store.OpRemove}) }, true, "b osd.1"},
		{"missing on the primary", func(c *cast) { c.meddle(0, "b", store.Op{Kind: store.OpRemove}) }, true, "b osd.0"},
		{"attribute", func(c *cast) {
			c.meddle(2, "b", store.Op{Kind: store.OpSetAttr, Name: []byte("k"), Value: []byte("v")})
		}, true, "b osd.2"},
		{"omap", func(c *cast) {
			c.meddle(0, "b", store.Op{Kind: store.OpOmapSet, Name: []byte("k"), Value: []byte("v")})
		}, true, "b osd.0"},
		{"old version", func(c *cast) {
			c.meddle(1, "b", store.Op{Kind: store.OpSetVersion, Version: store.Version{Term: 1, Seq: 1}})
		}, true, "b osd.1"},
		{"removed object is there", func(c *cast) {
			c.meddle(1, "gone", store.Op{Kind: store.OpWrite, Data: []byte("ghost")})
		}, true, "gone osd.1"},
		{"removed object is there, primary", func(c *cast) {
			c.meddle(0, "gone", store.Op{Kind: store.OpWrite, Data: []byte("ghost")})
		}, true, "gone osd.0"},
	} {
		for _, deep := range []bool{false, true} {
			t.Run(c.name+map[bool]string{true: ", deep", false: ", light"}[deep], func(t *testing.T) {
				s := active(t, 3, func(cfg *Config) { cfg.ScrubObjects = 2 })
				for _, name := range []string{"a", "b", "c", "d", "gone"} {
					s.mustWrite(0, name, "bytes of "+name)
				}
				s.wantReply(0, s.remove(0, "gone"), wirepb.Code_OK)
				c.break_(s)
				s.scrub(0, deep, false)
				if !deep && !c.light {
					s.wantSaid(0, Found, "")
					return
				}
				s.wantSaid(0, Found, c.fixed)
				s.wantSaid(0, Repaired, c.fixed)
				s.wantState(0, "clean", "-inconsistent", "-scrubbing")
				s.wantSame(0, 1, 2)
				s.wantRead(0, "b", "bytes of b")
				s.wantRead(0, "d", "bytes of d")
			})
		}
	}
}

// Where nothing tells which copy is right, nobody guesses until an administrator says so.
func TestScrubDoesNotGuess(t *testing.T) { scrubDoesNotGuess(t) }

func pairOf(t tester) *cast {
	c := newCast(t, 2)
	c.view.Size, c.view.MinSize, c.view.Target = 2, 1, ids(0, 1)
	c.view.Record = placement.PGRecord{Term: 1, Version: 1, Primary: 0, InSync: ids(0, 1)}
	c.publish()
	c.accept(0)
	c.pass(3 * time.Second)
	c.wantServing(0)
	return c
}

func scrubDoesNotGuess(t tester) {
	c := pairOf(t)
	c.mustWrite(0, "a", "right")
	c.corrupt(1, "a", "wrong")
	c.scrub(0, true, false)
	c.wantState(0, "clean", "inconsistent")
	c.wantSaid(0, Inconsistent, "a none")
	c.wantSaid(0, Repaired, "")
	bad, _ := c.a(0).g.Inconsistencies()
	if len(bad) != 1 || string(bad[0].Object) != "a" || len(bad[0].Shards) != 2 || bad[0].Unfound {
		t.Fatalf("listed %v", bad)
	}
	c.scrub(0, false, false) // a light scrub looks at what is listed, and does not take it off
	c.wantState(0, "inconsistent")
	// The next primary knows, too.
	c.lead(1)
	c.pass(3 * time.Second)
	c.wantServing(1)
	c.wantState(1, "inconsistent")
	c.scrub(1, true, true)
	c.wantState(1, "clean", "-inconsistent")
	c.wantRead(1, "a", "wrong") // the primary's, as said
	c.wantSame(0, 1)
}

// An object that the log does not know is on one member only. It may be the last copy: it is never removed.
func TestScrubKeepsLastCopy(t *testing.T) {
	c := active(t, 3)
	c.meddle(2, "x", store.Op{Kind: store.OpWrite, Data: []byte("bytes")},
		store.Op{Kind: store.OpSetVersion, Version: store.Version{Term: 1, Seq: 1}})
	c.scrub(0, true, false)
	c.wantState(0, "inconsistent")
	c.scrub(0, true, true)
	c.wantState(0, "-inconsistent")
	c.wantRead(0, "x", "bytes")
	c.wantSame(0, 1, 2)
}

// Most members hold the same bytes: theirs are right, whatever the primary has.
func TestMajorityIsRight(t *testing.T) { majorityIsRight(t) }

func majorityIsRight(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "right")
	c.corrupt(0, "a", "wrong")
	c.scrub(0, true, false)
	c.wantRead(0, "a", "right")
	c.wantSame(0, 1, 2)
}

// Writes under way while pages are described look like differences. They are none, and nothing is changed for them.
func TestWritesDuringScrub(t *testing.T) { writesDuringScrub(t) }

func writesDuringScrub(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one")
	c.mustWrite(0, "b", "one")
	c.a(1).slowLooks, c.a(2).slowLooks = true, true
	c.a(0).step(ScrubEvent{Start: true, Deep: true, Wall: 1})
	c.settle() // the primary has described the page, the others have not
	c.mustWrite(0, "a", "two")
	c.mustWrite(0, "new", "one")
	c.wantReply(0, c.remove(0, "b"), wirepb.Code_OK)
	// What follows is the look under the locks: the scrub's page is answered now.
	c.a(1).slowLooks, c.a(2).slowLooks = false, false
	c.settle()
	c.pass(time.Second)
	c.wantSaid(0, Found, "")
	c.wantSaid(0, Repaired, "")
	c.wantState(0, "clean", "-scrubbing", "-inconsistent")
	c.wantRead(0, "a", "two")
	c.wantRead(0, "new", "one")
	c.wantSame(0, 1, 2)
}

// While an object is looked at again its writers wait, and a member describes it with all that it was sent.
func TestCheckSeesWhatWasSent(t *testing.T) { checkSeesWhatWasSent(t) }

func checkSeesWhatWasSent(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one")
	c.corrupt(1, "a", "ONE") // there is something to look at
	c.a(1).slowDisk = true
	h := c.write(0, "a", "two", 0) // on the disks of osd.0 and osd.2
	c.wantNoReply(0, h)
	c.a(0).step(ScrubEvent{Start: true, Deep: true, Wall: 1})
	c.settle()
	late := c.write(0, "a", "three", 0)
	c.pass(200 * time.Millisecond)
	c.a(1).slowDisk = false
	c.pass(time.Second)
	c.wantReply(0, h, wirepb.Code_OK)
	c.wantReply(0, late, wirepb.Code_OK)
	c.wantSaid(0, Found, "")
	c.wantRead(0, "a", "three")
	c.wantSame(0, 1, 2)
}

// A write that comes while a damaged copy is being replaced must not be lost.
func TestWriteDuringRepair(t *testing.T) { writeDuringRepair(t) }

func writeDuringRepair(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one and a few pieces")
	c.decay(1, "a")
	c.a(0).slowReads = true
	c.a(0).step(ScrubEvent{Start: true, Deep: true, Wall: 1})
	c.settle()
	c.a(0).read() // the first piece is on its way
	c.settle()
	h := c.write(0, "a", "TWO AND A FEW PIECES", 0)
	c.a(0).slowReads = false
	c.settle()
	c.pass(time.Second)
	c.wantReply(0, h, wirepb.Code_OK)
	c.wantRead(0, "a", "TWO AND A FEW PIECES")
	c.wantSame(0, 1, 2)
	c.wantState(0, "clean", "-inconsistent")
}

func TestMemberDiesDuringScrub(t *testing.T) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one")
	c.a(2).slowLooks = true
	c.a(0).step(ScrubEvent{Start: true, Deep: true, Wall: 1})
	c.settle()
	c.wantState(0, "scrubbing", "deep")
	c.crash(2, 0)
	c.down(2)
	c.govern(2 * time.Second)
	c.wantSaid(0, ScrubStopped, "none")
	c.wantState(0, "active", "-scrubbing")
	if st := c.a(0).g.ScrubState(); st.Last != 0 {
		t.Fatalf("a scrub that did not end has a stamp: %+v", st)
	}
	c.mustWrite(0, "a", "two")
	c.restart(2)
	c.govern(3 * time.Second)
	c.scrub(0, true, false)
	c.wantSaid(0, Found, "")
	c.wantSame(0, 1, 2)
}

// A member dies while its copy is being repaired: the object is free again, and repaired later.
func TestMemberDiesDuringRepair(t *testing.T) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one and a few pieces")
	c.decay(2, "a")
	c.keep = func(p parcel) bool { return p.from == 2 && p.msg.GetPushed() != nil }
	c.a(0).step(ScrubEvent{Start: true, Deep: true, Wall: 1})
	c.settle()
	h := c.write(0, "a", "two", 0)
	c.wantNoReply(0, h)
	c.crash(2, 0)
	c.keep, c.held = nil, nil
	c.down(2)
	c.govern(3 * time.Second)
	c.wantReply(0, h, wirepb.Code_OK)
	c.restart(2)
	c.govern(3 * time.Second)
	c.scrub(0, true, false)
	c.wantSame(0, 1, 2)
}

func TestTermChangesDuringScrub(t *testing.T) {
	c := active(t, 3)
	c.mustWrite(0, "a", "one")
	c.decay(2, "a")
	c.a(1).slowLooks = true
	c.a(0).step(ScrubEvent{Start: true, Deep: true, Wall: 1})
	c.settle()
	c.lead(1)
	c.a(1).slowLooks = false
	c.settle()
	c.pass(3 * time.Second)
	c.wantServing(1)
	c.wantState(1, "-scrubbing")
	c.scrub(1, true, false)
	c.wantSaid(1, Repaired, "a osd.2")
	c.wantSame(0, 1, 2)
}

// Scrubs wait until everybody is a member, and then begin by themselves.
func TestScrubWaitsForClean(t *testing.T) {
	c := active(t, 4)
	c.mustWrite(0, "a", "one")
	c.view.Target = ids(0, 1, 3)
	c.a(0).slowReads = true
	c.a(0).slowLists = true
	c.publish()
	c.a(0).step(ScrubEvent{Start: true, Wall: 1})
	c.settle()
	if s := c.a(0).g.ScrubState(); s.Running || !s.Wanted {
		t.Fatalf("%+v; %s", s, c.query(0))
	}
	c.a(0).slowReads, c.a(0).slowLists = false, false
	c.govern(5 * time.Second)
	c.wantSaid(0, ScrubEnded, "none")
}

// A copy with less than what the log says cannot replace ours.
func TestPullWantsTheVersion(t *testing.T) { pullWantsTheVersion(t) }

func pullWantsTheVersion(t tester) {
	c := active(t, 3)
	c.mustWrite(0, "a", "two")
	c.meddle(1, "a", store.Op{Kind: store.OpWrite, Data: []byte("one")},
		store.Op{Kind: store.OpSetVersion, Version: store.Version{Term: 1, Seq: 0}})
	c.decay(0, "a")
	c.wantRead(0, "a", "two")
}

// What an OSD notes about the PG itself is damaged: its copy counts as lost, and is made anew.
func TestDamagedRecords(t *testing.T) {
	for _, c := range []struct {
		name string
		op   store.Op
	}{
		{"log entry", store.Op{Kind: store.OpOmapSet, Name: logKey(3), Value: []byte{0xff}}},
		{"gap in the log", store.Op{Kind: store.OpOmapRm, Name: logKey(2)}},
		{"state", store.Op{Kind: store.OpSetAttr, Name: []byte(stateAttr), Value: []byte{1, 2, 3}}},
	} {
		for _, who := range []int{0, 2} {
			t.Run(fmt.Sprintf("%s of osd.%d", c.name, who), func(t *testing.T) {
				s := active(t, 3)
				for _, name := range []string{"a", "b", "c", "d"} {
					s.mustWrite(0, name, "bytes of "+name)
				}
				s.wantReply(0, s.remove(0, "d"), wirepb.Code_OK)
				s.crash(who, 0)
				op := c.op
				op.Key = store.Key{PG: castPG, Space: store.Meta, Name: metaName}
				s.a(who).st.Submit(&store.Batch{Ops: []store.Op{op}}, func(error) {})
				s.a(who).st.Flush()
				s.meddle(who, "d", store.Op{Kind: store.OpWrite, Data: []byte("ghost")}) // it cannot know of this either
				s.down(who)
				s.restart(who)
				if s.a(who).g.Damaged() == "" {
					t.Fatal("the damage was not noticed")
				}
				if who == 0 {
					s.lead(0) // its term ended with its restart
				}
				s.govern(20 * time.Second)
				p := int(s.view.Record.Primary)
				s.wantServing(p)
				if len(s.view.Record.InSync) != 3 || s.a(who).g.Damaged() != "" {
					t.Fatalf("record %+v; %s", s.view.Record, s.query(p))
				}
				s.wantSame(p, 0, 1, 2)
				s.mustWrite(p, "e", "more")
				s.crash(who, 0)
				s.a(who).boot()
				if why := s.a(who).g.Damaged(); why != "" {
					t.Fatalf("after another restart: %s", why)
				}
			})
		}
	}
}

// The only copy's records are damaged: the PG does not serve and says why, and nothing is touched.
func TestDamagedRecordsOfTheLastCopy(t *testing.T) {
	c := newCast(t, 1)
	c.view.Size, c.view.MinSize, c.view.Target = 1, 1, ids(0)
	c.view.Record = placement.PGRecord{Term: 1, Version: 1, Primary: 0, InSync: ids(0)}
	c.publish()
	c.accept(0)
	c.pass(3 * time.Second)
	c.mustWrite(0, "a", "one")
	c.crash(0, 0)
	key := store.Key{PG: castPG, Space: store.Meta, Name: metaName}
	c.a(0).st.Submit(&store.Batch{Ops: []store.Op{{Kind: store.OpSetAttr, Key: key, Name: []byte(stateAttr), Value: []byte{1}}}}, func(error) {})
	c.a(0).st.Flush()
	c.down(0)
	c.restart(0)
	c.lead(0)
	c.govern(10 * time.Second)
	h := c.read(0, "a")
	c.pass(20 * time.Second)
	if r := c.wantReply(0, h, wirepb.Code_TRY_LATER); !strings.Contains(r.Text, "damaged") {
		t.Fatalf("the client is told %q", r.Text)
	}
	if got := c.objects(0); !strings.Contains(got, "one") {
		t.Fatalf("the disk holds %q", got)
	}
}
