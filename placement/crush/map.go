package crush

import (
	"errors"
	"fmt"
	"math"
	"sort"
	"strconv"
)

// ItemNone marks a position of an indep result that no device could fill. It is
// the number crushtool prints in its place.
const ItemNone = 0x7fffffff

// Limits of a map. They bound memory and time for hostile input; each is far
// above what a real cluster needs.
const (
	MaxTextBytes   = 16 << 20 // size of a map's text or encoding
	MaxDeviceID    = 1<<20 - 1
	MaxBucketID    = 1 << 18 // bucket ids are -1 .. -MaxBucketID
	MaxDepth       = 32      // buckets on a path from a root to a device
	MaxNameBytes   = 255
	MaxTypeID      = 1<<16 - 1
	MaxTypes       = 1024
	MaxRules       = 256
	MaxRuleSteps   = 128
	MaxClasses     = 64
	MaxShadowItems = 1 << 20 // items of all class shadow buckets together
	MaxTries       = 10000   // any *_tries tunable or step
	MaxReplicas    = 1024    // devices asked for in one mapping
	MaxRuleSize    = 255     // min_size and max_size of a rule
)

// Weight is an item's capacity as a 16.16 fixed-point number; by convention 1.0
// is one TiB. Zero means: choose nothing here.
type Weight uint32

// WeightOne is a weight, or a reweight, of 1.0.
const WeightOne Weight = 0x10000

// MaxDeviceWeight and MaxBucketWeight bound weights, so that the sum of a bucket
// fits its 32 bits. The bucket limit is Ceph's; Ceph allows devices only up to
// 100, which the largest drives have passed.
const (
	MaxDeviceWeight = 10000 * WeightOne
	MaxBucketWeight = 65535 * WeightOne
)

// Float returns the weight as a floating-point number, which holds it exactly.
func (w Weight) Float() float64 { return float64(w) / float64(WeightOne) }

// String prints the weight as the map's text does.
func (w Weight) String() string { return formatWeight(w) }

// WeightOf converts f to the nearest weight, saturating at zero and MaxBucketWeight.
func WeightOf(f float64) Weight {
	switch {
	case !(f > 0): // also NaN
		return 0
	case f >= MaxBucketWeight.Float():
		return MaxBucketWeight
	}
	return Weight(math.Round(f * float64(WeightOne)))
}

// Alg is the algorithm by which a bucket chooses one of its items.
type Alg uint8

// The bucket algorithms. Straw2 is the one to use: when a weight changes, data
// moves only to or from the changed item. The others exist for maps that have them.
const (
	Uniform Alg = 1 // equal weights, a pseudo-random permutation
	List    Alg = 2 // newest item first; cheap to append to
	Tree    Alg = 3 // binary weight tree
	Straw   Alg = 4 // the older straw, with precomputed straw lengths
	Straw2  Alg = 5
)

var algNames = [...]string{Uniform: "uniform", List: "list", Tree: "tree", Straw: "straw", Straw2: "straw2"}

// String returns the algorithm's name in the text language.
func (a Alg) String() string {
	if a >= Uniform && a <= Straw2 {
		return algNames[a]
	}
	return "alg(" + strconv.Itoa(int(a)) + ")"
}

func algByName(s string) (Alg, bool) {
	for a := Uniform; a <= Straw2; a++ {
		if algNames[a] == s {
			return a, true
		}
	}
	return 0, false
}

// Tunables are the constants of the mapping algorithm. They exist because every
// improvement of the algorithm moves data, so old maps must keep the old values.
type Tunables struct {
	ChooseLocalTries         int    // retries in the same bucket after a collision
	ChooseLocalFallbackTries int    // retries with a permutation of the bucket
	ChooseTotalTries         int    // retries from the top
	ChooseleafDescendOnce    bool   // one try inside a chosen failure domain, then choose another
	ChooseleafVaryR          int    // 0: start each leaf choice at 0; n: at the parent's attempt >> (n-1)
	ChooseleafStable         bool   // leaf choices do not depend on the position in the result
	StrawCalcVersion         int    // how straw lengths are computed, 0 or 1
	AllowedBucketAlgs        uint32 // bit set of Alg; advice for editors, not enforced here
}

// LegacyTunables returns the values that hold for a map text that sets none.
func LegacyTunables() Tunables {
	return Tunables{
		ChooseLocalTries:         2,
		ChooseLocalFallbackTries: 5,
		ChooseTotalTries:         19,
		AllowedBucketAlgs:        1<<Uniform | 1<<List | 1<<Straw,
	}
}

// DefaultTunables returns the values of new maps, which are Ceph's "jewel" profile.
func DefaultTunables() Tunables {
	return Tunables{
		ChooseTotalTries:      50,
		ChooseleafDescendOnce: true,
		ChooseleafVaryR:       1,
		ChooseleafStable:      true,
		StrawCalcVersion:      1,
		AllowedBucketAlgs:     1<<Uniform | 1<<List | 1<<Straw | 1<<Straw2,
	}
}

