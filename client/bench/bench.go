package bench

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/process"
)

// Kind is what a run does.
type Kind string

// The kinds.
const (
	Write     Kind = "write"     // makes objects, one after the other
	RandWrite Kind = "randwrite" // overwrites pieces of a run's objects, chosen by chance
	Seq       Kind = "seq"       // reads a run's objects once, one after the other
	Rand      Kind = "rand"      // reads pieces of a run's objects, chosen by chance
)

// Pool is what a run needs of a pool; *client.Pool is it. If it is client.ChunkObjects, what is written becomes chunks by
// the pool's policy.
type Pool interface {
	client.Objects
	List(ctx context.Context, from client.Cursor, limit int) ([]string, client.Cursor, error)
}

// Daemon is what the process of a daemon has used since its start.
type Daemon struct {
	Name  string // such as osd.0
	Usage process.Usage
}

// Options configures Run.
type Options struct {
	Kind       Kind
	Run        string        // name of the run
	Size       int           // bytes of an operation; 0: of Write 4 MiB, of the others what wrote the run
	ObjectSize int           // bytes of an object that Write makes, a multiple of Size; 0: Size
	InFlight   int           // operations under way at a time
	Time       time.Duration // nothing begins after it
	Ops        int64         // nor after so many; 0: no limit
	Seed       uint64        // of what is chosen by chance
	// Daemons says what the daemons have used; nil: nobody asks.
	Daemons func(context.Context) ([]Daemon, error)
}

// Limits of Options.
const (
	SizeMax     = 64 << 20
	InFlightMax = 4096
	stampBytes  = 16
)

// meta is the content of the object that describes a run.
type meta struct {
	Version    int   `json:"version"` // 1
	Objects    int64 `json:"objects"`
	ObjectSize int   `json:"object_size"`
	Size       int   `json:"size"` // of the operations that wrote them
}

func metaName(run string) string { return "bench." + run }

// prefix begins the names of a run's objects.
func prefix(run string) string { return metaName(run) + "." }

func (o *Options) check() error {
	switch {
	case o.Kind != Write && o.Kind != RandWrite && o.Kind != Seq && o.Kind != Rand:
		return fmt.Errorf("benchmark %q: want write, randwrite, seq or rand", o.Kind)
	case o.Run == "" || len(o.Run) > 128 || strings.ContainsRune(o.Run, '.'):
		return fmt.Errorf("name of the run %q: want up to 128 characters without a dot", o.Run)
	case o.InFlight < 1 || o.InFlight > InFlightMax:
		return fmt.Errorf("%d operations under way: want 1 to %d", o.InFlight, InFlightMax)
	case o.Time <= 0:
		return fmt.Errorf("time %s: want more than zero", o.Time)
	case o.Size < 0 || o.Size > SizeMax || o.ObjectSize < 0 || o.ObjectSize > SizeMax:
		return fmt.Errorf("sizes of %d and %d bytes: want 1 to %d", o.Size, o.ObjectSize, SizeMax)
	}
	return nil
}

// run is a Run under way.
type run struct {
	o      Options
	pool   Pool
	meta   meta
	pieces int64 // operations of one object
	next   atomic.Int64
	salt   uint64       // in what is written, so that no run's chunks are another's
	cut    atomic.Int64 // the first operation that was begun and did not succeed
	pauses pauses
	began  time.Time
}

