package s3

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/client/kms"
	"github.com/cairnstore/cairn/internal/seal"
)

// Server-side encryption. Bodies are sealed here, above client/bucket, which keeps what comes out and says how large
// it was. An object's record (Attrs.Encryption) has its data key, wrapped by the client's key or one of the key service.

const (
	sseHeader        = "X-Amz-Server-Side-Encryption"
	sseKeyHeader     = sseHeader + "-Aws-Kms-Key-Id"
	sseContextHeader = sseHeader + "-Context"
	sseBucketHeader  = sseHeader + "-Bucket-Key-Enabled"
	customerHeader   = sseHeader + "-Customer-"
	sourceCustomer   = "X-Amz-Copy-Source-Server-Side-Encryption-Customer-"

	algAES256 = "AES256"
	algKMS    = "aws:kms"
)

// customerKey is a key that came with the request.
type customerKey struct {
	key seal.Key
	md5 string // as it came
}

// customerKey reads the headers of a key of the client's, nil if there are none.
func (q *request) customerKey(prefix string) (*customerKey, *apiError) {
	h := q.r.Header
	alg, key, sum := h.Get(prefix+"Algorithm"), h.Get(prefix+"Key"), h.Get(prefix+"Key-Md5")
	if alg == "" && key == "" && sum == "" {
		return nil, nil
	}
	bad := func(header, what string) *apiError {
		return apiErr("InvalidArgument", "Requests specifying Server Side Encryption with Customer provided keys must provide %s.", what).
			with("ArgumentName", strings.ToLower(prefix+header)).with("ArgumentValue", "null")
	}
	switch {
	case alg == "":
		return nil, bad("Algorithm", "a valid encryption algorithm")
	case alg != algAES256:
		return nil, apiErr("InvalidEncryptionAlgorithmError", "The encryption request you specified is not valid. The valid value is AES256.").
			with("ArgumentName", strings.ToLower(prefix+"Algorithm")).with("ArgumentValue", alg)
	case key == "":
		return nil, bad("Key", "an appropriate secret key")
	case sum == "":
		return nil, bad("Key-MD5", "the client calculated MD5 of the secret key")
	case !q.confidential():
		return nil, apiErr("InvalidRequest", "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure connection.")
	}
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(raw) != seal.KeyBytes {
		return nil, apiErr("InvalidArgument", "The secret key was invalid for the specified algorithm.").with("ArgumentName", strings.ToLower(prefix+"Key"))
	}
	got, err := base64.StdEncoding.DecodeString(sum)
	want := md5.Sum(raw)
	if err != nil || subtle.ConstantTimeCompare(got, want[:]) != 1 {
		return nil, apiErr("InvalidArgument", "The calculated MD5 hash of the key did not match the hash that was provided.").with("ArgumentName", strings.ToLower(prefix+"Key-MD5"))
	}
	return &customerKey{key: seal.Key(raw), md5: sum}, nil
}

// confidential reports whether a key may travel on the connection of this request.
func (q *request) confidential() bool {
	switch {
	case q.r.TLS != nil || q.s.o.PlainSSEC == PlainSSECAlways:
		return true
	case q.s.o.PlainSSEC == PlainSSECNever:
		return false
	}
	host, _, err := net.SplitHostPort(q.r.RemoteAddr)
	ip := net.ParseIP(host)
	return err == nil && ip != nil && ip.IsLoopback()
}

// sealing is how the body of a request is to be encrypted.
type sealing struct {
	rec      seal.Record
	customer *customerKey
	kek      seal.Key
	data     seal.Key
	name     string // of the object, which its record is bound to
	recorded []byte
}

// askedSSE reports whether the request says itself how to encrypt.
func (q *request) askedSSE() bool {
	return q.r.Header.Get(sseHeader) != "" || q.r.Header.Get(customerHeader+"Algorithm") != ""
}

