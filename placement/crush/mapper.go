package crush

import "fmt"

// itemUndef marks a position of an indep result that is still to be filled.
const itemUndef = 0x7ffffffe

// drawsMax bounds the items examined for one mapping. Real maps need a few
// thousand; only absurd tries on a map that cannot be satisfied come near.
const drawsMax = 1 << 26

// ErrExhausted is returned by Do when a rule needs an absurd number of attempts.
var ErrExhausted = fmt.Errorf("%w: the mapping needs more than %d draws: lower the tries of the rule or the tunables", ErrInvalid, drawsMax)

// Do evaluates a rule for input x and returns up to numRep device ids in order.
//
// weights holds 16.16 reweights by device id: WeightOne or more keeps a device, 0
// takes it out, in between it refuses a share of its inputs. Devices beyond the
// end of weights have WeightOne. A firstn rule returns fewer devices if
// it cannot find enough; an indep rule leaves ItemNone in their places.
func (m *Map) Do(rule, x, numRep int, weights []uint32) ([]int, error) {
	return m.AppendDo(nil, rule, x, numRep, weights)
}

// AppendDo is Do that appends to dst, so that a caller who maps many inputs can
// do it without allocating.
func (m *Map) AppendDo(dst []int, rule, x, numRep int, weights []uint32) ([]int, error) {
	return m.appendDo(dst, rule, x, numRep, weights, nil)
}

// DoCounting is AppendDo that also counts choices by the retries they took: each
// choice that took n retries adds one to retries[n], if retries is that long.
func (m *Map) DoCounting(dst []int, rule, x, numRep int, weights []uint32, retries []int) ([]int, error) {
	return m.appendDo(dst, rule, x, numRep, weights, retries)
}

func (m *Map) appendDo(dst []int, rule, x, numRep int, weights []uint32, profile []int) ([]int, error) {
	if m.idx == nil {
		return dst, ErrNotFinalized
	}
	if rule < 0 || rule >= len(m.idx.rules) || m.idx.rules[rule].steps == nil {
		return dst, fmt.Errorf("rule %d: %w", rule, ErrNotFound)
	}
	if numRep < 0 || numRep > MaxReplicas {
		return dst, invalidf("%d replicas asked for, allowed are 0 to %d", numRep, MaxReplicas)
	}
	// Three rows of scratch: what a step starts from, what it chooses, and the
	// leaves below that. Small results, which are all in practice, stay on the stack.
	var buf [3 * 32]int32
	rows := buf[:]
	if numRep > 32 {
		rows = make([]int32, 3*numRep)
	}
	w := walk{
		idx: m.idx, x: uint32(x), weights: weights, draws: drawsMax, profile: profile,
		tries:         m.Tunables.ChooseTotalTries + 1, // the tunable counts retries
		localTries:    m.Tunables.ChooseLocalTries,
		fallbackTries: m.Tunables.ChooseLocalFallbackTries,
		descendOnce:   m.Tunables.ChooseleafDescendOnce,
		varyR:         uint(m.Tunables.ChooseleafVaryR),
		stable:        m.Tunables.ChooseleafStable,
	}
	dst = w.run(dst, m.idx.rules[rule].steps, rows[:numRep], rows[numRep:2*numRep], rows[2*numRep:3*numRep])
	if w.draws < 0 {
		return dst, fmt.Errorf("rule %d, x %d: %w", rule, x, ErrExhausted)
	}
	return dst, nil
}

// walk is the state of one mapping.
type walk struct {
	idx     *index
	x       uint32
	weights []uint32
	draws   int   // how many more items may be examined
	profile []int // if not nil, counts the choices by the retries they took

	tries, leafTries          int
	localTries, fallbackTries int
	descendOnce, stable       bool
	varyR                     uint
}

