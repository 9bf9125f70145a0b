package fsm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// PolicyCreate makes a policy of an account, with one version.
type PolicyCreate struct {
	Policy Policy `json:"policy"`
	Text   string `json:"text"`
}

// PolicyVersionSet adds a version to a policy, removes one, or puts one in force.
type PolicyVersionSet struct {
	ARN     string `json:"arn"`
	Text    string `json:"text,omitempty"` // of a new version
	Number  int    `json:"number,omitempty"`
	Remove  bool   `json:"remove,omitempty"`
	Default bool   `json:"default,omitempty"`
	// Oldest: if there are as many versions as there can be, the oldest that is not in force goes.
	Oldest bool `json:"oldest,omitempty"`
}

// PolicyRemove removes a policy that is attached nowhere. With Bare it must have one version.
type PolicyRemove struct {
	ARN  string `json:"arn"`
	Bare bool   `json:"bare,omitempty"`
}

// PolicyAttach attaches a policy, or takes it off.
type PolicyAttach struct {
	Holder Holder `json:"holder"`
	ARN    string `json:"arn"`
	Detach bool   `json:"detach,omitempty"`
}

// PolicyInline gives a holder a policy of its own; without text it is removed.
type PolicyInline struct {
	Holder Holder `json:"holder"`
	Name   string `json:"name"`
	Text   string `json:"text,omitempty"`
}

// BoundarySet sets the policy beyond which a user or role may do nothing; without ARN
// there is none any more.
type BoundarySet struct {
	Holder Holder `json:"holder"`
	ARN    string `json:"arn,omitempty"`
}

// TagsSet sets and removes tags of a user or role, of a policy or provider by their ARN.
type TagsSet struct {
	Holder Holder   `json:"holder,omitzero"`
	ARN    string   `json:"arn,omitempty"`
	Set    []Tag    `json:"set,omitempty"`
	Remove []string `json:"remove,omitempty"`
}

// SessionsRevoke ends the sessions of a user or role that began before.
type SessionsRevoke struct {
	Holder Holder `json:"holder"`
	Before int64  `json:"before"` // unix nanoseconds
}

// ProviderCreate makes an identity provider of an account.
type ProviderCreate struct {
	Provider Provider `json:"provider"`
}

// ProviderSet changes a provider.
type ProviderSet struct {
	Account        string   `json:"account"`
	Host           string   `json:"host"`
	AddClientID    string   `json:"add_client_id,omitempty"`
	RemoveClientID string   `json:"remove_client_id,omitempty"`
	Thumbprints    []string `json:"thumbprints,omitempty"`
}

// ProviderRemove removes a provider.
type ProviderRemove struct {
	Account string `json:"account"`
	Host    string `json:"host"`
}

// TokenKeyAdd adds a key for tokens. After is the id of the newest that the proposer knew:
// of several who propose one at a time, one succeeds.
type TokenKeyAdd struct {
	Key   TokenKey `json:"key"`
	After uint32   `json:"after,omitempty"`
}

func (*PolicyCreate) kind() string     { return "policy-create" }
func (*PolicyVersionSet) kind() string { return "policy-version" }
func (*PolicyRemove) kind() string     { return "policy-remove" }
func (*PolicyAttach) kind() string     { return "policy-attach" }
func (*PolicyInline) kind() string     { return "policy-inline" }
func (*BoundarySet) kind() string      { return "boundary-set" }
func (*TagsSet) kind() string          { return "tags-set" }
func (*SessionsRevoke) kind() string   { return "sessions-revoke" }
func (*ProviderCreate) kind() string   { return "provider-create" }
func (*ProviderSet) kind() string      { return "provider-set" }
func (*ProviderRemove) kind() string   { return "provider-remove" }
func (*TokenKeyAdd) kind() string      { return "token-key-add" }

