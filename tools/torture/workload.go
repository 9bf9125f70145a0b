package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client"
)

// Load configures a Workload. Zero values mean the defaults.
type Load struct {
	Seed      uint64
	Writers   int // write values to objects of their own; default 5
	Objects   int // of each writer; default 8
	Readers   int // read the writers' objects; default 2
	Appenders int // append records to objects of their own; default 2
	Counters  int // count on two shared objects; default 3
	Sharers   int // read, write, compare-and-set and remove shared small objects; default 5
	Chunkers  int // write to objects of their own in the pool with chunks, if there is one; default 3
	// ChunkObjects is how many objects each of them has; default 8. One more client reads them.
	ChunkObjects int
	SizeMax      int // of a writer's value; default 200 KB
	Pause        time.Duration
	FullDisks    bool // disks may be full: a write refused for that may be one that took effect when it was sent first
}

func (l Load) withDefaults() Load {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	set(&l.Writers, 5)
	set(&l.Objects, 8)
	set(&l.Readers, 2)
	set(&l.Appenders, 2)
	set(&l.Counters, 3)
	set(&l.Sharers, 5)
	set(&l.Chunkers, 3)
	set(&l.ChunkObjects, 8)
	set(&l.SizeMax, 200_000)
	if l.Pause == 0 {
		l.Pause = 20 * time.Millisecond
	}
	return l
}

// Workload is clients at work on one pool, with models of what they must see.
type Workload struct {
	o     Load
	pools []*client.Pool // of different clients
	stats *Stats
	stop  chan struct{}
	wg    sync.WaitGroup
	began time.Time

	cells    [][]*cell // by writer
	logs     []*appendLog
	counters []*counter
	shared   *sharedSet
	chunked  *chunkWork  // nil without a pool with chunks
	bucket   *bucketWork // the same

	mu     sync.Mutex // guards below
	faults []error
	broken chan struct{} // closed with the first fault
}

// faultsMax bounds the faults that are kept: the first ones tell the most.
const faultsMax = 20

// NewWorkload prepares clients; the pools are those of different clients, so that
// what one knows does not help another. WithChunks adds more.
func NewWorkload(o Load, stats *Stats, pools ...*client.Pool) *Workload {
	w := &Workload{o: o.withDefaults(), pools: pools, stats: stats, stop: make(chan struct{}), broken: make(chan struct{}), began: time.Now()}
	for i := range w.o.Writers {
		var own []*cell
		for k := range w.o.Objects {
			own = append(own, &cell{name: fmt.Sprintf("value-%d-%d", i, k)})
		}
		w.cells = append(w.cells, own)
	}
	for i := range w.o.Appenders {
		w.logs = append(w.logs, &appendLog{prefix: fmt.Sprintf("log-%d", i)})
	}
	for i := range 2 {
		w.counters = append(w.counters, newCounter(fmt.Sprintf("counter-%d", i)))
	}
	w.shared = newSharedSet(w)
	return w
}

// WithChunks has clients work on a pool with chunks, too; the pools are those of different clients.
func (w *Workload) WithChunks(ctx context.Context, pools ...*client.Pool) (err error) {
	w.chunked = newChunkWork(w.o, pools)
	w.bucket, err = newBucketWork(ctx, w.o, w.pools, pools)
	return err
}

