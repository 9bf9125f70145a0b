package core

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random test; 0: a new one")

func testMap() *placement.Map {
	return &placement.Map{
		Epoch: 5,
		OSDs: []placement.OSD{
			{ID: 0, Incarnation: 1, Addr: "127.0.0.1:1", Up: true}, {ID: 1, Addr: "127.0.0.1:2"}, {ID: 2, Addr: "127.0.0.1:3"},
		},
		Pools: []placement.Pool{{ID: 1, Name: "p", Size: 2, MinSize: 1, PGNum: 5}},
		PGs: []placement.PoolPGs{{Pool: 1, Records: []placement.PGRecord{
			{Term: 3, Primary: 0, InSync: []placement.OSDID{0, 1}, Created: true},
			{Term: 3, Primary: placement.NoOSD, InSync: []placement.OSDID{1, 2}, Created: true},
			{Term: 3, Primary: placement.NoOSD, InSync: []placement.OSDID{0, 1}, Created: true},
			{Primary: placement.NoOSD},
			{Term: 1, Primary: placement.NoOSD, InSync: []placement.OSDID{0}},
		}}},
	}
}

func TestRoute(t *testing.T) {
	for _, tt := range []struct {
		shard  uint32
		change func(*placement.Map)
		want   obstacle
		text   string
	}{
		{0, nil, nothing, ""},
		{0, func(m *placement.Map) { m.Flags = placement.FlagPause }, paused, "the cluster is paused: client reads and writes wait until the pause flag is cleared"},
		{0, func(m *placement.Map) { m.Pools = nil }, poolGone, ""},
		{0, func(m *placement.Map) { m.OSDs[0].Up = false }, noPrimary, "pg 1.0: no primary: in-sync osds 0,1 are down"},
		{0, func(m *placement.Map) { m.OSDs[0].Addr = "" }, noPrimary, "pg 1.0: no primary: in-sync osd 1 is down"},
		{1, nil, noPrimary, "pg 1.1: no primary: in-sync osds 1,2 are down"},
		{2, nil, noPrimary, "pg 1.2: no primary: in-sync osd 1 is down"},
		{3, nil, noPrimary, "pg 1.3: no primary yet: no OSD has created it; are enough OSDs up?"},
		{4, nil, noPrimary, "pg 1.4: no primary yet"},
		{9, nil, noPrimary, "pg 1.9: no record in the cluster map of epoch 5"},
	} {
		m := testMap()
		if tt.change != nil {
			tt.change(m)
		}
		got, met := route(m, &Op{Pool: 1, OnePG: true, Shard: tt.shard})
		if met != tt.want {
			t.Errorf("shard %d: got obstacle %d, want %d", tt.shard, met, tt.want)
		}
		if text := explain(m, got, met); text != tt.text {
			t.Errorf("shard %d: got %q, want %q", tt.shard, text, tt.text)
		}
		if want := (target{pg: placement.PGID{Pool: 1}, osd: 0, term: 3, incarnation: 1, addr: "127.0.0.1:1"}); met == nothing && got != want {
			t.Errorf("got target %+v, want %+v", got, want)
		}
	}
}

func TestRetryBudget(t *testing.T) {
	b := budget{tokens: retryBurst}
	now := clock.Mono(1000 * time.Second)
	for i := range retryBurst {
		if d := b.take(now); d != 0 {
			t.Fatalf("retry %d waits %v", i, d)
		}
	}
	for i := range 10 {
		if got, want := b.take(now), time.Duration(i+1)*time.Second/retryRate; got.Round(time.Microsecond) != want {
			t.Errorf("retry %d over the burst waits %v, want %v", i, got, want)
		}
	}
	if d := b.take(now.Add(time.Second)); d != 0 {
		t.Errorf("a second later a retry waits %v", d)
	}
}

func TestJitter(t *testing.T) {
	const d = 10 * time.Millisecond
	seen := map[time.Duration]bool{}
	for client := range uint64(10) {
		for op := range uint64(10) {
			for attempt := range uint64(10) {
				j := jitter(d, client, op, attempt)
				if j < d/2 || j > d {
					t.Fatalf("got %v, want between %v and %v", j, d/2, d)
				}
				seen[j.Round(100*time.Microsecond)] = true
			}
		}
	}
	if len(seen) < 50 {
		t.Errorf("only %d of 51 values", len(seen))
	}
}

