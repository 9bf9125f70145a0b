package crushtool

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/cairnstore/cairn/placement/crush"
)

// inputsMax bounds a test run; ten million mappings take about two minutes.
const inputsMax = 10_000_000

type testOptions struct {
	stdio
	In     string
	Format string

	Rule, MinRule, MaxRule int // -1: not given
	NumRep, MinRep, MaxRep int // -1: not given
	MinX, MaxX             int
	PoolID                 int // -1: none
	Weights                map[int]float64

	ShowMappings, ShowBadMappings, ShowStatistics        bool
	ShowUtilization, ShowUtilizationAll, ShowChooseTries bool
}

// fill checks the options and works out those that follow from others.
func (o *testOptions) fill() error {
	if o.In == "" {
		return errors.New("no map given: use -i FILE, or -i - for standard input")
	}
	if err := checkFormat(o.Format); err != nil {
		return err
	}
	if o.Rule >= 0 {
		o.MinRule, o.MaxRule = o.Rule, o.Rule
	}
	if o.MinRule < 0 || o.MaxRule < 0 {
		o.MinRule, o.MaxRule = 0, crush.MaxRules-1
	}
	if o.NumRep >= 0 {
		o.MinRep, o.MaxRep = o.NumRep, o.NumRep
	}
	if (o.MinRep < 0) != (o.MaxRep < 0) {
		return errors.New("--min-rep and --max-rep go together: give both, or --num-rep")
	}
	if o.MaxRep > crush.MaxReplicas {
		return fmt.Errorf("%d devices asked for, at most %d are allowed", o.MaxRep, crush.MaxReplicas)
	}
	if o.MaxX < o.MinX {
		return fmt.Errorf("--max-x %d is less than --min-x %d", o.MaxX, o.MinX)
	}
	if n := o.MaxX - o.MinX; n < 0 || n >= inputsMax {
		return fmt.Errorf("more than %d inputs: choose --min-x and --max-x closer together", inputsMax)
	}
	if o.ShowUtilization || o.ShowUtilizationAll {
		o.ShowStatistics = true
	}
	return nil
}

func (o *testOptions) shows() bool {
	return o.ShowMappings || o.ShowBadMappings || o.ShowStatistics || o.ShowChooseTries
}

func runTest(ctx context.Context, o testOptions) error {
	if err := o.fill(); err != nil {
		return err
	}
	m, err := load(o.stdio, o.In)
	if err != nil {
		return err
	}
	weights, err := deviceWeights(m, o.Weights)
	if err != nil {
		return err
	}
	if o.Rule >= 0 {
		if _, ok := m.Rule(o.Rule); !ok {
			return fmt.Errorf("rule %d: %w", o.Rule, crush.ErrNotFound)
		}
	}
	if !o.shows() && o.Format == "text" {
		fmt.Fprintln(o.Stderr, "WARNING: no output selected; use --show-X")
	}
	w := bufio.NewWriterSize(o.Stdout, 64<<10)
	t := &tester{o: o, m: m, weights: weights, out: w, retries: make([]int, m.Tunables.ChooseTotalTries+1)}
	if o.ShowUtilizationAll && o.Format == "text" {
		t.printWeights()
	}
	last := -1
	for _, r := range m.Rules {
		last = r.ID
	}
	for id := o.MinRule; id <= min(o.MaxRule, last); id++ {
		if err := t.rule(ctx, id); err != nil {
			return errors.Join(err, w.Flush())
		}
	}
	if o.Format == "json" {
		return errors.Join(writeJSON(w, t.report), w.Flush())
	}
	if o.ShowChooseTries {
		for n, count := range t.retries[:m.Tunables.ChooseTotalTries] {
			fmt.Fprintf(w, "%2d: %9d\n", n, count)
		}
	}
	return w.Flush()
}

