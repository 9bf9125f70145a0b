package bucket

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// readStep is how much of a body is read at a time: small enough to be hashed
// while it is in the cache.
const readStep = 64 << 10

// fill reads exactly len(buf) bytes and hashes them.
func fill(r io.Reader, buf []byte, h hash.Hash) error {
	for n := 0; n < len(buf); {
		m, err := io.ReadFull(r, buf[n:min(n+readStep, len(buf))])
		h.Write(buf[n : n+m])
		n += m
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: it ends early", ErrBodySize)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fillUpTo is fill for a body that may end before buf is full; n < len(buf) says that it did.
func fillUpTo(r io.Reader, buf []byte, h io.Writer) (n int, err error) {
	for idle := 0; n < len(buf); idle++ {
		m, err := r.Read(buf[n:min(n+readStep, len(buf))])
		_, _ = h.Write(buf[n : n+m]) // hashes do not fail
		n += m
		switch {
		case errors.Is(err, io.EOF):
			return n, nil
		case err != nil:
			return n, err
		case m > 0:
			idle = 0
		case idle == 100:
			return n, io.ErrNoProgress
		}
	}
	return n, nil
}

// take fills buf from a body, which may end before that if w says so.
func (w writing) take(r io.Reader, buf []byte, h hash.Hash) (n int, err error) {
	if w.upTo {
		return fillUpTo(r, buf, h)
	}
	return len(buf), fill(r, buf, h)
}

// finish reads the end of a body, which is where a reader that verifies what
// passed through it says so.
func finish(r io.Reader) error {
	var one [1]byte
	for range 100 {
		n, err := r.Read(one[:])
		switch {
		case n > 0:
			return fmt.Errorf("%w: it goes on", ErrBodySize)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
	return io.ErrNoProgress
}

// writeData cuts size bytes of r into data objects of x, a few in flight, and
// reads r to its verified end. alive is called now and then; its error ends the
// work. On return nothing is in flight any more.
func (s *Service) writeData(ctx context.Context, x id, how writing, r io.Reader, size int64, h hash.Hash, alive func(context.Context) error) error {
	if how.opts != nil {
		return s.writeChunks(ctx, x, how, r, size, h, alive)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	chunk := int64(how.object)
	slots := make(chan struct{}, s.o.Window)
	var inFlight sync.WaitGroup
	defer inFlight.Wait()
	last := time.Now()
	for n, left := uint32(0), size; left > 0; n++ {
		want := min(chunk, left)
		left -= want
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := s.writes.Acquire(ctx, want); err != nil {
			return context.Cause(ctx)
		}
		buf, free := s.buffer(want)
		release := func() { free(); s.writes.Release(want); <-slots }
		got, err := how.take(r, buf, h)
		if err != nil {
			release()
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return err
		}
		if int64(got) < want {
			buf, left = buf[:got], 0
			if got == 0 {
				release()
				break
			}
		}
		if alive != nil && time.Since(last) > s.o.KeepAlive {
			if err := alive(ctx); err != nil {
				release()
				return err
			}
			last = time.Now()
		}
		inFlight.Add(1)
		go func() { // ends with its operation, which ctx bounds
			defer inFlight.Done()
			defer release()
			if _, err := s.data.Do(ctx, dataObject(x, n), new(client.Op).WriteFull(buf).SettleAs(how.settle)); err != nil {
				cancel(fmt.Errorf("write data: %w", err))
			}
		}()
	}
	err := finish(r)
	inFlight.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// buffer returns n bytes; whole chunks come from the pool.
func (s *Service) buffer(n int64) (buf []byte, free func()) {
	if n < int64(s.o.ChunkBytes) {
		return make([]byte, n), func() {}
	}
	p := s.pool.Get().(*[]byte)
	return (*p)[:n], func() { s.pool.Put(p) }
}

// removeWindow bounds the removals in flight.
const removeWindow = 8

// removeData removes data objects; missing ones are no error.
func (s *Service) removeData(ctx context.Context, refs []*bucketpb.DataRef) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, removeWindow)
	var inFlight sync.WaitGroup
	defer inFlight.Wait()
	for _, ref := range refs {
		x, err := idOf(ref.Id)
		if err != nil {
			return err
		}
		for n := range ref.Count {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			inFlight.Add(1)
			go func() { // ends with its operation, which ctx bounds
				defer inFlight.Done()
				if _, err := s.data.Do(ctx, dataObject(x, n), new(client.Op).Remove(true)); err != nil {
					cancel(fmt.Errorf("remove data: %w", err))
				}
				<-slots
			}()
		}
	}
	inFlight.Wait()
	return context.Cause(ctx)
}

// piece is a range of one data object.
type piece struct {
	id   id
	n    uint32
	off  uint32
	size uint32
}

// extent is a run of data objects: size bytes in objects of chunk bytes.
type extent struct {
	id     id
	size   int64
	chunk  uint32
	domain string // as in bucketpb.Entry
	off    int64  // where the run begins in its body
}

// pieces lists the pieces that hold bytes off to off+n of the extents, one after another. None is larger than most,
// nor goes beyond a multiple of it in its data object.
func pieces(extents []extent, off, n, most int64) func() (piece, bool) {
	i := 0
	for i < len(extents) && off >= extents[i].size {
		off -= extents[i].size
		i++
	}
	return func() (piece, bool) {
		for i < len(extents) && off >= extents[i].size {
			off, i = 0, i+1
		}
		if n <= 0 || i >= len(extents) {
			return piece{}, false
		}
		e := extents[i]
		at := e.off + off
		in := at % int64(e.chunk)
		size := min(int64(e.chunk)-in, most-in%most, e.size-off, n)
		p := piece{id: e.id, n: uint32(at / int64(e.chunk)), off: uint32(in), size: uint32(size)}
		off += size
		n -= size
		return p, true
	}
}

// bodyReader reads pieces in order and a few ahead.
type bodyReader struct {
	svc     *Service
	ctx     context.Context
	cancel  context.CancelFunc
	next    func() (piece, bool)
	counted bool // its memory is taken from svc.reads
	queue   []*fetch
	cur     []byte
	from    *client.Result // whose memory cur is
	held    int64          // bytes of svc.reads behind cur
	err     error
	flights sync.WaitGroup
}

type fetch struct {
	piece piece
	done  chan struct{}
	res   *client.Result // whose memory data is
	data  []byte
	err   error
}

// newBodyReader starts reading and waits for the first piece, so that an object
// that was replaced is found out before anything is sent.
func (s *Service) newBodyReader(ctx context.Context, next func() (piece, bool), counted bool) (*bodyReader, error) {
	r := &bodyReader{svc: s, next: next, counted: counted}
	r.ctx, r.cancel = context.WithCancel(ctx)
	if err := r.advance(); err != nil && !errors.Is(err, io.EOF) {
		r.Close()
		return nil, err
	}
	return r, nil
}

// start puts the next piece in flight; optional says to do so only if memory is free.
func (r *bodyReader) start(optional bool) (bool, error) {
	if r.counted && optional && !r.svc.reads.TryAcquire(int64(r.svc.o.ChunkBytes)) {
		return false, nil
	}
	p, ok := r.next()
	switch {
	case !ok && r.counted && optional:
		r.svc.reads.Release(int64(r.svc.o.ChunkBytes))
		return false, nil
	case !ok:
		return false, nil
	case r.counted && optional:
		r.svc.reads.Release(int64(r.svc.o.ChunkBytes) - min(int64(p.size), int64(r.svc.o.ChunkBytes)))
	case r.counted:
		if err := r.svc.reads.Acquire(r.ctx, r.weight(p)); err != nil {
			return false, err
		}
	}
	f := &fetch{piece: p, done: make(chan struct{})}
	r.queue = append(r.queue, f)
	r.flights.Add(1)
	go func() { // ends with its operation, which r.ctx bounds
		defer r.flights.Done()
		defer close(f.done)
		f.res, f.data, f.err = r.svc.readPiece(r.ctx, p)
	}()
	return true, nil
}

// weight is what a piece takes from svc.reads.
func (r *bodyReader) weight(p piece) int64 {
	return min(int64(p.size), int64(r.svc.o.ChunkBytes))
}

// readPiece returns the bytes of a piece, and the result whose memory they are: who is done with them releases it.
func (s *Service) readPiece(ctx context.Context, p piece) (*client.Result, []byte, error) {
	res, err := s.data.Do(ctx, dataObject(p.id, p.n), new(client.Op).Read(uint64(p.off), uint64(p.size)))
	switch {
	case errors.Is(err, client.ErrNotFound):
		return nil, nil, fmt.Errorf("%w: data object %s is gone", ErrChanged, dataObject(p.id, p.n))
	case err != nil:
		return nil, nil, fmt.Errorf("read data: %w", err)
	case len(res.Items[0].Data) != int(p.size):
		return nil, nil, fmt.Errorf("%w: data object %s has %d bytes at %d, want %d", ErrCorrupt, dataObject(p.id, p.n), len(res.Items[0].Data), p.off, p.size)
	}
	return res, res.Items[0].Data, nil
}

func (r *bodyReader) release() {
	r.from.Release()
	r.from = nil
	if r.held > 0 {
		r.svc.reads.Release(r.held)
		r.held = 0
	}
	r.cur = nil
}

// advance makes the next piece current.
func (r *bodyReader) advance() error {
	if r.err != nil {
		return r.err
	}
	r.release()
	if len(r.queue) == 0 {
		started, err := r.start(false)
		if err != nil {
			r.err = err
			return err
		}
		if !started {
			r.err = io.EOF
			return io.EOF
		}
	}
	for len(r.queue) < r.svc.o.Window {
		if started, _ := r.start(true); !started {
			break
		}
	}
	f := r.queue[0]
	r.queue = r.queue[1:]
	<-f.done
	if r.counted {
		r.held = r.weight(f.piece)
	}
	if f.err != nil {
		r.err = f.err
		return f.err
	}
	r.cur, r.from = f.data, f.res
	return nil
}

// Read implements io.Reader.
func (r *bodyReader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for len(r.cur) == 0 {
		if err := r.advance(); err != nil {
			return 0, err
		}
	}
	n := copy(b, r.cur)
	r.cur = r.cur[n:]
	return n, nil
}

// WriteTo implements io.WriterTo: pieces go out as they came, without a copy.
func (r *bodyReader) WriteTo(w io.Writer) (total int64, err error) {
	for {
		for len(r.cur) > 0 {
			n, err := w.Write(r.cur[:min(len(r.cur), 1<<20)])
			total += int64(n)
			r.cur = r.cur[n:]
			if err != nil {
				return total, err
			}
		}
		if err := r.advance(); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return total, err
		}
	}
}

// Close ends the reads in flight and gives their memory back.
func (r *bodyReader) Close() error {
	r.cancel()
	r.flights.Wait()
	r.release()
	for _, f := range r.queue {
		f.res.Release()
		if r.counted {
			r.svc.reads.Release(r.weight(f.piece))
		}
	}
	r.queue = nil
	if r.err == nil {
		r.err = ErrClosed
	}
	return nil
}

func newMD5() hash.Hash { return md5.New() }
