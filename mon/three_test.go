package mon

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

func TestLeaderLoss(t *testing.T) {
	c := startCluster(t, 3, nil)
	f := c.follower()
	cl := dial(t, f.mon.Addr, "client.test") // everything here goes through a follower
	cl.subscribe(0)
	osds := cl.osds(3)
	id, err := f.PoolCreate(c.ctx(), api.PoolSpec{Name: "p"})
	if err != nil {
		t.Fatal(err)
	}
	before := cl.waitMap("the pool", func(m *placement.Map) bool { return m.Pool(id) != nil })

	old := c.leader()
	at := time.Now()
	c.stop(old.mon.Name)
	delete(c.mons, old.mon.Name)
	err = f.OSDReweight(c.ctx(), osds[0].id, 0)
	for errors.Is(err, errUnknownOutcome) { // it reached the leader as that went: nobody can say, so ask again
		err = f.OSDReweight(c.ctx(), osds[0].id, 0)
	}
	if err != nil {
		t.Fatalf("change after the leader is gone: %v", err)
	}
	t.Logf("leader stopped to next change committed: %v", time.Since(at))
	after := cl.waitMap("osd.0 out", func(m *placement.Map) bool { return !m.OSD(osds[0].id).In() })
	if after.Cluster != before.Cluster || after.Epoch <= before.Epoch {
		t.Fatalf("map after: cluster %v epoch %d, before: %v %d", after.Cluster, after.Epoch, before.Cluster, before.Epoch)
	}

	// Another monitor takes over a subscriber without sending it a whole map.
	for _, n := range c.mons {
		if n == f {
			continue
		}
		if err := n.WaitEpoch(c.ctx(), after.Epoch); err != nil {
			t.Fatal(err)
		}
		cl2 := dial(t, n.mon.Addr, "client.test")
		cl2.m = before
		cl2.subscribe(before.Epoch)
		got := cl2.waitMap("the newest epoch", func(m *placement.Map) bool { return m.Epoch >= after.Epoch })
		if cl2.fulls != 0 || cl2.deltas == 0 {
			t.Fatalf("the other monitor sent %d whole maps and %d deltas", cl2.fulls, cl2.deltas)
		}
		if got.Epoch == after.Epoch && got.Checksum() != after.Checksum() {
			t.Fatal("two monitors have different maps of one epoch")
		}
	}

	// The old leader comes back and catches up.
	c.mons[old.mon.Name] = old
	back := c.restart(old.mon.Name)
	if err := back.WaitEpoch(c.ctx(), after.Epoch); err != nil {
		t.Fatalf("the restarted monitor does not catch up: %v", err)
	}
}

func TestGracefulStopHandsOver(t *testing.T) {
	c := startCluster(t, 3, nil)
	old := c.leader()
	f := c.follower()
	at := time.Now()
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	delete(c.mons, old.mon.Name)
	if err := f.FlagSet(c.ctx(), placement.FlagNoOut, true); err != nil {
		t.Fatal(err)
	}
	t.Logf("leader closed to next change committed: %v", time.Since(at))
}

func TestNoQuorum(t *testing.T) {
	c := startCluster(t, 3, func(o *Options) { o.ProposeTimeout = time.Second })
	lead := c.leader()
	var left *node
	for name, n := range c.mons {
		if n != lead && left == nil {
			left = n
			continue
		}
		c.stop(name)
		delete(c.mons, name)
	}
	err := left.FlagSet(c.ctx(), placement.FlagPause, true)
	wantErr(t, err, api.ErrNoQuorum)
	cl := dial(t, left.mon.Addr, "osd.9")
	_, err = cl.call(&wirepb.Header{Body: &wirepb.Header_OsdRegister{OsdRegister: &wirepb.OSDRegister{
		Store: make([]byte, 16), Class: "ssd", Location: location("h"), Capacity: 1,
	}}})
	if wire.CodeOf(err) != wirepb.Code_TRY_LATER {
		t.Fatalf("register without a quorum: %v, want TRY_LATER", err)
	}
	// The map can still be read.
	cl.subscribe(0)
	cl.waitMap("a cluster", func(m *placement.Map) bool { return !m.Cluster.IsZero() })
	if q := left.Quorum(); q.Self != left.mon.Name || len(q.Members) != 3 {
		t.Fatalf("quorum: %+v", q)
	}
}

