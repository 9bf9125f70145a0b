package chunkcare

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
	"github.com/cairnstore/cairn/placement/crush"
)

// The world of the model test: a pool in memory, stores with shards, clients that work as docs/chunks.md says, and the
// care of every OSD. All of them are actors, coroutines that give way before each thing that they ask of the world, so
// that one seed decides in which order everything happens. An actor can crash there.
const (
	worldPool  = 1
	slotBytes  = 64
	slots      = 4
	worldOSDs  = 7
	worldNames = 12
	contents   = 24 // different contents of chunks
)

// times of the world, in its own clock.
var worldSettings = Settings{
	GCInterval: time.Minute, OutboxEvery: 5 * time.Second, OrphanAge: 2 * time.Minute, VoidAge: 3 * time.Hour,
	LightEvery: 5 * time.Minute, DeepEvery: 20 * time.Minute,
}

// clientMutant is a rule that the world's clients break.
type clientMutant int

const (
	proper    clientMutant = iota
	dropFirst              // references are dropped before what replaces them is durable
	earlyAck               // a chunk is entered into the index before its shards are durable
)

// errCrashed is what who has crashed is told of everything.
var errCrashed = fmt.Errorf("crashed: %w", client.ErrClosed)

// failure is why the world ended.
type failure string

type world struct {
	rng      *rand.Rand
	mutant   Mutant
	breaks   clientMutant
	now      time.Time
	m        *placement.Map
	table    *placement.Table
	pool     *clienttest.Pool
	stores   map[placement.OSDID]map[ShardID]stored
	leads    []placement.OSDID // by PG
	model    map[string][]byte // what objects should hold
	actors   []*actor
	cares    map[placement.OSDID]*Care
	caring   map[placement.OSDID]*actor
	settlers map[placement.OSDID]*actor

	failed    failure
	calm      bool // nobody crashes, and nothing is lost on its way
	ops       int
	crashes   int
	lostAt    []*actor // who was under way when an OSD was lost last and may still be
	settled   bool     // all that the last loss broke has been repaired
	deletedAt map[chunk.Fingerprint]time.Time
	dangled   int64
	leaked    int64
	repaired  int64
	deleted   int64

	settledChunks, conflicts int64
	byPG                     map[string]placement.PGID
}

type stored struct {
	data []byte
	at   time.Time
}

// actor is a coroutine of the world.
type actor struct {
	w     *world
	what  string
	yield func(struct{}) bool
	next  func() (struct{}, bool)
	stop  func()
	dead  bool
	born  time.Time
	until time.Time // it sleeps
	must  time.Time // it is done by then, or crashes
	keeps bool      // its operations say what time it was
}

func newWorld(seed uint64, mutant Mutant, breaks clientMutant) *world {
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 23)), mutant: mutant, breaks: breaks, now: time.Unix(1_700_000_000, 0),
		pool: clienttest.NewPool("model"), stores: map[placement.OSDID]map[ShardID]stored{}, model: map[string][]byte{},
		cares: map[placement.OSDID]*Care{}, caring: map[placement.OSDID]*actor{},
		settlers: map[placement.OSDID]*actor{}, settled: true,
		deletedAt: map[chunk.Fingerprint]time.Time{}, byPG: map[string]placement.PGID{},
	}
	w.m = &placement.Map{Epoch: 1, Crush: crush.NewDefault(), Pools: []placement.Pool{{
		ID: worldPool, Name: "p", Size: 3, MinSize: 2, PGNum: 4, PGNumTarget: 4, FirstPGNum: 4, Chunks: worldPolicy(seed),
	}}, NextPool: 2}
	for range worldOSDs {
		w.addOSD()
	}
	w.leads = make([]placement.OSDID, 4)
	for i := range w.leads {
		w.leads[i] = w.anyOSD()
	}
	return w
}

// editMap makes the next map.
func (w *world) editMap(f func(*placement.Map)) {
	m := w.m.Clone()
	m.Epoch++
	f(m)
	w.m = m
	w.table = placement.NewTable(m)
}

func (w *world) addOSD() {
	id := placement.OSDID(w.m.NextOSD)
	w.editMap(func(m *placement.Map) {
		m.NextOSD++
		host := fmt.Sprintf("h%d", id)
		if err := m.Crush.AddDevice(int(id), "ssd", crush.WeightOne, crush.Location{"root": crush.DefaultRoot, "host": host}); err != nil {
			panic(err)
		}
		m.OSDs = append(m.OSDs, placement.OSD{ID: id, Class: "ssd", Up: true, Weight: placement.WeightOne, Capacity: 1 << 40, Addr: host})
	})
	w.stores[id] = map[ShardID]stored{}
	w.newCare(id)
}

