package pg

import (
	"slices"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// backfill is the ordered scan that brings a learner the whole PG when the log
// no longer reaches back to where it was. Objects up to `upTo` are the
// learner's business already; behind that, nothing is.
type backfill struct {
	upTo   string // the last name of the page in work; objects up to here are equal unless in need
	all    bool   // the page in work is the last one: every name is covered
	asked  bool   // a page is being listed here and there
	token  uint64
	dirty  map[string]bool // written while the page is being listed
	local  *ListedEvent
	remote *wirepb.PGScanned
}

// push is one object on its way to a peer.
type push struct {
	id     uint64
	peer   *peer
	stream uint64
	object string
	at     Cursor
	locked bool
	first  bool
	last   bool
	parts  *Parts // not nil: only these
}

func (g *Group) addNeed(p *peer, name string) {
	if _, ok := p.need[name]; !ok {
		p.need[name] = false
		p.order = append(p.order, name)
	}
}

// lacks reports whether a learner does not have the current bytes of an object,
// and will get them by a push.
func (g *Group) lacks(p *peer, name string) bool {
	b := p.backfill
	if b != nil && b.asked && !g.cfg.is(ForgetDirty) {
		b.dirty[name] = true
	}
	if _, ok := p.need[name]; ok {
		return true
	}
	return b != nil && !b.all && name > b.upTo
}

// bringLearner starts catching a peer up: by the log, when ours reaches back to
// where the peer was complete, else by comparing everything.
func (g *Group) bringLearner(p *peer) {
	info := p.info
	keep, diverged := g.common(info)
	base := fromPos(info.CompleteTo)
	if keep.Seq < base.Seq {
		base = keep
	}
	head := fromPos(info.Head)
	p.need, p.order = map[string]bool{}, nil
	p.phase = learning
	learn := &wirepb.PGLearn{Committed: toPos(g.lead.committed), Horizon: g.st.horizon, Priority: g.priority()}
	p.whole = false
	if !info.Backfilling && base.Seq >= g.log.tail.Seq && g.log.has(base) && g.log.has(keep) && keep.Seq <= head.Seq {
		p.base, p.diverged = base, keep.Seq < head.Seq
		for _, e := range diverged {
			g.addNeed(p, string(e.Object))
		}
		for _, e := range g.log.after(base.Seq) {
			g.addNeed(p, string(e.Object))
		}
		if g.fullness(p.id) >= placement.Full && (!info.Exists || !slices.ContainsFunc(p.order, g.isRemoved)) {
			g.holdBack(p, heldFull) // there is nothing it could free
			return
		}
		learn.Keep, learn.Entries = toPos(keep), g.log.after(keep.Seq)
	} else {
		p.whole = true
		if h := g.heldBack(p, true); h != notHeld {
			if h == heldFull {
				g.empty(p)
			}
			g.holdBack(p, h)
			return
		}
		p.old = false
		if on := g.resumeBackfill(p, keep, diverged); on != nil {
			learn.Keep, learn.Entries = on.Keep, on.Entries
		} else {
			p.backfill = &backfill{}
			learn.Reset_ = true
			learn.Keep, learn.Entries = toPos(g.log.tail), g.log.entries
		}
	}
	learn.Entries = slices.Clone(learn.Entries)
	g.send(p, &wirepb.PGMsg_Learn{Learn: learn}, nil)
	g.pump(p)
}

// pump moves a peer's recovery on: the next pushes, the next page, the end.
func (g *Group) pump(p *peer) {
	ld := g.lead
	if !ld.activated && g.lastPersist != g.donePersist {
		return // what we would read may not be on our own disk yet
	}
	if g.cfg.is(CompleteEarly) && p.phase == learning {
		p.need, p.order, p.backfill = map[string]bool{}, nil, nil
	}
	if p.phase == learning && !p.learned {
		return // it may have no slot
	}
	if p.phase == learning && p.backfill == nil && g.fullness(p.id) >= placement.Full {
		g.pumpRemovals(p)
		return
	}
	for len(p.order) > 0 && g.mayPush(p) {
		name := p.order[0]
		p.order = p.order[1:]
		g.startPush(p, name)
	}
	if len(p.need) > 0 || p.pushing > 0 {
		return
	}
	if p.phase == staging {
		g.sendActivate(p)
		return
	}
	if b := p.backfill; b != nil && !b.all {
		if !b.asked {
			g.askPage(p)
		}
		return
	}
	p.phase = completing
	g.send(p, &wirepb.PGMsg_Complete{Complete: &wirepb.PGComplete{Pos: toPos(g.log.head())}}, nil)
}

func (g *Group) startPush(p *peer, name string) {
	ld := g.lead
	ps := &push{id: g.token(), peer: p, stream: p.stream, object: name, first: true}
	p.need[name] = true
	p.pushing++
	begin := func() {
		ps.locked = ld.activated && !g.cfg.is(UnlockedPush)
		if g.lead != ld {
			return
		}
		if ps.stream != p.stream {
			g.unlockPush(ps)
			return
		}
		ld.pushes[ps.id] = ps
		ps.parts = g.deltaFor(p, name)
		g.fx.Read = append(g.fx.Read, Read{Token: ps.id, Object: name, At: ps.at, Parts: ps.parts})
	}
	if !ld.activated || g.cfg.is(UnlockedPush) {
		begin() // no client is served, nothing changes
		return
	}
	ld.locks.acquire(name, copying, begin)
}

func (g *Group) unlockPush(ps *push) {
	if ps.locked {
		ps.locked = false
		g.lead.locks.release(ps.object, copying)
	}
}

// dropPushes forgets what is on its way to a peer whose stream ended.
func (g *Group) dropPushes(p *peer) {
	ld := g.lead
	var ids []uint64
	for id, ps := range ld.pushes {
		if ps.peer == p {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	stream := p.stream
	p.stream = 0 // pushes still waiting for their object's lock see that they are late
	for _, id := range ids {
		ps := ld.pushes[id]
		delete(ld.pushes, id)
		g.unlockPush(ps)
	}
	for token, lp := range ld.lists {
		if lp == p {
			delete(ld.lists, token)
		}
	}
	p.stream = stream
}

// onRead sends the piece that was read.
func (g *Group) onRead(ev ReadEvent) {
	if g.lead == nil {
		g.followerRead(ev)
		return
	}
	if g.mendRead(ev) {
		return
	}
	ps := g.lead.pushes[ev.Token]
	if ps == nil {
		return
	}
	p := ps.peer
	if ev.Err != nil {
		g.pushUnreadable(ps, ev.Err)
		return
	}
	pc := &ev.Piece
	if ps.parts != nil && pc.TooMuch {
		ps.parts = nil
		g.fx.Read = append(g.fx.Read, Read{Token: ps.id, Object: ps.object})
		return
	}
	m := &wirepb.PGPush{
		Id: ps.id, Object: []byte(ps.object), Staged: p.phase == staging, Remove: pc.Missing,
		Version: toPos(pc.Info.Version), Off: pc.Off, First: ps.first, Last: pc.Last || pc.Missing,
		Attrs: toKVs(pc.Attrs), Omap: toKVs(pc.Omap), Size: pc.Info.Size, Mtime: pc.Info.Mtime,
	}
	if ps.parts != nil && !pc.Missing {
		m.Delta, m.Base, m.RmAttrs, m.RmKeys = true, toPos(p.base), pc.RmAttrs, pc.RmKeys
		m.Extents = extentsOut(pc.Extents)
	}
	ps.first, ps.last, ps.at = false, m.Last, pc.Next
	p.pushed += int64(pc.Bytes())
	var payload [][]byte
	if len(pc.Data) > 0 {
		payload = [][]byte{pc.Data}
	}
	g.send(p, &wirepb.PGMsg_Push{Push: m}, payload)
}

func toKVs(kvs []store.KV) []*wirepb.KV {
	var out []*wirepb.KV
	for _, kv := range kvs {
		out = append(out, &wirepb.KV{Key: kv.Key, Value: kv.Value})
	}
	return out
}

// onPushed goes on with the next piece, or ends the push.
func (g *Group) onPushed(p *peer, m *wirepb.PGPushed) {
	ld := g.lead
	ps := ld.pushes[m.Id]
	if ps == nil && g.mendPushed(p, m) || ps == nil || ps.peer != p {
		return
	}
	if m.Failed && ps.parts != nil && ps.last { // it cannot tell whether parts are enough
		ps.parts, ps.first, ps.last, p.deltas = nil, true, false, false
	}
	if !ps.last {
		g.fx.Read = append(g.fx.Read, Read{Token: ps.id, Object: ps.object, At: ps.at})
		return
	}
	delete(ld.pushes, ps.id)
	delete(p.need, ps.object)
	delete(p.yields, ps.object)
	p.pushing--
	p.copied++
	if p.phase == staging {
		p.staged = append(p.staged, []byte(ps.object))
	}
	g.unlockPush(ps)
}

// askPage lists the next page of objects here and at the learner.
func (g *Group) askPage(p *peer) {
	b := p.backfill
	*b = backfill{upTo: b.upTo, asked: true, token: g.token(), dirty: map[string]bool{}}
	for _, w := range g.lead.inflight {
		if g.cfg.is(ForgetDirty) {
			break
		}
		b.dirty[string(w.entry.Object)] = true // our listing may not show these yet
	}
	g.lead.lists[b.token] = p
	g.fx.List = append(g.fx.List, List{Token: b.token, After: b.upTo, Limit: g.cfg.ScanLimit})
	g.send(p, &wirepb.PGMsg_Scan{Scan: &wirepb.PGScan{After: []byte(b.upTo), Limit: uint32(g.cfg.ScanLimit)}}, nil)
}

func (g *Group) onListed(ev ListedEvent) {
	if g.splitListed(ev) {
		return
	}
	if g.lead == nil {
		g.followerListed(ev)
		return
	}
	p := g.lead.lists[ev.Token]
	if p == nil {
		return
	}
	delete(g.lead.lists, ev.Token)
	if p.backfill == nil || p.backfill.token != ev.Token {
		return
	}
	if ev.Err != nil {
		g.breakStream(p)
		return
	}
	p.backfill.local = &ev
	g.comparePage(p)
}

func (g *Group) onScanned(p *peer, m *wirepb.PGScanned) {
	if p.backfill == nil || !p.backfill.asked {
		return
	}
	p.backfill.remote = m
	g.comparePage(p)
}

// comparePage finds what differs between the two listings, up to where both reach.
func (g *Group) comparePage(p *peer) {
	b := p.backfill
	if b.local == nil || b.remote == nil {
		return
	}
	end, all := "", true
	bound := func(last string) {
		if all || last < end {
			end, all = last, false
		}
	}
	if n := len(b.local.Objects); b.local.More && n > 0 {
		bound(b.local.Objects[n-1].Name)
	}
	if n := len(b.remote.Objects); !b.remote.End && n > 0 {
		bound(string(b.remote.Objects[n-1].Object))
	}
	covered := func(name string) bool { return name > b.upTo && (all || name <= end) }
	theirs := map[string]store.Version{}
	for _, o := range b.remote.Objects {
		if covered(string(o.Object)) {
			theirs[string(o.Object)] = fromPos(o.Version)
		}
	}
	differ := map[string]bool{}
	for _, o := range b.local.Objects {
		if !covered(o.Name) {
			continue
		}
		p.scanned++
		if v, ok := theirs[o.Name]; !ok || v != o.Version {
			differ[o.Name] = true
		}
		delete(theirs, o.Name)
	}
	for name := range theirs {
		differ[name] = true // not ours: the push removes it
	}
	for name := range b.dirty {
		if covered(name) {
			differ[name] = true
		}
	}
	names := make([]string, 0, len(differ))
	for name := range differ {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		g.addNeed(p, name)
	}
	p.backfill = &backfill{upTo: end, all: all}
}