func TestJoin(t *testing.T) {
	c := startCluster(t, 3, nil)
	f := c.follower()
	if err := f.FlagSet(c.ctx(), placement.FlagNoOut, true); err != nil {
		t.Fatal(err)
	}
	o := c.options("d", t.TempDir())
	o.Addr, o.RaftAddr, o.Join = "127.0.0.1:0", "127.0.0.1:0", []string{f.mon.Addr}
	d := c.start(o)
	c.waitReady(d)
	c.poll("d in everybody's map", func() bool {
		for _, n := range c.mons {
			if !listed(n.Map(), "d") {
				return false
			}
		}
		return true
	})
	if d.Map().Flags != placement.FlagNoOut {
		t.Fatalf("flags at d: %v", d.Map().Flags)
	}
	// It takes changes, and it votes: with two of the first three gone, the other two
	// of four are no majority, but after one is removed for good they are.
	if err := d.FlagSet(c.ctx(), placement.FlagPause, true); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		n := c.mons[name]
		if err := d.MonRemove(c.ctx(), name); err != nil {
			t.Fatalf("remove %s: %v", name, err)
		}
		select {
		case <-n.Done():
			wantErr(t, n.Err(), ErrRemoved)
		case <-time.After(patience):
			t.Fatalf("the removed monitor %s does not end", name)
		}
		delete(c.mons, name)
	}
	if err := d.FlagSet(c.ctx(), placement.FlagPause, false); err != nil {
		t.Fatal(err)
	}
	c.stop("d")
	d = c.restart("d")
	c.leader()
	if err := d.FlagSet(c.ctx(), placement.FlagPause, true); err != nil {
		t.Fatal(err)
	}
	if got := len(d.Quorum().Members); got != 2 {
		t.Fatalf("%d members, want 2: %+v", got, d.Quorum())
	}
}

// A monitor that has lost its disk comes back under its name, with the options
// of its first start.
func TestLostDisk(t *testing.T) {
	c := startCluster(t, 3, nil)
	lost := c.follower()
	name := lost.mon.Name
	initial := lost.o.Initial
	c.stop(name)
	delete(c.mons, name)
	if err := c.leader().FlagSet(c.ctx(), placement.FlagNoOut, true); err != nil {
		t.Fatal(err)
	}
	o := c.options(name, t.TempDir())
	o.Addr, o.RaftAddr, o.Initial = lost.mon.Addr, lost.mon.RaftAddr, initial
	n := c.start(o)
	c.waitReady(n)
	if err := n.WaitEpoch(c.ctx(), c.leader().Map().Epoch); err != nil {
		t.Fatal(err)
	}
	c.poll("three voters", func() bool {
		in := 0
		for _, q := range c.leader().Quorum().Members {
			if q.InQuorum {
				in++
			}
		}
		return in == 3
	})
}

func TestMovedAddress(t *testing.T) {
	c := startCluster(t, 3, nil)
	f := c.follower()
	c.stop(f.mon.Name)
	o := c.options(f.mon.Name, f.dir)
	o.Addr, o.RaftAddr = "127.0.0.1:0", "127.0.0.1:0"
	n := c.start(o)
	c.waitReady(n)
	c.poll("the new addresses in the leader's map", func() bool {
		for _, m := range c.leader().Map().Mons {
			if m == n.mon {
				return true
			}
		}
		return false
	})
	if err := n.FlagSet(c.ctx(), placement.FlagNoOut, true); err != nil {
		t.Fatal(err)
	}
}

