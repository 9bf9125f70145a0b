package store

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

// BenchmarkAllocator ages a device: objects of 4 MiB (60 % of the bytes), 64 KiB (30 %) and 4 KiB (10 %) are
// deleted and made at random while it stays so full, until four times its size has been written. It prints in how
// many runs large objects lie at the end, what an allocation costs, and the memory of the allocator.
func BenchmarkAllocator(b *testing.B) {
	for _, c := range []struct {
		gib, full int
		turns     float64
	}{{16, 80, 4}, {16, 90, 4}, {8192, 85, 0.02}} {
		b.Run(fmt.Sprintf("%dGiB/%dpercent", c.gib, c.full), func(b *testing.B) {
			for range b.N {
				benchAlloc(b, uint64(c.gib)<<30/blockBytes, c.full, c.turns)
			}
		})
	}
}

func benchAlloc(b *testing.B, blocks uint64, full int, turns float64) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	a := newAllocator(1, blocks, 1<<30/blockBytes, func(uint64) error { return nil })
	rng := rand.New(rand.NewPCG(5, 6))
	sizes := []uint64{1024, 16, 1}
	var live [3][][]run
	var bytes [3]uint64
	share := [3]uint64{60, 30, 10}
	if blocks > 1<<28 { // the test's own lists of small objects would not fit into memory
		share = [3]uint64{100, 0, 0}
	}
	want := blocks * uint64(full) / 100
	var spent, worst time.Duration
	var ops, runs, mib uint64
	seq := uint64(0)
	alloc := func(class int) {
		start := time.Now()
		rs, err := a.alloc(sizes[class], 0, 0)
		took := time.Since(start)
		if err != nil {
			b.Fatal(err)
		}
		spent += took
		worst = max(worst, took)
		ops++
		if class == 0 {
			runs, mib = runs+uint64(len(rs)), mib+4
		}
		live[class] = append(live[class], rs)
		bytes[class] += sizes[class]
	}
	next := func() int {
		for c := range share {
			if share[c] > 0 && bytes[c]*100 < want*share[c] {
				return c
			}
		}
		return -1
	}
	for c := next(); c >= 0; c = next() {
		alloc(c)
	}
	filled := ops
	runs, mib, spent, worst, ops = 0, 0, 0, 0, 0
	for written, end := uint64(0), uint64(float64(blocks)*turns); written < end; {
		for range 64 {
			r := rng.Uint64N(100)
			c := 0
			for r >= share[c] {
				r -= share[c]
				c++
			}
			// Delete as many bytes as one large object has, of one kind, and make another lot.
			for range sizes[0] / sizes[c] {
				i := rng.IntN(len(live[c]))
				a.free(seq, live[c][i])
				live[c][i] = live[c][len(live[c])-1]
				live[c] = live[c][:len(live[c])-1]
			}
			for range sizes[0] / sizes[c] {
				bytes[c] -= sizes[c]
				alloc(c)
			}
			written += sizes[0]
		}
		a.checkpointed(seq)
		seq++
	}
	live = [3][][]run{}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.Logf("%d made at first, %d afterwards: %.2f runs in a MiB of large objects, %.2f us an allocation, worst %s; %.1f MiB of memory", filled, ops,
		float64(runs)/float64(mib), float64(spent.Nanoseconds())/1000/float64(ops), worst, float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/(1<<20))
	runtime.KeepAlive(a)
}
