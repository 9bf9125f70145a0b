package chunkcare

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

var (
	modelSeed = flag.Uint64("chunk.seed", 0, "seed of TestModel; 0: a new one")
	modelOps  = flag.Int("chunk.ops", 0, "operations of clients in TestModel; 0: a few thousand")
)

// event lets something happen that actors did not ask for.
func (w *world) event() {
	switch x := w.rng.IntN(1000); {
	case x < 3 && w.settled && len(w.lostAt) == 0 && len(w.upOSDs()) == worldOSDs:
		w.lose()
	case x < 5 && len(w.upOSDs()) < worldOSDs:
		w.addOSD()
	case x < 7: // an administrator empties an OSD, or has it back
		id := w.anyOSD()
		draining := 0
		for i := range w.m.OSDs {
			if w.m.OSDs[i].Draining {
				draining++
			}
		}
		w.editMap(func(m *placement.Map) { o := m.OSD(id); o.Draining = !o.Draining && draining == 0 })
	case x < 12: // another OSD leads a PG; what the first has begun goes on
		w.leads[w.rng.IntN(len(w.leads))] = w.anyOSD()
	case x < 30:
		w.phantom()
	}
	if x := w.rng.IntN(100); x < 12 {
		w.care(w.anyOSD(), 1+w.rng.IntN(3))
	} else if x < 13 {
		w.settles(w.anyOSD())
	}
}

// care begins the care of an OSD, unless it is at work.
func (w *world) care(id placement.OSDID, steps int) {
	if w.caring[id] != nil {
		return
	}
	c := w.cares[id]
	w.caring[id] = w.spawn(fmt.Sprintf("care of %s", id), time.Hour, func(a *actor) {
		for range steps {
			c.Step(context.Background())
		}
	})
}

// lose takes an OSD away with all it has.
func (w *world) lose() {
	id := w.anyOSD()
	w.editMap(func(m *placement.Map) {
		m.OSDs = slices.DeleteFunc(m.OSDs, func(o placement.OSD) bool { return o.ID == id })
		if err := m.Crush.RemoveDevice(int(id)); err != nil {
			panic(err)
		}
	})
	delete(w.stores, id)
	w.endCare(id)
	delete(w.cares, id)
	for i, l := range w.leads {
		if l == id {
			w.leads[i] = w.anyOSD()
		}
	}
	w.lostAt = slices.Clone(w.actors)
	w.settled = false
}

// phantom makes an outbox record of a write that never happens: the PG lost its primary between the two.
func (w *world) phantom() {
	object := w.objectName()
	res, err := w.exec(object, new(client.Op).ReadRefs(0, 1), nil)
	if err != nil || len(res.Items[0].Refs) == 0 {
		return
	}
	r := res.Items[0].Refs[0]
	name := chunk.OutboxName(9, w.rng.Uint64(), object)
	list := chunk.AppendDropped(nil, []chunk.Dropped{{Chunk: r.Chunk, Nonce: r.Nonce}})
	if _, err := w.exec(name, new(client.Op).WriteFull(list).At(w.now), nil); err != nil {
		w.fail("outbox record: %v", err)
	}
}

// operate begins a client's operation.
func (w *world) operate() {
	w.ops++
	object := w.objectName()
	slot, n := w.rng.IntN(slots), w.rng.IntN(contents)
	switch x := w.rng.IntN(100); {
	case x < 40:
		w.spawn("put", 40*time.Minute, func(a *actor) { a.put(object, slot, n) })
	case x < 55:
		w.spawn("write", 40*time.Minute, func(a *actor) { a.overwrite(object) })
	case x < 60:
		w.spawn("truncate", 40*time.Minute, func(a *actor) { a.truncate(object) })
	case x < 70:
		w.spawn("remove", 40*time.Minute, func(a *actor) { a.remove(object) })
	default:
		w.spawn("get", 40*time.Minute, func(a *actor) { a.get(object) })
	}
}

// run lets clients make so many operations, in the end nobody crashes any more and all that is left over must be cleaned up.
func (w *world) run(ops int) {
	for w.ops < ops && w.failed == "" {
		for len(w.actors) < 8 {
			w.operate()
		}
		w.event()
		w.turn()
		if !w.settled && w.ops%50 == 0 && len(w.lostAt) == 0 {
			w.settle()
		}
	}
	w.quiesce()
}

