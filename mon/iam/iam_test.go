package iam

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/placement"
)

const everything = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`

// rig is a service over a state of its own, with an account.
type rig struct {
	t *testing.T
	s *Service
}

func newRig(t *testing.T) *rig {
	state, index := fsm.New(), placement.Epoch(1)
	submit := func(_ context.Context, b fsm.Body) (fsm.Result, error) {
		index++
		return state.Apply(fsm.Command{At: int64(index) * 1e9, Body: b}, index), nil
	}
	r := &rig{t, &Service{Read: func(fn func(*fsm.State)) { fn(state) }, Submit: submit}}
	if res, _ := submit(nil, &fsm.Bootstrap{Cluster: fsm.UUID{1}, Mons: []fsm.Mon{{Name: "a", Addr: "m:1", RaftAddr: "m:2"}}}); res.Code != wirepb.Code_OK {
		t.Fatal(res.Text)
	}
	r.do("corp", "CreateAccount", "UserName", "corp", "Email", "root@corp.example")
	r.do("other", "CreateAccount", "UserName", "other")
	return r
}

func (r *rig) call(account, action string, params ...string) (*wirepb.IdentityReply, error) {
	q := &wirepb.IdentityCall{Account: account, Action: action}
	for i := 0; i < len(params); i += 2 {
		q.Params = append(q.Params, &wirepb.IdentityTag{Key: params[i], Value: params[i+1]})
	}
	return r.s.Call(context.Background(), q)
}

func (r *rig) do(account, action string, params ...string) *wirepb.IdentityReply {
	r.t.Helper()
	reply, err := r.call(account, action, params...)
	if err != nil {
		r.t.Fatalf("%s %v: %v", action, params, err)
	}
	return reply
}

func (r *rig) no(code wirepb.Code, account, action string, params ...string) {
	r.t.Helper()
	_, err := r.call(account, action, params...)
	no, ok := err.(*Error)
	if !ok || no.Code != code || no.Text == "" {
		r.t.Fatalf("%s %v: %v, want %v", action, params, err, code)
	}
}

func names(r *wirepb.IdentityReply) []string {
	out := []string{}
	for _, i := range r.Items {
		out = append(out, i.GetName())
	}
	return out
}

func TestUsersAndGroups(t *testing.T) {
	r := newRig(t)
	u := r.do("corp", "CreateUser", "UserName", "Zoe", "Path", "/a/", "Tags.member.1.Key", "team", "Tags.member.1.Value", "x").Items[0]
	if u.Arn != "arn:aws:iam::corp:user/a/Zoe" || !strings.HasPrefix(u.Id, "AIDA") || u.Created == 0 || len(u.Tags) != 1 {
		t.Fatalf("made %+v", u)
	}
	r.no(wirepb.Code_EXISTS, "corp", "CreateUser", "UserName", "zoe")
	r.no(wirepb.Code_NOT_FOUND, "none", "CreateUser", "UserName", "zoe")
	r.no(wirepb.Code_NOT_FOUND, "other", "GetUser", "UserName", "zoe")
	if got := r.do("corp", "GetUser", "UserName", "zOE").Items[0]; got.Id != u.Id {
		t.Fatalf("got %+v", got)
	}
	if got := r.do("corp", "GetUser").Items[0]; got.Arn != "arn:aws:iam::corp:root" {
		t.Fatalf("the account is %+v", got)
	}
	for i := range 5 {
		r.do("corp", "CreateUser", "UserName", fmt.Sprint("u", 4-i), "Path", fmt.Sprintf("/b/%d/", i%2))
	}
	// Pages come in order, whatever comes and goes between them.
	var got []string
	for marker := ""; ; {
		page := r.do("corp", "ListUsers", "MaxItems", "2", "Marker", marker)
		got = append(got, names(page)...)
		if !page.Truncated {
			break
		}
		marker = page.Marker
		if len(got) == 2 {
			r.do("corp", "DeleteUser", "UserName", "u1")
		}
	}
	if want := []string{"u0", "u1", "u2", "u3", "u4", "Zoe"}; !slices.Equal(got, want) {
		t.Fatalf("listed %v, want %v", got, want)
	}
	if got := names(r.do("corp", "ListUsers", "PathPrefix", "/b/1")); !slices.Equal(got, []string{"u3"}) {
		t.Fatalf("listed %v", got)
	}
	r.no(wirepb.Code_INVALID, "corp", "ListUsers", "MaxItems", "0")
	r.no(wirepb.Code_INVALID, "corp", "ListUsers", "Marker", `\`)

	k := r.do("corp", "CreateAccessKey", "UserName", "zoe").Items[0]
	if len(k.Name) != 20 || len(k.Secret) != 40 || k.Path != "Zoe" {
		t.Fatalf("key %+v", k)
	}
	r.no(wirepb.Code_NOT_FOUND, "corp", "DeleteAccessKey", "UserName", "u2", "AccessKeyId", k.Name)
	r.no(wirepb.Code_NOT_FOUND, "other", "DeleteAccessKey", "UserName", "zoe", "AccessKeyId", k.Name)
	r.no(wirepb.Code_INVALID, "corp", "UpdateAccessKey", "UserName", "zoe", "AccessKeyId", k.Name, "Status", "Off")
	r.do("corp", "UpdateAccessKey", "UserName", "zoe", "AccessKeyId", k.Name, "Status", "Inactive")
	r.do("corp", "CreateServiceAccount", "UserName", "zoe", "ServiceName", "cron", "PolicyDocument", everything)
	if got := r.do("corp", "ListAccessKeys", "UserName", "zoe").Items; len(got) != 1 || !got[0].Off || got[0].Secret != "" {
		t.Fatalf("keys %+v", got)
	}
	if got := r.do("corp", "ListServiceAccounts", "UserName", "zoe").Items; len(got) != 1 || got[0].Service != "cron" {
		t.Fatalf("service accounts %+v", got)
	}
	root := r.do("corp", "CreateAccessKey").Items[0]
	r.do("corp", "DeleteAccessKey", "AccessKeyId", root.Name)

	r.do("corp", "CreateGroup", "GroupName", "devs")
	r.do("corp", "AddUserToGroup", "GroupName", "DEVS", "UserName", "ZOE")
	if got := names(r.do("corp", "GetGroup", "GroupName", "devs")); !slices.Equal(got, []string{"devs", "Zoe"}) {
		t.Fatalf("group %v", got)
	}
	if got := names(r.do("corp", "ListGroupsForUser", "UserName", "zoe")); !slices.Equal(got, []string{"devs"}) {
		t.Fatalf("groups %v", got)
	}
	r.no(wirepb.Code_CONFLICT, "corp", "DeleteGroup", "GroupName", "devs")
	r.no(wirepb.Code_CONFLICT, "corp", "DeleteUser", "UserName", "zoe")
	r.do("corp", "RemoveUserFromGroup", "GroupName", "devs", "UserName", "zoe")
	r.do("corp", "DeleteGroup", "GroupName", "devs")
	r.no(wirepb.Code_CONFLICT, "corp", "DeleteAccount")
	r.do("corp", "DeleteUser", "UserName", "zoe", "Force", "true")
	r.no(wirepb.Code_UNSUPPORTED, "corp", "Dance")
}

func TestPoliciesAndRoles(t *testing.T) {
	r := newRig(t)
	p := r.do("corp", "CreatePolicy", "PolicyName", "p", "Path", "/x/", "PolicyDocument", everything).Items[0]
	if p.Arn != "arn:aws:iam::corp:policy/x/p" || p.Version != "v1" {
		t.Fatalf("made %+v", p)
	}
	r.no(wirepb.Code_NOT_FOUND, "other", "GetPolicy", "PolicyArn", p.Arn)
	r.no(wirepb.Code_NOT_FOUND, "other", "DeletePolicy", "PolicyArn", p.Arn)
	r.no(wirepb.Code_NOT_PERMITTED, "corp", "DeletePolicy", "PolicyArn", "arn:aws:iam::aws:policy/AmazonS3FullAccess")
	r.do("corp", "GetPolicyVersion", "PolicyArn", "arn:aws:iam::aws:policy/AmazonS3FullAccess", "VersionId", "v1")
	r.do("corp", "CreatePolicyVersion", "PolicyArn", p.Arn, "PolicyDocument", "{}", "SetAsDefault", "true")
	if got := r.do("corp", "ListPolicyVersions", "PolicyArn", p.Arn).Items; len(got) != 2 || got[0].Version != "v2" || !got[0].InForce {
		t.Fatalf("versions %+v", got)
	}
	r.do("corp", "SetDefaultPolicyVersion", "PolicyArn", p.Arn, "VersionId", "v1")
	r.do("corp", "DeletePolicyVersion", "PolicyArn", p.Arn, "VersionId", "v2")
	r.no(wirepb.Code_INVALID, "corp", "GetPolicyVersion", "PolicyArn", p.Arn, "VersionId", "1")
	r.do("corp", "CreateUser", "UserName", "u", "PermissionsBoundary", p.Arn)
	r.do("other", "CreateUser", "UserName", "u")
	r.no(wirepb.Code_NOT_FOUND, "other", "CreateUser", "UserName", "v", "PermissionsBoundary", p.Arn)
	r.no(wirepb.Code_NOT_FOUND, "other", "AttachUserPolicy", "UserName", "u", "PolicyArn", p.Arn)
	r.do("corp", "AttachUserPolicy", "UserName", "u", "PolicyArn", p.Arn)
	if got := r.do("corp", "ListPolicies", "Scope", "Local", "OnlyAttached", "true").Items; len(got) != 1 || got[0].Number != 2 {
		t.Fatalf("policies %+v", got)
	}
	if got := names(r.do("corp", "ListEntitiesForPolicy", "PolicyArn", p.Arn)); !slices.Equal(got, []string{"u"}) {
		t.Fatalf("attached to %v", got)
	}
	r.no(wirepb.Code_CONFLICT, "corp", "DeletePolicy", "PolicyArn", p.Arn)
	r.do("corp", "PutUserPolicy", "UserName", "u", "PolicyName", "own", "PolicyDocument", everything)
	if got := r.do("corp", "GetUserPolicy", "UserName", "u", "PolicyName", "own").Items[0]; got.Text != everything || got.Path != "u" {
		t.Fatalf("document %+v", got)
	}
	r.no(wirepb.Code_NOT_FOUND, "corp", "GetUserPolicy", "UserName", "u", "PolicyName", "none")
	r.no(wirepb.Code_INVALID, "corp", "PutUserPolicy", "UserName", "u", "PolicyName", "own")
	r.do("corp", "DeleteUserPermissionsBoundary", "UserName", "u")

	role := r.do("corp", "CreateRole", "RoleName", "r", "AssumeRolePolicyDocument", everything, "MaxSessionDuration", "7200").Items[0]
	if role.Arn != "arn:aws:iam::corp:role/r" || role.Text != everything || role.Number != 7200 {
		t.Fatalf("role %+v", role)
	}
	r.do("corp", "UpdateAssumeRolePolicy", "RoleName", "r", "PolicyDocument", "{}")
	r.do("corp", "TagRole", "RoleName", "r", "Tags.member.1.Key", "a", "Tags.member.1.Value", "b")
	r.do("corp", "UntagRole", "RoleName", "r", "TagKeys.member.1", "a")
	if got := r.do("corp", "ListRoleTags", "RoleName", "r").Items; len(got) != 0 {
		t.Fatalf("tags %+v", got)
	}
	r.no(wirepb.Code_INVALID, "corp", "PutRolePolicy", "PolicyName", "x", "PolicyDocument", everything)

	provider := r.do("corp", "CreateOpenIDConnectProvider", "Url", "http://login.example/", "ClientIDList.member.1", "a", "ThumbprintList.member.1", strings.Repeat("A", 40)).Items[0]
	if provider.Arn != "arn:aws:iam::corp:oidc-provider/login.example" {
		t.Fatalf("provider %+v", provider)
	}
	r.no(wirepb.Code_NOT_FOUND, "other", "DeleteOpenIDConnectProvider", "OpenIDConnectProviderArn", provider.Arn)
	r.do("corp", "AddClientIDToOpenIDConnectProvider", "OpenIDConnectProviderArn", provider.Arn, "ClientID", "b")
	if got := r.do("corp", "GetOpenIDConnectProvider", "OpenIDConnectProviderArn", provider.Arn).Items[0]; !slices.Equal(got.List, []string{"a", "b"}) {
		t.Fatalf("provider %+v", got)
	}
	r.do("corp", "DeleteOpenIDConnectProvider", "OpenIDConnectProviderArn", provider.Arn)
	for _, a := range Actions() { // none panics, whatever it is given or not
		r.call("corp", a)
		r.call("", a, "UserName", "corp", "GroupName", "x", "PolicyArn", "x", "OpenIDConnectProviderArn", "arn:aws:iam:::oidc-provider/")
		r.call("corp/u", a, "UserName", "u", "PolicyArn", p.Arn)
	}
	if got := r.do("corp", "GetUser", "UserName", "u"); got.Items[0].Name != "u" {
		t.Fatal("a call for another account changed this one")
	}
}
