package bucket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/chunk/cut"
)

// Bodies in chunks. The whole stream is cut, not each data object, so that bytes inserted at its beginning move no
// boundary behind them. A chunk that lies in two data objects has a reference in each.

// Limits of a body that is written as chunks.
const (
	chunkPuts = 16  // chunks of one body on their way at a time
	flushRefs = 256 // references that one operation sets, about
)

// writing says how a body is written.
type writing struct {
	object uint32               // bytes of a data object
	opts   *client.ChunkOptions // nil: data objects have the bytes themselves
	settle client.ChunkOptions  // how chunks are made later of what data objects have themselves
	upTo   bool                 // the body may end before its size
}

// chunksOf returns what makes chunks in a pool, nil if nothing does.
func chunksOf(data client.Objects) *client.Chunks {
	if p, ok := data.(interface{ Chunks() *client.Chunks }); ok {
		return p.Chunks()
	}
	return nil
}

// writing decides how a body of some size is written.
func (b *Bucket) writing(size int64) writing {
	s := b.svc
	plain := writing{object: uint32(s.o.ChunkBytes)}
	if s.chunks == nil {
		return plain
	}
	pol, pool := b.Policy(), s.chunks.Policy()
	opts := client.ChunkOptions{Policy: &pol, Tenant: b.rec.Load().Owner}
	if !pool.IsZero() && (size >= client.MinChunkBytes || size >= int64(client.LeastChunk(&pool)) || !pol.IsZero() && size >= int64(client.LeastChunk(&pol))) {
		plain.settle = opts // what is smaller, or in a pool without chunks, is not settled
	}
	if size < client.MinChunkBytes || pol.IsZero() {
		return plain
	}
	return writing{object: uint32(s.o.ChunkedBytes), opts: &opts, settle: plain.settle}
}

// segment is memory that a part of a body is read into and cut in.
type segment struct {
	buf  []byte
	free func()
	uses int // chunks on their way, and one while it is being filled; guarded by chunkWriter.mu
}

// domain is that of the chunks, as in bucketpb.Entry.
func (w writing) domain() []byte {
	if w.opts == nil {
		return nil
	}
	return []byte(client.DedupDomain(w.opts.Policy, w.opts.Tenant))
}

// chunkWriter writes one body as chunks.
type chunkWriter struct {
	s      *Service
	x      id
	how    writing
	size   int64
	cut    *cut.Cutter
	least  int // a shorter piece is not worth a chunk
	most   int // bytes of a segment
	ctx    context.Context
	cancel context.CancelCauseFunc
	slots  chan struct{}
	flying sync.WaitGroup

	mu      sync.Mutex // guards below
	idle    *sync.Cond // a segment became free
	owned   int        // segments
	free    []*segment
	objects map[uint32]*dataPending
}

// dataPending is what a data object is to be told.
type dataPending struct {
	refs  []chunk.Ref // their ranges are the object's
	bytes uint64      // of these
	since time.Time
}

// writeChunks is writeData for a body that becomes chunks.
func (s *Service) writeChunks(ctx context.Context, x id, how writing, r io.Reader, size int64, h hash.Hash, alive func(context.Context) error) (err error) {
	pol := how.opts.Policy
	w := &chunkWriter{
		s: s, x: x, how: how, size: size, slots: make(chan struct{}, chunkPuts), objects: map[uint32]*dataPending{},
	}
	if w.cut, err = cut.New(pol.Cut, pol.ChunkSize); err != nil {
		return fmt.Errorf("write data: %w", err)
	}
	_, most := w.cut.Limits()
	w.least = client.LeastChunk(pol)
	w.most = int(min(max(int64(most), int64(s.o.ChunkBytes)), size))
	w.idle = sync.NewCond(&w.mu)
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	stop := context.AfterFunc(w.ctx, func() { // so that nobody waits for a segment of a body that failed
		w.mu.Lock()
		defer w.mu.Unlock()
		w.idle.Broadcast()
	})
	defer stop()
	defer func() {
		// Chunks on their way arrive even if the body is no good, so that they can be taken back; only a cluster
		// that fails, or a caller who goes away, ends them.
		w.flying.Wait()
		w.giveUp()
		for _, g := range w.free {
			g.free()
		}
		w.cancel(nil)
	}()
	if err := w.read(r, h, alive); err != nil {
		if cause := context.Cause(w.ctx); cause != nil {
			return cause
		}
		return err
	}
	w.flying.Wait()
	for n := range w.objects {
		w.flush(n)
	}
	return context.Cause(w.ctx)
}

