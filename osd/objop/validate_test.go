package objop_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/objop"
	"github.com/cairnstore/cairn/osd/store"
)

func TestValidate(t *testing.T) {
	name := func(n int) []byte { return []byte(strings.Repeat("n", n)) }
	one := func(op *wirepb.ObjOp) *wirepb.OpRequest {
		return &wirepb.OpRequest{Object: []byte("o"), Ops: []*wirepb.ObjOp{{Kind: stat}, op}}
	}
	many := func(n int, op *wirepb.ObjOp) *wirepb.OpRequest {
		req := &wirepb.OpRequest{Object: []byte("o")}
		for range n {
			req.Ops = append(req.Ops, op)
		}
		return req
	}
	const maxU = 1<<64 - 1
	tests := []struct {
		name    string
		req     *wirepb.OpRequest
		payload int
		code    wirepb.Code
		index   int
	}{
		{"nil", nil, 0, invalid, -1},
		{"no object", &wirepb.OpRequest{Ops: []*wirepb.ObjOp{{Kind: stat}}}, 0, invalid, -1},
		{"longest object name", &wirepb.OpRequest{Object: name(store.MaxObjectName), Ops: []*wirepb.ObjOp{{Kind: stat}}}, 0, ok, 0},
		{"object name too long", &wirepb.OpRequest{Object: name(store.MaxObjectName + 1), Ops: []*wirepb.ObjOp{{Kind: stat}}}, 0, invalid, -1},
		{"no operations", &wirepb.OpRequest{Object: name(1)}, 0, invalid, -1},
		{"most operations", many(objop.MaxOps, &wirepb.ObjOp{Kind: stat}), 0, ok, 0},
		{"too many operations", many(objop.MaxOps+1, &wirepb.ObjOp{Kind: stat}), 0, invalid, -1},
		{"nil operation", one(nil), 0, wirepb.Code_UNSUPPORTED, 1},
		{"kind none", one(&wirepb.ObjOp{}), 0, wirepb.Code_UNSUPPORTED, 1},
		{"kind unknown", one(&wirepb.ObjOp{Kind: 99}), 0, wirepb.Code_UNSUPPORTED, 1},
		{"kind negative", one(&wirepb.ObjOp{Kind: -1}), 0, wirepb.Code_UNSUPPORTED, 1},
		{"attr without name", one(&wirepb.ObjOp{Kind: setAttr}), 0, invalid, 1},
		{"key without name", one(&wirepb.ObjOp{Kind: omapGet}), 0, invalid, 1},
		{"longest key", one(&wirepb.ObjOp{Kind: omapSet, Name: name(store.MaxKeyBytes)}), 0, ok, 0},
		{"key too long", one(&wirepb.ObjOp{Kind: omapSet, Name: name(store.MaxKeyBytes + 1)}), 0, invalid, 1},
		{"list start too long", one(&wirepb.ObjOp{Kind: omapList, Name: name(store.MaxKeyBytes + 1)}), 0, invalid, 1},
		{"list end too long", one(&wirepb.ObjOp{Kind: omapList, End: name(store.MaxKeyBytes + 1)}), 0, invalid, 1},
		{"large value", one(&wirepb.ObjOp{Kind: setAttr, Name: name(1), Value: make([]byte, 890<<10)}), 0, ok, 0},
		{"value does not fit the header", one(&wirepb.ObjOp{Kind: setAttr, Name: name(1), Value: make([]byte, store.MaxValueBytes)}), 0, invalid, -1},
		{"value too large", one(&wirepb.ObjOp{Kind: setAttr, Name: name(1), Value: make([]byte, store.MaxValueBytes+1)}), 0, invalid, 1},
		{"value of a read", one(&wirepb.ObjOp{Kind: read, Value: name(1)}), 0, invalid, 1},
		{"name of a read", one(&wirepb.ObjOp{Kind: read, Name: name(1)}), 0, invalid, 1},
		{"end of a set", one(&wirepb.ObjOp{Kind: omapSet, Name: name(1), End: name(1)}), 0, invalid, 1},
		{"values fill the header", many(10, &wirepb.ObjOp{Kind: omapSet, Name: name(1), Value: make([]byte, 100<<10)}), 0, invalid, -1},
		{"data of a read", one(&wirepb.ObjOp{Kind: read, DataLen: 1}), 5, invalid, 1},
		{"all of the payload", one(&wirepb.ObjOp{Kind: write, DataLen: 5}), 5, ok, 0},
		{"data behind the payload", one(&wirepb.ObjOp{Kind: write, DataOff: 1, DataLen: 5}), 5, invalid, 1},
		{"data offset behind the payload", one(&wirepb.ObjOp{Kind: write, DataOff: 6}), 5, invalid, 1},
		{"data overflows", one(&wirepb.ObjOp{Kind: write, DataOff: maxU, DataLen: 2}), 5, invalid, 1},
		{"data length overflows", one(&wirepb.ObjOp{Kind: write, DataOff: 2, DataLen: maxU}), 5, invalid, 1},
		{"write to the greatest size", one(&wirepb.ObjOp{Kind: write, Offset: store.MaxObjectBytes - 5, DataLen: 5}), 5, ok, 0},
		{"write over the greatest size", one(&wirepb.ObjOp{Kind: write, Offset: store.MaxObjectBytes - 4, DataLen: 5}), 5, invalid, 1},
		{"write offset overflows", one(&wirepb.ObjOp{Kind: write, Offset: maxU, DataLen: 5}), 5, invalid, 1},
		{"write full over the greatest size", one(&wirepb.ObjOp{Kind: writeFull, DataLen: store.MaxObjectBytes + 1}), store.MaxObjectBytes + 1, invalid, 1},
		{"truncate to the greatest size", one(&wirepb.ObjOp{Kind: truncate, Offset: store.MaxObjectBytes}), 0, ok, 0},
		{"truncate over the greatest size", one(&wirepb.ObjOp{Kind: truncate, Offset: store.MaxObjectBytes + 1}), 0, invalid, 1},
		{"the same data again and again", many(5, &wirepb.ObjOp{Kind: writeFull, DataLen: 16 << 20}), 16 << 20, invalid, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := objop.Validate(tt.req, tt.payload)
			if tt.code == ok {
				if err != nil {
					t.Fatalf("got %v, want no error", err)
				}
				return
			}
			var e *objop.Error
			if !errors.As(err, &e) || e.Code != tt.code || e.Index != tt.index || e.Error() == "" {
				t.Fatalf("got %#v, want code %v at %d", err, tt.code, tt.index)
			}
			// Execute refuses the same, and fills the answer.
			out := objop.Execute(object("x"), key, tt.req, make([]byte, min(tt.payload, 8)))
			if out.Code == ok || out.Mutates || out.Reply == nil {
				t.Errorf("Execute accepts it: %+v", out)
			}
		})
	}
}

