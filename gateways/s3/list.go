package s3

import (
	"encoding/base64"
	"encoding/xml"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cairnstore/cairn/client/bucket"
)

type xmlPrefix struct{ Prefix string }

type xmlObject struct {
	Key               string
	LastModified      string
	ETag              string
	ChecksumAlgorithm string `xml:",omitempty"`
	ChecksumType      string `xml:",omitempty"`
	Size              int64
	Owner             *xmlOwner `xml:",omitempty"`
	StorageClass      string
}

type xmlListV1 struct {
	XMLName        xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name           string
	Prefix         string
	Marker         string
	NextMarker     string `xml:",omitempty"`
	Delimiter      string `xml:",omitempty"`
	EncodingType   string `xml:",omitempty"`
	MaxKeys        int
	IsTruncated    bool
	Contents       []xmlObject
	CommonPrefixes []xmlPrefix
}

type xmlListV2 struct {
	XMLName               xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name                  string
	Prefix                string
	Delimiter             string `xml:",omitempty"`
	EncodingType          string `xml:",omitempty"`
	MaxKeys               int
	KeyCount              int
	IsTruncated           bool
	ContinuationToken     *string
	NextContinuationToken string `xml:",omitempty"`
	StartAfter            string `xml:",omitempty"`
	Contents              []xmlObject
	CommonPrefixes        []xmlPrefix
}

// number reads a parameter that limits or numbers; def when it is missing.
func (q *request) number(name string, def, limit int) (int, *apiError) {
	v := q.query.Get(name)
	if v == "" {
		return def, nil
	}
	n, err := strconv.ParseInt(v, 10, 32)
	switch {
	case err != nil:
		return 0, apiErr("InvalidArgument", "Provided %s not an integer or within integer range", v).with("ArgumentName", name).with("ArgumentValue", v)
	case n < 0:
		return 0, apiErr("InvalidArgument", "Argument %s must be an integer between 0 and 2147483647", v).with("ArgumentName", name).with("ArgumentValue", v)
	}
	return min(int(n), limit), nil
}

// encoder returns how names are written, by encoding-type.
func (q *request) encoder() (func(string) string, *apiError) {
	switch v := q.query.Get("encoding-type"); v {
	case "":
		return func(s string) string { return s }, nil
	case "url":
		return func(s string) string { return uriEncode(s, true) }, nil
	default:
		return nil, apiErr("InvalidArgument", "Invalid Encoding Method specified in Request").with("ArgumentName", "encoding-type").with("ArgumentValue", v)
	}
}

// listNames checks parameters that are keys, or parts of keys.
func (q *request) listNames(params ...string) *apiError {
	for _, name := range params {
		if len(q.query.Get(name)) > bucket.MaxKeyBytes {
			return apiErr("KeyTooLongError", "The %s is too long.", name)
		}
	}
	return nil
}

// plainPrefix is the prefix as version 1 of ListObjects repeats it. Some clients decode it and some do not, so it
// is encoded only where it could not be read otherwise.
func plainPrefix(prefix string, encode func(string) string) string {
	if strings.ContainsAny(prefix, "%+") || !utf8.ValidString(prefix) || strings.ContainsFunc(prefix, unspeakable) {
		return encode(prefix)
	}
	return prefix
}

// unspeakable are the characters that XML 1.0 cannot hold.
func unspeakable(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff
}

// list is what both versions of ListObjects share.
func (q *request) list(after string) (*bucket.Listing, func(string) string, int, error) {
	limit, e := q.number("max-keys", bucket.MaxListEntries, bucket.MaxListEntries)
	if e != nil {
		return nil, nil, 0, e
	}
	encode, e := q.encoder()
	if e != nil {
		return nil, nil, 0, e
	}
	if e := q.listNames("prefix", "delimiter"); e != nil {
		return nil, nil, 0, e
	}
	if len(after) > bucket.MaxKeyBytes {
		return nil, nil, 0, apiErr("KeyTooLongError", "The marker is too long.")
	}
	if q.query.Get("allow-unordered") == "true" && q.query.Get("delimiter") != "" { // of Ceph; ours are in order anyway
		return nil, nil, 0, apiErr("InvalidArgument", "A list with a delimiter is in order.").with("ArgumentName", "allow-unordered").with("ArgumentValue", "true")
	}
	l, err := q.listing(bucket.ListInput{Prefix: q.query.Get("prefix"), Delimiter: q.query.Get("delimiter"), After: after, Max: limit})
	return l, encode, limit, err
}

// listed is what a list says of an object.
func (q *request) listed(o *bucket.Object, encode func(string) string, owner bool) xmlObject {
	x := xmlObject{Key: encode(o.Key), LastModified: stamp(o.Modified), ETag: quote(o.ETag()), Size: o.Size, StorageClass: "STANDARD"}
	if len(o.Checksums) > 0 {
		x.ChecksumAlgorithm, x.ChecksumType = o.Checksums[0].Algorithm, checksumType(o.Checksums[0])
	}
	if owner {
		w := q.owner(q.t.objectOwner(o))
		x.Owner = &w
	}
	return x
}

func (q *request) contents(l *bucket.Listing, encode func(string) string, owner bool) (objects []xmlObject, prefixes []xmlPrefix) {
	for _, o := range l.Objects {
		objects = append(objects, q.listed(o, encode, owner))
	}
	for _, p := range l.Prefixes {
		prefixes = append(prefixes, xmlPrefix{encode(p)})
	}
	return objects, prefixes
}

