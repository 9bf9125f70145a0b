package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client/core"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

const probePatient = 2 * time.Second

// request is what send brings to the primary of a PG. Whom it asks, and when
// again, core decides; op lacks what all requests have in common.
type request struct {
	op      core.Op
	do      *Op                             // what is asked for, with mtime, or:
	mtime   int64                           // the same for every attempt
	header  func(*core.Send) *wirepb.Header // for every attempt
	payload []byte
}

// giveUp is why send has no answer for a request.
type giveUp struct {
	err  error  // the condition
	text string // what it waited for
}

// call is a request that send waits for; Client.mu guards it. What core wants done is
// left here for the goroutine of send, which does the waiting.
type call struct {
	news  chan struct{} // holds one: there is something for a goroutine that sleeps; nil before it ever did
	send  bool          // next is an attempt to be made
	ended bool          // done is the end
	next  core.Send
	done  core.Done

	attempt uint64             // under way; 0 none
	conn    *wire.Conn         // it goes over this one, nil before there is one
	cancel  context.CancelFunc // ends the wait for a connection, nil when there is none
	asker   wire.Asker

	// Memory for what makes up a request.
	message wire.Message
	header  wirepb.Header
	union   wirepb.Header_Op
	body    wirepb.OpRequest
	id      wirepb.ReqID
	submit  core.SubmitEvent
	answer  core.AnswerEvent
}

// callMemory keeps the memory of calls that have ended.
var callMemory = sync.Pool{New: func() any { return new(call) }}

// free gives the memory back. Nobody else has the call any more.
func (w *call) free() {
	select {
	case <-w.news:
	default:
	}
	w.send, w.ended, w.next, w.done = false, false, core.Send{}, core.Done{}
	w.message = wire.Message{}
	w.body.Ops, w.body.Object = nil, w.body.Object[:0]
	w.submit, w.answer = core.SubmitEvent{}, core.AnswerEvent{}
	callMemory.Put(w)
}

// fill makes the header of an attempt. It is encoded before Asker.Call returns, so that its memory can be used again.
func (w *call) fill(client uint64, r *request, s *core.Send) *wirepb.Header {
	w.id.Client, w.id.Seq = client, s.ID
	b := &w.body
	b.Req, b.Pool, b.Object = &w.id, uint32(s.PG.Pool), append(b.Object[:0], r.op.Object...)
	b.Ops, b.Mtime, b.Record = r.do.ops, r.mtime, r.do.record
	b.Shard, b.AgeMs = s.PG.Shard, uint64(s.Age.Milliseconds())
	w.union.Op = b
	w.header.Body, w.header.Epoch = &w.union, 0
	return &w.header
}

// tell wakes the goroutine of send.
func (w *call) tell() {
	select {
	case w.news <- struct{}{}:
	default: // it has been told, or looks before it sleeps
	}
}

// send brings a request to its PG's primary, whoever that is at the time, and
// returns the answer, OK or an error that retrying does not change. It retries
// until ctx or Options.Timeout ends. All attempts carry the same request id, so
// the request takes effect at most once.
func (c *Client) send(ctx context.Context, r *request) (*wire.Message, *giveUp) {
	if err := ctx.Err(); err != nil {
		return nil, &giveUp{err: timeout(err), text: "it was not sent"}
	}
	patience := c.o.Timeout
	if d, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(d))
	}
	w := callMemory.Get().(*call)
	id := c.seq.Add(1)
	w.submit.Op = r.op
	w.submit.Op.ID = id
	c.mu.Lock()
	defer c.mu.Unlock()
	w.submit.Op.Deadline = c.clock.Mono().Add(patience)
	c.calls[id] = w
	defer w.free()
	defer delete(c.calls, id)
	c.step(&w.submit)
	for {
		switch {
		case w.ended:
			return c.outcome(ctx, &w.done)
		case w.send:
			w.send = false
			c.try(ctx, w, r)
		case ctx.Err() != nil:
			c.step(core.CancelEvent{ID: id})
		default:
			if w.news == nil {
				w.news = make(chan struct{}, 1)
			}
			c.mu.Unlock()
			select {
			case <-w.news:
			case <-ctx.Done():
			}
			c.mu.Lock()
		}
	}
}

// outcome turns the end of an operation into what send returns.
func (c *Client) outcome(ctx context.Context, d *core.Done) (*wire.Message, *giveUp) {
	m, _ := d.Answer.Reply.(*wire.Message)
	if d.Err == nil {
		return m, nil
	}
	m.Release()
	g := &giveUp{text: d.Err.Text}
	switch d.Err.Reason {
	case core.Deadline, core.Cancelled, core.Closed:
		switch {
		case d.Err.Reason == core.Closed:
			g.err = ErrClosed
		case ctx.Err() != nil:
			g.err = timeout(ctx.Err())
		default:
			g.err = timeout(context.DeadlineExceeded)
		}
		if err := c.session.Broken(); err != nil {
			g.text += fmt.Sprintf("; newer maps are not usable: %v", err)
		}
		g.text += c.session.Trouble() + d.Err.Outcome()
	case core.Busy:
		g.err = ErrTryLater
	case core.PoolGone:
		g.err = ErrNotFound
	case core.TooLarge:
		g.err = ErrInvalid
	case core.Forgotten:
		g.err = ErrTimeout
	case core.Refused:
		g.err = &unknownError{ErrorOf(d.Answer.Code)}
	default:
		g.err = ErrInternal
	}
	return nil, g
}

