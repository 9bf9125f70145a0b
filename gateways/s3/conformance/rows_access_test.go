package conformance

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	allUsers  = "http://acs.amazonaws.com/groups/global/AllUsers"
	authUsers = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
	xsi       = `xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"`
)

// aclDoc is an access control policy: permission, grantee, permission, grantee; a grantee is a URI or an id.
func aclDoc(owner string, kv ...string) string {
	var s strings.Builder
	for i := 0; i+1 < len(kv); i += 2 {
		kind, of := "CanonicalUser", "<ID>"+kv[i+1]+"</ID>"
		if strings.HasPrefix(kv[i+1], "http") {
			kind, of = "Group", "<URI>"+kv[i+1]+"</URI>"
		}
		fmt.Fprintf(&s, `<Grant><Grantee %s xsi:type="%s">%s</Grantee><Permission>%s</Permission></Grant>`, xsi, kind, of, kv[i])
	}
	return `<AccessControlPolicy xmlns="` + s3NS + `"><Owner><ID>` + owner + `</ID></Owner><AccessControlList>` + s.String() + `</AccessControlList></AccessControlPolicy>`
}

// grants wants the grants of an ACL besides the owner's: permission and grantee.
func (r *R) grants(c *C, want ...string) {
	r.is(200).root("AccessControlPolicy").some("Owner.ID")
	full := false
	var got []string
	for _, list := range r.tree.kids {
		if list.name != "AccessControlList" {
			continue
		}
		for _, g := range list.kids {
			who := strings.Join(append(g.all("Grantee.ID"), g.all("Grantee.URI")...), "")
			p := strings.Join(g.all("Permission"), "")
			if len(g.all("Grantee.@type")) != 1 && g.kids[0].attrs == nil {
				fail("%v: a grantee without a type", r)
			}
			if who == c.srv.main.id && p == "FULL_CONTROL" && !full {
				full = true
				continue
			}
			got = append(got, p, who)
		}
	}
	if !full || strings.Join(got, " ") != strings.Join(want, " ") {
		fail("%s: grants %q (owner: %v), want %q", r.what, got, full, want)
	}
}

// canned stores an object with a canned ACL and says who may read it.
func canned(acl string, anyone, users bool, want ...string) func(c *C) {
	return func(c *C) {
		b := c.acls()
		c.put(b, "k", "v", hdr("X-Amz-Acl", acl))
		c.do("GET", "/"+b+"/k?acl").grants(c, want...)
		mayRead(c.get(b, "k", anon), anyone)
		mayRead(c.get(b, "k", as(c.other())), users)
		c.del(b, "k", as(c.other())).err(403, "AccessDenied")
	}
}

func mayRead(r *R, may bool) {
	if may {
		r.is(200)
	} else {
		r.err(403, "AccessDenied")
	}
}

// granted gives the other user one permission of a bucket and tries everything.
func granted(permission string, list, put, readACL, writeACL bool) func(c *C) {
	return func(c *C) {
		b, o := c.acls(), c.other()
		c.put(b, "k", "v")
		c.do("PUT", "/"+b+"?acl", doc(aclDoc(c.srv.main.id, "FULL_CONTROL", c.srv.main.id, permission, o.id))).is(200)
		c.do("GET", "/"+b+"?acl").grants(c, permission, o.id)
		mayRead(c.do("GET", "/"+b, as(o)), list)
		mayRead(c.do("PUT", "/"+b+"/new", as(o), body("x")), put)
		mayRead(c.do("GET", "/"+b+"?acl", as(o)), readACL)
		mayRead(c.do("PUT", "/"+b+"?acl", as(o), doc(aclDoc(c.srv.main.id, "FULL_CONTROL", c.srv.main.id, permission, o.id))), writeACL)
		c.get(b, "k", as(o)).err(403, "AccessDenied")
	}
}

func grantedObject(permission string, read, readACL, writeACL bool) func(c *C) {
	return func(c *C) {
		b, o := c.acls(), c.other()
		c.put(b, "k", "v")
		c.do("PUT", "/"+b+"/k?acl", doc(aclDoc(c.srv.main.id, "FULL_CONTROL", c.srv.main.id, permission, o.id))).is(200)
		mayRead(c.get(b, "k", as(o)), read)
		mayRead(c.do("GET", "/"+b+"/k?acl", as(o)), readACL)
		mayRead(c.do("PUT", "/"+b+"/k?acl", as(o), doc(aclDoc(c.srv.main.id, "FULL_CONTROL", c.srv.main.id, permission, o.id))), writeACL)
		c.do("PUT", "/"+b+"/k", as(o), body("x")).err(403, "AccessDenied")
	}
}

func badACL(inner, code string) func(c *C) {
	return func(c *C) {
		b := c.acls()
		c.put(b, "k", "v")
		document := strings.ReplaceAll(inner, "MAIN", c.srv.main.id)
		c.do("PUT", "/"+b+"?acl", doc(document)).err(400, code)
		c.do("PUT", "/"+b+"/k?acl", doc(document)).err(400, code)
	}
}

