package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/gateways/s3/policy"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// as sends a request as somebody, nil for nobody, and wants an answer: 200 stands
// for anything that is no error, code "" for none.
func (g *gateway) as(u *wirepb.User, c call, status int, code string) *result {
	g.t.Helper()
	c.user = u
	r := g.do(c)
	who := "nobody"
	if u != nil {
		who = u.Name
	}
	if r.status != status && !(status == 200 && r.status < 300) || r.err.Code != code && c.method != "HEAD" {
		g.t.Fatalf("%s: %s %s: %d %s (%s), want %d %s", who, c.method, c.path, r.status, r.err.Code, r.err.Message, status, code)
	}
	return r
}

func (g *gateway) allowed(u *wirepb.User, c call) *result {
	g.t.Helper()
	return g.as(u, c, 200, "")
}

func (g *gateway) denied(u *wirepb.User, c call) {
	g.t.Helper()
	g.as(u, c, 403, "AccessDenied")
}

func (g *gateway) setPolicy(bucket, statements string) {
	g.t.Helper()
	g.allowed(ann, call{method: "PUT", path: "/" + bucket + "?policy", body: []byte(`{"Version":"2012-10-17","Statement":[` + statements + `]}`)})
}

// statement of a policy of the bucket photos.
func statement(effect, principal, action, resource, condition string) string {
	s := fmt.Sprintf(`{"Effect":%q,"Principal":%s,"Action":%q,"Resource":"arn:aws:s3:::%s"`, effect, principal, action, resource)
	if condition != "" {
		s += `,"Condition":` + condition
	}
	return s + "}"
}

const anyone, onlyBob = `"*"`, `{"AWS":"arn:aws:iam:::user/bob"}`

func get(path string) call       { return call{method: "GET", path: path} }
func put(path, body string) call { return call{method: "PUT", path: path, body: []byte(body)} }
func del(path string) call       { return call{method: "DELETE", path: path} }
func (c call) with(name, value string) call {
	h := map[string]string{name: value}
	for k, v := range c.header {
		h[k] = v
	}
	c.header = h
	return c
}

// deletion deletes keys of the bucket photos.
func deletion(keys ...string) call {
	body := "<Delete>"
	for _, k := range keys {
		body += "<Object><Key>" + k + "</Key></Object>"
	}
	body += "</Delete>"
	sum := md5.Sum([]byte(body))
	return call{method: "POST", path: "/photos?delete", body: []byte(body), header: map[string]string{"Content-Md5": base64.StdEncoding.EncodeToString(sum[:])}}
}

func canned(c call, name string) call { return c.with("X-Amz-Acl", name) }

// Every operation names an action that policies know.
func TestActions(t *testing.T) {
	for r, op := range routes {
		if op.action != perKey && !policy.Known(op.action) {
			t.Errorf("%+v: %s has the action %q", r, op.name, op.action)
		}
	}
	for a, v := range ofVersion {
		if !policy.Known(a) || !policy.Known(v) {
			t.Errorf("%s, %s", a, v)
		}
	}
	for _, a := range beside {
		if !policy.Known(a) {
			t.Error(a)
		}
	}
}

func TestAnonymous(t *testing.T) {
	g := withBucket(t)
	g.put("/photos/k", "x")
	for _, c := range []call{get("/photos/k"), get("/photos"), get("/photos?acl"), put("/photos/k", "y"), put("/own", ""), del("/photos/k"), del("/photos"), get("/photos/none"), {method: "HEAD", path: "/photos"}, {method: "POST", path: "/photos/k?uploads"}} {
		g.denied(nil, c)
	}
	g.as(nil, get("/none"), 404, "NoSuchBucket")
	r := g.allowed(nil, get("/"))
	if bytes.Contains(r.body, []byte("<Bucket>")) {
		t.Errorf("somebody anonymous has buckets: %s", r.body)
	}
	g.allowed(ann, canned(put("/photos?acl", ""), "public-read-write"))
	g.allowed(nil, put("/photos/theirs", "y"))
	g.denied(nil, get("/photos/theirs"))
	if r := g.allowed(ann, get("/photos/theirs")); string(r.body) != "y" { // what nobody owns is the bucket's owner's
		t.Errorf("read %q", r.body)
	}
	sum := map[string]string{"X-Amz-Content-Sha256": strings.Repeat("ab", 32)}
	g.as(nil, call{method: "PUT", path: "/photos/bad", body: []byte("y"), header: sum}, 400, "XAmzContentSHA256Mismatch")
	g.as(nil, call{method: "PUT", path: "/photos/bad", body: []byte("y"), header: map[string]string{"X-Amz-Content-Sha256": streamSigned}}, 400, "InvalidRequest")
	r = g.allowed(nil, call{method: "POST", path: "/photos/up?uploads"})
	id := between(r.body, "<UploadId>", "</UploadId>")
	g.denied(nil, del("/photos/up?uploadId="+id)) // anybody could have begun it
	g.denied(bob, get("/photos/up?uploadId="+id))
	g.allowed(ann, del("/photos/up?uploadId="+id))
}

func between(b []byte, from, to string) string {
	_, rest, _ := strings.Cut(string(b), from)
	rest, _, _ = strings.Cut(rest, to)
	return rest
}

