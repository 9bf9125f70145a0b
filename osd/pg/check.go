package pg

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// suspect is an object whose copies seem to differ, or that somebody cannot read.
type suspect struct {
	name  string
	admin bool // an administrator's repair
}

// suspectsMax bounds the objects that wait to be looked at again. What does not fit is found by the next scrub.
const suspectsMax = 8192

// check looks at all copies of one object while it stands still, decides which are right and replaces the others.
type check struct {
	suspect
	id     uint64 // of the look under way; 0: none
	asked  clock.Mono
	peers  map[placement.OSDID]uint64 // the streams of who takes part
	copies map[placement.OSDID]*wirepb.ScrubItem
	locked bool
	tried  bool                         // a repair was made: this look is to confirm it
	fixing map[placement.OSDID][]string // copies that are being replaced, and what is wrong with them
	source *verdict                     // what they are replaced by
	pull   *pull                        // of our own copy, under our lock
	ended  bool
}

// mend is a good copy on its way to a member.
type mend struct {
	id          uint64
	ck          *check
	to          *peer
	stream      uint64
	at          Cursor
	first, last bool
}

// checkPatience is how many AckTimeout a check may hold its object.
const checkPatience = 20

func (g *Group) suspect(name string, admin bool) {
	ld := g.lead
	if len(ld.suspects) >= suspectsMax || slices.ContainsFunc(ld.suspects, func(s suspect) bool { return s.name == name }) {
		return
	}
	ld.suspects = append(ld.suspects, suspect{name, admin})
}

// suspectLater has an object looked at that a member could not read.
func (g *Group) suspectLater(name string) { g.suspect(name, false) }

// allLive reports whether every other member is up to date.
func (g *Group) allLive() bool {
	for _, id := range g.view.Record.InSync {
		if p := g.lead.peers[id]; id != g.cfg.Self && (p == nil || p.phase != live) {
			return false
		}
	}
	return true
}

// tendCheck begins the next check, and gives up one that cannot end.
func (g *Group) tendCheck() {
	ld := g.lead
	if ck := ld.check; ck != nil {
		for _, id := range slices.Sorted(maps.Keys(ck.peers)) {
			if p := ld.peers[id]; p == nil || p.stream != ck.peers[id] || p.phase != live {
				g.endCheck(ck)
				return
			}
		}
		if ck.asked != 0 && g.now.Sub(ck.asked) > checkPatience*g.cfg.AckTimeout {
			g.endCheck(ck)
		}
		return
	}
	if len(ld.suspects) == 0 || !ld.serving || !g.allLive() {
		return
	}
	ck := &check{suspect: ld.suspects[0]}
	ld.suspects = ld.suspects[1:]
	ld.check = ck
	if g.cfg.is(UnlockedRepair) {
		g.lookAtAll(ck)
		return
	}
	ld.locks.acquire(ck.name, mending, func() {
		if g.lead != ld {
			return
		}
		if ck.ended {
			ld.locks.release(ck.name, mending)
			return
		}
		ck.locked = true
		g.lookAtAll(ck)
	})
}

func (g *Group) endCheck(ck *check) {
	ld := g.lead
	ck.ended = true
	if ld.check == ck {
		ld.check = nil
	}
	for _, id := range slices.Sorted(maps.Keys(ld.mends)) {
		if ld.mends[id].ck == ck {
			delete(ld.mends, id)
		}
	}
	if pl := ck.pull; pl != nil && ld.pulls[ck.name] == pl {
		g.endPull(pl, &pullError{text: fmt.Sprintf("the repair of object %q of PG %s was interrupted", ck.name, g.id)})
	}
	if ck.locked {
		ck.locked = false
		ld.locks.release(ck.name, mending)
	}
}

