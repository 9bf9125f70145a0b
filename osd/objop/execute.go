package objop

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
)

// Outcome is what a request answers and changes.
type Outcome struct {
	Reply   *wirepb.OpReply // never nil, one result for each operation
	Payload []byte          // data of READ results
	// Mem is the counted memory of Payload, whose user the caller is; nil: the garbage collector's.
	Mem *slab.Buf

	Code wirepb.Code // OK, or why the request failed
	Text string      // for people, empty when Code is OK

	// Mutates is set when a request that writes succeeded. The change then needs a log
	// entry even if Ops is empty: its answer must be remembered for retries.
	Mutates bool
	// Ops are the changes of the key, in order. Their Data, Name, Value and End alias the
	// request and its payload.
	Ops []store.Op
	// Wait says that the reader is a store.QuickReader that does not know the answer. All else is zero.
	Wait bool
	// Drops are the references to chunks that the object had before, or would have had in between, and has not
	// afterwards. What remembers them must be logged before the change.
	Drops []chunk.Dropped
	// Removed says that the object does not exist afterwards. Ops is then a single
	// store.OpRemove, and the PG must add no OpSetVersion, which would create it again.
	Removed bool
}

// Execute evaluates req on the object k as r shows it. It validates req first,
// so any request may be given to it. Reply.Version is the version before the
// request (0: no object); the PG replaces it when Mutates is set.
func Execute(r store.Reader, k store.Key, req *wirepb.OpRequest, payload []byte) Outcome {
	if err := validate(req, len(payload)); err != nil {
		return failure(req, 0, err)
	}
	e := executor{r: r, k: k, req: req, payload: payload, write: IsWrite(req), answer: &answer{}}
	e.readBudget = MaxReadBytes
	if e.write {
		e.readBudget = MaxMixedReadBytes
	}
	info, err := r.Stat(k)
	switch {
	case err == nil:
		e.before, e.existed = info, true
	case errors.Is(err, store.ErrWait):
		return Outcome{Wait: true}
	case !errors.Is(err, store.ErrNotFound):
		return failure(req, 0, e.readError(-1, "stat", err))
	}
	if err := e.run(); err != nil {
		e.mem.Release()
		if e.wait {
			return Outcome{Wait: true}
		}
		return failure(req, e.before.Version.Seq, err)
	}
	reply := &e.answer.reply
	reply.Results, reply.Version = e.results, e.before.Version.Seq
	out := Outcome{
		Reply:   reply,
		Payload: e.out,
		Mem:     e.mem,
		Mutates: e.write,
		Ops:     e.ops,
	}
	if e.refs != nil {
		out.Drops = e.refs.drops
	}
	if e.write && !e.exists {
		out.Removed = true
		out.Ops = []store.Op{{Kind: store.OpRemove, Key: k}}
	}
	return out
}

func failure(req *wirepb.OpRequest, version uint64, err *Error) Outcome {
	n := min(len(req.GetOps()), MaxOps)
	results := make([]*wirepb.ObjResult, n)
	all := make([]wirepb.ObjResult, n)
	for i := range results {
		results[i] = &all[i]
	}
	reply := &wirepb.OpReply{Results: results, Version: version}
	if err.Index >= 0 && err.Index < n {
		results[err.Index].Code = err.Code
		reply.Failed = uint32(err.Index) + 1
	}
	return Outcome{Reply: reply, Code: err.Code, Text: err.Text}
}

// answer is a reply and, of a request with one operation, its result, in one piece of memory.
type answer struct {
	reply wirepb.OpReply
	one   [1]wirepb.ObjResult
	list  [1]*wirepb.ObjResult
}

// executor holds one evaluation.
type executor struct {
	r       store.Reader
	k       store.Key
	req     *wirepb.OpRequest
	payload []byte
	write   bool

	existed bool       // before the request
	before  store.Info // zero if !existed

	answer     *answer
	results    []*wirepb.ObjResult
	out        []byte
	mem        *slab.Buf // of out, unless nil
	readBudget uint64    // bytes that reads may still return
	wait       bool      // the reader did not know an answer
	inline     uint64    // bytes of results that travel in the header, as counted for MaxInlineBytes

	exists bool   // as the writes so far leave it
	size   uint64 // the same
	ops    []store.Op
	refs   *refs // what the writes did to references; nil: there are none
}

