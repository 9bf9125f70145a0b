package wire

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// How Peers deals with addresses that do not answer.
const (
	backoffMin = 100 * time.Millisecond // halved at random, so 50 ms is the least
	backoffMax = 2 * time.Second

	dialQueueFrames = 256     // messages that wait for a dial, per address
	dialQueueBytes  = 8 << 20 // and their bytes; one message alone is always allowed

	peersSweep = 256 // entries above which unused ones are looked for
)

// Peers keeps one shared outgoing connection per address, dialled when first
// needed and again after it broke. After a failed dial an address is left alone
// for a while that grows from 50 ms to 2 s; requests fail at once meanwhile.
type Peers struct {
	o      *Options
	ctx    context.Context // ends dials when the Peers close
	cancel context.CancelFunc
	wg     sync.WaitGroup // dials, and connections until they have finished

	mu      sync.Mutex // guards below
	closed  bool
	peers   map[string]*peer
	sweepAt int
}

// peer is what is known about one address, guarded by Peers.mu.
type peer struct {
	conn     *Conn // may have ended already
	dial     *dialling
	failures int
	retryAt  time.Time
	lastErr  error

	queue      []frame // sent while dialling
	queueBytes int
}

// dialling is a dial under way; its result is set before done is closed.
type dialling struct {
	done chan struct{}
	conn *Conn
	err  error
}

// NewPeers returns a Peers that dials with the given options.
func NewPeers(o Options) *Peers {
	ctx, cancel := context.WithCancel(context.Background())
	return &Peers{o: o.withDefaults(), ctx: ctx, cancel: cancel, peers: make(map[string]*peer), sweepAt: peersSweep}
}

// Get returns the live connection to addr, waiting for a dial if there is none.
func (p *Peers) Get(ctx context.Context, addr string) (*Conn, error) {
	p.mu.Lock()
	conn, d, err := p.ready(addr)
	p.mu.Unlock()
	if conn != nil || err != nil {
		return conn, err
	}
	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		return nil, fmt.Errorf("connect to %s: %w", addr, ctx.Err())
	}
}

// Live returns the live connection to addr, nil if there is none now. It never
// waits or dials.
func (p *Peers) Live(addr string) *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.peers[addr]; e != nil && e.conn != nil && !p.closed {
		select {
		case <-e.conn.Done():
		default:
			return e.conn
		}
	}
	return nil
}

// Call sends a request to addr and waits for the answer, as Conn.Call does.
func (p *Peers) Call(ctx context.Context, addr string, m *Message) (*Message, error) {
	c, err := p.Get(ctx, addr)
	if err != nil {
		m.unsent()
		return nil, err
	}
	return c.Call(ctx, m)
}

// Send sends m one-way to addr and never waits: while a dial is under way a
// bounded number of messages is kept, and lost if the dial fails. Messages
// given to Send for one address leave in that order as long as a connection
// lasts.
func (p *Peers) Send(addr string, m *Message) error {
	p.mu.Lock()
	conn, _, err := p.ready(addr)
	p.mu.Unlock()
	if err != nil {
		m.unsent()
		return err
	}
	if conn != nil {
		return conn.Send(m)
	}
	var epoch uint64
	if p.o.Epoch != nil {
		epoch = p.o.Epoch()
	}
	f, err := encode(kindMessage, m, stamp{epoch: epoch}, p.o.NoPayloadCheck)
	if err != nil {
		return fmt.Errorf("send to %s: %w", addr, err)
	}
	return p.queue(addr, f)
}

// Queue is Send for somebody who sends several messages in a row: Flush of the
// connection that it returns must be called soon. There is none while a dial is under way.
func (p *Peers) Queue(addr string, m *Message) (*Conn, error) {
	if conn := p.Live(addr); conn != nil {
		return conn, conn.Queue(m)
	}
	return nil, p.Send(addr, m)
}

// queue keeps f until the dial to addr has ended. The dial may have ended while
// f was encoded.
func (p *Peers) queue(addr string, f frame) error {
	p.mu.Lock()
	conn, _, err := p.ready(addr)
	if conn == nil && err == nil {
		e := p.peers[addr]
		if len(e.queue) == 0 || len(e.queue) < dialQueueFrames && e.queueBytes+f.size <= dialQueueBytes {
			e.queue = append(e.queue, f)
			e.queueBytes += f.size
			p.mu.Unlock()
			return nil
		}
		err = fmt.Errorf("send to %s: %w: %d messages of %d bytes wait for the connection", addr, ErrQueueFull, len(e.queue), e.queueBytes)
	}
	p.mu.Unlock()
	if err != nil {
		f.release()
		return err
	}
	return conn.pushSend(f, true)
}

