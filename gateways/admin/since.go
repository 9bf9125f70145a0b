package admin

import (
	"sync"
	"time"

	"github.com/cairnstore/cairn/placement"
)

// since remembers when the sets of up and of in OSDs last changed. The map does
// not say so for itself, so the front end watches it go by. After a start it
// knows only that the sets are at least as old as the map's newest change.
type since struct {
	mu       sync.Mutex // guards below
	seen     bool
	epoch    placement.Epoch
	up, in   uint64 // digests of the sets
	upAt, at time.Time
}

// observe takes note of a map and returns the times for it.
func (s *since) observe(m *placement.Map) (up, in time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen && m.Epoch <= s.epoch {
		return s.upAt, s.at
	}
	u, i := setDigests(m)
	modified := time.Unix(0, m.Modified)
	if !s.seen || u != s.up {
		s.up, s.upAt = u, modified
	}
	if !s.seen || i != s.in {
		s.in, s.at = i, modified
	}
	s.seen, s.epoch = true, m.Epoch
	return s.upAt, s.at
}

// setDigests returns FNV-1a digests of which OSDs are up and which are in.
func setDigests(m *placement.Map) (up, in uint64) {
	const offset, prime = 14695981039346656037, 1099511628211
	up, in = offset, offset
	for i := range m.OSDs {
		o := &m.OSDs[i]
		if o.Up {
			up = (up ^ uint64(o.ID)) * prime
		}
		if o.In() {
			in = (in ^ uint64(o.ID)) * prime
		}
	}
	return up, in
}
