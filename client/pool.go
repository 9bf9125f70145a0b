package client

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cairnstore/cairn/client/core"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// Pool is a Client's view of one pool. It implements Objects and is safe for
// concurrent use.
type Pool struct {
	c      *Client
	id     placement.PoolID
	name   string
	chunks *Chunks
}

var _ ChunkObjects = (*Pool)(nil)

// Name returns the pool's name.
func (p *Pool) Name() string { return p.name }

// ID returns the pool's id.
func (p *Pool) ID() placement.PoolID { return p.id }

// Client returns the Client whose pool it is.
func (p *Pool) Client() *Client { return p.c }

// Do implements Objects. It retries until the outcome is certain or the time is
// up. Then the error is ErrTimeout, and a write may or may not have taken effect;
// an abandoned attempt may still read the Op's data, and if that has changed by
// then the messenger's checksum makes the OSD refuse it. What reads find in chunks is in their
// Data like all else.
func (p *Pool) Do(ctx context.Context, object string, op *Op) (*Result, error) {
	return p.chunks.Do(ctx, object, op)
}

// DoRaw is Do for whoever looks after chunks: where chunks have what is read, the result has the references
// to them instead (ResultItem.Refs).
func (p *Pool) DoRaw(ctx context.Context, object string, op *Op) (*Result, error) {
	if err := p.check(object, op); err != nil {
		return nil, err
	}
	m, g := p.c.send(ctx, &request{
		op: core.Op{Pool: p.id, Object: object, Write: op.Writes(), Bytes: op.cost()},
		do: op, mtime: op.modified(), payload: op.data(),
	})
	if g != nil {
		return nil, &OpError{Pool: p.name, Object: object, Index: -1, Err: g.err, Text: g.text}
	}
	h := m.Header
	res, err := op.Answer(p.name, object, h.GetCode(), h.GetError(), h.GetOpReply(), m.Payload)
	if err != nil {
		m.Release()
		return nil, err
	}
	res.mem = m.Mem
	return res, nil
}

// check refuses early what every OSD would refuse.
func (p *Pool) check(object string, op *Op) error {
	bad := func(text string) error {
		return &OpError{Pool: p.name, Object: object, Index: -1, Err: ErrInvalid, Text: text}
	}
	switch {
	case object == "":
		return bad("an object needs a name")
	case len(op.ops) == 0:
		return bad("an Op needs at least one operation")
	case placement.IsRecord(object) != op.record:
		return bad(recordText(op.record))
	}
	return nil
}

// unknownRead is what a read to the object's end is taken to bring.
const unknownRead = 1 << 20

// cost estimates the bytes that an Op moves, for the limit of those under way.
func (o *Op) cost() int64 {
	n := int64(o.size) + 1024
	for _, op := range o.ops {
		n += int64(len(op.Value))
		if op.Kind == wirepb.OpKind_READ {
			l := op.Length
			if l == 0 {
				l = unknownRead
			}
			n += int64(min(l, 64<<20))
		}
	}
	return n
}

// Stat is what Pool.Stat returns.
type Stat struct {
	Size    uint64
	Version uint64
	Mtime   time.Time
}

// Stat returns an object's size, version and modification time.
func (p *Pool) Stat(ctx context.Context, object string) (Stat, error) {
	res, err := p.Do(ctx, object, new(Op).Stat())
	if err != nil {
		return Stat{}, err
	}
	it := res.Items[0]
	return Stat{Size: it.Size, Version: it.Version, Mtime: it.Mtime}, nil
}

// Read returns n bytes of an object at off, fewer at its end; n = 0 reads to the end.
func (p *Pool) Read(ctx context.Context, object string, off, n uint64) ([]byte, error) {
	res, err := p.Do(ctx, object, new(Op).Read(off, n))
	if err != nil {
		return nil, err
	}
	return res.Items[0].Data, nil
}

// DoChunked implements ChunkObjects; see Chunks.DoChunked.
func (p *Pool) DoChunked(ctx context.Context, object string, op *Op, o ChunkOptions) (*Result, error) {
	return p.chunks.DoChunked(ctx, object, op, o)
}

// Chunks returns what makes the pool's chunks and reads them.
func (p *Pool) Chunks() *Chunks { return p.chunks }

// WriteFull makes data the object's bytes; it creates the object if need be. As the pool's policy says, chunks are made
// of it.
func (p *Pool) WriteFull(ctx context.Context, object string, data []byte) error {
	_, err := p.DoChunked(ctx, object, new(Op).WriteFull(data), ChunkOptions{})
	return err
}

// Write writes data at off; a gap before it reads as zeros. As the pool's policy says, chunks are made of it.
func (p *Pool) Write(ctx context.Context, object string, off uint64, data []byte) error {
	_, err := p.DoChunked(ctx, object, new(Op).Write(off, data), ChunkOptions{})
	return err
}

// Remove deletes an object, ErrNotFound when it does not exist.
func (p *Pool) Remove(ctx context.Context, object string) error {
	_, err := p.Do(ctx, object, new(Op).Remove(false))
	return err
}

// Cursor is a place in the listing of a pool. The zero Cursor is the start.
type Cursor struct {
	PGNum uint32 // PGs that the pool had when the listing began; 0: it has not
	Shard uint32 // of those the one whose objects are being listed
	After string // last name listed of it
	End   bool   // nothing follows
}

