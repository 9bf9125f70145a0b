package chunkcare

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/placement"
)

// emptyEvery is how often an OSD that is being emptied looks which of its shards have been moved.
const emptyEvery = 5 * time.Second

// Backoff after a failure.
const (
	againFirst = time.Second
	againMax   = time.Minute
)

// Run does what is due until ctx ends.
func (c *Care) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { c.runSettle(ctx) }) // ends with ctx
	t := time.NewTicker(c.o.Tick)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		select {
		case c.busy <- struct{}{}:
		default:
			continue // somebody asked for something
		}
		c.Step(ctx)
		<-c.busy
	}
}

// Step does once what is due. Run calls it; tests may instead, not beside Run.
func (c *Care) Step(ctx context.Context) {
	m := c.o.Cluster.Map()
	if m == nil {
		return
	}
	set := c.o.Settings(m)
	groups := c.follow()
	where := holdersOf(m)
	for _, g := range groups {
		c.due(ctx, g, &g.outbox, set.OutboxEvery, "outbox", func() error { return c.outbox(ctx, g.id) })
	}
	for _, g := range groups {
		if g.clean {
			c.due(ctx, g, &g.gc, set.GCInterval, "gc", func() error { return c.gc(ctx, g.id, set.GCInterval) })
		}
		c.due(ctx, g, &g.voids, max(set.VoidAge/24, set.GCInterval), "void records", func() error { return c.voids(ctx, g.id, set.VoidAge) })
	}
	for _, g := range groups {
		if g.where != where && !g.light.last.IsZero() {
			// An OSD came, went, or was marked out: who has lost shards is found without asking anybody.
			c.due(ctx, g, &g.moved, 0, "repair", func() error {
				return c.survey(ctx, g, &sweep{how: byMap}, where)
			})
		}
		c.due(ctx, g, &g.deep, set.DeepEvery, "deep look", func() error {
			if g.light.last.IsZero() {
				return nil // the light one comes first
			}
			err := c.survey(ctx, g, &sweep{how: deep, audit: true, age: set.OrphanAge}, where)
			if err != nil && !errors.As(err, new(unauditedError)) {
				return err
			}
			return cmp.Or(c.objectsOf(ctx, g), err)
		})
		c.due(ctx, g, &g.light, set.LightEvery, "light look", func() error {
			return c.survey(ctx, g, &sweep{how: light, audit: true, age: set.OrphanAge}, where)
		})
	}
	every := set.OrphanAge
	if c.emptied() {
		every = min(every, emptyEvery)
	}
	for i := range m.Pools {
		pool := m.Pools[i].ID
		c.due(ctx, nil, c.ownTurn(pool), every, "own shards", func() error { return c.orphans(ctx, pool, set.OrphanAge) })
	}
}

// survey looks at all entries of a PG and keeps what was found.
func (c *Care) survey(ctx context.Context, g *group, s *sweep, where uint64) error {
	stat, err := c.sweep(ctx, g.id, s)
	if err != nil && !errors.As(err, new(unauditedError)) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	stat.Dangling = g.stat.Dangling
	g.stat, g.where = stat, where
	return err
}

// follow brings the list of PGs up to date.
func (c *Care) follow() []*group {
	led := c.o.Groups.Led()
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.groups
	c.groups = make(map[placement.PGID]*group, len(led))
	list := make([]*group, 0, len(led))
	for _, l := range led {
		g := old[l.ID]
		if g == nil {
			g = &group{id: l.ID}
			// Deep looks wait their time, each PG its own: not all begin when the OSD does.
			g.deep.last = c.o.Clock.Wall()
		}
		g.clean = l.Clean
		c.groups[l.ID] = g
		list = append(list, g)
	}
	return list
}

func (c *Care) ownTurn(pool placement.PoolID) *turn {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.own[pool]
	if t == nil {
		t = &turn{}
		c.own[pool] = t
	}
	return t
}

