// Package iam answers calls about identities in the words of AWS's IAM, over the
// state of package fsm: users, keys, groups, policies, roles and identity providers
// of an account.
//
// A call is an action and parameters with the names that AWS gives them. Changes
// become commands of package fsm, to which this package adds what must not differ
// between monitors: ids and keys. Who may call is not decided here: whoever asks has
// decided it, a gateway by policies, the REST interface by its token. What a policy
// document says is not looked at either.
package iam

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
)

// Service answers calls.
type Service struct {
	// Read calls fn with the state, which it must neither change nor keep.
	Read func(fn func(*fsm.State))
	// Submit makes a change. A refusal is a result, not an error.
	Submit func(ctx context.Context, b fsm.Body) (fsm.Result, error)
}

// Error is a refusal.
type Error struct {
	Code wirepb.Code
	Text string
}

func (e *Error) Error() string { return e.Text }

func refuse(code wirepb.Code, format string, args ...any) error {
	return &Error{code, fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) error { return refuse(wirepb.Code_INVALID, format, args...) }

// Items of a page.
const (
	pageItems    = 100
	maxPageItems = 1000
	maxParams    = 1000
)

// call is one call at work.
type call struct {
	*Service
	ctx     context.Context
	account string
	p       map[string]string
	items   []*wirepb.IdentityItem
}

// Call answers a call. An error that is an *Error is a refusal.
func (s *Service) Call(ctx context.Context, q *wirepb.IdentityCall) (*wirepb.IdentityReply, error) {
	a, ok := actions[q.GetAction()]
	if !ok {
		return nil, refuse(wirepb.Code_UNSUPPORTED, "there is no action %q", q.GetAction())
	}
	if strings.Contains(q.GetAccount(), "/") {
		return nil, refuse(wirepb.Code_NOT_FOUND, "there is no account %q", q.GetAccount())
	}
	if len(q.Params) > maxParams {
		return nil, invalid("%d parameters, at most %d are allowed", len(q.Params), maxParams)
	}
	c := &call{Service: s, ctx: ctx, account: q.GetAccount(), p: make(map[string]string, len(q.Params))}
	for _, p := range q.Params {
		c.p[p.GetKey()] = p.GetValue()
	}
	if err := a.run(c); err != nil {
		return nil, err
	}
	r := &wirepb.IdentityReply{Items: c.items}
	if a.list {
		return c.page(r, a.lead)
	}
	return r, nil
}

// Answer is Call with refusals as answers.
func (s *Service) Answer(ctx context.Context, q *wirepb.IdentityCall) (*wirepb.IdentityReply, error) {
	r, err := s.Call(ctx, q)
	if no, ok := err.(*Error); ok {
		return &wirepb.IdentityReply{Code: no.Code, Text: no.Text}, nil
	}
	return r, err
}

// sortKey is what items of a list are in order of.
func sortKey(i *wirepb.IdentityItem) string {
	if i.GetKind() == "version" {
		return fmt.Sprintf("%010d", 1<<30-i.GetNumber()) // the newest first
	}
	return strings.ToLower(i.GetName()) + "\x00" + i.GetArn() + "\x00" + i.GetId()
}

// page keeps of a sorted list what MaxItems and Marker ask for. The first lead items are on every page.
func (c *call) page(r *wirepb.IdentityReply, lead int) (*wirepb.IdentityReply, error) {
	most := pageItems
	if v := c.p["MaxItems"]; v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > maxPageItems {
			return nil, invalid("MaxItems %q: want 1 to %d", v, maxPageItems)
		}
		most = n
	}
	head, items := r.Items[:lead:lead], r.Items[lead:]
	sort.SliceStable(items, func(i, j int) bool { return sortKey(items[i]) < sortKey(items[j]) })
	if marker := c.p["Marker"]; marker != "" {
		after, err := strconv.Unquote(`"` + marker + `"`)
		if err != nil {
			return nil, invalid("the Marker is not one of ours")
		}
		items = items[sort.Search(len(items), func(i int) bool { return sortKey(items[i]) > after }):]
	}
	if len(items) > most {
		items = items[:most]
		r.Truncated = true
		q := strconv.QuoteToASCII(sortKey(items[most-1]))
		r.Marker = q[1 : len(q)-1]
	}
	r.Items = append(head, items...)
	return r, nil
}

// need returns a parameter that must be there.
func (c *call) need(name string) (string, error) {
	if v := c.p[name]; v != "" {
		return v, nil
	}
	return "", invalid("parameter %s is missing", name)
}

// opt returns a parameter, nil if it is not given.
func (c *call) opt(name string) *string {
	if v, ok := c.p[name]; ok {
		return &v
	}
	return nil
}

func (c *call) flag(name string) *bool {
	v, ok := c.p[name]
	if !ok {
		return nil
	}
	b := v == "true"
	return &b
}

func (c *call) number(name string) (*int64, error) {
	v, ok := c.p[name]
	if !ok {
		return nil, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return nil, invalid("%s %q is not a number", name, v)
	}
	return &n, nil
}

