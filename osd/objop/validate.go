package objop

import (
	"fmt"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
)

// Limits of one request, besides those of the store. Names, values and pairs
// travel in the messenger's header, as request, as log entry and as answer;
// MaxInlineBytes is what surely fits there (wire.MaxHeader) with all else.
const (
	MaxOps            = 4096      // operations
	MaxInlineBytes    = 900 << 10 // names, values and OpOverhead of each operation in a request; the same in a reply
	OpOverhead        = 80        // bytes counted for each operation or result
	PairOverhead      = 12        // bytes counted for each pair in a result
	MaxWriteBytes     = 72 << 20  // data, names and values of all writes; leaves room for the PG log in a store batch
	MaxReadBytes      = 64 << 20  // all that the reads of a request return
	MaxMixedReadBytes = 16 << 10  // the same in a request that also writes
	MaxListBytes      = 512 << 10 // keys and values that one OMAP_LIST returns, unless a single pair is larger
	MaxListPairs      = 16384     // pairs that one OMAP_LIST returns
)

// class is what an operation does to the object.
type class uint8

const (
	classUnknown class = iota
	classCondition
	classRead
	classWrite
)

func classOf(k wirepb.OpKind) class {
	switch k {
	case wirepb.OpKind_ASSERT_EXISTS, wirepb.OpKind_ASSERT_ABSENT, wirepb.OpKind_ASSERT_VERSION,
		wirepb.OpKind_CMP_ATTR, wirepb.OpKind_CMP_OMAP, wirepb.OpKind_ASSERT_NO_RECORD:
		return classCondition
	case wirepb.OpKind_STAT, wirepb.OpKind_READ, wirepb.OpKind_GET_ATTRS, wirepb.OpKind_GET_ATTR,
		wirepb.OpKind_OMAP_GET, wirepb.OpKind_OMAP_LIST:
		return classRead
	case wirepb.OpKind_CREATE, wirepb.OpKind_WRITE, wirepb.OpKind_WRITE_FULL, wirepb.OpKind_APPEND,
		wirepb.OpKind_TRUNCATE, wirepb.OpKind_ZERO, wirepb.OpKind_REMOVE, wirepb.OpKind_SET_ATTR,
		wirepb.OpKind_RM_ATTR, wirepb.OpKind_OMAP_SET, wirepb.OpKind_OMAP_RM, wirepb.OpKind_OMAP_RM_RANGE,
		wirepb.OpKind_OMAP_CLEAR, wirepb.OpKind_SET_REF, wirepb.OpKind_OMAP_ADD:
		return classWrite
	}
	return classUnknown
}

// IsWrite reports whether the request may change its object, and so must go
// through the PG log. It depends on the request alone, not on the object.
func IsWrite(req *wirepb.OpRequest) bool {
	for _, op := range req.GetOps() {
		if classOf(op.GetKind()) == classWrite {
			return true
		}
	}
	return false
}

// quickOps is how many operations a request has at most that is tried where nothing may take long.
const quickOps = 4

// IsQuick reports whether a request may be answered by a store.QuickReader: a few reads of data, and what goes with them.
func IsQuick(req *wirepb.OpRequest) bool {
	if len(req.GetOps()) > quickOps {
		return false
	}
	for _, op := range req.GetOps() {
		switch op.GetKind() {
		case wirepb.OpKind_ASSERT_EXISTS, wirepb.OpKind_ASSERT_ABSENT, wirepb.OpKind_ASSERT_VERSION, wirepb.OpKind_STAT, wirepb.OpKind_READ:
		default:
			return false
		}
	}
	return true
}

// DataOf returns which data a request reads, if that is one piece; n is 0 for all there is behind off.
func DataOf(req *wirepb.OpRequest) (off, n uint64, ok bool) {
	for _, op := range req.GetOps() {
		if op.GetKind() == wirepb.OpKind_READ {
			if ok {
				return 0, 0, false
			}
			off, n, ok = op.Offset, op.Length, true
		}
	}
	return off, n, ok
}

// Error is why a request is refused or fails.
type Error struct {
	Code  wirepb.Code
	Index int // of the operation, -1 when it is the request as a whole
	Text  string
}

func (e *Error) Error() string {
	if e.Index < 0 {
		return e.Text
	}
	return fmt.Sprintf("operation %d: %s", e.Index, e.Text)
}

func invalid(i int, format string, args ...any) *Error {
	return &Error{Code: wirepb.Code_INVALID, Index: i, Text: fmt.Sprintf(format, args...)}
}

// Validate checks what can be checked without the object: kinds, limits and
// that data ranges lie in the payload. Its error is an *Error.
func Validate(req *wirepb.OpRequest, payloadLen int) error {
	if e := validate(req, payloadLen); e != nil {
		return e
	}
	return nil
}

