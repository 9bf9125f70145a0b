package conformance

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// ranged wants a range of a 16-byte object.
func ranged(header, contentRange, text string) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		c.put(b, "k", "0123456789abcdef")
		if contentRange == "" {
			c.get(b, "k", hdr("Range", header)).is(200).text(text).h("Content-Range", "")
			return
		}
		c.get(b, "k", hdr("Range", header)).is(206).text(text).h("Content-Range", contentRange).h("Content-Length", fmt.Sprint(len(text))).h("Accept-Ranges", "bytes").h("Etag", etag("0123456789abcdef"))
		c.head(b, "k", hdr("Range", header)).is(206).h("Content-Range", contentRange).h("Content-Length", fmt.Sprint(len(text)))
	}
}

func unsatisfiable(header, text string) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		c.put(b, "k", text)
		c.get(b, "k", hdr("Range", header)).err(416, "InvalidRange").x("ActualObjectSize", fmt.Sprint(len(text))).x("RangeRequested", header)
	}
}

// conditional reads an object under a condition; the header's value may be made of its entity tag or time.
func conditional(name, value string, status int) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		r := c.put(b, "k", "v")
		modified, err := http.ParseTime(c.head(b, "k").is(200).header.Get("Last-Modified"))
		if err != nil {
			fail("%v", err)
		}
		names, values := strings.Split(name, "|"), strings.Split(strings.NewReplacer(
			"ETAG", r.header.Get("Etag"), "BARE", md5hex("v"), "SAME", httpTime(modified),
			"BEFORE", httpTime(modified.Add(-time.Hour)), "AFTER", httpTime(modified.Add(-time.Second).Add(2*time.Second))).Replace(value), "|")
		var o []opt
		for i, n := range names {
			o = append(o, hdr(n, values[i]))
		}
		c.head(b, "k", o...).is(status).text("")
		got := c.get(b, "k", o...)
		switch status {
		case 304:
			got.is(304).text("").h("Etag", r.header.Get("Etag")).h("Content-Type", "")
		case 412:
			got.err(412, "PreconditionFailed").some("Condition")
		default:
			got.is(status).text("v")
		}
	}
}

// keyed stores, reads, lists and deletes an object with a key that is hard to carry.
func keyed(key string) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		c.put(b, key, "v")
		c.get(b, key).is(200).text("v")
		got := c.do("GET", "/"+b+"?encoding-type=url").is(200).x("EncodingType", "url").first("Contents.Key")
		if got != esc(key) {
			fail("listed as %q, want %q", got, esc(key))
		}
		c.copyTo(b, "copy", "/"+b+"/"+esc(key)).is(200)
		c.do("POST", "/"+b+"?delete", doc("<Delete><Object><Key>"+xmlText(key)+"</Key></Object></Delete>")).is(200).x("Deleted.Key", key)
		c.get(b, key).err(404, "NoSuchKey")
	}
}

func xmlText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\n", "&#10;", "\r", "&#13;", "\t", "&#9;").Replace(s)
}

// badPut is a PUT with a header that is refused.
func badPut(status int, code string, kv ...string) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		c.do("PUT", "/"+b+"/k", body("hello"), hdr(kv...)).err(status, code)
		c.get(b, "k").err(404, "NoSuchKey")
	}
}

// kept is a header that an object keeps.
func kept(name, value string) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", hdr(name, value))
		c.get(b, "k").is(200).h(name, value).text("v")
		c.head(b, "k").is(200).h(name, value)
		c.copyTo(b, "c", b+"/k").is(200)
		c.head(b, "c").is(200).h(name, value)
		c.put(b, "k", "v")
		if got := c.head(b, "k").is(200).header.Get(name); got == value {
			fail("%s survives being overwritten", name)
		}
	}
}

