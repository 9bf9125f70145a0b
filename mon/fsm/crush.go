package fsm

import (
	"slices"

	"github.com/cairnstore/cairn/placement"
	"github.com/cairnstore/cairn/placement/crush"
)

const (
	tib         = 1 << 40
	hostType    = "host"
	rootType    = "root"
	maxLocation = 16 // parts; there are not that many types
)

// crushWeight is a device's CRUSH weight: its capacity in TiB, but never zero,
// for CRUSH would never choose it then.
func crushWeight(capacity int64) crush.Weight {
	return min(max(crush.WeightOf(float64(capacity)/tib), 1), crush.MaxDeviceWeight)
}

// crushMap returns the CRUSH map to be changed.
func (t *txn) crushMap() *crush.Map {
	if !t.crushCopied {
		t.m.Crush, t.crushCopied = t.m.Crush.Clone(), true
	}
	t.changed = true
	return t.m.Crush
}

// deviceWeight returns the CRUSH weight an OSD has.
func (t *txn) deviceWeight(id placement.OSDID) crush.Weight {
	if parent, ok := t.m.Crush.Parent(int(id)); ok {
		if b, ok := t.m.Crush.Bucket(parent); ok {
			for _, it := range b.Items {
				if it.ID == int(id) {
					return it.Weight
				}
			}
		}
	}
	return 0
}

// placeDevice adds an OSD to the CRUSH map, or moves it. An empty loc leaves it
// where it is.
func (t *txn) placeDevice(id placement.OSDID, class string, weight crush.Weight, loc []LocationPart) error {
	var at crush.Location
	if len(loc) > 0 {
		var err error
		if at, err = t.location(id, loc); err != nil {
			return err
		}
	}
	stays := len(loc) == 0 || t.liesAt(id, loc)
	err := t.crushMap().Update(func(m *crush.Map) error {
		d, known := m.Device(int(id))
		if !known {
			return m.AddDevice(int(id), class, weight, at)
		}
		if d.Class != class {
			if err := m.SetClass(int(id), class); err != nil {
				return err
			}
		}
		if !stays {
			if err := m.MoveDevice(int(id), at); err != nil {
				return err
			}
		}
		return m.SetWeight(int(id), weight)
	})
	if err != nil {
		return invalid("place %v in the CRUSH map: %v", id, err)
	}
	return nil
}

// location turns what an OSD says about its place into buckets. A bucket that
// exists stays where it is, whatever the OSD believes is above it: racks are
// moved by people, and a daemon with an old configuration must not move them
// back. What is missing is made, below the default root if no other is named.
func (t *txn) location(id placement.OSDID, loc []LocationPart) (crush.Location, error) {
	parts, err := t.sorted(id, loc)
	if err != nil {
		return nil, err
	}
	at := make(crush.Location, len(parts)+1)
	for _, p := range parts {
		at[p.Type] = p.Name
		if _, exists := t.m.Crush.BucketByName(p.Name); exists {
			return at, nil
		}
	}
	if _, ok := at[rootType]; !ok {
		at[rootType] = crush.DefaultRoot
	}
	return at, nil
}

// liesAt reports whether the OSD is in the lowest bucket that loc names.
func (t *txn) liesAt(id placement.OSDID, loc []LocationPart) bool {
	if len(loc) == 0 {
		return true
	}
	parts, err := t.sorted(id, loc)
	if err != nil {
		return false // placing it will tell why
	}
	above, ok := t.m.Crush.Ancestor(int(id), parts[0].Type)
	return ok && t.m.Crush.ItemName(above) == parts[0].Name
}

// sorted returns the parts from the lowest type up, after checking them.
func (t *txn) sorted(id placement.OSDID, loc []LocationPart) ([]LocationPart, error) {
	if len(loc) > maxLocation {
		return nil, invalid("location of %v: %d parts, at most %d are allowed", id, len(loc), maxLocation)
	}
	types := make(map[string]int, len(loc))
	for _, p := range loc {
		typ, ok := t.m.Crush.TypeID(p.Type)
		if !ok || typ == 0 {
			return nil, invalid("location of %v: %s=%s: the CRUSH map has no bucket type %q", id, p.Type, p.Name, p.Type)
		}
		if _, twice := types[p.Type]; twice {
			return nil, invalid("location of %v: type %s is named twice", id, p.Type)
		}
		if err := checkName(p.Type, p.Name); err != nil {
			return nil, err
		}
		types[p.Type] = typ
	}
	if _, ok := types[hostType]; !ok {
		return nil, invalid("location of %v: no host is named; copies are spread over hosts", id)
	}
	parts := slices.Clone(loc)
	slices.SortFunc(parts, func(a, b LocationPart) int { return types[a.Type] - types[b.Type] })
	return parts, nil
}

// choosePGNum chooses the number of PGs for one more pool, at most limit.
func choosePGNum(m *placement.Map, limit uint32) uint32 {
	in := 0
	for i := range m.OSDs {
		if m.OSDs[i].In() {
			in++
		}
	}
	return min(placement.ChoosePGNum(in, len(m.Pools)+1), limit)
}
