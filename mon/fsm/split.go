package fsm

import (
	"slices"
	"strconv"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// PoolSplit gives a pool more PGs, on the way to its pg_num target. The leading
// monitor proposes it, a few PGs at a time, when the pool's PGs are ready for it.
type PoolSplit struct {
	Pool placement.PoolID `json:"pool"`
	From uint32           `json:"from"` // PGs the pool has: compare and set
	To   uint32           `json:"to"`
}

func (*PoolSplit) kind() string { return "pool-split" }

// apply raises the pool's pg_num. In the same epoch every PG that splits gets a new
// term: in the old one nothing commits any more, and nobody gives positions of
// the old log twice. Each new PG begins as its parent does, in that new term, since
// whoever has the parent's data has its own.
func (c *PoolSplit) apply(t *txn) (Result, error) {
	cur := t.m.Pool(c.Pool)
	i := slices.IndexFunc(t.m.PGs, func(p placement.PoolPGs) bool { return p.Pool == c.Pool })
	switch {
	case cur == nil || i < 0:
		return Result{}, refuse(wirepb.Code_NOT_FOUND, "pool %d does not exist", c.Pool)
	case cur.PGNum != c.From:
		return Result{}, refuse(wirepb.Code_CONFLICT, "pool %q has %d PGs by now, not %d", cur.Name, cur.PGNum, c.From)
	case c.To <= c.From || c.To > cur.PGNumTarget:
		return Result{}, invalid("pool %q: %d PGs cannot become %d; its pg_num is to be %d", cur.Name, c.From, c.To, cur.PGNumTarget)
	case t.otherPGs(c.Pool)+int(c.To) > MaxPGs:
		return Result{}, refuse(wirepb.Code_NO_SPACE, "pool %q with %d PGs: the cluster can have %d in all", cur.Name, c.To, MaxPGs)
	}
	recs := t.m.PGs[i].Records
	for shard := c.From; shard < c.To; shard++ {
		parent := placement.SplitParent(shard, c.From)
		if p := &recs[parent]; !p.Created || p.Forced {
			return Result{}, refuse(wirepb.Code_CONFLICT, "PG %v is not active yet; it can be split then", placement.PGID{Pool: c.Pool, Shard: parent})
		}
	}
	split := make(map[uint32]bool)
	kids := make([]placement.PGRecord, 0, c.To-c.From)
	for shard := c.From; shard < c.To; shard++ {
		parent := placement.SplitParent(shard, c.From)
		r := t.record(i, int(parent))
		if !split[parent] {
			split[parent] = true
			r.Term++
		}
		kids = append(kids, placement.PGRecord{Term: r.Term, Version: t.index, Primary: r.Primary, InSync: slices.Clone(r.InSync), Created: true})
	}
	t.m.PGs[i].Records = append(t.m.PGs[i].Records, kids...)
	t.pool(c.Pool).PGNum = c.To
	t.replace(placement.NoOSD)
	return Result{Pool: c.Pool}, nil
}

// otherPGs counts the PGs that the other pools have or are to get.
func (t *txn) otherPGs(id placement.PoolID) int {
	n := 0
	for i := range t.m.Pools {
		if p := &t.m.Pools[i]; p.ID != id {
			n += int(p.PGNumTarget)
		}
	}
	return n
}

// MaxPGsPerOSD is how many PG copies the OSDs that are in may have on average, for an
// administrator to raise a pool's pg_num: each costs memory and work.
const MaxPGsPerOSD = 250

// setPGNum sets a pool's pg_num target.
func (t *txn) setPGNum(p *placement.Pool, value string) error {
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil {
		return invalid("pool %q: pg_num %q is not a number", p.Name, value)
	}
	if n < uint64(p.PGNum) {
		return refuse(wirepb.Code_CONFLICT,
			"pool %q has %d PGs and cannot have %d: PGs are split, never merged; make a new pool and copy the objects if there must be fewer", p.Name, p.PGNum, n)
	}
	if most := MaxPGs - t.otherPGs(p.ID); n > uint64(max(most, 0)) {
		return refuse(wirepb.Code_NO_SPACE, "pool %q: pg_num %d; a cluster can have %d PGs, and the other pools leave %d", p.Name, n, MaxPGs, max(most, 0))
	}
	copies, in := n*uint64(p.Size), 0
	for i := range t.m.Pools {
		if o := &t.m.Pools[i]; o.ID != p.ID {
			copies += uint64(o.PGNumTarget) * uint64(o.Size)
		}
	}
	for i := range t.m.OSDs {
		if t.m.OSDs[i].In() {
			in++
		}
	}
	if n > uint64(p.PGNumTarget) && copies > uint64(MaxPGsPerOSD*max(in, 1)) {
		return refuse(wirepb.Code_CONFLICT, "pool %q: pg_num %d would give the %d OSDs that are in %d copies of PGs, more than %d each; add OSDs or choose a smaller number",
			p.Name, n, in, copies, MaxPGsPerOSD)
	}
	p.PGNumTarget = uint32(n)
	return nil
}

// setAutoscale sets whether the monitors choose a pool's pg_num, in Ceph's words.
func setAutoscale(p *placement.Pool, mode string) error {
	flags, ok := placement.AutoscaleFlags(mode)
	if !ok {
		return invalid("pool %q: pg_autoscale_mode %q; want on, off or warn", p.Name, mode)
	}
	p.Flags = p.Flags&^(placement.PoolNoAutoscale|placement.PoolAutoscaleWarn) | flags
	return nil
}
