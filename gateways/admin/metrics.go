package admin

import (
	"log/slog"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cairnstore/cairn/placement"
)

// pgWords are the words of PG states that metrics count, so that each exists at zero.
var pgWords = []string{
	"active", "clean", "creating", "peering", "activating", "degraded", "undersized", "remapped", "recovering",
	"recovery_wait", "recovery_toofull", "backfilling", "backfill_wait", "backfill_toofull", "down", "stale", "incomplete", "inconsistent", "scrubbing", "unknown",
}

// metrics returns the handler of /metrics. Every monitor answers for itself; what
// describes the whole cluster comes from the leader alone, so that nothing is
// counted twice when all monitors are scraped.
func (s *Server) metrics() gin.HandlerFunc {
	reg := prometheus.NewRegistry()
	reg.MustRegister(&collector{s: s})
	h := promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4, Timeout: requestTimeout, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	})
	return gin.WrapH(h)
}

type collector struct{ s *Server }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("cairn_"+name, help, labels, nil)
}

var (
	descLeader      = desc("mon_leader", "1 on the leading monitor, 0 on others.")
	descEpoch       = desc("map_epoch", "Epoch of the newest cluster map this monitor knows.")
	descHealth      = desc("health_status", "Health of the cluster: 0 HEALTH_OK, 1 HEALTH_WARN, 2 HEALTH_ERR.")
	descCheck       = desc("health_check", "1 for each health check that fails.", "check", "severity")
	descMonQuorum   = desc("mon_in_quorum", "1 if the monitor is in quorum.", "mon")
	descOSDUp       = desc("osd_up", "1 if the OSD is up.", "osd")
	descOSDIn       = desc("osd_in", "1 if the OSD is in.", "osd")
	descOSDWeight   = desc("osd_weight", "Reweight of the OSD, 0 to 1.", "osd")
	descOSDTotal    = desc("osd_capacity_bytes", "Capacity of the OSD.", "osd")
	descOSDUsed     = desc("osd_used_bytes", "Bytes used on the OSD.", "osd")
	descOSDStored   = desc("osd_stored_bytes", "Sizes of the objects on the OSD, as clients see them.", "osd")
	descOSDAlloc    = desc("osd_allocated_bytes", "What the OSD has taken of its device and file system, used or not.", "osd")
	descOSDPGs      = desc("osd_pgs", "PGs the OSD holds data of.", "osd")
	descOSDLatency  = desc("osd_commit_latency_seconds", "Recent average of durable commits.", "osd")
	descReadErrors  = desc("osd_read_errors_total", "Copies that could not be read, as the primary met them, since the OSD started.", "osd")
	descScrubFound  = desc("osd_scrub_errors_total", "Damaged copies that scrubs found, as primary, since the OSD started.", "osd")
	descRepaired    = desc("osd_repairs_total", "Copies replaced by good ones, as primary, since the OSD started.", "osd")
	descShards      = desc("osd_shards", "Shards of chunks that the OSD holds.", "osd")
	descShardBytes  = desc("osd_shard_bytes", "Bytes of the shards of chunks that the OSD holds.", "osd")
	descShardPuts   = desc("osd_shard_puts_total", "Shards stored since the OSD started.", "osd")
	descShardPutB   = desc("osd_shard_put_bytes_total", "Bytes of shards stored since the OSD started.", "osd")
	descShardGets   = desc("osd_shard_gets_total", "Reads of shards since the OSD started.", "osd")
	descShardGetB   = desc("osd_shard_get_bytes_total", "Bytes of shards read since the OSD started.", "osd")
	descShardDrops  = desc("osd_shard_drops_total", "Shards dropped since the OSD started.", "osd")
	descShardErrors = desc("osd_shard_errors_total", "Damaged shards met, and requests about shards that the store failed, since the OSD started.", "osd")
	descScrubErrors = desc("scrub_errors", "Damaged copies that scrubs found and that are not repaired.")
	descPGs         = desc("pgs", "Placement groups with this word in their state.", "state")
	descPGsTotal    = desc("pgs_total", "Placement groups.")
	descTotal       = desc("cluster_capacity_bytes", "Raw capacity of all OSDs.")
	descUsed        = desc("cluster_used_bytes", "Raw bytes used on all OSDs.")
	descAvail       = desc("cluster_available_bytes", "Raw bytes available on all OSDs.")
	descDegraded    = desc("degraded_object_copies", "Object copies that are missing.")
	descMisplaced   = desc("misplaced_object_copies", "Object copies that are not where they should be.")
	descUnfound     = desc("unfound_objects", "Objects of which no copy is known.")
	descPoolStored  = desc("pool_stored_bytes", "Bytes stored in the pool, as users see them.", "pool")
	descPoolUsed    = desc("pool_used_bytes", "Bytes of all copies and shards in the pool.", "pool")
	descPoolObjects = desc("pool_objects", "Objects in the pool.", "pool")
	descPoolShards  = desc("pool_shards", "Shards of the pool's chunks on all OSDs.", "pool")
	descPoolShardB  = desc("pool_shard_bytes", "Bytes of the shards of the pool's chunks on all OSDs.", "pool")
	descPoolAvail   = desc("pool_max_available_bytes", "Bytes that can still be stored in the pool.", "pool")
	descReadOps     = desc("client_read_ops_per_second", "Client reads.")
	descWriteOps    = desc("client_write_ops_per_second", "Client writes.")
	descReadBytes   = desc("client_read_bytes_per_second", "Bytes clients read.")
	descWriteBytes  = desc("client_write_bytes_per_second", "Bytes clients write.")
	descRecovery    = desc("recovery_bytes_per_second", "Bytes recovered.")
	descServices    = desc("services", "Gateways heard of lately.", "kind")
)

