package placement

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestKeyLengths(t *testing.T) {
	for _, k := range []string{nameKey, crushKey, rowKey} {
		if len(k) != 32 {
			t.Errorf("key %q has %d bytes, HighwayHash takes 32", k, len(k))
		}
	}
}

// TestHashGolden pins every hash of placement: a change of one moves all data.
func TestHashGolden(t *testing.T) {
	var b strings.Builder
	names := []string{"", "a", "hello", "rbd_data.1f.0000000000000001", "bucket/Ünïcode/名前", strings.Repeat("long name ", 100)}
	for _, n := range names {
		fmt.Fprintf(&b, "name %-30.30q len %4d hash %016x", n, len(n), NameHash(n))
		for _, pgs := range []uint32{1, 12, 16, 1000} {
			fmt.Fprintf(&b, " %s", PGOf(&Pool{ID: 7, PGNum: pgs}, n))
		}
		b.WriteByte('\n')
	}
	for _, id := range []PGID{{1, 0}, {1, 1}, {2, 0}, {2, 1}, {300, 0xffff}} {
		fmt.Fprintf(&b, "pg %-8s crush input %08x row hash osd.0 %016x osd.1 %016x\n", id, crushInput(id), rowHash(id, 0), rowHash(id, 1))
	}
	golden(t, "hash.txt", []byte(b.String()))
}

// TestStableModSplits: growing a pool by one PG moves keys only into the new PG,
// and only from its parent.
func TestStableModSplits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.Uint64().Draw(t, "x")
		from := rapid.Uint32Range(1, MaxPGs).Draw(t, "from")
		to := rapid.Uint32Range(from, MaxPGs).Draw(t, "to")
		a, b := StableMod(x, from), StableMod(x, to)
		if a >= from || b >= to {
			t.Fatalf("shards %d of %d and %d of %d", a, from, b, to)
		}
		if a != b && b < from {
			t.Fatalf("%x moved between old shards %d and %d when %d became %d", x, a, b, from, to)
		}
		if p := SplitParent(b, from); p != a {
			t.Fatalf("%x was in shard %d, but SplitParent of its new shard %d is %d", x, a, b, p)
		}
	})
}

func TestStableModEdges(t *testing.T) {
	tests := []struct {
		x    uint64
		n    uint32
		want uint32
	}{
		{5, 0, 0}, {5, 1, 0}, {5, 4, 1}, {5, 6, 5}, {7, 6, 3}, {6, 6, 2},
		{math.MaxUint64, math.MaxUint32, math.MaxUint32 >> 1},
		{math.MaxUint64, 1 << 31, 1<<31 - 1},
	}
	for _, tt := range tests {
		if got := StableMod(tt.x, tt.n); got != tt.want {
			t.Errorf("StableMod(%d, %d) = %d, want %d", tt.x, tt.n, got, tt.want)
		}
	}
}

// TestNamesSpread: names that differ little fall evenly into PGs (chi-squared).
func TestNamesSpread(t *testing.T) {
	const pgs, names = 64, 64 << 10
	p := &Pool{ID: 3, PGNum: pgs}
	for _, format := range []string{"%d", "rbd_data.12ab.%016x", "photos/2024/%d.jpg"} {
		var count [pgs]int
		for i := range names {
			count[PGOf(p, fmt.Sprintf(format, i)).Shard]++
		}
		chi := 0.0
		for _, c := range count {
			d := float64(c) - names/pgs
			chi += d * d / (names / pgs)
		}
		// 63 degrees of freedom: 127 is exceeded by chance about once in 3 million.
		if chi > 127 {
			t.Errorf("names like %q: chi-squared %.1f over %d PGs", format, chi, pgs)
		}
	}
}

func TestPGOfDoesNotAllocate(t *testing.T) {
	p := &Pool{ID: 1, PGNum: 32}
	name := strings.Repeat("n", 200)
	if n := testing.AllocsPerRun(100, func() { PGOf(p, name) }); n != 0 {
		t.Errorf("PGOf allocates %v times", n)
	}
}

func BenchmarkPGOf(b *testing.B) {
	p := &Pool{ID: 1, PGNum: 256}
	names := make([]string, 256)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range names {
		names[i] = fmt.Sprintf("rbd_data.%08x.%016x", r.Uint32(), i)
	}
	i := 0
	for b.Loop() {
		PGOf(p, names[i&255])
		i++
	}
}
