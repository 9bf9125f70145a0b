package s3

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// call is a request to be signed and sent.
type call struct {
	user    *wirepb.User // nil: anonymous
	method  string
	path    string // raw, as it goes over the wire, with the query
	host    string
	body    []byte
	header  map[string]string
	payload string // x-amz-content-sha256; default the body's hash
	raw     []byte // sent in place of body, if set
	date    time.Time
	region  string
	after   func(r *http.Request) // changes the request once it is signed
}

type result struct {
	status int
	header http.Header
	body   []byte
	err    struct {
		Code, Message, Resource, RequestId, HostId, Region string
	}
}

func (g *gateway) do(c call) *result {
	g.t.Helper()
	u, err := url.Parse("http://" + g.addr + c.path)
	if err != nil {
		g.t.Fatal(err)
	}
	sent := c.body
	if c.raw != nil {
		sent = c.raw
	}
	r, err := http.NewRequest(c.method, u.String(), bytes.NewReader(sent))
	if err != nil {
		g.t.Fatal(err)
	}
	if c.host != "" {
		r.Host = c.host
	}
	for k, v := range c.header {
		r.Header.Set(k, v)
	}
	if c.date.IsZero() {
		c.date = time.Now()
	}
	if c.region == "" {
		c.region = "us-east-1"
	}
	if c.payload == "" {
		sum := sha256.Sum256(c.body)
		c.payload = hex.EncodeToString(sum[:])
	}
	if c.user != nil {
		sign(r, c.user.Keys[0], c.payload, c.date, c.region)
	}
	if c.after != nil {
		c.after(r)
	}
	resp, err := g.tr.RoundTrip(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	out := &result{status: resp.StatusCode, header: resp.Header}
	if out.body, err = io.ReadAll(resp.Body); err != nil {
		g.t.Fatalf("%s %s: %v", c.method, c.path, err)
	}
	if out.status >= 400 && c.method != "HEAD" {
		if err := xml.Unmarshal(out.body, &out.err); err != nil {
			g.t.Fatalf("%s %s: status %d with a body that is no error: %q", c.method, c.path, out.status, out.body)
		}
	}
	return out
}

// sign signs with the code under test, which the published examples hold to the standard.
func sign(r *http.Request, key *wirepb.AccessKey, payload string, at time.Time, region string) *signature {
	s := &signature{stamp: at.UTC().Format(dateLayout), payload: payload}
	s.scope = scope{date: s.stamp[:8], region: region, service: "s3"}
	r.Header.Set("X-Amz-Date", s.stamp)
	r.Header.Set("X-Amz-Content-Sha256", payload)
	s.headers = []string{"host"}
	for name := range r.Header {
		s.headers = append(s.headers, strings.ToLower(name))
	}
	slices.Sort(s.headers)
	s.value = hex.EncodeToString(hmacSHA256(signingKey(key.SecretKey, s.scope), s.stringToSign(s.canonicalRequest(r))))
	r.Header.Set("Authorization", fmt.Sprintf("%s Credential=%s/%s, SignedHeaders=%s, Signature=%s", algorithm, key.AccessKey, s.scope, strings.Join(s.headers, ";"), s.value))
	return s
}

func (g *gateway) want(c call, status int) *result {
	g.t.Helper()
	if c.user == nil {
		c.user = ann
	}
	r := g.do(c)
	if r.status != status {
		g.t.Fatalf("%s %s: status %d %s %s, want %d", c.method, c.path, r.status, r.err.Code, r.err.Message, status)
	}
	return r
}

func (g *gateway) wantErr(c call, status int, code string) *result {
	g.t.Helper()
	r := g.want(c, status)
	if r.err.Code != code {
		g.t.Fatalf("%s %s: code %s (%s), want %s", c.method, c.path, r.err.Code, r.err.Message, code)
	}
	return r
}

func (g *gateway) put(path, body string) *result {
	g.t.Helper()
	return g.want(call{method: "PUT", path: path, body: []byte(body)}, 200)
}

func withBucket(t *testing.T) *gateway {
	g := newGateway(t, nil)
	g.want(call{method: "PUT", path: "/photos"}, 200)
	return g
}

func TestAuthentication(t *testing.T) {
	g := withBucket(t)
	g.put("/photos/k", "hello")
	get := call{method: "GET", path: "/photos/k"}
	with := func(f func(c *call)) call {
		c := get
		c.user = ann
		f(&c)
		return c
	}
	nobody := &wirepb.User{Keys: []*wirepb.AccessKey{{AccessKey: "NOBODY", SecretKey: "x"}}}
	wrong := &wirepb.User{Keys: []*wirepb.AccessKey{{AccessKey: "ANNKEY", SecretKey: "wrong"}}}
	for name, c := range map[string]struct {
		call   call
		status int
		code   string
	}{
		"good":         {with(func(c *call) {}), 200, ""},
		"unknown key":  {with(func(c *call) { c.user = nobody }), 403, "InvalidAccessKeyId"},
		"wrong secret": {with(func(c *call) { c.user = wrong }), 403, "SignatureDoesNotMatch"},
		"other user":   {with(func(c *call) { c.user = bob }), 403, "AccessDenied"},
		"suspended":    {with(func(c *call) { c.user = eve }), 403, "AccessDenied"},
		"old":          {with(func(c *call) { c.date = time.Now().Add(-16 * time.Minute) }), 403, "RequestTimeTooSkewed"},
		"future":       {with(func(c *call) { c.date = time.Now().Add(16 * time.Minute) }), 403, "RequestTimeTooSkewed"},
		"region":       {with(func(c *call) { c.region = "mars" }), 400, "AuthorizationHeaderMalformed"},
		"path changed": {with(func(c *call) { c.after = func(r *http.Request) { r.URL.Path = "/photos/x" } }), 403, "SignatureDoesNotMatch"},
		"added header": {with(func(c *call) { c.after = func(r *http.Request) { r.Header.Set("X-Amz-Meta-A", "b") } }), 403, "AccessDenied"},
		"version 2":    {with(func(c *call) { c.after = func(r *http.Request) { r.Header.Set("Authorization", "AWS ANNKEY:xyz") } }), 400, "InvalidRequest"},
		"garbage":      {with(func(c *call) { c.after = func(r *http.Request) { r.Header.Set("Authorization", algorithm+" x") } }), 400, "AuthorizationHeaderMalformed"},
		"no hash":      {with(func(c *call) { c.after = func(r *http.Request) { r.Header.Del("X-Amz-Content-Sha256") } }), 400, "InvalidRequest"},
		"no date":      {with(func(c *call) { c.after = func(r *http.Request) { r.Header.Del("X-Amz-Date") } }), 403, "AccessDenied"},
	} {
		t.Run(name, func(t *testing.T) {
			r := g.do(c.call)
			if r.status != c.status || r.err.Code != c.code {
				t.Errorf("status %d %s (%s), want %d %s", r.status, r.err.Code, r.err.Message, c.status, c.code)
			}
			if name == "region" && r.err.Region != "us-east-1" {
				t.Errorf("the error does not name the right region: %q", r.body)
			}
		})
	}
	r := g.do(call{method: "GET", path: "/photos/k"}) // anonymous
	if r.status != 403 || r.err.Code != "AccessDenied" || r.err.RequestId == "" || r.err.HostId == "" || r.err.Resource != "/photos/k" {
		t.Errorf("anonymous: %d %+v", r.status, r.err)
	}
	if r.header.Get("X-Amz-Request-Id") != r.err.RequestId {
		t.Error("header and body differ in the request id")
	}
}

func TestOwnership(t *testing.T) {
	g := withBucket(t)
	g.put("/photos/k", "x")
	g.want(call{user: bob, method: "PUT", path: "/bobs"}, 200)
	g.want(call{user: bob, method: "PUT", path: "/bobs/k"}, 200)
	for _, c := range []call{
		{method: "GET", path: "/photos/k"}, {method: "PUT", path: "/photos/k2"}, {method: "DELETE", path: "/photos/k"},
		{method: "GET", path: "/photos"}, {method: "DELETE", path: "/photos"}, {method: "GET", path: "/photos?location"},
		{method: "PUT", path: "/bobs/stolen", header: map[string]string{"X-Amz-Copy-Source": "/photos/k"}},
		{method: "POST", path: "/photos/k?uploads"},
	} {
		c.user = bob
		g.wantErr(c, 403, "AccessDenied")
	}
	many := g.allowed(bob, deletion("k"))
	if !bytes.Contains(many.body, []byte("<Error><Key>k</Key><Code>AccessDenied</Code>")) || bytes.Contains(many.body, []byte("<Deleted>")) {
		t.Errorf("bob deletes many: %s", many.body)
	}
	g.want(call{user: bob, method: "HEAD", path: "/photos"}, 403)
	g.wantErr(call{user: bob, method: "PUT", path: "/photos"}, 409, "BucketAlreadyExists")
	r := g.want(call{user: bob, method: "GET", path: "/"}, 200)
	if !bytes.Contains(r.body, []byte("<Name>bobs</Name>")) || bytes.Contains(r.body, []byte("photos")) {
		t.Errorf("bob's buckets: %s", r.body)
	}
	// A bucket that changes hands behind the gateway's back.
	g.want(call{method: "DELETE", path: "/photos/k"}, 204)
	g.want(call{method: "DELETE", path: "/photos"}, 204)
	g.want(call{user: bob, method: "PUT", path: "/photos"}, 200)
	g.want(call{user: bob, method: "PUT", path: "/photos/k"}, 200)
	g.wantErr(call{method: "GET", path: "/photos/k"}, 403, "AccessDenied")
}

func TestPayloads(t *testing.T) {
	g := withBucket(t)
	small, large := []byte("hello, world"), bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	crc := func(b []byte) string {
		h := crc32.NewIEEE()
		h.Write(b)
		return base64.StdEncoding.EncodeToString(h.Sum(nil))
	}
	md := func(b []byte) string { s := md5.Sum(b); return base64.StdEncoding.EncodeToString(s[:]) }
	for _, body := range [][]byte{small, large, {}} {
		chunked := map[string]string{"X-Amz-Decoded-Content-Length": strconv.Itoa(len(body)), "Content-Encoding": "aws-chunked"}
		trailer := map[string]string{"X-Amz-Decoded-Content-Length": strconv.Itoa(len(body)), "Content-Encoding": "aws-chunked,gzip", "X-Amz-Trailer": "x-amz-checksum-crc32"}
		bad := map[string]string{"X-Amz-Checksum-Crc32": crc(append(body, 'x'))}
		tr := [][2]string{{"x-amz-checksum-crc32", crc(body)}}
		badTr := [][2]string{{"x-amz-checksum-crc32", crc(append(body, 'x'))}}
		for name, c := range map[string]struct {
			call   call
			status int
			code   string
		}{
			"hash":               {call{body: body}, 200, ""},
			"unsigned":           {call{body: body, payload: unsignedBody}, 200, ""},
			"wrong hash":         {call{body: body, payload: strings.Repeat("ab", 32)}, 400, "XAmzContentSHA256Mismatch"},
			"no hash":            {call{body: body, payload: "sometimes"}, 400, "InvalidArgument"},
			"md5":                {call{body: body, header: map[string]string{"Content-Md5": md(body)}}, 200, ""},
			"wrong md5":          {call{body: body, header: map[string]string{"Content-Md5": md(append(body, 1))}}, 400, "BadDigest"},
			"bad md5":            {call{body: body, header: map[string]string{"Content-Md5": "x"}}, 400, "InvalidDigest"},
			"crc32":              {call{body: body, header: map[string]string{"X-Amz-Checksum-Crc32": crc(body)}}, 200, ""},
			"wrong crc32":        {call{body: body, header: bad}, 400, "BadDigest"},
			"bad crc32":          {call{body: body, header: map[string]string{"X-Amz-Checksum-Crc32": "x!"}}, 400, "InvalidRequest"},
			"two checksums":      {call{body: body, header: map[string]string{"X-Amz-Checksum-Crc32": crc(body), "X-Amz-Checksum-Crc32c": crc(body)}}, 400, "InvalidRequest"},
			"unknown checksum":   {call{body: body, header: map[string]string{"X-Amz-Checksum-Rot13": crc(body)}}, 400, "InvalidRequest"},
			"unsigned trailer":   {call{payload: streamUnsignedTrailer, raw: encodeChunks(body, 9000, nil, tr), header: trailer}, 200, ""},
			"wrong trailer":      {call{payload: streamUnsignedTrailer, raw: encodeChunks(body, 9000, nil, badTr), header: trailer}, 400, "BadDigest"},
			"missing trailer":    {call{payload: streamUnsignedTrailer, raw: encodeChunks(body, 9000, nil, nil), header: trailer}, 400, "MalformedTrailerError"},
			"no decoded length":  {call{payload: streamUnsignedTrailer, raw: encodeChunks(body, 9000, nil, nil)}, 411, "MissingContentLength"},
			"short":              {call{payload: streamUnsignedTrailer, raw: encodeChunks(append(body, 1), 9000, nil, nil), header: chunked}, 400, "IncompleteBody"},
			"unsigned as signed": {call{payload: streamSigned, raw: encodeChunks(body, 9000, nil, nil), header: chunked}, 400, "IncompleteBody"},
		} {
			key := fmt.Sprintf("/photos/%d-%s", len(body), strings.ReplaceAll(name, " ", "-"))
			c.call.method, c.call.path, c.call.user = "PUT", key, ann
			r := g.do(c.call)
			if r.status != c.status || r.err.Code != c.code {
				t.Errorf("%s of %d bytes: status %d %s (%s), want %d %s", name, len(body), r.status, r.err.Code, r.err.Message, c.status, c.code)
			}
			got := g.do(call{user: ann, method: "GET", path: key, header: map[string]string{"X-Amz-Checksum-Mode": "ENABLED"}})
			switch {
			case c.status != 200 && got.status != 404:
				t.Errorf("%s of %d bytes: refused but stored", name, len(body))
			case c.status == 200 && !bytes.Equal(got.body, body):
				t.Errorf("%s of %d bytes: read %d bytes", name, len(body), len(got.body))
			case name == "crc32" || name == "unsigned trailer":
				if v := got.header.Get("X-Amz-Checksum-Crc32"); v != crc(body) {
					t.Errorf("%s: checksum read back %q, want %q", name, v, crc(body))
				}
			}
			if name == "unsigned trailer" && got.header.Get("Content-Encoding") != "gzip" {
				t.Errorf("content encoding %q, want gzip", got.header.Get("Content-Encoding"))
			}
		}
	}
}

func TestSignedChunks(t *testing.T) {
	g := withBucket(t)
	body := bytes.Repeat([]byte("x"), 300_000)
	for name, change := range map[string]func(b []byte) []byte{
		"good":    func(b []byte) []byte { return b },
		"changed": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
	} {
		r, err := http.NewRequest("PUT", "http://"+g.addr+"/photos/"+name, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Amz-Decoded-Content-Length", strconv.Itoa(len(body)))
		s := sign(r, ann.Keys[0], streamSigned, time.Now(), "us-east-1")
		raw := change(encodeChunks(body, 65536, &chunkSigner{key: signingKey(ann.Keys[0].SecretKey, s.scope), stamp: s.stamp, scope: s.scope.String(), prev: s.value}, nil))
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
		resp, err := g.tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		got := g.do(call{user: ann, method: "GET", path: "/photos/" + name})
		if name == "good" && (resp.StatusCode != 200 || !bytes.Equal(got.body, body)) {
			t.Errorf("%s: status %d %s", name, resp.StatusCode, text)
		}
		if name != "good" && (resp.StatusCode != 403 || got.status != 404) {
			t.Errorf("%s: status %d %s, then get %d", name, resp.StatusCode, text, got.status)
		}
	}
}

// Keys go through as they are, byte for byte.
func TestOddKeys(t *testing.T) {
	g := withBucket(t)
	keys := []string{"/", "//", "a//b", "..", "../../etc", "./x", ".", "a/../b", "%2F", "100%", "a+b", "a b", "ü/日本", "a?b#c", "a&b=c;d", "trailing/", "\x01\n", "~'()*!$@:,", strings.Repeat("k", 1024)}
	for _, key := range keys {
		path := "/photos/" + uriEncode(key, false)
		g.put(path, key)
		if r := g.want(call{method: "GET", path: path}, 200); string(r.body) != key {
			t.Errorf("key %q: read %q", key, r.body)
		}
		g.want(call{method: "HEAD", path: "/photos/" + uriEncode(key, true)}, 200)
	}
	var l xmlListV2
	r := g.want(call{method: "GET", path: "/photos?list-type=2&encoding-type=url"}, 200)
	if err := xml.Unmarshal(r.body, &l); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range l.Contents {
		k, err := url.PathUnescape(o.Key)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, k)
	}
	slices.Sort(keys)
	if !slices.Equal(got, keys) {
		t.Errorf("listed %q\nwant %q", got, keys)
	}
	g.wantErr(call{method: "PUT", path: "/photos/" + strings.Repeat("k", 1025)}, 400, "KeyTooLongError")
	g.wantErr(call{method: "PUT", path: "/photos/%ff"}, 400, "InvalidArgument")
	g.wantErr(call{method: "PUT", path: "/photos/%00"}, 400, "InvalidArgument")
}

func TestGetObject(t *testing.T) {
	g := withBucket(t)
	put := g.want(call{method: "PUT", path: "/photos/k", body: []byte("0123456789"), header: map[string]string{"Content-Type": "text/plain", "X-Amz-Meta-Who": "ann", "Cache-Control": "no-store", "X-Amz-Storage-Class": "STANDARD"}}, 200)
	etag := put.header.Get("Etag")
	past, future := time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat), time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	for name, c := range map[string]struct {
		header map[string]string
		query  string
		status int
		body   string
	}{
		"plain":                 {nil, "", 200, "0123456789"},
		"range":                 {map[string]string{"Range": "bytes=2-4"}, "", 206, "234"},
		"suffix":                {map[string]string{"Range": "bytes=-3"}, "", 206, "789"},
		"behind":                {map[string]string{"Range": "bytes=10-"}, "", 416, ""},
		"part":                  {nil, "?partNumber=1", 206, "0123456789"},
		"no part":               {nil, "?partNumber=2", 400, ""},
		"if-match":              {map[string]string{"If-Match": etag}, "", 200, "0123456789"},
		"if-match other":        {map[string]string{"If-Match": `"x"`}, "", 412, ""},
		"if-none-match":         {map[string]string{"If-None-Match": `"x", ` + etag}, "", 304, ""},
		"if-none-match other":   {map[string]string{"If-None-Match": `"x"`}, "", 200, "0123456789"},
		"if-modified":           {map[string]string{"If-Modified-Since": past}, "", 200, "0123456789"},
		"if-modified future":    {map[string]string{"If-Modified-Since": future}, "", 304, ""},
		"if-unmodified":         {map[string]string{"If-Unmodified-Since": past}, "", 412, ""},
		"if-unmodified future":  {map[string]string{"If-Unmodified-Since": future}, "", 200, "0123456789"},
		"if-match wins":         {map[string]string{"If-Match": etag, "If-Unmodified-Since": past}, "", 200, "0123456789"},
		"null version":          {nil, "?versionId=null", 200, "0123456789"},
		"version":               {nil, "?versionId=abc", 400, ""},
		"override":              {nil, "?response-content-type=a%2Fb&response-cache-control=max-age%3D1", 200, "0123456789"},
		"x-id is ignored":       {nil, "?x-id=GetObject", 200, "0123456789"},
		"several ranges: whole": {map[string]string{"Range": "bytes=0-1,3-4"}, "", 200, "0123456789"},
	} {
		r := g.do(call{user: ann, method: "GET", path: "/photos/k" + c.query, header: c.header})
		if r.status != c.status || c.body != "" && string(r.body) != c.body {
			t.Errorf("%s: status %d %q, want %d %q", name, r.status, r.body, c.status, c.body)
		}
		if r.status == 304 && (len(r.body) > 0 || r.header.Get("Etag") != etag) {
			t.Errorf("%s: %q %v", name, r.body, r.header)
		}
		if name == "range" && r.header.Get("Content-Range") != "bytes 2-4/10" {
			t.Errorf("content range %q", r.header.Get("Content-Range"))
		}
		if name == "override" && (r.header.Get("Content-Type") != "a/b" || r.header.Get("Cache-Control") != "max-age=1") {
			t.Errorf("overrides: %v", r.header)
		}
		if name == "plain" && (r.header.Get("Content-Type") != "text/plain" || r.header.Get("X-Amz-Meta-Who") != "ann" || r.header.Get("Cache-Control") != "no-store" || r.header.Get("Accept-Ranges") != "bytes" || r.header.Get("Last-Modified") == "") {
			t.Errorf("headers: %v", r.header)
		}
		if r.status < 400 {
			h := g.do(call{user: ann, method: "HEAD", path: "/photos/k" + c.query, header: c.header})
			if h.status != r.status || len(h.body) > 0 || h.header.Get("Content-Length") != r.header.Get("Content-Length") {
				t.Errorf("%s: HEAD says %d %v, GET %d %v", name, h.status, h.header, r.status, r.header)
			}
		}
	}
	g.wantErr(call{method: "GET", path: "/photos/none"}, 404, "NoSuchKey")
	g.wantErr(call{method: "GET", path: "/none-such/none"}, 404, "NoSuchBucket")
	g.want(call{method: "HEAD", path: "/photos/none"}, 404)
}

