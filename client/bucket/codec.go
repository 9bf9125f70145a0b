package bucket

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// Format is the version of what this package stores. Every stored value begins
// with this byte; a larger one is refused, never guessed at.
const Format = 1

// FormatKeeps is the format of the record of a bucket whose index may have records of deleted objects. Who does not know them
// must not touch the bucket: he would lose them in a split, and remove what should be kept.
const FormatKeeps = 2

// FormatCounts is the format of the range of a partition that counts what it holds. Who does not know that would make its counts wrong.
const FormatCounts = 2

// FormatSnapshots is the format of ranges, entries and records that snapshots have to do with. Who knows nothing of those would remove
// what snapshots have.
const FormatSnapshots = 3

// Limits of the namespace.
const (
	MaxKeyBytes     = 1024
	MaxHeaderBytes  = 64 << 10 // all Headers of one object, encoded
	MaxParts        = 10_000
	MinPartBytes    = 5 << 20
	MaxPartBytes    = 5 << 30
	MaxPutBytes     = 5 << 30
	MaxObjectBytes  = 5 << 40
	MaxListEntries  = 1000
	MaxBucketsTotal = 100_000
)

// The names of objects. Ids are written in hex, so a name never needs quoting.
const (
	registryObject = "s3.buckets"
	rangeAttr      = "range"  // of a partition: bucketpb.Range
	uploadAttr     = "upload" // of an upload's object: bucketpb.Upload
	stateAttr      = "state"  // of an upload's object: open, or closed and when
	firstPartition = 1        // number of the partition a bucket begins with
)

// The first byte of an omap key says what kind of record it is.
const (
	kindEntry       = 'k' // key -> Entry
	kindBody        = 'b' // key -> inline body or Manifest
	kindMarker      = 'm' // key -> Entry that is a delete marker, while that is current
	kindVersion     = 'v' // key 00 inverse seq -> Entry that is not current
	kindVersionBody = 'w' // key 00 inverse seq -> its inline body or Manifest
	kindIntent      = 'i' // key 00 id -> Intent
	kindUpload      = 'u' // key 00 id -> Upload
	kindOutbox      = 'o' // due id -> Outbox; belongs to the partition, not to a key
	kindBucket      = 'n' // registry: name -> Bucket
	kindDead        = 'd' // registry: id -> Bucket that was deleted but not yet cleaned up
	kindChild       = 'c' // root: start -> Child
	kindPart        = 'p' // upload: number -> Part
	kindAttempt     = 'a' // upload: id -> Attempt

	kindHeld     = 'h' // key 00 died inverse seq -> Entry that only snapshots have
	kindHeldBody = 'j' // key 00 died inverse seq -> its inline body or Manifest

	kindSnapshot  = 's' // root: number -> Snapshot
	kindSnapshots = 'e' // root: Snapshots

	kindCounts    = 'q' // counters of what the partition holds
	kindShares    = 'q' // root: Shares of the quota
	kindUserQuota = 'q' // registry: user -> Quota

	kindEvent    = 'e' // topic 00 time id -> what is to be told of a change
	kindClaim    = 'E' // who delivers the events of the partition
	kindTopic    = 'g' // topics: name -> what the gateways know of it
	kindNotifies = 'n' // topics: id of a bucket that tells of its changes -> its name

	kindKept     = 'x' // key 00 name -> Kept, an object that was deleted and can be brought back
	kindKeptBody = 'y' // key 00 name -> its inline body or Manifest
	kindExpiry   = 't' // expiry key 00 name -> nothing; of each kept object
)

// keyEnd sorts after every key: keys are UTF-8, which has no byte ff.
const keyEnd = "\xff"

type id [16]byte

func newID() (x id) {
	rand.Read(x[:]) // never fails: crypto/rand stops the process instead
	return x
}

// newUploadID makes ids that sort by the time of their making: uploads of the same
// key are listed in the order in which they began.
func newUploadID(now time.Time) id {
	x := newID()
	var us [8]byte
	binary.BigEndian.PutUint64(us[:], uint64(now.UnixMicro()))
	copy(x[:], us[1:]) // 56 bits of microseconds last for 2,000 years
	return x
}

func (x id) String() string { return hex.EncodeToString(x[:]) }

func parseID(s string) (x id, ok bool) {
	if len(s) != 2*len(x) || strings.ToLower(s) != s {
		return x, false
	}
	_, err := hex.Decode(x[:], []byte(s))
	return x, err == nil
}

