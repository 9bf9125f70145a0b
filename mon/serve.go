package mon

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cairnstore/cairn/internal/process"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/mon/iam"
	"github.com/cairnstore/cairn/placement"
)

const (
	mapWait         = 3 * time.Second        // how long MonGetMap waits for the epoch it wants
	forwardTime     = 20 * time.Second       // how long a request passed on to the leader may take
	leaderEpochWait = 500 * time.Millisecond // for the leader to tell its epoch

	catchUpTime = 2 * time.Second // how long an answer is held back for this monitor to catch up with it
)

// handler answers the messenger. Its methods run on the connections' readers
// and do not block: what takes time becomes a task.
type handler Monitor

// Closed implements wire.Handler.
func (h *handler) Closed(c *wire.Conn, _ error) { h.pub.unsubscribe(c) }

// Handle implements wire.Handler.
func (h *handler) Handle(c *wire.Conn, req *wire.Message) {
	m := (*Monitor)(h)
	switch b := req.Header.Body.(type) {
	case *wirepb.Header_MonSubscribe:
		if !m.pub.subscribe(c, req, placement.Epoch(b.MonSubscribe.GetHave())) {
			m.decline(c, req, "monitor %s has %d subscribers, the most it can have; ask another one", m.o.Name, subscribersMax)
		}
	case *wirepb.Header_MonGetMap:
		m.task(c, req, func(ctx context.Context) { m.getMap(ctx, c, req, b.MonGetMap) })
	case *wirepb.Header_UserGet:
		m.task(c, req, func(ctx context.Context) { m.userGet(ctx, c, req, b.UserGet) })
	case *wirepb.Header_MonPropose:
		m.task(c, req, func(ctx context.Context) { m.proposed(ctx, c, req, b.MonPropose.GetCommand()) })
	case *wirepb.Header_PerfGet:
		m.task(c, req, func(context.Context) { m.perf(c, req) })
	case *wirepb.Header_OsdReport, *wirepb.Header_OsdFailure, *wirepb.Header_OsdRegister, *wirepb.Header_OsdBoot,
		*wirepb.Header_OsdStopping, *wirepb.Header_PgChange, *wirepb.Header_ServiceBeacon, *wirepb.Header_IdentityCall, *wirepb.Header_TokenKeysGet:
		if w := m.leading(); w != nil {
			m.handleLeading(c, req, w)
		} else {
			m.forward(c, req)
		}
	default:
		m.replyError(c, req, wirepb.Code_UNSUPPORTED, "a monitor does not know this message; is the sender of a newer version?")
	}
}

// task runs fn on a goroutine of its own, unless there are too many.
func (m *Monitor) task(c *wire.Conn, req *wire.Message, fn func(ctx context.Context)) {
	select {
	case m.tasks <- struct{}{}:
	default:
		m.decline(c, req, "monitor %s works on %d requests, the most it may; try again", m.o.Name, tasksMax)
		return
	}
	m.wg.Go(func() { // fn ends with m.ctx or its own limits
		defer func() { <-m.tasks }()
		fn(m.ctx)
	})
}

// decline answers TRY_LATER.
func (m *Monitor) decline(c *wire.Conn, req *wire.Message, format string, args ...any) {
	m.replyError(c, req, wirepb.Code_TRY_LATER, format, args...)
}

func (m *Monitor) replyError(c *wire.Conn, req *wire.Message, code wirepb.Code, format string, args ...any) {
	if req.Header.Tag == 0 {
		return // nobody waits for an answer
	}
	if err := c.ReplyError(req, code, format, args...); err != nil {
		m.log.Debug("answer", "to", c.Peer().Entity, "err", err) // the connection has ended
	}
}

func (m *Monitor) reply(c *wire.Conn, req, answer *wire.Message) {
	if req.Header.Tag == 0 {
		return
	}
	if err := c.Reply(req, answer); err != nil {
		m.log.Debug("answer", "to", c.Peer().Entity, "err", err)
	}
}

func (m *Monitor) ack(c *wire.Conn, req *wire.Message, epoch placement.Epoch) {
	m.reply(c, req, &wire.Message{Header: &wirepb.Header{
		Epoch: uint64(epoch), Body: &wirepb.Header_Ack{Ack: &wirepb.Ack{}},
	}})
}

// perf answers what the process has used.
func (m *Monitor) perf(c *wire.Conn, req *wire.Message) {
	u, err := process.Self()
	if err != nil {
		m.replyError(c, req, wirepb.Code_UNSUPPORTED, "monitor %s: %v", m.o.Name, err)
		return
	}
	m.reply(c, req, &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_Perf{Perf: u.Perf()}}})
}

