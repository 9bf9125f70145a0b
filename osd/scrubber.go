package osd

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/scrub"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// scrubber decides when PGs are scrubbed, and reads copies for scrubs: one page at a time,
// with pauses, so that clients' work goes first.
type scrubber struct {
	d    *OSD
	work chan func()   // pages to describe, for all PGs that we are a member of
	wake chan struct{} // capacity 1: an administrator asked for a scrub

	mu    sync.Mutex // guards below
	asked map[placement.PGID]pg.ScrubEvent
}

// askedMax bounds the scrubs that administrators may have asked for and that wait their turn.
const askedMax = 65536

// paceBytes and paceTime are how much a scrub reads before it makes a pause as long as the reading took.
const (
	paceBytes = 1 << 20
	paceTime  = 10 * time.Millisecond
	pauseMax  = time.Second
)

func newScrubber(d *OSD) *scrubber {
	return &scrubber{d: d, work: make(chan func(), 64), wake: make(chan struct{}, 1), asked: map[placement.PGID]pg.ScrubEvent{}}
}

// run plans scrubs, now and then and when it is asked to, until Close ends ctx.
func (sc *scrubber) run() {
	defer sc.d.wg.Done()
	tick := time.NewTicker(sc.d.o.ScrubEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-sc.wake:
		case <-sc.d.ctx.Done():
			return
		}
		sc.plan()
	}
}

// read describes pages, one after the other, until Close ends ctx.
func (sc *scrubber) read() {
	defer sc.d.wg.Done()
	for {
		select {
		case run := <-sc.work:
			run()
		case <-sc.d.ctx.Done():
			return
		}
	}
}

// submit queues a page. It never blocks the shard.
func (sc *scrubber) submit(run func()) {
	select {
	case sc.work <- run:
	default:
		sc.d.wg.Add(1)
		go func() { // until it is taken or Close ends ctx
			defer sc.d.wg.Done()
			select {
			case sc.work <- run:
			case <-sc.d.ctx.Done():
			}
		}()
	}
}

// pace returns a brake for one page.
func (sc *scrubber) pace() scrub.Pace {
	d := sc.d
	began, bytes := d.clk.Mono(), 0
	return func(n int) error {
		bytes += n
		busy := d.clk.Mono().Sub(began)
		if bytes < paceBytes && busy < paceTime {
			return d.ctx.Err()
		}
		for { // longer while clients' reads wait for a worker
			t := time.NewTimer(min(max(busy, time.Millisecond), pauseMax))
			select {
			case <-t.C:
			case <-d.ctx.Done():
				t.Stop()
				return d.ctx.Err()
			}
			if len(d.reads) == 0 {
				break
			}
		}
		began, bytes = d.clk.Mono(), 0
		return nil
	}
}

// look carries out a Look effect.
func (s *shard) look(g *pg.Group, l pg.Look) {
	id := g.ID()
	d := s.d
	if l.Object != "" {
		s.offload(func() { // somebody waits for it
			it, err := scrub.Object(d.o.Store, store.Key{PG: id, Space: store.Objects, Name: l.Object}, l.Deep, nil)
			s.post(forGroup{id: id, to: g, ev: pg.LookedEvent{Token: l.Token, Items: []*wirepb.ScrubItem{it}, Err: err}})
		})
		return
	}
	d.scrubs.submit(func() {
		items, more, err := scrub.Page(d.o.Store, id, l.After, l.Limit, l.MaxBytes, l.Deep, d.scrubs.pace())
		s.post(forGroup{id: id, to: g, ev: pg.LookedEvent{Token: l.Token, Items: items, More: more, Err: err}})
	})
}

// notice logs and counts what a group has to say.
func (d *OSD) notice(id placement.PGID, n pg.Notice) {
	log := d.log.With("pg", id)
	if n.Object != "" {
		log = log.With("object", n.Object)
	}
	if n.OSD != placement.NoOSD {
		log = log.With("copy", n.OSD)
	}
	switch n.Kind {
	case pg.ReadFailed:
		d.stats.readErrors.Add(1)
		log.Warn("a copy cannot be read", "err", n.Text)
	case pg.Found:
		d.stats.scrubFound.Add(1)
		log.Error("a scrub found a damaged copy", "wrong", n.Text)
	case pg.Repaired:
		d.stats.repaired.Add(1)
		log.Warn("a copy was repaired", "how", n.Text)
	case pg.Inconsistent:
		log.Error("copies differ, and which is right is for an administrator to say", "why", n.Text,
			"next", fmt.Sprintf("cairn pg list-inconsistent %s, then cairn pg repair %s", id, id))
	case pg.Unfound:
		log.Error("an object has no good copy", "why", n.Text)
	case pg.ScrubStopped:
		log.Warn("scrub ended early", "why", n.Text)
	case pg.ScrubEnded:
		log.Info("scrub", "what", n.Text)
		d.scrubs.soon() // the next one need not wait for its time
	default:
		log.Info("scrub", "what", n.Text)
	}
}

