package chunk

import (
	"encoding/binary"
	"fmt"

	"github.com/cairnstore/cairn/placement"
)

// MaxShards is how many shards a chunk has at most.
const MaxShards = placement.MaxDataShards + placement.MaxParityShards

// Shard names a shard of a chunk among those of the chunk's pool that an OSD holds.
type Shard struct {
	Chunk Fingerprint
	Gen   Gen
	Index uint8
}

const shardNameBytes = len(Fingerprint{}) + 9

// Name is the shard's name in the OSD's store. Names are ordered by fingerprint, generation and number.
func (s *Shard) Name() string {
	b := make([]byte, 0, shardNameBytes)
	b = append(b, s.Chunk[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Gen))
	return string(append(b, s.Index))
}

// ParseShardName is the inverse of Name; ok is false for what is no name of a shard.
func ParseShardName(name string) (s Shard, ok bool) {
	if len(name) != shardNameBytes {
		return s, false
	}
	n := copy(s.Chunk[:], name)
	s.Gen = Gen(binary.BigEndian.Uint64([]byte(name[n:])))
	s.Index = name[n+8]
	return s, s.Chunk[0] != 0 && s.Gen != 0 && s.Index < MaxShards
}

// String names it for people.
func (s *Shard) String() string {
	return fmt.Sprintf("shard %d of chunk %s, generation %016x", s.Index, s.Chunk, uint64(s.Gen))
}
