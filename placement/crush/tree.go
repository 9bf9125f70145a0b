package crush

import (
	"slices"
	"sort"
)

// Parents returns the buckets that contain an item, by descending id.
func (m *Map) Parents(id int) []int {
	if m.idx == nil {
		return m.scanParents(id)
	}
	return slices.Clone(m.idx.parents[id])
}

// Parent returns the bucket that contains an item; the one with the highest id if
// there are several.
func (m *Map) Parent(id int) (int, bool) {
	if p := m.parents(id); len(p) > 0 {
		return p[0], true
	}
	return 0, false
}

// parents is Parents without the copy.
func (m *Map) parents(id int) []int {
	if m.idx == nil {
		return m.scanParents(id)
	}
	return m.idx.parents[id]
}

// Roots returns the buckets that are in no other bucket, by descending id.
func (m *Map) Roots() []int {
	var out []int
	for i := range m.Buckets {
		if id := m.Buckets[i].ID; len(m.parents(id)) == 0 {
			out = append(out, id)
		}
	}
	return out
}

// Ancestor returns the nearest bucket of the named type above an item, or the item
// itself if it is of that type: the failure domain of a device.
func (m *Map) Ancestor(id int, typeName string) (int, bool) {
	typ, ok := m.TypeID(typeName)
	if !ok {
		return 0, false
	}
	return m.Domain(id, typ)
}

// Domain is Ancestor by the type's id.
func (m *Map) Domain(id, typ int) (int, bool) {
	if id >= 0 {
		if _, ok := m.Device(id); !ok {
			return 0, false
		}
		if typ == 0 {
			return id, true
		}
	} else if b, ok := m.Bucket(id); !ok {
		return 0, false
	} else if b.Type == typ {
		return id, true
	}
	return ancestor(id, typ, m.parents, func(id int) int {
		b, _ := m.Bucket(id)
		return b.Type
	})
}

// ancestor searches upwards level by level. It visits a bucket once, so that many
// parents per level cannot make it slow.
func ancestor(id, typ int, parents func(int) []int, typeOf func(int) int) (int, bool) {
	seen := map[int]bool{}
	level := []int{id}
	for len(level) > 0 {
		var up []int
		for _, id := range level {
			for _, p := range parents(id) {
				if typeOf(p) == typ {
					return p, true
				}
				if !seen[p] {
					seen[p] = true
					up = append(up, p)
				}
			}
		}
		level = up
	}
	return 0, false
}

// Location returns where an item is: its parents up to a root, by type name.
func (m *Map) Location(id int) Location {
	loc := Location{}
	for depth := 0; depth < MaxDepth; depth++ {
		p, ok := m.Parent(id)
		if !ok {
			break
		}
		b, _ := m.Bucket(p)
		if name := m.TypeName(b.Type); loc[name] == "" {
			loc[name] = b.Name
		}
		id = p
	}
	return loc
}

// Subtree returns the devices below a bucket by ascending id. The id of a device
// is its own subtree, that of a shadow bucket stands for the devices of its class.
func (m *Map) Subtree(id int) []int {
	class := ""
	if m.idx != nil {
		if s, ok := m.idx.shadows[id]; ok {
			id, class = s.orig, s.class
		}
	}
	return m.DevicesBelow(id, class)
}

// DevicesBelow returns the devices of a class (of all, if it is empty) below a
// bucket, by ascending id.
func (m *Map) DevicesBelow(id int, class string) []int {
	var out []int
	seen := map[int]bool{}
	var visit func(id int)
	visit = func(id int) {
		if seen[id] {
			return
		}
		seen[id] = true
		if id >= 0 {
			if d, ok := m.Device(id); ok && (class == "" || d.Class == class) {
				out = append(out, id)
			}
			return
		}
		if b, ok := m.Bucket(id); ok {
			for _, it := range b.Items {
				visit(it.ID)
			}
		}
	}
	visit(id)
	sort.Ints(out)
	return out
}

// RuleDevices returns the devices a rule can choose, by ascending id.
func (m *Map) RuleDevices(rule int) []int {
	r, ok := m.Rule(rule)
	if !ok {
		return nil
	}
	var out []int
	for _, s := range r.Steps {
		if s.Op == OpTake {
			out = append(out, m.DevicesBelow(s.Item, s.Class)...)
		}
	}
	sort.Ints(out)
	return slices.Compact(out)
}

// RuleDomain returns the type that a rule keeps its choices apart by: that of its
// last choose step, or 0 if it has none.
func (m *Map) RuleDomain(rule int) int {
	r, ok := m.Rule(rule)
	if !ok {
		return 0
	}
	typ := 0
	for _, s := range r.Steps {
		switch s.Op {
		case OpChooseFirstN, OpChooseIndep, OpChooseleafFirstN, OpChooseleafIndep:
			typ = s.Type
		}
	}
	return typ
}

// TreeNode is one line of the hierarchy as "osd tree" shows it.
type TreeNode struct {
	ID     int
	Name   string
	Type   string // its type's name
	Class  string // of a device
	Weight Weight // in its parent; of a root, the sum of its items
	Depth  int    // 0 for a root
	Parent int    // 0 for a root and for a device in no bucket
}

// Tree lists the hierarchy from the roots down, each bucket before what is in it,
// items in their order. Devices in no bucket come last. A bucket that has
// several parents is listed below each, with its items only the first time.
func (m *Map) Tree() []TreeNode {
	var out []TreeNode
	done := map[int]bool{}
	var visit func(it Item, depth, parent int)
	visit = func(it Item, depth, parent int) {
		n := TreeNode{ID: it.ID, Name: m.ItemName(it.ID), Weight: it.Weight, Depth: depth, Parent: parent, Type: m.TypeName(0)}
		if d, ok := m.Device(it.ID); ok {
			n.Class = d.Class
		}
		b, ok := m.Bucket(it.ID)
		if ok {
			n.Type = m.TypeName(b.Type)
		}
		out = append(out, n)
		if !ok || done[b.ID] || depth > MaxDepth {
			return
		}
		done[b.ID] = true
		for _, c := range b.Items {
			visit(c, depth+1, b.ID)
		}
	}
	for _, id := range m.Roots() {
		b, _ := m.Bucket(id)
		visit(Item{ID: id, Weight: b.Weight()}, 0, 0)
	}
	for _, d := range m.Devices {
		if len(m.parents(d.ID)) == 0 {
			visit(Item{ID: d.ID}, 0, 0)
		}
	}
	return out
}
