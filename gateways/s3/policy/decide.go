package policy

import (
	"net/netip"
	"slices"
	"strings"
)

// Principal is who makes a request.
type Principal struct {
	Anonymous bool
	ID        string   // canonical user id
	Account   string   // the account it belongs to
	ARNs      []string // all ARNs that it goes by
	Service   string   // a service, like logging.s3.amazonaws.com, and nobody else
	Federated string   // the provider who vouches for it
}

// Request is what a policy is asked about.
type Request struct {
	Principal Principal
	Action    string // as s3:GetObject
	Resource  string // ARN
	Keys      Keys
	// Direct: to allow something, a statement must name the principal itself, not the account
	// that it belongs to.
	Direct bool
}

// Decision is what a policy says.
type Decision uint8

// What a policy, or several together, can say of a request.
const (
	Silent Decision = iota // nothing: whoever else does not allow it denies it
	Allow
	Deny // whoever else allows it
)

func (d Decision) String() string {
	return [...]string{"silent", "allow", "deny"}[d]
}

// And is what two policies say together: a denial counts more than a permission.
func (d Decision) And(e Decision) Decision { return max(d, e) }

// Decide says what the policy says of a request. A nil policy is silent.
func (p *Policy) Decide(r *Request) Decision {
	if p == nil {
		return Silent
	}
	d := Silent
	action := strings.ToLower(r.Action)
	for i := range p.statements {
		s := &p.statements[i]
		if d == Allow && !s.deny || !s.matches(r, action) {
			continue
		}
		if s.deny {
			return Deny
		}
		d = Allow
	}
	return d
}

func (s *statement) matches(r *Request, action string) bool {
	if s.principals != nil && s.named(&r.Principal, r.Direct && !s.deny) == s.notPrincipal {
		return false
	}
	keys := r.Keys
	if keys == nil {
		keys = func(string) []string { return nil }
	}
	any := func(list []pattern, text string) bool {
		return slices.ContainsFunc(list, func(p pattern) bool { return p.match(text, keys) })
	}
	if any(s.actions, action) == s.notAction {
		return false
	}
	if s.resources != nil && any(s.resources, r.Resource) == s.notResource {
		return false
	}
	for i := range s.conditions {
		if !s.conditions[i].holds(keys) {
			return false
		}
	}
	return true
}

// named reports whether the list of principals has this one. With direct, its account does not stand for it.
func (s *statement) named(p *Principal, direct bool) bool {
	for _, e := range s.principals {
		var ok bool
		switch e.kind {
		case everyone:
			ok = p.Service == ""
		case awsName:
			ok = !p.Anonymous && (!direct && (e.name == p.ID || e.name == p.Account) || slices.Contains(p.ARNs, e.name))
		case accountRoot:
			ok = !p.Anonymous && !direct && e.name == p.Account
		case canonicalUser:
			ok = !p.Anonymous && !direct && e.name == p.ID
		case service:
			ok = e.name == p.Service
		case federated:
			ok = e.name == p.Federated && p.Federated != ""
		}
		if ok {
			return true
		}
	}
	return false
}

// Uses reports whether a decision may look at a condition key that begins with
// prefix, so that what it costs something to find out is found out only if needed.
func (p *Policy) Uses(prefix string) bool {
	if p == nil {
		return false
	}
	for i := range p.statements {
		s := &p.statements[i]
		for _, c := range s.conditions {
			if strings.HasPrefix(c.key, prefix) {
				return true
			}
			for _, v := range c.values {
				if v.pat.uses(prefix) {
					return true
				}
			}
		}
		if slices.ContainsFunc(s.resources, func(p pattern) bool { return p.uses(prefix) }) {
			return true
		}
	}
	return false
}

func (p pattern) uses(prefix string) bool {
	return p.vars && slices.ContainsFunc(p.atoms, func(a atom) bool {
		return a.kind == variable && strings.HasPrefix(a.text, prefix)
	})
}

// IsPublic reports whether the policy lets in everybody: whether a statement
// allows something to all principals without a condition that confines it to
// fixed accounts, networks, resources or keys.
func (p *Policy) IsPublic() bool {
	if p == nil {
		return false
	}
	return slices.ContainsFunc(p.statements, func(s statement) bool {
		return !s.deny && (s.notPrincipal || slices.Contains(s.principals, entry{kind: everyone})) &&
			!slices.ContainsFunc(s.conditions, confines)
	})
}

// confining are the keys by whose fixed values a policy is not public.
var confining = []string{
	"aws:principalaccount", "aws:principalarn", "aws:principalorgid", "aws:principalorgpaths", "aws:sourceaccount", "aws:sourcearn",
	"aws:sourceip", "aws:sourceorgid", "aws:sourceorgpaths", "aws:sourceowner", "aws:sourcevpc", "aws:sourcevpcarn", "aws:sourcevpce",
	"aws:userid", "aws:username", "s3:dataaccesspointaccount", "s3:dataaccesspointarn", "s3:x-amz-server-side-encryption-aws-kms-key-id",
}

// The widest networks that do not count as everybody.
const (
	widest4 = 8
	widest6 = 32
)

func confines(c condition) bool {
	if c.not || c.ifExists || c.set == forAll || len(c.values) == 0 || !slices.Contains(confining, c.key) {
		return false
	}
	for _, v := range c.values {
		switch c.cmp {
		case stringEquals, stringFold, stringLike, arnLike:
			if !v.pat.fixed() {
				return false
			}
		case ipAddress:
			if v.prefix.Bits() < widest(v.prefix.Addr()) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

func widest(a netip.Addr) int {
	if a.Is4() {
		return widest4
	}
	return widest6
}
