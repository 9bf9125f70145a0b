package sim

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// In some seeds clients also make references to chunks, and write over them. The chunks themselves are a table: what is
// tried is whether objects and outboxes stay right, and so whether the entry of a chunk may let go of a reference when it
// does (docs/formats/chunks.md). One more client works as osd/chunkcare does.

// simRef is what the entry of a chunk knows of one reference. Its value's number names chunk and reference.
type simRef struct {
	in    input
	acked bool       // its client was told that the object has it
	gone  clock.Mono // when the entry let go of it; 0: it has not
}

// drawRefs decides whether a seed has references, by chance of its own, so that seeds without are what they were.
func (w *world) drawRefs() {
	rng := rand.New(rand.NewPCG(w.o.Seed, 0x72656673))
	w.refs = map[uint32]*simRef{}
	w.k.refs = rng.IntN(4) == 0 && !w.o.Chunks // those are real ones
}

// numberOf is the number of a value.
func numberOf(value string) uint32 {
	n, err := strconv.ParseUint(strings.TrimSuffix(value, ";"), 10, 32)
	if err != nil {
		panic(err) // clients write no others
	}
	return uint32(n)
}

// ref is the reference that an input makes.
func (in *input) ref() *chunk.Ref {
	n := uint32(len(in.value))
	r := &chunk.Ref{Range: chunk.Range{From: uint64(in.off), To: uint64(in.off) + uint64(n)}, Layout: chunk.Layout{
		Gen: 1, Size: n, Stored: n, Redundancy: placement.Redundancy{Codec: placement.Replica, K: 1}, Holders: []placement.OSDID{0},
	}}
	r.Chunk[0] = chunk.BLAKE3
	binary.BigEndian.PutUint32(r.Chunk[1:], numberOf(in.value))
	binary.BigEndian.PutUint32(r.Nonce[:], numberOf(in.value))
	return r
}

// refsOf are the numbers of the references in an answer.
func refsOf(res *wirepb.ObjResult) map[uint32]chunk.Ref {
	all := map[uint32]chunk.Ref{}
	for _, b := range res.Refs {
		r, err := chunk.DecodeRef(b)
		if err != nil {
			panic(err) // what clients write is right, so the OSD has made this of it
		}
		all[binary.BigEndian.Uint32(r.Nonce[:])] = r
	}
	return all
}

// resolve gives a READ of a whole object the bytes that chunks have.
func resolve(res *wirepb.ObjResult, own []byte) string {
	if len(res.Refs) == 0 {
		return string(own)
	}
	all := make([]byte, res.Length)
	for i := 0; i < len(res.Local); i += 2 {
		own = own[copy(all[res.Local[i]:][:res.Local[i+1]], own):]
	}
	for _, b := range res.Refs {
		r, err := chunk.DecodeRef(b)
		if err != nil {
			panic(err) // see refsOf
		}
		value := fmt.Sprintf("%d;", binary.BigEndian.Uint32(r.Chunk[1:]))
		r.Bare(r.Range, func(x chunk.Range) {
			copy(all[x.From:x.To], value[uint64(r.ChunkOff)+x.From-r.Range.From:])
		})
	}
	return string(all)
}

// drawRef makes a reference of what was to be a write.
func (c *client) drawRef(in *input) {
	w := c.w
	if !w.k.refs || in.kind != "patch" && in.kind != "append" || w.chance(0.3) {
		return
	}
	in.kind, in.off = "ref", 24*w.rng.IntN(4)+w.rng.IntN(3)
	w.refs[numberOf(in.value)] = &simRef{in: *in}
}

// refEnded notes what the client of a SET_REF was told.
func (w *world) refEnded(in input, out output) {
	n := numberOf(in.value)
	switch {
	case out.unknown:
		w.doubts = append(w.doubts, n)
	case out.code == wirepb.Code_OK:
		w.refs[n].acked = true
	}
}

// letGo has the entry of a chunk forget a reference.
func (w *world) letGo(n uint32) {
	if r := w.refs[n]; r.gone == 0 {
		w.logf("reference %d is let go of", n)
		r.gone = w.now
	}
}

// sawRefs: nobody may find a reference that was let go of before he asked.
func (w *world) sawRefs(a *attempt, r pg.Reply) {
	if r.Code != wirepb.Code_OK || len(r.Reply.GetResults()) == 0 {
		return
	}
	for n := range refsOf(r.Reply.Results[0]) {
		if at := w.refs[n].gone; at != 0 && at < a.call {
			w.failf("%s has reference %d, which its chunk let go of at %.3f", a.in.key(), n, at.Sub(0).Seconds())
		}
	}
}

// ---- care ----

// addCare adds the client that works outboxes off.
func (w *world) addCare() {
	i := w.k.clients
	c := &client{process: process{w: w, at: clientBase + endpoint(i), alive: true}, id: i, left: 4 * w.k.opsPerClient, cares: true, kv: map[string]string{}}
	w.clients = append(w.clients, c)
	c.newCore()
	c.session = newSession(w, &c.process, w.k.clientLag, func(p *published) { c.driveMap(p) })
	c.later(w.rand(0, 100), c.next)
}

// ask carries out an operation that is no part of the history; then hears of the answer, unless there is none.
func (c *client) ask(in input, then func(r pg.Reply)) {
	c.done = false
	c.seq++
	c.submit(&attempt{seq: c.seq, in: in, call: c.w.now, then: func(r pg.Reply, ok bool) {
		if !ok || r.Code != wirepb.Code_OK && r.Code != wirepb.Code_NOT_FOUND {
			c.rest()
			return
		}
		then(r)
	}})
}

