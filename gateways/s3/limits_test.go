package s3

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// The client waits for 100 Continue before it sends its body; a request that is
// refused is refused before that.
func TestExpectContinue(t *testing.T) {
	g := withBucket(t)
	send := func(user *wirepb.User, bucket, body string) string {
		r := httptest.NewRequest("PUT", "http://"+g.addr+"/"+bucket+"/k", nil)
		sign(r, user.Keys[0], unsignedBody, time.Now(), "us-east-1")
		conn, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "PUT /%s/k HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\nX-Amz-Date: %s\r\nX-Amz-Content-Sha256: %s\r\nAuthorization: %s\r\nConnection: close\r\n\r\n",
			bucket, g.addr, len(body), r.Header.Get("X-Amz-Date"), unsignedBody, r.Header.Get("Authorization"))
		buf := make([]byte, 12)
		if _, err := io.ReadFull(conn, buf); err != nil {
			t.Fatal(err)
		}
		if string(buf) == "HTTP/1.1 100" {
			fmt.Fprint(conn, body)
		}
		rest, _ := io.ReadAll(conn)
		return string(buf) + string(rest)
	}
	if got := send(ann, "photos", "hello"); !strings.HasPrefix(got, "HTTP/1.1 100") || !strings.Contains(got, "HTTP/1.1 200") {
		t.Errorf("got %q", got)
	}
	if got := send(bob, "photos", "hello"); !strings.HasPrefix(got, "HTTP/1.1 403") {
		t.Errorf("refused: got %q", got)
	}
	if got := send(ann, "none-such", "hello"); !strings.HasPrefix(got, "HTTP/1.1 404") {
		t.Errorf("no bucket: got %q", got)
	}
	// awscli is confused by an answer without it, and a minute later tries again.
	if got := send(ann, "photos", ""); !strings.HasPrefix(got, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200") {
		t.Errorf("without a body: got %q", got)
	}
}

func TestLimitsAndHealth(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := newGateway(t, func(o *Options) { o.MaxRequests, o.MaxBuckets, o.Metrics = 1, 2, reg })
	g.want(call{method: "PUT", path: "/one1"}, 200)
	g.want(call{method: "PUT", path: "/two2"}, 200)
	g.wantErr(call{method: "PUT", path: "/three"}, 400, "TooManyBuckets")
	meta := map[string]string{"X-Amz-Meta-A": strings.Repeat("x", 3000)}
	g.wantErr(call{method: "PUT", path: "/one1/k", header: meta}, 400, "MetadataTooLarge")

	// One request at a time: a second is told to slow down, health still answers.
	in, out := io.Pipe()
	r, err := http.NewRequest("PUT", "http://"+g.addr+"/one1/slow", in)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = 5
	sign(r, ann.Keys[0], unsignedBody, time.Now(), "us-east-1")
	done := make(chan int, 1)
	go func() {
		resp, err := g.tr.RoundTrip(r)
		if err != nil {
			t.Error(err)
			done <- 0
			return
		}
		resp.Body.Close()
		done <- resp.StatusCode
	}()
	if _, err := out.Write([]byte("he")); err != nil {
		t.Fatal(err)
	}
	waitInflight(t, g, 1)
	if r := g.wantErr(call{method: "GET", path: "/one1"}, 503, "SlowDown"); r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if r := g.do(call{method: "GET", path: "/-/health"}); r.status != 200 || string(r.body) != "ok\n" {
		t.Errorf("health: %d %q", r.status, r.body)
	}
	fmt.Fprint(out, "llo")
	out.Close()
	if s := <-done; s != 200 {
		t.Errorf("the slow put: %d", s)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range families {
		for _, m := range f.Metric {
			for _, l := range m.Label {
				if l.GetName() == "code" && l.GetValue() == "SlowDown" {
					found = true
				}
			}
		}
	}
	if !found {
		t.Error("no metric counts the refusal")
	}
}

// waitInflight waits until the gateway serves n requests: each probe is a real
// request, so this ends as soon as the other one has taken its place.
func waitInflight(t *testing.T, g *gateway, n int) {
	t.Helper()
	for range 10_000 {
		if len(g.srv.slots) >= n {
			return
		}
		if r := g.do(call{method: "GET", path: "/-/health"}); r.status != 200 {
			t.Fatal(r.status)
		}
	}
	t.Fatal("the request was never taken up")
}

// A body that breaks in the middle of the answer must not look whole.
func TestBrokenBodyCutsTheConnection(t *testing.T) {
	g := withBucket(t)
	g.put("/photos/k", strings.Repeat("x", 9<<20)) // three data objects
	removed := 0
	for _, name := range g.pool.Names() {
		if strings.HasPrefix(name, "s3.data.") && strings.HasSuffix(name, ".2") {
			if err := g.remove(name); err != nil {
				t.Fatal(err)
			}
			removed++
		}
	}
	if removed != 1 {
		t.Fatalf("removed %d data objects", removed)
	}
	r, err := http.NewRequest("GET", "http://"+g.addr+"/photos/k", nil)
	if err != nil {
		t.Fatal(err)
	}
	sign(r, ann.Keys[0], emptySHA256, time.Now(), "us-east-1")
	resp, err := g.tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Error("a broken body was read to its end")
	}
}

// A client that promises a body and sends nothing is told so.
func TestSilentClient(t *testing.T) {
	g := newGateway(t, func(o *Options) { o.BodyIdle = time.Nanosecond })
	if _, err := g.svc.Create(t.Context(), "photos", "ann", ""); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("PUT", "http://"+g.addr+"/photos/k", nil)
	sign(r, ann.Keys[0], unsignedBody, time.Now(), "us-east-1")
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PUT /photos/k HTTP/1.1\r\nHost: %s\r\nContent-Length: 5\r\nX-Amz-Date: %s\r\nX-Amz-Content-Sha256: %s\r\nAuthorization: %s\r\n\r\n",
		g.addr, r.Header.Get("X-Amz-Date"), unsignedBody, r.Header.Get("Authorization"))
	answer, _ := io.ReadAll(conn) // until the gateway closes the connection
	if !strings.Contains(string(answer), "<Code>RequestTimeout</Code>") {
		t.Errorf("got %q", answer)
	}
	// Nor does a refused request leave the gateway waiting for its body.
	if conn, err = net.Dial("tcp", g.addr); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PUT /photos/k HTTP/1.1\r\nHost: %s\r\nContent-Length: 5\r\n\r\n", g.addr)
	if answer, _ = io.ReadAll(conn); !strings.Contains(string(answer), "<Code>AccessDenied</Code>") {
		t.Errorf("got %q", answer)
	}
}

func TestUsersUnavailable(t *testing.T) {
	g := newGateway(t, func(o *Options) {
		o.Users = func(context.Context, string) (*wirepb.User, error) { return nil, context.DeadlineExceeded }
	})
	g.wantErr(call{method: "GET", path: "/"}, 503, "ServiceUnavailable")
}
