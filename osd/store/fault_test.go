package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairnstore/cairn/placement"
)

func testKey(name string) Key { return Key{PG: placement.PGID{Pool: 1}, Name: name} }

func writeOp(name string, off uint64, data []byte) Op {
	return Op{Kind: OpWrite, Key: testKey(name), Off: off, Data: data}
}

func apply(t testing.TB, s Store, ops ...Op) {
	t.Helper()
	if err := Apply(s, &Batch{Ops: ops}); err != nil {
		t.Fatal(err)
	}
}

// wantRead reads n bytes at 0 and wants them all to be c.
func wantRead(t *testing.T, s Store, name string, c byte, n int) {
	t.Helper()
	got, err := s.Read(testKey(name), 0, uint64(n))
	if err != nil || !bytes.Equal(got, bytes.Repeat([]byte{c}, n)) {
		t.Fatalf("object %s: %d bytes, %v; want %d of %q", name, len(got), err, n, c)
	}
}

func newFault(t *testing.T) (*Disk, *faultLayer) {
	t.Helper()
	return newCachedFault(t, 0, 0)
}

// newCachedFault is newFault with memory for blocks, and for entries of the index.
func newCachedFault(t *testing.T, blocks, index int64) (*Disk, *faultLayer) {
	t.Helper()
	l := newFaultLayer(1)
	createFault(t, l)
	o := faultOptions(l)
	o.BlockCacheBytes, o.IndexCacheBytes = blocks, index
	d, err := Open(crashDir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, l
}

// setFault makes operations fail; nil ends that.
func (l *faultLayer) setFault(f func(op, name string, off int64) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = f
}

func failing(op, name string, err error) func(string, string, int64) error {
	return func(o, n string, _ int64) error {
		if o == op && n == name {
			return err
		}
		return nil
	}
}

func TestJournalErrorStopsTheStore(t *testing.T) {
	for _, c := range []struct {
		op, file string
		size     int // of a large write, for which the committer syncs the data file, or a worker
	}{{"writesync", journalName, 100 << 10}, {"sync", dataName, 100 << 10}, {"sync", dataName, hugeBytes}} {
		t.Run(fmt.Sprint(c.op, " ", c.file, " ", c.size), func(t *testing.T) {
			d, l := newFault(t)
			apply(t, d, writeOp("a", 0, []byte("aaaa")))
			l.setFault(failing(c.op, c.file, syscall.EIO))
			big := bytes.Repeat([]byte("b"), c.size)
			if err := Apply(d, &Batch{Ops: []Op{writeOp("b", 0, big)}}); !errors.Is(err, syscall.EIO) {
				t.Fatalf("got %v, want EIO", err)
			}
			l.setFault(nil)
			for range 2 {
				if err := Apply(d, &Batch{Ops: []Op{writeOp("c", 0, []byte("c"))}}); !errors.Is(err, syscall.EIO) {
					t.Fatalf("after the error: got %v, want EIO for ever", err)
				}
			}
			if err := d.SetIdentity(d.Identity()); !errors.Is(err, syscall.EIO) {
				t.Errorf("set identity after the error: %v", err)
			}
			wantRead(t, d, "a", 'a', 4)
			if _, err := d.Stat(testKey("c")); !errors.Is(err, ErrNotFound) {
				t.Errorf("a failed batch is visible: %v", err)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			d = openFault(t, l)
			wantRead(t, d, "a", 'a', 4)
			apply(t, d, writeOp("c", 0, []byte("c")))
		})
	}
}

func TestDataErrorsFailOneBatch(t *testing.T) {
	d, l := newFault(t)
	big := bytes.Repeat([]byte("b"), 100<<10)
	for _, e := range []struct{ is, want error }{{syscall.EIO, syscall.EIO}, {syscall.ENOSPC, ErrNoSpace}} {
		before := d.Usage().Data
		l.setFault(failing("write", dataName, e.is))
		if err := Apply(d, &Batch{Ops: []Op{writeOp("b", 0, big)}}); !errors.Is(err, e.want) {
			t.Fatalf("got %v, want %v", err, e.want)
		}
		l.setFault(nil)
		if after := d.Usage().Data; after != before {
			t.Errorf("the failed write left %d bytes", after-before)
		}
		apply(t, d, writeOp("b", 0, big))
		wantRead(t, d, "b", 'b', len(big))
	}
	l.setFault(failing("read", dataName, syscall.EIO))
	if _, err := d.Read(testKey("b"), 0, 1); !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("read: %v, want EIO that names the object", err)
	}
}

func TestWriteBackErrorStopsTheStore(t *testing.T) {
	d, l := newFault(t)
	apply(t, d, writeOp("a", 0, bytes.Repeat([]byte("a"), 5000)))
	l.setFault(failing("write", dataName, syscall.EIO))
	d.keeper.await(d)
	l.setFault(nil)
	if err := Apply(d, &Batch{Ops: []Op{writeOp("a", 0, []byte("x"))}}); !errors.Is(err, syscall.EIO) {
		t.Fatalf("got %v, want EIO", err)
	}
	wantRead(t, d, "a", 'a', 5000)
	d.Close()
	wantRead(t, openFault(t, l), "a", 'a', 5000)
}

// flip damages one byte of a file.
func (l *faultLayer) flip(name string, off int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files[crashDir+"/"+name].data[off] ^= 0x40
}

func TestBitRotInData(t *testing.T) {
	d, l := newFault(t)
	apply(t, d, writeOp("a", 0, bytes.Repeat([]byte("a"), 200<<10)), writeOp("s", 0, bytes.Repeat([]byte("s"), 5000)))
	d.keeper.await(d) // all is at home
	rot := func(name string, off uint64) {
		t.Helper()
		oid := d.planner.cache[testKey(name)].oid
		s, err := d.getSegment(appendSegKey(nil, oid, uint32(off/segBytes)))
		if err != nil {
			t.Fatal(err)
		}
		l.flip(dataName, int64(s.phys[off/blockBytes%segBlocks]*blockBytes+off%blockBytes))
	}
	rot("a", 40000)
	rot("s", 4999)
	_, err := d.Read(testKey("a"), 0, 1<<20)
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), `"a"`) || !strings.Contains(err.Error(), "36864") {
		t.Errorf("read over a rotten block: %v; want ErrCorrupt naming object and offset", err)
	}
	if _, err := d.Read(testKey("a"), 40960, 1000); err != nil {
		t.Errorf("read of a block beside: %v", err)
	}
	for _, op := range []Op{
		writeOp("a", 40000, []byte("x")), writeOp("s", 4096, []byte("x")),
		{Kind: OpZero, Key: testKey("a"), Off: 40000, Len: 5}, {Kind: OpTruncate, Key: testKey("s"), Off: 4100},
	} {
		if err := Apply(d, &Batch{Ops: []Op{op}}); err != nil {
			t.Errorf("change %d of a part of a rotten block: %v", op.Kind, err)
		}
		if _, err := d.Read(op.Key, op.Off&^blockMask, 100); !errors.Is(err, ErrCorrupt) {
			t.Errorf("read after change %d of a part of a rotten block: %v, want ErrCorrupt", op.Kind, err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = openFault(t, l)
	for _, name := range []string{"a", "s"} { // nor does the journal make it whole
		if _, err := d.Read(testKey(name), 0, 1<<20); !errors.Is(err, ErrCorrupt) {
			t.Errorf("read of %s after a restart: %v, want ErrCorrupt", name, err)
		}
	}
	if err := Apply(d, &Batch{Ops: []Op{writeOp("s", 4096, []byte("x")), writeOp("s", 4097, []byte("y"))}}); err != nil {
		t.Errorf("two changes at once of a rotten block: %v", err)
	}
	if _, err := d.Read(testKey("s"), 4096, 2); !errors.Is(err, ErrCorrupt) {
		t.Errorf("read after two changes at once of a rotten block: %v, want ErrCorrupt", err)
	}
	apply(t, d, writeOp("a", 36864, bytes.Repeat([]byte("a"), blockBytes)), writeOp("s", 4096, bytes.Repeat([]byte("s"), 904)))
	wantRead(t, d, "a", 'a', 200<<10)
	wantRead(t, d, "s", 's', 5000)
	d.keeper.await(d)
	rot("a", 100000)
	apply(t, d, Op{Kind: OpRemove, Key: testKey("a")}) // rot does not keep an object from being removed
}

// journaled makes n groups, one object each, and ends the store without a checkpoint.
func journaled(t *testing.T, n int) *faultLayer {
	t.Helper()
	d, l := newFault(t)
	for i := range n {
		apply(t, d, writeOp(fmt.Sprint(i), 0, bytes.Repeat([]byte{'x'}, 4096)))
	}
	return l.restart()
}

// groups lists the offsets of the journal's groups.
func (l *faultLayer) groups() (offs []int64) {
	for off := int64(0); off < int64(len(l.files[crashDir+"/"+journalName].data)); off += blockBytes {
		if _, _, ok := parseGroupHead(l.files[crashDir+"/"+journalName].data[off:], placement.UUID{1, 2, 3}); ok {
			offs = append(offs, off)
		}
	}
	return offs
}

func TestJournalDamageInTheMiddleIsRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		at   int64 // within the third group
	}{{"header", 3}, {"sequence", 9}, {"payload", 2000}} {
		t.Run(c.name, func(t *testing.T) {
			l := journaled(t, 6)
			offs := l.groups()
			l.flip(journalName, offs[2]+c.at)
			_, err := Open(crashDir, faultOptions(l))
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("got %v, want ErrCorrupt", err)
			}
			for _, want := range []string{crashDir + "/journal", fmt.Sprintf("offset %d ", offs[2]), "copy the data directory"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("message %q does not say %q", err, want)
				}
			}
			l.flip(journalName, offs[2]+c.at) // the disk was repaired
			d := openFault(t, l)
			for i := range 6 {
				wantRead(t, d, fmt.Sprint(i), 'x', 4096)
			}
		})
	}
}

