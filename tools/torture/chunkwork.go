package torture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
)

// chunkWork is what clients do with objects of a pool with chunks.
type chunkWork struct {
	pools   []*client.Pool // of different clients
	cells   [][]*chunkCell // by writer
	revived [][]*chunkCell // by writer: of each only one object has the body, at times none
}

// Sizes of what is written there.
const (
	chunkObjectMax = 512 << 10 // an object that has grown larger is replaced
	chunkSmall     = 20_000    // a write that makes no chunk has fewer bytes
	chunkCopy      = "chunk copy"
)

func newChunkWork(o Load, pools []*client.Pool) *chunkWork {
	k := &chunkWork{pools: pools}
	for i := range o.Chunkers {
		var own []*chunkCell
		for j := range o.ChunkObjects {
			own = append(own, newChunkCell(fmt.Sprintf("chunked-%d-%d", i, j)))
		}
		k.cells = append(k.cells, own)
	}
	for i := range revivers {
		var own []*chunkCell
		for j := range reviveAtOnce {
			own = append(own, newChunkCell(fmt.Sprintf("revived-%d-%d", i, j)))
		}
		k.revived = append(k.revived, own)
	}
	return k
}

const (
	revivers     = 2
	reviveAtOnce = 8
)

// all returns all objects.
func (k *chunkWork) all() []*chunkCell {
	return slices.Concat(slices.Concat(k.cells...), slices.Concat(k.revived...))
}

// revive removes the only objects that refer to some chunks, and writes them again just when the chunks may be deleted:
// two to three GC intervals of a second later.
func (k *chunkWork) revive(ctx context.Context, c *worker, own []*chunkCell) {
	for _, x := range own {
		k.read(ctx, c, x)
		k.remove(ctx, c, x)
	}
	_ = wait(ctx, 1800*time.Millisecond+time.Duration(c.rng.Int64N(int64(1500*time.Millisecond))))
	for _, x := range own {
		w := spans{{source: "of " + x.name, n: bodyMin}}
		k.write(ctx, c, "chunk revive", x, w, func(op *client.Op) { op.WriteFull(w.bytes()) })
	}
}

func (k *chunkWork) remove(ctx context.Context, c *worker, x *chunkCell) {
	n := x.next(chunkRemove, nil)
	x.ended(n, nil, k.carry(ctx, c, chunkRemove, x, func(ctx context.Context) error {
		_, err := c.pool.DoChunked(ctx, x.name, new(client.Op).Remove(true), client.ChunkOptions{})
		return err
	}))
}

// step does one thing to one of a writer's objects.
func (k *chunkWork) step(ctx context.Context, c *worker, own []*chunkCell) {
	x := own[c.rng.IntN(len(own))]
	p := c.rng.IntN(24)
	switch {
	case p < 5:
		k.read(ctx, c, x)
	case p == 5:
		k.remove(ctx, c, x)
	case p < 11 || !x.sure || x.newest.size() == 0 || x.newest.size() > chunkObjectMax:
		var w spans
		for range 1 + c.rng.IntN(2) {
			w = append(w, body(c, x))
		}
		k.write(ctx, c, "chunk put", x, w, func(op *client.Op) { op.WriteFull(w.bytes()) })
	case p < 15:
		w := spans{body(c, x)}
		// Mostly where chunks begin, so that they are the same as elsewhere.
		off := c.rng.IntN(x.newest.size()) >> 16 << 16
		if c.rng.IntN(3) == 0 {
			off += 10_000
		}
		k.write(ctx, c, "chunk overwrite", x, x.newest.write(off, w), func(op *client.Op) { op.Write(uint64(off), w.bytes()) })
	case p < 17:
		b := body(c, x)
		b.n = 1 + c.rng.IntN(chunkSmall)
		off := c.rng.IntN(x.newest.size())
		k.write(ctx, c, "chunk small", x, x.newest.write(off, spans{b}), func(op *client.Op) { op.Write(uint64(off), spans{b}.bytes()) })
	case p == 17:
		size := x.newest.size()
		w := spans{body(c, x)}
		k.write(ctx, c, "chunk append", x, x.newest.write(size, w), func(op *client.Op) { op.Write(uint64(size), w.bytes()) })
	case p == 18:
		b := body(c, x)
		b.n = 1 + c.rng.IntN(chunkSmall)
		k.write(ctx, c, "chunk append", x, x.newest.write(x.newest.size(), spans{b}), func(op *client.Op) { op.Append(spans{b}.bytes()) })
	case p == 19:
		size := c.rng.IntN(x.newest.size() * 5 / 4)
		k.write(ctx, c, "chunk truncate", x, x.newest.truncate(size), func(op *client.Op) { op.Truncate(uint64(size)) })
	case p == 20:
		off := c.rng.IntN(x.newest.size())
		n := 1 + c.rng.IntN(x.newest.size()-off)
		k.write(ctx, c, "chunk zero", x, x.newest.write(off, spans{{n: n}}), func(op *client.Op) { op.Zero(uint64(off), uint64(n)) })
	case p == 21 && c.rng.IntN(4) == 0:
		k.slowPut(ctx, c, x)
	default:
		from := own[c.rng.IntN(len(own))]
		if from == x || !from.sure || from.newest.size() == 0 {
			k.read(ctx, c, from)
			return
		}
		k.copy(ctx, c, x, from)
	}
}

// body is one of the set, or one that nobody else has.
func body(c *worker, x *chunkCell) span {
	source := bodySource(c.rng.IntN(bodies))
	if c.rng.IntN(8) == 0 {
		source = fmt.Sprintf("%s %d", x.name, x.now()+c.rng.Uint64N(4))
	}
	return span{source: source, n: len(bodyOf(source))}
}

