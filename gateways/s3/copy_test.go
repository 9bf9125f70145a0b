package s3

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/client/clienttest"
)

// chunkGateway is a gateway on a pool that makes chunks, with a bucket.
func chunkGateway(t *testing.T) (*gateway, *clienttest.Holders) {
	t.Helper()
	pool := clienttest.New(t)
	var pol client.ChunkPolicy
	for _, kv := range [][2]string{{"chunks", "4:2:rs"}, {"chunk_size", "256K"}} {
		if err := pol.Set(kv[0], kv[1]); err != nil {
			t.Fatal(err)
		}
	}
	h := pool.MakeChunks(pol, 7)
	g := newGatewayOn(t, pool, nil)
	g.want(call{method: "PUT", path: "/photos"}, 200)
	return g, h
}

func (g *gateway) random(path string, n int) []byte {
	g.t.Helper()
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}).Read(b)
	g.want(call{method: "PUT", path: path, body: b, payload: unsignedBody}, 200)
	return b
}

func copyOf(path, source string, header ...string) call {
	c := call{method: "PUT", path: path, header: map[string]string{"X-Amz-Copy-Source": source}}
	for i := 0; i < len(header); i += 2 {
		c.header[header[i]] = header[i+1]
	}
	return c
}

// CopyObject and UploadPartCopy move no body where chunks can be shared, unless they are asked for a checksum that the source
// does not have.
func TestCopyMovesNothing(t *testing.T) {
	g, h := chunkGateway(t)
	want := g.random("/photos/k", 6<<20+11)
	shards := 0
	h.Before(func(context.Context, clienttest.HolderCall) error { shards++; return nil })
	var res struct{ ETag, ChecksumCRC32C string }
	if err := xml.Unmarshal(g.want(copyOf("/photos/copy", "photos/k"), 200).body, &res); err != nil || res.ETag != g.want(call{method: "HEAD", path: "/photos/k"}, 200).header.Get("ETag") {
		t.Errorf("etag %s, %v", res.ETag, err)
	}
	var up xmlInitiated
	if err := xml.Unmarshal(g.want(call{method: "POST", path: "/photos/parts?uploads"}, 200).body, &up); err != nil {
		t.Fatal(err)
	}
	var doc strings.Builder
	for i, rng := range []string{"bytes=0-5242882", fmt.Sprintf("bytes=5242883-%d", len(want)-1)} {
		r := g.want(copyOf(fmt.Sprintf("/photos/parts?partNumber=%d&uploadId=%s", i+1, up.UploadID), "/photos/k", "X-Amz-Copy-Source-Range", rng), 200)
		if err := xml.Unmarshal(r.body, &res); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&doc, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, res.ETag)
	}
	g.want(call{method: "POST", path: "/photos/parts?uploadId=" + up.UploadID, body: []byte("<CompleteMultipartUpload>" + doc.String() + "</CompleteMultipartUpload>")}, 200)
	g.want(copyOf("/photos/again", "photos/parts"), 200)
	if shards != 0 {
		t.Errorf("%d shards were moved", shards)
	}
	if err := xml.Unmarshal(g.want(copyOf("/photos/summed", "photos/k", "X-Amz-Checksum-Algorithm", "CRC32C"), 200).body, &res); err != nil || res.ChecksumCRC32C == "" {
		t.Errorf("checksum %q, %v", res.ChecksumCRC32C, err)
	}
	if sum := res.ChecksumCRC32C; shards == 0 {
		t.Error("a checksum was made of nothing")
	} else {
		shards = 0
		if err := xml.Unmarshal(g.want(copyOf("/photos/summed2", "photos/summed", "X-Amz-Checksum-Algorithm", "CRC32C"), 200).body, &res); err != nil || res.ChecksumCRC32C != sum || shards != 0 {
			t.Errorf("checksum %q, want %q, %d shards moved, %v", res.ChecksumCRC32C, sum, shards, err)
		}
	}
	parts, again := g.want(call{method: "HEAD", path: "/photos/parts"}, 200).header, g.want(call{method: "HEAD", path: "/photos/again"}, 200).header
	if parts.Get("ETag") != again.Get("ETag") || !strings.HasSuffix(again.Get("ETag"), `-2"`) {
		t.Errorf("etag %s, of its copy %s", parts.Get("ETag"), again.Get("ETag"))
	}
	// The copy has one part, whatever its etag says.
	if r := g.want(call{method: "GET", path: "/photos/again?partNumber=1"}, 206); r.header.Get("X-Amz-Mp-Parts-Count") != "" || len(r.body) != len(want) {
		t.Errorf("part 1 of %s has %d bytes", r.header.Get("X-Amz-Mp-Parts-Count"), len(r.body))
	}
	g.want(call{method: "DELETE", path: "/photos/k"}, 204)
	for _, key := range []string{"copy", "parts", "again", "summed", "summed2"} {
		if r := g.want(call{method: "GET", path: "/photos/" + key}, 200); !bytes.Equal(r.body, want) {
			t.Errorf("%s: %d other bytes", key, len(r.body))
		}
	}
}

// The source is replaced, and its body removed, while it is copied: what is copied is always what the conditions held for.
func TestCopyConditionsInRace(t *testing.T) {
	g, _ := chunkGateway(t)
	neu := bytes.Repeat([]byte("new"), 100_000)
	var up xmlInitiated
	if err := xml.Unmarshal(g.want(call{method: "POST", path: "/photos/parts?uploads"}, 200).body, &up); err != nil {
		t.Fatal(err)
	}
	part := fmt.Sprintf("/photos/parts?partNumber=1&uploadId=%s", up.UploadID)
	for _, path := range []string{"/photos/copy", part} {
		old := g.random("/photos/k", 300_000)
		tag := g.want(call{method: "HEAD", path: "/photos/k"}, 200).header.Get("ETag")
		replace := func() {
			done := false
			g.pool.Before(func(ctx context.Context, c clienttest.Call) error {
				if done || !strings.HasPrefix(c.Object, "s3.data.") {
					return nil
				}
				done = true
				b, err := g.svc.Bucket(ctx, "photos")
				if err == nil {
					_, err = b.Put(ctx, "k", bucket.PutInput{Body: bytes.NewReader(neu), Size: int64(len(neu))})
				}
				if err == nil {
					err = g.remove(c.Object)
				}
				if err != nil {
					t.Error(err)
				}
				return nil
			})
		}
		replace()
		g.wantErr(copyOf(path, "photos/k", "X-Amz-Copy-Source-If-Match", tag), 412, "PreconditionFailed")
		g.pool.Before(nil)
		g.want(call{method: "PUT", path: "/photos/k", body: old, payload: unsignedBody}, 200)
		replace()
		g.want(copyOf(path, "photos/k"), 200)
		g.pool.Before(nil)
		if path == part {
			path = "/photos/parts"
			g.want(call{method: "POST", path: path + "?uploadId=" + up.UploadID, body: []byte("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>" +
				g.want(call{method: "HEAD", path: "/photos/k"}, 200).header.Get("ETag") + "</ETag></Part></CompleteMultipartUpload>")}, 200)
		}
		if r := g.want(call{method: "GET", path: path}, 200); !bytes.Equal(r.body, neu) {
			t.Errorf("%s: %d other bytes", path, len(r.body))
		}
	}
}