// Describe sends nothing: which series exist depends on the cluster.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends what the monitor knows now.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		send(ch, d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		send(ch, d, prometheus.CounterValue, v, labels...)
	}
	v := c.s.view()
	leads := v.Quorum.Leader != "" && v.Quorum.Leader == v.Quorum.Self
	gauge(descLeader, b2f(leads))
	gauge(descEpoch, float64(v.Map.Epoch))
	if !leads {
		return
	}
	for _, m := range v.Mons().Mons {
		gauge(descMonQuorum, b2f(m.InQuorum), m.Name)
	}
	for _, o := range v.OSDs() {
		id := strconv.Itoa(o.ID)
		gauge(descOSDUp, b2f(o.Up), id)
		gauge(descOSDIn, b2f(o.In), id)
		gauge(descOSDWeight, o.Reweight, id)
		if o.Reported > 0 {
			gauge(descOSDTotal, float64(o.KB<<10), id)
			gauge(descOSDUsed, float64(o.KBUsed<<10), id)
			gauge(descOSDStored, float64(o.KBStored<<10), id)
			gauge(descOSDAlloc, float64(o.KBAllocated<<10), id)
			gauge(descOSDPGs, float64(o.PGs), id)
			gauge(descOSDLatency, float64(o.CommitLatency)/1e6, id)
		}
		collectDevice(ch, &o, id)
		if st, _ := v.report(placement.OSDID(o.ID)); st.Report != nil {
			counter(descReadErrors, float64(st.Report.GetReadErrors()), id)
			counter(descScrubFound, float64(st.Report.GetScrubFound()), id)
			counter(descRepaired, float64(st.Report.GetRepaired()), id)
			n, bytes := shardsOf(st.Report)
			gauge(descShards, float64(n), id)
			gauge(descShardBytes, float64(bytes), id)
			s := st.Report.GetShardStats()
			counter(descShardPuts, float64(s.GetPuts()), id)
			counter(descShardPutB, float64(s.GetPutBytes()), id)
			counter(descShardGets, float64(s.GetGets()), id)
			counter(descShardGetB, float64(s.GetGotBytes()), id)
			counter(descShardDrops, float64(s.GetDrops()), id)
			counter(descShardErrors, float64(s.GetErrors()), id)
		}
	}
	pgs := v.PGs()
	h := v.health(pgs)
	gauge(descHealth, float64(h.Status.Level()))
	for code, check := range h.Checks {
		gauge(descCheck, 1, code, string(check.Severity))
	}
	counts := map[string]int{}
	for i := range pgs {
		for _, w := range pgWords {
			if has(pgs[i].State, w) {
				counts[w]++
			}
		}
	}
	for _, w := range pgWords {
		gauge(descPGs, float64(counts[w]), w)
	}
	gauge(descPGsTotal, float64(len(pgs)))
	errs := uint64(0)
	for i := range pgs {
		errs += pgs[i].ScrubErrors
	}
	gauge(descScrubErrors, float64(errs))
	sum := v.PGSummary(pgs)
	gauge(descTotal, float64(sum.Total))
	gauge(descUsed, float64(sum.Used))
	gauge(descAvail, float64(sum.Avail))
	gauge(descDegraded, float64(sum.Degraded))
	gauge(descMisplaced, float64(sum.Misplaced))
	gauge(descUnfound, float64(sum.Unfound))
	gauge(descReadOps, sum.ReadOps)
	gauge(descWriteOps, sum.WriteOps)
	gauge(descReadBytes, sum.ReadBytes)
	gauge(descWriteBytes, sum.WriteBytes)
	gauge(descRecovery, sum.RecoveringBytes)
	v.collectCare(ch)
	for _, p := range v.DF().Pools {
		gauge(descPoolStored, float64(p.Stats.Stored), p.Name)
		gauge(descPoolUsed, float64(p.Stats.Used), p.Name)
		gauge(descPoolShards, float64(p.Stats.Shards), p.Name)
		gauge(descPoolShardB, float64(p.Stats.ShardBytes), p.Name)
		gauge(descPoolObjects, float64(p.Stats.Objects), p.Name)
		gauge(descPoolAvail, float64(p.Stats.MaxAvail), p.Name)
	}
	v.collectGateways(ch)
	c.s.usages.collect(ch)
}

// send passes a value on.
func send(ch chan<- prometheus.Metric, d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
	for i := range labels {
		labels[i] = strings.ToValidUTF8(labels[i], "?") // anything else is refused by the library
	}
	ch <- prometheus.MustNewConstMetric(d, t, v, labels...)
}

func b2f(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
