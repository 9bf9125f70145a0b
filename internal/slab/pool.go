package slab

import (
	"math/bits"
	"sync"
	"unsafe"
)

// Memory comes in classes 512, 768, 1024, 1536 ... 8 MiB, so at most a third of a
// slab is waste.
const (
	classMinBits = 9
	classMaxBits = 23

	// Classes is how many there are.
	Classes = 2*(classMaxBits-classMinBits) + 1

	// MaxPooled is the largest Buf whose memory is reused.
	MaxPooled = 1 << classMaxBits

	largeBytes = 64 << 10 // from here on a list per class, the newest first, below it a sync.Pool
	freeMax    = 64 << 20 // bytes in those lists, unless SetFreeMax says otherwise
)

var (
	small [Classes]sync.Pool // of *memory

	large struct {
		mu    sync.Mutex // guards below
		free  [Classes][]*memory
		bytes int
		max   int
	}
)

// SetFreeMax bounds the large memory that is kept for reuse, in bytes; default 64 MiB.
// What is in use does not count.
func SetFreeMax(n int) {
	large.mu.Lock()
	defer large.mu.Unlock()
	large.max = max(n, 1)
}

// ClassOf returns the smallest class that holds n bytes, at most MaxPooled, and its size.
func ClassOf(n int) (class, size int) {
	if n <= 1<<classMinBits {
		return 0, 1 << classMinBits
	}
	top := bits.Len(uint(n - 1)) // 1<<top >= n
	half := 1 << (top - 1)
	if mid := half + half/2; n <= mid {
		return 2*(top-classMinBits) - 1, mid
	}
	return 2 * (top - classMinBits), 1 << top
}

func getMemory(n int) *memory {
	if n > MaxPooled {
		return &memory{mem: Aligned(n), class: -1}
	}
	class, size := ClassOf(n)
	if size < largeBytes {
		if s, ok := small[class].Get().(*memory); ok {
			return s
		}
		return &memory{mem: Aligned(size), class: class}
	}
	large.mu.Lock()
	if l := large.free[class]; len(l) > 0 {
		s := l[len(l)-1]
		l[len(l)-1] = nil
		large.free[class] = l[:len(l)-1]
		large.bytes -= size
		large.mu.Unlock()
		return s
	}
	large.mu.Unlock()
	if size >= hugeBytes {
		return &memory{mem: alignedHuge(size), class: class}
	}
	return &memory{mem: Aligned(size), class: class}
}

func putMemory(s *memory) {
	if s == nil || s.class < 0 {
		return
	}
	s.mem = s.mem[:cap(s.mem)]
	if !poison.Load() {
		keepFree(s)
		return
	}
	for _, s := range detain(s) {
		keepFree(s)
	}
}

// keepFree keeps memory for reuse.
func keepFree(s *memory) {
	if len(s.mem) < largeBytes {
		small[s.class].Put(s)
		return
	}
	large.mu.Lock()
	defer large.mu.Unlock()
	limit := large.max
	if limit == 0 {
		limit = freeMax
	}
	large.free[s.class] = append(large.free[s.class], s)
	large.bytes += len(s.mem)
	for class := range large.free { // what sizes were in use before goes first
		for l := large.free[class]; large.bytes > limit && len(l) > 0 && class != s.class; l = large.free[class] {
			dropOldest(class)
		}
	}
	for large.bytes > limit {
		dropOldest(s.class)
	}
}

// dropOldest leaves a slab to the garbage collector; large.mu is held.
func dropOldest(class int) {
	l := large.free[class]
	large.bytes -= len(l[0].mem)
	copy(l, l[1:])
	l[len(l)-1] = nil
	large.free[class] = l[:len(l)-1]
}

// Aligned allocates n bytes that begin at a multiple of BlockBytes, if they are that many.
func Aligned(n int) []byte {
	// The Go allocator places whole multiples of 4 KiB on such boundaries; check, as
	// nothing promises it.
	b := make([]byte, n)
	if n < BlockBytes || uintptr(unsafe.Pointer(unsafe.SliceData(b)))%BlockBytes == 0 {
		return b
	}
	b = make([]byte, n+BlockBytes)
	skip := BlockBytes - int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))%BlockBytes)
	return b[skip : skip+n : skip+n]
}
