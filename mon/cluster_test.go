package mon

import (
	"testing"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/placement"
)

func TestSingle(t *testing.T) {
	c := startCluster(t, 1, nil)
	a := c.mons["a"]
	cl := dial(t, a.mon.Addr, "osd.test")
	cl.subscribe(0)
	cl.osds(3)
	id, err := a.PoolCreate(c.ctx(), api.PoolSpec{Name: "p"})
	if err != nil {
		t.Fatal(err)
	}
	m := cl.waitMap("pool p", func(m *placement.Map) bool { return m.PoolByName("p") != nil })
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	if rec := m.PG(placement.PGID{Pool: id}); rec.Primary == placement.NoOSD || len(rec.InSync) != 3 || rec.Term != 1 {
		t.Fatalf("first record: %+v", rec)
	}

	c.stop("a")
	a = c.restart("a")
	c.leader()
	c.poll("the pool after the restart", func() bool { return a.Map().PoolByName("p") != nil })
	if got := a.Map().Cluster; got != m.Cluster {
		t.Fatalf("cluster after the restart %v, want %v", got, m.Cluster)
	}
}