func (c *PolicyCreate) describe() string {
	return "policy create " + path(c.Policy.Account, c.Policy.Name)
}
func (c *PolicyVersionSet) describe() string { return "policy set " + c.ARN }
func (c *PolicyRemove) describe() string     { return "policy rm " + c.ARN }
func (c *PolicyAttach) describe() string {
	verb := "attach"
	if c.Detach {
		verb = "detach"
	}
	return fmt.Sprintf("%s policy %s %v %s", c.Holder.Kind, verb, c.Holder, c.ARN)
}
func (c *PolicyInline) describe() string {
	verb := "put"
	if c.Text == "" {
		verb = "rm"
	}
	return fmt.Sprintf("%s policy %s %v %s", c.Holder.Kind, verb, c.Holder, c.Name)
}
func (c *BoundarySet) describe() string {
	return fmt.Sprintf("%s boundary %v %s", c.Holder.Kind, c.Holder, c.ARN)
}
func (c *TagsSet) describe() string {
	return fmt.Sprintf("tag %s %v%s", c.Holder.Kind, c.Holder, c.ARN)
}
func (c *SessionsRevoke) describe() string {
	return fmt.Sprintf("%s revoke %v", c.Holder.Kind, c.Holder)
}
func (c *ProviderCreate) describe() string {
	return "provider create " + c.Provider.Account + " " + c.Provider.URL
}
func (c *ProviderSet) describe() string    { return "provider set " + c.Account + " " + c.Host }
func (c *ProviderRemove) describe() string { return "provider rm " + c.Account + " " + c.Host }

func (c *PolicyCreate) apply(t *txn) (Result, error) {
	p := c.Policy
	if err := t.checkAccount(p.Account); err != nil {
		return Result{}, err
	}
	if err := checkEntityName("policy", p.Name, maxPolicyName); err != nil {
		return Result{}, err
	}
	if t.s.policies[entityKey(p.Account, p.Name)] != nil {
		return Result{}, refuse(wirepb.Code_EXISTS, "policy %q of account %q exists already", p.Name, p.Account)
	}
	if err := t.room("policies", p.Account, len(t.s.PoliciesIn(p.Account)), MaxPolicies); err != nil {
		return Result{}, err
	}
	if err := t.checkID(p.ID); err != nil {
		return Result{}, err
	}
	if err := checkPath(p.Path); err != nil {
		return Result{}, err
	}
	if err := checkText("description of policy "+p.Name, p.Description, MaxDescriptionBytes); err != nil {
		return Result{}, err
	}
	if err := checkDocument("policy "+p.Name, c.Text); err != nil {
		return Result{}, err
	}
	var err error
	if p.Tags, err = setTags(nil, p.Tags, nil); err != nil {
		return Result{}, err
	}
	if err := t.grow(len(c.Text)); err != nil {
		return Result{}, err
	}
	p.Created, p.Updated = t.at, t.at
	p.Versions, p.Default, p.Last = []PolicyVersion{{Number: 1, Text: c.Text, Created: t.at}}, 1, 1
	t.policyMap()[entityKey(p.Account, p.Name)] = &p
	return Result{}, nil
}

func (c *PolicyVersionSet) apply(t *txn) (Result, error) {
	p, err := t.policy(c.ARN)
	if err != nil {
		return Result{}, err
	}
	p.Updated = max(t.at, p.Updated)
	if c.Text != "" {
		return Result{}, c.add(t, p)
	}
	i := slices.IndexFunc(p.Versions, func(v PolicyVersion) bool { return v.Number == c.Number })
	switch {
	case i < 0:
		return Result{}, refuse(wirepb.Code_NOT_FOUND, "policy %s has no version v%d", c.ARN, c.Number)
	case c.Remove && c.Number == p.Default:
		return Result{}, refuse(wirepb.Code_CONFLICT, "version v%d of policy %s is in force; put another one in force first", c.Number, c.ARN)
	case c.Remove:
		t.documents -= len(p.Versions[i].Text)
		p.Versions = slices.Delete(p.Versions, i, i+1)
	default:
		p.Default = c.Number
	}
	return Result{}, nil
}

