package sim

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	objects "github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/osd/chunkcare"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/placement"
)

// careSettings are those of the central configuration, so short that all of it happens within half a minute. Void records
// last: what they forbid may be under way for longer than that.
var careSettings = chunkcare.Settings{
	GCInterval: 3 * time.Second, OutboxEvery: 300 * time.Millisecond, OrphanAge: 2500 * time.Millisecond, VoidAge: time.Hour,
	LightEvery: time.Second, DeepEvery: 4 * time.Second,
}

// care looks after chunks beside an OSD, in one life of it, with the production code.
type care struct {
	f       *fiber
	settler *fiber
	g       *agent
	n       *osd
	pl      *plane
	seen    *placement.Map // the newest map
	m       *placement.Map // as the care is told
}

// settlingKey marks contexts of the settler.
type settlingKey struct{}

// at is the fiber that asks.
func (x *care) at(ctx context.Context) *fiber {
	if ctx.Value(settlingKey{}) != nil {
		return x.settler
	}
	return x.f
}

// startCare begins the care of an OSD that starts.
func (pl *plane) startCare(n *osd) {
	pl.spawn(&n.process, func(f *fiber) {
		x := &care{f: f, g: pl.newAgent(&n.process), n: n, pl: pl}
		x.g.late = 0.006
		c, err := chunkcare.New(chunkcare.Options{
			Self: n.id, Cluster: x, Shards: careShards{x}, Groups: x, Clock: x, Log: slog.New(slog.DiscardHandler), Parallel: 1,
			Page: 1 + pl.w.rng.IntN(20), Settings: func(*placement.Map) chunkcare.Settings { return careSettings }, Mutant: pl.w.o.Care,
			Chunks:      func(placement.PoolID) (chunkcare.Chunker, error) { return settler{x}, nil },
			SettleRules: func(*placement.Map) chunkcare.SettleRules { return settleRules },
		})
		if err != nil {
			panic(err) // options of the simulation
		}
		x.settler = pl.spawn(&n.process, func(f *fiber) { x.settle(f, c) })
		for !f.dead {
			f.pause(pl.w.rand(50*time.Millisecond, 600*time.Millisecond))
			if n.booted {
				c.Step(context.Background())
			}
			f.round++
			if !f.dead {
				pl.took(n, c)
			}
		}
	})
}

// took notes what a care has done since it was looked at last.
func (pl *plane) took(n *osd, c *chunkcare.Care) {
	s := c.Status()
	old := pl.work[n.id]
	if old.life != n.life {
		old = careWork{life: n.life}
	}
	for what, d := range map[string]int64{
		"(chunks deleted)": s.Work.Deleted - old.Deleted, "(shards repaired)": s.Work.Repaired - old.Repaired, "(shards moved)": s.Work.Moved - old.Moved,
		"(references that leaked)": s.Work.Leaked - old.Leaked, "(orphans dropped)": s.Work.Orphans - old.Orphans,
	} {
		pl.w.count[what] += int(d)
	}
	if d := s.Work.Dangling - old.Dangling; d > 0 {
		pl.w.failf("%s finds %d references of objects that chunks do not know of: %+v", n.id, d, s.Problems)
	}
	pl.work[n.id] = careWork{n.life, s.Work}
}

// careWork is what the care of an OSD has done in one life.
type careWork struct {
	life int
	chunkcare.Work
}

// Wall implements chunkcare.Clock.
func (x *care) Wall() time.Time { return time.Unix(0, x.n.wall()) }

// Led implements chunkcare.Groups, as the daemon does.
func (x *care) Led() (led []chunkcare.Led) {
	n := x.n
	if !n.booted || n.m == nil {
		return nil
	}
	for _, s := range n.shards {
		for _, g := range pg.Sorted(s.groups) {
			st, pool, rec := g.ScrubState(), n.m.Pool(g.ID().Pool), n.m.PG(g.ID())
			if !st.Leads || pool == nil || rec == nil || rec.Primary != n.id {
				continue
			}
			clean := (st.Ready || st.Running) && len(rec.InSync) >= int(pool.Size)
			for _, id := range rec.InSync {
				clean = clean && n.m.IsUp(id)
			}
			led = append(led, chunkcare.Led{ID: g.ID(), Clean: clean})
		}
	}
	slices.SortFunc(led, func(a, b chunkcare.Led) int {
		return cmp.Or(cmp.Compare(a.ID.Pool, b.ID.Pool), cmp.Compare(a.ID.Shard, b.ID.Shard))
	})
	return led
}

// Map implements chunkcare.Cluster. Objects are small here, and so must be what is settled.
func (x *care) Map() *placement.Map {
	if m := x.g.mapNow(); m != x.seen {
		x.seen, x.m = m, m.Clone()
		for i := range x.m.Pools {
			x.m.Pools[i].Chunks.ChunkSize = slotBytes
		}
	}
	return x.m
}