func (e *executor) run() *Error {
	ops := e.req.Ops
	e.exists, e.size = e.existed, e.before.Size
	e.inline = uint64(len(ops)) * OpOverhead
	all := e.answer.one[:]
	e.results = e.answer.list[:]
	if len(ops) > 1 {
		all, e.results = make([]wirepb.ObjResult, len(ops)), make([]*wirepb.ObjResult, len(ops))
	}
	for i := range all {
		e.results[i] = &all[i]
	}
	for i, op := range ops {
		if classOf(op.Kind) == classCondition {
			if err := e.check(i, op); err != nil {
				return err
			}
		}
	}
	for i := 0; i < len(ops); i++ {
		op := ops[i]
		switch classOf(op.Kind) {
		case classRead:
			if !e.existed {
				return &Error{Code: wirepb.Code_NOT_FOUND, Index: i, Text: "the object does not exist"}
			}
			if op.Kind == wirepb.OpKind_OMAP_GET {
				n, err := e.omapGet(i)
				if err != nil {
					return err
				}
				i += n - 1
				continue
			}
			if err := e.read(i, op); err != nil {
				return err
			}
		case classWrite:
			if err := e.change(i, op); err != nil {
				return err
			}
		}
	}
	return e.finishRefs()
}

// ---- conditions ----

func conflict(i int, format string, args ...any) *Error {
	return &Error{Code: wirepb.Code_CONFLICT, Index: i, Text: fmt.Sprintf(format, args...)}
}

func (e *executor) check(i int, op *wirepb.ObjOp) *Error {
	switch op.Kind {
	case wirepb.OpKind_ASSERT_EXISTS:
		if !e.existed {
			return &Error{Code: wirepb.Code_NOT_FOUND, Index: i, Text: "the object does not exist"}
		}
	case wirepb.OpKind_ASSERT_ABSENT:
		if e.existed {
			return &Error{Code: wirepb.Code_EXISTS, Index: i, Text: "the object exists"}
		}
	case wirepb.OpKind_ASSERT_VERSION:
		if v := e.before.Version.Seq; v != op.Version {
			return conflict(i, "the object has version %d, not %d", v, op.Version)
		}
	case wirepb.OpKind_CMP_ATTR:
		var v []byte
		found := false
		if e.existed {
			var err error
			v, err = e.r.Attr(e.k, op.Name)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return e.readError(i, "attribute", err)
			}
			found = err == nil
		}
		return compare(i, "attribute", op, v, found)
	case wirepb.OpKind_CMP_OMAP:
		var v []byte
		found := false
		if e.existed {
			kvs, err := e.r.OmapGet(e.k, [][]byte{op.Name})
			if err != nil {
				return e.readError(i, "omap key", err)
			}
			if found = len(kvs) > 0; found {
				v = kvs[0].Value
			}
		}
		return compare(i, "omap key", op, v, found)
	case wirepb.OpKind_ASSERT_NO_RECORD:
		there, err := e.hasRecord(i, string(op.Name))
		if err != nil {
			return err
		}
		if there {
			return conflict(i, "there is a record %q", op.Name)
		}
	}
	return nil
}

// compare holds found value v against the condition op. With the flag, an empty
// expected value demands that there is no value at all: that is how a caller
// says "must not exist", which an existing empty value does not satisfy.
func compare(i int, what string, op *wirepb.ObjOp, v []byte, found bool) *Error {
	wantAbsent := op.Flag && len(op.Value) == 0
	switch {
	case wantAbsent && found:
		return conflict(i, "%s %q exists", what, op.Name)
	case wantAbsent:
		return nil
	case !found:
		return conflict(i, "%s %q does not exist", what, op.Name)
	case !bytes.Equal(v, op.Value):
		return conflict(i, "%s %q has another value", what, op.Name)
	}
	return nil
}

// ---- reads ----

// readError turns an error of the store into the request's.
func (e *executor) readError(i int, what string, err error) *Error {
	if errors.Is(err, store.ErrWait) {
		e.wait = true
		return &Error{Code: wirepb.Code_TRY_LATER, Index: i}
	}
	code := wirepb.Code_IO_ERROR
	switch {
	case errors.Is(err, store.ErrCorrupt):
		code = wirepb.Code_CORRUPT
	case errors.Is(err, store.ErrNotFound):
		code = wirepb.Code_NOT_FOUND
	case errors.Is(err, store.ErrInvalid):
		code = wirepb.Code_INVALID
	case errors.Is(err, store.ErrClosed):
		code = wirepb.Code_TRY_LATER
	}
	return &Error{Code: code, Index: i, Text: fmt.Sprintf("%s of %s: %v", what, e.k, err)}
}

