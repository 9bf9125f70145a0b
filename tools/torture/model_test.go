package torture

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
)

// A checker that finds nothing proves nothing: these tests show that each model
// sees what it is there for.

func TestCellSees(t *testing.T) {
	type read struct{ floor, n uint64 }
	for name, c := range map[string]struct {
		writes, removes int // begun, in that order
		acked           uint64
		read            read
		wrong           string
	}{
		"nothing yet":            {read: read{0, 0}},
		"last acknowledged":      {writes: 3, acked: 3, read: read{3, 3}},
		"later unacknowledged":   {writes: 4, acked: 3, read: read{3, 4}},
		"lost":                   {writes: 3, acked: 3, read: read{3, 0}, wrong: "not found"},
		"stale":                  {writes: 3, acked: 3, read: read{3, 2}, wrong: "had taken effect before"},
		"from nowhere":           {writes: 3, acked: 3, read: read{3, 9}, wrong: "only 3 were begun"},
		"removed":                {writes: 3, removes: 1, acked: 4, read: read{4, 0}},
		"perhaps removed":        {writes: 3, removes: 1, acked: 3, read: read{3, 0}},
		"perhaps not removed":    {writes: 3, removes: 1, acked: 3, read: read{3, 3}},
		"back after its removal": {writes: 3, removes: 1, acked: 4, read: read{4, 3}, wrong: "had taken effect before"},
	} {
		x := &cell{name: "x"}
		for range c.writes {
			x.begin(false)
		}
		for range c.removes {
			x.begin(true)
		}
		x.acked(c.acked)
		err := x.saw(c.read.floor, c.read.n)
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: got %v, want %q", name, err, c.wrong)
		}
	}
}

// TestCellRemembersWhatWasRead: a value that was read stays, acknowledged or not.
func TestCellRemembersWhatWasRead(t *testing.T) {
	x := &cell{name: "x"}
	x.begin(false)
	x.acked(1)
	x.begin(false)
	if err := x.saw(x.now(), 2); err != nil {
		t.Fatal(err)
	}
	if err := x.saw(x.now(), 1); err == nil {
		t.Error("a read of write 1 after one of write 2 was found good")
	}
}

func TestValueSees(t *testing.T) {
	v := value("x", 7, 1000)
	l := label(7, 1000)
	flipped := slices.Clone(v)
	flipped[500] ^= 1
	for name, c := range map[string]struct {
		data       []byte
		attr, omap string
		wrong      string
	}{
		"right":          {v, l, l, ""},
		"a bit flipped":  {flipped, l, l, "first difference at 500"},
		"too short":      {v[:999], l, l, "first difference at 999"},
		"another's":      {value("y", 7, 1000), l, l, "first difference at 8"},
		"older bytes":    {value("x", 6, 1000), l, l, "like those of write 6"},
		"half a write":   {v, l, label(6, 10), "half of a transaction"},
		"no label":       {v, "", "", "none of ours"},
		"empty is right": {nil, label(3, 0), label(3, 0), ""},
	} {
		n, err := checkValue("x", c.data, c.attr, c.omap)
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: got %d, %v, want %q", name, n, err, c.wrong)
		}
	}
}

func TestAppendSees(t *testing.T) {
	o := &appendObject{name: "x", next: 4, maybe: map[uint64]bool{2: true}}
	join := func(ns ...uint64) (all []byte) {
		for _, n := range ns {
			all = append(all, record("x", n, 20)...)
		}
		return all
	}
	for name, c := range map[string]struct {
		data  []byte
		wrong string
	}{
		"all":              {join(0, 1, 2, 3), ""},
		"all but unknown":  {join(0, 1, 3), ""},
		"one lost":         {join(0, 2, 3), "record 1 is lost"},
		"the last lost":    {join(0, 1, 2), "record 3 is lost"},
		"twice":            {join(0, 1, 1, 3), "applied twice"},
		"too late":         {join(0, 1, 3, 2), "applied twice, or too late"},
		"from nowhere":     {join(0, 1, 3, 9), "only 4 were appended"},
		"cut off":          {join(0, 1, 3)[:60], "cut off"},
		"another object's": {record("y", 0, 20), "not what was appended"},
	} {
		ns, err := parseRecords("x", c.data)
		if err == nil {
			err = o.compare(ns)
		}
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: got %v, want %q", name, err, c.wrong)
		}
	}
}

