package store

import (
	"errors"
	"fmt"
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
		if !d.giveBack() {
			return
		}
		write()
	}
}

// giveBack frees what the last batch behind the first has taken; false: nobody has.
func (d *Disk) giveBack() bool {
	behind := d.queue.behind()
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

// behind returns the items behind the first.
func (q *queue) behind() []*item {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]*item(nil), q.items[min(1, len(q.items)):]...)
}

func (q *queue) anyBehind() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items) > 1
}
