package store

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// inlineEntry is what the index holds of a small object's bytes; nil: nothing.
func inlineEntry(t *testing.T, d *Disk, name string) []byte {
	t.Helper()
	on, err := d.planner.get(testKey(name))
	if err != nil {
		t.Fatal(err)
	}
	v, ok, err := d.get(appendInlineKey(nil, on.oid))
	if err != nil {
		t.Fatal(err)
	}
	if ok != on.inline {
		t.Fatalf("object %s: bytes in the index %v, its head says %v", name, ok, on.inline)
	}
	return v
}

func sound(t *testing.T, d *Disk) {
	t.Helper()
	if _, err := d.Check(t.Context(), func(p Problem) { t.Errorf("check: %s", p) }); err != nil {
		t.Fatal(err)
	}
}

// Small objects take no block. They move to blocks when they grow, and come back when they are emptied.
func TestInlineMoves(t *testing.T) {
	d, l := newFault(t)
	empty := d.Usage()
	text := func(n int) []byte { return bytes.Repeat([]byte("x"), n) }
	want := func(step string, inline bool, blocks, n int) {
		t.Helper()
		wantRead(t, d, "a", 'x', n)
		v := inlineEntry(t, d, "a")
		if (v != nil) != inline || inline && len(v) != inlineSum+n {
			t.Errorf("%s: %d bytes in the index, want inline %v of %d", step, len(v), inline, n)
		}
		data := int64(blocks) * blockBytes
		if inline {
			data += int64(n)
		}
		if u := d.Usage(); u.Data-empty.Data != data || u.Used != u.Data+u.Omap+u.Meta {
			t.Errorf("%s: usage %+v, want %d more of data", step, u, data)
		}
		sound(t, d)
	}
	apply(t, d, writeOp("a", 0, text(1000)))
	want("written", true, 0, 1000)
	apply(t, d, writeOp("a", 1000, text(inlineMax-1000)))
	want("appended", true, 0, inlineMax)
	apply(t, d, writeOp("a", inlineMax, text(1)))
	want("grown", false, 1, inlineMax+1)
	apply(t, d, Op{Kind: OpTruncate, Key: testKey("a"), Off: 10})
	want("cut", false, 1, 10)
	apply(t, d, Op{Kind: OpTruncate, Key: testKey("a")}, writeOp("a", 0, text(700)))
	want("written anew", true, 0, 700)
	apply(t, d, writeOp("a", 0, text(100<<10))) // a large write, which replaces all
	want("large", false, 25, 100<<10)
	apply(t, d, Op{Kind: OpTruncate, Key: testKey("a")}, writeOp("a", 0, text(5)))
	want("small again", true, 0, 5)
	apply(t, d, writeOp("a", 5, text(100<<10)))
	want("large behind small", false, 26, 5+100<<10)
	apply(t, d, Op{Kind: OpRemove, Key: testKey("a")}, writeOp("b", 0, text(20)), Op{Kind: OpRename, Key: testKey("b"), To: testKey("a")})
	want("replaced by rename", true, 0, 20)
	// Within one batch, and within one that fails.
	apply(t, d, writeOp("a", 0, text(30)), writeOp("a", 30, text(5000)), Op{Kind: OpTruncate, Key: testKey("a")}, writeOp("a", 0, text(3)))
	want("all at once", true, 0, 3)
	fail := Op{Kind: OpRename, Key: testKey("none"), To: testKey("x")}
	for _, ops := range [][]Op{{writeOp("a", 0, text(9000))}, {{Kind: OpTruncate, Key: testKey("a"), Off: 9000}}, {{Kind: OpRemove, Key: testKey("a")}},
		{{Kind: OpTruncate, Key: testKey("a")}, writeOp("a", 0, text(2))}, {{Kind: OpZero, Key: testKey("a"), Len: 9}}} {
		if err := Apply(d, &Batch{Ops: append(ops, fail)}); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		apply(t, d, Op{Kind: OpTouch, Key: testKey("a")}, Op{Kind: OpSetVersion, Key: testKey("a")}) // usage moves with the next change
		want("undone", true, 0, 3)
	}
	if d.overlay.len() > 0 {
		d.keeper.await(d)
	}
	d = openFault(t, l.restart())
	want("after a restart", true, 0, 3)
	apply(t, d, Op{Kind: OpZero, Key: testKey("a"), Len: 3})
	if v := inlineEntry(t, d, "a"); v != nil {
		t.Errorf("zeros take %d bytes of the index", len(v))
	}
	apply(t, d, Op{Kind: OpRemoveSpace, Key: testKey("a")})
	sound(t, d)
}

// Changes of an object's version and attributes do not write its bytes again.
func TestInlineBytesAreWrittenOnce(t *testing.T) {
	d, _ := newFault(t)
	apply(t, d, writeOp("a", 0, bytes.Repeat([]byte("a"), inlineMax)))
	pos := func() uint64 {
		d.view.RLock()
		defer d.view.RUnlock()
		return d.applied.pos
	}
	before := d.indexBytes.Load()
	for i := range 10 {
		apply(t, d, Op{Kind: OpSetVersion, Key: testKey("a"), Version: Version{Seq: uint64(i)}}, Op{Kind: OpSetAttr, Key: testKey("a"), Name: []byte("n")})
	}
	if n := d.indexBytes.Load() - before; n > 1500 || pos() == 0 {
		t.Errorf("10 small changes took %d bytes of the index", n)
	}
}

