package chunkcare

import (
	"slices"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/chunk/report"
	"github.com/cairnstore/cairn/placement"
)

// Work counts what has been done since the start.
type Work = report.ChunkWork

// Stat is what the last complete look at the entries of PGs found.
type Stat = report.ChunkStat

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
