package slab

import (
	"sync/atomic"
	"unsafe"
)

// BlockBytes is how much of a Buf one checksum covers; it is the store's block, too.
const BlockBytes = 4096

// Buf is a piece of memory that is counted by its users. The zero Buf is empty;
// New and Init make it one with memory and one user, the caller. A Buf must not be copied.
//
// Its content may be written by the one who made it until it is given to others;
// from then on everybody only reads.
type Buf struct {
	from   *memory
	data   []byte
	summed bool
	users  atomic.Int32
}

// memory is what is reused: memory, and room for its checksums.
type memory struct {
	mem   []byte // begins at a multiple of BlockBytes if it is that large
	sums  []uint32
	class int // -1: not to be reused
}

// New returns a Buf of n bytes with arbitrary content and one user, the caller.
func New(n int) *Buf {
	b := &Buf{}
	b.Init(n)
	return b
}

// Init is New for a Buf that is part of something else.
func (b *Buf) Init(n int) {
	b.from = getMemory(n)
	b.data = b.from.mem[:n]
	b.users.Store(1)
}

// InitWith makes b a Buf of memory that is not to be reused.
func (b *Buf) InitWith(data []byte) {
	b.from = &memory{mem: data, class: -1}
	b.data = data
	b.users.Store(1)
}

// Bytes returns the memory. It is valid as long as the caller is a user.
func (b *Buf) Bytes() []byte { return b.data }

// Shorten cuts the Buf to its first n bytes, for whoever fills it.
func (b *Buf) Shorten(n int) {
	b.data = b.data[:n]
	b.summed = false
}

// Retain counts one more user. The caller must be one, or know that somebody is for
// as long as the call lasts. It does nothing on nil.
func (b *Buf) Retain() {
	if b != nil && b.users.Add(1) <= 1 {
		panic("slab: memory is used again after everybody had released it")
	}
}

// Release ends one use. The last one gives the memory away: whoever still has a
// slice of it would see other data there. It does nothing on nil.
func (b *Buf) Release() {
	if b == nil {
		return
	}
	switch n := b.users.Add(-1); {
	case n < 0:
		panic("slab: memory was released more often than it was retained")
	case n == 0:
		s := b.from
		b.from, b.data, b.summed = nil, nil, false
		putMemory(s)
	}
}

// Holds reports whether p lies in the Buf, and where it begins.
func (b *Buf) Holds(p []byte) (off int, ok bool) {
	if b == nil || len(p) == 0 || len(b.data) == 0 {
		return 0, false
	}
	at := uintptr(unsafe.Pointer(unsafe.SliceData(p))) - uintptr(unsafe.Pointer(unsafe.SliceData(b.data))) // huge if p is before
	if at > uintptr(len(b.data)-1) || len(p) > len(b.data)-int(at) {
		return 0, false
	}
	return int(at), true
}
