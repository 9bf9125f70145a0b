package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/client/clienttest"
)

// logLine matches a line of Amazon's server access log format, as scripts that read such logs do.
var logLine = regexp.MustCompile(`^(\S+) (\S+) \[(.*?)\] (\S+) (\S+) (\S+) (\S+) (\S+) ("[^"]*"|-) (\d+|-) (\S+) (\d+|-) (\d+|-) (\d+) (\d+|-) ("[^"]*"|-) ("[^"]*"|-) (\S+) (\S+) (\S+) (\S+) (\S+) (\S+) (\S+) (\S+) (Yes|-)\n$`)

func TestAccessRecord(t *testing.T) {
	r := accessRecord{
		owner: "ann", bucket: "photos", at: time.Date(2026, 2, 6, 0, 0, 38, 0, time.UTC), remote: "192.0.2.3", requester: "ann", id: "3E57427F3EXAMPLE",
		operation: "REST.GET.OBJECT", key: "a b/é", uri: "GET /photos/a%20b/%C3%A9?versionId=x HTTP/1.1", status: 200, sent: 113, size: 120,
		total: 7 * time.Millisecond, turn: 3 * time.Millisecond, agent: "S3Console/0.4", version: "3HL4", hostID: "host", sigVersion: "SigV4",
		cipher: "TLS_AES_128_GCM_SHA256", authType: "AuthHeader", host: "s3.test", tls: "TLSv1.3",
	}
	want := `ann photos [06/Feb/2026:00:00:38 +0000] 192.0.2.3 ann 3E57427F3EXAMPLE REST.GET.OBJECT a%20b/%C3%A9 "GET /photos/a%20b/%C3%A9?versionId=x HTTP/1.1" 200 - 113 120 7 3 - "S3Console/0.4" 3HL4 host SigV4 TLS_AES_128_GCM_SHA256 AuthHeader s3.test TLSv1.3 - -` + "\n"
	if got := string(r.append(nil)); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	empty := accessRecord{size: -1, turn: -1}
	if got := string(empty.append(nil)); !logLine.MatchString(got) || strings.Count(got, "-") < 20 {
		t.Errorf("empty: %s", got)
	}
}

// FuzzAccessRecord: whatever clients send, a record is one line of the right number of fields.
func FuzzAccessRecord(f *testing.F) {
	f.Add("k", "GET / HTTP/1.1", "http://x", "agent \"1\"\n", "h")
	f.Fuzz(func(t *testing.T, key, uri, referer, agent, host string) {
		r := accessRecord{key: key, uri: uri, referer: referer, agent: agent, host: host, requester: host, version: agent}
		if got := string(r.append(nil)); !logLine.MatchString(got) {
			t.Fatalf("%q", got)
		}
	})
}

