package s3

import (
	"encoding/xml"
	"errors"
	"net/http"
	"strconv"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/gateways/s3/policy"
)

func (q *request) getBucketPolicy() error {
	cfg, err := q.b.Config(q.ctx())
	if err != nil {
		return err
	}
	doc := cfg.Doc(docPolicy)
	if doc == nil {
		return apiErr("NoSuchBucketPolicy", "The bucket policy does not exist.").with("BucketName", q.bucket)
	}
	h := q.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(doc)))
	q.w.WriteHeader(http.StatusOK)
	if _, err := q.w.Write(doc); err != nil {
		q.s.log.Debug("send an answer", "request", q.id, "err", err) // the client has gone
	}
	return nil
}

func (q *request) putBucketPolicy() error {
	doc, e := q.readDoc(policy.MaxBucketBytes)
	if e != nil {
		if e.Code == "MaxMessageLengthExceeded" {
			return apiErr("MalformedPolicy", "Policy exceeds the maximum allowed document size.")
		}
		return e
	}
	var lookup error // that a principal could not be looked up is not the document's fault
	exists, userIn := q.principalExists(&lookup)
	p, err := policy.Parse(doc, policy.Options{Kind: policy.OfBucket, Bucket: q.bucket, Exists: exists, UserIn: userIn})
	if lookup != nil {
		return lookup
	}
	var m *policy.MalformedError
	if errors.As(err, &m) {
		return apiErr("MalformedPolicy", "%s", m.Message)
	}
	if err != nil {
		return err
	}
	if q.t.block.BlockPublicPolicy && p.IsPublic() {
		return apiErr("AccessDenied", "Access Denied. The bucket's public access block refuses public policies.")
	}
	docs := map[string][]byte{docPolicy: doc, docPolicyFinal: nil}
	if q.r.Header.Get("X-Amz-Confirm-Remove-Self-Bucket-Access") == "true" {
		docs[docPolicyFinal] = []byte("true")
	}
	if err := q.b.SetConfig(q.ctx(), docs); err != nil {
		return err
	}
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

// principalExists looks principals of a policy up. What could not be looked up is left in lookup.
func (q *request) principalExists(lookup *error) (exists func(string) bool, userIn func(account, user string) bool) {
	exists = func(name string) bool {
		if q.s.people.byName == nil || name == q.who.Account || *lookup != nil {
			return true
		}
		_, err := q.s.people.find(q.ctx(), name, q.s.o.Now())
		if err != nil && !errors.Is(err, client.ErrNotFound) {
			*lookup = err
		}
		return err == nil || *lookup != nil
	}
	if q.s.o.Identity == nil {
		return exists, nil
	}
	return exists, func(account, user string) bool {
		if *lookup != nil {
			return true
		}
		c := &identityRequest{q: q}
		i, err := c.find(account, "GetUser", "UserName", user, paramWithin, "true")
		*lookup = err
		return i != nil || err != nil
	}
}

func (q *request) deleteBucketPolicy() error {
	return q.removeDocs(docPolicy, docPolicyFinal)
}

// removeDocs answers a request to remove configuration, which may not be there.
func (q *request) removeDocs(names ...string) error {
	docs := map[string][]byte{}
	for _, n := range names {
		docs[n] = nil
	}
	if err := q.b.SetConfig(q.ctx(), docs); err != nil {
		return err
	}
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

type xmlPolicyStatus struct {
	XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ PolicyStatus"`
	IsPublic bool
}

// getBucketPolicyStatus says whether everybody gets in. As in Ceph, lists count
// as well as the policy, and a bucket without a policy has a status.
func (q *request) getBucketPolicyStatus() error {
	t := q.t
	public := t.policy.IsPublic() || t.bucketACL().IsPublic() && !t.block.IgnorePublicAcls
	q.writeXML(http.StatusOK, xmlPolicyStatus{IsPublic: public})
	return nil
}

// publicBlock overrides what policies and lists of a bucket say to everybody.
type publicBlock struct {
	XMLName               xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ PublicAccessBlockConfiguration"`
	BlockPublicAcls       bool     // lists that are public are refused
	IgnorePublicAcls      bool     // public grants count for nothing
	BlockPublicPolicy     bool     // policies that are public are refused
	RestrictPublicBuckets bool     // a public policy allows other accounts nothing
}

func parseBlock(doc []byte) (any, error) {
	var b publicBlock
	err := xml.Unmarshal(doc, &b)
	return b, err
}

func (q *request) getPublicAccessBlock() error {
	cfg, err := q.b.Config(q.ctx())
	if err != nil {
		return err
	}
	if cfg.Doc(docBlock) == nil {
		return apiErr("NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found").with("BucketName", q.bucket)
	}
	q.writeXML(http.StatusOK, q.t.block)
	return nil
}

func (q *request) putPublicAccessBlock() error {
	var in struct {
		XMLName               xml.Name `xml:"PublicAccessBlockConfiguration"`
		BlockPublicAcls       bool
		IgnorePublicAcls      bool
		BlockPublicPolicy     bool
		RestrictPublicBuckets bool
	}
	if e := q.needXML(&in, maxSmallXML); e != nil {
		return e
	}
	doc, err := xml.Marshal(publicBlock{
		BlockPublicAcls: in.BlockPublicAcls, IgnorePublicAcls: in.IgnorePublicAcls,
		BlockPublicPolicy: in.BlockPublicPolicy, RestrictPublicBuckets: in.RestrictPublicBuckets,
	})
	if err != nil {
		return err
	}
	if err := q.b.SetConfig(q.ctx(), map[string][]byte{docBlock: doc}); err != nil {
		return err
	}
	q.w.WriteHeader(http.StatusOK)
	return nil
}

func (q *request) deletePublicAccessBlock() error { return q.removeDocs(docBlock) }

// Whose the objects in a bucket are.
const (
	objectWriter   = "ObjectWriter"         // who wrote them; what a bucket has that says nothing
	ownerPreferred = "BucketOwnerPreferred" // the bucket's owner's, if the writer gives it full control
	ownerEnforced  = "BucketOwnerEnforced"  // the bucket's owner's, and lists count for nothing
)

func isOwnership(s string) bool {
	return s == objectWriter || s == ownerPreferred || s == ownerEnforced
}

type xmlOwnership struct {
	XMLName xml.Name           `xml:"http://s3.amazonaws.com/doc/2006-03-01/ OwnershipControls"`
	Rules   []xmlOwnershipRule `xml:"Rule"`
}

type xmlOwnershipRule struct{ ObjectOwnership string }

func (q *request) getOwnershipControls() error {
	cfg, err := q.b.Config(q.ctx())
	if err != nil {
		return err
	}
	doc := cfg.Doc(docOwnership)
	if doc == nil {
		return apiErr("OwnershipControlsNotFoundError", "The bucket ownership controls were not found.").with("BucketName", q.bucket)
	}
	q.writeXML(http.StatusOK, xmlOwnership{Rules: []xmlOwnershipRule{{string(doc)}}})
	return nil
}

func (q *request) putOwnershipControls() error {
	var in struct {
		XMLName xml.Name           `xml:"OwnershipControls"`
		Rules   []xmlOwnershipRule `xml:"Rule"`
	}
	if e := q.needXML(&in, maxSmallXML); e != nil {
		return e
	}
	if len(in.Rules) != 1 || !isOwnership(in.Rules[0].ObjectOwnership) {
		return malformedXML()
	}
	ownership := in.Rules[0].ObjectOwnership
	if ownership == ownerEnforced && q.t.acl != nil && !q.t.acl.OnlyOwner() {
		return aclWithEnforced()
	}
	if err := q.b.SetConfig(q.ctx(), map[string][]byte{docOwnership: []byte(ownership)}); err != nil {
		return err
	}
	q.w.WriteHeader(http.StatusOK)
	return nil
}

func (q *request) deleteOwnershipControls() error { return q.removeDocs(docOwnership) }

func aclWithEnforced() *apiError {
	return apiErr("InvalidBucketAclWithObjectOwnership", "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting")
}
