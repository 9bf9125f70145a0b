package s3

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"hash"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/client/bucket"
)

func itoa(n int) string { return strconv.Itoa(n) }

// payload is a request's body: decoded, and verified at its end. Its last Read
// fails if anything that the client said about the body is not so.
type payload struct {
	in      io.Reader
	size    int64
	upTo    bool      // size is only the most that the body may have
	md5     []byte    // Content-MD5; whoever stores the body verifies it
	sha     hash.Hash // nil: not to be verified
	wantSHA string
	sum     hash.Hash // nil: no checksum
	alg     *checksumAlgorithm
	want    []byte       // nil: in the trailer, or only to be computed
	promise bool         // the trailer must bring want
	chunked *chunkReader // with a trailer to take want from
	value   []byte       // of sum, once the end was reached
	err     error
	broken  *atomic.Pointer[apiError] // of the request: what was wrong with the body
}

// minRate is the slowest a client may send a body, on average after a first
// BodyIdle: what it sends takes up memory until there is enough of it to be stored.
const minRate = 16 << 10 // bytes a second

// idleReader gives up on a client that sends nothing for a while, or very little
// for long.
type idleReader struct {
	r      io.Reader
	c      *http.ResponseController
	idle   time.Duration
	set    time.Time
	bytes  int64
	last   time.Time     // when there was last something to read
	waited time.Duration // for the client only: when the cluster is slow, that is not its fault
	done   bool
}

func (i *idleReader) Read(b []byte) (int, error) {
	now := time.Now()
	if now.Sub(i.set) > time.Second { // moving the deadline is not free: once a second is enough
		left := i.idle + time.Duration(i.bytes/minRate)*time.Second - i.waited
		_ = i.c.SetReadDeadline(now.Add(min(i.idle, left))) // not every ResponseWriter can; then there is no limit
		i.set = now
	}
	n, err := i.r.Read(b)
	i.bytes += int64(n)
	i.last = time.Now()
	i.waited += i.last.Sub(now)
	if errors.Is(err, io.EOF) {
		// The server watches the connection for the client going away once the body is read.
		_ = i.c.SetReadDeadline(time.Time{})
		i.done = true
	}
	return n, err
}

// rest bounds how long the server may wait for what is left of the body after the
// answer. The next request on the connection has a deadline of its own.
func (i *idleReader) rest() {
	if !i.done {
		_ = i.c.SetReadDeadline(time.Now().Add(min(i.idle, restTime)))
	}
}

const restTime = 5 * time.Second

// body prepares the request's body. compute asks for a checksum even if the client sent none.
func (q *request) body(compute *checksumAlgorithm) (*payload, *apiError) {
	r := q.r
	raw := q.raw
	p := &payload{size: r.ContentLength, broken: &q.broken}
	mode := q.sig.payload
	switch mode {
	case streamSigned, streamSignedTrailer, streamUnsignedTrailer:
		decoded := r.Header.Get("X-Amz-Decoded-Content-Length")
		n, err := strconv.ParseInt(decoded, 10, 64)
		if decoded == "" {
			return nil, apiErr("MissingContentLength", "You must provide the x-amz-decoded-content-length HTTP header.")
		}
		if err != nil || n < 0 {
			return nil, apiErr("InvalidArgument", "x-amz-decoded-content-length is not a length.")
		}
		var signer *chunkSigner
		if mode != streamUnsignedTrailer {
			signer = &chunkSigner{key: q.key256, stamp: q.sig.stamp, scope: q.sig.scope.String(), prev: q.sig.value}
		}
		p.size = n
		p.chunked = newChunkReader(raw, signer, mode != streamSigned)
		p.in = p.chunked
	case unsignedBody:
		p.in = raw
	default:
		if _, e := parsePayload(mode); e != nil {
			return nil, e
		}
		p.in, p.sha, p.wantSHA = raw, sha256.New(), strings.ToLower(mode)
	}
	if p.size < 0 && q.op == "PutObject" {
		// The client does not know itself how much it will send. Amazon wants to know; Ceph does not.
		p.size, p.upTo = bucket.MaxPutBytes, true
		p.in = &atMost{p.in, p.size}
		q.w.Header().Set("Connection", "close") // where a length came, too, others may see another end of this request
	}
	if p.size < 0 {
		return nil, apiErr("MissingContentLength", "You must provide the Content-Length HTTP header.")
	}
	if m, ok := r.Header["Content-Md5"]; ok {
		var e *apiError
		if p.md5, e = parseMD5(strings.Join(m, ",")); e != nil {
			return nil, e
		}
	}
	return p, p.setChecksum(r, compute)
}

// atMost refuses a body that is too long, once that shows.
type atMost struct {
	r    io.Reader
	left int64
}

func (a *atMost) Read(b []byte) (int, error) {
	n, err := a.r.Read(b[:min(int64(len(b)), a.left+1)])
	if a.left -= int64(n); a.left < 0 {
		return 0, apiErr("EntityTooLarge", "Your proposed upload exceeds the maximum allowed object size.").with("MaxSizeAllowed", strconv.FormatInt(bucket.MaxPutBytes, 10))
	}
	return n, err
}

func parseMD5(v string) ([]byte, *apiError) {
	b, err := base64.StdEncoding.DecodeString(v)
	if err != nil || len(b) != md5.Size {
		return nil, apiErr("InvalidDigest", "The Content-MD5 you specified is not valid.").with("Content-MD5", v)
	}
	return b, nil
}

