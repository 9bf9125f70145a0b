package conformance

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func version(r *R) string { return r.hset("X-Amz-Version-Id").header.Get("X-Amz-Version-Id") }

// stack puts versions of a key and returns their ids, the oldest first.
func (c *C) stack(b, key string, texts ...string) (ids []string) {
	for _, t := range texts {
		ids = append(ids, version(c.put(b, key, t)))
	}
	return ids
}

func (c *C) getV(b, key, id string) *R  { return c.do("GET", "/"+b+"/"+esc(key)+"?versionId="+id) }
func (c *C) headV(b, key, id string) *R { return c.do("HEAD", "/"+b+"/"+esc(key)+"?versionId="+id) }
func (c *C) delV(b, key, id string, opts ...opt) *R {
	return c.do("DELETE", "/"+b+"/"+esc(key)+"?versionId="+id, opts...)
}

func (c *C) badVersioning(doc opt) *R { return c.do("PUT", "/"+c.bucket()+"?versioning", doc) }

var versioningRows = []row{
	{"GetBucketVersioning/Never", func(c *C) {
		c.do("GET", "/"+c.bucket()+"?versioning").is(200).root("VersioningConfiguration").x("Status").x("MfaDelete")
	}},
	{"PutBucketVersioning/Enabled", func(c *C) {
		c.do("GET", "/"+c.versioned()+"?versioning").is(200).root("VersioningConfiguration").x("Status", "Enabled")
	}},
	{"PutBucketVersioning/Suspended", func(c *C) {
		b := c.bucket()
		c.versioning(b, "Suspended")
		c.do("GET", "/"+b+"?versioning").is(200).x("Status", "Suspended")
	}},
	{"PutBucketVersioning/BackAndForth", func(c *C) {
		b := c.versioned()
		for _, s := range []string{"Suspended", "Enabled", "Enabled", "Suspended", "Suspended"} {
			c.versioning(b, s)
			c.do("GET", "/"+b+"?versioning").is(200).x("Status", s)
		}
	}},
	{"PutBucketVersioning/UnknownStatus", func(c *C) {
		c.badVersioning(doc("<VersioningConfiguration><Status>On</Status></VersioningConfiguration>")).err(400, "MalformedXML")
	}},
	{"PutBucketVersioning/NoStatus", func(c *C) {
		c.badVersioning(doc("<VersioningConfiguration></VersioningConfiguration>")).err(400, "IllegalVersioningConfigurationException")
	}},
	{"PutBucketVersioning/Malformed", func(c *C) { c.badVersioning(doc("<Versioning")).err(400, "MalformedXML") }},
	{"PutBucketVersioning/NoBucket", func(c *C) {
		c.do("PUT", "/"+c.fresh()+"?versioning", doc("<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")).err(404, "NoSuchBucket")
	}},
	{"PutBucketVersioning/Others", func(c *C) {
		b, o := c.bucket(), c.other()
		c.do("PUT", "/"+b+"?versioning", as(o), doc("<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")).err(403, "AccessDenied")
		c.do("GET", "/"+b+"?versioning", as(o)).err(403, "AccessDenied")
	}},
	{"Versions/PutReturnsIds", func(c *C) {
		b := c.versioned()
		ids := c.stack(b, "k", "one", "two", "three")
		if ids[0] == ids[1] || ids[1] == ids[2] || slices.Contains(ids, "null") {
			fail("%v", ids)
		}
		c.get(b, "k").is(200).text("three").h("X-Amz-Version-Id", ids[2])
		c.head(b, "k").is(200).h("X-Amz-Version-Id", ids[2])
		for i, t := range []string{"one", "two", "three"} {
			c.getV(b, "k", ids[i]).is(200).text(t).h("X-Amz-Version-Id", ids[i]).h("Etag", etag(t))
			c.headV(b, "k", ids[i]).is(200).h("Content-Length", fmt.Sprint(len(t)))
		}
	}},
	{"Versions/NoIdWithoutVersioning", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v").h("X-Amz-Version-Id", "")
		c.get(b, "k").is(200).h("X-Amz-Version-Id", "")
		c.getV(b, "k", "null").is(200).text("v")
	}},
	{"Versions/UnknownId", func(c *C) {
		b := c.versioned()
		id := c.stack(b, "k", "v")[0]
		c.delV(b, "k", id).is(204)
		c.put(b, "k", "w")
		c.getV(b, "k", id).err(404, "NoSuchVersion").x("VersionId", id).x("Key", "k")
		c.headV(b, "k", id).is(404)
		c.delV(b, "k", id).is(204)
	}},
	{"Versions/InvalidId", func(c *C) {
		b := c.versioned()
		c.put(b, "k", "v")
		c.getV(b, "k", "nonsense").err(400, "InvalidArgument")
	}},
	{"Versions/EmptyId", func(c *C) {
		b := c.versioned()
		c.put(b, "k", "v")
		c.do("GET", "/"+b+"/k?versionId=").err(400, "InvalidArgument")
	}},
	{"Versions/DeleteMakesMarker", func(c *C) {
		b := c.versioned()
		ids := c.stack(b, "k", "v")
		r := c.del(b, "k").is(204).h("X-Amz-Delete-Marker", "true")
		marker := version(r)
		c.get(b, "k").err(404, "NoSuchKey").h("X-Amz-Delete-Marker", "true").h("X-Amz-Version-Id", marker)
		c.head(b, "k").is(404).h("X-Amz-Delete-Marker", "true")
		c.getV(b, "k", ids[0]).is(200).text("v")
		c.getV(b, "k", marker).err(405, "MethodNotAllowed").h("X-Amz-Delete-Marker", "true").h("Allow", "DELETE").hset("Last-Modified")
		c.headV(b, "k", marker).is(405)
		c.do("GET", "/"+b).is(200).x("Contents.Key")
		c.do("GET", "/"+b+"?versions").is(200).x("DeleteMarker.VersionId", marker).x("DeleteMarker.IsLatest", "true").x("Version.VersionId", ids[0]).x("Version.IsLatest", "false").x("DeleteMarker.Owner.ID", c.srv.main.id)
	}},
	{"Versions/DeleteMissingMakesMarker", func(c *C) {
		b := c.versioned()
		marker := version(c.del(b, "k").is(204).h("X-Amz-Delete-Marker", "true"))
		c.do("GET", "/"+b+"?versions").is(200).x("DeleteMarker.VersionId", marker).x("Version")
	}},
	{"Versions/DeleteMarkerDeleted", func(c *C) {
		b := c.versioned()
		ids := c.stack(b, "k", "v")
		marker := version(c.del(b, "k").is(204))
		c.delV(b, "k", marker).is(204).h("X-Amz-Delete-Marker", "true").h("X-Amz-Version-Id", marker)
		c.get(b, "k").is(200).text("v").h("X-Amz-Version-Id", ids[0])
		c.do("GET", "/"+b).is(200).x("Contents.Key", "k")
	}},
	{"Versions/TwoMarkers", func(c *C) {
		b := c.versioned()
		c.put(b, "k", "v")
		one, two := version(c.del(b, "k").is(204)), version(c.del(b, "k").is(204))
		c.do("GET", "/"+b+"?versions").is(200).x("DeleteMarker.VersionId", two, one).x("DeleteMarker.IsLatest", "true", "false")
	}},
	{"Versions/DeleteVersion", func(c *C) {
		b := c.versioned()
		ids := c.stack(b, "k", "one", "two", "three")
		c.delV(b, "k", ids[1]).is(204).h("X-Amz-Version-Id", ids[1]).h("X-Amz-Delete-Marker", "")
		c.get(b, "k").is(200).text("three")
		c.delV(b, "k", ids[2]).is(204)
		c.get(b, "k").is(200).text("one").h("X-Amz-Version-Id", ids[0])
		c.delV(b, "k", ids[0]).is(204)
		c.get(b, "k").err(404, "NoSuchKey").h("X-Amz-Delete-Marker", "")
		c.do("GET", "/"+b+"?versions").is(200).x("Version").x("DeleteMarker")
		c.do("DELETE", "/"+b).is(204)
	}},
	{"Versions/DeleteVersionIfMatch", func(c *C) {
		b := c.versioned()
		id := c.stack(b, "k", "v")[0]
		c.delV(b, "k", id, hdr("If-Match", etag("x"))).err(412, "PreconditionFailed")
		c.delV(b, "k", id, hdr("If-Match", etag("v"))).is(204)
	}},
	{"Versions/BeforeVersioning", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "old")
		c.versioning(b, "Enabled")
		id := c.stack(b, "k", "new")[0]
		c.getV(b, "k", "null").is(200).text("old").h("X-Amz-Version-Id", "null")
		c.do("GET", "/"+b+"?versions").is(200).x("Version.VersionId", id, "null").x("Version.IsLatest", "true", "false")
		c.delV(b, "k", "null").is(204).h("X-Amz-Version-Id", "null")
		c.do("GET", "/"+b+"?versions").is(200).x("Version.VersionId", id)
	}},
	{"Versions/Suspended/OverwritesNull", func(c *C) {
		b := c.versioned()
		id := c.stack(b, "k", "kept")[0]
		c.versioning(b, "Suspended")
		c.put(b, "k", "one").h("X-Amz-Version-Id", "")
		c.put(b, "k", "two")
		c.get(b, "k").is(200).text("two").h("X-Amz-Version-Id", "null")
		c.do("GET", "/"+b+"?versions").is(200).x("Version.VersionId", "null", id).x("Version.Size", "3", "4")
		c.getV(b, "k", id).is(200).text("kept")
	}},
	{"Versions/Suspended/DeleteMakesNullMarker", func(c *C) {
		b := c.versioned()
		id := c.stack(b, "k", "kept")[0]
		c.versioning(b, "Suspended")
		c.put(b, "k", "null version")
		c.del(b, "k").is(204).h("X-Amz-Delete-Marker", "true").h("X-Amz-Version-Id", "null")
		c.do("GET", "/"+b+"?versions").is(200).x("DeleteMarker.VersionId", "null").x("Version.VersionId", id)
		c.get(b, "k").err(404, "NoSuchKey")
		c.delV(b, "k", "null").is(204)
		c.get(b, "k").is(200).text("kept")
	}},
	{"Versions/Suspended/EnabledAgain", func(c *C) {
		b := c.versioned()
		one := c.stack(b, "k", "one")[0]
		c.versioning(b, "Suspended")
		c.put(b, "k", "null")
		c.versioning(b, "Enabled")
		three := c.stack(b, "k", "three")[0]
		c.do("GET", "/"+b+"?versions").is(200).x("Version.VersionId", three, "null", one)
	}},
	{"Versions/ManyPutsAndDeletes", func(c *C) {
		b := c.versioned()
		var want []string
		for i := range 5 {
			want = append([]string{c.stack(b, "k", fmt.Sprint(i))[0]}, want...)
		}
		c.do("GET", "/"+b+"?versions").is(200).x("Version.VersionId", want...)
		for len(want) > 0 {
			c.get(b, "k").is(200).text(fmt.Sprint(len(want)-1)).h("X-Amz-Version-Id", want[0])
			c.delV(b, "k", want[0]).is(204)
			want = want[1:]
			c.do("GET", "/"+b+"?versions").is(200).x("Version.VersionId", want...)
		}
	}},
	{"Versions/KeysAreApart", func(c *C) {
		b := c.versioned()
		ka, kab := c.stack(b, "a", "1", "2"), c.stack(b, "a/b", "3", "4")
		c.do("GET", "/"+b+"?versions").is(200).x("Version.Key", "a", "a", "a/b", "a/b").x("Version.VersionId", ka[1], ka[0], kab[1], kab[0])
		c.getV(b, "a", kab[0]).is(404)
	}},
	{"Versions/BucketNotEmpty", func(c *C) {
		b := c.versioned()
		id := c.stack(b, "k", "v")[0]
		marker := version(c.del(b, "k").is(204))
		c.do("DELETE", "/"+b).err(409, "BucketNotEmpty")
		c.delV(b, "k", id).is(204)
		c.do("DELETE", "/"+b).err(409, "BucketNotEmpty")
		c.delV(b, "k", marker).is(204)
		c.do("DELETE", "/"+b).is(204)
	}},
	{"Versions/IfNoneMatchAfterMarker", func(c *C) {
		b := c.versioned()
		c.put(b, "k", "v")
		c.do("PUT", "/"+b+"/k", body("w"), hdr("If-None-Match", "*")).err(412, "PreconditionFailed")
		c.del(b, "k").is(204)
		c.put(b, "k", "w", hdr("If-None-Match", "*"))
	}},
	{"Versions/Multipart", func(c *C) {
		b := c.versioned()
		c.stack(b, "k", "v")
		id := version(c.multipart(b, "k", "part"))
		c.get(b, "k").is(200).text("part").h("X-Amz-Version-Id", id)
	}},
	{"Versions/Copy", func(c *C) {
		b := c.versioned()
		ids := c.stack(b, "k", "one", "two")
		r := c.copyTo(b, "c", b+"/k?versionId="+ids[0]).is(200).h("X-Amz-Copy-Source-Version-Id", ids[0])
		c.getV(b, "c", version(r)).is(200).text("one")
		c.copyTo(b, "c", b+"/k").is(200).h("X-Amz-Copy-Source-Version-Id", ids[1])
		c.get(b, "c").is(200).text("two")
	}},
	{"Versions/CopyOntoItself", func(c *C) {
		b := c.versioned()
		ids := c.stack(b, "k", "one", "two")
		c.copyTo(b, "k", b+"/k?versionId="+ids[0]).is(200)
		c.get(b, "k").is(200).text("one")
		c.do("GET", "/"+b+"?versions").is(200).x("Version.Size", "3", "3", "3")
	}},
	{"Versions/CopyMarker", func(c *C) {
		b := c.versioned()
		c.put(b, "k", "v")
		marker := version(c.del(b, "k").is(204))
		c.copyTo(b, "c", b+"/k").err(404, "NoSuchKey")
		c.copyTo(b, "c", b+"/k?versionId="+marker).err(400, "InvalidRequest")
	}},
	{"Versions/PartCopy", func(c *C) {
		b := c.versioned()
		ids := c.stack(b, "k", "one", "two")
		id := c.upload(b, "m")
		r := c.do("PUT", "/"+b+"/m?partNumber=1&uploadId="+id, hdr("X-Amz-Copy-Source", b+"/k?versionId="+ids[0])).is(200).h("X-Amz-Copy-Source-Version-Id", ids[0])
		c.complete(b, "m", id, parts(1, r.first("ETag"))).is(200)
		c.get(b, "m").is(200).text("one")
	}},
	{"Versions/DeleteObjects", func(c *C) {
		b := c.versioned()
		ids := c.stack(b, "k", "one", "two")
		r := c.do("POST", "/"+b+"?delete", doc("<Delete><Object><Key>k</Key><VersionId>"+ids[0]+"</VersionId></Object><Object><Key>k</Key></Object></Delete>")).is(200)
		r.x("Deleted.Key", "k", "k").x("Deleted.VersionId", ids[0]).x("Deleted.DeleteMarker", "true").some("Deleted.DeleteMarkerVersionId")
		marker := r.first("Deleted.DeleteMarkerVersionId")
		r = c.do("POST", "/"+b+"?delete", doc("<Delete><Object><Key>k</Key><VersionId>"+marker+"</VersionId></Object></Delete>")).is(200)
		r.x("Deleted.VersionId", marker).x("Deleted.DeleteMarker", "true").x("Deleted.DeleteMarkerVersionId", marker)
		c.get(b, "k").is(200).text("two")
	}},
	{"Versions/DeleteObjectsUnknown", func(c *C) {
		b := c.versioned()
		id := c.stack(b, "k", "one")[0]
		c.delV(b, "k", id).is(204)
		c.do("POST", "/"+b+"?delete", doc("<Delete><Object><Key>k</Key><VersionId>"+id+"</VersionId></Object></Delete>")).is(200).x("Deleted.VersionId", id).x("Error")
	}},
	{"Versions/ACLPerVersion", func(c *C) {
		b := c.acls()
		c.versioning(b, "Enabled")
		ids := c.stack(b, "k", "one", "two")
		c.do("PUT", "/"+b+"/k?acl&versionId="+ids[0], hdr("X-Amz-Acl", "public-read")).is(200)
		c.do("GET", "/"+b+"/k?versionId="+ids[0], anon).is(200).text("one")
		c.get(b, "k", anon).err(403, "AccessDenied")
	}},
	{"Versions/TagsPerVersion", func(c *C) {
		b := c.versioned()
		ids := c.stack(b, "k", "one", "two")
		c.do("PUT", "/"+b+"/k?tagging&versionId="+ids[0], doc(tagging("a", "1"))).is(200).h("X-Amz-Version-Id", ids[0])
		c.do("GET", "/"+b+"/k?tagging&versionId="+ids[0]).is(200).x("TagSet.Tag.Key", "a").h("X-Amz-Version-Id", ids[0])
		c.do("GET", "/"+b+"/k?tagging").is(200).x("TagSet.Tag")
		c.do("DELETE", "/"+b+"/k?tagging&versionId="+ids[0]).is(204)
		c.do("GET", "/"+b+"/k?tagging&versionId="+ids[0]).is(200).x("TagSet.Tag")
	}},
	{"ListObjectVersions/Pages", func(c *C) {
		b := c.versioned()
		ids := c.stack(b, "a", "1", "2", "3")
		other := c.stack(b, "b", "4")
		r := c.do("GET", "/"+b+"?versions&max-keys=2").is(200).x("Version.VersionId", ids[2], ids[1]).x("IsTruncated", "true").x("NextKeyMarker", "a").x("NextVersionIdMarker", ids[1])
		c.do("GET", "/"+b+"?versions&max-keys=2&key-marker="+r.first("NextKeyMarker")+"&version-id-marker="+r.first("NextVersionIdMarker")).is(200).
			x("Version.VersionId", ids[0], other[0]).x("IsTruncated", "false").x("KeyMarker", "a").x("VersionIdMarker", ids[1]).x("Version.IsLatest", "false", "true")
		c.do("GET", "/"+b+"?versions&key-marker=a").is(200).x("Version.Key", "b")
	}},
	{"ListObjectVersions/Prefix+Delimiter", func(c *C) {
		b := c.versioned()
		c.stack(b, "a/1", "1", "2")
		c.stack(b, "a/2", "3")
		c.stack(b, "b", "4", "5")
		c.do("GET", "/"+b+"?versions&delimiter=/").is(200).x("CommonPrefixes.Prefix", "a/").x("Version.Key", "b", "b")
		c.do("GET", "/"+b+"?versions&prefix=a/").is(200).x("Version.Key", "a/1", "a/1", "a/2")
	}},
	{"ListObjectVersions/OnlyMarkers", func(c *C) {
		b := c.versioned()
		c.del(b, "x").is(204)
		c.del(b, "a/b").is(204)
		c.do("GET", "/"+b+"?versions&delimiter=/").is(200).x("DeleteMarker.Key", "x").x("CommonPrefixes.Prefix", "a/")
		c.do("GET", "/"+b+"?delimiter=/").is(200).x("CommonPrefixes.Prefix").x("Contents.Key")
	}},
	{"ListObjectVersions/SDK", func(c *C) {
		b := c.versioned()
		var want, got []string
		for i := range 5 {
			want = append(want, c.stack(b, fmt.Sprintf("k%d", i), "v")...)
		}
		for p := awss3.NewListObjectVersionsPaginator(c.sdk(), &awss3.ListObjectVersionsInput{Bucket: &b, MaxKeys: aws.Int32(2)}); p.HasMorePages(); {
			for _, v := range ok(p.NextPage(context.Background())).Versions {
				got = append(got, aws.ToString(v.VersionId))
			}
		}
		if !slices.Equal(got, want) {
			fail("%v, want %v", got, want)
		}
	}},
}

