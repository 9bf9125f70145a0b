package chunkcare

import (
	"context"
	"slices"
	"testing"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// TestDangling takes away what the index knows of an object's chunk. As long as the shards are there the audit puts it right;
// without them it names object and chunk.
func TestDangling(t *testing.T) {
	ctx := context.Background()
	entries := func(w *repairWorld) []string { return w.Records(placement.ChunkEntry) }
	forgetEntry := func(t *testing.T, w *repairWorld) {
		for _, n := range entries(w) {
			if _, err := w.Do(ctx, 1, n, new(client.Op).Remove(false)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name   string
		spoil  func(t *testing.T, w *repairWorld)
		healed bool
	}{
		{"the reference", func(t *testing.T, w *repairWorld) {
			for _, n := range entries(w) {
				if _, err := w.Do(ctx, 1, n, new(client.Op).OmapClear()); err != nil {
					t.Fatal(err)
				}
			}
		}, true},
		{"the entry", forgetEntry, true},
		{"entry and shards", func(t *testing.T, w *repairWorld) {
			forgetEntry(t, w)
			for osd := range placement.OSDID(5) {
				w.hold.Lose(osd)
			}
		}, false},
		{"entry, and its generation is void", func(t *testing.T, w *repairWorld) {
			for _, n := range entries(w) {
				fp, _ := chunk.FingerprintOf(n)
				e, err := w.care.entry(ctx, at{1, fp})
				if err == nil {
					_, err = w.Do(ctx, 1, chunk.VoidChunkName(e.layout.Gen, fp), new(client.Op).Create(false))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			forgetEntry(t, w)
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newRepairWorld(t, "2:1:xor", 5)
			w.write(t, "o", 1)
			if r := w.ask(t, AskAudit); r.Work.Dangling+r.Work.Leaked != 0 || len(r.Problems) > 0 {
				t.Fatalf("all is well, yet: %+v %v", r.Work, r.Problems)
			}
			tt.spoil(t, w)
			r := w.ask(t, AskAudit)
			kind := "dangling"
			if tt.healed {
				kind = "healed"
			}
			named := slices.ContainsFunc(r.Problems, func(p Problem) bool { return p.Kind == kind && p.Object == "o" && p.Name != "" })
			if r.Work.Dangling != 1 || r.Work.Healed == 1 != tt.healed || r.Chunks.Dangling == 0 != tt.healed || !named {
				t.Errorf("found %+v, %d dangling, problems %v", r.Work, r.Chunks.Dangling, r.Problems)
			}
			if !tt.healed {
				return
			}
			w.read(t, "o", 1)
			if r := w.ask(t, AskAudit); r.Work.Dangling != 0 || len(r.Problems) > 0 {
				t.Errorf("after it was healed: %+v %v", r.Work, r.Problems)
			}
		})
	}
}

// TestBegin: work that is begun is done by the next round, once for equal requests, and its report can be had.
func TestBegin(t *testing.T) {
	w := newRepairWorld(t, "2:1:xor", 5)
	w.write(t, "o", 1)
	a, err := w.care.Begin(AskAudit, 0, 0)
	b, err2 := w.care.Begin(AskAudit, 0, 0)
	c, err3 := w.care.Begin(AskGC, 1, 0)
	if err != nil || err2 != nil || err3 != nil || a.Run != b.Run || c.Run <= b.Run {
		t.Fatalf("runs %v, %v, %v: %v, %v, %v", a, b, c, err, err2, err3)
	}
	if _, err := w.care.Begin("nothing", 0, 0); err == nil {
		t.Error("nothing was begun")
	}
	w.care.answerAll(context.Background())
	s := w.care.Status()
	if s.Runs != c.Run || s.Running != "" || s.Last == nil || s.Last.What != AskGC || s.Last.PGs != 1 || len(s.Last.Errors) > 0 {
		t.Errorf("%+v, last %+v", s, s.Last)
	}
	if s.PGs != 1 || s.Looked != 1 || s.Chunks.Chunks != 1 || s.Chunks.References != 1 {
		t.Errorf("%+v", s)
	}
}