// getMap answers MonGetMap from what is published. Who asks for the newest map,
// often right after a change that another monitor answered for, gets one that is
// no older than the leader's, if the leader can be asked.
func (m *Monitor) getMap(ctx context.Context, c *wire.Conn, req *wire.Message, q *wirepb.MonGetMap) {
	want := max(placement.Epoch(q.GetWant()), m.Map().Epoch, 1)
	if q.GetWant() == 0 && m.leading() == nil && !fromMonitor(c) {
		want = max(want, m.leaderEpoch(ctx))
	}
	ctx, cancel := context.WithTimeout(ctx, mapWait)
	defer cancel()
	if err := m.pub.waitFor(ctx, want); err != nil {
		m.decline(c, req, "monitor %s has no map of epoch %d, its newest is %d; it may be cut off from the others", m.o.Name, want, m.Map().Epoch)
		return
	}
	m.reply(c, req, m.pub.update(placement.Epoch(q.GetHave())))
}

// leaderEpoch asks the leader for its epoch; 0 if it does not say soon.
func (m *Monitor) leaderEpoch(ctx context.Context) placement.Epoch {
	peers, addr, err := m.wayToLeader()
	if err != nil {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, leaderEpochWait)
	defer cancel()
	r, err := peers.Call(ctx, addr, &wire.Message{Header: &wirepb.Header{
		Body: &wirepb.Header_MonGetMap{MonGetMap: &wirepb.MonGetMap{Have: uint64(m.Map().Epoch)}},
	}})
	if err != nil {
		m.log.Debug("epoch of the leader not known", "err", err)
		return 0
	}
	return placement.Epoch(r.Header.GetMapUpdate().GetTo())
}

// userGet answers UserGet. Who does not find a user asks the leader, so that a
// new user can be used at once everywhere.
func (m *Monitor) userGet(ctx context.Context, c *wire.Conn, req *wire.Message, get *wirepb.UserGet) {
	var u *wirepb.User
	m.machine.read(func(s *fsm.State) { u = iam.Principal(s, get) })
	switch {
	case u != nil:
		m.reply(c, req, &wire.Message{Header: &wirepb.Header{
			Epoch: uint64(m.Map().Epoch), Body: &wirepb.Header_User{User: u},
		}})
	case m.leading() != nil || fromMonitor(c):
		m.replyError(c, req, wirepb.Code_NOT_FOUND, "%s", iam.NoPrincipal(get))
	default:
		m.passOn(ctx, c, req)
	}
}

func fromMonitor(c *wire.Conn) bool { return strings.HasPrefix(c.Peer().Entity, "mon.") }

// proposed answers MonPropose, which only monitors send.
func (m *Monitor) proposed(ctx context.Context, c *wire.Conn, req *wire.Message, enc []byte) {
	if !fromMonitor(c) {
		m.replyError(c, req, wirepb.Code_NOT_PERMITTED, "%s is not a monitor; use the REST interface", c.Peer().Entity)
		return
	}
	// A command that this monitor does not understand must not get into the log.
	cmd, err := fsm.Decode(enc)
	if err != nil {
		code := wirepb.Code_INVALID
		if errors.Is(err, fsm.ErrUnknownCommand) {
			code = wirepb.Code_UNSUPPORTED
		}
		m.replyError(c, req, code, "%v", err)
		return
	}
	r, _, _ := m.leadState()
	if r == nil || r.State() != raft.Leader {
		m.decline(c, req, "monitor %s does not lead", m.o.Name)
		return
	}
	res, err := m.decide(ctx, r, cmd, enc)
	if err != nil {
		code := wirepb.Code_TIMED_OUT // perhaps it was made
		if errors.Is(err, errNotLeading) {
			code = wirepb.Code_TRY_LATER
		}
		m.replyError(c, req, code, "%v", err)
		return
	}
	b, err := json.Marshal(res)
	if err != nil {
		m.replyError(c, req, wirepb.Code_INTERNAL, "encode the outcome: %v", err)
		return
	}
	m.reply(c, req, &wire.Message{Header: &wirepb.Header{
		Epoch: uint64(res.Epoch),
		Body:  &wirepb.Header_MonProposed{MonProposed: &wirepb.MonProposed{Result: b, Epoch: uint64(res.Epoch)}},
	}})
}

