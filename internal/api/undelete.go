package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
)

// MaxDeletedPage is how many deleted objects one request lists at most.
const MaxDeletedPage = 1000

// DeletedObject is an object of a bucket that was deleted or replaced and can be brought back.
type DeletedObject struct {
	Key      string `json:"key"`
	ID       string `json:"id" doc:"Tells those of one key apart"`
	Size     int64  `json:"size"`
	ETag     string `json:"etag"`
	Modified int64  `json:"modified" doc:"When it was put, Unix seconds"`
	Deleted  int64  `json:"deleted" doc:"Unix seconds"`
	Expires  int64  `json:"expires" doc:"It is erased from then on, Unix seconds"`
}

// DeletedPage is a page of a bucket's deleted objects, by key and for each key the last deleted first.
type DeletedPage struct {
	Objects []DeletedObject `json:"objects"`
	More    bool            `json:"more" doc:"There is more: ask again with after and after_id of the last one"`
}

// DeletedQuery selects deleted objects.
type DeletedQuery struct {
	Prefix         string
	After, AfterID string // go on behind this key and id
	Limit          int    // 0: MaxDeletedPage
}

// BucketDeleted lists a bucket's deleted objects.
func (c *Client) BucketDeleted(ctx context.Context, name string, in DeletedQuery) (DeletedPage, error) {
	q := url.Values{}
	for key, value := range map[string]string{"prefix": in.Prefix, "after": in.After, "after_id": in.AfterID} {
		if value != "" {
			q.Set(key, value)
		}
	}
	if in.Limit > 0 {
		q.Set("limit", strconv.Itoa(in.Limit))
	}
	return get[DeletedPage](ctx, c, "/buckets"+seg(name)+"/deleted", q)
}

// Undelete is the body of a request to bring a deleted object back.
type Undelete struct {
	Key   string `json:"key" minLength:"1" maxLength:"1024"`
	ID    string `json:"id,omitempty" maxLength:"64" doc:"Which one; default the one that was deleted last"`
	Force bool   `json:"force,omitempty" doc:"Also if there is an object under the key, which is deleted then"`
}

// Undeleted is an object that was brought back.
type Undeleted struct {
	Bucket  string `json:"bucket"`
	Key     string `json:"key"`
	Size    int64  `json:"size"`
	ETag    string `json:"etag"`
	Version string `json:"version,omitempty" doc:"In a bucket that keeps versions"`
}

// BucketUndelete brings a deleted object back.
func (c *Client) BucketUndelete(ctx context.Context, name string, in Undelete) (Undeleted, error) {
	var out Undeleted
	err := c.call(ctx, http.MethodPost, Prefix+"/buckets"+seg(name)+"/undelete", nil, in, &out)
	return out, err
}

// Purge is the body of a request to erase deleted objects for good.
type Purge struct {
	Prefix  string `json:"prefix,omitempty" maxLength:"1024" doc:"Only under keys with this prefix"`
	Confirm string `json:"confirm" maxLength:"255" doc:"Repeat the name of the bucket: this cannot be undone"`
}

// Purged is what a request to erase deleted objects did.
type Purged struct {
	Erased int  `json:"erased"`
	More   bool `json:"more" doc:"There is more: ask again"`
}

// BucketPurge erases deleted objects of a bucket for good, some at a time.
func (c *Client) BucketPurge(ctx context.Context, name string, in Purge) (Purged, error) {
	var out Purged
	err := c.call(ctx, http.MethodPost, Prefix+"/buckets"+seg(name)+"/purge", nil, in, &out)
	return out, err
}
