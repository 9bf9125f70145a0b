package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

var background = context.Background()

func TestCall(t *testing.T) {
	h := &echo{}
	s := serve(t, Options{Handler: h})
	c := dialTo(t, s, Options{})
	for _, n := range []int{0, 1, 4096, copyMax - 1, copyMax, inlineMax, 1 << 20, pieceBytes + 1, bufferMax + 5} {
		payload := bytes.Repeat([]byte{byte(n), 7}, n)[:n]
		m, err := c.Call(background, &Message{Header: opHeader(), Payload: payload})
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if !bytes.Equal(m.Payload, payload) {
			t.Fatalf("%d bytes came back as %d other ones", n, len(m.Payload))
		}
		m.Release()
	}
	if c.Peer().Entity != "osd.1" || c.RemoteAddr() != s.Addr() || c.Version() != 1 {
		t.Errorf("peer %+v at %s, version %d", c.Peer(), c.RemoteAddr(), c.Version())
	}
	if _, err := c.Ping(background); err != nil {
		t.Error(err)
	}
	s.Close() // no more handler calls
	h.wg.Wait()
}

// Many goroutines share a connection; every answer finds its question.
func TestConcurrentCalls(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	h := &echo{}
	s := serve(t, Options{Handler: h, InflightMax: 5, InflightBytes: 100_000})
	c := dialTo(t, s, Options{QueueFrames: 7, QueueBytes: 300_000})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			for range 60 {
				payload := bytes.Repeat([]byte{byte(rng.Uint32())}, rng.IntN(40_000))
				m, err := c.Call(background, &Message{Header: opHeader(), Payload: payload})
				if err != nil {
					t.Error(err)
					return
				}
				if !bytes.Equal(m.Payload, payload) {
					t.Error("somebody else's answer")
				}
				m.Release()
			}
		})
	}
	wg.Wait()
	s.Close() // no more handler calls
	h.wg.Wait()
	if n := c.Stats().Pending; n != 0 {
		t.Errorf("%d calls left", n)
	}
}

func TestReplyError(t *testing.T) {
	r := newRecorder()
	r.handle = func(c *Conn, m *Message) {
		_ = c.ReplyError(m, wirepb.Code_STALE_MAP, "pool %d is newer", 3)
	}
	s := serve(t, Options{Handler: r, Epoch: func() uint64 { return 42 }})
	c := dialTo(t, s, Options{})
	m, err := c.Call(background, numbered(1))
	var e *Error
	if !errors.As(err, &e) || *e != (Error{Code: wirepb.Code_STALE_MAP, Text: "pool 3 is newer", Epoch: 42}) {
		t.Fatalf("got %v", err)
	}
	if m == nil || m.Header.Code != wirepb.Code_STALE_MAP {
		t.Errorf("reply %v, want it along with the error", m)
	}
	if CodeOf(fmt.Errorf("x: %w", err)) != wirepb.Code_STALE_MAP || CodeOf(nil) != wirepb.Code_OK || CodeOf(errors.New("x")) != wirepb.Code_INTERNAL {
		t.Error("CodeOf")
	}
}

