package pg_test

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// errDisk is what a broken disk says.
var errDisk = errors.New("simulated disk error")

// disturb does harm, again and again until the faults end.
func (w *world) disturb() {
	if !w.faults {
		return
	}
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	if p := w.mon.record().Primary; w.hurry && p != placement.NoOSD && w.chance(0.5) {
		w.depose(w.nodes[p])
		w.after(w.rand(0, 3*time.Second), w.disturb)
		return
	}
	switch w.rng.IntN(17) {
	case 0, 1, 2:
		dead := 0
		for _, o := range w.nodes {
			if !o.alive && !o.gone {
				dead++
			}
		}
		if dead < 3 {
			n.crash()
			w.after(w.rand(0, 4*time.Second), n.restart)
		}
	case 3: // everybody at once
		for _, o := range w.nodes {
			o.crash()
			w.after(w.rand(0, 2*time.Second), o.restart)
		}
	case 4, 5:
		o := w.nodes[w.rng.IntN(len(w.nodes))]
		keys := [][2]int{{int(n.id), int(o.id)}}
		if w.chance(0.7) {
			keys = append(keys, [2]int{int(o.id), int(n.id)})
		}
		w.cutFor(keys, w.rand(0, 3*time.Second))
	case 6: // away from all others, but perhaps not from clients
		var keys [][2]int
		for _, o := range w.nodes {
			keys = append(keys, [2]int{int(n.id), int(o.id)}, [2]int{int(o.id), int(n.id)})
		}
		keys = append(keys, [2]int{-1, int(n.id)}, [2]int{int(n.id), -1})
		w.cutFor(keys, w.rand(time.Second, 5*time.Second))
		w.after(w.rand(0, 2*time.Second), func() { w.mon.down(n.id) })
	case 7:
		w.mon.down(n.id) // by mistake
	case 8:
		w.cutFor([][2]int{{-1, int(n.id)}, {int(n.id), -1}}, w.rand(0, 4*time.Second))
		if w.chance(0.5) {
			w.mon.down(n.id)
		}
	case 9, 10:
		w.reweigh()
	case 11:
		w.breakLink(n, w.nodes[w.rng.IntN(len(w.nodes))])
	case 12:
		w.mon.set("min_size", fmt.Sprint(1+w.rng.IntN(3)))
	case 13:
		w.mon.set("size", fmt.Sprint(2+w.rng.IntN(3)))
	case 14: // a disk that is slower than members are waited for
		n.lag = w.rand(200*time.Millisecond, 3*time.Second)
		life := n.life
		w.after(w.rand(time.Second, 4*time.Second), func() {
			if n.life == life {
				n.lag = 0
			}
		})
	case 15:
		n.breakDisk()
	case 16:
		n.vanish()
	}
	w.after(w.rand(0, 3*time.Second), w.disturb)
}

// depose makes a primary lose its place without its knowing.
func (w *world) depose(n *node) {
	keys := [][2]int{{-1, int(n.id)}, {int(n.id), -1}}
	if w.chance(0.6) {
		for _, o := range w.nodes {
			keys = append(keys, [2]int{int(n.id), int(o.id)}, [2]int{int(o.id), int(n.id)})
		}
	}
	w.cutFor(keys, w.rand(time.Second, 5*time.Second))
	w.after(w.rand(0, time.Second), func() { w.mon.down(n.id) })
	if w.chance(0.3) { // those who could follow it have just restarted
		for _, id := range w.mon.record().InSync {
			if o := w.nodes[id]; o != n {
				o.crash()
				w.after(w.rand(0, 300*time.Millisecond), o.restart)
			}
		}
	}
}

// reweigh moves the PG's target about.
func (w *world) reweigh() {
	in := 0
	for i, n := range w.nodes {
		weight := uint32(placement.WeightOne)
		if n.gone || i >= 2 && w.chance(0.4) {
			weight = 0
		}
		if weight > 0 {
			in++
		}
		w.mon.weigh(n.id, weight)
	}
	w.logf("mon: %d OSDs in, target %v", in, w.mon.target())
}

// breakDisk makes the store fail, for one batch or for all that follow.
func (n *node) breakDisk() {
	if !n.alive {
		return
	}
	n.w.logf("%s: the disk breaks", n.id)
	if n.w.chance(0.5) {
		n.st.FailJournal(errDisk)
		return
	}
	failed := false
	n.st.SetHooks(nil, func(*store.Batch) error {
		if failed {
			return nil
		}
		failed = true
		return errDisk
	})
}

// vanish loses an OSD and its disk for ever, unless it is the last of the in-sync set
// to have anything; a new one takes its place.
func (n *node) vanish() {
	w := n.w
	rec := w.mon.record()
	gone := 0
	for _, o := range w.nodes {
		if o.gone {
			gone++
		}
	}
	others := slices.ContainsFunc(rec.InSync, func(id placement.OSDID) bool {
		o := w.nodes[id]
		c := pg.CopyOn(o.st, simPG)
		return o != n && !o.gone && (!rec.Created || c.Exists && c.Complete)
	})
	if n.gone || gone >= 2 || !others && rec.Has(n.id) {
		return
	}
	w.logf("%s is lost with its disk", n.id)
	n.crash()
	n.gone = true
	w.mon.down(n.id)
	w.after(w.rand(0, 5*time.Second), func() { w.mon.weigh(n.id, 0) })
	w.after(w.rand(0, 5*time.Second), w.addNode)
}

func (w *world) cutFor(keys [][2]int, d time.Duration) {
	w.logf("cut %v for %v", keys, d)
	for _, k := range keys {
		w.cut[k] = true
	}
	w.after(d, func() {
		for _, k := range keys {
			delete(w.cut, k)
		}
	})
}

// heal ends all faults and makes the pool as it should be.
func (w *world) heal() {
	w.logf("the faults end")
	w.faults = false
	clear(w.cut)
	w.mon.set("min_size", "1")
	w.mon.set("size", "3")
	w.mon.set("min_size", fmt.Sprint(1+w.rng.IntN(2)))
	for _, n := range w.nodes {
		n.lag = 0
		n.st.SetHooks(nil, nil)
		if n.gone {
			w.mon.weigh(n.id, 0)
			continue
		}
		w.mon.weigh(n.id, placement.WeightOne)
		n.restart()
	}
}

// clean reports whether the PG is whole and where it belongs.
func (w *world) clean() bool {
	p := w.mon.record().Primary
	if p == placement.NoOSD || !w.nodes[p].alive {
		return false
	}
	s := w.nodes[p].g.Stat(1, 1)
	return s != nil && s.State == "active+clean"
}
