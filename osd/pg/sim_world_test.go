package pg_test

import (
	"container/heap"
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/objop"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

const lease = 1200 * time.Millisecond

var simPG = placement.PGID{Pool: 1, Shard: 0}

// world is a whole PG in one thread: OSDs with their stores, the monitors, the
// network and some clients, all driven by one seeded scheduler.
type world struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand
	now   clock.Mono
	queue events
	order uint64
	trace bool
	mark  hash.Hash64 // of everything that happened, to compare runs
	fails []string

	nodes  []*node
	mon    *monitor
	links  map[[2]int]*link
	cut    map[[2]int]bool
	faults bool
	cfg    pg.Config

	clients   []*simClient
	history   history
	values    int
	handles   uint64
	unknowns  int
	objects   int     // how many there are
	quitters  float64 // chance that a client dies instead of asking again
	hurry     bool    // many clients, few objects, faults that make old primaries
	undecided int     // objects whose history took too long to check
	giveUps   int
	think     time.Duration

	leaders map[placement.Term]placement.OSDID // who served in a term
	chain   []*wirepb.LogEntry                 // everything ever committed, by sequence number
}

type event struct {
	at    clock.Mono
	order uint64
	run   func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

func (w *world) after(d time.Duration, run func()) {
	w.order++
	heap.Push(&w.queue, event{w.now.Add(d), w.order, run})
}

func (w *world) rand(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(w.rng.Int64N(int64(hi-lo)+1))
}

func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

func (w *world) logf(format string, args ...any) {
	if w.trace {
		w.t.Logf("%9.3fs "+format, append([]any{w.now.Sub(0).Seconds()}, args...)...)
	}
}

// note makes something part of the run's mark.
func (w *world) note(what string, b ...byte) {
	fmt.Fprintf(w.mark, "%d %s %x\n", w.now, what, b)
}

func (w *world) failf(format string, args ...any) {
	f := fmt.Sprintf("%.3fs: ", w.now.Sub(0).Seconds()) + fmt.Sprintf(format, args...)
	w.logf("FAIL %s", f)
	if len(w.fails) < 5 {
		w.fails = append(w.fails, f)
	}
}

// run carries out events until the time is up, or something has failed.
func (w *world) run(until clock.Mono) {
	for len(w.queue) > 0 && w.queue[0].at <= until && len(w.fails) == 0 {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.run()
	}
	w.now = until
}

// link is a connection from one OSD to another. Messages arrive in order or,
// once one was lost, not at all until both sides have noticed.
type link struct {
	last   clock.Mono
	broken bool
	gen    int
}

type node struct {
	w        *world
	id       placement.OSDID
	alive    bool
	gone     bool // with its disk, for ever
	life     int  // raised by every crash: what belongs to an older one is void
	st       *store.Sim
	g        *pg.Group
	leases   *pg.Leases
	view     pg.View
	deferred []pg.MsgEvent
	skew     clock.Mono
	drift    float64
	lag      time.Duration // of the disk, when it is slow
	line     *store.Line
	broken   bool // the store has failed; the daemon is about to stop
	wake     clock.Mono
	replies  map[pg.Handle]func(pg.Reply)
	minEpoch placement.Epoch
}

func (n *node) mono() clock.Mono {
	return n.skew + clock.Mono(float64(n.w.now)*n.drift)
}

// wall is the node's calendar: clocks differ by less than a second.
func (n *node) wall() int64 { return int64(n.w.now) + int64(n.skew%clock.Mono(time.Second)) }

func newWorld(t *testing.T, seed uint64, trace bool, tune func(*world)) *world {
	w := &world{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 0x6361_6972_6e)), now: clock.Mono(time.Second), trace: trace,
		mark: fnv.New64a(), links: map[[2]int]*link{}, cut: map[[2]int]bool{}, faults: true,
		leaders: map[placement.Term]placement.OSDID{},
	}
	w.think, w.objects, w.quitters = w.rand(10*time.Millisecond, time.Second), 6, 0.01
	if w.hurry = w.chance(0.5); w.hurry {
		w.think, w.objects = w.rand(50*time.Millisecond, 500*time.Millisecond), 2
	}
	if w.chance(0.3) {
		w.quitters = 0.2
	}
	w.cfg = pg.Config{
		LogMax: 16 + w.rng.IntN(100), InFlightMax: 1 + w.rng.IntN(16), PushMax: 1 + w.rng.IntN(3),
		ScanLimit: 1 + w.rng.IntN(5), AckTimeout: time.Second, RetryAfter: 50 * time.Millisecond,
	}
	switch w.rng.IntN(6) {
	case 0:
		w.cfg.LogMax = 1 + w.rng.IntN(8)
	case 1, 2:
		w.cfg.LogMax = 4000 // nothing is ever trimmed
	}
	if tune != nil {
		tune(w)
	}
	w.mon = newMonitor(w)
	for range 5 {
		w.addNode()
	}
	w.mon.create()
	return w
}