// Device is a leaf of the hierarchy: one OSD. Its id is not negative.
type Device struct {
	ID    int
	Name  string
	Class string // ssd, hdd, nvme or any other word; empty if it has none
}

// Type names a level of the hierarchy. Type 0 is the devices'.
type Type struct {
	ID   int
	Name string
}

// Item is an entry of a bucket: a device (id >= 0) or another bucket (id < 0).
type Item struct {
	ID     int
	Weight Weight
}

// ClassID is the id of the shadow of a bucket that holds only devices of Class.
// The ids are part of the map because straw2 hashes them.
type ClassID struct {
	Class string
	ID    int
}

// Bucket is an inner node of the hierarchy. Its id is negative.
type Bucket struct {
	ID    int
	Name  string
	Type  int
	Alg   Alg
	Items []Item
	// Shadows has one entry for each class of the map once the map is finalized.
	Shadows []ClassID
}

// Weight returns the sum of the bucket's item weights.
func (b *Bucket) Weight() Weight {
	var sum Weight
	for _, it := range b.Items {
		sum += it.Weight
	}
	return sum
}

func (b *Bucket) indexOf(item int) int {
	for i, it := range b.Items {
		if it.ID == item {
			return i
		}
	}
	return -1
}

func (b *Bucket) shadow(class string) (int, bool) {
	for _, s := range b.Shadows {
		if s.Class == class {
			return s.ID, true
		}
	}
	return 0, false
}

// RuleType says what a rule is meant for. The mapper does not look at it.
type RuleType uint8

// The rule types.
const (
	Replicated RuleType = 1
	Erasure    RuleType = 3
)

// String returns the type's name in the text language.
func (t RuleType) String() string {
	switch t {
	case Replicated:
		return "replicated"
	case Erasure:
		return "erasure"
	}
	return "type(" + strconv.Itoa(int(t)) + ")"
}

// Op is the operation of a rule's step.
type Op uint8

// The operations, with the numbers Ceph gives them.
const (
	OpTake                  Op = 1
	OpChooseFirstN          Op = 2
	OpChooseIndep           Op = 3
	OpEmit                  Op = 4
	OpChooseleafFirstN      Op = 6
	OpChooseleafIndep       Op = 7
	OpSetChooseTries        Op = 8
	OpSetChooseleafTries    Op = 9
	OpSetChooseLocalTries   Op = 10
	OpSetLocalFallbackTries Op = 11
	OpSetChooseleafVaryR    Op = 12
	OpSetChooseleafStable   Op = 13
)

var setOpNames = map[Op]string{
	OpSetChooseTries:        "set_choose_tries",
	OpSetChooseleafTries:    "set_chooseleaf_tries",
	OpSetChooseLocalTries:   "set_choose_local_tries",
	OpSetLocalFallbackTries: "set_choose_local_fallback_tries",
	OpSetChooseleafVaryR:    "set_chooseleaf_vary_r",
	OpSetChooseleafStable:   "set_chooseleaf_stable",
}

// Step is one step of a rule.
type Step struct {
	Op    Op
	Item  int    // take: the bucket or device to start at
	Class string // take: only devices of this class; empty for all
	Num   int    // choose: how many, 0 or negative is relative to the replicas asked for; set_*: the value
	Type  int    // choose: the type of what is chosen
}

// Rule is a program that maps an input to devices.
type Rule struct {
	ID   int
	Name string
	Type RuleType
	// MinSize and MaxSize are the replica counts the rule is meant for. Newer maps
	// leave them out: then both are 0. The mapper does not look at them.
	MinSize, MaxSize int
	Steps            []Step
}

// Map is a CRUSH map. Code outside this package reads its fields and changes them
// through the builder methods; whoever writes a field directly must call Finalize.
type Map struct {
	Tunables Tunables
	Devices  []Device // by ascending id
	Types    []Type   // by ascending id
	Buckets  []Bucket // by descending id: -1, -2, ...
	Rules    []Rule   // by ascending id

	idx      *index // made by Finalize; nil: not finalized
	deferred bool   // inside Update, which finalizes at its end
}

// ErrNotFinalized is returned by lookups that need Finalize to have been called.
var ErrNotFinalized = errors.New("crush map is not finalized: call Finalize after changing its fields")

// ErrNotFound is wrapped by errors about names or ids that the map does not have.
var ErrNotFound = errors.New("not in the crush map")

// ErrExists is wrapped by errors about names or ids that are already taken.
var ErrExists = errors.New("already in the crush map")

// ErrInvalid is wrapped by errors about a map, or a change, that breaks its rules.
var ErrInvalid = errors.New("invalid crush map")

// Device returns the device with the id.
func (m *Map) Device(id int) (*Device, bool) {
	i := sort.Search(len(m.Devices), func(i int) bool { return m.Devices[i].ID >= id })
	if i < len(m.Devices) && m.Devices[i].ID == id {
		return &m.Devices[i], true
	}
	return nil, false
}

