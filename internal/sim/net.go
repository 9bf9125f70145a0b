package sim

import (
	"slices"
	"time"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/placement"
)

// network carries messages between processes.
type network struct {
	w     *world
	cuts  map[[2]endpoint]int // how many faults cut the way from one to the other
	links map[[2]endpoint]*link
}

// link is a connection on which messages of PGs travel, from one OSD to another. They
// arrive in order or, once one was lost, not at all until both sides have noticed.
type link struct {
	last   clock.Mono
	broken bool
	gen    int
	held   []func() // what a cut holds up, to arrive when it heals
}

func newNetwork(w *world) *network {
	return &network{w: w, cuts: map[[2]endpoint]int{}, links: map[[2]endpoint]*link{}}
}

func (n *network) isCut(from, to endpoint) bool { return n.cuts[[2]endpoint{from, to}] > 0 }

// delay is how long a message is under way.
func (n *network) delay() time.Duration {
	w := n.w
	d := w.rand(0, w.k.latency)
	if w.faults && w.chance(w.swarm.slow) {
		d += w.rand(0, time.Second)
	}
	return d
}

// lost reports whether a message that is sent now gets lost.
func (n *network) lost(from, to endpoint) bool {
	return n.isCut(from, to) || n.w.faults && n.w.chance(n.w.swarm.loss)
}

// post brings a request or an answer to a process, or not. Such messages do not wait for each
// other, and whoever sends them does not rely on them.
func (n *network) post(from endpoint, to life, run func()) {
	w := n.w
	if n.lost(from, to.p.at) {
		return
	}
	w.after(n.delay(), func() { to.do(run) })
	if w.faults && w.chance(w.swarm.twice) {
		w.after(n.delay()+w.rand(0, 3*time.Second), func() { to.do(run) })
	}
}

// postInOrder is post for requests of clients: they come over one connection, none overtakes
// another and none arrives twice.
func (n *network) postInOrder(from endpoint, to life, run func()) {
	if n.lost(from, to.p.at) {
		return
	}
	k := [2]endpoint{from, to.p.at}
	if n.links[k] == nil {
		n.links[k] = &link{}
	}
	n.arrive(n.links[k], func() { to.do(run) })
}

// cut stops what goes from one to another, for each of the pairs, until the returned func is
// called once.
func (n *network) cut(pairs [][2]endpoint) (heal func()) {
	for _, p := range pairs {
		n.cuts[p]++
	}
	return func() {
		for _, p := range pairs {
			if n.cuts[p] == 0 {
				continue // everything was healed meanwhile
			}
			if n.cuts[p]--; n.cuts[p] == 0 {
				delete(n.cuts, p)
				n.release(p)
			}
		}
	}
}

// healAll ends all cuts.
func (n *network) healAll() {
	clear(n.cuts)
	keys := make([][2]endpoint, 0, len(n.links))
	for k := range n.links {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b [2]endpoint) int { return slices.Compare(a[:], b[:]) })
	for _, k := range keys {
		n.release(k)
	}
}

// release lets what a cut has held up arrive.
func (n *network) release(pair [2]endpoint) {
	l := n.links[pair]
	if l == nil {
		return
	}
	for _, run := range l.held {
		n.arrive(l, run)
	}
	l.held = nil
}

func (n *network) link(a, b *osd) *link {
	k := [2]endpoint{a.at, b.at}
	if n.links[k] == nil {
		n.links[k] = &link{}
	}
	return n.links[k]
}

// breakLink loses what is under way from a to b and tells both sides later.
func (n *network) breakLink(a, b *osd) {
	w, l := n.w, n.link(a, b)
	if l.broken || a == b {
		return
	}
	l.broken, l.held = true, nil
	l.gen++
	lifeA, lifeB := a.life, b.life
	w.after(w.rand(0, 800*time.Millisecond), func() {
		l.broken = false
		a.do(lifeA, func() { a.reset(b.id) })
		w.after(w.rand(0, 100*time.Millisecond), func() { b.do(lifeB, func() { b.reset(a.id) }) })
	})
}

// arrive schedules a message behind those that are under way already.
func (n *network) arrive(l *link, run func()) {
	at := max(l.last, n.w.now.Add(n.delay()))
	l.last = at
	n.w.queue.push(at, run)
}

// send puts a message of a PG on the connection to a peer.
func (n *network) send(a, b *osd, out pg.Out, shard *shard) {
	w, l := n.w, n.link(a, b)
	if l.broken {
		return
	}
	held := false
	switch cut := n.isCut(a.at, b.at); {
	case cut && w.k.stallsHeal:
		held = true
	case cut, !b.alive, w.faults && w.chance(w.swarm.loss):
		if w.chance(0.3) { // a new connection is there before anybody hears of the old one's end
			w.after(w.rand(0, 800*time.Millisecond), func() { n.breakLink(a, b) })
			return
		}
		n.breakLink(a, b)
		return
	}
	raw, err := out.Msg.MarshalVT()
	if err != nil {
		w.failf("encode: %v", err)
		return
	}
	w.note(uint64(a.at)<<32|uint64(b.at), raw)
	payload := slices.Concat(out.Payload...)
	epoch, gen, life := shard.epoch(), l.gen, b.life
	deliver := func() {
		if l.gen != gen {
			return
		}
		msg := &wirepb.PGMsg{}
		if err := msg.UnmarshalVT(raw); err != nil {
			w.failf("decode: %v", err)
			return
		}
		id := placement.PGID{Pool: placement.PoolID(msg.Pool), Shard: msg.Shard}
		ev := pg.MsgEvent{From: a.id, Msg: msg, Payload: slices.Clone(payload)}
		b.do(life, func() { b.deliver(forGroup{id: id, epoch: epoch, ev: ev}) })
	}
	if held {
		if l.held = append(l.held, deliver); len(l.held) == 1 {
			// Nobody waits for ever.
			w.after(w.rand(time.Second, 8*time.Second), func() {
				if l.gen == gen && len(l.held) > 0 {
					n.breakLink(a, b)
				}
			})
		}
		return
	}
	if w.faults && w.chance(w.swarm.gap) {
		return // lost, and no connection ends: what the numbers of a stream are for
	}
	if w.faults && w.chance(w.swarm.overtake) {
		w.after(n.delay(), deliver)
		return
	}
	n.arrive(l, deliver)
	if w.faults && w.chance(w.swarm.twice) {
		w.after(n.delay()+w.rand(0, time.Second), deliver)
	}
}
