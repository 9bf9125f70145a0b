package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	objects "github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/chunk/ec"
	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/chunkcare"
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
	switch x := w.rng.IntN(100); {
	case x < 45:
		c.put(f, in, slotBytes*w.rng.IntN(slots), w.rng.IntN(contents))
	case x < 58: // somewhere, or over what may be a whole chunk
		w.values++
		in.kind, in.value, in.off = "patch", fmt.Sprintf("%d;", w.values), w.rng.IntN(slots*slotBytes)
		if w.chance(0.5) {
			in.value, in.off = fmt.Sprintf("%031d;", w.values), slotBytes*w.rng.IntN(slots)
		}
		c.write(f, in, new(objects.Op).Write(uint64(in.off), []byte(in.value)))
	case x < 62:
		in.kind, in.off = "chop", w.rng.IntN(slots*slotBytes)
		c.write(f, in, new(objects.Op).Truncate(uint64(in.off)))
	case x < 74:
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

// put makes a part of an object the bytes of a chunk.
func (c *chunkClient) put(f *fiber, in input, off, n int) {
	w, pool := c.w, c.pool()
	data := content(n)
	red := c.pl.redundancy
	if n%3 == 0 {
		red = placement.Redundancy{Codec: placement.Replica, K: 1, M: red.M}
	}
	domain := chunk.Domain(chunk.ClusterDomain, red)
	fp := chunk.Of(chunk.BLAKE3, domain, data)
	for range 6 {
		if w.chance(0.25) { // not shared with anybody
			fp, domain = c.pl.ownFingerprint(data), ""
		}
		c.pl.contents[fp] = data
		ref := chunk.Ref{Chunk: fp, Nonce: c.pl.nonce()}
		back := chunk.BackRef{Nonce: ref.Nonce, Pool: pool, Object: in.object, At: c.g.wall()}
		res, err := c.g.do(f, pool, fp.IndexName(), new(objects.Op).AssertExists().CmpAttrAbsent(chunk.LostAttr).
			OmapSet(back.Key(), back.Value()).RmAttr(chunk.CondemnedAttr).GetAttr(chunk.LayoutAttr))
		switch {
		case err == nil:
			w.count["(chunks shared)"]++
			if ref.Layout, err = chunk.DecodeLayout(res.Items[4].Data); err != nil {
				w.failf("layout of %s: %v", fp, err)
				return
			}
		case errors.Is(err, objects.ErrConflict): // it is lost as far as anybody knows
			fp, domain = c.pl.ownFingerprint(data), ""
			continue
		case !errors.Is(err, objects.ErrNotFound):
			return
		default:
			l, again := c.store(f, pool, fp, domain, data, red, &back)
			if again {
				continue
			}
			if l.Gen == 0 {
				return
			}
			ref.Layout = l
		}
		if w.o.Slip == DropFirst {
			c.dropFirst(f, pool, in.object, off)
		}
		in.kind, in.value, in.off = "patch", string(data), off
		if err := c.write(f, in, new(objects.Op).SetRef(uint64(off), slotBytes, ref)); err == nil || errors.Is(err, objects.ErrTimeout) || f.dead {
			return // if nobody knows, the audit finds out
		}
		_, _ = c.g.do(f, pool, fp.IndexName(), new(objects.Op).AssertExists().OmapRm(back.Key()))
		if f.dead {
			return
		}
	}
}

// store brings a chunk to its holders and makes its entry. again: try from the start; no generation: do not.
func (c *chunkClient) store(f *fiber, pool placement.PoolID, fp chunk.Fingerprint, domain string, data []byte, red placement.Redundancy, back *chunk.BackRef) (l chunk.Layout, again bool) {
	w, m := c.w, c.g.mapNow()
	none := chunk.Layout{}
	l = chunk.Layout{Gen: chunk.Gen(w.rng.Uint64() | 1), Size: slotBytes, Stored: slotBytes, Redundancy: red}
	osds, err := c.g.place(f, placement.PGOf(m.Pool(pool), fp.IndexName()), red.Shards(), nil)
	if err != nil || len(osds) < red.Shards() {
		return none, false
	}
	l.Holders = osds
	coder, err := ec.New(red)
	if err != nil {
		w.failf("%v", err)
		return none, false
	}
	pieces := coder.Encode(data, nil)
	for i := range pieces {
		pieces[i] = slices.Clone(pieces[i])
	}
	if w.o.Slip != EnterEarly && !c.putAll(f, pool, fp, &l, pieces) {
		return none, false // what was stored is an orphan
	}
	if w.faults && w.chance(2*c.g.late) {
		f.pause(w.rand(0, 3*careSettings.OrphanAge))
	}
	op := new(objects.Op).AssertAbsent().AssertNoRecord(chunk.VoidChunkName(l.Gen, fp)).
		SetAttr(chunk.LayoutAttr, l.Append(nil)).OmapSet(back.Key(), back.Value())
	if domain != "" {
		op.SetAttr(chunk.DomainAttr, chunk.EncodeDomain(domain))
	}
	_, err = c.g.do(f, pool, fp.IndexName(), op)
	switch {
	case err == nil:
		w.count["(chunks stored)"]++
		return l, w.o.Slip == EnterEarly && !c.putAll(f, pool, fp, &l, pieces)
	case errors.Is(err, objects.ErrExists), errors.Is(err, objects.ErrConflict):
		for i, h := range l.Holders {
			ids := []chunkcare.ShardID{{Pool: pool, Chunk: fp, Gen: l.Gen, Index: i}}
			c.g.callOSD(f, h, func(n *osd, answer func(shardAnswer)) { n.dropShards(ids, answer) })
		}
		return none, !f.dead
	}
	return none, false
}

// putAll stores all shards at once. One holder that does not take its shard is replaced.
func (c *chunkClient) putAll(f *fiber, pool placement.PoolID, fp chunk.Fingerprint, l *chunk.Layout, pieces [][]byte) bool {
	put := func(which []int) (failed []int) {
		_ = f.await(func(wake func()) {
			left := len(which)
			for _, i := range which {
				id := chunkcare.ShardID{Pool: pool, Chunk: fp, Gen: l.Gen, Index: i}
				c.g.callThen(l.Holders[i], func(n *osd, answer func(shardAnswer)) { n.putShard(id, pieces[i], answer) }, func(a shardAnswer) {
					if a.err != nil {
						failed = append(failed, i)
					}
					if left--; left == 0 {
						wake()
					}
				})
			}
		})
		return failed
	}
	all := make([]int, len(pieces))
	for i := range all {
		all[i] = i
	}
	failed := put(all)
	if f.dead || len(failed) > 1 {
		return false
	}
	if len(failed) == 1 {
		m := c.g.mapNow()
		next, err := c.g.place(f, placement.PGOf(m.Pool(pool), fp.IndexName()), 1, l.Holders)
		if err != nil || len(next) == 0 {
			return false
		}
		l.Holders[failed[0]] = next[0]
		failed = put(failed)
	}
	return !f.dead && len(failed) == 0
}

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
			data, gone := c.fetch(f, r, call)
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

// fetch reads the chunk of a reference that was seen at a time or later. gone: the index does not have it.
func (c *chunkClient) fetch(f *fiber, r *chunk.Ref, seen clock.Mono) (data []byte, gone bool) {
	w, pool := c.w, c.pool()
	l := r.Layout
	for range 6 {
		coder, err := ec.New(l.Redundancy)
		if err != nil {
			w.failf("chunk %s: %v", r.Chunk, err)
			return nil, false
		}
		have, pieces := 0, make([][]byte, len(l.Holders))
		for _, i := range w.rng.Perm(len(l.Holders)) {
			if have == int(l.Redundancy.K) || l.Holders[i] == placement.NoOSD {
				continue
			}
			id := chunkcare.ShardID{Pool: pool, Chunk: r.Chunk, Gen: l.Gen, Index: i}
			a := c.g.callOSD(f, l.Holders[i], func(n *osd, answer func(shardAnswer)) { n.getShard(id, true, answer) })
			if f.dead {
				return nil, false
			}
			if a.err == nil {
				pieces[i], have = a.data, have+1
			}
		}
		if have == int(l.Redundancy.K) {
			data, err := coder.Join(nil, pieces, int(l.Stored))
			if want := c.pl.contents[r.Chunk]; err != nil || string(data) != string(want) {
				w.failf("chunk %s reads as %q (%v), it is %q", r.Chunk, data, err, want)
				return nil, false
			}
			return data, false
		}
		res, err := c.g.do(f, pool, r.Chunk.IndexName(), new(objects.Op).GetAttr(chunk.LayoutAttr))
		switch {
		case errors.Is(err, objects.ErrNotFound):
			if w.now.Sub(seen) < careSettings.GCInterval {
				w.failf("chunk %s went away %v after it was seen", r.Chunk, w.now.Sub(seen))
			}
			return nil, true
		case err != nil:
			return nil, false
		}
		if l, err = chunk.DecodeLayout(res.Items[0].Data); err != nil {
			w.failf("layout of %s: %v", r.Chunk, err)
			return nil, false
		}
		f.pause(w.rand(0, 200*time.Millisecond))
	}
	return nil, false
}