// lookAtAll has every member describe its copy, in full.
func (g *Group) lookAtAll(ck *check) {
	ld := g.lead
	ck.id, ck.asked = g.token(), g.now
	ck.peers, ck.copies = map[placement.OSDID]uint64{}, map[placement.OSDID]*wirepb.ScrubItem{}
	id := ck.id
	g.look(Look{Object: ck.name, Deep: true}, func(ev LookedEvent) {
		m := &wirepb.PGScrubPage{Id: id, Items: ev.Items}
		if ev.Err != nil {
			m.Error = ev.Err.Error()
		}
		if g.lead == ld && ld.check == ck && ck.id == id {
			g.onChecked(g.cfg.Self, m)
		}
	})
	for _, p := range g.peerList() {
		if p.phase == live && g.view.Record.Has(p.id) {
			ck.peers[p.id] = p.stream
			g.sendQuietly(p, &wirepb.PGMsg_Scrub{Scrub: &wirepb.PGScrub{Id: id, Object: []byte(ck.name), Deep: true}})
		}
	}
}

func (g *Group) onChecked(from placement.OSDID, m *wirepb.PGScrubPage) {
	ck := g.lead.check
	it := &wirepb.ScrubItem{Object: []byte(ck.name), Error: m.Error}
	if m.Error == "" {
		if len(m.Items) != 1 || string(m.Items[0].Object) != ck.name {
			g.endCheck(ck)
			return
		}
		it = m.Items[0]
	}
	ck.copies[from] = it
	if len(ck.copies) == len(ck.peers)+1 {
		ck.id = 0
		g.judge(ck)
	}
}

// verdict says which copies of an object are right.
type verdict struct {
	bad     map[placement.OSDID][]string // whose copy is not right, and what is wrong
	good    []placement.OSDID
	absent  bool // what is right is that there is no such object
	version store.Version
	certain bool // else an administrator must decide
	lost    bool // no copy is right
	why     string
}

// judge acts on what all members say.
func (g *Group) judge(ck *check) {
	v := g.verdict(ck.name, ck.copies)
	if len(v.bad) == 0 {
		for _, id := range slices.Sorted(maps.Keys(ck.fixing)) {
			g.fixed(ck, id)
		}
		g.noteGood(ck.name)
		g.endCheck(ck)
		return
	}
	if !ck.tried {
		for _, id := range slices.Sorted(maps.Keys(v.bad)) {
			kind := Found
			if g.lead.scrub != nil {
				g.lead.scrub.found++
			}
			g.notice(kind, ck.name, id, strings.Join(v.bad[id], ", ")+errorOf(ck.copies[id]))
		}
	}
	switch {
	case v.lost:
		g.listBad(ck, &v)
		g.notice(Unfound, ck.name, placement.NoOSD, v.why)
		g.endCheck(ck)
	case ck.tried || !v.certain && !ck.admin:
		g.listBad(ck, &v)
		g.notice(Inconsistent, ck.name, placement.NoOSD, v.why)
		g.endCheck(ck)
	default:
		ck.tried, ck.fixing, ck.source = true, v.bad, &v
		g.repairOwn(ck)
	}
}

func errorOf(it *wirepb.ScrubItem) string {
	if it == nil || it.Error == "" {
		return ""
	}
	return ": " + it.Error
}

// fixed tells of a copy that was bad and is good now. Of our own, the pull has told.
func (g *Group) fixed(ck *check, id placement.OSDID) {
	if sc := g.lead.scrub; sc != nil {
		sc.fixed++
	}
	if id == g.cfg.Self && !ck.source.absent {
		return
	}
	what := "replaced by the copy of " + g.cfg.Self.String()
	if ck.source.absent {
		what = "removed"
	}
	g.notice(Repaired, ck.name, id, fmt.Sprintf("%s; %s; %s", strings.Join(ck.fixing[id], ", "), what, ck.source.why))
}

// listBad remembers an object that could not be repaired.
func (g *Group) listBad(ck *check, v *verdict) {
	b := &wirepb.PGInconsistent{Object: []byte(ck.name), Unfound: v.lost, Why: v.why}
	for _, id := range slices.Sorted(maps.Keys(ck.copies)) {
		b.Shards = append(b.Shards, &wirepb.PGShardError{
			Osd: int32(id), Primary: id == g.cfg.Self, Errors: v.bad[id], Item: ck.copies[id],
		})
	}
	g.noteBad(b)
}

