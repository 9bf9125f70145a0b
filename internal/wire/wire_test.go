package wire

import (
	"bytes"
	"context"
	"net"
	"testing"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

type echo struct{}

func (echo) Handle(c *Conn, m *Message) {
	_ = c.Reply(m, &Message{Header: &wirepb.Header{Body: &wirepb.Header_Ack{Ack: &wirepb.Ack{}}}, Payload: m.Payload})
}
func (echo) Closed(*Conn, error) {}

func TestCallEcho(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Serve(ln, Options{Self: Identity{Entity: "osd.1"}, Handler: echo{}})
	c, err := Dial(context.Background(), s.Addr(), Options{Self: Identity{Entity: "client.a"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 10, 4096, 20000, 1 << 20, 12 << 20, MaxPayload} {
		p := bytes.Repeat([]byte{7}, n)
		m, err := c.Call(context.Background(), &Message{Header: &wirepb.Header{Body: &wirepb.Header_Op{Op: &wirepb.OpRequest{Pool: 1}}}, Payload: p})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(m.Payload, p) {
			t.Fatal(n)
		}
	}
	if _, err := c.Ping(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.Close()
	s.Close()
}
