package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/internal/api"
)

// buckets implements admin.Buckets.
type buckets struct{ n *Mon }

func toAPI(i bucket.Info) api.Bucket {
	return api.Bucket{Name: i.Name, Owner: i.Owner, Created: i.Created.Unix()}
}

// List implements admin.Buckets.
func (b buckets) List(ctx context.Context) ([]api.Bucket, error) {
	s, err := b.n.service(ctx)
	if err != nil {
		return nil, err
	}
	infos, err := s.List(ctx, "")
	if err != nil {
		return nil, err
	}
	out := make([]api.Bucket, 0, len(infos))
	for _, i := range infos {
		out = append(out, toAPI(i))
	}
	return out, nil
}

// Stat implements admin.Buckets; it counts the bucket's objects.
func (b buckets) Stat(ctx context.Context, name string) (api.Bucket, error) {
	s, err := b.n.service(ctx)
	if err != nil {
		return api.Bucket{}, err
	}
	bk, err := s.Fresh(ctx, name)
	if err != nil {
		return api.Bucket{}, bucketError(err)
	}
	out := toAPI(bk.Info())
	in := bucket.ListInput{Max: bucket.MaxListEntries}
	for {
		page, err := bk.List(ctx, in)
		if err != nil {
			return out, bucketError(err)
		}
		for i := range page.Objects {
			out.Objects++
			out.Bytes += page.Objects[i].Size
		}
		if !page.Truncated {
			return out, nil
		}
		in.After = page.Last
	}
}

// Create implements admin.Buckets.
func (b buckets) Create(ctx context.Context, owner, name string) error {
	s, err := b.n.service(ctx)
	if err != nil {
		return err
	}
	_, err = s.Create(ctx, name, owner, "")
	return bucketError(err)
}

// Remove implements admin.Buckets.
func (b buckets) Remove(ctx context.Context, name string) error {
	s, err := b.n.service(ctx)
	if err != nil {
		return err
	}
	return bucketError(s.Delete(ctx, name))
}

// bucketError adds the REST interface's condition to an error of the namespace.
func bucketError(err error) error {
	for _, c := range []struct{ is, as error }{
		{bucket.ErrNoSuchBucket, api.ErrNotFound},
		{bucket.ErrBucketExists, api.ErrExists},
		{bucket.ErrBucketNotEmpty, api.ErrConflict},
		{bucket.ErrInvalidName, api.ErrInvalid},
		{bucket.ErrBusy, api.ErrTryLater},
	} {
		if errors.Is(err, c.is) {
			return fmt.Errorf("%w: %w", c.as, err)
		}
	}
	return err
}