// deviceWeights returns the reweights of all devices; one in no bucket has 0.
func deviceWeights(m *crush.Map, given map[int]float64) ([]uint32, error) {
	end := 0
	for _, d := range m.Devices {
		end = d.ID + 1
	}
	out := make([]uint32, end)
	for _, d := range m.Devices {
		if _, ok := m.Parent(d.ID); ok {
			out[d.ID] = uint32(crush.WeightOne)
		}
	}
	ids := make([]int, 0, len(given))
	for id := range given {
		ids = append(ids, id)
	}
	sort.Ints(ids)
	for _, id := range ids {
		if _, ok := m.Device(id); !ok {
			return nil, fmt.Errorf("--weight %d: device %d is %w", id, id, crush.ErrNotFound)
		}
		out[id] = uint32(float32(given[id]) * float32(crush.WeightOne))
	}
	return out, nil
}

// tester runs the mappings and prints them as crushtool does.
type tester struct {
	o       testOptions
	m       *crush.Map
	weights []uint32
	out     io.Writer
	retries []int
	report  testReport
}

// testReport is the JSON form of a test.
type testReport struct {
	Runs    []testRun `json:"runs"`
	Retries []int     `json:"retries,omitempty"`
}

type testRun struct {
	Rule        int               `json:"rule"`
	RuleName    string            `json:"rule_name"`
	NumRep      int               `json:"num_rep"`
	MinX        int               `json:"min_x"`
	MaxX        int               `json:"max_x"`
	Sizes       map[int]int       `json:"result_sizes"`
	Bad         int               `json:"bad_mappings"`
	Mappings    []testMapping     `json:"mappings,omitempty"`
	Utilization []testUtilization `json:"utilization,omitempty"`
}

type testMapping struct {
	X       int   `json:"x"`
	Devices []int `json:"devices"`
}

type testUtilization struct {
	Device   int     `json:"device"`
	Stored   int     `json:"stored"`
	Expected float32 `json:"expected"`
}

func (t *tester) printf(format string, args ...any) {
	if t.o.Format == "text" {
		fmt.Fprintf(t.out, format, args...) // errors stay in the bufio.Writer until Flush
	}
}

func (t *tester) printWeights() {
	hex := make([]string, len(t.weights))
	for i, w := range t.weights {
		hex[i] = fmt.Sprintf("%x", w)
	}
	fmt.Fprintf(t.o.Stderr, "devices weights (hex): [%s]\n", strings.Join(hex, ","))
}

func (t *tester) rule(ctx context.Context, id int) error {
	r, ok := t.m.Rule(id)
	if !ok {
		if t.o.ShowStatistics {
			t.printf("rule %d dne\n", id)
		}
		return nil
	}
	low, high := t.o.MinRep, t.o.MaxRep
	if low < 0 {
		if low, high = r.MinSize, r.MaxSize; high == 0 {
			return fmt.Errorf("rule %d (%s) has no min_size and max_size: give --num-rep", id, r.Name)
		}
	}
	if t.o.ShowStatistics {
		t.printf("rule %d (%s), x = %d..%d, numrep = %d..%d\n", id, r.Name, t.o.MinX, t.o.MaxX, low, high)
	}
	for n := low; n <= high; n++ {
		if err := t.run(ctx, r, n); err != nil {
			return err
		}
	}
	return nil
}

