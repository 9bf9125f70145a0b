package bucket

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/cairnstore/cairn/client"
)

// Options configures NewService. The zero value of every optional field means
// "use the default".
type Options struct {
	Meta client.Objects // required: registry, indexes, uploads
	Data client.Objects // required: bodies; may be the same pool
	Log  *slog.Logger   // default slog.Default()

	InlineBytes int // largest body kept in the index; default 16 KiB, at most 256 KiB; negative: none
	ChunkBytes  int // size of data objects; default 4 MiB, at most 32 MiB
	// ChunkedBytes is the size of data objects that refer to chunks; default and at most 32 MiB.
	ChunkedBytes int

	// Grace is how long data that became useless stays, for readers that began
	// before; default 1 minute, negative: none. It must be longer than KeepAlive.
	Grace time.Duration
	// IntentTTL is how long a put may go without a sign of life before Sweep takes
	// what it wrote for abandoned; default 1 hour. Puts give one every KeepAlive.
	IntentTTL time.Duration
	KeepAlive time.Duration // default 20 s

	WriteBytes int64 // memory for bodies being written, all together; default 256 MiB
	ReadBytes  int64 // memory for bodies being read, all together; default 256 MiB
	Window     int   // data objects in flight for one body; default 4

	SplitEntries int   // a partition with more entries is split; default 20,000
	SplitBytes   int64 // or with more bytes in its omap; default 64 MiB

	Now func() time.Time // default time.Now
}

func (o *Options) fill() error {
	if o.Meta == nil || o.Data == nil {
		return fmt.Errorf("bucket service: Meta and Data pools are required")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	set := func(v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
	}
	setn := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	set(&o.Grace, time.Minute)
	set(&o.IntentTTL, time.Hour)
	set(&o.KeepAlive, 20*time.Second)
	setn(&o.InlineBytes, 16<<10)
	setn(&o.ChunkBytes, 4<<20)
	setn(&o.ChunkedBytes, 32<<20)
	setn(&o.Window, 4)
	setn(&o.SplitEntries, 20_000)
	if o.SplitBytes == 0 {
		o.SplitBytes = 64 << 20
	}
	if o.WriteBytes == 0 {
		o.WriteBytes = 256 << 20
	}
	if o.ReadBytes == 0 {
		o.ReadBytes = 256 << 20
	}
	o.Grace, o.InlineBytes = max(o.Grace, 0), max(o.InlineBytes, 0)
	switch {
	case o.InlineBytes > 256<<10:
		return fmt.Errorf("bucket service: InlineBytes %d: at most %d", o.InlineBytes, 256<<10)
	case o.ChunkBytes < 1 || o.ChunkBytes > 32<<20:
		return fmt.Errorf("bucket service: ChunkBytes %d: want 1 to %d", o.ChunkBytes, 32<<20)
	case o.ChunkedBytes < 1 || o.ChunkedBytes > 32<<20:
		return fmt.Errorf("bucket service: ChunkedBytes %d: want 1 to %d", o.ChunkedBytes, 32<<20)
	case o.WriteBytes < int64(o.ChunkBytes) || o.ReadBytes < int64(o.ChunkBytes):
		return fmt.Errorf("bucket service: WriteBytes and ReadBytes must hold a chunk of %d bytes", o.ChunkBytes)
	case o.Window < 1 || o.SplitEntries < 2 || o.SplitBytes < 1 || o.IntentTTL <= o.KeepAlive:
		return fmt.Errorf("bucket service: Window, SplitEntries, SplitBytes must be positive and IntentTTL longer than KeepAlive")
	}
	return nil
}

// Service serves the buckets of one pair of pools. It is safe for concurrent
// use; other processes may serve the same buckets at the same time.
type Service struct {
	o      Options
	meta   client.Objects
	data   client.Objects
	chunks *client.Chunks // of data; nil if it makes none
	log    *slog.Logger
	writes *semaphore.Weighted // bytes of bodies being written
	reads  *semaphore.Weighted // bytes of bodies being read
	copies *semaphore.Weighted // server-side copies, whose readers are not counted in reads
	pool   sync.Pool           // *[]byte of ChunkBytes
	jobs   *jobs

	gatherer gatherer

	mu      sync.Mutex // guards below
	views   map[id]*view
	buckets map[string]*record
	users   map[string]*userUse
}

const (
	maxCachedBuckets = 4096
	maxCopies        = 16
)

// New makes a service with default options. The pools may be the same.
func New(meta, data client.Objects) *Service {
	s, err := NewService(Options{Meta: meta, Data: data})
	if err != nil {
		panic(err) // only a nil pool: a mistake of the program, not of its input
	}
	return s
}

// NewService makes a service. Close it to stop its background work.
func NewService(o Options) (*Service, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	s := &Service{
		o: o, chunks: chunksOf(o.Data), log: o.Log,
		writes:  semaphore.NewWeighted(o.WriteBytes),
		reads:   semaphore.NewWeighted(o.ReadBytes),
		copies:  semaphore.NewWeighted(maxCopies),
		views:   map[id]*view{},
		buckets: map[string]*record{},
		users:   map[string]*userUse{},
	}
	s.meta = timed{o.Meta, func(t *Times) *Spent { return &t.Index }}
	s.data = timed{o.Data, func(t *Times) *Spent { return &t.Data }}
	s.pool.New = func() any { b := make([]byte, o.ChunkBytes); return &b }
	s.jobs = newJobs(s.log)
	return s, nil
}

// Close stops the background work and waits for it; what is left undone is in
// the outboxes for the next Sweep. It is idempotent.
func (s *Service) Close() error {
	s.jobs.close()
	return nil
}

func (s *Service) view(b id) *view {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.views[b]
	if v == nil {
		if len(s.views) >= maxCachedBuckets {
			clear(s.views)
		}
		v = &view{parts: map[uint64]*partition{}, load: map[uint64]*load{}}
		s.views[b] = v
	}
	return v
}

// detached gives work that must outlive its request's context a bound of its own.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
}

