package fsm

import (
	"testing"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// TestSlowLeadsLast: an OSD whose device is slow becomes a primary only when there is no other,
// unless the configuration says not to care.
func TestSlowLeadsLast(t *testing.T) {
	r := newRig(t)
	rec := r.created(3, PoolCreate{})
	p, q, s := rec.InSync[0], rec.InSync[1], rec.InSync[2]
	slow := func(id placement.OSDID, on bool) *OSDSlow { return &OSDSlow{OSDs: []SlowOSD{{id, on}}} }
	r.ok(slow(q, true))
	r.same(slow(q, true))
	if o := r.s.Map().OSD(q); !o.Slow {
		t.Fatalf("%+v", o)
	}
	r.ok(slow(p, true))
	if got := r.rec(0); got.Primary != p || got.Term != 1 {
		t.Fatalf("a PG that is served was taken away: %+v", got)
	}
	r.ok(downOf(int(p), DownSilent))
	if got := r.rec(0).Primary; got != s {
		t.Fatalf("the next primary is %v, want %v: %v is slow", got, s, q)
	}
	r.ok(downOf(int(s), DownSilent))
	if got := r.rec(0).Primary; got != q {
		t.Fatalf("the last one up is %v, primary %v: slow is better than none", q, got)
	}
	r.ok(bootOf(int(p), 2))
	r.ok(bootOf(int(s), 2))
	r.ok(&ConfigSet{Key: placement.KeySlowAvoidPrimary, Value: "off"})
	r.ok(downOf(int(q), DownSilent))
	if got := r.rec(0).Primary; got != p {
		t.Fatalf("with osd_slow_avoid_primary off the next primary is %v, want %v", got, p)
	}
	r.ok(&OSDSlow{OSDs: []SlowOSD{{p, false}, {q, false}, {99, true}}})
	r.no(wirepb.Code_INVALID, "at most", &OSDSlow{OSDs: make([]SlowOSD, MaxOSDs+1)})
}

// TestSlowUncreated: a PG without data does not wait for a hand-over.
func TestSlowUncreated(t *testing.T) {
	r := newRig(t)
	r.osds(3)
	r.ok(&PoolCreate{Name: "p", PGNum: 1})
	first := r.rec(0)
	r.ok(&OSDSlow{OSDs: []SlowOSD{{first.Primary, true}}})
	if got := r.rec(0); got.Primary != first.InSync[1] || got.Term != first.Term+1 || len(got.InSync) != 3 {
		t.Fatalf("%+v became %+v", first, got)
	}
}

// TestRatiosInOrder: ratios that contradict each other are refused.
func TestRatiosInOrder(t *testing.T) {
	r := newRig(t)
	set := func(key, value string) *ConfigSet { return &ConfigSet{Key: key, Value: value} }
	r.no(wirepb.Code_INVALID, "nearfull_ratio <= backfillfull_ratio <= full_ratio", set(placement.KeyNearFullRatio, "0.91"))
	r.no(wirepb.Code_INVALID, "backfillfull_ratio is 0.9", set(placement.KeyFullRatio, "0.89"))
	r.no(wirepb.Code_INVALID, "full_ratio is 0.95", set(placement.KeyBackfillFullRatio, "0.96"))
	r.no(wirepb.Code_INVALID, "want 0.1 to 0.99", set(placement.KeyFullRatio, "NaN"))
	r.ok(set(placement.KeyFullRatio, "0.97"))
	r.ok(set(placement.KeyBackfillFullRatio, "0.96"))
	r.no(wirepb.Code_INVALID, "backfillfull_ratio is 0.96", set(placement.KeyFullRatio, "")) // the default, 0.95
	r.ok(set(placement.KeyBackfillFullRatio, ""))
	r.ok(set(placement.KeyFullRatio, ""))
}
