package chunkcare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/chunk/ec"
	"github.com/cairnstore/cairn/internal/chunk/pack"
)

// exam is what the bytes of a chunk's shards say.
type exam struct {
	wrong    string // what is wrong with the chunk, if no shard can be blamed
	odd      int    // the shard that is not of the chunk, though it can be read; -1: none
	verified bool   // the bytes are those that the chunk is named for
	together bool   // all shards that are there belong together
	data     []byte // the chunk's bytes, if they are not wrong
	shards   [][]byte
}

// examine looks whether shards belong together and have the bytes that their chunk is named for. Those that are missing are nil;
// there are enough. With more than enough, and if the fingerprint can be verified, one that is wrong is found.
func examine(e *entry, shards [][]byte) (x exam, err error) {
	coder, err := ec.New(e.layout.Redundancy)
	if err != nil {
		return x, fmt.Errorf("chunk %s: %w", e.fp, err)
	}
	x = tryShards(e, coder, shards)
	if x.wrong == "" {
		return x, nil
	}
	have := 0
	for _, s := range shards {
		if s != nil {
			have++
		}
	}
	if have <= int(e.layout.Redundancy.K) {
		return x, nil
	}
	for i := range shards {
		if shards[i] == nil {
			continue
		}
		without := slices.Clone(shards)
		without[i] = nil
		if y := tryShards(e, coder, without); y.wrong == "" && y.verified {
			y.odd, y.together = i, false
			return y, nil
		}
	}
	return x, nil
}

// tryShards is examine, but blames nobody.
func tryShards(e *entry, coder *ec.Coder, shards [][]byte) exam {
	x := exam{odd: -1, shards: slices.Clone(shards)}
	if err := coder.Reconstruct(x.shards, nil); err != nil {
		x.wrong = "its bytes cannot be restored: " + err.Error()
		return x
	}
	if ok, err := coder.Verify(x.shards); err != nil || !ok {
		x.wrong = "its shards can be read, but do not belong together"
		if err != nil {
			x.wrong += ": " + err.Error()
		}
		return x
	}
	x.together = true
	stored, err := coder.Join(nil, x.shards, int(e.layout.Stored))
	if err == nil {
		x.data, err = pack.Unpack(e.layout.Packing, stored, int(e.layout.Size), nil)
	}
	if err != nil {
		x.wrong = "its bytes cannot be restored: " + err.Error()
		return x
	}
	err = e.fp.Verify(e.domain, x.data)
	x.verified = err == nil
	if errors.Is(err, chunk.ErrOtherBytes) {
		x.wrong = "its shards can be read and belong together, but " + err.Error()
	}
	return x
}

// parityAgrees makes the chunk's stored bytes once more, of its last k shards, and compares.
func parityAgrees(e *entry, shards [][]byte) bool {
	coder, err := ec.New(e.layout.Redundancy)
	if err != nil {
		return false
	}
	last := slices.Clone(shards)
	clear(last[:e.layout.Redundancy.M])
	if err := coder.Reconstruct(last, nil); err != nil {
		return false
	}
	return slices.EqualFunc(shards, last, bytes.Equal)
}

// compare reads the shards of an entry that can be read, and finds out whether they belong together, can be unpacked, and have the
// bytes that the chunk is named for. A shard that does not belong to the others has to be made again elsewhere.
func (c *Care) compare(ctx context.Context, e *entry, v *verdict) error {
	shards := make([][]byte, len(e.layout.Holders))
	for i, h := range e.layout.Holders {
		if v.shards[i] != good && v.shards[i] != misplaced {
			continue
		}
		var err error
		if shards[i], err = c.o.Shards.Get(ctx, h, e.shard(i)); err != nil {
			return ctx.Err() // it has been moved or deleted, or its OSD has just gone: a matter for the next time
		}
	}
	x, err := examine(e, shards)
	if err != nil {
		return err
	}
	v.bad = x.wrong
	v.whole = x.wrong == "" && (x.verified || !slices.ContainsFunc(shards, func(s []byte) bool { return s == nil }))
	if x.odd >= 0 {
		c.blame(e, v, x.odd)
	}
	return nil
}

// blame notes that a shard can be read, but is not of the chunk.
func (c *Care) blame(e *entry, v *verdict, odd int) {
	c.log.Warn("shard is not of the chunk that it is named for; it is made again elsewhere", "shard", e.shard(odd), "osd", e.layout.Holders[odd])
	v.shards[odd], v.odd[odd], v.stays[odd], v.apart[odd] = lost, true, false, false
}
