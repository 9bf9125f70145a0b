package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/internal/api"
)

func newKMSCommand(e *env) *cobra.Command {
	do := func(what, short, done string) *cobra.Command {
		return e.leaf(what+" ID", short, args("ID"), func(ctx context.Context, a []string) error { return runKeyDo(ctx, e, a[0], what, done) })
	}
	return group("kms", "Keys of server-side encryption", group("key", "Master keys",
		newKeyCreateCommand(e),
		e.leaf("ls", "List keys", args(), func(ctx context.Context, _ []string) error { return runKeyList(ctx, e) }),
		do("rotate", "Give a key a new version; older ones still decrypt", "has a new version"),
		do("disable", "Have a key not used any more, also not to decrypt", "is disabled"),
		do("enable", "Have a key used again", "is enabled"),
		newKeyRemoveCommand(e)))
}

func newKeyCreateCommand(e *env) *cobra.Command {
	var in api.EncryptionKeyCreate
	cmd := e.leaf("create [ID]", "Make a key; without an ID one is made up", args("[ID]"), func(ctx context.Context, a []string) error {
		if len(a) > 0 {
			in.ID = a[0]
		}
		return runKeyCreate(ctx, e, in)
	})
	cmd.Flags().StringVar(&in.Description, "description", "", "what it is for")
	return cmd
}

func runKeyCreate(ctx context.Context, e *env, in api.EncryptionKeyCreate) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.EncryptionKey, error) {
		return c.EncryptionKeyCreate(ctx, in)
	},
		func(w io.Writer, k api.EncryptionKey) error {
			_, err := fmt.Fprintf(w, "key '%s' created\n", k.ID)
			return err
		})
}

func runKeyList(ctx context.Context, e *env) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) ([]api.EncryptionKey, error) { return c.EncryptionKeys(ctx) }, show.EncryptionKeys)
}

func runKeyDo(ctx context.Context, e *env, id, what, done string) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.EncryptionKey, error) {
		return c.EncryptionKeyDo(ctx, id, what)
	},
		func(w io.Writer, k api.EncryptionKey) error {
			_, err := fmt.Fprintf(w, "key '%s' %s\n", k.ID, done)
			return err
		})
}

func newKeyRemoveCommand(e *env) *cobra.Command {
	var sure string
	cmd := e.leaf("rm ID", "Remove a disabled key: what it encrypted is lost", args("ID"), func(ctx context.Context, a []string) error {
		return runKeyRemove(ctx, e, a[0], sure)
	})
	cmd.Flags().StringVar(&sure, "confirm", "", "repeat the id")
	return cmd
}

func runKeyRemove(ctx context.Context, e *env, id, sure string) error {
	if err := confirm("encryption key", id, sure, "what it encrypted could never be read again"); err != nil {
		return err
	}
	return change(ctx, e, func(ctx context.Context, c *api.Client) error { return c.EncryptionKeyRemove(ctx, id, sure) }, "key '%s' removed", id)
}
