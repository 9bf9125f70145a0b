package testcluster_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/testcluster"
	"github.com/cairnstore/cairn/mon"
	"github.com/cairnstore/cairn/osd"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// handClock is a device's clock that goes on by a step whenever it is read: so an operation takes
// one step, however busy the machine is.
type handClock struct{ now, step atomic.Int64 }

func (c *handClock) read() time.Duration { return time.Duration(c.now.Add(c.step.Load())) }

// TestSlowDevice: a cluster that is slow as a whole names nobody. One OSD with a slow device is named,
// in map, health and `osd perf`'s figures, and leads no PG any more; of a pool with chunks it has no copies any more, since
// others stand in for it. When its device is well again, that is taken back.
func TestSlowDevice(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	const fast, slow, who = 100 * time.Microsecond, 80 * time.Millisecond, placement.OSDID(1)
	var clocks [5]handClock
	all := func(step time.Duration) {
		for i := range clocks {
			clocks[i].step.Store(int64(step))
		}
	}
	all(slow)
	c, _, pool := startPool(t, ctx, testcluster.Options{
		OSDs:      len(clocks),
		TuneStore: func(i int, o *store.Options) { o.Now = clocks[i].read },
		TuneOSD: func(o *osd.Options) {
			o.ReportEvery, o.DeviceWindow, o.PG.HomeAfter = 100*time.Millisecond, time.Second, 200*time.Millisecond
		},
		TuneMon: func(o *mon.Options) {
			o.TickEvery, o.SlowAfter, o.SlowClear = 50*time.Millisecond, time.Millisecond, time.Millisecond
		},
	}, api.PoolSpec{PGNum: 16})
	if _, err := c.Mon(0).PoolCreate(ctx, api.PoolSpec{Name: "chunks", PGNum: 8, Size: 2, MinSize: 1, Chunks: "2:1:xor"}); err != nil {
		t.Fatal(err)
	}
	clean(t, ctx, c, "with a second pool")
	// copies is how many PGs of the pool with chunks have the slow OSD in their set, and fewer members than they should have.
	copies := func(m *placement.Map) (its, short int) {
		for _, rec := range m.PGs[1].Records {
			if rec.Has(who) {
				its++
			}
			if len(rec.InSync) < 2 {
				short++
			}
		}
		return its, short
	}
	had, _ := copies(c.Mon(0).Map())
	if had == 0 {
		t.Fatalf("%s has none of the PGs", who)
	}
	cl, err := api.NewClient(api.ClientOptions{Addrs: c.AdminAddrs()})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()

	load, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for w := range 4 {
		wg.Go(func() { // until stop
			for i := 0; load.Err() == nil; i++ {
				if err := pool.WriteFull(load, fmt.Sprintf("o-%d-%d", w, i%64), []byte("device")); err != nil && load.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	// judged waits until every OSD has reported of its journal often enough to be named. ok says when
	// a report is of the kind that is waited for.
	judged := func(what string, ok func(id placement.OSDID, p50 time.Duration) bool) {
		t.Helper()
		seen := map[placement.OSDID]map[time.Time]bool{}
		if err := c.WaitMap(ctx, func(m *placement.Map) bool {
			for id, st := range c.Mon(0).Reports() {
				for _, d := range st.Report.GetDevice() {
					if d.GetOp() == 2 && d.GetCount() >= 40 && ok(id, time.Duration(d.GetP50Us())*time.Microsecond) {
						if seen[id] == nil {
							seen[id] = map[time.Time]bool{}
						}
						seen[id][st.At] = true
					}
				}
			}
			for i := range m.OSDs {
				if m.OSDs[i].Slow {
					t.Fatalf("%s: %s is slow in the map", what, m.OSDs[i].ID)
				}
				if len(seen[m.OSDs[i].ID]) < 6 {
					return false
				}
			}
			return true
		}); err != nil {
			t.Fatalf("%s: not enough reports: %v", what, err)
		}
	}
	judged("all are slow", func(_ placement.OSDID, p50 time.Duration) bool { return p50 >= slow })
	all(fast)
	judged("all are fast", func(_ placement.OSDID, p50 time.Duration) bool { return p50 < 10*fast })

	clocks[who].step.Store(int64(slow))
	if err := c.WaitMap(ctx, func(m *placement.Map) bool {
		led := 0
		for i := range m.OSDs {
			if o := &m.OSDs[i]; o.Slow && o.ID != who {
				t.Fatalf("%s is slow in the map, it is %s that is", o.ID, who)
			}
		}
		for _, rec := range m.PGs[0].Records {
			if rec.Primary == who {
				led++
			}
		}
		its, short := copies(m)
		if short > 0 {
			t.Fatalf("%d PGs have lost a copy to the move", short)
		}
		return m.OSD(who).Slow && led == 0 && its == 0
	}); err != nil {
		t.Fatalf("%s is not named, or leads PGs, or has copies that others should have: %v", who, err)
	}
	h, err := cl.Health(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if d := h.Checks["OSD_SLOW_DEVICE"]; d.Summary.Count != 1 || !strings.Contains(d.Detail[0].Message, "osd.1 (class hdd) is slow in ") || !strings.Contains(d.Detail[0].Message, "its 4 peers") {
		t.Errorf("health: %+v", h)
	}
	osds, err := cl.OSDs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if o := osds[who]; !o.Slow || len(o.Device.Latency) == 0 {
		t.Errorf("osd: %+v", o)
	}
	clocks[who].step.Store(int64(fast))
	table := placement.NewTable(c.Mon(0).Map())
	if err := c.WaitMap(ctx, func(m *placement.Map) bool {
		home := 0
		for i, rec := range m.PGs[0].Records {
			if target := table.Target(placement.PGID{Pool: m.PGs[0].Pool, Shard: uint32(i)}); target[0] == who && rec.Primary != who {
				home++
			}
		}
		its, _ := copies(m)
		return !m.OSD(who).Slow && home == 0 && its == had
	}); err != nil {
		t.Fatalf("%s is still slow, or its PGs have not come back: %v", who, err)
	}
}
