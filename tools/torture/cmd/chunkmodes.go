package main

import (
	"fmt"
	"math/rand/v2"
	"os"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/tools/torture"
)

func newChunkModesCommand() *cobra.Command {
	var p place
	plan := torture.ModesPlan{Out: os.Stdout}
	cmd := &cobra.Command{
		Use: "chunkmodes", Short: "For each way to keep chunks: lose as many holders as it stands, read everything, repair, and look at everything", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if plan.Seed == 0 {
				plan.Seed = uint64(rand.Uint32())
			}
			fmt.Printf("seed %d; replay with: go run ./tools/torture/cmd chunkmodes --seed %d\n", plan.Seed, plan.Seed)
			return p.cluster(cmd.Context(), func(c *torture.Cluster) error { return torture.ChunkModes(cmd.Context(), c, plan) })
		},
	}
	p.register(cmd, 1, 12)
	cmd.Flags().StringSliceVar(&plan.Modes, "modes", nil, "modes such as 4:2:rs (default: all eight)")
	cmd.Flags().Uint64Var(&plan.Seed, "seed", 0, "seed of data and victims (default: random)")
	cmd.Flags().IntVar(&plan.MiB, "mib", 0, "MiB in whole chunks for each mode (default 48)")
	return cmd
}