// Do implements chunkcare.Cluster.
func (x *care) Do(ctx context.Context, pool placement.PoolID, name string, op *objects.Op) (*objects.Result, error) {
	f, w := x.at(ctx), x.g.w
	res, err := x.g.do(f, pool, name, op)
	if kind, ok := placement.RecordOf(name); ok && (kind == placement.VoidChunk || kind == placement.VoidRef) && w.faults && w.chance(0.3) {
		f.pause(w.rand(0, careSettings.GCInterval)) // others may do much before what is forbidden now goes
	}
	return res, err
}

// Refs implements chunkcare.Cluster.
func (x *care) Refs(ctx context.Context, pool placement.PoolID, object string) (refs []chunk.Ref, err error) {
	for off := uint64(0); ; off = refs[len(refs)-1].Range.To {
		res, err := x.g.do(x.at(ctx), pool, object, new(objects.Op).ReadRefs(off, 2))
		if errors.Is(err, objects.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		it := &res.Items[0]
		refs = append(refs, it.Refs...)
		if !it.More || len(it.Refs) == 0 {
			return refs, nil
		}
	}
}

// List implements chunkcare.Cluster.
func (x *care) List(ctx context.Context, id placement.PGID, kind placement.RecordKind, after string, limit int) ([]string, bool, error) {
	for {
		names, more, err := x.g.list(x.at(ctx), id, kind, after, limit)
		if err != nil || ctx.Value(settlingKey{}) == nil || len(names) == 0 {
			return names, more, err
		}
		// Those who use the other objects look at them without chunks.
		after = names[len(names)-1]
		names = slices.DeleteFunc(names, func(n string) bool { return n[0] != 'c' })
		if len(names) > 0 || !more {
			return names, more, nil
		}
	}
}

// Place implements chunkcare.Cluster.
func (x *care) Place(ctx context.Context, id placement.PGID, count int, avoid []placement.OSDID) ([]placement.OSDID, error) {
	return x.g.place(x.at(ctx), id, count, avoid)
}

// place chooses OSDs for shards. It is advice: here by the map that the agent happens to have.
func (g *agent) place(f *fiber, id placement.PGID, count int, avoid []placement.OSDID) ([]placement.OSDID, error) {
	if f.pause(g.w.rand(0, g.w.k.latency)); f.dead {
		return nil, errCrashed
	}
	t := g.session.have.table
	cands := slices.DeleteFunc(t.ChunkCandidates(id, count+len(avoid)), func(c placement.HolderCandidate) bool { return slices.Contains(avoid, c.ID) })
	osds, _ := placement.Holders(count, cands, g.w.rng.Uint64())
	return osds, nil
}

// careShards is chunkcare.Shards.
type careShards struct{ *care }

// Put implements chunkcare.Shards.
func (x careShards) Put(ctx context.Context, at placement.OSDID, id chunkcare.ShardID, data []byte) error {
	return x.g.callOSD(x.at(ctx), at, func(n *osd, answer func(shardAnswer)) { n.putShard(id, data, answer) }).err
}

// Get implements chunkcare.Shards.
func (x careShards) Get(ctx context.Context, at placement.OSDID, id chunkcare.ShardID) ([]byte, error) {
	a := x.g.callOSD(x.at(ctx), at, func(n *osd, answer func(shardAnswer)) { n.getShard(id, true, answer) })
	return a.data, a.err
}

// Stat implements chunkcare.Shards.
func (x careShards) Stat(ctx context.Context, at placement.OSDID, id chunkcare.ShardID, verify bool) (h chunkcare.Held, _ error) {
	a := x.g.callOSD(x.at(ctx), at, func(n *osd, answer func(shardAnswer)) { n.getShard(id, verify, answer) })
	if a.err == nil {
		h = a.held[0]
	}
	return h, a.err
}

// Drop implements chunkcare.Shards.
func (x careShards) Drop(ctx context.Context, at placement.OSDID, ids []chunkcare.ShardID) error {
	ids = slices.Clone(ids)
	return x.g.callOSD(x.at(ctx), at, func(n *osd, answer func(shardAnswer)) { n.dropShards(ids, answer) }).err
}

// List implements chunkcare.Shards.
func (x careShards) List(ctx context.Context, at placement.OSDID, pool placement.PoolID, after *chunkcare.ShardID, limit int) ([]chunkcare.Held, bool, error) {
	a := x.g.callOSD(x.at(ctx), at, func(n *osd, answer func(shardAnswer)) { n.listShards(pool, after, limit, answer) })
	return a.held, a.more, a.err
}
