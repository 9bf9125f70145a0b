package show

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/internal/api"
)

// Identities prints a list of what identities there are, with the columns that any of them has.
func Identities(w io.Writer, items []api.Identity) error {
	all := []struct {
		name string
		of   func(i *api.Identity) string
	}{
		{"ACCOUNT", func(i *api.Identity) string {
			if i.Kind == "account" {
				return i.Name
			}
			return ""
		}},
		{"NAME", func(i *api.Identity) string {
			if i.Kind == "account" || i.Kind == "key" {
				return ""
			}
			return i.Name
		}},
		{"ACCESS KEY", func(i *api.Identity) string {
			if i.Kind == "key" {
				return i.Name
			}
			return ""
		}},
		{"SERVICE ACCOUNT", func(i *api.Identity) string { return i.Service }},
		{"VERSION", func(i *api.Identity) string { return i.Version }},
		{"ABOUT", func(i *api.Identity) string { return i.About }},
		{"E-MAIL", func(i *api.Identity) string { return i.Email }},
		{"VALUE", func(i *api.Identity) string {
			switch i.Kind {
			case "count":
				return strconv.FormatInt(i.Number, 10)
			case "tag":
				return i.Text
			}
			return ""
		}},
		{"ATTACHED", func(i *api.Identity) string {
			if i.Kind == "policy" {
				return strconv.FormatInt(i.Number, 10)
			}
			return ""
		}},
		{"GROUPS", func(i *api.Identity) string {
			if i.Kind == "user" {
				return strings.Join(i.List, ",")
			}
			return ""
		}},
		{"EXPIRES", func(i *api.Identity) string { return i.Expires }},
		{"STATE", identityState},
		{"CREATED", func(i *api.Identity) string { return i.Created }},
		{"ARN", func(i *api.Identity) string { return i.ARN }},
	}
	var columns []column
	var used []int
	for n, c := range all {
		if slices.ContainsFunc(items, func(i api.Identity) bool { return c.of(&i) != "" }) || c.name == "NAME" && len(items) == 0 {
			columns, used = append(columns, column{c.name, left, left}), append(used, n)
		}
	}
	t := newTable(columns...)
	for i := range items {
		var row []string
		for _, n := range used {
			row = append(row, all[n].of(&items[i]))
		}
		t.add(row...)
	}
	return t.write(w)
}

func identityState(i *api.Identity) string {
	switch {
	case i.Kind == "key" && i.Off:
		return "inactive"
	case i.Kind == "key":
		return "active"
	case i.Off:
		return "suspended"
	case i.Admin:
		return "administrator"
	case i.InForce:
		return "in force"
	}
	return ""
}

// Identity prints one, with what was made along with it.
func Identity(w io.Writer, items []api.Identity) error {
	var rows [][2]string
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, [2]string{name, value})
		}
	}
	for n := range items {
		i := &items[n]
		switch i.Kind {
		case "key":
			add("access key", i.Name)
			add("secret key", i.Secret)
			add("service account", i.Service)
		case "document":
			add("policy", i.Name)
		default:
			add(i.Kind, i.Name)
			add("display name", i.About)
			add("arn", i.ARN)
			add("id", i.ID)
			add("e-mail", i.Email)
		}
		add("version", i.Version)
		add("state", identityState(i))
		if i.Kind == "role" {
			add("longest session", fmt.Sprintf("%d s", i.Number))
		}
		add("groups", strings.Join(i.List, ", "))
		add("boundary", i.Boundary)
		add("sessions end that began before", i.Revoked)
		add("created", i.Created)
		add("expires", i.Expires)
		for _, k := range sortedKeys(i.Tags) {
			add("tag "+k, i.Tags[k])
		}
		add("document", i.Text)
	}
	return fields(w, rows)
}

func sortedKeys(m map[string]string) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
