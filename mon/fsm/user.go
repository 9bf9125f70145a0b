package fsm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// UserCreate makes a user. Its keys are made by the proposer, because a command
// must have the same outcome everywhere.
type UserCreate struct {
	User User `json:"user"`
}

// UserRemove removes a user and its keys. An account must have nothing any more.
type UserRemove struct {
	Account string `json:"account,omitempty"` // of a user who is none
	Name    string `json:"name"`
	// Bare: refuse it while the user has keys, policies or groups.
	Bare bool `json:"bare,omitempty"`
}

// UserSet changes a user; what is nil stays.
type UserSet struct {
	Account     string  `json:"account,omitempty"`
	Name        string  `json:"name"`
	NewName     *string `json:"new_name,omitempty"`
	NewPath     *string `json:"new_path,omitempty"`
	DisplayName *string `json:"display_name,omitempty"`
	Email       *string `json:"email,omitempty"`
	Suspended   *bool   `json:"suspended,omitempty"`
	Admin       *bool   `json:"admin,omitempty"`
}

// KeyCreate gives a user one more access key.
type KeyCreate struct {
	Account string    `json:"account,omitempty"`
	User    string    `json:"user"`
	Key     AccessKey `json:"key"`
}

// KeySet changes an access key of a user; what is nil stays.
type KeySet struct {
	Account   string  `json:"account,omitempty"`
	User      string  `json:"user"`
	AccessKey string  `json:"access_key"`
	Inactive  *bool   `json:"inactive,omitempty"`
	Policy    *string `json:"policy,omitempty"` // of a service account
	Expires   *int64  `json:"expires,omitempty"`
}

// KeyRemove takes an access key from a user.
type KeyRemove struct {
	Account   string `json:"account,omitempty"`
	User      string `json:"user"`
	AccessKey string `json:"access_key"`
}

func (*UserCreate) kind() string { return "user-create" }
func (*UserRemove) kind() string { return "user-remove" }
func (*UserSet) kind() string    { return "user-set" }
func (*KeyCreate) kind() string  { return "key-create" }
func (*KeySet) kind() string     { return "key-set" }
func (*KeyRemove) kind() string  { return "key-remove" }

// path is what the command line calls a user.
func path(account, name string) string { return Holder{Account: account, Name: name}.String() }

func (c *UserSet) describe() string   { return "user set " + path(c.Account, c.Name) }
func (c *KeyCreate) describe() string { return "user key create " + path(c.Account, c.User) }
func (c *KeySet) describe() string {
	return fmt.Sprintf("user key set %s %s", path(c.Account, c.User), c.AccessKey)
}
func (c *KeyRemove) describe() string {
	return fmt.Sprintf("user key rm %s %s", path(c.Account, c.User), c.AccessKey)
}

func (c *UserCreate) apply(t *txn) (Result, error) {
	u := c.User
	u.Keys, u.Entity = slices.Clone(u.Keys), u.Entity.clone()
	if err := t.checkNewUser(&u); err != nil {
		return Result{}, err
	}
	if err := checkText("display name of user "+u.Name, u.DisplayName, MaxTextBytes); err != nil {
		return Result{}, err
	}
	if err := t.checkEmail(&u, u.Email); err != nil {
		return Result{}, err
	}
	if u.Account == "" && len(u.Keys) == 0 || len(u.Keys) > MaxKeysPerUser {
		return Result{}, invalid("user %q: %d access keys; want 1 to %d", u.Name, len(u.Keys), MaxKeysPerUser)
	}
	for i := range u.Keys {
		if err := t.checkKey(&u, &u.Keys[i], u.Keys[:i]); err != nil {
			return Result{}, err
		}
		u.Keys[i].Created = u.Created
	}
	if err := t.grow(u.documentBytes()); err != nil {
		return Result{}, err
	}
	t.userMap()[userKey(u.Account, u.Name)] = &u
	return Result{}, nil
}

