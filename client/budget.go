package client

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// flights bounds the operations under way and their bytes. Those that wait are
// served in order.
type flights struct {
	bytes, ops       *semaphore.Weighted
	maxBytes, maxOps int64
}

func (f *flights) init(maxBytes, maxOps int64) {
	f.bytes, f.maxBytes = semaphore.NewWeighted(maxBytes), maxBytes
	f.ops, f.maxOps = semaphore.NewWeighted(maxOps), maxOps
}

// acquire waits for room for one operation of n bytes; what is larger than all
// the room gets all of it. The caller releases what is returned.
func (f *flights) acquire(ctx context.Context, n int64) (int64, error) {
	n = min(max(n, 1), f.maxBytes)
	if err := f.ops.Acquire(ctx, 1); err != nil {
		return 0, err
	}
	if err := f.bytes.Acquire(ctx, n); err != nil {
		f.ops.Release(1)
		return 0, err
	}
	return n, nil
}

func (f *flights) release(n int64) {
	f.bytes.Release(n)
	f.ops.Release(1)
}

// Retries of the whole client: so many at once, and then so many a second. When
// an OSD is in trouble, retrying must not be what keeps it there.
const (
	retryBurst = 4096
	retryRate  = 1000 // per second
)

// budget is a token bucket for retries.
type budget struct {
	mu     sync.Mutex // guards below
	tokens float64
	last   time.Time
}

func (b *budget) init(now time.Time) { b.tokens, b.last = retryBurst, now }

// take takes a token and returns how long to wait until it is there.
func (b *budget) take(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(retryBurst, b.tokens+max(0, now.Sub(b.last).Seconds())*retryRate)
	b.last = now
	b.tokens--
	if b.tokens >= 0 {
		return 0
	}
	return time.Duration(-b.tokens / retryRate * float64(time.Second))
}
