package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/internal/api"
)

// What belongs to an account is ACCOUNT/NAME on the command line. A name without slash is an
// account. Roles of the cluster's own are -/NAME.

// params are the parameters of a call.
type params map[string]string

// owned takes ACCOUNT/NAME apart.
func owned(arg string) (account, name string, err error) {
	account, name, ok := strings.Cut(arg, "/")
	if !ok || account == "" || name == "" {
		return "", "", usageErrorf("%q: want ACCOUNT/NAME; see `cairn account ls`", arg)
	}
	return account, name, nil
}

// holder is who or what has policies: a user, which may be an account, a group or a role.
func holder(kind, arg string) (account string, p params, err error) {
	word := strings.ToUpper(kind[:1]) + kind[1:] + "Name"
	if kind == "user" && !strings.Contains(arg, "/") {
		return arg, params{word: arg, "Root": "true"}, nil
	}
	account, name, err := owned(arg)
	return account, params{word: name, "Within": "true"}, err
}

// policyARN finds the ARN in what names a policy: an ARN, ACCOUNT/NAME, or the name of a built-in one.
func policyARN(arg string) string {
	switch account, name, ok := strings.Cut(arg, "/"); {
	case strings.HasPrefix(arg, "arn:"):
		return arg
	case ok:
		return "arn:aws:iam::" + account + ":policy/" + name
	}
	return "arn:aws:iam::aws:policy/" + arg
}

func (p params) set(name, value string) params {
	if value != "" {
		p[name] = value
	}
	return p
}

// callAll makes a call and all others that its pages need.
func callAll(ctx context.Context, c *api.Client, account, action string, p params) ([]api.Identity, error) {
	items := []api.Identity{}
	for {
		r, err := c.Identity(ctx, account, action, p)
		if err != nil {
			return nil, err
		}
		items = append(items, r.Items...)
		if !r.Truncated {
			return items, nil
		}
		if p == nil {
			p = params{}
		}
		p["Marker"] = r.Marker
	}
}

func identityList(ctx context.Context, e *env, account, action string, p params) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) ([]api.Identity, error) {
		return callAll(ctx, c, account, action, p)
	}, show.Identities)
}

func identityShow(ctx context.Context, e *env, account, action string, p params) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) ([]api.Identity, error) {
		r, err := c.Identity(ctx, account, action, p)
		return r.Items, err
	}, show.Identity)
}

func identityChange(ctx context.Context, e *env, account, action string, p params, format string, args ...any) error {
	return change(ctx, e, func(ctx context.Context, c *api.Client) error {
		_, err := c.Identity(ctx, account, action, p)
		return err
	}, format, args...)
}

// document reads a policy document.
func (e *env) document(path string) (string, error) {
	if path == "" {
		return "", usageErrorf("flag --file is missing: want a file with a policy document, - for standard input")
	}
	b, err := e.readInput(path, 64<<10)
	if err != nil {
		return "", fmt.Errorf("read the policy document: %w", err)
	}
	return string(b), nil
}

func newAccountCommand(e *env) *cobra.Command {
	var o api.UserCreate
	create := e.leaf("create NAME", "Make an account and show its keys", args("NAME"), func(ctx context.Context, a []string) error {
		o.Name = a[0]
		return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.User, error) { return c.UserCreate(ctx, o) }, show.User)
	})
	create.Flags().StringVar(&o.DisplayName, "display-name", "", "full name")
	create.Flags().StringVar(&o.Email, "email", "", "e-mail address, of nobody else")
	create.Flags().BoolVar(&o.Admin, "administrator", false, "let it look after the identities of all accounts")
	return group("account", "Accounts: users who own users, groups, policies and roles", create,
		e.leaf("ls", "List accounts", args(), func(ctx context.Context, _ []string) error {
			return ask(ctx, e, func(ctx context.Context, c *api.Client) ([]api.Identity, error) { return c.Accounts(ctx) }, show.Identities)
		}),
		e.leaf("get NAME", "Show an account, and how much it has", args("NAME"), func(ctx context.Context, a []string) error {
			return ask(ctx, e, func(ctx context.Context, c *api.Client) ([]api.Identity, error) {
				one, err := c.Identity(ctx, a[0], "GetUser", params{"Root": "true"})
				if err != nil {
					return nil, err
				}
				sum, err := c.Identity(ctx, a[0], "GetAccountSummary", nil)
				return append(one.Items, sum.Items...), err
			}, func(w io.Writer, items []api.Identity) error {
				if err := show.Identity(w, items[:1]); err != nil {
					return err
				}
				return show.Identities(w, items[1:])
			})
		}),
		newUserSetCommand(e, "set NAME", "Change an account"), newUserRemoveCommand(e),
	)
}

