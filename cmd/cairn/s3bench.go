package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/client/bench"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/process"
)

// s3Flags say which S3 server, and who asks.
type s3Flags struct {
	endpoints []string
	access    string
	secret    string
	user      string
	region    string
	ca        string
	insecure  bool
}

func (f *s3Flags) register(cmd *cobra.Command) {
	fl := cmd.PersistentFlags()
	fl.StringSliceVar(&f.endpoints, "endpoint", nil, "S3 servers, http[s]://HOST:PORT[,...] (default: the cluster's gateways)")
	fl.StringVar(&f.access, "access-key", "", "access key (default: AWS_ACCESS_KEY_ID, or the keys of --user)")
	fl.StringVar(&f.secret, "secret-key", "", "secret key; others of this machine see flags: better AWS_SECRET_ACCESS_KEY, or --user")
	fl.StringVar(&f.user, "user", "", "user of the cluster whose keys to use")
	fl.StringVar(&f.region, "region", "us-east-1", "region to sign for")
	fl.StringVar(&f.ca, "ca-cert", "", "file with the certificates to trust (default: the system's)")
	fl.BoolVar(&f.insecure, "insecure", false, "do not verify the server's certificate")
}

// server completes what the flags say from the environment and the cluster. found says that the endpoints are the cluster's own.
func (f *s3Flags) server(ctx context.Context, e *env) (s bench.S3Server, found bool, err error) {
	s = bench.S3Server{Endpoints: f.endpoints, AccessKey: f.access, SecretKey: f.secret, Region: f.region}
	if s.AccessKey == "" && f.user == "" {
		s.AccessKey, s.SecretKey = e.getenv("AWS_ACCESS_KEY_ID"), e.getenv("AWS_SECRET_ACCESS_KEY")
	} else if s.SecretKey == "" && f.user == "" {
		s.SecretKey = e.getenv("AWS_SECRET_ACCESS_KEY")
	}
	if s.TLS, err = trust(e, f.ca); err != nil {
		return s, false, err
	}
	s.TLS.InsecureSkipVerify = f.insecure
	found = len(s.Endpoints) == 0
	if found || f.user != "" {
		if err := f.ask(ctx, e, &s); err != nil {
			return s, found, err
		}
	}
	if s.AccessKey == "" || s.SecretKey == "" {
		return s, found, usageErrorf("whose keys? Give --user, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; see `cairn user ls`")
	}
	for i, a := range s.Endpoints {
		if !strings.Contains(a, "://") {
			s.Endpoints[i] = "http://" + a
		}
	}
	return s, found, nil
}

// ask finds gateways and keys through the cluster.
func (f *s3Flags) ask(ctx context.Context, e *env, s *bench.S3Server) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	defer c.Close()
	if len(s.Endpoints) == 0 {
		m, err := c.Map(ctx, false)
		if err != nil {
			return err
		}
		for _, g := range m.Services {
			if g.Kind == "s3" {
				s.Endpoints = append(s.Endpoints, g.Addr)
			}
		}
		if len(s.Endpoints) == 0 {
			return errors.New("the cluster has no S3 gateway; start one with `cairn gateway s3`, or give --endpoint")
		}
	}
	if f.user == "" {
		return nil
	}
	u, err := c.User(ctx, f.user, true)
	if err != nil {
		return err
	}
	for _, k := range u.Keys {
		if f.access == "" || f.access == k.AccessKey {
			s.AccessKey, s.SecretKey = k.AccessKey, k.SecretKey
			return nil
		}
	}
	return fmt.Errorf("user %q has no such key: %w; see `cairn user get %s`", f.user, api.ErrNotFound, f.user)
}

// s3BenchFlags are those of `cairn s3 bench`.
type s3BenchFlags struct {
	s3Flags
	bench.S3Options
	sizes     []string
	part, mix string
	payload   string
	pids      []string
	seconds   float64
	http2     bool
	noCleanup bool
	progress  bool
	ourCPU    bool
}

func newS3Command(e *env) *cobra.Command {
	return group("s3", "Work with S3 servers", newS3BenchCommand(e), newPresignCommand(e), newTopicCommand(e))
}

