package s3

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/gateways/s3/acl"
)

const maxACLXML = 256 << 10 // 100 grants are far less

// aclErr says in S3's words why a list is refused.
func aclErr(err error) error {
	switch {
	case errors.Is(err, acl.ErrMalformed):
		return apiErr("MalformedACLError", "The XML you provided was not well-formed or did not validate against our published schema.")
	case errors.Is(err, acl.ErrNoSuchUser):
		return apiErr("InvalidArgument", "Invalid id").with("ArgumentName", "CanonicalUser/ID")
	case errors.Is(err, acl.ErrArgument):
		return apiErr("InvalidArgument", "Argument format not recognized").with("ArgumentName", "x-amz-grant")
	case errors.Is(err, acl.ErrNoEmail):
		return apiErr("UnresolvableGrantByEmailAddress", "The e-mail address you provided does not match any account on record.")
	}
	return err
}

// aclHeaders makes a list of the headers of a request, nil if none speaks of one.
func (q *request) aclHeaders(owner, bucketOwner acl.User) (a *acl.ACL, canned string, err error) {
	canned = q.r.Header.Get("X-Amz-Acl")
	if canned != "" && q.grants() {
		return nil, canned, apiErr("InvalidRequest", "Specifying both Canned ACLs and Header Grants is not allowed.")
	}
	a, err = acl.FromHeaders(owner, q.r.Header.Get, resolver{q})
	switch {
	case err != nil:
		return nil, canned, aclErr(err)
	case canned == "":
		return a, canned, nil
	}
	a, ok := acl.Canned(canned, owner, bucketOwner)
	if !ok {
		return nil, canned, apiErr("InvalidArgument", "The canned ACL is not one that this gateway knows.").with("ArgumentName", "x-amz-acl").with("ArgumentValue", canned)
	}
	return a, canned, nil
}

// refusePublic holds a list against the bucket's public access block.
func (t *terms) refusePublic(a *acl.ACL) error {
	if a != nil && a.IsPublic() && t.block.BlockPublicAcls {
		return apiErr("AccessDenied", "Access Denied. The bucket's public access block refuses public access control lists.")
	}
	return nil
}

func noACLs() *apiError {
	return apiErr("AccessControlListNotSupported", "The bucket does not allow ACLs.")
}

// newOwned says to whom an object belongs that the request makes, and what its
// list is: nil is private. An object put by somebody anonymous is the bucket's owner's.
func (q *request) newOwned() (a bucket.Attrs, err error) {
	t := q.t
	owner := q.who.Account
	if q.who.anonymous() || t.enforced() {
		owner = t.owner
	}
	// Most objects are their bucket's owner's and have no list; nothing need be looked up for them.
	if owner != t.owner {
		a.Owner = owner
	}
	if !q.speaksOfACL() {
		return a, nil
	}
	list, canned, err := q.aclHeaders(q.person(owner), q.person(t.owner))
	if err != nil {
		return a, err
	}
	full := canned == "bucket-owner-full-control"
	switch {
	case t.enforced() && !full && (canned != "" || !list.OnlyOwner()):
		return a, noACLs()
	case t.enforced(), t.ownership == ownerPreferred && full:
		return bucket.Attrs{}, nil
	}
	if err := t.refusePublic(list); err != nil {
		return a, err
	}
	if !list.OnlyOwner() {
		a.ACL = list.Encode()
	}
	return a, nil
}

// speaksOfACL reports whether a header of the request gives or changes a list.
func (q *request) speaksOfACL() bool { return q.r.Header.Get("X-Amz-Acl") != "" || q.grants() }

func (q *request) grants() bool {
	for _, h := range acl.GrantHeaders {
		if q.r.Header.Get(h.Name) != "" {
			return true
		}
	}
	return false
}

