package wirepb

import "github.com/cairnstore/cairn/internal/chunk/count"

// SetCounts enters what was found.
func (m *ChunkStat) SetCounts(s count.ChunkStat) {
	m.Chunks, m.References, m.Bytes, m.Stored, m.Physical, m.Condemned = s.Chunks, s.References, s.Bytes, s.Stored, s.Physical, s.Condemned
	m.Degraded, m.Lacking, m.Misplaced, m.Missing, m.Damaged = s.Degraded, s.DegradedShards, s.Misplaced, s.Missing, s.Damaged
	m.Dangling, m.Unverifiable = s.Dangling, s.Unverifiable
}

// Counts is the inverse of SetCounts.
func (m *ChunkStat) Counts() count.ChunkStat {
	if m == nil {
		return count.ChunkStat{}
	}
	return count.ChunkStat{
		Chunks: m.Chunks, References: m.References, Bytes: m.Bytes, Stored: m.Stored, Physical: m.Physical, Condemned: m.Condemned,
		Degraded: m.Degraded, DegradedShards: m.Lacking, Misplaced: m.Misplaced, Missing: m.Missing, Damaged: m.Damaged,
		Dangling: m.Dangling, Unverifiable: m.Unverifiable,
	}
}

// ChunkWorkOf is the message for what was done.
func ChunkWorkOf(w count.ChunkWork) *ChunkWork {
	return &ChunkWork{
		Dropped: w.Dropped, Condemned: w.Condemned, Deleted: w.Deleted, DeletedBytes: w.DeletedBytes, Orphans: w.Orphans, OrphanBytes: w.OrphanBytes,
		Leaked: w.Leaked, Dangling: w.Dangling, Healed: w.Healed,
		Repaired: w.Repaired, RepairedBytes: w.RepairedBytes, Moved: w.Moved, MovedBytes: w.MovedBytes,
	}
}

// Counts is the inverse of ChunkWorkOf.
func (m *ChunkWork) Counts() count.ChunkWork {
	if m == nil {
		return count.ChunkWork{}
	}
	return count.ChunkWork{
		Dropped: m.Dropped, Condemned: m.Condemned, Deleted: m.Deleted, DeletedBytes: m.DeletedBytes, Orphans: m.Orphans, OrphanBytes: m.OrphanBytes,
		Leaked: m.Leaked, Dangling: m.Dangling, Healed: m.Healed,
		Repaired: m.Repaired, RepairedBytes: m.RepairedBytes, Moved: m.Moved, MovedBytes: m.MovedBytes,
	}
}