func newS3BenchCommand(e *env) *cobra.Command {
	f := &s3BenchFlags{}
	leaf := func(kind bench.Kind, short string) *cobra.Command {
		return e.leaf(string(kind), short, args(), func(ctx context.Context, _ []string) error {
			f.Kind = kind
			return runS3Bench(ctx, e, f)
		})
	}
	cmd := group("bench", "Load on an S3 server, its latencies, and what it costs in CPU",
		leaf(bench.Put, "Put objects, one after the other"),
		leaf(bench.Get, "Read a run's objects, chosen by chance"),
		leaf(bench.ListS3, "List a run's objects, a page an operation"),
		leaf(bench.Delete, "Delete a run's objects, one after the other"),
		leaf(bench.Mixed, "Read, put, delete and stat in turns, by chance"),
		e.leaf("cleanup", "Delete a run's objects, and the bucket if it is empty then", args(), func(ctx context.Context, _ []string) error { return runS3BenchCleanup(ctx, e, f) }),
	)
	cmd.Long = `Put load on an S3 server and measure it: rate, latencies and, of the cluster's own gateways, the time
on the CPU of this process and of every daemon, for each operation and each GiB.

    cairn s3 bench put --user alice --size 4KiB --seconds 10 --no-cleanup
    cairn s3 bench get --user alice
    cairn s3 bench cleanup --user alice
    cairn s3 bench put --endpoint http://10.0.0.9:9000 --pid server=4711   # another server, AWS_... in the environment`
	fl := cmd.PersistentFlags()
	f.register(cmd)
	fl.StringVar(&f.Bucket, "bucket", "cairn-bench", "bucket; put makes it")
	fl.StringSliceVarP(&f.sizes, "size", "b", []string{"4MiB"}, "put, mixed: bytes of an object, such as 4KiB; of several sizes each object has one")
	fl.StringVar(&f.part, "part-size", "", "put larger objects in parts of so many bytes, at least 5MiB (default: in one)")
	fl.IntVarP(&f.InFlight, "concurrency", "t", 16, "operations under way at a time")
	fl.Float64Var(&f.seconds, "seconds", 10, "how long")
	fl.Int64Var(&f.Ops, "ops", 0, "stop after so many operations (default: no limit)")
	fl.StringVar(&f.Run, "run-name", "run", "name of the objects that belong together")
	fl.BoolVar(&f.Spread, "spread", false, "put: keys that follow each other lie anywhere in the bucket")
	fl.BoolVar(&f.ourCPU, "cluster-cpu", false, "measure the cluster's daemons also with --endpoint, which is a gateway of it")
	fl.IntVar(&f.Page, "page", 1000, "list: keys in a page")
	fl.StringVar(&f.mix, "mix", "", "mixed: parts of it, such as get=45,stat=30,put=15,delete=10,list=0")
	fl.StringVar(&f.payload, "payload", "signed", "how bodies are vouched for: signed (SHA-256), unsigned, or trailer (chunks, CRC32)")
	fl.BoolVar(&f.http2, "http2", false, "over TLS, speak HTTP/2 if the server does")
	fl.StringSliceVar(&f.pids, "pid", nil, "processes of this machine that are the server, NAME=PID[,...], whose CPU is measured")
	fl.BoolVar(&f.noCleanup, "no-cleanup", false, "put: leave the objects for the others, and cleanup")
	fl.BoolVar(&f.progress, "progress", false, "say every 5 s how far it is, on standard error")
	fl.Uint64Var(&f.Seed, "seed", 0, "of what is chosen by chance (default: a new one)")
	return cmd
}

// options completes what the flags say.
func (f *s3BenchFlags) options(e *env) (bench.S3Options, error) {
	o := f.S3Options
	for _, s := range f.sizes {
		n, err := parseBytes(s)
		if err != nil || n > bench.S3SizeMax {
			return o, usageErrorf("flag --size %q: want 0 to 5GiB, such as 4KiB", s)
		}
		o.Sizes = append(o.Sizes, n)
	}
	if f.part != "" {
		n, err := parseBytes(f.part)
		if err != nil || n < 5<<20 || n > bench.S3SizeMax {
			return o, usageErrorf("flag --part-size %q: want 5MiB to 5GiB", f.part)
		}
		o.PartSize = n
	}
	if f.mix != "" {
		o.Mix = map[string]int{}
		for _, part := range strings.Split(f.mix, ",") {
			name, count, ok := strings.Cut(part, "=")
			n, err := strconv.Atoi(count)
			if !ok || err != nil || n < 0 {
				return o, usageErrorf("flag --mix: %q: want OPERATION=NUMBER, such as get=45", part)
			}
			o.Mix[name] = n
		}
	}
	switch {
	case o.InFlight < 1 || o.InFlight > bench.InFlightMax:
		return o, usageErrorf("flag --concurrency %d: want 1 to %d", o.InFlight, bench.InFlightMax)
	case f.seconds <= 0 || f.seconds > 1e6:
		return o, usageErrorf("flag --seconds %v: want more than zero", f.seconds)
	}
	o.Time = time.Duration(f.seconds * float64(time.Second))
	var err error
	if o.Seed == 0 {
		o.Seed, err = newSeed()
	}
	if f.progress {
		o.Progress = func(ops int64, longest time.Duration) {
			fmt.Fprintf(e.stderr, "%d operations, the longest took %s\n", ops, longest.Round(time.Millisecond))
		}
	}
	return o, err
}

