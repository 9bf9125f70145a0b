package wire

import (
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is an established connection. All methods may be called from any
// goroutine.
type Conn struct {
	nc     net.Conn
	fr     *frameReader // the reader goroutine's
	try    *tryWriter   // nil: no inline writes; used by whoever holds writing
	o      *Options
	peer   agreed
	remote string

	flushOnce sync.Once
	calls     sync.Pool // of *call
	tags      atomic.Uint64
	moreInput atomic.Bool  // the reader has more bytes at hand: a busy connection
	lastWrite atomic.Int64 // when the last write ended, nanoseconds since clockBase
	inHandle  atomic.Bool  // the reader is inside a Handler call
	handled   bool         // Handle was called since Idle was; the reader goroutine's
	idler     Idler        // the handler, if it is one

	framesIn, bytesIn atomic.Uint64 // written by the reader

	mu     sync.Mutex // guards below
	err    error      // set once, when the connection ends
	ending bool       // Close was called: nothing new is taken
	done   chan struct{}

	pending map[uint64]*call // our unanswered requests

	queue         []frame // to be written, in order
	spare         []frame // memory for the next queue
	queuedBytes   int     // of queue and of what is being written
	queuedFrames  int
	writing       bool          // somebody is writing; others only queue
	writerIdle    bool          // the writer goroutine sleeps on writable
	gathering     bool          // a caller is about to flush: the writer goroutine need not be woken
	yield         func()        // runtime.Gosched, or a test's
	writable      sync.Cond     // the writer's: queue is not empty, or the end
	room          chan struct{} // closed when the queue is below its limits again; nil: nobody waits
	flushed       chan struct{} // closed when queue is empty and nobody writes; nil: nobody waits
	framesOut     uint64
	bytesOut      uint64
	progress      uint64 // writes done, for the stall check
	stallProgress uint64 // progress at the last check
	stallTicks    int    // checks without progress

	inbound  map[uint64]int // the peer's unanswered requests: tag to payload bytes
	inCount  int            // those, and replies not yet written
	inBytes  int
	readable sync.Cond // the reader's: inCount and inBytes below their limits, or the end

	tick     uint64 // counts watch periods
	watchdog *time.Timer

	readDone  chan struct{} // the reader takes no more frames
	writeDone chan struct{} // the writer goroutine has ended
	finished  chan struct{} // all is over, Handler.Closed included
}

var clockBase = time.Now()

// startConn makes a connection of a socket whose handshake is done. finished,
// if not nil, runs after Handler.Closed.
func startConn(nc net.Conn, fr *frameReader, a agreed, o *Options, finished func(*Conn)) *Conn {
	fr.headerMax, fr.payloadMax = MaxHeader, MaxPayload
	c := &Conn{
		nc:        nc,
		fr:        fr,
		try:       newTryWriter(nc),
		o:         o,
		peer:      a,
		remote:    remoteOf(nc),
		done:      make(chan struct{}),
		pending:   make(map[uint64]*call),
		inbound:   make(map[uint64]int),
		readDone:  make(chan struct{}),
		writeDone: make(chan struct{}),
		finished:  make(chan struct{}),
		yield:     runtime.Gosched,
	}
	c.idler, _ = o.Handler.(Idler)
	c.calls.New = func() any { return &call{result: make(chan result, 1)} }
	c.writable.L, c.readable.L = &c.mu, &c.mu
	c.lastWrite.Store(int64(time.Since(clockBase)) - int64(time.Second)) // quiet
	c.mu.Lock()
	c.watchdog = time.AfterFunc(watchPeriod(o), c.watch)
	c.mu.Unlock()
	go c.writeLoop()        // ends with the connection: fail wakes it
	go c.readLoop(finished) // ends with the connection: fail closes the socket
	return c
}

// Peer returns what the other side said about itself.
func (c *Conn) Peer() Identity { return c.peer.peer }

// Features returns the feature bits that both sides understand.
func (c *Conn) Features() uint64 { return c.peer.features }

// Version returns the protocol version both sides agreed on.
func (c *Conn) Version() uint32 { return c.peer.version }

// Number says in which order a Server accepted its connections, from 1; 0 for a connection
// that we made. What a peer has sent on an earlier connection may arrive after what it
// sent on a later one, if the network was in trouble between.
func (c *Conn) Number() uint64 { return c.peer.number }

// RemoteAddr returns the peer's address, "host:port", or "this machine" for a local
// connection that we did not make.
func (c *Conn) RemoteAddr() string { return c.remote }

// String names the peer and its address.
func (c *Conn) String() string { return printable(c.peer.peer.Entity) + " at " + c.remote }

// Stats counts what a connection has carried and what waits in it.
type Stats struct {
	FramesIn, BytesIn   uint64
	FramesOut, BytesOut uint64
	Queued, QueuedBytes int // frames to be written
	Pending             int // our unanswered calls
	Unanswered          int // the peer's unanswered requests
}

// Stats returns the connection's counters.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{
		FramesIn: c.framesIn.Load(), BytesIn: c.bytesIn.Load(),
		FramesOut: c.framesOut, BytesOut: c.bytesOut,
		Queued: c.queuedFrames, QueuedBytes: c.queuedBytes,
		Pending: len(c.pending), Unanswered: len(c.inbound),
	}
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err says why the connection ended, nil while it lives. It wraps ErrConnClosed.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection: what is queued gets a second to leave, unanswered
// calls fail with ErrConnClosed. It waits until the connection's goroutines no
// longer touch the socket, but not for a Handler call that is in progress, so
// it may be called from inside one and with locks held that the handler takes.
// It always returns nil.
func (c *Conn) Close() error {
	c.flushOnce.Do(c.flush) // a second Close waits for the first one's flush
	c.fail(errClosedHere)
	<-c.writeDone
	if !c.inHandle.Load() { // once failed, the reader enters no handler any more
		<-c.readDone
	}
	return nil
}

