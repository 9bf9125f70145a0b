package cut

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairnstore/cairn/placement"
)

func random(seed uint64, n int) []byte {
	var s [32]byte
	s[0], s[1] = byte(seed), byte(seed>>8)
	b := make([]byte, n)
	rand.NewChaCha8(s).Read(b)
	return b
}

func newCutter(t testing.TB, how placement.Cut, size uint32) *Cutter {
	t.Helper()
	c, err := New(how, size)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestPieces: how a stream comes does not matter, and all chunks are within the limits.
func TestPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		how := rapid.SampledFrom([]placement.Cut{placement.CutFixed, placement.CutContent}).Draw(t, "cut")
		c, err := New(how, 8<<10)
		if err != nil {
			t.Fatal(err)
		}
		data := random(rapid.Uint64Max(1000).Draw(t, "seed"), rapid.IntRange(0, 200_000).Draw(t, "bytes"))
		if rapid.Bool().Draw(t, "zeros") {
			clear(data[len(data)/3:])
		}
		want := c.Boundaries(data)
		least, most := c.Limits()
		last := 0
		for i, at := range want {
			if n := at - last; n > most || n < least && i < len(want)-1 {
				t.Fatalf("chunk %d has %d bytes, limits %d and %d", i, n, least, most)
			}
			last = at
		}
		if last != len(data) {
			t.Fatalf("the last chunk ends at %d of %d", last, len(data))
		}
		var got []int
		for at := 0; at < len(data); {
			to := min(len(data), at+rapid.IntRange(1, 30_000).Draw(t, "piece"))
			for at < to {
				n, end := c.Next(data[at:to])
				if !end && n != to-at {
					t.Fatalf("%d of %d bytes were taken and the chunk does not end", n, to-at)
				}
				at += n
				if end || at == len(data) {
					got = append(got, at)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("in pieces %v, at once %v", got, want)
		}
	})
}

// TestInsert: a byte at the front leaves nearly all chunks what they were.
func TestInsert(t *testing.T) {
	data := random(1, 64<<20)
	for _, size := range []uint32{8 << 10, 256 << 10} {
		c := newCutter(t, placement.CutContent, size)
		known := map[[32]byte]bool{}
		each(c, data, func(b []byte) { known[sha256.Sum256(b)] = true })
		same, all := 0, 0
		each(c, append([]byte{'x'}, data...), func(b []byte) {
			all += len(b)
			if known[sha256.Sum256(b)] {
				same += len(b)
			}
		})
		if float64(same) < 0.98*float64(all) {
			t.Errorf("size %d: %d of %d bytes are in known chunks", size, same, all)
		}
	}
}

func each(c *Cutter, data []byte, f func([]byte)) {
	last := 0
	for _, at := range c.Boundaries(data) {
		f(data[last:at])
		last = at
	}
}

// TestMean: sizes are near to what was asked for, and few chunks end only because they are too large.
func TestMean(t *testing.T) {
	data := random(2, 32<<20)
	for size := uint32(placement.MinChunkSize); size <= 512<<10; size *= 4 {
		c := newCutter(t, placement.CutContent, size)
		_, most := c.Limits()
		ends := c.Boundaries(data)
		if mean := float64(len(data)) / float64(len(ends)) / float64(size); mean < 0.9 || mean > 1.15 {
			t.Errorf("size %d: the mean is %.2f times that", size, mean)
		}
		large := 0
		each(c, data, func(b []byte) {
			if len(b) == most {
				large++
			}
		})
		if large*100 > len(ends) {
			t.Errorf("size %d: %d of %d chunks have the most bytes", size, large, len(ends))
		}
	}
}

// TestSame: bytes that are all the same are one boundary-free stretch, whatever the byte: their hash must not meet the
// condition, or they would be cut into the smallest chunks.
func TestSame(t *testing.T) {
	b := make([]byte, 100_000)
	for _, size := range []uint32{placement.MinChunkSize, placement.DefaultChunkSize} {
		c := newCutter(t, placement.CutContent, size)
		for v := range 256 {
			h := uint64(0)
			for range window {
				h = h<<1 + gear[v]
			}
			if h < c.easy {
				t.Errorf("size %d: a chunk of bytes %#x ends everywhere", size, v)
			}
		}
	}
	c := newCutter(t, placement.CutContent, placement.MinChunkSize)
	if ends := c.Boundaries(b); ends[0] != 4*placement.MinChunkSize {
		t.Errorf("zeros are cut at %v", ends)
	}
}

// TestGolden: boundaries never change, else what is stored is not found again.
func TestGolden(t *testing.T) {
	for _, c := range []struct {
		how  placement.Cut
		size uint32
		want string
	}{
		{placement.CutFixed, 512 << 10, "32 chunks, [524288 1048576 1572864], 96e7e96ba88b1c94"},
		{placement.CutContent, 8 << 10, "1956 chunks, [11652 19165 28571], c1312dd464b61c92"},
		{placement.CutContent, 256 << 10, "61 chunks, [233364 476321 771829], c4ebdaa1e653f808"},
		{placement.CutContent, 1 << 20, "16 chunks, [1357419 2508544 3478002], b17c13f59c74fb48"},
		{placement.CutContent, 2 << 20, "8 chunks, [2508544 4473111 6966185], eea09250c2f4921c"},
		{placement.CutContent, 4 << 20, "8 chunks, [2508544 4473111 6966185], eea09250c2f4921c"},
	} {
		ends := newCutter(t, c.how, c.size).Boundaries(random(3, 16<<20))
		sum := sha256.Sum256(fmt.Append(nil, ends))
		if got := fmt.Sprintf("%d chunks, %d, %x", len(ends), ends[:3], sum[:8]); got != c.want {
			t.Errorf("cut %d, size %d: got %s, want %s", c.how, c.size, got, c.want)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, size := range []uint32{0, 4 << 10, 10_000, 8 << 20} {
		if _, err := New(placement.CutContent, size); err == nil {
			t.Errorf("size %d was taken", size)
		}
	}
	if _, err := New(7, 1<<20); err == nil {
		t.Error("an unknown cut was taken")
	}
}

func BenchmarkBoundaries(b *testing.B) {
	data := random(1, 64<<20)
	for _, size := range []uint32{8 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("content/%dKiB", size>>10), func(b *testing.B) {
			c := newCutter(b, placement.CutContent, size)
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				c.Boundaries(data)
			}
		})
	}
}
