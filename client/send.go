package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// How requests are retried.
const (
	backoffMin   = 10 * time.Millisecond
	backoffMax   = time.Second
	bytesPerSec  = 8 << 20 // data may take this much longer than Options.AttemptTimeout
	doublings    = 2       // of an attempt's time after unanswered ones
	probePatient = 2 * time.Second
	queueFull    = "too many operations under way in this client"
)

// request is what send brings to the primary of a PG and retries there.
type request struct {
	pool    placement.PoolID
	pg      func(*placement.Pool) placement.PGID
	header  func(pg placement.PGID, age time.Duration) *wirepb.Header // for every attempt; age of the first sent, 0 if none was
	payload []byte
	bytes   int64 // of request and answer, as far as known
	write   bool  // may change something
}

// giveUp is why send has no answer for a request.
type giveUp struct {
	err  error  // the condition
	text string // what it waited for
}

// progress is what happened to a request so far.
type progress struct {
	t        target
	met      obstacle
	last     error     // of the last attempt, nil if none ended
	silent   int       // attempts that were not answered
	unknown  bool      // an attempt may have been carried out unseen
	sent     time.Time // when the first attempt was, zero if none
	backoff  time.Duration
	attempts int
}

// attempt is a request that waits for its answer.
type attempt struct {
	r      *request
	t      target
	cancel context.CancelFunc
	moved  atomic.Bool // the map names another target: send it again, there
}

// send brings a request to its PG's primary, whoever that is at the time, and
// returns the answer, OK or an error that retrying does not change. It retries
// until ctx or Options.Timeout ends. All attempts carry the same request id, so
// the request takes effect at most once.
func (c *Client) send(ctx context.Context, r *request) (*wire.Message, *giveUp) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	n, err := c.flights.acquire(ctx, r.bytes)
	if err != nil {
		return nil, &giveUp{err: timeout(err), text: fmt.Sprintf("%s: limits are %d operations and %d bytes", queueFull, c.flights.maxOps, c.flights.maxBytes)}
	}
	defer c.flights.release(n)

	p := progress{backoff: backoffMin}
	for {
		if c.ctx.Err() != nil {
			return nil, p.end(c, r, ErrClosed)
		}
		if err := ctx.Err(); err != nil {
			return nil, p.end(c, r, timeout(err))
		}
		cmap, changed := c.session.Changed()
		t, met := route(cmap, r)
		if t != p.t {
			p.backoff = backoffMin
		}
		p.t, p.met = t, met
		switch met {
		case poolGone:
			return nil, &giveUp{err: ErrNotFound, text: fmt.Sprintf("the pool was removed (cluster map of epoch %d)", cmap.Epoch)}
		case paused, noPrimary:
			// The next map will help. Should we have missed it, asking will.
			if p.backoff == backoffMax {
				c.session.Want(0)
				c.session.Suspect()
			}
			c.rest(ctx, changed, &p)
			continue
		}

		m, again := c.try(ctx, cmap, t, r, &p)
		switch {
		case m != nil:
			return c.answered(r, &p, m)
		case errors.Is(p.last, wire.ErrTooLarge):
			return nil, &giveUp{err: ErrInvalid, text: p.last.Error()}
		case !again:
			c.rest(ctx, changed, &p)
		}
	}
}

// answered returns an answer that retrying does not change.
func (c *Client) answered(r *request, p *progress, m *wire.Message) (*wire.Message, *giveUp) {
	if !r.write || !p.unknown {
		return m, nil
	}
	switch code := m.Header.GetCode(); code {
	case wirepb.Code_OK, wirepb.Code_NOT_FOUND, wirepb.Code_EXISTS, wirepb.Code_CONFLICT, wirepb.Code_INVALID:
		// The PG knows request ids: this is the one outcome of all attempts.
		return m, nil
	case wirepb.Code_TIMED_OUT:
		return nil, &giveUp{err: ErrTimeout, text: m.Header.GetError()} // it was carried out long ago or never: nobody knows any more
	default:
		// Said of this attempt only. An earlier one may have been carried out, so this must not look
		// like a write that surely failed.
		return nil, &giveUp{
			err:  fmt.Errorf("outcome unknown: %w, %w", ErrTimeout, ErrorOf(code)),
			text: fmt.Sprintf("pg %s: %s refused a retry of a request that was not answered before: %s", p.t.pg, p.t.osd, m.Header.GetError()),
		}
	}
}

// jitter returns between half of d and d, so that many clients do not act at once.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// rest waits a little longer each time, or until the map changes.
func (c *Client) rest(ctx context.Context, changed <-chan struct{}, p *progress) {
	d := jitter(p.backoff) + c.retries.take(time.Now())
	p.backoff = min(2*p.backoff, backoffMax)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-changed:
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
}