// flush takes nothing new and waits until the queue is written, but not longer
// than flushTimeout.
func (c *Conn) flush() {
	c.mu.Lock()
	c.ending = true
	if c.err != nil || len(c.queue) == 0 && !c.writing {
		c.mu.Unlock()
		return
	}
	flushed := make(chan struct{})
	c.flushed = flushed
	c.wakeWriter() // what was queued for Flush leaves, too
	c.mu.Unlock()
	_ = c.nc.SetWriteDeadline(time.Now().Add(flushTimeout)) // a write that runs into it fails the connection
	select {
	case <-flushed:
	case <-c.done:
	}
}

// fail ends the connection for the given reason; only the first call counts.
func (c *Conn) fail(cause error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = &closedError{peer: c.String(), cause: cause}
	err := c.err
	calls := c.pending
	c.pending = nil
	queue := c.queue
	c.queue = nil
	c.watchdog.Stop()
	c.wakeAll()
	c.mu.Unlock()

	close(c.done)
	c.nc.Close()
	for i := range queue {
		queue[i].release()
	}
	for _, cl := range calls {
		cl.result <- result{err: err}
	}
}

// wakeAll is called with mu held, when the connection ends.
func (c *Conn) wakeAll() {
	c.writable.Broadcast()
	c.readable.Broadcast()
	if c.room != nil {
		close(c.room)
		c.room = nil
	}
}

// watchPeriod is fine enough for both timeouts and rare enough to cost nothing.
func watchPeriod(o *Options) time.Duration {
	p := time.Minute
	if o.StallTimeout > 0 {
		p = min(p, o.StallTimeout/4)
	}
	if o.CallTimeoutMax > 0 {
		p = min(p, o.CallTimeoutMax/4)
	}
	return max(p, time.Millisecond)
}

// watch runs every watch period: it looks for a stalled write and for calls
// that have waited too long. One timer per connection replaces one per call.
func (c *Conn) watch() {
	period := watchPeriod(c.o)
	ticks := func(d time.Duration) int { return int((d + period - 1) / period) }

	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.tick++
	if c.writing && c.progress == c.stallProgress {
		c.stallTicks++
	} else {
		c.stallTicks, c.stallProgress = 0, c.progress
	}
	stalled := c.o.StallTimeout > 0 && c.stallTicks >= ticks(c.o.StallTimeout)
	var late []*call
	if limit := ticks(c.o.CallTimeoutMax); c.o.CallTimeoutMax > 0 {
		for tag, cl := range c.pending {
			if c.tick-cl.started > uint64(limit) {
				delete(c.pending, tag)
				late = append(late, cl)
			}
		}
	}
	c.watchdog.Reset(period)
	c.mu.Unlock()

	for _, cl := range late {
		cl.result <- result{err: c.timedOut()}
	}
	if stalled {
		c.fail(fmt.Errorf("the peer has not read for %v", c.o.StallTimeout))
	}
}
