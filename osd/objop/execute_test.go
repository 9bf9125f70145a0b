package objop_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/objop"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

var key = store.Key{PG: placement.PGID{Pool: 1, Shard: 3}, Name: "obj"}

// o is an operation of a test; data goes to the payload.
type o struct {
	k              wirepb.OpKind
	off, n         uint64
	name, val, end string
	limit          uint32
	ver            uint64
	flag           bool
	data           string
}

func request(ops []o) (*wirepb.OpRequest, []byte) {
	req := &wirepb.OpRequest{Pool: 1, Shard: 3, Object: []byte("obj")}
	var payload []byte
	for _, op := range ops {
		req.Ops = append(req.Ops, &wirepb.ObjOp{
			Kind: op.k, Offset: op.off, Length: op.n, Name: []byte(op.name), Value: []byte(op.val), End: []byte(op.end),
			Limit: op.limit, Version: op.ver, Flag: op.flag, DataOff: uint64(len(payload)), DataLen: uint64(len(op.data)),
		})
		payload = append(payload, op.data...)
	}
	return req, payload
}

// show prints results so that a table can state them: "." for an empty one.
func show(out objop.Outcome) string {
	var all []string
	for _, r := range out.Reply.Results {
		var s []string
		if r.Code != wirepb.Code_OK {
			s = append(s, r.Code.String())
		}
		if r.Size|r.Version != 0 {
			s = append(s, fmt.Sprintf("size=%d v%d t%d", r.Size, r.Version, r.Mtime))
		}
		if r.Value != nil {
			s = append(s, string(r.Value))
		}
		if r.DataLen > 0 {
			s = append(s, "data:"+string(out.Payload[r.DataOff:r.DataOff+r.DataLen]))
		}
		for _, kv := range r.Kvs {
			s = append(s, fmt.Sprintf("%s=%s", kv.Key, kv.Value))
		}
		if r.More {
			s = append(s, "more")
		}
		if len(s) == 0 {
			s = []string{"."}
		}
		all = append(all, strings.Join(s, ","))
	}
	return strings.Join(all, " ")
}

const (
	assertExists, assertAbsent, assertVersion    = wirepb.OpKind_ASSERT_EXISTS, wirepb.OpKind_ASSERT_ABSENT, wirepb.OpKind_ASSERT_VERSION
	cmpAttr, cmpOmap                             = wirepb.OpKind_CMP_ATTR, wirepb.OpKind_CMP_OMAP
	stat, read, getAttrs, getAttr                = wirepb.OpKind_STAT, wirepb.OpKind_READ, wirepb.OpKind_GET_ATTRS, wirepb.OpKind_GET_ATTR
	omapGet, omapList                            = wirepb.OpKind_OMAP_GET, wirepb.OpKind_OMAP_LIST
	create, write, writeFull, appendOp, truncate = wirepb.OpKind_CREATE, wirepb.OpKind_WRITE, wirepb.OpKind_WRITE_FULL, wirepb.OpKind_APPEND, wirepb.OpKind_TRUNCATE
	zero, remove, setAttr, rmAttr                = wirepb.OpKind_ZERO, wirepb.OpKind_REMOVE, wirepb.OpKind_SET_ATTR, wirepb.OpKind_RM_ATTR
	omapSet, omapRm, omapRmRange, omapClear      = wirepb.OpKind_OMAP_SET, wirepb.OpKind_OMAP_RM, wirepb.OpKind_OMAP_RM_RANGE, wirepb.OpKind_OMAP_CLEAR

	ok, notFound, exists, conflict, invalid = wirepb.Code_OK, wirepb.Code_NOT_FOUND, wirepb.Code_EXISTS, wirepb.Code_CONFLICT, wirepb.Code_INVALID
)

type m = map[string]string