var objectRows = []row{
	{"PutObject/Plain", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "hello").h("Etag", etag("hello")).text("")
		r := c.get(b, "k").is(200).text("hello").h("Etag", etag("hello")).h("Content-Length", "5").h("Content-Type", "binary/octet-stream").h("Accept-Ranges", "bytes").hset("Last-Modified")
		if at, err := http.ParseTime(r.header.Get("Last-Modified")); err != nil || time.Since(at).Abs() > time.Hour {
			fail("last modified %v, %v", at, err)
		}
	}},
	{"PutObject/Empty", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "").h("Etag", etag(""))
		c.get(b, "k").is(200).text("").h("Content-Length", "0")
		c.head(b, "k").is(200).h("Content-Length", "0").h("Etag", etag(""))
	}},
	{"PutObject/Overwrite", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "one")
		c.put(b, "k", "two!")
		c.get(b, "k").is(200).text("two!").h("Etag", etag("two!"))
		c.do("GET", "/"+b).is(200).x("Contents.Key", "k").x("Contents.Size", "4")
	}},
	{"PutObject/1MiB", func(c *C) {
		b, text := c.bucket(), strings.Repeat("0123456789abcdef", 1<<16)
		c.put(b, "k", text)
		c.get(b, "k").is(200).text(text).h("Etag", etag(text))
	}},
	{"PutObject/NoBucket", func(c *C) {
		b := c.fresh()
		c.do("PUT", "/"+b+"/k", body("x")).err(404, "NoSuchBucket").x("BucketName", b)
	}},
	{"PutObject/OthersBucket", func(c *C) { c.do("PUT", "/"+c.bucket()+"/k", body("x"), as(c.other())).err(403, "AccessDenied") }},
	{"PutObject/Anonymous", func(c *C) { c.do("PUT", "/"+c.bucket()+"/k", body("x"), anon).err(403, "AccessDenied") }},
	{"PutObject/SDK", func(c *C) {
		b, s := c.bucket(), c.sdk()
		out := ok(s.PutObject(context.Background(), &awss3.PutObjectInput{Bucket: &b, Key: aws.String("a b+c"), Body: strings.NewReader("hello"), Metadata: map[string]string{"a": "b"}}))
		if aws.ToString(out.ETag) != etag("hello") || aws.ToString(out.ChecksumCRC32) == "" {
			fail("%+v", out)
		}
		g := ok(s.GetObject(context.Background(), &awss3.GetObjectInput{Bucket: &b, Key: aws.String("a b+c"), ChecksumMode: types.ChecksumModeEnabled}))
		text, err := io.ReadAll(g.Body)
		g.Body.Close()
		if err != nil || string(text) != "hello" || g.Metadata["a"] != "b" || aws.ToString(g.ChecksumCRC32) != aws.ToString(out.ChecksumCRC32) {
			fail("%q %v %+v", text, err, g)
		}
	}},
	{"PutObject/SDKStream", func(c *C) {
		b := c.bucket()
		text := strings.Repeat("stream", 50_000)
		ok(c.sdk(func(o *awss3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired }).PutObject(context.Background(),
			&awss3.PutObjectInput{Bucket: &b, Key: aws.String("k"), Body: strings.NewReader(text)}))
		c.get(b, "k").is(200).text(text)
	}},
	{"PutObject/SignedChunks", func(c *C) {
		b, text := c.bucket(), strings.Repeat("chunk", 5000)
		c.put(b, "k", text, chunked)
		c.get(b, "k").is(200).text(text).h("Content-Encoding", "")
	}},
	{"PutObject/SignedChunks/Tampered", func(c *C) {
		b, text := c.bucket(), strings.Repeat("chunk", 5000)
		c.do("PUT", "/"+b+"/k", body(text), chunked, changed(func(r *http.Request) {
			all, _ := io.ReadAll(r.Body)
			all[len(all)/2] ^= 1
			setBody(r, all)
		})).err(403, "SignatureDoesNotMatch")
		c.get(b, "k").err(404, "NoSuchKey")
	}},
	{"PutObject/SignedChunks/NoDecodedLength", func(c *C) {
		c.do("PUT", "/"+c.bucket()+"/k", body("x"), payload("STREAMING-AWS4-HMAC-SHA256-PAYLOAD")).err(411, "MissingContentLength")
	}},
	{"PutObject/Trailer", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "hello", trailer("x-amz-checksum-crc32", "NhCmhg==")).h("X-Amz-Checksum-Crc32", "NhCmhg==")
		c.get(b, "k").is(200).text("hello")
	}},
	{"PutObject/Trailer/Wrong", func(c *C) {
		b := c.bucket()
		c.do("PUT", "/"+b+"/k", body("hello"), trailer("x-amz-checksum-crc32", "AAAAAA==")).err(400, "BadDigest")
		c.get(b, "k").err(404, "NoSuchKey")
	}},
	{"PutObject/ContentEncoding/AwsChunked", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", hdr("Content-Encoding", "gzip,aws-chunked"))
		c.head(b, "k").is(200).h("Content-Encoding", "gzip")
		c.put(b, "k", "v", hdr("Content-Encoding", "aws-chunked"))
		c.head(b, "k").is(200).h("Content-Encoding", "")
	}},
	{"PutObject/Header/CacheControl", kept("Cache-Control", "public, max-age=14400")},
	{"PutObject/Header/Expires", kept("Expires", "Wed, 21 Oct 2037 07:28:00 GMT")},
	{"PutObject/Header/ContentType", kept("Content-Type", "text/x-conformance; charset=utf-8")},
	{"PutObject/Header/ContentDisposition", kept("Content-Disposition", `attachment; filename="a b.txt"`)},
	{"PutObject/Header/ContentLanguage", kept("Content-Language", "de, en")},
	{"PutObject/Header/ContentEncoding", kept("Content-Encoding", "gzip")},
	{"PutObject/Header/WebsiteRedirect", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", hdr("X-Amz-Website-Redirect-Location", "/elsewhere"))
		c.head(b, "k").is(200).h("X-Amz-Website-Redirect-Location", "/elsewhere")
	}},
	{"PutObject/Metadata", kept("X-Amz-Meta-Some-Name", "some value")},
	{"PutObject/Metadata/Replaced", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", hdr("X-Amz-Meta-A", "1"))
		c.put(b, "k", "v", hdr("X-Amz-Meta-B", "2"))
		c.head(b, "k").is(200).h("X-Amz-Meta-A", "").h("X-Amz-Meta-B", "2")
	}},
	{"PutObject/Metadata/EmptyValue", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", hdr("X-Amz-Meta-A", ""))
		if r := c.head(b, "k").is(200); len(r.header.Values("X-Amz-Meta-A")) != 1 {
			fail("%v", r.header)
		}
	}},
	{"PutObject/Metadata/Unicode", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", hdr("X-Amz-Meta-A", "=?UTF-8?B?SGVsbG8gV29ybGTDqQ==?="))
		c.head(b, "k").is(200).h("X-Amz-Meta-A", "=?UTF-8?B?SGVsbG8gV29ybGTDqQ==?=")
	}},
	{"PutObject/Metadata/TooLarge", badPut(400, "MetadataTooLarge", "X-Amz-Meta-A", strings.Repeat("a", 2048))},
	{"PutObject/Metadata/2KiB", func(c *C) { c.put(c.bucket(), "k", "v", hdr("X-Amz-Meta-A", strings.Repeat("a", 2047))) }},
	{"PutObject/ContentMD5/Good", func(c *C) { c.put(c.bucket(), "k", "hello", hdr("Content-MD5", md5b64("hello"))) }},
	{"PutObject/ContentMD5/Wrong", badPut(400, "BadDigest", "Content-MD5", md5b64("other"))},
	{"PutObject/ContentMD5/Short", badPut(400, "InvalidDigest", "Content-MD5", "YWJyYWNhZGFicmE=")},
	{"PutObject/ContentMD5/NotBase64", badPut(400, "InvalidDigest", "Content-MD5", "!")},
	{"PutObject/ContentMD5/Empty", badPut(400, "InvalidDigest", "Content-MD5", "")},
	{"PutObject/PayloadHash/Wrong", func(c *C) {
		b := c.bucket()
		c.do("PUT", "/"+b+"/k", body("hello"), payload(sha256hex([]byte("other")))).err(400, "XAmzContentSHA256Mismatch").some("ClientComputedContentSHA256").some("S3ComputedContentSHA256")
		c.get(b, "k").err(404, "NoSuchKey")
	}},
	{"PutObject/PayloadHash/Invalid", func(c *C) {
		c.do("PUT", "/"+c.bucket()+"/k", body("hello"), payload("nonsense")).err(400, "InvalidArgument")
	}},
	{"PutObject/PayloadHash/Unsigned", func(c *C) { c.put(c.bucket(), "k", "hello", payload(unsigned)) }},
	{"PutObject/LengthUnknown", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "hello", payload(unsigned), func(q *req) { q.noLength = true })
		c.put(b, "large", fiveMiB, func(q *req) { q.noLength = true })
		c.get(b, "k").is(200).text("hello").h("Content-Length", "5")
		c.get(b, "large").is(200).text(fiveMiB)
		c.do("PUT", "/"+b+"/k", body("other"), payload(sha256hex([]byte("others"))), func(q *req) { q.noLength = true }).err(400, "XAmzContentSHA256Mismatch")
		c.get(b, "k").is(200).text("hello")
	}},
	{"PutObject/KeyTooLong", func(c *C) {
		b := c.bucket()
		c.do("PUT", "/"+b+"/"+strings.Repeat("k", 1025), body("x")).err(400, "KeyTooLongError").x("MaxSizeAllowed", "1024").x("Size", "1025")
		c.put(b, strings.Repeat("k", 1024), "x")
	}},
	{"PutObject/StorageClass/Standard", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", hdr("X-Amz-Storage-Class", "STANDARD"))
		c.head(b, "k").is(200).h("X-Amz-Storage-Class", "")
		c.do("GET", "/"+b).x("Contents.StorageClass", "STANDARD")
	}},
	{"PutObject/StorageClass/Other", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", hdr("X-Amz-Storage-Class", "STANDARD_IA"))
		c.head(b, "k").is(200).h("X-Amz-Storage-Class", "STANDARD_IA")
		c.do("GET", "/"+b).x("Contents.StorageClass", "STANDARD_IA")
	}},
	{"PutObject/StorageClass/Unknown", badPut(400, "InvalidStorageClass", "X-Amz-Storage-Class", "PAPER")},
	{"PutObject/IfNoneMatchStar/absent", func(c *C) { c.put(c.bucket(), "k", "v", hdr("If-None-Match", "*")) }},
	{"PutObject/IfNoneMatchStar/exists", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.do("PUT", "/"+b+"/k", body("new"), hdr("If-None-Match", "*")).err(412, "PreconditionFailed").x("Condition", "If-None-Match")
		c.get(b, "k").is(200).text("v")
	}},
	{"PutObject/IfNoneMatchETag", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", hdr("If-None-Match", etag("v")))
		c.put(b, "k", "new", hdr("If-None-Match", etag("other")))
		c.do("PUT", "/"+b+"/k", body("newer"), hdr("If-None-Match", etag("new"))).err(412, "PreconditionFailed")
		c.get(b, "k").is(200).text("new")
	}},
	{"PutObject/IfMatchAndIfNoneMatch", func(c *C) {
		c.do("PUT", "/"+c.bucket()+"/k", body("v"), hdr("If-None-Match", "*", "If-Match", "*")).err(501, "NotImplemented")
	}},
	{"PutObject/IfMatch/same", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.put(b, "k", "new", hdr("If-Match", etag("v")))
		c.get(b, "k").is(200).text("new")
	}},
	{"PutObject/IfMatch/unquoted", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.put(b, "k", "new", hdr("If-Match", md5hex("v")))
	}},
	{"PutObject/IfMatch/other", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.do("PUT", "/"+b+"/k", body("new"), hdr("If-Match", etag("x"))).err(412, "PreconditionFailed").x("Condition", "If-Match")
		c.get(b, "k").is(200).text("v")
	}},
	{"PutObject/IfMatch/absent", func(c *C) {
		c.do("PUT", "/"+c.bucket()+"/k", body("new"), hdr("If-Match", etag("v"))).err(404, "NoSuchKey")
	}},
	{"PutObject/WriteOffset", func(c *C) {
		c.do("PUT", "/"+c.bucket()+"/k", body("x"), hdr("X-Amz-Write-Offset-Bytes", "0")).err(501, "NotImplemented")
	}},
	{"PutObject/ExpectContinue", func(c *C) { c.put(c.bucket(), "k", "v", hdr("Expect", "100-continue")) }},
	{"PutObject/Key/Slashes", keyed("a//b///c/")},
	{"PutObject/Key/Dots", keyed("../a/./b/..")},
	{"PutObject/Key/Space", keyed("a b  c ")},
	{"PutObject/Key/Plus", keyed("a+b+c")},
	{"PutObject/Key/Percent", keyed("100%/%41")},
	{"PutObject/Key/Question", keyed("what?a=b&c")},
	{"PutObject/Key/XML", keyed(`<a>&"'`)},
	{"PutObject/Key/Unicode", keyed("日本語/é/🙂")},
	{"PutObject/Key/Newline", keyed("a\nb")},
	{"PutObject/Key/Underscore", keyed("_bla/1")},
	{"PutObject/Key/SubresourceName", keyed("acl")},
	{"PutObject/Key/Brackets", keyed("(a)[b]{c}|^~`!@#$*=;:,'")},
	{"PutObject/Key/NotUTF8", func(c *C) { c.do("PUT", "/"+c.bucket()+"/%ff%fe", body("x")).is(400) }},
	{"PutObject/Key/Control", func(c *C) {
		b := c.bucket()
		c.put(b, "a\x01b", "v")
		c.get(b, "a\x01b").is(200).text("v")
		c.do("GET", "/"+b+"?encoding-type=url").is(200).x("Contents.Key", "a%01b")
	}},

	{"GetObject/Missing", func(c *C) { c.get(c.bucket(), "k").err(404, "NoSuchKey").x("Key", "k") }},
	{"GetObject/NoBucket", func(c *C) { c.get(c.fresh(), "k").err(404, "NoSuchBucket") }},
	{"GetObject/Others", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.get(b, "k", as(c.other())).err(403, "AccessDenied")
		c.get(b, "none", as(c.other())).err(403, "AccessDenied")
		c.head(b, "k", as(c.other())).is(403).text("")
		c.del(b, "k", as(c.other())).err(403, "AccessDenied")
	}},
	{"GetObject/Anonymous", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.get(b, "k", anon).err(403, "AccessDenied")
	}},
	{"GetObject/SDKMissing", func(c *C) {
		_, err := c.sdk().GetObject(context.Background(), &awss3.GetObjectInput{Bucket: aws.String(c.bucket()), Key: aws.String("k")})
		refused(err, 404, "NoSuchKey")
	}},
	{"GetObject/Range/First", ranged("bytes=0-3", "bytes 0-3/16", "0123")},
	{"GetObject/Range/Middle", ranged("bytes=4-7", "bytes 4-7/16", "4567")},
	{"GetObject/Range/OneByte", ranged("bytes=15-15", "bytes 15-15/16", "f")},
	{"GetObject/Range/Open", ranged("bytes=4-", "bytes 4-15/16", "456789abcdef")},
	{"GetObject/Range/Suffix", ranged("bytes=-7", "bytes 9-15/16", "9abcdef")},
	{"GetObject/Range/LongSuffix", ranged("bytes=-100", "bytes 0-15/16", "0123456789abcdef")},
	{"GetObject/Range/BeyondEnd", ranged("bytes=10-100", "bytes 10-15/16", "abcdef")},
	{"GetObject/Range/Several", ranged("bytes=0-1,3-4", "", "0123456789abcdef")},
	{"GetObject/Range/Backwards", ranged("bytes=9-3", "", "0123456789abcdef")},
	{"GetObject/Range/Nonsense", ranged("bytes=a-b", "", "0123456789abcdef")},
	{"GetObject/Range/OtherUnit", ranged("lines=0-1", "", "0123456789abcdef")},
	{"GetObject/Range/AfterEnd", unsatisfiable("bytes=40-50", "0123456789")},
	{"GetObject/Range/OpenAfterEnd", unsatisfiable("bytes=10-", "0123456789")},
	{"GetObject/Range/EmptyObject", unsatisfiable("bytes=40-50", "")},
	{"GetObject/Range/SuffixZero", unsatisfiable("bytes=-0", "0123456789")},
	{"GetObject/Conditions/IfMatch/good", conditional("If-Match", "ETAG", 200)},
	{"GetObject/Conditions/IfMatch/unquoted", conditional("If-Match", "BARE", 200)},
	{"GetObject/Conditions/IfMatch/star", conditional("If-Match", "*", 200)},
	{"GetObject/Conditions/IfMatch/bad", conditional("If-Match", `"ABCORZ"`, 412)},
	{"GetObject/Conditions/IfMatch/list", conditional("If-Match", `"ABCORZ", ETAG`, 200)},
	{"GetObject/Conditions/IfNoneMatch/good", conditional("If-None-Match", "ETAG", 304)},
	{"GetObject/Conditions/IfNoneMatch/bad", conditional("If-None-Match", `"ABCORZ"`, 200)},
	{"GetObject/Conditions/IfModifiedSince/before", conditional("If-Modified-Since", "BEFORE", 200)},
	{"GetObject/Conditions/IfModifiedSince/same", conditional("If-Modified-Since", "SAME", 304)},
	{"GetObject/Conditions/IfModifiedSince/nonsense", conditional("If-Modified-Since", "yesterday", 200)},
	{"GetObject/Conditions/IfUnmodifiedSince/before", conditional("If-Unmodified-Since", "BEFORE", 412)},
	{"GetObject/Conditions/IfUnmodifiedSince/same", conditional("If-Unmodified-Since", "SAME", 200)},
	{"GetObject/Conditions/IfMatchGood+IfUnmodifiedSinceBefore", conditional("If-Match|If-Unmodified-Since", "ETAG|BEFORE", 200)},
	{"GetObject/Conditions/IfNoneMatchGood+IfModifiedSinceBefore", conditional("If-None-Match|If-Modified-Since", "ETAG|BEFORE", 304)},
	{"GetObject/Conditions/IfNoneMatchBad+IfModifiedSinceSame", conditional("If-None-Match|If-Modified-Since", `"ABCORZ"|SAME`, 200)},
	{"GetObject/Overrides", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", hdr("Content-Type", "a/b"))
		c.do("GET", "/"+b+"/k?response-cache-control=no-cache&response-content-disposition=bla&response-content-encoding=aaa&response-content-language=esperanto&response-content-type=foo%2Fbar&response-expires=123").is(200).
			h("Cache-Control", "no-cache").h("Content-Disposition", "bla").h("Content-Encoding", "aaa").h("Content-Language", "esperanto").h("Content-Type", "foo/bar").h("Expires", "123").text("v")
		c.get(b, "k").h("Content-Type", "a/b")
	}},
	{"GetObject/PartNumber/SinglePart", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "hello")
		c.do("GET", "/"+b+"/k?partNumber=1").is(206).text("hello").h("Content-Range", "bytes 0-4/5").h("X-Amz-Mp-Parts-Count", "")
		c.do("GET", "/"+b+"/k?partNumber=2").err(400, "InvalidPart")
	}},
	{"GetObject/PartNumber/Invalid", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "hello")
		for _, n := range []string{"0", "10001", "x", "-1"} {
			c.do("GET", "/"+b+"/k?partNumber="+n).err(400, "InvalidArgument")
		}
	}},
	{"GetObject/Torrent", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "hello")
		c.do("GET", "/"+b+"/k?torrent").err(404, "NoSuchKey")
	}},
	{"HeadObject/Plain", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "hello")
		c.head(b, "k").is(200).h("Content-Length", "5").h("Etag", etag("hello")).h("Content-Type", "binary/octet-stream").hset("Last-Modified").text("")
	}},
	{"HeadObject/Missing", func(c *C) { c.head(c.bucket(), "k").is(404).text("") }},
	{"HeadObject/NoBucket", func(c *C) { c.head(c.fresh(), "k").is(404).text("") }},
	{"HeadObject/SDK", func(c *C) {
		b := c.bucket()
		_, err := c.sdk().HeadObject(context.Background(), &awss3.HeadObjectInput{Bucket: &b, Key: aws.String("k")})
		refused(err, 404, "NotFound")
	}},
	{"HeadObject/Overrides", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.do("HEAD", "/"+b+"/k?response-content-type=foo%2Fbar").is(200).h("Content-Type", "foo/bar")
	}},

	{"DeleteObject/Plain", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.del(b, "k").is(204).text("").h("X-Amz-Delete-Marker", "").h("X-Amz-Version-Id", "")
		c.get(b, "k").err(404, "NoSuchKey")
	}},
	{"DeleteObject/Missing", func(c *C) { c.del(c.bucket(), "k").is(204) }},
	{"DeleteObject/NoBucket", func(c *C) { c.del(c.fresh(), "k").err(404, "NoSuchBucket") }},
	{"DeleteObject/IfMatch/same", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.del(b, "k", hdr("If-Match", etag("v"))).is(204)
	}},
	{"DeleteObject/IfMatch/other", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.del(b, "k", hdr("If-Match", etag("x"))).err(412, "PreconditionFailed")
		c.get(b, "k").is(200)
	}},
	{"DeleteObject/IfMatch/star", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.del(b, "k", hdr("If-Match", "*")).is(204)
		c.get(b, "k").err(404, "NoSuchKey")
	}},
	{"DeleteObject/IfMatch/absent", func(c *C) {
		b := c.bucket()
		c.del(b, "k", hdr("If-Match", etag("x"))).is(204)
		c.del(b, "k", hdr("X-Amz-If-Match-Size", "3")).is(204)
		c.del(b, "k", hdr("X-Amz-If-Match-Last-Modified-Time", httpTime(time.Now()))).is(204)
	}},
	{"DeleteObject/IfMatchSize", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.del(b, "k", hdr("X-Amz-If-Match-Size", "2")).err(412, "PreconditionFailed")
		c.del(b, "k", hdr("X-Amz-If-Match-Size", "-1")).err(400, "InvalidArgument")
		c.del(b, "k", hdr("X-Amz-If-Match-Size", "1")).is(204)
		c.get(b, "k").err(404, "NoSuchKey")
	}},
	{"DeleteObject/IfMatchLastModified", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		at := ok(http.ParseTime(c.head(b, "k").is(200).header.Get("Last-Modified")))
		c.del(b, "k", hdr("X-Amz-If-Match-Last-Modified-Time", httpTime(at.Add(-time.Minute)))).err(412, "PreconditionFailed")
		c.del(b, "k", hdr("X-Amz-If-Match-Last-Modified-Time", "yesterday")).err(400, "InvalidArgument")
		c.del(b, "k", hdr("X-Amz-If-Match-Last-Modified-Time", at.UTC().Format(time.RFC3339))).is(204)
		c.get(b, "k").err(404, "NoSuchKey")
	}},
	{"DeleteObjects/Conditions", func(c *C) {
		b := c.bucket()
		c.puts(b, "a", "b", "c", "d")
		at := httpTime(ok(http.ParseTime(c.head(b, "a").is(200).header.Get("Last-Modified"))).Add(-time.Minute))
		c.do("POST", "/"+b+"?delete", doc("<Delete><Object><Key>a</Key><ETag>"+md5hex("other")+"</ETag></Object><Object><Key>b</Key><Size>77</Size></Object>"+
			"<Object><Key>c</Key><LastModifiedTime>"+at+"</LastModifiedTime></Object><Object><Key>d</Key><ETag>*</ETag></Object><Object><Key>none</Key><Size>1</Size></Object></Delete>")).
			is(200).x("Error.Key", "a", "b", "c").x("Error.Code", "PreconditionFailed", "PreconditionFailed", "PreconditionFailed").x("Deleted.Key", "d", "none")
		c.do("GET", "/"+b).x("Contents.Key", "a", "b", "c")
	}},
	{"DeleteObject/IfMatch/Version", func(c *C) {
		b := c.versioned()
		c.put(b, "k", "v")
		marker := c.del(b, "k").is(204).header.Get("X-Amz-Version-Id")
		c.del(b, "k", hdr("If-Match", etag("v"))).err(412, "PreconditionFailed")
		c.do("DELETE", "/"+b+"/k?versionId="+marker, hdr("If-Match", etag("v"))).err(412, "PreconditionFailed")
		c.do("DELETE", "/"+b+"/k?versionId="+marker, hdr("If-Match", "*")).is(204)
		c.get(b, "k").is(200).text("v")
	}},
	{"DeleteObjects/Several", func(c *C) {
		b := c.bucket()
		c.puts(b, "a", "b", "c")
		c.do("POST", "/"+b+"?delete", doc("<Delete><Object><Key>a</Key></Object><Object><Key>none</Key></Object><Object><Key>c</Key></Object></Delete>")).is(200).root("DeleteResult").x("Deleted.Key", "a", "none", "c").x("Error")
		c.do("GET", "/"+b).x("Contents.Key", "b")
	}},
	{"DeleteObjects/Quiet", func(c *C) {
		b := c.bucket()
		c.puts(b, "a", "b")
		c.do("POST", "/"+b+"?delete", doc("<Delete><Quiet>true</Quiet><Object><Key>a</Key></Object><Object><Key>b</Key></Object></Delete>")).is(200).root("DeleteResult").x("Deleted")
		c.do("GET", "/"+b).x("Contents.Key")
	}},
	{"DeleteObjects/Empty", func(c *C) { c.do("POST", "/"+c.bucket()+"?delete", doc("<Delete></Delete>")).err(400, "MalformedXML") }},
	{"DeleteObjects/Malformed", func(c *C) { c.do("POST", "/"+c.bucket()+"?delete", doc("<Delete><Obj")).err(400, "MalformedXML") }},
	{"DeleteObjects/1001", func(c *C) {
		c.do("POST", "/"+c.bucket()+"?delete", doc("<Delete>"+strings.Repeat("<Object><Key>k</Key></Object>", 1001)+"</Delete>")).err(400, "MalformedXML")
	}},
	{"DeleteObjects/1000", func(c *C) {
		var d strings.Builder
		for i := range 1000 {
			fmt.Fprintf(&d, "<Object><Key>k%d</Key></Object>", i)
		}
		if r := c.do("POST", "/"+c.bucket()+"?delete", doc("<Delete>"+d.String()+"</Delete>")).is(200); len(r.all("Deleted.Key")) != 1000 {
			fail("%v", r)
		}
	}},
	{"DeleteObjects/NoDigest", func(c *C) {
		c.do("POST", "/"+c.bucket()+"?delete", body("<Delete><Object><Key>a</Key></Object></Delete>")).err(400, "InvalidRequest")
	}},
	{"DeleteObjects/WrongDigest", func(c *C) {
		c.do("POST", "/"+c.bucket()+"?delete", body("<Delete><Object><Key>a</Key></Object></Delete>"), hdr("Content-MD5", md5b64("x"))).err(400, "BadDigest")
	}},
	{"DeleteObjects/ETag", func(c *C) {
		b := c.bucket()
		c.puts(b, "a", "b")
		r := c.do("POST", "/"+b+"?delete", doc("<Delete><Object><Key>a</Key><ETag>"+etag("a")+"</ETag></Object><Object><Key>b</Key><ETag>"+etag("a")+"</ETag></Object></Delete>")).is(200)
		r.x("Deleted.Key", "a").x("Error.Key", "b").x("Error.Code", "PreconditionFailed")
	}},
	{"DeleteObjects/SDK", func(c *C) {
		b := c.bucket()
		c.puts(b, "a", "b")
		out := ok(c.sdk().DeleteObjects(context.Background(), &awss3.DeleteObjectsInput{Bucket: &b, Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: aws.String("a")}, {Key: aws.String("b")}}}}))
		if len(out.Deleted) != 2 || len(out.Errors) != 0 {
			fail("%+v", out)
		}
	}},
	{"DeleteObjects/NoBucket", func(c *C) {
		c.do("POST", "/"+c.fresh()+"?delete", doc("<Delete><Object><Key>a</Key></Object></Delete>")).err(404, "NoSuchBucket")
	}},
	{"DeleteObjects/Others", func(c *C) {
		b, o := c.bucket(), c.other()
		c.put(b, "a", "v")
		if r := c.do("POST", "/"+b+"?delete", as(o), doc("<Delete><Object><Key>a</Key></Object></Delete>")); r.status == 200 {
			r.x("Error.Code", "AccessDenied")
		} else {
			r.err(403, "AccessDenied")
		}
		c.get(b, "a").is(200)
	}},
	{"SelectObjectContent/Answered", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "a,b")
		r := c.do("POST", "/"+b+"/k?select&select-type=2", body(`<SelectObjectContentRequest><Expression>select * from S3Object</Expression><ExpressionType>SQL</ExpressionType><InputSerialization><CSV/></InputSerialization><OutputSerialization><CSV/></OutputSerialization></SelectObjectContentRequest>`))
		if r.status != 200 {
			r.err(501, "NotImplemented")
		}
	}},
	{"RestoreObject/NotArchived", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "a")
		c.do("POST", "/"+b+"/k?restore", body("<RestoreRequest><Days>1</Days></RestoreRequest>")).err(403, "InvalidObjectState")
	}},
	{"RestoreObject/Missing", func(c *C) {
		c.do("POST", "/"+c.bucket()+"/k?restore", body("<RestoreRequest><Days>1</Days></RestoreRequest>")).err(404, "NoSuchKey")
	}},
}
