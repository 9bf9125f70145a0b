package inspect

import (
	"context"
	"fmt"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// ShardUsage counts the shards of a pool's chunks and their bytes.
type ShardUsage struct {
	Pool   placement.PoolID `json:"pool"`
	Shards int64            `json:"shards"`
	Bytes  int64            `json:"bytes"`
}

// Shard is a shard of a chunk, for people.
type Shard struct {
	Chunk      string `json:"chunk"` // fingerprint
	Generation string `json:"generation"`
	Index      int    `json:"index"`
	Size       uint64 `json:"size"`
	Stored     int64  `json:"stored"` // unix nanoseconds
}

// Shards calls f for the shards of a pool's chunks, in the order of fingerprints.
func Shards(ctx context.Context, in *store.Inspector, pool placement.PoolID, f func(Shard) error) error {
	k := store.ShardKey(pool, "")
	for after, more := "", true; more; {
		objs, m, err := in.Reader().List(k.PG, k.Space, after, 1024)
		if err != nil {
			return err
		}
		for _, o := range objs {
			after = o.Name
			s, ok := chunk.ParseShardName(o.Name)
			out := Shard{Chunk: s.Chunk.String(), Generation: fmt.Sprintf("%016x", uint64(s.Gen)), Index: int(s.Index), Size: o.Size, Stored: o.Mtime}
			if !ok {
				out = Shard{Chunk: fmt.Sprintf("no name of a shard: %x", o.Name), Size: o.Size, Stored: o.Mtime}
			}
			if err := f(out); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		more = m && len(objs) > 0
	}
	return nil
}
