package pg

import (
	"fmt"
	"slices"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// split is the work of dividing our copy of a PG, because its pool has more PGs
// than the copy was divided for. See "PGs that split" in docs/protocol.md.
//
// The objects move in batches, each of which a crash may follow: the state names
// the number of PGs that the split leads to until the end, so that it is resumed
// with that number, whatever the map says by then. Until the last batch, which
// makes all children exist and the split done at once, no child exists here, and the
// driver keeps their groups back.
type split struct {
	from    uint32 // pg_num before
	to      uint32 // and afterwards
	kids    []placement.PGID
	present map[placement.PGID]bool // kids that have a copy here already: theirs counts
	probes  map[uint64]placement.PGID
	token   uint64 // the listing under way
	after   string // objects up to here are where they belong
	moved   int
	kid     int        // whose log is being written
	retryAt clock.Mono // a listing failed: begin again then; zero: none did
}

// splitPages is how many pages of a backfill are moved at a time.
const splitPages = 4

// String says for people how far the split is.
func (s *split) String() string {
	return fmt.Sprintf("splitting into %d PGs for pg_num %d, %d objects moved", len(s.kids)+1, s.to, s.moved)
}

// keepUp begins to split our copy if the map asks for it.
func (g *Group) keepUp() {
	v := &g.view
	if g.waits() || v.PGNum == 0 {
		return
	}
	if !g.exists {
		g.st.pgNum = v.PGNum
		return
	}
	if g.st.pgNum == 0 { // written when pools did not grow
		g.st.pgNum = v.FirstPGNum
	}
	to := v.PGNum
	if g.st.splitTo != 0 {
		to = g.st.splitTo
	}
	s := &split{from: g.st.pgNum, to: to}
	for _, shard := range placement.SplitChildren(g.id.Shard, g.st.pgNum, to) {
		s.kids = append(s.kids, placement.PGID{Pool: g.id.Pool, Shard: shard})
	}
	if len(s.kids) == 0 {
		g.st.pgNum = max(g.st.pgNum, to) // remembered with the next change of the state
		return
	}
	g.split = s
	g.fol = follower{}
	if ld := g.lead; ld != nil && len(ld.peers) > 0 {
		// The monitors raise the term of a PG that splits, so we have hardly begun to lead it. Whatever
		// else we began must not go on by halves.
		g.stepDown(wirepb.Code_TRY_LATER, "the PG is peering")
		g.takeLead()
	}
	ops := []store.Op{{Kind: store.OpRemoveSpace, Key: store.Key{PG: g.id, Space: store.Staging}}}
	if g.st.splitTo == 0 && !g.cfg.is(ForgetSplit) {
		g.st.splitTo = to
		ops = append(ops, g.opState())
	}
	g.persist(ops, func() { g.probeKids(s) })
}

// probeKids asks which children are here already. It runs when everything that was
// written before the split is on disk, so that listings show it.
func (g *Group) probeKids(s *split) {
	if g.split != s {
		return
	}
	s.present, s.probes, s.token, s.after = map[placement.PGID]bool{}, map[uint64]placement.PGID{}, 0, ""
	for _, kid := range s.kids {
		token := g.token()
		s.probes[token] = kid
		g.fx.List = append(g.fx.List, List{Token: token, Of: kid, Space: store.Meta, Limit: 1})
	}
}

// splitListed takes a listing that the split asked for; it reports whether it is one.
func (g *Group) splitListed(ev ListedEvent) bool {
	s := g.split
	if s == nil {
		return false
	}
	kid, probe := s.probes[ev.Token]
	switch {
	case !probe && (ev.Token != s.token || s.token == 0):
		return false
	case ev.Err != nil:
		// The index cannot be read. Neither can anything else of the PG be; the others go on without us.
		s.probes, s.token = nil, 0
		s.retryAt = g.now.Add(20 * g.cfg.RetryAfter)
	case probe:
		delete(s.probes, ev.Token)
		s.present[kid] = len(ev.Objects) > 0
		if len(s.probes) == 0 {
			g.nextPage(s)
		}
	default:
		g.moveObjects(s, &ev)
	}
	return true
}

func (g *Group) nextPage(s *split) {
	s.token = g.token()
	g.fx.List = append(g.fx.List, List{Token: s.token, After: s.after, Limit: splitPages * g.cfg.ScanLimit})
}

// moveObjects gives the children what is theirs of one page.
func (g *Group) moveObjects(s *split, page *ListedEvent) {
	s.token = 0
	var ops []store.Op
	for _, o := range page.Objects {
		s.after = o.Name
		kid := placement.PGID{Pool: g.id.Pool, Shard: placement.StableMod(placement.NameHash(o.Name), s.to)}
		switch {
		case !slices.Contains(s.kids, kid):
		case s.present[kid]:
			// The child is here by itself, and its log says what it has. Ours would be older.
			ops = append(ops, store.Op{Kind: store.OpRemove, Key: g.objKey(o.Name)})
		default:
			ops = append(ops, store.Op{Kind: store.OpRename, Key: g.objKey(o.Name), To: store.Key{PG: kid, Space: store.Objects, Name: o.Name}})
		}
	}
	s.moved += len(ops)
	next := func() { g.nextPage(s) }
	if !page.More || len(page.Objects) == 0 {
		next = func() { g.bearKid(s) }
	}
	if len(ops) == 0 {
		next()
		return
	}
	g.persist(ops, func() {
		if g.split == s {
			next()
		}
	})
}

// bearKid writes state and log of the next child into its staging space, where they do
// not count yet. Both halves keep the whole log: entries that name objects of the other
// half do no harm, since copying such an object is removing it where it does not exist.
func (g *Group) bearKid(s *split) {
	for s.kid < len(s.kids) && s.present[s.kids[s.kid]] {
		s.kid++
	}
	if s.kid == len(s.kids) {
		g.endSplit(s)
		return
	}
	kid := s.kids[s.kid]
	s.kid++
	st, log := g.st, g.log.entries
	st.tail, st.pgNum, st.splitTo = g.log.tail, s.to, 0
	if g.cfg.is(ChildWithoutLog) {
		st.tail, log = g.log.head(), nil
	}
	key := store.Key{PG: kid, Space: store.Staging, Name: metaName}
	g.persist([]store.Op{
		{Kind: store.OpRemoveSpace, Key: store.Key{PG: kid, Space: store.Staging}},
		{Kind: store.OpSetAttr, Key: key, Name: []byte(stateAttr), Value: st.encode()},
	}, nil)
	ops := make([]store.Op, 0, len(log))
	for _, e := range log {
		op := g.opEntry(e)
		op.Key = key
		ops = append(ops, op)
	}
	g.persistLog(ops)
	g.durable(func() {
		if g.split == s {
			g.bearKid(s)
		}
	})
}

// endSplit makes the children exist and the split done, in one batch.
func (g *Group) endSplit(s *split) {
	var ops []store.Op
	for _, kid := range s.kids {
		if !s.present[kid] {
			ops = append(ops, store.Op{Kind: store.OpRename, Key: store.Key{PG: kid, Space: store.Staging, Name: metaName},
				To: store.Key{PG: kid, Space: store.Meta, Name: metaName}})
		}
	}
	g.st.pgNum, g.st.splitTo = s.to, 0
	g.persist(append(ops, g.opState()), func() {
		if g.split == s {
			g.split = nil
			g.copyReady()
		}
	})
}

// waits reports that our copy is not what the map takes it for: we are dividing it, or it
// has not been split off yet. Then we neither lead nor follow.
func (g *Group) waits() bool { return g.split != nil || g.held }

// copyReady goes on with what waited: the next split, the primary's question, or the end
// of a copy that nobody needs.
func (g *Group) copyReady() {
	g.keepUp()
	if g.waits() {
		return
	}
	q := g.asked
	g.asked = nil
	if q != nil && placement.Term(q.Msg.Term) == g.view.Record.Term && q.From == g.view.Record.Primary {
		g.fromPrimary(*q)
	}
	if g.lead == nil && g.stray() {
		g.erase()
	}
}

// holdQuery keeps the primary's newest question until our copy is ready. Nothing else comes
// before the answer; should the primary have lost patience by then, the answer does no harm.
func (g *Group) holdQuery(ev MsgEvent) {
	if q := g.asked; ev.Msg.GetQuery() != nil && (q == nil || q.Msg.Term < ev.Msg.Term || q.Msg.Stream < ev.Msg.Stream) {
		g.asked = &ev
	}
}

// heldLong is how many AckTimeout a primary waits for its own copy to be split off before it
// hands over. Usually that takes as long as a disk needs for a few writes.
const heldLong = 4

// splitOn keeps a split going, and a primary whose disk hangs in the middle of one from
// keeping the PG.
func (g *Group) splitOn() {
	s := g.split
	if s != nil && s.retryAt != 0 && g.now >= s.retryAt {
		s.retryAt, s.kid = 0, 0
		g.probeKids(s)
	}
	if ld := g.lead; ld != nil {
		id := g.relief()
		if g.held && g.now.Sub(ld.since) > heldLong*g.cfg.AckTimeout {
			id = g.nextMember()
		}
		if ld.pending == nil && id != placement.NoOSD {
			g.change(g.view.Record.InSync, id)
		} else {
			g.repropose()
		}
		g.expireWaiting()
		g.wake()
	}
	if s != nil && s.retryAt != 0 && (g.fx.Wake == 0 || s.retryAt < g.fx.Wake) {
		g.fx.Wake = s.retryAt
	}
}

// Hold tells a new group that another group of this OSD may still split its copy off. It
// waits for Release.
func (g *Group) Hold() { g.held = true }

// Release ends the wait: what the store holds of the PG is the copy that was split off, or
// nothing. led is what the parent's group says, see LedFor, or zero.
func (g *Group) Release(now clock.Mono, r store.Reader, led placement.Term) (Effects, error) {
	g.now, g.fx, g.routine = now, Effects{}, false
	if !g.held || g.stopped {
		if !g.stopped {
			g.proceed()
		}
		return g.fx, nil
	}
	g.held, g.exists = false, false
	g.st, g.log = state{complete: true}, pgLog{}
	if err := g.loadOrLose(r); err != nil {
		return g.fx, err
	}
	if ld := g.lead; ld != nil {
		ld.committed = g.st.committed
		g.believe(led)
	}
	g.copyReady()
	g.proceed()
	return g.fx, nil
}

// opsUnsplit removes what a split that will never end has put into the children.
func (g *Group) opsUnsplit() []store.Op {
	from, to := g.st.pgNum, g.st.splitTo
	if g.split != nil {
		from, to = g.split.from, g.split.to // the last batch may be under way
	}
	if to == 0 {
		return nil
	}
	var ops []store.Op
	for _, shard := range placement.SplitChildren(g.id.Shard, from, to) {
		for _, sp := range []store.Space{store.Objects, store.Staging, store.Meta} {
			ops = append(ops, store.Op{Kind: store.OpRemoveSpace, Key: store.Key{PG: placement.PGID{Pool: g.id.Pool, Shard: shard}, Space: sp}})
		}
	}
	return ops
}

// misdirected answers a request that our map sends elsewhere: its client has an older map.
func (g *Group) misdirected(ev *OpEvent) bool {
	n := g.view.PGNum
	switch {
	case n == 0 || g.cfg.is(AnyObject):
		return false
	case ev.Op != nil:
		shard := placement.StableMod(placement.NameHash(string(ev.Op.Object)), n)
		if shard == g.id.Shard {
			return false
		}
		g.reply([]Handle{ev.Handle}, Reply{Code: wirepb.Code_STALE_MAP, Text: fmt.Sprintf("object %q belongs to PG %s, not %s, in map epoch %d",
			ev.Op.Object, placement.PGID{Pool: g.id.Pool, Shard: shard}, g.id, g.view.Epoch)})
	case ev.List != nil && ev.List.PgNum != 0 && ev.List.PgNum != n:
		g.reply([]Handle{ev.Handle}, Reply{Code: wirepb.Code_STALE_MAP, Text: fmt.Sprintf("the pool of PG %s has %d PGs in map epoch %d, not %d",
			g.id, n, g.view.Epoch, ev.List.PgNum)})
	default:
		return false
	}
	return true
}

// Splitting reports whether the group divides its copy, so that the PGs split off from it
// are not there yet; see Nursery.
func (g *Group) Splitting() bool { return g.split != nil }

// SplitFrom returns up to how many PGs the copy is divided, and how many the split under
// way leads to, which is the same if none is. Zero: there is no copy, or from a time when
// pools did not grow.
func (g *Group) SplitFrom() (from, to uint32) {
	if !g.exists {
		return 0, 0
	}
	if g.st.splitTo > g.st.pgNum {
		return g.st.pgNum, g.st.splitTo
	}
	return g.st.pgNum, g.st.pgNum
}

// LedFor returns what a new PG of that shard, split off from ours, may believe: the last term
// of ours, if we led and served it until the map came that has the new PG. It began one term
// later; as long as it still is in that term, nobody else can have led it. See believe.
func (g *Group) LedFor(shard uint32) placement.Term {
	ld := g.lead
	if ld == nil || ld.oldPGNum == 0 || g.served+1 != ld.term || shard < ld.oldPGNum {
		return 0
	}
	return g.served
}
