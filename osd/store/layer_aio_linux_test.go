package store

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWriteMany writes more than the kernel takes at once, in no order, with and
// without its queue, and what cannot be written says so.
func TestWriteMany(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f, err := osLayer{}.CreateFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const blocks = 5*aioDepth/2 + 7
	if err := f.Allocate(blocks * blockBytes); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for round, direct := range []bool{true, true, false} {
		f, err := osLayer{}.OpenFile(path, direct)
		if err != nil {
			t.Fatal(err)
		}
		f.(*osFile).aio[0].broken = round == 1
		var ws []ioWrite
		for i := range blocks {
			n := i * 101 % blocks
			b := alignedBytes(blockBytes)
			copy(b, bytes.Repeat([]byte{byte(n + round)}, blockBytes))
			ws = append(ws, ioWrite{b, int64(n) * blockBytes})
		}
		if err := writeMany(f, ws); err != nil {
			t.Fatal(err)
		}
		b := alignedBytes(blockBytes)
		for n := range blocks {
			if _, err := f.ReadAt(b, int64(n)*blockBytes); err != nil || !bytes.Equal(b, bytes.Repeat([]byte{byte(n + round)}, blockBytes)) {
				t.Fatalf("round %d: block %d holds %d, %v; want %d", round, n, b[0], err, byte(n+round))
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return // no direct I/O here
	}
	ro := &osFile{f: r, direct: true}
	defer ro.Close()
	two := alignedBytes(2 * blockBytes)
	if err := ro.WriteMany([]ioWrite{{two[:blockBytes], 0}, {two[blockBytes:], blockBytes}}); err == nil {
		t.Error("writes to a file that is open for reading only: no error")
	}
}
