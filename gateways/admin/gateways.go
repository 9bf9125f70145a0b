package admin

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// gatewayCounters are the metrics of what gateways do with chunks.
var gatewayCounters = []struct {
	desc  *prometheus.Desc
	value func(*wirepb.ServiceChunks) uint64
}{
	{desc("gateway_chunks_written_total", "Chunks that the gateway stored since it started.", "kind", "name"), (*wirepb.ServiceChunks).GetWritten},
	{desc("gateway_chunks_shared_total", "Chunks that it found stored already.", "kind", "name"), (*wirepb.ServiceChunks).GetShared},
	{desc("gateway_chunks_lost_races_total", "Chunks that somebody else stored meanwhile.", "kind", "name"), (*wirepb.ServiceChunks).GetLostRaces},
	{desc("gateway_chunks_local_total", "Pieces that stayed in their objects because there were too few holders.", "kind", "name"), (*wirepb.ServiceChunks).GetLocal},
	{desc("gateway_chunk_holders_replaced_total", "Holders replaced while a chunk was stored.", "kind", "name"), (*wirepb.ServiceChunks).GetReplaced},
	{desc("gateway_chunks_read_total", "Chunks read, or parts of them.", "kind", "name"), (*wirepb.ServiceChunks).GetRead},
	{desc("gateway_chunks_rebuilt_total", "Of those read, made of other shards than those asked first.", "kind", "name"), (*wirepb.ServiceChunks).GetRebuilt},
	{desc("gateway_chunk_requests_hedged_total", "Requests for shards made because others were slow.", "kind", "name"), (*wirepb.ServiceChunks).GetHedged},
	{desc("gateway_chunk_shards_bad_total", "Shards that their holders said were damaged or missing.", "kind", "name"), (*wirepb.ServiceChunks).GetBadShards},
	{desc("gateway_chunks_moved_total", "Chunks whose shards were elsewhere than the reference said.", "kind", "name"), (*wirepb.ServiceChunks).GetMoved},
	{desc("gateway_chunk_objects_reread_total", "Objects read again because a chunk was gone.", "kind", "name"), (*wirepb.ServiceChunks).GetReread},
}

// collectGateways collects the metrics of gateways.
func (v *View) collectGateways(ch chan<- prometheus.Metric) {
	kinds := map[string]int{}
	for _, svc := range v.Services {
		kinds[svc.Kind]++
		if svc.Chunks == nil {
			continue // one of an older version
		}
		for _, c := range gatewayCounters {
			send(ch, c.desc, prometheus.CounterValue, float64(c.value(svc.Chunks)), svc.Kind, svc.Name)
		}
	}
	for kind, n := range kinds {
		send(ch, descServices, prometheus.GaugeValue, float64(n), kind)
	}
}
