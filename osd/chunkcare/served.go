package chunkcare

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// A PG that is not served keeps whoever asks waiting for as long as an operation may take. Care for others need not wait with them:
// after a few operations in a row that ended so, and at once if the map says so, its operations fail without being tried.
const (
	unservedAfter = 4                // operations in a row
	unservedFor   = 15 * time.Second // until one is tried again
)

// unservedError says that an operation was not tried.
type unservedError struct{ id placement.PGID }

func (e *unservedError) Error() string { return fmt.Sprintf("PG %s is not served now", e.id) }
func (e *unservedError) Unwrap() error { return client.ErrTryLater }

// served is a Cluster that does not wait for PGs that are not served.
type served struct {
	Cluster
	clock Clock

	mu  sync.Mutex // guards below
	out map[placement.PGID]*silence
}

// silence is what is known of a PG that did not answer.
type silence struct {
	rec   placement.PGRecord // as the map had it then
	n     int                // operations in a row
	until time.Time          // none is tried before
}

func newServed(c Cluster, clock Clock) *served {
	return &served{Cluster: c, clock: clock, out: map[placement.PGID]*silence{}}
}

// try carries out an operation on a PG.
func (s *served) try(ctx context.Context, id placement.PGID, f func() error) error {
	m := s.Map()
	rec := m.PG(id)
	if rec != nil && (rec.Primary == placement.NoOSD || !m.IsUp(rec.Primary)) {
		return &unservedError{id}
	}
	s.mu.Lock()
	x := s.out[id]
	if x != nil && rec != nil && (x.rec.Primary != rec.Primary || x.rec.Term != rec.Term) {
		delete(s.out, id) // somebody else serves it
		x = nil
	}
	wait := x != nil && x.n >= unservedAfter && s.clock.Wall().Before(x.until)
	if x != nil && !wait {
		x.until = s.clock.Wall().Add(unservedFor) // of those that work at the same time only this one tries again
	}
	s.mu.Unlock()
	if wait {
		return &unservedError{id}
	}
	err := f()
	if ctx.Err() != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !is(err, client.ErrTimeout, client.ErrTryLater) {
		delete(s.out, id)
		return err
	}
	if x = s.out[id]; x == nil {
		x = &silence{}
		s.out[id] = x
	}
	if rec != nil {
		x.rec = *rec
	}
	x.n++
	x.until = s.clock.Wall().Add(unservedFor)
	return err
}

func (s *served) pgOf(pool placement.PoolID, name string) (placement.PGID, bool) {
	p := s.Map().Pool(pool)
	if p == nil {
		return placement.PGID{}, false
	}
	return placement.PGOf(p, name), true
}

// Do implements Cluster.
func (s *served) Do(ctx context.Context, pool placement.PoolID, name string, op *client.Op) (res *client.Result, err error) {
	id, ok := s.pgOf(pool, name)
	if !ok {
		return s.Cluster.Do(ctx, pool, name, op) // which says what is wrong
	}
	err = s.try(ctx, id, func() error {
		res, err = s.Cluster.Do(ctx, pool, name, op)
		return err
	})
	return res, err
}

// Refs implements Cluster.
func (s *served) Refs(ctx context.Context, pool placement.PoolID, object string) (refs []chunk.Ref, err error) {
	id, ok := s.pgOf(pool, object)
	if !ok {
		return s.Cluster.Refs(ctx, pool, object)
	}
	err = s.try(ctx, id, func() error {
		refs, err = s.Cluster.Refs(ctx, pool, object)
		return err
	})
	return refs, err
}

// List implements Cluster.
func (s *served) List(ctx context.Context, id placement.PGID, kind placement.RecordKind, after string, limit int) (names []string, more bool, err error) {
	err = s.try(ctx, id, func() error {
		names, more, err = s.Cluster.List(ctx, id, kind, after, limit)
		return err
	})
	return names, more, err
}

// Place implements Cluster.
func (s *served) Place(ctx context.Context, id placement.PGID, count int, avoid []placement.OSDID) (osds []placement.OSDID, err error) {
	err = s.try(ctx, id, func() error {
		osds, err = s.Cluster.Place(ctx, id, count, avoid)
		return err
	})
	return osds, err
}

// unserved reports whether an error says no more than that a PG is not served: that cost nothing, and others may be.
func unserved(err error) bool { return errors.As(err, new(*unservedError)) }
