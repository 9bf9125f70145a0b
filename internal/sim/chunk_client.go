package sim

import (
	"errors"
	"fmt"
	"time"

	objects "github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// chunkClient writes, overwrites, cuts, removes and reads objects whose bytes are chunks, step by step as package client
// does. It may die at any of them, and begins a new life then. What it saw is part of the history, like what other clients saw.
type chunkClient struct {
	process
	pl   *plane
	id   int
	left int
	done bool
	f    *fiber
	g    *agent
}

const (
	slotBytes    = 32
	slots        = 4
	chunkObjects = 5
	chunkClients = 5
	contents     = 14 // of chunks: few, so that there are many hits
)

// content is what a chunk may hold.
func content(n int) []byte { return fmt.Appendf(nil, "%031d;", 1_000_000+n) }

// names lists the objects that have chunks.
func (pl *plane) names() (all []input) {
	if pl == nil {
		return nil
	}
	for i := range chunkObjects {
		all = append(all, input{pool: pl.w.k.pools[0].name, object: fmt.Sprintf("c%d", i)})
	}
	return all
}

func (pl *plane) addClient(i int) {
	c := &chunkClient{process: process{w: pl.w, at: clientBase + 500 + endpoint(i), alive: true}, pl: pl, id: 500 + i, left: 50}
	pl.clients = append(pl.clients, c)
	c.begin()
}

// begin starts a life.
func (c *chunkClient) begin() {
	c.g = c.pl.newAgent(&c.process)
	c.g.late = 0.04
	c.f = c.pl.spawn(&c.process, func(f *fiber) {
		for !f.dead && c.left > 0 {
			f.pause(c.w.rand(0, c.pl.think))
			if c.g.mapNow() == nil || c.g.mapNow().PoolByName(c.w.k.pools[0].name) == nil {
				continue
			}
			c.left--
			c.operate(f)
			f.round++
		}
		c.done = !f.dead
	})
}

// quit ends a life, wherever the client is just now; another begins.
func (c *chunkClient) quit() {
	if !c.alive || c.done {
		return
	}
	c.die()
	c.pl.ended(&c.process)
	c.w.after(c.w.rand(0, time.Second), func() {
		c.alive = true
		c.begin()
	})
}

func (c *chunkClient) pool() placement.PoolID { return c.g.mapNow().PoolByName(c.w.k.pools[0].name).ID }

// operate does one thing.
func (c *chunkClient) operate(f *fiber) {
	w := c.w
	in := pick(w, c.pl.names())
	if len(c.pl.doomed) > 0 && w.chance(0.4) { // what GC is about to delete, as who has read of it long ago may want to
		w.count["(hits on what GC was about to delete)"]++
		c.refer(f, in, slotBytes*w.rng.IntN(slots), pick(w, c.pl.doomed))
		return
	}
	switch x := w.rng.IntN(100); {
	case x < 6:
		c.copy(f, in, slotBytes*w.rng.IntN(slots))
	case x < 38:
		c.put(f, in, slotBytes*w.rng.IntN(slots), w.rng.IntN(contents))
	case x < 60: // somewhere, or over what may be a whole chunk
		w.values++
		in.kind, in.value, in.off = "patch", fmt.Sprintf("%d;", w.values), w.rng.IntN(slots*slotBytes)
		if w.chance(0.7) {
			in.value, in.off = fmt.Sprintf("%031d;", w.values), slotBytes*w.rng.IntN(slots)
		}
		c.write(f, in, new(objects.Op).Write(uint64(in.off), []byte(in.value)))
	case x < 63:
		in.kind, in.off = "chop", w.rng.IntN(slots*slotBytes)
		c.write(f, in, new(objects.Op).Truncate(uint64(in.off)))
	case x < 72:
		in.kind = "remove"
		c.write(f, in, new(objects.Op).Remove(true))
	default:
		c.read(f, in)
	}
}

// write carries out a change of an object, and notes what came of it. It returns the error that says so.
func (c *chunkClient) write(f *fiber, in input, op *objects.Op) error {
	w, call := c.w, c.w.now
	note := func(unknown bool) { w.record(c.id, in, call, output{unknown: unknown, code: wirepb.Code_OK}) }
	ended := false
	defer func() {
		if !ended { // its client has died
			note(true)
		}
	}()
	_, err := c.g.do(f, c.pool(), in.object, op)
	if f.dead {
		return errCrashed
	}
	ended = true
	switch {
	case err == nil:
		note(false)
	case errors.Is(err, objects.ErrTimeout):
		note(true)
	}
	return err // it has not been carried out, and never will be
}

// redundancyOf is that of chunks of some content.
func (pl *plane) redundancyOf(n int) placement.Redundancy {
	if n%3 == 0 {
		return placement.Redundancy{Codec: placement.Replica, K: 1, M: pl.redundancy.M}
	}
	return pl.redundancy
}

// put makes a part of an object the bytes of a chunk.
func (c *chunkClient) put(f *fiber, in input, off, n int) {
	w, pool, k, red := c.w, c.pool(), c.maker(f), c.pl.redundancyOf(n)
	in.kind, in.value, in.off = "patch", string(content(n)), off
	for range 6 {
		ref, err := k.make(pool, in.object, content(n), red)
		if err != nil {
			return
		}
		if w.o.Slip == DropFirst {
			c.dropFirst(f, pool, in.object, off)
		}
		if err := c.write(f, in, new(objects.Op).SetRef(uint64(off), slotBytes, ref)); err == nil || errors.Is(err, objects.ErrTimeout) || f.dead {
			return // if nobody knows, the audit finds out
		}
		if k.abandon(pool, in.object, &ref); f.dead {
			return
		}
	}
}

// copy makes a part of an object the bytes of a chunk that some other object refers to, without having them.
func (c *chunkClient) copy(f *fiber, in input, off int) {
	w, pool := c.w, c.pool()
	res, err := c.g.do(f, pool, pick(w, c.pl.names()).object, new(objects.Op).ReadRefs(0, 100))
	if err != nil || len(res.Items[0].Refs) == 0 {
		return
	}
	w.count["(chunks copied)"]++
	c.refer(f, in, off, pick(w, res.Items[0].Refs).Chunk)
}

// refer makes a part of an object the bytes of a chunk, if that is there.
func (c *chunkClient) refer(f *fiber, in input, off int, fp chunk.Fingerprint) {
	data, pool := c.pl.contents[fp], c.pool()
	if len(data) != slotBytes {
		return
	}
	ref, err := c.maker(f).adopt(pool, in.object, fp)
	if err != nil {
		return
	}
	in.kind, in.value, in.off = "patch", string(data), off
	if err := c.write(f, in, new(objects.Op).SetRef(uint64(off), slotBytes, ref)); err != nil && !errors.Is(err, objects.ErrTimeout) && !f.dead {
		c.maker(f).abandon(pool, in.object, &ref)
	}
}

func (c *chunkClient) maker(f *fiber) *maker { return &maker{pl: c.pl, w: c.w, g: c.g, f: f} }

// dropFirst is what a client must not do, see DropFirst.
func (c *chunkClient) dropFirst(f *fiber, pool placement.PoolID, object string, off int) {
	res, err := c.g.do(f, pool, object, new(objects.Op).ReadRefs(0, 100))
	if err != nil {
		return
	}
	for _, r := range res.Items[0].Refs {
		if int(r.Range.From)/slotBytes == off/slotBytes {
			back := chunk.BackRef{Nonce: r.Nonce, Pool: pool, Object: object}
			_, _ = c.g.do(f, pool, r.Chunk.IndexName(), new(objects.Op).AssertExists().OmapRm(back.Key()))
		}
	}
}

// read reads an object and the chunks that it refers to. They stay readable for a GC interval, or the object has changed.
// It reports whether it could.
func (c *chunkClient) read(f *fiber, in input) bool {
	w := c.w
	in.kind = "read"
	for !f.dead {
		call := w.now
		res, err := c.g.do(f, c.pool(), in.object, new(objects.Op).Read(0, 0))
		switch {
		case f.dead:
			return false
		case errors.Is(err, objects.ErrNotFound):
			w.record(c.id, in, call, output{code: wirepb.Code_NOT_FOUND})
			return true
		case err != nil:
			return false
		}
		it := &res.Items[0]
		for i := range it.Refs {
			c.pl.seen[it.Refs[i].Chunk] = max(c.pl.seen[it.Refs[i].Chunk], call)
		}
		if w.faults && len(it.Refs) > 0 && w.chance(0.2) { // a slow reader
			f.pause(w.rand(0, careSettings.GCInterval))
		}
		all, rest := make([]byte, it.Length), it.Data
		if len(it.Refs) == 0 {
			copy(all, rest)
		} else {
			for _, l := range it.Local {
				rest = rest[copy(all[l.From:l.To], rest):]
			}
		}
		whole := true
		for i := range it.Refs {
			r := &it.Refs[i]
			data, gone := c.maker(f).fetch(c.pool(), r, call)
			switch {
			case data == nil && !gone: // could not find out
				return false
			case gone:
				whole = false
			default:
				r.Bare(r.Range, func(x chunk.Range) { copy(all[x.From:x.To], data[uint64(r.ChunkOff)+x.From-r.Range.From:]) })
			}
		}
		if whole {
			w.record(c.id, in, call, output{code: wirepb.Code_OK, data: string(all)})
			return true
		}
	}
	return false
}
