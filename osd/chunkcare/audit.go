package chunkcare

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// auditEntry looks for back-references of an entry that no object has, and removes those older than an age. It returns
// whether any is left.
func (c *Care) auditEntry(ctx context.Context, e *entry, age time.Duration, f *finds) (left bool, err error) {
	before := c.o.Clock.Wall().Add(-age).UnixNano()
	kvs, more := e.refs, e.more
	for {
		for _, kv := range kvs {
			b, err := chunk.ParseBackRef(kv.Key, kv.Value)
			if err != nil {
				f.add(Problem{Kind: "damaged", Pool: e.pool, Chunk: e.fp, Text: err.Error()})
				left = true
				continue
			}
			if b.At > before {
				left = true
				continue
			}
			leaked, err := c.leaked(ctx, e.fp, b)
			if err != nil {
				return true, err
			}
			if !leaked {
				left = true
				continue
			}
			if err := c.unref(ctx, e.at(), kv.Key); err != nil {
				return true, err
			}
			c.count(func(w *Work) { w.Leaked++; w.Healed++ })
			c.log.Info("reference that no object has removed", "chunk", e.fp, "object", b.Object, "nonce", b.Nonce)
		}
		if !more {
			return left, nil
		}
		res, err := c.o.Cluster.Do(ctx, e.pool, e.fp.IndexName(), new(client.Op).OmapListAfter(kvs[len(kvs)-1].Key, "", refsPage))
		if errors.Is(err, client.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return true, fmt.Errorf("references of chunk %s: %w", e.fp, err)
		}
		kvs, more = res.Items[0].KVs, res.Items[0].More
		if len(kvs) == 0 {
			return left, nil
		}
	}
}

// leaked reports whether no object has a reference nor ever will. First it forbids the reference: what was made before
// is seen by the look that follows, what comes later is refused.
func (c *Care) leaked(ctx context.Context, fp chunk.Fingerprint, b chunk.BackRef) (bool, error) {
	want := chunk.Dropped{Chunk: fp, Nonce: b.Nonce}
	has, err := c.nonces(ctx, b.Pool, b.Object)
	switch {
	case errors.Is(err, client.ErrNotFound):
		return true, nil // the pool was removed with all its objects
	case err != nil || has[want]:
		return false, err
	}
	if c.o.Mutant != AuditNoVoid {
		void := chunk.VoidRefName(b.Nonce, b.Object)
		if _, err := c.o.Cluster.Do(ctx, b.Pool, void, new(client.Op).Create(false)); err != nil {
			return false, fmt.Errorf("forbid a reference of object %q to chunk %s: %w", b.Object, fp, err)
		}
		if has, err = c.nonces(ctx, b.Pool, b.Object); err != nil {
			return false, err
		}
	}
	return !has[want], nil
}

// auditObject makes sure that the chunks that an object refers to know of it. It returns how many references are to
// chunks that are not there.
func (c *Care) auditObject(ctx context.Context, pool placement.PoolID, object string, f *finds) (dangling int64, err error) {
	refs, err := c.o.Cluster.Refs(ctx, pool, object)
	if err != nil {
		return 0, fmt.Errorf("references of object %q: %w", object, err)
	}
	seen := map[chunk.Dropped]bool{}
	for i := range refs {
		r := &refs[i]
		id := chunk.Dropped{Chunk: r.Chunk, Nonce: r.Nonce}
		if seen[id] {
			continue
		}
		seen[id] = true
		back := chunk.BackRef{Nonce: r.Nonce, Pool: pool, Object: object, At: c.o.Clock.Wall().UnixNano()}
		if ok, err := c.knows(ctx, at{pool, r.Chunk}, back.Key()); ok || err != nil {
			if err != nil {
				return dangling, err
			}
			continue
		}
		// The object may have dropped it since.
		has, err := c.nonces(ctx, pool, object)
		if err != nil {
			return dangling, err
		}
		if !has[id] {
			continue
		}
		healed, err := c.heal(ctx, pool, r, &back, f)
		if err != nil {
			return dangling, err
		}
		if !healed {
			dangling++
		}
	}
	return dangling, nil
}

