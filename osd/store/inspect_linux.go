package store

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

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