// addNode gives the cluster a new OSD with an empty disk.
func (w *world) addNode() {
	id := placement.OSDID(len(w.nodes))
	n := &node{w: w, id: id, st: store.NewSim(store.SimOptions{Manual: true, Seed: uint64(id)})}
	w.nodes = append(w.nodes, n)
	w.mon.register(id)
	n.start(w.mon.boot(id))
}

// ---- OSDs ----

func (n *node) start(epoch placement.Epoch) {
	w := n.w
	n.alive, n.broken, n.lag, n.line = true, false, 0, &store.Line{}
	n.skew = clock.Mono(w.rng.Int64N(int64(time.Hour)) + int64(time.Second))
	n.drift = 0.98 + 0.04*w.rng.Float64()
	n.leases = pg.NewLeases(n.mono(), lease)
	cfg := w.cfg
	cfg.Self, cfg.Leases = n.id, n.leases
	g, err := pg.New(cfg, simPG, n.st)
	if err != nil {
		w.failf("load on %s: %v", n.id, err)
		return
	}
	n.g, n.view, n.deferred, n.wake = g, pg.View{}, nil, 0
	n.replies = map[pg.Handle]func(pg.Reply){}
	n.minEpoch = epoch
	n.fetch(w.rand(0, 20*time.Millisecond))
	life := n.life
	var beat func()
	beat = func() {
		if n.life != life {
			return
		}
		for _, peer := range w.nodes {
			if peer != n {
				n.heartbeat(peer)
			}
		}
		w.after(400*time.Millisecond, beat)
	}
	w.after(w.rand(0, 400*time.Millisecond), beat)
}

func (n *node) heartbeat(peer *node) {
	w, life, asked := n.w, n.life, n.mono()
	if !w.reaches(n, peer) {
		return
	}
	w.after(w.rand(0, 30*time.Millisecond), func() {
		if !peer.alive || peer.view.Epoch == 0 {
			return
		}
		length, epoch := peer.leases.Grant(peer.mono(), n.id)
		if !w.reaches(peer, n) {
			return
		}
		w.after(w.rand(0, 30*time.Millisecond), func() {
			if n.alive && n.life == life {
				n.leases.Received(asked, peer.id, length, epoch)
				if epoch > n.view.Epoch {
					n.fetch(w.rand(0, 20*time.Millisecond))
				}
			}
		})
	})
}

func (w *world) reaches(a, b *node) bool {
	return a.alive && b.alive && !w.cut[[2]int{int(a.id), int(b.id)}] && !(w.faults && w.chance(0.002))
}

// fetch brings the newest map after d.
func (n *node) fetch(d time.Duration) {
	w, life := n.w, n.life
	w.after(d, func() {
		if !n.alive || n.life != life || w.mon.epoch() <= n.view.Epoch || w.mon.epoch() < n.minEpoch {
			return
		}
		if w.faults && w.cut[[2]int{-1, int(n.id)}] {
			n.fetch(w.rand(20*time.Millisecond, 200*time.Millisecond))
			return
		}
		n.view = w.mon.view()
		n.leases.SetEpoch(n.view.Epoch)
		n.step(pg.MapEvent{View: n.view})
		waiting := n.deferred
		n.deferred = nil
		for _, ev := range waiting {
			n.step(ev)
		}
		if !w.mon.up(n.id) {
			w.after(w.rand(0, 300*time.Millisecond), func() {
				if n.alive && n.life == life && !w.mon.up(n.id) {
					w.mon.boot(n.id)
				}
			})
		}
	})
}

func (n *node) crash() {
	w := n.w
	if !n.alive {
		return
	}
	w.logf("%s crashes", n.id)
	n.alive = false
	n.life++
	n.st.SetHooks(nil, nil)
	n.st = n.st.Crash(w.rng.IntN(n.st.Pending() + 1))
	for _, o := range w.nodes {
		w.breakLink(n, o)
		w.breakLink(o, n)
	}
	w.after(w.rand(50*time.Millisecond, 1500*time.Millisecond), func() {
		if !n.alive {
			w.mon.down(n.id)
		}
	})
}

