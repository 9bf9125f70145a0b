package admin

import (
	"fmt"
	"sort"
	"strings"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/placement"
)

// PGs returns all PGs, by pool and shard. What a PG does is what its primary
// reported for the PG's present term; without such a report the state is derived
// from the map and from older reports:
//
//	down      no in-sync member is up, so nobody may lead (rule R3)
//	unknown   nobody has ever said anything about it
//	creating  its first primary has not reported it active
//	peering   the primary reports, but not yet about this term: it is taking over
//	stale+... the primary is silent; the rest is the last state heard of
func (v *View) PGs() []api.PG {
	stats := v.stats()
	out := []api.PG{}
	v.eachPG(func(id placement.PGID, pool *placement.Pool, rec *placement.PGRecord) {
		e, ok := stats[id]
		out = append(out, v.pg(id, pool, rec, e, ok))
	})
	return out
}

// eachPG calls f for every PG, by pool and shard.
func (v *View) eachPG(f func(id placement.PGID, pool *placement.Pool, rec *placement.PGRecord)) {
	for i := range v.Map.PGs {
		pp := &v.Map.PGs[i]
		pool := v.Map.Pool(pp.Pool)
		if pool == nil {
			continue
		}
		for shard := range pp.Records {
			f(placement.PGID{Pool: pp.Pool, Shard: uint32(shard)}, pool, &pp.Records[shard])
		}
	}
}

func (v *View) pg(id placement.PGID, pool *placement.Pool, rec *placement.PGRecord, e statEntry, reported bool) api.PG {
	pg := api.PG{
		PGID: id.String(), Pool: pool.Name, Term: uint32(rec.Term),
		Up: v.up(v.Target(id)), Acting: v.acting(rec), Version: "0'0",
	}
	pg.UpPrimary, pg.ActingPrimary = first(pg.Up), int(rec.Primary)
	if reported {
		s := e.stat
		pg.Records = s.GetRecords()
		pg.Objects, pg.Bytes, pg.OmapKeys = s.GetObjects(), s.GetBytes(), s.GetOmapKeys()
		pg.Degraded, pg.Misplaced, pg.Unfound = s.GetDegraded(), s.GetMisplaced(), s.GetUnfound()
		pg.ToRecover, pg.Recovered = s.GetRecoverObjects(), s.GetRecoveredObjects()
		pg.ScrubErrors, pg.LastScrub, pg.LastDeepScrub = s.GetScrubErrors(), s.GetLastScrub()/1e9, s.GetLastDeepScrub()/1e9
		pg.LogEntries, pg.Waiting, pg.Reported = s.GetLogEntries(), s.GetWaiting(), unix(e.at)
		pg.Version = fmt.Sprintf("%d'%d", s.GetTerm(), s.GetHeadSeq())
	}
	current := reported && e.live && e.from == rec.Primary && placement.Term(e.stat.GetTerm()) == rec.Term
	last := ""
	if reported {
		last = strings.TrimPrefix(e.stat.GetState(), "stale+")
	}
	_, primarySpeaks := v.report(rec.Primary)
	switch {
	case rec.Primary == placement.NoOSD && (rec.Created || len(rec.InSync) > 0):
		pg.State, pg.Waiting = "down", v.waitsFor(rec)
	case rec.Primary == placement.NoOSD:
		pg.State, pg.Waiting = "unknown", "an OSD to be chosen for it"
	case current:
		pg.State = e.stat.GetState()
		if pg.State == "" {
			pg.State = "unknown"
		}
	case !rec.Created:
		pg.State, pg.Waiting = "creating", fmt.Sprintf("%s to report it active", rec.Primary)
	case primarySpeaks && v.Map.IsUp(rec.Primary):
		pg.State, pg.Waiting = "peering", fmt.Sprintf("%s to take over in term %d", rec.Primary, rec.Term)
	case last != "":
		pg.State, pg.Waiting = "stale+"+last, fmt.Sprintf("a report of %s", rec.Primary)
	default:
		pg.State, pg.Waiting = "unknown", fmt.Sprintf("a report of %s", rec.Primary)
	}
	return pg
}

