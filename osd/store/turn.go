package store

import (
	"errors"
	"fmt"
	"slices"
)

// takeRoom gives a batch that lacked room another chance. The large data of later batches may have been
// faster, but room is given in the order of Submit: who counts what it has submitted (package osd does) may
// rely on it that what comes later cannot take the room away. So later batches give back what they
// have taken, the last one first, and try again when it is their turn.
func (d *Disk) takeRoom(it *item) {
	write := func() {
		if it.wantBig && it.big == nil {
			it.big, it.err = d.writeBig(it.batch, d.keepFor(it.batch))
		}
	}
	write()
	for full := it.err == nil; full || errors.Is(it.err, ErrNoSpace); { // without large data, or with: its small part had no room
		if !d.giveBack(it) {
			return
		}
		write()
	}
}

// giveBack frees what the last batch but one has taken; false: nobody has.
func (d *Disk) giveBack(but *item) bool {
	behind := d.queue.others(but)
	for i := len(behind) - 1; i >= 0; i-- {
		it := behind[i]
		if it.ready != nil {
			<-it.ready
		}
		if len(it.big) > 0 {
			d.releaseBig(it.big)
			it.big, it.err = nil, fmt.Errorf("an earlier write needs the room: %w", ErrNoSpace)
			return true
		}
	}
	return false
}

// others returns all items but one that head has returned: those behind it, and those it has overtaken.
func (q *queue) others(but *item) []*item {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(q.items), func(it *item) bool { return it == but })
}

func (q *queue) anyBehind() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items) > 1
}
