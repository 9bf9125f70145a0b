package testcluster_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/testcluster"
	"github.com/cairnstore/cairn/osd/store"
)

// TestShardSpace: chunks take little more room than their bytes times (k+m)/k, OSDs start with shards and take none for a
// PG, and with the pool all of it goes.
func TestShardSpace(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, _, p := startPool(t, ctx, testcluster.Options{OSDs: 6}, api.PoolSpec{Size: 3, MinSize: 1, Chunks: "4:2:rs", PGNum: 8})
	used := func() (all, shards int64, pgs int) {
		t.Helper()
		for i := range c.OSDs() {
			u := c.OSD(i).Store.Usage()
			all, shards = all+u.Data+u.Omap, shards+u.InShards
			ids, err := c.OSD(i).Store.PGs()
			if err != nil {
				t.Fatal(err)
			}
			pgs += len(ids)
		}
		return all, shards, pgs
	}
	before, _, pgs := used()
	rng := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 4<<20)
	const objects = 12
	for i := range objects {
		for j := range data {
			data[j] = byte(rng.Uint32())
		}
		if err := p.WriteFull(ctx, fmt.Sprint("object", i), data); err != nil {
			t.Fatal(err)
		}
	}
	const want = objects * (4 << 20) * 6 / 4
	after, shards, n := used()
	if shards != want || n != pgs {
		t.Errorf("%d bytes in shards, want %d; %d PGs, want %d", shards, want, n, pgs)
	}
	if taken := after - before; taken > want*103/100 {
		t.Errorf("%d bytes taken for %d, %.3f of it", taken, want, float64(taken)/want)
	} else {
		t.Logf("%d bytes taken for %d, %.4f of it", taken, want, float64(taken)/want)
	}
	if err := c.KillOSD(3); err != nil {
		t.Fatal(err)
	}
	if err := c.StartOSD(ctx, 3); err != nil {
		t.Fatal(err)
	}
	clean(t, ctx, c, "after a start with shards")
	if _, s, n := used(); s != shards || n != pgs {
		t.Errorf("after a start: %d bytes in shards, %d PGs; before %d, %d", s, n, shards, pgs)
	}
	if err := c.Mon(0).PoolRemove(ctx, p.Name()); err != nil {
		t.Fatal(err)
	}
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		left := []store.PoolShards{}
		for i := range c.OSDs() {
			left = append(left, c.OSD(i).Store.PoolShards()...)
		}
		if len(left) == 0 {
			tick.Stop()
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("shards of the removed pool: %v", left)
		}
	}
}
