package client

import (
	"bytes"
	"context"
	"fmt"

	"github.com/cairnstore/cairn/client/core"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// Shards reaches the shards of a pool's chunks where they lie, one OSD at a time and without retries: for what cares for
// chunks. Who only reads and writes has no need of it.
type Shards struct{ h *clusterHolders }

// Shards returns access to the shards of the pool's chunks.
func (p *Pool) Shards() Shards { return Shards{&clusterHolders{c: p.c, pool: p.id}} }

// PoolByID returns the pool with that id, ErrNotFound if the newest map known has none.
func (c *Client) PoolByID(id placement.PoolID) (*Pool, error) {
	p := c.Map().Pool(id)
	if p == nil {
		return nil, fmt.Errorf("pool %d: %w in the cluster map of epoch %d", id, ErrNotFound, c.Map().Epoch)
	}
	return c.poolOf(id, p.Name), nil
}

// HeldShard is a shard that an OSD holds.
type HeldShard struct {
	ID     ShardID
	Size   int64
	Stored int64 // when: unix nanoseconds
}

// Put stores a shard durably.
func (s Shards) Put(ctx context.Context, osd placement.OSDID, id ShardID, data []byte) error {
	return s.h.Put(ctx, osd, id, data, nil)
}

// Get reads a whole shard.
func (s Shards) Get(ctx context.Context, osd placement.OSDID, id ShardID) ([]byte, error) {
	d, err := s.h.Get(ctx, osd, id, 0, 0)
	if err != nil {
		return nil, err
	}
	defer d.free()
	return bytes.Clone(d.Data), nil
}

// Stat says whether an OSD has a shard; verify: and reads it there.
func (s Shards) Stat(ctx context.Context, osd placement.OSDID, id ShardID, verify bool) (HeldShard, error) {
	m, err := s.h.call(ctx, osd, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_ShardGet{
		ShardGet: &wirepb.ShardGet{Id: s.h.shardID(id), Stat: !verify, Verify: verify}}}}, chunk.MaxBytes)
	defer m.Release()
	if err != nil {
		return HeldShard{}, err
	}
	g := m.Header.GetShardGot()
	if g == nil {
		return HeldShard{}, fmt.Errorf("%w: %s answered with %T", ErrInternal, osd, m.Header.Body)
	}
	return HeldShard{ID: id, Size: int64(g.Size), Stored: g.Stored}, nil
}

// Drop removes shards; missing ones are no error.
func (s Shards) Drop(ctx context.Context, osd placement.OSDID, ids []ShardID) error {
	return s.h.Drop(ctx, osd, ids)
}

// List lists the shards that an OSD holds, in order, after one of them or from the first.
func (s Shards) List(ctx context.Context, osd placement.OSDID, after *ShardID, limit int) (held []HeldShard, more bool, err error) {
	l := &wirepb.ShardList{Pool: uint32(s.h.pool), Limit: uint32(limit)}
	if after != nil {
		l.After = s.h.shardID(*after)
	}
	m, err := s.h.call(ctx, osd, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_ShardList{ShardList: l}}}, 0)
	defer m.Release()
	if err != nil {
		return nil, false, err
	}
	r := m.Header.GetShardListed()
	if r == nil || len(r.Sizes) != len(r.Ids) || len(r.Stored) != len(r.Ids) {
		return nil, false, fmt.Errorf("%w: %s answered a listing of shards with %T", ErrInternal, osd, m.Header.Body)
	}
	for i, id := range r.Ids {
		h := HeldShard{Size: int64(r.Sizes[i]), Stored: r.Stored[i]}
		if copy(h.ID.Chunk[:], id.Fingerprint) != len(id.Fingerprint) || len(id.Fingerprint) != len(h.ID.Chunk) {
			return nil, false, fmt.Errorf("%w: %s lists a fingerprint of %d bytes", ErrInternal, osd, len(id.Fingerprint))
		}
		h.ID.Gen, h.ID.Index = chunk.Gen(id.Gen), int(id.Index)
		held = append(held, h)
	}
	return held, r.More, nil
}

// Place asks the primary of a PG for so many OSDs for shards, none of those to avoid; fewer if there are no more.
func (s Shards) Place(ctx context.Context, shard uint32, count int, avoid []placement.OSDID) ([]placement.OSDID, error) {
	not := make([]int32, len(avoid))
	for i, id := range avoid {
		not[i] = int32(id)
	}
	m, g := s.h.c.send(ctx, &request{
		op: core.Op{Pool: s.h.pool, OnePG: true, Shard: shard, Bytes: placeBytes},
		header: func(*core.Send) *wirepb.Header {
			return &wirepb.Header{Body: &wirepb.Header_ChunkPlace{ChunkPlace: &wirepb.ChunkPlace{
				Pool: uint32(s.h.pool), Shard: shard, Count: uint32(count), Avoid: not,
			}}}
		},
	})
	if g != nil {
		return nil, fmt.Errorf("ask for holders: %w: %s", g.err, g.text)
	}
	defer m.Release()
	if code := m.Header.GetCode(); code != wirepb.Code_OK {
		return nil, fmt.Errorf("ask for holders: %w: %s", ErrorOf(code), m.Header.GetError())
	}
	var osds []placement.OSDID
	for _, o := range m.Header.GetChunkPlaced().GetOsds() {
		osds = append(osds, placement.OSDID(o))
	}
	return osds, nil
}
