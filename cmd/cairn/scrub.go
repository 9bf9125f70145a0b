package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/internal/api"
)

// scrubShort is what the commands that scrub say of themselves.
var scrubShort = []struct{ kind, short string }{
	{api.Scrub, "Compare names, versions, sizes, attributes and omap of all copies soon"},
	{api.DeepScrub, "Compare all bytes of all copies soon"},
	{api.Repair, "Compare all bytes, and take the primary's copy where nothing tells which is right"},
}

func newPGScrubCommands(e *env) (cmds []*cobra.Command) {
	for _, k := range scrubShort {
		cmds = append(cmds, e.leaf(k.kind+" PGID...", k.short, cobra.MinimumNArgs(1), func(ctx context.Context, a []string) error {
			return runPGScrub(ctx, e, k.kind, a)
		}))
	}
	return append(cmds, e.leaf("list-inconsistent PGID", "List the objects whose copies are known to differ, and how", args("PGID"),
		func(ctx context.Context, a []string) error { return runListInconsistent(ctx, e, a[0]) }))
}

func newOSDScrubCommands(e *env) (cmds []*cobra.Command) {
	for _, k := range scrubShort {
		cmds = append(cmds, e.leaf(k.kind+" OSD...", k.short+", of every placement group the OSDs lead", cobra.MinimumNArgs(1),
			func(ctx context.Context, a []string) error {
				ids, err := parseOSDs(a)
				if err != nil {
					return err
				}
				return runOSDScrub(ctx, e, k.kind, ids)
			}))
	}
	return cmds
}

func runPGScrub(ctx context.Context, e *env, kind string, pgids []string) error {
	for _, id := range pgids {
		if err := change(ctx, e, func(ctx context.Context, c *api.Client) error {
			_, err := c.PGScrub(ctx, id, kind)
			return err
		}, "instructed the primary of pg %s to %s", id, kind); err != nil {
			return err
		}
	}
	return nil
}

func runOSDScrub(ctx context.Context, e *env, kind string, ids []int) error {
	for _, id := range ids {
		if err := change(ctx, e, func(ctx context.Context, c *api.Client) error {
			_, err := c.OSDScrub(ctx, id, kind)
			return err
		}, "instructed osd.%d to %s the placement groups it leads", id, kind); err != nil {
			return err
		}
	}
	return nil
}

func runListInconsistent(ctx context.Context, e *env, pgid string) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.Inconsistents, error) {
		return c.PGInconsistent(ctx, pgid)
	}, show.Inconsistents)
}
