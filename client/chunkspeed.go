package client

import (
	"container/list"
	"slices"
	"sync"
	"time"

	"github.com/cairnstore/cairn/internal/chunk"
)

// How reads are hedged, and shards that are stored.
const (
	hedgeLeast   = 10 * time.Millisecond  // nothing is called slow before
	hedgeFirst   = 100 * time.Millisecond // before anything is known
	hedgeTimes   = 4                      // times the median of late is slow
	hedgeBudget  = 32                     // requests that may be made in vain, at once
	hedgePart    = 10                     // one more for so many that were needed
	samplesKept  = 64                     // of each class of sizes
	samplesFresh = 8                      // between two looks at the median
	smallRead    = 64 << 10               // reads up to it are one class
)

// speeds is how long requests for shards took lately, and how many more of them there may be because some are slow.
type speeds struct {
	mu     sync.Mutex // guards below
	class  [2]samples
	budget float64
	began  bool
}

type samples struct {
	took   [samplesKept]time.Duration
	n      int // ever
	median time.Duration
}

func classOfRead(n uint32) int {
	if n <= smallRead {
		return 0
	}
	return 1
}

// took notes a read that was answered.
func (s *speeds) took(n uint32, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.class[classOfRead(n)]
	c.took[c.n%samplesKept] = d
	c.n++
	if !s.began {
		s.began, s.budget = true, hedgeBudget
	}
	s.budget = min(s.budget+1.0/hedgePart, hedgeBudget)
	if c.n%samplesFresh == 0 {
		sorted := slices.Clone(c.took[:min(c.n, samplesKept)])
		slices.Sort(sorted)
		c.median = sorted[len(sorted)/2]
	}
}

// patience is how long a read may take before others are asked, too.
func (s *speeds) patience(n uint32) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.class[classOfRead(n)].median; m > 0 {
		return max(hedgeTimes*m, hedgeLeast)
	}
	return hedgeFirst
}

// hedge takes n more requests, or reports that there have been too many: then it is not an OSD that is slow but all.
func (s *speeds) hedge(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.began {
		s.began, s.budget = true, hedgeBudget
	}
	if s.budget < float64(n) {
		return false
	}
	s.budget -= float64(n)
	return true
}

// layoutCache remembers layouts of chunks whose references have old ones, those used last.
type layoutCache struct {
	mu  sync.Mutex // guards below
	of  map[layoutKey]*list.Element
	use list.List // of *knownLayout, the last used first
}

type layoutKey struct {
	pool int32
	fp   chunk.Fingerprint
}

type knownLayout struct {
	key layoutKey
	l   chunk.Layout
}

func (c *layoutCache) get(k layoutKey) (chunk.Layout, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.of[k]
	if e == nil {
		return chunk.Layout{}, false
	}
	c.use.MoveToFront(e)
	return e.Value.(*knownLayout).l, true
}

func (c *layoutCache) put(k layoutKey, l chunk.Layout) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[layoutKey]*list.Element{}
	}
	if e := c.of[k]; e != nil {
		e.Value.(*knownLayout).l = l
		c.use.MoveToFront(e)
		return
	}
	c.of[k] = c.use.PushFront(&knownLayout{k, l})
	if c.use.Len() > layoutsKept {
		last := c.use.Back()
		delete(c.of, last.Value.(*knownLayout).key)
		c.use.Remove(last)
	}
}

func (c *layoutCache) drop(k layoutKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.of[k]; e != nil {
		delete(c.of, k)
		c.use.Remove(e)
	}
}
