package chunkcare

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// level is how closely entries are looked at.
type level int

const (
	byMap level = iota // whether the map still has the holders
	light              // and whether the holders have the shards
	deep               // and whether the shards can be read, belong together, and have the bytes that the chunk is named for
)

// state is how a shard is.
type state int

const (
	good      state = iota
	away            // its OSD is down, and may come back
	misplaced       // it is there, but its OSD should not have it any more
	lost            // it has to be made again
)

// verdict is what a look at an entry's shards found.
type verdict struct {
	shards []state
	stays  []bool // lost ones: the OSD may have it again
	apart  []bool // misplaced ones: only because their failure domain has another shard
	bad    string // shards can be read but are not of the chunk's bytes: why
	whole  bool   // the bytes have been read and are right
	odd    []bool // lost ones: their OSD has bytes of something else
}

func (v *verdict) count(s state) (n int) {
	for _, x := range v.shards {
		if x == s {
			n++
		}
	}
	return n
}

// tableOf returns the placement of the newest map.
func (c *Care) tableOf() *placement.Table {
	m := c.o.Cluster.Map()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.table == nil:
		c.table = placement.NewTable(m)
	case c.table.Map() != m:
		c.table = c.table.Next(m)
	}
	return c.table
}

// judge looks at the shards of an entry.
func (c *Care) judge(ctx context.Context, e *entry, how level) (verdict, error) {
	m := c.o.Cluster.Map()
	n := len(e.layout.Holders)
	cands := c.tableOf().ChunkCandidates(e.pg, n) // without any, any OSD will do
	v := verdict{shards: make([]state, n), stays: make([]bool, n), apart: make([]bool, n), odd: make([]bool, n)}
	for i, h := range e.layout.Holders {
		o := m.OSD(h)
		switch {
		case h == placement.NoOSD || o == nil || slices.Contains(e.layout.Holders[:i], h):
			v.shards[i] = lost
			continue
		case !o.Up && o.In():
			v.shards[i] = away
			continue
		case !o.Up:
			v.shards[i] = lost
			continue
		case !o.In() || len(cands) > 0 && !slices.ContainsFunc(cands, func(x placement.HolderCandidate) bool { return x.ID == h }):
			v.shards[i] = misplaced
		}
		if how == byMap {
			continue
		}
		held, err := c.o.Shards.Stat(ctx, h, e.shard(i), how == deep)
		switch {
		case ctx.Err() != nil:
			return v, ctx.Err()
		case is(err, client.ErrNotFound, client.ErrCorrupt), err == nil && held.Size != int64(e.layout.ShardSize()):
			v.stays[i] = v.shards[i] == good
			v.shards[i] = lost
		case err != nil:
			v.shards[i] = away // the map will say so soon, if it is
		}
	}
	c.crowded(e, &v, cands)
	if how == deep && n-v.count(lost)-v.count(away) >= int(e.layout.Redundancy.K) {
		return v, c.compare(ctx, e, &v)
	}
	return v, nil
}

// crowded finds good shards in failure domains that have another one, and calls as many of them misplaced as there are domains
// without any. Such a shard was stored when there was no other domain for it.
func (c *Care) crowded(e *entry, v *verdict, cands []placement.HolderCandidate) {
	t := c.tableOf()
	taken := map[int]bool{}
	take := func(i int) (first bool) {
		d, ok := t.Domain(e.pool, e.layout.Holders[i])
		first = !ok || !taken[d]
		if ok {
			taken[d] = true
		}
		return first
	}
	elsewhere := 0 // shards that need a place before
	for i, s := range v.shards {
		switch {
		case s == away || v.stays[i]: // those stay where they are
			take(i)
		case s != good:
			elsewhere++
		}
	}
	var second []int
	for i, s := range v.shards {
		if s == good && !take(i) {
			second = append(second, i)
		}
	}
	if len(second) == 0 {
		return
	}
	free := 0
	for i := range cands {
		if d := cands[i].Domain; cands[i].Usable() && !taken[d] {
			taken[d] = true
			free++
		}
	}
	for _, i := range second[:min(len(second), max(0, free-elsewhere))] {
		v.shards[i], v.apart[i] = misplaced, true
	}
}

