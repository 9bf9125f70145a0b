package s3

import (
	"context"
	"errors"
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
	user   *wirepb.User // nil: nobody has the key
	secret string
	until  time.Time

	key      *wirepb.AccessKey
	identity Identity
}

type cachedKey struct {
	secret string
	scope  scope
}

const maxCachedUsers = 10_000

func newUserCache(o Options) *userCache {
	return &userCache{ask: o.Users, ttl: o.UserTTL, users: map[string]cachedUser{}, keys: map[cachedKey][]byte{}}
}

// unknownTTL is how long it is remembered that nobody has a key: short, because the
// user may be made at any moment, but enough to keep a flood of bad keys from the
// monitors.
const unknownTTL = time.Second

// find returns the user with an access key, and its secret.
func (c *userCache) find(ctx context.Context, accessKey string, now time.Time) (cachedUser, error) {
	c.mu.Lock()
	u, ok := c.users[accessKey]
	c.mu.Unlock()
	if ok && now.Before(u.until) {
		return u.answer(accessKey, now)
	}
	user, err := c.ask(ctx, accessKey)
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		return u, fmt.Errorf("user of access key %q: %w", accessKey, err)
	}
	u = cachedUser{until: now.Add(min(unknownTTL, c.ttl))}
	if err == nil && user != nil {
		for _, k := range user.Keys {
			if k.AccessKey == accessKey && k.SecretKey != "" && !k.Inactive {
				u = cachedUser{user: user, secret: k.SecretKey, until: now.Add(c.ttl), key: k, identity: identify(user, k)}
			}
		}
	}
	c.mu.Lock()
	if len(c.users) >= maxCachedUsers {
		clear(c.users)
	}
	c.users[accessKey] = u
	c.mu.Unlock()
	return u.answer(accessKey, now)
}

func (u cachedUser) answer(accessKey string, now time.Time) (cachedUser, error) {
	if u.user == nil || over(u.key, now) {
		return cachedUser{}, fmt.Errorf("user of access key %q: %w", accessKey, client.ErrNotFound)
	}
	return u, nil
}

// over reports whether a key has expired.
func over(k *wirepb.AccessKey, now time.Time) bool {
	return k.GetExpires() != 0 && now.UnixNano() >= k.GetExpires()
}

// forget makes changes of identities visible at once where they were made.
func (c *userCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.users)
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
