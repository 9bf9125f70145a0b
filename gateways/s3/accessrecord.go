package s3

import (
	"crypto/tls"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cairnstore/cairn/client/bucket"
)

// accessRecord is what an access log tells of a request. Fields that are empty, or
// negative, are told as "-".
type accessRecord struct {
	owner, bucket    string
	at               time.Time // when it was answered
	remote           string
	requester        string
	id               string
	operation        string
	key              string
	uri              string // the request's first line
	status           int
	code             string
	sent, size       int64
	total, turn      time.Duration // turn: from the request's end to the answer's beginning
	referer, agent   string
	version          string
	hostID           string
	sigVersion       string
	cipher, authType string
	host, tls        string
	byACL            bool // an access control list was needed to let it in
}

// append writes the record as a line of Amazon's server access log format.
func (r *accessRecord) append(b []byte) []byte {
	text := func(s string) {
		b = append(appendField(b, s, false), ' ')
	}
	quoted := func(s string) {
		if s == "" {
			b = append(b, "- "...) // as Amazon has it: no quotes
			return
		}
		b = append(b, '"')
		b = append(appendField(b, s, true), '"', ' ')
	}
	number := func(n int64, none bool) {
		if none {
			b = append(b, "- "...)
			return
		}
		b = append(strconv.AppendInt(b, n, 10), ' ')
	}
	text(r.owner)
	text(r.bucket)
	b = append(b, '[')
	b = r.at.UTC().AppendFormat(b, "02/Jan/2006:15:04:05 +0000")
	b = append(b, "] "...)
	text(r.remote)
	text(r.requester)
	text(r.id)
	text(r.operation)
	text(uriEncode(r.key, true))
	quoted(r.uri)
	number(int64(r.status), r.status == 0)
	text(r.code)
	number(r.sent, r.sent <= 0)
	number(r.size, r.size < 0)
	number(r.total.Milliseconds(), false)
	number(r.turn.Milliseconds(), r.turn < 0)
	quoted(r.referer)
	quoted(r.agent)
	text(r.version)
	text(r.hostID)
	text(r.sigVersion)
	text(r.cipher)
	text(r.authType)
	text(r.host)
	text(r.tls)
	text("") // no access point
	if r.byACL {
		return append(b, "Yes\n"...)
	}
	return append(b, "-\n"...)
}