// settle notes whether every chunk has all its shards, after an OSD was lost.
func (w *world) settle() {
	for _, n := range w.pool.Records(placement.ChunkEntry) {
		fp, _ := chunk.FingerprintOf(n)
		l, err := chunk.DecodeLayout(w.layoutOf(n))
		if err != nil {
			w.fail("layout of %s: %v", fp, err)
			return
		}
		for i, h := range l.Holders {
			if _, ok := w.stores[h][ShardID{worldPool, fp, l.Gen, i}]; !ok {
				return
			}
		}
	}
	w.settled = true
}

// quiesce ends everything, and looks what is left.
func (w *world) quiesce() {
	w.calm = true
	drain := func() {
		for w.failed == "" && w.turn() {
		}
	}
	drain()
	if len(w.upOSDs()) < worldOSDs {
		w.addOSD()
	}
	// What was left behind becomes old enough, and is worked off as it would be in time.
	for range 6 {
		w.now = w.now.Add(worldSettings.VoidAge)
		for _, id := range w.upOSDs() {
			w.care(id, 1)
			drain()
		}
		for _, id := range w.upOSDs() {
			c := w.cares[id]
			for _, what := range []string{AskAudit, AskGC} {
				w.caring[id] = w.spawn("audit", time.Hour, func(*actor) {
					r, err := c.Ask(context.Background(), what, 0, 0)
					if err != nil {
						w.fail("%s of %s: %v", what, id, err)
					} else if rep := r.(*Report); len(rep.Errors) > 0 || len(rep.Problems) > 0 {
						w.fail("%s of %s: errors %q, problems %v", what, id, rep.Errors, rep.Problems)
					}
				})
				drain()
			}
		}
	}
	for _, id := range w.upOSDs() {
		w.collect(w.cares[id])
	}
	if w.dangled > 0 {
		w.fail("%d references of objects that chunks did not know of", w.dangled)
	}
	if w.failed == "" {
		w.verify()
	}
}

// verify makes sure that everything is there, and nothing else.
func (w *world) verify() {
	listed := map[ShardID]placement.OSDID{}
	for _, n := range w.pool.Records(placement.ChunkEntry) {
		fp, _ := chunk.FingerprintOf(n)
		res, err := w.exec(n, new(client.Op).GetAttrs().OmapList("", "", 1000), nil)
		if err != nil {
			w.fail("entry of %s: %v", fp, err)
			return
		}
		odd := slices.ContainsFunc(res.Items[0].KVs, func(kv client.KV) bool {
			return kv.Key != chunk.LayoutAttr && kv.Key != chunk.DomainAttr && kv.Key != movedAttr && !strings.HasPrefix(kv.Key, leavingAttr) // a crash leaves those
		})
		if odd || len(res.Items[1].KVs) == 0 {
			w.fail("entry of chunk %s is left with %d references and the attributes %v", fp, len(res.Items[1].KVs), res.Items[0].KVs)
		}
		l, err := chunk.DecodeLayout(w.layoutOf(n))
		if err != nil {
			w.fail("layout of %s: %v", fp, err)
			return
		}
		for i, h := range l.Holders {
			listed[ShardID{worldPool, fp, l.Gen, i}] = h
		}
		for _, kv := range res.Items[1].KVs {
			b, err := chunk.ParseBackRef(kv.Key, kv.Value)
			if err != nil {
				w.fail("%v", err)
				return
			}
			if !w.refers(b.Object, fp, b.Nonce) {
				w.fail("leaked: chunk %s has a reference of %s that it does not have", fp, b.Object)
			}
		}
	}
	for _, id := range w.upOSDs() {
		for _, s := range sortedShards(w.stores[id]) {
			if h, ok := listed[s]; !ok || h != id {
				w.fail("leaked: %s holds %s, which no entry lists there", id, s)
			}
			delete(listed, s)
		}
	}
	for s, h := range listed {
		w.fail("lost: %s lacks %s", h, s)
	}
	for _, kind := range []placement.RecordKind{placement.Outbox, placement.Condemned, placement.VoidRef, placement.VoidChunk} {
		if left := w.pool.Records(kind); len(left) > 0 {
			w.fail("%d records of kind %c are left, the first is %q", len(left), kind, left[0])
		}
	}
	for _, object := range w.pool.Names() {
		if _, ok := w.model[object]; !ok {
			w.fail("object %s was removed and is there", object)
		}
	}
	for object := range w.model {
		w.spawn("get", time.Hour, func(a *actor) { a.get(object) })
		for w.turn() {
		}
	}
}

