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

func TestDisk(t *testing.T) {
	opts := store.Options{DirtyBytes: 2 << 20}
	dirs := map[store.Store]string{}
	open := func(t *testing.T) store.Store {
		d, dir := newDisk(t, opts)
		dirs[d] = dir
		return d
	}
	reopen := func(t *testing.T, s store.Store) store.Store {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		d, err := store.Open(dirs[s], opts)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		dirs[d] = dirs[s]
		return d
	}
	small := func(t *testing.T) store.Store {
		dir := filepath.Join(t.TempDir(), "osd")
		if err := store.Create(dir, store.CreateOptions{JournalBytes: store.MinJournalBytes, Capacity: 64 << 20}); err != nil {
			t.Fatal(err)
		}
		d, err := store.Open(dir, opts)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	storetest.Run(t, open, storetest.WithReopen(reopen, nil), storetest.WithSmall(small))
}