func (t *tester) run(ctx context.Context, r *crush.Rule, numRep int) error {
	var total int64
	for _, w := range t.weights {
		total += int64(w)
	}
	if total == 0 {
		return nil // every device is out
	}
	inputs := t.o.MaxX - t.o.MinX + 1
	run := testRun{Rule: r.ID, RuleName: r.Name, NumRep: numRep, MinX: t.o.MinX, MaxX: t.o.MaxX, Sizes: map[int]int{}}
	stored := make([]int, len(t.weights))
	var devices []int
	for x := t.o.MinX; x <= t.o.MaxX; x++ {
		if x&0xfff == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		in := x
		if t.o.PoolID >= 0 {
			in = int(crush.Hash2(uint32(x), uint32(t.o.PoolID)))
		}
		var err error
		devices, err = t.m.DoCounting(devices[:0], r.ID, in, numRep, t.weights, t.retries)
		if err != nil {
			return err
		}
		bad := len(devices) != numRep
		for _, d := range devices {
			if d == crush.ItemNone {
				bad = true
			} else if d >= 0 {
				stored[d]++
			}
		}
		run.Sizes[len(devices)]++
		text := ""
		if t.o.ShowMappings || bad && t.o.ShowBadMappings {
			text = formatDevices(devices)
		}
		if t.o.ShowMappings {
			t.printf("CRUSH rule %d x %d %s\n", r.ID, x, text)
		}
		if bad {
			run.Bad++
			if t.o.ShowBadMappings {
				t.printf("bad mapping rule %d x %d num_rep %d result %s\n", r.ID, x, numRep, text)
			}
		}
		if t.o.Format == "json" && (t.o.ShowMappings || bad && t.o.ShowBadMappings) {
			run.Mappings = append(run.Mappings, testMapping{X: x, Devices: append([]int{}, devices...)})
		}
	}
	t.sizes(r, numRep, inputs, run.Sizes)
	run.Utilization = t.utilization(r, numRep, inputs, stored, total)
	if t.o.Format == "json" {
		t.report.Runs = append(t.report.Runs, run)
		if t.o.ShowChooseTries {
			t.report.Retries = t.retries[:t.m.Tunables.ChooseTotalTries]
		}
	}
	return nil
}

func formatDevices(devices []int) string {
	return strings.ReplaceAll(fmt.Sprint(devices), " ", ",")
}

func (t *tester) sizes(r *crush.Rule, numRep, inputs int, sizes map[int]int) {
	if !t.o.ShowStatistics {
		return
	}
	keys := make([]int, 0, len(sizes))
	for k := range sizes {
		keys = append(keys, k)
	}
	sort.Ints(keys)
	for _, k := range keys {
		t.printf("rule %d (%s) num_rep %d result size == %d:\t%d/%d\n", r.ID, r.Name, numRep, k, sizes[k], inputs)
	}
}

// utilization computes in float32, as crushtool does, so that the digits agree.
func (t *tester) utilization(r *crush.Rule, numRep, inputs int, stored []int, total int64) []testUtilization {
	if !t.o.ShowUtilization && !t.o.ShowUtilizationAll {
		return nil
	}
	var out []testUtilization
	objects := float32(min(numRep, mostAffected(t.m, r)) * inputs)
	for i, w := range t.weights {
		u := testUtilization{Device: i, Stored: stored[i], Expected: float32(w) / float32(total) * objects}
		if !t.o.ShowUtilization || u.Expected > 0 && u.Stored > 0 {
			out = append(out, u)
			t.printf("  device %d:\t\t stored : %d\t expected : %.6g\n", u.Device, u.Stored, u.Expected)
		}
	}
	return out
}

// mostAffected bounds how many devices a mapping of the rule can have, by what it
// asks for of each type and how many buckets of that type exist. It is a
// rough figure; utilization is measured against it because crushtool does so.
func mostAffected(m *crush.Map, r *crush.Rule) int {
	devices, lowest := 0, 0
	for _, d := range m.Devices {
		devices = d.ID + 1
	}
	count := map[int]int{}
	for _, b := range m.Buckets {
		count[b.Type] += 1 + len(b.Shadows)
		lowest = min(lowest, b.ID)
		for _, s := range b.Shadows {
			lowest = min(lowest, s.ID)
		}
	}
	buckets := 8 // crushtool's table of buckets grows in powers of two
	for buckets < -lowest {
		buckets *= 2
	}
	asked := map[int]int{}
	for _, s := range r.Steps {
		if s.Op != crush.OpTake && s.Op != crush.OpEmit {
			asked[s.Type] = s.Num
		}
	}
	most := max(buckets, devices)
	for typ, n := range asked {
		have := count[typ]
		if n > 0 && n < have {
			have = n
		}
		if have > 0 {
			most = min(most, have)
		}
	}
	return most
}
