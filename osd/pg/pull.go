package pg

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// pull replaces the primary's own copy of an object, because it cannot be read or is wrong, by
// that of a peer. The object stands still meanwhile. A copy of the same version is as good
// as ours was, whoever has it: a version is a log position, and given once.
type pull struct {
	name    string
	why     string // what is wrong with our copy
	known   bool   // want says which version it must have
	want    store.Version
	only    []placement.OSDID // not nil: take it from these
	since   clock.Mono
	locked  bool // the lock is ours
	looking bool // our own version is being looked up
	begun   bool
	from    *peer // who is asked; nil: nobody yet
	stream  uint64
	id      uint64     // of the fetch under way
	asked   clock.Mono // when
	off     uint64
	first   bool
	tried   map[placement.OSDID]string // who could not give it, and why
	done    []func(*pullError)
}

// pullError says why a pull came to nothing.
type pullError struct {
	text    string
	unfound bool // every member was asked: no good copy is left
}

// startPull pulls an object; done runs at the end. With held, a lock that the caller has keeps everybody
// else away from the object; otherwise the pull gets one of its own.
func (g *Group) startPull(name, why string, held bool, done func(*pullError)) *pull {
	ld := g.lead
	pl := ld.pulls[name]
	if pl == nil {
		pl = &pull{name: name, why: why, since: g.now, tried: map[placement.OSDID]string{}}
		ld.pulls[name] = pl
		if !held && ld.activated && !g.cfg.is(UnlockedRepair) {
			ld.locks.acquire(name, mending, func() {
				if g.lead != ld {
					return
				}
				if pl.begun { // under somebody else's lock; it may even have ended
					ld.locks.release(name, mending)
					return
				}
				pl.locked = true
				g.beginPull(pl)
			})
		}
	}
	pl.done = append(pl.done, done)
	if !pl.begun && (held || !ld.activated || g.cfg.is(UnlockedRepair)) {
		g.beginPull(pl)
	}
	return pl
}

// beginPull finds out which version is wanted: that of our own copy. Its bytes may be damaged, but
// what the index says of it is checked on its own.
func (g *Group) beginPull(pl *pull) {
	pl.begun, pl.looking = true, true
	ld := g.lead
	g.look(Look{Object: pl.name}, func(ev LookedEvent) {
		if ld.pulls[pl.name] != pl {
			return
		}
		pl.looking = false
		if e := g.log.lastOf(pl.name); e != nil {
			pl.known, pl.want = true, entryPos(e)
		} else if len(ev.Items) == 1 && !pl.known && !fromPos(ev.Items[0].Version).IsZero() {
			pl.known, pl.want = true, fromPos(ev.Items[0].Version)
		}
		g.askForCopy(pl)
	})
}

// lastOf returns the newest entry that names an object, nil if the log has none.
func (l *pgLog) lastOf(name string) *wirepb.LogEntry {
	if list := l.byName(name); len(list) > 0 {
		return list[len(list)-1]
	}
	return nil
}

// look has our own store described to done.
func (g *Group) look(l Look, done func(LookedEvent)) {
	l.Token = g.token()
	g.lead.looks[l.Token] = done
	g.fx.Look = append(g.fx.Look, l)
}

func (g *Group) onLooked(ev LookedEvent) {
	if g.lead == nil {
		g.followerLooked(ev)
		return
	}
	done := g.lead.looks[ev.Token]
	if done == nil {
		return
	}
	delete(g.lead.looks, ev.Token)
	done(ev)
}

// askForCopy asks the next peer that may have a good copy, those first that have everything.
func (g *Group) askForCopy(pl *pull) {
	pl.from = nil
	for _, most := range []bool{true, false} {
		for _, p := range g.peerList() {
			if _, tried := pl.tried[p.id]; tried || (p.phase == live || p.phase == ready) != most || p.phase < staging {
				continue
			}
			if pl.only != nil && !slices.Contains(pl.only, p.id) || !most && !pl.known {
				continue
			}
			pl.from, pl.stream, pl.off, pl.first = p, p.stream, 0, true
			g.fetch(pl, &wirepb.PGFetch{})
			return
		}
	}
}

