package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/tools/torture"

	load "github.com/cairnstore/cairn/client/bench"
)

const (
	keyBytes   = 100  // of each object's body
	keyFlight  = 64   // puts under way
	keySeconds = 7200 // that a run may take
)

// runKeys puts many small keys into one bucket while pages of it are listed, and then lists it with nothing else going on.
func runKeys(ctx context.Context, o *Options, c *torture.Cluster) error {
	server := ownServer(c, c.S3Addrs[0])
	bench := func(kind string, args ...string) (load.S3Result, error) {
		var r load.S3Result
		out, err := cairn(ctx, c, append(append([]string{"s3", "bench", kind, "-o", "json", "--bucket", benchBucket, "--run-name", "keys"}, args...), server...)...)
		if err == nil {
			err = json.Unmarshal(out, &r)
		}
		return r, err
	}
	order := []string{"--spread"}
	if !o.Spread {
		order = nil // each key behind the one before, so that all puts go where the index is being split
	}
	// The listing finds a bucket with something in it.
	if _, err := bench("put", append(order, "--ops", "1000", "--size", strconv.Itoa(keyBytes), "--no-cleanup")...); err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "%d keys of %d bytes, %d puts in flight, one page of 1,000 keys after the other listed meanwhile\n", o.Keys, keyBytes, keyFlight)
	stop, listed := make(chan struct{}), make(chan error, 1)
	var during []load.S3Result
	go func() { // ends with stop, and its last run
		for {
			select {
			case <-stop:
				listed <- nil
				return
			default:
			}
			r, err := bench("list", "-t", "1", "--seconds", "5")
			if err != nil {
				listed <- err
				return
			}
			during = append(during, r)
		}
	}()
	put, err := bench("put", append(order, "--ops", strconv.FormatInt(o.Keys, 10), "--seconds", strconv.Itoa(keySeconds), "-t", strconv.Itoa(keyFlight),
		"--size", strconv.Itoa(keyBytes), "--payload", "unsigned", "--no-cleanup")...)
	close(stop)
	if err = errors.Join(err, <-listed); err != nil {
		return fmt.Errorf("%w\n%s", err, c.Tails(10))
	}
	after, err := bench("list", "-t", "1", "--seconds", fmt.Sprint(o.Seconds))
	if err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "put      %d in %.0f s, %.0f/s; p50 %.1f p99 %.1f longest %.0f ms; CPU %.0f us each, of it client %.0f\n",
		put.Ops, put.Seconds, put.OpsPerSec, put.Latency.P50, put.Latency.P99, put.Latency.Max, put.CPU.Total.PerOp, put.CPU.Client.PerOp)
	fmt.Fprintf(o.Out, "splits   %d\n", count(c, "splitting a bucket index partition"))
	var p50, p99 []float64
	var pages int64
	longest := 0.
	for _, r := range during {
		pages += r.Ops
		p50, p99, longest = append(p50, r.Latency.P50), append(p99, r.Latency.P99), max(longest, r.Latency.Max)
	}
	slices.Sort(p50)
	slices.Sort(p99)
	fmt.Fprintf(o.Out, "list     meanwhile, %d runs of 5 s: %d pages, median of p50 %.1f, of p99 %.1f, longest %.0f ms\n",
		len(during), pages, p50[len(p50)/2], p99[len(p99)/2], longest)
	fmt.Fprintf(o.Out, "list     afterwards: %d pages, p50 %.1f p99 %.1f longest %.0f ms\n", after.Ops, after.Latency.P50, after.Latency.P99, after.Latency.Max)
	for _, d := range after.CPU.Daemons {
		fmt.Fprintf(o.Out, "memory   %-24s %6.0f MiB\n", d.Name, float64(d.Resident)/(1<<20))
	}
	return nil
}

// count counts lines of the gateway's log.
func count(c *torture.Cluster, text string) int {
	b, err := os.ReadFile(c.S3s[0].Log)
	if err != nil {
		return -1
	}
	return strings.Count(string(b), text)
}