// knows reports whether an entry has a back-reference.
func (c *Care) knows(ctx context.Context, a at, key string) (bool, error) {
	res, err := c.o.Cluster.Do(ctx, a.pool, a.fp.IndexName(), new(client.Op).OmapGet(key))
	if errors.Is(err, client.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("entry of chunk %s: %w", a.fp, err)
	}
	return res.Items[0].Found, nil
}

// heal puts back a reference that a chunk's entry lacks. That is never as it should be: something broke a rule, or
// records were lost.
func (c *Care) heal(ctx context.Context, pool placement.PoolID, r *chunk.Ref, back *chunk.BackRef, f *finds) (healed bool, err error) {
	c.count(func(w *Work) { w.Dangling++ })
	bad := func(kind, text string) (bool, error) {
		p := Problem{Kind: kind, Pool: pool, Object: back.Object, Chunk: r.Chunk, Text: text}
		if kind != "healed" {
			f.add(p)
			return false, nil
		}
		c.happened(p)
		c.count(func(w *Work) { w.Healed++ })
		return true, nil
	}
	name := r.Chunk.IndexName()
	_, err = c.o.Cluster.Do(ctx, pool, name, new(client.Op).AssertExists().OmapSet(back.Key(), back.Value()).RmAttr(chunk.CondemnedAttr))
	if err == nil {
		return bad("healed", "its chunk did not know of it; the reference was put back")
	}
	if !errors.Is(err, client.ErrNotFound) {
		return false, fmt.Errorf("put back a reference of object %q to chunk %s: %w", back.Object, r.Chunk, err)
	}
	// No entry: the shards may still be where the object saw them last.
	here := 0
	for i, h := range r.Layout.Holders {
		if h == placement.NoOSD || !c.o.Cluster.Map().IsUp(h) {
			continue
		}
		if _, err := c.o.Shards.Stat(ctx, h, ShardID{Pool: pool, Chunk: r.Chunk, Gen: r.Layout.Gen, Index: i}, false); err == nil {
			here++
		}
	}
	if here < int(r.Layout.Redundancy.K) {
		return bad("dangling", fmt.Sprintf(
			"the object refers to a chunk that the index does not have, and %d of its %d shards are left where they were, %d are needed; write the object anew from elsewhere, or remove it",
			here, len(r.Layout.Holders), r.Layout.Redundancy.K))
	}
	op := new(client.Op).AssertAbsent().AssertNoRecord(chunk.VoidChunkName(r.Layout.Gen, r.Chunk)).
		SetAttr(chunk.LayoutAttr, r.Layout.Append(nil)).OmapSet(back.Key(), back.Value())
	switch _, err := c.o.Cluster.Do(ctx, pool, name, op); {
	case errors.Is(err, client.ErrExists):
		return true, nil // somebody stored it again; the next audit compares with that
	case errors.Is(err, client.ErrConflict):
		return bad("dangling", "the object refers to a chunk that the index does not have, and its shards are being dropped")
	case err != nil:
		return false, fmt.Errorf("make the entry of chunk %s again: %w", r.Chunk, err)
	}
	return bad("healed", "the index did not have its chunk; the entry was made again of the shards that are left")
}

