package bench

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Quantiles agree with those of the sorted values to within a 64th.
func TestQuantiles(t *testing.T) {
	seed := rand.Uint64()
	chance := rand.New(rand.NewPCG(seed, 0))
	var all []time.Duration
	var h, other histogram
	for i := range 10_000 {
		d := time.Duration(chance.Int64N(1 << chance.IntN(40)))
		all = append(all, d)
		if i%3 == 0 {
			other.add(d)
		} else {
			h.add(d)
		}
	}
	h.merge(&other)
	h.merge(&histogram{})
	slices.Sort(all)
	if h.min != all[0] || h.max != all[len(all)-1] || h.n != uint64(len(all)) {
		t.Errorf("seed %d: got %d values from %v to %v, want %d from %v to %v", seed, h.n, h.min, h.max, len(all), all[0], all[len(all)-1])
	}
	for _, q := range []float64{0, .01, .25, .5, .9, .99, .999, 1} {
		got := h.quantile(q)
		want := all[min(max(int(q*float64(len(all))+.5)-1, 0), len(all)-1)]
		if got < want || got > want+want/64+1 {
			t.Errorf("seed %d: quantile %v: got %v, want %v", seed, q, got, want)
		}
	}
}

func TestClasses(t *testing.T) {
	if got := (&histogram{}).quantile(.5); got != 0 {
		t.Errorf("median of nothing: %v", got)
	}
	for _, v := range []uint64{0, 1, 63, 64, 65, 127, 128, 1000, 1<<63 - 1} {
		c := class(v)
		if v > ceiling(c) || c > 0 && v <= ceiling(c-1) {
			t.Errorf("%d is in class %d, which ends at %d; the one before at %d", v, c, ceiling(c), ceiling(c-1))
		}
	}
}