// mend puts shards of an entry where they should be. It reports how many are good afterwards that were not before. One that is
// wrong and finds no other place is nobody's from then on, and is dropped: the next try makes it again.
func (c *Care) mend(ctx context.Context, e *entry, v *verdict) (int, error) {
	shards, err := c.gather(ctx, e, v)
	if err != nil || shards == nil {
		return 0, err
	}
	layout := e.layout
	layout.Holders = slices.Clone(e.layout.Holders)
	avoid := c.leavers(e)
	for i, h := range layout.Holders {
		if h != placement.NoOSD && !v.stays[i] {
			avoid = append(avoid, h)
		}
	}
	var spare []placement.OSDID // to be tried next
	free := 0                   // the first of them: in failure domains of their own
	mended, freed := 0, false
	for i, s := range v.shards {
		if s != lost && s != misplaced {
			continue
		}
		ok := false
		if v.stays[i] {
			ok = c.store(ctx, layout.Holders[i], e.shard(i), shards[i]) == nil
		}
		for tries := 0; !ok && tries < 2; {
			if len(spare) == 0 || v.apart[i] && free == 0 {
				tries++
				if spare, free, err = c.room(ctx, e, v, layout.Holders, avoid); err != nil {
					return 0, err
				}
				if len(spare) == 0 || v.apart[i] && free == 0 {
					break // beside another shard it would be no better off
				}
			}
			to := spare[0]
			spare, free = spare[1:], max(0, free-1)
			avoid = append(avoid, to)
			if err := c.store(ctx, to, e.shard(i), shards[i]); err != nil {
				c.log.Debug("shard not stored, another OSD is tried", "shard", e.shard(i), "osd", to, "err", err)
				continue
			}
			layout.Holders[i], ok = to, true
		}
		switch {
		case ok:
			mended++
		case v.odd[i]:
			layout.Holders[i], freed = placement.NoOSD, true
		}
	}
	if mended == 0 && !freed {
		return 0, nil
	}
	if !slices.Equal(layout.Holders, e.layout.Holders) {
		if ok, err := c.relocate(ctx, e, layout, v.odd); err != nil || !ok {
			return 0, err // what was stored is found as orphans, unless it is tried again
		}
	}
	if c.o.Mutant == CountEarly {
		for i, h := range layout.Holders {
			if h != e.layout.Holders[i] || v.stays[i] {
				if err := c.o.Shards.Put(ctx, h, e.shard(i), shards[i]); err != nil {
					return 0, err
				}
			}
		}
	}
	c.count(func(w *Work) {
		for i, h := range layout.Holders {
			switch {
			case h == placement.NoOSD:
			case v.shards[i] == lost && (h != e.layout.Holders[i] || v.stays[i]):
				w.Repaired++
				w.RepairedBytes += int64(len(shards[i]))
			case h != e.layout.Holders[i]:
				w.Moved++
				w.MovedBytes += int64(len(shards[i]))
			}
		}
	})
	// Where shards were before, their OSDs find that no entry lists them there, and drop them.
	return mended, nil
}

// store puts a shard on an OSD.
func (c *Care) store(ctx context.Context, to placement.OSDID, id ShardID, data []byte) error {
	if c.o.Mutant == CountEarly {
		return nil
	}
	return c.o.Shards.Put(ctx, to, id, data)
}

