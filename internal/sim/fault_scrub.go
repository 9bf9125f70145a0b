package sim

import (
	"iter"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/scrub"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// Bits rot on disks, and scrubs look for that while everything else happens.
var scrubFaults = []fault{
	{"bit rot", 3, (*world).rot},
	{"scrub", 4, func(w *world) bool {
		n := w.someOSD()
		deep := w.chance(0.7)
		return n.alive && n.scrub(func(pg.ScrubState) bool { return w.chance(0.5) }, deep, n.wall())
	}},
}

// rot damages an object on a disk. Only one disk at a time has a damaged copy of it, as far as
// reads and scrubs have replaced the others.
func (w *world) rot() bool {
	n := w.someOSD()
	if w.k.rotOne {
		n = w.osds[0]
	}
	ids, err := n.disk.st.PGs()
	if err != nil || n.gone || len(ids) == 0 {
		return false
	}
	id := pick(w, ids)
	objs, _, err := n.disk.st.List(id, store.Objects, "", 1000)
	if err != nil || len(objs) == 0 {
		return false
	}
	k := store.Key{PG: id, Name: pick(w, objs).Name}
	for _, o := range w.osds {
		if o != n && !o.gone && o.rotten(k) {
			return false
		}
	}
	if n.disk.st.Rot(k, 0) != nil {
		return false // it has no bytes
	}
	w.check.damaged = true
	w.logf("%s: %s rots", n.id, k)
	return true
}

// rotten reports whether what the disk itself has of an object is damaged.
func (n *osd) rotten(k store.Key) bool {
	n.disk.st.SetHooks(nil, nil)
	defer n.hook()
	_, err := n.disk.st.Read(k, 0, 1)
	return err != nil && !isMissing(n.disk.st, k)
}

func isMissing(st *store.Sim, k store.Key) bool {
	_, err := st.Stat(k)
	return err != nil
}

// scrub has PGs that the OSD leads scrubbed; it reports whether there is one.
func (n *osd) scrub(want func(pg.ScrubState) bool, deep bool, wall int64) (any bool) {
	for _, s := range n.shards {
		for _, g := range pg.Sorted(s.groups) {
			if st := g.ScrubState(); st.Leads && !st.Running && want(st) {
				any = true
				s.step(g, pg.ScrubEvent{Start: true, Deep: deep, Wall: wall})
			}
		}
	}
	return any
}

// healRot lets scrubs find what is damaged. Where no other disk has the same version of an object, the
// damage is taken back: two failures at a time may cost data, and the simulation does not ask for more.
// With rotOne no second failure can cost data, and all must be found and repaired.
func (w *world) healRot() {
	w.settled = map[placement.PGID]settled{}
	w.scrubAll()
}

// healLost takes back the damage of what no other member has a good copy of.
func (w *world) healLost() {
	for n, id := range w.copies() {
		w.healRotIn(n, id)
	}
}

func (w *world) healRotIn(n *osd, id placement.PGID) {
	objs, _, err := n.disk.st.List(id, store.Objects, "", 1000)
	if err != nil {
		w.failf("list on %s: %v", n.id, err)
	}
	for _, o := range objs {
		k := store.Key{PG: id, Name: o.Name}
		if !n.rotten(k) {
			continue
		}
		others := 0
		rec := w.mons.record(id)
		for _, m := range w.osds {
			if info, err := m.disk.st.Stat(k); err == nil && m != n && !m.gone && rec != nil && rec.Has(m.id) && info.Version == o.Version && !m.rotten(k) {
				others++
			}
		}
		if others == 0 && !w.k.rotOne {
			w.logf("%s: %s rots no more", n.id, k)
			n.disk.st.Unrot(k)
		}
	}
}

// scrubAll has every PG scrubbed again and again, as long as it is clean. Who becomes a member after
// the last scrub may bring damage along.
func (w *world) scrubAll() {
	w.healLost() // also later: what was decided before the faults ended may yet drop a member
	for id, rec := range w.records() {
		if s := w.settled[id]; s.version != rec.Version || s.primary != rec.Primary {
			w.settled[id] = settled{rec.Version, rec.Primary, int64(w.now)}
		}
	}
	for _, n := range w.osds {
		if n.alive && !n.gone {
			n.scrub(func(st pg.ScrubState) bool { return st.Ready }, true, int64(w.now)+lastScrubs)
		}
	}
	w.after(time.Second, w.scrubAll)
}

// settled is since when a PG has had its members.
type settled struct {
	version placement.Epoch
	primary placement.OSDID
	at      int64
}

// lastScrubs is added to the time of the scrubs that come when the faults have ended: no clock is so late.
const lastScrubs = int64(time.Hour)

// records goes through all PGs.
func (w *world) records() iter.Seq2[placement.PGID, *placement.PGRecord] {
	return func(yield func(placement.PGID, *placement.PGRecord) bool) {
		m := w.mons.st.Map()
		for i := range m.PGs {
			for shard := range m.PGs[i].Records {
				if !yield(placement.PGID{Pool: m.PGs[i].Pool, Shard: uint32(shard)}, &m.PGs[i].Records[shard]) {
					return
				}
			}
		}
	}
}

// allScrubbed reports whether every PG was scrubbed since the faults ended and its members are who they are.
func (w *world) allScrubbed() bool {
	for id, rec := range w.records() {
		s, ok := w.settled[id]
		if !ok || rec.Primary == placement.NoOSD || s.version != rec.Version || s.primary != rec.Primary {
			return false
		}
		g := w.osds[rec.Primary].group(id)
		if g == nil || g.ScrubState().LastDeep <= lastScrubs+s.at {
			return false
		}
	}
	return true
}

// look carries out a Look effect, as osd/scrubber.go does.
func (s *shard) look(g *pg.Group, l pg.Look) {
	id, st := g.ID(), s.d.disk.st
	s.d.read(func() func() {
		ev := pg.LookedEvent{Token: l.Token}
		if l.Object != "" {
			it, err := scrub.Object(st, store.Key{PG: id, Name: l.Object}, l.Deep, nil)
			ev.Items, ev.Err = []*wirepb.ScrubItem{it}, err
		} else {
			ev.Items, ev.More, ev.Err = scrub.Page(st, id, l.After, l.Limit, l.MaxBytes, l.Deep, nil)
		}
		return func() { s.event(g, ev) }
	})
}
