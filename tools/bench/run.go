package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/tools/torture"

	load "github.com/cairnstore/cairn/client/bench"
)

// Options configures Run. Zero values of the optional fields mean the defaults.
type Options struct {
	Cluster torture.Options // Binary and Dir are required
	Rows    *regexp.Regexp  // which rows; default all
	Seconds float64         // of each measurement; default 10
	Reps    int             // measurements of each row; default 3
	PGs     uint32          // of the pool; default 32
	Chunks  string          // how the pool keeps chunks, such as 4:2:rs; "": three copies of objects, no chunks
	Chunk   uint32          // bytes of a chunk; 0: the pool's default
	Dedup   string          // who shares chunks; "": the pool's default
	Size    uint32          // copies of what is not in chunks; 0: the pool's default with chunks, else 3
	S3      bool            // measure S3Rows, on gateways
	Payload string          // how S3 bodies are vouched for, as `cairn s3 bench --payload`; default signed
	Keys    int64           // instead: so many keys in one bucket; 0: not
	Spread  bool            // Keys come in no order
	Peers   []Peer          // other S3 servers to alternate with
	Ceph    string          // directory of a running Ceph cluster to alternate with; "": none
	Slow    float64         // each row that writes is measured again with the last OSD's device so many times as slow; 0: none is
	Profile string          // directory for a CPU profile of every daemon in every row; "": none
	Out     io.Writer       // progress and table; required
	JSON    io.Writer       // every measurement, one line each; nil: none
}

const (
	poolName = "bench"
	copies   = 3 // of the pools
)

// Sample is one measurement of a row.
type Sample struct {
	Row    string  `json:"row"`
	System string  `json:"system"` // cairn or ceph
	Rep    int     `json:"rep"`
	Ops    int64   `json:"ops"`
	Rate   float64 `json:"ops_per_s"`
	MiB    float64 `json:"mib_per_s"`
	Avg    float64 `json:"avg_ms"`
	P50    float64 `json:"p50_ms"` // 0: not known
	P99    float64 `json:"p99_ms"`
	Max    float64 `json:"max_ms"`
	Client float64 `json:"client_us_per_op"`
	CPU    float64 `json:"us_per_op"` // client and all daemons
	PerGiB float64 `json:"s_per_gib"` // the same
	RSS    int64   `json:"largest_osd_bytes"`
	Slowed bool    `json:"slowed,omitempty"` // one OSD's device was slow
	Gate   float64 `json:"gateway_us_per_op,omitempty"`
	GateGB float64 `json:"gateway_s_per_gib,omitempty"`
	Share  float64 `json:"slow_share,omitempty"` // of its fair share of shards, what that OSD got
}

