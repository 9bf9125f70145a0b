package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/xml"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/client/clienttest"
)

// loud fails a test when something logs an error, such as a handler that panicked.
type loud struct {
	slog.Handler
	f func(format string, args ...any)
}

func (l loud) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		text := r.Message
		r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
		l.f("%s", text)
	}
	return nil
}

func (l loud) Enabled(context.Context, slog.Level) bool { return true }

// fuzzed is a gateway with a bucket and some objects, without a listener.
type fuzzed struct {
	s      *Server
	failed string
	upload string
}

func newFuzzed(f *testing.F) *fuzzed {
	f.Helper()
	z := new(fuzzed)
	pool := clienttest.New(f)
	quiet := slog.New(slog.DiscardHandler)
	svc, err := bucket.NewService(bucket.Options{Meta: pool, Data: pool, Log: quiet})
	if err != nil {
		f.Fatal(err)
	}
	log := slog.New(loud{slog.DiscardHandler, func(_ string, args ...any) { z.failed = args[0].(string) }})
	if z.s, err = New(Options{Buckets: svc, Users: users, FindUser: userNamed, FindEmail: userWithEmail, Log: log, SweepPeriod: -1}); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := z.s.Close(); err != nil {
			f.Error(err)
		}
		svc.Close()
	})
	for _, c := range []struct{ method, path, body string }{
		{"PUT", "/photos", ""}, {"PUT", "/photos/a/one", "hello"}, {"PUT", "/photos/two", strings.Repeat("x", 20<<10)},
	} {
		if r := z.do(f, c.method, c.path, nil, []byte(c.body)); r.Code != 200 {
			f.Fatalf("%s %s: %d %s", c.method, c.path, r.Code, r.Body)
		}
	}
	var up struct{ UploadId string }
	if err := xml.Unmarshal(z.do(f, "POST", "/photos/up?uploads", nil, nil).Body.Bytes(), &up); err != nil {
		f.Fatal(err)
	}
	z.upload = up.UploadId
	return z
}

// do carries out a request that ann has signed, and fails if the gateway has.
func (z *fuzzed) do(t testing.TB, method, target string, header http.Header, body []byte) *httptest.ResponseRecorder {
	path, query, _ := strings.Cut(target, "?")
	r := httptest.NewRequest(method, "http://s3.example"+path, bytes.NewReader(body))
	r.URL.RawQuery = query
	for name, values := range header {
		r.Header[name] = values
	}
	sum := md5.Sum(body)
	r.Header.Set("Content-Md5", base64.StdEncoding.EncodeToString(sum[:]))
	sign(r, ann.Keys[0], unsignedBody, time.Now(), "us-east-1")
	w := httptest.NewRecorder()
	func() {
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				t.Errorf("%s %q %q: %v", method, target, header, p)
			}
		}()
		z.s.ServeHTTP(w, r)
	}()
	if z.failed != "" || w.Code == 500 || w.Code == 503 {
		t.Errorf("%s %q %q %q: status %d %s; %s", method, target, header, body, w.Code, w.Body, z.failed)
	}
	if w.Code >= 400 && method != "HEAD" {
		var e struct{ Code string }
		if err := xml.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Code == "" {
			t.Errorf("%s %q %q: status %d with a body that is no error: %q", method, target, header, w.Code, w.Body)
		}
	}
	return w
}