// orphans drops what this OSD's store holds of a pool though no entry lists it there. What was stored less than an age
// ago may be about to be entered; an OSD that is being emptied does not wait for that if the chunk's entry is there.
func (c *Care) orphans(ctx context.Context, pool placement.PoolID, age time.Duration) error {
	unfinished, err := c.unmark(ctx, pool) // others need not wait for that
	if err != nil {
		return err
	}
	before := c.o.Clock.Wall().Add(-age).UnixNano()
	leaving := c.emptied()
	for after := (*ShardID)(nil); ; {
		held, more, err := c.o.Shards.List(ctx, c.o.Self, pool, after, c.o.Page)
		if err != nil {
			return fmt.Errorf("shards of pool %d in the store: %w", pool, err)
		}
		err = c.most(ctx, len(held), func(i int) error {
			young := held[i].Stored > before
			if young && !leaving {
				return nil
			}
			return c.orphan(ctx, held[i], young)
		})
		if err != nil || !more || len(held) == 0 {
			return cmp.Or(err, unfinished)
		}
		after = &held[len(held)-1].ID
	}
}

// emptied reports whether the OSD should hold no shards.
func (c *Care) emptied() bool {
	o := c.o.Cluster.Map().OSD(c.o.Self)
	return o != nil && !o.In()
}

// orphan drops a shard if no entry lists it or ever will. Of a young one the entry may be about to be made.
func (c *Care) orphan(ctx context.Context, h Held, young bool) error {
	a := at{h.ID.Pool, h.ID.Chunk}
	e, err := c.entry(ctx, a)
	if err != nil {
		return err
	}
	ours := func() bool { return e != nil && e.layout.Gen == h.ID.Gen }
	if !ours() && young {
		return nil
	}
	if !ours() && c.o.Mutant != OrphanNoVoid {
		// Forbid the generation first: an entry made of it before is seen now, one that would be made of it later is refused.
		if err := c.forbid(ctx, a.pool, h.ID.Gen, a.fp); err != nil {
			return err
		}
		if e, err = c.entry(ctx, a); err != nil {
			return err
		}
	}
	if ours() {
		if h.ID.Index < len(e.layout.Holders) && e.layout.Holders[h.ID.Index] == c.o.Self {
			return c.answered(ctx, a, h.ID) // it is to stay, whatever was to become of it before
		}
		return c.leave(ctx, e, h)
	}
	if err := c.dropOwn(ctx, h); err != nil {
		return err
	}
	return c.answered(ctx, a, h.ID)
}

func (c *Care) dropOwn(ctx context.Context, h Held) error {
	if err := c.o.Shards.Drop(ctx, c.o.Self, []ShardID{h.ID}); err != nil {
		return fmt.Errorf("drop %s: %w", h.ID, err)
	}
	c.count(func(w *Work) { w.Orphans++; w.OrphanBytes += h.Size })
	return nil
}

// leave drops a shard that was moved away from here, or is about to be moved here: then the mark makes that fail.
func (c *Care) leave(ctx context.Context, e *entry, h Held) error {
	if c.o.Mutant == OrphanUnmarked {
		return c.dropOwn(ctx, h)
	}
	if c.othersMark(e) {
		return nil // next time
	}
	value := c.markOf(e, c.o.Self)
	_, err := c.o.Cluster.Do(ctx, e.pool, e.fp.IndexName(), e.unmoved(new(client.Op)).SetAttr(leavingName(c.o.Self), value))
	if gone(err) {
		return nil // next time
	}
	c.mu.Lock() // if nobody knows whether the mark is there, it is ended all the same
	l := c.marks[e.at()]
	if l == nil {
		l = &leaving{}
		c.marks[e.at()] = l
	}
	l.mark = value
	if err == nil && !slices.ContainsFunc(l.drops, func(x Held) bool { return x.ID == h.ID }) {
		l.drops = append(l.drops, h)
	}
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("entry of chunk %s: %w", e.fp, err)
	}
	if err := c.dropOwn(ctx, h); err != nil {
		return err // the shard may still be dropped at any time: the mark stays
	}
	return c.answered(ctx, e.at(), h.ID)
}

// leaving is what is known of a chunk of which this OSD drops shards.
type leaving struct {
	mark  []byte // the newest
	drops []Held // whose end was not heard of
}

