package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/placement"
)

// none is the input or output of an operation that has none.
type none struct{}

// out is an answer with a body.
type out[T any] struct{ Body T }

// route describes one operation for the document.
type route struct {
	method, path, id, tag, summary string
	status                         int // of success; default 200
}

// handle registers an operation whose answer is a T.
func handle[I, T any](s *Server, r route, f func(context.Context, *I) (T, error)) {
	huma.Register(s.api, s.operation(r), func(ctx context.Context, in *I) (*out[T], error) {
		v, err := f(ctx, in)
		if err != nil {
			return nil, err
		}
		return &out[T]{Body: v}, nil
	})
}

// act registers an operation that answers nothing.
func act[I any](s *Server, r route, f func(context.Context, *I) error) {
	r.status = http.StatusNoContent
	huma.Register(s.api, s.operation(r), func(ctx context.Context, in *I) (*none, error) {
		return nil, f(ctx, in)
	})
}

func (s *Server) operation(r route) huma.Operation {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	schema := s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.Problem](), true, "Problem")
	return huma.Operation{
		OperationID: r.id, Method: r.method, Path: api.Prefix + r.path, Summary: r.summary, Tags: []string{r.tag},
		DefaultStatus: r.status, MaxBodyBytes: maxBodyBytes,
		Responses: map[string]*huma.Response{
			"default": {Description: "What went wrong, why, and what to do about it",
				Content: map[string]*huma.MediaType{"application/problem+json": {Schema: schema}}},
		},
	}
}

// pgState is JSON passed on as it came: numbers in it may not fit a float.
type pgState json.RawMessage

// MarshalJSON returns the JSON unchanged.
func (p pgState) MarshalJSON() ([]byte, error) { return json.RawMessage(p).MarshalJSON() }

// Schema says that it is some object.
func (pgState) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// routes registers everything under /api/v1.
func (s *Server) routes() {
	s.stateRoutes()
	s.osdRoutes()
	s.pgRoutes()
	s.scrubRoutes()
	s.settleRoutes()
	s.careRoutes()
	s.chunkRoutes()
	s.poolRoutes()
	s.userRoutes()
	s.identityRoutes()
	s.bucketRoutes()
	s.undeleteRoutes()
	s.bucketCareRoutes()
	s.kmsRoutes()
	s.adminRoutes()
}

func (s *Server) stateRoutes() {
	handle(s, route{"GET", "/status", "get-status", "cluster", "Overview of the cluster", 0},
		func(context.Context, *none) (api.Status, error) { return s.observe().Status(), nil })
	handle(s, route{"GET", "/health", "get-health", "cluster", "What is wrong with the cluster", 0},
		func(context.Context, *none) (api.Health, error) {
			v := s.observe()
			h := v.Health()
			h.Progress = v.Progress
			return h, nil
		})
	handle(s, route{"GET", "/df", "get-df", "cluster", "Space of the cluster and of its pools", 0},
		func(context.Context, *none) (api.DF, error) { return s.view().DF(), nil })
	handle(s, route{"GET", "/mons", "list-mons", "cluster", "Monitors and quorum", 0},
		func(context.Context, *none) (api.MonStat, error) { return s.view().Mons(), nil })
	handle(s, route{"GET", "/map", "get-map", "cluster", "The cluster map, with the CRUSH map as text", 0},
		func(_ context.Context, in *struct {
			PGs bool `query:"pgs" doc:"Add the PG records"`
		}) (api.Map, error) {
			return s.view().mapJSON(in.PGs), nil
		})
	handle(s, route{"GET", "/map/locate", "locate-object", "cluster", "Where an object lives", 0},
		func(_ context.Context, in *struct {
			Pool   string `query:"pool" required:"true" minLength:"1" maxLength:"255"`
			Object string `query:"object" required:"true" minLength:"1" maxLength:"1024"`
		}) (api.Location, error) {
			return s.locate(in.Pool, in.Object)
		})
	type flagInput struct {
		Flag string `path:"flag" enum:"noout,pause,nodown,norebalance,norecover,nobackfill,noscrub,nodeep-scrub" doc:"noout: down OSDs are not marked out; pause: clients wait; nodown: silent OSDs are not marked down; norebalance: whole copies do not move; norecover: missing copies are not made again; nobackfill: nor by scanning; noscrub, nodeep-scrub: none begin by themselves"`
	}
	handle(s, route{"GET", "/flags", "list-flags", "cluster", "The flags that are set", 0},
		func(context.Context, *none) ([]string, error) { return flagNames(s.clusterMap().Flags), nil })
	set := func(on bool) func(ctx context.Context, in *flagInput) error {
		return func(ctx context.Context, in *flagInput) error {
			f, ok := placement.FlagByName(in.Flag)
			if !ok {
				return notFound("the flags are "+strings.Join(placement.AllFlags.FlagNames(), ", "), "flag %q", in.Flag)
			}
			if err := s.backend.FlagSet(ctx, f, on); err != nil {
				return fail(err, "")
			}
			return nil
		}
	}
	act(s, route{"PUT", "/flags/{flag}", "set-flag", "cluster", "Set a flag", 0}, set(true))
	act(s, route{"DELETE", "/flags/{flag}", "unset-flag", "cluster", "Unset a flag", 0}, set(false))
}

func (s *Server) pgRoutes() {
	handle(s, route{"GET", "/pgs", "list-pgs", "pgs", "Placement groups with state and members", 0},
		func(_ context.Context, in *struct {
			Pool  string `query:"pool" maxLength:"255" doc:"Only of this pool"`
			State string `query:"state" maxLength:"64" doc:"Only with this word in the state, such as degraded"`
			OSD   int    `query:"osd" default:"-1" minimum:"-1" doc:"Only with this OSD in up or acting"`
		}) ([]api.PG, error) {
			return s.listPGs(in.Pool, in.State, in.OSD)
		})
	handle(s, route{"GET", "/pgs/stat", "get-pg-stat", "pgs", "Sum of the placement groups", 0},
		func(context.Context, *none) (api.PGSummary, error) {
			v := s.view()
			return v.PGSummary(v.PGs()), nil
		})
	type pgInput struct {
		ID string `path:"pgid" maxLength:"32" doc:"POOL.SHARD, the shard in hexadecimal: 1.2f"`
	}
	handle(s, route{"GET", "/pgs/{pgid}", "get-pg", "pgs", "One placement group", 0},
		func(_ context.Context, in *pgInput) (api.PG, error) { return s.onePG(in.ID) })
	handle(s, route{"GET", "/pgs/{pgid}/query", "query-pg", "pgs", "Inner state of a placement group, as its primary tells it", 0},
		func(ctx context.Context, in *pgInput) (pgState, error) {
			raw, err := s.queryPG(ctx, in.ID)
			return pgState(raw), err
		})
}
