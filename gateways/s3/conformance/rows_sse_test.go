package conformance

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// ways are the ways of encrypting an object: what says so in a request, what reading it takes, and what answers say.
type way struct {
	name   string
	put    opt // headers of a put, copy or beginning of an upload
	source opt // of a copy from it
	read   opt
	header string
	value  string
}

var ways = []way{
	{"Plain", nothing, nothing, nothing, "X-Amz-Server-Side-Encryption", ""},
	{"SSE-S3", sseS3, nothing, nothing, "X-Amz-Server-Side-Encryption", "AES256"},
	{"SSE-KMS", sseKMS, nothing, nothing, "X-Amz-Server-Side-Encryption", "aws:kms"},
	{"SSE-C", customer("", keyA), customer("Copy-Source-", keyA), customer("", keyA), "X-Amz-Server-Side-Encryption-Customer-Algorithm", "AES256"},
	{"SSE-C2", customer("", keyB), customer("Copy-Source-", keyB), customer("", keyB), "X-Amz-Server-Side-Encryption-Customer-Algorithm", "AES256"},
}

// between makes rows for all pairs of ways.
func between(name string, f func(c *C, from, to way)) (rows []row) {
	for _, from := range ways {
		for _, to := range ways {
			if from.name != "Plain" || to.name != "Plain" {
				rows = append(rows, row{"Encryption/" + name + "/" + from.name + "To" + to.name, func(c *C) { f(c, from, to) }})
			}
		}
	}
	return rows
}

func each(name string, f func(c *C, w way)) (rows []row) {
	for _, w := range ways[1:4] {
		rows = append(rows, row{"Encryption/" + name + "/" + w.name, func(c *C) { f(c, w) }})
	}
	return rows
}

// odd is a text of some size of which no two pieces of a segment are the same.
func odd(n int) string {
	var s strings.Builder
	for i := 0; s.Len() < n; i++ {
		fmt.Fprintf(&s, "%d,", i)
	}
	return s.String()[:n]
}

func (c *C) ranges(b, key string, w way, text string, at ...int) {
	for _, off := range at {
		for _, n := range []int{1, 2, 100, 65536, 65537} {
			if to := min(off+n, len(text)); off >= 0 && off < to {
				r := c.get(b, key, w.read, hdr("Range", fmt.Sprintf("bytes=%d-%d", off, off+n-1))).is(206)
				if string(r.body) != text[off:to] {
					fail("bytes %d-%d are others", off, off+n-1)
				}
			}
		}
	}
}

