package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstore/cairn/client/core"
	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/placement"
)

// client reads and writes objects, one operation at a time. It knows the cluster by the maps
// that its session brings, and whom it asked last.
type client struct {
	process
	id      int
	session *session
	seq     uint64
	left    int
	reader  bool // only reads, and so has little reason to look for another primary
	done    bool
	kv      map[string]string // omap values last seen, for cas

	cares  bool       // it works outboxes off, see care
	core   *core.Core // not nil: a production client, see client_core.go
	now    *attempt   // its operation under way
	wakeAt clock.Mono // when core is to be woken
}

// attempt is one request on its way through all its repetitions.
type attempt struct {
	seq     uint64
	in      input
	call    clock.Mono
	tries   int
	unknown bool                      // an earlier try may have been carried out
	pgNum   uint32                    // of the pool, as the last try had it
	then    func(r pg.Reply, ok bool) // not nil: gets the answer, if there is one, instead of the history
}

func (w *world) addClient(i int) {
	c := &client{process: process{w: w, at: clientBase + endpoint(i), alive: true}, id: i, left: w.k.opsPerClient, kv: map[string]string{}}
	c.reader = w.k.hurry && i < w.k.clients/2
	w.clients = append(w.clients, c)
	lag := w.k.clientLag
	if c.reader { // it stays with a primary that was deposed, as long as that one answers
		lag = w.rand(2*time.Second, 10*time.Second)
	}
	heard := func(*published) {}
	if i%2 == 1 {
		c.newCore()
		heard = c.driveMap
	}
	c.session = newSession(w, &c.process, lag, heard)
	c.later(w.rand(0, 100*time.Millisecond), c.next)
}

// objectsOf lists all objects that clients use.
func (w *world) objectNames() []input {
	var all []input
	for i := range w.k.objects {
		all = append(all, input{pool: w.k.pools[i%len(w.k.pools)].name, object: fmt.Sprintf("o%d", i)})
	}
	return all
}

func (c *client) draw() input {
	w := c.w
	i := w.rng.IntN(w.k.objects)
	in := input{pool: w.k.pools[i%len(w.k.pools)].name, object: fmt.Sprintf("o%d", i)}
	switch k := w.rng.IntN(26); {
	case k < 8, c.reader:
		in.kind = "read"
	case k < 11:
		in.kind = "write"
	case k < 14:
		in.kind = "append"
	case k < 17:
		in.kind, in.off = "patch", 24*w.rng.IntN(4)
	case k < 18:
		in.kind, in.off = "chop", 1+w.rng.IntN(48)
	case k < 19:
		in.kind = "swap"
	case k < 21:
		in.kind, in.off = "set", w.rng.IntN(4)
	case k < 22:
		in.kind, in.off = "unset", w.rng.IntN(4)
	case k < 23:
		in.kind, in.expect = "cas", c.kv[in.key()]
	case k < 24:
		in.kind = "list"
	default:
		in.kind = "remove"
	}
	switch in.kind {
	case "write", "append", "patch", "swap", "set", "cas":
		w.values++
		in.value = fmt.Sprintf("%d;", w.values)
		c.drawRef(&in)
	}
	return in
}

func (c *client) next() {
	if c.left <= 0 {
		c.done = true
		return
	}
	c.left--
	if c.cares {
		c.care()
		return
	}
	c.begin(c.draw())
}

func (c *client) begin(in input) {
	c.done = false
	c.seq++
	a := &attempt{seq: c.seq, in: in, call: c.w.now}
	if c.core != nil {
		c.submit(a)
		return
	}
	c.try(a)
}

// again tries once more, unless the client gives up.
func (c *client) again(a *attempt, d time.Duration) {
	w := c.w
	c.later(d, func() {
		switch {
		case c.seq != a.seq:
		case w.faults && w.giveUps < 20 && a.in.writes() && w.chance(w.k.quitters):
			w.giveUps++ // it dies; nobody will ever ask again
			c.finish(a, output{unknown: true})
		default:
			c.try(a)
		}
	})
}

// forgetful is how long a request may be under way to an OSD whose log forgets request ids by count alone:
// what an OSD allows for clocks that differ, less what they do differ by.
const forgetful = 900 * time.Millisecond

// try sends the request to whom the client's map names.
func (c *client) try(a *attempt) {
	w := c.w
	pause := w.rand(20*time.Millisecond, 200*time.Millisecond)
	if c.session.have == nil {
		c.again(a, pause)
		return
	}
	m := c.session.have.m
	pool := m.PoolByName(a.in.pool)
	if pool == nil {
		c.session.ask()
		c.again(a, pause)
		return
	}
	id := placement.PGOf(pool, a.in.object)
	to := m.PG(id).Primary
	if w.chance(0.03) {
		to = placement.OSDID(w.rng.IntN(len(w.osds)))
	}
	if to == placement.NoOSD || !m.IsUp(to) {
		if a.tries++; a.tries%4 == 0 {
			c.session.ask()
		}
		c.again(a, pause)
		return
	}
	n, answered := w.osds[to], false
	a.pgNum = pool.PGNum
	ev := c.event(a, pool.ID, id)
	reply := func(r pg.Reply) {
		if w.faults && w.chance(w.swarm.unanswered) {
			return
		}
		w.net.post(n.at, c.ref(), func() {
			if !answered && c.seq == a.seq {
				answered = true
				c.judge(a, id, r)
			}
		})
	}
	sent := w.now
	arrive := func() {
		// Logs keep request ids for longer than clients ask and messages take. Where a seed's logs are
		// shorter than any real one, what was under way for long must not arrive.
		if w.k.cfg.LogKeep < 0 && w.now.Sub(sent) > forgetful {
			reply(pg.Reply{Code: wirepb.Code_TRY_LATER, Text: "late"})
			return
		}
		w.handles++
		ev.Handle = pg.Handle(w.handles)
		if ev.Op != nil {
			ev.Op = proto.Clone(ev.Op).(*wirepb.OpRequest)
		}
		n.onOp(m.Epoch, forGroup{id: id, epoch: m.Epoch, ev: ev, reply: reply})
	}
	if a.in.kind == "ref" && w.faults && w.chance(0.2) { // it dies, and what it has sent takes a while
		there := n.ref()
		w.after(w.rand(0, 2*time.Second), func() { w.net.postInOrder(c.at, there, arrive) })
		c.finish(a, output{unknown: true})
		return
	}
	w.net.postInOrder(c.at, n.ref(), arrive)
	c.later(w.rand(300*time.Millisecond, 1200*time.Millisecond), func() {
		if !answered && c.seq == a.seq {
			answered, a.unknown = true, true
			c.session.ask()
			c.again(a, 0)
		}
	})
}