// scrubPlan is what the plan knows of one PG.
type scrubPlan struct {
	id placement.PGID
	s  *shard
	st pg.ScrubState
}

// plan begins scrubs that are due, as many as may run at a time.
func (sc *scrubber) plan() {
	d := sc.d
	d.mu.Lock()
	m := d.cur
	d.mu.Unlock()
	plans := sc.collect()
	if m == nil || plans == nil {
		return
	}
	now := d.clk.Wall().UnixNano()
	running, limit := 0, m.ConfigNumber(placement.KeyScrubMaxPGs)
	for _, p := range plans {
		if p.st.Running || p.st.Wanted {
			running++
		}
	}
	begin := func(p scrubPlan, ev pg.ScrubEvent) {
		ev.Start, ev.Wall = true, now
		p.s.post(forGroup{id: p.id, ev: ev})
		running++
	}
	late := func(a, b scrubPlan) int { return int(min(max(a.st.Last-b.st.Last, -1), 1)) }
	slices.SortStableFunc(plans, late) // who waits longest comes first
	for _, p := range plans {
		if p.st.Since == 0 {
			p.s.post(forGroup{id: p.id, ev: pg.ScrubEvent{Wall: now}})
		}
		if ev, ok := sc.take(p, running < limit); ok {
			begin(p, ev)
		}
	}
	every, deepEvery := m.ConfigDuration(placement.KeyScrubInterval), m.ConfigDuration(placement.KeyDeepScrubInterval)
	for _, p := range plans {
		if running >= limit {
			return
		}
		if p.st.Since == 0 || !p.st.Ready {
			continue
		}
		light, deep := due(p.id, max(p.st.Last, p.st.Since), now, every), due(p.id, max(p.st.LastDeep, p.st.Since), now, deepEvery)
		switch {
		case deep && m.Flags&(placement.FlagNoDeepScrub|placement.FlagNoScrub) == 0:
			begin(p, pg.ScrubEvent{Deep: true})
		case light && m.Flags&placement.FlagNoScrub == 0:
			begin(p, pg.ScrubEvent{})
		}
	}
}

// due reports whether a PG's turn has come since the last time. Each PG has its own moment in
// every interval, drawn from its id, so that not all are scrubbed at once.
func due(id placement.PGID, last, now int64, every time.Duration) bool {
	if every <= 0 {
		return false
	}
	phase := int64(placement.NameHash("scrub "+id.String()) % uint64(every))
	turn := func(t int64) int64 { return (t - phase) / int64(every) }
	return turn(now) > turn(last)
}

// take returns the scrub that an administrator asked for, if it may begin. Until the PG is clean it waits.
func (sc *scrubber) take(p scrubPlan, room bool) (pg.ScrubEvent, bool) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	ev, ok := sc.asked[p.id]
	if !ok || !room || !p.st.Ready {
		return ev, false
	}
	delete(sc.asked, p.id)
	return ev, true
}

// collect asks the shards for the PGs that we lead; nil when the daemon stops.
func (sc *scrubber) collect() []scrubPlan {
	plans := []scrubPlan{}
	for _, s := range sc.d.shards {
		part := make(chan []scrubPlan, 1)
		s.say(call{func(s *shard) {
			var ps []scrubPlan
			for _, g := range pg.Sorted(s.groups) {
				if st := g.ScrubState(); st.Leads {
					ps = append(ps, scrubPlan{g.ID(), s, st})
				}
			}
			part <- ps
		}})
		select {
		case ps := <-part:
			plans = append(plans, ps...)
		case <-sc.d.ctx.Done():
			return nil
		}
	}
	return plans
}

// ---- administrators ----

// onScrubStart takes an order to scrub a PG, or all that we lead.
func (d *OSD) onScrubStart(c *wire.Conn, m *wire.Message, q *wirepb.PGScrubStart) {
	ev := pg.ScrubEvent{Deep: q.Deep || q.Repair, Repair: q.Repair}
	want := placement.PGID{Pool: placement.PoolID(q.Pool), Shard: q.Shard}
	d.wg.Add(1)
	go func() { // until the shards have answered or Close ends ctx
		defer d.wg.Done()
		n, room := 0, true
		for _, p := range d.scrubs.collect() {
			if q.All || p.id == want {
				room = d.scrubs.ask(p.id, ev) && room
				n++
			}
		}
		switch {
		case n == 0 && !q.All:
			c.ReplyError(m, wirepb.Code_WRONG_PRIMARY, "PG %s is not led by %s", want, d.id)
			return
		case !room:
			c.ReplyError(m, wirepb.Code_TRY_LATER, "%s has %d scrubs waiting", d.id, askedMax)
			return
		}
		d.scrubs.soon()
		reply(c, m, map[string]int{"pgs": n})
	}()
}

