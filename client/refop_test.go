package client

import (
	"errors"
	"testing"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

func testRef(from, to uint64) *chunk.Ref {
	n := uint32(to - from)
	return &chunk.Ref{Range: chunk.Range{From: from, To: to}, Layout: chunk.Layout{
		Gen: 1, Size: n, Stored: n, Redundancy: placement.Redundancy{Codec: placement.Replica, K: 1}, Holders: []placement.OSDID{1},
	}}
}

// TestRecordsNeedAWord: nobody touches a record by mistake, nor anything else as one.
func TestRecordsNeedAWord(t *testing.T) {
	p := &Pool{name: "p"}
	record := chunk.VoidRefName(chunk.Nonce{1}, "o")
	for name, c := range map[string]struct {
		object string
		op     *Op
		ok     bool
	}{
		"object":           {"o", new(Op).Stat(), true},
		"record":           {record, new(Op).Stat().AsRecord(), true},
		"record, unsaid":   {record, new(Op).Stat(), false},
		"object as record": {"o", new(Op).Stat().AsRecord(), false},
	} {
		err := p.check(c.object, c.op)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if req, _ := new(Op).Stat().AsRecord().Request(record); !req.Record {
		t.Error("the request does not say that it means a record")
	}
}

// TestAnswerWithRefs: what a READ says of chunks is checked, since it came over the network: every byte is somewhere, once.
func TestAnswerWithRefs(t *testing.T) {
	ref := testRef(4, 12)
	ref.Cover(chunk.Range{From: 6, To: 8})
	op := new(Op).Read(2, 10)
	good := func() *wirepb.ObjResult {
		return &wirepb.ObjResult{DataLen: 4, Local: []uint64{2, 2, 6, 2}, Length: 10, Refs: [][]byte{ref.Append(nil)}}
	}
	ask := func(r *wirepb.ObjResult) (*Result, error) {
		return op.Answer("p", "o", wirepb.Code_OK, "", &wirepb.OpReply{Version: 1, Results: []*wirepb.ObjResult{r}}, []byte("abcd"))
	}
	res, err := ask(good())
	if err != nil {
		t.Fatal(err)
	}
	it := res.Items[0]
	if string(it.Data) != "abcd" || it.Length != 10 || len(it.Local) != 2 || it.Local[1] != (chunk.Range{From: 6, To: 8}) || len(it.Refs) != 1 || it.Refs[0].Range != ref.Range {
		t.Fatalf("%+v", it)
	}
	for name, spoil := range map[string]func(*wirepb.ObjResult){
		"half a range":         func(r *wirepb.ObjResult) { r.Local = r.Local[:3] },
		"less data":            func(r *wirepb.ObjResult) { r.DataLen = 3 },
		"ranges overlap":       func(r *wirepb.ObjResult) { r.Local[2] = 3 },
		"range before":         func(r *wirepb.ObjResult) { r.Local[0] = 1 },
		"range behind":         func(r *wirepb.ObjResult) { r.Local[2] = 11 },
		"empty range":          func(r *wirepb.ObjResult) { r.Local[1] = 0 },
		"endless range":        func(r *wirepb.ObjResult) { r.Local[3] = 1<<64 - 1 },
		"bytes nowhere":        func(r *wirepb.ObjResult) { r.Length = 20 },
		"too long":             func(r *wirepb.ObjResult) { r.Length = 1 << 40 },
		"damaged reference":    func(r *wirepb.ObjResult) { r.Refs[0] = r.Refs[0][:9] },
		"a reference too many": func(r *wirepb.ObjResult) { r.Refs = append(r.Refs, r.Refs[0]) },
	} {
		r := good()
		spoil(r)
		if _, err := ask(r); !errors.Is(err, ErrInternal) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
