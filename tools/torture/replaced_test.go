package torture

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/osd/store"
	"github.com/cairnstore/cairn/placement"
)

// ledger is which objects are surely there: written once and acknowledged.
type ledger struct {
	mu   sync.Mutex // guards below
	size map[string]int
}

func (l *ledger) acked(name string, size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.size[name] = size
}

func (l *ledger) snapshot() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.size)
}

// TestReplacedDisk: an OSD whose disk was replaced by an empty one is another OSD, and
// the map calls it a member of a PG only when it has every object of it. It is
// killed as soon as the map does so of one more PG, while others still catch up and clients write, and
// its disk is looked into.
func TestReplacedDisk(t *testing.T) {
	if inShort(t) {
		return
	}
	ctx := deadline(t, 20*time.Minute)
	c := startCluster(ctx, t, Options{Mons: 1, OSDs: 3})
	pool := openPool(ctx, t, c, api.PoolCreate{Name: "p", PGNum: 32})
	// It follows the map by itself.
	cl, err := c.client(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.WaitClean(ctx); err != nil {
		t.Fatal(err)
	}
	old, err := c.OSDID(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	known := &ledger{size: fill(ctx, t, pool, "o-", 1500, 20_000)}
	stop := writeOn(ctx, t, pool, known)
	defer stop()

	c.OSDs[2].Kill()
	if err := c.WipeOSD(2); err != nil {
		t.Fatal(err)
	}
	if err := c.API.OSDSet(ctx, old, "out"); err != nil {
		t.Fatal(err)
	}
	id := placement.NoOSD
	looked := map[placement.PGID]bool{} // as members
	partly := 0
	for range 12 {
		if err := c.OSDs[2].Start(); err != nil {
			t.Fatal(err)
		}
		var m *placement.Map
		err := c.until(ctx, "the OSD to be a member of one more PG", func() error {
			m = cl.Map()
			if id == placement.NoOSD {
				n, err := c.OSDID(ctx, 2)
				if err != nil || n == old {
					return fmt.Errorf("it is osd.%d, which has lost its disk; %w", n, err)
				}
				id = placement.OSDID(n)
			}
			if m.IsUp(id) && m.IsUp(placement.OSDID(old)) {
				t.Errorf("osd.%d, whose disk is gone, is up in epoch %d, and so is osd.%d in its place", old, m.Epoch, id)
			}
			for pg := range memberships(m, id) {
				if !looked[pg] {
					return nil
				}
			}
			if len(memberships(m, id)) == 32 {
				return nil
			}
			return fmt.Errorf("member of %d in epoch %d", len(memberships(m, id)), m.Epoch)
		})
		if err != nil {
			t.Fatalf("%v\n%s", err, c.Diagnose(ctx))
		}
		want := known.snapshot() // acknowledged now or before: the members have it
		c.OSDs[2].Kill()
		in := memberships(m, id)
		if len(in) < 32 {
			partly++
		}
		checkCopies(t, c.OSDDir(2), m, in, want)
		maps.Copy(looked, in)
		if t.Failed() || len(looked) == 32 {
			break
		}
	}
	t.Logf("osd.%d was member of %d PGs when it was killed; %d times of some and not of others", id, len(looked), partly)
	if partly == 0 {
		t.Error("it became a member of all PGs at once: nothing was tried")
	}
	if err := c.Revive(ctx, 2); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := c.WaitClean(ctx); err != nil {
		t.Fatalf("%v\n%s", err, c.Diagnose(ctx))
	}
	osds, err := c.API.OSDs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(osds) != 4 || osds[old].Up {
		t.Errorf("OSDs %+v, want a fourth one, and osd.%d down for good", osds, old)
	}
	c.OSDs[2].Kill()
	m, err := cl.WaitMap(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	checkCopies(t, c.OSDDir(2), m, memberships(m, id), known.snapshot())
	if err := c.OSDs[2].Start(); err != nil {
		t.Fatal(err)
	}
}

// writeOn writes new objects until the function it returns is called, once or more often.
func writeOn(ctx context.Context, t *testing.T, pool *client.Pool, known *ledger) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() { // until stop
			for i := 0; ctx.Err() == nil; i++ {
				name := fmt.Sprintf("more-%d-%d", w, i)
				if err := pool.WriteFull(ctx, name, value(name, 1, 3000)); err == nil {
					known.acked(name, 3000)
				} else if ctx.Err() == nil {
					t.Errorf("write: %v", err)
					return
				}
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// memberships returns the PGs whose in-sync set has an OSD.
func memberships(m *placement.Map, id placement.OSDID) map[placement.PGID]bool {
	in := map[placement.PGID]bool{}
	for _, p := range m.Pools {
		for shard := range p.PGNum {
			pg := placement.PGID{Pool: p.ID, Shard: shard}
			if r := m.PG(pg); r != nil && r.Has(id) {
				in[pg] = true
			}
		}
	}
	return in
}

// checkCopies looks into the store of an OSD that does not run.
func checkCopies(t *testing.T, dir string, m *placement.Map, pgs map[placement.PGID]bool, want map[string]int) {
	t.Helper()
	s, err := store.Open(dir, store.Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	bad, good := 0, 0
	for _, name := range slices.Sorted(maps.Keys(want)) {
		pg := placement.PGOf(m.PoolByName("p"), name)
		if !pgs[pg] {
			continue
		}
		got, err := s.Read(store.Key{PG: pg, Space: store.Objects, Name: name}, 0, uint64(want[name])+1)
		if err == nil && bytes.Equal(got, value(name, 1, want[name])) {
			good++
			continue
		}
		if bad++; bad <= 5 {
			t.Errorf("a member of PG %s by map epoch %d has %d bytes of object %s, %v; want all %d", pg, m.Epoch, len(got), name, err, want[name])
		}
	}
	if bad > 0 {
		t.Errorf("%d objects of %d PGs are not as they were acknowledged, %d are", bad, len(pgs), good)
	}
}
