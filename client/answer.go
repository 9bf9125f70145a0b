package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// Conditions that say the cluster itself has a problem; retrying later may help.
var (
	ErrIO       = errors.New("input/output error of a device")
	ErrInternal = errors.New("internal error of the cluster")
	ErrTryLater = errors.New("not possible now")
)

// ErrorOf returns the condition of a wire code, nil for OK.
func ErrorOf(code wirepb.Code) error {
	switch code {
	case wirepb.Code_OK:
		return nil
	case wirepb.Code_NOT_FOUND:
		return ErrNotFound
	case wirepb.Code_EXISTS:
		return ErrExists
	case wirepb.Code_CONFLICT:
		return ErrConflict
	case wirepb.Code_INVALID:
		return ErrInvalid
	case wirepb.Code_NO_SPACE:
		return ErrNoSpace
	case wirepb.Code_CORRUPT:
		return ErrCorrupt
	case wirepb.Code_IO_ERROR:
		return ErrIO
	case wirepb.Code_NOT_PERMITTED:
		return ErrNotPermitted
	case wirepb.Code_UNSUPPORTED:
		return ErrUnsupported
	case wirepb.Code_TIMED_OUT:
		return ErrTimeout
	case wirepb.Code_STALE_MAP, wirepb.Code_WRONG_PRIMARY, wirepb.Code_TRY_LATER, wirepb.Code_STALE_TERM:
		return ErrTryLater
	}
	return ErrInternal
}

// CodeOf returns the wire code of an error of this package: for who passes it on to others.
func CodeOf(err error) wirepb.Code {
	if err == nil {
		return wirepb.Code_OK
	}
	for _, code := range []wirepb.Code{
		wirepb.Code_NOT_FOUND, wirepb.Code_EXISTS, wirepb.Code_CONFLICT, wirepb.Code_INVALID, wirepb.Code_NO_SPACE, wirepb.Code_CORRUPT,
		wirepb.Code_IO_ERROR, wirepb.Code_NOT_PERMITTED, wirepb.Code_UNSUPPORTED, wirepb.Code_TIMED_OUT, wirepb.Code_TRY_LATER,
	} {
		if errors.Is(err, ErrorOf(code)) {
			return code
		}
	}
	return wirepb.Code_INTERNAL
}

// Writes reports whether the Op may change its object.
func (o *Op) Writes() bool {
	for _, op := range o.ops {
		if op.Kind >= wirepb.OpKind_CREATE {
			return true
		}
	}
	return false
}

// Len returns the number of operations in the Op.
func (o *Op) Len() int { return len(o.ops) }

// Request returns the Op as it crosses the wire, with the writes' data as
// payload. It is for what carries out Ops itself, such as client/clienttest.
func (o *Op) Request(object string) (*wirepb.OpRequest, []byte) {
	return &wirepb.OpRequest{Object: []byte(object), Ops: o.ops, Mtime: o.modified(), Record: o.record}, o.data()
}

// modified is the modification time a write gives the object.
func (o *Op) modified() int64 {
	if o.mtime.IsZero() {
		return time.Now().UnixNano()
	}
	return o.mtime.UnixNano()
}

// data joins the writes' data; with a single write, the common case, it is not copied.
func (o *Op) data() []byte {
	if len(o.payload) == 1 {
		return o.payload[0]
	}
	if o.size == 0 {
		return nil
	}
	all := make([]byte, 0, o.size)
	for _, b := range o.payload {
		all = append(all, b...)
	}
	return all
}

// Answer turns an OSD's answer to an Op into what Do returns. It checks the
// answer, because it came over the network. It is for what carries out Ops itself.
func (o *Op) Answer(pool, object string, code wirepb.Code, text string, reply *wirepb.OpReply, payload []byte) (*Result, error) {
	if code != wirepb.Code_OK {
		e := &OpError{Pool: pool, Object: object, Index: -1, Err: ErrorOf(code), Text: text}
		if f := int64(reply.GetFailed()); f > 0 && f <= int64(len(o.ops)) {
			e.Index = int(f) - 1
		}
		return nil, e
	}
	malformed := func(format string, args ...any) (*Result, error) {
		return nil, &OpError{Pool: pool, Object: object, Index: -1, Err: ErrInternal, Text: "malformed answer of the OSD: " + fmt.Sprintf(format, args...)}
	}
	results := reply.GetResults()
	if len(results) != len(o.ops) {
		return malformed("%d results for %d operations", len(results), len(o.ops))
	}
	res := &Result{Version: reply.GetVersion()}
	if res.Items = res.one[:]; len(results) != 1 {
		res.Items = make([]ResultItem, len(results))
	}
	for i, r := range results {
		k := o.ops[i].Kind
		if k < wirepb.OpKind_STAT || k >= wirepb.OpKind_CREATE {
			continue // reads nothing
		}
		it := &res.Items[i]
		switch r.GetCode() {
		case wirepb.Code_OK:
		case wirepb.Code_NOT_FOUND:
			continue
		default:
			return malformed("result %d has code %s", i, r.GetCode())
		}
		it.Found = true
		it.Size, it.Version, it.More = r.Size, r.Version, r.More
		if k == wirepb.OpKind_STAT {
			it.Mtime = time.Unix(0, r.Mtime)
		}
		it.Data = r.Value
		if n := uint64(len(payload)); r.DataLen > 0 {
			if r.DataLen > n || r.DataOff > n-r.DataLen {
				return malformed("result %d lies outside of the payload", i)
			}
			it.Data = payload[r.DataOff : r.DataOff+r.DataLen : r.DataOff+r.DataLen]
		}
		if k == wirepb.OpKind_READ {
			it.Length = uint64(len(it.Data))
			if len(r.Refs) > 0 {
				refer := it.refer
				if o.ops[i].Flag {
					refer = it.referOnly
				}
				if err := refer(o.ops[i].Offset, r); err != nil {
					return malformed("result %d: %v", i, err)
				}
			}
		}
		if len(r.Kvs) > 0 {
			it.KVs = make([]KV, len(r.Kvs))
			for j, kv := range r.Kvs {
				it.KVs[j] = KV{Key: string(kv.GetKey()), Value: kv.GetValue()}
			}
		}
	}
	return res, nil
}
