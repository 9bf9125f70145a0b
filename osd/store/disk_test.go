package store_test

import (
	"path/filepath"
	"testing"

	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/osd/store/storetest"
)

func newDisk(t testing.TB, o store.Options) (*store.Disk, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "osd")
	if err := store.Create(dir, store.CreateOptions{JournalBytes: store.MinJournalBytes, Capacity: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	d, err := store.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, dir
}

func TestDiskRandom(t *testing.T) {
	for seed := range uint64(3) {
		d, _ := newDisk(t, store.Options{DirtyBytes: 2 << 20})
		if err := storetest.Random(d, seed, 300); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