func retention(mode string, until time.Time) opt {
	return doc(`<Retention xmlns="` + s3NS + `"><Mode>` + mode + `</Mode><RetainUntilDate>` + until.UTC().Format(time.RFC3339) + `</RetainUntilDate></Retention>`)
}

func lockConfig(inner string) opt {
	return doc(`<ObjectLockConfiguration xmlns="` + s3NS + `">` + inner + `</ObjectLockConfiguration>`)
}

const lockEnabled = "<ObjectLockEnabled>Enabled</ObjectLockEnabled>"

// badLock is a lock configuration that is refused.
func badLock(inner string, status int, code string) func(c *C) {
	return func(c *C) { c.do("PUT", "/"+c.locked()+"?object-lock", lockConfig(inner)).err(status, code) }
}

func hold(status string) opt {
	return doc(`<LegalHold xmlns="` + s3NS + `"><Status>` + status + `</Status></LegalHold>`)
}

// soon ends shortly, for what would keep buckets of a server that goes on; nothing waits for it.
func soon() time.Time { return time.Now().Add(30 * time.Second).Truncate(time.Second) }

var bypass = hdr("X-Amz-Bypass-Governance-Retention", "true")

var lockRows = []row{
	{"PutObjectLockConfiguration/Default", func(c *C) {
		b := c.locked()
		c.do("PUT", "/"+b+"?object-lock", lockConfig(lockEnabled+"<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule>")).is(200)
		c.do("GET", "/"+b+"?object-lock").is(200).root("ObjectLockConfiguration").x("ObjectLockEnabled", "Enabled").x("Rule.DefaultRetention.Mode", "GOVERNANCE").x("Rule.DefaultRetention.Days", "1")
		id := version(c.put(b, "k", "v", hdr("Content-MD5", md5b64("v"))))
		h := c.head(b, "k").is(200).h("X-Amz-Object-Lock-Mode", "GOVERNANCE").hset("X-Amz-Object-Lock-Retain-Until-Date")
		until, err := time.Parse(time.RFC3339, h.header.Get("X-Amz-Object-Lock-Retain-Until-Date"))
		if err != nil || time.Until(until) < 23*time.Hour || time.Until(until) > 25*time.Hour {
			fail("until %v, %v", until, err)
		}
		c.delV(b, "k", id).err(403, "AccessDenied")
		c.delV(b, "k", id, bypass).is(204)
	}},
	{"PutObjectLockConfiguration/Years", func(c *C) {
		b := c.locked()
		c.do("PUT", "/"+b+"?object-lock", lockConfig(lockEnabled+"<Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Years>1</Years></DefaultRetention></Rule>")).is(200)
		c.do("GET", "/"+b+"?object-lock").is(200).x("Rule.DefaultRetention.Years", "1").x("Rule.DefaultRetention.Mode", "COMPLIANCE")
		c.do("PUT", "/"+b+"?object-lock", lockConfig(lockEnabled)).is(200)
		c.do("GET", "/"+b+"?object-lock").is(200).x("Rule")
	}},
	{"PutObjectLockConfiguration/DaysAndYears", badLock(lockEnabled+"<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days><Years>1</Years></DefaultRetention></Rule>", 400, "MalformedXML")},
	{"PutObjectLockConfiguration/NoPeriod", badLock(lockEnabled+"<Rule><DefaultRetention><Mode>GOVERNANCE</Mode></DefaultRetention></Rule>", 400, "MalformedXML")},
	{"PutObjectLockConfiguration/ZeroDays", badLock(lockEnabled+"<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>0</Days></DefaultRetention></Rule>", 400, "InvalidRetentionPeriod")},
	{"PutObjectLockConfiguration/NegativeYears", badLock(lockEnabled+"<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Years>-1</Years></DefaultRetention></Rule>", 400, "InvalidRetentionPeriod")},
	{"PutObjectLockConfiguration/UnknownMode", badLock(lockEnabled+"<Rule><DefaultRetention><Mode>governance</Mode><Days>1</Days></DefaultRetention></Rule>", 400, "MalformedXML")},
	{"PutObjectLockConfiguration/NotEnabled", badLock("<ObjectLockEnabled>Disabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule>", 400, "MalformedXML")},
	{"PutObjectLockConfiguration/WithoutVersioning", func(c *C) {
		c.do("PUT", "/"+c.bucket()+"?object-lock", lockConfig(lockEnabled)).err(409, "InvalidBucketState")
	}},
	{"PutObjectLockConfiguration/ExistingVersioned", func(c *C) {
		b := c.versioned()
		c.do("PUT", "/"+b+"?object-lock", lockConfig(lockEnabled+"<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule>")).is(200)
		c.do("GET", "/"+b+"?object-lock").is(200).x("ObjectLockEnabled", "Enabled")
	}},
	{"GetObjectLockConfiguration/None", func(c *C) {
		c.do("GET", "/"+c.bucket()+"?object-lock").err(404, "ObjectLockConfigurationNotFoundError")
	}},
	{"PutBucketVersioning/SuspendLocked", func(c *C) {
		c.do("PUT", "/"+c.locked()+"?versioning", doc("<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>")).err(409, "InvalidBucketState")
	}},
	{"PutObjectRetention/Governance", func(c *C) {
		b := c.locked()
		id := c.stack(b, "k", "v")[0]
		until := soon()
		c.do("PUT", "/"+b+"/k?retention", retention("GOVERNANCE", until)).is(200)
		c.do("GET", "/"+b+"/k?retention").is(200).root("Retention").x("Mode", "GOVERNANCE").some("RetainUntilDate")
		c.head(b, "k").is(200).h("X-Amz-Object-Lock-Mode", "GOVERNANCE").hset("X-Amz-Object-Lock-Retain-Until-Date")
		c.delV(b, "k", id).err(403, "AccessDenied")
		c.del(b, "k").is(204).h("X-Amz-Delete-Marker", "true")
		c.delV(b, "k", id, bypass).is(204)
	}},
	{"PutObjectRetention/Compliance", func(c *C) {
		b := c.locked()
		id := c.stack(b, "k", "v")[0]
		c.do("PUT", "/"+b+"/k?retention&versionId="+id, retention("COMPLIANCE", soon())).is(200)
		c.delV(b, "k", id).err(403, "AccessDenied")
		c.delV(b, "k", id, bypass).err(403, "AccessDenied")
		c.do("PUT", "/"+b+"/k?retention", retention("GOVERNANCE", soon()), bypass).err(403, "AccessDenied")
		c.do("PUT", "/"+b+"/k?retention", retention("COMPLIANCE", soon().Add(-20*time.Second)), bypass).err(403, "AccessDenied")
		c.do("PUT", "/"+b+"/k?retention", retention("COMPLIANCE", soon().Add(10*time.Second))).is(200)
	}},
	{"PutObjectRetention/Shorten", func(c *C) {
		b := c.locked()
		c.put(b, "k", "v", hdr("Content-MD5", md5b64("v")))
		c.do("PUT", "/"+b+"/k?retention", retention("GOVERNANCE", soon())).is(200)
		c.do("PUT", "/"+b+"/k?retention", retention("GOVERNANCE", soon().Add(-20*time.Second))).err(403, "AccessDenied")
		c.do("PUT", "/"+b+"/k?retention", retention("GOVERNANCE", soon().Add(10*time.Second))).is(200)
		c.do("PUT", "/"+b+"/k?retention", retention("GOVERNANCE", soon().Add(-20*time.Second)), bypass).is(200)
		c.do("PUT", "/"+b+"/k?retention", doc("<Retention></Retention>"), bypass).is(200)
		c.do("GET", "/"+b+"/k?retention").err(404, "NoSuchObjectLockConfiguration")
	}},
	{"PutObjectRetention/Past", func(c *C) {
		b := c.locked()
		c.put(b, "k", "v", hdr("Content-MD5", md5b64("v")))
		c.do("PUT", "/"+b+"/k?retention", retention("GOVERNANCE", time.Now().Add(-time.Hour))).err(400, "InvalidArgument")
	}},
	{"PutObjectRetention/UnknownMode", func(c *C) {
		b := c.locked()
		c.put(b, "k", "v", hdr("Content-MD5", md5b64("v")))
		c.do("PUT", "/"+b+"/k?retention", retention("abc", soon())).err(400, "MalformedXML")
		c.do("PUT", "/"+b+"/k?retention", retention("governance", soon())).err(400, "MalformedXML")
	}},
	{"PutObjectRetention/NoLock", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.do("PUT", "/"+b+"/k?retention", retention("GOVERNANCE", soon())).err(400, "InvalidRequest")
		c.do("GET", "/"+b+"/k?retention").err(400, "InvalidRequest")
	}},
	{"PutObjectRetention/Missing", func(c *C) {
		c.do("PUT", "/"+c.locked()+"/k?retention", retention("GOVERNANCE", soon())).err(404, "NoSuchKey")
	}},
	{"GetObjectRetention/None", func(c *C) {
		b := c.locked()
		c.put(b, "k", "v", hdr("Content-MD5", md5b64("v")))
		c.do("GET", "/"+b+"/k?retention").err(404, "NoSuchObjectLockConfiguration")
	}},
	{"PutObject/Lock/Retention", func(c *C) {
		b := c.locked()
		until := soon()
		id := version(c.put(b, "k", "v", hdr("Content-MD5", md5b64("v"), "X-Amz-Object-Lock-Mode", "GOVERNANCE", "X-Amz-Object-Lock-Retain-Until-Date", until.UTC().Format(time.RFC3339))))
		c.head(b, "k").is(200).h("X-Amz-Object-Lock-Mode", "GOVERNANCE")
		c.get(b, "k").is(200).h("X-Amz-Object-Lock-Mode", "GOVERNANCE")
		c.delV(b, "k", id).err(403, "AccessDenied")
		c.delV(b, "k", id, bypass).is(204)
	}},
	{"PutObject/Lock/Hold", func(c *C) {
		b := c.locked()
		id := version(c.put(b, "k", "v", hdr("Content-MD5", md5b64("v"), "X-Amz-Object-Lock-Legal-Hold", "ON")))
		c.head(b, "k").is(200).h("X-Amz-Object-Lock-Legal-Hold", "ON")
		c.delV(b, "k", id, bypass).err(403, "AccessDenied")
		c.do("PUT", "/"+b+"/k?legal-hold", hold("OFF")).is(200)
		c.delV(b, "k", id).is(204)
	}},
	{"PutObject/Lock/ModeWithoutDate", func(c *C) {
		b := c.locked()
		c.do("PUT", "/"+b+"/k", body("v"), hdr("Content-MD5", md5b64("v"), "X-Amz-Object-Lock-Mode", "GOVERNANCE")).err(400, "InvalidArgument")
		c.do("PUT", "/"+b+"/k", body("v"), hdr("Content-MD5", md5b64("v"), "X-Amz-Object-Lock-Retain-Until-Date", soon().UTC().Format(time.RFC3339))).err(400, "InvalidArgument")
	}},
	{"PutObject/Lock/UnknownMode", func(c *C) {
		c.do("PUT", "/"+c.locked()+"/k", body("v"), hdr("Content-MD5", md5b64("v"), "X-Amz-Object-Lock-Mode", "abc", "X-Amz-Object-Lock-Retain-Until-Date", soon().UTC().Format(time.RFC3339))).err(400, "InvalidArgument")
	}},
	{"PutObject/Lock/PastDate", func(c *C) {
		c.do("PUT", "/"+c.locked()+"/k", body("v"), hdr("Content-MD5", md5b64("v"), "X-Amz-Object-Lock-Mode", "GOVERNANCE", "X-Amz-Object-Lock-Retain-Until-Date", time.Now().Add(-time.Hour).UTC().Format(time.RFC3339))).err(400, "InvalidArgument")
	}},
	{"PutObject/Lock/UnlockedBucket", func(c *C) {
		c.do("PUT", "/"+c.bucket()+"/k", body("v"), hdr("Content-MD5", md5b64("v"), "X-Amz-Object-Lock-Legal-Hold", "ON")).err(400, "InvalidRequest")
	}},
	{"PutObjectLegalHold/OnOff", func(c *C) {
		b := c.locked()
		id := c.stack(b, "k", "v")[0]
		c.do("PUT", "/"+b+"/k?legal-hold", hold("ON")).is(200)
		c.do("GET", "/"+b+"/k?legal-hold").is(200).root("LegalHold").x("Status", "ON")
		c.delV(b, "k", id).err(403, "AccessDenied")
		c.do("PUT", "/"+b+"/k?legal-hold", hold("OFF")).is(200)
		c.do("GET", "/"+b+"/k?legal-hold").is(200).x("Status", "OFF")
		c.delV(b, "k", id).is(204)
	}},
	{"PutObjectLegalHold/Unknown", func(c *C) {
		b := c.locked()
		c.stack(b, "k", "v")
		c.do("PUT", "/"+b+"/k?legal-hold", hold("abc")).err(400, "MalformedXML")
	}},
	{"PutObjectLegalHold/NoLock", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.do("PUT", "/"+b+"/k?legal-hold", hold("ON")).err(400, "InvalidRequest")
		c.do("GET", "/"+b+"/k?legal-hold").err(400, "InvalidRequest")
	}},
	{"PutObjectLegalHold/SDK", func(c *C) {
		b, s, ctx := c.locked(), c.sdk(), context.Background()
		out := ok(s.PutObject(ctx, &awss3.PutObjectInput{Bucket: &b, Key: aws.String("k"), Body: strings.NewReader("v"), ObjectLockLegalHoldStatus: types.ObjectLockLegalHoldStatusOn}))
		_, err := s.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &b, Key: aws.String("k"), VersionId: out.VersionId})
		refused(err, 403, "AccessDenied")
		ok(s.PutObjectLegalHold(ctx, &awss3.PutObjectLegalHoldInput{Bucket: &b, Key: aws.String("k"), LegalHold: &types.ObjectLockLegalHold{Status: types.ObjectLockLegalHoldStatusOff}}))
		ok(s.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &b, Key: aws.String("k"), VersionId: out.VersionId}))
	}},
	{"DeleteObjects/Locked", func(c *C) {
		b := c.locked()
		id := version(c.put(b, "k", "v", hdr("Content-MD5", md5b64("v"), "X-Amz-Object-Lock-Legal-Hold", "ON")))
		free := c.stack(b, "free", "v")[0]
		c.do("POST", "/"+b+"?delete", doc("<Delete><Object><Key>k</Key><VersionId>"+id+"</VersionId></Object><Object><Key>free</Key><VersionId>"+free+"</VersionId></Object></Delete>")).is(200).
			x("Error.Key", "k").x("Error.Code", "AccessDenied").x("Deleted.Key", "free")
		c.do("PUT", "/"+b+"/k?legal-hold", hold("OFF")).is(200)
	}},
	{"CreateMultipartUpload/Lock", func(c *C) {
		b := c.locked()
		id := c.upload(b, "k", hdr("X-Amz-Object-Lock-Mode", "GOVERNANCE", "X-Amz-Object-Lock-Retain-Until-Date", soon().UTC().Format(time.RFC3339), "X-Amz-Object-Lock-Legal-Hold", "OFF"))
		e := c.part(b, "k", id, 1, "v", hdr("Content-MD5", md5b64("v"))).is(200).header.Get("ETag")
		v := version(c.complete(b, "k", id, parts(1, e)).is(200))
		c.head(b, "k").is(200).h("X-Amz-Object-Lock-Mode", "GOVERNANCE")
		c.delV(b, "k", v).err(403, "AccessDenied")
		c.delV(b, "k", v, bypass).is(204)
	}},
	{"CopyObject/Lock", func(c *C) {
		b := c.locked()
		c.stack(b, "k", "v")
		v := version(c.copyTo(b, "c", b+"/k", hdr("X-Amz-Object-Lock-Legal-Hold", "ON")).is(200))
		c.delV(b, "c", v).err(403, "AccessDenied")
		c.do("PUT", "/"+b+"/c?legal-hold", hold("OFF")).is(200)
		c.copyTo(b, "d", b+"/c").is(200)
		c.head(b, "d").is(200).h("X-Amz-Object-Lock-Legal-Hold", "")
	}},
}
