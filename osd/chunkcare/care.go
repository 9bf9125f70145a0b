package chunkcare

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/placement"
)

// Options configures New. Zero values of the optional fields mean the defaults.
type Options struct {
	Self    placement.OSDID // the OSD
	Cluster Cluster         // required
	Shards  Shards          // required
	Groups  Groups          // required
	Clock   Clock           // default the system's
	Log     *slog.Logger    // default slog.Default()
	// Parallel is how many entries or objects are worked on at a time; default 8. With 1 no goroutine is started.
	Parallel int
	Page     int           // names of one listing; default 512
	Tick     time.Duration // how often Run looks what is due; default 1 s
	// Settings returns what the central configuration says; default SettingsOf.
	Settings func(*placement.Map) Settings
	// Chunks makes chunks of what objects of a pool have; nil: nothing is settled.
	Chunks func(placement.PoolID) (Chunker, error)
	// SettleRules returns what the central configuration says of settling; default SettleRulesOf.
	SettleRules func(*placement.Map) SettleRules
	// Pause waits, at most until ctx ends; default by a timer.
	Pause  func(ctx context.Context, d time.Duration)
	Mutant Mutant // breaks a rule, for tests
}

// Settings are intervals of the central configuration.
type Settings struct {
	GCInterval  time.Duration // the length of a GC epoch
	OutboxEvery time.Duration // how often outbox records are worked off
	OrphanAge   time.Duration // how old what nobody knows of must be before it is taken for left behind
	VoidAge     time.Duration // how long void records are kept
	LightEvery  time.Duration // how often every entry is looked at, and its holders are asked for the shards
	DeepEvery   time.Duration // how often shards are read, and objects' references compared with entries
}

// Mutant breaks a rule of safety, so that tests can show that they would notice.
type Mutant int

// The mutants.
const (
	None            Mutant = iota
	GCUnconditional        // entries are deleted whatever has become of them
	GCNoEpoch              // condemned entries are deleted at once
	OutboxBlind            // what an outbox record says is believed without a look at the object
	CountEarly             // a shard's new holder is entered before it has the shard
	OrphanNoVoid           // shards nobody knows of are dropped, though an entry may be about to be made of them
	AuditNoVoid            // references no object has are removed, though an object may be about to have them
	OrphanUnmarked         // a shard that was moved is dropped, though it may be about to be moved back
	CondemnBlind           // entries are condemned though somebody may have begun to refer to them
	SettleBlind            // references are set though the object may have been written since its bytes were read
	SettleAbandon          // references of which nobody knows whether they were set are given up
)

// limits of what is kept in memory.
const (
	problemsMax = 100
	jobsMax     = 4096
)

// Care looks after chunks. Make it with New; Run does its work.
type Care struct {
	o    Options
	log  *slog.Logger
	busy chan struct{} // holds one while a step is under way

	mu      sync.Mutex // guards below
	table   *placement.Table
	groups  map[placement.PGID]*group
	own     map[placement.PoolID]*turn // looking through the OSD's own shards
	marks   map[at]*leaving            // of entries of which this OSD drops shards, see leavingAttr
	sum     Work
	events  []Problem // that were put right
	queue   []asked
	begun   uint64  // runs that Begin was asked for
	runs    uint64  // the last of them that has been done
	running string  // the one that is being done
	last    *Report // of the last that has been done
	failed  *turn   // the work that failed last and has not been done since
	waiting string  // why

	settling settling
}

// group is what is known of one PG that the OSD leads.
type group struct {
	id    placement.PGID
	clean bool
	stat  Stat

	problems [looks][]Problem // what the last look of each kind found

	outbox, gc, voids, moved, light, deep turn

	where uint64        // digest of the OSDs that could hold shards when all entries were last looked at
	took  time.Duration // that took
}

// turn is when a kind of work was done last, and whether it may be done again.
type turn struct {
	last  time.Time
	after time.Time // after a failure: not before
	fails int
}

// New makes a Care.
func New(o Options) (*Care, error) {
	if o.Cluster == nil || o.Shards == nil || o.Groups == nil {
		return nil, errors.New("care for chunks: Cluster, Shards and Groups are required")
	}
	if o.Clock == nil {
		o.Clock = clock.NewSystem()
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Parallel <= 0 {
		o.Parallel = 8
	}
	if o.Page <= 0 {
		o.Page = 512
	}
	if o.Tick <= 0 {
		o.Tick = time.Second
	}
	if o.Settings == nil {
		o.Settings = SettingsOf
	}
	if o.SettleRules == nil {
		o.SettleRules = SettleRulesOf
	}
	if o.Pause == nil {
		o.Pause = pause
	}
	o.Cluster = newServed(o.Cluster, o.Clock)
	return &Care{
		o: o, log: o.Log, busy: make(chan struct{}, 1), settling: newSettling(),
		groups: map[placement.PGID]*group{}, own: map[placement.PoolID]*turn{}, marks: map[at]*leaving{},
	}, nil
}

// each calls f for 0 to n-1, so many at a time as the options allow. It returns the first error; the rest is
// left out then.
func (c *Care) each(ctx context.Context, n int, f func(i int) error) error {
	if c.o.Parallel == 1 || n <= 1 {
		for i := range n {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := f(i); err != nil {
				return err
			}
		}
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	room := make(chan struct{}, c.o.Parallel)
	var wg sync.WaitGroup
	for i := range n {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() { // ends with its item
			defer func() { <-room }()
			if err := f(i); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// failuresMax is how much may fail in one go before the rest is left for later.
const failuresMax = 16

// most is each, but what fails does not keep the others from being done, unless much does. It returns the first error.
func (c *Care) most(ctx context.Context, n int, f func(i int) error) error {
	var b bearing
	if err := c.each(ctx, n, func(i int) error { return b.bear(ctx, f(i)) }); err != nil {
		return err
	}
	return b.error()
}

// bearing bears some failures.
type bearing struct {
	mu    sync.Mutex // guards below
	first error
	n     int
}

// bear notes an error and returns nil as long as there are few, or others do not suffer from them.
func (b *bearing) bear(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.first == nil {
		b.first = err
	}
	if unserved(err) {
		return nil
	}
	if b.n++; b.n < failuresMax {
		return nil
	}
	return b.first
}

func (b *bearing) error() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.first
}

func (b *bearing) full() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n >= failuresMax
}

func is(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}

// gone reports whether an error says that a condition of an operation did not hold any more.
func gone(err error) bool {
	return is(err, client.ErrNotFound, client.ErrConflict, client.ErrExists)
}
