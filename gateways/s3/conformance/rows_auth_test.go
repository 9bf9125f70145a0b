package conformance

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
)

func (c *C) noKey() user { return user{"", "NOSUCHACCESSKEY12345", "secret"} }

// signedBut signs a GET of an object and changes it before it is sent.
func signedBut(f func(r *http.Request), status int, code string) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.get(b, "k", changed(f)).err(status, code)
	}
}

// presignedBut presigns a GET and changes the address before it is used.
func presignedBut(old, new string, status int, code string) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.get(b, "k", presigned(time.Minute), changed(func(r *http.Request) {
			q := strings.Replace(r.URL.RawQuery, old, new, 1)
			if q == r.URL.RawQuery {
				fail("%s is not in %s", old, q)
			}
			r.URL.RawQuery = q
		})).err(status, code)
	}
}

func (c *C) plain(method, address string, text string) *R {
	r, err := http.NewRequest(method, address, strings.NewReader(text))
	if err != nil {
		fail("%v", err)
	}
	resp, err := c.srv.client.Do(r)
	if err != nil {
		fail("%v", err)
	}
	defer resp.Body.Close()
	out := &R{what: method, status: resp.StatusCode, header: resp.Header}
	if out.body, err = io.ReadAll(resp.Body); err != nil {
		fail("%v", err)
	}
	return out
}

