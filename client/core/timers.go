package core

import (
	"time"

	"github.com/cairnstore/cairn/internal/clock"
)

// timers is a heap of operations, the one to wake first on top.
type timers []*op

func (t timers) Len() int { return len(t) }

func (t timers) Less(i, j int) bool {
	if t[i].wake != t[j].wake {
		return t[i].wake < t[j].wake
	}
	return t[i].ID < t[j].ID
}

func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].timer, t[j].timer = i, j
}

// Push implements heap.Interface.
func (t *timers) Push(x any) {
	o := x.(*op)
	o.timer = len(*t)
	*t = append(*t, o)
}

// Pop implements heap.Interface.
func (t *timers) Pop() any {
	last := len(*t) - 1
	o := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	o.timer = -1
	return o
}

// Retries of the whole client: so many at once, and then so many a second. When
// an OSD is in trouble, retrying must not be what keeps it there.
const (
	retryBurst = 4096
	retryRate  = 1000 // per second
)

// budget is a token bucket for retries.
type budget struct {
	tokens float64
	last   clock.Mono
}

// take takes a token and returns how long to wait until it is there.
func (b *budget) take(now clock.Mono) time.Duration {
	b.tokens = min(retryBurst, b.tokens+max(0, now.Sub(b.last).Seconds())*retryRate)
	b.last = now
	b.tokens--
	if b.tokens >= 0 {
		return 0
	}
	return time.Duration(-b.tokens / retryRate * float64(time.Second))
}

// jitter returns between half of d and d, so that many clients do not act at
// once. It takes no chances: it mixes what differs between clients, operations
// and attempts.
func jitter(d time.Duration, client, op, attempt uint64) time.Duration {
	x := client ^ op*0x9e3779b97f4a7c15 ^ attempt*0xbf58476d1ce4e5b9
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return d/2 + time.Duration(x%uint64(d/2+1))
}
