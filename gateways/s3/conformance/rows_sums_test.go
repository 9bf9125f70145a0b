package conformance

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/minio/crc64nvme"
)

func crc32c() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }

var sumNames = []string{"CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256", "SHA512", "MD5"}

// sum is a checksum of one of the kinds, as headers have it.
func sum(name string, texts ...string) string {
	h := map[string]func() hash.Hash{
		"CRC32": func() hash.Hash { return crc32.NewIEEE() }, "CRC32C": crc32c, "CRC64NVME": func() hash.Hash { return crc64nvme.New() }, "SHA1": sha1.New, "SHA256": sha256.New, "SHA512": sha512.New, "MD5": md5.New,
	}[name]()
	for _, t := range texts {
		io.WriteString(h, t) // hashes do not fail
	}
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// composite is the checksum of the checksums of parts.
func composite(name string, texts ...string) string {
	var all []string
	for _, t := range texts {
		b, err := base64.StdEncoding.DecodeString(sum(name, t))
		if err != nil {
			fail("%v", err)
		}
		all = append(all, string(b))
	}
	return sum(name, all...) + fmt.Sprintf("-%d", len(texts))
}

// eachSum makes a row for every algorithm.
func eachSum(operation, what string, run func(c *C, name, header string)) (rows []row) {
	for _, n := range sumNames {
		rows = append(rows, row{operation + "/" + what + "/" + n, func(c *C) { run(c, n, "X-Amz-Checksum-"+n) }})
	}
	return rows
}

var withSums = hdr("X-Amz-Checksum-Mode", "ENABLED")

func checksumRows() (rows []row) {
	rows = append(rows, eachSum("PutObject", "Checksum", func(c *C, name, header string) {
		b := c.bucket()
		c.put(b, "k", "hello", hdr(header, sum(name, "hello"))).h(header, sum(name, "hello")).h("X-Amz-Checksum-Type", "FULL_OBJECT")
		c.head(b, "k", withSums).is(200).h(header, sum(name, "hello")).h("X-Amz-Checksum-Type", "FULL_OBJECT")
		c.get(b, "k", withSums).is(200).h(header, sum(name, "hello"))
		c.head(b, "k").is(200).h(header, "")
		c.do("GET", "/"+b).is(200).x("Contents.ChecksumAlgorithm", name).x("Contents.ChecksumType", "FULL_OBJECT")
	})...)
	rows = append(rows, eachSum("PutObject", "ChecksumWrong", func(c *C, name, header string) {
		b := c.bucket()
		c.do("PUT", "/"+b+"/k", body("hello"), hdr(header, sum(name, "other"))).err(400, "BadDigest")
		c.get(b, "k").err(404, "NoSuchKey")
	})...)
	rows = append(rows, eachSum("PutObject", "ChecksumInvalid", func(c *C, name, header string) {
		c.do("PUT", "/"+c.bucket()+"/k", body("hello"), hdr(header, "nonsense")).err(400, "InvalidRequest")
	})...)
	rows = append(rows, eachSum("PutObject", "ChecksumTrailer", func(c *C, name, header string) {
		b := c.bucket()
		c.put(b, "k", "hello", trailer(strings.ToLower(header), sum(name, "hello")))
		c.head(b, "k", withSums).is(200).h(header, sum(name, "hello"))
		c.do("PUT", "/"+b+"/k2", body("hello"), trailer(strings.ToLower(header), sum(name, "other"))).err(400, "BadDigest")
	})...)
	rows = append(rows, eachSum("CopyObject", "Checksum", func(c *C, name, header string) {
		b := c.bucket()
		c.put(b, "k", "hello", hdr(header, sum(name, "hello")))
		c.copyTo(b, "c", b+"/k").is(200).x("Checksum"+name, sum(name, "hello"))
		c.head(b, "c", withSums).is(200).h(header, sum(name, "hello"))
		c.copyTo(b, "d", b+"/k", hdr("X-Amz-Checksum-Algorithm", "SHA256")).is(200).x("ChecksumSHA256", sum("SHA256", "hello"))
		c.head(b, "d", withSums).is(200).h("X-Amz-Checksum-Sha256", sum("SHA256", "hello"))
	})...)
	rows = append(rows, eachSum("CompleteMultipartUpload", "Checksum", func(c *C, name, header string) {
		kind, want := "COMPOSITE", ""
		if name == "CRC64NVME" {
			kind, want = "FULL_OBJECT", sum(name, fiveMiB, "end")
		} else {
			want = composite(name, fiveMiB, "end")
		}
		b := c.bucket()
		id := c.upload(b, "k", hdr("X-Amz-Checksum-Algorithm", name))
		var list strings.Builder
		for i, t := range []string{fiveMiB, "end"} {
			r := c.part(b, "k", id, i+1, t, hdr(header, sum(name, t))).is(200).h(header, sum(name, t))
			fmt.Fprintf(&list, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag><Checksum%s>%s</Checksum%s></Part>", i+1, r.header.Get("ETag"), name, sum(name, t), name)
		}
		c.do("GET", "/"+b+"/k?uploadId="+id).is(200).x("ChecksumAlgorithm", name).x("ChecksumType", kind).x("Part.Checksum"+name, sum(name, fiveMiB), sum(name, "end"))
		c.do("GET", "/"+b+"?uploads").is(200).x("Upload.ChecksumAlgorithm", name).x("Upload.ChecksumType", kind)
		c.complete(b, "k", id, "<CompleteMultipartUpload>"+list.String()+"</CompleteMultipartUpload>").is(200).x("Checksum"+name, want).x("ChecksumType", kind)
		c.head(b, "k", withSums).is(200).h(header, want).h("X-Amz-Checksum-Type", kind)
		c.do("HEAD", "/"+b+"/k?partNumber=2", withSums).is(206).h(header, sum(name, "end"))
	})...)
	rows = append(rows, eachSum("UploadPart", "ChecksumWrong", func(c *C, name, header string) {
		b := c.bucket()
		id := c.upload(b, "k", hdr("X-Amz-Checksum-Algorithm", name))
		c.part(b, "k", id, 1, "hello", hdr(header, sum(name, "other"))).err(400, "BadDigest")
		c.part(b, "k", id, 1, "hello", hdr(header, "nonsense")).err(400, "InvalidRequest")
	})...)
	for _, name := range []string{"CRC32", "CRC32C"} {
		header := "X-Amz-Checksum-" + name
		rows = append(rows, row{"CompleteMultipartUpload/ChecksumFullObject/" + name, func(c *C) {
			b := c.bucket()
			id := c.upload(b, "k", hdr("X-Amz-Checksum-Algorithm", name, "X-Amz-Checksum-Type", "FULL_OBJECT"))
			var of []any
			for i, t := range []string{fiveMiB, "end"} {
				of = append(of, i+1, c.part(b, "k", id, i+1, t, hdr(header, sum(name, t))).is(200).header.Get("ETag"))
			}
			c.complete(b, "k", id, parts(of...), hdr(header, sum(name, "other"))).err(400, "BadDigest")
			c.complete(b, "k", id, parts(of...), hdr(header, sum(name, fiveMiB, "end"), "X-Amz-Checksum-Type", "FULL_OBJECT")).is(200).x("Checksum"+name, sum(name, fiveMiB, "end")).x("ChecksumType", "FULL_OBJECT")
			c.head(b, "k", withSums).is(200).h(header, sum(name, fiveMiB, "end")).h("X-Amz-Checksum-Type", "FULL_OBJECT")
		}})
	}
	return append(rows, []row{
		{"PutObject/Checksum/Default", func(c *C) {
			b := c.bucket()
			c.put(b, "k", "hello")
			c.head(b, "k", withSums).is(200).h("X-Amz-Checksum-Crc64nvme", sum("CRC64NVME", "hello")).h("X-Amz-Checksum-Type", "FULL_OBJECT")
		}},
		{"PutObject/Checksum/Two", badPut(400, "InvalidRequest", "X-Amz-Checksum-Crc32", "NhCmhg==", "X-Amz-Checksum-Sha1", "qvTGHdzF6KLavt4PO0gs2a6pQ00=")},
		{"PutObject/Checksum/AlgorithmWithoutValue", badPut(400, "InvalidRequest", "X-Amz-Sdk-Checksum-Algorithm", "SHA256")},
		{"PutObject/Checksum/AlgorithmAndOther", badPut(400, "InvalidRequest", "X-Amz-Sdk-Checksum-Algorithm", "SHA256", "X-Amz-Checksum-Crc32", "NhCmhg==")},
		{"PutObject/Checksum/UnknownAlgorithm", badPut(400, "InvalidRequest", "X-Amz-Sdk-Checksum-Algorithm", "ROT13")},
		{"PutObject/Checksum/XXHASH", func(c *C) {
			// The published sums of an empty input, without a seed.
			b := c.bucket()
			for name, value := range map[string]string{"Xxhash64": "70bbN1HY6Zk=", "Xxhash3": "LQaABTjTlMI=", "Xxhash128": "maoG0wFHmNhgAcMkRo1Jfw=="} {
				c.put(b, "k", "", hdr("X-Amz-Checksum-"+name, value)).h("X-Amz-Checksum-"+name, value)
				c.head(b, "k", withSums).is(200).h("X-Amz-Checksum-"+name, value)
				c.do("PUT", "/"+b+"/k", body("x"), hdr("X-Amz-Checksum-"+name, value)).err(400, "BadDigest")
			}
		}},
		{"PutObject/SignedChunks/TooSmall", func(c *C) {
			b := c.bucket()
			c.do("PUT", "/"+b+"/k", func(q *req) {
				q.payload = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
				q.body = []byte("2\r\nhe\r\n3\r\nllo\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n")
			}, hdr("X-Amz-Decoded-Content-Length", "5", "X-Amz-Trailer", "x-amz-checksum-crc32", "Content-Encoding", "aws-chunked")).err(400, "InvalidChunkSizeError")
		}},
		{"GetObject/Checksum/Range", func(c *C) {
			b := c.bucket()
			c.put(b, "k", "hello", hdr("X-Amz-Checksum-Crc32", "NhCmhg=="))
			c.get(b, "k", withSums, hdr("Range", "bytes=0-1")).is(206).h("X-Amz-Checksum-Crc32", "")
		}},
		{"CreateMultipartUpload/Checksum/UnknownAlgorithm", func(c *C) {
			c.do("POST", "/"+c.bucket()+"/k?uploads", hdr("X-Amz-Checksum-Algorithm", "ROT13")).err(400, "InvalidRequest")
		}},
		{"CreateMultipartUpload/Checksum/SHA1FullObject", func(c *C) {
			c.do("POST", "/"+c.bucket()+"/k?uploads", hdr("X-Amz-Checksum-Algorithm", "SHA1", "X-Amz-Checksum-Type", "FULL_OBJECT")).err(400, "InvalidRequest")
		}},
		{"CreateMultipartUpload/Checksum/CRC64NVMEComposite", func(c *C) {
			c.do("POST", "/"+c.bucket()+"/k?uploads", hdr("X-Amz-Checksum-Algorithm", "CRC64NVME", "X-Amz-Checksum-Type", "COMPOSITE")).err(400, "InvalidRequest")
		}},
		{"CreateMultipartUpload/Checksum/TypeAlone", func(c *C) {
			c.do("POST", "/"+c.bucket()+"/k?uploads", hdr("X-Amz-Checksum-Type", "FULL_OBJECT")).err(400, "InvalidRequest")
		}},
		{"UploadPart/Checksum/OtherAlgorithm", func(c *C) {
			b := c.bucket()
			id := c.upload(b, "k", hdr("X-Amz-Checksum-Algorithm", "SHA256"))
			c.part(b, "k", id, 1, "hello", hdr("X-Amz-Checksum-Crc32", "NhCmhg==")).err(400, "InvalidRequest")
		}},
		{"CompleteMultipartUpload/Checksum/WrongPart", func(c *C) {
			b := c.bucket()
			id := c.upload(b, "k", hdr("X-Amz-Checksum-Algorithm", "SHA256"))
			e := c.part(b, "k", id, 1, "hello", hdr("X-Amz-Checksum-Sha256", sum("SHA256", "hello"))).is(200).header.Get("ETag")
			c.complete(b, "k", id, "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"+e+"</ETag><ChecksumSHA256>"+sum("SHA256", "other")+"</ChecksumSHA256></Part></CompleteMultipartUpload>").err(400, "InvalidPart")
		}},
		{"CompleteMultipartUpload/Checksum/NoneNamed", func(c *C) {
			b := c.bucket()
			id := c.upload(b, "k", hdr("X-Amz-Checksum-Algorithm", "SHA256"))
			e := c.part(b, "k", id, 1, fiveMiB, hdr("X-Amz-Checksum-Sha256", sum("SHA256", fiveMiB))).is(200).header.Get("ETag")
			f := c.part(b, "k", id, 2, "end", hdr("X-Amz-Checksum-Sha256", sum("SHA256", "end"))).is(200).header.Get("ETag")
			some := strings.Replace(parts(1, e, 2, f), "</ETag>", "</ETag><ChecksumSHA256>"+sum("SHA256", fiveMiB)+"</ChecksumSHA256>", 1)
			c.complete(b, "k", id, some).err(400, "InvalidRequest")
			c.complete(b, "k", id, parts(1, e, 2, f), hdr("X-Amz-Checksum-Sha256", "bad")).err(400, "BadDigest")
			c.complete(b, "k", id, parts(1, e, 2, f)).is(200).x("ChecksumSHA256", composite("SHA256", fiveMiB, "end")).x("ChecksumType", "COMPOSITE")
		}},
		{"PutObject/Checksum/CutOff", func(c *C) {
			b := c.bucket()
			c.do("PUT", "/"+b+"/k", body("hello"), hdr("X-Amz-Checksum-Sha256", "bad")).err(400, "BadDigest")
			c.do("PUT", "/"+b+"/k", body("hello"), hdr("X-Amz-Checksum-Sha256", "no!")).err(400, "InvalidRequest")
			c.get(b, "k").err(404, "NoSuchKey")
		}},
		{"GetObjectAttributes/PartsWithoutChecksums", func(c *C) {
			b := c.bucket()
			c.multipart(b, "k", fiveMiB, "end")
			c.do("GET", "/"+b+"/k?attributes", hdr("X-Amz-Object-Attributes", "ObjectParts")).is(200).x("ObjectParts.PartsCount", "2").x("ObjectParts.Part.PartNumber", "1", "2").x("ObjectParts.Part.Size", "5242880", "3")
		}},
		{"GetObjectAttributes/Plain", func(c *C) {
			b := c.bucket()
			c.put(b, "k", "hello", hdr("X-Amz-Checksum-Crc32", "NhCmhg=="))
			c.do("GET", "/"+b+"/k?attributes", hdr("X-Amz-Object-Attributes", "ETag,Checksum,ObjectSize,StorageClass,ObjectParts")).is(200).hset("Last-Modified").
				x("ETag", md5hex("hello")).x("Checksum.ChecksumCRC32", "NhCmhg==").x("Checksum.ChecksumType", "FULL_OBJECT").x("ObjectSize", "5").x("StorageClass", "STANDARD").x("ObjectParts")
			c.do("GET", "/"+b+"/k?attributes", hdr("X-Amz-Object-Attributes", "ObjectSize")).is(200).x("ObjectSize", "5").x("ETag").x("StorageClass").x("Checksum")
		}},
		{"GetObjectAttributes/Parts", func(c *C) {
			b := c.bucket()
			id := c.upload(b, "k", hdr("X-Amz-Checksum-Algorithm", "SHA256"))
			var list strings.Builder
			for i, t := range []string{fiveMiB, "end"} {
				e := c.part(b, "k", id, i+1, t, hdr("X-Amz-Checksum-Sha256", sum("SHA256", t))).is(200).header.Get("ETag")
				fmt.Fprintf(&list, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag><ChecksumSHA256>%s</ChecksumSHA256></Part>", i+1, e, sum("SHA256", t))
			}
			c.complete(b, "k", id, "<CompleteMultipartUpload>"+list.String()+"</CompleteMultipartUpload>").is(200)
			r := c.do("GET", "/"+b+"/k?attributes", hdr("X-Amz-Object-Attributes", "ObjectParts,Checksum,ObjectSize"))
			r.is(200).x("ObjectParts.PartsCount", "2").x("ObjectParts.Part.PartNumber", "1", "2").x("ObjectParts.Part.Size", "5242880", "3").x("Checksum.ChecksumSHA256", composite("SHA256", fiveMiB, "end")).x("Checksum.ChecksumType", "COMPOSITE")
			c.do("GET", "/"+b+"/k?attributes", hdr("X-Amz-Object-Attributes", "ObjectParts", "X-Amz-Max-Parts", "1")).is(200).x("ObjectParts.Part.PartNumber", "1").x("ObjectParts.IsTruncated", "true").x("ObjectParts.NextPartNumberMarker", "1").x("ObjectParts.MaxParts", "1")
			c.do("GET", "/"+b+"/k?attributes", hdr("X-Amz-Object-Attributes", "ObjectParts", "X-Amz-Part-Number-Marker", "1")).is(200).x("ObjectParts.Part.PartNumber", "2").x("ObjectParts.IsTruncated", "false").x("ObjectParts.PartNumberMarker", "1")
		}},
		{"GetObjectAttributes/Missing", func(c *C) {
			c.do("GET", "/"+c.bucket()+"/k?attributes", hdr("X-Amz-Object-Attributes", "ETag")).err(404, "NoSuchKey")
		}},
		{"GetObjectAttributes/NoHeader", func(c *C) {
			b := c.bucket()
			c.put(b, "k", "v")
			c.do("GET", "/"+b+"/k?attributes").err(400, "InvalidRequest")
		}},
		{"GetObjectAttributes/UnknownAttribute", func(c *C) {
			b := c.bucket()
			c.put(b, "k", "v")
			c.do("GET", "/"+b+"/k?attributes", hdr("X-Amz-Object-Attributes", "ETag,Colour")).err(400, "InvalidArgument")
		}},
		{"GetObjectAttributes/Version", func(c *C) {
			b := c.versioned()
			ids := c.stack(b, "k", "one", "two!")
			c.do("GET", "/"+b+"/k?attributes&versionId="+ids[0], hdr("X-Amz-Object-Attributes", "ObjectSize")).is(200).x("ObjectSize", "3").h("X-Amz-Version-Id", ids[0])
		}},
		{"GetObjectAttributes/SDK", func(c *C) {
			b := c.bucket()
			c.put(b, "k", "hello")
			out := ok(c.sdk().GetObjectAttributes(context.Background(), &awss3.GetObjectAttributesInput{Bucket: &b, Key: aws.String("k"), ObjectAttributes: []types.ObjectAttributes{types.ObjectAttributesEtag, types.ObjectAttributesObjectSize}}))
			if aws.ToString(out.ETag) != md5hex("hello") || aws.ToInt64(out.ObjectSize) != 5 {
				fail("%+v", out)
			}
		}},
	}...)
}

// customer are the headers of a key of the customer's.
func customer(prefix, key string) opt {
	s := md5.Sum([]byte(key))
	return hdr("X-Amz-"+prefix+"Server-Side-Encryption-Customer-Algorithm", "AES256",
		"X-Amz-"+prefix+"Server-Side-Encryption-Customer-Key", base64.StdEncoding.EncodeToString([]byte(key)),
		"X-Amz-"+prefix+"Server-Side-Encryption-Customer-Key-Md5", base64.StdEncoding.EncodeToString(s[:]))
}

const (
	keyA = "0123456789abcdef0123456789abcdef"
	keyB = "fedcba9876543210fedcba9876543210"
)

// sizes stores bodies of several sizes encrypted and reads them back, whole and in ranges.
func sizes(o opt, read opt, header, value string) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		for _, n := range []int{0, 1, 1000, 65537, 1<<20 + 1} {
			text := strings.Repeat("encrypted!", n/10+1)[:n]
			c.put(b, "k", text, o).h(header, value)
			c.get(b, "k", read).is(200).text(text).h(header, value).h("Content-Length", fmt.Sprint(n))
			c.head(b, "k", read).is(200).h(header, value).h("Content-Length", fmt.Sprint(n))
			if n > 100 {
				c.get(b, "k", read, hdr("Range", "bytes=77-99")).is(206).text(text[77:100])
				c.get(b, "k", read, hdr("Range", fmt.Sprintf("bytes=%d-", n-50))).is(206).text(text[n-50:])
			}
		}
	}
}

func badCustomer(status int, code string, kv ...string) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		c.do("PUT", "/"+b+"/k", body("v"), hdr(kv...)).err(status, code)
	}
}

