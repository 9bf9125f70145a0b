package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/cairnstore/cairn/tools/torture"
)

// slowAfter is for how many seconds there is load before a row with a slow OSD is measured: so long the cluster has to find out.
const slowAfter = 10.0

// slowDown makes the device of the last OSD so many times as slow; 1: it is well again.
func slowDown(ctx context.Context, c *torture.Cluster, times float64) error {
	p := c.OSDs[len(c.OSDs)-1]
	base, err := debugURL(p)
	if err != nil {
		return err
	}
	form := url.Values{"slow": {fmt.Sprint(times)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(base, "pprof/")+"device", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("slow %s down: %w", p.Name, err)
	}
	defer r.Body.Close()
	if b, err := io.ReadAll(r.Body); err != nil || r.StatusCode != http.StatusOK {
		return fmt.Errorf("slow %s down: %s: %s (%v)", p.Name, r.Status, b, err)
	}
	return nil
}

// measureSlow runs a row while the last OSD is slow, after the cluster has had time to find out.
func measureSlow(ctx context.Context, o *Options, c *torture.Cluster, row Row, rep int) (s Sample, err error) {
	if err := slowDown(ctx, c, o.Slow); err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, slowDown(context.WithoutCancel(ctx), c, 1)) }()
	first, during := row, *o
	first.Of, first.Ops = row.Of+"-before", 0
	during.Seconds, during.Profile = slowAfter, ""
	f, err := measure(ctx, &during, c, first, rep)
	if err != nil {
		return s, err
	}
	fmt.Fprintf(o.Out, "%d  the first %g s with a slow OSD: %.0f MiB/s, p50 %.0f, p99 %.0f, max %.0f ms\n", rep, slowAfter, f.MiB, f.P50, f.P99, f.Max)
	if err := clean(ctx, o, c, first, rep); err != nil {
		return s, err
	}
	before, err := osdCounters(ctx, c)
	if err != nil {
		return s, err
	}
	during = *o
	during.Profile = ""
	slowed := row
	slowed.Of += "-slow"
	if s, err = measure(ctx, &during, c, slowed, rep); err != nil {
		return s, err
	}
	after, err := osdCounters(ctx, c)
	if err != nil {
		return s, err
	}
	sum, its := 0.0, 0.0
	var commits []float64
	for i := range after {
		its = after[i]["shard_puts"] - before[i]["shard_puts"]
		sum += its
		commits = append(commits, after[i]["commit_latency_us"]/1e3)
	}
	s.Slowed = true
	if sum > 0 {
		s.Share = its * float64(len(after)) / sum
	}
	fmt.Fprintf(o.Out, "%d  commits take %.1f ms, the last OSD's is slow\n", rep, commits)
	return s, clean(ctx, o, c, slowed, rep)
}

// osdCounters are what each OSD has counted, in the order of c.OSDs.
func osdCounters(ctx context.Context, c *torture.Cluster) ([]map[string]float64, error) {
	out, err := cairn(ctx, c, "osd", "perf", "-o", "json")
	if err != nil {
		return nil, err
	}
	var perf struct {
		Infos []struct {
			ID       int                `json:"id"`
			Counters map[string]float64 `json:"counters"`
		} `json:"osd_perf_infos"`
	}
	if err := json.Unmarshal(out, &perf); err != nil {
		return nil, fmt.Errorf("what cairn osd perf printed: %w", err)
	}
	all := make([]map[string]float64, len(c.OSDs))
	for i := range all {
		id, err := c.OSDID(ctx, i)
		if err != nil {
			return nil, err
		}
		for _, o := range perf.Infos {
			if o.ID == id {
				all[i] = o.Counters
			}
		}
		if all[i] == nil {
			return nil, fmt.Errorf("osd.%d does not say what it has done", id)
		}
	}
	return all, nil
}

// slowTable prints what one slow OSD costs, of those rows that were measured with one.
func slowTable(w io.Writer, rows []Row, samples []Sample, times float64) error {
	if !slices.ContainsFunc(samples, func(s Sample) bool { return s.Slowed }) {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nOne OSD's device %g times as slow, for %g s before:\n\n| row | rate | p50 | p99 | p99, slow : well | its part of its share of shards |\n|---|---|---|---|---|---|\n", times, slowAfter)
	for _, row := range rows {
		of := func(slowed bool, get func(Sample) float64) float64 {
			return median(slices.DeleteFunc(slices.Clone(samples), func(s Sample) bool { return s.Slowed != slowed }), row.Name, "cairn", get)
		}
		if of(true, func(s Sample) float64 { return s.Rate }) == 0 {
			continue
		}
		well, slow := of(false, func(s Sample) float64 { return s.P99 }), of(true, func(s Sample) float64 { return s.P99 })
		for _, slowed := range []bool{false, true} {
			name, ratio, share := row.Name, "", ""
			if slowed {
				name, ratio = name+", one OSD slow", fmt.Sprintf("%.2f", slow/max(well, 1e-9))
				share = fmt.Sprintf("%.2f", of(true, func(s Sample) float64 { return s.Share }))
			}
			fmt.Fprintf(&b, "| %s | %.0f MiB/s | %.2f ms | %.2f ms | %s | %s |\n", name, of(slowed, func(s Sample) float64 { return s.MiB }),
				of(slowed, func(s Sample) float64 { return s.P50 }), of(slowed, func(s Sample) float64 { return s.P99 }), ratio, share)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
