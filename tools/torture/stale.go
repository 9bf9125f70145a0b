package torture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/tools/torture/lab"
)

// staleWays are the ways in which a primary is parted from its peers and the
// monitors, but not from a client that stays with it.
var staleWays = []struct {
	name string
	d    direction
	stop bool // frozen instead, and let go once others serve
}{
	{"cut off", both, false},
	{"hears nothing", in, false},
	{"is not heard", out, false},
	{"frozen", both, true},
}

// StaleResult is what one trial of StaleReads saw.
type StaleResult struct {
	Way      string
	Failover time.Duration // from the cut to the first write that a new primary acknowledged
	Before   int           // reads that the old primary answered after the cut, until then
	After    int           // reads answered since, by anybody; each at least as new as what was acknowledged before it began
	Waited   int           // reads since that got no answer, which is right
	Writes   int           // acknowledged since
}

// String is a line of the report.
func (r StaleResult) String() string {
	return fmt.Sprintf("primary %-13s new primary acknowledges after %6s; reads at the old one: %d answered before that, %d after, %d not; %d writes meanwhile",
		r.Way, r.Failover.Round(10*time.Millisecond), r.Before, r.After, r.Waited, r.Writes)
}

// staleReaders is how many goroutines read at the old primary.
const staleReaders = 8

// StaleReads parts a primary from its peers and the monitors while a client, which
// reaches nobody else, reads from it, and another client, on the others' side, writes.
// No read may ever return less than what was acknowledged before it began. It does so
// in every way of staleWays, trials times each.
func StaleReads(ctx context.Context, c *Cluster, trials int, logf func(string, ...any)) (all []StaleResult, err error) {
	if c.Lab == nil {
		return nil, fmt.Errorf("reads at a primary that is cut off: %w", lab.ErrUnsupported)
	}
	const pool = "stale"
	if _, err := c.API.PoolCreate(ctx, api.PoolCreate{Name: pool, Size: 3, PGNum: 8}); err != nil {
		return nil, err
	}
	s := &staleRun{c: c}
	for _, x := range []struct {
		name string
		h    **lab.Host
		p    **client.Pool
	}{{"reader", &s.xHost, &s.x}, {"writer", &s.yHost, &s.y}} {
		if *x.h, err = c.Lab.Host(x.name); err != nil {
			return nil, err
		}
		cl, err := c.ConnectFrom(ctx, *x.h, "client."+x.name)
		if err != nil {
			return nil, err
		}
		defer cl.Close()
		if *x.p, err = cl.Pool(ctx, pool); err != nil {
			return nil, err
		}
	}
	for n := range trials {
		for w := range staleWays {
			ctx, cancel := context.WithTimeout(ctx, settle)
			r, err := s.trial(ctx, pool, fmt.Sprintf("o-%d-%d", n, w), w)
			if err != nil {
				err = fmt.Errorf("primary %s: %w\n%s", staleWays[w].name, err, c.Diagnose(ctx))
			}
			cancel()
			if err != nil {
				return all, err
			}
			logf("%s", r)
			all = append(all, r)
		}
	}
	return all, nil
}

type staleRun struct {
	c            *Cluster
	xHost, yHost *lab.Host
	x, y         *client.Pool
}

