package store

import (
	"encoding/binary"
	"fmt"
	"log/slog"

	"github.com/cairnstore/cairn/placement"
)

// journal is the ring of record groups. Groups are written one at a time, each
// durable before the next begins, so at most the last one can be torn.
//
// Positions count bytes since the store was made and never wrap; modulo the
// ring's size they are offsets. A group never wraps: one that does not fit
// before the end begins at offset 0, and replay looks there.
type journal struct {
	f     file
	path  string
	size  uint64
	store placement.UUID

	pos  uint64 // where the next group goes
	seq  uint64 // its sequence number
	link uint32 // header checksum of the group before
	buf  []byte // aligned, reused

	onTorn func() // replay calls it when it cuts off a torn group; may be nil
	at     uint64 // where the group that replay hands out lies
	bytes  int    // its length
}

const (
	groupMagic   = 0x314a4743 // "CGJ1"
	groupHeader  = 64
	groupVersion = 1
)

// groupHead is the first 64 bytes of a group. Its checksum is seeded with the
// store's UUID: no other store's groups, nor bytes a client chose, can pass for ours.
type groupHead struct {
	seq    uint64
	link   uint32
	length uint32 // of the payload
	sum    uint32 // crc32c of the payload
}

func (g *groupHead) put(b []byte, store placement.UUID) {
	le := binary.LittleEndian
	clear(b[:groupHeader])
	le.PutUint32(b[0:], groupMagic)
	le.PutUint16(b[4:], groupVersion)
	le.PutUint64(b[8:], g.seq)
	le.PutUint32(b[16:], g.link)
	le.PutUint32(b[20:], g.length)
	le.PutUint32(b[24:], g.sum)
	le.PutUint32(b[60:], groupHeadSum(b, store))
}

func groupHeadSum(b []byte, store placement.UUID) uint32 {
	var x [16 + 60]byte
	copy(x[:], store[:])
	copy(x[16:], b[:60])
	return checksum(x[:])
}

// parseGroupHead reports false for anything that is not the header of a group of this store.
func parseGroupHead(b []byte, store placement.UUID) (g groupHead, self uint32, ok bool) {
	le := binary.LittleEndian
	if le.Uint32(b) != groupMagic || le.Uint16(b[4:]) != groupVersion {
		return g, 0, false
	}
	self = le.Uint32(b[60:])
	if self != groupHeadSum(b, store) {
		return g, 0, false
	}
	return groupHead{le.Uint64(b[8:]), le.Uint32(b[16:]), le.Uint32(b[20:]), le.Uint32(b[24:])}, self, true
}

// maxPayload is what fits into a group; half of the ring, so that an empty ring
// takes it wherever the position is.
func (j *journal) maxPayload() int { return int(j.size/2) - groupHeader - blockBytes }

// place is where a group of n bytes goes: at the position, or at the ring's start.
func (j *journal) place(pos uint64, n int) uint64 {
	if off := pos % j.size; off+uint64(n) > j.size {
		return pos + j.size - off
	}
	return pos
}

// encode builds the group in the journal's buffer and returns it, padded to
// whole blocks.
func (j *journal) encode(r *redo) []byte {
	payload := r.size()
	total := roundUp(groupHeader + payload)
	if cap(j.buf) < total {
		j.buf = alignedBytes(max(total, 256<<10))
	}
	b := r.append(j.buf[:groupHeader])
	g := groupHead{seq: j.seq, link: j.link, length: uint32(payload), sum: checksum(b[groupHeader:])}
	g.put(b, j.store)
	clear(b[len(b):total])
	return b[:total]
}

// write makes an encoded group durable. After an error the journal must not be
// used again.
func (j *journal) write(b []byte) error {
	at := j.place(j.pos, len(b))
	if err := j.f.WriteSync(b, int64(at%j.size)); err != nil {
		return fmt.Errorf("journal %s at offset %d: %w", j.path, at%j.size, err)
	}
	j.link = binary.LittleEndian.Uint32(b[60:])
	j.pos, j.seq = at+uint64(len(b)), j.seq+1
	if cap(j.buf) > 4<<20 {
		j.buf = nil // a rare giant; do not keep its memory
	}
	return nil
}

