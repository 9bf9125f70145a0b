package chunkcare

import (
	"slices"
	"sync"
	"time"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// Problem is something that people should know of, by name.
type Problem struct {
	Kind   string            `json:"kind"` // dangling, unreadable, damaged, healed
	Pool   placement.PoolID  `json:"pool"`
	Object string            `json:"object,omitempty"`
	Chunk  chunk.Fingerprint `json:"-"`
	Name   string            `json:"chunk,omitempty"` // Chunk for people
	Text   string            `json:"text"`
	Since  string            `json:"since"` // when this OSD found it first
}

func (p *Problem) same(o Problem) bool {
	o.Since = p.Since
	return *p == o
}

// finds are the problems that one look found.
type finds struct {
	mu   sync.Mutex // guards below
	list []Problem
}

func (f *finds) add(p Problem) {
	if p.Chunk != (chunk.Fingerprint{}) {
		p.Name = p.Chunk.String()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.list) < problemsMax {
		f.list = append(f.list, p)
	}
}

// The looks that find problems, each of all that is of its kind in a PG.
const (
	ofIndex   = iota // entries
	ofRefs           // references that entries list
	ofObjects        // objects' references
	ofOutbox         // outbox records
	looks
)

// found takes in what a look at a PG found: that is what is wrong now, and what was found before and is not any more is over.
// One that was not complete adds to it. What is new is logged.
func (c *Care) found(g *group, look int, f *finds, complete bool) {
	now := c.o.Clock.Wall().UTC().Format(time.RFC3339)
	f.mu.Lock()
	defer f.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	old := g.problems[look]
	var list []Problem
	if !complete {
		list = slices.Clone(old)
	}
	for _, p := range f.list {
		p.Since = now
		if i := slices.IndexFunc(old, p.same); i >= 0 {
			p.Since = old[i].Since
		} else {
			c.complain(p)
		}
		if !slices.ContainsFunc(list, p.same) && len(list) < problemsMax {
			list = append(list, p)
		}
	}
	g.problems[look] = list
}

// happened notes something that is over, but should not have been.
func (c *Care) happened(p Problem) {
	p.Name, p.Since = p.Chunk.String(), c.o.Clock.Wall().UTC().Format(time.RFC3339)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.events) >= problemsMax {
		c.events = slices.Delete(c.events, 0, 1)
	}
	c.events = append(c.events, p)
	c.complain(p)
}

func (c *Care) complain(p Problem) {
	c.log.Error("a chunk needs attention", "osd", c.o.Self, "kind", p.Kind, "pool", p.Pool, "object", p.Object, "chunk", p.Name, "what", p.Text)
}

// problemsNow lists what is wrong as far as it is known, and what happened lately. Care.mu is held.
func (c *Care) problemsNow() []Problem {
	all := append([]Problem{}, c.events...)
	for _, id := range sortedGroups(c.groups) {
		for _, list := range c.groups[id].problems {
			all = append(all, list...)
		}
	}
	return all[:min(len(all), problemsMax)]
}
