package crush

import (
	"fmt"
	"math"
	"slices"
	"sort"
)

// index holds what lookups and the mapper need, derived from the exported fields
// of a Map. It is never changed once made, so maps may share it.
type index struct {
	nodes     []*node // bucket and shadow with id -1-i; nil: there is none
	deviceEnd int     // highest device id + 1
	names     map[string]int
	parents   map[int][]int // buckets that contain an item, by descending id
	shadows   map[int]shadowOf
	roots     []int      // buckets in no other bucket, by descending id
	rules     []compiled // by rule id; steps nil: there is none
}

type shadowOf struct {
	orig  int
	class string
}

// compiled is a rule with every name and class resolved.
type compiled struct {
	steps []cstep
}

type cstep struct {
	op   Op
	arg1 int32
	arg2 int32
}

func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// Finalize checks the map, allocates ids for missing class shadows and computes
// what lookups and mappings need. Parse, Decode and the builder methods call it.
// After an error the map is unchanged except for the order of its slices.
func (m *Map) Finalize() error {
	return m.finalize(nil)
}

// finalize allocates shadow ids class by class in the given order, then in the
// map's own. Only Parse knows another order: that of the text, as in crushtool.
func (m *Map) finalize(classes []string) error {
	sort.SliceStable(m.Devices, func(i, j int) bool { return m.Devices[i].ID < m.Devices[j].ID })
	sort.SliceStable(m.Types, func(i, j int) bool { return m.Types[i].ID < m.Types[j].ID })
	sort.SliceStable(m.Buckets, func(i, j int) bool { return m.Buckets[i].ID > m.Buckets[j].ID })
	sort.SliceStable(m.Rules, func(i, j int) bool { return m.Rules[i].ID < m.Rules[j].ID })

	f := &finalizer{m: m, idx: &index{names: map[string]int{}, parents: map[int][]int{}, shadows: map[int]shadowOf{}}}
	for _, step := range []func() error{
		f.tunables, f.types, f.devices, f.buckets, f.shape,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	for _, c := range m.Classes() {
		if !slices.Contains(classes, c) {
			classes = append(classes, c)
		}
	}
	if err := f.shadowTrees(classes); err != nil {
		return err
	}
	if err := f.rules(); err != nil {
		return err
	}
	for i := range m.Buckets {
		m.Buckets[i].Shadows = f.shadowIDs[i]
	}
	m.idx = f.idx
	return nil
}

type finalizer struct {
	m         *Map
	idx       *index
	class     map[int]string // of each device that has one
	shadowIDs [][]ClassID    // by position in m.Buckets
}

func (f *finalizer) tunables() error { return f.m.Tunables.check() }

func (t *Tunables) check() error {
	for _, v := range []struct {
		name string
		val  int
		max  int
	}{
		{"choose_local_tries", t.ChooseLocalTries, MaxTries},
		{"choose_local_fallback_tries", t.ChooseLocalFallbackTries, MaxTries},
		{"choose_total_tries", t.ChooseTotalTries, MaxTries},
		{"chooseleaf_vary_r", t.ChooseleafVaryR, maxVaryR},
		{"straw_calc_version", t.StrawCalcVersion, maxStrawCalc},
	} {
		if v.val < 0 || v.val > v.max {
			return invalidf("tunable %s is %d, allowed are 0 to %d", v.name, v.val, v.max)
		}
	}
	return nil
}

const (
	maxVaryR     = 31 // a shift count
	maxStrawCalc = 255
)

func (f *finalizer) types() error {
	if len(f.m.Types) > MaxTypes {
		return invalidf("%d types, at most %d are allowed", len(f.m.Types), MaxTypes)
	}
	names := map[string]bool{}
	for i, t := range f.m.Types {
		if err := validName(t.Name); err != nil {
			return fmt.Errorf("type %d: %w", t.ID, err)
		}
		if t.ID < 0 || t.ID > MaxTypeID {
			return invalidf("type %s has id %d, allowed are 0 to %d", t.Name, t.ID, MaxTypeID)
		}
		if t.ID != 0 && reservedWord(t.Name) {
			return invalidf("type %d is named %s, which begins another kind of definition: choose another name", t.ID, t.Name)
		}
		if i > 0 && f.m.Types[i-1].ID == t.ID {
			return invalidf("type id %d is used by both %s and %s", t.ID, f.m.Types[i-1].Name, t.Name)
		}
		if names[t.Name] {
			return invalidf("type name %s is used twice", t.Name)
		}
		names[t.Name] = true
	}
	return nil
}

func (f *finalizer) devices() error {
	f.class = make(map[int]string, len(f.m.Devices))
	for i, d := range f.m.Devices {
		if err := validName(d.Name); err != nil {
			return fmt.Errorf("device %d: %w", d.ID, err)
		}
		if d.ID < 0 || d.ID > MaxDeviceID {
			return invalidf("device %s has id %d, allowed are 0 to %d", d.Name, d.ID, MaxDeviceID)
		}
		if i > 0 && f.m.Devices[i-1].ID == d.ID {
			return invalidf("device id %d is used by both %s and %s", d.ID, f.m.Devices[i-1].Name, d.Name)
		}
		if _, dup := f.idx.names[d.Name]; dup {
			return invalidf("the name %s is used twice", d.Name)
		}
		if d.Class != "" {
			if err := validName(d.Class); err != nil {
				return fmt.Errorf("class of device %s: %w", d.Name, err)
			}
			f.class[d.ID] = d.Class
		}
		f.idx.names[d.Name] = d.ID
		f.idx.deviceEnd = d.ID + 1
	}
	return nil
}

func (f *finalizer) buckets() error {
	m := f.m
	for i := range m.Buckets {
		b := &m.Buckets[i]
		if err := validName(b.Name); err != nil {
			return fmt.Errorf("bucket %d: %w", b.ID, err)
		}
		if b.ID > -1 || b.ID < -MaxBucketID {
			return invalidf("bucket %s has id %d, allowed are -1 to %d", b.Name, b.ID, -MaxBucketID)
		}
		if i > 0 && m.Buckets[i-1].ID == b.ID {
			return invalidf("bucket id %d is used by both %s and %s", b.ID, m.Buckets[i-1].Name, b.Name)
		}
		if _, dup := f.idx.names[b.Name]; dup {
			return invalidf("the name %s is used twice", b.Name)
		}
		f.idx.names[b.Name] = b.ID
		if b.Alg < Uniform || b.Alg > Straw2 {
			return invalidf("bucket %s has the unknown algorithm %d", b.Name, b.Alg)
		}
		if b.Type == 0 {
			return invalidf("bucket %s has type 0, which is that of devices", b.Name)
		}
		if !slices.ContainsFunc(m.Types, func(t Type) bool { return t.ID == b.Type }) {
			return invalidf("bucket %s has type %d, which is not defined", b.Name, b.Type)
		}
	}
	for i := range m.Buckets {
		if err := f.items(&m.Buckets[i]); err != nil {
			return err
		}
	}
	for i := range m.Buckets {
		if id := m.Buckets[i].ID; f.idx.parents[id] == nil {
			f.idx.roots = append(f.idx.roots, id)
		}
	}
	return nil
}

func (f *finalizer) items(b *Bucket) error {
	var sum uint64
	seen := make(map[int]bool, len(b.Items))
	for _, it := range b.Items {
		if it.ID >= 0 {
			if _, ok := f.m.Device(it.ID); !ok {
				return invalidf("bucket %s contains device %d, which is not defined", b.Name, it.ID)
			}
		} else if _, ok := f.m.Bucket(it.ID); !ok {
			return invalidf("bucket %s contains bucket %d, which is not defined", b.Name, it.ID)
		}
		if seen[it.ID] {
			return invalidf("bucket %s contains %s twice", b.Name, f.m.ItemName(it.ID))
		}
		seen[it.ID] = true
		if err := checkItemWeight(it); err != nil {
			return fmt.Errorf("item %s of bucket %s: %w", f.m.ItemName(it.ID), b.Name, err)
		}
		if b.Alg == Uniform && it.Weight != b.Items[0].Weight {
			return invalidf("item %s of uniform bucket %s has weight %s, but the first item has %s: all must be equal",
				f.m.ItemName(it.ID), b.Name, it.Weight, b.Items[0].Weight)
		}
		sum += uint64(it.Weight)
		f.idx.parents[it.ID] = append(f.idx.parents[it.ID], b.ID)
	}
	if sum > math.MaxUint32 {
		return invalidf("the weights of bucket %s add up to more than 65535: use smaller weights", b.Name)
	}
	return nil
}

func checkItemWeight(it Item) error {
	if it.ID >= 0 && it.Weight > MaxDeviceWeight {
		return invalidf("weight %s of a device, at most %s is allowed", it.Weight, MaxDeviceWeight)
	}
	if it.Weight > MaxBucketWeight {
		return invalidf("weight %s of a bucket, at most %s is allowed", it.Weight, MaxBucketWeight)
	}
	return nil
}

// shape refuses cycles and hierarchies that are too deep.
func (f *finalizer) shape() error {
	const open = -1
	height := make(map[int]int, len(f.m.Buckets)) // open: being visited
	var visit func(id, depth int) (int, error)
	visit = func(id, depth int) (int, error) {
		switch h := height[id]; {
		case h == open:
			return 0, invalidf("bucket %s contains itself", f.m.ItemName(id))
		case h > 0:
			return h, nil
		}
		if depth > MaxDepth {
			return 0, invalidf("bucket %s is more than %d levels deep", f.m.ItemName(id), MaxDepth)
		}
		height[id] = open
		b, _ := f.m.Bucket(id)
		h := 1
		for _, it := range b.Items {
			if it.ID >= 0 {
				continue
			}
			hc, err := visit(it.ID, depth+1)
			if err != nil {
				return 0, err
			}
			h = max(h, hc+1)
		}
		if h > MaxDepth {
			return 0, invalidf("bucket %s has more than %d levels below it", b.Name, MaxDepth)
		}
		height[id] = h
		return h, nil
	}
	for i := range f.m.Buckets {
		if _, err := visit(f.m.Buckets[i].ID, 1); err != nil {
			return err
		}
	}
	return nil
}

func (f *finalizer) rules() error {
	m := f.m
	if len(m.Rules) > MaxRules {
		return invalidf("%d rules, at most %d are allowed", len(m.Rules), MaxRules)
	}
	names := map[string]bool{}
	for i := range m.Rules {
		r := &m.Rules[i]
		if r.ID < 0 || r.ID >= MaxRules {
			return invalidf("rule %s has id %d, allowed are 0 to %d", r.Name, r.ID, MaxRules-1)
		}
		if i > 0 && m.Rules[i-1].ID == r.ID {
			return invalidf("rule id %d is used by both %s and %s", r.ID, m.Rules[i-1].Name, r.Name)
		}
		if r.Name != "" { // crushtool lets a rule have no name
			if err := validName(r.Name); err != nil {
				return fmt.Errorf("rule %d: %w", r.ID, err)
			}
			if names[r.Name] {
				return invalidf("rule name %s is used twice", r.Name)
			}
			names[r.Name] = true
		}
		c, err := f.compile(r)
		if err != nil {
			return fmt.Errorf("rule %d (%s): %w", r.ID, r.Name, err)
		}
		for len(f.idx.rules) <= r.ID {
			f.idx.rules = append(f.idx.rules, compiled{})
		}
		f.idx.rules[r.ID] = c
	}
	return nil
}

func (f *finalizer) compile(r *Rule) (compiled, error) {
	if r.Type != Replicated && r.Type != Erasure {
		return compiled{}, invalidf("unknown type %d", r.Type)
	}
	if r.MinSize < 0 || r.MinSize > MaxRuleSize || r.MaxSize < 0 || r.MaxSize > MaxRuleSize {
		return compiled{}, invalidf("min_size %d and max_size %d, allowed are 0 to %d", r.MinSize, r.MaxSize, MaxRuleSize)
	}
	if len(r.Steps) == 0 || len(r.Steps) > MaxRuleSteps {
		return compiled{}, invalidf("%d steps, allowed are 1 to %d", len(r.Steps), MaxRuleSteps)
	}
	out := compiled{steps: make([]cstep, 0, len(r.Steps))}
	for i, s := range r.Steps {
		cs, err := f.step(s)
		if err != nil {
			return compiled{}, fmt.Errorf("step %d: %w", i+1, err)
		}
		out.steps = append(out.steps, cs)
	}
	return out, nil
}

func (f *finalizer) step(s Step) (cstep, error) {
	switch s.Op {
	case OpTake:
		id, err := f.take(s)
		return cstep{op: s.Op, arg1: int32(id)}, err
	case OpEmit:
		return cstep{op: s.Op}, nil
	case OpChooseFirstN, OpChooseIndep, OpChooseleafFirstN, OpChooseleafIndep:
		if s.Num < -MaxReplicas || s.Num > MaxReplicas {
			return cstep{}, invalidf("chooses %d items, allowed are %d to %d", s.Num, -MaxReplicas, MaxReplicas)
		}
		if !slices.ContainsFunc(f.m.Types, func(t Type) bool { return t.ID == s.Type }) {
			return cstep{}, invalidf("chooses items of type %d, which is not defined", s.Type)
		}
		return cstep{op: s.Op, arg1: int32(s.Num), arg2: int32(s.Type)}, nil
	}
	name, ok := setOpNames[s.Op]
	if !ok {
		return cstep{}, invalidf("unknown operation %d", s.Op)
	}
	limit := maxOfSetOp(s.Op)
	if s.Num < 0 || s.Num > limit {
		return cstep{}, invalidf("%s %d, allowed are 0 to %d", name, s.Num, limit)
	}
	return cstep{op: s.Op, arg1: int32(s.Num)}, nil
}

func maxOfSetOp(op Op) int {
	switch op {
	case OpSetChooseleafVaryR:
		return maxVaryR
	case OpSetChooseleafStable:
		return 1
	}
	return MaxTries
}

func (f *finalizer) take(s Step) (int, error) {
	if s.Item >= 0 {
		if _, ok := f.m.Device(s.Item); !ok {
			return 0, invalidf("takes device %d, which is not defined", s.Item)
		}
		if s.Class != "" {
			return 0, invalidf("takes class %s of device %s: only a bucket can be narrowed to a class", s.Class, f.m.ItemName(s.Item))
		}
		return s.Item, nil
	}
	i := sort.Search(len(f.m.Buckets), func(i int) bool { return f.m.Buckets[i].ID <= s.Item })
	if i == len(f.m.Buckets) || f.m.Buckets[i].ID != s.Item {
		return 0, invalidf("takes bucket %d, which is not defined", s.Item)
	}
	if s.Class == "" {
		return s.Item, nil
	}
	for _, c := range f.shadowIDs[i] {
		if c.Class == s.Class {
			return c.ID, nil
		}
	}
	return 0, invalidf("takes class %s, which no device has", s.Class)
}
