package admin

import (
	"fmt"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/placement"
)

// TestProgress plays an OSD that goes out and is recovered from, as the tracker sees it.
func TestProgress(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	m := &placement.Map{Epoch: 1, OSDs: []placement.OSD{{ID: 0, Up: true, Weight: placement.WeightOne, UpFrom: 1}, {ID: 1, Up: true, Weight: placement.WeightOne, UpFrom: 1}},
		Pools: []placement.Pool{{ID: 1, Name: "p", PGNum: 4, PGNumTarget: 4}}}
	var tr tracker
	see := func(state string, degraded, misplaced int64) []api.Progress {
		v := &View{Map: m, Now: now, Target: func(placement.PGID) []placement.OSDID { return nil }}
		tr.observe(v, []api.PG{{PGID: "1.0", State: state, Degraded: degraded, Misplaced: misplaced}})
		return tr.list(now)
	}
	change := func(f func(m *placement.Map)) {
		c := m.Clone()
		c.Epoch++
		f(c)
		m = c
	}
	if got := see("active+clean", 0, 0); len(got) != 0 {
		t.Fatalf("nothing is under way: %+v", got)
	}
	change(func(m *placement.Map) { m.OSDs[1].Up = false })
	if got := see("active+undersized+degraded", 100, 0); len(got) != 0 {
		t.Fatalf("nobody recovers yet: %+v", got)
	}
	if d := tr.inactiveFor("1.0", now); d != 0 {
		t.Fatalf("inactive for %v", d)
	}
	now = now.Add(10 * time.Second)
	change(func(m *placement.Map) { m.OSDs[1].Weight = 0 })
	want := func(got []api.Progress, message string, progress float64, elapsed, remaining int64) {
		t.Helper()
		if len(got) != 1 || got[0].Message != message || fmt.Sprintf("%.2f", got[0].Progress) != fmt.Sprintf("%.2f", progress) || got[0].Elapsed != elapsed || got[0].Remaining != remaining {
			t.Fatalf("got %+v, want %q, %.2f after %d s, %d s to go", got, message, progress, elapsed, remaining)
		}
	}
	want(see("active+recovering+undersized+degraded", 100, 0), "Recovery after osd.1 went down", 0, 10, -1)
	now = now.Add(10 * time.Second)
	want(see("active+recovering+undersized+degraded", 80, 0), "Recovery after osd.1 went down", 0.2, 20, 80)
	now = now.Add(10 * time.Second)
	want(see("active+recovering+undersized+degraded", 25, 0), "Recovery after osd.1 went down", 0.75, 30, 10)
	if got := see("active+clean", 0, 0); len(got) != 0 {
		t.Fatalf("it is done: %+v", got)
	}
	change(func(m *placement.Map) { m.OSDs[0].Draining = true })
	got := see("active+backfilling+remapped", 0, 40)
	want(got, "Rebalancing after osd.1 went down, osd.1 was marked out, osd.0 was set to drain", 0, 0, -1)
	now = now.Add(20 * time.Minute)
	if got := see("active+clean", 0, 0); len(got) != 0 {
		t.Fatalf("it is done: %+v", got)
	}
	change(func(m *placement.Map) { m.Pools[0].PGNumTarget = 16 })
	want(see("active+clean", 0, 0), "Splitting pool 'p' from 4 to 16 PGs", 0, 0, -1)
	now = now.Add(time.Second)
	change(func(m *placement.Map) { m.Pools[0].PGNum = 7 })
	want(see("peering", 0, 0), "Splitting pool 'p' from 4 to 16 PGs", 0.25, 1, 3)
	now = now.Add(time.Minute)
	see("peering", 0, 0)
	if d := tr.inactiveFor("1.0", now); d != time.Minute {
		t.Fatalf("inactive for %v, want a minute", d)
	}
	see("active", 0, 0)
	if d := tr.inactiveFor("1.0", now); d != 0 {
		t.Fatalf("inactive for %v, though it serves", d)
	}
}

// TestProgressCountsWithinPGs: a learner that has half of a PG has done half of the work.
func TestProgressCountsWithinPGs(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	v := &View{Map: &placement.Map{Epoch: 1}, Now: now}
	var tr tracker
	tr.observe(v, []api.PG{{PGID: "1.0", State: "active+backfilling", Degraded: 100}})
	v.Now = now.Add(5 * time.Second)
	tr.observe(v, []api.PG{{PGID: "1.0", State: "active+backfilling", Degraded: 100, ToRecover: 50, Recovered: 50}})
	got := tr.list(v.Now)
	if len(got) != 1 || got[0].Done != 50 || got[0].Total != 100 || got[0].Remaining != 5 {
		t.Fatalf("%+v", got)
	}
}
