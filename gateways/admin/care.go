package admin

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairnstore/cairn/internal/api"
)

// chunkGauges are the metrics of a pool's chunks.
var chunkGauges = []struct {
	desc  *prometheus.Desc
	value func(*api.ChunkStat) int64
}{
	{desc("chunks", "Chunks of the pool.", "pool"), func(s *api.ChunkStat) int64 { return s.Chunks }},
	{desc("chunk_bytes", "Bytes of the pool's chunks, each once.", "pool"), func(s *api.ChunkStat) int64 { return s.Bytes }},
	{desc("chunk_stored_bytes", "What is left of them after compression.", "pool"), func(s *api.ChunkStat) int64 { return s.Stored }},
	{desc("chunk_physical_bytes", "Bytes of all shards of the pool's chunks, by the chunk index.", "pool"), func(s *api.ChunkStat) int64 { return s.Physical }},
	{desc("chunk_references", "References to the pool's chunks.", "pool"), func(s *api.ChunkStat) int64 { return s.References }},
	{desc("chunk_referenced_bytes", "Bytes of the pool's chunks, each as often as it is referred to: by chunk_bytes, the dedup ratio.", "pool"), func(s *api.ChunkStat) int64 { return s.Referenced }},
	{desc("chunks_condemned", "Chunks that nobody refers to, and which are about to be deleted.", "pool"), func(s *api.ChunkStat) int64 { return s.Condemned }},
	{desc("chunks_degraded", "Chunks that lack shards.", "pool"), func(s *api.ChunkStat) int64 { return s.Degraded }},
	{desc("chunk_shards_missing", "Shards that they lack.", "pool"), func(s *api.ChunkStat) int64 { return s.DegradedShards }},
	{desc("chunk_shards_misplaced", "Shards of chunks that are to be moved.", "pool"), func(s *api.ChunkStat) int64 { return s.Misplaced }},
	{desc("chunks_missing", "Chunks that cannot be read.", "pool"), func(s *api.ChunkStat) int64 { return s.Missing }},
	{desc("chunks_damaged", "Chunks whose entry or bytes are damaged.", "pool"), func(s *api.ChunkStat) int64 { return s.Damaged }},
	{desc("chunks_unverifiable", "Chunks of older versions, whose bytes cannot be held against their fingerprints.", "pool"), func(s *api.ChunkStat) int64 { return s.Unverifiable }},
	{desc("chunk_references_dangling", "References of objects to chunks that are not there.", "pool"), func(s *api.ChunkStat) int64 { return s.Dangling }},
}

// careCounters are the metrics of an OSD's care for chunks.
var careCounters = []struct {
	desc  *prometheus.Desc
	value func(*api.ChunkWork) int64
}{
	{desc("gc_references_dropped_total", "References taken out of the chunk index since the OSD started.", "osd"), func(w *api.ChunkWork) int64 { return w.Dropped }},
	{desc("gc_chunks_deleted_total", "Chunks deleted since the OSD started.", "osd"), func(w *api.ChunkWork) int64 { return w.Deleted }},
	{desc("gc_chunk_bytes_deleted_total", "Stored bytes of them.", "osd"), func(w *api.ChunkWork) int64 { return w.DeletedBytes }},
	{desc("gc_orphans_total", "Shards dropped that no chunk had there, since the OSD started.", "osd"), func(w *api.ChunkWork) int64 { return w.Orphans }},
	{desc("gc_leaked_total", "References found that no object had, since the OSD started.", "osd"), func(w *api.ChunkWork) int64 { return w.Leaked }},
	{desc("gc_healed_total", "References that one side did not know of, put right since the OSD started.", "osd"), func(w *api.ChunkWork) int64 { return w.Healed }},
	{desc("chunk_shards_repaired_total", "Shards made again since the OSD started.", "osd"), func(w *api.ChunkWork) int64 { return w.Repaired }},
	{desc("chunk_repaired_bytes_total", "Bytes of them.", "osd"), func(w *api.ChunkWork) int64 { return w.RepairedBytes }},
	{desc("chunk_shards_moved_total", "Shards moved since the OSD started.", "osd"), func(w *api.ChunkWork) int64 { return w.Moved }},
	{desc("chunk_moved_bytes_total", "Bytes of them.", "osd"), func(w *api.ChunkWork) int64 { return w.MovedBytes }},
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
		if st.Report.GetChunkWork() == nil {
			continue
		}
		w := st.Report.GetChunkWork().Counts()
		for _, g := range careCounters {
			ch <- prometheus.MustNewConstMetric(g.desc, prometheus.CounterValue, float64(g.value(&w)), strconv.Itoa(int(v.Map.OSDs[i].ID)))
		}
	}
}
