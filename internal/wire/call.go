package wire

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// call is one of our requests that waits for its answer. Whoever takes it out
// of Conn.pending sends exactly one result, or is its caller.
type call struct {
	result  chan result // holds one
	started uint64      // Conn.tick when it was sent

	// Of an Asker; Conn.mu guards both.
	asked     bool // it was among Conn.pending, and may be there yet
	abandoned bool // before it was
}

type result struct {
	m   *Message
	err error
}

// Call sends m as a request and waits for the answer. A reply with a code other
// than OK comes back both as the reply and as an *Error. While the connection's
// queue is full Call waits. When ctx ends the request is forgotten, not undone:
// the peer may still carry it out.
func (c *Conn) Call(ctx context.Context, m *Message) (*Message, error) {
	tag := c.tags.Add(1)
	f, err := encode(kindMessage, m, stamp{tag: tag, epoch: c.epoch()}, c.o.NoPayloadCheck)
	if err != nil {
		return nil, c.callError(err)
	}
	return c.pooledTrip(ctx, f, tag)
}

// Asker makes calls, one after the other, that somebody else may end: cheaper than a context for each. The zero
// Asker is ready for use.
type Asker struct {
	conn *Conn
	tag  uint64
	call call
}

// Attach readies the Asker for one Call over a connection. The caller sees to it that nothing else is done
// with the Asker meanwhile, Abandon included, and that there is no Call.
func (a *Asker) Attach(c *Conn) {
	if a.call.result == nil {
		a.call.result = make(chan result, 1)
	}
	select {
	case <-a.call.result: // of an Abandon that nobody saw
	default:
	}
	a.conn, a.tag = c, c.tags.Add(1)
	a.call.asked, a.call.abandoned = false, false
}

// Call is Conn.Call over the connection of Attach.
func (a *Asker) Call(ctx context.Context, m *Message) (*Message, error) {
	c := a.conn
	f, err := encode(kindMessage, m, stamp{tag: a.tag, epoch: c.epoch()}, c.o.NoPayloadCheck)
	if err != nil {
		return nil, c.callError(err)
	}
	return c.roundTrip(ctx, f, a.tag, &a.call)
}

// Abandon has the Call of the last Attach, under way or to come, return ErrAbandoned, unless it has its answer. The
// request is forgotten, not undone.
func (a *Asker) Abandon() {
	c := a.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !a.call.asked && !a.call.abandoned:
		a.call.abandoned = true
	case c.pending[a.tag] == &a.call:
		delete(c.pending, a.tag)
	default:
		return
	}
	a.call.result <- result{err: c.callError(ErrAbandoned)} // there is room: whoever takes it out of pending sends once
}

// Ping asks the peer's messenger (not its handler) for a sign of life and
// returns how long it took.
func (c *Conn) Ping(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	tag := c.tags.Add(1)
	f, err := encode(kindPing, nil, stamp{tag: tag}, true)
	if err != nil {
		return 0, c.callError(err)
	}
	if _, err := c.pooledTrip(ctx, f, tag); err != nil {
		return 0, err
	}
	return time.Since(start), nil
}

func (c *Conn) pooledTrip(ctx context.Context, f frame, tag uint64) (*Message, error) {
	cl := c.calls.Get().(*call)
	m, err := c.roundTrip(ctx, f, tag, cl)
	c.calls.Put(cl)
	return m, err
}

// roundTrip leaves nothing in cl.result, unless it was abandoned too late.
func (c *Conn) roundTrip(ctx context.Context, f frame, tag uint64, cl *call) (*Message, error) {
	if err := ctx.Err(); err != nil {
		f.release()
		return nil, c.callError(err)
	}
	if err := c.pushCall(ctx, f, tag, cl); err != nil {
		return nil, c.callError(err)
	}
	var r result
	select {
	case r = <-cl.result:
	case <-ctx.Done():
		if c.forget(tag) {
			return nil, c.callError(ctx.Err())
		}
		r = <-cl.result // the answer has just won
	}
	if r.err != nil {
		return nil, r.err
	}
	if h := r.m.Header; h.Code != wirepb.Code_OK {
		return r.m, &Error{Code: h.Code, Text: h.Error, Epoch: h.Epoch}
	}
	return r.m, nil
}

