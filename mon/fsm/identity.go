package fsm

import (
	"encoding/json"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// Limits of identities. Those of documents are such that what the monitors answer
// about one user, with all that is attached to it, fits a message.
const (
	MaxUsersPerAccount  = 5000
	MaxGroups           = 300 // of an account
	MaxRoles            = 1000
	MaxPolicies         = 1500
	MaxProviders        = 100
	MaxEntities         = 20000 // groups, roles, policies and providers of the cluster
	MaxGroupsPerUser    = 10
	MaxAttached         = 10      // managed policies of one user, group or role
	MaxPolicyBytes      = 6 << 10 // one document
	MaxInlineBytes      = 10 << 10
	MaxPolicyVersions   = 5
	MaxTags             = 50
	MaxServiceKeys      = 64 // of a user
	MaxPathBytes        = 512
	MaxDescriptionBytes = 1000
	MaxClientIDs        = 100
	MaxThumbprints      = 5
	MaxDocumentBytes    = 64 << 20 // all documents of the cluster
	MaxTokenKeys        = 4        // the oldest goes when one more is made
)

// The longest and the shortest time that a role's sessions may be allowed to last.
const (
	MinRoleSeconds     = 3600
	MaxRoleSeconds     = 43200
	DefaultRoleSeconds = 3600
)

// Document is a policy document with the name it has at its holder.
type Document struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// Tag is a label that policies can look at.
type Tag struct {
	Key   string `json:"key"`
	Value string `json:"value,omitempty"`
}

// Entity is what users, groups and roles have in common. An account is the user
// who owns it; what belongs to an account has its name.
type Entity struct {
	Account  string     `json:"account,omitempty"` // "": a user who is an account, or a role of the cluster's own
	ID       string     `json:"id,omitempty"`      // never used again, unlike names
	Path     string     `json:"path,omitempty"`    // "" is "/"
	Created  int64      `json:"created,omitempty"` // unix nanoseconds
	Inline   []Document `json:"inline,omitempty"`  // by name
	Attached []string   `json:"attached,omitempty"`
	Boundary string     `json:"boundary,omitempty"`
	Tags     []Tag      `json:"tags,omitempty"` // by key
	// Revoked: sessions that began before are over; unix nanoseconds.
	Revoked int64 `json:"revoked,omitempty"`
}

// Group gives its members what is attached to it.
type Group struct {
	Name string `json:"name"`
	Entity
}

// Role can be taken on by whom Trust names.
type Role struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Trust       string `json:"trust"`
	MaxSeconds  int64  `json:"max_seconds"`
	Entity
}

// Policy is a document that can be attached to many.
type Policy struct {
	Account     string          `json:"account"`
	Name        string          `json:"name"`
	ID          string          `json:"id"`
	Path        string          `json:"path,omitempty"`
	Description string          `json:"description,omitempty"`
	Created     int64           `json:"created"`
	Updated     int64           `json:"updated"`
	Versions    []PolicyVersion `json:"versions"`
	Default     int             `json:"default"` // Number of the version in force
	Last        int             `json:"last"`    // the highest number so far
	Tags        []Tag           `json:"tags,omitempty"`
}

// PolicyVersion is one text of a Policy.
type PolicyVersion struct {
	Number  int    `json:"number"`
	Text    string `json:"text"`
	Created int64  `json:"created"`
}

// Provider is somebody whose word on who a user is an account takes.
type Provider struct {
	Account     string   `json:"account"`
	URL         string   `json:"url"` // with its scheme
	ClientIDs   []string `json:"client_ids,omitempty"`
	Thumbprints []string `json:"thumbprints,omitempty"`
	Created     int64    `json:"created"`
	Tags        []Tag    `json:"tags,omitempty"`
}

// TokenKey seals the tokens of temporary credentials.
type TokenKey struct {
	ID      uint32 `json:"id"`
	Key     []byte `json:"key"` // 32 bytes
	Created int64  `json:"created"`
}

// entityKey is under what something of an account is kept: names differ in more than case.
func entityKey(account, name string) string { return account + "/" + strings.ToLower(name) }

