package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/tools/torture/lab"
)

// Plan configures Run. Zero values of the optional fields mean the defaults.
type Plan struct {
	Seed     uint64
	Kills    int           // processes to kill at least; default 100
	Duration time.Duration // go on for at least this long
	Load     Load
	Blows    string                           // a regular expression: only those whose kind it matches; default all
	Chunks   bool                             // clients work on a pool with chunks, too: wants five OSDs, and ChunkCare
	Logf     func(format string, args ...any) // told of every blow; default nothing
}

// Scrubs is configuration that has every PG scrubbed again and again, data and
// all. A scrub that finds damage fails the run: nobody does any.
func Scrubs() []string {
	return []string{"scrub_interval=5s", "deep_scrub_interval=10s", "scrub_max_pgs=16"}
}

// torturePool is the pool that a run works on.
const torturePool = "torture"

// settle bounds every wait for the cluster to recover. It decides nothing but
// when a cluster that hangs is given up.
const settle = 3 * time.Minute

// runner is one run.
type runner struct {
	c       *Cluster
	p       Plan
	rng     *rand.Rand
	stats   *Stats
	w       *Workload
	care    *careCount // nil without chunks
	passing int        // pools that were made to be removed

	clients []*lab.Host // where the clients are; none on loopback
	blows   []blow      // that can be dealt here
}

// blow is one way to hit the cluster.
type blow struct {
	kind   string
	weight int
	hit    func(r *runner, ctx context.Context) (killed int, err error)
}

// blows lists them. Every one leaves all processes running again, as an
// administrator or a supervisor would.
var blows = []blow{
	{"osd", 10, (*runner).hitOSD},
	{"osd, longer", 6, (*runner).hitOSDLonger},
	{"osd, twice", 4, (*runner).hitOSDTwice},
	{"two osds", 4, (*runner).hitTwoOSDs},
	{"primary of a PG", 4, (*runner).hitPrimary},
	{"leading monitor", 6, (*runner).hitLeader},
	{"leader and osd", 3, (*runner).hitLeaderAndOSD},
	{"all osds", 2, (*runner).hitAllOSDs},
	{"all processes", 3, (*runner).hitAll},
	{"osd frozen", 4, (*runner).freezeOSD},
	{"leader frozen", 2, (*runner).freezeLeader},
}

// Run lets clients work on a cluster and kills its processes meanwhile, then
// waits until all is clean and verifies everything, also with each OSD missing
// in turn. The error says what was lost, wrong or stale.
func Run(ctx context.Context, c *Cluster, p Plan) (*Stats, error) {
	if p.Kills == 0 {
		p.Kills = 100
	}
	if p.Logf == nil {
		p.Logf = func(string, ...any) {}
	}
	p.Load.Seed = p.Seed
	r := &runner{c: c, p: p, rng: newRng(p.Seed), stats: newStats()}
	if _, err := c.API.PoolCreate(ctx, api.PoolCreate{Name: torturePool, Size: uint32(min(3, len(c.OSDs)))}); err != nil {
		return r.stats, err
	}
	if p.Chunks {
		if _, err := c.API.PoolCreate(ctx, chunkPolicy); err != nil {
			return r.stats, err
		}
	}
	if _, err := r.serving(ctx); err != nil {
		return r.stats, err
	}
	var clients []*client.Client
	var pools []*client.Pool
	for i := range 3 {
		name := fmt.Sprintf("client.torture.%d", i)
		h, err := c.newHost(name)
		if err != nil {
			return r.stats, err
		}
		if h != nil {
			r.clients = append(r.clients, h)
		}
		cl, err := c.ConnectFrom(ctx, h, name)
		if err != nil {
			return r.stats, err
		}
		defer cl.Close()
		clients = append(clients, cl)
		pool, err := cl.Pool(ctx, torturePool)
		if err != nil {
			return r.stats, err
		}
		pools = append(pools, pool)
	}
	r.blows = blows
	if len(c.OSDs) > 3 {
		r.blows = slices.Concat(r.blows, adminBlows)
	}
	if c.Lab != nil {
		r.blows = slices.Concat(r.blows, netBlows)
	}
	if c.OSDs[0].Disk != nil {
		r.blows = slices.Concat(r.blows, diskBlows)
		r.p.Load.FullDisks = true
	}
	only, err := regexp.Compile(p.Blows)
	if err != nil {
		return r.stats, err
	}
	if p.Chunks {
		r.blows = slices.Concat(r.blows, chunkAdminBlows)
	}
	if r.blows = slices.DeleteFunc(slices.Clone(r.blows), func(b blow) bool { return !only.MatchString(b.kind) }); len(r.blows) == 0 {
		return r.stats, fmt.Errorf("no blow that can be dealt here matches %q", p.Blows)
	}
	r.w = NewWorkload(r.p.Load, r.stats, pools...)
	stop := r.watch(ctx)
	if p.Chunks {
		if err := r.addChunks(ctx, clients); err != nil {
			stop()
			return r.stats, err
		}
		defer r.watchCare(ctx)()
	}
	r.w.Begin(ctx)
	err = r.beat(ctx)
	r.resume()
	r.w.Stop()
	if err == nil {
		err = r.finish(ctx)
	}
	stop()
	if p.Chunks {
		r.stats.chunks(r.w.chunked.stats(), r.care)
	}
	return r.stats, errors.Join(r.w.Err(), err, c.Check())
}