func TestBucketPolicy(t *testing.T) {
	g := withBucket(t)
	g.put("/photos/k", "x")
	g.put("/photos/sub/k", "x")
	g.as(ann, get("/photos?policy"), 404, "NoSuchBucketPolicy")
	g.allowed(ann, del("/photos?policy"))
	text := `{"Version":"2012-10-17",  "Statement":[` + statement("Allow", onlyBob, "s3:GetObject", "photos/*", "") + `]}`
	if r := g.want(put("/photos?policy", text), 204); len(r.body) > 0 {
		t.Errorf("answer to a new policy: %s", r.body)
	}
	if r := g.allowed(ann, get("/photos?policy")); string(r.body) != text || r.header.Get("Content-Type") != "application/json" {
		t.Errorf("policy read back: %s (%v)", r.body, r.header)
	}
	g.allowed(bob, get("/photos/k"))
	g.allowed(bob, call{method: "HEAD", path: "/photos/k"})
	g.denied(bob, get("/photos/none")) // who may not list is not told that it is missing
	g.denied(bob, get("/photos?policy"))
	g.denied(bob, put("/photos?policy", text))
	g.denied(bob, put("/photos/k", "y"))
	g.denied(bob, get("/photos"))
	g.denied(nil, get("/photos/k"))

	for name, c := range map[string]struct{ text, code string }{
		"not JSON":  {"x", "MalformedPolicy"},
		"empty":     {"", "MalformedPolicy"},
		"others":    {strings.Replace(text, "photos/*", "others/*", 1), "MalformedPolicy"},
		"nobody":    {strings.Replace(text, "bob", "nobody", 1), "MalformedPolicy"},
		"too large": {text + strings.Repeat(" ", policy.MaxBucketBytes), "MalformedPolicy"},
		"key":       {strings.Replace(text, `"Resource"`, `"Condition":{"StringEquals":{"s3:Fake":"x"}},"Resource"`, 1), "MalformedPolicy"},
	} {
		if r := g.do(call{user: ann, method: "PUT", path: "/photos?policy", body: []byte(c.text)}); r.status != 400 || r.err.Code != c.code {
			t.Errorf("%s: %d %s %s", name, r.status, r.err.Code, r.err.Message)
		}
	}
	g.allowed(bob, get("/photos/k")) // the one before stays

	// A denial binds the owner too, but for the policy itself.
	g.setPolicy("photos", statement("Deny", anyone, "s3:*", "photos*", ""))
	g.denied(ann, get("/photos/k"))
	g.denied(ann, get("/photos"))
	if r := g.as(ann, del("/photos"), 403, "AccessDenied"); r.err.Message != `User: arn:aws:iam::ann:user/ann is not authorized to perform: s3:DeleteBucket on resource: "arn:aws:s3:::photos" with an explicit deny in a resource-based policy` {
		t.Errorf("an explicit denial: %s", r.err.Message)
	}
	g.denied(ann, get("/photos?publicAccessBlock"))
	g.allowed(ann, get("/photos?policy"))
	g.allowed(ann, del("/photos?policy"))
	g.allowed(ann, get("/photos/k"))
	g.denied(bob, get("/photos/k"))

	// Conditions.
	g.setPolicy("photos", strings.Join([]string{
		statement("Allow", anyone, "s3:GetObject", "photos/*", `{"StringLike":{"aws:Referer":"http://example.com/*"},"IpAddress":{"aws:SourceIp":"127.0.0.0/8"}}`),
		statement("Allow", anyone, "s3:ListBucket", "photos", `{"StringEquals":{"s3:prefix":"sub/"},"NumericLessThanEquals":{"s3:max-keys":"10"}}`),
		statement("Allow", onlyBob, "s3:PutObject", "photos/${aws:username}/*", `{"StringEquals":{"s3:x-amz-acl":"bucket-owner-full-control"}}`),
	}, ","))
	g.allowed(nil, get("/photos/k").with("Referer", "http://example.com/page"))
	g.denied(nil, get("/photos/k").with("Referer", "http://example.org/page"))
	g.denied(nil, get("/photos/k"))
	g.allowed(nil, get("/photos?prefix=sub/&max-keys=10"))
	g.allowed(nil, get("/photos?list-type=2&prefix=sub/&max-keys=10"))
	g.denied(nil, get("/photos?prefix=sub/&max-keys=11"))
	g.denied(nil, get("/photos?prefix=sub/"))
	g.denied(nil, get("/photos?prefix=&max-keys=10"))
	g.allowed(bob, canned(put("/photos/bob/k", "y"), "bucket-owner-full-control"))
	g.denied(bob, put("/photos/bob/k", "y"))
	g.denied(bob, canned(put("/photos/ann/k", "y"), "bucket-owner-full-control"))
	g.allowed(ann, get("/photos/bob/k"))

	// Some keys of many.
	g.setPolicy("photos", statement("Allow", onlyBob, "s3:DeleteObject", "photos/sub/*", ""))
	r := g.allowed(bob, deletion("k", "sub/k"))
	if !bytes.Contains(r.body, []byte("<Deleted><Key>sub/k</Key>")) || !bytes.Contains(r.body, []byte("<Error><Key>k</Key><Code>AccessDenied</Code>")) {
		t.Errorf("deleted many: %s", r.body)
	}
	g.allowed(ann, get("/photos/k"))
	g.as(ann, get("/photos/sub/k"), 404, "NoSuchKey")

	// With the header the denial binds the owner altogether.
	c := put("/photos?policy", `{"Statement":[`+statement("Deny", anyone, "s3:*", "photos", "")+`]}`)
	g.allowed(ann, c.with("X-Amz-Confirm-Remove-Self-Bucket-Access", "true"))
	g.denied(ann, get("/photos?policy"))
	g.denied(ann, del("/photos?policy"))
	g.allowed(ann, get("/photos/k"))
}

