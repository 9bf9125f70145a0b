package s3

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/gateways/s3/policy"
)

// conditionKeys tells policies about the request. t is nil if it is about no bucket.
// A key that is not there has no value, which is another thing than an empty one.
func (q *request) conditionKeys(t *terms, key, version string) policy.Keys {
	return func(name string) []string {
		if header, ok := conditionHeaders[name]; ok {
			return q.header(header)
		}
		if param, ok := strings.CutPrefix(name, "s3:"); ok {
			switch param {
			case "prefix", "delimiter", "max-keys":
				switch {
				case key != "":
					return nil
				case param == "prefix" && q.lookedFor != "":
					return []string{q.lookedFor}
				}
				return q.query[param]
			}
		}
		switch {
		case strings.HasPrefix(name, "s3:existingobjecttag/"):
			if t == nil || key == "" {
				return nil
			}
			return q.tag(q.existingTags(t, key, version), name)
		case strings.HasPrefix(name, "aws:principaltag/"):
			return q.tag(q.who.Tags, name)
		case strings.HasPrefix(name, "s3:requestobjecttag/"):
			return q.tag(q.requestTags(), name)
		}
		if f, ok := conditionValues[name]; ok {
			if v := f(q, t, version); v != "" {
				return []string{v}
			}
		}
		if name == "s3:requestobjecttagkeys" {
			var keys []string
			for k := range q.requestTags() {
				keys = append(keys, k)
			}
			return keys
		}
		return nil
	}
}

func (q *request) header(name string) []string {
	v := q.r.Header.Values(name)
	if len(v) == 0 {
		return nil
	}
	return []string{strings.Join(v, ",")}
}

// tag finds a tag by the condition key that names it. Names of keys are in lower
// case here and those of tags are not, so the first that fits in any case is it.
func (q *request) tag(tags map[string]string, name string) []string {
	_, want, _ := strings.Cut(name, "/")
	var found []string
	for k, v := range tags {
		if strings.EqualFold(k, want) {
			found = append(found, v)
		}
	}
	return found
}

// conditionHeaders are the keys whose value is a header of the request.
var conditionHeaders = map[string]string{
	"aws:referer": "Referer", "aws:useragent": "User-Agent", "s3:x-amz-acl": "X-Amz-Acl", "s3:x-amz-content-sha256": "X-Amz-Content-Sha256",
	"s3:x-amz-grant-full-control": "X-Amz-Grant-Full-Control", "s3:x-amz-grant-read": "X-Amz-Grant-Read", "s3:x-amz-grant-read-acp": "X-Amz-Grant-Read-Acp",
	"s3:x-amz-grant-write": "X-Amz-Grant-Write", "s3:x-amz-grant-write-acp": "X-Amz-Grant-Write-Acp", "s3:x-amz-object-ownership": "X-Amz-Object-Ownership",
	"s3:x-amz-metadata-directive": "X-Amz-Metadata-Directive", "s3:x-amz-storage-class": "X-Amz-Storage-Class",
	"s3:x-amz-website-redirect-location": "X-Amz-Website-Redirect-Location", "s3:x-amz-server-side-encryption": "X-Amz-Server-Side-Encryption",
	"s3:x-amz-server-side-encryption-aws-kms-key-id":     "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id",
	"s3:x-amz-server-side-encryption-customer-algorithm": "X-Amz-Server-Side-Encryption-Customer-Algorithm",
	"s3:object-lock-mode":                                "X-Amz-Object-Lock-Mode", "s3:object-lock-retain-until-date": "X-Amz-Object-Lock-Retain-Until-Date",
	"s3:object-lock-legal-hold": "X-Amz-Object-Lock-Legal-Hold", "s3:if-match": "If-Match", "s3:if-none-match": "If-None-Match",
}