func (c *PolicyVersionSet) add(t *txn, p *Policy) error {
	if err := checkDocument("policy "+p.Name, c.Text); err != nil {
		return err
	}
	if len(p.Versions) >= MaxPolicyVersions {
		if !c.Oldest {
			return refuse(wirepb.Code_NO_SPACE, "policy %s has %d versions, the most it can have; remove one first", c.ARN, MaxPolicyVersions)
		}
		i := slices.IndexFunc(p.Versions, func(v PolicyVersion) bool { return v.Number != p.Default })
		t.documents -= len(p.Versions[i].Text)
		p.Versions = slices.Delete(p.Versions, i, i+1)
	}
	if err := t.grow(len(c.Text)); err != nil {
		return err
	}
	p.Last++
	p.Versions = append(p.Versions, PolicyVersion{Number: p.Last, Text: c.Text, Created: t.at})
	if c.Default {
		p.Default = p.Last
	}
	return nil
}

func (c *PolicyRemove) apply(t *txn) (Result, error) {
	p, err := t.policy(c.ARN)
	if err != nil {
		return Result{}, err
	}
	if n := t.s.Attachments(p.Account)[c.ARN]; n > 0 {
		return Result{}, refuse(wirepb.Code_CONFLICT, "policy %s is attached to %d users, groups or roles; detach it first", c.ARN, n)
	}
	if c.Bare && len(p.Versions) > 1 {
		return Result{}, refuse(wirepb.Code_CONFLICT, "policy %s has %d versions; remove those that are not in force first", c.ARN, len(p.Versions))
	}
	t.documents -= p.documentBytes()
	delete(t.policies, entityKey(p.Account, p.Name))
	return Result{}, nil
}

// usable refuses policies of other accounts.
func (t *txn) usable(h Holder, arn string) error {
	p := t.s.PolicyByARN(arn)
	account := h.Account
	if h.Kind == HolderUser && account == "" {
		account = h.Name
	}
	if p == nil || p.Account != account && p.Account != builtinAccount {
		return noPolicy(arn)
	}
	return nil
}

func (c *PolicyAttach) apply(t *txn) (Result, error) {
	e, err := t.entity(c.Holder)
	if err != nil {
		return Result{}, err
	}
	i := slices.Index(e.Attached, c.ARN)
	if c.Detach {
		if i < 0 {
			return Result{}, refuse(wirepb.Code_NOT_FOUND, "policy %s is not attached to %s %v", c.ARN, c.Holder.Kind, c.Holder)
		}
		e.Attached = slices.Delete(e.Attached, i, i+1)
		return Result{}, nil
	}
	if err := t.usable(c.Holder, c.ARN); err != nil {
		return Result{}, err
	}
	if i >= 0 {
		return Result{}, nil
	}
	if len(e.Attached) >= MaxAttached {
		return Result{}, refuse(wirepb.Code_NO_SPACE, "%s %v has %d attached policies, the most it can have", c.Holder.Kind, c.Holder, MaxAttached)
	}
	e.Attached = append(e.Attached, c.ARN)
	return Result{}, nil
}

func (c *PolicyInline) apply(t *txn) (Result, error) {
	e, err := t.entity(c.Holder)
	if err != nil {
		return Result{}, err
	}
	i, found := slices.BinarySearchFunc(e.Inline, c.Name, func(d Document, name string) int { return strings.Compare(d.Name, name) })
	if c.Text == "" {
		if !found {
			return Result{}, refuse(wirepb.Code_NOT_FOUND, "%s %v has no policy %q of its own", c.Holder.Kind, c.Holder, c.Name)
		}
		t.documents -= len(e.Inline[i].Text)
		e.Inline = slices.Delete(e.Inline, i, i+1)
		return Result{}, nil
	}
	if err := checkEntityName("policy", c.Name, maxPolicyName); err != nil {
		return Result{}, err
	}
	if err := checkDocument("policy "+c.Name, c.Text); err != nil {
		return Result{}, err
	}
	had := 0
	if found {
		had = len(e.Inline[i].Text)
		e.Inline[i].Text = c.Text
	} else {
		e.Inline = slices.Insert(e.Inline, i, Document{Name: c.Name, Text: c.Text})
	}
	if e.documentBytes() > MaxInlineBytes {
		return Result{}, refuse(wirepb.Code_NO_SPACE, "the policies of %s %v's own would have %d bytes, at most %d are allowed; make some that can be attached", c.Holder.Kind, c.Holder, e.documentBytes(), MaxInlineBytes)
	}
	return Result{}, t.grow(len(c.Text) - had)
}