var authRows = []row{
	{"Auth/UnknownKey", func(c *C) { c.do("GET", "/"+c.bucket(), as(c.noKey())).err(403, "InvalidAccessKeyId") }},
	{"Auth/UnknownKeyHead", func(c *C) { c.do("HEAD", "/"+c.bucket(), as(c.noKey())).is(403).text("") }},
	{"Auth/WrongSecret", func(c *C) {
		c.do("GET", "/"+c.bucket(), as(user{"", c.srv.main.access, "wrong"})).err(403, "SignatureDoesNotMatch").x("AWSAccessKeyId", c.srv.main.access)
	}},
	{"Auth/WrongRegion", func(c *C) {
		c.do("GET", "/"+c.bucket(), func(q *req) { q.region = "mars-1" }).err(400, "AuthorizationHeaderMalformed").x("Region", c.srv.region)
	}},
	{"Auth/ClockBehind", func(c *C) {
		c.do("GET", "/"+c.bucket(), at(time.Now().Add(-time.Hour))).err(403, "RequestTimeTooSkewed").some("RequestTime").some("ServerTime").x("MaxAllowedSkewMilliseconds", "900000")
	}},
	{"Auth/ClockAhead", func(c *C) {
		c.do("GET", "/"+c.bucket(), at(time.Now().Add(time.Hour))).err(403, "RequestTimeTooSkewed")
	}},
	{"Auth/ClockAlmostRight", func(c *C) { c.do("GET", "/"+c.bucket(), at(time.Now().Add(-10*time.Minute))).is(200) }},
	{"Auth/DateBefore1970", func(c *C) {
		c.do("GET", "/"+c.bucket(), at(time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC))).is(403)
	}},
	{"Auth/PathChanged", signedBut(func(r *http.Request) { r.URL.Path += "x" }, 403, "SignatureDoesNotMatch")},
	{"Auth/QueryAdded", signedBut(func(r *http.Request) { r.URL.RawQuery = "response-expires=1" }, 403, "SignatureDoesNotMatch")},
	{"Auth/MethodChanged", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.get(b, "k", changed(func(r *http.Request) { r.Method = "DELETE" })).err(403, "SignatureDoesNotMatch")
		c.get(b, "k").is(200)
	}},
	{"Auth/HeaderChanged", func(c *C) {
		c.do("PUT", "/"+c.bucket()+"/k", body("v"), hdr("X-Amz-Meta-A", "1"), changed(func(r *http.Request) { r.Header.Set("X-Amz-Meta-A", "2") })).err(403, "SignatureDoesNotMatch")
	}},
	{"Auth/UnsignedAmzHeader", func(c *C) {
		c.do("PUT", "/"+c.bucket()+"/k", body("v"), changed(func(r *http.Request) { r.Header.Set("X-Amz-Meta-A", "2") })).err(403, "AccessDenied").x("HeadersNotSigned", "x-amz-meta-a")
	}},
	{"Auth/NoDate", signedBut(func(r *http.Request) { r.Header.Del("X-Amz-Date") }, 403, "AccessDenied")},
	{"Auth/BadDate", signedBut(func(r *http.Request) { r.Header.Set("X-Amz-Date", "Bad Date") }, 403, "AccessDenied")},
	{"Auth/NoContentSha256", signedBut(func(r *http.Request) { r.Header.Del("X-Amz-Content-Sha256") }, 400, "InvalidRequest")},
	{"Auth/EmptyHeader", signedBut(func(r *http.Request) { r.Header.Set("Authorization", "") }, 403, "AccessDenied")},
	{"Auth/Nonsense", signedBut(func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256 nonsense") }, 400, "AuthorizationHeaderMalformed")},
	{"Auth/NoSignature", signedBut(func(r *http.Request) {
		a, _, _ := strings.Cut(r.Header.Get("Authorization"), ", Signature=")
		r.Header.Set("Authorization", a)
	}, 400, "AuthorizationHeaderMalformed")},
	{"Auth/BadCredential", signedBut(func(r *http.Request) {
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "/s3/aws4_request", "/aws4_request", 1))
	}, 400, "AuthorizationHeaderMalformed")},
	{"Auth/WrongService", signedBut(func(r *http.Request) {
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "/s3/", "/ec2/", 1))
	}, 400, "AuthorizationHeaderMalformed")},
	{"Auth/WrongScopeDate", signedBut(func(r *http.Request) {
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), time.Now().UTC().Format("20060102")+"/", "20200101/", 1))
	}, 400, "AuthorizationHeaderMalformed")},
	{"Auth/UnknownMechanism", signedBut(func(r *http.Request) { r.Header.Set("Authorization", "Basic dXNlcjpwYXNz") }, 400, "InvalidArgument")},
	{"Auth/SigV2Off", signedBut(func(r *http.Request) {
		r.Header.Set("Date", httpTime(time.Now()))
		r.Header.Set("Authorization", "AWS NOSUCHACCESSKEY12345:c2lnbmF0dXJl")
	}, 400, "InvalidRequest")},
	{"Auth/HeaderAndQuery", signedBut(func(r *http.Request) { r.URL.RawQuery = "X-Amz-Algorithm=AWS4-HMAC-SHA256" }, 400, "InvalidArgument")},
	{"Auth/SecurityTokenUnknown", func(c *C) {
		c.do("GET", "/"+c.bucket(), hdr("X-Amz-Security-Token", "nonsense")).is(c.do("GET", "/"+c.bucket(), hdr("X-Amz-Security-Token", "nonsense")).oneOf(400, "InvalidToken", 403, "InvalidToken"))
	}},

	{"Presigned/Get", func(c *C) {
		b := c.bucket()
		c.put(b, "a b+c/é", "v")
		c.get(b, "a b+c/é", presigned(time.Minute)).is(200).text("v")
	}},
	{"Presigned/Put", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "by anybody", presigned(time.Minute))
		c.get(b, "k").is(200).text("by anybody")
	}},
	{"Presigned/Delete", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.del(b, "k", presigned(time.Minute)).is(204)
		c.get(b, "k").err(404, "NoSuchKey")
	}},
	{"Presigned/List", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.do("GET", "/"+b+"?list-type=2&prefix=k", presigned(time.Minute)).is(200).x("Contents.Key", "k")
	}},
	{"Presigned/Overrides", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.do("GET", "/"+b+"/k?response-content-type=a%2Fb", presigned(time.Minute)).is(200).h("Content-Type", "a/b")
	}},
	{"Presigned/OtherMethod", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.get(b, "k", presigned(time.Minute), changed(func(r *http.Request) { r.Method = "DELETE" })).err(403, "SignatureDoesNotMatch")
	}},
	{"Presigned/Expired", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.get(b, "k", presigned(time.Minute), at(time.Now().Add(-time.Hour))).err(403, "AccessDenied").x("X-Amz-Expires", "60").some("Expires").some("ServerTime")
	}},
	{"Presigned/NotYet", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.get(b, "k", presigned(time.Minute), at(time.Now().Add(time.Hour))).err(403, "AccessDenied")
	}},
	{"Presigned/LongestExpiry", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.get(b, "k", presigned(7*24*time.Hour)).is(200)
		c.get(b, "k", presigned(7*24*time.Hour+time.Second)).err(403, "AuthorizationQueryParametersError")
	}},
	{"Presigned/NegativeExpiry", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.get(b, "k", presigned(-time.Minute)).err(403, "AuthorizationQueryParametersError")
	}},
	{"Presigned/ExpiryChanged", presignedBut("X-Amz-Expires=60", "X-Amz-Expires=600", 403, "SignatureDoesNotMatch")},
	{"Presigned/ZeroExpiry", presignedBut("X-Amz-Expires=60", "X-Amz-Expires=0", 403, "AccessDenied")},
	{"Presigned/NoExpiry", presignedBut("X-Amz-Expires=60", "", 400, "AuthorizationQueryParametersError")},
	{"Presigned/ExpiryNoNumber", presignedBut("X-Amz-Expires=60", "X-Amz-Expires=abc", 400, "AuthorizationQueryParametersError")},
	{"Presigned/UnknownAlgorithm", presignedBut("AWS4-HMAC-SHA256", "AWS4-HMAC-MD5", 400, "AuthorizationQueryParametersError")},
	{"Presigned/BadDate", presignedBut("X-Amz-Date=", "X-Amz-Date=x", 400, "AuthorizationQueryParametersError")},
	{"Presigned/BadCredential", presignedBut("%2Faws4_request", "", 400, "AuthorizationQueryParametersError")},
	{"Presigned/WrongRegion", func(c *C) {
		c.get(c.bucket(), "k", presigned(time.Minute), func(q *req) { q.region = "mars-1" }).err(400, "AuthorizationQueryParametersError").x("Region", c.srv.region)
	}},
	{"Presigned/UnknownKey", func(c *C) {
		c.get(c.bucket(), "k", presigned(time.Minute), as(c.noKey())).err(403, "InvalidAccessKeyId")
	}},
	{"Presigned/WrongSecret", func(c *C) {
		c.get(c.bucket(), "k", presigned(time.Minute), as(user{"", c.srv.main.access, "wrong"})).err(403, "SignatureDoesNotMatch")
	}},
	{"Presigned/SDK", func(c *C) {
		b, p, ctx := c.bucket(), awss3.NewPresignClient(c.sdk()), context.Background()
		put := ok(p.PresignPutObject(ctx, &awss3.PutObjectInput{Bucket: &b, Key: aws.String("a b")}))
		c.plain("PUT", put.URL, "hello").is(200)
		get := ok(p.PresignGetObject(ctx, &awss3.GetObjectInput{Bucket: &b, Key: aws.String("a b"), ResponseContentType: aws.String("x/y")}))
		c.plain("GET", get.URL, "").is(200).text("hello").h("Content-Type", "x/y")
		head := ok(p.PresignHeadObject(ctx, &awss3.HeadObjectInput{Bucket: &b, Key: aws.String("a b")}))
		c.plain("HEAD", head.URL, "").is(200)
	}},
}

