package sim

import (
	"time"

	"google.golang.org/protobuf/proto"

	objects "github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/core"
	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/placement"
)

// agent is an object client for fibers, in one life of its process: client/core decides whom it asks.
type agent struct {
	w       *world
	p       *process
	self    life
	id      uint64   // never that of another
	at      endpoint // its connections' end
	core    *core.Core
	seq     uint64
	calls   map[uint64]*agentCall
	session *session
	wakeAt  clock.Mono
	late    float64 // how often it takes its time behind an operation
}

// agentCall is an operation under way.
type agentCall struct {
	req     *wirepb.OpRequest // nil: a listing
	payload []byte
	write   bool
	list    *wirepb.PGList
	done    func(core.Done)
}

// agentBase keeps agents' request ids apart from those of clients, and their connections from those of their processes.
const agentBase = 1 << 20

func (pl *plane) newAgent(p *process) *agent {
	w := pl.w
	pl.agents++
	g := &agent{w: w, p: p, self: p.ref(), id: agentBase + uint64(pl.agents), at: endpoint(agentBase + pl.agents), calls: map[uint64]*agentCall{}}
	g.core = core.New(core.Config{Client: g.id, AttemptTimeout: w.rand(300*time.Millisecond, 1200*time.Millisecond)})
	g.session = newSession(w, p, w.rand(10*time.Millisecond, w.k.clientLag), func(p *published) { g.drive(core.MapEvent{Map: p.m}) })
	return g
}

// mapNow is the newest map that the agent has, nil if none.
func (g *agent) mapNow() *placement.Map {
	if g.session.have == nil {
		return nil
	}
	return g.session.have.m
}

// do carries out an operation on an object or a record. Its errors are those of package client.
func (g *agent) do(f *fiber, pool placement.PoolID, name string, op *objects.Op) (*objects.Result, error) {
	if placement.IsRecord(name) {
		op.AsRecord()
	}
	return g.doAsItIs(f, pool, name, op.At(time.Unix(0, g.wall())))
}

// doAsItIs is do for operations that say what time it is.
func (g *agent) doAsItIs(f *fiber, pool placement.PoolID, name string, op *objects.Op) (*objects.Result, error) {
	req, payload := op.Request(name)
	d, err := g.run(f, core.Op{Pool: pool, Object: name, Write: op.Writes()}, &agentCall{req: req, payload: payload, write: op.Writes()})
	if err != nil {
		return nil, err
	}
	r := d.Answer.Reply.(pg.Reply)
	return op.Answer("p", name, r.Code, r.Text, r.Reply, r.Payload)
}

// list lists names of one PG, see chunkcare.Cluster.
func (g *agent) list(f *fiber, id placement.PGID, kind placement.RecordKind, after string, limit int) ([]string, bool, error) {
	c := &agentCall{list: &wirepb.PGList{Pool: uint32(id.Pool), Shard: id.Shard, After: []byte(after), Limit: uint32(limit), Record: uint32(kind)}}
	d, err := g.run(f, core.Op{Pool: id.Pool, OnePG: true, Shard: id.Shard}, c)
	if err != nil {
		return nil, false, err
	}
	r := d.Answer.Reply.(pg.Reply)
	if r.Code != wirepb.Code_OK {
		return nil, false, objects.ErrorOf(r.Code)
	}
	var names []string
	for _, o := range r.List.GetObjects() {
		names = append(names, string(o))
	}
	return names, r.List.GetMore(), nil
}

// wall is the calendar of the agent's process.
func (g *agent) wall() int64 {
	if n := g.w.osdOf(g.p); n != nil {
		return n.wall()
	}
	return int64(g.w.now)
}

// osdOf is the OSD whose process it is, nil for others.
func (w *world) osdOf(p *process) *osd {
	if int(p.at) < len(w.osds) {
		return w.osds[p.at]
	}
	return nil
}

