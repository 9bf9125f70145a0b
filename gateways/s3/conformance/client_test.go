package conformance

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// failure ends a row; the runner recovers it.
type failure struct{ text string }

func fail(format string, args ...any) { panic(failure{fmt.Sprintf(format, args...)}) }

// C is what a row works with.
type C struct {
	srv     *server
	name    string
	buckets []string
}

// user is who sends a request; the zero value is nobody.
type user struct{ id, access, secret string }

// server is what is tested.
type server struct {
	url    string
	region string
	domain string // base of virtual-host addresses; "": unknown
	v2     string // where Version 2 of signatures is taken; "": unknown
	main   user
	alt    user
	client *http.Client
	run    string // makes the names of buckets differ between runs
	made   int
}

const (
	unsigned     = "UNSIGNED-PAYLOAD"
	timeStamp    = "20060102T150405Z"
	requestLimit = 30 * time.Second
	s3NS         = "http://s3.amazonaws.com/doc/2006-03-01/"
)

// req is a request before it is signed.
type req struct {
	user     user
	method   string
	path     string
	host     string
	body     []byte
	header   http.Header
	payload  string
	time     time.Time
	region   string
	secret   string
	expires  time.Duration // > 0: presigned
	chunks   bool          // signed chunks
	trailer  [2]string     // of unsigned chunks
	noLength bool
	v2       bool // signed with Version 2; presigned if expires is set
	after    func(r *http.Request)
}

type opt func(q *req)

// hdr sets headers: name, value, name, value.
func hdr(kv ...string) opt {
	return func(q *req) {
		for i := 0; i+1 < len(kv); i += 2 {
			q.header.Set(kv[i], kv[i+1])
		}
	}
}

func body(s string) opt { return func(q *req) { q.body = []byte(s) } }

// doc is a body with its Content-MD5, which some operations insist on.
func doc(s string) opt {
	return func(q *req) {
		q.body = []byte(s)
		q.header.Set("Content-MD5", md5b64(s))
	}
}

func as(u user) opt                       { return func(q *req) { q.user = u } }
func anon(q *req)                         { q.user = user{} }
func presigned(d time.Duration) opt       { return func(q *req) { q.expires = d } }
func payload(p string) opt                { return func(q *req) { q.payload = p } }
func at(t time.Time) opt                  { return func(q *req) { q.time = t } }
func host(h string) opt                   { return func(q *req) { q.host = h } }
func chunked(q *req)                      { q.chunks = true }
func trailer(name, value string) opt      { return func(q *req) { q.trailer = [2]string{name, value} } }
func changed(f func(r *http.Request)) opt { return func(q *req) { q.after = f } }
func md5b64(s string) string              { b := md5.Sum([]byte(s)); return base64.StdEncoding.EncodeToString(b[:]) }
func md5hex(s string) string              { b := md5.Sum([]byte(s)); return hex.EncodeToString(b[:]) }
func etag(s string) string                { return `"` + md5hex(s) + `"` }
func sha256hex(b []byte) string           { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }
func httpTime(t time.Time) string         { return t.UTC().Format(http.TimeFormat) }
func hmacSum(key []byte, data string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(data))
	return h.Sum(nil)
}