// newUserSetCommand changes a user, or an account.
func newUserSetCommand(e *env, use, short string) *cobra.Command {
	var email, displayName, rename, path string
	var suspend, resume, admin, noAdmin bool
	var cmd *cobra.Command
	cmd = e.leaf(use, short, args("NAME"), func(ctx context.Context, a []string) error {
		account, p, err := holder("user", a[0])
		if err != nil {
			return err
		}
		for flag, name := range map[string]string{"email": "Email", "display-name": "DisplayName", "rename": "NewUserName", "path": "NewPath"} {
			if f := cmd.Flags().Lookup(flag); f.Changed {
				p[name] = f.Value.String()
			}
		}
		if suspend && resume || admin && noAdmin {
			return usageErrorf("%s: flags contradict each other", cmd.CommandPath())
		}
		if suspend || resume {
			p["Suspended"] = strconv.FormatBool(suspend)
		}
		if admin || noAdmin {
			p["Admin"] = strconv.FormatBool(admin)
		}
		return identityChange(ctx, e, account, "UpdateUser", p, "user '%s' changed", a[0])
	})
	cmd.Flags().StringVar(&email, "email", "", "e-mail address")
	cmd.Flags().StringVar(&displayName, "display-name", "", "full name")
	cmd.Flags().StringVar(&rename, "rename", "", "new name, of a user of an account")
	cmd.Flags().StringVar(&path, "path", "", "new path in its ARN, of a user of an account")
	cmd.Flags().BoolVar(&suspend, "suspend", false, "let it in no more; an account: with all its users and roles")
	cmd.Flags().BoolVar(&resume, "resume", false, "let it in again")
	cmd.Flags().BoolVar(&admin, "administrator", false, "let an account look after the identities of all others")
	cmd.Flags().BoolVar(&noAdmin, "no-administrator", false, "no more")
	return cmd
}

func newKeyCommand(e *env) *cobra.Command {
	var service, file string
	var expires time.Duration
	create := e.leaf("create USER", "Make one more key and show it; with --service a service account", args("USER"), func(ctx context.Context, a []string) error {
		account, p, err := holder("user", a[0])
		if err != nil {
			return err
		}
		p.set("ServiceName", service)
		if (file != "" || expires != 0) && service == "" {
			return usageErrorf("flags --file and --expires are for service accounts: give --service, too")
		}
		if file != "" {
			if p["PolicyDocument"], err = e.document(file); err != nil {
				return err
			}
		}
		if expires != 0 {
			p["Expires"] = strconv.FormatInt(time.Now().Add(expires).UnixNano(), 10)
		}
		return identityShow(ctx, e, account, "CreateAccessKey", p)
	})
	create.Flags().StringVar(&service, "service", "", "make a service account of this name: a key that may do no more than its user")
	create.Flags().StringVar(&file, "file", "", "file with a policy document that the service account is confined to, - for standard input")
	create.Flags().DurationVar(&expires, "expires", 0, "the service account ends after this time, such as 720h")
	set := func(use, short, action, done string, more params) *cobra.Command {
		return e.leaf(use, short, args("USER", "KEY"), func(ctx context.Context, a []string) error {
			account, p, err := holder("user", a[0])
			if err != nil {
				return err
			}
			p["AccessKeyId"] = a[1]
			for k, v := range more {
				p[k] = v
			}
			return identityChange(ctx, e, account, action, p, "access key %s of '%s' %s", a[1], a[0], done)
		})
	}
	return group("key", "Access keys of a user, and its service accounts", create,
		e.leaf("ls USER", "List keys", args("USER"), func(ctx context.Context, a []string) error {
			account, p, err := holder("user", a[0])
			if err != nil {
				return err
			}
			return identityList(ctx, e, account, "ListAccessKeys", p.set("All", "true"))
		}),
		set("off USER KEY", "Turn a key off", "UpdateAccessKey", "turned off", params{"Status": "Inactive"}),
		set("on USER KEY", "Turn a key on again", "UpdateAccessKey", "turned on", params{"Status": "Active"}),
		set("rm USER KEY", "Remove a key", "DeleteAccessKey", "removed", nil),
	)
}