var aclRows = []row{
	{"GetBucketAcl/Default", func(c *C) { c.do("GET", "/"+c.bucket()+"?acl").grants(c) }},
	{"GetBucketAcl/NoBucket", func(c *C) { c.do("GET", "/"+c.fresh()+"?acl").err(404, "NoSuchBucket") }},
	{"GetBucketAcl/Others", func(c *C) { c.do("GET", "/"+c.bucket()+"?acl", as(c.other())).err(403, "AccessDenied") }},
	{"GetObjectAcl/Default", func(c *C) {
		b := c.bucket()
		c.put(b, "k", "v")
		c.do("GET", "/"+b+"/k?acl").grants(c)
		c.do("GET", "/"+b+"/none?acl").err(404, "NoSuchKey")
	}},
	{"PutBucketAcl/Canned", func(c *C) {
		b := c.acls()
		for acl, want := range map[string][]string{
			"private": nil, "public-read": {"READ", allUsers}, "public-read-write": {"READ", allUsers, "WRITE", allUsers}, "authenticated-read": {"READ", authUsers},
		} {
			c.do("PUT", "/"+b+"?acl", hdr("X-Amz-Acl", acl)).is(200)
			c.do("GET", "/"+b+"?acl").grants(c, want...)
		}
	}},
	{"PutBucketAcl/Canned/Unknown", func(c *C) { c.do("PUT", "/"+c.acls()+"?acl", hdr("X-Amz-Acl", "anything")).err(400, "InvalidArgument") }},
	{"PutBucketAcl/PublicRead", func(c *C) {
		b := c.acls()
		c.put(b, "k", "v")
		c.do("PUT", "/"+b+"?acl", hdr("X-Amz-Acl", "public-read")).is(200)
		c.do("GET", "/"+b, anon).is(200).x("Contents.Key", "k")
		c.do("GET", "/"+b+"?list-type=2", as(c.other())).is(200).x("Contents.Key", "k")
		c.do("HEAD", "/"+b, anon).is(200)
		c.do("PUT", "/"+b+"/new", body("x"), anon).err(403, "AccessDenied")
		c.get(b, "k", anon).err(403, "AccessDenied")
	}},
	{"PutBucketAcl/PublicReadWrite", func(c *C) {
		b := c.acls()
		c.do("PUT", "/"+b+"?acl", hdr("X-Amz-Acl", "public-read-write")).is(200)
		c.do("PUT", "/"+b+"/theirs", body("x"), as(c.other())).is(200)
		c.do("PUT", "/"+b+"/anyone", body("x"), anon).is(200)
		c.do("DELETE", "/"+b+"/anyone", anon).is(204)
		c.get(b, "theirs", as(c.other())).is(200).text("x")
	}},
	{"PutBucketAcl/NotEnforced", func(c *C) {
		b := c.bucket(hdr("X-Amz-Object-Ownership", "BucketOwnerEnforced"))
		c.do("PUT", "/"+b+"?acl", hdr("X-Amz-Acl", "public-read")).err(400, "AccessControlListNotSupported")
		for _, canned := range []string{"public-read", "private"} {
			h := hdr("X-Amz-Acl", canned)
			c.do("PUT", "/"+b+"/k", body("x"), h).err(400, "AccessControlListNotSupported")
			c.do("POST", "/"+b+"/k?uploads", h).err(400, "AccessControlListNotSupported")
			c.do("PUT", "/"+b+"?acl", h).err(400, "AccessControlListNotSupported")
		}
		c.put(b, "k", "x", hdr("X-Amz-Acl", "bucket-owner-full-control"))
		c.put(b, "k", "x", hdr("X-Amz-Acl", "bucket-owner-full-control"))
	}},
	{"PutBucketAcl/Grant/READ", granted("READ", true, false, false, false)},
	{"PutBucketAcl/Grant/WRITE", granted("WRITE", false, true, false, false)},
	{"PutBucketAcl/Grant/READ_ACP", granted("READ_ACP", false, false, true, false)},
	{"PutBucketAcl/Grant/WRITE_ACP", granted("WRITE_ACP", false, false, false, true)},
	{"PutBucketAcl/Grant/FULL_CONTROL", granted("FULL_CONTROL", true, true, true, true)},
	{"PutBucketAcl/GrantHeaders", func(c *C) {
		b, o := c.acls(), c.other()
		c.do("PUT", "/"+b+"?acl", hdr("X-Amz-Grant-Read", `id="`+o.id+`"`, "X-Amz-Grant-Full-Control", "id="+c.srv.main.id, "X-Amz-Grant-Write", `uri="`+authUsers+`"`)).is(200)
		r := c.do("GET", "/"+b+"?acl").is(200)
		if g := strings.Join(r.all("AccessControlList.Grant.Permission"), " "); !strings.Contains(g, "READ") || !strings.Contains(g, "WRITE") || !strings.Contains(g, "FULL_CONTROL") {
			fail("%v", r)
		}
		c.do("GET", "/"+b, as(o)).is(200)
		c.do("PUT", "/"+b+"/x", as(o), body("x")).is(200)
	}},
	{"PutBucketAcl/GrantHeaders/UnknownUser", func(c *C) {
		c.do("PUT", "/"+c.acls()+"?acl", hdr("X-Amz-Grant-Read", `id="nobody-has-this-id"`)).err(400, "InvalidArgument")
	}},
	{"PutBucketAcl/OwnerKeepsACL", func(c *C) {
		b := c.acls()
		c.put(b, "k", "v")
		c.do("PUT", "/"+b+"?acl", doc(aclDoc(c.srv.main.id))).is(200)
		c.do("GET", "/"+b+"?acl").is(200)
		c.do("PUT", "/"+b+"?acl", hdr("X-Amz-Acl", "private")).is(200)
	}},
	{"PutBucketAcl/Malformed", badACL("<AccessControlPolicy><Acc", "MalformedACLError")},
	{"PutBucketAcl/UnknownPermission", badACL(`<AccessControlPolicy><Owner><ID>MAIN</ID></Owner><AccessControlList><Grant><Grantee `+xsi+` xsi:type="CanonicalUser"><ID>MAIN</ID></Grantee><Permission>ALL</Permission></Grant></AccessControlList></AccessControlPolicy>`, "MalformedACLError")},
	{"PutBucketAcl/UnknownUser", badACL(aclDoc("MAIN", "READ", "nobody-has-this-id"), "InvalidArgument")},
	{"PutBucketAcl/UnknownGroup", badACL(aclDoc("MAIN", "READ", "http://acs.amazonaws.com/groups/global/Nobody"), "InvalidArgument")},
	{"PutBucketAcl/NoBody", func(c *C) { c.do("PUT", "/"+c.acls()+"?acl").err(400, "MissingSecurityHeader") }},
	{"PutBucketAcl/CannedAndBody", func(c *C) {
		c.do("PUT", "/"+c.acls()+"?acl", hdr("X-Amz-Acl", "private"), doc(aclDoc(c.srv.main.id))).err(400, "UnexpectedContent")
	}},
	{"PutBucketAcl/CannedAndHeaders", func(c *C) {
		c.do("PUT", "/"+c.acls()+"?acl", hdr("X-Amz-Acl", "private", "X-Amz-Grant-Read", `id="`+c.srv.main.id+`"`)).err(400, "InvalidRequest")
	}},
	{"PutObject/ACL/private", canned("private", false, false)},
	{"PutObject/ACL/public-read", canned("public-read", true, true, "READ", allUsers)},
	{"PutObject/ACL/public-read-write", canned("public-read-write", true, true, "READ", allUsers, "WRITE", allUsers)},
	{"PutObject/ACL/authenticated-read", canned("authenticated-read", false, true, "READ", authUsers)},
	{"PutObject/ACL/bucket-owner-read", canned("bucket-owner-read", false, false)},
	{"PutObject/ACL/bucket-owner-full-control", canned("bucket-owner-full-control", false, false)},
	{"PutObject/ACL/Unknown", func(c *C) {
		c.do("PUT", "/"+c.acls()+"/k", body("x"), hdr("X-Amz-Acl", "anything")).err(400, "InvalidArgument")
	}},
	{"PutObject/ACL/Grants", func(c *C) {
		b, o := c.acls(), c.other()
		c.put(b, "k", "v", hdr("X-Amz-Grant-Read", `id="`+o.id+`"`))
		c.get(b, "k", as(o)).is(200)
		c.get(b, "k", anon).err(403, "AccessDenied")
	}},
	{"PutObject/ACL/BucketOwnerRead", func(c *C) {
		b, o := c.acls(hdr("X-Amz-Acl", "public-read-write")), c.other()
		c.put(b, "private", "v", as(o))
		c.get(b, "private").err(403, "AccessDenied")
		c.put(b, "read", "v", as(o), hdr("X-Amz-Acl", "bucket-owner-read"))
		c.get(b, "read").is(200)
		c.put(b, "full", "v", as(o), hdr("X-Amz-Acl", "bucket-owner-full-control"))
		c.get(b, "full").is(200)
		c.do("GET", "/"+b+"/full?acl").is(200).x("Owner.ID", o.id)
	}},
	{"PutObject/ACL/OwnerPreferred", func(c *C) {
		b, o := c.bucket(hdr("X-Amz-Object-Ownership", "BucketOwnerPreferred")), c.other()
		c.open(b)
		c.do("PUT", "/"+b+"?acl", hdr("X-Amz-Acl", "public-read-write")).is(200)
		c.put(b, "k", "v", as(o), hdr("X-Amz-Acl", "bucket-owner-full-control"))
		c.do("GET", "/"+b+"/k?acl").is(200).x("Owner.ID", c.srv.main.id)
	}},
	{"PutObjectAcl/Canned", func(c *C) {
		b := c.acls()
		c.put(b, "k", "v")
		c.do("PUT", "/"+b+"/k?acl", hdr("X-Amz-Acl", "public-read")).is(200)
		c.get(b, "k", anon).is(200)
		c.do("PUT", "/"+b+"/k?acl", hdr("X-Amz-Acl", "private")).is(200)
		c.get(b, "k", anon).err(403, "AccessDenied")
		c.put(b, "k", "w")
		c.do("GET", "/"+b+"/k?acl").grants(c)
	}},
	{"PutObjectAcl/Grant/READ", grantedObject("READ", true, false, false)},
	{"PutObjectAcl/Grant/WRITE", grantedObject("WRITE", false, false, false)},
	{"PutObjectAcl/Grant/READ_ACP", grantedObject("READ_ACP", false, true, false)},
	{"PutObjectAcl/Grant/WRITE_ACP", grantedObject("WRITE_ACP", false, false, true)},
	{"PutObjectAcl/Grant/FULL_CONTROL", grantedObject("FULL_CONTROL", true, true, true)},
	{"PutObjectAcl/Missing", func(c *C) { c.do("PUT", "/"+c.acls()+"/k?acl", hdr("X-Amz-Acl", "private")).err(404, "NoSuchKey") }},
	{"CopyObject/ACL", func(c *C) {
		b := c.acls()
		c.put(b, "k", "v", hdr("X-Amz-Acl", "public-read"))
		c.copyTo(b, "private", b+"/k").is(200)
		c.get(b, "private", anon).err(403, "AccessDenied")
		c.copyTo(b, "public", b+"/k", hdr("X-Amz-Acl", "public-read")).is(200)
		c.get(b, "public", anon).is(200)
	}},
	{"GetObject/Anonymous/Overrides", func(c *C) {
		b := c.acls()
		c.put(b, "k", "v", hdr("X-Amz-Acl", "public-read"))
		c.do("GET", "/"+b+"/k?response-content-type=a%2Fb", anon).err(400, "InvalidRequest")
	}},
	{"GetObject/Anonymous/MissingInListable", func(c *C) {
		b := c.acls(hdr("X-Amz-Acl", "public-read"))
		c.get(b, "none", anon).err(404, "NoSuchKey")
		c.get(c.acls(), "none", anon).err(403, "AccessDenied")
	}},
}

