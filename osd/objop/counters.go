package objop

import (
	"bytes"
	"encoding/binary"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
)

// MaxCounters is how many counters share an omap key at most.
const MaxCounters = 32

// counterBytes is what a counter takes: an int64, little endian.
const counterBytes = 8

// validateAdd checks an OMAP_ADD, whose outcome must not depend on other writes of the request: they are not in the store yet.
func validateAdd(i int, op *wirepb.ObjOp, all []*wirepb.ObjOp) *Error {
	if n := len(op.Value); n == 0 || n%counterBytes != 0 || n > MaxCounters*counterBytes {
		return invalid(i, "OMAP_ADD with %d bytes: want 1 to %d counters of %d bytes", n, MaxCounters, counterBytes)
	}
	if n := len(op.End); n != 0 && n != len(op.Value) {
		return invalid(i, "OMAP_ADD with bounds of %d bytes for counters of %d", n, len(op.Value))
	}
	for k, o := range all {
		if k == i {
			continue
		}
		other := false
		switch o.GetKind() {
		case wirepb.OpKind_OMAP_ADD, wirepb.OpKind_OMAP_CLEAR, wirepb.OpKind_REMOVE:
			other = true
		case wirepb.OpKind_OMAP_SET, wirepb.OpKind_OMAP_RM:
			other = bytes.Equal(o.Name, op.Name)
		case wirepb.OpKind_OMAP_RM_RANGE:
			other = bytes.Compare(op.Name, o.Name) >= 0 && (len(o.End) == 0 || bytes.Compare(op.Name, o.End) < 0)
		}
		if other {
			return invalid(i, "OMAP_ADD and operation %d, %s, in one request", k, o.GetKind())
		}
	}
	return nil
}

// addCounters carries out an OMAP_ADD.
func (e *executor) addCounters(i int, op *wirepb.ObjOp) *Error {
	var old []byte
	if e.existed {
		kvs, err := e.r.OmapGet(e.k, [][]byte{op.Name})
		if err != nil {
			return e.readError(i, "omap key", err)
		}
		if len(kvs) > 0 {
			old = kvs[0].Value
		}
	}
	if len(old)%counterBytes != 0 || len(old) > MaxCounters*counterBytes {
		return invalid(i, "omap key %q has a value of %d bytes, which is no counters", op.Name, len(old))
	}
	sum := make([]byte, max(len(old), len(op.Value)))
	copy(sum, old)
	for at := 0; at < len(op.Value); at += counterBytes {
		was := binary.LittleEndian.Uint64(sum[at:])
		add := binary.LittleEndian.Uint64(op.Value[at:])
		now := was + add
		// Signed: it overflows when both terms have the same sign and the sum another.
		if (was^now)&(add^now)>>63 == 1 {
			return invalid(i, "counter %d of omap key %q would overflow", at/counterBytes, op.Name)
		}
		if len(op.End) > 0 && (op.Flag || int64(add) > 0) && int64(now) > int64(binary.LittleEndian.Uint64(op.End[at:])) {
			return conflict(i, "counter %d of omap key %q would be %d, more than %d", at/counterBytes, op.Name, int64(now), int64(binary.LittleEndian.Uint64(op.End[at:])))
		}
		binary.LittleEndian.PutUint64(sum[at:], now)
	}
	e.create()
	e.emit(store.Op{Kind: store.OpOmapSet, Name: op.Name, Value: sum})
	return nil
}