// ready returns addr's live connection or the dial under way, which it starts
// if need be, or why there is neither. It is called with mu held.
func (p *Peers) ready(addr string) (*Conn, *dialling, error) {
	if p.closed {
		return nil, nil, fmt.Errorf("connect to %s: %w", addr, &closedError{peer: addr, cause: errClosedHere})
	}
	e := p.peers[addr]
	if e == nil {
		p.sweep()
		e = &peer{}
		p.peers[addr] = e
	}
	if e.conn != nil {
		select {
		case <-e.conn.Done():
			e.conn = nil
		default:
			return e.conn, nil, nil
		}
	}
	if e.dial != nil {
		return nil, e.dial, nil
	}
	if wait := time.Until(e.retryAt); wait > 0 {
		return nil, nil, fmt.Errorf("%w (for %v): %w", ErrBackoff, wait.Round(time.Millisecond), e.lastErr)
	}
	e.dial = &dialling{done: make(chan struct{})}
	p.wg.Add(2)                   // the dial, and the connection it may become
	go p.connect(addr, e, e.dial) // bounded by the dial and handshake timeouts and p.ctx
	return nil, e.dial, nil
}

// connect is the goroutine of one dial.
func (p *Peers) connect(addr string, e *peer, d *dialling) {
	defer p.wg.Done()
	conn, err := dial(p.ctx, addr, p.o, func(*Conn) { p.wg.Done() })
	if err != nil && p.ctx.Err() != nil {
		err = fmt.Errorf("connect to %s: %w", addr, &closedError{peer: addr, cause: errClosedHere})
	}

	p.mu.Lock()
	queue := e.queue
	e.queue, e.queueBytes = nil, 0
	e.dial = nil
	var refused []frame
	if err == nil {
		// Before anybody else can see the connection: what was sent first leaves first.
		refused = conn.pushAll(queue)
		e.conn, e.failures, e.lastErr = conn, 0, nil
	} else {
		e.lastErr = err
		e.retryAt = time.Now().Add(backoff(e.failures))
		e.failures++
	}
	d.conn, d.err = conn, err
	close(d.done)
	closed := p.closed
	p.mu.Unlock()

	if err != nil {
		p.wg.Done() // no connection came of it
		refused = queue
	} else if closed {
		conn.Close()
	}
	if len(refused) > 0 && !closed {
		p.o.Log.Debug("messages dropped", "addr", addr, "count", len(refused), "err", err)
	}
	for i := range refused {
		refused[i].release()
	}
	if err != nil && !closed && p.o.Unreachable != nil {
		p.o.Unreachable(addr, err)
	}
}

// Retry ends the backoff of an address, because something says that it answers again.
func (p *Peers) Retry(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.peers[addr]; e != nil {
		e.retryAt, e.failures = time.Time{}, 0
	}
}

// backoff returns how long to leave an address alone after that many failures
// before this one.
func backoff(failures int) time.Duration {
	d := backoffMax
	if failures < 5 {
		d = min(d, backoffMin<<failures)
	}
	return d/2 + rand.N(d/2+1)
}

// sweep forgets addresses that are neither connected nor in backoff, when there
// are many: OSDs come back at new ports. It is called with mu held.
func (p *Peers) sweep() {
	if len(p.peers) < p.sweepAt {
		return
	}
	now := time.Now()
	for addr, e := range p.peers {
		ended := e.conn == nil || e.conn.Err() != nil
		if ended && e.dial == nil && now.After(e.retryAt) {
			delete(p.peers, addr)
		}
	}
	p.sweepAt = max(peersSweep, 2*len(p.peers))
}

// Close ends all dials and connections and waits until every goroutine and
// Handler call has ended. It must not be called from a Handler.
func (p *Peers) Close() error {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	var conns []*Conn
	for _, e := range p.peers {
		if e.conn != nil {
			conns = append(conns, e.conn)
		}
	}
	p.mu.Unlock()
	if first {
		p.cancel()
		closeAll(conns)
	}
	p.wg.Wait()
	return nil
}
