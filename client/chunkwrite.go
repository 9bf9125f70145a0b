package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/chunk/cut"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// ChunkObjects is Objects that can make chunks of large writes. *Pool implements it, and client/clienttest's.
type ChunkObjects interface {
	Objects
	// DoChunked is Do, but of the data of large writes it makes chunks as the policy says.
	DoChunked(ctx context.Context, object string, op *Op, o ChunkOptions) (*Result, error)
}

// SettleAs says how chunks are made, when the object is settled, of the bytes that it has itself, if that is not as its pool says.
// Without a policy it says nothing.
func (o *Op) SettleAs(c ChunkOptions) *Op {
	if c.Policy == nil {
		return o
	}
	s := chunk.Settle{Policy: *c.Policy, Tenant: c.Tenant}
	return o.SetAttr(chunk.SettleAttr, s.Append(nil))
}

// setRefsMax is how many references a write sets, about: one that would set more is cut into larger chunks.
const setRefsMax = 1024

// DoChunked carries out an Op after it has made chunks of the data of its large writes: of Write and WriteFull with
// MinChunkBytes and more. What is not worth a chunk, or finds too few holders, stays the object's own. Chunks are durable
// before the Op is carried out, which then makes the object refer to them; all of that is as atomic as the Op.
// Results are as Do's.
func (x *Chunks) DoChunked(ctx context.Context, object string, op *Op, o ChunkOptions) (*Result, error) {
	pol := o.Policy
	if pol == nil {
		p := x.policy()
		pol = &p
	}
	if pol.IsZero() || !op.hasLarge() || op.record {
		return x.Do(ctx, object, op)
	}
	fail := func(err error) (*Result, error) {
		return nil, &OpError{Pool: x.name, Object: object, Index: -1, Err: err}
	}
	if err := pol.Check(); err != nil {
		return fail(fmt.Errorf("%w: %w", ErrInvalid, err))
	}
	for attempt := 1; ; attempt++ {
		w := rewriting{x: x, object: object, pol: pol, tenant: o.Tenant, op: op}
		if err := w.prepare(ctx); err != nil {
			return fail(err)
		}
		res, err := x.Do(ctx, object, w.next)
		if err == nil {
			return w.result(res), nil
		}
		if !unknownOutcome(err) {
			x.forget(ctx, object, w.refs)
		}
		at := failedAt(err)
		if errors.Is(err, ErrConflict) && attempt < chunkAttempts && at >= 0 && w.next.ops[at].Kind == wirepb.OpKind_SET_REF {
			continue // it took us so long that the audit gave the reference up: another one
		}
		return nil, w.error(err)
	}
}

// hasLarge reports whether the Op writes something that chunks can be made of.
func (o *Op) hasLarge() bool {
	if o.size < MinChunkBytes {
		return false
	}
	for _, op := range o.ops {
		if (op.Kind == wirepb.OpKind_WRITE || op.Kind == wirepb.OpKind_WRITE_FULL) && op.DataLen >= MinChunkBytes {
			return true
		}
	}
	return false
}

// rewriting is an Op on the way to one that sets references.
type rewriting struct {
	x      *Chunks
	object string
	pol    *ChunkPolicy
	tenant string
	op     *Op

	next *Op
	from []int       // for each operation of next the one of op that it comes from
	refs []chunk.Ref // set by next
}

// piece is a part of a write: a chunk, or left as it is.
type piece struct {
	off  uint64 // in the object
	data []byte
	ref  chunk.Ref
	own  bool
}

// prepare stores chunks and makes next. After an error nothing refers to them.
func (w *rewriting) prepare(ctx context.Context) error {
	var pieces []piece
	counts := make([]int, len(w.op.ops)) // pieces of each operation
	data := w.op.payload
	for i, op := range w.op.ops {
		if !carriesData(op.Kind) {
			continue
		}
		b := data[0]
		data = data[1:]
		if op.Kind == wirepb.OpKind_APPEND || len(b) < MinChunkBytes {
			continue
		}
		n := len(pieces)
		pieces = appendPieces(pieces, w.pol, op.Offset, b)
		counts[i] = len(pieces) - n
	}
	err := each(ctx, len(pieces), func(ctx context.Context, i int) error {
		p := &pieces[i]
		if p.own {
			return nil
		}
		ref, err := w.x.put(ctx, w.object, w.pol, w.tenant, p.data)
		if errors.Is(err, ErrFewHolders) {
			w.x.plane.n.local.Add(1)
			p.own = true
			return nil
		}
		if err != nil {
			return err
		}
		p.ref = ref
		return nil
	})
	for i := range pieces {
		if p := &pieces[i]; p.ref.Layout.Gen != 0 {
			w.refs = append(w.refs, p.ref)
		}
	}
	if err != nil {
		w.x.forget(ctx, w.object, w.refs)
		return err
	}
	w.build(pieces, counts)
	return nil
}

