package objop

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// validateName checks the object's name, and that records are touched by those only who mean to.
func validateName(req *wirepb.OpRequest) *Error {
	name := req.GetObject()
	record := len(name) > 0 && name[0] == placement.RecordMark
	switch {
	case record && !req.GetRecord():
		return invalid(-1, "object name %q: names that begin with a zero byte are those of cairn's own records; choose another one", name)
	case !record && req.GetRecord():
		return invalid(-1, "object name %q is not that of a record, which the request says it is", name)
	case record:
		return validateRecord(-1, string(name))
	}
	if n := len(name); n == 0 || n > store.MaxObjectName {
		return invalid(-1, "object name of %d bytes: want 1 to %d", n, store.MaxObjectName)
	}
	return nil
}

// validateRecord checks the name of a record.
func validateRecord(i int, name string) *Error {
	k, ok := placement.RecordOf(name)
	if !ok || len(name) > store.MaxNameBytes {
		return invalid(i, "name %q of %d bytes: that of a record begins with a zero byte and a kind and has at most %d bytes", name, len(name), store.MaxNameBytes)
	}
	of := placement.Locator(name)
	switch {
	case k == placement.ChunkEntry:
		ok = len(name) == len(chunk.Fingerprint{}.IndexName())
	case of == name:
		return &Error{Code: wirepb.Code_UNSUPPORTED, Index: i, Text: fmt.Sprintf("record %q: its kind is not known, or it belongs to nothing; is the client newer than this OSD?", name)}
	default:
		ok = len(of) <= store.MaxObjectName
	}
	if !ok {
		return invalid(i, "record %q: its kind %q has other names", name, k)
	}
	return nil
}

// validateChunkOp checks SET_REF and ASSERT_NO_RECORD.
func validateChunkOp(i int, op *wirepb.ObjOp, req *wirepb.OpRequest) *Error {
	object := string(req.GetObject())
	if op.Kind == wirepb.OpKind_ASSERT_NO_RECORD {
		name := string(op.Name)
		if err := validateRecord(i, name); err != nil {
			return err
		}
		if placement.Locator(name) != placement.Locator(object) {
			return invalid(i, "record %q does not belong to object %q", name, object)
		}
		return nil
	}
	_, err := refOf(i, op, object)
	return err
}

// refOf decodes and checks the reference of a SET_REF.
func refOf(i int, op *wirepb.ObjOp, object string) (chunk.Ref, *Error) {
	if placement.IsRecord(object) {
		return chunk.Ref{}, invalid(i, "SET_REF: a record has no references to chunks")
	}
	ref, err := chunk.DecodeRef(op.Value)
	switch {
	case err != nil:
		return chunk.Ref{}, invalid(i, "SET_REF: %v", err)
	case op.Length == 0 || op.Length > store.MaxObjectBytes || op.Offset > store.MaxObjectBytes-op.Length:
		return chunk.Ref{}, tooLarge(i, op.Kind, op.Offset, op.Length)
	case ref.Range != chunk.Range{From: op.Offset, To: op.Offset + op.Length}:
		return chunk.Ref{}, invalid(i, "SET_REF of %d bytes at %d: the reference is to bytes %d to %d", op.Length, op.Offset, ref.Range.From, ref.Range.To)
	case len(ref.Covered) > 0 || ref.Split:
		return chunk.Ref{}, invalid(i, "SET_REF: a new reference is whole: nothing covers it, and it is not part of another")
	}
	return ref, nil
}

// hasRecord reports whether there is a record of that name, which the object's PG has if anybody does.
func (e *executor) hasRecord(i int, name string) (bool, *Error) {
	k := e.k
	k.Name = name
	_, err := e.r.Stat(k)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, store.ErrNotFound):
		return false, nil
	}
	return false, e.readError(i, "record", err)
}

// ---- omap keys of references, which clients do not see ----

func isRefKey(key []byte) bool { return bytes.HasPrefix(key, []byte(chunk.RefKeys)) }

// hideRefs cuts a part of a listing off where references begin.
func hideRefs(kvs []store.KV) (_ []store.KV, hidden bool) {
	for n, kv := range kvs {
		if c := bytes.Compare(kv.Key, []byte(chunk.RefKeys)); c < 0 {
			continue
		}
		if isRefKey(kv.Key) {
			return kvs[:n], true
		}
		break // behind them
	}
	return kvs, false
}

// moreBehind reports whether a listing that more pairs follow has more for clients.
func (e *executor) moreBehind(last, end []byte) (bool, error) {
	if bytes.Compare(last, []byte(chunk.RefKeys)) >= 0 {
		return true, nil
	}
	start, _ := after(last) // it is below the references, so there is one
	kvs, _, err := e.r.OmapList(e.k, start, end, 1)
	if err != nil || len(kvs) == 0 || !isRefKey(kvs[0].Key) {
		return len(kvs) > 0, err
	}
	if start = []byte(chunk.RefKeysEnd); len(end) > 0 && bytes.Compare(start, end) >= 0 {
		return false, nil
	}
	kvs, _, err = e.r.OmapList(e.k, start, end, 1)
	return len(kvs) > 0, err
}

// removeKeys emits the removal of a range of keys, but for those of references.
func (e *executor) removeKeys(start, end []byte) {
	rm := func(start, end []byte) {
		if len(end) == 0 || bytes.Compare(start, end) < 0 {
			e.emit(store.Op{Kind: store.OpOmapRmRange, Name: start, End: end})
		}
	}
	first, behind := []byte(chunk.RefKeys), []byte(chunk.RefKeysEnd)
	if e.before.OmapKeys == 0 || bytes.Compare(start, behind) >= 0 || len(end) > 0 && bytes.Compare(end, first) <= 0 {
		rm(start, end)
		return
	}
	if bytes.Compare(start, first) < 0 {
		rm(start, first)
		start = first
	}
	if bytes.Compare(start, behind) < 0 {
		start = behind
	}
	rm(start, end)
}
