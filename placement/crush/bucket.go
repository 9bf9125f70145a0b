package crush

import (
	"math/bits"
	"slices"
)

// node is a bucket, or the shadow of one, in the form the mapper reads.
type node struct {
	id      int32
	typ     int32
	alg     Alg
	equal   bool // straw2: all weights are the same and not zero
	sum     Weight
	items   []int32
	weights []uint32
	// aux is, for list, the sums of the weights up to each item; for tree, the
	// weights of the tree's nodes; for straw, the straw lengths.
	aux []uint32
}

func newNode(id, typ int, alg Alg, items []Item, strawCalc int) *node {
	n := &node{id: int32(id), typ: int32(typ), alg: alg, items: make([]int32, len(items)), weights: make([]uint32, len(items))}
	n.equal = len(items) > 0 && items[0].Weight != 0
	for i, it := range items {
		n.items[i] = int32(it.ID)
		n.weights[i] = uint32(it.Weight)
		n.sum += it.Weight
		n.equal = n.equal && it.Weight == items[0].Weight
	}
	switch alg {
	case List:
		n.aux = make([]uint32, len(items))
		var sum uint32
		for i, w := range n.weights {
			sum += w
			n.aux[i] = sum
		}
	case Tree:
		n.aux = treeWeights(n.weights)
	case Straw:
		n.aux = strawLengths(n.weights, strawCalc)
	}
	return n
}

// choose picks one of the node's items, which must not be empty, for input x and
// attempt r.
func (n *node) choose(x, r uint32) int32 {
	switch n.alg {
	case Straw2:
		if n.equal {
			return n.straw2Equal(x, r)
		}
		return n.straw2(x, r)
	case Uniform:
		return n.permuted(x, r)
	case List:
		return n.list(x, r)
	case Tree:
		return n.tree(x, r)
	}
	return n.straw(x, r)
}

// permuted returns entry r of the node's permutation for x. The permutation is a
// Fisher-Yates shuffle whose step p swaps entry p with one at or behind it, so
// following one entry backwards gives the answer without building the rest.
func (n *node) permuted(x, r uint32) int32 {
	size := uint32(len(n.items))
	pos := r % size
	for p := int64(pos); p >= 0; p-- {
		p := uint32(p)
		if p >= size-1 {
			continue // the last entry has nothing to swap with
		}
		q := p + hash3(x, uint32(n.id), p)%(size-p)
		switch pos {
		case p:
			pos = q
		case q:
			pos = p
		}
	}
	return n.items[pos]
}

func (n *node) list(x, r uint32) int32 {
	for i := len(n.items) - 1; i >= 0; i-- {
		h := uint64(hash4(x, uint32(n.items[i]), r, uint32(n.id)) & 0xffff)
		if h*uint64(n.aux[i])>>16 < uint64(n.weights[i]) {
			return n.items[i]
		}
	}
	return n.items[0] // all weights are zero
}

// treeWeights lays the weights out as a binary tree: item i is the leaf 2i+1, and
// an inner node's number has as many trailing zero bits as it is high.
func treeWeights(weights []uint32) []uint32 {
	if len(weights) == 0 {
		return nil
	}
	depth := bits.Len(uint(len(weights)-1)) + 1
	nodes := make([]uint32, 1<<depth)
	for i, w := range weights {
		at := 2*i + 1
		nodes[at] = w
		for h := 0; h < depth-1; h++ {
			if at&(1<<(h+1)) != 0 {
				at -= 1 << h
			} else {
				at += 1 << h
			}
			nodes[at] += w
		}
	}
	return nodes
}

func (n *node) tree(x, r uint32) int32 {
	at := len(n.aux) >> 1
	for at&1 == 0 {
		point := uint64(hash4(x, uint32(at), r, uint32(n.id))) * uint64(n.aux[at]) >> 32
		half := 1 << (bits.TrailingZeros(uint(at)) - 1)
		if point < uint64(n.aux[at-half]) {
			at -= half
		} else {
			at += half
		}
	}
	// With no weight at all the walk ends at the far right, where there may be no item.
	return n.items[min(at>>1, len(n.items)-1)]
}

func (n *node) straw(x, r uint32) int32 {
	best, high := 0, uint64(0)
	for i, item := range n.items {
		draw := uint64(hash3(x, uint32(item), r)&0xffff) * uint64(n.aux[i])
		if i == 0 || draw > high {
			best, high = i, draw
		}
	}
	return n.items[best]
}

// ln returns 2^44*log2(u+1) for a 16-bit u, by the tables that define it.
func ln(u uint32) uint64 {
	x := u + 1
	exp := uint64(15)
	if x&0x18000 == 0 {
		shift := bits.LeadingZeros32(x) - 16
		x <<= shift
		exp -= uint64(shift)
	}
	k := x>>8<<1 - 256
	low := uint64(x) * lnHigh[k] >> 48 & 0xff
	return exp<<44 + (lnHigh[k+1]+lnLow[low])>>4
}

// lnZero makes the logarithm of every draw negative: ln(0xffff) is less than 2^48.
const lnZero = 1 << 48

func (n *node) straw2(x, r uint32) int32 {
	best, high := 0, int64(-1<<63)
	for i, w := range n.weights {
		if w == 0 {
			continue // the lowest draw there is; wins only if all are so
		}
		u := hash3(x, uint32(n.items[i]), r) & 0xffff
		// Both operands fit an int64 and the division truncates towards zero, as C does.
		draw := (int64(ln(u)) - lnZero) / int64(w)
		if draw > high {
			best, high = i, draw
		}
	}
	return n.items[best]
}

// straw2Equal is straw2 for equal weights, where the logarithm need not be computed
// for most items: ln rises with u except that neighbours may be equal, and one pair
// is swapped, so only a hash above the best one minus two can win.
func (n *node) straw2Equal(x, r uint32) int32 {
	w := int64(n.weights[0])
	best, high, floor := 0, int64(-1<<63), int32(-1)
	for i, item := range n.items {
		u := hash3(x, uint32(item), r) & 0xffff
		if int32(u) < floor {
			continue
		}
		if draw := (int64(ln(u)) - lnZero) / w; draw > high {
			best, high, floor = i, draw, int32(u)-2
		}
	}
	return n.items[best]
}

// sortedByWeight returns positions by ascending weight, equal ones in their order.
func sortedByWeight(weights []uint32) []int {
	order := make([]int, len(weights))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case weights[a] < weights[b]:
			return -1
		case weights[a] > weights[b]:
			return 1
		}
		return 0
	})
	return order
}
