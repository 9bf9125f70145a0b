package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/internal/api"
)

// settleFlags are those of `cairn pool settle`.
type settleFlags struct {
	idle         time.Duration
	status, wait bool
}

func newPoolSettleCommand(e *env) *cobra.Command {
	var f settleFlags
	cmd := e.leaf("settle NAME", "Make chunks of what objects of a pool have themselves, now", args("NAME"), func(ctx context.Context, a []string) error {
		return runPoolSettle(ctx, e, a[0], f)
	})
	cmd.Long = `Have all objects of a pool looked at now, and make chunks of the bytes that they have
themselves, as small writes leave them. OSDs do so by themselves, too, as the settings
settle_interval, settle_idle, settle_age and settle_size say. Objects can be read and
written all the time; one that is written at the moment is left for the next look.

The command returns at once; --wait waits until all is done and tells how far it is,
--status only tells.`
	cmd.Flags().DurationVar(&f.idle, "idle", 0, "only objects that were not written for so long, such as 10m")
	cmd.Flags().BoolVar(&f.status, "status", false, "begin nothing, only tell how far it is")
	cmd.Flags().BoolVar(&f.wait, "wait", false, "wait until all is done")
	return cmd
}

// settlePoll is how often --wait asks.
const settlePoll = 2 * time.Second

func runPoolSettle(ctx context.Context, e *env, pool string, f settleFlags) error {
	if f.idle < 0 {
		return usageErrorf("flag --idle %s: want zero or more", f.idle)
	}
	c, err := e.client()
	if err != nil {
		return err
	}
	defer c.Close()
	var s api.SettleStatus
	if f.status {
		s, err = c.PoolSettleStatus(ctx, pool)
	} else {
		s, err = c.PoolSettle(ctx, pool, api.SettleStart{IdleSeconds: f.idle.Seconds()})
	}
	for f.wait && err == nil && s.Pending > 0 {
		fmt.Fprintf(e.stderr, "%d PGs to go, %d objects looked at, %s in chunks\n", s.Pending, s.Objects, show.Bytes(s.Bytes))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settlePoll):
		}
		s, err = c.PoolSettleStatus(ctx, pool)
	}
	if err != nil {
		return err
	}
	return printed(e, s, showSettle)
}

func showSettle(w io.Writer, s api.SettleStatus) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d PGs to be looked at; since the OSDs started %d objects looked at, %d settled: %d chunks, %s\n",
		s.Pending, s.PGs, s.Objects, s.Settled, s.Chunks, show.Bytes(s.Bytes))
	if s.Conflicts > 0 {
		fmt.Fprintf(&b, "%d objects were written meanwhile and wait for the next look\n", s.Conflicts)
	}
	if s.Failed > 0 {
		fmt.Fprintf(&b, "%d objects could not be settled: the OSDs' logs say which and why\n", s.Failed)
	}
	for _, text := range s.Waiting {
		fmt.Fprintf(&b, "waiting: %s\n", text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
