package torture

import (
	"fmt"
	"slices"
	"sync"
)

// cell is the model of one object that a single writer writes, one write after
// the other, while anybody reads. Writes are numbered from 1; a removal is one.
//
// Because the writer waits for each outcome before it goes on, the object's
// history is a subsequence of the numbers: those of unknown outcome may be
// missing. So whatever is seen, acknowledged or read, raises a floor below which
// no later read may ever fall.
type cell struct {
	name string

	mu      sync.Mutex // guards below
	floor   uint64     // newest write known to have taken effect
	issued  uint64     // newest write begun
	removes []uint64   // those that remove, from floor on
}

// begin numbers a write. The caller has waited for the one before.
func (c *cell) begin(remove bool) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.issued++
	if remove {
		c.removes = append(c.removes, c.issued)
	}
	return c.issued
}

// acked says that a write has surely taken effect.
func (c *cell) acked(n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raise(n)
}

func (c *cell) raise(n uint64) {
	c.floor = max(c.floor, n)
	// A removal below the floor explains nothing any more, except that absence may
	// have been seen by a read that began before; reads keep the floor they began at.
	if i := slices.IndexFunc(c.removes, func(r uint64) bool { return r+64 >= c.floor }); i > 0 {
		c.removes = slices.Delete(c.removes, 0, i)
	}
}

// now returns the floor for a read that begins now.
func (c *cell) now() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.floor
}

// saw checks what a read returned that began when the floor was as given: the
// value of write n, or with n 0 that there is no object.
func (c *cell) saw(floor, n uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n == 0 {
		if floor == 0 {
			return nil
		}
		i := slices.IndexFunc(c.removes, func(r uint64) bool { return r >= floor })
		if i < 0 {
			return fmt.Errorf("object %s: not found, though write %d had taken effect and nothing removed it since (newest write begun: %d)", c.name, floor, c.issued)
		}
		c.raise(c.removes[i])
		return nil
	}
	switch {
	case n < floor:
		return fmt.Errorf("object %s: read write %d, though write %d had taken effect before the read began (newest write begun: %d)", c.name, n, floor, c.issued)
	case n > c.issued:
		return fmt.Errorf("object %s: read write %d, though only %d were begun", c.name, n, c.issued)
	case slices.Contains(c.removes, n):
		return fmt.Errorf("object %s: read a value with number %d, which was a removal", c.name, n)
	}
	c.raise(n)
	return nil
}
