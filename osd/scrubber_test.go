package osd

import (
	"testing"
	"time"

	"github.com/cairnstore/cairn/osd/pg"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// Every PG has one turn in each interval, and not all at once.
func TestDue(t *testing.T) {
	const hour, day = int64(time.Hour), int64(24 * time.Hour)
	start := int64(1_700_000_000) * int64(time.Second)
	turns := map[int64]int{} // hour of the day -> PGs
	for shard := range uint32(200) {
		id := placement.PGID{Pool: 1, Shard: shard}
		last, n := start, 0
		for now := start; now < start+10*day; now += hour {
			if due(id, last, now, 24*time.Hour) {
				if n > 0 && now-last != day {
					t.Fatalf("PG %s: turns %v apart", id, time.Duration(now-last))
				}
				last, n = now, n+1
				turns[now%day/hour]++
			}
		}
		if n != 10 && n != 9 {
			t.Fatalf("PG %s: %d turns in ten days", id, n)
		}
	}
	if len(turns) < 20 {
		t.Errorf("200 PGs have their turns in %d hours of the day", len(turns))
	}
	if due(placement.PGID{}, start, start+1000*day, 0) {
		t.Error("an interval of nothing is never over")
	}
}

// The flags keep scrubs from beginning by themselves, and nothing else does when it is time.
func TestScrubFlags(t *testing.T) {
	s := newStage(t)
	clk := &steady{}
	clk.now.Store(int64(time.Hour))
	st := store.NewSim(store.SimOptions{})
	defer st.Close()
	o := options(st, s)
	o.Clock, o.ScrubEvery, o.Lease = clk, time.Hour, time.Nanosecond // the test says when it is planned
	d := start(t, o)
	state := func() pg.ScrubState {
		t.Helper()
		plans := d.scrubs.collect()
		if len(plans) != 1 {
			t.Fatalf("%d PGs are led, want 1", len(plans))
		}
		return plans[0].st
	}
	eventually(t, "the PG serves", func() bool {
		clk.now.Add(int64(10 * time.Millisecond))
		return len(d.scrubs.collect()) == 1 && state().Ready
	})
	d.scrubs.plan()
	eventually(t, "the PG is noted", func() bool { return state().Since > 0 })
	clk.now.Add(int64(8 * 24 * time.Hour)) // it is time for both
	for _, flags := range []placement.Flags{placement.FlagNoScrub, placement.FlagNoScrub | placement.FlagNoDeepScrub} {
		e := s.edit(func(m *placement.Map) { m.Flags = flags }).Epoch
		eventually(t, "the map is acted on", func() bool { return d.epoch.Load() == uint64(e) })
		d.scrubs.plan()
		if st := state(); st.Running || st.Last > 0 {
			t.Fatalf("flags %v: %+v", flags.FlagNames(), st)
		}
	}
	e := s.edit(func(m *placement.Map) { m.Flags = placement.FlagNoDeepScrub }).Epoch
	eventually(t, "the map is acted on", func() bool { return d.epoch.Load() == uint64(e) })
	d.scrubs.plan()
	eventually(t, "a light scrub ends", func() bool { return state().Last > 0 })
	if st := state(); st.LastDeep > 0 {
		t.Fatalf("nodeep-scrub: %+v", st)
	}
	d.scrubs.ask(placement.PGID{Pool: 1}, pg.ScrubEvent{Deep: true}) // an administrator may
	d.scrubs.plan()
	eventually(t, "a deep scrub ends", func() bool { return state().LastDeep > 0 })
}
