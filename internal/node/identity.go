package node

import (
	"context"

	"github.com/cairnstore/cairn/gateways/s3"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// identities lets a gateway ask the monitors who users are and what they may do.
func (g *S3) identities(o *s3.Options) {
	c := g.client
	o.Principal, o.TokenKeys, o.Identity = c.Principal, c.TokenKeys, c.Identity
	o.Users = func(ctx context.Context, key string) (*wirepb.User, error) {
		return c.Principal(ctx, &wirepb.UserGet{AccessKey: key})
	}
	o.FindUser = func(ctx context.Context, name string) (*wirepb.User, error) {
		return c.Principal(ctx, &wirepb.UserGet{Name: name})
	}
	// Grants go to accounts, also when the address is one of their users'.
	o.FindEmail = func(ctx context.Context, address string) (*wirepb.User, error) {
		u, err := c.Principal(ctx, &wirepb.UserGet{Email: address})
		if err != nil || u.Account == "" {
			return u, err
		}
		return o.FindUser(ctx, u.Account)
	}
}
