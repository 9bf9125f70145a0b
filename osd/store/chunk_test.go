package store

import (
	"math/rand/v2"
	"testing"
)

// Small blocks made and deleted at random leave large objects in few runs.
func TestAllocatorKeepsLongRuns(t *testing.T) {
	rng := rand.New(rand.NewPCG(seedOf(t), 1))
	const blocks = 1 << 30 / blockBytes
	a := newAllocator(1, blocks, blocks/16, func(uint64) error { return nil })
	var live [2][][]run // of 4 MiB, of one block
	sizes := [2]uint64{1024, 1}
	make1 := func(class int) int {
		rs, err := a.alloc(sizes[class], 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		live[class] = append(live[class], rs)
		return len(rs)
	}
	for a.used < blocks*6/10 {
		make1(0)
	}
	for a.used < blocks*8/10 {
		make1(1)
	}
	runs, large := 0, 0
	for seq := range uint64(100) {
		for class, n := range []int{5, 5 * 1024 / 3} {
			for range n {
				i := rng.IntN(len(live[class]))
				a.free(seq, live[class][i])
				live[class][i] = live[class][len(live[class])-1]
				live[class] = live[class][:len(live[class])-1]
			}
			for range n {
				if k := make1(class); class == 0 && seq > 40 {
					runs, large = runs+k, large+1
				}
			}
		}
		a.checkpointed(seq)
	}
	if per := float64(runs) / float64(4*large); per > 3 {
		t.Errorf("%.1f runs in a MiB of large objects, want 3 at most", per)
	}
}

// A large device full of large objects takes little memory.
func TestAllocatorPacks(t *testing.T) {
	const blocks = 1 << 40 / blockBytes
	a := newAllocator(1, blocks, 1<<18, func(uint64) error { return nil })
	var live []run
	for a.used < blocks*8/10 {
		rs, err := a.alloc(1000, 0, 0)
		if err != nil || len(rs) != 1 {
			t.Fatal(rs, err)
		}
		live = append(live, rs...)
	}
	for i, r := range live {
		if i%3 == 0 {
			a.release([]run{r})
		}
	}
	maps, flips := 0, 0
	for _, c := range a.m.chunks {
		flips += len(c.flips)
		if c.words != nil {
			maps++
		}
	}
	if maps > chunksOpen || flips > blocks/1000 {
		t.Errorf("%d bitmaps of %d chunks, %d changes in the others", maps, len(a.m.chunks), flips)
	}
	for i, r := range live { // and forgets nothing
		if a.m.taken(r) == 0 != (i%3 == 0) {
			t.Fatalf("object %d: %d blocks taken", i, a.m.taken(r))
		}
	}
}
