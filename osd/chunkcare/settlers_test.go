package chunkcare

import (
	"context"
	"errors"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// Settling in the world of the model test: beside the care of an OSD an actor settles objects, with all that happens to
// actors. What package client does for it, with goroutines, is done here step by step.

// worldSettling settles nearly everything soon, so that it meets writes.
var worldSettling = SettleRules{Every: 90 * time.Second, Idle: 10 * time.Second, Age: time.Minute}

// worldDomain is the dedup domain of all chunks.
const worldDomain = "model\x001"

// worldPolicy is by which objects are settled. Chunks that do not lie on a grid take in what is left of others.
func worldPolicy(seed uint64) placement.ChunkPolicy {
	p := placement.ChunkPolicy{Redundancy: placement.Redundancy{Codec: placement.XOR, K: 2, M: 1}, ChunkSize: slotBytes}
	if seed%2 == 0 {
		p.Cut, p.ChunkSize = placement.CutContent, slotBytes/4
	}
	return p
}

type settlingKey struct{}

func isSettling(ctx context.Context) bool { return ctx.Value(settlingKey{}) != nil }

// settles has an OSD settle what is due, unless it does.
func (w *world) settles(id placement.OSDID) {
	if w.settlers[id] != nil {
		return
	}
	c := w.cares[id]
	ctx := context.WithValue(context.Background(), settlingKey{}, true)
	w.settlers[id] = w.spawn("settling of "+id.String(), time.Hour, func(*actor) { c.SettleStep(ctx) })
	w.settlers[id].keeps = true
}

// worldChunker is Chunker.
type worldChunker struct {
	w *world
	a *actor
}

// Do implements Chunker.
func (c worldChunker) Do(_ context.Context, object string, op *client.Op) (*client.Result, error) {
	res, err := c.a.ask(object, op, nil)
	if err != nil {
		return nil, err
	}
	for i := range res.Items {
		it := &res.Items[i]
		if len(it.Refs) == 0 {
			continue
		}
		// Reads say where their references lie in the object; here, where they begin is found by the operation.
		req, _ := op.Request(object)
		off := req.Ops[i].Offset
		in := chunk.Range{From: off, To: off + it.Length}
		all, rest := make([]byte, it.Length), it.Data
		for _, l := range it.Local {
			rest = rest[copy(all[l.From-off:l.To-off], rest):]
		}
		for k := range it.Refs {
			r := &it.Refs[k]
			data, lost := c.a.fetch(r)
			if data == nil {
				if lost {
					return nil, client.ErrConflict // the object has changed
				}
				return nil, client.ErrTimeout
			}
			r.Bare(in, func(x chunk.Range) { copy(all[x.From-off:x.To-off], data[uint64(r.ChunkOff)+x.From-r.Range.From:]) })
		}
		it.Data = all
	}
	return res, nil
}

// PutChunks implements Chunker.
func (c worldChunker) PutChunks(_ context.Context, object string, data []byte, _ client.ChunkOptions) (refs []chunk.Ref, _ error) {
	for off := 0; off < len(data); {
		n := slotBytes
		if c.w.m.Pool(worldPool).Chunks.Cut == placement.CutContent {
			n = 16 + int(data[off])%(slotBytes-16) // found by the bytes, as it should be
		}
		n = min(n, len(data)-off)
		ref, err := c.a.makeChunk(object, data[off:off+n])
		if err != nil {
			c.AbandonChunks(context.Background(), object, refs)
			return nil, err
		}
		ref.Range = chunk.Range{From: uint64(off), To: uint64(off + n)}
		refs = append(refs, ref)
		off += n
	}
	return refs, nil
}

// AbandonChunks implements Chunker.
func (c worldChunker) AbandonChunks(_ context.Context, object string, refs []chunk.Ref) {
	for i := range refs {
		if err := c.a.abandon(object, &refs[i]); errors.Is(err, errCrashed) {
			return
		}
	}
}
