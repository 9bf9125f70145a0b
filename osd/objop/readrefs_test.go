package objop_test

import (
	"testing"

	"github.com/cairnstore/cairn/internal/chunk"
)

// TestReadRefs pages through the references of an object, one of them with local bytes over it.
func TestReadRefs(t *testing.T) {
	f := newFake()
	for i := range uint32(5) {
		from := uint64(i) * 100
		out := run(f, setOp(someRef(i+1, from, from+50, 0, 50)))
		if out.Code != ok {
			t.Fatal(out.Text)
		}
		f.apply(out.Ops, f.version+1)
	}
	f.apply(run(f, o{k: write, off: 110, data: "local"}).Ops, f.version+1)
	var got []uint64
	for off := uint64(0); ; {
		out := run(f, o{k: read, flag: true, off: off, limit: 2})
		res := out.Reply.Results[0]
		if out.Code != ok || len(out.Payload) > 0 || len(res.Refs) > 2 {
			t.Fatalf("%v %s, %d bytes, %d references", out.Code, out.Text, len(out.Payload), len(res.Refs))
		}
		for _, b := range res.Refs {
			r, err := chunk.DecodeRef(b)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r.Range.From)
			off = r.Range.To
		}
		if !res.More {
			break
		}
	}
	if len(got) != 5 || got[1] != 100 || got[4] != 400 {
		t.Fatalf("references at %v", got)
	}
	if res := run(f, o{k: read, flag: true, off: 150}).Reply.Results[0]; len(res.Refs) != 3 || res.More {
		t.Fatalf("%d references from byte 150 on", len(res.Refs))
	}
	if res := run(object("plain"), o{k: read, flag: true}).Reply.Results[0]; len(res.Refs) != 0 || res.DataLen != 0 {
		t.Fatalf("an object without references: %v", res)
	}
}
