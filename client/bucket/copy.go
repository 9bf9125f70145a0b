package bucket

import (
	"context"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
	"github.com/cairnstore/cairn/internal/chunk"
)

// Copies. Where the source's chunks are in the dedup domain of what is put into the bucket, a copy refers to them and
// no body moves; else the body is read and put.

// CopyInput says what a copy differs in.
type CopyInput struct {
	Headers *Headers // nil: those of the source
	Attrs   Attrs    // of the copy; none are taken from the source
	Cond    Cond
	// Wrap, if set, sees the body on its way, which is then read in any case.
	Wrap func(io.Reader) io.Reader
	// Finish returns the checksums to store; without it those of the source are kept, as far as they are of the body.
	Finish func() ([]Checksum, error)
	// Recode says that what Wrap returns, which sees the body as it is stored, is to be stored in place of it: the
	// body is another one then, even if the copy is of an object onto itself. Sealed says how.
	Recode bool
	Sealed *Sealed
	Size   int64 // of what is made anew, as it is shown; 0: as src
}

// Copy stores a copy of src under key. A copy of an object onto itself changes
// its headers and time only; its body is not touched, and Wrap does not see it.
// That is so in a bucket that keeps no versions: in others it is a new version.
// src must come from Get or GetVersion. The copy of a multipart object is none: it has one part,
// and the etag of its source if its body was not read.
func (b *Bucket) Copy(ctx context.Context, src *Object, key string, in CopyInput) (*Object, error) {
	o, err := b.copy(ctx, src, key, in)
	return o, keyErr("copy", b, key, err)
}

func (b *Bucket) copy(ctx context.Context, src *Object, key string, in CopyInput) (*Object, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	headers := src.Headers
	if in.Headers != nil {
		headers = *in.Headers
	}
	itself := !src.past && src.b.name == b.name && src.Key == key && src.entry.Noncurrent == 0 && b.rec.Load().Versioning == VersioningOff
	if itself && !in.Recode {
		return b.touch(ctx, src, headers, in)
	}
	if src.Size > MaxPutBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d in one copy; copy it in parts", ErrTooLarge, src.Size, int64(MaxPutBytes))
	}
	if err := b.svc.copies.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer b.svc.copies.Release(1)
	put := PutInput{Size: src.Size, Headers: headers, Attrs: in.Attrs, Cond: in.Cond, Finish: in.Finish, Sealed: in.Sealed}
	if in.Recode && in.Size > 0 {
		put.Size = in.Size
	}
	if itself && put.Cond.Is == nil {
		put.Cond.Is = src // what was put meanwhile stays
	}
	if src.Sealed() && !in.Recode {
		put.as = src
	}
	if put.Finish == nil {
		put.Finish = func() (keep []Checksum, err error) {
			for _, c := range src.Checksums {
				if !c.Composite {
					keep = append(keep, c)
				}
			}
			return keep, nil
		}
	}
	if in.Wrap == nil && !in.Recode {
		if o, err := b.copyByReference(ctx, src, key, put); !errors.Is(err, errReadIt) {
			return o, err
		}
	}
	r, err := src.open(ctx, 0, -1, false)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	put.Body = r
	if in.Wrap != nil {
		put.Body = in.Wrap(r)
	}
	o, err := b.put(ctx, key, put)
	if errors.Is(err, ErrPrecondition) && in.Cond.Is == nil && put.Cond.Is != nil {
		return nil, fmt.Errorf("%w: %w", ErrChanged, err) // or a condition of the caller's, which is found out again
	}
	return o, err
}

// copyByReference is copy without reading the body. errReadIt says that this is not possible.
func (b *Bucket) copyByReference(ctx context.Context, src *Object, key string, in PutInput) (*Object, error) {
	from, err := b.sharable(src, 0, src.Stored())
	if err != nil {
		return nil, err
	}
	headers, err := headersTo(in.Headers)
	if err != nil {
		return nil, err
	}
	attrs, err := attrsTo(in.Attrs)
	if err != nil {
		return nil, err
	}
	x := newID()
	e := &bucketpb.Entry{
		Id: x[:], Size: src.entry.Size, Parts: src.entry.Parts, Headers: headers, Attrs: attrs, Revision: newRevision(),
	}
	if err := in.sealing(e); err != nil {
		return nil, err
	}
	c := &change{key: key, cond: in.Cond, known: !in.Cond.there() && in.Cond.Not == "" && in.Cond.Is == nil}
	how := b.writing(storedOf(e))
	return b.putBody(ctx, e, c, how, func(it *intent) error {
		rc := &refCopy{s: b.svc, x: x, how: how, from: from, size: storedOf(e)}
		if err := rc.run(ctx, it.renew); err != nil {
			return err
		}
		return b.complete(in, e, src.entry.Md5)
	})
}