// try makes one attempt. It returns the answer if it is one to keep; again asks
// for the next attempt without a rest.
func (c *Client) try(ctx context.Context, cmap *placement.Map, t target, r *request, p *progress) (m *wire.Message, again bool) {
	p.attempts++
	patience := c.o.AttemptTimeout + time.Duration(r.bytes)*time.Second/bytesPerSec
	actx, cancel := context.WithTimeout(ctx, patience<<min(p.silent, doublings))
	defer cancel()
	a := &attempt{r: r, t: t, cancel: cancel}
	if !c.register(a, cmap) {
		return nil, true
	}
	defer c.unregister(a)

	began := time.Now()
	conn, err := c.osds.Get(actx, t.addr)
	sent := err == nil
	if sent {
		var age time.Duration
		if p.sent.IsZero() {
			p.sent = began
		} else {
			age = max(time.Since(p.sent), time.Millisecond)
		}
		m, err = conn.Call(actx, &wire.Message{Header: r.header(t.pg, age), Payload: r.payload})
	}
	if m != nil {
		return c.judge(m, p)
	}
	// No answer. If it was sent it may be carried out, now or later.
	over := ctx.Err() != nil || c.ctx.Err() != nil
	if over && p.last != nil && time.Since(began) < c.o.AttemptTimeout/2 {
		p.unknown = p.unknown || sent
		return nil, false // the time was up just now: what was answered before says more
	}
	p.last = err
	p.unknown = p.unknown || sent && !errors.Is(err, wire.ErrTooLarge)
	switch {
	case a.moved.Load():
		return nil, true
	case over:
		p.silent++
	case actx.Err() != nil:
		p.silent++
		c.session.Want(0)
		c.session.Suspect()
		if sent {
			c.probe(t.addr, conn)
		}
		return nil, true // it has waited long enough
	default:
		c.session.Want(0) // a broken connection or a refused one: perhaps the map knows more
	}
	return nil, false
}

// judge looks at an answer: is it for the caller, or a reason to try again?
func (c *Client) judge(m *wire.Message, p *progress) (_ *wire.Message, again bool) {
	h := m.Header
	if e := h.GetEpoch(); e != 0 {
		c.session.Want(placement.Epoch(e))
	}
	switch h.GetCode() {
	case wirepb.Code_STALE_MAP, wirepb.Code_WRONG_PRIMARY:
		if h.GetEpoch() <= c.session.Epoch() {
			c.session.Want(0) // the OSD did not say which epoch it means, or knows less than we do
		}
	case wirepb.Code_TRY_LATER, wirepb.Code_STALE_TERM:
	case wirepb.Code_NOT_FOUND:
		if h.Body != nil {
			return m, false
		}
		c.session.Want(0) // not the object but the pool is unknown there: either OSD or we have an old map
	default:
		return m, false
	}
	p.last = &wire.Error{Code: h.GetCode(), Text: h.GetError(), Epoch: h.GetEpoch()}
	p.silent = 0
	m.Release()
	return nil, false
}

// register makes an attempt known to redirect. It fails when the map has
// changed since cmap and names another target by now. A map that comes after that
// look is told to redirect, which then knows the attempt.
func (c *Client) register(a *attempt, cmap *placement.Map) bool {
	c.pendingMu.Lock()
	c.pending[a] = struct{}{}
	c.pendingMu.Unlock()
	now := c.Map()
	if now == cmap {
		return true
	}
	if t, met := route(now, a.r); met == nothing && t == a.t {
		return true
	}
	c.unregister(a)
	return false
}

func (c *Client) unregister(a *attempt) {
	c.pendingMu.Lock()
	delete(c.pending, a)
	c.pendingMu.Unlock()
}

// redirect ends the attempts that wait for an OSD which is no longer the
// target by the new map, so that they are sent again at once.
func (c *Client) redirect(m *placement.Map) {
	c.pendingMu.Lock()
	defer c.pendingMu.Unlock()
	for a := range c.pending {
		t, met := route(m, a.r)
		if met == paused || met == nothing && t == a.t {
			continue // what is under way when the cluster is paused may end
		}
		a.moved.Store(true)
		a.cancel()
	}
}

// probe asks a connection that owes us an answer for a sign of life, and closes
// it if there is none: the next attempt then dials anew, instead of queueing
// behind a path that is dead.
func (c *Client) probe(addr string, conn *wire.Conn) {
	c.pendingMu.Lock()
	defer c.pendingMu.Unlock()
	if c.probing[addr] || c.ctx.Err() != nil {
		return
	}
	c.probing[addr] = true
	c.wg.Go(func() { // ends after probePatient, or with c.ctx
		ctx, cancel := context.WithTimeout(c.ctx, min(probePatient, c.o.AttemptTimeout))
		_, err := conn.Ping(ctx)
		cancel()
		if err != nil && c.ctx.Err() == nil {
			c.log.Info("OSD does not answer, connection given up", "addr", addr, "err", err)
			conn.Close()
		}
		c.pendingMu.Lock()
		delete(c.probing, addr)
		c.pendingMu.Unlock()
	})
}

// end says why a request is given up and what it waited for.
func (p *progress) end(c *Client, r *request, cause error) *giveUp {
	g := &giveUp{err: cause, text: p.waiting(c)}
	if err := c.session.Broken(); err != nil {
		g.text += fmt.Sprintf("; newer maps are not usable: %v", err)
	}
	g.text += c.session.Trouble()
	if r.write && p.unknown {
		g.text += "; the write may or may not have taken effect"
	}
	return g
}

func (p *progress) waiting(c *Client) string {
	if p.met != nothing {
		return explain(c.Map(), p.t, p.met)
	}
	if p.attempts == 0 {
		return "it was not sent"
	}
	who := fmt.Sprintf("pg %s: primary %s", p.t.pg, p.t.osd)
	var we *wire.Error
	switch {
	case p.silent > 0 || p.last == nil:
		s := who + " does not answer"
		if p.attempts > 1 {
			s += fmt.Sprintf(" (%d attempts)", p.attempts)
		}
		return s
	case errors.As(p.last, &we):
		s := fmt.Sprintf("%s answered %s", who, we.Code)
		if we.Text != "" {
			s += ": " + we.Text
		}
		if we.Code == wirepb.Code_WRONG_PRIMARY || we.Code == wirepb.Code_STALE_MAP {
			s += fmt.Sprintf(" (its map has epoch %d, ours %d)", we.Epoch, c.session.Epoch())
		}
		return s
	}
	return fmt.Sprintf("%s cannot be reached: %v", who, p.last)
}
