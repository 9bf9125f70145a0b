package placement

import (
	"cmp"
	"slices"
)

// HolderCandidate is an OSD that may hold a shard of a chunk, and what is known of its load. ChunkCandidates fills in
// what the map says; who hears of loads (from heartbeats, say) fills in the others.
type HolderCandidate struct {
	ID       OSDID
	Domain   int    // its failure domain: equal numbers are the same one
	Weight   uint32 // reweight, 16.16
	Up       bool   // others are not chosen
	Spare    bool   // not a member of the row: chosen only if there are too few others
	Slow     bool   // the monitors say so
	Full     Fullness
	Capacity int64   // bytes; 0: not known
	Free     int64   // bytes; negative: not known
	Often    float64 // in which part of the pool's rows it is; 0: not known
	Busy     uint64  // microseconds that a small write to it takes now; 0: not known
}

// FreeUnknown is the Free of a candidate that nobody has heard of.
const FreeUnknown = -1

// Usable reports whether a candidate may be chosen at all.
func (c *HolderCandidate) Usable() bool { return c.Up && c.Full < Full && c.Free != 0 && c.Weight > 0 }

// How loads bend the choice. TestHoldersFillEvenly and TestHoldersAvoidSlow say what they are to achieve.
const (
	fillBand     = 0.02  // an OSD by so much fuller than the others, as part of its capacity, gets next to nothing
	fillLeast    = 0.05  // of its share: what the fullest gets, ...
	fillMost     = 3     // and the emptiest: a new disk must not get all the work
	busyFloor    = 200   // us: differences below this are noise
	busyGrace    = 1.5   // so many times as busy as the others is nothing unusual
	lastResort   = 0.001 // of its share: what an OSD gets that the monitors call slow, that is too full for backfill, or no member of the row
	slowLastFrom = 0.5   // of its share: what gets less holds shards that are read last
)

// Holders chooses n OSDs for the shards of a chunk, at random: each candidate gets shards in proportion to its free
// space, fewer if it is fuller than the others or slower, none if it is down or full. The order of the candidates has
// no influence; equal seeds give equal answers.
//
// The first apart OSDs of the answer are in different failure domains; only when there are no more usable domains
// than those does it go on with OSDs of domains it has taken already, evenly. Whoever needs every shard in a domain
// of its own takes osds[:apart]. The answer is shorter than n when there are no more usable OSDs. OSDs that are slow
// come late among the first apart, where parity is.
func Holders(n int, cands []HolderCandidate, seed uint64) (osds []OSDID, apart int) {
	if n <= 0 {
		return nil, 0
	}
	c := newChoice(cands, seed)
	for round := 0; len(osds) < n; round++ {
		picked := c.round(n - len(osds))
		if len(picked) == 0 {
			break
		}
		for _, p := range picked {
			osds = append(osds, p.id)
		}
		if round == 0 {
			apart = len(picked)
		}
	}
	return osds, apart
}

// choice is the state of one call of Holders.
type choice struct {
	domains []choiceDomain // those that have OSDs left
	rand    splitMix
}

type choiceDomain struct {
	osds   []choiceOSD
	weight float64 // sum over osds
}

type choiceOSD struct {
	id     OSDID
	weight float64 // share it should get, relative to the others'
	slow   bool
}

func newChoice(cands []HolderCandidate, seed uint64) *choice {
	use := make([]HolderCandidate, 0, len(cands))
	for i := range cands {
		if cands[i].Usable() {
			use = append(use, cands[i])
		}
	}
	slices.SortFunc(use, func(a, b HolderCandidate) int {
		return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.ID, b.ID))
	})
	use = slices.CompactFunc(use, func(a, b HolderCandidate) bool { return a.ID == b.ID })
	c := &choice{rand: splitMix(seed)}
	var at []int // where domains start
	for i := range use {
		if i == 0 || use[i].Domain != use[i-1].Domain {
			at = append(at, i)
		}
	}
	shares := shares(use)
	for i, from := range at {
		to := len(use)
		if i+1 < len(at) {
			to = at[i+1]
		}
		var d choiceDomain
		for j := from; j < to; j++ {
			d.add(shares[j])
		}
		c.domains = append(c.domains, d)
	}
	return c
}

func (d *choiceDomain) add(o choiceOSD) {
	d.osds = append(d.osds, o)
	d.weight += o.weight
}

