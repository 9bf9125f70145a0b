package store

import (
	"bytes"
	"testing"
)

// TestCrashAfterCrash: what a replay finds freed is free as soon as the store is open. Were the journal to be
// replayed from the same place after another crash, with what it holds for those blocks
// written home on the way since memory is small, it would go over what came to lie there.
func TestCrashAfterCrash(t *testing.T) {
	l := newFaultLayer(1)
	createFault(t, l)
	open := func() *Disk {
		t.Helper()
		o := faultOptions(l)
		o.DirtyBytes = 16 << 10
		d, err := Open(crashDir, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		d.reuseSoon()
		return d
	}
	crash := func(d *Disk) {
		l = l.restart()
		d.Close() // in vain
	}
	apply := func(d *Disk, ops ...Op) {
		t.Helper()
		if err := Apply(d, &Batch{Ops: ops}); err != nil {
			t.Fatal(err)
		}
	}
	const half = 40 << 10 // small writes: in the journal
	d := open()
	apply(d, Op{Kind: OpWrite, Key: testKey("old"), Data: bytes.Repeat([]byte("old "), half/4)})
	apply(d, Op{Kind: OpWrite, Key: testKey("old"), Off: half, Data: bytes.Repeat([]byte("old "), half/4)})
	apply(d, Op{Kind: OpRemove, Key: testKey("old")})
	crash(d)

	d = open()
	hold := make(chan struct{}) // no checkpoint from now on
	l.setFault(func(op, name string, _ int64) error {
		if op == "write" && name == superName {
			l.mu.Unlock() // held by our caller
			<-hold
			l.mu.Lock()
		}
		return nil
	})
	want := bytes.Repeat([]byte("new "), 64<<10/4) // a large write: in the data file at once
	apply(d, Op{Kind: OpWrite, Key: testKey("new"), Data: want})
	after := l.restart()
	close(hold)
	d.Close()
	l = after

	d = open()
	got, err := d.Read(testKey("new"), 0, uint64(len(want)))
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("what was acknowledged cannot be read: %v", err)
	}
}