// Run puts load on a pool and returns what it measured. An operation that fails
// ends it with that operation's error. When ctx ends early Run returns what was
// measured until then.
func Run(ctx context.Context, pool Pool, o Options) (*Result, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	r := &run{o: o, pool: pool, salt: rand.Uint64()}
	r.cut.Store(1<<63 - 1)
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	res, err := r.measure(ctx)
	if o.Kind == Write {
		r.meta.Objects = r.written()
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

// written is how many objects were written whole and without a gap before them.
func (r *run) written() int64 {
	return min(r.next.Load(), r.limit(), r.cut.Load()) / r.pieces
}

// prepare finds the sizes and the objects there are.
func (r *run) prepare(ctx context.Context) error {
	if r.o.Kind == Write {
		if r.o.Size == 0 {
			r.o.Size = 4 << 20
		}
		if r.o.ObjectSize == 0 {
			r.o.ObjectSize = r.o.Size
		}
		r.meta = meta{Version: 1, ObjectSize: r.o.ObjectSize, Size: r.o.Size}
		if err := r.saveMeta(ctx); err != nil { // so that a run that is cut off is known, too
			return err
		}
	} else {
		if err := r.loadMeta(ctx); err != nil {
			return err
		}
		if r.o.Size == 0 {
			r.o.Size = r.meta.Size
		}
		r.o.ObjectSize = r.meta.ObjectSize
	}
	if r.o.Size > r.o.ObjectSize || r.o.ObjectSize%r.o.Size != 0 {
		return fmt.Errorf("operations of %d bytes on objects of %d: want a divisor", r.o.Size, r.o.ObjectSize)
	}
	if r.o.Kind == RandWrite && r.meta.Size%r.o.Size != 0 {
		return fmt.Errorf("overwriting %d bytes at a time where %d were written: want a divisor, or stamps would be lost", r.o.Size, r.meta.Size)
	}
	r.pieces = int64(r.o.ObjectSize / r.o.Size)
	return nil
}

func (r *run) saveMeta(ctx context.Context) error {
	b, err := json.Marshal(r.meta)
	if err == nil {
		_, err = r.pool.Do(ctx, metaName(r.o.Run), new(client.Op).WriteFull(b))
	}
	if err != nil {
		return fmt.Errorf("write down what run %q consists of: %w", r.o.Run, err)
	}
	return nil
}

func (r *run) loadMeta(ctx context.Context) error {
	res, err := r.pool.Do(ctx, metaName(r.o.Run), new(client.Op).Read(0, 0))
	if errors.Is(err, client.ErrNotFound) {
		return fmt.Errorf("run %q: %w; make it with write and --no-cleanup", r.o.Run, client.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("what run %q consists of: %w", r.o.Run, err)
	}
	if err := json.Unmarshal(res.Items[0].Data, &r.meta); err != nil {
		return fmt.Errorf("what run %q consists of: %w", r.o.Run, err)
	}
	if m := r.meta; m.Version != 1 || m.Objects < 0 || m.ObjectSize < 1 || m.ObjectSize > SizeMax || m.Size < 1 || m.Size > m.ObjectSize {
		return fmt.Errorf("run %q was made by another version: %+v", r.o.Run, m)
	}
	if r.meta.Objects == 0 {
		return fmt.Errorf("run %q has no objects: its write was cut off; %w", r.o.Run, client.ErrNotFound)
	}
	return nil
}

// limit is how many operations there may be.
func (r *run) limit() int64 {
	n := int64(1<<63 - 1)
	if r.o.Kind == Seq {
		n = r.meta.Objects * r.pieces
	}
	if r.o.Ops > 0 {
		n = min(n, r.o.Ops)
	}
	return n
}

// measure runs the load between two looks at what everybody has used.
func (r *run) measure(ctx context.Context) (*Result, error) {
	before, err := r.daemons(ctx)
	if err != nil {
		return nil, err
	}
	self, _ := process.Self() // the rest is worth having without
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.began = time.Now()
	parts := make([]histogram, r.o.InFlight)
	var wg sync.WaitGroup
	for i := range parts {
		wg.Go(func() { // until the time is up, an error, or nothing is left to do
			if err := r.work(ctx, &parts[i], uint64(i)); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	took := time.Since(r.began)
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	self2, _ := process.Self()
	after, err := r.daemons(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	all := &parts[0]
	for i := range parts[1:] {
		all.merge(&parts[i+1])
	}
	return r.result(all, took, diff(self, self2), before, after), nil
}

func (r *run) daemons(ctx context.Context) ([]Daemon, error) { return ask(ctx, r.o.Daemons) }

// ask asks what the daemons have used.
func ask(ctx context.Context, daemons func(context.Context) ([]Daemon, error)) ([]Daemon, error) {
	if daemons == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return daemons(ctx)
}

// work carries out operations one after the other.
func (r *run) work(ctx context.Context, h *histogram, number uint64) error {
	chance := rand.New(rand.NewPCG(r.o.Seed, number))
	buf := make([]byte, r.o.Size)
	for i := 0; i+8 <= len(buf); i += 8 {
		binary.LittleEndian.PutUint64(buf[i:], chance.Uint64())
	}
	deadline, limit := r.began.Add(r.o.Time), r.limit()
	name := []byte(prefix(r.o.Run))
	base := len(name)
	for now := time.Now(); now.Before(deadline) && ctx.Err() == nil; {
		n := r.next.Add(1) - 1
		if n >= limit {
			return nil
		}
		if r.o.Kind == RandWrite || r.o.Kind == Rand {
			n = chance.Int64N(r.meta.Objects * r.pieces)
		}
		object, off := n/r.pieces, n%r.pieces*int64(r.o.Size)
		name = appendNumber(name[:base], object)
		if err := r.do(ctx, string(name), object, off, buf); err != nil {
			for old := r.cut.Load(); n < old && !r.cut.CompareAndSwap(old, n); old = r.cut.Load() {
			}
			if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
				return nil
			}
			return err
		}
		end := time.Now()
		h.add(end.Sub(now))
		now = end
		r.pauses.ended(end.Sub(r.began))
	}
	return nil
}

// pauses keeps the longest time in which no operation ended.
type pauses struct {
	last, most atomic.Int64
}

// ended notes that an operation ended, at a time since the beginning.
func (p *pauses) ended(at time.Duration) {
	gap := int64(at) - p.last.Swap(int64(at))
	for old := p.most.Load(); gap > old && !p.most.CompareAndSwap(old, gap); old = p.most.Load() {
	}
}

func (p *pauses) longest() time.Duration { return time.Duration(p.most.Load()) }

// appendNumber appends a number of eight digits or more.
func appendNumber(b []byte, n int64) []byte {
	for width := int64(10_000_000); width > 1 && n < width; width /= 10 {
		b = append(b, '0')
	}
	return strconv.AppendInt(b, n, 10)
}

// do carries out one operation.
func (r *run) do(ctx context.Context, name string, object, off int64, buf []byte) error {
	op := new(client.Op)
	switch {
	case r.o.Kind == Seq || r.o.Kind == Rand:
		res, err := r.pool.Do(ctx, name, op.Read(uint64(off), uint64(r.o.Size)))
		if err != nil {
			return err
		}
		defer res.Release()
		return r.verify(name, object, off, res.Items[0].Data)
	case r.o.Kind == Write && r.pieces == 1:
		op.WriteFull(buf)
	default:
		op.Write(uint64(off), buf)
	}
	stamp(buf, object, off, r.salt)
	var err error
	if c, ok := r.pool.(client.ChunkObjects); ok {
		_, err = c.DoChunked(ctx, name, op, client.ChunkOptions{})
	} else {
		_, err = r.pool.Do(ctx, name, op)
	}
	return err
}

// stampEvery is how far apart stamps are in what is written. No two chunks are equal then, or a pool would store one of them.
const stampEvery = 8 << 10

func stamp(b []byte, object, off int64, salt uint64) {
	for ; len(b) >= stampBytes; b = b[stampEvery:] {
		binary.LittleEndian.PutUint64(b, uint64(object))
		binary.LittleEndian.PutUint64(b[8:], uint64(off))
		if len(b) >= stampBytes+8 {
			binary.LittleEndian.PutUint64(b[stampBytes:], salt)
		}
		if len(b) <= stampEvery {
			return
		}
		off += stampEvery
	}
}

// verify checks what can be known of bytes that were read: length and stamp. Reads
// of other sizes than the writes' find stamps only where an operation began.
func (r *run) verify(name string, object, off int64, b []byte) error {
	if len(b) != r.o.Size {
		return fmt.Errorf("object %q: read of %d bytes at %d brought %d", name, r.o.Size, off, len(b))
	}
	if len(b) < stampBytes || off%int64(r.meta.Size) != 0 {
		return nil
	}
	if o, at := int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint64(b[8:])); o != object || at != off {
		return fmt.Errorf("object %q: bytes at %d are those of object %d at %d: wrong data was read", name, off, o, at)
	}
	return nil
}

// Clean removes a run's objects, several at a time, and returns how many there were.
func Clean(ctx context.Context, pool Pool, name string, inFlight int) (removed int64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	names := make(chan string, inFlight)
	var count atomic.Int64
	remove := func(object string) {
		if _, err := pool.Do(ctx, object, new(client.Op).Remove(true)); err != nil && !errors.Is(err, client.ErrNotFound) {
			cancel(fmt.Errorf("clean up run %q: %w", name, err))
			return
		}
		count.Add(1)
	}
	var wg sync.WaitGroup
	for range max(1, inFlight) {
		wg.Go(func() { // until names is closed
			for object := range names {
				if ctx.Err() == nil {
					remove(object)
				}
			}
		})
	}
	for at := (client.Cursor{}); !at.End && ctx.Err() == nil; {
		page, next, err := pool.List(ctx, at, 1000)
		if err != nil {
			cancel(fmt.Errorf("clean up run %q: %w", name, err))
			break
		}
		for _, object := range page {
			if strings.HasPrefix(object, prefix(name)) {
				names <- object
			}
		}
		at = next
	}
	close(names)
	wg.Wait()
	if ctx.Err() == nil {
		remove(metaName(name)) // last: as long as it is there the run is not gone
		count.Add(-1)
	}
	return max(count.Load(), 0), context.Cause(ctx)
}
