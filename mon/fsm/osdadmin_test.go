package fsm

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

func TestDrain(t *testing.T) {
	r := newRig(t)
	r.osds(4)
	r.ok(&PoolCreate{Name: "p", Size: 3, PGNum: 16})
	r.no(wirepb.Code_NOT_FOUND, "osd.9", &OSDDrain{OSDs: []placement.OSDID{1, 9}, On: true})
	r.no(wirepb.Code_INVALID, "0 named", &OSDDrain{On: true})
	r.ok(&OSDDrain{OSDs: []placement.OSDID{1}, On: true})
	r.same(&OSDDrain{OSDs: []placement.OSDID{1}, On: true})
	m := r.s.Map()
	if o := m.OSD(1); !o.Draining || !o.Up || o.In() || o.Weight != placement.WeightOne {
		t.Fatalf("draining: %+v", o)
	}
	for shard := range uint32(16) {
		if rec := r.rec(shard); rec.Has(1) || len(rec.InSync) != 3 {
			t.Fatalf("an empty PG stays on a draining OSD: %+v", rec)
		}
	}
	r.ok(bootOf(1, 2)) // a restart does not end it
	if !r.s.Map().OSD(1).Draining {
		t.Fatal("a boot ended the drain")
	}
	r.ok(&OSDDrain{OSDs: []placement.OSDID{1}})
	if o := r.s.Map().OSD(1); o.Draining || !o.In() {
		t.Fatalf("not draining any more: %+v", o)
	}
}

func TestRemove(t *testing.T) {
	r := newRig(t)
	rec := r.created(4, PoolCreate{Size: 3, MinSize: 2})
	id := rec.InSync[0]
	r.no(wirepb.Code_NOT_FOUND, "osd.9", &OSDRemove{ID: 9})
	r.no(wirepb.Code_CONFLICT, "is up", &OSDRemove{ID: id})
	r.ok(downOf(int(id), DownStopping))
	r.no(wirepb.Code_CONFLICT, "is in", &OSDRemove{ID: id})
	r.ok(&OSDDrain{OSDs: []placement.OSDID{id}, On: true})
	r.no(wirepb.Code_CONFLICT, "in-sync set of 1.0", &OSDRemove{ID: id})
	c := r.change(0)
	c.InSync = slices.DeleteFunc(slices.Clone(c.InSync), func(m placement.OSDID) bool { return m == id })
	r.ok(c)
	r.ok(&OSDRemove{ID: id})
	m := r.s.Map()
	if m.OSD(id) != nil {
		t.Fatal("still in the map")
	}
	if _, ok := m.Crush.Device(int(id)); ok {
		t.Fatal("still in the CRUSH map")
	}
	r.no(wirepb.Code_NOT_FOUND, "does not exist", &OSDRemove{ID: id})
	r.no(wirepb.Code_NOT_PERMITTED, "was removed", bootOf(int(id), 5))
	back := &OSDRegister{Store: storeOf(int(id)), Class: "ssd", Capacity: 1 << 40}
	want := fmt.Sprintf("was %v, which was removed", id)
	r.no(wirepb.Code_NOT_PERMITTED, want, back)
	restored, err := Restore(encoded(t, r.s))
	if err != nil {
		t.Fatal(err)
	}
	r.s = restored
	r.no(wirepb.Code_NOT_PERMITTED, want, back)
	if res := r.ok(&OSDRegister{Store: storeOf(77), Class: "ssd", Capacity: 1 << 40}); res.OSD != 4 {
		t.Fatalf("the next OSD is %v: ids are never used again", res.OSD)
	}
}

func TestFullness(t *testing.T) {
	r := newRig(t)
	r.osds(2)
	r.ok(&OSDFull{OSDs: []FullOSD{{1, placement.BackfillFull}, {7, placement.Full}}})
	if o := r.s.Map().OSD(1); o.Full != placement.BackfillFull {
		t.Fatalf("%+v", o)
	}
	r.same(&OSDFull{OSDs: []FullOSD{{1, placement.BackfillFull}}})
	r.no(wirepb.Code_INVALID, "fullness 4", &OSDFull{OSDs: []FullOSD{{1, 4}}})
}

// TestCrushByHand: what a person says of class, weight and place is not undone by a boot.
func TestCrushByHand(t *testing.T) {
	r := newRig(t)
	r.osds(3)
	weight := func(w uint32) *uint32 { return &w }
	r.no(wirepb.Code_NOT_FOUND, "osd.9", &CrushOSD{ID: 9, Class: "hdd"})
	r.no(wirepb.Code_INVALID, "not allowed", &CrushOSD{ID: 1, Class: "h d"})
	r.no(wirepb.Code_INVALID, "at most", &CrushOSD{ID: 1, Weight: weight(1 << 31)})
	r.ok(&CrushOSD{ID: 1, Class: "nvme", Weight: weight(0x8000)})
	r.no(wirepb.Code_NOT_FOUND, "no such item", &CrushMove{Name: "osd.9", Location: []LocationPart{{"host", "h0"}}})
	r.no(wirepb.Code_INVALID, "no bucket type", &CrushMove{Name: "osd.1", Location: []LocationPart{{"galaxy", "h0"}}})
	r.no(wirepb.Code_INVALID, "0 parts", &CrushMove{Name: "osd.1"})
	r.no(wirepb.Code_INVALID, "twice", &CrushMove{Name: "osd.1", Location: []LocationPart{{"host", "h0"}, {"host", "h2"}}})
	r.ok(&CrushMove{Name: "osd.1", Location: []LocationPart{{"host", "h0"}}})
	b := bootOf(1, 2)
	b.Class, b.Capacity, b.Location = "ssd", 4<<40, []LocationPart{{"host", "h1"}}
	r.ok(b)
	m := r.s.Map()
	if o := m.OSD(1); o.Class != "nvme" || o.Capacity != 4<<40 {
		t.Fatalf("after a boot: %+v", o)
	}
	if d, _ := m.Crush.Device(1); d.Class != "nvme" {
		t.Fatalf("class %q", d.Class)
	}
	if h, _ := m.Crush.BucketByName("h0"); m.Crush.ItemName(parentOf(t, m, 1)) != "h0" || h.Weight().Float() != 1.5 {
		t.Fatalf("osd.1 is in %s, and h0 weighs %v", m.Crush.ItemName(parentOf(t, m, 1)), h.Weight().Float())
	}
	r.ok(&CrushMove{Name: "h2", Location: []LocationPart{{"rack", "r1"}}})
	m = r.s.Map()
	h2, _ := m.Crush.BucketByName("h2")
	rack, ok := m.Crush.Ancestor(h2.ID, "rack")
	if !ok || m.Crush.ItemName(rack) != "r1" {
		t.Fatal("h2 is not in rack r1")
	}
	if root, ok := m.Crush.Ancestor(h2.ID, "root"); !ok || m.Crush.ItemName(root) != "default" {
		t.Fatal("the new rack hangs on no root")
	}
	r.no(wirepb.Code_INVALID, "move", &CrushMove{Name: "default", Location: []LocationPart{{"rack", "r1"}}})
	r.ok(&OSDReweight{ID: 0})
	restored, err := Restore(encoded(t, r.s))
	if err != nil {
		t.Fatal(err)
	}
	if f := restored.Facts(1); !f.OwnClass || !f.OwnPlace || !f.OwnWeight {
		t.Fatalf("after a snapshot: %+v", f)
	}
}
