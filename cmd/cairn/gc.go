package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/internal/api"
)

// gcFlags are those of the commands that have work done.
type gcFlags struct {
	pool   string
	minAge time.Duration
	noWait bool
}

func newGCCommand(e *env) *cobra.Command {
	kinds := []struct{ use, what, short, long string }{
		{"run", api.CareGC, "Delete chunks that nobody has referred to for two GC intervals, now",
			"Have the outbox worked off now, and the chunks deleted that nobody has referred to for two\nGC intervals (gc_interval). OSDs do so by themselves, too."},
		{"audit", api.CareAudit, "Compare both sides of all references to chunks, and print what leaked and what dangles",
			"Compare both sides of all references now: what the chunk index lists and no object has (leaked),\nwhat objects have and the index does not list (dangling), and shards that no chunk has. Leaks are\nremoved; dangling references are put right if the chunk is still there, else reported by name. What is\nyounger than --min-age (default: the setting gc_orphan_age) may be of a write under way and is left alone."},
		{"repair", api.CareRepair, "Read all shards of all chunks, and make those again that are missing or damaged",
			"Read all shards of all chunks now, and make those again that are missing or damaged. OSDs do so\nby themselves, too, every chunk_scrub_interval and when an OSD is lost."},
	}
	cmds := []*cobra.Command{
		e.leaf("status", "What the care for chunks found and did, and what needs attention", args(), func(ctx context.Context, _ []string) error {
			return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.ChunkCare, error) { return c.ChunkCare(ctx) }, show.ChunkCare)
		}),
	}
	for _, k := range kinds {
		var f gcFlags
		cmd := e.leaf(k.use, k.short, args(), func(ctx context.Context, _ []string) error { return runGC(ctx, e, k.what, f) })
		cmd.Long = k.long + "\n\nThe command waits until all OSDs are done; interrupting it does not end their work."
		cmd.Flags().StringVar(&f.pool, "pool", "", "only chunks of this pool")
		cmd.Flags().BoolVar(&f.noWait, "no-wait", false, "return at once; `cairn gc status` tells what came of it")
		f.minAge = -1
		if k.what == api.CareAudit {
			cmd.Flags().DurationVar(&f.minAge, "min-age", -1, "how old what is taken for left behind must be at least")
			cmd.Flags().Lookup("min-age").DefValue = "gc_orphan_age"
		}
		cmds = append(cmds, cmd)
	}
	return group("gc", "Chunks: garbage collection, audit and repair", cmds...)
}

// gcPoll is how often the commands ask whether the OSDs are done.
const gcPoll = 500 * time.Millisecond

func runGC(ctx context.Context, e *env, what string, f gcFlags) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	defer c.Close()
	in := api.ChunkCareStart{Pool: f.pool}
	if f.minAge >= 0 {
		s := f.minAge.Seconds()
		in.MinAgeSeconds = &s
	}
	started, err := c.ChunkCareStart(ctx, what, in)
	if err != nil {
		return err
	}
	if f.noWait {
		return printed(e, started, show.ChunkCareStarted)
	}
	wait := map[int]uint64{}
	for _, r := range started.Runs {
		wait[r.OSD] = r.Run
	}
	var runs []api.ChunkCareRun
	status := api.ChunkCare{Problems: []api.ChunkProblem{}}
	silent := map[int]int{}
	for len(wait) > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d OSDs are not done yet, see `cairn gc status`: %w", len(wait), ctx.Err())
		case <-time.After(gcPoll):
		}
		if status, err = c.ChunkCare(ctx); err != nil {
			return err
		}
		answered := map[int]bool{}
		for _, r := range status.Runs {
			answered[r.OSD] = true
			if n, ok := wait[r.OSD]; ok && r.Run >= n {
				runs = append(runs, r)
				delete(wait, r.OSD)
			}
		}
		for id := range wait {
			if silent[id]++; answered[id] {
				silent[id] = 0
			} else if silent[id] > gcSilent {
				started.Waiting = append(started.Waiting, fmt.Sprintf("osd.%d does not answer any more", id))
				delete(wait, id)
			}
		}
	}
	return printed(e, show.ChunkRun{What: what, Runs: runs, Problems: status.Problems, Waiting: started.Waiting}, show.ChunkRuns)
}

// gcSilent is how often an OSD may not answer before it is waited for no longer.
const gcSilent = 60
