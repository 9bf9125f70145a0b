package show

import (
	"fmt"
	"io"
	"strings"

	"github.com/cairnstore/cairn/internal/api"
)

// ChunkRun is what the OSDs did because somebody asked for it.
type ChunkRun struct {
	What     string             `json:"what"`
	Runs     []api.ChunkCareRun `json:"runs"`
	Problems []api.ChunkProblem `json:"problems"`
	Waiting  []string           `json:"waiting"`
}

// ChunkRuns prints what they found and did.
func ChunkRuns(w io.Writer, r ChunkRun) error {
	var b strings.Builder
	var work api.ChunkWork
	var stat api.ChunkStat
	pgs, skipped := 0, 0
	for _, x := range r.Runs {
		work.Add(x.Work)
		stat.Add(x.Chunks)
		pgs += x.PGs
		skipped += x.Skipped
	}
	fmt.Fprintf(&b, "%d OSDs, %d PGs, %d chunks\n", len(r.Runs), pgs, stat.Chunks)
	switch r.What {
	case api.CareGC:
		fmt.Fprintf(&b, "references dropped: %d\ncondemned: %d now, %d in all\ndeleted: %d chunks, %s\n", work.Dropped, work.Condemned, stat.Condemned, work.Deleted, Bytes(work.DeletedBytes))
	case api.CareAudit:
		left := max(0, work.Leaked+work.Dangling-work.Healed)
		fmt.Fprintf(&b, "leaked: %d\ndangling: %d\nhealed: %d\nnot healed: %d\norphaned shards dropped: %d, %s\n", work.Leaked, work.Dangling, work.Healed, left, work.Orphans, Bytes(work.OrphanBytes))
	case api.CareVerify:
		fmt.Fprintf(&b, "damaged: %d chunks\nunreadable: %d chunks\ndegraded: %d chunks lack %d shards\nnot verifiable: %d chunks\n",
			stat.Damaged, stat.Missing, stat.Degraded, stat.DegradedShards, stat.Unverifiable)
	case api.CareRepair:
		fmt.Fprintf(&b, "repaired: %d shards, %s\nmoved: %d shards, %s\ndegraded: %d chunks\nunreadable: %d chunks\ndamaged: %d chunks\n",
			work.Repaired, Bytes(work.RepairedBytes), work.Moved, Bytes(work.MovedBytes), stat.Degraded, stat.Missing, stat.Damaged)
	}
	for _, x := range r.Runs {
		for _, e := range x.Errors {
			fmt.Fprintf(&b, "osd.%d: not done: %s\n", x.OSD, e)
		}
	}
	chunkProblems(&b, r.Problems, r.Waiting)
	_, err := io.WriteString(w, b.String())
	return err
}

// ChunkCareStarted prints whom there is to wait for.
func ChunkCareStarted(w io.Writer, s api.ChunkCareStarted) error {
	var b strings.Builder
	fmt.Fprintf(&b, "begun on %d OSDs; see `cairn gc status`\n", len(s.Runs))
	chunkProblems(&b, nil, s.Waiting)
	_, err := io.WriteString(w, b.String())
	return err
}

// ChunkCare prints how the care for chunks is.
func ChunkCare(w io.Writer, c api.ChunkCare) error {
	var b strings.Builder
	s, k := &c.Chunks, &c.Work
	fmt.Fprintf(&b, "chunks:     %d, %s; stored %s, with all shards %s\n", s.Chunks, Bytes(s.Bytes), Bytes(s.Stored), Bytes(s.Physical))
	fmt.Fprintf(&b, "references: %d, deduplication %.2f; %d chunks without any are condemned\n", s.References, s.DedupRatio(), s.Condemned)
	fmt.Fprintf(&b, "degraded:   %d chunks lack %d shards; %d shards to be moved\n", s.Degraded, s.DegradedShards, s.Misplaced)
	fmt.Fprintf(&b, "unreadable: %d; damaged: %d; dangling references: %d\n", s.Missing, s.Damaged, s.Dangling)
	fmt.Fprintf(&b, "looked at:  %d of %d PGs\n", c.Looked, c.PGs)
	fmt.Fprintf(&b, "since the OSDs started: %d references dropped, %d chunks deleted (%s), %d orphaned shards dropped, %d shards repaired (%s), %d moved (%s); leaked %d, dangling %d, healed %d\n",
		k.Dropped, k.Deleted, Bytes(k.DeletedBytes), k.Orphans, k.Repaired, Bytes(k.RepairedBytes), k.Moved, Bytes(k.MovedBytes), k.Leaked, k.Dangling, k.Healed)
	for _, r := range c.Runs {
		if r.Running != "" {
			fmt.Fprintf(&b, "osd.%d: %s is under way\n", r.OSD, r.Running)
		}
	}
	chunkProblems(&b, c.Problems, c.Waiting)
	_, err := io.WriteString(w, b.String())
	return err
}

func chunkProblems(b *strings.Builder, list []api.ChunkProblem, waiting []string) {
	for _, p := range list {
		fmt.Fprintf(b, "%s: pool %d", p.Kind, p.Pool)
		if p.Object != "" {
			fmt.Fprintf(b, " object %q", p.Object)
		}
		if p.Chunk != "" {
			fmt.Fprintf(b, " chunk %s", p.Chunk)
		}
		fmt.Fprintf(b, ": %s", p.Text)
		if p.Since != "" {
			fmt.Fprintf(b, " (since %s)", p.Since)
		}
		b.WriteByte('\n')
	}
	for _, s := range waiting {
		fmt.Fprintf(b, "waiting: %s\n", s)
	}
}
