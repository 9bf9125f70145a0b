package crush

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// smallMap is a complete map that the tests below alter.
const smallMap = `tunable choose_total_tries 50
device 0 osd.0 class hdd
device 1 osd.1 class ssd
type 0 osd
type 1 host
type 2 root
host a {
	id -2
	alg straw2
	hash 0 # rjenkins1
	item osd.0 weight 1.000
}
host b {
	alg straw2
	item osd.1 weight 2.500
}
root default {
	id -1
	alg straw2
	hash rjenkins1
	item a
	item b weight 2.500
}
rule r {
	id 0
	type replicated
	step take default
	step chooseleaf firstn 0 type host
	step emit
}
`

func TestParse(t *testing.T) {
	m, err := Parse(smallMap)
	if err != nil {
		t.Fatal(err)
	}
	tun := LegacyTunables()
	tun.ChooseTotalTries = 50
	want := &Map{
		Tunables: tun,
		Devices:  []Device{{0, "osd.0", "hdd"}, {1, "osd.1", "ssd"}},
		Types:    []Type{{0, "osd"}, {1, "host"}, {2, "root"}},
		Buckets: []Bucket{
			{ID: -1, Name: "default", Type: 2, Alg: Straw2, Items: []Item{{-2, 0x10000}, {-3, 0x28000}},
				Shadows: []ClassID{{"hdd", -6}, {"ssd", -9}}},
			{ID: -2, Name: "a", Type: 1, Alg: Straw2, Items: []Item{{0, 0x10000}},
				Shadows: []ClassID{{"hdd", -4}, {"ssd", -7}}},
			{ID: -3, Name: "b", Type: 1, Alg: Straw2, Items: []Item{{1, 0x28000}},
				Shadows: []ClassID{{"hdd", -5}, {"ssd", -8}}},
		},
		Rules: []Rule{{ID: 0, Name: "r", Type: Replicated,
			Steps: []Step{{Op: OpTake, Item: -1}, {Op: OpChooseleafFirstN, Type: 1}, {Op: OpEmit}}}},
	}
	ignore := cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "idx" || p.String() == "deferred" }, cmp.Ignore())
	if diff := cmp.Diff(want, m, ignore); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestParseAccepts lists forms that are allowed besides what decompiling prints.
