//go:build !linux

package wire

import (
	"context"
	"errors"
	"net"
)

// Abstract names of Unix sockets, which vanish with their process, are Linux's.
func listenLocal(string) (net.Listener, error)            { return nil, errors.ErrUnsupported }
func dialLocal(context.Context, string) (net.Conn, error) { return nil, errors.ErrUnsupported }
func tuneLocal(net.Conn)                                  {}
func remoteOf(nc net.Conn) string                         { return nc.RemoteAddr().String() }
