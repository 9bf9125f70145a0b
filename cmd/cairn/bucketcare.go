package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/internal/api"
)

// quotaCalls are the calls about quotas of one kind.
type quotaCalls struct {
	kind string // bucket or user
	get  func(c *api.Client, ctx context.Context, name string) (api.QuotaState, error)
	set  func(c *api.Client, ctx context.Context, name string, q api.Quota) (api.QuotaState, error)
}

func newQuotaCommand(e *env, calls quotaCalls) *cobra.Command {
	var objects, bytes, warnObjects, warnBytes string
	set := e.leaf("set NAME", "Bound what a "+calls.kind+" may hold; what is not given stays", args("NAME"), func(ctx context.Context, a []string) error {
		return runQuotaSet(ctx, e, calls, a[0], [4]string{objects, bytes, warnObjects, warnBytes})
	})
	set.Flags().StringVar(&objects, "max-objects", "", "so many objects and versions at most; 0: no bound")
	set.Flags().StringVar(&bytes, "max-bytes", "", "so many bytes of these, such as 500MiB or 2TiB; 0: no bound")
	set.Flags().StringVar(&warnObjects, "warn-objects", "", "warn from so many objects on")
	set.Flags().StringVar(&warnBytes, "warn-bytes", "", "warn from so many bytes on")
	return group("quota", "What a "+calls.kind+" may hold", set,
		e.leaf("show NAME", "Show the quota of a "+calls.kind+" and what is used of it", args("NAME"), func(ctx context.Context, a []string) error {
			return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.QuotaState, error) { return calls.get(c, ctx, a[0]) }, show.Quota)
		}))
}

func runQuotaSet(ctx context.Context, e *env, calls quotaCalls, name string, given [4]string) error {
	var values [4]int64
	some := false
	for i, s := range given {
		if s == "" {
			continue
		}
		n, err := parseBytes(s)
		if err != nil || n < 0 {
			return usageErrorf("%q is no amount: want a number, or one with a unit such as 500MiB", s)
		}
		values[i], some = n, true
	}
	if !some {
		return usageErrorf("cairn %s quota set: give at least one of --max-objects, --max-bytes, --warn-objects and --warn-bytes", calls.kind)
	}
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.QuotaState, error) {
		now, err := calls.get(c, ctx, name)
		if err != nil {
			return now, err
		}
		q := now.Quota
		for i, to := range []*int64{&q.Objects, &q.Bytes, &q.WarnObjects, &q.WarnBytes} {
			if given[i] != "" {
				*to = values[i]
			}
		}
		return calls.set(c, ctx, name, q)
	}, show.Quota)
}

func newBucketQuotaCommand(e *env) *cobra.Command {
	return newQuotaCommand(e, quotaCalls{"bucket", (*api.Client).BucketQuota, (*api.Client).SetBucketQuota})
}

func newUserQuotaCommand(e *env) *cobra.Command {
	return newQuotaCommand(e, quotaCalls{"user", (*api.Client).UserQuota, (*api.Client).SetUserQuota})
}

func newBucketCheckCommand(e *env) *cobra.Command {
	var in api.CheckCounts
	cmd := e.leaf("check NAME", "Count all of a bucket and compare with its counts", args("NAME"), func(ctx context.Context, a []string) error {
		return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.CheckedCounts, error) {
			return c.BucketCheck(ctx, a[0], in)
		}, show.CheckedCounts)
	})
	cmd.Flags().BoolVar(&in.Repair, "repair", false, "count anew what is wrong")
	return cmd
}

func newBucketSnapshotCommand(e *env) *cobra.Command {
	var owner, sure string
	clone := e.leaf("clone NAME SNAPSHOT BUCKET", "Make a new bucket of a snapshot, which shares its data", args("NAME", "SNAPSHOT", "BUCKET"), func(ctx context.Context, a []string) error {
		return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.Bucket, error) {
			return c.SnapshotClone(ctx, a[0], a[1], api.BucketClone{Name: a[2], Owner: owner})
		}, func(w io.Writer, b api.Bucket) error {
			_, err := fmt.Fprintf(w, "bucket '%s' created for user '%s'\n", b.Name, b.Owner)
			return err
		})
	})
	clone.Flags().StringVar(&owner, "owner", "", "user whose bucket it is (default the owner of the other bucket)")
	rm := e.leaf("rm NAME SNAPSHOT", "Remove a snapshot and what only it has", args("NAME", "SNAPSHOT"), func(ctx context.Context, a []string) error {
		if err := confirm("snapshot", a[1], sure, "what only it has would be lost"); err != nil {
			return err
		}
		return change(ctx, e, func(ctx context.Context, c *api.Client) error { return c.SnapshotRemove(ctx, a[0], a[1]) }, "snapshot '%s' of bucket '%s' removed", a[1], a[0])
	})
	rm.Flags().StringVar(&sure, "confirm", "", "repeat the snapshot's name")
	return group("snapshot", "Snapshots of buckets; S3 clients read them as BUCKET@SNAPSHOT",
		e.leaf("create NAME SNAPSHOT", "Keep a bucket as it is now", args("NAME", "SNAPSHOT"), func(ctx context.Context, a []string) error {
			return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.Snapshot, error) {
				return c.SnapshotCreate(ctx, a[0], a[1])
			},
				func(w io.Writer, s api.Snapshot) error {
					_, err := fmt.Fprintf(w, "snapshot '%s' of bucket '%s' taken\n", s.Name, s.Bucket)
					return err
				})
		}),
		e.leaf("ls NAME", "List the snapshots of a bucket", args("NAME"), func(ctx context.Context, a []string) error {
			return ask(ctx, e, func(ctx context.Context, c *api.Client) ([]api.Snapshot, error) { return c.Snapshots(ctx, a[0]) }, show.Snapshots)
		}), clone, rm)
}
