package slab

import (
	"bytes"
	"sync"
	"sync/atomic"
)

// In tests, memory that nobody uses any more is made unusable: whoever reads it all the same gets
// bytes that no checksum fits, and whoever writes to it ends the process.
const (
	poisonByte = 0xdb
	poisonSum  = 0xdbdbdbdb
	detainMax  = 32 << 20 // bytes that are kept from being reused for a while
)

var (
	poison atomic.Bool

	detained struct {
		mu    sync.Mutex // guards below
		list  []*memory  // the oldest first
		bytes int
	}

	poisonPattern = bytes.Repeat([]byte{poisonByte}, 64<<10)
)

// PoisonVariable is the environment variable by which tests tell daemons that are processes to call Poison.
const PoisonVariable = "CAIRN_TEST_POISON"

// Poison makes every last Release overwrite the memory and its checksums, so that whoever goes on using
// them is found out. The memory is reused late, and not before it has been seen that nobody wrote
// to it meanwhile. It is for tests.
func Poison() { poison.Store(true) }

// detain overwrites s, and returns what has been kept long enough instead, to be reused.
func detain(s *memory) (free []*memory) {
	for b := s.mem; len(b) > 0; {
		b = b[copy(b, poisonPattern):]
	}
	for i := range s.sums[:cap(s.sums)] {
		s.sums[:cap(s.sums)][i] = poisonSum
	}
	d := &detained
	d.mu.Lock()
	d.list = append(d.list, s)
	d.bytes += len(s.mem)
	for d.bytes > detainMax {
		free = append(free, d.list[0])
		d.bytes -= len(d.list[0].mem)
		d.list[0] = nil
		d.list = d.list[1:]
	}
	d.mu.Unlock()
	for _, s := range free {
		for b := s.mem; len(b) > 0; {
			n := min(len(b), len(poisonPattern))
			if !bytes.Equal(b[:n], poisonPattern[:n]) {
				panic("slab: memory was written to after everybody had released it")
			}
			b = b[n:]
		}
	}
	return free
}