func idOf(b []byte) (x id, err error) {
	if len(b) != len(x) {
		return x, fmt.Errorf("%w: an id of %d bytes", ErrCorrupt, len(b))
	}
	return id(b), nil
}

func newRevision() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

func rootObject(b id) string               { return "s3." + b.String() }
func partObject(b id, n uint64) string     { return fmt.Sprintf("s3.%s.%x", b, n) }
func uploadObject(u id) string             { return "s3.up." + u.String() }
func dataObject(d id, n uint32) string     { return fmt.Sprintf("s3.data.%s.%x", d, n) }
func omapKey(kind byte, key string) string { return string(kind) + key }

func intentKey(key string, x id) string { return string(kindIntent) + key + "\x00" + x.String() }
func uploadKey(key string, x id) string { return string(kindUpload) + key + "\x00" + x.String() }

// splitKey takes the key and the id out of an intent's or upload's omap key.
func splitKey(omap string) (key string, x id, err error) {
	i := strings.IndexByte(omap, 0)
	if i < 1 {
		return "", x, fmt.Errorf("%w: omap key %q", ErrCorrupt, omap)
	}
	x, ok := parseID(omap[i+1:])
	if !ok {
		return "", x, fmt.Errorf("%w: omap key %q", ErrCorrupt, omap)
	}
	return omap[1:i], x, nil
}

func outboxKey(due time.Time, x id) string { return outboxBound(due) + x.String() }
func outboxBound(due time.Time) string {
	return fmt.Sprintf("%c%016x", kindOutbox, max(due.UnixNano(), 0))
}

func outboxDue(key string) (time.Time, error) {
	var ns int64
	if len(key) < 17 {
		return time.Time{}, fmt.Errorf("%w: outbox key %q", ErrCorrupt, key)
	}
	if _, err := fmt.Sscanf(key[1:17], "%x", &ns); err != nil {
		return time.Time{}, fmt.Errorf("%w: outbox key %q", ErrCorrupt, key)
	}
	return time.Unix(0, ns), nil
}

func partKey(number uint32) string { return fmt.Sprintf("%c%05d", kindPart, number) }
func attemptKey(x id) string       { return string(kindAttempt) + x.String() }

type message interface {
	SizeVT() int
	MarshalToSizedBufferVT([]byte) (int, error)
	UnmarshalVT([]byte) error
}

// encode writes the format byte and the message.
func encode(m message) []byte {
	b := make([]byte, 1+m.SizeVT())
	b[0] = formatOf(m)
	if _, err := m.MarshalToSizedBufferVT(b[1:]); err != nil {
		// Only a buffer of the wrong size can fail here: the message changed between the two calls.
		panic(fmt.Sprintf("bucket: encode %T: %v", m, err))
	}
	return b
}

// formatOf is the format of a message. Processes that know nothing of sealed bodies must not take them for others.
func formatOf(m message) byte {
	switch m := m.(type) {
	case *bucketpb.Entry:
		return entryFormat(m)
	case *bucketpb.Kept:
		return entryFormat(m.Entry)
	case *bucketpb.Range:
		switch {
		case m.Snapshot > 0 || m.Freezing > 0:
			return FormatSnapshots
		case len(m.Counted) > 0 || m.Allotment != nil:
			return FormatCounts
		}
	}
	return Format
}

func decode(b []byte, m message) error {
	switch m.(type) {
	case *bucketpb.Entry, *bucketpb.Kept, *bucketpb.Range:
		return decodeUpTo(FormatSnapshots, b, m)
	}
	return decodeUpTo(Format, b, m)
}

func entryFormat(e *bucketpb.Entry) byte {
	switch {
	case e.GetShared() || e.GetBorrowed():
		return FormatSnapshots
	case e.GetStored() > 0:
		return sealedFormat
	}
	return Format
}

func decodeUpTo(format byte, b []byte, m message) error {
	switch {
	case len(b) == 0:
		return fmt.Errorf("%w: empty %T", ErrCorrupt, m)
	case b[0] > format:
		return fmt.Errorf("%w: %T of format %d, this version knows %d", ErrNewerFormat, m, b[0], format)
	case b[0] == 0:
		return fmt.Errorf("%w: %T of format %d", ErrCorrupt, m, b[0])
	}
	if err := m.UnmarshalVT(b[1:]); err != nil {
		return fmt.Errorf("%w: %T: %v", ErrCorrupt, m, err)
	}
	return nil
}

