package store

import (
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// blockCache keeps blocks of the data area that were read lately and verified. Its
// memory lies outside of Go's heap, mapped at once and taken from the system as it
// fills, and what says where a block is holds no pointers: the garbage collector does not
// know how large it is.
//
// It replaces by S3-FIFO: a block begins in a small queue, and only one that is read
// again, then or soon after it has left, gets into the main one. So reading much once,
// as a scrub or a recovery does, does not push out what is read again and again.
//
// A block's content changes only where Disk.show says so, under Disk.view: drop is called
// there. A read that began before may have read the old content and may want to keep
// it afterwards. It brings the ticket it got when it looked the block up, and
// what was dropped since has changed that.
type blockCache struct {
	tickets [cacheTickets]atomic.Uint32 // raised when a block that falls there is dropped
	all     atomic.Uint32               // raised when many are
	shards  [cacheShards]cacheShard
	used    atomic.Int64 // blocks
	hits    atomic.Uint64
	misses  atomic.Uint64
}

const (
	cacheShards   = 8
	cacheTickets  = 4096
	cacheRead     = 16 // blocks; longer reads neither look here nor are kept
	cacheDropMany = 64 // blocks; dropping more at once ends every read's claim
	cacheFreqMax  = 3
)

type cacheShard struct {
	mu          sync.Mutex // guards below
	at          map[uint64]uint32
	entries     []cacheEntry // by slot
	mem         []byte
	free        []uint32
	small, main slotQueue
	ghost       map[uint64]uint32 // left the small queue lately: its turn in ghosts
	ghosts      []uint64          // ring
	turn        uint32
}

type cacheEntry struct {
	phys uint64 // 0: dropped
	sum  uint32
	freq uint8
}

// slotQueue is a bounded queue of slots.
type slotQueue struct {
	ring     []uint32
	first, n int
}

func (q *slotQueue) push(s uint32) {
	q.ring[(q.first+q.n)%len(q.ring)] = s
	q.n++
}

func (q *slotQueue) pop() uint32 {
	s := q.ring[q.first]
	q.first = (q.first + 1) % len(q.ring)
	q.n--
	return s
}

// newBlockCache makes a cache of a size; nil, which keeps nothing, below one block a shard.
func newBlockCache(bytes int64) (*blockCache, error) {
	slots := int(bytes / blockBytes / cacheShards)
	if slots < 1 {
		return nil, nil
	}
	c := &blockCache{}
	for i := range c.shards {
		mem, err := unix.Mmap(-1, 0, slots*blockBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			c.close()
			return nil, fmt.Errorf("block cache of %d bytes: %w", bytes, err)
		}
		c.shards[i] = cacheShard{
			at: map[uint64]uint32{}, entries: make([]cacheEntry, slots), mem: mem,
			small: slotQueue{ring: make([]uint32, slots)}, main: slotQueue{ring: make([]uint32, slots)},
			ghost: map[uint64]uint32{}, ghosts: make([]uint64, slots),
		}
	}
	return c, nil
}

// close gives the memory back; nobody may be reading.
func (c *blockCache) close() {
	if c == nil {
		return
	}
	for i := range c.shards {
		if s := &c.shards[i]; s.mem != nil {
			_ = unix.Munmap(s.mem) // it is ours: this cannot fail
			s.mem = nil
		}
	}
}

// spread makes neighbours fall into different shards and tickets.
func spread(phys uint64) uint64 { return phys * 0x9e3779b97f4a7c15 >> 32 }

func (c *blockCache) shard(phys uint64) *cacheShard { return &c.shards[spread(phys)%cacheShards] }

// ticket is what keep wants to see unchanged. The caller holds Disk.view.
func (c *blockCache) ticket(phys uint64) uint64 {
	return uint64(c.all.Load())<<32 | uint64(c.tickets[spread(phys)/cacheShards%cacheTickets].Load())
}

func (s *cacheShard) slot(i uint32) []byte { return s.mem[int(i)*blockBytes:][:blockBytes] }

// get copies a block. The caller holds Disk.view.
func (c *blockCache) get(phys uint64, sum uint32, dst []byte) bool {
	s := c.shard(phys)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.at[phys]
	if !ok || s.entries[i].sum != sum {
		c.misses.Add(1)
		return false
	}
	copy(dst, s.slot(i))
	if checksum(dst) != sum { // memory is no better than a disk; the disk still has it
		s.forget(c, phys, i)
		c.misses.Add(1)
		return false
	}
	s.entries[i].freq = min(s.entries[i].freq+1, cacheFreqMax)
	c.hits.Add(1)
	return true
}

// forget drops a block; its slot is free when its turn in the queue comes. The caller holds mu.
func (s *cacheShard) forget(c *blockCache, phys uint64, i uint32) {
	delete(s.at, phys)
	s.entries[i] = cacheEntry{}
	c.used.Add(-1)
}

// keep stores a verified block, unless it was dropped since the ticket was taken.
func (c *blockCache) keep(phys uint64, sum uint32, data []byte, ticket uint64) {
	s := c.shard(phys)
	s.mu.Lock()
	defer s.mu.Unlock()
	// Counted first: drop, which changes the ticket before it looks at the count, either finds
	// something to drop or has its change seen here.
	c.used.Add(1)
	if _, ok := s.at[phys]; ok || c.ticket(phys) != ticket {
		c.used.Add(-1)
		return
	}
	i := s.room(c)
	s.entries[i] = cacheEntry{phys: phys, sum: sum}
	s.at[phys] = i
	copy(s.slot(i), data)
	if t, ok := s.ghost[phys]; ok {
		delete(s.ghost, phys)
		s.ghosts[t] = 0
		s.main.push(i)
	} else {
		s.small.push(i)
	}
}

// room returns a free slot; the caller holds mu.
func (s *cacheShard) room(c *blockCache) uint32 {
	if n := s.small.n + s.main.n + len(s.free); n < len(s.entries) {
		return uint32(n) // slots that were never used
	}
	for len(s.free) == 0 {
		if s.small.n > len(s.entries)/10 || s.main.n == 0 {
			s.fromSmall(c)
		} else {
			s.fromMain(c)
		}
	}
	i := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	return i
}

func (s *cacheShard) fromSmall(c *blockCache) {
	i := s.small.pop()
	switch e := &s.entries[i]; {
	case e.phys == 0:
		s.free = append(s.free, i)
	case e.freq > 0:
		e.freq = 0
		s.main.push(i)
	default:
		if old := s.ghosts[s.turn]; old != 0 {
			delete(s.ghost, old)
		}
		s.ghosts[s.turn], s.ghost[e.phys] = e.phys, s.turn
		s.turn = (s.turn + 1) % uint32(len(s.ghosts))
		s.evict(c, i)
	}
}

func (s *cacheShard) fromMain(c *blockCache) {
	i := s.main.pop()
	switch e := &s.entries[i]; {
	case e.phys == 0:
		s.free = append(s.free, i)
	case e.freq > 0:
		e.freq--
		s.main.push(i)
	default:
		s.evict(c, i)
	}
}

func (s *cacheShard) evict(c *blockCache, i uint32) {
	delete(s.at, s.entries[i].phys)
	s.entries[i] = cacheEntry{}
	s.free = append(s.free, i)
	c.used.Add(-1)
}

// drop forgets blocks whose content changes or that are freed. The caller holds
// Disk.view for writing.
func (c *blockCache) drop(r run) {
	if c == nil {
		return
	}
	many := r.count > cacheDropMany
	if many {
		c.all.Add(1)
	}
	for p := r.start; p < r.end(); p++ {
		if !many {
			c.tickets[spread(p)/cacheShards%cacheTickets].Add(1)
		}
		if c.used.Load() == 0 {
			continue
		}
		s := c.shard(p)
		s.mu.Lock()
		if i, ok := s.at[p]; ok {
			s.forget(c, p, i)
		}
		s.mu.Unlock()
	}
}
