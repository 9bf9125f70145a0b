package s3

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client/bucket"
)

// The examples of the S3 API reference: their keys, requests and signatures.
const (
	exampleKey    = "AKIAIOSFODNN7EXAMPLE"
	exampleSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

var exampleTime = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)

func exampleVerify(t *testing.T, r *http.Request) (*signature, []byte) {
	t.Helper()
	s, e := parseSignature(r, r.URL.Query())
	if e != nil {
		t.Fatal(e)
	}
	if s == nil || s.accessKey != exampleKey {
		t.Fatalf("parsed %+v", s)
	}
	if e := s.checkClaim(r, exampleTime, "us-east-1"); e != nil {
		t.Fatal(e)
	}
	key := signingKey(exampleSecret, s.scope)
	if e := s.verify(r, key); e != nil {
		t.Fatalf("%v: %v", e, e.Extra)
	}
	return s, key
}

func TestSignatureExamples(t *testing.T) {
	for _, c := range []struct {
		name, method, url string
		header            map[string]string
		signed, signature string
	}{
		{"get", "GET", "http://examplebucket.s3.amazonaws.com/test.txt", map[string]string{"Range": "bytes=0-9", "X-Amz-Content-Sha256": emptySHA256},
			"host;range;x-amz-content-sha256;x-amz-date", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
		{"put", "PUT", "http://examplebucket.s3.amazonaws.com/test$file.text",
			map[string]string{"Date": "Fri, 24 May 2013 00:00:00 GMT", "X-Amz-Storage-Class": "REDUCED_REDUNDANCY", "X-Amz-Content-Sha256": "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"},
			"date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
		{"subresource", "GET", "http://examplebucket.s3.amazonaws.com/?lifecycle", map[string]string{"X-Amz-Content-Sha256": emptySHA256},
			"host;x-amz-content-sha256;x-amz-date", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
		{"list", "GET", "http://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J", map[string]string{"X-Amz-Content-Sha256": emptySHA256},
			"host;x-amz-content-sha256;x-amz-date", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(c.method, c.url, nil)
			r.Header.Set("X-Amz-Date", "20130524T000000Z")
			for k, v := range c.header {
				r.Header.Set(k, v)
			}
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+exampleKey+"/20130524/us-east-1/s3/aws4_request,SignedHeaders="+c.signed+",Signature="+c.signature)
			exampleVerify(t, r)
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), c.signature, strings.Repeat("0", 64), 1))
			s, _ := parseSignature(r, r.URL.Query())
			if e := s.verify(r, signingKey(exampleSecret, s.scope)); e == nil || e.Code != "SignatureDoesNotMatch" {
				t.Errorf("a wrong signature: %v", e)
			}
		})
	}
}

func TestPresignedExample(t *testing.T) {
	u := "http://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request" +
		"&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
	r := httptest.NewRequest("GET", u, nil)
	s, _ := exampleVerify(t, r)
	for now, ok := range map[time.Time]bool{
		exampleTime.Add(24 * time.Hour):             true,
		exampleTime.Add(24*time.Hour + time.Second): false,
		exampleTime.Add(-14 * time.Minute):          true,
		exampleTime.Add(-16 * time.Minute):          false,
	} {
		if e := s.checkClaim(r, now, "us-east-1"); (e == nil) != ok {
			t.Errorf("at %v: %v", now, e)
		}
	}
}

