package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/placement"
)

func newOSDCommand(e *env) *cobra.Command {
	return group("osd", "OSDs: state, space, in and out", append(newOSDScrubCommands(e),
		e.leaf("tree", "Show the CRUSH hierarchy with the OSDs' states", args(), func(ctx context.Context, _ []string) error { return runOSDTree(ctx, e) }),
		newOSDDFCommand(e),
		e.leaf("stat", "Show how many OSDs are up and in", args(), func(ctx context.Context, _ []string) error { return runOSDStat(ctx, e) }),
		e.leaf("perf", "Show how fast OSDs commit, and what their processes have used", args(), func(ctx context.Context, _ []string) error { return runOSDPerf(ctx, e) }),
		newOSDActionCommand(e, "in", "Let CRUSH choose OSDs again"),
		newOSDActionCommand(e, "out", "Move the data of OSDs elsewhere"),
		newOSDActionCommand(e, "down", "Mark OSDs down; a running one comes up again by itself"),
		newOSDReweightCommand(e),
		newOSDCheckCommand(e, "ok-to-stop", "Say whether all PGs go on serving when OSDs stop", "may stop: every PG goes on serving"),
		newOSDCheckCommand(e, "safe-to-destroy", "Say whether no PG counts on the copies of OSDs", "may be destroyed: no PG counts on a copy there"),
		newOSDDrainCommand(e),
		newOSDUndrainCommand(e),
		newOSDRemoveCommand(e),
		newOSDCrushCommand(e),
		newRatioCommand(e, "nearfull", placement.KeyNearFullRatio, "there is a warning"),
		newRatioCommand(e, "backfillfull", placement.KeyBackfillFullRatio, "it takes no copies that move"),
		newRatioCommand(e, "full", placement.KeyFullRatio, "it takes no writes that need space"),
		newFlagCommand(e, "set", true),
		newFlagCommand(e, "unset", false),
	)...)
}

func runOSDTree(ctx context.Context, e *env) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.OSDTree, error) { return c.OSDTree(ctx) }, show.OSDTree)
}

func runOSDStat(ctx context.Context, e *env) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.OSDStat, error) { return c.OSDStat(ctx) }, show.OSDStat)
}

func newOSDDFCommand(e *env) *cobra.Command {
	cmd := e.leaf("df [tree]", "Show the space of the OSDs", args("[tree]"), func(ctx context.Context, a []string) error {
		if len(a) == 1 && a[0] != "tree" {
			return usageErrorf("cairn osd df: unknown argument %q: want tree or nothing", a[0])
		}
		return runOSDDF(ctx, e, len(a) == 1)
	})
	cmd.ValidArgs = []string{"tree"}
	return cmd
}

func runOSDDF(ctx context.Context, e *env, tree bool) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.OSDDF, error) { return c.OSDDF(ctx) },
		func(w io.Writer, df api.OSDDF) error { return show.OSDDF(w, df, tree) })
}

// parseOSD reads "3" or "osd.3".
func parseOSD(s string) (int, error) {
	id, err := strconv.ParseInt(strings.TrimPrefix(s, "osd."), 10, 32)
	if err != nil || id < 0 {
		return 0, usageErrorf("OSD %q: want a number or osd.NUMBER; see `cairn osd tree`", s)
	}
	return int(id), nil
}

func newOSDActionCommand(e *env, action, short string) *cobra.Command {
	return e.leaf(action+" OSD...", short, cobra.MinimumNArgs(1), func(ctx context.Context, a []string) error {
		ids, err := parseOSDs(a)
		if err != nil {
			return err
		}
		return runOSDAction(ctx, e, action, ids)
	})
}

func runOSDAction(ctx context.Context, e *env, action string, ids []int) error {
	for _, id := range ids {
		if err := change(ctx, e, func(ctx context.Context, c *api.Client) error { return c.OSDSet(ctx, id, action) },
			"marked %s osd.%d.", action, id); err != nil {
			return err
		}
	}
	return nil
}

