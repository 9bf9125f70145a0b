package iam

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
)

// holders are the words of the actions that exist for users, groups and roles.
var holders = []struct{ word, kind string }{{"User", fsm.HolderUser}, {"Group", fsm.HolderGroup}, {"Role", fsm.HolderRole}}

func policyActions(all map[string]action) {
	for _, h := range holders {
		all["Put"+h.word+"Policy"] = action{run: (*call).putInline}
		all["Get"+h.word+"Policy"] = action{run: (*call).getInline}
		all["List"+h.word+"Policies"] = action{run: (*call).listInline, list: true}
		all["Delete"+h.word+"Policy"] = action{run: (*call).deleteInline}
		all["Attach"+h.word+"Policy"] = action{run: func(c *call) error { return c.attach(false) }}
		all["Detach"+h.word+"Policy"] = action{run: func(c *call) error { return c.attach(true) }}
		all["ListAttached"+h.word+"Policies"] = action{run: (*call).listAttached, list: true}
		if h.kind == fsm.HolderGroup {
			continue
		}
		all["Put"+h.word+"PermissionsBoundary"] = action{run: (*call).boundary}
		all["Delete"+h.word+"PermissionsBoundary"] = action{run: (*call).boundary}
		all["Tag"+h.word] = action{run: (*call).setTags}
		all["Untag"+h.word] = action{run: (*call).setTags}
		all["List"+h.word+"Tags"] = action{run: (*call).listTags, list: true}
	}
	for name, a := range map[string]action{
		"CreatePolicy":            {run: (*call).createPolicy},
		"GetPolicy":               {run: (*call).getPolicy},
		"ListPolicies":            {run: (*call).listPolicies, list: true},
		"DeletePolicy":            {run: (*call).deletePolicy},
		"CreatePolicyVersion":     {run: (*call).createVersion},
		"GetPolicyVersion":        {run: (*call).getVersion},
		"ListPolicyVersions":      {run: (*call).listVersions, list: true},
		"SetDefaultPolicyVersion": {run: func(c *call) error { return c.setVersion(false) }},
		"DeletePolicyVersion":     {run: func(c *call) error { return c.setVersion(true) }},
		"ListEntitiesForPolicy":   {run: (*call).listEntities, list: true},
		"TagPolicy":               {run: (*call).setTags}, "UntagPolicy": {run: (*call).setTags}, "ListPolicyTags": {run: (*call).listTags, list: true},
		"TagOpenIDConnectProvider": {run: (*call).setTags}, "UntagOpenIDConnectProvider": {run: (*call).setTags}, "ListOpenIDConnectProviderTags": {run: (*call).listTags, list: true},
	} {
		all[name] = a
	}
}

// holder returns the user, group or role that a call is about.
func (c *call) holder() (fsm.Holder, error) {
	switch {
	case c.p["GroupName"] != "":
		return fsm.Holder{Kind: fsm.HolderGroup, Account: c.account, Name: c.p["GroupName"]}, nil
	case c.p["RoleName"] != "":
		return fsm.Holder{Kind: fsm.HolderRole, Account: c.account, Name: c.p["RoleName"]}, nil
	case c.p["UserName"] != "":
		account, name := c.userName()
		return fsm.Holder{Kind: fsm.HolderUser, Account: account, Name: name}, nil
	}
	return fsm.Holder{}, invalid("parameter UserName, GroupName or RoleName is missing")
}

// entity returns what a call is about, of a state; nil if it is not there.
func (c *call) entity(s *fsm.State, h fsm.Holder) *fsm.Entity {
	switch h.Kind {
	case fsm.HolderUser:
		if u := s.UserIn(h.Account, h.Name); u != nil {
			return &u.Entity
		}
	case fsm.HolderGroup:
		if g := s.Group(h.Account, h.Name); g != nil {
			return &g.Entity
		}
	case fsm.HolderRole:
		if r := s.Role(h.Account, h.Name); r != nil {
			return &r.Entity
		}
	}
	return nil
}

// read calls fn with the entity that a call is about.
func (c *call) read(fn func(s *fsm.State, h fsm.Holder, e *fsm.Entity)) error {
	h, err := c.holder()
	if err != nil {
		return err
	}
	found := false
	c.Read(func(s *fsm.State) {
		if e := c.entity(s, h); e != nil {
			found = true
			fn(s, h, e)
		}
	})
	if !found {
		return refuse(wirepb.Code_NOT_FOUND, "%s %s does not exist", h.Kind, h.Name)
	}
	return nil
}

func (c *call) putInline() error {
	h, err := c.holder()
	if err != nil {
		return err
	}
	text, err := c.need("PolicyDocument")
	if err != nil {
		return err
	}
	return c.submit(&fsm.PolicyInline{Holder: h, Name: c.p["PolicyName"], Text: text})
}

