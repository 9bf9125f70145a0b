package s3

import (
	"errors"
	"fmt"

	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/gateways/s3/acl"
	"github.com/cairnstore/cairn/gateways/s3/policy"
)

// The names of a bucket's configuration documents that say who may do what.
const (
	docPolicy      = "policy"
	docPolicyFinal = "policy-final" // there: the policy's denials bind the owner's own access to it
	docACL         = "acl"
	docBlock       = "public-access-block"
	docOwnership   = "ownership"
)

// terms are what a bucket says about access to it, as of one moment.
type terms struct {
	b         *bucket.Bucket
	cfg       *bucket.Config
	name      string
	owner     string // account
	policy    *policy.Policy
	final     bool
	acl       *acl.ACL // nil: private
	block     publicBlock
	ownership string
	// broken says why the policy cannot be read: then nobody gets in but the owner, to replace it.
	broken error
	// snapshot of the bucket that is read; "": the bucket as it is.
	snapshot string
}

// terms reads what a bucket says about access.
func (q *request) terms(b *bucket.Bucket) (*terms, error) {
	cfg, err := b.Config(q.ctx())
	if err != nil {
		return nil, err
	}
	info := b.Info()
	t := &terms{b: b, cfg: cfg, name: info.Name, owner: info.Owner, final: cfg.Doc(docPolicyFinal) != nil, ownership: string(cfg.Doc(docOwnership))}
	if t.ownership == "" {
		t.ownership = objectWriter
	}
	p, err := cfg.Parsed(docPolicy, func(doc []byte) (any, error) {
		return policy.Parse(doc, policy.Options{Kind: policy.OfBucket, Bucket: info.Name})
	})
	if err != nil {
		t.broken = fmt.Errorf("policy of bucket %q: %w", info.Name, err)
	}
	t.policy, _ = p.(*policy.Policy)
	a, err := cfg.Parsed(docACL, func(doc []byte) (any, error) { return acl.Decode(doc) })
	if err != nil {
		return nil, fmt.Errorf("access control list of bucket %q: %w", info.Name, err)
	}
	t.acl, _ = a.(*acl.ACL)
	p, err = cfg.Parsed(docBlock, parseBlock)
	if err != nil {
		return nil, fmt.Errorf("public access block of bucket %q: %w", info.Name, err)
	}
	t.block, _ = p.(publicBlock)
	return t, nil
}

// enforced says that access control lists count for nothing in the bucket, and that all in it is its owner's.
func (t *terms) enforced() bool { return t.ownership == ownerEnforced }

func (t *terms) bucketACL() *acl.ACL {
	if t.acl == nil || t.enforced() {
		return acl.Private(acl.User{ID: t.owner})
	}
	return t.acl
}

// objectOwner is the account that an object belongs to.
func (t *terms) objectOwner(o *bucket.Object) string {
	if owner := o.Attrs.Owner; owner != "" && !t.enforced() {
		return owner
	}
	return t.owner
}

// objectACL is the list of an object. The names in it may be missing.
func (t *terms) objectACL(o *bucket.Object) (*acl.ACL, error) {
	a := o.Attrs
	if a.ACL == nil || t.enforced() {
		return acl.Private(acl.User{ID: t.objectOwner(o)}), nil
	}
	return acl.Decode(a.ACL)
}

// What access control lists say something about. Other actions are the owner's,
// or whom a policy allows them.
var (
	bucketGrants = map[string]acl.Permission{
		"s3:ListBucket": acl.Read, "s3:ListBucketVersions": acl.Read, "s3:ListBucketMultipartUploads": acl.Read,
		"s3:PutObject": acl.Write, "s3:DeleteObject": acl.Write,
		"s3:GetBucketAcl": acl.ReadACP, "s3:PutBucketAcl": acl.WriteACP,
	}
	objectGrants = map[string]acl.Permission{
		"s3:GetObject": acl.Read, "s3:GetObjectVersion": acl.Read, "s3:GetObjectAttributes": acl.Read, "s3:GetObjectVersionAttributes": acl.Read,
		"s3:GetObjectAcl": acl.ReadACP, "s3:GetObjectVersionAcl": acl.ReadACP, "s3:PutObjectAcl": acl.WriteACP, "s3:PutObjectVersionAcl": acl.WriteACP,
	}
	// uploadActions are also for who began the upload and may still write to the bucket.
	uploadActions = map[string]bool{"s3:AbortMultipartUpload": true, "s3:ListMultipartUploadParts": true}
	policyActions = map[string]bool{"s3:GetBucketPolicy": true, "s3:PutBucketPolicy": true, "s3:DeleteBucketPolicy": true}
	ofVersion     = map[string]string{
		"s3:GetObject": "s3:GetObjectVersion", "s3:GetObjectAcl": "s3:GetObjectVersionAcl", "s3:PutObjectAcl": "s3:PutObjectVersionAcl",
		"s3:GetObjectTagging": "s3:GetObjectVersionTagging", "s3:PutObjectTagging": "s3:PutObjectVersionTagging", "s3:DeleteObjectTagging": "s3:DeleteObjectVersionTagging",
		"s3:DeleteObject": "s3:DeleteObjectVersion", "s3:GetObjectAttributes": "s3:GetObjectVersionAttributes",
	}
)

