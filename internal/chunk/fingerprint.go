package chunk

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"strconv"

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

// OwnDomain is a dedup domain that nothing else is in: for chunks that must not be shared. Its argument is random.
func OwnDomain(random [32]byte) string {
	// No tenant's name has a zero byte.
	return "\x00own\x00" + string(random[:])
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
