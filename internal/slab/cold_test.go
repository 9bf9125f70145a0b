package slab

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

func TestChecksumCold(t *testing.T) {
	b := make([]byte, 300<<10)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	for _, n := range []int{0, 1, BlockBytes, warmMin - 1, warmMin, warmMin + 1, warmMin + BlockBytes, 5*warmMin/2 + 255, len(b)} {
		for _, off := range []int{0, 1, 4095} {
			p := b[off:min(off+n, len(b))]
			if got, want := ChecksumCold(p), crc32.Checksum(p, castagnoli); got != want {
				t.Errorf("%d bytes at %d: got %08x, want %08x", len(p), off, got, want)
			}
		}
	}
}

func BenchmarkChecksumCold(b *testing.B) {
	const n = 256 << 20
	mem := make([]byte, n)
	for i := range mem {
		mem[i] = byte(i * 7)
	}
	for _, f := range []struct {
		name string
		sum  func([]byte) uint32
	}{{"once", func(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }}, {"ahead", ChecksumCold}} {
		b.Run(f.name, func(b *testing.B) {
			b.SetBytes(4 << 20)
			for i := range b.N {
				f.sum(mem[i*(4<<20)%n:][:4<<20])
			}
		})
	}
}
