package conformance

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
)

// listing lists keys with a query, in all versions of the operation, and wants these keys and prefixes.
func listing(query string, keys []string, want []string, prefixes ...string) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		c.puts(b, keys...)
		for _, version := range []string{"", "&list-type=2"} {
			r := c.do("GET", "/"+b+"?"+query+version).is(200).root("ListBucketResult")
			r.x("Name", b).x("Contents.Key", want...).x("CommonPrefixes.Prefix", prefixes...).x("IsTruncated", "false").x("NextMarker").x("NextContinuationToken")
			if version != "" {
				r.x("KeyCount", fmt.Sprint(len(want)+len(prefixes)))
			}
		}
		c.do("GET", "/"+b+"?versions&"+query).is(200).root("ListVersionsResult").x("Version.Key", want...).x("CommonPrefixes.Prefix", prefixes...)
	}
}

// pages lists with pages of max and wants each page's names, keys before prefixes.
func pages(query string, max int, keys []string, want ...[]string) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		c.puts(b, keys...)
		names := func(r *R) []string {
			return append(slices.Clone(r.all("Contents.Key")), r.all("CommonPrefixes.Prefix")...)
		}
		query := fmt.Sprintf("?max-keys=%d&%s", max, query)
		marker, token := "", ""
		for i, w := range want {
			last := fmt.Sprint(i < len(want)-1)
			r := c.do("GET", "/"+b+query+"&marker="+queryEsc(marker)).is(200).x("IsTruncated", last).x("MaxKeys", fmt.Sprint(max)).x("Marker", marker)
			if got := names(r); !slices.Equal(got, w) {
				fail("page %d: %q, want %q", i, got, w)
			}
			if marker = r.first("NextMarker"); marker == "" && i < len(want)-1 {
				marker = w[len(w)-1]
			}
			more := "&list-type=2"
			if i > 0 {
				more += "&continuation-token=" + queryEsc(token)
			}
			r = c.do("GET", "/"+b+query+more).is(200).x("IsTruncated", last).x("KeyCount", fmt.Sprint(len(w)))
			if i > 0 {
				r.x("ContinuationToken", token)
			}
			if got := names(r); !slices.Equal(got, w) {
				fail("version 2, page %d: %q, want %q", i, got, w)
			}
			if token = r.first("NextContinuationToken"); (token != "") != (i < len(want)-1) {
				fail("%v", r)
			}
		}
	}
}

func queryEsc(s string) string { return strings.ReplaceAll(esc(s), "/", "%2F") }

func badList(query string) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		for _, version := range []string{"", "&list-type=2"} {
			c.do("GET", "/"+b+"?"+query+version).err(400, "InvalidArgument")
		}
	}
}

type s = []string

