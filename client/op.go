package client

import (
	"encoding/binary"
	"time"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// Op is a compound operation on one object: conditions, reads and writes that
// take effect as one atomic transaction, in the order they were added. All
// conditions are checked, in order, before anything changes; the first that
// fails fails the Op and nothing changes. An Op that writes may also read, but
// only small results (together at most MaxMixedReadBytes), because the answer
// is kept in the PG log for retries; its reads see the object as it was before.
//
// The zero Op is ready for use. An Op is not safe for concurrent use, and the
// byte slices given to it must not change until Do returned.
type Op struct {
	ops     []*wirepb.ObjOp
	payload [][]byte // data of the writes, in order
	size    uint64   // bytes in payload
	mtime   time.Time
	record  bool // see AsRecord

	// Memory of ops and payload as long as there is one operation, as there mostly is.
	one     wirepb.ObjOp
	oneOp   [1]*wirepb.ObjOp
	oneData [1][]byte
}

// MaxMixedReadBytes bounds what an Op that writes may also read.
const MaxMixedReadBytes = 16 << 10

func (o *Op) add(op *wirepb.ObjOp) *Op {
	if o.ops == nil {
		o.ops = o.oneOp[:0]
	}
	o.ops = append(o.ops, op)
	return o
}

// room returns memory for an operation that is added next.
func (o *Op) room() *wirepb.ObjOp {
	if o.ops == nil {
		return &o.one
	}
	return new(wirepb.ObjOp)
}

func (o *Op) addData(op *wirepb.ObjOp, data []byte) *Op {
	op.DataOff, op.DataLen = o.size, uint64(len(data))
	if o.payload == nil {
		o.payload = o.oneData[:0]
	}
	o.payload = append(o.payload, data)
	o.size += uint64(len(data))
	return o.add(op)
}

// At sets the modification time a write gives the object; default: now.
func (o *Op) At(t time.Time) *Op { o.mtime = t; return o }

// AssertExists fails the Op with NotFound when the object does not exist.
func (o *Op) AssertExists() *Op { return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_ASSERT_EXISTS}) }

// AssertAbsent fails the Op with Exists when the object exists.
func (o *Op) AssertAbsent() *Op { return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_ASSERT_ABSENT}) }

// AssertVersion fails the Op with Conflict unless the object's version is v.
func (o *Op) AssertVersion(v uint64) *Op {
	return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_ASSERT_VERSION, Version: v})
}

// CmpAttr fails the Op with Conflict unless the attribute exists and equals value.
func (o *Op) CmpAttr(name string, value []byte) *Op {
	return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_CMP_ATTR, Name: []byte(name), Value: value})
}

// CmpOmap fails the Op with Conflict unless the omap key exists and equals value.
func (o *Op) CmpOmap(key string, value []byte) *Op {
	return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_CMP_OMAP, Name: []byte(key), Value: value})
}

// CmpOmapAbsent fails the Op with Conflict when the omap key exists.
func (o *Op) CmpOmapAbsent(key string) *Op {
	return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_CMP_OMAP, Name: []byte(key), Flag: true})
}

// Stat reads size, version and mtime.
func (o *Op) Stat() *Op { return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_STAT}) }

// Read reads n bytes at off, fewer at the object's end; n = 0 reads to the end.
func (o *Op) Read(off, n uint64) *Op {
	op := o.room()
	op.Kind, op.Offset, op.Length = wirepb.OpKind_READ, off, n
	return o.add(op)
}

// GetAttrs reads all attributes.
func (o *Op) GetAttrs() *Op { return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_GET_ATTRS}) }

// GetAttr reads one attribute; its result's code is NotFound when it is missing, the Op goes on.
func (o *Op) GetAttr(name string) *Op {
	return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_GET_ATTR, Name: []byte(name)})
}

// OmapGet reads one key; its result's code is NotFound when it is missing, the Op goes on.
func (o *Op) OmapGet(key string) *Op {
	return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_OMAP_GET, Name: []byte(key)})
}

// OmapList reads up to limit pairs from start (inclusive) to end (exclusive; "" is no bound).
func (o *Op) OmapList(start, end string, limit int) *Op {
	return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_OMAP_LIST, Name: []byte(start), End: []byte(end), Limit: uint32(limit)})
}

// OmapListAfter is OmapList with an exclusive start.
func (o *Op) OmapListAfter(after, end string, limit int) *Op {
	return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_OMAP_LIST, Name: []byte(after), End: []byte(end), Limit: uint32(limit), Flag: true})
}

// Create makes the object if it does not exist; exclusive fails with Exists if it does.
func (o *Op) Create(exclusive bool) *Op {
	return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_CREATE, Flag: exclusive})
}

