package conformance

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
)

func badName(name string) func(c *C) {
	return func(c *C) { c.do("PUT", "/"+name).err(400, "InvalidBucketName") }
}

func goodName(n int) func(c *C) {
	return func(c *C) {
		b := c.fresh() + "-"
		b += strings.Repeat("x", n-len(b))
		c.buckets = append(c.buckets, b)
		c.do("PUT", "/"+b).is(200)
		c.do("GET", "/"+b).is(200).root("ListBucketResult").x("Name", b)
	}
}

// manyBuckets makes n buckets with a prefix of their own.
func (c *C) manyBuckets(n int) (prefix string, names []string) {
	prefix = c.fresh() + "-l"
	for i := range n {
		names = append(names, prefix+string(rune('a'+i)))
		c.do("PUT", "/"+names[i]).is(200)
	}
	c.buckets = append(c.buckets, names...)
	return prefix, names
}

var bucketRows = []row{
	{"CreateBucket/Plain", func(c *C) {
		b := c.fresh()
		c.do("PUT", "/"+b).is(200).h("Location", "/"+b).text("")
		c.do("HEAD", "/"+b).is(200).h("X-Amz-Bucket-Region", c.srv.region).text("")
	}},
	{"CreateBucket/SDK", func(c *C) {
		b, s := c.fresh(), c.sdk()
		ok(s.CreateBucket(context.Background(), &awss3.CreateBucketInput{Bucket: &b}))
		if err := awss3.NewBucketExistsWaiter(s).Wait(context.Background(), &awss3.HeadBucketInput{Bucket: &b}, 10*time.Second); err != nil {
			fail("%v", err)
		}
		ok(s.DeleteBucket(context.Background(), &awss3.DeleteBucketInput{Bucket: &b}))
	}},
	{"CreateBucket/OwnAgain", func(c *C) {
		b := c.bucket()
		if c.srv.region == "us-east-1" {
			c.do("PUT", "/"+b).is(200)
		} else {
			c.do("PUT", "/"+b).err(409, "BucketAlreadyOwnedByYou")
		}
	}},
	{"CreateBucket/OwnAgainKeepsObjects", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.do("PUT", "/"+b)
		c.get(b, "k").is(200).text("v")
	}},
	{"CreateBucket/Others", func(c *C) {
		c.do("PUT", "/"+c.bucket(), as(c.other())).err(409, "BucketAlreadyExists")
	}},
	{"CreateBucket/Anonymous", func(c *C) { c.do("PUT", "/"+c.fresh(), anon).err(403, "AccessDenied") }},
	{"CreateBucket/Name/UpperCase", badName("Conf-Upper")},
	{"CreateBucket/Name/Underscore", badName("conf_underscore")},
	{"CreateBucket/Name/OneLetter", badName("a")},
	{"CreateBucket/Name/TwoLetters", badName("aa")},
	{"CreateBucket/Name/64Letters", badName(strings.Repeat("a", 64))},
	{"CreateBucket/Name/255Letters", badName(strings.Repeat("a", 255))},
	{"CreateBucket/Name/IPAddress", badName("192.168.5.123")},
	{"CreateBucket/Name/DashFirst", badName("-conformance")},
	{"CreateBucket/Name/DashLast", badName("conformance-")},
	{"CreateBucket/Name/DotFirst", badName(".conformance")},
	{"CreateBucket/Name/DotLast", badName("conformance.")},
	{"CreateBucket/Name/TwoDots", badName("confor..mance")},
	{"CreateBucket/Name/Bang", badName("conformance%21")},
	{"CreateBucket/Name/Punycode", badName("xn--conformance")},
	{"CreateBucket/Name/AliasSuffix", badName("conformance-s3alias")},
	{"CreateBucket/Name/60Letters", goodName(60)},
	{"CreateBucket/Name/63Letters", goodName(63)},
	{"CreateBucket/Name/DotInside", func(c *C) {
		b := c.fresh() + ".dot"
		c.buckets = append(c.buckets, b)
		c.do("PUT", "/"+b).is(200)
		c.put(b, "k", "v")
		c.get(b, "k").is(200).text("v")
	}},
	{"CreateBucket/Name/DigitFirst", func(c *C) {
		b := "9" + c.fresh()
		c.buckets = append(c.buckets, b)
		c.do("PUT", "/"+b).is(200)
	}},
	{"CreateBucket/Location/Own", func(c *C) {
		if c.srv.region != "us-east-1" {
			c.do("PUT", "/"+c.fresh(), body("<CreateBucketConfiguration><LocationConstraint>"+c.srv.region+"</LocationConstraint></CreateBucketConfiguration>")).is(200)
		}
		c.do("PUT", "/"+c.fresh(), body(`<CreateBucketConfiguration xmlns="`+s3NS+`"></CreateBucketConfiguration>`)).is(200)
	}},
	{"CreateBucket/Location/Unknown", func(c *C) {
		c.do("PUT", "/"+c.fresh(), body("<CreateBucketConfiguration><LocationConstraint>nowhere-1</LocationConstraint></CreateBucketConfiguration>")).err(400, "InvalidLocationConstraint")
	}},
	{"CreateBucket/MalformedXML", func(c *C) { c.do("PUT", "/"+c.fresh(), body("<CreateBucketConfig")).err(400, "MalformedXML") }},
	{"CreateBucket/OtherXML", func(c *C) {
		c.do("PUT", "/"+c.fresh(), body("<Delete><Object><Key>k</Key></Object></Delete>")).err(400, "MalformedXML")
	}},
	{"CreateBucket/ACL/Canned", func(c *C) {
		for _, acl := range []string{"private", "public-read", "public-read-write", "authenticated-read"} {
			c.bucket(hdr("X-Amz-Acl", acl, "X-Amz-Object-Ownership", "ObjectWriter"))
		}
	}},
	{"CreateBucket/ACL/Unknown", func(c *C) {
		c.do("PUT", "/"+c.fresh(), hdr("X-Amz-Acl", "anything", "X-Amz-Object-Ownership", "ObjectWriter")).err(400, "InvalidArgument")
	}},
	{"ListBuckets/Usage", func(c *C) {
		c.do("GET", "/?usage").is(200).x("Summary.QuotaMaxBytes", "-1").x("Summary.QuotaMaxObjCountPerBucket", "-1").some("Summary.QuotaMaxBuckets")
		c.do("GET", "/?usage", anon).err(403, "AccessDenied")
	}},
	{"CreateBucket/ACL/WithOwnerEnforced", func(c *C) {
		c.do("PUT", "/"+c.fresh(), hdr("X-Amz-Acl", "public-read", "X-Amz-Object-Ownership", "BucketOwnerEnforced")).err(400, "InvalidBucketAclWithObjectOwnership")
	}},
	{"CreateBucket/ACL/Grants", func(c *C) {
		o := c.other()
		b := c.bucket(hdr("X-Amz-Grant-Read", `id="`+o.id+`"`, "X-Amz-Object-Ownership", "ObjectWriter"))
		c.do("GET", "/"+b, as(o)).is(200)
		c.do("PUT", "/"+b+"/k", as(o), body("x")).err(403, "AccessDenied")
	}},
	{"CreateBucket/ACL/CannedAndGrants", func(c *C) {
		c.do("PUT", "/"+c.fresh(), hdr("X-Amz-Acl", "private", "X-Amz-Grant-Read", `id="`+c.srv.main.id+`"`, "X-Amz-Object-Ownership", "ObjectWriter")).err(400, "InvalidRequest")
	}},
	{"CreateBucket/Ownership/Unknown", func(c *C) {
		c.do("PUT", "/"+c.fresh(), hdr("X-Amz-Object-Ownership", "Nobody")).err(400, "InvalidArgument")
	}},
	{"CreateBucket/ObjectLock", func(c *C) {
		b := c.locked()
		c.do("GET", "/"+b+"?versioning").is(200).x("Status", "Enabled")
		c.do("GET", "/"+b+"?object-lock").is(200).root("ObjectLockConfiguration").x("ObjectLockEnabled", "Enabled").x("Rule")
	}},

	{"HeadBucket/Missing", func(c *C) { c.do("HEAD", "/"+c.fresh()).is(404).text("") }},
	{"HeadBucket/Others", func(c *C) { c.do("HEAD", "/"+c.bucket(), as(c.other())).is(403).text("") }},
	{"HeadBucket/Anonymous", func(c *C) { c.do("HEAD", "/"+c.bucket(), anon).is(403).text("") }},
	{"HeadBucket/SDK", func(c *C) {
		b := c.bucket()
		if out := ok(c.sdk().HeadBucket(context.Background(), &awss3.HeadBucketInput{Bucket: &b})); aws.ToString(out.BucketRegion) != c.srv.region {
			fail("region %q", aws.ToString(out.BucketRegion))
		}
		_, err := c.sdk().HeadBucket(context.Background(), &awss3.HeadBucketInput{Bucket: aws.String(c.fresh())})
		refused(err, 404, "NotFound")
	}},
	{"HeadBucket/ExpectedOwner", func(c *C) {
		b := c.bucket()
		c.do("HEAD", "/"+b, hdr("X-Amz-Expected-Bucket-Owner", c.srv.main.id)).is(200)
		c.do("GET", "/"+b, hdr("X-Amz-Expected-Bucket-Owner", c.other().id)).err(403, "AccessDenied")
	}},

	{"DeleteBucket/Empty", func(c *C) {
		b := c.bucket()
		c.do("DELETE", "/"+b).is(204).text("")
		c.do("HEAD", "/"+b).is(404)
		c.do("DELETE", "/"+b).err(404, "NoSuchBucket").x("BucketName", b)
	}},
	{"DeleteBucket/Missing", func(c *C) { c.do("DELETE", "/"+c.fresh()).err(404, "NoSuchBucket") }},
	{"DeleteBucket/NotEmpty", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.do("DELETE", "/"+b).err(409, "BucketNotEmpty").x("BucketName", b)
		c.get(b, "k").is(200)
	}},
	{"DeleteBucket/Others", func(c *C) { c.do("DELETE", "/"+c.bucket(), as(c.other())).err(403, "AccessDenied") }},
	{"DeleteBucket/MadeAgainIsEmpty", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.del(b, "k").is(204)
		c.do("DELETE", "/"+b).is(204)
		c.do("PUT", "/"+b).is(200)
		c.do("GET", "/"+b).is(200).x("Contents.Key")
	}},
	{"DeleteBucket/ObjectsGoneToo", func(c *C) {
		b := c.bucket()
		c.do("DELETE", "/"+b).is(204)
		c.do("PUT", "/"+b+"/k", body("x")).err(404, "NoSuchBucket").x("BucketName", b)
		c.get(b, "k").err(404, "NoSuchBucket")
		c.do("GET", "/"+b).err(404, "NoSuchBucket")
	}},

	{"ListBuckets/Own", func(c *C) {
		prefix, names := c.manyBuckets(3)
		r := c.do("GET", "/").is(200).root("ListAllMyBucketsResult").x("Owner.ID", c.srv.main.id)
		var got []string
		for _, n := range r.all("Buckets.Bucket.Name") {
			if strings.HasPrefix(n, prefix) {
				got = append(got, n)
			}
		}
		if !slices.Equal(got, names) || !slices.IsSorted(r.all("Buckets.Bucket.Name")) {
			fail("%v of %v", got, names)
		}
		if _, err := time.Parse("2006-01-02T15:04:05.000Z", r.first("Buckets.Bucket.CreationDate")); err != nil {
			fail("%v", err)
		}
	}},
	{"ListBuckets/NotOthers", func(c *C) {
		b := c.bucket()
		if slices.Contains(c.do("GET", "/", as(c.other())).is(200).all("Buckets.Bucket.Name"), b) {
			fail("another user's bucket is listed")
		}
	}},
	{"ListBuckets/Prefix", func(c *C) {
		prefix, names := c.manyBuckets(2)
		c.do("GET", "/?prefix="+prefix).is(200).x("Buckets.Bucket.Name", names...).x("Prefix", prefix)
		c.do("GET", "/?prefix="+names[1]).is(200).x("Buckets.Bucket.Name", names[1])
	}},
	{"ListBuckets/Pages", func(c *C) {
		prefix, names := c.manyBuckets(3)
		r := c.do("GET", "/?max-buckets=2&prefix="+prefix).is(200).x("Buckets.Bucket.Name", names[:2]...).some("ContinuationToken")
		r = c.do("GET", "/?max-buckets=2&prefix="+prefix+"&continuation-token="+r.first("ContinuationToken")).is(200).x("Buckets.Bucket.Name", names[2])
		r.x("ContinuationToken")
	}},
	{"ListBuckets/Region", func(c *C) {
		prefix, names := c.manyBuckets(1)
		c.do("GET", "/?prefix="+prefix+"&bucket-region="+c.srv.region).is(200).x("Buckets.Bucket.Name", names...).x("Buckets.Bucket.BucketRegion", c.srv.region)
	}},
	{"ListBuckets/BadMax", func(c *C) {
		c.do("GET", "/?max-buckets=0").err(400, "InvalidArgument")
		c.do("GET", "/?max-buckets=10001").err(400, "InvalidArgument")
	}},
	{"ListBuckets/SDKPages", func(c *C) {
		prefix, names := c.manyBuckets(5)
		var got []string
		for p := awss3.NewListBucketsPaginator(c.sdk(), &awss3.ListBucketsInput{Prefix: &prefix, MaxBuckets: aws.Int32(2)}); p.HasMorePages(); {
			for _, b := range ok(p.NextPage(context.Background())).Buckets {
				got = append(got, aws.ToString(b.Name))
			}
		}
		if !slices.Equal(got, names) {
			fail("%v, want %v", got, names)
		}
	}},
	{"ListBuckets/UnknownKey", func(c *C) {
		c.do("GET", "/", as(user{"", "NOSUCHACCESSKEY12345", "x"})).err(403, "InvalidAccessKeyId").x("AWSAccessKeyId", "NOSUCHACCESSKEY12345")
	}},
	{"ListBuckets/WrongSecret", func(c *C) {
		c.do("GET", "/", as(user{"", c.srv.main.access, "wrong"})).err(403, "SignatureDoesNotMatch").x("AWSAccessKeyId", c.srv.main.access).some("StringToSign").some("SignatureProvided").some("CanonicalRequest")
	}},

	{"GetBucketLocation/Default", func(c *C) {
		want := c.srv.region
		if want == "us-east-1" {
			want = ""
		}
		r := c.do("GET", "/"+c.bucket()+"?location").is(200).root("LocationConstraint")
		if r.tree.text != want {
			fail("%v", r)
		}
	}},
	{"GetBucketLocation/Missing", func(c *C) { c.do("GET", "/"+c.fresh()+"?location").err(404, "NoSuchBucket") }},
	{"GetBucketLocation/Others", func(c *C) {
		c.do("GET", "/"+c.bucket()+"?location", as(c.other())).err(403, "AccessDenied")
	}},
	{"GetBucketRequestPayment/Default", func(c *C) {
		c.do("GET", "/"+c.bucket()+"?requestPayment").is(200).root("RequestPaymentConfiguration").x("Payer", "BucketOwner")
	}},
	{"PutBucketRequestPayment/Requester", func(c *C) {
		b := c.bucket()
		c.do("PUT", "/"+b+"?requestPayment", doc(`<RequestPaymentConfiguration xmlns="`+s3NS+`"><Payer>Requester</Payer></RequestPaymentConfiguration>`)).is(200)
		c.do("GET", "/"+b+"?requestPayment").is(200).x("Payer", "Requester")
	}},
	{"PutBucketRequestPayment/Malformed", func(c *C) {
		c.do("PUT", "/"+c.bucket()+"?requestPayment", doc(`<RequestPaymentConfiguration><Payer>Nobody</Payer></RequestPaymentConfiguration>`)).err(400, "MalformedXML")
	}},
	{"GetBucketAccelerateConfiguration/Default", func(c *C) {
		c.do("GET", "/"+c.bucket()+"?accelerate").is(200).root("AccelerateConfiguration").x("Status")
	}},
	{"GetBucketReplication/None", func(c *C) {
		c.do("GET", "/"+c.bucket()+"?replication").err(404, "ReplicationConfigurationNotFoundError")
	}},

	{"VirtualHost/Bucket", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.do("GET", "/", host(c.vhost(b))).is(200).root("ListBucketResult").x("Name", b).x("Contents.Key", "k")
	}},
	{"VirtualHost/Object", func(c *C) {
		b := c.bucket()
		c.do("PUT", "/some/key", host(c.vhost(b)), body("v")).is(200)
		c.do("GET", "/some/key", host(c.vhost(b)+":8080")).is(200).text("v")
		c.get(b, "some/key").is(200).text("v")
	}},
	{"VirtualHost/CreateBucket", func(c *C) {
		b := c.fresh()
		c.do("PUT", "/", host(c.vhost(b))).is(200)
		c.do("HEAD", "/"+b).is(200)
	}},
	{"VirtualHost/Missing", func(c *C) { c.do("GET", "/", host(c.vhost(c.fresh()))).err(404, "NoSuchBucket") }},
	{"Method/Unknown", func(c *C) { c.do("PATCH", "/"+c.bucket()+"/k").err(405, "MethodNotAllowed") }},
	{"Method/ServiceDelete", func(c *C) { c.do("DELETE", "/").err(405, "MethodNotAllowed") }},
	{"Method/PutUploads", func(c *C) { c.do("PUT", "/"+c.bucket()+"/k?uploads").err(405, "MethodNotAllowed") }},
	{"Answer/Headers", func(c *C) {
		r := c.do("GET", "/"+c.bucket()).is(200).hset("X-Amz-Request-Id").hset("X-Amz-Id-2").hset("Date").h("Content-Type", "application/xml")
		if _, err := http.ParseTime(r.header.Get("Date")); err != nil {
			fail("%v", err)
		}
	}},
	{"Answer/ErrorFields", func(c *C) {
		b := c.bucket()
		r := c.get(b, "none").err(404, "NoSuchKey").x("Key", "none").some("HostId")
		if r.first("RequestId") != r.header.Get("X-Amz-Request-Id") {
			fail("%v: another request id in the header", r)
		}
	}},
}
