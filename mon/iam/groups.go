package iam

import (
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
)

func groupActions(all map[string]action) {
	for name, a := range map[string]action{
		"CreateGroup":         {run: (*call).createGroup},
		"GetGroup":            {run: (*call).getGroup, list: true, lead: 1},
		"ListGroups":          {run: (*call).listGroups, list: true},
		"UpdateGroup":         {run: (*call).updateGroup},
		"DeleteGroup":         {run: (*call).deleteGroup},
		"AddUserToGroup":      {run: func(c *call) error { return c.member(false) }},
		"RemoveUserFromGroup": {run: func(c *call) error { return c.member(true) }},
		"ListGroupsForUser":   {run: (*call).listGroupsForUser, list: true},

		"CreateRole":             {run: (*call).createRole},
		"GetRole":                {run: func(c *call) error { return c.roleItem(c.p["RoleName"]) }},
		"ListRoles":              {run: (*call).listRoles, list: true},
		"UpdateRole":             {run: (*call).updateRole},
		"UpdateRoleDescription":  {run: (*call).updateRole},
		"UpdateAssumeRolePolicy": {run: (*call).updateRole},
		"DeleteRole":             {run: (*call).deleteRole},

		"CreateOpenIDConnectProvider":             {run: (*call).createProvider},
		"GetOpenIDConnectProvider":                {run: (*call).getProvider},
		"ListOpenIDConnectProviders":              {run: (*call).listProviders},
		"DeleteOpenIDConnectProvider":             {run: (*call).deleteProvider},
		"AddClientIDToOpenIDConnectProvider":      {run: func(c *call) error { return c.setProvider(fsm.ProviderSet{AddClientID: c.p["ClientID"]}) }},
		"RemoveClientIDFromOpenIDConnectProvider": {run: func(c *call) error { return c.setProvider(fsm.ProviderSet{RemoveClientID: c.p["ClientID"]}) }},
		"UpdateOpenIDConnectProviderThumbprint":   {run: func(c *call) error { return c.setProvider(fsm.ProviderSet{Thumbprints: c.list("ThumbprintList")}) }},
	} {
		all[name] = a
	}
}

func (c *call) createGroup() error {
	name, err := c.need("GroupName")
	if err != nil {
		return err
	}
	g := fsm.Group{Name: name, Entity: fsm.Entity{Account: c.account, ID: NewID("AGPA"), Path: c.path()}}
	if err := c.submit(&fsm.GroupCreate{Group: g}); err != nil {
		return err
	}
	return c.groupItem(name)
}

func (c *call) groupItem(name string) error {
	return c.show("group "+name, func(s *fsm.State) *wirepb.IdentityItem {
		if g := s.Group(c.account, name); g != nil {
			return groupItem(g)
		}
		return nil
	})
}

func (c *call) getGroup() error {
	name := c.p["GroupName"]
	if err := c.groupItem(name); err != nil {
		return err
	}
	c.Read(func(s *fsm.State) {
		if g := s.Group(c.account, name); g != nil {
			for _, u := range s.Members(g) {
				c.items = append(c.items, userItem(u))
			}
		}
	})
	return nil
}

func (c *call) listGroups() error {
	c.Read(func(s *fsm.State) {
		for _, g := range s.GroupsIn(c.account) {
			if c.underPath(g.Path) {
				c.items = append(c.items, groupItem(g))
			}
		}
	})
	return nil
}

func (c *call) updateGroup() error {
	return c.submit(&fsm.GroupSet{Account: c.account, Name: c.p["GroupName"], NewName: c.opt("NewGroupName"), NewPath: c.opt("NewPath")})
}

func (c *call) deleteGroup() error {
	return c.submit(&fsm.GroupRemove{Account: c.account, Name: c.p["GroupName"], Bare: c.p["Force"] != "true"})
}

func (c *call) member(remove bool) error {
	return c.submit(&fsm.GroupMember{Account: c.account, Group: c.p["GroupName"], User: c.p["UserName"], Remove: remove})
}

func (c *call) listGroupsForUser() error {
	account, name := c.userName()
	found := false
	c.Read(func(s *fsm.State) {
		u := s.UserIn(account, name)
		if found = u != nil; !found {
			return
		}
		for _, g := range s.GroupsOf(u) {
			c.items = append(c.items, groupItem(g))
		}
	})
	if !found {
		return refuse(wirepb.Code_NOT_FOUND, "user %s does not exist", name)
	}
	return nil
}

