package chunkcare

import (
	"context"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/placement"
)

// As long as a PG has not all its copies, no chunk of it is deleted, however long ago it was condemned: whoever has to make
// do with an older copy of the index one day finds shards for what it lists.
func TestUncleanDeletesNothing(t *testing.T) {
	w := newRepairWorld(t, "2:1:xor", 5)
	w.write(t, "o", 1)
	if _, err := w.Do(context.Background(), 1, "o", new(client.Op).Remove(false)); err != nil {
		t.Fatal(err)
	}
	w.ask(t, AskAudit)
	w.unclean = true
	for range 20 {
		w.now = w.now.Add(time.Hour)
		w.care.Step(context.Background())
	}
	if _, err := w.care.Ask(context.Background(), AskGC, 0, 0); err != nil {
		t.Fatal(err)
	}
	if n := len(w.Records(placement.ChunkEntry)); n != 1 || w.hold.Count() != 3 {
		t.Fatalf("an unclean PG is left with %d chunks, and %d shards", n, w.hold.Count())
	}
	w.unclean = false
	w.care.Step(context.Background())
	if n := len(w.Records(placement.ChunkEntry)); n != 0 || w.hold.Count() != 0 {
		t.Fatalf("a clean PG is left with %d chunks, and %d shards", n, w.hold.Count())
	}
}