func carriesData(k wirepb.OpKind) bool {
	return k == wirepb.OpKind_WRITE || k == wirepb.OpKind_WRITE_FULL || k == wirepb.OpKind_APPEND
}

// build makes next of what became of the writes.
func (w *rewriting) build(pieces []piece, counts []int) {
	next := &Op{mtime: w.op.mtime, record: w.op.record}
	w.next = next
	data := w.op.payload
	for i, op := range w.op.ops {
		var b []byte
		if carriesData(op.Kind) {
			b, data = data[0], data[1:]
		}
		mine := pieces[:counts[i]]
		pieces = pieces[counts[i]:]
		chunks := 0
		for k := range mine {
			if !mine[k].own {
				chunks++
			}
		}
		switch {
		case !carriesData(op.Kind):
			next.add(op)
		case op.Kind == wirepb.OpKind_APPEND:
			next.Append(b)
		case op.Kind == wirepb.OpKind_WRITE_FULL && chunks == 0:
			next.WriteFull(b)
		case chunks == 0:
			next.Write(op.Offset, b)
		default:
			if op.Kind == wirepb.OpKind_WRITE_FULL {
				next.WriteFull(nil)
			}
			for k := range mine {
				if p := &mine[k]; p.own {
					next.Write(p.off, p.data)
				} else {
					next.SetRef(p.off, uint64(len(p.data)), p.ref)
				}
			}
		}
		for len(w.from) < len(next.ops) {
			w.from = append(w.from, i)
		}
	}
}

// result gives what next brought the places that the Op's operations have.
func (w *rewriting) result(res *Result) *Result {
	items := make([]ResultItem, len(w.op.ops))
	for i, from := range w.from {
		items[from] = res.Items[i]
	}
	res.Items = items
	return res
}

// error makes an error of next one of the Op.
func (w *rewriting) error(err error) error {
	var e *OpError
	if !errors.As(err, &e) || e.Index < 0 || e.Index >= len(w.from) {
		return err
	}
	c := *e
	c.Index = w.from[e.Index]
	return &c
}

// appendPieces cuts a write at an offset of the object.
func appendPieces(pieces []piece, pol *ChunkPolicy, off uint64, data []byte) []piece {
	size := pol.ChunkSize
	for uint64(size) < placement.MaxChunkSize && uint64(len(data)) > uint64(size)*setRefsMax/2 {
		size *= 2
	}
	least := min(MinChunkBytes, int(size))
	add := func(b []byte) {
		pieces = append(pieces, piece{off: off, data: b, own: len(b) < least})
		off += uint64(len(b))
	}
	if pol.Cut == placement.CutFixed {
		for len(data) > 0 {
			n := min(uint64(size)-off%uint64(size), uint64(len(data)))
			add(data[:n:n])
			data = data[n:]
		}
		return pieces
	}
	least = min(least, int(size)/4)
	c, err := cut.New(pol.Cut, size)
	if err != nil {
		panic(err) // the policy was checked
	}
	at := 0
	for _, end := range c.Boundaries(data) {
		add(data[at:end:end])
		at = end
	}
	return pieces
}

// PutChunks makes chunks of all of data for an object, durable and listed in the index, and returns references whose
// ranges begin where data does. An Op has to set them (Op.SetRef) soon: what is not set in a few minutes is taken for
// left behind, and setting it is refused. Who does not set them calls AbandonChunks.
func (x *Chunks) PutChunks(ctx context.Context, object string, data []byte, o ChunkOptions) ([]chunk.Ref, error) {
	pol := o.Policy
	if pol == nil {
		p := x.policy()
		pol = &p
	}
	fail := func(err error) ([]chunk.Ref, error) {
		return nil, &OpError{Pool: x.name, Object: object, Index: -1, Err: err}
	}
	if err := pol.Check(); err != nil || pol.IsZero() {
		return fail(fmt.Errorf("%w: the policy makes no chunks (%v)", ErrInvalid, err))
	}
	if len(data) == 0 {
		return nil, nil
	}
	pieces := appendPieces(nil, pol, 0, data)
	refs := make([]chunk.Ref, len(pieces))
	err := each(ctx, len(pieces), func(ctx context.Context, i int) (err error) {
		refs[i], err = x.put(ctx, object, pol, o.Tenant, pieces[i].data)
		return err
	})
	if err != nil {
		done := refs[:0]
		for i := range refs {
			if refs[i].Layout.Gen != 0 {
				done = append(done, refs[i])
			}
		}
		x.forget(ctx, object, done)
		return fail(err)
	}
	for i := range refs {
		refs[i].Range = chunk.Range{From: pieces[i].off, To: pieces[i].off + uint64(len(pieces[i].data))}
	}
	return refs, nil
}

// AbandonChunks gives references up that no Op has set and none will. It does what is possible now: what is left
// the audit of the index finds.
func (x *Chunks) AbandonChunks(ctx context.Context, object string, refs []chunk.Ref) {
	x.forget(ctx, object, refs)
}
