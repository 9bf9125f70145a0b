package monclient

import (
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
	"github.com/cairnstore/cairn/placement/crush"
)

var (
	quiet     = slog.New(slog.NewTextHandler(io.Discard, nil))
	clusterID = placement.UUID{1, 2, 3}
)

// fakes is a set of fake monitors on loopback, and the map they agree on.
type fakes struct {
	t    testing.TB
	mons []*fakeMon

	mu  sync.Mutex // guards below
	m   *placement.Map
	old map[placement.Epoch]*placement.Map
}

func newFakes(t testing.TB, mons int) *fakes {
	fs := &fakes{t: t, old: map[placement.Epoch]*placement.Map{}}
	m := &placement.Map{Epoch: 1, Cluster: clusterID, Crush: crush.NewDefault(), NextPool: 1}
	for i := range mons {
		f := &fakeMon{fs: fs, subs: map[*wire.Conn]bool{}, asked: make(chan *wire.Conn, 1000), subscribed: make(chan *wire.Conn, 1000)}
		f.start()
		fs.mons = append(fs.mons, f)
		m.Mons = append(m.Mons, placement.Mon{Name: string(rune('a' + i)), Addr: f.addr()})
	}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	fs.m, fs.old[1] = m, m
	return fs
}

// open starts a session with short times; the test closes it in the end.
func (fs *fakes) open(opts ...func(*Options)) *Session {
	fs.t.Helper()
	o := Options{Self: func() wire.Identity { return wire.Identity{Entity: "client.test"} }, Log: quiet, Patience: 10 * time.Second}
	for _, f := range fs.mons {
		o.Mons = append(o.Mons, f.addr())
	}
	for _, f := range opts {
		f(&o)
	}
	s, err := Open(o)
	if err != nil {
		fs.t.Fatal(err)
	}
	fs.t.Cleanup(func() { s.Close() })
	return s
}

// next makes the next map without pushing it.
func (fs *fakes) next() *placement.Map {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	m := fs.m.Clone()
	m.Epoch++
	m.Modified++
	fs.m, fs.old[m.Epoch] = m, m
	return m
}

// rewrite puts another map in the place of the newest, under the same epoch:
// deltas from it do not fit what the sessions have.
func (fs *fakes) rewrite(service string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	m := fs.m.Clone()
	m.Services = append(m.Services, placement.Service{Kind: "s3", Name: service, Addr: "127.0.0.1:1"})
	fs.m, fs.old[m.Epoch] = m, m
}

// change publishes the next map.
func (fs *fakes) change() *placement.Map {
	m := fs.next()
	for _, f := range fs.mons {
		f.push(m)
	}
	return m
}

// delta returns the last step to m.
func (fs *fakes) delta(m *placement.Map) []byte {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return appendDelta(nil, fs.old[m.Epoch-1], m)
}

func appendDelta(b []byte, from, to *placement.Map) []byte {
	d := placement.EncodeDelta(placement.Diff(from, to))
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(d))), d...)
}

// serving returns the monitor that has the session.
func (fs *fakes) serving() *fakeMon {
	fs.t.Helper()
	for _, f := range fs.mons {
		f.mu.Lock()
		n := len(f.subs)
		f.mu.Unlock()
		if n > 0 && !f.gate.isFrozen() {
			return f
		}
	}
	fs.t.Fatal("no monitor has a subscriber")
	return nil
}

type fakeMon struct {
	fs         *fakes
	srv        *wire.Server
	gate       *gate
	asked      chan *wire.Conn // for every MonGetMap
	subscribed chan *wire.Conn // for every MonSubscribe

	mu    sync.Mutex // guards below
	subs  map[*wire.Conn]bool
	hook  func(c *wire.Conn, m *wire.Message) bool // true: it has dealt with the message
	fulls int                                      // full maps sent
}

func (f *fakeMon) start() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.fs.t.Fatal(err)
	}
	f.gate = &gate{Listener: ln, conns: map[*gatedConn]bool{}}
	f.srv = wire.Serve(f.gate, wire.Options{Self: wire.Identity{Entity: "mon.x", Cluster: clusterID}, Handler: f, Log: quiet})
	f.fs.t.Cleanup(f.stop)
}

