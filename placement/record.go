package placement

import "strings"

// Records are objects that cairn keeps for itself beside those of clients, in the same pools and PGs and by the
// same protocol. Their names begin with RecordMark and a RecordKind. Some belong to another object and must stay in
// its PG, also when that is split: such a name ends with the other's.
const RecordMark = '\x00'

// RecordKind says what a record is: the second byte of its name.
type RecordKind byte

// The kinds of records. docs/formats/chunks.md has what is in them.
const (
	ChunkEntry RecordKind = 'c' // an entry of the chunk index; a 33-byte fingerprint follows
	Outbox     RecordKind = 'o' // references of an object that were dropped; 12 bytes of a log position and the object's name follow
	VoidRef    RecordKind = 'v' // a reference that must never be made; its 16-byte nonce and the object's name follow
	VoidChunk  RecordKind = 'g' // a chunk's generation that must never be indexed; 8 bytes of it and the chunk entry's name follow
	Condemned  RecordKind = 'd' // a chunk to which nobody referred; 8 bytes of when (unix ns, big endian) and the chunk entry's name follow
)

// recordLead is how many bytes of a record's name precede the name of the object that it belongs to; 0: to none.
func recordLead(k RecordKind) int {
	switch k {
	case Outbox:
		return 2 + 12
	case VoidRef:
		return 2 + 16
	case VoidChunk, Condemned:
		return 2 + 8
	}
	return 0
}

// MaxRecordLead is by how many bytes a record's name may be longer than that of the object that it belongs to.
const MaxRecordLead = 2 + 16

// IsRecord reports whether an object of that name is cairn's own, not a client's.
func IsRecord(name string) bool { return name != "" && name[0] == RecordMark }

// RecordOf returns the kind of a record; ok is false for names of other objects.
func RecordOf(name string) (k RecordKind, ok bool) {
	if len(name) < 2 || name[0] != RecordMark {
		return 0, false
	}
	return RecordKind(name[1]), true
}

// RecordName makes the name of a record: lead is what its kind wants before the name of the object that it belongs to.
func RecordName(k RecordKind, lead []byte, object string) string {
	var b strings.Builder
	b.Grow(2 + len(lead) + len(object))
	b.WriteByte(RecordMark)
	b.WriteByte(byte(k))
	b.Write(lead)
	b.WriteString(object)
	return b.String()
}

// Locator returns the name that decides the PG of an object: its own, or that of the object it belongs to.
func Locator(name string) string {
	for {
		k, ok := RecordOf(name)
		n := recordLead(k)
		if !ok || n == 0 || len(name) <= n {
			return name
		}
		name = name[n:]
	}
}
