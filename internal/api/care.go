package api

import (
	"context"
	"net/http"

	"github.com/cairnstore/cairn/internal/chunk/report"
)

// The kinds of work on chunks that can be asked for.
const (
	CareGC     = "gc"     // take dropped references out of the index, and delete what nobody has referred to for two GC intervals
	CareAudit  = "audit"  // compare both sides of all references, and find shards that no chunk has
	CareRepair = "repair" // read all shards, make those again that are missing or damaged, and move those in the wrong place
	CareVerify = "verify" // read all shards, and only tell what is wrong
)

// ChunkWork counts what the OSDs' care for chunks has done.
type ChunkWork = report.ChunkWork

// ChunkStat is what the last look at the index found.
type ChunkStat = report.ChunkStat

// ChunkProblem is something about a chunk that people should know of.
type ChunkProblem struct {
	Kind   string `json:"kind" doc:"dangling, unreadable, damaged or healed"`
	Pool   int    `json:"pool"`
	Object string `json:"object,omitempty"`
	Chunk  string `json:"chunk,omitempty"`
	Text   string `json:"text"`
	Since  string `json:"since,omitempty" doc:"When its OSD found it first; healed: when that happened"`
}

// ChunkCare is how the care for chunks is, of all OSDs that answered.
type ChunkCare struct {
	PGs      int            `json:"pgs"`
	Looked   int            `json:"looked" doc:"PGs whose entries have all been looked at since their primary leads them"`
	Work     ChunkWork      `json:"work" doc:"Since the OSDs started"`
	Chunks   ChunkStat      `json:"chunks"`
	Problems []ChunkProblem `json:"problems" doc:"What is wrong, as far as it is known, and what was put right lately"`
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