func (t *txn) checkNewUser(u *User) error {
	if len(u.Groups) > 0 {
		return invalid("user %q: somebody new has no groups yet", u.Name)
	}
	if len(t.s.users) >= MaxUsers {
		return refuse(wirepb.Code_NO_SPACE, "user %q: the cluster has %d users, the most it can have", u.Name, MaxUsers)
	}
	if u.Account == "" {
		if err := checkName("user", u.Name); err != nil {
			return err
		}
		if t.s.users[u.Name] != nil {
			return refuse(wirepb.Code_EXISTS, "user %q exists already", u.Name)
		}
		if u.Name == builtinAccount {
			return invalid("user %q: the name belongs to the policies that are built in; choose another one", u.Name)
		}
		if u.ID == "" { // versions up to 4 gave none, nor anything else
			if u.Path != "" || u.Created != 0 || len(u.Inline)+len(u.Attached)+len(u.Tags) > 0 || u.Boundary != "" || u.Revoked != 0 {
				return invalid("user %q: it has no id", u.Name)
			}
			return nil
		}
		return t.newEntity(&u.Entity)
	}
	if err := t.checkAccount(u.Account); err != nil {
		return err
	}
	if err := checkEntityName("user", u.Name, MaxNameBytes); err != nil {
		return err
	}
	if t.s.UserIn(u.Account, u.Name) != nil {
		return refuse(wirepb.Code_EXISTS, "user %q of account %q exists already", u.Name, u.Account)
	}
	if len(t.s.UsersOf(u.Account)) >= MaxUsersPerAccount {
		return refuse(wirepb.Code_NO_SPACE, "account %q has %d users, the most it can have", u.Account, MaxUsersPerAccount)
	}
	if u.Admin {
		return invalid("user %q: only accounts look after others", u.Name)
	}
	return t.newEntity(&u.Entity)
}

func (t *txn) checkEmail(u *User, address string) error {
	if address == "" {
		return nil
	}
	name, host, ok := strings.Cut(address, "@")
	if !ok || name == "" || host == "" || strings.ContainsAny(address, " <>,;\"") || checkText("address", address, MaxTextBytes) != nil {
		return invalid("e-mail address %q of user %q: want name@host", address, u.Name)
	}
	if k, taken := t.s.emails[strings.ToLower(address)]; taken && k != userKey(u.Account, u.Name) {
		return refuse(wirepb.Code_EXISTS, "e-mail address %q belongs to user %q", address, k)
	}
	return nil
}

// checkKey checks a key that a user is to have beside others.
func (t *txn) checkKey(u *User, k *AccessKey, others []AccessKey) error {
	if err := checkName("access key", k.AccessKey); err != nil {
		return err
	}
	if len(k.SecretKey) < 8 || len(k.SecretKey) > MaxTextBytes || checkText("secret key", k.SecretKey, MaxTextBytes) != nil {
		return invalid("user %q: the secret of access key %s: want 8 to %d printable bytes", u.Name, k.AccessKey, MaxTextBytes)
	}
	if owner, taken := t.s.keys[k.AccessKey]; taken {
		return refuse(wirepb.Code_EXISTS, "user %q: access key %s belongs to user %q", u.Name, k.AccessKey, owner)
	}
	if slices.ContainsFunc(others, func(o AccessKey) bool { return o.AccessKey == k.AccessKey }) {
		return invalid("user %q: access key %s is given twice", u.Name, k.AccessKey)
	}
	if k.Service == "" && (k.Policy != "" || k.Expires != 0) {
		return invalid("user %q: only keys of service accounts have policies and expire; give access key %s a name", u.Name, k.AccessKey)
	}
	if k.Service != "" {
		if err := checkEntityName("service account", k.Service, MaxNameBytes); err != nil {
			return err
		}
		if slices.ContainsFunc(others, func(o AccessKey) bool { return strings.EqualFold(o.Service, k.Service) }) {
			return refuse(wirepb.Code_EXISTS, "user %q has a service account %q already", u.Name, k.Service)
		}
	}
	if k.Policy != "" {
		return checkDocument("the policy of service account "+k.Service, k.Policy)
	}
	return nil
}

func (c *KeyCreate) apply(t *txn) (Result, error) {
	u, err := t.user(c.Account, c.User)
	if err != nil {
		return Result{}, err
	}
	k := c.Key
	plain, service := 0, 0
	for _, o := range u.Keys {
		if o.Service == "" {
			plain++
		} else {
			service++
		}
	}
	switch {
	case k.Service == "" && plain >= MaxKeysPerUser:
		return Result{}, refuse(wirepb.Code_NO_SPACE, "user %q has %d access keys, the most it can have; remove one first", c.User, plain)
	case k.Service != "" && service >= MaxServiceKeys:
		return Result{}, refuse(wirepb.Code_NO_SPACE, "user %q has %d service accounts, the most it can have", c.User, service)
	}
	if err := t.checkKey(u, &k, u.Keys); err != nil {
		return Result{}, err
	}
	if err := t.grow(len(k.Policy)); err != nil {
		return Result{}, err
	}
	k.Created = t.at
	u.Keys = append(u.Keys, k)
	return Result{}, nil
}