// newHolderPolicyCommand is about the policies of a user, group or role.
func newHolderPolicyCommand(e *env, kind string) *cobra.Command {
	word, upper := strings.ToUpper(kind[:1])+kind[1:], strings.ToUpper(kind)
	two := func(use, short, action, param, done string, arn bool) *cobra.Command {
		return e.leaf(use, short, args(upper, "POLICY"), func(ctx context.Context, a []string) error {
			account, p, err := holder(kind, a[0])
			if err != nil {
				return err
			}
			p[param] = a[1]
			if arn {
				p[param] = policyARN(a[1])
			}
			if done == "" {
				return identityShow(ctx, e, account, action, p)
			}
			return identityChange(ctx, e, account, action, p, "policy '%s' %s %s '%s'", a[1], done, kind, a[0])
		})
	}
	var file string
	put := e.leaf("put "+upper+" NAME --file FILE", "Give it a policy of its own", args(upper, "NAME"), func(ctx context.Context, a []string) error {
		account, p, err := holder(kind, a[0])
		if err != nil {
			return err
		}
		if p["PolicyDocument"], err = e.document(file); err != nil {
			return err
		}
		p["PolicyName"] = a[1]
		return identityChange(ctx, e, account, "Put"+word+"Policy", p, "policy '%s' put to %s '%s'", a[1], kind, a[0])
	})
	put.Flags().StringVar(&file, "file", "", "file with the policy document, - for standard input")
	sub := []*cobra.Command{
		e.leaf("ls "+upper, "List policies that are attached, and its own", args(upper), func(ctx context.Context, a []string) error {
			account, p, err := holder(kind, a[0])
			if err != nil {
				return err
			}
			return ask(ctx, e, func(ctx context.Context, c *api.Client) ([]api.Identity, error) {
				attached, err := callAll(ctx, c, account, "ListAttached"+word+"Policies", p)
				if err != nil {
					return nil, err
				}
				delete(p, "Marker")
				own, err := callAll(ctx, c, account, "List"+word+"Policies", p)
				return append(attached, own...), err
			}, show.Identities)
		}),
		two("attach "+upper+" POLICY", "Attach a policy: an ARN, ACCOUNT/NAME or a built-in one's name", "Attach"+word+"Policy", "PolicyArn", "attached to", true),
		two("detach "+upper+" POLICY", "Take an attached policy off", "Detach"+word+"Policy", "PolicyArn", "detached from", true),
		put,
		two("get "+upper+" NAME", "Show a policy of its own", "Get"+word+"Policy", "PolicyName", "", false),
		two("rm "+upper+" NAME", "Remove a policy of its own", "Delete"+word+"Policy", "PolicyName", "removed from", false),
	}
	if kind != "group" {
		sub = append(sub, e.leaf("boundary "+upper+" POLICY", "Set the policy beyond which it may do nothing; none: take that off", args(upper, "POLICY"), func(ctx context.Context, a []string) error {
			account, p, err := holder(kind, a[0])
			if err != nil {
				return err
			}
			action := "Delete" + word + "PermissionsBoundary"
			if a[1] != "none" {
				action, p["PermissionsBoundary"] = "Put"+word+"PermissionsBoundary", policyARN(a[1])
			}
			return identityChange(ctx, e, account, action, p, "boundary of %s '%s' is %s", kind, a[0], a[1])
		}))
	}
	return group("policy", "Policies of a "+kind, sub...)
}

// newRevokeCommand ends sessions.
func newRevokeCommand(e *env, kind string) *cobra.Command {
	upper := strings.ToUpper(kind)
	return e.leaf("revoke "+upper, "End all temporary credentials of a "+kind+" that were given until now", args(upper), func(ctx context.Context, a []string) error {
		account, p, err := holder(kind, a[0])
		if err != nil {
			return err
		}
		return identityChange(ctx, e, account, "RevokeSessions", p, "sessions of %s '%s' revoked", kind, a[0])
	})
}

// newOwnedCommands are the commands that groups, roles and policies have in common.
func newOwnedCommands(e *env, kind, list string) (ls, get, rm *cobra.Command) {
	word := strings.ToUpper(kind[:1]) + kind[1:]
	ls = e.leaf("ls ACCOUNT", "List what an account has", args("ACCOUNT"), func(ctx context.Context, a []string) error {
		return identityList(ctx, e, a[0], list, nil)
	})
	get = e.leaf("get ACCOUNT/NAME", "Show one", args("ACCOUNT/NAME"), func(ctx context.Context, a []string) error {
		account, name, err := owned(a[0])
		if err != nil {
			return err
		}
		return identityShow(ctx, e, account, "Get"+word, params{word + "Name": name, "MaxItems": "1000"})
	})
	var sure string
	rm = e.leaf("rm ACCOUNT/NAME", "Remove one", args("ACCOUNT/NAME"), func(ctx context.Context, a []string) error {
		account, name, err := owned(a[0])
		if err != nil {
			return err
		}
		if err := confirm(kind, a[0], sure, "what it allows would be allowed no more"); err != nil {
			return err
		}
		return identityChange(ctx, e, account, "Delete"+word, params{word + "Name": name, "Force": "true"}, "%s '%s' removed", kind, a[0])
	})
	rm.Flags().StringVar(&sure, "confirm", "", "repeat the name")
	return ls, get, rm
}

