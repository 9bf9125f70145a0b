package crush

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strconv"
)

// Location says where an item is, or shall be: the name of the bucket for each
// type named, such as {"host": "node1", "rack": "r2", "root": "default"}.
type Location map[string]string

// Mode says how a rule fills its result.
type Mode uint8

// The modes. FirstN closes ranks when a device is lost, which suits copies; Indep
// leaves a hole, which suits the shards of an erasure code.
const (
	FirstN Mode = iota
	Indep
)

// String returns the mode's name in the text language.
func (m Mode) String() string {
	if m == Indep {
		return "indep"
	}
	return "firstn"
}

// defaultTypes are the levels of a new map, by id.
var defaultTypes = []string{
	"osd", "host", "chassis", "rack", "row", "pdu", "pod", "room", "datacenter", "zone", "region", "root",
}

// DefaultRoot and DefaultRule are the names of what NewDefault puts into a map.
const (
	DefaultRoot = "default"
	DefaultRule = "replicated_rule"
)

// Sizes that rules made here are meant for: copies, and shards of up to 20+6.
const (
	replicatedMin, replicatedMax = 1, 10
	erasureMin, erasureMax       = 2, 26
)

// NewDefault returns the map of a new cluster: Ceph's types, an empty straw2 root
// named default, and replicated_rule, which puts each copy on another host.
func NewDefault() *Map {
	m := &Map{Tunables: DefaultTunables()}
	for id, name := range defaultTypes {
		m.Types = append(m.Types, Type{ID: id, Name: name})
	}
	root := len(defaultTypes) - 1
	m.Buckets = []Bucket{{ID: -1, Name: DefaultRoot, Type: root, Alg: Straw2}}
	m.Rules = []Rule{{
		ID: 0, Name: DefaultRule, Type: Replicated, MinSize: replicatedMin, MaxSize: replicatedMax,
		Steps: []Step{{Op: OpTake, Item: -1}, {Op: OpChooseleafFirstN, Type: 1}, {Op: OpEmit}},
	}}
	if err := m.Finalize(); err != nil {
		panic("crush: the default map is invalid: " + err.Error()) // a constant; TestNewDefault
	}
	return m
}

// Update makes several changes as one: f calls builder methods on a copy, which
// replaces m only if f and the check of the result succeed. It is also the
// fast way to make many changes, because derived tables are computed once.
func (m *Map) Update(f func(*Map) error) error {
	if m.deferred {
		return f(m) // already inside an Update
	}
	c := m.Clone()
	c.idx, c.deferred = nil, true
	if err := f(c); err != nil {
		return err
	}
	c.deferred = false
	if err := c.Finalize(); err != nil {
		return err
	}
	*m = *c
	return nil
}

// DeviceName returns the name that AddDevice gives to a device.
func DeviceName(id int) string { return "osd." + strconv.Itoa(id) }

// AddDevice adds device id with a class (which may be empty) and a weight below
// the lowest bucket of loc. Buckets of loc that do not exist are created; those
// that exist must be where loc says.
func (m *Map) AddDevice(id int, class string, weight Weight, loc Location) error {
	return m.Update(func(m *Map) error {
		name := DeviceName(id)
		if _, dup := m.Device(id); dup {
			return fmt.Errorf("add device %d: %w", id, ErrExists)
		}
		if other, dup := m.ItemID(name); dup {
			return fmt.Errorf("add device %d: name %s belongs to item %d: %w", id, name, other, ErrExists)
		}
		at := sort.Search(len(m.Devices), func(i int) bool { return m.Devices[i].ID > id })
		m.Devices = slices.Insert(m.Devices, at, Device{ID: id, Name: name, Class: class})
		if err := m.insert(Item{ID: id, Weight: weight}, 0, loc); err != nil {
			return fmt.Errorf("add device %s: %w", name, err)
		}
		return nil
	})
}

