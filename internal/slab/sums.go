package slab

import "hash/crc32"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// blocksOf is how many blocks n bytes have, the last one perhaps in part.
func blocksOf(n int) int { return (n + BlockBytes - 1) / BlockBytes }

// Sum reads the Buf once: it computes the CRC-32C of each block, keeps them for
// SumsOf, and returns the CRC-32C of the whole. Only whoever fills the Buf may call it.
func (b *Buf) Sum() uint32 {
	sums := b.SumRoom()
	for i := range sums {
		sums[i] = crc32.Checksum(b.data[i*BlockBytes:min((i+1)*BlockBytes, len(b.data))], castagnoli)
	}
	b.SetSummed()
	return Join(sums, len(b.data))
}

// SumRoom returns the place for the checksums of the Buf's blocks, for whoever has them
// already, because the bytes have just been verified by them; SetSummed must follow.
func (b *Buf) SumRoom() []uint32 {
	n := blocksOf(len(b.data))
	if cap(b.from.sums) < n {
		b.from.sums = make([]uint32, n, max(n, blocksOf(cap(b.from.mem))))
	}
	b.from.sums = b.from.sums[:n]
	return b.from.sums
}

// SetSummed says that what SumRoom returned holds the blocks' checksums. That of a last
// block that the Buf does not fill covers the bytes that are there.
func (b *Buf) SetSummed() { b.summed = true }

// SumsOf returns the checksums of p's blocks, or nil when they are not known: p must
// lie in the Buf, begin at one of its blocks, and end at the end of one, or of the Buf.
func (b *Buf) SumsOf(p []byte) []uint32 {
	off, ok := b.Holds(p)
	if !ok || !b.summed || off%BlockBytes != 0 || len(p)%BlockBytes != 0 && off+len(p) != len(b.data) {
		return nil
	}
	return b.from.sums[off/BlockBytes:][:blocksOf(len(p))]
}

// Join returns the CRC-32C of n bytes of which sums has the CRC-32C of each block.
func Join(sums []uint32, n int) uint32 {
	if len(sums) == 0 {
		return 0
	}
	whole := sums[0]
	if len(sums) == 1 {
		return whole
	}
	last := len(sums) - 1
	for _, s := range sums[1:last] {
		whole = skipBlock(whole) ^ s
	}
	if rest := n - last*BlockBytes; rest < BlockBytes {
		return multiply(powerOf(8*rest), whole) ^ sums[last]
	}
	return skipBlock(whole) ^ sums[last]
}

// A CRC is the remainder of a polynomial over GF(2). That of two pieces together is the
// first one's, multiplied by x to the power of the second one's bits, plus the second's.
// Polynomials here have the coefficient of x^0 in the highest bit, as CRC-32C has.

// multiply returns a*b modulo the polynomial of CRC-32C.
func multiply(a, b uint32) (p uint32) {
	for m := uint32(1) << 31; m != 0; m >>= 1 {
		if a&m != 0 {
			p ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ crc32.Castagnoli
		} else {
			b >>= 1
		}
	}
	return p
}

// powerOf returns x^n modulo the polynomial.
func powerOf(n int) uint32 {
	p, sq := uint32(1)<<31, uint32(1)<<30 // x^0, x^1
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			p = multiply(p, sq)
		}
		sq = multiply(sq, sq)
	}
	return p
}

// blockTable multiplies by x^(8*BlockBytes), a byte at a time.
var blockTable = func() (t [4][256]uint32) {
	by := powerOf(8 * BlockBytes)
	for i := range t {
		for v := range t[i] {
			t[i][v] = multiply(by, uint32(v)<<(8*i))
		}
	}
	return t
}()

// skipBlock is the CRC of something as it counts when a whole block follows.
func skipBlock(sum uint32) uint32 {
	return blockTable[0][sum&0xff] ^ blockTable[1][sum>>8&0xff] ^ blockTable[2][sum>>16&0xff] ^ blockTable[3][sum>>24]
}
