package client

import (
	"context"
	"fmt"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// SetRef makes n bytes at off those of a chunk, from byte ref.ChunkOff of it on, instead of what is there. It fails with
// ErrConflict if the reference was declared void (placement.VoidRef). The chunk's entry must list the reference already.
//
// A nonce is for one request. Who does not know whether a request took effect and makes another one needs a new nonce,
// listed in the chunk's entry: by now the first may have taken effect and been dropped again.
func (o *Op) SetRef(off, n uint64, ref chunk.Ref) *Op {
	ref.Range = chunk.Range{From: off, To: off + n}
	return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_SET_REF, Offset: off, Length: n, Value: ref.Append(nil)})
}

// ReadRefs reads the references to chunks of the bytes at off and behind it, in order, and no data: at most so many as
// limit says. If More is set in the result, the next ones begin where the last one's Range ends.
func (o *Op) ReadRefs(off uint64, limit int) *Op {
	return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_READ, Offset: off, Limit: uint32(limit), Flag: true})
}

// AssertNoRecord fails the Op with ErrConflict when there is a record of that name. The record must belong to the object.
func (o *Op) AssertNoRecord(name string) *Op {
	return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_ASSERT_NO_RECORD, Name: []byte(name)})
}

// CmpAttrAbsent fails the Op with Conflict when the attribute exists.
func (o *Op) CmpAttrAbsent(name string) *Op {
	return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_CMP_ATTR, Name: []byte(name), Flag: true})
}

// AsRecord says that the Op is about one of cairn's own records (placement.IsRecord), which nobody touches by mistake.
func (o *Op) AsRecord() *Op { o.record = true; return o }

// ListRecords is List for the records of a kind instead of clients' objects, which have none in their listings.
func (p *Pool) ListRecords(ctx context.Context, kind placement.RecordKind, from Cursor, limit int) (names []string, next Cursor, err error) {
	return p.list(ctx, kind, from, limit)
}

// PGRecords returns up to limit names of the records of a kind in one PG, sorted, behind a name, and whether more follow. It
// fails if the pool's PGs are being split meanwhile.
func (p *Pool) PGRecords(ctx context.Context, shard uint32, kind placement.RecordKind, after string, limit int) (names []string, more bool, err error) {
	reply, _, err := p.listPG(ctx, kind, shard, after, limit)
	if err != nil {
		return nil, false, err
	}
	for _, name := range reply.Objects {
		names = append(names, string(name))
	}
	return names, reply.More, nil
}

// recordText says why a name and an Op do not go together.
func recordText(asRecord bool) string {
	if asRecord {
		return "the object is no record: those have names that begin with a zero byte"
	}
	return "names that begin with a zero byte are those of cairn's own records; choose another one"
}

// refer takes in what a READ at off says of chunks. Data is what came with it.
func (it *ResultItem) refer(off uint64, r *wirepb.ObjResult) error {
	if len(r.Local)%2 != 0 || r.Length > maxObjectBytes || off > maxObjectBytes {
		return fmt.Errorf("%d bytes at %d, %d numbers for ranges", r.Length, off, len(r.Local))
	}
	it.Length = r.Length
	in := chunk.Range{From: off, To: off + r.Length}
	it.Local = make([]chunk.Range, len(r.Local)/2)
	at, sum := in.From, uint64(0)
	for i := range it.Local {
		from, n := r.Local[2*i], r.Local[2*i+1]
		if from < at || n == 0 || n > in.To || from > in.To-n {
			return fmt.Errorf("range of %d bytes at %d of %d bytes at %d", n, from, r.Length, off)
		}
		it.Local[i] = chunk.Range{From: from, To: from + n}
		at, sum = from+n, sum+n
	}
	if sum != uint64(len(it.Data)) {
		return fmt.Errorf("ranges of %d bytes come with %d", sum, len(it.Data))
	}
	it.Refs = make([]chunk.Ref, len(r.Refs))
	for i, b := range r.Refs {
		var err error
		if it.Refs[i], err = chunk.DecodeRef(b); err != nil {
			return err
		}
		it.Refs[i].Bare(in, func(x chunk.Range) { sum += x.Len() })
	}
	if sum != r.Length {
		return fmt.Errorf("%d bytes of %d are nowhere", int64(r.Length)-int64(sum), r.Length)
	}
	return nil
}

// referOnly takes in the answer to a ReadRefs.
func (it *ResultItem) referOnly(off uint64, r *wirepb.ObjResult) error {
	it.Refs = make([]chunk.Ref, len(r.Refs))
	for i, b := range r.Refs {
		var err error
		if it.Refs[i], err = chunk.DecodeRef(b); err != nil {
			return err
		}
		if it.Refs[i].Range.To <= off {
			return fmt.Errorf("reference %d is to bytes %d to %d, before %d", i, it.Refs[i].Range.From, it.Refs[i].Range.To, off)
		}
		off = it.Refs[i].Range.To
	}
	return nil
}

// maxObjectBytes is how large an object can be.
const maxObjectBytes = 64 << 20
