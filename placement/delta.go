package placement

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/cairnstore/cairn/placement/crush"
)

// Delta is what changed between two maps of a cluster. Applied to the map of
// epoch From it gives the map of epoch To, exactly: Sum proves it.
//
// Lists are sorted like those of a map. What is new and what changed are
// told the same way, by the whole item; what went is told by its key.
type Delta struct {
	From, To Epoch
	Sum      uint32 // Checksum of the map of epoch To

	Cluster  UUID // these are carried whole: they are small, and Modified always changes
	Created  int64
	Modified int64
	Flags    Flags
	NextPool PoolID
	NextOSD  OSDID

	Mons         []Mon
	MonsGone     []string
	OSDs         []OSD
	OSDsGone     []OSDID
	CrushChanged bool
	Crush        *crush.Map // set if CrushChanged
	Pools        []Pool
	PoolsGone    []PoolID   // their PG records go with them
	PGs          []PGsDelta // sorted by Pool
	Services     []Service
	ServicesGone []ServiceID
	Config       []Setting
	ConfigGone   []string
}

// PGsDelta is what changed in the PG records of a pool.
type PGsDelta struct {
	Pool    PoolID
	Count   uint32        // PGs the pool has now; all beyond the former count are in Changed
	Changed []ShardRecord // sorted by Shard
}

// ShardRecord is the record of one PG of a pool.
type ShardRecord struct {
	Shard  uint32
	Record PGRecord
}

// Diff returns the Delta that leads from old to new. Both must have the shape of
// a published map. An old of nil stands for the empty map of epoch 0. The delta
// shares memory with new.
func Diff(old, new *Map) *Delta {
	if old == nil {
		old = &Map{}
	}
	d := &Delta{
		From: old.Epoch, To: new.Epoch, Sum: new.Checksum(),
		Cluster: new.Cluster, Created: new.Created, Modified: new.Modified,
		Flags: new.Flags, NextPool: new.NextPool, NextOSD: new.NextOSD,
	}
	d.Mons, d.MonsGone = diffLists(old.Mons, new.Mons, monKey, cmp.Compare)
	d.OSDs, d.OSDsGone = diffLists(old.OSDs, new.OSDs, osdKey, cmp.Compare)
	d.Pools, d.PoolsGone = diffLists(old.Pools, new.Pools, poolKey, cmp.Compare)
	d.Services, d.ServicesGone = diffLists(old.Services, new.Services, serviceKey, ServiceID.compare)
	d.Config, d.ConfigGone = diffLists(old.Config, new.Config, settingKey, cmp.Compare)
	if !sameCrush(old.Crush, new.Crush) {
		d.CrushChanged, d.Crush = true, new.Crush
	}
	for i := range new.PGs {
		p := &new.PGs[i]
		if c := diffRecords(recordsOf(old.PGs, p.Pool), p); len(c.Changed) > 0 || c.Count != uint32(len(recordsOf(old.PGs, p.Pool))) {
			d.PGs = append(d.PGs, c)
		}
	}
	return d
}

// diffLists merges two sorted lists into what is new or changed and the keys of what went.
func diffLists[T comparable, K any](old, new []T, key func(*T) K, compare func(a, b K) int) (changed []T, gone []K) {
	for i, j := 0, 0; i < len(old) || j < len(new); {
		c := 0
		switch {
		case i == len(old):
			c = 1
		case j == len(new):
			c = -1
		default:
			c = compare(key(&old[i]), key(&new[j]))
		}
		if c < 0 {
			gone = append(gone, key(&old[i]))
		} else if c > 0 || old[i] != new[j] {
			changed = append(changed, new[j])
		}
		if c <= 0 {
			i++
		}
		if c >= 0 {
			j++
		}
	}
	return changed, gone
}

func diffRecords(old []PGRecord, p *PoolPGs) PGsDelta {
	d := PGsDelta{Pool: p.Pool, Count: uint32(len(p.Records))}
	if len(old) > 0 && len(old) == len(p.Records) && &old[0] == &p.Records[0] {
		return d // Apply and callers that copy on write share unchanged pools
	}
	for s := range p.Records {
		if r := &p.Records[s]; s >= len(old) || !old[s].equal(r) {
			d.Changed = append(d.Changed, ShardRecord{uint32(s), *r})
		}
	}
	return d
}

func (r *PGRecord) equal(o *PGRecord) bool {
	return r.Term == o.Term && r.Version == o.Version && r.Primary == o.Primary && r.Created == o.Created && r.Forced == o.Forced &&
		slices.Equal(r.InSync, o.InSync)
}

func recordsOf(pgs []PoolPGs, id PoolID) []PGRecord {
	i, ok := slices.BinarySearchFunc(pgs, id, func(p PoolPGs, id PoolID) int { return cmp.Compare(p.Pool, id) })
	if !ok {
		return nil
	}
	return pgs[i].Records
}

// EpochError says that a delta does not start at the map it was applied to. The
// caller needs the deltas between, or the full map.
type EpochError struct {
	Have     Epoch // epoch of the map
	From, To Epoch // of the delta
}

// Error says what to do.
func (e *EpochError) Error() string {
	return fmt.Sprintf("the delta leads from epoch %d to %d, but the map here is of epoch %d: ask a monitor for the changes since %d", e.From, e.To, e.Have, e.Have)
}

