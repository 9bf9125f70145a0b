package store

import (
	"bytes"
	"encoding/hex"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairnstore/cairn/placement"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares bytes with a hex dump in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	dump := hex.Dump(got)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(dump), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), dump); diff != "" {
		t.Errorf("the disk format changed (-want +got); stores in the field would not open:\n%s", diff)
	}
}

var goldenUUID = placement.UUID{0xca, 0x12, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

func TestGoldenSuperblock(t *testing.T) {
	s := &superblock{
		generation: 42, clean: true, created: 1700000000123456789, journal: 256 << 20, capacity: 1 << 40,
		id:         Identity{Store: goldenUUID, Cluster: placement.UUID{1}, OSD: 12, Incarnation: 77},
		checkpoint: checkpoint{pos: 1<<33 + 4096, seq: 1 << 34, known: 1<<34 + 5, link: 0xdeadbeef},
	}
	b := s.encode()
	golden(t, "superblock.hex", b)
	got, err := decodeSuperblock(b)
	if err != nil || *got != *s {
		t.Errorf("decoded %+v, %v; want %+v", got, err, s)
	}
	on := *s
	on.clean, on.making, on.onDevice, on.device, on.capacity = false, true, true, 1<<42, 0
	golden(t, "superblock-device.hex", on.encode())
	if got, err := decodeSuperblock(on.encode()); err != nil || *got != on {
		t.Errorf("decoded %+v, %v; want %+v", got, err, on)
	}
	golden(t, "dataheader.hex", encodeDataHeader(goldenUUID))
	if err := checkDataHeader(encodeDataHeader(goldenUUID), goldenUUID); err != nil {
		t.Error(err)
	}
}

func TestGoldenGroup(t *testing.T) {
	seg := &segment{}
	seg.set(0, 1000, 0x11111111)
	seg.set(1, 1001, 0x22222222)
	seg.set(segBlocks-1, 1<<40, 0x33333333)
	h := head{oid: 5, size: 1 << 20, version: Version{3, 900}, mtime: -1, omapMax: 8, hasAttrs: true, hasOmap: true}
	k := Key{placement.PGID{Pool: 2, Shard: 0x1f}, Meta, "name"}
	r := &redo{blocks: []blockWrite{{1000, []byte("content of a block")}, {1001, nil}}, frees: []run{{7, 3}, {1 << 40, 1}}}
	r.kv = appendKVSet(r.kv, appendHeadKey(nil, &k, 1), h.append(nil))
	r.kv = appendKVSet(r.kv, appendSegKey(nil, 5, 3), seg.append(nil))
	r.kv = appendKVSet(r.kv, appendKV(nil, keyOmap, 5, []byte("key")), []byte("value"))
	small := head{oid: 6, size: 4, version: Version{3, 901}, inline: true}
	ks := Key{placement.PGID{Pool: 2, Shard: 0x1f}, Objects, "small"}
	r.kv = appendKVSet(r.kv, appendHeadKey(nil, &ks, 0), small.append(nil))
	r.kv = appendKVSet(r.kv, appendInlineKey(nil, 6), append(le32(checksum([]byte("tiny"))), "tiny"...))
	users := &shares{}
	users.extra[0], users.extra[7], users.extra[8], users.extra[shareBlocks-1] = 1, 2, 2, 300
	r.kv = appendKVSet(r.kv, appendShareKey(nil, 77), users.append(nil))
	if s, err := decodeShares(users.append(nil)); err != nil || *s != *users {
		t.Errorf("users of blocks: %v", err)
	}
	r.kv = appendKVDelete(r.kv, appendKV(nil, keyAttr, 5, []byte("attr")))
	r.kv = appendKVDelRange(r.kv, appendKV(nil, keyOmap, 4, nil), keyAfter(appendKV(nil, keyOmap, 4, nil)))
	r.kv = appendKVSet(r.kv, appendGenKey(nil, k.space()), []byte{0, 0, 0, 1})
	r.kv = appendKVSet(r.kv, appendDoomedKey(nil, k.space(), 0), nil)
	j := &journal{size: 1 << 20, store: goldenUUID, seq: 99, link: 0xabcdef01}
	b := j.encode(r)
	golden(t, "group.hex", b)
	g, _, ok := parseGroupHead(b, goldenUUID)
	if !ok || g.seq != 99 || g.link != 0xabcdef01 || int(g.length) != r.size() {
		t.Fatalf("header: %+v, %v", g, ok)
	}
	if _, _, ok := parseGroupHead(b, placement.UUID{}); ok {
		t.Error("the group passes for another store's")
	}
	got, err := decodeRedo(b[groupHeader : groupHeader+int(g.length)])
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.kv, r.kv) || !slices.Equal(got.frees, r.frees) || len(got.blocks) != 2 || string(got.blocks[0].data) != "content of a block" {
		t.Errorf("decoded %+v", got)
	}
	for _, h := range []head{h, small} {
		if h2, err := decodeHead(h.append(nil)); err != nil || h2 != h {
			t.Errorf("head: %+v, %v", h2, err)
		}
	}
	if s2, err := decodeSegment(seg.append(nil)); err != nil || *s2 != *seg {
		t.Errorf("segment: %+v, %v", s2, err)
	}
}