// Run starts a cluster, measures all rows and prints the table of medians.
func Run(ctx context.Context, o Options) (err error) {
	if o.Rows == nil {
		o.Rows = regexp.MustCompile("")
	}
	if o.Seconds <= 0 {
		o.Seconds = 10
	}
	if o.Reps <= 0 {
		o.Reps = 3
	}
	if o.PGs == 0 {
		o.PGs = 32
	}
	all := Rows
	if o.S3 {
		all = S3Rows
	}
	rows := choose(all, o.Rows)
	if len(rows) == 0 {
		return fmt.Errorf("no row matches %q", o.Rows)
	}
	if err := room(&o, rows); err != nil {
		return err
	}
	var ceph *cephCluster
	if o.Ceph != "" && !o.S3 {
		if ceph, err = openCeph(ctx, o.Ceph, o.PGs, o.Chunks); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, ceph.close(context.WithoutCancel(ctx))) }()
	}
	if o.Profile != "" || o.Slow > 0 {
		o.Cluster.OSDArgs = append(o.Cluster.OSDArgs, "--debug-listen", "127.0.0.1:0")
	}
	if slices.ContainsFunc(rows, func(r Row) bool { return r.PerGiB }) {
		raw, err := rawWrite(ctx, filepath.Dir(o.Cluster.Dir), rawTime)
		if err != nil {
			return err
		}
		fmt.Fprintf(o.Out, "the disk takes %.0f MiB/s of 4 MiB O_DIRECT writes, 4 in flight\n", raw)
	}
	o.Cluster.Gateway = o.S3
	c, err := torture.Start(ctx, o.Cluster)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if o.S3 {
		return runS3(ctx, &o, c, rows)
	}
	if _, err := c.API.PoolCreate(ctx, api.PoolCreate{
		Name: poolName, Size: poolSize(&o), PGNum: o.PGs, Chunks: o.Chunks, ChunkSize: o.Chunk, Dedup: o.Dedup,
	}); err != nil {
		return err
	}
	if err := c.WaitClean(ctx); err != nil {
		return err
	}
	var samples []Sample
	for rep := 1; rep <= o.Reps; rep++ {
		for i, row := range rows {
			s, err := measure(ctx, &o, c, row, rep)
			if err != nil {
				return fmt.Errorf("%s: %w\n%s", row.Name, err, c.Tails(10))
			}
			took := []Sample{s}
			if ceph != nil && !row.NoCeph {
				if s, err = ceph.measure(ctx, row, rep, o.Seconds); err != nil {
					return fmt.Errorf("%s: Ceph: %w", row.Name, err)
				}
				took = append(took, s)
			}
			if o.Slow > 0 && row.Kind == "write" {
				if s, err = measureSlow(ctx, &o, c, row, rep); err != nil {
					return fmt.Errorf("%s, one OSD is slow: %w\n%s", row.Name, err, c.Tails(10))
				}
				took = append(took, s)
			}
			for _, s := range took {
				fmt.Fprintf(o.Out, "%d  %-5s  %-54s %8.0f/s %8.1f MiB/s  avg %.3f p50 %.3f p99 %.3f max %.1f ms  CPU %.1f us/op %.2f s/GiB\n",
					rep, s.System, s.Row, s.Rate, s.MiB, s.Avg, s.P50, s.P99, s.Max, s.CPU, s.PerGiB)
				if o.JSON != nil {
					if err := json.NewEncoder(o.JSON).Encode(s); err != nil {
						return err
					}
				}
			}
			samples = append(samples, took...)
			if !over(rows, i) {
				continue
			}
			if err := clean(ctx, &o, c, row, rep); err != nil {
				return err
			}
			if ceph != nil {
				if err := ceph.clean(ctx, row, rep); err != nil {
					return err
				}
			}
		}
	}
	if err := table(o.Out, rows, samples); err != nil {
		return err
	}
	return slowTable(o.Out, rows, samples, o.Slow)
}

// poolSize leaves it to the monitors in how many copies a pool with chunks keeps the rest.
func poolSize(o *Options) uint32 {
	if o.Chunks != "" || o.Size != 0 {
		return o.Size
	}
	return copies
}

// cairn runs one command and returns what it printed.
func cairn(ctx context.Context, c *torture.Cluster, args ...string) ([]byte, error) {
	r, err := c.Cairn(ctx, args...)
	if err != nil {
		return nil, err
	}
	if r.Code != 0 {
		return nil, fmt.Errorf("cairn %s: exit code %d: %s", strings.Join(args, " "), r.Code, r.Stderr)
	}
	return []byte(r.Stdout), nil
}

func runName(row Row, rep int) string { return fmt.Sprintf("%s-%d", row.Of, rep) }

