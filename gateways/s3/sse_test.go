package s3

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/client/kms"
	"github.com/cairnstore/cairn/internal/seal"
)

func sseC(prefix, key string) map[string]string {
	sum := md5.Sum([]byte(key))
	return map[string]string{prefix + "Algorithm": "AES256", prefix + "Key": base64.StdEncoding.EncodeToString([]byte(key)), prefix + "Key-Md5": base64.StdEncoding.EncodeToString(sum[:])}
}

const aKey, bKey = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"

// encrypting is a gateway with a root key and without a cache of keys.
func encrypting(t *testing.T, pool *clienttest.Pool, root byte) *gateway {
	return newGatewayOn(t, pool, func(o *Options) {
		o.KMS = kms.NewService(kms.Options{Pool: pool, Roots: []seal.Key{{root}}, TTL: time.Nanosecond})
	})
}

var asStore, asService = map[string]string{sseHeader: algAES256}, map[string]string{sseHeader: algKMS}

// Nothing of a body or a key lies in the pool, however the body came there, and neither is found without its key.
func TestNothingInTheClear(t *testing.T) {
	pool := clienttest.New(t)
	g := encrypting(t, pool, 1)
	g.want(call{method: "PUT", path: "/photos"}, 200)
	secret := []byte("a very secret sentence.")
	long := bytes.Repeat(secret, 9000)
	for name, h := range map[string]map[string]string{"store": asStore, "service": asService, "customer": sseC(customerHeader, aKey)} {
		g.want(call{method: "PUT", path: "/photos/small-" + name, header: h, body: secret}, 200)
		g.want(call{method: "PUT", path: "/photos/long-" + name, header: h, body: long}, 200)
	}
	g.want(call{method: "PUT", path: "/photos/plain", body: []byte("in the clear, so that looking finds something")}, 200)
	found := map[string]bool{}
	look := func(b []byte) {
		for what, s := range map[string]string{"body": "secret sentence", "key": aKey, "md5 of the body": string(md5Sum(secret)), "plain": "so that looking finds"} {
			if bytes.Contains(b, []byte(s)) {
				found[what] = true
			}
		}
	}
	for _, name := range pool.Names() {
		res, err := pool.DoRaw(t.Context(), name, new(client.Op).Read(0, 1<<26).OmapList("", "", 10_000).GetAttrs())
		if err != nil {
			t.Fatal(err)
		}
		look(res.Items[0].Data)
		for _, kv := range append(res.Items[1].KVs, res.Items[2].KVs...) {
			look([]byte(kv.Key))
			look(kv.Value)
		}
	}
	if !found["plain"] {
		t.Fatal("the look finds nothing at all")
	}
	// SSE-S3 tells the MD5 in its etag, as AWS does.
	if found["body"] || found["key"] || !found["md5 of the body"] {
		t.Errorf("found in the pool: %v", found)
	}
}

func md5Sum(b []byte) []byte { s := md5.Sum(b); return s[:] }

// A gateway that cannot have a key says so, and gives nothing away.
func TestKeysThatAreNotThere(t *testing.T) {
	pool := clienttest.New(t)
	g := encrypting(t, pool, 1)
	g.want(call{method: "PUT", path: "/photos"}, 200)
	g.want(call{method: "PUT", path: "/photos/s", header: asStore, body: []byte("v")}, 200)
	g.want(call{method: "PUT", path: "/photos/k", header: asService, body: []byte("v")}, 200)
	g.want(call{method: "PUT", path: "/photos/c", header: sseC(customerHeader, aKey), body: []byte("v")}, 200)
	without := newGatewayOn(t, pool, nil)
	without.wantErr(call{method: "PUT", path: "/photos/n", header: asStore}, 501, "NotImplemented")
	without.wantErr(call{method: "PUT", path: "/photos?encryption", body: []byte("<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>")}, 501, "NotImplemented")
	for _, k := range []string{"s", "k"} {
		without.wantErr(call{method: "GET", path: "/photos/" + k}, 500, "KMS.KeyUnavailableException")
		without.want(call{method: "HEAD", path: "/photos/" + k}, 200)
		encrypting(t, pool, 2).wantErr(call{method: "GET", path: "/photos/" + k}, 500, "KMS.KeyUnavailableException")
	}
	without.want(call{method: "GET", path: "/photos/c", header: sseC(customerHeader, aKey)}, 200)
	store := kms.NewStore(pool)
	if _, err := store.SetDisabled(t.Context(), kms.DefaultKey, true); err != nil {
		t.Fatal(err)
	}
	g.wantErr(call{method: "GET", path: "/photos/k"}, 400, "KMS.DisabledException")
	g.wantErr(call{method: "PUT", path: "/photos/k", header: asService}, 400, "KMS.DisabledException")
	g.wantErr(call{method: "PUT", path: "/photos/copy", header: map[string]string{"X-Amz-Copy-Source": "photos/k"}}, 400, "KMS.DisabledException")
	g.want(call{method: "GET", path: "/photos/s"}, 200)
	if _, err := store.SetDisabled(t.Context(), kms.DefaultKey, false); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Rotate(t.Context(), kms.DefaultKey); err != nil {
		t.Fatal(err)
	}
	if r := g.want(call{method: "GET", path: "/photos/k"}, 200); string(r.body) != "v" {
		t.Errorf("after rotation: %q", r.body)
	}
}

