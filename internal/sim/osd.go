package sim

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/osd/objop"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// Times of an OSD, as the daemon has them.
const (
	heartbeatEvery = 400 * time.Millisecond
	leaseLength    = 3 * heartbeatEvery
	silentAfter    = 2500 * time.Millisecond
)

// osd is a storage daemon: groups in two shards, leases, heartbeats, a store.
type osd struct {
	process
	id      placement.OSDID
	uuid    fsm.UUID
	host    string
	gone    bool // with its disk, for ever
	refuses bool // its machine lives on: connections are refused at once while it is dead
	disk    disk

	inc      uint64 // incarnation
	booted   bool   // it acts on a map that has it up
	booting  bool
	m        *placement.Map // newest that it acts on
	session  *session
	leases   *pg.Leases
	shards   [2]*shard
	nursery  pg.Nursery
	throttle *pg.Throttle
	broken   bool // the store has failed; the daemon is about to stop
	replies  map[pg.Handle]asker
	beats    map[placement.OSDID]*beat
	skew     clock.Mono
	drift    float64
}

// beat is what an OSD knows of a peer's answers to its heartbeats.
type beat struct {
	incarnation uint64
	answered    clock.Mono
	reported    clock.Mono // zero: not since it answered
}

// asker is who waits for the answer to a request.
type asker struct {
	reply func(pg.Reply)
	write bool
}

// addOSD gives the cluster a new OSD with an empty disk, and so a new id (R7).
func (w *world) addOSD() *osd {
	i := len(w.osds)
	n := &osd{
		process: process{w: w, at: endpoint(i)}, id: placement.OSDID(i), uuid: fsm.UUID{0: 9, 15: byte(i)}, host: fmt.Sprintf("h%d", i),
		disk: disk{st: store.NewSim(store.SimOptions{Manual: true, Seed: uint64(i)})},
	}
	w.osds = append(w.osds, n)
	w.mons.must(&fsm.OSDRegister{Store: n.uuid, Class: "ssd", Capacity: 1 << 40, Location: n.location()})
	n.start()
	return n
}

func (n *osd) location() []fsm.LocationPart { return []fsm.LocationPart{{Type: "host", Name: n.host}} }

// mono is the OSD's clock.
func (n *osd) mono() clock.Mono { return n.skew + clock.Mono(float64(n.w.now)*n.drift) }

// real turns a time by the OSD's clock into the world's.
func (n *osd) real(d time.Duration) time.Duration {
	return max(0, time.Duration(float64(d)/n.drift))
}

// wall is the OSD's calendar: those of a cluster differ by less than a second.
func (n *osd) wall() int64 { return int64(n.w.now) + int64(n.skew%clock.Mono(time.Second)) }

func (n *osd) shardOf(id placement.PGID) *shard {
	return n.shards[(uint64(id.Pool)*31+uint64(id.Shard))%uint64(len(n.shards))]
}

// group returns the group of a PG, or nil.
func (n *osd) group(id placement.PGID) *pg.Group {
	if !n.alive {
		return nil
	}
	return n.shardOf(id).groups[id]
}

// start begins a life: the PGs are loaded, the OSD boots, and acts on the map that has it up.
func (n *osd) start() {
	w := n.w
	if n.alive || n.gone {
		return
	}
	w.logf("%s starts", n.id)
	n.alive, n.booted, n.booting, n.broken, n.m = true, false, false, false, nil
	n.nursery, n.replies, n.beats = pg.Nursery{}, map[pg.Handle]asker{}, map[placement.OSDID]*beat{}
	n.skew = clock.Mono(w.rng.Int64N(int64(time.Hour)) + int64(time.Second))
	n.drift = 1 - w.k.drift + 2*w.k.drift*w.rng.Float64()
	n.leases = pg.NewLeases(n.mono(), leaseLength)
	if w.o.Slip == Impatient {
		n.leases = pg.NewLeases(1, leaseLength)
	}
	n.throttle = pg.NewThrottle(w.k.limits)
	n.inc++
	for i := range n.shards {
		n.shards[i] = newShard(n)
	}
	ids, err := n.disk.st.PGs()
	if err != nil {
		w.failf("%s: list PGs: %v", n.id, err)
	}
	for _, id := range ids {
		n.shardOf(id).load(id)
	}
	n.session = newSession(w, &n.process, w.rand(0, 40*time.Millisecond), n.onMap)
	n.boot()
	n.later(w.rand(0, heartbeatEvery), n.beat)
	if w.plane != nil {
		w.plane.startCare(n)
	}
}

