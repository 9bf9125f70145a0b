// Package tlscert keeps the certificates that a server of TLS shows. They come from files, which are read again when
// they change, so that a certificate is renewed without a restart; files that make no sense are not taken over: the
// server goes on with what it has. With several certificates a client gets the one for the name it asks for, which may
// be by a wildcard, else the first.
package tlscert

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Files are a certificate, with those of its issuers behind it, and its key, in PEM form.
type Files struct{ Cert, Key string }

// Options configures Open. The zero value of every optional field means "use the default".
type Options struct {
	Files      []Files      // required
	MinVersion string       // 1.2 or 1.3; default 1.2
	Log        *slog.Logger // default slog.Default()
	// Check is how often a handshake looks whether files have changed; default 10 s.
	Check time.Duration
}

// MaxFiles is how many certificates there may be.
const MaxFiles = 64

const maxFileBytes = 1 << 20

// Store holds certificates. It is safe for concurrent use.
type Store struct {
	o       Options
	version uint16
	certs   atomic.Pointer[[]tls.Certificate]
	looked  atomic.Int64 // when, in Unix nanoseconds

	mu    sync.Mutex // guards below, and that one reads at a time
	stats []stat     // of all files, as they were read last, or were when that failed
}

type stat struct {
	modified time.Time
	size     int64
}

// Open reads the files.
func Open(o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Check == 0 {
		o.Check = 10 * time.Second
	}
	s := &Store{o: o}
	switch o.MinVersion {
	case "", "1.2":
		s.version = tls.VersionTLS12
	case "1.3":
		s.version = tls.VersionTLS13
	default:
		return nil, fmt.Errorf("least version of TLS %q: want 1.2 or 1.3", o.MinVersion)
	}
	if len(o.Files) == 0 || len(o.Files) > MaxFiles {
		return nil, fmt.Errorf("%d certificates: want 1 to %d", len(o.Files), MaxFiles)
	}
	return s, s.Reload()
}

// Pair makes Files of two lists of names.
func Pair(certs, keys []string) ([]Files, error) {
	if len(certs) != len(keys) {
		return nil, fmt.Errorf("%d certificates and %d keys: each certificate needs its key, in the same order", len(certs), len(keys))
	}
	var out []Files
	for i := range certs {
		out = append(out, Files{certs[i], keys[i]})
	}
	return out, nil
}

// Config is a server's configuration that shows the certificates; protocols are those of ALPN, the most wanted first.
func (s *Store) Config(protocols ...string) *tls.Config {
	return &tls.Config{MinVersion: s.version, NextProtos: protocols, GetCertificate: s.certificate}
}

// Reload reads all files again. If that fails the certificates stay as they were.
func (s *Store) Reload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reload()
}

func (s *Store) reload() error {
	s.looked.Store(time.Now().UnixNano())
	s.stats = s.look() // before they are read: what changes meanwhile is read once more
	var certs []tls.Certificate
	for _, f := range s.o.Files {
		c, err := load(f)
		if err != nil {
			return err
		}
		certs = append(certs, c)
	}
	s.certs.Store(&certs)
	for _, c := range certs {
		s.o.Log.Info("certificate is in use", "names", c.Leaf.DNSNames, "until", c.Leaf.NotAfter)
	}
	return nil
}

func load(f Files) (tls.Certificate, error) {
	cert, err := read(f.Cert)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	key, err := read(f.Key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("key of certificate %s: %w", f.Cert, err)
	}
	c, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return c, fmt.Errorf("certificate %s with key %s: %w", f.Cert, f.Key, err)
	}
	if c.Leaf == nil {
		if c.Leaf, err = x509.ParseCertificate(c.Certificate[0]); err != nil {
			return c, fmt.Errorf("certificate %s: %w", f.Cert, err)
		}
	}
	return c, nil
}

func read(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFileBytes {
		return nil, fmt.Errorf("%s has %d bytes, more than a certificate or key has", file, info.Size())
	}
	return os.ReadFile(file)
}

// look returns what tells whether files have changed. A file that cannot be seen is like none.
func (s *Store) look() []stat {
	var out []stat
	for _, f := range s.o.Files {
		for _, name := range []string{f.Cert, f.Key} {
			var st stat
			if info, err := os.Stat(name); err == nil {
				st = stat{info.ModTime(), info.Size()}
			}
			out = append(out, st)
		}
	}
	return out
}

// refresh reads the files again if they have changed since; now and then, and one caller at a time.
func (s *Store) refresh() {
	if time.Since(time.Unix(0, s.looked.Load())) < s.o.Check || !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	s.looked.Store(time.Now().UnixNano())
	now := s.look()
	same := true
	for i := range now {
		same = same && now[i].size == s.stats[i].size && now[i].modified.Equal(s.stats[i].modified)
	}
	if same {
		return
	}
	if err := s.reload(); err != nil {
		s.o.Log.Warn("changed certificates are not taken over: the old ones stay in use", "err", err)
	}
}

var errNone = errors.New("no certificate")

func (s *Store) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.refresh()
	certs := *s.certs.Load()
	if len(certs) == 0 {
		return nil, errNone
	}
	for i := range certs {
		if hello.SupportsCertificate(&certs[i]) == nil {
			return &certs[i], nil
		}
	}
	return &certs[0], nil
}
