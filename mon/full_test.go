package mon

import (
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// TestFullness: the leader's judgement follows the reports, with some slack on the way down.
func TestFullness(t *testing.T) {
	r := newWatchRig(t, 3)
	report := func(used int64) placement.Fullness {
		r.w.report(r.now, r.m, &wirepb.OSDReport{Id: 1, Incarnation: r.m.OSDs[1].Incarnation, Capacity: 1000, Available: 1000 - used})
		for _, f := range r.w.look(r.now, r.m).full {
			if f.ID != 1 || f.Full == r.m.OSDs[1].Full {
				t.Fatalf("verdict %+v, osd.1 is %s", f, r.m.OSDs[1].Full)
			}
			r.m.OSDs[1].Full = f.Full
		}
		return r.m.OSDs[1].Full
	}
	for _, step := range []struct {
		used int64
		want placement.Fullness
	}{
		{849, placement.NotFull}, {850, placement.NearFull}, {845, placement.NearFull}, {839, placement.NotFull},
		{900, placement.BackfillFull}, {950, placement.Full}, {945, placement.Full}, {935, placement.BackfillFull},
		{960, placement.Full}, {100, placement.NotFull},
	} {
		if got := report(step.used); got != step.want {
			t.Fatalf("%d of 1000 used: %s, want %s", step.used, got, step.want)
		}
	}
	r.m.Config = []placement.Setting{{Key: placement.KeyFullRatio, Value: "0.5"}}
	if got := report(500); got != placement.Full {
		t.Fatalf("with full_ratio 0.5: %s", got)
	}
	r.m.OSDs[1].Incarnation++ // it restarted: what it said before is about another life
	if v := r.w.look(r.now, r.m); len(v.full) != 0 {
		t.Fatalf("judged by an old report: %+v", v.full)
	}
	r.m.OSDs[1].Incarnation--
	r.m.Config = nil
	r.now = r.now.Add(time.Minute)
	if v := r.w.look(r.now, r.m); len(v.full) != 0 {
		t.Fatalf("judged by a report that is a minute old: %+v", v.full)
	}
}

func TestOutAfterSetting(t *testing.T) {
	r := newWatchRig(t, 3)
	r.m.OSDs[1].Up = false
	r.w.look(r.now, r.m)
	r.m.Config = []placement.Setting{{Key: placement.KeyOutAfter, Value: "30s"}}
	r.now = r.now.Add(31 * time.Second)
	if v := r.w.look(r.now, r.m); len(v.out) != 1 {
		t.Fatalf("out after 31 s of 30 s: %v", v.out)
	}
	r.m.Config[0].Value = "0s"
	r.now = r.now.Add(time.Hour)
	if v := r.w.look(r.now, r.m); len(v.out) != 0 {
		t.Fatalf("out, though that is turned off: %v", v.out)
	}
}
