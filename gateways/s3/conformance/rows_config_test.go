package conformance

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// tagging is a document of tags: key, value, key, value.
func tagging(kv ...string) string {
	var s strings.Builder
	for i := 0; i+1 < len(kv); i += 2 {
		fmt.Fprintf(&s, "<Tag><Key>%s</Key><Value>%s</Value></Tag>", kv[i], kv[i+1])
	}
	return `<Tagging xmlns="` + s3NS + `"><TagSet>` + s.String() + "</TagSet></Tagging>"
}

func manyTags(n int) string {
	var kv []string
	for i := range n {
		kv = append(kv, fmt.Sprintf("key%02d", i), "v")
	}
	return tagging(kv...)
}

// badTags are tags that neither objects nor buckets take.
func badTags(document string, code string) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.do("PUT", "/"+b+"/k?tagging", doc(document)).err(400, code)
		c.do("GET", "/"+b+"/k?tagging").is(200).x("TagSet.Tag")
		c.do("PUT", "/"+b+"?tagging", doc(document)).err(400, code)
		c.do("GET", "/"+b+"?tagging").err(404, "NoSuchTagSet")
	}
}

var taggingRows = []row{
	{"PutBucketTagging/Plain", func(c *C) {
		b := c.bucket()
		c.do("GET", "/"+b+"?tagging").err(404, "NoSuchTagSet").x("BucketName", b)
		c.do("PUT", "/"+b+"?tagging", doc(tagging("Hello", "World", "a b", "é"))).is(204)
		c.do("GET", "/"+b+"?tagging").is(200).root("Tagging").x("TagSet.Tag.Key", "Hello", "a b").x("TagSet.Tag.Value", "World", "é")
		c.do("DELETE", "/"+b+"?tagging").is(204)
		c.do("GET", "/"+b+"?tagging").err(404, "NoSuchTagSet")
	}},
	{"PutBucketTagging/50", func(c *C) {
		b := c.bucket()
		c.do("PUT", "/"+b+"?tagging", doc(manyTags(50))).is(204)
		c.do("PUT", "/"+b+"?tagging", doc(manyTags(51))).err(400, "BadRequest")
	}},
	{"PutBucketTagging/NoBucket", func(c *C) { c.do("PUT", "/"+c.fresh()+"?tagging", doc(tagging("a", "b"))).err(404, "NoSuchBucket") }},
	{"PutBucketTagging/Others", func(c *C) {
		c.do("PUT", "/"+c.bucket()+"?tagging", as(c.other()), doc(tagging("a", "b"))).err(403, "AccessDenied")
	}},
	{"PutObjectTagging/Plain", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.do("GET", "/"+b+"/k?tagging").is(200).root("Tagging").x("TagSet", "").x("TagSet.Tag")
		c.do("PUT", "/"+b+"/k?tagging", doc(tagging("key1", "v1", "key2", ""))).is(200)
		c.do("GET", "/"+b+"/k?tagging").is(200).x("TagSet.Tag.Key", "key1", "key2").x("TagSet.Tag.Value", "v1", "")
		c.get(b, "k").is(200).h("X-Amz-Tagging-Count", "2").text("v")
		c.do("PUT", "/"+b+"/k?tagging", doc(tagging("key3", "v3"))).is(200)
		c.do("GET", "/"+b+"/k?tagging").is(200).x("TagSet.Tag.Key", "key3")
		c.do("DELETE", "/"+b+"/k?tagging").is(204)
		c.do("GET", "/"+b+"/k?tagging").is(200).x("TagSet.Tag")
		c.get(b, "k").is(200).h("X-Amz-Tagging-Count", "")
	}},
	{"PutObjectTagging/10", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.do("PUT", "/"+b+"/k?tagging", doc(manyTags(10))).is(200)
		c.do("PUT", "/"+b+"/k?tagging", doc(manyTags(11))).err(400, "InvalidTag")
		if n := len(c.do("GET", "/"+b+"/k?tagging").is(200).all("TagSet.Tag")); n != 10 {
			fail("%d tags", n)
		}
	}},
	{"PutObjectTagging/LongestKeyAndValue", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.do("PUT", "/"+b+"/k?tagging", doc(tagging(strings.Repeat("k", 128), strings.Repeat("v", 256)))).is(200)
		c.do("GET", "/"+b+"/k?tagging").is(200).x("TagSet.Tag.Value", strings.Repeat("v", 256))
	}},
	{"PutObjectTagging/KeyTooLong", badTags(tagging(strings.Repeat("k", 129), "v"), "InvalidTag")},
	{"PutObjectTagging/ValueTooLong", badTags(tagging("k", strings.Repeat("v", 257)), "InvalidTag")},
	{"PutObjectTagging/EmptyKey", badTags(tagging("", "v"), "InvalidTag")},
	{"PutObjectTagging/Twice", badTags(tagging("k", "1", "k", "2"), "InvalidTag")},
	{"PutObjectTagging/AwsPrefix", badTags(tagging("aws:key", "1"), "InvalidTag")},
	{"PutObjectTagging/Malformed", badTags("<Tagging><Tag", "MalformedXML")},
	{"PutObjectTagging/Missing", func(c *C) {
		b := c.bucket()
		c.do("PUT", "/"+b+"/k?tagging", doc(tagging("a", "b"))).err(404, "NoSuchKey")
		c.do("GET", "/"+b+"/k?tagging").err(404, "NoSuchKey")
		c.do("DELETE", "/"+b+"/k?tagging").err(404, "NoSuchKey")
	}},
	{"PutObjectTagging/KeepsTheObject", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", hdr("X-Amz-Meta-A", "1"))
		before := c.head(b, "k").is(200)
		c.do("PUT", "/"+b+"/k?tagging", doc(tagging("a", "b"))).is(200)
		c.head(b, "k").is(200).h("Last-Modified", before.header.Get("Last-Modified")).h("X-Amz-Meta-A", "1").h("Etag", etag("v"))
	}},
	{"PutObject/Tagging", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", hdr("X-Amz-Tagging", "foo=bar&bar=&a%20b=c%2Bd"))
		r := c.do("GET", "/"+b+"/k?tagging").is(200)
		got := map[string]string{}
		for i, k := range r.all("TagSet.Tag.Key") {
			got[k] = r.all("TagSet.Tag.Value")[i]
		}
		if len(got) != 3 || got["foo"] != "bar" || got["bar"] != "" || got["a b"] != "c+d" {
			fail("%v", got)
		}
		c.head(b, "k").is(200).h("X-Amz-Tagging-Count", "3")
		c.put(b, "k", "v")
		c.do("GET", "/"+b+"/k?tagging").is(200).x("TagSet.Tag")
	}},
	{"PutObject/Tagging/TooMany", badPut(400, "InvalidTag", "X-Amz-Tagging", "a=1&b=2&c=3&d=4&e=5&f=6&g=7&h=8&i=9&j=10&k=11")},
	{"PutObject/Tagging/Twice", badPut(400, "InvalidArgument", "X-Amz-Tagging", "a=1&a=2")},
	{"CopyObject/Tagging", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v", hdr("X-Amz-Tagging", "a=1"))
		c.copyTo(b, "kept", b+"/k").is(200)
		c.do("GET", "/"+b+"/kept?tagging").is(200).x("TagSet.Tag.Value", "1")
		c.copyTo(b, "ignored", b+"/k", hdr("X-Amz-Tagging", "a=2")).is(200)
		c.do("GET", "/"+b+"/ignored?tagging").is(200).x("TagSet.Tag.Value", "1")
		c.copyTo(b, "new", b+"/k", hdr("X-Amz-Tagging", "a=2", "X-Amz-Tagging-Directive", "REPLACE")).is(200)
		c.do("GET", "/"+b+"/new?tagging").is(200).x("TagSet.Tag.Value", "2")
		c.copyTo(b, "none", b+"/k", hdr("X-Amz-Tagging-Directive", "MERGE")).err(400, "InvalidArgument")
	}},
	{"CreateMultipartUpload/Tagging", func(c *C) {
		b := c.bucket()
		id := c.upload(b, "k", hdr("X-Amz-Tagging", "a=1"))
		e := c.part(b, "k", id, 1, "v").is(200).header.Get("ETag")
		c.complete(b, "k", id, parts(1, e)).is(200)
		c.do("GET", "/"+b+"/k?tagging").is(200).x("TagSet.Tag.Key", "a")
	}},
	{"PutObjectTagging/SDK", func(c *C) {
		b, s, ctx := c.bucket(), c.sdk(), context.Background()
		c.put(b, "k", "v")
		ok(s.PutObjectTagging(ctx, &awss3.PutObjectTaggingInput{Bucket: &b, Key: aws.String("k"), Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}}))
		if t := ok(s.GetObjectTagging(ctx, &awss3.GetObjectTaggingInput{Bucket: &b, Key: aws.String("k")})); len(t.TagSet) != 1 || aws.ToString(t.TagSet[0].Value) != "b" {
			fail("%+v", t)
		}
	}},
}

