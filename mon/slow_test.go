package mon

import (
	"slices"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// slowRig is a cluster whose OSDs report what the test says of their devices.
type slowRig struct {
	*watchRig
	dev   map[placement.OSDID][]*wirepb.DeviceLatency
	more  map[placement.OSDID]func(*wirepb.OSDReport)
	count int // reports since the beginning, of each OSD
}

func newSlowRig(t *testing.T, osds int) *slowRig {
	r := &slowRig{watchRig: newWatchRig(t, osds), dev: map[placement.OSDID][]*wirepb.DeviceLatency{}, more: map[placement.OSDID]func(*wirepb.OSDReport){}}
	for i := range r.m.OSDs {
		r.m.OSDs[i].Class = "ssd"
	}
	r.all(1, time.Millisecond, 3*time.Millisecond)
	return r
}

func lat(kind uint32, count uint64, p50, p99 time.Duration) *wirepb.DeviceLatency {
	return &wirepb.DeviceLatency{Op: kind, Count: count, P50Us: p50.Microseconds(), P99Us: p99.Microseconds()}
}

func (r *slowRig) all(kind uint32, p50, p99 time.Duration) {
	for i := range r.m.OSDs {
		r.dev[r.m.OSDs[i].ID] = []*wirepb.DeviceLatency{lat(kind, 1000, p50+time.Duration(i)*time.Microsecond, p99)}
	}
}

// pass lets time go by: every OSD reports each second, one after the other, the leader looks after
// each, and the map follows it. It stops when stop says so and returns how long that took.
func (r *slowRig) pass(d time.Duration, stop func() bool) time.Duration {
	for began, i := r.now, 0; r.now.Sub(began) < d; i++ {
		if i%len(r.m.OSDs) == 0 {
			r.count++
		}
		o := &r.m.OSDs[i%len(r.m.OSDs)]
		r.now = r.now.Add(time.Second / time.Duration(len(r.m.OSDs)))
		if o.Up {
			rep := &wirepb.OSDReport{Id: int32(o.ID), Incarnation: o.Incarnation, Device: r.dev[o.ID]}
			if f := r.more[o.ID]; f != nil {
				f(rep)
			}
			r.w.report(r.now, r.m, rep)
		}
		v := r.w.look(r.now, r.m)
		for _, s := range v.slow {
			if r.m.OSD(s.ID).Slow == s.Slow {
				r.t.Fatalf("the map says so already: %+v", s)
			}
			r.m.OSD(s.ID).Slow = s.Slow
		}
		if v.bad != placement.NoOSD {
			r.m.OSD(v.bad).Weight = 0
		}
		if stop != nil && stop() {
			return r.now.Sub(began)
		}
	}
	return d
}

func (r *slowRig) wantSlow(ids ...placement.OSDID) {
	r.t.Helper()
	var got []placement.OSDID
	for i := range r.m.OSDs {
		if r.m.OSDs[i].Slow {
			got = append(got, r.m.OSDs[i].ID)
		}
	}
	if !slices.Equal(got, ids) {
		r.t.Fatalf("slow are %v, want %v", got, ids)
	}
}

// TestSlowDeviceIsNamed: within a bounded number of reports, with its figures and its peers', and
// cleared when it has been well for a minute.
func TestSlowDeviceIsNamed(t *testing.T) {
	r := newSlowRig(t, 5)
	r.all(2, time.Millisecond, 3*time.Millisecond)
	r.pass(time.Minute, nil)
	r.wantSlow()
	r.dev[3] = []*wirepb.DeviceLatency{lat(2, 400, 40*time.Millisecond, 90*time.Millisecond)}
	before := r.count
	took := r.pass(time.Minute, func() bool { return r.m.OSDs[3].Slow })
	r.wantSlow(3)
	if n := r.count - before; took < slowSoon || n > int(slowSoon/time.Second)+2 {
		t.Errorf("named after %d reports, %v", n, took)
	}
	f := r.w.reports()[3].Slow
	if f == nil || f.Kind != "journal writes" || f.P50 != 40*time.Millisecond || f.PeersP50 < time.Millisecond || f.PeersP50 > 2*time.Millisecond || f.Peers != 4 || f.P99 != 90*time.Millisecond || f.PeersP99 != 3*time.Millisecond {
		t.Errorf("found %+v", f)
	}
	r.pass(time.Hour, nil)
	r.wantSlow(3)
	r.dev[3] = []*wirepb.DeviceLatency{lat(2, 400, time.Millisecond, 3*time.Millisecond)}
	if took := r.pass(10*time.Minute, func() bool { return !r.m.OSDs[3].Slow }); took < slowClear || took > slowClear+5*time.Second {
		t.Errorf("cleared after %v of good reports", took)
	}
	r.wantSlow()
}

// TestAllSlowNamesNobody: neither a cluster that is slow as a whole, nor one that becomes so, nor a
// moment in which everybody is, however the reports' times lie.
func TestAllSlowNamesNobody(t *testing.T) {
	r := newSlowRig(t, 5)
	r.all(2, 500*time.Millisecond, 2*time.Second)
	r.pass(5*time.Minute, nil)
	r.wantSlow()
	for range 10 {
		r.all(2, time.Millisecond, 3*time.Millisecond)
		r.pass(30*time.Second, nil)
		// The window of each report ends at another moment: one after the other they say it, and
		// one after the other they say it no more. Medians are of two seconds, tails of ten.
		bad := lat(2, 300, time.Millisecond, 900*time.Millisecond)
		for _, step := range []struct {
			lat   *wirepb.DeviceLatency
			every time.Duration
		}{
			{bad, 2 * time.Second}, {lat(2, 300, 300*time.Millisecond, 900*time.Millisecond), time.Second / 2},
			{bad, time.Second / 2}, {lat(2, 300, time.Millisecond, 3*time.Millisecond), 2 * time.Second},
		} {
			for i := range r.m.OSDs {
				r.dev[r.m.OSDs[i].ID] = []*wirepb.DeviceLatency{step.lat}
				r.pass(step.every, nil)
				r.wantSlow()
			}
		}
	}
}

// TestSlowAgain: an OSD that is slow again whenever it is given work has to be well for longer each time, up to a limit;
// after an hour without that it is as any other.
func TestSlowAgain(t *testing.T) {
	r := newSlowRig(t, 5)
	bad := []*wirepb.DeviceLatency{lat(1, 1000, time.Second, time.Second)}
	good := []*wirepb.DeviceLatency{lat(1, 1000, time.Millisecond, 3*time.Millisecond)}
	cleared := func() time.Duration {
		t.Helper()
		r.dev[3] = bad
		r.pass(time.Minute, nil)
		r.wantSlow(3)
		r.dev[3] = good
		return r.pass(time.Hour, func() bool { return !r.m.OSDs[3].Slow }).Round(time.Minute)
	}
	for i, want := range []time.Duration{1, 2, 4, 8, 8} {
		if got := cleared(); got != want*time.Minute {
			t.Errorf("time %d: cleared after %v, want %d min", i, got, want)
		}
	}
	r.pass(slowAgain, nil)
	if got := cleared(); got != time.Minute {
		t.Errorf("after an hour: cleared after %v", got)
	}
}

// TestNotEnoughToJudge: few samples, few peers, peers of another class, old reports, short times.
func TestNotEnoughToJudge(t *testing.T) {
	slow := []*wirepb.DeviceLatency{lat(1, 1000, time.Second, 2*time.Second)}
	for name, f := range map[string]func(r *slowRig){
		"three peers are needed": func(r *slowRig) { r.m.OSDs = r.m.OSDs[:3] },
		"of the same class":      func(r *slowRig) { r.m.OSDs[1].Class, r.m.OSDs[2].Class = "hdd", "hdd" },
		"with samples": func(r *slowRig) {
			r.dev[1] = []*wirepb.DeviceLatency{lat(1, slowSamples-1, time.Millisecond, time.Millisecond)}
			r.dev[2] = nil
		},
		"that are up": func(r *slowRig) { r.m.OSDs[1].Up, r.m.OSDs[2].Up = false, false },
		"a few samples": func(r *slowRig) {
			r.dev[0] = []*wirepb.DeviceLatency{lat(1, slowSamples-1, time.Second, 2*time.Second)}
		},
		"below the floor": func(r *slowRig) {
			r.dev[0] = []*wirepb.DeviceLatency{lat(1, 1000, 1900*time.Microsecond, 7*time.Millisecond)}
		},
		"a tail of a few": func(r *slowRig) {
			r.dev[0] = []*wirepb.DeviceLatency{lat(1, slowTail-1, time.Millisecond, time.Second)}
		},
		"a higher floor": func(r *slowRig) { r.m.Config = []placement.Setting{{Key: placement.KeySlowFloor, Value: "20s"}} },
		"a higher factor": func(r *slowRig) {
			r.m.Config = []placement.Setting{{Key: placement.KeySlowFactor, Value: "1000"}}
			r.all(1, 100*time.Millisecond, 100*time.Millisecond)
			r.dev[0] = slow
		},
		"kinds not known": func(r *slowRig) {
			r.dev[0] = []*wirepb.DeviceLatency{lat(0, 1000, time.Second, time.Second), lat(77, 1000, time.Second, time.Second), nil}
		},
		"an hour of stalls": func(r *slowRig) {
			r.dev[0] = nil
			for i := range r.m.OSDs {
				r.more[r.m.OSDs[i].ID] = func(p *wirepb.OSDReport) { p.DeviceStalledUs = 3600e6 }
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newSlowRig(t, 5)
			r.m.OSDs = r.m.OSDs[:4]
			r.dev[0] = slow
			f(r)
			r.pass(2*time.Minute, nil)
			r.wantSlow()
		})
	}
	r := newSlowRig(t, 4) // and this is enough
	r.dev[0] = slow
	r.pass(slowSoon-time.Second, nil)
	r.wantSlow()
	r.pass(3*time.Second, nil)
	r.wantSlow(0)
}

// TestTailIsSlow: most reads are fine, and some are terrible.
func TestTailIsSlow(t *testing.T) {
	r := newSlowRig(t, 4)
	r.dev[2] = []*wirepb.DeviceLatency{lat(1, 1000, time.Millisecond, 800*time.Millisecond)}
	if took := r.pass(time.Minute, func() bool { return r.m.OSDs[2].Slow }); took < slowAfter {
		t.Errorf("named after %v: it may have been one hiccup", took)
	}
	r.wantSlow(2)
}

// TestStalledIsSlow: an operation that does not end gives no sample, and is named all the same.
func TestStalledIsSlow(t *testing.T) {
	r := newSlowRig(t, 4)
	stuck := r.now
	r.dev[2] = nil
	r.more[2] = func(p *wirepb.OSDReport) { p.DeviceStalledUs = r.now.Sub(stuck).Microseconds() }
	if took := r.pass(time.Minute, func() bool { return r.m.OSDs[2].Slow }); took < slowStalled || took > slowStalled+slowAfter+2*time.Second {
		t.Errorf("named after %v", took)
	}
	r.wantSlow(2)
	if f := r.w.reports()[2].Slow; f.Kind != kindNames[kindStalled] {
		t.Errorf("found %+v", f)
	}
	delete(r.more, 2)
	r.pass(slowClear+5*time.Second, nil)
	r.wantSlow()
}

// TestSlowNoMore: an OSD that does the work no more in which it was slow, since it leads no PG,
// gets another chance after a while; a new leader goes by the map until it knows better.
func TestSlowNoMore(t *testing.T) {
	r := newSlowRig(t, 4)
	r.dev[1] = []*wirepb.DeviceLatency{lat(1, 1000, time.Second, time.Second)}
	r.pass(time.Minute, nil)
	r.wantSlow(1)
	r.dev[1] = []*wirepb.DeviceLatency{lat(2, 1000, time.Millisecond, time.Millisecond)} // and no reads
	if took := r.pass(time.Hour, func() bool { return !r.m.OSDs[1].Slow }); took < slowExpire-time.Minute || took > slowExpire+time.Minute {
		t.Errorf("another chance after %v", took)
	}
	r.dev[1] = []*wirepb.DeviceLatency{lat(1, 1000, time.Second, time.Second)}
	r.pass(time.Minute, nil)
	r.wantSlow(1)
	o, err := Options{Name: "b", Dir: "x"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	r.w = newWatch(&o, r.now)
	r.pass(time.Minute, nil)
	r.wantSlow(1)
	r.w = newWatch(&o, r.now)
	r.dev[1] = []*wirepb.DeviceLatency{lat(1, 1000, time.Millisecond, time.Millisecond)}
	if took := r.pass(time.Hour, func() bool { return !r.m.OSDs[1].Slow }); took > slowClear+5*time.Second {
		t.Errorf("a new leader took %v", took)
	}
}

// TestFailingDeviceIsMarkedOut: only when that is configured, one at a time, and never so that few
// are left; who lets it in again is obeyed.
func TestFailingDeviceIsMarkedOut(t *testing.T) {
	r := newSlowRig(t, 8)
	fails := func(id placement.OSDID) {
		r.more[id] = func(p *wirepb.OSDReport) { p.DeviceReadErrors, p.ChecksumErrors = 4, 6 }
	}
	out := func() (ids []placement.OSDID) {
		r.pass(10*time.Second, nil)
		for i := range r.m.OSDs {
			if !r.m.OSDs[i].In() {
				ids = append(ids, r.m.OSDs[i].ID)
			}
		}
		return ids
	}
	fails(2)
	if got := out(); len(got) != 0 {
		t.Fatalf("out are %v, and nobody asked for that", got)
	}
	r.m.Config = []placement.Setting{{Key: placement.KeyReadErrorLimit, Value: "11"}, {Key: placement.KeyReadErrorOut, Value: "on"}}
	if got := out(); len(got) != 0 {
		t.Fatalf("out are %v: 10 errors are below 11", got)
	}
	r.m.Config[0].Value = "10"
	if got := out(); !slices.Equal(got, []placement.OSDID{2}) {
		t.Fatalf("out are %v, want osd.2", got)
	}
	r.m.OSDs[2].Weight = placement.WeightOne
	if got := out(); len(got) != 0 {
		t.Fatalf("out are %v, though somebody let it in", got)
	}
	for id := range placement.OSDID(8) {
		fails(id)
	}
	if got := out(); len(got) != 2 {
		t.Fatalf("out are %v, want two: three quarters stay", got)
	}
}

// TestOthersMedian: an OSD is no peer of its own.
func TestOthersMedian(t *testing.T) {
	for _, tt := range []struct {
		sorted    []time.Duration
		own, want time.Duration
	}{
		{[]time.Duration{1, 2, 3, 1000}, 1000, 2}, {[]time.Duration{1, 2, 3, 1000}, 1, 3}, {[]time.Duration{1, 2, 3, 1000}, 2, 3},
		{[]time.Duration{1, 2, 4, 8, 16}, 4, 5}, {[]time.Duration{5, 5, 5, 9}, 5, 5}, {[]time.Duration{3, 7}, 7, 3},
	} {
		if got := othersMedian(tt.sorted, tt.own); got != tt.want {
			t.Errorf("%d without %d: median %d, want %d", tt.sorted, tt.own, got, tt.want)
		}
	}
}
