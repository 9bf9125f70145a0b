package store

import (
	"hash/maphash"
	"math/bits"
	"sync"
)

const (
	filterLine  = 8       // words of a line of the filter, which is one of the processor's cache
	filterKeys  = 40      // keys per line: 12.8 bits each, about one wrong answer in two hundred
	filterFirst = 1 << 10 // lines of the first layer
	filterLines = 1 << 18 // lines of all layers: 16 MiB
)

// headFilter knows of most names that have no head in the index that they have none, so that
// making an object does not search the index for it. It is a Bloom filter: it never says so of a head that is
// there. It forgets nothing: keys that were deleted, and keys beyond what it has room for, only make it
// say so more rarely.
//
// A head goes in before the group that sets it is visible. A nil filter knows nothing.
type headFilter struct {
	seed   maphash.Seed
	mu     sync.RWMutex // guards below
	layers []filterLayer
	lines  int
	off    bool // it knows nothing any more
}

// filterLayer is twice as large as the one before it. Keys go into the last.
type filterLayer struct {
	words []uint64
	keys  int
}

func newHeadFilter() *headFilter { return &headFilter{seed: maphash.MakeSeed()} }

// probe returns the line of a hash in a layer, and which bits of it are its: six, each in another word.
func (l *filterLayer) probe(h uint64) (line []uint64, bit func(i int) (word int, mask uint64)) {
	at, _ := bits.Mul64(h, uint64(len(l.words)/filterLine))
	rest := h * 0x9e3779b97f4a7c15 // the high bits of h chose the line
	return l.words[at*filterLine:][:filterLine], func(i int) (int, uint64) {
		return (i + int(rest&7)) & 7, 1 << (rest >> (6*i + 4) & 63)
	}
}

const filterProbes = 6

// absent reports whether the index certainly has no head under a key.
func (f *headFilter) absent(key []byte) bool {
	if f == nil || len(key) == 0 || key[0] != keyHead {
		return false
	}
	h := maphash.Bytes(f.seed, key)
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.off {
		return false
	}
	for i := range f.layers {
		if f.layers[i].has(h) {
			return false
		}
	}
	return true
}

func (l *filterLayer) has(h uint64) bool {
	line, bit := l.probe(h)
	for i := range filterProbes {
		if w, mask := bit(i); line[w]&mask == 0 {
			return false
		}
	}
	return true
}

// add notes that the index has a head under a key, or is about to.
func (f *headFilter) add(key []byte) {
	if f == nil || len(key) == 0 || key[0] != keyHead {
		return
	}
	h := maphash.Bytes(f.seed, key)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.off {
		return
	}
	for i := range f.layers { // most heads are there already: they change
		if f.layers[i].has(h) {
			return
		}
	}
	n := len(f.layers)
	if n == 0 || f.layers[n-1].keys >= len(f.layers[n-1].words)/filterLine*filterKeys {
		if lines := filterFirst << n; f.lines+lines <= filterLines {
			f.layers = append(f.layers, filterLayer{words: make([]uint64, lines*filterLine)})
			f.lines += lines
			n++
		}
	}
	l := &f.layers[n-1]
	l.keys++
	line, bit := l.probe(h)
	for i := range filterProbes {
		w, mask := bit(i)
		line[w] |= mask
	}
}

// stop makes the filter know nothing: it missed a head.
func (f *headFilter) stop() {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.off, f.layers = true, nil
}

// headNotes passes on what changes in the index.
type headNotes struct {
	*indexCache
	filter *headFilter
}

// set implements indexBatch.
func (n headNotes) set(key, value []byte) error {
	n.filter.add(key)
	return n.indexCache.set(key, value)
}
