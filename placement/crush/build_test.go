package crush

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// layout prints the tree in short, for comparison: "default(3.000) > h1(1.000) ...".
func layout(m *Map) string {
	var b strings.Builder
	for _, n := range m.Tree() {
		b.WriteString(strings.Repeat("  ", n.Depth) + n.Name + " " + n.Weight.String())
		if n.Class != "" {
			b.WriteString(" " + n.Class)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantLayout(t *testing.T, m *Map, want string) {
	t.Helper()
	if diff := cmp.Diff(strings.TrimLeft(want, "\n"), layout(m)); diff != "" {
		t.Errorf("layout (-want +got):\n%s", diff)
	}
	if _, err := Parse(m.String()); err != nil {
		t.Errorf("the map's text is refused: %v\n%s", err, m)
	}
}

func TestNewDefault(t *testing.T) {
	m := NewDefault()
	want := `# begin crush map
tunable choose_local_tries 0
tunable choose_local_fallback_tries 0
tunable choose_total_tries 50
tunable chooseleaf_descend_once 1
tunable chooseleaf_vary_r 1
tunable chooseleaf_stable 1
tunable straw_calc_version 1
tunable allowed_bucket_algs 54

# devices

# types
type 0 osd
type 1 host
type 2 chassis
type 3 rack
type 4 row
type 5 pdu
type 6 pod
type 7 room
type 8 datacenter
type 9 zone
type 10 region
type 11 root

# buckets
root default {
	id -1		# do not change unnecessarily
	# weight 0.000
	alg straw2
	hash 0	# rjenkins1
}

# rules
rule replicated_rule {
	id 0
	type replicated
	min_size 1
	max_size 10
	step take default
	step chooseleaf firstn 0 type host
	step emit
}

# end crush map
`
	if diff := cmp.Diff(want, m.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got, err := m.Do(0, 1, 3, nil); err != nil || len(got) != 0 {
		t.Errorf("an empty map gives %v, %v", got, err)
	}
}

// TestBuild tells the life of a small cluster.
func TestBuild(t *testing.T) {
	m := NewDefault()
	at := func(rack, host string) Location {
		return Location{"root": "default", "rack": rack, "host": host}
	}
	must(t, m.AddDevice(0, "hdd", WeightOf(1), at("r1", "a")))
	must(t, m.AddDevice(2, "ssd", WeightOf(0.5), at("r1", "a")))
	must(t, m.AddDevice(1, "hdd", WeightOf(2), at("r2", "b")))
	must(t, m.AddDevice(3, "", WeightOf(4), Location{"root": "default", "host": "c"}))
	wantLayout(t, m, `
default 7.500
  r1 1.500
    a 1.500
      osd.0 1.000 hdd
      osd.2 0.500 ssd
  r2 2.000
    b 2.000
      osd.1 2.000 hdd
  c 4.000
    osd.3 4.000
`)

	must(t, m.SetWeight(2, WeightOf(3)))
	must(t, m.MoveDevice(0, at("r2", "b")))
	must(t, m.MoveBucket("c", Location{"rack": "r1"}))
	must(t, m.SetClass(3, "nvme"))
	wantLayout(t, m, `
default 10.000
  r1 7.000
    a 3.000
      osd.2 3.000 ssd
    c 4.000
      osd.3 4.000 nvme
  r2 3.000
    b 3.000
      osd.1 2.000 hdd
      osd.0 1.000 hdd
`)
	if got, want := m.Location(3), (Location{"root": "default", "rack": "r1", "host": "c"}); !cmp.Equal(got, want) {
		t.Errorf("Location(3) = %v, want %v", got, want)
	}

	id, err := m.AddSimpleRule("fast", "default", "nvme", "osd", FirstN)
	must(t, err)
	ec, err := m.AddSimpleRule("ec", "default", "", "rack", Indep)
	must(t, err)
	if id != 1 || ec != 2 {
		t.Errorf("rules have ids %d and %d, want 1 and 2", id, ec)
	}
	if got := m.RuleDevices(id); !cmp.Equal(got, []int{3}) {
		t.Errorf("rule fast can choose %v, want only 3", got)
	}
	if got, err := m.Do(id, 7, 2, nil); err != nil || !cmp.Equal(got, []int{3}) {
		t.Errorf("rule fast gives %v, %v", got, err)
	}
	if got := m.TypeName(m.RuleDomain(ec)); got != "rack" {
		t.Errorf("rule ec keeps apart %s, want rack", got)
	}
	if got, err := m.Do(ec, 7, 3, nil); err != nil || len(got) != 3 || cmp.Equal(got, []int{3, 3, 3}) {
		t.Errorf("rule ec gives %v, %v", got, err)
	}

	// The nvme class stays while a rule takes it, even without a device.
	must(t, m.RemoveDevice(3))
	if got := m.Classes(); !cmp.Equal(got, []string{"hdd", "ssd", "nvme"}) {
		t.Errorf("classes are %v", got)
	}
	must(t, m.RemoveRule("fast"))
	must(t, m.RemoveDevice(2))
	if got := m.Classes(); !cmp.Equal(got, []string{"hdd"}) {
		t.Errorf("classes are %v, want only hdd", got)
	}
	must(t, m.RemoveBucket("a"))
	must(t, m.RenameBucket("c", "d"))
	must(t, m.AddBucket("r3", "rack", nil))
	must(t, m.MoveBucket("d", Location{"rack": "r3"}))
	must(t, m.AddBucket("e", "host", Location{"rack": "r2", "root": "default"}))
	wantLayout(t, m, `
default 3.000
  r1 0.000
  r2 3.000
    b 3.000
      osd.1 2.000 hdd
      osd.0 1.000 hdd
    e 0.000
r3 0.000
  d 0.000
`)
	id, err = m.AddRule(Rule{Name: "again", Type: Replicated, Steps: []Step{{Op: OpTake, Item: -1}, {Op: OpEmit}}})
	must(t, err)
	if id != 1 {
		t.Errorf("the new rule has id %d, want the free 1", id)
	}
	tun := m.Tunables
	tun.ChooseTotalTries = 70
	must(t, m.SetTunables(tun))
	if m.Tunables.ChooseTotalTries != 70 {
		t.Error("SetTunables has no effect")
	}
}

// TestBuildErrors: a refused change leaves the map as it was.
func TestBuildErrors(t *testing.T) {
	m := cluster(t, 2, 2, 2, equal)
	must(t, m.AddBucket("lonely", "rack", nil))
	if _, err := m.AddRule(Rule{Name: "direct", Type: Replicated, Steps: []Step{{Op: OpTake, Item: 7}, {Op: OpEmit}}}); err != nil {
		t.Fatal(err)
	}
	before := m.String()
	host := Location{"host": "host0-0"}
	for _, c := range []struct {
		name string
		err  error
		is   error
		msg  string
	}{
		{"device exists", m.AddDevice(3, "", 1, host), ErrExists, "add device 3"},
		{"no location", m.AddDevice(9, "", 1, nil), ErrInvalid, "no location"},
		{"bad type", m.AddDevice(9, "", 1, Location{"hots": "a"}), ErrNotFound, "type hots"},
		{"device type", m.AddDevice(9, "", 1, Location{"osd": "a"}), ErrInvalid, "not of buckets"},
		{"bad bucket name", m.AddDevice(9, "", 1, Location{"host": "a b"}), ErrInvalid, "only letters"},
		{"not a host", m.AddDevice(9, "", 1, Location{"host": "rack0"}), ErrInvalid, "rack0 is not a host"},
		{"elsewhere", m.AddDevice(9, "", 1, Location{"host": "host0-0", "rack": "rack1"}), ErrInvalid, "host host0-0 is in rack rack0: move it first"},
		{"nowhere", m.AddDevice(9, "", 1, Location{"host": "host0-0", "row": "x"}), ErrInvalid, "not below any row"},
		{"weight", m.AddDevice(9, "", MaxDeviceWeight+1, host), ErrInvalid, "at most 10000"},
		{"negative id", m.AddDevice(-1, "", 1, host), ErrInvalid, "allowed are 0 to"},
		{"class name", m.AddDevice(9, "a b", 1, host), ErrInvalid, "only letters"},
		{"remove unknown", m.RemoveDevice(9), ErrNotFound, "remove device 9"},
		{"remove taken", m.RemoveDevice(7), ErrInvalid, "taken by rule direct"},
		{"weight unknown", m.SetWeight(9, 1), ErrNotFound, "device 9"},
		{"weight high", m.SetWeight(1, MaxDeviceWeight+1), ErrInvalid, "at most"},
		{"class unknown", m.SetClass(9, "x"), ErrNotFound, "device 9"},
		{"move unknown", m.MoveDevice(9, host), ErrNotFound, "device 9"},
		{"move nowhere", m.MoveDevice(1, nil), ErrInvalid, "no location"},
		{"bucket exists", m.AddBucket("rack0", "rack", nil), ErrExists, "rack0"},
		{"bucket type", m.AddBucket("x", "osd", nil), ErrInvalid, "devices"},
		{"bucket below itself", m.MoveBucket("rack0", Location{"rack": "rack0"}), ErrInvalid, "not above type rack"},
		{"bucket below lower", m.MoveBucket("rack0", host), ErrInvalid, "not above type rack"},
		{"move unknown bucket", m.MoveBucket("x", nil), ErrNotFound, "x"},
		{"rename unknown", m.RenameBucket("x", "y"), ErrNotFound, "x"},
		{"rename to taken", m.RenameBucket("rack0", "osd.1"), ErrExists, "osd.1"},
		{"rename to bad", m.RenameBucket("rack0", "~"), ErrInvalid, "only letters"},
		{"remove full", m.RemoveBucket("rack0"), ErrInvalid, "contains 2 items"},
		{"remove taken bucket", m.RemoveBucket("default"), ErrInvalid, "contains"},
		{"remove no bucket", m.RemoveBucket("osd.1"), ErrNotFound, "osd.1"},
		{"remove no rule", m.RemoveRule("x"), ErrNotFound, "x"},
		{"tunables", m.SetTunables(Tunables{ChooseTotalTries: -1}), ErrInvalid, "choose_total_tries"},
		{"rule exists", second(m.AddSimpleRule(DefaultRule, "default", "", "host", FirstN)), ErrExists, DefaultRule},
		{"rule root", second(m.AddSimpleRule("x", "nope", "", "host", FirstN)), ErrNotFound, "root nope"},
		{"rule class", second(m.AddSimpleRule("x", "default", "ssd", "host", FirstN)), ErrNotFound, "class ssd"},
		{"rule domain", second(m.AddSimpleRule("x", "default", "", "hots", FirstN)), ErrNotFound, "type hots"},
		{"rule name", second(m.AddSimpleRule("", "default", "", "host", FirstN)), ErrInvalid, "empty name"},
		{"rule without steps", second(m.AddRule(Rule{Name: "x", Type: Erasure})), ErrInvalid, "0 steps"},
	} {
		if c.err == nil || !errors.Is(c.err, c.is) || !strings.Contains(c.err.Error(), c.msg) {
			t.Errorf("%s: got %v, want %v with %q", c.name, c.err, c.is, c.msg)
		}
	}
	if diff := cmp.Diff(before, m.String()); diff != "" {
		t.Errorf("a refused change left traces:\n%s", diff)
	}
}

func second[T any](_ T, err error) error { return err }

// TestUniformNeedsEqualWeights: a change that a uniform bucket cannot hold is refused.
func TestUniformNeedsEqualWeights(t *testing.T) {
	m, err := Parse(strings.ReplaceAll(smallMap, "\talg straw2\n\thash 0", "\talg uniform\n\thash 0"))
	must(t, err)
	if err := m.AddDevice(5, "", 2*WeightOne, Location{"host": "a"}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "all must be equal") {
		t.Errorf("got %v", err)
	}
	must(t, m.AddDevice(5, "", WeightOne, Location{"host": "a"}))
}

// TestReweight mends bucket weights that a text got wrong, as the seed's map has them.
func TestReweight(t *testing.T) {
	m := readMap(t, "testdata/seed-slides.txt")
	before, _ := m.BucketByName("default")
	if got := before.Weight().Float(); got < 1.3 {
		t.Fatalf("weight is %v", got)
	}
	must(t, m.Reweight())
	root, _ := m.BucketByName("default")
	for _, it := range root.Items {
		b, _ := m.Bucket(it.ID)
		if b.Weight() != it.Weight {
			t.Errorf("%s weighs %s, its items %s", b.Name, it.Weight, b.Weight())
		}
	}
}

// TestUpdate: several changes are one, and an error undoes all of them.
func TestUpdate(t *testing.T) {
	m := NewDefault()
	before := m.String()
	boom := errors.New("boom")
	err := m.Update(func(m *Map) error {
		if err := m.AddDevice(1, "ssd", WeightOne, Location{"host": "a"}); err != nil {
			return err
		}
		if _, err := m.AddSimpleRule("x", "a", "ssd", "osd", FirstN); err != nil {
			t.Errorf("a rule for what was just added: %v", err)
		}
		return boom
	})
	if !errors.Is(err, boom) || m.String() != before {
		t.Errorf("got %v and\n%s", err, m)
	}
	must(t, m.Update(func(m *Map) error {
		if _, err := m.Do(0, 0, 3, nil); !errors.Is(err, ErrNotFinalized) {
			t.Errorf("Do inside Update: %v", err)
		}
		return m.AddDevice(1, "ssd", WeightOne, Location{"host": "a", "root": "default"})
	}))
	if got, err := m.Do(0, 0, 3, nil); err != nil || !cmp.Equal(got, []int{1}) {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestCloneIsIndependent: changing a clone does not change the original.
func TestCloneIsIndependent(t *testing.T) {
	m := cluster(t, 2, 2, 2, mixed)
	before := m.String()
	c := m.Clone()
	if !c.Equal(m) {
		t.Fatal("a clone is not equal")
	}
	must(t, c.SetWeight(3, 5*WeightOne))
	must(t, c.RemoveDevice(0))
	c.Buckets[0].Items[0].Weight = 7
	c.Rules[0].Steps[0].Item = -2
	if m.String() != before {
		t.Error("the original has changed")
	}
	if c.Equal(m) || m.Equal(nil) || !(*Map)(nil).Equal(nil) {
		t.Error("Equal is wrong")
	}
}

func TestFinalizeRefuses(t *testing.T) {
	for name, change := range map[string]func(*Map){
		"contains itself":     func(m *Map) { m.Buckets[2].Items = append(m.Buckets[2].Items, Item{ID: -1}) },
		"which is not define": func(m *Map) { m.Buckets[0].Items = append(m.Buckets[0].Items, Item{ID: 77}) },
		"contains bucket -99": func(m *Map) { m.Buckets[0].Items = append(m.Buckets[0].Items, Item{ID: -99}) },
		"twice":               func(m *Map) { m.Buckets[0].Items = append(m.Buckets[0].Items, m.Buckets[0].Items[0]) },
		"used by both":        func(m *Map) { m.Buckets[1].ID = -1 },
		"name osd.1 is used":  func(m *Map) { m.Buckets[1].Name = "osd.1" },
		"unknown algorithm":   func(m *Map) { m.Buckets[1].Alg = 9 },
		"type 99":             func(m *Map) { m.Buckets[1].Type = 99 },
		"that of devices":     func(m *Map) { m.Buckets[1].Type = 0 },
		"more than 65535": func(m *Map) {
			m.Buckets[0].Items[0].Weight, m.Buckets[0].Items[1].Weight = MaxBucketWeight, MaxBucketWeight
		},
		"used elsewhere":      func(m *Map) { m.Buckets[1].Shadows[0].ID = -1 },
		"unknown operation":   func(m *Map) { m.Rules[0].Steps[0].Op = 99 },
		"takes bucket -99":    func(m *Map) { m.Rules[0].Steps[0].Item = -99 },
		"takes device 99":     func(m *Map) { m.Rules[0].Steps[0].Item = 99 },
		"takes class":         func(m *Map) { m.Rules[0].Steps[0].Class = "floppy" },
		"chooses items of":    func(m *Map) { m.Rules[0].Steps[1].Type = 99 },
		"unknown type":        func(m *Map) { m.Rules[0].Type = 2 },
		"allowed are 0 to 31": func(m *Map) { m.Tunables.ChooseleafVaryR = 32 },
		"device id 0":         func(m *Map) { m.Devices[1].ID = 0 },
		"rule id 0":           func(m *Map) { m.Rules = append(m.Rules, m.Rules[0]) },
		"type id 1":           func(m *Map) { m.Types[2].ID = 1 },
	} {
		m := cluster(t, 2, 2, 2, mixed)
		change(m)
		if err := m.Finalize(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want an error with %q", err, name)
		}
	}
}