func TestConditionalPutAndDelete(t *testing.T) {
	g := withBucket(t)
	absent, any := map[string]string{"If-None-Match": "*"}, map[string]string{"If-Match": "*"}
	g.wantErr(call{method: "PUT", path: "/photos/k", header: any}, 404, "NoSuchKey")
	r := g.want(call{method: "PUT", path: "/photos/k", header: absent}, 200)
	g.wantErr(call{method: "PUT", path: "/photos/k", header: absent}, 412, "PreconditionFailed")
	g.want(call{method: "PUT", path: "/photos/k", header: map[string]string{"If-Match": r.header.Get("Etag")}}, 200)
	g.wantErr(call{method: "PUT", path: "/photos/k", header: map[string]string{"If-Match": `"x"`}}, 412, "PreconditionFailed")
	g.wantErr(call{method: "PUT", path: "/photos/k", header: map[string]string{"If-None-Match": `"d41d8cd98f00b204e9800998ecf8427e"`}}, 412, "PreconditionFailed")
	g.wantErr(call{method: "DELETE", path: "/photos/k", header: map[string]string{"If-Match": `"x"`}}, 412, "PreconditionFailed")
	g.want(call{method: "DELETE", path: "/photos/k", header: any}, 204)
	g.want(call{method: "DELETE", path: "/photos/k"}, 204)
}

