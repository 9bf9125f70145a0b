package sim

import (
	"time"

	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// What happens to disks.
var diskFaults = []fault{
	{"slow disk", 3, func(w *world) bool { // slower than members are waited for
		n := w.someOSD()
		n.disk.lag = w.rand(200*time.Millisecond, 3*time.Second)
		w.until(w.rand(time.Second, 4*time.Second), func() { n.disk.lag = 0 })
		return true
	}},
	{"hung disk", 2, func(w *world) bool {
		n := w.someOSD()
		if n.disk.hung {
			return false
		}
		n.disk.hung = true
		w.until(w.rand(time.Second, 6*time.Second), n.unhang)
		return true
	}},
	{"failing write", 3, func(w *world) bool {
		n := w.someOSD()
		if !n.alive {
			return false
		}
		if w.chance(0.5) {
			n.disk.st.FailJournal(errDisk)
			return true
		}
		failed := false
		n.disk.onBatch = func(*store.Batch) error {
			if failed {
				return nil
			}
			failed = true
			return errDisk
		}
		n.hook()
		return true
	}},
	{"failing reads", 2, func(w *world) bool { return w.someOSD().unreadable(store.ErrCorrupt, 4*time.Second) }},
	{"read errors", 2, func(w *world) bool { return w.someOSD().unreadable(errDisk, 2*time.Second) }},
	{"full disk", 2, func(w *world) bool {
		n := w.someOSD()
		n.disk.st.SetCapacity(n.disk.st.Usage().Used + w.rng.Int64N(4096))
		w.until(w.rand(time.Second, 5*time.Second), func() { n.disk.st.SetCapacity(1 << 40) })
		return true
	}},
	{"lost disk", 2, (*world).vanish},
}

// unreadable makes reads of objects fail for a while: of one object in two, always the same.
func (n *osd) unreadable(err error, most time.Duration) bool {
	half := n.w.rng.Uint64N(2)
	n.w.check.damaged = true
	n.disk.onRead = func(k store.Key) error {
		if k.Space != store.Meta && placement.NameHash(k.Name)>>7&1 == half {
			return err
		}
		return nil
	}
	n.hook()
	n.w.until(n.w.rand(500*time.Millisecond, most), func() {
		n.disk.onRead = nil
		n.hook()
	})
	return true
}

// hook gives the store what is to go wrong.
func (n *osd) hook() { n.disk.st.SetHooks(n.disk.onRead, n.disk.onBatch) }

func (w *world) healDisk(n *osd) {
	n.disk.onRead, n.disk.onBatch = nil, nil
	n.hook()
	n.disk.st.FailJournal(nil)
	n.disk.st.SetCapacity(1 << 40)
	n.unhang()
}

// vanish loses an OSD and its disk for ever, unless it is the last of an in-sync set to have
// anything; a new one takes its place.
func (w *world) vanish() bool {
	n := w.someOSD()
	gone := 0
	for _, o := range w.osds {
		if o.gone {
			gone++
		}
	}
	if gone >= 2 || w.k.rotOne {
		return false
	}
	m := w.mons.st.Map()
	for i := range m.PGs {
		for shard := range m.PGs[i].Records {
			id := placement.PGID{Pool: m.PGs[i].Pool, Shard: uint32(shard)}
			if rec := &m.PGs[i].Records[shard]; rec.Has(n.id) && !w.othersHave(id, rec, n) {
				return false
			}
		}
	}
	if !w.plane.mayLose() {
		return false
	}
	w.logf("%s is lost with its disk", n.id)
	n.crash(false)
	n.gone = true
	w.plane.lost()
	if w.chance(0.5) {
		w.mons.down(n.id)
	}
	w.until(w.rand(0, 5*time.Second), func() { w.mons.weigh(n.id, 0) }) // heal does it, too
	w.owed++
	w.until(w.rand(0, 5*time.Second), func() {
		w.owed--
		w.addOSD()
	})
	if w.chance(0.5) { // refused as long as a PG may need it
		for range 3 {
			w.until(w.rand(time.Second, 20*time.Second), func() { w.mons.want(&fsm.OSDRemove{ID: n.id}) })
		}
	}
	return true
}

// othersHave reports whether another member has all of a PG.
func (w *world) othersHave(id placement.PGID, rec *placement.PGRecord, not *osd) bool {
	for _, m := range rec.InSync {
		o := w.osds[m]
		c := pg.CopyOn(o.disk.st, id)
		if o != not && !o.gone && (!rec.Created || c.Exists && c.Complete) {
			return true
		}
	}
	return false
}

// lastWords reports whether a command would leave a PG to OSDs whose disks are lost, which only
// the proposal of one of them can do that was under way when it was lost. Nothing but force brings
// such a PG back, and that costs nothing the simulation could count.
func (w *world) lastWords(b fsm.Body) bool {
	c, ok := b.(*fsm.PGChange)
	if !ok || !w.osds[c.From].gone {
		return false
	}
	for _, id := range c.InSync {
		if !w.osds[id].gone {
			return false
		}
	}
	return true
}
