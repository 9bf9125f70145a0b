package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// shake does a handshake between two sides over TCP and returns what each got.
func shake(t *testing.T, dialler, acceptor Options, refuse *Error) (d, a agreed, derr, aerr error) {
	t.Helper()
	ln := listen(t)
	defer ln.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		nc, err := ln.Accept()
		if err != nil {
			aerr = err
			return
		}
		defer nc.Close()
		h := newHandshake(nc, acceptor.withDefaults())
		a, aerr = h.run(context.Background(), func() (agreed, error) { return h.accept(refuse) })
	})
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	h := newHandshake(nc, dialler.withDefaults())
	d, derr = h.run(context.Background(), h.dial)
	nc.Close()
	wg.Wait()
	return d, a, derr, aerr
}

func side(entity string, cluster byte, edit func(*Options)) Options {
	o := Options{Self: Identity{Entity: entity, Incarnation: uint64(len(entity))}}
	o.Self.Cluster[0] = cluster
	if edit != nil {
		edit(&o)
	}
	return o
}

func TestHandshake(t *testing.T) {
	for _, clusters := range [][2]byte{{0, 0}, {1, 0}, {0, 1}, {1, 1}} {
		d := side("client.s3.1", clusters[0], func(o *Options) { o.Features = 0b0111; o.Required = 0b1 })
		a := side("osd.3", clusters[1], func(o *Options) { o.Features = 0b1101; o.versionMax = 5 })
		dgot, agot, derr, aerr := shake(t, d, a, nil)
		if derr != nil || aerr != nil {
			t.Fatalf("clusters %v: dialler %v, acceptor %v", clusters, derr, aerr)
		}
		if want := (agreed{peer: a.Self, version: 1, features: 0b101}); dgot != want {
			t.Errorf("dialler got %+v, want %+v", dgot, want)
		}
		if want := (agreed{peer: d.Self, version: 1, features: 0b101}); agot != want {
			t.Errorf("acceptor got %+v, want %+v", agot, want)
		}
	}
}

// Both sides learn that and why they do not fit.
func TestHandshakeRefused(t *testing.T) {
	full := &Error{Code: wirepb.Code_TRY_LATER, Text: "osd.3 has its maximum of 1 connections"}
	for _, tc := range []struct {
		name   string
		d, a   func(*Options)
		refuse *Error
		code   wirepb.Code
		want   string
	}{
		{"newer dialler", func(o *Options) { o.versionMin, o.versionMax = 2, 3 }, nil, nil, wirepb.Code_UNSUPPORTED,
			"client.a speaks protocol versions 2 to 3, osd.3 speaks 1 to 1"},
		{"newer acceptor", nil, func(o *Options) { o.versionMin, o.versionMax = 2, 3 }, nil, wirepb.Code_UNSUPPORTED,
			"client.a speaks protocol versions 1 to 1, osd.3 speaks 2 to 3"},
		{"other cluster", func(o *Options) { o.Self.Cluster = placement.UUID{2} }, nil, nil, wirepb.Code_NOT_PERMITTED,
			"client.a belongs to cluster 02000000-0000-0000-0000-000000000000, osd.3 to cluster 01000000-"},
		{"acceptor lacks a feature", func(o *Options) { o.Features, o.Required = 6, 6 }, func(o *Options) { o.Features = 2 }, nil, wirepb.Code_UNSUPPORTED,
			"client.a requires features 0x4 that osd.3 lacks"},
		{"dialler lacks a feature", func(o *Options) { o.Features = 2 }, func(o *Options) { o.Features, o.Required = 6, 6 }, nil, wirepb.Code_UNSUPPORTED,
			"osd.3 requires features 0x4 that client.a lacks"},
		{"long name", func(o *Options) { o.Self.Entity = strings.Repeat("x", entityMax+1) }, nil, nil, wirepb.Code_INVALID, "entity name of 257 bytes"},
		{"strange name", func(o *Options) { o.Self.Entity = "osd\n3" }, nil, nil, wirepb.Code_INVALID, `entity name "osd\n3" is not printable`},
		{"full", nil, nil, full, wirepb.Code_TRY_LATER, "maximum of 1 connections"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, derr, aerr := shake(t, side("client.a", 1, tc.d), side("osd.3", 1, tc.a), tc.refuse)
			for who, err := range map[string]error{"dialler": derr, "acceptor": aerr} {
				if err == nil || !strings.Contains(err.Error(), tc.want) || CodeOf(err) != tc.code {
					t.Errorf("%s got %v (code %v), want %v with %q", who, err, CodeOf(err), tc.code, tc.want)
				}
			}
		})
	}
}