// ErrDeltaMismatch is matched by Apply's errors about deltas that do not fit the
// map or do not give the map they promise. The cure is to fetch the full map.
var ErrDeltaMismatch = errors.New("delta does not fit the map: fetch the full map from a monitor")

// Apply returns the map that d leads to. It leaves m as it was and shares all
// unchanged parts with it. The result is checked against the checksum of the map
// from which the delta was made, so a map that deltas built is never silently
// another than the monitors'.
func (m *Map) Apply(d *Delta) (*Map, error) {
	if d.From != m.Epoch {
		return nil, &EpochError{Have: m.Epoch, From: d.From, To: d.To}
	}
	mismatch := func(format string, args ...any) error {
		return fmt.Errorf("apply delta from epoch %d to %d: %s: %w", d.From, d.To, fmt.Sprintf(format, args...), ErrDeltaMismatch)
	}
	if m.Epoch != 0 && d.Cluster != m.Cluster {
		return nil, mismatch("it is of cluster %s, the map of %s", d.Cluster, m.Cluster)
	}
	n := &Map{
		Epoch: d.To, Cluster: d.Cluster, Created: d.Created, Modified: d.Modified,
		Flags: d.Flags, NextPool: d.NextPool, NextOSD: d.NextOSD, Crush: m.Crush,
	}
	if d.CrushChanged {
		n.Crush = d.Crush
	}
	n.Mons = applyList(m.Mons, d.Mons, d.MonsGone, monKey, cmp.Compare)
	n.OSDs = applyList(m.OSDs, d.OSDs, d.OSDsGone, osdKey, cmp.Compare)
	n.Pools = applyList(m.Pools, d.Pools, d.PoolsGone, poolKey, cmp.Compare)
	n.Services = applyList(m.Services, d.Services, d.ServicesGone, serviceKey, ServiceID.compare)
	n.Config = applyList(m.Config, d.Config, d.ConfigGone, settingKey, cmp.Compare)
	pgs, err := applyPGs(m.PGs, n.Pools, d.PGs)
	if err != nil {
		return nil, mismatch("%v", err)
	}
	n.PGs = pgs
	if err := n.checkShape(); err != nil {
		return nil, mismatch("%v", err)
	}
	if sum := n.Checksum(); sum != d.Sum {
		return nil, mismatch("the result has checksum %08x, want %08x", sum, d.Sum)
	}
	return n, nil
}

// applyList undoes diffLists. Input that is not sorted gives a result that is not
// either, which checkShape finds.
func applyList[T, K any](old, changed []T, gone []K, key func(*T) K, compare func(a, b K) int) []T {
	if len(changed) == 0 && len(gone) == 0 {
		return old
	}
	out := make([]T, 0, len(old)+len(changed))
	for i := range old {
		k := key(&old[i])
		for len(changed) > 0 && compare(key(&changed[0]), k) < 0 {
			out, changed = append(out, changed[0]), changed[1:]
		}
		for len(gone) > 0 && compare(gone[0], k) < 0 {
			gone = gone[1:]
		}
		switch {
		case len(changed) > 0 && compare(key(&changed[0]), k) == 0:
			out, changed = append(out, changed[0]), changed[1:]
		case len(gone) > 0 && compare(gone[0], k) == 0:
		default:
			out = append(out, old[i])
		}
	}
	return append(out, changed...)
}

// applyPGs makes the records of the new map's pools. Its cost is bounded by the
// sizes of map and delta, whatever counts the delta claims.
func applyPGs(old []PoolPGs, pools []Pool, changes []PGsDelta) ([]PoolPGs, error) {
	if len(changes) == 0 && len(old) == len(pools) {
		return old, nil
	}
	out := make([]PoolPGs, 0, len(pools))
	for i := range pools {
		id := pools[i].ID
		recs := recordsOf(old, id)
		if len(changes) > 0 && changes[0].Pool == id {
			var err error
			if recs, err = applyRecords(recs, &changes[0]); err != nil {
				return nil, err
			}
			changes = changes[1:]
		}
		out = append(out, PoolPGs{Pool: id, Records: recs})
	}
	if len(changes) > 0 {
		return nil, fmt.Errorf("PG records of pool %d, which does not exist or is out of order", changes[0].Pool)
	}
	return out, nil
}

func applyRecords(old []PGRecord, d *PGsDelta) ([]PGRecord, error) {
	keep := min(len(old), int(min(d.Count, MaxPGs)))
	out := make([]PGRecord, keep, keep+len(d.Changed))
	copy(out, old)
	for i := range d.Changed {
		c := &d.Changed[i]
		switch {
		case int64(c.Shard) < int64(keep):
			out[c.Shard] = c.Record
		case int64(c.Shard) == int64(len(out)): // new shards must come in order, without gaps
			out = append(out, c.Record)
		default:
			return nil, fmt.Errorf("record of PG %s, where %d PGs are known", PGID{d.Pool, c.Shard}, len(out))
		}
	}
	if len(out) != int(d.Count) {
		return nil, fmt.Errorf("pool %d should have %d PGs, but only %d are known", d.Pool, d.Count, len(out))
	}
	return out, nil
}