func TestNotImplementedByName(t *testing.T) {
	g := withBucket(t)
	g.put("/photos/k", "x")
	all, change := []string{"GET", "PUT", "DELETE"}, []string{"PUT", "DELETE"}
	for sub, methods := range map[string][]string{
		"replication": change, "accelerate": change, "inventory": all,
	} {
		for _, m := range methods {
			r := g.wantErr(call{method: m, path: "/photos?" + sub}, 501, "NotImplemented")
			if !strings.Contains(r.err.Message, sub) {
				t.Errorf("%s: %q does not name it", sub, r.err.Message)
			}
		}
	}
	for _, c := range []call{
		{method: "POST", path: "/photos/k?select&select-type=2"},
		{method: "PUT", path: "/photos/k", header: map[string]string{"X-Amz-Server-Side-Encryption": "AES256"}},
	} {
		g.wantErr(c, 501, "NotImplemented")
	}
	g.want(call{method: "PUT", path: "/photos/k", header: map[string]string{"X-Amz-Acl": "private"}}, 200)
	g.wantErr(call{method: "PUT", path: "/photos/k", header: map[string]string{"X-Amz-Storage-Class": "GLACIER"}}, 400, "InvalidStorageClass")
	g.wantErr(call{method: "PATCH", path: "/photos/k"}, 405, "MethodNotAllowed")
	g.wantErr(call{method: "DELETE", path: "/"}, 405, "MethodNotAllowed")
}

