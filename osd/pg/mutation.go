package pg

import (
	"fmt"
	"math"

	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// mutationsOf turns the changes of one object into their wire form. The data
// of the writes becomes the payload, in pieces that are not copied.
func mutationsOf(ops []store.Op) (ms []*wirepb.Mutation, payload [][]byte) {
	var off uint64
	// The usual ones in one piece of memory.
	few := &struct {
		all  [2]wirepb.Mutation
		ms   [2]*wirepb.Mutation
		data [1][]byte
	}{}
	all := few.all[:]
	ms, payload = few.ms[:min(len(ops), len(few.ms))], few.data[:0]
	if len(ops) > len(all) {
		all, ms = make([]wirepb.Mutation, len(ops)), make([]*wirepb.Mutation, len(ops))
	}
	for i := range ops {
		op, m := &ops[i], &all[i]
		ms[i] = m
		*m = wirepb.Mutation{Kind: uint32(op.Kind), Off: op.Off, Len: op.Len, Name: op.Name, Value: op.Value, End: op.End}
		if op.Kind == store.OpSetVersion {
			m.Off, m.Len = uint64(op.Version.Term), op.Version.Seq
			m.DataOff = uint64(op.Mtime)
		}
		if len(op.Data) > 0 {
			m.DataOff, m.DataLen = off, uint64(len(op.Data))
			off += m.DataLen
			payload = append(payload, op.Data)
		}
	}
	return ms, payload
}

// memOf is the memory that the data of a request's changes lies in.
func memOf(ops []store.Op) *slab.Buf {
	for i := range ops {
		if ops[i].Mem != nil {
			return ops[i].Mem
		}
	}
	return nil
}

// opsFromMutations is the inverse of mutationsOf for a received message.
func opsFromMutations(key store.Key, ms []*wirepb.Mutation, payload []byte) ([]store.Op, error) {
	ops := make([]store.Op, 0, len(ms)+2)
	for _, m := range ms {
		if m.Kind > math.MaxUint8 {
			return nil, fmt.Errorf("mutation of %s has kind %d: is the primary newer than this OSD?", key, m.Kind)
		}
		op := store.Op{Kind: store.OpKind(m.Kind), Key: key, Off: m.Off, Len: m.Len, Name: m.Name, Value: m.Value, End: m.End}
		switch op.Kind {
		case store.OpSetVersion:
			op.Version = store.Version{Term: placement.Term(m.Off), Seq: m.Len}
			op.Mtime = int64(m.DataOff)
			op.Off, op.Len = 0, 0
		case store.OpWrite:
			if m.DataOff > uint64(len(payload)) || m.DataLen > uint64(len(payload))-m.DataOff {
				return nil, fmt.Errorf("mutation of %s points outside its payload of %d bytes", key, len(payload))
			}
			op.Data = payload[m.DataOff : m.DataOff+m.DataLen]
		case store.OpTouch, store.OpZero, store.OpTruncate, store.OpRemove, store.OpSetAttr, store.OpRmAttr,
			store.OpOmapSet, store.OpOmapRm, store.OpOmapRmRange, store.OpOmapClear:
		default:
			return nil, fmt.Errorf("mutation of %s has kind %d, which clients' writes do not have", key, m.Kind)
		}
		ops = append(ops, op)
	}
	return ops, nil
}
