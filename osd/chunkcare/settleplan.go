package chunkcare

import (
	"encoding/binary"
	"slices"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// settleLeast is how many bytes of its own an object must have in one place for them to become a chunk, as client.MinChunkBytes
// is for writes; with smaller chunks, one of these.
const settleLeast = 64 << 10

// span is a part of an object that is settled as a whole: all of its bytes become chunks.
type span struct {
	chunk.Range
	own uint64 // bytes of it that the object has itself
}

// ownRanges returns the parts of an object that it has bytes of its own for, or nothing at all: holes. refs are sorted.
func ownRanges(size uint64, refs []chunk.Ref) (own []chunk.Range) {
	at := uint64(0)
	add := func(to uint64) {
		if at < to {
			own = append(own, chunk.Range{From: at, To: to})
		}
	}
	for i := range refs {
		refs[i].Bare(chunk.Range{To: size}, func(bare chunk.Range) {
			add(bare.From)
			at = bare.To
		})
	}
	add(size)
	return own
}

// ownBytes is how many bytes ranges have.
func ownBytes(ranges []chunk.Range) (n uint64) {
	for _, r := range ranges {
		n += r.Len()
	}
	return n
}

// plan says which parts of an object are to be settled, in order. Fixed chunks keep to their grid, so that the same bytes at
// the same place of another object are the same chunk; others begin and end where references do. What was written over a
// chunk is settled with what is left of that.
func plan(pol *placement.ChunkPolicy, size uint64, refs []chunk.Ref) []span {
	own := ownRanges(size, refs)
	var spans []span
	if pol.Cut == placement.CutFixed {
		spans = cells(uint64(pol.ChunkSize), size, own)
	} else {
		spans = stretches(own, refs)
	}
	least := min(settleLeast, uint64(pol.ChunkSize))
	return slices.DeleteFunc(spans, func(s span) bool { return s.own < least })
}

// cells returns the cells of the grid that have own bytes.
func cells(cell, size uint64, own []chunk.Range) (spans []span) {
	for _, r := range own {
		for from := r.From; from < r.To; {
			n := from / cell
			to := min((n+1)*cell, r.To)
			if k := len(spans) - 1; k >= 0 && spans[k].From == n*cell {
				spans[k].own += to - from
			} else {
				spans = append(spans, span{chunk.Range{From: n * cell, To: min((n+1)*cell, size)}, to - from})
			}
			from = to
		}
	}
	return spans
}

// stretches returns own ranges, each with the whole of the references that it lies in.
func stretches(own []chunk.Range, refs []chunk.Ref) (spans []span) {
	for _, r := range own {
		all := r
		// References are few and sorted; those that touch r are next to each other.
		i, _ := slices.BinarySearchFunc(refs, r.From, func(x chunk.Ref, from uint64) int {
			if x.Range.To <= from {
				return -1
			}
			return 1
		})
		for ; i < len(refs) && refs[i].Range.From < r.To; i++ {
			all.From, all.To = min(all.From, refs[i].Range.From), max(all.To, refs[i].Range.To)
		}
		if k := len(spans) - 1; k >= 0 && all.From < spans[k].To {
			spans[k].To = max(spans[k].To, all.To)
			spans[k].own += r.Len()
		} else {
			spans = append(spans, span{all, r.Len()})
		}
	}
	return spans
}

// What is settled by one change of an object, about: what that takes of memory, how much a write that comes in between
// makes void, and how many references one operation sets.
const (
	roundBytes  = 8 << 20
	roundChunks = 512
)

// rounds divides spans into rounds of about the same size. What is contiguous is one range, so that it is cut as a whole. A
// large span of content-defined chunks is divided.
func rounds(pol *placement.ChunkPolicy, spans []span) (all [][]chunk.Range) {
	most := min(roundBytes, roundChunks*uint64(pol.ChunkSize))
	var round []chunk.Range
	n := uint64(0)
	for _, s := range spans {
		for from := s.From; from < s.To; {
			to := min(s.To, from+most-n)
			if pol.Cut == placement.CutFixed {
				to = s.To
			}
			if k := len(round) - 1; k >= 0 && round[k].To == from {
				round[k].To = to
			} else {
				round = append(round, chunk.Range{From: from, To: to})
			}
			n += to - from
			from = to
			if n >= most {
				all, round, n = append(all, round), nil, 0
			}
		}
	}
	if len(round) > 0 {
		all = append(all, round)
	}
	return all
}

// segments returns the parts of a range's bytes that chunks are made of: all but long rows of zeros, which most likely are
// holes and take no room, and what is short between those. Fixed chunks keep to the grid, on which the bytes begin: a cell
// with such a row has chunks of its own for the rest.
func segments(pol *placement.ChunkPolicy, data []byte) (all []chunk.Range) {
	least := min(settleLeast, int(pol.ChunkSize))
	if pol.Cut != placement.CutFixed {
		return filled(nil, data, 0, len(data), least)
	}
	for from := 0; from < len(data); from += int(pol.ChunkSize) {
		to := min(from+int(pol.ChunkSize), len(data))
		cell := filled(nil, data, from, to, least)
		if k := len(all) - 1; k >= 0 && len(cell) == 1 && cell[0].To-cell[0].From == uint64(to-from) && all[k].To == uint64(from) && all[k].From%uint64(pol.ChunkSize) == 0 {
			all[k].To = uint64(to) // a whole one behind whole ones
			continue
		}
		all = append(all, cell...)
	}
	return all
}

// filled appends the parts of data[from:to] that are left without rows of at least least zero bytes, in whole blocks.
// Parts that are shorter than least are left out, too, unless they are all there is.
func filled(parts []chunk.Range, data []byte, from, to, least int) []chunk.Range {
	const block = 4 << 10
	begin, row := from, 0 // of the part, of the zeros at its end
	add := func(end int) {
		if end-begin >= least || begin == from && end == to && begin < end {
			parts = append(parts, chunk.Range{From: uint64(begin), To: uint64(end)})
		}
	}
	for at := from; at < to; at += block {
		end := min(at+block, to)
		if zeros(data[at:end]) {
			row += end - at
			continue
		}
		if row >= least {
			add(at - row)
			begin = at
		}
		row = 0
	}
	if row >= least || row == to-begin {
		add(to - row)
	} else {
		add(to)
	}
	return parts
}

func zeros(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
