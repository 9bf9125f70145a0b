package store

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reserve implements file.
func (f *osFile) Reserve(off, n int64) error {
	if f.block {
		return nil
	}
	err := f.fallocate(0, off, n)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil // as in Allocate: a write may then find the device full
	}
	return err
}

// Discard implements file.
func (f *osFile) Discard(off, n int64) error {
	switch {
	case n <= 0:
		return nil
	case f.whole:
		return fmt.Errorf("discard in %s, which keeps its room: %w", f.f.Name(), errors.ErrUnsupported)
	case !f.block:
		return f.fallocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	}
	part := [2]uint64{uint64(off), uint64(n)}
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.f.Fd(), unix.BLKDISCARD, uintptr(unsafe.Pointer(&part)))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
			continue
		}
		return &os.PathError{Op: "discard", Path: f.f.Name(), Err: errno}
	}
}

func (f *osFile) fallocate(mode uint32, off, n int64) error {
	for {
		err := unix.Fallocate(int(f.f.Fd()), mode, off, n)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EINTR):
			return &os.PathError{Op: "fallocate", Path: f.f.Name(), Err: err}
		}
	}
}