func TestExecute(t *testing.T) {
	full := func() *fake { return object("hello", m{"a": "1", "b": "2"}, m{"k1": "v1", "k2": "v2", "k3": ""}) }
	const fullState = `v7 "hello" @a=1 @b=2 k1=v1 k2=v2 k3=`
	tests := []struct {
		name   string
		start  *fake // nil: no object
		ops    []o
		code   wirepb.Code
		failed uint32
		res    string // results; empty: not compared
		after  string // state at version 8; empty: unchanged
	}{
		// conditions
		{"assert exists", full(), []o{{k: assertExists}}, ok, 0, ".", ""},
		{"assert exists, missing", nil, []o{{k: assertExists}}, notFound, 1, "NOT_FOUND", ""},
		{"assert absent", nil, []o{{k: assertAbsent}}, ok, 0, ".", ""},
		{"assert absent, there", full(), []o{{k: assertAbsent}}, exists, 1, "EXISTS", ""},
		{"assert version", full(), []o{{k: assertVersion, ver: 7}}, ok, 0, ".", ""},
		{"assert other version", full(), []o{{k: assertVersion, ver: 6}}, conflict, 1, "CONFLICT", ""},
		{"assert version, missing", nil, []o{{k: assertVersion, ver: 7}}, conflict, 1, "", ""},
		{"assert version 0 is absence", nil, []o{{k: assertVersion}}, ok, 0, ".", ""},
		{"cmp attr", full(), []o{{k: cmpAttr, name: "a", val: "1"}}, ok, 0, ".", ""},
		{"cmp attr, other value", full(), []o{{k: cmpAttr, name: "a", val: "2"}}, conflict, 1, "", ""},
		{"cmp attr, missing", full(), []o{{k: cmpAttr, name: "x", val: "2"}}, conflict, 1, "", ""},
		{"cmp attr, missing is not empty", full(), []o{{k: cmpAttr, name: "x"}}, conflict, 1, "", ""},
		{"cmp attr absent", full(), []o{{k: cmpAttr, name: "x", flag: true}}, ok, 0, ".", ""},
		{"cmp attr absent, there", full(), []o{{k: cmpAttr, name: "a", flag: true}}, conflict, 1, "", ""},
		{"cmp attr flag with value", full(), []o{{k: cmpAttr, name: "a", val: "1", flag: true}}, ok, 0, ".", ""},
		{"cmp attr flag with value, missing", full(), []o{{k: cmpAttr, name: "x", val: "1", flag: true}}, conflict, 1, "", ""},
		{"cmp omap", full(), []o{{k: cmpOmap, name: "k2", val: "v2"}}, ok, 0, ".", ""},
		{"cmp omap, empty value", full(), []o{{k: cmpOmap, name: "k3"}}, ok, 0, ".", ""},
		{"cmp omap, other value", full(), []o{{k: cmpOmap, name: "k2", val: "v1"}}, conflict, 1, "", ""},
		{"cmp omap absent, missing object", nil, []o{{k: cmpOmap, name: "k", flag: true}}, ok, 0, ".", ""},
		{"cmp omap, missing object", nil, []o{{k: cmpOmap, name: "k"}}, conflict, 1, "", ""},
		{"cmp omap absent, empty value is there", full(), []o{{k: cmpOmap, name: "k3", flag: true}}, conflict, 1, "", ""},
		{"first failing condition wins", full(), []o{{k: assertExists}, {k: cmpAttr, name: "x"}, {k: assertAbsent}}, conflict, 2, ". CONFLICT .", ""},
		{"conditions before reads", nil, []o{{k: stat}, {k: assertExists}}, notFound, 2, ". NOT_FOUND", ""},
		{"conditions before writes", full(), []o{{k: remove}, {k: assertVersion, ver: 1}}, conflict, 2, ". CONFLICT", ""},
		{"conditions see the object before", full(), []o{{k: remove}, {k: assertExists}}, ok, 0, ". .", "absent"},

		// reads
		{"stat", full(), []o{{k: stat}}, ok, 0, "size=5 v7 t1234", ""},
		{"stat, missing", nil, []o{{k: stat}}, notFound, 1, "NOT_FOUND", ""},
		{"read all", full(), []o{{k: read}}, ok, 0, "data:hello", ""},
		{"read to the end", full(), []o{{k: read, off: 2}}, ok, 0, "data:llo", ""},
		{"read a part", full(), []o{{k: read, off: 1, n: 2}}, ok, 0, "data:el", ""},
		{"read over the end", full(), []o{{k: read, off: 4, n: 99}}, ok, 0, "data:o", ""},
		{"read behind the end", full(), []o{{k: read, off: 5, n: 1}}, ok, 0, ".", ""},
		{"read far behind the end", full(), []o{{k: read, off: 1 << 63, n: 1 << 63}}, ok, 0, ".", ""},
		{"read huge length", full(), []o{{k: read, off: 1, n: 1<<64 - 1}}, ok, 0, "data:ello", ""},
		{"several reads", full(), []o{{k: read, n: 1}, {k: read, off: 4}, {k: read, off: 9}, {k: read, off: 1, n: 1}}, ok, 0, "data:h data:o . data:e", ""},
		{"read, missing", nil, []o{{k: read}}, notFound, 1, "", ""},
		{"get attrs", full(), []o{{k: getAttrs}}, ok, 0, "a=1,b=2", ""},
		{"get attr", full(), []o{{k: getAttr, name: "b"}}, ok, 0, "2", ""},
		{"get missing attr goes on", full(), []o{{k: getAttr, name: "x"}, {k: getAttr, name: "a"}}, ok, 0, "NOT_FOUND 1", ""},
		{"get attr, missing object", nil, []o{{k: getAttr, name: "x"}}, notFound, 1, "", ""},
		{"omap get", full(), []o{{k: omapGet, name: "k2"}, {k: omapGet, name: "x"}, {k: omapGet, name: "k3"}, {k: omapGet, name: "k2"}}, ok, 0, "v2 NOT_FOUND  v2", ""},
		{"omap get around others", full(), []o{{k: omapGet, name: "k2"}, {k: stat}, {k: omapGet, name: "k1"}}, ok, 0, "v2 size=5 v7 t1234 v1", ""},
		{"omap list", full(), []o{{k: omapList}}, ok, 0, "k1=v1,k2=v2,k3=", ""},
		{"omap list, limit", full(), []o{{k: omapList, limit: 2}}, ok, 0, "k1=v1,k2=v2,more", ""},
		{"omap list, exact limit", full(), []o{{k: omapList, limit: 3}}, ok, 0, "k1=v1,k2=v2,k3=", ""},
		{"omap list from", full(), []o{{k: omapList, name: "k2"}}, ok, 0, "k2=v2,k3=", ""},
		{"omap list after", full(), []o{{k: omapList, name: "k2", flag: true}}, ok, 0, "k3=", ""},
		{"omap list to", full(), []o{{k: omapList, name: "k2", end: "k3"}}, ok, 0, "k2=v2", ""},
		{"omap list, empty range", full(), []o{{k: omapList, name: "k3", end: "k1"}}, ok, 0, ".", ""},
		{"omap list after the greatest key", full(), []o{{k: omapList, name: strings.Repeat("\xff", store.MaxKeyBytes), flag: true}}, ok, 0, ".", ""},
		{"reads see the object before", full(), []o{{k: writeFull, data: "bye"}, {k: read}, {k: setAttr, name: "a", val: "9"}, {k: getAttr, name: "a"}}, ok, 0, ". hello . 1", `v8 "bye" @a=9 @b=2 k1=v1 k2=v2 k3=`},

		// writes
		{"create", nil, []o{{k: create}}, ok, 0, ".", `v8 ""`},
		{"create, there", full(), []o{{k: create}}, ok, 0, ".", strings.Replace(fullState, "v7", "v8", 1)},
		{"create exclusive", nil, []o{{k: create, flag: true}, {k: write, data: "x"}}, ok, 0, ". .", `v8 "x"`},
		{"create exclusive, there", full(), []o{{k: write, data: "x"}, {k: create, flag: true}}, exists, 2, ". EXISTS", ""},
		{"create exclusive twice", nil, []o{{k: create, flag: true}, {k: create, flag: true}}, exists, 2, ". EXISTS", ""},
		{"write makes the object", nil, []o{{k: write, off: 2, data: "ab"}}, ok, 0, ".", `v8 "\x00\x00ab"`},
		{"write nothing makes the object", nil, []o{{k: write, off: 2}}, ok, 0, ".", `v8 ""`},
		{"write inside", object("hello"), []o{{k: write, off: 1, data: "EL"}}, ok, 0, ".", `v8 "hELlo"`},
		{"write full keeps attributes", full(), []o{{k: writeFull, data: "x"}}, ok, 0, ".", `v8 "x" @a=1 @b=2 k1=v1 k2=v2 k3=`},
		{"write full of nothing", object("hello"), []o{{k: writeFull}}, ok, 0, ".", `v8 ""`},
		{"write full of nothing, missing", nil, []o{{k: writeFull}}, ok, 0, ".", `v8 ""`},
		{"write full then append", object("hello"), []o{{k: writeFull, data: "ab"}, {k: appendOp, data: "cd"}, {k: appendOp, data: "e"}}, ok, 0, ". . .", `v8 "abcde"`},
		{"append", object("hello"), []o{{k: appendOp, data: "!"}}, ok, 0, ".", `v8 "hello!"`},
		{"append makes the object", nil, []o{{k: appendOp, data: "!"}}, ok, 0, ".", `v8 "!"`},
		{"truncate", object("hello"), []o{{k: truncate, off: 2}}, ok, 0, ".", `v8 "he"`},
		{"truncate longer", object("he"), []o{{k: truncate, off: 4}, {k: appendOp, data: "!"}}, ok, 0, ". .", `v8 "he\x00\x00!"`},
		{"truncate makes the object", nil, []o{{k: truncate, off: 1}}, ok, 0, ".", `v8 "\x00"`},
		{"truncate to nothing makes the object", nil, []o{{k: truncate}}, ok, 0, ".", `v8 ""`},
		{"zero", object("hello"), []o{{k: zero, off: 1, n: 2}}, ok, 0, ".", `v8 "h\x00\x00lo"`},
		{"zero is cut at the end", object("hello"), []o{{k: zero, off: 3, n: 1<<64 - 1}}, ok, 0, ".", `v8 "hel\x00\x00"`},
		{"zero behind the end", object("hello"), []o{{k: zero, off: 5, n: 5}}, ok, 0, ".", `v8 "hello"`},
		{"zero sees earlier writes", object("hello"), []o{{k: appendOp, data: "!!"}, {k: zero, off: 4, n: 9}}, ok, 0, ". .", `v8 "hell\x00\x00\x00"`},
		{"zero of a missing object", nil, []o{{k: zero, n: 5}}, ok, 0, ".", "absent"},
		{"remove", full(), []o{{k: remove}}, ok, 0, ".", "absent"},
		{"remove, missing", nil, []o{{k: remove}}, notFound, 1, "NOT_FOUND", ""},
		{"remove, missing is fine", nil, []o{{k: remove, flag: true}}, ok, 0, ".", "absent"},
		{"remove twice", full(), []o{{k: remove}, {k: remove}}, notFound, 2, ". NOT_FOUND", ""},
		{"remove then write", full(), []o{{k: setAttr, name: "z", val: "1"}, {k: remove}, {k: appendOp, data: "new"}}, ok, 0, ". . .", `v8 "new"`},
		{"remove then create exclusive", full(), []o{{k: remove}, {k: create, flag: true}}, ok, 0, ". .", `v8 ""`},
		{"remove then zero and truncate", full(), []o{{k: remove}, {k: zero, n: 5}, {k: truncate, off: 1}}, ok, 0, ". . .", `v8 "\x00"`},
		{"write then remove", nil, []o{{k: write, data: "x"}, {k: remove}}, ok, 0, ". .", "absent"},
		{"set attr", full(), []o{{k: setAttr, name: "a", val: "x"}, {k: setAttr, name: "c"}}, ok, 0, ". .", `v8 "hello" @a=x @b=2 @c= k1=v1 k2=v2 k3=`},
		{"set attr makes the object", nil, []o{{k: setAttr, name: "a", val: "x"}}, ok, 0, ".", `v8 "" @a=x`},
		{"rm attr", full(), []o{{k: rmAttr, name: "a"}, {k: rmAttr, name: "x"}}, ok, 0, ". .", `v8 "hello" @b=2 k1=v1 k2=v2 k3=`},
		{"rm attr of a missing object", nil, []o{{k: rmAttr, name: "a"}}, ok, 0, ".", "absent"},
		{"omap set", full(), []o{{k: omapSet, name: "k1", val: "w"}, {k: omapSet, name: "k0", val: "u"}}, ok, 0, ". .", `v8 "hello" @a=1 @b=2 k0=u k1=w k2=v2 k3=`},
		{"omap rm", full(), []o{{k: omapRm, name: "k1"}, {k: omapRm, name: "k9"}}, ok, 0, ". .", `v8 "hello" @a=1 @b=2 k2=v2 k3=`},
		{"omap rm range", full(), []o{{k: omapRmRange, name: "k1", end: "k3"}}, ok, 0, ".", `v8 "hello" @a=1 @b=2 k3=`},
		{"omap rm range, no bound", full(), []o{{k: omapRmRange, name: "k2"}}, ok, 0, ".", `v8 "hello" @a=1 @b=2 k1=v1`},
		{"omap rm range, empty", full(), []o{{k: omapRmRange, name: "k3", end: "k1"}}, ok, 0, ".", strings.Replace(fullState, "v7", "v8", 1)},
		{"omap clear then set", full(), []o{{k: omapClear}, {k: omapSet, name: "n", val: "1"}}, ok, 0, ". .", `v8 "hello" @a=1 @b=2 n=1`},
		{"omap removals of a missing object", nil, []o{{k: omapRm, name: "k"}, {k: omapRmRange}, {k: omapClear}}, ok, 0, ". . .", "absent"},
		{"write after a read failed", nil, []o{{k: write, data: "x"}, {k: read}}, notFound, 2, ". NOT_FOUND", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			start := tt.start
			if start == nil {
				start = newFake()
			}
			req, payload := request(tt.ops)
			before := start.String()
			out := objop.Execute(start, key, req, payload)
			if out.Code != tt.code || out.Reply.Failed != tt.failed {
				t.Fatalf("got code %v, failed %d, text %q; want %v, %d", out.Code, out.Reply.Failed, out.Text, tt.code, tt.failed)
			}
			if got := show(out); tt.res != "" && got != tt.res {
				t.Errorf("results: got %q, want %q", got, tt.res)
			}
			checkOutcome(t, req, start, out)
			if got := start.String(); got != before {
				t.Fatalf("Execute changed the object: %s, was %s", got, before)
			}
			want := tt.after
			if want == "" {
				want = before
			} else if !out.Mutates {
				t.Error("Mutates is false")
			}
			if out.Mutates {
				start.apply(out.Ops, 8)
			}
			if got := start.String(); got != want {
				t.Errorf("afterwards: got %s, want %s", got, want)
			}
		})
	}
}

