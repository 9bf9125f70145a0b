package objop_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/objop"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

const setRef, assertNoRecord = wirepb.OpKind_SET_REF, wirepb.OpKind_ASSERT_NO_RECORD

// someRef makes a reference to bytes of a chunk that is named after a number.
func someRef(id uint32, from, to uint64, chunkOff, size uint32) chunk.Ref {
	r := chunk.Ref{
		Range: chunk.Range{From: from, To: to}, ChunkOff: chunkOff,
		Layout: chunk.Layout{Gen: 1, Size: size, Stored: size, Redundancy: placement.Redundancy{Codec: placement.Replica, K: 1, M: 1}, Holders: []placement.OSDID{1, 2}},
	}
	r.Chunk[0] = chunk.BLAKE3
	binary.BigEndian.PutUint32(r.Chunk[1:], id)
	binary.BigEndian.PutUint32(r.Nonce[:], id)
	return r
}

func setOp(r chunk.Ref) o {
	return o{k: setRef, off: r.Range.From, n: r.Range.Len(), val: string(r.Append(nil))}
}

// refModel is one object as plain bytes, and all nonces that were ever set and not dropped.
type refModel struct {
	obj    *fake
	exists bool
	data   []byte
	chunks map[chunk.Fingerprint][]byte
	live   map[chunk.Dropped]bool // set, and no drop of it was seen
	next   uint32
}

// byteOf is byte i of the chunk with a number.
func byteOf(id uint32, i int) byte { return byte(id*31+uint32(i)*7) | 1 }

func (m *refModel) newRef(t *rapid.T, span uint64) chunk.Ref {
	m.next++
	n := rapid.Uint64Range(1, span/2).Draw(t, "ref bytes")
	from := rapid.Uint64Range(0, span-n).Draw(t, "ref from")
	lead := rapid.Uint32Range(0, 5).Draw(t, "chunk offset")
	r := someRef(m.next, from, from+n, lead, lead+uint32(n)+3)
	b := make([]byte, r.Layout.Size)
	for i := range b {
		b[i] = byteOf(m.next, i)
	}
	m.chunks[r.Chunk] = b
	return r
}

func (m *refModel) grow(size uint64) {
	if n := uint64(len(m.data)); n < size {
		m.data = append(m.data, make([]byte, size-n)...)
	}
}

// readAll resolves a READ against the table of chunks.
func (m *refModel) read(t *rapid.T, off, n uint64) []byte {
	out := run(m.obj, o{k: read, off: off, n: n})
	if out.Code != ok {
		t.Fatalf("read: %v %s", out.Code, out.Text)
	}
	r := out.Reply.Results[0]
	own := out.Payload[r.DataOff : r.DataOff+r.DataLen]
	if len(r.Refs) == 0 {
		if len(r.Local) > 0 || r.Length != 0 {
			t.Fatalf("no references, yet local %v, length %d", r.Local, r.Length)
		}
		return own
	}
	got, seen := make([]byte, r.Length), make([]int, r.Length)
	for k := 0; k < len(r.Local); k += 2 {
		n := copy(got[r.Local[k]-off:][:r.Local[k+1]], own)
		for i := range n {
			seen[r.Local[k]-off+uint64(i)]++
		}
		own = own[n:]
	}
	if len(own) > 0 {
		t.Fatalf("%d bytes too many", len(own))
	}
	for _, b := range r.Refs {
		ref, err := chunk.DecodeRef(b)
		if err != nil {
			t.Fatal(err)
		}
		bare := false
		ref.Bare(chunk.Range{From: off, To: off + r.Length}, func(x chunk.Range) {
			bare = true
			for at := x.From; at < x.To; at++ {
				got[at-off] = m.chunks[ref.Chunk][uint64(ref.ChunkOff)+at-ref.Range.From]
				seen[at-off]++
			}
		})
		if !bare {
			t.Fatalf("reference %+v has nothing of the bytes asked for", ref)
		}
	}
	for i, c := range seen {
		if c != 1 {
			t.Fatalf("byte %d was answered %d times", off+uint64(i), c)
		}
	}
	return got
}