// esc is a key as it stands in a path.
func esc(key string) string {
	var b strings.Builder
	for _, c := range []byte(key) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~/", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// do sends a request as the main user unless told otherwise. path is raw, with the query.
func (c *C) do(method, path string, opts ...opt) *R {
	q := &req{user: c.srv.main, method: method, path: path, header: http.Header{}, time: time.Now(), region: c.srv.region}
	for _, o := range opts {
		o(q)
	}
	return c.send(q)
}

func (c *C) send(q *req) *R {
	ctx, cancel := context.WithTimeout(context.Background(), requestLimit)
	defer cancel()
	base := c.srv.url
	if q.v2 {
		base = c.srv.v2
	}
	r, err := http.NewRequestWithContext(ctx, q.method, base+q.path, bytes.NewReader(q.body))
	if err != nil {
		fail("%s %s: %v", q.method, q.path, err)
	}
	if q.host != "" {
		r.Host = q.host
	}
	for k, v := range q.header {
		r.Header[k] = v
	}
	if q.payload == "" {
		q.payload = sha256hex(q.body)
	}
	switch {
	case q.chunks:
		q.payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
		r.Header.Set("X-Amz-Decoded-Content-Length", fmt.Sprint(len(q.body)))
		r.Header.Set("Content-Encoding", "aws-chunked")
		r.ContentLength = int64(len(signChunks(q, ""))) // a signature is as long as any other
	case q.trailer[0] != "":
		q.payload = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
		r.Header.Set("X-Amz-Decoded-Content-Length", fmt.Sprint(len(q.body)))
		r.Header.Set("X-Amz-Trailer", q.trailer[0])
		r.Header.Set("Content-Encoding", "aws-chunked")
		setBody(r, fmt.Appendf(nil, "%x\r\n%s\r\n0\r\n%s:%s\r\n\r\n", len(q.body), q.body, q.trailer[0], q.trailer[1]))
	}
	if q.noLength {
		r.ContentLength = -1
		r.Body = io.NopCloser(bytes.NewReader(q.body))
	}
	if q.v2 {
		signV2(r, q)
	} else if q.user.access != "" {
		signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
		cred := aws.Credentials{AccessKeyID: q.user.access, SecretAccessKey: q.user.secret}
		if q.expires != 0 {
			u := r.URL.Query()
			u.Set("X-Amz-Expires", fmt.Sprint(int(q.expires.Seconds())))
			r.URL.RawQuery = u.Encode()
			if q.payload == sha256hex(q.body) {
				q.payload = unsigned
			}
			// The length is not signed, so that the address serves a body of any length.
			plain := r.Clone(ctx)
			plain.ContentLength = 0
			signed, _, err := signer.PresignHTTP(ctx, cred, plain, q.payload, "s3", q.region, q.time)
			if err != nil {
				fail("presign: %v", err)
			}
			if r.URL, err = url.Parse(signed); err != nil {
				fail("presign: %v", err)
			}
		} else {
			r.Header.Set("X-Amz-Content-Sha256", q.payload)
			if err := signer.SignHTTP(ctx, cred, r, q.payload, "s3", q.region, q.time); err != nil {
				fail("sign: %v", err)
			}
		}
	}
	if q.chunks {
		_, seed, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
		setBody(r, signChunks(q, seed))
	}
	if q.after != nil {
		q.after(r)
	}
	resp, err := c.srv.client.Do(r)
	if err != nil {
		fail("%s %s: %v", q.method, q.path, err)
	}
	defer resp.Body.Close()
	out := &R{what: q.method + " " + q.path, status: resp.StatusCode, header: resp.Header}
	if out.body, err = io.ReadAll(io.LimitReader(resp.Body, 64<<20)); err != nil {
		fail("%s: read the answer: %v", out.what, err)
	}
	return out
}

// v2 sends a request to a gateway that takes Version 2 of signatures, and signs it so.
func (c *C) v2(q *req) {
	if c.srv.v2 == "" {
		panic(needs{"-endpoint-v2"})
	}
	q.v2 = true
}

// signV2 signs a request in path style with Version 2.
func signV2(r *http.Request, q *req) {
	var amz, params []string
	for name, v := range r.Header {
		if l := strings.ToLower(name); strings.HasPrefix(l, "x-amz-") {
			amz = append(amz, l+":"+strings.Join(v, ",")+"\n")
		}
	}
	slices.Sort(amz)
	for name, v := range r.URL.Query() {
		switch name {
		case "acl", "delete", "partNumber", "policy", "uploadId", "uploads", "versionId", "versions", "tagging", "response-content-type":
			if v[0] != "" {
				name += "=" + v[0]
			}
			params = append(params, name)
		}
	}
	slices.Sort(params)
	resource := r.URL.EscapedPath()
	if len(params) > 0 {
		resource += "?" + strings.Join(params, "&")
	}
	date := q.time.UTC().Format(http.TimeFormat)
	if q.expires != 0 {
		date = fmt.Sprint(q.time.Add(q.expires).Unix())
	} else {
		r.Header.Set("Date", date)
	}
	h := hmac.New(sha1.New, []byte(q.user.secret))
	fmt.Fprintf(h, "%s\n%s\n%s\n%s\n%s%s", r.Method, r.Header.Get("Content-MD5"), r.Header.Get("Content-Type"), date, strings.Join(amz, ""), resource)
	sum := base64.StdEncoding.EncodeToString(h.Sum(nil))
	if q.expires == 0 {
		r.Header.Set("Authorization", "AWS "+q.user.access+":"+sum)
		return
	}
	if r.URL.RawQuery != "" {
		r.URL.RawQuery += "&"
	}
	r.URL.RawQuery += url.Values{"AWSAccessKeyId": {q.user.access}, "Expires": {date}, "Signature": {sum}}.Encode()
}

func setBody(r *http.Request, b []byte) {
	r.Body = io.NopCloser(bytes.NewReader(b))
	r.GetBody = nil
	r.ContentLength = int64(len(b))
}

// signingKey derives the key of a day.
func signingKey(secret, date, region string) []byte {
	k := hmacSum([]byte("AWS4"+secret), date)
	for _, part := range []string{region, "s3", "aws4_request"} {
		k = hmacSum(k, part)
	}
	return k
}

// signChunks frames the body in chunks of 8 KiB and an empty one, each signed after the one before.
func signChunks(q *req, prev string) []byte {
	date := q.time.UTC().Format(timeStamp)
	key := signingKey(q.user.secret, date[:8], q.region)
	scope := strings.Join([]string{date[:8], q.region, "s3", "aws4_request"}, "/")
	var out bytes.Buffer
	for rest := q.body; ; {
		chunk := rest[:min(8<<10, len(rest))]
		rest = rest[len(chunk):]
		prev = hex.EncodeToString(hmacSum(key, strings.Join([]string{"AWS4-HMAC-SHA256-PAYLOAD", date, scope, prev, sha256hex(nil), sha256hex(chunk)}, "\n")))
		fmt.Fprintf(&out, "%x;chunk-signature=%s\r\n%s\r\n", len(chunk), prev, chunk)
		if len(chunk) == 0 {
			return out.Bytes()
		}
	}
}

// R is an answer. Its methods fail the row unless they find what they are told.
type R struct {
	what   string
	status int
	header http.Header
	body   []byte
	tree   *node
}

func (r *R) String() string {
	return fmt.Sprintf("%s: status %d, %.400s", r.what, r.status, r.body)
}

// is wants a status.
func (r *R) is(status int) *R {
	if r.status != status {
		fail("%v; want %d", r, status)
	}
	if r.header.Get("X-Amz-Request-Id") == "" && r.status >= 200 {
		fail("%s: no x-amz-request-id", r.what)
	}
	return r
}

// err wants an error, in Amazon's form.
func (r *R) err(status int, code string) *R {
	if r.status != status || !r.parsed() || r.tree.name != "Error" || r.first("Code") != code {
		fail("%v; want %d %s", r, status, code)
	}
	if ct := r.header.Get("Content-Type"); !strings.HasPrefix(ct, "application/xml") {
		fail("%s: an error of type %q", r.what, ct)
	}
	if r.first("Message") == "" || r.first("RequestId") == "" {
		fail("%v; an error has a message and a request id", r)
	}
	return r
}

func (r *R) text(want string) *R {
	if string(r.body) != want {
		fail("%s: body %.100q (%d bytes), want %.100q (%d bytes)", r.what, r.body, len(r.body), want, len(want))
	}
	return r
}

// h wants a header.
func (r *R) h(name, want string) *R {
	if got := r.header.Get(name); got != want {
		fail("%s: header %s is %q, want %q", r.what, name, got, want)
	}
	return r
}

// hset wants a header with any value.
func (r *R) hset(name string) *R {
	if r.header.Get(name) == "" {
		fail("%s: no header %s", r.what, name)
	}
	return r
}

func (r *R) parsed() bool {
	if r.tree == nil {
		r.tree, _ = parse(r.body)
	}
	return r.tree != nil
}

// root wants an XML document of this name, in S3's namespace.
func (r *R) root(name string) *R {
	if !r.parsed() || r.tree.name != name {
		fail("%v; want a document %s", r, name)
	}
	if r.tree.space != s3NS {
		fail("%s: %s is in namespace %q", r.what, name, r.tree.space)
	}
	return r
}

// x wants these values of the elements at a path below the root, in this order.
func (r *R) x(path string, want ...string) *R {
	if !r.parsed() {
		fail("%v; want XML", r)
	}
	if got := r.tree.all(path); !slices.Equal(got, want) {
		fail("%s: %s is %.300q, want %.300q in %.400s", r.what, path, got, want, r.body)
	}
	return r
}

func (r *R) all(path string) []string {
	if !r.parsed() {
		fail("%v; want XML", r)
	}
	return r.tree.all(path)
}

// first is the first element at a path; "" if there is none.
func (r *R) first(path string) string {
	if !r.parsed() {
		return ""
	}
	if a := r.tree.all(path); len(a) > 0 {
		return a[0]
	}
	return ""
}

// some wants an element with any text.
func (r *R) some(path string) *R {
	if r.first(path) == "" {
		fail("%v; want %s", r, path)
	}
	return r
}

type node struct {
	name, space, text string
	attrs             []xml.Attr
	kids              []*node
}

func parse(b []byte) (*node, error) {
	d := xml.NewDecoder(bytes.NewReader(b))
	top := &node{}
	stack := []*node{top}
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) && len(top.kids) == 1 && len(stack) == 1 {
			return top.kids[0], nil
		}
		if err != nil {
			return nil, err
		}
		last := stack[len(stack)-1]
		switch t := t.(type) {
		case xml.StartElement:
			n := &node{name: t.Name.Local, space: t.Name.Space, attrs: t.Attr}
			last.kids = append(last.kids, n)
			stack = append(stack, n)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		case xml.CharData:
			last.text += string(t)
		}
	}
}

