package osd

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
)

// gated is a store that takes its time: what it is given waits until release.
type gated struct {
	store.Store
	mu   sync.Mutex // guards below
	hold bool
	held []func()
	seen atomic.Pointer[func()] // Usage has looked; called once
}

func (g *gated) Usage() store.Usage {
	u := g.Store.Usage()
	if f := g.seen.Swap(nil); f != nil {
		(*f)()
	}
	return u
}

func (g *gated) Submit(b *store.Batch, done func(error)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.hold {
		g.held = append(g.held, func() { g.Store.Submit(b, done) })
		return
	}
	g.Store.Submit(b, done)
}

func (g *gated) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, f := range g.held {
		f()
	}
	g.hold, g.held = false, nil
}

// forget has the store asked again.
func (r *room) forget() {
	r.mu.Lock()
	r.left = 0
	r.mu.Unlock()
}

// startGated starts an OSD on a gated store, which has a capacity from the first write on.
func startGated(t *testing.T, capacity int64) (*store.Sim, *gated, *OSD, *wire.Conn) {
	t.Helper()
	st := store.NewSim(store.SimOptions{})
	t.Cleanup(func() { st.Close() })
	slow := &gated{Store: st}
	d := start(t, options(slow, newStage(t)))
	t.Cleanup(slow.release)
	c := dialOSD(t, d)
	mustCall(t, c, opMessage(0, 1))
	st.SetCapacity(capacity)
	d.room.forget() // it has asked when there was a lot
	return st, slow, d, c
}

// TestFloodDoesNotStopThePrimary: many writes are let through at a moment in which there is room for
// each of them, and not for all. Those that come too late are refused; were they logged, the
// primary's store would refuse them, and the OSD stop.
func TestFloodDoesNotStopThePrimary(t *testing.T) {
	st, slow, d, c := startGated(t, 20<<20)
	slow.mu.Lock()
	slow.hold = true
	slow.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	const writes, size = 64, 1 << 20
	var wg sync.WaitGroup
	var done, refused atomic.Int64
	write := func(i int) error {
		m := opMessage(0, uint64(10+i))
		op := m.Header.GetOp()
		op.Object = []byte(fmt.Sprint(i))
		op.Ops[0].DataLen = size
		m.Payload = bytes.Repeat([]byte("x"), size)
		_, err := c.Call(ctx, m)
		return err
	}
	for i := range writes {
		wg.Go(func() { // until answered
			switch err := write(i); {
			case err == nil:
				done.Add(1)
			case wire.CodeOf(err) == wirepb.Code_NO_SPACE:
				refused.Add(1)
			default:
				t.Errorf("write %d: %v", i, err)
			}
		})
	}
	eventually(t, "all writes are under way or refused", func() bool { return d.pending.Load()+refused.Load() >= writes })
	slow.release()
	wg.Wait()
	if err := d.Err(); err != nil {
		t.Fatalf("the OSD stopped: %v", err)
	}
	if n := done.Load(); n < 12 || n > 19 || n+refused.Load() != writes {
		t.Errorf("%d of %d writes of 1 MiB on a disk of 20 MiB were carried out, %d refused", n, writes, refused.Load())
	}
	st.SetCapacity(1 << 40)
	if err := write(100); err != nil {
		t.Errorf("a write when there is room again: %v", err)
	}
}

// TestRoomIsGivenOnce: what was let through counts until the store has it, and what the store takes in while it
// is asked counts, too.
func TestRoomIsGivenOnce(t *testing.T) {
	_, slow, d, c := startGated(t, 40<<20)

	// Two at a time, as two shards are: there is room for one.
	const much = 24 << 20
	if !d.promise(much) {
		t.Fatal("no room on an empty disk")
	}
	if d.promise(much) {
		t.Error("the same room was given twice")
	}
	d.room.redeem(much)
	d.room.forget() // the store took nothing
	if !d.promise(much) {
		t.Error("room is not given again")
	}
	d.room.redeem(much)

	// A batch that ends just when the store was asked.
	slow.mu.Lock()
	slow.hold = true
	slow.mu.Unlock()
	m := opMessage(0, 2)
	m.Payload = bytes.Repeat([]byte("x"), much)
	m.Header.GetOp().Ops[0].DataLen = much
	answered := make(chan error, 1)
	go func() { // until answered, below
		_, err := c.Call(t.Context(), m)
		answered <- err
	}()
	eventually(t, "the write is under way", func() bool { return d.pending.Load() > 0 })
	d.room.forget()
	ended := func() {
		slow.release()
		eventually(t, "the write has ended", func() bool { return d.pending.Load() == 0 })
	}
	slow.seen.Store(&ended)
	if d.promise(much) {
		t.Error("there was room for a write beside one that ended while the store was asked")
	}
	if err := <-answered; err != nil {
		t.Errorf("write: %v", err)
	}
}
