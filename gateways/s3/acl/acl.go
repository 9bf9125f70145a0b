// Package acl is S3's access control lists: who may read, write and manage a
// bucket or an object. It knows lists, the canned ones, the headers and the XML
// they come in, and how they are kept; it computes and nothing else. Who a
// grantee is, and whether there is such a user, its caller looks up.
package acl

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Permission is a set of what a grant allows. Of a bucket, Read is to list it and
// Write to put, overwrite and delete objects; of an object, Read is to read it and
// Write means nothing.
type Permission uint8

// The permissions.
const (
	Read Permission = 1 << iota
	Write
	ReadACP
	WriteACP

	FullControl = Read | Write | ReadACP | WriteACP
)

var permissionNames = map[Permission]string{Read: "READ", Write: "WRITE", ReadACP: "READ_ACP", WriteACP: "WRITE_ACP", FullControl: "FULL_CONTROL"}

// String names a permission that a single grant can have, as XML does.
func (p Permission) String() string { return permissionNames[p] }

func permissionOf(name string) (Permission, bool) {
	for p, n := range permissionNames {
		if n == name {
			return p, true
		}
	}
	return 0, false
}

// Group is a set of users that a grant can be for, by its URI.
type Group string

// The groups.
const (
	AllUsers           Group = "http://acs.amazonaws.com/groups/global/AllUsers"
	AuthenticatedUsers Group = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
	LogDelivery        Group = "http://acs.amazonaws.com/groups/s3/LogDelivery"
)

var groups = []Group{AllUsers, AuthenticatedUsers, LogDelivery}

// User is a user by canonical id, with the name that lists show.
type User struct{ ID, Name string }

// Grant gives a permission to a group or, if that is empty, to a user.
type Grant struct {
	User       User
	Group      Group
	Permission Permission
}

// Public reports whether the grant is for everybody, or for everybody who has an account.
func (g Grant) Public() bool { return g.Group == AllUsers || g.Group == AuthenticatedUsers }

// ACL is an access control list.
type ACL struct {
	Owner  User
	Grants []Grant
}

// MaxGrants limits a list.
const MaxGrants = 100

// Who is somebody who asks for access; the zero value is somebody anonymous.
type Who struct {
	ID          string // canonical id; empty for anonymous
	LogDelivery bool   // the delivery of access logs
}

// Allows reports whether the list allows all of p. The owner may always read and
// write the list itself. With ignorePublic, public grants count for nothing.
func (a *ACL) Allows(w Who, p Permission, ignorePublic bool) bool {
	var have Permission
	if w.ID != "" && w.ID == a.Owner.ID {
		have = ReadACP | WriteACP
	}
	for _, g := range a.Grants {
		switch {
		case g.Public() && ignorePublic:
		case g.Group == AllUsers, g.Group == AuthenticatedUsers && w.ID != "",
			g.Group == LogDelivery && w.LogDelivery, g.Group == "" && w.ID != "" && g.User.ID == w.ID:
			have |= g.Permission
		}
	}
	return have&p == p
}

// IsPublic reports whether the list has a public grant.
func (a *ACL) IsPublic() bool { return slices.ContainsFunc(a.Grants, Grant.Public) }

// OnlyOwner reports whether the list is the one that is private to its owner.
func (a *ACL) OnlyOwner() bool {
	return len(a.Grants) == 1 && a.Grants[0].Group == "" && a.Grants[0].User.ID == a.Owner.ID && a.Grants[0].Permission == FullControl
}

// Private is the list that gives its owner full control and nobody else anything.
func Private(owner User) *ACL {
	return &ACL{Owner: owner, Grants: []Grant{{User: owner, Permission: FullControl}}}
}

// Canned makes a list that is known by a name. bucketOwner is the owner of the
// bucket that an object lies in, and the same as owner for a bucket's list.
func Canned(name string, owner, bucketOwner User) (*ACL, bool) {
	a := Private(owner)
	// Grants to groups come first, as Ceph has them.
	group := func(g Group, p ...Permission) {
		for i, p := range p {
			a.Grants = slices.Insert(a.Grants, i, Grant{Group: g, Permission: p})
		}
	}
	switch name {
	case "private":
	case "public-read":
		group(AllUsers, Read)
	case "public-read-write":
		group(AllUsers, Read, Write)
	case "authenticated-read":
		group(AuthenticatedUsers, Read)
	case "log-delivery-write":
		group(LogDelivery, Write, ReadACP)
	case "bucket-owner-read", "bucket-owner-full-control":
		if bucketOwner.ID == owner.ID {
			break
		}
		p := Read
		if name == "bucket-owner-full-control" {
			p = FullControl
		}
		a.Grants = append(a.Grants, Grant{User: bucketOwner, Permission: p})
	default:
		return nil, false
	}
	return a, true
}

// stored is how a list is kept.
type stored struct {
	Version int           `json:"v"`
	Owner   [2]string     `json:"o"`
	Grants  []storedGrant `json:"g"`
}

// storedGrant is a user's id and name, or nothing and a group, and the permission.
type storedGrant [3]string

const storedVersion = 1

var shortGroups = map[Group]string{AllUsers: "all", AuthenticatedUsers: "authenticated", LogDelivery: "log"}

// Encode writes a list as it is kept.
func (a *ACL) Encode() []byte {
	s := stored{Version: storedVersion, Owner: [2]string{a.Owner.ID, a.Owner.Name}, Grants: []storedGrant{}}
	for _, g := range a.Grants {
		who := storedGrant{g.User.ID, g.User.Name, g.Permission.String()}
		if g.Group != "" {
			who[0], who[1] = "", shortGroups[g.Group]
		}
		s.Grants = append(s.Grants, who)
	}
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings always encode
	}
	return b
}

// ErrStored says that a kept list cannot be understood.
var ErrStored = errors.New("access control list is damaged or of a newer version")

// Decode reads a list as it is kept.
func Decode(b []byte) (*ACL, error) {
	var s stored
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrStored, err)
	}
	if s.Version != storedVersion {
		return nil, fmt.Errorf("%w: version %d, this program knows %d", ErrStored, s.Version, storedVersion)
	}
	a := &ACL{Owner: User{s.Owner[0], s.Owner[1]}}
	for _, x := range s.Grants {
		g := Grant{User: User{x[0], x[1]}}
		var ok bool
		if g.Permission, ok = permissionOf(x[2]); !ok {
			return nil, fmt.Errorf("%w: permission %q", ErrStored, x[2])
		}
		if x[0] == "" {
			g.User = User{}
			for _, group := range groups {
				if shortGroups[group] == x[1] {
					g.Group = group
				}
			}
			if g.Group == "" {
				return nil, fmt.Errorf("%w: group %q", ErrStored, x[1])
			}
		}
		a.Grants = append(a.Grants, g)
	}
	return a, nil
}
