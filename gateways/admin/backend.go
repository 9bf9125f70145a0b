package admin

import (
	"context"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// Backend is what the REST front end needs of the monitor it runs in. The
// monitor implements it; errors wrap the conditions of package api
// (ErrNotFound, ErrExists, ErrConflict, ErrInvalid, ErrNoQuorum, ErrTryLater).
type Backend interface {
	// Map returns the newest map this monitor knows; never nil, never to be changed.
	Map() *placement.Map
	// Quorum describes the monitors as seen from here.
	Quorum() api.Quorum
	// Reports returns the newest report of each OSD. Only the leader has them:
	// other monitors pass the whole request on to Quorum().LeaderAdmin.
	Reports() map[placement.OSDID]api.OSDStatus
	// Services returns the gateways heard of lately; leader only.
	Services() []api.ServiceStatus

	// The changes return once they are committed and visible in Map.
	PoolCreate(ctx context.Context, p api.PoolSpec) (placement.PoolID, error)
	PoolSet(ctx context.Context, name, key, value string) error // size, min_size, application, crush_rule
	PoolRemove(ctx context.Context, name string) error
	OSDReweight(ctx context.Context, id placement.OSDID, weight uint32) error // 16.16; 0 out, WeightOne in
	OSDDown(ctx context.Context, id placement.OSDID) error
	FlagSet(ctx context.Context, f placement.Flags, on bool) error
	OSDDrain(ctx context.Context, ids []placement.OSDID, on bool) error
	OSDRemove(ctx context.Context, id placement.OSDID) error
	CrushOSD(ctx context.Context, id placement.OSDID, class string, weight *uint32) error // "" and nil: as it is
	CrushMove(ctx context.Context, name string, location []string) error                  // TYPE=NAME
	ConfigSet(ctx context.Context, key, value string) error                               // "": the default again
	PGForce(ctx context.Context, f api.Forced) error
	// Audit returns what administrators did, oldest first.
	Audit() []api.AuditEntry

	UserCreate(ctx context.Context, u *wirepb.User) (*wirepb.User, error) // makes keys when none are given
	UserGet(ctx context.Context, name string) (*wirepb.User, error)
	UserList(ctx context.Context) ([]*wirepb.User, error)
	UserRemove(ctx context.Context, name string) error

	// Identity makes a call about identities. A refusal is an answer with a code.
	Identity(ctx context.Context, q *wirepb.IdentityCall) (*wirepb.IdentityReply, error)
}
