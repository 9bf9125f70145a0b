package s3

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/gateways/s3/acl"
	"github.com/cairnstore/cairn/gateways/s3/policy"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// Identity is what a user may do, as far as that hangs on the user and not on what
// is asked for. The zero value is nobody's.
type Identity struct {
	// Account owns the buckets and objects that the user makes: a canonical id.
	Account string
	// Root says that the user is the account: it may do with the account's own buckets
	// what neither their policies deny nor Policies.
	Root bool
	// UserID is what policies know as aws:userid, Name as aws:username and PrincipalARN as
	// aws:PrincipalArn. Default: the user's name, and the first of ARNs.
	UserID, Name, PrincipalARN string
	// ARNs are the names by which policies know the user, the usual one first.
	ARNs []string
	// Policies are what is attached to the user, its groups or its role: one must allow.
	Policies []*policy.Policy
	// Limits are boundaries, and what service accounts are confined to: each must allow as well,
	// whoever else does.
	Limits []*policy.Policy
	// Session are the policies of a session: where there are any, one must allow as well.
	Session []*policy.Policy
	// Tags of the user or role.
	Tags map[string]string
	// Temporary: by a token. NoIAM: it may not look after identities.
	Temporary, NoIAM bool
	// Admin: may look after the identities of all accounts.
	Admin bool
	// Federated is the provider who vouches for it, if one does.
	Federated string
}

// ownAccount is the Identity of a user who is an account of its own.
func ownAccount(_ context.Context, u *wirepb.User) (Identity, error) {
	return Identity{Account: u.Name, Root: true, ARNs: userARNs(u.Name, u.Name)}, nil
}

// userARNs are the ARNs of a user. The one without an account is what Ceph calls it.
func userARNs(account, name string) []string {
	return []string{"arn:aws:iam::" + account + ":user/" + name, "arn:aws:iam:::user/" + name}
}

// who is somebody who makes a request.
type who struct {
	Identity
	name string // of the user; "" for roles
}

func (w *who) anonymous() bool { return w.Account == "" }

// within reports whether what confines somebody lets a request through.
func (w *who) within(r *policy.Request) bool {
	for _, p := range w.Limits {
		if p.Decide(r) != policy.Allow {
			return false
		}
	}
	d := policy.Silent
	for _, p := range w.Session {
		d = d.And(p.Decide(r))
	}
	return len(w.Session) == 0 || d == policy.Allow
}

func (w *who) principal() policy.Principal {
	if w.anonymous() {
		return policy.Principal{Anonymous: true}
	}
	return policy.Principal{ID: w.Account, Account: w.Account, ARNs: w.ARNs, Federated: w.Federated}
}

// decide says what the user's own policies say.
func (w *who) decide(r *policy.Request) policy.Decision {
	if w.anonymous() {
		return policy.Silent
	}
	d, limits := policy.Silent, policy.Silent
	if w.Root {
		d = policy.Allow
	}
	for _, p := range w.Policies {
		d = d.And(p.Decide(r))
	}
	for _, p := range append(w.Limits[:len(w.Limits):len(w.Limits)], w.Session...) {
		limits = limits.And(p.Decide(r))
	}
	switch {
	case d == policy.Deny || limits == policy.Deny:
		return policy.Deny
	case d == policy.Allow && !w.within(r):
		return policy.Silent
	}
	return d
}

// anonymousID is what lists call the owner of nothing: AWS's id of whoever does not sign.
const anonymousID = "65a011a29cdf8ec533ec3d1ccaae921c"

// people finds users by name or address, to show them in lists and to check
// grantees, and remembers them for a while.
type people struct {
	byName  func(ctx context.Context, name string) (*wirepb.User, error)
	byEmail func(ctx context.Context, address string) (*wirepb.User, error)
	ttl     time.Duration
	now     func() time.Time

	principal func(ctx context.Context, get *wirepb.UserGet) (*wirepb.User, error)

	mu    sync.Mutex // guards below
	names map[string]cachedUser
}

