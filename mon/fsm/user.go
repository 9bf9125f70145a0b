package fsm

import (
	"maps"
	"slices"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// UserCreate makes a user. Its keys are made by the proposer, because a command
// must have the same outcome everywhere.
type UserCreate struct {
	User User `json:"user"`
}

// UserRemove removes a user and its keys.
type UserRemove struct {
	Name string `json:"name"`
}

func (*UserCreate) kind() string { return "user-create" }
func (*UserRemove) kind() string { return "user-remove" }

func (c *UserCreate) apply(t *txn) (Result, error) {
	u := c.User
	if err := checkName("user", u.Name); err != nil {
		return Result{}, err
	}
	if t.s.users[u.Name] != nil {
		return Result{}, refuse(wirepb.Code_EXISTS, "user %q exists already", u.Name)
	}
	if len(t.s.users) >= MaxUsers {
		return Result{}, refuse(wirepb.Code_NO_SPACE, "user %q: the cluster has %d users, the most it can have", u.Name, MaxUsers)
	}
	if err := checkText("display name of user "+u.Name, u.DisplayName, MaxTextBytes); err != nil {
		return Result{}, err
	}
	if len(u.Keys) == 0 || len(u.Keys) > MaxKeysPerUser {
		return Result{}, invalid("user %q: %d access keys; want 1 to %d", u.Name, len(u.Keys), MaxKeysPerUser)
	}
	for i, k := range u.Keys {
		if err := checkName("access key", k.AccessKey); err != nil {
			return Result{}, err
		}
		if len(k.SecretKey) < 8 || len(k.SecretKey) > MaxTextBytes || checkText("secret key", k.SecretKey, MaxTextBytes) != nil {
			return Result{}, invalid("user %q: the secret of access key %s: want 8 to %d printable bytes", u.Name, k.AccessKey, MaxTextBytes)
		}
		owner, taken := t.s.keys[k.AccessKey]
		if taken {
			return Result{}, refuse(wirepb.Code_EXISTS, "user %q: access key %s belongs to user %q", u.Name, k.AccessKey, owner)
		}
		if slices.ContainsFunc(u.Keys[:i], func(o AccessKey) bool { return o.AccessKey == k.AccessKey }) {
			return Result{}, invalid("user %q: access key %s is given twice", u.Name, k.AccessKey)
		}
	}
	u.Keys = slices.Clone(u.Keys)
	t.users = maps.Clone(t.s.users)
	t.users[u.Name] = &u
	return Result{}, nil
}

func (c *UserRemove) apply(t *txn) (Result, error) {
	if t.s.users[c.Name] == nil {
		return Result{}, refuse(wirepb.Code_NOT_FOUND, "user %q does not exist; see `cairn user ls`", c.Name)
	}
	t.users = maps.Clone(t.s.users)
	delete(t.users, c.Name)
	return Result{}, nil
}
