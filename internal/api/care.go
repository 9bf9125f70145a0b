package api

import (
	"context"
	"net/http"
)

// The kinds of work on chunks that can be asked for.
const (
	CareGC     = "gc"     // take dropped references out of the index, and delete what nobody has referred to for two GC intervals
	CareAudit  = "audit"  // compare both sides of all references, and find shards that no chunk has
	CareRepair = "repair" // read all shards, make those again that are missing or damaged, and move those in the wrong place
)

// ChunkWork counts what the OSDs' care for chunks has done.
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

// Add adds other counts.
func (w *ChunkWork) Add(o ChunkWork) {
	w.Dropped += o.Dropped
	w.Condemned += o.Condemned
	w.Deleted += o.Deleted
	w.DeletedBytes += o.DeletedBytes
	w.Orphans += o.Orphans
	w.OrphanBytes += o.OrphanBytes
	w.Leaked += o.Leaked
	w.Dangling += o.Dangling
	w.Healed += o.Healed
	w.Repaired += o.Repaired
	w.RepairedBytes += o.RepairedBytes
	w.Moved += o.Moved
	w.MovedBytes += o.MovedBytes
}

// ChunkStat is what the last look at the index found.
type ChunkStat struct {
	Chunks         int64 `json:"chunks"`
	Bytes          int64 `json:"bytes" doc:"Of the chunks, each once"`
	Stored         int64 `json:"stored_bytes" doc:"What is left of them after compression"`
	Physical       int64 `json:"physical_bytes" doc:"Of all their shards"`
	References     int64 `json:"references" doc:"To them"`
	Condemned      int64 `json:"condemned" doc:"Chunks that nobody refers to"`
	Degraded       int64 `json:"degraded" doc:"Chunks that lack shards"`
	DegradedShards int64 `json:"degraded_shards" doc:"The shards they lack"`
	Misplaced      int64 `json:"misplaced" doc:"Shards that are to be moved"`
	Missing        int64 `json:"missing" doc:"Chunks that cannot be read: too few shards"`
	Damaged        int64 `json:"damaged" doc:"Chunks whose entry or bytes are damaged"`
	Dangling       int64 `json:"dangling" doc:"References of objects to chunks that are not there"`
}

// Add adds other figures.
func (s *ChunkStat) Add(o ChunkStat) {
	s.Chunks += o.Chunks
	s.Bytes += o.Bytes
	s.Stored += o.Stored
	s.Physical += o.Physical
	s.References += o.References
	s.Condemned += o.Condemned
	s.Degraded += o.Degraded
	s.DegradedShards += o.DegradedShards
	s.Misplaced += o.Misplaced
	s.Missing += o.Missing
	s.Damaged += o.Damaged
	s.Dangling += o.Dangling
}

// ChunkProblem is something about a chunk that people should know of.
type ChunkProblem struct {
	Kind   string `json:"kind" doc:"dangling, unreadable, damaged or healed"`
	Pool   int    `json:"pool"`
	Object string `json:"object,omitempty"`
	Chunk  string `json:"chunk,omitempty"`
	Text   string `json:"text"`
}

// ChunkCare is how the care for chunks is, of all OSDs that answered.
type ChunkCare struct {
	PGs      int            `json:"pgs"`
	Looked   int            `json:"looked" doc:"PGs whose entries have all been looked at since their primary leads them"`
	Work     ChunkWork      `json:"work" doc:"Since the OSDs started"`
	Chunks   ChunkStat      `json:"chunks"`
	Problems []ChunkProblem `json:"problems" doc:"The latest"`
	Waiting  []string       `json:"waiting" doc:"What failed last and is tried again, and OSDs that did not answer"`
	Runs     []ChunkCareRun `json:"runs" doc:"By OSD: what was done last because somebody asked for it"`
}

// ChunkCareRun is work on one OSD that was asked for.
type ChunkCareRun struct {
	OSD     int       `json:"osd"`
	Run     uint64    `json:"run" doc:"Its number; those before it are done, too"`
	What    string    `json:"what,omitempty"`
	Running string    `json:"running,omitempty" doc:"What is being done now"`
	PGs     int       `json:"pgs"`
	Skipped int       `json:"skipped" doc:"PGs that could not be worked on: see errors"`
	Errors  []string  `json:"errors"`
	Work    ChunkWork `json:"work" doc:"What it found and did"`
	Chunks  ChunkStat `json:"chunks"`
}

// ChunkCareStart asks for work.
type ChunkCareStart struct {
	Pool          string   `json:"pool,omitempty" maxLength:"255" doc:"Only of this pool"`
	MinAgeSeconds *float64 `json:"min_age_seconds,omitempty" minimum:"0" maximum:"31536000" doc:"audit: what is younger may be of a write under way; default: gc_orphan_age"`
}

// ChunkCareStarted says which runs to wait for.
type ChunkCareStarted struct {
	Runs    []ChunkCareRun `json:"runs"`
	Waiting []string       `json:"waiting" doc:"OSDs that did not answer"`
}

// ChunkCare returns how the care for chunks is.
func (c *Client) ChunkCare(ctx context.Context) (ChunkCare, error) {
	return get[ChunkCare](ctx, c, "/chunks/care", nil)
}

// ChunkCareStart begins work on chunks, CareGC, CareAudit or CareRepair, and returns at once.
func (c *Client) ChunkCareStart(ctx context.Context, what string, s ChunkCareStart) (ChunkCareStarted, error) {
	var out ChunkCareStarted
	err := c.call(ctx, http.MethodPost, Prefix+"/chunks/care"+seg(what), nil, s, &out)
	return out, err
}
