package chunk

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/minio/crc64nvme"
	"github.com/zeebo/blake3"

	"github.com/cairnstore/cairn/placement"
)

// ClusterDomain is the dedup domain that everybody shares. The domain of a tenant is its name.
const ClusterDomain = ""

// Domain returns the part of a tenant's dedup domain, or of the cluster's, in which chunks survive the loss of as many
// holders as with r. Whoever wants more must not share with those who want less; 4:2:rs and replica:3 share.
func Domain(of string, r placement.Redundancy) string {
	return of + "\x00" + strconv.Itoa(int(r.M))
}

// TenantOf returns whose a domain is, the first argument of Domain.
func TenantOf(domain string) string {
	of, _, _ := strings.Cut(domain, "\x00")
	return of
}

// domainContext keeps these digests apart from all others that are made of the same bytes anywhere.
const domainContext = "cairn 2026-11 fingerprints of chunks: domain"

// Of returns the fingerprint of data in a dedup domain. Equal bytes have equal fingerprints in the same domain only: the
// digest is keyed by the domain. It panics for an algorithm that is not known: those come from this program, not from
// input.
func Of(algorithm byte, domain string, data []byte) (f Fingerprint) {
	f[0] = algorithm
	switch algorithm {
	case BLAKE3:
		var key [32]byte
		blake3.DeriveKey(domainContext, []byte(domain), key[:])
		h, err := blake3.NewKeyed(key[:])
		if err != nil {
			panic(err) // the key has the wanted length
		}
		h.Write(data)
		h.Sum(f[:1])
	case SHA256:
		key := sha256.Sum256([]byte(domainContext + "\x00" + domain))
		h := hmac.New(sha256.New, key[:])
		h.Write(data)
		h.Sum(f[:1])
	default:
		panic(fmt.Sprintf("fingerprint algorithm %d is not known", algorithm))
	}
	return f
}

// OwnRandom is how many bytes of the name of a chunk that is not shared are random.
const OwnRandom = 24

// OwnOf returns a fingerprint of data that nobody else has: for chunks that are not shared. Its first argument is random;
// the rest is a checksum, so that what such a chunk has can be verified as well, at a fiftieth of the cost of a digest.
func OwnOf(random [OwnRandom]byte, data []byte) (f Fingerprint) {
	f[0] = Own
	n := 1 + copy(f[1:], random[:])
	binary.BigEndian.PutUint64(f[n:], crc64nvme.Checksum(data))
	return f
}

// Errors of Verify.
var (
	ErrOtherBytes   = errors.New("the bytes are not those that the chunk is named for")
	ErrUnverifiable = errors.New("the fingerprint cannot be verified: it is not known of which dedup domain it is")
)

// Verify holds data against a fingerprint. domain is what DecodeDomain returned, "" if that is not known. The error is nil,
// ErrOtherBytes or ErrUnverifiable.
func (f Fingerprint) Verify(domain string, data []byte) error {
	var want Fingerprint
	switch {
	case f[0] == Own:
		want = OwnOf([OwnRandom]byte(f[1:1+OwnRandom]), data)
	case f.Verifiable(domain):
		want = Of(f[0], domain, data)
	default:
		return ErrUnverifiable
	}
	if want != f {
		return ErrOtherBytes
	}
	return nil
}

// Verifiable reports whether Verify can tell.
func (f Fingerprint) Verifiable(domain string) bool {
	return f[0] == Own || domain != "" && (f[0] == BLAKE3 || f[0] == SHA256)
}

const domainVersion = 1

// EncodeDomain returns the value of DomainAttr for what Domain returned.
func EncodeDomain(domain string) []byte { return append([]byte{domainVersion}, domain...) }

// DecodeDomain is the inverse of EncodeDomain. It returns "" for what a newer version wrote, or nobody: such a chunk
// cannot be verified, and is as good as any other.
func DecodeDomain(b []byte) string {
	if len(b) < 2 || b[0] != domainVersion {
		return ""
	}
	return string(b[1:])
}
