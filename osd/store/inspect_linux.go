package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
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
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			pid := make([]byte, 32)
			n, _ := f.Read(pid)
			return nil, fmt.Errorf("%s: %w by process %s: stop it first", path, ErrInUse, strings.TrimSpace(string(pid[:n])))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}
