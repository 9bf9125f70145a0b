package store

import (
	"encoding/binary"
	"fmt"
)

// inlineMax is the size up to which an object keeps its bytes in the index instead of in a block of
// the data file. They have a key of their own, by object number: a head holding them would make every
// change of a version, every listing and every start read and write them. BenchmarkSmallObjects
// prints what other bounds cost.
const inlineMax = 2048

const inlineSum = 4 // bytes of crc32c before an object's own in the index

func appendInlineKey(b []byte, oid uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, keyInline), oid)
}

func parseInlineKey(b []byte) (oid uint64, ok bool) {
	if len(b) != 9 {
		return 0, false
	}
	return binary.BigEndian.Uint64(b[1:]), true
}

// checkInline returns the bytes of an object of size bytes, verified.
func checkInline(v []byte, size uint64) ([]byte, error) {
	if uint64(len(v)) != inlineSum+size {
		return nil, fmt.Errorf("%d bytes in the index, want %d: %w", max(0, len(v)-inlineSum), size, ErrCorrupt)
	}
	b := v[inlineSum:]
	if checksum(b) != binary.LittleEndian.Uint32(v) {
		return nil, fmt.Errorf("its bytes in the index: %w", ErrCorrupt)
	}
	return b, nil
}

// readInline reads up to n bytes at off of an object whose bytes are in the index, into mem when they
// fit. The caller holds view.
func (d *Disk) readInline(h *head, off, n uint64, mem []byte) ([]byte, error) {
	var room [16]byte
	v, ok, err := d.get(appendInlineKey(room[:0], h.oid)) // a copy: what is verified must not move
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("its bytes are not in the index: %w", ErrCorrupt)
	}
	b, err := checkInline(v, h.size)
	if err != nil {
		return nil, err
	}
	b = b[off : off+n : off+n]
	if n <= uint64(len(mem)) {
		return mem[:copy(mem, b):n], nil
	}
	return b, nil
}

// inlineNow returns the bytes of an inline object after what is planned so far; the caller must not
// change them. What is damaged reads as zeros and stays damaged: bad goes with what is made of them.
func (p *planner) inlineNow(on *onode) (b []byte, bad bool) {
	if on.inData != nil {
		return on.inData, on.inBad
	}
	p.scratch = appendInlineKey(p.scratch[:0], on.oid)
	v, ok, err := p.d.get(p.scratch)
	if err == nil && ok {
		if b, err = checkInline(v, on.size); err == nil {
			return b, false
		}
	}
	b = make([]byte, on.size)
	if len(v) > inlineSum {
		copy(b, v[inlineSum:])
	}
	return b, true
}

// setInline makes b the bytes of an object, whose size the caller sets. They must stay unchanged until
// the group is done.
func (p *planner) setInline(on *onode, b []byte, bad bool) {
	was := uint64(0)
	if on.inline {
		was = on.size
	} else {
		on.inline = true
		p.changeHead(on)
	}
	p.inline += int64(len(b)) - int64(was)
	if n := int64(len(b)) - int64(was); n > 0 {
		p.adds += n
	}
	on.inData, on.inBad = b, bad
	p.listInline(on)
}

// dropInline takes an object's bytes out of the index.
func (p *planner) dropInline(on *onode) {
	p.inline -= int64(on.size)
	on.inline, on.inData, on.inBad = false, nil, false
	p.changeHead(on)
	p.listInline(on)
}

func (p *planner) listInline(on *onode) {
	if !on.inDirty {
		on.inDirty = true
		p.later += inlineMax + 32
	}
}

// writeInline does a write if its object's bytes are, or may now be, in the index. An object that
// outgrows it is moved to a block, and the caller goes on.
func (p *planner) writeInline(on *onode, off uint64, data []byte) (done bool, err error) {
	end := off + uint64(len(data))
	size := max(on.size, end)
	whole := off == 0 && end == size // of the old content nothing is left
	if size > inlineMax {
		if !on.inline {
			return false, nil
		}
		if whole {
			p.dropInline(on)
			return false, nil
		}
		return false, p.spill(on)
	}
	if !on.inline && on.size > 0 {
		if s, err := p.seg(on, 0); err != nil || s != nil && s.mapped > 0 {
			return false, err
		}
	}
	content, bad := data, false
	if !whole {
		b := p.arena.block()[:size:size]
		n := 0
		if on.inline {
			var old []byte
			old, bad = p.inlineNow(on)
			n = copy(b, old)
		}
		clear(b[n:])
		copy(b[off:], data)
		content = b
	}
	p.setInline(on, content, bad)
	p.resize(on, size)
	return true, nil
}

// spill moves an object's bytes from the index to a block of the data file, in the same batch.
func (p *planner) spill(on *onode) error {
	content, bad := p.inlineNow(on)
	p.dropInline(on)
	s, err := p.change(on, 0)
	if err != nil {
		return err
	}
	rs, err := p.d.alloc.alloc(1, p.keep, 0)
	if err != nil {
		return err
	}
	p.allocs = append(p.allocs, rs[0])
	p.blocks++
	b := p.arena.block()
	clear(b[copy(b, content):])
	sum := checksum(b)
	if bad {
		sum = wrongChecksum(b)
	}
	s.set(0, rs[0].start, sum)
	p.putBlock(rs[0].start, b[:len(content)])
	return nil
}

// zeroInline clears [off, end) of an inline object.
func (p *planner) zeroInline(on *onode, off, end uint64) {
	if off >= end {
		return
	}
	if off == 0 && end == on.size {
		p.dropInline(on)
		return
	}
	old, bad := p.inlineNow(on)
	b := p.arena.block()[:on.size:on.size]
	copy(b, old)
	clear(b[off:end])
	p.setInline(on, b, bad)
}

// truncateInline gives an inline object another size.
func (p *planner) truncateInline(on *onode, size uint64) error {
	switch {
	case size == on.size:
	case size == 0:
		p.dropInline(on)
	case size > inlineMax:
		if err := p.spill(on); err != nil {
			return err
		}
	default:
		old, bad := p.inlineNow(on)
		b := p.arena.block()[:size:size]
		clear(b[copy(b, old):])
		p.setInline(on, b, bad)
	}
	p.resize(on, size)
	return nil
}

// finishInline adds an object's bytes to the record, or that they are gone.
func (p *planner) finishInline(on *onode) {
	p.scratch = appendInlineKey(p.scratch[:0], on.oid)
	if !on.inline {
		p.rec.kv = appendKVDelete(p.rec.kv, p.scratch)
		return
	}
	b, bad := p.inlineNow(on)
	sum := checksum(b)
	if bad {
		sum = wrongChecksum(b)
	}
	n := len(p.scratch)
	p.scratch = binary.LittleEndian.AppendUint32(p.scratch, sum)
	p.scratch = append(p.scratch, b...)
	p.rec.kv = appendKVSet(p.rec.kv, p.scratch[:n], p.scratch[n:])
}