func (c *call) getInline() error {
	name := c.p["PolicyName"]
	if err := c.read(func(_ *fsm.State, h fsm.Holder, e *fsm.Entity) {
		for _, d := range e.Inline {
			if d.Name == name {
				c.items = append(c.items, &wirepb.IdentityItem{Kind: "document", Name: d.Name, Text: d.Text, Path: h.Name})
			}
		}
	}); err != nil {
		return err
	}
	if len(c.items) == 0 {
		return refuse(wirepb.Code_NOT_FOUND, "policy %q does not exist", name)
	}
	return nil
}

func (c *call) listInline() error {
	return c.read(func(_ *fsm.State, _ fsm.Holder, e *fsm.Entity) {
		for _, d := range e.Inline {
			c.items = append(c.items, &wirepb.IdentityItem{Kind: "document", Name: d.Name, Text: d.Text})
		}
	})
}

func (c *call) deleteInline() error {
	h, err := c.holder()
	if err != nil {
		return err
	}
	return c.submit(&fsm.PolicyInline{Holder: h, Name: c.p["PolicyName"]})
}

func (c *call) attach(detach bool) error {
	h, err := c.holder()
	if err != nil {
		return err
	}
	return c.submit(&fsm.PolicyAttach{Holder: h, ARN: c.p["PolicyArn"], Detach: detach})
}

func (c *call) listAttached() error {
	return c.read(func(s *fsm.State, _ fsm.Holder, e *fsm.Entity) {
		for _, arn := range e.Attached {
			if p := s.PolicyByARN(arn); p != nil && c.underPath(p.Path) {
				c.items = append(c.items, policyItem(p, 0))
			}
		}
	})
}

func (c *call) boundary() error {
	h, err := c.holder()
	if err != nil {
		return err
	}
	return c.submit(&fsm.BoundarySet{Holder: h, ARN: c.p["PermissionsBoundary"]})
}

// tagged returns what a call for tags is about: a holder or an ARN.
func (c *call) tagged() (h fsm.Holder, arn string, err error) {
	if arn = c.p["PolicyArn"] + c.p["OpenIDConnectProviderArn"]; arn != "" {
		if !strings.HasPrefix(arn, "arn:aws:iam::"+c.account+":") {
			return h, "", refuse(wirepb.Code_NOT_FOUND, "%q does not exist", arn)
		}
		return h, arn, nil
	}
	h, err = c.holder()
	return h, "", err
}

func (c *call) setTags() error {
	h, arn, err := c.tagged()
	if err != nil {
		return err
	}
	return c.submit(&fsm.TagsSet{Holder: h, ARN: arn, Set: c.tags(), Remove: c.list("TagKeys")})
}

func (c *call) listTags() error {
	_, arn, err := c.tagged()
	if err != nil {
		return err
	}
	var tags []fsm.Tag
	if arn != "" {
		found := false
		c.Read(func(s *fsm.State) {
			if p := s.PolicyByARN(arn); p != nil {
				tags, found = p.Tags, true
			}
			_, host, _ := strings.Cut(arn, ":oidc-provider/")
			if p := s.Provider(c.account, host); p != nil {
				tags, found = p.Tags, true
			}
		})
		if !found {
			return refuse(wirepb.Code_NOT_FOUND, "%q does not exist", arn)
		}
	} else if err := c.read(func(_ *fsm.State, _ fsm.Holder, e *fsm.Entity) { tags = e.Tags }); err != nil {
		return err
	}
	for _, t := range tags {
		c.items = append(c.items, &wirepb.IdentityItem{Kind: "tag", Name: t.Key, Text: t.Value})
	}
	return nil
}

// own refuses policies of other accounts; those that are built in only if they are to be read.
func (c *call) own(read bool) (string, error) {
	arn := c.p["PolicyArn"]
	if strings.HasPrefix(arn, "arn:aws:iam::"+c.account+":policy/") || read && strings.HasPrefix(arn, "arn:aws:iam::aws:policy/") {
		return arn, nil
	}
	if strings.HasPrefix(arn, "arn:aws:iam::aws:policy/") {
		return "", refuse(wirepb.Code_NOT_PERMITTED, "policy %s is built in and cannot be changed", arn)
	}
	return "", refuse(wirepb.Code_NOT_FOUND, "policy %q does not exist", arn)
}

func (c *call) createPolicy() error {
	name, err := c.need("PolicyName")
	if err != nil {
		return err
	}
	p := fsm.Policy{Account: c.account, Name: name, ID: NewID("ANPA"), Path: c.path(), Description: c.p["Description"], Tags: c.tags()}
	if err := c.submit(&fsm.PolicyCreate{Policy: p, Text: c.p["PolicyDocument"]}); err != nil {
		return err
	}
	return c.policyItem(p.ARN())
}

func (c *call) policyItem(arn string) error {
	return c.show("policy "+arn, func(s *fsm.State) *wirepb.IdentityItem {
		if p := s.PolicyByARN(arn); p != nil {
			return policyItem(p, s.Attachments(c.account)[arn])
		}
		return nil
	})
}