// processes looks at processes of this machine.
func processes(pids []string) (func() ([]bench.Daemon, error), error) {
	type proc struct {
		name string
		pid  int
	}
	var all []proc
	for _, p := range pids {
		name, number, ok := strings.Cut(p, "=")
		n, err := strconv.Atoi(number)
		if !ok || name == "" || err != nil || n < 1 {
			return nil, usageErrorf("flag --pid %q: want NAME=PID", p)
		}
		all = append(all, proc{name, n})
	}
	return func() (ds []bench.Daemon, err error) {
		for _, p := range all {
			u, err := process.Of(p.pid)
			if err != nil {
				return nil, err
			}
			ds = append(ds, bench.Daemon{Name: p.name, Usage: u})
		}
		return ds, nil
	}, nil
}

func runS3Bench(ctx context.Context, e *env, f *s3BenchFlags) error {
	o, err := f.options(e)
	if err != nil {
		return err
	}
	locals, err := processes(f.pids)
	if err != nil {
		return err
	}
	server, own, err := f.server(ctx, e)
	if err != nil {
		return err
	}
	server.Payload, server.HTTP2 = bench.Payload(f.payload), f.http2
	_ = slackTimers() // as daemons do; without, this process' share has the runtime's background in it
	_ = batchThreads()
	debug.SetGCPercent(400)
	o.Server = server
	o.Daemons = func(context.Context) ([]bench.Daemon, error) { return locals() }
	if own || f.ourCPU {
		d, err := findDaemons(ctx, e)
		if err != nil {
			return err
		}
		defer d.close()
		o.Daemons = func(ctx context.Context) ([]bench.Daemon, error) {
			ds, err := d.usage(ctx)
			if err != nil {
				return nil, err
			}
			for _, at := range server.Endpoints {
				one := server
				one.Endpoints, one.Payload = []string{at}, ""
				if u, err := bench.S3Usage(ctx, one); err == nil { // who does not answer is missing
					ds = append(ds, bench.Daemon{Name: "s3 " + strings.TrimPrefix(strings.TrimPrefix(at, "http://"), "https://"), Usage: u})
				}
			}
			more, err := locals()
			return append(ds, more...), err
		}
	}
	res, err := bench.RunS3(ctx, o)
	if err != nil {
		return err
	}
	if e.json() {
		err = e.printJSON(res)
	} else {
		err = showS3Bench(e.stdout, res)
	}
	if err != nil || o.Kind != bench.Put || f.noCleanup {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted; remove what was put with `cairn s3 bench cleanup --bucket %s --run-name %s`: %w", o.Bucket, o.Run, ctx.Err())
	}
	_, err = bench.CleanS3(ctx, server, o.Bucket, o.Run, min(o.InFlight, 8))
	return err
}

func runS3BenchCleanup(ctx context.Context, e *env, f *s3BenchFlags) error {
	server, _, err := f.server(ctx, e)
	if err != nil {
		return err
	}
	n, err := bench.CleanS3(ctx, server, f.Bucket, f.Run, max(1, min(f.InFlight, 8)))
	if err != nil {
		return err
	}
	return e.done("removed %d objects of run %q", n, f.Run)
}

// showS3Bench prints a result for people.
func showS3Bench(w io.Writer, r *bench.S3Result) error {
	var b strings.Builder
	var sizes []string
	for _, n := range r.Sizes {
		sizes = append(sizes, sizeText(int(n)))
	}
	fmt.Fprintf(&b, "%s: %d operations on objects of %s, %d under way, in %.2f s\n", r.Kind, r.Ops, strings.Join(sizes, ", "), r.InFlight, r.Seconds)
	fmt.Fprintf(&b, "rate          %.1f/s  %.2f MiB/s", r.OpsPerSec, r.MiBPerSec)
	if r.Keys > 0 {
		fmt.Fprintf(&b, "  %.0f keys/s", float64(r.Keys)/r.Seconds)
	}
	if r.Retries > 0 {
		fmt.Fprintf(&b, "  (%d tried again: the server was too busy)", r.Retries)
	}
	b.WriteByte('\n')
	showLatency(&b, "latency (ms)", r.Latency)
	for _, p := range r.PerOp {
		showLatency(&b, fmt.Sprintf("%-6s %7.0f/s", p.Op, p.OpsPerSec), p.Latency)
	}
	fmt.Fprintf(&b, "longest time in which no operation ended: %.0f ms\n\n", r.Pause)
	showCost(&b, r.CPU)
	_, err := io.WriteString(w, b.String())
	return err
}