// configured puts a document of a bucket, reads it back and removes it.
func configured(sub, root, inner, noneCode string, want ...string) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		if noneCode != "" {
			c.do("GET", "/"+b+"?"+sub).err(404, noneCode)
		}
		c.do("PUT", "/"+b+"?"+sub, doc("<"+root+` xmlns="`+s3NS+`">`+inner+"</"+root+">")).is(200)
		r := c.do("GET", "/"+b+"?"+sub).is(200).root(root)
		for i := 0; i+1 < len(want); i += 2 {
			r.x(want[i], want[i+1])
		}
		c.do("GET", "/"+b+"?"+sub, as(c.other())).err(403, "AccessDenied")
		c.do("PUT", "/"+b+"?"+sub, as(c.other()), doc("<"+root+">"+inner+"</"+root+">")).err(403, "AccessDenied")
		c.do("GET", "/"+c.fresh()+"?"+sub).err(404, "NoSuchBucket")
		if noneCode != "" {
			c.do("DELETE", "/"+b+"?"+sub).is(204)
			c.do("GET", "/"+b+"?"+sub).err(404, noneCode)
			c.do("DELETE", "/"+b+"?"+sub).is(204)
		}
	}
}

// logTo has the log of a bucket put into another one.
func (c *C) logTo(b, target, more string) *R {
	return c.do("PUT", "/"+b+"?logging", doc(`<BucketLoggingStatus xmlns="`+s3NS+`"><LoggingEnabled><TargetBucket>`+target+`</TargetBucket><TargetPrefix>log/</TargetPrefix>`+more+`</LoggingEnabled></BucketLoggingStatus>`))
}

