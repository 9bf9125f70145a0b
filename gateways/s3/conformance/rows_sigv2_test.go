package conformance

import (
	"net/http"
	"strings"
	"time"
)

// sigV2But signs a GET of an object with Version 2 and changes it before it is sent.
func sigV2But(f func(r *http.Request), status int, code string) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.get(b, "k", c.v2, changed(f)).err(status, code)
	}
}

var sigV2Rows = []row{
	{"SigV2/PutGetListDelete", func(c *C) {
		b := c.fresh()
		c.do("PUT", "/"+b, c.v2).is(200)
		c.put(b, "a b+c/é", "hello", c.v2, hdr("Content-Type", "text/plain", "Content-MD5", md5b64("hello"), "X-Amz-Meta-A", "b", "X-Amz-Acl", "private"))
		c.get(b, "a b+c/é", c.v2).is(200).text("hello").h("X-Amz-Meta-A", "b")
		c.do("GET", "/"+b+"?prefix=a&max-keys=5", c.v2).is(200).x("Contents.Key", "a b+c/é")
		c.do("GET", "/"+b+"?acl", c.v2).is(200)
		c.do("GET", "/"+b+"/"+esc("a b+c/é")+"?response-content-type=x%2Fy", c.v2).is(200).h("Content-Type", "x/y")
		c.del(b, "a b+c/é", c.v2).is(204)
	}},
	{"SigV2/Multipart", func(c *C) {
		b := c.bucket()
		id := c.upload(b, "k", c.v2)
		e := c.part(b, "k", id, 1, "text", c.v2).is(200).header.Get("ETag")
		c.complete(b, "k", id, parts(1, e), c.v2).is(200)
		c.get(b, "k", c.v2).is(200).text("text")
	}},
	{"SigV2/UnsignedTrailer", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "hello", c.v2, hdr("X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"), trailer("x-amz-checksum-crc32", "NhCmhg=="))
		c.get(b, "k").is(200).text("hello")
	}},
	{"SigV2/SignedChunks", func(c *C) {
		c.do("PUT", "/"+c.bucket()+"/k", c.v2, body("hello"), hdr("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "X-Amz-Decoded-Content-Length", "5")).err(400, "InvalidRequest")
	}},
	{"SigV2/WrongSecret", func(c *C) {
		c.do("GET", "/"+c.bucket(), c.v2, as(user{"", c.srv.main.access, "wrong"})).err(403, "SignatureDoesNotMatch").x("AWSAccessKeyId", c.srv.main.access).some("StringToSign")
	}},
	{"SigV2/UnknownKey", func(c *C) { c.do("GET", "/"+c.bucket(), c.v2, as(c.noKey())).err(403, "InvalidAccessKeyId") }},
	{"SigV2/ClockBehind", func(c *C) {
		c.do("GET", "/"+c.bucket(), c.v2, at(time.Now().Add(-time.Hour))).err(403, "RequestTimeTooSkewed")
	}},
	{"SigV2/ClockAhead", func(c *C) {
		c.do("GET", "/"+c.bucket(), c.v2, at(time.Now().Add(time.Hour))).err(403, "RequestTimeTooSkewed")
	}},
	{"SigV2/DateBefore1970", func(c *C) {
		c.do("GET", "/"+c.bucket(), c.v2, at(time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC))).err(403, "AccessDenied")
	}},
	{"SigV2/NoDate", sigV2But(func(r *http.Request) { r.Header.Del("Date") }, 403, "AccessDenied")},
	{"SigV2/EmptyDate", sigV2But(func(r *http.Request) { r.Header.Set("X-Amz-Date", "") }, 403, "AccessDenied")},
	{"SigV2/BadDate", sigV2But(func(r *http.Request) { r.Header.Set("Date", "yesterday") }, 403, "AccessDenied")},
	{"SigV2/PathChanged", sigV2But(func(r *http.Request) { r.URL.Path += "x" }, 403, "SignatureDoesNotMatch")},
	{"SigV2/SubresourceAdded", sigV2But(func(r *http.Request) { r.URL.RawQuery = "retention" }, 403, "SignatureDoesNotMatch")},
	{"SigV2/HeaderAdded", sigV2But(func(r *http.Request) { r.Header.Set("X-Amz-Meta-A", "b") }, 403, "SignatureDoesNotMatch")},
	{"SigV2/Malformed", sigV2But(func(r *http.Request) { r.Header.Set("Authorization", "AWS nonsense") }, 400, "InvalidArgument")},
	{"SigV2/HeaderAndQuery", sigV2But(func(r *http.Request) { r.URL.RawQuery = "Signature=x" }, 400, "InvalidArgument")},
	{"SigV2/Version4StillWorks", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", c.v2)
		url := c.srv.url
		defer func() { c.srv.url = url }()
		if c.srv.v2 == "" {
			panic(needs{"-endpoint-v2"})
		}
		c.srv.url = c.srv.v2
		c.get(b, "k").is(200).text("v")
		c.get(b, "k", presigned(time.Minute)).is(200).text("v")
		c.get(b, "k", anon).err(403, "AccessDenied")
	}},
	{"SigV2/PolicyOnVersion", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.do("PUT", "/"+b+"?policy", body(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::`+b+`/*","Condition":{"StringEquals":{"s3:signatureversion":"AWS"}}}]}`)).is(204)
		c.get(b, "k", c.v2).err(403, "AccessDenied")
		c.get(b, "k").is(200)
	}},
	{"SigV2/PresignedGet", func(c *C) {
		b := c.bucket()
		c.put(b, "a b+c/é", "v")
		c.get(b, "a b+c/é", c.v2, presigned(time.Minute)).is(200).text("v")
		c.do("GET", "/"+b+"/"+esc("a b+c/é")+"?response-content-type=x%2Fy", c.v2, presigned(time.Minute)).is(200).h("Content-Type", "x/y")
	}},
	{"SigV2/PresignedPut", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "by anybody", c.v2, presigned(time.Minute), hdr("Content-Type", "text/plain"))
		c.get(b, "k").is(200).text("by anybody").h("Content-Type", "text/plain")
	}},
	{"SigV2/PresignedExpired", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.get(b, "k", c.v2, presigned(time.Minute), at(time.Now().Add(-time.Hour))).err(403, "AccessDenied").some("Expires").some("ServerTime")
	}},
	{"SigV2/PresignedExpiryChanged", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.get(b, "k", c.v2, presigned(time.Minute), changed(func(r *http.Request) { r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "Expires=", "Expires=9", 1) })).err(403, "SignatureDoesNotMatch")
	}},
	{"SigV2/PresignedNoExpiry", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.get(b, "k", c.v2, presigned(time.Minute), changed(func(r *http.Request) { r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "Expires=", "Expired=", 1) })).err(403, "AccessDenied")
	}},
	{"SigV2/PresignedOtherMethod", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.get(b, "k", c.v2, presigned(time.Minute), changed(func(r *http.Request) { r.Method = "DELETE" })).err(403, "SignatureDoesNotMatch")
	}},
}
