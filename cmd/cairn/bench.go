package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bench"
)

// benchFlags are those of `cairn bench object`.
type benchFlags struct {
	bench.Options
	pool, size, objectSize string
	seconds                float64
	noCleanup              bool
}

func newBenchCommand(e *env) *cobra.Command {
	f := &benchFlags{}
	leaf := func(kind bench.Kind, short string) *cobra.Command {
		return e.leaf(string(kind), short, args(), func(ctx context.Context, _ []string) error {
			f.Kind = kind
			return runBench(ctx, e, f)
		})
	}
	cmd := group("object", "Load on a pool, its latencies, and what it costs in CPU",
		leaf(bench.Write, "Write objects, one after the other"),
		leaf(bench.RandWrite, "Overwrite pieces of a run's objects, chosen by chance"),
		leaf(bench.Seq, "Read a run's objects once, one after the other"),
		leaf(bench.Rand, "Read pieces of a run's objects, chosen by chance"),
		e.leaf("cleanup", "Remove a run's objects", args(), func(ctx context.Context, _ []string) error { return runBenchCleanup(ctx, e, f) }),
	)
	cmd.Long = `Put load on a pool and measure it: rate, latencies, and the time on the CPU of this
process and of every daemon, for each operation and each GiB.

    cairn bench object write -p POOL --size 4KiB --seconds 10 --no-cleanup
    cairn bench object rand -p POOL --seconds 10
    cairn bench object cleanup -p POOL`
	fl := cmd.PersistentFlags()
	fl.StringVarP(&f.pool, "pool", "p", "", "pool")
	fl.StringVarP(&f.size, "size", "b", "", "bytes of an operation, such as 4KiB (default: write 4MiB, the others what wrote the run)")
	fl.StringVarP(&f.objectSize, "object-size", "O", "", "write: bytes of an object, a multiple of --size (default: --size)")
	fl.IntVarP(&f.InFlight, "concurrency", "t", 16, "operations under way at a time")
	fl.Float64Var(&f.seconds, "seconds", 10, "how long")
	fl.Int64Var(&f.Ops, "ops", 0, "stop after so many operations (default: no limit)")
	fl.StringVar(&f.Run, "run-name", "run", "name of the objects that belong together")
	fl.BoolVar(&f.noCleanup, "no-cleanup", false, "write: leave the objects for seq, rand, randwrite and cleanup")
	fl.Uint64Var(&f.Seed, "seed", 0, "of what is chosen by chance (default: a new one)")
	return group("bench", "Benchmarks of a running cluster", cmd)
}

// options completes what the flags say.
func (f *benchFlags) options() (bench.Options, error) {
	o := f.Options
	for _, s := range []struct {
		flag, text string
		to         *int
	}{{"size", f.size, &o.Size}, {"object-size", f.objectSize, &o.ObjectSize}} {
		if s.text == "" {
			continue
		}
		n, err := parseBytes(s.text)
		if err != nil || n < 1 || n > bench.SizeMax {
			return o, usageErrorf("flag --%s %q: want 1 to 64MiB, such as 4KiB", s.flag, s.text)
		}
		*s.to = int(n)
	}
	switch {
	case f.pool == "":
		return o, usageErrorf("flag -p/--pool is missing: which pool? See `cairn pool ls`")
	case o.InFlight < 1 || o.InFlight > bench.InFlightMax:
		return o, usageErrorf("flag --concurrency %d: want 1 to %d", o.InFlight, bench.InFlightMax)
	case f.seconds <= 0 || f.seconds > 1e6:
		return o, usageErrorf("flag --seconds %v: want more than zero", f.seconds)
	}
	o.Time = time.Duration(f.seconds * float64(time.Second))
	if o.Seed == 0 {
		var err error
		if o.Seed, err = newSeed(); err != nil {
			return o, err
		}
	}
	return o, nil
}

