package sim

import (
	"context"
	"slices"
	"time"

	objects "github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/osd/chunkcare"
	"github.com/cairnstore/cairn/placement"
)

// settleRules settle nearly everything soon, so that it meets writes.
var settleRules = chunkcare.SettleRules{Every: time.Second, Idle: 300 * time.Millisecond, Age: time.Second}

// settlePolicy is that of the pool. Care is told of smaller chunks.
const settlePolicy = "2:1:xor"

// settle has the care of an OSD settle what is due, in one life of it.
func (x *care) settle(f *fiber, c *chunkcare.Care) {
	ctx := context.WithValue(context.Background(), settlingKey{}, true)
	old := chunkcare.SettleStatus{}
	for !f.dead {
		f.pause(x.pl.w.rand(200*time.Millisecond, time.Second))
		if x.n.booted {
			c.SettleStep(ctx)
		}
		f.round++
		s := c.SettleStatus(0)
		x.pl.w.count["(chunks made by settling)"] += int(s.Chunks - old.Chunks)
		x.pl.w.count["(objects written while they were settled)"] += int(s.Conflicts - old.Conflicts)
		old = s
	}
}

// settler is chunkcare.Chunker.
type settler struct{ *care }

func (x settler) maker() *maker { return &maker{pl: x.pl, w: x.pl.w, g: x.g, f: x.settler} }

// Do implements chunkcare.Chunker.
func (x settler) Do(_ context.Context, object string, op *objects.Op) (*objects.Result, error) {
	w, call := x.pl.w, x.pl.w.now
	if !op.Writes() {
		op.At(time.Unix(0, x.n.wall()))
	}
	res, err := x.g.doAsItIs(x.settler, x.pl.pool(), object, op)
	if err != nil {
		return nil, err
	}
	req, _ := op.Request(object)
	for i := range res.Items {
		it := &res.Items[i]
		if len(it.Refs) == 0 {
			continue
		}
		off := req.Ops[i].Offset
		all, rest := make([]byte, it.Length), it.Data
		for _, l := range it.Local {
			rest = rest[copy(all[l.From-off:l.To-off], rest):]
		}
		for n := range it.Refs {
			r := &it.Refs[n]
			data, gone := x.maker().fetch(x.pl.pool(), r, call)
			switch {
			case gone:
				return nil, objects.ErrConflict // the object has changed
			case data == nil:
				return nil, objects.ErrTimeout
			}
			r.Bare(chunk.Range{From: off, To: off + it.Length}, func(b chunk.Range) {
				copy(all[b.From-off:b.To-off], data[uint64(r.ChunkOff)+b.From-r.Range.From:])
			})
		}
		it.Data = all
	}
	w.count["(operations of settling)"]++
	return res, nil
}

// PutChunks implements chunkcare.Chunker.
func (x settler) PutChunks(ctx context.Context, object string, data []byte, _ objects.ChunkOptions) (refs []chunk.Ref, _ error) {
	for off := 0; off < len(data); off += slotBytes {
		to := min(off+slotBytes, len(data))
		ref, err := x.maker().make(x.pl.pool(), object, slices.Clone(data[off:to]), placement.Redundancy{Codec: placement.XOR, K: 2, M: 1})
		if err != nil {
			x.AbandonChunks(ctx, object, refs)
			return nil, err
		}
		ref.Range = chunk.Range{From: uint64(off), To: uint64(to)}
		refs = append(refs, ref)
	}
	return refs, nil
}

// AbandonChunks implements chunkcare.Chunker.
func (x settler) AbandonChunks(_ context.Context, object string, refs []chunk.Ref) {
	for i := range refs {
		x.maker().abandon(x.pl.pool(), object, &refs[i])
	}
}
