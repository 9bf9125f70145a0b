package fsm

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
	"github.com/cairnstore/cairn/placement/crush"
)

// maxRemoved bounds the stores that are remembered as removed; the oldest are
// forgotten first. One that is forgotten and comes back gets a new id.
const maxRemoved = 10000

// OSDDrain begins, or ends, to empty OSDs: CRUSH passes over them as if they were
// out, and they serve until others have everything.
type OSDDrain struct {
	OSDs []placement.OSDID `json:"osds"`
	On   bool              `json:"on"`
}

// OSDRemove takes an OSD out of the map and out of CRUSH, for ever.
type OSDRemove struct {
	ID placement.OSDID `json:"id"`
}

// OSDFull says how full OSDs are.
type OSDFull struct {
	OSDs []FullOSD `json:"osds"`
}

// FullOSD is how full one OSD is.
type FullOSD struct {
	ID   placement.OSDID    `json:"id"`
	Full placement.Fullness `json:"full"`
}

// OSDSlow says which OSDs have devices much slower than others of their class, or have not
// any more.
type OSDSlow struct {
	OSDs []SlowOSD `json:"osds"`
}

// SlowOSD says whether one OSD's device is slow.
type SlowOSD struct {
	ID   placement.OSDID `json:"id"`
	Slow bool            `json:"slow"`
}

// CrushOSD changes an OSD's class or weight in the CRUSH map. What a person has set,
// a boot does not change.
type CrushOSD struct {
	ID     placement.OSDID `json:"id"`
	Class  string          `json:"class,omitempty"`  // empty: as it is
	Weight *uint32         `json:"weight,omitempty"` // 16.16; nil: as it is
}

// CrushMove puts an OSD, or a bucket with all that is in it, somewhere else in the
// CRUSH map. Buckets of the location that do not exist are made.
type CrushMove struct {
	Name     string         `json:"name"` // osd.3, or that of a bucket
	Location []LocationPart `json:"location"`
}

func (*OSDDrain) kind() string  { return "osd-drain" }
func (*OSDRemove) kind() string { return "osd-remove" }
func (*OSDFull) kind() string   { return "osd-full" }
func (*OSDSlow) kind() string   { return "osd-slow" }
func (*CrushOSD) kind() string  { return "crush-osd" }
func (*CrushMove) kind() string { return "crush-move" }

// RemovedOSD is an OSD that was removed, and whose store must not come back (R7).
type RemovedOSD struct {
	ID    placement.OSDID `json:"id"`
	Store UUID            `json:"store"`
}

func (c *OSDDrain) apply(t *txn) (Result, error) {
	if len(c.OSDs) == 0 || len(c.OSDs) > MaxOSDs {
		return Result{}, invalid("drain OSDs: %d named; want 1 to %d", len(c.OSDs), MaxOSDs)
	}
	for _, id := range c.OSDs {
		if t.m.OSD(id) == nil {
			return Result{}, noOSD(id)
		}
	}
	for _, id := range c.OSDs {
		if t.m.OSD(id).Draining != c.On {
			t.osd(id).Draining = c.On
		}
	}
	if t.changed {
		t.replace(placement.NoOSD)
	}
	return Result{}, nil
}

func noOSD(id placement.OSDID) error {
	return refuse(wirepb.Code_NOT_FOUND, "%v does not exist; see `cairn osd tree`", id)
}

