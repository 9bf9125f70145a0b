package pg_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"
)

var (
	seedFlag  = flag.Uint64("pg.seed", 0, "run only this seed, with a trace")
	seedsFlag = flag.Int("pg.seeds", 0, "how many seeds to run; default 1200, 200 with -short")
)

// outcome is what became of a run.
type outcome struct {
	ops       int
	undecided int
	mark      uint64
	fails     []string
}

func (o outcome) err(seed uint64) error {
	if len(o.fails) == 0 {
		return nil
	}
	return fmt.Errorf("seed %d: %s\nreplay with -run TestSimulation -pg.seed=%d", seed, strings.Join(o.fails, "\n"), seed)
}

// runSeed lets a PG run for half a minute of faults, and then until it is quiet.
func runSeed(t *testing.T, seed uint64, trace bool, tune func(*world)) outcome {
	w := newWorld(t, seed, trace, tune)
	w.history = history{}
	clients := 4
	if w.hurry {
		clients = 6
	}
	for i := range clients {
		c := &simClient{w: w, id: i, left: 40, kv: map[string]string{}}
		if w.hurry {
			c.left, c.reader = 80, i < 3
		}
		w.clients = append(w.clients, c)
		w.after(w.rand(0, 100*time.Millisecond), c.next)
	}
	w.after(time.Second, w.disturb)
	w.run(w.now.Add(30 * time.Second))
	w.heal()
	busy := func() bool {
		for _, c := range w.clients {
			if !c.done {
				return true
			}
		}
		return !w.clean()
	}
	for range 60 {
		if len(w.fails) > 0 || !busy() {
			break
		}
		w.run(w.now.Add(time.Second))
	}
	if len(w.fails) == 0 && busy() {
		w.failf("not quiet 60 s after the faults: record %+v, target %v", *w.mon.record(), w.mon.target())
		for _, n := range w.nodes {
			if n.alive && n.g.Leads() {
				w.fails = append(w.fails, fmt.Sprintf("%s: %+v", n.id, n.g.Query(1)))
			}
		}
	}
	if len(w.fails) == 0 {
		w.run(w.now.Add(5 * time.Second))
		w.readAll()
		w.checkHistory()
	}
	if len(w.fails) == 0 {
		w.compareCopies()
	}
	ops := 0
	for _, h := range w.history {
		ops += len(h)
	}
	return outcome{ops: ops, undecided: w.undecided, mark: w.mark.Sum64(), fails: w.fails}
}

// readAll reads every object at last: what is there when all is quiet counts, too.
func (w *world) readAll() {
	for o := range w.objects {
		c := w.clients[o%len(w.clients)]
		c.done, c.left = false, 0
		c.seq++
		c.attempt(&attempt{seq: c.seq, in: simInput{object: fmt.Sprintf("o%d", o), kind: "read"}, call: w.now})
		w.run(w.now.Add(3 * time.Second))
	}
}

// TestSimulation runs a PG under random faults and checks that clients saw one
// linearizable history, that members have what is committed at every moment and
// are equal in the end, and that the PG becomes clean.
func TestSimulation(t *testing.T) {
	if *seedFlag != 0 {
		if err := runSeed(t, *seedFlag, true, nil).err(*seedFlag); err != nil {
			t.Fatal(err)
		}
		return
	}
	seeds := *seedsFlag
	if seeds == 0 {
		seeds = 1200
		if testing.Short() {
			seeds = 200
		}
	}
	base := uint64(time.Now().UnixNano()) % 1_000_000_000
	ops, undecided := 0, 0
	for i := range seeds {
		o := runSeed(t, base+uint64(i), false, nil)
		if err := o.err(base + uint64(i)); err != nil {
			t.Fatal(err)
		}
		ops += o.ops
		undecided += o.undecided
	}
	t.Logf("seeds %d..%d, %d operations; the histories of %d objects were too long to decide", base, base+uint64(seeds)-1, ops, undecided)
}

// TestSimulationRepeats: the same seed gives the same run, message by message, or
// no failure could be replayed.
func TestSimulationRepeats(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		if a, b := runSeed(t, seed, false, nil), runSeed(t, seed, false, nil); a.mark != b.mark || a.ops != b.ops {
			t.Fatalf("seed %d ran in two ways", seed)
		}
	}
}