// run executes the steps. from, to and leaves are as long as the result may be.
func (w *walk) run(dst []int, steps []cstep, from, to, leaves []int32) []int {
	size := len(from)
	emitted, n := 0, 0 // n: how many of from are set
	for _, s := range steps {
		switch s.op {
		case OpTake:
			if size > 0 {
				from[0], n = s.arg1, 1
			}
		case OpSetChooseTries:
			if s.arg1 > 0 {
				w.tries = int(s.arg1)
			}
		case OpSetChooseleafTries:
			if s.arg1 > 0 {
				w.leafTries = int(s.arg1)
			}
		case OpSetChooseLocalTries:
			w.localTries = int(s.arg1)
		case OpSetLocalFallbackTries:
			w.fallbackTries = int(s.arg1)
		case OpSetChooseleafVaryR:
			w.varyR = uint(s.arg1)
		case OpSetChooseleafStable:
			w.stable = s.arg1 != 0
		case OpEmit:
			for i := 0; i < n && emitted < size; i++ {
				dst = append(dst, int(from[i]))
				emitted++
			}
			n = 0
		default:
			n = w.choose(s, from[:n], to, leaves)
			from, to = to, from
		}
	}
	return dst
}

// choose executes one choose or chooseleaf step for each item of from and returns
// how many entries of to it has set.
func (w *walk) choose(s cstep, from, to, leaves []int32) int {
	size, done := len(to), 0
	leaf := s.op == OpChooseleafFirstN || s.op == OpChooseleafIndep
	for _, item := range from {
		num := int(s.arg1)
		if num <= 0 {
			if num += size; num <= 0 {
				continue
			}
		}
		if item >= 0 {
			continue // a device has nothing to choose from; neither has ItemNone
		}
		in := w.idx.nodes[-1-item]
		if s.op == OpChooseFirstN || s.op == OpChooseleafFirstN {
			leafTries := w.leafTries
			switch {
			case leafTries > 0:
			case w.descendOnce:
				leafTries = 1
			default:
				leafTries = w.tries
			}
			c := firstn{walk: w, num: num, typ: s.arg2, out: to[done:], tries: w.tries, leafTries: leafTries}
			if leaf {
				c.leaves = leaves[done:]
			}
			done += c.choose(in, 0, size-done, 0)
		} else {
			c := indep{walk: w, num: num, typ: s.arg2, out: to[done:], tries: w.tries, leafTries: max(w.leafTries, 1)}
			if leaf {
				c.leaves = leaves[done:]
			}
			left := min(num, size-done)
			c.choose(in, 0, left, 0)
			done += left
		}
	}
	if leaf {
		copy(to[:done], leaves[:done])
	}
	return done
}

// out reports whether a device refuses x because of its reweight.
func (w *walk) out(device int32) bool {
	if int(device) >= len(w.weights) {
		return false
	}
	switch weight := w.weights[device]; {
	case weight >= uint32(WeightOne):
		return false
	case weight == 0:
		return true
	default:
		return Hash2(w.x, uint32(device))&0xffff >= weight
	}
}

// pick is one draw from a bucket; it charges the budget.
func (w *walk) pick(in *node, r int) int32 {
	w.draws -= len(in.items)
	return in.choose(w.x, uint32(r))
}

func (w *walk) typeOf(item int32) int32 {
	if item < 0 {
		return w.idx.nodes[-1-item].typ
	}
	return 0
}

// firstn fills positions one after the other; a later one moves up when an earlier
// one cannot be filled.
type firstn struct {
	*walk
	num              int
	typ              int32
	out              []int32
	leaves           []int32 // not nil: also descend to a device below each choice
	tries, leafTries int
}

// choose fills out from pos on with up to count items below top, and returns the
// position behind the last.
func (c firstn) choose(top *node, pos, count, parentR int) int {
	rep := pos
	if c.stable {
		rep = 0
	}
	for ; rep < c.num && count > 0 && c.draws >= 0; rep++ {
		item, failed, ok := c.one(top, rep+parentR, pos, count)
		if !ok {
			continue
		}
		c.out[pos] = item
		pos++
		count--
		if failed < len(c.profile) {
			c.profile[failed]++
		}
	}
	return pos
}

