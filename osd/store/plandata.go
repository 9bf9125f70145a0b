package store

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cairnstore/cairn/internal/slab"
)

// bigWrite is the whole-block part of an OpWrite that went to fresh blocks of
// the data file before the batch was planned; only where it lies is journaled.
type bigWrite struct {
	op    int // index in Batch.Ops
	first uint64
	phys  []uint64
	sums  []uint32
	runs  []run

	synced bool // its blocks are durable
}

func (w *bigWrite) find(block uint64) (phys uint64, sum uint32, ok bool) {
	if w == nil || block < w.first || block-w.first >= uint64(len(w.phys)) {
		return 0, 0, false
	}
	return w.phys[block-w.first], w.sums[block-w.first], true
}

func (p *planner) write(on *onode, op *Op, pre *bigWrite) error {
	off, data := op.Off, op.Data
	if len(data) == 0 {
		return nil
	}
	if done, err := p.writeInline(on, off, data); done || err != nil {
		return err
	}
	end, size := off+uint64(len(data)), on.size
	var s *segment
	segIdx := ^uint32(0)
	for pos := off; pos < end; {
		block, in := pos/blockBytes, pos%blockBytes
		n := min(blockBytes-in, end-pos)
		idx, i := uint32(block/segBlocks), int(block%segBlocks)
		if idx != segIdx {
			var err error
			if s, err = p.change(on, idx); err != nil {
				return err
			}
			segIdx = idx
		}
		part := data[pos-off : pos-off+n]
		if phys, sum, ok := pre.find(block); ok {
			if s.phys[i] != 0 {
				p.giveUp(run{s.phys[i], 1})
			} else {
				p.blocks++
			}
			s.set(i, phys, sum)
		} else if err := p.writeBlock(on, s, i, pos, part, op.Mem, in == 0 && pos+n >= size); err != nil {
			return err
		}
		pos += n
	}
	if end > size {
		p.resize(on, end)
	}
	return nil
}

// writeBlock journals a small write. all says that it replaces everything the
// block holds of the object.
func (p *planner) writeBlock(on *onode, s *segment, i int, pos uint64, part []byte, mem *slab.Buf, all bool) error {
	content, seal := part, checksum
	var sum uint32
	if len(part) == blockBytes {
		if known := mem.SumsOf(part); known != nil {
			sum = known[0]
		} else {
			sum = checksum(part)
		}
	} else {
		b, in := p.arena.block(), int(pos%blockBytes)
		if s.phys[i] == 0 || all {
			clear(b)
			content = b[:in+len(part)] // the journal need not hold the zeros behind
		} else {
			seal = p.blockNow(s, i, b)
			content = b
		}
		copy(b[in:], part)
		sum = seal(b)
	}
	return p.setBlock(s, i, sum, content)
}

// setBlock gives a segment's block new content, in place unless others use it.
func (p *planner) setBlock(s *segment, i int, sum uint32, content []byte) error {
	phys := s.phys[i]
	if phys == 0 || p.shared(phys) {
		var hint uint64
		switch {
		case i > 0 && s.phys[i-1] != 0:
			hint = s.phys[i-1] + 1
		case i < segBlocks-1 && s.phys[i+1] > 1:
			hint = s.phys[i+1] - 1
		}
		rs, err := p.d.alloc.alloc(1, p.keep, hint)
		if err != nil {
			return err
		}
		p.allocs = append(p.allocs, rs[0])
		if phys != 0 {
			p.giveUp(run{phys, 1})
		}
		phys = rs[0].start
		p.blocks++
	}
	s.set(i, phys, sum)
	p.putBlock(phys, content)
	return nil
}

// zero clears [off, end) of an object no shorter than end; whole blocks become holes.
func (p *planner) zero(on *onode, off, end uint64) error {
	changed := ^uint32(0) // the segment that is a copy already
	for pos := off; pos < end; {
		block, in := pos/blockBytes, pos%blockBytes
		idx, i := uint32(block/segBlocks), int(block%segBlocks)
		s, err := p.seg(on, idx)
		if err != nil {
			return err
		}
		if s == nil || s.mapped == 0 {
			pos = (uint64(idx) + 1) * segBytes
			continue
		}
		n := min(blockBytes-in, end-pos)
		if s.phys[i] == 0 {
			pos += n
			continue
		}
		if idx != changed {
			if s, err = p.change(on, idx); err != nil {
				return err
			}
			changed = idx
		}
		if in == 0 && (n == blockBytes || pos+n == on.size) {
			p.giveUp(run{s.phys[i], 1})
			s.unmap(i)
		} else {
			b := p.arena.block()
			seal := p.blockNow(s, i, b)
			clear(b[in : in+n])
			if err := p.setBlock(s, i, seal(b), b); err != nil {
				return err
			}
		}
		pos += n
	}
	return nil
}

