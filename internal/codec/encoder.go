package codec

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// Encoder appends values to a byte slice. The zero value is ready for use.
type Encoder struct {
	buf []byte
}

// NewEncoder returns an Encoder that appends to buf, which may be nil. The caller
// must not use buf until it has taken the result from Bytes.
func NewEncoder(buf []byte) *Encoder { return &Encoder{buf: buf} }

// Bytes returns everything encoded so far. It stays owned by the Encoder until
// the caller stops encoding.
func (e *Encoder) Bytes() []byte { return e.buf }

// Len returns the number of bytes encoded so far.
func (e *Encoder) Len() int { return len(e.buf) }

// Reset empties the Encoder and keeps its memory.
func (e *Encoder) Reset() { e.buf = e.buf[:0] }

// U8 appends one byte.
func (e *Encoder) U8(v uint8) { e.buf = append(e.buf, v) }

// U16 appends two bytes, little endian.
func (e *Encoder) U16(v uint16) { e.buf = binary.LittleEndian.AppendUint16(e.buf, v) }

// U32 appends four bytes, little endian.
func (e *Encoder) U32(v uint32) { e.buf = binary.LittleEndian.AppendUint32(e.buf, v) }

// U64 appends eight bytes, little endian.
func (e *Encoder) U64(v uint64) { e.buf = binary.LittleEndian.AppendUint64(e.buf, v) }

// Uvarint appends v in one to ten bytes, seven bits a byte, low bits first.
func (e *Encoder) Uvarint(v uint64) { e.buf = binary.AppendUvarint(e.buf, v) }

// Varint appends v in one to ten bytes with zigzag encoding: short when |v| is small.
func (e *Encoder) Varint(v int64) { e.buf = binary.AppendVarint(e.buf, v) }

// Bool appends one byte, 0 or 1.
func (e *Encoder) Bool(v bool) {
	if v {
		e.buf = append(e.buf, 1)
	} else {
		e.buf = append(e.buf, 0)
	}
}

// Raw appends b as it is, without a length.
func (e *Encoder) Raw(b []byte) { e.buf = append(e.buf, b...) }

// Blob appends the length of b as a Uvarint, then b.
func (e *Encoder) Blob(b []byte) {
	e.Uvarint(uint64(len(b)))
	e.buf = append(e.buf, b...)
}

// String appends s as Blob does.
func (e *Encoder) String(s string) {
	e.Uvarint(uint64(len(s)))
	e.buf = append(e.buf, s...)
}

// Mark is the place where an envelope began; see Encoder.Begin.
type Mark int

// Begin opens an envelope. Everything appended until End with the returned mark
// is its body. Envelopes may nest.
func (e *Encoder) Begin(magic Magic, version uint16) Mark {
	m := Mark(len(e.buf))
	e.Raw(magic[:])
	e.U16(version)
	e.U32(0) // the length, filled in by End
	return m
}

// End closes the envelope that Begin opened: it fills in the length and appends
// the checksum, which it also returns. It panics when the body passes 4 GiB,
// which the limits of every format that uses it exclude.
func (e *Encoder) End(m Mark) uint32 {
	body := len(e.buf) - int(m) - headerSize
	if body < 0 || uint64(body) > math.MaxUint32 {
		panic(fmt.Sprintf("codec: envelope body of %d bytes", body))
	}
	binary.LittleEndian.PutUint32(e.buf[int(m)+6:], uint32(body))
	sum := Checksum(e.buf[m:])
	e.U32(sum)
	return sum
}

// castagnoli is never changed; MakeTable returns the hardware-backed shared table.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns the crc32c of b.
func Checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }
