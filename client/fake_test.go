package client_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
	"github.com/cairnstore/cairn/placement/crush"
)

// cluster is a set of fake daemons on loopback, and the map they agree on. Its
// OSDs share one store: the client cannot tell, and replication is not its affair.
type cluster struct {
	t    testing.TB
	mons []*fakeMon
	osds []*fakeOSD
	data *clienttest.Pool

	mu    sync.Mutex // guards below
	m     *placement.Map
	old   map[placement.Epoch]*placement.Map
	done  map[reqID]answer // the PG log's memory of request ids
	execs int              // requests really carried out
}

type reqID struct{ client, seq uint64 }

type answer struct {
	h       *wirepb.Header
	payload []byte
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// newCluster starts daemons and publishes the first map: pool "p" with 8 PGs,
// whose primaries are the OSDs in turn.
func newCluster(t testing.TB, mons, osds int) *cluster {
	cl := &cluster{t: t, data: clienttest.New(t), old: map[placement.Epoch]*placement.Map{}, done: map[reqID]answer{}}
	m := &placement.Map{
		Epoch: 1, Cluster: placement.UUID{1, 2, 3}, Crush: crush.NewDefault(), NextPool: 2, NextOSD: placement.OSDID(osds),
		Pools: []placement.Pool{{ID: 1, Name: "p", Size: 2, MinSize: 1, PGNum: 8, Created: 1, PGNumTarget: 8, FirstPGNum: 8}},
		PGs:   []placement.PoolPGs{{Pool: 1}},
	}
	for i := range mons {
		f := &fakeMon{cl: cl, subs: map[*wire.Conn]bool{}}
		f.proxy = newProxy(t)
		f.start()
		cl.mons = append(cl.mons, f)
		m.Mons = append(m.Mons, placement.Mon{Name: string(rune('a' + i)), Addr: f.proxy.addr()})
	}
	for i := range osds {
		o := &fakeOSD{cl: cl, id: placement.OSDID(i), got: make(chan *wirepb.Header, 1000)}
		o.proxy = newProxy(t)
		o.start()
		cl.osds = append(cl.osds, o)
		m.OSDs = append(m.OSDs, placement.OSD{
			ID: o.id, Store: placement.UUID{byte(i + 1)}, Incarnation: 1, Addr: o.proxy.addr(), Class: "ssd", Up: true,
			Weight: placement.WeightOne, UpFrom: 1, Capacity: 1 << 40,
		})
	}
	for s := range 8 {
		r := placement.PGRecord{Term: 1, Version: 1, Primary: placement.OSDID(s % osds), Created: true}
		for i := range min(2, osds) {
			r.InSync = append(r.InSync, placement.OSDID((s+i)%osds))
		}
		m.PGs[0].Records = append(m.PGs[0].Records, r)
	}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	cl.m, cl.old[1] = m, m
	return cl
}

func (cl *cluster) current() *placement.Map {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return cl.m
}

// change publishes the next map. The monitors push it unless they are mute.
func (cl *cluster) change(f func(*placement.Map)) *placement.Map {
	cl.t.Helper()
	m := cl.next(f)
	for _, mon := range cl.mons {
		mon.push(m)
	}
	return m
}

// next makes the next map without pushing it.
func (cl *cluster) next(f func(*placement.Map)) *placement.Map {
	cl.t.Helper()
	cl.mu.Lock()
	defer cl.mu.Unlock()
	m := cl.m.Clone()
	m.Epoch++
	f(m)
	if err := m.Validate(); err != nil {
		cl.t.Fatal(err)
	}
	cl.m, cl.old[m.Epoch] = m, m
	return m
}

// setPrimary makes an OSD the primary of all PGs.
func setPrimary(id placement.OSDID) func(*placement.Map) {
	return func(m *placement.Map) {
		for i := range m.PGs[0].Records {
			r := &m.PGs[0].Records[i]
			if r.Primary != id {
				r.Primary, r.Term, r.Version = id, r.Term+1, m.Epoch
				if id != placement.NoOSD && !slices.Contains(r.InSync, id) {
					r.InSync = append([]placement.OSDID{id}, r.InSync...)
				}
			}
		}
	}
}

func markDown(ids ...placement.OSDID) func(*placement.Map) {
	return func(m *placement.Map) {
		for i := range m.OSDs {
			if slices.Contains(ids, m.OSDs[i].ID) {
				m.OSDs[i].Up, m.OSDs[i].DownAt = false, m.Epoch
			}
		}
	}
}

// executed returns how many requests were really carried out.
func (cl *cluster) executed() int {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return cl.execs
}

// connect makes a client with short times; the test closes it in the end.
func (cl *cluster) connect(opts ...func(*client.Options)) *client.Client {
	cl.t.Helper()
	o := client.Options{Entity: "client.test", Log: quiet, Timeout: time.Minute, AttemptTimeout: 10 * time.Second}
	for _, m := range cl.mons {
		o.Mons = append(o.Mons, m.proxy.addr())
	}
	for _, f := range opts {
		f(&o)
	}
	c, err := client.Connect(context.Background(), o)
	if err != nil {
		cl.t.Fatal(err)
	}
	cl.t.Cleanup(func() { c.Close() })
	return c
}

func (cl *cluster) pool(c *client.Client) *client.Pool {
	cl.t.Helper()
	p, err := c.Pool(context.Background(), "p")
	if err != nil {
		cl.t.Fatal(err)
	}
	return p
}

// ---- monitor ----

type fakeMon struct {
	cl    *cluster
	srv   *wire.Server
	proxy *proxy

	mu    sync.Mutex // guards below
	subs  map[*wire.Conn]bool
	mute  bool                                     // pushes nothing
	hook  func(c *wire.Conn, m *wire.Message) bool // true: it has dealt with the message
	fulls int                                      // full maps sent
}

func (f *fakeMon) start() {
	ln := listen(f.cl.t)
	f.srv = wire.Serve(ln, wire.Options{Self: wire.Identity{Entity: "mon.x", Cluster: placement.UUID{1, 2, 3}}, Handler: f, Log: quiet})
	f.cl.t.Cleanup(func() { f.srv.Close() })
	f.proxy.to(f.srv.Addr())
}

func (f *fakeMon) set(fn func(*fakeMon)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn(f)
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
	if hook != nil && hook(c, m) {
		return
	}
	switch b := m.Header.Body.(type) {
	case *wirepb.Header_MonSubscribe:
		f.set(func(f *fakeMon) { f.subs[c] = true })
		c.Reply(m, f.mapsSince(b.MonSubscribe.Have))
	case *wirepb.Header_MonGetMap:
		c.Reply(m, f.mapsSince(b.MonGetMap.Have))
	case *wirepb.Header_UserGet:
		if b.UserGet.Name == "ann" {
			c.Reply(m, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_User{User: &wirepb.User{Name: "ann", DisplayName: "Ann"}}}})
			return
		}
		if b.UserGet.AccessKey != "AK" {
			c.ReplyError(m, wirepb.Code_NOT_FOUND, "no user has this key")
			return
		}
		c.Reply(m, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_User{User: &wirepb.User{
			Name: "ann", DisplayName: "Ann", Keys: []*wirepb.AccessKey{{AccessKey: "AK", SecretKey: "SK"}},
		}}}})
	case *wirepb.Header_ServiceBeacon:
		s := b.ServiceBeacon
		f.cl.change(func(m *placement.Map) {
			m.Services = append(m.Services, placement.Service{Kind: s.Kind, Name: s.Name, Addr: s.Addr})
		})
		c.Reply(m, nil)
	default:
		c.ReplyError(m, wirepb.Code_UNSUPPORTED, "unknown message")
	}
}