// walk is a random life of a core: operations come, maps change, OSDs answer
// anything or nothing. It returns what happened, one line for each step.
func walk(t *testing.T, seed uint64) (trace []string) {
	rng := rand.New(rand.NewPCG(seed, 0))
	cfg := Config{Client: 1, AttemptTimeout: time.Second, MaxOps: 5, MaxBytes: 100, MaxWaiting: 10}
	c := New(cfg)
	m := testMap()
	now := clock.Mono(time.Second)
	type sent struct{ id, attempt uint64 }
	var under []sent
	var wake clock.Mono
	open := map[uint64]clock.Mono{} // deadline
	last := map[uint64]uint64{}     // attempt
	var id uint64
	step := func(ev Event) {
		fx := c.Step(now, ev)
		trace = append(trace, fmt.Sprintf("%d %T %+v", now, ev, fx))
		for _, s := range fx.Send {
			if _, ok := open[s.ID]; !ok {
				t.Fatalf("seed %d: operation %d is sent after its end", seed, s.ID)
			}
			if s.Attempt <= last[s.ID] {
				t.Fatalf("seed %d: attempt %d of operation %d after %d", seed, s.Attempt, s.ID, last[s.ID])
			}
			if (s.Age == 0) != (s.Attempt == 1) {
				t.Fatalf("seed %d: attempt %d has age %v", seed, s.Attempt, s.Age)
			}
			last[s.ID] = s.Attempt
			under = append(under, sent{s.ID, s.Attempt})
		}
		for _, d := range fx.Done {
			if _, ok := open[d.ID]; !ok {
				t.Fatalf("seed %d: operation %d ended twice", seed, d.ID)
			}
			delete(open, d.ID)
		}
		wake = fx.Wake
		ops, bytes, waiting := c.Load()
		if int64(ops) > cfg.MaxOps || bytes > cfg.MaxBytes || waiting > cfg.MaxWaiting || ops+waiting != len(open) {
			t.Fatalf("seed %d: %d operations of %d bytes under way, %d waiting, %d open", seed, ops, bytes, waiting, len(open))
		}
		if (wake == 0) != (len(open) == 0) || wake != 0 && wake <= now {
			t.Fatalf("seed %d: wakes at %d, now %d, %d operations open", seed, wake, now, len(open))
		}
		for o, deadline := range open {
			if deadline <= now {
				t.Fatalf("seed %d: operation %d lives beyond its deadline", seed, o)
			}
		}
	}
	step(MapEvent{Map: m})
	for range 400 {
		switch rng.IntN(8) {
		case 0, 1, 2:
			id++
			op := Op{
				ID: id, Pool: 1, OnePG: true, Shard: rng.Uint32N(5), Write: rng.IntN(2) == 0, Bytes: rng.Int64N(150),
				Deadline: now.Add(time.Millisecond + time.Duration(rng.Int64N(int64(5*time.Second)))),
			}
			open[id] = op.Deadline
			step(SubmitEvent{Op: op})
		case 3:
			m = m.Clone()
			m.Epoch++
			m.OSDs[rng.IntN(3)].Up = rng.IntN(3) > 0
			r := &m.PGs[0].Records[rng.IntN(5)]
			r.Term, r.Version, r.Primary = r.Term+1, m.Epoch, placement.OSDID(rng.IntN(4)-1)
			m.Flags = 0
			if rng.IntN(10) == 0 {
				m.Flags = placement.FlagPause
			}
			step(MapEvent{Map: m})
		case 4, 5:
			if len(under) == 0 {
				continue
			}
			s := under[rng.IntN(len(under))]
			codes := []wirepb.Code{wirepb.Code_OK, wirepb.Code_TRY_LATER, wirepb.Code_WRONG_PRIMARY, wirepb.Code_NOT_FOUND, wirepb.Code_STALE_TERM, wirepb.Code_TIMED_OUT, 99}
			step(AnswerEvent{ID: s.id, Attempt: s.attempt, Code: codes[rng.IntN(len(codes))], Epoch: placement.Epoch(rng.IntN(20)), Body: rng.IntN(2) == 0})
		case 6:
			if len(under) > 0 {
				s := under[rng.IntN(len(under))]
				step(LostEvent{ID: s.id, Attempt: s.attempt, Sent: true, Err: fmt.Errorf("lost")})
			}
			if rng.IntN(4) == 0 && id > 0 {
				step(CancelEvent{ID: 1 + rng.Uint64N(id)})
			}
		case 7:
			end := now.Add(time.Duration(rng.Int64N(int64(time.Second))))
			for wake != 0 && wake <= end {
				now = wake
				step(TickEvent{})
			}
			now = end
		}
	}
	for wake != 0 {
		now = wake
		step(TickEvent{})
	}
	return trace
}

func TestRandomLives(t *testing.T) {
	first, n := *seedFlag, 300
	if first == 0 {
		first = rand.Uint64N(1 << 40)
	} else {
		n = 1
	}
	t.Logf("seeds from %d: go test ./client/core -run TestRandomLives -seed %d", first, first)
	for i := range uint64(n) {
		walk(t, first+i)
	}
	if a, b := walk(t, first), walk(t, first); !reflect.DeepEqual(a, b) {
		t.Errorf("seed %d: two lives with the same events differ", first)
	}
}
