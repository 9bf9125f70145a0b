package store

import "math/bits"

// The map of free blocks is cut into chunks of 128 MiB of the data file. Most chunks of a large device
// are wholly or almost wholly free or taken, or hold large objects: such a chunk is kept as the list of
// the places where free and taken change, and unpacked into a bitmap of 4 KiB when it is worked on.
const (
	chunkBlocks   = 32768
	chunkWords    = chunkBlocks / 64
	chunkFlips    = 1024 // a chunk with more changes stays a bitmap
	chunksOpen    = 1024 // bitmaps of chunks that could be packed: 4 MiB
	chunkMaxBlock = chunkBlocks - 1
)

// chunk is one part of the map. Blocks beyond the end of the file count as taken.
type chunk struct {
	words   *[chunkWords]uint64 // one bit a block; set: taken; nil: packed
	flips   []uint16            // packed: where taken and free change, beginning with the first free block
	free    uint32
	longest uint32 // no free run is longer
	open    bool   // in chunkMap.open
}

// chunkMap knows of every block whether it is taken.
type chunkMap struct {
	chunks []chunk
	open   []uint32 // unpacked, the oldest first
	spare  []*[chunkWords]uint64
	room   int // chunks in open at most
}

// grow makes room for blocks, all new ones taken.
func (m *chunkMap) grow(blocks uint64) {
	if need := int((blocks + chunkMaxBlock) / chunkBlocks); need > len(m.chunks) {
		m.chunks = append(m.chunks, make([]chunk, need-len(m.chunks))...)
	}
}

// unpack returns a chunk with its bitmap.
func (m *chunkMap) unpack(i uint64) *chunk {
	c := &m.chunks[i]
	if c.words == nil {
		var w *[chunkWords]uint64
		if n := len(m.spare); n > 0 {
			w, m.spare = m.spare[n-1], m.spare[:n-1]
		} else {
			w = new([chunkWords]uint64)
		}
		for j := range w {
			w[j] = ^uint64(0)
		}
		for j := 0; j < len(c.flips); j += 2 {
			end := uint64(chunkBlocks)
			if j+1 < len(c.flips) {
				end = uint64(c.flips[j+1])
			}
			setBits(w, uint64(c.flips[j]), end, false)
		}
		c.words, c.flips = w, nil
	}
	if !c.open {
		if c.open = true; len(m.open) >= m.room {
			m.pack(m.open[0])
			m.open = m.open[1:]
		}
		m.open = append(m.open, uint32(i))
	}
	return c
}

// pack gives up a chunk's bitmap, unless it has too many changes.
func (m *chunkMap) pack(i uint32) {
	c := &m.chunks[i]
	c.open = false
	n := 0
	c.runs(func(start, count uint32) bool {
		n += 2
		return n <= chunkFlips
	})
	if n > chunkFlips {
		return
	}
	if n > 0 {
		flips := make([]uint16, 0, n)
		c.runs(func(start, count uint32) bool {
			flips = append(flips, uint16(start))
			if start+count < chunkBlocks {
				flips = append(flips, uint16(start+count))
			}
			return true
		})
		c.flips = flips
	}
	if len(m.spare) < 16 {
		m.spare = append(m.spare, c.words)
	}
	c.words = nil
}

// runs calls f for every free run of an unpacked chunk until it says no.
func (c *chunk) runs(f func(start, count uint32) bool) {
	for at := uint32(0); at < chunkBlocks; {
		w := ^c.words[at/64] >> (at % 64)
		if w == 0 {
			at = (at/64 + 1) * 64
			continue
		}
		start := at + uint32(bits.TrailingZeros64(w))
		for at = start; at < chunkBlocks; {
			w := c.words[at/64] >> (at % 64)
			if w != 0 {
				at += uint32(bits.TrailingZeros64(w))
				break
			}
			at = (at/64 + 1) * 64
		}
		if !f(start, at-start) {
			return
		}
	}
}

// setBits sets or clears the bits from start to end.
func setBits(w *[chunkWords]uint64, start, end uint64, to bool) {
	for start < end {
		n := min(64-start%64, end-start)
		mask := ^uint64(0) >> (64 - n) << (start % 64)
		if to {
			w[start/64] |= mask
		} else {
			w[start/64] &^= mask
		}
		start += n
	}
}

// count is how many of the bits from start to end are set.
func (c *chunk) count(start, end uint64) (n uint64) {
	for start < end {
		k := min(64-start%64, end-start)
		n += uint64(bits.OnesCount64(c.words[start/64] >> (start % 64) << (64 - k)))
		start += k
	}
	return n
}

// each calls f for the parts of a run in each chunk: positions within it.
func (m *chunkMap) each(r run, f func(c *chunk, start, end uint64)) {
	for r.count > 0 {
		in := r.start % chunkBlocks
		n := min(chunkBlocks-in, r.count)
		f(m.unpack(r.start/chunkBlocks), in, in+n)
		r = run{r.start + n, r.count - n}
	}
}

// taken is how many blocks of a run are.
func (m *chunkMap) taken(r run) (n uint64) {
	if r.count == 1 {
		if c := &m.chunks[r.start/chunkBlocks]; c.free == 0 {
			return 1
		}
	}
	m.each(r, func(c *chunk, start, end uint64) { n += c.count(start, end) })
	return n
}

// set takes blocks that are free, or frees blocks that are taken.
func (m *chunkMap) set(r run, taken bool) {
	m.each(r, func(c *chunk, start, end uint64) {
		setBits(c.words, start, end, taken)
		if taken {
			c.free -= uint32(end - start)
			c.longest = min(c.longest, c.free)
		} else {
			c.free += uint32(end - start)
			c.longest = c.free
		}
	})
}
