//go:build linux && (amd64 || arm64)

package wire

import (
	"bytes"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// TestWriteEvents: a local connection hears of room to write only while its writer waits for some, and then it does.
func TestWriteEvents(t *testing.T) {
	addr := localAddr(t)
	got := make(inbox) // the reader stands still as long as nobody receives from it
	serve(t, Options{Handler: got, LocalAddr: addr})
	t.Cleanup(func() {
		if t.Failed() {
			go func() { // a handler that still waits can end
				for range got {
				}
			}()
		}
	})
	c, err := Dial(background, addr, withEntity(Options{}, "client.b"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.events == nil {
		t.Fatal("events are left as they are: what the runtime asks for, or how the kernel shows it, has changed")
	}
	asked := func() (on bool) {
		w := &writeEvents{ep: c.events.ep}
		if err := c.events.rc.Control(func(fd uintptr) { on = w.parse(int(fd)) }); err != nil {
			t.Fatal(err)
		}
		return on
	}
	eventually := func(what string, ok func() bool) {
		t.Helper()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		deadline := time.After(20 * time.Second)
		for !ok() {
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("%s: not within 20 s", what)
			}
		}
	}
	if asked() {
		t.Error("events are on while nobody writes")
	}
	for round := range 3 {
		const messages = 60
		size := []int{100_000, 30, pieceBytes + 1}[round]
		count := messages
		if round == 2 {
			count = 3
		}
		for i := range count {
			if err := c.Send(&Message{Header: &wirepb.Header{Epoch: uint64(i + 1)}, Payload: bytes.Repeat([]byte{byte(i)}, size)}); err != nil {
				t.Fatal(err)
			}
		}
		if size > 30 {
			eventually("the writer waits for room", asked)
		}
		for i := range count {
			m := <-got
			if m.Header.Epoch != uint64(i+1) || !bytes.Equal(m.Payload, bytes.Repeat([]byte{byte(i)}, size)) {
				t.Fatalf("message %d came as %d with %d bytes", i+1, m.Header.Epoch, len(m.Payload))
			}
		}
		eventually("events are off again", func() bool { return !asked() })
	}
}
