// Package lab makes hosts out of the kernel's namespaces: each with an address of
// its own, a network between them that can be cut, made lossy and slow, and disks
// that can be filled and frozen. Programs that a host runs notice no difference to
// a machine.
//
// The network is a switch in this process: every host has a tun device whose packets
// the switch reads and writes to the tun device of the host they are for, or does
// not. So it needs no modules of the kernel (no netem, no filters), cuts links in one
// direction as easily as in both, and tells nobody. Packets are up to 64 KiB
// (segmentation is left to the receiver), so that it costs little; BenchmarkStream
// says how little. What is lost is lost in such pieces.
//
// Nothing here has a name that others could see: namespaces are held by a thread,
// devices by a descriptor, mounts by the namespace, loop devices by the mount. So
// everything is gone when this process is, however it ends.
//
// It refuses to run without root: see New.
package lab

import (
	"errors"
	"time"
)

// ErrUnsupported means that hosts cannot be made here; the error says why.
var ErrUnsupported = errors.New("no namespaces, tun devices or mounts of our own here")

// Link is how packets fare in one direction between two hosts. The zero value is
// a link without faults.
type Link struct {
	Cut   bool    // nothing arrives
	Loss  float64 // this fraction of packets is lost
	Delay time.Duration
	// Jitter is added to Delay, each packet another part of it. Packets stay in order.
	Jitter time.Duration
}

// Stats counts packets, one that was sent once.
type Stats struct {
	Packets, Bytes   uint64 // that arrived
	Cut, Lost        uint64 // by a cut link, by chance
	Delayed          uint64
	Overrun, Refused uint64 // too many delayed ones; for nobody's address
}
