package bench

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/internal/process"
)

// Payload says how the body of a request is vouched for.
type Payload string

// The ways.
const (
	PayloadSigned   Payload = "signed"   // the body's SHA-256 is signed, which the server verifies
	PayloadUnsigned Payload = "unsigned" // the body is not signed; that of aws-cli and SDKs over TLS
	PayloadTrailer  Payload = "trailer"  // not signed, in chunks, with a CRC32 behind it that the server verifies: today's SDKs over TLS
)

// S3Server is where requests of RunS3 go, and who asks.
type S3Server struct {
	Endpoints []string // such as http://127.0.0.1:7470; workers take turns
	AccessKey string
	SecretKey string
	Region    string      // default us-east-1
	Payload   Payload     // default PayloadSigned
	TLS       *tls.Config // default: what the system trusts
	HTTP2     bool        // over TLS, where the server can
}

// S3Error is a server's refusal.
type S3Error struct {
	Status  int
	Code    string
	Message string
	what    string
}

func (e *S3Error) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("%s: status %d", e.what, e.Status)
	}
	return fmt.Sprintf("%s: status %d, %s: %s", e.what, e.Status, e.Code, e.Message)
}

const (
	emptySHA256  = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	s3Tries      = 6 // of a request that the server is too busy for
	s3ErrorBytes = 64 << 10
)

// s3Client signs requests and sends them.
type s3Client struct {
	o       S3Server
	bases   []*url.URL
	http    *http.Client
	retries atomic.Int64
	key     atomic.Pointer[dayKey]
}

// dayKey is the signing key of a day.
type dayKey struct {
	day string
	key []byte
}

func newS3Client(o S3Server, inFlight int) (*s3Client, error) {
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.Payload == "" {
		o.Payload = PayloadSigned
	}
	c := &s3Client{o: o}
	for _, e := range o.Endpoints {
		u, err := url.Parse(e)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
			return nil, fmt.Errorf("endpoint %q: want http://HOST:PORT or https://HOST:PORT", e)
		}
		c.bases = append(c.bases, u)
	}
	switch {
	case len(c.bases) == 0:
		return nil, errors.New("no endpoint of an S3 server")
	case o.AccessKey == "" || o.SecretKey == "":
		return nil, errors.New("no access key and secret key for the S3 server")
	case !slices.Contains([]Payload{PayloadSigned, PayloadUnsigned, PayloadTrailer}, o.Payload):
		return nil, fmt.Errorf("payload %q: want signed, unsigned or trailer", o.Payload)
	}
	t := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		MaxIdleConnsPerHost: inFlight, MaxConnsPerHost: inFlight, IdleConnTimeout: time.Minute,
		DisableCompression: true, TLSClientConfig: o.TLS, ForceAttemptHTTP2: o.HTTP2,
		ReadBufferSize: 64 << 10, WriteBufferSize: 64 << 10, ResponseHeaderTimeout: 2 * time.Minute,
	}
	if !o.HTTP2 {
		t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	c.http = &http.Client{Transport: t}
	return c, nil
}

func (c *s3Client) close() { c.http.CloseIdleConnections() }

// s3Request is a request as far as the run knows it.
type s3Request struct {
	method, bucket, key string
	query               [][2]string // in order of their names
	body                []byte
	md5                 bool // the body's MD5 goes along: some servers demand it for some requests
}

// do carries out a request, again if the server is too busy, and copies the answer's body to out.
func (c *s3Client) do(ctx context.Context, worker int, q s3Request, out io.Writer) (http.Header, error) {
	for try := 1; ; try++ {
		h, err := c.once(ctx, worker, q, out)
		var status *S3Error
		if err == nil || try == s3Tries || !errors.As(err, &status) || status.Status != http.StatusServiceUnavailable {
			return h, err
		}
		c.retries.Add(1)
		t := time.NewTimer(time.Duration(try*try) * 10 * time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, ctx.Err()
		case <-t.C:
		}
	}
}

