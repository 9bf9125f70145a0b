package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/api"
)

// tooLong is when a failover counts as one that hangs. Times decide nothing else:
// what is measured here is printed, and depends on the machine.
const tooLong = 30 * time.Second

// openPool makes a pool and returns a client's view of it.
func openPool(ctx context.Context, t *testing.T, c *Cluster, p api.PoolCreate) *client.Pool {
	t.Helper()
	if _, err := c.API.PoolCreate(ctx, p); err != nil {
		t.Fatal(err)
	}
	cl, err := c.Connect(ctx, "client.test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cl.Close(); err != nil {
			t.Errorf("close the client: %v", err)
		}
	})
	pool, err := cl.Pool(ctx, p.Name)
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

// leads counts the PGs that each OSD leads.
func leads(ctx context.Context, t *testing.T, c *Cluster) map[int]int {
	t.Helper()
	pgs, err := c.API.PGs(ctx, api.PGFilter{})
	if err != nil {
		t.Fatal(err)
	}
	n := map[int]int{}
	for _, pg := range pgs {
		n[pg.ActingPrimary]++
	}
	return n
}

// TestFailover measures how long PGs do not serve when their primary is killed
// under load, first an OSD and then an OSD together with the leading monitor.
func TestFailover(t *testing.T) {
	ctx := deadline(t, time.Hour)
	o, kills := Options{Mons: 3, OSDs: 3}, 3
	if testing.Short() {
		o, kills = Options{Mons: 1, OSDs: 3}, 1
	}
	c := startCluster(ctx, t, o)
	pool := openPool(ctx, t, c, api.PoolCreate{Name: "p"})
	stats := newStats()
	w := NewWorkload(Load{Seed: 1}, stats, pool)
	w.Begin(ctx)
	var all []time.Duration
	for i := range kills {
		if err := c.WaitClean(ctx); err != nil {
			t.Fatalf("%v\n%s", err, c.Diagnose(ctx))
		}
		n := leads(ctx, t, c)
		victim := c.OSDs[i%len(c.OSDs)]
		id, err := c.OSDID(ctx, i%len(c.OSDs))
		if err != nil {
			t.Fatal(err)
		}
		what := fmt.Sprintf("osd.%d, which led %d PGs", id, n[id])
		if o.Mons == 3 && i%3 == 2 {
			leader, err := c.WaitLeader(ctx)
			if err != nil {
				t.Fatal(err)
			}
			what += ", and the leading monitor"
			c.Mons[leader].Kill()
			victim.Kill()
			measure(ctx, t, c, what, &all)
			if err := c.Mons[leader].Start(); err != nil {
				t.Fatal(err)
			}
		} else {
			victim.Kill()
			measure(ctx, t, c, what, &all)
		}
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := c.WaitClean(ctx); err != nil {
			t.Fatalf("%v\n%s", err, c.Diagnose(ctx))
		}
		t.Logf("   clean again %s after its start", time.Since(began).Round(10*time.Millisecond))
	}
	w.Stop()
	if err := w.Verify(ctx, true); err != nil {
		t.Error(err)
	}
	slices.Sort(all)
	t.Logf("every PG of a killed primary serves reads and writes again after: median %s, longest %s (%d kills)",
		all[len(all)/2].Round(10*time.Millisecond), all[len(all)-1].Round(10*time.Millisecond), len(all))
	t.Logf("meanwhile:\n%s", stats)
}

func measure(ctx context.Context, t *testing.T, c *Cluster, what string, all *[]time.Duration) {
	t.Helper()
	took, err := c.WaitServing(ctx, "p")
	if err != nil {
		t.Fatalf("after the kill of %s: %v\n%s", what, err, c.Diagnose(ctx))
	}
	*all = append(*all, took)
	t.Logf("killed %s: every PG serves reads and writes after %s", what, took.Round(10*time.Millisecond))
	if took > tooLong {
		t.Errorf("failover took %s", took)
	}
}

