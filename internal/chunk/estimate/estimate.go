// Package estimate counts what deduplication and compression would save of a set of chunks, in bounded memory.
//
// It remembers every different chunk while it can. When there are too many it goes on with a sample: the chunks whose
// fingerprints end in a zero bit, then in two, and so on, and counts each for two, four ... Which chunks that are is
// independent of their order, so the same data gives the same figures.
package estimate

import (
	"encoding/binary"
	"sync"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/chunk/pack"
	"github.com/cairnstore/cairn/placement"
)

// DefaultLimit is how many different chunks are remembered, which takes up to about 400 MiB: 4 TiB of chunks of 1 MiB.
const DefaultLimit = 4 << 20

// Counter counts chunks. It may be used concurrently.
type Counter struct {
	packing placement.Packing
	limit   int

	mu      sync.Mutex // guards below
	logical int64
	chunks  int64
	known   map[[16]byte]sizes
	level   uint // how many bits of fingerprints are zero in the sample
}

type sizes struct{ all, stored uint32 }

// New returns a counter for chunks that are packed so. It remembers limit different chunks; 0: DefaultLimit.
func New(p placement.Packing, limit int) *Counter {
	if limit <= 0 {
		limit = DefaultLimit
	}
	return &Counter{packing: p, limit: limit, known: map[[16]byte]sizes{}}
}

// Buffer is what Add packs into: one for each goroutine that calls it.
type Buffer struct{ b []byte }

// Add counts a chunk.
func (c *Counter) Add(data []byte, buf *Buffer) {
	f := chunk.Of(chunk.BLAKE3, chunk.ClusterDomain, data)
	key := [16]byte(f[1:])
	c.mu.Lock()
	c.logical += int64(len(data))
	c.chunks++
	_, old := c.known[key]
	old = old || !c.sampled(key)
	c.mu.Unlock()
	if old {
		return
	}
	stored, used := pack.Pack(c.packing, data, buf.b)
	if used != placement.PackNone && cap(stored) > cap(buf.b) {
		buf.b = stored
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.sampled(key) {
		return // the sample has become smaller meanwhile
	}
	c.known[key] = sizes{all: uint32(len(data)), stored: uint32(len(stored))}
	for len(c.known) > c.limit {
		c.level++
		for k := range c.known {
			if !c.sampled(k) {
				delete(c.known, k)
			}
		}
	}
}

func (c *Counter) sampled(key [16]byte) bool {
	return binary.LittleEndian.Uint64(key[:])&(1<<c.level-1) == 0
}

// Report says what was counted.
type Report struct {
	Chunks       int64 `json:"chunks"`
	UniqueChunks int64 `json:"unique_chunks"`
	Logical      int64 `json:"logical_bytes"`
	Unique       int64 `json:"unique_bytes"`
	Stored       int64 `json:"compressed_bytes"` // of the unique chunks
	// Sample is 1 if all is counted; else one of so many different chunks was looked at, and what is unique or
	// compressed is estimated.
	Sample int64 `json:"sample"`
}

// Report returns what was counted so far.
func (c *Counter) Report() Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := Report{Chunks: c.chunks, Logical: c.logical, Sample: 1 << c.level}
	for _, s := range c.known {
		r.UniqueChunks++
		r.Unique += int64(s.all)
		r.Stored += int64(s.stored)
	}
	r.UniqueChunks *= r.Sample
	r.Unique *= r.Sample
	r.Stored *= r.Sample
	// An estimate may be above what there is at most.
	r.UniqueChunks, r.Unique = min(r.UniqueChunks, r.Chunks), min(r.Unique, r.Logical)
	r.Stored = min(r.Stored, r.Unique)
	return r
}
