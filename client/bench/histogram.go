package bench

import (
	"math/bits"
	"time"
)

// subBits is how finely a power of two is divided: values are kept to within 1/64.
const subBits = 6

// histogram counts durations in classes that are at most 1/64 wide. The zero
// histogram is empty.
type histogram struct {
	counts   [64 << subBits]uint64
	n        uint64
	sum      time.Duration
	min, max time.Duration
}

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	if h.n == 0 || d < h.min {
		h.min = d
	}
	h.max = max(h.max, d)
	h.n++
	h.sum += d
	h.counts[class(uint64(d))]++
}

// class is the place of a value: its highest bit and the subBits bits below.
func class(v uint64) int {
	if v < 1<<subBits {
		return int(v)
	}
	shift := bits.Len64(v) - 1 - subBits
	return (shift+1)<<subBits + int(v>>shift)&(1<<subBits-1)
}

// ceiling is the largest value of a class.
func ceiling(c int) uint64 {
	if c < 1<<subBits {
		return uint64(c)
	}
	shift := c>>subBits - 1
	return (1<<subBits+uint64(c)&(1<<subBits-1)+1)<<shift - 1
}

func (h *histogram) merge(o *histogram) {
	if o.n == 0 {
		return
	}
	if h.n == 0 || o.min < h.min {
		h.min = o.min
	}
	h.max = max(h.max, o.max)
	h.n += o.n
	h.sum += o.sum
	for i, c := range o.counts {
		h.counts[i] += c
	}
}

func (h *histogram) mean() time.Duration {
	if h.n == 0 {
		return 0
	}
	return h.sum / time.Duration(h.n)
}

// quantile returns a duration that the fraction q of all does not exceed.
func (h *histogram) quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := max(uint64(q*float64(h.n)+0.5), 1)
	seen := uint64(0)
	for c, n := range h.counts {
		if seen += n; seen >= rank {
			return min(max(time.Duration(ceiling(c)), h.min), h.max)
		}
	}
	return h.max
}
