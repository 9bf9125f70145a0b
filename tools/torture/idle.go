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
	"github.com/cairnstore/cairn/internal/process"
)

// usage is what a process has used.
type usage struct {
	cpu time.Duration // user and system, since its start
	rss int64         // bytes in memory now
}

// usageOf reads what a process has used; Linux only.
func usageOf(pid int) (usage, error) {
	u, err := process.Of(pid)
	return usage{cpu: u.CPU(), rss: u.Resident}, err
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
	c := &Cluster{o: o, l: newLauncher(), sick: make(chan struct{}), closing: make(chan struct{})}
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