// acting returns the in-sync set as Ceph shows an acting set: those that are up,
// the primary first. While nobody leads, all members are shown: they are awaited.
func (v *View) acting(rec *placement.PGRecord) []int {
	out := make([]int, 0, len(rec.InSync))
	if rec.Primary != placement.NoOSD {
		out = append(out, int(rec.Primary))
	}
	for _, id := range rec.InSync {
		if id != rec.Primary && (v.Map.IsUp(id) || rec.Primary == placement.NoOSD) {
			out = append(out, int(id))
		}
	}
	return out
}

// waitsFor names exactly whom a PG without a primary waits for.
func (v *View) waitsFor(rec *placement.PGRecord) string {
	names := make([]string, len(rec.InSync))
	for i, id := range rec.InSync {
		names[i] = id.String()
	}
	sort.Strings(names)
	if len(names) == 1 {
		return names[0] + " to come up"
	}
	return "one of " + strings.Join(names, ", ") + " to come up"
}

// has reports whether word is one of the words of a PG state.
func has(state, word string) bool {
	for len(state) > 0 {
		w, rest, _ := strings.Cut(state, "+")
		if w == word {
			return true
		}
		state = rest
	}
	return false
}

// active reports whether a PG serves its clients, as far as is known.
func active(state string) bool { return has(state, "active") && !has(state, "stale") }

// PGSummary sums PGs, which must be the view's own.
func (v *View) PGSummary(pgs []api.PG) api.PGSummary {
	s := api.PGSummary{PGs: len(pgs), Pools: len(v.Map.Pools), ByState: []api.StateCount{}}
	size := map[string]int64{}
	for i := range v.Map.Pools {
		size[v.Map.Pools[i].Name] = int64(v.Map.Pools[i].Size)
	}
	count := map[string]int{}
	inactive, all := 0, int64(0) // all: objects, the cluster's own included
	for i := range pgs {
		pg := &pgs[i]
		count[pg.State]++
		all += pg.Objects
		s.Objects += pg.Objects - pg.Records
		s.Bytes += pg.Bytes
		s.Copies += pg.Objects * size[pg.Pool]
		s.Degraded += pg.Degraded
		s.Misplaced += pg.Misplaced
		s.Unfound += pg.Unfound
		if !active(pg.State) && pg.State != "unknown" {
			inactive++
		}
	}
	for state, n := range count {
		s.ByState = append(s.ByState, api.StateCount{State: state, Count: n})
	}
	sort.Slice(s.ByState, func(i, j int) bool {
		a, b := s.ByState[i], s.ByState[j]
		return a.Count > b.Count || a.Count == b.Count && a.State < b.State
	})
	s.DegradedRatio, s.MisplacedRatio = ratio(s.Degraded, s.Copies), ratio(s.Misplaced, s.Copies)
	s.UnfoundRatio = ratio(s.Unfound, all)
	s.InactiveRatio, s.UnknownRatio = ratio(int64(inactive), int64(len(pgs))), ratio(int64(count["unknown"]), int64(len(pgs)))

	for i := range v.Map.OSDs {
		st, fresh := v.report(v.Map.OSDs[i].ID)
		if st.Report == nil {
			continue
		}
		s.Total += st.Report.GetCapacity()
		s.Used += st.Report.GetUsed()
		s.Avail += st.Report.GetAvailable()
		if fresh && v.Map.OSDs[i].Up {
			s.ReadBytes += st.Rates.ReadBytes
			s.WriteBytes += st.Rates.WriteBytes
			s.ReadOps += st.Rates.ReadOps
			s.WriteOps += st.Rates.WriteOps
			s.RecoveringBytes += st.Rates.RecoveredBytes
			s.RecoveringObjects += st.Rates.RecoveredObjects
		}
	}
	return s
}

// remapped counts the PGs that are not where they should be.
func remapped(pgs []api.PG) int {
	n := 0
	for i := range pgs {
		if has(pgs[i].State, "remapped") {
			n++
		}
	}
	return n
}