// Bytes that were changed in the pool are never sent; a record does not open beside another object.
func TestEncryptedDamage(t *testing.T) {
	pool := clienttest.New(t)
	g := encrypting(t, pool, 1)
	g.want(call{method: "PUT", path: "/photos"}, 200)
	body := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
	g.want(call{method: "PUT", path: "/photos/k", header: asStore, body: body}, 200)
	var data string
	for _, name := range pool.Names() {
		if strings.HasPrefix(name, "s3.data.") {
			data = name
		}
	}
	res, err := pool.DoRaw(t.Context(), data, new(client.Op).Read(0, 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.DoRaw(t.Context(), data, new(client.Op).Write(0, []byte{res.Items[0].Data[0] ^ 1})); err != nil {
		t.Fatal(err)
	}
	g.wantErr(call{method: "GET", path: "/photos/k"}, 500, "InternalError")
	if r := g.want(call{method: "GET", path: "/photos/k", header: map[string]string{"Range": "bytes=65536-65540"}}, 206); string(r.body) != string(body[65536:65541]) {
		t.Errorf("a segment that is whole: %q", r.body)
	}
}

// Keys of clients are taken over plain HTTP from where the gateway was told.
func TestPlainSSEC(t *testing.T) {
	for mode, want := range map[string][2]bool{"": {true, false}, PlainSSECLoopback: {true, false}, PlainSSECAlways: {true, true}, PlainSSECNever: {false, false}} {
		g := newGateway(t, func(o *Options) { o.PlainSSEC = mode })
		for i, from := range []string{"127.0.0.1:9", "10.0.0.7:9"} {
			q := &request{s: g.srv, r: httptest.NewRequest("GET", "/", nil)}
			q.r.RemoteAddr = from
			if got := q.confidential(); got != want[i] {
				t.Errorf("mode %q from %s: %v", mode, from, got)
			}
		}
	}
	if _, err := New(Options{Buckets: newGateway(t, nil).svc, Users: users, PlainSSEC: "sometimes"}); err == nil {
		t.Error("an unknown mode is taken")
	}
	g := newGateway(t, func(o *Options) { o.PlainSSEC = PlainSSECNever })
	g.want(call{method: "PUT", path: "/photos"}, 200)
	r := g.wantErr(call{method: "PUT", path: "/photos/k", header: sseC(customerHeader, bKey)}, 400, "InvalidRequest")
	if strings.Contains(string(r.body), base64.StdEncoding.EncodeToString([]byte(bKey))) {
		t.Error("the answer has the key")
	}
}

// What is encrypted is read in a snapshot of its bucket, and in a clone of that, when it is gone from the bucket.
func TestEncryptedInSnapshots(t *testing.T) {
	pool := clienttest.New(t)
	g := encrypting(t, pool, 1)
	g.want(call{method: "PUT", path: "/photos"}, 200)
	body := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
	headers := map[string]map[string]string{"store": asStore, "service": asService, "customer": sseC(customerHeader, aKey)}
	for name, h := range headers {
		g.want(call{method: "PUT", path: "/photos/" + name, header: h, body: body}, 200)
		g.want(call{method: "PUT", path: "/photos/small-" + name, header: h, body: body[:10]}, 200)
	}
	b, err := g.svc.Bucket(t.Context(), "photos")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.TakeSnapshot(t.Context(), "s1"); err != nil {
		t.Fatal(err)
	}
	for name := range headers {
		g.want(call{method: "DELETE", path: "/photos/" + name}, 204)
		g.want(call{method: "PUT", path: "/photos/small-" + name, body: []byte("other")}, 200)
	}
	if _, err := g.svc.Clone(t.Context(), "photos", "s1", "again", "ann"); err != nil {
		t.Fatal(err)
	}
	for _, in := range []string{"/photos@s1/", "/again/"} {
		for name, h := range headers {
			read := map[string]string{}
			if name == "customer" {
				read = h
			}
			if r := g.want(call{method: "GET", path: in + name, header: read}, 200); !bytes.Equal(r.body, body) {
				t.Errorf("%s%s: another body", in, name)
			}
			if r := g.want(call{method: "GET", path: in + "small-" + name, header: read}, 200); !bytes.Equal(r.body, body[:10]) {
				t.Errorf("%ssmall-%s: another body", in, name)
			}
		}
		g.wantErr(call{method: "GET", path: in + "customer"}, 400, "InvalidRequest")
	}
}
