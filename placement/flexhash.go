package placement

import (
	"math/bits"

	"github.com/cairnstore/cairn/placement/crush"
)

// Row is the FlexHash group of a PG: the OSDs that may hold its data, in order.
// The slices of a Row are shared and must not be changed.
type Row struct {
	// Members are distinct in-OSDs. The first Target of them are the PG's target
	// set in CRUSH's order; objects live there, unless others stand in for slow ones. Chunks
	// may live on any of them.
	Members []OSDID
	Target  int
}

// RowWidth returns how many members the rows of a map with that many in-OSDs
// have, as far as the topology has them: 4 below 9 OSDs, 8 below 36, 16 below 96,
// then 24. A pool with more copies, or whose chunks have many shards, has wider rows.
//
// A wider row gives chunks more places to choose from; a narrower one bounds the
// peers a PG talks to. When the width grows with the cluster, rows get members at
// the end and keep the others. The steps are few because at each of them
// an OSD that goes out shortens every row.
func RowWidth(in int) int {
	switch {
	case in < 9:
		return 4
	case in < 36:
		return 8
	case in < 96:
		return 16
	}
	return 24
}

// Target returns the OSDs a PG's objects should be on: the answer of its pool's
// CRUSH rule, under the OSDs' reweights, without holes. OSDs that are out are
// not among them; whether an OSD is up does not matter.
//
// CRUSH draws at random and gives up after some tries, so where few failure
// domains have very unequal weights it leaves some PGs short for ever. For rules
// of the usual form, one choose step that puts every copy into another failure
// domain, Target then adds the members that the row would get next while there
// are domains without one. So a target is shorter than the pool's size only when
// the topology is too small, or when a rule of another form falls short. It is nil
// when the map has no such PG or its pool's rule does not exist.
//
// In pools with chunks other members of the row stand in for OSDs whose devices are
// slow, unless the configuration forbids it.
//
// Target prepares the whole map for one answer; for many, make a Table.
func (m *Map) Target(id PGID) []OSDID { return NewTable(m).Target(id) }

// Group returns a PG's FlexHash group, a pure function of the map: the target,
// widened to RowWidth members. The widening takes OSDs from everywhere the pool's
// rule can reach, first from the failure domains that have fewest members in the
// row, within those by weighted rendezvous hashing. Therefore:
//
//   - the members are spread over the failure domains as evenly as possible;
//   - a change that leaves the target as it was changes no member but the OSD
//     that came or went, and what takes or leaves its place; and each exchanged
//     target member exchanges at most two members of the row (docs/placement.md
//     has the argument, TestRowsMoveLittle checks it).
//
// Group prepares the whole map for one answer; for many, make a Table.
func (m *Map) Group(id PGID) Row {
	p := m.Pool(id.Pool)
	if p == nil || id.Shard >= p.PGNum {
		return Row{}
	}
	in := newInputs(m)
	r := in.reach(p.Rule)
	return r.row(id, in.target(p, id, func() *reach { return r }), in.width(p))
}

// inputs is what placement takes from a map, besides the pool.
type inputs struct {
	crush   *crush.Map
	weights []uint32 // reweight by OSD id; covers every device of the CRUSH map
	in      int      // number of in-OSDs
}

func newInputs(m *Map) inputs {
	// Every device gets an entry, for CRUSH takes those beyond the end as fully in,
	// and a device without an OSD must not be chosen.
	n := 0
	if l := len(m.OSDs); l > 0 {
		n = int(m.OSDs[l-1].ID) + 1
	}
	if m.Crush != nil {
		if l := len(m.Crush.Devices); l > 0 {
			n = max(n, m.Crush.Devices[l-1].ID+1)
		}
	}
	in := inputs{crush: m.Crush, weights: make([]uint32, max(n, 0))}
	for i := range m.OSDs {
		if o := &m.OSDs[i]; o.In() && o.ID >= 0 && int(o.ID) < n {
			in.weights[o.ID] = o.Weight
			in.in++
		}
	}
	return in
}

// width returns how many members a row of the pool should have: twice as many as its chunks have shards, so that
// there is a choice. With fewer, disks of unequal sizes would fill unevenly (TestHoldersFillEvenly).
func (in *inputs) width(p *Pool) int {
	return max(RowWidth(in.in), min(int(p.Size), MaxPoolSize), 2*p.Chunks.Redundancy.Shards())
}

