package s3

import (
	"strings"

	"github.com/cairnstore/cairn/client/bucket"
)

// A snapshot of a bucket is read as BUCKET@SNAPSHOT, or BUCKET__SNAPSHOT for clients that let no @ into the name of a bucket. Names of buckets
// have neither. Who may read the bucket may read its snapshots.

// splitSnapshot takes a snapshot's name off a bucket's.
func splitSnapshot(name string) (bucketName, snapshot string) {
	for _, sep := range []string{"@", "__"} {
		if b, s, ok := strings.Cut(name, sep); ok && bucket.CheckName(b) == nil && bucket.CheckSnapshotName(s) == nil {
			return b, s
		}
	}
	return name, ""
}

// ofSnapshots are the operations on a snapshot.
var ofSnapshots = map[string]bool{"HeadBucket": true, "GetBucketLocation": true, "ListObjects": true, "ListObjectsV2": true, "GetObject": true, "HeadObject": true}

// openSnapshot finds the snapshot that the request is about, if it is about one.
func (q *request) openSnapshot() error {
	switch {
	case q.snapshot == "":
		return nil
	case !ofSnapshots[q.op]:
		return apiErr("MethodNotAllowed", "A snapshot can only be read.").with("Method", q.r.Method).with("ResourceType", "Snapshot")
	case q.query.Has("versionId"):
		return notImplemented("versions in a snapshot: it has what was current")
	}
	var err error
	q.view, err = q.b.At(q.ctx(), q.snapshot)
	return err
}

// listing is a page of the bucket, or of the snapshot, that the request is about.
func (q *request) listing(in bucket.ListInput) (*bucket.Listing, error) {
	if q.view != nil {
		return q.view.List(q.ctx(), in)
	}
	return q.b.List(q.ctx(), in)
}
