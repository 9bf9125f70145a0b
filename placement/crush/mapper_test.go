package crush

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLnShape checks what straw2Equal relies on: a hash that is lower by two or more
// never has the greater logarithm.
func TestLnShape(t *testing.T) {
	var below uint64 // the greatest ln(v) for v <= u-2
	for u := uint32(0); u < 1<<16; u++ {
		if u >= 2 {
			below = max(below, ln(u-2))
		}
		if ln(u) < below {
			t.Fatalf("ln(%d) = %d is less than that of a value lower by two or more, %d", u, ln(u), below)
		}
		if exact := math.Log2(float64(u)+1) * (1 << 44); math.Abs(exact-float64(ln(u))) > 1<<30 {
			t.Fatalf("ln(%d) = %d, want about %.0f", u, ln(u), exact)
		}
	}
	if got := ln(0xffff); got >= lnZero {
		t.Errorf("ln(65535) = %d, want less than 2^48", got)
	}
}

// TestStraw2Shortcut: equal weights give what the general algorithm gives.
func TestStraw2Shortcut(t *testing.T) {
	for _, w := range []Weight{1, 3, 0x1000, WeightOne, 123456, MaxBucketWeight} {
		items := make([]Item, 60)
		for i := range items {
			items[i] = Item{ID: i * 3, Weight: w}
		}
		n := newNode(-5, 1, Straw2, items, 1)
		if !n.equal {
			t.Fatal("the weights are equal, the node says they are not")
		}
		for x := range uint32(3000) {
			if a, b := n.straw2Equal(x, x%7), n.straw2(x, x%7); a != b {
				t.Fatalf("weight %s x %d: shortcut chooses %d, want %d", w, x, a, b)
			}
		}
	}
}

// TestPermuted compares with a shuffle done forwards.
func TestPermuted(t *testing.T) {
	for size := 1; size <= 9; size++ {
		n := node{id: -7, alg: Uniform}
		for i := range size {
			n.items = append(n.items, int32(i))
		}
		for x := range uint32(200) {
			perm := append([]int32(nil), n.items...)
			for p := 0; p < size-1; p++ {
				q := p + int(hash3(x, uint32(n.id), uint32(p))%uint32(size-p))
				perm[p], perm[q] = perm[q], perm[p]
			}
			for r := range uint32(2 * size) {
				if got, want := n.permuted(x, r), perm[r%uint32(size)]; got != want {
					t.Fatalf("size %d x %d r %d: got %d, want %d", size, x, r, got, want)
				}
			}
		}
	}
}

// TestZeroWeights: buckets without any weight still choose one of their items.
func TestZeroWeights(t *testing.T) {
	for alg := Uniform; alg <= Straw2; alg++ {
		for size := 1; size <= 5; size++ {
			n := newNode(-1, 1, alg, make([]Item, size), 1)
			for x := range uint32(50) {
				n.choose(x, x) // must not panic
			}
		}
	}
}

// TestRoot: roots that are round numbers come out exactly.
func TestRoot(t *testing.T) {
	for n := 1; n <= 12; n++ {
		for base := 2; base <= 9; base++ {
			a := math.Pow(float64(base), float64(n))
			// 1/n is rounded, so the exact result can be next to the round one.
			if got := root(a, n); math.Abs(got-float64(base)) > 1e-14 {
				t.Errorf("root(%v, %d) = %v, want %d", a, n, got, base)
			}
		}
	}
	if got := root(8, 3); got != 2 {
		t.Errorf("the cube root of 8 is %v", got)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		a, n := math.Exp(rnd.Float64()*20), 1+rnd.IntN(300)
		got, want := root(a, n), math.Pow(a, 1/float64(n))
		if math.Abs(got-want) > want*1e-14 {
			t.Errorf("root(%v, %d) = %v, want about %v", a, n, got, want)
		}
	}
}

// TestDistribution: each device gets its share, within five standard deviations.
func TestDistribution(t *testing.T) {
	m := cluster(t, 1, 1, 40, func(i int) Weight { return WeightOne * Weight(1+i%4) })
	rule, err := m.AddSimpleRule("flat", DefaultRoot, "", "osd", FirstN)
	must(t, err)
	const inputs = 40000
	count := make([]float64, 40)
	for x := range inputs {
		got, err := m.Do(rule, x, 1, nil)
		must(t, err)
		count[got[0]]++
	}
	for i, n := range count {
		want := inputs * float64(1+i%4) / 100
		if math.Abs(n-want) > 5*math.Sqrt(want) {
			t.Errorf("device %d of weight %d was chosen %.0f times, want about %.0f", i, 1+i%4, n, want)
		}
	}
}