func newOSDReweightCommand(e *env) *cobra.Command {
	return e.leaf("reweight OSD WEIGHT", "Give an OSD a share of its CRUSH weight, 0 to 1", args("OSD", "WEIGHT"), func(ctx context.Context, a []string) error {
		id, err := parseOSD(a[0])
		if err != nil {
			return err
		}
		w, err := strconv.ParseFloat(a[1], 64)
		if err != nil || !(w >= 0 && w <= 1) {
			return usageErrorf("cairn osd reweight: weight %q: want a number from 0 (out) to 1", a[1])
		}
		return runOSDReweight(ctx, e, id, w)
	})
}

func runOSDReweight(ctx context.Context, e *env, id int, weight float64) error {
	return change(ctx, e, func(ctx context.Context, c *api.Client) error { return c.OSDReweight(ctx, id, weight) },
		"reweighted osd.%d to %s", id, strconv.FormatFloat(weight, 'f', -1, 64))
}

func newFlagCommand(e *env, verb string, on bool) *cobra.Command {
	flags := placement.AllFlags.FlagNames()
	short := "Set a cluster flag: " + strings.Join(flags, ", ")
	if !on {
		short = "Unset a cluster flag"
	}
	cmd := e.leaf(verb+" FLAG", short, args("FLAG"), func(ctx context.Context, a []string) error {
		if !slices.Contains(flags, a[0]) {
			return usageErrorf("cairn osd %s: unknown flag %q: want %s", verb, a[0], strings.Join(flags, ", "))
		}
		return runFlag(ctx, e, a[0], on)
	})
	cmd.ValidArgs = flags
	return cmd
}

func runFlag(ctx context.Context, e *env, flag string, on bool) error {
	verb := "set"
	if !on {
		verb = "unset"
	}
	return change(ctx, e, func(ctx context.Context, c *api.Client) error { return c.FlagSet(ctx, flag, on) }, "%s is %s", flag, verb)
}

func newPGCommand(e *env) *cobra.Command {
	return group("pg", "Placement groups", append(newPGScrubCommands(e),
		e.leaf("stat", "Show the sum of all placement groups", args(), func(ctx context.Context, _ []string) error { return runPGStat(ctx, e) }),
		newPGListCommand(e, "ls", "List placement groups with their statistics", show.PGs),
		newPGListCommand(e, "dump", "List state and members of placement groups", func(w io.Writer, pgs []api.PG) error {
			if err := show.PGBrief(w, pgs); err != nil {
				return err
			}
			_, err := fmt.Fprintln(e.stderr, "dumped pgs_brief")
			return err
		}),
		e.leaf("query PGID", "Show the inner state of a placement group as its primary tells it (JSON)", args("PGID"),
			func(ctx context.Context, a []string) error { return runPGQuery(ctx, e, a[0]) }),
		newPGForceCommand(e),
	)...)
}

func runPGStat(ctx context.Context, e *env) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.PGSummary, error) { return c.PGStat(ctx) }, show.PGStat)
}

func newPGListCommand(e *env, use, short string, table func(io.Writer, []api.PG) error) *cobra.Command {
	var f api.PGFilter
	var osd string
	cmd := e.leaf(use, short, args(), func(ctx context.Context, _ []string) error {
		if osd != "" {
			id, err := parseOSD(osd)
			if err != nil {
				return err
			}
			f.OSD = &id
		}
		return runPGList(ctx, e, f, table)
	})
	cmd.Flags().StringVarP(&f.Pool, "pool", "p", "", "only of this pool")
	cmd.Flags().StringVar(&f.State, "state", "", "only with this word in the state, such as degraded")
	cmd.Flags().StringVar(&osd, "osd", "", "only with this OSD in up or acting")
	return cmd
}

func runPGList(ctx context.Context, e *env, f api.PGFilter, table func(io.Writer, []api.PG) error) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) ([]api.PG, error) { return c.PGs(ctx, f) }, table)
}

func runPGQuery(ctx context.Context, e *env, pgid string) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	defer c.Close()
	raw, err := c.PGQuery(ctx, pgid)
	if err != nil {
		return err
	}
	return e.printJSON(raw)
}
