package s3

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/internal/seal"
)

// S3X: what EdgeFS added to S3, under ?comp= of an object. docs/s3x.md has every verb. Blocks, sessions and clones are
// here; ordered maps of keys and values are in s3xkv.go.

// Limits of S3X.
const (
	maxBlock         = 8 << 20 // one block, held in memory to be written again when others were faster
	blockTries       = 20
	defaultIdle      = 30 * time.Second
	sessionHeader    = "X-Session-Id"
	offsetHeader     = "X-Ccow-Offset"
	lengthHeader     = "X-Ccow-Length"
	sizeHeader       = "X-Ccow-Size"
	appendHeader     = "X-Ccow-Condition-Append-Offset"
	idleHeader       = "X-Ccow-Session-Idle"
	snapshotSign     = "@" // between an object's key and the name of a snapshot of it
	sessionOperation = "StreamSession"
)

// s3xRoute is a verb on an extension.
type s3xRoute struct{ method, comp string }

var s3xRoutes = map[s3xRoute]operation{
	{http.MethodGet, "kv"}:               {"KVList", perKey, (*request).kvList},
	{http.MethodPost, "kv"}:              {"KVInsert", perKey, (*request).kvInsert},
	{http.MethodDelete, "kv"}:            {"KVDelete", perKey, (*request).kvDelete},
	{http.MethodGet, "kvget"}:            {"KVGet", "s3:GetObject", (*request).getObject},
	{http.MethodHead, "kvget"}:           {"KVGet", "s3:GetObject", (*request).headObject},
	{http.MethodPost, "appendblock"}:     {"AppendBlock", "s3:PutObject", (*request).appendBlock},
	{http.MethodPost, "randwrblock"}:     {"RandWriteBlock", "s3:PutObject", (*request).writeBlock},
	{http.MethodPost, "streamsession"}:   {sessionOperation, "s3:PutObject", (*request).postSession},
	{http.MethodGet, "streamsession"}:    {sessionOperation, "s3:PutObject", (*request).getSession},
	{http.MethodHead, "streamsession"}:   {sessionOperation, "s3:PutObject", (*request).getSession},
	{http.MethodDelete, "streamsession"}: {sessionOperation, "s3:PutObject", (*request).cancelSession},
	{http.MethodPost, "clone"}:           {"CopyObject", "s3:PutObject", (*request).clone},
	{http.MethodPost, "snapshot"}:        {"CopyObject", "s3:PutObject", (*request).keepSnapshot},
	{http.MethodGet, "snapshot"}:         {"SnapshotList", perKey, (*request).snapshots},
	{http.MethodDelete, "snapshot"}:      {"DeleteObject", "s3:DeleteObject", (*request).deleteObject},
	{http.MethodDelete, "del"}:           {"DeleteObject", "s3:DeleteObject", (*request).deleteObject},
	{http.MethodPost, "del"}:             {"DeleteObject", "s3:DeleteObject", (*request).deleteObject},
}

// routeS3X chooses the operation of an extension. Where that is about another key than that of the path, the key changes
// here, before anybody decides about it.
func (q *request) routeS3X(level int) (operation, *apiError) {
	comp := q.query.Get("comp")
	op, ok := s3xRoutes[s3xRoute{q.r.Method, comp}]
	switch {
	case !ok:
		for r := range s3xRoutes {
			if r.comp == comp {
				return op, apiErr("MethodNotAllowed", "The specified method is not allowed against this resource.").with("Method", q.r.Method)
			}
		}
		return op, notImplemented("comp=" + comp)
	case level != onObject:
		return op, apiErr("InvalidRequest", "comp=%s is of objects: name a bucket and a key.", comp)
	}
	q.op = op.name
	param := ""
	switch {
	case comp == "kvget", comp == "kv" && q.r.Method != http.MethodGet && q.query.Has("key"):
		if comp == "kv" { // one pair: an object like others
			op.action = map[string]string{http.MethodPost: "s3:PutObject", http.MethodDelete: "s3:DeleteObject"}[q.r.Method]
		}
		param = "key"
		q.key += "/"
	case comp == "snapshot" && q.r.Method != http.MethodGet:
		param = "name"
		q.key += snapshotSign
	}
	if param != "" {
		v := q.query.Get(param)
		if v == "" {
			return op, apiErr("InvalidArgument", "comp=%s needs the parameter %s.", comp, param).with("ArgumentName", param)
		}
		q.key += v
	}
	return op, q.checkKey()
}

