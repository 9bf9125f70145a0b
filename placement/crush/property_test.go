package crush

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// drawMap draws a topology made by the builder: hosts in racks of unequal size,
// several classes, any weights, and a firstn and an indep rule.
func drawMap(t *rapid.T) *Map {
	m := NewDefault()
	racks := rapid.IntRange(1, 4).Draw(t, "racks")
	classes := []string{"", "hdd", "ssd", "nvme"}[:rapid.IntRange(1, 4).Draw(t, "classes")]
	err := m.Update(func(m *Map) error {
		id := 0
		for r := range racks {
			for h := range rapid.IntRange(1, 4).Draw(t, "hosts") {
				for range rapid.IntRange(1, 4).Draw(t, "devices") {
					loc := Location{"root": "default", "rack": fmt.Sprintf("r%d", r), "host": fmt.Sprintf("r%dh%d", r, h)}
					weight := Weight(rapid.Uint32Range(1, 40*uint32(WeightOne)).Draw(t, "weight"))
					if err := m.AddDevice(id, rapid.SampledFrom(classes).Draw(t, "class"), weight, loc); err != nil {
						return err
					}
					id += rapid.IntRange(1, 3).Draw(t, "gap")
				}
			}
		}
		domain := rapid.SampledFrom([]string{"osd", "host", "rack"}).Draw(t, "domain")
		for _, mode := range []Mode{FirstN, Indep} {
			if _, err := m.AddSimpleRule(mode.String(), "default", "", domain, mode); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func anyDevice(t *rapid.T, m *Map) int {
	return rapid.SampledFrom(m.Devices).Draw(t, "device").ID
}

// checkWeights: every bucket weighs in its parent what its items add up to.
func checkWeights(t *rapid.T, m *Map) {
	for i := range m.Buckets {
		for _, it := range m.Buckets[i].Items {
			if b, ok := m.Bucket(it.ID); ok && b.Weight() != it.Weight {
				t.Fatalf("%s weighs %s in %s, its items %s", b.Name, it.Weight, m.Buckets[i].Name, b.Weight())
			}
		}
	}
}

// TestResultsAreValid: results have no duplicates, keep to the failure domain, and
// contain only devices the rule may use; the same map in another form agrees.
func TestResultsAreValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMap(t)
		decoded, err := Decode(Encode(m))
		if err != nil {
			t.Fatal(err)
		}
		numRep := rapid.IntRange(0, 40).Draw(t, "numRep")
		for _, rule := range []int{1, 2} {
			typ, allowed := m.RuleDomain(rule), m.RuleDevices(rule)
			for x := range 20 {
				got, err := m.Do(rule, x, numRep, nil)
				if err != nil {
					t.Fatal(err)
				}
				if rule == 2 && len(got) != numRep || len(got) > numRep {
					t.Fatalf("rule %d gives %d devices, %d were asked for", rule, len(got), numRep)
				}
				domains := map[int]bool{}
				for _, d := range got {
					if d == ItemNone {
						if rule == 1 {
							t.Fatal("a firstn rule left a hole")
						}
						continue
					}
					dom, ok := m.Domain(d, typ)
					if !ok || domains[dom] || !slices.Contains(allowed, d) {
						t.Fatalf("rule %d x %d gives %v: device %d is wrong", rule, x, got, d)
					}
					domains[dom] = true
				}
				if other, err := decoded.Do(rule, x, numRep, nil); err != nil || !slices.Equal(got, other) {
					t.Fatalf("the decoded map gives %v, want %v; %v", other, got, err)
				}
			}
		}
	})
}

// TestOutMovesOnlyItsOwn: taking a device out changes only results that had it.
func TestOutMovesOnlyItsOwn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMap(t)
		out := anyDevice(t, m)
		weights := make([]uint32, m.Devices[len(m.Devices)-1].ID+1)
		for i := range weights {
			weights[i] = uint32(WeightOne)
		}
		weights[out] = 0
		for _, rule := range []int{1, 2} {
			for x := range 50 {
				before, err := m.Do(rule, x, 3, nil)
				if err != nil {
					t.Fatal(err)
				}
				after, err := m.Do(rule, x, 3, weights)
				if err != nil {
					t.Fatal(err)
				}
				if slices.Contains(after, out) {
					t.Fatalf("rule %d x %d gives %v, which has device %d that is out", rule, x, after, out)
				}
				if !slices.Contains(before, out) && !slices.Equal(before, after) {
					t.Fatalf("rule %d x %d gave %v, now %v, but device %d was not in it", rule, x, before, after, out)
				}
			}
		}
	})
}