func encryptionRows() []row {
	rows := []row{
		{"SSE-S3/ETag", func(c *C) { c.put(c.bucket(), "k", "hello", sseS3).h("Etag", etag("hello")) }},
		{"SSE-C/ETag", func(c *C) {
			if r := c.put(c.bucket(), "k", "hello", customer("", keyA)); r.header.Get("Etag") == etag("hello") {
				fail("the etag tells what the body is")
			}
		}},
		{"SSE-C/Attributes", func(c *C) {
			b := c.bucket()
			c.put(b, "k", "hello", customer("", keyA))
			want := hdr("X-Amz-Object-Attributes", "ObjectSize,ETag")
			c.do("GET", "/"+b+"/k?attributes", want).err(400, "InvalidRequest")
			c.do("GET", "/"+b+"/k?attributes", want, customer("", keyB)).err(400, "InvalidRequest")
			c.do("GET", "/"+b+"/k?attributes", want, customer("", keyA)).is(200).x("ObjectSize", "5")
		}},
		{"SSE-C/PartWithWrongMd5", func(c *C) {
			b := c.bucket()
			id := c.upload(b, "k", customer("", keyA))
			c.part(b, "k", id, 1, "x", customer("", keyA), hdr("X-Amz-Server-Side-Encryption-Customer-Key-Md5", "AAAAAAAAAAAAAAAAAAAAAA==")).err(400, "InvalidArgument")
		}},
		{"SSE-C/PartOfPlainUpload", func(c *C) {
			b := c.bucket()
			id := c.upload(b, "k")
			c.part(b, "k", id, 1, "x", customer("", keyA)).err(400, "InvalidRequest")
		}},
		{"SSE-C/ConditionalRead", func(c *C) {
			b := c.bucket()
			e := c.put(b, "k", "v", customer("", keyA)).header.Get("ETag")
			c.get(b, "k", customer("", keyA), hdr("If-None-Match", e)).is(304)
			c.get(b, "k", customer("", keyA), hdr("If-Match", `"x"`)).err(412, "PreconditionFailed")
		}},
		{"SSE-KMS/NamedKey", func(c *C) {
			b := c.bucket()
			c.put(b, "k", "v", sseKMS)
			id := c.head(b, "k").is(200).header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id")
			c.put(b, "k", "v", sseKMS, hdr("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", id, "X-Amz-Server-Side-Encryption-Bucket-Key-Enabled", "true")).h("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", id)
			c.get(b, "k").is(200).text("v").h("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", id).h("X-Amz-Server-Side-Encryption-Bucket-Key-Enabled", "true")
		}},
		{"SSE-KMS/Context", func(c *C) {
			b := c.bucket()
			context := base64.StdEncoding.EncodeToString([]byte(`{"b":"2","a":"1"}`))
			c.put(b, "k", "v", sseKMS, hdr("X-Amz-Server-Side-Encryption-Context", context)).hset("X-Amz-Server-Side-Encryption-Context")
			c.get(b, "k").is(200).text("v")
			for _, bad := range []string{"{}", base64.StdEncoding.EncodeToString([]byte(`["a"]`))} {
				c.do("PUT", "/"+b+"/k", body("w"), sseKMS, hdr("X-Amz-Server-Side-Encryption-Context", bad)).err(400, "InvalidArgument")
			}
			c.do("PUT", "/"+b+"/k", body("w"), sseS3, hdr("X-Amz-Server-Side-Encryption-Context", context)).err(400, "InvalidArgument")
			c.get(b, "k").is(200).text("v")
		}},
		{"SSE-KMS/HeaderOnPart", func(c *C) {
			// S3 has no such header there, and clients send it all the same.
			b := c.bucket()
			id := c.upload(b, "k", sseKMS)
			e := c.part(b, "k", id, 1, "v", sseKMS, hdr("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", "not-there")).is(200).header.Get("ETag")
			c.complete(b, "k", id, parts(1, e)).is(200).h("X-Amz-Server-Side-Encryption", "aws:kms")
			c.get(b, "k").is(200).text("v")
		}},
		{"PutBucketEncryption/Lifecycle", func(c *C) {
			b := c.bucket()
			c.do("DELETE", "/"+b+"?encryption").is(204)
			c.do("PUT", "/"+b+"?encryption", doc(strings.Replace(encryption("<SSEAlgorithm>aws:kms</SSEAlgorithm>"), "</Rule>", "<BucketKeyEnabled>true</BucketKeyEnabled></Rule>", 1))).is(200)
			c.do("GET", "/"+b+"?encryption").is(200).x("Rule.BucketKeyEnabled", "true").x("Rule.ApplyServerSideEncryptionByDefault.KMSMasterKeyID")
			c.put(b, "k", "v").h("X-Amz-Server-Side-Encryption-Bucket-Key-Enabled", "true")
			c.do("DELETE", "/"+b+"?encryption").is(204)
			c.do("GET", "/"+b+"?encryption", as(c.other())).err(403, "AccessDenied")
			c.do("PUT", "/"+b+"?encryption", as(c.other()), doc(encryption("<SSEAlgorithm>AES256</SSEAlgorithm>"))).err(403, "AccessDenied")
			c.get(b, "k").is(200).text("v").h("X-Amz-Server-Side-Encryption", "aws:kms")
		}},
		{"PutBucketEncryption/TwoRules", func(c *C) {
			r := "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule>"
			c.do("PUT", "/"+c.bucket()+"?encryption", doc("<ServerSideEncryptionConfiguration>"+r+r+"</ServerSideEncryptionConfiguration>")).err(400, "MalformedXML")
		}},
		{"PutBucketEncryption/Malformed", func(c *C) {
			c.do("PUT", "/"+c.bucket()+"?encryption", doc("<ServerSideEncryptionConfiguration/>")).err(400, "MalformedXML")
		}},
		{"PutBucketEncryption/UnknownKey", func(c *C) {
			b := c.bucket()
			c.do("PUT", "/"+b+"?encryption", doc(encryption("<SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>no-such-key</KMSMasterKeyID>"))).is(200)
			c.do("PUT", "/"+b+"/k", body("v")).err(400, "KMS.NotFoundException")
			c.put(b, "k", "v", sseS3).h("X-Amz-Server-Side-Encryption", "AES256")
			c.put(b, "c", "v", customer("", keyA)).h("X-Amz-Server-Side-Encryption", "")
		}},
		{"PutBucketEncryption/CopyAndUpload", func(c *C) {
			b, from := c.bucket(), c.bucket()
			c.put(from, "k", "v")
			c.do("PUT", "/"+b+"?encryption", doc(encryption("<SSEAlgorithm>AES256</SSEAlgorithm>"))).is(200)
			c.copyTo(b, "c", from+"/k").is(200).h("X-Amz-Server-Side-Encryption", "AES256")
			c.get(b, "c").is(200).text("v").h("X-Amz-Server-Side-Encryption", "AES256")
			c.multipart(b, "m", "v").is(200).h("X-Amz-Server-Side-Encryption", "AES256")
			c.get(b, "m").is(200).text("v").h("X-Amz-Server-Side-Encryption", "AES256")
			c.copyTo(from, "back", b+"/c").is(200).h("X-Amz-Server-Side-Encryption", "")
			c.get(from, "back").is(200).text("v")
		}},
		{"PutBucketEncryption/Form", func(c *C) {
			b := c.bucket()
			c.do("PUT", "/"+b+"?encryption", doc(encryption("<SSEAlgorithm>AES256</SSEAlgorithm>"))).is(200)
			c.post(b, form{fields: keyed2("foo.txt"), policy: fooKeys, file: "bar", name: "f"}).is(204).h("X-Amz-Server-Side-Encryption", "AES256")
			c.get(b, "foo.txt").is(200).text("bar").h("X-Amz-Server-Side-Encryption", "AES256")
		}},
		{"SSE-C/Form", func(c *C) {
			b := c.bucket()
			names := []string{"x-amz-server-side-encryption-customer-algorithm", "x-amz-server-side-encryption-customer-key", "x-amz-server-side-encryption-customer-key-md5"}
			values := []string{"AES256", base64.StdEncoding.EncodeToString([]byte(keyA)), md5b64(keyA)}
			policy, fields := fooKeys, []string{}
			for i, n := range names {
				policy += `["starts-with","$` + n + `",""],`
				fields = append(fields, n, values[i])
			}
			text := odd(150_000)
			c.post(b, form{fields: keyed2("foo.txt", fields...), policy: policy, file: text, name: "f"}).is(204)
			c.get(b, "foo.txt").err(400, "InvalidRequest")
			if r := c.get(b, "foo.txt", customer("", keyA)).is(200); string(r.body) != text {
				fail("another body")
			}
			c.ranges(b, "foo.txt", ways[3], text, 0, 65535, 131072, 149_999)
		}},
		{"SSE-KMS/Form", func(c *C) {
			b := c.bucket()
			c.post(b, form{fields: keyed2("foo.txt", "x-amz-server-side-encryption", "aws:kms"), policy: fooKeys + `{"x-amz-server-side-encryption":"aws:kms"},`, file: "bar", name: "f"}).is(204)
			c.get(b, "foo.txt").is(200).text("bar").h("X-Amz-Server-Side-Encryption", "aws:kms")
		}},
		{"Policy/Condition/EncryptionAlgorithm", func(c *C) {
			b := c.bucket()
			c.policy(b, statement("Deny", everyone, `"s3:PutObject"`, inBucket, `,"Condition":{"StringNotEquals":{"s3:x-amz-server-side-encryption":"AES256"}}`)).is(204)
			c.do("PUT", "/"+b+"/k", body("v"), sseKMS).err(403, "AccessDenied")
			c.put(b, "k", "v", sseS3)
		}},
		{"Policy/Condition/EncryptionKey", func(c *C) {
			b := c.bucket()
			c.policy(b, statement("Deny", everyone, `"s3:PutObject"`, inBucket, `,"Condition":{"StringEquals":{"s3:x-amz-server-side-encryption-aws-kms-key-id":"not-this"}}`)).is(204)
			c.do("PUT", "/"+b+"/k", body("v"), sseKMS, hdr("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", "not-this")).err(403, "AccessDenied")
			c.put(b, "k", "v", sseKMS)
		}},
		{"Policy/Condition/CustomerKeyDenied", func(c *C) {
			b := c.bucket()
			c.policy(b, statement("Deny", everyone, `"s3:PutObject"`, inBucket, `,"Condition":{"StringNotEquals":{"s3:x-amz-server-side-encryption-customer-algorithm":"AES192"}}`)).is(204)
			c.do("PUT", "/"+b+"/k", body("v"), customer("", keyA)).err(403, "AccessDenied")
		}},
		{"Policy/Condition/CustomerKeyWanted", func(c *C) {
			b := c.bucket()
			c.policy(b, statement("Deny", everyone, `"s3:PutObject"`, inBucket, `,"Condition":{"Null":{"s3:x-amz-server-side-encryption-customer-algorithm":"true"}}`)).is(204)
			c.do("PUT", "/"+b+"/k", body("v")).err(403, "AccessDenied")
			c.put(b, "k", "v", customer("", keyA))
		}},
	}
	rows = append(rows, each("Ranges", func(c *C, w way) {
		b, text := c.bucket(), odd(200_003)
		c.put(b, "k", text, w.put)
		c.ranges(b, "k", w, text, 0, 1, 65535, 65536, 65537, 131071, 131072, 196608, 200_002)
		c.get(b, "k", w.read, hdr("Range", "bytes=-7")).is(206).text(text[len(text)-7:]).h("Content-Range", "bytes 199996-200002/200003")
		c.get(b, "k", w.read, hdr("Range", "bytes=200003-")).err(416, "InvalidRange")
	})...)
	rows = append(rows, each("PartsOfOddSizes", func(c *C, w way) {
		b := c.bucket()
		one, two, three := fiveMiB+"x", odd(5<<20+77_777), "end"
		id := c.upload(b, "k", w.put)
		var list []any
		for i, text := range []string{one, two, three} {
			c.part(b, "k", id, i+1, odd(99), w.read).is(200) // replaced
			list = append(list, i+1, c.part(b, "k", id, i+1, text, w.read).is(200).header.Get("ETag"))
		}
		c.do("GET", "/"+b+"/k?uploadId="+id).is(200).x("Part.Size", fmt.Sprint(len(one)), fmt.Sprint(len(two)), "3")
		c.complete(b, "k", id, parts(list...)).is(200)
		text := one + two + three
		c.head(b, "k", w.read).is(200).h("Content-Length", fmt.Sprint(len(text))).h(w.header, w.value)
		if r := c.get(b, "k", w.read).is(200); string(r.body) != text {
			fail("another body")
		}
		c.ranges(b, "k", w, text, len(one)-1, len(one), len(one)+len(two)-50, len(text)-3, len(text)-1)
		c.do("GET", "/"+b+"/k?partNumber=2", w.read, hdr("Range", "")).is(206).h("Content-Length", fmt.Sprint(len(two)))
		// The copy of what was uploaded in parts, under another key.
		c.copyTo(b, "copy", b+"/k", w.source, sseS3).is(200)
		c.ranges(b, "copy", ways[1], text, 0, len(one)-1, len(one)+len(two)-50, len(text)-1)
	})...)
	rows = append(rows, each("Checksums", func(c *C, w way) {
		b := c.bucket()
		c.put(b, "k", "hello", w.put, hdr("X-Amz-Checksum-Sha256", sum("SHA256", "hello")))
		c.get(b, "k", w.read, hdr("X-Amz-Checksum-Mode", "ENABLED")).is(200).text("hello").h("X-Amz-Checksum-Sha256", sum("SHA256", "hello"))
		c.do("PUT", "/"+b+"/k", body("hullo"), w.put, hdr("X-Amz-Checksum-Sha256", sum("SHA256", "hello"))).err(400, "BadDigest")
		c.do("PUT", "/"+b+"/k", body("hullo"), w.put, hdr("Content-Md5", md5b64("hello"))).err(400, "BadDigest")
		c.do("PUT", "/"+b+"/k", body("hello"), w.put, hdr("Content-Md5", md5b64("hello"))).is(200)
		c.get(b, "k", w.read).is(200).text("hello")
	})...)
	rows = append(rows, each("VersionsAndTags", func(c *C, w way) {
		b := c.versioned()
		one := c.put(b, "k", "one", w.put, hdr("X-Amz-Meta-A", "b")).header.Get("X-Amz-Version-Id")
		c.put(b, "k", "two")
		c.do("PUT", "/"+b+"/k?tagging&versionId="+one, doc(tagging("a", "b"))).is(200)
		c.do("PUT", "/"+b+"/k?acl&versionId="+one, hdr("X-Amz-Acl", "private")).is(200)
		c.do("GET", "/"+b+"/k?versionId="+one, w.read).is(200).text("one").h(w.header, w.value).h("X-Amz-Meta-A", "b")
		c.copyTo(b, "k", b+"/k?versionId="+one, w.source, w.put).is(200)
		c.get(b, "k", w.read).is(200).text("one")
		c.do("GET", "/"+b+"?versions").is(200).x("Version.Size", "3", "3", "3")
	})...)
	rows = append(rows, each("MetadataReplaced", func(c *C, w way) {
		b := c.bucket()
		c.put(b, "k", "v", w.put)
		c.copyTo(b, "k", b+"/k", w.source, w.put, hdr("X-Amz-Metadata-Directive", "REPLACE", "X-Amz-Meta-A", "b")).is(200)
		c.get(b, "k", w.read).is(200).text("v").h("X-Amz-Meta-A", "b").h(w.header, w.value)
	})...)
	rows = append(rows, between("Copy", func(c *C, from, to way) {
		b, text := c.bucket(), odd(150_000)
		c.put(b, "k", text, from.put, hdr("X-Amz-Meta-A", "b"))
		c.copyTo(b, "c", b+"/k", from.source, to.put).is(200).h(to.header, to.value)
		if r := c.get(b, "c", to.read).is(200).h(to.header, to.value).h("X-Amz-Meta-A", "b"); string(r.body) != text {
			fail("another body")
		}
		c.ranges(b, "c", to, text, 0, 65535, 149_999)
		// With a checksum that has to be computed.
		r := c.copyTo(b, "s", b+"/k", from.source, to.put, hdr("X-Amz-Checksum-Algorithm", "SHA256")).is(200).x("ChecksumSHA256", sum("SHA256", text))
		if c.get(b, "s", to.read).is(200); r.first("ETag") == "" {
			fail("no etag")
		}
	})...)
	rows = append(rows, between("CopyOntoItself", func(c *C, from, to way) {
		b := c.bucket()
		c.put(b, "k", "hello", from.put)
		if from.name == to.name && to.name != "Plain" || to.name != "Plain" {
			c.copyTo(b, "k", b+"/k", from.source, to.put).is(200)
		} else {
			c.copyTo(b, "k", b+"/k", from.source, hdr("X-Amz-Metadata-Directive", "REPLACE")).is(200)
		}
		c.get(b, "k", to.read).is(200).text("hello").h(to.header, to.value)
	})...)
	rows = append(rows, between("PartCopy", func(c *C, from, to way) {
		b, text := c.bucket(), odd(150_000)
		c.put(b, "k", text, from.put)
		id := c.upload(b, "m", to.put)
		keys := to.put
		if to.name == "SSE-S3" || to.name == "SSE-KMS" {
			keys = nothing
		}
		r := c.do("PUT", "/"+b+"/m?partNumber=1&uploadId="+id, hdr("X-Amz-Copy-Source", b+"/k", "X-Amz-Copy-Source-Range", "bytes=65530-131080"), from.source, keys).is(200)
		c.complete(b, "m", id, parts(1, r.first("ETag"))).is(200)
		if g := c.get(b, "m", to.read).is(200).h(to.header, to.value); string(g.body) != text[65530:131081] {
			fail("another body of %d bytes", len(g.body))
		}
	})...)
	return rows
}