func TestCounterSees(t *testing.T) {
	type receipts = map[string]uint64
	for name, c := range map[string]struct {
		count uint64
		got   receipts
		wrong string
	}{
		"right":               {2, receipts{"a": 1, "b": 2}, ""},
		"unknown one is in":   {3, receipts{"a": 1, "b": 2, "u": 3}, ""},
		"one lost":            {1, receipts{"a": 1}, "increment b to 2 is lost"},
		"count without":       {3, receipts{"a": 1, "b": 2}, "count is 3 with 2"},
		"same number twice":   {3, receipts{"a": 1, "b": 2, "u": 2}, "both made the count 2"},
		"refused, yet done":   {3, receipts{"a": 1, "b": 2, "r": 3}, "its condition failed"},
		"done with another n": {3, receipts{"a": 1, "b": 3, "u": 2}, "b says 3"},
	} {
		n := newCounter("x")
		n.acked, n.maybe, n.refused = receipts{"a": 1, "b": 2}, receipts{"u": 3}, map[string]bool{"r": true}
		err := n.compare(c.count, c.got)
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: got %v, want %q", name, err, c.wrong)
		}
	}
}

func TestSharedModelSees(t *testing.T) {
	op := func(call, end int64, kind, old, fresh, out string) porcupine.Operation {
		return porcupine.Operation{Input: sharedInput{kind, old, fresh}, Call: call, Return: end, Output: out}
	}
	const never = math.MaxInt64
	for name, c := range map[string]struct {
		history []porcupine.Operation
		want    bool
	}{
		"read what was written": {[]porcupine.Operation{op(0, 1, "write", "", "a", okAnswer), op(2, 3, "read", "", "", "a|a")}, true},
		"stale read":            {[]porcupine.Operation{op(0, 1, "write", "", "a", okAnswer), op(2, 3, "write", "", "b", okAnswer), op(4, 5, "read", "", "", "a|a")}, false},
		"lost write":            {[]porcupine.Operation{op(0, 1, "write", "", "a", okAnswer), op(2, 3, "read", "", "", absent)}, false},
		"unknown write, late":   {[]porcupine.Operation{op(0, never, "write", "", "a", noAnswer), op(2, 3, "read", "", "", absent), op(4, 5, "read", "", "", "a|a")}, true},
		"unknown write undone":  {[]porcupine.Operation{op(0, never, "write", "", "a", noAnswer), op(2, 3, "read", "", "", "a|a"), op(4, 5, "read", "", "", absent)}, false},
		"append twice":          {[]porcupine.Operation{op(0, 1, "append", "", "a", okAnswer), op(2, 3, "read", "", "", "+a+a|a")}, false},
		"cas on the wrong tag":  {[]porcupine.Operation{op(0, 1, "write", "", "a", okAnswer), op(2, 3, "cas", "b", "c", okAnswer)}, false},
		"cas refused wrongly":   {[]porcupine.Operation{op(0, 1, "write", "", "a", okAnswer), op(2, 3, "cas", "a", "c", failAnswer)}, false},
		"two cas, same old":     {[]porcupine.Operation{op(0, 1, "write", "", "a", okAnswer), op(2, 9, "cas", "a", "c", okAnswer), op(2, 9, "cas", "a", "d", okAnswer)}, false},
		"half a write":          {[]porcupine.Operation{op(0, 1, "write", "", "a", okAnswer), op(2, 3, "write", "", "b", okAnswer), op(4, 5, "read", "", "", "b|a")}, false},
	} {
		if got := porcupine.CheckOperations(sharedModel, c.history); got != c.want {
			t.Errorf("%s: linearizable %v, want %v", name, got, c.want)
		}
	}
}

