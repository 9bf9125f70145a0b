package admin

import (
	"context"

	"github.com/cairnstore/cairn/internal/api"
)

// Buckets is what the REST interface needs of the S3 namespace. Errors wrap the
// conditions of package api or of package client.
type Buckets interface {
	List(ctx context.Context) ([]api.Bucket, error)
	Stat(ctx context.Context, name string) (api.Bucket, error)
	Create(ctx context.Context, owner, name string) error
	// Remove removes an empty bucket; one with objects is a conflict.
	Remove(ctx context.Context, name string) error
}