// statement is one statement of a policy.
func statement(effect, principal, action, resource, more string) string {
	return fmt.Sprintf(`{"Effect":%q,"Principal":%s,"Action":%s,"Resource":%s%s}`, effect, principal, action, resource, more)
}

func (c *C) policy(b string, statements ...string) *R {
	return c.do("PUT", "/"+b+"?policy", body(strings.ReplaceAll(`{"Version":"2012-10-17","Statement":[`+strings.Join(statements, ",")+`]}`, "BUCKET", b)))
}

const (
	everyone  = `"*"`
	inBucket  = `"arn:aws:s3:::BUCKET/*"`
	theBucket = `"arn:aws:s3:::BUCKET"`
)

// condition allows reads under a condition and wants it to hold, or not, for a request.
func condition(condition string, allowed bool, o ...opt) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		c.open(b)
		c.put(b, "k", "v")
		c.policy(b, statement("Allow", everyone, `"s3:GetObject"`, inBucket, `,"Condition":`+condition)).is(204)
		mayRead(c.get(b, "k", append([]opt{as(c.other())}, o...)...), allowed)
	}
}

func badPolicy(document string) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		c.do("PUT", "/"+b+"?policy", body(strings.ReplaceAll(document, "BUCKET", b))).err(400, "MalformedPolicy")
	}
}

