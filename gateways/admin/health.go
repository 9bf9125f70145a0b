package admin

import (
	"fmt"
	"sort"
	"strings"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/placement"
)

// detailMax bounds the detail of one check; the rest is counted.
const detailMax = 50

// defaultPoolSize is what a pool gets when it is made without a size.
const defaultPoolSize = 3

// Health returns what is wrong with the cluster, in Ceph's codes and words. A
// cluster whose monitors are in quorum, whose OSDs are up and whose PGs are
// active and whole has no check at all.
func (v *View) Health() api.Health { return v.health(v.PGs()) }

func (v *View) health(pgs []api.PG) api.Health {
	h := checks{}
	v.checkMons(h)
	v.checkFlags(h)
	v.checkOSDsDown(h)
	v.checkOSDsFull(h)
	v.checkDevices(h)
	v.checkOSDsSilent(h)
	v.checkPools(h)
	v.checkPoolsFull(h)
	v.checkChunks(h)
	v.checkPGs(h, pgs)
	checkPGsFull(h, pgs)
	out := api.Health{Status: api.HealthOK, Checks: h}
	for _, c := range h {
		if c.Severity.Level() > out.Status.Level() {
			out.Status = c.Severity
		}
	}
	return out
}

type checks map[string]api.HealthCheck

// add records a check. An empty detail is left out of text output.
func (h checks) add(code string, sev api.Severity, count int, summary string, detail []string) {
	c := api.HealthCheck{
		Severity: sev, Summary: api.HealthSummary{Message: summary, Count: count}, Detail: []api.HealthDetail{},
	}
	for i, d := range detail {
		if i == detailMax {
			c.Detail = append(c.Detail, api.HealthDetail{Message: fmt.Sprintf("and %d more", len(detail)-detailMax)})
			break
		}
		c.Detail = append(c.Detail, api.HealthDetail{Message: d})
	}
	h[code] = c
}

func (v *View) checkMons(h checks) {
	mons := v.Mons()
	var detail, in []string
	for _, m := range mons.Mons {
		if m.InQuorum {
			in = append(in, m.Name)
		} else {
			detail = append(detail, fmt.Sprintf("mon.%s (rank %d) addr %s is down (out of quorum)", m.Name, m.Rank, m.Addr))
		}
	}
	if n := len(detail); n > 0 {
		h.add("MON_DOWN", api.HealthWarn, n, fmt.Sprintf("%d/%d mons down, quorum %s", n, mons.NumMons, strings.Join(in, ",")), detail)
	}
}

func (v *View) checkFlags(h checks) {
	shown := v.Map.Flags.FlagNames()
	for i, name := range shown {
		if name == "pause" { // Ceph shows what it stands for there
			shown[i] = "pauserd,pausewr"
		}
	}
	if len(shown) > 0 {
		h.add("OSDMAP_FLAGS", api.HealthWarn, len(shown), strings.Join(shown, ",")+" flag(s) set", nil)
	}
}

// checkOSDsDown reports OSDs that are down though CRUSH still counts on them,
// and the hosts, racks ... below which every such OSD is down.
func (v *View) checkOSDsDown(h checks) {
	var detail []string
	down := map[int]bool{}
	for i := range v.Map.OSDs {
		o := &v.Map.OSDs[i]
		if o.Up || !o.In() {
			continue
		}
		down[int(o.ID)] = true
		detail = append(detail, fmt.Sprintf("%s (%s) is down", o.ID, v.crushPath(int(o.ID), "no CRUSH location")))
	}
	if len(detail) == 0 {
		return
	}
	h.add("OSD_DOWN", api.HealthWarn, len(detail), fmt.Sprintf("%d osds down", len(detail)), detail)

	type subtrees struct {
		osds   int
		detail []string
	}
	byType := map[string]*subtrees{}
	for i := range v.Map.Crush.Buckets {
		b := &v.Map.Crush.Buckets[i]
		in, lost := 0, 0
		for _, id := range v.devicesBelow(b.ID) {
			if o := v.Map.OSD(placement.OSDID(id)); o != nil && o.In() {
				in++
				if down[id] {
					lost++
				}
			}
		}
		if in == 0 || lost < in {
			continue
		}
		typ := v.Map.Crush.TypeName(b.Type)
		s := byType[typ]
		if s == nil {
			s = &subtrees{}
			byType[typ] = s
		}
		s.osds += lost
		where := ""
		if p := v.crushPath(b.ID, ""); p != "" {
			where = " (" + p + ")"
		}
		s.detail = append(s.detail, fmt.Sprintf("%s %s%s (%d osds) is down", typ, b.Name, where, lost))
	}
	for typ, s := range byType {
		sort.Strings(s.detail)
		h.add("OSD_"+strings.ToUpper(typ)+"_DOWN", api.HealthWarn, len(s.detail),
			fmt.Sprintf("%d %s (%d osds) down", len(s.detail), typ, s.osds), s.detail)
	}
}

