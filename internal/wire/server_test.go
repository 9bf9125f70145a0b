package wire

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// flakyListener fails some times before it accepts.
type flakyListener struct {
	net.Listener
	left atomic.Int64
}

func (l *flakyListener) Accept() (net.Conn, error) {
	if l.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// A server that is out of file descriptors for a moment does not give up.
func TestAcceptErrors(t *testing.T) {
	var log syncBuffer
	ln := &flakyListener{Listener: listen(t)}
	ln.left.Store(2)
	s := Serve(ln, withEntity(Options{Log: slog.New(slog.NewTextHandler(&log, nil))}, "osd.1"))
	dialTo(t, s, Options{}).Close()
	s.Close()
	if got := strings.Count(log.String(), "too many open files"); got != 2 {
		t.Errorf("%d errors logged, want 2:\n%s", got, log.String())
	}
}

// Close ends handshakes that are under way, and may be called again.
func TestServerCloseDuringHandshake(t *testing.T) {
	s := Serve(listen(t), withEntity(Options{}, "osd.1"))
	nc, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := nc.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
}

// A port check (connect and go) is not worth a warning.
func TestPortCheck(t *testing.T) {
	var log syncBuffer
	s := serve(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	nc, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Read(make([]byte, 1)); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read %v, want the end", err)
	}
	nc.Close()
	s.Close()
	if got := log.String(); got != "" {
		t.Errorf("logged %q", got)
	}
}
