package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// Policy returns how the pool makes chunks, by the newest map known.
func (x *Chunks) Policy() ChunkPolicy { return x.policy() }

// LeastChunk is how many bytes a piece of a write needs to become a chunk; fewer stay in the object.
func LeastChunk(pol *ChunkPolicy) int {
	least := min(MinChunkBytes, int(pol.ChunkSize))
	if pol.Cut != placement.CutFixed {
		least = min(least, int(pol.ChunkSize)/4)
	}
	return least
}

// PutChunk makes one chunk of data for an object, which the caller has cut: durable and listed in the index. The
// returned reference is to all of it, from byte 0 on; as with PutChunks an Op has to set it soon. ErrFewHolders says
// that the bytes had better stay the object's own now.
func (x *Chunks) PutChunk(ctx context.Context, object string, data []byte, o ChunkOptions) (chunk.Ref, error) {
	pol := o.Policy
	if pol == nil {
		p := x.policy()
		pol = &p
	}
	err := pol.Check()
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrInvalid, err)
	case pol.IsZero():
		err = fmt.Errorf("%w: the policy makes no chunks", ErrInvalid)
	case len(data) == 0 || len(data) > placement.MaxChunkSize:
		err = fmt.Errorf("%w: a chunk of %d bytes, want 1 to %d", ErrInvalid, len(data), placement.MaxChunkSize)
	}
	var ref chunk.Ref
	if err == nil {
		ref, err = x.put(ctx, object, pol, o.Tenant, data)
	}
	if err != nil {
		return chunk.Ref{}, &OpError{Pool: x.name, Object: object, Index: -1, Err: err}
	}
	return ref, nil
}

// Refer lets an object refer to chunks that others refer to, in the same pool: it adds back-references to their entries
// in the index and returns references like the given ones with nonces of their own, for Ops on the object to set
// soon. No payload moves. ErrNotFound says that one of the chunks is gone.
func (x *Chunks) Refer(ctx context.Context, object string, refs []chunk.Ref) ([]chunk.Ref, error) {
	out := make([]chunk.Ref, len(refs))
	err := each(ctx, len(refs), func(ctx context.Context, i int) error {
		ref := &refs[i]
		nonce := newNonce()
		back := chunk.BackRef{Nonce: nonce, Pool: x.pool, Object: object, At: x.plane.now().UnixNano()}
		l, err := x.adopt(ctx, ref.Chunk.IndexName(), "", &back)
		if err != nil {
			return fmt.Errorf("refer to chunk %s: %w", ref.Chunk, err)
		}
		out[i] = chunk.Ref{Range: ref.Range, Chunk: ref.Chunk, ChunkOff: ref.ChunkOff, Nonce: nonce, Layout: l}
		if uint64(ref.ChunkOff)+ref.Range.Len() > uint64(l.Size) {
			return fmt.Errorf("%w: chunk %s has %d bytes, the reference is to %d from %d on", ErrCorrupt, ref.Chunk, l.Size, ref.Range.Len(), ref.ChunkOff)
		}
		x.plane.n.shared.Add(1)
		return nil
	})
	if err == nil {
		return out, nil
	}
	made := out[:0]
	for i := range out {
		if out[i].Layout.Gen != 0 {
			made = append(made, out[i])
		}
	}
	x.forget(ctx, object, made)
	return nil, &OpError{Pool: x.name, Object: object, Index: -1, Err: err}
}

// SetRefs carries out an Op that sets references, made by PutChunk, PutChunks or Refer. If it certainly took no effect,
// the references are given up; ErrTryLater says that they had been taken for left behind by then: it took too long.
func (x *Chunks) SetRefs(ctx context.Context, object string, op *Op, refs []chunk.Ref) error {
	_, err := x.raw.Do(ctx, object, op)
	if err == nil {
		return nil
	}
	if !unknownOutcome(err) {
		x.forget(ctx, object, refs)
	}
	if errors.Is(err, ErrConflict) {
		err = fmt.Errorf("%w: the chunks waited too long for their object: %w", ErrTryLater, err)
	}
	return err
}

// Refs returns the references of an object, in order, and its size.
func (x *Chunks) Refs(ctx context.Context, object string) (refs []chunk.Ref, size uint64, err error) {
	return x.RefsIn(ctx, object, chunk.Range{To: maxObjectBytes})
}

// RefsIn is Refs of the references that begin or end within a range of the object, or span it.
func (x *Chunks) RefsIn(ctx context.Context, object string, in chunk.Range) (refs []chunk.Ref, size uint64, err error) {
	for off := in.From; ; {
		res, err := x.raw.Do(ctx, object, new(Op).ReadRefs(off, refsPage).Stat())
		if err != nil {
			return nil, 0, err
		}
		it := &res.Items[0]
		size = res.Items[1].Size
		for i := range it.Refs {
			if it.Refs[i].Range.From >= in.To {
				return refs, size, nil
			}
			refs = append(refs, it.Refs[i])
		}
		if !it.More || len(it.Refs) == 0 {
			return refs, size, nil
		}
		off = it.Refs[len(it.Refs)-1].Range.To
	}
}

const refsPage = 1024

// ChunkInfo is what the index says of a chunk.
type ChunkInfo struct {
	Layout chunk.Layout
	Refs   []chunk.BackRef // not all if More
	More   bool
}

// Info returns a chunk's layout and up to so many of those who refer to it; ErrNotFound if it is gone.
func (x *Chunks) Info(ctx context.Context, fp chunk.Fingerprint, limit int) (ChunkInfo, error) {
	entry := fp.IndexName()
	res, err := x.raw.Do(ctx, entry, new(Op).AsRecord().GetAttr(chunk.LayoutAttr).OmapList("", "", limit))
	if err != nil {
		return ChunkInfo{}, err
	}
	info := ChunkInfo{More: res.Items[1].More}
	if info.Layout, err = layoutOf(&res.Items[0]); err != nil {
		return info, fmt.Errorf("chunk %s: %w", fp, err)
	}
	for _, kv := range res.Items[1].KVs {
		b, err := chunk.ParseBackRef(kv.Key, kv.Value)
		if err != nil {
			return info, fmt.Errorf("chunk %s: %w: %w", fp, ErrCorrupt, err)
		}
		info.Refs = append(info.Refs, b)
	}
	return info, nil
}