// verdict decides which copies are right, by what can be known for certain:
//
//   - a copy that cannot be read is not;
//   - if the log still knows of the object, the log says whether it is there, and in which version;
//   - else what most have, where a copy that is missing never outvotes one that is there;
//   - of copies of the same version, what more than half of them hold.
//
// Where that does not decide, certain is false, and the verdict says what an administrator's repair
// would take: a copy rather than none, the newest version, the primary's bytes.
func (g *Group) verdict(name string, copies map[placement.OSDID]*wirepb.ScrubItem) verdict {
	v := verdict{bad: map[placement.OSDID][]string{}, certain: true}
	ids := slices.Sorted(maps.Keys(copies))
	var there, missing, broken []placement.OSDID
	for _, id := range ids {
		switch it := copies[id]; {
		case it.Error != "":
			broken = append(broken, id)
		case it.Missing:
			missing = append(missing, id)
		default:
			there = append(there, id)
		}
	}
	e := g.log.lastOf(name)
	if e != nil && e.Removed {
		v.absent, v.good, v.why = true, missing, "the log says that it was removed"
		for _, id := range slices.Concat(there, broken) {
			v.bad[id] = []string{"unexpected"}
		}
		return v
	}
	if len(there)+len(broken) == 0 && e == nil {
		return v // it is gone, everywhere
	}
	for _, id := range there {
		at := fromPos(copies[id].Version)
		if e != nil && at == entryPos(e) || e == nil && v.version.Less(at) {
			v.version = at
		}
	}
	var right []placement.OSDID
	for _, id := range there {
		if fromPos(copies[id].Version) == v.version {
			right = append(right, id)
		}
	}
	for _, id := range broken {
		v.bad[id] = []string{"read_error"}
	}
	for _, id := range missing {
		v.bad[id] = []string{"missing"}
	}
	if e != nil && v.version.IsZero() || len(right) == 0 {
		for _, id := range there {
			v.bad[id] = []string{"version_mismatch"}
		}
		v.lost, v.certain, v.why = true, false, "no member has a good copy"
		return v
	}
	if e == nil && 2*len(right) <= len(there) {
		v.certain, v.why = false, "the copies have different versions, and the log no longer knows the object"
	}
	if e == nil && len(missing) >= len(there)+len(broken) {
		v.certain, v.why = false, "as many members lack the object as have it, and the log no longer knows it"
	}
	v.good = g.majority(right, copies, &v)
	for _, id := range there {
		if slices.Contains(v.good, id) {
			continue
		}
		if fromPos(copies[id].Version) != v.version {
			v.bad[id] = append(v.bad[id], "version_mismatch")
		}
		v.bad[id] = append(v.bad[id], differences(copies[id], copies[v.good[0]])...)
	}
	if v.why == "" {
		v.why = fmt.Sprintf("the good copy has version %s", v.version)
	}
	return v
}

// majority returns which of the copies of one version are right.
func (g *Group) majority(right []placement.OSDID, copies map[placement.OSDID]*wirepb.ScrubItem, v *verdict) []placement.OSDID {
	var best []placement.OSDID
	for _, id := range right {
		var same []placement.OSDID
		for _, o := range right {
			if len(differences(copies[id], copies[o])) == 0 {
				same = append(same, o)
			}
		}
		if g.cfg.is(PrimaryIsRight) && slices.Contains(same, g.cfg.Self) {
			return same
		}
		if len(same) > len(best) || len(same) == len(best) && slices.Contains(same, g.cfg.Self) {
			best = same
		}
	}
	if 2*len(best) <= len(right) {
		v.certain, v.why = false, "copies of the same version hold different bytes, and none is held by most"
	}
	return best
}

// differences names what differs between two readable copies, in the words of Ceph's list-inconsistent-obj.
func differences(a, b *wirepb.ScrubItem) (d []string) {
	if a.Size != b.Size {
		d = append(d, "size_mismatch")
	}
	if a.Deep && b.Deep && !bytes.Equal(a.DataDigest, b.DataDigest) {
		d = append(d, "data_digest_mismatch")
	}
	if a.Attrs != b.Attrs || !bytes.Equal(a.AttrsDigest, b.AttrsDigest) {
		d = append(d, "attr_value_mismatch")
	}
	if a.Omap != b.Omap || !bytes.Equal(a.OmapDigest, b.OmapDigest) {
		d = append(d, "omap_digest_mismatch")
	}
	return d
}