// care looks after one thing.
func (c *client) care() {
	w := c.w
	if n := len(w.doubts); n > 0 && w.chance(0.5) {
		i := w.rng.IntN(n)
		d := w.doubts[i]
		w.doubts = append(w.doubts[:i], w.doubts[i+1:]...)
		c.giveUp(d)
		return
	}
	in := pick(w, w.objectNames())
	in.kind, in.record = "list", placement.Outbox
	c.ask(in, func(r pg.Reply) {
		names := r.List.GetObjects()
		if len(names) == 0 {
			c.rest()
			return
		}
		c.workOff(input{pool: in.pool, object: string(pick(w, names))})
	})
}

// workOff carries out a record of an outbox.
func (c *client) workOff(record input) {
	w := c.w
	_, _, object, ok := chunk.OutboxOf(record.object)
	if !ok {
		w.failf("a listing of outboxes has %q", record.object)
		return
	}
	record.kind = "read"
	c.ask(record, func(r pg.Reply) {
		if r.Code == wirepb.Code_NOT_FOUND {
			c.rest()
			return
		}
		drops, err := chunk.DecodeDropped(r.Payload)
		if err != nil {
			w.failf("%q: %v", record.object, err)
			return
		}
		c.look(input{pool: record.pool, object: object}, func(has map[uint32]chunk.Ref) {
			for _, d := range drops {
				n := binary.BigEndian.Uint32(d.Nonce[:])
				if _, ok := has[n]; !ok || w.o.Slip == BlindCare {
					w.letGo(n)
				}
			}
			record.kind = "remove"
			c.ask(record, func(pg.Reply) { c.rest() })
		})
	})
}

// look reads which references an object has.
func (c *client) look(object input, then func(map[uint32]chunk.Ref)) {
	object.kind = "read"
	c.ask(object, func(r pg.Reply) {
		if r.Code == wirepb.Code_NOT_FOUND {
			then(nil)
			return
		}
		then(refsOf(r.Reply.Results[0]))
	})
}

// giveUp makes sure that a reference of which nobody knows whether it was made either is there or never will be.
func (c *client) giveUp(n uint32) {
	w := c.w
	in := w.refs[n].in
	void := input{pool: in.pool, object: chunk.VoidRefName(in.ref().Nonce, in.object), kind: "create"}
	c.ask(void, func(r pg.Reply) {
		if r.Code != wirepb.Code_OK {
			c.rest()
			return
		}
		c.look(input{pool: in.pool, object: in.object}, func(has map[uint32]chunk.Ref) {
			if _, ok := has[n]; !ok {
				w.letGo(n)
			}
			c.rest()
		})
	})
}

// Invariant: what a chunk's entry let go of no object has, and what no object has any more is in an outbox, so that the
// entry will let go of it.

func (w *world) checkRefs() {
	live, noted := map[uint32]string{}, map[uint32]bool{}
	for _, id := range w.check.sorted() {
		rec := w.mons.record(id)
		if rec == nil || len(rec.InSync) == 0 {
			continue
		}
		st := w.osds[rec.InSync[0]].disk.st
		objs, _, err := st.List(id, store.Objects, "", 10000)
		if err != nil {
			w.failf("list PG %s: %v", id, err)
			return
		}
		for _, o := range objs {
			k := store.Key{PG: id, Name: o.Name}
			if _, _, _, ok := chunk.OutboxOf(o.Name); ok {
				data, err := st.Read(k, 0, 1<<20)
				if err != nil {
					w.failf("%s: %v", k, err)
					return
				}
				drops, err := chunk.DecodeDropped(data)
				if err != nil {
					w.failf("%s: %v", k, err)
					return
				}
				for _, d := range drops {
					noted[binary.BigEndian.Uint32(d.Nonce[:])] = true
				}
				continue
			}
			kvs, _, err := st.OmapList(k, []byte(chunk.RefKeys), []byte(chunk.RefKeysEnd), 10000)
			if err != nil {
				w.failf("%s: %v", k, err)
				return
			}
			for _, kv := range kvs {
				r, err := chunk.DecodeRef(kv.Value)
				if err != nil {
					w.failf("%s: %v", k, err)
					return
				}
				live[binary.BigEndian.Uint32(r.Nonce[:])] = o.Name
			}
		}
	}
	for n := uint32(1); n <= uint32(w.values); n++ {
		r := w.refs[n]
		if r == nil {
			continue
		}
		object, lives := live[n]
		switch {
		case lives && r.gone != 0:
			w.failf("%s has reference %d, which its chunk let go of at %.3f", object, n, r.gone.Sub(0).Seconds())
		case !lives && r.gone == 0 && r.acked && !noted[n]:
			w.failf("reference %d of %s is gone, and no outbox has it", n, r.in.key())
		}
	}
}

// blindReader does not see void records, see IgnoreVoid.
type blindReader struct{ store.Reader }

// Stat implements store.Reader.
func (r blindReader) Stat(k store.Key) (store.Info, error) {
	if kind, ok := placement.RecordOf(k.Name); ok && kind == placement.VoidRef {
		return store.Info{}, store.ErrNotFound
	}
	return r.Reader.Stat(k)
}
