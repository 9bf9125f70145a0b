package mon

import (
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/mon/fsm"
	"github.com/cairnstore/cairn/placement"
)

// growRig is a watchRig with a pool, whose PGs osd.0 leads.
type growRig struct {
	*watchRig
	state func(shard uint32) string
	stat  func(*wirepb.PGStat)
}

func newGrowRig(t *testing.T, osds int, pgs uint32) *growRig {
	r := &growRig{watchRig: newWatchRig(t, osds), state: func(uint32) string { return "active+clean" }, stat: func(*wirepb.PGStat) {}}
	r.m.Pools = []placement.Pool{{ID: 1, Name: "p", Size: 3, MinSize: 2, PGNum: pgs, PGNumTarget: pgs, FirstPGNum: pgs, Flags: placement.PoolNoAutoscale}}
	r.m.PGs = []placement.PoolPGs{{Pool: 1, Records: make([]placement.PGRecord, pgs)}}
	for i := range r.m.PGs[0].Records {
		r.m.PGs[0].Records[i] = placement.PGRecord{Term: 4, InSync: []placement.OSDID{0}, Created: true}
	}
	return r
}

func (r *growRig) pool() *placement.Pool { return &r.m.Pools[0] }

// report lets osd.0 report its PGs.
func (r *growRig) report() {
	rep := &wirepb.OSDReport{Id: 0, Incarnation: 5}
	for shard, rec := range r.m.PGs[0].Records {
		st := &wirepb.PGStat{Pool: 1, Shard: uint32(shard), Term: uint32(rec.Term), State: r.state(uint32(shard)), Objects: 100}
		r.stat(st)
		rep.Pgs = append(rep.Pgs, st)
	}
	r.w.report(r.now, r.m, rep)
}

// wantStep checks which number of PGs the leader proposes; 0: none.
func (r *growRig) wantStep(want uint32) {
	r.t.Helper()
	r.report()
	var got uint32
	for _, b := range r.w.grow(r.now, r.m) {
		if s, ok := b.(*fsm.PoolSplit); ok {
			if s.Pool != 1 || s.From != r.pool().PGNum {
				r.t.Fatalf("proposed %+v", s)
			}
			got = s.To
		}
	}
	if got != want {
		r.t.Fatalf("the pool is to have %d PGs next, want %d", got, want)
	}
}

// A pool gets its PGs a few at a time, and only while it is well.
func TestGrowBySteps(t *testing.T) {
	r := newGrowRig(t, 3, 8)
	r.wantStep(0)
	r.pool().PGNumTarget = 32
	r.wantStep(10)
	r.pool().PGNumTarget = 9
	r.wantStep(9)
	r.pool().PGNumTarget = 32

	r.state = func(shard uint32) string {
		if shard == 1 {
			return "active+undersized+degraded"
		}
		return "active+clean+scrubbing"
	}
	r.wantStep(0) // 1 is to split
	r.state = func(shard uint32) string {
		if shard == 5 {
			return "active+recovering"
		}
		return "active+clean"
	}
	r.wantStep(10) // 5 is not, and is active
	r.state = func(shard uint32) string {
		if shard == 5 {
			return "peering"
		}
		return "active+clean"
	}
	r.wantStep(0)
	r.state = func(uint32) string { return "active+clean" }
	r.stat = func(s *wirepb.PGStat) { s.Misplaced = 100 }
	r.wantStep(0)
	r.stat = func(s *wirepb.PGStat) { s.Misplaced = 10 }
	r.wantStep(10)
	r.stat = func(s *wirepb.PGStat) { s.Term-- } // a report of the former term
	r.wantStep(0)
	r.stat = func(*wirepb.PGStat) {}
	for _, f := range []placement.Flags{placement.FlagNoRebalance, placement.FlagNoBackfill, placement.FlagNoRecover} {
		r.m.Flags = f
		r.wantStep(0)
	}
	r.m.Flags = 0
	r.wantStep(10)
	r.m.PGs[0].Records[1].Forced = true
	r.wantStep(0)
	r.m.PGs[0].Records[1].Forced = false

	r = newGrowRig(t, 3, 1)
	r.pool().PGNumTarget = 2
	r.wantStep(2)
	r = newGrowRig(t, 3, 300)
	r.pool().PGNumTarget = 900
	r.wantStep(316)
}

// wantTarget lets time pass and checks which pg_num the leader chooses; "": none.
func (r *growRig) wantTarget(d time.Duration, want string) {
	r.t.Helper()
	got := ""
	for end := r.now.Add(d); ; r.now = r.now.Add(time.Second) {
		r.report()
		for _, b := range r.w.grow(r.now, r.m) {
			if s, ok := b.(*fsm.PoolSet); ok {
				got = s.Name + " " + s.Key + " " + s.Value
			}
		}
		if !r.now.Before(end) {
			break
		}
	}
	if got != want {
		r.t.Fatalf("chosen: %q, want %q", got, want)
	}
}

func TestAutoscale(t *testing.T) {
	r := newGrowRig(t, 3, 8) // 32 would be right
	r.wantTarget(10*time.Minute, "")
	r.pool().Flags = placement.PoolNoAutoscale | placement.PoolAutoscaleWarn
	r.wantTarget(10*time.Minute, "")
	r.pool().Flags = 0
	r.wantTarget(59*time.Second, "")
	r.wantTarget(2*time.Second, "p pg_num 32")
	r.pool().PGNumTarget = 32
	r.wantTarget(10*time.Minute, "")
	r.pool().PGNum, r.pool().PGNumTarget = 8, 17 // less than twice as many: not worth it
	r.wantTarget(10*time.Minute, "")
	r.pool().PGNumTarget = 16
	r.wantTarget(2*time.Minute, "p pg_num 32")

	// Out and draining OSDs do not count.
	r.m.OSDs[0].Weight, r.m.OSDs[1].Draining = 0, true
	r.pool().PGNumTarget = 8
	r.wantTarget(10*time.Minute, "")
	r.m.OSDs[0].Weight, r.m.OSDs[1].Draining = placement.WeightOne, false
	r.wantTarget(30*time.Second, "") // for a while only
	r.m.OSDs[0].Weight, r.m.OSDs[1].Weight = 0, 0
	r.wantTarget(30*time.Second, "")
	r.m.OSDs[0].Weight, r.m.OSDs[1].Weight = placement.WeightOne, placement.WeightOne
	r.wantTarget(59*time.Second, "")
	r.wantTarget(2*time.Second, "p pg_num 32")

	// A pool that holds nearly all data gets more, once its PGs are large.
	r.pool().PGNum, r.pool().PGNumTarget = 8, 32
	r.stat = func(s *wirepb.PGStat) { s.Bytes = 1 << 28 }
	r.wantTarget(10*time.Minute, "")
	r.stat = func(s *wirepb.PGStat) { s.Bytes = 1 << 31 }
	r.wantTarget(2*time.Minute, "p pg_num 128")
}
