package sim

import (
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	seedFlag    = flag.Uint64("sim.seed", 0, "run only this seed, with a trace")
	secondsFlag = flag.Int("sim.seconds", 0, "run new seeds for so many seconds; default 35, 7 with -short; TestChunks: 2, 1")
	keepFlag    = flag.Bool("sim.keepgoing", false, "go on after a failure and list all of them")
)

// total sums up many runs.
type total struct {
	mu    sync.Mutex // guards below
	seeds int
	Result
	failed []Result
}

func (t *total) add(r Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seeds++
	t.Ops += r.Ops
	t.Steps += r.Steps
	t.Undecided += r.Undecided
	t.Virtual += r.Virtual
	if t.Faults == nil {
		t.Faults = map[string]int{}
	}
	for k, v := range r.Faults {
		t.Faults[k] += v
	}
	if len(r.Fails) > 0 {
		t.failed = append(t.failed, r)
	}
}

func (t *total) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d seeds, %.1f virtual hours, %d steps, %d operations (histories of %d objects too long to decide); faults:",
		t.seeds, t.Virtual.Hours(), t.Steps, t.Ops, t.Undecided)
	sum := 0
	for _, k := range slices.Sorted(maps.Keys(t.Faults)) {
		fmt.Fprintf(&b, "\n%8d %s", t.Faults[k], k)
		sum += t.Faults[k]
	}
	fmt.Fprintf(&b, "\n%8d together", sum)
	return b.String()
}

// runFor runs seeds from base on, so many at most, until the time is up, one world on each core. It stops at
// the first failure unless it is told to go on.
func runFor(base, most uint64, d time.Duration, options func(seed uint64) Options) *total {
	var (
		sum  total
		next = make(chan uint64)
		wg   sync.WaitGroup
	)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() { // until next is closed
			for seed := range next {
				sum.add(Run(options(seed)))
			}
		})
	}
	stop := func() bool {
		sum.mu.Lock()
		defer sum.mu.Unlock()
		return len(sum.failed) > 0 && !*keepFlag
	}
	for seed, end := base, time.Now().Add(d); time.Now().Before(end) && seed-base < most && !stop(); seed++ {
		next <- seed
	}
	close(next)
	wg.Wait()
	return &sum
}

// TestSimulation lets whole clusters live under random faults and checks that no invariant is
// ever broken. It stops by the clock: how many seeds that makes depends on the machine. New seeds
// are for -sim.seconds.
func TestSimulation(t *testing.T) {
	if *seedFlag != 0 {
		r := Run(Options{Seed: *seedFlag, Trace: func(line string) { fmt.Fprintln(os.Stdout, line) }})
		if err := r.Err(); err != nil {
			t.Fatal(err)
		}
		return
	}
	d := time.Duration(*secondsFlag) * time.Second
	if d == 0 {
		if d = 35 * time.Second; testing.Short() {
			d = 7 * time.Second
		}
	}
	base, most := uint64(1), uint64(1500) // the same seeds every time, so that who changes something else is not surprised
	if *secondsFlag != 0 {
		base, most = uint64(time.Now().UnixNano())%1_000_000_000, math.MaxUint64
	}
	sum := runFor(base, most, d, func(seed uint64) Options {
		if *secondsFlag != 0 && seed%4 == 0 {
			return chunkOptions(seed)
		}
		return Options{Seed: seed}
	})
	t.Logf("from seed %d: %s", base, sum)
	for _, r := range sum.failed {
		t.Error(r.Err())
	}
}

// TestSimulationRepeats: the same seed gives the same run, message by message, or no failure
// could be replayed.
func TestSimulationRepeats(t *testing.T) {
	for seed := uint64(1); seed <= 3; seed++ {
		if a, b := Run(Options{Seed: seed}), Run(Options{Seed: seed}); a.Mark != b.Mark || a.Steps != b.Steps || a.Ops != b.Ops {
			t.Fatalf("seed %d ran in two ways: %d and %d steps", seed, a.Steps, b.Steps)
		}
	}
}