// measure runs one row once on our cluster.
func measure(ctx context.Context, o *Options, c *torture.Cluster, row Row, rep int) (Sample, error) {
	args := []string{"bench", "object", row.Kind, "-p", poolName, "-o", "json", "-t", strconv.Itoa(row.InFlight),
		"--seconds", fmt.Sprint(o.Seconds), "--run-name", runName(row, rep)}
	if row.Kind == "write" {
		args = append(args, "--no-cleanup")
	}
	if row.Size != "" {
		args = append(args, "--size", row.Size)
	}
	if row.Object != "" {
		args = append(args, "--object-size", row.Object)
	}
	if row.Ops > 0 {
		args = append(args, "--ops", strconv.FormatInt(row.Ops, 10))
	}
	wait := func() error { return nil }
	if o.Profile != "" {
		wait = profile(ctx, c, o.Profile, fmt.Sprintf("%s-%d-%s-%s", row.Of, row.InFlight, row.Kind, row.Size), o.Seconds)
	}
	out, err := cairn(ctx, c, args...)
	if err = errors.Join(err, wait()); err != nil {
		return Sample{}, err
	}
	var r load.Result
	if err := json.Unmarshal(out, &r); err != nil {
		return Sample{}, fmt.Errorf("what cairn bench printed: %w", err)
	}
	s := Sample{
		Row: row.Name, System: "cairn", Rep: rep, Ops: r.Ops, Rate: r.OpsPerSec, MiB: r.MiBPerSec,
		Avg: r.Latency.Avg, P50: r.Latency.P50, P99: r.Latency.P99, Max: r.Latency.Max,
		Client: r.CPU.Client.PerOp, CPU: r.CPU.Total.PerOp, PerGiB: r.CPU.Total.PerGiB,
	}
	for _, d := range r.CPU.Daemons {
		if d.Lost {
			return s, fmt.Errorf("%s was started anew or does not answer", d.Name)
		}
		s.RSS = max(s.RSS, d.Resident)
	}
	return s, nil
}

// clean removes a run's objects, and waits for what OSDs do later of that: rows that come after are not to pay for it.
func clean(ctx context.Context, o *Options, c *torture.Cluster, row Row, rep int) error {
	_, err := cairn(ctx, c, "bench", "object", "cleanup", "-p", poolName, "--run-name", runName(row, rep))
	if err == nil && o.Chunks != "" {
		_, err = cairn(ctx, c, "gc", "run", "--pool", poolName)
	}
	return err
}

// room refuses rows for which the disk may have too little space.
func room(o *Options, rows []Row) error {
	clusters := 1
	if o.Ceph != "" {
		clusters = 2
	}
	want, err := needs(rows, clusters)
	if err != nil {
		return err
	}
	dir := filepath.Dir(o.Cluster.Dir)
	free, err := freeBytes(dir)
	if err != nil {
		return err
	}
	if free < want {
		return fmt.Errorf("the file system of %s has %.1f GB left, and the rows may write %.1f GB: choose fewer (--rows) or another disk (--dir)", dir, float64(free)/1e9, float64(want)/1e9)
	}
	return nil
}

// profile takes a CPU profile of every OSD for most of a measurement.
func profile(ctx context.Context, c *torture.Cluster, dir, name string, seconds float64) (wait func() error) {
	var wg sync.WaitGroup
	errs := make([]error, len(c.OSDs))
	for i, p := range c.OSDs {
		wg.Go(func() { // until the profile is there
			errs[i] = fetchProfile(ctx, p, filepath.Join(dir, fmt.Sprintf("%s-osd%d.pprof", name, i)), max(1, int(seconds)-1))
		})
	}
	return func() error {
		wg.Wait()
		return errors.Join(errs...)
	}
}

// debugURL is where a daemon serves what --debug-listen brings.
func debugURL(p *torture.Proc) (string, error) {
	log, err := os.ReadFile(p.Log)
	if err != nil {
		return "", err
	}
	_, rest, ok := strings.Cut(string(log), `msg="profiles are served" url=`)
	url, _, _ := strings.Cut(rest, "\n")
	if !ok {
		return "", fmt.Errorf("%s does not say where it serves profiles", p.Name)
	}
	return url, nil
}

func fetchProfile(ctx context.Context, p *torture.Proc, file string, seconds int) error {
	url, err := debugURL(p)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second+30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%sprofile?seconds=%d", url, seconds), nil)
	if err != nil {
		return err
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("profile of %s: %w", p.Name, err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", r.Status, b)
	}
	if err != nil {
		return fmt.Errorf("profile of %s: %w", p.Name, err)
	}
	return os.WriteFile(file, b, 0o644)
}
