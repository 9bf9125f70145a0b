package s3

import (
	"crypto/hmac"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Signature Version 2 is older and weaker than Version 4: HMAC-SHA1, with the secret key itself, of less of the
// request. It is taken only if Options.SigV2 says so, and by forms.

const schemeV2 = "AWS "

// claimsV2 reports whether a request is signed with Version 2, whether or not that is taken.
func claimsV2(r *http.Request, query url.Values) bool {
	auth := r.Header.Get("Authorization")
	return strings.HasPrefix(auth, schemeV2) || auth == "" && !query.Has("X-Amz-Algorithm") && !query.Has("X-Amz-Signature") && (query.Has("Signature") || query.Has("AWSAccessKeyId"))
}

// authenticateV2 finds out who signed a request with Version 2.
func (q *request) authenticateV2() *apiError {
	if q.vhost && q.snapshot != "" { // the host is not signed, and what is says the bucket alone
		return apiErr("InvalidRequest", "A snapshot in the name of the host needs a signature of version 4.")
	}
	s, toSign, e := parseV2(q.r, q.query, q.bucket, q.vhost, q.s.o.Now())
	if e != nil {
		return e
	}
	user, secret, e := q.known(s.accessKey)
	if e != nil {
		return e
	}
	if !hmac.Equal([]byte(hmacSHA1(secret, toSign)), []byte(s.value)) {
		return mismatch(s.accessKey, toSign, s.value)
	}
	q.sig = s
	return q.become(user)
}

// parseV2 reads the claim of a request that is signed with Version 2, and what is signed.
func parseV2(r *http.Request, query url.Values, bucket string, vhost bool, now time.Time) (s *signature, toSign string, e *apiError) {
	s = &signature{v2: true, payload: r.Header.Get("X-Amz-Content-Sha256")}
	switch s.payload {
	case "":
		s.payload = unsignedBody
	case streamSigned, streamSignedTrailer:
		return nil, "", apiErr("InvalidRequest", "A body of signed chunks needs a signature of version 4.")
	default:
		if _, e := parsePayload(s.payload); e != nil {
			return nil, "", e
		}
	}
	if query.Has("comp") { // it and its parameters say which object is meant, and are not among what is signed
		return nil, "", apiErr("InvalidRequest", "The parameter comp needs a signature of version 4.")
	}
	var date string
	if auth := r.Header.Get("Authorization"); auth != "" {
		var ok bool
		s.accessKey, s.value, ok = strings.Cut(strings.TrimSpace(auth[len(schemeV2):]), ":")
		if !ok || s.accessKey == "" || s.value == "" || len(s.accessKey) > 256 {
			return nil, "", apiErr("InvalidArgument", "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature").with("ArgumentName", "Authorization").with("ArgumentValue", auth)
		}
		if query.Has("Signature") {
			return nil, "", apiErr("InvalidArgument", "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified").with("ArgumentName", "Authorization").with("ArgumentValue", auth)
		}
		date, e = s.dateV2(r, now)
	} else {
		date, e = s.queryV2(query, now)
	}
	if e != nil {
		return nil, "", e
	}
	return s, r.Method + "\n" + r.Header.Get("Content-Md5") + "\n" + r.Header.Get("Content-Type") + "\n" + date + "\n" +
		amzHeaders(r.Header) + resourceV2(r, query, bucket, vhost), nil
}

// dateV2 judges when a request says it was signed, and returns what stands for that in what is signed.
func (s *signature) dateV2(r *http.Request, now time.Time) (string, *apiError) {
	date, sent := r.Header.Get("Date"), r.Header.Get("X-Amz-Date")
	signed := date
	if _, ok := r.Header["X-Amz-Date"]; ok { // also an empty one
		date, signed = sent, ""
	}
	var err error
	for _, layout := range []string{time.RFC1123, time.RFC1123Z, time.RFC850, time.ANSIC, dateLayout} {
		if s.time, err = time.Parse(layout, date); err == nil {
			break
		}
	}
	if err != nil || s.time.Unix() < 0 {
		return "", apiErr("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
	}
	if d := now.Sub(s.time); d > maxSkew || d < -maxSkew {
		return "", tooSkewed(date, now)
	}
	return signed, nil
}

// queryV2 is dateV2 for an address that is signed.
func (s *signature) queryV2(query url.Values, now time.Time) (string, *apiError) {
	for _, name := range []string{"Signature", "Expires", "AWSAccessKeyId"} {
		if len(query[name]) != 1 || query.Get(name) == "" {
			return "", apiErr("AccessDenied", "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters")
		}
	}
	expires := query.Get("Expires")
	s.presigned, s.accessKey, s.value = true, query.Get("AWSAccessKeyId"), query.Get("Signature")
	seconds, err := strconv.ParseInt(expires, 10, 64)
	if err != nil || seconds < 0 || len(s.accessKey) > 256 {
		return "", apiErr("AccessDenied", "Invalid date (should be seconds since epoch): %s", expires)
	}
	if until := time.Unix(seconds, 0); now.After(until) {
		return "", apiErr("AccessDenied", "Request has expired").with("Expires", until.UTC().Format(time.RFC3339)).with("ServerTime", now.UTC().Format(time.RFC3339))
	}
	s.time = now // it does not say when it was signed
	return expires, nil
}

// amzHeaders are the headers that Version 2 signs.
func amzHeaders(h http.Header) string {
	var lines []string
	for name, values := range h {
		if l := strings.ToLower(name); strings.HasPrefix(l, "x-amz-") {
			trimmed := make([]string, len(values))
			for i, v := range values {
				trimmed[i] = strings.TrimSpace(v)
			}
			lines = append(lines, l+":"+strings.Join(trimmed, ",")+"\n")
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// signedParams are parameters that Version 2 signs, beside those that choose an operation.
var signedParams = []string{"versionId", "defaultObjectAcl", "storageClass", "select-type"}

// resourceV2 is what Version 2 signs of the address: the path as it was sent, and the parameters that matter.
// Whatever chooses another operation is signed: else an address could be made to do something else.
func resourceV2(r *http.Request, query url.Values, bucket string, vhost bool) string {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	if !strings.HasPrefix(path, "/") {
		path = r.URL.EscapedPath()
	}
	if vhost {
		path = "/" + bucket + path
	}
	var params []string
	for name, values := range query {
		_, override := overrides[name]
		if !override && !slices.Contains(subresources, name) && !slices.Contains(signedParams, name) {
			continue
		}
		if v := values[0]; v != "" {
			name += "=" + v
		}
		params = append(params, name)
	}
	if len(params) == 0 {
		return path
	}
	slices.Sort(params)
	return path + "?" + strings.Join(params, "&")
}
