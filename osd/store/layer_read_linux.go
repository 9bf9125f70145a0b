package store

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// asyncReader is a file that can read while nobody waits.
type asyncReader interface {
	// StartRead begins to read len(p) bytes at off and returns at once; false when it cannot. When it is over,
	// done is called with what ReadAt would have returned, on a goroutine of the file; what done returns is
	// called there too, after the done of everything else that was over at the same time. p must not be
	// touched before done.
	StartRead(p []byte, off int64, done func(n int, err error) func()) bool
}

// startRead is StartRead where the file can do that.
func startRead(f file, p []byte, off int64, done func(n int, err error) func()) bool {
	a, ok := f.(asyncReader)
	return ok && a.StartRead(p, off, done)
}

const (
	readDepth   = 64 // reads that the kernel has of us at a time
	iocbPread   = 0
	iocbHasFD   = 1 // IOCB_FLAG_RESFD
	rwfNoWait   = 8 // RWF_NOWAIT: be refused rather than held up
	eventfdSize = 8
)

// readQueue is the kernel's queue of asynchronous reads of one file. A read through it
// occupies no thread, and one system call takes in all that are over.
type readQueue struct {
	mu     sync.Mutex // guards below
	ctx    uintptr
	event  *os.File // becomes readable when reads are over
	fd     int      // of event
	broken bool     // the kernel or the file system has none
	closed bool
	slots  [readDepth]readSlot
	free   []uint8
	ended  chan struct{} // closed when the goroutine has ended
}

type readSlot struct {
	cb   iocb
	p    []byte // the kernel writes there
	done func(n int, err error) func()
}

// open makes the queue; the caller holds mu.
func (q *readQueue) open() bool {
	if q.broken || q.closed {
		return false
	}
	if q.ctx != 0 {
		return true
	}
	q.broken = true
	var ctx uintptr
	if _, _, e := unix.Syscall(unix.SYS_IO_SETUP, readDepth, uintptr(unsafe.Pointer(&ctx)), 0); e != 0 {
		return false
	}
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, ctx, 0, 0)
		return false
	}
	q.ctx, q.event, q.fd, q.broken = ctx, os.NewFile(uintptr(fd), "eventfd"), fd, false
	q.free = make([]uint8, 0, readDepth)
	for i := range readDepth {
		q.free = append(q.free, uint8(i))
	}
	q.ended = make(chan struct{})
	go q.run() // ended by close
	return true
}

// close ends the queue; no read may be under way.
func (q *readQueue) close() {
	q.mu.Lock()
	open := q.ctx != 0 && !q.closed
	q.closed = true
	q.mu.Unlock()
	if open {
		q.event.Close()
		<-q.ended
		_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, q.ctx, 0, 0)
	}
}

// start hands a read to the kernel.
func (q *readQueue) start(fd uintptr, p []byte, off int64, done func(int, error) func()) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.open() || len(q.free) == 0 {
		return false
	}
	i := q.free[len(q.free)-1]
	s := &q.slots[i]
	s.p, s.done = p, done
	s.cb = iocb{
		data: uint64(i), opcode: iocbPread, rwFlags: rwfNoWait, fd: uint32(fd), flags: iocbHasFD, resFD: uint32(q.fd),
		buf: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(p)))), bytes: uint64(len(p)), off: off,
	}
	cb := &s.cb
	for {
		n, _, e := unix.Syscall(unix.SYS_IO_SUBMIT, q.ctx, 1, uintptr(unsafe.Pointer(&cb)))
		if e == unix.EINTR {
			continue
		}
		if e != 0 || n != 1 {
			s.p, s.done = nil, nil
			q.broken = e == unix.EINVAL || e == unix.EOPNOTSUPP // its flags are not known here
			return false
		}
		q.free = q.free[:len(q.free)-1]
		return true
	}
}

// run takes in the reads that are over.
func (q *readQueue) run() {
	defer close(q.ended)
	var count [eventfdSize]byte
	var events [readDepth]ioEvent
	var then []func()
	for {
		if _, err := q.event.Read(count[:]); err != nil {
			return // closed
		}
		n := uintptr(0)
		for {
			var e syscall.Errno
			n, _, e = unix.Syscall6(unix.SYS_IO_GETEVENTS, q.ctx, 0, readDepth, uintptr(unsafe.Pointer(&events[0])), uintptr(unsafe.Pointer(&unix.Timespec{})), 0)
			if e == 0 {
				break
			}
			if e != unix.EINTR { // cannot be; and what is under way uses our memory
				panic(os.NewSyscallError("io_getevents", e))
			}
		}
		for _, ev := range events[:n] {
			q.mu.Lock()
			s := &q.slots[ev.data]
			done := s.done
			s.p, s.done = nil, nil
			q.free = append(q.free, uint8(ev.data))
			q.mu.Unlock()
			got, err := int(ev.res), error(nil)
			if ev.res < 0 {
				got, err = 0, syscall.Errno(-ev.res)
			}
			if f := done(got, err); f != nil {
				then = append(then, f)
			}
		}
		for i, f := range then {
			f()
			then[i] = nil
		}
		then = then[:0]
	}
}

// StartRead implements asyncReader.
func (f *osFile) StartRead(p []byte, off int64, done func(int, error) func()) bool {
	return f.direct && f.reads.start(f.f.Fd(), p, off, done)
}

// StartRead implements asyncReader.
func (s *section) StartRead(p []byte, off int64, done func(int, error) func()) bool {
	return s.inside(p, off) == nil && startRead(s.f, p, s.base+off, done)
}

// StartRead implements asyncReader. One that was not carried out for want of a place in a queue is not counted.
func (f *meteredFile) StartRead(p []byte, off int64, done func(int, error) func()) bool {
	began := f.m.now()
	slot := f.m.enter(began)
	leave := func() {
		if slot >= 0 {
			f.m.inFlight[slot].Store(0)
		}
	}
	ok := startRead(f.file, p, off, func(n int, err error) func() {
		leave()
		if !errors.Is(err, unix.EAGAIN) {
			f.m.latency[DeviceRead][bucketOf((f.m.now()-began)/time.Duration(max(1, (len(p)+latencyUnit-1)/latencyUnit)))].Add(1)
		}
		return done(n, err)
	})
	if !ok {
		leave()
	}
	return ok
}

var _, _, _ asyncReader = (*osFile)(nil), (*section)(nil), (*meteredFile)(nil)
