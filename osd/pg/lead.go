package pg

import (
	"fmt"
	"slices"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// lead is what a primary knows during one term. A new term starts with a new lead.
type lead struct {
	term      placement.Term
	began     placement.Epoch // the term began with this map, or an earlier one
	since     clock.Mono
	quiet     clock.Mono                     // our own grants have run out (R6)
	granted   map[placement.OSDID]clock.Mono // what they were when the term began
	served    clock.Mono                     // serving since
	tended    clock.Mono                     // a whole advance left nothing to do but to answer clients; zero: it did
	activated bool                           // every in-sync member has our log (R4)
	serving   bool                           // reads and writes are answered
	forced    bool                           // our copy was made the truth, see takeForced
	oldPGNum  uint32                         // of the map in which we led our last term, if we did until this one

	unreadable bool // a peer needs an object that we cannot read

	peers      map[placement.OSDID]*peer
	list       []*peer // of peers, see peerList; empty: to be made
	nextStream uint64
	pushes     map[uint64]*push // by token of the read under way, or by push id while on the wire
	lists      map[uint64]*peer // by token

	committed store.Version
	inflight  []*write   // logged, not committed; in log order
	waiting   []*request // not started
	requests  map[Handle]*request
	byReq     map[reqKey]*request // writes being executed or in flight
	locks     lockTable
	held      []*request // executed, waiting for leases or for what they saw to commit

	pulls   map[string]*pull             // of our own copies, by object
	fetches map[uint64]*pull             // by the id of the fetch under way
	looks   map[uint64]func(LookedEvent) // by token
	pulled  map[string]int               // how often an object was pulled for a peer

	scrubWanted *ScrubEvent // to begin as soon as the PG is quiet
	scrub       *scrubRun
	suspects    []suspect
	check       *check
	mends       map[uint64]*mend // by token of the read under way, or by push id while on the wire

	pending *pending // proposal whose outcome is not known
}

// pending is a proposal. Until the map tells its outcome, both the old and the
// proposed in-sync set must acknowledge writes (R1, R2).
type pending struct {
	change  *wirepb.PGChange
	require []int32 // everybody that this or an earlier attempt may have made a member
	token   uint64
	retry   clock.Mono // zero: an answer is awaited
}

type phase int

// The phases of a peer's stream.
const (
	idle       phase = iota // no stream
	querying                // query sent
	staging                 // objects are being staged for the activation
	activating              // activation sent
	live                    // in-sync and activated
	learning                // catching up
	completing              // has everything, told so
	ready                   // complete: required for commits, to be proposed
)

var phaseNames = [...]string{"idle", "querying", "staging", "activating", "live", "learning", "completing", "ready"}

func (p phase) String() string { return phaseNames[p] }

// peer is the primary's view of a member or learner.
type peer struct {
	id          placement.OSDID
	incarnation uint64
	phase       phase
	stream      uint64
	nOut, nIn   uint64
	acked       uint64 // sequence number up to which its disk has the log
	retryAt     clock.Mono
	silentSince clock.Mono // it owes us an answer since then; zero: it owes none
	leaseless   clock.Mono // reads wait for its lease since then; zero: none does
	roomless    clock.Mono // its store refuses for want of space what it must have, since then; zero: it has what it must
	lost        bool       // a member that says it does not have what it promised to keep

	scrubRev uint64 // what it knows of our scrub notes

	info     *wirepb.PGInfo
	keep     store.Version
	need     map[string]bool // objects it lacks; true: a push is under way
	order    []string        // need, in the order to push
	pushing  int
	staged   [][]byte
	backfill *backfill
	learned  bool           // it has begun to learn
	yields   map[string]int // pushes given up for writes, by object
	pushed   int64          // bytes, for progress
	copied   int64          // objects
	scanned  int64          // objects of ours that a backfill has gone over
	started  clock.Mono

	base     store.Version // see deltas
	deltas   bool          // it is brought by the log from base, and takes what changed within objects
	diverged bool          // it has entries that we do not have: what they changed nobody can tell

	held     hold // why it is not taught now
	removing bool // removals are first in order, see pumpRemovals
	whole    bool // it needs a backfill, as far as we know
	old      bool // it is too full for that, and has an old copy that it could give up
	emptied  bool // it was told to
}

// write is a logged client write on its way to being committed.
type write struct {
	req   *request // nil: a record of the outbox
	lead  *lead    // under which it was logged
	entry *wirepb.LogEntry
	seq   uint64
	local bool // our own disk has it
	ops   []store.Op
	prev  store.Version

	mutations []*wirepb.Mutation // ops for the wire, once a peer needed them
	payload   [][]byte
}

// name is that of the object.
func (w *write) name() string {
	if w.req == nil {
		return string(w.entry.Object)
	}
	return w.req.name
}

// takeLead begins a term as primary.
func (g *Group) takeLead() {
	rec := &g.view.Record
	if !g.cfg.is(AcceptOldTerm) {
		g.fol = follower{}
	}
	g.lead = &lead{
		term: rec.Term, began: rec.Version, since: g.now, granted: g.cfg.Leases.Granted(),
		peers: map[placement.OSDID]*peer{}, pushes: map[uint64]*push{}, lists: map[uint64]*peer{},
		requests: map[Handle]*request{}, byReq: map[reqKey]*request{}, locks: lockTable{},
		committed: g.st.committed,
		pulls:     map[string]*pull{}, fetches: map[uint64]*pull{}, looks: map[uint64]func(LookedEvent){},
		pulled: map[string]int{}, mends: map[uint64]*mend{},
	}
	g.lead.quiet = g.cfg.Leases.QuietAfter(g.lead.granted, g.ended())
	g.believe(g.served)
}

// stepDown ends the term for us. Writes under way may or may not survive in the
// next primary's log; their clients ask again with the same request id.
func (g *Group) stepDown(code wirepb.Code, text string) {
	ld := g.lead
	if ld == nil {
		return
	}
	g.lead = nil
	if ld.serving || g.cfg.is(WordUnserved) {
		g.served = ld.term
	}
	for _, r := range ld.waiting {
		g.reply(r.handles, Reply{Code: code, Text: text})
	}
	handles := make([]Handle, 0, len(ld.requests))
	for h := range ld.requests {
		handles = append(handles, h)
	}
	slices.Sort(handles)
	for _, h := range handles {
		g.reply(ld.requests[h].handles, Reply{Code: code, Text: text})
	}
	// What is in the log may be carried out by whoever leads next: its client must not take this
	// attempt for one that surely did nothing.
	if code != wirepb.Code_NOT_FOUND && !g.cfg.is(SurelyNot) {
		code, text = wirepb.Code_STALE_TERM, fmt.Sprintf("PG %s: term %d ended before the write was committed; the next primary may have it", g.id, ld.term)
	}
	for _, w := range ld.inflight {
		if w.req != nil {
			g.reply(w.req.handles, Reply{Code: code, Text: text})
		}
	}
}

// recordChanged takes in a newer map of the same term.
func (g *Group) recordChanged(old *View) {
	ld := g.lead
	if g.view.Record.Version != old.Record.Version {
		ld.pending = nil // it is in the map, or can never be: the compare-and-set would fail
	}
	for _, p := range g.peerList() {
		now := g.view.Peers[p.id]
		if !now.Up || now.Incarnation != p.incarnation {
			g.breakStream(p)
			p.incarnation = now.Incarnation
			continue
		}
		switch member := g.view.Record.Has(p.id); {
		case member && p.phase == ready:
			p.phase = live
		case member && p.phase >= learning, !member && !g.required(p.id) && p.phase != idle && p.phase < learning:
			g.breakStream(p)
		}
	}
}

// peerList returns the peers in order of their ids.
// It is asked for several times in each step, so it is kept until a peer comes or goes.
func (g *Group) peerList() []*peer {
	ld := g.lead
	if len(ld.list) == 0 && len(ld.peers) > 0 {
		ids := make([]placement.OSDID, 0, len(ld.peers))
		for id := range ld.peers {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		ld.list = make([]*peer, len(ids)) // not the memory of a list that somebody goes through
		for i, id := range ids {
			ld.list[i] = ld.peers[id]
		}
	}
	return ld.list
}

// required reports whether writes need the OSD's acknowledgement: in-sync, or
// proposed to be, or about to be proposed (R1, R2).
func (g *Group) required(id placement.OSDID) bool {
	ld := g.lead
	if g.view.Record.Has(id) {
		return true
	}
	if ld.pending != nil && slices.Contains(ld.pending.require, int32(id)) {
		return true
	}
	p := ld.peers[id]
	return p != nil && p.phase == ready
}

// members lists who besides us is in the in-sync set, or may be for all we know.
func (g *Group) members() []placement.OSDID { return g.appendMembers(nil) }

// appendMembers is members, in the memory of a list that is empty.
func (g *Group) appendMembers(ids []placement.OSDID) []placement.OSDID {
	p := g.lead.pending
	for _, id := range g.view.Record.InSync {
		if g.cfg.is(ShrinkEarly) && p != nil && !slices.Contains(p.require, int32(id)) {
			continue
		}
		if id != g.cfg.Self {
			ids = append(ids, id)
		}
	}
	if p != nil && !g.cfg.is(DropUnion) {
		for _, m := range p.require {
			if id := placement.OSDID(m); id != g.cfg.Self && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// requiredPeers lists whose acknowledgement writes need besides our own: members, and
// learners that are about to be proposed.
func (g *Group) requiredPeers() []placement.OSDID { return g.appendRequired(nil) }

// appendRequired is requiredPeers, in the memory of a list that is empty.
func (g *Group) appendRequired(ids []placement.OSDID) []placement.OSDID {
	ids = g.appendMembers(ids)
	for _, p := range g.peerList() {
		if p.phase == ready && !slices.Contains(ids, p.id) && !g.cfg.is(DropUnion) {
			ids = append(ids, p.id)
		}
	}
	return ids
}

// unfit reports that our own copy is gone or in pieces. We must not pretend that it is
// the truth: by our log, the others would have to throw theirs away.
func (g *Group) unfit() bool {
	return (g.view.Record.Created && !g.exists || !g.st.complete) && !g.cfg.is(UnfitLead)
}

// calm reports that there is nothing to do but to answer clients, until something else happens than their requests,
// or time passes.
func (g *Group) calm() bool {
	ld := g.lead
	if !ld.serving || ld.pending != nil || len(ld.pulls) > 0 || ld.check != nil || len(ld.suspects) > 0 || ld.scrub != nil || ld.scrubWanted != nil {
		return false
	}
	for _, p := range g.peerList() {
		if p.phase != live || p.roomless != 0 || g.scrubs.rev != 0 && p.scrubRev != g.scrubs.rev {
			return false
		}
	}
	return true
}

// routine reports that an event is part of a client's request or of what it takes.
func routine(ev Event) bool {
	switch ev := ev.(type) {
	case *OpEvent, OpEvent, *ExecutedEvent, ExecutedEvent, *PersistedEvent, PersistedEvent:
		return true
	case *MsgEvent:
		return ev.Msg.GetAcked() != nil
	case MsgEvent:
		return ev.Msg.GetAcked() != nil
	}
	return false
}

// advance does whatever has become possible. It runs after every event.
func (g *Group) advance() {
	// Most events are routine, and leave nothing but their requests to be looked after. What else time brings about is
	// found out with a tick, or here as soon as one would have been due.
	if ld := g.lead; g.routine && ld.tended != 0 && g.now < ld.tended.Add(g.cfg.RetryAfter) && g.calm() {
		g.commit()
		g.releaseHeld()
		g.startWaiting()
		g.wake()
		return
	}
	defer g.noteCalm()
	g.takeForced()
	if g.unfit() {
		g.abdicate()
		g.expireWaiting()
		g.wake()
		return
	}
	if ld := g.lead; !ld.serving { // who acts on our map by now, we need not wait for
		ld.quiet = min(ld.quiet, g.cfg.Leases.QuietAfter(ld.granted, g.ended()))
	}
	g.tendPeers()
	g.activate()
	g.commit()
	g.serve()
	g.tendPulls()
	g.tendCheck()
	g.tendScrub()
	g.tendScrubNotes()
	for _, p := range g.peerList() {
		if p.phase == learning || p.phase == staging {
			g.pump(p)
		}
	}
	g.propose()
	g.commit()
	g.releaseHeld()
	g.startWaiting()
	g.wake()
}

// noteCalm lets the routine events that follow do without what a whole advance has just looked after.
func (g *Group) noteCalm() {
	ld := g.lead
	if ld.tended = 0; !g.unfit() && g.calm() {
		ld.tended = g.now
	}
}

// tendPeers opens streams to members and to the targets that are not members yet.
func (g *Group) tendPeers() {
	ld := g.lead
	var room [8]placement.OSDID // the usual number needs no memory
	ids := room[:0]
	add := func(id placement.OSDID) {
		if id != g.cfg.Self && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, id := range g.view.Record.InSync {
		add(id)
	}
	if ld.serving || g.stuck() {
		for _, id := range g.view.Target {
			if g.view.up(id) {
				add(id)
			}
		}
	}
	slices.Sort(ids)
	for _, p := range g.peerList() {
		if !slices.Contains(ids, p.id) && !g.required(p.id) {
			g.breakStream(p)
			delete(ld.peers, p.id)
			ld.list = nil
		}
	}
	for _, id := range ids {
		p := ld.peers[id]
		if p == nil {
			p = &peer{id: id, incarnation: g.view.Peers[id].Incarnation}
			ld.peers[id], ld.list = p, nil
		}
		patience := 3 * g.cfg.AckTimeout
		if p.phase == ready {
			patience = g.cfg.AckTimeout // writes wait for it
		}
		since := p.silentSince
		if p.phase == live {
			since = max(since, p.started) // it may be long since it was last heard of, before this stream
		}
		if p.phase != idle && p.silentSince != 0 && g.now.Sub(since) > patience {
			// Whatever it was to answer is lost. For a member the clock runs on (dead), but the set may
			// be unable to lose it, or the monitors out of reach; a learner gets a fresh start.
			g.breakStream(p)
			if !g.view.Record.Has(id) {
				p.silentSince = 0
			}
		}
		g.restrain(p)
		if p.held == heldFull && g.fullness(id) < placement.BackfillFull {
			p.retryAt = min(p.retryAt, g.now) // it has space, and waits for a slot only
		}
		if p.phase == idle && g.view.up(id) && g.now >= p.retryAt && (g.required(id) || g.mayTeach(p)) {
			g.query(p)
		}
		if p.phase == idle && g.view.Record.Has(id) && p.silentSince == 0 {
			p.silentSince = g.now
		}
	}
}

// query starts a new stream to a peer.
func (g *Group) query(p *peer) {
	ld := g.lead
	ld.nextStream++
	*p = p.fresh()
	p.phase, p.stream, p.started, p.held = querying, ld.nextStream, g.now, notHeld
	g.send(p, &wirepb.PGMsg_Query{Query: &wirepb.PGQuery{}}, nil)
}

// breakStream gives up a stream; tendPeers starts the next one.
func (g *Group) breakStream(p *peer) {
	if p.phase == idle {
		return
	}
	g.dropPushes(p)
	*p = p.fresh()
	p.retryAt = g.now.Add(g.cfg.RetryAfter)
	if p.silentSince == 0 && g.view.Record.Has(p.id) {
		p.silentSince = g.now
	}
}

// fresh returns the peer without a stream, with what outlives one.
func (p *peer) fresh() peer {
	return peer{id: p.id, incarnation: p.incarnation, silentSince: p.silentSince, leaseless: p.leaseless, roomless: p.roomless, lost: p.lost, held: p.held, whole: p.whole, old: p.old, emptied: p.emptied}
}

// send puts a message on a peer's stream.
func (g *Group) send(p *peer, body any, payload [][]byte) {
	m := &wirepb.PGMsg{}
	setBody(m, body)
	g.number(p, m)
	g.fx.Send = append(g.fx.Send, Out{To: p.id, Msg: m, Payload: payload})
}

// number gives a message its place on a peer's stream.
func (g *Group) number(p *peer, m *wirepb.PGMsg) {
	p.nOut++
	if p.silentSince == 0 {
		p.silentSince = g.now
	}
	g.address(m, g.lead.term, p.stream, p.nOut)
}

// fromPeer handles a message on a peer's stream.
func (g *Group) fromPeer(ev MsgEvent) {
	m := ev.Msg
	p := g.lead.peers[ev.From]
	if p == nil || p.phase == idle || m.Stream != p.stream || m.N <= p.nIn {
		return
	}
	if m.GetReject() != nil || m.N != p.nIn+1 {
		if m.GetReject().GetBusy() {
			g.holdBack(p, heldSlot)
			return
		}
		if m.GetReject().GetFull() && p.roomless == 0 && !g.cfg.is(AwaitRoom) {
			p.roomless = g.now // not forgotten until it has everything: it answers, and would be waited for for ever
		}
		g.breakStream(p)
		return
	}
	p.nIn = m.N
	p.silentSince = g.now
	switch {
	case m.GetInfo() != nil && p.phase == querying:
		g.onInfo(p, m.GetInfo())
	case m.GetActivated() != nil && p.phase == activating:
		p.phase = ready
		if g.view.Record.Has(p.id) {
			p.phase = live
		}
		p.acked = max(p.acked, p.keep.Seq)
	case m.GetAcked() != nil:
		p.acked = max(p.acked, m.GetAcked().GetPos().GetSeq())
	case m.GetPushed() != nil:
		g.onPushed(p, m.GetPushed())
	case m.GetFetched() != nil:
		g.onFetched(p, m.GetFetched(), ev.Payload)
	case m.GetScrubPage() != nil:
		g.onScrubPage(p.id, m.GetScrubPage())
	case m.GetScrubNoted() != nil:
	case m.GetLearned() != nil:
		p.learned, p.deltas = true, p.backfill == nil && !p.diverged && m.GetLearned().Deltas
	case m.GetScanned() != nil && p.phase == learning:
		g.onScanned(p, m.GetScanned())
	case m.GetCompleted() != nil && p.phase == completing:
		p.phase = ready
		p.acked = max(p.acked, m.GetCompleted().GetPos().GetSeq())
	default:
		g.breakStream(p)
		return
	}
	if (p.phase == live || p.phase == ready) && p.acked >= g.log.head().Seq || p.phase == learning && p.nIn == p.nOut {
		p.silentSince = 0 // each message has one answer
	}
	if (p.phase == live || p.phase == ready) && p.acked >= g.log.head().Seq {
		p.roomless = 0
	}
}

// onInfo compares a peer's log with ours and decides how to bring it here (R4).
func (g *Group) onInfo(p *peer, info *wirepb.PGInfo) {
	p.info, p.lost = info, false
	g.believe(placement.Term(info.Led))
	if g.required(p.id) {
		// Also a learner whose membership is proposed: it is complete, and every write since
		// then needed its acknowledgement, so it only lacks writes in flight. Teaching it anew
		// would make it incomplete at the moment the monitors may make it a member.
		g.bringMember(p)
	} else {
		g.bringLearner(p)
	}
}

// common returns the last position where the peer's log and ours agree. Up to its
// committed watermark they do; behind it, entries are equal when their positions are.
// diverged are the peer's entries behind that.
func (g *Group) common(info *wirepb.PGInfo) (keep store.Version, diverged []*wirepb.LogEntry) {
	keep = fromPos(info.Committed)
	for i, e := range info.Entries {
		pos := entryPos(e)
		if pos.Seq > g.log.tail.Seq && !g.log.has(pos) {
			return keep, info.Entries[i:]
		}
		keep = pos // equal, or so old that only a committed entry can be there
	}
	return keep, nil
}

// bringMember gives an in-sync member our log, exactly.
func (g *Group) bringMember(p *peer) {
	ld := g.lead
	info := p.info
	if g.view.Record.Created && (!info.Exists || info.Backfilling || fromPos(info.CompleteTo) != fromPos(info.Head)) {
		// It must leave the set before it may come back as a learner. Perhaps it is a pending
		// newcomer that has erased its copy: it waits for the outcome then.
		g.refuse(p)
		return
	}
	keep, diverged := g.common(info)
	if ld.activated {
		g.resume(p, keep, diverged)
		return
	}
	p.keep = keep
	p.need, p.order = map[string]bool{}, nil
	if g.cfg.is(KeepTail) {
		diverged = nil
	}
	for _, entries := range [][]*wirepb.LogEntry{diverged, g.log.after(keep.Seq)} {
		for _, e := range entries {
			g.addNeed(p, string(e.Object))
		}
	}
	p.phase = staging
	g.pump(p)
}

// refuse leaves a member alone that has not got what it promised to keep: none of its
// answers count.
func (g *Group) refuse(p *peer) {
	p.phase, p.lost = idle, true
	p.retryAt = g.now.Add(g.cfg.AckTimeout)
}

// resume continues with a member whose stream broke during our term: all it can
// lack are writes in flight, and we still have those whole.
func (g *Group) resume(p *peer, keep store.Version, diverged []*wirepb.LogEntry) {
	if len(diverged) > 0 || keep.Seq < g.lead.committed.Seq {
		g.refuse(p) // impossible for a member that was activated in this term
		return
	}
	p.keep, p.acked, p.phase = keep, keep.Seq, activating
	g.send(p, &wirepb.PGMsg_Activate{Activate: &wirepb.PGActivate{Keep: toPos(keep), Committed: toPos(g.lead.committed)}}, nil)
	for _, w := range g.lead.inflight {
		if w.seq > keep.Seq {
			g.replicate(p, w)
		}
	}
}

// sendActivate follows once everything a member needs is staged with it.
func (g *Group) sendActivate(p *peer) {
	entries := g.log.after(p.keep.Seq)
	g.send(p, &wirepb.PGMsg_Activate{Activate: &wirepb.PGActivate{
		Keep: toPos(p.keep), Entries: entries, Staged: p.staged, Committed: toPos(g.lead.committed),
	}}, nil)
	p.phase = activating
	p.keep = g.log.head()
	p.need, p.order, p.staged = nil, nil, nil
}

// activate ends peering once every in-sync member has our log on its disk, and so have we.
func (g *Group) activate() {
	ld := g.lead
	if ld.activated || g.lastPersist != g.donePersist || len(ld.pulls) > 0 {
		return // a pull that began before there were locks must end before clients come
	}
	for _, id := range g.view.Record.InSync {
		if id == g.cfg.Self {
			continue
		}
		if p := ld.peers[id]; p == nil || p.phase != live {
			return
		}
	}
	if !g.exists {
		ops := g.opsForget()
		g.exists, g.st.scan = true, false
		g.persist(append(ops, g.opState()), nil)
		return
	}
	for _, p := range g.peerList() {
		if p.phase == learning || p.phase == completing {
			g.breakStream(p) // its pushes have no locks, see stuck
		}
	}
	ld.activated = true
	ld.committed = g.log.head() // every member has it: the tail is committed again in our term
	g.st.committed = ld.committed
}

// serve opens the PG for clients once it is activated, recorded as created, and our own grants have run out.
func (g *Group) serve() {
	ld := g.lead
	if !ld.serving && ld.activated && g.view.Record.Created && (g.now >= ld.quiet || g.cfg.is(ServeEarly)) {
		ld.serving, ld.served = true, g.now
		g.tendPeers()
	}
}

// wake says when the next TickEvent is due.
func (g *Group) wake() {
	ld := g.lead
	quiet := ld.serving && ld.pending == nil && len(ld.inflight) == 0 && len(ld.held) == 0 && len(ld.waiting) == 0
	quiet = quiet && len(ld.pulls) == 0 && ld.check == nil && len(ld.suspects) == 0 && ld.scrub == nil && ld.scrubWanted == nil
	for _, p := range g.peerList() {
		quiet = quiet && p.phase == live
	}
	if quiet {
		_, _, moves := g.nextMove()
		quiet = !moves
	}
	switch at, ok := g.homeAt(); {
	case !quiet:
		g.fx.Wake = g.now.Add(g.cfg.RetryAfter)
	case ok:
		g.fx.Wake = max(at, g.now.Add(g.cfg.RetryAfter))
	}
}

// ended returns the epoch of a map with which all earlier terms have ended: whoever acts on it leads none of them.
func (g *Group) ended() placement.Epoch {
	if g.cfg.is(AnyActs) {
		return 1
	}
	return g.lead.began
}
