package mon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/mon/iam"
)

// tokenKeyAge is how old the newest key of tokens gets before there is a newer one. With
// fsm.MaxTokenKeys of them, a token can be opened for three days at least, longer than any is valid.
const tokenKeyAge = 24 * time.Hour

// Identity answers a call about identities: for the REST interface, and for gateways.
// A refusal is an answer with a code.
func (m *Monitor) Identity(ctx context.Context, q *wirepb.IdentityCall) (*wirepb.IdentityReply, error) {
	if q.GetBy() != "" {
		ctx = api.WithActor(ctx, q.GetBy())
	}
	s := &iam.Service{Read: m.machine.read, Submit: m.submit}
	return s.Answer(ctx, q)
}

// identityCall answers a gateway. Only the leader does: it has what it has just changed.
func (m *Monitor) identityCall(ctx context.Context, c *wire.Conn, req *wire.Message, q *wirepb.IdentityCall) {
	r, err := m.Identity(ctx, q)
	if err != nil {
		m.identityError(c, req, err)
		return
	}
	m.reply(c, req, &wire.Message{Header: &wirepb.Header{
		Epoch: uint64(m.Map().Epoch), Body: &wirepb.Header_IdentityReply{IdentityReply: r},
	}})
}

func (m *Monitor) identityError(c *wire.Conn, req *wire.Message, err error) {
	if errors.Is(err, api.ErrInvalid) {
		m.replyError(c, req, wirepb.Code_INVALID, "%v", err)
		return
	}
	m.decline(c, req, "%v", err)
}

// tokenKeysGet answers with the keys of tokens. The leader makes a new one when the newest is old.
func (m *Monitor) tokenKeysGet(ctx context.Context, c *wire.Conn, req *wire.Message) {
	for {
		keys := m.tokenKeys()
		newest := fsm.TokenKey{}
		if len(keys) > 0 {
			newest = keys[len(keys)-1]
		}
		if age := time.Since(time.Unix(0, newest.Created)); newest.ID != 0 && age < tokenKeyAge {
			out := &wirepb.TokenKeys{}
			for _, k := range keys {
				out.Keys = append(out.Keys, &wirepb.TokenKey{Id: k.ID, Key: k.Key, Created: k.Created})
			}
			m.reply(c, req, &wire.Message{Header: &wirepb.Header{Epoch: uint64(m.Map().Epoch), Body: &wirepb.Header_TokenKeys{TokenKeys: out}}})
			return
		}
		fresh := fsm.TokenKey{ID: newest.ID + 1, Key: make([]byte, 32)}
		rand.Read(fresh.Key) // never fails
		// A conflict: somebody else has made one meanwhile.
		if _, err := m.submit(ctx, &fsm.TokenKeyAdd{Key: fresh, After: newest.ID}); err != nil && !errors.Is(err, api.ErrConflict) {
			m.identityError(c, req, err)
			return
		}
	}
}

func (m *Monitor) tokenKeys() (keys []fsm.TokenKey) {
	m.machine.read(func(s *fsm.State) { keys = s.TokenKeys() })
	return keys
}

// who finds the user or role that get asks for, nil if there is none.
func who(s *fsm.State, get *wirepb.UserGet) *wirepb.User {
	switch {
	case get.GetAccessKey() != "":
		return principal(s, s.UserByKey(get.GetAccessKey()), get.GetAccessKey())
	case get.GetName() != "":
		if strings.Contains(get.GetName(), "/") {
			return nil // what belongs to an account has no name of its own
		}
		return principal(s, s.User(get.GetName()), "")
	case get.GetEmail() != "":
		return principal(s, s.UserByEmail(get.GetEmail()), "")
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
		return principal(s, u, get.GetIdKey())
	}
	return nil
}

func askedFor(get *wirepb.UserGet) string {
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

// principal is what gateways are told of a user: one key at most, and what its groups give it.
func principal(s *fsm.State, u *fsm.User, key string) *wirepb.User {
	if u == nil {
		return nil
	}
	out := userMessage(u)
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
	if r == nil || iam.ARN(r.Account, "role", r.Path, r.Name) != arn {
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
