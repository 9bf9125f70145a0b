package sim

import (
	"errors"
	"slices"
	"time"

	objects "github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/chunk/ec"
	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/osd/chunkcare"
	"github.com/cairnstore/cairn/placement"
)

// maker stores chunks and reads them, step by step as package client does.
type maker struct {
	pl *plane
	w  *world
	g  *agent
	f  *fiber
}

// make has data stored as a chunk that knows that an object is going to refer to it, or finds it stored.
func (k *maker) make(pool placement.PoolID, object string, data []byte, red placement.Redundancy) (chunk.Ref, error) {
	w := k.w
	domain := chunk.Domain(chunk.ClusterDomain, red)
	fp := chunk.Of(chunk.BLAKE3, domain, data)
	for range 6 {
		if w.chance(0.25) { // not shared with anybody
			fp, domain = k.pl.ownFingerprint(data), ""
		}
		k.pl.contents[fp] = data
		ref, err := k.adopt(pool, object, fp)
		switch {
		case err == nil:
			w.count["(chunks shared)"]++
			return ref, nil
		case errors.Is(err, objects.ErrConflict): // it is lost as far as anybody knows
			fp, domain = k.pl.ownFingerprint(data), ""
			continue
		case !errors.Is(err, objects.ErrNotFound):
			return ref, err
		}
		l, again := k.store(pool, object, domain, data, red, &ref)
		if again {
			continue
		}
		if l.Gen == 0 {
			return ref, objects.ErrTryLater
		}
		ref.Layout = l
		return ref, nil
	}
	return chunk.Ref{}, objects.ErrTryLater
}

// adopt adds a back-reference to a chunk that is stored. Without an error, or with ErrNotFound, it returns a reference that
// the back-reference is for.
func (k *maker) adopt(pool placement.PoolID, object string, fp chunk.Fingerprint) (chunk.Ref, error) {
	ref := chunk.Ref{Range: chunk.Range{To: uint64(len(k.pl.contents[fp]))}, Chunk: fp, Nonce: k.pl.nonce()}
	back := k.backRef(pool, object, &ref)
	res, err := k.g.do(k.f, pool, fp.IndexName(), new(objects.Op).AssertExists().CmpAttrAbsent(chunk.LostAttr).
		OmapSet(back.Key(), back.Value()).RmAttr(chunk.CondemnedAttr).GetAttr(chunk.LayoutAttr))
	if err != nil {
		return ref, err
	}
	if ref.Layout, err = chunk.DecodeLayout(res.Items[4].Data); err != nil {
		k.w.failf("layout of %s: %v", fp, err)
	}
	return ref, err
}

func (k *maker) backRef(pool placement.PoolID, object string, r *chunk.Ref) *chunk.BackRef {
	return &chunk.BackRef{Nonce: r.Nonce, Pool: pool, Object: object, At: k.g.wall()}
}

// abandon takes back a reference that no object has.
func (k *maker) abandon(pool placement.PoolID, object string, r *chunk.Ref) {
	back := k.backRef(pool, object, r)
	_, _ = k.g.do(k.f, pool, r.Chunk.IndexName(), new(objects.Op).AssertExists().OmapRm(back.Key()))
}

// store brings a chunk to its holders and makes its entry. again: try from the start; no generation: do not.
func (k *maker) store(pool placement.PoolID, object, domain string, data []byte, red placement.Redundancy, ref *chunk.Ref) (l chunk.Layout, again bool) {
	w, m, fp, back := k.w, k.g.mapNow(), ref.Chunk, k.backRef(pool, object, ref)
	none := chunk.Layout{}
	l = chunk.Layout{Gen: chunk.Gen(w.rng.Uint64() | 1), Size: uint32(len(data)), Stored: uint32(len(data)), Redundancy: red}
	osds, err := k.g.place(k.f, placement.PGOf(m.Pool(pool), fp.IndexName()), red.Shards(), nil)
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
	if w.o.Slip != EnterEarly && !k.putAll(pool, fp, &l, pieces) {
		return none, false // what was stored is an orphan
	}
	if w.faults && w.chance(2*k.g.late) {
		k.f.pause(w.rand(0, 3*careSettings.OrphanAge))
	}
	op := new(objects.Op).AssertAbsent().AssertNoRecord(chunk.VoidChunkName(l.Gen, fp)).
		SetAttr(chunk.LayoutAttr, l.Append(nil)).OmapSet(back.Key(), back.Value())
	if domain != "" {
		op.SetAttr(chunk.DomainAttr, chunk.EncodeDomain(domain))
	}
	_, err = k.g.do(k.f, pool, fp.IndexName(), op)
	switch {
	case err == nil:
		w.count["(chunks stored)"]++
		return l, w.o.Slip == EnterEarly && !k.putAll(pool, fp, &l, pieces)
	case errors.Is(err, objects.ErrExists), errors.Is(err, objects.ErrConflict):
		for i, h := range l.Holders {
			ids := []chunkcare.ShardID{{Pool: pool, Chunk: fp, Gen: l.Gen, Index: i}}
			k.g.callOSD(k.f, h, func(n *osd, answer func(shardAnswer)) { n.dropShards(ids, answer) })
		}
		return none, !k.f.dead
	}
	return none, false
}

// putAll stores all shards at once. One holder that does not take its shard is replaced.
func (k *maker) putAll(pool placement.PoolID, fp chunk.Fingerprint, l *chunk.Layout, pieces [][]byte) bool {
	put := func(which []int) (failed []int) {
		_ = k.f.await(func(wake func()) {
			left := len(which)
			for _, i := range which {
				id := chunkcare.ShardID{Pool: pool, Chunk: fp, Gen: l.Gen, Index: i}
				k.g.callThen(l.Holders[i], func(n *osd, answer func(shardAnswer)) { n.putShard(id, pieces[i], answer) }, func(a shardAnswer) {
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
	if k.f.dead || len(failed) > 1 {
		return false
	}
	if len(failed) == 1 {
		m := k.g.mapNow()
		next, err := k.g.place(k.f, placement.PGOf(m.Pool(pool), fp.IndexName()), 1, l.Holders)
		if err != nil || len(next) == 0 {
			return false
		}
		l.Holders[failed[0]] = next[0]
		failed = put(failed)
	}
	return !k.f.dead && len(failed) == 0
}

// fetch reads the chunk of a reference that was seen at a time or later. gone: the index does not have it.
func (k *maker) fetch(pool placement.PoolID, r *chunk.Ref, seen clock.Mono) (data []byte, gone bool) {
	w := k.w
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
			a := k.g.callOSD(k.f, l.Holders[i], func(n *osd, answer func(shardAnswer)) { n.getShard(id, true, answer) })
			if k.f.dead {
				return nil, false
			}
			if a.err == nil {
				pieces[i], have = a.data, have+1
			}
		}
		if have == int(l.Redundancy.K) {
			data, err := coder.Join(nil, pieces, int(l.Stored))
			if want := k.pl.contents[r.Chunk]; err != nil || string(data) != string(want) {
				w.failf("chunk %s reads as %q (%v), it is %q", r.Chunk, data, err, want)
				return nil, false
			}
			return data, false
		}
		res, err := k.g.do(k.f, pool, r.Chunk.IndexName(), new(objects.Op).GetAttr(chunk.LayoutAttr))
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
		k.f.pause(w.rand(0, 200*time.Millisecond))
	}
	return nil, false
}