func (c *s3Client) once(ctx context.Context, worker int, q s3Request, out io.Writer) (http.Header, error) {
	base := c.bases[worker%len(c.bases)]
	path := "/" + q.bucket
	if q.key != "" {
		path += "/" + q.key
	}
	var query strings.Builder
	for i, p := range q.query {
		if i > 0 {
			query.WriteByte('&')
		}
		query.WriteString(escape(p[0]) + "=" + escape(p[1]))
	}
	r := (&http.Request{
		Method: q.method, URL: &url.URL{Scheme: base.Scheme, Host: base.Host, Path: path, RawQuery: query.String()}, Host: base.Host,
		Header: make(http.Header, 8), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	payload := emptySHA256
	if q.body != nil {
		payload = c.wrap(r, q.body)
	}
	if q.md5 {
		sum := md5.Sum(q.body)
		r.Header.Set("Content-Md5", base64.StdEncoding.EncodeToString(sum[:]))
	}
	c.sign(r, path, query.String(), payload)
	res, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		b, _ := io.ReadAll(io.LimitReader(res.Body, s3ErrorBytes))
		e := &S3Error{Status: res.StatusCode, what: q.method + " " + path}
		var doc struct{ Code, Message string }
		if xml.Unmarshal(b, &doc) == nil {
			e.Code, e.Message = doc.Code, doc.Message
		}
		return nil, e
	}
	if out == nil {
		out = io.Discard
	}
	if _, err := io.Copy(out, res.Body); err != nil {
		return nil, fmt.Errorf("%s %s: %w", q.method, path, err)
	}
	return res.Header, nil
}

// wrap makes the body of a request and returns what stands for it in the signature.
func (c *s3Client) wrap(r *http.Request, body []byte) (payload string) {
	set := func(parts ...[]byte) {
		make := func() io.ReadCloser {
			if len(parts) == 1 {
				return io.NopCloser(bytes.NewReader(parts[0]))
			}
			var all []io.Reader
			for _, p := range parts {
				all = append(all, bytes.NewReader(p))
			}
			return io.NopCloser(io.MultiReader(all...))
		}
		r.Body, r.GetBody = make(), func() (io.ReadCloser, error) { return make(), nil }
		for _, p := range parts {
			r.ContentLength += int64(len(p))
		}
		if r.ContentLength == 0 {
			r.Body, r.GetBody = http.NoBody, nil // or the length would not be said
		}
	}
	switch c.o.Payload {
	case PayloadUnsigned:
		set(body)
		return "UNSIGNED-PAYLOAD"
	case PayloadTrailer:
		sum := crc32.ChecksumIEEE(body)
		line := base64.StdEncoding.EncodeToString([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
		tail := []byte("0\r\nx-amz-checksum-crc32:" + line + "\r\n\r\n")
		if len(body) > 0 {
			set([]byte(strconv.FormatInt(int64(len(body)), 16)+"\r\n"), body, []byte("\r\n"), tail)
		} else {
			set(tail)
		}
		r.Header.Set("X-Amz-Decoded-Content-Length", strconv.Itoa(len(body)))
		r.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32")
		r.Header.Set("Content-Encoding", "aws-chunked")
		return "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	default:
		set(body)
		sum := sha256.Sum256(body)
		return hex.EncodeToString(sum[:])
	}
}

// sign signs a request by Signature Version 4.
func (c *s3Client) sign(r *http.Request, path, query, payload string) {
	stamp := time.Now().UTC().Format("20060102T150405Z")
	h := r.Header
	h["X-Amz-Date"] = []string{stamp}
	h["X-Amz-Content-Sha256"] = []string{payload}
	names := make([]string, 0, len(h)+1)
	for name := range h {
		names = append(names, strings.ToLower(name))
	}
	names = append(names, "host")
	slices.Sort(names)
	signed := strings.Join(names, ";")
	var b strings.Builder
	b.WriteString(r.Method + "\n" + escapePath(path) + "\n" + query + "\n")
	for _, name := range names {
		value := r.Host
		if name != "host" {
			value = h.Get(name)
		}
		b.WriteString(name + ":" + value + "\n")
	}
	b.WriteString("\n" + signed + "\n" + payload)
	scope := stamp[:8] + "/" + c.o.Region + "/s3/aws4_request"
	sum := sha256.Sum256([]byte(b.String()))
	sig := hmac256(c.signingKey(stamp[:8]), "AWS4-HMAC-SHA256\n"+stamp+"\n"+scope+"\n"+hex.EncodeToString(sum[:]))
	h["Authorization"] = []string{"AWS4-HMAC-SHA256 Credential=" + c.o.AccessKey + "/" + scope + ", SignedHeaders=" + signed + ", Signature=" + hex.EncodeToString(sig)}
}

func (c *s3Client) signingKey(day string) []byte {
	if k := c.key.Load(); k != nil && k.day == day {
		return k.key
	}
	k := hmac256([]byte("AWS4"+c.o.SecretKey), day)
	for _, part := range []string{c.o.Region, "s3", "aws4_request"} {
		k = hmac256(k, part)
	}
	c.key.Store(&dayKey{day, k})
	return k
}

func hmac256(key []byte, data string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(data))
	return h.Sum(nil)
}

// escape encodes all but unreserved characters, as Signature Version 4 wants it.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func escapePath(s string) string { return strings.ReplaceAll(escape(s), "%2F", "/") }

// putObject puts an object, in parts if it is large.
func (w *s3Worker) putObject(ctx context.Context, key string, n, size int64) error {
	r := w.r
	if r.o.PartSize == 0 || size <= r.o.PartSize {
		body := w.buf[:size]
		stamp(body, n, 0, r.salt)
		_, err := r.c.do(ctx, w.number, s3Request{method: http.MethodPut, bucket: r.o.Bucket, key: key, body: body}, nil)
		if err == nil {
			r.bytes.Add(size)
		}
		return err
	}
	var answer bytes.Buffer
	if _, err := r.c.do(ctx, w.number, s3Request{method: http.MethodPost, bucket: r.o.Bucket, key: key, query: [][2]string{{"uploads", ""}}}, &answer); err != nil {
		return err
	}
	var upload struct{ UploadId string }
	if err := xml.Unmarshal(answer.Bytes(), &upload); err != nil || upload.UploadId == "" {
		return fmt.Errorf("object %q: the answer to a new upload names none", key)
	}
	var doc strings.Builder
	doc.WriteString("<CompleteMultipartUpload>")
	for off, part := int64(0), 1; off < size; off, part = off+r.o.PartSize, part+1 {
		body := w.buf[:min(r.o.PartSize, size-off)]
		stamp(body, n, off, r.salt)
		h, err := r.c.do(ctx, w.number, s3Request{method: http.MethodPut, bucket: r.o.Bucket, key: key, body: body,
			query: [][2]string{{"partNumber", strconv.Itoa(part)}, {"uploadId", upload.UploadId}}}, nil)
		if err != nil {
			return err
		}
		fmt.Fprintf(&doc, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", part, h.Get("ETag"))
	}
	doc.WriteString("</CompleteMultipartUpload>")
	// The answer to this may be an error with status 200.
	answer.Reset()
	if _, err := r.c.do(ctx, w.number, s3Request{method: http.MethodPost, bucket: r.o.Bucket, key: key,
		query: [][2]string{{"uploadId", upload.UploadId}}, body: []byte(doc.String())}, &answer); err != nil {
		return err
	}
	if !bytes.Contains(answer.Bytes(), []byte("<CompleteMultipartUploadResult")) {
		return fmt.Errorf("object %q: its upload was not completed: %.500s", key, answer.Bytes())
	}
	r.bytes.Add(size)
	return nil
}

// listPage is what is read of a page.
type listPage struct {
	IsTruncated           bool
	NextContinuationToken string
	Contents              []struct{ Key string }
}

// list fetches the next page of the run's objects. A worker begins anywhere, as that is where users' lists begin.
func (w *s3Worker) list(ctx context.Context) error {
	r := w.r
	q := [][2]string{{"list-type", "2"}, {"max-keys", strconv.Itoa(r.o.Page)}, {"prefix", s3Prefix(r.o.Run)}}
	if w.token != "" {
		q = append([][2]string{{"continuation-token", w.token}}, q...)
	} else {
		q = append(q, [2]string{"start-after", r.key(r.meta.Removed + w.chance.Int64N(r.meta.Objects))})
	}
	page, err := r.c.list(ctx, w.number, r.o.Bucket, q)
	if err != nil {
		return err
	}
	for i := 1; i < len(page.Contents); i++ {
		if page.Contents[i-1].Key >= page.Contents[i].Key {
			return fmt.Errorf("a list of bucket %q has %q behind %q", r.o.Bucket, page.Contents[i].Key, page.Contents[i-1].Key)
		}
	}
	r.keys.Add(int64(len(page.Contents)))
	w.token = page.NextContinuationToken
	return nil
}

func (c *s3Client) list(ctx context.Context, worker int, bucket string, query [][2]string) (*listPage, error) {
	var b bytes.Buffer
	if _, err := c.do(ctx, worker, s3Request{method: http.MethodGet, bucket: bucket, query: query}, &b); err != nil {
		return nil, err
	}
	page := new(listPage)
	if err := xml.Unmarshal(b.Bytes(), page); err != nil {
		return nil, fmt.Errorf("a list of bucket %q: %w", bucket, err)
	}
	return page, nil
}

// CleanS3 removes a run's objects, and the bucket if it is empty then. It returns how many objects there were.
func CleanS3(ctx context.Context, server S3Server, bucket, run string, inFlight int) (removed int64, err error) {
	c, err := newS3Client(server, inFlight)
	if err != nil {
		return 0, err
	}
	defer c.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pages := make(chan []string, inFlight)
	var count atomic.Int64
	done := make(chan struct{})
	for i := range inFlight {
		go func() { // until pages is closed; waited for below
			defer func() { done <- struct{}{} }()
			for keys := range pages {
				if err := c.removeMany(ctx, i, bucket, keys); err != nil {
					cancel(err)
					continue
				}
				count.Add(int64(len(keys)))
			}
		}()
	}
	q := [][2]string{{"list-type", "2"}, {"prefix", s3Prefix(run)}}
	for token := ""; ctx.Err() == nil; {
		query := q
		if token != "" {
			query = append([][2]string{{"continuation-token", token}}, q...)
		}
		page, err := c.list(ctx, 0, bucket, query)
		if err != nil {
			cancel(err)
			break
		}
		var keys []string
		for _, o := range page.Contents {
			keys = append(keys, o.Key)
		}
		if len(keys) > 0 {
			pages <- keys
		}
		if token = page.NextContinuationToken; !page.IsTruncated {
			break
		}
	}
	close(pages)
	for range inFlight {
		<-done
	}
	if ctx.Err() == nil { // last: as long as it is there the run is not gone
		if _, err := c.do(ctx, 0, s3Request{method: http.MethodDelete, bucket: bucket, key: "bench." + run}, nil); err != nil {
			cancel(err)
		}
	}
	if ctx.Err() != nil {
		return count.Load(), fmt.Errorf("clean up run %q: %w", run, context.Cause(ctx))
	}
	_, err = c.do(ctx, 0, s3Request{method: http.MethodDelete, bucket: bucket}, nil)
	var status *S3Error
	if errors.As(err, &status) && status.Status == http.StatusConflict {
		err = nil
	}
	return count.Load(), err
}

// removeMany removes a page of keys, which are such as RunS3 makes.
func (c *s3Client) removeMany(ctx context.Context, worker int, bucket string, keys []string) error {
	var doc bytes.Buffer
	doc.WriteString("<Delete><Quiet>true</Quiet>")
	for _, k := range keys {
		doc.WriteString("<Object><Key>" + k + "</Key></Object>")
	}
	doc.WriteString("</Delete>")
	var answer bytes.Buffer
	if _, err := c.do(ctx, worker, s3Request{method: http.MethodPost, bucket: bucket, query: [][2]string{{"delete", ""}}, body: doc.Bytes(), md5: true}, &answer); err != nil {
		return err
	}
	if bytes.Contains(answer.Bytes(), []byte("<Error>")) {
		return fmt.Errorf("keys of bucket %q were not removed: %.500s", bucket, answer.Bytes())
	}
	return nil
}

// S3Usage asks one of cairn's own gateways what its process has used.
func S3Usage(ctx context.Context, server S3Server) (process.Usage, error) {
	c, err := newS3Client(server, 1)
	if err != nil {
		return process.Usage{}, err
	}
	defer c.close()
	var b bytes.Buffer
	if _, err := c.do(ctx, 0, s3Request{method: http.MethodGet, bucket: "-", key: "usage"}, &b); err != nil {
		return process.Usage{}, err
	}
	var u struct {
		UserNs        int64 `json:"user_ns"`
		SystemNs      int64 `json:"system_ns"`
		ResidentBytes int64 `json:"resident_bytes"`
	}
	if err := json.Unmarshal(b.Bytes(), &u); err != nil {
		return process.Usage{}, fmt.Errorf("what the gateway %s has used: %w", server.Endpoints[0], err)
	}
	return process.Usage{User: time.Duration(u.UserNs), System: time.Duration(u.SystemNs), Resident: u.ResidentBytes}, nil
}
