package store

import (
	"errors"
	"fmt"
	"sync"
)

// run is a row of blocks of the data file.
type run struct{ start, count uint64 }

func (r run) end() uint64 { return r.start + r.count }

// allocator hands out blocks of the data file. Its map of them is in memory only, made
// anew from the index at every open: what a crash left allocated and not
// referenced is free again by itself.
//
// Single blocks go to chunks whose room is in pieces already, so that the others keep long
// runs for large writes. What an allocation looks at is bounded, however large the device.
//
// Blocks that are freed stay taken until the checkpoint that covers the free:
// until then the journal may still hold writes for them, which a replay would
// put over whatever lived there next.
type allocator struct {
	mu      sync.Mutex // guards below
	m       chunkMap
	blocks  uint64 // blocks the data file has now
	max     uint64 // blocks it may ever have
	used    uint64 // taken below blocks
	next    uint64 // where the next search for a run starts
	small   uint64 // chunk that single blocks come from
	piece   run    // what is left of the free run that the last one came from, unless others took of it
	step    uint64 // blocks by which the file grows
	waiting uint64 // of used: freed, but not yet covered by a checkpoint
	pending []pendingFree
	grow    func(blocks uint64) error // extends the data file; called with mu held
	lowest  bool                      // search from the start: crash tests, which want blocks used again soon
	regionMap
}

type pendingFree struct {
	seq uint64
	run run
}

func newAllocator(blocks, maxBlocks, step uint64, grow func(uint64) error) *allocator {
	a := &allocator{max: max(maxBlocks, blocks), step: max(step, 1), grow: grow, m: chunkMap{room: chunksOpen}}
	a.regionMap = regionMap{size: regionBlocks, freed: sync.NewCond(&a.mu)}
	a.setBlocks(blocks)
	a.mark(run{0, 1}) // the data header
	a.next = 1
	return a
}

func (a *allocator) setBlocks(n uint64) {
	a.m.grow(n)
	a.m.set(run{a.blocks, n - a.blocks}, false)
	a.blocks = n
}

func (a *allocator) taken(b uint64) bool { return a.m.taken(run{b, 1}) > 0 }

