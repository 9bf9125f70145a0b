package bucket

import "math"

// noBound is the share of what has no bound.
const noBound = math.MaxInt64

func boundsOf(objects, bytes int64) tally {
	t := tally{}
	for i := range t {
		t[i] = noBound
	}
	t[cObjects], t[cBytes] = objects, bytes
	return t
}

// shareSum adds to a share, of which no bound stays none.
func shareSum(share, n int64) int64 {
	if share == noBound {
		return noBound
	}
	return share + n
}
