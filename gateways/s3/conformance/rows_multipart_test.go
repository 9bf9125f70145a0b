package conformance

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func timeOf(layout, value string) (time.Time, error) { return time.Parse(layout, value) }

// fiveMiB is a part that need not be the last.
var fiveMiB = strings.Repeat("0123456789abcdef", 5<<20/16)

func badPart(n string) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		id := c.upload(b, "k")
		c.do("PUT", "/"+b+"/k?partNumber="+n+"&uploadId="+id, body("x")).err(400, "InvalidArgument")
	}
}

// begun is an upload with parts, and what completes it.
func (c *C) begun(texts ...string) (b, id string, of []any) {
	b = c.bucket()
	id = c.upload(b, "k")
	for i, t := range texts {
		of = append(of, i+1, c.part(b, "k", id, i+1, t).is(200).header.Get("ETag"))
	}
	return b, id, of
}

// copyRange copies a range of 21 bytes as a part.
func copyRange(rng string, status int, code string) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		c.put(b, "src", "0123456789abcdefghijk")
		id := c.upload(b, "dst")
		r := c.do("PUT", "/"+b+"/dst?partNumber=1&uploadId="+id, hdr("X-Amz-Copy-Source", b+"/src", "X-Amz-Copy-Source-Range", rng))
		if code != "" {
			r.err(status, code)
			return
		}
		c.complete(b, "dst", id, parts(1, r.is(200).root("CopyPartResult").some("LastModified").first("ETag"))).is(200)
		var from, to int
		if _, err := fmt.Sscanf(rng, "bytes=%d-%d", &from, &to); err != nil {
			fail("%v", err)
		}
		c.get(b, "dst").is(200).text("0123456789abcdefghijk"[from : to+1])
	}
}

func badCopySource(source string, status int, code string) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.copyTo(b, "c", strings.NewReplacer("BUCKET", b, "NONE", c.fresh()).Replace(source)).err(status, code)
		c.get(b, "c").err(404, "NoSuchKey")
	}
}

// copyIf copies under a condition on the source.
func copyIf(name, value string, fits bool) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		h := hdr("X-Amz-Copy-Source-"+name, strings.NewReplacer("ETAG", etag("v"), "PAST", httpTime(time.Now().Add(-time.Hour)), "FUTURE", httpTime(time.Now().Add(time.Hour))).Replace(value))
		id := c.upload(b, "m")
		part := func() *R {
			return c.do("PUT", "/"+b+"/m?partNumber=1&uploadId="+id, h, hdr("X-Amz-Copy-Source", b+"/k"))
		}
		if fits {
			c.copyTo(b, "c", b+"/k", h).is(200)
			c.get(b, "c").is(200).text("v")
			part().is(200)
			return
		}
		c.copyTo(b, "c", b+"/k", h).err(412, "PreconditionFailed")
		c.get(b, "c").err(404, "NoSuchKey")
		part().err(412, "PreconditionFailed")
	}
}

