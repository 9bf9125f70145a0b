package client

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/slab"
)

// Do carries out an Op and brings the bytes of chunks that its reads refer to. If a chunk is gone by then the object has
// changed, and an Op that only reads is carried out again.
func (x *Chunks) Do(ctx context.Context, object string, op *Op) (*Result, error) {
	res, err := x.raw.Do(ctx, object, op)
	if err != nil {
		return x.doInParts(ctx, object, op, err)
	}
	if !res.refers() {
		return res, nil
	}
	ctx, cancel := context.WithTimeout(ctx, x.plane.patience)
	defer cancel()
	for attempt := 1; ; attempt++ {
		version := res.Version
		err := x.resolve(ctx, object, op, res)
		if err == nil {
			return res, nil
		}
		res.Release()
		var gone *goneError
		switch {
		case op.Writes():
			err = &unknownError{fmt.Errorf("the write took effect, what it read cannot be had: %w", err)}
			return nil, &OpError{Pool: x.name, Object: object, Index: -1, Err: err}
		case !errors.As(err, &gone) || attempt == chunkAttempts:
			return nil, &OpError{Pool: x.name, Object: object, Index: -1, Err: err}
		}
		x.plane.n.reread.Add(1)
		if res, err = x.raw.Do(ctx, object, op); err != nil {
			return x.doInParts(ctx, object, op, err)
		}
		if !res.refers() {
			return res, nil
		}
		if res.Version == version && attempt > 1 {
			res.Release()
			return nil, &OpError{Pool: x.name, Object: object, Index: -1, Err: gone, Text: "the object has not changed since; `cairn gc audit` looks into it"}
		}
	}
}

// refers reports whether a read brought references instead of bytes.
func (r *Result) refers() bool {
	for i := range r.Items {
		if r.Items[i].inChunks() {
			return true
		}
	}
	return false
}

// inChunks reports whether chunks have bytes of what was read. References that were asked for themselves come without a length.
func (it *ResultItem) inChunks() bool { return len(it.Refs) > 0 && it.Length > 0 }

// part is what one reference gives to what is read.
type part struct {
	ref *chunk.Ref
	off uint32 // in the chunk
	dst []byte
}

// resolve makes the Data of reads complete. After an error the result is not to be used.
func (x *Chunks) resolve(ctx context.Context, object string, op *Op, res *Result) error {
	var total uint64
	for i := range res.Items {
		if res.Items[i].inChunks() {
			total += res.Items[i].Length
		}
	}
	mem := slab.New(int(total))
	rest := mem.Bytes()
	var parts []part
	for i := range res.Items {
		it := &res.Items[i]
		if !it.inChunks() {
			continue
		}
		dst := rest[:it.Length:it.Length]
		rest = rest[it.Length:]
		parts = it.parts(parts, op.ops[i].Offset, dst)
	}
	if err := x.readParts(ctx, object, parts); err != nil {
		mem.Release()
		return err
	}
	rest = mem.Bytes()
	for i := range res.Items {
		it := &res.Items[i]
		if !it.inChunks() {
			continue
		}
		dst := rest[:it.Length:it.Length]
		rest = rest[it.Length:]
		own := it.Data
		for _, r := range it.Local { // over what was read too much between two parts of a chunk
			own = own[copy(dst[r.From-op.ops[i].Offset:r.To-op.ops[i].Offset], own):]
		}
		it.Data, it.Refs, it.Local = dst, nil, nil
	}
	res.chunks = mem
	return nil
}

// parts lists what has to be read for a read of the object from off on. Of each reference it is one piece: what the
// object has itself in between is read too, for nothing, and overwritten.
func (it *ResultItem) parts(parts []part, off uint64, dst []byte) []part {
	for i := range it.Refs {
		ref := &it.Refs[i]
		var all chunk.Range
		ref.Bare(chunk.Range{From: off, To: off + it.Length}, func(r chunk.Range) {
			if all.Len() == 0 {
				all.From = r.From
			}
			all.To = r.To
		})
		if all.Len() > 0 {
			parts = append(parts, part{ref: ref, off: ref.ChunkOff + uint32(all.From-ref.Range.From), dst: dst[all.From-off : all.To-off]})
		}
	}
	return parts
}

// partsAtOnce bounds the chunks that one Op reads or writes at a time.
const partsAtOnce = 16

// readParts reads all parts, or returns the first error.
func (x *Chunks) readParts(ctx context.Context, object string, parts []part) error {
	return each(ctx, len(parts), func(ctx context.Context, i int) error {
		p := &parts[i]
		return x.read(ctx, object, p.ref, p.off, p.dst)
	})
}

// each calls f for 0 to n-1, some at a time, and returns the first error, which ends the context of the others.
func each(ctx context.Context, n int, f func(context.Context, int) error) error {
	if n == 1 {
		return f(ctx, 0)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first error
	next := 0
	for range min(n, partsAtOnce) {
		wg.Go(func() { // until nothing is left or something failed
			for {
				mu.Lock()
				i := next
				next++
				stop := first != nil
				mu.Unlock()
				if stop || i >= n {
					return
				}
				if err := f(ctx, i); err != nil {
					mu.Lock()
					if first == nil {
						first = err
						cancel()
					}
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return first
}
