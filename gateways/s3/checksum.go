package s3

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"net/http"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/minio/crc64nvme"
	"github.com/zeebo/xxh3"

	"github.com/cairnstore/cairn/client/bucket"
)

// checksumAlgorithm is one of S3's additional checksums.
type checksumAlgorithm struct {
	name string // as in x-amz-checksum-algorithm
	new  func() hash.Hash
	size int
	// poly is the reflected polynomial of a CRC: those of parts can be combined to that of the whole.
	poly uint64
}

var checksumAlgorithms = []checksumAlgorithm{
	{"CRC32", func() hash.Hash { return crc32.NewIEEE() }, 4, crc32.IEEE},
	{"CRC32C", func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }, 4, crc32.Castagnoli},
	{"CRC64NVME", func() hash.Hash { return crc64nvme.New() }, 8, 0x9a6c9329ac4bc9b5},
	{"SHA1", sha1.New, sha1.Size, 0},
	{"SHA256", sha256.New, sha256.Size, 0},
	{"SHA512", sha512.New, sha512.Size, 0},
	{"MD5", md5.New, md5.Size, 0},
	{"XXHASH64", func() hash.Hash { return xxhash.New() }, 8, 0},
	{"XXHASH3", func() hash.Hash { return xxh3.New() }, 8, 0},
	{"XXHASH128", func() hash.Hash { return wide{xxh3.New()} }, 16, 0},
}

// wide is the 128-bit sum of the same function as XXHASH3.
type wide struct{ *xxh3.Hasher }

func (w wide) Size() int { return 16 }

func (w wide) Sum(b []byte) []byte {
	s := w.Sum128().Bytes()
	return append(b, s[:]...)
}

const checksumPrefix = "x-amz-checksum-"

func checksumByName(name string) *checksumAlgorithm {
	i := slices.IndexFunc(checksumAlgorithms, func(a checksumAlgorithm) bool { return a.name == strings.ToUpper(name) })
	if i < 0 {
		return nil
	}
	return &checksumAlgorithms[i]
}

func (a *checksumAlgorithm) header() string { return checksumPrefix + strings.ToLower(a.name) }

// unknownChecksum refuses an algorithm.
func unknownChecksum() *apiError {
	return apiErr("InvalidRequest", "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, MD5, SHA1, SHA256, SHA512, XXHASH128, XXHASH3, XXHASH64]")
}

// parse decodes a checksum's value.
func (a *checksumAlgorithm) parse(value string) ([]byte, *apiError) {
	b, err := base64.StdEncoding.DecodeString(value)
	if err != nil || len(b) != a.size {
		return nil, apiErr("InvalidRequest", "Value for %s header is invalid.", a.header())
	}
	return b, nil
}

func notBase64(r rune) bool {
	return !(r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '+' || r == '/')
}

// checksumHeader finds the checksum that the header (or trailer) carries.
func checksumHeader(h http.Header) (*checksumAlgorithm, []byte, *apiError) {
	var found *checksumAlgorithm
	var value []byte
	for name, vs := range h {
		suffix, ok := strings.CutPrefix(strings.ToLower(name), checksumPrefix)
		if !ok || suffix == "type" || suffix == "algorithm" || suffix == "mode" {
			continue
		}
		a := checksumByName(suffix)
		switch {
		case a == nil:
			return nil, nil, apiErr("InvalidRequest", "The algorithm type you specified in x-amz-checksum- header is invalid.")
		case found != nil || len(vs) != 1:
			return nil, nil, apiErr("InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		v, err := a.parse(vs[0])
		if err != nil && len(vs[0])%4 != 0 && !strings.ContainsFunc(vs[0], notBase64) {
			v, err = []byte(vs[0]), nil // an encoding that was cut off is the checksum of nothing: Ceph says BadDigest
		}
		if err != nil {
			return nil, nil, err
		}
		found, value = a, v
	}
	return found, value, nil
}

// combineChecksums makes the checksum of a multipart object from its parts'.
func combineChecksums(u bucket.Upload, parts []*bucket.Part) ([]bucket.Checksum, error) {
	a := checksumByName(u.Algorithm)
	if a == nil {
		return nil, nil
	}
	h := a.new()
	var whole uint64
	for i, p := range parts {
		if p.Checksum == nil || p.Checksum.Algorithm != a.name {
			return nil, apiErr("InvalidRequest", "The upload was created using a %s checksum. The complete request must include the checksum for each part. It was missing for part %d in the request.", strings.ToLower(a.name), p.Number)
		}
		if !u.FullObject {
			h.Write(p.Checksum.Value)
			continue
		}
		v := crcValue(p.Checksum.Value)
		if i > 0 {
			v ^= crcShift(whole, uint64(p.Size), a.poly, uint(8*a.size))
		}
		whole = v
	}
	if !u.FullObject {
		return []bucket.Checksum{{Algorithm: a.name, Value: h.Sum(nil), Composite: true}}, nil
	}
	b := binary.BigEndian.AppendUint64(nil, whole)
	return []bucket.Checksum{{Algorithm: a.name, Value: b[8-a.size:]}}, nil
}

func crcValue(b []byte) (v uint64) {
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v
}

// crcShift returns the CRC of n zero bytes appended to what crc is of, in the
// arithmetic where appending bytes is multiplication by x^8 modulo the polynomial.
func crcShift(crc, n, poly uint64, width uint) uint64 {
	one := uint64(1) << (width - 1) // x^0: CRCs are kept with the lowest power in the highest bit
	power, square := one, one>>8    // x^0, x^8
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			power = crcMultiply(power, square, poly, width)
		}
		square = crcMultiply(square, square, poly, width)
	}
	return crcMultiply(crc, power, poly, width)
}

func crcMultiply(a, b, poly uint64, width uint) (product uint64) {
	for m := uint64(1) << (width - 1); m != 0; m >>= 1 {
		if a&m != 0 {
			product ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ poly
		} else {
			b >>= 1
		}
	}
	return product
}

// writeChecksums puts an object's checksums into an answer.
func writeChecksums(h http.Header, sums []bucket.Checksum, parts int) {
	for _, c := range sums {
		a := checksumByName(c.Algorithm)
		if a == nil {
			continue
		}
		h.Set(a.header(), checksumText(c, parts))
		h.Set("x-amz-checksum-type", checksumType(c))
	}
}

func checksumText(c bucket.Checksum, parts int) string {
	v := base64.StdEncoding.EncodeToString(c.Value)
	if c.Composite {
		v += "-" + itoa(parts)
	}
	return v
}

func checksumType(c bucket.Checksum) string {
	if c.Composite {
		return "COMPOSITE"
	}
	return "FULL_OBJECT"
}
