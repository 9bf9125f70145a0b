package placement

// ChunkPolicy says how clients make chunks of what they write to a pool. With a zero Redundancy they make none.
// A bucket may have another one than its pool.
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
)
