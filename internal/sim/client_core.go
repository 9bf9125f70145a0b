package sim

import (
	"errors"
	"time"

	"github.com/cairnstore/cairn/client/core"
	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/placement"
)

// Half of the clients decide whom to ask, when again and what to believe with the production
// code, client/core. The others are ruder: they ask whoever comes to mind and do not listen.
// What a production client says of a write that failed is believed: if it says that the write
// surely has not been carried out, the write is no part of the history, and whoever sees its
// value proves it wrong.

// errGone is the end of a connection.
var errGone = errors.New("connection lost")

// newCore makes the client a production client.
func (c *client) newCore() {
	w := c.w
	c.core = core.New(core.Config{Client: uint64(c.id) + 1, AttemptTimeout: w.rand(300*time.Millisecond, 1200*time.Millisecond)})
}

func (c *client) driveMap(p *published) { c.drive(core.MapEvent{Map: p.m}) }

// submit begins an operation.
func (c *client) submit(a *attempt) {
	w := c.w
	var pool *placement.Pool
	if c.session.have != nil {
		pool = c.session.have.m.PoolByName(a.in.pool)
	}
	if pool == nil { // the caller's affair: an operation names its pool by id
		c.session.ask()
		c.later(w.rand(20*time.Millisecond, 200*time.Millisecond), func() { c.submit(a) })
		return
	}
	op := core.Op{ID: a.seq, Pool: pool.ID, Object: a.in.object, Write: a.in.writes()}
	if w.faults { // when all is quiet nobody may have to give up
		op.Deadline = w.now.Add(w.rand(200*time.Millisecond, 2*time.Second))
		if w.chance(0.7) {
			op.Deadline = op.Deadline.Add(w.rand(0, 15*time.Second))
		}
	}
	c.now = a
	if a.in.kind == "list" {
		op.OnePG, op.Shard = true, placement.PGOf(pool, a.in.object).Shard
	}
	c.drive(core.SubmitEvent{Op: op})
	if w.faults && w.giveUps < 20 && a.in.writes() && w.chance(w.k.quitters/3) {
		w.giveUps++
		c.later(w.rand(0, 3*time.Second), func() { c.drive(core.CancelEvent{ID: a.seq}) })
	}
}

// drive gives the production code an event and does what it says.
func (c *client) drive(ev core.Event) {
	fx := c.core.Step(c.w.now, ev)
	for _, s := range fx.Send {
		c.transmit(s)
	}
	for _, d := range fx.Done {
		c.ended(d)
	}
	if fx.Newest {
		c.session.ask()
	}
	if fx.WantEpoch != 0 {
		c.session.want(fx.WantEpoch)
	}
	if fx.Suspect && c.w.chance(0.5) {
		c.session.mon = pick(c.w, c.w.mons.all[:])
	}
	if at := fx.Wake; at != 0 && (c.wakeAt == 0 || at < c.wakeAt) {
		c.wakeAt = at
		c.later(at.Sub(c.w.now), func() {
			if c.wakeAt == at {
				c.wakeAt = 0
				c.drive(core.TickEvent{})
			}
		})
	}
}

// transmit sends an attempt over a connection: it arrives, or it does not and nobody says so,
// or the connection breaks.
func (c *client) transmit(s core.Send) {
	w, a, n := c.w, c.now, c.w.osds[s.OSD]
	if !n.alive {
		c.later(w.rand(0, 50*time.Millisecond), func() {
			c.drive(core.LostEvent{ID: s.ID, Attempt: s.Attempt, Err: errGone}) // refused
		})
		return
	}
	a.pgNum = s.PGNum
	ev := pg.OpEvent{List: &wirepb.PGList{Pool: uint32(s.PG.Pool), Shard: s.PG.Shard, PgNum: s.PGNum, Record: uint32(a.in.record)}}
	if a.in.kind != "list" {
		req, payload := a.in.request()
		req.Pool, req.Shard = uint32(s.PG.Pool), s.PG.Shard
		req.Req = &wirepb.ReqID{Client: uint64(c.id) + 1, Seq: s.ID}
		req.AgeMs = uint64(s.Age.Milliseconds())
		ev = pg.OpEvent{Op: req, Payload: payload, Write: a.in.writes()}
	}
	reply := func(r pg.Reply) {
		answer := core.AnswerEvent{ID: s.ID, Attempt: s.Attempt, Code: r.Code, Text: r.Text, Body: r.Reply != nil || r.List != nil, Reply: r}
		if n.m != nil {
			answer.Epoch = n.m.Epoch
		}
		w.net.post(n.at, c.ref(), func() { c.drive(answer) })
	}
	w.net.postInOrder(c.at, n.ref(), func() {
		w.handles++
		ev.Handle = pg.Handle(w.handles)
		n.onOp(s.Epoch, forGroup{id: s.PG, epoch: s.Epoch, ev: ev, reply: reply})
	})
	life := n.life
	c.later(w.rand(0, time.Second), func() {
		if n.life != life {
			c.drive(core.LostEvent{ID: s.ID, Attempt: s.Attempt, Sent: true, Err: errGone})
		}
	})
}

// ended notes what the caller of an operation is told.
func (c *client) ended(d core.Done) {
	w, a := c.w, c.now
	if a == nil || a.seq != d.ID {
		w.failf("client %d: operation %d ended, %+v is under way", c.id, d.ID, a)
		return
	}
	c.now = nil
	unknown, r := false, pg.Reply{}
	switch {
	case d.Err == nil:
		r = d.Answer.Reply.(pg.Reply)
	case d.Err.Reason == core.Deadline || d.Err.Reason == core.Cancelled:
		unknown = d.Err.Unknown
	case d.Err.Reason == core.Forgotten || d.Err.Reason == core.Refused:
		unknown = true
	default:
		w.failf("client %d: %+v: %v", c.id, a.in, d.Err)
	}
	if a.then != nil {
		a.then(r, d.Err == nil)
		return
	}
	switch {
	case unknown:
		c.finish(a, output{unknown: true})
	case d.Err == nil && a.in.kind == "list" && r.Code == wirepb.Code_OK:
		c.listed(a, d.PG, r.List)
	case d.Err == nil && (r.Code == wirepb.Code_OK || r.Code == wirepb.Code_CONFLICT || r.Code == wirepb.Code_NOT_FOUND):
		w.acknowledged(c, a, r)
		w.sawRefs(a, r)
		c.finish(a, a.in.output(r))
	case d.Err == nil && a.in.writes() && r.Code == wirepb.Code_TIMED_OUT:
		c.finish(a, output{unknown: true})
	default:
		// It has not been carried out, and never will be.
		w.logf("client %d: %+v surely not done: %v %s (called %.3f)", c.id, a.in, d.Err, r.Text, a.call.Sub(clock.Mono(0)).Seconds())
		if a.in.kind == "ref" {
			w.letGo(numberOf(a.in.value))
		}
		c.complain(a, r)
		c.rest()
	}
}
