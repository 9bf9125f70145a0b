package wire

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/cairnstore/cairn/internal/slab"
)

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>12)
	}
	return b
}

// keeper keeps what it gets.
type keeper struct{ got chan *Message }

func (k keeper) Handle(_ *Conn, m *Message) { k.got <- m }
func (keeper) Closed(*Conn, error)          {}

// TestPayloadSums: a payload arrives in counted memory with the sums of its blocks, and goes on
// with them, whole or from one of its blocks on.
func TestPayloadSums(t *testing.T) {
	k := keeper{make(chan *Message, 1)}
	s := serve(t, Options{Handler: k})
	c := dialTo(t, s, Options{})
	for _, n := range []int{1, 4096, 5000, 70000, 1<<20 + 1, 4 << 20, slab.MaxPooled + 4097} {
		want := pattern(n)
		m := &Message{Header: opHeader(), Payload: want}
		for hop := range 3 {
			if err := c.Send(m); err != nil {
				t.Fatal(err)
			}
			got := <-k.got
			if !bytes.Equal(got.Payload, want) {
				t.Fatalf("%d bytes: hop %d: they differ", n, hop)
			}
			if got.Mem.SumsOf(got.Payload) == nil {
				t.Fatalf("%d bytes: hop %d: arrived without sums", n, hop)
			}
			m.Release()
			m = got
		}
		if n > 8192 {
			if err := c.Send(&Message{Header: opHeader(), Payload: m.Payload[4096:], Mem: m.Mem}); err != nil {
				t.Fatal(err)
			}
			part := <-k.got
			if !bytes.Equal(part.Payload, want[4096:]) {
				t.Fatalf("%d bytes: a part differs", n)
			}
			part.Release()
		}
		m.Release()
	}
}

// TestDamageBetweenHops: memory that changes after it was verified is not sent on with a fresh,
// fitting checksum: whoever gets it notices.
func TestDamageBetweenHops(t *testing.T) {
	k := keeper{make(chan *Message, 1)}
	s := serve(t, Options{Handler: k})
	c := dialTo(t, s, Options{})
	if err := c.Send(&Message{Header: opHeader(), Payload: pattern(100_000)}); err != nil {
		t.Fatal(err)
	}
	m := <-k.got
	m.Payload[70_000] ^= 1
	if err := c.Send(m); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	select {
	case <-k.got:
		t.Fatal("damaged payload was delivered")
	default:
	}
}

// TestMemoryWhileWritten: memory that its owner has released while the peer does not read it yet
// is not reused until it has left; and it is when the connection ends before.
func TestMemoryWhileWritten(t *testing.T) {
	slab.Poison()
	c, p := rawAccept(t, Options{})
	const n, frames = 4 << 20, 4 // more than the sockets hold
	for i := range frames {
		m := NewMessage(opHeader(), n)
		copy(m.Payload, pattern(n))
		m.Payload[0] = byte(i)
		if err := c.Send(m); err != nil {
			t.Fatal(err)
		}
		m.Release()
	}
	other := NewMessage(opHeader(), n) // would be of the same memory
	clear(other.Payload)
	want := pattern(n)
	for i := range frames {
		want[0] = byte(i)
		if got := p.next(t); !bytes.Equal(got.Payload, want) {
			t.Fatalf("frame %d was overwritten before it was written", i)
		}
	}
	other.Release()

	var mems []*slab.Buf
	for range frames {
		m := NewMessage(opHeader(), n)
		mems = append(mems, m.Mem)
		if err := c.Send(m); err != nil {
			t.Fatal(err)
		}
		m.Release()
	}
	c.Close()
	<-c.finished
	for i, mem := range mems {
		if mem.Bytes() != nil {
			t.Errorf("frame %d: its memory is still in use after the connection has ended", i)
		}
	}
}

// TestHostilePayload: a payload that ends early, or is not what its checksum says, closes the
// connection whatever its size, and its memory comes back.
func TestHostilePayload(t *testing.T) {
	for _, n := range []int{10, 4096, 300_000, 4 << 20, slab.MaxPooled + 1} {
		f, err := encode(kindMessage, &Message{Header: opHeader(), Payload: pattern(n)}, stamp{}, false)
		if err != nil {
			t.Fatal(err)
		}
		frame := append(bytes.Clone(f.head), f.payload...)
		for what, spoil := range map[string]func([]byte) []byte{
			"short":     func(b []byte) []byte { return b[:len(b)-1] },
			"cut early": func(b []byte) []byte { return b[:len(b)-n+1] },
			"flipped":   func(b []byte) []byte { b[len(b)-n/2] ^= 4; return b },
			"last byte": func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		} {
			k := keeper{make(chan *Message, 1)}
			s := serve(t, Options{Handler: k})
			p := rawDial(t, s)
			go func() { // ends when the server has closed
				_, _ = p.Write(spoil(bytes.Clone(frame)))
				_ = p.Conn.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(io.Discard, p) // until the server closes
			s.Close()
			select {
			case <-k.got:
				t.Errorf("%d bytes, %s: delivered", n, what)
			default:
			}
		}
	}
}
