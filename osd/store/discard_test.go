package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// openDiscard opens a store that notes what is to be discarded, and leaves it to the test to do so.
func openDiscard(t *testing.T, l *faultLayer, region uint64) *Disk {
	t.Helper()
	o := faultOptions(l)
	o.Discard, o.discardRegion = true, region
	d, err := Open(crashDir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	d.stopDiscards()
	d.discards.quit = nil
	return d
}

func (d *Disk) discardAll() uint64 {
	before := d.discards.bytes.Load()
	for d.discardSome() {
	}
	return d.discards.bytes.Load() - before
}

// letterBytes is data of an object of its own blocks, without zeros.
func letterBytes(c byte, kib int) []byte { return bytes.Repeat([]byte{c}, kib<<10) }

// TestDiscardWaitsForCheckpoint: what a removal has freed is not discarded before the checkpoint that covers it. Until
// then the removal is in the journal only: when its last group is damaged by a crash it is cut off, as a torn one,
// and the object is there again.
func TestDiscardWaitsForCheckpoint(t *testing.T) {
	for _, device := range []bool{false, true} {
		l := newFaultLayer(3)
		l.onDevice = device
		createFault(t, l)
		d := openDiscard(t, l, 4)
		apply(t, d, writeOp("a", 0, letterBytes('a', 256)), writeOp("b", 0, letterBytes('b', 256)))
		d.keeper.await(d)
		apply(t, d, Op{Kind: OpRemove, Key: testKey("a")})
		if n := d.discardAll(); n != 0 {
			t.Errorf("device %v: %d bytes discarded before the checkpoint", device, n)
		}
		at := int64((d.journal.pos - blockBytes) % d.journal.size)
		l = l.restart()
		name := filepath.Join(crashDir, journalName)
		if device {
			name, at = crashDevice, at+deviceJournal
		}
		if b := l.files[name].data[at:]; string(b[:4]) != "CGJ1" {
			t.Fatal("the last group is not where it should be")
		} else {
			b[groupHeader+8] ^= 1
		}
		d = openDiscard(t, l, 4)
		wantRead(t, d, "a", 'a', 256<<10)

		apply(t, d, Op{Kind: OpRemove, Key: testKey("a")})
		d.keeper.await(d)
		if n := d.discardAll(); n < 240<<10 || n > 256<<10 {
			t.Errorf("device %v: %d bytes discarded after the checkpoint, want those of the object", device, n)
		}
		if n := d.discardAll(); n != 0 {
			t.Errorf("device %v: %d bytes discarded twice", device, n)
		}
		wantRead(t, d, "b", 'b', 256<<10)
		apply(t, d, writeOp("c", 0, letterBytes('c', 256)))
		d = openDiscard(t, l.restart(), 4)
		wantRead(t, d, "b", 'b', 256<<10)
		wantRead(t, d, "c", 'c', 256<<10)
		if err := check(d); err != nil {
			t.Error(err)
		}
	}
}

// TestDiscardedBlocksAreTaken: nobody gets blocks that are being discarded, and who needs them waits.
func TestDiscardedBlocksAreTaken(t *testing.T) {
	l := newFaultLayer(1)
	l.onDevice = true
	createFault(t, l)
	d := openDiscard(t, l, 4)
	d.reuseSoon()
	apply(t, d, writeOp("a", 0, letterBytes('a', 256)))
	d.keeper.await(d)
	apply(t, d, Op{Kind: OpRemove, Key: testKey("a")})
	d.keeper.await(d)
	during := 0
	l.setFault(func(op, _ string, _ int64) error {
		if op == "discard" {
			l.mu.Unlock()
			defer l.mu.Lock()
			during++
			return Apply(d, &Batch{Ops: []Op{writeOp("b", 0, letterBytes('b', 256))}})
		}
		return nil
	})
	d.discardAll()
	l.setFault(nil)
	wantRead(t, d, "b", 'b', 256<<10)
	if during == 0 {
		t.Fatal("nothing was discarded")
	}

	// All that is free is held: a write waits for it.
	d.alloc.reach(d.alloc.max)
	d.alloc.dig(false)
	var held []run
	for more := true; more; {
		var r run
		if r, more = d.alloc.hold(); r.count > 0 {
			held = append(held, r)
		}
	}
	done := make(chan error, 1)
	d.Submit(&Batch{Ops: []Op{writeOp("c", 0, letterBytes('c', 1024))}}, func(err error) { done <- err })
	for _, r := range held {
		d.alloc.letGo(r, false)
	}
	if err := <-done; err != nil {
		t.Errorf("a write while all free blocks are being discarded: %v", err)
	}
	wantRead(t, d, "c", 'c', 1<<20)
}

// TestReadOfDiscarded: a read that has looked up where an object lies never takes what a discard left there for
// the object.
func TestReadOfDiscarded(t *testing.T) {
	for seed := range uint64(6) { // what a discard leaves is chance
		l := newFaultLayer(seed)
		createFault(t, l)
		d := openDiscard(t, l, 4)
		apply(t, d, writeOp("a", 0, letterBytes('a', 256)))
		d.keeper.await(d)
		again := false
		l.setFault(func(op, name string, _ int64) error {
			if op != "read" || name != dataName || again {
				return nil
			}
			again = true
			l.mu.Unlock()
			defer l.mu.Lock()
			if err := Apply(d, &Batch{Ops: []Op{{Kind: OpRemove, Key: testKey("a")}}}); err != nil {
				return err
			}
			d.keeper.await(d)
			if d.discardAll() == 0 {
				t.Error("nothing was discarded")
			}
			return Apply(d, &Batch{Ops: []Op{writeOp("a", 0, letterBytes('A', 4))}})
		})
		got, err := d.Read(testKey("a"), 0, 256<<10)
		if !again || err != nil || !bytes.Equal(got, letterBytes('A', 4)) && !bytes.Equal(got, letterBytes('a', 256)) {
			t.Errorf("seed %d: read %d bytes, %v; want the new object, or the old one", seed, len(got), err)
		}
		l.setFault(nil)
	}
}

// TestDiscardUnknown: a device that knows no discard is asked once.
func TestDiscardUnknown(t *testing.T) {
	for _, failure := range []error{syscall.EOPNOTSUPP, syscall.EIO} {
		l := newFaultLayer(1)
		createFault(t, l)
		d := openDiscard(t, l, 4)
		asked := 0
		l.setFault(func(op, _ string, _ int64) error {
			if op == "discard" {
				asked++
				return failure
			}
			return nil
		})
		for range 3 {
			apply(t, d, writeOp("a", 0, letterBytes('a', 256)))
			apply(t, d, Op{Kind: OpRemove, Key: testKey("a")})
			d.keeper.await(d)
			if !d.discards.off.Load() {
				d.discardAll()
			}
		}
		if st := d.DeviceStats(); asked != 1 || st.DiscardedBytes != 0 || (st.DiscardErrors == 1) != (failure == syscall.EIO) {
			t.Errorf("%v: asked %d times, %+v", failure, asked, st.DiscardErrors)
		}
		if used, _, _ := d.alloc.counts(); used != 1 || d.alloc.held != 0 {
			t.Errorf("%v: %d blocks used, %d held", failure, used, d.alloc.held)
		}
	}
}

// TestHolesAreFilled: room that was given back to the file system is taken again before blocks in it are used. When
// others have it now the write is refused, and the store goes on.
func TestHolesAreFilled(t *testing.T) {
	l := newFaultLayer(1)
	l.total = 192 << 20
	createFault(t, l)
	d := openDiscard(t, l, 256)
	free := func() int64 {
		_, n, _ := l.Space("")
		return n
	}
	put := func(name string, mib int) error {
		for i := range mib {
			if err := Apply(d, &Batch{Ops: []Op{writeOp(name, uint64(i)<<20, letterBytes(name[0], 1<<10))}}); err != nil {
				return err
			}
		}
		return nil
	}
	if err := errors.Join(put("keep", 1), put("a", 32)); err != nil {
		t.Fatal(err)
	}
	others := free() - 20<<20 // that others have, for as long as it takes to see what is available
	l.total -= others
	before, capacity := free(), d.Usage().Capacity
	apply(t, d, Op{Kind: OpRemove, Key: testKey("a")})
	d.keeper.await(d)
	available := d.Usage().Available
	given := int64(d.discardAll())
	l.total += others
	before += others
	if u := d.Usage().Available; u < available {
		t.Errorf("%d bytes available before the discard, %d after it", available, u)
	}
	if given < 30<<20 || free() != before+given {
		t.Fatalf("%d bytes discarded, the file system has %d more", given, free()-before)
	}
	d.keeper.await(d)
	if err := put("keep", 1); err != nil {
		t.Fatal(err)
	}
	d.keeper.await(d)
	if c := d.Usage().Capacity; c != capacity {
		t.Errorf("capacity of %d bytes, before %d", c, capacity)
	}

	for _, reopened := range []bool{false, true} {
		if reopened {
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			d = openDiscard(t, l, 256)
		}
		l.mu.Lock()
		_, have, _ := l.space()
		others := have - 20<<20
		l.total -= others // they fill the file system but for what is kept back
		l.mu.Unlock()
		if err := put("b", 30); !errors.Is(err, ErrNoSpace) {
			t.Fatalf("reopened %v: a write into holes while others have the room: %v", reopened, err)
		}
		wantRead(t, d, "keep", 'k', 1<<20)
		l.mu.Lock()
		l.total += others
		l.mu.Unlock()
		if err := put("b", 30); err != nil {
			t.Fatal(err)
		}
		wantRead(t, d, "b", 'b', 30<<20)
		apply(t, d, Op{Kind: OpRemove, Key: testKey("b")})
		d.keeper.await(d)
		if d.discardAll() == 0 {
			t.Fatal("nothing was discarded")
		}
	}
	if err := check(d); err != nil {
		t.Error(err)
	}
}

// TestDiscardGivesRoomBack: the file system has the room of what was removed again, for a store in a directory; Trim
// finds what an OSD without discard has left, and its dry run says the same.
func TestDiscardGivesRoomBack(t *testing.T) {
	dir := t.TempDir()
	if err := Create(dir, CreateOptions{JournalBytes: MinJournalBytes, Capacity: 256 << 20, Log: quiet()}); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, dataName)
	room := func() int64 {
		f, err := os.OpenFile(data, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil { // what is allocated late counts now
			t.Fatal(err)
		}
		return allocated(data)
	}
	open := func(discard bool) *Disk {
		d, err := Open(dir, Options{Discard: discard, IdleCheckpoint: -1, Log: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		d.stopDiscards()
		d.discards.quit = nil
		return d
	}
	fill := func(d *Disk, name string) {
		for i := range 4 {
			apply(t, d, writeOp(name, uint64(i)<<22, letterBytes('a'+byte(i), 4<<10)))
		}
	}
	d := open(true)
	fill(d, "a")
	fill(d, "b")
	full, had := room(), d.Usage()
	if all := full + MinJournalBytes; had.Stored != 32<<20 || had.Allocated < all || had.Allocated > all+1<<20 {
		t.Errorf("%d bytes stored, %d allocated; the files have %d", had.Stored, had.Allocated, all)
	}
	apply(t, d, Op{Kind: OpRemove, Key: testKey("a")})
	d.keeper.await(d)
	if u := d.Usage(); u.Stored != 16<<20 || u.Allocated < had.Allocated-1<<20 {
		t.Errorf("after the removal %d bytes stored, %d allocated, before %d", u.Stored, u.Allocated, had.Allocated)
	}
	given := int64(d.discardAll())
	if u := d.Usage(); u.Allocated > had.Allocated-given+1<<20 {
		t.Errorf("%d bytes allocated after %d of %d were discarded", u.Allocated, given, had.Allocated)
	}
	if left := room(); given < 15<<20 || left > full-given+1<<20 {
		t.Errorf("%d bytes of 16 MiB discarded; allocated before %d, now %d", given, full, left)
	}
	fill(d, "a")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = open(false)
	apply(t, d, Op{Kind: OpRemove, Key: testKey("b")})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	dry, err := Trim(context.Background(), dir, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	was := room()
	rep, err := Trim(context.Background(), dir, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if left := room(); rep.Free != dry.Free || rep.Discarded != rep.Free || rep.Free < 15<<20 || left > was-14<<20 {
		t.Errorf("dry run %+v, trim %+v; allocated before %d, now %d", dry, rep, was, left)
	}
	d = open(true)
	defer d.Close()
	if got, err := d.Read(testKey("a"), 0, 16<<20); err != nil || len(got) != 16<<20 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := check(d); err != nil {
		t.Error(err)
	}
}

// TestDiscardRefusedOnFile: a file used as a device takes all of its room whenever it is opened.
func TestDiscardRefusedOnFile(t *testing.T) {
	dir := t.TempDir()
	o := CreateOptions{JournalBytes: MinJournalBytes, Capacity: 64 << 20, Device: filepath.Join(t.TempDir(), "file"), Log: quiet()}
	if err := Create(dir, o); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{Discard: true, Log: quiet()}); !errors.Is(err, ErrInvalid) {
		t.Errorf("open with discard: %v", err)
	}
	for _, dry := range []bool{false, true} {
		if _, err := Trim(context.Background(), dir, dry, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("trim, dry run %v: %v", dry, err)
		}
	}
}
