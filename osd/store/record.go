package store

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/cairnstore/cairn/internal/codec"
)

// A group's payload is a physical redo record: the index entries as they
// become, the blocks as they become, the blocks no longer used. Replaying it
// once more changes nothing, so replay needs not know how far the index got.
//
// redo is the payload decoded; its slices point into the payload.
type redo struct {
	kv     []byte // index changes, see kvSet
	blocks []blockWrite
	frees  []run
}

// blockWrite is the content of a block of the data file; what data lacks of a
// block is zeros.
type blockWrite struct {
	phys uint64
	data []byte
}

// Index changes.
const (
	kvSet      = 1 // key, value
	kvDelete   = 2 // key
	kvDelRange = 3 // from key inclusive, to key exclusive
)

func appendKVSet(b []byte, key, value []byte) []byte {
	b = append(b, kvSet)
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = append(b, key...)
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}

func appendKVDelete(b []byte, key []byte) []byte {
	b = append(b, kvDelete)
	b = binary.AppendUvarint(b, uint64(len(key)))
	return append(b, key...)
}

func appendKVDelRange(b []byte, from, to []byte) []byte {
	b = append(b, kvDelRange)
	b = binary.AppendUvarint(b, uint64(len(from)))
	b = append(b, from...)
	b = binary.AppendUvarint(b, uint64(len(to)))
	return append(b, to...)
}

// indexBatch is the part of pebble.Batch that index changes become.
type indexBatch interface {
	set(key, value []byte) error
	delete(key []byte) error
	deleteRange(from, to []byte) error
}

// applyKV turns encoded index changes into calls.
func applyKV(kv []byte, to indexBatch) error {
	d := codec.NewDecoder(kv)
	for d.Left() > 0 {
		kind := d.U8()
		key := d.Blob(math.MaxInt)
		var err error
		switch kind {
		case kvSet:
			if v := d.Blob(math.MaxInt); d.Err() == nil {
				err = to.set(key, v)
			}
		case kvDelete:
			if d.Err() == nil {
				err = to.delete(key)
			}
		case kvDelRange:
			if end := d.Blob(math.MaxInt); d.Err() == nil {
				err = to.deleteRange(key, end)
			}
		default:
			d.Failf("change of kind %d", kind)
		}
		if d.Err() != nil {
			return fmt.Errorf("journal record: index change cannot be read: %w", ErrCorrupt)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// size is the length encode will have.
func (r *redo) size() int {
	n := 4 + len(r.kv) + 4 + 4 + len(r.frees)*16
	for i := range r.blocks {
		n += 10 + len(r.blocks[i].data)
	}
	return n
}

func (r *redo) append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, uint32(len(r.kv)))
	b = append(b, r.kv...)
	b = le.AppendUint32(b, uint32(len(r.frees)))
	for _, f := range r.frees {
		b = le.AppendUint64(b, f.start)
		b = le.AppendUint64(b, f.count)
	}
	b = le.AppendUint32(b, uint32(len(r.blocks)))
	for i := range r.blocks {
		b = le.AppendUint64(b, r.blocks[i].phys)
		b = le.AppendUint16(b, uint16(len(r.blocks[i].data)))
		b = append(b, r.blocks[i].data...)
	}
	return b
}

func decodeRedo(b []byte) (*redo, error) {
	d := codec.NewDecoder(b)
	r := &redo{}
	r.kv = d.Raw(int(d.U32()))
	for n := d.U32(); n > 0 && d.Err() == nil; n-- {
		r.frees = append(r.frees, run{d.U64(), d.U64()})
	}
	for n := d.U32(); n > 0 && d.Err() == nil; n-- {
		w := blockWrite{phys: d.U64()}
		if w.data = d.Raw(int(d.U16())); len(w.data) > blockBytes {
			d.Failf("block of %d bytes", len(w.data))
		}
		r.blocks = append(r.blocks, w)
	}
	if d.Finish() != nil {
		return nil, fmt.Errorf("journal record cannot be read: %w", ErrCorrupt)
	}
	return r, nil
}
