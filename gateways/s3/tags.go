package s3

import (
	"encoding/xml"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"unicode/utf8"

	"github.com/cairnstore/cairn/client/bucket"
)

// docTags is the name of a bucket's tags among its documents.
const docTags = "tagging"

// Limits of tags.
const (
	maxObjectTags = 10
	maxBucketTags = 50
	maxTagKey     = 128 // characters
	maxTagValue   = 256
)

type xmlTagging struct {
	XMLName xml.Name  `xml:"Tagging"`
	Xmlns   string    `xml:"xmlns,attr,omitempty"`
	TagSet  xmlTagSet `xml:"TagSet"`
}

type xmlTagSet struct {
	Tags []xmlTag `xml:"Tag"`
}

type xmlTag struct {
	Key   string
	Value string
}

func tagging(tags map[string]string) xmlTagging {
	x := xmlTagging{Xmlns: xmlNS}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		x.TagSet.Tags = append(x.TagSet.Tags, xmlTag{k, tags[k]})
	}
	return x
}

// checkTag says what is wrong with a tag that comes after others.
func checkTag(tags map[string]string, key, value string, most int) *apiError {
	bad := func(text string) *apiError {
		return apiErr("InvalidTag", "%s", text).with("TagKey", key).with("TagValue", value)
	}
	_, twice := tags[key]
	switch {
	case twice:
		return bad("Cannot provide multiple Tags with the same key")
	case len(tags) == most && most == maxObjectTags:
		return bad("Object tags cannot be greater than 10")
	case len(tags) == most:
		return apiErr("BadRequest", "Tags cannot be greater than %d", most)
	case key == "" || utf8.RuneCountInString(key) > maxTagKey || !utf8.ValidString(key):
		return bad("The TagKey you have provided is invalid")
	case utf8.RuneCountInString(value) > maxTagValue || !utf8.ValidString(value):
		return bad("The TagValue you have provided is invalid")
	case len(key) >= 4 && key[:4] == "aws:":
		return bad("System tags cannot be added/updated by requester")
	}
	return nil
}

// parseTags reads the tags of a header, which are written as in a query string.
func parseTags(v string) (map[string]string, *apiError) {
	values, err := url.ParseQuery(v)
	if err != nil || len(v) > 16<<10 {
		return nil, apiErr("InvalidArgument", "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.").with("ArgumentName", "x-amz-tagging").with("ArgumentValue", v)
	}
	tags := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(values)) {
		if len(values[k]) > 1 {
			return nil, apiErr("InvalidArgument", "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.").with("ArgumentName", "x-amz-tagging").with("ArgumentValue", v)
		}
		if e := checkTag(tags, k, values.Get(k), maxObjectTags); e != nil {
			return nil, e
		}
		tags[k] = values.Get(k)
	}
	return tags, nil
}

// readTags reads the tags of a body.
func (q *request) readTags(most int) (map[string]string, *apiError) {
	var in xmlTagging
	if e := q.needXML(&in, 256<<10); e != nil {
		return nil, e
	}
	return in.tags(most)
}

// parseTagging reads the tags of an object from a document.
func parseTagging(doc []byte) (map[string]string, *apiError) {
	var in xmlTagging
	if err := xml.Unmarshal(doc, &in); err != nil {
		e := malformedXML()
		e.cause = err
		return nil, e
	}
	return in.tags(maxObjectTags)
}

func (x *xmlTagging) tags(most int) (map[string]string, *apiError) {
	tags := map[string]string{}
	for _, t := range x.TagSet.Tags {
		if e := checkTag(tags, t.Key, t.Value, most); e != nil {
			return nil, e
		}
		tags[t.Key] = t.Value
	}
	return tags, nil
}

func (q *request) getObjectTagging() error {
	o, err := q.fetch(q.byHead)
	if err != nil {
		return err
	}
	q.stored(o)
	q.writeXML(http.StatusOK, tagging(o.Attrs.Tags))
	return nil
}

func (q *request) putObjectTagging() error {
	tags, e := q.givenTags()
	if e != nil {
		return e
	}
	return q.edit(http.StatusOK, func(a *bucket.Attrs) error { a.Tags = tags; return nil })
}

func (q *request) deleteObjectTagging() error {
	return q.edit(http.StatusNoContent, func(a *bucket.Attrs) error { a.Tags = nil; return nil })
}

func (q *request) getBucketTagging() error {
	var x xmlTagging
	found, err := q.config(docTags, &x)
	if err != nil {
		return err
	}
	if !found {
		return apiErr("NoSuchTagSet", "The TagSet does not exist").with("BucketName", q.bucket)
	}
	q.writeXML(http.StatusOK, xmlTagging{Xmlns: xmlNS, TagSet: x.TagSet})
	return nil
}

func (q *request) putBucketTagging() error {
	tags, e := q.readTags(maxBucketTags)
	if e != nil {
		return e
	}
	return q.configure(docTags, xmlTagging{TagSet: tagging(tags).TagSet}, http.StatusNoContent)
}

func (q *request) deleteBucketTagging() error { return q.unconfigure(docTags) }