// checkOutcome holds what is true of every outcome.
func checkOutcome(t *testing.T, req *wirepb.OpRequest, start *fake, out objop.Outcome) {
	t.Helper()
	if len(out.Reply.Results) != min(len(req.Ops), objop.MaxOps) {
		t.Errorf("%d results of %d operations", len(out.Reply.Results), len(req.Ops))
	}
	if out.Code != ok {
		if out.Mutates || out.Removed || len(out.Ops) > 0 || len(out.Payload) > 0 {
			t.Errorf("a failed request changes or answers something: %+v", out)
		}
		if out.Text == "" {
			t.Error("a failure without words")
		}
		return
	}
	if out.Mutates != objop.IsWrite(req) {
		t.Errorf("Mutates is %v, IsWrite %v", out.Mutates, objop.IsWrite(req))
	}
	if !out.Mutates && (len(out.Ops) > 0 || out.Removed) {
		t.Errorf("a request that only reads changes something: %+v", out.Ops)
	}
	if out.Mutates && len(out.Payload) > 0 {
		t.Error("a request that writes answers in the payload, which the log does not keep")
	}
	end := start.clone()
	end.apply(out.Ops, 8)
	if out.Mutates && out.Removed == end.exists {
		t.Errorf("Removed is %v, but afterwards the object is %s", out.Removed, end)
	}
	if len(end.data) > store.MaxObjectBytes {
		t.Errorf("the object has %d bytes afterwards", len(end.data))
	}
	for _, op := range out.Ops {
		if op.Key != key {
			t.Errorf("an operation of key %s", op.Key)
		}
	}
}

