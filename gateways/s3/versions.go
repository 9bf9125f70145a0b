package s3

import (
	"encoding/xml"
	"errors"
	"net/http"

	"github.com/cairnstore/cairn/client/bucket"
)

type xmlVersioning struct {
	XMLName   xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ VersioningConfiguration"`
	Status    string   `xml:",omitempty"`
	MFADelete string   `xml:"MfaDelete,omitempty"`
}

// xmlVersioningIn is what clients send, with the namespace or without.
type xmlVersioningIn struct {
	XMLName   xml.Name `xml:"VersioningConfiguration"`
	Status    string
	MFADelete string `xml:"MfaDelete"`
}

func (q *request) getBucketVersioning() error {
	var x xmlVersioning
	switch q.b.Versioning() {
	case bucket.VersioningEnabled:
		x.Status = "Enabled"
	case bucket.VersioningSuspended:
		x.Status = "Suspended"
	}
	q.writeXML(http.StatusOK, x)
	return nil
}

func (q *request) putBucketVersioning() error {
	var in xmlVersioningIn
	e := q.needXML(&in, maxSmallXML)
	if e != nil {
		return e
	}
	if in.MFADelete == "Enabled" {
		return notImplemented("MFA delete")
	}
	var to bucket.Versioning
	switch in.Status {
	case "Enabled":
		to = bucket.VersioningEnabled
	case "Suspended":
		to = bucket.VersioningSuspended
	default:
		if in.Status != "" {
			return malformedXML()
		}
		return apiErr("IllegalVersioningConfigurationException", "The versioning configuration specified in the request is invalid: its Status must be Enabled or Suspended.")
	}
	if to == bucket.VersioningSuspended && q.b.ObjectLock() {
		return apiErr("InvalidBucketState", "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.")
	}
	if err := q.s.o.Buckets.SetVersioning(q.ctx(), q.bucket, to); err != nil {
		return err
	}
	q.w.WriteHeader(http.StatusOK)
	return nil
}

// versioned reports whether the bucket keeps versions, or did.
func versioned(b *bucket.Bucket) bool { return b.Versioning() != bucket.VersioningOff }

// named returns the version that the request names, "" for the current one.
func (q *request) named() (string, *apiError) {
	if !q.query.Has("versionId") {
		return "", nil
	}
	v := q.query.Get("versionId")
	if v == "" {
		return "", apiErr("InvalidArgument", "Version id cannot be the empty string").with("ArgumentName", "versionId").with("ArgumentValue", "")
	}
	return v, checkVersion(v)
}

func checkVersion(v string) *apiError {
	if !bucket.IsVersion(v) {
		return apiErr("InvalidArgument", "Invalid version id specified").with("ArgumentName", "versionId").with("ArgumentValue", v)
	}
	return nil
}

// current is b.Get or b.Head, for when no version is named.
type current func(b *bucket.Bucket, key string) (*bucket.Object, error)

func (q *request) byGet(b *bucket.Bucket, key string) (*bucket.Object, error) {
	if q.view != nil {
		return q.view.Get(q.ctx(), key)
	}
	return b.Get(q.ctx(), key)
}
func (q *request) byHead(b *bucket.Bucket, key string) (*bucket.Object, error) {
	if q.view != nil {
		return q.view.Get(q.ctx(), key)
	}
	return b.Head(q.ctx(), key)
}

// fetch reads an object, or one version of it, and decides whether the request may have it. A delete
// marker is an error that says so.
func (q *request) fetch(get current) (*bucket.Object, error) {
	version, e := q.named()
	if e != nil {
		return nil, e
	}
	if version == "" {
		o, err := get(q.b, q.key)
		if err := q.seen(o, err); err != nil {
			return nil, q.keyErr(err)
		}
		return o, nil
	}
	o, err := q.b.GetVersion(q.ctx(), q.key, version)
	if err := q.seen(o, err); err != nil {
		return nil, q.keyErr(err)
	}
	if o.Marker {
		e := apiErr("MethodNotAllowed", "The specified method is not allowed against this resource.").with("Method", q.r.Method).with("ResourceType", "DeleteMarker")
		e.Header = http.Header{
			"Allow": {"DELETE"}, "X-Amz-Delete-Marker": {"true"}, "X-Amz-Version-Id": {o.Version},
			"Last-Modified": {o.Modified.UTC().Format(http.TimeFormat)},
		}
		return nil, e
	}
	return o, nil
}

// keyErr gives the errors of an object that is not there what S3 says with them.
func (q *request) keyErr(err error) error {
	var marked *bucket.MarkedError
	switch {
	case errors.As(err, &marked):
		e := apiErr("NoSuchKey", "The specified key does not exist.").with("Key", q.key)
		e.Header = http.Header{"X-Amz-Delete-Marker": {"true"}, "X-Amz-Version-Id": {marked.Version}}
		return e
	case errors.Is(err, bucket.ErrNoSuchKey):
		e := apiErr("NoSuchKey", "The specified key does not exist.").with("Key", q.key)
		if q.r.Method == http.MethodHead {
			e.Header = http.Header{"X-Amz-Delete-Marker": {"false"}} // as Ceph says it
		}
		return e
	case errors.Is(err, bucket.ErrNoSuchVersion):
		return apiErr("NoSuchVersion", "The specified version does not exist.").with("Key", q.key).with("VersionId", q.query.Get("versionId"))
	}
	return err
}

