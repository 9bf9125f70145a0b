package client

import (
	"context"
	"fmt"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// Principal returns a user or a role with all that decides what it may do; ErrNotFound if there is none.
func (c *Client) Principal(ctx context.Context, get *wirepb.UserGet) (*wirepb.User, error) {
	m, err := c.monCall(ctx, &wirepb.Header{Body: &wirepb.Header_UserGet{UserGet: get}})
	if err != nil {
		return nil, fmt.Errorf("user or role: %w", err)
	}
	u := m.Header.GetUser()
	if u == nil {
		return nil, fmt.Errorf("user or role: %w: monitor answered with %T", ErrInternal, m.Header.Body)
	}
	return u, nil
}

// Identity asks the leading monitor for something about identities. A refusal is an answer with a code.
// An answer that is lost leaves open whether a change was made.
func (c *Client) Identity(ctx context.Context, q *wirepb.IdentityCall) (*wirepb.IdentityReply, error) {
	m, err := c.monCall(ctx, &wirepb.Header{Body: &wirepb.Header_IdentityCall{IdentityCall: q}})
	if err != nil {
		return nil, fmt.Errorf("%s in account %q: %w", q.GetAction(), q.GetAccount(), err)
	}
	r := m.Header.GetIdentityReply()
	if r == nil {
		return nil, fmt.Errorf("%s in account %q: %w: monitor answered with %T", q.GetAction(), q.GetAccount(), ErrInternal, m.Header.Body)
	}
	return r, nil
}

// TokenKeys returns the keys that seal the tokens of temporary credentials, the newest last.
func (c *Client) TokenKeys(ctx context.Context) ([]*wirepb.TokenKey, error) {
	m, err := c.monCall(ctx, &wirepb.Header{Body: &wirepb.Header_TokenKeysGet{TokenKeysGet: &wirepb.TokenKeysGet{}}})
	if err != nil {
		return nil, fmt.Errorf("keys of tokens: %w", err)
	}
	k := m.Header.GetTokenKeys()
	if k == nil {
		return nil, fmt.Errorf("keys of tokens: %w: monitor answered with %T", ErrInternal, m.Header.Body)
	}
	return k.Keys, nil
}
