package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/placement"
)

// listPGs returns the PGs that pass the filters.
func (s *Server) listPGs(pool, state string, osd int) ([]api.PG, error) {
	v := s.view()
	if pool != "" && v.Map.PoolByName(pool) == nil {
		return nil, notFound("see `cairn pool ls`", "pool %q", pool)
	}
	if osd >= 0 && v.Map.OSD(placement.OSDID(osd)) == nil {
		return nil, notFound("see `cairn osd tree`", "osd.%d", osd)
	}
	pgs := slices.DeleteFunc(v.PGs(), func(pg api.PG) bool {
		return pool != "" && pg.Pool != pool ||
			state != "" && pg.State != state && !has(pg.State, state) ||
			osd >= 0 && !slices.Contains(pg.Up, osd) && !slices.Contains(pg.Acting, osd)
	})
	return pgs, nil
}

// pgID reads and checks the id of a PG.
func (s *Server) pgID(m *placement.Map, text string) (placement.PGID, error) {
	id, err := placement.ParsePGID(text)
	if err != nil {
		return id, invalid("", "%v", err)
	}
	if m.Pool(id.Pool) == nil {
		return id, notFound("see `cairn pool ls detail`", "PG %s: pool %d", id, id.Pool)
	}
	if m.PG(id) == nil {
		return id, notFound("see `cairn pg ls`", "PG %s: pool %q has only %d PGs: it", id, m.Pool(id.Pool).Name, m.Pool(id.Pool).PGNum)
	}
	return id, nil
}

func (s *Server) onePG(text string) (api.PG, error) {
	v := s.view()
	id, err := s.pgID(v.Map, text)
	if err != nil {
		return api.PG{}, err
	}
	e, ok := v.stats()[id]
	return v.pg(id, v.Map.Pool(id.Pool), v.Map.PG(id), e, ok), nil
}

func (s *Server) queryPG(ctx context.Context, text string) (json.RawMessage, error) {
	v := s.view()
	id, err := s.pgID(v.Map, text)
	if err != nil {
		return nil, err
	}
	if s.pgQuery == nil {
		return nil, api.NewProblem(fmt.Errorf("PG %s: this monitor cannot query PGs: %w", id, api.ErrUnsupported), "")
	}
	rec := v.Map.PG(id)
	if rec.Primary == placement.NoOSD {
		e, ok := v.stats()[id]
		pg := v.pg(id, v.Map.Pool(id.Pool), rec, e, ok)
		return nil, api.NewProblem(fmt.Errorf("PG %s has no primary to ask, it is %s: %w", id, pg.State, api.ErrTryLater),
			"it waits for "+pg.Waiting)
	}
	raw, err := s.pgQuery(ctx, id)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("PG %s: %s did not answer: %w", id, rec.Primary, api.ErrTimeout)
		}
		var p *api.Problem
		if err = fail(err, "see `cairn pg ls`"); errors.As(err, &p) && p.Code == api.CodeInternal {
			p = api.NewProblem(fmt.Errorf("%w: PG %s: %s", api.ErrTryLater, id, p.Detail), "look at "+rec.Primary.String()+" in `cairn osd tree`, then retry")
		}
		return nil, p
	}
	if !json.Valid(raw) {
		return nil, api.NewProblem(fmt.Errorf("PG %s: %s answered something that is not JSON", id, rec.Primary), "check that its version fits the monitors'")
	}
	return raw, nil
}

// locate computes where an object lives.
func (s *Server) locate(pool, object string) (api.Location, error) {
	v := s.view()
	p := v.Map.PoolByName(pool)
	if p == nil {
		return api.Location{}, notFound("see `cairn pool ls`", "pool %q", pool)
	}
	id := placement.PGOf(p, object)
	table := s.tables.of(v.Map)
	row := table.Group(id)
	loc := api.Location{
		Epoch: uint64(v.Map.Epoch), Pool: p.Name, PoolID: uint32(p.ID), Object: object,
		Hash: fmt.Sprintf("%016x", placement.NameHash(object)), PGID: id.String(),
		Row: intsOf(row.Members), Target: intsOf(table.Target(id)), Acting: []int{}, ActingPrimary: int(placement.NoOSD),
	}
	loc.Up = v.up(table.Target(id))
	loc.UpPrimary = first(loc.Up)
	if rec := v.Map.PG(id); rec != nil {
		loc.Acting, loc.ActingPrimary = v.acting(rec), int(rec.Primary)
	}
	return loc, nil
}

// mapJSON is the map for people and tools.
func (v *View) mapJSON(pgs bool) api.Map {
	m := v.Map
	stamp := func(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }
	out := api.Map{
		Epoch: uint64(m.Epoch), FSID: m.Cluster.String(), Created: stamp(m.Created), Modified: stamp(m.Modified),
		Flags: flagNames(m.Flags), Mons: v.Mons().Mons, OSDs: v.OSDs(), Pools: []api.Pool{}, Services: []api.Service{},
		Crush: m.Crush.String(),
	}
	for i := range m.Pools {
		out.Pools = append(out.Pools, poolJSON(m, &m.Pools[i]))
	}
	for _, s := range m.Services {
		out.Services = append(out.Services, api.Service{Kind: s.Kind, Name: s.Name, Addr: s.Addr})
	}
	if !pgs {
		return out
	}
	for i := range m.PGs {
		for shard := range m.PGs[i].Records {
			r := &m.PGs[i].Records[shard]
			out.PGs = append(out.PGs, api.MapPG{
				PGID: placement.PGID{Pool: m.PGs[i].Pool, Shard: uint32(shard)}.String(), Term: uint32(r.Term),
				Version: uint64(r.Version), Primary: int(r.Primary), InSync: intsOf(r.InSync), Created: r.Created,
			})
		}
	}
	return out
}
