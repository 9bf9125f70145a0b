package iam

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
)

// Principal finds the user or role that get asks for, nil if there is none.
func Principal(s *fsm.State, get *wirepb.UserGet) *wirepb.User {
	switch {
	case get.GetAccessKey() != "":
		return userPrincipal(s, s.UserByKey(get.GetAccessKey()), get.GetAccessKey())
	case get.GetName() != "":
		if strings.Contains(get.GetName(), "/") {
			return nil // what belongs to an account has no name of its own
		}
		return userPrincipal(s, s.User(get.GetName()), "")
	case get.GetEmail() != "":
		return userPrincipal(s, s.UserByEmail(get.GetEmail()), "")
	case get.GetRole() != "":
		return rolePrincipal(s, roleByARN(s, get.GetRole()))
	case get.GetId() != "":
		if r := s.RoleByID(get.GetId()); r != nil {
			return rolePrincipal(s, r)
		}
		u := s.UserByID(get.GetId())
		if u == nil { // accounts of earlier versions have their name for an id
			if u = s.User(get.GetId()); u != nil && (u.ID != "" || u.Account != "") {
				u = nil
			}
		}
		return userPrincipal(s, u, get.GetIdKey())
	}
	return nil
}

// NoPrincipal says that there is none.
func NoPrincipal(get *wirepb.UserGet) string {
	switch {
	case get.GetAccessKey() != "":
		return fmt.Sprintf("no user has access key %q", get.GetAccessKey())
	case get.GetName() != "":
		return fmt.Sprintf("no user is named %q", get.GetName())
	case get.GetEmail() != "":
		return fmt.Sprintf("no user has the address %q", get.GetEmail())
	case get.GetRole() != "":
		return fmt.Sprintf("there is no role %q", get.GetRole())
	}
	return fmt.Sprintf("no user or role has the id %q", get.GetId())
}

// userPrincipal is what gateways are told of a user: one key at most, and what its groups give it.
func userPrincipal(s *fsm.State, u *fsm.User, key string) *wirepb.User {
	if u == nil {
		return nil
	}
	out := UserMessage(u)
	out.Keys = slices.DeleteFunc(out.Keys, func(k *wirepb.AccessKey) bool { return k.GetAccessKey() != key })
	seen := map[string]bool{}
	documents(s, &u.Entity, seen, out)
	for _, g := range s.GroupsOf(u) {
		documents(s, &g.Entity, seen, out)
	}
	if root := s.User(u.Account); root != nil && root.Suspended {
		out.Suspended = true // nobody of a suspended account gets in
	}
	return out
}

func rolePrincipal(s *fsm.State, r *fsm.Role) *wirepb.User {
	if r == nil {
		return nil
	}
	out := &wirepb.User{Name: r.Name, Role: true, Trust: r.Trust, MaxSeconds: r.MaxSeconds}
	entityMessage(&r.Entity, out)
	documents(s, &r.Entity, map[string]bool{}, out)
	if root := s.User(r.Account); root != nil && root.Suspended {
		out.Suspended = true
	}
	return out
}

func roleByARN(s *fsm.State, arn string) *fsm.Role {
	rest, ok := strings.CutPrefix(arn, "arn:aws:iam::")
	if !ok {
		return nil
	}
	account, path, ok := strings.Cut(rest, ":role/")
	if !ok {
		return nil
	}
	r := s.Role(account, path[strings.LastIndexByte(path, '/')+1:])
	if r == nil || ARN(r.Account, "role", r.Path, r.Name) != arn {
		return nil
	}
	return r
}

// documents adds the policies of an entity. A boundary that is not there lets nothing through.
func documents(s *fsm.State, e *fsm.Entity, seen map[string]bool, out *wirepb.User) {
	for _, d := range e.Inline {
		out.Policies = append(out.Policies, d.Text)
	}
	for _, arn := range e.Attached {
		if p := s.PolicyByARN(arn); p != nil && !seen[arn] {
			seen[arn] = true
			out.Policies = append(out.Policies, p.Text())
		}
	}
	if e.Boundary != "" {
		out.Bounded = true
		if p := s.PolicyByARN(e.Boundary); p != nil {
			out.Boundary = p.Text()
		}
	}
}

func entityMessage(e *fsm.Entity, out *wirepb.User) {
	out.Account, out.Id, out.Path, out.Revoked, out.Created = e.Account, e.ID, e.Path, e.Revoked, e.Created
	for _, t := range e.Tags {
		out.Tags = append(out.Tags, &wirepb.IdentityTag{Key: t.Key, Value: t.Value})
	}
}

// UserMessage returns u as a message, nil for nil.
func UserMessage(u *fsm.User) *wirepb.User {
	if u == nil {
		return nil
	}
	out := &wirepb.User{Name: u.Name, DisplayName: u.DisplayName, Suspended: u.Suspended, Email: u.Email, Admin: u.Admin}
	entityMessage(&u.Entity, out)
	for _, k := range u.Keys {
		out.Keys = append(out.Keys, &wirepb.AccessKey{
			AccessKey: k.AccessKey, SecretKey: k.SecretKey, Inactive: k.Inactive, Created: k.Created, Service: k.Service, Policy: k.Policy, Expires: k.Expires,
		})
	}
	return out
}
