package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/placement"
)

func parseOSDs(list []string) ([]int, error) {
	var ids []int
	for _, s := range list {
		id, err := parseOSD(s)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func osdNames(ids []int) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = fmt.Sprintf("osd.%d", id)
	}
	return strings.Join(names, ", ")
}

// newOSDCheckCommand makes a command that asks whether something may be done to OSDs,
// and says so by its exit code.
func newOSDCheckCommand(e *env, what, short, yes string) *cobra.Command {
	return e.leaf(what+" OSD...", short+"; exit code 0 if so, else 1", cobra.MinimumNArgs(1), func(ctx context.Context, a []string) error {
		ids, err := parseOSDs(a)
		if err != nil {
			return err
		}
		return runOSDCheck(ctx, e, what, ids, yes)
	})
}

func runOSDCheck(ctx context.Context, e *env, what string, ids []int, yes string) error {
	var answer api.OSDCheck
	err := ask(ctx, e, func(ctx context.Context, c *api.Client) (_ api.OSDCheck, err error) {
		answer, err = c.OSDCheck(ctx, what, ids)
		return answer, err
	}, func(w io.Writer, c api.OSDCheck) error {
		if !c.OK {
			return nil // said as an error
		}
		_, err := fmt.Fprintf(w, "%s %s\n", osdNames(c.OSDs), yes)
		return err
	})
	if err == nil && !answer.OK {
		var b strings.Builder
		fmt.Fprintf(&b, "%s: not %s: %s", osdNames(answer.OSDs), what, strings.Join(answer.Reasons, "; "))
		if err := show.AffectedPGs(&b, answer); err != nil {
			return err
		}
		return errors.New(strings.TrimRight(b.String(), "\n"))
	}
	return err
}

func newOSDDrainCommand(e *env) *cobra.Command {
	var force, stop bool
	cmd := e.leaf("drain OSD...|status", "Empty OSDs: others get their data, and they serve meanwhile", cobra.MinimumNArgs(1), func(ctx context.Context, a []string) error {
		if len(a) == 1 && a[0] == "status" {
			return ask(ctx, e, func(ctx context.Context, c *api.Client) ([]api.DrainState, error) { return c.DrainState(ctx) }, show.Drains)
		}
		ids, err := parseOSDs(a)
		if err != nil {
			return err
		}
		if stop {
			return runOSDUndrain(ctx, e, ids)
		}
		return runOSDDrain(ctx, e, ids, force)
	})
	cmd.Flags().BoolVar(&force, "force", false, "even if some PGs find no other place; they stay, and no copy is lost")
	cmd.Flags().BoolVar(&stop, "stop", false, "end it: the OSDs are chosen again")
	cmd.ValidArgs = []string{"status"}
	return cmd
}

func int32s(ids []int) []int32 {
	out := make([]int32, len(ids))
	for i, id := range ids {
		out[i] = int32(id)
	}
	return out
}

func runOSDDrain(ctx context.Context, e *env, ids []int, force bool) error {
	return change(ctx, e, func(ctx context.Context, c *api.Client) error {
		return c.OSDDrain(ctx, api.Drain{OSDs: int32s(ids), Force: force})
	}, "draining %s; see `cairn osd drain status`", osdNames(ids))
}

func newOSDUndrainCommand(e *env) *cobra.Command {
	return e.leaf("undrain OSD...", "End the emptying of OSDs", cobra.MinimumNArgs(1), func(ctx context.Context, a []string) error {
		ids, err := parseOSDs(a)
		if err != nil {
			return err
		}
		return runOSDUndrain(ctx, e, ids)
	})
}

func runOSDUndrain(ctx context.Context, e *env, ids []int) error {
	return change(ctx, e, func(ctx context.Context, c *api.Client) error { return c.OSDUndrain(ctx, int32s(ids)) },
		"not draining %s any more", osdNames(ids))
}

func newOSDRemoveCommand(e *env) *cobra.Command {
	return e.leaf("rm OSD", "Remove an OSD that is down and that no PG counts on, for ever", args("OSD"), func(ctx context.Context, a []string) error {
		id, err := parseOSD(a[0])
		if err != nil {
			return err
		}
		return runOSDRemove(ctx, e, id)
	})
}

func runOSDRemove(ctx context.Context, e *env, id int) error {
	return change(ctx, e, func(ctx context.Context, c *api.Client) error { return c.OSDRemove(ctx, id) }, "removed osd.%d", id)
}

func newOSDCrushCommand(e *env) *cobra.Command {
	return group("crush", "Where OSDs lie in the CRUSH map, and what they weigh",
		e.leaf("set-device-class CLASS OSD...", "Change the device class of OSDs", cobra.MinimumNArgs(2), func(ctx context.Context, a []string) error {
			ids, err := parseOSDs(a[1:])
			if err != nil {
				return err
			}
			return runSetClass(ctx, e, a[0], ids)
		}),
		e.leaf("reweight OSD WEIGHT", "Change the CRUSH weight of an OSD, by custom its capacity in TiB", args("OSD", "WEIGHT"), func(ctx context.Context, a []string) error {
			id, err := parseOSD(a[0])
			if err != nil {
				return err
			}
			w, err := strconv.ParseFloat(a[1], 64)
			if err != nil || !(w >= 0 && w <= 10000) {
				return usageErrorf("cairn osd crush reweight: weight %q: want a number from 0 to 10000", a[1])
			}
			return runCrushReweight(ctx, e, id, w)
		}),
		e.leaf("move NAME TYPE=NAME...", "Put an OSD or a bucket elsewhere, such as `move osd.3 host=h2` or `move h2 rack=r1`", cobra.MinimumNArgs(2),
			func(ctx context.Context, a []string) error {
				return runCrushMove(ctx, e, api.CrushMove{Name: a[0], Location: a[1:]})
			}),
	)
}

