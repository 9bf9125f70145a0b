package store

import (
	"fmt"
	"testing"
)

// TestHeadFilter: a head that was added is never taken for absent, whatever came after it, also beyond what
// the filter has room for; hardly any name that was not is missed.
func TestHeadFilter(t *testing.T) {
	key := func(i int) []byte { return fmt.Appendf(nil, "%cname-%07d", keyHead, i) }
	f := newHeadFilter()
	if !f.absent(key(1)) {
		t.Error("a new filter has a key")
	}
	const n = 400_000
	for i := range n {
		f.add(key(i))
		f.add(key(i / 2)) // changes of heads do not fill it
	}
	for i := range n {
		if f.absent(key(i)) {
			t.Fatalf("key %d of %d is absent", i, n)
		}
	}
	wrong := 0
	for i := n; i < 2*n; i++ {
		if !f.absent(key(i)) {
			wrong++
		}
	}
	if wrong > n/50 {
		t.Errorf("%d of %d keys that were not added are not known to be absent", wrong, n)
	}
	if got := f.lines * filterLine * 8; got > 4*n {
		t.Errorf("%d bytes for %d keys", got, n)
	}
	f.lines = filterLines // no more room
	for i := n; i < 2*n; i++ {
		f.add(key(i))
	}
	for i := range 2 * n {
		if f.absent(key(i)) {
			t.Fatalf("key %d of %d is absent", i, 2*n)
		}
	}
	if f.absent([]byte{keySeg, 1}) || (*headFilter)(nil).absent(key(1)) {
		t.Error("a filter knows of what is not its")
	}
	f.stop()
	if f.add(key(1)); f.absent(key(2)) {
		t.Error("a filter that was stopped knows something")
	}
}

// TestHeadFilterOfStore: it is there after a start, and a name that has an object again is found at once.
func TestHeadFilterOfStore(t *testing.T) {
	l := newFaultLayer(1)
	createFault(t, l)
	for round := range 3 {
		d, err := Open(crashDir, faultOptions(l))
		if err != nil {
			t.Fatal(err)
		}
		k := testKey("a")
		none := testKey("b")
		if has := d.filter.absent(appendHeadKey(nil, &k, 0)); has != (round == 0) {
			t.Errorf("start %d: absent: %v", round, has)
		}
		if !d.filter.absent(appendHeadKey(nil, &none, 0)) {
			t.Errorf("start %d: what never was is not absent", round)
		}
		for range 3 {
			apply(t, d, writeOp("a", 0, []byte("xyz")))
			d.heads.clear()
			wantRead(t, d, "a", 'x', 1)
			apply(t, d, Op{Kind: OpRemove, Key: k})
		}
		apply(t, d, writeOp("c", 0, []byte("x")), Op{Kind: OpRename, Key: testKey("c"), To: k})
		d.heads.clear()
		wantRead(t, d, "a", 'x', 1)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
