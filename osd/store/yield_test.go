package store

import (
	"sync/atomic"
	"testing"
)

// Others may run before a group is closed if that can bring more batches: after a group of several, not after one of a
// single batch, whose writer is the only one and waits.
func TestYield(t *testing.T) {
	l := newFaultLayer(1)
	createFault(t, l)
	o := faultOptions(l)
	var yields atomic.Int32
	o.Yield = func() { yields.Add(1) }
	d, err := Open(crashDir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for range 5 {
		apply(t, d, writeOp("a", 0, []byte("x")))
	}
	if n := yields.Load(); n != 0 {
		t.Fatalf("%d times for batches that come one by one, want none", n)
	}

	begun, goOn := make(chan struct{}), make(chan struct{})
	var held atomic.Bool
	l.setFault(func(op, name string, _ int64) error {
		if op == "writesync" && name == journalName && held.CompareAndSwap(false, true) {
			close(begun)
			<-goOn
		}
		return nil
	})
	done := make(chan error, 4)
	submit := func() {
		d.Submit(&Batch{Ops: []Op{writeOp("a", 0, []byte("y"))}}, func(err error) { done <- err })
	}
	submit()
	<-begun
	for range 3 { // a group, as its predecessor is still being written
		submit()
	}
	close(goOn)
	for range 4 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	apply(t, d, writeOp("a", 0, []byte("z")))
	if n := yields.Load(); n != 1 {
		t.Errorf("%d times after a single batch, three together and a single one; want once", n)
	}
}