func TestParseAccepts(t *testing.T) {
	for _, c := range []struct{ name, old, new string }{
		{"sizes", "type replicated", "type replicated\n\tmin_size 1\n\tmax_size 10"},
		{"ruleset", "\tid 0\n\ttype", "\truleset 0\n\ttype"},
		{"no rule name", "rule r {", "rule {"},
		{"erasure", "type replicated", "type erasure"},
		{"negative number", "firstn 0", "firstn -1"},
		{"indep", "firstn 0", "indep 4"},
		{"take class", "take default", "take default class ssd"},
		{"take device", "step chooseleaf firstn 0 type host", "step emit step take osd.1"},
		{"all sets", "step take default", `step set_choose_tries 100 step set_chooseleaf_tries 5 step set_choose_local_tries 1
			step set_choose_local_fallback_tries 1 step set_chooseleaf_vary_r 4 step set_chooseleaf_stable 1 step take default`},
		{"shadow ids", "id -1", "id -1 id -20 class hdd id -21 class nvme"},
		{"positions", "item a\n", "item a weight 1 pos 1\n"},
		{"weight forms", "weight 1.000", "weight 1e1"},
		{"one line", "\n\titem osd.0", " item osd.0"},
		{"no blank", "host a {", "host a{"},
		{"comment at the end", "step emit\n}\n", "step emit\n}\n# end"},
		{"windows", "\n", "\r\n"},
		{"type 0 is device", "type 0 osd", "type 0 device"},
		{"two parents", "item b weight 2.500\n}", "item b weight 2.500\n}\nroot other {\n\talg list\n\titem b weight 9\n}"},
		{"empty bucket", "\titem osd.0 weight 1.000\n", ""},
		{"tree", "alg straw2", "alg tree"},
	} {
		text := strings.ReplaceAll(smallMap, c.old, c.new)
		if text == smallMap {
			t.Fatalf("%s changes nothing", c.name)
		}
		m, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		again, err := Parse(m.String())
		if err != nil {
			t.Errorf("%s: decompiled text is refused: %v\n%s", c.name, err, m)
		} else if !again.Equal(m) || again.String() != m.String() {
			t.Errorf("%s: decompiled text is another map:\n%s", c.name, cmp.Diff(m.String(), again.String()))
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		old, new  string
		line, col int
		msg       string
	}{
		{"tunable choose_total_tries 50", "tunable choose_total_tires 50", 1, 9, "unknown tunable"},
		{"tries 50", "tries", 2, 1, "expected tunable choose_total_tries (a number)"},
		{"tries 50", "tries 99999", 1, 28, "allowed are 0 to 10000"},
		{"tries 50", "tries 99999999999999999999", 1, 28, "allowed are 0 to 10000"},
		{"tries 50\n", "tries 50\ntunable choose_total_tries 50\n", 2, 9, "set twice"},
		{"device 1 osd.1", "device 0 osd.1", 3, 8, "id 0 is already taken"},
		{"device 1 osd.1", "device 1 osd.0", 3, 10, "name \"osd.0\" is already taken"},
		{"device 1 osd.1", "device -1 osd.1", 3, 8, "allowed are 0 to"},
		{"device 1 osd.1", "device 1 osd~1", 3, 10, "bad device name"},
		{"class ssd", "class", 4, 6, "unexpected"},
		{"type 1 host", "type 0 host", 5, 6, "type id 0 is already taken"},
		{"type 1 host", "type 1 osd", 5, 8, "already defined"},
		{"type 1 host", "type 1 rule", 5, 8, "cannot be named"},
		{"host a {", "hots a {", 7, 1, "unexpected \"hots\""},
		{"host a {", "osd a {", 7, 1, "type 0 is that of devices"},
		{"host a {", "host osd.0 {", 7, 6, "already taken"},
		{"host a {", "host a }", 7, 8, "expected \"{\""},
		{"id -2", "id 2", 8, 5, "allowed are -262144 to -1"},
		{"id -1", "id -2", 18, 5, "id -2 is already taken"},
		{"id -1", "id -1 id -3 class hdd id -3 class ssd", 18, 27, "id -3 is already taken"},
		{"id -1", "id -1 id -3 class hdd id -4 class hdd", 18, 27, "two ids for class hdd"},
		{"id -1", "id -1 id -3", 18, 11, "two ids"},
		{"\talg straw2\n\thash 0", "\thash 0", 7, 6, "no alg line"},
		{"alg straw2\n\thash 0", "alg straw2 alg list\n\thash 0", 9, 13, "two alg lines"},
		{"alg straw2\n\thash 0", "alg straw3\n\thash 0", 9, 6, "unknown bucket algorithm"},
		{"hash 0", "hash 1", 10, 7, "unknown hash"},
		{"item osd.0", "item osd.9", 11, 7, "not defined above"},
		{"item osd.0", "item b", 11, 7, "not defined above"},
		{"item osd.0", "item a", 11, 7, "not defined above"},
		{"item b ", "item a ", 22, 7, "twice"},
		{"weight 1.000", "weight x", 11, 20, "expected a weight"},
		{"weight 1.000", "weight -1", 11, 20, "expected a weight"},
		{"weight 1.000", "weight 0x10", 11, 20, "expected a weight"},
		{"weight 1.000", "weight 1e99", 11, 20, "expected a weight"},
		{"weight 1.000", "weight NaN", 11, 20, "expected a weight"},
		{"weight 1.000", "weight 10001", 11, 20, "at most 10000.000"},
		{"item a\n", "item a weight 65535\n", 22, 16, "add up to more than 65535"},
		{"item a\n", "item a pos 2\n", 21, 13, "only 2 items"},
		{"item a\n\titem b", "item a pos 1\n\titem b pos 1", 22, 13, "taken twice"},
		{"alg straw2\n\thash rj", "alg uniform\n\thash rj", 22, 16, "must be equal"},
		{"id 0\n", "id 256\n", 25, 5, "allowed are 0 to 255"},
		{"id 0\n", "id 0 ruleset 0\n", 25, 7, "given twice"},
		{"id 0\n", "\n", 24, 6, "no id line"},
		{"type replicated\n", "type replicated type erasure\n", 26, 18, "given twice"},
		{"type replicated\n", "type raid\n", 26, 7, "unknown rule type"},
		{"take default", "take defualt", 27, 12, "not defined"},
		{"take default", "take default class nvme", 27, 26, "which no device has"},
		{"take default", "take osd.0 class hdd", 27, 24, "only a bucket"},
		{"take default", "take default~ssd", 27, 12, "only letters"},
		{"chooseleaf firstn", "chooseleaf first", 28, 18, "expected firstn or indep"},
		{"chooseleaf firstn 0", "chooseleaf firstn 2000", 28, 25, "allowed are -1024 to 1024"},
		{"0 type host", "0 host", 28, 27, "expected \"type\""},
		{"0 type host", "0 type hots", 28, 32, "not defined"},
		{"step emit", "step emitt", 29, 7, "unknown step"},
		{"step emit", "emit", 29, 2, "expected id, type"},
		{"step emit", "step set_choose_tries -1", 29, 24, "allowed are 0 to 10000"},
		{"step emit\n}\n", "step emit\n", 30, 1, "got the end of the map"},
		{"step emit\n}\n", "step emit\n}\nhost c { alg list }\n", 31, 1, "before rules"},
		{"step emit\n}\n", "step emit\n}\nrule r {\n", 31, 6, "already defined"},
		{"step emit\n}\n", "step emit\n}\nrule s { id 0", 31, 13, "already taken"},
		{"step emit\n}\n", "step emit\n}\n\nchoose_args 0 {\n  {\n    bucket_id -1\n  }\n}\n", 32, 1, "choose_args"},
		{"host a", "ôst a", 7, 1, "unexpected character 'ô'"},
		{"# rjenkins1", "# ümläut\n ;", 11, 2, "unexpected character ';'"},
		{"class hdd", "class hdd\x00", 2, 25, `unexpected character '\x00'`},
	} {
		text := strings.Replace(smallMap, c.old, c.new, 1)
		if text == smallMap {
			t.Fatalf("%q -> %q changes nothing", c.old, c.new)
		}
		_, err := Parse(text)
		var se *SyntaxError
		if !errors.As(err, &se) {
			t.Errorf("%q -> %q: got %v, want a SyntaxError", c.old, c.new, err)
			continue
		}
		if se.Line != c.line || se.Col != c.col || !strings.Contains(se.Msg, c.msg) {
			t.Errorf("%q -> %q: got %v, want %d:%d: ...%s", c.old, c.new, err, c.line, c.col, c.msg)
		}
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%v is not ErrInvalid", err)
		}
	}
}