func newGroupCommand(e *env) *cobra.Command {
	ls, get, rm := newOwnedCommands(e, "group", "ListGroups")
	var path string
	create := e.leaf("create ACCOUNT/NAME", "Make a group", args("ACCOUNT/NAME"), func(ctx context.Context, a []string) error {
		account, name, err := owned(a[0])
		if err != nil {
			return err
		}
		return identityShow(ctx, e, account, "CreateGroup", params{"GroupName": name}.set("Path", path))
	})
	create.Flags().StringVar(&path, "path", "", "path in its ARN, such as /team/")
	member := func(use, short, action, done string) *cobra.Command {
		return e.leaf(use, short, args("ACCOUNT/NAME", "USER"), func(ctx context.Context, a []string) error {
			account, name, err := owned(a[0])
			if err != nil {
				return err
			}
			user := strings.TrimPrefix(a[1], account+"/")
			return identityChange(ctx, e, account, action, params{"GroupName": name, "UserName": user}, "user '%s' %s group '%s'", user, done, a[0])
		})
	}
	return group("group", "Groups of users of an account", create, ls, get, rm,
		member("add ACCOUNT/NAME USER", "Take a user into a group", "AddUserToGroup", "is in"),
		member("remove ACCOUNT/NAME USER", "Take a user out of a group", "RemoveUserFromGroup", "is no more in"),
		newHolderPolicyCommand(e, "group"))
}

func newRoleCommand(e *env) *cobra.Command {
	ls, get, rm := newOwnedCommands(e, "role", "ListRoles")
	var file, path, about string
	var longest time.Duration
	create := e.leaf("create ACCOUNT/NAME --file FILE", "Make a role that whom the document names can take on", args("ACCOUNT/NAME"), func(ctx context.Context, a []string) error {
		account, name, err := owned(a[0])
		if err != nil {
			return err
		}
		p := params{"RoleName": name}.set("Path", path).set("Description", about)
		if p["AssumeRolePolicyDocument"], err = e.document(file); err != nil {
			return err
		}
		if longest != 0 {
			p["MaxSessionDuration"] = strconv.FormatInt(int64(longest/time.Second), 10)
		}
		return identityShow(ctx, e, account, "CreateRole", p)
	})
	create.Flags().StringVar(&file, "file", "", "file with the trust policy, - for standard input")
	create.Flags().StringVar(&path, "path", "", "path in its ARN, such as /team/")
	create.Flags().StringVar(&about, "description", "", "what it is for")
	create.Flags().DurationVar(&longest, "max-session", 0, "how long a session may last, 1h to 12h; default 1h")
	var newTrust, newAbout string
	var newLongest time.Duration
	set := e.leaf("set ACCOUNT/NAME", "Change whom a role trusts, or how long its sessions may last", args("ACCOUNT/NAME"), func(ctx context.Context, a []string) error {
		account, name, err := owned(a[0])
		if err != nil {
			return err
		}
		p := params{"RoleName": name}.set("Description", newAbout)
		if newLongest != 0 {
			p["MaxSessionDuration"] = strconv.FormatInt(int64(newLongest/time.Second), 10)
		}
		action := "UpdateRole"
		if newTrust != "" {
			if p["PolicyDocument"], err = e.document(newTrust); err != nil {
				return err
			}
			action = "UpdateAssumeRolePolicy"
		}
		return identityShow(ctx, e, account, action, p)
	})
	set.Flags().StringVar(&newTrust, "file", "", "file with the trust policy, - for standard input")
	set.Flags().StringVar(&newAbout, "description", "", "what it is for")
	set.Flags().DurationVar(&newLongest, "max-session", 0, "how long a session may last, 1h to 12h")
	return group("role", "Roles, which users can take on for a while", create, ls, get, set, rm, newRevokeCommand(e, "role"), newHolderPolicyCommand(e, "role"))
}

