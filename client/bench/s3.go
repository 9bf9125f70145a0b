package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/internal/process"
)

// The kinds of RunS3.
const (
	Put    Kind = "put"    // makes objects, one after the other, in parts if they are larger than PartSize
	Get    Kind = "get"    // reads a run's objects, chosen by chance
	ListS3 Kind = "list"   // lists a run's objects, page after page
	Delete Kind = "delete" // removes a run's objects, one after the other
	Mixed  Kind = "mixed"  // several of these, in turns by chance
)

// Operations of a mixed load; each is also a kind, but for stat.
var mixable = []string{"get", "put", "list", "delete", "stat"}

// DefaultMix is what a mixed load does if nothing else is said.
var DefaultMix = map[string]int{"get": 45, "stat": 30, "put": 15, "delete": 10}

// S3Options configures RunS3.
type S3Options struct {
	Server   S3Server
	Kind     Kind
	Bucket   string         // made if it is not there
	Run      string         // name of the run
	Sizes    []int64        // of objects that are put, each chosen by the object's number; default 4 MiB
	PartSize int64          // larger objects are put in parts of this size; 0: in one
	Spread   bool           // keys that follow each other lie anywhere in the bucket, not behind each other
	InFlight int            // operations under way at a time
	Time     time.Duration  // nothing begins after it
	Ops      int64          // nor after so many; 0: no limit
	Page     int            // keys in a page of a list; default 1000
	Mix      map[string]int // parts of a mixed load; default DefaultMix
	Seed     uint64         // of what is chosen by chance
	// Daemons says what the daemons have used; nil: nobody asks.
	Daemons func(context.Context) ([]Daemon, error)
	// Progress, if set, is told every few seconds how many operations have ended and how long the longest took.
	Progress func(ops int64, longest time.Duration)
}

// S3SizeMax is the largest object of a run.
const S3SizeMax = 5 << 30

// S3Result is what RunS3 measured.
type S3Result struct {
	Kind      Kind           `json:"kind"`
	Bucket    string         `json:"bucket"`
	Run       string         `json:"run"`
	Sizes     []int64        `json:"sizes"`
	PartSize  int64          `json:"part_size,omitempty"`
	Payload   string         `json:"payload"`
	Objects   int64          `json:"objects"` // that the run has now
	InFlight  int            `json:"in_flight"`
	Seconds   float64        `json:"seconds"`
	Ops       int64          `json:"ops"`
	Keys      int64          `json:"keys,omitempty"`    // that lists brought
	Retries   int64          `json:"retries,omitempty"` // of operations that the server was too busy for
	OpsPerSec float64        `json:"ops_per_s"`
	MiBPerSec float64        `json:"mib_per_s"`
	Latency   Latency        `json:"latency_ms"`
	PerOp     []S3Operations `json:"operations,omitempty"` // of a mixed load
	Pause     float64        `json:"longest_pause_ms"`     // in which no operation ended
	CPU       CPU            `json:"cpu"`
}

// S3Operations are those of one kind in a mixed load.
type S3Operations struct {
	Op        string  `json:"op"`
	Ops       int64   `json:"ops"`
	OpsPerSec float64 `json:"ops_per_s"`
	Latency   Latency `json:"latency_ms"`
}

// s3Meta is the content of the object that describes a run.
type s3Meta struct {
	Version int     `json:"version"` // 1
	Objects int64   `json:"objects"` // numbered from Removed on
	Removed int64   `json:"removed"`
	Begun   int64   `json:"begun,omitempty"` // of a put under way: how many there are about; lists may look among them
	Sizes   []int64 `json:"sizes"`
	Spread  bool    `json:"spread"`
}

func (m *s3Meta) size(n int64) int64 {
	return m.Sizes[mix64(uint64(n))%uint64(len(m.Sizes))]
}

