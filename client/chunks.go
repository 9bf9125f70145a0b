package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/placement"
)

// ChunkPolicy says how chunks are made of what is written to a pool.
type ChunkPolicy = placement.ChunkPolicy

// ErrFewHolders says that there are not enough OSDs that can hold the shards of a chunk now. Bytes for which that is
// so can be written as an object's own instead, as DoChunked does.
var ErrFewHolders = errors.New("too few OSDs can hold the shards of a chunk now")

// Limits of the chunk plane.
const (
	MinChunkBytes = 64 << 10 // fewer bytes stay in the object

	shardRequests   = 512             // under way in a Client; more wait
	layoutsKept     = 4096            // layouts remembered of chunks that care has moved
	troubleLasts    = time.Second     // an OSD that failed is the last choice for so long, ...
	silenceLasts    = 5 * time.Second // ... or so long if it did not answer: to ask it again costs as much time
	chunkAttempts   = 6               // to store one chunk anew, or to read an object anew
	holderRetries   = 3               // of one OSD for one shard, when there is no other
	holderPause     = 50 * time.Millisecond
	dropPatience    = 5 * time.Second // to take back what a write left that failed
	indexPatience   = 3               // times that the index may say the same of shards that are not there
	chunkBackoffMax = time.Second
)

// ShardID names a shard of a chunk in the stores of its holders.
type ShardID struct {
	Chunk chunk.Fingerprint
	Gen   chunk.Gen
	Index int
}

// ShardData is a part of a shard that was read.
type ShardData struct {
	Data []byte
	Free func() // gives the memory back; nil: the garbage collector's
}

func (s *ShardData) free() {
	if s.Free != nil {
		s.Free()
	}
	*s = ShardData{}
}

// Holders reaches the OSDs that hold the shards of a pool's chunks. Errors match the conditions of this package:
// ErrNotFound, ErrCorrupt, ErrNoSpace; all others say that an OSD could not be asked now.
type Holders interface {
	// Place says which OSDs should hold shards of the chunk with that entry in the index: up to count of them, in
	// failure domains other than those of have, none of avoid.
	Place(ctx context.Context, entry string, count int, have, avoid []placement.OSDID) ([]placement.OSDID, error)
	// Put returns when the shard is durable. mem, if not nil, is the memory that data lies in.
	Put(ctx context.Context, osd placement.OSDID, id ShardID, data []byte, mem *slab.Buf) error
	// Get reads bytes off to off+n of a shard.
	Get(ctx context.Context, osd placement.OSDID, id ShardID, off, n uint32) (ShardData, error)
	// Drop removes shards; missing ones are no error.
	Drop(ctx context.Context, osd placement.OSDID, ids []ShardID) error
	// Up reports whether it is worth asking an OSD.
	Up(osd placement.OSDID) bool
	// Slow lists the OSDs whose devices the cluster calls slow: those that were only late lately are a better choice. The
	// caller does not change the list.
	Slow() []placement.OSDID
}

// ChunkStats counts what a client did with chunks since it was made.
type ChunkStats struct {
	Written   int64 // chunks stored
	Shared    int64 // chunks found stored already
	LostRaces int64 // chunks that somebody else stored meanwhile
	Local     int64 // pieces that stayed in their objects because there were too few holders
	Replaced  int64 // holders replaced while a chunk was stored
	Read      int64 // chunks read, or parts of them
	Rebuilt   int64 // of them from other shards than those asked first
	Hedged    int64 // requests made because others were slow
	BadShards int64 // shards that their holders said were damaged or missing
	Moved     int64 // layouts that were not the reference's any more
	Reread    int64 // objects read again because a chunk was gone
}

// ChunkPlane is what the pools of one client share for chunks: limits, and what it has learnt of OSDs. It is safe for
// concurrent use.
type ChunkPlane struct {
	bytes    *semaphore.Weighted
	bytesMax int64
	requests *semaphore.Weighted
	log      *slog.Logger
	patience time.Duration // of everything that has no earlier deadline
	now      func() time.Time

	layouts layoutCache
	speeds  speeds // of reads
	puts    speeds // of shards that are stored

	mu      sync.Mutex                    // guards below
	trouble map[placement.OSDID]time.Time // until when
	slow    map[placement.OSDID]time.Time // to store shards, until when

	n struct {
		written, shared, lostRaces, local, replaced, read, rebuilt, hedged, badShards, moved, reread atomic.Int64
	}
}

// NewChunkPlane makes one that moves at most so many bytes of chunks at a time, and gives up after a while.
func NewChunkPlane(bytesMax int64, patience time.Duration, log *slog.Logger) *ChunkPlane {
	return &ChunkPlane{
		bytes: semaphore.NewWeighted(bytesMax), bytesMax: bytesMax, requests: semaphore.NewWeighted(shardRequests),
		log: log, patience: patience, now: time.Now, trouble: map[placement.OSDID]time.Time{}, slow: map[placement.OSDID]time.Time{},
	}
}

