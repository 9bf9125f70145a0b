package bench

import (
	"bytes"
	"context"
	"math"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/tools/torture"
)

// What rados bench of Ceph 16 prints at the end of a write and of a read.
const (
	radosWrite = `hints = 1
Maintaining 16 concurrent writes of 4096 bytes to objects of size 4096 for up to 1 seconds or 0 objects
Total time run:         2.0
Total writes made:      1500
Write size:             4096
Object size:            4096
Bandwidth (MB/sec):     2.92
Stddev Bandwidth:       0
Average IOPS:           750
Average Latency(s):     0.0213
Max latency(s):         0.25
Min latency(s):         0.004
`
	radosRead = `Total time run:       0.5
Total reads made:     100
Read size:            4194304
Object size:          4194304
Bandwidth (MB/sec):   800
Average IOPS:         200
Average Latency(s):   0.07
Max latency(s):       0.1
Min latency(s):       0.01
`
)

func TestParseRados(t *testing.T) {
	s, size, err := parseRados([]byte(radosWrite))
	if err != nil || s.Ops != 1500 || s.Rate != 750 || size != 4096 || math.Abs(s.Avg-21.3) > 1e-9 || s.Max != 250 || math.Abs(s.MiB-2.9296875) > 1e-9 {
		t.Errorf("write: got %+v, %v, %v", s, size, err)
	}
	s, size, err = parseRados([]byte(radosRead))
	if err != nil || s.Ops != 100 || s.Rate != 200 || size != 4<<20 || s.MiB != 800 {
		t.Errorf("read: got %+v, %v, %v", s, size, err)
	}
	for _, bad := range []string{"", "error during benchmark: (2) No such file or directory", "Total time run: x\n", "Total time run: 3\nObject size: 0\n"} {
		if _, _, err := parseRados([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestChoose(t *testing.T) {
	names := func(match string) string {
		var all []string
		for _, r := range choose(Rows, regexp.MustCompile(match)) {
			all = append(all, r.Kind+" "+r.Of)
		}
		return strings.Join(all, ", ")
	}
	for match, want := range map[string]string{
		"sequential":   "write large, seq large",
		"64 KiB write": "write middle",
		"nothing":      "",
	} {
		if got := names(match); got != want {
			t.Errorf("rows %q: got %q, want %q", match, got, want)
		}
	}
	if got := choose(Rows, regexp.MustCompile("")); len(got) != len(Rows) {
		t.Errorf("all rows: got %d of %d", len(got), len(Rows))
	}
}

func TestRoom(t *testing.T) {
	rows := []Row{
		{Name: "a", Kind: "write", Size: "1000", Ops: 10, Of: "x"}, {Name: "b", Kind: "rand", Of: "x"},
		{Name: "c", Kind: "write", Size: "10", Ops: 1, Of: "y", NoCeph: true}, {Name: "d", Kind: "seq", Of: "x"},
	}
	if got, err := needs(rows, 1); err != nil || got != 3*10010*12/10 {
		t.Errorf("one cluster: got %d, %v; want 3 copies and 20 %%", got, err)
	}
	if got, err := needs(rows, 2); err != nil || got != 3*20010*12/10 {
		t.Errorf("with Ceph: got %d, %v", got, err)
	}
	for i, want := range []bool{false, false, true, true} {
		if got := over(rows, i); got != want {
			t.Errorf("run over after row %s: got %t", rows[i].Name, got)
		}
	}
	if _, err := needs(Rows, 2); err != nil {
		t.Error(err)
	}
	rows[0].Ops = 0
	if _, err := needs(rows, 1); err == nil {
		t.Error("a row without a bound was taken")
	}
	rows[0].Ops = 1 << 40
	o := Options{Cluster: torture.Options{Dir: filepath.Join(t.TempDir(), "cluster")}}
	if err := room(&o, rows); err == nil || !strings.Contains(err.Error(), "GB left") {
		t.Errorf("more than any disk has: got %v", err)
	}
}

func TestTable(t *testing.T) {
	rows := []Row{{Name: "small"}, {Name: "large", PerGiB: true}, {Name: "ours", NoCeph: true}}
	var samples []Sample
	for i, cpu := range []float64{300, 100, 200} {
		for _, row := range rows {
			samples = append(samples, Sample{Row: row.Name, System: "cairn", Rep: i, Rate: 1000, MiB: 50, Avg: 1, P50: 1.5, CPU: cpu, Client: cpu / 4, PerGiB: cpu / 100})
		}
		samples = append(samples, Sample{Row: "small", System: "ceph", Rep: i, Rate: 10, Avg: 9, CPU: 10 * cpu}, Sample{Row: "large", System: "ceph", Rep: i, MiB: 5, PerGiB: cpu / 50})
	}
	var b bytes.Buffer
	if err := table(&b, rows, samples); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| small | 1000/s | 1.50 ms | 0.00 ms | 0 ms | 200 us | 25 % | 10/s | 9.00 ms (1.00 ms) | 2000 us | 10.0 |\n",
		"| large | 50 MiB/s | 1.50 ms | 0.00 ms | 0 ms | 2.00 s/GiB | 25 % | 5 MiB/s | 0.00 ms (1.00 ms) | 4.00 s/GiB | 2.0 |\n",
		"| ours | 1000/s | 1.50 ms | 0.00 ms | 0 ms | 200 us | 25 % | | | | |\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, b.String())
		}
	}
}

// TestRun measures a cluster of processes for a moment: everything works together.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	bin, err := torture.Build(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	var out, lines bytes.Buffer
	o := Options{
		Cluster: torture.Options{Binary: bin, Dir: filepath.Join(dir, "cluster")},
		Rows:    regexp.MustCompile("^4 KiB random read, 16"), Seconds: .2, Reps: 1, Out: &out, JSON: &lines, Profile: dir,
	}
	if err := Run(ctx, o); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "| 4 KiB random read, 16 in flight | ") || strings.Count(lines.String(), `"system":"cairn"`) != 2 {
		t.Errorf("it printed:\n%s%s", out.String(), lines.String())
	}
	if files, err := filepath.Glob(filepath.Join(dir, "*.pprof")); err != nil || len(files) != 6 {
		t.Errorf("profiles: got %v, %v; want those of 3 OSDs in 2 rows", files, err)
	}
}