// mark takes blocks that must be free; false, taking none, when one was taken or is out of range.
func (a *allocator) mark(r run) bool {
	if r.count == 0 || r.start >= a.blocks || r.count > a.blocks-r.start || a.m.taken(r) > 0 {
		return false
	}
	a.m.set(r, true)
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

// growBlocks is by how much a small file grows at least, if a step is not less.
const growBlocks = 64 << 20 / blockBytes

// extend grows the file by at least n blocks; the caller holds mu.
func (a *allocator) extend(n uint64) error {
	// Few stores need soon what a large step takes from others on the file system.
	to := a.blocks + max(n, min(a.step, max(a.blocks/4, growBlocks)))
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
	a.m.set(r, false)
	a.used -= r.count
	a.noteFreed(r)
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

// setMax changes how many blocks there may be; never fewer than have their room.
func (a *allocator) setMax(n uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.max = max(n, a.blocks-a.holed)
}

// counts are the blocks taken, those of them that wait for a checkpoint, and
// how many there can be at most.
func (a *allocator) counts() (used, waiting, maxBlocks uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.used - a.held, a.waiting, a.max
}

// size is how many blocks the data file has now, without holes.
func (a *allocator) size() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.blocks - a.holed
}

// alloc takes n blocks in as few runs as it finds quickly, leaving keep blocks
// free. hint, when not 0, is where the first block should go: next to its
// neighbours in the object. ErrNoSpace takes nothing.
func (a *allocator) alloc(n, keep, hint uint64) ([]run, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for {
		rs, err := a.take(n, keep, hint)
		if a.held == 0 || !errors.Is(err, ErrNoSpace) {
			return rs, err
		}
		a.freed.Wait() // what is being discarded is free in a moment
	}
}

// take is alloc; the caller holds mu.
func (a *allocator) take(n, keep, hint uint64) ([]run, error) {
	if a.used+n+keep > a.max {
		return nil, fmt.Errorf("data file: %d blocks wanted, %d of %d taken, %d kept back: %w", n, a.used, a.max, keep, ErrNoSpace)
	}
	if hint > 0 && n == 1 && hint < a.blocks && !a.taken(hint) {
		a.mark(run{hint, 1})
		return []run{{hint, 1}}, nil
	}
	if have := a.blocks - a.holed; a.used+n > have {
		if err := a.widen(a.used + n - have); err != nil {
			return nil, err
		}
	}
	if a.lowest {
		a.next, a.small, a.piece = 1, 0, run{}
	}
	if n == 1 {
		r := a.single()
		a.mark(r)
		return []run{r}, nil
	}
	// First whole: a run as long as wanted. When the file can still grow, growing
	// beats scattering a large object over the gaps.
	r, ok := a.find(n)
	if !ok {
		r, ok = a.findInHoles(n)
	}
	if !ok && a.blocks < a.max && a.max-a.blocks >= n {
		if end := a.blocks; a.extend(n) == nil {
			a.next = end
			r, ok = a.find(n)
		}
	}
	if ok {
		a.mark(r)
		a.next = r.start
		return []run{r}, nil
	}
	return a.pieces(n), nil
}

// What an allocation looks at, at most.
const (
	findHeads  = 16384 // chunks it asks whether they may have a run: 2 TiB
	findChunks = 16    // chunks it looks through
	nearHeads  = 256   // chunks it compares when it must choose
)

// find looks for n free blocks in a row, in the chunk of next and those after it. Of the runs of a
// chunk it takes the shortest that suffices.
func (a *allocator) find(n uint64) (best run, ok bool) {
	count := uint64(len(a.m.chunks))
	first, looks := a.next/chunkBlocks, 0
	for j := uint64(0); j < min(count, findHeads) && looks < findChunks; j++ {
		i := (first + j) % count
		if uint64(a.m.chunks[i].longest) < n {
			continue
		}
		looks++
		c := a.m.unpack(i)
		longest := uint32(0)
		c.runs(func(start, size uint32) bool {
			longest = max(longest, size)
			if uint64(size) >= n && (!ok || uint64(size) < best.count) {
				best, ok = run{i*chunkBlocks + uint64(start), uint64(size)}, true
			}
			return !ok || best.count > n
		})
		if ok {
			best.count = n
			return best, true
		}
		c.longest = longest
	}
	return run{}, false
}

// choose returns a chunk with free blocks near another: the one with the longest run, or with the
// shortest. The caller knows that there is one.
func (a *allocator) choose(from uint64, long bool) uint64 {
	count := uint64(len(a.m.chunks))
	best, have := uint64(0), false
	for j := uint64(0); j < count && (j < nearHeads || !have); j++ {
		i := (from + j) % count
		l := a.m.chunks[i].longest
		if a.m.chunks[i].free > 0 && (!have || long && l > a.m.chunks[best].longest || !long && l < a.m.chunks[best].longest) {
			best, have = i, true
		}
	}
	return best
}

// single is a free block, of the shortest free run of a chunk that is in pieces if possible.
func (a *allocator) single() run {
	if a.piece.count > 0 && !a.taken(a.piece.start) {
		r := run{a.piece.start, 1}
		a.piece = run{r.start + 1, a.piece.count - 1}
		return r
	}
	if a.m.chunks[a.small].free == 0 {
		a.small = a.choose(a.small, false)
	}
	best := run{}
	a.m.unpack(a.small).runs(func(start, size uint32) bool {
		if best.count == 0 || uint64(size) < best.count {
			best = run{a.small*chunkBlocks + uint64(start), uint64(size)}
		}
		return size > 1
	})
	a.piece = run{best.start + 1, best.count - 1}
	return run{best.start, 1}
}

// pieces takes n blocks in several runs, the long ones first. The caller knows that there are as many.
func (a *allocator) pieces(n uint64) (out []run) {
	for n > 0 {
		i := a.choose(a.next/chunkBlocks, true)
		c := a.m.unpack(i)
		longest := uint32(0)
		c.runs(func(_, size uint32) bool {
			longest = max(longest, size)
			return true
		})
		c.longest = longest
		var take []run // what is taken must not change the chunk under the search
		c.runs(func(start, size uint32) bool {
			if size > longest/2 {
				k := min(uint64(size), n)
				take = append(take, run{i*chunkBlocks + uint64(start), k})
				n -= k
			}
			return n > 0
		})
		for _, r := range take {
			a.mark(r)
		}
		c.longest = min(longest, c.free)
		out = append(out, take...)
		a.next = i * chunkBlocks
	}
	return out
}
