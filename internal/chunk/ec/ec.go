// Package ec makes the shards of a chunk from its stored bytes, and the bytes from enough of the shards.
//
// A chunk is one stripe: its bytes are split into k contiguous data shards of equal size, the last of which are filled
// up with zeros, and m parity shards follow. Shards of whole copies are all the bytes. How parity is computed is part of
// the disk format (docs/formats/chunks.md): testdata has examples that must never change.
package ec

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/reedsolomon"

	"github.com/cairnstore/cairn/placement"
)

// ErrTooFew is what Reconstruct and Join return when fewer than k shards are there.
var ErrTooFew = errors.New("too few shards")

// ErrShards is what is returned for shards that cannot be of one chunk: a wrong number of them, or different sizes.
var ErrShards = errors.New("not the shards of one chunk")

// Coder encodes and decodes chunks of one redundancy. It may be used concurrently.
type Coder struct {
	r   placement.Redundancy
	enc reedsolomon.Encoder // nil for whole copies
}

// coders has what New made. There are at most a few hundred valid redundancies.
var coders sync.Map // placement.Redundancy -> *Coder

// New returns the coder of a redundancy, always the same one.
func New(r placement.Redundancy) (*Coder, error) {
	if c, ok := coders.Load(r); ok {
		return c.(*Coder), nil
	}
	if err := r.Check(); err != nil {
		return nil, err
	}
	if r.IsZero() {
		return nil, errors.New("redundancy none has no shards")
	}
	c := &Coder{r: r}
	if r.Codec != placement.Replica {
		// One goroutine: a chunk takes less than a millisecond, and many are encoded at a time.
		o := []reedsolomon.Option{reedsolomon.WithMaxGoroutines(1)}
		if r.Codec == placement.XOR {
			o = append(o, reedsolomon.WithFastOneParityMatrix())
		}
		var err error
		if c.enc, err = reedsolomon.New(int(r.K), int(r.M), o...); err != nil {
			return nil, fmt.Errorf("redundancy %s: %w", r, err)
		}
	}
	got, _ := coders.LoadOrStore(r, c)
	return got.(*Coder), nil
}

// Redundancy is what New was given.
func (c *Coder) Redundancy() placement.Redundancy { return c.r }

// ShardSize is how many bytes each shard of a chunk has of which n bytes are stored.
func (c *Coder) ShardSize(n int) int { return (n + int(c.r.K) - 1) / int(c.r.K) }

// ExtraBytes is how much memory Encode wants beside the n bytes that it is given.
func (c *Coder) ExtraBytes(n int) int {
	if c.enc == nil {
		return 0
	}
	size := c.ShardSize(n)
	return (c.r.Shards() - n/max(size, 1)) * size
}

// Encode returns the k+m shards of stored. Data shards are parts of stored itself; those that have to be filled up and
// the parity shards lie in mem if its capacity is ExtraBytes, else in memory of their own. An empty chunk has no shards:
// nil.
func (c *Coder) Encode(stored, mem []byte) [][]byte {
	if len(stored) == 0 {
		return nil
	}
	shards := make([][]byte, c.r.Shards())
	if c.enc == nil {
		for i := range shards {
			shards[i] = stored
		}
		return shards
	}
	size, extra := c.ShardSize(len(stored)), c.ExtraBytes(len(stored))
	if cap(mem) < extra {
		mem = make([]byte, extra)
	}
	mem = mem[:extra]
	rest := stored
	for i := range shards {
		if len(rest) >= size {
			shards[i], rest = rest[:size:size], rest[size:]
			continue
		}
		shards[i], mem = mem[:size:size], mem[size:]
		if i < int(c.r.K) { // parity is written over whatever is there
			clear(shards[i][copy(shards[i], rest):])
		}
		rest = nil
	}
	if err := c.enc.Encode(shards); err != nil {
		panic(fmt.Sprintf("%s of %d bytes: %v", c.r, len(stored), err)) // all shards are there and of one size
	}
	return shards
}

