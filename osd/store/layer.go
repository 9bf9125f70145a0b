package store

import (
	"io"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fileLayer is what Disk needs of an operating system. The real one is osLayer;
// tests put one under the store that loses power, tears sectors and runs full.
type fileLayer interface {
	// Lock takes the lock file or says who holds it.
	Lock(path string) (io.Closer, error)
	// MkdirAll and List treat directories; List answers names, sorted.
	MkdirAll(path string) error
	List(dir string) ([]string, error)
	// SyncDir makes the creation of files in dir durable.
	SyncDir(dir string) error
	// CreateFile makes a new file; it must not exist.
	CreateFile(path string) (file, error)
	// OpenFile opens an existing file for reading and writing, past the page cache when direct
	// is wanted and the file system can.
	OpenFile(path string, direct bool) (file, error)
	// OpenDevice opens a block device, or a file used as one, for this process alone, past the page
	// cache when direct is wanted and possible.
	OpenDevice(path string, direct bool) (file, error)
	// ReadLink and WriteLink treat symbolic links; WriteLink replaces one at once.
	ReadLink(path string) (string, error)
	WriteLink(target, path string) error
	// Space is the size of the file system that holds dir and what is free there.
	Space(dir string) (total, free int64, err error)
	// Pebble is the file system of the index.
	Pebble() vfs.FS
}

// file is one open file. Offsets, lengths and memory of reads and writes are
// multiples of blockBytes.
type file interface {
	ReadAt(p []byte, off int64) (int, error)
	// WriteAt is durable only after Sync.
	WriteAt(p []byte, off int64) (int, error)
	// WriteSync is durable on return. After an error the content is unknown.
	WriteSync(p []byte, off int64) error
	Sync() error
	Size() (int64, error)
	// Allocate extends the file to size and keeps the room for it where the file system can.
	Allocate(size int64) error
	// Reserve takes room for a part of the file again that was discarded.
	Reserve(off, n int64) error
	// Discard says that what is there is not needed any more. Until it is written again it reads as anything; a
	// file system may give its room to others. What cannot do it answers errors.ErrUnsupported.
	Discard(off, n int64) error
	// Direct reports whether the page cache is bypassed.
	Direct() bool
	Close() error
}

// alignedBytes allocates memory that O_DIRECT accepts. n must be a multiple of
// blockBytes.
func alignedBytes(n int) []byte {
	if n == 0 {
		return nil
	}
	// The Go allocator places whole multiples of 4 KiB on 4 KiB boundaries; check, as
	// nothing promises it.
	b := make([]byte, n)
	if isAligned(b) {
		return b
	}
	b = make([]byte, n+blockBytes)
	skip := blockBytes - int(uintptr(unsafe.Pointer(&b[0]))&blockMask)
	return b[skip : skip+n : skip+n]
}

func isAligned(b []byte) bool { return uintptr(unsafe.Pointer(unsafe.SliceData(b)))&blockMask == 0 }

func roundUp(n int) int { return (n + blockMask) &^ blockMask }