func (n *node) restart() {
	if n.alive || n.gone {
		return
	}
	n.w.logf("%s restarts", n.id)
	n.start(n.w.mon.boot(n.id))
}

func (w *world) link(a, b *node) *link {
	k := [2]int{int(a.id), int(b.id)}
	if w.links[k] == nil {
		w.links[k] = &link{}
	}
	return w.links[k]
}

// breakLink loses what is under way from a to b and tells both sides later.
func (w *world) breakLink(a, b *node) {
	l := w.link(a, b)
	if l.broken {
		return
	}
	l.broken = true
	l.gen++
	w.after(w.rand(0, 800*time.Millisecond), func() {
		l.broken = false
		if a.alive && a.view.Epoch > 0 {
			a.step(pg.ResetEvent{Peer: b.id})
		}
		w.after(w.rand(0, 100*time.Millisecond), func() {
			if b.alive && b.view.Epoch > 0 {
				b.step(pg.ResetEvent{Peer: a.id})
			}
		})
	})
}

func (n *node) send(out pg.Out) {
	w := n.w
	peer := w.nodes[out.To]
	l := w.link(n, peer)
	if l.broken {
		return
	}
	if !w.reaches(n, peer) {
		if w.chance(0.3) { // a new connection is there before anybody hears of the old one's end
			w.after(w.rand(0, 800*time.Millisecond), func() { w.breakLink(n, peer) })
			return
		}
		w.breakLink(n, peer)
		return
	}
	b, err := out.Msg.MarshalVT()
	if err != nil {
		w.failf("encode: %v", err)
		return
	}
	w.note(fmt.Sprintf("%s to %s", n.id, out.To), b...)
	msg := &wirepb.PGMsg{}
	if err := msg.UnmarshalVT(b); err != nil {
		w.failf("decode: %v", err)
		return
	}
	payload := slices.Concat(out.Payload...)
	epoch, gen, life := n.view.Epoch, l.gen, peer.life
	at := max(l.last, w.now.Add(w.rand(0, 15*time.Millisecond)))
	l.last = at
	w.after(at.Sub(w.now), func() {
		if l.gen != gen || !peer.alive || peer.life != life {
			return
		}
		ev := pg.MsgEvent{From: n.id, Msg: msg, Payload: payload}
		if epoch > peer.view.Epoch {
			peer.deferred = append(peer.deferred, ev)
			peer.fetch(w.rand(0, 20*time.Millisecond))
			return
		}
		peer.step(ev)
	})
}

func (n *node) step(ev pg.Event) {
	fx := n.g.Step(n.mono(), ev)
	n.carryOut(fx)
	n.w.observe(n)
}

func (n *node) later(d time.Duration, ev pg.Event) {
	life := n.life
	n.w.after(d, func() {
		if n.alive && n.life == life {
			n.step(ev)
		}
	})
}

func (n *node) carryOut(fx pg.Effects) {
	w, life := n.w, n.life
	for _, p := range fx.Persist {
		n.persist(p)
	}
	for _, out := range fx.Send {
		n.send(out)
	}
	for _, r := range fx.Reply {
		w.note(fmt.Sprintf("%s answers %d %v", n.id, r.Handle, r.Code), r.Payload...)
		if f := n.replies[r.Handle]; f != nil {
			delete(n.replies, r.Handle)
			f(r)
		}
	}
	for _, x := range fx.Exec {
		w.after(w.rand(0, 3*time.Millisecond), func() {
			if n.alive && n.life == life {
				n.later(w.rand(0, 3*time.Millisecond), execute(n.st, x))
			}
		})
	}
	for _, r := range fx.Read {
		w.after(w.rand(0, 3*time.Millisecond), func() {
			if n.alive && n.life == life {
				n.step(readEvent(n.st, r))
			}
		})
	}
	for _, l := range fx.List {
		w.after(w.rand(0, 3*time.Millisecond), func() {
			if n.alive && n.life == life {
				objs, more, err := n.st.List(simPG, store.Objects, l.After, l.Limit)
				n.later(w.rand(0, 10*time.Millisecond), pg.ListedEvent{Token: l.Token, Objects: objs, More: more, Err: err})
			}
		})
	}
	if p := fx.Propose; p != nil {
		n.propose(p)
	}
	if fx.Wake != 0 && fx.Wake != n.wake {
		n.wake = fx.Wake
		at := n.wake
		w.after(max(0, at.Sub(n.mono()))+time.Millisecond, func() {
			if n.alive && n.life == life && n.wake == at {
				n.wake = 0
				n.step(pg.TickEvent{})
			}
		})
	}
}

