package acl

import (
	"encoding/xml"
	"errors"
	"slices"
	"strings"
)

// Conditions that parsing reports. What follows them in the text is the detail.
var (
	ErrMalformed  = errors.New("malformed access control list")          // the XML
	ErrArgument   = errors.New("invalid argument")                       // a header or a group
	ErrNoSuchUser = errors.New("no such user")                           // a grantee by id
	ErrNoEmail    = errors.New("no user, or several, have this address") // a grantee by e-mail address
)

// Resolver finds users. Both functions fail with ErrNoSuchUser and ErrNoEmail if there is none.
type Resolver interface {
	UserByID(id string) (User, error)
	UserByEmail(address string) (User, error)
}

// GrantHeaders are the headers that grant, by what they grant.
var GrantHeaders = []struct {
	Name       string
	Permission Permission
}{
	{"X-Amz-Grant-Read", Read},
	{"X-Amz-Grant-Write", Write},
	{"X-Amz-Grant-Read-Acp", ReadACP},
	{"X-Amz-Grant-Write-Acp", WriteACP},
	{"X-Amz-Grant-Full-Control", FullControl},
}

// FromHeaders makes a list of the headers that grant; nil if there are none. get
// finds a header by name.
func FromHeaders(owner User, get func(name string) string, r Resolver) (*ACL, error) {
	var a *ACL
	for _, h := range GrantHeaders {
		value := get(h.Name)
		if value == "" {
			continue
		}
		if a == nil {
			a = &ACL{Owner: owner}
		}
		grantees, err := splitGrantees(value)
		if err != nil {
			return nil, err
		}
		for _, e := range grantees {
			g := Grant{Permission: h.Permission}
			var err error
			switch e.kind {
			case "id":
				g.User, err = r.UserByID(e.value)
			case "emailaddress":
				g.User, err = r.UserByEmail(e.value)
			case "uri":
				g.Group, err = groupOf(e.value)
			default:
				err = ErrArgument
			}
			if err != nil {
				return nil, err
			}
			if a.Grants = append(a.Grants, g); len(a.Grants) > MaxGrants {
				return nil, ErrMalformed
			}
		}
	}
	return a, nil
}

type grantee struct{ kind, value string }

// splitGrantees reads `id="...", uri="..."`; the quotes may be missing.
func splitGrantees(s string) ([]grantee, error) {
	var out []grantee
	for s != "" {
		kind, rest, ok := strings.Cut(s, "=")
		if !ok {
			return nil, ErrArgument
		}
		g := grantee{kind: strings.ToLower(strings.TrimSpace(kind))}
		rest = strings.TrimLeft(rest, " \t")
		if t, quoted := strings.CutPrefix(rest, `"`); quoted {
			if g.value, rest, ok = strings.Cut(t, `"`); !ok {
				return nil, ErrArgument
			}
			rest = strings.TrimLeft(rest, " \t")
			if rest != "" && rest[0] != ',' {
				return nil, ErrArgument
			}
			rest = strings.TrimPrefix(rest, ",")
		} else {
			g.value, rest, _ = strings.Cut(rest, ",")
			g.value = strings.TrimSpace(g.value)
		}
		if g.value == "" {
			return nil, ErrArgument
		}
		out, s = append(out, g), rest
	}
	return out, nil
}

func groupOf(uri string) (Group, error) {
	for _, g := range groups {
		if string(g) == uri {
			return g, nil
		}
	}
	return "", ErrArgument
}

const xsi = "http://www.w3.org/2001/XMLSchema-instance"

// XML is a list as clients send and get it.
type XML struct {
	XMLName xml.Name   `xml:"http://s3.amazonaws.com/doc/2006-03-01/ AccessControlPolicy"`
	Owner   XMLUser    `xml:"Owner"`
	Grants  []XMLGrant `xml:"AccessControlList>Grant"`
}

// XMLUser is a user in XML.
type XMLUser struct {
	ID          string
	DisplayName string `xml:",omitempty"`
}

// XMLGrant is a grant in XML.
type XMLGrant struct {
	Grantee    XMLGrantee
	Permission string
}

// XMLGrantee is a grantee in XML.
type XMLGrantee struct {
	XSI         string `xml:"xmlns:xsi,attr"`
	Type        string `xml:"xsi:type,attr"`
	ID          string `xml:",omitempty"`
	DisplayName string `xml:",omitempty"`
	URI         string `xml:",omitempty"`
}

// XML writes a list as clients get it.
func (a *ACL) XML() XML {
	x := XML{Owner: XMLUser{a.Owner.ID, a.Owner.Name}}
	for _, g := range a.Grants {
		e := XMLGrantee{XSI: xsi, Type: "CanonicalUser", ID: g.User.ID, DisplayName: g.User.Name}
		if g.Group != "" {
			e = XMLGrantee{XSI: xsi, Type: "Group", URI: string(g.Group)}
		}
		x.Grants = append(x.Grants, XMLGrant{Grantee: e, Permission: g.Permission.String()})
	}
	// Grants to groups come first, whatever their order was: as Ceph has them.
	slices.SortStableFunc(x.Grants, func(a, b XMLGrant) int { return strings.Compare(b.Grantee.Type, a.Grantee.Type) })
	return x
}

// input is a list as clients send it, in any namespace or none.
type input struct {
	XMLName xml.Name `xml:"AccessControlPolicy"`
	Owner   *struct {
		ID string
	}
	List *struct {
		Grants []struct {
			Grantee *struct {
				Attrs        []xml.Attr `xml:",any,attr"`
				ID           string
				URI          string
				EmailAddress string
			}
			Permission string
		} `xml:"Grant"`
	} `xml:"AccessControlList"`
}

// FromXML reads a list that a client sent. The owner is whom the list names.
func FromXML(doc []byte, r Resolver) (*ACL, error) {
	var in input
	if err := xml.Unmarshal(doc, &in); err != nil || in.Owner == nil || in.Owner.ID == "" || in.List == nil || len(in.List.Grants) > MaxGrants {
		return nil, ErrMalformed
	}
	a := &ACL{Owner: User{ID: in.Owner.ID}}
	for _, x := range in.List.Grants {
		p, ok := permissionOf(x.Permission)
		if !ok || x.Grantee == nil {
			return nil, ErrMalformed
		}
		g := Grant{Permission: p}
		typ := ""
		for _, t := range x.Grantee.Attrs {
			if t.Name.Local == "type" && t.Name.Space == xsi {
				typ = t.Value
			}
		}
		var err error
		switch e := x.Grantee; {
		case typ == "CanonicalUser" && e.ID != "":
			g.User, err = r.UserByID(e.ID)
		case typ == "AmazonCustomerByEmail" && e.EmailAddress != "":
			g.User, err = r.UserByEmail(e.EmailAddress)
		case typ == "Group" && e.URI != "":
			g.Group, err = groupOf(e.URI)
		default:
			err = ErrMalformed
		}
		if err != nil {
			return nil, err
		}
		a.Grants = append(a.Grants, g)
	}
	return a, nil
}
