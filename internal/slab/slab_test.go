package slab

import (
	"bytes"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"unsafe"
)

func fill(b []byte, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

// TestSumsOfParts: the sums of blocks are those of the bytes, and joined they are the whole's.
func TestSumsOfParts(t *testing.T) {
	for _, n := range []int{1, 511, 4095, 4096, 4097, 8192, 12288, 12289, 65536, 100000, 1 << 20, 4<<20 - 1, 4 << 20, 9<<20 + 5} {
		b := New(n)
		fill(b.Bytes(), uint64(n))
		if got, want := b.Sum(), crc32.Checksum(b.Bytes(), castagnoli); got != want {
			t.Fatalf("%d bytes: sum %08x, want %08x", n, got, want)
		}
		for _, part := range [][2]int{{0, n}, {0, 4096}, {4096, n}, {4096, 12288}, {8192, 8192 + 4096}, {0, 5}, {1, 4097}, {4096, 4100}, {0, n - 1}} {
			if part[0] >= part[1] || part[1] > n {
				continue
			}
			p := b.Bytes()[part[0]:part[1]]
			sums := b.SumsOf(p)
			whole := part[0]%4096 == 0 && (part[1]%4096 == 0 || part[1] == n)
			if (sums != nil) != whole {
				t.Fatalf("%d bytes: sums of [%d,%d): %d of them, want %v", n, part[0], part[1], len(sums), whole)
			}
			if whole {
				if got, want := Join(sums, len(p)), crc32.Checksum(p, castagnoli); got != want {
					t.Fatalf("%d bytes: joined sums of [%d,%d): %08x, want %08x", n, part[0], part[1], got, want)
				}
			}
		}
		if foreign := make([]byte, 4096); b.SumsOf(foreign) != nil {
			t.Fatalf("sums of memory that is not the Buf's")
		}
		b.Release()
	}
	if got := Join(nil, 0); got != 0 {
		t.Fatalf("sum of nothing: %08x", got)
	}
}

// TestShortenForgetsSums: sums of bytes that were cut off must not be believed.
func TestShortenForgetsSums(t *testing.T) {
	b := New(8192)
	b.Sum()
	b.Shorten(5000)
	if b.SumsOf(b.Bytes()) != nil {
		t.Fatal("a shortened Buf still has the sums of its old last block")
	}
	b.Release()
}

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Fatalf("%s: no panic", what)
		}
	}()
	f()
}

// TestUses: memory is reused after the last release, not before; a release too many is found
// out even when the memory has a new user by then.
func TestUses(t *testing.T) {
	for _, n := range []int{100, 4096, 4 << 20} {
		b := New(n)
		b.Retain()
		b.Release()
		if len(b.Bytes()) != n {
			t.Fatalf("%d bytes: gone before the last release", n)
		}
		b.Release()
		other := New(n) // most likely of the same memory
		mustPanic(t, "second release", b.Release)
		c := New(n)
		c.Release()
		mustPanic(t, "retain of what is gone", c.Retain)
		if len(other.Bytes()) != n {
			t.Fatalf("somebody else's release took the memory away")
		}
		other.Release()
	}
	var none *Buf
	none.Retain()
	none.Release()
	if _, ok := none.Holds([]byte{1}); ok {
		t.Fatal("nil holds something")
	}
}

func TestPoison(t *testing.T) {
	Poison()
	defer poison.Store(false)
	for _, n := range []int{100, 5000, 1 << 20} {
		b := New(n)
		p := b.Bytes()
		clear(p)
		b.Sum()
		sums := b.SumsOf(p)
		b.Release()
		if p[0] != poisonByte || p[len(p)-1] != poisonByte || sums[0] != poisonSum {
			t.Fatalf("%d bytes: released memory, or its sums, are as they were", n)
		}
		other := New(n)
		if &other.Bytes()[0] == &p[0] {
			t.Fatalf("%d bytes are reused at once", n)
		}
		other.Release()
	}
}

