package store

import (
	"encoding/binary"
	"fmt"

	"github.com/cairnstore/cairn/internal/codec"
	"github.com/cairnstore/cairn/placement"
)

// An object in the index is a head (size, version) under its name, and under
// its number the segments that map its blocks, its attributes and its omap.
// Naming by number makes a rename one small change whatever the object holds.

const (
	segBlocks = 16 // blocks one segment maps: a small write rewrites little
	segBytes  = segBlocks * blockBytes
)

// The first byte of an index key says what it is.
const (
	keyMeta   = 'M' // "Mstore": whose index this is
	keyHead   = 'H' // pool, shard, space, generation, name -> head
	keySeg    = 'S' // object number, segment number -> segment
	keyShare  = 'R' // row of blocks -> how many more users than one they have
	keyInline = 'I' // object number -> the bytes of a small object
	keyAttr   = 'A' // object number, name -> value
	keyOmap   = 'O' // object number, key -> value
	keyGen    = 'G' // pool, shard, space -> generation of the space
	keyDoomed = 'D' // pool, shard, space, generation -> removed space whose objects are still to be purged
)

// spaceKey names one space of one PG.
type spaceKey struct {
	pg placement.PGID
	sp Space
}

func (k *Key) space() spaceKey { return spaceKey{k.PG, k.Space} }

func appendSpace(b []byte, s spaceKey) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(s.pg.Pool))
	b = binary.BigEndian.AppendUint32(b, s.pg.Shard)
	return append(b, byte(s.sp))
}

func parseSpace(b []byte) (s spaceKey, rest []byte, ok bool) {
	if len(b) < 9 {
		return s, nil, false
	}
	s.pg.Pool = placement.PoolID(binary.BigEndian.Uint32(b))
	s.pg.Shard = binary.BigEndian.Uint32(b[4:])
	s.sp = Space(b[8])
	return s, b[9:], true
}

func appendHeadPrefix(b []byte, s spaceKey, gen uint32) []byte {
	b = append(b, keyHead)
	b = appendSpace(b, s)
	return binary.BigEndian.AppendUint32(b, gen)
}

func appendHeadKey(b []byte, k *Key, gen uint32) []byte {
	return append(appendHeadPrefix(b, k.space(), gen), k.Name...)
}

// parseHeadKey reads what appendHeadKey made.
func parseHeadKey(b []byte) (s spaceKey, gen uint32, name []byte, ok bool) {
	if len(b) < 1 {
		return s, 0, nil, false
	}
	s, rest, ok := parseSpace(b[1:])
	if !ok || len(rest) < 4 {
		return s, 0, nil, false
	}
	return s, binary.BigEndian.Uint32(rest), rest[4:], true
}

func appendGenKey(b []byte, s spaceKey) []byte { return appendSpace(append(b, keyGen), s) }

func appendDoomedKey(b []byte, s spaceKey, gen uint32) []byte {
	return binary.BigEndian.AppendUint32(appendSpace(append(b, keyDoomed), s), gen)
}

func appendSegKey(b []byte, oid uint64, idx uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(append(b, keySeg), oid), idx)
}

func parseSegKey(b []byte) (oid uint64, idx uint32, ok bool) {
	if len(b) != 13 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64(b[1:]), binary.BigEndian.Uint32(b[9:]), true
}

// appendKV is the key of an attribute or omap entry.
func appendKV(b []byte, kind byte, oid uint64, name []byte) []byte {
	return append(binary.BigEndian.AppendUint64(append(b, kind), oid), name...)
}

const kvPrefix = 9 // bytes of appendKV before the name

// keyAfter is the smallest key beyond all that begin with prefix.
func keyAfter(prefix []byte) []byte {
	b := cloneBytes(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return b[:i+1]
		}
	}
	return nil // all 0xff: no key kind begins so
}

// head is what the index keeps of an object under its name.
type head struct {
	oid      uint64
	size     uint64
	version  Version
	mtime    int64
	omapMax  uint64 // upper bound of the number of omap keys
	hasAttrs bool
	hasOmap  bool
	inline   bool // its bytes are in the index
}

const (
	headVersion = 2
	segVersion  = 2
)

