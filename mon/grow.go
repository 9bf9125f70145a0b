package mon

import (
	"strconv"
	"strings"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/placement"
)

// How pools get more PGs.
const (
	splitsMax      = 16      // PGs that are split off in one step
	splitsPart     = 4       // nor more in one step than one for so many that the pool has
	growRatio      = 2       // the monitors raise pg_num only to at least so many times what it is
	growBytes      = 1 << 30 // a pool's share of the data counts from so much per PG
	misplacedParts = 20      // no step while more than a twentieth of a pool's copies are not where they should be
)

// grow returns what should be proposed for pools to get the PGs that they are to have, and for
// which they should have more. mu is not held.
func (w *watch) grow(now time.Time, m *placement.Map) []fsm.Body {
	w.mu.Lock()
	defer w.mu.Unlock()
	stats := w.pgStats(m)
	held := bytesOf(stats)
	var all int64
	for _, n := range held {
		all += n
	}
	var out []fsm.Body
	for i := range m.Pools {
		p := &m.Pools[i]
		if to := nextStep(m, p, stats); to > p.PGNum {
			out = append(out, &fsm.PoolSplit{Pool: p.ID, From: p.PGNum, To: to})
		}
		best := m.BestPGNum(p, shareOf(p, held[p.ID], all))
		if p.Flags&placement.PoolNoAutoscale != 0 || best < growRatio*p.PGNumTarget {
			delete(w.growSince, p.ID)
			continue
		}
		since, known := w.growSince[p.ID]
		if !known {
			w.growSince[p.ID] = now
		} else if now.Sub(since) >= w.growAfter {
			delete(w.growSince, p.ID)
			out = append(out, &fsm.PoolSet{Name: p.Name, Key: "pg_num", Value: strconv.FormatUint(uint64(best), 10)})
		}
	}
	for id := range w.growSince {
		if m.Pool(id) == nil {
			delete(w.growSince, id)
		}
	}
	return out
}

// pgStats returns what the primaries of this moment say of their PGs in the term of the map. mu is held.
func (w *watch) pgStats(m *placement.Map) map[placement.PGID]*wirepb.PGStat {
	stats := make(map[placement.PGID]*wirepb.PGStat)
	for id, s := range w.osds {
		o, r := m.OSD(id), s.status.Report
		if o == nil || !o.Up || r == nil || r.Incarnation != o.Incarnation {
			continue
		}
		for _, st := range r.Pgs {
			pg := placement.PGID{Pool: placement.PoolID(st.Pool), Shard: st.Shard}
			if rec := m.PG(pg); rec != nil && rec.Primary == id && uint32(rec.Term) == st.Term {
				stats[pg] = st
			}
		}
	}
	return stats
}

func bytesOf(stats map[placement.PGID]*wirepb.PGStat) map[placement.PoolID]int64 {
	held := make(map[placement.PoolID]int64)
	for pg, st := range stats {
		held[pg.Pool] += st.Bytes
	}
	return held
}

// shareOf returns a pool's part of all data, or 0 as long as its PGs are small.
func shareOf(p *placement.Pool, bytes, all int64) float64 {
	if all <= 0 || bytes < growBytes*int64(p.PGNum) {
		return 0
	}
	return float64(bytes) / float64(all)
}

// nextStep returns how many PGs the pool may have now on its way to its target. All its PGs must be
// active, those that split clean, and most of the data that earlier steps moved in its place.
func nextStep(m *placement.Map, p *placement.Pool, stats map[placement.PGID]*wirepb.PGStat) uint32 {
	const still = placement.FlagNoRebalance | placement.FlagNoBackfill | placement.FlagNoRecover
	if p.PGNum >= p.PGNumTarget || m.Flags&still != 0 {
		return p.PGNum
	}
	to := min(p.PGNumTarget, p.PGNum+min(splitsMax, max(1, p.PGNum/splitsPart)))
	splits := make(map[uint32]bool)
	for shard := p.PGNum; shard < to; shard++ {
		splits[placement.SplitParent(shard, p.PGNum)] = true
	}
	var misplaced, copies int64
	for shard := range p.PGNum {
		st := stats[placement.PGID{Pool: p.ID, Shard: shard}]
		if !hasState(st, "active") || splits[shard] && !hasState(st, "clean") {
			return p.PGNum
		}
		if rec := m.PG(placement.PGID{Pool: p.ID, Shard: shard}); splits[shard] && (!rec.Created || rec.Forced) {
			return p.PGNum // it would be refused
		}
		misplaced += st.Misplaced + st.Degraded
		copies += st.Objects * int64(p.Size)
	}
	if misplaced*misplacedParts > copies {
		return p.PGNum
	}
	return to
}

func hasState(st *wirepb.PGStat, word string) bool {
	for w := range strings.SplitSeq(st.GetState(), "+") {
		if w == word {
			return true
		}
	}
	return false
}
