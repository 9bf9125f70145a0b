package store

import (
	"bytes"
	"errors"
	"slices"
	"syscall"
	"testing"
)

// TestWaitingWrites: the large writes of batches that wait together are written together; when the device
// refuses one of them, its batch fails, and no other.
func TestWaitingWrites(t *testing.T) {
	l := newFaultLayer(1)
	createFault(t, l)
	d := newDisk(crashDir, faultOptions(l))
	if err := d.open(); err != nil {
		t.Fatal(err)
	}
	before, _, _ := d.alloc.counts()
	const batches = 5
	errs := make(chan error, batches)
	data := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, 64<<10+i*blockBytes+17) }
	for i := range batches {
		d.Submit(&Batch{Ops: []Op{writeOp(string(rune('a'+i)), 0, data(i))}}, func(err error) { errs <- err })
	}
	var offs []int64
	l.setFault(func(op, name string, off int64) error {
		if op != "write" || name != dataName {
			return nil
		}
		if !slices.Contains(offs, off) {
			offs = append(offs, off)
		}
		if len(offs) > 2 && offs[2] == off {
			return syscall.EIO
		}
		return nil
	})
	group := d.planGroup()
	l.setFault(nil)
	if len(group) != batches || len(offs) < batches {
		t.Fatalf("%d batches in the group, %d places written before it, want %d of each", len(group), len(offs), batches)
	}
	d.commit(group)
	go d.commitLoop()
	go d.keepLoop()
	for i := range batches {
		if err := <-errs; errors.Is(err, syscall.EIO) != (i == 2) || err != nil && i != 2 {
			t.Errorf("batch %d: %v", i, err)
		}
	}
	for i := range batches {
		if name := string(rune('a' + i)); i != 2 {
			wantRead(t, d, name, byte('a'+i), len(data(i)))
		} else if _, err := d.Read(testKey(name), 0, 1); !errors.Is(err, ErrNotFound) {
			t.Errorf("read of what was refused: %v", err)
		}
	}
	want := before
	for i := range batches {
		if i != 2 {
			want += uint64(len(data(i))+blockMask) / blockBytes
		}
	}
	if used, _, _ := d.alloc.counts(); used != want {
		t.Errorf("%d blocks used, want %d", used, want)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