// jobs runs work in the background, a few pieces at a time, each at or after its
// time. A job is named, and never runs twice at a time; asking for the same name again keeps the earlier time.
// When there are too many, the excess is dropped: Sweep finds what they were for.
type jobs struct {
	log    *slog.Logger
	wake   chan struct{}
	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex // guards below
	started bool
	closed  bool
	list    map[string]job
	running map[string]bool
}

// maxRunning bounds the jobs that run at a time, so that a split need not wait for the removal of much data.
const maxRunning = 4

type job struct {
	at  time.Time
	run func(ctx context.Context) error
}

const maxJobs = 10_000

func newJobs(log *slog.Logger) *jobs {
	ctx, cancel := context.WithCancel(context.Background())
	return &jobs{log: log, wake: make(chan struct{}, 1), ctx: ctx, cancel: cancel, list: map[string]job{}, running: map[string]bool{}}
}

func (j *jobs) add(name string, after time.Duration, run func(ctx context.Context) error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	at := time.Now().Add(after)
	old, found := j.list[name]
	if j.closed || found && !at.Before(old.at) || !found && len(j.list) >= maxJobs {
		return
	}
	j.list[name] = job{at, run}
	if !j.started {
		j.started = true
		j.done.Add(1)
		go j.loop() // stopped by close
	}
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

func (j *jobs) loop() {
	defer j.done.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		name, due := j.next()
		if name == "" {
			timer.Reset(due)
			select {
			case <-j.ctx.Done():
				return
			case <-j.wake:
			case <-timer.C:
			}
			continue
		}
		j.start(name)
	}
}

// start runs a job.
func (j *jobs) start(name string) {
	j.mu.Lock()
	run := j.list[name].run
	delete(j.list, name)
	j.running[name] = true
	j.mu.Unlock()
	j.done.Go(func() { // ends with its work, which close cancels
		if err := run(j.ctx); err != nil && j.ctx.Err() == nil {
			// Nothing is lost: the record that asked for it stays, and Sweep comes by.
			j.log.Warn("background work on buckets", "job", name, "err", err)
		}
		j.mu.Lock()
		delete(j.running, name)
		j.mu.Unlock()
		select {
		case j.wake <- struct{}{}:
		default:
		}
	})
}

// next returns the name of a job that is due, or how long there is none.
func (j *jobs) next() (name string, wait time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	wait = time.Hour
	if len(j.running) >= maxRunning || j.ctx.Err() != nil {
		return "", wait
	}
	now := time.Now()
	for n, job := range j.list {
		if j.running[n] {
			continue
		}
		if d := job.at.Sub(now); d < wait {
			name, wait = n, d
		}
	}
	if wait > 0 {
		return "", wait
	}
	return name, 0
}

func (j *jobs) close() {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	j.cancel()
	j.done.Wait()
}

// Ping asks the cluster for the registry, to see that it answers.
func (s *Service) Ping(ctx context.Context) error {
	_, err := s.meta.Do(ctx, registryObject, new(client.Op).Stat())
	if errors.Is(err, client.ErrNotFound) {
		return nil
	}
	return err
}