// userKey is the same of users. One that is an account has no slash.
func userKey(account, name string) string {
	switch {
	case account != "":
		return entityKey(account, name)
	case strings.Contains(name, "/"):
		return "//" // nobody's: what looks like a user of an account is not one that is an account
	}
	return name
}

// Host is a provider's URL as ARNs have it.
func (p *Provider) Host() string {
	_, host, _ := strings.Cut(p.URL, "://")
	return host
}

// ARN is the name by which a policy is attached.
func (p *Policy) ARN() string {
	return "arn:aws:iam::" + p.Account + ":policy" + slash(p.Path) + p.Name
}

func slash(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

// Text returns the document in force.
func (p *Policy) Text() string {
	for _, v := range p.Versions {
		if v.Number == p.Default {
			return v.Text
		}
	}
	return ""
}

// UserIn returns a user of an account, or nil. Nobody may change it.
func (s *State) UserIn(account, name string) *User { return s.users[userKey(account, name)] }

// Group returns a group of an account, or nil. Nobody may change it.
func (s *State) Group(account, name string) *Group { return s.groups[entityKey(account, name)] }

// Role returns a role of an account, or nil. Nobody may change it.
func (s *State) Role(account, name string) *Role { return s.roles[entityKey(account, name)] }

// Provider returns a provider of an account by its host and path, or nil. Nobody may change it.
func (s *State) Provider(account, host string) *Provider { return s.providers[account+"/"+host] }

// UserByID and RoleByID find by id, which is of one user or role for ever; nil if it is no more.
func (s *State) UserByID(id string) *User {
	if u := s.users[s.ids[id]]; u != nil && u.ID == id && id != "" { // roles and groups may have the same name
		return u
	}
	return nil
}

// RoleByID is like UserByID.
func (s *State) RoleByID(id string) *Role {
	if r := s.roles[s.ids[id]]; r != nil && r.ID == id {
		return r
	}
	return nil
}

// UserByEmail returns the user with that address, in any case, or nil.
func (s *State) UserByEmail(address string) *User {
	if address == "" {
		return nil
	}
	return s.users[s.emails[strings.ToLower(address)]]
}

// PolicyByARN returns a policy of an account or of the built-in ones, or nil.
func (s *State) PolicyByARN(arn string) *Policy {
	if p := builtin[arn]; p != nil {
		return p
	}
	account, name, ok := parsePolicyARN(arn)
	if !ok {
		return nil
	}
	p := s.policies[entityKey(account, name)]
	if p == nil || p.ARN() != arn {
		return nil
	}
	return p
}

func parsePolicyARN(arn string) (account, name string, ok bool) {
	rest, ok := strings.CutPrefix(arn, "arn:aws:iam::")
	if !ok {
		return "", "", false
	}
	account, path, ok := strings.Cut(rest, ":policy/")
	return account, path[strings.LastIndexByte(path, '/')+1:], ok
}

// GroupsOf returns the groups of a user. Nobody may change them.
func (s *State) GroupsOf(u *User) []*Group {
	var out []*Group
	for _, id := range u.Groups {
		if g := s.groups[s.ids[id]]; g != nil && g.ID == id {
			out = append(out, g)
		}
	}
	return out
}

// of returns what an account has, by name in lower case. "*" stands for all accounts.
func of[T any](all map[string]T, account string) []T {
	var keys []string
	for k := range all {
		if account == "*" || strings.HasPrefix(k, account+"/") {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	out := make([]T, len(keys))
	for i, k := range keys {
		out[i] = all[k]
	}
	return out
}

// UsersOf, GroupsIn, RolesIn, PoliciesIn and ProvidersIn return what an account has, by
// name. Nobody may change them.
func (s *State) UsersOf(account string) []*User { return of(s.users, account) }

// GroupsIn is like UsersOf.
func (s *State) GroupsIn(account string) []*Group { return of(s.groups, account) }

// RolesIn is like UsersOf.
func (s *State) RolesIn(account string) []*Role { return of(s.roles, account) }

// PoliciesIn is like UsersOf. The account "aws" has the built-in ones.
func (s *State) PoliciesIn(account string) []*Policy {
	if account == builtinAccount {
		return of(builtin, "*")
	}
	return of(s.policies, account)
}

// ProvidersIn is like UsersOf.
func (s *State) ProvidersIn(account string) []*Provider { return of(s.providers, account) }

// TokenKeys returns the keys of tokens, the newest last. Nobody may change them.
func (s *State) TokenKeys() []TokenKey { return s.tokenKeys }

// Attachments counts to what each policy of an account, or each built-in one, is attached there.
func (s *State) Attachments(account string) map[string]int {
	n := map[string]int{}
	s.entities(account, func(e *Entity) {
		for _, arn := range e.Attached {
			n[arn]++
		}
		if e.Boundary != "" {
			n[e.Boundary]++
		}
	})
	return n
}

// entities calls fn with all entities of an account, that of the account itself included.
func (s *State) entities(account string, fn func(e *Entity)) {
	if u := s.users[account]; u != nil {
		fn(&u.Entity)
	}
	for _, u := range of(s.users, account) {
		fn(&u.Entity)
	}
	for _, g := range of(s.groups, account) {
		fn(&g.Entity)
	}
	for _, r := range of(s.roles, account) {
		fn(&r.Entity)
	}
}

// identity is the part of the state with groups, roles, policies and providers. Maps
// and what they hold are never changed, only replaced.
type identity struct {
	groups    map[string]*Group
	roles     map[string]*Role
	policies  map[string]*Policy
	providers map[string]*Provider
	tokenKeys []TokenKey
	documents int // bytes of all documents
}

// copyOnce clones a map of the txn when it is first changed.
func copyOnce[T any](mine *map[string]T, was map[string]T) map[string]T {
	if *mine == nil {
		*mine = maps.Clone(was)
		if *mine == nil {
			*mine = map[string]T{}
		}
	}
	return *mine
}

// index makes what is found by something else than its name findable.
func (s *State) reindex() {
	s.keys = keyIndex(s.users)
	s.ids = make(map[string]string, len(s.users))
	s.emails = make(map[string]string)
	for k, u := range s.users {
		if u.ID != "" {
			s.ids[u.ID] = k
		}
		if u.Email != "" {
			s.emails[strings.ToLower(u.Email)] = k
		}
	}
	for k, g := range s.groups {
		s.ids[g.ID] = k
	}
	for k, r := range s.roles {
		s.ids[r.ID] = k
	}
	for k, p := range s.policies {
		s.ids[p.ID] = k
	}
}

func (e *Entity) documentBytes() int {
	n := 0
	for _, d := range e.Inline {
		n += len(d.Text)
	}
	return n
}

func (u *User) documentBytes() int {
	n := u.Entity.documentBytes()
	for _, k := range u.Keys {
		n += len(k.Policy)
	}
	return n
}

func (p *Policy) documentBytes() int {
	n := 0
	for _, v := range p.Versions {
		n += len(v.Text)
	}
	return n
}

// countDocuments is what State.documents says, counted anew.
func (s *State) countDocuments() int {
	n := 0
	for _, u := range s.users {
		n += u.documentBytes()
	}
	for _, g := range s.groups {
		n += g.documentBytes()
	}
	for _, r := range s.roles {
		n += r.documentBytes() + len(r.Trust)
	}
	for _, p := range s.policies {
		n += p.documentBytes()
	}
	return n
}

// grow counts a change of the bytes of documents.
func (t *txn) grow(by int) error {
	t.documents += by
	if by > 0 && t.s.documents+t.documents > MaxDocumentBytes {
		return refuse(wirepb.Code_NO_SPACE, "the policy documents of the cluster have %d bytes, the most they can have", MaxDocumentBytes)
	}
	return nil
}

func (t *txn) userMap() map[string]*User         { return copyOnce(&t.users, t.s.users) }
func (t *txn) groupMap() map[string]*Group       { return copyOnce(&t.groups, t.s.groups) }
func (t *txn) roleMap() map[string]*Role         { return copyOnce(&t.roles, t.s.roles) }
func (t *txn) policyMap() map[string]*Policy     { return copyOnce(&t.policies, t.s.policies) }
func (t *txn) providerMap() map[string]*Provider { return copyOnce(&t.providers, t.s.providers) }
func (e Entity) clone() Entity {
	e.Inline, e.Attached, e.Tags = slices.Clone(e.Inline), slices.Clone(e.Attached), slices.Clone(e.Tags)
	return e
}

// user returns a user to be changed.
func (t *txn) user(account, name string) (*User, error) {
	u := t.s.users[userKey(account, name)]
	if u == nil {
		return nil, noUser(account, name)
	}
	c := *u
	c.Entity, c.Keys, c.Groups = u.Entity.clone(), slices.Clone(u.Keys), slices.Clone(u.Groups)
	t.userMap()[userKey(account, name)] = &c
	return &c, nil
}

func noUser(account, name string) error {
	if account == "" {
		return refuse(wirepb.Code_NOT_FOUND, "user %q does not exist; see `cairn user ls`", name)
	}
	return refuse(wirepb.Code_NOT_FOUND, "user %q of account %q does not exist; see `cairn user ls %s`", name, account, account)
}

// group returns a group to be changed.
func (t *txn) group(account, name string) (*Group, error) {
	k := entityKey(account, name)
	g := t.s.groups[k]
	if g == nil {
		return nil, refuse(wirepb.Code_NOT_FOUND, "group %q of account %q does not exist; see `cairn group ls %s`", name, account, account)
	}
	c := *g
	c.Entity = g.Entity.clone()
	t.groupMap()[k] = &c
	return &c, nil
}

// role returns a role to be changed.
func (t *txn) role(account, name string) (*Role, error) {
	k := entityKey(account, name)
	r := t.s.roles[k]
	if r == nil {
		return nil, refuse(wirepb.Code_NOT_FOUND, "role %q of account %q does not exist; see `cairn role ls %s`", name, account, account)
	}
	c := *r
	c.Entity = r.Entity.clone()
	t.roleMap()[k] = &c
	return &c, nil
}

// policy returns a policy to be changed.
func (t *txn) policy(arn string) (*Policy, error) {
	if builtin[arn] != nil {
		return nil, refuse(wirepb.Code_NOT_PERMITTED, "policy %s is built in and cannot be changed", arn)
	}
	p := t.s.PolicyByARN(arn)
	if p == nil {
		return nil, noPolicy(arn)
	}
	c := *p
	c.Versions, c.Tags = slices.Clone(p.Versions), slices.Clone(p.Tags)
	t.policyMap()[entityKey(p.Account, p.Name)] = &c
	return &c, nil
}

func noPolicy(arn string) error {
	return refuse(wirepb.Code_NOT_FOUND, "policy %s does not exist; see `cairn policy ls`", arn)
}

// Kinds of Holder.
const (
	HolderUser  = "user"
	HolderGroup = "group"
	HolderRole  = "role"
)

// Holder names a user, a group or a role.
type Holder struct {
	Kind    string `json:"kind"`
	Account string `json:"account,omitempty"`
	Name    string `json:"name"`
}

func (h Holder) String() string {
	if h.Account == "" {
		return h.Name
	}
	return h.Account + "/" + h.Name
}

// entity returns the entity of a holder, to be changed.
func (t *txn) entity(h Holder) (*Entity, error) {
	switch h.Kind {
	case HolderUser:
		u, err := t.user(h.Account, h.Name)
		if err != nil {
			return nil, err
		}
		return &u.Entity, nil
	case HolderGroup:
		g, err := t.group(h.Account, h.Name)
		if err != nil {
			return nil, err
		}
		return &g.Entity, nil
	case HolderRole:
		r, err := t.role(h.Account, h.Name)
		if err != nil {
			return nil, err
		}
		return &r.Entity, nil
	}
	return nil, invalid("kind of holder %q: want %s, %s or %s", h.Kind, HolderUser, HolderGroup, HolderRole)
}

// checkAccount refuses what would belong to nobody.
func (t *txn) checkAccount(account string) error {
	if t.s.users[account] == nil || strings.Contains(account, "/") {
		return refuse(wirepb.Code_NOT_FOUND, "account %q does not exist; see `cairn account ls`", account)
	}
	return nil
}

// checkEntityName refuses names that AWS's clients could not use.
func checkEntityName(what, name string, most int) error {
	if name == "" || len(name) > most {
		return invalid("%s name %q: want 1 to %d letters, digits or any of _+=,.@-", what, name, most)
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_+=,.@-", c) >= 0
		if !ok {
			return invalid("%s name %q: character %q is not allowed; use letters, digits and any of _+=,.@-", what, name, c)
		}
	}
	return nil
}

// checkID wants an id that nothing else has.
func (t *txn) checkID(id string) error {
	if len(id) < 16 || len(id) > 64 || checkName("id", id) != nil {
		return invalid("id %q: want 16 to 64 letters and digits", id)
	}
	if _, taken := t.s.ids[id]; taken {
		return refuse(wirepb.Code_EXISTS, "id %s is taken", id)
	}
	return nil
}

func checkPath(path string) error {
	if path == "" || path == "/" {
		return nil
	}
	if len(path) > MaxPathBytes || path[0] != '/' || path[len(path)-1] != '/' || strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return invalid("path %q: want at most %d printable characters that begin and end with /", path, MaxPathBytes)
	}
	return nil
}

// checkDocument looks at a document's size and whether it is an object of JSON. What it
// says is judged where it comes in, and again where it is used.
func checkDocument(what, text string) error {
	if len(text) > MaxPolicyBytes {
		return refuse(wirepb.Code_NO_SPACE, "%s has %d bytes, at most %d are allowed", what, len(text), MaxPolicyBytes)
	}
	if !strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "{") || !json.Valid([]byte(text)) {
		return invalid("%s is no object of JSON", what)
	}
	return nil
}

func checkTags(tags []Tag) error {
	if len(tags) > MaxTags {
		return refuse(wirepb.Code_NO_SPACE, "%d tags, at most %d are allowed", len(tags), MaxTags)
	}
	for i, tag := range tags {
		if tag.Key == "" || len(tag.Key) > 128 || len(tag.Value) > 256 || checkText("tag", tag.Key+tag.Value, 1<<10) != nil {
			return invalid("tag %q: want a key of 1 to 128 and a value of at most 256 printable bytes", tag.Key)
		}
		if slices.ContainsFunc(tags[:i], func(o Tag) bool { return strings.EqualFold(o.Key, tag.Key) }) {
			return invalid("tag %q is given twice", tag.Key)
		}
	}
	return nil
}

// setTags returns tags with some set and others removed, by key.
func setTags(have, set []Tag, remove []string) ([]Tag, error) {
	if err := checkTags(set); err != nil {
		return nil, err
	}
	out := slices.DeleteFunc(slices.Clone(have), func(h Tag) bool {
		return slices.ContainsFunc(set, func(s Tag) bool { return strings.EqualFold(s.Key, h.Key) }) || slices.Contains(remove, h.Key)
	})
	out = append(out, set...)
	slices.SortFunc(out, func(a, b Tag) int { return strings.Compare(strings.ToLower(a.Key), strings.ToLower(b.Key)) })
	return out, checkTags(out)
}

// newEntity checks what something new of an account begins with.
func (t *txn) newEntity(e *Entity) error {
	if len(e.Inline) > 0 || len(e.Attached) > 0 || e.Revoked != 0 {
		return invalid("something new has no policies yet")
	}
	if e.Boundary != "" {
		if err := t.usable(Holder{Kind: HolderRole, Account: e.Account}, e.Boundary); err != nil {
			return err
		}
	}
	if err := t.checkID(e.ID); err != nil {
		return err
	}
	if err := checkPath(e.Path); err != nil {
		return err
	}
	tags, err := setTags(nil, e.Tags, nil)
	if err != nil {
		return err
	}
	e.Tags, e.Created = tags, t.at
	return nil
}

// room refuses one more of something, of an account and of the cluster.
func (t *txn) room(what, account string, has, most int) error {
	if has >= most {
		return refuse(wirepb.Code_NO_SPACE, "account %q has %d %s, the most it can have", account, most, what)
	}
	if len(t.s.groups)+len(t.s.roles)+len(t.s.policies)+len(t.s.providers) >= MaxEntities {
		return refuse(wirepb.Code_NO_SPACE, "the cluster has %d groups, roles, policies and providers, the most it can have", MaxEntities)
	}
	return nil
}