// A policy may look at the tags of an object that is there, and at those that it is given.
func TestPolicyOfTags(t *testing.T) {
	g := withBucket(t)
	b, err := g.svc.Bucket(context.Background(), "photos")
	if err != nil {
		t.Fatal(err)
	}
	for key, tags := range map[string]map[string]string{"public": {"Security": "public"}, "private": {"Security": "private"}, "none": nil} {
		if _, err := b.Put(context.Background(), key, bucket.PutInput{Body: strings.NewReader("x"), Size: 1, Attrs: bucket.Attrs{Tags: tags}}); err != nil {
			t.Fatal(err)
		}
	}
	g.setPolicy("photos", statement("Allow", anyone, "s3:GetObject", "photos/*", `{"StringEquals":{"s3:ExistingObjectTag/Security":"public"}}`))
	g.allowed(nil, get("/photos/public"))
	g.denied(nil, get("/photos/private"))
	g.denied(nil, get("/photos/none"))
	g.denied(nil, get("/photos/missing"))
	g.setPolicy("photos", statement("Deny", anyone, "s3:GetObject", "photos/*", `{"StringNotEquals":{"s3:ExistingObjectTag/Security":"public"}}`))
	g.allowed(ann, get("/photos/public"))
	g.denied(ann, get("/photos/private"))
	g.denied(ann, get("/photos/none"))
	// Also at those in the body of a request.
	tags := func(value string) call {
		return put("/photos/none?tagging", "<Tagging><TagSet><Tag><Key>Security</Key><Value>"+value+"</Value></Tag></TagSet></Tagging>")
	}
	g.setPolicy("photos", statement("Allow", onlyBob, "s3:PutObjectTagging", "photos/*", `{"StringEquals":{"s3:RequestObjectTag/Security":"public"}}`)+","+
		statement("Deny", anyone, "s3:PutObjectTagging", "photos/*", `{"ForAnyValue:StringEquals":{"s3:RequestObjectTag/Security":"secret"}}`))
	g.allowed(bob, tags("public"))
	g.denied(bob, tags("private"))
	g.denied(bob, put("/photos/none?tagging", "x"))
	g.denied(ann, tags("secret"))
	g.as(ann, put("/photos/none?tagging", "x"), 400, "MalformedXML")
	g.allowed(ann, tags("private"))
}

// TestPolicyOfHeadersTwice: a denial cannot be evaded by sending twice the header that it looks at.
func TestPolicyOfHeadersTwice(t *testing.T) {
	g := withBucket(t)
	g.setPolicy("photos", statement("Allow", anyone, "s3:PutObject", "photos/*", "")+","+
		statement("Deny", anyone, "s3:PutObject", "photos/*", `{"StringEquals":{"s3:x-amz-acl":"public-read"}}`))
	once := canned(put("/photos/k", "x"), "public-read")
	g.denied(nil, once)
	twice := once
	twice.after = func(r *http.Request) { r.Header.Add("X-Amz-Acl", "private") }
	g.as(nil, twice, 400, "InvalidArgument")
}

// What others may do with an object, by the canned lists of the bucket and of the object.
func TestACLMatrix(t *testing.T) {
	g := withBucket(t)
	for _, of := range []string{"private", "public-read", "public-read-write", "authenticated-read"} {
		g.allowed(ann, canned(put("/photos?acl", ""), of))
		list, write := of != "private", of == "public-read-write"
		for _, obj := range []string{"private", "public-read", "public-read-write", "authenticated-read"} {
			for _, u := range []*wirepb.User{bob, nil} {
				g.allowed(ann, canned(put("/photos/a", "foo"), obj))
				want := func(ok bool, c call) {
					t.Helper()
					if ok {
						g.allowed(u, c)
					} else {
						g.denied(u, c)
					}
				}
				signed := u != nil
				want(obj != "private" && (signed || obj != "authenticated-read"), get("/photos/a"))
				want(list && (signed || of != "authenticated-read"), get("/photos"))
				want(list && (signed || of != "authenticated-read"), call{method: "HEAD", path: "/photos"})
				want(false, get("/photos/a?acl"))
				want(false, get("/photos?acl"))
				want(false, canned(put("/photos/a?acl", ""), "public-read"))
				want(write, put("/photos/new", "new"))
				want(write, put("/photos/a", "over"))
				want(write, del("/photos/a"))
				g.allowed(ann, del("/photos/new"))
			}
		}
	}
}

type gotACL struct {
	Owner struct{ ID, DisplayName string }
	List  []struct {
		Grantee struct {
			Type                 string `xml:"http://www.w3.org/2001/XMLSchema-instance type,attr"`
			ID, DisplayName, URI string
		}
		Permission string
	} `xml:"AccessControlList>Grant"`
}

// acl reads a list: the owner, and each grant as who:permission.
func (g *gateway) acl(u *wirepb.User, path string) (owner string, grants []string) {
	g.t.Helper()
	var x gotACL
	r := g.allowed(u, get(path+"?acl"))
	if err := xml.Unmarshal(r.body, &x); err != nil {
		g.t.Fatal(err)
	}
	for _, e := range x.List {
		who := e.Grantee.ID + "/" + e.Grantee.DisplayName
		if e.Grantee.Type == "Group" {
			who = e.Grantee.URI[strings.LastIndexByte(e.Grantee.URI, '/')+1:]
		}
		grants = append(grants, who+":"+e.Permission)
	}
	return x.Owner.ID + "/" + x.Owner.DisplayName, grants
}