func chunkExample(trailing bool) *http.Request {
	r := httptest.NewRequest("PUT", "http://s3.amazonaws.com/examplebucket/chunkObject.txt", nil)
	r.Header.Set("X-Amz-Date", "20130524T000000Z")
	r.Header.Set("X-Amz-Storage-Class", "REDUCED_REDUNDANCY")
	r.Header.Set("Content-Encoding", "aws-chunked")
	r.Header.Set("X-Amz-Decoded-Content-Length", "66560")
	signed, sig := "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class", "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
	r.Header.Set("X-Amz-Content-Sha256", streamSigned)
	r.ContentLength = 66824
	if trailing {
		r.Header.Set("X-Amz-Content-Sha256", streamSignedTrailer)
		r.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32c")
		signed, sig = "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer", "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+exampleKey+"/20130524/us-east-1/s3/aws4_request,SignedHeaders="+signed+",Signature="+sig)
	return r
}

func TestChunkedExample(t *testing.T) {
	s, key := exampleVerify(t, chunkExample(false))
	a := strings.Repeat("a", 65536)
	stream := "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n" + a + "\r\n" +
		"400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n" + a[:1024] + "\r\n" +
		"0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n"
	read := func(stream string) ([]byte, error) {
		return io.ReadAll(newChunkReader(strings.NewReader(stream), &chunkSigner{key: key, stamp: s.stamp, scope: s.scope.String(), prev: s.value}, false))
	}
	if got, err := read(stream); err != nil || len(got) != 66560 {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for name, bad := range map[string]string{
		"a byte changed":      strings.Replace(stream, "aa\r\n", "ab\r\n", 1),
		"a signature changed": strings.Replace(stream, "0055", "0056", 1),
		"a chunk left out":    stream[:strings.Index(stream, "400;")] + stream[strings.Index(stream, "0;chunk-signature=b6"):],
		"cut":                 stream[:len(stream)-200],
		"data after the end":  stream + "x",
		"no signature":        strings.Replace(stream, ";chunk-signature=0055", ";x=0055", 1),
	} {
		if _, err := read(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestTrailerExample(t *testing.T) {
	s, key := exampleVerify(t, chunkExample(true))
	a := strings.Repeat("a", 65536)
	stream := "10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n" + a + "\r\n" +
		"400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n" + a[:1024] + "\r\n" +
		"0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n" +
		"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
	c := newChunkReader(strings.NewReader(stream), &chunkSigner{key: key, stamp: s.stamp, scope: s.scope.String(), prev: s.value}, true)
	if got, err := io.ReadAll(c); err != nil || len(got) != 66560 {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	_, want, e := checksumHeader(c.trailer)
	sum := crc32.Checksum([]byte(strings.Repeat("a", 66560)), crc32.MakeTable(crc32.Castagnoli))
	if e != nil || uint32(crcValue(want)) != sum {
		t.Errorf("trailer %v: %x, %v, want %x", c.trailer, want, e, sum)
	}
	bad := strings.Replace(stream, "sOO8", "sOO9", 1)
	if _, err := io.ReadAll(newChunkReader(strings.NewReader(bad), &chunkSigner{key: key, stamp: s.stamp, scope: s.scope.String(), prev: s.value}, true)); err == nil {
		t.Error("a changed trailer was accepted")
	}
}

// encodeChunks is the client's side of the encoding.
func encodeChunks(data []byte, size int, signer *chunkSigner, trailers [][2]string) []byte {
	var b bytes.Buffer
	sign := func(kind, rest string) string {
		want := hex.EncodeToString(hmacSHA256(signer.key, kind+"\n"+signer.stamp+"\n"+signer.scope+"\n"+signer.prev+"\n"+rest))
		signer.prev = want
		return want
	}
	for done := false; !done; {
		n := min(size, len(data))
		done = n == 0
		fmt.Fprintf(&b, "%x", n)
		if signer != nil {
			sum := sha256.Sum256(data[:n])
			fmt.Fprintf(&b, ";chunk-signature=%s", sign("AWS4-HMAC-SHA256-PAYLOAD", emptySHA256+"\n"+hex.EncodeToString(sum[:])))
		}
		b.WriteString("\r\n")
		if !done {
			b.Write(data[:n])
			b.WriteString("\r\n")
		}
		data = data[n:]
	}
	text := ""
	for _, tr := range trailers {
		fmt.Fprintf(&b, "%s:%s\r\n", tr[0], tr[1])
		text += tr[0] + ":" + tr[1] + "\n"
	}
	if signer != nil && trailers != nil {
		sum := sha256.Sum256([]byte(text))
		fmt.Fprintf(&b, "x-amz-trailer-signature:%s\r\n", sign("AWS4-HMAC-SHA256-TRAILER", hex.EncodeToString(sum[:])))
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// What a client encodes is decoded, whatever the sizes of chunks and reads; and
// no change of a signed stream passes.
func TestChunksRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	signer := func() *chunkSigner {
		return &chunkSigner{key: []byte("key"), stamp: "20260101T000000Z", scope: "s", prev: strings.Repeat("0", 64)}
	}
	for range 200 {
		data := make([]byte, rng.IntN(30_000))
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		var trailers [][2]string
		if rng.IntN(2) == 0 {
			trailers = [][2]string{{"x-amz-checksum-crc32", "AAAAAA=="}}
		}
		var s, s2 *chunkSigner
		if rng.IntN(2) == 0 {
			s, s2 = signer(), signer()
		}
		enc := encodeChunks(data, minChunkBytes+rng.IntN(1000), s, trailers)
		c := newChunkReader(bytes.NewReader(enc), s2, trailers != nil)
		var got []byte
		var err error
		for err == nil {
			buf := make([]byte, 1+rng.IntN(700))
			var n int
			n, err = c.Read(buf)
			got = append(got, buf[:n]...)
		}
		if !errors.Is(err, io.EOF) || !bytes.Equal(got, data) {
			t.Fatalf("%d of %d bytes, %v", len(got), len(data), err)
		}
		if s == nil || len(data) == 0 {
			continue
		}
		at := rng.IntN(len(enc))
		enc[at] ^= byte(1 << rng.IntN(8))
		got, err = io.ReadAll(newChunkReader(bytes.NewReader(enc), signer(), trailers != nil))
		if err == nil && !bytes.Equal(got, data) {
			t.Fatalf("a changed byte at %d passed", at)
		}
	}
}

func FuzzChunkReader(f *testing.F) {
	f.Add([]byte("3\r\nabc\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"), true)
	f.Add(encodeChunks([]byte("hello"), 2, nil, nil), false)
	f.Add([]byte("fffffffffffffffff\r\n"), false)
	f.Add([]byte("0\r\n"), false)
	f.Fuzz(func(t *testing.T, in []byte, trailing bool) {
		c := newChunkReader(bytes.NewReader(in), nil, trailing)
		got, err := io.ReadAll(c)
		if len(got) > len(in) {
			t.Errorf("%d bytes out of %d", len(got), len(in))
		}
		if err == nil && len(c.trailer) > 0 && !trailing {
			t.Error("trailers in a body that has none")
		}
		if _, err := io.ReadAll(newChunkReader(bytes.NewReader(in), &chunkSigner{key: []byte("k")}, trailing)); err == nil && len(in) > 0 {
			t.Error("a stream without valid signatures was accepted")
		}
	})
}

func FuzzParseSignature(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request,SignedHeaders=host,Signature=x", "20130524T000000Z", "a=b&c=%2F")
	f.Add("", "", "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a%2F20130524%2Fr%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=1&X-Amz-SignedHeaders=host&X-Amz-Signature=0")
	f.Fuzz(func(t *testing.T, auth, date, query string) {
		r := &http.Request{Method: "GET", Header: http.Header{"Authorization": {auth}, "X-Amz-Date": {date}, "X-Amz-Content-Sha256": {"x"}}, URL: &url.URL{Path: "/a/b", RawQuery: query}}
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		s, e := parseSignature(r, q)
		if s == nil || e != nil {
			return
		}
		_ = s.checkClaim(r, exampleTime, "r")
		if s.verify(r, []byte("key")) == nil {
			t.Error("verified without the key")
		}
	})
}

func TestHeadersMustBeSigned(t *testing.T) {
	r := chunkExample(false)
	r.Header.Set("X-Amz-Meta-Added", "on the way")
	s, e := parseSignature(r, nil)
	if e != nil {
		t.Fatal(e)
	}
	if e := s.checkClaim(r, exampleTime, "us-east-1"); e == nil || e.Code != "AccessDenied" {
		t.Errorf("an unsigned x-amz- header: %v", e)
	}
}

func TestCanonicalQuery(t *testing.T) {
	for in, want := range map[string]string{
		"":                          "",
		"b=2&a=1":                   "a=1&b=2",
		"a":                         "a=",
		"a=2&a=1":                   "a=1&a=2",
		"k=%2f+x%20y&":              "k=%2F%20x%20y",
		"a-b=1&a=2":                 "a=2&a-b=1",
		"x=1&X-Amz-Signature=0":     "x=1",
		"prefix=%C3%BC%7E&marker=~": "marker=~&prefix=%C3%BC~",
	} {
		if got := canonicalQuery(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// The checksum of a whole equals the combination of its parts' checksums.
func TestCombineChecksums(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, a := range checksumAlgorithms {
		if a.poly == 0 {
			continue
		}
		for range 50 {
			var parts []*bucket.Part
			whole := a.new()
			for range 1 + rng.IntN(4) {
				b := make([]byte, rng.IntN(5000))
				for i := range b {
					b[i] = byte(rng.Uint32())
				}
				h := a.new()
				h.Write(b)
				whole.Write(b)
				parts = append(parts, &bucket.Part{Size: int64(len(b)), Checksum: &bucket.Checksum{Algorithm: a.name, Value: h.Sum(nil)}})
			}
			got, err := combineChecksums(bucket.Upload{Algorithm: a.name, FullObject: true}, parts)
			if err != nil || len(got) != 1 || !bytes.Equal(got[0].Value, whole.Sum(nil)) {
				t.Fatalf("%s of %d parts: %+v, %v, want %x", a.name, len(parts), got, err, whole.Sum(nil))
			}
		}
	}
}

func TestParseRange(t *testing.T) {
	whole := span{size: 100}
	for in, want := range map[string]span{
		"":                                whole,
		"bytes=0-9":                       {off: 0, size: 10, partial: true},
		"bytes=90-200":                    {off: 90, size: 10, partial: true},
		"bytes=99-":                       {off: 99, size: 1, partial: true},
		"bytes=-5":                        {off: 95, size: 5, partial: true},
		"bytes=-500":                      {off: 0, size: 100, partial: true},
		"bytes=9-0":                       whole,
		"bytes=a-b":                       whole,
		"bytes=0-1,5-6":                   whole,
		"bytes=+1-5":                      whole,
		"items=0-1":                       whole,
		"bytes=5":                         whole,
		"bytes=0-99999999999999999999999": {off: 0, size: 100, partial: true},
	} {
		if got, e := parseRange(in, 100); e != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", in, got, e, want)
		}
	}
	for _, in := range []string{"bytes=100-", "bytes=100-200", "bytes=-0", "bytes=99999999999999999999999-"} {
		if _, e := parseRange(in, 100); e == nil || e.Code != "InvalidRange" {
			t.Errorf("%q: %v", in, e)
		}
	}
	if _, e := parseRange("bytes=0-", 0); e == nil {
		t.Error("a range of an empty object")
	}
}

func TestSubresourcesAreKnown(t *testing.T) {
	for r := range routes {
		if r.sub != "" && !slices.Contains(subresources, r.sub) {
			t.Errorf("route %v: %q is not among the subresources", r, r.sub)
		}
	}
}