// oneOf is the status of an answer that is one of two errors: status, code, status, code.
func (r *R) oneOf(s1 int, c1 string, s2 int, c2 string) int {
	if r.status == s1 {
		r.err(s1, c1)
		return s1
	}
	r.err(s2, c2)
	return s2
}

// form is a browser's upload.
type form struct {
	fields   [][2]string
	file     string
	name     string
	policy   string // conditions; "" for none
	expires  time.Duration
	v2       bool
	user     user
	host     string            // address of the bucket
	header   []string          // of the POST
	behind   [][2]string       // fields after the file
	cut      int               // bytes that the end lacks
	override map[string]string // fields that are sent as said here, after the policy was signed; "" leaves one out
}

// post sends a form to a bucket. The policy allows the bucket and what it says itself.
func (c *C) post(b string, f form) *R {
	if f.expires == 0 {
		f.expires = time.Hour
	}
	if f.user.access == "" {
		f.user = c.srv.main
	}
	now := time.Now().UTC()
	date := now.Format(timeStamp)
	credential := f.user.access + "/" + date[:8] + "/" + c.srv.region + "/s3/aws4_request"
	fields := append([][2]string{}, f.fields...)
	if f.policy != "" {
		conditions := `{"bucket":"` + b + `"},` + strings.TrimSuffix(f.policy, ",")
		if !f.v2 {
			conditions += `,{"x-amz-algorithm":"AWS4-HMAC-SHA256"},{"x-amz-credential":"` + credential + `"},{"x-amz-date":"` + date + `"}`
		}
		policy := base64.StdEncoding.EncodeToString([]byte(`{"expiration":"` + now.Add(f.expires).Format("2006-01-02T15:04:05.000Z") + `","conditions":[` + conditions + `]}`))
		if strings.HasPrefix(f.policy, "RAW:") {
			policy = base64.StdEncoding.EncodeToString([]byte(strings.TrimPrefix(f.policy, "RAW:")))
		}
		fields = append(fields, [2]string{"policy", policy})
		if f.v2 {
			h := hmac.New(sha1.New, []byte(f.user.secret))
			h.Write([]byte(policy))
			fields = append(fields, [2]string{"AWSAccessKeyId", f.user.access}, [2]string{"signature", base64.StdEncoding.EncodeToString(h.Sum(nil))})
		} else {
			fields = append(fields, [2]string{"x-amz-algorithm", "AWS4-HMAC-SHA256"}, [2]string{"x-amz-credential", credential}, [2]string{"x-amz-date", date},
				[2]string{"x-amz-signature", hex.EncodeToString(hmacSum(signingKey(f.user.secret, date[:8], c.srv.region), policy))})
		}
	}
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	for _, kv := range fields {
		v, changed := f.override[kv[0]]
		if !changed {
			v = kv[1]
		}
		if v != "" || !changed {
			if err := w.WriteField(kv[0], v); err != nil {
				fail("%v", err)
			}
		}
	}
	if f.name != "-" {
		p, err := w.CreateFormFile("file", f.name)
		if err == nil {
			_, err = io.WriteString(p, f.file)
		}
		if err != nil {
			fail("%v", err)
		}
	}
	for _, kv := range f.behind {
		if err := w.WriteField(kv[0], kv[1]); err != nil {
			fail("%v", err)
		}
	}
	if err := w.Close(); err != nil {
		fail("%v", err)
	}
	path := "/" + b
	if f.host != "" {
		path = "/"
	}
	return c.do("POST", path, anon, hdr("Content-Type", w.FormDataContentType()), hdr(f.header...), host(f.host), func(q *req) { q.body = buf.Bytes()[:buf.Len()-f.cut] })
}

