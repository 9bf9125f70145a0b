package admin

import (
	"context"
	"math"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/placement"
)

// Inputs do not embed each other: the library passes over embedded types that are not exported.
type osdInput struct {
	ID int32 `path:"id" minimum:"0" doc:"Number of the OSD"`
}

func (s *Server) osdRoutes() {
	handle(s, route{"GET", "/osds", "list-osds", "osds", "All OSDs", 0},
		func(context.Context, *none) ([]api.OSDInfo, error) { return s.view().OSDs(), nil })
	handle(s, route{"GET", "/osds/tree", "get-osd-tree", "osds", "The CRUSH hierarchy with the OSDs' states", 0},
		func(context.Context, *none) (api.OSDTree, error) { return s.view().OSDTree(), nil })
	handle(s, route{"GET", "/osds/df", "get-osd-df", "osds", "Space of the OSDs along the CRUSH hierarchy", 0},
		func(context.Context, *none) (api.OSDDF, error) { return s.view().OSDDF(), nil })
	handle(s, route{"GET", "/osds/stat", "get-osd-stat", "osds", "How many OSDs are up and in", 0},
		func(context.Context, *none) (api.OSDStat, error) { return s.view().OSDStat(), nil })
	handle(s, route{"GET", "/osds/{id}", "get-osd", "osds", "One OSD", 0},
		func(_ context.Context, in *osdInput) (api.OSDInfo, error) {
			for _, o := range s.view().OSDs() {
				if o.ID == int(in.ID) {
					return o, nil
				}
			}
			return api.OSDInfo{}, noOSD(in.ID)
		})
	act(s, route{"POST", "/osds/{id}/in", "mark-osd-in", "osds", "Let CRUSH choose the OSD", 0},
		func(ctx context.Context, in *osdInput) error { return s.setWeight(ctx, in.ID, placement.WeightOne) })
	act(s, route{"POST", "/osds/{id}/out", "mark-osd-out", "osds", "Move the OSD's data elsewhere", 0},
		func(ctx context.Context, in *osdInput) error { return s.setWeight(ctx, in.ID, 0) })
	act(s, route{"POST", "/osds/{id}/down", "mark-osd-down", "osds", "Mark the OSD down; a running one comes up again", 0},
		func(ctx context.Context, in *osdInput) error {
			if err := s.known(in.ID); err != nil {
				return err
			}
			if err := s.backend.OSDDown(ctx, placement.OSDID(in.ID)); err != nil {
				return fail(err, "see `cairn osd tree`")
			}
			return nil
		})
	act(s, route{"PUT", "/osds/{id}/reweight", "reweight-osd", "osds", "Give the OSD a share of its weight", 0},
		func(ctx context.Context, in *struct {
			ID   int32 `path:"id" minimum:"0" doc:"Number of the OSD"`
			Body api.Reweight
		}) error {
			return s.setWeight(ctx, in.ID, uint32(math.Round(in.Body.Weight*float64(placement.WeightOne))))
		})
}

func (s *Server) setWeight(ctx context.Context, id int32, weight uint32) error {
	if err := s.known(id); err != nil {
		return err
	}
	if err := s.backend.OSDReweight(ctx, placement.OSDID(id), weight); err != nil {
		return fail(err, "see `cairn osd tree`")
	}
	return nil
}

func (s *Server) known(id int32) error {
	if s.clusterMap().OSD(placement.OSDID(id)) == nil {
		return noOSD(id)
	}
	return nil
}

func noOSD(id int32) error { return notFound("see `cairn osd tree`", "osd.%d", id) }