// spend takes n bytes of result from the budgets. Inline ones travel in the
// header, with pairs of them.
func (e *executor) spend(i int, n uint64, inline bool, pairs int) *Error {
	if n > e.readBudget {
		if e.write {
			return invalid(i, "a request that writes may read at most %d bytes; read the rest in a request of its own", uint64(MaxMixedReadBytes))
		}
		return invalid(i, "the reads return more than %d bytes; split the request", uint64(MaxReadBytes))
	}
	e.readBudget -= n
	if inline {
		if e.inline += n + uint64(pairs)*PairOverhead; e.inline > MaxInlineBytes {
			return invalid(i, "the reads return more than %d bytes of attributes and omap; split the request", uint64(MaxInlineBytes))
		}
	}
	return nil
}

// fits reports whether spend would let an inline result of n bytes pass.
func (e *executor) fits(n uint64) bool {
	return n <= e.readBudget && e.inline+n+PairOverhead <= MaxInlineBytes
}

func (e *executor) read(i int, op *wirepb.ObjOp) *Error {
	res := e.results[i]
	switch op.Kind {
	case wirepb.OpKind_STAT:
		res.Size, res.Version, res.Mtime = e.before.Size, e.before.Version.Seq, e.before.Mtime
	case wirepb.OpKind_READ:
		return e.readData(i, op, res)
	case wirepb.OpKind_GET_ATTR:
		v, err := e.r.Attr(e.k, op.Name)
		if errors.Is(err, store.ErrNotFound) {
			res.Code = wirepb.Code_NOT_FOUND
			return nil
		}
		if err != nil {
			return e.readError(i, "attribute", err)
		}
		res.Value = v
		return e.spend(i, uint64(len(v)), true, 0)
	case wirepb.OpKind_GET_ATTRS:
		kvs, err := e.r.Attrs(e.k)
		if err != nil {
			return e.readError(i, "attributes", err)
		}
		var n uint64
		for _, kv := range kvs {
			n += uint64(len(kv.Key) + len(kv.Value))
		}
		res.Kvs = appendKVs(nil, kvs)
		return e.spend(i, n, true, len(kvs))
	case wirepb.OpKind_OMAP_LIST:
		return e.omapList(i, op, res)
	}
	return nil
}

func (e *executor) readData(i int, op *wirepb.ObjOp, res *wirepb.ObjResult) *Error {
	if op.Offset >= e.before.Size {
		return nil
	}
	n := e.before.Size - op.Offset
	if op.Length != 0 {
		n = min(n, op.Length)
	}
	if op.Flag {
		return e.readRefs(i, op, n, res)
	}
	if e.before.OmapKeys > 0 {
		if done, err := e.readAround(i, op.Offset, n, res); done || err != nil {
			return err
		}
	}
	if err := e.spend(i, n, e.write, 0); err != nil {
		return err
	}
	data, mem, err := e.readLocal(i, op.Offset, n)
	if err != nil {
		return err
	}
	if e.write {
		res.Value = data // its memory is left to the garbage collector: the answer is kept for long
		return nil
	}
	res.DataOff, res.DataLen = uint64(len(e.out)), n
	e.give(data, mem)
	return nil
}

// readLocal reads bytes that the object has itself, all of them.
func (e *executor) readLocal(i int, off, n uint64) ([]byte, *slab.Buf, *Error) {
	data, mem, err := store.ReadBuf(e.r, e.k, off, n)
	if err != nil {
		return nil, nil, e.readError(i, "data", err)
	}
	if uint64(len(data)) != n {
		mem.Release()
		// Stat and Read disagree: an answer that is silently short would look like the object's end.
		return nil, nil, &Error{Code: wirepb.Code_INTERNAL, Index: i, Text: fmt.Sprintf("data of %s: %d bytes at %d, want %d", e.k, len(data), off, n)}
	}
	return data, mem, nil
}

// give adds data to the reply's payload.
func (e *executor) give(data []byte, mem *slab.Buf) {
	switch {
	case e.out == nil:
		e.out, e.mem = data, mem // the common request with a single READ copies nothing
		return
	case e.mem != nil: // out must grow, and that memory is another's afterwards
		e.out = append(make([]byte, 0, len(e.out)+len(data)), e.out...)
		e.mem.Release()
		e.mem = nil
	}
	e.out = append(e.out, data...)
	mem.Release()
}

