package s3

import (
	"crypto/rand"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cairnstore/cairn/client/bucket"
)

// docLifecycle is the name of a bucket's lifecycle rules.
const docLifecycle = "lifecycle"

const maxLifecycleRules = 1000

type xmlLifecycle struct {
	XMLName xml.Name           `xml:"LifecycleConfiguration"`
	Xmlns   string             `xml:"xmlns,attr,omitempty"`
	Rules   []xmlLifecycleRule `xml:"Rule"`
}

type xmlLifecycleRule struct {
	ID         string
	Prefix     *string             `xml:",omitempty"` // as it was written before there were filters
	Filter     *xmlLifecycleFilter `xml:",omitempty"`
	Status     string
	Expiration *xmlExpiration `xml:",omitempty"`
	Noncurrent *xmlNoncurrent `xml:"NoncurrentVersionExpiration,omitempty"`
	Abort      *xmlAbort      `xml:"AbortIncompleteMultipartUpload,omitempty"`
	Transition []struct{}     `xml:"Transition,omitempty"`
	Later      []struct{}     `xml:"NoncurrentVersionTransition,omitempty"`
}

type xmlLifecycleFilter struct {
	Prefix *string          `xml:",omitempty"`
	Tag    *xmlTag          `xml:",omitempty"`
	More   *int64           `xml:"ObjectSizeGreaterThan,omitempty"`
	Less   *int64           `xml:"ObjectSizeLessThan,omitempty"`
	And    *xmlLifecycleAnd `xml:",omitempty"`
}

type xmlLifecycleAnd struct {
	Prefix *string  `xml:",omitempty"`
	Tags   []xmlTag `xml:"Tag,omitempty"`
	More   *int64   `xml:"ObjectSizeGreaterThan,omitempty"`
	Less   *int64   `xml:"ObjectSizeLessThan,omitempty"`
}

type xmlExpiration struct {
	Days   *int   `xml:",omitempty"`
	Date   string `xml:",omitempty"`
	Marker *bool  `xml:"ExpiredObjectDeleteMarker,omitempty"`
}

type xmlNoncurrent struct {
	Days  *int `xml:"NoncurrentDays,omitempty"`
	Newer *int `xml:"NewerNoncurrentVersions,omitempty"`
}

type xmlAbort struct {
	Days int `xml:"DaysAfterInitiation"`
}

// date parses the day on which a rule takes effect.
func (x *xmlExpiration) date() (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, x.Date)
	if err != nil {
		t, err = time.Parse(time.DateOnly, x.Date)
	}
	return t.UTC(), err
}

func (x *xmlLifecycle) check() *apiError {
	if len(x.Rules) == 0 {
		return malformedXML()
	}
	if len(x.Rules) > maxLifecycleRules {
		return apiErr("InvalidRequest", "A lifecycle configuration has at most %d rules.", maxLifecycleRules)
	}
	ids := map[string]bool{}
	for i := range x.Rules {
		r := &x.Rules[i]
		if r.ID == "" {
			r.ID = strings.ToLower(rand.Text())
		}
		switch {
		case len(r.ID) > 255:
			return apiErr("InvalidArgument", "ID length should not exceed allowed limit of 255").with("ArgumentName", "ID")
		case ids[r.ID]:
			return apiErr("InvalidArgument", "Rule ID must be unique. Found same ID for more than one rule").with("ArgumentName", "ID")
		}
		ids[r.ID] = true
		if e := r.check(); e != nil {
			return e
		}
	}
	return nil
}

func (r *xmlLifecycleRule) check() *apiError {
	positive := func(what string, n *int) *apiError {
		if n != nil && *n < 1 {
			return apiErr("InvalidArgument", "'%s' must be a positive integer", what).with("ArgumentName", what)
		}
		return nil
	}
	switch {
	case r.Status != "Enabled" && r.Status != "Disabled", (r.Filter == nil) == (r.Prefix == nil):
		return malformedXML()
	case len(r.Transition) > 0 || len(r.Later) > 0:
		return notImplemented("transitions between storage classes")
	case r.Expiration == nil && r.Noncurrent == nil && r.Abort == nil:
		return apiErr("InvalidRequest", "At least one action needs to be specified in a rule")
	}
	if e := r.Filter.check(); e != nil {
		return e
	}
	if x := r.Expiration; x != nil {
		given := 0
		for _, is := range []bool{x.Days != nil, x.Date != "", x.Marker != nil} {
			if is {
				given++
			}
		}
		if given != 1 {
			return malformedXML()
		}
		if e := positive("Days", x.Days); e != nil {
			return e
		}
		if x.Date != "" {
			t, err := x.date()
			if err != nil {
				return malformedXML()
			}
			if !t.Equal(t.Truncate(24 * time.Hour)) {
				return apiErr("InvalidArgument", "'Date' must be at midnight GMT").with("ArgumentName", "Date")
			}
		}
	}
	if x := r.Noncurrent; x != nil {
		if x.Days == nil {
			return malformedXML()
		}
		if e := positive("NoncurrentDays", x.Days); e != nil {
			return e
		}
		if e := positive("NewerNoncurrentVersions", x.Newer); e != nil {
			return e
		}
	}
	if x := r.Abort; x != nil {
		if e := positive("DaysAfterInitiation", &x.Days); e != nil {
			return e
		}
	}
	if r.byTag() && (r.Abort != nil || r.Expiration != nil && r.Expiration.Marker != nil) {
		return apiErr("InvalidRequest", "Tag-based filters cannot be used with AbortIncompleteMultipartUpload or ExpiredObjectDeleteMarker.")
	}
	return nil
}