func newPolicyCommand(e *env) *cobra.Command {
	var file, about string
	create := e.leaf("create ACCOUNT/NAME --file FILE", "Make a policy that can be attached", args("ACCOUNT/NAME"), func(ctx context.Context, a []string) error {
		account, name, err := owned(a[0])
		if err != nil {
			return err
		}
		p := params{"PolicyName": name}.set("Description", about)
		if p["PolicyDocument"], err = e.document(file); err != nil {
			return err
		}
		return identityShow(ctx, e, account, "CreatePolicy", p)
	})
	create.Flags().StringVar(&file, "file", "", "file with the policy document, - for standard input")
	create.Flags().StringVar(&about, "description", "", "what it is for")
	// of returns the account whose word counts for a policy, which may be built in.
	of := func(arg string) (account, arn string) {
		arn = policyARN(arg)
		account, _, _ = strings.Cut(strings.TrimPrefix(arn, "arn:aws:iam::"), ":")
		return account, arn
	}
	var newFile string
	update := e.leaf("set POLICY --file FILE", "Put another document in force; the four before stay as versions", args("POLICY"), func(ctx context.Context, a []string) error {
		text, err := e.document(newFile)
		if err != nil {
			return err
		}
		account, arn := of(a[0])
		return identityShow(ctx, e, account, "CreatePolicyVersion", params{"PolicyArn": arn, "PolicyDocument": text, "SetAsDefault": "true", "Oldest": "true"})
	})
	update.Flags().StringVar(&newFile, "file", "", "file with the policy document, - for standard input")
	var sure string
	rm := e.leaf("rm POLICY", "Remove a policy that is attached nowhere", args("POLICY"), func(ctx context.Context, a []string) error {
		if err := confirm("policy", a[0], sure, "its versions would be lost"); err != nil {
			return err
		}
		account, arn := of(a[0])
		return identityChange(ctx, e, account, "DeletePolicy", params{"PolicyArn": arn, "Force": "true"}, "policy '%s' removed", a[0])
	})
	rm.Flags().StringVar(&sure, "confirm", "", "repeat the name")
	one := func(use, short, action string, run func(ctx context.Context, e *env, account, action string, p params) error) *cobra.Command {
		return e.leaf(use, short, args("POLICY"), func(ctx context.Context, a []string) error {
			account, arn := of(a[0])
			return run(ctx, e, account, action, params{"PolicyArn": arn})
		})
	}
	return group("policy", "Policies that can be attached to users, groups and roles", create,
		e.leaf("ls ACCOUNT", "List policies that an account can attach, the built-in ones included", args("ACCOUNT"), func(ctx context.Context, a []string) error {
			return identityList(ctx, e, a[0], "ListPolicies", nil)
		}),
		one("get POLICY", "Show a policy: an ARN, ACCOUNT/NAME or a built-in one's name", "GetPolicy", identityShow),
		one("versions POLICY", "List the versions of a policy", "ListPolicyVersions", identityList),
		update, rm)
}

func newProviderCommand(e *env) *cobra.Command {
	var clients, thumbprints []string
	create := e.leaf("create ACCOUNT URL", "Take an identity provider's word on who users are", args("ACCOUNT", "URL"), func(ctx context.Context, a []string) error {
		p := params{"Url": a[1]}
		for i, c := range clients {
			p[fmt.Sprintf("ClientIDList.member.%d", i+1)] = c
		}
		for i, t := range thumbprints {
			p[fmt.Sprintf("ThumbprintList.member.%d", i+1)] = t
		}
		return identityShow(ctx, e, a[0], "CreateOpenIDConnectProvider", p)
	})
	create.Flags().StringSliceVar(&clients, "client-id", nil, "whom tokens must be for")
	create.Flags().StringSliceVar(&thumbprints, "thumbprint", nil, "kept for AWS's clients; certificates are verified as browsers do")
	return group("provider", "OpenID Connect providers of an account", create,
		e.leaf("ls ACCOUNT", "List providers", args("ACCOUNT"), func(ctx context.Context, a []string) error {
			return identityList(ctx, e, a[0], "ListOpenIDConnectProviders", nil)
		}),
		e.leaf("rm ACCOUNT URL", "Take its word no more", args("ACCOUNT", "URL"), func(ctx context.Context, a []string) error {
			_, host, ok := strings.Cut(a[1], "://")
			if !ok {
				host = a[1]
			}
			return identityChange(ctx, e, a[0], "DeleteOpenIDConnectProvider", params{"OpenIDConnectProviderArn": "arn:aws:iam::" + a[0] + ":oidc-provider/" + host}, "provider '%s' removed", a[1])
		}))
}
