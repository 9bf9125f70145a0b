package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Disk is a file system of a host's own, with a size of its own: ext4 on a loop
// device whose image is a file.
type Disk struct {
	Dir string // where it is mounted, on its host only

	h     *Host
	guard *exec.Cmd // thaws the file system should this process end before it does
	line  io.WriteCloser

	mu     sync.Mutex // guards below; Freeze and Thaw hold it while they work
	frozen bool
}

// ballast is the file that fills a disk.
const ballast = "ballast"

// ioctls of file systems; the unix package does not have them.
const (
	fiFreeze = 0xC0045877
	fiThaw   = 0xC0045878
)

// Mount makes a disk of a size in bytes and mounts it on dir. The image, a sparse
// file, is removed at once: it lives as long as the disk.
func (h *Host) Mount(dir, image string, size int64) (*Disk, error) {
	d := &Disk{Dir: dir, h: h}
	var err error
	h.Run(func() { err = d.mount(image, size) })
	if err != nil {
		return nil, fmt.Errorf("disk of %s: %w", h.Name, err)
	}
	h.disks = append(h.disks, d)
	return d, nil
}

func (d *Disk) mount(image string, size int64) error {
	if err := os.MkdirAll(d.Dir, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(image, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	defer os.Remove(image)
	if err := f.Truncate(size); err != nil {
		return err
	}
	if out, err := exec.Command(sbin("mkfs.ext4"), "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", image).CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.ext4 (package e2fsprogs): %w: %s", err, out)
	}
	loop, err := attach(f)
	if err != nil {
		return err
	}
	defer loop.Close() // the mount keeps it; without, the kernel detaches it now
	if err := unix.Mount(loop.Name(), d.Dir, "ext4", unix.MS_NOATIME, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", loop.Name(), d.Dir, err)
	}
	// A frozen file system whose mounts are all gone would stay for ever, and
	// so would processes that wait for it. The guard sees the pipe's end.
	d.guard = exec.Command("sh", "-c", `read -r line; "$2" --unfreeze "$1" 2>/dev/null; exit 0`, "sh", d.Dir, sbin("fsfreeze"))
	d.guard.Dir = "/"
	d.guard.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // an interrupt of the terminal is not for it
	if d.line, err = d.guard.StdinPipe(); err == nil {
		err = d.guard.Start()
	}
	if err != nil {
		return errors.Join(err, unix.Unmount(d.Dir, unix.MNT_DETACH))
	}
	return nil
}

// sbin finds a program for administrators, which are not always on the PATH.
func sbin(name string) string {
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if p := filepath.Join(dir, name); exec.Command(p, "-V").Run() == nil {
			return p
		}
	}
	return name
}

// attach makes a file a block device, which the kernel takes down by itself when
// nobody uses it any more.
func attach(f *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for range 100 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("find a free loop device: %w", err)
		}
		dev, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		conf := unix.LoopConfig{Fd: uint32(f.Fd())}
		conf.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &conf)
		if err == nil {
			return dev, nil
		}
		dev.Close()
		if !errors.Is(err, unix.EBUSY) { // somebody else was faster
			return nil, fmt.Errorf("set up %s: %w", dev.Name(), err)
		}
	}
	return nil, errors.New("no free loop device")
}

// Path returns a name by which a file on the disk can be opened from anywhere, as
// long as the disk is mounted.
func (d *Disk) Path(name string) string {
	return filepath.Join("/proc", strconv.Itoa(d.guard.Process.Pid), "root", name)
}

// Free returns how many bytes are free.
func (d *Disk) Free() (free int64, err error) {
	d.h.Run(func() {
		var st unix.Statfs_t
		err = unix.Statfs(d.Dir, &st)
		free = int64(st.Bavail) * st.Bsize
	})
	return free, err
}

// Fill leaves so many bytes free, at most, until Empty.
func (d *Disk) Fill(leave int64) (err error) {
	free, err := d.Free()
	if err != nil || free <= leave {
		return err
	}
	d.h.Run(func() {
		var f *os.File
		if f, err = os.OpenFile(filepath.Join(d.Dir, ballast), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			return
		}
		defer f.Close()
		var have int64
		if have, err = f.Seek(0, io.SeekEnd); err != nil {
			return
		}
		// Others write, too: the last bytes may be gone meanwhile.
		for add := free - leave; add > 0; add /= 2 {
			if err = unix.Fallocate(int(f.Fd()), 0, have, add); !errors.Is(err, unix.ENOSPC) {
				return
			}
		}
		err = nil
	})
	if err != nil {
		return fmt.Errorf("fill the disk of %s: %w", d.h.Name, err)
	}
	return nil
}

// Empty takes away what Fill put there.
func (d *Disk) Empty() (err error) {
	d.h.Run(func() { err = os.Remove(filepath.Join(d.Dir, ballast)) })
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Wipe removes everything else.
func (d *Disk) Wipe() (err error) {
	d.h.Run(func() {
		var list []os.DirEntry
		list, err = os.ReadDir(d.Dir)
		for _, e := range list {
			if e.Name() != ballast && e.Name() != "lost+found" {
				err = errors.Join(err, os.RemoveAll(filepath.Join(d.Dir, e.Name())))
			}
		}
	})
	return err
}

// Freeze makes everything that is written to the disk wait until Thaw, as a disk does
// that hangs. Reading goes on.
func (d *Disk) Freeze() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.frozen {
		return nil
	}
	if err := d.control(fiFreeze); err != nil {
		return fmt.Errorf("freeze the disk of %s: %w", d.h.Name, err)
	}
	d.frozen = true
	return nil
}

// Thaw ends Freeze.
func (d *Disk) Thaw() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.frozen {
		return nil
	}
	if err := d.control(fiThaw); err != nil {
		return fmt.Errorf("thaw the disk of %s: %w", d.h.Name, err)
	}
	d.frozen = false
	return nil
}

func (d *Disk) control(req uint) (err error) {
	d.h.Run(func() {
		var f *os.File
		if f, err = os.Open(d.Dir); err == nil {
			err = unix.IoctlSetInt(int(f.Fd()), req, 0)
			f.Close()
		}
	})
	return err
}

func (d *Disk) close() error {
	err := d.Thaw()
	err = errors.Join(err, d.line.Close(), d.guard.Wait())
	d.h.Run(func() { err = errors.Join(err, unix.Unmount(d.Dir, unix.MNT_DETACH)) })
	return err
}
