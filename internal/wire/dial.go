package wire

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"time"
)

// A dead machine is noticed after keepIdle + keepCount*keepInterval even when
// nothing is being sent.
const (
	keepIdle     = 15 * time.Second
	keepInterval = 5 * time.Second
	keepCount    = 4
)

// Dial connects to the messenger at addr ("host:port") and shakes hands. If a server of
// this machine is known by that address and takes local connections, it becomes one. ctx
// bounds the dialling only.
func Dial(ctx context.Context, addr string, o Options) (*Conn, error) {
	return dial(ctx, addr, o.withDefaults(), nil)
}

// dial is Dial with a function to run when the connection is all over; nil for none.
func dial(ctx context.Context, addr string, o *Options, finished func(*Conn)) (*Conn, error) {
	d := net.Dialer{
		Timeout:         o.DialTimeout,
		KeepAliveConfig: keepAlive(),
		Control: func(_, _ string, rc syscall.RawConn) error {
			return rc.Control(func(fd uintptr) { tuneSocket(int(fd), o.StallTimeout) })
		},
	}
	connect := d.DialContext
	if o.Dial != nil {
		connect = func(ctx context.Context, network, addr string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
			defer cancel()
			return o.Dial(ctx, network, addr)
		}
	}
	if o.Dial == nil && !o.NoLocal {
		if nc, err := dialLocal(ctx, addr); err == nil {
			if c, err := greet(ctx, nc, addr, o, finished); err == nil {
				return c, nil
			} // whoever listens there need not be whom others mean by the address
		}
	}
	nc, err := connect(ctx, "tcp", addr)
	if err != nil {
		if cause := ctx.Err(); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	if o.Dial != nil {
		tuneAccepted(nc, o)
	}
	return greet(ctx, nc, addr, o, finished)
}

// greet shakes hands with the server at the other end of a new connection.
func greet(ctx context.Context, nc net.Conn, addr string, o *Options, finished func(*Conn)) (*Conn, error) {
	h := newHandshake(nc, o)
	a, err := h.run(ctx, h.dial)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("handshake with %s: %w", addr, err)
	}
	return startConn(nc, h.fr, a, o, finished), nil
}

func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: keepIdle, Interval: keepInterval, Count: keepCount}
}

// tuneAccepted gives a connection that we did not make the options that Dial sets.
func tuneAccepted(nc net.Conn, o *Options) {
	tuneLocal(nc)
	tc, ok := nc.(*net.TCPConn)
	if !ok {
		return
	}
	_ = tc.SetNoDelay(true)
	_ = tc.SetKeepAliveConfig(keepAlive())
	if rc, err := tc.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) { tuneSocket(int(fd), o.StallTimeout) })
	}
}
