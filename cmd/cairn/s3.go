package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/internal/api"
)

func newBucketCommand(e *env) *cobra.Command {
	return group("bucket", "S3 buckets",
		newBucketListCommand(e),
		e.leaf("stat NAME", "Show a bucket", args("NAME"), func(ctx context.Context, a []string) error { return runBucketStat(ctx, e, a[0]) }),
		e.leaf("info NAME[/KEY]", "Show a bucket's settings, or what it or an object takes and what deduplication saves", args("NAME[/KEY]"),
			func(ctx context.Context, a []string) error { return runBucketInfo(ctx, e, a[0]) }),
		e.leaf("set NAME KEY VALUE", "Change a setting of a bucket: "+strings.Join(api.BucketSettingKeys(), ", ")+"; pool: as its pool", args("NAME", "KEY", "VALUE"),
			func(ctx context.Context, a []string) error {
				if !slices.Contains(api.BucketSettingKeys(), a[1]) {
					return usageErrorf("cairn bucket set: unknown setting %q: want one of %s", a[1], strings.Join(api.BucketSettingKeys(), ", "))
				}
				return runBucketSet(ctx, e, a[0], a[1], a[2])
			}),
		newBucketCreateCommand(e),
		newBucketObjectCommand(e), newBucketRemoveCommand(e), newBucketDeletedCommand(e), newBucketUndeleteCommand(e), newBucketPurgeCommand(e),
		newBucketQuotaCommand(e), newBucketCheckCommand(e), newBucketSnapshotCommand(e),
	)
}

func runBucketStat(ctx context.Context, e *env, name string) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.Bucket, error) { return c.Bucket(ctx, name) }, show.Bucket)
}

func runBucketInfo(ctx context.Context, e *env, path string) error {
	name, key, ofKey := strings.Cut(path, "/")
	if ofKey && key == "" {
		return usageErrorf("cairn bucket info: %q has no key behind the /", path)
	}
	if ofKey {
		return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.BucketUsage, error) {
			return c.BucketUsage(ctx, name, key)
		}, show.BucketUsage)
	}
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (i api.BucketInfo, err error) {
		if i.Bucket, err = c.Bucket(ctx, name); err == nil {
			i.Usage, err = c.BucketUsage(ctx, name, "")
		}
		return i, err
	}, show.BucketInfo)
}

func runBucketSet(ctx context.Context, e *env, name, key, value string) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.Bucket, error) {
		return c.BucketSet(ctx, name, key, value)
	},
		func(w io.Writer, b api.Bucket) error {
			_, err := fmt.Fprintf(w, "set bucket '%s' %s to %s\n", b.Name, key, value)
			return err
		})
}

func newBucketCreateCommand(e *env) *cobra.Command {
	var b api.BucketCreate
	cmd := e.leaf("create NAME --owner USER", "Make a bucket for a user", args("NAME"), func(ctx context.Context, a []string) error {
		b.Name = a[0]
		if b.Owner == "" {
			return usageErrorf("flag --owner is missing: want the user whose bucket it is; see `cairn user ls`")
		}
		return runBucketCreate(ctx, e, b)
	})
	cmd.Flags().StringVar(&b.Owner, "owner", "", "user whose bucket it is")
	return cmd
}

func runBucketCreate(ctx context.Context, e *env, b api.BucketCreate) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.Bucket, error) { return c.BucketCreate(ctx, b) },
		func(w io.Writer, b api.Bucket) error {
			_, err := fmt.Fprintf(w, "bucket '%s' created for user '%s'\n", b.Name, b.Owner)
			return err
		})
}

func newBucketRemoveCommand(e *env) *cobra.Command {
	var sure string
	cmd := e.leaf("rm NAME", "Remove an empty bucket", args("NAME"), func(ctx context.Context, a []string) error {
		return runBucketRemove(ctx, e, a[0], sure)
	})
	cmd.Flags().StringVar(&sure, "confirm", "", "repeat the name")
	return cmd
}

func runBucketRemove(ctx context.Context, e *env, name, sure string) error {
	if err := confirm("bucket", name, sure, "its settings would be lost"); err != nil {
		return err
	}
	return change(ctx, e, func(ctx context.Context, c *api.Client) error { return c.BucketRemove(ctx, name, sure) }, "bucket '%s' removed", name)
}

func newUserCommand(e *env) *cobra.Command {
	return group("user", "S3 users and their keys", newUserCreateCommand(e), newUserListCommand(e), newUserGetCommand(e), newUserRemoveCommand(e), newUserQuotaCommand(e),
		newUserSetCommand(e, "set USER", "Change a user"), newKeyCommand(e), newHolderPolicyCommand(e, "user"), newRevokeCommand(e, "user"),
		e.leaf("usage NAME", "Show what all buckets of a user take, and what deduplication saves", args("NAME"),
			func(ctx context.Context, a []string) error {
				return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.BucketUsage, error) { return c.UserUsage(ctx, a[0]) }, show.BucketUsage)
			}))
}

// userCreateOptions configures runUserCreate.
type userCreateOptions struct {
	api.UserCreate
	SecretFile string // read the secret key from here; - is standard input
}

