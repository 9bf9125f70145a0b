package wire

import (
	"sync"

	"github.com/cairnstore/cairn/internal/slab"
)

const bufferMax = slab.MaxPooled // larger buffers are not pooled

var buffers [slab.Classes]sync.Pool // pooled memory, in the classes of slab

// buffer is a piece of pooled memory. It is released at most once.
type buffer struct {
	b     []byte
	class int // -1: not pooled
}

// getBuffer returns a buffer of length n with arbitrary content.
func getBuffer(n int) *buffer {
	if n > bufferMax {
		return &buffer{b: make([]byte, n), class: -1}
	}
	class, size := slab.ClassOf(n)
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
