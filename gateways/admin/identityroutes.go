package admin

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cairnstore/cairn/gateways/s3/policy"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// clusterAccount stands for no account in paths: for roles of the cluster's own.
const clusterAccount = "-"

const seeAccounts = "see `cairn account ls` and docs/operations/identity.md"

func (s *Server) identityRoutes() {
	handle(s, route{"GET", "/accounts", "list-accounts", "identities", "All accounts", 0},
		func(ctx context.Context, _ *none) ([]api.Identity, error) {
			out := []api.Identity{}
			for marker := ""; ; {
				r, err := s.identity(ctx, "", "ListAccounts", map[string]string{"MaxItems": "1000", "Marker": marker})
				if err != nil {
					return nil, err
				}
				out = append(out, r.Items...)
				if marker = r.Marker; !r.Truncated {
					return out, nil
				}
			}
		})
	handle(s, route{"POST", "/accounts/{account}/iam/{action}", "call-iam", "identities",
		"Anything about an account's users, keys, groups, policies, roles and identity providers, in the words of AWS's IAM", 0},
		func(ctx context.Context, in *struct {
			Account string `path:"account" minLength:"1" maxLength:"64" doc:"- for roles of the cluster's own"`
			Action  string `path:"action" minLength:"1" maxLength:"64" doc:"CreateUser, ListUsers, PutUserPolicy ..., and CreateAccount, UpdateAccount, DeleteAccount, CreateServiceAccount, ListServiceAccounts, RevokeSessions"`
			Body    api.IdentityCall
		}) (api.IdentityReply, error) {
			account := in.Account
			if account == clusterAccount {
				account = ""
			}
			return s.identity(ctx, account, in.Action, in.Body.Params)
		})
}

// identity makes a call and translates its answer.
func (s *Server) identity(ctx context.Context, account, action string, params map[string]string) (api.IdentityReply, error) {
	if err := checkDocuments(action, params); err != nil {
		return api.IdentityReply{}, err
	}
	q := &wirepb.IdentityCall{Account: account, Action: action}
	for k, v := range params {
		q.Params = append(q.Params, &wirepb.IdentityTag{Key: k, Value: v})
	}
	if action == "RevokeSessions" && params["Before"] == "" {
		q.Params = append(q.Params, &wirepb.IdentityTag{Key: "Before", Value: strconv.FormatInt(time.Now().UnixNano(), 10)})
	}
	r, err := s.backend.Identity(ctx, q)
	if err != nil {
		return api.IdentityReply{}, fail(err, seeAccounts)
	}
	if cond := identityCondition(r.GetCode()); cond != nil {
		return api.IdentityReply{}, fail(fmt.Errorf("%s: %s: %w", action, r.GetText(), cond), seeAccounts)
	}
	out := api.IdentityReply{Items: []api.Identity{}, Truncated: r.GetTruncated(), Marker: r.GetMarker()}
	for _, i := range r.Items {
		out.Items = append(out.Items, identityJSON(i))
	}
	return out, nil
}

func identityCondition(code wirepb.Code) error {
	switch code {
	case wirepb.Code_OK:
		return nil
	case wirepb.Code_NOT_FOUND:
		return api.ErrNotFound
	case wirepb.Code_EXISTS:
		return api.ErrExists
	case wirepb.Code_CONFLICT, wirepb.Code_NO_SPACE, wirepb.Code_NOT_PERMITTED:
		return api.ErrConflict
	case wirepb.Code_TRY_LATER:
		return api.ErrTryLater
	}
	return api.ErrInvalid
}

// checkDocuments refuses policy documents that gateways would not understand.
func checkDocuments(action string, params map[string]string) error {
	for _, d := range []struct {
		param string
		kind  policy.Kind
	}{{"PolicyDocument", policy.OfIdentity}, {"AssumeRolePolicyDocument", policy.OfRole}} {
		text := params[d.param]
		if text == "" {
			continue
		}
		kind := d.kind
		if action == "UpdateAssumeRolePolicy" {
			kind = policy.OfRole
		}
		var m *policy.MalformedError
		if _, err := policy.Parse([]byte(text), policy.Options{Kind: kind}); errors.As(err, &m) {
			return invalid("the language is that of AWS's policies; see docs/operations/identity.md", "%s of %s: %s", d.param, action, m.Message)
		}
	}
	return nil
}

func identityJSON(i *wirepb.IdentityItem) api.Identity {
	date := func(ns int64) string {
		if ns == 0 {
			return ""
		}
		return time.Unix(0, ns).UTC().Format(time.RFC3339)
	}
	out := api.Identity{
		Kind: i.Kind, Account: i.Account, Name: i.Name, ID: i.Id, Path: i.Path, ARN: i.Arn, Created: date(i.Created), Updated: date(i.Updated), About: i.About,
		Email: i.Email, Off: i.Off, Admin: i.Admin, InForce: i.InForce, Version: i.Version, Number: i.Number, Text: i.Text, Secret: i.Secret, Service: i.Service,
		Boundary: i.Boundary, Expires: date(i.Expires), Revoked: date(i.Revoked), List: i.List, More: i.More,
	}
	for _, t := range i.Tags {
		if out.Tags == nil {
			out.Tags = map[string]string{}
		}
		out.Tags[t.Key] = t.Value
	}
	return out
}