// check holds the object against the model.
func (m *refModel) check(t *rapid.T) {
	if m.exists != m.obj.exists {
		t.Fatalf("exists: %v, want %v", m.obj.exists, m.exists)
	}
	nonces, at := map[chunk.Dropped]int{}, uint64(0)
	for _, kv := range sorted(m.obj.omap) {
		if !chunk.IsRefKey(string(kv.Key)) {
			continue
		}
		r, err := chunk.DecodeRef(kv.Value)
		if err != nil || r.Key() != string(kv.Key) {
			t.Fatalf("reference at key %x: %v", kv.Key, err)
		}
		if r.Range.From < at || r.Range.To > uint64(len(m.obj.data)) {
			t.Fatalf("reference to %v of %d bytes, others end at %d", r.Range, len(m.obj.data), at)
		}
		if len(r.Covered) > chunk.MaxCovered || len(r.Covered) == 1 && r.Covered[0] == r.Range {
			t.Fatalf("reference with %d covered parts of %v", len(r.Covered), r.Range)
		}
		at = r.Range.To
		r.Bare(r.Range, func(x chunk.Range) {
			if len(bytes.Trim(m.obj.data[x.From:x.To], "\x00")) > 0 {
				t.Fatalf("bytes %v are a chunk's, yet the object keeps some", x)
			}
		})
		d := chunk.Dropped{Chunk: r.Chunk, Nonce: r.Nonce}
		if nonces[d]++; nonces[d] > 1 && !r.Split {
			t.Fatalf("reference %s is there twice and one does not say so", r.Nonce)
		}
		if !m.live[d] {
			t.Fatalf("reference %s is there, but was dropped", r.Nonce)
		}
	}
	if len(nonces) != len(m.live) {
		t.Fatalf("%d references are there, %d were set and not dropped", len(nonces), len(m.live))
	}
	if !m.exists {
		return
	}
	if got := m.read(t, 0, 0); !bytes.Equal(got, m.data) {
		t.Fatalf("got  %x\nwant %x", got, m.data)
	}
	if n := uint64(len(m.data)); n > 0 {
		off := rapid.Uint64Range(0, n-1).Draw(t, "read from")
		n := rapid.Uint64Range(1, n-off).Draw(t, "read bytes")
		if got := m.read(t, off, n); !bytes.Equal(got, m.data[off:off+n]) {
			t.Fatalf("%d bytes at %d: got %x, want %x", n, off, got, m.data[off:off+n])
		}
	}
	out := run(m.obj, o{k: omapList})
	for _, kv := range out.Reply.Results[0].Kvs {
		if chunk.IsRefKey(string(kv.Key)) {
			t.Fatalf("a client sees %x", kv.Key)
		}
	}
	if want := m.clientKeys(); len(out.Reply.Results[0].Kvs) != want {
		t.Fatalf("listed %d keys of %d", len(out.Reply.Results[0].Kvs), want)
	}
}

func (m *refModel) clientKeys() (n int) {
	for k := range m.obj.omap {
		if !chunk.IsRefKey(k) {
			n++
		}
	}
	return n
}

// step draws an operation and applies it to the plain bytes.
func (m *refModel) step(t *rapid.T, span uint64) (op o, set *chunk.Ref) {
	data := func() string {
		n := rapid.Uint64Range(0, span/3).Draw(t, "bytes")
		return string(bytes.Repeat([]byte{byte(rapid.Uint8Range(1, 255).Draw(t, "fill"))}, int(n)))
	}
	off := func() uint64 { return rapid.Uint64Range(0, span).Draw(t, "off") }
	put := func(at uint64, b string) {
		m.exists = true
		if len(b) > 0 {
			m.grow(at + uint64(len(b)))
			copy(m.data[at:], b)
		}
	}
	op.k = rapid.SampledFrom([]wirepb.OpKind{setRef, setRef, setRef, write, write, write, zero, truncate, appendOp, writeFull, remove, omapSet, omapClear, omapRmRange, omapRm}).Draw(t, "kind")
	switch op.k {
	case setRef:
		r := m.newRef(t, span)
		m.exists = true
		m.grow(r.Range.To)
		copy(m.data[r.Range.From:r.Range.To], m.chunks[r.Chunk][r.ChunkOff:])
		return setOp(r), &r
	case write:
		op.off, op.data = off(), data()
		put(op.off, op.data)
	case appendOp:
		op.data = data()
		put(uint64(len(m.data)), op.data)
	case writeFull:
		op.data = data()
		m.data = nil
		put(0, op.data)
	case zero:
		op.off, op.n = off(), off()
		if at := uint64(len(m.data)); op.off < at {
			clear(m.data[op.off:min(at, op.off+op.n)])
		}
	case truncate:
		op.off = off()
		m.exists = true
		m.grow(op.off)
		m.data = m.data[:op.off]
	case remove:
		op.flag = true
		m.exists, m.data = false, nil
	case omapSet, omapRm:
		op.name = rapid.SampledFrom([]string{"\x00a", "\x00cairn.ref", "\x00cairn.ref\x01", "k"}).Draw(t, "key")
		m.exists = m.exists || op.k == omapSet
	case omapRmRange:
		op.name = rapid.SampledFrom([]string{"", "\x00b", "\x00cairn.ref\x00\x00", "\x00cairn.ref\x01", "l"}).Draw(t, "start")
		op.end = rapid.SampledFrom([]string{"", "\x00b", "\x00cairn.ref\x00\x05", "l"}).Draw(t, "end")
	}
	return op, nil
}

