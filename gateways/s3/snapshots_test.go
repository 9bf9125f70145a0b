package s3

import (
	"strings"
	"testing"

	"github.com/cairnstore/cairn/client/bucket"
)

func TestSnapshotsOverS3(t *testing.T) {
	g := withBucket(t)
	big := strings.Repeat("0123456789", 10_000)
	g.put("/photos/dir/a", "old")
	g.put("/photos/big", big)
	b, err := g.svc.Bucket(t.Context(), "photos")
	if err == nil {
		_, err = b.TakeSnapshot(t.Context(), "daily-1")
	}
	if err != nil {
		t.Fatal(err)
	}
	g.put("/photos/dir/a", "new")
	g.put("/photos/dir/b", "new")
	g.want(call{method: "DELETE", path: "/photos/big"}, 204)
	for _, at := range []string{"/photos@daily-1", "/photos__daily-1"} {
		if r := g.want(call{method: "GET", path: at + "/dir/a"}, 200); string(r.body) != "old" {
			t.Errorf("%s: %q", at, r.body)
		}
		if r := g.want(call{method: "GET", path: at + "/big", header: map[string]string{"Range": "bytes=99990-"}}, 206); string(r.body) != "0123456789" {
			t.Errorf("%s: %q", at, r.body)
		}
		g.want(call{method: "HEAD", path: at + "/big"}, 200)
		g.want(call{method: "HEAD", path: at}, 200)
		r := g.want(call{method: "GET", path: at + "?list-type=2&delimiter=%2F"}, 200)
		if s := string(r.body); !strings.Contains(s, "<Key>big</Key>") || !strings.Contains(s, "<Prefix>dir/</Prefix>") {
			t.Errorf("%s: list %s", at, s)
		}
		g.wantErr(call{method: "GET", path: at + "/dir/b"}, 404, "NoSuchKey")
		g.wantErr(call{method: "PUT", path: at + "/x", body: []byte("x")}, 405, "MethodNotAllowed")
		g.wantErr(call{method: "DELETE", path: at + "/big"}, 405, "MethodNotAllowed")
		g.wantErr(call{method: "GET", path: at + "?versions"}, 405, "MethodNotAllowed")
		g.wantErr(call{method: "GET", path: at + "/dir/a", user: bob}, 403, "AccessDenied")
		g.wantErr(call{method: "GET", path: at + "/dir/a?versionId=null"}, 501, "NotImplemented")
	}
	g.wantErr(call{method: "GET", path: "/photos@other/big"}, 404, "NoSuchSnapshot")
	// What was deleted, or replaced, comes back by a copy.
	for _, key := range []string{"big", "dir/a"} {
		g.want(call{method: "PUT", path: "/photos/" + key, header: map[string]string{"X-Amz-Copy-Source": "photos@daily-1/" + key}}, 200)
	}
	if r := g.want(call{method: "GET", path: "/photos/big"}, 200); string(r.body) != big {
		t.Errorf("%d bytes", len(r.body))
	}
	if r := g.want(call{method: "GET", path: "/photos/dir/a"}, 200); string(r.body) != "old" {
		t.Errorf("%q", r.body)
	}
	g.wantErr(call{method: "PUT", path: "/photos/x", header: map[string]string{"X-Amz-Copy-Source": "photos@daily-1/dir/b"}}, 404, "NoSuchKey")
	g.wantErr(call{method: "DELETE", path: "/photos"}, 409, "BucketNotEmpty")
}

func TestQuotaOverS3(t *testing.T) {
	g := withBucket(t)
	if err := g.svc.SetQuota(t.Context(), "photos", bucket.Quota{Bytes: 2 << 20, Objects: 2}); err != nil {
		t.Fatal(err)
	}
	g.put("/photos/a", "hello")
	g.wantErr(call{method: "PUT", path: "/photos/b", body: make([]byte, 2<<20)}, 403, "QuotaExceeded")
	g.put("/photos/b", "hello")
	r := g.want(call{method: "HEAD", path: "/photos"}, 200)
	if n, size := r.header.Get("x-rgw-object-count"), r.header.Get("x-rgw-bytes-used"); n != "2" || size != "10" {
		t.Errorf("%s objects, %s bytes", n, size)
	}
	g.wantErr(call{method: "PUT", path: "/photos/c", body: []byte("x")}, 403, "QuotaExceeded")
	g.wantErr(call{method: "PUT", path: "/photos/c", header: map[string]string{"X-Amz-Copy-Source": "photos/a"}}, 403, "QuotaExceeded")
	g.want(call{method: "PUT", path: "/photos/b", body: []byte("hello again")}, 200)
}

// TestPolicyOfTagsInSnapshots: what a snapshot has is decided by the tags that it had then, not by those of what is there now.
func TestPolicyOfTagsInSnapshots(t *testing.T) {
	g := withBucket(t)
	tag := func(value string) {
		t.Helper()
		g.want(call{method: "PUT", path: "/photos/k", body: []byte(value), header: map[string]string{"X-Amz-Tagging": "Security=" + value}}, 200)
	}
	tag("secret")
	b, err := g.svc.Bucket(t.Context(), "photos")
	if err == nil {
		_, err = b.TakeSnapshot(t.Context(), "one")
	}
	if err != nil {
		t.Fatal(err)
	}
	tag("public")
	g.want(call{method: "PUT", path: "/others", user: bob}, 200)
	copied := func(from string) call { return put("/others/k", "").with("X-Amz-Copy-Source", from) }
	g.setPolicy("photos", statement("Allow", anyone, "s3:GetObject*", "photos/*", `{"StringEquals":{"s3:ExistingObjectTag/Security":"public"}}`))
	g.allowed(bob, get("/photos/k"))
	g.denied(bob, get("/photos@one/k"))
	g.denied(nil, get("/photos__one/k"))
	g.denied(bob, copied("photos@one/k"))
	g.allowed(bob, copied("photos/k"))
	g.setPolicy("photos", statement("Deny", anyone, "s3:GetObject", "photos/*", `{"StringEquals":{"s3:ExistingObjectTag/Security":"secret"}}`))
	g.denied(ann, get("/photos@one/k"))
	g.allowed(ann, get("/photos/k"))
	g.as(ann, get("/photos@none/k"), 404, "NoSuchSnapshot")
}