func (c *OSDRemove) apply(t *txn) (Result, error) {
	o := t.m.OSD(c.ID)
	switch {
	case o == nil:
		return Result{}, noOSD(c.ID)
	case o.Up:
		return Result{}, refuse(wirepb.Code_CONFLICT, "%v is up; drain it (`cairn osd drain %d`), and stop its daemon when it is empty", c.ID, c.ID)
	case o.In():
		return Result{}, refuse(wirepb.Code_CONFLICT, "%v is in, so CRUSH chooses it: drain it first (`cairn osd drain %d`), and wait until PGs have moved", c.ID, c.ID)
	}
	var held []string
	for i := range t.m.PGs {
		for s := range t.m.PGs[i].Records {
			if rec := &t.m.PGs[i].Records[s]; rec.Created && (rec.Has(c.ID) || rec.Primary == c.ID) {
				held = append(held, placement.PGID{Pool: t.m.PGs[i].Pool, Shard: uint32(s)}.String())
			}
		}
	}
	if len(held) > 0 {
		return Result{}, refuse(wirepb.Code_CONFLICT,
			"%v is in the in-sync set of %s: the copies there count on it; wait until they have moved (`cairn osd safe-to-destroy %d`)", c.ID, some(held), c.ID)
	}
	t.removed = append(slices.Clone(t.s.removed), RemovedOSD{ID: c.ID, Store: UUID(o.Store)})
	t.removed = t.removed[max(0, len(t.removed)-maxRemoved):]
	t.m.OSDs = slices.DeleteFunc(slices.Clone(t.m.OSDs), func(o placement.OSD) bool { return o.ID == c.ID })
	t.osdsCopied, t.changed = true, true
	if _, ok := t.m.Crush.Device(int(c.ID)); ok {
		if err := t.crushMap().RemoveDevice(int(c.ID)); err != nil {
			return Result{}, refuse(wirepb.Code_CONFLICT, "remove %v from the CRUSH map: %v", c.ID, err)
		}
	}
	t.setFacts(c.ID, Facts{})
	t.replace(placement.NoOSD)
	return Result{}, nil
}

