package s3

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm    = "AWS4-HMAC-SHA256"
	dateLayout   = "20060102T150405Z"
	maxSkew      = 15 * time.Minute
	maxExpires   = 7 * 24 * time.Hour
	maxSigned    = 128 // signed headers
	emptySHA256  = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	unsignedBody = "UNSIGNED-PAYLOAD"

	streamSigned          = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	streamSignedTrailer   = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	streamUnsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
)

// scope is the part of a credential behind the access key.
type scope struct {
	date, region, service string
}

func (s scope) String() string { return s.date + "/" + s.region + "/" + s.service + "/aws4_request" }

// signature is what a request claims.
type signature struct {
	accessKey string
	scope     scope
	headers   []string // signed, lower case, sorted
	value     string
	time      time.Time
	stamp     string // time as it was sent
	payload   string // x-amz-content-sha256 or what stands for it
	presigned bool
	form      bool // in the fields of a form
	v2        bool // Signature Version 2
	expires   time.Duration
}

// parseSignature takes a request's claim apart. nil, nil: it makes none.
func parseSignature(r *http.Request, query url.Values) (*signature, *apiError) {
	auth := r.Header.Get("Authorization")
	inQuery := query.Has("X-Amz-Algorithm") || query.Has("X-Amz-Signature")
	switch {
	case auth != "" && inQuery:
		return nil, apiErr("InvalidArgument", "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified").with("ArgumentName", "Authorization").with("ArgumentValue", auth)
	case inQuery:
		return parseQuerySignature(r, query)
	case claimsV2(r, query):
		return nil, apiErr("InvalidRequest", "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")
	case auth == "":
		return nil, nil
	case !strings.Contains(strings.TrimSpace(auth), " "):
		return nil, apiErr("InvalidArgument", "Authorization header is invalid -- one and only one ' ' (space) required.").with("ArgumentName", "Authorization").with("ArgumentValue", auth)
	case !strings.HasPrefix(auth, algorithm+" "):
		return nil, apiErr("InvalidArgument", "Unsupported Authorization Type").with("ArgumentName", "Authorization").with("ArgumentValue", auth)
	}
	malformed := func(why string) (*signature, *apiError) {
		return nil, apiErr("AuthorizationHeaderMalformed", "The authorization header is malformed; %s", why)
	}
	s := &signature{}
	var credential, signed string
	fields := strings.Split(strings.TrimSpace(auth[len(algorithm):]), ",")
	if len(fields) != 3 {
		return malformed("the authorization header requires three components: Credential, SignedHeaders, and Signature.")
	}
	for _, field := range fields {
		name, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		if !ok {
			return malformed("the authorization component " + strconv.Quote(strings.TrimSpace(field)) + " is malformed.")
		}
		switch name {
		case "Credential":
			credential = value
		case "SignedHeaders":
			signed = value
		case "Signature":
			s.value = value
		}
	}
	switch {
	case credential == "":
		return malformed("missing Credential.")
	case signed == "":
		return malformed("missing SignedHeaders.")
	case s.value == "":
		return malformed("missing Signature.")
	}
	if why := s.parseCredential(credential); why != "" {
		return malformed(why)
	}
	if !s.parseHeaders(signed) {
		return malformed("the SignedHeaders are not a list of lower-case names in order, or are too many.")
	}
	if s.stamp = r.Header.Get("X-Amz-Date"); s.stamp != "" {
		t, err := time.Parse(dateLayout, s.stamp)
		if err != nil {
			return nil, apiErr("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header.")
		}
		s.time = t
	} else {
		t, err := http.ParseTime(r.Header.Get("Date"))
		if err != nil {
			return nil, apiErr("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header.")
		}
		s.time, s.stamp = t, t.UTC().Format(dateLayout)
	}
	s.payload = r.Header.Get("X-Amz-Content-Sha256")
	if s.payload == "" {
		return nil, apiErr("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
	}
	if _, e := parsePayload(s.payload); e != nil {
		return nil, e
	}
	return s, nil
}

// never refuses an address that could not be used at any time: with the status that Ceph gives it.
func never(why string) *apiError {
	e := apiErr("AuthorizationQueryParametersError", "%s", why)
	e.Status = http.StatusForbidden
	return e
}

func parseQuerySignature(r *http.Request, query url.Values) (*signature, *apiError) {
	bad := func(why string) (*signature, *apiError) {
		return nil, apiErr("AuthorizationQueryParametersError", "%s", why)
	}
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"} {
		if len(query[name]) != 1 || query.Get(name) == "" {
			return bad("Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.")
		}
	}
	s := &signature{presigned: true, value: query.Get("X-Amz-Signature"), stamp: query.Get("X-Amz-Date")}
	var err error
	if query.Get("X-Amz-Algorithm") != algorithm {
		return bad("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"")
	}
	if why := s.parseCredential(query.Get("X-Amz-Credential")); why != "" {
		return bad(inCredential + why)
	}
	if s.time, err = time.Parse(dateLayout, s.stamp); err != nil {
		return bad("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
	}
	seconds, err := strconv.ParseInt(query.Get("X-Amz-Expires"), 10, 32)
	s.expires = time.Duration(seconds) * time.Second
	switch {
	case err != nil:
		return bad("X-Amz-Expires should be a number")
	case s.expires < 0:
		return nil, never("X-Amz-Expires must be non-negative")
	case s.expires > maxExpires:
		return nil, never("X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds")
	}
	if !s.parseHeaders(query.Get("X-Amz-SignedHeaders")) {
		return bad("The X-Amz-SignedHeaders parameter is not a list of lower-case names in order, or has too many.")
	}
	s.payload = unsignedBody
	if h := r.Header.Get("X-Amz-Content-Sha256"); h != "" {
		s.payload = h
	} else if h := query.Get("X-Amz-Content-Sha256"); h != "" {
		s.payload = h
	}
	return s, nil
}

// inCredential begins what is said of the credential of an address.
const inCredential = "Error parsing the X-Amz-Credential parameter; "

// parseCredential returns what is wrong with it.
func (s *signature) parseCredential(c string) string {
	// An access key may hold slashes; the rest may not.
	f := strings.Split(c, "/")
	n := len(f)
	if n < 5 {
		return `the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".`
	}
	if f[n-1] != "aws4_request" {
		return fmt.Sprintf("incorrect terminal %q. This endpoint uses \"aws4_request\".", f[n-1])
	}
	s.accessKey = strings.Join(f[:n-4], "/")
	s.scope = scope{date: f[n-4], region: f[n-3], service: f[n-2]}
	if _, err := time.Parse("20060102", s.scope.date); err != nil {
		return fmt.Sprintf("incorrect date format %q. This date in the credential must be in the format \"yyyyMMdd\".", s.scope.date)
	}
	if s.accessKey == "" || len(s.accessKey) > 256 || len(s.scope.region) > 64 {
		return "the access key or the region is empty or too long."
	}
	return ""
}

// parsePayload judges x-amz-content-sha256. It returns the digest that the body must have, nil if it says none.
func parsePayload(v string) ([]byte, *apiError) {
	switch v {
	case unsignedBody, streamSigned, streamSignedTrailer, streamUnsignedTrailer:
		return nil, nil
	}
	b, err := hex.DecodeString(v)
	if err != nil || len(b) != sha256.Size {
		return nil, apiErr("InvalidArgument", "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER or a valid sha256 value.").
			with("ArgumentName", "x-amz-content-sha256").with("ArgumentValue", v)
	}
	return b, nil
}

func (s *signature) parseHeaders(list string) bool {
	s.headers = strings.Split(list, ";")
	if len(s.headers) > maxSigned {
		return false
	}
	for _, h := range s.headers {
		if h == "" || h != strings.ToLower(h) {
			return false
		}
	}
	return slices.IsSorted(s.headers)
}

// checkClaim holds what can be judged without the secret.
func (s *signature) checkClaim(r *http.Request, now time.Time, region string) *apiError {
	code, begin := "AuthorizationHeaderMalformed", "The authorization header is malformed; "
	if s.presigned {
		code, begin = "AuthorizationQueryParametersError", inCredential
	}
	date := s.stamp[:min(8, len(s.stamp))]
	switch {
	case s.scope.service != "s3":
		return apiErr(code, "%sincorrect service %q. This endpoint belongs to \"s3\".", begin, s.scope.service)
	case s.scope.region != region:
		return apiErr(code, "%sthe region %q is wrong; expecting %q", begin, s.scope.region, region).with("Region", region)
	case s.scope.date != date && s.presigned:
		return apiErr(code, "Invalid credential date %q. This date is not the same as X-Amz-Date: %q.", s.scope.date, date)
	case s.scope.date != date:
		return apiErr(code, "%s%sInvalid credential date. Date is not the same as X-Amz-Date.", begin, begin) // S3 says it twice, too
	case !slices.Contains(s.headers, "host"):
		return apiErr("AccessDenied", "The host header must be signed.")
	}
	if s.presigned {
		if now.Before(s.time.Add(-maxSkew)) {
			return apiErr("AccessDenied", "Request is not valid yet.")
		}
		if s.expires == 0 || now.After(s.time.Add(s.expires)) {
			return apiErr("AccessDenied", "Request has expired.").
				with("X-Amz-Expires", strconv.Itoa(int(s.expires.Seconds()))).
				with("Expires", s.time.Add(s.expires).UTC().Format(time.RFC3339)).
				with("ServerTime", now.UTC().Format(time.RFC3339))
		}
	} else if d := now.Sub(s.time); d > maxSkew || d < -maxSkew {
		return tooSkewed(s.stamp, now)
	}
	// An x-amz- header that is not signed could have been added on the way, and changes what is done.
	var unsigned []string
	for name := range r.Header {
		l := strings.ToLower(name)
		if strings.HasPrefix(l, "x-amz-") && !slices.Contains(s.headers, l) && !(s.presigned && l == "x-amz-content-sha256") {
			unsigned = append(unsigned, l)
		}
	}
	if len(unsigned) > 0 {
		slices.Sort(unsigned)
		return apiErr("AccessDenied", "There were headers present in the request which were not signed").with("HeadersNotSigned", strings.Join(unsigned, ", "))
	}
	return nil
}

func tooSkewed(sent string, now time.Time) *apiError {
	return apiErr("RequestTimeTooSkewed", "The difference between the request time and the current time is too large.").
		with("RequestTime", sent).with("ServerTime", now.UTC().Format(time.RFC3339)).
		with("MaxAllowedSkewMilliseconds", strconv.FormatInt(maxSkew.Milliseconds(), 10))
}

func hmacSHA256(key []byte, data string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(data))
	return h.Sum(nil)
}

// signingKey derives the key of one day, region and service.
func signingKey(secret string, s scope) []byte {
	k := hmacSHA256([]byte("AWS4"+secret), s.date)
	k = hmacSHA256(k, s.region)
	k = hmacSHA256(k, s.service)
	return hmacSHA256(k, "aws4_request")
}

// verify compares the claim with what the signing key says.
func (s *signature) verify(r *http.Request, key []byte) *apiError {
	canonical := s.canonicalRequest(r)
	toSign := s.stringToSign(canonical)
	want := hex.EncodeToString(hmacSHA256(key, toSign))
	if !hmac.Equal([]byte(want), []byte(s.value)) {
		return mismatch(s.accessKey, toSign, s.value).with("CanonicalRequest", canonical).with("CanonicalRequestBytes", fmt.Sprintf("% x", canonical))
	}
	return nil
}

// mismatch is the error of a signature that does not hold.
func mismatch(accessKey, toSign, value string) *apiError {
	return apiErr("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your key and signing method.").
		with("AWSAccessKeyId", accessKey).with("StringToSign", toSign).with("SignatureProvided", value).with("StringToSignBytes", fmt.Sprintf("% x", toSign))
}

func (s *signature) stringToSign(canonical string) string {
	sum := sha256.Sum256([]byte(canonical))
	return algorithm + "\n" + s.stamp + "\n" + s.scope.String() + "\n" + hex.EncodeToString(sum[:])
}

func (s *signature) canonicalRequest(r *http.Request) string {
	var b strings.Builder
	b.WriteString(r.Method)
	b.WriteByte('\n')
	path := r.URL.Path
	if path == "" {
		path = "/"
	}
	b.WriteString(uriEncode(path, true))
	b.WriteByte('\n')
	b.WriteString(canonicalQuery(r.URL.RawQuery))
	b.WriteByte('\n')
	for _, h := range s.headers {
		b.WriteString(h)
		b.WriteByte(':')
		b.WriteString(headerValue(r, h))
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	b.WriteString(strings.Join(s.headers, ";"))
	b.WriteByte('\n')
	b.WriteString(s.payload)
	return b.String()
}

// headerValue is a signed header's canonical value. net/http takes some headers out of the map.
func headerValue(r *http.Request, name string) string {
	switch name {
	case "host":
		return r.Host
	case "content-length":
		return strconv.FormatInt(max(r.ContentLength, 0), 10)
	case "transfer-encoding":
		return strings.Join(r.TransferEncoding, ",")
	}
	values := r.Header[http.CanonicalHeaderKey(name)]
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = strings.Join(strings.Fields(v), " ")
	}
	return strings.Join(out, ",")
}

// canonicalQuery sorts and re-encodes a query, without the signature.
func canonicalQuery(raw string) string {
	if raw == "" {
		return ""
	}
	var pairs []string
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		n, err1 := url.QueryUnescape(name)
		v, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil || n == "X-Amz-Signature" {
			continue // a query that does not decode was refused before
		}
		pairs = append(pairs, uriEncode(n, false)+"="+uriEncode(v, false))
	}
	slices.SortFunc(pairs, func(a, b string) int {
		an, av, _ := strings.Cut(a, "=")
		bn, bv, _ := strings.Cut(b, "=")
		if c := strings.Compare(an, bn); c != 0 {
			return c
		}
		return strings.Compare(av, bv)
	})
	return strings.Join(pairs, "&")
}

// uriEncode encodes all but unreserved characters, byte by byte.
func uriEncode(s string, keepSlash bool) string {
	const digits = "0123456789ABCDEF"
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = unreserved(s[i]) || keepSlash && s[i] == '/'
	}
	if plain {
		return s
	}
	b := make([]byte, 0, len(s)+16)
	for i := 0; i < len(s); i++ {
		if c := s[i]; unreserved(c) || keepSlash && c == '/' {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return string(b)
}

func unreserved(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '~'
}
