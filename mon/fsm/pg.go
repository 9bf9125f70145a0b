package fsm

import (
	"slices"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// PGChange is the compare-and-set with which a PG's primary changes the PG's
// record (rule R2).
type PGChange struct {
	PG      PGID              `json:"pg"`
	Term    placement.Term    `json:"term"`    // the proposer's
	Version placement.Epoch   `json:"version"` // of the record it is based on
	From    placement.OSDID   `json:"from"`    // the proposer
	Primary placement.OSDID   `json:"primary"` // another than From takes over, in a new term
	InSync  []placement.OSDID `json:"in_sync"`
	Created bool              `json:"created"` // the PG is active for the first time
}

func (*PGChange) kind() string { return "pg-change" }

func (c *PGChange) apply(t *txn) (Result, error) {
	pg := placement.PGID(c.PG)
	rec := t.m.PG(pg)
	if rec == nil {
		return Result{}, refuse(wirepb.Code_NOT_FOUND, "PG %v does not exist; its pool may have been removed: fetch the map", pg)
	}
	if rec.Version != c.Version || rec.Term != c.Term || rec.Primary != c.From {
		return Result{}, refuse(wirepb.Code_CONFLICT,
			"PG %v changed meanwhile: it is at version %d, term %d, primary %v; the proposal is based on version %d, term %d, primary %v: fetch the map",
			pg, rec.Version, rec.Term, rec.Primary, c.Version, c.Term, c.From)
	}
	if !t.m.IsUp(c.From) {
		return Result{}, refuse(wirepb.Code_CONFLICT, "PG %v: the proposer %v is down in the map: boot first", pg, c.From)
	}
	if err := c.checkSet(t, rec); err != nil {
		return Result{}, err
	}
	created := rec.Created || c.Created
	// A change to what is there already gets a new version, too: that is how a primary
	// makes void whatever it proposed before and has no answer to.
	for i := range t.m.PGs {
		if t.m.PGs[i].Pool != c.PG.Pool {
			continue
		}
		r := t.record(i, int(c.PG.Shard))
		if r.Primary != c.Primary {
			r.Term++
		}
		if slices.ContainsFunc(c.InSync, func(id placement.OSDID) bool { return !r.Has(id) }) {
			r.Forced = false // another one has it all, by comparing everything
		}
		r.Primary, r.InSync, r.Created = c.Primary, slices.Clone(c.InSync), created
		break
	}
	return Result{}, nil
}

// checkSet checks the proposed in-sync set and primary.
func (c *PGChange) checkSet(t *txn, rec *placement.PGRecord) error {
	pg := placement.PGID(c.PG)
	pool := t.m.Pool(c.PG.Pool)
	if len(c.InSync) == 0 {
		return invalid("PG %v: an empty in-sync set would lose every acknowledged write", pg)
	}
	if len(c.InSync) > 2*MaxSize {
		return invalid("PG %v: in-sync set of %d members, at most %d are allowed", pg, len(c.InSync), 2*MaxSize)
	}
	for i, id := range c.InSync {
		switch {
		case t.m.OSD(id) == nil:
			return invalid("PG %v: in-sync member %v is not registered", pg, id)
		case slices.Contains(c.InSync[:i], id):
			return invalid("PG %v: in-sync member %v is named twice", pg, id)
		case !rec.Has(id) && !t.m.IsUp(id):
			return refuse(wirepb.Code_CONFLICT, "PG %v: %v cannot join the in-sync set, it is down", pg, id)
		}
	}
	if !slices.Contains(c.InSync, c.Primary) {
		return invalid("PG %v: primary %v is not in the in-sync set %v", pg, c.Primary, c.InSync)
	}
	if !t.m.IsUp(c.Primary) {
		return refuse(wirepb.Code_CONFLICT, "PG %v: %v cannot become primary, it is down", pg, c.Primary)
	}
	if len(c.InSync) >= int(pool.MinSize) {
		return nil
	}
	// Already below min_size (the pool was made smaller, or its min_size raised):
	// the set may grow step by step, and stay, but not lose another member.
	for _, id := range rec.InSync {
		if !slices.Contains(c.InSync, id) {
			return refuse(wirepb.Code_CONFLICT,
				"PG %v: an in-sync set of %d members without %v is below the pool's min_size %d; wait for %v or for another copy",
				pg, len(c.InSync), id, pool.MinSize, id)
		}
	}
	return nil
}

// pick returns the first in-sync set and primary of a PG that holds no data
// yet: the target's members that are up. Below min_size nobody leads, because
// nothing could commit.
func (t *txn) pick(pool *placement.Pool, shard uint32) ([]placement.OSDID, placement.OSDID) {
	target := t.table.Target(placement.PGID{Pool: pool.ID, Shard: shard})
	up := make([]placement.OSDID, 0, len(target))
	for _, id := range target {
		if t.m.IsUp(id) {
			up = append(up, id)
		}
	}
	if len(up) == 0 || len(up) < int(pool.MinSize) {
		return up, placement.NoOSD
	}
	for _, id := range up {
		if !t.m.Shunned(id) {
			return up, id
		}
	}
	return up, up[0]
}

// newRecords returns the records of a new pool. t.table must know the pool.
func (t *txn) newRecords(pool *placement.Pool) []placement.PGRecord {
	recs := make([]placement.PGRecord, pool.PGNum)
	for i := range recs {
		inSync, primary := t.pick(pool, uint32(i))
		recs[i] = placement.PGRecord{Term: 1, Version: t.index, Primary: primary, InSync: inSync}
	}
	return recs
}

// replace lets the records follow a change of up, in, CRUSH or pool policy. It
// is called once, at the end of a command. booted is the OSD that came up in
// this command, or NoOSD.
//
// A PG without data is placed anew. A PG with data gets a new primary out of
// its in-sync set when it needs one (rule R3); the set itself stays as it is.
func (t *txn) replace(booted placement.OSDID) {
	t.table = t.s.table.Next(&t.m)
	for i := range t.m.PGs {
		pool := t.m.Pool(t.m.PGs[i].Pool)
		for shard := range t.m.PGs[i].Records {
			rec := &t.m.PGs[i].Records[shard]
			if rec.Created {
				t.promote(i, shard, pool, rec, booted)
				continue
			}
			inSync, primary := t.pick(pool, uint32(shard))
			// The restarted primary may have been about to report the PG active in its
			// old incarnation; the new term makes that proposal fail.
			restarted := booted != placement.NoOSD && rec.Primary == booted
			if restarted || primary != rec.Primary || !slices.Equal(inSync, rec.InSync) {
				r := t.record(i, shard)
				r.Term++
				r.InSync, r.Primary = inSync, primary
			}
		}
	}
}

// promote gives a PG with data a new primary if it needs one.
func (t *txn) promote(i, shard int, pool *placement.Pool, rec *placement.PGRecord, booted placement.OSDID) {
	var next placement.OSDID
	switch {
	case rec.Primary == placement.NoOSD:
		// Nobody in the set was up. Only the OSD that just came can change that.
		if booted == placement.NoOSD || !rec.Has(booted) {
			return
		}
		next = booted
	case rec.Primary == booted:
		// It restarted before anyone noticed. Another member leads sooner, since the
		// restarted one has to wait a full lease first; either way the term ends.
		next = t.successor(pool, uint32(shard), rec, booted)
		if next == placement.NoOSD {
			next = booted
		}
	case t.m.IsUp(rec.Primary):
		return
	default:
		next = t.successor(pool, uint32(shard), rec, rec.Primary)
	}
	r := t.record(i, shard)
	r.Primary = next
	r.Term++
}

// successor returns the up in-sync member other than not that leads next, the
// first in target order if one is there, or NoOSD. One whose device is slow leads
// only when there is no other.
func (t *txn) successor(pool *placement.Pool, shard uint32, rec *placement.PGRecord, not placement.OSDID) placement.OSDID {
	slow := placement.NoOSD
	for _, ids := range [][]placement.OSDID{t.table.Target(placement.PGID{Pool: pool.ID, Shard: shard}), rec.InSync} {
		for _, id := range ids {
			switch {
			case id == not || !t.m.IsUp(id) || !rec.Has(id):
			case !t.m.Shunned(id):
				return id
			case slow == placement.NoOSD:
				slow = id
			}
		}
	}
	return slow
}