// scripted runs one side of a handshake against hand-made frames.
func scripted(t *testing.T, accept bool, frames ...[]byte) (err error) {
	t.Helper()
	near, far := net.Pipe()
	h := newHandshake(near, side("osd.3", 1, nil).withDefaults())
	var wg sync.WaitGroup
	wg.Go(func() {
		if accept {
			_, err = h.run(context.Background(), func() (agreed, error) { return h.accept(nil) })
		} else {
			_, err = h.run(context.Background(), h.dial)
		}
		near.Close()
	})
	wg.Go(func() { _, _ = io.Copy(io.Discard, far) })
	for _, f := range frames {
		if _, err := far.Write(f); err != nil {
			break
		}
	}
	if len(frames) > 0 && frames[len(frames)-1] == nil {
		far.Close()
	}
	wg.Wait()
	far.Close()
	return err
}

func handshakeFrame(t *testing.T, k kind, m vtMessage) []byte {
	t.Helper()
	b, err := m.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, prefixLen)
	(&prefix{kind: k, header: uint32(len(b)), headerSum: checksum(b)}).put(out)
	return append(out, b...)
}

func TestHandshakeNonsense(t *testing.T) {
	hello := func(edit func(*wirepb.Hello)) []byte {
		h := &wirepb.Hello{VersionMin: 1, VersionMax: 1, Entity: "client.x"}
		if edit != nil {
			edit(h)
		}
		return handshakeFrame(t, kindHello, h)
	}
	good := hello(nil)
	withPayload := bytes.Clone(good)
	p, _ := parsePrefix(good)
	p.payload = 5
	p.put(withPayload)
	tooLong := make([]byte, prefixLen)
	(&prefix{kind: kindHello, header: helloMax + 1}).put(tooLong)
	welcome := func(edit func(*wirepb.Welcome)) []byte {
		w := &wirepb.Welcome{Version: 1, Hello: &wirepb.Hello{VersionMin: 1, VersionMax: 1, Entity: "osd.1"}}
		edit(w)
		return handshakeFrame(t, kindWelcome, w)
	}
	for _, tc := range []struct {
		name   string
		accept bool
		frames [][]byte
		want   string
	}{
		{"gone at once", true, [][]byte{nil}, "closed by the peer while waiting for its hello"},
		{"half a prefix", true, [][]byte{good[:10], nil}, "after 10 of 24 bytes of a prefix"},
		{"half a hello", true, [][]byte{good[:30], nil}, "bytes of a header"},
		{"http", true, [][]byte{[]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")}, "looks like HTTP"},
		{"message first", true, [][]byte{frameBytes(t, kindMessage, numbered(1), stamp{})}, "message, want hello"},
		{"payload", true, [][]byte{withPayload}, "payload of 5 bytes, limit 0"},
		{"long hello", true, [][]byte{tooLong}, "header of 65537 bytes, limit 65536"},
		{"not protobuf", true, [][]byte{func() []byte {
			b := make([]byte, prefixLen)
			(&prefix{kind: kindHello, header: 2, headerSum: checksum([]byte{255, 255})}).put(b)
			return append(b, 255, 255)
		}()}, "hello does not decode"},
		{"short cluster", true, [][]byte{hello(func(h *wirepb.Hello) { h.Cluster = []byte{1} })}, "cluster id of 1 bytes"},
		{"unknown authentication", true, [][]byte{hello(func(h *wirepb.Hello) { h.AuthMethod = 4 })}, "unknown authentication method 4"},
		{"gone after hello", true, [][]byte{good, nil}, "waiting for its confirm"},
		{"unknown authentication in confirm", true, [][]byte{good, handshakeFrame(t, kindConfirm, &wirepb.Confirm{AuthMethod: 9})}, "unknown authentication method 9"},
		{"refused by dialler", true, [][]byte{good, handshakeFrame(t, kindConfirm, &wirepb.Confirm{Code: wirepb.Code_INVALID, Error: "no\nwant"})}, "refused by client.x: INVALID: no?want"},
		{"welcome without hello", false, [][]byte{welcome(func(w *wirepb.Welcome) { w.Hello = nil })}, "welcome without a hello"},
		{"strange version chosen", false, [][]byte{welcome(func(w *wirepb.Welcome) { w.Version = 7 })}, "osd.1 chose protocol version 7"},
		{"refused", false, [][]byte{welcome(func(w *wirepb.Welcome) { w.Code, w.Error = wirepb.Code_TRY_LATER, "full" })}, "refused by osd.1: TRY_LATER: full"},
		{"no welcome", false, [][]byte{nil}, "waiting for its welcome"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := scripted(t, tc.accept, tc.frames...)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// A dialler that connects and says nothing is dropped and its place freed.
func TestHalfOpenHandshake(t *testing.T) {
	var log syncBuffer
	s := serve(t, Options{HandshakeTimeout: 20 * time.Millisecond, ConnsMax: 1, Log: slog.New(slog.NewTextHandler(&log, nil))})
	nc, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("silent dialler read %v, want EOF", err)
	}
	s.Close()
	if got := log.String(); !strings.Contains(got, "the peer was silent for 20ms") || !strings.Contains(got, nc.LocalAddr().String()) {
		t.Errorf("log %q names neither the peer nor the reason", got)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// A dial to somebody who accepts and says nothing ends with its context or the
// handshake timeout.
func TestDialSilent(t *testing.T) {
	ln := listen(t) // the kernel accepts; nobody answers
	defer ln.Close()
	_, err := Dial(context.Background(), ln.Addr().String(), Options{HandshakeTimeout: time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "silent") || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("got %v, want a silent peer", err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 2 { // the one above, and the one that is to be cancelled
			nc, err := ln.Accept()
			if err != nil {
				t.Error(err)
				break
			}
			defer nc.Close()
		}
		cancel()
	})
	if _, err := Dial(ctx, ln.Addr().String(), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's end", err)
	}
	wg.Wait()
	if _, err := Dial(ctx, ln.Addr().String(), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's end", err)
	}
}

func TestDialRefused(t *testing.T) {
	ln := listen(t)
	ln.Close()
	_, err := Dial(context.Background(), ln.Addr().String(), Options{})
	if !IsRefused(err) {
		t.Errorf("got %v, want connection refused", err)
	}
	if IsRefused(nil) || IsRefused(io.EOF) {
		t.Error("other errors count as refused")
	}
}

func TestConnsMax(t *testing.T) {
	s := serve(t, Options{ConnsMax: 1})
	c := dialTo(t, s, Options{})
	_, err := Dial(context.Background(), s.Addr(), side("client.b", 0, nil))
	if CodeOf(err) != wirepb.Code_TRY_LATER || !strings.Contains(err.Error(), "osd.1 has its maximum of 1 connections") {
		t.Errorf("got %v, want refused for the number of connections", err)
	}
	conns := s.Conns()
	if len(conns) != 1 || conns[0].Peer().Entity != "client.a" {
		t.Fatalf("server has %v", conns)
	}
	c.Close()
	<-conns[0].finished
	dialTo(t, s, Options{})
}
