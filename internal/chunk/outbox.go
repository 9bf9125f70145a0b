package chunk

import (
	"encoding/binary"

	"github.com/cairnstore/cairn/placement"
)

// outboxLead is how many bytes precede the object's name in that of an outbox record, after its mark and kind.
const outboxLead = 4 + 8

// OutboxName is the name of the outbox record that the log's entry of that position creates, for references that an
// object has lost.
func OutboxName(term placement.Term, seq uint64, object string) string {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, outboxLead), uint32(term))
	return placement.RecordName(placement.Outbox, binary.BigEndian.AppendUint64(b, seq), object)
}

// OutboxOf is the inverse of OutboxName.
func OutboxOf(name string) (term placement.Term, seq uint64, object string, ok bool) {
	if k, rec := placement.RecordOf(name); !rec || k != placement.Outbox || len(name) <= 2+outboxLead {
		return 0, 0, "", false
	}
	b := []byte(name[2 : 2+outboxLead])
	return placement.Term(binary.BigEndian.Uint32(b)), binary.BigEndian.Uint64(b[4:]), name[2+outboxLead:], true
}

// VoidRefName is the name of the record that says that a reference of an object must never be made.
func VoidRefName(n Nonce, object string) string {
	return placement.RecordName(placement.VoidRef, n[:], object)
}

// VoidChunkName is the name of the record that says that a chunk of that generation must never have an entry in the index.
func VoidChunkName(g Gen, f Fingerprint) string {
	return placement.RecordName(placement.VoidChunk, binary.BigEndian.AppendUint64(nil, uint64(g)), f.IndexName())
}