func TestBucketOperations(t *testing.T) {
	g := withBucket(t)
	g.want(call{method: "PUT", path: "/photos"}, 200) // one's own, again
	g.want(call{method: "PUT", path: "/photos/"}, 200)
	g.wantErr(call{method: "PUT", path: "/No"}, 400, "InvalidBucketName")
	g.want(call{method: "PUT", path: "/here", body: []byte(`<CreateBucketConfiguration xmlns="` + xmlNS + `"><LocationConstraint>us-east-1</LocationConstraint></CreateBucketConfiguration>`)}, 200)
	g.wantErr(call{method: "PUT", path: "/there", body: []byte(`<CreateBucketConfiguration><LocationConstraint>mars</LocationConstraint></CreateBucketConfiguration>`)}, 400, "InvalidLocationConstraint")
	g.wantErr(call{method: "PUT", path: "/there", body: []byte(`<Create`)}, 400, "MalformedXML")
	g.wantErr(call{method: "PUT", path: "/there", body: bytes.Repeat([]byte(" "), maxSmallXML+1)}, 400, "MaxMessageLengthExceeded")
	if r := g.want(call{method: "HEAD", path: "/photos"}, 200); r.header.Get("X-Amz-Bucket-Region") != "us-east-1" {
		t.Errorf("head bucket: %v", r.header)
	}
	for sub, text := range map[string]string{"location": "<LocationConstraint", "versioning": "<VersioningConfiguration", "acl": "FULL_CONTROL"} {
		if r := g.want(call{method: "GET", path: "/photos?" + sub}, 200); !bytes.Contains(r.body, []byte(text)) {
			t.Errorf("%s: %s", sub, r.body)
		}
	}
	g.put("/photos/k", "x")
	if r := g.want(call{method: "GET", path: "/photos/k?acl"}, 200); !bytes.Contains(r.body, []byte("FULL_CONTROL")) {
		t.Errorf("object acl: %s", r.body)
	}
	g.wantErr(call{method: "DELETE", path: "/photos"}, 409, "BucketNotEmpty")
	g.want(call{method: "DELETE", path: "/photos/k"}, 204)
	g.want(call{method: "DELETE", path: "/photos"}, 204)
	g.wantErr(call{method: "DELETE", path: "/photos"}, 404, "NoSuchBucket")
	g.want(call{method: "HEAD", path: "/photos"}, 404)
}