func nothing(*req) {}

var (
	sseS3  = hdr("X-Amz-Server-Side-Encryption", "AES256")
	sseKMS = hdr("X-Amz-Server-Side-Encryption", "aws:kms")
)

var sseRows = []row{
	{"SSE-S3/Sizes", sizes(sseS3, nothing, "X-Amz-Server-Side-Encryption", "AES256")},
	{"SSE-S3/UnknownAlgorithm", badCustomer(400, "InvalidArgument", "X-Amz-Server-Side-Encryption", "ROT13")},
	{"SSE-S3/HeaderOnRead", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", sseS3)
		c.head(b, "k", sseS3).is(400)
		c.get(b, "k", sseS3).err(400, "InvalidArgument")
	}},
	{"SSE-S3/Multipart", func(c *C) {
		b := c.bucket()
		r := c.do("POST", "/"+b+"/k?uploads", sseS3).is(200).h("X-Amz-Server-Side-Encryption", "AES256")
		id := r.first("UploadId")
		one := c.part(b, "k", id, 1, fiveMiB).is(200).h("X-Amz-Server-Side-Encryption", "AES256").header.Get("ETag")
		two := c.part(b, "k", id, 2, "end").is(200).header.Get("ETag")
		c.complete(b, "k", id, parts(1, one, 2, two)).is(200).h("X-Amz-Server-Side-Encryption", "AES256")
		if g := c.get(b, "k").is(200).h("X-Amz-Server-Side-Encryption", "AES256"); string(g.body) != fiveMiB+"end" {
			fail("another body")
		}
		c.get(b, "k", hdr("Range", "bytes=5242878-5242881")).is(206).text("efen")
		c.do("GET", "/"+b+"/k?partNumber=2").is(206).text("end")
	}},
	{"SSE-S3/Copy", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.copyTo(b, "c", b+"/k", sseS3).is(200).h("X-Amz-Server-Side-Encryption", "AES256")
		c.get(b, "c").is(200).text("v").h("X-Amz-Server-Side-Encryption", "AES256")
		c.copyTo(b, "d", b+"/c").is(200)
		c.get(b, "d").is(200).text("v")
	}},
	{"SSE-KMS/Sizes", sizes(sseKMS, nothing, "X-Amz-Server-Side-Encryption", "aws:kms")},
	{"SSE-KMS/KeyId", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", sseKMS).hset("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id")
		c.head(b, "k").is(200).hset("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id")
	}},
	{"SSE-KMS/UnknownKey", badCustomer(400, "KMS.NotFoundException", "X-Amz-Server-Side-Encryption", "aws:kms", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", "no-such-key")},
	{"SSE-KMS/KeyIdAlone", badCustomer(400, "InvalidArgument", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", "testkey-1")},
	{"SSE-KMS/KeyIdWithAES256", badCustomer(400, "InvalidArgument", "X-Amz-Server-Side-Encryption", "AES256", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", "testkey-1")},
	{"SSE-C/Sizes", sizes(customer("", keyA), customer("", keyA), "X-Amz-Server-Side-Encryption-Customer-Algorithm", "AES256")},
	{"SSE-C/KeyMd5IsReturned", func(c *C) {
		s := md5.Sum([]byte(keyA))
		c.put(c.bucket(), "k", "v", customer("", keyA)).h("X-Amz-Server-Side-Encryption-Customer-Key-Md5", base64.StdEncoding.EncodeToString(s[:]))
	}},
	{"SSE-C/ReadWithoutKey", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", customer("", keyA))
		c.get(b, "k").err(400, "InvalidRequest")
		c.head(b, "k").is(400)
	}},
	{"SSE-C/ReadWithOtherKey", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", customer("", keyA))
		c.get(b, "k", customer("", keyB)).err(400, "InvalidRequest")
		c.head(b, "k", customer("", keyB)).is(400)
	}},
	{"SSE-C/KeyForPlainObject", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.get(b, "k", customer("", keyA)).err(400, "InvalidRequest")
	}},
	{"SSE-C/NoMd5", badCustomer(400, "InvalidArgument", "X-Amz-Server-Side-Encryption-Customer-Algorithm", "AES256", "X-Amz-Server-Side-Encryption-Customer-Key", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")},
	{"SSE-C/WrongMd5", badCustomer(400, "InvalidArgument", "X-Amz-Server-Side-Encryption-Customer-Algorithm", "AES256", "X-Amz-Server-Side-Encryption-Customer-Key", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "X-Amz-Server-Side-Encryption-Customer-Key-Md5", "AAAAAAAAAAAAAAAAAAAAAA==")},
	{"SSE-C/NoKey", badCustomer(400, "InvalidArgument", "X-Amz-Server-Side-Encryption-Customer-Algorithm", "AES256")},
	{"SSE-C/NoAlgorithm", badCustomer(400, "InvalidArgument", "X-Amz-Server-Side-Encryption-Customer-Key", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "X-Amz-Server-Side-Encryption-Customer-Key-Md5", "AAAAAAAAAAAAAAAAAAAAAA==")},
	{"SSE-C/UnknownAlgorithm", badCustomer(400, "InvalidEncryptionAlgorithmError", "X-Amz-Server-Side-Encryption-Customer-Algorithm", "AES128", "X-Amz-Server-Side-Encryption-Customer-Key", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "X-Amz-Server-Side-Encryption-Customer-Key-Md5", "AAAAAAAAAAAAAAAAAAAAAA==")},
	{"SSE-C/ShortKey", badCustomer(400, "InvalidArgument", "X-Amz-Server-Side-Encryption-Customer-Algorithm", "AES256", "X-Amz-Server-Side-Encryption-Customer-Key", "c2hvcnQ=", "X-Amz-Server-Side-Encryption-Customer-Key-Md5", md5b64("short"))},
	{"SSE-C/WithSSE-S3", func(c *C) {
		c.do("PUT", "/"+c.bucket()+"/k", body("v"), customer("", keyA), sseS3).err(400, "InvalidArgument")
	}},
	{"SSE-C/Multipart", func(c *C) {
		b := c.bucket()
		id := c.upload(b, "k", customer("", keyA))
		one := c.part(b, "k", id, 1, fiveMiB, customer("", keyA)).is(200).header.Get("ETag")
		two := c.part(b, "k", id, 2, "end", customer("", keyA)).is(200).header.Get("ETag")
		c.part(b, "k", id, 3, "x").err(400, "InvalidRequest")
		c.part(b, "k", id, 3, "x", customer("", keyB)).err(400, "InvalidRequest")
		c.complete(b, "k", id, parts(1, one, 2, two)).is(200)
		c.get(b, "k").err(400, "InvalidRequest")
		if g := c.get(b, "k", customer("", keyA)).is(200); string(g.body) != fiveMiB+"end" {
			fail("another body")
		}
		c.get(b, "k", customer("", keyA), hdr("Range", "bytes=5242878-5242881")).is(206).text("efen")
		c.do("GET", "/"+b+"/k?partNumber=3").err(400, "InvalidPart") // whoever asks
		c.do("GET", "/"+b+"/k?partNumber=2").err(400, "InvalidRequest")
		c.do("GET", "/"+b+"/k?partNumber=2", customer("", keyA)).is(206).text("end")
	}},
	{"SSE-C/Complete", func(c *C) {
		b := c.bucket()
		id := c.upload(b, "k", customer("", keyA), hdr("X-Amz-Checksum-Algorithm", "CRC32"))
		one := c.part(b, "k", id, 1, "x", customer("", keyA)).is(200).header.Get("ETag")
		c.complete(b, "k", id, parts(1, one)).err(400, "InvalidRequest") // with checksums S3 wants the key again
		c.complete(b, "k", id, parts(1, one), customer("", keyB)).err(400, "InvalidRequest")
		c.complete(b, "k", id, parts(1, one), customer("", keyA)).is(200).h("X-Amz-Server-Side-Encryption-Customer-Algorithm", "AES256").hset("X-Amz-Server-Side-Encryption-Customer-Key-Md5")
		c.get(b, "k", customer("", keyA)).is(200).text("x")
	}},
	{"SSE-C/Copy", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", customer("", keyA))
		c.copyTo(b, "c", b+"/k").err(400, "InvalidRequest")
		c.copyTo(b, "c", b+"/k", customer("Copy-Source-", keyB)).err(400, "InvalidRequest")
		c.copyTo(b, "plain", b+"/k", customer("Copy-Source-", keyA)).is(200)
		c.get(b, "plain").is(200).text("v")
		c.copyTo(b, "c", b+"/k", customer("Copy-Source-", keyA), customer("", keyB)).is(200)
		c.get(b, "c", customer("", keyB)).is(200).text("v")
	}},
	{"SSE-C/PartCopy", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "hello", customer("", keyA))
		id := c.upload(b, "m", customer("", keyB))
		r := c.do("PUT", "/"+b+"/m?partNumber=1&uploadId="+id, hdr("X-Amz-Copy-Source", b+"/k", "X-Amz-Copy-Source-Range", "bytes=1-3"), customer("Copy-Source-", keyA), customer("", keyB)).is(200)
		c.complete(b, "m", id, parts(1, r.first("ETag"))).is(200)
		c.get(b, "m", customer("", keyB)).is(200).text("ell")
	}},
	{"SSE-C/Listed", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", customer("", keyA))
		c.do("GET", "/"+b).is(200).x("Contents.Size", "1")
		c.del(b, "k").is(204)
	}},
}
