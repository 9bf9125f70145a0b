package s3

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client/clienttest"
)

// TestPairsWithHeaders: headers that ask for more than a put need the same permission for many pairs as for one.
func TestPairsWithHeaders(t *testing.T) {
	g := withBucket(t)
	g.setPolicy("photos", statement("Allow", onlyBob, "s3:PutObject", "photos/*", ""))
	pairs := call{method: "POST", path: "/photos/m?comp=kv", body: []byte(`{"a":"1","b":"2"}`)}
	for name, value := range map[string]string{
		"X-Amz-Tagging": "t=1", "X-Amz-Object-Lock-Legal-Hold": "ON", "X-Amz-Object-Lock-Mode": "COMPLIANCE", "X-Amz-Bypass-Governance-Retention": "true",
	} {
		g.denied(bob, pairs.with(name, value))
	}
	g.allowed(bob, pairs)
	g.allowed(ann, pairs.with("X-Amz-Tagging", "t=1"))
}

// TestBlockEncrypts: what a block is written into is encrypted if the bucket says so by now, whatever was there before.
func TestBlockEncrypts(t *testing.T) {
	g := encrypting(t, clienttest.New(t), 1)
	g.want(call{method: "PUT", path: "/photos"}, 200)
	g.put("/photos/k", "hello ")
	g.put("/photos/session", "hello")
	g.want(put("/photos?encryption", `<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>`), 200)
	g.want(call{method: "POST", path: "/photos/k?comp=appendblock", body: []byte("world")}, 200)
	g.want(call{method: "POST", path: "/photos/k?comp=randwrblock", body: []byte("J"), header: map[string]string{offsetHeader: "0"}}, 200)
	if r := g.want(get("/photos/k"), 200); string(r.body) != "Jello world" || r.header.Get(sseHeader) != "AES256" {
		t.Errorf("%q, encrypted %q", r.body, r.header.Get(sseHeader))
	}
	g.wantErr(call{method: "POST", path: "/photos/session?comp=streamsession"}, 501, "NotImplemented")
}

// TestSigV2MeansOneObject: who was given an address that is signed with Version 2 cannot make it mean another object.
func TestSigV2MeansOneObject(t *testing.T) {
	g := newGateway(t, func(o *Options) { o.SigV2 = true; o.Domains = []string{"s3.test"} })
	g.want(call{method: "PUT", path: "/photos"}, 200)
	g.put("/photos/m", "mine")
	g.put("/photos/m/secret", "old")
	b, err := g.svc.Bucket(t.Context(), "photos")
	if err == nil {
		_, err = b.TakeSnapshot(t.Context(), "one")
	}
	if err != nil {
		t.Fatal(err)
	}
	expires := fmt.Sprint(time.Now().Add(time.Hour).Unix())
	presigned := func(method, path string) string {
		return path + "?AWSAccessKeyId=" + ann.Keys[0].AccessKey + "&Expires=" + expires + "&Signature=" + url.QueryEscape(hmacSHA1(ann.Keys[0].SecretKey, method+"\n\n\n"+expires+"\n"+"/photos/m"))
	}
	if r := g.do(call{method: "GET", path: presigned("GET", "/photos/m")}); string(r.body) != "mine" {
		t.Fatalf("%d %q", r.status, r.body)
	}
	for _, c := range []call{
		{method: "GET", path: presigned("GET", "/photos/m") + "&comp=kvget&key=secret"},
		{method: "DELETE", path: presigned("DELETE", "/photos/m") + "&comp=kv&all=1"},
		{method: "GET", path: presigned("GET", "/m"), host: "photos__one.s3.test"},
	} {
		if r := g.do(c); r.status != 400 || r.err.Code != "InvalidRequest" {
			t.Errorf("%s %s: %d %s %q", c.method, c.path, r.status, r.err.Code, r.body)
		}
	}
	g.want(call{method: "GET", path: "/photos/m/secret"}, 200)
}
