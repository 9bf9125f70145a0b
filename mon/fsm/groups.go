package fsm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// newIdentityBody is the part of newBody for what came with version 5.
func newIdentityBody(kind string) Body {
	for _, b := range []Body{
		&UserSet{}, &KeyCreate{}, &KeySet{}, &KeyRemove{}, &GroupCreate{}, &GroupSet{}, &GroupRemove{}, &GroupMember{},
		&RoleCreate{}, &RoleSet{}, &RoleRemove{}, &PolicyCreate{}, &PolicyVersionSet{}, &PolicyRemove{},
		&PolicyAttach{}, &PolicyInline{}, &BoundarySet{}, &TagsSet{}, &SessionsRevoke{},
		&ProviderCreate{}, &ProviderSet{}, &ProviderRemove{}, &TokenKeyAdd{},
	} {
		if b.kind() == kind {
			return b
		}
	}
	return nil
}

// GroupCreate makes a group of an account.
type GroupCreate struct {
	Group Group `json:"group"`
}

// GroupSet renames a group or moves it to another path; what is nil stays.
type GroupSet struct {
	Account string  `json:"account"`
	Name    string  `json:"name"`
	NewName *string `json:"new_name,omitempty"`
	NewPath *string `json:"new_path,omitempty"`
}

// GroupRemove removes a group. With Bare it is refused while the group has members or
// policies.
type GroupRemove struct {
	Account string `json:"account"`
	Name    string `json:"name"`
	Bare    bool   `json:"bare,omitempty"`
}

// GroupMember takes a user into a group, or out of it.
type GroupMember struct {
	Account string `json:"account"`
	Group   string `json:"group"`
	User    string `json:"user"`
	Remove  bool   `json:"remove,omitempty"`
}

// RoleCreate makes a role of an account, or one of the cluster's own, without account.
type RoleCreate struct {
	Role Role `json:"role"`
}

// RoleSet changes a role; what is nil stays.
type RoleSet struct {
	Account     string  `json:"account,omitempty"`
	Name        string  `json:"name"`
	Description *string `json:"description,omitempty"`
	Trust       *string `json:"trust,omitempty"`
	MaxSeconds  *int64  `json:"max_seconds,omitempty"`
}

// RoleRemove removes a role. With Bare it is refused while the role has policies.
type RoleRemove struct {
	Account string `json:"account,omitempty"`
	Name    string `json:"name"`
	Bare    bool   `json:"bare,omitempty"`
}

func (*GroupCreate) kind() string { return "group-create" }
func (*GroupSet) kind() string    { return "group-set" }
func (*GroupRemove) kind() string { return "group-remove" }
func (*GroupMember) kind() string { return "group-member" }
func (*RoleCreate) kind() string  { return "role-create" }
func (*RoleSet) kind() string     { return "role-set" }
func (*RoleRemove) kind() string  { return "role-remove" }

func (c *GroupCreate) describe() string { return "group create " + path(c.Group.Account, c.Group.Name) }
func (c *GroupSet) describe() string    { return "group set " + path(c.Account, c.Name) }
func (c *GroupRemove) describe() string { return "group rm " + path(c.Account, c.Name) }
func (c *GroupMember) describe() string {
	verb := "add"
	if c.Remove {
		verb = "remove"
	}
	return fmt.Sprintf("group %s %s %s", verb, path(c.Account, c.Group), c.User)
}
func (c *RoleCreate) describe() string { return "role create " + path(c.Role.Account, c.Role.Name) }
func (c *RoleSet) describe() string    { return "role set " + path(c.Account, c.Name) }
func (c *RoleRemove) describe() string { return "role rm " + path(c.Account, c.Name) }

// Longest names, as AWS has them.
const (
	maxGroupName  = 128
	maxPolicyName = 128
)

func (c *GroupCreate) apply(t *txn) (Result, error) {
	g := c.Group
	g.Entity = g.Entity.clone()
	if err := t.checkAccount(g.Account); err != nil {
		return Result{}, err
	}
	if err := checkEntityName("group", g.Name, maxGroupName); err != nil {
		return Result{}, err
	}
	if t.s.Group(g.Account, g.Name) != nil {
		return Result{}, refuse(wirepb.Code_EXISTS, "group %q of account %q exists already", g.Name, g.Account)
	}
	if err := t.room("groups", g.Account, len(t.s.GroupsIn(g.Account)), MaxGroups); err != nil {
		return Result{}, err
	}
	if err := t.newEntity(&g.Entity); err != nil {
		return Result{}, err
	}
	t.groupMap()[entityKey(g.Account, g.Name)] = &g
	return Result{}, nil
}

func (c *GroupSet) apply(t *txn) (Result, error) {
	g, err := t.group(c.Account, c.Name)
	if err != nil {
		return Result{}, err
	}
	if c.NewPath != nil {
		if err := checkPath(*c.NewPath); err != nil {
			return Result{}, err
		}
		g.Path = *c.NewPath
	}
	if c.NewName == nil {
		return Result{}, nil
	}
	if err := checkEntityName("group", *c.NewName, maxGroupName); err != nil {
		return Result{}, err
	}
	if o := t.s.Group(c.Account, *c.NewName); o != nil && !strings.EqualFold(o.Name, c.Name) {
		return Result{}, refuse(wirepb.Code_EXISTS, "group %q of account %q exists already", *c.NewName, c.Account)
	}
	delete(t.groups, entityKey(c.Account, c.Name))
	g.Name = *c.NewName
	t.groups[entityKey(c.Account, g.Name)] = g
	return Result{}, nil
}

