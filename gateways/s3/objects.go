package s3

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cairnstore/cairn/client/bucket"
)

func quote(etag string) string { return `"` + etag + `"` }

func unquote(etag string) string { return strings.Trim(etag, `"`) }

const (
	metaPrefix   = "X-Amz-Meta-"
	metaShown    = "x-amz-meta-"
	maxMetaBytes = 2 << 10
)

// headers reads what the client says about a new object.
func (q *request) headers() (bucket.Headers, *apiError) {
	h := q.r.Header
	out := bucket.Headers{
		ContentType: h.Get("Content-Type"), CacheControl: h.Get("Cache-Control"), ContentDisposition: h.Get("Content-Disposition"),
		ContentLanguage: h.Get("Content-Language"), Expires: h.Get("Expires"),
	}
	// aws-chunked is the encoding of the request, not of the object.
	var encodings []string
	for e := range strings.SplitSeq(strings.Join(h.Values("Content-Encoding"), ","), ",") {
		if e = strings.TrimSpace(e); e != "" && !strings.EqualFold(e, "aws-chunked") {
			encodings = append(encodings, e)
		}
	}
	out.ContentEncoding = strings.Join(encodings, ", ")
	size := 0
	for name, values := range h {
		key, ok := strings.CutPrefix(name, metaPrefix)
		if !ok || key == "" {
			continue
		}
		if out.Meta == nil {
			out.Meta = map[string]string{}
		}
		value := strings.Join(values, ",")
		out.Meta[strings.ToLower(key)] = value
		if size += len(key) + len(value); size > maxMetaBytes {
			return out, apiErr("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size").with("MaxSizeAllowed", itoa(maxMetaBytes))
		}
	}
	if c := h.Get("X-Amz-Storage-Class"); c != "" && c != "STANDARD" {
		return out, apiErr("InvalidStorageClass", "The storage class you specified is not valid; this gateway has STANDARD only.").with("StorageClassRequested", c)
	}
	return out, nil
}

// condition reads the conditions of a write. Beyond what S3 has, If-None-Match may
// name an ETag, as with Ceph: then the object that is there, if any, must have another one.
func (q *request) condition() (c bucket.Cond, e *apiError) {
	none, match := q.r.Header.Get("If-None-Match"), q.r.Header.Get("If-Match")
	switch {
	case none != "" && match != "":
		return c, headerNotImplemented("If-None-Match", "If-Match and If-None-Match exclude each other")
	case none == "*":
		c.Absent = true
	}
	if none != "*" {
		c.Not = unquote(none)
	}
	c.Match = unquote(match)
	return c, nil
}

// deletion reads the conditions of a deletion.
func (q *request) deletion() (c bucket.Cond, e *apiError) {
	if c, e = q.condition(); e != nil {
		return c, e
	}
	if c.Absent || c.Not != "" {
		return c, headerNotImplemented("If-None-Match", "a deletion has If-Match")
	}
	if v := q.r.Header.Get("X-Amz-If-Match-Size"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 {
			return c, apiErr("InvalidArgument", "The value is not a size.").with("ArgumentName", "x-amz-if-match-size").with("ArgumentValue", v)
		}
		c.Size = &n
	}
	if v := q.r.Header.Get("X-Amz-If-Match-Last-Modified-Time"); v != "" {
		if c.Modified, e = parseModified(v); e != nil {
			return c, e.with("ArgumentName", "x-amz-if-match-last-modified-time").with("ArgumentValue", v)
		}
	}
	return c, nil
}

// parseModified reads a time that a deletion is conditional on, as SDKs write it.
func parseModified(v string) (time.Time, *apiError) {
	t, err := http.ParseTime(v)
	if err != nil {
		t, err = time.Parse(time.RFC3339Nano, v)
	}
	if err != nil || t.IsZero() {
		return t, apiErr("InvalidArgument", "The value is not a time.")
	}
	return t, nil
}

func (q *request) putObject() error {
	p, e := q.body(nil)
	if e != nil {
		return e
	}
	if _, err := q.store(p); err != nil {
		return err
	}
	q.w.WriteHeader(http.StatusOK)
	return nil
}