// Begin starts the clients. They work until Stop.
func (w *Workload) Begin(ctx context.Context) {
	id := 0
	pools := w.pools
	begin := func(n int, step func(ctx context.Context, c *worker, i int)) {
		for i := range n {
			c := &worker{w: w, id: id, pool: pools[id%len(pools)], rng: rand.New(rand.NewPCG(w.o.Seed, uint64(1000+id)))}
			id++
			w.wg.Go(func() { // until Stop, or the first fault
				for c.rest(ctx) {
					step(ctx, c, i)
				}
			})
		}
	}
	begin(w.o.Writers, func(ctx context.Context, c *worker, i int) { c.valueStep(ctx, w.cells[i]) })
	begin(w.o.Readers, func(ctx context.Context, c *worker, _ int) {
		own := w.cells[c.rng.IntN(len(w.cells))]
		c.readValue(ctx, own[c.rng.IntN(len(own))])
	})
	begin(w.o.Appenders, func(ctx context.Context, c *worker, i int) { w.logs[i].step(ctx, c) })
	begin(w.o.Counters, func(ctx context.Context, c *worker, _ int) { w.counters[c.rng.IntN(len(w.counters))].step(ctx, c) })
	begin(w.o.Sharers, func(ctx context.Context, c *worker, _ int) { w.shared.step(ctx, c) })
	if k := w.chunked; k != nil {
		pools = k.pools
		begin(len(k.cells), func(ctx context.Context, c *worker, i int) { k.step(ctx, c, k.cells[i]) })
		begin(len(k.revived), func(ctx context.Context, c *worker, i int) { k.revive(ctx, c, k.revived[i]) })
		all := k.all()
		begin(1, func(ctx context.Context, c *worker, _ int) { k.read(ctx, c, all[c.rng.IntN(len(all))]) })
		begin(1, func(ctx context.Context, c *worker, _ int) { w.bucket.step(ctx, c) })
		begin(1, func(ctx context.Context, c *worker, _ int) {
			w.bucket.read(ctx, c, w.bucket.cells[c.rng.IntN(len(w.bucket.cells))])
		})
		begin(1, func(ctx context.Context, c *worker, _ int) { w.bucket.sweep(ctx, c) })
	}
}

// Stop lets the clients finish what they are doing.
func (w *Workload) Stop() {
	close(w.stop)
	w.wg.Wait()
	if w.bucket != nil {
		if err := w.bucket.close(); err != nil {
			w.fault(fmt.Errorf("close the bucket: %w", err))
		}
	}
}

// Broken is closed when a client has seen what must not be.
func (w *Workload) Broken() <-chan struct{} { return w.broken }

func (w *Workload) fault(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.faults) == 0 {
		close(w.broken)
	}
	if len(w.faults) < faultsMax {
		w.faults = append(w.faults, fmt.Errorf("after %s: %w", time.Since(w.began).Round(time.Millisecond), err))
	}
}

// Err returns what was wrong so far.
func (w *Workload) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.faults...)
}

// Verify reads everything again and compares it with the models. The clients
// must have been stopped. Histories of shared objects are checked for
// linearizability when final is true.
func (w *Workload) Verify(ctx context.Context, final bool) error {
	c := &worker{w: w, id: -1, pool: w.pools[0], rng: rand.New(rand.NewPCG(w.o.Seed, 1)), patient: true}
	for _, own := range w.cells {
		for _, x := range own {
			c.readValue(ctx, x)
		}
	}
	for _, l := range w.logs {
		l.verify(ctx, c)
	}
	for _, n := range w.counters {
		n.verify(ctx, c)
	}
	if final {
		w.shared.verify(ctx, c)
	}
	if k := w.chunked; k != nil {
		c.pool = k.pools[0]
		for _, x := range k.all() {
			k.read(ctx, c, x)
		}
		w.bucket.verify(ctx, c)
	}
	return w.Err()
}

// worker is one client goroutine.
type worker struct {
	w       *Workload
	id      int
	pool    *client.Pool
	rng     *rand.Rand
	patient bool // never gives up early
}

// rest waits a little; false says that it is time to stop.
func (c *worker) rest(ctx context.Context) bool {
	t := time.NewTimer(time.Duration(c.rng.Int64N(int64(2 * c.w.o.Pause))))
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.w.stop:
		return false
	case <-c.w.broken:
		return false
	case <-ctx.Done():
		return false
	}
	select {
	case <-c.w.stop:
		return false
	default:
		return true
	}
}

// outcome is what a client knows of an operation that is over.
type outcome int

const (
	done    outcome = iota
	refused         // by a condition in it; it has surely not taken effect
	unknown         // it may have taken effect, or may still
)