// stop ends the monitor; who connects is refused.
func (f *fakeMon) stop() {
	f.gate.Close()
	f.gate.cut() // a frozen connection hears nothing else
	f.srv.Close()
}

func (f *fakeMon) addr() string { return f.gate.Addr().String() }

func (f *fakeMon) set(fn func(*fakeMon)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn(f)
}

func (f *fakeMon) on(hook func(c *wire.Conn, m *wire.Message) bool) {
	f.set(func(f *fakeMon) { f.hook = hook })
}

func (f *fakeMon) fullMaps() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fulls
}

func (f *fakeMon) Closed(c *wire.Conn, err error) { f.set(func(f *fakeMon) { delete(f.subs, c) }) }

func (f *fakeMon) Handle(c *wire.Conn, m *wire.Message) {
	f.mu.Lock()
	hook := f.hook
	f.mu.Unlock()
	switch m.Header.Body.(type) {
	case *wirepb.Header_MonSubscribe:
		f.set(func(f *fakeMon) { f.subs[c] = true })
		f.subscribed <- c
	case *wirepb.Header_MonGetMap:
		f.asked <- c
	}
	if hook != nil && hook(c, m) {
		return
	}
	switch b := m.Header.Body.(type) {
	case *wirepb.Header_MonSubscribe:
		c.Reply(m, f.mapsSince(b.MonSubscribe.Have))
	case *wirepb.Header_MonGetMap:
		c.Reply(m, f.mapsSince(b.MonGetMap.Have))
	case *wirepb.Header_UserGet:
		if b.UserGet.AccessKey != "AK" {
			c.ReplyError(m, wirepb.Code_NOT_FOUND, "no user has this key")
			return
		}
		c.Reply(m, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_User{User: &wirepb.User{Name: "ann"}}}, Payload: m.Payload})
	default:
		c.ReplyError(m, wirepb.Code_UNSUPPORTED, "unknown message")
	}
}

// mapsSince answers with deltas from epoch have, with a full map if have is 0.
func (f *fakeMon) mapsSince(have uint64) *wire.Message {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	cur := f.fs.m
	up := &wirepb.MapUpdate{From: have, To: uint64(cur.Epoch)}
	var payload []byte
	if have == 0 {
		up.Full, payload = true, placement.EncodeMap(cur)
		f.set(func(f *fakeMon) { f.fulls++ })
	}
	for e := placement.Epoch(have); have != 0 && e < cur.Epoch; e++ {
		payload = appendDelta(payload, f.fs.old[e], f.fs.old[e+1])
	}
	return &wire.Message{Header: &wirepb.Header{Epoch: uint64(cur.Epoch), Body: &wirepb.Header_MapUpdate{MapUpdate: up}}, Payload: payload}
}

// push sends the last step to the subscribers.
func (f *fakeMon) push(m *placement.Map) { f.send(m, f.fs.delta(m)) }

func (f *fakeMon) send(m *placement.Map, payload []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.subs {
		_ = c.Send(&wire.Message{Header: &wirepb.Header{Epoch: uint64(m.Epoch), Body: &wirepb.Header_MapUpdate{
			MapUpdate: &wirepb.MapUpdate{From: uint64(m.Epoch - 1), To: uint64(m.Epoch)},
		}}, Payload: payload}) // a connection that has ended fetches what it lacks elsewhere
	}
}

// gate is a listener that can be frozen: it then still accepts connections but
// reads nothing and says nothing, like a stopped process.
type gate struct {
	net.Listener

	mu     sync.Mutex // guards below
	frozen bool
	conns  map[*gatedConn]bool
}

type gatedConn struct {
	net.Conn
	g      *gate
	once   sync.Once
	closed chan struct{}
}

func (g *gate) Accept() (net.Conn, error) {
	conn, err := g.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &gatedConn{Conn: conn, g: g, closed: make(chan struct{})}
	g.mu.Lock()
	g.conns[c] = true
	g.mu.Unlock()
	return c, nil
}

func (g *gate) freeze() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.frozen = true
}

func (g *gate) isFrozen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.frozen
}

// cut breaks all connections.
func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		c.Close()
	}
}

func (c *gatedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.g.isFrozen() {
		<-c.closed
		return 0, errors.New("closed while frozen")
	}
	return n, err
}

func (c *gatedConn) Write(b []byte) (int, error) {
	if c.g.isFrozen() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *gatedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
