package store

import (
	"runtime"

	"github.com/cairnstore/cairn/placement"
)

// What the suites outside of the package need of its inside.

// Medium is a disk in memory, which can lose power.
type Medium = faultLayer

// NewMedium makes an empty one.
func NewMedium(seed uint64) *Medium { return newFaultLayer(seed) }

// AddDevice adds an empty device to it and returns its name.
func (l *faultLayer) AddDevice(size int) string {
	l.addDevice(crashDevice, size)
	return crashDevice
}

// Create makes a store on it, with a journal of any size.
func (l *faultLayer) Create(o CreateOptions) error {
	o.layer, o.tinyJournal, o.Log = l, true, quiet()
	o.Identity.Store = placement.UUID{1, 2, 3}
	return Create(crashDir, o)
}

// Open opens the store on it.
func (l *faultLayer) Open(o Options) (*Disk, error) {
	o.layer = l
	return Open(crashDir, o)
}

// PowerCut is the medium after its power has failed, without what chance takes of
// that which was not synced.
func (l *faultLayer) PowerCut() *Medium { return l.restart() }

// Drowsy makes writes and discards of the data file take a while, in which others can go on.
func (l *faultLayer) Drowsy() {
	l.setFault(func(op, name string, off int64) error {
		if op == "write" || op == "discard" {
			l.mu.Unlock() // held by our caller
			for range off / blockBytes % 50 {
				runtime.Gosched()
			}
			l.mu.Lock()
		}
		return nil
	})
}

// Checkpoint puts all in its place.
func (d *Disk) Checkpoint() { d.keeper.await(d) }

// Relieve empties the overlay, by and by.
func (d *Disk) Relieve() { d.keeper.askRelief() }

// WithDiscard are options of a store that discards rows of as few blocks as given.
func WithDiscard(o Options, blocks uint64) Options {
	o.Discard, o.discardRegion = true, blocks
	return o
}

// DiscardsDone waits until nothing that is known to be free is left to discard.
func (d *Disk) DiscardsDone() {
	d.alloc.mu.Lock()
	defer d.alloc.mu.Unlock()
	for _, left := d.alloc.stale.next(0); left || d.alloc.held > 0; _, left = d.alloc.stale.next(0) {
		if d.alloc.held > 0 {
			d.alloc.freed.Wait()
			continue
		}
		d.alloc.mu.Unlock()
		runtime.Gosched()
		d.alloc.mu.Lock()
	}
}
