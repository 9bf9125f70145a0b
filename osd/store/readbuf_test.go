package store_test

import (
	"bytes"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/osd/store"
)

// TestReadBuf reads what lies in blocks on disk, in blocks in memory, in holes and in the index: the
// bytes are those of Read, and sums that come with them are theirs.
func TestReadBuf(t *testing.T) {
	d, _ := newDisk(t, store.Options{})
	big := store.Key{Name: "big"}
	data := make([]byte, 300_000)
	for i := range data {
		data[i] = byte(i*13 + i>>10)
	}
	for _, op := range []store.Op{
		{Kind: store.OpWrite, Key: big, Data: data},
		{Kind: store.OpZero, Key: big, Off: 8192, Len: 8192},
		{Kind: store.OpWrite, Key: big, Off: 20480, Data: data[:4096]}, // stays in memory for a while
		{Kind: store.OpWrite, Key: store.Key{Name: "small"}, Data: data[:5]},
		{Kind: store.OpTouch, Key: store.Key{Name: "empty"}},
	} {
		if err := store.Apply(d, &store.Batch{Ops: []store.Op{op}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"big", "small", "empty"} {
		for _, r := range [][2]uint64{{0, 1 << 20}, {0, 300_000}, {4096, 30_000}, {8192, 8192}, {0, 1}, {5, 100}, {299_008, 992}, {299_008, 4096}, {1 << 20, 5}} {
			k := store.Key{Name: name}
			want, err := d.Read(k, r[0], r[1])
			if err != nil {
				t.Fatal(err)
			}
			got, err := d.ReadBuf(k, r[0], r[1])
			if err != nil || !bytes.Equal(got.Bytes(), want) {
				t.Fatalf("%s: %d bytes at %d: %v, or not what Read returns", name, r[1], r[0], err)
			}
			sums := got.SumsOf(got.Bytes())
			if fromBlocks := name == "big" && r[0]%4096 == 0 && len(want) > 0; fromBlocks != (sums != nil) {
				t.Errorf("%s: %d bytes at %d: with sums: %v", name, r[1], r[0], sums != nil)
			}
			if sums != nil && slab.Join(sums, len(want)) != crc32.Checksum(want, crc32.MakeTable(crc32.Castagnoli)) {
				t.Errorf("%s: %d bytes at %d: sums are not those of the bytes", name, r[1], r[0])
			}
			got.Release()
		}
	}
	if _, err := d.ReadBuf(store.Key{Name: "none"}, 0, 10); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an object that does not exist: %v", err)
	}
}

// TestSumsAreKept: the sums that come with a write are what later reads are compared with, so that
// a change of the bytes between their arrival and the disk is found.
func TestSumsAreKept(t *testing.T) {
	d, _ := newDisk(t, store.Options{})
	for _, n := range []int{4096, 8192, 200_000} { // through the journal, and past it
		for _, spoil := range []bool{false, true} {
			mem := slab.New(n)
			for i := range mem.Bytes() {
				mem.Bytes()[i] = byte(i)
			}
			mem.Sum()
			if spoil {
				mem.Bytes()[2000]++
			}
			k := store.Key{Name: "o"}
			if err := store.Apply(d, &store.Batch{Ops: []store.Op{{Kind: store.OpRemove, Key: k}, {Kind: store.OpWrite, Key: k, Data: mem.Bytes(), Mem: mem}}}); err != nil {
				t.Fatal(err)
			}
			got, err := d.Read(k, 0, uint64(n))
			if spoil != errors.Is(err, store.ErrCorrupt) || !spoil && !bytes.Equal(got, mem.Bytes()) {
				t.Errorf("%d bytes, spoiled %v: read says %v", n, spoil, err)
			}
			mem.Release()
		}
	}
}
