package osd

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
)

// batchRoom is what a batch needs besides its data, generously.
const batchRoom = 8 << 10

// blockBytes is what the store gives out for data.
const blockBytes = 4 << 10

// blocksOf is the room that n bytes at off take.
func blocksOf(off, n uint64) int64 {
	if n == 0 {
		return 0
	}
	return int64((off+n-1)/blockBytes-off/blockBytes+1) * blockBytes
}

// roomOf is what a batch takes of the store's room, at most, for what clients have given: data in whole blocks, and
// what goes to the index. It is 0 for a batch without such.
func roomOf(ops []store.Op) (n int64) {
	for i := range ops {
		op := &ops[i]
		n += blocksOf(op.Off, uint64(len(op.Data)))
		if op.Key.Space != store.Meta {
			n += int64(len(op.Name) + len(op.Value))
		}
	}
	return n
}

// roomFor is roomOf for what will come of a request.
func roomFor(op *wirepb.OpRequest) (n int64) {
	for _, o := range op.Ops {
		off := o.Offset
		if o.Kind != wirepb.OpKind_WRITE { // an append may begin anywhere in a block
			off = blockBytes - 1
		}
		n += blocksOf(off, o.DataLen) + int64(len(o.Name)+len(o.Value))
	}
	return n
}

// room is how much may still be written before the store has no space: not only what the store holds
// counts, but what it has been given and not yet taken in. Whether an OSD is full is judged when
// an operation arrives; by the time it is its turn, hundreds of others may have filled the disk,
// and a primary whose store then refuses what it has logged has to stop. The zero value
// asks the store first.
type room struct {
	slack atomic.Int64 // bytes that the store may be given before it is looked again whether it is full, see full

	mu       sync.Mutex // guards below
	left     int64      // bytes that need not be asked for again
	promised int64      // bytes that were let through, and the store has not been given yet
	tight    bool       // when the store was asked last there was so little that shards must not overtake each other

	// gate is for times when room is tight: from the promise until what came of it is submitted it is one
	// shard's, and nobody's writes for another primary take the room in between.
	gate sync.Mutex
}

// Room is asked for again at the latest after roomAsk bytes, and tight well before that is all there is.
const (
	roomAsk   = 64 << 20
	roomTight = 2 * roomAsk
)

// took notes a batch that the store is given.
func (r *room) took(bytes int64) {
	r.slack.Add(-(bytes + batchRoom))
	r.mu.Lock()
	r.left -= bytes + batchRoom
	r.mu.Unlock()
}

// isTight reports whether batches with data must pass the gate.
func (r *room) isTight() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tight
}

// redeem ends promises: the store has been given what came of them.
func (r *room) redeem(bytes int64) {
	r.mu.Lock()
	r.promised -= bytes
	r.mu.Unlock()
}

// waiting is the room that what the store was given, and has not taken in yet, will take.
func (d *OSD) waiting() int64 { return d.pendingBytes.Load() + batchRoom*d.pending.Load() }

// promise reports whether so many bytes more fit, without what the store keeps back, and keeps
// them until redeem. That is more than up to the full ratio: the OSD must be able to become full,
// or nobody would be told.
func (d *OSD) promise(bytes int64) bool {
	r := &d.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left < bytes {
		// In this order: a batch that ends meanwhile counts twice then, not never.
		waiting := d.waiting()
		u := d.o.Store.Usage()
		if u.Capacity <= 0 {
			u.Available = 1 << 62
		}
		left := u.Available - waiting - r.promised
		// Others than this OSD may fill the file system, so what is much is asked for again, too.
		r.left, r.tight = min(left, max(roomAsk, bytes)), left < roomTight+bytes
		if left < bytes {
			return false
		}
	}
	r.left -= bytes
	r.promised += bytes
	return true
}

// noRoom refuses an operation for which there is no room any more; nil: there is, and it is the operation's
// until the shard has carried out what comes of it (follow).
func (s *shard) noRoom(g *pg.Group, x pg.Exec) pg.Event {
	if !grows(x.Op) {
		return nil
	}
	bytes := roomFor(x.Op) + batchRoom
	ok := s.d.promise(bytes)
	if ok && !s.gated && s.d.room.isTight() {
		s.d.room.redeem(bytes)
		s.d.room.gate.Lock() // until follow has carried out everything
		s.gated = true
		ok = s.d.promise(bytes)
	}
	if ok {
		s.promised += bytes
		return nil
	}
	return pg.ExecutedEvent{Handle: x.Handle, Code: wirepb.Code_NO_SPACE, Text: fmt.Sprintf("PG %s: %s", g.ID(), s.d.fullText())}
}

// redeem ends what noRoom began.
func (s *shard) redeem() {
	if s.promised > 0 {
		s.d.room.redeem(s.promised)
		s.promised = 0
	}
	if s.gated {
		s.gated = false
		s.d.room.gate.Unlock()
	}
}

// submit gives the store a batch, through the gate if it has data and room is tight.
func (s *shard) submit(b *store.Batch, bytes int64, done func(error)) {
	d := s.d
	d.room.took(bytes)
	if bytes > 0 && !s.gated && d.room.isTight() {
		d.room.gate.Lock()
		defer d.room.gate.Unlock()
	}
	d.o.Store.Submit(b, done)
}