func (w *world) newCare(id placement.OSDID) {
	c, err := New(Options{
		Self: id, Clock: w, Log: slog.New(slog.DiscardHandler), Parallel: 1, Page: 1 + w.rng.IntN(40),
		Groups: leading{w, id}, Settings: func(*placement.Map) Settings { return worldSettings }, Mutant: w.mutant,
		Cluster: worldCluster{w, w.careOf(id)}, Shards: worldShards{w, w.careOf(id)},
		Chunks:      func(placement.PoolID) (Chunker, error) { return worldChunker{w, w.settlers[id]}, nil },
		SettleRules: func(*placement.Map) SettleRules { return worldSettling },
	})
	if err != nil {
		panic(err)
	}
	w.cares[id] = c
}

// careOf finds the actor that an OSD's care runs as.
func (w *world) careOf(id placement.OSDID) func(context.Context) *actor {
	return func(ctx context.Context) *actor {
		if isSettling(ctx) {
			return w.settlers[id]
		}
		return w.caring[id]
	}
}

func (w *world) anyOSD() placement.OSDID {
	up := w.upOSDs()
	return up[w.rng.IntN(len(up))]
}

func (w *world) upOSDs() (ids []placement.OSDID) {
	for i := range w.m.OSDs {
		if w.m.OSDs[i].Up {
			ids = append(ids, w.m.OSDs[i].ID)
		}
	}
	return ids
}

// Wall implements Clock.
func (w *world) Wall() time.Time { return w.now }

type leading struct {
	w  *world
	id placement.OSDID
}

// Led implements Groups.
func (l leading) Led() (led []Led) {
	for i, id := range l.w.leads {
		if id == l.id {
			led = append(led, Led{placement.PGID{Pool: worldPool, Shard: uint32(i)}, true})
		}
	}
	return led
}

func (w *world) fail(format string, args ...any) {
	if w.failed == "" {
		w.failed = failure(fmt.Sprintf(format, args...))
	}
}

// ---- actors ----

// spawn begins an actor. It runs when it is its turn.
func (w *world) spawn(what string, patience time.Duration, f func(*actor)) *actor {
	a := &actor{w: w, what: what, born: w.now, must: w.now.Add(patience)}
	a.next, a.stop = iter.Pull(func(yield func(struct{}) bool) {
		a.yield = yield
		f(a)
	})
	w.actors = append(w.actors, a)
	return a
}

// step gives way to others.
func (a *actor) step() error {
	if !a.dead {
		a.dead = !a.yield(struct{}{})
	}
	if a.dead {
		return errCrashed
	}
	return nil
}

// crash ends an actor where it is.
func (w *world) crash(a *actor) {
	a.stop()
	w.crashes++
}

// turn lets one actor do one thing. It reports false if nobody is left.
func (w *world) turn() bool {
	w.now = w.now.Add(time.Duration(1+w.rng.IntN(400)) * time.Millisecond)
	if len(w.actors) == 0 {
		return false
	}
	i := w.rng.IntN(len(w.actors))
	for tries := 0; tries < 8 && w.actors[i].until.After(w.now); tries++ {
		i = w.rng.IntN(len(w.actors))
	}
	a := w.actors[i]
	switch {
	case a.until.After(w.now):
		return true
	case !w.calm && w.rng.IntN(300) == 0:
		a.until = w.now.Add(time.Duration(w.rng.IntN(600)) * time.Second) // it is slow
		return true
	}
	crash := w.now.After(a.must) || !w.calm && w.rng.IntN(400) == 0
	over := crash
	if crash {
		w.crash(a)
	} else {
		_, more := a.next()
		over = !more
	}
	if over {
		w.actors = slices.DeleteFunc(w.actors, func(x *actor) bool { return x == a })
		w.lostAt = slices.DeleteFunc(w.lostAt, func(x *actor) bool { return x == a })
		for _, id := range w.upOSDs() {
			if w.caring[id] == a {
				delete(w.caring, id)
			} else if w.settlers[id] == a {
				delete(w.settlers, id)
			} else {
				continue
			}
			if crash {
				w.restart(id)
			}
		}
	}
	return true
}

// restart begins another life of an OSD's care.
func (w *world) restart(id placement.OSDID) {
	w.endCare(id)
	w.editMap(func(m *placement.Map) { m.OSD(id).Incarnation++ })
	w.newCare(id) // it knows nothing any more
}

// endCare crashes what runs of an OSD's care.
func (w *world) endCare(id placement.OSDID) {
	for _, of := range []map[placement.OSDID]*actor{w.caring, w.settlers} {
		a := of[id]
		if a == nil {
			continue
		}
		w.crash(a)
		w.actors = slices.DeleteFunc(w.actors, func(x *actor) bool { return x == a })
		w.lostAt = slices.DeleteFunc(w.lostAt, func(x *actor) bool { return x == a })
		delete(of, id)
	}
	w.collect(w.cares[id])
}

