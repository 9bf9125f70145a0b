package pg

import (
	"slices"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// lead is what a primary knows during one term. A new term starts with a new lead.
type lead struct {
	term      placement.Term
	since     clock.Mono
	quiet     clock.Mono // our own grants have run out (R6)
	activated bool       // every in-sync member has our log (R4)
	serving   bool       // reads and writes are answered

	unreadable bool // a peer needs an object that we cannot read

	peers      map[placement.OSDID]*peer
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
	lost        bool       // a member that says it does not have what it promised to keep

	info     *wirepb.PGInfo
	keep     store.Version
	need     map[string]bool // objects it lacks; true: a push is under way
	order    []string        // need, in the order to push
	pushing  int
	staged   [][]byte
	backfill *backfill
	pushed   int64 // bytes, for progress
	started  clock.Mono
}

// write is a logged client write on its way to being committed.
type write struct {
	req   *request
	entry *wirepb.LogEntry
	seq   uint64
	local bool // our own disk has it
	ops   []store.Op
	prev  store.Version
}

// takeLead begins a term as primary.
func (g *Group) takeLead() {
	rec := &g.view.Record
	if !g.cfg.is(acceptOldTerm) {
		g.fol = follower{}
	}
	g.lead = &lead{
		term: rec.Term, since: g.now, quiet: g.cfg.Leases.QuietAfter(),
		peers: map[placement.OSDID]*peer{}, pushes: map[uint64]*push{}, lists: map[uint64]*peer{},
		requests: map[Handle]*request{}, byReq: map[reqKey]*request{}, locks: lockTable{},
		committed: g.st.committed,
	}
}

// stepDown ends the term for us. Writes under way may or may not survive in the
// next primary's log; their clients ask again with the same request id.
func (g *Group) stepDown(code wirepb.Code, text string) {
	ld := g.lead
	if ld == nil {
		return
	}
	g.lead = nil
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
func (g *Group) peerList() []*peer {
	ids := make([]placement.OSDID, 0, len(g.lead.peers))
	for id := range g.lead.peers {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	ps := make([]*peer, len(ids))
	for i, id := range ids {
		ps[i] = g.lead.peers[id]
	}
	return ps
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
func (g *Group) members() []placement.OSDID {
	var ids []placement.OSDID
	p := g.lead.pending
	for _, id := range g.view.Record.InSync {
		if g.cfg.is(shrinkEarly) && p != nil && !slices.Contains(p.require, int32(id)) {
			continue
		}
		if id != g.cfg.Self {
			ids = append(ids, id)
		}
	}
	if p != nil && !g.cfg.is(dropUnion) {
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
func (g *Group) requiredPeers() []placement.OSDID {
	ids := g.members()
	for _, p := range g.peerList() {
		if p.phase == ready && !slices.Contains(ids, p.id) && !g.cfg.is(dropUnion) {
			ids = append(ids, p.id)
		}
	}
	return ids
}

// unfit reports that our own copy is gone or in pieces. We must not pretend that it is
// the truth: by our log, the others would have to throw theirs away.
func (g *Group) unfit() bool {
	return (g.view.Record.Created && !g.exists || !g.st.complete) && !g.cfg.is(unfitLead)
}

// advance does whatever has become possible. It runs after every event.
func (g *Group) advance() {
	if g.unfit() {
		g.abdicate()
		g.expireWaiting()
		g.wake()
		return
	}
	g.tendPeers()
	g.activate()
	g.commit()
	g.serve()
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

// tendPeers opens streams to members and to the targets that are not members yet.
func (g *Group) tendPeers() {
	ld := g.lead
	want := map[placement.OSDID]bool{}
	for _, id := range g.view.Record.InSync {
		want[id] = true
	}
	if ld.serving || g.stuck() {
		for _, id := range g.view.Target {
			if g.view.up(id) {
				want[id] = true
			}
		}
	}
	delete(want, g.cfg.Self)
	for _, p := range g.peerList() {
		if !want[p.id] && !g.required(p.id) {
			g.breakStream(p)
			delete(ld.peers, p.id)
		}
	}
	ids := make([]placement.OSDID, 0, len(want))
	for id := range want {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		p := ld.peers[id]
		if p == nil {
			p = &peer{id: id, incarnation: g.view.Peers[id].Incarnation}
			ld.peers[id] = p
		}
		patience := 3 * g.cfg.AckTimeout
		if p.phase == ready {
			patience = g.cfg.AckTimeout // writes wait for it
		}
		if p.phase != idle && p.phase != live && p.silentSince != 0 && g.now.Sub(p.silentSince) > patience {
			// Whatever it was to answer is lost. For a member the clock runs on (dead); a
			// learner gets a fresh start.
			g.breakStream(p)
			if !g.view.Record.Has(id) {
				p.silentSince = 0
			}
		}
		if p.phase == idle && g.view.up(id) && g.now >= p.retryAt {
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
	p.phase, p.stream, p.started = querying, ld.nextStream, g.now
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
	return peer{id: p.id, incarnation: p.incarnation, silentSince: p.silentSince, leaseless: p.leaseless, lost: p.lost}
}

// send puts a message on a peer's stream.
func (g *Group) send(p *peer, body any, payload [][]byte) {
	p.nOut++
	if p.silentSince == 0 {
		p.silentSince = g.now
	}
	g.fx.Send = append(g.fx.Send, Out{To: p.id, Msg: g.msg(g.lead.term, p.stream, p.nOut, body), Payload: payload})
}

// fromPeer handles a message on a peer's stream.
func (g *Group) fromPeer(ev MsgEvent) {
	m := ev.Msg
	p := g.lead.peers[ev.From]
	if p == nil || p.phase == idle || m.Stream != p.stream || m.N <= p.nIn {
		return
	}
	if m.GetReject() != nil || m.N != p.nIn+1 {
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
	case m.GetLearned() != nil:
	case m.GetScanned() != nil && p.phase == learning:
		g.onScanned(p, m.GetScanned())
	case m.GetCompleted() != nil && p.phase == completing:
		p.phase = ready
		p.acked = max(p.acked, m.GetCompleted().GetPos().GetSeq())
	default:
		g.breakStream(p)
		return
	}
	if (p.phase == live || p.phase == ready) && p.acked >= g.log.head().Seq {
		p.silentSince = 0
	}
}

// onInfo compares a peer's log with ours and decides how to bring it here (R4).
func (g *Group) onInfo(p *peer, info *wirepb.PGInfo) {
	p.info, p.lost = info, false
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
	if g.cfg.is(keepTail) {
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
	if ld.activated || g.lastPersist != g.donePersist {
		return
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
		g.exists = true
		g.persist([]store.Op{g.opState()}, nil)
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
	if !ld.serving && ld.activated && g.view.Record.Created && (g.now >= ld.quiet || g.cfg.is(serveEarly)) {
		ld.serving = true
		g.tendPeers()
	}
}

// dead reports whether a member should leave the in-sync set: the map says it is
// down, it has lost its copy, or it has owed us an answer or a lease for too long.
func (g *Group) dead(id placement.OSDID) bool {
	if !g.view.up(id) {
		return true
	}
	p := g.lead.peers[id]
	late := func(since clock.Mono) bool { return since != 0 && g.now.Sub(since) > g.cfg.AckTimeout }
	return p != nil && (p.lost || late(p.silentSince) || late(p.leaseless))
}

// dispensable reports whether the set may lose a member.
func (g *Group) dispensable() bool {
	return len(g.view.Record.InSync)-1 >= max(1, g.view.MinSize)
}

// stuck reports that peering cannot end: a member is dead, and the set may not lose it.
// Perhaps it never returns. So that the last copies do not wait for ever, we teach the
// targets already, before there is anything to serve: with one more member the dead one
// may go. Nothing changes meanwhile, so that pushes need no locks.
func (g *Group) stuck() bool {
	if g.lead.activated || !g.view.Record.Created || g.dispensable() || g.cfg.is(waitForDead) {
		return false
	}
	for _, id := range g.view.Record.InSync {
		if id != g.cfg.Self && g.dead(id) {
			return true
		}
	}
	return false
}

// abdicateAfter is how many RetryAfter an unfit primary waits before it passes the PG on:
// should there be no fit member at all, terms must not rise by the thousand.
const abdicateAfter = 10

// abdicate hands the PG to the next member that is up.
func (g *Group) abdicate() {
	ld, set := g.lead, g.view.Record.InSync
	if ld.pending != nil || g.now.Sub(ld.since) < abdicateAfter*g.cfg.RetryAfter {
		g.repropose()
		return
	}
	self := slices.Index(set, g.cfg.Self)
	for i := range set {
		if id := set[(self+1+i)%len(set)]; id != g.cfg.Self && g.view.up(id) {
			g.change(set, id)
			return
		}
	}
}

// repropose sends a pending proposal again when it is time to.
func (g *Group) repropose() {
	if pd := g.lead.pending; pd != nil && pd.retry != 0 && g.now >= pd.retry {
		pd.token, pd.retry = g.token(), 0
		g.fx.Propose = &Proposal{Token: pd.token, Change: pd.change}
	}
}

// propose asks the monitors for the next change of the record, one at a time (R2).
func (g *Group) propose() {
	ld := g.lead
	if ld.pending != nil {
		g.repropose()
		return
	}
	rec := &g.view.Record
	if id := g.relief(); id != placement.NoOSD {
		g.change(rec.InSync, id)
		return
	}
	if id := g.leaver(); id != placement.NoOSD && g.dispensable() {
		g.change(without(rec.InSync, id), g.cfg.Self)
		return
	}
	if ld.activated && !rec.Created {
		g.change(rec.InSync, g.cfg.Self)
		return
	}
	if !ld.activated && !g.stuck() {
		return
	}
	for _, p := range g.peerList() {
		// Its acknowledgements count since it became ready; only when they cover everything that
		// was committed before may others rely on it. Nor must reads wait for its first lease.
		if p.phase == ready && p.acked >= ld.committed.Seq && !rec.Has(p.id) && g.grants(p.id) {
			g.change(g.inTargetOrder(append(slices.Clone(rec.InSync), p.id)), g.cfg.Self)
			return
		}
	}
	g.proposeMove()
}

// servedLong is how many AckTimeout a primary serves before it hands over for the sake of
// an object that it cannot read: should nobody be able to, the PG must not wander about.
const servedLong = 20

// relief returns who should lead instead of us because our disk does not answer, or cannot
// give us what a peer needs; or NoOSD. Nobody else could tell: we are up, and the others owe
// us nothing.
func (g *Group) relief() placement.OSDID {
	ld := g.lead
	hangs := g.lastPersist != g.donePersist && g.now.Sub(g.busySince) > 2*g.cfg.AckTimeout
	patience := abdicateAfter * g.cfg.RetryAfter
	if ld.activated {
		patience = servedLong * g.cfg.AckTimeout
	}
	if !hangs && !(ld.unreadable && g.now.Sub(ld.since) > patience) {
		return placement.NoOSD
	}
	for _, id := range g.view.Record.InSync {
		if id != g.cfg.Self && !g.dead(id) {
			return id
		}
	}
	return placement.NoOSD
}

// leaver returns the member that should leave the set first, or NoOSD.
func (g *Group) leaver() placement.OSDID {
	first := placement.NoOSD
	for _, id := range g.view.Record.InSync {
		if id == g.cfg.Self || !g.dead(id) {
			continue
		}
		if p := g.lead.peers[id]; p != nil && p.lost {
			return id // the others at least have something to come back with
		}
		if first == placement.NoOSD {
			first = id
		}
	}
	return first
}

// proposeMove hands the PG over to its target once the target has everything.
func (g *Group) proposeMove() {
	rec, v := &g.view.Record, &g.view
	if !g.lead.serving || len(v.Target) < v.MinSize {
		return
	}
	for _, id := range v.Target {
		if !v.up(id) || !rec.Has(id) {
			return
		}
	}
	for _, id := range rec.InSync {
		if slices.Contains(v.Target, id) {
			continue
		}
		if id == g.cfg.Self {
			g.change(rec.InSync, v.Target[0])
			return
		}
		if g.dispensable() {
			g.change(without(rec.InSync, id), g.cfg.Self)
			return
		}
	}
}

func without(set []placement.OSDID, id placement.OSDID) []placement.OSDID {
	return slices.DeleteFunc(slices.Clone(set), func(m placement.OSDID) bool { return m == id })
}

// inTargetOrder sorts a set: CRUSH's order first, others behind by id.
func (g *Group) inTargetOrder(set []placement.OSDID) []placement.OSDID {
	rank := func(id placement.OSDID) int {
		if i := slices.Index(g.view.Target, id); i >= 0 {
			return i
		}
		return len(g.view.Target) + int(id)
	}
	slices.SortFunc(set, func(a, b placement.OSDID) int { return rank(a) - rank(b) })
	return set
}

// change begins a proposal.
func (g *Group) change(inSync []placement.OSDID, primary placement.OSDID) {
	c := g.newChange(inSync, primary)
	pd := &pending{change: c, require: c.InSync, token: g.token()}
	g.lead.pending = pd
	g.fx.Propose = &Proposal{Token: pd.token, Change: c}
}

// newChange describes a change of the record as it is now. It is not changed once proposed:
// the driver may be sending it.
func (g *Group) newChange(inSync []placement.OSDID, primary placement.OSDID) *wirepb.PGChange {
	rec := &g.view.Record
	c := &wirepb.PGChange{
		Pool: uint32(g.id.Pool), Shard: g.id.Shard, Term: uint32(rec.Term), Version: uint64(rec.Version),
		From: int32(g.cfg.Self), Primary: int32(primary), Created: rec.Created || g.lead.activated,
	}
	for _, id := range inSync {
		c.InSync = append(c.InSync, int32(id))
	}
	return c
}

func (g *Group) onProposed(ev ProposedEvent) {
	if g.lead == nil || g.lead.pending == nil || g.lead.pending.token != ev.Token {
		return
	}
	pd := g.lead.pending
	switch ev.Code {
	case wirepb.Code_OK:
		// The map that has it is on its way; ask again only if it does not come.
		pd.retry = g.now.Add(10 * g.cfg.RetryAfter)
	case wirepb.Code_CONFLICT, wirepb.Code_INVALID:
		if g.cfg.is(holdRefused) {
			pd.retry = g.now.Add(10 * g.cfg.RetryAfter)
			return
		}
		// Either the record has changed, and the map that says so is on its way. Or this attempt was
		// refused on its merits (the newcomer has just died), but an earlier copy of it may still be
		// under way and be accepted later. Replace the record by itself: its new version makes
		// every older attempt void, and until that is in the map everybody proposed stays required.
		pd.change = g.newChange(g.view.Record.InSync, g.cfg.Self)
		pd.retry = g.now.Add(g.cfg.RetryAfter)
		if ev.Code == wirepb.Code_CONFLICT && ev.Epoch > g.view.Epoch {
			pd.retry = g.now.Add(10 * g.cfg.RetryAfter)
		}
	default:
		pd.retry = g.now.Add(g.cfg.RetryAfter) // outcome unknown: the same proposal again
	}
}

// wake says when the next TickEvent is due.
func (g *Group) wake() {
	ld := g.lead
	quiet := ld.serving && ld.pending == nil && len(ld.inflight) == 0 && len(ld.held) == 0 && len(ld.waiting) == 0
	for _, p := range ld.peers {
		quiet = quiet && p.phase == live
	}
	for _, id := range g.view.Record.InSync {
		quiet = quiet && (slices.Contains(g.view.Target, id) || len(g.view.Target) < g.view.MinSize)
	}
	if !quiet {
		g.fx.Wake = g.now.Add(g.cfg.RetryAfter)
	}
}
