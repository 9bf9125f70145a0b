package wirepb

import "github.com/cairnstore/cairn/internal/chunk/report"

// SetCounts enters what was found.
func (m *ChunkStat) SetCounts(s report.ChunkStat) {
	m.Chunks, m.References, m.Bytes, m.Stored, m.Physical, m.Condemned = s.Chunks, s.References, s.Bytes, s.Stored, s.Physical, s.Condemned
	m.Degraded, m.Lacking, m.Misplaced, m.Missing, m.Damaged = s.Degraded, s.DegradedShards, s.Misplaced, s.Missing, s.Damaged
	m.Dangling, m.Unverifiable, m.Referenced = s.Dangling, s.Unverifiable, s.Referenced
}

// Counts is the inverse of SetCounts.
func (m *ChunkStat) Counts() report.ChunkStat {
	if m == nil {
		return report.ChunkStat{}
	}
	return report.ChunkStat{
		Chunks: m.Chunks, References: m.References, Bytes: m.Bytes, Stored: m.Stored, Physical: m.Physical, Condemned: m.Condemned,
		Degraded: m.Degraded, DegradedShards: m.Lacking, Misplaced: m.Misplaced, Missing: m.Missing, Damaged: m.Damaged,
		Dangling: m.Dangling, Unverifiable: m.Unverifiable, Referenced: m.Referenced,
	}
}

// ChunkWorkOf is the message for what was done.
func ChunkWorkOf(w report.ChunkWork) *ChunkWork {
	return &ChunkWork{
		Dropped: w.Dropped, Condemned: w.Condemned, Deleted: w.Deleted, DeletedBytes: w.DeletedBytes, Orphans: w.Orphans, OrphanBytes: w.OrphanBytes,
		Leaked: w.Leaked, Dangling: w.Dangling, Healed: w.Healed,
		Repaired: w.Repaired, RepairedBytes: w.RepairedBytes, Moved: w.Moved, MovedBytes: w.MovedBytes,
	}
}

// Counts is the inverse of ChunkWorkOf.
func (m *ChunkWork) Counts() report.ChunkWork {
	if m == nil {
		return report.ChunkWork{}
	}
	return report.ChunkWork{
		Dropped: m.Dropped, Condemned: m.Condemned, Deleted: m.Deleted, DeletedBytes: m.DeletedBytes, Orphans: m.Orphans, OrphanBytes: m.OrphanBytes,
		Leaked: m.Leaked, Dangling: m.Dangling, Healed: m.Healed,
		Repaired: m.Repaired, RepairedBytes: m.RepairedBytes, Moved: m.Moved, MovedBytes: m.MovedBytes,
	}
}
