package osd

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/clock"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
	"github.com/cairnstore/cairn/placement/crush"
)

// wide makes the stage's cluster one of 8 OSDs on 4 hosts, of which only osd.0 is real.
func wide(t *testing.T, s *stage) {
	t.Helper()
	s.edit(func(m *placement.Map) {
		m.Crush = m.Crush.Clone() // others read the one before
		for id := 1; id < 8; id++ {
			host := []string{"h", "i", "j", "k"}[id%4]
			if err := m.Crush.AddDevice(id, "ssd", crush.WeightOne, crush.Location{"root": crush.DefaultRoot, "host": host}); err != nil {
				t.Fatal(err)
			}
			m.OSDs = append(m.OSDs, placement.OSD{ID: placement.OSDID(id), Class: "ssd", Weight: placement.WeightOne, Up: true, Incarnation: 1,
				Addr: fmt.Sprintf("127.0.0.1:%d", id), Capacity: 1 << 40})
		}
		m.NextOSD = 8
		if _, err := m.Crush.AddSimpleRule("apart", crush.DefaultRoot, "", "host", crush.FirstN); err != nil {
			t.Fatal(err)
		}
		r, _ := m.Crush.RuleByName("apart")
		m.Pools[0].Rule = int32(r.ID)
		m.Pools[0].Chunks.Redundancy = placement.Redundancy{Codec: placement.ReedSolomon, K: 4, M: 2} // rows have all of them
	})
}

func place(t *testing.T, c *wire.Conn, p *wirepb.ChunkPlace) ([]int32, error) {
	t.Helper()
	p.Pool = max(p.Pool, 1)
	r, err := ask(t, c, &wirepb.Header{Body: &wirepb.Header_ChunkPlace{ChunkPlace: p}}, nil)
	if err != nil {
		return nil, err
	}
	return r.Header.GetChunkPlaced().Osds, nil
}

// The primary of a PG names OSDs in different hosts, none of those to be avoided, and rather none of the same host as one
// of these; others refuse.
func TestChunkPlace(t *testing.T) {
	st := store.NewSim(store.SimOptions{})
	defer st.Close()
	s := newStage(t)
	d := start(t, options(st, s))
	c := dialOSD(t, d)
	wide(t, s)
	for range 50 {
		got, err := place(t, c, &wirepb.ChunkPlace{Count: 4})
		if err != nil {
			t.Fatal(err)
		}
		hosts := map[int32]bool{}
		for _, o := range got {
			hosts[o%4] = true
		}
		if len(got) != 4 || len(hosts) != 4 {
			t.Fatalf("places %v", got)
		}
		got, err = place(t, c, &wirepb.ChunkPlace{Count: 2, Avoid: []int32{1, 2}})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 || got[0]%4 == got[1]%4 || got[0]%4 == 1 || got[0]%4 == 2 || got[1]%4 == 1 || got[1]%4 == 2 {
			t.Fatalf("places %v on the hosts of osd.1 and osd.2", got)
		}
		if got, err = place(t, c, &wirepb.ChunkPlace{Count: 8, Avoid: []int32{1, 2, 77, -3}}); err != nil || len(got) != 6 {
			t.Fatalf("all but two: %v, %v", got, err)
		}
		for _, o := range got {
			if o == 1 || o == 2 {
				t.Fatalf("places %v with one to be avoided", got)
			}
		}
	}
	for n, p := range map[string]*wirepb.ChunkPlace{"none": {}, "too many": {Count: 1 << 30}, "much to avoid": {Count: 1, Avoid: make([]int32, 1000)}} {
		_, err := place(t, c, p)
		wantCode(t, n, err, wirepb.Code_INVALID)
	}
	for _, p := range []*wirepb.ChunkPlace{{Count: 1, Pool: 9}, {Count: 1, Shard: 9}} {
		_, err := place(t, c, p)
		wantCode(t, "no such PG", err, wirepb.Code_NOT_FOUND)
	}
	s.edit(func(m *placement.Map) {
		r := &m.PGs[0].Records[0]
		r.Term, r.Version, r.Primary = r.Term+1, m.Epoch, 1
	})
	eventually(t, "it no longer leads", func() bool {
		_, err := place(t, c, &wirepb.ChunkPlace{Count: 1})
		return wire.CodeOf(err) == wirepb.Code_WRONG_PRIMARY
	})
}

