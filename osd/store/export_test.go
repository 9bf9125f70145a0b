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

// Drowsy makes writes of the data file take a while, in which others can go on.
func (l *faultLayer) Drowsy() {
	l.setFault(func(op, name string, off int64) error {
		if op == "write" {
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
