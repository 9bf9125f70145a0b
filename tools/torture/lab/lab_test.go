package lab

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// open makes a lab, or says why there can be none here; nil then.
func open(tb testing.TB) *Lab {
	tb.Helper()
	l, err := New(1)
	if errors.Is(err, ErrUnsupported) {
		if os.Geteuid() == 0 {
			tb.Errorf("as root: %v", err)
		}
		tb.Log(err)
		return nil
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := l.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return l
}

func host(tb testing.TB, l *Lab, name string) *Host {
	tb.Helper()
	h, err := l.Host(name)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// echo answers connections to a host with what they send.
func echo(tb testing.TB, h *Host) (addr string) {
	tb.Helper()
	var ln net.Listener
	var err error
	h.Run(func() { ln, err = net.Listen("tcp", h.Addr+":7") })
	if err != nil {
		tb.Fatal(err)
	}
	go func() { // until the listener is closed
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { // until the connection is closed
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	tb.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}

func dial(tb testing.TB, h *Host, addr string) net.Conn {
	tb.Helper()
	c, err := h.Dial(context.Background(), "tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}

// turn sends b and reads it back.
func turn(tb testing.TB, c net.Conn, b []byte) {
	tb.Helper()
	sent := make(chan error, 1)
	go func() { // until sent
		_, err := c.Write(b)
		sent <- err
	}()
	got := make([]byte, len(b))
	_, err := io.ReadFull(c, got)
	if err := errors.Join(err, <-sent); err != nil {
		tb.Fatal(err)
	}
	if !bytes.Equal(got, b) {
		tb.Fatal("what came back is not what was sent")
	}
}

// TestNetwork: hosts reach each other, in small and large pieces; a cut in one
// direction stops both sides of a connection until it heals; loss and delay slow it
// and change nothing.
func TestNetwork(t *testing.T) {
	l := open(t)
	if l == nil {
		return
	}
	a, b, other := host(t, l, "a"), host(t, l, "b"), host(t, l, "other")
	addr := echo(t, b)
	c := dial(t, a, addr)
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	turn(t, c, []byte("hello"))
	turn(t, c, big)

	for _, way := range []struct {
		name     string
		from, to *Host
	}{{"there", a, b}, {"back", b, a}} {
		l.Link(way.from, way.to, Link{Cut: true})
		before := l.Stats()
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("cut %s: read %d bytes, %v; want nothing", way.name, n, err)
		}
		turn(t, dial(t, other, addr), []byte("the others reach it"))
		if cut := l.Stats().Cut; cut == before.Cut {
			t.Errorf("cut %s: no packet was stopped", way.name)
		}
		l.Heal()
		if err := c.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}

	l.Link(a, b, Link{Loss: 0.1})
	l.Link(b, a, Link{Loss: 0.1})
	for range 30 {
		turn(t, c, []byte("a short message"))
	}
	if l.Stats().Lost == 0 {
		t.Error("no packet was lost of more than 60")
	}

	const delay = 20 * time.Millisecond
	l.Link(a, b, Link{Delay: delay, Jitter: delay})
	l.Link(b, a, Link{Delay: delay})
	began := time.Now()
	turn(t, c, []byte("x"))
	if took := time.Since(began); took < 2*delay {
		t.Errorf("an answer over links of %s each came after %s", delay, took)
	}
	turn(t, c, big)
	if l.Stats().Delayed == 0 {
		t.Error("no packet was delayed")
	}
}

// TestDisk: a disk has a size, is its host's alone, can be filled, frozen and wiped.
func TestDisk(t *testing.T) {
	dir := t.TempDir()
	l := open(t)
	if l == nil {
		return
	}
	h := host(t, l, "h")
	d, err := h.Mount(filepath.Join(dir, "mnt"), filepath.Join(dir, "image"), 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	write := func(n int) (err error) {
		h.Run(func() { err = os.WriteFile(filepath.Join(d.Dir, "x"), make([]byte, n), 0o600) })
		return err
	}
	if err := write(8 << 20); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(d.Dir, "x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file of the host's disk, seen from elsewhere: %v; want none", err)
	}
	if err := d.Fill(1 << 20); err != nil {
		t.Fatal(err)
	}
	if free, err := d.Free(); err != nil || free > 1<<20 {
		t.Errorf("%d bytes free on a filled disk, %v", free, err)
	}
	if err := write(16 << 20); err == nil {
		t.Error("16 MiB fit on a disk with 9 MiB of room")
	}
	if err := d.Empty(); err != nil {
		t.Fatal(err)
	}
	if err := write(16 << 20); err != nil {
		t.Error(err)
	}

	if err := d.Freeze(); err != nil {
		t.Fatal(err)
	}
	var f *os.File
	h.Run(func() { f, err = os.OpenFile(filepath.Join(d.Dir, "x"), os.O_RDWR, 0) })
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	wrote := make(chan error, 1)
	go func() { // until the disk is thawed
		_, err := f.WriteAt([]byte("x"), 0)
		wrote <- err
	}()
	select {
	case err := <-wrote:
		t.Errorf("a write to a frozen disk ended, with %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	if err := d.Thaw(); err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	if err := d.Wipe(); err != nil {
		t.Fatal(err)
	}
	h.Run(func() { _, err = os.Stat(filepath.Join(d.Dir, "x")) })
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after a wipe: %v", err)
	}
}

// BenchmarkStream measures how much goes through the switch, in one direction.
func BenchmarkStream(b *testing.B) {
	l := open(b)
	if l == nil {
		return
	}
	from, to := host(b, l, "from"), host(b, l, "to")
	var ln net.Listener
	var err error
	to.Run(func() { ln, err = net.Listen("tcp", to.Addr+":7") })
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	got := make(chan int64, 1)
	go func() { // until the sender closes
		c, err := ln.Accept()
		if err != nil {
			return
		}
		n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, c, make([]byte, 1<<20))
		c.Close()
		got <- n
	}()
	c := dial(b, from, ln.Addr().String())
	piece := make([]byte, 1<<20)
	b.SetBytes(int64(len(piece)))
	for b.Loop() {
		if _, err := c.Write(piece); err != nil {
			b.Fatal(err)
		}
	}
	c.Close()
	if n := <-got; n != int64(b.N)*int64(len(piece)) {
		b.Fatalf("%d bytes arrived of %d", n, b.N*len(piece))
	}
}

// BenchmarkTurn measures a small message and its answer.
func BenchmarkTurn(b *testing.B) {
	l := open(b)
	if l == nil {
		return
	}
	c := dial(b, host(b, l, "a"), echo(b, host(b, l, "b")))
	piece := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(piece); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, piece); err != nil {
			b.Fatal(err)
		}
	}
}