// CheckKey says whether a key may name an object.
func CheckKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("%w: a key is empty", ErrInvalidName)
	case len(key) > MaxKeyBytes:
		return fmt.Errorf("%w: a key of %d bytes, at most %d are allowed", ErrInvalidName, len(key), MaxKeyBytes)
	case strings.IndexByte(key, 0) >= 0:
		return fmt.Errorf("%w: a key with a NUL byte", ErrInvalidName)
	case !utf8.ValidString(key):
		return fmt.Errorf("%w: a key that is not UTF-8", ErrInvalidName)
	}
	return nil
}

// CheckName says whether a bucket may have this name: 3 to 63 lower-case letters,
// digits, dots and dashes, a letter or digit at both ends and between dots.
func CheckName(name string) error {
	if len(name) < 3 || len(name) > 63 {
		return fmt.Errorf("%w: bucket name %q: use 3 to 63 characters", ErrInvalidName, name)
	}
	alnum := func(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
	digits := true
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case alnum(c):
		case c != '.' && c != '-':
			return fmt.Errorf("%w: bucket name %q: use lower-case letters, digits, dots and dashes", ErrInvalidName, name)
		case i == 0 || i == len(name)-1 || (c == '.' || name[i-1] == '.') && !(alnum(name[i-1]) && alnum(name[i+1])):
			return fmt.Errorf("%w: bucket name %q: a letter or digit must stand at both ends and beside dots", ErrInvalidName, name)
		}
		if c >= 'a' && c <= 'z' || c == '-' {
			digits = false
		}
	}
	if digits && strings.Count(name, ".") == 3 {
		return fmt.Errorf("%w: bucket name %q looks like an IP address", ErrInvalidName, name)
	}
	return nil
}

// prefixEnd returns the smallest string above all strings that begin with prefix.
func prefixEnd(prefix string) string {
	b := []byte(prefix)
	for len(b) > 0 {
		if last := len(b) - 1; b[last] < 0xff {
			b[last]++
			return string(b)
		}
		b = b[:len(b)-1]
	}
	return keyEnd
}

// failed tells which operation of an Op did not hold: its index, and whether the
// object or a condition was missing.
func failed(err error) (index int, conflict, missing bool) {
	var oe *client.OpError
	index = -1
	if errors.As(err, &oe) {
		index = oe.Index
	}
	return index, errors.Is(err, client.ErrConflict), errors.Is(err, client.ErrNotFound)
}

func chunks(size int64, chunk uint32) uint32 {
	if size <= 0 {
		return 0
	}
	return uint32((size + int64(chunk) - 1) / int64(chunk))
}

// dataRefs lists the data objects of an entry. body is the entry's body value,
// needed for multipart objects.
func dataRefs(e *bucketpb.Entry, body []byte) ([]*bucketpb.DataRef, error) {
	if e.Marker || e.Borrowed {
		return nil, nil
	}
	switch e.Layout {
	case bucketpb.Layout_INLINE:
		return nil, nil
	case bucketpb.Layout_DATA:
		if e.ChunkSize == 0 {
			return nil, fmt.Errorf("%w: entry without a chunk size", ErrCorrupt)
		}
		return []*bucketpb.DataRef{{Id: e.Id, Count: chunks(storedOf(e), e.ChunkSize)}}, nil
	case bucketpb.Layout_PARTS:
		m, err := manifestOf(body)
		if err != nil {
			return nil, err
		}
		refs := make([]*bucketpb.DataRef, 0, len(m.Parts))
		for _, p := range m.Parts {
			refs = append(refs, &bucketpb.DataRef{Id: p.Id, Count: chunks(storedOf(p), p.ChunkSize)})
		}
		return refs, nil
	}
	return nil, fmt.Errorf("%w: entry of layout %d", ErrNewerFormat, e.Layout)
}

func manifestOf(body []byte) (*bucketpb.Manifest, error) {
	m := new(bucketpb.Manifest)
	if err := decode(body, m); err != nil {
		return nil, err
	}
	for _, p := range m.Parts {
		if len(p.Id) != len(id{}) || p.ChunkSize == 0 {
			return nil, fmt.Errorf("%w: manifest part %d", ErrCorrupt, p.Number)
		}
	}
	return m, nil
}