// read reads and cuts the body, up to its verified end.
func (w *chunkWriter) read(r io.Reader, h hash.Hash, alive func(context.Context) error) error {
	g, err := w.first()
	if err != nil {
		return err
	}
	defer func() { w.release(g) }()
	begin, end, last := 0, 0, w.s.o.Now() // of the chunk, of what was read
	for at := int64(0); at < w.size; {
		if end == len(g.buf) {
			if g, err = w.next(g, begin); err != nil {
				return err
			}
			begin, end = 0, end-begin
		}
		n := int(min(int64(min(readStep, len(g.buf)-end)), w.size-at))
		step := g.buf[end : end+n]
		got, err := w.how.take(r, step, h)
		if err != nil {
			return err
		}
		if got < n {
			n, step, w.size = got, step[:got], at+int64(got)
			if got == 0 && end > begin { // the last piece is whole
				if err := w.put(g, at-int64(end-begin), g.buf[begin:end:end]); err != nil {
					return err
				}
			}
		}
		end += n
		at += int64(n)
		for len(step) > 0 {
			m, ends := w.cut.Next(step)
			step = step[m:]
			if whole := end - len(step); ends || at == w.size && len(step) == 0 {
				if err := w.put(g, at-int64(end-begin), g.buf[begin:whole:whole]); err != nil {
					return err
				}
				begin = whole
			}
		}
		now := w.s.o.Now()
		w.flushOld(now)
		if alive != nil && now.Sub(last) > w.s.o.KeepAlive {
			if err := alive(w.ctx); err != nil {
				return err
			}
			last = now
		}
	}
	return finish(r)
}

// first returns the first segment, when there is memory.
func (w *chunkWriter) first() (*segment, error) {
	if err := w.s.writes.Acquire(w.ctx, w.weight()); err != nil {
		return nil, context.Cause(w.ctx)
	}
	return w.make(), nil
}

func (w *chunkWriter) weight() int64 { return min(int64(w.most), w.s.o.WriteBytes) }

func (w *chunkWriter) make() *segment {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.owned++
	var free func()
	g := &segment{uses: 1}
	if w.most == w.s.o.ChunkBytes {
		g.buf, free = w.s.buffer(int64(w.most))
	} else {
		g.buf, free = make([]byte, w.most), func() {}
	}
	g.free = func() {
		free()
		w.s.writes.Release(w.weight())
	}
	return g
}

// next returns a segment to go on with, which begins with what g has from begin on. It waits for no memory but the
// body's own: whoever holds some and waits for more would wait for others who do the same.
func (w *chunkWriter) next(g *segment, begin int) (*segment, error) {
	w.mu.Lock()
	for {
		if w.ctx.Err() != nil {
			w.mu.Unlock()
			return g, context.Cause(w.ctx)
		}
		if g.uses == 1 {
			w.mu.Unlock()
			copy(g.buf, g.buf[begin:])
			return g, nil
		}
		if n := len(w.free); n > 0 {
			to := w.free[n-1]
			w.free, to.uses = w.free[:n-1], 1
			w.mu.Unlock()
			return w.move(g, to, begin), nil
		}
		if w.owned < w.s.o.Window && w.s.writes.TryAcquire(w.weight()) {
			w.mu.Unlock()
			return w.move(g, w.make(), begin), nil
		}
		w.idle.Wait()
	}
}

func (w *chunkWriter) move(g, to *segment, begin int) *segment {
	copy(to.buf, g.buf[begin:])
	w.release(g)
	return to
}

// release ends one use of a segment.
func (w *chunkWriter) release(g *segment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if g.uses--; g.uses == 0 {
		w.free = append(w.free, g)
	}
	if g.uses <= 1 {
		w.idle.Broadcast()
	}
}

