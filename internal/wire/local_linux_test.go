package wire

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
)

// localAddr is an address that nobody can be reached at but by a local connection.
func localAddr(t *testing.T) string {
	return fmt.Sprintf("192.0.2.1:7 of %s in %d", t.Name(), os.Getpid())
}

func network(c *Conn) string { return c.nc.RemoteAddr().Network() }

// A server that says by what address it is known gets local connections, which carry what others do.
func TestLocal(t *testing.T) {
	h := &echo{}
	addr := localAddr(t)
	s := serve(t, Options{Handler: h, LocalAddr: addr, InflightMax: 5, InflightBytes: 100_000})
	byTCP := dialTo(t, s, Options{})
	c, err := Dial(background, addr, withEntity(Options{QueueFrames: 7}, "client.b"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if network(c) != "unix" || network(byTCP) != "tcp" || c.RemoteAddr() != addr || byTCP.RemoteAddr() != s.Addr() {
		t.Errorf("connections by %s to %q and by %s to %q", network(c), c.RemoteAddr(), network(byTCP), byTCP.RemoteAddr())
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for _, n := range []int{0, 1, copyMax, inlineMax, localBuffer + 3, pieceBytes + 1} {
				payload := bytes.Repeat([]byte{byte(i), byte(n)}, n)[:n]
				m, err := c.Call(background, &Message{Header: opHeader(), Payload: payload})
				if err != nil {
					t.Errorf("%d bytes: %v", n, err)
					return
				}
				if !bytes.Equal(m.Payload, payload) {
					t.Errorf("%d bytes came back as %d other ones", n, len(m.Payload))
				}
				m.Release()
			}
		})
	}
	wg.Wait()
	numbers := map[uint64]string{}
	for _, at := range s.Conns() {
		numbers[at.Number()] = at.RemoteAddr()
	}
	if len(numbers) != 2 || numbers[2] != "this machine" {
		t.Errorf("the server's connections: %v; want the local one as number 2", numbers)
	}
	if _, err := Dial(background, addr, withEntity(Options{NoLocal: true}, "client.c")); err == nil {
		t.Error("connected to an address that does not exist without a local connection")
	}
	s.Close() // no more handler calls
	h.wg.Wait()
	if _, err := dialLocal(background, addr); err == nil {
		t.Error("a closed server takes local connections")
	}
}

// A server whose name somebody else has taken is there for TCP all the same, also if that one cannot shake hands.
func TestLocalNameTaken(t *testing.T) {
	tcp := listen(t)
	ln, err := listenLocal(tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var hungUp atomic.Int32
	go func() { // until ln is closed
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			hungUp.Add(1)
			nc.Close()
		}
	}()
	s := Serve(tcp, withEntity(Options{LocalAddr: tcp.Addr().String()}, "osd.1"))
	t.Cleanup(func() { s.Close() })
	if c := dialTo(t, s, Options{}); network(c) != "tcp" || hungUp.Load() != 1 {
		t.Errorf("connected by %s, after %d attempts with whoever has the name", network(c), hungUp.Load())
	}
}

// Whoever listens for a server must be root or ourselves.
func TestLocalListener(t *testing.T) {
	for _, c := range []struct {
		uid, own int
		want     bool
	}{{0, 0, true}, {0, 1000, true}, {1000, 1000, true}, {1000, 0, false}, {1001, 1000, false}, {65534, 0, false}} {
		if got := trusted(c.uid, c.own); got != c.want {
			t.Errorf("user %d trusts user %d: %v", c.own, c.uid, got)
		}
	}
	addr := localAddr(t)
	ln, err := listenLocal(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if nc, err := dialTrusted(background, addr, func(int) bool { return false }); err == nil {
		nc.Close()
		t.Error("connected to somebody who is not trusted")
	}
	nc, err := dialLocal(background, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if uid, err := peerUser(nc.(*net.UnixConn)); err != nil || uid != os.Geteuid() {
		t.Errorf("user %d listens (%v), want %d", uid, err, os.Geteuid())
	}
}
