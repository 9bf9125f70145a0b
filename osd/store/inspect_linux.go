package store

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// allocated is how many bytes the file system has given a file; 0 if it is none.
func allocated(path string) int64 {
	fi, err := os.Stat(path)
	if err != nil || !fi.Mode().IsRegular() {
		return 0
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return 0
}

// Lock takes the store's lock without writing, so that a store on a file system that
// went read-only can be looked at.
func (l watchLayer) Lock(path string) (io.Closer, error) {
	if _, ok := l.fileLayer.(osLayer); !ok {
		return l.fileLayer.Lock(path)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l.fileLayer.Lock(path)
	}
	if err != nil {
		return nil, err
	}
	if err := flock(f, path); err != nil {
		return nil, err
	}
	return f, nil
}
