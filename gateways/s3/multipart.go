package s3

import (
	"encoding/xml"
	"errors"
	"hash"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/client/bucket"
)

type xmlInitiated struct {
	XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ InitiateMultipartUploadResult"`
	Bucket   string
	Key      string
	UploadID string `xml:"UploadId"`
}

func (q *request) createUpload() error {
	b := q.b
	headers, e := q.headers()
	if e != nil {
		return e
	}
	attrs, err := q.newObject()
	if err != nil {
		return err
	}
	enc, err := q.sealing()
	if err != nil {
		return err
	}
	attrs.Encryption = enc.record()
	in := bucket.UploadInput{Attrs: attrs, Headers: headers, Owner: q.who.Account}
	name, typ := q.r.Header.Get("X-Amz-Checksum-Algorithm"), strings.ToUpper(q.r.Header.Get("X-Amz-Checksum-Type"))
	if name != "" {
		a := checksumByName(name)
		if a == nil {
			return unknownChecksum()
		}
		in.Algorithm = a.name
		in.FullObject = typ == "FULL_OBJECT" || typ == "" && a.name == "CRC64NVME"
		switch {
		case typ != "" && typ != "FULL_OBJECT" && typ != "COMPOSITE":
			return apiErr("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
		case in.FullObject && a.poly == 0 || typ == "COMPOSITE" && a.name == "CRC64NVME":
			return apiErr("InvalidRequest", "The %s checksum type cannot be used with the %s checksum algorithm.", typ, strings.ToLower(a.name))
		}
	} else if typ != "" {
		return apiErr("InvalidRequest", "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
	}
	id, err := b.CreateUpload(q.ctx(), q.key, in)
	if err != nil {
		return err
	}
	if in.Algorithm != "" {
		q.w.Header().Set("x-amz-checksum-algorithm", in.Algorithm)
		q.w.Header().Set("x-amz-checksum-type", checksumType(bucket.Checksum{Composite: !in.FullObject}))
	}
	enc.answer(q.w.Header())
	q.writeXML(http.StatusOK, xmlInitiated{Bucket: q.bucket, Key: q.key, UploadID: id})
	return nil
}

// part finds the upload and the part that a request is about.
func (q *request) part() (*bucket.Bucket, int, bucket.Upload, error) {
	b := q.b
	n, err := strconv.Atoi(q.query.Get("partNumber"))
	if err != nil || n < 1 || n > bucket.MaxParts {
		return nil, 0, bucket.Upload{}, apiErr("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive.").with("ArgumentName", "partNumber").with("ArgumentValue", q.query.Get("partNumber"))
	}
	u, err := b.Upload(q.ctx(), q.key, q.query.Get("uploadId"))
	return b, n, u, err
}

func (q *request) uploadPart() error {
	b, number, u, err := q.part()
	if err != nil {
		return err
	}
	p, e := q.body(checksumByName(u.Algorithm))
	if e != nil {
		return e
	}
	if p.size > bucket.MaxPartBytes {
		return apiErr("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size of a part.")
	}
	enc, err := q.sealingPart(&u)
	if err != nil {
		return err
	}
	body, sealed, err := enc.seal(p, number, p.size, false)
	if err != nil {
		return err
	}
	part, err := b.UploadPart(q.ctx(), q.key, u.ID, number, bucket.PartInput{Body: body, Size: p.size, Sealed: sealed, MD5: p.md5, Finish: p.finish})
	if err != nil {
		return err
	}
	enc.answer(q.w.Header())
	q.w.Header().Set("ETag", quote(part.ETag))
	if part.Checksum != nil {
		writeChecksums(q.w.Header(), []bucket.Checksum{*part.Checksum}, 0)
	}
	q.w.WriteHeader(http.StatusOK)
	return nil
}

// summing computes a checksum of what is copied, if the upload wants one.
type summing struct {
	alg *checksumAlgorithm
	h   hash.Hash
}

// wrapper returns what sees the bytes that are copied, nil if nothing needs to.
func (s *summing) wrapper() func(io.Reader) io.Reader {
	if s.alg == nil {
		return nil
	}
	return func(r io.Reader) io.Reader {
		s.h = s.alg.new()
		return io.TeeReader(r, s.h)
	}
}

func (s *summing) finish() ([]bucket.Checksum, error) {
	if s.h == nil {
		return nil, nil
	}
	return []bucket.Checksum{{Algorithm: s.alg.name, Value: s.h.Sum(nil)}}, nil
}

type xmlParts struct {
	XMLName              xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListPartsResult"`
	Bucket               string
	Key                  string
	UploadID             string `xml:"UploadId"`
	Initiator            xmlOwner
	Owner                xmlOwner
	StorageClass         string
	PartNumberMarker     int
	NextPartNumberMarker int
	MaxParts             int
	IsTruncated          bool
	ChecksumAlgorithm    string    `xml:",omitempty"`
	ChecksumType         string    `xml:",omitempty"`
	Parts                []xmlPart `xml:"Part"`
}

type xmlPart struct {
	PartNumber   int
	LastModified string
	ETag         string
	Size         int64
	xmlSums
}

// xmlSums are the checksums of a part, in both directions.
type xmlSums struct {
	ChecksumCRC32     string `xml:",omitempty"`
	ChecksumCRC32C    string `xml:",omitempty"`
	ChecksumCRC64NVME string `xml:",omitempty"`
	ChecksumSHA1      string `xml:",omitempty"`
	ChecksumSHA256    string `xml:",omitempty"`
	ChecksumSHA512    string `xml:",omitempty"`
	ChecksumMD5       string `xml:",omitempty"`
	ChecksumXXHASH64  string `xml:",omitempty"`
	ChecksumXXHASH3   string `xml:",omitempty"`
	ChecksumXXHASH128 string `xml:",omitempty"`
}

func (x *xmlSums) field(algorithm string) *string {
	switch algorithm {
	case "CRC32":
		return &x.ChecksumCRC32
	case "CRC32C":
		return &x.ChecksumCRC32C
	case "CRC64NVME":
		return &x.ChecksumCRC64NVME
	case "SHA1":
		return &x.ChecksumSHA1
	case "SHA256":
		return &x.ChecksumSHA256
	case "SHA512":
		return &x.ChecksumSHA512
	case "MD5":
		return &x.ChecksumMD5
	case "XXHASH64":
		return &x.ChecksumXXHASH64
	case "XXHASH3":
		return &x.ChecksumXXHASH3
	case "XXHASH128":
		return &x.ChecksumXXHASH128
	}
	return nil
}

// sum returns the checksum of an algorithm; "" if there is none.
func (x *xmlSums) sum(algorithm string) string {
	if f := x.field(algorithm); f != nil {
		return *f
	}
	return ""
}

func (q *request) listParts() error {
	limit, e := q.number("max-parts", bucket.MaxListEntries, bucket.MaxListEntries)
	if e != nil {
		return e
	}
	after, e := q.number("part-number-marker", 0, bucket.MaxParts)
	if e != nil {
		return e
	}
	b := q.b
	l, err := b.Parts(q.ctx(), q.key, q.query.Get("uploadId"), after, limit)
	if err != nil {
		return err
	}
	if err := q.begun(l.Upload, nil); err != nil {
		return err
	}
	x := xmlParts{
		Bucket: q.bucket, Key: q.key, UploadID: l.Upload.ID, Initiator: q.owner(l.Upload.Owner), Owner: q.owner(q.uploadOwner(l.Upload)), StorageClass: "STANDARD",
		PartNumberMarker: after, NextPartNumberMarker: l.Last, MaxParts: limit, IsTruncated: l.Truncated,
	}
	if l.Upload.Algorithm != "" {
		x.ChecksumAlgorithm, x.ChecksumType = l.Upload.Algorithm, checksumType(bucket.Checksum{Composite: !l.Upload.FullObject})
	}
	for _, p := range l.Parts {
		xp := xmlPart{PartNumber: p.Number, LastModified: stamp(p.Modified), ETag: quote(p.ETag), Size: p.Size}
		if p.Checksum != nil {
			if f := xp.field(p.Checksum.Algorithm); f != nil {
				*f = checksumValue(p.Checksum.Value)
			}
		}
		x.Parts = append(x.Parts, xp)
	}
	q.writeXML(http.StatusOK, x)
	return nil
}

type xmlComplete struct {
	XMLName xml.Name          `xml:"CompleteMultipartUpload"`
	Parts   []xmlCompletePart `xml:"Part"`
}

type xmlCompletePart struct {
	PartNumber int
	ETag       string
	xmlSums
}

type xmlCompleted struct {
	XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CompleteMultipartUploadResult"`
	Location string
	Bucket   string
	Key      string
	ETag     string
	xmlSums
	ChecksumType string `xml:",omitempty"`
}

const maxCompleteXML = 4 << 20

func (q *request) completeUpload() error {
	b := q.b
	cond, e := q.condition()
	if e != nil {
		return e
	}
	// The checksum headers of this request are of the object, not of this body.
	for name, values := range q.r.Header {
		if strings.HasPrefix(name, "X-Amz-Checksum-") && len(values) == 1 {
			values[0], _, _ = strings.Cut(values[0], "-") // the number of parts follows
		}
	}
	alg, want, e := checksumHeader(q.r.Header)
	if e != nil {
		return e
	}
	for name := range q.r.Header {
		if strings.HasPrefix(name, "X-Amz-Checksum-") {
			q.r.Header.Del(name)
		}
	}
	var in xmlComplete
	found, e := q.readXML(&in, maxCompleteXML)
	switch {
	case e != nil:
		return e
	case !found || len(in.Parts) == 0 || len(in.Parts) > bucket.MaxParts:
		return malformedXML()
	}
	var enc *sealing
	c := bucket.CompleteInput{Cond: cond, Checksum: func(u bucket.Upload, parts []*bucket.Part) ([]bucket.Checksum, error) {
		// The key is not needed here, but S3 wants it again of an upload with checksums.
		if u.Algorithm != "" || q.r.Header.Get(customerHeader+"Algorithm") != "" {
			var err error
			if enc, err = q.sealingPart(&u); err != nil {
				return nil, err
			}
		}
		// If the client names the checksum of no part, those that the parts came with count, as in Ceph.
		named := slices.ContainsFunc(in.Parts, func(p xmlCompletePart) bool { return p.sum(u.Algorithm) != "" })
		for i, p := range in.Parts {
			if named && !u.FullObject && p.sum(u.Algorithm) == "" {
				return nil, apiErr("InvalidRequest", "The upload was created using a %s checksum. The complete request must include the checksum for each part. It was missing for part %d in the request.", strings.ToLower(u.Algorithm), in.Parts[i].PartNumber)
			}
		}
		sums, err := combineChecksums(u, parts)
		if err == nil && want != nil && len(sums) > 0 && sums[0].Algorithm == alg.name && string(sums[0].Value) != string(want) {
			return nil, apiErr("BadDigest", "The %s you specified did not match the calculated checksum.", alg.name)
		}
		return sums, err
	}}
	if v := q.r.Header.Get("X-Amz-Mp-Object-Size"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		switch {
		case err != nil:
			return apiErr("InvalidRequest", "Value for x-amz-mp-object-size header is invalid: '%s'", v)
		case n < 0:
			return apiErr("InvalidRequest", "Value for x-amz-mp-object-size header is less than zero: '%d'", n)
		}
		c.Size = n
	}
	for _, p := range in.Parts {
		if p.ETag == "" {
			return malformedXML()
		}
		if p.PartNumber < 1 {
			return apiErr("InvalidArgument", "PartNumber must be >= 1").with("ArgumentName", "PartNumber").with("ArgumentValue", itoa(p.PartNumber))
		}
		cp := bucket.CompletePart{Number: p.PartNumber, ETag: strings.Trim(strings.TrimSpace(p.ETag), `"`)}
		for i := range checksumAlgorithms {
			if a := &checksumAlgorithms[i]; *p.field(a.name) != "" {
				v, e := a.parse(*p.field(a.name))
				if e != nil || cp.Checksum != nil {
					return apiErr("InvalidArgument", "Invalid Base64 or multiple checksums present in request").with("ArgumentName", "Checksum").with("ArgumentValue", *p.field(a.name))
				}
				cp.Checksum = v
			}
		}
		c.Parts = append(c.Parts, cp)
	}
	o, err := b.Complete(q.ctx(), q.key, q.query.Get("uploadId"), c)
	if err != nil {
		return q.completeErr(err, in.Parts)
	}
	q.wrote(o)
	if rec, err := recordOf(&o.Attrs); err == nil && rec != nil {
		describeSSE(q.w.Header(), rec, nil)
		enc.answer(q.w.Header())
	}
	x := xmlCompleted{Location: "http://" + q.r.Host + q.r.URL.EscapedPath(), Bucket: q.bucket, Key: q.key, ETag: quote(o.ETag())}
	for _, c := range o.Checksums {
		if f := x.field(c.Algorithm); f != nil {
			*f, x.ChecksumType = checksumText(c, o.Parts), checksumType(c)
		}
	}
	q.writeXML(http.StatusOK, x)
	return nil
}

func (q *request) abortUpload() error {
	b := q.b
	if err := q.begun(b.Upload(q.ctx(), q.key, q.query.Get("uploadId"))); err != nil {
		return err
	}
	if err := b.Abort(q.ctx(), q.key, q.query.Get("uploadId")); err != nil {
		return err
	}
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

// completeErr says which part an error of completing is about.
func (q *request) completeErr(err error, parts []xmlCompletePart) error {
	var bad *bucket.PartError
	if !errors.As(err, &bad) {
		return err
	}
	e := toAPI(err)
	if errors.Is(err, bucket.ErrPartTooSmall) {
		e.with("ProposedSize", strconv.FormatInt(bad.Size, 10)).with("MinSizeAllowed", strconv.FormatInt(bad.MinSize, 10))
	} else {
		e.with("UploadId", q.query.Get("uploadId"))
	}
	e.with("PartNumber", itoa(bad.Number))
	for _, p := range parts {
		if p.PartNumber == bad.Number {
			e.with("ETag", strings.Trim(strings.TrimSpace(p.ETag), `"`))
			break
		}
	}
	return e
}
