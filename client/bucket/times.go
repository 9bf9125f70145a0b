package bucket

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/client"
)

// Times collects how long what is done with a context waits for the cluster, so that
// whoever asked can say where the time went. Operations overlap: what they took
// together may be more than what passed.
type Times struct{ Index, Data Spent }

// Spent is what one kind of operation took.
type Spent struct{ ops, total, most atomic.Int64 }

// Read returns how many operations ended, how long they took together, and the slowest of them.
func (s *Spent) Read() (ops int, total, slowest time.Duration) {
	return int(s.ops.Load()), time.Duration(s.total.Load()), time.Duration(s.most.Load())
}

func (s *Spent) add(d time.Duration) {
	s.ops.Add(1)
	s.total.Add(int64(d))
	for {
		most := s.most.Load()
		if int64(d) <= most || s.most.CompareAndSwap(most, int64(d)) {
			return
		}
	}
}

type timesKey struct{}

// WithTimes returns a context whose operations are added to t.
func WithTimes(ctx context.Context, t *Times) context.Context {
	return context.WithValue(ctx, timesKey{}, t)
}

// timed adds what operations take to the Times of their contexts.
type timed struct {
	client.Objects
	of func(t *Times) *Spent
}

// Do implements client.Objects.
func (o timed) Do(ctx context.Context, object string, op *client.Op) (*client.Result, error) {
	t, _ := ctx.Value(timesKey{}).(*Times)
	if t == nil {
		return o.Objects.Do(ctx, object, op)
	}
	began := time.Now()
	defer func() { o.of(t).add(time.Since(began)) }()
	return o.Objects.Do(ctx, object, op)
}

// timeData begins to time what is not an operation on a data object.
func timeData(ctx context.Context) (done func()) {
	t, _ := ctx.Value(timesKey{}).(*Times)
	if t == nil {
		return func() {}
	}
	began := time.Now()
	return func() { t.Data.add(time.Since(began)) }
}
