package chunkcare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// sweep is one look at all entries of a PG.
type sweep struct {
	how   level
	only  bool          // nothing is repaired
	audit bool          // back-references older than age are held against the objects
	age   time.Duration // of what may be taken for left behind

	mu   sync.Mutex // guards below
	stat Stat
	jobs []job

	looks, audits bearing // what failed
	found, refs   finds
}

// unauditedError says that a sweep did all it should, but could not hold all references against their objects. That can
// wait for the next one.
type unauditedError struct{ error }

func (e unauditedError) Unwrap() error { return e.error }

// job is a chunk to be repaired.
type job struct {
	at      at
	missing int
}

// sweep looks at all entries of a PG, and repairs what is not as it should be. One that cannot be looked at, or an object
// that cannot be reached, is no reason not to repair the others.
func (c *Care) sweep(ctx context.Context, id placement.PGID, s *sweep) (Stat, error) {
	err := c.pages(ctx, id, placement.ChunkEntry, func(names []string) (bool, error) {
		if err := c.each(ctx, len(names), func(i int) error { return s.looks.bear(ctx, c.look(ctx, id.Pool, names[i], s)) }); err != nil {
			return false, err
		}
		if len(s.jobs) >= jobsMax {
			return true, c.mendAll(ctx, s)
		}
		return true, nil
	})
	if ctx.Err() != nil {
		return s.stat, err
	}
	if merr := c.mendAll(ctx, s); err == nil {
		err = merr
	}
	if err == nil {
		err = s.looks.error()
	}
	if left := s.audits.error(); err == nil && left != nil {
		err = unauditedError{left}
	}
	return s.stat, err
}

// look looks at one entry.
func (c *Care) look(ctx context.Context, pool placement.PoolID, name string, s *sweep) error {
	fp, ok := chunk.FingerprintOf(name)
	if !ok {
		return fmt.Errorf("entry of the chunk index: %w: its name is %q", client.ErrCorrupt, name)
	}
	e, err := c.entry(ctx, at{pool, fp})
	if errors.Is(err, client.ErrCorrupt) {
		s.found.add(Problem{Kind: "damaged", Pool: pool, Chunk: fp, Text: err.Error()})
		s.add(func(st *Stat) { st.Damaged++ })
		return nil
	}
	if err != nil || e == nil {
		return err
	}
	left := len(e.refs) > 0
	if s.audit && left && !s.audits.full() {
		if left, err = c.auditEntry(ctx, e, s.age, &s.refs); err != nil {
			if ctx.Err() != nil {
				return err
			}
			left = true
			_ = s.audits.bear(ctx, err) // the next sweep comes
		}
	}
	if !left {
		switch {
		case len(e.refs) > 0:
		case e.condemned == 0: // who removed the last reference did not get to this
			err = c.condemn(ctx, e.at(), e.version)
		default: // in case the record has been lost by which GC finds it
			_, err = c.o.Cluster.Do(ctx, pool, condemnedName(e.condemned, fp), new(client.Op).Create(false))
		}
		if err != nil {
			return err
		}
		s.add(func(st *Stat) { st.Chunks++; st.Condemned++ })
	}
	how := s.how
	switch {
	case !left:
		how = min(how, light)
	default:
		how = e.closely(how)
	}
	v, err := c.judge(ctx, e, how)
	if err != nil {
		return err
	}
	if err := c.markLost(ctx, e, &v, how); err != nil {
		return err
	}
	if left {
		c.tally(e, &v, s)
		return nil
	}
	// Whoever finds it in the index takes it as it is, and would have to wait for a whole chunk until the next look.
	if missing := v.count(lost); missing > 0 && len(v.shards)-missing-v.count(away) >= int(e.layout.Redundancy.K) {
		s.add(func(*Stat) { s.jobs = append(s.jobs, job{e.at(), missing}) })
	}
	return nil
}

// markLost sees to it that nobody takes a chunk for stored of which too few shards are left, down OSDs included, or whose bytes
// are others, and ends that if it is as it should be.
func (c *Care) markLost(ctx context.Context, e *entry, v *verdict, how level) error {
	op := new(client.Op).AssertVersion(e.version)
	few := len(v.shards)-v.count(lost) < int(e.layout.Redundancy.K)
	switch {
	case v.bad != "" && !e.damaged:
		op.SetAttr(chunk.LostAttr, []byte(chunk.LostBytes))
	case few && !e.lost:
		op.SetAttr(chunk.LostAttr, []byte(chunk.LostShards))
	case v.bad != "" || few || !e.lost:
		return nil // as it is
	case e.damaged && !v.whole || how == byMap || v.count(away) > 0:
		return nil // what says that all is well has not read the shards, or not asked for them
	default:
		op.RmAttr(chunk.LostAttr)
	}
	_, err := c.o.Cluster.Do(ctx, e.pool, e.fp.IndexName(), op)
	if err != nil && !gone(err) {
		return fmt.Errorf("entry of chunk %s: %w", e.fp, err)
	}
	return nil
}