func (v *View) checkOSDsFull(h checks) {
	by := map[placement.Fullness][]string{}
	for i := range v.Map.OSDs {
		o := &v.Map.OSDs[i]
		if full := v.fullOf(o); full > placement.NotFull {
			by[full] = append(by[full], fmt.Sprintf("%s is %s", o.ID, map[placement.Fullness]string{
				placement.NearFull: "near full", placement.BackfillFull: "backfill full", placement.Full: "full"}[full]))
		}
	}
	if full := by[placement.Full]; len(full) > 0 {
		h.add("OSD_FULL", api.HealthErr, len(full), fmt.Sprintf("%d full osd(s)", len(full)), full)
	}
	if full := by[placement.BackfillFull]; len(full) > 0 {
		h.add("OSD_BACKFILLFULL", api.HealthWarn, len(full), fmt.Sprintf("%d backfillfull osd(s)", len(full)), full)
	}
	if near := by[placement.NearFull]; len(near) > 0 {
		h.add("OSD_NEARFULL", api.HealthWarn, len(near), fmt.Sprintf("%d nearfull osd(s)", len(near)), near)
	}
}

// fullness judges the used share of an OSD's space.
func (v *View) fullness(used float64) placement.Fullness {
	switch {
	case used >= v.Map.ConfigRatio(placement.KeyFullRatio):
		return placement.Full
	case used >= v.Map.ConfigRatio(placement.KeyBackfillFullRatio):
		return placement.BackfillFull
	case used >= v.Map.ConfigRatio(placement.KeyNearFullRatio):
		return placement.NearFull
	}
	return placement.NotFull
}

// checkOSDsSilent reports OSDs that are up but whose reports stopped. One that
// came up, or whose leader was elected, only lately is given time to report.
func (v *View) checkOSDsSilent(h checks) {
	if v.Quorum.Leader == "" || v.Now.Sub(v.Quorum.LeaderSince) <= ReportMaxAge ||
		v.Now.Sub(v.UpSince) <= ReportMaxAge {
		return
	}
	var detail []string
	for i := range v.Map.OSDs {
		o := &v.Map.OSDs[i]
		st, fresh := v.report(o.ID)
		switch {
		case !o.Up || fresh:
		case st.Report == nil:
			detail = append(detail, fmt.Sprintf("%s is up but has not reported to monitor %s yet", o.ID, v.Quorum.Leader))
		default:
			detail = append(detail, fmt.Sprintf("%s is up but last reported %d s ago", o.ID, int64(v.Now.Sub(st.At).Seconds())))
		}
	}
	if len(detail) > 0 {
		h.add("OSD_NOT_REPORTING", api.HealthWarn, len(detail), fmt.Sprintf("%d osds do not report", len(detail)), detail)
	}
}

func (v *View) checkPools(h checks) {
	var single, few []string
	need, why := uint32(defaultPoolSize), fmt.Sprintf("osd_pool_default_size %d", defaultPoolSize)
	for i := range v.Map.Pools {
		p := &v.Map.Pools[i]
		if p.Size == 1 {
			single = append(single, fmt.Sprintf("pool '%s' has no replicas configured", p.Name))
		}
		if best := v.Map.BestPGNum(p, 0); p.Flags&placement.PoolAutoscaleWarn != 0 && best >= 2*p.PGNumTarget {
			few = append(few, fmt.Sprintf("pool '%s' has %d placement groups, should have %d", p.Name, p.PGNumTarget, best))
		}
		if i == 0 || p.Size > need {
			need, why = p.Size, fmt.Sprintf("size %d of pool '%s'", p.Size, p.Name)
		}
	}
	if n := uint32(len(v.Map.OSDs)); n < need {
		h.add("TOO_FEW_OSDS", api.HealthWarn, int(need-n), fmt.Sprintf("OSD count %d < %s", n, why), nil)
	}
	if len(few) > 0 {
		h.add("POOL_TOO_FEW_PGS", api.HealthWarn, len(few), fmt.Sprintf("%d pool(s) have too few placement groups", len(few)), few)
	}
	if len(single) > 0 {
		h.add("POOL_NO_REDUNDANCY", api.HealthWarn, len(single), fmt.Sprintf("%d pool(s) have no replicas configured", len(single)), single)
	}
}