// sealing finds out how what the request makes is to be encrypted: as it says, else as the bucket says; nil is not.
func (q *request) sealing() (*sealing, error) {
	h := q.r.Header
	customer, e := q.customerKey(customerHeader)
	if e != nil {
		return nil, e
	}
	alg, id := h.Get(sseHeader), h.Get(sseKeyHeader)
	bad := func(header, value, format string, args ...any) *apiError {
		return apiErr("InvalidArgument", format, args...).with("ArgumentName", strings.ToLower(header)).with("ArgumentValue", value)
	}
	s := &sealing{name: q.key, customer: customer}
	switch v := strings.ToLower(h.Get(sseBucketHeader)); v {
	case "", "false":
	case "true":
		s.rec.Bucket = true
	default:
		return nil, bad(sseBucketHeader, v, "The value of the header is neither true nor false.")
	}
	switch {
	case customer != nil && alg != "":
		return nil, bad(sseHeader, alg, "Server Side Encryption with Customer provided key is incompatible with the encryption method specified")
	case alg != "" && alg != algAES256 && alg != algKMS:
		return nil, bad(sseHeader, alg, "The encryption method specified is not supported")
	case id != "" && alg != algKMS:
		return nil, bad(sseHeader, alg, "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms")
	case h.Get(sseContextHeader) != "" && alg != algKMS:
		return nil, bad(sseContextHeader, "", "An encryption context goes with x-amz-server-side-encryption : aws:kms only")
	case customer != nil:
		s.rec.Kind, s.kek, s.rec.Bucket = seal.Customer, customer.key, false
		return s, s.fresh()
	case alg == "":
		def, err := q.defaultSSE()
		if err != nil || def == nil {
			return nil, err
		}
		alg, id, s.rec.Bucket = def.algorithm, def.key, s.rec.Bucket || def.bucketKey
	}
	s.rec.Kind, s.rec.KeyID = seal.Store, kms.StoreKey
	if alg == algKMS {
		if s.rec.Kind, s.rec.KeyID = seal.Service, keyID(id); id == "" {
			s.rec.KeyID = kms.DefaultKey
		}
		ctx, e := encryptionContext(h.Get(sseContextHeader))
		if e != nil {
			return nil, e
		}
		s.rec.Context = ctx
	} else {
		s.rec.Bucket = false
	}
	return q.sealingBy(s)
}

// sealingBy gets the key that a record names from the key service.
func (q *request) sealingBy(s *sealing) (*sealing, error) {
	var err error
	if s.kek, s.rec.Version, s.rec.Root, err = q.s.o.KMS.Encrypt(q.ctx(), s.rec.KeyID); err != nil {
		return nil, keyErr(err, s.rec.KeyID, true)
	}
	return s, s.fresh()
}

// keyID takes the id of a key out of what clients call it.
func keyID(s string) string {
	if rest, ok := strings.CutPrefix(s, "arn:"); ok {
		if i := strings.LastIndex(rest, ":"); i >= 0 {
			s = rest[i+1:]
		}
		s = strings.TrimPrefix(s, "key/")
	}
	return strings.TrimPrefix(s, "alias/")
}

// encryptionContext reads a context: base64 of a JSON object of strings, which is kept in one way of writing.
func encryptionContext(v string) (string, *apiError) {
	if v == "" {
		return "", nil
	}
	bad := apiErr("InvalidArgument", "The encryption context is no JSON object of strings in base64, or larger than %d bytes.", seal.MaxContextBytes).with("ArgumentName", strings.ToLower(sseContextHeader))
	b, err := base64.StdEncoding.DecodeString(v)
	if err != nil || len(b) > seal.MaxContextBytes {
		return "", bad
	}
	var m map[string]string
	if err := json.Unmarshal(b, &m); err != nil || m == nil {
		return "", bad
	}
	if b, err = json.Marshal(m); err != nil || len(b) > seal.MaxContextBytes {
		return "", bad
	}
	return string(b), nil
}

// keyErr says in S3's words why a key cannot be used.
func keyErr(err error, id string, toEncrypt bool) error {
	var e *apiError
	switch {
	case errors.Is(err, kms.ErrDisabled):
		e = apiErr("KMS.DisabledException", "%s is disabled.", id)
	case errors.Is(err, kms.ErrNoKey):
		e = apiErr("KMS.NotFoundException", "Invalid keyId '%s'", id)
	case errors.Is(err, kms.ErrNoRoot) && toEncrypt:
		e = apiErr("NotImplemented", "This gateway was started without a root key (--kms-root-key), so it cannot encrypt with keys of its own.").with("Feature", "server-side encryption with the gateway's keys")
	case errors.Is(err, kms.ErrNoRoot):
		e = apiErr("KMS.KeyUnavailableException", "This gateway has not the root key that the object's key hangs on (--kms-root-key).")
	default:
		return fmt.Errorf("encryption key %q: %w", id, err)
	}
	e.cause = err
	return e
}

// fresh draws a new data key and wraps it.
func (s *sealing) fresh() error {
	rand.Read(s.data[:]) // never fails: crypto/rand stops the process instead
	return s.wrap(s.data)
}

// wrap makes the record of an object that has this data key.
func (s *sealing) wrap(data seal.Key) error {
	var salt [seal.SaltBytes]byte
	rand.Read(salt[:])
	s.data = data
	s.rec.Wrap(s.kek, data, salt, s.name)
	s.recorded = s.rec.Encode()
	return nil
}

// record is what the object is to remember.
func (s *sealing) record() []byte {
	if s == nil {
		return nil
	}
	return s.recorded
}

