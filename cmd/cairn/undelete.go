package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/internal/api"
)

func newBucketDeletedCommand(e *env) *cobra.Command {
	var prefix string
	var limit int
	cmd := e.leaf("deleted NAME", "List objects that were deleted or replaced and can be brought back", args("NAME"), func(ctx context.Context, a []string) error {
		if limit < 1 || limit > 1_000_000 {
			return usageErrorf("flag --limit %d: want 1 to 1000000", limit)
		}
		return runBucketDeleted(ctx, e, a[0], prefix, limit)
	})
	cmd.Flags().StringVar(&prefix, "prefix", "", "only keys that begin so")
	cmd.Flags().IntVar(&limit, "limit", api.MaxDeletedPage, "at most so many")
	return cmd
}

func runBucketDeleted(ctx context.Context, e *env, name, prefix string, limit int) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (all api.DeletedPage, err error) {
		all.Objects = []api.DeletedObject{}
		q := api.DeletedQuery{Prefix: prefix}
		for {
			q.Limit = min(api.MaxDeletedPage, limit-len(all.Objects))
			page, err := c.BucketDeleted(ctx, name, q)
			if err != nil {
				return all, err
			}
			all.Objects, all.More = append(all.Objects, page.Objects...), page.More
			if !page.More || len(page.Objects) == 0 || len(all.Objects) >= limit {
				return all, nil
			}
			last := &page.Objects[len(page.Objects)-1]
			q.After, q.AfterID = last.Key, last.ID
		}
	}, show.Deleted)
}

func newBucketUndeleteCommand(e *env) *cobra.Command {
	var in api.Undelete
	cmd := e.leaf("undelete NAME/KEY", "Bring back an object that was deleted or replaced", args("NAME/KEY"), func(ctx context.Context, a []string) error {
		name, key, _ := strings.Cut(a[0], "/")
		if key == "" {
			return usageErrorf("cairn bucket undelete: %q has no key: want NAME/KEY", a[0])
		}
		in.Key = key
		return runBucketUndelete(ctx, e, name, in)
	})
	cmd.Flags().StringVar(&in.ID, "id", "", "which one, as `cairn bucket deleted` lists them (default the one that was deleted last)")
	cmd.Flags().BoolVar(&in.Force, "force", false, "also if there is an object under the key, which is deleted then")
	return cmd
}

func runBucketUndelete(ctx context.Context, e *env, name string, in api.Undelete) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.Undeleted, error) {
		return c.BucketUndelete(ctx, name, in)
	},
		func(w io.Writer, o api.Undeleted) error {
			_, err := fmt.Fprintf(w, "object '%s' of bucket '%s' is back, %s\n", o.Key, o.Bucket, show.Bytes(o.Size))
			return err
		})
}

func newBucketPurgeCommand(e *env) *cobra.Command {
	var prefix, sure string
	cmd := e.leaf("purge NAME", "Erase deleted objects for good", args("NAME"), func(ctx context.Context, a []string) error {
		return runBucketPurge(ctx, e, a[0], prefix, sure)
	})
	cmd.Flags().StringVar(&prefix, "prefix", "", "only keys that begin so")
	cmd.Flags().StringVar(&sure, "confirm", "", "repeat the name")
	return cmd
}

func runBucketPurge(ctx context.Context, e *env, name, prefix, sure string) error {
	if err := confirm("bucket", name, sure, "its deleted objects could not be brought back"); err != nil {
		return err
	}
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (all api.Purged, err error) {
		for {
			some, err := c.BucketPurge(ctx, name, api.Purge{Prefix: prefix, Confirm: sure})
			all.Erased, all.More = all.Erased+some.Erased, some.More
			if err != nil || !some.More {
				return all, err
			}
		}
	}, func(w io.Writer, p api.Purged) error {
		_, err := fmt.Fprintf(w, "%d deleted objects of bucket '%s' erased\n", p.Erased, name)
		return err
	})
}