// RemoveDevice removes a device from its buckets and from the map. Buckets that
// become empty stay.
func (m *Map) RemoveDevice(id int) error {
	return m.Update(func(m *Map) error {
		d, ok := m.Device(id)
		if !ok {
			return fmt.Errorf("remove device %d: %w", id, ErrNotFound)
		}
		if r := m.takenBy(id); r != nil {
			return invalidf("device %s is taken by rule %s: remove the rule first", d.Name, r.Name)
		}
		m.detach(id)
		m.Devices = slices.DeleteFunc(m.Devices, func(d Device) bool { return d.ID == id })
		m.dropUnusedClasses()
		return nil
	})
}

// SetWeight changes the weight of a device wherever it is, and those of all
// buckets above it.
func (m *Map) SetWeight(id int, weight Weight) error {
	return m.Update(func(m *Map) error {
		if _, ok := m.Device(id); !ok {
			return fmt.Errorf("set weight of device %d: %w", id, ErrNotFound)
		}
		parents := m.scanParents(id)
		if len(parents) == 0 {
			return fmt.Errorf("set weight of device %d: it is in no bucket: %w", id, ErrNotFound)
		}
		for _, p := range parents {
			b, _ := m.Bucket(p)
			b.Items[b.indexOf(id)].Weight = weight
		}
		m.reweighAbove(parents)
		return nil
	})
}

// SetClass changes the class of a device; an empty class removes it.
func (m *Map) SetClass(id int, class string) error {
	return m.Update(func(m *Map) error {
		d, ok := m.Device(id)
		if !ok {
			return fmt.Errorf("set class of device %d: %w", id, ErrNotFound)
		}
		d.Class = class
		m.dropUnusedClasses()
		return nil
	})
}

// MoveDevice takes a device out of all its buckets and puts it, with its weight,
// where loc says. Missing buckets are created as by AddDevice.
func (m *Map) MoveDevice(id int, loc Location) error {
	return m.Update(func(m *Map) error {
		if _, ok := m.Device(id); !ok {
			return fmt.Errorf("move device %d: %w", id, ErrNotFound)
		}
		weight := WeightOne
		if parents := m.scanParents(id); len(parents) > 0 {
			b, _ := m.Bucket(parents[0])
			weight = b.Items[b.indexOf(id)].Weight
		}
		m.detach(id)
		if err := m.insert(Item{ID: id, Weight: weight}, 0, loc); err != nil {
			return fmt.Errorf("move device %s: %w", m.ItemName(id), err)
		}
		return nil
	})
}

// AddBucket adds an empty straw2 bucket of the named type below the lowest bucket
// of loc, or as a root if loc is empty.
func (m *Map) AddBucket(name, typeName string, loc Location) error {
	return m.Update(func(m *Map) error {
		typ, err := m.bucketType(typeName)
		if err != nil {
			return fmt.Errorf("add bucket %s: %w", name, err)
		}
		if id, dup := m.ItemID(name); dup {
			return fmt.Errorf("add bucket %s: the name belongs to item %d: %w", name, id, ErrExists)
		}
		b := m.newBucket(name, typ)
		if len(loc) == 0 {
			return nil
		}
		if err := m.insert(Item{ID: b.ID}, typ, loc); err != nil {
			return fmt.Errorf("add bucket %s: %w", name, err)
		}
		return nil
	})
}

// MoveBucket takes a bucket with all that is in it out of its parents and puts it
// where loc says; with an empty loc it becomes a root.
func (m *Map) MoveBucket(name string, loc Location) error {
	return m.Update(func(m *Map) error {
		b, ok := m.BucketByName(name)
		if !ok {
			return fmt.Errorf("move bucket %s: %w", name, ErrNotFound)
		}
		id, typ, weight := b.ID, b.Type, b.Weight()
		m.detach(id)
		if len(loc) == 0 {
			return nil
		}
		if err := m.insert(Item{ID: id, Weight: weight}, typ, loc); err != nil {
			return fmt.Errorf("move bucket %s: %w", name, err)
		}
		return nil
	})
}

