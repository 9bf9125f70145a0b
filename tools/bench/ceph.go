package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cairnstore/cairn/internal/process"
)

// cephCluster is a Ceph cluster that somebody has started on this machine: its
// directory has ceph.conf, and the process ids of its daemons in run/*.pid.
type cephCluster struct {
	dir  string
	pids map[string]int // by name, such as osd.0
}

// cephPool is the pool that openCeph makes and close removes.
const cephPool = "cairn-bench"

// cephPoolCommands makes a pool of three copies, or one that keeps everything as chunks says.
func cephPoolCommands(pgs uint32, chunks string) [][]string {
	n := strconv.Itoa(int(pgs))
	size := strconv.Itoa(copies)
	f := strings.Split(chunks, ":") // as the monitors want it, who refuse what is wrong
	if len(f) == 2 {
		size = f[1]
	}
	steps := [][]string{{"osd", "pool", "create", cephPool, n, n, "replicated"}, {"osd", "pool", "set", cephPool, "size", size}}
	if len(f) == 3 {
		steps = [][]string{
			{"osd", "erasure-code-profile", "set", cephPool, "k=" + f[0], "m=" + f[1], "crush-failure-domain=osd", "--force"},
			{"osd", "pool", "create", cephPool, n, n, "erasure", cephPool},
		}
	}
	return append(steps, []string{"osd", "pool", "application", "enable", cephPool, "bench"})
}

// openCeph finds the daemons and makes a pool.
func openCeph(ctx context.Context, dir string, pgs uint32, chunks string) (*cephCluster, error) {
	c := &cephCluster{dir: dir, pids: map[string]int{}}
	if _, err := os.Stat(filepath.Join(dir, "ceph.conf")); err != nil {
		return nil, fmt.Errorf("Ceph cluster: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "run", "*.pid"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("Ceph cluster: %w", err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			return nil, fmt.Errorf("Ceph cluster: %s: %w", f, err)
		}
		c.pids[strings.TrimSuffix(filepath.Base(f), ".pid")] = pid
	}
	if len(c.pids) == 0 {
		return nil, fmt.Errorf("Ceph cluster: %s has no run/*.pid", dir)
	}
	for _, args := range cephPoolCommands(pgs, chunks) {
		if _, _, err := c.run(ctx, "ceph", args...); err != nil {
			return nil, err
		}
	}
	return c, c.settle(ctx)
}

// run runs one of Ceph's programs and returns its output and its own time on the CPU.
func (c *cephCluster) run(ctx context.Context, program string, args ...string) ([]byte, time.Duration, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "CEPH_CONF="+filepath.Join(c.dir, "ceph.conf"))
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, 0, fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, errs.Bytes())
	}
	return out, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// settle waits until all PGs are active and clean.
func (c *cephCluster) settle(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for range 120 {
		out, _, err := c.run(ctx, "ceph", "pg", "stat")
		if err != nil {
			return err
		}
		// "33 pgs: 33 active+clean; ..."
		_, rest, ok := strings.Cut(string(out), "pgs: ")
		states, _, _ := strings.Cut(rest, ";")
		if ok && strings.HasSuffix(states, " active+clean") && !strings.Contains(states, ",") {
			return nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errors.New("Ceph cluster: the PGs do not become active+clean")
}

// used sums what the daemons have used.
func (c *cephCluster) used() (sum time.Duration, rss int64, err error) {
	for name, pid := range c.pids {
		u, err := process.Of(pid)
		if err != nil {
			return 0, 0, fmt.Errorf("Ceph's %s: %w", name, err)
		}
		sum += u.CPU()
		if strings.HasPrefix(name, "osd.") {
			rss = max(rss, u.Resident)
		}
	}
	return sum, rss, nil
}

// measure runs one row once.
func (c *cephCluster) measure(ctx context.Context, row Row, rep int, seconds float64) (Sample, error) {
	args := []string{"-p", cephPool, "bench", strconv.Itoa(max(1, int(seconds))), row.Kind, "-t", strconv.Itoa(row.InFlight), "--run-name", runName(row, rep)}
	if row.Kind == "write" {
		args = append(args, "-b", row.Size, "--no-cleanup", "--max-objects", strconv.FormatInt(row.Ops, 10))
	}
	before, _, err := c.used()
	if err != nil {
		return Sample{}, err
	}
	out, client, err := c.run(ctx, "rados", args...)
	if err != nil {
		return Sample{}, err
	}
	after, rss, err := c.used()
	if err != nil {
		return Sample{}, err
	}
	s, size, err := parseRados(out)
	if err != nil {
		return s, err
	}
	s.Row, s.System, s.Rep, s.RSS = row.Name, "ceph", rep, rss
	cpu := after - before + client
	s.Client = float64(client.Microseconds()) / float64(s.Ops)
	s.CPU = float64(cpu.Microseconds()) / float64(s.Ops)
	s.PerGiB = cpu.Seconds() / (float64(s.Ops) * size / (1 << 30))
	return s, nil
}

// parseRados reads what rados bench prints at its end. size is that of an operation.
func parseRados(out []byte) (s Sample, size float64, err error) {
	values := map[string]float64{}
	for sc := bufio.NewScanner(bytes.NewReader(out)); sc.Scan(); {
		key, value, ok := strings.Cut(sc.Text(), ":")
		if v, err := strconv.ParseFloat(strings.TrimSpace(value), 64); ok && err == nil {
			values[strings.TrimSpace(key)] = v
		}
	}
	took := values["Total time run"]
	s.Ops = int64(values["Total writes made"] + values["Total reads made"])
	for _, key := range []string{"Write size", "Read size", "Object size"} {
		if size == 0 {
			size = values[key]
		}
	}
	if took <= 0 || s.Ops <= 0 || size <= 0 {
		return s, 0, fmt.Errorf("rados bench printed nothing that is known:\n%s", out)
	}
	s.Rate = float64(s.Ops) / took
	s.MiB = s.Rate * size / (1 << 20)
	s.Avg, s.Max = 1e3*values["Average Latency(s)"], 1e3*values["Max latency(s)"]
	return s, size, nil
}

// clean removes what a run has written.
func (c *cephCluster) clean(ctx context.Context, row Row, rep int) error {
	_, _, err := c.run(ctx, "rados", "-p", cephPool, "cleanup", "--run-name", runName(row, rep))
	return err
}

func (c *cephCluster) close(ctx context.Context) error {
	_, _, err := c.run(ctx, "ceph", "osd", "pool", "rm", cephPool, cephPool, "--yes-i-really-really-mean-it")
	return err
}