// gather reads and makes the shards that mend stores. It returns nil if too few can be read now.
func (c *Care) gather(ctx context.Context, e *entry, v *verdict) ([][]byte, error) {
	shards := make([][]byte, len(e.layout.Holders))
	have, k := 0, int(e.layout.Redundancy.K)
	get := func(i int) error {
		data, err := c.o.Shards.Get(ctx, e.layout.Holders[i], e.shard(i))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			c.log.Debug("shard cannot be read", "shard", e.shard(i), "osd", e.layout.Holders[i], "err", err)
		case len(data) == int(e.layout.ShardSize()):
			shards[i] = data
			have++
		}
		return nil
	}
	// Those to be moved need not be made if they can be read.
	for i, s := range v.shards {
		if s == misplaced {
			if err := get(i); err != nil {
				return nil, err
			}
		}
	}
	making := false
	for i, s := range v.shards {
		making = making || (s == misplaced || s == lost) && shards[i] == nil
	}
	if !making {
		return shards, nil
	}
	for i, s := range v.shards {
		if s == good && have < k {
			if err := get(i); err != nil {
				return nil, err
			}
		}
	}
	if have < k {
		return nil, nil
	}
	// What is made of a shard that is not of the chunk would leave two of those.
	x, err := examine(e, shards)
	if err != nil {
		return nil, err
	}
	if x.wrong != "" {
		for i, s := range v.shards {
			if s == good && shards[i] == nil {
				if err := get(i); err != nil {
					return nil, err
				}
			}
		}
		if x, err = examine(e, shards); err != nil {
			return nil, err
		}
	}
	switch {
	case x.wrong != "":
		c.log.Warn("chunk is not repaired: what can be read of it is not right; see `cairn chunk verify`", "chunk", e.fp, "why", x.wrong)
		return nil, nil
	case x.odd >= 0:
		c.blame(e, v, x.odd)
	}
	return x.shards, nil
}

// room returns OSDs for shards of an entry, best first: so many in failure domains that have none of its other shards, then
// the others.
func (c *Care) room(ctx context.Context, e *entry, v *verdict, holders, avoid []placement.OSDID) (osds []placement.OSDID, apart int, err error) {
	placed, err := c.o.Cluster.Place(ctx, e.pg, len(holders), avoid)
	if err != nil {
		return nil, 0, fmt.Errorf("repair chunk %s: where to: %w", e.fp, err)
	}
	t := c.tableOf()
	taken := map[int]bool{}
	for i, h := range holders {
		if s := v.shards[i]; s == good || s == away || v.stays[i] || h != e.layout.Holders[i] {
			if d, ok := t.Domain(e.pool, h); ok {
				taken[d] = true
			}
		}
	}
	var free, other []placement.OSDID
	for _, p := range placed {
		if slices.Contains(avoid, p) || slices.Contains(holders, p) {
			continue
		}
		d, ok := t.Domain(e.pool, p)
		if ok && taken[d] {
			other = append(other, p)
			continue
		}
		taken[d] = true
		free = append(free, p)
	}
	return append(free, other...), len(free), nil
}

// relocate enters new holders of a chunk, if nothing but its references has changed. Shards that are odd are dropped from where they
// were: objects' references still lead there.
func (c *Care) relocate(ctx context.Context, e *entry, layout chunk.Layout, odd []bool) (bool, error) {
	op := e.unmoved(new(client.Op)).SetAttr(chunk.LayoutAttr, layout.Append(nil))
	marks := map[int][]byte{}
	for i, was := range e.layout.Holders {
		if odd[i] && layout.Holders[i] != was {
			marks[i] = c.markOf(e, was)
			op.SetAttr(leavingName(was), marks[i])
		}
	}
	_, err := c.o.Cluster.Do(ctx, e.pool, e.fp.IndexName(), op)
	if err != nil && !gone(err) {
		return false, fmt.Errorf("enter the holders of chunk %s: %w", e.fp, err)
	}
	if err != nil {
		return false, nil
	}
	for _, i := range slices.Sorted(maps.Keys(marks)) {
		was := e.layout.Holders[i]
		if err := c.o.Shards.Drop(ctx, was, []ShardID{e.shard(i)}); err != nil {
			c.log.Debug("shard that is not of its chunk not dropped; its OSD does so later", "shard", e.shard(i), "osd", was, "err", err)
			continue // it may yet be: the mark stays
		}
		_, err := c.o.Cluster.Do(ctx, e.pool, e.fp.IndexName(), new(client.Op).CmpAttr(leavingName(was), marks[i]).RmAttr(leavingName(was)))
		if err != nil && !gone(err) {
			return true, fmt.Errorf("entry of chunk %s: %w", e.fp, err)
		}
	}
	return true, nil
}
