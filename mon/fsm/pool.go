package fsm

import (
	"slices"
	"strconv"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
	"github.com/cairnstore/cairn/placement/crush"
)

// PoolCreate makes a pool. Zero values mean the defaults.
type PoolCreate struct {
	Name        string `json:"name"`
	Size        uint32 `json:"size,omitempty"`     // default 3, or as many as chunks may lose shards, and one
	MinSize     uint32 `json:"min_size,omitempty"` // default size - size/2
	PGNum       uint32 `json:"pg_num,omitempty"`   // default by the number of OSDs
	Rule        string `json:"rule,omitempty"`     // default replicated_rule
	Application string `json:"application,omitempty"`
	Autoscale   string `json:"autoscale,omitempty"` // pg_autoscale_mode; default on

	Chunks      string `json:"chunks,omitempty"`      // redundancy, such as 4:2:rs; default none. Since version 4, like what follows
	Dedup       string `json:"dedup,omitempty"`       // default tenant
	Cut         string `json:"cut,omitempty"`         // default fixed
	ChunkSize   uint32 `json:"chunk_size,omitempty"`  // bytes; default 1 MiB
	Compression string `json:"compression,omitempty"` // default none
}

// PoolSet changes one property of a pool: size, min_size, application,
// crush_rule, pg_num, pg_autoscale_mode, chunks, dedup, cut, chunk_size or compression.
type PoolSet struct {
	Name  string `json:"name"`
	Key   string `json:"key"`
	Value string `json:"value"`
}

// PoolRemove removes a pool and the records of its PGs, and so its data.
type PoolRemove struct {
	Name string `json:"name"`
}

func (*PoolCreate) kind() string { return "pool-create" }
func (*PoolSet) kind() string    { return "pool-set" }
func (*PoolRemove) kind() string { return "pool-remove" }

const (
	defaultSize = 3
	defaultRule = crush.DefaultRule
)

// FillSizes chooses the numbers of copies that a pool with chunks is to have, where the command does not say them: so many that
// the pool is not only all there, but read and written, while as many OSDs are down as its chunks survive. min_size is 2,
// as for other pools, since a write that only one disk has may be lost with it; hence m+2 copies. But never more than there
// are shards: that many failure domains there must be anyway.
//
// It is called before the command is proposed. Monitors must carry a command out as they did when it was new, so that
// what apply chooses by itself can never change.
func (c *PoolCreate) FillSizes() {
	r, err := placement.ParseRedundancy(c.Chunks)
	if err != nil || r.IsZero() {
		return // apply says what is wrong
	}
	m := uint32(r.M)
	if c.Size == 0 {
		c.Size = max(defaultSize, min(m+2, uint32(r.Shards())))
	}
	if c.MinSize == 0 && c.Size > m {
		c.MinSize = min(c.Size-c.Size/2, max(2, c.Size-m))
	}
}

func (c *PoolCreate) apply(t *txn) (Result, error) {
	if err := checkName("pool", c.Name); err != nil {
		return Result{}, err
	}
	if t.m.PoolByName(c.Name) != nil {
		return Result{}, refuse(wirepb.Code_EXISTS, "pool %q exists already", c.Name)
	}
	if len(t.m.Pools) >= MaxPools {
		return Result{}, refuse(wirepb.Code_NO_SPACE, "pool %q: the cluster has %d pools, the most it can have; remove one", c.Name, MaxPools)
	}
	if err := checkText("application of pool "+c.Name, c.Application, MaxTextBytes); err != nil {
		return Result{}, err
	}
	p := placement.Pool{
		ID: t.m.NextPool, Name: c.Name, Size: c.Size, MinSize: c.MinSize, PGNum: c.PGNum,
		Application: c.Application, Created: t.index,
	}
	if err := c.setAllChunks(&p); err != nil {
		return Result{}, err
	}
	if p.Size == 0 {
		p.Size = max(defaultSize, uint32(p.Chunks.Redundancy.M)+1)
	}
	if p.MinSize == 0 {
		p.MinSize = p.Size - p.Size/2
	}
	if err := checkSizes(&p); err != nil {
		return Result{}, err
	}
	if err := checkChunks(&p); err != nil {
		return Result{}, err
	}
	rule := c.Rule
	if rule == "" {
		rule = defaultRule
	}
	var err error
	if p.Rule, err = t.ruleID(c.Name, rule); err != nil {
		return Result{}, err
	}
	total := t.otherPGs(0)
	if p.PGNum == 0 {
		p.PGNum = choosePGNum(&t.m, uint32(max(MaxPGs-total, 0)))
	}
	if p.PGNum == 0 || int64(p.PGNum) > int64(MaxPGs-total) {
		return Result{}, refuse(wirepb.Code_NO_SPACE,
			"pool %q with %d PGs: the cluster has %d PGs and can have %d; take a smaller pg_num or remove a pool", c.Name, p.PGNum, total, MaxPGs)
	}
	p.PGNumTarget, p.FirstPGNum = p.PGNum, p.PGNum
	if c.Autoscale != "" {
		if err := setAutoscale(&p, c.Autoscale); err != nil {
			return Result{}, err
		}
	}
	t.m.NextPool++
	t.m.Pools = append(slices.Clone(t.m.Pools), p)
	if err := t.checkPlaceable(&p, rule); err != nil {
		return Result{}, err
	}
	t.m.PGs = append(slices.Clone(t.m.PGs), placement.PoolPGs{Pool: p.ID, Records: t.newRecords(&p)})
	t.changed = true
	return Result{Pool: p.ID}, nil
}

