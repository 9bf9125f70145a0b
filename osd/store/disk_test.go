package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/osd/store/storetest"
	"github.com/cairnstore/cairn/placement"
)

func newDisk(t testing.TB, o store.Options) (*store.Disk, string) {
	t.Helper()
	return newDiskOn(t, inDirectory, 1<<30, o)
}

// layout makes a store of a size in a temporary directory and returns the directory.
type layout struct {
	name string
	make func(t testing.TB, capacity int64) string
}

func createIn(t testing.TB, o store.CreateOptions) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "osd")
	o.JournalBytes, o.Log = store.MinJournalBytes, quietLog()
	if err := store.Create(dir, o); err != nil {
		t.Fatal(err)
	}
	return dir
}

var (
	inDirectory = layout{"directory", func(t testing.TB, capacity int64) string {
		return createIn(t, store.CreateOptions{Capacity: capacity})
	}}
	onFile = layout{"file", func(t testing.TB, capacity int64) string {
		return createIn(t, store.CreateOptions{Capacity: capacity, Device: filepath.Join(t.TempDir(), "image")})
	}}
)

// layouts are all that can be tested here.
func layouts() []layout {
	all := []layout{inDirectory, onFile}
	if loopDevices() {
		all = append(all, layout{"block device", func(t testing.TB, capacity int64) string {
			return createIn(t, store.CreateOptions{Device: loopDevice(t, min(capacity, 512<<20), 4096)})
		}})
	}
	return all
}

func newDiskOn(t testing.TB, l layout, capacity int64, o store.Options) (*store.Disk, string) {
	t.Helper()
	dir := l.make(t, capacity)
	d, err := store.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, dir
}

func TestDisk(t *testing.T) {
	for _, l := range []layout{inDirectory, onFile} {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			testDisk(t, l)
		})
	}
}

func testDisk(t *testing.T, l layout) {
	opts := store.Options{DirtyBytes: 2 << 20, Log: quietLog()}
	dirs := map[store.Store]string{}
	open := func(t *testing.T) store.Store {
		d, dir := newDiskOn(t, l, 256<<20, opts)
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
		d, _ := newDiskOn(t, l, 64<<20, opts)
		return d
	}
	storetest.Run(t, open, storetest.WithReopen(reopen, nil), storetest.WithSmall(small))
}

func TestCreateRefusesWhatIsNotEmpty(t *testing.T) {
	opts := store.CreateOptions{JournalBytes: store.MinJournalBytes, Log: quietLog()}
	d, dir := newDisk(t, store.Options{Log: quietLog()})
	d.Close()
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "photo.jpg"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	half := t.TempDir()
	if err := os.WriteFile(filepath.Join(half, "journal"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tiny, odd := opts, opts
	tiny.JournalBytes, odd.Capacity = 1<<20, 1<<20
	for _, c := range []struct {
		dir, want string
		opts      store.CreateOptions
	}{
		{dir, "already", opts}, {other, "photo.jpg", opts}, {half, "interrupted", opts},
		{filepath.Join(other, "a"), "journal of", tiny}, {filepath.Join(other, "b"), "capacity", odd},
		{filepath.Join(other, "photo.jpg"), "photo.jpg", opts},
	} {
		if err := store.Create(c.dir, c.opts); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.dir) {
			t.Errorf("create in %s: %v; want an error with %q and the path", c.dir, err, c.want)
		}
	}
	for dir, want := range map[string]string{t.TempDir(): "empty", other: "photo.jpg", filepath.Join(other, "none"): "no such file"} {
		if _, err := store.Open(dir, store.Options{Log: quietLog()}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("open of %s: %v; want an error with %q", dir, err, want)
		}
	}
}

// TestFullOfOmap fills a store mostly with omap, whose room comes back only
// when the index is compacted, and empties it, twice.
func TestFullOfOmap(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "osd")
	if err := store.Create(dir, store.CreateOptions{JournalBytes: store.MinJournalBytes, Capacity: 56 << 20, Log: quietLog()}); err != nil {
		t.Fatal(err)
	}
	d, err := store.Open(dir, store.Options{Log: quietLog()})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	rng := rand.NewChaCha8([32]byte{1})
	key := func(i int) store.Key {
		return store.Key{PG: placement.PGID{Pool: 1}, Name: fmt.Sprint(i)}
	}
	first := 0
	for round := range 3 {
		n := 0
		for ; ; n++ {
			b := &store.Batch{Ops: []store.Op{{Kind: store.OpWrite, Key: key(n), Data: make([]byte, 5000)}}}
			for j := range 40 {
				v := make([]byte, 4000) // that nothing compresses
				if _, err := rng.Read(v); err != nil {
					t.Fatal(err)
				}
				b.Ops = append(b.Ops, store.Op{Kind: store.OpOmapSet, Key: key(n), Name: fmt.Append(nil, j), Value: v})
			}
			if err := store.Apply(d, b); errors.Is(err, store.ErrNoSpace) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if round == 0 {
			first = n
		}
		if n < 20 || n < first/2 {
			t.Fatalf("round %d: room for %d objects, at first for %d", round, n, first)
		}
		for i := range n {
			if err := store.Apply(d, &store.Batch{Ops: []store.Op{{Kind: store.OpRemove, Key: key(i)}}}); err != nil {
				t.Fatalf("round %d: emptying a full store: %v", round, err)
			}
		}
	}
}
