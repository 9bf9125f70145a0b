package store

import (
	"fmt"
	"math/bits"
	"sync"
)

// run is a row of blocks of the data file.
type run struct{ start, count uint64 }

func (r run) end() uint64 { return r.start + r.count }

// allocator hands out blocks of the data file. It is a bitmap in memory, made
// anew from the index at every open: what a crash left allocated and not
// referenced is free again by itself.
//
// Blocks that are freed stay taken until the checkpoint that covers the free:
// until then the journal may still hold writes for them, which a replay would
// put over whatever lived there next.
type allocator struct {
	mu      sync.Mutex // guards below
	words   []uint64   // one bit a block; set: taken
	blocks  uint64     // blocks the data file has now
	max     uint64     // blocks it may ever have
	used    uint64     // bits set below blocks
	next    uint64     // where the next search starts
	step    uint64     // blocks by which the file grows
	waiting uint64     // of used: freed, but not yet covered by a checkpoint
	pending []pendingFree
	grow    func(blocks uint64) error // extends the data file; called with mu held
	lowest  bool                      // search from the start: crash tests, which want blocks used again soon
}

type pendingFree struct {
	seq uint64
	run run
}

func newAllocator(blocks, maxBlocks, step uint64, grow func(uint64) error) *allocator {
	a := &allocator{max: max(maxBlocks, blocks), step: max(step, 1), grow: grow}
	a.setBlocks(blocks)
	a.mark(run{0, 1}) // the data header
	a.next = 1
	return a
}

func (a *allocator) setBlocks(n uint64) {
	if need := int(n+63) / 64; need > len(a.words) {
		a.words = append(a.words, make([]uint64, need-len(a.words))...)
	}
	a.blocks = n
}

func (a *allocator) taken(b uint64) bool { return a.words[b/64]>>(b%64)&1 != 0 }

// mark takes blocks that must be free; false when one was taken or is out of range.
func (a *allocator) mark(r run) bool {
	if r.count == 0 || r.start >= a.blocks || r.count > a.blocks-r.start {
		return false
	}
	for b := r.start; b < r.end(); b++ {
		if a.taken(b) {
			return false
		}
	}
	for b := r.start; b < r.end(); b++ {
		a.words[b/64] |= 1 << (b % 64)
	}
	a.used += r.count
	return true
}

// claim is mark for the scan at open, which also learns how far the file must reach. Blocks that
// are taken already must be shared.
func (a *allocator) claim(r run, shared func(block uint64) bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.start == 0 || r.count > 1<<40 || r.end() > 1<<44 {
		return fmt.Errorf("blocks %d+%d are out of range: %w", r.start, r.count, ErrCorrupt)
	}
	if r.end() > a.blocks {
		if err := a.extend(r.end() - a.blocks); err != nil {
			return err
		}
	}
	if a.mark(r) {
		return nil
	}
	for b := r.start; b < r.end(); b++ {
		if !a.mark(run{b, 1}) && !shared(b) {
			return fmt.Errorf("blocks %d+%d belong to two objects: %w", r.start, r.count, ErrCorrupt)
		}
	}
	return nil
}

// extend grows the file by at least n blocks; the caller holds mu.
func (a *allocator) extend(n uint64) error {
	to := a.blocks + max(n, a.step)
	if to > a.max {
		to = max(a.max, a.blocks+n)
	}
	if err := a.grow(to); err != nil {
		if to = a.blocks + n; a.grow(to) != nil {
			return err
		}
	}
	a.setBlocks(to)
	return nil
}

func (a *allocator) clear(r run) {
	for b := r.start; b < r.end(); b++ {
		a.words[b/64] &^= 1 << (b % 64)
	}
	a.used -= r.count
}

// release gives back blocks nothing durable ever referenced.
func (a *allocator) release(rs []run) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range rs {
		a.clear(r)
	}
}

// free notes blocks that group seq freed.
func (a *allocator) free(seq uint64, rs []run) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range rs {
		a.pending = append(a.pending, pendingFree{seq, r})
		a.waiting += r.count
	}
}

