package chunkcare

import (
	"context"
	"fmt"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// Cluster is what the care needs of an object client. Its errors are those of package client.
type Cluster interface {
	// Map returns the newest cluster map known.
	Map() *placement.Map
	// Do carries out an operation on an object or a record.
	Do(ctx context.Context, pool placement.PoolID, name string, op *client.Op) (*client.Result, error)
	// Refs returns the references that an object has, none if it does not exist. It sees every write that began to be
	// carried out before.
	Refs(ctx context.Context, pool placement.PoolID, object string) ([]chunk.Ref, error)
	// List lists names of one PG: the records of a kind, or with kind 0 the objects of clients.
	List(ctx context.Context, id placement.PGID, kind placement.RecordKind, after string, limit int) (names []string, more bool, err error)
	// Place chooses OSDs for so many shards of chunks of a PG, none of those to avoid; fewer if there are no more.
	Place(ctx context.Context, id placement.PGID, count int, avoid []placement.OSDID) ([]placement.OSDID, error)
}

// ShardID names a shard in the store of an OSD.
type ShardID struct {
	Pool  placement.PoolID
	Chunk chunk.Fingerprint
	Gen   chunk.Gen
	Index int
}

// String is for messages.
func (s ShardID) String() string {
	return fmt.Sprintf("shard %d of chunk %s (generation %x) of pool %d", s.Index, s.Chunk, uint64(s.Gen), s.Pool)
}

// Held is a shard that an OSD holds.
type Held struct {
	ID     ShardID
	Size   int64
	Stored int64 // when: unix nanoseconds
}

// Shards reaches the shards in the stores of OSDs. Errors match client.ErrNotFound if an OSD that answers does not have
// the shard, client.ErrCorrupt if its bytes are damaged, client.ErrNoSpace if it takes no more.
type Shards interface {
	// Put stores a shard; it is durable when Put returns nil.
	Put(ctx context.Context, at placement.OSDID, id ShardID, data []byte) error
	// Get reads a whole shard.
	Get(ctx context.Context, at placement.OSDID, id ShardID) ([]byte, error)
	// Stat says whether a shard is there; verify: and whether its bytes can be read.
	Stat(ctx context.Context, at placement.OSDID, id ShardID, verify bool) (Held, error)
	// Drop removes shards; missing ones are no error.
	Drop(ctx context.Context, at placement.OSDID, ids []ShardID) error
	// List lists the shards of a pool after one of them, nil: from the first.
	List(ctx context.Context, at placement.OSDID, pool placement.PoolID, after *ShardID, limit int) (held []Held, more bool, err error)
}

// Led is a PG that the OSD leads.
type Led struct {
	ID    placement.PGID
	Clean bool // active, with all its copies
}

// Groups knows the PGs of the OSD.
type Groups interface {
	// Led returns those that it leads and serves, in order.
	Led() []Led
}

// Clock tells the calendar time.
type Clock interface{ Wall() time.Time }
