package sim

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/cairnstore/cairn/osd/chunkcare"
)

// chunkOptions are those of TestChunks. Mutants do without slow devices: the seeds that notice them were found so.
func chunkOptions(seed uint64) Options { return Options{Seed: seed, Chunks: true, Slow: true} }

// TestChunks lets clusters with chunks live under random faults, see plane.
func TestChunks(t *testing.T) {
	if *seedFlag != 0 {
		o := chunkOptions(*seedFlag)
		o.Trace = func(line string) { fmt.Fprintln(os.Stdout, line) }
		r := Run(o)
		if err := r.Err(); err != nil {
			t.Fatal(err)
		}
		return
	}
	base, most, d := uint64(1), uint64(100), 2*time.Second // see TestSimulation
	if testing.Short() {
		d = time.Second
	}
	if *secondsFlag != 0 {
		base, most, d = uint64(time.Now().UnixNano())%1_000_000_000, math.MaxUint64, time.Duration(*secondsFlag)*time.Second
	}
	sum := runFor(base, most, d, chunkOptions)
	t.Logf("from seed %d: %s", base, sum)
	for _, r := range sum.failed {
		t.Error(r.Err())
	}
}

// TestChunksRepeats: see TestSimulationRepeats. Coroutines and production code must not change that.
func TestChunksRepeats(t *testing.T) {
	for seed := uint64(1); seed <= 2; seed++ {
		o := chunkOptions(seed)
		if a, b := Run(o), Run(o); a.Mark != b.Mark || a.Steps != b.Steps || a.Ops != b.Ops {
			t.Fatalf("seed %d ran in two ways: %d and %d steps", seed, a.Steps, b.Steps)
		}
	}
}

// chunkMutants are the rules of the chunk plane that are broken, and how many seeds may be needed to notice; 0: chance hits
// too seldom, and TestModelMutants of osd/chunkcare has to.
var chunkMutants = []struct {
	name  string
	care  chunkcare.Mutant
	slip  Slip
	first int // the first seed in which it was noticed when this was written
	seeds int
}{
	{name: "GC without epochs", care: chunkcare.GCNoEpoch, first: 8, seeds: 40},
	{name: "GC without a condition", care: chunkcare.GCUnconditional, first: 24, seeds: 60},
	{name: "the outbox is believed", care: chunkcare.OutboxBlind},
	{name: "a shard counts before it is durable", care: chunkcare.CountEarly, first: 2, seeds: 20},
	{name: "orphans without void records", care: chunkcare.OrphanNoVoid, first: 4, seeds: 60},
	{name: "audit without void records", care: chunkcare.AuditNoVoid, first: 1, seeds: 60},
	{name: "an OSD drops a shard that is about to be its", care: chunkcare.OrphanUnmarked},
	{name: "chunks are condemned without a condition", care: chunkcare.CondemnBlind},
	{name: "settling does not look whether the object was written meanwhile", care: chunkcare.SettleBlind, first: 2, seeds: 60},
	{name: "settling gives up what may be set", care: chunkcare.SettleAbandon},
	{name: "ack a shard early", slip: AckShardEarly, first: 4, seeds: 30},
	{name: "enter a chunk early", slip: EnterEarly, first: 1, seeds: 10},
	{name: "drop references first", slip: DropFirst, first: 2, seeds: 20},
}

func noticedInChunks(o Options) (what string) {
	defer func() {
		if r := recover(); r != nil {
			what = fmt.Sprint("panic: ", r)
		}
	}()
	if r := Run(o); len(r.Fails) > 0 {
		return r.Fails[0]
	}
	return ""
}

// TestChunkMutants is TestMutants for the chunk plane.
func TestChunkMutants(t *testing.T) {
	if testing.Short() {
		return
	}
	for _, m := range chunkMutants {
		if m.seeds == 0 {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			for seed := m.first; seed < m.first+m.seeds; seed++ {
				if what := noticedInChunks(Options{Seed: uint64(seed), Chunks: true, Care: m.care, Slip: m.slip}); what != "" {
					t.Logf("seed %d: %.200s", seed, what)
					return
				}
			}
			t.Fatalf("not noticed by seeds %d to %d", m.first, m.first+m.seeds-1)
		})
	}
}

// TestMeasureChunks is TestMeasure for the chunk plane.
func TestMeasureChunks(t *testing.T) {
	if *measureFlag == 0 {
		return
	}
	for _, m := range chunkMutants {
		if !regexp.MustCompile(*onlyFlag).MatchString(m.name) {
			continue
		}
		found, first, example := 0, 0, ""
		for seed := 1; seed <= *measureFlag; seed++ {
			if what := noticedInChunks(Options{Seed: uint64(seed), Chunks: true, Care: m.care, Slip: m.slip}); what != "" {
				if found++; found == 1 {
					first, example = seed, what
				}
			}
		}
		t.Logf("%-46s %4d of %d seeds, first %4d: %.140s", m.name, found, *measureFlag, first, example)
	}
}