// put starts to store the piece of the body at an offset.
func (w *chunkWriter) put(g *segment, off int64, data []byte) error {
	select {
	case w.slots <- struct{}{}:
	case <-w.ctx.Done():
		return context.Cause(w.ctx)
	}
	w.mu.Lock()
	g.uses++
	w.mu.Unlock()
	w.flying.Go(func() { // ends with its requests, which w.ctx bounds
		defer func() {
			w.release(g)
			<-w.slots
		}()
		if err := w.store(off, data); err != nil {
			w.cancel(fmt.Errorf("write data: %w", err))
		}
	})
	return nil
}

// dataSpan is the part of a piece of the body that lies in one data object.
type dataSpan struct {
	object uint32
	off    uint64 // in the object
	from   uint32 // in the piece
	n      uint32
}

// spans says in which data objects n bytes at an offset of a body lie.
func spans(off int64, n int, object uint32) (out []dataSpan) {
	for from := 0; from < n; {
		at := off + int64(from)
		in := at % int64(object)
		m := min(int64(object)-in, int64(n-from))
		out = append(out, dataSpan{object: uint32(at / int64(object)), off: uint64(in), from: uint32(from), n: uint32(m)})
		from += int(m)
	}
	return out
}

// store makes a chunk of a piece of the body, and has the data objects that it lies in refer to it.
func (w *chunkWriter) store(off int64, data []byte) error {
	parts := spans(off, len(data), w.how.object)
	if len(data) >= w.least {
		object := dataObject(w.x, parts[0].object)
		done := timeData(w.ctx)
		ref, err := w.s.chunks.PutChunk(w.ctx, object, data, *w.how.opts)
		done()
		if err == nil {
			return w.refer(parts, ref)
		}
		if !errors.Is(err, client.ErrFewHolders) {
			return err
		}
	}
	for _, p := range parts {
		// At once: the bytes lie in a segment that others wait for.
		op := new(client.Op).Write(p.off, data[p.from:p.from+p.n]).SettleAs(w.how.settle)
		if _, err := w.s.data.Do(w.ctx, dataObject(w.x, p.object), op); err != nil {
			return err
		}
	}
	return nil
}

// refer notes references to a chunk, of which the first data object has one.
func (w *chunkWriter) refer(parts []dataSpan, ref chunk.Ref) error {
	for i, p := range parts {
		r := ref
		if i > 0 {
			made, err := w.s.chunks.Refer(w.ctx, dataObject(w.x, p.object), []chunk.Ref{ref})
			if err != nil {
				return err
			}
			r = made[0]
		}
		r.Range = chunk.Range{From: p.off, To: p.off + uint64(p.n)}
		r.ChunkOff = p.from
		w.mu.Lock()
		d := w.objects[p.object]
		if d == nil {
			d = &dataPending{since: w.s.o.Now()}
			w.objects[p.object] = d
		}
		d.refs = append(d.refs, r)
		d.bytes += uint64(p.n)
		due := len(d.refs) >= flushRefs || d.bytes == uint64(w.how.object)
		w.mu.Unlock()
		if due {
			w.flush(p.object)
		}
	}
	return nil
}

// flushOld sets references that have waited: those that wait too long are taken for left behind.
func (w *chunkWriter) flushOld(now time.Time) {
	var due []uint32
	w.mu.Lock()
	for n, d := range w.objects {
		if now.Sub(d.since) > w.s.o.KeepAlive {
			due = append(due, n)
		}
	}
	w.mu.Unlock()
	for _, n := range due {
		w.flush(n)
	}
}

// flush has a data object refer to the chunks that were stored for it. An error ends the body.
func (w *chunkWriter) flush(n uint32) {
	w.mu.Lock()
	d := w.objects[n]
	delete(w.objects, n)
	w.mu.Unlock()
	if d == nil {
		return
	}
	slices.SortFunc(d.refs, func(a, b chunk.Ref) int { return cmp.Compare(a.Range.From, b.Range.From) })
	op := new(client.Op)
	for i := range d.refs {
		r := &d.refs[i]
		op.SetRef(r.Range.From, r.Range.Len(), *r)
	}
	if err := w.s.chunks.SetRefs(w.ctx, dataObject(w.x, n), op, d.refs); err != nil {
		w.cancel(fmt.Errorf("write data: %w", err))
	}
}

// giveUp takes back what no data object was told to refer to, after a failure.
func (w *chunkWriter) giveUp() {
	for n, d := range w.objects {
		w.s.chunks.AbandonChunks(w.ctx, dataObject(w.x, n), d.refs)
	}
}