func (p *payload) setChecksum(r *http.Request, compute *checksumAlgorithm) (e *apiError) {
	if p.alg, p.want, e = checksumHeader(r.Header); e != nil {
		return e
	}
	defer func() {
		if e == nil {
			e = p.announced(r.Header.Get("X-Amz-Sdk-Checksum-Algorithm"), compute)
		}
	}()
	for name := range strings.SplitSeq(strings.Join(r.Header.Values("X-Amz-Trailer"), ","), ",") {
		suffix, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(name)), checksumPrefix)
		if !ok {
			continue
		}
		a := checksumByName(suffix)
		switch {
		case a == nil:
			return apiErr("InvalidRequest", "The value specified in the x-amz-trailer header is not supported")
		case p.alg != nil:
			return apiErr("InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		case p.chunked == nil || !p.chunked.trailing:
			return apiErr("InvalidRequest", "A trailer is announced but the body has none.")
		}
		p.alg, p.promise = a, true
	}
	if p.alg == nil {
		p.alg = compute
	} else if compute != nil && compute.name != p.alg.name {
		return apiErr("InvalidRequest", "Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum Type: %s", compute.name, p.alg.name)
	}
	if p.alg != nil {
		p.sum = p.alg.new()
	}
	return nil
}

// announced holds the algorithm that an SDK says it uses against the checksum that came.
func (p *payload) announced(name string, compute *checksumAlgorithm) *apiError {
	switch {
	case name == "":
		return nil
	case checksumByName(name) == nil:
		return unknownChecksum()
	case p.want == nil && !p.promise && (compute == nil || p.alg != compute):
		return apiErr("InvalidRequest", "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.")
	case (p.want != nil || p.promise) && !strings.EqualFold(p.alg.name, name):
		return apiErr("InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid.")
	}
	return nil
}

// Read implements io.Reader.
func (p *payload) Read(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	n, err := p.in.Read(b)
	if p.sha != nil {
		p.sha.Write(b[:n])
	}
	if p.sum != nil {
		p.sum.Write(b[:n])
	}
	if errors.Is(err, io.EOF) {
		err = io.EOF
		if e := p.verify(); e != nil {
			err = e
		}
	} else if err != nil {
		err = bodyErr(err)
	}
	if e := new(apiError); errors.As(err, &e) {
		p.broken.Store(e)
	}
	p.err = err
	return n, err
}

// bodyErr says in S3's words why a body could not be read.
func bodyErr(err error) error {
	var api *apiError
	var timeout net.Error
	switch {
	case errors.As(err, &api):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return apiErr("IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header")
	case errors.As(err, &timeout) && timeout.Timeout():
		return apiErr("RequestTimeout", "Your socket connection to the server was not read from or written to within the timeout period.")
	}
	e := apiErr("IncompleteBody", "The body could not be read to its end.")
	e.cause = err
	return e
}

func (p *payload) verify() *apiError {
	if p.sha != nil {
		if got := hex.EncodeToString(p.sha.Sum(nil)); got != p.wantSHA {
			return apiErr("XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.").
				with("ClientComputedContentSHA256", p.wantSHA).with("S3ComputedContentSHA256", got)
		}
	}
	if p.sum == nil {
		return nil
	}
	p.value = p.sum.Sum(nil)
	if p.chunked != nil && p.want == nil {
		a, want, err := checksumHeader(p.chunked.trailer)
		if err != nil {
			if p.alg != nil && p.chunked.trailer.Get(p.alg.header()) != "" {
				return apiErr("InvalidRequest", "Value for %s trailing header is invalid.", p.alg.header())
			}
			return err
		}
		if p.promise && a == nil {
			return apiErr("MalformedTrailerError", "The request contained trailing data that was not well-formed or did not conform to our published schema.")
		}
		if a != nil && a.name != p.alg.name {
			return apiErr("MalformedTrailerError", "The request contained trailing data that was not well-formed or did not conform to our published schema.")
		}
		p.want = want
	}
	if p.want != nil && !bytes.Equal(p.want, p.value) {
		return apiErr("BadDigest", "The %s you specified did not match the calculated checksum.", p.alg.name)
	}
	return nil
}

// finish is what bucket.PutInput wants: the checksum, once the body was read.
func (p *payload) finish() ([]bucket.Checksum, error) {
	if p.sum == nil {
		return nil, nil
	}
	return []bucket.Checksum{{Algorithm: p.alg.name, Value: p.value}}, nil
}

// readDoc reads a body of at most limit bytes whole. Blanks alone are none.
func (q *request) readDoc(limit int64) ([]byte, *apiError) {
	tooLarge := func() *apiError {
		return apiErr("MaxMessageLengthExceeded", "Your request was too large: at most %d bytes.", limit)
	}
	p, e := q.body(nil)
	if e != nil {
		return nil, e
	}
	if p.size > limit {
		return nil, tooLarge()
	}
	b, err := io.ReadAll(io.LimitReader(p, limit+1))
	if err != nil {
		return nil, toAPI(err)
	}
	if int64(len(b)) > limit {
		return nil, tooLarge()
	}
	if p.md5 != nil {
		if sum := md5.Sum(b); !bytes.Equal(sum[:], p.md5) {
			return nil, apiErr("BadDigest", "The Content-MD5 you specified did not match what we received.")
		}
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, nil
	}
	return b, nil
}

// readXML reads a document of at most limit bytes from the body; it reports
// whether there was one.
func (q *request) readXML(v any, limit int64) (bool, *apiError) {
	b, e := q.readDoc(limit)
	if e != nil || b == nil {
		return false, e
	}
	if err := xml.NewDecoder(bytes.NewReader(b)).Decode(v); err != nil {
		e := malformedXML()
		e.cause = err
		return false, e
	}
	return true, nil
}

// needXML is readXML for a document that must be there.
func (q *request) needXML(v any, limit int64) *apiError {
	found, e := q.readXML(v, limit)
	if e == nil && !found {
		return apiErr("MissingRequestBodyError", "Request Body is empty")
	}
	return e
}