func newSeed() (uint64, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, fmt.Errorf("a seed: %w", err)
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

// withBench connects to the cluster and opens the pool.
func withBench(ctx context.Context, e *env, name string, do func(*client.Pool, *daemons) error) error {
	d, err := findDaemons(ctx, e)
	if err != nil {
		return err
	}
	defer d.close()
	c, err := client.Connect(ctx, client.Options{Mons: d.monAddrs(), Entity: "client.bench", Timeout: e.timeout,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil))}) // what goes wrong is in the errors
	if err != nil {
		return err
	}
	p, err := c.Pool(ctx, name)
	if err == nil {
		err = do(p, d)
	}
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	return err
}

func runBench(ctx context.Context, e *env, f *benchFlags) error {
	o, err := f.options()
	if err != nil {
		return err
	}
	_ = slackTimers()       // as daemons do; without, the client's share has the runtime's background in it
	_ = batchThreads()      // as gateways do, whose place the bench takes
	debug.SetGCPercent(400) // as daemons do, too
	return withBench(ctx, e, f.pool, func(p *client.Pool, d *daemons) error {
		o.Daemons = d.usage
		res, err := bench.Run(ctx, p, o)
		if err != nil {
			return err
		}
		if e.json() {
			err = e.printJSON(res)
		} else {
			err = showBench(e.stdout, res)
		}
		if err != nil || o.Kind != bench.Write || f.noCleanup {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted; remove what was written with `cairn bench object cleanup -p %s --run-name %s`: %w", f.pool, o.Run, ctx.Err())
		}
		_, err = bench.Clean(ctx, p, o.Run, o.InFlight)
		return err
	})
}

func runBenchCleanup(ctx context.Context, e *env, f *benchFlags) error {
	o, err := f.options()
	if err != nil {
		return err
	}
	return withBench(ctx, e, f.pool, func(p *client.Pool, _ *daemons) error {
		n, err := bench.Clean(ctx, p, o.Run, o.InFlight)
		if err != nil {
			return err
		}
		return e.done("removed %d objects of run %q", n, o.Run)
	})
}

// showBench prints a result for people.
func showBench(w io.Writer, r *bench.Result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d operations of %s on objects of %s, %d under way, in %.2f s\n",
		r.Kind, r.Ops, sizeText(r.Size), sizeText(r.ObjectSize), r.InFlight, r.Seconds)
	fmt.Fprintf(&b, "rate          %.1f/s  %.2f MiB/s\n", r.OpsPerSec, r.MiBPerSec)
	showLatency(&b, "latency (ms)", r.Latency)
	fmt.Fprintf(&b, "longest time in which no operation ended: %.0f ms\n\n", r.Pause)
	showCost(&b, r.CPU)
	_, err := io.WriteString(w, b.String())
	return err
}

func showLatency(w io.Writer, title string, l bench.Latency) {
	fmt.Fprintf(w, "%s  min %.3f  avg %.3f  p50 %.3f  p90 %.3f  p99 %.3f  p99.9 %.3f  max %.3f\n", title, l.Min, l.Avg, l.P50, l.P90, l.P99, l.P999, l.Max)
}

// showCost prints a table of what every process has used.
func showCost(w io.Writer, c bench.CPU) {
	all := append(append([]bench.Share{c.Client}, c.Daemons...), c.Total)
	wide := 12
	for _, s := range all {
		wide = max(wide, len(s.Name))
	}
	fmt.Fprintf(w, "%-*s  %8s  %8s  %8s  %8s  %9s\n", wide, "CPU", "USER S", "SYSTEM S", "US/OP", "S/GIB", "RSS MIB")
	for _, s := range all {
		switch {
		case s.Lost:
			fmt.Fprintf(w, "%-*s  started anew, new or gone: what it used is not known\n", wide, s.Name)
		case s.Resident == 0:
			fmt.Fprintf(w, "%-*s  %8.2f  %8.2f  %8.1f  %8.2f\n", wide, s.Name, s.User, s.System, s.PerOp, s.PerGiB)
		default:
			fmt.Fprintf(w, "%-*s  %8.2f  %8.2f  %8.1f  %8.2f  %9.1f\n", wide, s.Name, s.User, s.System, s.PerOp, s.PerGiB, float64(s.Resident)/(1<<20))
		}
	}
}

// sizeText prints a size without rounding it.
func sizeText(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}
