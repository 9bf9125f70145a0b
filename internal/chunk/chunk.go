// Package chunk has the types of the chunk plane that clients and OSDs share: fingerprints, references, layouts,
// and their encodings (docs/formats/chunks.md).
//
// A chunk is immutable: bytes named by their fingerprint. Its shards (copies, or pieces of an erasure code) lie in the
// stores of some OSDs of its PG's row. Which ones is in its entry in the chunk index, an object of the PG like any
// other, which also lists who refers to the chunk. Objects refer to chunks by references in their omap.
package chunk

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/cairnstore/cairn/placement"
)

// Fingerprint names a chunk: an algorithm, then 32 bytes, most often its digest of the dedup domain and the bytes.
type Fingerprint [33]byte

// The algorithms of fingerprints.
const (
	BLAKE3 = 1
	SHA256 = 2
	Own    = 3 // of no dedup domain: random bytes and a checksum, see OwnOf
)

// String returns the algorithm and the digest, such as blake3:0a1b...
func (f Fingerprint) String() string {
	name := ""
	switch f[0] {
	case BLAKE3:
		name = "blake3"
	case SHA256:
		name = "sha256"
	case Own:
		name = "own"
	default:
		name = fmt.Sprintf("algorithm%d", f[0])
	}
	return name + ":" + hex.EncodeToString(f[1:])
}

// ParseFingerprint is the inverse of String.
func ParseFingerprint(s string) (f Fingerprint, err error) {
	name, digest, _ := strings.Cut(s, ":")
	for _, f[0] = range []byte{BLAKE3, SHA256, Own} {
		if !strings.HasPrefix(f.String(), name+":") {
			continue
		}
		if len(digest) == hex.EncodedLen(len(f)-1) {
			if _, err := hex.Decode(f[1:], []byte(digest)); err == nil {
				return f, nil
			}
		}
		break
	}
	return Fingerprint{}, fmt.Errorf("%q is no fingerprint: want blake3, sha256 or own, a colon, and %d hexadecimal digits", s, hex.EncodedLen(len(f)-1))
}

// IndexName is the name of a chunk's entry in the chunk index of its pool.
func (f Fingerprint) IndexName() string {
	return placement.RecordName(placement.ChunkEntry, f[:], "")
}

// FingerprintOf is the inverse of IndexName.
func FingerprintOf(name string) (f Fingerprint, ok bool) {
	if k, rec := placement.RecordOf(name); !rec || k != placement.ChunkEntry || len(name) != 2+len(f) {
		return f, false
	}
	copy(f[:], name[2:])
	return f, true
}

// Gen tells apart the times that the same chunk was stored: a random number, never 0.
type Gen uint64

// Nonce names one reference for ever: random bytes.
type Nonce [16]byte

// String returns it in hexadecimal.
func (n Nonce) String() string { return hex.EncodeToString(n[:]) }

// Range is bytes From to To (exclusive) of an object.
type Range struct{ From, To uint64 }

// Len is how many bytes it has.
func (r Range) Len() uint64 { return r.To - r.From }