// TestRefsModel does random things to one object, several in a request, and holds it against plain bytes: a READ that is
// resolved by references gives these, and each reference that was set is there or was dropped, once.
func TestRefsModel(t *testing.T) { rapid.Check(t, refsModel) }

func refsModel(t *rapid.T) {
	m := &refModel{obj: newFake(), chunks: map[chunk.Fingerprint][]byte{}, live: map[chunk.Dropped]bool{}}
	m.obj.listMax = rapid.IntRange(0, 3).Draw(t, "pairs at a time")
	span := rapid.Uint64Range(8, 120).Draw(t, "span")
	if rapid.IntRange(0, 9).Draw(t, "large") == 0 {
		span = 8 * chunk.MaxCovered
	}
	var last *chunk.Ref
	for range rapid.IntRange(1, 25).Draw(t, "requests") {
		before := *m
		before.data = bytes.Clone(m.data)
		var ops []o
		var set []chunk.Ref
		for range rapid.IntRange(1, 4).Draw(t, "operations") {
			op, ref := m.step(t, span)
			if ref != nil {
				set = append(set, *ref)
			}
			ops = append(ops, op)
		}
		if span > 4*chunk.MaxCovered && rapid.IntRange(0, 3).Draw(t, "comb") == 0 { // so many covered parts that references are cut
			from := rapid.Uint64Range(0, span/2).Draw(t, "comb from")
			for at := from; at < from+3*chunk.MaxCovered; at += 2 {
				ops = append(ops, o{k: write, off: at, data: "c"})
				m.exists = true
				m.grow(at + 1)
				m.data[at] = 'c'
			}
		}
		again := last != nil && m.live[chunk.Dropped{Chunk: last.Chunk, Nonce: last.Nonce}] && rapid.IntRange(0, 3).Draw(t, "again") == 0
		if again { // a retry that nobody knows as such: the bytes are the chunk's once more
			*m = before
			m.grow(last.Range.To)
			copy(m.data[last.Range.From:last.Range.To], m.chunks[last.Chunk][last.ChunkOff:])
			ops, set = []o{setOp(*last)}, nil
		}
		out := run(m.obj, ops...)
		if out.Code != ok {
			t.Fatalf("%+v: %v %s", ops, out.Code, out.Text)
		}
		for _, r := range set {
			m.live[chunk.Dropped{Chunk: r.Chunk, Nonce: r.Nonce}] = true
			last = &r
		}
		for _, d := range out.Drops {
			if !m.live[d] {
				t.Fatalf("%s was dropped twice, or never set", d.Nonce)
			}
			delete(m.live, d)
		}
		m.obj.apply(out.Ops, m.obj.version+1)
		m.check(t)
		if t.Failed() {
			return
		}
	}
}