func (g *gateway) wantACL(u *wirepb.User, path, owner string, grants ...string) {
	g.t.Helper()
	gotOwner, got := g.acl(u, path)
	if gotOwner != owner || !slices.Equal(got, grants) {
		g.t.Errorf("%s: owner %s, grants %q, want %s and %q", path, gotOwner, got, owner, grants)
	}
}

// aclXML is a list of ann's with one grant for a user by id, or with none.
func aclXML(owner, id, permission string) string {
	s := `<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Owner><ID>` + owner + `</ID></Owner><AccessControlList>`
	if id != "" {
		s += `<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>` + id + `</ID></Grantee><Permission>` + permission + `</Permission></Grant>`
	}
	return s + `</AccessControlList></AccessControlPolicy>`
}

func TestBucketACL(t *testing.T) {
	g := withBucket(t)
	g.wantACL(ann, "/photos", "ann/Ann", "ann/Ann:FULL_CONTROL")
	g.allowed(ann, canned(put("/photos?acl", ""), "public-read"))
	g.wantACL(ann, "/photos", "ann/Ann", "AllUsers:READ", "ann/Ann:FULL_CONTROL")
	g.allowed(ann, canned(put("/photos?acl", ""), "private"))
	g.wantACL(ann, "/photos", "ann/Ann", "ann/Ann:FULL_CONTROL")
	g.allowed(ann, canned(put("/pub", ""), "public-read"))
	g.wantACL(ann, "/pub", "ann/Ann", "AllUsers:READ", "ann/Ann:FULL_CONTROL")
	g.as(ann, put("/pub", ""), 409, "BucketAlreadyExists") // making it again would change its list
	g.allowed(ann, canned(put("/pub", ""), "public-read"))
	g.put("/photos/k", "x")

	c := put("/granted", "")
	for _, name := range []string{"Full-Control", "Read", "Read-Acp", "Write", "Write-Acp"} {
		c = c.with("X-Amz-Grant-"+name, "id=bob")
	}
	g.allowed(ann, c)
	_, grants := g.acl(bob, "/granted")
	slices.Sort(grants)
	if want := []string{"bob/bob:FULL_CONTROL", "bob/bob:READ", "bob/bob:READ_ACP", "bob/bob:WRITE", "bob/bob:WRITE_ACP"}; !slices.Equal(grants, want) {
		t.Errorf("grants %q, want %q", grants, want)
	}

	for permission, may := range map[string][4]bool{ // list, put, read the list, write it
		"READ": {true, false, false, false}, "WRITE": {false, true, false, false}, "READ_ACP": {false, false, true, false}, "WRITE_ACP": {false, false, false, true}, "FULL_CONTROL": {true, true, true, true},
	} {
		for i, c := range []call{get("/photos"), put("/photos/bobs", "x"), get("/photos?acl"), put("/photos?acl", aclXML("ann", "bob", permission))} {
			g.allowed(ann, put("/photos?acl", aclXML("ann", "bob", permission)))
			if may[i] {
				g.allowed(bob, c)
			} else {
				g.denied(bob, c)
			}
			g.denied(nil, c)
		}
	}
	// The owner keeps the list itself whatever it says, and so gets everything back.
	g.allowed(ann, put("/photos?acl", aclXML("ann", "", "")))
	g.allowed(ann, get("/photos/k"))
	g.denied(ann, put("/photos/k2", "x"))
	g.denied(ann, get("/photos"))
	g.wantACL(ann, "/photos", "ann/Ann")
	g.allowed(ann, canned(put("/photos?acl", ""), "private"))
	g.allowed(ann, put("/photos/k2", "x"))

	email := `<AccessControlPolicy><Owner><ID>ann</ID></Owner><AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="AmazonCustomerByEmail"><EmailAddress>bob@example.com</EmailAddress></Grantee><Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>`
	g.allowed(ann, put("/photos?acl", email))
	g.wantACL(ann, "/photos", "ann/Ann", "bob/bob:READ")
	for name, e := range map[string]struct {
		call   call
		status int
		code   string
	}{
		"nothing":          {put("/photos?acl", ""), 400, "MissingSecurityHeader"},
		"canned and XML":   {canned(put("/photos?acl", aclXML("ann", "bob", "READ")), "private"), 400, "UnexpectedContent"},
		"canned and grant": {canned(put("/photos?acl", ""), "private").with("X-Amz-Grant-Read", "id=bob"), 400, "InvalidRequest"},
		"unknown canned":   {canned(put("/photos?acl", ""), "public-ready"), 400, "InvalidArgument"},
		"unknown user":     {put("/photos?acl", aclXML("ann", "_foo", "READ")), 400, "InvalidArgument"},
		"unknown in grant": {put("/photos?acl", "").with("X-Amz-Grant-Read", "id=_foo"), 400, "InvalidArgument"},
		"unknown address":  {put("/photos?acl", strings.Replace(email, "bob@example.com", "doesnotexist@x", 1)), 400, "UnresolvableGrantByEmailAddress"},
		"unknown group":    {put("/photos?acl", "").with("X-Amz-Grant-Read", `uri="http://x"`), 400, "InvalidArgument"},
		"bad permission":   {put("/photos?acl", aclXML("ann", "bob", "FLY")), 400, "MalformedACLError"},
		"not XML":          {put("/photos?acl", "x"), 400, "MalformedACLError"},
		"another owner":    {put("/photos?acl", aclXML("bob", "bob", "READ")), 403, "AccessDenied"},
	} {
		if r := g.do(call{user: ann, method: "PUT", path: e.call.path, body: e.call.body, header: e.call.header}); r.status != e.status || r.err.Code != e.code {
			t.Errorf("%s: %d %s %s, want %d %s", name, r.status, r.err.Code, r.err.Message, e.status, e.code)
		}
	}
	g.wantACL(ann, "/photos", "ann/Ann", "bob/bob:READ")
}

