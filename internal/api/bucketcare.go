package api

import (
	"context"
	"net/http"
)

// Quota bounds what a bucket, or all buckets of a user, may hold: versions of objects included. 0 is no bound.
type Quota struct {
	Objects     int64 `json:"objects" minimum:"0"`
	Bytes       int64 `json:"bytes" minimum:"0"`
	WarnObjects int64 `json:"warn_objects" minimum:"0" doc:"From here on it is told"`
	WarnBytes   int64 `json:"warn_bytes" minimum:"0" doc:"From here on it is told"`
}

// Counts are how much a bucket, or all buckets of a user, hold.
type Counts struct {
	Objects      int64 `json:"objects" doc:"And versions, current or not"`
	Bytes        int64 `json:"bytes" doc:"Of these"`
	Versions     int64 `json:"versions" doc:"Those that are not current"`
	VersionBytes int64 `json:"version_bytes"`
	Markers      int64 `json:"delete_markers"`
	Uploads      int64 `json:"uploads" doc:"Multipart uploads under way"`
	Deleted      int64 `json:"deleted" doc:"Deleted ones that can be brought back; in none of the others"`
	DeletedBytes int64 `json:"deleted_bytes"`
	Held         int64 `json:"held" doc:"What only snapshots have; in none of the others"`
	HeldBytes    int64 `json:"held_bytes"`
	Partitions   int   `json:"partitions" doc:"Of the index"`
	Partial      bool  `json:"partial" doc:"Not all of an old index has been counted yet"`
}

// QuotaState is a quota and what is used of it.
type QuotaState struct {
	Bucket  string `json:"bucket,omitempty"`
	User    string `json:"user,omitempty"`
	Quota   Quota  `json:"quota"`
	Used    Counts `json:"used"`
	Warning string `json:"warning,omitempty"`
}

// BucketQuota returns a bucket's quota, and what it holds.
func (c *Client) BucketQuota(ctx context.Context, name string) (QuotaState, error) {
	return get[QuotaState](ctx, c, "/buckets"+seg(name)+"/quota", nil)
}

// SetBucketQuota bounds what a bucket may hold.
func (c *Client) SetBucketQuota(ctx context.Context, name string, q Quota) (QuotaState, error) {
	var out QuotaState
	err := c.call(ctx, http.MethodPut, Prefix+"/buckets"+seg(name)+"/quota", nil, q, &out)
	return out, err
}

// UserQuota returns a user's quota, and what all his buckets hold.
func (c *Client) UserQuota(ctx context.Context, name string) (QuotaState, error) {
	return get[QuotaState](ctx, c, "/users"+seg(name)+"/quota", nil)
}

// SetUserQuota bounds what all buckets of a user may hold together.
func (c *Client) SetUserQuota(ctx context.Context, name string, q Quota) (QuotaState, error) {
	var out QuotaState
	err := c.call(ctx, http.MethodPut, Prefix+"/users"+seg(name)+"/quota", nil, q, &out)
	return out, err
}

// CheckCounts is the body that asks for a bucket's counts to be checked.
type CheckCounts struct {
	Repair bool `json:"repair,omitempty" doc:"Count anew what is wrong"`
}

// Miscount is a partition of an index whose counts are wrong.
type Miscount struct {
	Partition string `json:"partition"`
	Stored    Counts `json:"stored"`
	Real      Counts `json:"real"`
}

// CheckedCounts is what a check of a bucket's counts found.
type CheckedCounts struct {
	Bucket     string     `json:"bucket"`
	Partitions int        `json:"partitions"`
	Wrong      []Miscount `json:"wrong"`
	Busy       int        `json:"busy" doc:"Partitions that were changed all the while, and not checked"`
	Repaired   bool       `json:"repaired"`
}

// BucketCheck recounts a bucket and compares.
func (c *Client) BucketCheck(ctx context.Context, name string, in CheckCounts) (CheckedCounts, error) {
	var out CheckedCounts
	err := c.call(ctx, http.MethodPost, Prefix+"/buckets"+seg(name)+"/check", nil, in, &out)
	return out, err
}

// Snapshot is a bucket as it was at one moment.
type Snapshot struct {
	Bucket string   `json:"bucket"`
	Name   string   `json:"name"`
	Taken  int64    `json:"taken" doc:"Unix seconds"`
	Clones []string `json:"clones" doc:"Buckets that began as it and have data of it"`
}

// SnapshotCreate is the body that takes a snapshot.
type SnapshotCreate struct {
	Name string `json:"name" minLength:"1" maxLength:"63"`
}

// BucketClone is the body that makes a bucket of a snapshot.
type BucketClone struct {
	Name  string `json:"name" minLength:"3" maxLength:"63" doc:"Of the new bucket"`
	Owner string `json:"owner,omitempty" maxLength:"255" doc:"Default the owner of the other bucket"`
}

// Snapshots lists the snapshots of a bucket, oldest first.
func (c *Client) Snapshots(ctx context.Context, bucket string) ([]Snapshot, error) {
	return get[[]Snapshot](ctx, c, "/buckets"+seg(bucket)+"/snapshots", nil)
}

// SnapshotCreate takes a snapshot of a bucket.
func (c *Client) SnapshotCreate(ctx context.Context, bucket, name string) (Snapshot, error) {
	var out Snapshot
	err := c.call(ctx, http.MethodPost, Prefix+"/buckets"+seg(bucket)+"/snapshots", nil, SnapshotCreate{Name: name}, &out)
	return out, err
}

// SnapshotRemove removes a snapshot.
func (c *Client) SnapshotRemove(ctx context.Context, bucket, name string) error {
	return c.call(ctx, http.MethodDelete, Prefix+"/buckets"+seg(bucket)+"/snapshots"+seg(name), nil, nil, nil)
}

// SnapshotClone makes a bucket of a snapshot.
func (c *Client) SnapshotClone(ctx context.Context, bucket, name string, in BucketClone) (Bucket, error) {
	var out Bucket
	err := c.call(ctx, http.MethodPost, Prefix+"/buckets"+seg(bucket)+"/snapshots"+seg(name)+"/clone", nil, in, &out)
	return out, err
}
