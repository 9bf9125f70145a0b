package s3

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cairnstore/cairn/client/bucket"
)

const (
	xmlNS      = "http://s3.amazonaws.com/doc/2006-03-01/"
	timeLayout = "2006-01-02T15:04:05.000Z"
)

func stamp(t time.Time) string { return t.UTC().Format(timeLayout) }

type xmlOwner struct {
	ID          string
	DisplayName string
}

// owner is how lists show an account.
func (q *request) owner(account string) xmlOwner {
	u := q.person(account)
	return xmlOwner{ID: u.ID, DisplayName: u.Name}
}

type xmlBuckets struct {
	XMLName           xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListAllMyBucketsResult"`
	Owner             xmlOwner
	Buckets           struct{ Bucket []xmlBucket }
	ContinuationToken string `xml:",omitempty"`
	Prefix            string `xml:",omitempty"`
}

type xmlBucket struct {
	Name         string
	CreationDate string
	BucketRegion string `xml:",omitempty"`
}

// maxListBuckets is how many buckets a page may have.
const maxListBuckets = 10_000

// xmlUsage is what Ceph tells of a user beside its buckets; -1 is no limit.
type xmlUsage struct {
	XMLName xml.Name `xml:"Usage"`
	Summary struct {
		QuotaMaxBytes, QuotaMaxBuckets, QuotaMaxObjCount, QuotaMaxBytesPerBucket, QuotaMaxObjCountPerBucket int64
	}
}

// accountUsage is GET /?usage of Ceph.
func (q *request) accountUsage() error {
	if q.who.anonymous() {
		return accessDenied()
	}
	quota, err := q.s.o.Buckets.UserQuota(q.ctx(), q.who.Account)
	if err != nil {
		return err
	}
	var x xmlUsage
	s := &x.Summary
	s.QuotaMaxBytes, s.QuotaMaxObjCount = cmp.Or(quota.Bytes, -1), cmp.Or(quota.Objects, -1)
	s.QuotaMaxBuckets, s.QuotaMaxBytesPerBucket, s.QuotaMaxObjCountPerBucket = int64(q.s.o.MaxBuckets), -1, -1
	q.writeXML(http.StatusOK, x)
	return nil
}

func (q *request) listBuckets() error {
	limit := maxListBuckets
	if v := q.query.Get("max-buckets"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > maxListBuckets {
			return apiErr("InvalidArgument", "Argument max-buckets must be an integer between 1 and %d.", maxListBuckets).with("ArgumentName", "max-buckets").with("ArgumentValue", v)
		}
		limit = n
	}
	after, e := parseToken(q.query)
	if e != nil {
		return e
	}
	x := xmlBuckets{Owner: q.owner(q.who.Account), Prefix: q.query.Get("prefix")}
	if q.who.anonymous() {
		q.writeXML(http.StatusOK, x)
		return nil
	}
	infos, err := q.s.o.Buckets.List(q.ctx(), q.who.Account)
	if err != nil {
		return err
	}
	region := q.query.Get("bucket-region")
	paged := q.query.Has("max-buckets") || q.query.Has("prefix") || q.query.Has("continuation-token") || region != ""
	for _, b := range infos {
		if b.Name <= after || !strings.HasPrefix(b.Name, x.Prefix) || region != "" && region != q.s.o.Region {
			continue
		}
		if len(x.Buckets.Bucket) == limit {
			x.ContinuationToken = token(x.Buckets.Bucket[limit-1].Name)
			break
		}
		xb := xmlBucket{Name: b.Name, CreationDate: stamp(b.Created)}
		if paged {
			xb.BucketRegion = q.s.o.Region // the older form of the request has none
		}
		x.Buckets.Bucket = append(x.Buckets.Bucket, xb)
	}
	q.writeXML(http.StatusOK, x)
	return nil
}

type xmlCreateBucket struct {
	XMLName            xml.Name `xml:"CreateBucketConfiguration"`
	LocationConstraint string
}

const maxSmallXML = 64 << 10

func (q *request) createBucket() error {
	var in xmlCreateBucket
	if _, e := q.readXML(&in, maxSmallXML); e != nil {
		return e
	}
	if l := in.LocationConstraint; l != "" && l != "US" && l != q.s.o.Region {
		return apiErr("InvalidLocationConstraint", "The specified location-constraint is not valid").with("LocationConstraint", l)
	}
	if err := bucket.CheckName(q.bucket); err != nil || reservedName(q.bucket) {
		return apiErr("InvalidBucketName", "The specified bucket is not valid.").with("BucketName", q.bucket)
	}
	mine, err := q.s.o.Buckets.List(q.ctx(), q.who.Account)
	if err != nil {
		return err
	}
	if len(mine) >= q.s.o.MaxBuckets {
		return apiErr("TooManyBuckets", "You have attempted to create more buckets than allowed (%d).", q.s.o.MaxBuckets)
	}
	lock := q.r.Header.Get("X-Amz-Bucket-Object-Lock-Enabled") == "true"
	docs, err := q.createDocs()
	if err != nil {
		return err
	}
	b, err := q.s.o.Buckets.CreateAs(q.ctx(), q.bucket, q.who.Account, q.s.o.Region, bucket.NewBucket{Docs: docs, Lock: lock})
	if errors.Is(err, bucket.ErrBucketExists) {
		taken := apiErr("BucketAlreadyExists", "The requested bucket name is not available. The bucket namespace is shared by all users. Select a different name and try again.").with("BucketName", q.bucket)
		if b.Info().Owner != q.who.Account {
			return taken
		}
		cfg, err := b.Config(q.ctx())
		if err != nil {
			return err
		}
		if !bytes.Equal(cfg.Doc(docACL), docs[docACL]) {
			return taken // as Ceph answers: making it again would change who may use it
		}
		if q.s.o.Region != "us-east-1" { // where making one's own bucket again has always been no error
			return apiErr("BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.").with("BucketName", q.bucket)
		}
	} else if err != nil {
		return err
	}
	q.w.Header().Set("Location", "/"+q.bucket)
	q.w.Header().Set("x-amz-bucket-arn", "arn:aws:s3:::"+q.bucket)
	q.w.WriteHeader(http.StatusOK)
	return nil
}

func (q *request) headBucket() error {
	q.w.Header().Set("x-amz-bucket-region", q.s.o.Region)
	q.w.Header().Set("x-amz-bucket-arn", "arn:aws:s3:::"+q.bucket)
	// As RADOS Gateway tells it.
	if c, err := q.b.RecentCounts(q.ctx()); err == nil && !c.Partial && !q.who.anonymous() {
		q.w.Header().Set("x-rgw-object-count", strconv.FormatInt(c.Objects, 10))
		q.w.Header().Set("x-rgw-bytes-used", strconv.FormatInt(c.Bytes, 10))
		q.w.Header().Set("x-rgw-quota-max-buckets", itoa(q.s.o.MaxBuckets))
	}
	q.w.WriteHeader(http.StatusOK)
	return nil
}

func (q *request) deleteBucket() error {
	if err := q.s.o.Buckets.Delete(q.ctx(), q.bucket); err != nil {
		return err
	}
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

type xmlLocation struct {
	XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ LocationConstraint"`
	Region  string   `xml:",chardata"`
}

func (q *request) getBucketLocation() error {
	region := q.s.o.Region
	if region == "us-east-1" {
		region = "" // as S3 spells it
	}
	q.writeXML(http.StatusOK, xmlLocation{Region: region})
	return nil
}