// fetch asks for the next piece.
func (g *Group) fetch(pl *pull, at *wirepb.PGFetch) {
	pl.id, pl.asked = g.token(), g.now
	g.lead.fetches[pl.id] = pl
	g.sendQuietly(pl.from, &wirepb.PGMsg_Fetch{Fetch: &wirepb.PGFetch{
		Id: pl.id, Object: []byte(pl.name), Attrs: at.Attrs, Off: at.Off, Omap: at.Omap, OmapAfter: at.OmapAfter,
	}})
}

// sendQuietly sends something that may take long to answer: silence says nothing about the peer.
func (g *Group) sendQuietly(p *peer, body any) {
	since := p.silentSince
	g.send(p, body, nil)
	p.silentSince = since
}

// tendPulls moves pulls on that wait for a peer, and ends those that nobody can help.
func (g *Group) tendPulls() {
	ld := g.lead
	if len(ld.pulls) == 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(ld.pulls)) {
		pl := ld.pulls[name]
		if pl == nil || !pl.begun || pl.looking {
			continue
		}
		if p := pl.from; p != nil {
			switch {
			case p.stream != pl.stream || p.phase < staging:
				pl.tried[p.id] = "connection lost"
			case pl.id != 0 && g.now.Sub(pl.asked) > 2*g.cfg.AckTimeout:
				pl.tried[p.id] = "no answer"
			default:
				continue
			}
			delete(ld.fetches, pl.id)
			pl.id = 0
		}
		if g.askForCopy(pl); pl.from != nil {
			continue
		}
		if g.now.Sub(pl.since) <= 2*g.cfg.AckTimeout && g.mayHelp(pl) {
			continue // who was not reachable at first gets another chance
		}
		g.endPull(pl, g.pullFailed(pl))
	}
}

// mayHelp reports whether there is a member that is up and has not been asked yet.
func (g *Group) mayHelp(pl *pull) bool {
	for _, id := range g.view.Record.InSync {
		if _, tried := pl.tried[id]; id != g.cfg.Self && !tried && g.view.up(id) && (pl.only == nil || slices.Contains(pl.only, id)) {
			return true
		}
	}
	return false
}

// pullFailed describes a pull that nobody could help.
func (g *Group) pullFailed(pl *pull) *pullError {
	e := &pullError{unfound: true}
	parts := []string{fmt.Sprintf("%s: %s", g.cfg.Self, pl.why)}
	for _, id := range slices.Sorted(maps.Keys(pl.tried)) {
		parts = append(parts, fmt.Sprintf("%s: %s", id, pl.tried[id]))
	}
	for _, id := range g.view.Record.InSync {
		why, tried := pl.tried[id]
		if id != g.cfg.Self && (!tried || why == "connection lost" || why == "no answer") {
			e.unfound = false
			if !tried {
				parts = append(parts, fmt.Sprintf("%s: not reachable", id))
			}
		}
	}
	e.text = fmt.Sprintf("object %q of PG %s has no good copy within reach (%s)", pl.name, g.id, strings.Join(parts, "; "))
	return e
}

// endPull tells everybody who waits.
func (g *Group) endPull(pl *pull, err *pullError) {
	ld := g.lead
	delete(ld.pulls, pl.name)
	delete(ld.fetches, pl.id)
	if err == nil {
		g.notice(Repaired, pl.name, g.cfg.Self, fmt.Sprintf("%s; replaced by the copy of %s", pl.why, pl.from.id))
	}
	if pl.locked {
		pl.locked = false
		ld.locks.release(pl.name, mending)
	}
	for _, done := range pl.done {
		done(err)
	}
}