// some names a few of many.
func some(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// wasRemoved returns the id that a store had until it was removed.
func (s *State) wasRemoved(store placement.UUID) (placement.OSDID, bool) {
	for _, r := range s.removed {
		if placement.UUID(r.Store) == store {
			return r.ID, true
		}
	}
	return placement.NoOSD, false
}

func removedStore(store placement.UUID, id placement.OSDID) error {
	return refuse(wirepb.Code_NOT_PERMITTED,
		"store %v was %v, which was removed from the cluster; a copy that old must not come back: empty the directory, and it becomes a new OSD", store, id)
}

func (c *OSDFull) apply(t *txn) (Result, error) {
	if len(c.OSDs) > MaxOSDs {
		return Result{}, invalid("fullness of %d OSDs at once, at most %d are allowed", len(c.OSDs), MaxOSDs)
	}
	for _, f := range c.OSDs {
		if f.Full > placement.Full {
			return Result{}, invalid("%v: fullness %d is not known", f.ID, f.Full)
		}
		if o := t.m.OSD(f.ID); o != nil && o.Full != f.Full {
			t.osd(f.ID).Full = f.Full
		}
	}
	return Result{}, nil
}

func (c *OSDSlow) apply(t *txn) (Result, error) {
	if len(c.OSDs) > MaxOSDs {
		return Result{}, invalid("speed of %d OSDs at once, at most %d are allowed", len(c.OSDs), MaxOSDs)
	}
	for _, s := range c.OSDs {
		if o := t.m.OSD(s.ID); o != nil && o.Slow != s.Slow {
			t.osd(s.ID).Slow = s.Slow
		}
	}
	if t.changed {
		t.replace(placement.NoOSD) // PGs without data get another primary; those with data hand over by themselves
	}
	return Result{}, nil
}

func (c *CrushOSD) apply(t *txn) (Result, error) {
	cur := t.m.OSD(c.ID)
	if cur == nil {
		return Result{}, noOSD(c.ID)
	}
	d, ok := t.m.Crush.Device(int(c.ID))
	if !ok {
		return Result{}, refuse(wirepb.Code_NOT_FOUND, "%v is not in the CRUSH map; it is placed when it boots", c.ID)
	}
	f := t.factsOf(c.ID)
	if c.Class != "" {
		if err := checkClass(c.Class); err != nil {
			return Result{}, err
		}
		if d.Class != c.Class {
			if err := t.crushMap().SetClass(int(c.ID), c.Class); err != nil {
				return Result{}, crushRefusal(err, "set the class of %v", c.ID)
			}
			t.osd(c.ID).Class = c.Class
		}
		f.OwnClass = true
	}
	if c.Weight != nil {
		w := crush.Weight(*c.Weight)
		if w > crush.MaxDeviceWeight {
			return Result{}, invalid("CRUSH weight of %v: %v, at most %v is allowed", c.ID, w.Float(), crush.MaxDeviceWeight.Float())
		}
		if t.deviceWeight(c.ID) != w {
			if err := t.crushMap().SetWeight(int(c.ID), w); err != nil {
				return Result{}, crushRefusal(err, "set the CRUSH weight of %v", c.ID)
			}
		}
		f.OwnWeight = true
	}
	t.setFacts(c.ID, f)
	if t.changed {
		t.replace(placement.NoOSD)
	}
	return Result{}, nil
}

// crushRefusal turns an error of package crush into a refusal.
func crushRefusal(err error, format string, args ...any) error {
	code := wirepb.Code_INVALID
	switch {
	case errors.Is(err, crush.ErrNotFound):
		code = wirepb.Code_NOT_FOUND
	case errors.Is(err, crush.ErrExists):
		code = wirepb.Code_EXISTS
	}
	return refuse(code, "%s: %v", fmt.Sprintf(format, args...), err)
}

func (c *CrushMove) apply(t *txn) (Result, error) {
	if len(c.Location) == 0 || len(c.Location) > maxLocation {
		return Result{}, invalid("move %q: %d parts of a location; want 1 to %d, such as rack=r1", c.Name, len(c.Location), maxLocation)
	}
	at := make(crush.Location, len(c.Location))
	for _, p := range c.Location {
		if typ, ok := t.m.Crush.TypeID(p.Type); !ok || typ == 0 {
			return Result{}, invalid("move %q: %s=%s: the CRUSH map has no bucket type %q", c.Name, p.Type, p.Name, p.Type)
		}
		if err := checkName(p.Type, p.Name); err != nil {
			return Result{}, err
		}
		if _, twice := at[p.Type]; twice {
			return Result{}, invalid("move %q: type %s is named twice", c.Name, p.Type)
		}
		at[p.Type] = p.Name
	}
	id, ok := t.m.Crush.ItemID(c.Name)
	if !ok {
		return Result{}, refuse(wirepb.Code_NOT_FOUND, "move %q: the CRUSH map has no such item; see `cairn osd tree`", c.Name)
	}
	// Somewhere the new place must hang on what is there already, or no rule would find it.
	known := slices.ContainsFunc(c.Location, func(p LocationPart) bool { _, ok := t.m.Crush.BucketByName(p.Name); return ok })
	if _, root := at[rootType]; !known && !root {
		at[rootType] = crush.DefaultRoot
	}
	var err error
	if id >= 0 {
		err = t.crushMap().MoveDevice(id, at)
		f := t.factsOf(placement.OSDID(id))
		f.OwnPlace = true
		t.setFacts(placement.OSDID(id), f)
	} else {
		err = t.crushMap().MoveBucket(c.Name, at)
	}
	if err != nil {
		return Result{}, crushRefusal(err, "move %q", c.Name)
	}
	t.replace(placement.NoOSD)
	return Result{}, nil
}

func (c *OSDDrain) describe() string {
	words := []string{"osd undrain"}
	if c.On {
		words[0] = "osd drain"
	}
	for _, id := range c.OSDs {
		words = append(words, id.String())
	}
	return strings.Join(words, " ")
}

func (c *OSDRemove) describe() string { return "osd rm " + c.ID.String() }

func (c *CrushOSD) describe() string {
	var parts []string
	if c.Class != "" {
		parts = append(parts, fmt.Sprintf("osd crush set-device-class %s %v", c.Class, c.ID))
	}
	if c.Weight != nil {
		parts = append(parts, fmt.Sprintf("osd crush reweight %v %.5f", c.ID, crush.Weight(*c.Weight).Float()))
	}
	return strings.Join(parts, "; ")
}

func (c *CrushMove) describe() string {
	words := []string{"osd crush move", c.Name}
	for _, p := range c.Location {
		words = append(words, p.Type+"="+p.Name)
	}
	return strings.Join(words, " ")
}