func (h *head) append(b []byte) []byte {
	var flags byte
	if h.hasAttrs {
		flags |= 1
	}
	if h.hasOmap {
		flags |= 2
	}
	if h.inline {
		flags |= 4
	}
	b = append(b, headVersion, flags)
	b = binary.AppendUvarint(b, h.oid)
	b = binary.AppendUvarint(b, h.size)
	b = binary.AppendUvarint(b, uint64(h.version.Term))
	b = binary.AppendUvarint(b, h.version.Seq)
	b = binary.AppendVarint(b, h.mtime)
	return binary.AppendUvarint(b, h.omapMax)
}

func decodeHead(b []byte) (h head, err error) {
	if len(b) < 2 || b[0] != headVersion {
		return h, fmt.Errorf("index entry of unknown version: %w", ErrCorrupt)
	}
	h.hasAttrs, h.hasOmap, h.inline = b[1]&1 != 0, b[1]&2 != 0, b[1]&4 != 0
	d := codec.NewDecoder(b[2:])
	h.oid, h.size = d.Uvarint(), d.Uvarint()
	h.version.Term, h.version.Seq = placement.Term(d.Uvarint()), d.Uvarint()
	h.mtime = d.Varint()
	h.omapMax = d.Uvarint()
	if d.Err() != nil || h.oid == 0 || h.size > MaxObjectBytes || h.inline && (h.size == 0 || h.size > inlineMax) {
		return head{}, fmt.Errorf("index entry cannot be read: %w", ErrCorrupt)
	}
	return h, nil
}

// segment maps 16 blocks of an object to blocks of the data file. Block 0 of
// the data file is never an object's, so it stands for a hole.
type segment struct {
	phys   [segBlocks]uint64
	sum    [segBlocks]uint32 // crc32c of the block
	mapped int
	listed bool // in body.dirtyIdx
}

func (s *segment) set(i int, phys uint64, sum uint32) {
	if s.phys[i] == 0 {
		s.mapped++
	}
	s.phys[i], s.sum[i] = phys, sum
}

func (s *segment) unmap(i int) {
	if s.phys[i] != 0 {
		s.mapped--
	}
	s.phys[i], s.sum[i] = 0, 0
}

// runs calls f for every row of blocks that is contiguous in object and file.
func (s *segment) runs(f func(first int, r run)) {
	for i := 0; i < segBlocks; {
		if s.phys[i] == 0 {
			i++
			continue
		}
		r := run{s.phys[i], 1}
		for i+int(r.count) < segBlocks && s.phys[i+int(r.count)] == r.end() {
			r.count++
		}
		f(i, r)
		i += int(r.count)
	}
}

func (s *segment) append(b []byte) []byte {
	n := 0
	s.runs(func(int, run) { n++ })
	b = append(b, segVersion, byte(n))
	s.runs(func(first int, r run) {
		b = append(b, byte(first), byte(r.count-1))
		b = binary.AppendUvarint(b, r.start)
	})
	for i, p := range s.phys {
		if p != 0 {
			b = binary.LittleEndian.AppendUint32(b, s.sum[i])
		}
	}
	return b
}

func decodeSegment(b []byte) (*segment, error) {
	s := &segment{}
	if err := s.decode(b); err != nil {
		return nil, err
	}
	return s, nil
}

// decode reads what append wrote. After an error s holds anything.
func (s *segment) decode(b []byte) error {
	*s = segment{}
	bad := func() error { return fmt.Errorf("index entry of blocks cannot be read: %w", ErrCorrupt) }
	if len(b) < 2 || b[0] != segVersion {
		return bad()
	}
	d := codec.NewDecoder(b[2:])
	for range b[1] {
		fc := d.Raw(2) // one check of what is left, and not two: this is read often
		start := d.Uvarint()
		if d.Err() != nil || int(fc[0])+int(fc[1])+1 > segBlocks || start == 0 || start > 1<<44 {
			return bad()
		}
		for i := range int(fc[1]) + 1 {
			s.set(int(fc[0])+i, start+uint64(i), 0)
		}
	}
	sums := d.Raw(s.mapped * 4)
	if d.Finish() != nil {
		return bad()
	}
	for i, p := range s.phys {
		if p != 0 {
			s.sum[i] = binary.LittleEndian.Uint32(sums)
			sums = sums[4:]
		}
	}
	return nil
}
