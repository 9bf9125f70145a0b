package s3

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"golang.org/x/net/netutil"
)

// HTTP2 says where the gateway speaks HTTP/2. HTTP/1.1 is spoken everywhere.
type HTTP2 string

// The ways.
const (
	HTTP2TLS HTTP2 = "tls" // over TLS, with clients who offer it (ALPN h2)
	HTTP2Off HTTP2 = "off"
	HTTP2All HTTP2 = "all" // over plain TCP, too, with clients who know that it is (h2c by prior knowledge; there is no upgrade)
)

// protocols are those of a listener.
func (h HTTP2) protocols(tls bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(tls && h != HTTP2Off)
	p.SetUnencryptedHTTP2(!tls && h == HTTP2All)
	return p
}

// Bounds of a connection with HTTP/2, whose requests share it.
const (
	streamsPerConn = 128
	streamWindow   = 1 << 20 // bytes of a body that may come before they are read
	connWindow     = 8 << 20
)

// Serve answers requests on ln, without TLS, until Close; it then returns nil.
func (s *Server) Serve(ln net.Listener) error { return s.serve(ln, false) }

// ServeTLS is Serve with Options.TLS.
func (s *Server) ServeTLS(ln net.Listener) error {
	if s.o.TLS == nil {
		return errors.Join(errors.New("s3 gateway: ServeTLS without Options.TLS"), ln.Close())
	}
	return s.serve(ln, true)
}

func (s *Server) serve(ln net.Listener, tls bool) error {
	hs := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.o.HeaderTimeout, // of a TLS handshake, too
		IdleTimeout:       s.o.IdleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		Protocols:         s.o.HTTP2.protocols(tls),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: streamsPerConn, MaxReceiveBufferPerStream: streamWindow, MaxReceiveBufferPerConnection: connWindow,
		},
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	if tls {
		hs.TLSConfig = s.o.TLS.Clone() // the server adds the protocols
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errors.Join(errors.New("s3 gateway: closed"), ln.Close())
	}
	s.servers = append(s.servers, hs)
	s.mu.Unlock()
	ln = netutil.LimitListener(ln, s.o.MaxConns)
	var err error
	if tls {
		err = hs.ServeTLS(ln, "", "")
	} else {
		err = hs.Serve(ln)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("s3 gateway on %s: %w", ln.Addr(), err)
}
