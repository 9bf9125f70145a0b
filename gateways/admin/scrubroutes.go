package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// scrubKinds are what can be asked for, with what it is for people.
var scrubKinds = []struct{ kind, about string }{
	{api.Scrub, "names, versions, sizes, attributes and omap"},
	{api.DeepScrub, "all bytes"},
	{api.Repair, "all bytes; where nothing tells which copy is right, the primary's is taken"},
}

func (s *Server) scrubRoutes() {
	type pgInput struct {
		ID string `path:"pgid" maxLength:"32" doc:"POOL.SHARD, the shard in hexadecimal: 1.2f"`
	}
	for _, k := range scrubKinds {
		order := wirepb.PGScrubStart{Deep: k.kind != api.Scrub, Repair: k.kind == api.Repair}
		handle(s, route{"POST", "/pgs/{pgid}/" + k.kind, k.kind + "-pg", "pgs", "Compare all copies soon: " + k.about, 0},
			func(ctx context.Context, in *pgInput) (api.ScrubStarted, error) {
				return s.scrubPG(ctx, in.ID, order.Deep, order.Repair)
			})
		handle(s, route{"POST", "/osds/{id}/" + k.kind, k.kind + "-osd", "osds", "The same for every placement group the OSD leads: " + k.about, 0},
			func(ctx context.Context, in *osdInput) (api.ScrubStarted, error) {
				if err := s.known(in.ID); err != nil {
					return api.ScrubStarted{}, err
				}
				return askOSD[api.ScrubStarted](ctx, s, placement.OSDID(in.ID), &wirepb.Header{Body: &wirepb.Header_PgScrubStart{
					PgScrubStart: &wirepb.PGScrubStart{All: true, Deep: order.Deep, Repair: order.Repair}}})
			})
	}
	handle(s, route{"GET", "/pgs/{pgid}/inconsistent", "list-inconsistent", "pgs", "Objects whose copies are known to differ", 0},
		func(ctx context.Context, in *pgInput) (api.Inconsistents, error) {
			id, to, err := s.primaryOf(in.ID)
			if err != nil {
				return api.Inconsistents{}, err
			}
			return askOSD[api.Inconsistents](ctx, s, to, &wirepb.Header{Body: &wirepb.Header_PgInconsistentList{
				PgInconsistentList: &wirepb.PGInconsistentList{Pool: uint32(id.Pool), Shard: id.Shard}}})
		})
}

func (s *Server) scrubPG(ctx context.Context, text string, deep, repair bool) (api.ScrubStarted, error) {
	id, to, err := s.primaryOf(text)
	if err != nil {
		return api.ScrubStarted{}, err
	}
	return askOSD[api.ScrubStarted](ctx, s, to, &wirepb.Header{Body: &wirepb.Header_PgScrubStart{
		PgScrubStart: &wirepb.PGScrubStart{Pool: uint32(id.Pool), Shard: id.Shard, Deep: deep, Repair: repair}}})
}

// primaryOf returns who leads a PG.
func (s *Server) primaryOf(text string) (placement.PGID, placement.OSDID, error) {
	v := s.view()
	id, err := s.pgID(v.Map, text)
	if err != nil {
		return id, placement.NoOSD, err
	}
	rec := v.Map.PG(id)
	if rec.Primary == placement.NoOSD {
		return id, placement.NoOSD, api.NewProblem(fmt.Errorf("PG %s has no primary to ask: %w", id, api.ErrTryLater), "it waits for "+v.waitsFor(rec))
	}
	return id, rec.Primary, nil
}

// askOSD asks an OSD for something that it answers with JSON.
func askOSD[T any](ctx context.Context, s *Server, to placement.OSDID, h *wirepb.Header) (T, error) {
	var out T
	if s.osdCall == nil {
		return out, api.NewProblem(fmt.Errorf("%s: this monitor cannot ask OSDs: %w", to, api.ErrUnsupported), "")
	}
	if !s.clusterMap().IsUp(to) {
		return out, api.NewProblem(fmt.Errorf("%s is down: %w", to, api.ErrTryLater), "see `cairn osd tree`")
	}
	raw, err := s.osdCall(ctx, to, h)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%s did not answer: %w", to, api.ErrTimeout)
		}
		var p *api.Problem
		if err = fail(err, "see `cairn pg ls`, then retry"); errors.As(err, &p) && p.Code == api.CodeInternal {
			return out, api.NewProblem(fmt.Errorf("%w: %s", api.ErrTryLater, p.Detail), "look at "+to.String()+" in `cairn osd tree`, then retry")
		}
		return out, err
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return out, api.NewProblem(fmt.Errorf("%s answered something that is not what was asked for: %v", to, err), "check that its version fits the monitors'")
	}
	return out, nil
}
