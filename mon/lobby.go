package mon

import (
	"net"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/placement"
)

// lobby answers the messenger of a monitor that has no cluster yet: come back
// later. Without it callers would hang in the handshake, and a new cluster's
// monitors could not tell a cluster that is being formed from one that is slow.
type lobby struct{ m *Monitor }

// Handle implements wire.Handler.
func (l lobby) Handle(c *wire.Conn, req *wire.Message) {
	l.m.decline(c, req, "monitor %s does not belong to a cluster yet; it waits for most of the first monitors, or for the one it joins through", l.m.o.Name)
}

// Closed implements wire.Handler.
func (lobby) Closed(*wire.Conn, error) {}

// openLobby begins to answer, if the listener can be taken back later.
func (m *Monitor) openLobby() {
	ln, ok := m.ln.(*net.TCPListener)
	if !ok || m.cluster.Load() != nil {
		return
	}
	s := wire.Serve(&lentListener{TCPListener: ln}, wire.Options{Self: m.identity(), Log: m.log, Handler: lobby{m}, ConnsMax: 256})
	m.mu.Lock()
	m.lobby = s
	m.mu.Unlock()
}

// closeLobby ends its connections and takes the listener back.
func (m *Monitor) closeLobby() {
	m.mu.Lock()
	s := m.lobby
	m.lobby = nil
	m.mu.Unlock()
	if s == nil {
		return
	}
	if err := s.Close(); err != nil {
		m.log.Debug("close the lobby", "err", err) // nothing depends on it
	}
	if ln, ok := m.ln.(*net.TCPListener); ok {
		_ = ln.SetDeadline(time.Time{}) // fails only on a closed listener, which Serve will find
	}
}

// lentListener is a TCP listener that stays open when its user closes it.
type lentListener struct {
	*net.TCPListener
	ended atomic.Bool
}

// Accept implements net.Listener.
func (l *lentListener) Accept() (net.Conn, error) {
	c, err := l.TCPListener.Accept()
	if err != nil && l.ended.Load() {
		return nil, net.ErrClosed
	}
	return c, err
}

// Close implements net.Listener. It wakes Accept, which finds that it has ended.
func (l *lentListener) Close() error {
	l.ended.Store(true)
	return l.SetDeadline(time.Unix(1, 0))
}

// initialAddrs returns the messenger addresses of the other initial monitors.
func initialAddrs(mons []placement.Mon, self string) []string {
	var out []string
	for _, m := range mons {
		if m.Name != self {
			out = append(out, m.Addr)
		}
	}
	return out
}
