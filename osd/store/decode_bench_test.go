package store

import (
	"testing"

	"github.com/cairnstore/cairn/placement"
)

// BenchmarkDecode is what every lookup pays that the index's cache does not spare.
func BenchmarkDecode(b *testing.B) {
	h := head{oid: 123456, size: 4 << 20, version: Version{Term: placement.Term(12), Seq: 987654}, mtime: 1 << 60, omapMax: 3, hasAttrs: true}
	entry := h.append(nil)
	b.Run("head", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := decodeHead(entry); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, c := range []struct {
		name string
		step uint64
	}{{"one run", 1}, {"16 runs", 1000}} {
		s := segment{}
		for i := range segBlocks {
			s.set(i, 1<<20+uint64(i)*c.step, uint32(i)*77777)
		}
		entry := s.append(nil)
		b.Run("segment of "+c.name, func(b *testing.B) {
			b.ReportAllocs()
			var out segment
			for b.Loop() {
				if err := out.decode(entry); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