func TestTornJournalTailIsCut(t *testing.T) {
	for _, at := range []int64{3, 9, 2000, 4200} { // header, sequence, payload
		l := journaled(t, 6)
		offs := l.groups()
		l.flip(journalName, offs[5]+at)
		d := openFault(t, l)
		for i := range 5 {
			wantRead(t, d, fmt.Sprint(i), 'x', 4096)
		}
		if _, err := d.Stat(testKey("5")); !errors.Is(err, ErrNotFound) {
			t.Errorf("the torn group's object: %v", err)
		}
		apply(t, d, writeOp("5", 0, []byte("new")), writeOp("6", 0, []byte("new")))
		d = openFault(t, l.restart())
		if b, err := d.Read(testKey("5"), 0, 10); err != nil || string(b) != "new" {
			t.Errorf("written after the cut: %q, %v", b, err)
		}
	}
}

// TestLostJournalIsRefused: groups known to have been durable at a checkpoint
// are missing altogether, so nothing later tells of them either.
func TestLostJournalIsRefused(t *testing.T) {
	d, l := newFault(t)
	apply(t, d, writeOp("a", 0, []byte("a")))
	d.view.RLock()
	known := d.applied.seq + 2
	d.view.RUnlock()
	if err := d.writeSuper(func(s *superblock) { s.checkpoint.known = known }); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(crashDir, faultOptions(l.restart())); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("got %v, want ErrCorrupt", err)
	}
}