func TestObjectACL(t *testing.T) {
	g := withBucket(t)
	g.allowed(ann, canned(put("/photos?acl", ""), "public-read-write"))
	g.put("/photos/k", "x")
	modified := g.allowed(ann, get("/photos/k")).header.Get("Last-Modified")
	g.wantACL(ann, "/photos/k", "ann/Ann", "ann/Ann:FULL_CONTROL")
	g.allowed(ann, put("/photos/k?acl", aclXML("ann", "bob", "FULL_CONTROL")))
	g.wantACL(bob, "/photos/k", "ann/Ann", "bob/bob:FULL_CONTROL")
	g.denied(ann, get("/photos/k")) // the list names bob alone
	g.allowed(bob, get("/photos/k"))
	g.denied(bob, put("/photos/k?acl", aclXML("bob", "bob", "FULL_CONTROL")))
	g.allowed(bob, put("/photos/k?acl", aclXML("ann", "bob", "READ_ACP")))
	g.wantACL(bob, "/photos/k", "ann/Ann", "bob/bob:READ_ACP")
	g.denied(bob, get("/photos/k"))
	g.denied(bob, canned(put("/photos/k?acl", ""), "private"))
	g.allowed(ann, canned(put("/photos/k?acl", ""), "authenticated-read"))
	g.allowed(bob, get("/photos/k"))
	g.denied(nil, get("/photos/k"))
	if got := g.allowed(ann, get("/photos/k")).header.Get("Last-Modified"); got != modified {
		t.Errorf("a new list changed the time from %s to %s", modified, got)
	}
	g.as(ann, canned(put("/photos/none?acl", ""), "private"), 404, "NoSuchKey")
	g.as(ann, put("/photos/k?acl", "<x/>"), 400, "MalformedACLError")

	// What bob puts is bob's: not even the bucket's owner may read it, but delete it.
	g.allowed(bob, put("/photos/bobs", "y"))
	g.wantACL(bob, "/photos/bobs", "bob/bob", "bob/bob:FULL_CONTROL")
	g.denied(ann, get("/photos/bobs"))
	g.denied(ann, call{method: "HEAD", path: "/photos/bobs"})
	g.denied(ann, get("/photos/bobs?acl"))
	r := g.allowed(ann, get("/photos?list-type=2&fetch-owner=true"))
	if !bytes.Contains(r.body, []byte("<Owner><ID>bob</ID><DisplayName>bob</DisplayName></Owner>")) {
		t.Errorf("owners in a list: %s", r.body)
	}
	g.allowed(ann, del("/photos/bobs"))
	g.allowed(bob, canned(put("/photos/bobs", "y"), "bucket-owner-read"))
	g.wantACL(bob, "/photos/bobs", "bob/bob", "bob/bob:FULL_CONTROL", "ann/Ann:READ")
	g.allowed(ann, get("/photos/bobs"))
	g.denied(ann, get("/photos/bobs?acl"))
	g.allowed(bob, canned(put("/photos/bobs", "y"), "bucket-owner-full-control"))
	g.wantACL(ann, "/photos/bobs", "bob/bob", "bob/bob:FULL_CONTROL", "ann/Ann:FULL_CONTROL")
	g.allowed(bob, put("/photos/granted", "y").with("X-Amz-Grant-Read", `id="ann", uri="http://acs.amazonaws.com/groups/global/AllUsers"`))
	g.wantACL(bob, "/photos/granted", "bob/bob", "AllUsers:READ", "ann/Ann:READ") // groups first

	// A policy of the bucket's owner does not open what is not the owner's.
	g.allowed(bob, put("/photos/bobs", "y"))
	g.put("/photos/anns", "x")
	g.setPolicy("photos", statement("Allow", anyone, "s3:GetObject", "photos/*", ""))
	g.allowed(nil, get("/photos/anns"))
	g.denied(nil, get("/photos/bobs"))

	// Uploads in parts.
	r = g.allowed(bob, canned(call{method: "POST", path: "/photos/parts?uploads"}, "public-read"))
	id := between(r.body, "<UploadId>", "</UploadId>")
	tag := g.allowed(bob, put("/photos/parts?partNumber=1&uploadId="+id, "part")).header.Get("Etag")
	g.allowed(bob, get("/photos/parts?uploadId="+id))
	g.allowed(ann, get("/photos/parts?uploadId="+id))
	g.denied(nil, get("/photos/parts?uploadId="+id))
	g.allowed(bob, call{method: "POST", path: "/photos/parts?uploadId=" + id, body: []byte(`<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>` + tag + `</ETag></Part></CompleteMultipartUpload>`)})
	g.wantACL(bob, "/photos/parts", "bob/bob", "AllUsers:READ", "bob/bob:FULL_CONTROL")

	// Copies have a list of their own, and need their source readable.
	g.want(call{user: bob, method: "PUT", path: "/bobs"}, 200)
	g.put("/photos/secret", "x")
	g.allowed(ann, del("/photos?policy"))
	g.denied(bob, put("/bobs/c", "").with("X-Amz-Copy-Source", "/photos/secret"))
	g.denied(bob, put("/bobs/c", "").with("X-Amz-Copy-Source", "/photos/none").with("X-Amz-Source-Expected-Bucket-Owner", "bob"))
	g.as(bob, put("/bobs/c", "").with("X-Amz-Copy-Source", "/photos/none"), 404, "NoSuchKey") // the bucket may be listed
	g.allowed(ann, canned(put("/photos/secret?acl", ""), "public-read"))
	g.allowed(bob, put("/bobs/c", "").with("X-Amz-Copy-Source", "/photos/secret"))
	g.wantACL(bob, "/bobs/c", "bob/bob", "bob/bob:FULL_CONTROL")
	g.denied(ann, get("/bobs/c"))
	g.allowed(bob, canned(put("/photos/c", ""), "bucket-owner-full-control").with("X-Amz-Copy-Source", "/photos/secret"))
	g.wantACL(ann, "/photos/c", "bob/bob", "bob/bob:FULL_CONTROL", "ann/Ann:FULL_CONTROL")
}