func (f *xmlLifecycleFilter) check() *apiError {
	if f == nil {
		return nil
	}
	// Amazon wants at most one condition, or several in an And. As with Ceph, all hold wherever they are.
	tags := map[string]string{}
	var all []xmlTag
	if f.Tag != nil {
		all = append(all, *f.Tag)
	}
	if f.And != nil {
		all = append(all, f.And.Tags...)
	}
	for _, t := range all {
		if e := checkTag(tags, t.Key, t.Value, maxObjectTags); e != nil {
			return e
		}
		tags[t.Key] = t.Value
	}
	return nil
}

// conditions are those outside of the And.
func (f *xmlLifecycleFilter) conditions() *xmlLifecycleAnd {
	c := &xmlLifecycleAnd{Prefix: f.Prefix, More: f.More, Less: f.Less}
	if f.Tag != nil {
		c.Tags = []xmlTag{*f.Tag}
	}
	return c
}

// fits reports whether an object has all that is asked for; nothing asks for nothing.
func (c *xmlLifecycleAnd) fits(o *bucket.Object) bool {
	if c == nil {
		return true
	}
	for _, t := range c.Tags {
		if v, ok := o.Attrs.Tags[t.Key]; !ok || v != t.Value {
			return false
		}
	}
	return (c.Prefix == nil || strings.HasPrefix(o.Key, *c.Prefix)) && (c.More == nil || o.Size > *c.More) && (c.Less == nil || o.Size < *c.Less)
}

// byTag reports whether the rule asks for tags.
func (r *xmlLifecycleRule) byTag() bool {
	return r.Filter != nil && (r.Filter.Tag != nil || r.Filter.And != nil && len(r.Filter.And.Tags) > 0)
}

// fits reports whether the rule is in force and about an object.
func (r *xmlLifecycleRule) fits(o *bucket.Object) bool {
	switch {
	case r.Status != "Enabled":
		return false
	case r.Filter != nil:
		return r.Filter.conditions().fits(o) && r.Filter.And.fits(o)
	}
	return r.Prefix == nil || strings.HasPrefix(o.Key, *r.Prefix)
}

// any reports whether a rule in force is such a one.
func (x *xmlLifecycle) any(such func(r *xmlLifecycleRule) bool) bool {
	return slices.ContainsFunc(x.Rules, func(r xmlLifecycleRule) bool { return r.Status == "Enabled" && such(&r) })
}

// realDay is a day, unless somebody wants to see rules at work sooner.
const realDay = 24 * time.Hour

// after is when n days have passed since t: as S3 counts them, at the midnight that
// follows. Days that are shortened for a try have no midnight.
func after(t time.Time, n int, day time.Duration) time.Time {
	end := t.Add(time.Duration(n) * day).UTC()
	if day != realDay {
		return end
	}
	if mid := end.Truncate(day); mid.Before(end) {
		end = mid.Add(day)
	}
	return end
}

// expires says when a current object goes, and by which rule; rule is "" if it stays.
func (x *xmlLifecycle) expires(o *bucket.Object, day time.Duration) (at time.Time, rule string) {
	for i := range x.Rules {
		r := &x.Rules[i]
		if r.Expiration == nil || !r.fits(o) {
			continue
		}
		var t time.Time
		switch {
		case r.Expiration.Days != nil:
			t = after(o.Modified, *r.Expiration.Days, day)
		case r.Expiration.Date != "":
			t, _ = r.Expiration.date() // checked when it was stored
		default:
			continue
		}
		if rule == "" || t.Before(at) {
			at, rule = t, r.ID
		}
	}
	return at, rule
}

// expiration tells when the object will go by the bucket's rules, in real days.
func (q *request) expiration(o *bucket.Object) {
	cfg, err := q.b.Config(q.ctx())
	if err != nil || !o.Latest {
		return
	}
	x, err := parsed[xmlLifecycle](cfg, docLifecycle)
	if err != nil || x == nil {
		return // rules that cannot be read expire nothing; GetBucketLifecycle says what is wrong
	}
	if at, rule := x.expires(o, realDay); rule != "" {
		q.w.Header().Set("x-amz-expiration", fmt.Sprintf(`expiry-date="%s", rule-id="%s"`, at.UTC().Format(http.TimeFormat), url.QueryEscape(rule)))
	}
}

func (q *request) getBucketLifecycle() error {
	x := new(xmlLifecycle)
	found, err := q.config(docLifecycle, x)
	if err != nil {
		return err
	}
	if !found {
		return apiErr("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist").with("BucketName", q.bucket)
	}
	q.writeXML(http.StatusOK, xmlLifecycle{Xmlns: xmlNS, Rules: x.Rules})
	return nil
}

func (q *request) putBucketLifecycle() error {
	if e := digested(q.r.Header); e != nil {
		return e
	}
	var in xmlLifecycle
	if e := q.needXML(&in, maxSmallXML); e != nil {
		return e
	}
	if e := in.check(); e != nil {
		return e
	}
	return q.configure(docLifecycle, xmlLifecycle{Rules: in.Rules}, http.StatusOK)
}

func (q *request) deleteBucketLifecycle() error { return q.unconfigure(docLifecycle) }