// RenameBucket gives a bucket another name. Placement does not change.
func (m *Map) RenameBucket(name, to string) error {
	return m.Update(func(m *Map) error {
		b, ok := m.BucketByName(name)
		if !ok {
			return fmt.Errorf("rename bucket %s: %w", name, ErrNotFound)
		}
		if id, dup := m.ItemID(to); dup {
			return fmt.Errorf("rename bucket %s: the name %s belongs to item %d: %w", name, to, id, ErrExists)
		}
		b.Name = to
		return nil
	})
}

// RemoveBucket removes an empty bucket that no rule takes.
func (m *Map) RemoveBucket(name string) error {
	return m.Update(func(m *Map) error {
		b, ok := m.BucketByName(name)
		if !ok {
			return fmt.Errorf("remove bucket %s: %w", name, ErrNotFound)
		}
		if n := len(b.Items); n > 0 {
			return invalidf("bucket %s contains %d items: remove or move them first", name, n)
		}
		if r := m.takenBy(b.ID); r != nil {
			return invalidf("bucket %s is taken by rule %s: remove the rule first", name, r.Name)
		}
		id := b.ID
		m.detach(id)
		m.Buckets = slices.DeleteFunc(m.Buckets, func(b Bucket) bool { return b.ID == id })
		return nil
	})
}

// SetTunables replaces the tunables, which moves data.
func (m *Map) SetTunables(t Tunables) error {
	return m.Update(func(m *Map) error {
		m.Tunables = t
		return nil
	})
}

// AddSimpleRule adds a rule that takes the bucket root, narrowed to class unless
// that is empty, and chooses devices in different buckets of the type domain, or
// just different devices if domain is the devices' type. It returns the rule's
// id. Rules of mode Indep are erasure rules and try harder to fill every place.
func (m *Map) AddSimpleRule(name, root, class, domain string, mode Mode) (int, error) {
	b, ok := m.BucketByName(root)
	if !ok {
		return 0, fmt.Errorf("add rule %s: root %s: %w", name, root, ErrNotFound)
	}
	if class != "" && !slices.Contains(m.Classes(), class) {
		return 0, fmt.Errorf("add rule %s: class %s, which no device has: %w", name, class, ErrNotFound)
	}
	typ, ok := m.TypeID(domain)
	if !ok {
		return 0, fmt.Errorf("add rule %s: failure domain type %s: %w", name, domain, ErrNotFound)
	}
	r := Rule{Name: name, Type: Replicated, MinSize: replicatedMin, MaxSize: replicatedMax}
	choose := Step{Op: OpChooseleafFirstN, Type: typ}
	switch {
	case mode == Indep && typ == 0:
		choose.Op = OpChooseIndep
	case mode == Indep:
		choose.Op = OpChooseleafIndep
	case typ == 0:
		choose.Op = OpChooseFirstN
	}
	if mode == Indep {
		r.Type, r.MinSize, r.MaxSize = Erasure, erasureMin, erasureMax
		r.Steps = append(r.Steps, Step{Op: OpSetChooseleafTries, Num: 5}, Step{Op: OpSetChooseTries, Num: 100})
	}
	r.Steps = append(r.Steps, Step{Op: OpTake, Item: b.ID, Class: class}, choose, Step{Op: OpEmit})
	return m.AddRule(r)
}

