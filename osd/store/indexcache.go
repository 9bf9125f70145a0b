package store

import (
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	indexSlotBytes = 160
	indexRoom      = indexSlotBytes - 8 // 4 are its tag, 4 the rest of its head; bytes of key and value; longer pairs are not kept
	indexWays      = 4                  // slots a key may be in
	indexStripes   = 64                 // locks

	// indexCacheSmall is the size when none is asked for. Up to it the memory is of Go's heap.
	indexCacheSmall = 8192 * indexSlotBytes
)

// indexCache keeps entries of the index that were looked up lately, heads and segments, also
// that there is none. A write asks for the heads of its object and its PG two or three times,
// a read for a head and its segments, and each answer of the index costs microseconds. It
// has a fixed size and no pointers.
//
// It always says what the index says: a group's changes go into it with those of the index,
// both under Disk.view, and lookups that fill it hold view or are the committer's.
type indexCache struct {
	seed  maphash.Seed
	locks [indexStripes]sync.Mutex // each guards every 64th set of slots
	slots []indexSlot
	tags  []uint32 // of the slots, so that looking through a set reads one line of memory; 0: the slot is free
	mem   []byte   // of both, mapped; nil: they are of the heap
}

// indexSlot holds a key and the value behind it.
type indexSlot struct {
	state slotState
	asked bool // since it was last considered to be replaced
	key   uint8
	value uint8
	data  [indexRoom]byte
}

type slotState uint8

const (
	slotFull slotState = iota // the index has this
	slotNone                  // the index has nothing under this key
)

// newIndexCache makes a cache of a size.
func newIndexCache(bytes int64) (*indexCache, error) {
	n := int(max(bytes, indexCacheSmall)/indexSlotBytes) &^ (indexWays - 1)
	c := &indexCache{seed: maphash.MakeSeed()}
	if bytes <= indexCacheSmall {
		c.slots, c.tags = make([]indexSlot, n), make([]uint32, n)
		return c, nil
	}
	var err error
	c.mem, err = unix.Mmap(-1, 0, n*indexSlotBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("cache of the index of %d bytes: %w", bytes, err)
	}
	first := unsafe.Pointer(unsafe.SliceData(c.mem))
	c.tags = unsafe.Slice((*uint32)(first), n)
	c.slots = unsafe.Slice((*indexSlot)(unsafe.Add(first, 4*n)), n)
	return c, nil
}

// close gives the memory back; nobody may be reading.
func (c *indexCache) close() {
	if c != nil && c.mem != nil {
		_ = unix.Munmap(c.mem) // it is ours: this cannot fail
		c.mem, c.slots, c.tags = nil, nil, nil
	}
}

// indexSet is the slots where a key may be.
type indexSet struct {
	slots []indexSlot
	tags  []uint32
}

// setOf returns the set of a key, with its lock held; none for a key that is never kept.
func (c *indexCache) setOf(key []byte) (set indexSet, tag uint32, l *sync.Mutex) {
	if len(key) == 0 || len(key) > indexRoom || key[0] != keyHead && key[0] != keySeg {
		return indexSet{}, 0, nil
	}
	h := maphash.Bytes(c.seed, key)
	i := h % uint64(len(c.slots)/indexWays)
	l = &c.locks[i%indexStripes]
	l.Lock()
	return indexSet{c.slots[i*indexWays:][:indexWays], c.tags[i*indexWays:][:indexWays]}, max(1, uint32(h>>32)), l
}

// find returns which slot holds a key, or -1.
func (set indexSet) find(tag uint32, key []byte) int {
	for i, t := range set.tags {
		if t == tag {
			if s := &set.slots[i]; string(s.data[:s.key]) == string(key) {
				return i
			}
		}
	}
	return -1
}

// free returns a free slot, or -1.
func (set indexSet) free() int { return slices.Index(set.tags, 0) }

// fill puts a pair into a slot, or empties it if the pair is too long.
func (set indexSet) fill(i int, tag uint32, key, value []byte, state slotState) {
	if len(key)+len(value) > indexRoom {
		set.tags[i] = 0
		return
	}
	s := &set.slots[i]
	set.tags[i] = tag
	s.state, s.key, s.value = state, uint8(len(key)), uint8(len(value))
	copy(s.data[copy(s.data[:], key):], value)
}