// due does work whose turn has come.
func (c *Care) due(ctx context.Context, g *group, t *turn, every time.Duration, what string, f func() error) {
	now := c.o.Clock.Wall()
	if ctx.Err() != nil || now.Before(t.after) || !t.last.IsZero() && now.Sub(t.last) < every {
		return
	}
	err := f()
	if err != nil && ctx.Err() == nil && errors.As(err, new(unauditedError)) {
		// To look at everything again, and soon, would not bring back what cannot be reached now.
		c.log.Warn("some references of chunks were not compared with their objects; the next look tries again", "osd", c.o.Self, "what", what, "err", err)
		err = nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		t.last, t.fails, t.after = now, 0, time.Time{}
		if c.failed == t {
			c.failed, c.waiting = nil, ""
		}
		return
	case ctx.Err() != nil:
		return
	}
	t.after = now.Add(min(againFirst<<min(t.fails, 10), againMax))
	t.fails++
	c.failed, c.waiting = t, fmt.Sprintf("%s: %v", what, err)
	log := c.log.Debug
	if t.fails == 4 {
		log = c.log.Warn // not a matter of a moment
	}
	if g != nil {
		log("care for chunks failed, it is tried again", "osd", c.o.Self, "pg", g.id, "what", what, "err", err)
	} else {
		log("care for chunks failed, it is tried again", "osd", c.o.Self, "what", what, "err", err)
	}
}

// holdersOf returns a digest of what of a map decides where shards can be: which OSDs there are, and are in.
func holdersOf(m *placement.Map) uint64 {
	h := fnv.New64a()
	for i := range m.OSDs {
		o := &m.OSDs[i]
		var b [13]byte
		binary.LittleEndian.PutUint32(b[:], uint32(o.ID))
		binary.LittleEndian.PutUint32(b[4:], o.Weight)
		if o.In() {
			b[8] = 1
		}
		if !o.Up && !o.In() {
			b[9] = 1 // what it holds cannot be moved any more
		}
		h.Write(b[:])
	}
	return h.Sum64()
}

// The kinds of work that Ask has done.
const (
	AskStatus = "status"
	AskRepair = "repair"
	AskGC     = "gc"
	AskAudit  = "audit"
)

// Ask has work done now, for the PGs of one pool or, with 0, of all. It waits until it is done. age is how old what is
// taken for left behind must be at least; negative: as configured. The answer is a Status or a Report.
func (c *Care) Ask(ctx context.Context, what string, pool placement.PoolID, age time.Duration) (any, error) {
	switch what {
	case AskStatus:
		return c.Status(), nil
	case AskSettle:
		return c.askSettle(pool, age)
	}
	if what != AskRepair && what != AskGC && what != AskAudit {
		return nil, fmt.Errorf("care for chunks: %w: there is no %q; want %s, %s, %s, %s or %s", client.ErrInvalid, what, AskStatus, AskRepair, AskGC, AskAudit, AskSettle)
	}
	select {
	case c.busy <- struct{}{}:
		defer func() { <-c.busy }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	m := c.o.Cluster.Map()
	set := c.o.Settings(m)
	if age < 0 {
		age = set.OrphanAge
	}
	r := &Report{OSD: int32(c.o.Self), What: what, Errors: []string{}, Problems: []Problem{}}
	c.mu.Lock()
	before := c.sum
	c.problems = nil // what still is one is found again
	c.mu.Unlock()
	where := holdersOf(m)
	for _, g := range c.follow() {
		if pool != 0 && g.id.Pool != pool {
			continue
		}
		r.PGs++
		err := c.asked(ctx, what, g, set, age, where, r)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			r.Skipped++
			r.Errors = append(r.Errors, fmt.Sprintf("PG %s: %v", g.id, err))
		}
		r.Chunks.Add(g.stat)
	}
	if what == AskAudit {
		for i := range m.Pools {
			if p := m.Pools[i].ID; pool == 0 || pool == p {
				if err := c.orphans(ctx, p, age); err != nil {
					r.Errors = append(r.Errors, err.Error())
				}
			}
		}
	}
	s := c.Status()
	r.Work, r.Problems = s.Work.since(before), append(r.Problems, s.Problems...)
	return r, nil
}

var errUnclean = errors.New("it is not active and clean, so no chunk of it is deleted")

func (c *Care) asked(ctx context.Context, what string, g *group, set Settings, age time.Duration, where uint64, r *Report) error {
	switch what {
	case AskRepair:
		return c.survey(ctx, g, &sweep{how: deep}, where)
	case AskAudit:
		return errors.Join(c.outbox(ctx, g.id), c.survey(ctx, g, &sweep{how: light, audit: true, age: age}, where), c.objectsOf(ctx, g))
	}
	err := errors.Join(c.outbox(ctx, g.id), c.survey(ctx, g, &sweep{how: byMap}, where))
	if !g.clean {
		return errors.Join(err, errUnclean)
	}
	return errors.Join(err, c.gc(ctx, g.id, set.GCInterval), c.voids(ctx, g.id, set.VoidAge))
}