// run brings an operation to its end.
func (g *agent) run(f *fiber, op core.Op, c *agentCall) (core.Done, error) {
	w := g.w
	g.seq++
	op.ID = g.seq
	if w.faults { // when all is quiet nobody may have to give up
		op.Deadline = w.now.Add(w.rand(200*time.Millisecond, 5*time.Second))
		if w.chance(0.3) {
			op.Deadline = op.Deadline.Add(w.rand(0, 12*time.Second))
		}
	}
	var d core.Done
	err := f.await(func(wake func()) {
		c.done = func(x core.Done) {
			d = x
			wake()
		}
		g.calls[op.ID] = c
		g.drive(core.SubmitEvent{Op: op})
		if w.faults && op.Write && w.chance(0.01) { // whoever waits for it has no more time
			g.p.later(w.rand(0, time.Second), func() { g.drive(core.CancelEvent{ID: op.ID}) })
		}
	})
	delete(g.calls, op.ID)
	if w.faults && w.chance(g.late) { // what follows comes late
		f.pause(w.rand(0, 3*careSettings.OrphanAge))
		if f.dead {
			err = errCrashed
		}
	}
	if err != nil || d.Err == nil {
		return d, err
	}
	switch d.Err.Reason {
	case core.Busy:
		err = objects.ErrTryLater
	case core.PoolGone: // as far as the agent knows: it may not have heard of a PG that its OSD has
		if !op.OnePG {
			w.failf("agent %d: %+v: %v", g.id, op, d.Err)
		}
		err = objects.ErrNotFound
	case core.Deadline, core.Cancelled, core.Forgotten, core.Refused:
		err = objects.ErrTimeout
	default:
		w.failf("agent %d: %+v: %v", g.id, op, d.Err)
		err = objects.ErrInternal
	}
	return d, err
}

// drive gives the production code an event and does what it says.
func (g *agent) drive(ev core.Event) {
	fx := g.core.Step(g.w.now, ev)
	for _, s := range fx.Send {
		g.transmit(s)
	}
	for _, d := range fx.Done {
		if c := g.calls[d.ID]; c != nil {
			c.done(d)
		}
	}
	if fx.Newest {
		g.session.ask()
	}
	if fx.WantEpoch != 0 {
		g.session.want(fx.WantEpoch)
	}
	if fx.Suspect && g.w.chance(0.5) {
		g.session.mon = pick(g.w, g.w.mons.all[:])
	}
	if at := fx.Wake; at != 0 && (g.wakeAt == 0 || at < g.wakeAt) {
		g.wakeAt = at
		g.p.later(at.Sub(g.w.now), func() {
			if g.wakeAt == at {
				g.wakeAt = 0
				g.drive(core.TickEvent{})
			}
		})
	}
}

// send brings a request to an OSD, on the agent's connection to it.
func (g *agent) send(to life, arrive func()) {
	n := g.w.net
	if n.lost(g.p.at, to.p.at) {
		return
	}
	k := [2]endpoint{g.at, to.p.at}
	if n.links[k] == nil {
		n.links[k] = &link{}
	}
	n.arrive(n.links[k], func() { to.do(arrive) })
}

// transmit sends an attempt, see client.transmit.
func (g *agent) transmit(s core.Send) {
	w, c, n := g.w, g.calls[s.ID], g.w.osds[s.OSD]
	if !n.alive {
		g.p.later(w.rand(0, 50*time.Millisecond), func() {
			g.drive(core.LostEvent{ID: s.ID, Attempt: s.Attempt, Err: errGone}) // refused
		})
		return
	}
	var ev pg.OpEvent
	if c.req != nil {
		req := proto.Clone(c.req).(*wirepb.OpRequest)
		req.Pool, req.Shard = uint32(s.PG.Pool), s.PG.Shard
		req.Req = &wirepb.ReqID{Client: g.id, Seq: s.ID}
		req.AgeMs = uint64(s.Age.Milliseconds())
		ev = pg.OpEvent{Op: req, Payload: c.payload, Write: c.write}
	} else {
		l := proto.Clone(c.list).(*wirepb.PGList)
		l.PgNum = s.PGNum
		ev = pg.OpEvent{List: l}
	}
	reply := func(r pg.Reply) {
		answer := core.AnswerEvent{ID: s.ID, Attempt: s.Attempt, Code: r.Code, Text: r.Text, Body: r.Reply != nil || r.List != nil, Reply: r}
		if n.m != nil {
			answer.Epoch = n.m.Epoch
		}
		w.net.post(n.at, g.self, func() {
			if c.write && r.Code == wirepb.Code_OK && !w.check.acked[request{g.id, s.ID}] {
				w.failf("agent %d: %v was acknowledged, but nobody committed it", g.id, c.req)
			}
			g.drive(answer)
		})
	}
	g.send(n.ref(), func() {
		w.handles++
		ev.Handle = pg.Handle(w.handles)
		n.onOp(s.Epoch, forGroup{id: s.PG, epoch: s.Epoch, ev: ev, reply: reply})
	})
	life := n.life
	g.p.later(w.rand(0, time.Second), func() {
		if n.life != life {
			g.drive(core.LostEvent{ID: s.ID, Attempt: s.Attempt, Sent: true, Err: errGone})
		}
	})
}
