package osd

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// Limits of a ChunkPlace: shards, and OSDs.
const (
	placeMax = chunk.MaxShards
	avoidMax = 256
)

// onChunkPlace says who should hold the shards of a PG's chunks, if the OSD leads the PG.
func (d *OSD) onChunkPlace(c *wire.Conn, m *wire.Message, r *wirepb.ChunkPlace, epoch placement.Epoch) {
	id := placement.PGID{Pool: placement.PoolID(r.Pool), Shard: r.Shard}
	d.mu.Lock()
	cur, table := d.cur, d.table
	d.mu.Unlock()
	if r.Count == 0 || r.Count > placeMax || len(r.Avoid) > avoidMax {
		c.ReplyError(m, wirepb.Code_INVALID, "places for %d shards, %d OSDs to avoid: want 1 to %d, and at most %d", r.Count, len(r.Avoid), placeMax, avoidMax)
		return
	}
	if epoch > cur.Epoch {
		d.o.Monitors.Want(epoch)
		c.ReplyError(m, wirepb.Code_TRY_LATER, "%s has not got map epoch %d yet", d.id, epoch)
		return
	}
	rec := cur.PG(id)
	switch {
	case rec == nil:
		c.ReplyError(m, wirepb.Code_NOT_FOUND, "PG %s: no such PG in map epoch %d", id, cur.Epoch)
		return
	case rec.Primary != d.id:
		c.ReplyError(m, wirepb.Code_WRONG_PRIMARY, "PG %s is led by %s", id, rec.Primary)
		return
	}
	out := &wirepb.ChunkPlaced{}
	for _, o := range d.holders(table, id, r) {
		out.Osds = append(out.Osds, int32(o))
	}
	c.Reply(m, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_ChunkPlaced{ChunkPlaced: out}}})
}

// holders chooses OSDs that are not to be avoided, in failure domains where none of those to be avoided is as long as
// there are such: whoever replaces a shard names those that have the others. OSDs come first that a chunk of so many
// shards has as candidates when nobody is avoided: from any others the care for chunks would move the shards away again.
func (d *OSD) holders(t *placement.Table, id placement.PGID, r *wirepb.ChunkPlace) []placement.OSDID {
	n := int(r.Count)
	avoid := map[placement.OSDID]bool{}
	taken := map[int]bool{}
	for _, o := range r.Avoid {
		avoid[placement.OSDID(o)] = true
		if dom, ok := t.Domain(id.Pool, placement.OSDID(o)); ok {
			taken[dom] = true
		}
	}
	var near, far, others []placement.HolderCandidate
	seen := map[placement.OSDID]bool{}
	look := func(shards int, fresh *[]placement.HolderCandidate) {
		for _, c := range t.ChunkCandidates(id, shards) {
			if avoid[c.ID] || seen[c.ID] {
				continue
			}
			seen[c.ID] = true
			d.weigh(&c)
			if taken[c.Domain] {
				others = append(others, c)
			} else {
				*fresh = append(*fresh, c)
			}
		}
	}
	look(n, &near)
	look(n+len(taken), &far)
	var out []placement.OSDID
	for _, cands := range [][]placement.HolderCandidate{near, far, others} {
		if len(out) == n {
			break
		}
		chosen, _ := placement.Holders(n-len(out), cands, rand.Uint64())
		out = append(out, chosen...)
	}
	return out
}

// weigh fills in what an OSD says of itself.
func (d *OSD) weigh(c *placement.HolderCandidate) {
	l, ok := d.loadOf(c.ID)
	if !ok {
		return
	}
	c.Full, c.Free, c.Busy = l.full, l.free, uint64(l.busy/time.Microsecond)
	if c.Free == 0 && c.Full < placement.Full { // it is older than this field
		c.Free = placement.FreeUnknown
	}
	// One that does not answer heartbeats would not answer clients. The monitors will have it down soon.
	c.Slow = c.Slow || d.clk.Mono().Sub(l.at) > d.o.Lease
}

// load is what an OSD says of itself in its heartbeats.
type load struct {
	free int64 // bytes
	busy time.Duration
	full placement.Fullness
	at   clock.Mono // when it was asked
}

// loads are those of the other OSDs.
type loads struct {
	mu sync.Mutex // guards below
	of map[placement.OSDID]load
}

// heard notes what an OSD says of itself.
func (l *loads) heard(asked clock.Mono, id placement.OSDID, hb *wirepb.HeartbeatReply) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[placement.OSDID]load{}
	}
	l.of[id] = load{hb.FreeBytes, time.Duration(min(hb.BusyUs, math.MaxInt64/uint64(time.Microsecond))) * time.Microsecond,
		placement.Fullness(min(hb.Full, uint32(placement.Full))), asked}
}

// forget ends what is known of those that are not up.
func (l *loads) forget(m *placement.Map) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.of {
		if !m.IsUp(id) {
			delete(l.of, id)
		}
	}
}

// loadOf is the load of an OSD, our own included; false: it is not known.
func (d *OSD) loadOf(id placement.OSDID) (load, bool) {
	if id == d.id {
		return d.ownLoad(), true
	}
	d.loads.mu.Lock()
	defer d.loads.mu.Unlock()
	l, ok := d.loads.of[id]
	return l, ok
}

func (d *OSD) ownLoad() load {
	u := d.o.Store.Usage()
	return load{u.Available, d.busyNow(), d.fullness(u), d.clk.Mono()}
}

// busyUnit is how many bytes of a batch count as one small write: the time of a larger one is divided.
const busyUnit = 256 << 10

// How fast busy follows what it sees, and forgets when there is nothing to see.
const (
	busyEvery  = 200 * time.Millisecond // how often it is brought up to date at most
	busyFollow = 600 * time.Millisecond // two thirds of the way to what is seen
	busyForget = 5 * time.Second        // the same to nothing, while nothing is written
)

// busy is how long small writes to the store take lately, from when it is given them until they are durable: what
// waits before them included. The zero value knows of none.
type busy struct {
	sum, n atomic.Int64 // since last: nanoseconds, small writes

	mu    sync.Mutex // guards below
	last  clock.Mono
	value float64 // nanoseconds
}

// wrote notes a batch with so many bytes of data.
func (b *busy) wrote(took time.Duration, bytes int64) {
	b.sum.Add(int64(took) / (1 + bytes/busyUnit))
	b.n.Add(1)
}

// now returns what it is; stalled is how long the device has not answered.
func (b *busy) now(at clock.Mono, stalled time.Duration) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if since := at.Sub(b.last); since >= busyEvery || b.last == 0 {
		b.last = at
		n, sum := b.n.Swap(0), b.sum.Swap(0)
		seen, pace := 0.0, busyForget
		if n > 0 {
			seen, pace = float64(sum)/float64(n), busyFollow
		}
		b.value += (seen - b.value) * (1 - math.Exp(-float64(since)/float64(pace)))
	}
	return max(time.Duration(b.value), stalled)
}

// busyNow is how long a small write takes now.
func (d *OSD) busyNow() time.Duration {
	stalled := time.Duration(0)
	if s, ok := d.o.Store.(store.Stalling); ok {
		stalled = s.Stalled()
	}
	return d.busy.now(d.clk.Mono(), stalled)
}

// committed notes that a batch has become durable that the store was given at began.
func (d *OSD) committed(began clock.Mono, bytes int64) {
	took := d.clk.Mono().Sub(began)
	d.commitUs.Store(took.Microseconds()/8 + d.commitUs.Load()*7/8)
	d.busy.wrote(took, bytes)
}
