package crush

import (
	"fmt"
	"strconv"
	"strings"
)

// String decompiles the map into text, in crushtool's style and order. Parsing it
// gives the same map, except that weights above 256 are rounded to a float32.
func (m *Map) String() string {
	w := &writer{m: m, done: make(map[int]bool, len(m.Buckets))}
	w.line("# begin crush map")
	w.tunables()
	w.line("\n# devices")
	for _, d := range m.Devices {
		if d.Class != "" {
			w.line("device %d %s class %s", d.ID, d.Name, d.Class)
		} else {
			w.line("device %d %s", d.ID, d.Name)
		}
	}
	w.line("\n# types")
	for _, t := range m.Types {
		w.line("type %d %s", t.ID, t.Name)
	}
	w.line("\n# buckets")
	for i := range m.Buckets {
		w.bucket(&m.Buckets[i], 0)
	}
	w.line("\n# rules")
	for i := range m.Rules {
		w.rule(&m.Rules[i])
	}
	w.line("\n# end crush map")
	return w.out.String()
}

type writer struct {
	m    *Map
	out  strings.Builder
	done map[int]bool
}

func (w *writer) line(format string, args ...any) {
	fmt.Fprintf(&w.out, format+"\n", args...)
}

func (w *writer) tunables() {
	t, old := w.m.Tunables, LegacyTunables()
	for _, v := range []struct {
		name     string
		val, old int
	}{
		{"choose_local_tries", t.ChooseLocalTries, old.ChooseLocalTries},
		{"choose_local_fallback_tries", t.ChooseLocalFallbackTries, old.ChooseLocalFallbackTries},
		{"choose_total_tries", t.ChooseTotalTries, old.ChooseTotalTries},
		{"chooseleaf_descend_once", bit(t.ChooseleafDescendOnce), bit(old.ChooseleafDescendOnce)},
		{"chooseleaf_vary_r", t.ChooseleafVaryR, old.ChooseleafVaryR},
		{"chooseleaf_stable", bit(t.ChooseleafStable), bit(old.ChooseleafStable)},
		{"straw_calc_version", t.StrawCalcVersion, old.StrawCalcVersion},
		{"allowed_bucket_algs", int(t.AllowedBucketAlgs), int(old.AllowedBucketAlgs)},
	} {
		if v.val != v.old {
			w.line("tunable %s %d", v.name, v.val)
		}
	}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// bucket writes the buckets in it first: a name must be defined before its use.
// The depth stops it in a map that was never finalized and has a cycle.
func (w *writer) bucket(b *Bucket, depth int) {
	if w.done[b.ID] || depth > MaxDepth {
		return
	}
	w.done[b.ID] = true
	for _, it := range b.Items {
		if c, ok := w.m.Bucket(it.ID); ok {
			w.bucket(c, depth+1)
		}
	}
	const keep = "\t\t# do not change unnecessarily"
	w.line("%s %s {", w.m.TypeName(b.Type), b.Name)
	w.line("\tid %d"+keep, b.ID)
	for _, s := range b.Shadows {
		w.line("\tid %d class %s"+keep, s.ID, s.Class)
	}
	w.line("\t# weight %.3f", b.Weight().Float())
	pos := false
	switch b.Alg {
	case Uniform:
		pos = true
		w.line("\talg uniform\t# do not change bucket size (%d) unnecessarily", len(b.Items))
	case List:
		w.line("\talg list\t# add new items at the end; do not change order unnecessarily")
	case Tree:
		pos = true
		w.line("\talg tree\t# do not change pos for existing items unnecessarily")
	default:
		w.line("\talg %s", b.Alg)
	}
	w.line("\thash 0\t# rjenkins1")
	for i, it := range b.Items {
		if pos {
			w.line("\titem %s weight %s pos %d", w.m.ItemName(it.ID), it.Weight, i)
		} else {
			w.line("\titem %s weight %s", w.m.ItemName(it.ID), it.Weight)
		}
	}
	w.line("}")
}

func (w *writer) rule(r *Rule) {
	w.line("rule %s {", r.Name)
	w.line("\tid %d", r.ID)
	w.line("\ttype %s", r.Type)
	if r.MinSize != 0 || r.MaxSize != 0 {
		w.line("\tmin_size %d", r.MinSize)
		w.line("\tmax_size %d", r.MaxSize)
	}
	for _, s := range r.Steps {
		w.line("\tstep %s", w.m.StepText(s))
	}
	w.line("}")
}

// StepText returns a rule's step as the text language writes it.
func (m *Map) StepText(s Step) string {
	name := ""
	switch s.Op {
	case OpTake:
		if s.Class != "" {
			return "take " + m.ItemName(s.Item) + " class " + s.Class
		}
		return "take " + m.ItemName(s.Item)
	case OpEmit:
		return "emit"
	case OpChooseFirstN:
		name = "choose firstn"
	case OpChooseIndep:
		name = "choose indep"
	case OpChooseleafFirstN:
		name = "chooseleaf firstn"
	case OpChooseleafIndep:
		name = "chooseleaf indep"
	default:
		return setOpNames[s.Op] + " " + strconv.Itoa(s.Num)
	}
	return name + " " + strconv.Itoa(s.Num) + " type " + m.TypeName(s.Type)
}

// formatWeight uses three digits, as crushtool does, or as many more as it takes
// for the weight to be read back unchanged. A float32, through which weights are
// read, cannot tell all weights above 256 apart; such a weight becomes the nearest
// that it can.
func formatWeight(w Weight) string {
	if w > MaxBucketWeight {
		return strconv.FormatFloat(w.Float(), 'f', 3, 64) // only in messages; no item may weigh this
	}
	w = Weight(float32(w))
	unit := uint64(1000)
	for digits := 3; digits < 9; digits, unit = digits+1, unit*10 {
		// Reading truncates, so the number above often takes fewer digits than the nearest.
		above := float64((uint64(w)*unit+uint64(WeightOne)-1)>>16) / float64(unit)
		for _, f := range []float64{w.Float(), above} {
			s := strconv.FormatFloat(f, 'f', digits, 64)
			if back, ok := parseWeight(s); ok && back == w {
				return s
			}
		}
	}
	return strconv.FormatFloat(w.Float(), 'f', -1, 64)
}