func TestReplyVersion(t *testing.T) {
	for _, tt := range []struct {
		start *fake
		op    o
		want  uint64
	}{
		{object("x"), o{k: read}, 7},
		{object("x"), o{k: assertAbsent}, 7},
		{newFake(), o{k: assertAbsent}, 0},
	} {
		req, payload := request([]o{tt.op})
		if got := objop.Execute(tt.start, key, req, payload).Reply.Version; got != tt.want {
			t.Errorf("%v: got version %d, want %d", tt.op.k, got, tt.want)
		}
	}
}

func TestStoreErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    func(*fake)
		want wirepb.Code
	}{
		{"corrupt data", func(f *fake) { f.readErr = fmt.Errorf("block 3: %w", store.ErrCorrupt) }, wirepb.Code_CORRUPT},
		{"device", func(f *fake) { f.err = errDevice }, wirepb.Code_IO_ERROR},
		{"closed", func(f *fake) { f.err = store.ErrClosed }, wirepb.Code_TRY_LATER},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := object("hello")
			tt.f(f)
			req, payload := request([]o{{k: setAttr, name: "a"}, {k: read}})
			out := objop.Execute(f, key, req, payload)
			if out.Code != tt.want || !strings.Contains(out.Text, `1.3/"obj"`) {
				t.Errorf("got %v %q, want %v naming the object", out.Code, out.Text, tt.want)
			}
			checkOutcome(t, req, f, out)
		})
	}
	t.Run("short read", func(t *testing.T) {
		f := shortReader{object("hello")}
		req, payload := request([]o{{k: read}})
		if out := objop.Execute(f, key, req, payload); out.Code != wirepb.Code_INTERNAL {
			t.Errorf("got %v, want INTERNAL", out.Code)
		}
	})
}