// beat deals blows until there were enough.
func (r *runner) beat(ctx context.Context) error {
	began := time.Now()
	total := 0
	for _, b := range r.blows {
		total += b.weight
	}
	// Every kind once, then by weight: a run that is not very short has all of them.
	order := r.rng.Perm(len(r.blows))
	for n := 0; r.stats.Kills() < r.p.Kills || time.Since(began) < r.p.Duration; n++ {
		select {
		case <-r.w.Broken():
			return nil // Workload.Err has it
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		i := 0
		if n < len(order) {
			i = order[n]
		} else {
			for at := r.rng.IntN(total); at >= r.blows[i].weight; i++ {
				at -= r.blows[i].weight
			}
		}
		if err := r.deal(ctx, r.blows[i]); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) deal(ctx context.Context, b blow) error {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	began := time.Now()
	killed, err := b.hit(r, ctx)
	if err != nil {
		return fmt.Errorf("blow %q: %w", b.kind, err)
	}
	lasted := time.Since(began)
	took, err := r.serving(ctx)
	if err != nil {
		return fmt.Errorf("after blow %q: %w", b.kind, err)
	}
	r.stats.blow(b.kind, killed, took)
	r.p.Logf("%-16s %d killed in %5.1fs, then every PG serves after %s; %d kills, %d operations so far",
		b.kind, killed, lasted.Seconds(), took.Round(10*time.Millisecond), r.stats.Kills(), r.stats.Ops())
	return nil
}

// serving waits until every PG serves.
func (r *runner) serving(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	pools := []string{torturePool}
	if r.p.Chunks {
		pools = append(pools, chunkPool)
	}
	took, err := r.c.WaitServing(ctx, pools...)
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, r.c.Diagnose(context.WithoutCancel(ctx)))
	}
	return took, err
}

// linger waits up to d, so that blows fall in different phases of recovery.
func (r *runner) linger(ctx context.Context, d time.Duration) {
	t := time.NewTimer(time.Duration(r.rng.Int64N(int64(d) + 1)))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (r *runner) osd() *Proc { return r.c.OSDs[r.rng.IntN(len(r.c.OSDs))] }

// hitOSD kills an OSD and starts it again at once or a moment later.
func (r *runner) hitOSD(ctx context.Context) (int, error) {
	p := r.osd()
	p.Kill()
	r.linger(ctx, 400*time.Millisecond)
	return 1, p.Start()
}

// hitOSDLonger kills an OSD, waits until the others serve without it, and starts
// it again: it has missed writes.
func (r *runner) hitOSDLonger(ctx context.Context) (int, error) {
	p := r.osd()
	p.Kill()
	if _, err := r.serving(ctx); err != nil {
		return 1, err
	}
	r.linger(ctx, time.Second)
	return 1, p.Start()
}

// hitOSDTwice kills an OSD again while it starts or catches up.
func (r *runner) hitOSDTwice(ctx context.Context) (int, error) {
	p := r.osd()
	p.Kill()
	r.linger(ctx, 300*time.Millisecond)
	if err := p.Start(); err != nil {
		return 1, err
	}
	r.linger(ctx, 1500*time.Millisecond)
	p.Kill()
	return 2, p.Start()
}

func (r *runner) hitTwoOSDs(ctx context.Context) (int, error) {
	order := r.rng.Perm(len(r.c.OSDs))
	a, b := r.c.OSDs[order[0]], r.c.OSDs[order[1%len(order)]]
	a.Kill()
	r.linger(ctx, 200*time.Millisecond)
	b.Kill()
	if err := b.Start(); err != nil {
		return 2, err
	}
	r.linger(ctx, 200*time.Millisecond)
	if a == b {
		return 2, nil
	}
	return 2, a.Start()
}

// hitPrimary kills the OSD that leads the PG of an object, and as soon as another
// leads it that one too.
func (r *runner) hitPrimary(ctx context.Context) (int, error) {
	object := r.w.cells[0][0].name
	first, err := r.primary(ctx, object)
	if err != nil {
		return 0, err
	}
	var second *Proc
	first.Kill()
	err = r.c.until(ctx, "another primary than "+first.Name, func() (err error) {
		if second, err = r.primary(ctx, object); err == nil && second == first {
			err = fmt.Errorf("%s still is", first.Name)
		}
		return err
	})
	if err != nil {
		return 1, errors.Join(err, first.Start())
	}
	if err := first.Start(); err != nil {
		return 1, err
	}
	r.linger(ctx, 300*time.Millisecond)
	second.Kill()
	return 2, second.Start()
}

func (r *runner) hitLeader(ctx context.Context) (int, error) {
	i, err := r.c.WaitLeader(ctx)
	if err != nil {
		return 0, err
	}
	r.c.Mons[i].Kill()
	r.linger(ctx, 3*time.Second)
	if err := r.c.Mons[i].Start(); err != nil {
		return 1, err
	}
	_, err = r.c.WaitLeader(ctx)
	return 1, err
}

func (r *runner) hitLeaderAndOSD(ctx context.Context) (int, error) {
	i, err := r.c.WaitLeader(ctx)
	if err != nil {
		return 0, err
	}
	p := r.osd()
	r.c.Mons[i].Kill()
	p.Kill()
	r.linger(ctx, time.Second)
	if err := p.Start(); err != nil {
		return 2, err
	}
	r.linger(ctx, 2*time.Second)
	return 2, r.c.Mons[i].Start()
}

func (r *runner) hitAllOSDs(ctx context.Context) (int, error) {
	return r.hitMany(ctx, r.c.OSDs)
}

func (r *runner) hitAll(ctx context.Context) (int, error) {
	return r.hitMany(ctx, r.c.procs())
}

// hitMany kills processes as nearly at once as can be, and starts them in
// another order.
func (r *runner) hitMany(ctx context.Context, ps []*Proc) (int, error) {
	gone := make(chan struct{}, len(ps))
	for _, p := range ps {
		go func() { p.Kill(); gone <- struct{}{} }() // until the process is gone
	}
	for range ps {
		<-gone
	}
	for _, i := range r.rng.Perm(len(ps)) {
		if err := ps[i].Start(); err != nil {
			return len(ps), err
		}
		r.linger(ctx, 50*time.Millisecond)
	}
	return len(ps), nil
}

// freezeOSD stops an OSD for a while without ending it, as an overloaded machine
// does. The others may go on without it meanwhile; it must not, when it goes on,
// answer with what was true before.
func (r *runner) freezeOSD(ctx context.Context) (int, error) {
	return 0, r.freeze(ctx, r.osd())
}

func (r *runner) freezeLeader(ctx context.Context) (int, error) {
	i, err := r.c.WaitLeader(ctx)
	if err != nil {
		return 0, err
	}
	return 0, r.freeze(ctx, r.c.Mons[i])
}

func (r *runner) freeze(ctx context.Context, p *Proc) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	r.stats.fault("freezes")
	r.linger(ctx, 6*time.Second) // less than a failover takes, or more
	return p.Signal(syscall.SIGCONT)
}

