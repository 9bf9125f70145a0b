package crush

import "math"

// strawLengths computes the 16.16 factors that a straw bucket multiplies its draws
// with. Version 0 has two known flaws (equal weights are grouped, and items of
// weight zero still count), which old maps depend on.
func strawLengths(weights []uint32, version int) []uint32 {
	size := len(weights)
	out := make([]uint32, size)
	order := sortedByWeight(weights)
	left := size
	straw, below, last := 1.0, 0.0, 0.0
	for i := 0; i < size; {
		at := order[i]
		i++
		if weights[at] == 0 {
			if version >= 1 {
				left--
			}
			continue
		}
		out[at] = toFixed(straw)
		if i == size {
			break
		}
		next := weights[order[i]]
		if version == 0 && next == weights[at] {
			continue
		}
		// The conversion keeps the product from being fused with the sum, which some
		// processors would do, for another result.
		below += float64((float64(weights[at]) - last) * float64(left))
		if version == 0 {
			for j := i; j < size && weights[order[j]] == next; j++ {
				left--
			}
		} else {
			left--
		}
		// The product is taken in 32 bits, as it is where the lengths were first defined.
		gain := float64(uint32(left) * (next - weights[at]))
		straw *= root(1/(below/(below+gain)), left)
		last = float64(weights[at])
	}
	return out
}

// toFixed converts as C on amd64 does: through a 64-bit integer, keeping the low half.
func toFixed(f float64) uint32 {
	f *= 0x10000
	if !(f < math.MaxInt64) {
		return 0
	}
	return uint32(int64(f))
}

// root returns a raised to the power 1/n, where 1/n is itself rounded to a float64,
// to the last bit. math.Pow is off by a bit now and then; after truncation to 16.16
// that is a different straw, and so a different placement, whenever the true result
// is a round number (the cube root of 8, say).
func root(a float64, n int) float64 {
	if n <= 0 || !(a > 0) || math.IsInf(a, 0) {
		return math.Pow(a, 1/float64(n))
	}
	if n == 1 || a == 1 {
		return a
	}
	// One step of Newton's iteration for the exact n-th root doubles the good bits of
	// x; the correction is kept apart, as it is smaller than the last bit of x.
	x := math.Pow(a, 1/float64(n))
	p := power(x, n-1)
	px := p.times(double{hi: x})
	fix := -((px.hi - a) + px.lo) / (float64(n) * p.hi)
	// The exponent is 1/n*(1+d) with a tiny d, so the result is the root times
	// exp(d*ln(a)/n), of which one term is plenty.
	y := 1 / float64(n)
	d := math.FMA(y, float64(n), -1)
	fix += x * d * math.Log(a) / float64(n)
	return x + fix
}

// double is a number of twice the precision of a float64: the sum of hi and a much
// smaller lo.
type double struct{ hi, lo float64 }

func (a double) times(b double) double {
	p := a.hi * b.hi
	e := math.FMA(a.hi, b.hi, -p) + (a.hi*b.lo + a.lo*b.hi)
	hi := p + e
	return double{hi: hi, lo: e - (hi - p)}
}

// power returns x^n by repeated squaring.
func power(x float64, n int) double {
	out, sq := double{hi: 1}, double{hi: x}
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			out = out.times(sq)
		}
		sq = sq.times(sq)
	}
	return out
}
