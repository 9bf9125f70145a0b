package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ReadLink implements fileLayer.
func (osLayer) ReadLink(path string) (string, error) { return os.Readlink(path) }

// WriteLink implements fileLayer.
func (osLayer) WriteLink(target, path string) error {
	if err := os.Remove(path + linkTemp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, path+linkTemp); err != nil {
		return err
	}
	return os.Rename(path+linkTemp, path)
}

// OpenDevice implements fileLayer.
func (osLayer) OpenDevice(path string, direct bool) (file, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	switch {
	case fi.Mode().IsRegular():
		return openFileDevice(path, direct)
	case fi.Mode()&fs.ModeDevice != 0 && fi.Mode()&fs.ModeCharDevice == 0:
		return openBlockDevice(path, direct)
	}
	return nil, fmt.Errorf("neither a block device nor a file (%s)", fi.Mode().Type())
}

// openDirect opens a path with flags, past the page cache if that is wanted and
// suits our blocks.
func openDirect(path string, flags int, direct bool) (*os.File, bool, error) {
	if direct {
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_DIRECT|flags, 0)
		switch {
		case err == nil && directAlign(f) <= blockBytes:
			return f, true, nil
		case err == nil:
			if err := f.Close(); err != nil {
				return nil, false, err
			}
		case !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP):
			return nil, false, err
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|flags, 0)
	return f, false, err
}

// openBlockDevice opens a block device with O_EXCL: the kernel refuses it while it
// is mounted, or belongs to a RAID, a volume group, swap or another OSD, and
// refuses those while we have it.
func openBlockDevice(path string, direct bool) (file, error) {
	f, direct, err := openDirect(path, unix.O_EXCL, direct)
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil, fmt.Errorf("%w: it is mounted, or belongs to a RAID, a volume group, swap space or another OSD, in whole or in part; `lsblk %s` shows which", err, path)
	case err != nil:
		return nil, err
	}
	o := &osFile{f: f, direct: direct, block: true}
	if o.size, err = checkBlockDevice(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return o, nil
}

// checkBlockDevice returns a device's size, if we can work with it.
func checkBlockDevice(f *os.File) (int64, error) {
	fd := int(f.Fd())
	sector, err := unix.IoctlGetInt(fd, unix.BLKSSZGET)
	if err != nil {
		return 0, fmt.Errorf("size of its sectors: %w", err)
	}
	if sector > blockBytes {
		return 0, fmt.Errorf("its sectors have %d bytes, this version works with at most %d", sector, blockBytes)
	}
	if ro, err := unix.IoctlGetInt(fd, unix.BLKROGET); err == nil && ro != 0 {
		return 0, fmt.Errorf("%w: the device is set read-only", unix.EROFS)
	}
	var size uint64
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKGETSIZE64, uintptr(unsafe.Pointer(&size))); errno != 0 {
		return 0, fmt.Errorf("size: %w", errno)
	}
	if size < blockBytes {
		return 0, fmt.Errorf("it has %d bytes: no medium?", size)
	}
	return int64(size &^ uint64(blockMask)), nil
}

// lookAtDevice opens a device for reading only, next to whoever uses it.
func lookAtDevice(path string) (file, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, io.SeekEnd) // of a block device, too
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &osFile{f: f, size: size &^ blockMask}, nil
}

// openFileDevice opens a file that is used as a device. All of its room is taken
// from the file system, so that writing to it cannot find that full.
func openFileDevice(path string, direct bool) (file, error) {
	if loop := loopOf(path); loop != "" {
		return nil, fmt.Errorf("%w: it is attached to the loop device %s", unix.EBUSY, loop)
	}
	f, direct, err := openDirect(path, 0, direct)
	if err != nil {
		return nil, err
	}
	o := &osFile{f: f, direct: direct, whole: true}
	if err := o.claim(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return o, nil
}

func (f *osFile) claim() error {
	if err := unix.Flock(int(f.f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("%w: another process uses the file; `fuser -v %s` shows which", unix.EBUSY, f.f.Name())
		}
		return fmt.Errorf("lock: %w", err)
	}
	size, err := f.Size()
	if err != nil {
		return err
	}
	size &^= blockMask
	for size > 0 {
		err = unix.Fallocate(int(f.f.Fd()), 0, 0, size)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	switch {
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("its file system has no room for all of its %d bytes (parts of it are holes): free room there, or cut the file back to what it was: %w", size, ErrNoSpace)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS): // then a write may find it full
	case err != nil:
		return fmt.Errorf("take room for %d bytes: %w", size, err)
	}
	f.size = size
	return nil
}

// loopOf returns the loop device that a file is attached to; "" if none is
// known. Loop devices take no lock on their files.
func loopOf(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return ""
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	backing, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return ""
	}
	for _, b := range backing {
		if name, err := os.ReadFile(b); err == nil && strings.TrimSuffix(string(name), "\n") == abs {
			return "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(b)))
		}
	}
	return ""
}