func newUserCreateCommand(e *env) *cobra.Command {
	var o userCreateOptions
	var path, boundary string
	cmd := e.leaf("create NAME", "Make a user who is an account, or ACCOUNT/NAME one of an account, and show its keys", args("NAME"), func(ctx context.Context, a []string) error {
		o.Name = a[0]
		if account, name, ok := strings.Cut(a[0], "/"); ok {
			if o.AccessKey != "" || o.Admin {
				return usageErrorf("cairn user create: --access-key and --administrator are for users who are accounts")
			}
			p := params{"UserName": name}.set("DisplayName", o.DisplayName).set("Email", o.Email).set("Path", path)
			if boundary != "" {
				p["PermissionsBoundary"] = policyARN(boundary)
			}
			return runOwnedUserCreate(ctx, e, account, p)
		}
		if (o.AccessKey == "") != (o.SecretFile == "") {
			return usageErrorf("flags --access-key and --secret-key-file: give both, or none to have keys made")
		}
		return runUserCreate(ctx, e, o)
	})
	cmd.Flags().StringVar(&path, "path", "", "path in the ARN of a user of an account, such as /team/")
	cmd.Flags().StringVar(&boundary, "boundary", "", "policy beyond which a user of an account may do nothing")
	cmd.Flags().StringVar(&o.Email, "email", "", "e-mail address, of nobody else")
	cmd.Flags().BoolVar(&o.Admin, "administrator", false, "let it look after the identities of all accounts")
	cmd.Flags().StringVar(&o.DisplayName, "display-name", "", "full name")
	cmd.Flags().StringVar(&o.AccessKey, "access-key", "", "use this access key")
	cmd.Flags().StringVar(&o.SecretFile, "secret-key-file", "", "file with the secret key to use, - for standard input")
	return cmd
}

// runOwnedUserCreate makes a user of an account, and a key for it.
func runOwnedUserCreate(ctx context.Context, e *env, account string, p params) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) ([]api.Identity, error) {
		made, err := c.Identity(ctx, account, "CreateUser", p)
		if err != nil {
			return nil, err
		}
		key, err := c.Identity(ctx, account, "CreateAccessKey", params{"UserName": p["UserName"], "Within": "true"})
		return append(made.Items, key.Items...), err
	}, show.Identity)
}

func runUserCreate(ctx context.Context, e *env, o userCreateOptions) error {
	if o.SecretFile != "" {
		// Not a flag: other users of the machine can see those.
		secret, err := e.readInput(o.SecretFile, 4<<10)
		if err != nil {
			return fmt.Errorf("read the secret key: %w", err)
		}
		o.SecretKey = strings.TrimSpace(string(secret))
	}
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.User, error) { return c.UserCreate(ctx, o.UserCreate) }, show.User)
}

func newUserListCommand(e *env) *cobra.Command {
	return e.leaf("ls [ACCOUNT]", "List users who are accounts, or those of an account", args("[ACCOUNT]"), func(ctx context.Context, a []string) error {
		if len(a) > 0 {
			return identityList(ctx, e, a[0], "ListUsers", nil)
		}
		return runUserList(ctx, e)
	})
}

func runUserList(ctx context.Context, e *env) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) ([]api.User, error) { return c.Users(ctx, false) }, show.Users)
}

func newUserGetCommand(e *env) *cobra.Command {
	var secrets bool
	cmd := e.leaf("get NAME", "Show a user", args("NAME"), func(ctx context.Context, a []string) error {
		if account, name, ok := strings.Cut(a[0], "/"); ok {
			return identityShow(ctx, e, account, "GetUser", params{"UserName": name, "Within": "true"})
		}
		return runUserGet(ctx, e, a[0], secrets)
	})
	cmd.Flags().BoolVar(&secrets, "show-secret", false, "show secret keys")
	return cmd
}

func runUserGet(ctx context.Context, e *env, name string, secrets bool) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.User, error) { return c.User(ctx, name, secrets) }, show.User)
}

func newUserRemoveCommand(e *env) *cobra.Command {
	var sure string
	cmd := e.leaf("rm NAME", "Remove a user and its keys", args("NAME"), func(ctx context.Context, a []string) error {
		return runUserRemove(ctx, e, a[0], sure)
	})
	cmd.Flags().StringVar(&sure, "confirm", "", "repeat the name")
	return cmd
}

func runUserRemove(ctx context.Context, e *env, name, sure string) error {
	if err := confirm("user", name, sure, "its keys would stop working for ever"); err != nil {
		return err
	}
	if account, user, ok := strings.Cut(name, "/"); ok {
		return identityChange(ctx, e, account, "DeleteUser", params{"UserName": user, "Force": "true"}, "user '%s' removed", name)
	}
	return change(ctx, e, func(ctx context.Context, c *api.Client) error { return c.UserRemove(ctx, name, sure) }, "user '%s' removed", name)
}

// readInput reads a file, or standard input for "-", of at most limit bytes.
func (e *env) readInput(path string, limit int64) ([]byte, error) {
	r, name := e.stdin, "standard input"
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r, name = f, path
	}
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, &tooLongError{name, limit}
	}
	return data, nil
}

// tooLongError says that an input is longer than it may be.
type tooLongError struct {
	name  string
	limit int64
}

func (e *tooLongError) Error() string {
	return fmt.Sprintf("%s is longer than %s", e.name, show.Bytes(e.limit))
}
