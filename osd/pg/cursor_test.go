package pg

import (
	"slices"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// halfFilled makes a PG of ten objects, a to j, whose learner osd.3 has been compared up to d.
func halfFilled(t tester) *cast {
	c := active(t, 4, func(cfg *Config) { cfg.LogMax, cfg.ScanLimit = 16, 2 })
	for i := range 30 {
		c.mustWrite(0, string(rune('a'+i%10)), "x")
	}
	c.a(3).slowLists = true
	c.view.Target = ids(0, 1, 2, 3)
	c.publish()
	for _, after := range []string{"", "b", "d"} {
		if ls := c.a(3).lists; len(ls) != 1 || ls[0].After != after {
			t.Fatalf("want the page behind %q to be asked, got %+v", after, ls)
		}
		if after != "d" {
			c.a(3).list()
			c.settle()
		}
	}
	for _, a := range c.all() {
		a.sent = nil
	}
	return c
}

// resumed finishes the backfill and returns which objects an OSD pushed meanwhile, and the names
// behind which pages were asked.
func (c *cast) resumed(lead int) (pushed, pages []string) {
	c.t.Helper()
	c.a(3).slowLists = false
	c.a(3).list()
	c.govern(5 * time.Second)
	for _, m := range c.a(lead).sent {
		if p := m.GetPush(); p != nil && p.First {
			pushed = append(pushed, string(p.Object))
		}
		if s := m.GetScan(); s != nil {
			pages = append(pages, string(s.After))
		}
	}
	if !c.view.Record.Has(3) {
		c.t.Fatalf("osd.3 did not join: %s", c.query(lead))
	}
	c.wantSame(lead, 3)
	return pushed, pages
}

// A backfill is interrupted; it goes on where it was, and what was written meanwhile is copied on
// both sides.
func TestBackfillGoesOn(t *testing.T) { backfillGoesOn(t) }

func backfillGoesOn(t tester) {
	c := halfFilled(t)
	c.a(0).step(ResetEvent{Peer: 3})
	c.mustWrite(0, "a", "y")
	c.wantReply(0, c.remove(0, "b"), wirepb.Code_OK)
	c.mustWrite(0, "bb", "new")
	c.mustWrite(0, "i", "y")
	pushed, pages := c.resumed(0)
	for _, name := range []string{"c", "d"} {
		if slices.Contains(pushed, name) {
			t.Fatalf("%s was copied again: %v", name, pushed)
		}
	}
	if len(pages) == 0 || pages[0] != "d" {
		t.Fatalf("went on behind %q, want d", pages)
	}
}

// The same when the learner restarts and another OSD leads by then.
func TestBackfillGoesOnElsewhere(t *testing.T) { backfillGoesOnElsewhere(t) }

func backfillGoesOnElsewhere(t tester) {
	c := halfFilled(t)
	c.mustWrite(0, "a", "y")
	c.crash(3, 0)
	c.down(3)
	c.wantReply(0, c.remove(0, "b"), wirepb.Code_OK)
	c.lead(1)
	c.govern(3 * time.Second)
	c.mustWrite(1, "c", "z")
	c.restart(3)
	pushed, pages := c.resumed(1)
	if slices.Contains(pushed, "d") || len(pages) == 0 || pages[0] != "d" {
		t.Fatalf("pushed %v, pages %q", pushed, pages)
	}
}

// The log does not reach back: everything is compared.
func TestBackfillStartsOver(t *testing.T) {
	c := halfFilled(t)
	c.a(0).step(ResetEvent{Peer: 3})
	for range 30 {
		c.mustWrite(0, "a", "y")
	}
	c.wantReply(0, c.remove(0, "b"), wirepb.Code_OK)
	if _, pages := c.resumed(0); len(pages) == 0 || pages[0] != "" {
		t.Fatalf("pages %q, want all of them", pages)
	}
}

// The learner has a write that no primary since has known, left of where its backfill is. It is told
// to drop it, and is interrupted before it gets the object as it should be.
func TestBackfillForgetsATail(t *testing.T) { backfillForgetsATail(t) }

func backfillForgetsATail(t tester) {
	c := halfFilled(t)
	c.cut[[2]placement.OSDID{0, 1}], c.cut[[2]placement.OSDID{0, 2}] = true, true
	c.write(0, "a", "lost", 0)
	c.crash(0, 0)
	c.down(0)
	c.a(1).slowReads = true
	c.lead(1)
	c.govern(3 * time.Second)
	c.wantServing(1)
	if p := c.peer(1, 3); p == nil || p.phase != learning || len(c.a(1).reads) == 0 {
		t.Fatalf("osd.3 is not taught: %s", c.query(1))
	}
	c.crash(3, 0)
	c.down(3)
	c.a(1).slowReads = false
	c.restart(3)
	c.resumed(1)
}

func TestCursorCoding(t *testing.T) {
	want := cursor{"some name", store.Version{Term: 7, Seq: 1 << 40}}
	if got := decodeCursor(want.encode()); got != want {
		t.Fatalf("got %v, want %v", got, want)
	}
	for _, b := range [][]byte{nil, {1}, want.encode()[:cursorBytes], append([]byte{2}, want.encode()[1:]...)} {
		if got := decodeCursor(b); got != (cursor{}) {
			t.Fatalf("%x became %v", b, got)
		}
	}
}