// replay calls f for every group from the checkpoint on and sets the journal
// to continue after the last. It tells the end of the journal, and a last
// group torn by a power cut, from damage in the middle: groups are made durable
// one by one, so whatever follows a bad group proves it was once good.
func (j *journal) replay(from checkpoint, clean bool, log *slog.Logger, f func(seq uint64, r *redo) error) error {
	j.pos, j.seq, j.link = from.pos, from.seq, from.link
	var a ahead
	for {
		g, self, at, torn, err := j.next(&a)
		if err != nil {
			return err
		}
		if g == nil {
			return j.checkEnd(from, clean, torn, log)
		}
		r, err := decodeRedo(g)
		if err != nil {
			return fmt.Errorf("journal %s, group %d at offset %d: %w", j.path, j.seq, at%j.size, err)
		}
		j.at, j.bytes = at, roundUp(groupHeader+len(g))
		if err := f(j.seq, r); err != nil {
			return fmt.Errorf("replay journal group %d: %w", j.seq, err)
		}
		j.pos, j.seq, j.link = at+uint64(roundUp(groupHeader+len(g))), j.seq+1, self
	}
}

// next reads the payload of the group expected at the position, or nil. torn
// reports that its header is there and its payload is not. The payload is valid until the next call.
func (j *journal) next(a *ahead) (payload []byte, self uint32, at uint64, torn bool, err error) {
	places := []uint64{j.pos}
	if off := j.pos % j.size; off != 0 {
		places = append(places, j.pos+j.size-off)
	}
	for _, at := range places {
		b, err := a.read(j, at%j.size, blockBytes)
		if err != nil {
			return nil, 0, 0, false, err
		}
		g, self, ok := parseGroupHead(b, j.store)
		if !ok || g.seq != j.seq || g.link != j.link || int(g.length) > j.maxPayload() || at%j.size+uint64(roundUp(groupHeader+int(g.length))) > j.size {
			continue
		}
		if total := roundUp(groupHeader + int(g.length)); total > blockBytes {
			if b, err = a.read(j, at%j.size, total); err != nil {
				return nil, 0, 0, false, err
			}
		}
		payload = b[groupHeader : groupHeader+int(g.length)]
		if checksum(payload) != g.sum {
			torn = true
			continue
		}
		return payload, self, at, false, nil
	}
	return nil, 0, 0, torn, nil
}

// checkEnd decides whether the journal may end before group j.seq.
func (j *journal) checkEnd(from checkpoint, clean, torn bool, log *slog.Logger) error {
	damaged := func(why string) error {
		return fmt.Errorf("journal %s: group %d at offset %d is damaged although %s: acknowledged writes would be lost; "+
			"copy the data directory aside, check the disk, and if other copies of the data exist remove this OSD and make it anew: %w",
			j.path, j.seq, j.pos%j.size, why, ErrCorrupt)
	}
	if j.seq <= from.known {
		return damaged(fmt.Sprintf("groups up to %d were durable at the last checkpoint", from.known))
	}
	if clean {
		return nil
	}
	later, at, err := j.findLater()
	if err != nil {
		return err
	}
	if later > 0 {
		return damaged(fmt.Sprintf("group %d after it is whole (offset %d)", later, at))
	}
	if torn && j.onTorn != nil {
		j.onTorn()
	}
	if torn {
		log.Info("journal: the last group was torn by a crash and is cut; it was never acknowledged",
			"file", j.path, "group", j.seq, "offset", j.pos%j.size)
	}
	return nil
}

// findLater looks through the whole ring for a group beyond the expected one.
func (j *journal) findLater() (seq, offset uint64, err error) {
	const chunk = 1 << 20
	b := alignedBytes(chunk)
	for off := uint64(0); off < j.size; off += chunk {
		b = b[:min(chunk, j.size-off)]
		if _, err := j.f.ReadAt(b, int64(off)); err != nil {
			return 0, 0, fmt.Errorf("journal %s at offset %d: %w", j.path, off, err)
		}
		for i := 0; i < len(b); i += blockBytes {
			if g, _, ok := parseGroupHead(b[i:], j.store); ok && g.seq > j.seq {
				return g.seq, off + uint64(i), nil
			}
		}
	}
	return 0, 0, nil
}
