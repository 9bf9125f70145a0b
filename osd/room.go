package osd

import (
	"fmt"
	"sync/atomic"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/pg"
)

// batchRoom is what a batch needs besides its data, generously.
const batchRoom = 8 << 10

// room is how much may still be written before the store has no space: not only what the store holds
// counts, but what it has been given and not yet taken in. Whether an OSD is full is judged when
// an operation arrives; by the time it is its turn, hundreds of others may have filled the disk,
// and a primary whose store then refuses what it has logged has to stop. The zero value
// asks the store first.
type room struct{ left atomic.Int64 } // bytes that need not be asked for again

// took notes a batch that the store is given.
func (r *room) took(bytes int64) { r.left.Add(-bytes - batchRoom) }

// hasRoom reports whether so many bytes more fit, without what the store keeps back. That is more than
// up to the full ratio: the OSD must be able to become full, or nobody would be told.
func (d *OSD) hasRoom(bytes int64) bool {
	if d.room.left.Load() >= bytes+batchRoom {
		return true
	}
	u := d.o.Store.Usage()
	if u.Capacity <= 0 {
		return true
	}
	left := u.Available - d.pendingBytes.Load() - batchRoom*d.pending.Load()
	// Others than this OSD may fill the file system, so what is much is asked for again, too.
	d.room.left.Store(min(left, 64<<20))
	return left >= bytes+batchRoom
}

// noRoom refuses an operation for which there is no room any more; nil: there is.
func (d *OSD) noRoom(g *pg.Group, x pg.Exec) pg.Event {
	if !grows(x.Op) || d.hasRoom(int64(len(x.Payload))) {
		return nil
	}
	return pg.ExecutedEvent{Handle: x.Handle, Code: wirepb.Code_NO_SPACE, Text: fmt.Sprintf("PG %s: %s is full: delete data or add OSDs", g.ID(), d.id)}
}
