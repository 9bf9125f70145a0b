package sim

import (
	"time"

	"github.com/cairnstore/cairn/osd/pg"
)

// knobs are what a seed draws besides the faults: how large the cluster is, how eager its
// clients are and where the protocol's limits lie.
type knobs struct {
	osds, clients int
	pools         []poolKnobs
	objects       int // all pools together
	opsPerClient  int
	think         time.Duration // the longest pause of a client
	hurry         bool          // many clients, few objects, faults that make old primaries
	quitters      float64       // chance that a client dies instead of asking again
	latency       time.Duration // the longest way of a message
	disk          time.Duration // the longest a batch takes
	clientLag     time.Duration // the longest a client waits for a map
	drift         float64       // how much faster or slower a clock may be
	execLater     bool          // writes are evaluated in events of their own
	piece         pg.PieceSize
	stallsHeal    bool // what a cut held up arrives when it heals
	cfg           pg.Config
	rotOne        bool // copies of one OSD rot, and at least two members have every write
	limits        pg.Limits
	refs          bool // clients make references to chunks
}

type poolKnobs struct {
	name                 string
	size, minSize, pgNum uint32
}

func (w *world) drawKnobs() {
	k := &w.k
	*k = knobs{
		osds: 4 + min(w.rng.IntN(5), w.rng.IntN(4)), clients: 4, opsPerClient: 40,
		think: w.rand(10*time.Millisecond, time.Second), objects: 4 + w.rng.IntN(5), quitters: 0.01,
		latency: w.rand(2*time.Millisecond, 15*time.Millisecond), disk: w.rand(time.Millisecond, 20*time.Millisecond),
		clientLag: w.rand(10*time.Millisecond, 200*time.Millisecond), drift: 0.02, execLater: w.chance(0.5),
		piece: pg.PieceSize{Bytes: uint64(2 + w.rng.IntN(8)), Pairs: 1 + w.rng.IntN(3)}, stallsHeal: w.chance(0.3),
	}
	if k.hurry = w.chance(0.5); k.hurry {
		k.clients, k.opsPerClient, k.objects = 6, 80, 2
		k.think = w.rand(50*time.Millisecond, 500*time.Millisecond)
	}
	if w.chance(0.3) {
		k.quitters = 0.2
	}
	if w.chance(0.3) {
		k.clientLag = w.rand(time.Second, 8*time.Second)
	}
	if w.chance(0.3) {
		k.drift = 0.04
	}
	k.rotOne = w.chance(0.25)
	k.pools = []poolKnobs{{name: "p", size: 3, minSize: 1 + uint32(w.rng.IntN(2)), pgNum: 1 + uint32(w.rng.IntN(3))}}
	if w.chance(0.5) {
		size := 2 + uint32(w.rng.IntN(2))
		k.pools = append(k.pools, poolKnobs{name: "q", size: size, minSize: 1 + uint32(w.rng.IntN(2)), pgNum: 1 + uint32(w.rng.IntN(2))})
	}
	if k.rotOne {
		for i := range k.pools {
			k.pools[i].size, k.pools[i].minSize = 3, 2
		}
	}
	k.cfg = pg.Config{
		LogMax: 16 + w.rng.IntN(100), LogKeep: -1, InFlightMax: 1 + w.rng.IntN(16), PushMax: 1 + w.rng.IntN(3),
		ScanLimit: 1 + w.rng.IntN(5), AckTimeout: time.Second, RetryAfter: 50 * time.Millisecond,
		HomeAfter: w.rand(time.Millisecond, 10*time.Second), ScrubPatience: 10 * time.Second,
	}
	if w.chance(0.5) {
		k.limits = pg.Limits{Sources: 1 + w.rng.IntN(2), Targets: 1 + w.rng.IntN(2), Pushes: 1 + w.rng.IntN(4), Homes: 1, Busy: 1 + w.rng.IntN(4)}
	}
	switch w.rng.IntN(6) {
	case 0:
		k.cfg.LogMax = 1 + w.rng.IntN(8)
	case 1, 2:
		k.cfg.LogMax, k.cfg.LogKeep = 4000, 0 // nothing is ever trimmed
	}
	k.cfg.Mutant = w.o.Mutant
}
