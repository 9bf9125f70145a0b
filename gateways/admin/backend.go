package admin

import (
	"context"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// Backend is what the REST front end needs of the monitor it runs in. The
// monitor implements it; errors wrap the conditions of this package
// (ErrNotFound, ErrExists, ErrConflict, ErrInvalid, ErrNoQuorum).
type Backend interface {
	// Map returns the newest map this monitor knows; never nil, never to be changed.
	Map() *placement.Map
	// Quorum describes the monitors as seen from here.
	Quorum() Quorum
	// Reports returns the newest report of each OSD. Only the leader has them:
	// other monitors pass the whole request on to Quorum().LeaderAdmin.
	Reports() map[placement.OSDID]OSDStatus
	// Services returns the gateways heard of lately; leader only.
	Services() []ServiceStatus

	// The changes return once they are committed and visible in Map.
	PoolCreate(ctx context.Context, p PoolSpec) (placement.PoolID, error)
	PoolSet(ctx context.Context, name, key, value string) error // size, min_size, application, crush_rule
	PoolRemove(ctx context.Context, name string) error
	OSDReweight(ctx context.Context, id placement.OSDID, weight uint32) error // 16.16; 0 out, WeightOne in
	OSDDown(ctx context.Context, id placement.OSDID) error
	FlagSet(ctx context.Context, f placement.Flags, on bool) error

	UserCreate(ctx context.Context, u *wirepb.User) (*wirepb.User, error) // makes keys when none are given
	UserGet(ctx context.Context, name string) (*wirepb.User, error)
	UserList(ctx context.Context) ([]*wirepb.User, error)
	UserRemove(ctx context.Context, name string) error
}

// PoolSpec is a pool to be made. Zero values mean the defaults: size 3 (fewer when the
// cluster has fewer failure domains is refused, not silently changed), min_size size-size/2,
// PGNum chosen from the number of OSDs, rule replicated_rule.
type PoolSpec struct {
	Name        string
	Size        uint32
	MinSize     uint32
	PGNum       uint32
	Rule        string
	Application string
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
}

// OSDRates are averages over the last few reports, per second.
type OSDRates struct{ ReadOps, WriteOps, ReadBytes, WriteBytes, RecoveredObjects, RecoveredBytes float64 }

// ServiceStatus is a gateway that sends beacons.
type ServiceStatus struct {
	Kind, Name, Addr string
	At               time.Time
}
