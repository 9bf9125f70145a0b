package s3

import (
	"encoding/xml"
	"net/http"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/client/bucket"
)

type xmlAttributes struct {
	XMLName      xml.Name      `xml:"http://s3.amazonaws.com/doc/2006-03-01/ GetObjectAttributesResponse"`
	ETag         string        `xml:",omitempty"`
	Checksum     *xmlChecksum  `xml:",omitempty"`
	ObjectParts  *xmlAttrParts `xml:",omitempty"`
	StorageClass string        `xml:",omitempty"`
	ObjectSize   *int64        `xml:",omitempty"`
}

type xmlChecksum struct {
	xmlSums
	ChecksumType string
}

type xmlAttrParts struct {
	PartsCount           int
	PartNumberMarker     int
	NextPartNumberMarker int
	MaxParts             int
	IsTruncated          bool
	Parts                []xmlAttrPart `xml:"Part"`
}

type xmlAttrPart struct {
	PartNumber int
	Size       int64
	xmlSums
}

// attributeNames are what GetObjectAttributes may be asked for.
var attributeNames = []string{"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"}

// headerNumber reads a header that limits or numbers; def when it is missing.
func headerNumber(h http.Header, name string, def, limit int) (int, *apiError) {
	v := h.Get(name)
	if v == "" {
		return def, nil
	}
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil || n < 0 {
		return 0, apiErr("InvalidArgument", "Argument %s must be an integer between 0 and 2147483647", name).with("ArgumentName", name).with("ArgumentValue", v)
	}
	return min(int(n), limit), nil
}

func (q *request) getObjectAttributes() error {
	wanted := map[string]bool{}
	for name := range strings.SplitSeq(strings.Join(q.r.Header.Values("X-Amz-Object-Attributes"), ","), ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		known := false
		for _, a := range attributeNames {
			if strings.EqualFold(a, name) {
				wanted[a], known = true, true
			}
		}
		if !known {
			return apiErr("InvalidArgument", "Invalid attribute name specified.").with("ArgumentName", "x-amz-object-attributes").with("ArgumentValue", name)
		}
	}
	if len(wanted) == 0 {
		return apiErr("InvalidRequest", "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty")
	}
	limit, e := headerNumber(q.r.Header, "X-Amz-Max-Parts", bucket.MaxListEntries, bucket.MaxListEntries)
	if e != nil {
		return e
	}
	after, e := headerNumber(q.r.Header, "X-Amz-Part-Number-Marker", 0, bucket.MaxParts)
	if e != nil {
		return e
	}
	reading, err := q.ask(q.t, "s3:GetObject", q.key, q.query.Get("versionId")) // S3 demands both
	if err != nil {
		return err
	}
	o, err := q.fetch(q.byGet) // the parts are listed beside the entry
	if err != nil {
		return err
	}
	q.stored(o)
	if err := q.object(reading, o, nil); err != nil {
		return err
	}
	if _, err := q.opening(o, customerHeader); err != nil {
		return err
	}
	if e := readConditions(q.r.Header, "", o, false); e != nil {
		return e
	}
	var x xmlAttributes
	if wanted["ETag"] {
		x.ETag = o.ETag()
	}
	if wanted["StorageClass"] {
		x.StorageClass = "STANDARD"
	}
	if wanted["ObjectSize"] {
		x.ObjectSize = &o.Size
	}
	if wanted["Checksum"] && len(o.Checksums) > 0 {
		x.Checksum = &xmlChecksum{ChecksumType: checksumType(o.Checksums[0])}
		for _, c := range o.Checksums {
			if f := x.Checksum.field(c.Algorithm); f != nil {
				*f = checksumText(c, o.Parts)
			}
		}
	}
	if wanted["ObjectParts"] && o.Parts > 0 {
		if x.ObjectParts, err = attrParts(o, after, limit); err != nil {
			return err
		}
	}
	q.w.Header().Set("Last-Modified", o.Modified.UTC().Format(http.TimeFormat))
	q.writeXML(http.StatusOK, x)
	return nil
}

// attrParts lists the parts behind a number, as Ceph does also those of an upload without checksums.
func attrParts(o *bucket.Object, after, limit int) (*xmlAttrParts, error) {
	parts, err := o.PartList()
	if err != nil {
		return nil, err
	}
	x := &xmlAttrParts{PartsCount: len(parts), PartNumberMarker: after, MaxParts: limit, NextPartNumberMarker: after}
	for _, p := range parts {
		if p.Number <= after {
			continue
		}
		if len(x.Parts) == limit {
			x.IsTruncated = true
			break
		}
		xp := xmlAttrPart{PartNumber: p.Number, Size: p.Size}
		if p.Checksum != nil {
			if f := xp.field(p.Checksum.Algorithm); f != nil {
				*f = checksumValue(p.Checksum.Value)
			}
		}
		x.Parts, x.NextPartNumberMarker = append(x.Parts, xp), p.Number
	}
	return x, nil
}

// getObjectTorrent answers as S3 does now that it makes no more torrents.
func (q *request) getObjectTorrent() error {
	if _, err := q.b.Head(q.ctx(), q.key); err != nil {
		return q.keyErr(err)
	}
	return apiErr("NoSuchKey", "There are no torrents.").with("Key", q.key)
}

// restoreObject answers as S3 does for an object that is not in an archive: none ever is.
func (q *request) restoreObject() error {
	if _, err := q.b.Head(q.ctx(), q.key); err != nil {
		return q.keyErr(err)
	}
	return apiErr("InvalidObjectState", "Restore is not allowed for the object's current storage class").with("StorageClass", "STANDARD")
}