// TestRingDoesNotOverwriteItsTail holds the checkpoint up: the journal takes
// what fits, and then waits.
func TestRingDoesNotOverwriteItsTail(t *testing.T) {
	d, l := newFault(t)
	hold, held := make(chan struct{}), make(chan struct{}, 100)
	l.setFault(func(op, name string, _ int64) error {
		if op == "sync" && name == dataName {
			held <- struct{}{}
			l.mu.Unlock() // the layer's lock is held by our caller
			<-hold
			l.mu.Lock()
		}
		return nil
	})
	n := int(d.journal.size / (2 * blockBytes)) // a 4 KiB write and its header take two blocks
	for i := range n {
		apply(t, d, writeOp("a", 0, bytes.Repeat([]byte{byte(i)}, 4096)))
	}
	<-held
	d.keeper.mu.Lock()
	d.keeper.wanted = false // the committer will set it when it has to wait, or, wrongly, has not
	d.keeper.mu.Unlock()
	over := make(chan error, 1)
	d.Submit(&Batch{Ops: []Op{writeOp("a", 0, make([]byte, 4096))}}, func(err error) { over <- err })
	for waiting := false; !waiting; runtime.Gosched() {
		d.keeper.mu.Lock()
		waiting = d.keeper.wanted
		d.keeper.mu.Unlock()
	}
	after := l.restart()
	close(hold)
	if err := <-over; err == nil {
		t.Error("a group was acknowledged after the power cut")
	}
	wantRead(t, openFault(t, after), "a", byte(n-1), 4096)
}

