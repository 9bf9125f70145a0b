package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/gateways/s3"
	"github.com/cairnstore/cairn/internal/node"
	"github.com/cairnstore/cairn/internal/testcluster"
)

// devOptions are the flags of `cairn dev`.
type devOptions struct {
	dir        string
	mons, osds int
	verbose    bool
	gateway    s3.Options
	flags      daemonFlags
}

func newDevCommand(e *env) *cobra.Command {
	var o devOptions
	cmd := daemon("dev", "Run a whole cluster in one process, for trying and developing", `Run monitors, OSDs and an S3 gateway in one process on loopback, under one
directory, until interrupted. Started again with the same directory it goes on
where it was.`,
		func(ctx context.Context) error { return runDev(ctx, e, o) })
	cmd.Flags().StringVar(&o.dir, "dir", filepath.Join(".cairn", "dev"), "directory for everything")
	cmd.Flags().IntVar(&o.mons, "mons", 1, "monitors of a new cluster: 1 or 3")
	cmd.Flags().IntVar(&o.osds, "osds", 3, "OSDs of a new cluster")
	cmd.Flags().BoolVar(&o.verbose, "verbose", false, "print the daemons' log")
	lifecycleDay(cmd, &o.gateway)
	sigV2Flag(cmd, &o.gateway)
	o.flags.register(cmd, "512MiB")
	return cmd
}

func runDev(ctx context.Context, e *env, o devOptions) error {
	log, err := devLog(e, o.flags, o.verbose)
	if err != nil {
		return err
	}
	c, err := testcluster.Start(ctx, testcluster.Options{
		Dir: o.dir, Mons: o.mons, OSDs: o.osds, Log: log,
		TuneS3:   func(g *node.S3Options) { g.Gateway = o.gateway },
		Progress: func(s string) { fmt.Fprintf(e.stderr, "  %s ...\n", s) },
	})
	if err != nil {
		return err
	}
	if err := pointCommands(o.dir, c.AdminAddrs()); err != nil {
		return errors.Join(err, c.Close())
	}
	printEndpoints(e.stdout, c, o.dir)
	fmt.Fprintln(e.stdout, "\nPress Ctrl-C to stop; the data stays.")
	<-ctx.Done()
	fmt.Fprintln(e.stderr, "  stopping ...")
	return c.Close()
}

// pointCommands makes commands in the folder of a .cairn/NAME cluster find it without any flag.
func pointCommands(dir string, admins []string) error {
	parent := filepath.Dir(filepath.Clean(dir))
	if filepath.Base(parent) != ".cairn" {
		return nil
	}
	if err := os.WriteFile(filepath.Join(parent, "admin"), []byte(strings.Join(admins, "\n")+"\n"), 0o644); err != nil {
		return fmt.Errorf("tell other commands where the cluster is: %w", err)
	}
	return nil
}

// devLog keeps the daemons quiet unless asked: only their warnings are shown.
func devLog(e *env, f daemonFlags, verbose bool) (*slog.Logger, error) {
	log, err := f.apply(e)
	if err != nil || verbose {
		return log, err
	}
	return slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: slog.LevelError})), nil
}

// printEndpoints says where the cluster is and what to try.
func printEndpoints(w io.Writer, c *testcluster.Cluster, dir string) {
	self, err := os.Executable()
	if err != nil {
		self = "cairn"
	}
	if cwd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(cwd, self); err == nil && !strings.HasPrefix(rel, "..") {
			self = "./" + rel
		}
	}
	admin := strings.Join(c.AdminAddrs(), ",")
	fmt.Fprintf(w, `
The cluster is up (data in %s)
  monitors    %s
  REST        http://%s   (OpenAPI: /openapi.json)
  S3          http://%s
  access key  %s
  secret key  %s

Try, in another shell:
  export CAIRN_ADMIN=%s
  export AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s AWS_DEFAULT_REGION=us-east-1
  %s status
  %s osd tree
  %s pg ls
  aws --endpoint-url http://%s s3 mb s3://photos
  aws --endpoint-url http://%s s3 cp README.md s3://photos/
`, dir, strings.Join(c.MonAddrs(), ","), c.AdminAddrs()[0], c.S3Addr(), c.AccessKey, c.SecretKey,
		admin, c.AccessKey, c.SecretKey, self, self, self, c.S3Addr(), c.S3Addr())
}

func newDemoCommand(e *env) *cobra.Command {
	var o demoOptions
	cmd := daemon("demo", "Show what the cluster does: store a directory tree, lose an OSD, go on", `Start an embedded cluster in a temporary directory, store a real directory tree
through S3, read it back and compare, kill an OSD, go on, and let it recover.
With --keep the cluster stays up at the end until interrupted.`,
		func(ctx context.Context) error { return runDemo(ctx, e, o) })
	cmd.Flags().StringVar(&o.tree, "tree", ".", "directory tree to store")
	cmd.Flags().StringVar(&o.dir, "dir", "", "directory for the cluster, kept afterwards (default: a temporary one, removed)")
	cmd.Flags().IntVar(&o.mons, "mons", 1, "monitors: 1 or 3")
	cmd.Flags().IntVar(&o.osds, "osds", 3, "OSDs, at least 3")
	cmd.Flags().BoolVar(&o.keep, "keep", false, "stay up at the end")
	cmd.Flags().BoolVar(&o.verbose, "verbose", false, "print the daemons' log")
	o.flags.register(cmd, "512MiB")
	return cmd
}