// misconfigured is a document of a bucket that is refused.
func misconfigured(sub, root, inner string, status int, code string) func(c *C) {
	return func(c *C) {
		c.do("PUT", "/"+c.bucket()+"?"+sub, doc("<"+root+` xmlns="`+s3NS+`">`+inner+"</"+root+">")).err(status, code)
	}
}

func badCORS(inner, code string) func(c *C) {
	return misconfigured("cors", "CORSConfiguration", inner, 400, code)
}

const corsRule = "<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod><AllowedOrigin>*suffix</AllowedOrigin><AllowedOrigin>start*end</AllowedOrigin><AllowedOrigin>https://example.com</AllowedOrigin><AllowedHeader>x-amz-*</AllowedHeader><ExposeHeader>x-amz-meta-a</ExposeHeader><MaxAgeSeconds>60</MaxAgeSeconds></CORSRule>"

// corsBucket has rules and an object; the answers to anonymous requests do not matter.
func (c *C) corsBucket(rules string) string {
	b := c.bucket()
	c.put(b, "k", "v")
	c.do("PUT", "/"+b+"?cors", doc("<CORSConfiguration>"+rules+"</CORSConfiguration>")).is(200)
	return b
}

func origin(o string, more ...string) opt {
	return hdr(append([]string{"Origin", o}, more...)...)
}

func preflight(from, method, headers string, allowed string) func(c *C) {
	return func(c *C) {
		b := c.corsBucket(corsRule)
		h := []string{"Access-Control-Request-Method", method}
		if headers != "" {
			h = append(h, "Access-Control-Request-Headers", headers)
		}
		r := c.do("OPTIONS", "/"+b+"/k", anon, origin(from, h...))
		if allowed == "" {
			r.err(403, "AccessForbidden")
			return
		}
		r.is(200).h("Access-Control-Allow-Origin", allowed).h("Access-Control-Allow-Methods", "GET, PUT").h("Access-Control-Max-Age", "60").h("Access-Control-Expose-Headers", "x-amz-meta-a").hset("Vary").text("")
		if headers != "" {
			r.h("Access-Control-Allow-Headers", headers)
		}
	}
}

var corsRows = []row{
	{"PutBucketCors/Plain", configured("cors", "CORSConfiguration", corsRule, "NoSuchCORSConfiguration", "CORSRule.MaxAgeSeconds", "60", "CORSRule.AllowedHeader", "x-amz-*")},
	{"PutBucketCors/NoMethod", badCORS("<CORSRule><AllowedOrigin>*</AllowedOrigin></CORSRule>", "MalformedXML")},
	{"PutBucketCors/NoOrigin", badCORS("<CORSRule><AllowedMethod>GET</AllowedMethod></CORSRule>", "MalformedXML")},
	{"PutBucketCors/UnknownMethod", badCORS("<CORSRule><AllowedMethod>FETCH</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule>", "InvalidRequest")},
	{"PutBucketCors/TwoWildcards", badCORS("<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*a*</AllowedOrigin></CORSRule>", "InvalidRequest")},
	{"PutBucketCors/Empty", badCORS("", "MalformedXML")},
	{"PutBucketCors/101Rules", badCORS(strings.Repeat("<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule>", 101), "InvalidRequest")},
	{"CORS/Preflight/Exact", preflight("https://example.com", "GET", "", "https://example.com")},
	{"CORS/Preflight/Suffix", preflight("http://a.suffix", "PUT", "", "http://a.suffix")},
	{"CORS/Preflight/StartAndEnd", preflight("startmiddleend", "GET", "", "startmiddleend")},
	{"CORS/Preflight/Headers", preflight("https://example.com", "GET", "x-amz-date, x-amz-meta-b", "https://example.com")},
	{"CORS/Preflight/OtherHeader", preflight("https://example.com", "GET", "x-amz-date, content-type", "")},
	{"CORS/Preflight/OtherOrigin", preflight("https://example.org", "GET", "", "")},
	{"CORS/Preflight/OtherMethod", preflight("https://example.com", "DELETE", "", "")},
	{"CORS/Preflight/NoConfiguration", func(c *C) {
		c.do("OPTIONS", "/"+c.bucket()+"/k", anon, origin("https://example.com", "Access-Control-Request-Method", "GET")).err(403, "AccessForbidden")
	}},
	{"CORS/Preflight/NoOrigin", func(c *C) {
		c.do("OPTIONS", "/"+c.corsBucket(corsRule)+"/k", anon, hdr("Access-Control-Request-Method", "GET")).err(400, "BadRequest")
	}},
	{"CORS/Preflight/NoMethod", func(c *C) {
		c.do("OPTIONS", "/"+c.corsBucket(corsRule)+"/k", anon, origin("https://example.com")).err(400, "BadRequest")
	}},
	{"CORS/Request/Allowed", func(c *C) {
		b := c.corsBucket(corsRule)
		c.get(b, "k", origin("https://example.com")).is(200).text("v").h("Access-Control-Allow-Origin", "https://example.com").h("Access-Control-Expose-Headers", "x-amz-meta-a").h("Access-Control-Allow-Credentials", "true").hset("Vary")
		c.get(b, "none", origin("https://example.com")).err(404, "NoSuchKey").h("Access-Control-Allow-Origin", "https://example.com")
		c.put(b, "k", "w", origin("a.suffix")).h("Access-Control-Allow-Origin", "a.suffix")
	}},
	{"CORS/Request/NotAllowed", func(c *C) {
		b := c.corsBucket(corsRule)
		c.get(b, "k", origin("https://example.org")).is(200).text("v").h("Access-Control-Allow-Origin", "")
		c.get(b, "k").is(200).h("Access-Control-Allow-Origin", "")
		c.do("DELETE", "/"+b+"/k", origin("https://example.com")).is(204).h("Access-Control-Allow-Origin", "")
	}},
	{"CORS/Request/Star", func(c *C) {
		b := c.corsBucket("<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule>")
		c.get(b, "k", origin("https://anywhere")).is(200).h("Access-Control-Allow-Origin", "*").h("Access-Control-Allow-Credentials", "")
	}},
	{"CORS/Request/FirstRuleWins", func(c *C) {
		b := c.corsBucket("<CORSRule><AllowedMethod>PUT</AllowedMethod><AllowedOrigin>https://a</AllowedOrigin></CORSRule><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule>")
		c.get(b, "k", origin("https://a")).is(200).h("Access-Control-Allow-Origin", "*")
		c.put(b, "k", "v", origin("https://a")).h("Access-Control-Allow-Origin", "https://a")
	}},
}

