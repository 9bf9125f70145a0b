package s3

import (
	"encoding/xml"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cairnstore/cairn/client/bucket"
)

// docLock is the name of a bucket's object lock configuration.
const docLock = "object-lock"

// Limits of a default retention.
const (
	maxLockDays  = 36500
	maxLockYears = 100
)

type xmlLockConfig struct {
	XMLName xml.Name     `xml:"ObjectLockConfiguration"`
	Xmlns   string       `xml:"xmlns,attr,omitempty"`
	Enabled string       `xml:"ObjectLockEnabled,omitempty"`
	Rule    *xmlLockRule `xml:",omitempty"`
}

type xmlLockRule struct {
	Default *xmlLockDefault `xml:"DefaultRetention"`
}

type xmlLockDefault struct {
	Mode  string
	Days  *int `xml:",omitempty"`
	Years *int `xml:",omitempty"`
}

var lockModes = map[string]bucket.LockMode{"GOVERNANCE": bucket.Governance, "COMPLIANCE": bucket.Compliance}

// check says what is wrong with a configuration.
func (x *xmlLockConfig) check() *apiError {
	malformed := malformedXML()
	if x.Enabled != "Enabled" {
		return malformed
	}
	if x.Rule == nil {
		return nil
	}
	d := x.Rule.Default
	if d == nil || lockModes[d.Mode] == bucket.Unlocked || (d.Days == nil) == (d.Years == nil) {
		return malformed
	}
	if d.Days != nil && (*d.Days < 1 || *d.Days > maxLockDays) {
		return apiErr("InvalidRetentionPeriod", "The retention period must be a positive integer of at most %d days.", maxLockDays)
	}
	if d.Years != nil && (*d.Years < 1 || *d.Years > maxLockYears) {
		return apiErr("InvalidRetentionPeriod", "The retention period must be a positive integer of at most %d years.", maxLockYears)
	}
	return nil
}

// lock is the retention of an object put now.
func (d *xmlLockDefault) lock(now time.Time) bucket.Lock {
	l := bucket.Lock{Mode: lockModes[d.Mode]}
	if d.Days != nil {
		l.Until = now.AddDate(0, 0, *d.Days)
	} else {
		l.Until = now.AddDate(*d.Years, 0, 0)
	}
	return l
}

// lockConfig returns the configuration of the bucket's locks, nil if it has none.
func (q *request) lockConfig() (*xmlLockConfig, error) {
	cfg, err := q.b.Config(q.ctx())
	if err != nil {
		return nil, err
	}
	return parsed[xmlLockConfig](cfg, docLock)
}

func (q *request) getObjectLock() error {
	if !q.b.ObjectLock() {
		return apiErr("ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket").with("BucketName", q.bucket)
	}
	x, err := q.lockConfig()
	if err != nil {
		return err
	}
	if x == nil {
		x = &xmlLockConfig{Enabled: "Enabled"}
	}
	q.writeXML(http.StatusOK, xmlLockConfig{Xmlns: xmlNS, Enabled: x.Enabled, Rule: x.Rule})
	return nil
}

func (q *request) putObjectLock() error {
	var in xmlLockConfig
	if e := q.needXML(&in, maxSmallXML); e != nil {
		return e
	}
	if q.b.Versioning() != bucket.VersioningEnabled {
		return apiErr("InvalidBucketState", "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration")
	}
	if e := in.check(); e != nil {
		return e
	}
	if !q.b.ObjectLock() {
		if err := q.s.o.Buckets.EnableObjectLock(q.ctx(), q.bucket); err != nil {
			return err
		}
	}
	return q.configure(docLock, xmlLockConfig{Enabled: in.Enabled, Rule: in.Rule}, http.StatusOK)
}

// lockOf is what the headers of a put, or else the bucket's default, say of the object's lock.
func (q *request) lockOf() (l bucket.Lock, err error) {
	h := q.r.Header
	mode, until, hold := h.Get("X-Amz-Object-Lock-Mode"), h.Get("X-Amz-Object-Lock-Retain-Until-Date"), h.Get("X-Amz-Object-Lock-Legal-Hold")
	lockable := q.b.ObjectLock()
	switch {
	case mode == "" && until == "" && hold == "" && !lockable:
		return l, nil
	case !lockable:
		return l, noLock()
	case (mode == "") != (until == ""):
		return l, apiErr("InvalidArgument", "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied")
	}
	switch hold {
	case "", "OFF":
	case "ON":
		l.Hold = true
	default:
		return l, apiErr("InvalidArgument", "Legal Hold must be either of 'ON' or 'OFF'").with("ArgumentName", "x-amz-object-lock-legal-hold").with("ArgumentValue", hold)
	}
	if mode != "" {
		if l.Mode = lockModes[strings.ToUpper(mode)]; l.Mode == bucket.Unlocked {
			return l, apiErr("InvalidArgument", "Unknown wormMode directive.").with("ArgumentName", "x-amz-object-lock-mode").with("ArgumentValue", mode)
		}
		var e *apiError
		l.Until, e = q.until(until)
		if e != nil {
			return l, e
		}
		return l, nil
	}
	cfg, err := q.lockConfig()
	if err != nil {
		return l, err
	}
	if cfg != nil && cfg.Rule != nil {
		d := cfg.Rule.Default.lock(q.s.o.Now())
		l.Mode, l.Until = d.Mode, d.Until
	}
	return l, nil
}

func noLock() *apiError {
	return apiErr("InvalidRequest", "Bucket is missing Object Lock Configuration")
}