// TestReweightShare: a reweight of 1/4 keeps about a quarter of a device's inputs.
func TestReweightShare(t *testing.T) {
	m := cluster(t, 1, 10, 1, equal)
	weights := []uint32{0x4000}
	before, after := 0, 0
	for x := range 20000 {
		for i, w := range [][]uint32{nil, weights} {
			got, err := m.Do(0, x, 1, w)
			must(t, err)
			if got[0] == 0 {
				if i == 0 {
					before++
				} else {
					after++
				}
			}
		}
	}
	if share := float64(after) / float64(before); share < 0.2 || share > 0.3 {
		t.Errorf("the device kept %.2f of its inputs, want about 0.25", share)
	}
}

func TestDoErrors(t *testing.T) {
	m := cluster(t, 2, 2, 2, equal)
	for name, c := range map[string]struct {
		rule, numRep int
		is           error
	}{
		"no rule":       {5, 3, ErrNotFound},
		"negative rule": {-1, 3, ErrNotFound},
		"negative num":  {0, -1, ErrInvalid},
		"too many":      {0, MaxReplicas + 1, ErrInvalid},
	} {
		if _, err := m.Do(c.rule, 0, c.numRep, nil); !errors.Is(err, c.is) {
			t.Errorf("%s: got %v, want %v", name, err, c.is)
		}
	}
	if _, err := (&Map{}).Do(0, 0, 3, nil); !errors.Is(err, ErrNotFinalized) {
		t.Errorf("got %v, want ErrNotFinalized", err)
	}
	if got, err := m.Do(0, 0, 0, nil); err != nil || len(got) != 0 {
		t.Errorf("no replicas: %v, %v", got, err)
	}
	if got, err := m.Do(0, 0, MaxReplicas, nil); err != nil || len(got) != 4 {
		t.Errorf("all replicas: %v, %v; want one on each of four hosts", got, err)
	}
}

// TestExhausted: a map that cannot be satisfied, with absurd tries, ends with an
// error instead of running for hours.
func TestExhausted(t *testing.T) {
	m := cluster(t, 1, 200, 3, equal)
	must(t, m.SetTunables(Tunables{ChooseTotalTries: MaxTries, ChooseLocalTries: MaxTries, ChooseLocalFallbackTries: MaxTries}))
	_, err := m.Do(0, 0, MaxReplicas, nil)
	if !errors.Is(err, ErrExhausted) || !strings.Contains(err.Error(), "lower the tries") {
		t.Errorf("got %v, want ErrExhausted", err)
	}
}

// TestConcurrent: a finalized map may be used by many goroutines (run with -race).
func TestConcurrent(t *testing.T) {
	m := cluster(t, 3, 5, 3, mixed)
	want, err := m.Do(0, 1, 3, nil)
	must(t, err)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for x := range 200 {
				if got, err := m.Do(0, 1, 3, nil); err != nil || !cmp.Equal(got, want) {
					t.Errorf("got %v, %v, want %v", got, err, want)
					return
				}
				_, _ = m.Domain(x%45, 1)
				_ = m.Subtree(-1)
			}
		})
	}
	wg.Wait()
}

// TestDoDoesNotAllocate guards the hot path of every client.
func TestDoDoesNotAllocate(t *testing.T) {
	m := cluster(t, 3, 5, 3, mixed)
	rule, err := m.AddSimpleRule("ec", DefaultRoot, "", "host", Indep)
	must(t, err)
	out := make([]int, 0, 16)
	x := 0
	allocs := testing.AllocsPerRun(200, func() {
		x++
		out, err = m.AppendDo(out[:0], 0, x, 3, nil)
		out, err = m.AppendDo(out, rule, x, 6, nil)
	})
	if allocs != 0 || err != nil {
		t.Errorf("a mapping makes %v allocations, want none; %v", allocs, err)
	}
}

// TestDoCounting: every choice is counted once.
func TestDoCounting(t *testing.T) {
	m := cluster(t, 1, 10, 2, equal)
	retries := make([]int, 51)
	for x := range 100 {
		_, err := m.DoCounting(nil, 0, x, 3, nil, retries)
		must(t, err)
	}
	sum := 0
	for _, n := range retries {
		sum += n
	}
	if sum != 600 { // a host and a device for each of 300
		t.Errorf("%d choices counted, want 600", sum)
	}
}

