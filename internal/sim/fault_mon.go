package sim

import "time"

// What happens to monitors, and what they do by mistake.
var monFaults = []fault{
	{"new leader", 3, func(w *world) bool {
		if w.mons.leader == nil {
			return false
		}
		w.mons.lose()
		return true
	}},
	{"crash of a monitor", 2, func(w *world) bool {
		m := pick(w, w.mons.all[:])
		if !m.alive {
			return false
		}
		m.die()
		w.until(w.rand(0, 5*time.Second), func() { m.alive = true })
		return true
	}},
	{"pause of a monitor", 2, func(w *world) bool {
		return w.freeze(&pick(w, w.mons.all[:]).process, 5*time.Second)
	}},
	{"lost quorum", 1, func(w *world) bool {
		for _, i := range w.rng.Perm(len(w.mons.all))[:2] {
			w.freeze(&w.mons.all[i].process, 6*time.Second)
		}
		return true
	}},
	{"monitor cut off", 2, func(w *world) bool {
		return w.cutFor(w.monPairs(pick(w, w.mons.all[:]).at), w.rand(500*time.Millisecond, 6*time.Second))
	}},
	{"monitor behind", 2, func(w *world) bool {
		m := pick(w, w.mons.all[:])
		m.lag = w.rand(500*time.Millisecond, 6*time.Second)
		w.until(w.rand(time.Second, 6*time.Second), func() { m.lag = 0 })
		return true
	}},
	{"down by mistake", 4, func(w *world) bool {
		w.mons.down(w.someOSD().id)
		return true
	}},
}