// mapsSince answers with deltas from epoch have, with a full map if have is 0.
func (f *fakeMon) mapsSince(have uint64) *wire.Message {
	f.cl.mu.Lock()
	defer f.cl.mu.Unlock()
	cur := f.cl.m
	up := &wirepb.MapUpdate{From: have, To: uint64(cur.Epoch)}
	var payload []byte
	if have == 0 {
		up.Full, payload = true, placement.EncodeMap(cur)
		f.set(func(f *fakeMon) { f.fulls++ })
	}
	for e := placement.Epoch(have); have != 0 && e < cur.Epoch; e++ {
		payload = appendDelta(payload, f.cl.old[e], f.cl.old[e+1])
	}
	return &wire.Message{Header: &wirepb.Header{Epoch: uint64(cur.Epoch), Body: &wirepb.Header_MapUpdate{MapUpdate: up}}, Payload: payload}
}

func appendDelta(b []byte, from, to *placement.Map) []byte {
	d := placement.EncodeDelta(placement.Diff(from, to))
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(d))), d...)
}

// push sends the last step to the subscribers.
func (f *fakeMon) push(m *placement.Map) {
	f.cl.mu.Lock()
	payload := appendDelta(nil, f.cl.old[m.Epoch-1], m)
	f.cl.mu.Unlock()
	f.set(func(f *fakeMon) {
		for c := range f.subs {
			if !f.mute {
				_ = c.Send(&wire.Message{Header: &wirepb.Header{Epoch: uint64(m.Epoch), Body: &wirepb.Header_MapUpdate{
					MapUpdate: &wirepb.MapUpdate{From: uint64(m.Epoch - 1), To: uint64(m.Epoch)},
				}}, Payload: payload}) // a connection that has ended fetches what it lacks elsewhere
			}
		}
	})
}

// ---- OSD ----

type fakeOSD struct {
	cl    *cluster
	id    placement.OSDID
	srv   *wire.Server
	proxy *proxy
	got   chan *wirepb.Header // every request that arrived

	mu   sync.Mutex                               // guards below
	hook func(c *wire.Conn, m *wire.Message) bool // true: it has dealt with the message
}

func (o *fakeOSD) start() {
	ln := listen(o.cl.t)
	o.srv = wire.Serve(ln, wire.Options{
		Self: wire.Identity{Entity: o.id.String(), Cluster: placement.UUID{1, 2, 3}}, Handler: o, Log: quiet,
		Epoch: func() uint64 { return uint64(o.cl.current().Epoch) },
	})
	o.cl.t.Cleanup(func() { o.srv.Close() })
	o.proxy.to(o.srv.Addr())
}