// boot announces the incarnation until the monitors have it, and the map that says so is here.
func (n *osd) boot() {
	n.booting = true
	n.session.propose(&fsm.OSDBoot{
		ID: n.id, Store: n.uuid, Incarnation: n.inc, Addr: n.host + ":1", Location: n.location(),
	}, func(res fsm.Result, ok bool) {
		if !ok || res.Code != wirepb.Code_OK {
			if ok && res.Code != wirepb.Code_TRY_LATER {
				n.w.failf("%s: boot: %v %s", n.id, res.Code, res.Text)
			}
			n.later(n.w.rand(100*time.Millisecond, time.Second), n.boot)
			return
		}
		n.session.whenHas(res.Epoch, func(p *published) {
			n.booting, n.booted = false, true
			n.act(p)
			n.checkUp()
		})
	})
}

// onMap is told of every newer map. One that is older than our boot is never acted on: it
// could name us the primary of a term that is over.
func (n *osd) onMap(p *published) {
	if n.booted {
		n.act(p)
		n.checkUp()
	}
}

func (n *osd) act(p *published) {
	if n.m != nil && p.m.Epoch <= n.m.Epoch {
		return
	}
	if n.m == nil {
		n.resumeSplits(p.m)
	} else {
		n.nursery.Follow(n.m, p.m) // before any shard hears of the map
	}
	n.m = p.m
	lateLeases := n.w.o.Slip == LeasesHearLate
	if !lateLeases {
		n.leases.SetEpoch(p.m.Epoch) // before the groups hear of it, see pg.Leases
	}
	for _, s := range n.shards {
		n.later(n.w.rand(0, 4*time.Millisecond), func() { s.onMap(p.m, p.table) })
	}
	if lateLeases {
		n.later(n.w.rand(0, 300*time.Millisecond), func() { n.leases.SetEpoch(p.m.Epoch) })
	}
}

// checkUp boots again if the map has us down though we live.
func (n *osd) checkUp() {
	if n.booted && !n.booting && !n.m.IsUp(n.id) {
		n.inc++
		n.boot()
	}
}

// crash ends the process, and what its disk had not made durable is lost. If only the process
// dies, and not its machine, others notice at once.
func (n *osd) crash(refuses bool) {
	w := n.w
	if !n.alive {
		return
	}
	w.logf("%s crashes", n.id)
	n.die()
	w.plane.ended(&n.process)
	n.refuses = refuses
	n.disk.onBatch = nil
	n.hook()
	n.disk.st = n.disk.st.Crash(w.rng.IntN(n.disk.st.Pending() + 1))
	n.disk.held, n.disk.saved = nil, nil
	for _, o := range w.osds {
		w.net.breakLink(n, o)
		w.net.breakLink(o, n)
	}
}

// reset tells all groups that messages to or from a peer may be lost.
func (n *osd) reset(peer placement.OSDID) {
	for _, s := range n.shards {
		if s.m == nil {
			continue
		}
		for _, g := range pg.Sorted(s.groups) {
			s.step(g, pg.ResetEvent{Peer: peer})
		}
	}
}

func (n *osd) deliver(it forGroup) { n.shardOf(it.id).deliver(it) }

// beat asks all peers that are up for leases, again and again.
func (n *osd) beat() {
	n.later(n.real(heartbeatEvery), n.beat)
	if n.m == nil {
		return
	}
	for i := range n.m.OSDs {
		o := &n.m.OSDs[i]
		if o.ID == n.id {
			continue
		}
		b := n.beats[o.ID]
		switch {
		case !o.Up:
			delete(n.beats, o.ID)
			continue
		case b == nil:
			b = &beat{answered: n.mono()}
			n.beats[o.ID] = b
		}
		b.incarnation = o.Incarnation
		n.heartbeat(n.w.osds[o.ID], b)
		if silent := n.mono().Sub(b.answered); silent >= silentAfter {
			n.accuse(o.ID, b, false, silent)
		}
	}
}

