package admin

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// careKinds are what can be asked for, with what it is for people.
var careKinds = []struct{ what, about string }{
	{api.CareGC, "delete chunks that nobody has referred to for two GC intervals"},
	{api.CareAudit, "compare both sides of all references to chunks, heal what can be, and report the rest"},
	{api.CareRepair, "read all shards of chunks, and make those again that are missing or damaged"},
	{api.CareVerify, "read all shards of chunks, hold their bytes against the fingerprints, and only tell what is wrong"},
}

func (s *Server) careRoutes() {
	handle(s, route{"GET", "/chunks/care", "get-chunk-care", "chunks", "What the OSDs' care for chunks found and did", 0},
		func(ctx context.Context, _ *none) (api.ChunkCare, error) { return s.chunkCare(ctx), nil })
	for _, k := range careKinds {
		handle(s, route{"POST", "/chunks/care/" + k.what, "chunk-" + k.what, "chunks", "On all OSDs, soon: " + k.about, 0},
			func(ctx context.Context, in *struct{ Body api.ChunkCareStart }) (api.ChunkCareStarted, error) {
				return s.startCare(ctx, k.what, in.Body)
			})
	}
}

// careAnswer is what one OSD says of itself: chunkcare.Status.
type careAnswer struct {
	PGs      int                `json:"pgs"`
	Looked   int                `json:"looked"`
	Waiting  string             `json:"waiting"`
	Work     api.ChunkWork      `json:"work"`
	Chunks   api.ChunkStat      `json:"chunks"`
	Problems []api.ChunkProblem `json:"problems"`
	Running  string             `json:"running"`
	Runs     uint64             `json:"runs"`
	Last     *api.ChunkCareRun  `json:"last"`
}

// osdsAtOnce is how many OSDs are asked at a time.
const osdsAtOnce = 32

// eachOSD asks all OSDs that are up, and returns who did not answer.
func eachOSD[T any](ctx context.Context, s *Server, h *wirepb.Header, f func(placement.OSDID, T)) (silent []string) {
	m := s.clusterMap()
	silent = []string{}
	var mu sync.Mutex // guards silent, and what f changes
	var g errgroup.Group
	g.SetLimit(osdsAtOnce)
	for i := range m.OSDs {
		to := m.OSDs[i].ID
		if !m.IsUp(to) {
			continue
		}
		g.Go(func() error {
			a, err := askOSD[T](ctx, s, to, h)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				silent = append(silent, fmt.Sprintf("%s: %v", to, err))
			} else {
				f(to, a)
			}
			return nil
		})
	}
	_ = g.Wait() // never fails
	slices.Sort(silent)
	return silent
}

func (s *Server) chunkCare(ctx context.Context) api.ChunkCare {
	sum := api.ChunkCare{Problems: []api.ChunkProblem{}, Runs: []api.ChunkCareRun{}}
	var waiting []string
	silent := eachOSD(ctx, s, &wirepb.Header{Body: &wirepb.Header_ChunkCare{ChunkCare: &wirepb.ChunkCare{What: "status"}}}, func(id placement.OSDID, a careAnswer) {
		sum.PGs += a.PGs
		sum.Looked += a.Looked
		sum.Work.Add(a.Work)
		sum.Chunks.Add(a.Chunks)
		sum.Problems = append(sum.Problems, a.Problems...)
		if a.Waiting != "" {
			waiting = append(waiting, fmt.Sprintf("%s: %s", id, a.Waiting))
		}
		r := api.ChunkCareRun{Errors: []string{}}
		if a.Last != nil {
			r = *a.Last
		}
		r.OSD, r.Run, r.Running = int(id), a.Runs, a.Running
		sum.Runs = append(sum.Runs, r)
	})
	sum.Waiting = append(silent, waiting...)
	slices.Sort(sum.Waiting)
	slices.SortFunc(sum.Runs, func(a, b api.ChunkCareRun) int { return cmp.Compare(a.OSD, b.OSD) })
	slices.SortFunc(sum.Problems, func(a, b api.ChunkProblem) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Chunk, b.Chunk))
	})
	return sum
}

func (s *Server) startCare(ctx context.Context, what string, in api.ChunkCareStart) (api.ChunkCareStarted, error) {
	q := &wirepb.ChunkCare{What: what, MinAgeNs: -1}
	if in.Pool != "" {
		p := s.clusterMap().PoolByName(in.Pool)
		if p == nil {
			return api.ChunkCareStarted{}, notFound(seePools, "pool %q", in.Pool)
		}
		q.Pool = uint32(p.ID)
	}
	if in.MinAgeSeconds != nil {
		q.MinAgeNs = int64(*in.MinAgeSeconds * float64(time.Second))
	}
	out := api.ChunkCareStarted{Runs: []api.ChunkCareRun{}}
	out.Waiting = eachOSD(ctx, s, &wirepb.Header{Body: &wirepb.Header_ChunkCare{ChunkCare: q}}, func(id placement.OSDID, a struct {
		Run uint64 `json:"run"`
	}) {
		out.Runs = append(out.Runs, api.ChunkCareRun{OSD: int(id), Run: a.Run, What: what, Errors: []string{}})
	})
	slices.SortFunc(out.Runs, func(a, b api.ChunkCareRun) int { return cmp.Compare(a.OSD, b.OSD) })
	return out, nil
}