// nothing swallows index changes.
type nothing struct{}

func (nothing) set(k, v []byte) error         { return nil }
func (nothing) delete(k []byte) error         { return nil }
func (nothing) deleteRange(a, b []byte) error { return nil }

func FuzzDecode(f *testing.F) {
	seg := &segment{}
	seg.set(5, 77, 1)
	h := head{oid: 5, size: 1, version: Version{3, 900}}
	f.Add(seg.append(nil))
	f.Add(h.append(nil))
	f.Add([]byte{shareVersion, 0, 1, 1, 6, 2, 2, 254, 3, 1, 200, 2})
	h.inline = true
	f.Add(h.append(nil))
	r := &redo{blocks: []blockWrite{{1000, []byte("x")}}, frees: []run{{7, 3}}, kv: appendKVSet(nil, []byte("k"), []byte("v"))}
	f.Add(r.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decodeSegment(b); err == nil {
			if again, err := decodeSegment(s.append(nil)); err != nil || *again != *s {
				t.Errorf("segment %x: not the same when written again: %v", b, err)
			}
		}
		if s, err := decodeShares(b); err == nil && !bytes.Equal(s.append(nil), b) {
			if again, err := decodeShares(s.append(nil)); err != nil || *again != *s {
				t.Errorf("users of blocks %x: not the same when written again: %v", b, err)
			}
		}
		if h, err := decodeHead(b); err == nil {
			if again, err := decodeHead(h.append(nil)); err != nil || again != h {
				t.Errorf("head %x: not the same when written again: %v", b, err)
			}
		}
		if r, err := decodeRedo(b); err == nil {
			_ = applyKV(r.kv, nothing{})
			if !bytes.Equal(r.append(nil), b) || r.size() != len(b) {
				t.Errorf("record %x: not the same when written again", b)
			}
		}
		_ = applyKV(b, nothing{})
		parseHeadKey(b)
		parseSegKey(b)
		block := make([]byte, blockBytes)
		copy(block, b)
		_, _ = decodeSuperblock(block)
		parseGroupHead(block, goldenUUID)
	})
}

// TestAllocator holds the map of blocks against a set.
func TestAllocator(t *testing.T) {
	seed := seedOf(t)
	for i, limit := range []int{3000, 5*chunkBlocks/2 + 77} {
		testAllocator(t, rand.New(rand.NewPCG(seed, uint64(i))), limit)
	}
}

func testAllocator(t *testing.T, rng *rand.Rand, limit int) {
	a := newAllocator(64, uint64(limit), 100, func(uint64) error { return nil })
	a.m.room = 2 // chunks are packed and unpacked all the time
	taken := map[uint64]bool{0: true}
	var live, waiting []run
	for i := range 20000 {
		switch rng.IntN(10) {
		case 0, 1, 2, 3, 4:
			n, keep := uint64(1+rng.IntN(40*limit/3000)), uint64(rng.IntN(3)*50)
			if rng.IntN(2) == 0 {
				n = 1
			}
			rs, err := a.alloc(n, keep, uint64(rng.IntN(limit)))
			if fits := uint64(len(taken))+n+keep <= uint64(limit); fits != (err == nil) {
				t.Fatalf("step %d: alloc of %d with %d of %d taken and %d kept: %v", i, n, len(taken), limit, keep, err)
			}
			for _, r := range rs {
				for b := r.start; b < r.end(); b++ {
					if taken[b] || b >= uint64(limit) {
						t.Fatalf("step %d: block %d given out twice or beyond the end", i, b)
					}
					taken[b] = true
				}
				n -= r.count
			}
			if err == nil && n != 0 {
				t.Fatalf("step %d: %d blocks missing", i, n)
			}
			live = append(live, rs...)
		case 5, 6, 7:
			for range min(len(live), rng.IntN(6)) {
				j := rng.IntN(len(live))
				a.free(uint64(i), live[j:j+1])
				waiting = append(waiting, live[j])
				live = slices.Delete(live, j, j+1)
			}
		case 8:
			if len(live) > 0 {
				r := live[len(live)-1]
				live = live[:len(live)-1]
				a.release([]run{r})
				for b := r.start; b < r.end(); b++ {
					delete(taken, b)
				}
			}
		case 9:
			a.checkpointed(uint64(i))
			for _, r := range waiting {
				for b := r.start; b < r.end(); b++ {
					delete(taken, b)
				}
			}
			waiting = nil
		}
		used, wait, _ := a.counts()
		var want uint64
		for _, r := range waiting {
			want += r.count
		}
		if used != uint64(len(taken)) || wait != want {
			t.Fatalf("step %d: %d used, %d waiting; want %d, %d", i, used, wait, len(taken), want)
		}
	}
}