func (c *BoundarySet) apply(t *txn) (Result, error) {
	if c.Holder.Kind == HolderGroup {
		return Result{}, invalid("groups have no boundaries")
	}
	e, err := t.entity(c.Holder)
	if err != nil {
		return Result{}, err
	}
	if c.ARN != "" {
		if err := t.usable(c.Holder, c.ARN); err != nil {
			return Result{}, err
		}
	}
	e.Boundary = c.ARN
	return Result{}, nil
}

func (c *TagsSet) apply(t *txn) (Result, error) {
	tags, err := c.tags(t)
	if err != nil {
		return Result{}, err
	}
	*tags, err = setTags(*tags, c.Set, c.Remove)
	return Result{}, err
}

// tags returns where the tags are kept.
func (c *TagsSet) tags(t *txn) (*[]Tag, error) {
	if c.ARN == "" {
		e, err := t.entity(c.Holder)
		if err != nil {
			return nil, err
		}
		return &e.Tags, nil
	}
	if account, host, ok := parseProviderARN(c.ARN); ok {
		p, err := t.provider(account, host)
		if err != nil {
			return nil, err
		}
		return &p.Tags, nil
	}
	p, err := t.policy(c.ARN)
	if err != nil {
		return nil, err
	}
	return &p.Tags, nil
}

func (c *SessionsRevoke) apply(t *txn) (Result, error) {
	if c.Holder.Kind == HolderGroup {
		return Result{}, invalid("groups have no sessions")
	}
	e, err := t.entity(c.Holder)
	if err != nil {
		return Result{}, err
	}
	e.Revoked = max(e.Revoked, c.Before)
	return Result{}, nil
}

// ARN is what trust policies call the provider.
func (p *Provider) ARN() string { return "arn:aws:iam::" + p.Account + ":oidc-provider/" + p.Host() }

func parseProviderARN(arn string) (account, host string, ok bool) {
	rest, ok := strings.CutPrefix(arn, "arn:aws:iam::")
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, ":oidc-provider/")
}

func checkClientID(id string) error {
	if id == "" || checkText("client id", id, MaxTextBytes) != nil {
		return invalid("client id %q: want 1 to %d printable bytes", id, MaxTextBytes)
	}
	return nil
}

func checkThumbprints(list []string) error {
	if len(list) > MaxThumbprints {
		return refuse(wirepb.Code_NO_SPACE, "%d thumbprints, at most %d are allowed", len(list), MaxThumbprints)
	}
	for _, p := range list {
		if len(p) != 40 && len(p) != 64 || checkName("thumbprint", p) != nil {
			return invalid("thumbprint %q: want 40 hexadecimal digits", p)
		}
	}
	return nil
}