// all finds the texts at a path of names with dots between them; a last name with
// @ before it is an attribute.
func (n *node) all(path string) (out []string) {
	name, rest, more := strings.Cut(path, ".")
	if attr, ok := strings.CutPrefix(name, "@"); ok {
		for _, a := range n.attrs {
			if a.Name.Local == attr {
				out = append(out, a.Value)
			}
		}
		return out
	}
	for _, k := range n.kids {
		switch {
		case k.name != name:
		case more:
			out = append(out, k.all(rest)...)
		default:
			out = append(out, k.text)
		}
	}
	return out
}

// fresh is the name of a bucket that does not exist.
func (c *C) fresh() string {
	c.srv.made++
	b := fmt.Sprintf("conf-%s-%d", c.srv.run, c.srv.made)
	c.buckets = append(c.buckets, b)
	return b
}

// bucket makes a bucket.
func (c *C) bucket(opts ...opt) string {
	b := c.fresh()
	c.do("PUT", "/"+b, opts...).is(200)
	return b
}

// acls makes a bucket where ACLs count and the public is not blocked.
func (c *C) acls(opts ...opt) string {
	b := c.bucket(append([]opt{hdr("X-Amz-Object-Ownership", "ObjectWriter")}, opts...)...)
	c.open(b)
	return b
}

