package placement

import (
	"slices"
	"sync/atomic"

	"github.com/cairnstore/cairn/placement/crush"
)

// Table answers Target and Group for one map and remembers the answers. It costs
// little to make, computes each answer at its first use, and Next carries the
// answers over to the next epoch unless that epoch changed what they depend on.
//
// Any number of goroutines may use a Table. Two that ask for the same PG at the
// same time may both compute it; they get equal answers.
type Table struct {
	m     *Map
	in    inputs
	pools []poolTable // by pool id, as in the map
	slow  []OSDID     // for which others stand in, sorted
}

type poolTable struct {
	pool  Pool
	reach *atomic.Pointer[reach]             // of the pool's rule; made when first needed
	rows  []atomic.Pointer[Row]              // by shard
	heads []atomic.Pointer[[]OSDID]          // targets, by shard
	often *atomic.Pointer[map[OSDID]float64] // see ChunkCandidates; made when first needed
}

// NewTable returns a Table for m, which must not change any more.
func NewTable(m *Map) *Table {
	return newTable(m, nil)
}

// Next returns the Table of m, a later epoch of the same cluster, or an earlier
// one. It shares with t all answers that are the same for both maps: all of them
// when CRUSH map and reweights are unchanged, except for pools whose size, rule or redundancy
// of chunks changed. t stays valid.
func (t *Table) Next(m *Map) *Table {
	return newTable(m, t)
}

func newTable(m *Map, prev *Table) *Table {
	t := &Table{m: m, in: newInputs(m), pools: make([]poolTable, len(m.Pools)), slow: slowOSDs(m)}
	if prev != nil && !(slices.Equal(prev.in.weights, t.in.weights) && sameCrush(prev.in.crush, t.in.crush)) {
		prev = nil
	}
	for i := range m.Pools {
		p := &m.Pools[i]
		old := prev.find(p.ID)
		if old != nil && (old.pool.Size != p.Size || old.pool.Rule != p.Rule || old.pool.Chunks.Redundancy != p.Chunks.Redundancy) {
			old = nil
		}
		t.pools[i] = newPoolTable(p, old)
	}
	return t
}

func sameCrush(a, b *crush.Map) bool { return a == b || a != nil && b != nil && a.Equal(b) }

func newPoolTable(p *Pool, old *poolTable) poolTable {
	pt := poolTable{pool: *p}
	n := min(p.PGNum, MaxPGs)
	switch {
	case old != nil && uint32(len(old.rows)) == n:
		pt.reach, pt.rows, pt.heads, pt.often = old.reach, old.rows, old.heads, old.often
	default:
		pt.reach, pt.often = new(atomic.Pointer[reach]), new(atomic.Pointer[map[OSDID]float64])
		pt.rows = make([]atomic.Pointer[Row], n)
		pt.heads = make([]atomic.Pointer[[]OSDID], n)
		if old == nil {
			break
		}
		pt.reach = old.reach
		for i := range min(len(pt.rows), len(old.rows)) { // the pool grew: its PGs keep their places
			pt.rows[i].Store(old.rows[i].Load())
			pt.heads[i].Store(old.heads[i].Load())
		}
	}
	return pt
}

// Map returns the map the Table answers for.
func (t *Table) Map() *Map { return t.m }

// Target returns what Map.Target returns. The result must not be changed.
func (t *Table) Target(id PGID) []OSDID {
	pt := t.find(id.Pool)
	if pt == nil || id.Shard >= uint32(len(pt.heads)) {
		return nil
	}
	target := t.target(pt, id)
	if len(t.slow) > 0 && !pt.pool.Chunks.IsZero() {
		return t.standIns(pt, id, target)
	}
	return target
}

// Group returns what Map.Group returns. The result must not be changed.
func (t *Table) Group(id PGID) Row {
	pt := t.find(id.Pool)
	if pt == nil || id.Shard >= uint32(len(pt.rows)) {
		return Row{}
	}
	cell := &pt.rows[id.Shard]
	if r := cell.Load(); r != nil {
		return *r
	}
	row := t.reach(pt).row(id, t.target(pt, id), t.in.width(&pt.pool))
	cell.Store(&row)
	return row
}

// target is the target as long as no OSD is slow.
func (t *Table) target(pt *poolTable, id PGID) []OSDID {
	cell := &pt.heads[id.Shard]
	if s := cell.Load(); s != nil {
		return *s
	}
	s := t.in.target(&pt.pool, id, func() *reach { return t.reach(pt) })
	cell.Store(&s)
	return s
}

func (t *Table) reach(pt *poolTable) *reach {
	r := pt.reach.Load()
	if r == nil {
		r = t.in.reach(pt.pool.Rule)
		pt.reach.Store(r)
	}
	return r
}

// find returns the pool's table, or nil; t may be nil.
func (t *Table) find(id PoolID) *poolTable {
	if t == nil {
		return nil
	}
	lo, hi := 0, len(t.pools)
	for lo < hi {
		mid := (lo + hi) / 2
		if t.pools[mid].pool.ID < id {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(t.pools) && t.pools[lo].pool.ID == id {
		return &t.pools[lo]
	}
	return nil
}