// rule is a lifecycle rule.
func rule(id, inner string) string {
	return "<Rule><ID>" + id + "</ID><Status>Enabled</Status>" + inner + "</Rule>"
}

const forAll = "<Filter><Prefix></Prefix></Filter>"

func lifecycle(inner string, want ...string) func(c *C) {
	return configured("lifecycle", "LifecycleConfiguration", inner, "NoSuchLifecycleConfiguration", want...)
}

func badLifecycle(inner, code string) func(c *C) {
	return misconfigured("lifecycle", "LifecycleConfiguration", inner, 400, code)
}

var lifecycleRows = []row{
	{"PutBucketLifecycle/Days", lifecycle(rule("r", "<Filter><Prefix>test1/</Prefix></Filter><Expiration><Days>31</Days></Expiration>"), "Rule.ID", "r", "Rule.Expiration.Days", "31", "Rule.Filter.Prefix", "test1/", "Rule.Status", "Enabled")},
	{"PutBucketLifecycle/OldPrefix", lifecycle(rule("r", "<Prefix>test1/</Prefix><Expiration><Days>1</Days></Expiration>"), "Rule.Prefix", "test1/")},
	{"PutBucketLifecycle/Date", lifecycle(rule("r", forAll+"<Expiration><Date>2037-09-27T00:00:00.000Z</Date></Expiration>"), "Rule.ID", "r")},
	{"PutBucketLifecycle/DeleteMarker", lifecycle(rule("r", forAll+"<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"), "Rule.Expiration.ExpiredObjectDeleteMarker", "true")},
	{"PutBucketLifecycle/Noncurrent", lifecycle(rule("r", forAll+"<NoncurrentVersionExpiration><NoncurrentDays>2</NoncurrentDays><NewerNoncurrentVersions>5</NewerNoncurrentVersions></NoncurrentVersionExpiration>"), "Rule.NoncurrentVersionExpiration.NoncurrentDays", "2", "Rule.NoncurrentVersionExpiration.NewerNoncurrentVersions", "5")},
	{"PutBucketLifecycle/AbortMultipart", lifecycle(rule("r", forAll+"<AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation></AbortIncompleteMultipartUpload>"), "Rule.AbortIncompleteMultipartUpload.DaysAfterInitiation", "2")},
	{"PutBucketLifecycle/Tag", lifecycle(rule("r", "<Filter><Tag><Key>a</Key><Value>b</Value></Tag></Filter><Expiration><Days>1</Days></Expiration>"), "Rule.Filter.Tag.Key", "a")},
	{"PutBucketLifecycle/And", lifecycle(rule("r", "<Filter><And><Prefix>p</Prefix><Tag><Key>a</Key><Value>b</Value></Tag></And></Filter><Expiration><Days>1</Days></Expiration>"), "Rule.Filter.And.Prefix", "p", "Rule.Filter.And.Tag.Value", "b")},
	{"PutBucketLifecycle/Size", lifecycle(rule("r", "<Filter><And><ObjectSizeGreaterThan>500</ObjectSizeGreaterThan><ObjectSizeLessThan>64000</ObjectSizeLessThan></And></Filter><Expiration><Days>1</Days></Expiration>"), "Rule.Filter.And.ObjectSizeGreaterThan", "500", "Rule.Filter.And.ObjectSizeLessThan", "64000")},
	{"PutBucketLifecycle/SeveralWithoutAnd", lifecycle(rule("r", "<Filter><And><Prefix>p</Prefix></And><Prefix>p/q</Prefix><Tag><Key>a</Key><Value>b</Value></Tag></Filter><Expiration><Days>1</Days></Expiration>"), "Rule.Filter.And.Prefix", "p", "Rule.Filter.Prefix", "p/q", "Rule.Filter.Tag.Value", "b")},
	{"PutBucketLifecycle/SizeGreater", lifecycle(rule("r", "<Filter><ObjectSizeGreaterThan>500</ObjectSizeGreaterThan></Filter><Expiration><Days>1</Days></Expiration>"), "Rule.Filter.ObjectSizeGreaterThan", "500")},
	{"PutBucketLifecycle/Transition", lifecycle(rule("r", forAll+"<Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition>"), "Rule.Transition.StorageClass", "STANDARD_IA")},
	{"PutBucketLifecycle/SeveralRules", func(c *C) {
		b := c.bucket()
		c.do("PUT", "/"+b+"?lifecycle", doc("<LifecycleConfiguration>"+rule("a", "<Prefix>a</Prefix><Expiration><Days>1</Days></Expiration>")+"<Rule><ID>b</ID><Status>Disabled</Status><Prefix>b</Prefix><Expiration><Days>2</Days></Expiration></Rule></LifecycleConfiguration>")).is(200)
		c.do("GET", "/"+b+"?lifecycle").is(200).x("Rule.ID", "a", "b").x("Rule.Status", "Enabled", "Disabled")
	}},
	{"PutBucketLifecycle/IdIsGiven", func(c *C) {
		b := c.bucket()
		c.do("PUT", "/"+b+"?lifecycle", doc("<LifecycleConfiguration><Rule><Status>Enabled</Status><Prefix>a</Prefix><Expiration><Days>1</Days></Expiration></Rule><Rule><Status>Enabled</Status><Prefix>b</Prefix><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>")).is(200)
		r := c.do("GET", "/"+b+"?lifecycle").is(200)
		if ids := r.all("Rule.ID"); len(ids) != 2 || ids[0] == "" || ids[0] == ids[1] {
			fail("%v", r)
		}
	}},
	{"PutBucketLifecycle/SameId", badLifecycle(rule("r", "<Prefix>a</Prefix><Expiration><Days>1</Days></Expiration>")+rule("r", "<Prefix>b</Prefix><Expiration><Days>1</Days></Expiration>"), "InvalidArgument")},
	{"PutBucketLifecycle/LongId", badLifecycle(rule(strings.Repeat("a", 256), forAll+"<Expiration><Days>1</Days></Expiration>"), "InvalidArgument")},
	{"PutBucketLifecycle/UnknownStatus", badLifecycle("<Rule><ID>r</ID><Status>enabled</Status><Prefix>a</Prefix><Expiration><Days>1</Days></Expiration></Rule>", "MalformedXML")},
	{"PutBucketLifecycle/NoAction", badLifecycle(rule("r", forAll), "InvalidRequest")},
	{"PutBucketLifecycle/NoFilter", badLifecycle(rule("r", "<Expiration><Days>1</Days></Expiration>"), "MalformedXML")},
	{"PutBucketLifecycle/ZeroDays", badLifecycle(rule("r", forAll+"<Expiration><Days>0</Days></Expiration>"), "InvalidArgument")},
	{"PutBucketLifecycle/NegativeDays", badLifecycle(rule("r", forAll+"<Expiration><Days>-1</Days></Expiration>"), "InvalidArgument")},
	{"PutBucketLifecycle/BadDate", badLifecycle(rule("r", forAll+"<Expiration><Date>20200101</Date></Expiration>"), "MalformedXML")},
	{"PutBucketLifecycle/NoMidnight", badLifecycle(rule("r", forAll+"<Expiration><Date>2037-09-27T11:00:00Z</Date></Expiration>"), "InvalidArgument")},
	{"PutBucketLifecycle/DaysAndDate", badLifecycle(rule("r", forAll+"<Expiration><Days>1</Days><Date>2037-09-27T00:00:00Z</Date></Expiration>"), "MalformedXML")},
	{"PutBucketLifecycle/Empty", badLifecycle("", "MalformedXML")},
	{"PutBucketLifecycle/NoncurrentZero", badLifecycle(rule("r", forAll+"<NoncurrentVersionExpiration><NoncurrentDays>0</NoncurrentDays></NoncurrentVersionExpiration>"), "InvalidArgument")},
	{"PutBucketLifecycle/NoDigest", func(c *C) {
		c.do("PUT", "/"+c.bucket()+"?lifecycle", body("<LifecycleConfiguration>"+rule("r", forAll+"<Expiration><Days>1</Days></Expiration>")+"</LifecycleConfiguration>")).err(400, "InvalidRequest")
	}},
	{"PutBucketLifecycle/ExpirationHeader", func(c *C) {
		b := c.bucket()
		c.do("PUT", "/"+b+"?lifecycle", doc("<LifecycleConfiguration>"+rule("rule1", "<Filter><Prefix>days1/</Prefix></Filter><Expiration><Days>1</Days></Expiration>")+"</LifecycleConfiguration>")).is(200)
		for _, r := range []*R{c.put(b, "days1/foo", "v"), c.head(b, "days1/foo").is(200), c.get(b, "days1/foo").is(200)} {
			if h := r.header.Get("X-Amz-Expiration"); !strings.Contains(h, `rule-id="rule1"`) || !strings.Contains(h, `expiry-date="`) {
				fail("x-amz-expiration %q", h)
			}
		}
		c.put(b, "other", "v").h("X-Amz-Expiration", "")
	}},
	{"PutBucketLifecycle/SDK", func(c *C) {
		b, s, ctx := c.bucket(), c.sdk(), context.Background()
		ok(s.PutBucketLifecycleConfiguration(ctx, &awss3.PutBucketLifecycleConfigurationInput{Bucket: &b, LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{{
			ID: aws.String("r"), Status: types.ExpirationStatusEnabled, Filter: &types.LifecycleRuleFilter{Prefix: aws.String("p")}, Expiration: &types.LifecycleExpiration{Days: aws.Int32(3)},
		}}}}))
		if l := ok(s.GetBucketLifecycleConfiguration(ctx, &awss3.GetBucketLifecycleConfigurationInput{Bucket: &b})); len(l.Rules) != 1 || aws.ToInt32(l.Rules[0].Expiration.Days) != 3 {
			fail("%+v", l)
		}
	}},
}

