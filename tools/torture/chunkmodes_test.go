package torture

import (
	"testing"
	"time"
)

// TestChunkModes is `make chunkmodes` with few modes and little data.
func TestChunkModes(t *testing.T) {
	if inShort(t) {
		return
	}
	plan := ModesPlan{Modes: []string{"2:2:rs"}, Seed: seed(), MiB: 16, PGs: 4, Out: logWriter{t}}
	t.Logf("replay with -torture.seed=%d", plan.Seed)
	ctx := deadline(t, 10*time.Minute)
	c := startCluster(ctx, t, Options{Mons: 1, OSDs: 7, Config: []string{"scrub_max_pgs=16"}})
	if err := ChunkModes(ctx, c, plan); err != nil {
		t.Error(err)
	}
}
