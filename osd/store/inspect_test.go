package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairnstore/cairn/placement"
)

// inspected makes a store on the fault layer with some of everything, and closes it.
func inspected(t *testing.T, onDevice bool) *faultLayer {
	t.Helper()
	l := newFaultLayer(1)
	l.onDevice = onDevice
	createFault(t, l)
	d := openFault(t, l)
	big := bytes.Repeat([]byte("b"), 400<<10)
	meta := Key{PG: testKey("").PG, Space: Meta, Name: "pg"}
	apply(t, d, writeOp("a", 0, bytes.Repeat([]byte("a"), 5000)), writeOp("b", 0, big), writeOp("c", 0, bytes.Repeat([]byte("c"), 5000)),
		Op{Kind: OpSetAttr, Key: testKey("a"), Name: []byte("n"), Value: []byte("v")},
		Op{Kind: OpSetAttr, Key: meta, Name: []byte("state"), Value: []byte("trusted")},
		writeOp("s", 0, []byte("small")), writeOp("t", 0, []byte("tiny")),
		Op{Kind: OpSetVersion, Key: testKey("a"), Version: Version{1, 7}})
	for i := range 20 {
		apply(t, d, Op{Kind: OpOmapSet, Key: testKey("o"), Name: []byte{byte(i)}, Value: []byte("value")})
	}
	gone := Key{PG: placement.PGID{Pool: 2}, Name: "x"}
	apply(t, d, Op{Kind: OpTouch, Key: gone})
	apply(t, d, Op{Kind: OpRemoveSpace, Key: gone})
	apply(t, d, Op{Kind: OpTouch, Key: gone})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return l
}

// flipStore damages one byte of a part of a closed store, wherever that is.
func flipStore(t *testing.T, l *faultLayer, name string, off int64) {
	t.Helper()
	if !l.onDevice {
		l.flip(name, off)
		return
	}
	d := newDisk(crashDir, faultOptions(l))
	if err := d.openSuper(); err != nil {
		t.Fatal(err)
	}
	base := map[string]int64{superName: superOnDevice[off/blockBytes] - off/blockBytes*blockBytes, journalName: deviceJournal, dataName: deviceData(d.journalBytes)}
	if err := d.closeFiles(); err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files[crashDevice].data[base[name]+off] ^= 0x40
}

// editIndex changes the index of a closed store behind its back.
func editIndex(t *testing.T, l *faultLayer, f func(d *Disk)) {
	t.Helper()
	d := newDisk(crashDir, faultOptions(l))
	for _, step := range []func() error{d.openSuper, d.openFiles, d.openIndex, d.scan} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	f(d)
	if err := d.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := d.closeFiles(); err != nil {
		t.Fatal(err)
	}
}