var listRows = []row{
	{"ListObjects/Empty", listing("", nil, nil)},
	{"ListObjects/Flat", listing("", s{"c", "a", "b"}, s{"a", "b", "c"})},
	{"ListObjects/Order", listing("", s{"a", "B", "a/", "a.", "é", "~", "z"}, s{"B", "a", "a.", "a/", "z", "~", "é"})},
	{"ListObjects/Delimiter", listing("delimiter=/", s{"asdf", "foo/bar", "foo/baz/xyzzy", "quux/thud"}, s{"asdf"}, "foo/", "quux/")},
	{"ListObjects/DelimiterLast", listing("delimiter=/", s{"a/", "a/b", "b"}, s{"b"}, "a/")},
	{"ListObjects/Delimiter/Alt", listing("delimiter=a", s{"bar", "baz", "cab", "foo"}, s{"foo"}, "ba", "ca")},
	{"ListObjects/Delimiter/Percent", listing("delimiter=%25", s{"b%ar", "b%az", "c%ab", "foo"}, s{"foo"}, "b%", "c%")},
	{"ListObjects/Delimiter/Space", listing("delimiter=%20", s{"b ar", "b az", "c ab", "foo"}, s{"foo"}, "b ", "c ")},
	{"ListObjects/Delimiter/Dot", listing("delimiter=.", s{"b.ar", "b.az", "c.ab", "foo"}, s{"foo"}, "b.", "c.")},
	{"ListObjects/Delimiter/Several", listing("delimiter=--", s{"a--b", "a--c", "a-d", "e"}, s{"a-d", "e"}, "a--")},
	{"ListObjects/Delimiter/Control", listing("delimiter=%0A", s{"bar", "baz", "cab", "foo"}, s{"bar", "baz", "cab", "foo"})},
	{"ListObjects/Delimiter/Empty", listing("delimiter=", s{"bar", "baz", "cab", "foo"}, s{"bar", "baz", "cab", "foo"})},
	{"ListObjects/Delimiter/NotThere", listing("delimiter=/", s{"bar", "baz", "cab", "foo"}, s{"bar", "baz", "cab", "foo"})},
	{"ListObjects/Delimiter/FirstByte", listing("delimiter=/", s{"/a", "/b", "c"}, s{"c"}, "/")},
	{"ListObjects/Prefix", listing("prefix=foo/", s{"foo/bar", "foo/baz", "quux"}, s{"foo/bar", "foo/baz"})},
	{"ListObjects/Prefix/Alt", listing("prefix=ba", s{"bar", "baz", "foo"}, s{"bar", "baz"})},
	{"ListObjects/Prefix/Empty", listing("prefix=", s{"foo/bar", "quux"}, s{"foo/bar", "quux"})},
	{"ListObjects/Prefix/NotThere", listing("prefix=d", s{"foo/bar", "quux"}, nil)},
	{"ListObjects/Prefix/Control", listing("prefix=%0A", s{"foo/bar", "quux"}, nil)},
	{"ListObjects/Prefix/Whole", listing("prefix=foo/bar", s{"foo/bar", "foo/bars", "quux"}, s{"foo/bar", "foo/bars"})},
	{"ListObjects/Prefix+Delimiter", listing("delimiter=/&prefix=foo/", s{"foo/bar", "foo/baz/xyzzy", "quux/thud", "asdf"}, s{"foo/bar"}, "foo/baz/")},
	{"ListObjects/Prefix+Delimiter/Alt", listing("delimiter=a&prefix=ba", s{"bar", "bazar", "cab", "foo"}, s{"bar"}, "baza")},
	{"ListObjects/Prefix+Delimiter/NoPrefix", listing("delimiter=d&prefix=r", s{"b/a/r", "b/a/c", "b/a/g", "g"}, nil)},
	{"ListObjects/Prefix+Delimiter/NoDelimiter", listing("delimiter=z&prefix=b", s{"b/a/c", "b/a/g", "b/a/r", "g"}, s{"b/a/c", "b/a/g", "b/a/r"})},
	{"ListObjects/Prefix+Delimiter/Neither", listing("delimiter=z&prefix=y", s{"b/a/c", "b/a/g", "b/a/r", "g"}, nil)},
	{"ListObjects/Prefix+Delimiter/Special", listing("delimiter=/", s{"0/", "0/a", "a/b"}, nil, "0/", "a/")},
	{"ListObjects/Prefix+Delimiter/PrefixIsKey", listing("delimiter=/&prefix=d/", s{"d/", "d/a", "d/b/c"}, s{"d/", "d/a"}, "d/b/")},
	{"ListObjects/Pages", pages("", 2, s{"a", "b", "c", "d", "e"}, s{"a", "b"}, s{"c", "d"}, s{"e"})},
	{"ListObjects/Pages/ExactEnd", pages("", 2, s{"a", "b", "c", "d"}, s{"a", "b"}, s{"c", "d"})},
	{"ListObjects/Pages/One", pages("", 1, s{"a", "b", "c"}, s{"a"}, s{"b"}, s{"c"})},
	{"ListObjects/Pages/Delimiter", pages("delimiter=/", 1, s{"asdf", "boo/bar", "boo/baz/xyzzy", "cquux/thud", "cquux/bla"}, s{"asdf"}, s{"boo/"}, s{"cquux/"})},
	{"ListObjects/Pages/DelimiterTwo", pages("delimiter=/", 2, s{"asdf", "boo/bar", "boo/baz/xyzzy", "cquux/thud", "cquux/bla"}, s{"asdf", "boo/"}, s{"cquux/"})},
	{"ListObjects/Pages/DelimiterAndPrefix", pages("delimiter=/&prefix=boo/", 1, s{"asdf", "boo/bar", "boo/baz/xyzzy", "cquux/thud"}, s{"boo/bar"}, s{"boo/baz/"})},
	{"ListObjects/Pages/Underscore", pages("delimiter=/", 1, s{"_obj1_", "_under1/bar", "_under1/baz/xyzzy", "_under2/thud", "_under2/bla"}, s{"_obj1_"}, s{"_under1/"}, s{"_under2/"})},
	{"ListObjects/MaxKeys/Zero", func(c *C) {
		b := c.bucket()
		c.puts(b, "a", "b")
		for _, v := range []string{"", "&list-type=2"} {
			c.do("GET", "/"+b+"?max-keys=0"+v).is(200).x("MaxKeys", "0").x("Contents.Key").x("IsTruncated", "false")
		}
	}},
	{"ListObjects/MaxKeys/Default", func(c *C) {
		c.do("GET", "/"+c.bucket()).is(200).x("MaxKeys", "1000").x("Marker", "").x("Prefix", "").x("Delimiter")
	}},
	{"ListObjects/MaxKeys/OverLimit", func(c *C) { c.do("GET", "/"+c.bucket()+"?max-keys=5000").is(200).x("MaxKeys", "1000") }},
	{"ListObjects/MaxKeys/NoNumber", badList("max-keys=blah")},
	{"ListObjects/MaxKeys/Negative", badList("max-keys=-1")},
	{"ListObjects/MaxKeys/TooBig", badList("max-keys=2147483648")},
	{"ListObjects/Encoding/URL", func(c *C) {
		b := c.bucket()
		c.puts(b, "foo+1/bar", "foo/bar/xyzzy", "quux ab/thud", "asdf+b")
		for _, v := range []string{"", "&list-type=2"} {
			c.do("GET", "/"+b+"?delimiter=/&encoding-type=url"+v).is(200).x("EncodingType", "url").x("Delimiter", "/").x("Contents.Key", "asdf%2Bb").x("CommonPrefixes.Prefix", "foo%2B1/", "foo/", "quux%20ab/")
		}
	}},
	{"ListObjects/Encoding/Unknown", badList("encoding-type=base64")},
	{"ListObjects/Fields", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "hello")
		r := c.do("GET", "/"+b).is(200).x("Contents.Size", "5").x("Contents.ETag", etag("hello")).x("Contents.StorageClass", "STANDARD").x("Contents.Owner.ID", c.srv.main.id).some("Contents.LastModified")
		if !strings.HasSuffix(r.first("Contents.LastModified"), "Z") {
			fail("%v", r)
		}
	}},
	{"ListObjects/LastModifiedAgrees", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "hello")
		r, h := c.do("GET", "/"+b).is(200), c.head(b, "k").is(200)
		a, err1 := timeOf("2006-01-02T15:04:05.000Z", r.first("Contents.LastModified"))
		m, err2 := timeOf("Mon, 02 Jan 2006 15:04:05 GMT", h.header.Get("Last-Modified"))
		if err1 != nil || err2 != nil || a.Unix() != m.Unix() {
			fail("%v and %v", a, m)
		}
	}},
	{"ListObjects/NextMarkerOnlyWithDelimiter", func(c *C) {
		b := c.bucket()
		c.puts(b, "a", "b")
		c.do("GET", "/"+b+"?max-keys=1").is(200).x("IsTruncated", "true").x("NextMarker")
		c.do("GET", "/"+b+"?max-keys=1&delimiter=/").is(200).x("IsTruncated", "true").x("NextMarker", "a")
	}},
	{"ListObjects/Marker/After", func(c *C) {
		b := c.bucket()
		c.puts(b, "bar", "baz", "foo", "quxx")
		c.do("GET", "/"+b+"?marker=baz").is(200).x("Marker", "baz").x("Contents.Key", "foo", "quxx")
		c.do("GET", "/"+b+"?marker=blah").is(200).x("Marker", "blah").x("Contents.Key", "foo", "quxx")
		c.do("GET", "/"+b+"?marker=zzz").is(200).x("Contents.Key").x("IsTruncated", "false")
		c.do("GET", "/"+b+"?marker=").is(200).x("Marker", "").x("Contents.Key", "bar", "baz", "foo", "quxx")
		c.do("GET", "/"+b+"?marker=%0A").is(200).x("Contents.Key", "bar", "baz", "foo", "quxx")
	}},
	{"ListObjects/Marker/BeforePrefix", func(c *C) {
		b := c.bucket()
		c.puts(b, "a", "p/a", "p/b", "z")
		c.do("GET", "/"+b+"?prefix=p/&marker=a").is(200).x("Contents.Key", "p/a", "p/b")
		c.do("GET", "/"+b+"?prefix=p/&marker=p/a").is(200).x("Contents.Key", "p/b")
		c.do("GET", "/"+b+"?prefix=p/&marker=q").is(200).x("Contents.Key")
	}},
	{"ListObjects/Marker/InCommonPrefix", func(c *C) {
		b := c.bucket()
		c.puts(b, "a/1", "a/2", "b")
		c.do("GET", "/"+b+"?delimiter=/&marker=a/").is(200).x("CommonPrefixes.Prefix").x("Contents.Key", "b")
	}},
	{"ListObjects/NoBucket", func(c *C) {
		b := c.fresh()
		c.do("GET", "/"+b).err(404, "NoSuchBucket").x("BucketName", b)
		c.do("GET", "/"+b+"?list-type=2").err(404, "NoSuchBucket")
		c.do("GET", "/"+b+"?versions").err(404, "NoSuchBucket")
		c.do("GET", "/"+b+"?uploads").err(404, "NoSuchBucket")
	}},
	{"ListObjects/Others", func(c *C) {
		b, o := c.bucket(), c.other()
		for _, q := range []string{"", "?list-type=2", "?versions", "?uploads"} {
			c.do("GET", "/"+b+q, as(o)).err(403, "AccessDenied")
		}
	}},
	{"ListObjects/Anonymous", func(c *C) { c.do("GET", "/"+c.bucket(), anon).err(403, "AccessDenied") }},
	{"ListObjects/ReadYourWrites", func(c *C) {
		b := c.bucket()
		for i := range 20 {
			k := fmt.Sprintf("k%02d", i)
			c.put(b, k, "v")
			if keys := c.do("GET", "/"+b).is(200).all("Contents.Key"); len(keys) != i+1 {
				fail("%d keys after %d puts", len(keys), i+1)
			}
		}
		for i := range 20 {
			c.del(b, fmt.Sprintf("k%02d", i)).is(204)
			if keys := c.do("GET", "/"+b).is(200).all("Contents.Key"); len(keys) != 19-i {
				fail("%d keys after %d deletions", len(keys), i+1)
			}
		}
	}},
	{"ListObjectsV2/StartAfter", func(c *C) {
		b := c.bucket()
		c.puts(b, "bar", "baz", "foo", "quxx")
		c.do("GET", "/"+b+"?list-type=2&start-after=bar").is(200).x("StartAfter", "bar").x("Contents.Key", "baz", "foo", "quxx")
		c.do("GET", "/"+b+"?list-type=2&start-after=blah").is(200).x("Contents.Key", "foo", "quxx")
		c.do("GET", "/"+b+"?list-type=2&start-after=zzz").is(200).x("Contents.Key").x("KeyCount", "0")
		c.do("GET", "/"+b+"?list-type=2&start-after=%0A").is(200).x("Contents.Key", "bar", "baz", "foo", "quxx")
	}},
	{"ListObjectsV2/TokenAndStartAfter", func(c *C) {
		b := c.bucket()
		c.puts(b, "bar", "baz", "foo", "quxx")
		r := c.do("GET", "/"+b+"?list-type=2&start-after=bar&max-keys=1").is(200).x("Contents.Key", "baz").x("StartAfter", "bar")
		c.do("GET", "/"+b+"?list-type=2&start-after=bar&continuation-token="+queryEsc(r.first("NextContinuationToken"))).is(200).x("Contents.Key", "foo", "quxx").x("IsTruncated", "false")
	}},
	{"ListObjectsV2/Token/Empty", func(c *C) {
		b := c.bucket()
		c.puts(b, "bar", "baz")
		c.do("GET", "/"+b+"?list-type=2&continuation-token=").is(200).x("ContinuationToken", "").x("Contents.Key", "bar", "baz").x("IsTruncated", "false")
	}},
	{"ListObjectsV2/Token/Nonsense", func(c *C) {
		c.do("GET", "/"+c.bucket()+"?list-type=2&continuation-token=nonsense").err(400, "InvalidArgument")
	}},
	{"ListObjectsV2/FetchOwner", func(c *C) {
		b := c.bucket()
		c.puts(b, "k")
		c.do("GET", "/"+b+"?list-type=2").is(200).x("Contents.Owner.ID")
		c.do("GET", "/"+b+"?list-type=2&fetch-owner=false").is(200).x("Contents.Owner.ID")
		c.do("GET", "/"+b+"?list-type=2&fetch-owner=true").is(200).x("Contents.Owner.ID", c.srv.main.id)
	}},
	{"ListObjectsV2/UnknownType", func(c *C) { c.do("GET", "/"+c.bucket()+"?list-type=3").err(400, "InvalidArgument") }},
	{"ListObjectsV2/SDKPages", func(c *C) {
		b := c.bucket()
		var keys, got []string
		for i := range 7 {
			keys = append(keys, fmt.Sprintf("dir %d/a+b", i))
		}
		c.puts(b, keys...)
		for p := awss3.NewListObjectsV2Paginator(c.sdk(), &awss3.ListObjectsV2Input{Bucket: &b, MaxKeys: aws.Int32(3)}); p.HasMorePages(); {
			for _, o := range ok(p.NextPage(context.Background())).Contents {
				got = append(got, aws.ToString(o.Key))
			}
		}
		if !slices.Equal(got, keys) {
			fail("%v", got)
		}
	}},
	{"ListObjectsV2/RestoreStatus", func(c *C) {
		b := c.bucket()
		c.puts(b, "k")
		c.do("GET", "/"+b+"?list-type=2", hdr("X-Amz-Optional-Object-Attributes", "RestoreStatus")).is(200).x("Contents.Key", "k").x("Contents.RestoreStatus")
	}},
	{"ListObjectVersions/Unversioned", func(c *C) {
		b := c.bucket()
		c.puts(b, "a", "b")
		c.do("GET", "/"+b+"?versions").is(200).root("ListVersionsResult").x("Version.Key", "a", "b").x("Version.VersionId", "null", "null").x("Version.IsLatest", "true", "true").
			x("KeyMarker", "").x("VersionIdMarker", "").x("MaxKeys", "1000").x("IsTruncated", "false").x("Version.Owner.ID", c.srv.main.id, c.srv.main.id)
	}},
	{"ListObjectVersions/VersionMarkerWithoutKey", func(c *C) {
		c.do("GET", "/"+c.bucket()+"?versions&version-id-marker=null").err(400, "InvalidArgument")
	}},
	{"ListObjectVersions/BadMaxKeys", func(c *C) { c.do("GET", "/"+c.bucket()+"?versions&max-keys=-1").err(400, "InvalidArgument") }},
	{"ListMultipartUploads/Empty", func(c *C) {
		b := c.bucket()
		c.do("GET", "/"+b+"?uploads").is(200).root("ListMultipartUploadsResult").x("Bucket", b).x("KeyMarker", "").x("UploadIdMarker", "").x("MaxUploads", "1000").x("IsTruncated", "false").x("Upload")
	}},
	{"ListMultipartUploads/Several", func(c *C) {
		b := c.bucket()
		first, second, third := c.upload(b, "a"), c.upload(b, "a"), c.upload(b, "b")
		r := c.do("GET", "/"+b+"?uploads").is(200).x("Upload.Key", "a", "a", "b").x("Upload.UploadId", first, second, third)
		r.x("Upload.Owner.ID", c.srv.main.id, c.srv.main.id, c.srv.main.id).x("Upload.Initiator.ID", c.srv.main.id, c.srv.main.id, c.srv.main.id).x("Upload.StorageClass", "STANDARD", "STANDARD", "STANDARD").some("Upload.Initiated")
	}},
	{"ListMultipartUploads/Pages", func(c *C) {
		b := c.bucket()
		first, second, third := c.upload(b, "a"), c.upload(b, "a"), c.upload(b, "b")
		r := c.do("GET", "/"+b+"?uploads&max-uploads=1").is(200).x("Upload.UploadId", first).x("IsTruncated", "true").x("NextKeyMarker", "a").x("NextUploadIdMarker", first)
		r = c.do("GET", "/"+b+"?uploads&max-uploads=1&key-marker=a&upload-id-marker="+r.first("NextUploadIdMarker")).is(200).x("Upload.UploadId", second).x("IsTruncated", "true")
		c.do("GET", "/"+b+"?uploads&max-uploads=1&key-marker=a&upload-id-marker="+r.first("NextUploadIdMarker")).is(200).x("Upload.UploadId", third).x("IsTruncated", "false")
		c.do("GET", "/"+b+"?uploads&key-marker=a").is(200).x("Upload.UploadId", third)
	}},
	{"ListMultipartUploads/Prefix+Delimiter", func(c *C) {
		b := c.bucket()
		c.upload(b, "a/1")
		c.upload(b, "a/2")
		c.upload(b, "b")
		c.do("GET", "/"+b+"?uploads&delimiter=/").is(200).x("CommonPrefixes.Prefix", "a/").x("Upload.Key", "b").x("Delimiter", "/")
		c.do("GET", "/"+b+"?uploads&prefix=a/").is(200).x("Prefix", "a/").x("Upload.Key", "a/1", "a/2")
	}},
	{"ListMultipartUploads/BadMax", func(c *C) { c.do("GET", "/"+c.bucket()+"?uploads&max-uploads=-1").err(400, "InvalidArgument") }},
	{"ListMultipartUploads/Encoding", func(c *C) {
		b := c.bucket()
		c.upload(b, "a+b")
		c.do("GET", "/"+b+"?uploads&encoding-type=url").is(200).x("EncodingType", "url").x("Upload.Key", "a%2Bb")
	}},
}
