package sim

import (
	"time"

	"github.com/cairnstore/cairn/placement"
)

// What happens to processes: they die, alone, in order of rank or all at once, and freeze.
var processFaults = []fault{
	{"crash", 6, func(w *world) bool {
		n := w.someOSD()
		return w.mayDie(n) && w.dieFor(n, w.chance(0.7), 4*time.Second)
	}},
	{"crash of a primary", 4, func(w *world) bool {
		n := w.somePrimary()
		return n != nil && w.mayDie(n) && w.dieFor(n, w.chance(0.7), 4*time.Second)
	}},
	{"crash of all", 2, func(w *world) bool {
		for _, n := range w.osds {
			w.dieFor(n, true, 2*time.Second)
		}
		return true
	}},
	{"quick restart", 3, func(w *world) bool {
		n := w.someOSD()
		return w.dieFor(n, true, 200*time.Millisecond)
	}},
	{"pause", 4, func(w *world) bool { return w.freeze(&w.someOSD().process, 5*time.Second) }},
	{"pause of a primary", 4, func(w *world) bool {
		n := w.somePrimary()
		return n != nil && w.freeze(&n.process, 5*time.Second)
	}},
	{"pause of a client", 1, func(w *world) bool { return w.freeze(&pick(w, w.clients).process, 5*time.Second) }},
}

// mayDie keeps some OSDs alive: a cluster of which nobody is left most of the time shows nothing.
func (w *world) mayDie(n *osd) bool {
	dead := 0
	for _, o := range w.osds {
		if !o.alive && !o.gone {
			dead++
		}
	}
	return n.alive && dead < 3
}

// dieFor ends an OSD for a while.
func (w *world) dieFor(n *osd, refuses bool, most time.Duration) bool {
	if !n.alive {
		return false
	}
	n.crash(refuses)
	w.until(w.rand(0, most), n.start)
	return true
}

// freeze stops a process for a while.
func (w *world) freeze(p *process, most time.Duration) bool {
	if !p.alive || p.frozen {
		return false
	}
	p.freeze()
	life := p.life
	w.after(w.rand(100*time.Millisecond, most), func() {
		if p.life == life {
			p.thaw()
		}
	})
	return true
}

// somePG returns a PG, or false if there is none.
func (w *world) somePG() (placement.PGID, bool) {
	m := w.mons.st.Map()
	if len(m.PGs) == 0 {
		return placement.PGID{}, false
	}
	p := &m.PGs[w.rng.IntN(len(m.PGs))]
	return placement.PGID{Pool: p.Pool, Shard: uint32(w.rng.IntN(len(p.Records)))}, true
}

// somePrimary returns the primary of a PG, or nil.
func (w *world) somePrimary() *osd {
	id, ok := w.somePG()
	if !ok {
		return nil
	}
	if p := w.mons.record(id).Primary; p != placement.NoOSD {
		return w.osds[p]
	}
	return nil
}