// stored says which version was made.
func (q *request) stored(o *bucket.Object) {
	q.shown = o
	if versioned(q.b) {
		q.w.Header().Set("x-amz-version-id", o.Version)
	}
}

// wrote is stored for what the request made: where versions are suspended, no version is spoken of.
func (q *request) wrote(o *bucket.Object) {
	if q.b.Versioning() == bucket.VersioningEnabled {
		q.stored(o)
	}
}

func (q *request) deleteObject() error {
	cond, e := q.deletion()
	if e != nil {
		return e
	}
	version, e := q.named()
	if e != nil {
		return e
	}
	d, err := q.b.DeleteVersion(q.ctx(), q.key, bucket.DeleteInput{Version: version, Cond: cond, Bypass: q.bypasses()})
	if err != nil && !gone(err) {
		return err
	}
	h := q.w.Header()
	if d.Version != "" && versioned(q.b) {
		h.Set("x-amz-version-id", d.Version)
	}
	if d.Marker {
		h.Set("x-amz-delete-marker", "true")
	}
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

// gone says that what was to be deleted on a condition is not there, which is what
// the client wants.
func gone(err error) bool {
	return errors.Is(err, bucket.ErrNoSuchKey) || errors.Is(err, bucket.ErrNoSuchVersion)
}

// bypasses reports whether the request asks to go past governance. That it may was decided with the request.
func (q *request) bypasses() bool {
	v := q.r.Header.Get("X-Amz-Bypass-Governance-Retention")
	return v != "" && v != "false"
}

type xmlDelete struct {
	XMLName xml.Name `xml:"Delete"`
	Quiet   bool
	Objects []xmlDeleteKey `xml:"Object"`
}

type xmlDeleteKey struct {
	Key       string
	VersionID string `xml:"VersionId"`
	ETag      string
	Modified  string `xml:"LastModifiedTime"`
	Size      *int64
}

// condition is what the deletion is conditional on.
func (k *xmlDeleteKey) condition() (c bucket.Cond, e *apiError) {
	c.Match, c.Size = unquote(k.ETag), k.Size
	if k.Modified != "" {
		c.Modified, e = parseModified(k.Modified)
	}
	return c, e
}

type xmlDeleted struct {
	XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ DeleteResult"`
	Deleted []xmlDeletedKey
	Errors  []xmlDeleteError `xml:"Error"`
}

type xmlDeletedKey struct {
	Key           string
	VersionID     string `xml:"VersionId,omitempty"`
	DeleteMarker  bool   `xml:",omitempty"`
	MarkerVersion string `xml:"DeleteMarkerVersionId,omitempty"`
}

type xmlDeleteError struct {
	Key       string
	VersionID string `xml:"VersionId,omitempty"`
	Code      string
	Message   string
}

const (
	maxDeleteKeys = 1000
	maxDeleteXML  = 8 << 20 // keys of 1024 bytes, each byte as an entity
)

func (q *request) deleteObjects() error {
	if e := digested(q.r.Header); e != nil {
		return e
	}
	var in xmlDelete
	e := q.needXML(&in, maxDeleteXML)
	if e != nil {
		return e
	}
	if len(in.Objects) == 0 || len(in.Objects) > maxDeleteKeys {
		return malformedXML()
	}
	x := &deletions{q: q, quiet: in.Quiet}
	if q.bypasses() {
		x.bypass = true
	}
	var plain []xmlDeleteKey
	for _, k := range in.Objects {
		if err := q.may(q.t, "s3:DeleteObject", k.Key, k.VersionID); err != nil {
			x.report(k, bucket.Deleted{}, err)
			continue
		}
		if x.bypass {
			if err := q.may(q.t, "s3:BypassGovernanceRetention", k.Key, k.VersionID); err != nil {
				x.report(k, bucket.Deleted{}, err)
				continue
			}
		}
		cond, e := k.condition()
		switch {
		case e != nil:
			x.report(k, bucket.Deleted{}, e)
		case k.VersionID == "" && cond == (bucket.Cond{}) && !versioned(q.b):
			plain = append(plain, k)
		default:
			x.one(k, cond)
		}
	}
	keys := make([]string, len(plain))
	for i, k := range plain {
		keys[i] = k.Key
	}
	for i, err := range q.b.DeleteMany(q.ctx(), keys) {
		x.report(plain[i], bucket.Deleted{}, err)
	}
	q.writeXML(http.StatusOK, x.xmlDeleted)
	return nil
}

// deletions collects what became of many keys.
type deletions struct {
	q      *request
	quiet  bool
	bypass bool
	xmlDeleted
}

// one deletes what needs an operation of its own.
func (x *deletions) one(k xmlDeleteKey, cond bucket.Cond) {
	in := bucket.DeleteInput{Version: k.VersionID, Bypass: x.bypass, Cond: cond}
	if k.VersionID != "" {
		if e := checkVersion(k.VersionID); e != nil {
			x.report(k, bucket.Deleted{}, apiErr("NoSuchVersion", "The specified version does not exist."))
			return
		}
	}
	d, err := x.q.b.DeleteVersion(x.q.ctx(), k.Key, in)
	if err != nil && gone(err) {
		err = nil
	}
	x.report(k, d, err)
}

func (x *deletions) report(k xmlDeleteKey, d bucket.Deleted, err error) {
	one := deletedKey{key: k.Key, version: k.VersionID, status: http.StatusNoContent}
	if err != nil {
		e := toAPI(err)
		one.code, one.status = e.Code, e.Status
	}
	x.q.batch = append(x.q.batch, one)
	if err == nil {
		if x.quiet {
			return
		}
		out := xmlDeletedKey{Key: k.Key, VersionID: k.VersionID, DeleteMarker: d.Marker}
		if d.Marker {
			out.MarkerVersion = d.Version
		}
		x.Deleted = append(x.Deleted, out)
		return
	}
	e := toAPI(err)
	if e.Status >= 500 {
		x.q.s.log.Debug("delete an object", "request", x.q.id, "bucket", x.q.bucket, "err", err)
	}
	x.Errors = append(x.Errors, xmlDeleteError{Key: k.Key, VersionID: k.VersionID, Code: e.Code, Message: e.Message})
}

type xmlVersions struct {
	XMLName             xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListVersionsResult"`
	Name                string
	Prefix              string
	KeyMarker           string
	VersionIDMarker     string `xml:"VersionIdMarker"`
	NextKeyMarker       string `xml:",omitempty"`
	NextVersionIDMarker string `xml:"NextVersionIdMarker,omitempty"`
	Delimiter           string `xml:",omitempty"`
	EncodingType        string `xml:",omitempty"`
	MaxKeys             int
	IsTruncated         bool
	Versions            []any // xmlVersion and xmlDeleteMarker, in order
	CommonPrefixes      []xmlPrefix
}

type xmlVersion struct {
	XMLName xml.Name `xml:"Version"`
	xmlObject
	VersionID string `xml:"VersionId"`
	IsLatest  bool
}

type xmlDeleteMarker struct {
	XMLName      xml.Name `xml:"DeleteMarker"`
	Key          string
	VersionID    string `xml:"VersionId"`
	IsLatest     bool
	LastModified string
	Owner        *xmlOwner `xml:",omitempty"`
}

func (q *request) listVersions() error {
	limit, e := q.number("max-keys", bucket.MaxListEntries, bucket.MaxListEntries)
	if e != nil {
		return e
	}
	encode, e := q.encoder()
	if e != nil {
		return e
	}
	if e := q.listNames("prefix", "delimiter", "key-marker"); e != nil {
		return e
	}
	in := bucket.VersionsInput{
		Prefix: q.query.Get("prefix"), Delimiter: q.query.Get("delimiter"),
		AfterKey: q.query.Get("key-marker"), AfterVersion: q.query.Get("version-id-marker"), Max: limit,
	}
	switch v := in.AfterVersion; {
	case q.query.Has("version-id-marker") && v == "" && in.AfterKey != "":
		return apiErr("InvalidArgument", "A version-id marker cannot be empty.").with("ArgumentName", "version-id-marker").with("ArgumentValue", "")
	case v != "" && in.AfterKey == "":
		return apiErr("InvalidArgument", "A version-id marker cannot be specified without a key marker.").with("ArgumentName", "version-id-marker").with("ArgumentValue", v)
	case v != "":
		if e := checkVersion(v); e != nil {
			return e
		}
	}
	l, err := q.b.Versions(q.ctx(), in)
	if err != nil {
		return err
	}
	x := xmlVersions{
		Name: q.bucket, Prefix: encode(in.Prefix), KeyMarker: encode(in.AfterKey), VersionIDMarker: in.AfterVersion, Delimiter: encode(in.Delimiter),
		EncodingType: q.query.Get("encoding-type"), MaxKeys: limit, IsTruncated: l.Truncated,
	}
	if l.Truncated {
		x.NextKeyMarker, x.NextVersionIDMarker = encode(l.LastKey), l.LastVersion
	}
	for _, o := range l.Versions {
		if o.Marker {
			owner := q.owner(q.t.objectOwner(o))
			x.Versions = append(x.Versions, xmlDeleteMarker{Key: encode(o.Key), VersionID: o.Version, IsLatest: o.Latest, LastModified: stamp(o.Modified), Owner: &owner})
			continue
		}
		x.Versions = append(x.Versions, xmlVersion{xmlObject: q.listed(o, encode, true), VersionID: o.Version, IsLatest: o.Latest})
	}
	for _, p := range l.Prefixes {
		x.CommonPrefixes = append(x.CommonPrefixes, xmlPrefix{encode(p)})
	}
	q.writeXML(http.StatusOK, x)
	return nil
}
