package chunkcare

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/placement"
)

// SettleStatus is how settling is on one OSD. Counts are since the start.
type SettleStatus struct {
	OSD       int32  `json:"osd"`
	PGs       int    `json:"pgs"`       // that the OSD leads, of pools with chunks
	Pending   int    `json:"pending"`   // of those, to be looked at now, because somebody asked or it is time
	Objects   int64  `json:"objects"`   // looked at
	Settled   int64  `json:"settled"`   // of them something became chunks
	Chunks    int64  `json:"chunks"`    // that objects were made to refer to
	Bytes     int64  `json:"bytes"`     // of them
	Conflicts int64  `json:"conflicts"` // objects that were written meanwhile, and wait
	Failed    int64  `json:"failed"`    // objects left out for another reason; the log says which and why
	Waiting   string `json:"waiting"`   // what failed last and is tried again, if anything
}

// settling is what Care knows of it.
type settling struct {
	busy chan struct{} // holds one while a step is under way
	wake chan struct{} // holds one: somebody asked

	// Under Care.mu.
	pgs    map[placement.PGID]*settlePG
	status map[placement.PoolID]*SettleStatus // the counts
}

// settlePG is one PG that the OSD leads.
type settlePG struct {
	turn
	asked  bool          // for a look from the first object on
	idle   time.Duration // what was asked for
	active bool          // a look is under way, or has failed and goes on
	forced bool          // it was asked for
	next   string        // where a look that failed goes on: behind this object

	seen map[uint64]settledVersion // by a hash of the name; only for who holds busy
}

// settleSeen is how many objects of a PG are remembered; with more, some are looked at anew.
const settleSeen = 1 << 16

func newSettling() settling {
	return settling{busy: make(chan struct{}, 1), wake: make(chan struct{}, 1), pgs: map[placement.PGID]*settlePG{}, status: map[placement.PoolID]*SettleStatus{}}
}

func (c *Care) countSettle(pool placement.PoolID, f func(*SettleStatus)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c.settling.of(pool))
}

// of returns the counts of a pool.
func (s *settling) of(pool placement.PoolID) *SettleStatus {
	if s.status[pool] == nil {
		s.status[pool] = &SettleStatus{}
	}
	return s.status[pool]
}

// runSettle settles what is due until ctx ends. It has a goroutine of its own: a look at all objects takes long, and what keeps
// chunks safe does not wait for what makes new ones.
func (c *Care) runSettle(ctx context.Context) {
	t := time.NewTicker(c.o.Tick)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-c.settling.wake:
		case <-ctx.Done():
			return
		}
		c.SettleStep(ctx)
	}
}

// SettleStep settles once what is due. Run does so by itself.
func (c *Care) SettleStep(ctx context.Context) {
	m := c.o.Cluster.Map()
	if m == nil || c.o.Chunks == nil {
		return
	}
	select {
	case c.settling.busy <- struct{}{}:
		defer func() { <-c.settling.busy }()
	default:
		return
	}
	rules := c.o.SettleRules(m)
	clean := c.settleFollow(m)
	for _, id := range clean {
		if ctx.Err() != nil {
			return
		}
		pool := m.Pool(id.Pool)
		l, ok := c.settleDue(id, rules)
		if pool == nil || !ok {
			continue
		}
		l.pool, l.id = pool, id
		c.settleDone(ctx, l, c.settlePG(ctx, l))
	}
}

// settleLook is one look at the objects of a PG.
type settleLook struct {
	pool  *placement.Pool
	id    placement.PGID
	g     *settlePG
	rules SettleRules
	after string // the last object that is done
	stuck bool   // the one behind it failed often: it is left out
}

// settleFollow brings the list of PGs up to date, and returns those that can be worked on.
func (c *Care) settleFollow(m *placement.Map) (clean []placement.PGID) {
	led := c.o.Groups.Led()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.settling
	old := s.pgs
	s.pgs = make(map[placement.PGID]*settlePG, len(led))
	for _, l := range led {
		p := m.Pool(l.ID.Pool)
		if p == nil || p.Chunks.IsZero() {
			continue
		}
		g := old[l.ID]
		if g == nil {
			// The first look waits its time: after an outage there is other work.
			g = &settlePG{seen: map[uint64]settledVersion{}}
			g.last = c.o.Clock.Wall()
		}
		s.pgs[l.ID] = g
		if l.Clean {
			clean = append(clean, l.ID)
		}
	}
	return clean
}

