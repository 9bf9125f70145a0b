package s3

import (
	"net/http"
	"slices"
	"strings"
)

// reserved are beginnings and ends that names of new buckets may not have: Amazon keeps them for itself.
var reserved = struct{ prefixes, suffixes []string }{
	[]string{"xn--", "sthree-", "amzn-s3-demo-"},
	[]string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"},
}

func reservedName(name string) bool {
	return slices.ContainsFunc(reserved.prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) ||
		slices.ContainsFunc(reserved.suffixes, func(s string) bool { return strings.HasSuffix(name, s) })
}

// detail adds to an error what it is about, as S3 does: programs read these
// elements. What an operation has said already stays.
func (q *request) detail(e *apiError) {
	add := func(name, value string) {
		if value != "" && !slices.ContainsFunc(e.Extra, func(x extra) bool { return x.name == name }) {
			e.with(name, value)
		}
	}
	switch e.Code {
	case "NoSuchBucket", "BucketNotEmpty":
		add("BucketName", q.bucket)
	case "NoSuchKey":
		add("Key", q.key)
	case "NoSuchUpload":
		add("UploadId", q.query.Get("uploadId"))
	case "MethodNotAllowed":
		add("Method", q.r.Method)
		add("ResourceType", q.resourceType())
	case "PreconditionFailed":
		// Of a write; reads and copies know better.
		switch h := q.r.Header; {
		case h.Get("If-None-Match") != "":
			add("Condition", "If-None-Match")
		case h.Get("If-Match") != "":
			add("Condition", "If-Match")
		}
	}
}

// digested wants a digest of the body, for operations that S3 does not take without one.
func digested(h http.Header) *apiError {
	if len(h.Values("Content-Md5")) > 0 {
		return nil
	}
	for name := range h {
		if strings.HasPrefix(name, "X-Amz-Checksum-") {
			return nil
		}
	}
	if strings.Contains(strings.ToLower(h.Get("X-Amz-Trailer")), checksumPrefix) {
		return nil
	}
	return apiErr("InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
}

// resourceType is what S3 calls the kind of thing that a request is about.
func (q *request) resourceType() string {
	switch {
	case q.bucket == "":
		return "SERVICE"
	case q.key == "":
		return "BUCKET"
	case q.query.Has("uploadId"):
		return "UPLOAD"
	}
	return "OBJECT"
}
