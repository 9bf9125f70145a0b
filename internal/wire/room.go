package wire

import (
	"encoding/binary"

	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// What a received message consists of is allocated together where it lives and dies together: the parts of a
// small write would otherwise be a third of all the allocations that it causes. The decoder
// goes on with what is there already, so it is given what it would make itself; a look at the
// encoded header tells what that is. Names and values, and what a log keeps, are left to it.

// inbound is a message, its header and the memory of its payload.
type inbound struct {
	m   Message
	h   wirepb.Header
	buf slab.Buf
}

type inboundOp struct {
	inbound
	body wirepb.Header_Op
	op   wirepb.OpRequest
	list [1]*wirepb.ObjOp
	one  wirepb.ObjOp
}

type inboundReply struct {
	inbound
	body  wirepb.Header_OpReply
	reply wirepb.OpReply
	list  [1]*wirepb.ObjResult
	one   wirepb.ObjResult
}

type inboundPG struct {
	inbound
	body wirepb.Header_Pg
	pg   wirepb.PGMsg
}

type inboundAcked struct {
	inboundPG
	kind  wirepb.PGMsg_Acked
	acked wirepb.PGAcked
	pos   wirepb.Position
}

type inboundReplicate struct {
	inboundPG
	kind            wirepb.PGMsg_Replicate
	replicate       wirepb.PGReplicate
	prev, committed wirepb.Position
	list            [2]*wirepb.Mutation
	all             [2]wirepb.Mutation
}

// logged is what a log keeps: it must not keep the rest.
type logged struct {
	entry wirepb.LogEntry
	pos   wirepb.Position
}

// loggedReq is logged of an entry with a request id.
type loggedReq struct {
	logged
	req wirepb.ReqID
}

// Numbers of fields in wire.proto.
const (
	headerPG        = 42
	headerOp        = 50
	headerOpReply   = 51
	pgMsgReplicate  = 20
	pgMsgAcked      = 21
	replicatePrev   = 1
	replicateEntry  = 2
	replicateCommit = 3
	entryPos        = 1
	entryReq        = 3
	ackedPos        = 1
	bodiesFrom      = 16 // the first number of a body, of a Header and of a PGMsg
)

// roomFor returns memory for a message with an encoded header.
func roomFor(header []byte) *inbound {
	switch num, body := bodyOf(header); num {
	case headerOp:
		a := &inboundOp{}
		a.h.Body, a.body.Op = &a.body, &a.op
		a.list[0], a.op.Ops = &a.one, a.list[:0]
		return &a.inbound
	case headerOpReply:
		a := &inboundReply{}
		a.h.Body, a.body.OpReply = &a.body, &a.reply
		a.list[0], a.reply.Results = &a.one, a.list[:0]
		return &a.inbound
	case headerPG:
		return roomForPG(body)
	}
	return &inbound{}
}

func roomForPG(msg []byte) *inbound {
	num, body := bodyOf(msg)
	switch num {
	case pgMsgAcked:
		a := &inboundAcked{}
		a.join().Body, a.kind.Acked = &a.kind, &a.acked
		if has(body, ackedPos) {
			a.acked.Pos = &a.pos
		}
		return &a.inbound
	case pgMsgReplicate:
		a := &inboundReplicate{}
		a.join().Body, a.kind.Replicate = &a.kind, &a.replicate
		r := &a.replicate
		if has(body, replicatePrev) {
			r.Prev = &a.prev
		}
		if has(body, replicateCommit) {
			r.Committed = &a.committed
		}
		if entry, ok := field(body, replicateEntry); ok {
			r.Entry = roomForEntry(entry)
		}
		for i := range a.all {
			a.list[i] = &a.all[i]
		}
		r.Mutations = a.list[:0]
		return &a.inbound
	}
	a := &inboundPG{}
	a.join()
	return &a.inbound
}

func (a *inboundPG) join() *wirepb.PGMsg {
	a.h.Body, a.body.Pg = &a.body, &a.pg
	return &a.pg
}

func roomForEntry(entry []byte) *wirepb.LogEntry {
	var l *logged
	if has(entry, entryReq) {
		a := &loggedReq{}
		l = &a.logged
		l.entry.Req = &a.req
	} else {
		l = &logged{}
	}
	if has(entry, entryPos) {
		l.entry.Pos = &l.pos
	}
	return &l.entry
}

// bodyOf returns the first message of an encoded header or PGMsg that is one of its bodies, and its number; 0 if it
// has none, or is damaged.
func bodyOf(b []byte) (num uint64, body []byte) {
	for len(b) > 0 {
		if num, body, b = nextField(b); num >= bodiesFrom && body != nil {
			return num, body
		}
	}
	return 0, nil
}

// field returns the first of an encoded message's fields that has that number and is a message or bytes.
func field(b []byte, want uint64) ([]byte, bool) {
	var num uint64
	var content []byte
	for len(b) > 0 {
		if num, content, b = nextField(b); num == want && content != nil {
			return content, true
		}
	}
	return nil, false
}

func has(b []byte, num uint64) bool {
	_, ok := field(b, num)
	return ok
}

// nextField returns the number of the first field of an encoded message, its content if it is a message or
// bytes, else nil, and what follows. Nothing follows what is damaged: the decoder finds that out.
func nextField(b []byte) (num uint64, content, rest []byte) {
	tag, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, nil
	}
	b = b[n:]
	size := uint64(0)
	switch tag & 7 {
	case 0: // varint
		if _, n = binary.Uvarint(b); n <= 0 {
			return 0, nil, nil
		}
		return tag >> 3, nil, b[n:]
	case 1:
		size = 8
	case 2: // message or bytes
		if size, n = binary.Uvarint(b); n <= 0 || size > uint64(len(b)-n) {
			return 0, nil, nil
		}
		b = b[n:]
		return tag >> 3, b[:size:size], b[size:]
	case 5:
		size = 4
	default:
		return 0, nil, nil
	}
	if size > uint64(len(b)) {
		return 0, nil, nil
	}
	return tag >> 3, nil, b[size:]
}