// Write writes data at off; a gap before it reads as zeros.
func (o *Op) Write(off uint64, data []byte) *Op {
	op := o.room()
	op.Kind, op.Offset = wirepb.OpKind_WRITE, off
	return o.addData(op, data)
}

// WriteFull replaces the object's bytes (attributes and omap stay).
func (o *Op) WriteFull(data []byte) *Op {
	op := o.room()
	op.Kind = wirepb.OpKind_WRITE_FULL
	return o.addData(op, data)
}

// Append writes data at the object's end.
func (o *Op) Append(data []byte) *Op {
	return o.addData(&wirepb.ObjOp{Kind: wirepb.OpKind_APPEND}, data)
}

// Truncate sets the object's size, cutting or extending with zeros.
func (o *Op) Truncate(size uint64) *Op {
	return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_TRUNCATE, Offset: size})
}

// Zero makes n bytes at off read as zeros and frees their space; it never extends the object.
func (o *Op) Zero(off, n uint64) *Op {
	return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_ZERO, Offset: off, Length: n})
}

// Remove deletes the object; NotFound when it does not exist, unless missingOK.
func (o *Op) Remove(missingOK bool) *Op {
	return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_REMOVE, Flag: missingOK})
}

// SetAttr sets an attribute.
func (o *Op) SetAttr(name string, value []byte) *Op {
	return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_SET_ATTR, Name: []byte(name), Value: value})
}

// RmAttr removes an attribute; a missing one is no error.
func (o *Op) RmAttr(name string) *Op {
	return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_RM_ATTR, Name: []byte(name)})
}

// OmapSet sets a key.
func (o *Op) OmapSet(key string, value []byte) *Op {
	return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_OMAP_SET, Name: []byte(key), Value: value})
}

// OmapRm removes a key; a missing one is no error.
func (o *Op) OmapRm(key string) *Op {
	return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_OMAP_RM, Name: []byte(key)})
}

// OmapRmRange removes the keys from start (inclusive) to end (exclusive; "" is no bound).
func (o *Op) OmapRmRange(start, end string) *Op {
	return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_OMAP_RM_RANGE, Name: []byte(start), End: []byte(end)})
}

// OmapClear removes all keys.
func (o *Op) OmapClear() *Op { return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_OMAP_CLEAR}) }

// OmapAdd adds to the counters that share a key; what is missing is 0. An Op has one at most, and no other write of the key.
func (o *Op) OmapAdd(key string, add []int64) *Op { return o.OmapAddWithin(key, add, nil, false) }

// OmapAddWithin is OmapAdd that fails the Op with Conflict when a counter that it raises would be above its bound; with
// all also those that it does not raise.
func (o *Op) OmapAddWithin(key string, add, bounds []int64, all bool) *Op {
	return o.add(&wirepb.ObjOp{Kind: wirepb.OpKind_OMAP_ADD, Name: []byte(key), Value: AppendCounters(nil, add), End: AppendCounters(nil, bounds), Flag: all})
}

// AppendCounters appends counters as they are stored under a key.
func AppendCounters(b []byte, counters []int64) []byte {
	for _, n := range counters {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	return b
}

// Counters takes counters out of what is stored under a key.
func Counters(b []byte) []int64 {
	var out []int64
	for ; len(b) >= 8; b = b[8:] {
		out = append(out, int64(binary.LittleEndian.Uint64(b)))
	}
	return out
}

// Result is the answer to an Op. Items has one entry for each operation added
// to the Op, in order (empty for those that read nothing).
type Result struct {
	Version uint64 // the object's version after the Op; 0 when it does not exist
	Items   []ResultItem

	mem    *slab.Buf // of Data, unless nil
	chunks *slab.Buf // of Data that chunks had a part in, unless nil
	one    [1]ResultItem
}

// Release gives the memory of what was read back for reuse. It is optional, and worth
// it for large reads; nothing in Items may be used afterwards.
func (r *Result) Release() {
	if r == nil || r.mem == nil && r.chunks == nil {
		return
	}
	mem, chunks := r.mem, r.chunks
	r.mem, r.chunks, r.Items = nil, nil, nil
	mem.Release()
	chunks.Release()
}

// ResultItem is what one operation of an Op read.
type ResultItem struct {
	Found   bool   // false: GetAttr or OmapGet of something missing
	Data    []byte // Read, GetAttr, OmapGet
	Size    uint64 // Stat
	Version uint64 // Stat
	Mtime   time.Time
	KVs     []KV // GetAttrs, OmapList
	More    bool // OmapList: more pairs follow

	// Of a Read of bytes that chunks have. Length is how many bytes the Read is about, from its offset on. Data is then only what
	// the object has itself: the ranges Local of it, one after the other. The rest is what Refs leave bare.
	Refs   []chunk.Ref
	Local  []chunk.Range
	Length uint64
}

// KV is an attribute or omap pair.
type KV struct {
	Key   string
	Value []byte
}
