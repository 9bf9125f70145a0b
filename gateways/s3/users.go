package s3

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// userCache remembers users and signing keys for a short while, so that a busy
// client costs the monitors one question every UserTTL.
type userCache struct {
	ask func(ctx context.Context, accessKey string) (*wirepb.User, error)
	ttl time.Duration

	mu    sync.Mutex // guards below
	users map[string]cachedUser
	keys  map[cachedKey][]byte
}

type cachedUser struct {
	user   *wirepb.User
	secret string
	until  time.Time
}

type cachedKey struct {
	secret string
	scope  scope
}

const maxCachedUsers = 10_000

func newUserCache(o Options) *userCache {
	return &userCache{ask: o.Users, ttl: o.UserTTL, users: map[string]cachedUser{}, keys: map[cachedKey][]byte{}}
}

// find returns the user with an access key, and its secret. Only users that exist
// are remembered.
func (c *userCache) find(ctx context.Context, accessKey string, now time.Time) (*wirepb.User, string, error) {
	c.mu.Lock()
	u, ok := c.users[accessKey]
	c.mu.Unlock()
	if ok && now.Before(u.until) {
		return u.user, u.secret, nil
	}
	user, err := c.ask(ctx, accessKey)
	if err == nil && user == nil {
		err = client.ErrNotFound
	}
	if err != nil {
		return nil, "", fmt.Errorf("user of access key %q: %w", accessKey, err)
	}
	for _, k := range user.Keys {
		if k.AccessKey == accessKey && k.SecretKey != "" {
			c.mu.Lock()
			defer c.mu.Unlock()
			if len(c.users) >= maxCachedUsers {
				clear(c.users)
			}
			c.users[accessKey] = cachedUser{user, k.SecretKey, now.Add(c.ttl)}
			return user, k.SecretKey, nil
		}
	}
	return nil, "", fmt.Errorf("user of access key %q: %w", accessKey, client.ErrNotFound)
}

func (c *userCache) signingKey(secret string, s *signature) []byte {
	k := cachedKey{secret, s.scope}
	c.mu.Lock()
	key := c.keys[k]
	c.mu.Unlock()
	if key != nil {
		return key
	}
	key = signingKey(secret, s.scope)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.keys) >= maxCachedUsers {
		clear(c.keys)
	}
	c.keys[k] = key
	return key
}
