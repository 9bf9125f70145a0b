package wire

import (
	"bytes"
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// inbox passes on what it is given.
type inbox chan *Message

func (r inbox) Handle(_ *Conn, m *Message) { r <- m }
func (r inbox) Closed(*Conn, error)        {}

// Messages that are queued leave with Flush and not before, in order, whatever
// their sizes are: more than the socket or Flush takes at once goes to the writer.
func TestQueueFlush(t *testing.T) {
	seed := rand.Uint64()
	chance := rand.New(rand.NewPCG(seed, 0))
	got := make(inbox, 4096)
	s := serve(t, Options{Handler: got})
	c := dialTo(t, s, Options{})
	sent := uint64(0)
	for round := range 60 {
		sizes := []int{10, 5000, 20_000, 300_000}
		if round%3 > 0 {
			sizes = sizes[:2]
		}
		before := c.Stats().FramesOut
		var want [][]byte
		for range 1 + chance.IntN(100) {
			payload := bytes.Repeat([]byte{byte(chance.Uint64())}, sizes[chance.IntN(len(sizes))])
			want = append(want, payload)
			sent++
			if err := c.Queue(&Message{Header: &wirepb.Header{Epoch: sent}, Payload: payload}); err != nil {
				t.Fatal(err)
			}
		}
		if st := c.Stats(); round == 0 && (st.FramesOut != before || st.Queued != len(want)) {
			t.Errorf("seed %d: before Flush %d frames have left and %d wait, want 0 and %d", seed, st.FramesOut-before, st.Queued, len(want))
		}
		c.Flush()
		for i, payload := range want {
			m := <-got
			if n := sent - uint64(len(want)) + uint64(i) + 1; m.Header.Epoch != n || !bytes.Equal(m.Payload, payload) {
				t.Fatalf("seed %d, round %d: got message %d with %d bytes, want %d with %d", seed, round, m.Header.Epoch, len(m.Payload), n, len(payload))
			}
		}
	}
	c.Flush() // of nothing
}

// What is queued leaves together with somebody else's message, and before the connection is closed.
func TestQueueWithoutFlush(t *testing.T) {
	got := make(inbox, 10)
	s := serve(t, Options{Handler: got})
	c := dialTo(t, s, Options{})
	for i, leave := range []func() error{
		func() error { return c.Send(&Message{Header: &wirepb.Header{Epoch: 2}}) },
		c.Close,
	} {
		if err := c.Queue(&Message{Header: &wirepb.Header{Epoch: 1}}); err != nil {
			t.Fatal(err)
		}
		if err := leave(); err != nil {
			t.Fatal(err)
		}
		if m := <-got; m.Header.Epoch != 1 {
			t.Fatalf("%d: got epoch %d first", i, m.Header.Epoch)
		}
		if i == 0 {
			<-got
		}
	}
	if err := c.Queue(&Message{Header: &wirepb.Header{}}); err == nil {
		t.Error("a closed connection takes messages")
	}
	c.Flush()
}

// lazy answers only when it is idle.
type lazy struct {
	reqs []*Message
	most *int
}

func (l *lazy) Handle(_ *Conn, m *Message) { l.reqs = append(l.reqs, m) }
func (l *lazy) Closed(*Conn, error)        {}
func (l *lazy) Idle(c *Conn) {
	*l.most = max(*l.most, len(l.reqs))
	for _, m := range l.reqs {
		_ = c.QueueReply(m, &Message{Header: &wirepb.Header{}})
	}
	l.reqs = nil
	c.Flush()
}

// Idle comes whenever the reader is about to wait: for more bytes, with pings and
// part of a frame behind the last request, and for answers at the limit of requests.
func TestIdle(t *testing.T) {
	most := 0
	s := serve(t, Options{Handler: &lazy{most: &most}, InflightMax: 4})
	c := dialTo(t, s, Options{})
	done := make(chan error)
	for range 50 {
		go func() { // until it is answered
			_, err := c.Call(context.Background(), &Message{Header: &wirepb.Header{}, Payload: make([]byte, 100)})
			done <- err
		}()
		go func() { // until it is answered
			_, err := c.Ping(context.Background())
			done <- err
		}()
	}
	for range 100 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	s.Close() // the handler has ended
	if most == 0 || most > 4 {
		t.Errorf("%d requests were unanswered at a time, the limit is 4", most)
	}
}

// A frame of which the socket took a part is Flush's again when it comes before the writer
// goroutine: what is left of it counts, or the bytes that follow would be written twice.
func TestFlushBehindPartOfAFrame(t *testing.T) {
	got := make(inbox, 10)
	s := serve(t, Options{Handler: got})
	c := dialTo(t, s, Options{})
	for epoch := range uint64(3) {
		if err := c.Queue(&Message{Header: &wirepb.Header{Epoch: epoch + 1}}); err != nil {
			t.Fatal(err)
		}
	}
	c.mu.Lock()
	const part = 10
	if _, err := c.nc.Write(c.queue[0].head[:part]); err != nil {
		t.Fatal(err)
	}
	c.queue[0].skip(part)
	c.mu.Unlock()
	c.Flush()
	if err := c.Send(&Message{Header: &wirepb.Header{Epoch: 4}}); err != nil {
		t.Fatal(err)
	}
	for want := range uint64(4) {
		select {
		case m := <-got:
			if m.Header.Epoch != want+1 {
				t.Fatalf("got message %d, want %d", m.Header.Epoch, want+1)
			}
		case <-c.Done():
			t.Fatalf("the connection has ended before message %d: %v", want+1, c.Err())
		}
	}
	c.Close() // what has arrived may not be booked before
	if st := c.Stats(); st.Queued != 0 || st.QueuedBytes != 0 {
		t.Errorf("%d frames of %d bytes still count as queued", st.Queued, st.QueuedBytes)
	}
}

// While the writer goroutine lets others queue more, Flush may take the queue and begin to
// write: then the writer waits, or what came later would leave first, or in the middle of it.
func TestWriterYieldsToFlush(t *testing.T) {
	got := make(inbox, 10)
	s := serve(t, Options{Handler: got})
	c := dialTo(t, s, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	var calls sync.WaitGroup
	for range 2 { // nobody answers them, so the writer waits for more to come
		calls.Go(func() { _, _ = c.Call(ctx, &Message{Header: &wirepb.Header{}}) })
	}
	for range 2 {
		<-got
	}
	yielded := make(chan []frame)
	c.mu.Lock()
	c.yield = func() { // what Flush does on another goroutine until it is in its system call
		c.mu.Lock()
		batch := c.queue
		c.queue, c.writing = nil, true
		c.mu.Unlock()
		yielded <- batch
		<-yielded
	}
	c.mu.Unlock()
	if err := c.Send(&Message{Header: &wirepb.Header{Epoch: 1}}); err != nil {
		t.Fatal(err)
	}
	batch := <-yielded
	if err := c.Queue(&Message{Header: &wirepb.Header{Epoch: 2}}); err != nil {
		t.Fatal(err)
	}
	yielded <- nil
	for waits := false; !waits; { // until the writer has decided
		c.mu.Lock()
		waits = c.writerIdle
		if len(c.queue) == 0 {
			t.Error("the writer took the queue while somebody else was writing")
			waits = true
		}
		c.mu.Unlock()
		runtime.Gosched()
	}
	c.mu.Lock()
	c.yield = runtime.Gosched
	c.mu.Unlock()
	for i := range batch {
		if _, err := c.nc.Write(batch[i].head); err != nil {
			t.Fatal(err)
		}
	}
	c.mu.Lock()
	for i := range batch {
		c.written(batch[i])
	}
	c.writing = false
	c.wakeWriter()
	c.mu.Unlock()
	for want := range uint64(2) {
		if m := <-got; m.Header.Epoch != want+1 {
			t.Errorf("got message %d, want %d", m.Header.Epoch, want+1)
		}
	}
	cancel()
	calls.Wait()
}

// Of several calls one writes for all, when the others have had the chance to queue: the writer goroutine sleeps on.
func TestCallGathers(t *testing.T) {
	r := newRecorder()
	s := serve(t, Options{Handler: r})
	c := dialTo(t, s, Options{})
	ctx, cancel := context.WithCancel(background)
	var calls sync.WaitGroup
	ask := func(n uint64) {
		calls.Go(func() { _, _ = c.Call(ctx, numbered(n)) }) // until cancel
	}
	ask(0)
	<-r.got
	for idle := false; !idle; runtime.Gosched() { // the message is here before the bookkeeping of who wrote it is done
		c.mu.Lock()
		idle = c.writerIdle && !c.writing
		c.mu.Unlock()
	}
	yielded := make(chan bool)
	c.mu.Lock()
	c.yield = func() { yielded <- true; <-yielded }
	c.mu.Unlock()
	ask(1)
	<-yielded
	for n := uint64(2); n < 5; n++ {
		if err := c.Send(numbered(n)); err != nil {
			t.Fatal(err)
		}
	}
	c.mu.Lock()
	if !c.writerIdle || len(c.queue) != 4 {
		t.Errorf("the writer sleeps: %v; %d frames wait, want 4", c.writerIdle, len(c.queue))
	}
	c.mu.Unlock()
	yielded <- true
	for n := uint64(1); n < 5; n++ {
		if m := <-r.got; number(m) != n {
			t.Errorf("got %d, want %d", number(m), n)
		}
	}
	cancel()
	calls.Wait()
}