// A run of which a part is taken cannot be marked, and what was free of it stays free: the scan of a
// clone whose object was changed then claims it block by block.
func TestMarkIsAllOrNothing(t *testing.T) {
	a := newAllocator(100, 100, 1, func(uint64) error { return nil })
	if !a.mark(run{12, 1}) || a.mark(run{10, 5}) || a.taken(10) || a.used != 2 {
		t.Fatalf("after marking what cannot be: block 10 taken %v, %d used, want 2", a.taken(10), a.used)
	}
	if err := a.claim(run{10, 5}, func(b uint64) bool { return b == 12 }); err != nil || a.used != 6 {
		t.Errorf("claim of a run with one shared block: %v, %d used, want 6", err, a.used)
	}
}

func TestAllocatorPrefersWholeRuns(t *testing.T) {
	a := newAllocator(1000, 1000, 1, func(uint64) error { return nil })
	first, err := a.alloc(600, 0, 0)
	if err != nil || len(first) != 1 {
		t.Fatal(first, err)
	}
	for b := uint64(1); b < 600; b += 2 {
		a.release([]run{{b, 1}})
	}
	if rs, err := a.alloc(300, 0, 0); err != nil || len(rs) != 1 {
		t.Errorf("300 blocks with 399 free in a row: %d runs, %v", len(rs), err)
	}
	if rs, err := a.alloc(5, 0, 17); err != nil || len(rs) != 1 {
		t.Errorf("5 blocks: %v, %v", rs, err)
	}
	if rs, err := a.alloc(1, 0, 17); err != nil || rs[0].start != 17 {
		t.Errorf("hint 17: %v, %v", rs, err)
	}
	if rs, err := a.alloc(1, 0, 17); err != nil || rs[0].start == 17 {
		t.Errorf("hint taken: %v, %v", rs, err)
	}
	if err := a.claim(run{2, 1}, func(uint64) bool { return false }); err == nil {
		t.Error("a block claimed twice")
	}
}

func TestOverlayHoming(t *testing.T) {
	o := newOverlay()
	want := func(phys uint64, c string) {
		t.Helper()
		b, ok := o.get(phys)
		if ok != (c != "") || ok && string(bytes.TrimRight(b, "\x00")) != c {
			t.Fatalf("block %d: %q, %v; want %q", phys, bytes.TrimRight(b, "\x00"), ok, c)
		}
	}
	o.put(1, []byte("one"))
	o.put(2, []byte("two, long"))
	o.put(2, []byte("two"))
	o.put(3, []byte("three"))
	list, buf := o.copyOut([]uint64{1, 2, 3, 9}, nil, nil)
	for i, c := range []string{"one", "two", "three"} {
		if got := string(bytes.TrimRight(buf[i*blockBytes:][:blockBytes], "\x00")); got != c || list[i].phys != uint64(i+1) {
			t.Errorf("block %d on its way home: %q, want %q", list[i].phys, got, c)
		}
	}
	o.put(1, []byte("uno")) // changed while on its way home
	o.drop(run{2, 1})       // freed
	o.put(4, []byte("four"))
	want(3, "three") // until it is home
	o.home(list)
	want(1, "uno")
	want(2, "")
	want(3, "")
	want(4, "four")
	if o.len() != 2 {
		t.Errorf("%d blocks left, want 2", o.len())
	}
	list, _ = o.copyOut([]uint64{4}, nil, nil)
	o.put(4, []byte("x"))
	o.put(4, []byte("y"))
	o.home(list)
	want(4, "y")
	list, _ = o.copyOut(o.blocks(), nil, nil)
	o.home(list)
	if o.len() != 0 || len(o.chunks) != 0 {
		t.Errorf("empty overlay keeps %d chunks", len(o.chunks))
	}
}
