package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Kind says what a document is attached to.
type Kind uint8

const (
	// OfBucket is a policy attached to a bucket: it names principals, and resources in that bucket.
	OfBucket Kind = iota
	// OfIdentity is a policy attached to a user, a group, a role or a session: it names no principals.
	OfIdentity
	// OfRole says who may take on a role: it names principals and no resources.
	OfRole
)

// MaxBucketBytes limits a bucket's policy.
const MaxBucketBytes = 20 << 10

// maxIdentityBytes limits the others; AWS's own limits are lower.
const maxIdentityBytes = 20 << 10

// Options configures Parse.
type Options struct {
	Kind   Kind
	Bucket string // whose policy it is, for OfBucket
	// Exists reports whether there is a user of a name; policies that name others as
	// principals are refused. Default: all names are taken.
	Exists func(user string) bool
	// UserIn does so for users of accounts that are not their own. Default: Exists.
	UserIn func(account, user string) bool
}

// MalformedError says what is wrong with a document, in S3's words.
type MalformedError struct{ Message string }

func (e *MalformedError) Error() string { return "malformed policy: " + e.Message }

func malformed(format string, args ...any) error {
	return &MalformedError{Message: fmt.Sprintf(format, args...)}
}

// Policy is a document that has been understood. It does not change and may be
// used by any number of goroutines.
type Policy struct {
	ID         string
	statements []statement
}

type statement struct {
	sid          string
	deny         bool
	principals   []entry
	notPrincipal bool
	actions      []pattern // in lower case
	notAction    bool
	resources    []pattern
	notResource  bool
	conditions   []condition
}

type entryKind uint8

const (
	everyone entryKind = iota
	awsName            // account, canonical id or ARN
	accountRoot
	canonicalUser
	service
	federated
)

// entry is a principal that a statement names.
type entry struct {
	kind entryKind
	name string
}

// Parse reads a document. An error is a *MalformedError.
func Parse(doc []byte, o Options) (*Policy, error) {
	limit := maxIdentityBytes
	if o.Kind == OfBucket {
		limit = MaxBucketBytes
	}
	if len(doc) > limit {
		return nil, malformed("Policy exceeds the maximum allowed document size.")
	}
	trimmed := strings.TrimLeft(string(doc), " \t\r\n")
	if trimmed == "" || trimmed[0] != '{' {
		return nil, malformed("Policies must be valid JSON and the first byte must be '{'")
	}
	root, err := parseJSON(doc)
	if err != nil {
		return nil, malformed("This policy contains invalid Json")
	}
	p := &Policy{}
	var list *node
	vars := false
	for i, key := range root.keys {
		v := &root.values[i]
		switch key {
		case "Version":
			if v.text != "2012-10-17" && v.text != "2008-10-17" || v.kind != 's' {
				return nil, malformed("The policy must contain a valid version string")
			}
			vars = v.text == "2012-10-17"
		case "Id":
			if v.kind != 's' {
				return nil, malformed("This policy contains invalid Json")
			}
			p.ID = v.text
		case "Statement":
			list = v
		default:
			return nil, malformed("Unknown field %s", key)
		}
	}
	if list == nil {
		return nil, malformed("Missing required field Statement")
	}
	statements := list.values
	if list.kind == '{' {
		statements = []node{*list}
	}
	if len(statements) == 0 {
		return nil, malformed("Could not parse the policy: Statement is empty!")
	}
	sids := map[string]bool{}
	for i := range statements {
		s, err := parseStatement(&statements[i], o, vars)
		if err != nil {
			return nil, err
		}
		if s.sid != "" && sids[s.sid] {
			return nil, malformed("Statement IDs (SID) in a single policy must be unique.")
		}
		sids[s.sid] = true
		p.statements = append(p.statements, *s)
	}
	return p, nil
}

