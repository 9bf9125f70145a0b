package s3

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
)

func (g *gateway) remove(object string) error {
	_, err := g.pool.Do(g.t.Context(), object, new(client.Op).Remove(false))
	return err
}

func TestMultipartProtocol(t *testing.T) {
	g := withBucket(t)
	for _, c := range []struct{ algorithm, typ string }{{"", ""}, {"CRC32", ""}, {"CRC32", "FULL_OBJECT"}, {"CRC32C", "COMPOSITE"}, {"CRC64NVME", ""}, {"SHA256", ""}} {
		path := "/photos/m-" + c.algorithm + c.typ
		header := map[string]string{"Content-Type": "a/b"}
		if c.algorithm != "" {
			header["X-Amz-Checksum-Algorithm"] = c.algorithm
		}
		if c.typ != "" {
			header["X-Amz-Checksum-Type"] = c.typ
		}
		var up xmlInitiated
		if err := xml.Unmarshal(g.want(call{method: "POST", path: path + "?uploads", header: header}, 200).body, &up); err != nil {
			t.Fatal(err)
		}
		id := "uploadId=" + up.UploadID
		bodies := [][]byte{bytes.Repeat([]byte("a"), 5<<20), []byte("the end")}
		var doc strings.Builder
		for i, b := range bodies {
			r := g.want(call{method: "PUT", path: fmt.Sprintf("%s?partNumber=%d&%s", path, i+1, id), body: b, payload: unsignedBody}, 200)
			if c.algorithm != "" && r.header.Get("x-amz-checksum-"+c.algorithm) == "" {
				t.Errorf("%+v: no checksum of part %d", c, i+1)
			}
			fmt.Fprintf(&doc, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag>", i+1, r.header.Get("Etag"))
			if c.algorithm != "" {
				fmt.Fprintf(&doc, "<Checksum%s>%s</Checksum%s>", c.algorithm, r.header.Get("x-amz-checksum-"+c.algorithm), c.algorithm)
			}
			doc.WriteString("</Part>")
		}
		var parts xmlParts
		if err := xml.Unmarshal(g.want(call{method: "GET", path: path + "?" + id + "&max-parts=1"}, 200).body, &parts); err != nil {
			t.Fatal(err)
		}
		if len(parts.Parts) != 1 || !parts.IsTruncated || parts.NextPartNumberMarker != 1 || parts.Parts[0].Size != 5<<20 {
			t.Errorf("parts: %+v", parts)
		}
		if r := g.want(call{method: "GET", path: "/photos?uploads"}, 200); !bytes.Contains(r.body, []byte(up.UploadID)) {
			t.Errorf("uploads: %s", r.body)
		}
		g.want(call{method: "HEAD", path: path}, 404)
		complete := call{method: "POST", path: path + "?" + id, body: []byte("<CompleteMultipartUpload>" + doc.String() + "</CompleteMultipartUpload>")}
		bad := complete
		bad.body = bytes.Replace(bad.body, []byte("<PartNumber>2<"), []byte("<PartNumber>3<"), 1)
		g.wantErr(bad, 400, "InvalidPart")
		r := g.want(complete, 200)
		if !bytes.Contains(r.body, []byte("-2&#34;")) {
			t.Errorf("answer: %s", r.body)
		}
		g.want(complete, 200) // again
		h := g.want(call{method: "HEAD", path: path, header: map[string]string{"X-Amz-Checksum-Mode": "ENABLED"}}, 200)
		if h.header.Get("Content-Type") != "a/b" || h.header.Get("Content-Length") != "5242887" {
			t.Errorf("head: %v", h.header)
		}
		if c.algorithm != "" {
			sum := checksumByName(c.algorithm).new()
			for _, b := range bodies {
				sum.Write(b)
			}
			got, typ := h.header.Get("x-amz-checksum-"+c.algorithm), h.header.Get("X-Amz-Checksum-Type")
			full := c.typ == "FULL_OBJECT" || c.algorithm == "CRC64NVME"
			if full && (got != checksumValue(sum.Sum(nil)) || typ != "FULL_OBJECT") || !full && (!strings.HasSuffix(got, "-2") || typ != "COMPOSITE") {
				t.Errorf("%+v: checksum %q of type %q", c, got, typ)
			}
		}
		p := g.want(call{method: "GET", path: path + "?partNumber=2"}, 206)
		if string(p.body) != "the end" || p.header.Get("X-Amz-Mp-Parts-Count") != "2" || p.header.Get("Content-Range") != "bytes 5242880-5242886/5242887" {
			t.Errorf("part 2: %q %v", p.body, p.header)
		}
	}
	g.wantErr(call{method: "PUT", path: "/photos/m?partNumber=1&uploadId=none", body: []byte("x")}, 404, "NoSuchUpload")
	g.wantErr(call{method: "PUT", path: "/photos/m?partNumber=0&uploadId=none", body: []byte("x")}, 400, "InvalidArgument")
	g.wantErr(call{method: "POST", path: "/photos/m?uploads", header: map[string]string{"X-Amz-Checksum-Algorithm": "SHA1", "X-Amz-Checksum-Type": "FULL_OBJECT"}}, 400, "InvalidRequest")
}

func TestUploadPartCopyAndAbort(t *testing.T) {
	g := withBucket(t)
	src := bytes.Repeat([]byte("0123456789"), 600_000)
	g.want(call{method: "PUT", path: "/photos/src", body: src, payload: unsignedBody}, 200)
	var up xmlInitiated
	if err := xml.Unmarshal(g.want(call{method: "POST", path: "/photos/dst?uploads", header: map[string]string{"X-Amz-Checksum-Algorithm": "CRC32"}}, 200).body, &up); err != nil {
		t.Fatal(err)
	}
	part := func(n int, rng string) call {
		h := map[string]string{"X-Amz-Copy-Source": "photos/src"}
		if rng != "" {
			h["X-Amz-Copy-Source-Range"] = rng
		}
		return call{method: "PUT", path: fmt.Sprintf("/photos/dst?partNumber=%d&uploadId=%s", n, up.UploadID), header: h}
	}
	var doc strings.Builder
	for i, rng := range []string{"", "bytes=5-14"} {
		var res struct{ ETag, ChecksumCRC32 string }
		r := g.want(part(i+1, rng), 200)
		if err := xml.Unmarshal(r.body, &res); err != nil || res.ChecksumCRC32 == "" {
			t.Fatalf("%v: %s", err, r.body)
		}
		fmt.Fprintf(&doc, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag><ChecksumCRC32>%s</ChecksumCRC32></Part>", i+1, res.ETag, res.ChecksumCRC32)
	}
	for _, bad := range []string{"bytes=7-", "x", "bytes=-5"} {
		g.wantErr(part(3, bad), 400, "InvalidArgument")
	}
	g.wantErr(part(3, "bytes=0-6000000"), 416, "InvalidRange")
	g.want(call{method: "POST", path: "/photos/dst?uploadId=" + up.UploadID, body: []byte("<CompleteMultipartUpload>" + doc.String() + "</CompleteMultipartUpload>")}, 200)
	if r := g.want(call{method: "GET", path: "/photos/dst"}, 200); !bytes.Equal(r.body, append(bytes.Clone(src), src[5:15]...)) {
		t.Errorf("read %d bytes", len(r.body))
	}
	if err := xml.Unmarshal(g.want(call{method: "POST", path: "/photos/x?uploads"}, 200).body, &up); err != nil {
		t.Fatal(err)
	}
	g.want(call{method: "DELETE", path: "/photos/x?uploadId=" + up.UploadID}, 204)
	g.wantErr(call{method: "DELETE", path: "/photos/x?uploadId=" + up.UploadID}, 404, "NoSuchUpload")
	g.wantErr(call{method: "GET", path: "/photos/x?uploadId=" + up.UploadID}, 404, "NoSuchUpload")
}

// minio-go signs, chunks, checksums and lists in its own way.
func TestMinioClient(t *testing.T) { testMinioClient(t, newGateway(t, nil)) }

// TestMinioClientChunks is the same on a pool that makes chunks of bodies.
func TestMinioClientChunks(t *testing.T) {
	pool := clienttest.New(t)
	var pol client.ChunkPolicy
	for _, kv := range [][2]string{{"chunks", "4:2:rs"}, {"cut", "content"}, {"chunk_size", "256K"}, {"compression", "s2"}} {
		if err := pol.Set(kv[0], kv[1]); err != nil {
			t.Fatal(err)
		}
	}
	pool.MakeChunks(pol, 7)
	testMinioClient(t, newGatewayOn(t, pool, nil))
	st := pool.ChunkStats()
	// The same body is put in one piece and in parts of several kinds, copied and composed.
	if st.Written == 0 || st.Shared < 5*st.Written || st.Local > 0 {
		t.Errorf("%+v", st)
	}
}

// TestChunksGivenUp has references taken for left behind before they are set: nothing is stored, and the client may try again.
func TestChunksGivenUp(t *testing.T) {
	pool := clienttest.New(t)
	var pol client.ChunkPolicy
	if err := pol.Set("chunks", "replica:2"); err != nil {
		t.Fatal(err)
	}
	pool.MakeChunks(pol, 3)
	g := newGatewayOn(t, pool, nil)
	g.want(call{method: "PUT", path: "/films"}, 200)
	pool.Before(func(_ context.Context, c clienttest.Call) error {
		if c.Ops[0].Kind.String() == "SET_REF" {
			return client.ErrConflict
		}
		return nil
	})
	body := bytes.Repeat([]byte("cairn"), 100_000)
	g.wantErr(call{method: "PUT", path: "/films/k", body: body}, 503, "ServiceUnavailable")
	g.wantErr(call{method: "GET", path: "/films/k"}, 404, "NoSuchKey")
	pool.Before(nil)
	g.want(call{method: "PUT", path: "/films/k", body: body}, 200)
	if got := g.want(call{method: "GET", path: "/films/k"}, 200); !bytes.Equal(got.body, body) {
		t.Errorf("%d bytes come back", len(got.body))
	}
}

func testMinioClient(t *testing.T, g *gateway) {
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	ctx := t.Context()
	c, err := minio.New(g.addr, &minio.Options{
		Creds: credentials.NewStaticV4(ann.Keys[0].AccessKey, ann.Keys[0].SecretKey, ""), Transport: tr, Region: "us-east-1", TrailingHeaders: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.MakeBucket(ctx, "films", minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	if ok, err := c.BucketExists(ctx, "films"); err != nil || !ok {
		t.Errorf("bucket exists: %v %v", ok, err)
	}
	big := bytes.Repeat([]byte("cairn"), 4<<20)
	for name, put := range map[string]struct {
		body []byte
		o    minio.PutObjectOptions
	}{
		"small":         {[]byte("x"), minio.PutObjectOptions{ContentType: "a/b", UserMetadata: map[string]string{"k": "v"}}},
		"empty":         {nil, minio.PutObjectOptions{}},
		"md5":           {[]byte("md5"), minio.PutObjectOptions{SendContentMd5: true}},
		"one piece":     {big, minio.PutObjectOptions{DisableMultipart: true}},
		"parts":         {big, minio.PutObjectOptions{PartSize: 5 << 20}},
		"full checksum": {big, minio.PutObjectOptions{PartSize: 5 << 20, Checksum: minio.ChecksumFullObjectCRC32C}},
		"crc64":         {big, minio.PutObjectOptions{PartSize: 5 << 20, Checksum: minio.ChecksumCRC64NVME}},
		"sha256":        {[]byte("sha"), minio.PutObjectOptions{Checksum: minio.ChecksumSHA256}},
	} {
		info, err := c.PutObject(ctx, "films", name, bytes.NewReader(put.body), int64(len(put.body)), put.o)
		if err != nil || info.Size != int64(len(put.body)) {
			t.Errorf("%s: put %+v, %v", name, info, err)
			continue
		}
		o, err := c.GetObject(ctx, "films", name, minio.GetObjectOptions{Checksum: true})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(o)
		if err != nil || !bytes.Equal(got, put.body) {
			t.Errorf("%s: read %d bytes, %v", name, len(got), err)
		}
		o.Close()
	}
	st, err := c.StatObject(ctx, "films", "small", minio.StatObjectOptions{})
	if err != nil || st.ContentType != "a/b" || st.UserMetadata["K"] != "v" {
		t.Errorf("stat: %+v, %v", st, err)
	}
	n := 0
	for o := range c.ListObjects(ctx, "films", minio.ListObjectsOptions{Recursive: true, MaxKeys: 3}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		n++
	}
	if n != 8 {
		t.Errorf("listed %d objects, want 8", n)
	}
	u, err := c.PresignedGetObject(ctx, "films", "small", 60e9, url.Values{"response-content-type": {"x/y"}})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(&http.Request{Method: "GET", URL: u, Header: http.Header{}})
	if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "x/y" {
		t.Errorf("presigned get: %+v, %v", resp, err)
	}
	resp.Body.Close()
	if u, err = c.PresignedPutObject(ctx, "films", "presigned", 60e9); err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest("PUT", u.String(), strings.NewReader("by anybody"))
	if err != nil {
		t.Fatal(err)
	}
	if resp, err = tr.RoundTrip(r); err != nil || resp.StatusCode != 200 {
		t.Errorf("presigned put: %+v, %v", resp, err)
	}
	resp.Body.Close()
	if _, err := c.CopyObject(ctx, minio.CopyDestOptions{Bucket: "films", Object: "copy"}, minio.CopySrcOptions{Bucket: "films", Object: "parts"}); err != nil {
		t.Error(err)
	}
	if _, err := c.ComposeObject(ctx, minio.CopyDestOptions{Bucket: "films", Object: "composed"}, minio.CopySrcOptions{Bucket: "films", Object: "parts"}, minio.CopySrcOptions{Bucket: "films", Object: "one piece"}); err != nil {
		t.Error(err)
	}
	if st, err := c.StatObject(ctx, "films", "composed", minio.StatObjectOptions{}); err != nil || st.Size != int64(2*len(big)) {
		t.Errorf("composed: %+v, %v", st, err)
	}
	objects := make(chan minio.ObjectInfo)
	go func() {
		defer close(objects)
		for o := range c.ListObjects(ctx, "films", minio.ListObjectsOptions{Recursive: true}) {
			objects <- o
		}
	}()
	for e := range c.RemoveObjects(ctx, "films", objects, minio.RemoveObjectsOptions{}) {
		t.Errorf("remove %s: %v", e.ObjectName, e.Err)
	}
	if err := c.RemoveBucket(ctx, "films"); err != nil {
		t.Error(err)
	}
}