func TestParseLimits(t *testing.T) {
	head := "device 0 osd.0 class hdd\ntype 0 osd\ntype 1 node\n"
	chain := func(n int) string {
		var b strings.Builder
		b.WriteString(head)
		item := "osd.0"
		for i := range n {
			fmt.Fprintf(&b, "node n%d {\n alg straw2\n item %s weight 1\n}\n", i, item)
			item = fmt.Sprintf("n%d", i)
		}
		return b.String()
	}
	if _, err := Parse(chain(MaxDepth)); err != nil {
		t.Errorf("%d levels: %v", MaxDepth, err)
	}
	for name, text := range map[string]string{
		"levels below it":  chain(MaxDepth + 1),
		"bytes, at most":   strings.Repeat(" ", MaxTextBytes+1),
		"more than 64 dev": head + classes(MaxClasses),
		"more than 256 ru": head + rules(MaxRules+1),
		"more than 128 st": head + "rule r { id 0 type erasure " + strings.Repeat("step emit ", MaxRuleSteps+1) + "}",
		"more than 1024 t": head + types(MaxTypes),
		"at most 255 are ": "device 0 " + strings.Repeat("x", MaxNameBytes+1),
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %.200v, want an error with %q", err, name)
		}
	}
}

func classes(n int) (s string) {
	for i := range n {
		s += fmt.Sprintf("device %d osd.%d class c%d\n", i+1, i+1, i)
	}
	return s
}

func rules(n int) (s string) {
	for i := range n {
		s += fmt.Sprintf("rule r%d { id %d type replicated step emit }\n", i, i%256)
		if i == 255 {
			return s + "rule last { id 0 type replicated step emit }"
		}
	}
	return s
}

func types(n int) (s string) {
	for i := range n {
		s += fmt.Sprintf("type %d t%d\n", i+2, i)
	}
	return s
}

// TestWeightText: every weight the builder can make survives the text, as far as a
// float32 can hold it, and text of three digits stays as it is.
func TestWeightText(t *testing.T) {
	for w := Weight(0); w <= 1<<24; w += 1 + w/1000 {
		got, ok := parseWeight(w.String())
		if !ok || got != w {
			t.Fatalf("weight %d is printed as %s, read as %d", w, w, got)
		}
	}
	for milli := range 300_000 {
		s := fmt.Sprintf("%d.%03d", milli/1000, milli%1000)
		w, ok := parseWeight(s)
		if got := w.String(); !ok || got != s {
			t.Fatalf("%s is printed as %s", s, got)
		}
	}
	for _, w := range []Weight{1<<24 + 1, MaxBucketWeight, MaxBucketWeight - 1, MaxDeviceWeight - 3} {
		once, ok1 := parseWeight(w.String())
		twice, ok2 := parseWeight(once.String())
		if !ok1 || !ok2 || once != twice || once.String() != w.String() {
			t.Errorf("weight %d is printed as %s, then %s", w, w, once)
		}
	}
	for f, want := range map[float64]Weight{-1: 0, 0: 0, 1: WeightOne, 0.5: WeightOne / 2, 1e9: MaxBucketWeight} {
		if got := WeightOf(f); got != want {
			t.Errorf("WeightOf(%v) = %d, want %d", f, got, want)
		}
	}
}
