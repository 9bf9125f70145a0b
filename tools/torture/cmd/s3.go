package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/tools/torture"
)

func newS3Command() *cobra.Command {
	var p place
	var plan torture.S3Plan
	cmd := &cobra.Command{
		Use: "s3", Short: "Conditional changes race at several S3 gateways, and clients share a prefix, while processes are killed", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if plan.Seed == 0 {
				plan.Seed = uint64(rand.Uint32())
			}
			fmt.Printf("seed %d; replay with: go run ./tools/torture/cmd s3 --seed %d --rounds %d\n", plan.Seed, plan.Seed, plan.Rounds)
			began := time.Now()
			plan.Logf = func(format string, args ...any) {
				fmt.Printf("[%7.1fs] %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
			}
			return p.cluster(cmd.Context(), func(c *torture.Cluster) error {
				stats, err := torture.S3Torture(cmd.Context(), c, plan)
				fmt.Println(stats)
				return err
			})
		},
	}
	p.register(cmd, 3, 4)
	cmd.Flags().IntVar(&p.o.Gateways, "gateways", 3, "S3 gateways")
	cmd.Flags().Uint64Var(&plan.Seed, "seed", 0, "seed of the plan (default: random)")
	cmd.Flags().IntVar(&plan.Rounds, "rounds", 10_000, "rounds of changes that race for a key")
	cmd.Flags().BoolVar(&plan.Calm, "calm", false, "kill nobody")
	return cmd
}