func block(acls, ignore, policies, restrict bool) string {
	return fmt.Sprintf(`<PublicAccessBlockConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><BlockPublicAcls>%v</BlockPublicAcls><IgnorePublicAcls>%v</IgnorePublicAcls><BlockPublicPolicy>%v</BlockPublicPolicy><RestrictPublicBuckets>%v</RestrictPublicBuckets></PublicAccessBlockConfiguration>`, acls, ignore, policies, restrict)
}

func TestPublicAccessBlock(t *testing.T) {
	g := withBucket(t)
	const at = "/photos?publicAccessBlock"
	g.as(ann, get(at), 404, "NoSuchPublicAccessBlockConfiguration")
	g.as(ann, put(at, "x"), 400, "MalformedXML")
	g.as(ann, put(at, ""), 400, "MissingRequestBodyError")
	g.allowed(ann, put(at, block(true, false, true, false)))
	if r := g.allowed(ann, get(at)); !bytes.Contains(r.body, []byte(block(true, false, true, false)[32:])) {
		t.Errorf("read back %s", r.body)
	}
	for _, name := range []string{"public-read", "public-read-write", "authenticated-read"} {
		g.denied(ann, canned(put("/photos?acl", ""), name))
		g.denied(ann, canned(put("/photos/k", ""), name))
		g.denied(ann, canned(call{method: "POST", path: "/photos/k?uploads"}, name))
	}
	g.put("/photos/k", "x")
	g.denied(ann, canned(put("/photos/k?acl", ""), "public-read"))
	g.denied(ann, canned(put("/photos/c", ""), "public-read").with("X-Amz-Copy-Source", "/photos/k"))
	g.allowed(ann, put("/photos/k", "").with("X-Amz-Grant-Read", "id=bob"))
	public := put("/photos?policy", `{"Statement":[`+statement("Allow", anyone, "s3:GetObject", "photos/*", "")+`]}`)
	g.denied(ann, public)
	g.allowed(ann, put("/photos?policy", `{"Statement":[`+statement("Allow", onlyBob, "s3:GetObject", "photos/*", "")+`]}`))

	g.allowed(ann, del(at))
	g.as(ann, get(at), 404, "NoSuchPublicAccessBlockConfiguration")
	g.allowed(ann, public)
	g.allowed(ann, canned(put("/photos?acl", ""), "public-read"))
	g.allowed(ann, canned(put("/photos/o", ""), "public-read"))
	g.allowed(nil, get("/photos/k"))
	g.allowed(nil, get("/photos"))

	g.allowed(ann, put(at, block(false, false, false, true)))
	g.denied(nil, get("/photos/k"))
	g.denied(bob, get("/photos?policyStatus"))
	g.allowed(nil, get("/photos/o")) // the list is another matter
	g.allowed(ann, get("/photos/k"))
	g.allowed(ann, put(at, block(false, true, false, true)))
	g.denied(nil, get("/photos/o"))
	g.denied(nil, get("/photos"))
	g.allowed(ann, canned(put("/photos?acl", ""), "public-read")) // ignored, not refused
	g.denied(bob, put(at, block(false, false, false, false)))
	g.denied(bob, get(at))
}

func TestPolicyStatus(t *testing.T) {
	g := withBucket(t)
	status := func(want bool) {
		t.Helper()
		r := g.allowed(ann, get("/photos?policyStatus"))
		if !bytes.Contains(r.body, []byte(fmt.Sprintf("<IsPublic>%v</IsPublic>", want))) {
			t.Errorf("%s, want %v", r.body, want)
		}
	}
	status(false)
	g.allowed(ann, canned(put("/photos?acl", ""), "authenticated-read"))
	status(true)
	g.allowed(ann, put("/photos?publicAccessBlock", block(false, true, false, false)))
	status(false)
	g.setPolicy("photos", statement("Allow", anyone, "s3:ListBucket", "photos", ""))
	status(true)
	g.setPolicy("photos", statement("Allow", anyone, "s3:ListBucket", "photos", `{"IpAddress":{"aws:SourceIp":"10.0.0.0/32"}}`))
	status(false)
	g.setPolicy("photos", statement("Allow", `{"AWS":"arn:aws:iam::s3tenant1:root"}`, "s3:ListBucket", "photos", ""))
	status(false)
	g.denied(bob, get("/photos?policyStatus"))
}