func parseStatement(n *node, o Options, vars bool) (*statement, error) {
	if n.kind != '{' {
		return nil, malformed("This policy contains invalid Json")
	}
	s := &statement{}
	has := map[string]bool{}
	var conditions *node
	for i, key := range n.keys {
		v := &n.values[i]
		has[key] = true
		var err error
		switch key {
		case "Sid":
			if v.kind != 's' {
				return nil, malformed("This policy contains invalid Json")
			}
			s.sid = v.text
		case "Effect":
			if v.kind != 's' || v.text != "Allow" && v.text != "Deny" {
				return nil, malformed("Invalid effect: %s", v.text)
			}
			s.deny = v.text == "Deny"
		case "Principal", "NotPrincipal":
			s.notPrincipal = key == "NotPrincipal"
			s.principals, err = parsePrincipals(v, o)
		case "Action", "NotAction":
			s.notAction = key == "NotAction"
			s.actions, err = parseActions(v, o)
		case "Resource", "NotResource":
			s.notResource = key == "NotResource"
			s.resources, err = parseResources(v, o, vars)
		case "Condition":
			conditions = v
		default:
			return nil, malformed("Unknown field %s", key)
		}
		if err != nil {
			return nil, err
		}
	}
	one := func(a string, required bool) error {
		switch b := "Not" + a; {
		case has[a] && has[b]:
			return malformed("%s and %s cannot be in the same statement", a, b)
		case required && !has[a] && !has[b]:
			return malformed("Missing required field %s", a)
		case !required && (has[a] || has[b]):
			return malformed("Policy document should not specify a %s.", strings.ToLower(a))
		}
		return nil
	}
	if !has["Effect"] {
		return nil, malformed("Missing required field Effect")
	}
	for _, err := range []error{one("Principal", o.Kind != OfIdentity), one("Action", true), one("Resource", o.Kind != OfRole)} {
		if err != nil {
			return nil, err
		}
	}
	if s.notPrincipal && !s.deny {
		return nil, malformed("Allow with NotPrincipal is not allowed.")
	}
	if conditions != nil {
		var err error
		if s.conditions, err = s.parseConditions(conditions, o, vars); err != nil {
			return nil, err
		}
	}
	if o.Kind == OfBucket && !s.notAction && !s.notResource && !s.applies(o.Bucket) {
		return nil, malformed("Action does not apply to any resource(s) in statement")
	}
	return s, nil
}