// shares returns what each OSD should get, relative to the others.
func shares(use []HolderCandidate) []choiceOSD {
	var free, capacity, weighed float64 // of those of which both are known; of those whose free space is known
	known := 0
	busy := make([]uint64, 0, len(use))
	for i := range use {
		u := &use[i]
		if u.Free > 0 {
			weighed += float64(u.Free)
			known++
			if u.Capacity > 0 {
				free, capacity = free+float64(min(u.Free, u.Capacity)), capacity+float64(u.Capacity)
			}
		}
		if u.Busy > 0 {
			busy = append(busy, max(u.Busy, busyFloor))
		}
	}
	mean := 1.0 // part of the capacity that is free
	if capacity > 0 {
		mean = free / capacity
	}
	slices.Sort(busy)

	out := make([]choiceOSD, len(use))
	for i := range use {
		u := &use[i]
		var w float64
		switch {
		case u.Free > 0:
			w = float64(u.Free)
		case u.Capacity > 0 && capacity > 0:
			w = float64(u.Capacity) * mean
		case known > 0:
			w = weighed / float64(known)
		default:
			w = float64(max(u.Capacity, 1))
		}
		if u.Often > 0 {
			w /= u.Often
		}
		if u.Free > 0 && u.Capacity > 0 {
			fuller := mean - float64(min(u.Free, u.Capacity))/float64(u.Capacity)
			w *= min(max(1-fuller/fillBand, fillLeast), fillMost)
		}
		part := speed(u.Busy, busy)
		if u.Slow {
			part = min(part, lastResort)
		}
		w *= part * float64(min(u.Weight, WeightOne)) / float64(WeightOne)
		if u.Full >= BackfillFull || u.Spare {
			w *= lastResort
		}
		out[i] = choiceOSD{id: u.ID, weight: w, slow: part < slowLastFrom}
	}
	return out
}

// speed returns which part of its share an OSD gets for how busy it is compared with the others: with the lower of
// the middle ones, so that several slow OSDs do not make each other look ordinary.
func speed(busy uint64, sorted []uint64) float64 {
	if busy == 0 || len(sorted) < 2 {
		return 1
	}
	times := float64(max(busy, busyFloor)) / float64(sorted[(len(sorted)-1)/2]) / busyGrace
	if times <= 1 {
		return 1
	}
	return 1 / (times * times)
}

// round takes up to n OSDs, each of another domain, and removes them from the choice. Each domain is taken with a
// probability in proportion to its weight, as long as that is possible: one that should get more than one shard of
// n gets one.
func (c *choice) round(n int) []choiceOSD {
	c.shuffle()
	var picked []choiceOSD
	for _, d := range c.sample(n) {
		dom := &c.domains[d]
		i := len(dom.osds) - 1
		for x := c.rand.float() * dom.weight; i > 0; i-- {
			if x -= dom.osds[i].weight; x < 0 {
				break
			}
		}
		picked = append(picked, dom.osds[i])
		dom.weight -= dom.osds[i].weight
		dom.osds = slices.Delete(dom.osds, i, i+1)
	}
	c.domains = slices.DeleteFunc(c.domains, func(d choiceDomain) bool { return len(d.osds) == 0 })
	// Domains were in random order, so picked is too, but for those that were certain.
	for i := len(picked) - 1; i > 0; i-- {
		j := c.rand.below(i + 1)
		picked[i], picked[j] = picked[j], picked[i]
	}
	slices.SortStableFunc(picked, func(a, b choiceOSD) int {
		switch {
		case a.slow == b.slow:
			return 0
		case b.slow:
			return -1
		}
		return 1
	})
	return picked
}

// sample returns the indexes of n domains, or of all if there are fewer. It is systematic sampling: the domains lie
// behind each other on a line, each as long as its weight, and points at equal distances with a random start hit
// those to be taken. A domain longer than the distance is certain; it is taken out before.
func (c *choice) sample(n int) []int {
	var out []int
	if len(c.domains) <= n {
		for i := range c.domains {
			out = append(out, i)
		}
		return out
	}
	rest := make([]int, len(c.domains))
	total := 0.0
	for i := range rest {
		rest[i] = i
		total += c.domains[i].weight
	}
	for again := true; again && len(out) < n; {
		again = false
		for j := 0; j < len(rest) && len(out) < n; j++ {
			if w := c.domains[rest[j]].weight; w*float64(n-len(out)) >= total {
				out = append(out, rest[j])
				rest = slices.Delete(rest, j, j+1)
				total, again = total-w, true
				j--
			}
		}
	}
	want := n - len(out)
	if want == 0 {
		return out
	}
	step := total / float64(want)
	next, end := c.rand.float()*step, 0.0
	for j, d := range rest {
		end += c.domains[d].weight
		// Rounding must not lose the last ones.
		if end > next || len(rest)-j <= want {
			out = append(out, d)
			next += step
			if want--; want == 0 {
				break
			}
		}
	}
	return out
}

