package store

import (
	"os"
	"path/filepath"
	"testing"
)

// TestAllocated: what a file has of the file system is not its size.
func TestAllocated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sparse")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 1<<20), 8<<20); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if n := allocated(path); n < 1<<20 || n >= 32<<20 {
		t.Errorf("a file of 64 MiB with 1 MiB written has %d bytes", n)
	}
	if n := allocated(path + "x"); n != 0 {
		t.Errorf("a file that is not there has %d bytes", n)
	}
}