// wholeBody reads a request's body of at most limit bytes, verified.
func (q *request) wholeBody(limit int64) ([]byte, *apiError) {
	b, e := q.readBody(limit)
	if e != nil && e.Code == "MaxMessageLengthExceeded" {
		return nil, apiErr("EntityTooLarge", "At most %d bytes can be written at once.", limit).with("MaxSizeAllowed", strconv.FormatInt(limit, 10))
	}
	return b, e
}

// headerOffset reads a header that is an offset or a length.
func (q *request) headerOffset(name string) (int64, bool, *apiError) {
	v := q.r.Header.Get(name)
	if v == "" {
		return 0, false, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 {
		return 0, false, apiErr("InvalidArgument", "%s is no number of bytes.", strings.ToLower(name)).with("ArgumentName", strings.ToLower(name)).with("ArgumentValue", v)
	}
	return n, true, nil
}

func (q *request) appendBlock() error {
	var want *int64
	n, given, e := q.headerOffset(appendHeader)
	if e != nil {
		return e
	}
	if given {
		want = &n
	}
	block, e := q.wholeBody(maxBlock)
	if e != nil {
		return e
	}
	if id := q.r.Header.Get(sessionHeader); id != "" {
		return q.sessionWrite(id, -1, want, block)
	}
	return q.splice(block, func(size int64) (int64, *apiError) {
		if want != nil && *want != size {
			return 0, appendMismatch(size)
		}
		return size, nil
	})
}

func appendMismatch(size int64) *apiError {
	e := apiErr("PreconditionFailed", "At least one of the pre-conditions you specified did not hold: the object ends at %d.", size).with("Condition", strings.ToLower(appendHeader))
	e.Header = http.Header{http.CanonicalHeaderKey(sizeHeader): {strconv.FormatInt(size, 10)}}
	return e
}

func (q *request) writeBlock() error {
	off, given, e := q.headerOffset(offsetHeader)
	if e != nil {
		return e
	}
	if !given {
		return apiErr("InvalidArgument", "randwrblock needs the header %s.", strings.ToLower(offsetHeader)).with("ArgumentName", strings.ToLower(offsetHeader))
	}
	block, e := q.wholeBody(maxBlock)
	if e != nil {
		return e
	}
	if n, given, e := q.headerOffset(lengthHeader); e != nil {
		return e
	} else if given && n != int64(len(block)) {
		return apiErr("InvalidArgument", "%s is %d, the body has %d bytes.", strings.ToLower(lengthHeader), n, len(block)).with("ArgumentName", strings.ToLower(lengthHeader))
	}
	if id := q.r.Header.Get(sessionHeader); id != "" {
		return q.sessionWrite(id, off, nil, block)
	}
	return q.splice(block, func(size int64) (int64, *apiError) {
		if off > size {
			return 0, behindEnd(off, size)
		}
		return off, nil
	})
}

func behindEnd(off, size int64) *apiError {
	return apiErr("InvalidRange", "Offset %d is behind the end of the object at %d.", off, size).with("ActualObjectSize", strconv.FormatInt(size, 10))
}

// edited is what is edited: the object that is there, nil if there is none, and what a new one says of itself.
func (q *request) edited() (src *bucket.Object, headers bucket.Headers, attrs bucket.Attrs, err error) {
	cond, e := q.condition()
	if e != nil {
		return nil, headers, attrs, e
	}
	if attrs, err = q.newObject(); err != nil {
		return nil, headers, attrs, err
	}
	src, err = q.b.Get(q.ctx(), q.key)
	switch {
	case errors.Is(err, bucket.ErrNoSuchKey):
		src, err = nil, nil
		if cond.Match != "" {
			return nil, headers, attrs, apiErr("NoSuchKey", "The specified key does not exist.").with("Key", q.key)
		}
		headers, e = q.headers()
		if e != nil {
			err = e
		}
		return src, headers, attrs, err
	case err != nil:
		return nil, headers, attrs, err
	case cond.Absent, cond.Match != "" && cond.Match != "*" && cond.Match != src.ETag():
		return nil, headers, attrs, apiErr("PreconditionFailed", "At least one of the pre-conditions you specified did not hold.")
	case !src.Sealed() && q.askedSSE():
		return nil, headers, attrs, apiErr("InvalidRequest", "The object is not encrypted. Copy it onto itself to encrypt it.")
	}
	lock := attrs.Lock // of the new version
	attrs = src.Attrs
	attrs.Lock = lock
	return src, src.Headers, attrs, nil
}

// splice writes a block into an object at an offset that hangs on its size. Readers see the old body or the new one.
func (q *request) splice(block []byte, offset func(size int64) (int64, *apiError)) error {
	for try := 1; ; try++ {
		src, headers, attrs, err := q.edited()
		if err != nil {
			return err
		}
		size := int64(0)
		if src != nil {
			size = src.Size
		}
		off, e := offset(size)
		if e != nil {
			return e
		}
		o, enc, err := q.spliceAt(src, off, block, headers, attrs)
		if errors.Is(err, bucket.ErrChanged) && try < blockTries {
			continue
		}
		if err != nil {
			return err
		}
		q.stored(o)
		h := q.w.Header()
		enc.answer(h)
		h.Set("ETag", quote(o.ETag()))
		h.Set(offsetHeader, strconv.FormatInt(off, 10))
		h.Set(sizeHeader, strconv.FormatInt(o.Size, 10))
		q.w.WriteHeader(http.StatusOK)
		return nil
	}
}

func (q *request) spliceAt(src *bucket.Object, off int64, block []byte, headers bucket.Headers, attrs bucket.Attrs) (*bucket.Object, *sealing, error) {
	enc, err := q.sealing()
	if err != nil {
		return nil, nil, err
	}
	if src != nil && !src.Sealed() && enc == nil {
		o, err := q.b.Splice(q.ctx(), q.key, src, off, block, headers, attrs)
		return o, nil, err
	}
	if src == nil {
		attrs.Encryption = enc.record()
		body, sealed, err := enc.seal(bytes.NewReader(block), 0, int64(len(block)), false)
		if err != nil {
			return nil, nil, err
		}
		o, err := q.b.Put(q.ctx(), q.key, bucket.PutInput{Body: body, Size: int64(len(block)), Sealed: sealed, Headers: headers, Attrs: attrs, Cond: bucket.Cond{Absent: true}})
		if errors.Is(err, bucket.ErrPrecondition) {
			err = bucket.ErrChanged // somebody else made it
		}
		return o, enc, err
	}
	// What is encrypted is encrypted anew, by the same key unless something else is said; and what is not, if that is said.
	open := func(r io.Reader) io.Reader { return r }
	var from *opening
	if src.Sealed() {
		if from, err = q.openingWith(src, customerHeader); err != nil {
			return nil, nil, err
		}
		data, err := from.dataKey()
		if err != nil {
			return nil, nil, err
		}
		parts, err := streams(src)
		if err != nil {
			return nil, nil, err
		}
		open = func(r io.Reader) io.Reader { return seal.NewOpener(data, parts, 0, src.Size, r) }
	}
	if enc == nil {
		enc = &sealing{name: q.key, rec: seal.Record{Kind: from.rec.Kind, KeyID: from.rec.KeyID, Context: from.rec.Context, Bucket: from.rec.Bucket}}
		if enc, err = q.sealingBy(enc); err != nil {
			return nil, nil, err
		}
	}
	total := max(src.Size, off+int64(len(block)))
	in := &late{}
	body, sealed, err := enc.seal(in, 0, total, false)
	if err != nil {
		return nil, nil, err
	}
	attrs.Encryption = enc.record()
	o, err := q.b.Copy(q.ctx(), src, q.key, bucket.CopyInput{
		Headers: &headers, Attrs: attrs, Cond: bucket.Cond{Is: src}, Recode: true, Sealed: sealed, Size: total,
		Finish: func() ([]bucket.Checksum, error) { return nil, nil },
		Wrap: func(r io.Reader) io.Reader {
			plain := open(r)
			in.Reader = io.MultiReader(io.LimitReader(plain, off), bytes.NewReader(block), &skipping{r: plain, n: min(int64(len(block)), src.Size-off)})
			return body
		},
	})
	if errors.Is(err, bucket.ErrPrecondition) {
		err = bucket.ErrChanged
	}
	return o, enc, err
}

// skipping is a reader without its first n bytes.
type skipping struct {
	r io.Reader
	n int64
}

// Read implements io.Reader.
func (s *skipping) Read(b []byte) (int, error) {
	if s.n > 0 {
		n, err := io.CopyN(io.Discard, s.r, s.n)
		if s.n -= n; err != nil {
			return 0, err
		}
	}
	return s.r.Read(b)
}

// sessionErr says in S3's words what is wrong with a session.
func sessionErr(err error) error {
	switch {
	case errors.Is(err, bucket.ErrNoSuchUpload):
		e := apiErr("NoSuchSession", "There is no such session: it was finalized, cancelled or not used for too long.")
		e.Status, e.cause = http.StatusNotFound, err
		return e
	case errors.Is(err, bucket.ErrChanged):
		e := apiErr("OperationAborted", "The object is not what the session began with any more. Cancel the session and begin anew.")
		e.cause = err
		return e
	}
	return err
}

// editing finds a session of the one who asks.
func (q *request) editing(id string) (*bucket.Session, error) {
	s, err := q.b.Session(q.ctx(), q.key, id)
	if err != nil {
		return nil, sessionErr(err)
	}
	if s.Owner != q.who.Account {
		return nil, accessDenied()
	}
	return s, nil
}

func (q *request) sessionWrite(id string, off int64, want *int64, block []byte) error {
	if _, err := q.editing(id); err != nil {
		return err
	}
	at, total, err := q.b.SessionWrite(q.ctx(), q.key, id, off, want, bytes.NewReader(block), int64(len(block)))
	switch {
	case errors.Is(err, bucket.ErrPrecondition), errors.Is(err, bucket.ErrRange):
		s, serr := q.editing(id)
		if serr != nil {
			return serr
		}
		if want != nil {
			return appendMismatch(s.Size)
		}
		return behindEnd(off, s.Size)
	case err != nil:
		return sessionErr(err)
	}
	h := q.w.Header()
	h.Set(sessionHeader, id)
	h.Set(offsetHeader, strconv.FormatInt(at, 10))
	h.Set(sizeHeader, strconv.FormatInt(total, 10))
	q.w.WriteHeader(http.StatusOK)
	return nil
}

// postSession begins a session, writes in it, or ends it.
func (q *request) postSession() error {
	id := q.r.Header.Get(sessionHeader)
	switch {
	case id == "":
		return q.startSession()
	case q.query.Has("finalize"):
		return q.finalizeSession(id)
	case q.query.Has("cancel"):
		return q.cancelSession()
	case q.r.Header.Get(offsetHeader) != "":
		return q.writeBlock()
	}
	return q.appendBlock()
}

func (q *request) startSession() error {
	if e := q.noBody(); e != nil {
		return e
	}
	idle := defaultIdle
	if v := q.r.Header.Get(idleHeader); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || time.Duration(n)*time.Second < bucket.MinSessionIdle || n > int(bucket.MaxSessionIdle/time.Second) {
			return apiErr("InvalidArgument", "%s is no number of seconds from %d to %d.", strings.ToLower(idleHeader), int(bucket.MinSessionIdle/time.Second), int(bucket.MaxSessionIdle/time.Second)).
				with("ArgumentName", strings.ToLower(idleHeader)).with("ArgumentValue", v)
		}
		idle = time.Duration(n) * time.Second
	}
	src, headers, attrs, err := q.edited()
	if err != nil {
		return err
	}
	if src != nil && src.Sealed() {
		return notImplemented("sessions on encrypted objects; write blocks into them instead")
	}
	enc, err := q.sealing()
	if err != nil {
		return err
	}
	if enc != nil {
		return notImplemented("sessions that make encrypted objects; write blocks instead")
	}
	id, err := q.b.StartSession(q.ctx(), q.key, bucket.SessionInput{Base: src, Headers: headers, Attrs: attrs, Owner: q.who.Account, Idle: idle})
	if err != nil {
		return err
	}
	h := q.w.Header()
	h.Set(sessionHeader, id)
	h.Set(sizeHeader, "0")
	if src != nil {
		h.Set(sizeHeader, strconv.FormatInt(src.Size, 10))
	}
	q.w.WriteHeader(http.StatusOK)
	return nil
}

