package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/tools/torture"

	load "github.com/cairnstore/cairn/client/bench"
)

// Peer is another S3 server on this machine.
type Peer struct {
	Name, URL, Access, Secret string
	PIDs                      []string // NAME=PID of its processes
}

// ParsePeer reads NAME=URL,ACCESS,SECRET[,PID...].
func ParsePeer(s string) (Peer, error) {
	name, rest, ok := strings.Cut(s, "=")
	f := strings.Split(rest, ",")
	if !ok || name == "" || len(f) < 3 {
		return Peer{}, fmt.Errorf("peer %q: want NAME=URL,ACCESS,SECRET[,PID...]", s)
	}
	p := Peer{Name: name, URL: f[0], Access: f[1], Secret: f[2]}
	for _, pid := range f[3:] {
		if _, err := strconv.Atoi(pid); err != nil {
			return Peer{}, fmt.Errorf("peer %q: process %q: want a number", s, pid)
		}
		p.PIDs = append(p.PIDs, "p"+pid+"="+pid)
	}
	return p, nil
}

// cephPeer is the RGW of a Ceph cluster, with all its daemons.
func cephPeer(dir string) (Peer, error) {
	p := Peer{Name: "RGW", Access: "benchaccess", Secret: "benchsecret"}
	env, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil {
		return p, fmt.Errorf("Ceph cluster: %w", err)
	}
	for _, f := range strings.Fields(string(env)) {
		if port, ok := strings.CutPrefix(f, "RGW_PORT="); ok {
			p.URL = "http://127.0.0.1:" + port
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "run", "*.pid"))
	if err != nil {
		return p, err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return p, fmt.Errorf("Ceph cluster: %w", err)
		}
		p.PIDs = append(p.PIDs, strings.TrimSuffix(filepath.Base(f), ".pid")+"="+strings.TrimSpace(string(b)))
	}
	if p.URL == "" || len(p.PIDs) == 0 {
		return p, fmt.Errorf("Ceph cluster %s: want env with RGW_PORT=, and run/*.pid", dir)
	}
	return p, nil
}

const (
	chunkPool = "s3chunks" // of the gateway for rows with chunks
	s3User    = "torture"  // that torture.Start makes
)

// gateways says where our gateways are, by Row.Pool.
type gateways map[string]string

// openGateways starts a gateway for the rows with chunks.
func openGateways(ctx context.Context, c *torture.Cluster, rows []Row) (gateways, error) {
	g := gateways{"copies": c.S3Addrs[0]}
	if slices.ContainsFunc(rows, func(r Row) bool { return r.Pool == "chunks" }) {
		if _, err := c.API.PoolCreate(ctx, api.PoolCreate{Name: chunkPool, PGNum: 32, Chunks: "2:1:xor", Application: "s3"}); err != nil {
			return nil, err
		}
		addrs, err := torture.FreeAddrs(1)
		if err != nil {
			return nil, err
		}
		p := c.Proc("s3chunks", "gateway", "s3", "--name", "chunks", "--mons", strings.Join(c.Addrs, ","), "--listen", addrs[0], "--pool", chunkPool)
		if err := p.Start(); err != nil {
			return nil, err
		}
		if err := c.WaitPort(ctx, p, addrs[0]); err != nil {
			return nil, err
		}
		g["chunks"] = addrs[0]
	}
	return g, c.WaitClean(ctx)
}

// runS3 measures rows of S3 and prints their table.
func runS3(ctx context.Context, o *Options, c *torture.Cluster, rows []Row) error {
	if o.Ceph != "" {
		p, err := cephPeer(o.Ceph)
		if err != nil {
			return err
		}
		o.Peers = append(o.Peers, p)
	}
	if o.Keys > 0 {
		return runKeys(ctx, o, c)
	}
	gates, err := openGateways(ctx, c, rows)
	if err != nil {
		return err
	}
	var samples []Sample
	for rep := 1; rep <= o.Reps; rep++ {
		for i, row := range rows {
			for n := -1; n < len(o.Peers); n++ {
				server := ownServer(c, gates[row.Pool])
				name := "cairn"
				if n >= 0 {
					name, server = o.Peers[n].Name, o.Peers[n].flags()
				}
				s, err := measureS3(ctx, o, c, row, rep, name, server)
				if err != nil {
					return fmt.Errorf("%s: %s: %w\n%s", row.Name, name, err, c.Tails(10))
				}
				fmt.Fprintf(o.Out, "%d  %-8s  %-40s %8.0f/s %8.1f MiB/s  avg %.3f p50 %.3f p99 %.3f max %.1f ms  CPU without client %.1f us/op %.2f s/GiB\n",
					rep, s.System, s.Row, s.Rate, s.MiB, s.Avg, s.P50, s.P99, s.Max, s.CPU, s.PerGiB)
				if o.JSON != nil {
					if err := json.NewEncoder(o.JSON).Encode(s); err != nil {
						return err
					}
				}
				samples = append(samples, s)
				if !over(rows, i) {
					continue
				}
				if _, err := cairn(ctx, c, append([]string{"s3", "bench", "cleanup", "--bucket", benchBucket, "--run-name", runName(row, rep)}, server...)...); err != nil {
					return err
				}
				if n < 0 && row.Pool == "chunks" {
					if _, err := cairn(ctx, c, "gc", "run", "--pool", chunkPool); err != nil {
						return err
					}
				}
			}
		}
	}
	return s3Table(o.Out, rows, o.Peers, samples)
}