// verdict is what can be said about a request before the object is seen.
type verdict uint8

const (
	denied     verdict = iota
	allowed            // whatever the object says
	allowedOwn         // if the object belongs to the bucket's owner; else its list decides
	byObject           // the object's list, or who began the upload, decides
)

// decide says whether the one who asks may do action to a key of the bucket, or to
// the bucket if the key is empty. Every access to a bucket is decided here.
func (q *request) decide(t *terms, action, key, version string) (verdict, error) {
	if version != "" {
		if a, ok := ofVersion[action]; ok {
			action = a
		}
	}
	resource := "arn:aws:s3:::" + t.name
	if key != "" {
		resource += "/" + key
	}
	w := q.who
	mine := !w.anonymous() && w.Account == t.owner
	r := &policy.Request{Principal: w.principal(), Action: action, Resource: resource, Keys: q.conditionKeys(t, key, version)}
	if t.broken != nil {
		if mine && w.Root && policyActions[action] && w.decide(r) == policy.Allow {
			return allowed, nil
		}
		return denied, t.broken
	}
	// To other users of the account than itself, that a policy names the account gives nothing.
	r.Direct = mine && !w.Root
	byBucket := t.policy.Decide(r)
	byUser := w.decide(r)
	if q.unknown != nil {
		return denied, q.unknown
	}
	if mine && w.Root && policyActions[action] && !t.final {
		byBucket = policy.Allow // so that nobody is locked out for good by mistake
	}
	switch policy.Deny {
	case byUser:
		return denied, q.deniedBy(r, "an identity-based")
	case byBucket:
		return denied, q.deniedBy(r, "a resource-based")
	}
	if !mine && byBucket == policy.Allow && t.block.RestrictPublicBuckets && t.policy.IsPublic() {
		byBucket = policy.Silent
	}
	ofBucket, ofObject := bucketGrants[action], objectGrants[action]
	switch {
	case !w.anonymous() && !w.within(r):
		return denied, nil // however much others allow
	case !mine && !w.anonymous() && byUser != policy.Allow:
		return denied, nil // its own account does not let it
	case byBucket == policy.Allow && ofObject != 0:
		return allowedOwn, nil
	case byBucket == policy.Allow:
		return allowed, nil
	case mine && !w.Root:
		switch {
		case byUser != policy.Allow:
			return denied, nil
		case ofObject != 0:
			return allowedOwn, nil
		}
		return allowed, nil
	case ofObject != 0:
		return byObject, nil
	case ofBucket != 0:
		if t.bucketACL().Allows(acl.Who{ID: w.Account}, ofBucket, t.block.IgnorePublicAcls) {
			return allowed, nil
		}
		return denied, nil
	case mine:
		return allowed, nil
	case uploadActions[action] && t.bucketACL().Allows(acl.Who{ID: w.Account}, acl.Write, t.block.IgnorePublicAcls):
		return byObject, nil
	}
	return denied, nil
}

func accessDenied() *apiError { return apiErr("AccessDenied", "Access Denied.") }

// deniedBy is accessDenied for what a policy denies outright, which is told as AWS does.
func (q *request) deniedBy(r *policy.Request, what string) *apiError {
	if q.who.anonymous() || len(q.who.ARNs) == 0 {
		return accessDenied()
	}
	return apiErr("AccessDenied", "User: %s is not authorized to perform: %s on resource: %q with an explicit deny in %s policy", q.who.ARNs[0], r.Action, r.Resource, what)
}

// may decides about the bucket, or about what is done to a key whoever owns what is there.
func (q *request) may(t *terms, action, key, version string) error {
	v, err := q.decide(t, action, key, version)
	if err == nil && v == denied {
		err = accessDenied()
	}
	return err
}

// objectCheck is a decision that waits for the object.
type objectCheck struct {
	t    *terms
	key  string
	perm acl.Permission
	v    verdict
	done bool
}

// ask decides about an object as far as that can be done without it.
func (q *request) ask(t *terms, action, key, version string) (*objectCheck, error) {
	v, err := q.decide(t, action, key, version)
	if err != nil {
		return nil, err
	}
	if v == denied {
		return nil, accessDenied()
	}
	perm := objectGrants[action]
	return &objectCheck{t: t, key: key, perm: perm, v: v, done: v == allowed}, nil
}

