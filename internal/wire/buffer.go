package wire

import (
	"math/bits"
	"sync"
)

// Pooled memory comes in classes 512, 768, 1024, 1536 ... 8 MiB, so at most a
// third of a buffer is waste.
const (
	classMinBits = 9
	classMaxBits = 23
	bufferMax    = 1 << classMaxBits // larger buffers are not pooled
	classes      = 2*(classMaxBits-classMinBits) + 1
)

var buffers [classes]sync.Pool

// buffer is a piece of pooled memory. It is released at most once.
type buffer struct {
	b     []byte
	class int // -1: not pooled
}

// classOf returns the smallest class that holds n bytes, and its size.
func classOf(n int) (class, size int) {
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

// getBuffer returns a buffer of length n with arbitrary content.
func getBuffer(n int) *buffer {
	if n > bufferMax {
		return &buffer{b: make([]byte, n), class: -1}
	}
	class, size := classOf(n)
	if v, ok := buffers[class].Get().(*buffer); ok {
		v.b = v.b[:n]
		return v
	}
	return &buffer{b: make([]byte, n, size), class: class}
}

func (b *buffer) release() {
	if b != nil && b.class >= 0 {
		buffers[b.class].Put(b)
	}
}