// seal encrypts a body of some size, or of so many bytes at most, as a stream with a salt of its own. number is that of a
// part, 0 for a whole body.
func (s *sealing) seal(body io.Reader, number int, size int64, upTo bool) (io.Reader, *bucket.Sealed, error) {
	if s == nil {
		return body, nil, nil
	}
	salt := make([]byte, seal.SaltBytes)
	rand.Read(salt)
	sum := md5.New()
	sealer := seal.NewSealer
	if upTo {
		sealer = seal.NewSealerUpTo
	}
	r, err := sealer(s.data, seal.Part{Number: number, Salt: salt, Size: size}, body, sum)
	if err != nil {
		return nil, nil, err
	}
	out := &bucket.Sealed{Stored: seal.Size(size), Salt: salt, Sum: func() []byte { return sum.Sum(nil) }, Size: r.Size}
	if !s.told() {
		out.Tag = s.data.Tag
	}
	return r, out, nil
}

// told reports whether etag and default checksum may tell what the body is: not where keys are the client's business.
func (s *sealing) told() bool { return s == nil || s.rec.Kind == seal.Store }

// answer sets the headers that say how the body was encrypted.
func (s *sealing) answer(h http.Header) {
	if s == nil {
		return
	}
	describeSSE(h, &s.rec, s.customer)
	if s.rec.Context != "" {
		h.Set(strings.ToLower(sseContextHeader), base64.StdEncoding.EncodeToString([]byte(s.rec.Context)))
	}
}

func describeSSE(h http.Header, r *seal.Record, customer *customerKey) {
	switch r.Kind {
	case seal.Customer:
		if customer != nil {
			h.Set(strings.ToLower(customerHeader+"Algorithm"), algAES256)
			h.Set(strings.ToLower(customerHeader+"Key-Md5"), customer.md5)
		}
	case seal.Store:
		h.Set(strings.ToLower(sseHeader), algAES256)
	case seal.Service:
		h.Set(strings.ToLower(sseHeader), algKMS)
		h.Set(strings.ToLower(sseKeyHeader), r.KeyID)
		if r.Bucket {
			h.Set(strings.ToLower(sseBucketHeader), "true")
		}
	}
}

// opening is what a body that is read was encrypted with.
type opening struct {
	q        *request
	rec      *seal.Record
	customer *customerKey
	name     string
	key      *seal.Key // data key, once it was needed
}

// recordOf reads the record of an object or upload, nil if it is not encrypted.
func recordOf(a *bucket.Attrs) (*seal.Record, error) {
	if len(a.Encryption) == 0 {
		return nil, nil
	}
	return seal.Decode(a.Encryption)
}

// opening checks what a request brings to read an object: exactly what that needs. prefix is that of the headers of
// the client's key. It is nil for an object that is not encrypted.
func (q *request) opening(o *bucket.Object, prefix string) (*opening, error) {
	if prefix == customerHeader {
		for _, name := range []string{sseHeader, sseKeyHeader, sseContextHeader} {
			if v := q.r.Header.Get(name); v != "" {
				return nil, apiErr("InvalidArgument", "%s header is not supported for this operation.", strings.ToLower(name)).with("ArgumentName", strings.ToLower(name)).with("ArgumentValue", v)
			}
		}
	}
	return q.openingWith(o, prefix)
}

// openingWith is opening for requests that may also say how something is to be encrypted.
func (q *request) openingWith(o *bucket.Object, prefix string) (*opening, error) {
	customer, e := q.customerKey(prefix)
	if e != nil {
		return nil, e
	}
	notApplicable := apiErr("InvalidRequest", "The encryption parameters are not applicable to this object.")
	rec, err := recordOf(&o.Attrs)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s/%s: %w", o.Bucket(), o.Key, err)
	case (rec != nil) != o.Sealed():
		return nil, fmt.Errorf("%s/%s: %w: its record of encryption and its body do not go together", o.Bucket(), o.Key, bucket.ErrCorrupt)
	case rec == nil && customer != nil:
		return nil, notApplicable
	case rec == nil:
		return nil, nil
	}
	op := &opening{q: q, rec: rec, customer: customer, name: o.Key}
	switch {
	case rec.Kind != seal.Customer && customer != nil:
		return nil, notApplicable
	case rec.Kind != seal.Customer:
		return op, nil
	case customer == nil:
		return nil, apiErr("InvalidRequest", "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.")
	}
	_, err = op.dataKey()
	return op, err
}