// appendField writes a field so that nothing in it can end it: what was sent is not to be trusted.
func appendField(b []byte, s string, quoted bool) []byte {
	const digits = "0123456789abcdef"
	if s == "" {
		return append(b, '-')
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == ' ' && !quoted:
			b = append(b, '\\', 'x', digits[c>>4], digits[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}

// logKinds are what access logs call the kind of thing that a subresource is, where that is not its name.
var logKinds = map[string]string{
	"accelerate": "ACCELERATE", "legal-hold": "LEGAL_HOLD", "logging": "LOGGING_STATUS", "object-lock": "OBJECT_LOCK_CONFIGURATION",
	"ownershipControls": "OWNERSHIP_CONTROLS", "policy": "BUCKETPOLICY", "policyStatus": "POLICY_STATUS", "publicAccessBlock": "PUBLIC_ACCESS_BLOCK",
	"requestPayment": "REQUEST_PAYMENT", "versions": "BUCKETVERSIONS", "delete": "MULTI_OBJECT_DELETE", "uploadId": "UPLOAD", "attributes": "OBJECT_ATTRIBUTES",
}

// logOperation is the name of the operation in access logs.
func (q *request) logOperation() string {
	method := q.r.Method
	switch {
	case q.site:
		return "WEBSITE." + method + ".OBJECT"
	case method == http.MethodOptions:
		return "REST.OPTIONS.PREFLIGHT"
	case q.op == "CopyObject":
		return "REST.COPY.OBJECT"
	case q.op == "UploadPartCopy":
		return "REST.COPY.PART"
	case q.op == "PostObject":
		return "REST.POST.OBJECT"
	}
	sub := subresourceOf(q.query)
	kind := "OBJECT"
	switch {
	case q.bucket == "":
		kind = "SERVICE"
	case q.key == "":
		kind = "BUCKET"
	}
	switch {
	case sub == "uploadId" && method == http.MethodPut:
		kind = "PART"
	case sub == "tagging":
		kind += "_TAGGING"
	case sub == "partNumber", sub == "":
	case logKinds[sub] != "":
		kind = logKinds[sub]
	default:
		kind = strings.ToUpper(sub)
	}
	return "REST." + method + "." + kind
}

// accessed is what the log tells of a request that is answered. What is about a bucket is filled in by who knows it.
func (q *request) accessed(code string, began time.Time) accessRecord {
	r, now := q.r, q.s.o.Now()
	rec := accessRecord{
		bucket: q.bucket, at: now, id: q.id, operation: q.logOperation(), key: q.key, uri: r.Method + " " + withoutSecrets(r.RequestURI) + " " + r.Proto,
		status: q.w.status, sent: q.w.bytes, size: -1, total: time.Since(began), turn: -1, referer: r.Header.Get("Referer"), agent: r.UserAgent(),
		hostID: q.s.o.HostID, host: r.Host,
	}
	if code != "OK" {
		rec.code = code
	}
	rec.remote = r.RemoteAddr
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		rec.remote = host
	}
	if !q.w.first.IsZero() {
		from := began
		if q.raw.last.After(from) {
			from = q.raw.last
		}
		rec.turn = max(0, q.w.first.Sub(from))
	}
	if o := q.shown; o != nil {
		rec.size = o.Size
		if q.b != nil && versioned(q.b) {
			rec.version = o.Version
		}
	}
	if q.who != nil && !q.who.anonymous() {
		rec.requester = q.who.Account
		if !q.who.Root && len(q.who.ARNs) > 0 {
			rec.requester = q.who.ARNs[0]
		}
		rec.authType, rec.sigVersion = "AuthHeader", "SigV4"
		if q.sig.presigned {
			rec.authType = "QueryString"
		}
		if q.sig.v2 {
			rec.sigVersion = "SigV2"
		}
	}
	if r.TLS != nil {
		rec.cipher = tls.CipherSuiteName(r.TLS.CipherSuite)
		rec.tls = strings.Replace(tls.VersionName(r.TLS.Version), "TLS 1.", "TLSv1.", 1)
	}
	rec.byACL = q.check != nil && q.check.v == byObject && q.check.done
	return rec
}

// withoutSecrets is an address without what lets whoever reads it do the same: signatures are good for days.
func withoutSecrets(uri string) string {
	path, query, ok := strings.Cut(uri, "?")
	if !ok || !strings.Contains(query, "ignature=") && !strings.Contains(query, "oken=") {
		return uri
	}
	params := strings.Split(query, "&")
	for i, p := range params {
		switch name, _, _ := strings.Cut(p, "="); name {
		case "X-Amz-Signature", "Signature", "X-Amz-Security-Token", "x-amz-security-token", "WebIdentityToken":
			params[i] = name + "=REDACTED"
		}
	}
	return path + "?" + strings.Join(params, "&")
}

// logs is what a Server has for access logs.
type logs struct {
	delivery *delivery // those of buckets
	fileErrs seldom
}

// told is what a request tells of itself when it is over.
type told struct {
	spent  spent
	shown  *bucket.Object // what the answer is about,
	batch  []deletedKey   // or what the request deletes
	copied *copySource    // and copies
}

// over tells the logs of a request that is answered.
func (q *request) over(code string, began time.Time) {
	s := q.s
	took := time.Since(began)
	s.metrics.done(q.op, code, took, q.r.ContentLength, q.w.bytes)
	if q.b != nil {
		s.metrics.buckets.done(q.b.Name(), kindOf(q.op), q.w.status, began, took, q.r.ContentLength, q.w.bytes)
	}
	q.explain(code, took)
	if q.op == "Health" {
		return
	}
	file := s.o.AccessLog
	logging := q.logging()
	if file == nil && logging == nil && q.copied == nil {
		return
	}
	rec := q.accessed(code, began)
	if q.t != nil {
		rec.owner = q.t.owner
	}
	line := rec.append(make([]byte, 0, 512))
	if file != nil {
		if _, err := file.Write(line); err != nil {
			s.fileErrs.warn(s.log, err)
		}
	}
	if logging != nil {
		s.delivery.add(q.bucket, rec.owner, logging, line)
		for _, d := range q.batch {
			one := rec
			one.operation, one.key, one.code, one.status, one.sent, one.size, one.version = "BATCH.DELETE.OBJECT", d.key, d.code, d.status, 0, -1, d.version
			s.delivery.add(q.bucket, rec.owner, logging, one.append(nil))
		}
	}
	if c := q.copied; c != nil {
		one := rec
		one.operation, one.bucket, one.owner, one.key, one.version, one.sent = "REST.COPY.OBJECT_GET", c.t.name, c.t.owner, c.key, c.version, 0
		if l := loggingOf(c.t); l != nil {
			s.delivery.add(c.t.name, c.t.owner, l, one.append(nil))
		}
	}
}

// deletedKey is one of many keys that a request deletes.
type deletedKey struct {
	key, version, code string
	status             int
}

// copySource is what a copy reads.
type copySource struct {
	t            *terms
	key, version string
}
