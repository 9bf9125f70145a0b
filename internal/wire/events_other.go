//go:build !linux || (!amd64 && !arm64)

package wire

import "net"

// writeEvents is a means against needless events that only Linux has.
type writeEvents struct{}

func newWriteEvents(net.Conn) *writeEvents { return nil }

func (*writeEvents) listen(bool) error { return nil }
