package wire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// Server accepts connections at a listener. What they bring goes to
// Options.Handler.
type Server struct {
	ln     net.Listener
	local  net.Listener // for processes of this machine; nil: none
	o      *Options
	ctx    context.Context // ends handshakes when the server closes
	cancel context.CancelFunc
	wg     sync.WaitGroup // the accept loop, handshakes and connections
	slots  chan struct{}  // handshakes under way
	opened atomic.Uint64  // connections accepted

	mu     sync.Mutex // guards below
	conns  map[*Conn]struct{}
	count  int // connections, and handshakes that may become one
	closed bool
}

// Serve accepts connections at ln until Close, and local ones if Options say so. It owns ln.
func Serve(ln net.Listener, o Options) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		ln:     ln,
		o:      o.withDefaults(),
		ctx:    ctx,
		cancel: cancel,
		slots:  make(chan struct{}, handshakesMax),
		conns:  make(map[*Conn]struct{}),
	}
	s.wg.Add(1)
	go s.acceptLoop(ln) // Close ends it by closing ln
	if o.LocalAddr != "" {
		var err error
		if s.local, err = listenLocal(o.LocalAddr); err != nil {
			s.o.Log.Debug("no local connections", "addr", o.LocalAddr, "err", err)
			return s
		}
		s.wg.Add(1)
		go s.acceptLoop(s.local) // Close ends it by closing local
	}
	return s
}

// Addr returns the listener's address.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Conns returns the established connections, in no order.
func (s *Server) Conns() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*Conn, 0, len(s.conns))
	for c := range s.conns {
		list = append(list, c)
	}
	return list
}

// Close stops listening, closes all connections and waits until every
// goroutine and Handler call has ended. It must not be called from a Handler.
func (s *Server) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	var err error
	if first {
		if err = s.ln.Close(); errors.Is(err, net.ErrClosed) {
			err = nil
		}
		if s.local != nil {
			s.local.Close()
		}
		s.cancel()
		closeAll(s.Conns())
	}
	s.wg.Wait()
	return err
}

// closeAll closes connections side by side: each may take the flush timeout.
func closeAll(conns []*Conn) {
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			c.Close()
			<-c.finished
		})
	}
	wg.Wait()
}

func (s *Server) acceptLoop(ln net.Listener) {
	defer s.wg.Done()
	pause := time.Duration(0)
	for {
		nc, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil {
				return
			}
			// Most likely out of file descriptors: that passes when connections end.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.o.Log.Warn("accept", "addr", ln.Addr().String(), "err", err, "retry", pause)
			select {
			case <-time.After(pause):
			case <-s.ctx.Done():
				return
			}
			continue
		}
		pause = 0
		select {
		case s.slots <- struct{}{}:
		case <-s.ctx.Done():
			nc.Close()
			return
		}
		s.wg.Add(1)
		go s.establish(nc, s.opened.Add(1)) // bounded by the handshake timeout and s.ctx
	}
}

// establish shakes hands and registers the connection.
func (s *Server) establish(nc net.Conn, number uint64) {
	established := false
	defer func() {
		if !established {
			nc.Close()
			s.wg.Done() // else when the connection has finished
		}
	}()
	refuse, counted := s.admit()
	tuneAccepted(nc, s.o)
	h := newHandshake(nc, s.o)
	a, err := h.run(s.ctx, func() (agreed, error) { return h.accept(refuse) })
	<-s.slots
	if err != nil {
		if counted {
			s.leave(nil)
		}
		level := slog.LevelWarn
		if errors.Is(err, errPeerClosed) || s.ctx.Err() != nil {
			level = slog.LevelDebug // a port check, or we are closing
		}
		s.o.Log.Log(context.Background(), level, "connection not accepted", "addr", remoteOf(nc), "err", err)
		return
	}
	established = true
	a.number = number
	s.mu.Lock()
	c := startConn(nc, h.fr, a, s.o, func(c *Conn) {
		s.leave(c)
		s.wg.Done()
	})
	s.conns[c] = struct{}{}
	closed := s.closed
	s.mu.Unlock()
	s.o.Log.Debug("connection accepted", "peer", a.peer.Entity, "addr", c.remote)
	if closed {
		c.Close()
	}
}

// admit counts a new connection, or says why there cannot be one more.
func (s *Server) admit() (refuse *Error, counted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count >= s.o.ConnsMax {
		return &Error{
			Code: wirepb.Code_TRY_LATER,
			Text: fmt.Sprintf("%s has its maximum of %d connections", printable(s.o.Self.Entity), s.o.ConnsMax),
		}, false
	}
	s.count++
	return nil, true
}

// leave is the reverse of admit.
func (s *Server) leave(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count--
	delete(s.conns, c)
}