// CopyPart makes a part of size bytes of src from off on. wrap, if set, sees the
// bytes on their way, which are then read in any case; finish is as in PartInput.
// src must come from Get. The etag of a part whose bytes were not read is that of
// src if the part is all of it, else it names these bytes of src and is no MD5.
func (b *Bucket) CopyPart(ctx context.Context, key, uploadID string, number int, src *Object, off, size int64, wrap func(io.Reader) io.Reader, finish func() ([]Checksum, error)) (*Part, error) {
	p, err := b.copyPart(ctx, key, uploadID, number, src, off, size, wrap, finish)
	return p, keyErr(fmt.Sprintf("copy part %d of", number), b, key, err)
}

func (b *Bucket) copyPart(ctx context.Context, key, uploadID string, number int, src *Object, off, size int64, wrap func(io.Reader) io.Reader, finish func() ([]Checksum, error)) (*Part, error) {
	if src.Sealed() {
		return nil, ErrSealed
	}
	if err := b.svc.copies.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer b.svc.copies.Release(1)
	if wrap == nil {
		from, err := b.sharable(src, off, size)
		if err == nil {
			var p *Part
			p, err = b.putPart(ctx, key, uploadID, number, PartInput{Size: size, Finish: finish}, func(x id, how writing, alive func(context.Context) error) ([]byte, error) {
				rc := &refCopy{s: b.svc, x: x, how: how, from: from, off: off, size: size}
				return src.rangeTag(off, size), rc.run(ctx, alive)
			})
			if err == nil {
				return p, nil
			}
		}
		if !errors.Is(err, errReadIt) {
			return nil, err
		}
	}
	r, err := src.open(ctx, off, size, false)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	in := PartInput{Body: r, Size: size, Finish: finish}
	if wrap != nil {
		in.Body = wrap(r)
	}
	return b.uploadPart(ctx, key, uploadID, number, in)
}

// rangeTag is the etag of a part that is some of the object's bytes.
func (o *Object) rangeTag(off, size int64) []byte {
	e := o.entry
	if off == 0 && size == o.Size && e.Parts == 0 {
		return e.Md5
	}
	h := md5.New()
	fmt.Fprintf(h, "part of %x", e.Id)
	h.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(off)), uint64(size)))
	return h.Sum(nil)
}

// errReadIt says that a body cannot be copied by reference. It does not leave this package.
var errReadIt = errors.New("the body has to be read to be copied")

// sharable returns where the body of src is if a copy of size bytes from off on may refer to its chunks, as far as can be
// told without looking at them; else errReadIt.
func (b *Bucket) sharable(src *Object, off, size int64) ([]extent, error) {
	if off < 0 || size < 0 || off > src.Stored()-size {
		return nil, fmt.Errorf("%w: bytes %d to %d of %d", ErrRange, off, off+size, src.Stored())
	}
	how := b.writing(size)
	if src.entry.Layout == bucketpb.Layout_INLINE || how.opts == nil {
		return nil, errReadIt
	}
	domain := string(how.domain())
	if domain == "" { // nothing is shared with what is put into the bucket
		return nil, errReadIt
	}
	all, err := src.extents()
	if err != nil {
		return nil, err
	}
	mine := src.b.rec.Load().Owner == b.rec.Load().Owner
	at := int64(0)
	for _, x := range all {
		// A body without a domain has chunks that nobody else can come upon, made when it was settled, say. Whose
		// they are may share them with himself.
		if at < off+size && off < at+x.size && x.domain != domain && (x.domain != "" || !mine) {
			return nil, errReadIt
		}
		at += x.size
	}
	return all, nil
}

// refCopy makes a body of references to the chunks of another one, whose data objects nobody changes. They may go, with
// their chunks, at any time: a chunk that this body could be noted at is there until the body goes.
type refCopy struct {
	s    *Service
	x    id // of the new body
	how  writing
	from []extent // the other body
	off  int64    // in it
	size int64
}

// copyObjects is how many data objects of a copy are made at a time.
const copyObjects = 4

// run makes the data objects. errReadIt says that a chunk cannot be shared; what was made has to be removed then, as
// after any error.
func (c *refCopy) run(ctx context.Context, alive func(context.Context) error) error {
	n := int(chunks(c.size, c.how.object))
	last := c.s.o.Now()
	for i := 0; i < n; i += copyObjects {
		// One that fails does not end the others: references on their way are set and then removed, not left behind.
		var errs [copyObjects]error
		var all sync.WaitGroup
		for k := range min(copyObjects, n-i) {
			all.Go(func() { errs[k] = c.object(ctx, uint32(i+k)) }) // ends with its operations, which ctx bounds
		}
		all.Wait()
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		if now := c.s.o.Now(); now.Sub(last) > c.s.o.KeepAlive {
			if err := alive(ctx); err != nil {
				return err
			}
			last = now
		}
	}
	return nil
}

