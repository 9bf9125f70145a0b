package mon

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/placement"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second // far more than anything here takes

// cluster is a few monitors in this process.
type cluster struct {
	t    *testing.T
	mons map[string]*node
	tune func(*Options)
}

// node is a monitor that can be stopped and started again at the same address.
type node struct {
	*Monitor
	mon placement.Mon
	dir string
}

func testLog(t *testing.T, name string) *slog.Logger {
	level := slog.LevelError
	if os.Getenv("CAIRN_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: level})).With("test", name)
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	fmt.Fprintf(os.Stderr, "%s: %s", w.t.Name(), b)
	return len(b), nil
}

func newListener(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// startCluster starts a new cluster of monitors a, b, ... and waits for a leader.
func startCluster(t *testing.T, n int, tune func(*Options)) *cluster {
	t.Helper()
	c := &cluster{t: t, mons: make(map[string]*node), tune: tune}
	var initial []placement.Mon
	opts := make(map[string]Options)
	for i := range n {
		name := string(rune('a' + i))
		o := c.options(name, t.TempDir())
		o.Listener, o.RaftListener = newListener(t), newListener(t)
		initial = append(initial, placement.Mon{Name: name, Addr: o.Listener.Addr().String(), RaftAddr: o.RaftListener.Addr().String()})
		opts[name] = o
	}
	for name, o := range opts {
		o.Initial = initial
		c.start(o)
		_ = name
	}
	for _, n := range c.mons {
		c.waitReady(n)
	}
	c.leader()
	return c
}

func (c *cluster) options(name, dir string) Options {
	o := Options{Name: name, Dir: dir, Log: testLog(c.t, name), TickEvery: 50 * time.Millisecond}
	if c.tune != nil {
		c.tune(&o)
	}
	return o
}

func (c *cluster) start(o Options) *node {
	c.t.Helper()
	m, err := New(o)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { m.Close() })
	if err := m.Start(); err != nil {
		c.t.Fatal(err)
	}
	n := &node{Monitor: m, mon: m.Self(), dir: o.Dir}
	c.mons[o.Name] = n
	return n
}

func (c *cluster) waitReady(n *node) {
	c.t.Helper()
	select {
	case <-n.Ready():
	case <-n.Done():
		c.t.Fatalf("monitor %s ended: %v", n.mon.Name, n.Err())
	case <-time.After(patience):
		c.t.Fatalf("monitor %s is not ready after %v", n.mon.Name, patience)
	}
}

// stop ends a monitor without handing anything over, as far as that is possible
// in one process.
func (c *cluster) stop(name string) {
	c.t.Helper()
	n := c.mons[name]
	n.mu.Lock()
	n.err = errors.New("stopped by the test") // no transfer of the lead
	n.mu.Unlock()
	if err := n.Close(); err != nil {
		c.t.Fatalf("close %s: %v", name, err)
	}
}

// restart starts a stopped monitor from its directory.
func (c *cluster) restart(name string) *node {
	c.t.Helper()
	old := c.mons[name]
	o := c.options(name, old.dir)
	o.Addr, o.RaftAddr = old.mon.Addr, old.mon.RaftAddr
	n := c.start(o)
	c.waitReady(n)
	return n
}

// leader waits until a running monitor leads and has taken up its work.
func (c *cluster) leader() *node {
	c.t.Helper()
	var lead *node
	c.poll("a leader", func() bool {
		for _, n := range c.mons {
			if n.leading() != nil && !n.Map().Cluster.IsZero() {
				lead = n
				return true
			}
		}
		return false
	})
	return lead
}

// follower returns a running monitor that does not lead.
func (c *cluster) follower() *node {
	c.t.Helper()
	lead := c.leader()
	for _, n := range c.mons {
		if n != lead && !closed(n.Done()) {
			if _, err := n.WaitLeader(c.ctx()); err != nil {
				c.t.Fatal(err)
			}
			return n
		}
	}
	c.t.Fatal("there is no follower")
	return nil
}

// poll waits until ok is true.
func (c *cluster) poll(what string, ok func() bool) { c.t.Helper(); poll(c.t, what, ok) }

func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("no %s after %v", what, patience)
		}
	}
}

func (c *cluster) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	c.t.Cleanup(cancel)
	return ctx
}

// client is a connection to a monitor that follows the map.
type client struct {
	t *testing.T
	*wire.Conn

	mu      sync.Mutex // guards below
	m       *placement.Map
	fulls   int
	deltas  int
	changed chan struct{}
	err     error
}

func dial(t *testing.T, addr, entity string) *client {
	t.Helper()
	cl := &client{t: t, changed: make(chan struct{})}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := wire.Dial(ctx, addr, wire.Options{Self: wire.Identity{Entity: entity}, Handler: cl, Log: testLog(t, entity)})
	if err != nil {
		t.Fatalf("dial %s: %v", addr, err)
	}
	cl.Conn = conn
	t.Cleanup(func() { conn.Close() })
	return cl
}

func (cl *client) Closed(*wire.Conn, error) {}

func (cl *client) Handle(_ *wire.Conn, m *wire.Message) {
	if u := m.Header.GetMapUpdate(); u != nil {
		cl.take(u, m.Payload)
	}
}