// FuzzXML gives documents to every operation that takes one.
func FuzzXML(f *testing.F) {
	z := newFuzzed(f)
	var targets [][2]string
	for _, sub := range []string{"tagging", "cors", "lifecycle", "versioning", "object-lock", "acl", "ownershipControls", "publicAccessBlock", "requestPayment", "policy", "encryption", "website", "logging", "notification"} {
		targets = append(targets, [2]string{"PUT", "/photos?" + sub})
	}
	for _, sub := range []string{"tagging", "acl", "retention", "legal-hold"} {
		targets = append(targets, [2]string{"PUT", "/photos/two?" + sub})
	}
	targets = append(targets, [2]string{"POST", "/photos?delete"}, [2]string{"POST", "/photos/up?uploadId=" + z.upload}, [2]string{"PUT", "/another"}, [2]string{"POST", "/photos/two?restore"})
	for i, doc := range []string{
		`<Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>`,
		`<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>http://*.a</AllowedOrigin><AllowedHeader>*</AllowedHeader><MaxAgeSeconds>5</MaxAgeSeconds></CORSRule></CORSConfiguration>`,
		`<LifecycleConfiguration><Rule><ID>x</ID><Status>Enabled</Status><Filter><And><Prefix>a</Prefix><Tag><Key>k</Key><Value>v</Value></Tag></And></Filter><Expiration><Days>3</Days></Expiration><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration></Rule></LifecycleConfiguration>`,
		`<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>`,
		`<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>`,
		`<AccessControlPolicy><Owner><ID>ann</ID></Owner><AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="Group"><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee><Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>`,
		`<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>`,
		`<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>`,
		`<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>`,
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::photos/*","Condition":{"StringLike":{"aws:Referer":"*"}}}]}`,
		`<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>`,
		`<WebsiteConfiguration><IndexDocument><Suffix>i</Suffix></IndexDocument><RoutingRules><RoutingRule><Redirect><HostName>h</HostName></Redirect></RoutingRule></RoutingRules></WebsiteConfiguration>`,
		`<BucketLoggingStatus><LoggingEnabled><TargetBucket>photos</TargetBucket><TargetPrefix>l</TargetPrefix></LoggingEnabled></BucketLoggingStatus>`,
		`<NotificationConfiguration><TopicConfiguration><Id>i</Id><Topic>arn:aws:sns:us-east-1:ann:t</Topic><Event>s3:ObjectCreated:*</Event><Filter><S3Key><FilterRule><Name>prefix</Name><Value>a</Value></FilterRule></S3Key></Filter></TopicConfiguration></NotificationConfiguration>`,
		`<Delete><Quiet>true</Quiet><Object><Key>a</Key><VersionId>null</VersionId></Object></Delete>`,
		`<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"x"</ETag></Part></CompleteMultipartUpload>`,
		`<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate></Retention>`,
		`<LegalHold><Status>ON</Status></LegalHold>`,
		`<CreateBucketConfiguration><LocationConstraint>eu</LocationConstraint></CreateBucketConfiguration>`,
		`<!DOCTYPE a [<!ENTITY b "c">]><Tagging>&b;</Tagging>`, `<a`, "<\xff>", `<Tagging><TagSet><Tag><Key>&#0;</Key></Tag></TagSet></Tagging>`,
	} {
		f.Add(i%len(targets), []byte(doc))
		f.Add((i+1)%len(targets), []byte(doc))
	}
	f.Fuzz(func(t *testing.T, at int, doc []byte) {
		x := targets[((at%len(targets))+len(targets))%len(targets)]
		w := z.do(t, x[0], x[1], nil, doc)
		if w.Code < 300 && x[0] == "PUT" && strings.HasPrefix(x[1], "/photos?") {
			z.do(t, "GET", x[1], nil, nil) // what was taken is given back
		}
	})
}

// FuzzHeaders puts any value into any header that the gateway looks at.
func FuzzHeaders(f *testing.F) {
	z := newFuzzed(f)
	names := []string{
		"Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "X-Amz-Copy-Source", "X-Amz-Copy-Source-Range", "X-Amz-Copy-Source-If-Match",
		"X-Amz-Tagging", "X-Amz-Acl", "X-Amz-Grant-Read", "X-Amz-Meta-A", "X-Amz-Storage-Class", "X-Amz-Metadata-Directive", "X-Amz-Tagging-Directive", "X-Amz-Checksum-Crc32",
		"X-Amz-Checksum-Sha256", "X-Amz-Sdk-Checksum-Algorithm", "X-Amz-Trailer", "X-Amz-Object-Lock-Mode", "X-Amz-Object-Lock-Retain-Until-Date", "X-Amz-Object-Lock-Legal-Hold",
		"X-Amz-Expected-Bucket-Owner", "X-Amz-Object-Attributes", "X-Amz-Max-Parts", "X-Amz-Part-Number-Marker", "X-Amz-Object-Ownership", "X-Amz-Bypass-Governance-Retention",
		"X-Amz-Server-Side-Encryption", "X-Amz-Server-Side-Encryption-Customer-Algorithm", "X-Amz-Server-Side-Encryption-Customer-Key", "X-Amz-Website-Redirect-Location",
		"X-Amz-Mp-Object-Size", "X-Amz-Checksum-Type", "Origin", "Access-Control-Request-Method", "Content-Type", "Content-Encoding", "Expires", "Cache-Control", "X-Amz-Decoded-Content-Length",
	}
	targets := [][2]string{{"GET", "/photos/two"}, {"HEAD", "/photos/two"}, {"PUT", "/photos/two"}, {"PUT", "/photos/new"}, {"PUT", "/photos/up?partNumber=1&uploadId=" + z.upload}, {"GET", "/photos/two?attributes"}, {"DELETE", "/photos/new"}, {"POST", "/photos/new?uploads"}, {"GET", "/photos"}, {"OPTIONS", "/photos"}}
	for i, v := range []string{"bytes=0-5", "bytes=-1", "bytes=5-", "bytes=9999999999999999999-", `"d41d8cd98f00b204e9800998ecf8427e"`, "*", `W/"x", "y"`, "Mon, 02 Jan 2006 15:04:05 GMT", "/photos/a/one", "photos/two?versionId=null", "%2fphotos%2ftwo", "/photos/%ff", "a=b&c=%20", "public-read", `id="ann", uri="http://acs.amazonaws.com/groups/global/AllUsers"`, "STANDARD", "REPLACE", "AAAAAA==", "CRC32", "x-amz-checksum-crc32c", "GOVERNANCE", "2030-01-01T00:00:00Z", "ON", "ann", "ETag,ObjectParts,Checksum", "-1", "AES256", "\x00", "=?utf-8?q?a?="} {
		f.Add(i, i%len(names), v)
		f.Add(i+3, (i+1)%len(names), v)
	}
	f.Fuzz(func(t *testing.T, at, name int, value string) {
		x := targets[((at%len(targets))+len(targets))%len(targets)]
		n := names[((name%len(names))+len(names))%len(names)]
		z.do(t, x[0], x[1], http.Header{n: {value}}, nil)
	})
}

// FuzzQuery takes any query with any method on service, bucket and object.
func FuzzQuery(f *testing.F) {
	z := newFuzzed(f)
	methods, paths := []string{"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"}, []string{"/", "/photos", "/photos/two"}
	for i, q := range []string{
		"list-type=2&continuation-token=MQ&max-keys=2&delimiter=/&start-after=a", "prefix=a&marker=b&max-keys=-1&encoding-type=url", "max-keys=99999999999999999999", "versions&key-marker=a&version-id-marker=null",
		"uploads&upload-id-marker=x&key-marker=y", "uploadId=x&partNumber=0", "partNumber=1", "versionId=ffffffffffffffffffffffffffffffff", "versionId=null", "response-content-type=a%0d%0ab", "acl&policy&tagging", "%zz", "a=%ff&b=%00",
		"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a/20130524/us-east-1/s3/aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=1&X-Amz-SignedHeaders=host&X-Amz-Signature=0",
		"AWSAccessKeyId=ANNKEY&Expires=1&Signature=x", "delete", "restore", "select&select-type=2", "attributes", "x-id=GetObject", ";", "&&=&", "uploads=&prefix=%F0%9F", "continuation-token=////", "notification", "replication", "website",
	} {
		f.Add(i, i, q)
		f.Add(0, 1, q)
	}
	f.Fuzz(func(t *testing.T, method, path int, query string) {
		if strings.ContainsAny(query, " #\r\n\t") {
			return // net/http lets nobody in with these
		}
		if _, err := url.Parse("/?" + query); err != nil {
			return
		}
		m, p := methods[((method%len(methods))+len(methods))%len(methods)], paths[((path%len(paths))+len(paths))%len(paths)]
		if m == "DELETE" && p == "/photos" {
			return // others need it
		}
		z.do(t, m, p+"?"+query, nil, nil)
	})
}

// FuzzPath addresses anything.
func FuzzPath(f *testing.F) {
	z := newFuzzed(f)
	for _, p := range []string{"/photos/%2e%2e/x", "/photos//", "//photos/two", "/photos/\xff", "/-/health", "/-/metrics", "/photos/a%00b", "/PHOTOS/x", "/p/x", "/photos/" + strings.Repeat("é", 600), "/192.168.1.1/x", "/.well-known/x", "/photos/two/"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI("/" + strings.TrimPrefix(path, "/"))
		if err != nil || u.RawQuery != "" || strings.Contains(u.Path, "?") || u.Host != "" {
			return
		}
		for _, m := range []string{"GET", "HEAD"} {
			z.do(t, m, u.EscapedPath(), nil, nil)
		}
	})
}

// FuzzBody sends bodies in every framing, with a length that may lie.
func FuzzBody(f *testing.F) {
	z := newFuzzed(f)
	modes := []string{streamUnsignedTrailer, streamSigned, streamSignedTrailer, unsignedBody, emptySHA256}
	f.Add(0, "5", "x-amz-checksum-crc32", []byte("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"))
	f.Add(0, "5", "", []byte("5\r\nhello\r\n0\r\n\r\n"))
	f.Add(0, "4", "", []byte("5\r\nhello\r\n0\r\n\r\n"))
	f.Add(1, "5", "", []byte("5;chunk-signature="+emptySHA256+"\r\nhello\r\n0;chunk-signature="+emptySHA256+"\r\n\r\n"))
	f.Add(2, "0", "x-amz-checksum-sha256", []byte("0;chunk-signature="+emptySHA256+"\r\nx-amz-trailer-signature:"+emptySHA256+"\r\n\r\n"))
	f.Add(3, "", "", []byte("hello"))
	f.Add(4, "", "", []byte("hello"))
	f.Fuzz(func(t *testing.T, mode int, length, trailer string, body []byte) {
		r := httptest.NewRequest("PUT", "http://s3.example/photos/fuzzed", bytes.NewReader(body))
		if length != "" {
			r.Header.Set("X-Amz-Decoded-Content-Length", length)
		}
		if trailer != "" {
			r.Header.Set("X-Amz-Trailer", trailer)
		}
		sign(r, ann.Keys[0], modes[((mode%len(modes))+len(modes))%len(modes)], time.Now(), "us-east-1")
		w := httptest.NewRecorder()
		z.s.ServeHTTP(w, r)
		if z.failed != "" || w.Code >= 500 {
			t.Errorf("status %d %s; %s", w.Code, w.Body, z.failed)
		}
		if m := modes[((mode%len(modes))+len(modes))%len(modes)]; w.Code == 200 && len(body) > 0 && (m == streamSigned || m == streamSignedTrailer || m == emptySHA256) {
			t.Errorf("a body that does not verify was taken with %s", m)
		}
	})
}
