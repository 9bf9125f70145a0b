package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// median returns the middle of what get finds in the samples of a row and system.
func median(samples []Sample, row, system string, get func(Sample) float64) float64 {
	var all []float64
	for _, s := range samples {
		if s.Row == row && s.System == system {
			all = append(all, get(s))
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

// table prints the medians as Markdown, the form of docs/performance.md.
func table(w io.Writer, rows []Row, samples []Sample) error {
	samples = slices.DeleteFunc(slices.Clone(samples), func(s Sample) bool { return s.Slowed }) // they have a table of their own
	both := slices.ContainsFunc(samples, func(s Sample) bool { return s.System == "ceph" })
	var b strings.Builder
	b.WriteString("\n| row | rate | p50 | p99 | max | CPU | of it client |")
	if both {
		b.WriteString(" Ceph: rate | average (ours) | CPU | CPU, Ceph : cairn |")
	}
	b.WriteString("\n|---|---|---|---|---|---|---|" + strings.Repeat("---|", map[bool]int{true: 4}[both]) + "\n")
	for _, row := range rows {
		of := func(system string, get func(Sample) float64) float64 { return median(samples, row.Name, system, get) }
		rate := func(system string) string {
			if row.PerGiB {
				return fmt.Sprintf("%.0f MiB/s", of(system, func(s Sample) float64 { return s.MiB }))
			}
			return fmt.Sprintf("%.0f/s", of(system, func(s Sample) float64 { return s.Rate }))
		}
		cpu := func(system string) (string, float64) {
			if row.PerGiB {
				v := of(system, func(s Sample) float64 { return s.PerGiB })
				return fmt.Sprintf("%.2f s/GiB", v), v
			}
			v := of(system, func(s Sample) float64 { return s.CPU })
			return fmt.Sprintf("%.0f us", v), v
		}
		ours, our := cpu("cairn")
		part := of("cairn", func(s Sample) float64 { return s.Client / max(s.CPU, 1e-9) })
		fmt.Fprintf(&b, "| %s | %s | %.2f ms | %.2f ms | %.0f ms | %s | %.0f %% |", row.Name, rate("cairn"),
			of("cairn", func(s Sample) float64 { return s.P50 }), of("cairn", func(s Sample) float64 { return s.P99 }),
			of("cairn", func(s Sample) float64 { return s.Max }), ours, 100*part)
		switch {
		case both && row.NoCeph:
			b.WriteString(" | | | |")
		case both:
			theirs, their := cpu("ceph")
			fmt.Fprintf(&b, " %s | %.2f ms (%.2f ms) | %s | %.1f |", rate("ceph"), of("ceph", func(s Sample) float64 { return s.Avg }),
				of("cairn", func(s Sample) float64 { return s.Avg }), theirs, their/max(our, 1e-9))
		}
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
