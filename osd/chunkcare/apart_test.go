package chunkcare

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/cairnstore/cairn/placement"
	"github.com/cairnstore/cairn/placement/crush"
)

// A shard that was stored in the failure domain of another, when there was no other, is moved as soon as there is one; and
// only then, and only there.
func TestShardsMoveApart(t *testing.T) {
	ctx := context.Background()
	w := newRepairWorld(t, "2:1:xor", 5)
	w.m.Crush = crush.NewDefault()
	for id, host := range []int{0, 0, 1, 1, 2} {
		if err := w.m.Crush.AddDevice(id, "ssd", crush.WeightOne, crush.Location{"root": crush.DefaultRoot, "host": fmt.Sprint("h", host)}); err != nil {
			t.Fatal(err)
		}
	}
	up := func(id placement.OSDID, yes bool) {
		w.m = w.m.Clone()
		w.m.Epoch++
		w.m.OSD(id).Up = yes
		w.hold.SetDown(id, !yes)
	}
	w.write(t, "o", 1)
	e := w.theEntry(t)
	layout := e.layout
	layout.Holders = []placement.OSDID{0, 1, 2}
	var data [3][]byte
	for i, h := range e.layout.Holders {
		var err error
		if data[i], err = w.Get(ctx, h, e.shard(i)); err != nil {
			t.Fatal(err)
		}
	}
	for id := range placement.OSDID(5) {
		w.hold.Lose(id)
	}
	for i, h := range layout.Holders {
		if err := w.Put(ctx, h, e.shard(i), data[i]); err != nil {
			t.Fatal(err)
		}
	}
	if ok, err := w.care.relocate(ctx, e, layout, make([]bool, len(layout.Holders))); err != nil || !ok {
		t.Fatal(ok, err)
	}
	look := func(why string, misplaced int64, want ...placement.OSDID) {
		t.Helper()
		r := w.ask(t, AskRepair)
		if r.Chunks.Misplaced != misplaced || len(r.Errors) > 0 {
			t.Errorf("%s: %d shards are misplaced, want %d; errors %q", why, r.Chunks.Misplaced, misplaced, r.Errors)
		}
		if got := w.theEntry(t).layout.Holders; !slices.Equal(got, want) {
			t.Fatalf("%s: shards on %v, want %v", why, got, want)
		}
	}
	up(4, false)
	look("the third host is down", 0, 0, 1, 2)
	up(4, true)
	w.hold.SetDown(4, true)
	look("it is back, but takes no shards", 1, 0, 1, 2)
	w.hold.SetDown(4, false)
	look("it takes some", 0, 0, 4, 2)
	look("all is well", 0, 0, 4, 2)
	// A shard that has to be made anew on its OSD is made there, and not called misplaced.
	up(4, false)
	w.m.OSD(4).Weight = 0
	look("the third host is out", 0, 0, 1, 2)
	w.hold.Lose(1)
	look("the second OSD of the first host is empty", 0, 0, 1, 2)
	if n := w.lacks(t); n > 0 {
		t.Errorf("%d shards are missing", n)
	}
	w.m = w.m.Clone()
	w.m.OSD(4).Weight = placement.WeightOne
	up(4, true)
	w.hold.Lose(4)
	look("it is back", 0, 0, 4, 2)
	w.read(t, "o", 1)
}