func checkSizes(p *placement.Pool) error {
	if p.Size < 1 || p.Size > MaxSize {
		return invalid("pool %q: size %d; want 1 to %d copies", p.Name, p.Size, MaxSize)
	}
	if p.MinSize < 1 || p.MinSize > p.Size {
		return invalid("pool %q: min_size %d; want 1 to the pool's size, %d", p.Name, p.MinSize, p.Size)
	}
	return nil
}

func (t *txn) ruleID(pool, rule string) (int32, error) {
	r, ok := t.m.Crush.RuleByName(rule)
	if !ok {
		return 0, refuse(wirepb.Code_NOT_FOUND, "pool %q: CRUSH rule %q does not exist; see `cairn osd crush rule ls`", pool, rule)
	}
	return int32(r.ID), nil
}

// checkPlaceable refuses a policy that the cluster's OSDs cannot fulfil, rather
// than making a pool that stays degraded for ever. t.m has the pool already.
func (t *txn) checkPlaceable(p *placement.Pool, rule string) error {
	t.table = t.s.table.Next(&t.m)
	most := 0
	for shard := uint32(0); shard < p.PGNum; shard++ {
		most = max(most, len(t.table.Target(placement.PGID{Pool: p.ID, Shard: shard})))
		if most >= int(p.Size) {
			return t.checkDomains(p, rule)
		}
	}
	return refuse(wirepb.Code_CONFLICT,
		"pool %q: CRUSH rule %q finds places for %d of %d copies; start OSDs on more failure domains, or choose a smaller size or another rule",
		p.Name, rule, most, p.Size)
}

func (c *PoolSet) apply(t *txn) (Result, error) {
	cur := t.m.PoolByName(c.Name)
	if cur == nil {
		return Result{}, noPool(c.Name)
	}
	p, rule := *cur, ""
	switch c.Key {
	case "size", "min_size":
		n, err := strconv.ParseUint(c.Value, 10, 32)
		if err != nil {
			return Result{}, invalid("pool %q: %s %q is not a number", c.Name, c.Key, c.Value)
		}
		if c.Key == "size" {
			p.Size = uint32(n)
		} else {
			p.MinSize = uint32(n)
		}
		if err := checkSizes(&p); err != nil {
			return Result{}, err
		}
	case "application":
		if err := checkText("application of pool "+c.Name, c.Value, MaxTextBytes); err != nil {
			return Result{}, err
		}
		p.Application = c.Value
	case "crush_rule":
		var err error
		if p.Rule, err = t.ruleID(c.Name, c.Value); err != nil {
			return Result{}, err
		}
	case "pg_num":
		if err := t.setPGNum(&p, c.Value); err != nil {
			return Result{}, err
		}
	case "pg_autoscale_mode":
		if err := setAutoscale(&p, c.Value); err != nil {
			return Result{}, err
		}
	default:
		if !placement.IsChunkKey(c.Key) {
			return Result{}, invalid("pool %q: property %q cannot be set; want size, min_size, application, crush_rule, pg_num, pg_autoscale_mode, chunks, dedup, cut, chunk_size or compression", c.Name, c.Key)
		}
		if err := setChunks(&p, c.Key, c.Value); err != nil {
			return Result{}, err
		}
	}
	if err := checkChunks(&p); err != nil {
		return Result{}, err
	}
	if p == *cur {
		return Result{}, nil
	}
	place := p.Size > cur.Size || p.Rule != cur.Rule || p.Chunks.Redundancy.Shards() > cur.Chunks.Redundancy.Shards()
	*t.pool(p.ID) = p
	if place {
		if r, ok := t.m.Crush.Rule(int(p.Rule)); ok {
			rule = r.Name
		}
		if err := t.checkPlaceable(&p, rule); err != nil {
			return Result{}, err
		}
	}
	t.replace(placement.NoOSD)
	return Result{}, nil
}

func (c *PoolRemove) apply(t *txn) (Result, error) {
	p := t.m.PoolByName(c.Name)
	if p == nil {
		return Result{}, noPool(c.Name)
	}
	id := p.ID
	t.m.Pools = slices.DeleteFunc(slices.Clone(t.m.Pools), func(p placement.Pool) bool { return p.ID == id })
	t.m.PGs = slices.DeleteFunc(slices.Clone(t.m.PGs), func(p placement.PoolPGs) bool { return p.Pool == id })
	t.changed = true
	return Result{Pool: id}, nil
}

func noPool(name string) error {
	return refuse(wirepb.Code_NOT_FOUND, "pool %q does not exist; see `cairn pool ls`", name)
}