func TestNoHandler(t *testing.T) {
	s := serve(t, Options{})
	c := dialTo(t, s, Options{})
	if err := c.Send(numbered(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Call(background, numbered(1)); CodeOf(err) != wirepb.Code_UNSUPPORTED || !strings.Contains(err.Error(), "osd.1 answers no requests") {
		t.Errorf("got %v, want UNSUPPORTED", err)
	}
}

// The epoch is stamped unless the sender set one; the caller's header stays as it is.
func TestEpochStamp(t *testing.T) {
	r := newRecorder()
	s := serve(t, Options{Handler: r})
	c := dialTo(t, s, Options{Epoch: func() uint64 { return 8 }})
	m := numbered(1)
	if err := c.Send(m); err != nil {
		t.Fatal(err)
	}
	if m.Header.Epoch != 0 {
		t.Errorf("sender's header has epoch %d now", m.Header.Epoch)
	}
	m.Header.Epoch = 3
	m.Header.Tag = 99 // one-way all the same
	if err := c.Send(m); err != nil {
		t.Fatal(err)
	}
	if a, b := <-r.got, <-r.got; a.Header.Epoch != 8 || b.Header.Epoch != 3 || b.Header.Tag != 0 {
		t.Errorf("got epochs %d and %d, tag %d, want 8, 3 and 0", a.Header.Epoch, b.Header.Epoch, b.Header.Tag)
	}
}

// What one goroutine sends arrives in order, whatever the sizes and whoever writes.
func TestOrder(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	r := newRecorder()
	s := serve(t, Options{Handler: r})
	c := dialTo(t, s, Options{})
	const n = 3000
	for i := range n {
		m := numbered(uint64(i))
		if rng.IntN(8) == 0 {
			m.Payload = make([]byte, rng.IntN(100_000))
		}
		for {
			err := c.Send(m)
			if err == nil {
				break
			}
			if !errors.Is(err, ErrQueueFull) {
				t.Fatal(err)
			}
			if _, err := c.Ping(background); err != nil { // leaves when there is room
				t.Fatal(err)
			}
		}
	}
	for i := range n {
		if m := <-r.got; number(m) != uint64(i) {
			t.Fatalf("message %d arrived as number %d", number(m), i)
		}
	}
}

// A peer that does not read fills the queue; then Send fails at once and the
// payloads of all messages are given back in the end.
func TestQueueFull(t *testing.T) {
	c, p := rawAccept(t, Options{QueueBytes: 4 << 20})
	var sent sync.WaitGroup
	payload := make([]byte, 256<<10)
	n := 0
	for ; ; n++ {
		sent.Add(1)
		m := numbered(uint64(n))
		m.Payload, m.Sent = payload, sent.Done
		if err := c.Send(m); err != nil {
			if !errors.Is(err, ErrQueueFull) || !strings.Contains(err.Error(), "osd.raw") {
				t.Fatalf("got %v, want queue full and the peer's name", err)
			}
			break
		}
		if n > 10_000 {
			t.Fatal("2.5 GiB queued")
		}
	}
	big := &Message{Payload: payload}

	// When the peer reads again a waiting call gets through, behind the rest.
	result := make(chan error, 1)
	go func() {
		_, err := c.Call(background, big)
		result <- err
	}()
	for i := range n {
		if m := p.next(t); number(m) != uint64(i) {
			t.Fatalf("message %d arrived as number %d", number(m), i)
		}
	}
	m := p.next(t)
	if _, err := p.Write(frameBytes(t, kindMessage, nil, stamp{tag: m.Header.Tag, reply: true})); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
	sent.Wait()
}

// Close does not wait for ever for a peer that does not read.
func TestCloseUnread(t *testing.T) {
	c, _ := rawAccept(t, Options{})
	var sent sync.WaitGroup
	for range 20 {
		sent.Add(1)
		if err := c.Send(&Message{Payload: make([]byte, 1<<20), Sent: sent.Done}); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	sent.Wait()
}

// What was sent before Close arrives.
func TestCloseFlushes(t *testing.T) {
	r := newRecorder()
	s := serve(t, Options{Handler: r})
	c := dialTo(t, s, Options{})
	for i := range 10 {
		if err := c.Send(&Message{Header: numbered(uint64(i)).Header, Payload: make([]byte, 500_000)}); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	for i := range 10 {
		if m := <-r.got; number(m) != uint64(i) {
			t.Fatalf("got %d, want %d", number(m), i)
		}
	}
	if err := <-r.closed; !errors.Is(err, ErrConnClosed) || !strings.Contains(err.Error(), "client.a") {
		t.Errorf("closed with %v", err)
	}
}

func TestCloseDuringCalls(t *testing.T) {
	for _, who := range []string{"caller", "peer", "server"} {
		t.Run(who, func(t *testing.T) {
			r := newRecorder()
			s := serve(t, Options{Handler: r})
			cr := newRecorder()
			c := dialTo(t, s, Options{Handler: cr})
			var wg sync.WaitGroup
			errs := make([]error, 10)
			for i := range errs {
				wg.Go(func() { _, errs[i] = c.Call(background, numbered(uint64(i))) })
			}
			var last *Message
			for range errs {
				last = <-r.got
			}
			switch who {
			case "caller":
				c.Close()
			case "peer":
				s.Conns()[0].Close()
			case "server":
				s.Close()
				if n := len(s.Conns()); n != 0 {
					t.Errorf("%d connections after Close", n)
				}
			}
			wg.Wait()
			for _, err := range errs {
				if !errors.Is(err, ErrConnClosed) || !strings.Contains(err.Error(), "osd.1 at "+s.Addr()) {
					t.Errorf("call got %v, want connection closed", err)
				}
			}
			<-c.Done()
			if err := <-cr.closed; err != c.Err() || !errors.Is(err, ErrConnClosed) {
				t.Errorf("Closed got %v, Err is %v", err, c.Err())
			}
			if err := <-r.closed; !errors.Is(err, ErrConnClosed) {
				t.Errorf("the other side's Closed got %v", err)
			}
			if err := c.Send(numbered(1)); !errors.Is(err, ErrConnClosed) {
				t.Errorf("send got %v", err)
			}
			if _, err := c.Call(background, numbered(1)); !errors.Is(err, ErrConnClosed) {
				t.Errorf("call got %v", err)
			}
			if err := c.Reply(last, nil); !errors.Is(err, ErrConnClosed) {
				t.Errorf("reply got %v", err)
			}
			c.Close()
			s.Close()
		})
	}
}

// Handlers may close the connection they are called for.
func TestCloseInHandler(t *testing.T) {
	r := newRecorder()
	both := make(chan struct{})
	h := closer{r, both}
	s := serve(t, Options{Handler: h})
	c := dialTo(t, s, Options{})
	if _, err := c.Call(background, numbered(1)); !errors.Is(err, ErrConnClosed) {
		t.Errorf("got %v, want connection closed", err)
	}
	<-both
}

type closer struct {
	*recorder
	both chan struct{}
}

func (h closer) Handle(c *Conn, _ *Message) { c.Close() }
func (h closer) Closed(c *Conn, _ error)    { c.Close(); close(h.both) }

func TestContextEnds(t *testing.T) {
	r := newRecorder()
	s := serve(t, Options{Handler: r})
	c := dialTo(t, s, Options{})
	ctx, cancel := context.WithCancel(background)
	result := make(chan error, 1)
	go func() {
		_, err := c.Call(ctx, numbered(1))
		result <- err
	}()
	late := <-r.got
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "osd.1") {
		t.Errorf("got %v, want canceled and the peer's name", err)
	}
	// The late reply is dropped, and so is one to a tag that never was.
	sc := s.Conns()[0]
	if err := sc.Reply(late, numbered(2)); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := c.Call(background, numbered(3))
		result <- err
	}()
	if err := sc.Reply(<-r.got, nil); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
	if _, err := c.Call(ctx, numbered(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("call with an ended context got %v", err)
	}
}

func TestReplyMisuse(t *testing.T) {
	r := newRecorder()
	s := serve(t, Options{Handler: r})
	c := dialTo(t, s, Options{})
	if err := c.Send(numbered(1)); err != nil {
		t.Fatal(err)
	}
	oneWay := <-r.got
	sc := s.Conns()[0]
	sent := false
	if err := sc.Reply(oneWay, &Message{Sent: func() { sent = true }}); err != nil || !sent {
		t.Errorf("reply to a one-way message: %v, sent %v; want nil, true", err, sent)
	}
	result := make(chan error, 1)
	go func() {
		_, err := c.Call(background, numbered(2))
		result <- err
	}()
	req := <-r.got
	// Too large an answer becomes an error, so that nobody waits for ever.
	if err := sc.Reply(req, &Message{Payload: make([]byte, MaxPayload+1)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want too large", err)
	}
	if err := <-result; CodeOf(err) != wirepb.Code_INTERNAL || !strings.Contains(err.Error(), "message too large") {
		t.Errorf("caller got %v", err)
	}
	if err := sc.Reply(req, nil); err == nil || !strings.Contains(err.Error(), "answered twice") {
		t.Errorf("second reply got %v", err)
	}
}

// Bytes that are no frame end the connection; both the log and the calls say
// who sent what.
func TestGarbageOnConnection(t *testing.T) {
	good := frameBytes(t, kindMessage, numbered(1), stamp{})
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 0x10
	huge := make([]byte, prefixLen)
	(&prefix{kind: kindMessage, payload: MaxPayload + 1}).put(huge)
	request := frameBytes(t, kindMessage, numbered(1), stamp{tag: 5})
	for _, tc := range []struct {
		name, want string
		in         []byte
		hangUp     bool
	}{
		{"garbage", "not a cairn frame", bytes.Repeat([]byte("x"), 100), false},
		{"bit flip", "header checksum", flipped, false},
		{"oversize", "payload of 83886081 bytes, limit 83886080", huge, false},
		{"hello again", "hello after the handshake", frameBytes(t, kindHello, nil, stamp{}), false},
		{"tag twice", "request tag 5 is already in use", append(bytes.Clone(request), request...), false},
		{"truncated", "stream ended after", good[:len(good)-1], true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRecorder()
			s := serve(t, Options{Handler: r})
			p := rawDial(t, s)
			if _, err := p.Write(append(bytes.Clone(good), tc.in...)); err != nil {
				t.Fatal(err)
			}
			if tc.hangUp {
				p.Close()
			}
			if m := <-r.got; number(m) != 1 {
				t.Errorf("the good message before arrived as %v", m.Header)
			}
			err := <-r.closed
			if !errors.Is(err, ErrBadFrame) || !errors.Is(err, ErrConnClosed) || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "client.raw at 127.0.0.1:") {
				t.Errorf("closed with %v, want %q and the peer's name", err, tc.want)
			}
			if !tc.hangUp {
				if _, _, err := p.fr.next(); err == nil {
					t.Error("the connection is still open")
				}
			}
		})
	}
}

func TestStrayReplies(t *testing.T) {
	c, p := rawAccept(t, Options{})
	for _, k := range []kind{kindMessage, kindPong} {
		m := &Message{Payload: make([]byte, 1000)}
		if _, err := p.Write(frameBytes(t, k, m, stamp{tag: 1 << 60, reply: true})); err != nil {
			t.Fatal(err)
		}
	}
	result := make(chan error, 1)
	go func() {
		_, err := c.Call(background, numbered(1))
		result <- err
	}()
	m := p.next(t)
	if _, err := p.Write(frameBytes(t, kindMessage, nil, stamp{tag: m.Header.Tag, reply: true})); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
}

// The reader stops while too many requests are unanswered, and goes on when one
// has been answered.
func TestInflightLimit(t *testing.T) {
	for _, tc := range []struct {
		name string
		o    Options
	}{
		{"requests", Options{InflightMax: 2}},
		{"bytes", Options{InflightBytes: 2000}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder()
				tc.o.Handler = r
				c, s := pipe(t, Options{}, tc.o)
				var wg sync.WaitGroup
				for i := range 5 {
					m := numbered(uint64(i))
					m.Payload = make([]byte, 1000)
					wg.Go(func() {
						if _, err := c.Call(background, m); err != nil {
							t.Error(err)
						}
					})
				}
				var held []*Message
				for answered := range 5 {
					synctest.Wait()
					for len(r.got) > 0 {
						held = append(held, <-r.got)
					}
					if want := min(5, answered+2); len(held) != want {
						t.Errorf("%d requests came through, want %d", len(held), want)
					}
					if err := s.Reply(held[answered], nil); err != nil {
						t.Error(err)
					}
				}
				wg.Wait()
			})
		})
	}
}

