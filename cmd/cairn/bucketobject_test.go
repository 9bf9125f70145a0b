package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/internal/api"
)

// bucketCLI runs `cairn bucket object` on a bucket in memory.
type bucketCLI struct {
	*cluster
	svc *bucket.Service
	b   *bucket.Bucket
}

func newBucketCLI(t *testing.T) *bucketCLI {
	t.Helper()
	pool := clienttest.New(t)
	svc, err := bucket.NewService(bucket.Options{Meta: pool, Data: pool, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { svc.Close() })
	b, err := svc.Create(t.Context(), "photos", "ann", "")
	if err != nil {
		t.Fatal(err)
	}
	return &bucketCLI{newCluster(t), svc, b}
}

func (c *bucketCLI) run(args ...string) result {
	var out, errs bytes.Buffer
	e := newEnv()
	e.stdin, e.stdout, e.stderr = strings.NewReader(""), &out, &errs
	e.getenv = func(name string) string { return map[string]string{"CAIRN_ADMIN": c.url}[name] }
	e.openBuckets = func(context.Context, []string, string, time.Duration) (*bucket.Service, io.Closer, error) {
		return c.svc, io.NopCloser(nil), nil
	}
	return result{run(context.Background(), e, append([]string{"bucket", "object"}, args...)), out.String(), errs.String()}
}

func TestBucketObject(t *testing.T) {
	c := newBucketCLI(t)
	dir := t.TempDir()
	file, back := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	content := strings.Repeat("cairn", 20_000)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	ok := func(args ...string) result {
		t.Helper()
		r := c.run(args...)
		if r.code != 0 {
			t.Fatalf("%v: exit code %d, %s", args, r.code, r.stderr)
		}
		return r
	}
	for _, key := range []string{"a/1", "a/2", "b\x1b[31m"} {
		ok("put", "photos/"+key, file, "--content-type", "text/plain")
	}
	ok("get", "photos/a/1", back)
	if got, err := os.ReadFile(back); err != nil || string(got) != content {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if r := ok("get", "photos/a/2", "-"); r.stdout != content {
		t.Errorf("on standard output: %d bytes", len(r.stdout))
	}
	if r := ok("ls", "photos"); strings.Count(r.stdout, "\n") != 3 || strings.Contains(r.stdout, "\x1b") || !strings.Contains(r.stdout, "a/2") {
		t.Errorf("ls: %q", r.stdout)
	}
	if r := ok("ls", "photos/a/", "--csv"); !strings.HasPrefix(r.stdout, "key,size,modified,etag,owner,storage_class\na/1,100000,") || strings.Count(r.stdout, ",ann,STANDARD\n") != 2 {
		t.Errorf("ls --csv: %q", r.stdout)
	}
	var keys []listedKey
	if err := json.Unmarshal([]byte(ok("ls", "photos", "-o", "json", "--limit", "2").stdout), &keys); err != nil || len(keys) != 2 || keys[1].Key != "a/2" || keys[1].Size != 100000 {
		t.Errorf("ls -o json: %+v, %v", keys, err)
	}
	if r := ok("ls", "photos/none", "-o", "json"); r.stdout != "[]\n" {
		t.Errorf("an empty list: %q", r.stdout)
	}
	var d keyDetails
	if err := json.Unmarshal([]byte(ok("stat", "photos/a/1", "-o", "json").stdout), &d); err != nil || d.ContentType != "text/plain" || d.Owner != "ann" || d.Size != 100000 {
		t.Errorf("stat: %+v, %v", d, err)
	}
	if err := c.svc.SetVersioning(t.Context(), "photos", bucket.VersioningEnabled); err != nil {
		t.Fatal(err)
	}
	ok("put", "photos/a/1", file)
	ok("rm", "photos/a/1")
	if r := c.run("get", "photos/a/1", back); r.code == 0 {
		t.Error("what is deleted can be fetched")
	}
	keys = nil
	if err := json.Unmarshal([]byte(ok("versions", "photos/a/1", "-o", "json").stdout), &keys); err != nil || len(keys) != 3 || !keys[0].Marker || !keys[0].Latest || keys[2].Version != "null" {
		t.Fatalf("versions: %+v, %v", keys, err)
	}
	ok("get", "photos/a/1", back, "--version", keys[1].Version)
	if r := c.run("get", "photos/a/1", back, "--version", keys[0].Version); r.code == 0 || !strings.Contains(r.stderr, "delete marker") {
		t.Errorf("the body of a marker: %+v", r)
	}
	ok("rm", "photos/a/1", "--version", keys[0].Version)
	ok("get", "photos/a/1", back)
	if r := ok("ls", "photos", "--versions", "--csv"); strings.Count(r.stdout, "\n") != 5 {
		t.Errorf("ls --versions --csv: %q", r.stdout)
	}
	for _, bad := range [][]string{{"get", "photos", back}, {"stat", "photos/missing"}, {"rm", "photos/missing"}, {"ls", "other"}, {"put", "photos/x", dir}, {"ls", "photos", "--csv", "-o", "json"}} {
		if r := c.run(bad...); r.code == 0 || r.stderr == "" {
			t.Errorf("%v: exit code %d, %q", bad, r.code, r.stderr)
		}
	}
	if err := c.b.SetConfig(t.Context(), map[string][]byte{"encryption": []byte("<x/>")}); err != nil {
		t.Fatal(err)
	}
	if r := c.run("put", "photos/x", file); r.code == 0 || !strings.Contains(r.stderr, "put it by S3") {
		t.Errorf("a bucket that encrypts: %+v", r)
	}
}

// The example in AWS's documentation of Signature Version 4, and what else an address says.
func TestPresign(t *testing.T) {
	example := presigned{
		endpoint: "https://examplebucket.s3.amazonaws.com", region: "us-east-1", access: "AKIAIOSFODNN7EXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
		method: "GET", key: "test.txt", expires: 24 * time.Hour, now: time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC),
	}
	if u, err := example.url(); err != nil || !strings.HasSuffix(u, "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404") {
		t.Errorf("AWS's example: %s, %v", u, err)
	}
	p := presigned{
		endpoint: "https://s3.amazonaws.com", region: "us-east-1", access: "AKIAIOSFODNN7EXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
		method: "GET", bucket: "examplebucket", key: "a b/ü?.txt", version: "3f", expires: 24 * time.Hour, now: time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC),
	}
	u, err := p.url()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"https://s3.amazonaws.com/examplebucket/a%20b/%C3%BC%3F.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&", "X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request",
		"&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&versionId=3f&X-Amz-Signature="} {
		if !strings.Contains(u, want) {
			t.Errorf("%s lacks %s", u, want)
		}
	}
	c := newCluster(t)
	r := c.cairn(t, "", []string{"AWS_ACCESS_KEY_ID=K", "AWS_SECRET_ACCESS_KEY=S"}, "s3", "presign", "photos/a", "--endpoint", "http://10.0.0.1:7470", "--expires", "10s", "--method", "PUT")
	if r.code != 0 || !strings.HasPrefix(r.stdout, "http://10.0.0.1:7470/photos/a?X-Amz-Algorithm=") || !strings.Contains(r.stdout, "X-Amz-Expires=10&") {
		t.Errorf("got %+v", r)
	}
	for _, bad := range [][]string{{"photos", "--endpoint", "http://h:1"}, {"photos/a", "--endpoint", "http://h:1", "--expires", "200h"},
		{"photos/a", "--endpoint", "http://h:1", "--method", "LIST"}, {"photos/a", "--endpoint", "ftp://x"}} {
		if r := c.cairn(t, "", []string{"AWS_ACCESS_KEY_ID=K", "AWS_SECRET_ACCESS_KEY=S"}, append([]string{"s3", "presign"}, bad...)...); r.code == 0 {
			t.Errorf("%v is taken", bad)
		}
	}
}

