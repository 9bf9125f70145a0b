package chunkcare

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// ownShards is what repairWorld has besides, for the care of an OSD that holds shards.
type ownShards struct{ *repairWorld }

// List implements Shards.
func (s ownShards) List(_ context.Context, osd placement.OSDID, pool placement.PoolID, after *ShardID, limit int) (held []Held, more bool, err error) {
	for _, id := range s.hold.Shards(osd) {
		held = append(held, Held{ID: ShardID{Pool: pool, Chunk: id.Chunk, Gen: id.Gen, Index: id.Index}})
	}
	slices.SortFunc(held, func(a, b Held) int { return compareShards(a.ID, b.ID) })
	if after != nil {
		held = slices.DeleteFunc(held, func(h Held) bool { return compareShards(h.ID, *after) <= 0 })
	}
	n := min(limit, len(held))
	return held[:n], n < len(held), nil
}

// As long as it has not been heard that a shard that was moved away has been dropped, that may happen at any time: the mark by
// which repair keeps off the OSD stays.
func TestLeavingUntilAnswered(t *testing.T) {
	ctx := context.Background()
	w := newRepairWorld(t, "2:1:xor", 5)
	w.write(t, "o", 1)
	e := w.theEntry(t)
	// Two shards are moved away from an OSD, which still has both.
	layout, self := e.layout, e.layout.Holders[0]
	layout.Holders = slices.Clone(e.layout.Holders)
	for id := range placement.OSDID(5) {
		if slices.Contains(e.layout.Holders, id) {
			continue
		}
		i := slices.Index(layout.Holders, self)
		if i < 0 {
			i = 1
		}
		data, err := w.Get(ctx, e.layout.Holders[i], e.shard(i))
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range []placement.OSDID{id, self} {
			if err := w.Put(ctx, to, e.shard(i), data); err != nil {
				t.Fatal(err)
			}
		}
		layout.Holders[i] = id
	}
	if ok, err := w.care.relocate(ctx, e, layout, make([]bool, len(layout.Holders))); err != nil || !ok {
		t.Fatal(ok, err)
	}
	c, err := New(Options{Self: self, Cluster: w, Shards: ownShards{w}, Groups: w, Clock: w, Parallel: 1, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	queued, stuck := 0, true
	w.hold.Before(func(_ context.Context, call clienttest.HolderCall) error {
		if call.What == "drop" && call.ID.Index == 0 && stuck {
			queued++
			return client.ErrTimeout
		}
		return nil
	})
	w.Before(func(_ context.Context, call clienttest.Call) error {
		for _, op := range call.Ops {
			if op.Kind == wirepb.OpKind_RM_ATTR && strings.HasPrefix(string(op.Name), leavingAttr) && queued > 0 && stuck {
				t.Errorf("the mark is ended when %d requests to drop the shard have not been answered", queued)
			}
		}
		return nil
	})
	for range 3 {
		if err := c.orphans(ctx, 1, 0); err == nil {
			t.Fatal("a shard could not be dropped, and nothing was said")
		}
		e := w.theEntry(t)
		if !slices.Contains(w.care.leavers(e), self) {
			t.Fatal("a repair would store shards where they are about to be dropped")
		}
	}
	if n := len(w.hold.Shards(self)); n != 1 {
		t.Fatalf("%d shards are left", n)
	}
	w.hold.Lose(self) // what was queued has happened
	stuck = false
	if err := c.orphans(ctx, 1, 0); err != nil {
		t.Fatal(err)
	}
	if ids := w.care.leavers(w.theEntry(t)); len(ids) > 0 || len(c.marks) > 0 {
		t.Errorf("marks of %v are left, %d are known", ids, len(c.marks))
	}
	w.read(t, "o", 1)
}