// A peer that never reads is cut off.
func TestStalledPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := pipe(t, Options{StallTimeout: time.Minute}, Options{Handler: stuck{make(chan struct{})}})
		start := time.Now()
		for range 2 { // the second waits behind the first, which is stuck in the handler
			if err := c.Send(&Message{Payload: make([]byte, 200_000)}); err != nil {
				t.Fatal(err)
			}
		}
		<-c.Done()
		if err := c.Err(); !strings.Contains(err.Error(), "the peer has not read for 1m0s") || !strings.Contains(err.Error(), "osd.1") {
			t.Errorf("ended with %v", err)
		}
		if took := time.Since(start); took < time.Minute || took > 2*time.Minute {
			t.Errorf("cut off after %v, want about a minute", took)
		}
		close(s.o.Handler.(stuck).c)
	})
}

// stuck is a handler that blocks, which handlers must not do.
type stuck struct{ c chan struct{} }

func (s stuck) Handle(*Conn, *Message) { <-s.c }
func (s stuck) Closed(*Conn, error)    {}

// A call without a deadline still ends.
func TestCallTimeoutMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := pipe(t, Options{CallTimeoutMax: time.Minute}, Options{Handler: newRecorder()})
		start := time.Now()
		_, err := c.Call(background, numbered(1))
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "call osd.1 at pipe: no answer in 1m0s") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took < time.Minute || took > 2*time.Minute {
			t.Errorf("gave up after %v, want about a minute", took)
		}
	})
}