var multipartRows = []row{
	{"CreateMultipartUpload/Plain", func(c *C) {
		b := c.bucket()
		if id := c.upload(b, "a b/k"); id == "" {
			fail("no UploadId")
		}
		c.get(b, "a b/k").err(404, "NoSuchKey")
	}},
	{"CreateMultipartUpload/NoBucket", func(c *C) { c.do("POST", "/"+c.fresh()+"/k?uploads").err(404, "NoSuchBucket") }},
	{"CreateMultipartUpload/Others", func(c *C) { c.do("POST", "/"+c.bucket()+"/k?uploads", as(c.other())).err(403, "AccessDenied") }},
	{"CreateMultipartUpload/StorageClassUnknown", func(c *C) {
		c.do("POST", "/"+c.bucket()+"/k?uploads", hdr("X-Amz-Storage-Class", "PAPER")).err(400, "InvalidStorageClass")
	}},
	{"CreateMultipartUpload/Metadata", func(c *C) {
		b := c.bucket()
		id := c.upload(b, "k", hdr("Content-Type", "text/bla", "X-Amz-Meta-Foo", "bar", "Cache-Control", "no-cache"))
		e := c.part(b, "k", id, 1, "v").is(200).header.Get("ETag")
		c.complete(b, "k", id, parts(1, e)).is(200)
		c.head(b, "k").is(200).h("Content-Type", "text/bla").h("X-Amz-Meta-Foo", "bar").h("Cache-Control", "no-cache")
	}},
	{"UploadPart/ETag", func(c *C) {
		b, id, _ := c.begun()
		c.part(b, "k", id, 1, "hello").is(200).h("Etag", etag("hello")).text("")
	}},
	{"UploadPart/Number/0", badPart("0")},
	{"UploadPart/Number/10001", badPart("10001")},
	{"UploadPart/Number/Negative", badPart("-1")},
	{"UploadPart/Number/NoNumber", badPart("one")},
	{"UploadPart/Number/10000", func(c *C) {
		b, id, _ := c.begun()
		e := c.part(b, "k", id, 10000, "v").is(200).header.Get("ETag")
		c.complete(b, "k", id, parts(10000, e)).is(200)
		c.get(b, "k").is(200).text("v")
	}},
	{"UploadPart/NoSuchUpload", func(c *C) {
		b := c.bucket()
		c.part(b, "k", "nonexistent", 1, "x").err(404, "NoSuchUpload").x("UploadId", "nonexistent")
	}},
	{"UploadPart/OtherKey", func(c *C) {
		b, id, _ := c.begun()
		c.part(b, "other", id, 1, "x").err(404, "NoSuchUpload")
	}},
	{"UploadPart/BadMD5", func(c *C) {
		b, id, _ := c.begun()
		c.part(b, "k", id, 1, "x", hdr("Content-MD5", md5b64("y"))).err(400, "BadDigest")
		c.do("GET", "/"+b+"/k?uploadId="+id).is(200).x("Part")
	}},
	{"UploadPart/Replaced", func(c *C) {
		b, id, _ := c.begun("first")
		e := c.part(b, "k", id, 1, "second").is(200).header.Get("ETag")
		c.do("GET", "/"+b+"/k?uploadId="+id).is(200).x("Part.PartNumber", "1").x("Part.Size", "6")
		c.complete(b, "k", id, parts(1, etag("first"))).err(400, "InvalidPart")
		c.complete(b, "k", id, parts(1, e)).is(200)
		c.get(b, "k").is(200).text("second")
	}},
	{"ListParts/Fields", func(c *C) {
		b, id, _ := c.begun("one", "two!")
		c.do("GET", "/"+b+"/k?uploadId="+id).is(200).root("ListPartsResult").x("Bucket", b).x("Key", "k").x("UploadId", id).x("Part.PartNumber", "1", "2").x("Part.Size", "3", "4").
			x("Part.ETag", etag("one"), etag("two!")).x("Owner.ID", c.srv.main.id).x("Initiator.ID", c.srv.main.id).x("StorageClass", "STANDARD").x("PartNumberMarker", "0").
			x("NextPartNumberMarker", "2").x("MaxParts", "1000").x("IsTruncated", "false").some("Part.LastModified")
	}},
	{"ListParts/Pages", func(c *C) {
		b, id, _ := c.begun("1", "2", "3")
		c.do("GET", "/"+b+"/k?max-parts=2&uploadId="+id).is(200).x("Part.PartNumber", "1", "2").x("IsTruncated", "true").x("NextPartNumberMarker", "2").x("MaxParts", "2")
		c.do("GET", "/"+b+"/k?max-parts=2&part-number-marker=2&uploadId="+id).is(200).x("Part.PartNumber", "3").x("IsTruncated", "false").x("PartNumberMarker", "2")
	}},
	{"ListParts/NoSuchUpload", func(c *C) { c.do("GET", "/"+c.bucket()+"/k?uploadId=nonexistent").err(404, "NoSuchUpload") }},
	{"ListParts/BadMax", func(c *C) {
		b, id, _ := c.begun()
		c.do("GET", "/"+b+"/k?max-parts=-1&uploadId="+id).err(400, "InvalidArgument")
		c.do("GET", "/"+b+"/k?part-number-marker=-1&uploadId="+id).err(400, "InvalidArgument")
	}},
	{"ListParts/Others", func(c *C) {
		b, id, _ := c.begun()
		c.do("GET", "/"+b+"/k?uploadId="+id, as(c.other())).err(403, "AccessDenied")
	}},
	{"CompleteMultipartUpload/TwoParts", func(c *C) {
		b, id, of := c.begun(fiveMiB, "end")
		r := c.complete(b, "k", id, parts(of...)).is(200).root("CompleteMultipartUploadResult").x("Bucket", b).x("Key", "k").some("Location")
		want := r.first("ETag")
		if !strings.HasSuffix(want, `-2"`) {
			fail("%v", r)
		}
		g := c.get(b, "k").is(200).h("Etag", want).h("Content-Length", fmt.Sprint(5<<20+3))
		if string(g.body) != fiveMiB+"end" {
			fail("another body")
		}
		c.do("GET", "/"+b).is(200).x("Contents.ETag", want).x("Contents.Size", fmt.Sprint(5<<20+3))
		c.do("GET", "/"+b+"/k?partNumber=2").is(206).text("end").h("X-Amz-Mp-Parts-Count", "2").h("Content-Range", "bytes 5242880-5242882/5242883").h("Etag", want)
		c.do("HEAD", "/"+b+"/k?partNumber=1").is(206).h("X-Amz-Mp-Parts-Count", "2").h("Content-Length", fmt.Sprint(5<<20))
		c.do("GET", "/"+b+"/k?partNumber=3").err(400, "InvalidPart")
		c.get(b, "k", hdr("Range", "bytes=5242878-5242881")).is(206).text("efen")
		c.do("GET", "/"+b+"?uploads").is(200).x("Upload")
		c.do("GET", "/"+b+"/k?uploadId="+id).err(404, "NoSuchUpload")
	}},
	{"CompleteMultipartUpload/Again", func(c *C) {
		b, id, of := c.begun("v")
		e := c.complete(b, "k", id, parts(of...)).is(200).first("ETag")
		c.complete(b, "k", id, parts(of...)).is(200).x("ETag", e)
	}},
	{"CompleteMultipartUpload/Gaps", func(c *C) {
		b, id, _ := c.begun()
		one, seven := c.part(b, "k", id, 3, fiveMiB).is(200).header.Get("ETag"), c.part(b, "k", id, 7, "b").is(200).header.Get("ETag")
		c.complete(b, "k", id, parts(3, one, 7, seven)).is(200)
		c.head(b, "k").is(200).h("Content-Length", fmt.Sprint(5<<20+1))
	}},
	{"CompleteMultipartUpload/SomeParts", func(c *C) {
		b, id, of := c.begun("a", "b")
		c.complete(b, "k", id, parts(of[2:]...)).is(200)
		c.get(b, "k").is(200).text("b")
	}},
	{"CompleteMultipartUpload/Empty", func(c *C) {
		b, id, _ := c.begun()
		c.complete(b, "k", id, parts()).err(400, "MalformedXML")
	}},
	{"CompleteMultipartUpload/NoBody", func(c *C) {
		b, id, _ := c.begun("x")
		c.complete(b, "k", id, "").err(400, "MalformedXML")
	}},
	{"CompleteMultipartUpload/Malformed", func(c *C) {
		b, id, _ := c.begun("x")
		c.complete(b, "k", id, "<CompleteMultipart").err(400, "MalformedXML")
	}},
	{"CompleteMultipartUpload/TooSmall", func(c *C) {
		b, id, of := c.begun("small", "end")
		c.complete(b, "k", id, parts(of...)).err(400, "EntityTooSmall").x("ProposedSize", "5").x("MinSizeAllowed", "5242880").x("PartNumber", "1").some("ETag")
		c.get(b, "k").err(404, "NoSuchKey")
		c.do("GET", "/"+b+"/k?uploadId="+id).is(200).x("Part.PartNumber", "1", "2")
	}},
	{"CompleteMultipartUpload/WrongETag", func(c *C) {
		b, id, _ := c.begun("x")
		c.complete(b, "k", id, parts(1, etag("y"))).err(400, "InvalidPart")
	}},
	{"CompleteMultipartUpload/MissingPart", func(c *C) {
		b, id, _ := c.begun("x")
		c.complete(b, "k", id, parts(9999, etag("x"))).err(400, "InvalidPart").x("PartNumber", "9999").x("UploadId", id)
	}},
	{"CompleteMultipartUpload/WrongOrder", func(c *C) {
		b, id, of := c.begun(fiveMiB, "end")
		c.complete(b, "k", id, parts(of[2], of[3], of[0], of[1])).err(400, "InvalidPartOrder")
	}},
	{"CompleteMultipartUpload/TwiceTheSame", func(c *C) {
		b, id, of := c.begun("x")
		c.complete(b, "k", id, parts(of[0], of[1], of[0], of[1])).err(400, "InvalidPartOrder")
	}},
	{"CompleteMultipartUpload/PartNumber0", func(c *C) {
		b, id, _ := c.begun("x")
		c.complete(b, "k", id, parts(0, etag("x"))).err(400, "InvalidArgument")
	}},
	{"CompleteMultipartUpload/UnquotedETag", func(c *C) {
		b, id, _ := c.begun("x")
		c.complete(b, "k", id, parts(1, md5hex("x"))).is(200)
	}},
	{"CompleteMultipartUpload/EscapedETag", func(c *C) {
		b, id, _ := c.begun("x")
		c.complete(b, "k", id, parts(1, "&quot;"+md5hex("x")+"&quot;")).is(200)
	}},
	{"CompleteMultipartUpload/NoSuchUpload", func(c *C) {
		c.complete(c.bucket(), "k", "nonexistent", parts(1, etag("x"))).err(404, "NoSuchUpload").x("UploadId", "nonexistent")
	}},
	{"CompleteMultipartUpload/IfNoneMatchStar/exists", func(c *C) {
		b, id, of := c.begun("x")
		c.put(b, "k", "v")
		c.complete(b, "k", id, parts(of...), hdr("If-None-Match", "*")).err(412, "PreconditionFailed")
		c.get(b, "k").is(200).text("v")
		c.complete(b, "k", id, parts(of...)).is(200)
	}},
	{"CompleteMultipartUpload/IfNoneMatchStar/absent", func(c *C) {
		b, id, of := c.begun("x")
		c.complete(b, "k", id, parts(of...), hdr("If-None-Match", "*")).is(200)
	}},
	{"CompleteMultipartUpload/IfMatch", func(c *C) {
		b, id, of := c.begun("x")
		c.complete(b, "k", id, parts(of...), hdr("If-Match", etag("v"))).err(404, "NoSuchKey")
		c.put(b, "k", "v")
		c.complete(b, "k", id, parts(of...), hdr("If-Match", etag("w"))).err(412, "PreconditionFailed")
		c.complete(b, "k", id, parts(of...), hdr("If-Match", etag("v"))).is(200)
		c.get(b, "k").is(200).text("x")
	}},
	{"CompleteMultipartUpload/ObjectSize", func(c *C) {
		b, id, of := c.begun("hello")
		c.complete(b, "k", id, parts(of...), hdr("X-Amz-Mp-Object-Size", "6")).err(400, "InvalidRequest")
		c.complete(b, "k", id, parts(of...), hdr("X-Amz-Mp-Object-Size", "5")).is(200)
	}},
	{"CompleteMultipartUpload/Overwrites", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.multipart(b, "k", "new")
		c.get(b, "k").is(200).text("new")
		c.do("GET", "/"+b).is(200).x("Contents.Key", "k")
	}},
	{"CompleteMultipartUpload/SDK", func(c *C) {
		b, s, ctx := c.bucket(), c.sdk(), context.Background()
		key := aws.String("k")
		up := ok(s.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: &b, Key: key, ChecksumAlgorithm: types.ChecksumAlgorithmCrc32}))
		var done []types.CompletedPart
		for i, t := range []string{fiveMiB, "end"} {
			p := ok(s.UploadPart(ctx, &awss3.UploadPartInput{Bucket: &b, Key: key, UploadId: up.UploadId, PartNumber: aws.Int32(int32(i + 1)), Body: strings.NewReader(t), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32}))
			done = append(done, types.CompletedPart{ETag: p.ETag, ChecksumCRC32: p.ChecksumCRC32, PartNumber: aws.Int32(int32(i + 1))})
		}
		out := ok(s.CompleteMultipartUpload(ctx, &awss3.CompleteMultipartUploadInput{Bucket: &b, Key: key, UploadId: up.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: done}}))
		if !strings.HasSuffix(aws.ToString(out.ChecksumCRC32), "-2") {
			fail("%+v", out)
		}
		g := ok(s.GetObject(ctx, &awss3.GetObjectInput{Bucket: &b, Key: key}))
		defer g.Body.Close()
		h := crc32.NewIEEE()
		if n, err := io.Copy(h, g.Body); err != nil || n != 5<<20+3 || h.Sum32() != crc32.ChecksumIEEE([]byte(fiveMiB+"end")) {
			fail("%d bytes, %v", n, err)
		}
	}},
	{"AbortMultipartUpload/Plain", func(c *C) {
		b, id, of := c.begun("x")
		c.do("DELETE", "/"+b+"/k?uploadId="+id).is(204)
		c.do("DELETE", "/"+b+"/k?uploadId="+id).err(404, "NoSuchUpload")
		c.complete(b, "k", id, parts(of...)).err(404, "NoSuchUpload")
		c.do("GET", "/"+b+"?uploads").is(200).x("Upload")
	}},
	{"AbortMultipartUpload/NoSuchUpload", func(c *C) { c.do("DELETE", "/"+c.bucket()+"/k?uploadId=56788").err(404, "NoSuchUpload") }},
	{"AbortMultipartUpload/Others", func(c *C) {
		b, id, _ := c.begun()
		c.do("DELETE", "/"+b+"/k?uploadId="+id, as(c.other())).err(403, "AccessDenied")
	}},
	{"UploadPartCopy/Range", copyRange("bytes=0-9", 200, "")},
	{"UploadPartCopy/Range/OneByte", copyRange("bytes=20-20", 200, "")},
	{"UploadPartCopy/Range/BeyondEnd", copyRange("bytes=0-21", 416, "InvalidRange")},
	{"UploadPartCopy/Range/NoPrefix", copyRange("0-2", 400, "InvalidArgument")},
	{"UploadPartCopy/Range/NoEnd", copyRange("bytes=0-", 400, "InvalidArgument")},
	{"UploadPartCopy/Range/NoDash", copyRange("bytes=0", 400, "InvalidArgument")},
	{"UploadPartCopy/Range/Letters", copyRange("bytes=hello-world", 400, "InvalidArgument")},
	{"UploadPartCopy/Range/Suffix", copyRange("bytes=-9", 400, "InvalidArgument")},
	{"UploadPartCopy/Range/Several", copyRange("bytes=0-2,3-5", 400, "InvalidArgument")},
	{"UploadPartCopy/Whole", func(c *C) {
		b := c.bucket()
		c.put(b, "src ?+/é", fiveMiB)
		id := c.upload(b, "dst")
		e := c.do("PUT", "/"+b+"/dst?partNumber=1&uploadId="+id, hdr("X-Amz-Copy-Source", b+"/"+esc("src ?+/é"))).is(200).root("CopyPartResult").first("ETag")
		if e != etag(fiveMiB) {
			fail("etag %s", e)
		}
		c.complete(b, "dst", id, parts(1, e, 2, c.part(b, "dst", id, 2, "end").header.Get("ETag"))).is(200)
		if r := c.get(b, "dst").is(200); !bytes.Equal(r.body, []byte(fiveMiB+"end")) {
			fail("another body")
		}
	}},
	{"UploadPartCopy/NoSource", func(c *C) {
		b, id, _ := c.begun()
		c.do("PUT", "/"+b+"/k?partNumber=1&uploadId="+id, hdr("X-Amz-Copy-Source", b+"/none")).err(404, "NoSuchKey")
		c.do("PUT", "/"+b+"/k?partNumber=1&uploadId="+id, hdr("X-Amz-Copy-Source", c.fresh()+"/none")).err(404, "NoSuchBucket")
	}},
	{"UploadPartCopy/NoSuchUpload", func(c *C) {
		b := c.bucket()
		c.put(b, "src", "v")
		c.do("PUT", "/"+b+"/k?partNumber=1&uploadId=none", hdr("X-Amz-Copy-Source", b+"/src")).err(404, "NoSuchUpload")
	}},
}