func ownershipXML(s string) string {
	return `<OwnershipControls><Rule><ObjectOwnership>` + s + `</ObjectOwnership></Rule></OwnershipControls>`
}

func TestOwnershipControls(t *testing.T) {
	g := withBucket(t)
	const at = "/photos?ownershipControls"
	g.as(ann, get(at), 404, "OwnershipControlsNotFoundError")
	for _, bad := range []string{"x", ownershipXML("Somebody"), ownershipXML(""), "<OwnershipControls/>", strings.Replace(ownershipXML(ownerEnforced), "</Rule>", "</Rule><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule>", 1)} {
		g.as(ann, put(at, bad), 400, "MalformedXML")
	}
	g.allowed(ann, canned(put("/photos?acl", ""), "public-read-write"))
	g.as(ann, put(at, ownershipXML(ownerEnforced)), 400, "InvalidBucketAclWithObjectOwnership")
	g.allowed(bob, put("/photos/bobs", "y"))
	g.denied(ann, get("/photos/bobs"))

	g.allowed(ann, put(at, ownershipXML(ownerPreferred)))
	if r := g.allowed(ann, get(at)); !bytes.Contains(r.body, []byte("<ObjectOwnership>BucketOwnerPreferred</ObjectOwnership>")) {
		t.Errorf("read back %s", r.body)
	}
	g.allowed(bob, canned(put("/photos/given", "y"), "bucket-owner-full-control"))
	g.wantACL(ann, "/photos/given", "ann/Ann", "ann/Ann:FULL_CONTROL")
	g.denied(bob, get("/photos/given"))
	g.allowed(bob, put("/photos/kept", "y"))
	g.wantACL(bob, "/photos/kept", "bob/bob", "bob/bob:FULL_CONTROL")

	g.allowed(ann, canned(put("/photos?acl", ""), "private"))
	g.allowed(ann, canned(put("/photos/open", "x"), "public-read"))
	g.allowed(ann, put(at, ownershipXML(ownerEnforced)))
	g.allowed(ann, get("/photos/bobs")) // all is the owner's now
	g.denied(bob, get("/photos/bobs"))
	g.denied(nil, get("/photos/open"))
	g.wantACL(ann, "/photos/bobs", "ann/Ann", "ann/Ann:FULL_CONTROL")
	g.as(ann, canned(put("/photos?acl", ""), "public-read"), 400, "AccessControlListNotSupported")
	g.as(ann, canned(put("/photos/k", "x"), "public-read"), 400, "AccessControlListNotSupported")
	g.as(ann, put("/photos/k", "x").with("X-Amz-Grant-Read", "id=bob"), 400, "AccessControlListNotSupported")
	g.as(ann, canned(put("/photos/open?acl", ""), "public-read"), 400, "AccessControlListNotSupported")
	g.as(ann, put("/photos?acl", aclXML("ann", "_foo", "READ")), 400, "AccessControlListNotSupported")
	g.as(ann, canned(put("/photos?acl", ""), "private"), 400, "AccessControlListNotSupported")
	g.allowed(ann, canned(put("/photos?acl", ""), "bucket-owner-full-control"))
	g.allowed(ann, canned(put("/photos/k", "x"), "bucket-owner-full-control"))
	g.as(ann, canned(put("/photos/k", "x"), "private"), 400, "AccessControlListNotSupported")
	g.allowed(ann, del(at))
	g.denied(ann, get("/photos/bobs"))
	g.allowed(nil, get("/photos/open"))

	g.allowed(ann, put("/enforced", "").with("X-Amz-Object-Ownership", ownerEnforced))
	if r := g.allowed(ann, get("/enforced?ownershipControls")); !bytes.Contains(r.body, []byte(ownerEnforced)) {
		t.Errorf("made with %s: %s", ownerEnforced, r.body)
	}
	g.as(ann, put("/bad", "").with("X-Amz-Object-Ownership", "Somebody"), 400, "InvalidArgument")
	g.as(ann, canned(put("/bad", ""), "public-read").with("X-Amz-Object-Ownership", ownerEnforced), 400, "InvalidBucketAclWithObjectOwnership")
	g.as(ann, get("/bad"), 404, "NoSuchBucket")
}

func TestExpectedOwner(t *testing.T) {
	g := withBucket(t)
	g.put("/photos/k", "x")
	for _, c := range []call{get("/photos/k"), put("/photos/k", "y"), get("/photos"), get("/photos?acl"), {method: "HEAD", path: "/photos"}} {
		g.denied(ann, c.with("X-Amz-Expected-Bucket-Owner", "bob"))
		g.allowed(ann, c.with("X-Amz-Expected-Bucket-Owner", "ann"))
	}
	g.denied(ann, put("/photos/c", "").with("X-Amz-Copy-Source", "/photos/k").with("X-Amz-Source-Expected-Bucket-Owner", "bob"))
	g.allowed(ann, put("/photos/c", "").with("X-Amz-Copy-Source", "/photos/k").with("X-Amz-Source-Expected-Bucket-Owner", "ann"))
}

