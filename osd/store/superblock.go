package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/cairnstore/cairn/placement"
)

// The layout of every structure here is described in docs/formats/store.md.

const (
	superMagic   = "CAIRNOSD"
	dataMagic    = "CAIRNDAT"
	superVersion = 3 // what this code writes
	superOldest  = 3 // the oldest reader that understands what this code writes
	superReads   = 2 // the oldest format that this code reads
	superCopies  = 2 // slots of one block each
	dataVersion  = 2 // of the data file's header
)

// Flags of the superblock.
const (
	flagClean  = 1 << iota // closed in order: the journal holds nothing
	flagMaking             // Create has not finished
	flagDevice             // journal and data are on the device that the superblock is on
	flagHoles              // room of the data file was given back to the file system
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// superblock says what a data directory is and where its journal begins.
type superblock struct {
	generation uint64 // raised by every write; the higher copy counts
	id         Identity
	clean      bool
	making     bool  // Create has not finished
	onDevice   bool  // journal and data are on the device that this is on
	holes      bool  // room of the data file was given back to the file system
	created    int64 // unix nanoseconds
	journal    int64 // bytes of the ring
	capacity   int64 // bytes in all; 0: as much as the file system has
	device     int64 // bytes of the device
	checkpoint checkpoint
}

// checkpoint is where replay begins: everything before it is in the index and
// in the data file.
type checkpoint struct {
	pos   uint64 // position in the ring, never wrapping; modulo the ring's size an offset
	seq   uint64 // of the first group to replay
	known uint64 // groups up to this one were durable when the checkpoint was written
	link  uint32 // header checksum of group seq-1
}

func (s *superblock) encode() []byte {
	b := alignedBytes(blockBytes)
	le := binary.LittleEndian
	copy(b[0:], superMagic)
	le.PutUint32(b[8:], superVersion)
	le.PutUint32(b[12:], superOldest)
	le.PutUint64(b[16:], s.generation)
	copy(b[24:], s.id.Store[:])
	copy(b[40:], s.id.Cluster[:])
	le.PutUint32(b[56:], uint32(s.id.OSD))
	var flags uint32
	for _, f := range []struct {
		on  bool
		bit uint32
	}{{s.clean, flagClean}, {s.making, flagMaking}, {s.onDevice, flagDevice}, {s.holes, flagHoles}} {
		if f.on {
			flags |= f.bit
		}
	}
	le.PutUint32(b[60:], flags)
	le.PutUint64(b[64:], s.id.Incarnation)
	le.PutUint64(b[72:], uint64(s.created))
	le.PutUint64(b[80:], uint64(s.journal))
	le.PutUint64(b[88:], uint64(s.capacity))
	le.PutUint32(b[96:], blockBytes)
	le.PutUint64(b[104:], s.checkpoint.pos)
	le.PutUint64(b[112:], s.checkpoint.seq)
	le.PutUint64(b[120:], s.checkpoint.known)
	le.PutUint32(b[128:], s.checkpoint.link)
	le.PutUint64(b[136:], uint64(s.device))
	le.PutUint32(b[blockBytes-4:], checksum(b[:blockBytes-4]))
	return b
}

var (
	errNotSuper  = errors.New("no cairn superblock")
	errBadSuper  = errors.New("superblock damaged: checksum mismatch")
	errNewFormat = errors.New("format newer than this program")
	errOldFormat = errors.New("made by an earlier development version")
)

func decodeSuperblock(b []byte) (*superblock, error) {
	if len(b) < blockBytes || string(b[:8]) != superMagic {
		return nil, errNotSuper
	}
	le := binary.LittleEndian
	if le.Uint32(b[blockBytes-4:]) != checksum(b[:blockBytes-4]) {
		return nil, errBadSuper
	}
	if oldest := le.Uint32(b[12:]); oldest > superVersion {
		return nil, fmt.Errorf("%w: format %d needs a program that knows format %d, this one knows %d: install a newer cairn",
			errNewFormat, le.Uint32(b[8:]), oldest, superVersion)
	}
	if v := le.Uint32(b[8:]); v < superReads {
		return nil, fmt.Errorf("%w: format %d, this program reads %d: use the cairn that made it, or make this OSD anew from its peers",
			errOldFormat, v, superReads)
	}
	flags := le.Uint32(b[60:])
	s := &superblock{
		generation: le.Uint64(b[16:]),
		clean:      flags&flagClean != 0,
		making:     flags&flagMaking != 0,
		onDevice:   flags&flagDevice != 0,
		holes:      flags&flagHoles != 0,
		device:     int64(le.Uint64(b[136:])),
		created:    int64(le.Uint64(b[72:])),
		journal:    int64(le.Uint64(b[80:])),
		capacity:   int64(le.Uint64(b[88:])),
		checkpoint: checkpoint{
			pos: le.Uint64(b[104:]), seq: le.Uint64(b[112:]), known: le.Uint64(b[120:]), link: le.Uint32(b[128:]),
		},
	}
	copy(s.id.Store[:], b[24:])
	copy(s.id.Cluster[:], b[40:])
	s.id.OSD = placement.OSDID(int32(le.Uint32(b[56:])))
	s.id.Incarnation = le.Uint64(b[64:])
	switch bs := le.Uint32(b[96:]); {
	case bs != blockBytes:
		return nil, fmt.Errorf("%w: blocks of %d bytes, this program knows %d", errNewFormat, bs, blockBytes)
	case s.journal < 2*blockBytes || s.journal%blockBytes != 0 || s.journal > maxJournalBytes || s.capacity < 0 ||
		s.device < 0 || s.onDevice && s.device < deviceData(s.journal):
		return nil, fmt.Errorf("superblock: journal of %d bytes, capacity %d, device %d: %w", s.journal, s.capacity, s.device, ErrCorrupt)
	}
	return s, nil
}

// readSuperblock takes the newer of the two copies. One copy may be torn by a
// power cut; then the other is whole.
func readSuperblock(f file, places [superCopies]int64) (*superblock, error) {
	var best *superblock
	var why error
	for i, at := range places {
		b := alignedBytes(blockBytes)
		if n, err := f.ReadAt(b, at); n < blockBytes {
			if why == nil {
				why = fmt.Errorf("superblock copy %d: %w", i, err)
			}
			continue
		}
		s, err := decodeSuperblock(b)
		switch {
		case errors.Is(err, errNewFormat), errors.Is(err, errOldFormat):
			return nil, err // never fall back to an older copy of a newer store
		case err != nil:
			why = err
		case best == nil || s.generation > best.generation:
			best = s
		}
	}
	if best == nil {
		return nil, why
	}
	return best, nil
}

// writeSuperblock writes one copy after the other, so that one is whole at any time.
func writeSuperblock(f file, places [superCopies]int64, s *superblock) error {
	b := s.encode()
	for _, at := range places {
		if err := f.WriteSync(b, at); err != nil {
			return fmt.Errorf("write superblock: %w", err)
		}
	}
	return nil
}

// encodeDataHeader is block 0 of the data file: whose it is.
func encodeDataHeader(id placement.UUID) []byte {
	b := alignedBytes(blockBytes)
	copy(b, dataMagic)
	binary.LittleEndian.PutUint32(b[8:], dataVersion)
	copy(b[16:], id[:])
	binary.LittleEndian.PutUint32(b[blockBytes-4:], checksum(b[:blockBytes-4]))
	return b
}

func checkDataHeader(b []byte, id placement.UUID) error {
	if string(b[:8]) != dataMagic || binary.LittleEndian.Uint32(b[blockBytes-4:]) != checksum(b[:blockBytes-4]) {
		return fmt.Errorf("its first block is not a cairn data header: %w", ErrCorrupt)
	}
	if got := placement.UUID(b[16:32]); got != id {
		return fmt.Errorf("it belongs to store %s, the superblock to %s: the files of two stores are mixed up", got, id)
	}
	return nil
}
