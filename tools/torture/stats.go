package torture

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client"
)

// Stats counts what a run did.
type Stats struct {
	mu      sync.Mutex // guards below
	ops     map[string]int
	unknown map[string]int // outcome not known
	stall   map[bool]stall // longest, by "is a write"
	kills   map[string]int // processes, by kind of the blow
	blows   map[string][]time.Duration
	faults  map[string]int // besides kills, by kind
	more    []string       // lines about chunks
}

type stall struct {
	d  time.Duration
	of string
}

func newStats() *Stats {
	return &Stats{ops: map[string]int{}, unknown: map[string]int{}, stall: map[bool]stall{}, kills: map[string]int{}, blows: map[string][]time.Duration{}, faults: map[string]int{}}
}

// op notes an operation that is over.
func (s *Stats) op(kind string, write, known bool, d time.Duration, object string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ops[kind]++
	if !known {
		s.unknown[kind]++
		return
	}
	if d > s.stall[write].d {
		s.stall[write] = stall{d, kind + " of " + object}
	}
}

// blow notes that processes were killed, and how long it took, once the blow was
// over, until every PG served again.
func (s *Stats) blow(kind string, killed int, serving time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kills[kind] += killed
	s.blows[kind] = append(s.blows[kind], serving)
}

// fault notes something that was done besides kills, or that happened.
func (s *Stats) fault(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[kind]++
}

// Kills returns how many processes were killed.
func (s *Stats) Kills() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kills {
		n += k
	}
	return n
}

// Ops returns how many operations were carried out or given up.
func (s *Stats) Ops() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.ops {
		n += k
	}
	return n
}

// chunks notes what clients and OSDs did with chunks.
func (s *Stats) chunks(c client.ChunkStats, care *careCount) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.more = append(s.more,
		fmt.Sprintf("chunks: %d written, %d found stored already, %d races lost, %d pieces without holders kept in their objects, %d holders replaced", c.Written, c.Shared, c.LostRaces, c.Local, c.Replaced),
		fmt.Sprintf("chunks: %d read, %d of them rebuilt from other shards, %d requests hedged, %d layouts moved, %d objects read again", c.Read, c.Rebuilt, c.Hedged, c.Moved, c.Reread),
		"chunks: OSDs reported "+care.String())
}

// note adds a line.
func (s *Stats) note(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.more = append(s.more, line)
}

// String is the table printed at the end.
func (s *Stats) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	total, unknown := 0, 0
	for _, kind := range slices.Sorted(maps.Keys(s.ops)) {
		fmt.Fprintf(&b, "  %-16s %7d operations, %d of unknown outcome\n", kind, s.ops[kind], s.unknown[kind])
		total, unknown = total+s.ops[kind], unknown+s.unknown[kind]
	}
	fmt.Fprintf(&b, "  %-16s %7d operations, %d of unknown outcome\n", "all", total, unknown)
	killed, blows := 0, 0
	for _, kind := range slices.Sorted(maps.Keys(s.blows)) {
		d := slices.Sorted(slices.Values(s.blows[kind]))
		fmt.Fprintf(&b, "  %-16s %4d times, %4d processes killed; then every PG serves after: median %s, longest %s\n",
			kind, len(d), s.kills[kind], d[len(d)/2].Round(10*time.Millisecond), d[len(d)-1].Round(10*time.Millisecond))
		killed, blows = killed+s.kills[kind], blows+len(d)
	}
	fmt.Fprintf(&b, "  %-16s %4d times, %4d processes killed\n", "all", blows, killed)
	for _, kind := range slices.Sorted(maps.Keys(s.faults)) {
		fmt.Fprintf(&b, "  %4d %s\n", s.faults[kind], kind)
	}
	for _, line := range s.more {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	for _, write := range []bool{true, false} {
		what := "read"
		if write {
			what = "write"
		}
		fmt.Fprintf(&b, "  longest stall of a %s: %s (%s)\n", what, s.stall[write].d.Round(time.Millisecond), s.stall[write].of)
	}
	return b.String()
}
