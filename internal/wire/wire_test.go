package wire

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

func TestMain(m *testing.M) {
	slab.Poison()
	goleak.VerifyTestMain(m)
}

var quietLog = slog.New(slog.DiscardHandler)

func listen(tb testing.TB) net.Listener {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return ln
}

func withEntity(o Options, entity string) Options {
	if o.Self.Entity == "" {
		o.Self.Entity = entity
	}
	if o.Log == nil {
		o.Log = quietLog
	}
	return o
}

// serve starts a server on loopback that ends with the test.
func serve(tb testing.TB, o Options) *Server {
	tb.Helper()
	s := Serve(listen(tb), withEntity(o, "osd.1"))
	tb.Cleanup(func() { s.Close() })
	return s
}

// dialTo connects to s; the connection ends with the test.
func dialTo(tb testing.TB, s *Server, o Options) *Conn {
	tb.Helper()
	c, err := Dial(context.Background(), s.Addr(), withEntity(o, "client.a"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		c.Close()
		<-c.finished
	})
	if _, err := c.Ping(context.Background()); err != nil { // the server has it too
		tb.Fatal(err)
	}
	return c
}

// pipe makes a connection over net.Pipe, without a handshake. Inside a
// synctest bubble its waiting is visible to synctest.
func pipe(tb testing.TB, a, b Options) (*Conn, *Conn) {
	na, nb := net.Pipe()
	return pipeEnd(tb, na, withEntity(a, "client.a"), "osd.1"), pipeEnd(tb, nb, withEntity(b, "osd.1"), "client.a")
}

func pipeEnd(tb testing.TB, nc net.Conn, o Options, peer string) *Conn {
	filled := withEntity(o, "client.a").withDefaults()
	c := startConn(nc, newHandshake(nc, filled).fr, agreed{peer: Identity{Entity: peer}, version: 1}, filled, nil)
	tb.Cleanup(func() { c.Close() })
	return c
}

// rawPeer is the dialling end of a connection whose bytes the test writes itself.
type rawPeer struct {
	net.Conn
	fr *frameReader
}

func rawDial(tb testing.TB, s *Server) *rawPeer {
	tb.Helper()
	nc, err := net.Dial("tcp", s.Addr())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { nc.Close() })
	o := withEntity(Options{}, "client.raw")
	h := newHandshake(nc, o.withDefaults())
	if _, err := h.run(context.Background(), h.dial); err != nil {
		tb.Fatal(err)
	}
	h.fr.headerMax, h.fr.payloadMax = MaxHeader, MaxPayload
	return &rawPeer{Conn: nc, fr: h.fr}
}

// rawAccept is the accepting end of a connection, with a Conn at the other.
func rawAccept(tb testing.TB, o Options) (*Conn, *rawPeer) {
	tb.Helper()
	ln := listen(tb)
	defer ln.Close()
	accepted := make(chan *rawPeer, 1)
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			close(accepted)
			return
		}
		o := withEntity(Options{}, "osd.raw")
		h := newHandshake(nc, o.withDefaults())
		if _, err := h.run(context.Background(), func() (agreed, error) { return h.accept(nil) }); err != nil {
			tb.Error(err)
		}
		h.fr.headerMax, h.fr.payloadMax = MaxHeader, MaxPayload
		accepted <- &rawPeer{Conn: nc, fr: h.fr}
	}()
	c, err := Dial(context.Background(), ln.Addr().String(), withEntity(o, "client.a"))
	if err != nil {
		tb.Fatal(err)
	}
	p := <-accepted
	if p == nil {
		tb.Fatal("nothing accepted")
	}
	tb.Cleanup(func() {
		p.Close()
		c.Close()
		<-c.finished
	})
	return c, p
}

// next reads one message frame.
func (p *rawPeer) next(tb testing.TB) *Message {
	tb.Helper()
	px, header, err := p.fr.next()
	if err != nil {
		tb.Fatal(err)
	}
	m, err := p.fr.message(px, header)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// frameBytes encodes a whole frame.
func frameBytes(tb testing.TB, k kind, m *Message, s stamp) []byte {
	tb.Helper()
	f, err := encode(k, m, s, false)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.release()
	return append(append([]byte(nil), f.head...), f.payload...)
}

// recorder is a Handler that keeps what it gets.
type recorder struct {
	handle func(c *Conn, m *Message) // default: keep
	got    chan *Message
	closed chan error
}

func newRecorder() *recorder {
	return &recorder{got: make(chan *Message, 10000), closed: make(chan error, 100)}
}

func (r *recorder) Handle(c *Conn, m *Message) {
	if r.handle != nil {
		r.handle(c, m)
		return
	}
	r.got <- m
}

func (r *recorder) Closed(_ *Conn, err error) { r.closed <- err }

// echo answers requests with their own payload, from other goroutines.
type echo struct{ wg sync.WaitGroup }

func (e *echo) Handle(c *Conn, m *Message) {
	e.wg.Go(func() { _ = c.Reply(m, &Message{Header: ackHeader, Payload: m.Payload}) })
}
func (*echo) Closed(*Conn, error) {}

// numbered is a message that carries n, in a header field no other test minds.
func numbered(n uint64) *Message {
	return &Message{Header: &wirepb.Header{Body: &wirepb.Header_MonSubscribe{MonSubscribe: &wirepb.MonSubscribe{Have: n}}}}
}

func number(m *Message) uint64 { return m.Header.GetMonSubscribe().GetHave() }