// on sets what happens to requests; nil: they are served.
func (o *fakeOSD) on(hook func(c *wire.Conn, m *wire.Message) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hook = hook
}

// once lets hook deal with the first request only.
func (o *fakeOSD) once(hook func(c *wire.Conn, m *wire.Message)) {
	first := true
	o.on(func(c *wire.Conn, m *wire.Message) bool {
		if !first {
			return false
		}
		first = false
		hook(c, m)
		return true
	})
}

func (o *fakeOSD) Closed(*wire.Conn, error) {}

func (o *fakeOSD) Handle(c *wire.Conn, m *wire.Message) {
	select {
	case o.got <- m.Header:
	default:
	}
	o.mu.Lock()
	hook := o.hook
	if hook != nil && hook(c, m) {
		o.mu.Unlock()
		return
	}
	o.mu.Unlock()
	o.serve(c, m)
}

func (o *fakeOSD) serve(c *wire.Conn, m *wire.Message) {
	switch b := m.Header.Body.(type) {
	case *wirepb.Header_Op:
		pg := placement.PGID{Pool: placement.PoolID(b.Op.Pool), Shard: b.Op.Shard}
		if r := o.cl.current().PG(pg); r == nil || r.Primary != o.id {
			c.ReplyError(m, wirepb.Code_WRONG_PRIMARY, "%s is not the primary of %s", o.id, pg)
			return
		}
		a := o.cl.execute(b.Op, m.Payload)
		c.Reply(m, &wire.Message{Header: a.h, Payload: a.payload})
	case *wirepb.Header_PgList:
		l := b.PgList
		var names []string
		pool := o.cl.current().Pool(placement.PoolID(l.Pool))
		if l.PgNum != pool.PGNum {
			c.ReplyError(m, wirepb.Code_STALE_MAP, "pool %d has %d PGs, not %d", l.Pool, pool.PGNum, l.PgNum)
			return
		}
		for _, n := range o.cl.data.Names() {
			if placement.PGOf(pool, n).Shard == l.Shard && n > string(l.After) {
				names = append(names, n)
			}
		}
		sort.Strings(names)
		reply := &wirepb.PGListReply{}
		for i, n := range names {
			if i == int(l.Limit) || i == 3 { // the OSD may return fewer than asked
				reply.More = true
				break
			}
			reply.Objects = append(reply.Objects, []byte(n))
		}
		c.Reply(m, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_PgListReply{PgListReply: reply}}})
	default:
		c.ReplyError(m, wirepb.Code_UNSUPPORTED, "unknown message")
	}
}

// execute carries a request out once for each request id, as a PG does.
func (cl *cluster) execute(req *wirepb.OpRequest, payload []byte) answer {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	id := reqID{req.GetReq().GetClient(), req.GetReq().GetSeq()}
	if a, ok := cl.done[id]; ok {
		return a
	}
	cl.execs++
	out := cl.data.Execute(req, payload)
	a := answer{h: &wirepb.Header{Code: out.Code, Error: out.Text, Body: &wirepb.Header_OpReply{OpReply: out.Reply}}, payload: out.Payload}
	cl.done[id] = a
	return a
}

// ---- network ----

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// proxy stands before a daemon so that a test can freeze it or cut it off: a
// frozen one accepts connections and says nothing, like a stopped process.
type proxy struct {
	ln net.Listener
	wg sync.WaitGroup

	mu     sync.Mutex // guards below
	target string
	frozen chan struct{} // not nil: closed when it thaws
	conns  map[net.Conn]bool
	closed bool
}

func newProxy(t testing.TB) *proxy {
	p := &proxy{ln: listen(t), conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		p.ln.Close()
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.thaw()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.ln.Addr().String() }

func (p *proxy) to(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = addr
}

func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = make(chan struct{})
}

func (p *proxy) thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen != nil {
		close(p.frozen)
		p.frozen = nil
	}
}

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// wait returns when the proxy is not frozen.
func (p *proxy) wait() {
	p.mu.Lock()
	frozen := p.frozen
	p.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
}

func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

func (p *proxy) accept() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		if !p.keep(c) {
			return
		}
		p.wg.Go(func() {
			defer c.Close()
			p.wait()
			p.mu.Lock()
			target := p.target
			p.mu.Unlock()
			d, err := net.Dial("tcp", target)
			if err != nil || !p.keep(d) {
				return
			}
			p.wg.Go(func() { p.pipe(d, c) })
			p.pipe(c, d)
		})
	}
}

func (p *proxy) pipe(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		p.wait()
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// objectIn returns a name that lies in the given PG of the pool.
func (cl *cluster) objectIn(shard uint32) string {
	pool := cl.current().PoolByName("p")
	for i := 0; ; i++ {
		if n := fmt.Sprintf("obj%d", i); placement.PGOf(pool, n).Shard == shard {
			return n
		}
	}
}
