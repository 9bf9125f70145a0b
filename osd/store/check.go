package store

import "fmt"

// Limits of one batch beyond MaxBatchBytes. They bound what a batch takes of
// the journal, which must hold it in one piece.
const (
	MaxBatchOps       = 16384   // operations
	MaxBatchMetaBytes = 8 << 20 // names, attributes, omap keys and values
	maxListEntries    = 16384   // entries one List or OmapList answers
	maxListBytes      = 4 << 20 // key and value bytes one OmapList answers
	blockBytes        = 4096    // unit of allocation and of checksums
	blockMask         = blockBytes - 1
)

// invalid is an ErrInvalid that says what was wrong and what is allowed.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrInvalid)
}

// checkKey refuses keys no object can have.
func checkKey(k *Key) error {
	if k.Space > lastSpace {
		return invalid("object %s: space %d: spaces are 0 (objects), 1 (meta), 2 (staging), 3 (shards)", *k, k.Space)
	}
	if n := len(k.Name); n == 0 || n > MaxNameBytes {
		return invalid("object name of %d bytes in PG %s: names have 1 to %d bytes", n, k.PG, MaxNameBytes)
	}
	return nil
}

func checkMetaKey(k *Key, name []byte) error {
	if len(name) > MaxKeyBytes {
		return invalid("object %s: attribute name or omap key of %d bytes: the limit is %d", *k, len(name), MaxKeyBytes)
	}
	return nil
}

// checkOp refuses an operation that is wrong whatever the store holds.
func checkOp(op *Op) error {
	if op.Kind == OpRemoveSpace {
		if op.Key.Space > lastSpace {
			return invalid("remove space %d of PG %s: no such space", op.Key.Space, op.Key.PG)
		}
		return nil
	}
	if err := checkKey(&op.Key); err != nil {
		return err
	}
	switch op.Kind {
	case OpTouch, OpRemove, OpOmapClear, OpSetVersion:
	case OpWrite:
		if op.Off > MaxObjectBytes || uint64(len(op.Data)) > MaxObjectBytes-op.Off {
			return invalid("object %s: write of %d bytes at %d: objects end at %d", op.Key, len(op.Data), op.Off, MaxObjectBytes)
		}
	case OpZero:
		if op.Off > MaxObjectBytes || op.Len > MaxObjectBytes-op.Off {
			return invalid("object %s: zero %d bytes at %d: objects end at %d", op.Key, op.Len, op.Off, MaxObjectBytes)
		}
	case OpTruncate:
		if op.Off > MaxObjectBytes {
			return invalid("object %s: truncate to %d: objects end at %d", op.Key, op.Off, MaxObjectBytes)
		}
	case OpSetAttr, OpOmapSet:
		if len(op.Value) > MaxValueBytes {
			return invalid("object %s: value of %d bytes: the limit is %d", op.Key, len(op.Value), MaxValueBytes)
		}
		return checkMetaKey(&op.Key, op.Name)
	case OpRmAttr, OpOmapRm:
		return checkMetaKey(&op.Key, op.Name)
	case OpOmapRmRange:
		if err := checkMetaKey(&op.Key, op.Name); err != nil {
			return err
		}
		return checkMetaKey(&op.Key, op.End)
	case OpRename, OpClone:
		return checkKey(&op.To)
	default:
		return invalid("object %s: operation %d: no such operation", op.Key, op.Kind)
	}
	return nil
}

// Check returns why Submit would refuse the batch whatever the store holds, nil
// if it would not. It is for batches that are made of what others sent.
func (b *Batch) Check() error { return checkBatch(b) }

// checkBatch refuses a batch that is wrong whatever the store holds.
func checkBatch(b *Batch) error {
	if b == nil {
		return invalid("no batch")
	}
	if len(b.Ops) > MaxBatchOps {
		return invalid("batch of %d operations: the limit is %d, send several", len(b.Ops), MaxBatchOps)
	}
	var data, meta int
	for i := range b.Ops {
		op := &b.Ops[i]
		if err := checkOp(op); err != nil {
			return err
		}
		data += len(op.Data)
		meta += len(op.Key.Name) + len(op.To.Name) + len(op.Name) + len(op.Value) + len(op.End)
	}
	if meta > MaxBatchMetaBytes {
		return invalid("batch with %d bytes of names and values: the limit is %d, send several", meta, MaxBatchMetaBytes)
	}
	if data+meta > MaxBatchBytes {
		return invalid("batch of %d bytes: the limit is %d, send several", data+meta, MaxBatchBytes)
	}
	return nil
}

// usesReserve reports whether a batch may use the space kept back for the day
// the store is full. Deletes and shrinks may, together with the log entries in
// space Meta that record them, and so may PG metadata on its own: an OSD that
// cannot note a new term cannot peer, and nobody could empty it.
func usesReserve(b *Batch) bool {
	for i := range b.Ops {
		op := &b.Ops[i]
		switch op.Kind {
		case OpRemove, OpRemoveSpace, OpZero, OpTruncate, OpRmAttr, OpOmapRm, OpOmapRmRange, OpOmapClear, OpRename, OpSetVersion:
		default:
			if op.Key.Space != Meta {
				return false
			}
		}
	}
	return true
}

// onlyShrinks reports whether a batch can but free space. Such a batch is
// never refused for want of space, not even when the reserve is gone.
func onlyShrinks(b *Batch) bool {
	for i := range b.Ops {
		switch b.Ops[i].Kind {
		case OpRemove, OpRemoveSpace, OpZero, OpRmAttr, OpOmapRm, OpOmapRmRange, OpOmapClear, OpTruncate:
		default:
			return false
		}
	}
	return true
}

// checkRange refuses OmapList and List arguments that cannot be answered.
func checkLimit(limit int) (int, error) {
	if limit < 1 {
		return 0, invalid("list with limit %d: the limit is at least 1", limit)
	}
	return min(limit, maxListEntries), nil
}