// newACL reads the list that the request sets, from its headers or its body.
func (q *request) newACL(owner acl.User) (a *acl.ACL, err error) {
	doc, e := q.readDoc(maxACLXML)
	canned := ""
	switch {
	case e != nil:
		return nil, e
	case len(doc) > 0 && q.speaksOfACL():
		return nil, apiErr("UnexpectedContent", "This request does not support content.")
	case len(doc) == 0 && !q.speaksOfACL():
		return nil, apiErr("MissingSecurityHeader", "Your request was missing a required header.").with("MissingHeaderName", "x-amz-acl")
	case len(doc) == 0:
		a, canned, err = q.aclHeaders(owner, q.person(q.t.owner))
	default:
		if a, err = acl.FromXML(doc, resolver{q}); err != nil {
			err = aclErr(err)
		} else if a.Owner.ID != owner.ID {
			err = accessDenied() // nothing is given away
		}
	}
	switch {
	case q.t.enforced() && (err != nil && toAPI(err).Status < http.StatusInternalServerError || err == nil && !a.OnlyOwner() || canned != "" && canned != "bucket-owner-full-control"):
		return nil, noACLs() // whatever else may be wrong with it
	case err != nil:
		return nil, err
	}
	a.Owner = owner
	if q.t.enforced() {
		return a, nil
	}
	return a, q.t.refusePublic(a)
}

func (q *request) getBucketACL() error {
	a := *q.t.bucketACL()
	if a.Owner = q.person(q.t.owner); q.t.acl == nil || q.t.enforced() {
		a = *acl.Private(a.Owner)
	}
	q.writeXML(http.StatusOK, a.XML())
	return nil
}

func (q *request) putBucketACL() error {
	a, err := q.newACL(q.person(q.t.owner))
	if err != nil {
		return err
	}
	doc := a.Encode()
	if a.OnlyOwner() {
		doc = nil
	}
	if err := q.b.SetConfig(q.ctx(), map[string][]byte{docACL: doc}); err != nil {
		return err
	}
	q.w.WriteHeader(http.StatusOK)
	return nil
}

// createDocs are the configuration documents that the headers of a new bucket ask for.
func (q *request) createDocs() (map[string][]byte, error) {
	docs := map[string][]byte{}
	ownership := q.r.Header.Get("X-Amz-Object-Ownership")
	if ownership != "" {
		if !isOwnership(ownership) {
			return nil, apiErr("InvalidArgument", "Invalid x-amz-object-ownership header: %s", ownership).with("ArgumentName", "x-amz-object-ownership").with("ArgumentValue", ownership)
		}
		docs[docOwnership] = []byte(ownership)
	}
	owner := q.person(q.who.Account)
	a, _, err := q.aclHeaders(owner, owner)
	if err != nil {
		return nil, err
	}
	if a != nil && !a.OnlyOwner() {
		if ownership == ownerEnforced {
			return nil, aclWithEnforced()
		}
		docs[docACL] = a.Encode()
	}
	return docs, nil
}

func (q *request) getObjectACL() error {
	o, err := q.fetch(q.byHead)
	if err != nil {
		return err
	}
	a, err := q.t.objectACL(o)
	if err != nil {
		return err
	}
	a = &acl.ACL{Owner: q.person(a.Owner.ID), Grants: a.Grants}
	for i, g := range a.Grants {
		if g.Group == "" && g.User.Name == "" {
			a.Grants[i].User = q.person(g.User.ID)
		}
	}
	q.writeXML(http.StatusOK, a.XML())
	return nil
}

func (q *request) putObjectACL() error {
	o, err := q.fetch(q.byHead)
	if err != nil {
		return err
	}
	owner := q.person(q.t.objectOwner(o))
	a, err := q.newACL(owner)
	if err != nil {
		return err
	}
	list := a.Encode()
	if a.OnlyOwner() {
		list = nil
	}
	o, err = q.b.Update(q.ctx(), q.key, q.query.Get("versionId"), func(now *bucket.Object, at *bucket.Attrs) error {
		if q.t.objectOwner(now) != owner.ID {
			return fmt.Errorf("%w: another owner's object took its place", bucket.ErrBusy)
		}
		at.ACL = list
		return nil
	})
	if err != nil {
		return q.keyErr(err)
	}
	q.w.WriteHeader(http.StatusOK)
	return nil
}

// uploadOwner is the account that will own what an upload makes.
func (q *request) uploadOwner(u bucket.Upload) string {
	if u.Attrs.Owner != "" {
		return u.Attrs.Owner
	}
	return q.t.owner
}