func (w *world) refers(object string, fp chunk.Fingerprint, n chunk.Nonce) bool {
	res, err := w.exec(object, new(client.Op).ReadRefs(0, 1000), nil)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(res.Items[0].Refs, func(r chunk.Ref) bool { return r.Chunk == fp && r.Nonce == n })
}

// TestModel has clients write, overwrite, read and remove at random, crash at any step, lose answers and be late, while
// OSDs are lost and emptied and every OSD cares for its chunks and crashes too. No live chunk may be lost, and when all is
// quiet and audited nothing may be left over.
func TestModel(t *testing.T) {
	seed, ops := *modelSeed, *modelOps
	if seed == 0 {
		seed = rand.Uint64()
	}
	if ops == 0 {
		ops = 6000
	}
	t.Logf("go test ./osd/chunkcare -run 'TestModel$' -v -chunk.seed %d -chunk.ops %d", seed, ops)
	var (
		mu   sync.Mutex // guards all
		all  world
		next = make(chan uint64)
		wg   sync.WaitGroup
	)
	const most = 20000 // in one world
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() { // until next is closed
			for s := range next {
				n := min(ops-most*int(s-seed), most)
				w := newWorld(s, None, proper)
				w.run(n)
				if w.failed != "" {
					t.Errorf("seed %d, after %d operations: %s\nreplay: go test ./osd/chunkcare -run 'TestModel$' -chunk.seed %d -chunk.ops %d", s, w.ops, w.failed, s, n)
				}
				mu.Lock()
				all.ops += w.ops
				all.crashes += w.crashes
				all.leaked += w.leaked
				all.dangled += w.dangled
				all.deleted += w.deleted
				all.settledChunks += w.settledChunks
				all.conflicts += w.conflicts
				all.repaired += w.repaired
				mu.Unlock()
			}
		})
	}
	for i := 0; i*most < ops && !t.Failed(); i++ {
		next <- seed + uint64(i)
	}
	close(next)
	wg.Wait()
	t.Logf("%d operations, %d crashes: %d chunks deleted, %d shards repaired, %d chunks made by settling, which writes interrupted %d times; leaked %d, all healed, none left; dangling %d",
		all.ops, all.crashes, all.deleted, all.repaired, all.settledChunks, all.conflicts, all.leaked, all.dangled)
}

// TestModelMutants breaks one rule of safety at a time: the model must notice each.
func TestModelMutants(t *testing.T) {
	for _, tt := range []struct {
		name   string
		seed   uint64 // the first one; others follow
		care   Mutant
		client clientMutant
	}{
		{"GC deletes without a condition", 4, GCUnconditional, proper},
		{"chunks are condemned without a condition", 1, CondemnBlind, proper},
		{"GC without epochs", 9, GCNoEpoch, proper},
		{"the outbox is believed", 1, OutboxBlind, proper},
		{"a shard counts before it is durable", 1, CountEarly, proper},
		{"orphans without void records", 4, OrphanNoVoid, proper},
		{"audit without void records", 1, AuditNoVoid, proper},
		{"an OSD drops a shard that is about to be its", 8, OrphanUnmarked, proper},
		{"settling does not look whether the object was written meanwhile", 1, SettleBlind, proper},
		{"settling gives up what may be set", 17, SettleAbandon, proper},
		{"references dropped before the new one is durable", 14, None, dropFirst},
		{"a chunk is entered before its shards are durable", 1, None, earlyAck},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for seed := tt.seed; seed < tt.seed+60; seed++ {
				w := newWorld(seed, tt.care, tt.client)
				w.run(3000)
				if w.failed != "" {
					t.Logf("seed %d, after %d operations: %s", seed, w.ops, w.failed)
					return
				}
			}
			t.Error("nothing was noticed in 60 runs")
		})
	}
}
