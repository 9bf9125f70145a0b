package placement

import (
	"encoding/binary"
	"math/bits"

	"github.com/minio/highwayhash"
)

// The keys of the three uses of HighwayHash in placement. They are published
// constants, not secrets: they separate the uses from each other, so that a
// pattern in one never shows in another. Changing one moves all data.
const (
	nameKey  = "cairn: object name -> PG hash v1" // name -> shard
	crushKey = "cairn: PG -> CRUSH input hash v1" // PG -> CRUSH input
	rowKey   = "cairn: PG -> row score hash v1.." // (PG, OSD) -> place in the FlexHash row
)

// PGOf returns the PG that holds the object of that name in pool p.
func PGOf(p *Pool, name string) PGID {
	return PGOfHash(p, NameHash(name))
}

// PGOfHash returns the PG of something that has a uniform 64-bit hash of its own.
func PGOfHash(p *Pool, hash uint64) PGID {
	return PGID{Pool: p.ID, Shard: StableMod(hash, p.PGNum)}
}

// NameHash returns the HighwayHash-64 of an object's name. Its low bits choose
// the PG; listings that need an order spread over PGs may use it too. A record (RecordMark) has
// the hash of the object it belongs to.
func NameHash(name string) uint64 {
	if IsRecord(name) {
		name = Locator(name)
	}
	// Names are short: this copy stays on the stack, a conversion would not always.
	var buf [256]byte
	return sum64(append(buf[:0], name...), nameKey)
}

// StableMod maps x evenly to 0..n-1 such that raising n splits and moves nothing
// else: what was in shard s stays in s or goes to a new shard, and each new shard
// takes from exactly one old one (SplitParent). It is even when n is a power of
// two; between two powers some shards are twice as large as others. n of zero
// gives zero.
func StableMod(x uint64, n uint32) uint32 {
	if n == 0 {
		return 0
	}
	mask := shardMask(n)
	if s := uint32(x) & mask; s < n {
		return s
	}
	return uint32(x) & (mask >> 1)
}

// SplitParent returns the shard, among the first oldNum, that held the contents
// of shard before the pool grew from oldNum PGs to more: shard itself when it
// existed, else the one it split from.
func SplitParent(shard, oldNum uint32) uint32 {
	return StableMod(uint64(shard), oldNum)
}

// SplitChildren returns, in order, the shards that shard splits off when the pool grows
// from oldNum PGs to newNum; none if oldNum is zero.
func SplitChildren(shard, oldNum, newNum uint32) []uint32 {
	var kids []uint32
	for c := oldNum; oldNum > 0 && c < newNum; c++ {
		if SplitParent(c, oldNum) == shard {
			kids = append(kids, c)
		}
	}
	return kids
}

// shardMask returns the smallest 2^k-1 that is at least n-1.
func shardMask(n uint32) uint32 {
	return uint32(1<<bits.Len32(n-1) - 1)
}

// crushInput returns CRUSH's x for a PG. Hashing pool and shard together keeps
// equal shards of different pools from sharing their OSDs; a key of its own keeps
// placement independent of how names fell into shards.
func crushInput(id PGID) uint32 {
	var b [8]byte
	binary.LittleEndian.PutUint32(b[:], uint32(id.Pool))
	binary.LittleEndian.PutUint32(b[4:], id.Shard)
	return uint32(sum64(b[:], crushKey))
}

// rowHash returns the uniform number that, with the OSD's weight, decides the
// OSD's place in the PG's row.
func rowHash(id PGID, osd OSDID) uint64 {
	var b [12]byte
	binary.LittleEndian.PutUint32(b[:], uint32(id.Pool))
	binary.LittleEndian.PutUint32(b[4:], id.Shard)
	binary.LittleEndian.PutUint32(b[8:], uint32(osd))
	return sum64(b[:], rowKey)
}

func sum64(b []byte, key string) uint64 {
	var k [highwayhash.Size]byte
	copy(k[:], key)
	return highwayhash.Sum64(b, k[:])
}
