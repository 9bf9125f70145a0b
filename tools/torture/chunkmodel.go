package torture

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// The bodies that clients write to the pool with chunks come from a small set, so that most chunks are stored already,
// or are just being deleted. Some are written once only.
const (
	bodies  = 10
	bodyMin = 64 << 10
	bodyMax = 200 << 10
)

// bodySource names a body of the set; others are bodies of one object.
func bodySource(i int) string { return "body " + strconv.Itoa(i) }

var bodyCache sync.Map // of the set, by source

// bodyOf returns a body: some cannot be compressed, some to a half, and some to next to nothing.
func bodyOf(source string) []byte {
	if b, ok := bodyCache.Load(source); ok {
		return b.([]byte)
	}
	seed := sha256.Sum256([]byte(source))
	rng := rand.NewChaCha8(seed)
	n := bodyMin + int(rng.Uint64()%(bodyMax-bodyMin))
	if i, shared := strings.CutPrefix(source, "body "); shared && len(i) == 1 && i[0]%2 == 0 {
		n = n >> 16 << 16 // only whole chunks
	}
	b := make([]byte, n)
	_, _ = rng.Read(b) // never fails
	switch seed[0] % 4 {
	case 0:
		for i := range b {
			b[i] = b[i%64]
		}
	case 1:
		for i := range b {
			if i/512%2 == 0 {
				b[i] = 0
			}
		}
	}
	if strings.HasPrefix(source, "body ") {
		bodyCache.Store(source, b)
	}
	return b
}

// span is a part of what an object should have: n bytes of a body from off on, or zeros if that has no name.
type span struct {
	source string
	off, n int
}

// spans is what an object should have.
type spans []span

func (s spans) size() (n int) {
	for _, x := range s {
		n += x.n
	}
	return n
}

// cut returns the part from one offset to another.
func (s spans) cut(from, to int) (out spans) {
	at := 0
	for _, x := range s {
		lo, hi := max(from, at), min(to, at+x.n)
		if lo < hi {
			out = append(out, span{x.source, x.off + lo - at, hi - lo})
		}
		at += x.n
	}
	return out
}

// write returns what becomes of s when w is written at off.
func (s spans) write(off int, w spans) spans {
	size := s.size()
	out := s.cut(0, min(off, size))
	if off > size {
		out = append(out, span{n: off - size})
	}
	out = append(out, w...)
	return append(out, s.cut(off+w.size(), size)...)
}

// truncate returns what becomes of s when it is made so long.
func (s spans) truncate(size int) spans {
	out := s.cut(0, size)
	if n := s.size(); n < size {
		out = append(out, span{n: size - n})
	}
	return out
}

func (s spans) bytes() []byte {
	var b []byte
	for _, x := range s {
		if x.source == "" {
			b = append(b, make([]byte, x.n)...)
			continue
		}
		b = append(b, bodyOf(x.source)[x.off:x.off+x.n]...)
	}
	return b
}

// at says what should be at an offset.
func (s spans) at(off int) string {
	for _, x := range s {
		if off < x.n {
			if x.source == "" {
				return "a zero"
			}
			return fmt.Sprintf("byte %d of %q", x.off+off, x.source)
		}
		off -= x.n
	}
	return "nothing"
}

// chunkCell is the model of one object of the pool with chunks. Like a cell it has one writer, whose writes are
// numbered, the number being an attribute. What a write leaves is known only if what it changed was: so after one of
// unknown outcome the next replaces everything.
type chunkCell struct {
	cell

	sure   bool  // what the object has is known; the writer's own
	newest spans // then: what it has

	mu     sync.Mutex            // guards below
	states map[uint64]chunkState // what each write leaves
}

// chunkState is what a write leaves, and what kind of write it is.
type chunkState struct {
	spans
	kind string
}

const chunkRemove = "chunk remove"

// statesKept is how many writes back a read may look: far more than are begun while it goes on.
const statesKept = 4096

func newChunkCell(name string) *chunkCell {
	return &chunkCell{cell: cell{name: name}, sure: true, states: map[uint64]chunkState{}}
}

// next numbers a write that leaves a state.
func (x *chunkCell) next(kind string, state spans) uint64 {
	remove := kind == chunkRemove
	n := x.begin(remove)
	x.mu.Lock()
	defer x.mu.Unlock()
	if !remove {
		x.states[n] = chunkState{state, kind}
	}
	delete(x.states, n-statesKept)
	return n
}

// ended says how a write ended that was to leave a state.
func (x *chunkCell) ended(n uint64, state spans, out outcome) {
	switch out {
	case done:
		x.acked(n)
		x.sure, x.newest = true, state
	case unknown:
		x.sure, x.newest = false, nil
	}
}

// check compares bytes that were read from an offset on, to what should have been the object's end if whole, with
// what the write left whose label came with them.
func (x *chunkCell) check(data []byte, off, n int, attr, omap string) (uint64, error) {
	if attr != omap {
		return 0, fmt.Errorf("object %s: attribute of write %s with omap of write %s: half of a transaction", x.name, attr, omap)
	}
	nr, size, err := parseLabel(attr)
	if err != nil {
		return 0, fmt.Errorf("object %s: %w", x.name, err)
	}
	x.mu.Lock()
	state, ok := x.states[nr]
	x.mu.Unlock()
	if !ok {
		return nr, nil // one that was never begun, or removed: the cell says so
	}
	end := state.size()
	if n > 0 {
		end = min(end, off+n)
	}
	want := state.cut(off, end)
	wantBytes := want.bytes()
	if bytes.Equal(data, wantBytes) {
		return nr, nil
	}
	at := firstDifference(data, wantBytes)
	whose := "nothing that was ever written there"
	if w := x.whose(data, off, at); w != "" {
		whose = w
	}
	return 0, fmt.Errorf("object %s: write %d (%s) left %d bytes: %v; a read of %d at %d got %d, and should have got %d; at %d there should be %s, there is %s (%x)",
		x.name, nr, state.kind, size, state.spans, n, off, len(data), len(wantBytes), off+at, want.at(at), whose, data[min(at, len(data)):min(at+32, len(data))])
}

// whose looks for who wrote the bytes from at on of what was read at off.
func (x *chunkCell) whose(data []byte, off, at int) string {
	some := data[min(at, len(data)):min(at+32, len(data))]
	if len(some) == 0 {
		return "the end"
	}
	if len(bytes.Trim(some, "\x00")) == 0 {
		return "zeros"
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	var nrs []uint64
	for nr := range x.states {
		nrs = append(nrs, nr)
	}
	slices.Sort(nrs)
	for _, nr := range slices.Backward(nrs) {
		s := x.states[nr].cut(off+at, off+at+len(some))
		if bytes.Equal(s.bytes(), some) {
			return fmt.Sprintf("what write %d (%s) left there: %s", nr, x.states[nr].kind, s.at(0))
		}
	}
	return ""
}
