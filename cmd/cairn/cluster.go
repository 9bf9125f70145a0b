package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"sort"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/internal/api"
)

func newStatusCommand(e *env) *cobra.Command {
	return e.leaf("status", "Show the state of the cluster", args(), func(ctx context.Context, _ []string) error { return runStatus(ctx, e) })
}

func runStatus(ctx context.Context, e *env) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.Status, error) { return c.Status(ctx) }, show.Status)
}

// healthOptions configures runHealth.
type healthOptions struct {
	Detail bool // name every object concerned
	Check  bool // tell the severity by the exit code
}

func newHealthCommand(e *env) *cobra.Command {
	var o healthOptions
	cmd := e.leaf("health [detail]", "Show what is wrong with the cluster", args("[detail]"), func(ctx context.Context, a []string) error {
		if len(a) == 1 {
			if a[0] != "detail" {
				return usageErrorf("cairn health: unknown argument %q: want detail or nothing", a[0])
			}
			o.Detail = true
		}
		return runHealth(ctx, e, o)
	})
	cmd.ValidArgs = []string{"detail"}
	cmd.Flags().BoolVar(&o.Check, "check", false, "exit with 10 on HEALTH_WARN and with 11 on HEALTH_ERR")
	return cmd
}

func runHealth(ctx context.Context, e *env, o healthOptions) error {
	var status api.Severity
	err := ask(ctx, e, func(ctx context.Context, c *api.Client) (api.Health, error) {
		h, err := c.Health(ctx)
		status = h.Status
		return h, err
	}, func(w io.Writer, h api.Health) error { return show.Health(w, h, o.Detail) })
	if err == nil && o.Check && status != api.HealthOK {
		return &healthError{status}
	}
	return err
}

func newDFCommand(e *env) *cobra.Command {
	return e.leaf("df", "Show the space of the cluster and of its pools", args(), func(ctx context.Context, _ []string) error { return runDF(ctx, e) })
}

func runDF(ctx context.Context, e *env) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.DF, error) { return c.DF(ctx) },
		func(w io.Writer, df api.DF) error {
			var classes []string
			for c := range df.ByClass {
				classes = append(classes, c)
			}
			sort.Strings(classes)
			return show.DF(w, df, classes)
		})
}

func newMonCommand(e *env) *cobra.Command {
	return group("mon", "Monitors", newMonStatCommand(e))
}

func newMonStatCommand(e *env) *cobra.Command {
	return e.leaf("stat", "Show monitors and quorum", args(), func(ctx context.Context, _ []string) error { return runMonStat(ctx, e) })
}

func runMonStat(ctx context.Context, e *env) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.MonStat, error) { return c.Mons(ctx) }, show.MonStat)
}

// version is set by the linker in releases.
var version = "0.1.0-dev"

// versionInfo is what `version` prints.
type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersionCommand(e *env) *cobra.Command {
	return e.leaf("version", "Show the version of this program", args(), func(context.Context, []string) error { return runVersion(e) })
}

func runVersion(e *env) error {
	v := versionInfo{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Revision = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	if e.json() {
		return e.printJSON(v)
	}
	rev := ""
	if v.Revision != "" {
		rev = " (" + v.Revision[:min(12, len(v.Revision))]
		if v.Modified {
			rev += ", modified"
		}
		rev += ")"
	}
	_, err := fmt.Fprintf(e.stdout, "cairn version %s%s %s %s\n", v.Version, rev, v.Go, v.Platform)
	return err
}
