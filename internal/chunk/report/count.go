// Package report has what OSDs tell of chunks: what the care for them did and found, and what it knows of one. OSDs, the REST interface and commands
// use the same types; wirepb has their encoding for the wire.
package report

// ChunkWork counts what the care for chunks has done.
type ChunkWork struct {
	Dropped       int64 `json:"dropped" doc:"References taken out of the index because objects dropped them"`
	Condemned     int64 `json:"condemned" doc:"Chunks that nobody referred to any more"`
	Deleted       int64 `json:"deleted" doc:"Of those, deleted"`
	DeletedBytes  int64 `json:"deleted_bytes" doc:"Stored bytes of them"`
	Orphans       int64 `json:"orphans" doc:"Shards dropped that no chunk had there"`
	OrphanBytes   int64 `json:"orphan_bytes"`
	Leaked        int64 `json:"leaked" doc:"References found in the index that no object had"`
	Dangling      int64 `json:"dangling" doc:"References of objects found that the index did not have"`
	Healed        int64 `json:"healed" doc:"Of both, put right"`
	Repaired      int64 `json:"repaired" doc:"Shards made again"`
	RepairedBytes int64 `json:"repaired_bytes"`
	Moved         int64 `json:"moved" doc:"Shards moved to where they should be"`
	MovedBytes    int64 `json:"moved_bytes"`
}

// fields lists all of them.
func (w *ChunkWork) fields() [13]*int64 {
	return [...]*int64{
		&w.Dropped, &w.Condemned, &w.Deleted, &w.DeletedBytes, &w.Orphans, &w.OrphanBytes, &w.Leaked, &w.Dangling, &w.Healed,
		&w.Repaired, &w.RepairedBytes, &w.Moved, &w.MovedBytes,
	}
}

// Add adds other counts.
func (w *ChunkWork) Add(o ChunkWork) {
	to, from := w.fields(), o.fields()
	for i, p := range to {
		*p += *from[i]
	}
}

// Since returns what was done after another count.
func (w ChunkWork) Since(o ChunkWork) ChunkWork {
	for i, p := range o.fields() {
		*w.fields()[i] -= *p
	}
	return w
}

// ChunkStat is what the last complete look at entries of the index found.
type ChunkStat struct {
	Chunks         int64 `json:"chunks"`
	Bytes          int64 `json:"bytes" doc:"Of the chunks, each once"`
	Stored         int64 `json:"stored_bytes" doc:"What is left of them after compression"`
	Physical       int64 `json:"physical_bytes" doc:"Of all their shards"`
	References     int64 `json:"references" doc:"To them; of a chunk with very many, some"`
	Referenced     int64 `json:"referenced_bytes" doc:"Of the chunks, each as often as it is referred to"`
	Condemned      int64 `json:"condemned" doc:"Chunks that nobody refers to"`
	Degraded       int64 `json:"degraded" doc:"Chunks that lack shards"`
	DegradedShards int64 `json:"degraded_shards" doc:"The shards they lack"`
	Misplaced      int64 `json:"misplaced" doc:"Shards that are to be moved"`
	Missing        int64 `json:"missing" doc:"Chunks that cannot be read: too few shards"`
	Damaged        int64 `json:"damaged" doc:"Chunks whose entry or bytes are damaged"`
	Dangling       int64 `json:"dangling" doc:"References of objects to chunks that are not there"`
	Unverifiable   int64 `json:"unverifiable" doc:"Chunks of older versions, whose bytes cannot be held against their fingerprints"`
}

// DedupRatio is how many times as many bytes are referred to as there are different ones; 1 without chunks.
func (s *ChunkStat) DedupRatio() float64 {
	if s.Bytes <= 0 {
		return 1
	}
	return float64(s.Referenced) / float64(s.Bytes)
}

// fields lists all of them.
func (s *ChunkStat) fields() [14]*int64 {
	return [...]*int64{
		&s.Chunks, &s.Bytes, &s.Stored, &s.Physical, &s.References, &s.Condemned, &s.Degraded, &s.DegradedShards, &s.Misplaced,
		&s.Missing, &s.Damaged, &s.Dangling, &s.Unverifiable, &s.Referenced,
	}
}

// Add adds other figures.
func (s *ChunkStat) Add(o ChunkStat) {
	to, from := s.fields(), o.fields()
	for i, p := range to {
		*p += *from[i]
	}
}