func TestManyPGChanges(t *testing.T) {
	for _, mons := range []int{1, 3} {
		c := startCluster(t, mons, nil)
		lead := c.leader()
		cl := dial(t, lead.mon.Addr, "osd.0")
		cl.osds(3)
		id, err := lead.PoolCreate(c.ctx(), api.PoolSpec{Name: "p", PGNum: 128})
		if err != nil {
			t.Fatal(err)
		}
		m := lead.Map()
		var wg sync.WaitGroup
		at := time.Now()
		for shard := range uint32(128) {
			pg := placement.PGID{Pool: id, Shard: shard}
			wg.Go(func() {
				e, err := cl.changePG(changeOf(pg, m.PG(pg)))
				if err != nil {
					t.Errorf("PG %v: %v", pg, err)
				}
				if r := lead.Map().PG(pg); r == nil || !r.Created || r.Version != e || lead.Map().Epoch < e {
					t.Errorf("PG %v: answered with epoch %d, record %+v", pg, e, r)
				}
			})
		}
		wg.Wait()
		t.Logf("%d monitors: 128 changes at once: %v", mons, time.Since(at))
	}
}

// Of many proposals based on one version of a record exactly one wins.
func TestPGChangeRace(t *testing.T) {
	c := startCluster(t, 3, nil)
	f := c.follower()
	cl := dial(t, f.mon.Addr, "osd.0")
	osds := cl.osds(4)
	id, err := f.PoolCreate(c.ctx(), api.PoolSpec{Name: "p", PGNum: 1, MinSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	pg := placement.PGID{Pool: id}
	base := f.Map().PG(pg)
	if e, err := cl.changePG(changeOf(pg, base)); err != nil {
		t.Fatal(err)
	} else if err := f.WaitEpoch(c.ctx(), e); err != nil {
		t.Fatal(err)
	}
	base = f.Map().PG(pg)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 16 {
		ch := changeOf(pg, base)
		ch.Primary = base.InSync[i%len(base.InSync)]
		if i%2 == 0 {
			ch.InSync = []placement.OSDID{ch.Primary}
		} else {
			ch.InSync = append(append([]placement.OSDID(nil), base.InSync...), outsider(osds, base))
		}
		wg.Go(func() {
			_, err := cl.changePG(ch)
			switch wire.CodeOf(err) {
			case wirepb.Code_OK:
				mu.Lock()
				won++
				mu.Unlock()
			case wirepb.Code_CONFLICT:
			default:
				t.Errorf("change: %v", err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Fatalf("%d proposals won, want 1", won)
	}
}

func outsider(osds []*testOSD, r *placement.PGRecord) placement.OSDID {
	for _, o := range osds {
		if !r.Has(o.id) {
			return o.id
		}
	}
	return placement.NoOSD
}

// The whole cluster is switched off and on.
func TestAllRestart(t *testing.T) {
	c := startCluster(t, 3, nil)
	if err := c.leader().FlagSet(c.ctx(), placement.FlagNoOut, true); err != nil {
		t.Fatal(err)
	}
	was := c.leader().Map()
	for name := range c.mons {
		c.stop(name)
	}
	for name := range c.mons {
		c.restart(name)
	}
	f := c.follower()
	if err := f.WaitEpoch(c.ctx(), was.Epoch); err != nil {
		t.Fatal(err)
	}
	if got := f.Map(); got.Cluster != was.Cluster || got.Flags != was.Flags {
		t.Fatalf("map after the restart: %+v, before: %+v", got, was)
	}
	if err := f.FlagSet(c.ctx(), placement.FlagNoOut, false); err != nil {
		t.Fatal(err)
	}
}

// TestNewestMapEverywhere: who asks any monitor for the newest map finds the change that the leader has just answered for.
func TestNewestMapEverywhere(t *testing.T) {
	c := startCluster(t, 3, nil)
	cl := dial(t, c.follower().mon.Addr, "client.test")
	osds := cl.osds(3)
	for i := range 20 {
		if err := c.leader().OSDReweight(c.ctx(), osds[0].id, uint32(1000+i)); err != nil {
			t.Fatal(err)
		}
		want := uint64(c.leader().Map().Epoch)
		r, err := cl.Conn.Call(c.ctx(), &wire.Message{Header: &wirepb.Header{Body: &wirepb.Header_MonGetMap{MonGetMap: &wirepb.MonGetMap{}}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Header.GetMapUpdate().GetTo(); got < want {
			t.Fatalf("follower answered with epoch %d after the leader had answered for %d", got, want)
		}
	}
}