// get appends what the index has under a key to b, if that is known.
func (c *indexCache) get(key, b []byte) (value []byte, found, known bool) {
	set, tag, l := c.setOf(key)
	if l == nil {
		return b, false, false
	}
	defer l.Unlock()
	i := set.find(tag, key)
	if i < 0 {
		return b, false, false
	}
	s := &set.slots[i]
	s.asked = true
	return append(b, s.data[s.key:][:s.value]...), s.state == slotFull, true
}

// put notes what the index has under a key; found is false if it has nothing.
func (c *indexCache) put(key, value []byte, found bool) {
	set, tag, l := c.setOf(key)
	if l == nil {
		return
	}
	defer l.Unlock()
	if len(key)+len(value) > indexRoom {
		return
	}
	state := slotFull
	if !found {
		state = slotNone
	}
	i := set.find(tag, key)
	if i < 0 {
		i = set.victim(tag)
		set.slots[i].asked = false
	}
	set.fill(i, tag, key, value, state)
}

// victim returns the slot to be used for a new key: a free one, or one that nobody has asked
// for lately. So what is asked for once does not displace what is asked for again and again.
func (set indexSet) victim(tag uint32) int {
	if i := set.free(); i >= 0 {
		return i
	}
	for i := range set.slots {
		if !set.slots[i].asked {
			return i
		}
	}
	for i := range set.slots {
		set.slots[i].asked = false
	}
	return int(tag % indexWays)
}

// set implements indexBatch. A pair that was not there takes a free slot only: it may never be asked for.
func (c *indexCache) set(key, value []byte) error {
	set, tag, l := c.setOf(key)
	if l == nil {
		return nil
	}
	defer l.Unlock()
	i := set.find(tag, key)
	if i < 0 {
		if i = set.free(); i < 0 {
			return nil
		}
		set.slots[i].asked = false
	}
	set.fill(i, tag, key, value, slotFull)
	return nil
}

// delete implements indexBatch.
func (c *indexCache) delete(key []byte) error {
	set, tag, l := c.setOf(key)
	if l == nil {
		return nil
	}
	if i := set.find(tag, key); i >= 0 {
		set.tags[i] = 0
	}
	l.Unlock()
	return nil
}

// deleteRange implements indexBatch. What is kept here is hardly ever deleted by ranges.
func (c *indexCache) deleteRange(from, to []byte) error {
	for _, kind := range []byte{keyHead, keySeg} {
		if len(from) == 0 || from[0] <= kind && (len(to) == 0 || to[0] >= kind) {
			c.clear()
			break
		}
	}
	return nil
}

func (c *indexCache) clear() {
	for i := range c.slots {
		l := &c.locks[i/indexWays%indexStripes]
		l.Lock()
		if c.tags[i] != 0 { // memory that was never used stays so
			c.tags[i] = 0
		}
		l.Unlock()
	}
}

// knownHead returns the head that the index has under a key, if that is in memory.
func (d *Disk) knownHead(key []byte) (h head, found, known bool) {
	var room [indexRoom]byte
	v, found, known := d.heads.get(key, room[:0])
	if !found {
		return head{}, false, known || d.filter.absent(key)
	}
	h, err := decodeHead(v)
	return h, err == nil, err == nil // at damage whoever asks the index is told
}

// knownSegment is knownHead for a segment, which it puts into s.
func (d *Disk) knownSegment(key []byte, s *segment) (found, known bool) {
	var room [indexRoom]byte
	v, found, known := d.heads.get(key, room[:0])
	if !found {
		return false, known
	}
	err := s.decode(v)
	return err == nil, err == nil
}

// getHead returns what the index has under the key of an object.
func (d *Disk) getHead(key []byte) (h head, found bool, err error) {
	if h, found, known := d.knownHead(key); known {
		return h, found, nil
	}
	found, err = d.fetch(key, func(v []byte) (err error) {
		h, err = decodeHead(v)
		return err
	})
	return h, found, err
}

// findSegment puts a segment into s; false when there is none.
func (d *Disk) findSegment(key []byte, s *segment) (found bool, err error) {
	if found, known := d.knownSegment(key, s); known {
		return found, nil
	}
	return d.fetch(key, s.decode)
}

// getSegment returns nil when there is none.
func (d *Disk) getSegment(key []byte) (*segment, error) {
	s := &segment{}
	if found, err := d.findSegment(key, s); err != nil || !found {
		return nil, err
	}
	return s, nil
}
