package admin

import (
	"fmt"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/placement"
)

// fullOf returns how full an OSD is: what the leader has put into the map for all to obey, or what
// its newest report says, if that is worse.
func (v *View) fullOf(o *placement.OSD) placement.Fullness {
	full := o.Full
	if st, _ := v.report(o.ID); st.Report != nil && o.In() && st.Report.GetCapacity() > 0 {
		full = max(full, v.fullness(1-ratio(st.Report.GetAvailable(), st.Report.GetCapacity())))
	}
	return full
}

// checkPoolsFull reports pools that write to OSDs that are more or less full: one full OSD is
// enough for writes to be refused.
func (v *View) checkPoolsFull(h checks) {
	by := map[placement.Fullness][]string{}
	rules := map[int32]placement.Fullness{}
	for i := range v.Map.Pools {
		p := &v.Map.Pools[i]
		full, known := rules[p.Rule]
		if !known {
			for id := range v.ruleWeights(int(p.Rule)) {
				full = max(full, v.fullOf(v.Map.OSD(placement.OSDID(id))))
			}
			rules[p.Rule] = full
		}
		word := full.String()
		if full == placement.Full {
			word = "full (no space)"
		}
		by[full] = append(by[full], fmt.Sprintf("pool '%s' is %s", p.Name, word))
	}
	for full, code := range map[placement.Fullness]string{
		placement.NearFull: "POOL_NEARFULL", placement.BackfillFull: "POOL_BACKFILLFULL", placement.Full: "POOL_FULL",
	} {
		if n := len(by[full]); n > 0 {
			h.add(code, api.HealthWarn, n, fmt.Sprintf("%d pool(s) %s", n, full), by[full])
		}
	}
}

// checkPGsFull reports PGs that wait for space on the OSDs that are to have their copies.
func checkPGsFull(h checks, pgs []api.PG) {
	var backfill, recovery []string
	for i := range pgs {
		if has(pgs[i].State, "backfill_toofull") {
			backfill = append(backfill, pgDetail(&pgs[i]))
		}
		if has(pgs[i].State, "recovery_toofull") {
			recovery = append(recovery, pgDetail(&pgs[i]))
		}
	}
	if n := len(backfill); n > 0 {
		h.add("PG_BACKFILL_FULL", api.HealthWarn, n, "Low space hindering backfill (add storage if this doesn't resolve itself): "+pgCount(n, "backfill_toofull"), backfill)
	}
	if n := len(recovery); n > 0 {
		h.add("PG_RECOVERY_FULL", api.HealthErr, n, "Full OSDs blocking recovery: "+pgCount(n, "recovery_toofull"), recovery)
	}
}