// checkpointed makes the frees of groups up to seq usable.
func (a *allocator) checkpointed(seq uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := 0
	for ; i < len(a.pending) && a.pending[i].seq <= seq; i++ {
		a.clear(a.pending[i].run)
		a.waiting -= a.pending[i].run.count
	}
	a.pending = append(a.pending[:0], a.pending[i:]...)
	if len(a.pending) == 0 {
		a.pending = nil
	}
}

// setMax changes how many blocks there may be; never fewer than there are.
func (a *allocator) setMax(n uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.max = max(n, a.blocks)
}

// counts are the blocks taken, those of them that wait for a checkpoint, and
// how many there can be at most.
func (a *allocator) counts() (used, waiting, maxBlocks uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.used, a.waiting, a.max
}

// size is how many blocks the data file has now.
func (a *allocator) size() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.blocks
}

// alloc takes n blocks in as few runs as it finds quickly, leaving keep blocks
// free. hint, when not 0, is where the first block should go: next to its
// neighbours in the object. ErrNoSpace takes nothing.
func (a *allocator) alloc(n, keep, hint uint64) ([]run, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.used+n+keep > a.max {
		return nil, fmt.Errorf("data file: %d blocks wanted, %d of %d taken, %d kept back: %w", n, a.used, a.max, keep, ErrNoSpace)
	}
	if hint > 0 && n == 1 && hint < a.blocks && !a.taken(hint) {
		a.mark(run{hint, 1})
		return []run{{hint, 1}}, nil
	}
	if a.used+n > a.blocks {
		if err := a.extend(a.used + n - a.blocks); err != nil {
			return nil, err
		}
	}
	if a.lowest {
		a.next = 1
	}
	var out []run
	// First whole: a run as long as wanted. When the file can still grow, growing
	// beats scattering a large object over the gaps.
	if n > 1 {
		r, ok := a.find(n)
		if !ok && a.blocks < a.max && a.max-a.blocks >= n {
			if a.extend(n) == nil {
				r, ok = a.find(n)
			}
		}
		if ok {
			a.mark(r)
			a.next = r.end()
			return append(out, r), nil
		}
	}
	for n > 0 {
		r := a.firstFree(n)
		a.mark(r)
		a.next = r.end()
		out, n = append(out, r), n-r.count
	}
	return out, nil
}

// findBlocks is how far find looks for a whole run.
const findBlocks = 4 << 20

// find looks for n free blocks in a row, from next and around.
func (a *allocator) find(n uint64) (run, bool) {
	for _, part := range [2]run{{a.next, a.blocks}, {0, min(a.next+n, a.blocks)}} { // {from, to}
		row := uint64(0)
		// On a large and crowded device a whole search could cost more than the write.
		for b, stop := part.start, min(part.count, part.start+findBlocks); b < stop; {
			w := a.words[b/64] >> (b % 64)
			left := min(64-b%64, stop-b)
			if w == 0 {
				b, row = b+left, row+left
			} else if free := min(uint64(bits.TrailingZeros64(w)), left); free > 0 {
				b, row = b+free, row+free
			} else {
				b, row = b+min(uint64(bits.TrailingZeros64(^w)), left), 0
			}
			if row >= n {
				return run{b - row, n}, true
			}
		}
	}
	return run{}, false
}

// firstFree is the next free run, cut at n. The caller knows that one exists.
func (a *allocator) firstFree(n uint64) run {
	for b := a.next; ; {
		if b >= a.blocks {
			b = 0
		}
		w := ^a.words[b/64] >> (b % 64) // set: free
		if w == 0 {
			b = (b/64 + 1) * 64
			continue
		}
		b += uint64(bits.TrailingZeros64(w))
		if b >= a.blocks {
			b = 0
			continue
		}
		r := run{b, 0}
		for r.count < n && r.end() < a.blocks && !a.taken(r.end()) {
			r.count++
		}
		return r
	}
}
