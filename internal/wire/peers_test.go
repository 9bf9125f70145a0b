package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

func newTestPeers(t *testing.T, o Options) *Peers {
	p := NewPeers(withEntity(o, "osd.2"))
	t.Cleanup(func() { p.Close() })
	return p
}

func TestPeersShareConnections(t *testing.T) {
	h := &echo{}
	s := serve(t, Options{Handler: h})
	p := newTestPeers(t, Options{})
	var wg sync.WaitGroup
	got := make([]*Conn, 20)
	for i := range got {
		wg.Go(func() {
			c, err := p.Get(background, s.Addr())
			if err != nil {
				t.Error(err)
			}
			got[i] = c
			if _, err := p.Call(background, s.Addr(), numbered(1)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, c := range got {
		if c != got[0] {
			t.Fatal("more than one connection")
		}
	}
	if n := len(s.Conns()); n != 1 {
		t.Errorf("server has %d connections, want 1", n)
	}
	s.Close() // no more handler calls
	h.wg.Wait()
}

// Inbound messages on outgoing connections reach the handler, and a broken
// connection is dialled anew.
func TestPeersRedial(t *testing.T) {
	sr, pr := newRecorder(), newRecorder()
	s := serve(t, Options{Handler: sr})
	p := newTestPeers(t, Options{Handler: pr})
	for i := range 3 {
		if err := p.Send(s.Addr(), numbered(uint64(i))); err != nil {
			t.Fatal(err)
		}
		if m := <-sr.got; number(m) != uint64(i) {
			t.Fatalf("got %d, want %d", number(m), i)
		}
		sc := s.Conns()[0]
		if err := sc.Send(numbered(77)); err != nil {
			t.Fatal(err)
		}
		if m := <-pr.got; number(m) != 77 {
			t.Fatalf("got %d back", number(m))
		}
		sc.Close()
		<-sc.finished
		if err := <-pr.closed; !errors.Is(err, ErrConnClosed) {
			t.Errorf("closed with %v", err)
		}
	}
}

// After a failed dial requests fail at once with its error until the backoff is
// over; then one dial finds that the server is there.
func TestPeersBackoff(t *testing.T) {
	ln := listen(t)
	addr := ln.Addr().String()
	ln.Close()
	p := newTestPeers(t, Options{})
	if _, err := p.Get(background, addr); !IsRefused(err) || errors.Is(err, ErrBackoff) {
		t.Fatalf("got %v, want refused", err)
	}
	p.mu.Lock()
	e := p.peers[addr]
	if wait := time.Until(e.retryAt); wait > backoffMin {
		t.Errorf("first backoff is %v", wait)
	}
	e.retryAt = time.Now().Add(time.Hour)
	p.mu.Unlock()
	_, err := p.Get(background, addr)
	if !IsRefused(err) || !errors.Is(err, ErrBackoff) || !strings.Contains(err.Error(), addr) {
		t.Errorf("got %v, want the last dial's error", err)
	}
	sent := false
	if err := p.Send(addr, &Message{Sent: func() { sent = true }}); !errors.Is(err, ErrBackoff) || !sent {
		t.Errorf("send got %v, payload given back %v", err, sent)
	}
	ln, err = net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := Serve(ln, withEntity(Options{}, "osd.1"))
	defer s.Close()
	p.mu.Lock()
	e.retryAt = time.Time{}
	p.mu.Unlock()
	if _, err := p.Get(background, addr); err != nil {
		t.Error(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.failures != 0 {
		t.Errorf("%d failures after success", e.failures)
	}
}

func TestBackoffGrows(t *testing.T) {
	for failures := range 20 {
		for range 100 {
			d := backoff(failures)
			if lo := min(backoffMax, backoffMin<<min(failures, 10)) / 2; d < lo || d > 2*lo {
				t.Fatalf("after %d failures %v, want %v to %v", failures, d, lo, 2*lo)
			}
		}
	}
}

// Until the test serves the listener only the kernel accepts: the dial hangs in
// its handshake, and messages wait in order.
func TestPeersSendWhileDialling(t *testing.T) {
	ln := listen(t)
	addr := ln.Addr().String()
	r := newRecorder()
	p := newTestPeers(t, Options{})
	var sent sync.WaitGroup
	for i := range dialQueueFrames {
		sent.Add(1)
		m := numbered(uint64(i))
		m.Sent = sent.Done
		if err := p.Send(addr, m); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Send(addr, numbered(0)); !errors.Is(err, ErrQueueFull) || !strings.Contains(err.Error(), addr) {
		t.Errorf("got %v, want queue full", err)
	}
	ctx, cancel := context.WithCancel(background)
	cancel()
	if _, err := p.Get(ctx, addr); !errors.Is(err, context.Canceled) {
		t.Errorf("get got %v, want canceled", err)
	}
	s := Serve(ln, withEntity(Options{Handler: r}, "osd.1"))
	defer s.Close()
	if _, err := p.Get(background, addr); err != nil {
		t.Fatal(err)
	}
	if err := p.Send(addr, numbered(dialQueueFrames)); err != nil {
		t.Fatal(err)
	}
	for i := range dialQueueFrames + 1 {
		if m := <-r.got; number(m) != uint64(i) {
			t.Fatalf("message %d arrived as number %d", number(m), i)
		}
	}
	sent.Wait()
}

// Messages that wait for a dial that fails are given back.
func TestPeersSendUnreachable(t *testing.T) {
	ln := listen(t)
	addr := ln.Addr().String()
	ln.Close()
	p := newTestPeers(t, Options{})
	var sent sync.WaitGroup
	sent.Add(3)
	for range 3 {
		_ = p.Send(addr, &Message{Payload: make([]byte, 5<<20), Sent: sent.Done})
	}
	sent.Wait()
}

func TestPeersClose(t *testing.T) {
	s := serve(t, Options{})
	hang := listen(t) // accepts, never answers
	defer hang.Close()
	r := newRecorder()
	p := newTestPeers(t, Options{Handler: r})
	c, err := p.Get(background, s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	started := make(chan struct{})
	go func() {
		p.mu.Lock()
		_, d, err := p.ready(hang.Addr().String())
		p.mu.Unlock()
		close(started)
		if err == nil {
			<-d.done
			err = d.err
		}
		result <- err
	}()
	<-started
	p.Close()
	if err := <-result; !errors.Is(err, ErrConnClosed) {
		t.Errorf("dial got %v, want closed", err)
	}
	if c.Err() == nil || len(r.closed) != 1 {
		t.Errorf("connection ended with %v, Closed called %d times", c.Err(), len(r.closed))
	}
	if _, err := p.Get(background, s.Addr()); !errors.Is(err, ErrConnClosed) {
		t.Errorf("get got %v, want closed", err)
	}
	if err := p.Send(s.Addr(), numbered(1)); !errors.Is(err, ErrConnClosed) {
		t.Errorf("send got %v, want closed", err)
	}
	p.Close()
}

// Addresses that are no longer used do not pile up.
func TestPeersSweep(t *testing.T) {
	p := newTestPeers(t, Options{})
	p.mu.Lock()
	for i := range peersSweep {
		p.peers[fmt.Sprint("gone:", i)] = &peer{}
	}
	p.peers["backoff"] = &peer{retryAt: time.Now().Add(time.Hour)}
	p.sweep()
	if len(p.peers) != 1 || p.peers["backoff"] == nil {
		t.Errorf("%d entries left, want the one in backoff", len(p.peers))
	}
	p.mu.Unlock()
}
