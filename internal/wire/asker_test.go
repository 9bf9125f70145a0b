package wire

import (
	"errors"
	"testing"
	"testing/synctest"
)

// Abandon ends the Call of the last Attach wherever that is, leaves nothing behind and does nothing to one that has
// its answer; in every case the Asker can be used again.
func TestAbandon(t *testing.T) {
	for _, tt := range []struct {
		name    string
		full    bool // the queue has no room
		abandon func(a *Asker, c, peer *Conn, got *recorder) (late bool)
	}{
		{name: "nobody answers", abandon: func(a *Asker, _, _ *Conn, r *recorder) bool {
			<-r.got
			a.Abandon()
			a.Abandon()
			return false
		}},
		{name: "it waits for room", full: true, abandon: func(a *Asker, _, _ *Conn, _ *recorder) bool {
			a.Abandon()
			return false
		}},
		{name: "it is answered", abandon: func(a *Asker, _, peer *Conn, r *recorder) bool {
			_ = peer.Reply(<-r.got, nil)
			synctest.Wait()
			a.Abandon()
			return true
		}},
		{name: "the connection ends", abandon: func(a *Asker, c, _ *Conn, r *recorder) bool {
			<-r.got
			c.fail(errors.New("broken"))
			a.Abandon()
			return true
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder()
				h := stuck{make(chan struct{})}
				if tt.full {
					r.handle = func(*Conn, *Message) { <-h.c }
				}
				c, peer := pipe(t, Options{QueueFrames: 1}, Options{Handler: r})
				if tt.full {
					for range 2 {
						if err := c.Send(&Message{Payload: make([]byte, 200_000)}); err != nil {
							t.Fatal(err)
						}
						synctest.Wait()
					}
				}
				var a Asker
				a.Attach(c)
				ended := make(chan error)
				call := func() {
					_, err := a.Call(background, numbered(1))
					ended <- err
				}
				go call() // until its end is received
				synctest.Wait()
				late := tt.abandon(&a, c, peer, r)
				if err := <-ended; errors.Is(err, ErrAbandoned) == late {
					t.Errorf("got %v", err)
				}
				if n := c.Stats().Pending; n != 0 {
					t.Errorf("%d calls wait", n)
				}
				close(h.c)

				r = newRecorder()
				c, peer = pipe(t, Options{}, Options{Handler: r})
				a.Attach(c)
				a.Abandon() // before it is sent
				go call()
				if err := <-ended; !errors.Is(err, ErrAbandoned) {
					t.Errorf("abandoned before it is sent: got %v", err)
				}
				a.Attach(c)
				go call()
				if err := peer.Reply(<-r.got, nil); err != nil {
					t.Fatal(err)
				}
				if err := <-ended; err != nil {
					t.Errorf("the next one: %v", err)
				}
				if n := len(r.got); n != 0 {
					t.Errorf("%d messages more have come", n)
				}
			})
		})
	}
}
