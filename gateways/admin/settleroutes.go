package admin

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

func (s *Server) settleRoutes() {
	handle(s, route{"GET", "/pools/{name}/settle", "get-pool-settle", "pools", "How far settling is: making chunks of what objects have themselves", 0},
		func(ctx context.Context, in *nameInput) (api.SettleStatus, error) { return s.settle(ctx, in.Name, -1) })
	handle(s, route{"POST", "/pools/{name}/settle", "settle-pool", "pools", "Look at all objects of a pool soon, and make chunks of what they have themselves", 0},
		func(ctx context.Context, in *struct {
			Name string `path:"name" minLength:"1" maxLength:"255"`
			Body api.SettleStart
		}) (api.SettleStatus, error) {
			return s.settle(ctx, in.Name, time.Duration(in.Body.IdleSeconds*float64(time.Second)))
		})
}

// settle asks all OSDs that are up, which lead the pool's PGs. A negative idle begins nothing.
func (s *Server) settle(ctx context.Context, name string, idle time.Duration) (api.SettleStatus, error) {
	p := s.clusterMap().PoolByName(name)
	if p == nil {
		return api.SettleStatus{}, notFound(seePools, "pool %q", name)
	}
	if p.Chunks.IsZero() {
		return api.SettleStatus{}, invalid("see `cairn pool set NAME chunks`", "pool %q makes no chunks", name)
	}
	var sum api.SettleStatus
	var waiting []string
	ask := &wirepb.ChunkCare{What: "settle", Pool: uint32(p.ID), MinAgeNs: int64(idle)}
	silent := eachOSD(ctx, s, &wirepb.Header{Body: &wirepb.Header_ChunkCare{ChunkCare: ask}}, func(id placement.OSDID, a settleAnswer) {
		sum.PGs += a.PGs
		sum.Pending += a.Pending
		sum.Objects += a.Objects
		sum.Settled += a.Settled
		sum.Chunks += a.Chunks
		sum.Bytes += a.Bytes
		sum.Conflicts += a.Conflicts
		sum.Failed += a.Failed
		if a.Waiting != "" {
			waiting = append(waiting, fmt.Sprintf("%s: %s", id, a.Waiting))
		}
	})
	sum.Waiting = append(silent, waiting...)
	slices.Sort(sum.Waiting)
	return sum, nil
}

// settleAnswer is what one OSD says: chunkcare.SettleStatus.
type settleAnswer struct {
	PGs       int    `json:"pgs"`
	Pending   int    `json:"pending"`
	Objects   int64  `json:"objects"`
	Settled   int64  `json:"settled"`
	Chunks    int64  `json:"chunks"`
	Bytes     int64  `json:"bytes"`
	Conflicts int64  `json:"conflicts"`
	Failed    int64  `json:"failed"`
	Waiting   string `json:"waiting"`
}
