package chunk

import (
	"fmt"

	"github.com/cairnstore/cairn/internal/codec"
)

// Dropped is a reference that an object does not have any more. An outbox record's data is a list of them.
type Dropped struct {
	Chunk Fingerprint
	Nonce Nonce
}

const droppedVersion = 1

// MaxDropped is how many references one outbox record can list: those of the largest object cut as finely as can be.
const MaxDropped = 64 << 10

// AppendDropped appends the encoding of a list.
func AppendDropped(b []byte, list []Dropped) []byte {
	e := codec.NewEncoder(b)
	e.U8(droppedVersion)
	e.Uvarint(uint64(len(list)))
	for i := range list {
		e.Raw(list[i].Chunk[:])
		e.Raw(list[i].Nonce[:])
	}
	return e.Bytes()
}

// DecodeDropped reads what AppendDropped wrote. Errors match codec.ErrCorrupt, or say that it is newer than this program.
func DecodeDropped(b []byte) ([]Dropped, error) {
	d := codec.NewDecoder(b)
	if v := d.U8(); v != droppedVersion && d.Err() == nil {
		d.Fail(&codec.VersionError{What: "list of dropped references", Got: uint16(v), Max: droppedVersion})
	}
	var one Dropped
	list := make([]Dropped, 0, d.Count(MaxDropped, len(one.Chunk)+len(one.Nonce)))
	for range cap(list) {
		copy(one.Chunk[:], d.Raw(len(one.Chunk)))
		copy(one.Nonce[:], d.Raw(len(one.Nonce)))
		list = append(list, one)
	}
	if err := d.Finish(); err != nil {
		return nil, fmt.Errorf("list of dropped references: %w", err)
	}
	return list, nil
}
