//go:build !linux

package wire

import (
	"net"
	"time"
)

func tuneSocket(int, time.Duration) {}

// tryWriter exists on Linux only; elsewhere the writer goroutine writes everything.
type tryWriter struct{}

func newTryWriter(net.Conn) *tryWriter { return nil }

func (*tryWriter) write(a, b []byte) (int, error) { return 0, nil }

func (*tryWriter) writeFrames([]frame) (int, error) { return 0, nil }