// forward passes a request on to the leader; one from another monitor has been
// passed on already.
func (m *Monitor) forward(c *wire.Conn, req *wire.Message) {
	if fromMonitor(c) {
		m.decline(c, req, "monitor %s does not lead", m.o.Name)
		return
	}
	if req.Header.Tag != 0 {
		m.task(c, req, func(ctx context.Context) { m.passOn(ctx, c, req) })
		return
	}
	peers, addr, err := m.wayToLeader()
	if err == nil {
		err = peers.Send(addr, &wire.Message{Header: &wirepb.Header{Epoch: req.Header.Epoch, Body: req.Header.Body}})
	}
	if err != nil {
		m.log.Debug("message for the leader dropped", "from", c.Peer().Entity, "err", err) // it is repeated
	}
}

func (m *Monitor) wayToLeader() (*wire.Peers, string, error) {
	r, _, _ := m.leadState()
	m.mu.Lock()
	peers := m.peers
	m.mu.Unlock()
	if r == nil || peers == nil {
		return nil, "", errNotLeading
	}
	addr, err := m.leaderAddr(r)
	return peers, addr, err
}

// passOn asks the leader and hands its answer back.
func (m *Monitor) passOn(ctx context.Context, c *wire.Conn, req *wire.Message) {
	ctx, cancel := context.WithTimeout(ctx, forwardTime)
	defer cancel()
	peers, addr, err := m.wayToLeader()
	if err != nil {
		m.decline(c, req, "monitor %s: %v", m.o.Name, err)
		return
	}
	led, stop := m.whileLed(ctx)
	defer stop()
	answer, err := peers.Call(led, addr, &wire.Message{Header: &wirepb.Header{Epoch: req.Header.Epoch, Body: req.Header.Body}})
	var no *wire.Error
	switch {
	case errors.As(err, &no):
		m.replyError(c, req, no.Code, "%s", no.Text)
	case err != nil:
		m.decline(c, req, "monitor %s: ask the leader: %v", m.o.Name, err)
	default:
		// Who reads its own change from this monitor next must find it.
		epoch := placement.Epoch(answer.Header.Epoch)
		wait, enough := context.WithTimeout(ctx, catchUpTime)
		defer enough()
		if err := m.WaitEpoch(wait, epoch); err != nil {
			m.log.Debug("answered ahead of the own map", "epoch", epoch, "err", err)
		}
		if r := answer.Header.GetIdentityReply(); r != nil { // such a change makes no epoch
			if err := m.waitApplied(wait, func(s *fsm.State) bool { return uint64(s.Index()) >= r.Index }); err != nil {
				m.log.Debug("answered ahead of the own state", "index", r.Index, "err", err)
			}
		}
		m.reply(c, req, &wire.Message{Header: &wirepb.Header{Epoch: uint64(epoch), Body: answer.Header.Body}})
	}
}

// handleLeading handles what only the leader can.
func (m *Monitor) handleLeading(c *wire.Conn, req *wire.Message, w *watch) {
	switch b := req.Header.Body.(type) {
	case *wirepb.Header_OsdReport:
		w.report(time.Now(), m.Map(), b.OsdReport)
		m.ack(c, req, m.Map().Epoch)
	case *wirepb.Header_OsdFailure:
		if w.failure(time.Now(), m.Map(), b.OsdFailure) {
			m.wakeLeader()
		}
		m.ack(c, req, m.Map().Epoch)
	case *wirepb.Header_OsdStopping:
		s := b.OsdStopping
		m.change(c, req, &fsm.OSDDown{OSDs: []fsm.Down{{
			ID: placement.OSDID(s.GetId()), Incarnation: s.GetIncarnation(), Reason: fsm.DownStopping,
		}}}, nil)
	case *wirepb.Header_OsdRegister:
		m.register(c, req, b.OsdRegister)
	case *wirepb.Header_OsdBoot:
		m.boot(c, req, b.OsdBoot)
	case *wirepb.Header_PgChange:
		m.change(c, req, pgChange(b.PgChange), nil)
	case *wirepb.Header_ServiceBeacon:
		m.beacon(c, req, w, b.ServiceBeacon)
	case *wirepb.Header_IdentityCall:
		m.task(c, req, func(ctx context.Context) { m.identityCall(ctx, c, req, b.IdentityCall) })
	case *wirepb.Header_TokenKeysGet:
		m.task(c, req, func(ctx context.Context) { m.tokenKeysGet(ctx, c, req) })
	}
}