// Damage of a small object's bytes fails its reads, changes of a part do not hide it, and
// writing all of it anew ends it.
func TestInlineRot(t *testing.T) {
	d, l := newFault(t)
	data := bytes.Repeat([]byte("a"), 1500)
	names := []string{"write", "zero", "cut", "extend", "grow", "sparse", "whole", "big", "attr"}
	for _, n := range names {
		apply(t, d, writeOp(n, 0, data))
	}
	rot := func(name string, change func(v []byte) []byte) {
		t.Helper()
		on, err := d.planner.get(testKey(name))
		if err != nil {
			t.Fatal(err)
		}
		if v := change(inlineEntry(t, d, name)); v == nil {
			err = d.db.Delete(appendInlineKey(nil, on.oid), pebble.NoSync)
		} else {
			err = d.db.Set(appendInlineKey(nil, on.oid), v, pebble.NoSync)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, n := range names {
		rot(n, []func([]byte) []byte{
			func(v []byte) []byte { v[700] ^= 1; return v },
			func(v []byte) []byte { return v[:900] },
			func([]byte) []byte { return nil },
		}[i%3])
		if _, err := d.Read(testKey(n), 3, 1); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), n) {
			t.Errorf("read of damaged %s: %v, want ErrCorrupt that names it", n, err)
		}
	}
	problems := 0
	if _, err := d.Check(t.Context(), func(Problem) { problems++ }); err != nil || problems != len(names) {
		t.Errorf("check found %d problems, want %d: %v", problems, len(names), err)
	}
	key := testKey
	for name, ops := range map[string][]Op{
		"write":  {writeOp("write", 10, []byte("x")), writeOp("write", 20, []byte("y"))},
		"zero":   {{Kind: OpZero, Key: key("zero"), Off: 5, Len: 5}},
		"cut":    {{Kind: OpTruncate, Key: key("cut"), Off: 100}},
		"extend": {{Kind: OpTruncate, Key: key("extend"), Off: 1700}},
		"grow":   {writeOp("grow", 1400, make([]byte, 900))},
		"sparse": {{Kind: OpTruncate, Key: key("sparse"), Off: 9000}},
		"attr":   {{Kind: OpSetAttr, Key: key("attr"), Name: []byte("n")}},
		"big":    {writeOp("big", 1000, make([]byte, 100<<10))},
	} {
		if err := Apply(d, &Batch{Ops: ops}); err != nil {
			t.Errorf("%s: a change of a damaged object: %v", name, err)
		}
		d.keeper.await(d)
		if _, err := d.Read(key(name), 0, 50); !errors.Is(err, ErrCorrupt) {
			t.Errorf("read after %s: %v, want ErrCorrupt", name, err)
		}
	}
	apply(t, d, writeOp("whole", 0, data))
	wantRead(t, d, "whole", 'a', len(data))
	d = openFault(t, l.restart())
	for _, n := range names {
		if _, err := d.Read(key(n), 0, 50); (err == nil) != (n == "whole") {
			t.Errorf("read of %s after a restart: %v", n, err)
		}
		apply(t, d, Op{Kind: OpTruncate, Key: key(n)}, writeOp(n, 0, data))
		wantRead(t, d, n, 'a', len(data))
	}
	sound(t, d)
}

// A store filled by small objects can be emptied, and its room used again.
func TestFullOfInline(t *testing.T) {
	l := newFaultLayer(1)
	o := CreateOptions{JournalBytes: 1 << 20, Capacity: 12 << 20, Log: quiet(), layer: l, tinyJournal: true}
	if err := Create(crashDir, o); err != nil {
		t.Fatal(err)
	}
	d := openFault(t, l)
	rng := rand.NewChaCha8([32]byte{7})
	first := 0
	for round := range 3 {
		n := 0
		for ; ; n += 100 {
			b := &Batch{}
			for i := range 100 {
				data := make([]byte, inlineMax) // that nothing compresses
				_, _ = rng.Read(data)
				b.Ops = append(b.Ops, writeOp(inlineName(n+i), 0, data))
			}
			if err := Apply(d, b); errors.Is(err, ErrNoSpace) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if round == 0 {
			first = n
		}
		if n < 1500 || n < first*3/4 {
			t.Fatalf("round %d: room for %d objects, at first for %d", round, n, first)
		}
		for i := range n {
			op := Op{Kind: OpRemove, Key: testKey(inlineName(i))}
			if i%3 == 0 { // shrinks, in place or to nothing
				op = Op{Kind: OpTruncate, Key: op.Key, Off: uint64(i % 2 * 1000)}
			}
			logged := Op{Kind: OpOmapSet, Key: Key{PG: op.Key.PG, Space: Meta, Name: "log"}, Name: []byte{byte(i)}, Value: make([]byte, 150)}
			if err := Apply(d, &Batch{Ops: []Op{op, logged}}); err != nil {
				t.Fatalf("round %d: emptying a full store: %v", round, err)
			}
		}
		apply(t, d, Op{Kind: OpRemoveSpace, Key: testKey("a")})
	}
}

func inlineName(i int) string {
	return "object-" + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676))
}