// take applies a MapUpdate.
func (cl *client) take(u *wirepb.MapUpdate, payload []byte) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	defer func() { close(cl.changed); cl.changed = make(chan struct{}) }()
	switch {
	case u.Full:
		m, err := placement.DecodeMap(payload)
		if err != nil {
			cl.err = err
			return
		}
		cl.m = m
		cl.fulls++
	case u.From == u.To:
	default:
		for len(payload) > 0 {
			n := binary.LittleEndian.Uint32(payload)
			d, err := placement.DecodeDelta(payload[4 : 4+n])
			if err == nil {
				cl.m, err = cl.m.Apply(d)
			}
			if err != nil {
				cl.err = err
				return
			}
			cl.deltas++
			payload = payload[4+n:]
		}
	}
	if cl.m != nil && uint64(cl.m.Epoch) != u.To && u.From != u.To {
		cl.err = fmt.Errorf("update to epoch %d gave epoch %d", u.To, cl.m.Epoch)
	}
}

func (cl *client) call(h *wirepb.Header) (*wire.Message, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return cl.Call(ctx, &wire.Message{Header: h})
}

func (cl *client) subscribe(have placement.Epoch) {
	cl.t.Helper()
	reply, err := cl.call(&wirepb.Header{Body: &wirepb.Header_MonSubscribe{MonSubscribe: &wirepb.MonSubscribe{Have: uint64(have)}}})
	if err != nil {
		cl.t.Fatalf("subscribe: %v", err)
	}
	cl.take(reply.Header.GetMapUpdate(), reply.Payload)
}

// waitMap waits until the subscribed map satisfies ok.
func (cl *client) waitMap(what string, ok func(*placement.Map) bool) *placement.Map {
	cl.t.Helper()
	deadline := time.After(patience)
	for {
		cl.mu.Lock()
		m, err, next := cl.m, cl.err, cl.changed
		cl.mu.Unlock()
		if err != nil {
			cl.t.Fatalf("map update: %v", err)
		}
		if m != nil && ok(m) {
			return m
		}
		select {
		case <-next:
		case <-deadline:
			cl.t.Fatalf("no map with %s after %v", what, patience)
		}
	}
}

// testOSD plays an OSD.
type testOSD struct {
	id    placement.OSDID
	store placement.UUID
	inc   uint64
	host  string
}

func location(host string) []*wirepb.LocationPart {
	return []*wirepb.LocationPart{{Type: "host", Name: host}}
}

// register registers a store and returns the OSD.
func (cl *client) register(n byte) *testOSD {
	cl.t.Helper()
	o := &testOSD{store: placement.UUID{15: n, 0: 1}, host: fmt.Sprintf("h%d", n)}
	reply, err := cl.call(&wirepb.Header{Body: &wirepb.Header_OsdRegister{OsdRegister: &wirepb.OSDRegister{
		Store: o.store[:], Class: "ssd", Location: location(o.host), Capacity: 1 << 40,
	}}})
	if err != nil {
		cl.t.Fatalf("register: %v", err)
	}
	o.id = placement.OSDID(reply.Header.GetOsdRegistered().GetId())
	return o
}

// boot boots a new incarnation and returns the epoch in which it is up.
func (cl *client) boot(o *testOSD) (placement.Epoch, error) {
	o.inc++
	return cl.bootAgain(o)
}

func (cl *client) bootAgain(o *testOSD) (placement.Epoch, error) {
	reply, err := cl.call(&wirepb.Header{Body: &wirepb.Header_OsdBoot{OsdBoot: &wirepb.OSDBoot{
		Id: int32(o.id), Store: o.store[:], Incarnation: o.inc, Addr: fmt.Sprintf("127.0.0.1:%d", 7000+int(o.id)),
	}}})
	if err != nil {
		return 0, err
	}
	return placement.Epoch(reply.Header.Epoch), nil
}

// osds registers and boots n OSDs.
func (cl *client) osds(n int) []*testOSD {
	cl.t.Helper()
	var out []*testOSD
	for i := range n {
		o := cl.register(byte(i + 1))
		if _, err := cl.boot(o); err != nil {
			cl.t.Fatalf("boot %v: %v", o.id, err)
		}
		out = append(out, o)
	}
	return out
}

func changeOf(pg placement.PGID, r *placement.PGRecord) *fsm.PGChange {
	return &fsm.PGChange{PG: fsm.PGID(pg), Term: r.Term, Version: r.Version, From: r.Primary, Primary: r.Primary, InSync: r.InSync, Created: true}
}

// changePG sends a PGChange.
func (cl *client) changePG(c *fsm.PGChange) (placement.Epoch, error) {
	q := &wirepb.PGChange{
		Pool: uint32(c.PG.Pool), Shard: c.PG.Shard, Term: uint32(c.Term), Version: uint64(c.Version),
		From: int32(c.From), Primary: int32(c.Primary), Created: c.Created,
	}
	for _, id := range c.InSync {
		q.InSync = append(q.InSync, int32(id))
	}
	reply, err := cl.call(&wirepb.Header{Body: &wirepb.Header_PgChange{PgChange: q}})
	if err != nil {
		return 0, err
	}
	return placement.Epoch(reply.Header.Epoch), nil
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want one that is %q", err, want)
	}
}
