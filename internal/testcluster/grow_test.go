package testcluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/testcluster"
	"github.com/cairnstore/cairn/mon"
	"github.com/cairnstore/cairn/osd"
)

const (
	growWriters = 8
	growStill   = 200 // objects that nobody writes to while the pool grows
)

// TestGrow lets a pool grow from 8 to 32 PGs while clients append to its objects and list it, and an
// OSD is killed and comes back. Every acknowledged write is there, once; every object that was there
// all the time is in every listing, once; everything is clean afterwards, and after a restart of all OSDs.
func TestGrow(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	c, _, pool := startPool(t, ctx, testcluster.Options{
		OSDs:    4,
		TuneOSD: func(o *osd.Options) { o.ReportEvery, o.Shards = 200*time.Millisecond, 3 },
		TuneMon: func(o *mon.Options) { o.TickEvery = 100 * time.Millisecond },
	}, api.PoolSpec{PGNum: 8})
	for i := range growStill {
		name := fmt.Sprintf("still-%d", i)
		if _, err := pool.Do(ctx, name, new(client.Op).WriteFull(bytes.Repeat([]byte(name), i)).OmapSet("k", []byte(name))); err != nil {
			t.Fatal(err)
		}
	}

	var stop atomic.Bool
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop.Store(true)
	logs := make([]map[string]int, growWriters) // object -> records appended
	var slowest [growWriters]time.Duration
	for w := range growWriters {
		logs[w] = map[string]int{}
		wg.Go(func() { // until stop is set
			for i := 0; !stop.Load(); i++ {
				name := fmt.Sprintf("log-%d-%d", w, i%16)
				began := time.Now()
				if _, err := pool.Do(ctx, name, new(client.Op).Append(fmt.Appendf(nil, "%06d", logs[w][name]))); err != nil {
					t.Errorf("append to %s: %v", name, err)
					return
				}
				slowest[w] = max(slowest[w], time.Since(began))
				logs[w][name]++
			}
		})
	}
	lists := 0
	wg.Go(func() { // until stop is set
		for ; !stop.Load(); lists++ {
			if err := listedOnce(ctx, pool); err != nil {
				t.Error(err)
				return
			}
		}
	})

	if err := c.Mon(0).PoolSet(ctx, "data", "pg_num", "32"); err != nil {
		t.Fatal(err)
	}
	waitPGs(t, ctx, c, 16)
	if err := c.KillOSD(3); err != nil {
		t.Fatal(err)
	}
	waitMap(t, ctx, c, "an OSD down", func() bool { return !c.Mon(0).Map().IsUp(3) })
	if err := c.StartOSD(ctx, 3); err != nil {
		t.Fatal(err)
	}
	waitPGs(t, ctx, c, 32)
	clean(t, ctx, c, "when the pool has grown")
	stop.Store(true)
	wg.Wait()
	t.Logf("%d listings; the slowest append took %v", lists, slices.Max(slowest[:]))

	check := func() {
		t.Helper()
		if err := listedOnce(ctx, pool); err != nil {
			t.Fatal(err)
		}
		for w := range logs {
			for name, n := range logs[w] {
				got, err := pool.Read(ctx, name, 0, 0)
				if err != nil {
					t.Fatal(err)
				}
				var want []byte
				for i := range n {
					want = fmt.Appendf(want, "%06d", i)
				}
				if !bytes.Equal(got, want) {
					t.Fatalf("%s has %d bytes, want %d records", name, len(got), n)
				}
			}
		}
		for i := range growStill {
			name := fmt.Sprintf("still-%d", i)
			r, err := pool.Do(ctx, name, new(client.Op).Read(0, 0).OmapGet("k"))
			if err != nil || !bytes.Equal(r.Items[0].Data, bytes.Repeat([]byte(name), i)) || string(r.Items[1].Data) != name && len(r.Items[1].KVs) == 0 {
				t.Fatalf("%s is not what it was: %v", name, err)
			}
		}
	}
	check()
	for i := range c.OSDs() {
		if err := c.KillOSD(i); err != nil {
			t.Fatal(err)
		}
	}
	for i := range c.OSDs() {
		if err := c.StartOSD(ctx, i); err != nil {
			t.Fatal(err)
		}
	}
	clean(t, ctx, c, "after all OSDs were started anew")
	check()
}

// listedOnce lists the pool and says what of the objects that are there all the time is missing, or came twice.
func listedOnce(ctx context.Context, pool *client.Pool) error {
	seen := map[string]int{}
	for at := (client.Cursor{}); !at.End; {
		names, next, err := pool.List(ctx, at, 50)
		if err != nil {
			return err
		}
		for _, n := range names {
			seen[n]++
		}
		at = next
	}
	var errs []error
	for i := range growStill {
		if name := fmt.Sprintf("still-%d", i); seen[name] != 1 {
			errs = append(errs, fmt.Errorf("%s was listed %d times", name, seen[name]))
		}
	}
	for name, n := range seen {
		if n > 1 {
			errs = append(errs, fmt.Errorf("%s was listed %d times", name, n))
		}
	}
	return errors.Join(errs...)
}

// waitPGs waits until the pool "data" has so many PGs.
func waitPGs(t *testing.T, ctx context.Context, c *testcluster.Cluster, n uint32) {
	t.Helper()
	waitMap(t, ctx, c, fmt.Sprintf("%d PGs", n), func() bool { return c.Mon(0).Map().PoolByName("data").PGNum >= n })
}

func waitMap(t *testing.T, ctx context.Context, c *testcluster.Cluster, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("no map with %s: pool %+v", what, c.Mon(0).Map().PoolByName("data"))
		}
	}
}

// A pool whose pg_num nobody has chosen gets more PGs when the cluster gets more OSDs.
func TestGrowsByItself(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := start(t, ctx, testcluster.Options{
		OSDs: 1, NoS3: true,
		TuneOSD: func(o *osd.Options) { o.ReportEvery = 200 * time.Millisecond },
		TuneMon: func(o *mon.Options) { o.TickEvery, o.GrowAfter = 100*time.Millisecond, time.Second },
	})
	for _, p := range []api.PoolSpec{{Name: "data", Size: 1}, {Name: "chosen", Size: 1, PGNum: 4}} {
		if _, err := c.Mon(0).PoolCreate(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	if n := c.Mon(0).Map().PoolByName("data").PGNum; n != 8 {
		t.Fatalf("one OSD: %d PGs, want 8", n)
	}
	for range 2 {
		if _, err := c.AddOSD(ctx); err != nil {
			t.Fatal(err)
		}
	}
	waitPGs(t, ctx, c, 32)
	clean(t, ctx, c, "when the pool has grown")
	if p := c.Mon(0).Map().PoolByName("chosen"); p.PGNum != 4 || p.PGNumTarget != 4 {
		t.Fatalf("the pool whose pg_num was chosen: %+v", p)
	}
}
