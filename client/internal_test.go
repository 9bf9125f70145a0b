package client

import (
	"errors"
	"testing"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// Results of the error codes, all of them.
func TestErrorOf(t *testing.T) {
	for c, name := range wirepb.Code_name {
		if err := ErrorOf(wirepb.Code(c)); (err == nil) != (c == 0) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if !errors.Is(ErrorOf(999), ErrInternal) {
		t.Error("an unknown code is not an internal error")
	}
}

// FuzzAnswer gives any bytes as an OSD's answer.
func FuzzAnswer(f *testing.F) {
	good := &wirepb.OpReply{Version: 3, Results: []*wirepb.ObjResult{{}, {Size: 5}, {DataOff: 1, DataLen: 2}, {Kvs: []*wirepb.KV{{Key: []byte("k")}}}}}
	b, err := good.MarshalVT()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(int32(0), b, []byte("payload"))
	f.Add(int32(4), b, []byte{})
	f.Fuzz(func(t *testing.T, code int32, b, payload []byte) {
		reply := &wirepb.OpReply{}
		if reply.UnmarshalVT(b) != nil {
			reply = nil
		}
		op := new(Op).AssertExists().Stat().Read(0, 0).GetAttrs()
		res, err := op.Answer("p", "o", wirepb.Code(code), "", reply, payload)
		if (res == nil) == (err == nil) {
			t.Fatalf("got %v and %v", res, err)
		}
		if res != nil && len(res.Items) != op.Len() {
			t.Fatalf("%d items", len(res.Items))
		}
	})
}
