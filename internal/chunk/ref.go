package chunk

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/cairnstore/cairn/internal/codec"
)

// RefKeys is how the omap keys of an object's references to chunks begin. Clients have no such keys.
const RefKeys = "\x00cairn.ref\x00"

// Ref says that a range of an object has the bytes of a chunk, but for what has been written over them since.
type Ref struct {
	Range    Range // of the object
	Chunk    Fingerprint
	ChunkOff uint32 // of Range.From in the chunk
	Nonce    Nonce
	Split    bool // another reference of the object may have the same nonce
	// Layout is that of the chunk when the reference was made: where to look first. The chunk's entry in the index
	// is the truth.
	Layout Layout
	// Covered are the parts of Range that the object has bytes of its own for: sorted, apart from each other.
	Covered []Range
}

const refVersion = 1

// MaxCovered is how many covered parts one reference may have; one with more is split.
const MaxCovered = 512

// Key is the omap key of a reference: by its last byte, so that the first reference that ends behind an offset is the
// first key from RefKeyFrom of it on.
func (r *Ref) Key() string { return RefKeyFrom(r.Range.To - 1) }

// RefKeyFrom is the least key of a reference whose last byte is at off or behind it.
func RefKeyFrom(off uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte(RefKeys), off))
}

// RefKeysEnd is behind the keys of all references.
const RefKeysEnd = "\x00cairn.ref\x01"

// IsRefKey reports whether an omap key is that of a reference.
func IsRefKey(key string) bool { return strings.HasPrefix(key, RefKeys) }

// Append appends the encoding of r.
func (r *Ref) Append(b []byte) []byte {
	e := codec.NewEncoder(b)
	e.U8(refVersion)
	e.Uvarint(r.Range.From)
	e.Uvarint(r.Range.Len())
	e.Raw(r.Chunk[:])
	e.Uvarint(uint64(r.ChunkOff))
	e.Raw(r.Nonce[:])
	e.Bool(r.Split)
	e.Uvarint(uint64(len(r.Covered)))
	at := r.Range.From
	for _, c := range r.Covered {
		e.Uvarint(c.From - at)
		e.Uvarint(c.Len())
		at = c.To
	}
	return r.Layout.Append(e.Bytes())
}

// DecodeRef reads what Append wrote. Errors match codec.ErrCorrupt, or say that it is newer than this program.
func DecodeRef(b []byte) (Ref, error) {
	d := codec.NewDecoder(b)
	var r Ref
	if v := d.U8(); v != refVersion && d.Err() == nil {
		d.Fail(&codec.VersionError{What: "reference to a chunk", Got: uint16(v), Max: refVersion})
	}
	r.Range.From = d.Uvarint()
	n := d.Uvarint()
	copy(r.Chunk[:], d.Raw(len(r.Chunk)))
	r.ChunkOff = d.Uvarint32()
	copy(r.Nonce[:], d.Raw(len(r.Nonce)))
	r.Split = d.Bool()
	if n == 0 || n > MaxBytes || r.Range.From > 1<<62 {
		d.Failf("%d bytes at %d", n, r.Range.From)
	}
	r.Range.To = r.Range.From + n
	at := r.Range.From
	for range d.Count(2*MaxCovered, 2) {
		c := Range{From: at + d.Uvarint()}
		c.To = c.From + d.Uvarint()
		if c.From < at || c.To <= c.From || c.To > r.Range.To || d.Err() != nil {
			d.Failf("a covered part is outside of %d bytes", n)
			break
		}
		r.Covered = append(r.Covered, c)
		at = c.To
	}
	r.Layout = decodeLayout(d)
	if err := d.Finish(); err != nil {
		return Ref{}, fmt.Errorf("reference to a chunk: %w", err)
	}
	if uint64(r.ChunkOff)+n > uint64(r.Layout.Size) {
		return Ref{}, fmt.Errorf("reference to a chunk: %w: bytes %d+%d of one with %d", codec.ErrCorrupt, r.ChunkOff, n, r.Layout.Size)
	}
	return r, nil
}

// Cover notes that the object has bytes of its own in a range. It reports whether it has them everywhere now, so that
// nothing of the reference is left.
func (r *Ref) Cover(c Range) (all bool) {
	c.From, c.To = max(c.From, r.Range.From), min(c.To, r.Range.To)
	if c.From < c.To {
		i, _ := slices.BinarySearchFunc(r.Covered, c.From, func(x Range, from uint64) int {
			if x.To < from {
				return -1
			}
			return 1
		})
		j := i
		for ; j < len(r.Covered) && r.Covered[j].From <= c.To; j++ {
			c.From, c.To = min(c.From, r.Covered[j].From), max(c.To, r.Covered[j].To)
		}
		r.Covered = slices.Replace(r.Covered, i, j, c)
	}
	return len(r.Covered) == 1 && r.Covered[0] == r.Range
}

// Bare calls f for the parts of a range that the chunk has the bytes of, in order.
func (r *Ref) Bare(in Range, f func(Range)) {
	in.From, in.To = max(in.From, r.Range.From), min(in.To, r.Range.To)
	for _, c := range r.Covered {
		if c.To <= in.From {
			continue
		}
		if c.From >= in.To {
			break
		}
		if in.From < c.From {
			f(Range{in.From, c.From})
		}
		in.From = c.To
	}
	if in.From < in.To {
		f(in)
	}
}

// Cut divides r at an offset inside of its range. Both parts say Split.
func (r *Ref) Cut(at uint64) (left, right Ref) {
	left, right = *r, *r
	left.Split, right.Split = true, true
	left.Range.To, right.Range.From = at, at
	right.ChunkOff += uint32(at - r.Range.From)
	left.Covered, right.Covered = nil, nil
	for _, c := range r.Covered {
		if c.From < at {
			left.Covered = append(left.Covered, Range{c.From, min(c.To, at)})
		}
		if c.To > at {
			right.Covered = append(right.Covered, Range{max(c.From, at), c.To})
		}
	}
	return left, right
}
