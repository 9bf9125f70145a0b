package store

import (
	"os"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioWrite is one of many writes that are under way at once.
type ioWrite struct {
	p   []byte
	off int64
}

// manyWriter is a file that carries out many writes with few system calls. They
// happen in any order; when one fails, the others may or may not have happened.
type manyWriter interface{ WriteMany(ws []ioWrite) error }

// writeMany writes all, at once where the file can do that.
func writeMany(f file, ws []ioWrite) error {
	if m, ok := f.(manyWriter); ok && len(ws) > 1 {
		return m.WriteMany(ws)
	}
	return writeEach(f, ws)
}

func writeEach(f file, ws []ioWrite) error {
	for _, w := range ws {
		if _, err := f.WriteAt(w.p, w.off); err != nil {
			return err
		}
	}
	return nil
}

// aioDepth is how many writes the kernel has of us at a time. It is no more,
// so that writes of the journal, which somebody waits for, do not queue behind many.
const aioDepth = 64

// aio is the kernel's queue of asynchronous writes of one file. A 4 KiB write
// through it costs a third of the CPU of a pwrite: one system call and one
// interrupt serve many. Only direct I/O is asynchronous in it.
type aio struct {
	mu     sync.Mutex // one user at a time; guards below
	ctx    uintptr
	broken bool // the kernel has none, or does not let us
	cbs    [aioDepth]iocb
	ptrs   [aioDepth]*iocb
	events [aioDepth]ioEvent
}

// iocb and ioEvent are the kernel's (linux/aio_abi.h), on little-endian machines.
type iocb struct {
	data     uint64
	key      uint32
	rwFlags  uint32
	opcode   uint16
	priority int16
	fd       uint32
	buf      uint64
	bytes    uint64
	off      int64
	_        uint64
	flags    uint32
	resFD    uint32
}

type ioEvent struct {
	data uint64
	obj  uint64
	res  int64
	res2 int64
}

const iocbPwrite = 1

// open asks the kernel for a queue; false when there is none.
func (a *aio) open() bool {
	if a.ctx == 0 && !a.broken {
		_, _, e := unix.Syscall(unix.SYS_IO_SETUP, aioDepth, uintptr(unsafe.Pointer(&a.ctx)), 0)
		a.broken = e != 0
	}
	return !a.broken
}

func (a *aio) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx != 0 {
		_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, a.ctx, 0, 0)
		a.ctx = 0
	}
	a.broken = true
}

// write carries out up to aioDepth writes and returns those that are not done:
// refused by the kernel, or written in part. They are to be written plainly, which also
// tells the error. It returns only when nothing is under way any more.
func (a *aio) write(fd uintptr, ws []ioWrite) (rest []ioWrite) {
	for i, w := range ws {
		a.cbs[i] = iocb{
			data: uint64(i), opcode: iocbPwrite, fd: uint32(fd),
			buf: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(w.p)))), bytes: uint64(len(w.p)), off: w.off,
		}
		a.ptrs[i] = &a.cbs[i]
	}
	defer runtime.KeepAlive(ws)
	for sent, done := 0, 0; done < len(ws); {
		for sent < len(ws) {
			n, _, e := unix.Syscall(unix.SYS_IO_SUBMIT, a.ctx, uintptr(len(ws)-sent), uintptr(unsafe.Pointer(&a.ptrs[sent])))
			if e == unix.EINTR {
				continue
			}
			if e != 0 || n == 0 {
				break
			}
			sent += int(n)
		}
		if sent == done { // the kernel takes no more
			return append(rest, ws[sent:]...)
		}
		n, _, e := unix.Syscall6(unix.SYS_IO_GETEVENTS, a.ctx, uintptr(sent-done), aioDepth, uintptr(unsafe.Pointer(&a.events[0])), 0, 0)
		if e == unix.EINTR {
			continue
		}
		if e != 0 { // cannot be; and what is under way uses our memory
			panic(os.NewSyscallError("io_getevents", e))
		}
		for _, ev := range a.events[:n] {
			if w := ws[ev.data]; ev.res != int64(len(w.p)) {
				rest = append(rest, w)
			}
		}
		done += int(n)
	}
	return rest
}

// queue locks one that nobody uses: there is one for each who writes much, the committer, the keeper and those of bulk.
func (f *osFile) queue() *aio {
	for i := range f.aio {
		if f.aio[i].mu.TryLock() {
			return &f.aio[i]
		}
	}
	f.aio[0].mu.Lock()
	return &f.aio[0]
}

// WriteMany implements manyWriter.
func (f *osFile) WriteMany(ws []ioWrite) error {
	if !f.direct {
		return writeEach(f, ws)
	}
	a := f.queue()
	defer a.mu.Unlock()
	for len(ws) > 0 {
		if !a.open() {
			return writeEach(f, ws)
		}
		n := min(len(ws), aioDepth)
		if err := writeEach(f, a.write(f.f.Fd(), ws[:n])); err != nil {
			return err
		}
		ws = ws[n:]
	}
	return nil
}

// WriteMany implements manyWriter. What is under way together counts as one
// operation of the device.
func (f *meteredFile) WriteMany(ws []ioWrite) error {
	for len(ws) > 0 {
		part := ws[:min(len(ws), aioDepth)]
		bytes := 0
		for _, w := range part {
			bytes += len(w.p)
		}
		err := f.m.timed(DeviceWrite, bytes, func() error { return writeMany(f.file, part) })
		if f.wrote(err) != nil {
			return err
		}
		ws = ws[len(part):]
	}
	return nil
}

var _, _ manyWriter = (*osFile)(nil), (*meteredFile)(nil)
