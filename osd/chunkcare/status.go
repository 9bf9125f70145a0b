package chunkcare

import (
	"slices"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// Work counts what has been done since the start.
type Work struct {
	Dropped       int64 `json:"dropped"`        // references taken out of entries because objects dropped them
	Condemned     int64 `json:"condemned"`      // chunks that nobody referred to any more
	Deleted       int64 `json:"deleted"`        // of those, deleted
	DeletedBytes  int64 `json:"deleted_bytes"`  // stored bytes of them
	Orphans       int64 `json:"orphans"`        // shards dropped that no entry listed
	OrphanBytes   int64 `json:"orphan_bytes"`   // their bytes
	Leaked        int64 `json:"leaked"`         // references found that no object had
	Dangling      int64 `json:"dangling"`       // references of objects found that chunks did not know of
	Healed        int64 `json:"healed"`         // of both, put right
	Repaired      int64 `json:"repaired"`       // shards made again
	RepairedBytes int64 `json:"repaired_bytes"` // their bytes
	Moved         int64 `json:"moved"`          // shards moved to where they should be
	MovedBytes    int64 `json:"moved_bytes"`    // their bytes
}

// Add adds other counts.
func (w *Work) Add(o Work) {
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

// since returns what was done after another count.
func (w Work) since(o Work) Work {
	return Work{
		w.Dropped - o.Dropped, w.Condemned - o.Condemned, w.Deleted - o.Deleted, w.DeletedBytes - o.DeletedBytes,
		w.Orphans - o.Orphans, w.OrphanBytes - o.OrphanBytes, w.Leaked - o.Leaked, w.Dangling - o.Dangling, w.Healed - o.Healed,
		w.Repaired - o.Repaired, w.RepairedBytes - o.RepairedBytes, w.Moved - o.Moved, w.MovedBytes - o.MovedBytes,
	}
}

// Stat is what the last complete look at the entries of PGs found.
type Stat struct {
	Chunks         int64 `json:"chunks"`
	Bytes          int64 `json:"bytes"`           // of the chunks, each once
	Stored         int64 `json:"stored_bytes"`    // what is left of them after compression
	Physical       int64 `json:"physical_bytes"`  // of all their shards
	References     int64 `json:"references"`      // to them; of a chunk with very many, some
	Condemned      int64 `json:"condemned"`       // chunks without references
	Degraded       int64 `json:"degraded"`        // chunks that lack shards
	DegradedShards int64 `json:"degraded_shards"` // the shards they lack
	Misplaced      int64 `json:"misplaced"`       // shards that are not where they should be
	Missing        int64 `json:"missing"`         // chunks that cannot be read: too few shards
	Damaged        int64 `json:"damaged"`         // chunks whose entry or bytes are damaged
	Dangling       int64 `json:"dangling"`        // references of objects to chunks that are not there
}

// Add adds another Stat.
func (s *Stat) Add(o Stat) {
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

// Problem is something that people should know of, by name.
type Problem struct {
	Kind   string            `json:"kind"` // dangling, unreadable, damaged, healed
	Pool   placement.PoolID  `json:"pool"`
	Object string            `json:"object,omitempty"`
	Chunk  chunk.Fingerprint `json:"-"`
	Name   string            `json:"chunk,omitempty"` // Chunk for people
	Text   string            `json:"text"`
}

// Status is how the care of one OSD is.
type Status struct {
	OSD      int32     `json:"osd"`
	PGs      int       `json:"pgs"`     // that the OSD leads
	Looked   int       `json:"looked"`  // of those, all entries have been looked at since it does
	Waiting  string    `json:"waiting"` // what failed last and is tried again, if anything
	Work     Work      `json:"work"`
	Chunks   Stat      `json:"chunks"`
	Problems []Problem `json:"problems"` // the latest
	Running  string    `json:"running"`  // what is being done because somebody asked for it
	Runs     uint64    `json:"runs"`     // the last such run that is done
	Last     *Report   `json:"last"`     // of it

	Settle SettleStatus `json:"settle"`
}

// Report is what one run that was asked for found and did.
type Report struct {
	OSD      int32     `json:"osd"`
	What     string    `json:"what"`
	PGs      int       `json:"pgs"`
	Skipped  int       `json:"skipped"` // PGs that are not clean, or whose work failed: see Errors
	Errors   []string  `json:"errors"`
	Work     Work      `json:"work"`
	Chunks   Stat      `json:"chunks"`
	Problems []Problem `json:"problems"`
}

func (c *Care) count(f func(*Work)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.sum)
}

// problem keeps and logs a problem. One that is known is not repeated.
func (c *Care) problem(p Problem) {
	if p.Chunk != (chunk.Fingerprint{}) {
		p.Name = p.Chunk.String()
	}
	c.mu.Lock()
	known := slices.Contains(c.problems, p)
	if !known {
		if len(c.problems) >= problemsMax {
			c.problems = slices.Delete(c.problems, 0, 1)
		}
		c.problems = append(c.problems, p)
	}
	c.mu.Unlock()
	if !known {
		c.log.Error("a chunk needs attention", "osd", c.o.Self, "kind", p.Kind, "pool", p.Pool, "object", p.Object, "chunk", p.Name, "what", p.Text)
	}
}

// Status returns how things are.
func (c *Care) Status() Status {
	settle := c.SettleStatus(0)
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{
		OSD: int32(c.o.Self), PGs: len(c.groups), Work: c.sum, Problems: append([]Problem{}, c.problems...),
		Waiting: c.waiting, Running: c.running, Runs: c.runs, Last: c.last, Settle: settle,
	}
	for _, g := range c.groups {
		s.Chunks.Add(g.stat)
		if !g.light.last.IsZero() {
			s.Looked++
		}
	}
	return s
}
