package placement

import (
	"fmt"
	"strconv"
	"strings"
)

// ChunkPolicy says how clients make chunks of what they write to a pool. With a zero Redundancy they make none, and
// then the whole policy is zero. A bucket may have another one than its pool.
type ChunkPolicy struct {
	Redundancy Redundancy
	Dedup      Dedup
	Cut        Cut
	ChunkSize  uint32 // bytes: of fixed chunks the size, of others the mean; a power of two
	Packing    Packing
}

// Dedup says who may share chunks.
type Dedup uint8

// The dedup domains.
const (
	DedupTenant  Dedup = iota // objects of one tenant
	DedupCluster              // all
	DedupOff                  // none
)

// Cut says where chunks end.
type Cut uint8

// The ways to cut.
const (
	CutFixed   Cut = iota // at multiples of the chunk size
	CutContent            // where the content says so: what is inserted or removed moves no other boundary
)

// Packing is how a chunk's bytes are compressed, if that pays.
type Packing uint8

// The packings. A chunk that does not shrink enough is kept as it is.
const (
	PackNone Packing = iota
	PackS2
	PackZstd
	PackLZ4
)

// Limits of a ChunkPolicy.
const (
	MinChunkSize     = 8 << 10
	MaxChunkSize     = 4 << 20
	DefaultChunkSize = 1 << 20
	MinShardSize     = 4 << 10 // of erasure coding; a chunk that would have smaller shards is stored as M+1 copies
)

// The settings that make up a ChunkPolicy, as people name them.
const (
	ChunksKey      = "chunks" // the redundancy
	DedupKey       = "dedup"
	CutKey         = "cut"
	ChunkSizeKey   = "chunk_size"
	CompressionKey = "compression"
)

// IsChunkKey reports whether a setting is part of a ChunkPolicy.
func IsChunkKey(key string) bool {
	switch key {
	case ChunksKey, DedupKey, CutKey, ChunkSizeKey, CompressionKey:
		return true
	}
	return false
}

// Set changes one setting. With the first redundancy the others get their defaults, without one they are lost. Whether
// the settings fit each other is for Check.
func (c *ChunkPolicy) Set(key, value string) error {
	switch key {
	case ChunksKey:
		r, err := ParseRedundancy(value)
		switch {
		case err != nil:
			return err
		case r.IsZero():
			*c = ChunkPolicy{}
		case c.IsZero():
			*c = ChunkPolicy{Redundancy: r, ChunkSize: DefaultChunkSize}
		default:
			c.Redundancy = r
		}
		return nil
	case DedupKey:
		d, err := ParseDedup(value)
		if err == nil {
			c.Dedup = d
		}
		return err
	case CutKey:
		cut, err := ParseCut(value)
		if err == nil {
			c.Cut = cut
		}
		return err
	case ChunkSizeKey:
		n, err := ParseChunkSize(value)
		if err == nil {
			c.ChunkSize = n
		}
		return err
	case CompressionKey:
		p, err := ParsePacking(value)
		if err == nil {
			c.Packing = p
		}
		return err
	}
	return fmt.Errorf("%q is no setting of chunks; want %s, %s, %s, %s or %s", key, ChunksKey, DedupKey, CutKey, ChunkSizeKey, CompressionKey)
}

// The words for the values of each kind, by value.
var (
	dedupWords   = []string{DedupTenant: "tenant", DedupCluster: "cluster", DedupOff: "off"}
	cutWords     = []string{CutFixed: "fixed", CutContent: "content"}
	packingWords = []string{PackNone: "none", PackS2: "s2", PackZstd: "zstd", PackLZ4: "lz4"}
)

func word(what string, words []string, v uint8) string {
	if int(v) < len(words) {
		return words[v]
	}
	return fmt.Sprintf("%s(%d)", what, v)
}

func parseWord(what string, words []string, s string) (uint8, error) {
	for i, w := range words {
		if w == s {
			return uint8(i), nil
		}
	}
	last := len(words) - 1
	return 0, fmt.Errorf("%s %q: want %s or %s", what, s, strings.Join(words[:last], ", "), words[last])
}

// String returns what ParseDedup reads: tenant, cluster or off.
func (d Dedup) String() string { return word("dedup", dedupWords, uint8(d)) }

// ParseDedup reads tenant, cluster or off.
func ParseDedup(s string) (Dedup, error) {
	v, err := parseWord("dedup", dedupWords, s)
	return Dedup(v), err
}

// String returns what ParseCut reads: fixed or content.
func (c Cut) String() string { return word("cut", cutWords, uint8(c)) }

// ParseCut reads fixed or content.
func ParseCut(s string) (Cut, error) {
	v, err := parseWord("cut", cutWords, s)
	return Cut(v), err
}

// String returns what ParsePacking reads: none, s2, zstd or lz4.
func (p Packing) String() string { return word("compression", packingWords, uint8(p)) }

