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
	t.Run("data", func(t *testing.T) {
		flood(t, func(size int) *wire.Message {
			m := opMessage(0, 0)
			m.Header.GetOp().Ops[0].DataLen = uint64(size)
			m.Payload = bytes.Repeat([]byte("x"), size)
			return m
		})
	})
	t.Run("omap", func(t *testing.T) { flood(t, omapMessage) })
}

// omapMessage writes so many bytes to a key of an object.
func omapMessage(size int) *wire.Message {
	m := opMessage(0, 0)
	m.Header.GetOp().Ops = []*wirepb.ObjOp{{Kind: wirepb.OpKind_OMAP_SET, Name: []byte("k"), Value: bytes.Repeat([]byte("x"), size)}}
	m.Payload = nil
	return m
}

func flood(t *testing.T, message func(size int) *wire.Message) {
	st, slow, d, c := startGated(t, 20<<20)
	slow.mu.Lock()
	slow.hold = true
	slow.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	const writes, size = 64, 800 << 10
	var wg sync.WaitGroup
	var done, refused atomic.Int64
	write := func(i int) error {
		m := message(size)
		op := m.Header.GetOp()
		op.Object, op.Req.Seq = []byte(fmt.Sprint(i)), uint64(10+i)
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
	if n := done.Load(); n < 15 || n > 25 || n+refused.Load() != writes {
		t.Errorf("%d of %d writes of 800 KiB on a disk of 20 MiB were carried out, %d refused", n, writes, refused.Load())
	}
	st.SetCapacity(1 << 40)
	if err := write(100); err != nil {
		t.Errorf("a write when there is room again: %v", err)
	}
}

// TestSlowlyFull: requests that come one after the other, and whose data is in the index, or in blocks that are much larger
// than it, are refused when the OSD is full. Were they counted by their data alone nobody would look, and the primary stop.
func TestSlowlyFull(t *testing.T) {
	for name, message := range map[string]func() *wire.Message{
		"omap": func() *wire.Message { return omapMessage(400 << 10) },
		"one byte in each block": func() *wire.Message {
			m := opMessage(0, 0)
			op := m.Header.GetOp()
			op.Ops, m.Payload = nil, nil
			for i := range 100 {
				op.Ops = append(op.Ops, &wirepb.ObjOp{Kind: wirepb.OpKind_WRITE, Offset: uint64(i) * 2 * blockBytes, DataOff: uint64(i), DataLen: 1})
				m.Payload = append(m.Payload, 'x')
			}
			return m
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, d, c := startGated(t, 100<<20)
			for i := range 1000 {
				m := message()
				op := m.Header.GetOp()
				op.Object, op.Req.Seq = []byte(fmt.Sprint(i)), uint64(10+i)
				if _, err := c.Call(context.Background(), m); err != nil {
					if wire.CodeOf(err) != wirepb.Code_NO_SPACE || d.Err() != nil {
						t.Errorf("write %d: %v; the OSD: %v", i, err, d.Err())
					}
					return
				}
			}
			t.Error("1000 writes fit on a disk of 100 MiB")
		})
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