// check returns the size of the shards that are there.
func (c *Coder) check(shards [][]byte) (size, have int, err error) {
	if len(shards) != c.r.Shards() {
		return 0, 0, fmt.Errorf("%w: %d of %s", ErrShards, len(shards), c.r)
	}
	for i, s := range shards {
		if len(s) == 0 {
			continue
		}
		if size == 0 {
			size = len(s)
		}
		if len(s) != size {
			return 0, 0, fmt.Errorf("%w: shard %d has %d bytes, others have %d", ErrShards, i, len(s), size)
		}
		have++
	}
	if have < int(c.r.K) {
		return 0, 0, fmt.Errorf("%w: %d of %s", ErrTooFew, have, c.r)
	}
	return size, have, nil
}

// Reconstruct makes missing shards, those of no length, from any k others. With want, only those whose place in it is
// true; nil: all. A missing shard is made in its own capacity if that suffices.
func (c *Coder) Reconstruct(shards [][]byte, want []bool) error {
	size, have, err := c.check(shards)
	if err != nil || have == len(shards) {
		return err
	}
	if want != nil && len(want) != len(shards) {
		return fmt.Errorf("%w: %d of %d are wanted", ErrShards, len(want), len(shards))
	}
	if c.enc != nil {
		if want == nil {
			err = c.enc.Reconstruct(shards)
		} else {
			err = c.enc.ReconstructSome(shards, want)
		}
		if err != nil {
			return fmt.Errorf("reconstruct shards of %s: %w", c.r, err)
		}
		return nil
	}
	var whole []byte
	for _, s := range shards {
		if len(s) != 0 {
			whole = s
			break
		}
	}
	for i, s := range shards {
		if len(s) == 0 && (want == nil || want[i]) {
			if cap(s) < size {
				s = make([]byte, size)
			}
			shards[i] = s[:size]
			copy(shards[i], whole)
		}
	}
	return nil
}

// Verify reports whether all shards are there and belong to each other. Which of them is wrong it cannot tell.
func (c *Coder) Verify(shards [][]byte) (bool, error) {
	_, have, err := c.check(shards)
	switch {
	case err != nil:
		return false, err
	case have < len(shards):
		return false, fmt.Errorf("%w: %d of %s, all are needed to verify them", ErrTooFew, have, c.r)
	case c.enc != nil:
		return c.enc.Verify(shards)
	}
	for _, s := range shards[1:] {
		if string(s) != string(shards[0]) {
			return false, nil
		}
	}
	return true, nil
}

// Join returns the n stored bytes of a chunk from any k of its shards; those that are not there have no length. Data
// shards that are missing are made, as by Reconstruct. The bytes are appended to dst. A shard that lies already where
// Join would copy it to, in the capacity of dst, is not copied.
func (c *Coder) Join(dst []byte, shards [][]byte, n int) ([]byte, error) {
	size, _, err := c.check(shards)
	if err != nil {
		return dst, err
	}
	if n <= 0 || size != c.ShardSize(n) {
		return dst, fmt.Errorf("%w: %d bytes each, of a chunk of %d", ErrShards, size, n)
	}
	head := len(dst)
	dst = slices.Grow(dst, n)[:head+n]
	out := dst[head:]
	want, missing := make([]bool, len(shards)), false
	for i := range int(c.r.K) {
		if len(shards[i]) != 0 {
			continue
		}
		want[i], missing = true, true
		if to := (i + 1) * size; to <= n {
			shards[i] = out[i*size : i*size : to] // made where it belongs
		}
	}
	if missing {
		if err := c.Reconstruct(shards, want); err != nil {
			return dst[:head], err
		}
	}
	for _, s := range shards[:c.r.K] {
		m := min(len(s), len(out))
		if m != 0 && &s[0] != &out[0] {
			copy(out, s)
		}
		out = out[m:]
	}
	return dst, nil
}