// AddRule adds a rule, whose name must be new, under the lowest free id, which it
// returns; r.ID is ignored.
func (m *Map) AddRule(r Rule) (int, error) {
	err := m.Update(func(m *Map) error {
		if err := validName(r.Name); err != nil {
			return fmt.Errorf("add rule: %w", err)
		}
		if _, dup := m.RuleByName(r.Name); dup {
			return fmt.Errorf("add rule %s: %w", r.Name, ErrExists)
		}
		r.ID = 0
		for _, o := range m.Rules { // by ascending id
			if o.ID == r.ID {
				r.ID++
			}
		}
		r.Steps = slices.Clone(r.Steps)
		m.Rules = slices.Insert(m.Rules, min(r.ID, len(m.Rules)), r)
		sort.Slice(m.Rules, func(i, j int) bool { return m.Rules[i].ID < m.Rules[j].ID })
		return nil
	})
	return r.ID, err
}

// RemoveRule removes the named rule. Whether a pool uses it is for the caller to know.
func (m *Map) RemoveRule(name string) error {
	return m.Update(func(m *Map) error {
		if _, ok := m.RuleByName(name); !ok {
			return fmt.Errorf("remove rule %s: %w", name, ErrNotFound)
		}
		m.Rules = slices.DeleteFunc(m.Rules, func(r Rule) bool { return r.Name == name })
		return nil
	})
}

// Reweight sets the weight of every bucket in its parents to the sum of its items.
// It mends a map whose text gave other numbers; it moves data if there were any.
func (m *Map) Reweight() error {
	return m.Update(func(m *Map) error {
		done := make(map[int]bool, len(m.Buckets))
		var visit func(b *Bucket)
		visit = func(b *Bucket) {
			if done[b.ID] {
				return
			}
			done[b.ID] = true
			for i, it := range b.Items {
				if c, ok := m.Bucket(it.ID); ok {
					visit(c)
					b.Items[i].Weight = c.Weight()
				}
			}
		}
		for i := range m.Buckets {
			visit(&m.Buckets[i])
		}
		return nil
	})
}

func (m *Map) bucketType(name string) (int, error) {
	typ, ok := m.TypeID(name)
	if !ok {
		return 0, fmt.Errorf("type %s: %w", name, ErrNotFound)
	}
	if typ == 0 {
		return 0, invalidf("type %s is that of devices, not of buckets", name)
	}
	return typ, nil
}

// newBucket adds an empty bucket with the highest free id.
func (m *Map) newBucket(name string, typ int) *Bucket {
	used := make(map[int]bool, len(m.Buckets))
	for i := range m.Buckets {
		used[m.Buckets[i].ID] = true
		for _, s := range m.Buckets[i].Shadows {
			used[s.ID] = true
		}
	}
	id := -1
	for used[id] {
		id--
	}
	at := sort.Search(len(m.Buckets), func(i int) bool { return m.Buckets[i].ID < id })
	m.Buckets = slices.Insert(m.Buckets, at, Bucket{ID: id, Name: name, Type: typ, Alg: Straw2})
	return &m.Buckets[at]
}

// place is one level of a location.
type place struct {
	typ            int
	typeName, name string
}

// places orders a location from the lowest level to the highest, and refuses
// levels that cannot be above an item of type below.
func (m *Map) places(loc Location, below int) ([]place, error) {
	var out []place
	for _, typeName := range slices.Sorted(maps.Keys(loc)) { // so that errors do not vary
		name := loc[typeName]
		typ, err := m.bucketType(typeName)
		if err != nil {
			return nil, fmt.Errorf("location %s=%s: %w", typeName, name, err)
		}
		if typ <= below {
			return nil, invalidf("location %s=%s is not above type %s", typeName, name, m.TypeName(below))
		}
		if err := validName(name); err != nil {
			return nil, fmt.Errorf("location %s: %w", typeName, err)
		}
		out = append(out, place{typ: typ, typeName: typeName, name: name})
	}
	if len(out) == 0 {
		return nil, invalidf("no location given: name at least one bucket, such as host=node1")
	}
	sort.Slice(out, func(i, j int) bool { return out[i].typ < out[j].typ })
	return out, nil
}

