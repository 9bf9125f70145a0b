package objop_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/objop"
)

const omapAdd = wirepb.OpKind_OMAP_ADD

func counters(ns ...int64) string {
	var b []byte
	for _, n := range ns {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	return string(b)
}

func TestOmapAdd(t *testing.T) {
	there := func(ns ...int64) *fake { return object("", m{}, m{"q": counters(ns...)}) }
	for _, tt := range []struct {
		name  string
		start *fake
		op    o
		code  wirepb.Code
		after []int64
	}{
		{"to nothing", nil, o{val: counters(3, -4)}, ok, []int64{3, -4}},
		{"to what is there", there(1, 2, 3), o{val: counters(10, -5)}, ok, []int64{11, -3, 3}},
		{"longer than what is there", there(1), o{val: counters(0, 7)}, ok, []int64{1, 7}},
		{"up to the bound", there(5), o{val: counters(5), end: counters(10)}, ok, []int64{10}},
		{"above the bound", there(5), o{val: counters(6), end: counters(10)}, conflict, nil},
		{"second above the bound", there(5, 5), o{val: counters(1, 6), end: counters(10, 10)}, conflict, nil},
		{"down, still above the bound", there(50), o{val: counters(-1), end: counters(10)}, ok, []int64{49}},
		{"not raised, above the bound", there(50), o{val: counters(0), end: counters(10)}, ok, []int64{50}},
		{"not raised, above the bound, all", there(50), o{val: counters(0), end: counters(10), flag: true}, conflict, nil},
		{"not raised, at the bound, all", there(10), o{val: counters(0), end: counters(10), flag: true}, ok, []int64{10}},
		{"too many", there(math.MaxInt64), o{val: counters(1)}, invalid, nil},
		{"too few", there(math.MinInt64), o{val: counters(-1)}, invalid, nil},
		{"to something else", object("", m{}, m{"q": "abc"}), o{val: counters(1)}, invalid, nil},
		{"of nothing", there(1), o{}, invalid, nil},
		{"of half a counter", there(1), o{val: "abcd"}, invalid, nil},
		{"of too many", there(1), o{val: counters(make([]int64, objop.MaxCounters+1)...)}, invalid, nil},
		{"bounds of others", there(1), o{val: counters(1, 1), end: counters(1)}, invalid, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			start := tt.start
			if start == nil {
				start = newFake()
			}
			tt.op.k, tt.op.name = omapAdd, "q"
			out := run(start, tt.op)
			if out.Code != tt.code {
				t.Fatalf("code %v (%s), want %v", out.Code, out.Text, tt.code)
			}
			if out.Code != ok {
				if len(out.Ops) > 0 {
					t.Errorf("refused, but changes %v", out.Ops)
				}
				return
			}
			start.apply(out.Ops, 8)
			if got := string(start.omap["q"]); got != counters(tt.after...) {
				t.Errorf("counters %x, want %v", got, tt.after)
			}
		})
	}
}

func TestOmapAddWithOthers(t *testing.T) {
	add := o{k: omapAdd, name: "q", val: counters(1)}
	for _, tt := range []struct {
		name string
		ops  []o
		code wirepb.Code
	}{
		{"a key beside it", []o{add, {k: omapSet, name: "p", val: "x"}, {k: omapRm, name: "r"}}, ok},
		{"a range below it", []o{{k: omapRmRange, name: "a", end: "q"}, add}, ok},
		{"a range above it", []o{{k: omapRmRange, name: "q\x00"}, add}, ok},
		{"another", []o{add, {k: omapAdd, name: "p", val: counters(1)}}, invalid},
		{"set", []o{{k: omapSet, name: "q", val: counters(1)}, add}, invalid},
		{"removed", []o{add, {k: omapRm, name: "q"}}, invalid},
		{"in a range", []o{{k: omapRmRange, name: "a", end: "r"}, add}, invalid},
		{"in a range without end", []o{{k: omapRmRange, name: "q"}, add}, invalid},
		{"cleared", []o{{k: omapClear}, add}, invalid},
		{"without its object", []o{add, {k: remove, flag: true}}, invalid},
	} {
		if out := run(object("", m{}, m{"q": counters(1)}), tt.ops...); out.Code != tt.code {
			t.Errorf("%s: %v (%s), want %v", tt.name, out.Code, out.Text, tt.code)
		}
	}
}

// Counters come to the sum of what was added, whatever was refused in between.
func TestOmapAddModel(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d: go test ./osd/objop -run TestOmapAddModel -seed %d", seed, seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	f, model := newFake(), make([]int64, 4)
	for range 3000 {
		add, bounds := make([]int64, 1+rng.IntN(4)), make([]int64, 4)
		op := o{k: omapAdd, name: "q", flag: rng.IntN(2) == 0}
		next, fits := slices.Clone(model), true
		for i := range add {
			add[i], bounds[i] = rng.Int64N(21)-10, rng.Int64N(100)-50
			next[i] += add[i]
			fits = fits && (next[i] <= bounds[i] || add[i] <= 0 && !op.flag)
		}
		op.val = counters(add...)
		if rng.IntN(2) == 0 {
			op.end = counters(bounds[:len(add)]...)
		} else {
			fits = true
		}
		out := run(f, op)
		if (out.Code == ok) != fits {
			t.Fatalf("%v + %v within %v, all %v: %v", model, add, bounds, op.flag, out.Code)
		}
		if fits {
			f.apply(out.Ops, 8)
			model = next
		}
		if got := string(f.omap["q"]); got != "" && got+string(make([]byte, 32-len(got))) != counters(model...) {
			t.Fatalf("counters %x, want %v", got, model)
		}
	}
}