// noBody wants a request without one.
func (q *request) noBody() *apiError {
	b, e := q.readBody(1)
	if e != nil || len(b) > 0 {
		return apiErr("InvalidRequest", "This request has no body.")
	}
	return nil
}

func (q *request) finalizeSession(id string) error {
	if e := q.noBody(); e != nil {
		return e
	}
	if s, err := q.b.Session(q.ctx(), q.key, id); err == nil && s.Owner != q.who.Account {
		return accessDenied()
	}
	o, err := q.b.Finalize(q.ctx(), q.key, id)
	if err != nil {
		return sessionErr(err)
	}
	q.stored(o)
	h := q.w.Header()
	h.Set("ETag", quote(o.ETag()))
	h.Set(sizeHeader, strconv.FormatInt(o.Size, 10))
	q.w.WriteHeader(http.StatusOK)
	return nil
}

func (q *request) cancelSession() error {
	id := q.r.Header.Get(sessionHeader)
	if _, err := q.editing(id); err != nil {
		return err
	}
	if err := q.b.Cancel(q.ctx(), q.key, id); err != nil {
		return sessionErr(err)
	}
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

// getSession reads the body as the session has it. Whoever reads what it began with needs to be allowed that.
func (q *request) getSession() error {
	id := q.r.Header.Get(sessionHeader)
	s, err := q.editing(id)
	if err != nil {
		return err
	}
	check, err := q.ask(q.t, "s3:GetObject", q.key, "")
	if err != nil {
		return err
	}
	if o, err := q.b.Head(q.ctx(), q.key); !errors.Is(err, bucket.ErrNoSuchKey) {
		if err := q.object(check, o, err); err != nil {
			return err
		}
	}
	h := q.w.Header()
	h.Set(sessionHeader, id)
	h.Set(sizeHeader, strconv.FormatInt(s.Size, 10))
	h.Set("X-Ccow-Session-Edits", itoa(s.Edits))
	h.Set("Content-Type", "binary/octet-stream")
	sp, e := parseRange(q.r.Header.Get("Range"), s.Size)
	if e != nil {
		return e
	}
	if q.r.Method == http.MethodHead {
		h.Set("Content-Length", strconv.FormatInt(sp.size, 10))
		q.w.WriteHeader(http.StatusOK)
		return nil
	}
	body, err := s.Open(q.ctx(), sp.off, sp.size)
	if err != nil {
		return sessionErr(err)
	}
	defer body.Close()
	h.Set("Content-Length", strconv.FormatInt(sp.size, 10))
	status := http.StatusOK
	if sp.partial {
		h.Set("Content-Range", "bytes "+strconv.FormatInt(sp.off, 10)+"-"+strconv.FormatInt(sp.off+sp.size-1, 10)+"/"+strconv.FormatInt(s.Size, 10))
		status = http.StatusPartialContent
	}
	q.w.WriteHeader(status)
	_, err = io.Copy(q.w, body)
	return err
}

// clone is CopyObject by POST.
func (q *request) clone() error {
	if q.r.Header.Get("X-Amz-Copy-Source") == "" {
		return apiErr("InvalidArgument", "comp=clone needs the header x-amz-copy-source.").with("ArgumentName", "x-amz-copy-source")
	}
	if e := q.noBody(); e != nil {
		return e
	}
	return q.copyObject()
}

// keepSnapshot keeps an object as it is, as a copy beside it that must not be there yet.
func (q *request) keepSnapshot() error {
	if e := q.noBody(); e != nil {
		return e
	}
	key := strings.TrimSuffix(q.key, snapshotSign+q.query.Get("name"))
	q.r.Header.Set("X-Amz-Copy-Source", "/"+q.bucket+"/"+escapePath(key))
	q.r.Header.Set("If-None-Match", "*")
	if err := q.may(q.t, "s3:PutObject", q.key, ""); err != nil { // policies may speak of copies
		return err
	}
	return q.copyObject()
}