// TestRefsCut covers every other byte of a large reference: it is cut before it has too many covered parts, and its
// nonce is dropped with the last part.
func TestRefsCut(t *testing.T) {
	const n = 6 * chunk.MaxCovered
	r := someRef(1, 0, n, 0, n)
	f := newFake()
	do := func(ops ...o) objop.Outcome {
		out := run(f, ops...)
		if out.Code != ok {
			t.Fatal(out.Text)
		}
		f.apply(out.Ops, f.version+1)
		return out
	}
	do(setOp(r))
	for at := uint64(1); at < n; at += 2 {
		if out := do(o{k: write, off: at, data: "x"}); len(out.Drops) > 0 {
			t.Fatalf("byte %d dropped it", at)
		}
	}
	if len(f.omap) < 5 {
		t.Fatalf("%d references with half of %d bytes covered singly", len(f.omap), n)
	}
	for at := uint64(0); at < n; at += 2 {
		out := do(o{k: write, off: at, data: "x"})
		if last := at == n-2; last != (len(out.Drops) == 1) {
			t.Fatalf("byte %d: drops %v", at, out.Drops)
		}
	}
	if len(f.omap) > 0 {
		t.Fatalf("%d references are left", len(f.omap))
	}
}

func TestSetRefRefused(t *testing.T) {
	good := someRef(1, 4, 8, 0, 4)
	covered, split := good, good
	covered.Covered, split.Split = []chunk.Range{{From: 4, To: 5}}, true
	void := chunk.VoidRefName(good.Nonce, "obj")
	behind := someRef(2, 64<<20-4, 64<<20+4, 0, 8)
	f := object("hello")
	f.records = map[string]bool{void: true}
	for name, tt := range map[string]struct {
		op   o
		code wirepb.Code
	}{
		"void":             {setOp(good), conflict},
		"other range":      {o{k: setRef, off: 3, n: 4, val: string(good.Append(nil))}, invalid},
		"other length":     {o{k: setRef, off: 4, n: 3, val: string(good.Append(nil))}, invalid},
		"no length":        {o{k: setRef, off: 4, val: string(good.Append(nil))}, invalid},
		"covered":          {setOp(covered), invalid},
		"split":            {setOp(split), invalid},
		"no reference":     {o{k: setRef, off: 4, n: 4, val: "x"}, invalid},
		"beyond an object": {setOp(behind), invalid},
		"not void":         {setOp(someRef(3, 4, 8, 0, 4)), ok},
	} {
		if out := run(f, tt.op); out.Code != tt.code || (tt.code != ok) == (out.Text == "") {
			t.Errorf("%s: got %v (%s), want %v", name, out.Code, out.Text, tt.code)
		}
	}
	req, payload := request([]o{setOp(someRef(3, 4, 8, 0, 4))})
	wider := someRef(3, 0, 8, 0, 8)
	f.omap[wider.Key()] = wider.Append(nil)
	if out := objop.Execute(f, key, req, payload); out.Code != invalid {
		t.Errorf("a nonce that another reference has: %v", out.Code)
	}
}

func TestAssertNoRecord(t *testing.T) {
	there := chunk.VoidRefName(chunk.Nonce{1}, "obj")
	f := object("hello")
	f.records = map[string]bool{there: true}
	for name, tt := range map[string]struct {
		record string
		code   wirepb.Code
	}{
		"there":            {there, conflict},
		"not there":        {chunk.VoidRefName(chunk.Nonce{2}, "obj"), ok},
		"another object's": {chunk.VoidRefName(chunk.Nonce{1}, "obk"), invalid},
		"no record":        {"obj", invalid},
		"no kind":          {"\x00", invalid},
		"unknown kind":     {"\x00?obj", wirepb.Code_UNSUPPORTED},
		"nameless":         {chunk.VoidRefName(chunk.Nonce{1}, ""), wirepb.Code_UNSUPPORTED},
	} {
		if out := run(f, o{k: assertNoRecord, name: tt.record}); out.Code != tt.code {
			t.Errorf("%s: got %v (%s), want %v", name, out.Code, out.Text, tt.code)
		}
	}
}