func TestSuperblockCopies(t *testing.T) {
	for bad := range superCopies {
		d, l := newFault(t)
		apply(t, d, writeOp("a", 0, []byte("a")))
		id := d.Identity()
		id.OSD = 7
		if err := d.SetIdentity(id); err != nil {
			t.Fatal(err)
		}
		d.Close()
		l.flip(superName, int64(bad)*blockBytes+60)
		d = openFault(t, l)
		if got := d.Identity(); got != id {
			t.Errorf("copy %d damaged: identity %+v, want %+v", bad, got, id)
		}
		wantRead(t, d, "a", 'a', 1)
		d.Close()
		// Opening has written both anew.
		l.flip(superName, int64(1-bad)*blockBytes+60)
		openFault(t, l).Close()
		l.flip(superName, 61)
		l.flip(superName, blockBytes+61)
		if _, err := Open(crashDir, faultOptions(l)); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("both copies damaged: %v", err)
		}
	}
}

func TestOpenRefusesWhatItDoesNotKnow(t *testing.T) {
	edit := func(f func(l *faultLayer)) error {
		d, l := newFault(t)
		d.Close()
		f(l)
		_, err := Open(crashDir, faultOptions(l))
		return err
	}
	file := func(l *faultLayer, name string) []byte { return l.files[crashDir+"/"+name].data }
	for _, c := range []struct {
		name, want string
		f          func(l *faultLayer)
	}{
		{"newer format", "newer", func(l *faultLayer) {
			for i := range superCopies {
				b := file(l, superName)[i*blockBytes:][:blockBytes]
				b[12] = superVersion + 1
				copy(b[blockBytes-4:], le32(checksum(b[:blockBytes-4])))
			}
		}},
		{"newer format in one copy", "newer", func(l *faultLayer) {
			b := file(l, superName)[:blockBytes]
			b[12] = superVersion + 1
			copy(b[blockBytes-4:], le32(checksum(b[:blockBytes-4])))
		}},
		{"older format", "earlier development version: format 1", func(l *faultLayer) {
			for i := range superCopies {
				b := file(l, superName)[i*blockBytes:][:blockBytes]
				b[8], b[12] = 1, 1
				copy(b[blockBytes-4:], le32(checksum(b[:blockBytes-4])))
			}
		}},
		{"other content", "something else", func(l *faultLayer) { copy(file(l, superName), bytes.Repeat([]byte("LABELONE"), 1024)) }},
		{"empty superblock", "superblock", func(l *faultLayer) { l.files[crashDir+"/"+superName].data = nil }},
		{"no superblock", "no store here", func(l *faultLayer) { delete(l.files, crashDir+"/"+superName) }},
		{"data of another store", "mixed up", func(l *faultLayer) { copy(file(l, dataName), encodeDataHeader(placement.UUID{9})) }},
		{"no data header", "data header", func(l *faultLayer) { clear(file(l, dataName)[:blockBytes]) }},
		{"short journal", "journal", func(l *faultLayer) { l.files[crashDir+"/"+journalName].data = file(l, journalName)[:blockBytes] }},
		{"no journal", "journal", func(l *faultLayer) { delete(l.files, crashDir+"/"+journalName) }},
	} {
		if err := edit(c.f); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), crashDir) {
			t.Errorf("%s: got %v; want an error with %q and the path", c.name, err, c.want)
		}
	}
}

