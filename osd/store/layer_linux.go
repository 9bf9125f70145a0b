package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// osLayer is the real fileLayer.
type osLayer struct{}

func (osLayer) Lock(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(f, path); err != nil {
		return nil, err
	}
	// The number is only for the message above; the flock is what counts.
	if err := f.Truncate(0); err == nil {
		fmt.Fprintln(f, os.Getpid())
	}
	return f, nil
}

// flock takes the lock of an open file, or closes it and says who has the lock.
func flock(f *os.File, path string) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return nil
	}
	defer f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		pid := make([]byte, 32)
		n, _ := f.Read(pid)
		return fmt.Errorf("%s: %w by process %s: stop it first", path, ErrInUse, strings.TrimSpace(string(pid[:n])))
	}
	return fmt.Errorf("lock %s: %w", path, err)
}

func (osLayer) MkdirAll(path string) error { return os.MkdirAll(path, 0o700) }

func (osLayer) List(dir string) ([]string, error) {
	es, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range es {
		names = append(names, e.Name())
	}
	return names, nil
}

func (osLayer) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func (osLayer) CreateFile(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &osFile{f: f}, nil
}

func (osLayer) OpenFile(path string, direct bool) (file, error) {
	if direct {
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_DIRECT, 0)
		if err == nil {
			if directAlign(f) <= blockBytes {
				return &osFile{f: f, direct: true}, nil
			}
			f.Close()
		} else if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) {
			return nil, err
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &osFile{f: f}, nil
}

// directAlign asks the kernel which alignment O_DIRECT wants of f. Kernels
// before 6.1 cannot tell; 4 KiB satisfies all devices they serve.
func directAlign(f *os.File) uint32 {
	var st unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st); err != nil {
		return blockBytes
	}
	if st.Mask&unix.STATX_DIOALIGN == 0 {
		return blockBytes
	}
	if st.Dio_offset_align == 0 {
		return 1 << 31 // the file system does not do direct I/O on this file
	}
	return max(st.Dio_mem_align, st.Dio_offset_align)
}

func (osLayer) Space(dir string) (total, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize, nil
}

func (osLayer) Pebble() vfs.FS { return vfs.Default }

type osFile struct {
	f      *os.File
	direct bool
	noRWF  atomic.Bool // the file system refused RWF_DSYNC
	size   int64       // of a device, which does not grow while it is open; 0: ask
	whole  bool        // a file used as a device, which keeps its room
	block  bool        // a block device
	aio    [4]aio
	reads  readQueue
}

func (f *osFile) ReadAt(p []byte, off int64) (int, error)  { return f.f.ReadAt(p, off) }
func (f *osFile) WriteAt(p []byte, off int64) (int, error) { return f.f.WriteAt(p, off) }
func (f *osFile) Direct() bool                             { return f.direct }

func (f *osFile) Close() error {
	for i := range f.aio {
		f.aio[i].close()
	}
	f.reads.close()
	return f.f.Close()
}

// WriteSync is one system call where RWF_DSYNC works: the write goes to the
// medium before it returns, without the metadata nothing here changes.
func (f *osFile) WriteSync(p []byte, off int64) error {
	for len(p) > 0 && !f.noRWF.Load() {
		n, err := unix.Pwritev2(int(f.f.Fd()), [][]byte{p}, off, unix.RWF_DSYNC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
			f.noRWF.Store(true)
		case err != nil:
			return &os.PathError{Op: "write", Path: f.f.Name(), Err: err}
		case n == 0:
			return &os.PathError{Op: "write", Path: f.f.Name(), Err: io.ErrShortWrite}
		default:
			p, off = p[n:], off+int64(n)
		}
	}
	if len(p) == 0 {
		return nil
	}
	if _, err := f.f.WriteAt(p, off); err != nil {
		return err
	}
	return f.Sync()
}

func (f *osFile) Sync() error {
	for {
		err := unix.Fdatasync(int(f.f.Fd()))
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return &os.PathError{Op: "fdatasync", Path: f.f.Name(), Err: err}
		}
	}
}

func (f *osFile) Size() (int64, error) {
	if f.size > 0 {
		return f.size, nil
	}
	st, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (f *osFile) Allocate(size int64) error {
	old, err := f.Size()
	if err != nil || size <= old {
		return err
	}
	for {
		err = unix.Fallocate(int(f.f.Fd()), 0, old, size-old)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return f.f.Truncate(size) // no reservation here; a write may then find the device full
	}
	if err != nil {
		return &os.PathError{Op: "fallocate", Path: f.f.Name(), Err: err}
	}
	return nil
}