// omapGetRun bounds the values held before they are counted.
const omapGetRun = 8

// omapGet answers the OMAP_GET at i and those directly behind it; it returns how many.
func (e *executor) omapGet(i int) (int, *Error) {
	keys := make([][]byte, 0, omapGetRun)
	for _, op := range e.req.Ops[i:] {
		if op.Kind != wirepb.OpKind_OMAP_GET || len(keys) == omapGetRun {
			break
		}
		keys = append(keys, op.Name)
	}
	kvs, err := e.r.OmapGet(e.k, keys)
	if err != nil {
		return 0, e.readError(i, "omap keys", err)
	}
	for n, key := range keys {
		res := e.results[i+n]
		res.Code = wirepb.Code_NOT_FOUND
		for _, kv := range kvs {
			if bytes.Equal(kv.Key, key) {
				res.Code, res.Value = wirepb.Code_OK, kv.Value
				break
			}
		}
		if err := e.spend(i+n, uint64(len(res.Value)), true, 0); err != nil {
			return 0, err
		}
	}
	return len(keys), nil
}

// omapListRun bounds how many pairs one call of the store returns.
const omapListRun = 1024

func (e *executor) omapList(i int, op *wirepb.ObjOp, res *wirepb.ObjResult) *Error {
	limit := MaxListPairs
	if op.Limit > 0 {
		limit = min(limit, int(op.Limit))
	}
	start := op.Name
	if op.Flag {
		var ok bool
		if start, ok = after(start); !ok {
			return nil
		}
	}
	used, room := 0, MaxListBytes
	if left := MaxInlineBytes - int(e.inline); left < room {
		room = left // behind other large results; a single pair that does not fit fails the request
	}
	for len(op.End) == 0 || bytes.Compare(start, op.End) < 0 {
		kvs, more, err := e.r.OmapList(e.k, start, op.End, min(omapListRun, limit-len(res.Kvs)))
		if err != nil {
			return e.readError(i, "omap", err)
		}
		kvs, hidden := hideRefs(kvs)
		for n, kv := range kvs {
			size := len(kv.Key) + len(kv.Value)
			if len(res.Kvs) > 0 && used+size+(len(res.Kvs)+1)*PairOverhead > room {
				kvs, more, hidden = kvs[:n], true, false
				limit = len(res.Kvs) // full
				break
			}
			used += size
			res.Kvs = append(res.Kvs, &wirepb.KV{Key: kv.Key, Value: kv.Value})
		}
		if hidden {
			start = []byte(chunk.RefKeysEnd) // behind them, perhaps to find out that nothing follows
			if len(res.Kvs) < limit {
				continue
			}
			if len(op.End) == 0 || bytes.Compare(start, op.End) < 0 {
				kvs, _, err := e.r.OmapList(e.k, start, op.End, 1)
				if err != nil {
					return e.readError(i, "omap", err)
				}
				res.More = len(kvs) > 0
			}
			break
		}
		if !more || len(res.Kvs) >= limit || len(kvs) == 0 {
			res.More = more
			if more && len(res.Kvs) >= limit && len(kvs) > 0 {
				if res.More, err = e.moreBehind(kvs[len(kvs)-1].Key, op.End); err != nil {
					return e.readError(i, "omap", err)
				}
			}
			break
		}
		var ok bool
		if start, ok = after(kvs[len(kvs)-1].Key); !ok {
			break
		}
	}
	return e.spend(i, uint64(used), true, len(res.Kvs))
}

// after is the smallest key greater than key that respects the store's limit;
// there is none behind the greatest key.
func after(key []byte) ([]byte, bool) {
	next := append(make([]byte, 0, len(key)+1), key...)
	if len(next) < store.MaxKeyBytes {
		return append(next, 0), true
	}
	for len(next) > 0 {
		if last := len(next) - 1; next[last] < 0xff {
			next[last]++
			return next, true
		}
		next = next[:len(next)-1]
	}
	return nil, false
}

func appendKVs(to []*wirepb.KV, kvs []store.KV) []*wirepb.KV {
	for _, kv := range kvs {
		to = append(to, &wirepb.KV{Key: kv.Key, Value: kv.Value})
	}
	return to
}

// ---- writes ----

func (e *executor) emit(op store.Op) {
	op.Key = e.k
	if e.ops == nil {
		e.ops = make([]store.Op, 0, len(e.req.Ops)+2) // the PG adds the version and its log's entry
	}
	e.ops = append(e.ops, op)
}

