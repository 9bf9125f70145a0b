package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/placement"
)

func newPoolCommand(e *env) *cobra.Command {
	return group("pool", "Pools", newPoolCreateCommand(e), newPoolListCommand(e), newPoolSetCommand(e), newPoolGetCommand(e), newPoolSettleCommand(e), newPoolRemoveCommand(e))
}

func newPoolCreateCommand(e *env) *cobra.Command {
	var p api.PoolCreate
	chunkSize := ""
	cmd := e.leaf("create NAME", "Make a pool", args("NAME"), func(ctx context.Context, a []string) error {
		p.Name = a[0]
		if p.Size > 0 && p.MinSize > p.Size {
			return usageErrorf("flag --min-size %d: want at most --size, which is %d", p.MinSize, p.Size)
		}
		if chunkSize != "" {
			n, err := placement.ParseChunkSize(chunkSize)
			if err != nil {
				return usageErrorf("flag --chunk-size: %v", err)
			}
			p.ChunkSize = n
		}
		return runPoolCreate(ctx, e, p)
	})
	cmd.Flags().Uint32Var(&p.Size, "size", 0, "copies (default 3; with --chunks K:M:rs M+2 if that is more)")
	cmd.Flags().Uint32Var(&p.MinSize, "min-size", 0, "in-sync copies below which nothing commits (default size - size/2)")
	cmd.Flags().Uint32Var(&p.PGNum, "pg-num", 0, "placement groups (default: chosen from the number of OSDs)")
	cmd.Flags().StringVar(&p.Autoscale, "autoscale-mode", "", "whether the monitors raise pg_num: on, off or warn (default on, or off with --pg-num)")
	cmd.Flags().StringVar(&p.Rule, "rule", "", "CRUSH rule (default replicated_rule)")
	cmd.Flags().StringVar(&p.Application, "application", "", "what uses it: s3, rbd, nfs or free text")
	cmd.Flags().StringVar(&p.Chunks, "chunks", "", "keep large data as chunks, each so: replica:N, K:1:xor or K:M:rs, such as 4:2:rs (default: no chunks)")
	cmd.Flags().StringVar(&p.Dedup, "dedup", "", "who shares equal chunks: tenant, cluster or off (default tenant)")
	cmd.Flags().StringVar(&p.Cut, "cut", "", "where chunks end: fixed or content (default fixed)")
	cmd.Flags().StringVar(&chunkSize, "chunk-size", "", "size of fixed chunks, mean of others, from 8K to 4M (default 1M)")
	cmd.Flags().StringVar(&p.Compression, "compression", "", "of chunks, where it pays: none, s2, zstd or lz4 (default none)")
	return cmd
}

func runPoolCreate(ctx context.Context, e *env, p api.PoolCreate) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.Pool, error) { return c.PoolCreate(ctx, p) },
		func(w io.Writer, p api.Pool) error {
			_, err := fmt.Fprintf(w, "pool '%s' created\n", p.Name)
			return err
		})
}

func newPoolListCommand(e *env) *cobra.Command {
	cmd := e.leaf("ls [detail]", "List pools", args("[detail]"), func(ctx context.Context, a []string) error {
		if len(a) == 1 && a[0] != "detail" {
			return usageErrorf("cairn pool ls: unknown argument %q: want detail or nothing", a[0])
		}
		return runPoolList(ctx, e, len(a) == 1)
	})
	cmd.ValidArgs = []string{"detail"}
	return cmd
}

func runPoolList(ctx context.Context, e *env, detail bool) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) ([]api.Pool, error) { return c.Pools(ctx) },
		func(w io.Writer, pools []api.Pool) error {
			if detail {
				return show.PoolDetail(w, pools)
			}
			for _, p := range pools {
				if _, err := fmt.Fprintln(w, p.Name); err != nil {
					return err
				}
			}
			return nil
		})
}

