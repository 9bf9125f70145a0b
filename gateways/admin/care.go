package admin

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// chunkGauges are the metrics of a pool's chunks.
var chunkGauges = []struct {
	desc  *prometheus.Desc
	value func(*wirepb.ChunkStat) int64
}{
	{desc("chunks", "Chunks of the pool.", "pool"), (*wirepb.ChunkStat).GetChunks},
	{desc("chunk_bytes", "Bytes of the pool's chunks, each once.", "pool"), (*wirepb.ChunkStat).GetBytes},
	{desc("chunk_stored_bytes", "What is left of them after compression.", "pool"), (*wirepb.ChunkStat).GetStored},
	{desc("chunk_physical_bytes", "Bytes of all shards of the pool's chunks, by the chunk index.", "pool"), (*wirepb.ChunkStat).GetPhysical},
	{desc("chunk_references", "References to the pool's chunks.", "pool"), (*wirepb.ChunkStat).GetReferences},
	{desc("chunks_condemned", "Chunks that nobody refers to, and which are about to be deleted.", "pool"), (*wirepb.ChunkStat).GetCondemned},
	{desc("chunks_degraded", "Chunks that lack shards.", "pool"), (*wirepb.ChunkStat).GetDegraded},
	{desc("chunk_shards_missing", "Shards that they lack.", "pool"), (*wirepb.ChunkStat).GetLacking},
	{desc("chunk_shards_misplaced", "Shards of chunks that are to be moved.", "pool"), (*wirepb.ChunkStat).GetMisplaced},
	{desc("chunks_missing", "Chunks that cannot be read.", "pool"), (*wirepb.ChunkStat).GetMissing},
	{desc("chunks_damaged", "Chunks whose entry or bytes are damaged.", "pool"), (*wirepb.ChunkStat).GetDamaged},
	{desc("chunk_references_dangling", "References of objects to chunks that are not there.", "pool"), (*wirepb.ChunkStat).GetDangling},
}

// careCounters are the metrics of an OSD's care for chunks.
var careCounters = []struct {
	desc  *prometheus.Desc
	value func(*wirepb.ChunkWork) int64
}{
	{desc("gc_references_dropped_total", "References taken out of the chunk index since the OSD started.", "osd"), (*wirepb.ChunkWork).GetDropped},
	{desc("gc_chunks_deleted_total", "Chunks deleted since the OSD started.", "osd"), (*wirepb.ChunkWork).GetDeleted},
	{desc("gc_chunk_bytes_deleted_total", "Stored bytes of them.", "osd"), (*wirepb.ChunkWork).GetDeletedBytes},
	{desc("gc_orphans_total", "Shards dropped that no chunk had there, since the OSD started.", "osd"), (*wirepb.ChunkWork).GetOrphans},
	{desc("gc_leaked_total", "References found that no object had, since the OSD started.", "osd"), (*wirepb.ChunkWork).GetLeaked},
	{desc("gc_healed_total", "References that one side did not know of, put right since the OSD started.", "osd"), (*wirepb.ChunkWork).GetHealed},
	{desc("chunk_shards_repaired_total", "Shards made again since the OSD started.", "osd"), (*wirepb.ChunkWork).GetRepaired},
	{desc("chunk_repaired_bytes_total", "Bytes of them.", "osd"), (*wirepb.ChunkWork).GetRepairedBytes},
	{desc("chunk_shards_moved_total", "Shards moved since the OSD started.", "osd"), (*wirepb.ChunkWork).GetMoved},
	{desc("chunk_moved_bytes_total", "Bytes of them.", "osd"), (*wirepb.ChunkWork).GetMovedBytes},
}

// collectCare collects the metrics of chunks.
func (v *View) collectCare(ch chan<- prometheus.Metric) {
	sums := v.chunkSums()
	for _, p := range v.chunked() {
		s := sums[p.ID]
		if s == nil {
			continue
		}
		for _, g := range chunkGauges {
			ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, float64(g.value(&s.ChunkStat)), p.Name)
		}
	}
	for i := range v.Map.OSDs {
		st, _ := v.report(v.Map.OSDs[i].ID)
		w := st.Report.GetChunkWork()
		if w == nil {
			continue
		}
		for _, g := range careCounters {
			ch <- prometheus.MustNewConstMetric(g.desc, prometheus.CounterValue, float64(g.value(w)), strconv.Itoa(int(v.Map.OSDs[i].ID)))
		}
	}
}