// onFetched takes in a piece.
func (g *Group) onFetched(p *peer, m *wirepb.PGFetched, payload []byte) {
	ld := g.lead
	pl := ld.fetches[m.Id]
	if pl == nil || pl.from != p || pl.stream != p.stream {
		return
	}
	delete(ld.fetches, m.Id)
	pl.id = 0
	refuse := func(why string) {
		pl.tried[p.id] = why
		pl.from = nil // tendPulls goes on
	}
	v := fromPos(m.Version)
	switch {
	case m.Error != "":
		refuse(m.Error)
		g.notice(ReadFailed, pl.name, p.id, m.Error)
		g.suspectLater(pl.name)
		return
	case m.Missing:
		refuse("does not have it")
		return
	case pl.known && v != pl.want && !g.cfg.is(PullAnything):
		refuse(fmt.Sprintf("has version %s, not %s", v, pl.want))
		return
	case m.Off != pl.off && len(payload) > 0 || !m.Last && m.Next == nil:
		refuse("sent a piece that does not fit")
		return
	}
	pl.known, pl.want = true, v
	key := g.stagedKey(pl.name)
	var ops []store.Op
	if pl.first {
		pl.first = false
		ops = append(ops, store.Op{Kind: store.OpRemove, Key: key}, store.Op{Kind: store.OpTouch, Key: key})
	}
	for _, kv := range m.Attrs {
		ops = append(ops, store.Op{Kind: store.OpSetAttr, Key: key, Name: kv.Key, Value: kv.Value})
	}
	if len(payload) > 0 {
		ops = append(ops, store.Op{Kind: store.OpWrite, Key: key, Off: pl.off, Data: payload})
		pl.off += uint64(len(payload))
	}
	for _, kv := range m.Omap {
		ops = append(ops, store.Op{Kind: store.OpOmapSet, Key: key, Name: kv.Key, Value: kv.Value})
	}
	if m.Last {
		ops = append(ops,
			store.Op{Kind: store.OpTruncate, Key: key, Off: m.Size},
			store.Op{Kind: store.OpSetVersion, Key: key, Version: v, Mtime: m.Mtime},
			store.Op{Kind: store.OpRename, Key: key, To: g.objKey(pl.name)})
	}
	if err := refusal(ops); err != nil {
		refuse(err.Error())
		return
	}
	g.persist(ops, func() {
		if g.lead != ld || ld.pulls[pl.name] != pl || pl.from != p || pl.stream != p.stream {
			return
		}
		if m.Last {
			g.endPull(pl, nil)
			return
		}
		g.fetch(pl, m.Next)
	})
	pl.asked = g.now
}

// ---- requests of clients ----

// pullsPerRequest is how often a request may have its object pulled before it is given up.
const pullsPerRequest = 2

// mended pulls the object of a request whose evaluation could not read it, and has it evaluated
// again. It reports false when the answer must stand.
func (g *Group) mended(r *request, ev *ExecutedEvent) bool {
	ld := g.lead
	if i, listed := g.scrubs.find(r.name); listed && r.ev.Op != nil && ev.Code == wirepb.Code_OK && g.scrubs.st.Bad[i].Unfound {
		g.suspectLater(r.name) // it was written anew, or whoever has it came back
	}
	if r.ev.Op == nil || ev.Code != wirepb.Code_CORRUPT && ev.Code != wirepb.Code_IO_ERROR || g.cfg.is(NoReadRepair) {
		return false
	}
	r.pulls++
	g.notice(ReadFailed, r.name, g.cfg.Self, ev.Text)
	if r.pulls > pullsPerRequest {
		ev.Code, ev.Text = wirepb.Code_IO_ERROR, fmt.Sprintf("object %q of PG %s cannot be read, not even after it was repaired: %s", r.name, g.id, ev.Text)
		return false
	}
	answer := *ev
	g.startPull(r.name, ev.Text, r.ev.Write, func(err *pullError) {
		if ld.requests[answer.Handle] != r {
			return
		}
		if err == nil {
			g.fx.Exec = append(g.fx.Exec, Exec{Handle: answer.Handle, Name: r.name, Op: r.ev.Op, Payload: r.ev.Payload})
			return
		}
		answer.Code, answer.Text = wirepb.Code_TRY_LATER, err.text
		if err.unfound {
			answer.Code = wirepb.Code_IO_ERROR
			g.noteUnfound(r.name, err.text)
		}
		r.done = &answer
		g.hold(r)
	})
	return true
}

