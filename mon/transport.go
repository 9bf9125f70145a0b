package mon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cairnstore/cairn/placement"
)

// A Raft connection begins with this and the dialler's cluster, so that
// monitors of two clusters, mixed up by a wrong or re-used address, never take
// each other's log entries. A monitor that has no cluster yet sends zeros.
const raftPreamble = "CRNRAFT\x01"

const (
	raftConnsMax    = 256
	raftIOTimeout   = 5 * time.Second
	raftPoolMax     = 3
	preambleTimeout = 10 * time.Second
)

// raftStream is the TCP layer below Raft's transport.
type raftStream struct {
	ln      net.Listener
	addr    raftAddr
	cluster func() placement.UUID
	log     *slog.Logger

	mu     sync.Mutex // guards below
	conns  map[*raftConn]struct{}
	closed bool
}

// raftAddr is the advertised address, kept as the text it was given as.
type raftAddr string

// Network implements net.Addr.
func (raftAddr) Network() string { return "tcp" }

// String implements net.Addr.
func (a raftAddr) String() string { return string(a) }

func newRaftStream(ln net.Listener, addr string, cluster func() placement.UUID, log *slog.Logger) *raftStream {
	return &raftStream{ln: ln, addr: raftAddr(addr), cluster: cluster, log: log, conns: make(map[*raftConn]struct{})}
}

// Accept implements net.Listener.
func (s *raftStream) Accept() (net.Conn, error) {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return nil, err
		}
		rc := &raftConn{Conn: c, s: s}
		s.mu.Lock()
		full := len(s.conns) >= raftConnsMax
		closed := s.closed
		if !full && !closed {
			s.conns[rc] = struct{}{}
		}
		s.mu.Unlock()
		if !full && !closed {
			return rc, nil
		}
		_ = c.Close() // nothing was exchanged yet
		if closed {
			return nil, net.ErrClosed
		}
		s.log.Warn("too many raft connections, one is refused", "from", c.RemoteAddr(), "limit", raftConnsMax)
	}
}

// Close implements net.Listener. It also ends the accepted connections: Raft's
// transport would leave them, and their goroutines, to the peers.
func (s *raftStream) Close() error {
	s.mu.Lock()
	already := s.closed
	s.closed = true
	conns := s.conns
	s.conns = make(map[*raftConn]struct{})
	s.mu.Unlock()
	for c := range conns {
		_ = c.Conn.Close() // the transport is going away, nobody needs the error
	}
	if already {
		return nil
	}
	return s.ln.Close()
}

// Addr implements net.Listener.
func (s *raftStream) Addr() net.Addr { return s.addr }

// Dial implements raft.StreamLayer.
func (s *raftStream) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", string(addr), timeout)
	if err != nil {
		return nil, err
	}
	u := s.cluster()
	_ = c.SetWriteDeadline(time.Now().Add(timeout)) // a failure shows in the write
	if _, err := c.Write(append([]byte(raftPreamble), u[:]...)); err != nil {
		return nil, errors.Join(fmt.Errorf("greet monitor at %s: %w", addr, err), c.Close())
	}
	_ = c.SetWriteDeadline(time.Time{})
	return c, nil
}

// raftConn is an accepted connection. Its first Read checks the preamble; Accept
// itself must not wait for a peer.
type raftConn struct {
	net.Conn
	s       *raftStream
	greeted bool
}

// Read implements net.Conn. Raft's transport has one reader for a connection.
func (c *raftConn) Read(b []byte) (int, error) {
	if !c.greeted {
		if err := c.greet(); err != nil {
			c.s.log.Warn("raft connection refused", "from", c.RemoteAddr(), "err", err)
			return 0, err
		}
		c.greeted = true
	}
	return c.Conn.Read(b)
}

func (c *raftConn) greet() error {
	var b [len(raftPreamble) + 16]byte
	_ = c.SetReadDeadline(time.Now().Add(preambleTimeout)) // a failure shows in the read
	if _, err := io.ReadFull(c.Conn, b[:]); err != nil {
		return fmt.Errorf("no greeting: %w", err)
	}
	_ = c.SetReadDeadline(time.Time{})
	if !bytes.Equal(b[:len(raftPreamble)], []byte(raftPreamble)) {
		return errors.New("the peer does not speak this version of the monitors' protocol")
	}
	var theirs placement.UUID
	copy(theirs[:], b[len(raftPreamble):])
	if ours := c.s.cluster(); !ours.IsZero() && !theirs.IsZero() && ours != theirs {
		return fmt.Errorf("the peer is a monitor of cluster %v, this is %v: one of them has a wrong address", theirs, ours)
	}
	return nil
}

// Close implements net.Conn.
func (c *raftConn) Close() error {
	c.s.mu.Lock()
	delete(c.s.conns, c)
	c.s.mu.Unlock()
	return c.Conn.Close()
}
