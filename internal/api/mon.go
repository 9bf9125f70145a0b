package api

import (
	"errors"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// The conditions that changes and questions of the monitors end in. Callers test
// with errors.Is; the text of the wrapping error is for people.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("exists already")
	ErrConflict = errors.New("conflict")        // the state does not allow it now, or it changed meanwhile
	ErrInvalid  = errors.New("invalid")         // the request makes no sense or is over a limit
	ErrNoQuorum = errors.New("no quorum")       // no leading monitor; retry
	ErrTryLater = errors.New("try again later") // refused for now; the text says for how long
)

// PoolSpec is a pool to be made. Zero values mean the defaults: size 3, or more if the chunks' redundancy wants it (fewer
// when the cluster has fewer failure domains is refused, not silently changed), min_size size-size/2,
// PGNum chosen from the number of OSDs, rule replicated_rule, no chunks.
type PoolSpec struct {
	Name        string
	Size        uint32
	MinSize     uint32
	PGNum       uint32
	Rule        string
	Application string
	Autoscale   string // on, off or warn; default on, or off if PGNum is given
	Chunks      string // redundancy, such as 4:2:rs; without it nothing of what follows
	Dedup       string // default tenant
	Cut         string // default fixed
	ChunkSize   uint32 // default 1 MiB
	Compression string // default none
}

// Quorum is the state of the monitors.
type Quorum struct {
	Self        string
	Leader      string // "" when there is none
	LeaderAdmin string // REST address of the leader
	Members     []QuorumMember
	Term        uint64
	LeaderSince time.Time // as seen by this monitor
}

// QuorumMember is one monitor.
type QuorumMember struct {
	Name, Addr, RaftAddr, AdminAddr string
	InQuorum                        bool // heard from lately (leader's view) or, elsewhere, a voter
}

// OSDStatus is an OSD's newest report.
type OSDStatus struct {
	Report *wirepb.OSDReport
	At     time.Time
	Rates  OSDRates
	Slow   *SlowDevice // what its device was last found slow in, nil if this leader has not
}

// SlowDevice is in what a device is slower than others of its class.
type SlowDevice struct {
	Kind          string // of work
	P50, PeersP50 time.Duration
	P99, PeersP99 time.Duration // zero: not compared
	Peers         int
	Since         time.Time
}

// OSDRates are averages over the last few reports, per second.
type OSDRates struct{ ReadOps, WriteOps, ReadBytes, WriteBytes, RecoveredObjects, RecoveredBytes float64 }

// ServiceStatus is a gateway that sends beacons.
type ServiceStatus struct {
	Kind, Name, Addr string
	At               time.Time
	Chunks           *wirepb.ServiceChunks // what it has done with them; nil: it does not say
}