func TestBucketList(t *testing.T) {
	c := newCluster(t)
	for _, args := range [][]string{{"user", "create", "u"}, {"bucket", "create", "pictures", "--owner", "u"}} {
		if r := c.admin(t, args...); r.code != 0 {
			t.Fatalf("%v: %+v", args, r)
		}
	}
	c.buckets.Put(api.Bucket{Name: "seven", Owner: "u", Objects: 7, Bytes: 49})
	if r := c.admin(t, "bucket", "ls", "--csv"); r.code != 0 || !strings.HasPrefix(r.stdout, "bucket,owner,created,objects,bytes,") || !strings.Contains(r.stdout, "\npictures,") {
		t.Errorf("--csv: %+v", r)
	}
	short, long := c.admin(t, "bucket", "ls"), c.admin(t, "bucket", "ls", "-l")
	if short.code != 0 || long.code != 0 || !strings.Contains(long.stdout, "  7  ") || strings.Count(short.stdout, "\n") != strings.Count(long.stdout, "\n") {
		t.Errorf("short: %+v, long: %+v", short, long)
	}
	if r := c.admin(t, "bucket", "ls", "--owner", "nobody", "-o", "json"); r.code != 0 || strings.TrimSpace(r.stdout) != "[]" {
		t.Errorf("nobody's: %+v", r)
	}
	if r := c.admin(t, "bucket", "ls", "--csv", "-o", "json"); r.code == 0 {
		t.Error("--csv with -o json is taken")
	}
}