// Who replaces a shard gets a member of the row, while there is one: what lies elsewhere is moved back, and would be moved
// for ever if each move were to anywhere.
func TestChunkPlaceInTheRow(t *testing.T) {
	st := store.NewSim(store.SimOptions{})
	defer st.Close()
	s := newStage(t)
	d := start(t, options(st, s))
	c := dialOSD(t, d)
	wide(t, s)
	var row []int32
	s.edit(func(m *placement.Map) {
		m.Crush = m.Crush.Clone()
		if _, err := m.Crush.AddSimpleRule("each", crush.DefaultRoot, "", "osd", crush.FirstN); err != nil {
			t.Fatal(err)
		}
		r, _ := m.Crush.RuleByName("each")
		m.Pools[0].Rule = int32(r.ID)
		m.Pools[0].Chunks.Redundancy = placement.Redundancy{Codec: placement.XOR, K: 2, M: 1} // rows have six of the eight
		for _, x := range placement.NewTable(m).ChunkCandidates(placement.PGID{Pool: 1}, 3) {
			row = append(row, int32(x.ID))
		}
	})
	if len(row) != 6 {
		t.Fatalf("the row is %v", row)
	}
	eventually(t, "the OSD has that map", func() bool {
		got, err := place(t, c, &wirepb.ChunkPlace{Count: 6})
		return err == nil && len(got) == 6 && !slices.ContainsFunc(got, func(o int32) bool { return !slices.Contains(row, o) })
	})
	for range 50 {
		got, err := place(t, c, &wirepb.ChunkPlace{Count: 3, Avoid: row[:3]}) // a repair
		if err != nil || len(got) != 3 || slices.ContainsFunc(got, func(o int32) bool { return !slices.Contains(row[3:], o) }) {
			t.Fatalf("with %v avoided of the row %v: %v, %v", row[:3], row, got, err)
		}
		got, err = place(t, c, &wirepb.ChunkPlace{Count: 1, Avoid: row[:5]}) // a write, of whose holders some are in trouble
		if err != nil || len(got) != 1 || got[0] != row[5] {
			t.Fatalf("with %v avoided of the row %v: %v, %v", row[:5], row, got, err)
		}
		if got, err = place(t, c, &wirepb.ChunkPlace{Count: 3, Avoid: row[1:]}); err != nil || len(got) != 3 || got[0] != row[0] {
			t.Fatalf("with %v avoided of the row %v: %v, %v; want three, the one of the row first", row[1:], row, got, err)
		}
	}
}

// Who says that it is full gets nothing, who is slow or does not answer gets little.
func TestChunkPlaceLoads(t *testing.T) {
	st := store.NewSim(store.SimOptions{Capacity: 1 << 40})
	defer st.Close()
	s := newStage(t)
	o := options(st, s)
	clk := &steady{}
	clk.now.Store(1e9)
	o.Clock = clk
	d := start(t, o)
	c := dialOSD(t, d)
	wide(t, s)
	count := func() (n [8]int) {
		t.Helper()
		for range 300 {
			got, err := place(t, c, &wirepb.ChunkPlace{Count: 1})
			if err != nil || len(got) != 1 {
				t.Fatalf("%v, %v", got, err)
			}
			n[got[0]]++
		}
		return n
	}
	say := func(id placement.OSDID, hb *wirepb.HeartbeatReply) {
		hb.FreeBytes = st.Usage().Available
		d.loads.heard(d.clk.Mono(), id, hb)
	}
	for id := range placement.OSDID(8) {
		say(id, &wirepb.HeartbeatReply{BusyUs: 1000})
	}
	for id, k := range count() {
		if k < 10 {
			t.Fatalf("osd.%d gets %d of 300 with nothing wrong", id, k)
		}
	}
	say(1, &wirepb.HeartbeatReply{Full: uint32(placement.Full)})
	say(2, &wirepb.HeartbeatReply{BusyUs: 20_000})
	if n := count(); n[1] > 0 || n[2] > 5 || n[3] < 15 {
		t.Fatalf("full osd.1, slow osd.2: %v", n)
	}
	clk.now.Add(int64(10 * time.Second))
	for id := range placement.OSDID(8) {
		if id != 3 {
			say(id, &wirepb.HeartbeatReply{BusyUs: 1000})
		}
	}
	if n := count(); n[1] < 15 || n[2] < 15 || n[3] > 15 {
		t.Fatalf("osd.3 is silent: %v", n)
	}
	s.edit(func(m *placement.Map) { m.OSDs[3].Up = false })
	eventually(t, "nothing goes to one that is down", func() bool { _, known := d.loadOf(3); return !known })
	if n := count(); n[3] > 0 {
		t.Fatalf("osd.3 is down: %v", n)
	}
}

// busy shows within two seconds that writes take longer, or no longer, forgets in silence, and knows of a device that does not answer.
func TestBusy(t *testing.T) {
	var b busy
	now := clock.Mono(time.Second)
	run := func(writes int, took time.Duration, bytes int64, long time.Duration) (v time.Duration) {
		for end := now.Add(long); now < end; now = now.Add(100 * time.Millisecond) {
			for range writes {
				b.wrote(took, bytes)
			}
			v = b.now(now, 0)
		}
		return v
	}
	const ms = time.Millisecond
	if v := run(10, ms, 4096, time.Second); v < ms*9/10 || v > ms*11/10 {
		t.Fatalf("%v for writes of 1 ms", v)
	}
	if v := run(10, 100*ms, 4096, 2*time.Second); v < 80*ms || v > 100*ms {
		t.Fatalf("%v two seconds after writes began to take 100 ms", v)
	}
	if v := run(10, ms, 4096, 2*time.Second); v > 10*ms {
		t.Fatalf("%v two seconds after writes take 1 ms again", v)
	}
	if v := run(10, 9*ms, 8*busyUnit, 4*time.Second); v > 2*ms {
		t.Fatalf("%v for large writes: they count by the %d bytes", v, busyUnit)
	}
	run(1, 100*ms, 0, 2*time.Second)
	if v := run(0, 0, 0, time.Second); v < 50*ms {
		t.Fatalf("%v after a second without writes", v)
	}
	if v := run(0, 0, 0, 30*time.Second); v > 2*ms {
		t.Fatalf("%v after half a minute without writes", v)
	}
	if v := b.now(now, time.Second); v != time.Second {
		t.Fatalf("%v while the device has not answered for a second", v)
	}
}
