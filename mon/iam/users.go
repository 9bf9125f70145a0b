package iam

import (
	"slices"
	"strings"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
)

func allActions() map[string]action {
	all := map[string]action{
		"CreateUser": {run: (*call).createUser},
		"GetUser":    {run: (*call).getUser},
		"ListUsers":  {run: (*call).listUsers, list: true},
		"UpdateUser": {run: (*call).updateUser},
		"DeleteUser": {run: (*call).deleteUser},

		"CreateAccessKey": {run: (*call).createKey},
		"ListAccessKeys":  {run: func(c *call) error { return c.listKeys(false) }, list: true},
		"UpdateAccessKey": {run: (*call).updateKey},
		"DeleteAccessKey": {run: (*call).deleteKey},

		// Ours: service accounts are keys with a name, and accounts have no verbs at AWS.
		"CreateAccount":        {run: (*call).createAccount},
		"ListAccounts":         {run: (*call).listAccounts, list: true},
		"UpdateAccount":        {run: (*call).updateUser},
		"DeleteAccount":        {run: (*call).deleteAccount},
		"CreateServiceAccount": {run: (*call).createKey},
		"ListServiceAccounts":  {run: func(c *call) error { return c.listKeys(true) }, list: true},
		"RevokeSessions":       {run: (*call).revokeSessions},
		"GetAccountSummary":    {run: (*call).summary},
	}
	groupActions(all)
	policyActions(all)
	return all
}

// userName returns the account and the name of the user that a call is about. Without a
// name, or with the account's own, that is the account, unless Within says that it must not
// be; with Root it is, whoever else has the name.
func (c *call) userName() (account, name string) {
	name = c.p["UserName"]
	switch {
	case c.p["Within"] == "true":
		return c.account, name
	case name == "" || c.p["Root"] == "true":
		return "", c.account
	}
	if name == c.account {
		own := false
		c.Read(func(s *fsm.State) { own = s.UserIn(c.account, name) != nil })
		if !own {
			return "", name
		}
	}
	return c.account, name
}

func (c *call) userItem(account, name string) error {
	return c.show("user "+name, func(s *fsm.State) *wirepb.IdentityItem {
		u := s.UserIn(account, name)
		if u == nil {
			return nil
		}
		i := userItem(u)
		for _, g := range s.GroupsOf(u) {
			i.List = append(i.List, g.Name)
		}
		return i
	})
}

func (c *call) newUser(account string) (fsm.User, error) {
	name, err := c.need("UserName")
	if err != nil {
		return fsm.User{}, err
	}
	u := fsm.User{Name: name, DisplayName: c.p["DisplayName"], Email: c.p["Email"], Suspended: c.p["Suspended"] == "true"}
	u.Entity = fsm.Entity{Account: account, ID: NewID("AIDA"), Path: c.path(), Tags: c.tags(), Boundary: c.p["PermissionsBoundary"]}
	if c.p["AccessKey"] != "" || c.p["SecretKey"] != "" {
		u.Keys = []fsm.AccessKey{{AccessKey: c.p["AccessKey"], SecretKey: c.p["SecretKey"]}}
	}
	return u, nil
}

func (c *call) createUser() error {
	u, err := c.newUser(c.account)
	if err != nil {
		return err
	}
	if c.account == "" {
		return invalid("no account is given for user %q", u.Name)
	}
	if err := c.submit(&fsm.UserCreate{User: u}); err != nil {
		return err
	}
	return c.userItem(c.account, u.Name)
}

func (c *call) createAccount() error {
	u, err := c.newUser("")
	if err != nil {
		return err
	}
	u.Admin = c.p["Admin"] == "true"
	if len(u.Keys) == 0 {
		u.Keys = []fsm.AccessKey{NewKey()}
	}
	if err := c.submit(&fsm.UserCreate{User: u}); err != nil {
		return err
	}
	if err := c.userItem("", u.Name); err != nil {
		return err
	}
	k := keyItem(&u, &u.Keys[0])
	k.Secret = u.Keys[0].SecretKey
	c.items = append(c.items, k)
	return nil
}

func (c *call) listAccounts() error {
	c.Read(func(s *fsm.State) {
		for _, u := range s.Users() {
			if u.Account == "" {
				c.items = append(c.items, userItem(u))
			}
		}
	})
	return nil
}

func (c *call) deleteAccount() error {
	return c.submit(&fsm.UserRemove{Name: c.account})
}

func (c *call) getUser() error {
	account, name := c.userName()
	return c.userItem(account, name)
}

func (c *call) underPath(path string) bool {
	return strings.HasPrefix(slash(path), c.p["PathPrefix"])
}

func (c *call) listUsers() error {
	c.Read(func(s *fsm.State) {
		for _, u := range s.UsersOf(c.account) {
			if c.underPath(u.Path) {
				c.items = append(c.items, userItem(u))
			}
		}
	})
	return nil
}