// conditionValues are the keys whose value is computed; "" is none.
var conditionValues = map[string]func(q *request, t *terms, version string) string{
	"aws:sourceip": func(q *request, _ *terms, _ string) string {
		host, _, err := net.SplitHostPort(q.r.RemoteAddr)
		if err != nil {
			return ""
		}
		return host
	},
	"aws:securetransport": func(q *request, _ *terms, _ string) string { return strconv.FormatBool(q.r.TLS != nil) },
	"aws:currenttime":     func(q *request, _ *terms, _ string) string { return q.s.o.Now().UTC().Format(time.RFC3339) },
	"aws:epochtime":       func(q *request, _ *terms, _ string) string { return strconv.FormatInt(q.s.o.Now().Unix(), 10) },
	"aws:requestedregion": func(q *request, _ *terms, _ string) string { return q.s.o.Region },
	"aws:username":        func(q *request, _ *terms, _ string) string { return q.who.name },
	"sts:authentication":  func(q *request, _ *terms, _ string) string { return strconv.FormatBool(q.who.Temporary) }, // Ceph's
	"aws:userid": func(q *request, _ *terms, _ string) string {
		if q.who.anonymous() {
			return "anonymous"
		}
		return q.who.userID()
	},
	"aws:principalaccount": func(q *request, _ *terms, _ string) string { return q.who.Account },
	"aws:principalarn": func(q *request, _ *terms, _ string) string {
		return q.who.arn()
	},
	"aws:principaltype": func(q *request, _ *terms, _ string) string {
		switch {
		case q.who.anonymous():
			return "Anonymous"
		case q.who.Root:
			return "Account"
		case q.who.Federated != "":
			return "FederatedUser"
		case q.who.name == "":
			return "AssumedRole"
		}
		return "User"
	},
	"aws:federatedprovider":     func(q *request, _ *terms, _ string) string { return q.who.Federated },
	"aws:principalisawsservice": func(*request, *terms, string) string { return "false" },
	"aws:viaawsservice":         func(*request, *terms, string) string { return "false" },
	"aws:resourceaccount":       func(_ *request, t *terms, _ string) string { return t.account() },
	"s3:resourceaccount":        func(_ *request, t *terms, _ string) string { return t.account() },
	"s3:versionid":              func(_ *request, _ *terms, version string) string { return version },
	"s3:x-amz-copy-source": func(q *request, _ *terms, _ string) string {
		path, _, _ := strings.Cut(q.r.Header.Get("X-Amz-Copy-Source"), "?")
		path, err := url.PathUnescape(path)
		if err != nil {
			return ""
		}
		return strings.TrimPrefix(path, "/")
	},
	"s3:authtype": func(q *request, _ *terms, _ string) string {
		switch {
		case q.who.anonymous():
			return ""
		case q.sig.form:
			return "POST"
		case q.sig.presigned:
			return "REST-QUERY-STRING"
		}
		return "REST-HEADER"
	},
	"s3:signatureversion": func(q *request, _ *terms, _ string) string {
		if q.who.anonymous() {
			return ""
		}
		if q.sig.v2 {
			return "AWS"
		}
		return algorithm
	},
	"s3:signatureage": func(q *request, _ *terms, _ string) string {
		if q.who.anonymous() || !q.sig.presigned || q.sig.v2 { // Version 2 does not say
			return ""
		}
		return strconv.FormatInt(max(0, q.s.o.Now().Sub(q.sig.time).Milliseconds()), 10)
	},
	"s3:tlsversion": func(q *request, _ *terms, _ string) string {
		if q.r.TLS == nil {
			return ""
		}
		return "1." + strconv.Itoa(int(q.r.TLS.Version)-0x301)
	},
	"s3:object-lock-remaining-retention-days": func(q *request, _ *terms, _ string) string {
		until, err := time.Parse(time.RFC3339, q.r.Header.Get("X-Amz-Object-Lock-Retain-Until-Date"))
		if err != nil {
			return ""
		}
		return strconv.Itoa(int(until.Sub(q.s.o.Now()).Hours() / 24))
	},
}

func (t *terms) account() string {
	if t == nil {
		return ""
	}
	return t.owner
}

// requestTags are the tags that the request gives an object.
func (q *request) requestTags() map[string]string {
	if q.op == "PutObjectTagging" {
		tags, _ := q.givenTags() // the operation refuses what is wrong with them
		return tags
	}
	if q.tags == nil {
		q.tags = map[string]string{}
		values, err := url.ParseQuery(q.r.Header.Get("X-Amz-Tagging"))
		if err == nil { // else the operation refuses it
			for k, v := range values {
				q.tags[k] = v[0]
			}
		}
	}
	return q.tags
}

// givenTags reads the tags in the body of PutObjectTagging, once: a policy may look
// at them before the operation does.
func (q *request) givenTags() (map[string]string, *apiError) {
	if !q.given {
		q.tags, q.tagsErr = q.readTags(maxObjectTags)
		q.given = true
	}
	return q.tags, q.tagsErr
}

// existingTags are the tags of what is there now. They are read once for a request,
// and only if a policy looks at them. That the object cannot be read is no reason
// to take it for one without tags: a denial could hang on them.
func (q *request) existingTags(t *terms, key, version string) map[string]string {
	if q.existing == nil {
		q.existing = map[tagged]map[string]string{}
	}
	at := tagged{t.name, t.snapshot, key, version}
	tags, ok := q.existing[at]
	if ok {
		return tags
	}
	var o *bucket.Object
	var err error
	switch {
	case t.snapshot != "":
		// The tags are those that it had then: what is there now may be open to more people.
		var view *bucket.View
		if view, err = t.b.At(q.ctx(), t.snapshot); err == nil {
			o, err = view.Get(q.ctx(), key)
		}
	case version != "":
		o, err = t.b.GetVersion(q.ctx(), key, version)
	default:
		o, err = t.b.Head(q.ctx(), key)
	}
	switch {
	case err == nil:
		tags = o.Attrs.Tags
	case !errors.Is(err, bucket.ErrNoSuchKey) && !errors.Is(err, bucket.ErrNoSuchVersion) && !errors.Is(err, bucket.ErrMarker) && !errors.Is(err, bucket.ErrNoSuchSnapshot):
		q.unknown = fmt.Errorf("tags of %s/%s, which a policy looks at: %w", t.name, key, err)
	}
	q.existing[at] = tags
	return tags
}

// tagged is an object whose tags a policy looked at.
type tagged struct{ bucket, snapshot, key, version string }