func (q *request) listObjects() error {
	switch v := q.query.Get("list-type"); v {
	case "":
	case "2":
		return q.listObjectsV2()
	default:
		return apiErr("InvalidArgument", "Invalid list-type").with("ArgumentName", "list-type").with("ArgumentValue", v)
	}
	marker := q.query.Get("marker")
	l, encode, limit, err := q.list(marker)
	if err != nil {
		return err
	}
	x := xmlListV1{
		Name: q.bucket, Prefix: plainPrefix(q.query.Get("prefix"), encode), Marker: encode(marker), Delimiter: encode(q.query.Get("delimiter")),
		EncodingType: q.query.Get("encoding-type"), MaxKeys: limit, IsTruncated: l.Truncated,
	}
	if l.Truncated && x.Delimiter != "" { // without one the last key is what goes on
		x.NextMarker = encode(l.Last)
	}
	x.Contents, x.CommonPrefixes = q.contents(l, encode, true)
	q.writeXML(http.StatusOK, x)
	return nil
}

// Continuation tokens hold the last name of the page before, behind a version.
const tokenVersion = "1"

func token(last string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(tokenVersion + last))
}

// parseToken returns the name after which a page begins. An empty token is as none.
func parseToken(query url.Values) (string, *apiError) {
	t := query.Get("continuation-token")
	if t == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(t)
	if err != nil || len(b) < 2 || string(b[:1]) != tokenVersion {
		return "", apiErr("InvalidArgument", "The continuation token provided is incorrect").with("ArgumentName", "continuation-token").with("ArgumentValue", t)
	}
	return string(b[1:]), nil
}

func (q *request) listObjectsV2() error {
	start := q.query.Get("start-after")
	after := start
	last, e := parseToken(q.query)
	if e != nil {
		return e
	}
	if last != "" {
		after = last
	}
	l, encode, limit, err := q.list(after)
	if err != nil {
		return err
	}
	x := xmlListV2{
		Name: q.bucket, Prefix: encode(q.query.Get("prefix")), StartAfter: encode(start), Delimiter: encode(q.query.Get("delimiter")),
		EncodingType: q.query.Get("encoding-type"), MaxKeys: limit, IsTruncated: l.Truncated,
		KeyCount: len(l.Objects) + len(l.Prefixes),
	}
	if q.query.Has("continuation-token") {
		t := q.query.Get("continuation-token")
		x.ContinuationToken = &t
	}
	if l.Truncated {
		x.NextContinuationToken = token(l.Last)
	}
	x.Contents, x.CommonPrefixes = q.contents(l, encode, q.query.Get("fetch-owner") == "true")
	q.writeXML(http.StatusOK, x)
	return nil
}

type xmlUploads struct {
	XMLName            xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListMultipartUploadsResult"`
	Bucket             string
	KeyMarker          string
	UploadIDMarker     string `xml:"UploadIdMarker"`
	NextKeyMarker      string `xml:",omitempty"`
	NextUploadIDMarker string `xml:"NextUploadIdMarker,omitempty"`
	Prefix             string `xml:",omitempty"`
	Delimiter          string `xml:",omitempty"`
	EncodingType       string `xml:",omitempty"`
	MaxUploads         int
	IsTruncated        bool
	Uploads            []xmlUpload `xml:"Upload"`
	CommonPrefixes     []xmlPrefix
}

type xmlUpload struct {
	Key               string
	UploadID          string `xml:"UploadId"`
	Initiator         xmlOwner
	Owner             xmlOwner
	StorageClass      string
	Initiated         string
	ChecksumAlgorithm string `xml:",omitempty"`
	ChecksumType      string `xml:",omitempty"`
}

func (q *request) listUploads() error {
	limit, e := q.number("max-uploads", bucket.MaxListEntries, bucket.MaxListEntries)
	if e != nil {
		return e
	}
	encode, e := q.encoder()
	if e != nil {
		return e
	}
	b := q.b
	in := bucket.UploadsInput{
		Prefix: q.query.Get("prefix"), Delimiter: q.query.Get("delimiter"),
		AfterKey: q.query.Get("key-marker"), AfterUpload: q.query.Get("upload-id-marker"), Max: limit,
	}
	if len(in.Prefix) > bucket.MaxKeyBytes || len(in.AfterKey) > bucket.MaxKeyBytes || len(in.AfterUpload) > 64 {
		return apiErr("InvalidArgument", "A marker or the prefix is too long.")
	}
	l, err := b.Uploads(q.ctx(), in)
	if err != nil {
		return err
	}
	x := xmlUploads{
		Bucket: q.bucket, KeyMarker: encode(in.AfterKey), UploadIDMarker: in.AfterUpload, Prefix: encode(in.Prefix),
		Delimiter: encode(in.Delimiter), EncodingType: q.query.Get("encoding-type"), MaxUploads: limit, IsTruncated: l.Truncated,
	}
	if l.Truncated {
		x.NextKeyMarker, x.NextUploadIDMarker = encode(l.LastKey), l.LastUpload
	}
	for _, u := range l.Uploads {
		xu := xmlUpload{
			Key: encode(u.Key), UploadID: u.ID, Initiator: q.owner(u.Owner), Owner: q.owner(q.uploadOwner(u)), StorageClass: "STANDARD",
			Initiated: stamp(u.Started), ChecksumAlgorithm: u.Algorithm,
		}
		if u.Algorithm != "" {
			xu.ChecksumType = checksumType(bucket.Checksum{Composite: !u.FullObject})
		}
		x.Uploads = append(x.Uploads, xu)
	}
	for _, p := range l.Prefixes {
		x.CommonPrefixes = append(x.CommonPrefixes, xmlPrefix{encode(p)})
	}
	q.writeXML(http.StatusOK, x)
	return nil
}
