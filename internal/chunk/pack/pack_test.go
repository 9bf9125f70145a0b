package pack

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

var packings = []placement.Packing{placement.PackNone, placement.PackS2, placement.PackZstd, placement.PackLZ4}

// text returns n bytes of which about the given part is random, the rest words.
func text(seed uint64, n int, noise float64) []byte {
	words := []string{"cairn ", "object ", "chunk ", "stone ", "\n", "0000000", "write ", "acknowledged "}
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, 0, n+64)
	for len(b) < n {
		if r.Float64() < noise {
			for range 8 {
				b = append(b, byte(r.Uint32()))
			}
			continue
		}
		b = append(b, words[r.IntN(len(words))]...)
	}
	return b[:n]
}

func TestRoundTrip(t *testing.T) {
	packed := 0
	rapid.Check(t, func(t *rapid.T) {
		src := text(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 100_000).Draw(t, "bytes"), rapid.Float64Range(0, 1).Draw(t, "noise"))
		whole := bytes.Clone(src)
		for _, p := range packings {
			dst := make([]byte, 0, rapid.SampledFrom([]int{0, 10, len(src), 2 * len(src)}).Draw(t, "dst"))
			stored, used := Pack(p, src, dst)
			if !bytes.Equal(src, whole) {
				t.Fatal("packing changed the bytes")
			}
			switch {
			case used == placement.PackNone:
				if !bytes.Equal(stored, src) {
					t.Fatal("what is not packed is not the bytes")
				}
			case used != p:
				t.Fatalf("packed by %d, want %d", used, p)
			case len(stored) > Most(len(src)):
				t.Fatalf("%d bytes of %d were kept", len(stored), len(src))
			default:
				packed++
			}
			if len(src) == 0 {
				continue
			}
			got, err := Unpack(used, stored, len(src), make([]byte, 0, rapid.SampledFrom([]int{0, len(src)}).Draw(t, "to")))
			if err != nil || !bytes.Equal(got, whole) {
				t.Fatalf("packing %d of %d bytes: %v, equal %v", p, len(src), err, bytes.Equal(got, whole))
			}
			for _, other := range []int{len(src) - 1, len(src) + 1} {
				if _, err := Unpack(used, stored, other, nil); !errors.Is(err, ErrCorrupt) {
					t.Fatalf("packing %d: %d bytes were unpacked as %d: %v", used, len(src), other, err)
				}
			}
		}
	})
	if packed == 0 {
		t.Fatal("nothing was packed")
	}
}

// TestPays: what is kept saves an eighth and a block.
func TestPays(t *testing.T) {
	for _, c := range []struct{ n, want int }{{0, 0}, {4096, 0}, {4097, 1}, {8192, 4096}, {32 << 10, 28 << 10}, {1 << 20, 7 << 17}} {
		if got := Most(c.n); got != c.want {
			t.Errorf("of %d bytes: %d, want %d", c.n, got, c.want)
		}
	}
	for _, p := range packings[1:] {
		if _, used := Pack(p, make([]byte, 8<<10), nil); used != p {
			t.Errorf("packing %d: 8 KiB of zeros are not packed", p)
		}
		if _, used := Pack(p, make([]byte, 4<<10), nil); used != placement.PackNone {
			t.Errorf("packing %d: one block is packed", p)
		}
		random := text(1, 1<<20, 1)
		if stored, used := Pack(p, random, nil); used != placement.PackNone || &stored[0] != &random[0] {
			t.Errorf("packing %d: random bytes are packed", p)
		}
		// One eighth of the chunk can be packed well: not worth it. Two are.
		mixed := bytes.Clone(random)
		clear(mixed[len(mixed)-len(mixed)/10:])
		if _, used := Pack(p, mixed, nil); used != placement.PackNone {
			t.Errorf("packing %d: a tenth was worth it", p)
		}
		clear(mixed[len(mixed)/2:])
		if _, used := Pack(p, mixed, nil); used != p {
			t.Errorf("packing %d: a half was not worth it", p)
		}
	}
}

// bomb is a few bytes that would be gigabytes.
func bomb(t testing.TB) []byte {
	t.Helper()
	return encoder().EncodeAll(make([]byte, 64<<20), nil)
}

func TestBomb(t *testing.T) {
	b := bomb(t)
	for _, size := range []int{1, 4096, chunk.MaxBytes} {
		if got, err := Unpack(placement.PackZstd, b, size, nil); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d bytes: %d bytes, %v", size, len(got), err)
		}
	}
	for _, size := range []int{-1, 0, chunk.MaxBytes + 1} {
		for _, p := range packings {
			if _, err := Unpack(p, nil, size, nil); !errors.Is(err, ErrCorrupt) {
				t.Errorf("packing %d of %d bytes: %v", p, size, err)
			}
		}
	}
	if _, err := Unpack(9, []byte{1}, 1, nil); err == nil {
		t.Error("an unknown packing was unpacked")
	}
}

// FuzzUnpack: whatever the bytes, Unpack returns exactly the size or an error, and uses no other memory.
func FuzzUnpack(f *testing.F) {
	src := text(1, 20_000, 0.3)
	for _, p := range packings {
		stored, used := Pack(p, src, nil)
		f.Add(byte(used), stored, uint32(len(src)))
		f.Add(byte(p), stored[:len(stored)/2], uint32(len(src)))
	}
	f.Add(byte(placement.PackZstd), bomb(f)[:100], uint32(1000))
	f.Add(byte(placement.PackS2), []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0}, uint32(1000))
	f.Fuzz(func(t *testing.T, p byte, stored []byte, size uint32) {
		n := int(size % (64 << 10))
		room := make([]byte, n+64)
		for i := range room {
			room[i] = 0xa5
		}
		got, err := Unpack(placement.Packing(p), stored, n, room[:0:n])
		if err == nil && len(got) != n {
			t.Fatalf("%d bytes, want %d", len(got), n)
		}
		for i, x := range room[n:] {
			if x != 0xa5 {
				t.Fatalf("byte %d behind the buffer was written", i)
			}
		}
	})
}

func BenchmarkPack(b *testing.B) {
	for _, noise := range []float64{0.1, 1} {
		src := text(1, 1<<20, noise)
		for _, p := range packings[1:] {
			b.Run(fmt.Sprintf("packing=%d/noise=%v", p, noise), func(b *testing.B) {
				dst := make([]byte, 2<<20)
				b.SetBytes(int64(len(src)))
				var n int
				for b.Loop() {
					stored, _ := Pack(p, src, dst)
					n = len(stored)
				}
				b.ReportMetric(float64(n)/float64(len(src)), "stored/byte")
			})
		}
	}
}

func BenchmarkUnpack(b *testing.B) {
	src := text(1, 1<<20, 0.1)
	for _, p := range packings[1:] {
		b.Run(fmt.Sprintf("packing=%d", p), func(b *testing.B) {
			stored, used := Pack(p, src, nil)
			dst := make([]byte, len(src))
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				if _, err := Unpack(used, stored, len(src), dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestCompressible(t *testing.T) {
	for seed := range uint64(200) {
		for _, n := range []int{8 << 10, 64 << 10} {
			if Compressible(text(seed, n, 1)) {
				t.Fatalf("%d random bytes of seed %d look compressible", n, seed)
			}
			half := text(seed, n, 1)
			copy(half[n/2:], text(seed, n/2, 0.3))
			if !Compressible(half) {
				t.Fatalf("%d bytes of seed %d, half of them text, look random", n, seed)
			}
		}
	}
}