// fill writes objects, many at a time, and returns what was written.
func fill(ctx context.Context, t *testing.T, pool *client.Pool, prefix string, n, size int) map[string]int {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	all := map[string]int{}
	rng := rand.New(rand.NewPCG(uint64(n), uint64(size)))
	next := make(chan string)
	for range 16 {
		wg.Go(func() { // until next is closed
			for name := range next {
				mu.Lock()
				bytes := rng.IntN(size + 1)
				all[name] = bytes
				mu.Unlock()
				if err := pool.WriteFull(ctx, name, value(name, 1, bytes)); err != nil {
					t.Errorf("write: %v", err)
				}
			}
		})
	}
	for i := range n {
		next <- prefix + strconv.Itoa(i)
	}
	close(next)
	wg.Wait()
	return all
}

// compare reads objects back.
func compare(ctx context.Context, t *testing.T, pool *client.Pool, when string, all map[string]int) {
	t.Helper()
	bad := 0
	for name, size := range all {
		got, err := pool.Read(ctx, name, 0, 0)
		if err != nil || string(got) != string(value(name, 1, size)) {
			if bad++; bad <= 5 {
				t.Errorf("%s: object %s: %d bytes, %v; want the %d that were written", when, name, len(got), err, size)
			}
		}
	}
	if bad > 0 {
		t.Errorf("%s: %d of %d objects are wrong", when, bad, len(all))
	}
}

// TestCatchUp: an OSD that was away learns what it missed, from the log when it
// missed little and by full comparison when it missed much, and then holds
// everything: the others are killed and all is read from it alone.
func TestCatchUp(t *testing.T) {
	if inShort(t) {
		return
	}
	ctx := deadline(t, 20*time.Minute)
	c := startCluster(ctx, t, Options{Mons: 1, OSDs: 3})
	for _, tc := range []struct {
		name   string
		pgs    uint32
		missed int
		prefix string
	}{
		{"from the log", 8, 200, "missed-"},
		{"by comparison", 1, 6000, "missed-" + strings.Repeat("x", 900) + "-"}, // more bytes of entries than a PG's log keeps
	} {
		t.Run(tc.name, func(t *testing.T) {
			// With min_size 1 a single OSD may serve what it surely has.
			pool := openPool(ctx, t, c, api.PoolCreate{Name: fmt.Sprintf("p%d", tc.pgs), Size: 3, MinSize: 1, PGNum: tc.pgs})
			all := fill(ctx, t, pool, "before-", 100, 100_000)
			if err := c.WaitClean(ctx); err != nil {
				t.Fatal(err)
			}
			away := c.OSDs[1]
			away.Kill()
			for name, size := range fill(ctx, t, pool, tc.prefix, tc.missed, 10_000) {
				all[name] = size
			}
			for i := range 20 { // what it has it may have to forget, too
				name := "before-" + strconv.Itoa(i)
				if err := pool.Remove(ctx, name); err != nil {
					t.Fatal(err)
				}
				delete(all, name)
			}
			if err := away.Start(); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if err := c.WaitClean(ctx); err != nil {
				t.Fatalf("%v\n%s", err, c.Diagnose(ctx))
			}
			t.Logf("missed %d objects, clean again %s after its start", tc.missed, time.Since(began).Round(10*time.Millisecond))
			c.OSDs[0].Kill()
			c.OSDs[2].Kill()
			compare(ctx, t, pool, "from the returned OSD alone", all)
			for i := range 20 {
				if got, err := pool.Read(ctx, "before-"+strconv.Itoa(i), 0, 0); err == nil {
					t.Errorf("removed object before-%d is back, with %d bytes", i, len(got))
				}
			}
			for _, i := range []int{0, 2} {
				if err := c.OSDs[i].Start(); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.WaitClean(ctx); err != nil {
				t.Fatalf("%v\n%s", err, c.Diagnose(ctx))
			}
			compare(ctx, t, pool, "from all", all)
		})
	}
}