// patience is how long an operation may take. Now and then the client is impatient, as real ones are: then the outcome may
// stay unknown.
func (c *worker) patience(ctx context.Context) (_ context.Context, impatient bool, cancel context.CancelFunc) {
	d := opPatience
	if !c.patient && c.rng.IntN(20) == 0 {
		impatient, d = true, time.Duration(1+c.rng.IntN(400))*time.Millisecond
	}
	ctx, cancel = context.WithTimeout(ctx, d)
	return ctx, impatient, cancel
}

// do carries out an operation.
func (c *worker) do(ctx context.Context, kind, object string, op *client.Op) (*client.Result, outcome) {
	ctx, impatient, cancel := c.patience(ctx)
	defer cancel()
	began := time.Now()
	r, err := c.pool.Do(ctx, object, op)
	return r, c.judge(kind, object, op.Writes(), began, impatient, err)
}

// judge says what is known of an operation that ended with err.
func (c *worker) judge(kind, object string, writes bool, began time.Time, impatient bool, err error) outcome {
	took := time.Since(began)
	switch {
	case err == nil:
		c.w.stats.op(kind, writes, true, took, object)
		return done
	case errors.Is(err, client.ErrNotFound), errors.Is(err, client.ErrConflict), errors.Is(err, client.ErrExists):
		c.w.stats.op(kind, writes, true, took, object)
		return refused
	}
	c.w.stats.op(kind, writes, false, took, object)
	switch {
	case errors.Is(err, client.ErrNoSpace) && writes && c.w.o.FullDisks: // surely, or of a retry only
		c.w.stats.fault("writes refused for space")
		return unknown
	case errors.Is(err, client.ErrTimeout):
		if !impatient {
			c.w.fault(fmt.Errorf("%s of %s has no answer after %s: %w", kind, object, took.Round(time.Millisecond), err))
		}
		return unknown
	}
	c.w.fault(fmt.Errorf("%s of %s failed: %w", kind, object, err))
	return unknown
}

// size draws the size of a value: mostly small, now and then large, at times empty.
func (c *worker) size() int {
	maximum := c.w.o.SizeMax
	switch c.rng.IntN(10) {
	case 0:
		return c.rng.IntN(9)
	case 1, 2, 3, 4:
		return c.rng.IntN(min(maximum, 4096) + 1)
	case 5, 6, 7:
		return c.rng.IntN(min(maximum, 64<<10) + 1)
	}
	return c.rng.IntN(maximum + 1)
}

func (c *worker) valueStep(ctx context.Context, own []*cell) {
	x := own[c.rng.IntN(len(own))]
	switch p := c.rng.IntN(20); {
	case p < 7:
		c.readValue(ctx, x)
	case p == 7:
		n := x.begin(true)
		if _, out := c.do(ctx, "remove", x.name, new(client.Op).Remove(true)); out == done {
			x.acked(n)
		} else if out == refused {
			c.w.fault(fmt.Errorf("object %s: a removal that allows a missing object was refused", x.name))
		}
	default:
		n, size := x.begin(false), c.size()
		l := label(n, size)
		op := new(client.Op).WriteFull(value(x.name, n, size)).SetAttr("write", []byte(l)).OmapSet("write", []byte(l))
		if _, out := c.do(ctx, "write", x.name, op); out == done {
			x.acked(n)
		} else if out == refused {
			c.w.fault(fmt.Errorf("object %s: an unconditional write was refused", x.name))
		}
	}
}

func (c *worker) readValue(ctx context.Context, x *cell) {
	floor := x.now()
	r, out := c.do(ctx, "read", x.name, new(client.Op).Read(0, 0).GetAttr("write").OmapGet("write"))
	var n uint64
	switch out {
	case unknown:
		return
	case done:
		var err error
		if n, err = checkValue(x.name, r.Items[0].Data, string(r.Items[1].Data), string(r.Items[2].Data)); err != nil {
			c.w.fault(err)
			return
		}
	case refused: // not found
	}
	if err := x.saw(floor, n); err != nil {
		c.w.fault(err)
	}
}