// ParsePacking reads none, s2, zstd or lz4.
func ParsePacking(s string) (Packing, error) {
	v, err := parseWord("compression", packingWords, s)
	return Packing(v), err
}

// FormatChunkSize returns what ParseChunkSize reads: 64K, 1M, or a plain number of bytes.
func FormatChunkSize(n uint32) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return strconv.FormatUint(uint64(n>>20), 10) + "M"
	case n >= 1<<10 && n%(1<<10) == 0:
		return strconv.FormatUint(uint64(n>>10), 10) + "K"
	}
	return strconv.FormatUint(uint64(n), 10)
}

// ParseChunkSize reads a chunk size such as 64K, 64KiB, 1M or 1048576.
func ParseChunkSize(s string) (uint32, error) {
	digits, unit := strings.ToUpper(s), uint64(1)
	for _, u := range []struct {
		suffix string
		factor uint64
	}{{"KIB", 1 << 10}, {"MIB", 1 << 20}, {"K", 1 << 10}, {"M", 1 << 20}, {"B", 1}} {
		if d, ok := strings.CutSuffix(digits, u.suffix); ok {
			digits, unit = d, u.factor
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n > MaxChunkSize {
		return 0, badChunkSize(s)
	}
	n *= unit
	if n > MaxChunkSize || checkChunkSize(uint32(n)) != nil {
		return 0, badChunkSize(s)
	}
	return uint32(n), nil
}

func badChunkSize(s string) error {
	return fmt.Errorf("chunk_size %q: want a power of two from %s to %s, such as 64K or %s",
		s, FormatChunkSize(MinChunkSize), FormatChunkSize(MaxChunkSize), FormatChunkSize(DefaultChunkSize))
}

func checkChunkSize(n uint32) error {
	if n < MinChunkSize || n > MaxChunkSize || n&(n-1) != 0 {
		return badChunkSize(FormatChunkSize(n))
	}
	return nil
}

// IsZero reports whether no chunks are made.
func (c ChunkPolicy) IsZero() bool { return c.Redundancy.IsZero() }

// String returns the policy in the words of `cairn pool ls detail`.
func (c ChunkPolicy) String() string {
	if c.IsZero() {
		return "none"
	}
	return fmt.Sprintf("%s dedup %s cut %s chunk_size %s compression %s", c.Redundancy, c.Dedup, c.Cut, FormatChunkSize(c.ChunkSize), c.Packing)
}

// known says which value is not known to this program, or nil.
func (c ChunkPolicy) known() error {
	for _, v := range []struct {
		what  string
		value uint8
		count int
	}{
		{"codec", uint8(c.Redundancy.Codec), int(ReedSolomon) + 1}, {"dedup", uint8(c.Dedup), len(dedupWords)},
		{"cut", uint8(c.Cut), len(cutWords)}, {"compression", uint8(c.Packing), len(packingWords)},
	} {
		if int(v.value) >= v.count {
			return fmt.Errorf("%s %d of its chunks is not known", v.what, v.value)
		}
	}
	return nil
}

// Check says what is wrong with a policy, or nil.
func (c ChunkPolicy) Check() error {
	if err := c.known(); err != nil {
		return err
	}
	if err := c.Redundancy.Check(); err != nil {
		return err
	}
	if c.IsZero() {
		if c != (ChunkPolicy{}) {
			return fmt.Errorf("dedup %s, cut %s, chunk_size %d and compression %s are without effect where no chunks are made", c.Dedup, c.Cut, c.ChunkSize, c.Packing)
		}
		return nil
	}
	if err := checkChunkSize(c.ChunkSize); err != nil {
		return err
	}
	if k := uint32(c.Redundancy.K); c.Redundancy.Codec != Replica && c.ChunkSize < k*MinShardSize {
		least := uint32(MinChunkSize)
		for least < k*MinShardSize {
			least *= 2
		}
		return fmt.Errorf("chunk_size %s gives %s shards of less than %s, which are stored as whole copies instead: want a chunk_size of at least %s",
			FormatChunkSize(c.ChunkSize), c.Redundancy, FormatChunkSize(MinShardSize), FormatChunkSize(least))
	}
	return nil
}

// CheckSize says what is wrong with the policy of a pool that keeps so many copies of its objects, or nil. What says
// where the shards are, and small objects, are kept as copies: they must survive as many losses as the shards do.
func (c ChunkPolicy) CheckSize(size uint32) error {
	if err := c.Check(); err != nil {
		return err
	}
	if least := uint32(c.Redundancy.M) + 1; size < least {
		return fmt.Errorf("size %d is too few for chunks %s: the chunk index and small objects are kept as whole copies, which are to survive the loss of %d OSDs as the chunks do: want a size of at least %d",
			size, c.Redundancy, c.Redundancy.M, least)
	}
	return nil
}