// status is whether a policy makes a bucket public.
func policyStatus(public bool, statements ...string) func(c *C) {
	return func(c *C) {
		b := c.bucket()
		c.open(b)
		c.policy(b, statements...).is(204)
		c.do("GET", "/"+b+"?policyStatus").is(200).root("PolicyStatus").x("IsPublic", fmt.Sprint(public))
	}
}

var policyRows = []row{
	{"PutBucketPolicy/RoundTrip", func(c *C) {
		b := c.bucket()
		c.open(b)
		c.do("GET", "/"+b+"?policy").err(404, "NoSuchBucketPolicy").x("BucketName", b)
		document := `{"Version":"2012-10-17","Statement":[` + strings.ReplaceAll(statement("Allow", everyone, `"s3:ListBucket"`, theBucket, ""), "BUCKET", b) + `]}`
		c.do("PUT", "/"+b+"?policy", body(document)).is(204).text("")
		c.do("GET", "/"+b+"?policy").is(200).text(document).h("Content-Type", "application/json")
		c.do("DELETE", "/"+b+"?policy").is(204)
		c.do("GET", "/"+b+"?policy").err(404, "NoSuchBucketPolicy")
		c.do("DELETE", "/"+b+"?policy").is(204)
	}},
	{"PutBucketPolicy/NoBucket", func(c *C) { c.do("GET", "/"+c.fresh()+"?policy").err(404, "NoSuchBucket") }},
	{"PutBucketPolicy/Others", func(c *C) {
		b, o := c.bucket(), c.other()
		c.do("GET", "/"+b+"?policy", as(o)).err(403, "AccessDenied")
		c.do("PUT", "/"+b+"?policy", as(o), body("{}")).err(403, "AccessDenied")
		c.do("DELETE", "/"+b+"?policy", as(o)).err(403, "AccessDenied")
	}},
	{"PutBucketPolicy/NoJSON", badPolicy("not json")},
	{"PutBucketPolicy/Empty", badPolicy("{}")},
	{"PutBucketPolicy/NoStatement", badPolicy(`{"Version":"2012-10-17","Statement":[]}`)},
	{"PutBucketPolicy/UnknownVersion", badPolicy(`{"Version":"2020-01-01","Statement":[` + statement("Allow", everyone, `"s3:GetObject"`, inBucket, "") + `]}`)},
	{"PutBucketPolicy/UnknownEffect", badPolicy(`{"Version":"2012-10-17","Statement":[` + statement("Maybe", everyone, `"s3:GetObject"`, inBucket, "") + `]}`)},
	{"PutBucketPolicy/UnknownAction", badPolicy(`{"Version":"2012-10-17","Statement":[` + statement("Allow", everyone, `"s3:Nothing"`, inBucket, "") + `]}`)},
	{"PutBucketPolicy/OtherBucket", badPolicy(`{"Version":"2012-10-17","Statement":[` + statement("Allow", everyone, `"s3:GetObject"`, `"arn:aws:s3:::another-bucket/*"`, "") + `]}`)},
	{"PutBucketPolicy/ActionDoesNotFitResource", badPolicy(`{"Version":"2012-10-17","Statement":[` + statement("Allow", everyone, `"s3:ListBucket"`, inBucket, "") + `]}`)},
	{"PutBucketPolicy/NoPrincipal", badPolicy(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":` + inBucket + `}]}`)},
	{"PutBucketPolicy/UnknownPrincipal", badPolicy(`{"Version":"2012-10-17","Statement":[` + statement("Allow", `{"AWS":"arn:aws:iam::000000000000:user/nobody-has-this-name"}`, `"s3:GetObject"`, inBucket, "") + `]}`)},
	{"PutBucketPolicy/UnknownCondition", badPolicy(`{"Version":"2012-10-17","Statement":[` + statement("Allow", everyone, `"s3:GetObject"`, inBucket, `,"Condition":{"StringResembles":{"aws:UserAgent":"x"}}`) + `]}`)},
	{"PutBucketPolicy/TooLarge", func(c *C) {
		c.do("PUT", "/"+c.bucket()+"?policy", body(`{"Version":"2012-10-17","Statement":[],"Id":"`+strings.Repeat("x", 21<<10)+`"}`)).is(400)
	}},
	{"PutBucketPolicy/PublicRead", func(c *C) {
		b := c.bucket()
		c.open(b)
		c.put(b, "k", "v")
		c.policy(b, statement("Allow", everyone, `"s3:GetObject"`, inBucket, "")).is(204)
		c.get(b, "k", anon).is(200).text("v")
		c.get(b, "k", as(c.other())).is(200)
		c.do("GET", "/"+b, anon).err(403, "AccessDenied")
		c.do("PUT", "/"+b+"/k", anon, body("x")).err(403, "AccessDenied")
		c.do("DELETE", "/"+b+"?policy").is(204)
		c.get(b, "k", anon).err(403, "AccessDenied")
	}},
	{"PutBucketPolicy/PublicList", func(c *C) {
		b := c.bucket()
		c.open(b)
		c.put(b, "k", "v")
		c.policy(b, statement("Allow", `{"AWS":"*"}`, `["s3:ListBucket"]`, "["+theBucket+","+inBucket+"]", "")).is(204)
		for _, q := range []string{"", "?list-type=2"} {
			c.do("GET", "/"+b+q, as(c.other())).is(200).x("Contents.Key", "k")
			c.do("GET", "/"+b+q, anon).is(200)
		}
		c.get(b, "k", anon).err(403, "AccessDenied")
	}},
	{"PutBucketPolicy/DenyWins", func(c *C) {
		b := c.bucket()
		c.open(b)
		c.put(b, "k", "v")
		c.put(b, "secret/k", "v")
		c.policy(b, statement("Allow", everyone, `"s3:*"`, "["+theBucket+","+inBucket+"]", ""), statement("Deny", everyone, `"s3:GetObject"`, `"arn:aws:s3:::BUCKET/secret/*"`, "")).is(204)
		c.get(b, "k", as(c.other())).is(200)
		c.get(b, "secret/k", as(c.other())).err(403, "AccessDenied")
		c.get(b, "secret/k").err(403, "AccessDenied")
		c.do("PUT", "/"+b+"/new", as(c.other()), body("x")).is(200)
	}},
	{"PutBucketPolicy/DenyBeatsACL", func(c *C) {
		b := c.acls()
		c.put(b, "k", "v", hdr("X-Amz-Acl", "public-read"))
		c.get(b, "k", anon).is(200)
		c.policy(b, statement("Deny", everyone, `"s3:GetObject"`, inBucket, "")).is(204)
		c.get(b, "k", anon).err(403, "AccessDenied")
	}},
	{"PutBucketPolicy/NotAction", func(c *C) {
		b := c.bucket()
		c.open(b)
		c.put(b, "k", "v")
		c.policy(b, `{"Effect":"Allow","Principal":"*","NotAction":"s3:DeleteObject","Resource":`+inBucket+`}`).is(204)
		c.get(b, "k", as(c.other())).is(200)
		c.del(b, "k", as(c.other())).err(403, "AccessDenied")
	}},
	{"PutBucketPolicy/WildcardsInResource", func(c *C) {
		b := c.bucket()
		c.open(b)
		c.puts(b, "a1x", "a12x", "b")
		c.policy(b, statement("Allow", everyone, `"s3:Get*"`, `"arn:aws:s3:::BUCKET/a?x"`, "")).is(204)
		c.get(b, "a1x", anon).is(200)
		c.get(b, "a12x", anon).err(403, "AccessDenied")
		c.get(b, "b", anon).err(403, "AccessDenied")
	}},
	{"PutBucketPolicy/Multipart", func(c *C) {
		b, o := c.bucket(), c.other()
		c.open(b)
		c.policy(b, statement("Allow", everyone, `["s3:PutObject","s3:AbortMultipartUpload","s3:ListMultipartUploadParts"]`, inBucket, "")).is(204)
		id := c.upload(b, "k", as(o))
		e := c.part(b, "k", id, 1, "v", as(o)).is(200).header.Get("ETag")
		c.do("GET", "/"+b+"/k?uploadId="+id, as(o)).is(200)
		c.complete(b, "k", id, parts(1, e), as(o)).is(200)
	}},
	{"PutBucketPolicy/TagsNeedTheirAction", func(c *C) {
		b, o := c.bucket(), c.other()
		c.open(b)
		c.put(b, "k", "v", hdr("X-Amz-Tagging", "a=1"))
		c.policy(b, statement("Allow", everyone, `"s3:GetObject"`, inBucket, "")).is(204)
		c.do("GET", "/"+b+"/k?tagging", as(o)).err(403, "AccessDenied")
		c.policy(b, statement("Allow", everyone, `"s3:GetObjectTagging"`, inBucket, "")).is(204)
		c.do("GET", "/"+b+"/k?tagging", as(o)).is(200)
		c.get(b, "k", as(o)).err(403, "AccessDenied")
	}},
	{"PutBucketPolicy/VersionNeedsItsAction", func(c *C) {
		b, o := c.versioned(), c.other()
		c.open(b)
		id := c.stack(b, "k", "v")[0]
		c.policy(b, statement("Allow", everyone, `"s3:GetObject"`, inBucket, "")).is(204)
		c.do("GET", "/"+b+"/k?versionId="+id, as(o)).err(403, "AccessDenied")
		c.policy(b, statement("Allow", everyone, `"s3:GetObjectVersion"`, inBucket, "")).is(204)
		c.do("GET", "/"+b+"/k?versionId="+id, as(o)).is(200)
	}},
	{"PutBucketPolicy/CopyNeedsSourceRead", func(c *C) {
		b, o := c.bucket(), c.other()
		c.open(b)
		c.put(b, "public/k", "v")
		c.put(b, "private/k", "v")
		mine := c.fresh()
		c.do("PUT", "/"+mine, as(o)).is(200)
		c.policy(b, statement("Allow", everyone, `"s3:GetObject"`, `"arn:aws:s3:::BUCKET/public/*"`, "")).is(204)
		c.copyTo(mine, "c", b+"/public/k", as(o)).is(200)
		c.copyTo(mine, "c", b+"/private/k", as(o)).err(403, "AccessDenied")
	}},
	{"Policy/Condition/UserAgent/fits", condition(`{"StringLike":{"aws:UserAgent":"conform*"}}`, true, hdr("User-Agent", "conformance/1"))},
	{"Policy/Condition/UserAgent/other", condition(`{"StringLike":{"aws:UserAgent":"conform*"}}`, false, hdr("User-Agent", "other"))},
	{"Policy/Condition/Referer/fits", condition(`{"StringLike":{"aws:Referer":["http://www.example.com/*"]}}`, true, hdr("Referer", "http://www.example.com/page"))},
	{"Policy/Condition/Referer/missing", condition(`{"StringLike":{"aws:Referer":["http://www.example.com/*"]}}`, false)},
	{"Policy/Condition/SourceIp/fits", condition(`{"IpAddress":{"aws:SourceIp":["127.0.0.0/8","::1/128"]}}`, true)},
	{"Policy/Condition/SourceIp/other", condition(`{"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}}`, false)},
	{"Policy/Condition/SourceIp/not", condition(`{"NotIpAddress":{"aws:SourceIp":"127.0.0.0/8"}}`, false)},
	{"Policy/Condition/SecureTransport", condition(`{"Bool":{"aws:SecureTransport":"true"}}`, false)},
	{"Policy/Condition/Date/future", condition(`{"DateLessThan":{"aws:CurrentTime":"2099-01-01T00:00:00Z"}}`, true)},
	{"Policy/Condition/Date/past", condition(`{"DateLessThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}}`, false)},
	{"Policy/Condition/TwoMustHold", condition(`{"StringEquals":{"aws:UserAgent":"a"},"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}}`, false, hdr("User-Agent", "a"))},
	{"Policy/Condition/IfExists", condition(`{"StringEqualsIfExists":{"aws:Referer":"x"}}`, true)},
	{"Policy/Condition/Null", condition(`{"Null":{"aws:Referer":"true"}}`, true)},
	{"Policy/Condition/Prefix", func(c *C) {
		b, o := c.bucket(), c.other()
		c.open(b)
		c.policy(b, statement("Allow", everyone, `"s3:ListBucket"`, theBucket, `,"Condition":{"StringEquals":{"s3:prefix":"public/"}}`)).is(204)
		c.do("GET", "/"+b+"?prefix=public/", as(o)).is(200)
		c.do("GET", "/"+b+"?prefix=private/", as(o)).err(403, "AccessDenied")
		c.do("GET", "/"+b, as(o)).err(403, "AccessDenied")
	}},
	{"Policy/Condition/MaxKeys", func(c *C) {
		b, o := c.bucket(), c.other()
		c.open(b)
		c.policy(b, statement("Allow", everyone, `"s3:ListBucket"`, theBucket, `,"Condition":{"NumericLessThanEquals":{"s3:max-keys":"10"}}`)).is(204)
		c.do("GET", "/"+b+"?max-keys=10", as(o)).is(200)
		c.do("GET", "/"+b+"?max-keys=11", as(o)).err(403, "AccessDenied")
	}},
	{"Policy/Condition/CannedACL", func(c *C) {
		b, o := c.acls(), c.other()
		c.policy(b, statement("Allow", everyone, `["s3:PutObject","s3:PutObjectAcl"]`, inBucket, `,"Condition":{"StringLike":{"s3:x-amz-acl":"public-read"}}`)).is(204)
		c.put(b, "k", "v", as(o), hdr("X-Amz-Acl", "public-read"))
		c.do("PUT", "/"+b+"/k2", as(o), body("v")).err(403, "AccessDenied")
	}},
	{"Policy/Condition/ExistingTag", func(c *C) {
		b, o := c.bucket(), c.other()
		c.open(b)
		c.put(b, "public", "v", hdr("X-Amz-Tagging", "security=public"))
		c.put(b, "private", "v", hdr("X-Amz-Tagging", "security=private"))
		c.put(b, "none", "v")
		c.policy(b, statement("Allow", everyone, `"s3:GetObject"`, inBucket, `,"Condition":{"StringEquals":{"s3:ExistingObjectTag/security":"public"}}`)).is(204)
		c.get(b, "public", as(o)).is(200)
		c.get(b, "private", as(o)).err(403, "AccessDenied")
		c.get(b, "none", as(o)).err(403, "AccessDenied")
	}},
	{"Policy/Condition/RequestTag", func(c *C) {
		b, o := c.bucket(), c.other()
		c.open(b)
		c.policy(b, statement("Allow", everyone, `["s3:PutObject","s3:PutObjectTagging"]`, inBucket, `,"Condition":{"StringEquals":{"s3:RequestObjectTag/security":"public"}}`)).is(204)
		c.put(b, "k", "v", as(o), hdr("X-Amz-Tagging", "security=public"))
		c.do("PUT", "/"+b+"/k", body("v"), as(o), hdr("X-Amz-Tagging", "security=private")).err(403, "AccessDenied")
	}},
	{"Policy/Condition/CopySource", func(c *C) {
		b, o := c.bucket(), c.other()
		c.open(b)
		c.put(b, "public/k", "v")
		c.put(b, "private/k", "v")
		c.policy(b, statement("Allow", everyone, `"s3:GetObject"`, inBucket, ""), statement("Allow", everyone, `"s3:PutObject"`, inBucket, `,"Condition":{"StringLike":{"s3:x-amz-copy-source":"BUCKET/public/*"}}`)).is(204)
		c.copyTo(b, "c", b+"/public/k", as(o)).is(200)
		c.copyTo(b, "c", b+"/private/k", as(o)).err(403, "AccessDenied")
	}},
	{"Policy/Condition/Encryption", func(c *C) {
		b := c.bucket()
		c.policy(b, statement("Deny", everyone, `"s3:PutObject"`, inBucket, `,"Condition":{"Null":{"s3:x-amz-server-side-encryption":"true"}}`)).is(204)
		c.do("PUT", "/"+b+"/k", body("v")).err(403, "AccessDenied")
		c.put(b, "k", "v", hdr("X-Amz-Server-Side-Encryption", "AES256"))
	}},
	{"GetBucketPolicyStatus/None", func(c *C) { c.do("GET", "/"+c.bucket()+"?policyStatus").err(404, "NoSuchBucketPolicy") }},
	{"GetBucketPolicyStatus/Public", policyStatus(true, statement("Allow", everyone, `"s3:ListBucket"`, theBucket, ""))},
	{"GetBucketPolicyStatus/SourceIp", policyStatus(false, statement("Allow", everyone, `"s3:ListBucket"`, theBucket, `,"Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/24"}}`))},
	{"GetBucketPolicyStatus/Referer", policyStatus(true, statement("Allow", everyone, `"s3:ListBucket"`, theBucket, `,"Condition":{"StringLike":{"aws:Referer":"x"}}`))},
	{"PutPublicAccessBlock/RoundTrip", func(c *C) {
		b := c.bucket()
		c.do("PUT", "/"+b+"?publicAccessBlock", doc(block(true, false, true, false))).is(200)
		c.do("GET", "/"+b+"?publicAccessBlock").is(200).root("PublicAccessBlockConfiguration").x("BlockPublicAcls", "true").x("IgnorePublicAcls", "false").x("BlockPublicPolicy", "true").x("RestrictPublicBuckets", "false")
		c.do("DELETE", "/"+b+"?publicAccessBlock").is(204)
		c.do("GET", "/"+b+"?publicAccessBlock").err(404, "NoSuchPublicAccessBlockConfiguration")
	}},
	{"PutPublicAccessBlock/Malformed", func(c *C) { c.do("PUT", "/"+c.bucket()+"?publicAccessBlock", doc("<Public")).err(400, "MalformedXML") }},
	{"PutPublicAccessBlock/BlockPublicAcls", func(c *C) {
		b := c.acls()
		c.do("PUT", "/"+b+"?publicAccessBlock", doc(block(true, false, false, false))).is(200)
		c.do("PUT", "/"+b+"?acl", hdr("X-Amz-Acl", "public-read")).err(403, "AccessDenied")
		c.do("PUT", "/"+b+"/k", body("v"), hdr("X-Amz-Acl", "public-read")).err(403, "AccessDenied")
		c.put(b, "k", "v")
		c.do("PUT", "/"+b+"/k?acl", hdr("X-Amz-Acl", "authenticated-read")).err(403, "AccessDenied")
	}},
	{"PutPublicAccessBlock/IgnorePublicAcls", func(c *C) {
		b := c.acls(hdr("X-Amz-Acl", "public-read"))
		c.open(b)
		c.put(b, "k", "v", hdr("X-Amz-Acl", "public-read"))
		c.get(b, "k", anon).is(200)
		c.do("PUT", "/"+b+"?publicAccessBlock", doc(block(false, true, false, false))).is(200)
		c.get(b, "k", anon).err(403, "AccessDenied")
		c.do("GET", "/"+b, as(c.other())).err(403, "AccessDenied")
	}},
	{"PutPublicAccessBlock/BlockPublicPolicy", func(c *C) {
		b := c.bucket()
		c.do("PUT", "/"+b+"?publicAccessBlock", doc(block(false, false, true, false))).is(200)
		c.policy(b, statement("Allow", everyone, `"s3:GetObject"`, inBucket, "")).err(403, "AccessDenied")
		c.policy(b, statement("Deny", everyone, `"s3:DeleteObject"`, inBucket, "")).is(204)
	}},
	{"PutPublicAccessBlock/RestrictPublicBuckets", func(c *C) {
		b := c.bucket()
		c.open(b)
		c.put(b, "k", "v")
		c.policy(b, statement("Allow", everyone, `"s3:GetObject"`, inBucket, "")).is(204)
		c.get(b, "k", anon).is(200)
		c.do("PUT", "/"+b+"?publicAccessBlock", doc(block(false, false, false, true))).is(200)
		c.get(b, "k", anon).err(403, "AccessDenied")
		c.get(b, "k").is(200)
	}},
	{"PutBucketPolicy/SDK", func(c *C) {
		b, s, ctx := c.bucket(), c.sdk(), context.Background()
		c.open(b)
		p := strings.ReplaceAll(`{"Version":"2012-10-17","Statement":[`+statement("Allow", everyone, `"s3:GetObject"`, inBucket, "")+`]}`, "BUCKET", b)
		ok(s.PutBucketPolicy(ctx, &awss3.PutBucketPolicyInput{Bucket: &b, Policy: &p}))
		if got := ok(s.GetBucketPolicy(ctx, &awss3.GetBucketPolicyInput{Bucket: &b})); aws.ToString(got.Policy) != p {
			fail("%s", aws.ToString(got.Policy))
		}
		ok(s.DeleteBucketPolicy(ctx, &awss3.DeleteBucketPolicyInput{Bucket: &b}))
		_, err := s.GetBucketPolicy(ctx, &awss3.GetBucketPolicyInput{Bucket: &b})
		refused(err, http.StatusNotFound, "NoSuchBucketPolicy")
	}},
}

func block(acls, ignore, policy, restrict bool) string {
	return fmt.Sprintf(`<PublicAccessBlockConfiguration xmlns="%s"><BlockPublicAcls>%t</BlockPublicAcls><IgnorePublicAcls>%t</IgnorePublicAcls><BlockPublicPolicy>%t</BlockPublicPolicy><RestrictPublicBuckets>%t</RestrictPublicBuckets></PublicAccessBlockConfiguration>`, s3NS, acls, ignore, policy, restrict)
}