// checkPGs sums up what the PGs' states mean for users.
func (v *View) checkPGs(h checks, pgs []api.PG) {
	var unavailable, degraded, damaged, unfound []string
	counts := map[string]int{} // words of unavailable PGs
	nDegraded, nUndersized, nInconsistent, inactive := 0, 0, 0, 0
	scrubErrors := uint64(0)
	for i := range pgs {
		pg := &pgs[i]
		if !active(pg.State) {
			unavailable = append(unavailable, pgDetail(pg))
			if !has(pg.State, "active") {
				inactive++
			}
			for _, word := range []string{"peering", "down", "stale", "incomplete"} {
				if has(pg.State, word) {
					counts[word]++
				}
			}
		}
		isDegraded, isUndersized := has(pg.State, "degraded"), has(pg.State, "undersized")
		if isDegraded {
			nDegraded++
		}
		if isUndersized {
			nUndersized++
		}
		if isDegraded || isUndersized {
			degraded = append(degraded, pgDetail(pg))
		}
		scrubErrors += pg.ScrubErrors
		if has(pg.State, "inconsistent") {
			nInconsistent++
			damaged = append(damaged, pgDetail(pg))
		}
		if pg.Unfound > 0 {
			unfound = append(unfound, fmt.Sprintf("pg %s has %d unfound objects", pg.PGID, pg.Unfound))
		}
	}
	sum := v.PGSummary(pgs)

	if len(unavailable) > 0 {
		parts := []string{}
		if inactive > 0 {
			parts = append(parts, pgCount(inactive, "inactive"))
		}
		for _, word := range []string{"peering", "down", "incomplete", "stale"} {
			if counts[word] > 0 {
				parts = append(parts, pgCount(counts[word], word))
			}
		}
		h.add("PG_AVAILABILITY", api.HealthWarn, len(unavailable), "Reduced data availability: "+strings.Join(parts, ", "), unavailable)
	}
	if len(degraded) > 0 || sum.Degraded > 0 {
		parts := []string{}
		if sum.Degraded > 0 {
			parts = append(parts, fmt.Sprintf("%d/%d objects degraded (%.3f%%)", sum.Degraded, sum.Copies, 100*sum.DegradedRatio))
		}
		if nDegraded > 0 {
			parts = append(parts, pgCount(nDegraded, "degraded"))
		}
		if nUndersized > 0 {
			parts = append(parts, pgCount(nUndersized, "undersized"))
		}
		h.add("PG_DEGRADED", api.HealthWarn, len(degraded), "Degraded data redundancy: "+strings.Join(parts, ", "), degraded)
	}
	if scrubErrors > 0 {
		h.add("OSD_SCRUB_ERRORS", api.HealthErr, int(scrubErrors), fmt.Sprintf("%d scrub errors", scrubErrors), nil)
	}
	if nInconsistent > 0 {
		h.add("PG_DAMAGED", api.HealthErr, nInconsistent, "Possible data damage: "+pgCount(nInconsistent, "inconsistent"), damaged)
	}
	if len(unfound) > 0 {
		h.add("OBJECT_UNFOUND", api.HealthWarn, len(unfound),
			fmt.Sprintf("%d/%d objects unfound (%.3f%%)", sum.Unfound, sum.Objects, 100*sum.UnfoundRatio), unfound)
	}
}

func pgCount(n int, what string) string {
	if n == 1 {
		return "1 pg " + what
	}
	return fmt.Sprintf("%d pgs %s", n, what)
}

func pgDetail(pg *api.PG) string {
	s := fmt.Sprintf("pg %s is %s, acting %s", pg.PGID, pg.State, intList(pg.Acting))
	if pg.Waiting != "" && !active(pg.State) {
		s += ", waiting for " + strings.TrimPrefix(pg.Waiting, "peering, waiting for ")
	}
	return s
}

func intList(ids []int) string {
	return strings.ReplaceAll(fmt.Sprint(ids), " ", ",")
}