// Members returns who is in a group, by name. Nobody may change them.
func (s *State) Members(g *Group) []*User {
	return slices.DeleteFunc(s.UsersOf(g.Account), func(u *User) bool { return !slices.Contains(u.Groups, g.ID) })
}

func (c *GroupRemove) apply(t *txn) (Result, error) {
	g, err := t.group(c.Account, c.Name)
	if err != nil {
		return Result{}, err
	}
	members := t.s.Members(g)
	if c.Bare && (len(members) > 0 || len(g.Inline) > 0 || len(g.Attached) > 0) {
		return Result{}, refuse(wirepb.Code_CONFLICT, "group %q still has members or policies; remove them first", c.Name)
	}
	for _, m := range members {
		u, err := t.user(m.Account, m.Name)
		if err != nil {
			return Result{}, err
		}
		u.Groups = slices.DeleteFunc(u.Groups, func(id string) bool { return id == g.ID })
	}
	t.documents -= g.documentBytes()
	delete(t.groups, entityKey(c.Account, c.Name))
	return Result{}, nil
}

func (c *GroupMember) apply(t *txn) (Result, error) {
	g := t.s.Group(c.Account, c.Group)
	if g == nil {
		_, err := t.group(c.Account, c.Group)
		return Result{}, err
	}
	if c.Account == "" || t.s.UserIn(c.Account, c.User) == nil {
		return Result{}, noUser(c.Account, c.User)
	}
	u, err := t.user(c.Account, c.User)
	if err != nil {
		return Result{}, err
	}
	in := slices.Contains(u.Groups, g.ID)
	switch {
	case c.Remove && !in:
		return Result{}, refuse(wirepb.Code_NOT_FOUND, "user %q is not in group %q", c.User, c.Group)
	case c.Remove:
		u.Groups = slices.DeleteFunc(u.Groups, func(id string) bool { return id == g.ID })
	case !in && len(u.Groups) >= MaxGroupsPerUser:
		return Result{}, refuse(wirepb.Code_NO_SPACE, "user %q is in %d groups, the most it can be in", c.User, MaxGroupsPerUser)
	case !in:
		u.Groups = append(u.Groups, g.ID)
	}
	return Result{}, nil
}

func checkRole(r *Role) error {
	if err := checkText("description of role "+r.Name, r.Description, MaxDescriptionBytes); err != nil {
		return err
	}
	if r.MaxSeconds < MinRoleSeconds || r.MaxSeconds > MaxRoleSeconds {
		return invalid("role %q: sessions of %d seconds; want %d to %d", r.Name, r.MaxSeconds, MinRoleSeconds, MaxRoleSeconds)
	}
	return checkDocument("the trust policy of role "+r.Name, r.Trust)
}

func (c *RoleCreate) apply(t *txn) (Result, error) {
	r := c.Role
	r.Entity = r.Entity.clone()
	if r.Account != "" {
		if err := t.checkAccount(r.Account); err != nil {
			return Result{}, err
		}
	}
	if err := checkEntityName("role", r.Name, MaxNameBytes); err != nil {
		return Result{}, err
	}
	if t.s.Role(r.Account, r.Name) != nil {
		return Result{}, refuse(wirepb.Code_EXISTS, "role %q of account %q exists already", r.Name, r.Account)
	}
	if err := t.room("roles", r.Account, len(t.s.RolesIn(r.Account)), MaxRoles); err != nil {
		return Result{}, err
	}
	if r.MaxSeconds == 0 {
		r.MaxSeconds = DefaultRoleSeconds
	}
	if err := checkRole(&r); err != nil {
		return Result{}, err
	}
	if err := t.newEntity(&r.Entity); err != nil {
		return Result{}, err
	}
	if err := t.grow(len(r.Trust)); err != nil {
		return Result{}, err
	}
	t.roleMap()[entityKey(r.Account, r.Name)] = &r
	return Result{}, nil
}

func (c *RoleSet) apply(t *txn) (Result, error) {
	r, err := t.role(c.Account, c.Name)
	if err != nil {
		return Result{}, err
	}
	had := len(r.Trust)
	if c.Description != nil {
		r.Description = *c.Description
	}
	if c.Trust != nil {
		r.Trust = *c.Trust
	}
	if c.MaxSeconds != nil {
		r.MaxSeconds = *c.MaxSeconds
	}
	if err := checkRole(r); err != nil {
		return Result{}, err
	}
	return Result{}, t.grow(len(r.Trust) - had)
}

func (c *RoleRemove) apply(t *txn) (Result, error) {
	r, err := t.role(c.Account, c.Name)
	if err != nil {
		return Result{}, err
	}
	if c.Bare && (len(r.Inline) > 0 || len(r.Attached) > 0) {
		return Result{}, refuse(wirepb.Code_CONFLICT, "role %q still has policies; remove them first", c.Name)
	}
	t.documents -= r.documentBytes() + len(r.Trust)
	delete(t.roles, entityKey(c.Account, c.Name))
	return Result{}, nil
}
