package sim

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/osd/chunkcare"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// plane is the chunk plane of runs that have one (Options.Chunks): shards of chunks in the stores of all OSDs, clients that
// store, share, read and let go of chunks, and beside every OSD the production code that cares for them.
type plane struct {
	w          *world
	fibers     []*fiber
	clients    []*chunkClient
	agents     int
	redundancy placement.Redundancy // of chunks that are not copies
	think      time.Duration
	contents   map[chunk.Fingerprint][]byte     // what chunks are
	seen       map[chunk.Fingerprint]clock.Mono // when a reader saw a reference to it last, or earlier
	doomed     []chunk.Fingerprint              // condemned, and their generation is forbidden: GC is about to delete them
	work       map[placement.OSDID]careWork
	harmed     map[*fiber]int // rounds of who was under way when shards were lost last
}

func (w *world) addPlane() {
	pl := &plane{
		w: w, think: w.rand(10*time.Millisecond, 600*time.Millisecond), contents: map[chunk.Fingerprint][]byte{},
		seen: map[chunk.Fingerprint]clock.Mono{}, work: map[placement.OSDID]careWork{}, redundancy: placement.Redundancy{Codec: placement.XOR, K: 2, M: 1},
	}
	if w.k.osds > 4 && w.chance(0.4) {
		pl.redundancy = placement.Redundancy{Codec: placement.ReedSolomon, K: 2, M: 2}
	}
	w.plane = pl
	for _, n := range w.osds {
		if n.alive {
			pl.startCare(n)
		}
	}
	for i := range chunkClients {
		pl.addClient(i)
	}
	w.after(time.Second, pl.disturb)
	w.after(time.Second, pl.watch)
}

func (pl *plane) nonce() (n chunk.Nonce) {
	binary.LittleEndian.PutUint64(n[:], pl.w.rng.Uint64())
	binary.LittleEndian.PutUint64(n[8:], pl.w.rng.Uint64())
	return n
}

// doom notes that GC is about to delete a chunk, or is not any more.
func (pl *plane) doom(fp chunk.Fingerprint, is bool) {
	pl.doomed = slices.DeleteFunc(pl.doomed, func(x chunk.Fingerprint) bool { return x == fp })
	if is {
		pl.doomed = append(pl.doomed, fp)
	}
}

// ownFingerprint names a chunk that is not shared.
func (pl *plane) ownFingerprint(data []byte) chunk.Fingerprint {
	var r [chunk.OwnRandom]byte
	for i := 0; i < len(r); i += 8 {
		binary.LittleEndian.PutUint64(r[i:], pl.w.rng.Uint64())
	}
	return chunk.OwnOf(r, data)
}

// disturb does harm to chunks and those who write them, beside all other faults.
func (pl *plane) disturb() {
	w := pl.w
	if !w.faults {
		return
	}
	switch x := w.rng.IntN(10); {
	case x < 3:
		w.inject("end of a client with chunks")
		pick(w, pl.clients).quit()
	case x < 6:
		if c := pick(w, pl.clients); w.freeze(&c.process, 5*time.Second) {
			w.inject("pause of a client with chunks")
		}
	case pl.rot():
		w.inject("rot of shards")
	}
	w.after(w.rand(0, 2*time.Second), pl.disturb)
}

// heal ends what disturb does.
func (pl *plane) heal() {
	if pl == nil {
		return
	}
	for _, c := range pl.clients {
		c.thaw()
		c.left = min(c.left, 5)
	}
}

// rot damages shards on one disk, at most one of each chunk.
func (pl *plane) rot() bool {
	w := pl.w
	n := w.someOSD()
	if !pl.mayLose() {
		return false
	}
	k := store.ShardKey(pl.pool(), "")
	objs, _, err := n.disk.st.List(k.PG, k.Space, "", 1000)
	if err != nil || len(objs) == 0 {
		return false
	}
	hit := map[chunk.Fingerprint]bool{}
	for range 1 + w.rng.IntN(4) {
		name := pick(w, objs).Name
		s, _ := chunk.ParseShardName(name)
		if hit[s.Chunk] {
			continue
		}
		hit[s.Chunk] = true
		if err := n.disk.st.Rot(store.ShardKey(pl.pool(), name), 0); err != nil {
			w.failf("%s: %v", n.id, err)
		}
		w.logf("%s: shard %d of %s rots", n.id, s.Index, s.Chunk)
	}
	pl.lost()
	return true
}

func (pl *plane) pool() placement.PoolID {
	return pl.w.mons.st.Map().PoolByName(pl.w.k.pools[0].name).ID
}

// mayLose reports whether shards may be lost: every chunk has all of its own, and nobody is under way who may have seen those
// that were lost last. Otherwise more might be lost than chunks survive.
func (pl *plane) mayLose() bool {
	if pl == nil {
		return true
	}
	for _, f := range pl.fibers {
		if round, ok := pl.harmed[f]; ok && f.round == round {
			return false
		}
	}
	s := pl.scan()
	return !s.partial && s.broken() == ""
}

// lost notes that shards were lost.
func (pl *plane) lost() {
	if pl == nil {
		return
	}
	pl.harmed = map[*fiber]int{}
	for _, f := range pl.fibers {
		pl.harmed[f] = f.round
	}
}

// shardAt is a shard on a disk.
func shardAt(pool placement.PoolID, fp chunk.Fingerprint, gen chunk.Gen, i int) store.Key {
	return shardKey(chunkcare.ShardID{Pool: pool, Chunk: fp, Gen: gen, Index: i})
}