// ---- recovery ----

// pushUnreadable pulls an object that a peer needs and we cannot read; the push begins anew then.
func (g *Group) pushUnreadable(ps *push, why error) {
	ld, p, name := g.lead, ps.peer, ps.object
	delete(ld.pushes, ps.id)
	p.pushing--
	g.unlockPush(ps)
	g.notice(ReadFailed, name, g.cfg.Self, why.Error())
	stream := p.stream
	again := func(err *pullError) {
		if p.stream != stream || p.phase != learning && p.phase != staging {
			return
		}
		if err == nil {
			if _, needed := p.need[name]; needed {
				p.need[name] = false
				p.order = append(p.order, name)
			}
			return
		}
		// The peer stays as it is and is tried again later, perhaps by another primary.
		if err.unfound {
			g.noteUnfound(name, err.text)
		}
		ld.unreadable = true
		g.breakStream(p)
		p.retryAt = g.now.Add(20 * g.cfg.RetryAfter)
	}
	if ld.pulled[name]++; ld.pulled[name] > pullsPerRequest || g.cfg.is(NoReadRepair) {
		again(&pullError{text: why.Error()}) // it did not help
		return
	}
	g.startPull(name, why.Error(), false, again)
}

// ---- the other side ----

// fetchesMax bounds the pieces that a peer reads for its primary at a time.
const fetchesMax = 1024

// onFetch reads a piece of our copy for the primary. What we have acknowledged is in it, and
// what we have received as well: the primary counts on the order of the stream.
func (g *Group) onFetch(m *wirepb.PGFetch) {
	f := &g.fol
	if !g.exists || !fitName(m.Object) || len(f.fetches) >= fetchesMax {
		g.reject("fetch does not fit")
		return
	}
	token := g.token()
	if f.fetches == nil {
		f.fetches = map[uint64]uint64{}
	}
	f.fetches[token] = m.Id
	at := Cursor{Attrs: int(m.Attrs), Off: m.Off, Omap: m.Omap, OmapAfter: m.OmapAfter}
	g.whenDurable(func() {
		g.fx.Read = append(g.fx.Read, Read{Token: token, Object: string(m.Object), At: at})
	})
}

func (g *Group) followerRead(ev ReadEvent) {
	f := &g.fol
	id, ok := f.fetches[ev.Token]
	if !ok || f.broken {
		return // of an earlier stream
	}
	delete(f.fetches, ev.Token)
	m := &wirepb.PGFetched{Id: id}
	if ev.Err != nil {
		m.Error = ev.Err.Error()
		g.answer(&wirepb.PGMsg_Fetched{Fetched: m})
		return
	}
	pc := &ev.Piece
	m.Missing, m.Last = pc.Missing, pc.Last
	m.Version, m.Size, m.Mtime, m.Off = toPos(pc.Info.Version), pc.Info.Size, pc.Info.Mtime, pc.Off
	m.Attrs, m.Omap = toKVs(pc.Attrs), toKVs(pc.Omap)
	if !pc.Last {
		m.Next = &wirepb.PGFetch{Attrs: uint32(pc.Next.Attrs), Off: pc.Next.Off, Omap: pc.Next.Omap, OmapAfter: pc.Next.OmapAfter}
	}
	g.answer(&wirepb.PGMsg_Fetched{Fetched: m})
	if len(pc.Data) > 0 {
		g.fx.Send[len(g.fx.Send)-1].Payload = [][]byte{pc.Data}
	}
}

func (g *Group) notice(kind NoticeKind, object string, osd placement.OSDID, text string) {
	g.fx.Notices = append(g.fx.Notices, Notice{Kind: kind, Object: object, OSD: osd, Text: text})
}