// change makes a change and answers with answer's body, or an Ack.
func (m *Monitor) change(c *wire.Conn, req *wire.Message, b fsm.Body, answer func(fsm.Result) *wirepb.Header) {
	m.task(c, req, func(context.Context) {
		r, _, _ := m.leadState()
		res, err := m.proposeHere(r, b)
		switch {
		case err != nil:
			// Whoever repeats a change whose outcome is unknown learns what it was.
			m.decline(c, req, "%v", err)
		case res.Code != wirepb.Code_OK:
			m.replyError(c, req, res.Code, "%s", res.Text)
		case answer != nil:
			h := answer(res)
			h.Epoch = uint64(res.Epoch)
			m.reply(c, req, &wire.Message{Header: h})
		default:
			m.ack(c, req, res.Epoch)
		}
	})
}

func (m *Monitor) register(c *wire.Conn, req *wire.Message, q *wirepb.OSDRegister) {
	store, ok := uuidOf(q.GetStore())
	if !ok {
		m.replyError(c, req, wirepb.Code_INVALID, "register an OSD: store UUID of %d bytes, want 16", len(q.GetStore()))
		return
	}
	registered := func(id placement.OSDID) *wirepb.Header {
		u := m.clusterID()
		return &wirepb.Header{Body: &wirepb.Header_OsdRegistered{OsdRegistered: &wirepb.OSDRegistered{Id: int32(id), Cluster: u[:]}}}
	}
	mp := m.Map()
	for i := range mp.OSDs {
		if mp.OSDs[i].Store == store { // ids are for ever, so no need to ask the others
			h := registered(mp.OSDs[i].ID)
			h.Epoch = uint64(mp.Epoch)
			m.reply(c, req, &wire.Message{Header: h})
			return
		}
	}
	m.change(c, req, &fsm.OSDRegister{
		Store: fsm.UUID(store), Class: q.GetClass(), Location: locationOf(q.GetLocation()), Capacity: q.GetCapacity(),
	}, func(res fsm.Result) *wirepb.Header { return registered(res.OSD) })
}

func (m *Monitor) boot(c *wire.Conn, req *wire.Message, q *wirepb.OSDBoot) {
	store, ok := uuidOf(q.GetStore())
	if !ok {
		m.replyError(c, req, wirepb.Code_INVALID, "boot of osd.%d: store UUID of %d bytes, want 16", q.GetId(), len(q.GetStore()))
		return
	}
	m.change(c, req, &fsm.OSDBoot{
		ID: placement.OSDID(q.GetId()), Store: fsm.UUID(store), Incarnation: q.GetIncarnation(), Addr: q.GetAddr(),
		Class: q.GetClass(), Location: locationOf(q.GetLocation()), Capacity: q.GetCapacity(),
	}, nil)
}

func (m *Monitor) beacon(c *wire.Conn, req *wire.Message, w *watch, b *wirepb.ServiceBeacon) {
	if len(b.GetKind()) > fsm.MaxNameBytes || len(b.GetName()) > fsm.MaxNameBytes || len(b.GetAddr()) > fsm.MaxAddrBytes {
		m.replyError(c, req, wirepb.Code_INVALID, "service: kind, name or address is too long")
		return
	}
	body := w.beacon(time.Now(), m.Map(), b)
	if body == nil {
		m.ack(c, req, m.Map().Epoch)
		return
	}
	m.task(c, req, func(context.Context) {
		r, _, _ := m.leadState()
		res, err := m.proposeHere(r, body)
		switch {
		case err != nil:
			m.decline(c, req, "%v", err)
		case res.Code != wirepb.Code_OK:
			w.forget(b.GetKind(), b.GetName())
			m.replyError(c, req, res.Code, "%s", res.Text)
		default:
			m.ack(c, req, res.Epoch)
		}
	})
}

func uuidOf(b []byte) (u placement.UUID, ok bool) {
	return u, copy(u[:], b) == len(u) && len(b) == len(u)
}

func locationOf(parts []*wirepb.LocationPart) []fsm.LocationPart {
	var out []fsm.LocationPart
	for _, p := range parts {
		out = append(out, fsm.LocationPart{Type: p.GetType(), Name: p.GetName()})
	}
	return out
}

func pgChange(q *wirepb.PGChange) *fsm.PGChange {
	c := &fsm.PGChange{
		PG:   fsm.PGID{Pool: placement.PoolID(q.GetPool()), Shard: q.GetShard()},
		Term: placement.Term(q.GetTerm()), Version: placement.Epoch(q.GetVersion()),
		From: placement.OSDID(q.GetFrom()), Primary: placement.OSDID(q.GetPrimary()), Created: q.GetCreated(),
	}
	for _, id := range q.GetInSync() {
		c.InSync = append(c.InSync, placement.OSDID(id))
	}
	return c
}
