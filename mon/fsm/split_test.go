package fsm

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// growing makes a pool p of n PGs, all created.
func growing(t *testing.T, n uint32) *rig {
	r := newRig(t)
	r.osds(3)
	r.ok(&PoolCreate{Name: "p", PGNum: n})
	for shard := range n {
		c := r.change(shard)
		c.Created = true
		r.ok(c)
	}
	return r
}

func (r *rig) target(n int) *PoolSet {
	return &PoolSet{Name: "p", Key: "pg_num", Value: fmt.Sprint(n)}
}

// The monitors give a new PG what its parent has, and both a new term, in one epoch.
func TestPoolSplit(t *testing.T) {
	r := growing(t, 3)
	before := []placement.PGRecord{r.rec(0), r.rec(1), r.rec(2)}
	r.no(wirepb.Code_INVALID, "its pg_num is to be 3", &PoolSplit{Pool: 1, From: 3, To: 4})
	r.ok(r.target(8))
	if p := r.s.Map().PoolByName("p"); p.PGNum != 3 || p.PGNumTarget != 8 || p.FirstPGNum != 3 {
		t.Fatalf("%+v", p)
	}
	r.no(wirepb.Code_CONFLICT, "has 3 PGs by now", &PoolSplit{Pool: 1, From: 2, To: 4})
	r.no(wirepb.Code_INVALID, "cannot become 9", &PoolSplit{Pool: 1, From: 3, To: 9})
	r.no(wirepb.Code_INVALID, "cannot become 3", &PoolSplit{Pool: 1, From: 3, To: 3})
	r.no(wirepb.Code_NOT_FOUND, "pool 9", &PoolSplit{Pool: 9, From: 3, To: 4})
	r.ok(&PoolSplit{Pool: 1, From: 3, To: 5}) // 3 from 1, 4 from 0
	for shard, parent := range map[uint32]int{3: 1, 4: 0} {
		kid, was, is := r.rec(shard), before[parent], r.rec(uint32(parent))
		if kid.Term != was.Term+1 || is.Term != kid.Term || kid.Version != r.index || is.Version != r.index || !kid.Created ||
			kid.Primary != was.Primary || !slices.Equal(kid.InSync, was.InSync) || !slices.Equal(is.InSync, was.InSync) {
			t.Errorf("PG %d is %+v, split off %+v, which is %+v now", shard, kid, was, is)
		}
	}
	if got := r.rec(2); got.Term != before[2].Term || got.Version != before[2].Version {
		t.Errorf("PG 2, which does not split, went from %+v to %+v", before[2], got)
	}
	if p := r.s.Map().PoolByName("p"); p.PGNum != 5 || p.PGNumTarget != 8 || p.FirstPGNum != 3 {
		t.Fatalf("%+v", p)
	}
	// A new PG's primary is replaced like any other's.
	kid := r.rec(4)
	r.ok(downOf(int(kid.Primary), DownSilent))
	if now := r.rec(4); now.Term != kid.Term+1 || now.Primary == kid.Primary || !slices.Equal(now.InSync, kid.InSync) {
		t.Errorf("after its primary's death: %+v, before: %+v", now, kid)
	}
}

// A PG that has no data yet, or nobody to lead it, need not wait for the split; but one that is being
// created does, or it would have children that nobody ever makes.
func TestPoolSplitOfWhatIsNotThere(t *testing.T) {
	r := newRig(t)
	r.osds(3)
	r.ok(&PoolCreate{Name: "p", PGNum: 2})
	r.ok(r.target(4))
	r.no(wirepb.Code_CONFLICT, "PG 1.0 is not active yet", &PoolSplit{Pool: 1, From: 2, To: 3})
	r = growing(t, 2)
	r.ok(r.target(4))
	for id := range 3 {
		r.ok(downOf(id, DownSilent))
	}
	r.ok(&PoolSplit{Pool: 1, From: 2, To: 4})
	if kid := r.rec(3); kid.Primary != placement.NoOSD || len(kid.InSync) != 3 {
		t.Fatalf("%+v", kid)
	}
	r.ok(bootOf(1, 7))
	if kid := r.rec(3); kid.Primary != 1 {
		t.Fatalf("osd.1 is back and does not lead: %+v", kid)
	}
}

func TestPGNumLimits(t *testing.T) {
	r := growing(t, 4)
	r.no(wirepb.Code_CONFLICT, "never merged", r.target(3))
	r.no(wirepb.Code_INVALID, "not a number", &PoolSet{Name: "p", Key: "pg_num", Value: "many"})
	r.no(wirepb.Code_CONFLICT, "more than 250 each", r.target(251))
	r.no(wirepb.Code_NO_SPACE, "a cluster can have 32768", r.target(32769))
	r.ok(r.target(250))
	r.ok(r.target(6)) // it has not got there: the growth may be stopped
	r.same(r.target(6))
	r.ok(&PoolCreate{Name: "q", PGNum: 40})
	r.no(wirepb.Code_CONFLICT, "more than 250 each", r.target(211))
	r.ok(r.target(210))
	r.ok(&PoolCreate{Name: "many", Size: 1, PGNum: MaxPGs - 250})
	r.no(wirepb.Code_NO_SPACE, "leave 210", r.target(211))
	r.no(wirepb.Code_NO_SPACE, "32768", &PoolCreate{Name: "more", PGNum: 1})
}

func TestAutoscaleMode(t *testing.T) {
	r := newRig(t)
	r.osds(3)
	mode := func(name, want string) {
		t.Helper()
		if got := r.s.Map().PoolByName(name).Flags.AutoscaleMode(); got != want {
			t.Fatalf("pg_autoscale_mode of %s is %s, want %s", name, got, want)
		}
	}
	r.ok(&PoolCreate{Name: "p"})
	mode("p", "on")
	r.ok(&PoolCreate{Name: "q", PGNum: 8, Autoscale: "off"})
	mode("q", "off")
	for _, m := range []string{"warn", "on", "off"} {
		r.ok(&PoolSet{Name: "p", Key: "pg_autoscale_mode", Value: m})
		mode("p", m)
	}
	r.same(&PoolSet{Name: "p", Key: "pg_autoscale_mode", Value: "off"})
	r.no(wirepb.Code_INVALID, "want on, off or warn", &PoolSet{Name: "p", Key: "pg_autoscale_mode", Value: "maybe"})
	r.no(wirepb.Code_INVALID, "want on, off or warn", &PoolCreate{Name: "r", Autoscale: "maybe"})
}
