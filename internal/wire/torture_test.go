package wire

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// tortured answers requests from goroutines, in some random way.
type tortured struct {
	wg     sync.WaitGroup
	closed atomic.Int64
	sent   *atomic.Int64 // payloads given away and not given back
}

func (h *tortured) Handle(c *Conn, m *Message) {
	if m.Header.Tag == 0 {
		m.Release()
		return
	}
	switch rand.IntN(10) {
	case 0:
		_ = c.ReplyError(m, wirepb.Code_TRY_LATER, "later")
	case 1:
		h.sent.Add(1)
		_ = c.Reply(m, &Message{Payload: m.Payload, Sent: func() { h.sent.Add(-1) }})
	default:
		h.wg.Go(func() {
			h.sent.Add(1)
			_ = c.Reply(m, &Message{Payload: m.Payload, Sent: func() { h.sent.Add(-1); m.Release() }})
		})
	}
}

func (h *tortured) Closed(*Conn, error) { h.closed.Add(1) }

// Whatever happens at once, with a connection that ends in the middle of it:
// every call returns, answers are the right ones, every payload is given back
// once, Closed comes once on each side and nothing is left running.
func TestTorture(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	for round := range rounds {
		var sent atomic.Int64
		sh, ch := &tortured{sent: &sent}, &tortured{sent: &sent}
		limits := Options{QueueFrames: 20, QueueBytes: 1 << 20, InflightMax: 8, InflightBytes: 1 << 20}
		so, co := limits, limits
		so.Handler, co.Handler = sh, ch
		s := Serve(listen(t), withEntity(so, "osd.1"))
		c, err := Dial(context.Background(), s.Addr(), withEntity(co, "client.a"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Ping(background); err != nil {
			t.Fatal(err)
		}
		sc := s.Conns()[0]
		ends := rand.New(rand.NewPCG(seed, uint64(round))).IntN(600) + 1
		var ops atomic.Int64
		enough := make(chan struct{})
		var wg sync.WaitGroup
		for i := range 8 {
			rng := rand.New(rand.NewPCG(seed+uint64(i), uint64(round)))
			wg.Go(func() {
				for torment(t, c, rng, &sent) {
					if ops.Add(1) == int64(ends) {
						close(enough)
					}
				}
			})
		}
		<-enough
		switch round % 4 {
		case 0:
			c.Close()
		case 1:
			sc.Close()
		case 2:
			s.Close()
		case 3:
			c.nc.Close()
		}
		wg.Wait()
		c.Close()
		s.Close()
		<-c.finished
		sh.wg.Wait()
		ch.wg.Wait()
		if n := sent.Load(); n != 0 {
			t.Errorf("round %d: %d payloads not given back", round, n)
		}
		if sh.closed.Load() != 1 || ch.closed.Load() != 1 {
			t.Errorf("round %d: Closed called %d and %d times, want once each", round, sh.closed.Load(), ch.closed.Load())
		}
		if st := c.Stats(); st.Pending != 0 || st.FramesOut == 0 || st.BytesIn == 0 {
			t.Errorf("round %d: stats %+v", round, st)
		}
	}
}

// torment does one random thing with c and reports whether c still lives.
func torment(t *testing.T, c *Conn, rng *rand.Rand, sent *atomic.Int64) bool {
	size := 2 + rng.IntN(30_000)
	if rng.IntN(20) == 0 {
		size = 2 + rng.IntN(600_000)
	}
	m := &Message{Header: opHeader(), Payload: make([]byte, size)}
	m.Payload[0], m.Payload[size-1] = byte(size), byte(size>>8)
	sent.Add(1)
	m.Sent = func() { sent.Add(-1) }
	ctx := context.Background()
	switch rng.IntN(4) {
	case 0:
		err := c.Send(m)
		return err == nil || errors.Is(err, ErrQueueFull)
	case 1:
		quick, cancel := context.WithTimeout(ctx, time.Duration(rng.IntN(300))*time.Microsecond)
		defer cancel()
		ctx = quick
	}
	got, err := c.Call(ctx, m)
	if err == nil && len(got.Payload) != size {
		t.Errorf("answer of %d bytes, want %d", len(got.Payload), size)
	}
	if err == nil && len(got.Payload) == size && (got.Payload[0] != byte(size) || got.Payload[size-1] != byte(size>>8)) {
		t.Error("somebody else's answer")
	}
	got.Release()
	return !errors.Is(err, ErrConnClosed)
}