func newPeople(o Options) *people {
	return &people{byName: o.FindUser, byEmail: o.FindEmail, ttl: o.UserTTL, now: o.Now, principal: o.Principal, names: map[string]cachedUser{}}
}

// find returns a user by name; client.ErrNotFound if there is none.
func (p *people) find(ctx context.Context, name string, now time.Time) (*wirepb.User, error) {
	if p.byName == nil {
		return nil, fmt.Errorf("user %q: %w", name, client.ErrNotFound)
	}
	return p.cached(ctx, name, now, func(ctx context.Context) (*wirepb.User, error) { return p.byName(ctx, name) })
}

// cached remembers what ask says of a name.
func (p *people) cached(ctx context.Context, name string, now time.Time, ask func(ctx context.Context) (*wirepb.User, error)) (*wirepb.User, error) {
	p.mu.Lock()
	u, ok := p.names[name]
	p.mu.Unlock()
	if !ok || !now.Before(u.until) {
		user, err := ask(ctx)
		if err != nil && !errors.Is(err, client.ErrNotFound) {
			return nil, fmt.Errorf("user %q: %w", name, err)
		}
		u = cachedUser{user: user, until: now.Add(p.ttl)}
		if user == nil {
			u.until = now.Add(min(unknownTTL, p.ttl))
		}
		p.mu.Lock()
		if len(p.names) >= maxCachedUsers {
			clear(p.names)
		}
		p.names[name] = u
		p.mu.Unlock()
	}
	if u.user == nil {
		return nil, fmt.Errorf("user %q: %w", name, client.ErrNotFound)
	}
	return u.user, nil
}

// person is how lists show an account. One that cannot be found, because it was
// removed or the monitors do not answer, is shown by its id.
func (q *request) person(id string) acl.User {
	switch {
	case id == "":
		return acl.User{ID: anonymousID, Name: "anonymous"}
	case q.user != nil && id == q.user.Name && q.who.Root:
		return shown(q.user)
	}
	u, err := q.s.people.find(q.ctx(), id, q.s.o.Now())
	if err != nil {
		if !errors.Is(err, client.ErrNotFound) {
			q.s.log.Debug("look up a user for a list", "request", q.id, "err", err)
		}
		return acl.User{ID: id, Name: id}
	}
	return shown(u)
}

func shown(u *wirepb.User) acl.User {
	if u.DisplayName == "" {
		return acl.User{ID: u.Name, Name: u.Name}
	}
	return acl.User{ID: u.Name, Name: u.DisplayName}
}

// resolver finds the grantees of an access control list.
type resolver struct{ q *request }

// UserByID implements acl.Resolver.
func (r resolver) UserByID(id string) (acl.User, error) {
	if r.q.user != nil && id == r.q.user.Name && r.q.who.Root {
		return shown(r.q.user), nil
	}
	u, err := r.q.s.people.find(r.q.ctx(), id, r.q.s.o.Now())
	if errors.Is(err, client.ErrNotFound) {
		return acl.User{}, fmt.Errorf("%w: %s", acl.ErrNoSuchUser, id)
	}
	if err != nil {
		return acl.User{}, err
	}
	return shown(u), nil
}

// UserByEmail implements acl.Resolver.
func (r resolver) UserByEmail(address string) (acl.User, error) {
	if r.q.s.people.byEmail == nil {
		return acl.User{}, fmt.Errorf("%w: %s", acl.ErrNoEmail, address)
	}
	u, err := r.q.s.people.byEmail(r.q.ctx(), address)
	if errors.Is(err, client.ErrNotFound) {
		return acl.User{}, fmt.Errorf("%w: %s", acl.ErrNoEmail, address)
	}
	if err != nil {
		return acl.User{}, fmt.Errorf("user with the address %q: %w", address, err)
	}
	return shown(u), nil
}
