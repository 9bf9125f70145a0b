package osd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// shard drives some of the PGs. What they are told goes through a mailbox, and one
// goroutine at a time works it off: mostly the one that brought something
// (drive), which is cheaper than waking another, else the shard's own (run).
type shard struct {
	d *OSD

	mu     sync.Mutex // guards below
	box    []mail
	spare  []mail        // memory for the next box
	filled atomic.Bool   // the box is not empty; written with mu held
	signal chan struct{} // capacity 1: there is something for the shard's own goroutine

	acts    atomic.Uint64 // all groups act on this map
	started atomic.Bool   // run has begun
	armed   atomic.Int64  // when run wakes up by itself (clock.Mono)

	own       sync.Mutex   // guards below: whoever holds it drives the groups
	dirty     []*wire.Conn // connections with messages to be flushed
	unflushed int          // bytes of their payloads
	first     clock.Mono   // no group wants a tick before; 0: none wants one
	groups    map[placement.PGID]*pg.Group
	lines     map[placement.PGID]*store.Line // of all batches of a group: once one has failed, none that follow take effect
	due       map[placement.PGID]clock.Mono  // when a group wants a tick
	clients   map[pg.Handle]client
	deferred  []forGroup // waiting for a newer map
	waiters   int        // those of them that are requests of clients
	promised  int64      // room that writes were let through for and have not taken yet
	gated     bool       // room.gate is ours
	taking    *slab.Buf  // memory of the message that is being delivered
	out       outgoing   // for the message that is being sent
	m         *placement.Map
	table     *placement.Table
}

// client is where the answer to a request goes.
type client struct {
	conn  *wire.Conn
	req   *wire.Message
	write bool
}

// mail is what the mailbox holds: something for a group, or one of the others below.
// It is no interface, which would cost memory for each message.
type mail struct {
	forGroup
	other any // not nil: this instead
}

type (
	mapped struct {
		m     *placement.Map
		table *placement.Table
	}
	forGroup struct {
		id    placement.PGID
		epoch placement.Epoch   // do not deliver before the shard acts on this map
		ev    pg.Event          // nil: one of the next two, the most frequent ones, which need no memory here
		msg   pg.MsgEvent       // if it has a message
		saved pg.PersistedEvent // else
		to    *pg.Group         // of an answer: who asked; another group of the PG must not get it
		from  client            // of an OpEvent
		mem   *slab.Buf         // of a MsgEvent's payload, whose user this is; nil: none
		since clock.Mono        // when a request began to wait for its map
	}
	peerReset struct{ peer placement.OSDID }
	call      struct{ run func(*shard) }
)

// event is what the group is told. It is valid as long as it is.
func (it *forGroup) event() pg.Event {
	switch {
	case it.ev != nil:
		return it.ev
	case it.msg.Msg != nil:
		return &it.msg
	}
	return &it.saved
}

func newShard(d *OSD) *shard {
	return &shard{
		d: d, signal: make(chan struct{}, 1), groups: map[placement.PGID]*pg.Group{}, lines: map[placement.PGID]*store.Line{},
		due: map[placement.PGID]clock.Mono{}, clients: map[pg.Handle]client{},
	}
}

func (d *OSD) shardOf(id placement.PGID) *shard {
	return d.shards[(uint64(id.Pool)*31+uint64(id.Shard))%uint64(len(d.shards))]
}

// put puts something into the mailbox; drive or wake must follow soon. It never blocks:
// what may arrive is bounded by the messenger's limits per connection and the groups' windows.
func (s *shard) put(it forGroup) { s.append(mail{forGroup: it}) }

func (s *shard) append(m mail) {
	s.mu.Lock()
	s.box = append(s.box, m)
	s.filled.Store(true)
	s.mu.Unlock()
}

// post puts something for a group into the mailbox, for the shard's own goroutine.
func (s *shard) post(it forGroup) {
	s.put(it)
	s.wake()
}

// say is post for everything else.
func (s *shard) say(other any) {
	s.append(mail{other: other})
	s.wake()
}