type shortReader struct{ *fake }

func (f shortReader) Read(store.Key, uint64, uint64) ([]byte, error) { return []byte("he"), nil }

func TestListLimits(t *testing.T) {
	t.Run("bytes", func(t *testing.T) {
		f := object("")
		for i := range 20 {
			f.omap[fmt.Sprintf("k%02d", i)] = make([]byte, 50<<10)
		}
		out := run(f, o{k: omapList})
		r := out.Reply.Results[0]
		if len(r.Kvs) != 10 || !r.More {
			t.Errorf("got %d pairs, more %v; want 10 pairs, more", len(r.Kvs), r.More)
		}
	})
	t.Run("one large pair", func(t *testing.T) {
		f := object("")
		f.omap[strings.Repeat("a", store.MaxKeyBytes)] = make([]byte, 800<<10)
		f.omap["b"] = nil
		r := run(f, o{k: omapList}).Reply.Results[0]
		if len(r.Kvs) != 1 || !r.More {
			t.Fatalf("got %d pairs, more %v; want the large one, more", len(r.Kvs), r.More)
		}
		r = run(f, o{k: omapList, name: string(r.Kvs[0].Key), flag: true}).Reply.Results[0]
		if len(r.Kvs) != 1 || r.More || string(r.Kvs[0].Key) != "b" {
			t.Errorf("behind the large pair: got %d pairs, more %v; want b", len(r.Kvs), r.More)
		}
	})
	t.Run("the store returns little at a time", func(t *testing.T) {
		f := object("")
		f.listMax = 3
		for i := range 20 {
			f.omap[fmt.Sprintf("k%02d", i)] = nil
		}
		for _, tt := range []struct {
			limit uint32
			want  int
			more  bool
		}{{0, 20, false}, {20, 20, false}, {19, 19, true}, {3, 3, true}, {1, 1, true}} {
			r := run(f, o{k: omapList, limit: tt.limit}).Reply.Results[0]
			if len(r.Kvs) != tt.want || r.More != tt.more {
				t.Errorf("limit %d: got %d pairs, more %v; want %d, %v", tt.limit, len(r.Kvs), r.More, tt.want, tt.more)
			}
		}
	})
	t.Run("after a key of the greatest length", func(t *testing.T) {
		f := object("")
		long := strings.Repeat("a", store.MaxKeyBytes-1)
		f.omap[long+"\xff"], f.omap[long[1:]+"b"] = nil, nil
		r := run(f, o{k: omapList, name: long + "\xff", flag: true}).Reply.Results[0]
		if len(r.Kvs) != 1 || string(r.Kvs[0].Key) != long[1:]+"b" {
			t.Errorf("got %d pairs, want the one behind the start", len(r.Kvs))
		}
	})
}