func TestLists(t *testing.T) {
	g := withBucket(t)
	for _, k := range []string{"a", "b/1", "b/2", "c", "d/1"} {
		g.put("/photos/"+k, k)
	}
	var v1 xmlListV1
	names := func(os []xmlObject, ps []xmlPrefix) (s []string) {
		for _, o := range os {
			s = append(s, o.Key)
		}
		for _, p := range ps {
			s = append(s, p.Prefix)
		}
		return s
	}
	var all []string
	for marker := ""; ; {
		v1 = xmlListV1{}
		r := g.want(call{method: "GET", path: "/photos?delimiter=%2F&max-keys=2&marker=" + url.QueryEscape(marker)}, 200)
		if err := xml.Unmarshal(r.body, &v1); err != nil {
			t.Fatal(err)
		}
		all = append(all, names(v1.Contents, v1.CommonPrefixes)...)
		if !v1.IsTruncated {
			break
		}
		marker = v1.NextMarker
	}
	if !slices.Equal(all, []string{"a", "b/", "c", "d/"}) {
		t.Errorf("version 1: %q", all)
	}
	all = nil
	for token := ""; ; {
		var v2 xmlListV2
		path := "/photos?list-type=2&max-keys=2&start-after=a"
		if token != "" {
			path += "&continuation-token=" + url.QueryEscape(token)
		}
		if err := xml.Unmarshal(g.want(call{method: "GET", path: path}, 200).body, &v2); err != nil {
			t.Fatal(err)
		}
		all = append(all, names(v2.Contents, v2.CommonPrefixes)...)
		if v2.KeyCount != len(v2.Contents) {
			t.Errorf("key count %d", v2.KeyCount)
		}
		if !v2.IsTruncated {
			break
		}
		token = v2.NextContinuationToken
	}
	if !slices.Equal(all, []string{"b/1", "b/2", "c", "d/1"}) {
		t.Errorf("version 2: %q", all)
	}
	if r := g.want(call{method: "GET", path: "/photos?versions&prefix=b%2F"}, 200); bytes.Count(r.body, []byte("<Version>")) != 2 || !bytes.Contains(r.body, []byte("<VersionId>null</VersionId>")) {
		t.Errorf("versions: %s", r.body)
	}
	g.want(call{method: "GET", path: "/photos?max-keys=0"}, 200)
	for _, q := range []string{"max-keys=-1", "max-keys=x", "encoding-type=x", "list-type=3", "list-type=2&continuation-token=%00"} {
		g.wantErr(call{method: "GET", path: "/photos?" + q}, 400, "InvalidArgument")
	}
	g.want(call{method: "GET", path: "/photos?list-type=2&continuation-token="}, 200) // as none
}

