package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/cairnstore/cairn/internal/chunk/report"
)

// Chunk is what the index says of a chunk; Chunks a page of it.
type (
	Chunk  = report.Chunk
	Chunks = report.Chunks
)

// ChunkFilter says which chunks are listed.
type ChunkFilter struct {
	PG     string // only of this PG
	Prefix string // whose fingerprints begin so
	After  string // where the last page ended
	Limit  int    // at most so many at once; 0: as many as one answer has
}

// Chunks lists chunks of a pool, by PG, then fingerprint.
func (c *Client) Chunks(ctx context.Context, pool string, f ChunkFilter) (Chunks, error) {
	q := url.Values{}
	for k, v := range map[string]string{"pg": f.PG, "prefix": f.Prefix, "after": f.After} {
		if v != "" {
			q.Set(k, v)
		}
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	return get[Chunks](ctx, c, "/pools"+seg(pool)+"/chunks", q)
}

// Chunk returns all that is known of a chunk.
func (c *Client) Chunk(ctx context.Context, pool, fingerprint string) (Chunk, error) {
	return get[Chunk](ctx, c, "/pools"+seg(pool)+"/chunks"+seg(fingerprint), nil)
}

// ChunkVerify reads all shards of a chunk, too.
func (c *Client) ChunkVerify(ctx context.Context, pool, fingerprint string) (Chunk, error) {
	var out Chunk
	err := c.call(ctx, http.MethodPost, Prefix+"/pools"+seg(pool)+"/chunks"+seg(fingerprint)+"/verify", nil, nil, &out)
	return out, err
}