// mix64 is a permutation of 64-bit numbers without a pattern that anybody would see.
func mix64(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// s3Prefix begins the keys of a run's objects.
func s3Prefix(run string) string { return "bench." + run + "/" }

func (o *S3Options) check() error {
	if o.Page == 0 {
		o.Page = 1000
	}
	if len(o.Sizes) == 0 {
		o.Sizes = []int64{4 << 20}
	}
	if len(o.Mix) == 0 {
		o.Mix = DefaultMix
	}
	for _, n := range o.Sizes {
		if n < 0 || n > S3SizeMax {
			return fmt.Errorf("an object of %d bytes: want 0 to %d", n, int64(S3SizeMax))
		}
	}
	total := 0
	for name, n := range o.Mix {
		if !slices.Contains(mixable, name) || n < 0 || n > 1e6 {
			return fmt.Errorf("mix of %d parts of %q: want %s", n, name, strings.Join(mixable, ", "))
		}
		total += n
	}
	switch {
	case !slices.Contains([]Kind{Put, Get, ListS3, Delete, Mixed}, o.Kind):
		return fmt.Errorf("benchmark %q: want put, get, list, delete or mixed", o.Kind)
	case o.Run == "" || len(o.Run) > 128 || strings.ContainsAny(o.Run, "/."):
		return fmt.Errorf("name of the run %q: want up to 128 characters without dot and slash", o.Run)
	case o.InFlight < 1 || o.InFlight > InFlightMax:
		return fmt.Errorf("%d operations under way: want 1 to %d", o.InFlight, InFlightMax)
	case o.Time <= 0:
		return fmt.Errorf("time %s: want more than zero", o.Time)
	case o.Page < 1 || o.Page > 1000:
		return fmt.Errorf("%d keys in a page: want 1 to 1000", o.Page)
	case o.PartSize != 0 && o.PartSize < 5<<20:
		return fmt.Errorf("parts of %d bytes: want 5 MiB at least", o.PartSize)
	case total == 0:
		return errors.New("the mix is empty")
	}
	return nil
}

// s3Run is a RunS3 under way.
type s3Run struct {
	o      S3Options
	c      *s3Client
	meta   s3Meta
	salt   uint64
	next   atomic.Int64
	cut    atomic.Int64 // the first operation that was begun and did not succeed
	done   atomic.Int64
	most   atomic.Int64 // the longest operation
	keys   atomic.Int64
	bytes  atomic.Int64
	pauses pauses
	began  time.Time
}

// RunS3 puts load on an S3 server and returns what it measured. An operation that fails ends it with that operation's
// error. When ctx ends early RunS3 returns what was measured until then.
func RunS3(ctx context.Context, o S3Options) (*S3Result, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	c, err := newS3Client(o.Server, o.InFlight)
	if err != nil {
		return nil, err
	}
	defer c.close()
	r := &s3Run{o: o, c: c, salt: rand.Uint64()}
	r.cut.Store(1<<63 - 1)
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	res, err := r.measure(ctx)
	if o.Kind == Put || o.Kind == Delete {
		n := min(r.next.Load(), r.cut.Load(), r.limit())
		if o.Kind == Put {
			r.meta.Objects = n
		} else {
			r.meta.Objects -= n
			r.meta.Removed += n
		}
		if merr := r.saveMeta(context.WithoutCancel(ctx)); err == nil {
			err = merr
		}
	}
	if err != nil {
		return nil, err
	}
	res.Objects = r.meta.Objects
	return res, nil
}

func (r *s3Run) metaKey() string { return "bench." + r.o.Run }

func (r *s3Run) saveMeta(ctx context.Context) error { return r.save(ctx, r.meta) }

func (r *s3Run) save(ctx context.Context, m s3Meta) error {
	b, err := json.Marshal(m)
	if err == nil {
		_, err = r.c.do(ctx, 0, s3Request{method: http.MethodPut, bucket: r.o.Bucket, key: r.metaKey(), body: b}, nil)
	}
	if err != nil {
		return fmt.Errorf("write down what run %q consists of: %w", r.o.Run, err)
	}
	return nil
}

func (r *s3Run) loadMeta(ctx context.Context) error {
	var b bytes.Buffer
	_, err := r.c.do(ctx, 0, s3Request{method: http.MethodGet, bucket: r.o.Bucket, key: r.metaKey()}, &b)
	var status *S3Error
	if errors.As(err, &status) && status.Status == http.StatusNotFound {
		return fmt.Errorf("run %q: %w; make it with put", r.o.Run, err)
	}
	if err == nil {
		err = json.Unmarshal(b.Bytes(), &r.meta)
	}
	if err != nil {
		return fmt.Errorf("what run %q consists of: %w", r.o.Run, err)
	}
	if m := r.meta; m.Version != 1 || m.Objects < 0 || m.Removed < 0 || len(m.Sizes) == 0 || slices.Min(m.Sizes) < 0 || slices.Max(m.Sizes) > S3SizeMax {
		return fmt.Errorf("run %q was made by another version: %+v", r.o.Run, m)
	}
	if r.o.Kind == ListS3 {
		r.meta.Objects = max(r.meta.Objects, r.meta.Begun, 1)
	}
	if r.meta.Objects == 0 {
		return fmt.Errorf("run %q has no objects: it is empty, or being put", r.o.Run)
	}
	return nil
}

func (r *s3Run) prepare(ctx context.Context) error {
	if r.o.Kind != Put {
		if err := r.loadMeta(ctx); err != nil {
			return err
		}
		if r.o.Kind != Mixed {
			r.o.Sizes = r.meta.Sizes
		}
		return nil
	}
	_, err := r.c.do(ctx, 0, s3Request{method: http.MethodPut, bucket: r.o.Bucket}, nil)
	var status *S3Error
	if err != nil && !(errors.As(err, &status) && status.Code == "BucketAlreadyOwnedByYou") {
		return fmt.Errorf("make bucket %q: %w", r.o.Bucket, err)
	}
	r.meta = s3Meta{Version: 1, Sizes: r.o.Sizes, Spread: r.o.Spread}
	return r.saveMeta(ctx)
}

// limit is how many operations there may be.
func (r *s3Run) limit() int64 {
	n := int64(1<<63 - 1)
	if r.o.Kind == Delete {
		n = r.meta.Objects
	}
	if r.o.Ops > 0 {
		n = min(n, r.o.Ops)
	}
	return n
}

// key is the key of an object of the run.
func (r *s3Run) key(n int64) string {
	b := []byte(s3Prefix(r.o.Run))
	if r.meta.Spread {
		const digits = "0123456789abcdef"
		for h, i := mix64(uint64(n)), 0; i < 4; i++ {
			b = append(b, digits[h>>60])
			h <<= 4
		}
		b = append(b, '/')
	}
	return string(appendNumber(b, n))
}

// s3Worker carries out operations one after the other.
type s3Worker struct {
	r      *s3Run
	number int
	chance *rand.Rand
	buf    []byte // of the largest body that is sent at once
	sink   sink
	token  string // of the next page
	mix    []string
	mine   []int64 // objects that a mixed load has put
	put    int64   // how many so far
	hist   map[string]*histogram
}

func (r *s3Run) measure(ctx context.Context) (*S3Result, error) {
	before, err := ask(ctx, r.o.Daemons)
	if err != nil {
		return nil, err
	}
	self, _ := process.Self() // the rest is worth having without
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers := make([]*s3Worker, r.o.InFlight)
	for i := range workers {
		workers[i] = r.worker(i)
	}
	r.began = time.Now()
	stop := r.progress(ctx)
	var wg sync.WaitGroup
	for _, w := range workers {
		wg.Go(func() { // until the time is up, an error, or nothing is left to do
			if err := w.work(ctx); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	stop()
	took := time.Since(r.began)
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	self2, _ := process.Self()
	after, err := ask(context.WithoutCancel(ctx), r.o.Daemons)
	if err != nil {
		return nil, err
	}
	return r.result(workers, took, diff(self, self2), before, after), nil
}

// progress tells of the run every few seconds until stop.
func (r *s3Run) progress(ctx context.Context) (stop func()) {
	if r.o.Progress == nil && r.o.Kind != Put {
		return func() {}
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // until stop
		t := time.NewTicker(5 * time.Second)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-ctx.Done():
				return
			case <-t.C:
				if r.o.Kind == Put {
					now := r.meta
					now.Begun = r.next.Load()
					_ = r.save(ctx, now) // for lists meanwhile; the last one counts
				}
				if r.o.Progress == nil {
					continue
				}
				r.o.Progress(r.done.Load(), time.Duration(r.most.Load()))
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

func (r *s3Run) result(workers []*s3Worker, took time.Duration, self process.Usage, before, after []Daemon) *S3Result {
	var all histogram
	parts := map[string]*histogram{}
	for _, w := range workers {
		for op, h := range w.hist {
			if parts[op] == nil {
				parts[op] = &histogram{}
			}
			parts[op].merge(h)
			all.merge(h)
		}
	}
	moved := float64(r.bytes.Load())
	res := &S3Result{
		Kind: r.o.Kind, Bucket: r.o.Bucket, Run: r.o.Run, Sizes: r.o.Sizes, PartSize: r.o.PartSize, Payload: string(r.c.o.Payload), InFlight: r.o.InFlight,
		Seconds: took.Seconds(), Ops: int64(all.n), Keys: r.keys.Load(), Retries: r.c.retries.Load(),
		OpsPerSec: float64(all.n) / took.Seconds(), MiBPerSec: moved / (1 << 20) / took.Seconds(),
		Latency: latencyOf(&all), Pause: ms(r.pauses.longest()), CPU: costOf(int64(all.n), moved, self, before, after),
	}
	if r.o.Kind == Mixed {
		for _, op := range slices.Sorted(maps.Keys(parts)) {
			h := parts[op]
			res.PerOp = append(res.PerOp, S3Operations{Op: op, Ops: int64(h.n), OpsPerSec: float64(h.n) / took.Seconds(), Latency: latencyOf(h)})
		}
	}
	return res
}

func (r *s3Run) worker(i int) *s3Worker {
	w := &s3Worker{r: r, number: i, chance: rand.New(rand.NewPCG(r.o.Seed, uint64(i))), hist: map[string]*histogram{}}
	if r.o.Kind == Put || r.o.Kind == Mixed {
		most := slices.Max(r.o.Sizes)
		if r.o.PartSize > 0 {
			most = min(most, r.o.PartSize)
		}
		w.buf = make([]byte, most)
		for i := 0; i+8 <= len(w.buf); i += 8 {
			binary.LittleEndian.PutUint64(w.buf[i:], w.chance.Uint64())
		}
	}
	for _, op := range slices.Sorted(maps.Keys(r.o.Mix)) {
		for range r.o.Mix[op] {
			w.mix = append(w.mix, op)
		}
	}
	return w
}

// work carries out operations one after the other.
func (w *s3Worker) work(ctx context.Context) error {
	r := w.r
	deadline, limit := r.began.Add(r.o.Time), r.limit()
	for now := time.Now(); now.Before(deadline) && ctx.Err() == nil; {
		n := r.next.Add(1) - 1
		if n >= limit {
			return nil
		}
		op, err := w.one(ctx, n)
		if err != nil {
			for old := r.cut.Load(); n < old && !r.cut.CompareAndSwap(old, n); old = r.cut.Load() {
			}
			if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
				return nil
			}
			return err
		}
		end := time.Now()
		h := w.hist[op]
		if h == nil {
			h = &histogram{}
			w.hist[op] = h
		}
		took := end.Sub(now)
		h.add(took)
		for old := r.most.Load(); int64(took) > old && !r.most.CompareAndSwap(old, int64(took)); old = r.most.Load() {
		}
		r.done.Add(1)
		now = end
		r.pauses.ended(end.Sub(r.began))
	}
	return nil
}

// one carries out operation n.
func (w *s3Worker) one(ctx context.Context, n int64) (op string, err error) {
	r := w.r
	if r.o.Kind == Mixed {
		op = w.mix[w.chance.IntN(len(w.mix))]
	} else {
		op = string(r.o.Kind)
	}
	some := func() int64 { return r.meta.Removed + w.chance.Int64N(r.meta.Objects) }
	switch {
	case op == "put" && r.o.Kind == Put:
		return op, w.putObject(ctx, r.key(n), n, r.meta.size(n))
	case op == "put":
		w.put++
		w.mine = append(w.mine, w.put)
		return op, w.putObject(ctx, w.own(w.put), w.put, r.o.Sizes[w.chance.IntN(len(r.o.Sizes))])
	case op == "get":
		i := some()
		return op, w.getObject(ctx, r.key(i), i, r.meta.size(i))
	case op == "stat":
		_, err := r.c.do(ctx, w.number, s3Request{method: http.MethodHead, bucket: r.o.Bucket, key: r.key(some())}, nil)
		return op, err
	case op == "list":
		return op, w.list(ctx)
	case r.o.Kind == Delete:
		return op, w.remove(ctx, r.key(r.meta.Removed+n))
	case len(w.mine) == 0: // only what this load has put may go; so that there is something, later
		w.put++
		w.mine = append(w.mine, w.put)
		return "put", w.putObject(ctx, w.own(w.put), w.put, r.o.Sizes[w.chance.IntN(len(r.o.Sizes))])
	default:
		i := w.mine[0]
		w.mine = w.mine[1:]
		return op, w.remove(ctx, w.own(i))
	}
}

// own is the key of an object that this worker of a mixed load has put.
func (w *s3Worker) own(n int64) string {
	return fmt.Sprintf("%smixed/%d/%d", s3Prefix(w.r.o.Run), w.number, n)
}

func (w *s3Worker) remove(ctx context.Context, key string) error {
	_, err := w.r.c.do(ctx, w.number, s3Request{method: http.MethodDelete, bucket: w.r.o.Bucket, key: key}, nil)
	return err
}

// getObject reads an object and checks its length, and the stamp at its beginning.
func (w *s3Worker) getObject(ctx context.Context, key string, n, size int64) error {
	w.sink = sink{}
	if _, err := w.r.c.do(ctx, w.number, s3Request{method: http.MethodGet, bucket: w.r.o.Bucket, key: key}, &w.sink); err != nil {
		return err
	}
	w.r.bytes.Add(w.sink.n)
	if w.sink.n != size {
		return fmt.Errorf("object %q: %d bytes came, it has %d", key, w.sink.n, size)
	}
	if size >= stampBytes {
		if got := int64(binary.LittleEndian.Uint64(w.sink.head[:])); got != n {
			return fmt.Errorf("object %q: its bytes are those of object %d: wrong data was read", key, got)
		}
	}
	return nil
}

// sink keeps the beginning of what is written to it, and counts.
type sink struct {
	head [stampBytes]byte
	n    int64
}

func (s *sink) Write(b []byte) (int, error) {
	if s.n < stampBytes {
		copy(s.head[s.n:], b)
	}
	s.n += int64(len(b))
	return len(b), nil
}
