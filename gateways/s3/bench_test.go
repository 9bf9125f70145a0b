package s3

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/client/clienttest"
)

// discard is a ResponseWriter that keeps nothing of the body.
type discard struct {
	h      http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkHandler measures the gateway and the bucket layer over an in-memory
// pool, without the HTTP connection.
func BenchmarkHandler(b *testing.B) {
	log := slog.New(slog.DiscardHandler)
	pool := clienttest.New(b)
	svc, err := bucket.NewService(bucket.Options{Meta: pool, Data: pool, Log: log})
	if err != nil {
		b.Fatal(err)
	}
	defer svc.Close()
	srv, err := New(Options{Buckets: svc, Users: users, Log: log, SweepPeriod: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer srv.Close()
	if _, err := svc.Create(b.Context(), "photos", "ann", ""); err != nil {
		b.Fatal(err)
	}
	serve := func(b *testing.B, method, path string, body []byte, payload string) {
		r := httptest.NewRequest(method, path, bytes.NewReader(body))
		sign(r, ann.Keys[0], payload, time.Now(), "us-east-1")
		w := &discard{h: http.Header{}}
		srv.ServeHTTP(w, r)
		if w.status != 200 {
			b.Fatalf("%s %s: status %d", method, path, w.status)
		}
	}
	for _, size := range []int{4 << 10, 4 << 20} {
		body := bytes.Repeat([]byte("cairn!!!"), size/8)
		b.Run(fmt.Sprintf("put-%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				serve(b, "PUT", fmt.Sprintf("/photos/k%d", size), body, unsignedBody)
			}
		})
		b.Run(fmt.Sprintf("get-%d", size), func(b *testing.B) {
			serve(b, "PUT", fmt.Sprintf("/photos/k%d", size), body, unsignedBody)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				serve(b, "GET", fmt.Sprintf("/photos/k%d", size), nil, unsignedBody)
			}
		})
	}
	for i := range 1000 {
		serve(b, "PUT", fmt.Sprintf("/photos/list/%04d", i), nil, unsignedBody)
	}
	b.Run("list-1000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			serve(b, "GET", "/photos?list-type=2&prefix=list/", nil, unsignedBody)
		}
	})
}