// collect takes over what a care counted.
func (w *world) collect(c *Care) {
	s := c.Status().Work
	st := c.SettleStatus(0)
	w.settledChunks += st.Chunks
	w.conflicts += st.Conflicts
	w.dangled += s.Dangling
	w.leaked += s.Leaked
	w.repaired += s.Repaired
	w.deleted += s.Deleted
}

// ---- what the world answers ----

// exec carries out an operation. effect happens with it.
func (w *world) exec(name string, op *client.Op, effect func()) (*client.Result, error) {
	if placement.IsRecord(name) {
		op.AsRecord()
	}
	req, _ := op.Request(name)
	var before []byte
	sets, removes := false, false
	fp, isEntry := chunk.FingerprintOf(name)
	if isEntry {
		for _, o := range req.Ops {
			sets = sets || o.Kind == wirepb.OpKind_SET_ATTR && string(o.Name) == chunk.LayoutAttr
			removes = removes || o.Kind == wirepb.OpKind_REMOVE
		}
		if sets {
			before = w.layoutOf(name)
		}
	}
	res, err := w.pool.Do(context.Background(), name, op)
	if err != nil {
		return res, err
	}
	if sets {
		w.checkLayout(fp, before, w.layoutOf(name))
	}
	if removes {
		w.deletedAt[fp] = w.now
	} else if isEntry {
		w.checkCondemned(fp, name)
	}
	if effect != nil {
		effect()
	}
	return res, nil
}

func (w *world) layoutOf(name string) []byte {
	res, err := w.pool.Do(context.Background(), name, new(client.Op).GetAttr(chunk.LayoutAttr).AsRecord())
	if err != nil {
		return nil
	}
	return bytes.Clone(res.Items[0].Data)
}

// checkCondemned makes sure that no entry is condemned while somebody refers to the chunk: GC would not wait when it is let go of.
func (w *world) checkCondemned(fp chunk.Fingerprint, name string) {
	res, err := w.pool.Do(context.Background(), name, new(client.Op).GetAttr(chunk.CondemnedAttr).OmapList("", "", 1).AsRecord())
	if err == nil && res.Items[0].Found && len(res.Items[1].KVs) > 0 {
		w.fail("chunk %s is condemned, and there is a reference to it", fp)
	}
}

// checkLayout makes sure that holders that are entered have the shard: durable first, then counted.
func (w *world) checkLayout(fp chunk.Fingerprint, before, after []byte) {
	l, err := chunk.DecodeLayout(after)
	if err != nil {
		w.fail("layout of %s: %v", fp, err)
		return
	}
	var old chunk.Layout
	if before != nil {
		old, _ = chunk.DecodeLayout(before)
	}
	for i, h := range l.Holders {
		if h == placement.NoOSD || i < len(old.Holders) && old.Holders[i] == h {
			continue
		}
		if o := w.m.OSD(h); o == nil {
			continue // lost since it stored the shard
		}
		id := ShardID{Pool: worldPool, Chunk: fp, Gen: l.Gen, Index: i}
		if _, ok := w.stores[h][id]; !ok {
			w.fail("%s was entered as the holder of %s, which it does not have", h, id)
		}
	}
}

// ask is an operation of an actor, whose answer may be lost, or which may arrive late.
func (a *actor) ask(name string, op *client.Op, effect func()) (*client.Result, error) {
	if err := a.step(); err != nil {
		return nil, err
	}
	w := a.w
	if !a.keeps {
		op.At(w.now)
	}
	if !w.calm && op.Writes() {
		switch w.rng.IntN(120) {
		case 0: // on its way; nobody waits for it any more
			late := w.spawn("late "+a.what, 30*time.Minute, func(l *actor) {
				if l.step() == nil {
					_, _ = w.exec(name, op, effect)
				}
			})
			late.until = w.now.Add(time.Duration(w.rng.IntN(900)) * time.Second)
			return nil, client.ErrTimeout
		case 1:
			_, _ = w.exec(name, op, effect)
			return nil, client.ErrTimeout
		}
	}
	return w.exec(name, op, effect)
}

type worldCluster struct {
	w  *world
	by func(context.Context) *actor
}

func (c worldCluster) Map() *placement.Map { return c.w.m }

func (c worldCluster) Do(ctx context.Context, _ placement.PoolID, name string, op *client.Op) (*client.Result, error) {
	return c.by(ctx).ask(name, op, nil)
}

