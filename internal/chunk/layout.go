package chunk

import (
	"encoding/binary"
	"fmt"

	"github.com/cairnstore/cairn/internal/codec"
	"github.com/cairnstore/cairn/placement"
)

// Names in an entry of the chunk index, which is an object: its attributes. Its omap has the references (BackRef).
const (
	LayoutAttr    = "layout"    // Layout
	DomainAttr    = "domain"    // EncodeDomain: by which its fingerprint can be verified
	LostAttr      = "lost"      // LostShards or LostBytes: whoever has the same bytes stores them elsewhere
	CondemnedAttr = "condemned" // since when nobody refers to the chunk: unix nanoseconds, 8 bytes, little endian
)

// Values of LostAttr.
const (
	LostShards = ""      // too few of its shards are left
	LostBytes  = "bytes" // its shards are there, and have other bytes than the chunk is named for
)

// Layout says how a chunk is stored and where.
type Layout struct {
	Gen        Gen
	Size       uint32 // bytes of the chunk
	Stored     uint32 // bytes that the shards were made of: Size, or fewer if packed
	Packing    placement.Packing
	Redundancy placement.Redundancy
	Holders    []placement.OSDID // one for each shard; NoOSD: nobody holds it now
}

const layoutVersion = 1

// maxHolders bounds what a damaged encoding can cost.
const maxHolders = placement.MaxDataShards + placement.MaxParityShards

// ShardSize is how many bytes each shard has: all are of one size, the last data shard is filled up with zeros.
func (l *Layout) ShardSize() uint32 {
	k := uint32(max(l.Redundancy.K, 1))
	return (l.Stored + k - 1) / k
}

// Append appends the encoding of l.
func (l *Layout) Append(b []byte) []byte {
	e := codec.NewEncoder(b)
	e.U8(layoutVersion)
	e.U64(uint64(l.Gen))
	e.Uvarint(uint64(l.Size))
	e.Uvarint(uint64(l.Stored))
	e.U8(uint8(l.Packing))
	e.U8(uint8(l.Redundancy.Codec))
	e.U8(l.Redundancy.K)
	e.U8(l.Redundancy.M)
	e.Uvarint(uint64(len(l.Holders)))
	for _, h := range l.Holders {
		e.Varint(int64(h))
	}
	return e.Bytes()
}

// DecodeLayout reads what Append wrote. Errors match codec.ErrCorrupt, or say that it is newer than this program.
func DecodeLayout(b []byte) (Layout, error) {
	d := codec.NewDecoder(b)
	l := decodeLayout(d)
	if err := d.Finish(); err != nil {
		return Layout{}, fmt.Errorf("layout of a chunk: %w", err)
	}
	return l, nil
}

func decodeLayout(d *codec.Decoder) (l Layout) {
	if v := d.U8(); v != layoutVersion && d.Err() == nil {
		d.Fail(&codec.VersionError{What: "layout of a chunk", Got: uint16(v), Max: layoutVersion})
		return l
	}
	l.Gen = Gen(d.U64())
	l.Size, l.Stored = d.Uvarint32(), d.Uvarint32()
	l.Packing = placement.Packing(d.U8())
	l.Redundancy = placement.Redundancy{Codec: placement.Codec(d.U8()), K: d.U8(), M: d.U8()}
	n := d.Count(maxHolders, 1)
	for range n {
		l.Holders = append(l.Holders, placement.OSDID(d.Varint32()))
	}
	if d.Err() != nil {
		return l
	}
	switch err := l.Redundancy.Check(); {
	case err != nil:
		d.Failf("%v", err)
	case l.Gen == 0 || l.Redundancy.IsZero() || len(l.Holders) != l.Redundancy.Shards():
		d.Failf("generation %d, %d holders of %s", l.Gen, len(l.Holders), l.Redundancy)
	case l.Size == 0 || l.Size > MaxBytes || l.Stored == 0 || l.Stored > l.Size:
		d.Failf("%d bytes stored as %d", l.Size, l.Stored)
	}
	return l
}

// MaxBytes is how large a chunk may be.
const MaxBytes = 2 * placement.MaxChunkSize

// BackRef is what the omap of a chunk's entry says of one reference to it.
type BackRef struct {
	Nonce  Nonce
	Pool   placement.PoolID // of the object that refers to the chunk
	Object string
	At     int64 // unix nanoseconds when it was added, by the clock of who added it
}

// Key is the omap key of a BackRef.
func (r *BackRef) Key() string {
	b := make([]byte, 0, len(r.Nonce)+4+len(r.Object))
	b = append(b, r.Nonce[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(r.Pool))
	return string(append(b, r.Object...))
}

// Value is the omap value of a BackRef.
func (r *BackRef) Value() []byte { return binary.LittleEndian.AppendUint64(nil, uint64(r.At)) }

// ParseBackRef reads a pair of the omap of a chunk's entry.
func ParseBackRef(key string, value []byte) (r BackRef, err error) {
	if len(key) <= len(r.Nonce)+4 || len(value) != 8 {
		return r, fmt.Errorf("reference to a chunk: %w: a key of %d bytes, a value of %d", codec.ErrCorrupt, len(key), len(value))
	}
	n := copy(r.Nonce[:], key)
	r.Pool = placement.PoolID(binary.BigEndian.Uint32([]byte(key[n : n+4])))
	r.Object = key[n+4:]
	r.At = int64(binary.LittleEndian.Uint64(value))
	return r, nil
}