// tally enters what was found into the statistics, and a job if there is something to do.
func (c *Care) tally(e *entry, v *verdict, s *sweep) {
	missing, moves, n := v.count(lost), v.count(misplaced), len(v.shards)
	readable := n - missing - v.count(away)
	unreadable := readable < int(e.layout.Redundancy.K)
	bad := v.bad
	if e.damaged && !v.whole {
		bad = "its bytes were found to be others than those that it is named for, and not all of its shards can be read now"
	}
	s.add(func(st *Stat) {
		st.Chunks++
		st.Bytes += int64(e.layout.Size)
		st.Stored += int64(e.layout.Stored)
		st.Physical += int64(e.layout.ShardSize()) * int64(n-missing)
		st.References += int64(len(e.refs))
		st.Referenced += int64(e.layout.Size) * int64(len(e.refs))
		st.Misplaced += int64(moves)
		if n-readable > 0 {
			st.Degraded++
			st.DegradedShards += int64(n - readable)
		}
		if unreadable {
			st.Missing++
		}
		if !e.fp.Verifiable(e.domain) {
			st.Unverifiable++
		}
		if bad != "" {
			st.Damaged++
		}
		if missing+moves > 0 && !unreadable {
			s.jobs = append(s.jobs, job{e.at(), missing})
		}
	})
	switch {
	case unreadable:
		s.found.add(Problem{Kind: "unreadable", Pool: e.pool, Chunk: e.fp, Text: fmt.Sprintf(
			"%d of its %d shards can be reached, %d are needed; its holders are %v", readable, n, e.layout.Redundancy.K, e.layout.Holders)})
	case bad != "":
		s.found.add(Problem{Kind: "damaged", Pool: e.pool, Chunk: e.fp, Text: bad})
	}
}

func (s *sweep) add(f func(*Stat)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.stat)
}

// mendAll carries out the jobs of a sweep, those that lack most first.
func (c *Care) mendAll(ctx context.Context, s *sweep) error {
	slices.SortStableFunc(s.jobs, func(a, b job) int {
		return cmp.Or(cmp.Compare(b.missing, a.missing), slices.Compare(a.at.fp[:], b.at.fp[:]))
	})
	jobs := s.jobs
	s.jobs = nil
	if s.only {
		return nil
	}
	return c.most(ctx, len(jobs), func(i int) error {
		// Again if somebody changed the holders meanwhile.
		for range mendTries {
			e, err := c.entry(ctx, jobs[i].at)
			if err != nil || e == nil {
				return err
			}
			v, err := c.judge(ctx, e, e.closely(max(s.how, light)))
			if err != nil {
				return err
			}
			mended, err := c.mend(ctx, e, &v)
			if err != nil {
				return err
			}
			s.add(func(st *Stat) { c.mendedStat(st, e, &v, mended) })
			if mended > 0 || v.count(lost)+v.count(misplaced) == 0 {
				return nil
			}
		}
		return nil
	})
}

// mendTries is how often a repair is tried before it has to wait for the next look.
const mendTries = 3

// mendedStat takes what was repaired out of the statistics of a sweep.
func (c *Care) mendedStat(st *Stat, e *entry, v *verdict, mended int) {
	missing := v.count(lost)
	repaired := min(mended, missing)
	st.DegradedShards = max(0, st.DegradedShards-int64(repaired))
	st.Misplaced = max(0, st.Misplaced-int64(mended-repaired))
	st.Physical += int64(e.layout.ShardSize()) * int64(repaired)
	if repaired > 0 && repaired == missing && v.count(away) == 0 {
		st.Degraded = max(0, st.Degraded-1)
	}
}

// objectsOf makes sure of all references of all objects of a PG.
func (c *Care) objectsOf(ctx context.Context, g *group) error {
	var dangling atomic.Int64
	f := &finds{}
	err := c.pages(ctx, g.id, 0, func(names []string) (bool, error) {
		return true, c.most(ctx, len(names), func(i int) error {
			n, err := c.auditObject(ctx, g.id.Pool, names[i], f)
			dangling.Add(n)
			return err
		})
	})
	c.found(g, ofObjects, f, err == nil)
	if err != nil {
		return unauditedError{err}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	g.stat.Dangling = dangling.Load()
	return nil
}