// store makes the object that the headers speak of, of a body, and says in the answer's headers what it is.
func (q *request) store(p *payload) (*bucket.Object, error) {
	headers, e := q.headers()
	if e != nil {
		return nil, e
	}
	cond, e := q.condition()
	if e != nil {
		return nil, e
	}
	enc, err := q.sealing()
	if err != nil {
		return nil, err
	}
	if p.sum == nil && enc.told() { // S3 computes this one if the client asks for none
		p.alg = checksumByName("CRC64NVME")
		p.sum = p.alg.new()
	}
	if p.size > bucket.MaxPutBytes {
		return nil, apiErr("EntityTooLarge", "Your proposed upload exceeds the maximum allowed object size.").
			with("ProposedSize", strconv.FormatInt(p.size, 10)).with("MaxSizeAllowed", strconv.FormatInt(bucket.MaxPutBytes, 10))
	}
	attrs, err := q.newObject()
	if err != nil {
		return nil, err
	}
	attrs.Encryption = enc.record()
	body, sealed, err := enc.seal(p, 0, p.size, p.upTo)
	if err != nil {
		return nil, err
	}
	o, err := q.b.Put(q.ctx(), q.key, bucket.PutInput{Attrs: attrs, Body: body, Size: p.size, UpTo: p.upTo, Sealed: sealed, Headers: headers, Cond: cond, MD5: p.md5, Finish: p.finish})
	if err != nil {
		return nil, err
	}
	q.wrote(o)
	q.expiration(o)
	h := q.w.Header()
	enc.answer(h)
	h.Set("ETag", quote(o.ETag()))
	writeChecksums(h, o.Checksums, o.Parts)
	return o, nil
}

// matches reports whether an If-Match or If-None-Match list names the etag.
func matches(list, etag string) bool {
	for v := range strings.SplitSeq(list, ",") {
		v = strings.Trim(strings.TrimPrefix(strings.TrimSpace(v), "W/"), `"`)
		if v == "*" || v == etag {
			return true
		}
	}
	return false
}

// readConditions holds the If- headers, with this prefix, against an object.
// precondition says that a header that asks for "if changed" fails like the others.
func readConditions(h http.Header, prefix string, o *bucket.Object, precondition bool) *apiError {
	failed := func() *apiError {
		return apiErr("PreconditionFailed", "At least one of the pre-conditions you specified did not hold.")
	}
	notModified := func() *apiError {
		if precondition {
			return failed()
		}
		return apiErr("NotModified", "Not Modified")
	}
	modified := o.Modified.Truncate(time.Second)
	if v := h.Get(prefix + "If-Match"); v != "" {
		if !matches(v, o.ETag()) {
			return failed().with("Condition", "If-Match")
		}
	} else if t, err := http.ParseTime(h.Get(prefix + "If-Unmodified-Since")); err == nil && modified.After(t) {
		return failed().with("Condition", "If-Unmodified-Since")
	}
	if v := h.Get(prefix + "If-None-Match"); v != "" {
		if matches(v, o.ETag()) {
			return notModified()
		}
	} else if t, err := http.ParseTime(h.Get(prefix + "If-Modified-Since")); err == nil && !modified.After(t) {
		return notModified()
	}
	return nil
}

// span is the part of an object that is asked for.
type span struct {
	off, size int64
	partial   bool
	parts     int              // with partNumber: how many there are
	sum       *bucket.Checksum // with partNumber: the part's, if it has one
}

// parseRange reads a Range header. S3 serves a single range; anything else, and
// what is not well-formed, means the whole object.
func parseRange(v string, size int64) (s span, e *apiError) {
	s = span{size: size}
	spec, ok := strings.CutPrefix(v, "bytes=")
	if !ok || strings.Contains(spec, ",") {
		return s, nil
	}
	first, last, ok := strings.Cut(spec, "-")
	if !ok {
		return s, nil
	}
	unsatisfiable := func() (span, *apiError) {
		e := apiErr("InvalidRange", "The requested range is not satisfiable").with("RangeRequested", v).with("ActualObjectSize", strconv.FormatInt(size, 10))
		e.Header = http.Header{"Content-Range": {"bytes */" + strconv.FormatInt(size, 10)}}
		return s, e
	}
	number := func(t string) (int64, bool) {
		n, err := strconv.ParseUint(t, 10, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) || err == nil && t[0] == '+' {
			return 0, false
		}
		return int64(min(n, 1<<62)), true
	}
	if first == "" {
		n, ok := number(last)
		switch {
		case !ok:
			return s, nil
		case n == 0 || size == 0:
			return unsatisfiable()
		}
		n = min(n, size)
		return span{off: size - n, size: n, partial: true}, nil
	}
	from, ok := number(first)
	if !ok {
		return s, nil
	}
	to := size - 1
	if last != "" {
		if to, ok = number(last); !ok || to < from {
			return s, nil
		}
	}
	if from >= size {
		return unsatisfiable()
	}
	to = min(to, size-1)
	return span{off: from, size: to - from + 1, partial: true}, nil
}