func TestReadLimits(t *testing.T) {
	big := object("")
	big.data = make([]byte, 17<<10)
	big.attrs["a"] = make([]byte, 10<<10)
	large := object("")
	large.data = make([]byte, store.MaxObjectBytes)
	wide := object("")
	for i := range 10 {
		wide.omap[fmt.Sprint(i)] = make([]byte, 100<<10)
	}
	gets := make([]o, 9)
	for i := range gets {
		gets[i] = o{k: omapGet, name: fmt.Sprint(i)}
	}
	for _, tt := range []struct {
		name   string
		f      *fake
		ops    []o
		code   wirepb.Code
		failed uint32
	}{
		{"a whole object", large, []o{{k: read}}, ok, 0},
		{"a byte too much", large, []o{{k: read}, {k: read, n: 1}}, invalid, 2},
		{"write and read little", big, []o{{k: read, n: 16 << 10}, {k: create}}, ok, 0},
		{"write and read much", big, []o{{k: create}, {k: read}}, invalid, 2},
		{"write and read little twice", big, []o{{k: create}, {k: getAttr, name: "a"}, {k: getAttrs}}, invalid, 3},
		{"write and list much", wide, []o{{k: create}, {k: omapList}}, invalid, 2},
		{"eight values", wide, gets[:8], ok, 0},
		{"nine values do not fit the header", wide, gets, invalid, 9},
		{"lists share the header", wide, []o{{k: omapList}, {k: omapList}, {k: omapList, limit: 1}}, invalid, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, payload := request(tt.ops)
			out := objop.Execute(tt.f, key, req, payload)
			if out.Code != tt.code || out.Reply.Failed != tt.failed {
				t.Errorf("got %v at %d (%s), want %v at %d", out.Code, out.Reply.Failed, out.Text, tt.code, tt.failed)
			}
		})
	}
}

