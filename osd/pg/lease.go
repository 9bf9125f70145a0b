package pg

import (
	"maps"
	"sync"
	"time"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/placement"
)

// Leases is an OSD's table of read leases (R6), shared by all its groups. A
// peer's grant is its promise to serve no PG as a new primary before the grant
// ran out; whoever holds grants from all other in-sync members of a PG may
// therefore answer reads without asking them.
//
// A grant carries the grantor's map epoch. The holder counts it only once it
// has that map itself: a grantor that already leads the PG in a newer map still
// grants leases, and the epoch is what makes them worthless to the old primary.
type Leases struct {
	length time.Duration

	mu      sync.Mutex // guards below
	epoch   placement.Epoch
	quiet   clock.Mono // start of the process plus one lease
	held    map[placement.OSDID]held
	granted map[placement.OSDID]clock.Mono // until when, by our clock
	acts    map[placement.OSDID]placement.Epoch
}

type held struct {
	until clock.Mono
	epoch placement.Epoch
}

// NewLeases returns the table of an OSD that started at now and grants leases
// of the given length. Grants made before a restart are forgotten, so nothing
// is led before one full length has passed.
func NewLeases(now clock.Mono, length time.Duration) *Leases {
	return &Leases{
		length: length, quiet: now.Add(length),
		held: map[placement.OSDID]held{}, granted: map[placement.OSDID]clock.Mono{}, acts: map[placement.OSDID]placement.Epoch{},
	}
}

// SetEpoch says which map the OSD now acts on. It must be called before the
// groups are told of that map, so that every grant they do not wait out carries
// an epoch its holder has to catch up with first.
func (l *Leases) SetEpoch(e placement.Epoch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e > l.epoch {
		l.epoch = e
	}
}

// Grant answers a peer's heartbeat at time now with a lease and the epoch it is worth at.
func (l *Leases) Grant(now clock.Mono, to placement.OSDID) (time.Duration, placement.Epoch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Two answers to the same peer may get here in the other order than they read the clock.
	l.granted[to] = max(l.granted[to], now.Add(l.length))
	return l.length, l.epoch
}

// Received notes a grant that we asked for at `asked` by our clock. The tenth
// that is given away covers clocks that run at different speeds.
func (l *Leases) Received(asked clock.Mono, from placement.OSDID, length time.Duration, epoch placement.Epoch) {
	until := asked.Add(length / 10 * 9)
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.held[from]; until > h.until || epoch > h.epoch {
		if until < h.until {
			until = h.until // an older answer that arrives late takes nothing back
		}
		l.held[from] = held{until: until, epoch: max(epoch, h.epoch)}
	}
}

// Holds reports whether at time now a grant from the peer is in force for somebody who acts on map `at`.
func (l *Leases) Holds(now clock.Mono, from placement.OSDID, at placement.Epoch) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.held[from]
	return ok && now < h.until && h.epoch <= at
}

// Acts notes that all groups of an OSD act on a map of that epoch, or a newer one. None of
// them is the primary of a term that ended with that map or before.
func (l *Leases) Acts(id placement.OSDID, e placement.Epoch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acts[id] = max(l.acts[id], e)
}

// Granted returns until when we have granted leases, and to whom.
func (l *Leases) Granted() map[placement.OSDID]clock.Mono {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.granted)
}

// QuietAfter returns the time from which a PG that this OSD leads since a map of epoch began may be
// served, if that is when Granted told what was granted: one lease has passed since the start of the process,
// and every grant has run out that was made to an OSD which may not act on that map yet.
func (l *Leases) QuietAfter(granted map[placement.OSDID]clock.Mono, began placement.Epoch) clock.Mono {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.quiet
	for id, until := range granted {
		if l.acts[id] < began {
			t = max(t, until)
		}
	}
	return t
}
