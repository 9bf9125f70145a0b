package fsm

import "testing"

// An OSD with a new disk boots where another one was: that one is gone, whatever
// answers there, and its PGs get other primaries.
func TestBootAtAnothersAddress(t *testing.T) {
	r := newRig(t)
	before := r.created(3, PoolCreate{Size: 3, MinSize: 2})
	old := int(before.Primary)
	r.register(3)
	b := bootOf(3, 1)
	b.Addr = bootOf(old, 1).Addr
	r.ok(b)
	m := r.s.Map()
	if m.IsUp(before.Primary) || !m.IsUp(3) {
		t.Errorf("up: %v %v, %v %v; want only the newcomer at %s", before.Primary, m.IsUp(before.Primary), 3, m.IsUp(3), b.Addr)
	}
	if after := r.rec(0); after.Primary == before.Primary || after.Term != before.Term+1 || !after.Has(before.Primary) || after.Has(3) {
		t.Errorf("record %+v, before %+v; want another primary, one term later, in the same set", after, before)
	}
}
