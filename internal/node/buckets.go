package node

import (
	"context"

	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/gateways/admin"
	"github.com/cairnstore/cairn/internal/api"
)

// buckets is admin.Buckets on a connection that is made with the first request.
type buckets struct{ n *Mon }

// List implements admin.Buckets.
func (b buckets) List(ctx context.Context) ([]api.Bucket, error) {
	s, err := b.n.service(ctx)
	if err != nil {
		return nil, err
	}
	return admin.FromService(s).List(ctx)
}

// Service is for what admin does with the service itself.
func (b buckets) Service(ctx context.Context) (*bucket.Service, error) { return b.n.service(ctx) }

// Stat implements admin.Buckets.
func (b buckets) Stat(ctx context.Context, name string) (api.Bucket, error) {
	s, err := b.n.service(ctx)
	if err != nil {
		return api.Bucket{}, err
	}
	return admin.FromService(s).Stat(ctx, name)
}

// Create implements admin.Buckets.
func (b buckets) Create(ctx context.Context, owner, name string) error {
	s, err := b.n.service(ctx)
	if err != nil {
		return err
	}
	return admin.FromService(s).Create(ctx, owner, name)
}

// Set implements admin.Buckets.
func (b buckets) Set(ctx context.Context, name, key, value string) error {
	s, err := b.n.service(ctx)
	if err != nil {
		return err
	}
	return admin.FromService(s).Set(ctx, name, key, value)
}

// Usage implements admin.Buckets.
func (b buckets) Usage(ctx context.Context, name, key string) (api.BucketUsage, error) {
	s, err := b.n.service(ctx)
	if err != nil {
		return api.BucketUsage{}, err
	}
	return admin.FromService(s).Usage(ctx, name, key)
}

// UserUsage implements admin.Buckets.
func (b buckets) UserUsage(ctx context.Context, user string) (api.BucketUsage, error) {
	s, err := b.n.service(ctx)
	if err != nil {
		return api.BucketUsage{}, err
	}
	return admin.FromService(s).UserUsage(ctx, user)
}

// Deleted implements admin.Buckets.
func (b buckets) Deleted(ctx context.Context, name string, in api.DeletedQuery) (api.DeletedPage, error) {
	s, err := b.n.service(ctx)
	if err != nil {
		return api.DeletedPage{}, err
	}
	return admin.FromService(s).Deleted(ctx, name, in)
}

// Undelete implements admin.Buckets.
func (b buckets) Undelete(ctx context.Context, name string, in api.Undelete) (api.Undeleted, error) {
	s, err := b.n.service(ctx)
	if err != nil {
		return api.Undeleted{}, err
	}
	return admin.FromService(s).Undelete(ctx, name, in)
}

// Purge implements admin.Buckets.
func (b buckets) Purge(ctx context.Context, name, prefix string) (api.Purged, error) {
	s, err := b.n.service(ctx)
	if err != nil {
		return api.Purged{}, err
	}
	return admin.FromService(s).Purge(ctx, name, prefix)
}

// Remove implements admin.Buckets.
func (b buckets) Remove(ctx context.Context, name string) error {
	s, err := b.n.service(ctx)
	if err != nil {
		return err
	}
	return admin.FromService(s).Remove(ctx, name)
}