// finish verifies everything at rest, then with each OSD missing in turn, so that
// every copy is the one that is read from.
func (r *runner) finish(ctx context.Context) error {
	clean := func() error {
		ctx, cancel := context.WithTimeout(ctx, settle)
		defer cancel()
		return r.c.WaitClean(ctx)
	}
	began := time.Now()
	if err := clean(); err != nil {
		return err
	}
	r.p.Logf("all PGs active+clean %s after the last blow was over", time.Since(began).Round(10*time.Millisecond))
	if err := r.w.Verify(ctx, true); err != nil {
		return nil // Workload.Err has it
	}
	good, undecided := r.w.Histories()
	r.p.Logf("%d histories of shared objects are linearizable, %d are too hard to decide", good, undecided)
	sctx, cancel := context.WithTimeout(ctx, settle)
	pgs, err := r.c.DeepScrub(sctx)
	cancel()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, r.c.Diagnose(ctx))
	}
	r.p.Logf("%d PGs were deep-scrubbed %s later and nothing was wrong", pgs, time.Since(began).Round(10*time.Millisecond))
	if r.p.Chunks {
		if err := r.finishChunks(ctx); err != nil {
			return err
		}
	}
	n, err := r.c.CompareCopies(ctx)
	if err != nil {
		return err
	}
	scrubs := 0
	for _, p := range r.c.OSDs {
		scrubs += p.Count("msg=scrub ")
	}
	r.p.Logf("all copies of %d objects are equal; %d scrubs meanwhile", n, scrubs)
	if len(r.c.OSDs) < 3 {
		return nil
	}
	if err := clean(); err != nil {
		return err
	}
	for _, p := range r.c.OSDs {
		p.Kill()
		began := time.Now()
		if _, err := r.serving(ctx); err != nil {
			return fmt.Errorf("without %s: %w", p.Name, err)
		}
		took := time.Since(began)
		if err := r.w.Verify(ctx, false); err != nil {
			return nil
		}
		if err := p.Start(); err != nil {
			return err
		}
		if err := clean(); err != nil {
			return err
		}
		r.stats.blow("verify without", 1, took)
	}
	return nil
}

// watch counts changes of the leading monitor until the function it returns is called.
func (r *runner) watch(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { // until stop
		defer close(done)
		t := time.NewTicker(200 * time.Millisecond)
		defer t.Stop()
		last := -1
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			if i, err := r.c.Leader(ctx); err == nil && i != last {
				if last >= 0 {
					r.stats.fault("changes of the leading monitor")
				}
				last = i
			}
		}
	}()
	return func() { cancel(); <-done }
}

func newRng(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x6b69_6c6c)) }
