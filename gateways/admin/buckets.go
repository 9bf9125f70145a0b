package admin

import (
	"context"
	"time"

	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/internal/api"
)

// Buckets is what the REST interface needs of the S3 namespace. Errors wrap the
// conditions of packages api, client or bucket.
type Buckets interface {
	List(ctx context.Context) ([]api.Bucket, error)
	Stat(ctx context.Context, name string) (api.Bucket, error)
	Create(ctx context.Context, owner, name string) error
	// Remove removes an empty bucket; one with objects is a conflict.
	Remove(ctx context.Context, name string) error
	// Deleted lists objects that were deleted or replaced and can be brought back.
	Deleted(ctx context.Context, name string, in api.DeletedQuery) (api.DeletedPage, error)
	// Undelete brings one back; api.ErrExists says that another one is in its place.
	Undelete(ctx context.Context, name string, in api.Undelete) (api.Undeleted, error)
	// Purge erases some of those under keys with a prefix.
	Purge(ctx context.Context, name, prefix string) (api.Purged, error)
	// Set changes a setting.
	Set(ctx context.Context, name, key, value string) error
	// Usage says what a bucket takes, or one of its objects unless key is "".
	Usage(ctx context.Context, name, key string) (api.BucketUsage, error)
	// UserUsage says what all buckets of a user take together.
	UserUsage(ctx context.Context, user string) (api.BucketUsage, error)
}

// Limits of counting a bucket.
const (
	bucketCountMax  = 100_000
	bucketCountPage = 1000
)

// usageLimits bound a look at the usage: well below the time that a request may take.
var usageLimits = bucket.UsageLimits{Chunks: 200_000, Time: 20 * time.Second}

// FromService makes a bucket service the Buckets of a Server. Stat counts by listing, up to a limit, only if the bucket has an old
// index that is not counted yet; List does not count.
func FromService(s *bucket.Service) Buckets { return service{s} }

type service struct{ s *bucket.Service }

func (b service) List(ctx context.Context) ([]api.Bucket, error) {
	infos, err := b.s.List(ctx, "")
	if err != nil {
		return nil, err
	}
	var out []api.Bucket
	for _, in := range infos {
		out = append(out, bucketJSON(in))
	}
	return out, nil
}

func bucketJSON(in bucket.Info) api.Bucket {
	return api.Bucket{Name: in.Name, Owner: in.Owner, Created: unix(in.Created), Objects: -1, Bytes: -1, Settings: in.Settings}
}

func (b service) Stat(ctx context.Context, name string) (api.Bucket, error) {
	h, err := b.s.Fresh(ctx, name)
	if err != nil {
		return api.Bucket{}, err
	}
	out := bucketJSON(h.Info())
	out.Objects, out.Bytes, out.Policy = 0, 0, h.Policy().String()
	if c, err := h.Counts(ctx); err != nil {
		return api.Bucket{}, err
	} else if !c.Partial {
		out.Objects, out.Bytes = c.Objects-c.Versions, c.Bytes-c.VersionBytes
		return out, nil
	}
	for after := ""; ; {
		page, err := h.List(ctx, bucket.ListInput{After: after, Max: bucketCountPage})
		if err != nil {
			return api.Bucket{}, err
		}
		for _, o := range page.Objects {
			out.Objects++
			out.Bytes += o.Size
		}
		switch {
		case !page.Truncated:
			return out, nil
		case out.Objects >= bucketCountMax:
			out.Partial = true
			return out, nil
		}
		after = page.Last
	}
}

func (b service) Create(ctx context.Context, owner, name string) error {
	_, err := b.s.Create(ctx, name, owner, "")
	return err
}

func (b service) Set(ctx context.Context, name, key, value string) error {
	return b.s.Set(ctx, name, key, value)
}

func (b service) Usage(ctx context.Context, name, key string) (api.BucketUsage, error) {
	h, err := b.s.Fresh(ctx, name)
	if err != nil {
		return api.BucketUsage{}, err
	}
	u, err := h.Usage(ctx, key, usageLimits)
	out := usageJSON(u)
	out.Bucket, out.Key = name, key
	return out, err
}

func (b service) UserUsage(ctx context.Context, user string) (api.BucketUsage, error) {
	u, err := b.s.Usage(ctx, user, usageLimits)
	out := usageJSON(u)
	out.User = user
	return out, err
}

func usageJSON(u bucket.Usage) api.BucketUsage {
	return api.BucketUsage{
		Objects: u.Objects, Bytes: u.Bytes, Chunked: u.Chunked, Refs: u.Refs, Chunks: u.Chunks,
		UniqueBytes: u.ChunkBytes, SharedBytes: u.SharedBytes, Stored: u.Stored, Physical: u.Physical, Partial: u.Partial,
		Kept: u.Kept, KeptBytes: u.KeptBytes,
		DedupRatio: saved(u.Chunked, u.ChunkBytes), Ratio: saved(u.Chunked, u.Stored),
	}
}

// saved is how many times as much one is as the other, 1 where there is nothing to compare.
func saved(a, b int64) float64 {
	if b <= 0 {
		return 1
	}
	return float64(a) / float64(b)
}

func (b service) Remove(ctx context.Context, name string) error { return b.s.Delete(ctx, name) }
