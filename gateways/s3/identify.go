package s3

import (
	"context"
	"fmt"

	"github.com/cairnstore/cairn/gateways/s3/policy"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// nothing allows nothing. It stands for policies that cannot be read: what they would
// have denied must not be allowed.
var nothing = mustPolicy(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`)

func mustPolicy(text string) *policy.Policy {
	p, err := policy.Parse([]byte(text), policy.Options{Kind: policy.OfIdentity})
	if err != nil {
		panic(err)
	}
	return p
}

func readPolicy(text string) *policy.Policy {
	p, err := policy.Parse([]byte(text), policy.Options{Kind: policy.OfIdentity})
	if err != nil {
		return nothing
	}
	return p
}

// identify says what the record of a user, with the key it used, or of a role lets it do.
func identify(u *wirepb.User, key *wirepb.AccessKey) Identity {
	id := Identity{Account: u.Account, Tags: map[string]string{}}
	path := u.Path
	if path == "" {
		path = "/"
	}
	for _, text := range u.Policies {
		id.Policies = append(id.Policies, readPolicy(text))
	}
	if u.Bounded {
		id.Limits = append(id.Limits, readPolicy(u.Boundary))
	}
	for _, t := range u.Tags {
		id.Tags[t.Key] = t.Value
	}
	switch {
	case u.Role:
		id.PrincipalARN = arnOf(u.Account, "role", path, u.Name)
		id.ARNs = []string{id.PrincipalARN}
	case u.Account == "":
		id.Account, id.Root, id.Admin, id.Name, id.UserID = u.Name, true, u.Admin, u.Name, u.Name
		id.ARNs = userARNs(u.Name, u.Name)
	default:
		id.Name, id.UserID = u.Name, u.Id
		id.ARNs = []string{arnOf(u.Account, "user", path, u.Name)}
	}
	if key.GetService() != "" {
		id.NoIAM = true
		if key.GetPolicy() != "" {
			id.Limits = append(id.Limits, readPolicy(key.GetPolicy()))
		}
	}
	return id
}

func arnOf(account, kind, path, name string) string {
	return "arn:aws:iam::" + account + ":" + kind + path + name
}

func (w *who) userID() string {
	if w.UserID != "" {
		return w.UserID
	}
	return w.name
}

func (w *who) arn() string {
	switch {
	case w.PrincipalARN != "":
		return w.PrincipalARN
	case len(w.ARNs) > 0:
		return w.ARNs[0]
	}
	return ""
}

// principalOf finds a user or role by id, and remembers it for a while.
func (p *people) principalOf(ctx context.Context, get *wirepb.UserGet) (*wirepb.User, error) {
	if p.principal == nil {
		return nil, fmt.Errorf("users are not found by id here")
	}
	return p.cached(ctx, "\x00"+get.Id+"\x00"+get.IdKey, p.now(), func(ctx context.Context) (*wirepb.User, error) { return p.principal(ctx, get) })
}

// forget makes changes of identities visible at once where they were made.
func (p *people) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.names)
}