func (c *call) getPolicy() error {
	arn, err := c.own(true)
	if err != nil {
		return err
	}
	return c.policyItem(arn)
}

func (c *call) listPolicies() error {
	scope := c.p["Scope"]
	if scope != "" && scope != "All" && scope != "AWS" && scope != "Local" {
		return invalid("scope %q: want All, AWS or Local", scope)
	}
	c.Read(func(s *fsm.State) {
		attached := s.Attachments(c.account)
		add := func(list []*fsm.Policy) {
			for _, p := range list {
				if n := attached[p.ARN()]; c.underPath(p.Path) && (n > 0 || c.p["OnlyAttached"] != "true") {
					c.items = append(c.items, policyItem(p, n))
				}
			}
		}
		if scope != "AWS" {
			add(s.PoliciesIn(c.account))
		}
		if scope != "Local" {
			add(s.PoliciesIn("aws"))
		}
	})
	return nil
}

func (c *call) deletePolicy() error {
	arn, err := c.own(false)
	if err != nil {
		return err
	}
	return c.submit(&fsm.PolicyRemove{ARN: arn, Bare: c.p["Force"] != "true"})
}

func versionItem(p *fsm.Policy, v *fsm.PolicyVersion) *wirepb.IdentityItem {
	return &wirepb.IdentityItem{
		Kind: "version", Version: fmt.Sprint("v", v.Number), Number: int64(v.Number), Text: v.Text, Created: v.Created, InForce: v.Number == p.Default, Arn: p.ARN(),
	}
}

func (c *call) createVersion() error {
	arn, err := c.own(false)
	if err != nil {
		return err
	}
	text, err := c.need("PolicyDocument")
	if err != nil {
		return err
	}
	if err := c.submit(&fsm.PolicyVersionSet{ARN: arn, Text: text, Default: c.p["SetAsDefault"] == "true", Oldest: c.p["Oldest"] == "true"}); err != nil {
		return err
	}
	return c.show("policy "+arn, func(s *fsm.State) *wirepb.IdentityItem {
		p := s.PolicyByARN(arn)
		if p == nil {
			return nil
		}
		return versionItem(p, &p.Versions[len(p.Versions)-1])
	})
}

func (c *call) version() (int, error) {
	v := c.p["VersionId"]
	n, err := strconv.Atoi(strings.TrimPrefix(v, "v"))
	if err != nil || !strings.HasPrefix(v, "v") || n < 1 {
		return 0, invalid("version %q: want v1, v2 ...", v)
	}
	return n, nil
}

func (c *call) getVersion() error {
	arn, err := c.own(true)
	if err != nil {
		return err
	}
	n, err := c.version()
	if err != nil {
		return err
	}
	return c.show(fmt.Sprintf("version v%d of policy %s", n, arn), func(s *fsm.State) *wirepb.IdentityItem {
		p := s.PolicyByARN(arn)
		if p == nil {
			return nil
		}
		for i := range p.Versions {
			if p.Versions[i].Number == n {
				return versionItem(p, &p.Versions[i])
			}
		}
		return nil
	})
}

func (c *call) listVersions() error {
	arn, err := c.own(true)
	if err != nil {
		return err
	}
	c.Read(func(s *fsm.State) {
		if p := s.PolicyByARN(arn); p != nil {
			for i := range p.Versions {
				c.items = append(c.items, versionItem(p, &p.Versions[i]))
			}
		}
	})
	if len(c.items) == 0 {
		return refuse(wirepb.Code_NOT_FOUND, "policy %s does not exist", arn)
	}
	return nil
}

func (c *call) setVersion(remove bool) error {
	arn, err := c.own(false)
	if err != nil {
		return err
	}
	n, err := c.version()
	if err != nil {
		return err
	}
	return c.submit(&fsm.PolicyVersionSet{ARN: arn, Number: n, Remove: remove})
}

func (c *call) listEntities() error {
	arn, err := c.own(true)
	if err != nil {
		return err
	}
	found := false
	c.Read(func(s *fsm.State) {
		found = s.PolicyByARN(arn) != nil
		has := func(e *fsm.Entity) bool {
			for _, a := range e.Attached {
				if a == arn {
					return true
				}
			}
			return e.Boundary == arn
		}
		for _, u := range s.UsersOf(c.account) {
			if has(&u.Entity) {
				c.items = append(c.items, userItem(u))
			}
		}
		for _, g := range s.GroupsIn(c.account) {
			if has(&g.Entity) {
				c.items = append(c.items, groupItem(g))
			}
		}
		for _, r := range s.RolesIn(c.account) {
			if has(&r.Entity) {
				c.items = append(c.items, roleItem(r))
			}
		}
	})
	if !found {
		return refuse(wirepb.Code_NOT_FOUND, "policy %s does not exist", arn)
	}
	return nil
}
