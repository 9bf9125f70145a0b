// Command bench measures a cluster of processes on this machine; package bench
// says what.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/tools/bench"
	"github.com/cairnstore/cairn/tools/torture"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	var o bench.Options
	var dir, rows, json string
	var peers []string
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure a cluster of one monitor and some OSDs", Args: cobra.NoArgs, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Rows, err = regexp.Compile(rows); err != nil {
				return err
			}
			for _, p := range peers {
				peer, err := bench.ParsePeer(p)
				if err != nil {
					return err
				}
				o.Peers = append(o.Peers, peer)
			}
			o.S3 = o.S3 || o.Keys > 0
			return run(cmd.Context(), o, dir, json, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Cluster.Binary, "cairn", "", "cairn program (default: it is built)")
	f.StringVar(&dir, "dir", "", "directory on the disk to measure (default: the temporary directory); all is removed afterwards")
	f.StringVar(&o.Cluster.Journal, "journal", "256MiB", "journal of each OSD")
	f.StringVar(&o.Cluster.Capacity, "capacity", "20GiB", "capacity of each OSD")
	f.StringSliceVar(&o.Cluster.OSDArgs, "osd-args", nil, "more flags for every OSD")
	f.StringVar(&rows, "rows", "", "rows to measure, a regular expression (default: all)")
	f.Float64Var(&o.Seconds, "seconds", 10, "of each measurement")
	f.IntVar(&o.Reps, "reps", 3, "measurements of each row")
	f.Uint32Var(&o.PGs, "pgs", 32, "placement groups of the pool")
	f.IntVar(&o.Cluster.OSDs, "osds", 3, "OSDs, each on a host of its own")
	f.StringVar(&o.Chunks, "chunks", "", "how the pool keeps chunks, such as 4:2:rs, which wants --osds 6; Ceph's pool is erasure-coded the same way (default: three copies)")
	f.Uint32Var(&o.Chunk, "chunk-size", 0, "bytes of a chunk (default: the pool's)")
	f.Uint32Var(&o.Size, "size", 0, "copies of what is not in chunks (default: the pool's with chunks, else 3)")
	f.StringVar(&o.Dedup, "dedup", "", "who shares chunks: tenant, cluster or off (default: the pool's)")
	f.StringVar(&o.Ceph, "ceph", "", "directory of a running Ceph cluster, with ceph.conf and run/*.pid, to alternate with")
	f.BoolVar(&o.S3, "s3", false, "measure S3 instead, through a gateway on a pool of three copies and one on 2:1 chunks; a --ceph cluster by its RGW")
	f.StringVar(&o.Payload, "payload", "signed", "S3: how bodies are vouched for: signed (SHA-256), unsigned or trailer (CRC32)")
	f.StringArrayVar(&peers, "peer", nil, "S3: another server to alternate with, NAME=URL,ACCESS,SECRET[,PID...] in quotes; may be repeated")
	f.Int64Var(&o.Keys, "keys", 0, "put so many small keys into one bucket, listing it all the time, and say how long pages and the longest operation took")
	f.BoolVar(&o.Spread, "spread", false, "with --keys: keys in no order (default: each behind the one before)")
	f.Float64Var(&o.Slow, "slow-osd", 0, "measure what writes again, with the last OSD's device so many times as slow")
	f.StringVar(&o.Profile, "profile", "", "directory for CPU profiles of the OSDs")
	f.StringVar(&json, "json", "", "file for all measurements, a line of JSON each")
	return cmd
}

func run(ctx context.Context, o bench.Options, dir, json string, out io.Writer) error {
	tmp, err := os.MkdirTemp(dir, "cairn-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if o.Cluster.Binary == "" {
		if o.Cluster.Binary, err = torture.Build(ctx, tmp); err != nil {
			return err
		}
	}
	o.Cluster.Dir, o.Out = filepath.Join(tmp, "cluster"), out
	if json != "" {
		f, err := os.Create(json)
		if err != nil {
			return err
		}
		defer f.Close()
		o.JSON = f
	}
	if err := bench.Run(ctx, o); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}