func (c *call) createRole() error {
	name, err := c.need("RoleName")
	if err != nil {
		return err
	}
	seconds, err := c.number("MaxSessionDuration")
	if err != nil {
		return err
	}
	r := fsm.Role{Name: name, Description: c.p["Description"], Trust: c.p["AssumeRolePolicyDocument"]}
	r.Entity = fsm.Entity{Account: c.account, ID: NewID("AROA"), Path: c.path(), Tags: c.tags(), Boundary: c.p["PermissionsBoundary"]}
	if seconds != nil {
		r.MaxSeconds = *seconds
	}
	if err := c.submit(&fsm.RoleCreate{Role: r}); err != nil {
		return err
	}
	return c.roleItem(name)
}

func (c *call) roleItem(name string) error {
	return c.show("role "+name, func(s *fsm.State) *wirepb.IdentityItem {
		if r := s.Role(c.account, name); r != nil {
			return roleItem(r)
		}
		return nil
	})
}

func (c *call) listRoles() error {
	c.Read(func(s *fsm.State) {
		for _, r := range s.RolesIn(c.account) {
			if c.underPath(r.Path) {
				c.items = append(c.items, roleItem(r))
			}
		}
	})
	return nil
}

func (c *call) updateRole() error {
	seconds, err := c.number("MaxSessionDuration")
	if err != nil {
		return err
	}
	name := c.p["RoleName"]
	if err := c.submit(&fsm.RoleSet{Account: c.account, Name: name, Description: c.opt("Description"), Trust: c.opt("PolicyDocument"), MaxSeconds: seconds}); err != nil {
		return err
	}
	return c.roleItem(name)
}

func (c *call) deleteRole() error {
	return c.submit(&fsm.RoleRemove{Account: c.account, Name: c.p["RoleName"], Bare: c.p["Force"] != "true"})
}

func providerItem(p *fsm.Provider) *wirepb.IdentityItem {
	return &wirepb.IdentityItem{
		Kind: "provider", Account: p.Account, Name: p.URL, Arn: p.ARN(), Created: p.Created, List: p.ClientIDs, More: p.Thumbprints, Tags: wireTags(p.Tags),
	}
}

func (c *call) createProvider() error {
	p := fsm.Provider{Account: c.account, URL: c.p["Url"], ClientIDs: c.list("ClientIDList"), Thumbprints: c.list("ThumbprintList"), Tags: c.tags()}
	if err := c.submit(&fsm.ProviderCreate{Provider: p}); err != nil {
		return err
	}
	return c.show("identity provider "+p.URL, func(s *fsm.State) *wirepb.IdentityItem {
		if p := s.Provider(p.Account, p.Host()); p != nil {
			return providerItem(p)
		}
		if p := s.Provider(p.Account, p.Host()[:max(0, len(p.Host())-1)]); p != nil { // it had a slash at its end
			return providerItem(p)
		}
		return nil
	})
}

// provider returns the host in the ARN that a call has. It must be the account's.
func (c *call) provider() (string, error) {
	const name = "OpenIDConnectProviderArn"
	begin := "arn:aws:iam::" + c.account + ":oidc-provider/"
	arn := c.p[name]
	if len(arn) <= len(begin) || arn[:len(begin)] != begin {
		return "", refuse(wirepb.Code_NOT_FOUND, "identity provider %q does not exist", arn)
	}
	return arn[len(begin):], nil
}

func (c *call) getProvider() error {
	host, err := c.provider()
	if err != nil {
		return err
	}
	return c.show("identity provider "+host, func(s *fsm.State) *wirepb.IdentityItem {
		if p := s.Provider(c.account, host); p != nil {
			return providerItem(p)
		}
		return nil
	})
}

func (c *call) listProviders() error {
	c.Read(func(s *fsm.State) {
		for _, p := range s.ProvidersIn(c.account) {
			c.items = append(c.items, providerItem(p))
		}
	})
	return nil
}

func (c *call) deleteProvider() error {
	host, err := c.provider()
	if err != nil {
		return err
	}
	return c.submit(&fsm.ProviderRemove{Account: c.account, Host: host})
}

func (c *call) setProvider(set fsm.ProviderSet) error {
	host, err := c.provider()
	if err != nil {
		return err
	}
	set.Account, set.Host = c.account, host
	return c.submit(&set)
}