var copyRows = []row{
	{"CopyObject/SameBucket", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.copyTo(b, "c", b+"/k").is(200).root("CopyObjectResult").x("ETag", etag("v")).some("LastModified")
		c.get(b, "c").is(200).text("v").h("Etag", etag("v"))
		c.get(b, "k").is(200).text("v")
	}},
	{"CopyObject/LeadingSlash", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.copyTo(b, "c", "/"+b+"/k").is(200)
	}},
	{"CopyObject/Escaped", func(c *C) {
		b := c.bucket()
		c.put(b, "a b?c/é+", "v")
		c.copyTo(b, "c", b+"/"+esc("a b?c/é+")).is(200)
		c.copyTo(b, "d", b+"%2F"+queryEsc("a b?c/é+")).is(200)
		c.get(b, "d").is(200).text("v")
	}},
	{"CopyObject/OtherBucket", func(c *C) {
		a, b := c.bucket(), c.bucket()
		c.put(a, "k", "v")
		c.copyTo(b, "c", a+"/k").is(200)
		c.get(b, "c").is(200).text("v")
	}},
	{"CopyObject/Empty", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "")
		c.copyTo(b, "c", b+"/k").is(200)
		c.head(b, "c").is(200).h("Content-Length", "0")
	}},
	{"CopyObject/Large", func(c *C) {
		b := c.bucket()
		c.put(b, "k", fiveMiB, payload(unsigned))
		c.copyTo(b, "c", b+"/k").is(200).x("ETag", etag(fiveMiB))
		if r := c.get(b, "c").is(200); string(r.body) != fiveMiB {
			fail("another body")
		}
	}},
	{"CopyObject/Itself", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.copyTo(b, "k", b+"/k").err(400, "InvalidRequest")
	}},
	{"CopyObject/ItselfWithMetadata", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", hdr("X-Amz-Meta-A", "1"))
		c.copyTo(b, "k", b+"/k", hdr("X-Amz-Metadata-Directive", "REPLACE", "X-Amz-Meta-Foo", "bar")).is(200)
		c.get(b, "k").is(200).text("v").h("X-Amz-Meta-Foo", "bar").h("X-Amz-Meta-A", "")
	}},
	{"CopyObject/ItselfWithStorageClass", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", hdr("X-Amz-Meta-A", "1"))
		c.copyTo(b, "k", b+"/k", hdr("X-Amz-Storage-Class", "STANDARD_IA")).is(200)
		c.head(b, "k").is(200).h("X-Amz-Storage-Class", "STANDARD_IA").h("X-Amz-Meta-A", "1")
	}},
	{"CopyObject/Metadata/Kept", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", hdr("Content-Type", "a/b", "X-Amz-Meta-A", "1"))
		c.copyTo(b, "c", b+"/k", hdr("Content-Type", "x/y", "X-Amz-Meta-A", "2")).is(200)
		c.head(b, "c").is(200).h("Content-Type", "a/b").h("X-Amz-Meta-A", "1")
	}},
	{"CopyObject/Metadata/Replaced", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", hdr("Content-Type", "a/b", "X-Amz-Meta-A", "1"))
		c.copyTo(b, "c", b+"/k", hdr("X-Amz-Metadata-Directive", "REPLACE", "Content-Type", "x/y", "X-Amz-Meta-B", "2")).is(200)
		c.head(b, "c").is(200).h("Content-Type", "x/y").h("X-Amz-Meta-A", "").h("X-Amz-Meta-B", "2")
	}},
	{"CopyObject/Metadata/UnknownDirective", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.copyTo(b, "c", b+"/k", hdr("X-Amz-Metadata-Directive", "MERGE")).err(400, "InvalidArgument")
	}},
	{"CopyObject/Multipart", func(c *C) {
		b := c.bucket()
		c.multipart(b, "k", fiveMiB, "end")
		c.copyTo(b, "c", b+"/k").is(200)
		if r := c.get(b, "c").is(200); string(r.body) != fiveMiB+"end" {
			fail("another body")
		}
	}},
	{"CopyObject/NoKey", badCopySource("BUCKET/none", 404, "NoSuchKey")},
	{"CopyObject/NoBucket", badCopySource("NONE/k", 404, "NoSuchBucket")},
	{"CopyObject/BadSource", badCopySource("justaword", 400, "InvalidArgument")},
	{"CopyObject/SourceWithoutKey", badCopySource("BUCKET/", 400, "InvalidArgument")},
	{"CopyObject/UnknownVersion", badCopySource("BUCKET/k?versionId=abcd", 400, "InvalidArgument")},
	{"CopyObject/NoTarget", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.copyTo(c.fresh(), "c", b+"/k").err(404, "NoSuchBucket")
	}},
	{"CopyObject/OthersSource", func(c *C) {
		b, o := c.bucket(), c.other()
		c.put(b, "k", "v")
		mine := c.fresh()
		c.do("PUT", "/"+mine, as(o)).is(200)
		c.copyTo(mine, "c", b+"/k", as(o)).err(403, "AccessDenied")
	}},
	{"CopyObject/OthersTarget", func(c *C) {
		b, o := c.bucket(), c.other()
		c.put(b, "k", "v")
		theirs := c.fresh()
		c.do("PUT", "/"+theirs, as(o)).is(200)
		c.copyTo(theirs, "c", b+"/k").err(403, "AccessDenied")
	}},
	{"CopyObject/IfMatch/good", copyIf("If-Match", "ETAG", true)},
	{"CopyObject/IfMatch/bad", copyIf("If-Match", `"ABCORZ"`, false)},
	{"CopyObject/IfNoneMatch/good", copyIf("If-None-Match", "ETAG", false)},
	{"CopyObject/IfNoneMatch/bad", copyIf("If-None-Match", `"ABCORZ"`, true)},
	{"CopyObject/IfModifiedSince/past", copyIf("If-Modified-Since", "PAST", true)},
	{"CopyObject/IfUnmodifiedSince/past", copyIf("If-Unmodified-Since", "PAST", false)},
	{"CopyObject/IfUnmodifiedSince/future", copyIf("If-Unmodified-Since", "FUTURE", true)},
	{"CopyObject/TargetIfNoneMatchStar", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.put(b, "c", "old")
		c.copyTo(b, "c", b+"/k", hdr("If-None-Match", "*")).err(412, "PreconditionFailed")
		c.get(b, "c").is(200).text("old")
		c.copyTo(b, "d", b+"/k", hdr("If-None-Match", "*")).is(200)
	}},
	{"CopyObject/TargetIfMatch", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.put(b, "c", "old")
		c.copyTo(b, "c", b+"/k", hdr("If-Match", etag("x"))).err(412, "PreconditionFailed")
		c.copyTo(b, "c", b+"/k", hdr("If-Match", etag("old"))).is(200)
	}},
	{"CopyObject/SDK", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		out := ok(c.sdk().CopyObject(context.Background(), &awss3.CopyObjectInput{Bucket: &b, Key: aws.String("c"), CopySource: aws.String(b + "/k")}))
		if out.CopyObjectResult == nil || aws.ToString(out.CopyObjectResult.ETag) != etag("v") || out.CopyObjectResult.LastModified == nil {
			fail("%+v", out)
		}
	}},
}