func (s *staleRun) trial(ctx context.Context, pool, object string, way int) (StaleResult, error) {
	how := staleWays[way]
	res := StaleResult{Way: how.name}
	if err := s.c.WaitClean(ctx); err != nil {
		return res, err
	}
	x := &cell{name: object}
	write := func() error {
		n := x.begin(false)
		l := label(n, 100)
		if _, err := s.y.Do(ctx, object, new(client.Op).WriteFull(value(object, n, 100)).SetAttr("write", []byte(l)).OmapSet("write", []byte(l))); err != nil {
			return fmt.Errorf("write %d of %s: %w", n, object, err)
		}
		x.acked(n)
		return nil
	}
	if err := write(); err != nil {
		return res, err
	}
	loc, err := s.c.API.Locate(ctx, pool, object)
	if err != nil {
		return res, err
	}
	var old *Proc
	for i, p := range s.c.OSDs {
		if id, err := s.c.OSDID(ctx, i); err == nil && id == loc.ActingPrimary {
			old = p
		}
	}
	if old == nil {
		return res, fmt.Errorf("PG %s of %s has primary %d, none of our OSDs", loc.PGID, object, loc.ActingPrimary)
	}
	if _, err := s.x.Read(ctx, object, 0, 0); err != nil { // so that it has a connection
		return res, err
	}

	// The reader stays with the old primary, the writer with the others.
	daemons := hosts(slices.Concat(s.c.Mons, s.c.OSDs))
	cut := func(a, b *lab.Host, d direction) {
		if a == b {
			return
		}
		if d != in {
			s.c.Lab.Link(a, b, lab.Link{Cut: true})
		}
		if d != out {
			s.c.Lab.Link(b, a, lab.Link{Cut: true})
		}
	}
	cut(old.Host, s.yHost, both)
	for _, h := range daemons {
		if h != old.Host {
			cut(s.xHost, h, both)
		}
		if !how.stop {
			cut(old.Host, h, how.d)
		}
	}
	if how.stop {
		if err := old.Signal(syscall.SIGSTOP); err != nil {
			return res, err
		}
	}
	defer s.c.Lab.Heal()
	began := time.Now()

	var before, after, waited atomic.Int64
	var acknowledged atomic.Bool // by a new primary
	stop := make(chan struct{})
	bad := make(chan error, staleReaders)
	var wg sync.WaitGroup
	for range staleReaders {
		wg.Go(func() { // until stop
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := s.read(ctx, x, &acknowledged, &before, &after, &waited); err != nil {
					bad <- err
					return
				}
			}
		})
	}
	err = func() error {
		// The first of these waits for the new primary.
		for i := range 100 {
			if err := write(); err != nil {
				return err
			}
			if i == 0 {
				res.Failover = time.Since(began)
				acknowledged.Store(true)
				if how.stop {
					if err := old.Signal(syscall.SIGCONT); err != nil {
						return err
					}
				}
			}
			if err := wait(ctx, 10*time.Millisecond); err != nil {
				return err
			}
			select {
			case err := <-bad:
				return err
			default:
			}
		}
		return nil
	}()
	close(stop)
	wg.Wait()
	if how.stop {
		_ = old.Signal(syscall.SIGCONT) // a second time does no harm
	}
	s.c.Lab.Heal()
	res.Before, res.After, res.Waited, res.Writes = int(before.Load()), int(after.Load()), int(waited.Load()), int(x.now())
	select {
	case e := <-bad:
		err = errors.Join(err, e)
	default:
	}
	if err != nil {
		return res, err
	}
	// With everybody in reach again it reads what is there.
	return res, s.c.until(ctx, object+" to be read again", func() error {
		return s.readOnce(ctx, x, 2*time.Second)
	})
}

// read is one read at the old primary; the error says that it was stale.
func (s *staleRun) read(ctx context.Context, x *cell, acknowledged *atomic.Bool, before, after, waited *atomic.Int64) error {
	since := acknowledged.Load()
	err := s.readOnce(ctx, x, 400*time.Millisecond)
	switch {
	case errors.Is(err, errNoAnswer) && since:
		waited.Add(1)
	case errors.Is(err, errNoAnswer):
	case err != nil:
		return err
	case since:
		after.Add(1)
	default:
		before.Add(1)
	}
	return nil
}

var errNoAnswer = errors.New("no answer")

// readOnce reads at the reader's and checks what it gets.
func (s *staleRun) readOnce(ctx context.Context, x *cell, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	floor := x.now()
	r, err := s.x.Do(ctx, x.name, new(client.Op).Read(0, 0).GetAttr("write").OmapGet("write"))
	if err != nil {
		return fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	n, err := checkValue(x.name, r.Items[0].Data, string(r.Items[1].Data), string(r.Items[2].Data))
	if err != nil {
		return err
	}
	return x.saw(floor, n)
}

// wait waits, unless the context ends.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