// list returns the members of a list parameter, in order.
func (c *call) list(name string) []string {
	var out []string
	for i := 1; ; i++ {
		v, ok := c.p[fmt.Sprintf("%s.member.%d", name, i)]
		if !ok {
			return out
		}
		out = append(out, v)
	}
}

func (c *call) tags() []fsm.Tag {
	var out []fsm.Tag
	for i := 1; ; i++ {
		k, ok := c.p[fmt.Sprintf("Tags.member.%d.Key", i)]
		if !ok {
			return out
		}
		out = append(out, fsm.Tag{Key: k, Value: c.p[fmt.Sprintf("Tags.member.%d.Value", i)]})
	}
}

// path returns a path with its default, and refuses what is none.
func (c *call) path() string {
	if v := c.p["Path"]; v != "/" {
		return v
	}
	return ""
}

func (c *call) submit(b fsm.Body) error {
	r, err := c.Submit(c.ctx, b)
	if r.Code != wirepb.Code_OK && r.Text != "" {
		return refuse(r.Code, "%s", r.Text)
	}
	return err
}

// show adds what fn makes of the state to the answer; nothing is NOT_FOUND.
func (c *call) show(what string, fn func(s *fsm.State) *wirepb.IdentityItem) error {
	var item *wirepb.IdentityItem
	c.Read(func(s *fsm.State) { item = fn(s) })
	if item == nil {
		return refuse(wirepb.Code_NOT_FOUND, "%s does not exist", what)
	}
	c.items = append(c.items, item)
	return nil
}

// Lengths of keys, as S3 clients expect them.
const (
	accessKeyLen = 20
	secretKeyLen = 40
)

const (
	upperDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"                                 // 32: five random bits each
	mixedDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-" // 64: six
)

// NewKey makes an access key and its secret.
func NewKey() fsm.AccessKey {
	return fsm.AccessKey{AccessKey: randomText(accessKeyLen, upperDigits), SecretKey: randomText(secretKeyLen, mixedDigits)}
}

// NewID makes an id that begins with a kind, such as AIDA.
func NewID(kind string) string { return kind + randomText(17, upperDigits) }

// randomText returns n characters of an alphabet whose size divides 256, so that
// each is equally likely.
func randomText(n int, alphabet string) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	var s strings.Builder
	for _, v := range b {
		s.WriteByte(alphabet[int(v)%len(alphabet)])
	}
	return s.String()
}

func wireTags(tags []fsm.Tag) []*wirepb.IdentityTag {
	var out []*wirepb.IdentityTag
	for _, t := range tags {
		out = append(out, &wirepb.IdentityTag{Key: t.Key, Value: t.Value})
	}
	return out
}

func slash(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

// ARN names something of an account.
func ARN(account, kind, path, name string) string {
	return "arn:aws:iam::" + account + ":" + kind + slash(path) + name
}

// entity turns what users, groups and roles have in common into an item.
func entity(kind, name string, e *fsm.Entity) *wirepb.IdentityItem {
	return &wirepb.IdentityItem{
		Kind: kind, Account: e.Account, Name: name, Id: e.ID, Path: slash(e.Path), Arn: ARN(e.Account, kind, e.Path, name), Created: e.Created,
		Boundary: e.Boundary, Revoked: e.Revoked, Tags: wireTags(e.Tags),
	}
}

func userItem(u *fsm.User) *wirepb.IdentityItem {
	i := entity("user", u.Name, &u.Entity)
	if u.Account == "" {
		i.Kind, i.Account, i.Arn = "account", u.Name, "arn:aws:iam::"+u.Name+":root"
		if i.Id == "" {
			i.Id = u.Name
		}
	}
	i.About, i.Email, i.Off, i.Admin = u.DisplayName, u.Email, u.Suspended, u.Admin
	return i
}

func groupItem(g *fsm.Group) *wirepb.IdentityItem { return entity("group", g.Name, &g.Entity) }

func roleItem(r *fsm.Role) *wirepb.IdentityItem {
	i := entity("role", r.Name, &r.Entity)
	i.About, i.Text, i.Number = r.Description, r.Trust, r.MaxSeconds
	return i
}

func policyItem(p *fsm.Policy, attached int) *wirepb.IdentityItem {
	return &wirepb.IdentityItem{
		Kind: "policy", Account: p.Account, Name: p.Name, Id: p.ID, Path: slash(p.Path), Arn: p.ARN(), Created: p.Created, Updated: p.Updated,
		About: p.Description, Version: fmt.Sprint("v", p.Default), Number: int64(attached), Tags: wireTags(p.Tags), Text: p.Text(),
	}
}

func keyItem(u *fsm.User, k *fsm.AccessKey) *wirepb.IdentityItem {
	return &wirepb.IdentityItem{
		Kind: "key", Account: u.Account, Path: u.Name, Name: k.AccessKey, Created: k.Created, Off: k.Inactive, Service: k.Service, Text: k.Policy, Expires: k.Expires,
	}
}

// action is one thing that can be asked for.
type action struct {
	run  func(c *call) error
	list bool // the answer comes in pages,
	lead int  // with so many items before the list
}

// Actions returns the names of all actions, in order.
func Actions() []string { return slices.Sorted(maps.Keys(actions)) }

var actions = allActions()