func (p *planner) setKV(kind byte, oid uint64, name, value []byte) {
	p.scratch = appendKV(p.scratch[:0], kind, oid, name)
	p.rec.kv = appendKVSet(p.rec.kv, p.scratch, value)
	p.adds += int64(len(name)+len(value)) + 16
}

func (p *planner) delKV(kind byte, oid uint64, name []byte) {
	p.scratch = appendKV(p.scratch[:0], kind, oid, name)
	p.rec.kv = appendKVDelete(p.rec.kv, p.scratch)
}

// rmOmapRange deletes keys from start to end.
func (p *planner) rmOmapRange(on *onode, start, end []byte) error {
	from := start
	if bytes.Compare(start, on.low) <= 0 {
		// Skip the graveyard of keys deleted before: a log that is cut at its old end again
		// and again would otherwise walk over all its dead entries every time.
		from = on.low
	}
	if len(end) > 0 && bytes.Compare(from, end) >= 0 {
		from = start
	}
	n, err := p.rmKeys(keyOmap, on.oid, from, end, on.newOmap)
	if err != nil {
		return fmt.Errorf("object %s: %w", on.key, err)
	}
	if !on.omapCut {
		on.omapN -= min(on.omapN, uint64(n))
		if on.omapMax > 64 && on.omapN < on.omapMax/4 {
			on.omapMax = 2 * on.omapN
			p.changeHead(on)
		}
	}
	on.omapCut = true
	if bytes.Compare(start, on.low) <= 0 && len(end) > 0 && bytes.Compare(end, on.low) > 0 {
		on.low = cloneBytes(end)
	}
	return nil
}

// rmKeysMax is how many keys a range deletion deletes one by one. Beyond it
// one range tombstone is cheaper, but many of those slow all reads of the index.
const rmKeysMax = 256

// rmKeys deletes the keys of an object from start to end, among them those the
// group has set and the index does not show yet. It returns how many existed
// for certain.
func (p *planner) rmKeys(kind byte, oid uint64, start, end []byte, fresh [][]byte) (int, error) {
	lo := appendKV(nil, kind, oid, start)
	var hi []byte
	if len(end) > 0 {
		hi = appendKV(nil, kind, oid, end)
	} else {
		hi = keyAfter(appendKV(nil, kind, oid, nil))
	}
	if bytes.Compare(lo, hi) >= 0 {
		return 0, nil
	}
	mark := len(p.rec.kv)
	n, more, err := p.d.eachKey(lo, hi, rmKeysMax, func(key []byte) {
		p.rec.kv = appendKVDelete(p.rec.kv, key)
	})
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return 0, err
	}
	if err != nil || more { // what cannot be read can be removed: that is how a damaged copy is replaced
		p.rec.kv = appendKVDelRange(p.rec.kv[:mark], lo, hi)
		return n, nil
	}
	for _, name := range fresh {
		if bytes.Compare(name, start) >= 0 && (len(end) == 0 || bytes.Compare(name, end) < 0) {
			p.delKV(kind, oid, name)
		}
	}
	return n, nil
}

// purgeSome deletes up to n objects of a removed space in a group of its own
// batch. done says that none is left.
func (p *planner) purgeSome(sp spaceKey, gen uint32, n int) (done bool, err error) {
	p.begin()
	p.keep = 0
	prefix := appendHeadPrefix(nil, sp, gen)
	var victims []*onode
	var bad error
	_, more, err := p.d.eachPair(prefix, keyAfter(prefix), n, func(key, value []byte) {
		_, _, name, ok := parseHeadKey(key)
		h, err := decodeHead(value)
		if !ok || err != nil {
			bad = fmt.Errorf("purge removed space %d of PG %s: %w", sp.sp, sp.pg, ErrCorrupt)
			return
		}
		on := &onode{key: Key{sp.pg, sp.sp, string(name)}, gen: gen}
		on.body = body{exists: true, head: h, all: h.inline, headDone: true}
		victims = append(victims, on)
	})
	if err == nil {
		err = bad
	}
	for _, on := range victims {
		if err != nil {
			break
		}
		err = p.removeStored(on)
		if p.cost() > p.d.journal.maxPayload()/2 {
			more = true
			break
		}
	}
	if err != nil {
		p.rollback()
		return false, err
	}
	if !more {
		p.rec.kv = appendKVDelete(p.rec.kv, appendDoomedKey(nil, sp, gen))
	}
	return !more, nil
}
