// Package cut finds where the chunks of a stream of bytes end.
//
// Fixed chunks end at multiples of their size. Content-defined ones end where a rolling hash of the last 64 bytes says
// so: bytes that are inserted or removed change the chunks around them and no others. It is FastCDC (Xia et al.,
// "FastCDC: a Fast and Efficient Content-Defined Chunking Approach for Data Deduplication", USENIX ATC 2016): a gear
// hash, no boundary before a quarter of the size, and a condition that becomes easier to meet at about the size, which
// keeps the sizes near to it (normalised chunking, level 2).
//
// It is the package's own code since the libraries that there are read from an io.Reader into memory of their own, and
// may change their boundaries from version to version. Here the same bytes give the same boundaries for ever: what was
// stored years ago must be found again.
package cut

import (
	"fmt"
	"math/bits"

	"github.com/cairnstore/cairn/placement"
)

// window is how many bytes decide on a boundary: the hash has shifted out all others.
const window = 64

// easier is by how many bits the condition is harder before the middle of a chunk, and easier behind it.
const easier = 2

// Cutter finds the ends of chunks in a stream that comes in pieces of any size.
type Cutter struct {
	least, middle, most int
	hard, easy          uint64 // a hash below it ends a chunk: before middle, from there on

	n    int // bytes of the chunk so far
	hash uint64
}

// Limits returns the least and most bytes of a chunk, but for the last one of a stream, which may be shorter.
func (c *Cutter) Limits() (least, most int) { return c.least, c.most }

// New returns a cutter for chunks of a size: fixed ones have exactly that, content-defined ones that on average. For
// these the size is at most half of placement.MaxChunkSize; a larger one means that.
func New(how placement.Cut, size uint32) (*Cutter, error) {
	if size < placement.MinChunkSize || size > placement.MaxChunkSize || bits.OnesCount32(size) != 1 {
		return nil, fmt.Errorf("chunk size %d: want a power of two from %d to %d", size, placement.MinChunkSize, placement.MaxChunkSize)
	}
	switch how {
	case placement.CutFixed:
		return &Cutter{least: int(size), middle: int(size), most: int(size)}, nil
	case placement.CutContent:
		// Chunks that end at the most bytes rather than where their content says are not found again behind an
		// insertion. With a size above half of that there would be too many.
		size = min(size, placement.MaxChunkSize/2)
		n := bits.TrailingZeros32(size)
		return &Cutter{
			least: int(size) / 4,
			// Behind the middle a chunk goes on for a quarter of the size on average, and some end before.
			middle: int(size) / 8 * 7,
			most:   min(4*int(size), placement.MaxChunkSize),
			hard:   1 << (64 - n - easier),
			easy:   1 << (64 - n + easier),
		}, nil
	}
	return nil, fmt.Errorf("cut %d is not known; is this program older than the monitors?", how)
}

// Next takes the next piece of the stream. The first n bytes of p belong to the chunk that is being cut. If end, the
// chunk ends with them and the rest of p is to be given again; else n is len(p).
func (c *Cutter) Next(p []byte) (n int, end bool) {
	all := len(p)
	p = p[:min(len(p), c.most-c.n)]
	if c.hard == 0 {
		c.n += len(p)
		if c.n == c.most {
			c.Reset()
			return len(p), true
		}
		return len(p), false
	}
	// What is in nobody's window is not looked at.
	i := min(len(p), max(0, c.least-window-c.n))
	h := c.hash
	for warm := min(len(p), max(0, c.least-c.n)); i < warm; i++ {
		h = h<<1 + gear[p[i]]
	}
	n, h, end = scan(p, i, min(len(p), max(0, c.middle-c.n)), h, c.hard)
	if !end {
		n, h, end = scan(p, n, len(p), h, c.easy)
	}
	c.n, c.hash = c.n+n, h
	if end || c.n == c.most {
		c.Reset()
		return n, true
	}
	if n != all {
		panic("a piece was not taken") // only the most bytes of a chunk shorten p
	}
	return n, false
}

// scan hashes p[i:to] and stops behind the byte that brings the hash below limit.
func scan(p []byte, i, to int, h, limit uint64) (int, uint64, bool) {
	for ; i < to; i++ {
		h = h<<1 + gear[p[i]]
		if h < limit {
			return i + 1, h, true
		}
	}
	return i, h, false
}

// Reset begins a new stream.
func (c *Cutter) Reset() { c.n, c.hash = 0, 0 }

// Boundaries returns where the chunks of data end; the last one is len(data).
func (c *Cutter) Boundaries(data []byte) (ends []int) {
	c.Reset()
	for at := 0; at < len(data); {
		n, _ := c.Next(data[at:])
		at += n
		ends = append(ends, at)
	}
	c.Reset()
	return ends
}

// gear has a random number for each value of a byte. It decides on all boundaries and never changes.
var gear = func() (g [256]uint64) {
	// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
	state := uint64(0x6361_6972_6e63_7575) // a value for which TestSame holds
	for i := range g {
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		g[i] = z ^ z>>31
	}
	return g
}()
