package admin

import (
	"time"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// ReportMaxAge is how old an OSD's report may be before what it says counts as
// stale. OSDs report every few seconds, so this is several reports lost.
const ReportMaxAge = 30 * time.Second

// View is everything that the answers of this package are computed from, at one
// moment. Its methods are pure: equal views give equal answers.
type View struct {
	Map      *placement.Map // required
	Quorum   api.Quorum
	Reports  map[placement.OSDID]api.OSDStatus
	Services []api.ServiceStatus
	Now      time.Time

	// UpSince and InSince say since when as many OSDs are up and in; zero: not known.
	UpSince, InSince time.Time

	// Progress is the long work under way.
	Progress []api.Progress

	// Target returns the OSDs that CRUSH chose for a PG, up or not.
	Target func(placement.PGID) []placement.OSDID
}

// up returns the members of ids that are up, in order.
func (v *View) up(ids []placement.OSDID) []int {
	out := make([]int, 0, len(ids))
	for _, id := range ids {
		if v.Map.IsUp(id) {
			out = append(out, int(id))
		}
	}
	return out
}

// report returns the newest report of an OSD if it comes from the incarnation
// the map knows, and whether it is fresh.
func (v *View) report(id placement.OSDID) (st api.OSDStatus, fresh bool) {
	st, ok := v.Reports[id]
	if !ok || st.Report == nil {
		return api.OSDStatus{}, false
	}
	o := v.Map.OSD(id)
	if o == nil || o.Incarnation != st.Report.GetIncarnation() {
		return st, false
	}
	return st, v.Now.Sub(st.At) <= ReportMaxAge
}

// statEntry is what one OSD reported of one PG.
type statEntry struct {
	from placement.OSDID
	at   time.Time
	stat *wirepb.PGStat
	live bool // the report is fresh and of the incarnation in the map
}

// stats indexes the reports by PG. Of several reports the one of the highest
// term wins, then the newest: a former primary's last words are still the best
// guess while nobody else has spoken.
func (v *View) stats() map[placement.PGID]statEntry {
	out := map[placement.PGID]statEntry{}
	for i := range v.Map.OSDs {
		id := v.Map.OSDs[i].ID
		st, live := v.report(id)
		if st.Report == nil {
			continue
		}
		for _, s := range st.Report.GetPgs() {
			pg := placement.PGID{Pool: placement.PoolID(s.GetPool()), Shard: s.GetShard()}
			e := statEntry{from: id, at: st.At, stat: s, live: live}
			old, ok := out[pg]
			if !ok || s.GetTerm() > old.stat.GetTerm() || s.GetTerm() == old.stat.GetTerm() && e.at.After(old.at) {
				out[pg] = e
			}
		}
	}
	return out
}

func intsOf(ids []placement.OSDID) []int {
	out := make([]int, len(ids))
	for i, id := range ids {
		out[i] = int(id)
	}
	return out
}

func first(ids []int) int {
	if len(ids) == 0 {
		return int(placement.NoOSD)
	}
	return ids[0]
}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func ratio(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return float64(part) / float64(whole)
}