// TestWeightMovesOnlyToOrFrom: with straw2, raising a device's weight moves data only
// to it, as far as first choices go.
func TestWeightMovesOnlyToOrFrom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 20).Draw(t, "devices")
		m := NewDefault()
		if err := m.Update(func(m *Map) error {
			for id := range n {
				w := Weight(rapid.Uint32Range(1, 10*uint32(WeightOne)).Draw(t, "weight"))
				if err := m.AddDevice(id, "", w, Location{"root": "default"}); err != nil {
					return err
				}
			}
			_, err := m.AddSimpleRule("flat", "default", "", "osd", FirstN)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		grown := m.Clone()
		id := rapid.IntRange(0, n-1).Draw(t, "grows")
		if err := grown.SetWeight(id, 20*WeightOne); err != nil {
			t.Fatal(err)
		}
		for x := range 100 {
			before, _ := m.Do(1, x, 1, nil)
			after, _ := grown.Do(1, x, 1, nil)
			if before[0] != after[0] && after[0] != id {
				t.Fatalf("x %d moved from %d to %d, but device %d has grown", x, before[0], after[0], id)
			}
		}
	})
}

// TestBuilderKeepsMapRight does random changes. After each one the weights add up
// and text and encoding give the same map back; a refused one changes nothing.
func TestBuilderKeepsMapRight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMap(t)
		place := func() Location {
			r, h := rapid.IntRange(0, 5).Draw(t, "rack"), rapid.IntRange(0, 5).Draw(t, "host")
			return Location{"root": "default", "rack": fmt.Sprintf("r%d", r), "host": fmt.Sprintf("r%dh%d", r, h)}
		}
		for range rapid.IntRange(1, 12).Draw(t, "changes") {
			before := Encode(m)
			var err error
			switch rapid.IntRange(0, 6).Draw(t, "change") {
			case 0:
				err = m.AddDevice(rapid.IntRange(0, 200).Draw(t, "id"), "hdd", WeightOne, place())
			case 1:
				if len(m.Devices) > 0 {
					err = m.RemoveDevice(anyDevice(t, m))
				}
			case 2:
				if len(m.Devices) > 0 {
					err = m.SetWeight(anyDevice(t, m), Weight(rapid.Uint32Range(0, 1<<22).Draw(t, "weight")))
				}
			case 3:
				if len(m.Devices) > 0 {
					err = m.MoveDevice(anyDevice(t, m), place())
				}
			case 4:
				if len(m.Devices) > 0 {
					err = m.SetClass(anyDevice(t, m), rapid.SampledFrom([]string{"", "ssd", "new"}).Draw(t, "class"))
				}
			case 5:
				b := rapid.SampledFrom(m.Buckets).Draw(t, "bucket")
				err = m.MoveBucket(b.Name, Location{"root": "default", "rack": fmt.Sprintf("r%d", rapid.IntRange(0, 5).Draw(t, "to"))})
			case 6:
				err = m.RemoveBucket(rapid.SampledFrom(m.Buckets).Draw(t, "bucket").Name)
			}
			if err != nil && string(Encode(m)) != string(before) {
				t.Fatalf("a refused change (%v) left traces", err)
			}
			checkWeights(t, m)
			again, err := Parse(m.String())
			if err != nil {
				t.Fatalf("%v\n%s", err, m)
			}
			if m.maxWeight() <= 256*WeightOne && !again.Equal(m) {
				t.Fatalf("the text is another map:\n%s\n%s", m, again)
			}
			if back, err := Decode(Encode(m)); err != nil || !back.Equal(m) {
				t.Fatalf("the encoding is another map: %v", err)
			}
		}
	})
}

func (m *Map) maxWeight() Weight {
	var w Weight
	for i := range m.Buckets {
		for _, it := range m.Buckets[i].Items {
			w = max(w, it.Weight)
		}
	}
	return w
}

// TestShadowTreeIsTheTreeOfItsDevices: a rule narrowed to a class uses only devices
// of it, and finds as many as there are.
func TestShadowTreeIsTheTreeOfItsDevices(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMap(t)
		for _, class := range m.Classes() {
			rule, err := m.AddSimpleRule("only-"+class, "default", class, "osd", FirstN)
			if err != nil {
				t.Fatal(err)
			}
			want := m.DevicesBelow(-1, class)
			if !slices.Equal(m.RuleDevices(rule), want) {
				t.Fatalf("rule for %s can use %v, want %v", class, m.RuleDevices(rule), want)
			}
			shadow := m.Buckets[0].Shadows[slices.IndexFunc(m.Buckets[0].Shadows, func(s ClassID) bool { return s.Class == class })]
			if !slices.Equal(m.Subtree(shadow.ID), want) {
				t.Fatalf("shadow %s holds %v, want %v", m.ItemName(shadow.ID), m.Subtree(shadow.ID), want)
			}
			for x := range 20 {
				got, err := m.Do(rule, x, 2, nil)
				if err != nil || len(got) == 0 {
					t.Fatalf("class %s x %d: %v, %v", class, x, got, err)
				}
				for _, d := range got {
					if !slices.Contains(want, d) {
						t.Fatalf("class %s x %d gives %v, want only %v", class, x, got, want)
					}
				}
			}
		}
	})
}