func (c *call) updateUser() error {
	account, name := c.userName()
	return c.submit(&fsm.UserSet{
		Account: account, Name: name, NewName: c.opt("NewUserName"), NewPath: c.opt("NewPath"), DisplayName: c.opt("DisplayName"),
		Email: c.opt("Email"), Suspended: c.flag("Suspended"), Admin: c.flag("Admin"),
	})
}

func (c *call) deleteUser() error {
	name, err := c.need("UserName")
	if err != nil {
		return err
	}
	return c.submit(&fsm.UserRemove{Account: c.account, Name: name, Bare: c.p["Force"] != "true"})
}

func (c *call) createKey() error {
	account, name := c.userName()
	k := NewKey()
	if c.p["AccessKey"] != "" || c.p["SecretKey"] != "" {
		k.AccessKey, k.SecretKey = c.p["AccessKey"], c.p["SecretKey"]
	}
	k.Service, k.Policy = c.p["ServiceName"], c.p["PolicyDocument"]
	expires, err := c.number("Expires")
	if err != nil {
		return err
	}
	if expires != nil {
		k.Expires = *expires
	}
	if err := c.submit(&fsm.KeyCreate{Account: account, User: name, Key: k}); err != nil {
		return err
	}
	return c.show("access key "+k.AccessKey, func(s *fsm.State) *wirepb.IdentityItem {
		u := s.UserByKey(k.AccessKey)
		if u == nil {
			return nil
		}
		i := slices.IndexFunc(u.Keys, func(o fsm.AccessKey) bool { return o.AccessKey == k.AccessKey })
		item := keyItem(u, &u.Keys[i])
		item.Secret = k.SecretKey
		return item
	})
}

func (c *call) listKeys(service bool) error {
	account, name := c.userName()
	found := false
	c.Read(func(s *fsm.State) {
		u := s.UserIn(account, name)
		if u == nil {
			return
		}
		found = true
		for i := range u.Keys {
			if service == (u.Keys[i].Service != "") || c.p["All"] == "true" {
				c.items = append(c.items, keyItem(u, &u.Keys[i]))
			}
		}
	})
	if !found {
		return refuse(wirepb.Code_NOT_FOUND, "user %s does not exist", name)
	}
	return nil
}

func (c *call) updateKey() error {
	account, name := c.userName()
	set := &fsm.KeySet{Account: account, User: name, AccessKey: c.p["AccessKeyId"], Policy: c.opt("PolicyDocument")}
	switch status := c.opt("Status"); {
	case status == nil && set.Policy == nil && c.p["Expires"] == "":
		return invalid("parameter Status is missing")
	case status == nil:
	case *status != "Active" && *status != "Inactive":
		return invalid("status %q: want Active or Inactive", *status)
	default:
		off := *status == "Inactive"
		set.Inactive = &off
	}
	var err error
	if set.Expires, err = c.number("Expires"); err != nil {
		return err
	}
	return c.submit(set)
}

func (c *call) deleteKey() error {
	account, name := c.userName()
	return c.submit(&fsm.KeyRemove{Account: account, User: name, AccessKey: c.p["AccessKeyId"]})
}

// revokeSessions ends the sessions of a user or a role that began before now, or before Before.
func (c *call) revokeSessions() error {
	h, err := c.holder()
	if err != nil {
		return err
	}
	before, err := c.number("Before")
	if err != nil {
		return err
	}
	if before == nil {
		return invalid("parameter Before is missing")
	}
	return c.submit(&fsm.SessionsRevoke{Holder: h, Before: *before})
}

// summary counts what an account has.
func (c *call) summary() error {
	c.Read(func(s *fsm.State) {
		groups, roles, policies := s.GroupsIn(c.account), s.RolesIn(c.account), s.PoliciesIn(c.account)
		for _, v := range []struct {
			name string
			n    int
		}{
			{"Users", len(s.UsersOf(c.account))}, {"UsersQuota", fsm.MaxUsersPerAccount}, {"Groups", len(groups)}, {"GroupsQuota", fsm.MaxGroups},
			{"Roles", len(roles)}, {"RolesQuota", fsm.MaxRoles}, {"Policies", len(policies)}, {"PoliciesQuota", fsm.MaxPolicies},
			{"Providers", len(s.ProvidersIn(c.account))}, {"AccessKeysPerUserQuota", fsm.MaxKeysPerUser}, {"GroupsPerUserQuota", fsm.MaxGroupsPerUser},
			{"AttachedPoliciesPerUserQuota", fsm.MaxAttached}, {"AttachedPoliciesPerGroupQuota", fsm.MaxAttached}, {"AttachedPoliciesPerRoleQuota", fsm.MaxAttached},
			{"PolicySizeQuota", fsm.MaxPolicyBytes}, {"VersionsPerPolicyQuota", fsm.MaxPolicyVersions},
		} {
			c.items = append(c.items, &wirepb.IdentityItem{Kind: "count", Name: v.name, Number: int64(v.n)})
		}
	})
	return nil
}