// TestChunkCellSees: bytes that are not those of the write whose label comes with them are found, and it is said whose
// they are.
func TestChunkCellSees(t *testing.T) {
	x := newChunkCell("x")
	a, b := span{source: bodySource(1), n: len(bodyOf(bodySource(1)))}, span{source: bodySource(2), n: 60_000}
	first := spans{a, b}
	n := x.next("put", first)
	x.ended(n, first, done)
	second := first.write(100_000, spans{{source: bodySource(3), n: 500}})
	x.ended(x.next("overwrite", second), second, done)
	third := second.truncate(90_000).truncate(120_000)
	x.ended(x.next("truncate", third), third, unknown)
	if x.sure {
		t.Error("after a write of unknown outcome it is said to be known what the object has")
	}
	mixed := slices.Concat(second.bytes()[:100_300], first.bytes()[100_300:])
	for name, c := range map[string]struct {
		data   []byte
		off, n int
		label  uint64
		wrong  string
	}{
		"all of the first":         {data: first.bytes(), label: 1},
		"all of the second":        {data: second.bytes(), label: 2},
		"all of the third":         {data: third.bytes(), label: 3},
		"a part":                   {data: second.bytes()[99_900:100_700], off: 99_900, n: 800, label: 2},
		"a part over the end":      {data: third.bytes()[80_000:], off: 80_000, n: 99_999, label: 3},
		"a part behind the end":    {off: 130_000, n: 10, label: 3},
		"the one before":           {data: first.bytes(), label: 2, wrong: "what write 1 (put) left there"},
		"half of a write":          {data: mixed, label: 2, wrong: "what write 1 (put) left there"},
		"cut off":                  {data: second.bytes()[:200], label: 2, wrong: "the end"},
		"zeros":                    {data: make([]byte, second.size()), label: 2, wrong: "zeros"},
		"a chunk of somebody else": {data: bodyOf(bodySource(5))[:1000], off: 0, n: 1000, label: 1, wrong: "nothing that was ever written"},
	} {
		l := label(c.label, x.states[c.label].size())
		nr, err := x.check(c.data, c.off, c.n, l, l)
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: got %v, want %q", name, err, c.wrong)
		}
		if err == nil && nr != c.label {
			t.Errorf("%s: write %d, want %d", name, nr, c.label)
		}
	}
	if _, err := x.check(first.bytes(), 0, 0, label(1, first.size()), label(2, second.size())); err == nil {
		t.Error("an attribute of one write with an omap key of another was found good")
	}
}

// TestSpans holds spans against plain bytes.
func TestSpans(t *testing.T) {
	rng := newRng(7)
	var s spans
	var want []byte
	for i := range 400 {
		source := bodySource(rng.IntN(bodies))
		w := span{source: source, n: 1 + rng.IntN(5000)}
		w.off = rng.IntN(len(bodyOf(source)) - w.n)
		off, size := rng.IntN(20_000), rng.IntN(20_000)
		grow := func(n int) {
			if len(want) < n {
				want = append(want, make([]byte, n-len(want))...)
			}
		}
		if i%5 == 0 {
			s = s.truncate(size)
			grow(size)
			want = want[:size]
		} else {
			s = s.write(off, spans{w})
			grow(off + w.n)
			copy(want[off:], bodyOf(source)[w.off:w.off+w.n])
		}
		if !slices.Equal(s.bytes(), want) || s.size() != len(want) {
			t.Fatalf("step %d: other bytes", i)
		}
	}
}

// TestCensusSays: what is left to be done is said, whatever it is.
func TestCensusSays(t *testing.T) {
	if err := new(census).quiet(); err != nil {
		t.Error(err)
	}
	for what, n := range map[string]*census{
		"outboxes": {outbox: 1}, "condemned": {condemned: 1}, "leaked": {leaked: []string{"x"}}, "refers to": {unused: []string{"x"}},
		"missing": {missing: []string{"x"}}, "no chunk has": {orphans: []string{"x"}},
	} {
		if err := n.quiet(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("want %q, got %v", what, err)
		}
	}
}

// TestCareCount: the counters of an OSD that begins anew are added to what it had counted.
func TestCareCount(t *testing.T) {
	k := &careCount{last: map[string]map[string]float64{}, sum: map[string]float64{}}
	for _, v := range []float64{3, 5, 5, 1, 4} {
		k.saw("cairn_gc_chunks_deleted_total", "0", v)
	}
	k.saw("cairn_gc_chunks_deleted_total", "1", 2)
	if !strings.Contains(k.String(), "11 chunks deleted") {
		t.Error(k)
	}
}
