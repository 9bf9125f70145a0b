package mon

import (
	"slices"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/placement"
)

// watchRig drives a watch with a clock of its own.
type watchRig struct {
	t   *testing.T
	w   *watch
	now time.Time
	m   *placement.Map
}

func newWatchRig(t *testing.T, osds int) *watchRig {
	o, err := Options{Name: "a", Dir: "x"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	r := &watchRig{t: t, now: time.Unix(1e9, 0), m: &placement.Map{Epoch: 10}}
	for id := range osds {
		r.m.OSDs = append(r.m.OSDs, placement.OSD{ID: placement.OSDID(id), Incarnation: 5, Up: true, UpFrom: 3, Weight: placement.WeightOne})
	}
	r.w = newWatch(&o, r.now)
	r.want()
	return r
}

// after lets time pass; every OSD but those named reports once a second.
func (r *watchRig) after(d time.Duration, silent ...placement.OSDID) {
	for end := r.now.Add(d); r.now.Before(end); {
		r.now = r.now.Add(min(time.Second, end.Sub(r.now)))
		for i := range r.m.OSDs {
			if o := &r.m.OSDs[i]; o.Up && !slices.Contains(silent, o.ID) {
				r.w.report(r.now, r.m, &wirepb.OSDReport{Id: int32(o.ID), Incarnation: o.Incarnation})
			}
		}
	}
}

func (r *watchRig) accuse(from, target int32, silent time.Duration, refused bool) {
	r.w.failure(r.now, r.m, &wirepb.OSDFailure{Reporter: from, Target: target, TargetIncarnation: 5, SilentMs: silent.Milliseconds(), Refused: refused})
}

// want checks whom the leader would mark down.
func (r *watchRig) want(ids ...placement.OSDID) {
	r.t.Helper()
	var got []placement.OSDID
	for _, d := range r.w.look(r.now, r.m).down {
		got = append(got, d.ID)
		if d.Incarnation != r.m.OSD(d.ID).Incarnation {
			r.t.Fatalf("%+v names no incarnation", d)
		}
	}
	if !slices.Equal(got, ids) {
		r.t.Fatalf("down: got %v, want %v", got, ids)
	}
}

func TestRefusedIsDownAtOnce(t *testing.T) {
	r := newWatchRig(t, 4)
	r.accuse(0, 1, 0, true)
	r.want(1)
}

func TestSilentNeedsTwo(t *testing.T) {
	r := newWatchRig(t, 4)
	r.accuse(0, 1, 4*time.Second, false)
	r.want()
	r.accuse(0, 1, 5*time.Second, false) // the same one again
	r.want()
	r.accuse(2, 1, 2*time.Second, false) // not long enough
	r.want()
	r.after(1500 * time.Millisecond) // but it goes on
	r.want(1)
	r.w.failure(r.now, r.m, &wirepb.OSDFailure{Reporter: 2, Target: 1, Alive: true})
	r.want()
}

func TestSilentOfTwoNeedsOne(t *testing.T) {
	r := newWatchRig(t, 2)
	r.accuse(0, 1, 4*time.Second, false)
	r.want(1)
}

func TestWorthlessAccusations(t *testing.T) {
	r := newWatchRig(t, 6)
	r.m.OSDs[3].Up = false
	for name, f := range map[string]*wirepb.OSDFailure{
		"from itself":         {Reporter: 1, Target: 1, TargetIncarnation: 5, Refused: true},
		"from one down":       {Reporter: 3, Target: 1, TargetIncarnation: 5, Refused: true},
		"from nobody":         {Reporter: 9, Target: 1, TargetIncarnation: 5, Refused: true},
		"of a former life":    {Reporter: 0, Target: 1, TargetIncarnation: 4, Refused: true},
		"of one that is down": {Reporter: 0, Target: 3, TargetIncarnation: 5, Refused: true},
		"of nobody":           {Reporter: 0, Target: 9, TargetIncarnation: 5, Refused: true},
	} {
		if r.w.failure(r.now, r.m, f) {
			t.Errorf("accusation %s counts", name)
		}
	}
	r.want()
	// It comes back before the leader looks.
	r.accuse(0, 1, 0, true)
	r.m.OSDs[1].Incarnation, r.m.OSDs[1].UpFrom = 6, 11
	r.want()
	// The accuser goes down before the leader looks, or forgets about it.
	r.accuse(0, 2, 9*time.Second, false)
	r.accuse(1, 2, 9*time.Second, false)
	r.m.OSDs[0].Up = false
	r.want()
	r.m.OSDs[0].Up = true
	r.accuse(0, 2, 9*time.Second, false)
	r.after(accusationTTL + time.Second)
	r.want()
}

func TestNoReports(t *testing.T) {
	r := newWatchRig(t, 3)
	r.after(19*time.Second, 2)
	r.want()
	r.after(2*time.Second, 2)
	r.want(2)
	// Up again: it has the full time.
	r.m.OSDs[2].Up = false
	r.want()
	r.after(time.Hour)
	r.m.OSDs[2].Up, r.m.OSDs[2].UpFrom = true, 20
	r.want()
	r.after(19*time.Second, 2)
	r.want()
	// The last words of a former incarnation are no report.
	r.w.report(r.now, r.m, &wirepb.OSDReport{Id: 2, Incarnation: 4})
	r.after(2*time.Second, 2)
	r.want(2)
	r.m.Flags = placement.FlagNoDown
	r.want()
	r.m.Flags = 0
	// A new leader gives everybody the full time.
	o, _ := Options{Name: "a", Dir: "x"}.withDefaults()
	r.w = newWatch(&o, r.now)
	r.want()
}

func TestAutoOut(t *testing.T) {
	r := newWatchRig(t, 3)
	out := func() int { r.want(); return len(r.w.look(r.now, r.m).out) }
	r.m.OSDs[1].Up = false
	if out() != 0 {
		t.Fatal("out at once")
	}
	r.after(601 * time.Second)
	r.m.Flags = placement.FlagNoOut
	if out() != 0 {
		t.Fatal("out in spite of noout")
	}
	r.m.Flags = 0
	if v := r.w.look(r.now, r.m); len(v.out) != 1 || v.out[0] != 1 {
		t.Fatalf("out: %v", v.out)
	}
	r.m.OSDs[1].Weight = 0
	if out() != 0 {
		t.Fatal("out twice")
	}
	r.w.outAfter = -1
	r.m.OSDs[1].Weight = placement.WeightOne
	if out() != 0 {
		t.Fatal("out, although that is turned off")
	}
}

func TestRates(t *testing.T) {
	r := newWatchRig(t, 1)
	send := func(d time.Duration, inc, ops uint64) {
		r.now = r.now.Add(d)
		r.w.report(r.now, r.m, &wirepb.OSDReport{Id: 0, Incarnation: inc, WriteOps: ops})
	}
	rate := func() float64 { return r.w.reports()[0].Rates.WriteOps }
	send(0, 5, 100)
	if rate() != 0 {
		t.Fatalf("rate of one report: %v", rate())
	}
	for i := range uint64(20) {
		send(2*time.Second, 5, 100+50*(i+1))
	}
	if rate() != 25 {
		t.Fatalf("rate %v, want 25", rate())
	}
	send(time.Second, 6, 10) // restarted, its counters begin anew
	if rate() != 0 {
		t.Fatalf("rate after a restart: %v", rate())
	}
	send(time.Second, 6, 30)
	if rate() != 20 {
		t.Fatalf("rate %v, want 20", rate())
	}
	r.m.OSDs = nil
	r.want()
	if n := len(r.w.reports()); n != 0 {
		t.Fatalf("%d reports of OSDs that are gone", n)
	}
}

func TestBeacons(t *testing.T) {
	r := newWatchRig(t, 0)
	b := &wirepb.ServiceBeacon{Kind: "s3", Name: "gw", Addr: "x:1"}
	svc := placement.Service{Kind: "s3", Name: "gw", Addr: "x:1"}
	if set, ok := r.w.beacon(r.now, r.m, b).(*fsm.ServiceSet); !ok || placement.Service(set.Service) != svc {
		t.Fatalf("first beacon: %+v", set)
	}
	r.m.Services = []placement.Service{svc}
	if body := r.w.beacon(r.now, r.m, b); body != nil {
		t.Fatalf("second beacon: %+v", body)
	}
	if l := r.w.list(); len(l) != 1 || l[0].Name != "gw" || !l[0].At.Equal(r.now) {
		t.Fatalf("services: %+v", l)
	}
	r.now = r.now.Add(59 * time.Second)
	if v := r.w.look(r.now, r.m); len(v.gone) != 0 {
		t.Fatalf("gone too early: %v", v.gone)
	}
	r.now = r.now.Add(2 * time.Second)
	if v := r.w.look(r.now, r.m); !slices.Equal(v.gone, r.m.Services) {
		t.Fatalf("gone: %v", v.gone)
	}
	if l := r.w.list(); len(l) != 0 {
		t.Fatalf("services: %+v", l)
	}
	b.Leaving = true
	if rm, ok := r.w.beacon(r.now, r.m, b).(*fsm.ServiceRemove); !ok || len(rm.Services) != 1 {
		t.Fatalf("leaving: %+v", rm)
	}
	r.m.Services = nil
	if body := r.w.beacon(r.now, r.m, b); body != nil {
		t.Fatalf("leaving twice: %+v", body)
	}
}