func TestIsWrite(t *testing.T) {
	for k, name := range wirepb.OpKind_name {
		req := &wirepb.OpRequest{Ops: []*wirepb.ObjOp{{Kind: stat}, {Kind: wirepb.OpKind(k)}}}
		if got, want := objop.IsWrite(req), k >= int32(create); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if objop.IsWrite(nil) || objop.IsWrite(&wirepb.OpRequest{}) {
		t.Error("an empty request is a write")
	}
}

// Whatever Validate accepts and Execute answers fits the messenger's header,
// with the largest encoding of every field.
func TestFitsHeader(t *testing.T) {
	const big = 1<<63 + 1
	req := &wirepb.OpRequest{Pool: 1 << 31, Shard: 1 << 31, Object: []byte(strings.Repeat("n", store.MaxObjectName)), Req: &wirepb.ReqID{Client: big, Seq: big}, Mtime: -1}
	f := object("")
	for range objop.MaxOps {
		req.Ops = append(req.Ops, &wirepb.ObjOp{Kind: omapGet, Offset: big, Length: big, Name: []byte(strings.Repeat("k", 160)), Limit: 1 << 31, Version: big, Flag: true})
	}
	req.Ops = req.Ops[:objop.MaxInlineBytes/(160+objop.OpOverhead)]
	f.omap[strings.Repeat("k", 160)] = make([]byte, 160)
	if err := objop.Validate(req, 0); err != nil {
		t.Fatal(err)
	}
	out := objop.Execute(f, key, req, nil)
	if out.Code != ok {
		t.Fatal(out.Text)
	}
	for what, n := range map[string]int{"request": req.SizeVT(), "reply": out.Reply.SizeVT()} {
		if n > wire.MaxHeader-4096 {
			t.Errorf("the %s has %d bytes, the header may have %d", what, n, wire.MaxHeader)
		}
	}
	// Small pairs have the largest overhead.
	f = object("")
	for i := range objop.MaxListPairs + 1 {
		f.omap[fmt.Sprintf("%05d", i)] = []byte("0123456789")
	}
	out = run(f, o{k: omapList})
	if r := out.Reply.Results[0]; len(r.Kvs) != objop.MaxListPairs || !r.More || out.Reply.SizeVT() > wire.MaxHeader-4096 {
		t.Errorf("got %d pairs, more %v, %d bytes", len(r.Kvs), r.More, out.Reply.SizeVT())
	}
}