const website = "<IndexDocument><Suffix>index.html</Suffix></IndexDocument><ErrorDocument><Key>error.html</Key></ErrorDocument>"

var configRows = []row{
	{"PutBucketWebsite/Plain", configured("website", "WebsiteConfiguration", website, "NoSuchWebsiteConfiguration", "IndexDocument.Suffix", "index.html", "ErrorDocument.Key", "error.html")},
	{"PutBucketWebsite/Redirect", configured("website", "WebsiteConfiguration", "<RedirectAllRequestsTo><HostName>example.com</HostName><Protocol>https</Protocol></RedirectAllRequestsTo>", "NoSuchWebsiteConfiguration", "RedirectAllRequestsTo.HostName", "example.com")},
	{"PutBucketWebsite/Rules", configured("website", "WebsiteConfiguration", website+"<RoutingRules><RoutingRule><Condition><KeyPrefixEquals>docs/</KeyPrefixEquals></Condition><Redirect><ReplaceKeyPrefixWith>documents/</ReplaceKeyPrefixWith></Redirect></RoutingRule></RoutingRules>", "NoSuchWebsiteConfiguration", "RoutingRules.RoutingRule.Redirect.ReplaceKeyPrefixWith", "documents/")},
	{"PutBucketWebsite/NoIndex", misconfigured("website", "WebsiteConfiguration", "<ErrorDocument><Key>error.html</Key></ErrorDocument>", 400, "InvalidArgument")},
	{"PutBucketWebsite/SlashInSuffix", misconfigured("website", "WebsiteConfiguration", "<IndexDocument><Suffix>a/b</Suffix></IndexDocument>", 400, "InvalidArgument")},
	{"PutBucketLogging/Off", func(c *C) {
		b := c.bucket()
		c.do("GET", "/"+b+"?logging").is(200).root("BucketLoggingStatus").x("LoggingEnabled")
		c.do("PUT", "/"+b+"?logging", doc(`<BucketLoggingStatus xmlns="`+s3NS+`"/>`)).is(200)
	}},
	{"PutBucketLogging/On", func(c *C) {
		b := c.bucket()
		target := c.bucket()
		c.do("PUT", "/"+b+"?logging", doc(`<BucketLoggingStatus xmlns="`+s3NS+`"><LoggingEnabled><TargetBucket>`+target+`</TargetBucket><TargetPrefix>log/</TargetPrefix></LoggingEnabled></BucketLoggingStatus>`)).is(200)
		c.do("GET", "/"+b+"?logging").is(200).x("LoggingEnabled.TargetBucket", target).x("LoggingEnabled.TargetPrefix", "log/")
	}},
	{"PutBucketLogging/NoTarget", func(c *C) {
		c.do("PUT", "/"+c.bucket()+"?logging", doc(`<BucketLoggingStatus xmlns="`+s3NS+`"><LoggingEnabled><TargetBucket>`+c.fresh()+`</TargetBucket><TargetPrefix>log/</TargetPrefix></LoggingEnabled></BucketLoggingStatus>`)).err(400, "InvalidTargetBucketForLogging")
	}},
	{"PutBucketLogging/OthersTarget", func(c *C) {
		target := c.fresh()
		c.do("PUT", "/"+target, as(c.other())).is(200)
		c.logTo(c.bucket(), target, "").err(400, "InvalidTargetBucketForLogging")
	}},
	{"PutBucketLogging/TurnedOff", func(c *C) {
		b, target := c.bucket(), c.bucket()
		c.logTo(b, target, "").is(200)
		c.do("PUT", "/"+b+"?logging", doc(`<BucketLoggingStatus xmlns="`+s3NS+`"/>`)).is(200)
		c.do("GET", "/"+b+"?logging").is(200).x("LoggingEnabled")
	}},
	{"PutBucketLogging/Others", func(c *C) {
		b, target := c.bucket(), c.bucket()
		c.do("GET", "/"+b+"?logging", as(c.other())).err(403, "AccessDenied")
		c.do("PUT", "/"+b+"?logging", as(c.other()), doc(`<BucketLoggingStatus/>`)).err(403, "AccessDenied")
		c.do("PUT", "/"+target+"?policy", body(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::`+target+`/log/*"}]}`)).is(204)
		c.logTo(b, target, "").err(400, "InvalidTargetBucketForLogging")
	}},
	{"PutBucketLogging/Grants", func(c *C) {
		b, target := c.bucket(), c.acls()
		grant := `<TargetGrants><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>` + c.other().id + `</ID></Grantee><Permission>READ</Permission></Grant></TargetGrants>`
		c.logTo(b, target, grant).is(200)
		c.do("GET", "/"+b+"?logging").is(200).x("LoggingEnabled.TargetGrants.Grant.Grantee.ID", c.other().id).x("LoggingEnabled.TargetGrants.Grant.Permission", "READ")
		c.logTo(b, target, strings.Replace(grant, "READ<", "READ_ACP<", 1)).err(400, "MalformedXML")
		enforced := c.bucket(hdr("X-Amz-Object-Ownership", "BucketOwnerEnforced"))
		c.logTo(b, enforced, grant).err(400, "InvalidTargetBucketForLogging")
	}},
	{"PutBucketLogging/KeyFormat", func(c *C) {
		b, target := c.bucket(), c.bucket()
		c.logTo(b, target, "<TargetObjectKeyFormat><PartitionedPrefix><PartitionDateSource>EventTime</PartitionDateSource></PartitionedPrefix></TargetObjectKeyFormat>").is(200)
		c.do("GET", "/"+b+"?logging").is(200).x("LoggingEnabled.TargetObjectKeyFormat.PartitionedPrefix.PartitionDateSource", "EventTime")
		c.logTo(b, target, "<TargetObjectKeyFormat><SimplePrefix/></TargetObjectKeyFormat>").is(200)
		c.logTo(b, target, "<TargetObjectKeyFormat><SimplePrefix/><PartitionedPrefix/></TargetObjectKeyFormat>").err(400, "MalformedXML")
		c.logTo(b, target, "<TargetObjectKeyFormat><PartitionedPrefix><PartitionDateSource>Never</PartitionDateSource></PartitionedPrefix></TargetObjectKeyFormat>").err(400, "MalformedXML")
	}},
	{"PutBucketLogging/Malformed", misconfigured("logging", "BucketLoggingStatus", "<LoggingEnabled></LoggingEnabled>", 400, "MalformedXML")},
	{"PutBucketNotification/Empty", func(c *C) {
		b := c.bucket()
		c.do("GET", "/"+b+"?notification").is(200).root("NotificationConfiguration").x("QueueConfiguration").x("TopicConfiguration")
		c.do("PUT", "/"+b+"?notification", doc(`<NotificationConfiguration xmlns="`+s3NS+`"/>`)).is(200)
	}},
	{"PutBucketNotification/BadArn", misconfigured("notification", "NotificationConfiguration", "<QueueConfiguration><Queue>nonsense</Queue><Event>s3:ObjectCreated:*</Event></QueueConfiguration>", 400, "InvalidArgument")},
	{"PutBucketNotification/BadEvent", misconfigured("notification", "NotificationConfiguration", "<QueueConfiguration><Queue>arn:aws:sqs:us-east-1:1:q</Queue><Event>s3:Nothing</Event></QueueConfiguration>", 400, "MalformedXML")},
	{"PutBucketEncryption/AES256", func(c *C) {
		b := c.bucket()
		c.do("PUT", "/"+b+"?encryption", doc(encryption("<SSEAlgorithm>AES256</SSEAlgorithm>"))).is(200)
		c.do("GET", "/"+b+"?encryption").is(200).root("ServerSideEncryptionConfiguration").x("Rule.ApplyServerSideEncryptionByDefault.SSEAlgorithm", "AES256")
		c.put(b, "k", "v").h("X-Amz-Server-Side-Encryption", "AES256")
		c.head(b, "k").is(200).h("X-Amz-Server-Side-Encryption", "AES256")
		c.get(b, "k").is(200).text("v")
		c.do("DELETE", "/"+b+"?encryption").is(204)
	}},
	{"PutBucketEncryption/KMS", func(c *C) {
		b := c.bucket()
		c.do("PUT", "/"+b+"?encryption", doc(encryption("<SSEAlgorithm>aws:kms</SSEAlgorithm>"))).is(200)
		c.put(b, "k", "v").h("X-Amz-Server-Side-Encryption", "aws:kms").hset("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id")
		c.get(b, "k").is(200).text("v")
	}},
	{"PutBucketEncryption/KeyWithAES256", func(c *C) {
		c.do("PUT", "/"+c.bucket()+"?encryption", doc(encryption("<SSEAlgorithm>AES256</SSEAlgorithm><KMSMasterKeyID>x</KMSMasterKeyID>"))).err(400, "InvalidArgument")
	}},
	{"PutBucketEncryption/Unknown", func(c *C) {
		c.do("PUT", "/"+c.bucket()+"?encryption", doc(encryption("<SSEAlgorithm>ROT13</SSEAlgorithm>"))).err(400, "MalformedXML")
	}},
	{"GetBucketEncryption/Default", func(c *C) {
		// Since 2023 every bucket has SSE-S3; a server without it says that there is no configuration.
		if r := c.do("GET", "/"+c.bucket()+"?encryption"); r.status == 200 {
			r.x("Rule.ApplyServerSideEncryptionByDefault.SSEAlgorithm", "AES256")
		} else {
			r.err(404, "ServerSideEncryptionConfigurationNotFoundError")
		}
	}},
	{"PutBucketOwnershipControls/All", func(c *C) {
		b := c.bucket()
		for _, o := range []string{"BucketOwnerPreferred", "ObjectWriter", "BucketOwnerEnforced"} {
			c.do("PUT", "/"+b+"?ownershipControls", doc(ownership(o))).is(200)
			c.do("GET", "/"+b+"?ownershipControls").is(200).root("OwnershipControls").x("Rule.ObjectOwnership", o)
		}
		c.do("DELETE", "/"+b+"?ownershipControls").is(204)
		c.do("GET", "/"+b+"?ownershipControls").err(404, "OwnershipControlsNotFoundError")
	}},
	{"PutBucketOwnershipControls/Default", func(c *C) {
		c.do("GET", "/"+c.bucket()+"?ownershipControls").is(200).x("Rule.ObjectOwnership", "BucketOwnerEnforced")
	}},
	{"PutBucketOwnershipControls/Unknown", func(c *C) {
		c.do("PUT", "/"+c.bucket()+"?ownershipControls", doc(ownership("Nobody"))).err(400, "MalformedXML")
	}},
	{"PutBucketOwnershipControls/EnforcedWithGrants", func(c *C) {
		b := c.acls(hdr("X-Amz-Acl", "private"))
		c.do("PUT", "/"+b+"?acl", hdr("X-Amz-Acl", "public-read")).is(200)
		c.do("PUT", "/"+b+"?ownershipControls", doc(ownership("BucketOwnerEnforced"))).err(400, "InvalidBucketAclWithObjectOwnership")
	}},
	{"GetBucketAnalytics/None", func(c *C) {
		c.do("GET", "/"+c.bucket()+"?analytics&id=x").is(c.do("GET", "/"+c.bucket()+"?analytics&id=x").unbuilt(404, "NoSuchConfiguration"))
	}},
	{"GetBucketInventory/None", func(c *C) {
		c.do("GET", "/"+c.bucket()+"?inventory&id=x").is(c.do("GET", "/"+c.bucket()+"?inventory&id=x").unbuilt(404, "NoSuchConfiguration"))
	}},
	{"GetBucketMetrics/None", func(c *C) {
		c.do("GET", "/"+c.bucket()+"?metrics&id=x").is(c.do("GET", "/"+c.bucket()+"?metrics&id=x").unbuilt(404, "NoSuchConfiguration"))
	}},
	{"Website/Answered", func(c *C) {
		// Sites have addresses of their own; here only that the configuration does not change the API.
		b := c.bucket()
		c.do("PUT", "/"+b+"?website", doc("<WebsiteConfiguration>"+website+"</WebsiteConfiguration>")).is(200)
		c.put(b, "index.html", "hello")
		c.do("GET", "/"+b).is(200).root("ListBucketResult").x("Contents.Key", "index.html")
	}},
}

// unbuilt is the status of an answer that either says that something is not implemented, or is the error.
func (r *R) unbuilt(status int, code string) int {
	if r.status == http.StatusNotImplemented {
		r.err(501, "NotImplemented")
		return 501
	}
	r.err(status, code)
	return status
}

func encryption(inner string) string {
	return `<ServerSideEncryptionConfiguration xmlns="` + s3NS + `"><Rule><ApplyServerSideEncryptionByDefault>` + inner + `</ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>`
}

func ownership(o string) string {
	return `<OwnershipControls xmlns="` + s3NS + `"><Rule><ObjectOwnership>` + o + `</ObjectOwnership></Rule></OwnershipControls>`
}
