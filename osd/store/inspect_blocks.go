package store

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
)

// window returns the keys of one kind that belong to the numbers from lo to hi.
func window(kind byte, lo, hi uint64, last bool) (from, to []byte) {
	from, to = appendKV(nil, kind, lo, nil), appendKV(nil, kind, hi, nil)
	if last {
		to = []byte{kind + 1}
	}
	return from, to
}

// owner finds objects by ascending numbers.
type owner struct {
	objs []objRec
	i    int
}

func (o *owner) of(oid uint64) *objRec {
	for o.i < len(o.objs) && o.objs[o.i].oid < oid {
		o.i++
	}
	if o.i < len(o.objs) && o.objs[o.i].oid == oid {
		return &o.objs[o.i]
	}
	return nil
}

// drop deletes all entries of one kind of an object number.
func (c *fsck) drop(kind byte, oid uint64) error {
	if c.fix == nil {
		return nil
	}
	lo := appendKV(nil, kind, oid, nil)
	return c.fix.deleteRange(lo, keyAfter(lo))
}

// inlines checks the bytes of small objects, which are in the index.
func (c *fsck) inlines(lo, hi uint64, last bool) error {
	own := owner{objs: c.objs}
	from, to := window(keyInline, lo, hi, last)
	n := int64(0)
	err := c.walk(from, to, func(k, v []byte) error {
		n++
		if err := c.step("objects", n, 0); err != nil {
			return err
		}
		oid, ok := parseInlineKey(k)
		r := own.of(oid)
		switch {
		case !ok:
			c.found(Finding{Kind: FoundKey, Text: fmt.Sprintf("index: entry %x cannot be read", k), Repaired: c.did("dropped")})
		case r == nil && c.gap:
			return nil
		case r == nil:
			c.found(Finding{Kind: FoundOrphanBytes, Text: fmt.Sprintf("index: %d bytes of object number %d, which does not exist", len(v), oid), Repaired: c.did("dropped")})
		case r.flags&recTwice != 0:
		case r.flags&recInline == 0:
			c.foundOf(oid, FoundHidden, "dropped", "%d bytes in the index that its entry denies: no read shows them", len(v))
		default:
			r.flags |= recBytes
			c.rep.Bytes += int64(r.size)
			if _, err := checkInline(v, uint64(r.size)); err != nil {
				c.foundOf(oid, FoundBlock, "", "%v: reads of it fail", err)
			}
			return nil
		}
		if c.fix != nil {
			return c.fix.delete(k)
		}
		return nil
	})
	if err != nil || c.gap {
		return err
	}
	for i := range c.objs {
		if r := &c.objs[i]; r.flags&(recInline|recBytes|recTwice) == recInline {
			c.foundOf(r.oid, FoundBlock, "", "its bytes are not in the index: reads of it fail")
		}
	}
	return nil
}

// end is where the blocks of an object may reach: nowhere when its bytes are in the index.
func (r *objRec) end() uint64 {
	if r.flags&recInline != 0 {
		return 0
	}
	return uint64(r.size)
}

// segments checks which blocks the objects of the window have.
func (c *fsck) segments(lo, hi uint64, last bool) error {
	own := owner{objs: c.objs}
	from, to := window(keySeg, lo, hi, last)
	orphan, lost := uint64(0), 0
	endOrphan := func() error {
		if lost == 0 || c.gap {
			lost = 0
			return nil
		}
		c.found(Finding{Kind: FoundOrphanSeg, Text: fmt.Sprintf("index: %d entries of blocks of object number %d, which does not exist", lost, orphan), Repaired: c.did("dropped")})
		lost = 0
		return c.drop(keySeg, orphan)
	}
	n := int64(0)
	err := c.walk(from, to, func(k, v []byte) error {
		n++
		if err := c.step("blocks", n, 0); err != nil {
			return err
		}
		oid, idx, ok := parseSegKey(k)
		if !ok {
			c.found(Finding{Kind: FoundKey, Text: fmt.Sprintf("index: entry %x cannot be read", k), Repaired: c.did("dropped")})
			if c.fix != nil {
				return c.fix.delete(k)
			}
			return nil
		}
		r := own.of(oid)
		if r == nil || r.flags&recTwice != 0 {
			if oid != orphan {
				if err := endOrphan(); err != nil {
					return err
				}
			}
			if orphan = oid; r == nil {
				lost++
				return nil
			}
			if c.fix != nil {
				return c.fix.delete(k)
			}
			return nil
		}
		s, err := decodeSegment(v)
		if err != nil {
			c.badSegment(k, oid, idx, r)
			return nil
		}
		return c.segment(k, oid, idx, s, r)
	})
	if err != nil {
		return err
	}
	return endOrphan()
}

