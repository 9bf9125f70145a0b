package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// storing brings the shards of one generation of a chunk to holders. One that fails or is full is replaced. When few
// shards are late, others are given them as well: whoever has a shard durable first becomes its holder. What the late
// ones store then is like all that no entry lists: their own care drops it.
type storing struct {
	p     *putting
	l     *chunk.Layout     // whose holders become those who have the shards
	avoid []placement.OSDID // not to be chosen
	n     int

	failures []placement.OSDID // that have not stored a shard

	ctx     context.Context
	results chan shardPut // two requests for a shard are under way at most
	under   sync.WaitGroup
	shards  []shardStored
	tried   []placement.OSDID // all that may have something
	said    []held
	left    int
	budget  int
}

// shardStored is what is known of one shard.
type shardStored struct {
	at     []placement.OSDID // whose requests are under way
	done   bool
	again  int
	hedged bool
}

// shardPut is how a put of a shard ended.
type shardPut struct {
	shard int
	osd   placement.OSDID
	took  time.Duration
	err   error
}

// run returns when all shards are durable, or cannot be.
func (r *storing) run() error {
	plane := r.p.x.plane
	r.left, r.budget = r.n, 2*r.n+holderRetries
	for i := range r.n {
		r.start(i, r.l.Holders[i], 0)
	}
	bytes := uint32(len(r.p.shards[0]))
	late := time.NewTimer(plane.puts.patience(bytes))
	defer late.Stop()
	for r.left > 0 {
		select {
		case got := <-r.results:
			s := &r.shards[got.shard]
			s.at = slices.DeleteFunc(s.at, func(id placement.OSDID) bool { return id == got.osd })
			switch {
			case s.done:
			case got.err == nil:
				plane.puts.took(bytes, got.took)
				s.done, r.l.Holders[got.shard] = true, got.osd
				r.left--
			default:
				if err := r.failed(got, s); err != nil {
					return err
				}
			}
		case <-late.C:
			if r.left > max(1, r.n/3) { // it is not some OSDs that are slow, but all
				late.Reset(plane.puts.patience(bytes))
				continue
			}
			r.hedge()
		}
	}
	return nil
}

// start has an OSD store a shard.
func (r *storing) start(i int, osd placement.OSDID, pause time.Duration) {
	p := r.p
	r.shards[i].at = append(r.shards[i].at, osd)
	r.tried = append(r.tried, osd)
	r.under.Go(func() { // ctx bounds it
		if pause > 0 {
			t := time.NewTimer(pause)
			defer t.Stop()
			select {
			case <-t.C:
			case <-r.ctx.Done():
			}
		}
		began := time.Now()
		err := p.x.hold.Put(r.ctx, osd, ShardID{p.fp, r.l.Gen, i}, p.shards[i], p.mems[i])
		r.results <- shardPut{i, osd, time.Since(began), err}
	})
}

// others are the OSDs that have, or are about to have, the other shards.
func (r *storing) others(but int) (osds []placement.OSDID) {
	for i := range r.shards {
		if i != but {
			osds = append(append(osds, r.l.Holders[i]), r.shards[i].at...)
		}
	}
	slices.Sort(osds)
	return slices.Compact(osds)
}

func (r *storing) avoiding(osd placement.OSDID) {
	if !slices.Contains(r.avoid, osd) {
		r.avoid = append(slices.Clip(r.avoid), osd)
	}
}

// failed sees to a shard that an OSD has not stored: nil, or the chunk cannot be stored.
func (r *storing) failed(got shardPut, s *shardStored) error {
	x := r.p.x
	r.said = append(r.said, held{got.shard, got.osd, got.err})
	full := errors.Is(got.err, ErrNoSpace)
	if !full {
		x.plane.troubled(got.osd, got.err)
	}
	r.avoiding(got.osd)
	r.failures = union(r.failures, []placement.OSDID{got.osd})
	r.budget--
	if len(s.at) > 0 && r.ctx.Err() == nil {
		r.l.Holders[got.shard] = s.at[0] // the other one may yet
		return nil
	}
	err := r.ctx.Err()
	if err != nil {
		err = timeout(err)
	}
	if err == nil && r.budget > 0 {
		next, perr := x.hold.Place(r.ctx, r.p.entry, 1, r.others(got.shard), r.avoid)
		if perr == nil && len(next) == 0 && len(r.failures) < len(r.avoid) { // a slow one is better than nobody
			next, perr = x.hold.Place(r.ctx, r.p.entry, 1, r.others(got.shard), r.failures)
		}
		switch {
		case len(next) > 0:
			x.plane.n.replaced.Add(1)
			r.l.Holders[got.shard] = next[0]
			r.start(got.shard, next[0], 0)
			return nil
		case perr != nil && r.ctx.Err() != nil:
			err = timeout(r.ctx.Err())
		case !full && s.again < holderRetries:
			s.again++
			r.l.Holders[got.shard] = got.osd
			r.start(got.shard, got.osd, holderPause<<s.again)
			return nil
		}
	}
	if err == nil {
		err = ErrFewHolders
		if full && allFull(r.said) {
			err = ErrNoSpace
		}
	}
	return fmt.Errorf("%w: %w", err, &holdersError{said: r.said})
}

// hedge has others store those shards that are late.
func (r *storing) hedge() {
	x := r.p.x
	for i := range r.shards {
		s := &r.shards[i]
		if s.done || s.hedged || len(s.at) != 1 {
			continue
		}
		s.hedged = true
		slow := s.at[0]
		x.plane.sluggish(slow)
		r.avoiding(slow)
		if !x.plane.puts.hedge(1) {
			continue
		}
		next, err := x.hold.Place(r.ctx, r.p.entry, 1, r.others(i), r.avoid)
		if err != nil || len(next) == 0 {
			continue
		}
		x.plane.n.hedged.Add(1)
		r.start(i, next[0], 0)
	}
}
