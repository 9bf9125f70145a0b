package s3

import (
	"bytes"
	"encoding/xml"
	"strconv"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// xmlOut writes the answers of IAM and STS, which are made of plain elements.
type xmlOut struct{ b bytes.Buffer }

// el writes an element with a text, in with elements.
func (x *xmlOut) el(name, text string) {
	x.b.WriteString("<" + name + ">")
	_ = xml.EscapeText(&x.b, []byte(text)) // a buffer takes everything
	x.b.WriteString("</" + name + ">")
}

func (x *xmlOut) opt(name, text string) {
	if text != "" {
		x.el(name, text)
	}
}

func (x *xmlOut) in(name string, fn func()) {
	x.b.WriteString("<" + name + ">")
	fn()
	x.b.WriteString("</" + name + ">")
}

func (x *xmlOut) date(name string, ns int64) {
	if ns != 0 {
		x.el(name, time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05Z"))
	}
}

// document writes a policy document, which IAM encodes as in addresses.
func (x *xmlOut) document(name, text string) {
	if text != "" {
		x.el(name, uriEncode(text, false))
	}
}

func (x *xmlOut) tags(tags []*wirepb.IdentityTag) {
	if len(tags) == 0 {
		return
	}
	x.in("Tags", func() {
		for _, t := range tags {
			x.in("member", func() { x.el("Key", t.Key); x.el("Value", t.Value) })
		}
	})
}

func (x *xmlOut) boundary(i *wirepb.IdentityItem) {
	if i.Boundary != "" {
		x.in("PermissionsBoundary", func() {
			x.el("PermissionsBoundaryType", "Policy")
			x.el("PermissionsBoundaryArn", i.Boundary)
		})
	}
}

func first(c *identityRequest) *wirepb.IdentityItem {
	if len(c.reply.Items) == 0 {
		return &wirepb.IdentityItem{}
	}
	return c.reply.Items[0]
}

// listOf is the answer with a page of a list.
func listOf(name string, write func(x *xmlOut, c *identityRequest, i *wirepb.IdentityItem)) func(x *xmlOut, c *identityRequest) {
	return func(x *xmlOut, c *identityRequest) { x.list(name, c, c.reply.Items, write) }
}

func (x *xmlOut) list(name string, c *identityRequest, items []*wirepb.IdentityItem, write func(x *xmlOut, c *identityRequest, i *wirepb.IdentityItem)) {
	x.in(name, func() {
		for _, i := range items {
			x.in("member", func() { write(x, c, i) })
		}
	})
	x.page(c)
}

func (x *xmlOut) page(c *identityRequest) {
	x.el("IsTruncated", strconv.FormatBool(c.reply.Truncated))
	x.opt("Marker", c.reply.Marker)
}

func writeUser(x *xmlOut, c *identityRequest, i *wirepb.IdentityItem) {
	if i.Kind == "account" {
		x.el("UserId", i.Account)
	} else {
		x.el("Path", i.Path)
		x.el("UserName", i.Name)
		x.el("UserId", i.Id)
	}
	x.el("Arn", i.Arn)
	created := i.Created
	if created == 0 {
		created = 1 // accounts of earlier versions; clients want a date
	}
	x.date("CreateDate", created)
	x.boundary(i)
	x.tags(i.Tags)
}

func replyUser(x *xmlOut, c *identityRequest) { x.in("User", func() { writeUser(x, c, first(c)) }) }

func writeKeyMetadata(x *xmlOut, c *identityRequest, i *wirepb.IdentityItem) {
	x.el("UserName", i.Path)
	x.el("AccessKeyId", i.Name)
	status := "Active"
	if i.Off {
		status = "Inactive"
	}
	x.el("Status", status)
	x.date("CreateDate", i.Created)
}

func replyKey(x *xmlOut, c *identityRequest) {
	i := first(c)
	x.in("AccessKey", func() {
		writeKeyMetadata(x, c, i)
		x.el("SecretAccessKey", i.Secret)
	})
}

func writeGroup(x *xmlOut, c *identityRequest, i *wirepb.IdentityItem) {
	x.el("Path", i.Path)
	x.el("GroupName", i.Name)
	x.el("GroupId", i.Id)
	x.el("Arn", i.Arn)
	x.date("CreateDate", i.Created)
}

func replyGroup(x *xmlOut, c *identityRequest) { x.in("Group", func() { writeGroup(x, c, first(c)) }) }

func replyMembers(x *xmlOut, c *identityRequest) {
	replyGroup(x, c)
	x.list("Users", c, c.reply.Items[min(1, len(c.reply.Items)):], writeUser)
}

func writeRole(x *xmlOut, c *identityRequest, i *wirepb.IdentityItem) {
	x.el("Path", i.Path)
	x.el("RoleName", i.Name)
	x.el("RoleId", i.Id)
	x.el("Arn", i.Arn)
	x.date("CreateDate", i.Created)
	x.document("AssumeRolePolicyDocument", i.Text)
	x.opt("Description", i.About)
	x.el("MaxSessionDuration", strconv.FormatInt(i.Number, 10))
	x.boundary(i)
	x.tags(i.Tags)
}

func replyRole(x *xmlOut, c *identityRequest) { x.in("Role", func() { writeRole(x, c, first(c)) }) }

func writePolicy(x *xmlOut, c *identityRequest, i *wirepb.IdentityItem) {
	x.el("PolicyName", i.Name)
	x.el("PolicyId", i.Id)
	x.el("Arn", i.Arn)
	x.el("Path", i.Path)
	x.el("DefaultVersionId", i.Version)
	x.el("AttachmentCount", strconv.FormatInt(i.Number, 10))
	x.el("PermissionsBoundaryUsageCount", "0")
	x.el("IsAttachable", "true")
	x.opt("Description", i.About)
	x.date("CreateDate", max(1, i.Created))
	x.date("UpdateDate", max(1, i.Updated))
	x.tags(i.Tags)
}

func replyPolicy(x *xmlOut, c *identityRequest) {
	x.in("Policy", func() { writePolicy(x, c, first(c)) })
}

func writeVersion(x *xmlOut, c *identityRequest, i *wirepb.IdentityItem) {
	if c.action == "GetPolicyVersion" {
		x.document("Document", i.Text)
	}
	x.el("VersionId", i.Version)
	x.el("IsDefaultVersion", strconv.FormatBool(i.InForce))
	x.date("CreateDate", max(1, i.Created))
}

func replyVersion(x *xmlOut, c *identityRequest) {
	x.in("PolicyVersion", func() { writeVersion(x, c, first(c)) })
}

func writeAttached(x *xmlOut, _ *identityRequest, i *wirepb.IdentityItem) {
	x.el("PolicyName", i.Name)
	x.el("PolicyArn", i.Arn)
}

func writeTag(x *xmlOut, _ *identityRequest, i *wirepb.IdentityItem) {
	x.el("Key", i.Name)
	x.el("Value", i.Text)
}

// writeName is for lists of names alone.
func writeName(x *xmlOut, _ *identityRequest, i *wirepb.IdentityItem) {
	_ = xml.EscapeText(&x.b, []byte(i.Name))
}

func replyDocument(param string) func(x *xmlOut, c *identityRequest) {
	return func(x *xmlOut, c *identityRequest) {
		i := first(c)
		x.el(param, i.Path)
		x.el("PolicyName", i.Name)
		x.document("PolicyDocument", i.Text)
	}
}

func replyEntities(x *xmlOut, c *identityRequest) {
	for _, of := range []struct{ list, kind, name, id string }{
		{"PolicyUsers", "user", "UserName", "UserId"}, {"PolicyGroups", "group", "GroupName", "GroupId"}, {"PolicyRoles", "role", "RoleName", "RoleId"},
	} {
		x.in(of.list, func() {
			for _, i := range c.reply.Items {
				if i.Kind == of.kind {
					x.in("member", func() { x.el(of.name, i.Name); x.el(of.id, i.Id) })
				}
			}
		})
	}
	x.page(c)
}

func replyProviderARN(x *xmlOut, c *identityRequest) {
	i := first(c)
	x.el("OpenIDConnectProviderArn", i.Arn)
	x.tags(i.Tags)
}

func replyProvider(x *xmlOut, c *identityRequest) {
	i := first(c)
	x.el("Url", i.Name)
	list := func(name string, values []string) {
		x.in(name, func() {
			for _, v := range values {
				x.el("member", v)
			}
		})
	}
	list("ClientIDList", i.List)
	list("ThumbprintList", i.More)
	x.date("CreateDate", i.Created)
	x.tags(i.Tags)
}

func replyProviders(x *xmlOut, c *identityRequest) {
	x.in("OpenIDConnectProviderList", func() {
		for _, i := range c.reply.Items {
			x.in("member", func() { x.el("Arn", i.Arn) })
		}
	})
}

func replySummary(x *xmlOut, c *identityRequest) {
	x.in("SummaryMap", func() {
		for _, i := range c.reply.Items {
			x.in("entry", func() { x.el("key", i.Name); x.el("value", strconv.FormatInt(i.Number, 10)) })
		}
	})
}
