package api

import (
	"context"
	"net/http"
)

// SettleStatus is how settling is in a pool: making chunks of what objects have themselves. Counts are since the OSDs started.
type SettleStatus struct {
	PGs       int      `json:"pgs" doc:"That OSDs care for now"`
	Pending   int      `json:"pending" doc:"Of those, to be looked at because somebody asked, or being looked at"`
	Objects   int64    `json:"objects" doc:"Looked at"`
	Settled   int64    `json:"settled" doc:"Of them something became chunks"`
	Chunks    int64    `json:"chunks" doc:"That objects were made to refer to"`
	Bytes     int64    `json:"bytes" doc:"Of these chunks"`
	Conflicts int64    `json:"conflicts" doc:"Objects that were written meanwhile, and wait for the next look"`
	Failed    int64    `json:"failed" doc:"Objects left out for another reason; the OSDs' logs say which and why"`
	Waiting   []string `json:"waiting" doc:"What failed last and is tried again, and OSDs that did not answer"`
}

// SettleStart asks for a pool to be settled.
type SettleStart struct {
	IdleSeconds float64 `json:"idle_seconds,omitempty" minimum:"0" maximum:"31536000" doc:"Only objects that were not written for so long"`
}

// PoolSettle has all objects of a pool be looked at soon, whatever the settings of settling, and returns at once.
func (c *Client) PoolSettle(ctx context.Context, pool string, s SettleStart) (SettleStatus, error) {
	var out SettleStatus
	err := c.call(ctx, http.MethodPost, Prefix+"/pools"+seg(pool)+"/settle", nil, s, &out)
	return out, err
}

// PoolSettleStatus returns how settling is in a pool.
func (c *Client) PoolSettleStatus(ctx context.Context, pool string) (SettleStatus, error) {
	return get[SettleStatus](ctx, c, "/pools"+seg(pool)+"/settle", nil)
}
