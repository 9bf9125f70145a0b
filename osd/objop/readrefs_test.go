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

// TestReadRefsMuchCovered pages through references so large that as many as asked for do not fit into an answer.
func TestReadRefsMuchCovered(t *testing.T) {
	f := newFake()
	const each, refs = 2 * chunk.MaxCovered, 900
	for i := range uint32(refs) {
		from := uint64(i) * each
		ref := someRef(i+1, from, from+each, 0, each)
		for at := from; at < from+each-2; at += 2 {
			ref.Cover(chunk.Range{From: at, To: at + 1})
		}
		f.exists, f.omap[ref.Key()] = true, ref.Append(nil)
	}
	f.data = make([]byte, refs*each)
	n, pages := 0, 0
	for off := uint64(0); ; pages++ {
		out := run(f, o{k: read, flag: true, off: off, limit: 1000})
		if out.Code != ok {
			t.Fatalf("page %d, from byte %d on: %v %s", pages, off, out.Code, out.Text)
		}
		res := out.Reply.Results[0]
		for _, b := range res.Refs {
			r, err := chunk.DecodeRef(b)
			if err != nil {
				t.Fatal(err)
			}
			if r.Range.From != uint64(n)*each {
				t.Fatalf("reference %d is to byte %d", n, r.Range.From)
			}
			n, off = n+1, r.Range.To
		}
		if !res.More {
			break
		}
		if len(res.Refs) == 0 {
			t.Fatal("a page without references, but more of them follow")
		}
	}
	if n != refs || pages == 0 {
		t.Fatalf("%d references in %d pages", n, pages+1)
	}
	// Who asks for all gets all or nothing.
	if out := run(f, o{k: read, flag: true}); out.Code != invalid {
		t.Fatalf("all references at once: %v", out.Code)
	}
}