// answered notes that a shard is not being dropped any more, and ends the mark if no other shard of the chunk is.
func (c *Care) answered(ctx context.Context, a at, id ShardID) error {
	c.mu.Lock()
	l := c.marks[a]
	if l == nil {
		c.mu.Unlock()
		return nil
	}
	l.drops = slices.DeleteFunc(l.drops, func(x Held) bool { return x.ID == id })
	left, value := len(l.drops), l.mark
	c.mu.Unlock()
	if left > 0 {
		return nil
	}
	return c.unmarkOne(ctx, a, value)
}

// unmark ends the marks of a pool's chunks that are left over. A shard of which it was not heard that it has been dropped is
// dropped anew first, under a new mark: only what is answered is over. It returns what failed, and err if that is much.
func (c *Care) unmark(ctx context.Context, pool placement.PoolID) (failed, err error) {
	m := c.o.Cluster.Map()
	marks := map[at]leaving{}
	c.mu.Lock()
	for a, l := range c.marks {
		switch {
		case m.Pool(a.pool) == nil:
			delete(c.marks, a)
		case a.pool == pool:
			marks[a] = leaving{l.mark, slices.Clone(l.drops)}
		}
	}
	c.mu.Unlock()
	var b bearing
	for _, a := range slices.SortedFunc(maps.Keys(marks), func(a, b at) int { return slices.Compare(a.fp[:], b.fp[:]) }) {
		for _, h := range marks[a].drops {
			if err := b.bear(ctx, c.orphan(ctx, h, false)); err != nil {
				return nil, err
			}
		}
		if len(marks[a].drops) > 0 {
			continue // who drops the last one ends the mark
		}
		if err := b.bear(ctx, c.unmarkOne(ctx, a, marks[a].mark)); err != nil {
			return nil, err
		}
	}
	return b.error(), nil
}

// unmarkOne ends a mark.
func (c *Care) unmarkOne(ctx context.Context, a at, value []byte) error {
	name := leavingName(c.o.Self)
	_, err := c.o.Cluster.Do(ctx, a.pool, a.fp.IndexName(), new(client.Op).CmpAttr(name, value).RmAttr(name))
	if err != nil && !gone(err) {
		return fmt.Errorf("entry of chunk %s: %w", a.fp, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.marks[a]; l != nil && len(l.drops) == 0 && bytes.Equal(l.mark, value) {
		delete(c.marks, a)
	}
	return nil
}

// forbid sees to it that no entry is made of a generation of a chunk from now on, for as long as void records are kept.
func (c *Care) forbid(ctx context.Context, pool placement.PoolID, gen chunk.Gen, fp chunk.Fingerprint) error {
	// If the record is there its time becomes now all the same.
	if _, err := c.o.Cluster.Do(ctx, pool, chunk.VoidChunkName(gen, fp), new(client.Op).Create(false)); err != nil {
		return fmt.Errorf("forbid a generation of chunk %s: %w", fp, err)
	}
	return nil
}

// voids removes void records of one PG that are older than an age: nothing that they forbid is under way any more.
func (c *Care) voids(ctx context.Context, id placement.PGID, age time.Duration) error {
	before := c.o.Clock.Wall().Add(-age)
	for _, kind := range []placement.RecordKind{placement.VoidRef, placement.VoidChunk} {
		err := c.pages(ctx, id, kind, func(names []string) (bool, error) {
			return true, c.each(ctx, len(names), func(i int) error {
				res, err := c.o.Cluster.Do(ctx, id.Pool, names[i], new(client.Op).Stat())
				if errors.Is(err, client.ErrNotFound) {
					return nil
				}
				if err != nil {
					return fmt.Errorf("void record: %w", err)
				}
				if res.Items[0].Mtime.After(before) {
					return nil
				}
				// Unless somebody has just needed it again.
				_, err = c.o.Cluster.Do(ctx, id.Pool, names[i], new(client.Op).AssertVersion(res.Version).Remove(true))
				if err != nil && !gone(err) {
					return fmt.Errorf("remove a void record: %w", err)
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}