func fsckFault(t *testing.T, l *faultLayer, o FsckOptions) FsckReport {
	t.Helper()
	o.Inspect.layer = l
	o.Distrust = func(_ Reader, pg placement.PGID) (Key, []KV) {
		return Key{PG: pg, Space: Meta, Name: "pg"}, []KV{{[]byte("state"), []byte("distrusted")}, {[]byte("cursor"), nil}}
	}
	r, err := Fsck(context.Background(), crashDir, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func kindsOf(fs []Finding) (out []FindingKind) {
	for _, f := range fs {
		if !slices.Contains(out, f.Kind) {
			out = append(out, f.Kind)
		}
	}
	slices.Sort(out)
	return out
}

// headOf returns an object's index key and entry.
func headOf(t *testing.T, d *Disk, k Key) ([]byte, head) {
	t.Helper()
	key := appendHeadKey(nil, &k, d.gens[k.space()])
	h, ok, err := d.getHead(key)
	if !ok || err != nil {
		t.Fatalf("head of %s: %t, %v", k, ok, err)
	}
	return key, h
}

func segOf(t *testing.T, d *Disk, name string, idx uint32) ([]byte, *segment) {
	t.Helper()
	_, h := headOf(t, d, testKey(name))
	key := appendSegKey(nil, h.oid, idx)
	s, err := d.getSegment(key)
	if s == nil || err != nil {
		t.Fatalf("segment %d of %s: %v", idx, name, err)
	}
	return key, s
}

// TestFsckFindsAndRepairs: each kind of damage is found under its name; a repair leaves a store
// that is clean at the second look and opens.
func TestFsckFindsAndRepairs(t *testing.T) {
	set := func(t *testing.T, d *Disk, k, v []byte) {
		t.Helper()
		if err := d.db.Set(k, v, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	corrupt := func(names ...string) func(t *testing.T, d *Disk) {
		return func(t *testing.T, d *Disk) {
			for _, n := range names {
				if _, err := d.Read(testKey(n), 0, 1<<20); !errors.Is(err, ErrCorrupt) {
					t.Errorf("read of %s after the repair: %v, want ErrCorrupt", n, err)
				}
			}
		}
	}
	distrusted := func(want string) func(t *testing.T, d *Disk) {
		return func(t *testing.T, d *Disk) {
			v, err := d.Attr(Key{PG: testKey("").PG, Space: Meta, Name: "pg"}, []byte("state"))
			if err != nil || string(v) != want {
				t.Errorf("state of the PG: %q, %v; want %q", v, err, want)
			}
		}
	}
	for _, c := range []struct {
		name   string
		kinds  []FindingKind
		break_ func(t *testing.T, l *faultLayer, d *Disk) // d is nil: files only
		files  bool
		after  func(t *testing.T, d *Disk)
		deep   []FindingKind // what a deep check still says after the repair
	}{
		{name: "superblock copy", kinds: []FindingKind{FoundSuperblock}, files: true,
			break_: func(t *testing.T, l *faultLayer, _ *Disk) { flipStore(t, l, superName, blockBytes+30) }},
		{name: "data header", kinds: []FindingKind{FoundDataHeader}, files: true,
			break_: func(t *testing.T, l *faultLayer, _ *Disk) { flipStore(t, l, dataName, 100) }},
		{name: "index owner", kinds: []FindingKind{FoundIndexOwner},
			break_: func(t *testing.T, _ *faultLayer, d *Disk) { _ = d.db.Delete(metaStoreKey, pebble.NoSync) }},
		{name: "unknown keys", kinds: []FindingKind{FoundKey}, break_: func(t *testing.T, _ *faultLayer, d *Disk) {
			for _, k := range []string{"Mother", "Zebra", "D12", "Gx", "B", "Sxx", "A1"} {
				set(t, d, []byte(k), []byte("?"))
			}
		}},
		{name: "unreadable head", kinds: []FindingKind{FoundOrphanAttr, FoundHead, FoundOrphanSeg}, after: distrusted("distrusted"),
			break_: func(t *testing.T, _ *faultLayer, d *Disk) {
				k, _ := headOf(t, d, testKey("a"))
				set(t, d, k, []byte{99, 1, 2})
			}},
		{name: "shared number", kinds: []FindingKind{FoundNumber}, after: distrusted("distrusted"),
			break_: func(t *testing.T, _ *faultLayer, d *Disk) {
				_, h := headOf(t, d, testKey("a"))
				k, _ := headOf(t, d, testKey("c"))
				_, s := segOf(t, d, "c", 0)
				_ = s
				_ = d.db.Delete(appendSegKey(nil, func() uint64 { _, h := headOf(t, d, testKey("c")); return h.oid }(), 0), pebble.NoSync)
				set(t, d, k, h.append(nil))
			}},
		{name: "generation", kinds: []FindingKind{FoundGeneration}, after: func(t *testing.T, d *Disk) {
			if _, err := d.Stat(Key{PG: placement.PGID{Pool: 2}, Name: "x"}); err != nil {
				t.Errorf("the object of the mended generation: %v", err)
			}
		}, break_: func(t *testing.T, _ *faultLayer, d *Disk) {
			set(t, d, appendGenKey(nil, spaceKey{placement.PGID{Pool: 2}, Objects}), []byte{1})
		}},
		{name: "left space", kinds: []FindingKind{FoundLeftSpace}, break_: func(t *testing.T, _ *faultLayer, d *Disk) {
			h := head{oid: 9999}
			set(t, d, append(appendHeadPrefix(nil, spaceKey{placement.PGID{Pool: 5}, Objects}, 3), 'x'), h.append(nil))
		}},
		{name: "unreadable segment", kinds: []FindingKind{FoundSegment}, after: corrupt("b"), deep: []FindingKind{FoundBlock},
			break_: func(t *testing.T, _ *faultLayer, d *Disk) {
				k, _ := segOf(t, d, "b", 1)
				set(t, d, k, []byte{1, 200})
			}},
		{name: "orphans", kinds: []FindingKind{FoundOrphanAttr, FoundOrphanOmap, FoundOrphanSeg}, break_: func(t *testing.T, _ *faultLayer, d *Disk) {
			s := &segment{}
			s.set(3, 2000, 7)
			for _, oid := range []uint64{500, 600} {
				set(t, d, appendSegKey(nil, oid, 0), s.append(nil))
				set(t, d, appendSegKey(nil, oid, 4), s.append(nil))
				set(t, d, appendKV(nil, keyAttr, oid, []byte("x")), nil)
				set(t, d, appendKV(nil, keyOmap, oid, []byte("x")), nil)
			}
		}},
		{name: "excess", kinds: []FindingKind{FoundExcess}, break_: func(t *testing.T, _ *faultLayer, d *Disk) {
			k, s := segOf(t, d, "a", 0)
			s.set(9, 1000, 5)
			set(t, d, k, s.append(nil))
		}},
		{name: "shared block", kinds: []FindingKind{FoundShared}, deep: []FindingKind{FoundBlock},
			after: func(t *testing.T, d *Disk) {
				wantRead(t, d, "a", 'a', 5000) // its checksum says whose the block is
				corrupt("c")(t, d)
			}, break_: func(t *testing.T, _ *faultLayer, d *Disk) {
				_, a := segOf(t, d, "a", 0)
				k, s := segOf(t, d, "c", 0)
				s.set(0, a.phys[0], s.sum[0])
				set(t, d, k, s.append(nil))
			}},
		{name: "beyond", kinds: []FindingKind{FoundBeyond}, after: corrupt("c"), deep: []FindingKind{FoundBlock},
			break_: func(t *testing.T, _ *faultLayer, d *Disk) {
				k, s := segOf(t, d, "c", 0)
				s.set(0, 1<<40, s.sum[0])
				set(t, d, k, s.append(nil))
			}},
		{name: "hidden keys", kinds: []FindingKind{FoundHidden}, break_: func(t *testing.T, _ *faultLayer, d *Disk) {
			k, h := headOf(t, d, testKey("a"))
			h.hasAttrs = false
			set(t, d, k, h.append(nil))
		}},
		{name: "inline bytes", kinds: []FindingKind{FoundOrphanBytes, FoundHidden}, break_: func(t *testing.T, _ *faultLayer, d *Disk) {
			_, h := headOf(t, d, testKey("a"))
			set(t, d, appendInlineKey(nil, h.oid), []byte("hidden"))
			set(t, d, appendInlineKey(nil, 700), []byte("orphan"))
		}},
		{name: "omap count", kinds: []FindingKind{FoundOmapCount}, break_: func(t *testing.T, _ *faultLayer, d *Disk) {
			k, h := headOf(t, d, testKey("o"))
			h.omapMax = 3
			set(t, d, k, h.append(nil))
		}, after: func(t *testing.T, d *Disk) {
			if i, err := d.Stat(testKey("o")); err != nil || i.OmapKeys != 20 {
				t.Errorf("omap keys: %d, %v; want 20", i.OmapKeys, err)
			}
		}},
	} {
		for _, onDevice := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, device %t", c.name, onDevice), func(t *testing.T) {
				l := inspected(t, onDevice)
				if r := fsckFault(t, l, FsckOptions{Deep: true}); len(r.Findings) > 0 {
					t.Fatalf("an intact store: %+v", r.Findings)
				}
				if c.files {
					c.break_(t, l, nil)
				} else {
					editIndex(t, l, func(d *Disk) { c.break_(t, l, d) })
				}
				before := snapshotFiles(l)
				small := FsckOptions{window: 2} // objects in several windows
				r := fsckFault(t, l, small)
				if got := kindsOf(r.Findings); !slices.Equal(got, c.kinds) {
					t.Fatalf("found %v, want %v: %+v", got, c.kinds, r.Findings)
				}
				for _, f := range r.Findings {
					if f.Cure != CureRepair || f.Repaired != "" || f.Text == "" {
						t.Errorf("%+v: want one to repair, not repaired", f)
					}
				}
				if !snapshotFiles(l).equal(before) {
					t.Error("looking changed the store")
				}
				small.Repair, small.Deep = true, true
				r = fsckFault(t, l, small)
				if all, done := r.Damage(); all == 0 || all != done+int64(len(blockFindings(r))) || !r.Changed {
					t.Errorf("%d findings, %d repaired: %+v", all, done, r.Findings)
				}
				if r := fsckFault(t, l, FsckOptions{}); len(r.Findings) > 0 {
					t.Errorf("after the repair: %+v", r.Findings)
				}
				if got := kindsOf(fsckFault(t, l, FsckOptions{Deep: true}).Findings); !slices.Equal(got, c.deep) {
					t.Errorf("a deep check after the repair found %v, want %v", got, c.deep)
				}
				d := openFault(t, l)
				if c.after != nil {
					c.after(t, d)
				} else {
					wantRead(t, d, "c", 'c', 5000)
				}
				if c.name != "unreadable head" && c.name != "shared number" {
					distrusted("trusted")(t, d)
				}
				wantRead(t, d, "b", 'b', 4096)
				apply(t, d, writeOp("new", 0, []byte("new")))
				if err := d.Close(); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

func blockFindings(r FsckReport) (out []Finding) {
	for _, f := range r.Findings {
		if f.Kind == FoundBlock {
			out = append(out, f)
		}
	}
	return out
}

type fileSums map[string]uint32

func snapshotFiles(l *faultLayer) fileSums {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := fileSums{}
	for n, f := range l.files {
		s[n] = checksum(f.data)
	}
	names, _ := l.index.List(crashDir + "/" + indexName)
	for _, n := range names {
		s["index/"+n] = 1
	}
	return s
}

func (s fileSums) equal(o fileSums) bool {
	if len(s) != len(o) {
		return false
	}
	for n, sum := range s {
		if o[n] != sum {
			return false
		}
	}
	return true
}

// TestFsckBlocks: a flipped byte of data is found by a deep check only, with its object, and is left
// to the cluster.
func TestFsckBlocks(t *testing.T) {
	l := inspected(t, false)
	var at uint64
	editIndex(t, l, func(d *Disk) { _, s := segOf(t, d, "b", 1); at = s.phys[5] * blockBytes })
	l.flip(dataName, int64(at)+9)
	if r := fsckFault(t, l, FsckOptions{}); len(r.Findings) > 0 {
		t.Errorf("a light check: %+v", r.Findings)
	}
	for _, repair := range []bool{false, true} {
		r := fsckFault(t, l, FsckOptions{Deep: true, Repair: repair})
		if len(r.Findings) != 1 || r.Findings[0].Kind != FoundBlock || r.Findings[0].Cure != CureCluster || r.Findings[0].Key != testKey("b") ||
			!strings.Contains(r.Findings[0].Text, fmt.Sprint(segBytes+5*blockBytes)) {
			t.Errorf("repair %t: %+v", repair, r.Findings)
		}
	}
}

// TestFsckInline: damage of a small object's bytes is left to the cluster, too.
func TestFsckInline(t *testing.T) {
	l := inspected(t, false)
	editIndex(t, l, func(d *Disk) {
		for name, v := range map[string][]byte{"s": []byte("1234small"), "t": nil} {
			_, h := headOf(t, d, testKey(name))
			key := appendInlineKey(nil, h.oid)
			if v == nil {
				_ = d.db.Delete(key, pebble.NoSync)
			} else {
				_ = d.db.Set(key, v, pebble.NoSync)
			}
		}
	})
	r := fsckFault(t, l, FsckOptions{Deep: true, Repair: true})
	if got := kindsOf(r.Findings); !slices.Equal(got, []FindingKind{FoundBlock}) || len(r.Findings) != 2 || r.Changed || r.Findings[0].Key.Name == "" {
		t.Errorf("%+v", r)
	}
}

// TestInspectLargeJournal: what a long journal holds of blocks does not stay in memory.
func TestInspectLargeJournal(t *testing.T) {
	d, l := newFault(t)
	for i := range 20 {
		apply(t, d, writeOp(fmt.Sprint(i), 0, bytes.Repeat([]byte{'x'}, 5000)))
	}
	l = l.restart()
	d.Close()
	in, err := inspectWith(crashDir, InspectOptions{layer: l}, 16<<10)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if n := in.d.overlay.len(); n > 8 {
		t.Errorf("%d blocks in memory", n)
	}
	for i := range 20 {
		wantRead(t, in.d, fmt.Sprint(i), 'x', 5000)
	}
}

// TestFsckJournal tells a torn tail from damage. Neither looking nor a refused repair changes anything.
func TestFsckJournal(t *testing.T) {
	build := func() (*faultLayer, []int64) {
		d, l := newFault(t)
		var at []int64
		for i := range 5 {
			at = append(at, int64(d.journal.pos%d.journal.size))
			apply(t, d, writeOp(fmt.Sprint(i), 0, bytes.Repeat([]byte{byte('0' + i)}, 5000)))
		}
		l.mu.Lock()
		l.powerCut() // all was synced
		l.mu.Unlock()
		d.Close()
		return l.restart(), at
	}
	l, _ := build()
	r := fsckFault(t, l, FsckOptions{Deep: true})
	if len(r.Findings) > 0 || r.Journal.Groups != 5 || r.Objects != 5 {
		t.Fatalf("a journal to be replayed: %+v", r)
	}
	l, at := build()
	l.flip(journalName, at[4]+groupHeader+50)
	r = fsckFault(t, l, FsckOptions{Deep: true})
	if got := kindsOf(r.Findings); !slices.Equal(got, []FindingKind{FoundTornTail}) || r.Journal.Groups != 4 || r.Objects != 4 {
		t.Errorf("a torn tail: %+v", r)
	}
	if all, _ := r.Damage(); all != 0 {
		t.Errorf("a torn tail counts as damage")
	}
	l, at = build()
	l.flip(journalName, at[2]+groupHeader+50)
	before := snapshotFiles(l)
	r = fsckFault(t, l, FsckOptions{Repair: true})
	if got := kindsOf(r.Findings); !slices.Contains(got, FoundJournal) || r.Refused == "" || r.Changed || r.Objects != 2 {
		t.Errorf("damage in the middle: %+v", r)
	}
	if !snapshotFiles(l).equal(before) {
		t.Error("a refused repair changed the store")
	}
}

// TestFsckIndexTable: what Pebble cannot read is named, the rest is checked, and nothing is repaired:
// what seems to be an orphan may belong to an object that cannot be seen.
func TestFsckIndexTable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "osd")
	if err := Create(dir, CreateOptions{JournalBytes: MinJournalBytes, Capacity: 1 << 30, Log: quiet()}); err != nil {
		t.Fatal(err)
	}
	d, err := Open(dir, Options{Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		apply(t, d, Op{Kind: OpOmapSet, Key: testKey(fmt.Sprint("o", i)), Name: []byte("k"), Value: bytes.Repeat([]byte(fmt.Sprint(i)), 2000)})
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	flipped := 0
	files, _ := filepath.Glob(filepath.Join(dir, indexName, "*.*"))
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if ext := filepath.Ext(f); ext != ".sst" && ext != ".blob" || len(b) < 20<<10 {
			continue
		}
		b[len(b)/2] ^= 1
		flipped++
		if err := os.WriteFile(f, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if flipped == 0 {
		t.Fatal("no table to damage")
	}
	r, err := Fsck(t.Context(), dir, FsckOptions{Repair: true, Deep: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := kindsOf(r.Findings); !slices.Equal(got, []FindingKind{FoundIndexGap}) || r.Refused == "" || r.Changed || r.Keys < 50 {
		t.Errorf("a damaged table: %+v", r)
	}
}

// TestInspectRefuses what is no store, is in use, or is newer.
func TestInspectRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "osd")
	if _, err := Inspect(t.TempDir(), InspectOptions{}); !errors.Is(err, ErrNotStore) {
		t.Errorf("an empty directory: %v", err)
	}
	if err := Create(dir, CreateOptions{JournalBytes: MinJournalBytes, Capacity: 1 << 30, Log: quiet()}); err != nil {
		t.Fatal(err)
	}
	d, err := Open(dir, Options{Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Inspect(dir, InspectOptions{}); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("a store in use: %v", err)
	}
	d.Close()
	in, err := Inspect(dir, InspectOptions{FilesOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if s := in.Supers(); len(s) != 2 || s[0].SuperInfo == nil || !s[1].Current {
		t.Errorf("superblock copies: %+v", s)
	}
	in.Close()
	path := filepath.Join(dir, superName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[12] = 99
	copy(b[blockBytes-4:], le32(checksum(b[:blockBytes-4])))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Inspect(dir, InspectOptions{}); !errors.Is(err, errNewFormat) {
		t.Errorf("a newer format: %v", err)
	}
}
