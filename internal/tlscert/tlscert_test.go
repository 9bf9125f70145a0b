package tlscert

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/tlscert/tlscerttest"
)

// shake makes a handshake with a server that shows the store's certificates.
func shake(t *testing.T, s *Store, c *tls.Config) (*tls.ConnectionState, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() { // ends with the connection, or the listener
		if b, err := ln.Accept(); err == nil {
			_ = tls.Server(b, s.Config("h2", "http/1.1")).Handshake()
			b.Close()
		}
	}()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	conn := tls.Client(a, c)
	if err := conn.Handshake(); err != nil {
		return nil, err
	}
	st := conn.ConnectionState()
	return &st, nil
}

func open(t *testing.T, o Options) *Store {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A client gets the certificate for the name it asks for, by a wildcard too, and the first for a name that nobody has.
func TestNames(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	tlscerttest.Write(t, file("a.pem"), file("a.key"), "admin.test", "127.0.0.1")
	tlscerttest.Write(t, file("b.pem"), file("b.key"), "s3.test", "*.s3.test")
	files, err := Pair([]string{file("a.pem"), file("b.pem")}, []string{file("a.key"), file("b.key")})
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, Options{Files: files})
	for name, want := range map[string]string{"admin.test": "admin.test", "s3.test": "s3.test", "photos.s3.test": "s3.test", "a.b.s3.test": "admin.test", "": "admin.test"} {
		st, err := shake(t, s, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := st.PeerCertificates[0].Subject.CommonName; got != want || st.NegotiatedProtocol != "h2" {
			t.Errorf("%q: got the certificate of %s and %q, want that of %s and h2", name, got, st.NegotiatedProtocol, want)
		}
	}
}

func TestMinVersion(t *testing.T) {
	dir := t.TempDir()
	f := Files{filepath.Join(dir, "c"), filepath.Join(dir, "k")}
	tlscerttest.Write(t, f.Cert, f.Key, "x")
	old := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}
	if _, err := shake(t, open(t, Options{Files: []Files{f}}), old); err != nil {
		t.Errorf("TLS 1.2 is refused: %v", err)
	}
	if _, err := shake(t, open(t, Options{Files: []Files{f}, MinVersion: "1.3"}), old); err == nil {
		t.Error("TLS 1.2 is taken where 1.3 is the least")
	}
	if _, err := Open(Options{Files: []Files{f}, MinVersion: "1.0"}); err == nil {
		t.Error("1.0 is taken")
	}
}

// A changed file is read again at a handshake; one that makes no sense changes nothing.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	f := Files{filepath.Join(dir, "c"), filepath.Join(dir, "k")}
	trusted := func(s *Store, pool *x509.CertPool) bool {
		_, err := shake(t, s, &tls.Config{ServerName: "x", RootCAs: pool})
		return err == nil
	}
	first := tlscerttest.Write(t, f.Cert, f.Key, "x")
	s := open(t, Options{Files: []Files{f}, Check: time.Nanosecond})
	if !trusted(s, first) {
		t.Fatal("the first certificate is not shown")
	}
	if err := os.WriteFile(f.Cert, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !trusted(s, first) {
		t.Error("a file that makes no sense ended the first certificate")
	}
	if err := s.Reload(); err == nil || !strings.Contains(err.Error(), f.Cert) {
		t.Errorf("a file that makes no sense: %v", err)
	}
	second := tlscerttest.Write(t, f.Cert, f.Key, "x")
	if err := os.Chtimes(f.Cert, time.Time{}, time.Now().Add(time.Minute)); err != nil { // clocks of file systems are coarse
		t.Fatal(err)
	}
	if !trusted(s, second) || trusted(s, first) {
		t.Error("the second certificate is not shown")
	}
	slow := open(t, Options{Files: []Files{f}, Check: time.Hour})
	third := tlscerttest.Write(t, f.Cert, f.Key, "x", "and a longer one")
	if trusted(slow, third) {
		t.Error("files are looked at in every handshake")
	}
	if err := slow.Reload(); err != nil || !trusted(slow, third) {
		t.Errorf("Reload: %v", err)
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	f := Files{filepath.Join(dir, "c"), filepath.Join(dir, "k")}
	tlscerttest.Write(t, f.Cert, f.Key, "x")
	other := filepath.Join(dir, "other")
	tlscerttest.Write(t, filepath.Join(dir, "oc"), other, "x")
	for _, bad := range [][]Files{nil, {{f.Cert, other}}, {{f.Cert, filepath.Join(dir, "missing")}}, {{f.Key, f.Cert}}, make([]Files, MaxFiles+1)} {
		if _, err := Open(Options{Files: bad, Log: slog.New(slog.DiscardHandler)}); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
	if _, err := Pair([]string{"a"}, nil); err == nil {
		t.Error("a certificate without key is taken")
	}
}
