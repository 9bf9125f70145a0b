package acl

import (
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	ann = User{"ann", "Ann"}
	bob = User{"bob", "Bob"}
)

type resolver struct{}

func (resolver) UserByID(id string) (User, error) {
	for _, u := range []User{ann, bob} {
		if u.ID == id {
			return u, nil
		}
	}
	return User{}, fmt.Errorf("%w: %s", ErrNoSuchUser, id)
}

func (resolver) UserByEmail(a string) (User, error) {
	if a == "bob@example.com" {
		return bob, nil
	}
	return User{}, fmt.Errorf("%w: %s", ErrNoEmail, a)
}

func TestAllows(t *testing.T) {
	type who = Who
	other, anon, logs := who{ID: "eve"}, who{}, who{ID: "logs", LogDelivery: true}
	for _, c := range []struct {
		canned string
		who    Who
		want   Permission
	}{
		{"private", who{ID: "ann"}, FullControl}, {"private", who{ID: "bob"}, 0}, {"private", other, 0}, {"private", anon, 0},
		{"public-read", anon, Read}, {"public-read", other, Read}, {"public-read-write", anon, Read | Write},
		{"authenticated-read", anon, 0}, {"authenticated-read", other, Read},
		{"log-delivery-write", logs, Write | ReadACP}, {"log-delivery-write", other, 0},
		{"bucket-owner-read", who{ID: "bob"}, Read}, {"bucket-owner-full-control", who{ID: "bob"}, FullControl}, {"bucket-owner-full-control", other, 0},
	} {
		a, ok := Canned(c.canned, ann, bob)
		if !ok {
			t.Fatal(c.canned)
		}
		for _, p := range []Permission{Read, Write, ReadACP, WriteACP, FullControl} {
			if got := a.Allows(c.who, p, false); got != (c.want&p == p) {
				t.Errorf("%s, %+v, %v: %v", c.canned, c.who, p, got)
			}
			if got := a.Allows(c.who, p, true); got && (c.who == other || c.who == anon) {
				t.Errorf("%s, %+v, %v: allowed without public grants", c.canned, c.who, p)
			}
		}
		if public := strings.HasPrefix(c.canned, "public") || c.canned == "authenticated-read"; a.IsPublic() != public {
			t.Errorf("%s public: %v", c.canned, a.IsPublic())
		}
		if only := c.canned == "private"; a.OnlyOwner() != only {
			t.Errorf("%s private: %v", c.canned, a.OnlyOwner())
		}
	}
	for _, name := range []string{"bucket-owner-read", "bucket-owner-full-control"} {
		if a, _ := Canned(name, ann, ann); !a.OnlyOwner() {
			t.Errorf("%s of the bucket's owner: %+v", name, a)
		}
	}
	if _, ok := Canned("public-ready", ann, ann); ok {
		t.Error("an unknown canned list is known")
	}
	none := &ACL{Owner: ann}
	if !none.Allows(Who{ID: "ann"}, ReadACP|WriteACP, false) || none.Allows(Who{ID: "ann"}, Read, false) || none.Allows(Who{}, ReadACP, false) {
		t.Error("a list without grants leaves its owner the list and nothing else")
	}
	if (&ACL{}).Allows(Who{}, ReadACP, false) {
		t.Error("who is anonymous owns a list without an owner")
	}
}

