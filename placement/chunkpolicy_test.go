package placement

import (
	"strings"
	"testing"
)

func TestChunkWords(t *testing.T) {
	for _, s := range []string{"tenant", "cluster", "off"} {
		if d, err := ParseDedup(s); err != nil || d.String() != s {
			t.Errorf("%s: %v, %v", s, d, err)
		}
	}
	for _, s := range []string{"fixed", "content"} {
		if c, err := ParseCut(s); err != nil || c.String() != s {
			t.Errorf("%s: %v, %v", s, c, err)
		}
	}
	for _, s := range []string{"none", "s2", "zstd", "lz4"} {
		if p, err := ParsePacking(s); err != nil || p.String() != s {
			t.Errorf("%s: %v, %v", s, p, err)
		}
	}
	_, err1 := ParseDedup("all")
	_, err2 := ParseCut("")
	_, err3 := ParsePacking("gzip")
	for want, err := range map[string]error{`dedup "all": want tenant, cluster or off`: err1, `cut "": want fixed or content`: err2, `compression "gzip": want none, s2, zstd or lz4`: err3} {
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if got := Dedup(9).String(); got != "dedup(9)" {
		t.Errorf("an unknown one is printed as %s", got)
	}
}

func TestChunkSizes(t *testing.T) {
	for s, want := range map[string]uint32{"8K": 8 << 10, "64k": 64 << 10, "64KiB": 64 << 10, "1M": 1 << 20, "4MiB": 4 << 20, "1048576": 1 << 20, "1048576B": 1 << 20} {
		if n, err := ParseChunkSize(s); err != nil || n != want {
			t.Errorf("%s: %d, %v, want %d", s, n, err, want)
		}
	}
	for _, s := range []string{"", "K", "0", "4K", "8M", "100K", "-1M", "1.5M", "1G", "4294967296", "4194304M", "4194304K", "1MM", "0x1000"} {
		if n, err := ParseChunkSize(s); err == nil || !strings.Contains(err.Error(), "power of two from 8K to 4M") {
			t.Errorf("%q: %d, %v", s, n, err)
		}
	}
	for n, want := range map[uint32]string{8 << 10: "8K", 1 << 20: "1M", 3 << 19: "1536K", 100: "100"} {
		if got := FormatChunkSize(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestChunkPolicyCheck(t *testing.T) {
	rs := func(s string) Redundancy {
		r, err := ParseRedundancy(s)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, tt := range []struct {
		redundancy string
		chunkSize  uint32
		size       uint32
		want       string
	}{
		{"none", 0, 1, ""},
		{"none", DefaultChunkSize, 1, "where no chunks are made"},
		{"4:2:rs", DefaultChunkSize, 3, ""},
		{"4:2:rs", DefaultChunkSize, 2, "want a size of at least 3"},
		{"4:1:xor", DefaultChunkSize, 2, ""},
		{"9:3:rs", DefaultChunkSize, 4, ""},
		{"9:3:rs", DefaultChunkSize, 3, "want a size of at least 4"},
		{"9:3:rs", 32 << 10, 4, "want a chunk_size of at least 64K"},
		{"9:3:rs", 64 << 10, 4, ""},
		{"2:1:xor", MinChunkSize, 2, ""},
		{"3:1:xor", MinChunkSize, 2, "want a chunk_size of at least 16K"},
		{"replica:3", MinChunkSize, 3, ""},
		{"replica:3", MinChunkSize / 2, 3, `chunk_size "4K": want a power of two`},
		{"replica:3", 0, 3, "want a power of two"},
		{"replica:3", MaxChunkSize * 2, 3, "want a power of two"},
	} {
		c := ChunkPolicy{Redundancy: rs(tt.redundancy), ChunkSize: tt.chunkSize}
		if err := c.CheckSize(tt.size); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s in chunks of %d, %d copies: got %v, want %q", tt.redundancy, tt.chunkSize, tt.size, err, tt.want)
		}
	}
	c := ChunkPolicy{rs("4:2:rs"), DedupTenant, CutContent, 256 << 10, PackZstd}
	if got, want := c.String(), "4:2:rs dedup tenant cut content chunk_size 256K compression zstd"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestChunkPolicySet(t *testing.T) {
	var c ChunkPolicy
	for _, kv := range [][2]string{{ChunksKey, "2:2:rs"}, {DedupKey, "off"}, {CutKey, "content"}, {ChunkSizeKey, "64K"}, {CompressionKey, "s2"}, {ChunksKey, "4:1:xor"}} {
		if err := c.Set(kv[0], kv[1]); err != nil || !IsChunkKey(kv[0]) {
			t.Fatalf("%s %s: %v", kv[0], kv[1], err)
		}
	}
	want := ChunkPolicy{Redundancy{XOR, 4, 1}, DedupOff, CutContent, 64 << 10, PackS2}
	if c != want {
		t.Fatalf("%v, want %v", c, want)
	}
	for _, kv := range [][2]string{{ChunksKey, "x"}, {DedupKey, "x"}, {CutKey, "x"}, {ChunkSizeKey, "x"}, {CompressionKey, "x"}, {"size", "3"}} {
		if err := c.Set(kv[0], kv[1]); err == nil || c != want {
			t.Errorf("%s %s: %v, now %v", kv[0], kv[1], err, c)
		}
	}
	if err := c.Set(ChunksKey, "none"); err != nil || c != (ChunkPolicy{}) {
		t.Errorf("%v, %v", c, err)
	}
	if err := c.Set(ChunksKey, "replica:2"); err != nil || c.ChunkSize != DefaultChunkSize || c.Check() != nil {
		t.Errorf("%v, %v", c, err)
	}
}
