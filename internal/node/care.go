package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd"
	"github.com/cairnstore/cairn/osd/chunkcare"
	"github.com/cairnstore/cairn/placement"
)

// care is an OSD's care for chunks.
type care struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// careTimeout is how long one operation of the care may take; it is tried again with the next round.
const careTimeout = 20 * time.Second

// startCare begins to care for chunks beside an OSD, until close. The care is a client with connections of its own.
func startCare(d *osd.OSD, mons []string, log *slog.Logger, tune func(*chunkcare.Options)) *care {
	c := &care{}
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(context.Background())
	c.wg.Go(func() { // until close
		for ctx.Err() == nil {
			err := runCare(ctx, d, mons, log, tune)
			if err == nil {
				return
			}
			log.Warn("nobody cares for chunks yet, it is tried again", "osd", d.ID(), "err", err)
			select {
			case <-time.After(careTimeout):
			case <-ctx.Done():
			}
		}
	})
	return c
}

// runCare connects, and cares for chunks until ctx ends.
func runCare(ctx context.Context, d *osd.OSD, mons []string, log *slog.Logger, tune func(*chunkcare.Options)) error {
	cl, err := client.Connect(ctx, client.Options{
		Mons: mons, Entity: d.ID().String() + ".care", Log: log, Timeout: careTimeout, MaxInFlightBytes: 64 << 20,
	})
	if ctx.Err() != nil {
		if err == nil {
			cl.Close()
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer cl.Close()
	o := chunkcare.Options{Self: d.ID(), Cluster: careWorld{cl}, Shards: careShards{cl}, Groups: careGroups{d}, Log: log, Chunks: careChunks(cl)}
	if tune != nil {
		tune(&o)
	}
	c, err := chunkcare.New(o)
	if err != nil {
		return err
	}
	d.SetCare(careHook{c})
	defer d.SetCare(nil)
	c.Run(ctx)
	return nil
}

func (c *care) close() {
	if c != nil {
		c.cancel()
		c.wg.Wait()
	}
}

// careChunks makes chunks of what is settled.
func careChunks(cl *client.Client) func(placement.PoolID) (chunkcare.Chunker, error) {
	return func(id placement.PoolID) (chunkcare.Chunker, error) {
		p, err := cl.PoolByID(id)
		if err != nil {
			return nil, err
		}
		return p.Chunks(), nil
	}
}

// careGroups is chunkcare.Groups.
type careGroups struct{ d *osd.OSD }

func (g careGroups) Led() []chunkcare.Led {
	var led []chunkcare.Led
	for _, l := range g.d.Led() {
		led = append(led, chunkcare.Led(l))
	}
	return led
}

// careHook is osd.Care.
type careHook struct{ c *chunkcare.Care }

func (h careHook) Ask(ctx context.Context, r *wirepb.ChunkCare) (any, error) {
	v, err := h.ask(ctx, r)
	if err != nil {
		return nil, &wire.Error{Code: client.CodeOf(err), Text: err.Error()}
	}
	return v, nil
}

func (h careHook) ask(ctx context.Context, r *wirepb.ChunkCare) (any, error) {
	pool, age := placement.PoolID(r.Pool), time.Duration(r.MinAgeNs)
	switch r.What {
	case chunkcare.AskStatus, chunkcare.AskSettle:
		return h.c.Ask(ctx, r.What, pool, age)
	case chunkcare.AskChunks:
		return h.c.ListChunks(ctx, placement.PGID{Pool: pool, Shard: r.Shard}, r.Chunk, r.After, int(r.Limit))
	case chunkcare.AskChunk, chunkcare.AskVerifyChunk:
		fp, err := chunk.ParseFingerprint(r.Chunk)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", client.ErrInvalid, err)
		}
		return h.c.ShowChunk(ctx, pool, fp, r.What == chunkcare.AskVerifyChunk)
	}
	return h.c.Begin(r.What, pool, age) // which may take long: who asked looks at the status
}

func (h careHook) Report() ([]*wirepb.ChunkStat, *wirepb.ChunkWork) {
	var out []*wirepb.ChunkStat
	for _, p := range h.c.Pools() {
		s := &wirepb.ChunkStat{Pool: uint32(p.Pool), Pgs: uint32(p.PGs), Looked: uint32(p.Looked), Epoch: uint64(p.Epoch)}
		s.SetCounts(p.Stat)
		out = append(out, s)
	}
	return out, wirepb.ChunkWorkOf(h.c.Status().Work)
}

// careWorld is chunkcare.Cluster on a client.
type careWorld struct{ c *client.Client }

// careShards is chunkcare.Shards.
type careShards struct{ c *client.Client }

func (w careWorld) Map() *placement.Map { return w.c.Map() }

func (w careWorld) Do(ctx context.Context, pool placement.PoolID, name string, op *client.Op) (*client.Result, error) {
	p, err := w.c.PoolByID(pool)
	if err != nil {
		return nil, err
	}
	if placement.IsRecord(name) {
		op.AsRecord()
	}
	return p.DoRaw(ctx, name, op)
}

// refsAtOnce is how many references one read brings.
const refsAtOnce = 1000

func (w careWorld) Refs(ctx context.Context, pool placement.PoolID, object string) (refs []chunk.Ref, err error) {
	p, err := w.c.PoolByID(pool)
	if err != nil {
		return nil, err
	}
	for off := uint64(0); ; off = refs[len(refs)-1].Range.To {
		res, err := p.DoRaw(ctx, object, new(client.Op).ReadRefs(off, refsAtOnce))
		if errors.Is(err, client.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		refs = append(refs, res.Items[0].Refs...)
		if !res.Items[0].More || len(res.Items[0].Refs) == 0 {
			return refs, nil
		}
	}
}

func (w careWorld) List(ctx context.Context, id placement.PGID, kind placement.RecordKind, after string, limit int) ([]string, bool, error) {
	p, err := w.c.PoolByID(id.Pool)
	if err != nil {
		return nil, false, err
	}
	return p.PGRecords(ctx, id.Shard, kind, after, limit)
}

func (w careWorld) Place(ctx context.Context, id placement.PGID, count int, avoid []placement.OSDID) ([]placement.OSDID, error) {
	p, err := w.c.PoolByID(id.Pool)
	if err != nil {
		return nil, err
	}
	return p.Shards().Place(ctx, id.Shard, count, avoid)
}

// shard splits a name into the pool's shards and the name that they have there.
func (w careShards) shard(id chunkcare.ShardID) (client.Shards, client.ShardID, error) {
	p, err := w.c.PoolByID(id.Pool)
	if err != nil {
		return client.Shards{}, client.ShardID{}, err
	}
	return p.Shards(), client.ShardID{Chunk: id.Chunk, Gen: id.Gen, Index: id.Index}, nil
}

func (w careShards) Put(ctx context.Context, at placement.OSDID, id chunkcare.ShardID, data []byte) error {
	s, n, err := w.shard(id)
	if err != nil {
		return err
	}
	return s.Put(ctx, at, n, data)
}

func (w careShards) Get(ctx context.Context, at placement.OSDID, id chunkcare.ShardID) ([]byte, error) {
	s, n, err := w.shard(id)
	if err != nil {
		return nil, err
	}
	return s.Get(ctx, at, n)
}

func (w careShards) Stat(ctx context.Context, at placement.OSDID, id chunkcare.ShardID, verify bool) (chunkcare.Held, error) {
	s, n, err := w.shard(id)
	if err != nil {
		return chunkcare.Held{}, err
	}
	h, err := s.Stat(ctx, at, n, verify)
	return chunkcare.Held{ID: id, Size: h.Size, Stored: h.Stored}, err
}

func (w careShards) Drop(ctx context.Context, at placement.OSDID, ids []chunkcare.ShardID) error {
	if len(ids) == 0 {
		return nil
	}
	var names []client.ShardID
	for _, id := range ids { // all of one pool
		names = append(names, client.ShardID{Chunk: id.Chunk, Gen: id.Gen, Index: id.Index})
	}
	s, _, err := w.shard(ids[0])
	if err != nil {
		return err
	}
	return s.Drop(ctx, at, names)
}

func (w careShards) List(ctx context.Context, at placement.OSDID, pool placement.PoolID, after *chunkcare.ShardID, limit int) ([]chunkcare.Held, bool, error) {
	s, _, err := w.shard(chunkcare.ShardID{Pool: pool})
	if err != nil {
		return nil, false, err
	}
	var from *client.ShardID
	if after != nil {
		from = &client.ShardID{Chunk: after.Chunk, Gen: after.Gen, Index: after.Index}
	}
	list, more, err := s.List(ctx, at, from, limit)
	held := make([]chunkcare.Held, len(list))
	for i, h := range list {
		held[i] = chunkcare.Held{ID: chunkcare.ShardID{Pool: pool, Chunk: h.ID.Chunk, Gen: h.ID.Gen, Index: h.ID.Index}, Size: h.Size, Stored: h.Stored}
	}
	return held, more, err
}
