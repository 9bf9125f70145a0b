package wire

import (
	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// Message is a header and its payload.
//
// When sending, the header is encoded before the call returns and is never
// changed, so one Message may be sent to many peers, even at once. A payload is
// not copied when it is large: it must not change until the answer is there
// (Call) or Sent has been called.
//
// When receiving, header and payload belong to the receiver: it is the user of Mem,
// if that is not nil, and may end that with Release.
type Message struct {
	Header  *wirepb.Header
	Payload []byte

	// Mem is the counted memory that Payload lies in, with the checksums of its blocks. It may
	// be nil, and is when there is no payload. When sending, the messenger is a user of Mem as
	// long as it needs the payload, and its checksums save reading the payload for one; what
	// the caller's use of it is worth to the caller, the messenger does not touch.
	Mem *slab.Buf

	// Sent, if not nil, is called once for each Send, Call, Reply or Peers.Send
	// of the message, when the messenger no longer needs the payload: it has
	// been written, copied or dropped, whatever the call returned. It must not
	// block or use the connection. Any goroutine may call it, even before the
	// sending call returns.
	Sent func()
}

// NewMessage returns a message with a payload of n bytes with arbitrary content in counted
// memory, whose user is the caller: Release, even directly after sending, gives it back.
func NewMessage(h *wirepb.Header, n int) *Message {
	if n == 0 {
		return &Message{Header: h}
	}
	buf := slab.New(n)
	return &Message{Header: h, Payload: buf.Bytes(), Mem: buf}
}

// Release ends the caller's use of the payload's memory. It is optional: without
// it the garbage collector takes the memory. The caller must hold no reference
// to the payload, unless it has retained Mem. Release does nothing the second time and on nil.
func (m *Message) Release() {
	if m == nil || m.Mem == nil {
		return
	}
	b := m.Mem
	m.Mem, m.Payload = nil, nil
	b.Release()
}

// unsent gives the payload of a message back that is not even encoded.
func (m *Message) unsent() {
	if m != nil && m.Sent != nil {
		m.Sent()
	}
}

// Identity says who stands at one end of a connection.
type Identity struct {
	Entity      string         // "osd.3", "mon.a", "client.s3.1"
	Cluster     placement.UUID // zero: not known yet
	Incarnation uint64         // raised at every start of the entity
}

// Handler gets the messages that are not replies to Call, and the news of a
// connection's end.
//
// Handle runs on the connection's reader goroutine, in the order of arrival: it
// must not block, and hands long work to a goroutine. A request (its tag is not
// 0) must get exactly one Reply or ReplyError, or it counts against the
// connection's limit of unanswered requests for ever.
//
// Closed is called once for each established connection, after its last Handle.
// Conn.Close may be called from both; Server.Close and Peers.Close may not.
type Handler interface {
	Handle(c *Conn, m *Message)
	Closed(c *Conn, err error)
}

// Idler is a Handler that would rather work on several messages together. Idle is
// called on the reader goroutine after one or more calls of Handle, before the reader
// waits for anything; if the connection ends before, only Closed is.
type Idler interface {
	Idle(c *Conn)
}