func run(f *fake, ops ...o) objop.Outcome {
	req, payload := request(ops)
	return objop.Execute(f, key, req, payload)
}

func TestObjectSize(t *testing.T) {
	f := object("")
	f.data = make([]byte, store.MaxObjectBytes-2)
	for _, tt := range []struct {
		ops  []o
		code wirepb.Code
	}{
		{[]o{{k: appendOp, data: "ab"}}, ok},
		{[]o{{k: appendOp, data: "abc"}}, invalid},
		{[]o{{k: appendOp, data: "ab"}, {k: appendOp, data: "c"}}, invalid},
		{[]o{{k: truncate}, {k: appendOp, data: "abc"}}, ok},
		{[]o{{k: writeFull, data: "x"}, {k: appendOp, data: "abc"}}, ok},
	} {
		if out := run(f, tt.ops...); out.Code != tt.code {
			t.Errorf("%v: got %v (%s), want %v", tt.ops[0].k, out.Code, out.Text, tt.code)
		}
	}
}

// Data of a change is not copied: it is the payload itself.
func TestNoCopy(t *testing.T) {
	req, payload := request([]o{{k: write, data: "abc"}})
	out := objop.Execute(newFake(), key, req, payload)
	if &out.Ops[0].Data[0] != &payload[0] || !bytes.Equal(out.Ops[0].Data, []byte("abc")) {
		t.Error("the data of the write was copied")
	}
}

// TestWait: a reader that does not know an answer makes no answer of the request.
func TestWait(t *testing.T) {
	stat, read := &wirepb.ObjOp{Kind: wirepb.OpKind_STAT}, &wirepb.ObjOp{Kind: wirepb.OpKind_READ}
	req := &wirepb.OpRequest{Object: []byte("o"), Ops: []*wirepb.ObjOp{stat, read}}
	for _, f := range []*fake{{exists: true, err: fmt.Errorf("o: %w", store.ErrWait)}, {exists: true, data: []byte("abc"), readErr: fmt.Errorf("o: %w", store.ErrWait)}} {
		if out := objop.Execute(f, key, req, nil); !out.Wait || out.Reply != nil || out.Code != wirepb.Code_OK {
			t.Errorf("%+v, want to wait", out)
		}
	}
	if out := objop.Execute(object("abc"), key, req, nil); out.Wait || string(out.Payload) != "abc" {
		t.Errorf("%+v of a reader that knows", out)
	}
}

func TestIsQuick(t *testing.T) {
	of := func(kinds ...wirepb.OpKind) *wirepb.OpRequest {
		r := &wirepb.OpRequest{}
		for _, k := range kinds {
			r.Ops = append(r.Ops, &wirepb.ObjOp{Kind: k})
		}
		return r
	}
	read, stat := wirepb.OpKind_READ, wirepb.OpKind_STAT
	for _, r := range []*wirepb.OpRequest{of(read), of(stat), of(wirepb.OpKind_ASSERT_VERSION, stat, read)} {
		if !objop.IsQuick(r) {
			t.Errorf("%v is not", r)
		}
	}
	for _, r := range []*wirepb.OpRequest{of(read, read, read, read, read), of(read, wirepb.OpKind_WRITE), of(wirepb.OpKind_OMAP_GET), of(wirepb.OpKind_GET_ATTRS), of(wirepb.OpKind_CMP_ATTR, read)} {
		if objop.IsQuick(r) {
			t.Errorf("%v is", r)
		}
	}
}
