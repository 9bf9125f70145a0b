package sim

import (
	"time"

	"github.com/cairnstore/cairn/placement"
)

// What happens to the network: ways are cut, one or both, alone or many, to monitors and OSDs.
var netFaults = []fault{
	{"cut", 5, func(w *world) bool {
		a, b := w.someOSD(), w.someOSD()
		pairs := [][2]endpoint{{a.at, b.at}}
		if w.chance(0.7) {
			pairs = append(pairs, [2]endpoint{b.at, a.at})
		}
		return a != b && w.cutFor(pairs, w.rand(0, 4*time.Second))
	}},
	{"isolation", 3, func(w *world) bool { return w.isolate(w.someOSD(), w.chance(0.7)) }},
	{"deposed primary", 6, (*world).depose},
	{"swizzle", 2, (*world).swizzle},
	{"broken connection", 4, func(w *world) bool {
		a, b := w.someOSD(), w.someOSD()
		w.net.breakLink(a, b)
		return a != b
	}},
	{"cut from the monitors", 4, func(w *world) bool {
		n := w.someOSD()
		if w.chance(0.5) {
			w.mons.down(n.id)
		}
		return w.cutFor(w.monPairs(n.at), w.rand(0, 4*time.Second))
	}},
}

// cutFor cuts ways for a while.
func (w *world) cutFor(pairs [][2]endpoint, d time.Duration) bool {
	w.logf("cut %v for %v", pairs, d)
	w.after(d, w.net.cut(pairs))
	return true
}

// monPairs are the ways between somebody and all monitors.
func (w *world) monPairs(at endpoint) (pairs [][2]endpoint) {
	for _, m := range w.mons.all {
		if m.at != at {
			pairs = append(pairs, [2]endpoint{at, m.at}, [2]endpoint{m.at, at})
		}
	}
	return pairs
}

// osdPairs are the ways between somebody and all OSDs.
func (w *world) osdPairs(at endpoint) (pairs [][2]endpoint) {
	for _, o := range w.osds {
		if o.at != at {
			pairs = append(pairs, [2]endpoint{at, o.at}, [2]endpoint{o.at, at})
		}
	}
	return pairs
}

// isolate cuts an OSD off from the monitors and the other OSDs, but not from clients.
func (w *world) isolate(n *osd, monsToo bool) bool {
	pairs := w.osdPairs(n.at)
	if monsToo {
		pairs = append(pairs, w.monPairs(n.at)...)
	}
	return w.cutFor(pairs, w.rand(time.Second, 7*time.Second))
}

// depose makes a primary lose its place without its knowing.
func (w *world) depose() bool {
	id, ok := w.somePG()
	if !ok {
		return false
	}
	rec := w.mons.record(id)
	if rec.Primary == placement.NoOSD {
		return false
	}
	n := w.osds[rec.Primary]
	pairs := w.monPairs(n.at)
	if w.chance(0.6) {
		pairs = append(pairs, w.osdPairs(n.at)...)
	}
	w.cutFor(pairs, w.rand(time.Second, 5*time.Second))
	w.until(w.rand(0, time.Second), func() { w.mons.down(n.id) })
	if w.chance(0.3) { // those who could follow it have just restarted
		for _, m := range rec.InSync {
			if o := w.osds[m]; o != n {
				w.dieFor(o, true, 300*time.Millisecond)
			}
		}
	}
	return true
}

// swizzle cuts several OSDs off, one by one, and heals them in another order.
func (w *world) swizzle() bool {
	order := w.rng.Perm(len(w.osds))[:1+w.rng.IntN(len(w.osds))]
	var heals []func()
	var at time.Duration
	for _, i := range order {
		n := w.osds[i]
		at += w.rand(0, 500*time.Millisecond)
		w.until(at, func() {
			pairs := w.osdPairs(n.at)
			if w.chance(0.5) {
				pairs = append(pairs, w.monPairs(n.at)...)
			}
			w.logf("cut %s off", n.id)
			heals = append(heals, w.net.cut(pairs))
		})
	}
	at += w.rand(0, 3*time.Second)
	for range order {
		at += w.rand(0, 500*time.Millisecond)
		w.until(at, func() {
			if len(heals) > 0 {
				i := w.rng.IntN(len(heals))
				heals[i]()
				heals = append(heals[:i], heals[i+1:]...)
			}
		})
	}
	return true
}
