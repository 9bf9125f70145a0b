package admin

import (
	"context"
	"strings"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

const seeChunks = "see `cairn chunk ls POOL`"

func (s *Server) chunkRoutes() {
	handle(s, route{"GET", "/pools/{name}/chunks", "list-chunks", "chunks", "Chunks of a pool, by placement group, then fingerprint", 0},
		func(ctx context.Context, in *struct {
			Name   string `path:"name" minLength:"1" maxLength:"255"`
			PG     string `query:"pg" maxLength:"32" doc:"Only of this placement group"`
			Prefix string `query:"prefix" maxLength:"80" doc:"How fingerprints begin, such as blake3:0a1b"`
			After  string `query:"after" maxLength:"128" doc:"What the last page said"`
			Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"200"`
		}) (api.Chunks, error) {
			return s.listChunks(ctx, in.Name, api.ChunkFilter{PG: in.PG, Prefix: in.Prefix, After: in.After, Limit: in.Limit})
		})
	type one struct {
		Name  string `path:"name" minLength:"1" maxLength:"255"`
		Chunk string `path:"chunk" maxLength:"80" doc:"Its fingerprint"`
	}
	handle(s, route{"GET", "/pools/{name}/chunks/{chunk}", "get-chunk", "chunks", "Layout, holders, and references of a chunk", 0},
		func(ctx context.Context, in *one) (api.Chunk, error) {
			return s.oneChunk(ctx, in.Name, in.Chunk, "chunk")
		})
	handle(s, route{"POST", "/pools/{name}/chunks/{chunk}/verify", "verify-chunk", "chunks", "Read all shards of a chunk, and hold its bytes against its fingerprint", 0},
		func(ctx context.Context, in *one) (api.Chunk, error) {
			return s.oneChunk(ctx, in.Name, in.Chunk, "verify-chunk")
		})
}

// listChunks asks the primaries of PGs, one after another, until there is a page. What it says where to go on is a PG and a
// fingerprint in it.
func (s *Server) listChunks(ctx context.Context, pool string, f api.ChunkFilter) (api.Chunks, error) {
	out := api.Chunks{Chunks: []api.Chunk{}}
	m := s.clusterMap()
	p := m.PoolByName(pool)
	if p == nil {
		return out, notFound(seePools, "pool %q", pool)
	}
	id, last, after := placement.PGID{Pool: p.ID}, p.PGNum-1, ""
	if f.PG != "" {
		g, err := s.pgID(m, f.PG)
		if err != nil {
			return out, err
		}
		if g.Pool != p.ID {
			return out, invalid("see `cairn pg ls`", "PG %s is not one of pool %q", g, pool)
		}
		id, last = g, g.Shard
	}
	if f.After != "" {
		pg, fp, _ := strings.Cut(f.After, "/")
		g, err := placement.ParsePGID(pg)
		if err != nil || g.Pool != p.ID || g.Shard < id.Shard {
			return out, invalid("give what the last page said", "after %q", f.After)
		}
		id, after = g, fp
	}
	for ; id.Shard <= last; id.Shard, after = id.Shard+1, "" {
		_, to, err := s.primaryOf(id.String())
		if err != nil {
			return out, err
		}
		page, err := askOSD[api.Chunks](ctx, s, to, &wirepb.Header{Body: &wirepb.Header_ChunkCare{ChunkCare: &wirepb.ChunkCare{
			What: "chunks", Pool: uint32(p.ID), Shard: id.Shard, Chunk: f.Prefix, After: after, Limit: uint32(f.Limit - len(out.Chunks))}}})
		if err != nil {
			return out, err
		}
		out.Chunks = append(out.Chunks, page.Chunks...)
		switch {
		case page.After != "":
			out.After = id.String() + "/" + page.After
			return out, nil
		case len(out.Chunks) >= f.Limit && id.Shard < last:
			id.Shard++
			out.After = id.String() + "/"
			return out, nil
		}
	}
	return out, nil
}

// oneChunk asks the primary of a chunk's entry.
func (s *Server) oneChunk(ctx context.Context, pool, fingerprint, what string) (api.Chunk, error) {
	p := s.clusterMap().PoolByName(pool)
	if p == nil {
		return api.Chunk{}, notFound(seePools, "pool %q", pool)
	}
	fp, err := chunk.ParseFingerprint(fingerprint)
	if err != nil {
		return api.Chunk{}, invalid(seeChunks, "%v", err)
	}
	_, to, err := s.primaryOf(placement.PGOf(p, fp.IndexName()).String())
	if err != nil {
		return api.Chunk{}, err
	}
	out, err := askOSD[api.Chunk](ctx, s, to, &wirepb.Header{Body: &wirepb.Header_ChunkCare{ChunkCare: &wirepb.ChunkCare{
		What: what, Pool: uint32(p.ID), Chunk: fp.String()}}})
	return out, err
}
