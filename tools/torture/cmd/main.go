// Command torture kills the processes of a cluster while clients work on it, for
// as long as one likes; package torture says what it checks.
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/tools/torture"
	"github.com/cairnstore/cairn/tools/torture/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if _, set := os.LookupEnv(slab.PoisonVariable); !set {
		os.Setenv(slab.PoisonVariable, "1") // of the daemons, which inherit it
	}
	root := &cobra.Command{Use: "torture", Short: "Treat a cluster of real processes badly", SilenceUsage: true}
	root.AddCommand(newRunCommand(), newFailoverCommand(), newStaleCommand(), newIdleCommand(), newChunkModesCommand(), newS3Command())
	err := root.ExecuteContext(ctx)
	stop()
	if err != nil {
		os.Exit(1)
	}
}

// place is where a cluster is made and of which program.
type place struct {
	o torture.Options
}

func (p *place) register(cmd *cobra.Command, mons, osds int) {
	cmd.Flags().StringVar(&p.o.Binary, "cairn", "", "cairn program (default: it is built)")
	cmd.Flags().StringVar(&p.o.Dir, "dir", "", "empty directory for data and logs, kept afterwards (default: a temporary one, kept after a failure)")
	cmd.Flags().IntVar(&p.o.Mons, "mons", mons, "monitors: 1 or 3")
	cmd.Flags().IntVar(&p.o.OSDs, "osds", osds, "OSDs")
}

// with calls f with a directory and a program.
func (p *place) with(ctx context.Context, f func() error) (err error) {
	tmp, err := os.MkdirTemp("", "cairn-torture-")
	if err != nil {
		return err
	}
	if p.o.Dir == "" {
		p.o.Dir = filepath.Join(tmp, "cluster")
	}
	defer func() {
		if err == nil {
			err = os.RemoveAll(tmp)
			return
		}
		fmt.Printf("data and logs are in %s\n", p.o.Dir)
	}()
	if p.o.Binary == "" {
		if p.o.Binary, err = torture.Build(ctx, tmp); err != nil {
			return err
		}
	}
	return f()
}

func newRunCommand() *cobra.Command {
	var p place
	var plan torture.Plan
	var minutes float64
	var loopback bool
	cmd := &cobra.Command{
		Use: "run", Short: "Kill processes while clients work, then verify everything", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			plan.Duration = time.Duration(minutes * float64(time.Minute))
			if plan.Seed == 0 {
				plan.Seed = uint64(rand.Uint32())
			}
			plan.Load.Objects, p.o.Config = 40, torture.Scrubs()
			if plan.Chunks = p.o.OSDs >= 5; plan.Chunks {
				p.o.Config = append(p.o.Config, torture.ChunkCare()...)
			}
			if !loopback {
				p.o.Hosts, p.o.DiskBytes = true, torture.DiskBytes
			}
			return p.with(cmd.Context(), func() error { return run(cmd.Context(), p.o, plan) })
		},
	}
	p.register(cmd, 3, 5)
	cmd.Flags().BoolVar(&loopback, "loopback", false, "all processes on loopback, even as root: no faults of networks and disks")
	cmd.Flags().Uint64Var(&plan.Seed, "seed", 0, "seed of the plan (default: random)")
	cmd.Flags().IntVar(&plan.Kills, "kills", 100, "processes to kill at least")
	cmd.Flags().Float64Var(&minutes, "minutes", 0, "go on for at least this long")
	cmd.Flags().IntVar(&plan.Load.Chunkers, "chunkers", 0, "clients that write to the pool with chunks (default 3)")
	cmd.Flags().StringVar(&plan.Blows, "blows", "", "only blows whose name matches this regular expression (default: all)")
	return cmd
}

func run(ctx context.Context, o torture.Options, plan torture.Plan) error {
	began := time.Now()
	plan.Logf = func(format string, args ...any) {
		fmt.Printf("[%7.1fs] %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}
	c, err := start(ctx, &o)
	if err != nil {
		return err
	}
	replay := fmt.Sprintf("go run ./tools/torture/cmd run --mons %d --osds %d --seed %d --kills %d --minutes %g", o.Mons, o.OSDs, plan.Seed, plan.Kills, plan.Duration.Minutes())
	if plan.Load.Chunkers > 0 {
		replay += fmt.Sprintf(" --chunkers %d", plan.Load.Chunkers)
	}
	if plan.Blows != "" {
		replay += fmt.Sprintf(" --blows '%s'", plan.Blows)
	}
	fmt.Printf("seed %d; replay with: %s\n", plan.Seed, replay)
	stats, err := torture.Run(ctx, c, plan)
	if stats != nil {
		fmt.Print(stats)
	}
	if err != nil {
		fmt.Print(c.Tails(30))
		err = fmt.Errorf("seed %d: %w", plan.Seed, err)
	}
	return errors.Join(err, c.Close())
}

// start starts a cluster with hosts, or where there can be none without.
func start(ctx context.Context, o *torture.Options) (*torture.Cluster, error) {
	c, err := torture.Start(ctx, *o)
	if errors.Is(err, lab.ErrUnsupported) {
		fmt.Printf("everything runs on loopback, without faults of networks and disks: %v\n", err)
		o.Hosts, o.DiskBytes = false, 0
		c, err = torture.Start(ctx, *o)
	}
	return c, err
}

func newFailoverCommand() *cobra.Command {
	var p place
	var trials int
	cmd := &cobra.Command{
		Use: "failover", Short: "Print how long a cluster does not serve when daemons go away", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p.o.Hosts = true
			return p.cluster(cmd.Context(), func(c *torture.Cluster) error { return torture.Failovers(cmd.Context(), os.Stdout, c, trials, true) })
		},
	}
	p.register(cmd, 3, 5)
	cmd.Flags().IntVar(&trials, "trials", 5, "how often each")
	return cmd
}

func newStaleCommand() *cobra.Command {
	var p place
	var trials int
	cmd := &cobra.Command{
		Use: "stale", Short: "Read at primaries that are cut off from all but the reader, while others write", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p.o.Hosts = true
			return p.cluster(cmd.Context(), func(c *torture.Cluster) error {
				_, err := torture.StaleReads(cmd.Context(), c, trials, func(format string, args ...any) { fmt.Printf(format+"\n", args...) })
				return err
			})
		},
	}
	p.register(cmd, 3, 5)
	cmd.Flags().IntVar(&trials, "trials", 5, "how often each way")
	return cmd
}

// cluster calls f with a cluster.
func (p *place) cluster(ctx context.Context, f func(*torture.Cluster) error) error {
	return p.with(ctx, func() error {
		c, err := start(ctx, &p.o)
		if err != nil {
			return err
		}
		if err = f(c); err != nil {
			fmt.Print(c.Tails(30))
		}
		return errors.Join(err, c.Check(), c.Close())
	})
}

func newIdleCommand() *cobra.Command {
	var p place
	var period time.Duration
	cmd := &cobra.Command{
		Use: "idle", Short: "Print the memory and CPU that an idle cluster uses", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.with(cmd.Context(), func() error { return torture.Idle(cmd.Context(), os.Stdout, p.o, period) })
		},
	}
	p.register(cmd, 1, 3)
	cmd.Flags().DurationVar(&period, "period", 20*time.Second, "how long to look")
	return cmd
}