func runSetClass(ctx context.Context, e *env, class string, ids []int) error {
	for _, id := range ids {
		if err := change(ctx, e, func(ctx context.Context, c *api.Client) error { return c.OSDClass(ctx, id, class) },
			"set osd.%d to class %s", id, class); err != nil {
			return err
		}
	}
	return nil
}

func runCrushReweight(ctx context.Context, e *env, id int, weight float64) error {
	return change(ctx, e, func(ctx context.Context, c *api.Client) error { return c.CrushReweight(ctx, id, weight) },
		"reweighted item id %d name 'osd.%d' to %s in crush map", id, id, strconv.FormatFloat(weight, 'f', -1, 64))
}

func runCrushMove(ctx context.Context, e *env, m api.CrushMove) error {
	return change(ctx, e, func(ctx context.Context, c *api.Client) error { return c.CrushMove(ctx, m) },
		"moved '%s' to %s in crush map", m.Name, strings.Join(m.Location, ","))
}

func newPGForceCommand(e *env) *cobra.Command {
	var accept bool
	cmd := e.leaf("force-primary PGID OSD", "Let an OSD lead a placement group that nobody serves any more; what its copy lacks is lost", args("PGID", "OSD"),
		func(ctx context.Context, a []string) error {
			id, err := parseOSD(a[1])
			if err != nil {
				return err
			}
			return runPGForce(ctx, e, a[0], api.ForcePrimary{OSD: int32(id), AcceptLoss: accept})
		})
	cmd.Flags().BoolVar(&accept, "accept-loss", false, "you know what may be lost; without it the command only tells")
	return cmd
}

func runPGForce(ctx context.Context, e *env, pgid string, f api.ForcePrimary) error {
	return change(ctx, e, func(ctx context.Context, c *api.Client) error { return c.PGForce(ctx, pgid, f) },
		"osd.%d leads pg %s with the copy it has", f.OSD, pgid)
}

func newConfigCommand(e *env) *cobra.Command {
	return group("config", "Central configuration",
		e.leaf("ls", "List all keys with what is in force", args(), func(ctx context.Context, _ []string) error { return runConfigList(ctx, e) }),
		e.leaf("get KEY", "Show what is in force", args("KEY"), func(ctx context.Context, a []string) error { return runConfigGet(ctx, e, a[0]) }),
		e.leaf("set KEY VALUE", "Set a key for the whole cluster, at once", args("KEY", "VALUE"), func(ctx context.Context, a []string) error {
			return change(ctx, e, func(ctx context.Context, c *api.Client) error { return c.ConfigSet(ctx, a[0], a[1]) }, "%s is %s", a[0], a[1])
		}),
		e.leaf("rm KEY", "Give a key its default again", args("KEY"), func(ctx context.Context, a []string) error {
			return change(ctx, e, func(ctx context.Context, c *api.Client) error { return c.ConfigRemove(ctx, a[0]) }, "%s has its default", a[0])
		}),
	)
}

// newRatioCommand makes a command that sets how full an OSD must be for something, under the name it has in Ceph.
func newRatioCommand(e *env, which, key, what string) *cobra.Command {
	return e.leaf("set-"+which+"-ratio RATIO", "Set how full an OSD is when "+what+", such as "+settingDefault(key), args("RATIO"),
		func(ctx context.Context, a []string) error {
			if _, err := strconv.ParseFloat(a[0], 64); err != nil {
				return usageErrorf("cairn osd set-%s-ratio: ratio %q: want a number such as %s", which, a[0], settingDefault(key))
			}
			return change(ctx, e, func(ctx context.Context, c *api.Client) error { return c.ConfigSet(ctx, key, a[0]) }, "%s is %s", key, a[0])
		})
}

func settingDefault(key string) string {
	for _, k := range placement.KnownSettings() {
		if k.Key == key {
			return k.Default
		}
	}
	return ""
}

func runConfigList(ctx context.Context, e *env) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) ([]api.Setting, error) { return c.Config(ctx) }, show.Config)
}

func runConfigGet(ctx context.Context, e *env, key string) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.Setting, error) {
		list, err := c.Config(ctx)
		if err != nil {
			return api.Setting{}, err
		}
		var keys []string
		for _, s := range list {
			if s.Key == key {
				return s, nil
			}
			keys = append(keys, s.Key)
		}
		return api.Setting{}, usageErrorf("configuration key %q is not known; the keys are %s", key, strings.Join(keys, ", "))
	}, func(w io.Writer, s api.Setting) error {
		_, err := fmt.Fprintln(w, s.Value)
		return err
	})
}

func newAuditCommand(e *env) *cobra.Command {
	var limit int
	ls := e.leaf("ls", "List what administrators did, oldest first", args(), func(ctx context.Context, _ []string) error {
		if limit < 0 || limit > 1000 {
			return usageErrorf("flag --limit %d: want 0 to 1000", limit)
		}
		return runAuditList(ctx, e, limit)
	})
	ls.Flags().IntVar(&limit, "limit", 0, "only so many of the newest (default all that are kept, 1000)")
	return group("audit", "What administrators did", ls)
}

func runAuditList(ctx context.Context, e *env, limit int) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) ([]api.AuditEntry, error) { return c.Audit(ctx, limit) }, show.Audit)
}