func TestDeleteObjects(t *testing.T) {
	g := withBucket(t)
	for i := range 5 {
		g.put(fmt.Sprintf("/photos/k%d", i), "x")
	}
	sum := func(body string) map[string]string {
		m := md5.Sum([]byte(body))
		return map[string]string{"Content-Md5": base64.StdEncoding.EncodeToString(m[:])}
	}
	post := func(body string) call {
		return call{method: "POST", path: "/photos?delete", body: []byte(body), header: sum(body)}
	}
	r := g.want(post(`<Delete><Object><Key>k0</Key></Object><Object><Key>k1</Key><VersionId>null</VersionId></Object><Object><Key>k2</Key><VersionId>zz</VersionId></Object><Object><Key>missing</Key></Object></Delete>`), 200)
	if bytes.Count(r.body, []byte("<Deleted>")) != 3 || bytes.Count(r.body, []byte("<Code>NoSuchVersion</Code>")) != 1 {
		t.Errorf("answer: %s", r.body)
	}
	r = g.want(post(`<Delete><Quiet>true</Quiet><Object><Key>k2</Key></Object></Delete>`), 200)
	if bytes.Contains(r.body, []byte("<Deleted>")) {
		t.Errorf("quiet answer: %s", r.body)
	}
	g.want(call{method: "HEAD", path: "/photos/k2"}, 404)
	g.want(call{method: "HEAD", path: "/photos/k3"}, 200)
	g.wantErr(post("<Delete>"+strings.Repeat("<Object><Key>k</Key></Object>", 1001)+"</Delete>"), 400, "MalformedXML")
	g.wantErr(post(""), 400, "MissingRequestBodyError")
	g.wantErr(call{method: "POST", path: "/photos?delete", body: []byte("<Delete><Object><Key>k</Key></Object></Delete>")}, 400, "InvalidRequest")
	g.wantErr(call{method: "POST", path: "/photos?delete", body: []byte("<Delete>"), header: map[string]string{"Content-Md5": base64.StdEncoding.EncodeToString(make([]byte, 16))}}, 400, "BadDigest")
}