// open takes the block of public access away, which Amazon sets for new buckets.
func (c *C) open(b string) {
	if r := c.do("DELETE", "/"+b+"?publicAccessBlock"); r.status != 204 && r.status != 501 && r.status != 404 {
		fail("%v", r)
	}
}

// versioned makes a bucket that keeps versions.
func (c *C) versioned() string {
	b := c.bucket()
	c.versioning(b, "Enabled")
	return b
}

func (c *C) versioning(b, status string) {
	c.do("PUT", "/"+b+"?versioning", doc(`<VersioningConfiguration xmlns="`+s3NS+`"><Status>`+status+`</Status></VersioningConfiguration>`)).is(200)
}

// locked makes a bucket with object lock.
func (c *C) locked() string { return c.bucket(hdr("X-Amz-Bucket-Object-Lock-Enabled", "true")) }

// put stores an object; the answer is good.
func (c *C) put(b, key, text string, opts ...opt) *R {
	return c.do("PUT", "/"+b+"/"+esc(key), append([]opt{body(text)}, opts...)...).is(200)
}

// puts stores objects whose bodies are their keys.
func (c *C) puts(b string, keys ...string) {
	for _, k := range keys {
		c.put(b, k, k)
	}
}

func (c *C) get(b, key string, opts ...opt) *R  { return c.do("GET", "/"+b+"/"+esc(key), opts...) }
func (c *C) head(b, key string, opts ...opt) *R { return c.do("HEAD", "/"+b+"/"+esc(key), opts...) }
func (c *C) del(b, key string, opts ...opt) *R  { return c.do("DELETE", "/"+b+"/"+esc(key), opts...) }