// key returns a key of a user.
func (u *User) key(accessKey string) (int, error) {
	i := slices.IndexFunc(u.Keys, func(k AccessKey) bool { return k.AccessKey == accessKey })
	if i < 0 {
		return 0, refuse(wirepb.Code_NOT_FOUND, "user %q has no access key %s", u.Name, accessKey)
	}
	return i, nil
}

func (c *KeySet) apply(t *txn) (Result, error) {
	u, err := t.user(c.Account, c.User)
	if err != nil {
		return Result{}, err
	}
	i, err := u.key(c.AccessKey)
	if err != nil {
		return Result{}, err
	}
	k := &u.Keys[i]
	if c.Inactive != nil {
		k.Inactive = *c.Inactive
	}
	if (c.Policy != nil || c.Expires != nil) && k.Service == "" {
		return Result{}, invalid("access key %s of user %q is not of a service account: it has no policy and does not expire", c.AccessKey, c.User)
	}
	if c.Policy != nil {
		if *c.Policy != "" {
			if err := checkDocument("the policy of service account "+k.Service, *c.Policy); err != nil {
				return Result{}, err
			}
		}
		if err := t.grow(len(*c.Policy) - len(k.Policy)); err != nil {
			return Result{}, err
		}
		k.Policy = *c.Policy
	}
	if c.Expires != nil {
		k.Expires = *c.Expires
	}
	return Result{}, nil
}

func (c *KeyRemove) apply(t *txn) (Result, error) {
	u, err := t.user(c.Account, c.User)
	if err != nil {
		return Result{}, err
	}
	i, err := u.key(c.AccessKey)
	if err != nil {
		return Result{}, err
	}
	t.documents -= len(u.Keys[i].Policy)
	u.Keys = slices.Delete(u.Keys, i, i+1)
	return Result{}, nil
}

func (c *UserSet) apply(t *txn) (Result, error) {
	u, err := t.user(c.Account, c.Name)
	if err != nil {
		return Result{}, err
	}
	if c.DisplayName != nil {
		if err := checkText("display name of user "+u.Name, *c.DisplayName, MaxTextBytes); err != nil {
			return Result{}, err
		}
		u.DisplayName = *c.DisplayName
	}
	if c.Email != nil {
		if err := t.checkEmail(u, *c.Email); err != nil {
			return Result{}, err
		}
		u.Email = *c.Email
	}
	if c.Suspended != nil {
		u.Suspended = *c.Suspended
	}
	if c.Admin != nil {
		if c.Account != "" && *c.Admin {
			return Result{}, invalid("user %q: only accounts look after others", u.Name)
		}
		u.Admin = *c.Admin
	}
	if (c.NewName != nil || c.NewPath != nil) && c.Account == "" {
		return Result{}, invalid("user %q is an account: its name and path cannot be changed", u.Name)
	}
	if c.NewPath != nil {
		if err := checkPath(*c.NewPath); err != nil {
			return Result{}, err
		}
		u.Path = *c.NewPath
	}
	if c.NewName == nil {
		return Result{}, nil
	}
	if err := checkEntityName("user", *c.NewName, MaxNameBytes); err != nil {
		return Result{}, err
	}
	if o := t.s.UserIn(c.Account, *c.NewName); o != nil && !strings.EqualFold(o.Name, c.Name) {
		return Result{}, refuse(wirepb.Code_EXISTS, "user %q of account %q exists already", *c.NewName, c.Account)
	}
	delete(t.users, userKey(c.Account, c.Name))
	u.Name = *c.NewName
	t.users[userKey(c.Account, u.Name)] = u
	return Result{}, nil
}

func (c *UserRemove) apply(t *txn) (Result, error) {
	k := userKey(c.Account, c.Name)
	u := t.s.users[k]
	if u == nil {
		return Result{}, noUser(c.Account, c.Name)
	}
	if c.Account == "" {
		if s := t.s; len(s.UsersOf(c.Name))+len(s.GroupsIn(c.Name))+len(s.RolesIn(c.Name))+len(s.PoliciesIn(c.Name))+len(s.ProvidersIn(c.Name)) > 0 {
			return Result{}, refuse(wirepb.Code_CONFLICT, "user %q is an account that has users, groups, roles, policies or identity providers; remove them first, see `cairn account get %s`", c.Name, c.Name)
		}
	}
	if c.Bare && (len(u.Keys) > 0 || len(u.Inline) > 0 || len(u.Attached) > 0 || len(u.Groups) > 0) {
		return Result{}, refuse(wirepb.Code_CONFLICT, "user %q still has access keys, policies or groups; remove them first", c.Name)
	}
	t.documents -= u.documentBytes()
	delete(t.userMap(), k)
	return Result{}, nil
}