func (n *osd) heartbeat(peer *osd, b *beat) {
	w, asked, self := n.w, n.mono(), n.ref()
	if !peer.alive && peer.refuses {
		w.net.post(peer.at, self, func() { n.accuse(peer.id, b, true, n.mono().Sub(b.answered)) })
		return
	}
	acts := n.acts()
	w.net.post(n.at, peer.ref(), func() {
		var length time.Duration
		var epoch placement.Epoch
		full := peer.fullness()
		if peer.booted {
			peer.leases.Acts(n.id, acts)
			length, epoch = peer.leases.Grant(peer.mono(), n.id)
		}
		w.net.post(peer.at, self, func() {
			b.answered, b.reported = n.mono(), 0
			if length > 0 {
				n.leases.Received(asked, peer.id, length, epoch)
			}
			n.throttle.SetFull(peer.id, full)
			n.session.want(epoch)
		})
	})
}

// acts returns the epoch of a map that all groups act on, or a newer one.
func (n *osd) acts() placement.Epoch {
	e := n.shards[0].epoch()
	for _, s := range n.shards {
		e = min(e, s.epoch())
	}
	return e
}

// fullness judges the store by the ratios that are the default.
func (n *osd) fullness() placement.Fullness {
	u := n.disk.st.Usage()
	switch used := float64(u.Capacity-u.Available) / float64(u.Capacity); {
	case used >= 0.95:
		return placement.Full
	case used >= 0.90:
		return placement.BackfillFull
	case used >= 0.85:
		return placement.NearFull
	}
	return placement.NotFull
}

// accuse tells the monitors that a peer does not answer.
func (n *osd) accuse(peer placement.OSDID, b *beat, refused bool, silent time.Duration) {
	now := n.mono()
	if n.beats[peer] != b || b.reported != 0 && now.Sub(b.reported) < time.Second {
		return
	}
	b.reported = now
	a := accusation{from: n.id, target: peer, incarnation: b.incarnation, refused: refused, silent: silent}
	n.session.call(func(ms *monitors, _ func(fsm.Result)) { ms.watch.accuse(a) }, nil)
}

// propose asks the monitors for a change of a PG's record.
func (n *osd) propose(s *shard, g *pg.Group, p *pg.Proposal) {
	w := n.w
	c := proto.Clone(p.Change).(*wirepb.PGChange)
	b := &fsm.PGChange{
		PG: fsm.PGID(g.ID()), Term: placement.Term(c.Term), Version: placement.Epoch(c.Version),
		From: placement.OSDID(c.From), Primary: placement.OSDID(c.Primary), Created: c.Created,
	}
	for _, id := range c.InSync {
		b.InSync = append(b.InSync, placement.OSDID(id))
	}
	n.session.propose(b, func(res fsm.Result, ok bool) {
		ev := pg.ProposedEvent{Token: p.Token, Code: wirepb.Code_TIMED_OUT}
		if ok {
			ev.Code, ev.Epoch = res.Code, res.Epoch
			n.session.want(res.Epoch)
		}
		s.event(g, ev)
	})
	if w.faults && w.chance(w.swarm.crashOnPropose) {
		w.inject("crash after a proposal")
		n.later(w.rand(0, 100*time.Millisecond), func() {
			n.crash(true)
			w.after(w.rand(0, 4*time.Second), n.start)
		})
	}
}

// onOp takes a client's operation, as osd/serve.go does.
func (n *osd) onOp(epoch placement.Epoch, it forGroup) {
	op := it.ev.(pg.OpEvent)
	refuse := func(code wirepb.Code, text string) { it.reply(pg.Reply{Handle: op.Handle, Code: code, Text: text}) }
	if !n.booted || n.m == nil {
		refuse(wirepb.Code_TRY_LATER, "starting")
		return
	}
	if op.Op != nil {
		if err := objop.Validate(op.Op, len(op.Payload)); err != nil {
			n.w.failf("%s: %v", n.id, err)
			return
		}
		if pool := n.m.Pool(it.id.Pool); pool != nil && epoch <= n.m.Epoch && placement.PGOf(pool, string(op.Op.Object)) != it.id {
			refuse(wirepb.Code_STALE_MAP, "another PG")
			return
		}
		if n.m.Flags&placement.FlagPause != 0 {
			refuse(wirepb.Code_TRY_LATER, "paused")
			return
		}
		op.Epoch, op.Wall = epoch, n.wall()
		op.Grows = op.Write && op.Op.Ops[len(op.Op.Ops)-1].Kind != wirepb.OpKind_REMOVE
		op.Full = op.Grows && n.fullness() >= placement.Full
	}
	it.ev = op
	n.deliver(it)
}
