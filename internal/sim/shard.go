package sim

import (
	"slices"
	"time"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/objop"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// shard drives some of an OSD's groups, as osd/shard.go does. The shards of an OSD take in
// maps at their own pace.
type shard struct {
	d        *osd
	m        *placement.Map
	table    *placement.Table
	groups   map[placement.PGID]*pg.Group
	lines    map[placement.PGID]*store.Line
	due      map[placement.PGID]clock.Mono // when a group wants a tick, by the OSD's clock
	timers   map[placement.PGID]clock.Mono // when the next event looks at due; absent: none is scheduled
	deferred []forGroup
}

// forGroup is an event that must not be delivered before the shard acts on a map.
type forGroup struct {
	id    placement.PGID
	epoch placement.Epoch
	ev    pg.Event
	reply func(pg.Reply) // of an OpEvent
	since clock.Mono
}

func newShard(d *osd) *shard {
	return &shard{
		d: d, groups: map[placement.PGID]*pg.Group{}, lines: map[placement.PGID]*store.Line{},
		due: map[placement.PGID]clock.Mono{}, timers: map[placement.PGID]clock.Mono{},
	}
}

// deferMax is how long a client's request waits for a map.
const deferMax = 10 * time.Second

func (s *shard) epoch() placement.Epoch {
	if s.m == nil {
		return 0
	}
	return s.m.Epoch
}

// onMap begins to act on a newer map.
func (s *shard) onMap(m *placement.Map, table *placement.Table) {
	if m.Epoch <= s.epoch() {
		return
	}
	old := s.m
	s.m, s.table = m, table
	for i := range m.PGs {
		for n := range m.PGs[i].Records {
			id := placement.PGID{Pool: m.PGs[i].Pool, Shard: uint32(n)}
			if s.d.shardOf(id) != s || s.groups[id] != nil {
				continue
			}
			switch {
			case m.PGs[i].Records[n].Has(s.d.id) || slices.Contains(table.Target(id), s.d.id):
				s.make(id)
			case old != nil && old.Pool(id.Pool) != nil && old.PG(id) == nil && !s.d.nursery.Holds(id):
				s.adopt(id) // another shard may have split off a copy that nobody wants
			}
		}
	}
	for _, g := range pg.Sorted(s.groups) {
		s.step(g, pg.MapEvent{View: pg.ViewOf(s.m, s.table, g.ID())})
	}
	s.releaseAll()
	waiting := s.deferred
	s.deferred = nil
	for _, it := range waiting {
		s.deliver(it)
	}
}

// load makes the group of a PG from what the store holds.
func (s *shard) load(id placement.PGID) *pg.Group {
	cfg := s.d.w.k.cfg
	cfg.Self, cfg.Leases, cfg.Throttle = s.d.id, s.d.leases, s.d.throttle
	g, err := pg.New(cfg, id, s.d.disk.st)
	if err != nil {
		s.d.w.failf("%s: load PG %s: %v", s.d.id, id, err)
	}
	s.groups[id], s.lines[id] = g, &store.Line{}
	if s.d.nursery.Holds(id) {
		g.Hold()
	}
	return g
}

func (s *shard) make(id placement.PGID) *pg.Group {
	g := s.load(id)
	s.step(g, pg.MapEvent{View: pg.ViewOf(s.m, s.table, id)})
	return g
}

// deliver hands an event to its group, once the map it needs is there.
func (s *shard) deliver(it forGroup) {
	d := s.d
	if s.m == nil || it.epoch > s.m.Epoch && d.w.o.Slip != DeliverEarly {
		if it.reply != nil && it.since == 0 {
			it.since = d.w.now
			d.later(deferMax, func() { s.expire(it) })
		}
		s.deferred = append(s.deferred, it)
		d.session.want(it.epoch)
		return
	}
	g := s.groups[it.id]
	if op, ok := it.ev.(pg.OpEvent); ok {
		if g == nil {
			code := wirepb.Code_WRONG_PRIMARY
			if s.m.PG(it.id) == nil {
				code = wirepb.Code_NOT_FOUND
			}
			it.reply(pg.Reply{Handle: op.Handle, Code: code})
			return
		}
		d.replies[op.Handle] = asker{it.reply, op.Write}
		d.throttle.Clients(1)
	}
	if g == nil {
		if _, ok := it.ev.(pg.MsgEvent); !ok || s.m.PG(it.id) == nil {
			return
		}
		g = s.make(it.id)
	}
	s.step(g, it.ev)
}

// expire declines a request that has waited too long for its map.
func (s *shard) expire(it forGroup) {
	h := it.ev.(pg.OpEvent).Handle
	for i, o := range s.deferred {
		if op, ok := o.ev.(pg.OpEvent); ok && op.Handle == h {
			s.deferred = slices.Delete(s.deferred, i, i+1)
			o.reply(pg.Reply{Handle: h, Code: wirepb.Code_TRY_LATER, Text: "the map has not come"})
			return
		}
	}
}

// event steps a group, if it is still there.
func (s *shard) event(g *pg.Group, ev pg.Event) {
	if s.groups[g.ID()] == g {
		s.step(g, ev)
	}
}

// step lets a group take in an event and carries out the effects.
func (s *shard) step(g *pg.Group, ev pg.Event) { s.follow(g, []pg.Event{ev}) }

func (s *shard) follow(g *pg.Group, events []pg.Event) {
	for len(events) > 0 {
		s.d.w.steps++
		fx := g.Step(s.d.mono(), events[0])
		events = append(events[1:], s.carryOut(g, fx)...)
		s.d.w.observe(s.d, g)
	}
	if !s.d.nursery.Empty() && s.m != nil {
		s.release(g.ID())
	}
}

func (s *shard) carryOut(g *pg.Group, fx pg.Effects) (again []pg.Event) {
	d, w, id := s.d, s.d.w, g.ID()
	for _, p := range fx.Persist {
		d.persist(s, g, p)
	}
	for _, out := range fx.Send {
		if o := s.m.OSD(out.To); o != nil && o.Up { // else the map has it down: the group knows
			w.net.send(d, w.osds[out.To], out, s)
			if out.Msg.GetPush().GetDelta() {
				w.count["parts of an object were sent"]++
			}
		}
	}
	for _, r := range fx.Reply {
		w.note(uint64(r.Handle)<<8|uint64(r.Code), r.Payload)
		if to, ok := d.replies[r.Handle]; ok {
			delete(d.replies, r.Handle)
			d.throttle.Clients(-1)
			w.checkAnswer(d, g, to.write, r)
			to.reply(r)
		}
	}
	for _, x := range fx.Exec {
		if x.Op != nil && objop.IsWrite(x.Op) && !w.k.execLater {
			again = append(again, execute(d.disk.st, id, x, d.w.o.Slip))
			continue
		}
		d.read(func() func() {
			ev := execute(d.disk.st, id, x, d.w.o.Slip)
			return func() { s.event(g, ev) }
		})
	}
	for _, r := range fx.Read {
		d.read(func() func() {
			p, err := pg.ReadPiece(d.disk.st, store.Key{PG: id, Space: store.Objects, Name: r.Object}, r, w.k.piece)
			return func() { s.event(g, pg.ReadEvent{Token: r.Token, Piece: p, Err: err}) }
		})
	}
	for _, l := range fx.Look {
		s.look(g, l)
	}
	for _, n := range fx.Notices {
		w.checkNotice(d, id, n)
	}
	for _, l := range fx.List {
		d.read(func() func() {
			objs, more, err := d.disk.st.List(l.In(id), l.Space, l.After, l.Limit)
			return func() { s.event(g, pg.ListedEvent{Token: l.Token, Objects: objs, More: more, Err: err}) }
		})
	}
	if fx.Propose != nil {
		d.propose(s, g, fx.Propose)
	}
	switch {
	case fx.Failed != nil:
		d.fail()
	case fx.Reload:
		w.logf("%s: PG %s starts over from the disk", d.id, id)
		delete(s.due, id)
		s.make(id)
	case fx.Forget:
		delete(s.groups, id)
		delete(s.lines, id)
		delete(s.due, id)
	case fx.Wake != 0:
		s.due[id] = fx.Wake
		s.timer(g)
	default:
		delete(s.due, id)
	}
	return again
}

// timer ticks a group when it is due. Events that look at that are few: one that comes too early
// schedules the next.
func (s *shard) timer(g *pg.Group) {
	id := g.ID()
	at := s.due[id]
	if next, armed := s.timers[id]; armed && next <= at {
		return
	}
	s.timers[id] = at
	s.d.later(s.d.real(at.Sub(s.d.mono()))+time.Millisecond, func() {
		if s.timers[id] != at {
			return // another comes sooner, or came
		}
		delete(s.timers, id)
		due, ok := s.due[id]
		switch g := s.groups[id]; {
		case !ok || g == nil:
		case due > s.d.mono():
			s.timer(g)
		default:
			s.step(g, pg.TickEvent{})
		}
	})
}

// execute evaluates a client's request, as osd/shard.go does.
func execute(st *store.Sim, id placement.PGID, x pg.Exec, slip Slip) pg.Event {
	if x.Op == nil {
		after, limit := pg.ListFrom(x.List)
		objs, more, err := st.List(id, store.Objects, after, limit)
		ev := pg.ExecutedEvent{Handle: x.Handle, List: pg.ListReply(x.List, objs, more)}
		if err != nil {
			ev.Code = wirepb.Code_IO_ERROR
		}
		return ev
	}
	var r store.Reader = st
	if slip == IgnoreVoid {
		r = blindReader{st}
	}
	out := objop.Execute(r, store.Key{PG: id, Space: store.Objects, Name: string(x.Op.Object)}, x.Op, x.Payload)
	return pg.ExecutedEvent{
		Handle: x.Handle, Code: out.Code, Text: out.Text, Reply: out.Reply, Payload: out.Payload,
		Mutates: out.Mutates, Ops: out.Ops, Drops: out.Drops, Removed: out.Removed,
	}
}
