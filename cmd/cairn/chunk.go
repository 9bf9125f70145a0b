package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/cmd/cairn/show"
	"github.com/cairnstore/cairn/internal/api"
)

// chunkPage is how many chunks one request lists.
const chunkPage = 200

func newChunkCommand(e *env) *cobra.Command {
	var f api.ChunkFilter
	ls := e.leaf("ls POOL", "List chunks of a pool, by placement group, then fingerprint", args("POOL"), func(ctx context.Context, a []string) error {
		return runChunkList(ctx, e, a[0], f)
	})
	ls.Flags().StringVar(&f.PG, "pg", "", "only of this placement group")
	ls.Flags().StringVar(&f.Prefix, "prefix", "", "only those whose fingerprints begin so, such as blake3:0a1b")
	ls.Flags().IntVar(&f.Limit, "limit", 1000, "at most so many; 0: all")
	all := false
	verify := e.leaf("verify POOL [FINGERPRINT]", "Read all shards of a chunk, or of all, and hold the bytes against the fingerprint", cobra.RangeArgs(1, 2),
		func(ctx context.Context, a []string) error {
			switch {
			case all && len(a) == 1:
				return runGC(ctx, e, api.CareVerify, gcFlags{pool: a[0], minAge: -1})
			case all || len(a) == 1:
				return usageErrorf("chunk verify: name a chunk, see `cairn chunk ls %s`, or give --all", a[0])
			}
			return runChunkVerify(ctx, e, a[0], a[1])
		})
	verify.Long = `Read all shards of a chunk from their holders, which hold every block against its checksum;
make its bytes of them, and once more with the parity; hold them against the chunk's fingerprint.
Nothing is changed: ` + "`cairn gc repair`" + ` makes shards again. --all has the OSDs do so with all
chunks of the pool, and waits; interrupting it does not end their work.`
	verify.Flags().BoolVar(&all, "all", false, "all chunks of the pool")
	return group("chunk", "Chunks: what the index says of them, and whether their bytes are right", ls,
		e.leaf("show POOL FINGERPRINT", "Show where a chunk is, how its shards are, and who refers to it", args("POOL", "FINGERPRINT"), func(ctx context.Context, a []string) error {
			return ask(ctx, e, func(ctx context.Context, c *api.Client) (api.Chunk, error) { return c.Chunk(ctx, a[0], a[1]) }, show.Chunk)
		}), verify)
}

func runChunkList(ctx context.Context, e *env, pool string, f api.ChunkFilter) error {
	if f.Limit < 0 {
		return usageErrorf("flag --limit %d: want zero or more", f.Limit)
	}
	c, err := e.client()
	if err != nil {
		return err
	}
	defer c.Close()
	most := f.Limit
	sum := api.Chunks{Chunks: []api.Chunk{}}
	for {
		f.Limit = chunkPage
		if most > 0 {
			f.Limit = min(f.Limit, most-len(sum.Chunks))
		}
		page, err := c.Chunks(ctx, pool, f)
		if err != nil {
			return err
		}
		sum.Chunks = append(sum.Chunks, page.Chunks...)
		sum.After, f.After = page.After, page.After
		if page.After == "" || most > 0 && len(sum.Chunks) >= most {
			return printed(e, sum, show.Chunks)
		}
	}
}

func runChunkVerify(ctx context.Context, e *env, pool, fingerprint string) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	defer c.Close()
	x, err := c.ChunkVerify(ctx, pool, fingerprint)
	if err != nil {
		return err
	}
	if err := printed(e, x, show.Chunk); err != nil {
		return err
	}
	if x.Verdict == nil || !x.Verdict.OK {
		return &damageError{exitDamage}
	}
	return nil
}