// Limits of List.
const (
	maxListNames = 10000 // names of one call
	minListNames = 64    // names asked of each part of a PG that was split
)

// List returns up to limit names of objects from a place on, and the place
// behind them. Names come PG by PG in the order of the PGs' numbers and sorted
// within each, so not sorted as a whole. A page may have fewer names than limit,
// even none, before the end: only next.End says that nothing follows. Objects
// that exist during the whole listing are listed once; those created or removed
// meanwhile may be. That holds if PGs are split meanwhile, too: the listing goes on in
// the order of the PGs that it began with, each the union of what it was split into.
func (p *Pool) List(ctx context.Context, from Cursor, limit int) (names []string, next Cursor, err error) {
	return p.list(ctx, 0, from, limit)
}

func (p *Pool) list(ctx context.Context, record placement.RecordKind, from Cursor, limit int) (names []string, next Cursor, err error) {
	if limit <= 0 || limit > maxListNames {
		limit = maxListNames
	}
	for next = from; !next.End && len(names) < limit; {
		pool := p.c.Map().Pool(p.id)
		if pool == nil {
			return nil, from, fmt.Errorf("list pool %q: %w: it was removed", p.name, ErrNotFound)
		}
		if next.PGNum == 0 || next.PGNum > pool.PGNum {
			next.PGNum = pool.PGNum
		}
		if next.Shard >= next.PGNum {
			next = Cursor{PGNum: next.PGNum, Shard: next.Shard, End: true}
			break
		}
		page, more, err := p.listShard(ctx, record, next, limit-len(names))
		if err != nil {
			return nil, from, err
		}
		names = append(names, page...)
		switch n := len(page); {
		case more && n == 0:
			return names, next, nil // the OSD needs time, or the pool grows; the caller comes back
		case more:
			next.After = page[n-1]
		default:
			next = Cursor{PGNum: next.PGNum, Shard: next.Shard + 1}
		}
	}
	return names, next, nil
}

// listShard lists, in order, what has become of one of the PGs that the listing began with.
func (p *Pool) listShard(ctx context.Context, record placement.RecordKind, at Cursor, limit int) (names []string, more bool, err error) {
	pool := p.c.Map().Pool(p.id)
	if pool == nil {
		return nil, true, nil // List says so
	}
	parts := append([]uint32{at.Shard}, placement.SplitChildren(at.Shard, at.PGNum, pool.PGNum)...)
	each := limit
	if len(parts) > 1 {
		each = min(limit, max(minListNames, 2*limit/len(parts)))
	}
	end, bounded := "", false // how far all parts were listed
	for _, shard := range parts {
		reply, pgNum, err := p.listPG(ctx, record, shard, at.After, each)
		if err != nil {
			return nil, false, err
		}
		if pgNum != pool.PGNum {
			return nil, true, nil // the pool grew: what the parts were asked is not one whole any more
		}
		n := len(reply.Objects)
		if reply.More && n == 0 {
			return nil, true, nil
		}
		for _, name := range reply.Objects {
			names = append(names, string(name))
		}
		if reply.More && (!bounded || string(reply.Objects[n-1]) < end) {
			end, bounded = string(reply.Objects[n-1]), true
		}
	}
	if len(parts) > 1 {
		slices.Sort(names)
	}
	if bounded {
		n, _ := slices.BinarySearch(names, end)
		names = names[:n+1]
	}
	if len(names) > limit {
		names, bounded = names[:limit], true
	}
	return names, bounded, nil
}

// listPG lists one PG. It also returns the pool's pg_num in the map by which the PG was asked; the
// PG answers only if it has the same.
func (p *Pool) listPG(ctx context.Context, record placement.RecordKind, shard uint32, after string, limit int) (_ *wirepb.PGListReply, pgNum uint32, _ error) {
	pg := placement.PGID{Pool: p.id, Shard: shard}
	m, g := p.c.send(ctx, &request{
		op: core.Op{Pool: p.id, OnePG: true, Shard: shard, Bytes: int64(limit) * 64},
		header: func(s *core.Send) *wirepb.Header {
			pgNum = s.PGNum
			return &wirepb.Header{Body: &wirepb.Header_PgList{PgList: &wirepb.PGList{
				Pool: uint32(p.id), Shard: shard, After: []byte(after), Limit: uint32(limit), PgNum: s.PGNum, Record: uint32(record),
			}}}
		},
	})
	fail := func(err error, text string) error {
		return fmt.Errorf("list pg %s of pool %q: %w: %s", pg, p.name, err, text)
	}
	if g != nil {
		return nil, 0, fail(g.err, g.text)
	}
	if code := m.Header.GetCode(); code != wirepb.Code_OK {
		return nil, 0, fail(ErrorOf(code), m.Header.GetError())
	}
	reply := m.Header.GetPgListReply()
	if reply == nil {
		return nil, 0, fail(ErrInternal, fmt.Sprintf("OSD answered with %T", m.Header.Body))
	}
	last := after
	for _, name := range reply.Objects {
		if string(name) <= last {
			return nil, 0, fail(ErrInternal, fmt.Sprintf("the OSD's listing goes from %q back to %q", last, name))
		}
		last = string(name)
	}
	return reply, pgNum, nil
}
