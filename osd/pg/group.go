package pg

import (
	"errors"
	"slices"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// Group is one PG on one OSD. It is not safe for concurrent use.
type Group struct {
	cfg  Config
	id   placement.PGID
	view View

	exists bool // the store holds this PG
	st     state
	log    pgLog

	lead   *lead          // not nil while the view names us primary
	served placement.Term // the last term that we led and served since the daemon began
	shares shares
	cursor cursor // of the backfill that makes our copy complete
	fol    follower
	split  *split    // not nil while our copy is being divided
	held   bool      // our copy may still have to be split off from another PG's
	asked  *MsgEvent // the primary's newest question, to be answered when our copy is ready
	scrubs scrubs

	damaged string // not empty: what is wrong with what the store holds of the PG

	now     clock.Mono
	routine bool // the event of this Step is, see advance
	fx      Effects
	room    Effects // empty slices for the next, see Recycle

	lastPersist, donePersist uint64
	busySince                clock.Mono // the disk owes us an answer, and has given none since
	afterPersist             []deferred
	ran                      int  // how many of them have been run
	stopped                  bool // the store failed; the driver is about to stop the OSD
	tokens                   uint64
}

// deferred is what waits until a batch is durable. The two kinds that each write needs are no functions,
// which would cost memory for each.
type deferred struct {
	id    uint64
	run   func() // nil: one of the others
	write *write // it is on our disk
	ack   ack    // to be sent
}

func (g *Group) run(d *deferred) {
	switch {
	case d.run != nil:
		d.run()
	case d.write != nil:
		g.wrote(d.write)
	default:
		g.acknowledge(&d.ack)
	}
}

// New returns the group as the store holds it; a PG the store does not know is
// empty. It fails when what the store holds of it is damaged or of a newer format.
func New(cfg Config, id placement.PGID, r store.Reader) (*Group, error) {
	cfg.refuseMutants()
	g := &Group{cfg: cfg.withDefaults(), id: id, scrubs: noScrubs()}
	g.st.complete = true
	return g, g.loadOrLose(r)
}

// ID returns the PG's id.
func (g *Group) ID() placement.PGID { return g.id }

// Step applies one event at time now and returns what the driver must do. It never blocks.
func (g *Group) Step(now clock.Mono, ev Event) Effects {
	g.now = now
	g.fx, g.room = g.room, Effects{}
	if g.stopped {
		return g.fx
	}
	g.routine = routine(ev)
	switch ev := ev.(type) {
	case *MsgEvent:
		g.onMsg(*ev)
	case *OpEvent:
		g.onOp(ev)
	case *ExecutedEvent:
		g.onExecuted(ev)
	case *PersistedEvent:
		g.onPersisted(*ev)
	case MapEvent:
		g.onMap(ev.View)
	case MsgEvent:
		g.onMsg(ev)
	case ResetEvent:
		g.onReset(ev.Peer)
	case OpEvent:
		g.onOp(&ev)
	case ExecutedEvent:
		g.onExecuted(&ev)
	case PersistedEvent:
		g.onPersisted(ev)
	case ReadEvent:
		g.onRead(ev)
	case LookedEvent:
		g.onLooked(ev)
	case ScrubEvent:
		g.onScrubEvent(ev)
	case ListedEvent:
		g.onListed(ev)
	case ProposedEvent:
		g.onProposed(ev)
	case TickEvent:
	}
	g.proceed()
	return g.fx
}

// recycleMax bounds the memory that a group keeps for its next effects.
const recycleMax = 16

// Recycle gives the memory of effects back that were carried out, for those of the group's next Step. Nobody
// may use their slices any more; what the elements point to is not touched. It need not be called.
func (g *Group) Recycle(fx *Effects) {
	g.room = Effects{Persist: empty(fx.Persist), Send: empty(fx.Send), Reply: empty(fx.Reply), Exec: empty(fx.Exec)}
}

func empty[T any](s []T) []T {
	if cap(s) > recycleMax {
		return nil
	}
	clear(s)
	return s[:0]
}

// proceed does whatever has become possible.
func (g *Group) proceed() {
	switch {
	case g.waits() && !(g.cfg.is(LeadUnsplit) && g.lead != nil):
		g.splitOn()
	case g.lead != nil:
		g.advance()
	}
	g.share()
}

func (g *Group) onMap(v View) {
	if v.Epoch <= g.view.Epoch {
		return
	}
	old := g.view
	g.view = v
	if !v.Exists {
		g.stepDown(wirepb.Code_NOT_FOUND, "the pool was removed")
		if g.exists {
			g.erase()
		}
		g.fx.Forget = true
		return
	}
	if (v.Record.Term != old.Record.Term || v.Record.Primary != old.Record.Primary) && !g.cfg.is(AcceptOldTerm) {
		g.fol = follower{} // whatever an older primary had begun is over
	}
	leads := v.Record.Primary == g.cfg.Self
	switch {
	case !leads:
		g.stepDown(wirepb.Code_WRONG_PRIMARY, "")
	case g.lead == nil || g.lead.term != v.Record.Term:
		led := g.lead != nil
		g.stepDown(wirepb.Code_TRY_LATER, "the PG is peering")
		g.takeLead()
		if led {
			g.lead.oldPGNum = old.PGNum
		}
	default:
		g.recordChanged(&old)
	}
	g.keepUp()
	if !leads && g.stray() {
		g.erase()
	}
}

// stray reports whether our copy is of no use to anybody: the set that has every
// acknowledged write is whole and up without us, and CRUSH does not want us either.
func (g *Group) stray() bool {
	v := &g.view
	if !g.exists && g.damaged == "" || g.waits() || v.Record.Has(g.cfg.Self) || slices.Contains(v.Target, g.cfg.Self) || len(v.Record.InSync) < v.Size {
		return false
	}
	for _, m := range v.Record.InSync {
		if !v.up(m) {
			return false
		}
	}
	return true
}

// erase removes everything the store holds of the PG.
func (g *Group) erase() {
	if g.fol.stream > 0 && !g.fol.broken && g.view.Exists {
		g.reject("copy removed") // a primary with an older map may be teaching us
	}
	ops := g.opsUnsplit()
	g.exists, g.split, g.damaged = false, nil, ""
	g.st = state{complete: true, pgNum: g.view.PGNum}
	g.log = pgLog{}
	g.fol, g.scrubs = follower{}, noScrubs()
	for _, sp := range []store.Space{store.Objects, store.Staging, store.Meta} {
		ops = append(ops, store.Op{Kind: store.OpRemoveSpace, Key: store.Key{PG: g.id, Space: sp}})
	}
	g.persist(ops, nil)
}

// persist queues a batch; done runs when it is durable.
func (g *Group) persist(ops []store.Op, done func()) {
	g.submit(ops)
	if done != nil {
		g.afterPersist = append(g.afterPersist, deferred{id: g.lastPersist, run: done})
	}
}

// submit queues a batch.
func (g *Group) submit(ops []store.Op) {
	if g.lastPersist == g.donePersist {
		g.busySince = g.now
	}
	g.lastPersist++
	g.fx.Persist = append(g.fx.Persist, Persist{ID: g.lastPersist, Ops: ops, Reserve: true})
}

// durable runs fn once everything persisted so far is durable, now if it is.
func (g *Group) durable(fn func()) {
	if g.lastPersist == g.donePersist {
		fn()
		return
	}
	g.afterPersist = append(g.afterPersist, deferred{id: g.lastPersist, run: fn})
}

func (g *Group) onPersisted(ev PersistedEvent) {
	if ev.Err != nil {
		// What memory says of the PG no longer matches the disk. Nothing that follows may be
		// acknowledged; the driver stops the OSD and the others go on without it.
		//
		// A member or learner without space starts over from what is on its disk, as after a restart:
		// it has acknowledged nothing else. A primary cannot: it may have given others positions that
		// its disk does not know, and would give them again.
		g.stopped = true
		if errors.Is(ev.Err, store.ErrNoSpace) && g.lead == nil {
			g.fx.Reload = true
			if g.fol.stream > 0 && !g.fol.broken {
				g.rejectFull()
			}
		} else {
			g.fx.Failed = ev.Err
		}
		g.stepDown(wirepb.Code_TRY_LATER, "the OSD's store failed")
		g.fol = follower{}
		return
	}
	g.donePersist, g.busySince = ev.ID, g.now
	for g.ran < len(g.afterPersist) && g.afterPersist[g.ran].id <= ev.ID {
		d := g.afterPersist[g.ran]
		g.afterPersist[g.ran] = deferred{}
		g.ran++
		g.run(&d)
	}
	if 2*g.ran >= len(g.afterPersist) { // the memory is used again
		g.afterPersist = g.afterPersist[:copy(g.afterPersist, g.afterPersist[g.ran:])]
		g.ran = 0
	}
}

func (g *Group) onMsg(ev MsgEvent) {
	m := ev.Msg
	rec := &g.view.Record
	term := placement.Term(m.Term)
	if g.cfg.is(AcceptOldTerm) && g.view.Exists && term < rec.Term && m.GetReplicate() != nil {
		g.onOldTerm(ev)
		return
	}
	switch {
	case !g.view.Exists || term > rec.Term:
		// The driver waits for the sender's map before it delivers, so this is a message
		// for a pool that has gone, or from a sender that is ahead of its own map.
	case term < rec.Term:
		if m.GetReject() == nil {
			g.fx.Send = append(g.fx.Send, Out{To: ev.From, Msg: g.msg(term, m.Stream, 0,
				&wirepb.PGMsg_Reject{Reject: &wirepb.PGReject{Term: uint32(rec.Term), Why: "stale term"}})})
		}
	case rec.Primary == g.cfg.Self:
		if g.lead != nil {
			g.fromPeer(ev)
		}
	case rec.Primary == ev.From && g.waits() && (g.held || !g.cfg.is(FollowUnsplit)):
		g.holdQuery(ev)
	case rec.Primary == ev.From:
		g.fromPrimary(ev)
	}
}

func (g *Group) onReset(peer placement.OSDID) {
	if ld := g.lead; ld != nil {
		if p := ld.peers[peer]; p != nil {
			g.breakStream(p)
		}
		return
	}
	if peer == g.view.Record.Primary && g.fol.stream > 0 && !g.fol.broken {
		g.reject("connection lost")
	}
}

func (g *Group) msg(term placement.Term, stream, n uint64, body any) *wirepb.PGMsg {
	m := &wirepb.PGMsg{}
	g.address(m, term, stream, n)
	setBody(m, body)
	return m
}

// address fills in whom a message is from and where in which stream it stands.
func (g *Group) address(m *wirepb.PGMsg, term placement.Term, stream, n uint64) {
	m.Pool, m.Shard, m.From = uint32(g.id.Pool), g.id.Shard, int32(g.cfg.Self)
	m.Term, m.Stream, m.N = uint32(term), stream, n
}

func (g *Group) token() uint64 { g.tokens++; return g.tokens }