// object makes one data object.
func (c *refCopy) object(ctx context.Context, n uint32) error {
	at := int64(n) * int64(c.how.object)
	next := pieces(c.from, c.off+at, min(int64(c.how.object), c.size-at), 1<<62)
	var refs []chunk.Ref // ranges are those of the new object
	for to := uint64(0); ; {
		p, ok := next()
		if !ok {
			return c.refer(ctx, n, refs)
		}
		in := chunk.Range{From: uint64(p.off), To: uint64(p.off) + uint64(p.size)}
		object := dataObject(p.id, p.n)
		found, size, err := c.s.chunks.RefsIn(ctx, object, in)
		switch {
		case errors.Is(err, client.ErrNotFound):
			return fmt.Errorf("%w: data object %s is gone", ErrChanged, object)
		case err != nil:
			return fmt.Errorf("copy data: %w", err)
		case size < in.To:
			return fmt.Errorf("%w: data object %s has %d bytes, want %d", ErrCorrupt, object, size, in.To)
		case len(found) == 0 && int(p.size) >= client.LeastChunk(c.how.opts.Policy):
			return errReadIt // to be cut as a whole
		}
		move := func(r chunk.Range) chunk.Range {
			return chunk.Range{From: r.From - in.From + to, To: r.To - in.From + to}
		}
		done := in.From
		for i := range found {
			r := &found[i]
			r.Bare(in, func(b chunk.Range) {
				if err == nil {
					err = c.bytes(ctx, n, p, chunk.Range{From: done, To: b.From}, move)
				}
				refs = append(refs, chunk.Ref{Range: move(b), Chunk: r.Chunk, ChunkOff: r.ChunkOff + uint32(b.From-r.Range.From), Layout: r.Layout})
				done = b.To
			})
		}
		if err == nil {
			err = c.bytes(ctx, n, p, chunk.Range{From: done, To: in.To}, move)
		}
		if err != nil {
			return err
		}
		to += uint64(p.size)
	}
}

// refer has a new data object refer to chunks.
func (c *refCopy) refer(ctx context.Context, n uint32, refs []chunk.Ref) error {
	object := dataObject(c.x, n)
	for len(refs) > 0 {
		batch := refs[:min(flushRefs, len(refs))]
		refs = refs[len(batch):]
		if c.weaker(batch) {
			return errReadIt
		}
		made, err := c.s.chunks.Refer(ctx, object, batch)
		switch {
		case errors.Is(err, client.ErrNotFound), errors.Is(err, client.ErrConflict):
			// A chunk is gone, as the source is by now, or lost. Reading finds out which, and does what can be done.
			return errReadIt
		case err != nil:
			return fmt.Errorf("copy data: %w", err)
		}
		if c.weaker(made) {
			c.s.chunks.AbandonChunks(ctx, object, made)
			return errReadIt
		}
		op := new(client.Op)
		for i := range made {
			op.SetRef(made[i].Range.From, made[i].Range.Len(), made[i])
		}
		if err := c.s.chunks.SetRefs(ctx, object, op, made); err != nil {
			return fmt.Errorf("copy data: %w", err)
		}
	}
	return nil
}

// weaker reports whether one of the chunks survives less than what is put into the bucket should.
func (c *refCopy) weaker(refs []chunk.Ref) bool {
	for i := range refs {
		if refs[i].Layout.Redundancy.M < c.how.opts.Policy.Redundancy.M {
			return true
		}
	}
	return false
}

// bytes copies a range of a data object that has the bytes itself, mostly because they were too few for a chunk.
func (c *refCopy) bytes(ctx context.Context, n uint32, p piece, in chunk.Range, move func(chunk.Range) chunk.Range) error {
	step := uint64(min(int64(c.how.opts.Policy.ChunkSize), int64(c.s.o.ChunkBytes)))
	for in.From < in.To {
		part := chunk.Range{From: in.From, To: min(in.To, in.From+step)}
		in.From = part.To
		if err := c.some(ctx, n, piece{id: p.id, n: p.n, off: uint32(part.From), size: uint32(part.Len())}, move(part)); err != nil {
			return err
		}
	}
	return nil
}

func (c *refCopy) some(ctx context.Context, n uint32, p piece, to chunk.Range) error {
	if err := c.s.writes.Acquire(ctx, int64(p.size)); err != nil {
		return err
	}
	defer c.s.writes.Release(int64(p.size))
	res, data, err := c.s.readPiece(ctx, p)
	if err != nil {
		return err
	}
	defer res.Release()
	object := dataObject(c.x, n)
	if len(data) >= client.LeastChunk(c.how.opts.Policy) {
		ref, err := c.s.chunks.PutChunk(ctx, object, data, *c.how.opts)
		if err == nil {
			return c.s.chunks.SetRefs(ctx, object, new(client.Op).SetRef(to.From, to.Len(), ref), []chunk.Ref{ref})
		}
		if !errors.Is(err, client.ErrFewHolders) {
			return fmt.Errorf("copy data: %w", err)
		}
	}
	if _, err := c.s.data.Do(ctx, object, new(client.Op).Write(to.From, data).SettleAs(c.how.settle)); err != nil {
		return fmt.Errorf("copy data: %w", err)
	}
	return nil
}
