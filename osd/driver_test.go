package osd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
	"github.com/cairnstore/cairn/placement/crush"
)

// stage is the monitors of a cluster of one OSD and one PG, as a test wants them.
type stage struct {
	mu       sync.Mutex // guards below
	m        *placement.Map
	onMap    func(*placement.Map)
	news     chan struct{}                 // closed with the next map
	boots    []uint64                      // incarnations that booted
	late     chan struct{}                 // not nil: OnMap hears of maps only when this is closed
	lateFrom int                           // the boot from which on maps are late
	onBoot   func(n int, m *placement.Map) // changes the map that the n-th boot makes, or publishes another
	change   func(*wirepb.PGChange) error
}

var testCluster = placement.UUID{1}

func newStage(t testing.TB) *stage {
	t.Helper()
	cm := crush.NewDefault()
	if err := cm.AddDevice(0, "ssd", crush.WeightOne, crush.Location{"root": crush.DefaultRoot, "host": "h"}); err != nil {
		t.Fatal(err)
	}
	return &stage{news: make(chan struct{}), m: &placement.Map{
		Epoch: 1, Cluster: testCluster, Crush: cm, NextOSD: 1, NextPool: 2,
		OSDs:  []placement.OSD{{ID: 0, Class: "ssd", Weight: placement.WeightOne, Capacity: 1 << 40}},
		Pools: []placement.Pool{{ID: 1, Name: "p", Size: 1, MinSize: 1, PGNum: 1, PGNumTarget: 1, FirstPGNum: 1}},
		PGs:   []placement.PoolPGs{{Pool: 1, Records: []placement.PGRecord{{Term: 1, Version: 1, Primary: placement.NoOSD, InSync: []placement.OSDID{0}}}}},
	}}
}

func (s *stage) Map() *placement.Map  { s.mu.Lock(); defer s.mu.Unlock(); return s.m }
func (s *stage) Want(placement.Epoch) {}

func (s *stage) OnMap(f func(*placement.Map)) { s.mu.Lock(); defer s.mu.Unlock(); s.onMap = f }

func (s *stage) WaitMap(ctx context.Context, e placement.Epoch) (*placement.Map, error) {
	for {
		s.mu.Lock()
		m, news := s.m, s.news
		s.mu.Unlock()
		if m.Epoch >= e {
			return m, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// edit publishes the next map.
func (s *stage) edit(f func(*placement.Map)) *placement.Map {
	s.mu.Lock()
	m := s.m.Clone()
	m.Epoch++
	f(m)
	s.m = m
	close(s.news)
	s.news = make(chan struct{})
	tell, late := s.onMap, s.late
	s.mu.Unlock()
	if tell != nil {
		if late != nil {
			go func() { <-late; tell(m) }() // ends with the test, which closes late
		} else {
			tell(m)
		}
	}
	return m
}

func (s *stage) Call(_ context.Context, req *wire.Message) (*wire.Message, error) {
	ok := func(m *placement.Map) (*wire.Message, error) {
		return &wire.Message{Header: &wirepb.Header{Epoch: uint64(m.Epoch)}}, nil
	}
	h := req.Header
	switch {
	case h.GetOsdRegister() != nil:
		return &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_OsdRegistered{OsdRegistered: &wirepb.OSDRegistered{Cluster: testCluster[:]}}}}, nil
	case h.GetOsdBoot() != nil:
		b := h.GetOsdBoot()
		s.mu.Lock()
		s.boots = append(s.boots, b.Incarnation)
		n, on := len(s.boots), s.onBoot
		if n == s.lateFrom {
			s.late = make(chan struct{})
		}
		s.mu.Unlock()
		m := s.edit(func(m *placement.Map) {
			m.OSDs[0].Up, m.OSDs[0].Addr, m.OSDs[0].Incarnation, m.OSDs[0].UpFrom = true, b.Addr, b.Incarnation, m.Epoch
			r := &m.PGs[0].Records[0]
			r.Term, r.Version, r.Primary = r.Term+1, m.Epoch, 0
		})
		if on != nil {
			on(n, m)
		}
		return ok(m)
	case h.GetPgChange() != nil:
		c := h.GetPgChange()
		if s.change != nil {
			if err := s.change(c); err != nil {
				return nil, err
			}
		}
		return ok(s.edit(func(m *placement.Map) {
			r := &m.PGs[0].Records[0]
			r.Version, r.Created = m.Epoch, r.Created || c.Created
		}))
	}
	return ok(s.Map())
}

func (s *stage) bootCount() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.boots) }

