package client

import (
	"context"
	"errors"
	"fmt"
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
	news chan struct{} // holds one: there is something for a goroutine that sleeps; nil before it ever did
	next *core.Send    // an attempt to be made
	done *core.Done    // the end

	attempt uint64 // under way; 0 none
	cancel  context.CancelFunc
	conn    *wire.Conn // it was sent over this one, nil before
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
	op := r.op
	op.ID = c.seq.Add(1)
	patience := c.o.Timeout
	if d, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(d))
	}
	w := &call{}
	c.mu.Lock()
	defer c.mu.Unlock()
	op.Deadline = c.clock.Mono().Add(patience)
	c.calls[op.ID] = w
	defer delete(c.calls, op.ID)
	c.step(core.SubmitEvent{Op: op})
	for {
		switch {
		case w.done != nil:
			return c.outcome(ctx, w.done)
		case w.next != nil:
			s := *w.next
			w.next = nil
			c.try(ctx, w, r, &s)
		case ctx.Err() != nil:
			c.step(core.CancelEvent{ID: op.ID})
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
		if w.next != nil && w.next.Attempt == d.Attempt {
			w.next = nil
		}
		if w.attempt == d.Attempt && w.cancel != nil {
			w.cancel()
			if d.Silent && w.conn != nil {
				c.probe(w.conn)
			}
		}
	}
	for _, s := range fx.Send {
		if w := c.calls[s.ID]; w != nil {
			w.next = &s
			w.tell()
		}
	}
	for _, d := range fx.Done {
		if w := c.calls[d.ID]; w != nil {
			w.done = &d
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
func (c *Client) try(ctx context.Context, w *call, r *request, s *core.Send) {
	actx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.attempt, w.cancel, w.conn = s.Attempt, cancel, c.osds.Live(s.Addr)
	defer func() { w.attempt, w.cancel, w.conn = 0, nil, nil }()
	if w.conn == nil {
		c.step(core.DialEvent{ID: s.ID, Attempt: s.Attempt})
		c.mu.Unlock()
		conn, err := c.osds.Get(actx, s.Addr)
		c.mu.Lock()
		switch {
		case actx.Err() != nil:
			return // send sees whether its caller went away; otherwise core has dropped this attempt
		case err != nil:
			c.step(core.LostEvent{ID: s.ID, Attempt: s.Attempt, Err: err})
			return
		}
		w.conn = conn
		c.step(core.DialEvent{ID: s.ID, Attempt: s.Attempt, Connected: true})
	}
	conn := w.conn
	c.mu.Unlock()
	h := r.header(s)
	h.Epoch = uint64(s.Epoch) // of the map that led us here, not of one that has come since
	m, err := conn.Call(actx, &wire.Message{Header: h, Payload: r.payload})
	c.mu.Lock()
	switch {
	case m != nil:
		h := m.Header
		c.step(core.AnswerEvent{
			ID: s.ID, Attempt: s.Attempt, Code: h.GetCode(), Epoch: placement.Epoch(h.GetEpoch()), Text: h.GetError(), Body: h.Body != nil, Reply: m,
		})
		if w.done == nil || w.done.Answer.Reply != m {
			m.Release()
		}
	case actx.Err() != nil:
	default:
		c.step(core.LostEvent{ID: s.ID, Attempt: s.Attempt, Sent: true, TooLarge: errors.Is(err, wire.ErrTooLarge), Err: err})
	}
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
