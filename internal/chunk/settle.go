package chunk

import (
	"fmt"

	"github.com/cairnstore/cairn/internal/codec"
	"github.com/cairnstore/cairn/placement"
)

// SettleAttr is the attribute of an object that says how chunks are made of the bytes that it has itself: Settle. An object
// without it is settled as its pool says.
const SettleAttr = "cairn.settle"

// Settle is how an object is settled.
type Settle struct {
	Policy placement.ChunkPolicy // one without redundancy: never
	Tenant string                // who shares chunks with itself if the policy says that tenants do
}

const settleVersion = 1

// Append appends the encoding of s.
func (s *Settle) Append(b []byte) []byte {
	e := codec.NewEncoder(b)
	p := &s.Policy
	e.U8(settleVersion)
	e.U8(uint8(p.Redundancy.Codec))
	e.U8(p.Redundancy.K)
	e.U8(p.Redundancy.M)
	e.U8(uint8(p.Dedup))
	e.U8(uint8(p.Cut))
	e.U8(uint8(p.Packing))
	e.Uvarint(uint64(p.ChunkSize))
	e.Raw([]byte(s.Tenant))
	return e.Bytes()
}

// DecodeSettle reads what Append wrote. Errors match codec.ErrCorrupt, or say that it is newer than this program.
func DecodeSettle(b []byte) (s Settle, err error) {
	d := codec.NewDecoder(b)
	if v := d.U8(); v != settleVersion && d.Err() == nil {
		d.Fail(&codec.VersionError{What: "policy of settling", Got: uint16(v), Max: settleVersion})
	}
	s.Policy = placement.ChunkPolicy{
		Redundancy: placement.Redundancy{Codec: placement.Codec(d.U8()), K: d.U8(), M: d.U8()},
		Dedup:      placement.Dedup(d.U8()), Cut: placement.Cut(d.U8()), Packing: placement.Packing(d.U8()), ChunkSize: d.Uvarint32(),
	}
	s.Tenant = string(d.Raw(d.Left()))
	if err := d.Finish(); err != nil {
		return Settle{}, fmt.Errorf("policy of settling: %w", err)
	}
	if err := s.Policy.Check(); err != nil {
		return Settle{}, fmt.Errorf("policy of settling: %w: %w", codec.ErrCorrupt, err)
	}
	return s, nil
}