// TestRecordNames holds that records and clients' objects do not get mixed up.
func TestRecordNames(t *testing.T) {
	fp := someRef(1, 0, 1, 0, 1).Chunk
	long := string(bytes.Repeat([]byte("n"), 1024))
	for name, tt := range map[string]struct {
		object string
		record bool
		code   wirepb.Code
	}{
		"object":                          {"o", false, ok},
		"record":                          {fp.IndexName(), true, ok},
		"record without a word":           {fp.IndexName(), false, invalid},
		"object that claims to be one":    {"o", true, invalid},
		"record of the longest name":      {chunk.VoidRefName(chunk.Nonce{}, long), true, ok},
		"record of too long a name":       {chunk.VoidRefName(chunk.Nonce{}, long+"n"), true, invalid},
		"outbox record of too long a one": {chunk.OutboxName(1, 1, long+"n"), true, invalid},
		"object with too long a name":     {long + "n", false, invalid},
		"entry with half a fingerprint":   {fp.IndexName()[:20], true, invalid},
	} {
		req := &wirepb.OpRequest{Object: []byte(tt.object), Record: tt.record, Ops: []*wirepb.ObjOp{{Kind: create}}}
		if err := objop.Validate(req, 0); (err == nil) != (tt.code == ok) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ref := someRef(1, 0, 1, 0, 1)
	req := &wirepb.OpRequest{Object: []byte(fp.IndexName()), Record: true, Ops: []*wirepb.ObjOp{{Kind: setRef, Length: 1, Value: ref.Append(nil)}}}
	if objop.Validate(req, 0) == nil {
		t.Error("a record may have references")
	}
}

// TestRefKeysHidden lists around references, by pages of each size.
func TestRefKeysHidden(t *testing.T) {
	f := object(string(make([]byte, 100)))
	for i := range uint32(10) {
		r := someRef(i+1, uint64(i)*10, uint64(i)*10+10, 0, 10)
		f.omap[r.Key()] = r.Append(nil)
	}
	var want []string
	for _, k := range []string{"\x00a", "\x00b", "\x00cairn.ref\x01", "k1", "k2"} {
		f.omap[k] = []byte("v")
		want = append(want, k)
	}
	for limit := uint32(1); limit < 7; limit++ {
		for f.listMax = 0; f.listMax < 5; f.listMax++ {
			var got []string
			for more, from := true, ""; more; {
				out := run(f, o{k: omapList, name: from, flag: from != "", limit: limit})
				r := out.Reply.Results[0]
				for _, kv := range r.Kvs {
					got = append(got, string(kv.Key))
					from = string(kv.Key)
				}
				if more = r.More; more && len(r.Kvs) == 0 {
					t.Fatal("a page without pairs")
				}
			}
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
				t.Fatalf("limit %d: got %q, want %q", limit, got, want)
			}
		}
	}
	delete(f.omap, "\x00cairn.ref\x01")
	delete(f.omap, "k1")
	delete(f.omap, "k2")
	if out := run(f, o{k: omapList, limit: 2}); out.Reply.Results[0].More {
		t.Error("more is to follow where only references do")
	}
	if out := run(f, o{k: omapList, end: "\x00cairn.ref\x00\x01"}); out.Reply.Results[0].More || len(out.Reply.Results[0].Kvs) != 2 {
		t.Errorf("a range that ends in references: %v", show(out))
	}
	first := someRef(1, 0, 10, 0, 10)
	name := first.Key()
	for _, k := range []wirepb.OpKind{omapGet, omapSet, omapRm, cmpOmap} {
		if out := run(f, o{k: k, name: name}); out.Code != invalid {
			t.Errorf("%v of a reference's key: %v", k, out.Code)
		}
	}
}

// hasty is a store.QuickReader that knows objects but not their omap, as that of a Disk.
type hasty struct{ *fake }

func (hasty) OmapList(store.Key, []byte, []byte, int) ([]store.KV, bool, error) {
	return nil, false, store.ErrWait
}

// TestQuickReadOfRefs: a quick reader that cannot tell whether there are references leaves the read to others; nobody gets
// zeros for bytes of a chunk.
func TestQuickReadOfRefs(t *testing.T) {
	f := newFake()
	f.apply(run(f, setOp(someRef(1, 0, 8, 0, 8))).Ops, 8)
	req, payload := request([]o{{k: read}})
	if out := objop.Execute(hasty{f}, key, req, payload); !out.Wait || out.Reply != nil {
		t.Fatalf("%+v", out)
	}
	plain := object("hello")
	if out := objop.Execute(hasty{plain}, key, req, payload); out.Wait || string(out.Payload) != "hello" {
		t.Fatalf("%+v", out)
	}
}
