package s3

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client/bench"
	"github.com/cairnstore/cairn/internal/tlscert"
	"github.com/cairnstore/cairn/internal/tlscert/tlscerttest"
)

// secured is a gateway with a listener of each kind.
type secured struct {
	*gateway
	tlsAddr string
	trust   *tls.Config
	ended   chan error // of the listener with TLS
}

func newSecured(t *testing.T, change func(o *Options)) *secured {
	t.Helper()
	dir := t.TempDir()
	f := tlscert.Files{Cert: filepath.Join(dir, "c"), Key: filepath.Join(dir, "k")}
	pool := tlscerttest.Write(t, f.Cert, f.Key, "127.0.0.1", "*.s3.test")
	store, err := tlscert.Open(tlscert.Options{Files: []tlscert.Files{f}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	g := newGateway(t, func(o *Options) {
		o.TLS = store.Config()
		if change != nil {
			change(o)
		}
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &secured{gateway: g, tlsAddr: ln.Addr().String(), trust: &tls.Config{RootCAs: pool}, ended: make(chan error, 1)}
	go func() { s.ended <- g.srv.ServeTLS(ln) }() // ends with the server
	t.Cleanup(func() {
		g.srv.Close()
		if err := <-s.ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

// request makes a signed request.
func (s *secured) request(ctx context.Context, method, url string, body io.Reader, size int64) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		s.t.Fatal(err)
	}
	r.ContentLength = size
	sign(r, ann.Keys[0], unsignedBody, time.Now(), "us-east-1")
	return r
}

func transport(t *testing.T, trust *tls.Config, http1, http2, h2c bool) *http.Transport {
	p := new(http.Protocols)
	p.SetHTTP1(http1)
	p.SetHTTP2(http2)
	p.SetUnencryptedHTTP2(h2c)
	tr := &http.Transport{TLSClientConfig: trust.Clone(), Protocols: p}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// Every kind of client gets through, by the protocol that the gateway's policy wants.
func TestTLS(t *testing.T) {
	for policy, want := range map[HTTP2]map[string]string{
		HTTP2TLS: {"1": "HTTP/1.1", "2": "HTTP/2.0", "tls1": "HTTP/1.1", "h2c": ""},
		HTTP2Off: {"1": "HTTP/1.1", "2": "HTTP/1.1", "tls1": "HTTP/1.1", "h2c": ""},
		HTTP2All: {"1": "HTTP/1.1", "2": "HTTP/2.0", "tls1": "HTTP/1.1", "h2c": "HTTP/2.0"},
	} {
		t.Run(string(policy), func(t *testing.T) {
			s := newSecured(t, func(o *Options) { o.HTTP2 = policy })
			clients := map[string]*http.Transport{
				"1": transport(t, s.trust, true, false, false), "2": transport(t, s.trust, true, true, false),
				"tls1": transport(t, s.trust, true, false, false), "h2c": transport(t, s.trust, false, false, true),
			}
			for name, tr := range clients {
				url := "https://" + s.tlsAddr + "/"
				if name == "1" || name == "h2c" {
					url = "http://" + s.addr + "/"
				}
				res, err := tr.RoundTrip(s.request(t.Context(), http.MethodGet, url, nil, 0))
				if want[name] == "" {
					if err == nil {
						res.Body.Close()
						t.Errorf("%s: answered by %s, want none", name, res.Proto)
					}
					continue
				}
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				res.Body.Close()
				if res.Proto != want[name] || res.StatusCode != http.StatusOK {
					t.Errorf("%s: %s %s, want %s", name, res.Proto, res.Status, want[name])
				}
			}
		})
	}
	if _, err := New(Options{Buckets: withBucket(t).svc, Users: users, HTTP2: "yes"}); err == nil {
		t.Error("an unknown policy is taken")
	}
}

// Load with large bodies over HTTP/2, whose requests share a connection.
func TestTLSLoad(t *testing.T) {
	s := newSecured(t, nil)
	o := bench.S3Options{
		Server: bench.S3Server{Endpoints: []string{"https://" + s.tlsAddr}, AccessKey: ann.Keys[0].AccessKey, SecretKey: ann.Keys[0].SecretKey, TLS: s.trust, HTTP2: true},
		Kind:   bench.Put, Bucket: "load", Run: "r", Sizes: []int64{3 << 20, 100}, InFlight: 6, Time: time.Minute, Ops: 24,
	}
	for _, kind := range []bench.Kind{bench.Put, bench.Get} {
		o.Kind = kind
		if _, err := bench.RunS3(t.Context(), o); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
	}
}

// A policy that wants TLS refuses who comes without.
func TestSecureTransport(t *testing.T) {
	s := newSecured(t, nil)
	s.want(call{method: "PUT", path: "/photos"}, 200)
	s.put("/photos/a", "body")
	s.want(call{method: "PUT", path: "/photos?policy", body: []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*",
		"Action":"s3:GetObject","Resource":"arn:aws:s3:::photos/*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}`)}, 204)
	s.wantErr(call{method: "GET", path: "/photos/a"}, 403, "AccessDenied")
	for _, http2 := range []bool{false, true} {
		res, err := transport(t, s.trust, true, http2, false).RoundTrip(s.request(t.Context(), http.MethodGet, "https://"+s.tlsAddr+"/photos/a", nil, 0))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != 200 || string(b) != "body" {
			t.Errorf("with TLS: %s %q", res.Status, b)
		}
	}
}

// A put that is under way when the gateway is told to end is answered; who comes then is not served.
func TestDrainTLS(t *testing.T) {
	for name, http2 := range map[string]bool{"http1": false, "http2": true} {
		t.Run(name, func(t *testing.T) {
			s := newSecured(t, func(o *Options) { o.Drain = time.Minute })
			s.want(call{method: "PUT", path: "/photos"}, 200)
			body, in := io.Pipe()
			tr := transport(t, s.trust, !http2, http2, false)
			answered := make(chan error, 1)
			go func() { // ends with the answer
				res, err := tr.RoundTrip(s.request(context.Background(), http.MethodPut, "https://"+s.tlsAddr+"/photos/a", body, 4))
				if err == nil {
					res.Body.Close()
					if res.StatusCode != http.StatusOK {
						err = io.ErrUnexpectedEOF
					}
				}
				answered <- err
			}()
			if _, err := in.Write([]byte("bo")); err != nil {
				t.Fatal(err)
			}
			for len(s.srv.slots) == 0 { // until the request is being served
				runtime.Gosched()
			}
			closed := make(chan error, 1)
			go func() { closed <- s.srv.Close() }()
			if err := <-s.ended; err != nil { // the listener is closed
				t.Fatal(err)
			}
			s.ended <- nil
			if c, err := net.Dial("tcp", s.tlsAddr); err == nil {
				c.Close()
				t.Error("a new connection is taken")
			}
			if _, err := in.Write([]byte("dy")); err != nil {
				t.Fatal(err)
			}
			in.Close()
			if err := <-answered; err != nil {
				t.Errorf("the put under way: %v", err)
			}
			tr.CloseIdleConnections()
			if err := <-closed; err != nil {
				t.Errorf("close: %v", err)
			}
			var got bytes.Buffer
			b, err := s.svc.Bucket(t.Context(), "photos")
			if err != nil {
				t.Fatal(err)
			}
			o, err := b.Get(t.Context(), "a")
			if err != nil {
				t.Fatal(err)
			}
			r, err := o.Open(t.Context(), 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(&got, r)
			r.Close()
			if got.String() != "body" {
				t.Errorf("got %q", got.String())
			}
		})
	}
}