func TestStored(t *testing.T) {
	a := &ACL{Owner: ann, Grants: []Grant{
		{Group: AllUsers, Permission: Read}, {Group: AuthenticatedUsers, Permission: Write}, {Group: LogDelivery, Permission: ReadACP},
		{User: ann, Permission: FullControl}, {User: User{"bö\"b", ""}, Permission: WriteACP},
	}}
	got, err := Decode(a.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(a, got); d != "" {
		t.Error(d)
	}
	if want := `{"v":1,"o":["ann","Ann"],"g":[["ann","Ann","FULL_CONTROL"]]}`; string(Private(ann).Encode()) != want {
		t.Errorf("stored as %s, want %s", Private(ann).Encode(), want)
	}
	for _, bad := range []string{"", "{", `{"v":2,"o":["",""],"g":[]}`, `{"v":1,"o":["a","b"],"g":[["a","b","FLY"]]}`, `{"v":1,"o":["a","b"],"g":[["","some","READ"]]}`} {
		if _, err := Decode([]byte(bad)); !errors.Is(err, ErrStored) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestFromHeaders(t *testing.T) {
	for _, c := range []struct {
		header, value string
		want          []Grant
		err           error
	}{
		{"X-Amz-Grant-Read", `id=bob`, []Grant{{User: bob, Permission: Read}}, nil},
		{"X-Amz-Grant-Full-Control", ` ID = "bob" , uri="http://acs.amazonaws.com/groups/global/AllUsers"`, []Grant{{User: bob, Permission: FullControl}, {Group: AllUsers, Permission: FullControl}}, nil},
		{"X-Amz-Grant-Write-Acp", `emailAddress="bob@example.com", id=ann`, []Grant{{User: bob, Permission: WriteACP}, {User: ann, Permission: WriteACP}}, nil},
		{"X-Amz-Grant-Write", `id="eve"`, nil, ErrNoSuchUser}, {"X-Amz-Grant-Write", `emailAddress="eve@x"`, nil, ErrNoEmail}, {"X-Amz-Grant-Read", `uri="http://x"`, nil, ErrArgument},
		{"X-Amz-Grant-Read-Acp", `bob`, nil, ErrArgument}, {"X-Amz-Grant-Read", `name="bob"`, nil, ErrArgument}, {"X-Amz-Grant-Read", `id="bob`, nil, ErrArgument}, {"X-Amz-Grant-Read", `id="bob" x`, nil, ErrArgument},
		{"X-Amz-Grant-Read", `id=""`, nil, ErrArgument}, {"X-Amz-Grant-Read", `id=`, nil, ErrArgument}, {"X-Amz-Grant-Read", strings.Repeat("id=bob,", 101), nil, ErrMalformed},
		{"X-Amz-Grant-Other", `id=bob`, nil, nil},
	} {
		a, err := FromHeaders(ann, func(name string) string {
			if name == c.header {
				return c.value
			}
			return ""
		}, resolver{})
		if !errors.Is(err, c.err) || (c.want == nil) != (a == nil) {
			t.Errorf("%s: %s: %+v, %v", c.header, c.value, a, err)
			continue
		}
		if a != nil {
			if d := cmp.Diff(&ACL{Owner: ann, Grants: c.want}, a); d != "" {
				t.Errorf("%s: %s:\n%s", c.header, c.value, d)
			}
		}
	}
}

// grantXML is a document with one grant.
func grantXML(typ, inner, permission string) string {
	return `<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Owner><ID>ann</ID></Owner><AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="` +
		typ + `">` + inner + `</Grantee><Permission>` + permission + `</Permission></Grant></AccessControlList></AccessControlPolicy>`
}

func TestXML(t *testing.T) {
	full := &ACL{Owner: ann, Grants: []Grant{{Group: AllUsers, Permission: Read}, {User: ann, Permission: FullControl}, {User: bob, Permission: WriteACP}}}
	out, err := xml.Marshal(full.XML())
	if err != nil {
		t.Fatal(err)
	}
	got, err := FromXML(out, resolver{})
	if err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	got.Owner.Name = "Ann" // not read: the owner is given by the bucket or object
	if d := cmp.Diff(full, got); d != "" {
		t.Error(d)
	}
	for _, c := range []struct {
		doc  string
		want *Grant
		err  error
	}{
		{grantXML("CanonicalUser", "<ID>bob</ID><DisplayName>whoever</DisplayName>", "READ"), &Grant{User: bob, Permission: Read}, nil},
		{strings.Replace(grantXML("CanonicalUser", "<ID>bob</ID>", "READ_ACP"), ` xmlns="http://s3.amazonaws.com/doc/2006-03-01/"`, "", 1), &Grant{User: bob, Permission: ReadACP}, nil},
		{grantXML("AmazonCustomerByEmail", "<EmailAddress>bob@example.com</EmailAddress>", "WRITE"), &Grant{User: bob, Permission: Write}, nil},
		{grantXML("Group", "<URI>http://acs.amazonaws.com/groups/s3/LogDelivery</URI>", "WRITE"), &Grant{Group: LogDelivery, Permission: Write}, nil},
		{grantXML("CanonicalUser", "<ID>eve</ID>", "READ"), nil, ErrNoSuchUser}, {grantXML("AmazonCustomerByEmail", "<EmailAddress>x</EmailAddress>", "READ"), nil, ErrNoEmail},
		{grantXML("Group", "<URI>http://x</URI>", "READ"), nil, ErrArgument}, {grantXML("CanonicalUser", "<ID>bob</ID>", "FLY"), nil, ErrMalformed}, {grantXML("CanonicalUser", "", "READ"), nil, ErrMalformed},
		{grantXML("Robot", "<ID>bob</ID>", "READ"), nil, ErrMalformed}, {strings.Replace(grantXML("CanonicalUser", "<ID>bob</ID>", "READ"), "<ID>ann</ID>", "", 1), nil, ErrMalformed},
		{"<AccessControlPolicy/>", nil, ErrMalformed}, {"<Other/>", nil, ErrMalformed}, {"x", nil, ErrMalformed}, {"", nil, ErrMalformed},
		{`<AccessControlPolicy><Owner><ID>ann</ID></Owner><AccessControlList>` + strings.Repeat(`<Grant/>`, 101) + `</AccessControlList></AccessControlPolicy>`, nil, ErrMalformed},
	} {
		a, err := FromXML([]byte(c.doc), resolver{})
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.doc, err, c.err)
		}
		if c.want != nil && (a == nil || len(a.Grants) != 1 || a.Grants[0] != *c.want || a.Owner.ID != "ann") {
			t.Errorf("%s: %+v, want %+v", c.doc, a, *c.want)
		}
	}
	empty, err := FromXML([]byte(`<AccessControlPolicy><Owner><ID>ann</ID></Owner><AccessControlList/></AccessControlPolicy>`), resolver{})
	if err != nil || len(empty.Grants) != 0 {
		t.Errorf("a list without grants: %+v, %v", empty, err)
	}
}

func FuzzFromXML(f *testing.F) {
	f.Add(grantXML("CanonicalUser", "<ID>bob</ID>", "READ"), `id="bob", uri=x`)
	f.Fuzz(func(t *testing.T, doc, header string) {
		if a, err := FromXML([]byte(doc), resolver{}); err == nil {
			if _, err := Decode(a.Encode()); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = FromHeaders(ann, func(string) string { return header }, resolver{})
	})
}