// soon has scrubs planned at once.
func (sc *scrubber) soon() {
	select {
	case sc.wake <- struct{}{}:
	default:
	}
}

func (sc *scrubber) ask(id placement.PGID, ev pg.ScrubEvent) bool {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if old, ok := sc.asked[id]; ok {
		ev.Deep, ev.Repair = ev.Deep || old.Deep, ev.Repair || old.Repair
	} else if len(sc.asked) >= askedMax {
		return false
	}
	sc.asked[id] = ev
	return true
}

// reply answers an administrator's request with JSON.
func reply(c *wire.Conn, m *wire.Message, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		c.ReplyError(m, wirepb.Code_INTERNAL, "encode the answer: %v", err)
		return
	}
	c.Reply(m, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_PgQueryStateReply{PgQueryStateReply: &wirepb.PGQueryStateReply{Json: b}}}})
}

// inconsistent answers `pg list-inconsistent`.
func (s *shard) inconsistent(id placement.PGID, c client) {
	g := s.groups[id]
	if g == nil || !g.Leads() {
		c.conn.ReplyError(c.req, wirepb.Code_WRONG_PRIMARY, "PG %s is not led by %s", id, s.d.id)
		return
	}
	bad, more := g.Inconsistencies()
	reply(c.conn, c.req, inconsistentJSON(s.m.Epoch, bad, more))
}

// Shapes of Ceph's list-inconsistent-obj.
type (
	inconsistentList struct {
		Epoch         placement.Epoch      `json:"epoch"`
		Inconsistents []inconsistentObject `json:"inconsistents"`
		More          uint64               `json:"more"` // cairn's own: how many are not listed
	}
	inconsistentObject struct {
		Object objectName          `json:"object"`
		Errors []string            `json:"errors"`
		Union  []string            `json:"union_shard_errors"`
		Why    string              `json:"why"`
		Lost   bool                `json:"unfound"`
		Shards []inconsistentShard `json:"shards"`
	}
	objectName struct {
		Name    string `json:"name"`
		Version uint64 `json:"version"`
	}
	inconsistentShard struct {
		OSD     int32    `json:"osd"`
		Primary bool     `json:"primary"`
		Errors  []string `json:"errors"`
		Version string   `json:"version,omitempty"`
		Size    uint64   `json:"size"`
		Attrs   uint64   `json:"attrs"`
		Omap    uint64   `json:"omap_keys"`
		Data    string   `json:"data_digest,omitempty"`
		AttrSum string   `json:"attrs_digest,omitempty"`
		OmapSum string   `json:"omap_digest,omitempty"`
		Error   string   `json:"error,omitempty"`
	}
)

func inconsistentJSON(epoch placement.Epoch, bad []*wirepb.PGInconsistent, more uint64) inconsistentList {
	l := inconsistentList{Epoch: epoch, Inconsistents: []inconsistentObject{}, More: more}
	for _, b := range bad {
		o := inconsistentObject{Object: objectName{Name: string(b.Object)}, Why: b.Why, Lost: b.Unfound, Errors: []string{}, Union: []string{}, Shards: []inconsistentShard{}}
		for _, s := range b.Shards {
			sh := inconsistentShard{OSD: s.Osd, Primary: s.Primary, Errors: append([]string{}, s.Errors...)}
			if it := s.Item; it != nil {
				sh.Size, sh.Attrs, sh.Omap, sh.Error = it.Size, it.Attrs, it.Omap, it.Error
				sh.Data, sh.AttrSum, sh.OmapSum = hex(it.DataDigest), hex(it.AttrsDigest), hex(it.OmapDigest)
				if v := it.Version; v != nil {
					sh.Version = store.Version{Term: placement.Term(v.Term), Seq: v.Seq}.String()
					o.Object.Version = max(o.Object.Version, v.Seq)
				}
			}
			for _, e := range s.Errors {
				if !slices.Contains(o.Union, e) {
					o.Union = append(o.Union, e)
				}
			}
			o.Shards = append(o.Shards, sh)
		}
		slices.Sort(o.Union)
		for _, e := range o.Union { // Ceph's errors of the object are those that say that copies differ
			if e != "missing" && e != "read_error" && e != "unexpected" {
				o.Errors = append(o.Errors, e)
			}
		}
		l.Inconsistents = append(l.Inconsistents, o)
	}
	return l
}

func hex(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return fmt.Sprintf("0x%x", b)
}