// While the queue is full a call waits, and its context ends the waiting.
func TestCallWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := stuck{make(chan struct{})}
		r := newRecorder()
		r.handle = func(c *Conn, m *Message) {
			<-h.c
			_ = c.Reply(m, nil)
		}
		c, _ := pipe(t, Options{QueueFrames: 1}, Options{Handler: r})
		for range 2 {
			if err := c.Send(&Message{Payload: make([]byte, 200_000)}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(background, time.Second)
		defer cancel()
		if _, err := c.Call(ctx, numbered(1)); !errors.Is(err, ErrQueueFull) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want queue full and the context's end", err)
		}
		result := make(chan error, 1)
		go func() {
			_, err := c.Call(background, numbered(2))
			result <- err
		}()
		synctest.Wait()
		close(h.c)
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
}

// One message goes to many connections at once; none of them writes to it.
func TestSharedMessage(t *testing.T) {
	r := newRecorder()
	s := serve(t, Options{Handler: r})
	m := numbered(7)
	m.Payload = bytes.Repeat([]byte("s"), 50_000)
	var wg, sent sync.WaitGroup
	sent.Add(4)
	m.Sent = sent.Done
	for range 4 {
		c := dialTo(t, s, Options{Epoch: func() uint64 { return 4 }})
		wg.Go(func() {
			if err := c.Send(m); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	sent.Wait()
	for range 4 {
		if got := <-r.got; number(got) != 7 || !bytes.Equal(got.Payload, m.Payload) {
			t.Error("damaged on the way")
		}
	}
}

func TestPooledPayload(t *testing.T) {
	r := newRecorder()
	s := serve(t, Options{Handler: r})
	c := dialTo(t, s, Options{})
	m := NewMessage(numbered(1).Header, 100_000)
	copy(m.Payload, "hello")
	done := make(chan struct{})
	m.Sent = func() { m.Release(); close(done) }
	if err := c.Send(m); err != nil {
		t.Fatal(err)
	}
	got := <-r.got
	if !slices.Equal(got.Payload[:5], []byte("hello")) || len(got.Payload) != 100_000 {
		t.Error("damaged on the way")
	}
	<-done
	if m.Payload != nil {
		t.Error("still has its payload after Release")
	}
	if NewMessage(nil, 0).Payload != nil {
		t.Error("no bytes, but a payload")
	}
	(*Message)(nil).Release()
}