// copyTo copies; source is bucket/key, raw.
func (c *C) copyTo(b, key, source string, opts ...opt) *R {
	return c.do("PUT", "/"+b+"/"+esc(key), append([]opt{hdr("X-Amz-Copy-Source", source)}, opts...)...)
}

// upload begins a multipart upload.
func (c *C) upload(b, key string, opts ...opt) string {
	return c.do("POST", "/"+b+"/"+esc(key)+"?uploads", opts...).is(200).root("InitiateMultipartUploadResult").x("Bucket", b).x("Key", key).first("UploadId")
}

func (c *C) part(b, key, id string, n int, text string, opts ...opt) *R {
	return c.do("PUT", fmt.Sprintf("/%s/%s?partNumber=%d&uploadId=%s", b, esc(key), n, id), append([]opt{body(text), payload(unsigned)}, opts...)...)
}

// parts is the document that completes an upload: number, etag, number, etag.
func parts(of ...any) string {
	var s strings.Builder
	s.WriteString(`<CompleteMultipartUpload xmlns="` + s3NS + `">`)
	for i := 0; i+1 < len(of); i += 2 {
		fmt.Fprintf(&s, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", of[i], of[i+1])
	}
	return s.String() + "</CompleteMultipartUpload>"
}

func (c *C) complete(b, key, id, parts string, opts ...opt) *R {
	return c.do("POST", "/"+b+"/"+esc(key)+"?uploadId="+id, append([]opt{body(parts)}, opts...)...)
}

// multipart stores an object in parts.
func (c *C) multipart(b, key string, texts ...string) *R {
	id := c.upload(b, key)
	var of []any
	for i, t := range texts {
		of = append(of, i+1, c.part(b, key, id, i+1, t).is(200).header.Get("ETag"))
	}
	return c.complete(b, key, id, parts(of...)).is(200)
}

// sdk is Amazon's client, as the main user.
func (c *C) sdk(change ...func(o *awss3.Options)) *awss3.Client {
	return c.sdkAs(c.srv.main, change...)
}

func (c *C) sdkAs(u user, change ...func(o *awss3.Options)) *awss3.Client {
	return awss3.New(awss3.Options{
		Region: c.srv.region, BaseEndpoint: aws.String(c.srv.url), UsePathStyle: true, HTTPClient: c.srv.client,
		Credentials: credentials.NewStaticCredentialsProvider(u.access, u.secret, ""), RetryMaxAttempts: 1,
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported, ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
	}, change...)
}

// ok wants that the SDK is content.
func ok[T any](out T, err error) T {
	if err != nil {
		fail("%v", err)
	}
	return out
}

// refused wants an error of the SDK with this status and code.
func refused(err error, status int, code string) {
	var resp *smithyhttp.ResponseError
	var api smithy.APIError
	if !errors.As(err, &resp) || !errors.As(err, &api) || resp.HTTPStatusCode() != status || api.ErrorCode() != code {
		fail("got %v; want %d %s", err, status, code)
	}
}
