package pg

import (
	"slices"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// follower is what a member or learner knows of its primary's stream.
type follower struct {
	stream  uint64 // 0: no query yet in this term
	nIn     uint64 // messages received in order
	nOut    uint64 // messages sent
	broken  bool   // a message was lost: nothing counts until the next query
	live    bool   // activated or learning: replicated writes are accepted
	staged  map[string]bool
	pushing map[string]uint64 // object being received -> next offset
	fetches map[uint64]uint64 // pieces being read for the primary: token -> its id
	looks   map[uint64]uint64 // copies being described for the primary: token -> its id
	scan    uint64            // token of the listing that answers the primary's scan; zero: none
}

// fromPrimary handles a message of the current term's primary.
func (g *Group) fromPrimary(ev MsgEvent) {
	m, f := ev.Msg, &g.fol
	if q := m.GetQuery(); q != nil {
		if m.Stream <= f.stream {
			return
		}
		*f = follower{stream: m.Stream, nIn: 1, staged: map[string]bool{}, pushing: map[string]uint64{}}
		g.dropStaged()
		g.whenDurable(g.sendInfo)
		return
	}
	if m.Stream != f.stream || f.broken || m.N <= f.nIn {
		if m.Stream > f.stream {
			f.stream = m.Stream
			g.reject("query lost")
		}
		return
	}
	if m.N != f.nIn+1 {
		g.reject("gap")
		return
	}
	f.nIn = m.N
	switch {
	case m.GetActivate() != nil:
		g.onActivate(m.GetActivate())
	case m.GetReplicate() != nil:
		g.onReplicate(m.GetReplicate(), ev.Payload)
	case m.GetPush() != nil:
		g.onPush(m.GetPush(), ev.Payload)
	case m.GetLearn() != nil:
		g.onLearn(m.GetLearn())
	case m.GetComplete() != nil:
		g.onComplete(m.GetComplete())
	case m.GetForget() != nil:
		g.onForget()
	case m.GetScan() != nil:
		g.reach(string(m.GetScan().After))
		f.scan = g.token()
		g.fx.List = append(g.fx.List, List{Token: f.scan, After: string(m.GetScan().After), Limit: int(min(m.GetScan().Limit, 4096))})
	case m.GetFetch() != nil:
		g.onFetch(m.GetFetch())
	case m.GetScrub() != nil:
		g.onScrub(m.GetScrub())
	case m.GetScrubNote() != nil:
		g.onScrubNote(m.GetScrubNote())
	default:
		g.reject("unknown message")
	}
}

// dropStaged clears copies that an interrupted activation or push left behind.
func (g *Group) dropStaged() {
	if g.exists {
		g.persist([]store.Op{{Kind: store.OpRemoveSpace, Key: store.Key{PG: g.id, Space: store.Staging}}}, nil)
	}
}

// answer sends a message on the stream it answers.
func (g *Group) answer(body any) {
	f := &g.fol
	f.nOut++
	g.fx.Send = append(g.fx.Send, Out{To: g.view.Record.Primary, Msg: g.msg(g.view.Record.Term, f.stream, f.nOut, body)})
}

// answerDurable is answer, once everything persisted so far is durable and if the stream is still the same.
func (g *Group) answerDurable(body any) {
	if g.cfg.is(AckEarly) {
		g.answer(body)
		return
	}
	g.whenDurable(func() { g.answer(body) })
}

// whenDurable runs fn once everything persisted so far is durable, if the stream is still the
// same then. A later stream must not take it for its own: what that one found may not be on disk.
func (g *Group) whenDurable(fn func()) {
	stream, term := g.fol.stream, g.view.Record.Term
	g.durable(func() {
		same := g.fol.stream == stream && g.view.Record.Term == term || g.cfg.is(AnyInfo)
		if same && !g.fol.broken {
			fn()
		}
	})
}

// reject tells the primary that the stream is broken, once.
func (g *Group) reject(why string) {
	g.fol.broken = true
	g.fol.live = false
	g.answer(&wirepb.PGMsg_Reject{Reject: &wirepb.PGReject{Term: uint32(g.view.Record.Term), Why: why}})
}

// rejectBusy ends the stream because we have enough PGs to learn already; nothing has changed here.
func (g *Group) rejectBusy() {
	g.fol.broken = true
	g.fol.live = false
	g.answer(&wirepb.PGMsg_Reject{Reject: &wirepb.PGReject{Term: uint32(g.view.Record.Term), Why: "enough PGs to learn", Busy: true}})
}

// rejectFull ends the stream because our store has no space for what it brought.
func (g *Group) rejectFull() {
	g.fol.broken = true
	g.fol.live = false
	g.answer(&wirepb.PGMsg_Reject{Reject: &wirepb.PGReject{Term: uint32(g.view.Record.Term), Why: "no space", Full: true}})
}

func (g *Group) sendInfo() {
	if g.fol.stream == 0 || g.fol.nOut > 0 {
		return
	}
	completeTo := g.st.completeTo
	if g.st.complete {
		completeTo = g.log.head()
	}
	info := &wirepb.PGInfo{
		Exists: g.exists, Head: toPos(g.log.head()), Tail: toPos(g.log.tail),
		Committed: toPos(g.st.committed), CompleteTo: toPos(completeTo), Backfilling: g.st.scan,
		Entries: g.log.after(g.st.committed.Seq), Led: uint32(g.served),
	}
	if c := g.cursor; !g.st.complete && c.name != "" {
		info.Cursor, info.CursorAt = []byte(c.name), toPos(c.at)
	}
	g.answer(&wirepb.PGMsg_Info{Info: info})
}

// rewriteLog replaces the log behind keep and returns the changes to persist.
func (g *Group) rewriteLog(keep store.Version, entries []*wirepb.LogEntry) []store.Op {
	g.log.cut(keep.Seq)
	ops := []store.Op{{Kind: store.OpOmapRmRange, Key: g.metaKey(), Name: logKey(keep.Seq + 1)}}
	for _, e := range entries {
		g.log.append(e)
		ops = append(ops, g.opEntry(e))
	}
	return ops
}

// follows reports whether entries continue a log that ends at keep, and can be kept.
func follows(keep store.Version, entries []*wirepb.LogEntry) bool {
	last := keep
	for _, e := range entries {
		pos := entryPos(e)
		if pos.Seq != last.Seq+1 || pos.Term < last.Term || !fitName(e.Object) || e.SizeVT() > store.MaxValueBytes {
			return false
		}
		last = pos
	}
	return true
}

func fitName(name []byte) bool { return len(name) > 0 && len(name) <= store.MaxNameBytes }

// refusal returns why the store would refuse changes that a peer sent. We must not give
// them to it: a store that fails stops the OSD.
func refusal(ops []store.Op) error { return (&store.Batch{Ops: ops}).Check() }

// onActivate makes a member's log and objects those of the new primary, in one batch.
func (g *Group) onActivate(a *wirepb.PGActivate) {
	keep := fromPos(a.Keep)
	if g.exists && (!g.log.has(keep) || keep.Seq < g.st.committed.Seq) || !follows(keep, a.Entries) {
		g.reject("activation does not fit the log")
		return
	}
	var moves []store.Op
	for _, name := range a.Staged {
		removed, ok := g.fol.staged[string(name)]
		if !ok {
			g.reject("activation names an object that was not staged")
			return
		}
		delete(g.fol.staged, string(name))
		moves = append(moves, g.opsMoveStaged(string(name), removed)...)
	}
	changes := slices.Clone(moves)
	for _, e := range a.Entries {
		changes = append(changes, g.opEntry(e))
	}
	if err := refusal(changes); err != nil {
		g.reject("activation: " + err.Error())
		return
	}
	ops := g.opsForget()
	if !g.exists {
		g.log.tail = keep
	}
	ops = append(append(ops, g.rewriteLog(keep, a.Entries)...), moves...)
	g.exists = true
	g.st.complete, g.st.completeTo, g.st.scan = true, store.Version{}, false
	g.adoptCommitted(a.Committed)
	g.fol.staged = map[string]bool{}
	g.fol.live = true
	g.persist(append(ops, g.opState()), nil)
	g.answerDurable(&wirepb.PGMsg_Activated{Activated: &wirepb.PGActivated{}})
}

func (g *Group) opsMoveStaged(name string, removed bool) []store.Op {
	if removed {
		return []store.Op{
			{Kind: store.OpRemove, Key: g.objKey(name)},
			{Kind: store.OpRemove, Key: g.stagedKey(name)},
		}
	}
	return []store.Op{{Kind: store.OpRename, Key: g.stagedKey(name), To: g.objKey(name)}}
}

func (g *Group) adoptCommitted(p *wirepb.Position) {
	if c := fromPos(p); g.st.committed.Seq < c.Seq && c.Seq <= g.log.head().Seq {
		g.st.committed = c
	}
}

// onReplicate appends one write of the primary and acknowledges it when it is durable (R1).
func (g *Group) onReplicate(r *wirepb.PGReplicate, payload []byte) {
	if !g.fol.live || fromPos(r.Prev) != g.log.head() || r.Entry == nil || !follows(g.log.head(), []*wirepb.LogEntry{r.Entry}) {
		g.reject("write does not follow the log's head")
		return
	}
	ops, err := opsFromMutations(g.objKey(string(r.Entry.Object)), r.Mutations, payload)
	if err != nil {
		g.reject(err.Error())
		return
	}
	if r.NoData {
		ops = nil
	}
	entry := g.opEntry(r.Entry)
	ops = append(ops, entry)
	if err := refusal(ops); err != nil {
		g.reject(err.Error())
		return
	}
	pos := entryPos(r.Entry)
	g.log.appendSized(r.Entry, len(entry.Value))
	g.adoptCommitted(r.Committed)
	g.submit(append(ops, g.opsTrim()...))
	a := ack{stream: g.fol.stream, term: g.view.Record.Term, pos: pos}
	if g.cfg.is(AckEarly) {
		g.acknowledge(&a)
		return
	}
	g.afterPersist = append(g.afterPersist, deferred{id: g.lastPersist, ack: a})
}

// ack is an answer to a Replicate that waits for our disk.
type ack struct {
	stream uint64
	term   placement.Term
	pos    store.Version
}

// acknowledge tells the primary that we have its log up to a position, if the stream is still the one that
// brought it, see whenDurable.
func (g *Group) acknowledge(a *ack) {
	same := g.fol.stream == a.stream && g.view.Record.Term == a.term || g.cfg.is(AnyInfo)
	if !same || g.fol.broken {
		return
	}
	out := &struct { // in one piece of memory
		m    wirepb.PGMsg
		body wirepb.PGMsg_Acked
		a    wirepb.PGAcked
		pos  wirepb.Position
	}{}
	f := &g.fol
	f.nOut++
	g.address(&out.m, g.view.Record.Term, f.stream, f.nOut)
	out.pos.Term, out.pos.Seq = uint32(a.pos.Term), a.pos.Seq
	out.a.Pos, out.body.Acked, out.m.Body = &out.pos, &out.a, &out.body
	g.fx.Send = append(g.fx.Send, Out{To: g.view.Record.Primary, Msg: &out.m})
}

// onPush receives a piece of an object. It grows in the staging space, so that the
// object itself is never seen half copied, and takes its place with the last piece
// (learner) or with the activation (member).
func (g *Group) onPush(p *wirepb.PGPush, payload []byte) {
	if p.Delta {
		g.onDelta(p, payload)
		return
	}
	name := string(p.Object)
	next, open := g.fol.pushing[name]
	if p.First {
		open, next = true, 0
		delete(g.fol.staged, name)
	}
	if !open || len(payload) > 0 && p.Off != next || !fitName(p.Object) {
		g.reject("piece of a push does not fit")
		return
	}
	key := g.stagedKey(name)
	var ops []store.Op
	if p.First {
		ops = append(ops, store.Op{Kind: store.OpRemove, Key: key}, store.Op{Kind: store.OpTouch, Key: key})
	}
	for _, kv := range p.Attrs {
		ops = append(ops, store.Op{Kind: store.OpSetAttr, Key: key, Name: kv.Key, Value: kv.Value})
	}
	if len(payload) > 0 {
		ops = append(ops, store.Op{Kind: store.OpWrite, Key: key, Off: p.Off, Data: payload})
		next = p.Off + uint64(len(payload))
	}
	for _, kv := range p.Omap {
		ops = append(ops, store.Op{Kind: store.OpOmapSet, Key: key, Name: kv.Key, Value: kv.Value})
	}
	if p.Last {
		ops = append(ops,
			store.Op{Kind: store.OpTruncate, Key: key, Off: p.Size},
			store.Op{Kind: store.OpSetVersion, Key: key, Version: fromPos(p.Version), Mtime: p.Mtime})
		if !p.Staged {
			ops = append(ops, g.opsMoveStaged(name, p.Remove)...)
		}
	}
	if err := refusal(ops); err != nil {
		g.reject("piece of a push: " + err.Error())
		return
	}
	g.fol.pushing[name] = next
	if p.Last {
		delete(g.fol.pushing, name)
		if p.Staged {
			g.fol.staged[name] = p.Remove
		}
	}
	g.persist(ops, nil)
	g.fx.Persist[len(g.fx.Persist)-1].Reserve = p.Staged
	g.answerDurable(&wirepb.PGMsg_Pushed{Pushed: &wirepb.PGPushed{Id: p.Id, Object: p.Object}})
}

// onLearn starts catching up. Until Complete the objects are a mixture of old
// and new, and completeTo remembers from where the log must be followed again.
func (g *Group) onLearn(l *wirepb.PGLearn) {
	if v := &g.view; !v.Record.Has(g.cfg.Self) && !slices.Contains(v.Target, g.cfg.Self) {
		g.reject("no target of the PG any more") // the primary has an older map
		return
	}
	keep := fromPos(l.Keep)
	if g.view.Record.Has(g.cfg.Self) || !l.Reset_ && g.exists && !g.log.has(keep) || !follows(keep, l.Entries) {
		g.reject("learning does not fit the log, or a member")
		return
	}
	if !g.cfg.Throttle.take(taught, g.now, g.id, l.Priority) {
		g.rejectBusy()
		return
	}
	g.shares.taught = true
	completeTo := g.st.completeTo
	if g.st.complete {
		completeTo = g.log.head()
	}
	if l.Reset_ || !g.exists {
		completeTo = store.Version{}
	} else if keep.Seq < completeTo.Seq {
		completeTo = keep
	}
	// The objects that dropped entries name are on their way, but whoever teaches us after an
	// interruption could not know which they were.
	if g.exists && !g.cfg.is(ForgetScan) && (l.Reset_ || len(g.log.after(keep.Seq)) > 0) {
		g.st.scan = true
	}
	var ops []store.Op
	if l.Reset_ || !g.exists || g.st.complete || len(g.log.after(keep.Seq)) > 0 {
		ops = g.dropCursor(ops)
	}
	if l.Reset_ || !g.exists {
		g.log = pgLog{tail: keep}
		g.st.committed = keep
		g.st.horizon = l.Horizon
		ops = append(ops, store.Op{Kind: store.OpOmapClear, Key: g.metaKey()})
	}
	log := g.rewriteLog(keep, l.Entries)
	g.exists, g.damaged = true, ""
	g.st.complete, g.st.completeTo = false, completeTo
	if g.st.committed.Seq > keep.Seq {
		g.st.committed = keep
	}
	// A whole log can be more than a batch may hold. It grows behind a state that says
	// incomplete; cut short, it is only a shorter log.
	g.persist(append(ops, log[0], g.opState()), nil)
	g.persistLog(log[1:])
	g.adoptCommitted(l.Committed)
	g.fol.live = true
	g.answerDurable(&wirepb.PGMsg_Learned{Learned: &wirepb.PGLearned{Deltas: true}})
}

// persistLog writes log entries in batches well below the store's limits.
func (g *Group) persistLog(ops []store.Op) {
	first, size := 0, 0
	for i := range ops {
		size += len(ops[i].Value)
		if size >= store.MaxBatchMetaBytes/4 || i-first >= store.MaxBatchOps/4 || i == len(ops)-1 {
			g.persist(ops[first:i+1], nil)
			first, size = i+1, 0
		}
	}
}

// onForget gives up a copy that is too old to be brought up to date in the space there is.
func (g *Group) onForget() {
	if g.view.Record.Has(g.cfg.Self) || g.fol.live {
		g.reject("asked to give up a copy that counts")
		return
	}
	if g.exists {
		g.erase()
	}
}

func (g *Group) onComplete(c *wirepb.PGComplete) {
	if !g.fol.live {
		g.reject("completed before it learned")
		return
	}
	g.st.complete, g.st.completeTo, g.st.scan = true, store.Version{}, false
	g.persist([]store.Op{g.opState()}, nil)
	g.answerDurable(&wirepb.PGMsg_Completed{Completed: &wirepb.PGCompleted{Pos: toPos(g.log.head())}})
}

// followerListed answers a scan.
func (g *Group) followerListed(ev ListedEvent) {
	// A listing of an earlier stream or lead begins elsewhere; what it lacks would seem to be missing.
	if g.cfg.is(AnyListing) && g.fol.stream > 0 && ev.Token == g.tokens {
		g.fol.scan = ev.Token
	}
	if g.fol.broken || g.fol.scan == 0 || ev.Token != g.fol.scan {
		return
	}
	g.fol.scan = 0
	if ev.Err != nil {
		g.reject("scan: " + ev.Err.Error())
		return
	}
	s := &wirepb.PGScanned{End: !ev.More}
	for _, o := range ev.Objects {
		s.Objects = append(s.Objects, &wirepb.ObjectVersion{Object: []byte(o.Name), Version: toPos(o.Version)})
	}
	g.answer(&wirepb.PGMsg_Scanned{Scanned: s})
}
