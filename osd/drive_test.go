package osd

import (
	"slices"
	"testing"

	"github.com/cairnstore/cairn/internal/wire"
)

// A connection that several shards have messages for is flushed once, and no shard
// keeps one that somebody else flushes.
func TestShardsFlushTogether(t *testing.T) {
	a, b := &wire.Conn{}, &wire.Conn{}
	s1, s2 := newShard(&OSD{}), newShard(&OSD{})
	s1.toFlush(a, 10)
	s1.toFlush(a, 10)
	s2.toFlush(b, 5)
	s2.toFlush(a, 5)
	if s1.unflushed != 20 {
		t.Errorf("%d bytes to be flushed, want 20", s1.unflushed)
	}
	dirty := s2.leave(s1.leave(nil))
	if !slices.Equal(dirty, []*wire.Conn{a, b}) {
		t.Errorf("%d connections to be flushed, want each of two once", len(dirty))
	}
	for i, s := range []*shard{s1, s2} {
		if len(s.dirty) != 0 || s.unflushed != 0 {
			t.Errorf("shard %d keeps %d connections and %d bytes for another flush", i+1, len(s.dirty), s.unflushed)
		}
	}
}
