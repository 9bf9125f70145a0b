package wire

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// setCongestion asks for cubic, which costs 3-22 % less CPU than bbr where
// bbr is the system's default. A kernel without it keeps its own choice.
func setCongestion(fd uintptr) {
	_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "cubic")
}

// tryWriter writes to a socket without ever waiting for room in it. It is
// used by one goroutine at a time.
type tryWriter struct {
	rc   syscall.RawConn
	fn   func(fd uintptr) bool // made once: a closure per write would be an allocation
	bufs [2][]byte
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
		if len(w.bufs[1]) == 0 {
			w.n, w.err = unix.Write(int(fd), w.bufs[0])
		} else {
			w.n, w.err = unix.Writev(int(fd), w.bufs[:])
		}
		if w.err != unix.EINTR {
			return true // never wait, whatever came out
		}
	}
}

// write takes as much of a and b as the socket has room for now.
func (w *tryWriter) write(a, b []byte) (int, error) {
	w.bufs[0], w.bufs[1] = a, b
	err := w.rc.Write(w.fn)
	w.bufs[0], w.bufs[1] = nil, nil
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