func parsePrincipals(n *node, o Options) ([]entry, error) {
	bad := malformed("Invalid principal in policy")
	var out []entry
	add := func(kind string, v *node) error {
		names, ok := v.strings()
		if !ok || len(names) == 0 {
			return bad
		}
		for _, name := range names {
			e, ok := parsePrincipal(kind, name, o)
			if !ok {
				return bad
			}
			out = append(out, e)
		}
		return nil
	}
	if n.kind != '{' {
		// One name or a list of names, for "AWS" alone. Here "*" stands for itself only.
		if err := add("AWS", n); err != nil {
			return nil, err
		}
		if len(out) > 1 && slices.Contains(out, entry{kind: everyone}) {
			return nil, bad
		}
		return out, nil
	}
	if len(n.keys) == 0 {
		return nil, bad
	}
	for i, kind := range n.keys {
		if err := add(kind, &n.values[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func parsePrincipal(kind, name string, o Options) (entry, bool) {
	exists := func(user string) bool { return o.Exists == nil || o.Exists(user) }
	if kind == "AWS" && name == "*" {
		return entry{kind: everyone}, true
	}
	if name == "" || strings.ContainsAny(name, "*?") {
		return entry{}, false
	}
	switch kind {
	case "CanonicalUser":
		return entry{canonicalUser, name}, exists(name)
	case "Service":
		return entry{service, name}, strings.Contains(name, ".")
	case "Federated":
		return entry{federated, name}, true
	case "AWS":
	default:
		return entry{}, false
	}
	rest, ok := strings.CutPrefix(name, "arn:")
	if !ok {
		return entry{awsName, name}, isAccount(name) || exists(name)
	}
	parts := strings.SplitN(rest, ":", 5) // partition, service, region, account, resource
	if len(parts) != 5 || parts[1] != "iam" && parts[1] != "sts" || parts[2] != "" {
		return entry{}, false
	}
	typ, path, _ := strings.Cut(parts[4], "/")
	switch {
	case parts[4] == "root":
		return entry{accountRoot, parts[3]}, parts[3] != ""
	case path == "":
		return entry{}, false
	case typ == "user":
		user := path[strings.LastIndexByte(path, '/')+1:]
		if account := parts[3]; account != "" && account != user && o.UserIn != nil {
			return entry{awsName, name}, o.UserIn(account, user)
		}
		return entry{awsName, name}, exists(user)
	case typ == "role" || typ == "assumed-role" || typ == "federated-user":
		return entry{awsName, name}, true
	}
	return entry{}, false
}

func isAccount(s string) bool {
	return len(s) == 12 && strings.Trim(s, "0123456789") == ""
}

func parseActions(n *node, o Options) ([]pattern, error) {
	bad := malformed("Policy has invalid action")
	names, ok := n.strings()
	if !ok || len(names) == 0 {
		return nil, bad
	}
	var out []pattern
	for _, name := range names {
		p, _ := compile(strings.ToLower(name), true, false)
		vendor, action, ok := strings.Cut(name, ":")
		switch {
		case name == "*":
		case !ok || vendor == "" || action == "" || strings.ContainsFunc(action, notInAction) || strings.ContainsFunc(vendor, notInAction) || strings.ContainsAny(vendor, "*?"):
			return nil, bad
		case o.Kind == OfBucket || strings.EqualFold(vendor, "s3"):
			found := false
			for a := range known {
				if found = p.match(a, nil); found {
					break
				}
			}
			if !found {
				return nil, bad
			}
		}
		out = append(out, p)
	}
	return out, nil
}

func notInAction(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '*' && r != '?' && r != '-' && r != '_'
}

func parseResources(n *node, o Options, vars bool) ([]pattern, error) {
	bad := malformed("Policy has invalid resource")
	names, ok := n.strings()
	if !ok || len(names) == 0 {
		return nil, bad
	}
	var out []pattern
	for _, name := range names {
		p, ok := compile(name, true, vars)
		if !ok || name == "" {
			return nil, bad
		}
		if o.Kind == OfBucket || name != "*" {
			parts := p.split(arnParts)
			if len(parts) != arnParts || !parts[0].is("arn") || !parts[1].overlaps("aws", false) {
				return nil, bad
			}
			if o.Kind == OfBucket {
				on := parts[5]
				if !parts[2].is("s3") || !parts[3].overlaps("", true) || !parts[4].overlaps("", true) ||
					!on.overlaps(o.Bucket, true) && !on.overlaps(o.Bucket+"/", false) {
					return nil, bad
				}
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// is reports whether the pattern is this text.
func (p pattern) is(text string) bool {
	return p.fixed() && matchAtoms(p.atoms, text)
}

// applies reports whether each action can be done to some resource of a bucket's statement.
func (s *statement) applies(bucket string) bool {
	var kinds [onObject + 1]bool
	for _, r := range s.resources {
		on := r.split(arnParts)[5]
		kinds[onBucket] = kinds[onBucket] || on.overlaps(bucket, true)
		kinds[onObject] = kinds[onObject] || on.overlaps(bucket+"/", false)
	}
	for _, p := range s.actions {
		ok := false
		for a, on := range known {
			if ok = kinds[on] && p.match(a, nil); ok {
				break
			}
		}
		if !ok {
			return false
		}
	}
	return true
}

func (s *statement) parseConditions(n *node, o Options, vars bool) ([]condition, error) {
	if n.kind != '{' {
		return nil, malformed("This policy contains invalid Json")
	}
	var out []condition
	for i, name := range n.keys {
		op, ok := parseOperator(name)
		if !ok {
			return nil, malformed("Invalid Condition type : %s", name)
		}
		block := &n.values[i]
		if block.kind != '{' {
			return nil, malformed("This policy contains invalid Json")
		}
		for j, key := range block.keys {
			c := op
			c.key = strings.ToLower(key)
			if err := s.checkKey(c.key, o); err != nil {
				return nil, err
			}
			texts, ok := block.values[j].scalars()
			if !ok {
				return nil, malformed("This policy contains invalid Json")
			}
			for _, text := range texts {
				if c.key == "aws:sourceip" {
					if _, ok := parsePrefix(text); !ok {
						return nil, malformed("Invalid IP address in Conditions")
					}
				}
				v, ok := c.parse(text, vars)
				switch {
				case ok:
					c.values = append(c.values, v)
				case c.cmp == ipAddress:
					return nil, malformed("Invalid IP address in Conditions")
				default:
					return nil, malformed("Invalid value in Conditions : %s", text)
				}
			}
			out = append(out, c)
		}
	}
	return out, nil
}

// checkKey refuses keys that nothing could have a value for: a policy that looks
// at one would not do what it says.
func (s *statement) checkKey(key string, o Options) error {
	if o.Kind != OfBucket {
		if vendor, name, ok := strings.Cut(key, ":"); !ok || vendor == "" || name == "" {
			return malformed("Policy has an invalid condition key")
		}
		return nil
	}
	only, ok := keyActions(key)
	if !ok {
		return malformed("Policy has an invalid condition key")
	}
	if only == nil || s.notAction {
		return nil
	}
	for _, a := range s.actions {
		if !a.fixed() {
			continue
		}
		text, _ := a.textOf(nil, MaxBucketBytes)
		if !slices.Contains(only, text) {
			return malformed("Conditions do not apply to combination of actions and resources in statement")
		}
	}
	return nil
}
