package store

import "fmt"

// ahead reads the journal in large pieces while it is replayed: most groups are
// small, and a read of its own for each would take most of the time of a start.
type ahead struct {
	buf  []byte // what was read
	from uint64 // its offset in the ring
	got  int    // valid bytes of it
}

const aheadBytes = 1 << 20

// read returns n bytes at an offset of the ring, valid until the next call.
func (a *ahead) read(j *journal, off uint64, n int) ([]byte, error) {
	if off < a.from || off+uint64(n) > a.from+uint64(a.got) {
		a.got = 0
		want := int(min(uint64(max(n, aheadBytes)), j.size-off))
		if len(a.buf) < want {
			a.buf = alignedBytes(want)
		}
		if _, err := j.f.ReadAt(a.buf[:want], int64(off)); err != nil {
			// What is not needed may be what cannot be read.
			if _, err := j.f.ReadAt(a.buf[:n], int64(off)); err != nil {
				return nil, fmt.Errorf("journal %s at offset %d: %w", j.path, off, err)
			}
			want = n
		}
		a.from, a.got = off, want
	}
	return a.buf[off-a.from:][:n], nil
}
