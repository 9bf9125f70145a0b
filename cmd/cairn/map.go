package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/internal/api"
)

func newMapCommand(e *env) *cobra.Command {
	return group("map", "The cluster map", newMapShowCommand(e),
		e.leaf("locate POOL OBJECT", "Show where an object lives", args("POOL", "OBJECT"),
			func(ctx context.Context, a []string) error { return runLocate(ctx, e, a[0], a[1]) }))
}

// mapShowOptions configures runMapShow.
type mapShowOptions struct {
	PGs   bool // with the PG records
	Crush bool // only the CRUSH map, as text
}

func newMapShowCommand(e *env) *cobra.Command {
	var o mapShowOptions
	cmd := e.leaf("show", "Show the cluster map", args(), func(ctx context.Context, _ []string) error { return runMapShow(ctx, e, o) })
	cmd.Flags().BoolVar(&o.PGs, "pgs", false, "add the records of all placement groups")
	cmd.Flags().BoolVar(&o.Crush, "crush", false, "only the CRUSH map, in its text language")
	return cmd
}

func runMapShow(ctx context.Context, e *env, o mapShowOptions) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.Map, error) { return c.Map(ctx, o.PGs) },
		func(w io.Writer, m api.Map) error {
			if o.Crush {
				_, err := io.WriteString(w, m.Crush)
				return err
			}
			return show.Map(w, m)
		})
}

func runLocate(ctx context.Context, e *env, pool, object string) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.Location, error) { return c.Locate(ctx, pool, object) }, show.Location)
}