func (c *ProviderCreate) apply(t *txn) (Result, error) {
	p := c.Provider
	if err := t.checkAccount(p.Account); err != nil {
		return Result{}, err
	}
	scheme, host, _ := strings.Cut(p.URL, "://")
	if scheme != "http" && scheme != "https" || host == "" || len(p.URL) > MaxAddrBytes || strings.ContainsAny(host, "?# \"\\") || checkText("URL", p.URL, MaxAddrBytes) != nil {
		return Result{}, invalid("URL %q of an identity provider: want https://HOST/PATH of at most %d bytes", p.URL, MaxAddrBytes)
	}
	p.URL = strings.TrimSuffix(p.URL, "/")
	if t.s.Provider(p.Account, p.Host()) != nil {
		return Result{}, refuse(wirepb.Code_EXISTS, "identity provider %s of account %q exists already", p.URL, p.Account)
	}
	if err := t.room("identity providers", p.Account, len(t.s.ProvidersIn(p.Account)), MaxProviders); err != nil {
		return Result{}, err
	}
	p.ClientIDs, p.Thumbprints = slices.Clone(p.ClientIDs), slices.Clone(p.Thumbprints)
	if len(p.ClientIDs) > MaxClientIDs {
		return Result{}, refuse(wirepb.Code_NO_SPACE, "%d client ids, at most %d are allowed", len(p.ClientIDs), MaxClientIDs)
	}
	for i, id := range p.ClientIDs {
		if err := checkClientID(id); err != nil {
			return Result{}, err
		}
		if slices.Contains(p.ClientIDs[:i], id) {
			return Result{}, invalid("client id %q is given twice", id)
		}
	}
	if err := checkThumbprints(p.Thumbprints); err != nil {
		return Result{}, err
	}
	var err error
	if p.Tags, err = setTags(nil, p.Tags, nil); err != nil {
		return Result{}, err
	}
	p.Created = t.at
	t.providerMap()[p.Account+"/"+p.Host()] = &p
	return Result{}, nil
}

// provider returns a provider to be changed.
func (t *txn) provider(account, host string) (*Provider, error) {
	p := t.s.Provider(account, host)
	if p == nil {
		return nil, refuse(wirepb.Code_NOT_FOUND, "identity provider %q of account %q does not exist; see `cairn provider ls %s`", host, account, account)
	}
	c := *p
	c.ClientIDs, c.Thumbprints, c.Tags = slices.Clone(p.ClientIDs), slices.Clone(p.Thumbprints), slices.Clone(p.Tags)
	t.providerMap()[account+"/"+host] = &c
	return &c, nil
}

func (c *ProviderSet) apply(t *txn) (Result, error) {
	p, err := t.provider(c.Account, c.Host)
	if err != nil {
		return Result{}, err
	}
	if id := c.AddClientID; id != "" && !slices.Contains(p.ClientIDs, id) {
		if err := checkClientID(id); err != nil {
			return Result{}, err
		}
		if len(p.ClientIDs) >= MaxClientIDs {
			return Result{}, refuse(wirepb.Code_NO_SPACE, "identity provider %s has %d client ids, the most it can have", p.URL, MaxClientIDs)
		}
		p.ClientIDs = append(p.ClientIDs, id)
	}
	if c.RemoveClientID != "" {
		p.ClientIDs = slices.DeleteFunc(p.ClientIDs, func(id string) bool { return id == c.RemoveClientID })
	}
	if len(c.Thumbprints) > 0 {
		if err := checkThumbprints(c.Thumbprints); err != nil {
			return Result{}, err
		}
		p.Thumbprints = slices.Clone(c.Thumbprints)
	}
	return Result{}, nil
}

func (c *ProviderRemove) apply(t *txn) (Result, error) {
	if _, err := t.provider(c.Account, c.Host); err != nil {
		return Result{}, err
	}
	delete(t.providers, c.Account+"/"+c.Host)
	return Result{}, nil
}

func (c *TokenKeyAdd) apply(t *txn) (Result, error) {
	keys := t.s.tokenKeys
	newest := uint32(0)
	if len(keys) > 0 {
		newest = keys[len(keys)-1].ID
	}
	if c.After != newest {
		return Result{}, refuse(wirepb.Code_CONFLICT, "the newest key of tokens is %d, not %d", newest, c.After)
	}
	if len(c.Key.Key) != 32 || c.Key.ID != newest+1 {
		return Result{}, invalid("key %d of tokens: want number %d and 32 bytes", c.Key.ID, newest+1)
	}
	k := c.Key
	k.Key, k.Created = slices.Clone(k.Key), t.at
	t.tokenKeys = append(slices.Clone(keys[max(0, len(keys)-MaxTokenKeys+1):]), k)
	return Result{}, nil
}