func TestCopyObject(t *testing.T) {
	g := withBucket(t)
	g.want(call{method: "PUT", path: "/photos/s%20+%C3%BC", body: []byte("body"), header: map[string]string{"Content-Type": "a/b", "X-Amz-Meta-X": "1"}}, 200)
	cp := func(h map[string]string) call {
		h["X-Amz-Copy-Source"] = "photos/s%20%2B%C3%BC"
		return call{method: "PUT", path: "/photos/copy", header: h}
	}
	r := g.want(cp(map[string]string{}), 200)
	if !bytes.Contains(r.body, []byte("<CopyObjectResult")) || !bytes.Contains(r.body, []byte("<ETag>")) {
		t.Errorf("answer: %s", r.body)
	}
	got := g.want(call{method: "GET", path: "/photos/copy"}, 200)
	if string(got.body) != "body" || got.header.Get("Content-Type") != "a/b" || got.header.Get("X-Amz-Meta-X") != "1" {
		t.Errorf("copy: %q %v", got.body, got.header)
	}
	g.want(cp(map[string]string{"X-Amz-Metadata-Directive": "REPLACE", "X-Amz-Meta-Y": "2"}), 200)
	got = g.want(call{method: "GET", path: "/photos/copy"}, 200)
	if got.header.Get("X-Amz-Meta-X") != "" || got.header.Get("X-Amz-Meta-Y") != "2" {
		t.Errorf("replaced headers: %v", got.header)
	}
	if r := g.want(cp(map[string]string{"X-Amz-Checksum-Algorithm": "CRC32"}), 200); !bytes.Contains(r.body, []byte("<ChecksumCRC32>")) {
		t.Errorf("a copy with a checksum: %s", r.body)
	}
	self := call{method: "PUT", path: "/photos/copy", header: map[string]string{"X-Amz-Copy-Source": "/photos/copy"}}
	g.wantErr(self, 400, "InvalidRequest")
	self.header = map[string]string{"X-Amz-Copy-Source": "/photos/copy", "X-Amz-Metadata-Directive": "REPLACE", "Content-Type": "x/y"}
	g.want(self, 200)
	got = g.want(call{method: "GET", path: "/photos/copy"}, 200)
	if string(got.body) != "body" || got.header.Get("Content-Type") != "x/y" {
		t.Errorf("copied onto itself: %q %v", got.body, got.header)
	}
	g.wantErr(cp(map[string]string{"X-Amz-Copy-Source-If-None-Match": "*"}), 412, "PreconditionFailed")
	g.wantErr(cp(map[string]string{"X-Amz-Copy-Source-If-Match": `"x"`}), 412, "PreconditionFailed")
	for _, bad := range []string{"x", "/", "photos/", "photos/%zz"} {
		g.wantErr(call{method: "PUT", path: "/photos/copy", header: map[string]string{"X-Amz-Copy-Source": bad}}, 400, "InvalidArgument")
	}
	g.wantErr(call{method: "PUT", path: "/photos/copy", header: map[string]string{"X-Amz-Copy-Source": "photos/none"}}, 404, "NoSuchKey")
}

func TestVirtualHosts(t *testing.T) {
	g := withBucket(t)
	g.want(call{method: "PUT", path: "/k", host: "photos.s3.test", body: []byte("x")}, 200)
	if r := g.want(call{method: "GET", path: "/photos/k"}, 200); string(r.body) != "x" {
		t.Errorf("read %q", r.body)
	}
	g.want(call{method: "GET", path: "/?list-type=2", host: "photos.s3.test:9000"}, 200)
	g.want(call{method: "GET", path: "/", host: "s3.test"}, 200)
	g.want(call{method: "PUT", path: "/", host: "by-host.s3.test"}, 200)
	g.want(call{method: "HEAD", path: "/by-host"}, 200)
}
