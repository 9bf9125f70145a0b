package pg

import (
	"sync"
	"time"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/placement"
)

// Limits bound what the groups of an OSD do at a time besides serving clients. Zero values
// mean the defaults.
type Limits struct {
	Sources int // PGs that teach other OSDs; default 4
	Targets int // PGs that are taught by other OSDs; default 4
	Pushes  int // objects on their way to learners; default 16, a piece of each at a time
	Homes   int // PGs that go back to their first target; default 4
	Busy    int // client requests under way from which only one push at a time is begun; default 64
}

func (l Limits) withDefaults() Limits {
	set := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	set(&l.Sources, 4)
	set(&l.Targets, 4)
	set(&l.Pushes, 16)
	set(&l.Homes, 4)
	set(&l.Busy, 64)
	return l
}

// Throttle is shared by the groups of an OSD, so that recovery does not take the OSD over.
// A group that is refused asks again at its next tick.
type Throttle struct {
	mu      sync.Mutex // guards below
	limits  Limits
	queues  [kinds]queue
	pushes  map[placement.PGID]int
	total   int // of pushes
	busy    int // client requests under way
	full    map[placement.OSDID]placement.Fullness
	emptied map[placement.OSDID]clock.Mono // when it was last told to give up a copy
}

// NewThrottle returns a Throttle that nobody uses yet.
func NewThrottle(l Limits) *Throttle {
	t := &Throttle{limits: l.withDefaults(), pushes: map[placement.PGID]int{}, full: map[placement.OSDID]placement.Fullness{}, emptied: map[placement.OSDID]clock.Mono{}}
	for i := range t.queues {
		t.queues[i] = queue{held: map[placement.PGID]clock.Mono{}, waits: map[placement.PGID]claim{}}
	}
	return t
}

// SetLimits changes the limits; what is under way goes on.
func (t *Throttle) SetLimits(l Limits) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limits = l.withDefaults()
}

// Clients notes that so many requests of clients have begun, or ended if negative.
func (t *Throttle) Clients(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy += n
}

// SetFull notes how full an OSD says that it is.
func (t *Throttle) SetFull(id placement.OSDID, f placement.Fullness) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f == placement.NotFull {
		delete(t.full, id)
		return
	}
	t.full[id] = f
}

func (t *Throttle) fullness(id placement.OSDID) placement.Fullness {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.full[id]
}

// emptyWait is how long after an OSD has given up a copy it is told to give up another: by then
// it says whether that has made room enough.
const emptyWait = clock.Mono(10e9)

// mayEmpty reports whether a too full OSD may be told now to give up an old copy, and notes that it is.
func (t *Throttle) mayEmpty(now clock.Mono, id placement.OSDID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at, ok := t.emptied[id]; ok && now < at+emptyWait {
		return false
	}
	t.emptied[id] = now
	return true
}

// kind is what a PG asks a slot for.
type kind int

const (
	teaching kind = iota // as the primary of a PG with learners
	taught               // as a learner
	homing               // to hand a PG back to its first target
	kinds
)

// urgent is the priority from which a PG gets a slot beyond the limit: its clients wait for it.
const urgent = 100

// claimFor is how long somebody who was refused, and does not ask again, keeps others
// with a lower priority waiting.
const claimFor = clock.Mono(2e9)

// heldFor is how long a slot is kept for a group that does not say that it still needs it. A learner
// that is not taught any more is not always told.
const heldFor = clock.Mono(15e9)

type claim struct {
	priority uint32
	at       clock.Mono
}

type queue struct {
	held  map[placement.PGID]clock.Mono // and when it was last heard of
	waits map[placement.PGID]claim
}

func (t *Throttle) limit(k kind) int {
	switch k {
	case teaching:
		return t.limits.Sources
	case taught:
		return t.limits.Targets
	}
	return t.limits.Homes
}

// take gives a PG a slot if one is free and nobody with a higher priority waits for it.
func (t *Throttle) take(k kind, now clock.Mono, id placement.PGID, priority uint32) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	q, limit := &t.queues[k], t.limit(k)
	if _, ok := q.held[id]; ok {
		q.held[id] = now
		return true
	}
	for other, heard := range q.held {
		if now >= heard+heldFor {
			delete(q.held, other)
		}
	}
	if priority >= urgent {
		limit *= 2
	}
	first := true
	for other, c := range q.waits {
		if now >= c.at+claimFor {
			delete(q.waits, other)
		} else if other != id && c.priority > priority {
			first = false
		}
	}
	if !first || len(q.held) >= limit {
		q.waits[id] = claim{priority, now}
		return false
	}
	delete(q.waits, id)
	q.held[id] = now
	return true
}

// keep says that a group still needs its slot.
func (t *Throttle) keep(k kind, now clock.Mono, id placement.PGID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.queues[k].held[id]; ok {
		t.queues[k].held[id] = now
	}
}

func (t *Throttle) giveBack(k kind, id placement.PGID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.queues[k].held, id)
}

// room reports whether a PG that has so many objects on their way to learners may begin another.
func (t *Throttle) room(id placement.PGID, mine int, priority uint32) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	limit := t.limits.Pushes
	switch {
	case priority >= urgent:
		limit *= 2
	case t.busy >= t.limits.Busy:
		limit = 1
	}
	return t.total-t.pushes[id]+mine < limit
}

// note says how many objects a PG has on their way to learners.
func (t *Throttle) note(id placement.PGID, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total += n - t.pushes[id]
	if n == 0 {
		delete(t.pushes, id)
		return
	}
	t.pushes[id] = n
}

// shares is what a group has of its OSD's Throttle.
type shares struct {
	teaching, taught, homing bool
	pushes                   int
	kept                     clock.Mono // when we last said that we need what we have
}

// share gives back what is not needed any more. It runs after every event, so nothing can be
// kept by a way of ending that was not thought of.
func (g *Group) share() {
	t, s := g.cfg.Throttle, &g.shares
	var now shares
	if ld := g.lead; ld != nil {
		now.homing = s.homing && ld.pending != nil
		for _, p := range g.peerList() {
			if p.phase == idle || p.phase == ready || g.view.Record.Has(p.id) {
				continue
			}
			now.teaching = s.teaching
			if p.phase == learning {
				now.pushes += p.pushing
			}
		}
	} else {
		now.taught = s.taught && g.fol.live && !g.st.complete
	}
	if s.homing && !now.homing {
		t.giveBack(homing, g.id)
	}
	if s.teaching && !now.teaching {
		t.giveBack(teaching, g.id)
	}
	if s.taught && !now.taught {
		t.giveBack(taught, g.id)
	}
	if s.pushes != now.pushes {
		t.note(g.id, now.pushes)
	}
	if now.teaching || now.taught {
		if now.kept = s.kept; g.now >= s.kept+clock.Mono(time.Second) {
			now.kept = g.now
			if now.teaching {
				t.keep(teaching, g.now, g.id)
			}
			if now.taught {
				t.keep(taught, g.now, g.id)
			}
		}
	}
	*s = now
}