// TestWrittenAfterRelease: whoever writes to memory that it has released is found out when it would be reused.
func TestWrittenAfterRelease(t *testing.T) {
	Poison()
	defer poison.Store(false)
	b := New(5000)
	p := b.Bytes()
	b.Release()
	p[4999]++
	mustPanic(t, "reuse of memory that was written to", func() {
		for range 2 * detainMax >> 20 {
			New(1 << 20).Release()
		}
	})
}

// TestHolds: a slice is found where it is, and one of other memory, or across the end, is not.
func TestHolds(t *testing.T) {
	b := New(10000)
	for _, at := range []int{0, 1, 4096, 9999} {
		if off, ok := b.Holds(b.Bytes()[at:]); !ok || off != at {
			t.Fatalf("slice at %d: %d, %v", at, off, ok)
		}
	}
	if _, ok := b.Holds(b.from.mem[9000:10001]); ok {
		t.Fatal("a slice that goes beyond the end")
	}
	if _, ok := b.Holds(make([]byte, 1)); ok {
		t.Fatal("a slice of other memory")
	}
	b.Release()
}

// TestFreeMemoryIsBounded: more than SetFreeMax is left to the collector, oldest sizes first.
func TestFreeMemoryIsBounded(t *testing.T) {
	SetFreeMax(10 << 20)
	defer SetFreeMax(freeMax)
	var all []*Buf
	for range 8 {
		all = append(all, New(1<<20))
	}
	for range 4 {
		all = append(all, New(4<<20))
	}
	for _, b := range all {
		b.Release()
	}
	large.mu.Lock()
	defer large.mu.Unlock()
	class, _ := ClassOf(4 << 20)
	if large.bytes > 10<<20 || len(large.free[class]) != 2 {
		t.Fatalf("%d bytes are kept, and %d of 4 MiB; want at most 10 MiB and 2", large.bytes, len(large.free[class]))
	}
}

// TestConcurrentUse gives one Buf to many that release it at different times while others take and
// give memory of the same size: nobody sees another's bytes.
func TestConcurrentUse(t *testing.T) {
	Poison()
	defer poison.Store(false)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				n := 64<<10 + g
				b := New(n)
				fill(b.Bytes(), uint64(g*1000+i))
				want := slices.Clone(b.Bytes())
				var users sync.WaitGroup
				for range 3 {
					b.Retain()
					users.Go(func() {
						if !bytes.Equal(b.Bytes(), want) {
							t.Error("content changed while it was in use")
						}
						b.Release()
					})
				}
				b.Release()
				users.Wait()
			}
		})
	}
	wg.Wait()
}

// TestAlignment: what is large begins where direct I/O and huge pages want it to.
func TestAlignment(t *testing.T) {
	for n := 4096; n <= MaxPooled+5; n += n/3 + 1 {
		b := New(n)
		if p := uintptr(unsafe.Pointer(unsafe.SliceData(b.Bytes()))); n%4096 == 0 && p%4096 != 0 || n >= hugeBytes && n <= MaxPooled && p%hugeBytes != 0 {
			t.Errorf("%d bytes begin at %x", n, p)
		}
		b.Release()
	}
}

func FuzzJoin(f *testing.F) {
	f.Add([]byte("cairn"), 3)
	f.Fuzz(func(t *testing.T, seed []byte, n int) {
		n = int(uint(n) % (5 * BlockBytes))
		b := New(n + 1)
		for i := range b.Bytes() {
			b.Bytes()[i] = byte(i) + append(seed, 7)[i%(len(seed)+1)]
		}
		if got, want := b.Sum(), crc32.Checksum(b.Bytes(), castagnoli); got != want {
			t.Fatalf("%d bytes: %08x, want %08x", n+1, got, want)
		}
		b.Release()
	})
}

func BenchmarkSum(b *testing.B) {
	buf := New(4 << 20)
	b.SetBytes(4 << 20)
	for b.Loop() {
		buf.Sum()
	}
}

func BenchmarkJoin(b *testing.B) {
	buf := New(4 << 20)
	buf.Sum()
	sums := buf.SumsOf(buf.Bytes())
	for b.Loop() {
		Join(sums, 4<<20)
	}
}