// span finds out what part of the object is asked for.
func (q *request) span(o *bucket.Object) (span, error) {
	if q.query.Has("partNumber") {
		n, err := strconv.Atoi(q.query.Get("partNumber"))
		if err != nil || n < 1 || n > bucket.MaxParts {
			return span{}, apiErr("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive.").with("ArgumentName", "partNumber").with("ArgumentValue", q.query.Get("partNumber"))
		}
		if q.r.Header.Get("Range") != "" {
			return span{}, apiErr("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
		}
		off, size, err := o.Part(n)
		if errors.Is(err, bucket.ErrInvalidPart) {
			return span{}, apiErr("InvalidPart", "The requested partnumber is not satisfiable.") // so Ceph; S3: 416 InvalidPartNumber
		}
		s := span{off: off, size: size, partial: size > 0, parts: max(o.Parts, 0)}
		if err == nil {
			var parts []bucket.PartInfo
			parts, err = o.PartList()
			for _, p := range parts {
				if p.Number == n {
					s.sum = p.Checksum
				}
			}
		}
		return s, err
	}
	s, e := parseRange(q.r.Header.Get("Range"), o.Size)
	if e != nil {
		return s, e
	}
	return s, nil
}

// partThere refuses a part that the object does not have, before it asks for a key, as Ceph does.
func (q *request) partThere(o *bucket.Object) error {
	if !q.query.Has("partNumber") {
		return nil
	}
	_, err := q.span(o)
	return err
}

// changedTries is how often a read begins anew because the object was replaced
// before its first byte was read.
const changedTries = 5

func (q *request) getObject() error {
	if e := q.mayOverride(); e != nil {
		return e
	}
	for try := 1; ; try++ {
		o, err := q.fetch(q.byGet)
		if err != nil {
			return err
		}
		if err := q.partThere(o); err != nil {
			return err
		}
		enc, err := q.opening(o, customerHeader)
		if err != nil {
			return err
		}
		if q.identify(o) {
			return nil
		}
		if e := readConditions(q.r.Header, "", o, false); e != nil {
			return e
		}
		s, err := q.span(o)
		if err != nil {
			return err
		}
		body, err := q.open(o, enc, s.off, s.size)
		if errors.Is(err, bucket.ErrChanged) && try < changedTries {
			continue
		}
		if err != nil {
			return err
		}
		defer body.Close()
		q.describe(o, s)
		enc.answer(q.w.Header())
		if s.partial {
			q.w.WriteHeader(http.StatusPartialContent)
		} else {
			q.w.WriteHeader(http.StatusOK)
		}
		if _, err := io.Copy(q.w, body); err != nil {
			if q.ctx().Err() == nil {
				q.s.log.Debug("send an object", "request", q.id, "bucket", q.bucket, "err", err)
			}
			return err // too late for an answer: the connection is cut
		}
		return nil
	}
}

// mayOverride refuses to let those who do not sign choose headers of the answer.
func (q *request) mayOverride() *apiError {
	for param := range overrides {
		if q.who.anonymous() && q.query.Has(param) {
			return apiErr("InvalidRequest", "Request specific response headers cannot be used for anonymous GET requests.")
		}
	}
	return nil
}

func (q *request) headObject() error {
	if e := q.mayOverride(); e != nil {
		return e
	}
	get := q.byHead
	if q.query.Has("partNumber") {
		get = q.byGet // the parts are listed beside the entry
	}
	o, err := q.fetch(get)
	if err != nil {
		return err
	}
	if err := q.partThere(o); err != nil {
		return err
	}
	enc, err := q.opening(o, customerHeader)
	if err != nil {
		return err
	}
	if q.identify(o) {
		return nil
	}
	if e := readConditions(q.r.Header, "", o, false); e != nil {
		return e
	}
	s, err := q.span(o)
	if err != nil {
		return err
	}
	q.describe(o, s)
	enc.answer(q.w.Header())
	if s.partial {
		q.w.WriteHeader(http.StatusPartialContent)
	} else {
		q.w.WriteHeader(http.StatusOK)
	}
	return nil
}

// identify sets what an answer says of the object even if it sends nothing of it. It reports whether
// that was all: websites may send those who ask for an object elsewhere.
func (q *request) identify(o *bucket.Object) (answered bool) {
	if q.site && q.w.as == 0 && o.Attrs.Redirect != "" {
		q.redirect(o.Attrs.Redirect, http.StatusMovedPermanently)
		return true
	}
	h := q.w.Header()
	h.Set("ETag", quote(o.ETag()))
	h.Set("Last-Modified", o.Modified.UTC().Format(http.TimeFormat))
	q.stored(o)
	return false
}

// overrides are the query parameters that replace a header of the answer.
var overrides = map[string]string{
	"response-content-type":        "Content-Type",
	"response-content-language":    "Content-Language",
	"response-expires":             "Expires",
	"response-cache-control":       "Cache-Control",
	"response-content-disposition": "Content-Disposition",
	"response-content-encoding":    "Content-Encoding",
}

func (q *request) describe(o *bucket.Object, s span) {
	h := q.w.Header()
	set := func(name, value string) {
		if value != "" {
			h.Set(name, value)
		}
	}
	h.Set("Content-Type", "binary/octet-stream")
	set("Content-Type", o.Headers.ContentType)
	set("Cache-Control", o.Headers.CacheControl)
	set("Content-Disposition", o.Headers.ContentDisposition)
	set("Content-Encoding", o.Headers.ContentEncoding)
	set("Content-Language", o.Headers.ContentLanguage)
	set("Expires", o.Headers.Expires)
	for name, value := range o.Headers.Meta {
		h[metaShown+name] = []string{value} // in lower case, as S3 sends it: SDKs show what follows the prefix as it came
	}
	q.expiration(o)
	set("X-Amz-Website-Redirect-Location", o.Attrs.Redirect)
	describeLock(h, o.Attrs.Lock)
	describeTags(h, o.Attrs.Tags)
	for param, name := range overrides {
		set(name, q.query.Get(param))
	}
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Length", strconv.FormatInt(s.size, 10))
	if s.partial {
		h.Set("Content-Range", "bytes "+strconv.FormatInt(s.off, 10)+"-"+strconv.FormatInt(s.off+s.size-1, 10)+"/"+strconv.FormatInt(o.Size, 10))
	} else if strings.EqualFold(q.r.Header.Get("X-Amz-Checksum-Mode"), "ENABLED") {
		writeChecksums(h, o.Checksums, o.Parts)
	}
	if s.sum != nil && strings.EqualFold(q.r.Header.Get("X-Amz-Checksum-Mode"), "ENABLED") {
		writeChecksums(h, []bucket.Checksum{*s.sum}, 0)
		h.Set("x-amz-checksum-type", checksumType(o.Checksums[0]))
	}
	if s.parts > 0 {
		h.Set("x-amz-mp-parts-count", itoa(s.parts))
	}
}

// newObject is what the headers say, beside its metadata, of an object that the request makes.
func (q *request) newObject() (bucket.Attrs, error) {
	a, err := q.newOwned()
	if err != nil {
		return a, err
	}
	if a.Lock, err = q.lockOf(); err != nil {
		return a, err
	}
	var bad *apiError
	if a.Redirect, bad = redirectOf(q.r.Header); bad != nil {
		return a, bad
	}
	if v := q.r.Header.Get("X-Amz-Tagging"); v != "" {
		tags, e := parseTags(v)
		if e != nil {
			return a, e
		}
		a.Tags = tags
	}
	return a, nil
}
