package sim

import "time"

// fault is one kind of harm that can be done now and then. inject does it, and sees to its
// end; it returns false if there was nothing to do it to.
type fault struct {
	name   string
	weight int // how often, compared with others
	inject func(*world) bool
}

// faults are all kinds. A seed draws which of them it has (drawSwarm): with few kinds, each
// happens more often and at worse moments than with all.
var faults = [][]fault{processFaults, netFaults, diskFaults, monFaults, adminFaults, scrubFaults}

// swarm is what a seed has drawn: the faults, how often there is one, and how likely is what
// can happen to any message.
type swarm struct {
	faults []fault
	total  int           // of the weights
	pause  time.Duration // the longest between two faults
	// Chances, for each message.
	loss     float64 // it is lost, with its connection if it belongs to one
	gap      float64 // it is lost without a trace
	twice    float64 // it arrives twice
	overtake float64 // it arrives out of order
	slow     float64 // it takes up to a second longer

	unanswered     float64 // a client's answer is lost
	crashOnPropose float64 // an OSD dies just after it has proposed a change
}

func (w *world) drawSwarm() {
	s := &w.swarm
	*s = swarm{pause: w.rand(500*time.Millisecond, 3*time.Second)}
	for _, group := range faults {
		for _, f := range group {
			if f.name == "deposed primary" && w.k.hurry {
				f.weight *= 8
			} else if w.chance(0.4) {
				continue
			}
			f.weight *= 1 + w.rng.IntN(3)
			s.total += f.weight
			s.faults = append(s.faults, f)
		}
	}
	if w.o.Slow && w.chance(0.7) {
		f := fault{"slow in the map", 4 * (1 + w.rng.IntN(3)), (*world).callSlow}
		s.total += f.weight
		s.faults = append(s.faults, f)
	}
	maybe := func(most float64) float64 {
		if w.chance(0.5) {
			return 0
		}
		return most * w.rng.Float64()
	}
	s.loss, s.gap, s.twice = maybe(0.004), maybe(0.002), maybe(0.01)
	s.overtake, s.slow, s.crashOnPropose, s.unanswered = maybe(0.002), maybe(0.02), maybe(0.06), maybe(0.2)
}

// inject counts a fault.
func (w *world) inject(name string) {
	w.count[name]++
	w.logf("fault: %s", name)
}

// disturb does harm, again and again until the faults end.
func (w *world) disturb() {
	if !w.faults {
		return
	}
	if w.swarm.total > 0 {
		n := w.rng.IntN(w.swarm.total)
		for _, f := range w.swarm.faults {
			if n -= f.weight; n < 0 {
				if f.inject(w) {
					w.inject(f.name)
				}
				break
			}
		}
	}
	w.after(w.rand(0, w.swarm.pause), w.disturb)
}

// until lets something happen after a while, unless the faults are over by then: heal has done it.
func (w *world) until(d time.Duration, run func()) {
	w.after(d, func() {
		if w.faults {
			run()
		}
	})
}

// someOSD returns one that is part of the cluster.
func (w *world) someOSD() *osd {
	for {
		if n := pick(w, w.osds); !n.gone {
			return n
		}
	}
}

// heal ends all faults and makes everything as it should be.
func (w *world) heal() {
	w.logf("the faults end")
	w.faults = false
	w.net.healAll()
	for _, m := range w.mons.all {
		m.thaw()
		m.alive, m.lag = true, 0
	}
	for ; w.owed > 0; w.owed-- {
		w.addOSD()
	}
	w.healAdmin()
	for _, n := range w.osds {
		n.thaw()
		w.healDisk(n)
		if !n.gone {
			n.start()
		}
	}
	w.healRot()
	for _, c := range w.clients {
		c.thaw()
		c.left = min(c.left, 5)
	}
	w.plane.heal()
}