// Users of one account may do what their policies say, and what the bucket's say to them.
func TestIdentities(t *testing.T) {
	identity := func(text string) *policy.Policy {
		p, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":[`+text+`]}`), policy.Options{Kind: policy.OfIdentity})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	limits := []*policy.Policy{}
	policies := []*policy.Policy{}
	account := "ann"
	g := newGateway(t, func(o *Options) {
		o.Identities = func(ctx context.Context, u *wirepb.User) (Identity, error) {
			if u.Name == "ann" {
				return ownAccount(ctx, u)
			}
			return Identity{Account: account, ARNs: userARNs(account, u.Name), Policies: policies, Limits: limits}, nil
		}
	})
	g.want(call{method: "PUT", path: "/photos"}, 200)
	g.put("/photos/a/k", "x")
	g.put("/photos/b/k", "x")
	g.denied(bob, get("/photos/a/k"))
	g.denied(bob, get("/"))
	g.denied(bob, put("/more", ""))
	g.allowed(ann, canned(put("/photos/public", "x"), "public-read"))
	g.denied(bob, get("/photos/public")) // the account has it from the list, but gave bob nothing

	policies = []*policy.Policy{
		identity(`{"Effect":"Allow","Action":["s3:ListAllMyBuckets","s3:CreateBucket","s3:ListBucket"],"Resource":"*"},{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::photos/*"}`),
		identity(`{"Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::photos/b/*"}`),
	}
	g.allowed(bob, get("/photos/a/k"))
	g.denied(bob, get("/photos/b/k"))
	g.denied(bob, del("/photos/a/k"))
	g.denied(bob, get("/photos?policy"))
	g.allowed(bob, put("/photos/a/new", "y"))
	g.allowed(ann, get("/photos/a/new")) // what bob puts is the account's
	g.allowed(bob, put("/more", ""))
	if r := g.allowed(bob, get("/")); !bytes.Contains(r.body, []byte("<Name>more</Name>")) || !bytes.Contains(r.body, []byte("<Name>photos</Name>")) {
		t.Errorf("buckets of the account: %s", r.body)
	}
	g.setPolicy("photos", statement("Allow", `{"AWS":"arn:aws:iam::ann:user/bob"}`, "s3:DeleteObject", "photos/*", "")+","+statement("Deny", anyone, "s3:PutObject", "photos/*", `{"StringEquals":{"aws:PrincipalType":"User"}}`))
	g.allowed(bob, del("/photos/a/new"))
	g.denied(bob, put("/photos/a/new", "y"))
	g.allowed(ann, put("/photos/a/new", "y"))

	limits = []*policy.Policy{identity(`{"Effect":"Allow","Action":"s3:List*","Resource":"*"}`)}
	g.denied(bob, get("/photos/a/k"))
	g.allowed(bob, get("/photos"))

	// In another account, both the bucket's policy and one of the user's must allow.
	account, limits, policies = "others", nil, nil
	g.setPolicy("photos", statement("Allow", `{"AWS":"arn:aws:iam::others:user/bob"}`, "s3:GetObject", "photos/*", ""))
	g.denied(bob, get("/photos/a/k"))
	g.denied(bob, get("/photos/public"))
	policies = []*policy.Policy{identity(`{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}`)}
	g.allowed(bob, get("/photos/a/k"))
	g.allowed(bob, get("/photos/public"))
	g.allowed(ann, del("/photos?policy"))
	g.denied(bob, get("/photos/a/k"))
	g.allowed(bob, get("/photos/public"))
}

// A document that cannot be read lets nobody in, and its owner replaces it.
func TestBrokenPolicy(t *testing.T) {
	g := withBucket(t)
	b, err := g.svc.Bucket(context.Background(), "photos")
	if err != nil {
		t.Fatal(err)
	}
	g.put("/photos/k", "x")
	if err := b.SetConfig(context.Background(), map[string][]byte{docPolicy: []byte(`{"Version":"2099-01-01"}`)}); err != nil {
		t.Fatal(err)
	}
	g.as(ann, get("/photos/k"), 500, "InternalError")
	g.as(bob, get("/photos/k"), 500, "InternalError")
	g.as(nil, del("/photos?policy"), 500, "InternalError")
	g.allowed(ann, del("/photos?policy"))
	g.allowed(ann, get("/photos/k"))
}

// An operation that forgets to ask an object's list answers nothing of it.
func TestUncheckedObject(t *testing.T) {
	a := &answer{check: &objectCheck{v: byObject}}
	defer func() {
		if recover() == nil {
			t.Error("an unchecked object was answered with")
		}
		if a.wrote {
			t.Error("something was sent")
		}
	}()
	a.WriteHeader(200)
}

// A change at one gateway is seen at another within the time that settings are remembered for.
func TestPolicySpreads(t *testing.T) {
	g := withBucket(t)
	g.put("/photos/k", "x")
	now := time.Now()
	svc, err := bucket.NewService(bucket.Options{Meta: g.pool, Data: g.pool, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close()
	other, err := svc.Bucket(context.Background(), "photos")
	if err != nil {
		t.Fatal(err)
	}
	read := func() []byte {
		cfg, err := other.Config(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return cfg.Doc(docPolicy)
	}
	if read() != nil {
		t.Error("a policy before there is one")
	}
	g.setPolicy("photos", statement("Allow", anyone, "s3:GetObject", "photos/*", ""))
	now = now.Add(11 * time.Second)
	if read() == nil {
		t.Error("no policy after 11 seconds")
	}
}