// ---- repair ----

// repairOwn makes our own copy good first, since it is what members get.
func (g *Group) repairOwn(ck *check) {
	ld := g.lead
	why, bad := ck.fixing[g.cfg.Self]
	switch {
	case !bad:
		g.repairPeers(ck)
	case ck.source.absent:
		g.persist([]store.Op{{Kind: store.OpRemove, Key: g.objKey(ck.name)}}, func() {
			if g.lead == ld && ld.check == ck {
				g.repairPeers(ck)
			}
		})
	default:
		text := strings.Join(why, ", ") + errorOf(ck.copies[g.cfg.Self])
		ck.pull = g.startPull(ck.name, text, true, func(err *pullError) {
			if g.lead != ld || ld.check != ck {
				return
			}
			if err != nil {
				g.lookAtAll(ck) // what can be done is done; the verdict lists what is left
				return
			}
			g.repairPeers(ck)
		})
		pl := ck.pull
		pl.known, pl.want, pl.only = true, ck.source.version, ck.source.good
	}
}

// repairPeers gives members the right copy.
func (g *Group) repairPeers(ck *check) {
	ld := g.lead
	for _, id := range slices.Sorted(maps.Keys(ck.fixing)) {
		if id == g.cfg.Self {
			continue
		}
		p := ld.peers[id]
		md := &mend{id: g.token(), ck: ck, to: p, stream: p.stream, first: true}
		ld.mends[md.id] = md
		if ck.source.absent {
			g.sendMend(md, &Piece{Missing: true, Last: true})
			continue
		}
		g.fx.Read = append(g.fx.Read, Read{Token: md.id, Object: ck.name})
	}
	g.mendsDone(ck)
}

// sendMend pushes a piece to a member.
func (g *Group) sendMend(md *mend, pc *Piece) {
	m := &wirepb.PGPush{
		Id: md.id, Object: []byte(md.ck.name), Remove: pc.Missing,
		Version: toPos(pc.Info.Version), Off: pc.Off, First: md.first, Last: pc.Last || pc.Missing,
		Attrs: toKVs(pc.Attrs), Omap: toKVs(pc.Omap), Size: pc.Info.Size, Mtime: pc.Info.Mtime,
	}
	md.first, md.last, md.at = false, m.Last, pc.Next
	md.ck.asked = g.now
	g.sendQuietly(md.to, &wirepb.PGMsg_Push{Push: m})
	if len(pc.Data) > 0 {
		g.fx.Send[len(g.fx.Send)-1].Payload = [][]byte{pc.Data}
	}
}

// mendRead sends the piece that was read; it reports false when the read was somebody else's.
func (g *Group) mendRead(ev ReadEvent) bool {
	md := g.lead.mends[ev.Token]
	if md == nil {
		return false
	}
	switch {
	case md.to.stream != md.stream:
		g.endCheck(md.ck)
	case ev.Err != nil || ev.Piece.Missing:
		delete(g.lead.mends, md.id)
		g.mendsDone(md.ck)
	default:
		g.sendMend(md, &ev.Piece)
	}
	return true
}

// mendPushed goes on with the next piece; it reports false when the push was somebody else's.
func (g *Group) mendPushed(p *peer, m *wirepb.PGPushed) bool {
	md := g.lead.mends[m.Id]
	if md == nil || md.to != p || md.stream != p.stream {
		return false
	}
	if !md.last {
		g.fx.Read = append(g.fx.Read, Read{Token: md.id, Object: md.ck.name, At: md.at})
		return true
	}
	delete(g.lead.mends, md.id)
	g.mendsDone(md.ck)
	return true
}

// mendsDone looks at all copies once more when every member has what it was given.
func (g *Group) mendsDone(ck *check) {
	if len(g.lead.mends) == 0 && g.lead.check == ck {
		g.lookAtAll(ck)
	}
}