func (c worldCluster) Refs(ctx context.Context, _ placement.PoolID, object string) ([]chunk.Ref, error) {
	res, err := c.by(ctx).ask(object, new(client.Op).ReadRefs(0, 1000), nil)
	if errors.Is(err, client.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return res.Items[0].Refs, nil
}

func (c worldCluster) List(ctx context.Context, id placement.PGID, kind placement.RecordKind, after string, limit int) ([]string, bool, error) {
	if err := c.by(ctx).step(); err != nil {
		return nil, false, err
	}
	names, more := c.w.list(id, kind, after, limit)
	return names, more, nil
}

func (w *world) list(id placement.PGID, kind placement.RecordKind, after string, limit int) (names []string, more bool) {
	all := w.pool.Names()
	if kind != 0 {
		all = w.pool.Records(kind)
	}
	at, _ := slices.BinarySearch(all, after+"\x00")
	for _, n := range all[at:] {
		if w.pgOf(n) != id {
			continue
		}
		if len(names) == limit {
			return names, true
		}
		names = append(names, n)
	}
	return names, false
}

func (w *world) pgOf(name string) placement.PGID {
	key := placement.Locator(name)
	id, ok := w.byPG[key]
	if !ok {
		id = placement.PGOf(w.m.Pool(worldPool), key)
		w.byPG[key] = id
	}
	return id
}

func (c worldCluster) Place(ctx context.Context, id placement.PGID, count int, avoid []placement.OSDID) ([]placement.OSDID, error) {
	if err := c.by(ctx).step(); err != nil {
		return nil, err
	}
	return c.w.place(id, count, avoid), nil
}

func (w *world) place(id placement.PGID, count int, avoid []placement.OSDID) []placement.OSDID {
	cands := slices.DeleteFunc(w.table.ChunkCandidates(id, count), func(h placement.HolderCandidate) bool { return slices.Contains(avoid, h.ID) })
	osds, _ := placement.Holders(count, cands, w.rng.Uint64())
	return osds
}

type worldShards struct {
	w  *world
	by func(context.Context) *actor
}

// reach gives way, and finds the store.
func (s worldShards) reach(ctx context.Context, at placement.OSDID) (map[ShardID]stored, error) {
	if err := s.by(ctx).step(); err != nil {
		return nil, err
	}
	st := s.w.stores[at]
	if st == nil || !s.w.m.IsUp(at) {
		return nil, client.ErrTimeout
	}
	return st, nil
}

func (s worldShards) Put(ctx context.Context, at placement.OSDID, id ShardID, data []byte) error {
	st, err := s.reach(ctx, at)
	if err != nil {
		return err
	}
	if _, ok := st[id]; !ok {
		st[id] = stored{data, s.w.now}
	}
	return nil
}

func (s worldShards) Get(ctx context.Context, at placement.OSDID, id ShardID) ([]byte, error) {
	st, err := s.reach(ctx, at)
	if err != nil {
		return nil, err
	}
	x, ok := st[id]
	if !ok {
		return nil, client.ErrNotFound
	}
	return x.data, nil
}

func (s worldShards) Stat(ctx context.Context, at placement.OSDID, id ShardID, _ bool) (Held, error) {
	data, err := s.Get(ctx, at, id)
	return Held{ID: id, Size: int64(len(data))}, err
}

func (s worldShards) Drop(ctx context.Context, at placement.OSDID, ids []ShardID) error {
	st, err := s.reach(ctx, at)
	if err != nil {
		return err
	}
	for _, id := range ids {
		delete(st, id)
	}
	return nil
}

func (s worldShards) List(ctx context.Context, at placement.OSDID, pool placement.PoolID, after *ShardID, limit int) ([]Held, bool, error) {
	st, err := s.reach(ctx, at)
	if err != nil {
		return nil, false, err
	}
	ids := sortedShards(st)
	i := 0
	if after != nil {
		i, _ = slices.BinarySearchFunc(ids, *after, compareShards)
		if i < len(ids) && ids[i] == *after {
			i++
		}
	}
	ids = ids[i:]
	more := len(ids) > limit
	var held []Held
	for _, id := range ids[:min(limit, len(ids))] {
		held = append(held, Held{ID: id, Size: int64(len(st[id].data)), Stored: st[id].at.UnixNano()})
	}
	return held, more, nil
}

func compareShards(a, b ShardID) int {
	return cmp.Or(slices.Compare(a.Chunk[:], b.Chunk[:]), cmp.Compare(a.Gen, b.Gen), cmp.Compare(a.Index, b.Index))
}

func sortedShards(st map[ShardID]stored) []ShardID {
	ids := make([]ShardID, 0, len(st))
	for id := range st {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, compareShards)
	return ids
}
