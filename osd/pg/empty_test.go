package pg

import (
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// A full OSD returns so late that the log has forgotten what clients removed meanwhile. Its old copy
// counts for nothing, and cannot be brought up to date in the space there is: it gives it up,
// and is taught from the beginning when that has made room.
func TestFullReturnsTooLate(t *testing.T) {
	for _, f := range []placement.Fullness{placement.BackfillFull, placement.Full} {
		c := active(t, 3, smallLog)
		for _, name := range []string{"a", "b", "c", "d"} {
			c.mustWrite(0, name, "x")
		}
		c.crash(2, 0)
		c.down(2)
		c.govern(time.Second)
		c.wantSet(0, 1)
		for _, name := range []string{"b", "c", "d"} {
			c.wantReply(0, c.remove(0, name), wirepb.Code_OK)
		}
		for range 20 {
			c.mustWrite(0, "a", "y")
		}
		c.a(0).g.cfg.Throttle.SetFull(2, f)
		if c.objects(2) == "" {
			t.Fatal("the copy is gone before anybody asked for that")
		}
		wait := time.Second
		if f == placement.Full { // another PG's copy goes first
			c.a(0).g.cfg.Throttle.mayEmpty(c.now, 2)
			wait = time.Minute
		}
		c.restart(2)
		c.govern(wait)
		if got := c.objects(2); got != "" {
			t.Fatalf("%s: the OSD keeps\n%s", f, got)
		}
		c.wantSet(0, 1)
		if s := c.state(0); s != "active+backfill_toofull+undersized+degraded+remapped" {
			t.Fatalf("state %q", s)
		}
		c.mustWrite(0, "a", "z") // nobody is kept from writing
		c.govern(2 * time.Minute)
		c.wantSet(0, 1)
		c.a(0).g.cfg.Throttle.SetFull(2, placement.NearFull)
		c.govern(2 * time.Second)
		c.wantSet(0, 1, 2)
		c.wantSame(0, 1, 2)
		c.wantNoShares()
	}
}

// An old copy is kept as long as there are not two good ones: it may be all that is left one day.
func TestLastOldCopyIsKept(t *testing.T) {
	c := active(t, 3, smallLog)
	c.view.Size, c.view.MinSize = 2, 1
	c.view.Target = ids(0, 1)
	c.publish()
	c.govern(3 * time.Second)
	c.wantSet(0, 1)
	c.mustWrite(0, "a", "x")
	c.crash(1, 0)
	c.down(1)
	c.govern(time.Second)
	c.wantSet(0)
	for range 20 {
		c.mustWrite(0, "a", "y")
	}
	c.a(0).g.cfg.Throttle.SetFull(1, placement.Full)
	c.restart(1)
	c.govern(time.Minute)
	if c.objects(1) == "" {
		t.Fatal("the only other copy was given up")
	}
	c.a(0).g.cfg.Throttle.SetFull(1, placement.NotFull)
	c.govern(2 * time.Second)
	c.wantSet(0, 1)
	c.wantSame(0, 1)
}

// A copy that the log can bring up to date is not given up, nor is one that has space.
func TestYoungCopyIsKept(t *testing.T) {
	c := active(t, 3)
	c.mustWrite(0, "a", "x")
	c.crash(2, 0)
	c.down(2)
	c.govern(time.Second)
	c.mustWrite(0, "a", "y")
	c.a(0).g.cfg.Throttle.SetFull(2, placement.Full)
	c.restart(2)
	c.govern(time.Minute)
	if got, want := c.objects(2), "a 1'1 \"x\"\n"; got != want {
		t.Fatalf("osd.2 has %q, want %q", got, want)
	}
}

// Members never give up a copy, whoever asks.
func TestMemberDoesNotForget(t *testing.T) {
	c := active(t, 3)
	c.mustWrite(0, "a", "x")
	g := c.a(0).g
	p := g.lead.peers[2]
	c.a(2).step(MsgEvent{From: 0, Msg: g.msg(g.lead.term, p.stream, p.nOut+1, &wirepb.PGMsg_Forget{Forget: &wirepb.PGForget{}})})
	c.settle()
	if c.objects(2) == "" {
		t.Fatal("the copy is gone")
	}
	c.govern(5 * time.Second)
	c.mustWrite(0, "a", "y")
	c.wantSame(0, 1, 2)
	c.wantSet(0, 1, 2)
}

// One copy after another: what the first has made room for is not given up.
func TestOneIsEmptiedAtATime(t *testing.T) {
	th := NewThrottle(Limits{})
	now := clock.Mono(time.Hour)
	for _, tt := range []struct {
		after time.Duration
		id    placement.OSDID
		want  bool
	}{{0, 1, true}, {0, 1, false}, {0, 2, true}, {9 * time.Second, 1, false}, {time.Second, 1, true}, {0, 1, false}} {
		now = now.Add(tt.after)
		if got := th.mayEmpty(now, tt.id); got != tt.want {
			t.Fatalf("%v after the last: %v, want %v", tt.after, got, tt.want)
		}
	}
}

// A learner that has space again, and finds no slot at that moment, is taught as soon as there is
// one, not when it would have been asked for removals again.
func TestSpaceComesBeforeTheSlot(t *testing.T) {
	c := active(t, 4)
	c.mustWrite(0, "a", "x")
	th := c.a(0).g.cfg.Throttle
	th.SetFull(3, placement.Full)
	c.view.Target = ids(0, 1, 3)
	c.publish()
	c.govern(5 * time.Second)
	c.wantSet(0, 1, 2)
	th.SetLimits(Limits{Sources: 1})
	other := placement.PGID{Pool: 9}
	if !th.take(teaching, c.now, other, 9) {
		t.Fatal("no slot for another PG")
	}
	th.SetFull(3, placement.NotFull)
	c.govern(2 * time.Second)
	c.wantSet(0, 1, 2)
	th.giveBack(teaching, other)
	c.govern(3 * time.Second)
	c.wantSet(0, 1, 3)
}
