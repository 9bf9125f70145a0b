package s3

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/internal/seal"
)

// source opens the object that x-amz-copy-source names and holds its conditions.
func (q *request) source() (*bucket.Object, error) {
	bad := apiErr("InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey").with("ArgumentName", "x-amz-copy-source")
	raw := q.r.Header.Get("X-Amz-Copy-Source")
	path, query, _ := strings.Cut(raw, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, bad
	}
	version := values.Get("versionId")
	if values.Has("versionId") {
		if e := checkVersion(version); e != nil {
			return nil, e
		}
	}
	path, err = url.PathUnescape(path)
	if err != nil {
		return nil, apiErr("InvalidArgument", "Invalid copy source encoding").with("ArgumentName", "x-amz-copy-source").with("ArgumentValue", raw)
	}
	name, key, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !ok || name == "" || bucket.CheckKey(key) != nil {
		return nil, bad
	}
	name, snapshot := splitSnapshot(name)
	b, check, err := q.sourceBucket(name, snapshot, key, version)
	if err != nil {
		return nil, err
	}
	var o *bucket.Object
	if snapshot != "" {
		if version != "" {
			return nil, bad
		}
		view, e := b.At(q.ctx(), snapshot)
		if e != nil {
			return nil, e
		}
		o, err = view.Get(q.ctx(), key)
	} else if version == "" {
		o, err = b.Get(q.ctx(), key)
	} else {
		o, err = b.GetVersion(q.ctx(), key, version)
	}
	switch err = q.object(check, o, err); {
	case errors.Is(err, bucket.ErrNoSuchKey):
		return nil, apiErr("NoSuchKey", "The specified key does not exist.").with("Key", key)
	case errors.Is(err, bucket.ErrNoSuchVersion):
		return nil, apiErr("NoSuchVersion", "The specified version does not exist.").with("Key", key).with("VersionId", version)
	case err != nil:
		return nil, err
	case o.Marker:
		return nil, apiErr("InvalidRequest", "The source of a copy request may not specifically refer to a delete marker by version id.")
	}
	if versioned(b) {
		q.w.Header().Set("x-amz-copy-source-version-id", o.Version)
	}
	if len(o.Attrs.Tags) > 0 && q.op == "CopyObject" && q.r.Header.Get("X-Amz-Tagging-Directive") != "REPLACE" {
		if err := q.may(check.t, "s3:GetObjectTagging", key, version); err != nil {
			return nil, err
		}
	}
	q.copied = &copySource{t: check.t, key: key, version: version}
	if e := readConditions(q.r.Header, "X-Amz-Copy-Source-", o, true); e != nil {
		return nil, e
	}
	return o, nil
}

// sourceBucket opens the bucket of a copy's source and decides, as far as that can
// be done before it is read, whether it may be read.
func (q *request) sourceBucket(name, snapshot, key, version string) (*bucket.Bucket, *objectCheck, error) {
	b, err := q.s.o.Buckets.Bucket(q.ctx(), name)
	if err != nil {
		return nil, nil, err
	}
	t, err := q.terms(b)
	if err != nil {
		return nil, nil, err
	}
	t.snapshot = snapshot
	if want := q.r.Header.Get("X-Amz-Source-Expected-Bucket-Owner"); want != "" && want != t.owner {
		return nil, nil, accessDenied()
	}
	check, err := q.ask(t, "s3:GetObject", key, version)
	return b, check, err
}

type xmlCopy struct {
	XMLName      xml.Name // CopyObjectResult or CopyPartResult
	LastModified string
	ETag         string
	xmlSums
}

func (x *xmlCopy) set(sums []bucket.Checksum, parts int) {
	for _, c := range sums {
		if f := x.field(c.Algorithm); f != nil {
			*f = checksumText(c, parts)
		}
	}
}

func (q *request) copyObject() error {
	b := q.b
	cond, e := q.condition()
	if e != nil {
		return e
	}
	var headers *bucket.Headers
	switch d := q.r.Header.Get("X-Amz-Metadata-Directive"); d {
	case "", "COPY":
	case "REPLACE":
		h, e := q.headers()
		if e != nil {
			return e
		}
		headers = &h
	default:
		return apiErr("InvalidArgument", "Unknown metadata directive.").with("ArgumentName", "x-amz-metadata-directive").with("ArgumentValue", d)
	}
	retag := false
	switch d := q.r.Header.Get("X-Amz-Tagging-Directive"); d {
	case "", "COPY":
	case "REPLACE":
		retag = true
	default:
		return apiErr("InvalidArgument", "Unknown tagging directive.").with("ArgumentName", "x-amz-tagging-directive").with("ArgumentValue", d)
	}
	var alg *checksumAlgorithm
	if name := q.r.Header.Get("X-Amz-Checksum-Algorithm"); name != "" {
		if alg = checksumByName(name); alg == nil {
			return unknownChecksum()
		}
	}
	attrs, err := q.newObject()
	if err != nil {
		return err
	}
	enc, err := q.sealing()
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		src, err := q.source()
		if err != nil {
			return err
		}
		from, err := q.opening(src, sourceCustomer)
		if err != nil {
			return err
		}
		itself := src.Bucket() == q.bucket && src.Key == q.key && !src.Past()
		if headers == nil && itself && src.Latest && attrs.Redirect == "" && !q.askedSSE() && !(from != nil && from.rec.Kind == seal.Customer) {
			return apiErr("InvalidRequest", "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
		}
		if !retag {
			attrs.Tags = src.Attrs.Tags
		}
		in := bucket.CopyInput{Attrs: attrs, Headers: headers, Cond: cond}
		if alg != nil {
			in.Wrap, in.Finish = summed(src, alg)
		}
		if err := q.copySealed(&in, src, from, enc, itself); err != nil {
			return err
		}
		o, err := b.Copy(q.ctx(), src, q.key, in)
		if errors.Is(err, bucket.ErrChanged) && try < changedTries {
			continue
		}
		if err != nil {
			return err
		}
		q.wrote(o)
		enc.answer(q.w.Header())
		x := xmlCopy{XMLName: xml.Name{Space: xmlNS, Local: "CopyObjectResult"}, LastModified: stamp(o.Modified), ETag: quote(o.ETag())}
		x.set(o.Checksums, o.Parts)
		q.writeXML(http.StatusOK, x)
		return nil
	}
}