// badSegment deals with an entry of blocks that does not decode. Whatever the object has there
// must not read as zeros, so the blocks become unreadable ones.
func (c *fsck) badSegment(k []byte, oid uint64, idx uint32, r *objRec) {
	c.foundOf(oid, FoundSegment, "its blocks there are unreadable now, until a good copy takes their place",
		"the entry of its blocks from offset %d on cannot be read (%x)", uint64(idx)*segBytes, k)
	if c.fix == nil {
		return
	}
	var mask uint64
	for i := range uint64(segBlocks) {
		if (uint64(idx)*segBlocks+i)*blockBytes < r.end() {
			mask |= 1 << i
		}
	}
	c.spoil = append(c.spoil, spoiled{oid, idx, mask, true})
}

// segment checks one readable entry of blocks.
func (c *fsck) segment(k []byte, oid uint64, idx uint32, s *segment, r *objRec) error {
	excess, beyond := 0, uint64(0)
	for i := range segBlocks {
		p := s.phys[i]
		switch {
		case p == 0:
		case (uint64(idx)*segBlocks+uint64(i))*blockBytes >= r.end():
			excess++
			s.unmap(i)
		case p >= c.claims.limit, p >= c.inFile && !c.pending(p):
			beyond |= 1 << i
		default:
			c.rep.Blocks++
			if !c.claims.add(p) && !c.users.add(p) {
				c.doubles[p] = &double{}
			}
		}
	}
	if beyond != 0 {
		c.foundOf(oid, FoundBeyond, "unreadable now, until a good copy takes their place",
			"%d blocks from offset %d on lie behind the end of the data file", bits.OnesCount64(beyond), uint64(idx)*segBytes)
		if c.fix != nil {
			c.spoil = append(c.spoil, spoiled{oid, idx, beyond, false})
		}
	}
	if excess == 0 {
		return nil
	}
	c.foundOf(oid, FoundExcess, "freed", "%d blocks behind its end", excess)
	if c.fix == nil {
		return nil
	}
	if s.mapped == 0 {
		return c.fix.delete(k)
	}
	return c.fix.set(k, s.append(nil))
}

// pending reports whether the journal has the block's content: it may lie behind the end of
// the data file as a crash left that.
func (c *fsck) pending(p uint64) bool {
	_, ok := c.d.overlay.get(p)
	return ok
}