func (c *choice) shuffle() {
	for i := len(c.domains) - 1; i > 0; i-- {
		j := c.rand.below(i + 1)
		c.domains[i], c.domains[j] = c.domains[j], c.domains[i]
	}
}

// splitMix is Vigna's SplitMix64: numbers that look random, from a seed.
type splitMix uint64

func (s *splitMix) next() uint64 {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// float returns a number from 0 to 1, which it does not reach.
func (s *splitMix) float() float64 { return float64(s.next()>>11) / (1 << 53) }

// below returns a number from 0 to n-1; n is small.
func (s *splitMix) below(n int) int { return int(s.next() % uint64(n)) }

// ChunkCandidates returns the OSDs among which Holders should choose for a chunk of n shards in a PG: the members of its
// row, with what the map says of them. A chunk with more shards than the pool's have now, because the pool was changed,
// has as many candidates as when it was made: it need not move. If they are up and not full in fewer than n failure
// domains, more OSDs follow (Spare), as the row would be if it were wider. Free is FreeUnknown.
func (t *Table) ChunkCandidates(pg PGID, n int) []HolderCandidate {
	pt := t.find(pg.Pool)
	if pt == nil || pg.Shard >= uint32(len(pt.rows)) {
		return nil
	}
	n = min(max(n, 0), MaxDataShards+MaxParityShards)
	r, members := t.reach(pt), t.Group(pg).Members
	if len(members) < 2*n {
		members = r.row(pg, t.target(pt, pg), 2*n).Members
	}
	cands := t.candidates(pt, members)
	for width := 2 * max(len(members), n); usableDomains(cands) < n && len(cands) < len(r.osds); width *= 2 {
		cands = t.candidates(pt, r.row(pg, t.target(pt, pg), max(width, len(t.target(pt, pg))+n)).Members)
		for i := len(members); i < len(cands); i++ {
			cands[i].Spare = true
		}
	}
	return cands
}

func (t *Table) candidates(pt *poolTable, members []OSDID) []HolderCandidate {
	r, often := t.reach(pt), t.often(pt)
	out := make([]HolderCandidate, 0, len(members))
	for _, id := range members {
		c := HolderCandidate{ID: id, Domain: r.domainOf(id), Free: FreeUnknown, Often: often[id]}
		if o := t.m.OSD(id); o != nil {
			c.Weight, c.Up, c.Slow, c.Full, c.Capacity = o.Weight, o.Up, o.Slow, o.Full, o.Capacity
		}
		out = append(out, c)
	}
	return out
}

// oftenRows bounds how many rows are looked at to know how often OSDs are in them.
const oftenRows = 512

// often returns in which part of a pool's rows each OSD is.
func (t *Table) often(pt *poolTable) map[OSDID]float64 {
	if o := pt.often.Load(); o != nil {
		return *o
	}
	n := min(len(pt.rows), oftenRows)
	often := make(map[OSDID]float64, t.in.in)
	for i := range n {
		for _, id := range t.Group(PGID{pt.pool.ID, uint32(i)}).Members {
			often[id] += 1 / float64(n)
		}
	}
	pt.often.Store(&often)
	return often
}

func usableDomains(cands []HolderCandidate) int {
	n := 0
	for i := range cands {
		first := func(c HolderCandidate) bool { return c.Domain == cands[i].Domain && c.Usable() }
		if cands[i].Usable() && slices.IndexFunc(cands, first) == i {
			n++
		}
	}
	return n
}

// Domain returns the failure domain of an OSD as a pool's rule sees it, the same number for all OSDs in it. ok is
// false if the rule does not reach the OSD, because it is out, for example.
func (t *Table) Domain(pool PoolID, id OSDID) (domain int, ok bool) {
	pt := t.find(pool)
	if pt == nil {
		return 0, false
	}
	domain, ok = t.reach(pt).byID[id]
	return domain, ok
}

// Domains returns how many failure domains with OSDs that are in a pool's rule reaches, and what they are: the name of
// a bucket type, such as host.
func (t *Table) Domains(pool PoolID) (n int, typ string) {
	pt := t.find(pool)
	if pt == nil {
		return 0, ""
	}
	r := t.reach(pt)
	if t.in.crush != nil {
		typ = t.in.crush.TypeName(r.typ)
	}
	return len(r.domains) - 1, typ
}

// domainOf returns the failure domain of an OSD; one that the rule does not reach is its own.
func (r *reach) domainOf(id OSDID) int {
	if d, ok := r.byID[id]; ok {
		return d
	}
	return 1 + int(id)
}
