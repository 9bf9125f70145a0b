package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ErrCorrupt is what every decoding error except VersionError matches with
// errors.Is: the input is cut off, damaged or not of this format.
var ErrCorrupt = errors.New("malformed encoding")

// Decoder reads values from a byte slice in the order an Encoder appended them.
// After the first fault it returns zero values only. It never panics, whatever
// the input.
type Decoder struct {
	buf []byte
	off int
	err error
}

// NewDecoder returns a Decoder that reads b. Raw and Blob return parts of b
// itself; String copies.
func NewDecoder(b []byte) *Decoder { return &Decoder{buf: b} }

// Err returns the first fault, or nil. It matches ErrCorrupt unless Fail set
// something else.
func (d *Decoder) Err() error { return d.err }

// Finish returns the first fault; bytes left over are one too.
func (d *Decoder) Finish() error {
	if d.err == nil && d.off < len(d.buf) {
		d.Failf("%d bytes left over", len(d.buf)-d.off)
	}
	return d.err
}

// Left returns how many bytes are unread; zero after a fault.
func (d *Decoder) Left() int {
	if d.err != nil {
		return 0
	}
	return len(d.buf) - d.off
}

// Offset returns how many bytes have been read.
func (d *Decoder) Offset() int { return d.off }

// Fail makes err the Decoder's fault unless it has one already.
func (d *Decoder) Fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// Failf records a fault that matches ErrCorrupt and names the current offset,
// for callers whose own checks of a value failed.
func (d *Decoder) Failf(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w at byte %d: %s", ErrCorrupt, d.off, fmt.Sprintf(format, args...))
	}
}

// take returns the next n bytes, or nil after a fault.
func (d *Decoder) take(n int) []byte {
	if d.err != nil {
		return nil
	}
	if n < 0 || n > len(d.buf)-d.off {
		d.Failf("want %d bytes, only %d left", n, len(d.buf)-d.off)
		return nil
	}
	b := d.buf[d.off : d.off+n : d.off+n]
	d.off += n
	return b
}

// U8 reads one byte.
func (d *Decoder) U8() uint8 {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

// U16 reads two bytes, little endian.
func (d *Decoder) U16() uint16 {
	if b := d.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

// U32 reads four bytes, little endian.
func (d *Decoder) U32() uint32 {
	if b := d.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// U64 reads eight bytes, little endian.
func (d *Decoder) U64() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// Uvarint reads what Encoder.Uvarint appended and refuses longer forms of the same value.
func (d *Decoder) Uvarint() uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.buf[d.off:])
	switch {
	case n == 0:
		d.Failf("variable-length integer is cut off")
		return 0
	case n < 0:
		d.Failf("variable-length integer passes 64 bits")
		return 0
	case n > 1 && d.buf[d.off+n-1] == 0:
		d.Failf("variable-length integer is not minimal")
		return 0
	}
	d.off += n
	return v
}

// Varint reads what Encoder.Varint appended.
func (d *Decoder) Varint() int64 {
	u := d.Uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// Uvarint32 reads a Uvarint that must fit 32 bits.
func (d *Decoder) Uvarint32() uint32 {
	v := d.Uvarint()
	if v > math.MaxUint32 {
		d.Failf("value %d passes 32 bits", v)
		return 0
	}
	return uint32(v)
}

// Varint32 reads a Varint that must fit 32 bits.
func (d *Decoder) Varint32() int32 {
	v := d.Varint()
	if v < math.MinInt32 || v > math.MaxInt32 {
		d.Failf("value %d passes 32 bits", v)
		return 0
	}
	return int32(v)
}

// Bool reads one byte that must be 0 or 1.
func (d *Decoder) Bool() bool {
	v := d.U8()
	if v > 1 {
		d.Failf("boolean is %d, want 0 or 1", v)
		return false
	}
	return v == 1
}

// Raw returns the next n bytes of the input itself, not a copy; nil after a fault.
func (d *Decoder) Raw(n int) []byte { return d.take(n) }

// Blob returns a length-prefixed part of the input itself, not a copy. A length
// above limitBytes is a fault.
func (d *Decoder) Blob(limitBytes int) []byte {
	n := d.Uvarint()
	if d.err != nil {
		return nil
	}
	if n > uint64(max(limitBytes, 0)) {
		d.Failf("length %d, at most %d allowed", n, limitBytes)
		return nil
	}
	return d.take(int(n))
}

// String reads a length-prefixed string. A length above limitBytes is a fault.
func (d *Decoder) String(limitBytes int) string { return string(d.Blob(limitBytes)) }

// Count reads the number of items that follow. It is a fault when the number
// passes limit, or when that many items of at least itemBytes each (its minimum
// encoded size; at least 1 is assumed) cannot fit into what is left. The result
// is therefore safe to allocate for.
func (d *Decoder) Count(limit, itemBytes int) int {
	n := d.Uvarint()
	if d.err != nil {
		return 0
	}
	if n > uint64(max(limit, 0)) {
		d.Failf("count %d, at most %d allowed", n, limit)
		return 0
	}
	if left := uint64(len(d.buf) - d.off); n > left/uint64(max(itemBytes, 1)) {
		d.Failf("count %d, but only %d bytes left", n, left)
		return 0
	}
	return int(n)
}