// endDoubles finds out who claims the blocks that more objects claim than the index says. A block belongs
// to the claims whose checksum it has; the others become unreadable. When it has several the count is
// wrong, not the claims: clones share blocks.
func (c *fsck) endDoubles() error {
	if len(c.doubles) == 0 {
		return nil
	}
	buf := alignedBytes(blockBytes)
	each := func(f func(k []byte, oid uint64, idx uint32, i int, s *segment, dbl *double) error) error {
		return c.walk([]byte{keySeg}, []byte{keySeg + 1}, func(k, v []byte) error {
			oid, idx, ok := parseSegKey(k)
			s, err := decodeSegment(v)
			if !ok || err != nil {
				return nil
			}
			for i, p := range s.phys {
				if dbl := c.doubles[p]; p != 0 && dbl != nil {
					if err := f(k, oid, idx, i, s, dbl); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	err := each(func(_ []byte, oid uint64, _ uint32, i int, s *segment, dbl *double) error {
		if c.d.readBlock(s.phys[i], s.sum[i], buf) == nil {
			dbl.match++
		}
		return nil
	})
	if err != nil {
		return err
	}
	type place struct {
		oid uint64
		idx uint32
	}
	blocks := map[place]uint64{}
	var order []place
	err = each(func(_ []byte, oid uint64, idx uint32, i int, s *segment, dbl *double) error {
		mine := c.d.readBlock(s.phys[i], s.sum[i], buf) == nil
		what := "unreadable now, until a good copy takes its place"
		switch {
		case mine && dbl.match == 1:
			what = "kept: it has this object's checksum and no other's"
		case mine:
			what = "kept: it has this object's checksum; the number of its users is right now"
		}
		c.users.settle(s.phys[i], mine)
		c.foundOf(oid, FoundShared, what, "block %d of the data file, at offset %d, belongs to another object too", s.phys[i], (uint64(idx)*segBlocks+uint64(i))*blockBytes)
		if !mine {
			p := place{oid, idx}
			if blocks[p] == 0 {
				order = append(order, p)
			}
			blocks[p] |= 1 << i
		}
		return nil
	})
	if c.fix != nil {
		for _, p := range order {
			c.spoil = append(c.spoil, spoiled{p.oid, p.idx, blocks[p], false})
		}
	}
	return err
}

// spoilAll gives the blocks that must not be read as something else fresh blocks with a checksum
// that they do not have: reads fail, and whoever replicates puts a good copy in place.
func (c *fsck) spoilAll() error {
	if c.fix == nil || len(c.spoil) == 0 {
		return nil
	}
	if err := c.fix.flush(); err != nil { // what follows reads entries that may have changed
		return err
	}
	err := c.claims.runs(func(r run) error {
		if r.start == 0 { // the header, which is taken already
			r = run{1, r.count - 1}
		}
		if r.count == 0 {
			return nil
		}
		return c.d.alloc.claim(r, func(uint64) bool { return false })
	})
	if err != nil {
		return err
	}
	slices.SortFunc(c.spoil, func(a, b spoiled) int {
		if a.oid != b.oid {
			return compareUint(a.oid, b.oid)
		}
		return compareUint(uint64(a.idx), uint64(b.idx))
	})
	for i := 0; i < len(c.spoil); {
		p := c.spoil[i]
		for i++; i < len(c.spoil) && c.spoil[i].oid == p.oid && c.spoil[i].idx == p.idx; i++ {
			p.blocks |= c.spoil[i].blocks
			p.whole = p.whole || c.spoil[i].whole
		}
		if err := c.spoilSegment(p); err != nil {
			return err
		}
	}
	return nil
}

func (c *fsck) spoilSegment(p spoiled) error {
	k := appendSegKey(nil, p.oid, p.idx)
	s := &segment{}
	if !p.whole {
		var err error
		if s, err = c.d.getSegment(k); err != nil {
			return err
		}
		if s == nil {
			return nil
		}
	}
	buf := alignedBytes(blockBytes)
	for i := range segBlocks {
		if p.blocks>>i&1 == 0 {
			continue
		}
		rs, err := c.d.alloc.alloc(1, 0, 0)
		if err != nil {
			return fmt.Errorf("a block is needed for each that becomes unreadable: make room first (remove a PG that has other copies, or give the store more capacity): %w", err)
		}
		if n, err := c.d.data.ReadAt(buf, int64(rs[0].start)*blockBytes); n < blockBytes && !errors.Is(err, io.EOF) {
			return err
		} else if n < blockBytes {
			clear(buf[n:])
		}
		s.set(i, rs[0].start, wrongChecksum(buf))
	}
	if s.mapped == 0 {
		return c.fix.delete(k)
	}
	return c.fix.set(k, s.append(nil))
}

func (c *fsck) attrs(lo, hi uint64, last bool) error {
	return c.pairs(keyAttr, "attributes", FoundOrphanAttr, recAttrs, lo, hi, last)
}

func (c *fsck) omap(lo, hi uint64, last bool) error {
	return c.pairs(keyOmap, "omap keys", FoundOrphanOmap, recOmap, lo, hi, last)
}

// pairs checks attributes or omap: that they belong to an object which knows of them.
func (c *fsck) pairs(kind byte, what string, orphan FindingKind, flag uint8, lo, hi uint64, last bool) error {
	own := owner{objs: c.objs}
	from, to := window(kind, lo, hi, last)
	cur, count := uint64(0), uint64(0)
	end := func() error {
		if count == 0 {
			return nil
		}
		n := count
		count = 0
		r := own.of(cur)
		switch {
		case r == nil && c.gap:
		case r == nil:
			c.found(Finding{Kind: orphan, Text: fmt.Sprintf("index: %d %s of object number %d, which does not exist", n, what, cur), Repaired: c.did("dropped")})
			return c.drop(kind, cur)
		case r.flags&recTwice != 0:
			return c.drop(kind, cur)
		case r.flags&flag == 0:
			c.foundOf(cur, FoundHidden, "dropped", "%d %s that its entry denies: no read shows them", n, what)
			return c.drop(kind, cur)
		case kind == keyOmap && n > uint64(r.omapMax):
			c.foundOf(cur, FoundOmapCount, "corrected", "%d omap keys, its entry says at most %d", n, r.omapMax)
			if c.fix != nil {
				c.fix.counts[cur] = n
			}
		}
		return nil
	}
	n := int64(0)
	err := c.walk(from, to, func(k, _ []byte) error {
		n++
		if err := c.step("keys", n, 0); err != nil {
			return err
		}
		if len(k) < kvPrefix || len(k) > kvPrefix+MaxKeyBytes {
			c.found(Finding{Kind: FoundKey, Text: fmt.Sprintf("index: entry %x cannot be read", k), Repaired: c.did("dropped")})
			if c.fix != nil {
				return c.fix.delete(k)
			}
			return nil
		}
		if oid := be64(k[1:]); oid != cur {
			if err := end(); err != nil {
				return err
			}
			cur = oid
		}
		count++
		c.rep.Keys++
		return nil
	})
	if err != nil {
		return err
	}
	return end()
}

// data reads all blocks and verifies their checksums, and that what is behind an
// object's end in its last block is zero.
func (c *fsck) data() error {
	total := c.rep.Blocks * blockBytes
	for lo := uint64(0); ; {
		next, more, err := c.heads(lo, false)
		if err != nil {
			return err
		}
		own := owner{objs: c.objs}
		from, to := window(keySeg, lo, next, !more)
		buf := alignedBytes(segBytes)
		err = c.walk(from, to, func(k, v []byte) error {
			oid, idx, ok := parseSegKey(k)
			s, err := decodeSegment(v)
			r := own.of(oid)
			if !ok || err != nil || r == nil {
				return nil // found already
			}
			if err := c.ctx.Err(); err != nil {
				return err
			}
			if err := c.verify(oid, idx, s, r, buf); err != nil {
				return err
			}
			if c.o.Progress != nil {
				c.o.Progress(FsckProgress{"data", c.rep.Bytes, total})
			}
			return nil
		})
		if err != nil || !more {
			return err
		}
		lo = next
	}
}

// verify reads the blocks of one segment.
func (c *fsck) verify(oid uint64, idx uint32, s *segment, r *objRec, buf []byte) error {
	bad, first, dirty := 0, 0, false
	s.runs(func(at int, rn run) {
		part := buf[:rn.count*blockBytes]
		n, _ := c.d.data.ReadAt(part, int64(rn.start)*blockBytes)
		for i := range int(rn.count) {
			b := part[i*blockBytes:][:blockBytes]
			have := n >= (i+1)*blockBytes
			if o, ok := c.d.overlay.get(rn.start + uint64(i)); ok {
				copy(b, o)
				have = true
			} else if !have { // one by one: an error spoils only its own block
				m, _ := c.d.data.ReadAt(b, int64(rn.start+uint64(i))*blockBytes)
				have = m == blockBytes
			}
			off := (uint64(idx)*segBlocks + uint64(at+i)) * blockBytes
			switch {
			case off >= r.end(): // found already
			case !have || checksum(b) != s.sum[at+i]:
				if bad++; bad == 1 {
					first = at + i
				}
			case off+blockBytes > uint64(r.size):
				for _, x := range b[uint64(r.size)-off:] {
					dirty = dirty || x != 0
				}
			}
			c.rep.Bytes += blockBytes
		}
	})
	if bad > 0 {
		off := (uint64(idx)*segBlocks + uint64(first)) * blockBytes
		c.foundOf(oid, FoundBlock, "", "%d blocks from offset %d on (offset %d of %s) do not have their checksum: reads of it fail",
			bad, off, s.phys[first]*blockBytes, c.d.path(dataName))
	}
	if dirty {
		c.foundOf(oid, FoundBlock, "", "the bytes behind its end are not zero: they would appear if it grew")
	}
	return nil
}
