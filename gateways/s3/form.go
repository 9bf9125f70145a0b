package s3

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cairnstore/cairn/client/bucket"
)

// A browser's upload is a form whose fields say what a put says in its headers,
// and which is signed, if at all, by a signature of the policy in it. The fields
// become the headers of the request; from there on it is a put like others. The file
// is never held whole: only what comes before it is.

// Limits of what comes before the file.
const (
	maxFormFields = 20 << 10 // names and values, as in S3
	maxFormAhead  = 64 << 10 // and all that stands around them
	maxFormTail   = 1 << 20  // of what follows the file, and means nothing
)

// form is a browser's upload.
type form struct {
	fields map[string]string // by name, in lower case
	file   io.Reader
	name   string // of the file, without its folder
	policy *formPolicy
}

func badForm(cause error) *apiError {
	e := apiErr("MalformedPOSTRequest", "The body of your POST request is not well-formed multipart/form-data.")
	e.cause = cause
	return e
}

func noField(name string) *apiError {
	return apiErr("InvalidArgument", "Bucket POST must contain a field named '%s'.  If it is specified, please check the order of the fields.", name).
		with("ArgumentName", name).with("ArgumentValue", "")
}

// boundary finds what separates the fields in the body of a request.
func boundary(contentType string) (string, *apiError) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/form-data" {
		e := apiErr("PreconditionFailed", "At least one of the pre-conditions you specified did not hold.").with("Condition", "Bucket POST must be of the enclosure-type multipart/form-data")
		e.cause = err
		return "", e
	}
	if params["boundary"] == "" {
		return "", badForm(errors.New("no boundary"))
	}
	return params["boundary"], nil
}

// ahead bounds what is read before the file.
type ahead struct {
	r    io.Reader
	left int64
}

var errFormAhead = errors.New("too much precedes the file")

// Read implements io.Reader.
func (a *ahead) Read(b []byte) (int, error) {
	if a.left <= 0 {
		return 0, errFormAhead
	}
	n, err := a.r.Read(b[:min(int64(len(b)), a.left)])
	a.left -= int64(n)
	return n, err
}