func (s *shard) wake() {
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

func (s *shard) config() pg.Config {
	c := s.d.o.PG
	c.Self, c.Leases, c.Throttle = s.d.id, s.d.leases, s.d.throttle
	return c
}

// load makes the group of a PG that the store holds.
func (s *shard) load(id placement.PGID) error {
	g, err := pg.New(s.config(), id, s.d.o.Store)
	if err != nil {
		return err
	}
	if why := g.Damaged(); why != "" {
		s.d.log.Error("the records of a PG are damaged; its copy here counts as lost and is made anew from the others'",
			"pg", id, "err", why, "next", fmt.Sprintf("cairn pg query %s; if no other copy is left, keep this disk", id))
	}
	if s.d.nursery.holds(id) {
		g.Hold()
	}
	s.groups[id], s.lines[id] = g, &store.Line{}
	return nil
}

// run works when nobody else does, and when time has passed.
func (s *shard) run() {
	defer s.d.wg.Done()
	timer := time.NewTimer(0) // messages may have come before
	defer timer.Stop()
	s.started.Store(true)
	var dirty []*wire.Conn
	for {
		select {
		case <-s.signal:
		case <-timer.C:
		case <-s.d.ctx.Done():
			return
		}
		s.own.Lock()
		s.round()
		wait := s.untilDue()
		s.armed.Store(int64(s.d.clk.Mono().Add(wait)))
		dirty = s.leave(dirty[:0])
		s.own.Unlock()
		flush(dirty)
		clear(dirty)
		timer.Reset(wait)
		if s.filled.Load() {
			s.wake() // somebody relied on us
		}
	}
}

// round works off what is in the mailbox now. It is called with own held, and leave must follow.
func (s *shard) round() {
	s.mu.Lock()
	items := s.box
	s.box, s.spare = s.spare[:0], nil
	s.filled.Store(false)
	s.mu.Unlock()
	for i := range items {
		if s.d.ctx.Err() != nil {
			return
		}
		if items[i].other != nil {
			s.handle(items[i].other)
		} else {
			s.hand(&items[i].forGroup)
		}
		if i%flushItems == flushItems-1 || s.unflushed >= flushBytes {
			s.flush()
		}
	}
	s.tick()
	s.expire()
	clear(items)
	if cap(items) <= 1024 { // a burst's memory is not kept
		s.mu.Lock()
		s.spare = items[:0]
		s.mu.Unlock()
	}
}

func (s *shard) untilDue() time.Duration {
	longest := time.Hour
	if s.waiters > 0 {
		longest = time.Second
	}
	if s.first == 0 {
		return longest
	}
	return min(longest, max(time.Millisecond, s.first.Sub(s.d.clk.Mono())))
}

// remind notes when a group wants a tick, zero for never. A busy group puts it off with every step; it gets
// the one that it asked for first, which does no harm.
func (s *shard) remind(id placement.PGID, at clock.Mono) {
	if at == 0 {
		if len(s.due) > 0 {
			delete(s.due, id)
		}
		return
	}
	if before, ok := s.due[id]; ok && before <= at {
		return
	}
	s.due[id] = at
	if s.first == 0 || at < s.first {
		s.first = at
		if int64(at) < s.armed.Load() {
			s.wake()
		}
	}
}

func (s *shard) tick() {
	if s.first == 0 {
		return
	}
	now := s.d.clk.Mono()
	if now < s.first {
		return
	}
	s.first = 0
	var ids []placement.PGID
	for id, t := range s.due {
		if t <= now {
			ids = append(ids, id)
		} else if s.first == 0 || t < s.first {
			s.first = t
		}
	}
	for _, id := range ids {
		delete(s.due, id)
		if g := s.groups[id]; g != nil {
			s.step(g, pg.TickEvent{})
		}
	}
}

func (s *shard) handle(item any) {
	switch it := item.(type) {
	case mapped:
		s.onMap(it)
	case peerReset:
		for _, g := range pg.Sorted(s.groups) {
			s.step(g, pg.ResetEvent{Peer: it.peer})
		}
	case released:
		s.onReleased(it)
	case fetched:
		s.onFetched(it)
	case call:
		it.run(s)
	}
}

// hand gives something to its group, unless it must wait for a map.
func (s *shard) hand(it *forGroup) {
	if s.m == nil || it.epoch > s.m.Epoch {
		s.later(*it)
		return
	}
	s.deliver(it)
}

// Limits of what waits for a map.
const (
	deferredMax = 65536
	deferMax    = 10 * time.Second // of a client's request
)

// later keeps something until we have the map it was sent by. A lost message of a PG is found
// out by the PG; a client's request must be answered.
func (s *shard) later(it forGroup) {
	if len(s.deferred) >= deferredMax {
		s.decline(it)
		return
	}
	if it.from.conn != nil {
		if s.waiters++; s.waiters == 1 {
			s.wake() // to look at the time
		}
		if it.since == 0 {
			it.since = s.d.clk.Mono()
		}
	}
	s.deferred = append(s.deferred, it)
	s.d.o.Monitors.Want(it.epoch)
}

// decline tells a client to try again: the map it acts on did not get here.
func (s *shard) decline(it forGroup) {
	if c := it.from; c.conn != nil {
		c.conn.ReplyError(c.req, wirepb.Code_TRY_LATER, "%s has not got map epoch %d yet", s.d.id, it.epoch)
	}
}

// expire declines the requests that have waited for their map too long.
func (s *shard) expire() {
	if s.waiters == 0 {
		return
	}
	now := s.d.clk.Mono()
	s.deferred = slices.DeleteFunc(s.deferred, func(it forGroup) bool {
		late := it.since != 0 && now.Sub(it.since) > deferMax
		if late {
			s.waiters--
			s.decline(it)
		}
		return late
	})
}

func (s *shard) deliver(it *forGroup) {
	g := s.groups[it.id]
	if it.to != nil && it.to != g {
		return
	}
	if op, ok := it.ev.(*pg.OpEvent); ok {
		if g == nil {
			rec := s.m.PG(it.id)
			if rec == nil {
				it.from.conn.ReplyError(it.from.req, wirepb.Code_NOT_FOUND, "PG %s: no such PG in map epoch %d", it.id, s.m.Epoch)
				return
			}
			it.from.conn.ReplyError(it.from.req, wirepb.Code_WRONG_PRIMARY, "PG %s is led by %s", it.id, rec.Primary)
			return
		}
		s.clients[op.Handle] = it.from
		s.d.throttle.Clients(1)
	}
	if g == nil {
		if it.msg.Msg == nil || s.m.PG(it.id) == nil {
			return
		}
		g = s.make(it.id)
		if g == nil {
			return
		}
	}
	s.taking = it.mem
	s.step(g, it.event())
	s.taking = nil
	it.mem.Release()
}

func (s *shard) make(id placement.PGID) *pg.Group {
	if err := s.load(id); err != nil {
		s.d.fail(err)
		return nil
	}
	g := s.groups[id]
	s.step(g, pg.MapEvent{View: s.view(id)})
	return g
}

func (s *shard) onMap(it mapped) {
	old := s.m
	s.m, s.table = it.m, it.table
	for i := range it.m.PGs {
		pgs := &it.m.PGs[i]
		for n := range pgs.Records {
			id := placement.PGID{Pool: pgs.Pool, Shard: uint32(n)}
			if s.d.shardOf(id) != s || s.groups[id] != nil {
				continue
			}
			switch {
			case pgs.Records[n].Has(s.d.id) || slices.Contains(it.table.Target(id), s.d.id):
				if s.make(id) == nil {
					return
				}
			case old != nil && old.Pool(pgs.Pool) != nil && old.PG(id) == nil && !s.d.nursery.holds(id):
				s.adopt(id) // another shard may have split off a copy that nobody wants
			}
		}
	}
	for _, g := range pg.Sorted(s.groups) {
		s.step(g, pg.MapEvent{View: s.view(g.ID())})
	}
	s.releaseAll()
	s.acts.Store(uint64(s.m.Epoch))
	waiting := s.deferred
	s.deferred, s.waiters = nil, 0
	for i := range waiting {
		s.hand(&waiting[i])
	}
}

func (s *shard) view(id placement.PGID) pg.View { return pg.ViewOf(s.m, s.table, id) }

// step lets a group take in an event and carries out the effects; reads that
// need no waiting are answered at once, so there can be several rounds.
func (s *shard) step(g *pg.Group, ev pg.Event) {
	var room [4]pg.Event
	s.follow(g, append(room[:0], ev))
}

func (s *shard) follow(g *pg.Group, events []pg.Event) {
	for i := 0; i < len(events); i++ {
		now := s.d.clk.Mono()
		fx := g.Step(now, events[i])
		events = s.carryOut(g, &fx, now, events)
		g.Recycle(&fx)
	}
	s.redeem()
	if s.d.nursery.busy.Load() && s.m != nil {
		s.release(g.ID())
	}
}

// carryOut does what a step at time now demands, and adds to events what the group is to be told at once. It keeps
// nothing of the effects' slices.
func (s *shard) carryOut(g *pg.Group, fx *pg.Effects, now clock.Mono, events []pg.Event) []pg.Event {
	d, id := s.d, g.ID()
	for i := range fx.Persist {
		s.persist(g, &fx.Persist[i], now)
	}
	for _, out := range fx.Send {
		s.send(out)
	}
	for _, r := range fx.Reply {
		s.reply(r)
	}
	for _, x := range fx.Exec {
		if ev, ok := s.exec(g, x); ok {
			events = append(events, ev)
		}
	}
	for _, r := range fx.Read {
		s.offload(func() {
			piece, err := pg.ReadPiece(d.o.Store, store.Key{PG: id, Space: store.Objects, Name: r.Object}, r, pieceSize)
			if err == nil {
				d.stats.recoveredBytes.Add(uint64(piece.Bytes()))
				if piece.Last {
					d.stats.recoveredObjects.Add(1)
				}
			}
			s.post(forGroup{id: id, to: g, ev: pg.ReadEvent{Token: r.Token, Piece: piece, Err: err}})
		})
	}
	for _, l := range fx.Look {
		s.look(g, l)
	}
	for _, n := range fx.Notices {
		d.notice(id, n)
	}
	for _, l := range fx.List {
		s.offload(func() {
			objs, more, err := d.o.Store.List(l.In(id), l.Space, l.After, l.Limit)
			s.post(forGroup{id: id, to: g, ev: pg.ListedEvent{Token: l.Token, Objects: objs, More: more, Err: err}})
		})
	}
	if fx.Propose != nil {
		s.propose(g, fx.Propose)
	}
	switch {
	case fx.Failed != nil:
		d.fail(fmt.Errorf("%s cannot write PG %s, which it leads: %w", d.id, id, fx.Failed))
	case fx.Reload:
		d.log.Warn("no space for a PG: it starts over from what is on the disk", "osd", d.id, "pg", id)
		delete(s.due, id)
		s.make(id)
	case fx.Forget:
		delete(s.groups, id)
		delete(s.lines, id)
		delete(s.due, id)
	default:
		s.remind(id, fx.Wake)
	}
	return events
}

// batch is a group's batch on its way through the store.
type batch struct {
	store.Batch
	s     *shard
	g     *pg.Group
	id    uint64 // of the pg.Persist
	began clock.Mono
	bytes int64
	users []*slab.Buf // memory whose user it is
	first [1]*slab.Buf
}

// persist gives the store a batch.
func (s *shard) persist(g *pg.Group, p *pg.Persist, now clock.Mono) {
	d := s.d
	b := &batch{s: s, g: g, id: p.ID, began: now, bytes: roomOf(p.Ops)}
	b.Ops, b.Line, b.Reserve = p.Ops, s.lines[g.ID()], p.Reserve
	b.users = s.use(p.Ops, b.first[:0])
	d.pending.Add(1)
	d.pendingBytes.Add(b.bytes)
	s.submit(&b.Batch, b.bytes, b.done)
}

// done tells the group that the store has its batch, or why not. It runs on a goroutine of the store.
func (b *batch) done(err error) {
	d, id := b.s.d, b.g.ID()
	d.pending.Add(-1)
	d.pendingBytes.Add(-b.bytes)
	switch {
	case err == nil:
		d.committed(b.began, b.bytes)
	case !errors.Is(err, store.ErrNoSpace): // that is for the group to judge
		d.fail(fmt.Errorf("%s cannot write PG %s: %w", d.id, id, err))
	}
	for _, mem := range b.users {
		mem.Release()
	}
	b.s.put(forGroup{id: id, to: b.g, saved: pg.PersistedEvent{ID: b.id, Err: err}})
	select {
	case d.answered <- struct{}{}:
	default:
	}
}

// use makes the batch of these operations a user of the memory that their data lies in,
// and adds that to users.
func (s *shard) use(ops []store.Op, users []*slab.Buf) []*slab.Buf {
	for i := range ops {
		op := &ops[i]
		if op.Mem == nil && s.taking != nil && len(op.Data) > 0 {
			if _, ok := s.taking.Holds(op.Data); ok {
				op.Mem = s.taking
			}
		}
		if op.Mem != nil && (len(users) == 0 || users[len(users)-1] != op.Mem) {
			op.Mem.Retain()
			users = append(users, op.Mem)
		}
	}
	return users
}

// pieceSize is how much of an object is copied to another OSD in one message.
var pieceSize = pg.PieceSize{Bytes: 2 << 20, Pairs: 1000}

// offload runs a read of the store elsewhere. When the workers have more than
// enough to do, a goroutine waits with it: who asks must never wait.
func (d *OSD) offload(run func()) {
	select {
	case d.reads <- run:
	default:
		d.wg.Add(1)
		go func() { // until a worker takes it or Close ends ctx
			defer d.wg.Done()
			select {
			case d.reads <- run:
			case <-d.ctx.Done():
			}
		}()
	}
}

func (s *shard) offload(run func()) { s.d.offload(run) }

func (s *shard) send(out pg.Out) {
	d := s.d
	o := s.m.OSD(out.To)
	if o == nil || !o.Up {
		return // the map has it down: the group knows
	}
	m, err := s.out.wrap(out, s.m.Epoch)
	if err != nil {
		d.fail(fmt.Errorf("encode a message to %s: %w", out.To, err))
		return
	}
	size := len(m.Payload)
	c, err := d.peers.Queue(o.Addr, m)
	s.out = outgoing{}
	if c != nil {
		s.toFlush(c, size)
	}
	if err != nil {
		if !errors.Is(err, wire.ErrBackoff) {
			d.log.Debug("message not sent", "to", out.To, "err", err)
		}
		s.say(peerReset{out.To})
	}
}

// wrapBytes is the size from which a message of a PG travels in the payload. It
// leaves room in the header's limit of wire.MaxHeader.
const wrapBytes = 256 << 10

// outgoing is memory for a message: it is encoded before the messenger's call returns, and can be used again then.
type outgoing struct {
	m     wire.Message
	h     wirepb.Header
	pg    wirepb.Header_Pg
	reply wirepb.Header_OpReply
}

// wrap makes the frame of a PG's message.
func (o *outgoing) wrap(out pg.Out, epoch placement.Epoch) (*wire.Message, error) {
	m, h := &o.m, &o.h
	m.Header, h.Epoch = h, uint64(epoch)
	if n := out.Msg.SizeVT(); n > wrapBytes {
		b, err := out.Msg.MarshalVT()
		if err != nil {
			return nil, err
		}
		h.Body = &wirepb.Header_PgWrapped{PgWrapped: &wirepb.PGWrapped{MsgBytes: uint64(n)}}
		m.Payload = join(append([][]byte{b}, out.Payload...))
		return m, nil
	}
	o.pg.Pg = out.Msg
	h.Body = &o.pg
	m.Payload = join(out.Payload)
	if len(out.Payload) == 1 {
		m.Mem = out.Mem
	}
	return m, nil
}

// unwrap is the inverse of wrap.
func unwrap(m *wire.Message) (*wirepb.PGMsg, []byte, error) {
	w := m.Header.GetPgWrapped()
	if w == nil {
		return m.Header.GetPg(), m.Payload, nil
	}
	if w.MsgBytes > uint64(len(m.Payload)) {
		return nil, nil, fmt.Errorf("message of %d bytes in a payload of %d", w.MsgBytes, len(m.Payload))
	}
	msg := &wirepb.PGMsg{}
	if err := msg.UnmarshalVT(m.Payload[:w.MsgBytes]); err != nil {
		return nil, nil, err
	}
	return msg, m.Payload[w.MsgBytes:], nil
}

func join(parts [][]byte) []byte {
	switch len(parts) {
	case 0:
		return nil
	case 1:
		return parts[0]
	}
	return slices.Concat(parts...)
}

func (s *shard) reply(r pg.Reply) {
	c, ok := s.clients[r.Handle]
	if !ok {
		return
	}
	delete(s.clients, r.Handle)
	s.d.throttle.Clients(-1)
	m, h := &s.out.m, &s.out.h
	m.Header, m.Payload, m.Mem = h, r.Payload, r.Mem
	h.Code, h.Error = r.Code, r.Text
	switch {
	case r.Reply != nil:
		s.out.reply.OpReply = r.Reply
		h.Body = &s.out.reply
	case r.List != nil:
		h.Body = &wirepb.Header_PgListReply{PgListReply: r.List}
	}
	if c.write {
		s.d.stats.writeOps.Add(1)
		s.d.stats.writeBytes.Add(uint64(len(c.req.Payload)))
	} else {
		s.d.stats.readOps.Add(1)
		s.d.stats.readBytes.Add(uint64(len(r.Payload)))
	}
	c.conn.QueueReply(c.req, m) // the client is gone if it fails
	s.out = outgoing{}
	s.toFlush(c.conn, len(r.Payload))
	r.Mem.Release()
	c.req.Release() // batches and messages that carry its payload are users themselves
}

func execList(st store.Store, id placement.PGID, x pg.Exec) pg.ExecutedEvent {
	after, limit := pg.ListFrom(x.List)
	objs, more, err := st.List(id, store.Objects, after, limit)
	if err != nil {
		return pg.ExecutedEvent{Handle: x.Handle, Code: wirepb.Code_IO_ERROR, Text: fmt.Sprintf("list PG %s: %v", id, err), List: &wirepb.PGListReply{}}
	}
	return pg.ExecutedEvent{Handle: x.Handle, List: pg.ListReply(x.List, objs, more)}
}

// propose asks the monitors to change the PG's record.
func (s *shard) propose(g *pg.Group, p *pg.Proposal) {
	d, id := s.d, g.ID()
	d.wg.Add(1)
	go func() { // until the monitors answer or the time is up
		defer d.wg.Done()
		ctx, cancel := context.WithTimeout(d.ctx, 5*time.Second)
		defer cancel()
		r, err := d.o.Monitors.Call(ctx, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_PgChange{PgChange: p.Change}}})
		ev := pg.ProposedEvent{Token: p.Token, Code: wire.CodeOf(err)}
		if err == nil {
			ev.Epoch = placement.Epoch(r.Header.Epoch)
		} else {
			d.log.Debug("change of a PG not accepted", "pg", id, "err", err)
			var we *wire.Error
			if errors.As(err, &we) {
				ev.Epoch = placement.Epoch(we.Epoch)
			}
		}
		if ev.Epoch > 0 {
			d.o.Monitors.Want(ev.Epoch)
		}
		s.post(forGroup{id: id, to: g, ev: ev})
	}()
}

// query answers `pg query`.
func (s *shard) query(id placement.PGID, c client) {
	g := s.groups[id]
	if g == nil {
		c.conn.ReplyError(c.req, wirepb.Code_NOT_FOUND, "PG %s is not on %s", id, s.d.id)
		return
	}
	objects, _ := s.d.o.Store.PGUsage(id)
	b, err := json.Marshal(g.Query(objects))
	if err != nil {
		c.conn.ReplyError(c.req, wirepb.Code_INTERNAL, "describe PG %s: %v", id, err)
		return
	}
	c.conn.Reply(c.req, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_PgQueryStateReply{PgQueryStateReply: &wirepb.PGQueryStateReply{Json: b}}}})
}
