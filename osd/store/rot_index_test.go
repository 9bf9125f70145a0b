package store

import (
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// Attributes and omap lie in the index, whose blocks have checksums of their own. Damage there fails the reads
// of the object, and does not keep a good copy from taking its place.
func TestBitRotInIndex(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "osd")
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	open := func() *Disk {
		t.Helper()
		d, err := Open(dir, Options{Log: log})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	}
	if err := Create(dir, CreateOptions{JournalBytes: MinJournalBytes, Capacity: 1 << 30, Log: log}); err != nil {
		t.Fatal(err)
	}
	d := open()
	rng := rand.NewChaCha8([32]byte{1})
	for i := range 12 {
		v := make([]byte, 100<<10)
		_, _ = rng.Read(v)
		apply(t, d, Op{Kind: OpOmapSet, Key: testKey("a"), Name: []byte{byte(i)}, Value: v})
	}
	apply(t, d, writeOp("b", 0, []byte("bbbb")))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, indexName, "*.sst"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tables of the index: %v", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) < 512<<10 {
			continue
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(f, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d = open()
	_, _, err = d.OmapList(testKey("a"), nil, nil, 100)
	if !errors.Is(err, ErrCorrupt) {
		t.Fatalf("list of a damaged omap: %v, want ErrCorrupt", err)
	}
	good := Key{PG: testKey("a").PG, Space: Staging, Name: "a"}
	apply(t, d, Op{Kind: OpOmapSet, Key: good, Name: []byte("k"), Value: []byte("good")}, Op{Kind: OpRename, Key: good, To: testKey("a")})
	kvs, _, err := d.OmapList(testKey("a"), nil, nil, 100)
	if err != nil || len(kvs) != 1 || string(kvs[0].Value) != "good" {
		t.Fatalf("list after the repair: %d pairs, %v", len(kvs), err)
	}
	wantRead(t, d, "b", 'b', 4)
}