func validate(req *wirepb.OpRequest, payloadLen int) *Error {
	if err := validateName(req); err != nil {
		return err
	}
	ops := req.GetOps()
	if len(ops) == 0 || len(ops) > MaxOps {
		return invalid(-1, "%d operations in one request: want 1 to %d", len(ops), MaxOps)
	}
	var inline, written uint64 // cannot overflow: at most MaxOps terms, each bounded below
	for i, op := range ops {
		c := classOf(op.GetKind())
		if c == classUnknown {
			return &Error{Code: wirepb.Code_UNSUPPORTED, Index: i, Text: fmt.Sprintf("unknown kind %d of operation; is the client newer than this OSD?", op.GetKind())}
		}
		if err := validateOp(i, op, uint64(payloadLen)); err != nil {
			return err
		}
		if op.Kind == wirepb.OpKind_SET_REF || op.Kind == wirepb.OpKind_ASSERT_NO_RECORD {
			if err := validateChunkOp(i, op, req); err != nil {
				return err
			}
		}
		if op.Kind == wirepb.OpKind_OMAP_ADD {
			if err := validateAdd(i, op, ops); err != nil {
				return err
			}
		}
		n := uint64(len(op.Name) + len(op.Value) + len(op.End))
		inline += n + OpOverhead
		if c == classWrite {
			written += n + op.DataLen
		}
	}
	if inline > MaxInlineBytes {
		return invalid(-1, "operations, names and values of %d bytes: at most %d in one request", inline, uint64(MaxInlineBytes))
	}
	if written > MaxWriteBytes {
		return invalid(-1, "writes of %d bytes: at most %d in one request", written, uint64(MaxWriteBytes))
	}
	return nil
}

func validateOp(i int, op *wirepb.ObjOp, payloadLen uint64) *Error {
	nameMin, nameMax := 0, 0 // bytes allowed
	value, end, data := false, false, false
	kind := op.GetKind()
	switch kind {
	case wirepb.OpKind_SET_REF:
		value = true
	case wirepb.OpKind_ASSERT_NO_RECORD:
		nameMin, nameMax = 1, store.MaxNameBytes
	case wirepb.OpKind_OMAP_ADD:
		nameMin, nameMax, value, end = 1, store.MaxKeyBytes, true, true
	case wirepb.OpKind_CMP_ATTR, wirepb.OpKind_CMP_OMAP, wirepb.OpKind_SET_ATTR, wirepb.OpKind_OMAP_SET:
		nameMin, nameMax, value = 1, store.MaxKeyBytes, true
	case wirepb.OpKind_GET_ATTR, wirepb.OpKind_RM_ATTR, wirepb.OpKind_OMAP_GET, wirepb.OpKind_OMAP_RM:
		nameMin, nameMax = 1, store.MaxKeyBytes
	case wirepb.OpKind_OMAP_LIST, wirepb.OpKind_OMAP_RM_RANGE:
		nameMax, end = store.MaxKeyBytes, true
	case wirepb.OpKind_WRITE, wirepb.OpKind_WRITE_FULL, wirepb.OpKind_APPEND:
		data = true
	}
	if n := len(op.Name); n < nameMin || n > nameMax {
		return invalid(i, "%s with a name of %d bytes: want %d to %d", kind, n, nameMin, nameMax)
	}
	if n := len(op.Value); n > 0 && !value || n > store.MaxValueBytes {
		return invalid(i, "%s with a value of %d bytes: at most %d in SET and CMP operations", kind, n, store.MaxValueBytes)
	}
	if n := len(op.End); n > 0 && !end || n > store.MaxKeyBytes {
		return invalid(i, "%s with an end of %d bytes: at most %d in range operations", kind, n, store.MaxKeyBytes)
	}
	if op.DataLen > 0 && !data {
		return invalid(i, "%s takes no data but names %d bytes of it", kind, op.DataLen)
	}
	if op.DataLen > payloadLen || op.DataOff > payloadLen-op.DataLen {
		return invalid(i, "%s wants %d bytes at %d of a payload of %d bytes", kind, op.DataLen, op.DataOff, payloadLen)
	}
	switch kind {
	case wirepb.OpKind_CMP_OMAP, wirepb.OpKind_OMAP_GET, wirepb.OpKind_OMAP_SET, wirepb.OpKind_OMAP_RM, wirepb.OpKind_OMAP_ADD:
		if isRefKey(op.Name) {
			return invalid(i, "%s: omap keys that begin with %q are cairn's own", kind, chunk.RefKeys)
		}
	case wirepb.OpKind_WRITE:
		if op.DataLen > store.MaxObjectBytes || op.Offset > store.MaxObjectBytes-op.DataLen {
			return tooLarge(i, kind, op.Offset, op.DataLen)
		}
	case wirepb.OpKind_WRITE_FULL, wirepb.OpKind_APPEND:
		if op.DataLen > store.MaxObjectBytes {
			return tooLarge(i, kind, 0, op.DataLen)
		}
	case wirepb.OpKind_TRUNCATE:
		if op.Offset > store.MaxObjectBytes {
			return tooLarge(i, kind, op.Offset, 0)
		}
	}
	return nil
}

func tooLarge(i int, kind wirepb.OpKind, off, n uint64) *Error {
	return invalid(i, "%s of %d bytes at %d: an object holds at most %d bytes", kind, n, off, uint64(store.MaxObjectBytes))
}