// target computes a PG's target; reach is only called when CRUSH falls short.
func (in *inputs) target(p *Pool, id PGID, reach func() *reach) []OSDID {
	if in.crush == nil {
		return nil
	}
	size := min(int(p.Size), MaxPoolSize)
	var buf [MaxPoolSize]int
	// An error means an unknown rule, or a rule that gave up; then what it found
	// until there is as deterministic as a full answer.
	found, _ := in.crush.AppendDo(buf[:0], int(p.Rule), int(crushInput(id)), size, in.weights)
	out := make([]OSDID, 0, len(found))
	for _, d := range found {
		// Rules with several takes may repeat a device, and those that take a device
		// do not look at its reweight.
		if d < 0 || d >= len(in.weights) || in.weights[d] == 0 || contains(out, OSDID(d)) {
			continue
		}
		out = append(out, OSDID(d))
	}
	if len(out) < size {
		out = reach().complete(id, out, size)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func contains(s []OSDID, id OSDID) bool {
	for _, m := range s {
		if m == id {
			return true
		}
	}
	return false
}

// reach is the set of OSDs a rule can choose, by failure domain.
type reach struct {
	osds    []candidate   // grouped by domain
	domains []int         // domains[i] is the index in osds where domain i starts; one more at the end
	apart   bool          // the rule is one choose step that puts every copy into another domain
	typ     int           // the bucket type of the domains, of the last take
	byID    map[OSDID]int // the domain of each OSD: the id of a bucket, or one more than the OSD's own
}

type candidate struct {
	id     OSDID
	weight uint64 // CRUSH weight times reweight, never 0
}

// reach finds what a rule can choose. A failure domain is a bucket of the type
// that the rule spreads over: that of the last choose step before an emit which is
// not about devices. An OSD outside any such bucket is a domain of its own.
func (in *inputs) reach(rule int32) *reach {
	r := &reach{domains: []int{0}, byID: map[OSDID]int{}}
	if in.crush == nil {
		return r
	}
	def, ok := in.crush.Rule(int(rule))
	if !ok {
		return r
	}
	r.apart = putsApart(def.Steps)
	w := reachWalk{in: in, seen: map[seenKey]bool{}, byDomain: map[int][]candidate{}}
	for i, s := range def.Steps {
		if s.Op == crush.OpTake {
			w.class = s.Class
			w.domainType = spreadType(def.Steps[i+1:])
			w.item(s.Item, uint64(crush.WeightOne), noDomain)
		}
	}
	r.typ = w.domainType
	for _, d := range w.order {
		for _, c := range w.byDomain[d] {
			r.byID[c.id] = d
		}
		r.osds = append(r.osds, w.byDomain[d]...)
		r.domains = append(r.domains, len(r.osds))
	}
	return r
}

// spreadType returns the bucket type the steps of one take choose over, 0 if none.
func spreadType(steps []crush.Step) int {
	t := 0
	for _, s := range steps {
		switch s.Op {
		case crush.OpTake:
			return t
		case crush.OpChooseFirstN, crush.OpChooseIndep, crush.OpChooseleafFirstN, crush.OpChooseleafIndep:
			if s.Type != 0 {
				t = s.Type
			}
		}
	}
	return t
}

// putsApart reports whether a rule is take, one choose step for as many devices as
// asked for, emit.
func putsApart(steps []crush.Step) bool {
	var ops []crush.Step
	for _, s := range steps {
		switch s.Op {
		case crush.OpTake, crush.OpEmit, crush.OpChooseFirstN, crush.OpChooseIndep, crush.OpChooseleafFirstN, crush.OpChooseleafIndep:
			ops = append(ops, s)
		}
	}
	if len(ops) != 3 || ops[0].Op != crush.OpTake || ops[1].Num != 0 || ops[2].Op != crush.OpEmit {
		return false
	}
	switch ops[1].Op {
	case crush.OpChooseleafFirstN, crush.OpChooseleafIndep:
		return true
	case crush.OpChooseFirstN, crush.OpChooseIndep:
		return ops[1].Type == 0 // else it would emit buckets
	}
	return false
}

const noDomain = 0 // an id that no bucket has; OSDs outside a domain get one of their own

// reachWalk descends from the items that a rule takes. It visits each bucket and
// device once, so maps in which buckets share items cost no more than others.
type reachWalk struct {
	in         *inputs
	class      string
	domainType int
	seen       map[seenKey]bool
	byDomain   map[int][]candidate
	order      []int // domains in the order found
}

// seenKey is a device, or a bucket seen for one class: a second take of a rule may
// want another class of the same bucket.
type seenKey struct {
	id    int
	class string
}

func (w *reachWalk) item(id int, weight uint64, domain int) {
	if id >= 0 {
		w.device(id, weight, domain)
		return
	}
	b, ok := w.in.crush.Bucket(id)
	key := seenKey{id, w.class}
	if !ok || weight == 0 || w.seen[key] {
		return
	}
	w.seen[key] = true
	if w.domainType != 0 && b.Type == w.domainType {
		domain = b.ID
	}
	for _, it := range b.Items {
		w.item(it.ID, uint64(it.Weight), domain)
	}
}

func (w *reachWalk) device(id int, weight uint64, domain int) {
	key := seenKey{id, ""}
	if id >= len(w.in.weights) || w.seen[key] {
		return
	}
	d, ok := w.in.crush.Device(id)
	if !ok || w.class != "" && d.Class != w.class {
		return
	}
	// A reweight above one is one, as in CRUSH.
	weight *= uint64(min(w.in.weights[id], WeightOne))
	if weight == 0 {
		return
	}
	w.seen[key] = true
	if domain == noDomain {
		domain = 1 + id // positive, so never a bucket
	}
	if _, ok := w.byDomain[domain]; !ok {
		w.order = append(w.order, domain)
	}
	w.byDomain[domain] = append(w.byDomain[domain], candidate{id: OSDID(id), weight: weight})
}

// complete adds to a target that CRUSH left short the members the row would get
// next, while they are in domains without one.
func (r *reach) complete(id PGID, target []OSDID, size int) []OSDID {
	size = min(size, len(r.domains)-1)
	if !r.apart || len(target) >= size {
		return target
	}
	return r.row(id, target, size).Members
}

// row widens a target to width members. It repeats one step: of the domains with
// fewest members in the row, take the one whose best unused OSD scores best.
func (r *reach) row(id PGID, target []OSDID, width int) Row {
	width = min(max(width, len(target)), len(target)+len(r.osds))
	members := make([]OSDID, len(target), width)
	copy(members, target)
	if len(members) == width {
		return Row{Members: members, Target: len(target)}
	}

	scores := make([]uint64, len(r.osds))
	for i, c := range r.osds {
		scores[i] = used
		if !contains(target, c.id) {
			scores[i] = score(rowHash(id, c.id), c.weight)
		}
	}
	tops := make([]top, len(r.domains)-1)
	for d := range tops {
		for i := r.domains[d]; i < r.domains[d+1]; i++ {
			if scores[i] == used {
				tops[d].members++
			}
		}
		r.refresh(&tops[d], d, scores)
	}
	for len(members) < width {
		best := -1
		for d := range tops {
			if tops[d].score != used && (best < 0 || r.less(&tops[d], &tops[best])) {
				best = d
			}
		}
		if best < 0 {
			break // the rule reaches no more OSDs
		}
		t := &tops[best]
		members = append(members, r.osds[t.index].id)
		scores[t.index] = used
		t.members++
		r.refresh(t, best, scores)
	}
	return Row{Members: members, Target: len(target)}
}

// used marks an OSD that is in the row; no score is as high.
const used = ^uint64(0)

// top is a domain's state while a row is made.
type top struct {
	members int    // how many of its OSDs are in the row
	score   uint64 // of its best unused OSD; used if there is none
	index   int    // of that OSD
}

func (r *reach) refresh(t *top, domain int, scores []uint64) {
	t.score = used
	for i := r.domains[domain]; i < r.domains[domain+1]; i++ {
		if s := scores[i]; s < t.score || s == t.score && s != used && r.osds[i].id < r.osds[t.index].id {
			t.score, t.index = s, i
		}
	}
}

func (r *reach) less(a, b *top) bool {
	switch {
	case a.members != b.members:
		return a.members < b.members
	case a.score != b.score:
		return a.score < b.score
	}
	return r.osds[a.index].id < r.osds[b.index].id
}

// score returns -log2(hash/2^64)/weight as an integer; the lowest score wins.
// These are exponentially distributed variables with the weights as rates, so
// the winner is each OSD with probability proportional to its weight, and an OSD's
// score depends on nothing but itself. All arithmetic is on integers: rows must
// not depend on a machine's floating point.
func score(hash, weight uint64) uint64 {
	// The logarithm has at most 38 bits, 32 of them behind the point, and weight at
	// most 46: scores keep 19 bits and more. Weights below 2^18, a millionth of an
	// ordinary OSD's, may saturate; ties go to the lower id.
	hi, lo := bits.Mul64(negLog2(hash), 1<<44)
	if hi >= weight {
		return used - 1
	}
	q, _ := bits.Div64(hi, lo, weight)
	return min(q, used-1)
}

// negLog2 returns -log2(x/2^64) with 32 bits behind the point, by linear
// interpolation in a table; it never rises with x. Zero counts as one.
func negLog2(x uint64) uint64 {
	if x == 0 {
		x = 1
	}
	zeros := bits.LeadingZeros64(x)
	m := x << zeros // in [2^63, 2^64)
	i := m >> (63 - logBits) & (1<<logBits - 1)
	rest := m >> (63 - logBits - 20) & (1<<20 - 1)
	l := logTable[i] + (logTable[i+1]-logTable[i])*rest>>20
	return uint64(zeros+1)<<32 - l
}

const logBits = 10

// logTable[i] is log2(1+i/2^logBits) with 32 bits behind the point. It never changes.
var logTable = makeLogTable()

// makeLogTable computes each logarithm bit by bit: squaring a number in [1,2)
// doubles its logarithm, and whether the square reached 2 is the next bit.
func makeLogTable() *[1<<logBits + 1]uint64 {
	var t [1<<logBits + 1]uint64
	for i := range 1 << logBits {
		m := uint64(1)<<63 + uint64(i)<<(63-logBits)
		for range 32 {
			hi, _ := bits.Mul64(m, m)
			t[i] <<= 1
			if hi>>63 == 1 {
				t[i] |= 1
				m = hi
			} else {
				m = hi << 1
			}
		}
	}
	t[1<<logBits] = 1 << 32
	return &t
}
