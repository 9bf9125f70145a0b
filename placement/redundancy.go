package placement

import (
	"fmt"
	"strconv"
	"strings"
)

// Codec is how the shards of a chunk are made.
type Codec uint8

// The codecs.
const (
	Replica     Codec = iota // whole copies
	XOR                      // k data shards and their parity
	ReedSolomon              // k data shards, m of parity
)

// Limits of a Redundancy.
const (
	MaxDataShards   = 20
	MaxParityShards = 6
	MaxReplicas     = 8
)

// Redundancy says how chunks are protected: K data shards and M more, any K of which give the chunk back. Whole
// copies have K 1. The zero value means that a pool has no chunks.
type Redundancy struct {
	Codec Codec
	K, M  uint8
}

// IsZero reports whether there are no chunks.
func (r Redundancy) IsZero() bool { return r == Redundancy{} }

// Shards is how many OSDs hold a part of each chunk.
func (r Redundancy) Shards() int { return int(r.K) + int(r.M) }

// String returns what ParseRedundancy reads: replica:3, 4:1:xor, 4:2:rs, or none.
func (r Redundancy) String() string {
	switch {
	case r.IsZero():
		return "none"
	case r.Codec == Replica:
		return fmt.Sprintf("replica:%d", r.Shards())
	case r.Codec == XOR:
		return fmt.Sprintf("%d:%d:xor", r.K, r.M)
	}
	return fmt.Sprintf("%d:%d:rs", r.K, r.M)
}

// Check says what is wrong with a Redundancy, or nil.
func (r Redundancy) Check() error {
	switch {
	case r.IsZero():
	case r.Codec == Replica:
		if r.K != 1 || r.Shards() > MaxReplicas {
			return fmt.Errorf("redundancy %s: want 1 to %d copies", r, MaxReplicas)
		}
	case r.Codec != XOR && r.Codec != ReedSolomon:
		return fmt.Errorf("redundancy: codec %d is not known; is this program older than the monitors?", r.Codec)
	case r.K < 2 || r.K > MaxDataShards:
		return fmt.Errorf("redundancy %s: want 2 to %d data shards, not %d", r, MaxDataShards, r.K)
	case r.Codec == XOR && r.M != 1:
		return fmt.Errorf("redundancy %s: xor has one parity shard; for more use rs, such as %d:%d:rs", r, r.K, max(2, r.M))
	case r.M < 1 || r.M > MaxParityShards:
		return fmt.Errorf("redundancy %s: want 1 to %d parity shards, not %d", r, MaxParityShards, r.M)
	}
	return nil
}

// ParseRedundancy reads none, replica:N, K:1:xor or K:M:rs.
func ParseRedundancy(s string) (Redundancy, error) {
	bad := func() (Redundancy, error) {
		return Redundancy{}, fmt.Errorf("redundancy %q: want none, replica:N, K:1:xor or K:M:rs, such as replica:3, 4:1:xor or 4:2:rs", s)
	}
	if s == "none" {
		return Redundancy{}, nil
	}
	f := strings.Split(s, ":")
	if len(f) == 2 && f[0] == "replica" {
		n, err := strconv.ParseUint(f[1], 10, 8)
		if err != nil || n == 0 {
			return bad()
		}
		r := Redundancy{Codec: Replica, K: 1, M: uint8(n - 1)}
		return r, r.Check()
	}
	if len(f) != 3 {
		return bad()
	}
	k, err1 := strconv.ParseUint(f[0], 10, 8)
	m, err2 := strconv.ParseUint(f[1], 10, 8)
	if err1 != nil || err2 != nil || k == 0 {
		return bad()
	}
	r := Redundancy{K: uint8(k), M: uint8(m)}
	switch f[2] {
	case "xor":
		r.Codec = XOR
	case "rs":
		r.Codec = ReedSolomon
	default:
		return bad()
	}
	return r, r.Check()
}
