package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Problem is something Check found wrong.
type Problem struct {
	Key    Key    // the object; zero when the finding belongs to none
	Offset uint64 // in the object's data, when that is damaged
	Err    error
}

// String returns the finding for a person.
func (p Problem) String() string { return p.Err.Error() }

// Report sums up a Check.
type Report struct {
	Objects, Keys int64 // objects in all spaces, attributes and omap keys
	Bytes         int64 // of data read and verified
	Problems      int64
}

// Check reads all a store holds and verifies it: checksums of every block, that
// every index entry belongs to an object and every block to at most one, and that
// no block is lost. It calls found for every problem. Changes made meanwhile can
// look like damage, so the store should be idle; reads do no harm.
func (d *Disk) Check(ctx context.Context, found func(Problem)) (Report, error) {
	if err := d.enter(); err != nil {
		return Report{}, err
	}
	defer d.life.RUnlock()
	d.view.RLock()
	c := checker{d: d, ctx: ctx, snap: d.db.NewSnapshot(), seq: d.applied.seq, names: map[uint64]Key{}, inline: map[uint64]uint64{}, found: found}
	used, waiting, _ := d.alloc.counts()
	d.view.RUnlock()
	defer c.snap.Close()
	for _, step := range []func() error{c.heads, c.inlines, c.segments, c.shares, c.entries} {
		if err := step(); err != nil {
			return c.report, fmt.Errorf("check store %s: %w", d.dir, corrupt(err))
		}
	}
	d.view.RLock()
	idle := d.applied.seq == c.seq
	d.view.RUnlock()
	if lost := int64(used-waiting-1) - c.blocks; idle && lost != 0 {
		c.problem(Key{}, 0, fmt.Errorf("%d blocks are taken and belong to no object; opening the store anew frees them", lost))
	}
	return c.report, nil
}

type checker struct {
	d      *Disk
	ctx    context.Context
	snap   *pebble.Snapshot
	seq    uint64
	names  map[uint64]Key    // by object number
	inline map[uint64]uint64 // sizes of the objects whose bytes are in the index
	blocks int64             // that objects own
	claims shareCount
	found  func(Problem)
	report Report
}

func (c *checker) problem(k Key, off uint64, err error) {
	c.report.Problems++
	c.found(Problem{k, off, err})
}

// each calls f for the index entries of some kinds.
func (c *checker) each(from, to byte, f func(k, v []byte)) error {
	it, err := c.snap.NewIter(&pebble.IterOptions{LowerBound: []byte{from}, UpperBound: []byte{to + 1}})
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		f(it.Key(), v)
	}
	return it.Error()
}

func (c *checker) heads() error {
	return c.each(keyHead, keyHead, func(key, v []byte) {
		s, gen, name, ok := parseHeadKey(key)
		k := Key{s.pg, s.sp, string(name)}
		h, err := decodeHead(v)
		if !ok || err != nil {
			c.problem(k, 0, fmt.Errorf("object %s: index entry %x cannot be read: %w", k, key, ErrCorrupt))
			return
		}
		if other, ok := c.names[h.oid]; ok {
			c.problem(k, 0, fmt.Errorf("objects %s and %s have the same number %d: %w", k, other, h.oid, ErrCorrupt))
		}
		c.names[h.oid] = k
		if h.inline {
			c.inline[h.oid] = h.size
		}
		c.d.view.RLock()
		if gen == c.d.gens[s] {
			c.report.Objects++
		}
		c.d.view.RUnlock()
	})
}

func (c *checker) segments() error {
	_, _, most := c.d.alloc.counts()
	owned := newAllocator(1, most, 1<<16, func(uint64) error { return nil })
	buf := alignedBytes(segBytes)
	c.claims.get = func(row uint64) (*shares, error) { return readShares(c.snap, row) } // damage is reported on its own
	return c.each(keySeg, keySeg, func(key, v []byte) {
		oid, idx, ok := parseSegKey(key)
		k, known := c.names[oid]
		s, err := decodeSegment(v)
		switch {
		case !ok || err != nil:
			c.problem(k, 0, fmt.Errorf("object %s: index entry %x cannot be read: %w", k, key, ErrCorrupt))
			return
		case !known:
			c.problem(k, 0, fmt.Errorf("blocks of object number %d, which does not exist: %w", oid, ErrCorrupt))
			return
		}
		s.runs(func(first int, r run) {
			c.blocks += int64(r.count)
			err := owned.claim(r, func(b uint64) bool {
				c.blocks--
				return c.claims.add(b)
			})
			if err != nil {
				c.problem(k, uint64(idx)*segBytes, fmt.Errorf("object %s: %w", k, err))
			}
			for i := range int(r.count) {
				off := uint64(idx)*segBytes + uint64(first+i)*blockBytes
				err := c.d.readBlock(r.start+uint64(i), s.sum[first+i], buf[:blockBytes])
				if err != nil {
					err = c.again(key, v, r.start+uint64(i), s.sum[first+i], buf[:blockBytes])
				}
				if err != nil {
					c.problem(k, off, fmt.Errorf("object %s: block at offset %d: %w", k, off, err))
				}
				c.report.Bytes += blockBytes
			}
		})
	})
}

// again reads a block that did not match while nothing moves. If its index entry is
// not the snapshot's any more, it was overwritten or freed meanwhile (a removed
// space goes on being purged after the store was opened), which is no damage.
func (c *checker) again(key, entry []byte, phys uint64, sum uint32, b []byte) error {
	c.d.view.RLock()
	defer c.d.view.RUnlock()
	now, closer, err := c.d.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	same := bytes.Equal(now, entry)
	if err := closer.Close(); err != nil || !same {
		return err
	}
	o, ok := c.d.overlay.get(phys)
	if ok {
		copy(b, o)
	}
	return c.d.finishBlock(phys, sum, b, ok)
}

func (c *checker) entries() error {
	entry := func(key, _ []byte) {
		c.report.Keys++
		if len(key) < kvPrefix {
			c.problem(Key{}, 0, fmt.Errorf("index entry %x cannot be read: %w", key, ErrCorrupt))
			return
		}
		oid, _, _ := parseSegKey(append(cloneBytes(key[:kvPrefix]), 0, 0, 0, 0))
		if _, ok := c.names[oid]; !ok {
			c.problem(Key{}, 0, fmt.Errorf("attribute or omap key of object number %d, which does not exist: %w", oid, ErrCorrupt))
		}
	}
	if err := c.each(keyAttr, keyAttr, entry); err != nil {
		return err
	}
	return c.each(keyOmap, keyOmap, entry)
}