// settleDue begins a look at a PG whose turn has come.
func (c *Care) settleDue(id placement.PGID, rules SettleRules) (*settleLook, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, now := c.settling.pgs[id], c.o.Clock.Wall()
	switch {
	case g == nil || now.Before(g.after):
		return nil, false
	case g.asked:
		g.asked, g.active, g.forced, g.next, g.fails = false, true, true, "", 0
	case g.active:
	case rules.Every > 0 && now.Sub(g.last) >= rules.Every:
		g.active, g.forced, g.next = true, false, ""
	default:
		return nil, false
	}
	if g.forced {
		rules.Idle = g.idle
		if g.idle == 0 {
			rules.Size = 1 // whatever the clock of who wrote it says
		}
	}
	return &settleLook{g: g, rules: rules, after: g.next, stuck: g.fails >= stuckAfter}, true
}

// stuckAfter is how often a look may end at one object.
const stuckAfter = 3

// settleDone takes in how a look at a PG ended.
func (c *Care) settleDone(ctx context.Context, l *settleLook, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, s, now := l.g, c.settling.of(l.id.Pool), c.o.Clock.Wall()
	switch {
	case err == nil:
		g.last, g.fails, g.after, g.active, g.next = now, 0, time.Time{}, false, ""
		s.Waiting = ""
	case ctx.Err() == nil:
		if l.after != g.next {
			g.fails = 0
		}
		g.next = l.after
		g.after = now.Add(min(againFirst<<min(g.fails, 10), againMax))
		g.fails++
		s.Waiting = fmt.Sprintf("PG %s: %v", l.id, err)
		c.log.Debug("settling failed, it is tried again", "osd", c.o.Self, "pg", l.id, "err", err)
	}
}

// settlePG looks at the objects of a PG. An error says that the look is to go on later.
func (c *Care) settlePG(ctx context.Context, l *settleLook) error {
	for {
		names, more, err := c.o.Cluster.List(ctx, l.id, 0, l.after, c.o.Page)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return err
			}
			h := fnv.New64a()
			h.Write([]byte(name))
			known := l.g.seen[h.Sum64()]
			err := c.settleObject(ctx, l.pool, name, l.rules, &known)
			if len(l.g.seen) >= settleSeen {
				clear(l.g.seen)
			}
			if known != (settledVersion{}) {
				l.g.seen[h.Sum64()] = known
			}
			if err != nil && !l.stuck && is(err, client.ErrTimeout, client.ErrTryLater, client.ErrNoSpace, client.ErrClosed, client.ErrFewHolders) {
				return err // others would fare no better
			}
			if err != nil {
				c.countSettle(l.id.Pool, func(s *SettleStatus) { s.Failed++ })
				c.log.Warn("an object cannot be settled, it stays as it is", "osd", c.o.Self, "pg", l.id, "err", err)
			}
			l.after, l.stuck = name, false
		}
		if !more || len(names) == 0 {
			return nil
		}
	}
}

// AskSettle asks for objects to be settled that were not written for a while; 0: for all.
const AskSettle = "settle"

// askSettle has the PGs of one pool or, with 0, of all be looked at soon. It does not wait: Status tells how far that is.
// A negative idle changes nothing.
func (c *Care) askSettle(pool placement.PoolID, idle time.Duration) (SettleStatus, error) {
	m := c.o.Cluster.Map()
	if p := m.Pool(pool); pool != 0 && (p == nil || p.Chunks.IsZero()) {
		return SettleStatus{}, fmt.Errorf("settle pool %d: %w: the pool makes no chunks; see `cairn pool set POOL chunks`", pool, client.ErrInvalid)
	}
	c.settleFollow(m)
	if idle < 0 {
		return c.SettleStatus(pool), nil
	}
	c.mu.Lock()
	for id, g := range c.settling.pgs {
		if pool == 0 || id.Pool == pool {
			g.asked, g.idle, g.after = true, idle, time.Time{}
		}
	}
	c.mu.Unlock()
	select {
	case c.settling.wake <- struct{}{}:
	default:
	}
	return c.SettleStatus(pool), nil
}

// SettleStatus returns how settling is, of one pool or, with 0, of all.
func (c *Care) SettleStatus(pool placement.PoolID) (sum SettleStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum.OSD = int32(c.o.Self)
	for id, s := range c.settling.status {
		if pool != 0 && id != pool {
			continue
		}
		sum.Objects += s.Objects
		sum.Settled += s.Settled
		sum.Chunks += s.Chunks
		sum.Bytes += s.Bytes
		sum.Conflicts += s.Conflicts
		sum.Failed += s.Failed
		sum.Waiting = max(sum.Waiting, s.Waiting)
	}
	for id, g := range c.settling.pgs {
		if pool != 0 && id.Pool != pool {
			continue
		}
		sum.PGs++
		if g.asked || g.active {
			sum.Pending++
		}
	}
	return sum
}