func keyed2(key string, more ...string) [][2]string {
	out := [][2]string{{"key", key}}
	for i := 0; i+1 < len(more); i += 2 {
		out = append(out, [2]string{more[i], more[i+1]})
	}
	return out
}

const fooKeys = `["starts-with","$key","foo"],`

// posted is a form that is taken, or refused with an error.
func posted(f form, status int, code string) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		if f.name == "" {
			f.name = "file.txt"
		}
		if f.file == "" {
			f.file = "bar"
		}
		r := c.post(b, f)
		if code != "" {
			r.err(status, code)
			c.do("GET", "/"+b).is(200).x("Contents.Key")
			return
		}
		r.is(status)
		c.do("GET", "/"+b).is(200).x("Contents.Size", fmt.Sprint(len(f.file)))
	}
}

var postRows = []row{
	{"PostObject/Plain", func(c *C) {
		b := c.bucket()
		c.post(b, form{fields: keyed2("foo.txt", "Content-Type", "text/plain"), policy: fooKeys + `["starts-with","$Content-Type","text/"],["content-length-range",0,1024]`, file: "bar", name: "f"}).is(204).h("Etag", etag("bar")).hset("Location").text("")
		c.get(b, "foo.txt").is(200).text("bar").h("Content-Type", "text/plain")
	}},
	{"PostObject/SigV2Policy", posted(form{fields: keyed2("foo.txt"), policy: fooKeys, v2: true}, 204, "")},
	{"PostObject/Anonymous", func(c *C) {
		b := c.acls(hdr("X-Amz-Acl", "public-read-write"))
		c.post(b, form{fields: keyed2("foo.txt", "acl", "public-read"), file: "bar", name: "f"}).is(204)
		c.get(b, "foo.txt", anon).is(200).text("bar")
		c.post(c.bucket(), form{fields: keyed2("foo.txt"), file: "bar", name: "f"}).err(403, "AccessDenied")
	}},
	{"PostObject/FileName", func(c *C) {
		b := c.bucket()
		c.post(b, form{fields: keyed2("foo-${filename}"), policy: fooKeys, file: "bar", name: "my file.txt"}).is(204)
		c.get(b, "foo-my file.txt").is(200).text("bar")
	}},
	{"PostObject/KeyVariants", posted(form{fields: keyed2(`foo\ $foo.txt`), policy: fooKeys}, 204, "")},
	{"PostObject/Status200", posted(form{fields: keyed2("foo", "success_action_status", "200"), policy: fooKeys + `["starts-with","$success_action_status",""]`}, 200, "")},
	{"PostObject/Status201", func(c *C) {
		b := c.bucket()
		r := c.post(b, form{fields: keyed2("foo", "success_action_status", "201"), policy: fooKeys + `{"success_action_status":"201"}`, file: "bar", name: "f"}).is(201)
		r.x("Bucket", b).x("Key", "foo").x("ETag", etag("bar")).some("Location")
	}},
	{"PostObject/StatusOther", posted(form{fields: keyed2("foo", "success_action_status", "404"), policy: fooKeys + `["starts-with","$success_action_status",""]`}, 204, "")},
	{"PostObject/Redirect", func(c *C) {
		b := c.bucket()
		r := c.post(b, form{fields: keyed2("foo", "success_action_redirect", "http://localhost/done"), policy: fooKeys + `["starts-with","$success_action_redirect",""]`, file: "bar", name: "f"}).is(303)
		if l := r.header.Get("Location"); !strings.HasPrefix(l, "http://localhost/done?bucket="+b+"&key=foo&etag=%22") {
			fail("location %s", l)
		}
	}},
	{"PostObject/Metadata", func(c *C) {
		b := c.bucket()
		c.post(b, form{fields: keyed2("foo", "x-amz-meta-foo", "barclamp"), policy: fooKeys + `["starts-with","$x-amz-meta-foo","bar"]`, file: "bar", name: "f"}).is(204)
		c.head(b, "foo").is(200).h("X-Amz-Meta-Foo", "barclamp")
	}},
	{"PostObject/Tagging", func(c *C) {
		b := c.bucket()
		c.post(b, form{fields: keyed2("foo", "tagging", tagging("a", "1")), policy: fooKeys + `["starts-with","$tagging",""]`, file: "bar", name: "f"}).is(204)
		c.do("GET", "/"+b+"/foo?tagging").is(200).x("TagSet.Tag.Key", "a")
	}},
	{"PostObject/CaseInsensitiveFields", posted(form{fields: [][2]string{{"kEy", "foo.txt"}, {"cOnTeNt-tYpE", "text/plain"}}, policy: fooKeys + `["StArTs-WiTh","$CoNtEnT-TyPe","text/"]`}, 204, "")},
	{"PostObject/IgnoredField", posted(form{fields: keyed2("foo", "x-ignore-foo", "bar"), policy: fooKeys}, 204, "")},
	{"PostObject/ChecksumNotInPolicy", posted(form{fields: keyed2("foo", "x-amz-checksum-crc32", "AAAAAA=="), policy: fooKeys}, 400, "BadDigest")},
	{"PostObject/FieldNotInPolicy", posted(form{fields: keyed2("foo", "x-amz-meta-foo", "bar"), policy: fooKeys}, 403, "AccessDenied")},
	{"PostObject/KeyNotAllowed", posted(form{fields: keyed2("bar.txt"), policy: fooKeys}, 403, "AccessDenied")},
	{"PostObject/ConditionNotFulfilled", posted(form{fields: keyed2("foo", "Content-Type", "text/html"), policy: fooKeys + `{"Content-Type":"text/plain"}`}, 403, "AccessDenied")},
	{"PostObject/ConditionFieldMissing", posted(form{fields: keyed2("foo"), policy: fooKeys + `{"x-amz-meta-a":"b"}`}, 403, "AccessDenied")},
	{"PostObject/OtherBucketInPolicy", posted(form{fields: keyed2("foo"), policy: fooKeys + `{"bucket":"another-bucket"}`}, 403, "AccessDenied")},
	{"PostObject/Expired", posted(form{fields: keyed2("foo"), policy: fooKeys, expires: -time.Hour}, 403, "AccessDenied")},
	{"PostObject/TooLarge", posted(form{fields: keyed2("foo"), policy: fooKeys + `["content-length-range",0,2]`}, 400, "EntityTooLarge")},
	{"PostObject/TooSmall", posted(form{fields: keyed2("foo"), policy: fooKeys + `["content-length-range",512,1000]`}, 400, "EntityTooSmall")},
	{"PostObject/BadRange", posted(form{fields: keyed2("foo"), policy: fooKeys + `["content-length-range",-1,0]`}, 400, "InvalidPolicyDocument")},
	{"PostObject/NoKey", posted(form{fields: [][2]string{{"acl", "private"}}, policy: fooKeys + `{"acl":"private"}`}, 400, "InvalidArgument")},
	{"PostObject/NoFile", posted(form{fields: keyed2("foo"), policy: fooKeys, name: "-"}, 400, "InvalidArgument")},
	{"PostObject/WrongSignature", posted(form{fields: keyed2("foo"), policy: fooKeys, override: map[string]string{"x-amz-signature": strings.Repeat("0", 64)}}, 403, "SignatureDoesNotMatch")},
	{"PostObject/NoSignature", posted(form{fields: keyed2("foo"), policy: fooKeys, override: map[string]string{"x-amz-signature": ""}}, 400, "InvalidArgument")},
	{"PostObject/NoPolicy", posted(form{fields: keyed2("foo"), policy: fooKeys, override: map[string]string{"policy": ""}}, 400, "InvalidArgument")},
	{"PostObject/PolicyNoBase64", posted(form{fields: keyed2("foo"), policy: fooKeys, override: map[string]string{"policy": "!!!"}}, 403, "SignatureDoesNotMatch")},
	{"PostObject/PolicyNoJSON", posted(form{fields: keyed2("foo"), policy: "RAW:{"}, 400, "InvalidPolicyDocument")},
	{"PostObject/PolicyNoExpiration", posted(form{fields: keyed2("foo"), policy: `RAW:{"conditions":[]}`}, 400, "InvalidPolicyDocument")},
	{"PostObject/PolicyBadExpiration", posted(form{fields: keyed2("foo"), policy: `RAW:{"expiration":"tomorrow","conditions":[]}`}, 400, "InvalidPolicyDocument")},
	{"PostObject/PolicyNoConditions", posted(form{fields: keyed2("foo"), policy: `RAW:{"expiration":"2099-01-01T00:00:00Z"}`}, 400, "InvalidPolicyDocument")},
	{"PostObject/UnknownKey", func(c *C) {
		c.post(c.bucket(), form{fields: keyed2("foo"), policy: fooKeys, user: c.noKey(), file: "bar", name: "f"}).err(403, "InvalidAccessKeyId")
	}},
	{"PostObject/Others", func(c *C) {
		c.post(c.bucket(), form{fields: keyed2("foo"), policy: fooKeys, user: c.other(), file: "bar", name: "f"}).err(403, "AccessDenied")
	}},
	{"PostObject/AclNotInPolicy", posted(form{fields: keyed2("foo", "acl", "public-read"), policy: fooKeys}, 403, "AccessDenied")},
	{"PostObject/Acl", func(c *C) {
		b := c.acls()
		c.post(b, form{fields: keyed2("foo", "acl", "public-read"), policy: fooKeys + `{"acl":"public-read"}`, file: "bar", name: "f"}).is(204)
		c.get(b, "foo", anon).is(200).text("bar")
	}},
	{"PostObject/HeadersOfThePostDoNotCount", func(c *C) {
		b := c.acls()
		c.post(b, form{fields: keyed2("foo"), policy: fooKeys, file: "bar", name: "f", header: []string{"X-Amz-Acl", "public-read", "X-Amz-Meta-A", "b", "If-Match", "x"}}).is(204)
		c.get(b, "foo", anon).err(403, "AccessDenied")
		c.get(b, "foo").is(200).h("X-Amz-Meta-A", "")
	}},
	{"PostObject/SuspendedByPolicy", func(c *C) {
		b := c.bucket()
		c.do("PUT", "/"+b+"?policy", body(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::`+b+`/foo/secret/*"}]}`)).is(204)
		c.post(b, form{fields: keyed2("foo/${filename}"), policy: fooKeys, file: "bar", name: "x"}).is(204)
		c.post(b, form{fields: keyed2("foo/secret/${filename}"), policy: fooKeys, file: "bar", name: "x"}).err(403, "AccessDenied")
	}},
	{"PostObject/Sizes", func(c *C) {
		b := c.bucket()
		for _, n := range []int{0, 1, 16<<10 - 1, 16 << 10, 16<<10 + 1, 64 << 10, 64<<10 + 1, 5<<20 + 3} {
			text := strings.Repeat("\r\n--abc", n/7+1)[:n]
			c.post(b, form{fields: keyed2("foo"), policy: fooKeys, file: text, name: "f"}).is(204).h("Etag", etag(text))
			c.get(b, "foo").is(200).text(text)
		}
	}},
	{"PostObject/FieldsBehindTheFile", func(c *C) {
		b := c.bucket()
		for _, n := range []int{3, 100_000} {
			text := strings.Repeat("x", n)
			c.post(b, form{fields: keyed2("foo"), policy: fooKeys, file: text, name: "f", behind: [][2]string{{"submit", "Upload"}, {"x-amz-meta-a", "b"}}}).is(204)
			c.get(b, "foo").is(200).text(text).h("X-Amz-Meta-A", "")
		}
	}},
	{"PostObject/CutOff", func(c *C) {
		b := c.bucket()
		for _, n := range []int{100, 100_000} {
			c.post(b, form{fields: keyed2("foo"), policy: fooKeys, file: strings.Repeat("x", n), name: "f", cut: 70}).oneOf(400, "IncompleteBody", 400, "MalformedPOSTRequest")
			c.do("GET", "/"+b).is(200).x("Contents.Key")
		}
	}},
	{"PostObject/FieldTwice", posted(form{fields: [][2]string{{"key", "foo"}, {"key", "bar"}}, policy: fooKeys}, 400, "InvalidArgument")},
	{"PostObject/FieldsTooLong", posted(form{fields: keyed2("foo", "x-ignore-a", strings.Repeat("x", 30<<10)), policy: fooKeys}, 400, "MaxPostPreDataLengthExceededError")},
	{"PostObject/KeyTooLong", posted(form{fields: keyed2("foo" + strings.Repeat("x", 1030)), policy: fooKeys}, 400, "KeyTooLongError")},
	{"PostObject/BucketNotInPolicy", posted(form{fields: keyed2("foo"), v2: true, policy: `RAW:{"expiration":"2099-01-01T00:00:00Z","conditions":[["starts-with","$key","foo"]]}`}, 403, "AccessDenied")},
	{"PostObject/PolicyUnknownMember", posted(form{fields: keyed2("foo"), policy: `RAW:{"expiration":"2099-01-01T00:00:00Z","conditions":[],"x":1}`}, 400, "InvalidPolicyDocument")},
	{"PostObject/PolicyUnknownOperation", posted(form{fields: keyed2("foo"), policy: fooKeys + `["like","$key","foo"]`}, 400, "InvalidPolicyDocument")},
	{"PostObject/PolicyEmptyCondition", posted(form{fields: keyed2("foo"), policy: fooKeys + `{}`}, 400, "InvalidPolicyDocument")},
	{"PostObject/PolicyRangeOneNumber", posted(form{fields: keyed2("foo"), policy: fooKeys + `["content-length-range",0]`}, 400, "InvalidPolicyDocument")},
	{"PostObject/SigV2WrongSignature", posted(form{fields: keyed2("foo"), v2: true, policy: fooKeys, override: map[string]string{"signature": "AAAA"}}, 403, "SignatureDoesNotMatch")},
	{"PostObject/SigV2NoSignature", posted(form{fields: keyed2("foo"), v2: true, policy: fooKeys, override: map[string]string{"signature": ""}}, 400, "InvalidArgument")},
	{"PostObject/SigV2NoAccessKey", posted(form{fields: keyed2("foo"), v2: true, policy: fooKeys, override: map[string]string{"AWSAccessKeyId": ""}}, 400, "InvalidArgument")},
	{"PostObject/SigV2UnknownKey", func(c *C) {
		c.post(c.bucket(), form{fields: keyed2("foo"), v2: true, policy: fooKeys, user: c.noKey(), file: "bar", name: "f"}).err(403, "InvalidAccessKeyId")
	}},
	{"PostObject/Versioned", func(c *C) {
		b := c.versioned()
		c.post(b, form{fields: keyed2("foo"), policy: fooKeys, file: "one", name: "f"}).is(204).hset("X-Amz-Version-Id")
		c.post(b, form{fields: keyed2("foo"), policy: fooKeys, file: "two", name: "f"}).is(204)
		c.do("GET", "/"+b+"?versions").is(200).x("Version.Key", "foo", "foo")
	}},
	{"PostObject/VirtualHost", func(c *C) {
		b := c.bucket()
		r := c.post(b, form{fields: keyed2("foo/a b"), policy: fooKeys, file: "one", name: "f", host: c.vhost(b)}).is(204)
		if l := r.header.Get("Location"); !strings.HasSuffix(l, "/foo/a%20b") || strings.Contains(l, "/"+b+"/") {
			fail("location %s", l)
		}
		c.get(b, "foo/a b").is(200).text("one")
	}},
	{"PostObject/TaggingMalformed", posted(form{fields: keyed2("foo", "tagging", "<Tagging"), policy: fooKeys + `["starts-with","$tagging",""]`}, 400, "MalformedXML")},
	{"PostObject/TaggingAnonymous", func(c *C) {
		b := c.acls(hdr("X-Amz-Acl", "public-read-write"))
		c.post(b, form{fields: keyed2("foo", "tagging", tagging("a", "1")), file: "bar", name: "f"}).is(204)
		c.do("GET", "/"+b+"/foo?tagging").is(200).x("TagSet.Tag.Key", "a")
	}},
	{"PostObject/NoForm", func(c *C) {
		c.do("POST", "/"+c.bucket(), anon, body("x"), hdr("Content-Type", "text/plain")).err(412, "PreconditionFailed")
	}},
	{"PostObject/NoBoundary", func(c *C) {
		c.do("POST", "/"+c.bucket(), anon, body("x"), hdr("Content-Type", "multipart/form-data")).err(400, "MalformedPOSTRequest")
	}},
	{"PostObject/NoBucket", func(c *C) {
		c.post(c.fresh(), form{fields: keyed2("foo"), policy: fooKeys, file: "bar", name: "f"}).err(404, "NoSuchBucket")
	}},
	{"PostObject/Checksum", func(c *C) {
		b := c.bucket()
		f := form{fields: keyed2("foo", "x-amz-checksum-crc32", "NhCmhg=="), policy: fooKeys + `["starts-with","$x-amz-checksum-crc32",""]`, file: "hello", name: "f"}
		c.post(b, f).is(204)
		c.head(b, "foo", hdr("X-Amz-Checksum-Mode", "ENABLED")).is(200).h("X-Amz-Checksum-Crc32", "NhCmhg==")
		f.file = "other"
		c.post(b, f).err(400, "BadDigest")
	}},
}