// copySealed says how the body of a copy comes about where source or copy are encrypted. Where both are, the copy has
// the same bytes and the same data key, wrapped anew: nothing of the body is decrypted, or even moved where chunks can be
// shared. Where one is, or a checksum is to be computed, the body becomes another one.
func (q *request) copySealed(in *bucket.CopyInput, src *bucket.Object, from *opening, to *sealing, itself bool) error {
	see := in.Wrap
	switch {
	case from == nil && to == nil && !(itself && see != nil):
		return nil
	case from != nil && to != nil && see == nil:
		data, err := from.dataKey()
		if err == nil {
			err = to.wrap(data)
		}
		in.Attrs.Encryption = to.record()
		return err
	}
	if to != nil {
		if err := to.fresh(); err != nil { // every try has a key of its own
			return err
		}
	}
	in.Attrs.Encryption = to.record()
	c, err := q.recode(src, from, 0, src.Size, to, 0, see)
	if err != nil {
		return err
	}
	in.Recode, in.Wrap, in.Sealed = true, c.wrap, c.sealed
	return nil
}

// parseCopyRange reads the range of a part that is copied: both ends must be said.
func parseCopyRange(v string) (span, bool) {
	spec, ok := strings.CutPrefix(v, "bytes=")
	first, last, dash := strings.Cut(spec, "-")
	from, err1 := strconv.ParseUint(first, 10, 62)
	to, err2 := strconv.ParseUint(last, 10, 62)
	if !ok || !dash || err1 != nil || err2 != nil || to < from {
		return span{}, false
	}
	return span{off: int64(from), size: int64(to-from) + 1}, true
}

func (q *request) uploadPartCopy() error {
	b, number, u, err := q.part()
	if err != nil {
		return err
	}
	enc, err := q.sealingPart(&u)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		src, err := q.source()
		if err != nil {
			return err
		}
		from, err := q.opening(src, sourceCustomer)
		if err != nil {
			return err
		}
		off, size, err := q.sourceRange(src)
		if err != nil {
			return err
		}
		sum := &summing{alg: checksumByName(u.Algorithm)}
		wrap, finish := sum.wrapper(), sum.finish
		if sum.alg != nil && size == src.Size {
			wrap, finish = summed(src, sum.alg)
		}
		var p *bucket.Part
		if from == nil && enc == nil {
			p, err = b.CopyPart(q.ctx(), q.key, u.ID, number, src, off, size, wrap, finish)
		} else {
			var c *recoding
			if c, err = q.recode(src, from, off, size, enc, number, wrap); err != nil {
				return err
			}
			p, err = b.RecodePart(q.ctx(), q.key, u.ID, number, src, c.off, c.n, c.wrap, bucket.PartInput{Size: size, Sealed: c.sealed, Finish: finish})
		}
		if errors.Is(err, bucket.ErrChanged) && try < changedTries {
			continue
		}
		if err != nil {
			return err
		}
		enc.answer(q.w.Header())
		x := xmlCopy{XMLName: xml.Name{Space: xmlNS, Local: "CopyPartResult"}, LastModified: stamp(p.Modified), ETag: quote(p.ETag)}
		if p.Checksum != nil {
			x.set([]bucket.Checksum{*p.Checksum}, 0)
		}
		q.writeXML(http.StatusOK, x)
		return nil
	}
}

// sourceRange is the part of the source that is to be copied.
func (q *request) sourceRange(src *bucket.Object) (off, size int64, err error) {
	off, size = 0, src.Size
	if v := q.r.Header.Get("X-Amz-Copy-Source-Range"); v != "" {
		s, ok := parseCopyRange(v)
		switch {
		case !ok:
			return 0, 0, apiErr("InvalidArgument", "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy").with("ArgumentName", "x-amz-copy-source-range").with("ArgumentValue", v)
		case s.off+s.size > src.Size:
			return 0, 0, apiErr("InvalidRange", "Range specified is not valid for source object of size: %d", src.Size).with("ArgumentName", "x-amz-copy-source-range").with("ArgumentValue", v)
		}
		off, size = s.off, s.size
	}
	if size > bucket.MaxPartBytes {
		return 0, 0, apiErr("InvalidRequest", "The specified copy source is larger than the maximum allowable size for a copy source: %d", int64(bucket.MaxPartBytes))
	}
	return off, size, nil
}

// summed makes a copy of all of src have a checksum: the one that src has, else one that is computed on the way.
func summed(src *bucket.Object, alg *checksumAlgorithm) (wrap func(io.Reader) io.Reader, finish func() ([]bucket.Checksum, error)) {
	for _, c := range src.Checksums {
		if c.Algorithm == alg.name && !c.Composite {
			return nil, func() ([]bucket.Checksum, error) { return []bucket.Checksum{c}, nil }
		}
	}
	sum := &summing{alg: alg}
	return sum.wrapper(), sum.finish
}

// checksumValue encodes a checksum as S3 writes it.
func checksumValue(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
