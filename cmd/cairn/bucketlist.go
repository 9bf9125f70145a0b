package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/internal/api"
)

// bucketStats is how many buckets are asked about at a time.
const bucketStats = 4

func newBucketListCommand(e *env) *cobra.Command {
	var long, commas bool
	var owner string
	cmd := e.leaf("ls", "List buckets", args(), func(ctx context.Context, _ []string) error {
		if commas && e.json() {
			return usageErrorf("flags --csv and -o json: give one of them")
		}
		print := show.Buckets
		if commas {
			print = bucketsCSV
		}
		return ask(ctx, e, func(ctx context.Context, c *api.Client) ([]api.Bucket, error) {
			return listBuckets(ctx, c, owner, long)
		}, print)
	})
	cmd.Flags().BoolVarP(&long, "long", "l", false, "count objects and bytes of each bucket, too")
	cmd.Flags().BoolVar(&commas, "csv", false, "print comma-separated values with a line of titles")
	cmd.Flags().StringVar(&owner, "owner", "", "only those of this user")
	return cmd
}

func listBuckets(ctx context.Context, c *api.Client, owner string, long bool) ([]api.Bucket, error) {
	all, err := c.Buckets(ctx)
	if err != nil {
		return nil, err
	}
	if owner != "" {
		all = slices.DeleteFunc(all, func(b api.Bucket) bool { return b.Owner != owner })
	}
	if !long {
		return all, nil
	}
	errs := make([]error, len(all))
	slots := make(chan struct{}, bucketStats)
	var wg sync.WaitGroup
	for i := range all {
		slots <- struct{}{}
		wg.Go(func() { // until it is answered, or its time is up
			defer func() { <-slots }()
			b, err := c.Bucket(ctx, all[i].Name)
			if errs[i] = err; err == nil {
				all[i] = b
			}
		})
	}
	wg.Wait()
	var kept []api.Bucket
	for i, b := range all {
		switch {
		case errors.Is(errs[i], api.ErrNotFound): // removed meanwhile
		case errs[i] != nil:
			return nil, fmt.Errorf("bucket %q: %w", b.Name, errs[i])
		default:
			kept = append(kept, b)
		}
	}
	return kept, nil
}

func bucketsCSV(w io.Writer, all []api.Bucket) error {
	c := csv.NewWriter(w)
	rows := [][]string{{"bucket", "owner", "created", "objects", "bytes", "partial", "versioning", "settings"}}
	for _, b := range all {
		var settings []string
		for _, k := range slices.Sorted(maps.Keys(b.Settings)) {
			settings = append(settings, k+"="+b.Settings[k])
		}
		count := func(n int64) string {
			if n < 0 {
				return ""
			}
			return strconv.FormatInt(n, 10)
		}
		rows = append(rows, []string{b.Name, b.Owner, time.Unix(b.Created, 0).UTC().Format(time.RFC3339), count(b.Objects), count(b.Bytes),
			strconv.FormatBool(b.Partial), b.Versioning, strings.Join(settings, " ")})
	}
	return c.WriteAll(rows)
}
