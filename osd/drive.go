package osd

import (
	"slices"

	"github.com/cairnstore/cairn/internal/wire"
)

// What one goroutine that has other duties does for the shard before its own goroutine goes on.
const driveRounds = 8

// drive works off the mailbox, unless somebody else is at it. The caller must be
// able to wait for a moment, so it is none of the store's goroutines, and none that
// answers heartbeats: the store may be slow to take batches or to find an object.
func (s *shard) drive() {
	var mem [flushRoom]*wire.Conn
	dirty := s.work(mem[:0])
	flush(dirty)
}

// driveAll is drive for all shards. What they say leaves together, since every
// system call that writes costs more than to work off one message.
func (d *OSD) driveAll() {
	var mem [flushRoom]*wire.Conn
	dirty := mem[:0]
	for _, s := range d.shards {
		dirty = s.work(dirty)
	}
	flush(dirty)
}

// How many items are handled, or bytes queued, before what they say leaves.
const (
	flushItems = 64
	flushBytes = 128 << 10
)

// flushRoom is how many connections are flushed at a time without more memory for the list.
const flushRoom = 16

// work is drive without the flush: it adds the connections that must be flushed soon.
func (s *shard) work(dirty []*wire.Conn) []*wire.Conn {
	for n := 0; s.filled.Load() && s.started.Load(); n++ {
		if n == driveRounds || s.d.pressed() {
			s.wake()
			break
		}
		if !s.own.TryLock() {
			break // whoever holds it looks again after unlocking it
		}
		s.round()
		dirty = s.leave(dirty)
		s.own.Unlock()
	}
	return dirty
}

// leave moves the connections to be flushed to dirty, so that nobody waits for own
// while they are written to. It is called with own held.
func (s *shard) leave(dirty []*wire.Conn) []*wire.Conn {
	for _, c := range s.dirty {
		if !slices.Contains(dirty, c) {
			dirty = append(dirty, c)
		}
	}
	clear(s.dirty)
	s.dirty, s.unflushed = s.dirty[:0], 0
	return dirty
}

func flush(dirty []*wire.Conn) {
	for _, c := range dirty {
		c.Flush()
	}
}

// finish works off the answers of the store, which come for many batches at once and
// concern all shards.
func (d *OSD) finish() {
	defer d.wg.Done()
	for {
		select {
		case <-d.answered:
			d.flushShards()
			d.driveAll()
		case <-d.ctx.Done():
			return
		}
	}
}

// flush sends what was queued. It is called with own held.
func (s *shard) flush() {
	flush(s.dirty)
	clear(s.dirty)
	s.dirty, s.unflushed = s.dirty[:0], 0
}

// toFlush notes that a connection has a message to be flushed, with a payload of so many bytes.
func (s *shard) toFlush(c *wire.Conn, bytes int) {
	s.unflushed += bytes
	if !slices.Contains(s.dirty, c) {
		s.dirty = append(s.dirty, c)
	}
}