// steady is a clock that only the test moves.
type steady struct{ now atomic.Int64 }

func (c *steady) Mono() clock.Mono { return clock.Mono(c.now.Load()) }
func (c *steady) Wall() time.Time  { return time.Unix(0, c.now.Load()) }

func options(st store.Store, s *stage) Options {
	return Options{Store: st, Monitors: s, Location: []LocationPart{{"host", "h"}}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		HeartbeatEvery: 20 * time.Millisecond, Shards: 1}
}

func start(t *testing.T, o Options) *OSD {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	d, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Kill() })
	return d
}

func dialOSD(t *testing.T, d *OSD) *wire.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := wire.Dial(ctx, d.Addr(), wire.Options{Self: wire.Identity{Entity: "client.1", Cluster: testCluster}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func opMessage(epoch placement.Epoch, seq uint64) *wire.Message {
	return &wire.Message{Header: &wirepb.Header{Epoch: uint64(epoch), Body: &wirepb.Header_Op{Op: &wirepb.OpRequest{
		Pool: 1, Object: []byte("a"), Req: &wirepb.ReqID{Client: 1, Seq: seq},
		Ops: []*wirepb.ObjOp{{Kind: wirepb.OpKind_WRITE_FULL, DataLen: 1}},
	}}}, Payload: []byte("x")}
}

// eventually waits for something that other goroutines bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// mustCall repeats a request until the PG takes it.
func mustCall(t *testing.T, c *wire.Conn, m *wire.Message) {
	t.Helper()
	eventually(t, "the write succeeds", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		_, err := c.Call(ctx, m)
		return err == nil
	})
}

// A store that fails stops the daemon, and nothing is acknowledged on the way.
func TestStoreFailure(t *testing.T) {
	st := store.NewSim(store.SimOptions{})
	defer st.Close()
	d := start(t, options(st, newStage(t)))
	c := dialOSD(t, d)
	mustCall(t, c, opMessage(0, 1))
	disk := errors.New("disk on fire")
	st.FailJournal(disk)
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if _, err := c.Call(ctx, opMessage(0, 2)); err == nil {
		t.Fatal("a write was acknowledged that the store refused")
	}
	<-d.Done()
	if err := d.Err(); !errors.Is(err, disk) {
		t.Fatalf("stopped because of %v, want %v", err, disk)
	}
}

// One batch fails, those behind it would not: none of them may take effect.
func TestNothingAfterFailedBatch(t *testing.T) {
	st := store.NewSim(store.SimOptions{})
	d := start(t, options(st, newStage(t)))
	c := dialOSD(t, d)
	mustCall(t, c, opMessage(0, 1))
	var armed atomic.Bool
	armed.Store(true)
	st.SetHooks(nil, func(*store.Batch) error {
		if armed.Swap(false) {
			return store.ErrNoSpace
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Add(1)
		go func() { // until answered or the connection ends
			defer wg.Done()
			m := opMessage(0, uint64(10+i))
			m.Header.GetOp().Object = []byte(fmt.Sprint(i))
			if _, err := c.Call(ctx, m); err == nil {
				t.Errorf("write %d was acknowledged", i)
			}
		}()
	}
	wg.Wait()
	<-d.Done()
	if objs, _, err := st.List(placement.PGID{Pool: 1}, store.Objects, "", 100); err != nil || len(objs) != 1 {
		t.Fatalf("the store has %d objects, want 1: %v", len(objs), err)
	}
	st2 := st.Crash(0)
	defer st2.Close()
	start(t, options(st2, newStage(t))) // and it loads
}

// Being marked down by mistake costs one boot, even if the map that has us up again
// comes to the daemon later than to the session with the monitors.
func TestRebootsOnce(t *testing.T) {
	st := store.NewSim(store.SimOptions{})
	defer st.Close()
	s := newStage(t)
	d := start(t, options(st, s))
	s.lateFrom = 2
	s.edit(func(m *placement.Map) { m.OSDs[0].Up, m.OSDs[0].DownAt = false, m.Epoch })
	eventually(t, "it boots again", func() bool { return s.bootCount() == 2 })
	eventually(t, "it acts on the map that has it up", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return !d.booting
	})
	close(s.late)
	mustCall(t, dialOSD(t, d), opMessage(0, 1))
	if n := s.bootCount(); n != 2 {
		t.Fatalf("%d boots, want 2", n)
	}
}

// The monitors mark it down before it has begun to act on maps.
func TestDownWhileStarting(t *testing.T) {
	st := store.NewSim(store.SimOptions{})
	defer st.Close()
	s := newStage(t)
	s.onBoot = func(n int, _ *placement.Map) {
		if n == 1 {
			s.edit(func(m *placement.Map) { m.OSDs[0].Up, m.OSDs[0].DownAt = false, m.Epoch })
		}
	}
	d := start(t, options(st, s))
	mustCall(t, dialOSD(t, d), opMessage(0, 1))
	if n := s.bootCount(); n != 2 {
		t.Fatalf("%d boots, want 2", n)
	}
}

// A request for a map that does not exist is answered at last, not kept for ever.
func TestRequestForFutureMap(t *testing.T) {
	st := store.NewSim(store.SimOptions{})
	defer st.Close()
	o := options(st, newStage(t))
	clk := &steady{}
	clk.now.Store(int64(time.Hour))
	o.Clock = clk
	d := start(t, o)
	c := dialOSD(t, d)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	answer := make(chan error, 1)
	go func() { // until answered
		_, err := c.Call(ctx, opMessage(1<<40, 1))
		answer <- err
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C: // time flies, until the shard has both got the request and given up
			clk.now.Add(int64(time.Second))
			d.shards[0].wake()
			continue
		case err := <-answer:
			if wire.CodeOf(err) != wirepb.Code_TRY_LATER {
				t.Fatalf("answered %v, want TRY_LATER", err)
			}
		}
		return
	}
}

// Requests that want no answer are of no use and do no harm, not even before the first map.
func TestRequestsWithoutTag(t *testing.T) {
	st := store.NewSim(store.SimOptions{})
	defer st.Close()
	s := newStage(t)
	var d *OSD
	for _, h := range []*wirepb.Header{opMessage(0, 1).Header, {Body: &wirepb.Header_PgList{PgList: &wirepb.PGList{Pool: 1}}},
		{Body: &wirepb.Header_PgQueryState{PgQueryState: &wirepb.PGQueryState{Pool: 1}}}, {Body: &wirepb.Header_Heartbeat{Heartbeat: &wirepb.Heartbeat{}}}} {
		early := &OSD{log: slog.New(slog.NewTextHandler(io.Discard, nil))} // it has no map yet
		handler{early}.Handle(nil, &wire.Message{Header: h, Payload: []byte("x")})
	}
	d = start(t, options(st, s))
	c := dialOSD(t, d)
	if err := c.Send(opMessage(0, 1)); err != nil {
		t.Fatal(err)
	}
	mustCall(t, c, opMessage(0, 2))
}

// What a client had sent on a connection that it has given up arrives after what it sent on the
// next one. The request id may be forgotten by then, so it must not be carried out.
func TestLateOnAnEarlierConnection(t *testing.T) {
	st := store.NewSim(store.SimOptions{})
	defer st.Close()
	d := start(t, options(st, newStage(t)))
	first, second := dialOSD(t, d), dialOSD(t, d)
	mustCall(t, first, opMessage(0, 1))
	mustCall(t, second, opMessage(0, 2))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := first.Call(ctx, opMessage(0, 3)); wire.CodeOf(err) != wirepb.Code_TRY_LATER {
		t.Errorf("a write on the earlier connection: got %v, want TRY_LATER", err)
	}
	if _, err := second.Call(ctx, opMessage(0, 3)); err != nil {
		t.Errorf("a write on the later connection: %v", err)
	}
}
