package ec

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairnstore/cairn/placement"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func anyRedundancy(t *rapid.T) placement.Redundancy {
	switch rapid.SampledFrom([]placement.Codec{placement.Replica, placement.XOR, placement.ReedSolomon}).Draw(t, "codec") {
	case placement.Replica:
		return placement.Redundancy{K: 1, M: rapid.Uint8Range(0, placement.MaxReplicas-1).Draw(t, "m")}
	case placement.XOR:
		return placement.Redundancy{Codec: placement.XOR, K: rapid.Uint8Range(2, placement.MaxDataShards).Draw(t, "k"), M: 1}
	}
	return placement.Redundancy{
		Codec: placement.ReedSolomon, K: rapid.Uint8Range(2, placement.MaxDataShards).Draw(t, "k"),
		M: rapid.Uint8Range(1, placement.MaxParityShards).Draw(t, "m"),
	}
}

// TestAnyKShards: any k of the k+m shards give the chunk and all other shards back.
func TestAnyKShards(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, err := New(anyRedundancy(t))
		if err != nil {
			t.Fatal(err)
		}
		n := rapid.IntRange(1, 20_000).Draw(t, "bytes")
		data := random(rapid.Uint64().Draw(t, "seed"), n)
		whole := bytes.Clone(data)
		mem := bytes.Repeat([]byte{0xee}, rapid.SampledFrom([]int{0, c.ExtraBytes(n)}).Draw(t, "mem"))
		shards := c.Encode(data, mem)
		if !bytes.Equal(data, whole) {
			t.Fatal("encoding changed the data")
		}
		if len(shards) != c.Redundancy().Shards() {
			t.Fatalf("%d shards of %s", len(shards), c.Redundancy())
		}
		for i, s := range shards {
			if len(s) != c.ShardSize(n) {
				t.Fatalf("shard %d has %d bytes, want %d", i, len(s), c.ShardSize(n))
			}
		}
		if ok, err := c.Verify(shards); !ok || err != nil {
			t.Fatalf("verify: %v, %v", ok, err)
		}

		lost := make([][]byte, len(shards))
		perm := rapid.Permutation(slices.Collect(seq(len(shards)))).Draw(t, "order")
		k := int(c.Redundancy().K)
		for _, i := range perm[:k] {
			lost[i] = shards[i]
		}
		head := []byte("before")
		head = slices.Grow(head, rapid.SampledFrom([]int{0, n, n + 100}).Draw(t, "room"))
		some := slices.Clone(lost)
		if cap(head) >= len(head)+n && len(some[0]) != 0 {
			some[0] = append(head[len(head):], some[0]...) // read to where it belongs
		}
		got, err := c.Join(head, some, n)
		if err != nil || string(got[:6]) != "before" || !bytes.Equal(got[6:], whole) {
			t.Fatalf("join of shards %v: %v, equal %v", perm[:k], err, bytes.Equal(got[6:], whole))
		}
		if k < len(perm) {
			some, want := slices.Clone(lost), make([]bool, len(shards))
			want[perm[k]] = true
			if err := c.Reconstruct(some, want); err != nil || !bytes.Equal(some[perm[k]], shards[perm[k]]) {
				t.Fatalf("reconstruct shard %d of %v: %v", perm[k], perm[:k], err)
			}
			for _, i := range perm[k+1:] {
				if len(some[i]) != 0 {
					t.Fatalf("shard %d was made and not wanted", i)
				}
			}
		}
		if err := c.Reconstruct(lost, nil); err != nil {
			t.Fatal(err)
		}
		for i := range shards {
			if !bytes.Equal(lost[i], shards[i]) {
				t.Fatalf("shard %d from %v is wrong", i, perm[:k])
			}
		}
		if len(shards) > 1 {
			i := rapid.IntRange(0, len(shards)-1).Draw(t, "bad")
			lost[i] = bytes.Clone(lost[i])
			lost[i][rapid.IntRange(0, len(lost[i])-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			if ok, err := c.Verify(lost); ok || err != nil {
				t.Fatalf("a flipped bit in shard %d: verify: %v, %v", i, ok, err)
			}
		}
	})
}