func TestTree(t *testing.T) {
	m := readMap(t, "testdata/seed-slides.txt")
	var lines []string
	for _, n := range m.Tree() {
		lines = append(lines, fmt.Sprintf("%d %d %s %s %s %s %d", n.Depth, n.ID, n.Type, n.Name, n.Class, n.Weight, n.Parent))
	}
	want := []string{
		"0 -1 root default  1.32798 0", "1 -3 host Ceph-01  0.371 -1", "2 0 osd osd.0 hdd 0.098 -3",
	}
	if diff := cmp.Diff(want, lines[:3]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := m.Roots(); !cmp.Equal(got, []int{-1, -11}) {
		t.Errorf("roots are %v", got)
	}
	ssd, _ := m.BucketByName("ssd")
	if got := m.Subtree(ssd.ID); !cmp.Equal(got, []int{8, 9}) {
		t.Errorf("below ssd are %v", got)
	}
	if got := m.DevicesBelow(-1, "ssd"); len(got) != 0 {
		t.Errorf("below default are ssds: %v", got)
	}
	if id, ok := ssd.shadow("ssd"); !ok || !cmp.Equal(m.Subtree(id), []int{8, 9}) || m.ItemName(id) != "ssd~ssd" {
		t.Errorf("shadow %d (%s) holds %v", id, m.ItemName(id), m.Subtree(id))
	}
	if id, ok := m.Ancestor(8, "host"); !ok || m.ItemName(id) != "Ceph-01-ssd" {
		t.Errorf("osd.8 is on host %s", m.ItemName(id))
	}
	if id, ok := m.Ancestor(8, "osd"); !ok || id != 8 {
		t.Errorf("the osd of osd.8 is %d", id)
	}
	if id, ok := m.Ancestor(-1, "root"); !ok || id != -1 {
		t.Errorf("the root of default is %d", id)
	}
	for _, c := range []struct {
		id  int
		typ string
	}{{8, "rack"}, {8, "nope"}, {99, "host"}, {-99, "host"}} {
		if id, ok := m.Ancestor(c.id, c.typ); ok {
			t.Errorf("Ancestor(%d, %s) = %d, want none", c.id, c.typ, id)
		}
	}
	if p, ok := m.Parent(9); !ok || m.ItemName(p) != "Ceph-03-ssd" {
		t.Errorf("the parent of osd.9 is %s", m.ItemName(p))
	}
	if got := m.Parents(-1); len(got) != 0 {
		t.Errorf("the root has parents %v", got)
	}
	if got := m.RuleDevices(2); !cmp.Equal(got, []int{8, 9}) || m.RuleDevices(1) != nil {
		t.Errorf("rule 2 can choose %v", got)
	}
	if got := m.ItemName(1234); got != "1234" {
		t.Errorf("an unknown item is named %s", got)
	}
}

// TestManyParents: a lattice with two paths per level has 2^31 paths to its device,
// which nothing may walk one by one.
func TestManyParents(t *testing.T) {
	var b strings.Builder
	b.WriteString("device 0 osd.0 class hdd\ntype 0 osd\ntype 1 node\n")
	items := []string{"osd.0"}
	for level := range MaxDepth - 1 {
		var next []string
		for side := range 2 {
			name := fmt.Sprintf("n%d-%d", level, side)
			fmt.Fprintf(&b, "node %s { alg straw2 ", name)
			for _, it := range items {
				fmt.Fprintf(&b, "item %s weight 0 ", it)
			}
			b.WriteString("}\n")
			next = append(next, name)
		}
		items = next
	}
	m, err := Parse(b.String())
	must(t, err)
	if got := m.Subtree(m.Roots()[0]); !cmp.Equal(got, []int{0}) {
		t.Errorf("got %v", got)
	}
	if n := len(m.Tree()); n > 300 {
		t.Errorf("the tree has %d lines", n)
	}
	if _, ok := m.Domain(0, 99); ok {
		t.Error("there is no type 99")
	}
	must(t, m.SetWeight(0, 1)) // doubles on each level, up to 2^30
	if err := m.SetWeight(0, WeightOne); !errors.Is(err, ErrInvalid) {
		t.Errorf("weights that overflow: %v", err)
	}
	if _, err := Decode(Encode(m)); err != nil {
		t.Error(err)
	}
}
