package wire

import (
	"context"
	"log/slog"
	"net"
	"time"
)

// Limits of one frame. A peer that announces more is cut off.
const (
	MaxHeader  = 1 << 20  // bytes of an encoded header
	MaxPayload = 80 << 20 // bytes of a payload
)

// Versions of the protocol this package speaks.
const (
	VersionMin = 1
	VersionMax = 1
)

// Options configures Dial, Serve and NewPeers. The zero value of every field
// means "use the default".
type Options struct {
	Self    Identity      // what the peer is told about this side
	Handler Handler       // nil: inbound requests are answered UNSUPPORTED, one-way messages dropped
	Log     *slog.Logger  // default slog.Default()
	Epoch   func() uint64 // stamped into headers that have no epoch; nil: 0. Called often, must be cheap

	// LocalAddr is the address that a server is known by. Those who dial it on the same machine, in the same network
	// namespace, get a Unix socket, which costs much less CPU than TCP. Empty: nobody does. Linux only.
	LocalAddr string
	NoLocal   bool // Dial makes no local connections

	Dial             DialFunc      // makes connections; default net.Dialer's. Tests have other networks
	DialTimeout      time.Duration // to connect; default 5 s
	HandshakeTimeout time.Duration // from connected to established; default 10 s
	CallTimeoutMax   time.Duration // a Call gives up after this even if its context does not; default 5 min, negative: never
	StallTimeout     time.Duration // a peer that does not take the next piece (at most 4 MiB) of what is to be written is cut off; default 2 min, negative: never

	QueueFrames   int    // frames waiting to be written per connection; default 4096
	QueueBytes    int    // bytes waiting to be written per connection (one frame is always allowed); default 128 MiB
	InflightMax   int    // requests of the peer that may be unanswered before reading stops; default 1024
	InflightBytes int    // payload bytes of those requests and of their unwritten replies; default 256 MiB
	ConnsMax      int    // connections of a Server; default 8192
	Features      uint64 // feature bits this side understands
	Required      uint64 // feature bits the peer must understand
	// Unreachable is told by Peers that a dial failed: messages sent to addr meanwhile are lost. It must not block.
	Unreachable    func(addr string, err error)
	NoPayloadCheck bool // send payloads without a checksum (the stream is already protected, or the payload carries its own)

	versionMin, versionMax uint32 // set by tests only
}

// DialFunc is net.Dialer's DialContext.
type DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// Values that nobody has needed to change yet.
const (
	flushTimeout   = time.Second // Close lets queued frames leave for at most this long
	inlineMax      = 64 << 10    // larger frames are left to the writer, but for that of a Call that nothing else waits beside
	copyMax        = 16 << 10    // smaller payloads are copied behind their header, larger ones written from where they are
	errorTextMax   = 4 << 10     // bytes of error text in a reply
	entityMax      = 256         // bytes of an entity name
	helloMax       = 64 << 10    // bytes of a handshake message
	handshakesMax  = 512         // handshakes a Server has under way at once
	readBufferSize = 64 << 10
	fillBytes      = 256 << 10 // of a payload read before they are checksummed: less than a processor's own cache
)

// withDefaults returns a filled copy.
func (o Options) withDefaults() *Options {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	setDefault(&o.DialTimeout, 5*time.Second)
	setDefault(&o.HandshakeTimeout, 10*time.Second)
	setDefault(&o.CallTimeoutMax, 5*time.Minute)
	setDefault(&o.StallTimeout, 2*time.Minute)
	setDefault(&o.QueueFrames, 4096)
	setDefault(&o.QueueBytes, 128<<20)
	setDefault(&o.InflightMax, 1024)
	setDefault(&o.InflightBytes, 256<<20)
	setDefault(&o.ConnsMax, 8192)
	setDefault(&o.versionMin, VersionMin)
	setDefault(&o.versionMax, VersionMax)
	return &o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