const benchBucket = "cairn-bench"

// ownServer are the flags that make `cairn s3 bench` go to one of our gateways, whose cluster is asked for its CPU.
func ownServer(c *torture.Cluster, addr string) []string {
	return []string{"--endpoint", "http://" + addr, "--user", s3User, "--cluster-cpu"}
}

func (p *Peer) flags() []string {
	f := []string{"--endpoint", p.URL, "--access-key", p.Access, "--secret-key", p.Secret}
	if len(p.PIDs) > 0 {
		f = append(f, "--pid", strings.Join(p.PIDs, ","))
	}
	return f
}

// measureS3 runs one row once on a server. CPU is that of all its processes, without the client's.
func measureS3(ctx context.Context, o *Options, c *torture.Cluster, row Row, rep int, system string, server []string) (Sample, error) {
	args := append([]string{"s3", "bench", row.Kind, "-o", "json", "--bucket", benchBucket, "-t", strconv.Itoa(row.InFlight),
		"--seconds", fmt.Sprint(o.Seconds), "--run-name", runName(row, rep), "--payload", o.payload()}, server...)
	if row.writes() {
		args = append(args, "--no-cleanup", "--size", row.Size, "--ops", strconv.FormatInt(row.Ops, 10))
	}
	out, err := cairn(ctx, c, args...)
	if err != nil {
		return Sample{}, err
	}
	var r load.S3Result
	if err := json.Unmarshal(out, &r); err != nil {
		return Sample{}, fmt.Errorf("what cairn s3 bench printed: %w", err)
	}
	s := Sample{
		Row: row.Name, System: system, Rep: rep, Ops: r.Ops, Rate: r.OpsPerSec, MiB: r.MiBPerSec,
		Avg: r.Latency.Avg, P50: r.Latency.P50, P99: r.Latency.P99, Max: r.Latency.Max, Client: r.CPU.Client.PerOp,
	}
	for _, d := range r.CPU.Daemons {
		if d.Lost {
			return s, fmt.Errorf("%s was started anew or does not answer", d.Name)
		}
		s.CPU, s.PerGiB = s.CPU+d.PerOp, s.PerGiB+d.PerGiB
		if strings.HasPrefix(d.Name, "s3 ") || strings.HasPrefix(d.Name, "client.rgw") {
			s.Gate, s.GateGB = s.Gate+d.PerOp, s.GateGB+d.PerGiB
		} else {
			s.RSS = max(s.RSS, d.Resident)
		}
	}
	return s, nil
}

func (o *Options) payload() string {
	if o.Payload == "" {
		return string(load.PayloadSigned)
	}
	return o.Payload
}

// s3Table prints the medians as Markdown.
func s3Table(w io.Writer, rows []Row, peers []Peer, samples []Sample) error {
	var b strings.Builder
	b.WriteString("\n| row | rate | p50 | p99 | max | CPU of gateway and OSDs | of it gateway |")
	for _, p := range peers {
		fmt.Fprintf(&b, " %s: rate | CPU | rate, cairn : %s | CPU, %s : cairn |", p.Name, p.Name, p.Name)
	}
	b.WriteString("\n|" + strings.Repeat("---|", 7+4*len(peers)) + "\n")
	for _, row := range rows {
		of := func(system string, get func(Sample) float64) float64 { return median(samples, row.Name, system, get) }
		rate := func(system string) (string, float64) {
			v := of(system, func(s Sample) float64 { return s.Rate })
			if row.PerGiB {
				return fmt.Sprintf("%.0f MiB/s", of(system, func(s Sample) float64 { return s.MiB })), v
			}
			return fmt.Sprintf("%.0f/s", v), v
		}
		cpu := func(system string) (string, float64) {
			if row.PerGiB {
				v := of(system, func(s Sample) float64 { return s.PerGiB })
				return fmt.Sprintf("%.2f s/GiB", v), v
			}
			v := of(system, func(s Sample) float64 { return s.CPU })
			return fmt.Sprintf("%.0f us", v), v
		}
		ours, our := cpu("cairn")
		speed, fast := rate("cairn")
		fmt.Fprintf(&b, "| %s | %s | %.2f ms | %.2f ms | %.0f ms | %s | %.0f %% |", row.Name, speed,
			of("cairn", func(s Sample) float64 { return s.P50 }), of("cairn", func(s Sample) float64 { return s.P99 }),
			of("cairn", func(s Sample) float64 { return s.Max }), ours, 100*of("cairn", func(s Sample) float64 { return s.Gate / max(s.CPU, 1e-9) }))
		for _, p := range peers {
			theirs, their := cpu(p.Name)
			speed, slow := rate(p.Name)
			fmt.Fprintf(&b, " %s | %s | %.1f | %.1f |", speed, theirs, fast/max(slow, 1e-9), their/max(our, 1e-9))
		}
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