func newPoolSetCommand(e *env) *cobra.Command {
	keys := api.PoolSettingKeys()
	cmd := e.leaf("set NAME KEY VALUE", "Change a setting of a pool: "+strings.Join(keys, ", "), args("NAME", "KEY", "VALUE"),
		func(ctx context.Context, a []string) error {
			if !slices.Contains(keys, a[1]) {
				return usageErrorf("cairn pool set: unknown setting %q: want one of %s", a[1], strings.Join(keys, ", "))
			}
			return runPoolSet(ctx, e, a[0], a[1], a[2])
		})
	return cmd
}

func runPoolSet(ctx context.Context, e *env, name, key, value string) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.Pool, error) { return c.PoolSet(ctx, name, key, value) },
		func(w io.Writer, p api.Pool) error {
			_, err := fmt.Fprintf(w, "set pool %d %s to %s\n", p.ID, key, value)
			return err
		})
}

// poolValues are the settings of a pool that can be read.
func poolValues(p api.Pool) [][2]string {
	u := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	size := "none"
	if p.ChunkSize != 0 {
		size = placement.FormatChunkSize(p.ChunkSize)
	}
	word := func(s string) string { return cmp.Or(s, "none") }
	return [][2]string{{"application", p.Application}, {"chunk_size", size}, {"chunks", word(p.Chunks)}, {"compression", word(p.Compression)},
		{"crush_rule", p.RuleName}, {"cut", word(p.Cut)}, {"dedup", word(p.Dedup)}, {"id", u(p.ID)}, {"min_size", u(p.MinSize)},
		{"pg_autoscale_mode", p.Autoscale}, {"pg_num", u(p.PGNum)}, {"pg_num_target", u(p.PGNumTarget)}, {"pgp_num", u(p.PGNum)}, {"size", u(p.Size)}}
}

func newPoolGetCommand(e *env) *cobra.Command {
	var keys []string
	for _, kv := range poolValues(api.Pool{}) {
		keys = append(keys, kv[0])
	}
	return e.leaf("get NAME KEY|all", "Show a setting of a pool", args("NAME", "KEY"), func(ctx context.Context, a []string) error {
		if a[1] != "all" && !slices.Contains(keys, a[1]) {
			return usageErrorf("cairn pool get: unknown setting %q: want all or one of %s", a[1], strings.Join(keys, ", "))
		}
		return runPoolGet(ctx, e, a[0], a[1])
	})
}

func runPoolGet(ctx context.Context, e *env, name, key string) error {
	return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.Pool, error) { return c.Pool(ctx, name) },
		func(w io.Writer, p api.Pool) error {
			for _, kv := range poolValues(p) {
				if key == "all" || key == kv[0] {
					if _, err := fmt.Fprintf(w, "%s: %s\n", kv[0], kv[1]); err != nil {
						return err
					}
				}
			}
			return nil
		})
}

// confirm refuses to go on unless the name of what is to be destroyed was repeated.
func confirm(kind, name, confirmed, effect string) error {
	if name == confirmed {
		return nil
	}
	given := "--confirm is missing"
	if confirmed != "" {
		given = fmt.Sprintf("--confirm says %q", confirmed)
	}
	return fmt.Errorf("removing %s %q is %w: %s, and %s. If you mean it, add --confirm %s", kind, name, api.ErrNotPermitted, given, effect, name)
}

func newPoolRemoveCommand(e *env) *cobra.Command {
	var sure string
	cmd := e.leaf("rm NAME", "Remove a pool with all its objects", args("NAME"), func(ctx context.Context, a []string) error {
		return runPoolRemove(ctx, e, a[0], sure)
	})
	cmd.Flags().StringVar(&sure, "confirm", "", "repeat the name: all objects are lost")
	return cmd
}

func runPoolRemove(ctx context.Context, e *env, name, sure string) error {
	if err := confirm("pool", name, sure, "all its objects would be lost for ever"); err != nil {
		return err
	}
	return change(ctx, e, func(ctx context.Context, c *api.Client) error { return c.PoolRemove(ctx, name, sure) }, "pool '%s' removed", name)
}
