package chunk

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairnstore/cairn/placement"
)

func anyLayout(t *rapid.T) Layout {
	l := Layout{
		Gen:    Gen(rapid.Uint64Min(1).Draw(t, "gen")),
		Size:   rapid.Uint32Range(1, MaxBytes).Draw(t, "size"),
		Stored: 1, Packing: placement.PackZstd,
	}
	l.Stored = rapid.Uint32Range(1, l.Size).Draw(t, "stored")
	l.Redundancy = rapid.SampledFrom([]placement.Redundancy{
		{Codec: placement.Replica, K: 1, M: 2}, {Codec: placement.XOR, K: 4, M: 1}, {Codec: placement.ReedSolomon, K: 9, M: 3},
	}).Draw(t, "redundancy")
	for range l.Redundancy.Shards() {
		l.Holders = append(l.Holders, placement.OSDID(rapid.Int32Range(-1, 100).Draw(t, "holder")))
	}
	return l
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := anyLayout(t)
		got, err := DecodeLayout(l.Append(nil))
		if err != nil || !cmp.Equal(got, l) {
			t.Fatalf("layout: %v, %s", err, cmp.Diff(l, got))
		}
		n := rapid.Uint64Range(1, uint64(l.Size)).Draw(t, "n")
		r := Ref{Layout: l, ChunkOff: uint32(rapid.Uint64Range(0, uint64(l.Size)-n).Draw(t, "off")), Split: rapid.Bool().Draw(t, "split")}
		r.Range.From = rapid.Uint64Range(0, 64<<20).Draw(t, "from")
		r.Range.To = r.Range.From + n
		r.Chunk[0], r.Nonce[3] = BLAKE3, 7
		for range rapid.IntRange(0, 4).Draw(t, "covers") {
			from := rapid.Uint64Range(r.Range.From, r.Range.To-1).Draw(t, "cover")
			r.Cover(Range{from, from + rapid.Uint64Range(1, 4096).Draw(t, "bytes")})
		}
		b := r.Append(nil)
		back, err := DecodeRef(b)
		if err != nil || !cmp.Equal(back, r) {
			t.Fatalf("ref: %v, %s", err, cmp.Diff(r, back))
		}
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		if _, err := DecodeRef(b[:cut]); err == nil {
			t.Fatalf("%d of %d bytes were taken for a reference", cut, len(b))
		}
	})
}

// TestCover holds Cover, Bare and Cut against a bitmap.
func TestCover(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const base, n = 100, 64
		r := Ref{Range: Range{base, base + n}}
		var own [n]bool
		for range rapid.IntRange(1, 12).Draw(t, "covers") {
			from := rapid.Uint64Range(base-10, base+n+5).Draw(t, "from")
			to := from + rapid.Uint64Range(1, 20).Draw(t, "len")
			all := r.Cover(Range{from, to})
			left := false
			for i := range own {
				own[i] = own[i] || uint64(base+i) >= from && uint64(base+i) < to
				left = left || !own[i]
			}
			if all == left {
				t.Fatalf("covered %v: all %v", r.Covered, all)
			}
		}
		at := rapid.Uint64Range(base+1, base+n-1).Draw(t, "at")
		left, right := r.Cut(at)
		var bare [n]bool
		for _, p := range []*Ref{&left, &right} {
			p.Bare(Range{0, 1 << 40}, func(x Range) {
				for i := x.From; i < x.To; i++ {
					bare[i-base] = true
				}
			})
		}
		for i := range own {
			if own[i] == bare[i] {
				t.Fatalf("byte %d: own %v, bare %v of %v, cut at %d", i, own[i], bare[i], r.Covered, at)
			}
		}
		if right.ChunkOff != uint32(at-base) {
			t.Fatalf("right half begins at byte %d of the chunk, cut at %d", right.ChunkOff, at-base)
		}
	})
}

func TestBackRef(t *testing.T) {
	r := BackRef{Nonce: Nonce{1, 2}, Pool: 7, Object: "a\x00b", At: 42}
	got, err := ParseBackRef(r.Key(), r.Value())
	if err != nil || got != r {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := ParseBackRef(r.Key()[:20], r.Value()); err == nil {
		t.Fatal("a reference without an object was taken")
	}
}

func TestIndexName(t *testing.T) {
	var f Fingerprint
	f[0], f[5] = SHA256, 9
	if got, ok := FingerprintOf(f.IndexName()); !ok || !bytes.Equal(got[:], f[:]) {
		t.Fatalf("%v %v", got, ok)
	}
	if _, ok := FingerprintOf("c" + f.IndexName()[1:]); ok {
		t.Fatal("a client's name was taken for a chunk's entry")
	}
}
