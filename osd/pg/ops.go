package pg

import (
	"fmt"
	"slices"
	"time"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// waitMax is how long a request waits for the PG to become active before its
// client is told to try again; by then it may know a better place to ask.
const waitMax = 10 * time.Second

// request is a client's request between arrival and answer.
type request struct {
	handles []Handle // retries of the same request id join the first
	first   [1]Handle
	ev      *OpEvent
	name    string
	since   clock.Mono
	locked  bool
	pulls   int // how often its object was pulled because it could not be read

	done    *ExecutedEvent
	barrier uint64 // a listing may be answered once everything up to here is committed
}

func (g *Group) reply(handles []Handle, r Reply) {
	if len(handles) > 1 {
		r.Mem = nil // it has one user
	}
	for _, h := range handles {
		r.Handle = h
		g.fx.Reply = append(g.fx.Reply, r)
	}
}

func (g *Group) onOp(ev *OpEvent) {
	ld := g.lead
	if ld == nil {
		code, text := wirepb.Code_WRONG_PRIMARY, fmt.Sprintf("PG %s is led by %s", g.id, g.view.Record.Primary)
		if !g.view.Exists {
			code, text = wirepb.Code_NOT_FOUND, fmt.Sprintf("PG %s: its pool does not exist", g.id)
		}
		g.reply([]Handle{ev.Handle}, Reply{Code: code, Text: text})
		return
	}
	if g.misdirected(ev) {
		return
	}
	r := &request{first: [1]Handle{ev.Handle}, ev: ev, since: g.now}
	r.handles = r.first[:]
	if ev.Op != nil {
		r.name = string(ev.Op.Object)
	}
	if ev.Write && ev.Epoch != 0 && ev.Epoch < ld.began && !g.cfg.is(AnyAge) {
		// Perhaps it was on its way for so long that a later attempt was carried out in an earlier term,
		// and its request id forgotten. If its client still waits, it asks again with a newer map.
		g.reply(r.handles, Reply{Code: wirepb.Code_STALE_MAP, Text: fmt.Sprintf(
			"PG %s: this write was sent by map epoch %d, before term %d began (epoch %d)", g.id, ev.Epoch, ld.term, ld.began)})
		return
	}
	if len(ld.waiting) >= g.cfg.QueueMax {
		g.reply(r.handles, Reply{Code: wirepb.Code_TRY_LATER, Text: fmt.Sprintf("PG %s has %d requests waiting", g.id, len(ld.waiting))})
		return
	}
	ld.waiting = append(ld.waiting, r)
}

// canWrite reports whether a write started now could commit.
func (g *Group) canWrite() bool {
	return len(g.view.Record.InSync) >= g.view.MinSize
}

// startWaiting starts requests in order of arrival, as far as the limits allow.
func (g *Group) startWaiting() {
	ld := g.lead
	if !ld.serving && !(g.cfg.is(ServeTail) && g.now >= ld.quiet) {
		g.expireWaiting()
		return
	}
	waiting := ld.waiting
	kept := waiting[:0]
	for i, r := range waiting {
		if len(ld.inflight)+len(ld.requests) >= g.cfg.InFlightMax {
			kept = append(kept, waiting[i:]...)
			break
		}
		if r.ev.Write && !(g.canWrite() && ld.serving) {
			kept = append(kept, r) // reads need not wait with it
			continue
		}
		g.start(r)
	}
	clear(waiting[len(kept):])
	ld.waiting = kept
	g.expireWaiting()
}

func (g *Group) expireWaiting() {
	ld := g.lead
	for len(ld.waiting) > 0 && g.now.Sub(ld.waiting[0].since) > waitMax {
		g.reply(ld.waiting[0].handles, Reply{Code: wirepb.Code_TRY_LATER, Text: fmt.Sprintf("PG %s is %s", g.id, g.why())})
		ld.waiting = ld.waiting[1:]
	}
}

// start executes a request, unless its request id was seen before.
func (g *Group) start(r *request) {
	ld := g.lead
	if r.ev.Write && g.repeated(r) {
		return
	}
	if r.ev.Write && g.noSpace(r) {
		return
	}
	h := r.handles[0]
	ld.requests[h] = r
	if r.ev.Op == nil {
		g.fx.Exec = append(g.fx.Exec, Exec{Handle: h, List: r.ev.List})
		return
	}
	if r.ev.Write && r.ev.Op.Req != nil {
		ld.byReq[keyOf(r.ev.Op.Req)] = r
	}
	if r.ev.Write {
		g.yield(r.name)
	}
	if ld.locks.try(r.name, lockOf(r)) {
		g.execute(r)
		return
	}
	ld.locks.acquire(r.name, lockOf(r), func() {
		if g.lead == ld {
			g.execute(r)
		}
	})
}

// execute has a request evaluated that holds its lock.
func (g *Group) execute(r *request) {
	r.locked = true
	g.fx.Exec = append(g.fx.Exec, Exec{Handle: r.handles[0], Name: r.name, Op: r.ev.Op, Payload: r.ev.Payload})
}

func lockOf(r *request) lockKind {
	if r.ev.Write {
		return writing
	}
	return reading
}

// repeated answers a request id that is in the log, or lets the repeat wait for the original.
func (g *Group) repeated(r *request) bool {
	if r.ev.Op.Req == nil || g.cfg.is(ForgetRequests) {
		return false
	}
	key := keyOf(r.ev.Op.Req)
	if first := g.lead.byReq[key]; first != nil {
		first.handles = append(first.handles, r.handles...)
		return true
	}
	e := g.log.byReq(key)
	if e == nil {
		return g.tooOld(r)
	}
	// The entry is committed: what is not has its request in byReq.
	reply, payload, err := decodeResult(e.Result)
	if err != nil {
		g.reply(r.handles, Reply{Code: wirepb.Code_CORRUPT, Text: err.Error()})
		return true
	}
	g.reply(r.handles, Reply{Reply: reply, Payload: payload})
	return true
}

// clockSlack is by how much the wall clocks of a PG's primaries may differ.
const clockSlack = 2 * time.Second

// tooOld refuses a repeat whose original may have been carried out and forgotten
// since. The client learns that the outcome is unknown, which is the truth.
func (g *Group) tooOld(r *request) bool {
	if r.ev.Op.AgeMs == 0 || g.st.horizon == 0 || g.cfg.is(ForgetHorizon) {
		return false
	}
	age := time.Duration(min(r.ev.Op.AgeMs, 1<<40))*time.Millisecond + g.now.Sub(r.since)
	if r.ev.Wall+int64(g.now.Sub(r.since))-int64(age) > g.st.horizon+int64(clockSlack) {
		return false
	}
	g.reply(r.handles, Reply{Code: wirepb.Code_TIMED_OUT, Text: fmt.Sprintf("the request was first sent %v ago; PG %s no longer knows whether it was carried out", age, g.id)})
	return true
}

func (g *Group) onExecuted(ev *ExecutedEvent) {
	ld := g.lead
	if ld == nil {
		return
	}
	r := ld.requests[ev.Handle]
	if r == nil {
		return // of an earlier term; its client was answered
	}
	if r.ev.Write && ev.Code == wirepb.Code_OK && ev.Mutates {
		delete(ld.requests, ev.Handle)
		g.logWrite(r, ev)
		return
	}
	if g.mended(r, ev) {
		return
	}
	// A read, or a write that changes nothing: it tells what is, so the rules of reads apply.
	r.done = ev
	if r.ev.Op == nil {
		r.barrier = g.log.head().Seq // it may have seen any of these
	}
	g.hold(r)
}

// hold keeps an executed request until its answer may go out. It changes nothing any more: whoever copies
// the object need not wait with it.
func (g *Group) hold(r *request) {
	g.lead.held = append(g.lead.held, r)
	if r.locked && r.ev.Write && !g.cfg.is(CopyCommitted) {
		g.lead.locks.settle(r.name)
	}
}

// releaseHeld answers executed reads once all other in-sync members have promised,
// for this very moment, that they have not begun to serve without us (R6). The
// check comes after the reading.
func (g *Group) releaseHeld() {
	ld := g.lead
	if !g.leased() || len(ld.held) == 0 {
		return
	}
	kept := ld.held[:0]
	done := make([]*request, 0, len(ld.held))
	for _, r := range ld.held {
		if r.barrier > ld.committed.Seq {
			kept = append(kept, r)
			continue
		}
		done = append(done, r)
	}
	clear(ld.held[len(kept):])
	ld.held = kept
	for _, r := range done {
		g.reply(r.handles, Reply{Code: r.done.Code, Text: r.done.Text, Reply: r.done.Reply, List: r.done.List, Payload: r.done.Payload, Mem: r.done.Mem})
		g.finish(r)
	}
}

// leased reports whether every OSD that may be in sync grants us reads now. It
// notes for whose lease reads wait, and since when.
func (g *Group) leased() bool {
	ld := g.lead
	for _, p := range g.peerList() {
		// If our own map is too old for its lease, the fault is not the peer's.
		if len(ld.held) == 0 || g.cfg.Leases.Holds(g.now, p.id, ^placement.Epoch(0)) {
			p.leaseless = 0
		}
	}
	if len(ld.held) == 0 {
		return true
	}
	all := true
	if g.cfg.is(ReadUnleased) {
		return true
	}
	var room [8]placement.OSDID
	for _, id := range g.appendMembers(room[:0]) {
		if g.grants(id) {
			continue
		}
		all = false
		if p := ld.peers[id]; p != nil && p.leaseless == 0 && !g.cfg.Leases.Holds(g.now, id, ^placement.Epoch(0)) {
			p.leaseless = g.now
		}
	}
	return all
}

// grants reports whether we hold an OSD's lease at this moment.
func (g *Group) grants(id placement.OSDID) bool {
	at := g.view.Epoch
	if g.cfg.is(AnyEpoch) {
		at = ^placement.Epoch(0)
	}
	return g.cfg.Leases.Holds(g.now, id, at)
}

// finish forgets an answered request and lets the next one have its object.
func (g *Group) finish(r *request) {
	ld := g.lead
	delete(ld.requests, r.ev.Handle)
	if r.ev.Op == nil {
		return
	}
	if r.ev.Write && r.ev.Op.Req != nil {
		delete(ld.byReq, keyOf(r.ev.Op.Req))
	}
	if r.locked {
		r.locked = false
		ld.locks.release(r.name, lockOf(r))
	}
}

// logWrite gives an executed write its place in the log, on our disk and on everybody's who must have it.
func (g *Group) logWrite(r *request, ev *ExecutedEvent) {
	ld := g.lead
	var outbox *write
	if len(ev.Drops) > 0 && !g.cfg.is(ForgetOutbox) && !g.cfg.is(OutboxAfter) {
		if outbox = g.addOutbox(r, ev); outbox == nil {
			g.declineDrops(r)
			return
		}
	}
	prev := g.log.head()
	pos := store.Version{Term: ld.term, Seq: prev.Seq + 1}
	reply := ev.Reply
	if reply == nil {
		reply = &wirepb.OpReply{}
	}
	existed := reply.Version != 0 // it is the object's version before the write
	reply.Version = pos.Seq
	if ev.Removed {
		reply.Version = 0
	}
	kept := &struct { // in one piece of memory, as long as the log has it
		e   wirepb.LogEntry
		pos wirepb.Position
	}{}
	kept.pos.Term, kept.pos.Seq = uint32(pos.Term), pos.Seq
	e := &kept.e
	e.Pos, e.Object, e.Req, e.Removed, e.At = &kept.pos, r.ev.Op.Object, r.ev.Op.Req, ev.Removed, r.ev.Wall
	e.Result = encodeResult(reply, ev.Payload)
	if existed && !ev.Removed {
		describe(e, ev.Ops)
	}
	r.done = ev
	r.done.Reply = reply
	batch := ev.Ops // and what belongs to it
	if !ev.Removed {
		batch = append(batch, store.Op{Kind: store.OpSetVersion, Key: g.objKey(r.name), Version: pos, Mtime: r.ev.Op.Mtime})
	}
	entry := g.opEntry(e)
	ops := batch[:len(batch):len(batch)]
	batch = append(batch, entry)
	w := &write{req: r, lead: ld, entry: e, seq: pos.Seq, ops: ops, prev: prev, local: g.cfg.is(CommitEarly)}
	g.log.appendSized(e, len(entry.Value))
	ld.inflight = append(ld.inflight, w)
	if len(ev.Drops) > 0 && g.cfg.is(OutboxAfter) {
		outbox = g.addOutbox(r, ev)
	}
	if outbox != nil {
		batch = slices.Concat(outbox.ops, []store.Op{g.opEntry(outbox.entry)}, batch)
	}
	g.submit(append(batch, g.opsTrim()...))
	if outbox != nil {
		g.afterPersist = append(g.afterPersist, deferred{id: g.lastPersist, write: outbox})
	}
	g.afterPersist = append(g.afterPersist, deferred{id: g.lastPersist, write: w})
	for _, p := range g.peerList() {
		if p.phase < activating {
			continue
		}
		if outbox != nil && outbox.seq < w.seq {
			g.replicate(p, outbox)
		}
		g.replicate(p, w)
		if outbox != nil && outbox.seq > w.seq {
			g.replicate(p, outbox)
		}
	}
}

// wrote notes that our own disk has a write.
func (g *Group) wrote(w *write) {
	w.local = true
	if !g.cfg.is(CopyCommitted) {
		w.lead.locks.settle(w.name())
	}
}

// replicate sends a logged write to a peer. A learner gets the bytes only of
// objects it has already; the others are pushed to it later, whole.
func (g *Group) replicate(p *peer, w *write) {
	out := &struct { // in one piece of memory
		m               wirepb.PGMsg
		body            wirepb.PGMsg_Replicate
		r               wirepb.PGReplicate
		prev, committed wirepb.Position
	}{}
	m, committed := &out.r, g.lead.committed
	out.prev.Term, out.prev.Seq = uint32(w.prev.Term), w.prev.Seq
	out.committed.Term, out.committed.Seq = uint32(committed.Term), committed.Seq
	m.Prev, m.Entry, m.Committed = &out.prev, w.entry, &out.committed
	o := Out{To: p.id, Msg: &out.m}
	if p.phase == learning && g.lacks(p, string(w.entry.Object)) {
		m.NoData = true
	} else {
		if w.mutations == nil {
			w.mutations, w.payload = mutationsOf(w.ops) // the same for all peers
		}
		m.Mutations, o.Payload = w.mutations, w.payload
	}
	if len(o.Payload) > 0 {
		o.Mem = memOf(w.ops)
	}
	out.body.Replicate, out.m.Body = m, &out.body
	g.number(p, &out.m)
	g.fx.Send = append(g.fx.Send, o)
}

// commit acknowledges, in log order, the writes that everybody who is required has on disk (R1).
func (g *Group) commit() {
	ld := g.lead
	if !ld.activated || len(ld.inflight) == 0 || !g.canWrite() {
		return
	}
	limit := g.log.head().Seq
	var room [8]placement.OSDID
	for _, id := range g.appendRequired(room[:0]) {
		limit = min(limit, g.ackedBy(id))
	}
	n := 0
	for ; n < len(ld.inflight) && ld.inflight[n].local && ld.inflight[n].seq <= limit; n++ {
		w := ld.inflight[n]
		ld.committed = entryPos(w.entry)
		g.st.committed = ld.committed
		r := w.req
		if r == nil { // of the outbox: nobody waits for it
			ld.locks.release(w.name(), writing)
			continue
		}
		g.reply(r.handles, Reply{Reply: r.done.Reply, Payload: r.done.Payload})
		g.finish(r)
	}
	ld.inflight = slices.Delete(ld.inflight, 0, n)
}

// ackedBy returns how far a peer's acknowledgements count. A learner's never do.
func (g *Group) ackedBy(id placement.OSDID) uint64 {
	p := g.lead.peers[id]
	if g.cfg.is(CountLearner) {
		most := uint64(0)
		for _, o := range g.lead.peers {
			if o.id == id || o.phase == learning || o.phase == completing {
				most = max(most, o.acked)
			}
		}
		return most
	}
	if p == nil || p.phase != activating && p.phase != live && p.phase != ready {
		return 0
	}
	return p.acked
}
