package torture

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cairnstore/cairn/internal/api"
)

// usage is what a process has used.
type usage struct {
	cpu time.Duration // user and system, since its start
	rss int64         // bytes in memory now
}

// clockTick is the unit of CPU times in /proc: 100 a second on every Linux that
// Go runs on.
const clockTick = time.Second / 100

// usageOf reads what a process has used; Linux only.
func usageOf(pid int) (usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, err
	}
	// The name, in parentheses, may have spaces; fields 14 and 15 are the times, 24 pages in memory.
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(f) < 22 {
		return usage{}, fmt.Errorf("/proc/%d/stat has %d fields behind the name", pid, len(f))
	}
	var n [3]int64
	for i, field := range []int{11, 12, 21} {
		if n[i], err = strconv.ParseInt(f[field], 10, 64); err != nil {
			return usage{}, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
	}
	return usage{cpu: time.Duration(n[0]+n[1]) * clockTick, rss: n[2] * int64(os.Getpagesize())}, nil
}

// Idle measures what an idle cluster uses, as `cairn dev` and as processes, over
// a period each, and prints it.
func Idle(ctx context.Context, w io.Writer, o Options, period time.Duration) error {
	dev, err := startDev(ctx, o, filepath.Join(o.Dir, "dev"))
	if err != nil {
		return err
	}
	err = idle(ctx, w, dev, fmt.Sprintf("cairn dev: %d monitor(s), %d OSDs, S3 gateway in one process", max(1, o.Mons), max(3, o.OSDs)), period)
	if cerr := dev.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	o.Dir, o.Gateway = filepath.Join(o.Dir, "processes"), true
	c, err := Start(ctx, o)
	if err != nil {
		return err
	}
	err = idle(ctx, w, c, fmt.Sprintf("%d monitor(s), %d OSDs, S3 gateway as processes", len(c.Mons), len(c.OSDs)), period)
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	return err
}

// startDev starts `cairn dev` and returns it as a cluster of one process.
func startDev(ctx context.Context, o Options, dir string) (*Cluster, error) {
	if err := os.MkdirAll(filepath.Join(o.Dir, "logs"), 0o755); err != nil {
		return nil, err
	}
	c := &Cluster{o: o, l: newLauncher()}
	p := c.Proc("dev", "dev", "--dir", dir, "--mons", strconv.Itoa(max(1, o.Mons)), "--osds", strconv.Itoa(max(3, o.OSDs)))
	c.Mons = []*Proc{p}
	err := p.Start()
	if err == nil {
		err = c.until(ctx, "cairn dev to be up", func() error {
			b, err := os.ReadFile(p.Log)
			if err != nil {
				return err
			}
			_, rest, ok := strings.Cut(string(b), "CAIRN_ADMIN=")
			admin, _, end := strings.Cut(rest, "\n")
			if !ok || !end {
				return fmt.Errorf("it has printed: %s", b)
			}
			c.API, err = api.NewClient(api.ClientOptions{Addrs: strings.Split(admin, ","), Timeout: 10 * time.Second})
			return err
		})
	}
	if err != nil {
		_ = c.Close() // the first error says why
		return nil, err
	}
	return c, nil
}

// idle prints what the processes of a cluster use while nothing happens.
func idle(ctx context.Context, w io.Writer, c *Cluster, what string, period time.Duration) error {
	if err := c.WaitClean(ctx); err != nil {
		return err
	}
	procs := c.procs()
	before := make([]usage, len(procs))
	for i, p := range procs {
		var err error
		if before[i], err = usageOf(p.Pid()); err != nil {
			return err
		}
	}
	began := time.Now()
	t := time.NewTimer(period)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	took := time.Since(began)
	fmt.Fprintf(w, "%s, idle for %s:\n", what, took.Round(time.Second))
	var sum usage
	for i, p := range procs {
		u, err := usageOf(p.Pid())
		if err != nil {
			return err
		}
		u.cpu -= before[i].cpu
		sum.cpu, sum.rss = sum.cpu+u.cpu, sum.rss+u.rss
		u.print(w, p.Name, took)
	}
	if len(procs) > 1 {
		sum.print(w, "all", took)
	}
	return nil
}

func (u usage) print(w io.Writer, name string, took time.Duration) {
	fmt.Fprintf(w, "  %-8s %6.1f MB in memory, %5.2f %% of a core\n", name, float64(u.rss)/1e6, 100*u.cpu.Seconds()/took.Seconds())
}