func (c *client) event(a *attempt, pool placement.PoolID, id placement.PGID) pg.OpEvent {
	if a.in.kind == "list" {
		return pg.OpEvent{List: &wirepb.PGList{Pool: uint32(pool), Shard: id.Shard, PgNum: a.pgNum}}
	}
	req, payload := a.in.request()
	req.Pool, req.Shard = uint32(pool), id.Shard
	req.Req = &wirepb.ReqID{Client: uint64(c.id) + 1, Seq: a.seq}
	req.AgeMs = uint64(c.w.now.Sub(a.call).Milliseconds())
	return pg.OpEvent{Op: req, Payload: payload, Write: a.in.writes()}
}

// judge looks at an answer: is it one to keep, or a reason to try again?
func (c *client) judge(a *attempt, id placement.PGID, r pg.Reply) {
	w := c.w
	retry := func() { c.again(a, w.rand(5*time.Millisecond, 60*time.Millisecond)) }
	switch r.Code {
	case wirepb.Code_OK, wirepb.Code_CONFLICT:
		if a.in.kind == "list" {
			c.listed(a, id, r.List)
			return
		}
		w.acknowledged(c, a, r)
		w.sawRefs(a, r)
		c.finish(a, a.in.output(r))
	case wirepb.Code_NOT_FOUND:
		if r.Reply == nil { // the pool, not the object
			c.session.ask()
			retry()
			return
		}
		c.finish(a, a.in.output(r))
	case wirepb.Code_TIMED_OUT:
		c.finish(a, output{unknown: true})
	case wirepb.Code_WRONG_PRIMARY, wirepb.Code_STALE_MAP:
		c.session.ask()
		retry()
	case wirepb.Code_TRY_LATER:
		retry()
	case wirepb.Code_STALE_TERM:
		a.unknown = true
		retry()
	case wirepb.Code_NO_SPACE, wirepb.Code_CORRUPT, wirepb.Code_IO_ERROR:
		c.complain(a, r)
		// Said of this attempt only: an earlier one may have been carried out.
		if a.in.writes() {
			c.finish(a, output{unknown: true})
		} else {
			c.finish(a, output{unknown: true, code: r.Code})
		}
	default:
		w.failf("%+v was answered %v %s", a.in, r.Code, r.Text)
	}
}

// complain reports a refusal that nothing excuses when all is quiet.
func (c *client) complain(a *attempt, r pg.Reply) {
	if c.w.quiet {
		c.w.failf("%s was answered %v %s when all is quiet", a.in.key(), r.Code, r.Text)
	}
}

// listed takes a listing of a PG apart: what it says of each object that belongs there.
func (c *client) listed(a *attempt, id placement.PGID, list *wirepb.PGListReply) {
	w := c.w
	var names []string
	for _, o := range list.GetObjects() {
		names = append(names, string(o))
	}
	w.logf("client %d: list of %s = %s (called %.3f)", c.id, id, strings.Join(names, " "), a.call.Sub(0).Seconds())
	at := placement.Pool{ID: id.Pool, PGNum: a.pgNum}
	for _, in := range w.objectNames() {
		if in.pool == a.in.pool && placement.PGOf(&at, in.object) == id {
			in.kind = "exists"
			res := output{data: "no"}
			if slices.Contains(names, in.object) {
				res.data = "yes"
			}
			w.record(c.id, in, a.call, res)
		}
	}
	c.rest()
}

func (c *client) finish(a *attempt, out output) {
	w := c.w
	if a.in.kind == "ref" {
		w.refEnded(a.in, out)
	}
	if a.in.writes() || !out.unknown {
		if a.in.kind != "list" {
			w.record(c.id, a.in, a.call, out)
		}
	}
	if a.in.kind == "read" && out.code == wirepb.Code_OK && !out.unknown {
		c.kv[a.in.key()] = out.kv
	}
	c.rest()
}

func (c *client) rest() {
	c.seq++ // late answers of other attempts no longer match
	c.later(c.w.rand(0, c.w.k.think), c.next)
}

// readAll reads every object at last: what is there when all is quiet counts, too.
func (w *world) readAll() {
	for i, in := range w.objectNames() {
		c := w.clients[i%len(w.clients)]
		in.kind = "read"
		c.left = 0
		c.begin(in)
		for end := w.now.Add(20 * time.Second); !c.done && w.now < end && len(w.fails) == 0; {
			w.run(w.now.Add(100 * time.Millisecond))
		}
		if !c.done && len(w.fails) == 0 {
			w.failf("%s cannot be read when all is quiet", in.key())
		}
	}
	w.plane.readAll()
}