// readForm reads a form up to its file.
func readForm(body io.Reader, boundary string) (*form, *apiError) {
	tooLarge := apiErr("MaxPostPreDataLengthExceededError", "Your POST request fields preceding the upload file were too large.")
	in := &ahead{body, maxFormAhead}
	f := &form{fields: map[string]string{}}
	mr := multipart.NewReader(in, boundary)
	size := 0
	for {
		p, err := mr.NextRawPart()
		switch {
		case errors.Is(err, errFormAhead):
			return nil, tooLarge
		case errors.Is(err, io.EOF):
			return nil, apiErr("InvalidArgument", "POST requires exactly one file upload per request.").with("ArgumentName", "file").with("ArgumentValue", "0")
		case err != nil && isBodyErr(err):
			return nil, toAPI(bodyErr(err))
		case err != nil:
			return nil, badForm(err)
		}
		_, params, err := mime.ParseMediaType(p.Header.Get("Content-Disposition"))
		name := strings.ToLower(params["name"])
		if err != nil || name == "" {
			return nil, badForm(errors.New("a part without a name"))
		}
		if name == "file" {
			f.file, f.name = p, params["filename"]
			f.name = f.name[strings.LastIndexAny(f.name, `/\`)+1:]
			in.left = math.MaxInt64
			f.expand()
			return f, nil
		}
		value, err := io.ReadAll(io.LimitReader(p, maxFormFields+1))
		size += len(name) + len(value)
		switch {
		case errors.Is(err, errFormAhead) || size > maxFormFields:
			return nil, tooLarge
		case err != nil && isBodyErr(err):
			return nil, toAPI(bodyErr(err))
		case err != nil:
			return nil, badForm(err)
		}
		if _, twice := f.fields[name]; twice {
			return nil, apiErr("InvalidArgument", "POST requires exactly one field named '%s'.", name).with("ArgumentName", name).with("ArgumentValue", string(value))
		}
		f.fields[name] = string(value)
	}
}

// isBodyErr reports whether a body could not be read, rather than being no form.
func isBodyErr(err error) bool {
	var api *apiError
	var timeout interface{ Timeout() bool }
	return errors.As(err, &api) || errors.As(err, &timeout) || errors.Is(err, io.ErrUnexpectedEOF)
}

// expand puts the file's name where the form asks for it.
func (f *form) expand() {
	for _, name := range []string{"key", "success_action_redirect", "redirect"} {
		if v, ok := f.fields[name]; ok {
			f.fields[name] = strings.ReplaceAll(v, "${filename}", f.name)
		}
	}
}

// headerFields are the fields that a put has as headers of the same name.
var headerFields = []string{"Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Md5", "Content-Type", "Expires"}

// notHeaders are fields that begin like those that become headers.
var notHeaders = map[string]bool{
	"x-amz-algorithm": true, "x-amz-credential": true, "x-amz-date": true, "x-amz-signature": true, "x-amz-copy-source": true,
	"x-amz-content-sha256": true, "x-amz-decoded-content-length": true, "x-amz-trailer": true, "x-amz-acl": true, "x-amz-tagging": true,
	"x-amz-expected-bucket-owner": true, "x-amz-bypass-governance-retention": true,
}

// keptHeaders are headers of the POST that say something of who sends it. No others count: they are not in
// the policy that was signed.
var keptHeaders = []string{"Origin", "Referer", "User-Agent", "X-Amz-Expected-Bucket-Owner"}

// headers are those of a put that does what the form asks for.
func (f *form) headers(of http.Header) (http.Header, *apiError) {
	h := http.Header{}
	for _, name := range keptHeaders {
		if v := of[name]; v != nil {
			h[name] = v
		}
	}
	set := func(name, value string) *apiError {
		value = strings.TrimSpace(value)
		if value == "" {
			return nil
		}
		if !isToken(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return apiErr("InvalidArgument", "The field cannot be a header.").with("ArgumentName", name).with("ArgumentValue", value)
		}
		h.Set(name, value)
		return nil
	}
	for _, name := range headerFields {
		if e := set(name, f.fields[strings.ToLower(name)]); e != nil {
			return nil, e
		}
	}
	for name, value := range f.fields {
		if strings.HasPrefix(name, "x-amz-") && !notHeaders[name] {
			if e := set(name, value); e != nil {
				return nil, e
			}
		}
	}
	if e := set("X-Amz-Acl", f.fields["acl"]); e != nil {
		return nil, e
	}
	if v := f.fields["tagging"]; v != "" {
		tags, e := parseTagging([]byte(v))
		if e != nil {
			return nil, e
		}
		values := url.Values{}
		for k, v := range tags {
			values.Set(k, v)
		}
		h.Set("X-Amz-Tagging", values.Encode())
	}
	return h, nil
}

func isToken(name string) bool {
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("()<>@,;:\\\"/[]?={}", c) >= 0 {
			return false
		}
	}
	return name != ""
}

// authenticateForm reads a form up to its file and finds out who signed it.
func (q *request) authenticateForm() *apiError {
	b, e := boundary(q.r.Header.Get("Content-Type"))
	if e != nil {
		return e
	}
	if q.r.ContentLength < 0 {
		return apiErr("MissingContentLength", "You must provide the Content-Length HTTP header.")
	}
	f, e := readForm(q.raw, b)
	if e != nil {
		return e
	}
	q.form = f
	if f.fields["key"] == "" {
		return noField("key")
	}
	f.fields["bucket"] = q.bucket // whatever the form says of it, this is where it goes
	q.key, q.query = f.fields["key"], url.Values{}
	if e := q.checkKey(); e != nil {
		return e
	}
	headers, e := f.headers(q.r.Header)
	if e != nil {
		return e
	}
	r := *q.r
	r.Header = headers
	q.r = &r
	if e := q.refusedHeader(); e != nil {
		return e
	}
	if e := q.whoseForm(); e != nil {
		return e
	}
	if q.who.anonymous() {
		return nil
	}
	if f.policy, e = parseFormPolicy(f.fields["policy"]); e != nil {
		return e
	}
	return f.policy.check(f.fields, q.s.o.Now())
}

// whoseForm verifies the signature of the form's policy.
func (q *request) whoseForm() *apiError {
	f := q.form.fields
	has := func(name string) bool { _, ok := f[name]; return ok }
	q.sig = &signature{payload: unsignedBody, form: true}
	switch {
	case has("awsaccesskeyid") || has("signature"):
		return q.whoseFormV2()
	case has("policy") || has("x-amz-algorithm") || has("x-amz-credential") || has("x-amz-date") || has("x-amz-signature"):
	default:
		return q.anonymous()
	}
	for _, name := range []string{"policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature"} {
		if !has(name) {
			return noField(name)
		}
	}
	s := q.sig
	s.value, s.stamp = f["x-amz-signature"], f["x-amz-date"]
	if v := f["x-amz-algorithm"]; v != algorithm {
		return apiErr("InvalidArgument", "Only AWS4-HMAC-SHA256 is supported").with("ArgumentName", "X-Amz-Algorithm").with("ArgumentValue", v)
	}
	var err error
	if s.time, err = time.Parse(dateLayout, s.stamp); err != nil {
		return apiErr("InvalidArgument", "X-Amz-Date must be formated via ISO8601 Long format").with("ArgumentName", "X-Amz-Date").with("ArgumentValue", s.stamp) // S3's spelling
	}
	why := s.parseCredential(f["x-amz-credential"])
	switch {
	case why != "":
	case s.scope.service != "s3":
		why = fmt.Sprintf("incorrect service %q. This endpoint belongs to \"s3\".", s.scope.service)
	case s.scope.region != q.s.o.Region:
		why = fmt.Sprintf("the region %q is wrong; expecting %q", s.scope.region, q.s.o.Region)
	}
	if why != "" {
		return apiErr("InvalidArgument", "%s", why).with("ArgumentName", "x-amz-credential").with("ArgumentValue", f["x-amz-credential"])
	}
	user, secret, e := q.known(s.accessKey)
	if e != nil {
		return e
	}
	want := hex.EncodeToString(hmacSHA256(q.s.users.signingKey(secret, s), f["policy"]))
	if !hmac.Equal([]byte(want), []byte(s.value)) {
		return mismatch(s.accessKey, f["policy"], s.value)
	}
	return q.become(user)
}

// whoseFormV2 is whoseForm for the older signature. It is taken in forms whether or not requests may
// be signed so: it covers the same policy.
func (q *request) whoseFormV2() *apiError {
	f, s := q.form.fields, q.sig
	for _, name := range []string{"policy", "AWSAccessKeyId", "signature"} {
		if _, ok := f[strings.ToLower(name)]; !ok {
			return noField(name)
		}
	}
	s.v2, s.accessKey, s.value = true, f["awsaccesskeyid"], f["signature"]
	user, secret, e := q.known(s.accessKey)
	if e != nil {
		return e
	}
	if !hmac.Equal([]byte(hmacSHA1(secret, f["policy"])), []byte(s.value)) {
		return mismatch(s.accessKey, f["policy"], s.value)
	}
	return q.become(user)
}

// hmacSHA1 is what Signature Version 2 consists of.
func hmacSHA1(secret, data string) string {
	h := hmac.New(sha1.New, []byte(secret))
	h.Write([]byte(data))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

type xmlPosted struct {
	XMLName  xml.Name `xml:"PostResponse"`
	Location string
	Bucket   string
	Key      string
	ETag     string
}

func (q *request) postObject() error {
	f := q.form
	p := &payload{in: f.file, size: q.r.ContentLength, upTo: true, broken: &q.broken}
	if f.policy != nil {
		p.in = &ranged{r: f.file, least: f.policy.least, most: f.policy.most}
	}
	if v := q.r.Header.Get("Content-Md5"); v != "" {
		var e *apiError
		if p.md5, e = parseMD5(v); e != nil {
			return e
		}
	}
	if e := p.setChecksum(q.r, nil); e != nil {
		return e
	}
	o, err := q.store(p)
	if err != nil {
		return err
	}
	// What follows the file means nothing, but a client that is still sending it would not hear the answer.
	if _, err := io.Copy(io.Discard, io.LimitReader(q.raw, maxFormTail)); err != nil {
		q.s.log.Debug("read what follows the file of a form", "request", q.id, "err", err)
	}
	q.posted(o)
	return nil
}

// posted answers an upload that is stored.
func (q *request) posted(o *bucket.Object) {
	f, h := q.form.fields, q.w.Header()
	to := f["success_action_redirect"]
	if to == "" {
		to = f["redirect"]
	}
	if u, err := url.Parse(to); to != "" && err == nil && u.IsAbs() && u.Host != "" {
		more := "bucket=" + uriEncode(q.bucket, false) + "&key=" + uriEncode(q.key, false) + "&etag=" + uriEncode(quote(o.ETag()), false)
		if u.RawQuery != "" {
			more = u.RawQuery + "&" + more
		}
		u.RawQuery = more
		h.Set("Location", u.String())
		q.w.WriteHeader(http.StatusSeeOther)
		return
	}
	scheme := "http://"
	if q.r.TLS != nil {
		scheme = "https://"
	}
	at := scheme + q.r.Host + "/" + uriEncode(q.key, true)
	if !q.vhost {
		at = scheme + q.r.Host + "/" + q.bucket + "/" + uriEncode(q.key, true)
	}
	h.Set("Location", at)
	switch f["success_action_status"] {
	case "200":
		q.w.WriteHeader(http.StatusOK)
	case "201":
		q.writeXML(http.StatusCreated, xmlPosted{Location: at, Bucket: q.bucket, Key: q.key, ETag: quote(o.ETag())})
	default:
		q.w.WriteHeader(http.StatusNoContent)
	}
}