// Stats returns the counters.
func (c *ChunkPlane) Stats() ChunkStats {
	n := &c.n
	return ChunkStats{
		Written: n.written.Load(), Shared: n.shared.Load(), LostRaces: n.lostRaces.Load(), Local: n.local.Load(), Replaced: n.replaced.Load(),
		Read: n.read.Load(), Rebuilt: n.rebuilt.Load(), Hedged: n.hedged.Load(), BadShards: n.badShards.Load(), Moved: n.moved.Load(), Reread: n.reread.Load(),
	}
}

// room waits until so many bytes and requests may be under way. Everybody takes both at once and in this order, and
// waits for nothing else with them but holders, so nobody waits for ever.
func (c *ChunkPlane) room(ctx context.Context, bytes int64, requests int) (free func(), err error) {
	bytes = min(max(bytes, 1), c.bytesMax)
	n := min(int64(requests), shardRequests)
	if err := c.bytes.Acquire(ctx, bytes); err != nil {
		return nil, timeout(err)
	}
	if err := c.requests.Acquire(ctx, n); err != nil {
		c.bytes.Release(bytes)
		return nil, timeout(err)
	}
	return func() {
		c.requests.Release(n)
		c.bytes.Release(bytes)
	}, nil
}

// troubled notes that an OSD failed, and whoever can chooses others for a while.
func (c *ChunkPlane) troubled(osd placement.OSDID, err error) {
	lasts := troubleLasts
	if errors.Is(err, context.DeadlineExceeded) {
		lasts = silenceLasts
	}
	c.note(c.trouble, osd, lasts)
}

// sluggish notes that an OSD was slow to store a shard: others are chosen for a while.
func (c *ChunkPlane) sluggish(osd placement.OSDID) { c.note(c.slow, osd, silenceLasts) }

func (c *ChunkPlane) note(of map[placement.OSDID]time.Time, osd placement.OSDID, lasts time.Duration) {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, until := range of {
		if now.After(until) {
			delete(of, id)
		}
	}
	of[osd] = now.Add(lasts)
}

// inTrouble reports whether an OSD failed lately.
func (c *ChunkPlane) inTrouble(osd placement.OSDID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.trouble[osd]
	return ok && !c.now().After(until)
}

// troubles lists the OSDs that failed lately, and those that were slow to store shards.
func (c *ChunkPlane) troubles() (failed, late []placement.OSDID) {
	now := c.now()
	list := func(of map[placement.OSDID]time.Time) (osds []placement.OSDID) {
		for id, until := range of {
			if !now.After(until) {
				osds = append(osds, id)
			}
		}
		slices.Sort(osds)
		return osds
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return list(c.trouble), list(c.slow)
}

// Chunks makes chunks in one pool and reads them. A Pool has one; others are made by what carries out Ops itself, such
// as client/clienttest. It is safe for concurrent use.
type Chunks struct {
	name   string // of the pool
	pool   placement.PoolID
	raw    Objects // carries out Ops and leaves references as they are
	hold   Holders
	policy func() ChunkPolicy
	plane  *ChunkPlane
}

// NewChunks returns the chunks of a pool. raw carries out Ops without reading the chunks that results refer to.
func NewChunks(name string, pool placement.PoolID, raw Objects, hold Holders, policy func() ChunkPolicy, plane *ChunkPlane) *Chunks {
	return &Chunks{name: name, pool: pool, raw: raw, hold: hold, policy: policy, plane: plane}
}

// ChunkOptions says how chunks are made of what one call writes. The zero value: as the pool's policy says.
type ChunkOptions struct {
	Policy *ChunkPolicy // instead of the pool's; one without redundancy makes no chunks
	Tenant string       // who shares chunks with itself if the policy says that tenants do
}

// unknownOutcome reports whether a write that failed so may have taken effect, or yet take it.
func unknownOutcome(err error) bool {
	return errors.Is(err, ErrTimeout) || errors.Is(err, ErrClosed) || errors.Is(err, ErrInternal)
}

// failedAt is which operation of an Op an error is about, -1 if none.
func failedAt(err error) int {
	var e *OpError
	if errors.As(err, &e) {
		return e.Index
	}
	return -1
}

// held says in words what a holder said of a shard.
type held struct {
	shard int
	osd   placement.OSDID
	err   error
}

func (h held) String() string {
	if h.osd == placement.NoOSD {
		return fmt.Sprintf("shard %d has no holder", h.shard)
	}
	return fmt.Sprintf("shard %d on %s: %v", h.shard, h.osd, h.err)
}
