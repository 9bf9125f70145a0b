package pg

import (
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// force makes an OSD lead with whatever it has, as `pg force-primary` does.
func (c *cast) force(id int) {
	c.record(func(r *placement.PGRecord) {
		r.Term++
		r.Primary, r.InSync, r.Forced = placement.OSDID(id), ids(id), true
	})
}

// lose ends the processes of OSDs for good, as far as the map knows.
func (c *cast) lose(list ...int) {
	for _, id := range list {
		c.crash(id, 0)
		c.down(id)
	}
	c.record(func(r *placement.PGRecord) { r.Primary = placement.NoOSD; r.Term++ })
}

// A member that fell behind is forced to lead after the others are gone. It serves what it
// has, teaches whom CRUSH wants, and whoever comes back becomes like it.
func TestForcedWithOldCopy(t *testing.T) { forcedWithOldCopy(t) }

func forcedWithOldCopy(t tester) {
	c := active(t, 4)
	c.mustWrite(0, "a", "one")
	c.mustWrite(0, "b", "one")
	c.crash(2, 0)
	c.down(2)
	c.wantProposal(0, 0, 1)
	c.accept(0)
	c.mustWrite(0, "a", "two") // osd.2 misses these
	c.mustWrite(0, "c", "new")
	c.wantReply(0, c.remove(0, "b"), wirepb.Code_OK)
	c.lose(0, 1)
	c.restart(2)
	if c.a(2).g.lead != nil {
		t.Fatal("osd.2 leads without being told to")
	}
	c.force(2)
	c.pass(3 * time.Second)
	c.wantServing(2)
	c.wantRead(2, "a", "one")
	c.wantRead(2, "b", "one")
	h := c.write(2, "d", "later", 0)
	c.pass(time.Second)
	c.wantNoReply(2, h) // one copy is below min_size
	c.view.Target = ids(2, 3, 0)
	c.publish()
	c.govern(3 * time.Second)
	c.wantReply(2, h, wirepb.Code_OK)
	c.wantSet(2, 3)
	if c.view.Record.Forced {
		t.Fatal("still forced, though another one has everything")
	}
	c.restart(0)
	c.govern(3 * time.Second)
	c.wantSet(0, 2, 3)
	c.wantSame(2, 3, 0)
	c.wantRead(2, "a", "one")
}

// A learner that had the whole log already, but hardly an object, is all that is left. A former
// member that comes back knows that log, too, and has other objects than the truth has now.
func TestForcedHalfWay(t *testing.T) { forcedHalfWay(t) }

func forcedHalfWay(t tester) {
	c := active(t, 4)
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		c.mustWrite(0, name, "object "+name)
	}
	c.a(0).slowReads = true
	c.view.Target = ids(0, 1, 2, 3)
	c.publish()
	c.pass(time.Second)
	if c.peer(0, 3).phase != learning {
		t.Fatalf("osd.3 is not learning: %s", c.query(0))
	}
	c.lose(0, 1, 2)
	c.force(3)
	c.pass(3 * time.Second)
	c.wantServing(3)
	c.view.MinSize = 1
	c.view.Target = ids(3, 1, 2)
	c.publish()
	c.mustWrite(3, "z", "new")
	c.restart(1)
	c.govern(3 * time.Second)
	c.wantSet(1, 3)
	c.wantSame(3, 1)
	c.restart(2)
	c.govern(3 * time.Second)
	c.wantSet(1, 2, 3)
	c.wantSame(3, 1, 2)
}

// An OSD that never had anything of the PG may be forced, too: the PG is empty then. It may
// crash before that is on its disk, and it does not carry out again what it cannot know of.
func TestForcedWithoutCopy(t *testing.T) {
	c := active(t, 4)
	c.mustWrite(0, "a", "one")
	c.lose(0, 1, 2)
	c.a(3).slowDisk = true
	c.force(3)
	c.crash(3, 0)
	c.restart(3)
	c.record(func(r *placement.PGRecord) { r.Term++ }) // its restart ends the term
	c.pass(3 * time.Second)
	c.wantServing(3)
	if n := c.objects(3); n != "" {
		t.Fatalf("objects: %s", n)
	}
	c.view.MinSize = 1
	c.publish()
	c.mustWrite(3, "a", "again")
	c.crash(3, 0)
	c.restart(3)
	c.record(func(r *placement.PGRecord) { r.Term++ })
	c.pass(3 * time.Second)
	c.wantRead(3, "a", "again")
}

// A request that the forced copy had logged is not carried out again, nor answered as if the
// object still showed it.
func TestForcedForgetsRequests(t *testing.T) {
	c := active(t, 3)
	h := c.write(0, "a", "one", 7)
	c.wantReply(0, h, wirepb.Code_OK)
	c.crash(2, 0)
	c.down(2)
	c.accept(0)
	c.lose(0, 1)
	c.restart(2)
	c.view.MinSize = 1
	c.force(2)
	c.pass(3 * time.Second)
	req := &wirepb.OpRequest{
		Object: []byte("a"), Req: &wirepb.ReqID{Client: 1, Seq: 7}, AgeMs: uint64(time.Duration(c.now) / time.Millisecond),
		Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_WRITE_FULL, DataLen: 3}},
	}
	c.wantReply(2, c.op(2, true, req, "two"), wirepb.Code_TIMED_OUT)
	c.wantRead(2, "a", "one")
}
