package wire

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tuneSocket sets what package net cannot. These are improvements, not needs,
// so what the kernel refuses is left as it is.
func tuneSocket(fd int, stall time.Duration) {
	// Cubic costs 3-22 % less CPU than bbr where bbr is the system's default.
	_ = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "cubic")
	if stall > 0 {
		// Keep-alive is silent while data waits for its acknowledgement, and
		// the kernel would wait for a dead machine's for a quarter of an hour.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(stall.Milliseconds()))
	}
}

// tryWriter writes to a socket without ever waiting for room in it. It is
// used by one goroutine at a time.
type tryWriter struct {
	rc   syscall.RawConn
	fn   func(fd uintptr) bool // made once: a closure per write would be an allocation
	bufs [][]byte
	n    int
	err  error
}

// newTryWriter returns nil when nc has no socket of its own (TLS, pipes).
func newTryWriter(nc net.Conn) *tryWriter {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	w := &tryWriter{rc: rc}
	w.fn = w.try
	return w
}

func (w *tryWriter) try(fd uintptr) bool {
	for {
		if len(w.bufs) == 1 {
			w.n, w.err = unix.Write(int(fd), w.bufs[0])
		} else {
			w.n, w.err = unix.Writev(int(fd), w.bufs)
		}
		if w.err != unix.EINTR {
			return true // never wait, whatever came out
		}
	}
}

// write takes as much of a and b as the socket has room for now.
func (w *tryWriter) write(a, b []byte) (int, error) {
	w.add(a)
	w.add(b)
	return w.run()
}

// writeFrames takes as much of the frames as the socket has room for now.
func (w *tryWriter) writeFrames(fs []frame) (int, error) {
	for i := range fs {
		w.add(fs[i].head)
		w.add(fs[i].payload)
	}
	return w.run()
}

func (w *tryWriter) add(b []byte) {
	if len(b) > 0 {
		w.bufs = append(w.bufs, b)
	}
}

func (w *tryWriter) run() (int, error) {
	w.n, w.err = 0, nil
	err := w.rc.Write(w.fn)
	clear(w.bufs)
	w.bufs = w.bufs[:0]
	if err != nil {
		return 0, err
	}
	if w.err == unix.EAGAIN {
		return 0, nil
	}
	if w.err != nil {
		return 0, &net.OpError{Op: "write", Net: "tcp", Err: w.err}
	}
	return w.n, nil
}
