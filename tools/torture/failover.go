package torture

import (
	"context"
	"fmt"
	"io"
	"slices"
	"syscall"
	"time"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/tools/torture/lab"
)

// Hung is when something that is measured counts as one that hangs. Times decide
// nothing else: they are printed, and depend on the machine.
const Hung = 15 * time.Second

// failover is one way to take a daemon away.
type failover struct {
	name   string
	target time.Duration // what we promise on a machine that has nothing else to do
	brief  bool          // measured even if not all are
	mon    bool          // the leading monitor, else an OSD that leads PGs
	net    bool          // needs hosts
	away   func(c *Cluster, p *Proc) error
	back   func(c *Cluster, p *Proc) error
}

var failovers = []failover{
	{"primary killed", 2 * time.Second, true, false, false, kill, start},
	{"primary frozen", 6 * time.Second, true, false, false, freeze, unfreeze},
	{"primary's machine lost", 6 * time.Second, false, false, true, lose, regain},
	{"primary cut off from everybody", 6 * time.Second, false, false, true, cutFromAll, heal},
	{"primary cut off from all but clients", 6 * time.Second, true, false, true, cutFromDaemons, heal},
	{"leading monitor killed", 3 * time.Second, true, true, false, kill, start},
	{"leading monitor frozen", 6 * time.Second, false, true, false, freeze, unfreeze},
	{"leading monitor cut off", 6 * time.Second, false, true, true, cutFromDaemons, heal},
}

func kill(_ *Cluster, p *Proc) error     { p.Kill(); return nil }
func start(_ *Cluster, p *Proc) error    { return p.Start() }
func freeze(_ *Cluster, p *Proc) error   { return p.Signal(syscall.SIGSTOP) }
func unfreeze(_ *Cluster, p *Proc) error { return p.Signal(syscall.SIGCONT) }
func heal(c *Cluster, _ *Proc) error     { c.Lab.Heal(); return nil }

func cutFromDaemons(c *Cluster, p *Proc) error {
	for _, h := range hosts(slices.Concat(c.Mons, c.OSDs)) {
		if h != p.Host {
			c.Lab.Link(h, p.Host, lab.Link{Cut: true})
			c.Lab.Link(p.Host, h, lab.Link{Cut: true})
		}
	}
	return nil
}

func cutFromAll(c *Cluster, p *Proc) error {
	c.Lab.Link(c.home, p.Host, lab.Link{Cut: true})
	c.Lab.Link(p.Host, c.home, lab.Link{Cut: true})
	return cutFromDaemons(c, p)
}

func lose(c *Cluster, p *Proc) error {
	err := cutFromAll(c, p)
	p.Kill()
	return err
}

func regain(c *Cluster, p *Proc) error {
	c.Lab.Heal()
	return p.Start()
}

// Failovers measures how long a cluster with 3 monitors does not serve when daemons
// go away: for an OSD until every PG has carried out a write and a read, for the
// leading monitor until a change of the map is done. Of similar ways only one unless
// all are wanted. It prints a table. The error says what took longer than Hung.
func Failovers(ctx context.Context, w io.Writer, c *Cluster, trials int, all bool) error {
	const pool = "failover"
	if _, err := c.API.PoolCreate(ctx, api.PoolCreate{Name: pool, Size: 3}); err != nil {
		return err
	}
	if _, err := c.WaitServing(ctx, pool); err != nil {
		return err
	}
	hung := 0
	fmt.Fprintf(w, "%-38s %7s %8s %8s %8s %8s\n", "what went away", "trials", "min", "median", "max", "target")
	for _, f := range failovers {
		if !f.brief && !all {
			continue
		}
		if f.net && c.Lab == nil {
			fmt.Fprintf(w, "%-38s not measured: hosts need root\n", f.name)
			continue
		}
		var took []time.Duration
		for i := range trials {
			ctx, cancel := context.WithTimeout(ctx, settle)
			d, err := c.failover(ctx, f, pool, i)
			cancel()
			if err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			took = append(took, d)
		}
		slices.Sort(took)
		note := ""
		if took[len(took)-1] > Hung {
			note, hung = "  hung", hung+1
		}
		ms := func(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }
		fmt.Fprintf(w, "%-38s %7d %8s %8s %8s %8s%s\n", f.name, len(took), ms(took[0]), ms(took[len(took)/2]), ms(took[len(took)-1]), "< "+f.target.String(), note)
	}
	if hung > 0 {
		return fmt.Errorf("%d of these took longer than %s", hung, Hung)
	}
	return nil
}

func (c *Cluster) failover(ctx context.Context, f failover, pool string, trial int) (took time.Duration, err error) {
	diagnose := func(err error) error {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, c.Diagnose(context.WithoutCancel(ctx)))
		}
		return err
	}
	if err := c.WaitClean(ctx); err != nil {
		return 0, diagnose(err)
	}
	leader, err := c.WaitLeader(ctx)
	if err != nil {
		return 0, err
	}
	victim := c.Mons[leader]
	// One who asks a monitor that hangs cannot know whether his change was made: ask the others.
	others, err := c.newAPI(slices.Delete(slices.Clone(c.AdminAddrs), leader, leader+1), 2*time.Second)
	if err != nil {
		return 0, err
	}
	defer others.Close()
	if !f.mon {
		if victim, err = c.busiest(ctx); err != nil {
			return 0, err
		}
	}
	if err := f.away(c, victim); err != nil {
		return 0, err
	}
	began := time.Now()
	if f.mon {
		err = c.until(ctx, "a change of the map", func() error { return others.FlagSet(ctx, "noout", trial%2 == 0) })
	} else {
		_, err = c.WaitServing(ctx, pool)
	}
	took = time.Since(began)
	err = diagnose(err)
	if berr := f.back(c, victim); err == nil {
		err = berr
	}
	if err != nil {
		return took, err
	}
	if f.mon {
		err = c.WaitMons(ctx)
	} else {
		err = c.WaitOSDs(ctx, len(c.OSDs))
	}
	return took, diagnose(err)
}

// busiest returns the OSD that leads the most PGs.
func (c *Cluster) busiest(ctx context.Context) (*Proc, error) {
	pgs, err := c.API.PGs(ctx, api.PGFilter{})
	if err != nil {
		return nil, err
	}
	n := map[int]int{}
	for _, pg := range pgs {
		n[pg.ActingPrimary]++
	}
	var found *Proc
	most := -1
	for i, p := range c.OSDs {
		id, err := c.OSDID(ctx, i)
		if err != nil {
			return nil, err
		}
		if n[id] > most {
			found, most = p, n[id]
		}
	}
	return found, nil
}

// WaitMons waits until every monitor says that it is in the quorum.
func (c *Cluster) WaitMons(ctx context.Context) error {
	return c.until(ctx, "all monitors to be in the quorum", func() error {
		st, err := c.API.Mons(ctx)
		if err == nil && len(st.Quorum) != len(c.Mons) {
			err = fmt.Errorf("%v of %d monitors are", st.Quorum, len(c.Mons))
		}
		return err
	})
}