func TestSignaturesAreNotLogged(t *testing.T) {
	for in, want := range map[string]string{
		"/b/k": "/b/k", "/b/k?acl&X-Amz-Signature=00ff&x=y": "/b/k?acl&X-Amz-Signature=REDACTED&x=y", "/b?Signature=a%3D&Expires=1": "/b?Signature=REDACTED&Expires=1",
		"/b?X-Amz-Security-Token=t": "/b?X-Amz-Security-Token=REDACTED",
	} {
		if got := withoutSecrets(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestLogFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "access.log")
	l, err := OpenLogFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(s string) {
		t.Helper()
		if _, err := l.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	write("one\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write("two\n")
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	write("three\n")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	if _, err := l.Write([]byte("late")); err == nil {
		t.Error("written after it was closed")
	}
	for name, want := range map[string]string{path + ".1": "one\ntwo\n", path: "three\n"} {
		if got, _ := os.ReadFile(name); string(got) != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if _, err := OpenLogFile(filepath.Join(dir, "no", "dir")); err == nil {
		t.Error("a file in no directory was opened")
	}
}

// safeBuffer is a log that a test reads while it is written.
type safeBuffer struct {
	mu sync.Mutex // guards below
	b  bytes.Buffer
}

func (s *safeBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestAccessLog: what is done to a bucket is told in its log, and in the gateway's.
func TestAccessLog(t *testing.T) {
	var file safeBuffer
	g := newGateway(t, func(o *Options) {
		o.AccessLog = &file
		o.LogFlush = time.Hour // Close delivers
	})
	g.want(call{method: "PUT", path: "/photos"}, 200)
	g.want(call{method: "PUT", path: "/logs"}, 200)
	g.want(call{method: "PUT", path: "/photos?logging", body: []byte(`<BucketLoggingStatus><LoggingEnabled><TargetBucket>logs</TargetBucket><TargetPrefix>p/</TargetPrefix></LoggingEnabled></BucketLoggingStatus>`)}, 200)
	g.put("/photos/a b", "hello")
	g.want(call{method: "GET", path: "/photos/a%20b", header: map[string]string{"User-Agent": "me \"and\" you", "Referer": "http://x/y z"}}, 200)
	g.wantErr(call{method: "GET", path: "/photos/none"}, 404, "NoSuchKey")
	if r := g.do(call{method: "GET", path: "/photos/a%20b"}); r.status != 403 {
		t.Fatalf("status %d", r.status)
	}
	g.wantErr(call{method: "GET", path: "/photos/a%20b", region: "mars"}, 400, "AuthorizationHeaderMalformed")
	g.want(call{method: "PUT", path: "/photos/c", header: map[string]string{"X-Amz-Copy-Source": "/photos/a%20b"}}, 200)
	del := []byte("<Delete><Object><Key>c</Key></Object><Object><Key>d</Key></Object></Delete>")
	sum := md5.Sum(del)
	g.want(call{method: "POST", path: "/photos?delete", body: del, header: map[string]string{"Content-Md5": base64.StdEncoding.EncodeToString(sum[:])}}, 200)
	g.want(call{method: "GET", path: "/photos?versioning"}, 200)
	if err := g.srv.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := g.svc.Bucket(t.Context(), "logs")
	if err != nil {
		t.Fatal(err)
	}
	text := logsIn(t, b, "p/")
	for _, want := range []string{
		"REST.PUT.OBJECT a%20b 200 -", "REST.GET.OBJECT a%20b 200 -", "REST.GET.OBJECT none 404 NoSuchKey", "REST.GET.OBJECT a%20b 403 AccessDenied",
		"REST.COPY.OBJECT c 200 -", "REST.COPY.OBJECT_GET a%20b 200 -", "REST.POST.MULTI_OBJECT_DELETE - 200 -", "BATCH.DELETE.OBJECT c 204 -", "BATCH.DELETE.OBJECT d 204 -",
		"REST.GET.VERSIONING - 200 -",
	} {
		found := 0
		for line := range strings.Lines(text) {
			m := logLine.FindStringSubmatch(line)
			if m == nil {
				t.Fatalf("no log line: %q", line)
			}
			if strings.Join([]string{m[7], m[8], m[10], m[11]}, " ") == want && m[2] == "photos" && m[1] == "ann" {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%d lines of %q in\n%s", found, want, text)
		}
	}
	for line := range strings.Lines(file.String()) {
		if !logLine.MatchString(line) {
			t.Errorf("no log line: %q", line)
		}
	}
	for _, want := range []string{"REST.PUT.BUCKET", "REST.PUT.LOGGING_STATUS", `"http://x/y z" "me \x22and\x22 you"`} {
		if !strings.Contains(file.String(), want) {
			t.Errorf("the gateway's own log has no %s in\n%s", want, file.String())
		}
	}
}

// logsIn reads the log objects under a prefix.
func logsIn(t *testing.T, b *bucket.Bucket, prefix string) string {
	t.Helper()
	l, err := b.List(t.Context(), bucket.ListInput{Prefix: prefix, Max: 100})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, o := range l.Objects {
		o, err := b.Get(t.Context(), o.Key)
		if err != nil {
			t.Fatal(err)
		}
		r, err := o.Open(t.Context(), 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(&text, r); err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	return text.String()
}

// TestLogDelivery: batches are bounded, delivered when they are due, and dropped when they have no place to go to.
func TestLogDelivery(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	g := newGateway(t, func(o *Options) { o.LogFlush, o.Now = time.Hour, func() time.Time { return now } })
	ctx := t.Context()
	for _, owner := range []string{"ann", "bob"} {
		if _, err := g.svc.Create(ctx, owner+"logs", owner, "here"); err != nil {
			t.Fatal(err)
		}
	}
	s := g.srv
	d := newDelivery(s)
	to := func(target, prefix string, f *xmlLogFormat) *xmlLogEnabled {
		return &xmlLogEnabled{Target: target, Prefix: &prefix, Format: f}
	}
	ann, err := g.svc.Bucket(ctx, "annlogs")
	if err != nil {
		t.Fatal(err)
	}
	d.add("photos", "ann", to("annlogs", "a/", nil), []byte("one\n"))
	d.add("photos", "ann", to("annlogs", "a/", nil), []byte("two\n"))
	d.flush(ctx, false)
	if got := logsIn(t, ann, "a/"); got != "" {
		t.Errorf("delivered before it was due: %q", got)
	}
	now = now.Add(time.Hour)
	d.add("photos", "ann", to("annlogs", "b/", &xmlLogFormat{Partitioned: &xmlLogPartitions{Source: "EventTime"}}), []byte("three\n"))
	d.flush(ctx, false)
	if got := logsIn(t, ann, "a/2026-03-01-13-00-00-"); got != "one\ntwo\n" {
		t.Errorf("delivered %q", got)
	}
	d.flush(ctx, true)
	if got := logsIn(t, ann, "b/ann/us-east-1/photos/2026/03/01/2026-03-01-00-00-00-"); got != "three\n" {
		t.Errorf("delivered %q", got)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(d.dropped)
	dropped := func() float64 {
		all, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		return all[0].Metric[0].Counter.GetValue()
	}
	d.add("photos", "ann", to("boblogs", "", nil), []byte("not for bob\n"))
	d.add("photos", "ann", to("nobodys", "", nil), []byte("for\nnobody\n"))
	d.flush(ctx, true)
	if bob, err := g.svc.Bucket(ctx, "boblogs"); err != nil || logsIn(t, bob, "") != "" || dropped() != 3 {
		t.Errorf("somebody else's bucket has a log, or %v records dropped: %v", dropped(), err)
	}
	line := bytes.Repeat([]byte("x"), 1<<20)
	for range 40 {
		d.add("photos", "ann", to("annlogs", "c/", nil), line)
	}
	if d.bytes > maxLogBytes || dropped() != 3+8 {
		t.Errorf("%d bytes are kept, %v records dropped", d.bytes, dropped())
	}
	d.flush(ctx, false) // 1 MiB are due at once
	if got := logsIn(t, ann, "c/"); len(got) != 32<<20 || d.bytes != 0 {
		t.Errorf("delivered %d bytes, %d are left", len(got), d.bytes)
	}
	// A target that cannot be written now is tried again, with what came meanwhile.
	d.add("photos", "ann", to("annlogs", "d/", nil), []byte("one\n"))
	now = now.Add(time.Hour)
	g.pool.Before(func(context.Context, clienttest.Call) error { return errors.New("broken") })
	d.flush(ctx, false)
	g.pool.Before(nil)
	d.add("photos", "ann", to("annlogs", "d/", nil), []byte("two\n"))
	now = now.Add(time.Hour)
	d.flush(ctx, false)
	if got := logsIn(t, ann, "d/"); got != "one\ntwo\n" || d.bytes != 0 {
		t.Errorf("delivered %q, %d bytes are left", got, d.bytes)
	}
}

// TestSlowRequest: a request that takes long is explained.
func TestSlowRequest(t *testing.T) {
	var log safeBuffer
	g := newGateway(t, func(o *Options) {
		o.Log, o.SlowRequest = slog.New(slog.NewTextHandler(&log, nil)), time.Nanosecond
	})
	g.want(call{method: "PUT", path: "/photos"}, 200)
	g.put("/photos/k", strings.Repeat("x", 100_000))
	if err := g.srv.Close(); err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`level=WARN msg="slow request" request=\w+ op=PutObject bucket=photos key=k status=200 code=OK .*took=\S+ waited_for_body=\S+ received=100000 waited_to_send=\S+ sent=\d+ identify=\S+ decide=\S+ index_ops=[1-9]\d* index=\S+ slowest_index_op=\S+ data_ops=[1-9]`)
	if !want.MatchString(log.String()) {
		t.Errorf("%s", log.String())
	}
}