// step has core take an event, and does what it says, in as far as that needs no
// waiting. It is called with mu held.
func (c *Client) step(ev core.Event) {
	if _, ok := ev.(core.MapEvent); !ok {
		if m := c.session.Map(); m != c.seen { // OnMap may be late
			c.seen = m
			c.step(core.MapEvent{Map: m})
		}
	}
	fx := c.core.Step(c.clock.Mono(), ev)
	for _, d := range fx.Drop {
		w := c.calls[d.ID]
		if w == nil {
			continue
		}
		if w.send && w.next.Attempt == d.Attempt {
			w.send = false
		}
		switch {
		case w.attempt != d.Attempt:
		case w.conn != nil:
			w.asker.Abandon()
			if d.Silent {
				c.probe(w.conn)
			}
		case w.cancel != nil:
			w.cancel()
		}
	}
	for i := range fx.Send {
		if w := c.calls[fx.Send[i].ID]; w != nil {
			w.next, w.send = fx.Send[i], true
			w.tell()
		}
	}
	for i := range fx.Done {
		if w := c.calls[fx.Done[i].ID]; w != nil {
			w.done, w.ended = fx.Done[i], true
			w.tell()
		}
	}
	if fx.Newest {
		c.session.Want(0)
	}
	if fx.WantEpoch != 0 {
		c.session.Want(fx.WantEpoch)
	}
	if fx.Suspect {
		c.session.Suspect()
	}
	if fx.Wake != 0 && (c.wakeAt == 0 || fx.Wake < c.wakeAt) {
		c.wakeAt = fx.Wake
		select {
		case c.rearm <- struct{}{}:
		default:
		}
	}
}

// keepTime tells core when time has passed. It ends with c.ctx.
func (c *Client) keepTime() {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-c.rearm:
		case <-t.C:
			c.mu.Lock()
			c.wakeAt = 0
			c.step(core.TickEvent{})
			c.mu.Unlock()
		}
		c.mu.Lock()
		if at := c.wakeAt; at != 0 {
			t.Reset(at.Sub(c.clock.Mono()))
		}
		c.mu.Unlock()
	}
}

// onMap brings a newer map to core.
func (c *Client) onMap(m *placement.Map) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.step(core.MapEvent{Map: m})
}

// try makes one attempt, and tells core how it went. It is called with mu held, and
// gives it away while it waits.
func (c *Client) try(ctx context.Context, w *call, r *request) {
	id, attempt, addr := w.next.ID, w.next.Attempt, w.next.Addr
	m := w.request(c.id, r)
	w.attempt, w.conn = attempt, c.osds.Live(addr)
	defer func() { w.attempt, w.conn = 0, nil }()
	if w.conn == nil {
		conn, err := c.connect(ctx, w, id, attempt, addr)
		switch {
		case err != nil:
			c.step(core.LostEvent{ID: id, Attempt: attempt, Err: err})
			return
		case conn == nil:
			return
		}
		w.asker.Attach(conn)
		w.conn = conn
		c.step(core.DialEvent{ID: id, Attempt: attempt, Connected: true})
	} else {
		w.asker.Attach(w.conn)
	}
	c.mu.Unlock()
	answer, err := w.asker.Call(ctx, m)
	c.mu.Lock()
	switch {
	case answer != nil:
		h := answer.Header
		w.answer = core.AnswerEvent{
			ID: id, Attempt: attempt, Code: h.GetCode(), Epoch: placement.Epoch(h.GetEpoch()), Text: h.GetError(), Body: h.Body != nil, Reply: answer,
		}
		c.step(&w.answer)
		if !w.ended || w.done.Answer.Reply != answer {
			answer.Release()
		}
	case ctx.Err() != nil || errors.Is(err, wire.ErrAbandoned):
	default:
		c.step(core.LostEvent{ID: id, Attempt: attempt, Sent: true, TooLarge: errors.Is(err, wire.ErrTooLarge), Err: err})
	}
}

// request makes the message of the attempt next.
func (w *call) request(client uint64, r *request) *wire.Message {
	var h *wirepb.Header
	if r.do != nil {
		h = w.fill(client, r, &w.next)
	} else {
		h = r.header(&w.next)
	}
	h.Epoch = uint64(w.next.Epoch) // of the map that led us here, not of one that has come since
	w.message = wire.Message{Header: h, Payload: r.payload}
	return &w.message
}

// connect waits for a connection for an attempt. It returns neither that nor an error if the caller went away, which send
// sees, or core has dropped the attempt. It is called with mu held, and gives it away while it waits.
func (c *Client) connect(ctx context.Context, w *call, id, attempt uint64, addr string) (*wire.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.cancel = cancel
	defer func() { w.cancel = nil }()
	c.step(core.DialEvent{ID: id, Attempt: attempt})
	c.mu.Unlock()
	conn, err := c.osds.Get(ctx, addr)
	c.mu.Lock()
	if ctx.Err() != nil {
		return nil, nil
	}
	return conn, err
}

// probe asks a connection that owes us an answer for a sign of life, and closes
// it if there is none: the next attempt then dials anew, instead of queueing
// behind a path that is dead. It is called with mu held.
func (c *Client) probe(conn *wire.Conn) {
	if c.probing[conn] || c.ctx.Err() != nil {
		return
	}
	c.probing[conn] = true
	c.wg.Go(func() { // ends after probePatient, or with c.ctx
		ctx, cancel := context.WithTimeout(c.ctx, min(probePatient, c.o.AttemptTimeout))
		_, err := conn.Ping(ctx)
		cancel()
		if err != nil && c.ctx.Err() == nil {
			c.log.Info("OSD does not answer, connection given up", "addr", conn.RemoteAddr(), "err", err)
			conn.Close()
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.probing, conn)
	})
}