// one finds an item for position pos, and says after how many failed attempts.
func (c firstn) one(top *node, r0, pos, count int) (item int32, failed int, ok bool) {
	for {
		in, local := top, 0
		for again := true; again; {
			again = false
			c.draws--
			r := r0 + failed
			collide, reject := false, len(in.items) == 0
			if !reject {
				if c.fallbackTries > 0 && local >= len(in.items)>>1 && local > c.fallbackTries {
					c.draws -= len(in.items)
					item = in.permuted(c.x, uint32(r))
				} else {
					item = c.pick(in, r)
				}
				if c.draws < 0 {
					return 0, failed, false
				}
				if c.typeOf(item) != c.typ {
					if item >= 0 {
						return 0, failed, false // a device where a bucket was wanted
					}
					in, again = c.idx.nodes[-1-item], true
					continue
				}
				collide, reject = c.refuse(item, r, pos, count)
			}
			if !collide && !reject {
				return item, failed, true
			}
			failed++
			local++
			switch {
			case collide && local <= c.localTries:
				again = true
			case c.fallbackTries > 0 && local <= len(in.items)+c.fallbackTries:
				again = true
			case failed >= c.tries:
				return 0, failed, false
			}
		}
	}
}

// refuse says why an item of the wanted type cannot be taken, and finds the device
// below it if one is wanted.
func (c firstn) refuse(item int32, r, pos, count int) (collide, reject bool) {
	for _, o := range c.out[:pos] {
		if o == item {
			return true, false
		}
	}
	if c.leaves != nil {
		if item >= 0 {
			c.leaves[pos] = item
		} else {
			subR := 0
			if c.varyR > 0 {
				subR = r >> (c.varyR - 1)
			}
			num := pos + 1
			if c.stable {
				num = 1
			}
			leaf := firstn{walk: c.walk, num: num, out: c.leaves, tries: c.leafTries}
			if leaf.choose(c.idx.nodes[-1-item], pos, count, subR) <= pos {
				return false, true
			}
		}
	}
	return false, item >= 0 && c.walk.out(item)
}

// indep fills each position on its own, so that a lost device leaves a hole and
// the others stay where they are, which the shards of an erasure code need.
type indep struct {
	*walk
	num              int
	typ              int32
	out              []int32
	leaves           []int32
	tries, leafTries int
}

// choose fills left positions of out from pos on.
func (c indep) choose(top *node, pos, left, parentR int) {
	end := pos + left
	for i := pos; i < end; i++ {
		c.out[i] = itemUndef
		if c.leaves != nil {
			c.leaves[i] = itemUndef
		}
	}
	failed := 0
	for ; left > 0 && failed < c.tries && c.draws >= 0; failed++ {
		for i := pos; i < end; i++ {
			if c.out[i] == itemUndef && c.one(top, i, pos, end, parentR, failed) {
				left--
			}
		}
	}
	for i := pos; i < end; i++ {
		if c.out[i] == itemUndef {
			c.out[i] = ItemNone
		}
		if c.leaves != nil && c.leaves[i] == itemUndef {
			c.leaves[i] = ItemNone
		}
	}
	if failed < len(c.profile) {
		c.profile[failed]++
	}
}

// one makes one attempt at position i and reports whether that settles it.
func (c indep) one(in *node, i, pos, end, parentR, failed int) bool {
	for {
		c.draws--
		size := len(in.items)
		r := i + parentR
		if in.alg == Uniform && size%c.num == 0 {
			r += (c.num + 1) * failed // else the same few items would be tried again
		} else {
			r += c.num * failed
		}
		if size == 0 || c.draws < 0 {
			return false
		}
		item := c.pick(in, r)
		if c.typeOf(item) != c.typ {
			if item >= 0 {
				c.out[i] = ItemNone // a device where a bucket was wanted
				if c.leaves != nil {
					c.leaves[i] = ItemNone
				}
				return true
			}
			in = c.idx.nodes[-1-item]
			continue
		}
		for _, o := range c.out[pos:end] {
			if o == item {
				return false
			}
		}
		if c.leaves != nil {
			if item >= 0 {
				c.leaves[i] = item
			} else {
				leaf := indep{walk: c.walk, num: c.num, out: c.leaves, tries: c.leafTries}
				leaf.choose(c.idx.nodes[-1-item], i, 1, r)
				if c.leaves[i] == ItemNone {
					return false
				}
			}
		}
		if item >= 0 && c.walk.out(item) {
			return false
		}
		c.out[i] = item
		return true
	}
}
