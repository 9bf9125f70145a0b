package torture

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strconv"
	"strings"
)

// value returns the n-th value of an object. It can be made again from name and
// number, so that what is read need not be remembered to be checked.
func value(object string, n uint64, size int) []byte {
	seed := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d", object, n))
	b := make([]byte, size)
	_, _ = rand.NewChaCha8(seed).Read(b) // never fails
	if size >= 8 {
		binary.BigEndian.PutUint64(b, n) // tells whose bytes these are if they are not those expected
	}
	return b
}

// label is what goes into an attribute and an omap key next to a value.
func label(n uint64, size int) string { return fmt.Sprintf("%d/%d", n, size) }

func parseLabel(s string) (n uint64, size int, err error) {
	a, b, ok := strings.Cut(s, "/")
	if ok {
		if n, err = strconv.ParseUint(a, 10, 64); err == nil {
			size, err = strconv.Atoi(b)
		}
	}
	if !ok || err != nil {
		return 0, 0, fmt.Errorf("label %q is none of ours", s)
	}
	return n, size, nil
}

// checkValue compares what was read of an object: bytes, attribute and omap key
// must be those of one and the same write. It returns the number of that write.
func checkValue(object string, data []byte, attr, omap string) (uint64, error) {
	if attr != omap {
		return 0, fmt.Errorf("object %s: attribute of write %s with omap of write %s: half of a transaction", object, attr, omap)
	}
	n, size, err := parseLabel(attr)
	if err != nil {
		return 0, fmt.Errorf("object %s: %w", object, err)
	}
	if len(data) == size && bytes.Equal(data, value(object, n, size)) {
		return n, nil
	}
	whose := "too short to tell whose"
	if len(data) >= 8 {
		whose = fmt.Sprintf("they begin like those of write %d", binary.BigEndian.Uint64(data))
	}
	return 0, fmt.Errorf("object %s: attributes are of write %d with %d bytes, but the %d bytes read are others (first difference at %d; %s)",
		object, n, size, len(data), firstDifference(data, value(object, n, size)), whose)
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// record returns the n-th record of an object that records are appended to.
func record(object string, n uint64, size int) []byte {
	body := fmt.Sprintf("%d %x", n, value(object, n, size))
	return fmt.Appendf(nil, "%s %08x\n", body, crc32.ChecksumIEEE([]byte(body)))
}

// parseRecords returns the numbers of the records in an object, in order.
func parseRecords(object string, data []byte) ([]uint64, error) {
	var ns []uint64
	for off := 0; off < len(data); {
		end := bytes.IndexByte(data[off:], '\n')
		if end < 0 {
			return ns, fmt.Errorf("object %s: the record at byte %d is cut off: %.60q", object, off, data[off:])
		}
		line := string(data[off : off+end])
		n, err := parseRecord(object, line)
		if err != nil {
			return ns, fmt.Errorf("object %s: the record at byte %d is damaged (%w): %.60q", object, off, err, line)
		}
		ns = append(ns, n)
		off += end + 1
	}
	return ns, nil
}

func parseRecord(object, line string) (uint64, error) {
	parts := strings.Split(line, " ")
	if len(parts) != 3 {
		return 0, fmt.Errorf("%d fields instead of 3", len(parts))
	}
	n, err := strconv.ParseUint(parts[0], 10, 64)
	if err != nil {
		return 0, err
	}
	if want := string(record(object, n, len(parts[1])/2)); want != line+"\n" {
		return 0, fmt.Errorf("it is not what was appended as record %d", n)
	}
	return n, nil
}