func le32(v uint32) []byte { return []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)} }

func TestExplainNamesTheNextStep(t *testing.T) {
	for err, want := range map[syscall.Errno]string{syscall.EROFS: "read-write", syscall.EACCES: "owner", syscall.ENOSPC: "free space"} {
		got := explain(&fs.PathError{Op: "open", Path: "/x/superblock", Err: err}).Error()
		if !strings.Contains(got, want) || !strings.Contains(got, "/x/superblock") {
			t.Errorf("%v: %q does not say %q and the path", err, got, want)
		}
	}
}

// TestFullFileSystem: the file system, not the configured capacity, is the limit.
func TestFullFileSystem(t *testing.T) {
	l := newFaultLayer(1)
	l.total = 96 << 20
	o := CreateOptions{JournalBytes: 1 << 20, Log: quiet(), layer: l, tinyJournal: true}
	if err := Create(crashDir, o); err != nil {
		t.Fatal(err)
	}
	d := openFault(t, l)
	var n int
	for ; ; n++ {
		err := Apply(d, &Batch{Ops: []Op{writeOp(fmt.Sprint(n), 0, bytes.Repeat([]byte("f"), 1<<20))}})
		if errors.Is(err, ErrNoSpace) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n < 60 || n > 80 {
		t.Errorf("room for %d MiB in 96, of which 17 are the journal's and the index's", n)
	}
	for i := range n {
		wantRead(t, d, fmt.Sprint(i), 'f', 1<<20)
		apply(t, d, Op{Kind: OpRemove, Key: testKey(fmt.Sprint(i))})
	}
	apply(t, d, writeOp("again", 0, bytes.Repeat([]byte("g"), 8<<20)))
	wantRead(t, d, "again", 'g', 8<<20)
}

// TestPurgeGoesOnAfterRestart: a removed space whose objects are not yet
// purged is invisible and gives its room back in the next life.
func TestPurgeGoesOnAfterRestart(t *testing.T) {
	d, l := newFault(t)
	empty := d.Usage().Data
	for i := range 300 {
		apply(t, d, writeOp(fmt.Sprint(i), 0, bytes.Repeat([]byte("p"), 6000)), Op{Kind: OpOmapSet, Key: testKey(fmt.Sprint(i)), Name: []byte("k")})
	}
	all := Op{Kind: OpRemoveSpace, Key: Key{PG: placement.PGID{Pool: 1}}}
	apply(t, d, all, writeOp("x", 0, []byte("x")), all)
	d = openFault(t, l.restart())
	if pgs, err := d.PGs(); err != nil || len(pgs) != 0 {
		t.Fatalf("PGs: %v, %v", pgs, err)
	}
	apply(t, d, writeOp("1", 0, []byte("1")))
	for d.Usage().Data > empty+blockBytes { // every batch takes a part of the purge along
		apply(t, d)
		apply(t, d, writeOp("1", 0, []byte("1")))
	}
	n := 0
	if _, _, err := d.eachKey([]byte{keyAttr}, []byte{keySeg + 1}, -1, func(k []byte) {
		if k[0] != keyMeta && k[0] != keyGen {
			n++
		}
	}); err != nil {
		t.Fatal(err)
	}
	if n != 2 { // head and segment of "1"
		t.Errorf("%d index entries are left, want 2", n)
	}
}

// TestUndoOfARemovedSpace: found by the random test; the object was looked up
// in the generation that the undone removal had begun.
func TestUndoOfARemovedSpace(t *testing.T) {
	d, _ := newFault(t)
	apply(t, d, writeOp("a", 0, []byte("aaaa")))
	apply(t, d, writeOp("b", 0, []byte("b")))
	clear(d.planner.cache)
	err := Apply(d, &Batch{Ops: []Op{
		{Kind: OpRemoveSpace, Key: Key{PG: placement.PGID{Pool: 1}}}, {Kind: OpTouch, Key: testKey("a")},
		{Kind: OpRename, Key: testKey("none"), To: testKey("x")},
	}})
	if !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	apply(t, d, Op{Kind: OpSetVersion, Key: testKey("a"), Version: Version{Seq: 1}})
	wantRead(t, d, "a", 'a', 4)
	if list, _, err := d.List(placement.PGID{Pool: 1}, Objects, "", 10); err != nil || len(list) != 2 {
		t.Errorf("objects: %v, %v", list, err)
	}
}

func TestCheckFindsDamage(t *testing.T) {
	d, l := newFault(t)
	apply(t, d, writeOp("a", 0, bytes.Repeat([]byte("a"), 200<<10)), Op{Kind: OpOmapSet, Key: testKey("a"), Name: []byte("k")})
	apply(t, d, writeOp("b", 0, []byte("b")), Op{Kind: OpSetAttr, Key: testKey("b"), Name: []byte("k")})
	check := func() (r Report, all string) {
		t.Helper()
		r, err := d.Check(t.Context(), func(p Problem) { all += p.String() + "\n" })
		if err != nil {
			t.Fatal(err)
		}
		return r, all
	}
	if r, all := check(); r != (Report{Objects: 2, Keys: 2, Bytes: 50*blockBytes + 1}) || all != "" {
		t.Errorf("a sound store: %+v, %s", r, all)
	}
	d.keeper.await(d)
	s, err := d.getSegment(appendSegKey(nil, d.planner.cache[testKey("a")].oid, 0))
	if err != nil {
		t.Fatal(err)
	}
	l.flip(dataName, int64(s.phys[7]*blockBytes))
	for key, value := range map[string][]byte{
		string(appendKV(nil, keyOmap, 99, []byte("k"))): nil, string(appendSegKey(nil, 98, 0)): s.append(nil),
		string(appendSegKey(nil, d.planner.cache[testKey("b")].oid, 1)): s.append(nil),
	} {
		if err := d.db.Set([]byte(key), value, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	r, all := check()
	for _, want := range []string{`"a": block at offset 28672`, "number 99", "number 98", "belong to two objects", "blocks are taken"} {
		if !strings.Contains(all, want) {
			t.Errorf("found %+v\n%s; want %q too", r, all, want)
		}
	}
}

// TestQueueIsBounded floods the store and watches what it holds.
func TestQueueIsBounded(t *testing.T) {
	l := newFaultLayer(1)
	createFault(t, l)
	o := faultOptions(l)
	o.QueueBytes = 200 << 10
	d, err := Open(crashDir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 40 {
				size := []int{10, 20 << 10, 150 << 10, 300 << 10}[i%4] // the last is more than the queue takes at all
				wg.Add(1)
				d.Submit(&Batch{Ops: []Op{writeOp(fmt.Sprint(w), 0, make([]byte, size))}}, func(err error) {
					defer wg.Done()
					if err != nil {
						t.Error(err)
					}
					d.queue.mu.Lock()
					defer d.queue.mu.Unlock()
					if d.queue.bytes > 200<<10+2*300<<10 { // one giant queued, one being committed
						t.Errorf("%d bytes in the queue", d.queue.bytes)
					}
				})
			}
		}()
	}
	wg.Wait()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d.queue.bytes != 0 {
		t.Errorf("%d bytes of an empty queue", d.queue.bytes)
	}
}

// TestReadMeetsChanges changes an object between the two halves of a read: its
// block is overwritten at home, or freed and used by another object.
func TestReadMeetsChanges(t *testing.T) {
	d, l := newFault(t)
	busy := 0 // changes left to make
	var change func()
	l.setFault(func(op, name string, _ int64) error {
		if op == "read" && name == dataName && busy > 0 {
			busy--
			l.mu.Unlock() // the layer's lock is held by our caller
			change()
			l.mu.Lock()
		}
		return nil
	})
	n := byte('a')
	block := func() []byte { return bytes.Repeat([]byte{n}, 3*blockBytes) }
	change = func() {
		n++
		apply(t, d, writeOp("o", 0, block()))
		d.keeper.await(d)
	}
	change()
	busy = 3 // then the read holds everything still
	wantRead(t, d, "o", 'e', 3*blockBytes)
	if busy != 0 {
		t.Fatal("the changes were not made")
	}
	change = func() {
		apply(t, d, Op{Kind: OpRemove, Key: testKey("o")})
		d.keeper.await(d)
		d.alloc.mu.Lock()
		d.alloc.next = 1
		d.alloc.mu.Unlock()
		apply(t, d, writeOp("other", 0, bytes.Repeat([]byte("x"), 100<<10)))
	}
	busy = 1
	if b, err := d.Read(testKey("o"), 0, 100); !errors.Is(err, ErrNotFound) {
		t.Errorf("read of an object removed meanwhile: %d bytes, %v; want ErrNotFound", len(b), err)
	}
}

// TestIdleCheckpoint: the idle timer goes on while there is work and then
// empties overlay and journal, once.
func TestIdleCheckpoint(t *testing.T) {
	l := newFaultLayer(1)
	createFault(t, l)
	o := faultOptions(l)
	o.IdleCheckpoint = time.Hour // the test is the clock
	d, err := Open(crashDir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	apply(t, d, writeOp("a", 0, []byte("a")))
	apply(t, d, writeOp("a", 0, []byte("b")))
	begun := func() uint64 {
		d.keeper.mu.Lock()
		defer d.keeper.mu.Unlock()
		return d.keeper.begun
	}
	d.idle() // there was a batch since the timer was set
	if n := begun(); n != 0 || !d.idleOn.Load() {
		t.Fatalf("%d checkpoints while busy, timer on: %v", n, d.idleOn.Load())
	}
	d.idle()
	d.keeper.await(d)
	d.view.RLock()
	left := d.overlay.len()
	d.view.RUnlock()
	if left != 0 || d.idleOn.Load() {
		t.Errorf("idle: %d blocks in memory, timer on: %v", left, d.idleOn.Load())
	}
}

// TestRoomThatCameBackMeanwhile: a large write found no room, and before its turn came a
// checkpoint had made some.
func TestRoomThatCameBackMeanwhile(t *testing.T) {
	d, _ := newFault(t)
	big := bytes.Repeat([]byte("b"), 100<<10)
	it := &item{batch: &Batch{Ops: []Op{writeOp("b", 0, big)}}, wantBig: true, err: ErrNoSpace, ready: make(chan struct{})}
	close(it.ready)
	answer := make(chan error, 1)
	it.done = func(err error) { answer <- err }
	if !d.queue.put(it, &d.workers) {
		t.Fatal("the queue is closed")
	}
	d.workers.Done()
	if err := <-answer; err != nil {
		t.Fatal(err)
	}
	wantRead(t, d, "b", 'b', len(big))
}
