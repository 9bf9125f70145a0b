package wire

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

// A connection that Options.Dial makes is as good as one of our own, and is given
// up after DialTimeout.
func TestDialOption(t *testing.T) {
	s := serve(t, Options{})
	dials := 0
	dialTo(t, s, Options{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials++
		return new(net.Dialer).DialContext(ctx, network, addr)
	}})
	if dials != 1 {
		t.Errorf("%d calls of Options.Dial, want 1", dials)
	}
	_, err := Dial(context.Background(), s.Addr(), withEntity(Options{
		DialTimeout: time.Millisecond,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done() // nobody answers
			return nil, ctx.Err()
		},
	}, "client.a"))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("dial that hangs: %v, want the deadline", err)
	}
}
