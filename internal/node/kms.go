package node

import (
	"context"

	"github.com/cairnstore/cairn/client/kms"
)

// keyStore returns the records of encryption keys, on the connection of the requests about buckets.
func (n *Mon) keyStore(ctx context.Context) (*kms.Store, error) {
	if _, err := n.service(ctx); err != nil {
		return nil, err
	}
	n.mu.Lock()
	c := n.client
	n.mu.Unlock()
	p, err := c.Pool(ctx, n.o.S3Pool)
	if err != nil {
		return nil, err
	}
	return kms.NewStore(p), nil
}