// until parses the end of a retention, which must be in the future.
func (q *request) until(v string) (time.Time, *apiError) {
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		return t, apiErr("InvalidArgument", "The retain until date must be provided in ISO 8601 format").with("ArgumentName", "x-amz-object-lock-retain-until-date").with("ArgumentValue", v)
	}
	if !t.After(q.s.o.Now()) {
		return t, apiErr("InvalidArgument", "The retain until date must be in the future!").with("ArgumentName", "x-amz-object-lock-retain-until-date").with("ArgumentValue", v)
	}
	if t.Year() > 2200 {
		return t, apiErr("InvalidArgument", "The retain until date is too far in the future.").with("ArgumentName", "x-amz-object-lock-retain-until-date").with("ArgumentValue", v)
	}
	return t, nil
}

type xmlRetention struct {
	XMLName xml.Name `xml:"Retention"`
	Xmlns   string   `xml:"xmlns,attr,omitempty"`
	Mode    string   `xml:",omitempty"`
	Until   string   `xml:"RetainUntilDate,omitempty"`
}

func modeName(m bucket.LockMode) string {
	for name, mode := range lockModes {
		if mode == m {
			return name
		}
	}
	return ""
}

func noObjectLock() *apiError {
	return apiErr("NoSuchObjectLockConfiguration", "The specified object does not have a ObjectLock configuration")
}

func (q *request) getRetention() error {
	if !q.b.ObjectLock() {
		return noLock()
	}
	o, err := q.fetch(q.byHead)
	if err != nil {
		return err
	}
	l := o.Attrs.Lock
	if l.Mode == bucket.Unlocked {
		return noObjectLock()
	}
	q.writeXML(http.StatusOK, xmlRetention{Xmlns: xmlNS, Mode: modeName(l.Mode), Until: stamp(l.Until)})
	return nil
}

func (q *request) putRetention() error {
	if !q.b.ObjectLock() {
		return noLock()
	}
	var in xmlRetention
	e := q.needXML(&in, maxSmallXML)
	if e != nil {
		return e
	}
	if (in.Mode == "") != (in.Until == "") || in.Mode != "" && lockModes[in.Mode] == bucket.Unlocked {
		return malformedXML()
	}
	to := bucket.Lock{Mode: lockModes[in.Mode]}
	if in.Mode != "" {
		if to.Until, e = q.until(in.Until); e != nil {
			return e
		}
	}
	return q.edit(http.StatusOK, func(a *bucket.Attrs) error {
		l := &a.Lock
		held := l.Mode != bucket.Unlocked && q.s.o.Now().Before(l.Until)
		weaker := to.Mode == bucket.Unlocked || to.Until.Before(l.Until) || l.Mode == bucket.Compliance && to.Mode != bucket.Compliance ||
			l.Mode == bucket.Governance && to.Mode != bucket.Governance
		if held && weaker && (l.Mode == bucket.Compliance || !q.bypasses()) {
			return apiErr("AccessDenied", "Access Denied because object protected by object lock.")
		}
		l.Mode, l.Until = to.Mode, to.Until
		return nil
	})
}

type xmlHold struct {
	XMLName xml.Name `xml:"LegalHold"`
	Xmlns   string   `xml:"xmlns,attr,omitempty"`
	Status  string
}

func (q *request) getLegalHold() error {
	if !q.b.ObjectLock() {
		return noLock()
	}
	o, err := q.fetch(q.byHead)
	if err != nil {
		return err
	}
	x := xmlHold{Xmlns: xmlNS, Status: "OFF"}
	if o.Attrs.Lock.Hold {
		x.Status = "ON"
	}
	q.writeXML(http.StatusOK, x)
	return nil
}

func (q *request) putLegalHold() error {
	if !q.b.ObjectLock() {
		return noLock()
	}
	var in xmlHold
	e := q.needXML(&in, maxSmallXML)
	if e != nil {
		return e
	}
	if in.Status != "ON" && in.Status != "OFF" {
		return malformedXML()
	}
	return q.edit(http.StatusOK, func(a *bucket.Attrs) error { a.Lock.Hold = in.Status == "ON"; return nil })
}

// edit changes what is said of the object, or of the version, that the request names, and answers.
func (q *request) edit(status int, f func(a *bucket.Attrs) error) error {
	version, e := q.named()
	if e != nil {
		return e
	}
	o, err := q.b.Update(q.ctx(), q.key, version, func(o *bucket.Object, a *bucket.Attrs) error {
		if err := q.seen(o, nil); err != nil {
			return err
		}
		return f(a)
	})
	if errors.Is(err, bucket.ErrMarker) {
		return apiErr("MethodNotAllowed", "The specified method is not allowed against this resource.").with("Method", q.r.Method).with("ResourceType", "DeleteMarker")
	}
	if err != nil {
		return q.keyErr(err)
	}
	q.stored(o)
	q.w.WriteHeader(status)
	return nil
}

// describeLock tells of an object's lock.
func describeLock(h http.Header, l bucket.Lock) {
	if l.Mode != bucket.Unlocked {
		h.Set("x-amz-object-lock-mode", modeName(l.Mode))
		h.Set("x-amz-object-lock-retain-until-date", stamp(l.Until))
	}
	if l.Hold {
		h.Set("x-amz-object-lock-legal-hold", "ON")
	}
}

// describeTags tells how many tags an object has.
func describeTags(h http.Header, tags map[string]string) {
	if len(tags) > 0 {
		h.Set("x-amz-tagging-count", strconv.Itoa(len(tags)))
	}
}
