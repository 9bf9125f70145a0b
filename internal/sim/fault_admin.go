package sim

import (
	"fmt"
	"time"

	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/placement"
)

// What administrators do while all this goes on.
var adminFaults = []fault{
	{"reweight", 4, (*world).reweigh},
	{"min_size", 2, func(w *world) bool {
		w.mons.set(pick(w, w.k.pools).name, "min_size", max(w.leastMinSize(), 1+w.rng.IntN(3)))
		return true
	}},
	{"size", 2, func(w *world) bool {
		w.mons.set(pick(w, w.k.pools).name, "size", 2+w.rng.IntN(3))
		return true
	}},
	{"pool for a while", 1, (*world).passingPool},
	{"split", 3, (*world).splitPool},
	{"drain", 2, (*world).drain},
	{"pause flag", 1, func(w *world) bool { return w.flagFor(placement.FlagPause, 2*time.Second) }},
	{"flag", 3, func(w *world) bool {
		return w.flagFor(pick(w, []placement.Flags{
			placement.FlagNoDown, placement.FlagNoRebalance, placement.FlagNoRecover, placement.FlagNoBackfill,
			placement.FlagNoScrub, placement.FlagNoDeepScrub,
		}), 8*time.Second)
	}},
}

// leastMinSize is what min_size may be at least.
func (w *world) leastMinSize() int {
	if w.k.rotOne {
		return 2
	}
	return 1
}

// createPools makes the pools; now and then some OSDs are down just then.
func (w *world) createPools() {
	if w.chance(0.3) {
		for _, i := range w.rng.Perm(len(w.osds))[:1+w.rng.IntN(len(w.osds)-1)] {
			w.dieFor(w.osds[i], true, 3*time.Second)
			w.mons.down(placement.OSDID(i))
		}
	}
	for i, p := range w.k.pools {
		c := &fsm.PoolCreate{Name: p.name, Size: p.size, MinSize: p.minSize, PGNum: p.pgNum}
		if i == 0 && w.o.Chunks {
			c.Chunks = settlePolicy
		}
		w.mons.must(c)
	}
}

// reweigh moves the PGs' targets about.
func (w *world) reweigh() bool {
	for i, n := range w.osds {
		weight := placement.WeightOne
		if n.gone || i >= 2 && w.chance(0.4) {
			weight = 0
		}
		w.mons.weigh(n.id, weight)
	}
	return true
}

// passingPool makes a pool that is removed again.
func (w *world) passingPool() bool {
	w.values++
	name := fmt.Sprintf("x%d", w.values)
	w.mons.want(&fsm.PoolCreate{Name: name, Size: 3, MinSize: 1, PGNum: 1})
	w.until(w.rand(0, 6*time.Second), func() { w.mons.want(&fsm.PoolRemove{Name: name}) })
	return true
}

// flagFor sets a flag for a while.
func (w *world) flagFor(f placement.Flags, most time.Duration) bool {
	w.mons.want(&fsm.FlagSet{Flags: f, On: true})
	w.until(w.rand(0, most), func() { w.mons.want(&fsm.FlagSet{Flags: f}) })
	return true
}

// callSlow has the monitors say that a device is slow, for a while: others stand in for it in pools with chunks.
func (w *world) callSlow() bool {
	n := w.someOSD()
	w.mons.want(&fsm.OSDSlow{OSDs: []fsm.SlowOSD{{ID: n.id, Slow: true}}})
	w.until(w.rand(0, 10*time.Second), func() { w.mons.want(&fsm.OSDSlow{OSDs: []fsm.SlowOSD{{ID: n.id}}}) })
	return true
}

// drain empties an OSD, for a while.
func (w *world) drain() bool {
	n := w.someOSD()
	w.mons.want(&fsm.OSDDrain{OSDs: []placement.OSDID{n.id}, On: true})
	w.until(w.rand(time.Second, 10*time.Second), func() {
		w.mons.want(&fsm.OSDDrain{OSDs: []placement.OSDID{n.id}})
	})
	return true
}

// splitPool gives a pool more PGs, ready or not.
func (w *world) splitPool() bool {
	p := w.mons.st.Map().PoolByName(pick(w, w.k.pools).name)
	to := p.PGNum + 1 + uint32(w.rng.IntN(3))
	if to > pgNumMax {
		return false
	}
	w.mons.set(p.Name, "pg_num", to)
	w.mons.want(&fsm.PoolSplit{Pool: p.ID, From: p.PGNum, To: to})
	return true
}

const allFlags = placement.FlagPause | placement.FlagNoDown | placement.FlagNoRebalance | placement.FlagNoRecover |
	placement.FlagNoBackfill | placement.FlagNoScrub | placement.FlagNoDeepScrub

// pgNumMax keeps worlds small.
const pgNumMax = 6

// healAdmin makes pools and weights what they should be at last.
func (w *world) healAdmin() {
	w.mons.want(&fsm.FlagSet{Flags: allFlags})
	for _, p := range w.k.pools {
		w.mons.set(p.name, "min_size", w.leastMinSize())
		w.mons.set(p.name, "size", p.size)
		w.mons.set(p.name, "min_size", max(w.leastMinSize(), min(int(p.size), 1+w.rng.IntN(2))))
	}
	for _, p := range w.mons.st.Map().Pools {
		if p.Name[0] == 'x' {
			w.mons.want(&fsm.PoolRemove{Name: p.Name})
		}
	}
	for _, n := range w.osds {
		weight := placement.WeightOne
		if n.gone {
			weight = 0
		}
		w.mons.weigh(n.id, weight)
		w.mons.want(&fsm.OSDDrain{OSDs: []placement.OSDID{n.id}})
		if w.o.Slow && w.chance(0.7) { // the rest stays slow
			w.mons.want(&fsm.OSDSlow{OSDs: []fsm.SlowOSD{{ID: n.id}}})
		}
	}
}