// create notes that the object exists from here on; the operation emitted next makes it.
func (e *executor) create() { e.exists = true }

func (e *executor) change(i int, op *wirepb.ObjOp) *Error {
	data := e.payload[op.DataOff : op.DataOff+op.DataLen]
	switch op.Kind {
	case wirepb.OpKind_CREATE:
		if e.exists && op.Flag {
			return &Error{Code: wirepb.Code_EXISTS, Index: i, Text: "the object exists"}
		}
		e.touch()
	case wirepb.OpKind_WRITE:
		if err := e.coverRefs(i, op.Offset, op.Offset+uint64(len(data))); err != nil {
			return err
		}
		e.writeData(op.Offset, data)
	case wirepb.OpKind_WRITE_FULL:
		if e.size > 0 {
			if err := e.cutRefs(i, 0, e.size); err != nil {
				return err
			}
			e.emit(store.Op{Kind: store.OpTruncate})
			e.size = 0
		}
		e.writeData(0, data)
	case wirepb.OpKind_APPEND:
		if e.size+op.DataLen > store.MaxObjectBytes {
			return tooLarge(i, op.Kind, e.size, op.DataLen)
		}
		e.writeData(e.size, data)
	case wirepb.OpKind_TRUNCATE:
		if e.exists && e.size == op.Offset {
			break
		}
		if err := e.cutRefs(i, op.Offset, e.size); err != nil {
			return err
		}
		e.create()
		e.emit(store.Op{Kind: store.OpTruncate, Off: op.Offset})
		e.size = op.Offset
	case wirepb.OpKind_ZERO:
		if !e.exists || op.Length == 0 || op.Offset >= e.size {
			break
		}
		n := min(op.Length, e.size-op.Offset)
		if err := e.coverRefs(i, op.Offset, op.Offset+n); err != nil {
			return err
		}
		e.emit(store.Op{Kind: store.OpZero, Off: op.Offset, Len: n})
	case wirepb.OpKind_SET_REF:
		return e.setRef(i, op)
	case wirepb.OpKind_REMOVE:
		if !e.exists && !op.Flag {
			return &Error{Code: wirepb.Code_NOT_FOUND, Index: i, Text: "the object does not exist"}
		}
		if err := e.loseRefs(i); err != nil {
			return err
		}
		// What else the request did to the object before no longer matters.
		e.ops = e.ops[:0]
		e.emit(store.Op{Kind: store.OpRemove})
		e.exists, e.size = false, 0
	case wirepb.OpKind_SET_ATTR:
		e.create()
		e.emit(store.Op{Kind: store.OpSetAttr, Name: op.Name, Value: op.Value})
	case wirepb.OpKind_OMAP_SET:
		e.create()
		e.emit(store.Op{Kind: store.OpOmapSet, Name: op.Name, Value: op.Value})
	case wirepb.OpKind_OMAP_ADD:
		return e.addCounters(i, op)
	default:
		return e.takeAway(i, op)
	}
	return nil
}

// takeAway emits the removals of attributes and keys; a missing object has none.
func (e *executor) takeAway(i int, op *wirepb.ObjOp) *Error {
	if !e.exists {
		return nil
	}
	switch op.Kind {
	case wirepb.OpKind_RM_ATTR:
		e.emit(store.Op{Kind: store.OpRmAttr, Name: op.Name})
	case wirepb.OpKind_OMAP_RM:
		e.emit(store.Op{Kind: store.OpOmapRm, Name: op.Name})
	case wirepb.OpKind_OMAP_RM_RANGE:
		e.removeKeys(op.Name, op.End)
	case wirepb.OpKind_OMAP_CLEAR:
		refs, err := e.hasRefs(i)
		if err != nil {
			return err
		}
		if refs {
			e.removeKeys(nil, nil)
		} else {
			e.emit(store.Op{Kind: store.OpOmapClear})
		}
	}
	return nil
}

// touch makes the object exist.
func (e *executor) touch() {
	if !e.exists {
		e.create()
		e.emit(store.Op{Kind: store.OpTouch})
	}
}

func (e *executor) writeData(off uint64, data []byte) {
	if len(data) == 0 {
		e.touch() // a write of nothing creates the object but never extends it
		return
	}
	e.create()
	e.emit(store.Op{Kind: store.OpWrite, Off: off, Data: data})
	e.size = max(e.size, off+uint64(len(data)))
}
