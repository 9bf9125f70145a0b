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
		c.answerAll(ctx)
		c.Step(ctx)
		<-c.busy
	}
}

// asked is work that somebody asked for with Begin.
type asked struct {
	run  uint64
	what string
	pool placement.PoolID
	age  time.Duration
}

// askedMax is how much of it can wait.
const askedMax = 16

// Started says by which number work that was begun can be found in Status.
type Started struct {
	OSD int32  `json:"osd"`
	Run uint64 `json:"run"`
}

// Begin has Run do what Ask does, soon. The work is done when Status has at least its number in Runs.
func (c *Care) Begin(what string, pool placement.PoolID, age time.Duration) (Started, error) {
	if err := checkAsk(what); err != nil {
		return Started{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.queue {
		if a.what == what && a.pool == pool && a.age == age {
			return Started{int32(c.o.Self), a.run}, nil
		}
	}
	if len(c.queue) >= askedMax {
		return Started{}, fmt.Errorf("care for chunks: %w: %d runs wait already", client.ErrTryLater, len(c.queue))
	}
	c.begun++
	c.queue = append(c.queue, asked{c.begun, what, pool, age})
	return Started{int32(c.o.Self), c.begun}, nil
}

// answerAll does what Begin was asked for. busy is held.
func (c *Care) answerAll(ctx context.Context) {
	for ctx.Err() == nil {
		c.mu.Lock()
		if len(c.queue) == 0 {
			c.mu.Unlock()
			return
		}
		a := c.queue[0]
		c.queue = c.queue[1:]
		c.running = a.what
		c.mu.Unlock()
		r, err := c.answer(ctx, a.what, a.pool, a.age)
		if err != nil {
			r = &Report{OSD: int32(c.o.Self), What: a.what, Errors: []string{err.Error()}, Problems: []Problem{}}
		}
		c.mu.Lock()
		c.running, c.runs, c.last = "", a.run, r
		c.mu.Unlock()
	}
}

func checkAsk(what string) error {
	if what != AskRepair && what != AskGC && what != AskAudit && what != AskVerify {
		return fmt.Errorf("care for chunks: %w: there is no %q; want %s, %s, %s, %s, %s or %s",
			client.ErrInvalid, what, AskStatus, AskRepair, AskGC, AskAudit, AskVerify, AskSettle)
	}
	return nil
}

// Step does once what is due. Run calls it; tests may instead, not beside Run.
func (c *Care) Step(ctx context.Context) {
	m := c.o.Cluster.Map()
	if m == nil {
		return
	}
	set := c.o.Settings(m)
	groups := c.follow(set.DeepEvery)
	where := holdersOf(m)
	c.small(ctx, groups, set)
	for _, g := range groups {
		// An OSD came, went, or was marked out: who has lost shards is found without asking anybody. Otherwise now and then, so
		// that what is known of chunks is not too old, but never more than a small part of the time. A PG that the OSD has just begun
		// to lead need not wait for that until the others' holders have been asked for all they have.
		every := max(countEvery, g.took*countPart)
		if g.where != where {
			every = 0
		}
		c.due(ctx, g, &g.moved, every, "repair", func() error {
			return c.survey(ctx, g, &sweep{how: g.again()}, where)
		})
	}
	for _, g := range groups {
		if !g.light.last.IsZero() { // the light one comes first
			c.due(ctx, g, &g.deep, set.DeepEvery, "deep look", func() error {
				err := c.survey(ctx, g, &sweep{how: deep, audit: true, age: set.OrphanAge}, where)
				if err != nil && !errors.As(err, new(unauditedError)) {
					return err
				}
				if p := m.Pool(g.id.Pool); p == nil || p.Chunks.IsZero() && g.stat.Chunks == 0 {
					return err // a pool without chunks: its objects need not all be read to find no reference
				}
				return cmp.Or(c.objectsOf(ctx, g), err)
			})
		}
		c.due(ctx, g, &g.light, set.LightEvery, "light look", func() error {
			return c.survey(ctx, g, &sweep{how: light, audit: true, age: set.OrphanAge}, where)
		})
		// These may have taken long.
		c.answerAll(ctx)
		c.small(ctx, groups, set)
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

// small does what does not take long.
func (c *Care) small(ctx context.Context, groups []*group, set Settings) {
	for _, g := range groups {
		c.due(ctx, g, &g.outbox, set.OutboxEvery, "outbox", func() error { return c.outbox(ctx, g) })
	}
	for _, g := range groups {
		if g.clean {
			c.due(ctx, g, &g.gc, set.GCInterval, "gc", func() error { return c.gc(ctx, g.id, set.GCInterval) })
		}
		c.due(ctx, g, &g.voids, max(set.VoidAge/24, set.GCInterval), "void records", func() error { return c.voids(ctx, g.id, set.VoidAge) })
	}
}

// How often entries are counted, and which part of the time that may take.
const (
	countEvery = time.Minute
	countPart  = 500
)

// again is how closely entries must be looked at so that what was wrong with them is seen again, or seen to be gone. Those that
// are damaged say so themselves, and are always read.
func (g *group) again() level {
	if g.stat.DegradedShards+g.stat.Missing > 0 {
		return light
	}
	return byMap
}

// survey looks at all entries of a PG and keeps what was found.
func (c *Care) survey(ctx context.Context, g *group, s *sweep, where uint64) error {
	began := c.o.Clock.Wall()
	stat, err := c.sweep(ctx, g.id, s)
	complete := err == nil || errors.As(err, new(unauditedError))
	c.found(g, ofIndex, &s.found, complete)
	if s.audit {
		c.found(g, ofRefs, &s.refs, err == nil)
	}
	if !complete {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	stat.Dangling = g.stat.Dangling
	g.stat, g.where, g.took = stat, where, max(0, c.o.Clock.Wall().Sub(began))
	if s.how >= light {
		g.light.last = c.o.Clock.Wall() // also if somebody asked for it
	}
	return err
}

// follow brings the list of PGs up to date; every is how often each is looked at deeply.
func (c *Care) follow(every time.Duration) []*group {
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
			g.deep.last = lastTurn(l.ID, c.o.Clock.Wall(), every)
		}
		g.clean = l.Clean
		c.groups[l.ID] = g
		list = append(list, g)
	}
	return list
}

// lastTurn is when the last turn of a PG began: each has its own moment in every interval, drawn from its id, so that not all
// are looked at deeply at once, and not all when an OSD starts.
func lastTurn(id placement.PGID, now time.Time, every time.Duration) time.Time {
	if every <= 0 {
		return now
	}
	phase := int64(placement.NameHash("chunks "+id.String()) % uint64(every))
	return now.Add(-time.Duration((now.UnixNano() - phase) % int64(every)))
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

// holdersOf returns a digest of what of a map decides which shards can be reached: which OSDs there are, are in, and up.
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
		if o.Up {
			b[9] = 1
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
	AskVerify = "verify"
)

// What else a message to the care can ask: ListChunks, and ShowChunk without and with verify.
const (
	AskChunks      = "chunks"
	AskChunk       = "chunk"
	AskVerifyChunk = "verify-chunk"
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
	if err := checkAsk(what); err != nil {
		return nil, err
	}
	select {
	case c.busy <- struct{}{}:
		defer func() { <-c.busy }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return c.answer(ctx, what, pool, age)
}

// answer does what was asked for. busy is held.
func (c *Care) answer(ctx context.Context, what string, pool placement.PoolID, age time.Duration) (*Report, error) {
	m := c.o.Cluster.Map()
	set := c.o.Settings(m)
	if age < 0 {
		age = set.OrphanAge
	}
	r := &Report{OSD: int32(c.o.Self), What: what, Errors: []string{}, Problems: []Problem{}}
	c.mu.Lock()
	before := c.sum
	c.events = nil
	c.mu.Unlock()
	where := holdersOf(m)
	for _, g := range c.follow(set.DeepEvery) {
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
	r.Work, r.Problems = s.Work.Since(before), append(r.Problems, s.Problems...)
	return r, nil
}

var errUnclean = errors.New("it is not active and clean, so no chunk of it is deleted")

func (c *Care) asked(ctx context.Context, what string, g *group, set Settings, age time.Duration, where uint64, r *Report) error {
	switch what {
	case AskRepair:
		return c.survey(ctx, g, &sweep{how: deep}, where)
	case AskVerify:
		return c.survey(ctx, g, &sweep{how: deep, only: true}, where)
	case AskAudit:
		return errors.Join(c.outbox(ctx, g), c.survey(ctx, g, &sweep{how: light, audit: true, age: age}, where), c.objectsOf(ctx, g))
	}
	err := errors.Join(c.outbox(ctx, g), c.survey(ctx, g, &sweep{how: g.again()}, where))
	if !g.clean {
		return errors.Join(err, errUnclean)
	}
	err = errors.Join(err, c.gc(ctx, g.id, set.GCInterval), c.voids(ctx, g.id, set.VoidAge))
	return errors.Join(err, c.survey(ctx, g, &sweep{how: g.again()}, where)) // what is left
}