// dataKey unwraps the data key.
func (p *opening) dataKey() (seal.Key, error) {
	if p.key != nil {
		return *p.key, nil
	}
	var kek seal.Key
	if p.rec.Kind == seal.Customer {
		kek = p.customer.key
	} else {
		var err error
		if kek, err = p.q.s.o.KMS.Decrypt(p.q.ctx(), p.rec.KeyID, p.rec.Version, p.rec.Root); err != nil {
			return seal.Key{}, keyErr(err, p.rec.KeyID, false)
		}
	}
	data, err := p.rec.Unwrap(kek, p.name)
	switch {
	case err != nil && p.rec.Kind == seal.Customer:
		// Another key than it was put with. Amazon: 403 AccessDenied.
		return seal.Key{}, apiErr("InvalidRequest", "The provided encryption parameters did not match the ones used originally.")
	case err != nil:
		return seal.Key{}, fmt.Errorf("%q: %w", p.name, err)
	}
	p.key = &data
	return data, nil
}

// answer sets the headers that say how what is read is encrypted.
func (p *opening) answer(h http.Header) {
	if p != nil {
		describeSSE(h, p.rec, p.customer)
	}
}

// streams are an object's streams as seal knows them.
func streams(o *bucket.Object) ([]seal.Part, error) {
	ss, err := o.Streams()
	if err != nil {
		return nil, err
	}
	out := make([]seal.Part, len(ss))
	for i, s := range ss {
		out[i] = seal.Part{Number: s.Number, Salt: s.Salt, Size: s.Size}
	}
	return out, nil
}

// opened is a body that is decrypted as it is read.
type opened struct {
	*seal.Opener
	io.Closer
}

// open reads n bytes of an object from off on, as they were put.
func (q *request) open(o *bucket.Object, p *opening, off, n int64) (io.ReadCloser, error) {
	if p == nil {
		return o.Open(q.ctx(), off, n)
	}
	data, err := p.dataKey()
	if err != nil {
		return nil, err
	}
	parts, err := streams(o)
	if err != nil {
		return nil, err
	}
	at, size := seal.Range(parts, off, n)
	in, err := o.OpenStored(q.ctx(), at, size)
	if err != nil {
		return nil, err
	}
	r := seal.NewOpener(data, parts, off, n, in)
	if err := r.Prime(); err != nil { // before anything is answered
		in.Close()
		return nil, fmt.Errorf("%s/%s: %w", o.Bucket(), o.Key, err)
	}
	return opened{r, in}, nil
}

// recoding decrypts n bytes of a source from off on and encrypts them anew, as far as either is wanted.
type recoding struct {
	off, n int64 // of the stored source
	wrap   func(io.Reader) io.Reader
	sealed *bucket.Sealed
}

// recode prepares a copy of n plain bytes of src from off on whose body becomes another one. see sees the plain bytes.
func (q *request) recode(src *bucket.Object, from *opening, off, n int64, to *sealing, number int, see func(io.Reader) io.Reader) (*recoding, error) {
	c := &recoding{off: off, n: n}
	open := func(r io.Reader) io.Reader { return r }
	if from != nil {
		data, err := from.dataKey()
		if err != nil {
			return nil, err
		}
		parts, err := streams(src)
		if err != nil {
			return nil, err
		}
		c.off, c.n = seal.Range(parts, off, n)
		open = func(r io.Reader) io.Reader { return seal.NewOpener(data, parts, off, n, r) }
	}
	in := &late{}
	out, sealed, err := to.seal(in, number, n, false)
	if err != nil {
		return nil, err
	}
	c.sealed = sealed
	c.wrap = func(r io.Reader) io.Reader {
		if in.Reader = open(r); see != nil {
			in.Reader = see(in.Reader)
		}
		return out
	}
	return c, nil
}

// late is a reader that is known only later.
type late struct{ io.Reader }

// sealingPart finds out how a part of an upload is to be encrypted: as was said when that began.
func (q *request) sealingPart(u *bucket.Upload) (*sealing, error) {
	customer, e := q.customerKey(customerHeader)
	if e != nil {
		return nil, e
	}
	rec, err := recordOf(&u.Attrs)
	if err != nil {
		return nil, fmt.Errorf("upload %s of %s/%s: %w", u.ID, q.bucket, q.key, err)
	}
	switch {
	case customer != nil && (rec == nil || rec.Kind != seal.Customer):
		return nil, apiErr("InvalidRequest", "The multipart upload initiate did not request encryption with a customer provided key. Please resend the request without sending encryption parameters.")
	case rec == nil:
		return nil, nil
	case customer == nil && rec.Kind == seal.Customer:
		return nil, apiErr("InvalidRequest", "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters.")
	}
	op := &opening{q: q, rec: rec, customer: customer, name: q.key}
	data, err := op.dataKey()
	if rec.Kind == seal.Customer && err != nil {
		return nil, apiErr("InvalidRequest", "The provided encryption parameters did not match the ones used originally.")
	}
	if err != nil {
		return nil, err
	}
	return &sealing{rec: *rec, customer: customer, data: data, name: q.key}, nil
}