// callError names the peer in errors that do not do so themselves.
func (c *Conn) callError(err error) error {
	if _, ok := err.(*closedError); ok {
		return err
	}
	return fmt.Errorf("call %v: %w", c, err)
}

func (c *Conn) timedOut() error {
	return c.callError(fmt.Errorf("no answer in %v: %w", c.o.CallTimeoutMax, context.DeadlineExceeded))
}

// forget takes a request out of those that wait and reports whether it was there.
func (c *Conn) forget(tag uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.pending[tag]
	delete(c.pending, tag)
	return ok
}

// answer hands a reply to its call. Replies that nobody waits for any more are dropped.
func (c *Conn) answer(m *Message) {
	c.mu.Lock()
	cl := c.pending[m.Header.Tag]
	delete(c.pending, m.Header.Tag)
	c.mu.Unlock()
	if cl == nil {
		m.Release()
		return
	}
	cl.result <- result{m: m}
}

// Send sends m one-way. It never waits: it fails with ErrQueueFull when the
// peer reads too slowly and with ErrConnClosed when the connection has ended.
// No error does not mean that the peer got it.
func (c *Conn) Send(m *Message) error {
	f, err := encode(kindMessage, m, stamp{epoch: c.epoch()}, c.o.NoPayloadCheck)
	if err != nil {
		return fmt.Errorf("send to %v: %w", c, err)
	}
	return c.pushSend(f, true)
}

// Queue is Send for somebody who sends several messages in a row: it leaves when
// Flush is called, which it must be soon, or together with a message of another.
func (c *Conn) Queue(m *Message) error {
	f, err := encode(kindMessage, m, stamp{epoch: c.epoch()}, c.o.NoPayloadCheck)
	if err != nil {
		return fmt.Errorf("send to %v: %w", c, err)
	}
	return c.pushOne(f, false, true)
}

// QueueReply is to Reply what Queue is to Send.
func (c *Conn) QueueReply(req *Message, m *Message) error { return c.answerTo(req, m, true) }

// Reply answers the request req, which must have come from this connection and
// not be answered yet. It never waits. A one-way message has no answer: then
// nothing is sent. m may be nil: OK and nothing else.
func (c *Conn) Reply(req *Message, m *Message) error { return c.answerTo(req, m, false) }

func (c *Conn) answerTo(req *Message, m *Message, later bool) error {
	tag := req.Header.GetTag()
	if tag == 0 {
		m.unsent()
		return nil
	}
	s := stamp{tag: tag, reply: true, epoch: c.epoch()}
	f, err := encode(kindMessage, m, s, c.o.NoPayloadCheck)
	if err != nil {
		// The peer must not wait for ever because our answer is too large.
		sorry := &wirepb.Header{Code: wirepb.Code_INTERNAL, Error: err.Error()}
		if f, e := encode(kindMessage, &Message{Header: sorry}, s, true); e == nil {
			_ = c.pushReply(f, tag, later)
		}
		return fmt.Errorf("reply to %v: %w", c, err)
	}
	return c.pushReply(f, tag, later)
}

// ReplyError answers the request req with an error code and a text for people.
func (c *Conn) ReplyError(req *Message, code wirepb.Code, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if len(text) > errorTextMax {
		text = strings.ToValidUTF8(text[:errorTextMax], "")
	}
	return c.Reply(req, &Message{Header: &wirepb.Header{Code: code, Error: text}})
}

func (c *Conn) epoch() uint64 {
	if c.o.Epoch == nil {
		return 0
	}
	return c.o.Epoch()
}