func seq(n int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

// TestNoCopy: data shards that need no filling are parts of the data.
func TestNoCopy(t *testing.T) {
	c, _ := New(placement.Redundancy{Codec: placement.ReedSolomon, K: 4, M: 2})
	data := random(1, 4*4096)
	for i, s := range c.Encode(data, nil)[:4] {
		if &s[0] != &data[i*4096] {
			t.Errorf("shard %d is a copy", i)
		}
	}
	if got, want := c.ExtraBytes(len(data)), 2*4096; got != want {
		t.Errorf("%d extra bytes, want %d", got, want)
	}
}

func TestRefused(t *testing.T) {
	for _, r := range []placement.Redundancy{{}, {Codec: placement.XOR, K: 4, M: 2}, {Codec: 9, K: 2, M: 1}, {Codec: placement.ReedSolomon, K: 21, M: 1}} {
		if _, err := New(r); err == nil {
			t.Errorf("%v was taken", r)
		}
	}
	c, _ := New(placement.Redundancy{Codec: placement.ReedSolomon, K: 4, M: 2})
	shards := c.Encode(random(1, 1000), nil)
	if s := c.Encode(nil, nil); s != nil {
		t.Errorf("%d shards of nothing", len(s))
	}
	if _, err := c.Join(nil, shards, 1001); !errors.Is(err, ErrShards) {
		t.Errorf("another size: %v", err)
	}
	if err := c.Reconstruct(shards[:5], nil); !errors.Is(err, ErrShards) {
		t.Errorf("five shards of six: %v", err)
	}
	if err := c.Reconstruct([][]byte{shards[0], nil, shards[2], nil, shards[4], nil}, nil); !errors.Is(err, ErrTooFew) {
		t.Errorf("three of six: %v", err)
	}
	if _, err := c.Verify([][]byte{shards[0], shards[1], shards[2], shards[3], shards[4], nil}); !errors.Is(err, ErrTooFew) {
		t.Errorf("verify five of six: %v", err)
	}
	shards[3] = shards[3][:100]
	if err := c.Reconstruct(shards, nil); !errors.Is(err, ErrShards) {
		t.Errorf("a short shard: %v", err)
	}
}

// TestGolden: shards are what is on disks, so they never change.
func TestGolden(t *testing.T) {
	var b strings.Builder
	for _, s := range []string{"replica:3", "2:1:xor", "3:1:xor", "4:1:xor", "2:1:rs", "2:2:rs", "3:2:rs", "4:2:rs", "6:2:rs", "9:3:rs", "20:6:rs"} {
		r, err := placement.ParseRedundancy(s)
		if err != nil {
			t.Fatal(err)
		}
		c, err := New(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{1, 4099} {
			data := random(7, n)
			shards := c.Encode(data, nil)
			if r.Codec == placement.XOR {
				x := make([]byte, len(shards[0]))
				for _, s := range shards[:r.K] {
					for i := range s {
						x[i] ^= s[i]
					}
				}
				if !bytes.Equal(x, shards[r.K]) {
					t.Errorf("%s: the parity is not that of xor", s)
				}
			}
			for i, sh := range shards {
				sum := sha256.Sum256(sh)
				fmt.Fprintf(&b, "%s %d bytes, shard %d: %d bytes, sha256 %s\n", s, n, i, len(sh), hex.EncodeToString(sum[:8]))
			}
		}
	}
	name := filepath.Join("testdata", "shards.golden")
	if *update {
		if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("shards have changed; what is stored could not be read:\n%s", b.String())
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, s := range []string{"2:1:xor", "4:1:xor", "2:2:rs", "4:2:rs", "6:2:rs", "9:3:rs"} {
		r, _ := placement.ParseRedundancy(s)
		c, _ := New(r)
		for _, n := range []int{1 << 20, 4 << 20} {
			b.Run(fmt.Sprintf("%s/%dMiB", s, n>>20), func(b *testing.B) {
				data := random(1, n)
				mem := make([]byte, c.ExtraBytes(n))
				b.SetBytes(int64(n))
				for b.Loop() {
					c.Encode(data, mem)
				}
			})
		}
	}
}

func BenchmarkJoin(b *testing.B) {
	for _, lost := range []int{0, 1, 2} {
		b.Run(fmt.Sprintf("4:2:rs/lost=%d", lost), func(b *testing.B) {
			c, _ := New(placement.Redundancy{Codec: placement.ReedSolomon, K: 4, M: 2})
			data := random(1, 1<<20)
			shards := c.Encode(data, nil)
			dst := make([]byte, 0, len(data))
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				some := slices.Clone(shards)
				for i := range lost {
					some[i] = nil
				}
				if _, err := c.Join(dst, some, len(data)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