// insert puts an item of type typ below the lowest bucket of loc, creating what is
// missing up to the first bucket that exists.
func (m *Map) insert(it Item, typ int, loc Location) error {
	places, err := m.places(loc, typ)
	if err != nil {
		return err
	}
	for i, pl := range places {
		id, exists := m.ItemID(pl.name)
		if !exists {
			b := m.newBucket(pl.name, pl.typ)
			b.Items = []Item{it}
			it.ID = b.ID // its weight is the same: it holds nothing else
			if i == len(places)-1 {
				return nil // a new root
			}
			continue
		}
		b, ok := m.Bucket(id)
		if !ok || b.Type != pl.typ {
			return invalidf("location %s=%s: %s is not a %s", pl.typeName, pl.name, pl.name, pl.typeName)
		}
		for _, above := range places[i+1:] {
			a, ok := m.scanAncestor(id, above.typ)
			if !ok {
				return invalidf("location %s=%s: %s %s is not below any %s: move it first", above.typeName, above.name, pl.typeName, pl.name, above.typeName)
			}
			if got := m.ItemName(a); got != above.name {
				return invalidf("location %s=%s: %s %s is in %s %s: move it first", above.typeName, above.name, pl.typeName, pl.name, above.typeName, got)
			}
		}
		if uint64(b.Weight())+uint64(it.Weight) > math.MaxUint32 {
			return invalidf("the weights of bucket %s would add up to more than 65535", b.Name)
		}
		b.Items = append(b.Items, it)
		m.reweighAbove([]int{id})
		return nil
	}
	return nil
}

// detach removes an item from every bucket.
func (m *Map) detach(id int) {
	parents := m.scanParents(id)
	for _, p := range parents {
		b, _ := m.Bucket(p)
		b.Items = slices.DeleteFunc(b.Items, func(it Item) bool { return it.ID == id })
	}
	m.reweighAbove(parents)
}

// reweighAbove makes the weights of changed buckets right in all buckets above them,
// level by level, so that a bucket is counted only when all below it is right.
func (m *Map) reweighAbove(changed []int) {
	for level := 0; len(changed) > 0 && level <= MaxDepth; level++ {
		var up []int
		for _, id := range changed {
			c, _ := m.Bucket(id)
			for _, p := range m.scanParents(id) {
				b, _ := m.Bucket(p)
				if i := b.indexOf(id); b.Items[i].Weight != c.Weight() {
					b.Items[i].Weight = c.Weight()
					if !slices.Contains(up, p) {
						up = append(up, p)
					}
				}
			}
		}
		changed = up
	}
}

// scanParents and scanAncestor are Parents and Ancestor for a map that is being
// changed and has no index.
func (m *Map) scanParents(id int) []int {
	var out []int
	for i := range m.Buckets {
		if m.Buckets[i].indexOf(id) >= 0 {
			out = append(out, m.Buckets[i].ID)
		}
	}
	return out
}

func (m *Map) scanAncestor(id, typ int) (int, bool) {
	return ancestor(id, typ, m.scanParents, func(id int) int {
		b, _ := m.Bucket(id)
		return b.Type
	})
}

func (m *Map) takenBy(id int) *Rule {
	for i := range m.Rules {
		for _, s := range m.Rules[i].Steps {
			if s.Op == OpTake && s.Item == id {
				return &m.Rules[i]
			}
		}
	}
	return nil
}

// dropUnusedClasses forgets the shadow ids of classes that neither a device nor a
// rule names any more.
func (m *Map) dropUnusedClasses() {
	used := map[string]bool{}
	for i := range m.Devices {
		used[m.Devices[i].Class] = true
	}
	for i := range m.Rules {
		for _, s := range m.Rules[i].Steps {
			used[s.Class] = true
		}
	}
	for i := range m.Buckets {
		b := &m.Buckets[i]
		b.Shadows = slices.DeleteFunc(b.Shadows, func(s ClassID) bool { return !used[s.Class] })
	}
}