// Bucket returns the bucket with the id. Shadow buckets are not among them.
func (m *Map) Bucket(id int) (*Bucket, bool) {
	i := sort.Search(len(m.Buckets), func(i int) bool { return m.Buckets[i].ID <= id })
	if i < len(m.Buckets) && m.Buckets[i].ID == id {
		return &m.Buckets[i], true
	}
	return nil, false
}

// BucketByName returns the bucket with the name.
func (m *Map) BucketByName(name string) (*Bucket, bool) {
	id, ok := m.ItemID(name)
	if !ok || id >= 0 {
		return nil, false
	}
	return m.Bucket(id)
}

// ItemID returns the id of the device or bucket with the name.
func (m *Map) ItemID(name string) (int, bool) {
	if m.idx != nil {
		id, ok := m.idx.names[name]
		return id, ok
	}
	for i := range m.Buckets {
		if m.Buckets[i].Name == name {
			return m.Buckets[i].ID, true
		}
	}
	for i := range m.Devices {
		if m.Devices[i].Name == name {
			return m.Devices[i].ID, true
		}
	}
	return 0, false
}

// ItemName returns the name of a device or bucket. A shadow bucket is named like
// "default~ssd", which no other item can be. An unknown id is printed as a number.
func (m *Map) ItemName(id int) string {
	if id >= 0 {
		if d, ok := m.Device(id); ok {
			return d.Name
		}
		return strconv.Itoa(id)
	}
	if b, ok := m.Bucket(id); ok {
		return b.Name
	}
	if m.idx != nil {
		if s, ok := m.idx.shadows[id]; ok {
			return m.ItemName(s.orig) + "~" + s.class
		}
	}
	return strconv.Itoa(id)
}

// TypeID returns the id of the named type.
func (m *Map) TypeID(name string) (int, bool) {
	for _, t := range m.Types {
		if t.Name == name {
			return t.ID, true
		}
	}
	return 0, false
}

// TypeName returns the name of a type, or its number if it has none.
func (m *Map) TypeName(id int) string {
	for _, t := range m.Types {
		if t.ID == id {
			return t.Name
		}
	}
	return strconv.Itoa(id)
}

// Rule returns the rule with the id.
func (m *Map) Rule(id int) (*Rule, bool) {
	for i := range m.Rules {
		if m.Rules[i].ID == id {
			return &m.Rules[i], true
		}
	}
	return nil, false
}

// RuleByName returns the rule with the name.
func (m *Map) RuleByName(name string) (*Rule, bool) {
	for i := range m.Rules {
		if m.Rules[i].Name == name && name != "" {
			return &m.Rules[i], true
		}
	}
	return nil, false
}

// Classes returns the device classes the map knows, first those of the devices in
// the order of their ids, then those that only have shadow ids, by name.
func (m *Map) Classes() []string {
	var out []string
	seen := map[string]bool{}
	for i := range m.Devices {
		if c := m.Devices[i].Class; c != "" && !seen[c] {
			seen[c] = true
			out = append(out, c)
		}
	}
	n := len(out)
	for i := range m.Buckets {
		for _, s := range m.Buckets[i].Shadows {
			if !seen[s.Class] {
				seen[s.Class] = true
				out = append(out, s.Class)
			}
		}
	}
	sort.Strings(out[n:])
	return out
}

// Clone returns an independent copy that may be changed.
func (m *Map) Clone() *Map {
	c := &Map{
		Tunables: m.Tunables,
		Devices:  append([]Device(nil), m.Devices...),
		Types:    append([]Type(nil), m.Types...),
		Buckets:  append([]Bucket(nil), m.Buckets...),
		Rules:    append([]Rule(nil), m.Rules...),
		idx:      m.idx, // only ever replaced, never written, so it can be shared
	}
	for i := range c.Buckets {
		b := &c.Buckets[i]
		b.Items = append([]Item(nil), b.Items...)
		b.Shadows = append([]ClassID(nil), b.Shadows...)
	}
	for i := range c.Rules {
		c.Rules[i].Steps = append([]Step(nil), c.Rules[i].Steps...)
	}
	return c
}

// Equal reports whether both maps are the same in every part that has an effect.
func (m *Map) Equal(o *Map) bool {
	if m == nil || o == nil {
		return m == o
	}
	return string(Encode(m)) == string(Encode(o))
}

// validName reports why a name cannot be written in the text language.
func validName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: empty name", ErrInvalid)
	case len(name) > MaxNameBytes:
		return fmt.Errorf("%w: name of %d bytes, at most %d are allowed", ErrInvalid, len(name), MaxNameBytes)
	}
	for i := 0; i < len(name); i++ {
		if !isNameByte(name[i]) {
			return fmt.Errorf("%w: name %q: only letters, digits, '-', '_' and '.' are allowed", ErrInvalid, name)
		}
	}
	return nil
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}
