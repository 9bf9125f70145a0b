package store

import (
	"hash/maphash"
	"sync"
)

const (
	headSlots   = 8192 // of 160 bytes
	headStripes = 64   // locks
	headKeyMax  = 96   // longer keys are not kept
)

// headCache keeps heads that were looked up lately, also that there is none. A write
// asks for those of its object and its PG two or three times, a read twice, and each
// answer of the index costs microseconds. It has a fixed size and no pointers.
//
// It always says what the index says: a group's changes go into it with those of the index,
// both under Disk.view, and lookups that fill it hold view or are the committer's.
type headCache struct {
	seed  maphash.Seed
	locks [headStripes]sync.Mutex // each guards every 64th slot
	slots []headSlot
}

type headSlot struct {
	used, found bool
	n           uint8 // bytes of key
	key         [headKeyMax]byte
	head        head
}

func newHeadCache() *headCache {
	return &headCache{seed: maphash.MakeSeed(), slots: make([]headSlot, headSlots)}
}

// slot returns where a key would be, with its lock held; nil for a key that is not kept.
func (c *headCache) slot(key []byte) (*headSlot, *sync.Mutex) {
	if len(key) > headKeyMax || len(key) == 0 || key[0] != keyHead {
		return nil, nil
	}
	i := maphash.Bytes(c.seed, key) % headSlots
	l := &c.locks[i%headStripes]
	l.Lock()
	return &c.slots[i], l
}

func (s *headSlot) is(key []byte) bool { return s.used && string(s.key[:s.n]) == string(key) }

// get returns what the index has, if that is known.
func (c *headCache) get(key []byte) (h head, found, known bool) {
	s, l := c.slot(key)
	if s == nil {
		return head{}, false, false
	}
	defer l.Unlock()
	if !s.is(key) {
		return head{}, false, false
	}
	return s.head, s.found, true
}

// put notes what the index has.
func (c *headCache) put(key []byte, h head, found bool) {
	s, l := c.slot(key)
	if s == nil {
		return
	}
	defer l.Unlock()
	*s = headSlot{used: true, found: found, n: uint8(len(key)), head: h}
	copy(s.key[:], key)
}

// set implements indexBatch.
func (c *headCache) set(key, value []byte) error {
	s, l := c.slot(key)
	if s == nil {
		return nil
	}
	defer l.Unlock()
	if !s.is(key) {
		return nil // it may never be asked for
	}
	h, err := decodeHead(value)
	if err != nil {
		s.used = false // whoever asks the index is told
		return nil
	}
	s.head, s.found = h, true
	return nil
}

// delete implements indexBatch.
func (c *headCache) delete(key []byte) error {
	if s, l := c.slot(key); s != nil {
		if s.is(key) {
			s.used = false
		}
		l.Unlock()
	}
	return nil
}

// deleteRange implements indexBatch. Heads are hardly ever deleted by ranges.
func (c *headCache) deleteRange(from, to []byte) error {
	if len(from) > 0 && from[0] <= keyHead && (len(to) == 0 || to[0] >= keyHead) {
		c.clear()
	}
	return nil
}

func (c *headCache) clear() {
	for i := range c.slots {
		l := &c.locks[i%headStripes]
		l.Lock()
		c.slots[i].used = false
		l.Unlock()
	}
}
