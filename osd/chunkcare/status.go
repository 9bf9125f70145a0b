package chunkcare

import (
	"cmp"
	"maps"
	"slices"

	"github.com/cairnstore/cairn/internal/chunk/report"
	"github.com/cairnstore/cairn/placement"
)

// Work counts what has been done since the start.
type Work = report.ChunkWork

// Stat is what the last complete look at the entries of PGs found.
type Stat = report.ChunkStat

// Status is how the care of one OSD is.
type Status struct {
	OSD      int32     `json:"osd"`
	PGs      int       `json:"pgs"`     // that the OSD leads
	Looked   int       `json:"looked"`  // of those, all entries have been looked at since it does
	Waiting  string    `json:"waiting"` // what failed last and is tried again, if anything
	Work     Work      `json:"work"`
	Chunks   Stat      `json:"chunks"`
	Problems []Problem `json:"problems"` // what is wrong now, and what was put right lately
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

func sortedGroups(groups map[placement.PGID]*group) []placement.PGID {
	return slices.SortedFunc(maps.Keys(groups), func(a, b placement.PGID) int {
		return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Shard, b.Shard))
	})
}

func (c *Care) count(f func(*Work)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.sum)
}

// Status returns how things are.
func (c *Care) Status() Status {
	settle := c.SettleStatus(0)
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{
		OSD: int32(c.o.Self), PGs: len(c.groups), Work: c.sum, Problems: c.problemsNow(),
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
