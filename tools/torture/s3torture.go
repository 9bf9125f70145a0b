package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// S3Plan configures S3Torture. Zero values of the optional fields mean the defaults.
type S3Plan struct {
	Seed   uint64
	Rounds int                              // of conditional changes that race for a key; default 100
	Keys   int                              // raced for at a time; default 8
	Calm   bool                             // nobody is killed
	Logf   func(format string, args ...any) // told of what is killed; default nothing
}

// s3Torture is one run.
type s3Torture struct {
	cluster *Cluster
	c       *s3Client
	p       S3Plan
	stats   *Stats
	began   time.Time

	histories, undecided int // of keys that many work on; of one goroutine

	mu     sync.Mutex // guards below
	faults []error
	broken chan struct{}
}

// S3Torture lets clients race for keys at several gateways with changes of which one may win,
// and work on a prefix together, while gateways, OSDs and monitors are killed. The error says
// what no store with one copy and without failures could have answered.
func S3Torture(ctx context.Context, cl *Cluster, p S3Plan) (*Stats, error) {
	if p.Rounds == 0 {
		p.Rounds = 100
	}
	if p.Keys == 0 {
		p.Keys = 8
	}
	if p.Logf == nil {
		p.Logf = func(string, ...any) {}
	}
	t := &s3Torture{cluster: cl, c: newS3Client(cl.S3Addrs, cl.AccessKey, cl.SecretKey), p: p, stats: newStats(), began: time.Now(), broken: make(chan struct{})}
	defer t.c.http.CloseIdleConnections()
	for _, b := range []string{raceBucket, sharedBucket} {
		if a, err := t.c.surely(ctx, s3Request{method: http.MethodPut, path: "/" + b}); err != nil || a.outcome() != done {
			return t.stats, fmt.Errorf("make bucket %s: %s, %w", b, a, err)
		}
	}
	events, err := t.hearEvents(ctx)
	if err != nil {
		return t.stats, err
	}
	defer events.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var work, killer sync.WaitGroup
	stop := make(chan struct{}) // closed when the rounds are over
	var rounds atomic.Int64
	racers := make([]*racer, p.Keys)
	for i := range racers {
		r := &racer{t: t, rng: rand.New(rand.NewPCG(p.Seed, uint64(i)+100)), chain: raceChain{name: fmt.Sprintf("key-%03d", i)}}
		racers[i] = r
		work.Go(func() { // until there were enough
			for rounds.Add(1) <= int64(p.Rounds) && !t.isBroken() {
				if err := r.run(ctx); err != nil {
					t.fault(err)
					return
				}
			}
		})
	}
	shared := &s3Shared{t: t}
	killer.Go(func() { // until the rounds are over
		for !t.isBroken() {
			if err := shared.run(ctx); err != nil {
				t.fault(err)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	if !p.Calm {
		killer.Go(func() { t.fault(t.kill(ctx, stop)) }) // until the rounds are over
	}
	work.Wait()
	close(stop)
	killer.Wait()
	t.stats.note(fmt.Sprintf("%d rounds with one winner each on %d keys in %s", min(rounds.Load(), int64(p.Rounds)), p.Keys, time.Since(t.began).Round(100*time.Millisecond)))
	if err := t.err(); err != nil {
		return t.stats, err
	}
	wctx, done := context.WithTimeout(ctx, settle)
	defer done()
	if err := cl.WaitClean(wctx); err != nil {
		return t.stats, err
	}
	for _, r := range racers {
		after, err := r.settled(ctx, nil)
		if err == nil {
			err = r.chain.judge([]raceOp{{kind: "nothing", want: r.chain.state, lost: 1}}, nil, after)
		}
		if err == nil {
			err = r.listed(ctx)
		}
		t.fault(err)
	}
	line, err := events.check(wctx, racers)
	t.fault(err)
	t.stats.note(line)
	t.stats.note(fmt.Sprintf("%d histories of keys with listings are linearizable, %d are too hard to decide", t.histories, t.undecided))
	return t.stats, errors.Join(t.err(), cl.Check())
}

// kill kills one process or two at a time and starts them again, until stop.
func (t *s3Torture) kill(ctx context.Context, stop <-chan struct{}) error {
	rng := newRng(t.p.Seed)
	pause := func(most time.Duration) bool {
		timer := time.NewTimer(time.Duration(rng.Int64N(int64(most))))
		defer timer.Stop()
		select {
		case <-timer.C:
			return true
		case <-stop:
		case <-t.broken:
		case <-ctx.Done():
		}
		return false
	}
	for pause(time.Second) {
		gateway, osd := t.cluster.S3s[rng.IntN(len(t.cluster.S3s))], t.cluster.OSDs[rng.IntN(len(t.cluster.OSDs))]
		kind, victims := "gateway", []*Proc{gateway}
		switch n := rng.IntN(10); {
		case n < 4:
		case n < 7:
			kind, victims = "osd", []*Proc{osd}
		case n < 8:
			kind, victims = "gateway and osd", []*Proc{gateway, osd}
		case n < 9:
			kind, victims = "all gateways", t.cluster.S3s
		default:
			kind, victims = "monitor", []*Proc{t.cluster.Mons[rng.IntN(len(t.cluster.Mons))]}
		}
		began := time.Now()
		for _, p := range victims {
			p.Kill()
		}
		pause(400 * time.Millisecond)
		for _, p := range victims {
			if err := p.Start(); err != nil {
				return err
			}
		}
		wctx, cancel := context.WithTimeout(ctx, settle)
		took, err := t.cluster.WaitServing(wctx, s3Pool)
		for i, p := range t.cluster.S3s {
			if err == nil {
				err = t.cluster.WaitPort(wctx, p, t.cluster.S3Addrs[i])
			}
		}
		cancel()
		if err != nil {
			return fmt.Errorf("after %s was killed: %w", kind, err)
		}
		t.stats.blow(kind, len(victims), took)
		t.p.Logf("%-16s %d killed, all serve after %s; %d operations so far", kind, len(victims), time.Since(began).Round(10*time.Millisecond), t.stats.Ops())
	}
	return nil
}

func (t *s3Torture) fault(err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.faults) == 0 {
		close(t.broken)
	}
	if len(t.faults) < faultsMax {
		t.faults = append(t.faults, fmt.Errorf("after %s: %w", time.Since(t.began).Round(time.Millisecond), err))
	}
}

func (t *s3Torture) isBroken() bool {
	select {
	case <-t.broken:
		return true
	default:
		return false
	}
}

func (t *s3Torture) err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.Join(t.faults...)
}