// object takes what reading an object brought and finishes a decision that hangs
// on it. Who may not list the bucket is not told that a key is missing.
func (q *request) object(c *objectCheck, o *bucket.Object, err error) error {
	switch {
	case c == nil:
		return err
	case errors.Is(err, bucket.ErrNoSuchKey) || err != nil && toAPI(err).Code == "NoSuchVersion":
		q.lookedFor = c.key
		e := q.may(c.t, "s3:ListBucket", "", "")
		if q.lookedFor = ""; e != nil {
			return e
		}
		return err
	case err != nil:
		return err
	case c.v == allowed || c.v == allowedOwn && c.t.objectOwner(o) == c.t.owner:
		c.done = true
		return nil
	}
	list, err := c.t.objectACL(o)
	if err != nil {
		return fmt.Errorf("access control list of %s/%s: %w", c.t.name, o.Key, err)
	}
	if !list.Allows(acl.Who{ID: q.who.Account}, c.perm, c.t.block.IgnorePublicAcls) {
		return accessDenied()
	}
	c.done = true
	return nil
}

// begun finishes a decision that hangs on who began an upload.
func (q *request) begun(u bucket.Upload, err error) error {
	if err == nil && q.check.v == byObject && (q.who.anonymous() || u.Owner != q.who.Account) {
		return accessDenied()
	}
	q.check.done = q.check.done || err == nil
	return err
}

// seen is object for what the request itself is about.
func (q *request) seen(o *bucket.Object, err error) error { return q.object(q.check, o, err) }

// beside are headers that ask for more than the operation itself, and the actions they ask for.
var beside = map[string]string{
	"X-Amz-Tagging":                     "s3:PutObjectTagging",
	"X-Amz-Object-Lock-Mode":            "s3:PutObjectRetention",
	"X-Amz-Object-Lock-Legal-Hold":      "s3:PutObjectLegalHold",
	"X-Amz-Bypass-Governance-Retention": "s3:BypassGovernanceRetention",
}

// authorise decides whether the request may go on, and opens the bucket it is about.
func (q *request) authorise(action string) error {
	if action == "" {
		return fmt.Errorf("operation %s names no action", q.op) // TestActions
	}
	if q.bucket == "" || q.op == "CreateBucket" {
		return q.authoriseService(action)
	}
	open := q.s.o.Buckets.Bucket
	if q.op == "HeadBucket" || q.op == "DeleteBucket" {
		open = q.s.o.Buckets.Fresh
	}
	for try := 0; ; try++ {
		b, err := open(q.ctx(), q.bucket)
		if err != nil {
			return err
		}
		before := b.Info()
		err = q.authoriseBucket(b, action)
		var e *apiError
		if err == nil || q.who.anonymous() || try > 0 || !errors.As(err, &e) || e.Code != "AccessDenied" {
			return err
		}
		// The handle may be of a bucket that is no more: whose is it now?
		fresh, ferr := q.s.o.Buckets.Fresh(q.ctx(), q.bucket)
		if ferr != nil {
			return ferr
		}
		if now := fresh.Info(); now.Owner == before.Owner && now.Created.Equal(before.Created) {
			return err
		}
		open = q.s.o.Buckets.Bucket
	}
}

func (q *request) authoriseBucket(b *bucket.Bucket, action string) error {
	t, err := q.terms(b)
	if err != nil {
		return err
	}
	t.snapshot = q.snapshot
	q.b, q.t = b, t
	if want := q.r.Header.Get("X-Amz-Expected-Bucket-Owner"); want != "" && want != t.owner {
		return accessDenied()
	}
	if err := q.record(b); err != nil {
		return err
	}
	if action == perKey {
		return nil
	}
	version := ""
	if q.key != "" {
		version = q.query.Get("versionId")
		if err := q.mayBeside(t, q.key, version); err != nil {
			return err
		}
	}
	if q.check, err = q.ask(t, action, q.key, version); err != nil {
		return err
	}
	q.w.check = q.check
	return nil
}

// mayBeside decides about what headers ask for besides the operation itself.
func (q *request) mayBeside(t *terms, key, version string) error {
	for name, more := range beside {
		if v := q.r.Header.Get(name); v != "" && v != "false" {
			decided, err := q.decide(t, more, key, version)
			switch {
			case err != nil:
				return err
			case decided == denied && q.form != nil && q.who.anonymous() && name == "X-Amz-Tagging":
				// As in Ceph, a form that anybody may send may give tags, unless a policy denies it.
			case decided == denied:
				return accessDenied()
			}
		}
	}
	return nil
}

// authoriseService decides about what is done to no bucket that is there. Who does
// not sign has no buckets, and is shown that.
func (q *request) authoriseService(action string) error {
	if q.who.anonymous() {
		if action == "s3:ListAllMyBuckets" {
			return nil
		}
		return accessDenied()
	}
	resource := "arn:aws:s3:::" + q.bucket
	if q.bucket == "" {
		resource = "arn:aws:s3:::*"
	}
	r := &policy.Request{Principal: q.who.principal(), Action: action, Resource: resource, Keys: q.conditionKeys(nil, "", "")}
	if q.who.decide(r) != policy.Allow {
		return accessDenied()
	}
	return nil
}