// write carries out a write that leaves a state.
func (k *chunkWork) write(ctx context.Context, c *worker, kind string, x *chunkCell, state spans, add func(*client.Op)) {
	n := x.next(kind, state)
	op := new(client.Op)
	add(op)
	labelled(op, n, state)
	x.ended(n, state, k.carry(ctx, c, kind, x, func(ctx context.Context) error {
		_, err := c.pool.DoChunked(ctx, x.name, op, client.ChunkOptions{})
		return err
	}))
}

// labelled says in an attribute and an omap key whose the bytes are.
func labelled(op *client.Op, n uint64, state spans) {
	l := label(n, state.size())
	op.SetAttr("write", []byte(l)).OmapSet("write", []byte(l))
}

// slowPut stores chunks and takes its time before the object refers to them. The audit may give them up meanwhile; then the
// object must not get them.
func (k *chunkWork) slowPut(ctx context.Context, c *worker, x *chunkCell) {
	state := spans{body(c, x)}
	pause := time.Duration(c.rng.Int64N(int64(8 * time.Second)))
	n := x.next("slow put", state)
	x.ended(n, state, k.carry(ctx, c, "chunk slow put", x, func(ctx context.Context) error {
		refs, err := c.pool.Chunks().PutChunks(ctx, x.name, state.bytes(), client.ChunkOptions{})
		if err != nil {
			return err
		}
		if err := wait(ctx, pause); err != nil {
			c.pool.Chunks().AbandonChunks(ctx, x.name, refs)
			return client.ErrTryLater
		}
		op := new(client.Op).WriteFull(nil)
		for i := range refs {
			op.SetRef(refs[i].Range.From, refs[i].Range.Len(), refs[i])
		}
		labelled(op, n, state)
		return c.pool.Chunks().SetRefs(ctx, x.name, op, refs)
	}))
}

// copy makes an object what another one is by referring to the same chunks.
func (k *chunkWork) copy(ctx context.Context, c *worker, x, from *chunkCell) {
	state := from.newest
	n := x.next(chunkCopy, state)
	x.ended(n, state, k.carry(ctx, c, chunkCopy, x, func(ctx context.Context) error {
		refs, _, err := c.pool.Chunks().Refs(ctx, from.name)
		if err != nil {
			return err
		}
		made, err := c.pool.Chunks().Refer(ctx, x.name, refs)
		if err != nil {
			return err
		}
		// What the other one has of its own is written: it is what no reference has.
		op := new(client.Op).WriteFull(nil)
		data := state.bytes()
		at := uint64(0)
		own := func(to uint64) {
			if at < to {
				op.Write(at, data[at:to])
			}
		}
		for i := range made {
			op.SetRef(made[i].Range.From, made[i].Range.Len(), made[i])
		}
		for i := range refs {
			refs[i].Bare(refs[i].Range, func(r chunk.Range) {
				own(r.From)
				at = r.To
			})
		}
		own(uint64(len(data)))
		labelled(op, n, state)
		return c.pool.Chunks().SetRefs(ctx, x.name, op, made)
	}))
}

// carry carries a write out and says how it ended.
func (k *chunkWork) carry(ctx context.Context, c *worker, kind string, x *chunkCell, do func(context.Context) error) outcome {
	ctx, impatient, cancel := c.patience(ctx)
	defer cancel()
	began := time.Now()
	err := do(ctx)
	switch {
	case errors.Is(err, client.ErrTryLater), errors.Is(err, client.ErrConflict):
		// It took so long that the audit gave up what it had stored; surely nothing was written.
		c.w.stats.fault("writes of chunks that took so long that they were given up")
		c.w.stats.op(kind, true, true, time.Since(began), x.name)
		return refused
	case kind == chunkCopy && errors.Is(err, client.ErrNotFound), errors.Is(err, client.ErrFewHolders):
		return refused // settling has made other chunks of it; or there is no room for chunks, and the object itself was not asked
	}
	return c.judge(kind, x.name, true, began, impatient, err)
}

// read reads an object, or a part of it, and checks what comes.
func (k *chunkWork) read(ctx context.Context, c *worker, x *chunkCell) {
	floor := x.now()
	off, n := 0, 0
	if !c.patient && c.rng.IntN(2) == 0 {
		off, n = c.rng.IntN(chunkObjectMax/2), 1+c.rng.IntN(chunkObjectMax/4)
	}
	r, out := c.do(ctx, "chunk read", x.name, new(client.Op).Read(uint64(off), uint64(n)).GetAttr("write").OmapGet("write"))
	var nr uint64
	switch out {
	case unknown:
		return
	case done:
		var err error
		nr, err = x.check(r.Items[0].Data, off, n, string(r.Items[1].Data), string(r.Items[2].Data))
		r.Release()
		if err != nil {
			c.w.fault(err)
			return
		}
	case refused: // not found
	}
	if err := x.saw(floor, nr); err != nil {
		c.w.fault(err)
	}
}

// stats sums up what the clients did with chunks.
func (k *chunkWork) stats() (sum client.ChunkStats) {
	for _, p := range k.pools {
		s := p.Client().ChunkStats()
		sum.Written += s.Written
		sum.Shared += s.Shared
		sum.LostRaces += s.LostRaces
		sum.Local += s.Local
		sum.Replaced += s.Replaced
		sum.Read += s.Read
		sum.Rebuilt += s.Rebuilt
		sum.Hedged += s.Hedged
		sum.BadShards += s.BadShards
		sum.Moved += s.Moved
		sum.Reread += s.Reread
	}
	return sum
}