// persist gives a batch to the disk. If it fails, the group hears of it, and soon the daemon stops.
func (n *node) persist(p pg.Persist) {
	w, life := n.w, n.life
	n.st.Submit(&store.Batch{Ops: p.Ops, Line: n.line}, func(err error) {
		if err != nil && !n.broken && n.alive && n.life == life {
			if !errors.Is(err, errDisk) {
				w.failf("%s: batch: %v", n.id, err)
			}
			n.broken = true
			w.after(w.rand(0, 30*time.Millisecond), func() {
				if n.life == life {
					n.crash()
					w.after(w.rand(0, 3*time.Second), n.restart)
				}
			})
		}
		n.later(0, pg.PersistedEvent{ID: p.ID, Err: err})
	})
	st := n.st
	w.after(w.rand(0, 20*time.Millisecond)+n.lag, func() {
		if n.life == life {
			st.Complete(1)
		}
	})
}

func execute(st *store.Sim, x pg.Exec) pg.ExecutedEvent {
	if x.Op == nil {
		objs, more, err := st.List(simPG, store.Objects, string(x.List.After), 1000)
		l := &wirepb.PGListReply{More: more}
		for _, o := range objs {
			l.Objects = append(l.Objects, []byte(o.Name))
		}
		ev := pg.ExecutedEvent{Handle: x.Handle, List: l}
		if err != nil {
			ev.Code = wirepb.Code_IO_ERROR
		}
		return ev
	}
	out := objop.Execute(st, store.Key{PG: simPG, Name: string(x.Op.Object)}, x.Op, x.Payload)
	return pg.ExecutedEvent{
		Handle: x.Handle, Code: out.Code, Text: out.Text, Reply: out.Reply, Payload: out.Payload,
		Mutates: out.Mutates, Ops: out.Ops, Removed: out.Removed,
	}
}

// propose reaches the monitors, or not, and its answer comes back, or not.
func (n *node) propose(p *pg.Proposal) {
	w := n.w
	lostThere := w.faults && w.chance(0.1)
	lostBack := w.faults && w.chance(0.1)
	cut := w.cut[[2]int{int(n.id), -1}]
	change := proto.Clone(p.Change).(*wirepb.PGChange)
	w.after(w.rand(0, 60*time.Millisecond), func() {
		code, epoch := wirepb.Code_TRY_LATER, placement.Epoch(0)
		if !lostThere && !cut {
			code = w.mon.change(change)
			epoch = w.mon.epoch()
		}
		if lostBack || cut {
			code, epoch = wirepb.Code_INTERNAL, 0
		}
		n.later(w.rand(0, 60*time.Millisecond), pg.ProposedEvent{Token: p.Token, Code: code, Epoch: epoch})
		if w.faults && w.chance(0.05) { // a copy of the request that was delayed on its way
			w.after(w.rand(0, 3*time.Second), func() { w.mon.change(change) })
		}
	})
	if w.faults && w.chance(0.03) {
		life := n.life
		w.after(w.rand(0, 100*time.Millisecond), func() {
			if n.life == life {
				n.crash()
				w.after(w.rand(0, 4*time.Second), n.restart)
			}
		})
	}
}

func readEvent(st *store.Sim, r pg.Read) pg.ReadEvent {
	k := store.Key{PG: simPG, Name: r.Object}
	info, err := st.Stat(k)
	if errors.Is(err, store.ErrNotFound) {
		return pg.ReadEvent{Token: r.Token, Piece: pg.Piece{Missing: true, Last: true}}
	}
	p := pg.Piece{Info: info, Off: r.At.Off}
	if err == nil && r.At.Off == 0 {
		p.Omap, _, err = st.OmapList(k, nil, nil, 100)
	}
	if err == nil { // three bytes at a time, so that pushes take several messages
		p.Data, err = st.Read(k, r.At.Off, 3)
	}
	if err != nil {
		return pg.ReadEvent{Token: r.Token, Err: err}
	}
	end := p.Off + uint64(len(p.Data))
	p.Next, p.Last = pg.Cursor{Off: end}, end >= info.Size
	return pg.ReadEvent{Token: r.Token, Piece: p}
}
