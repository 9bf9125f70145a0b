package testcluster_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/testcluster"
	"github.com/cairnstore/cairn/placement"
)

// TestCare follows chunks through their life on a real cluster: an OSD is drained and one is lost, and no shard is
// left there while everything can be read; what is removed leaves neither entries nor shards nor records behind.
func TestCare(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds, most of which it waits")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	c, _, pool := startPool(t, ctx, testcluster.Options{OSDs: 5}, api.PoolSpec{Size: 3, MinSize: 1, Chunks: "2:1:xor", ChunkSize: 128 << 10, PGNum: 4})
	for key, value := range map[string]string{"gc_interval": "1s", "gc_orphan_age": "1s", "chunk_scrub_interval": "14s"} {
		if err := c.Mon(0).ConfigSet(ctx, key, value); err != nil {
			t.Fatal(err)
		}
	}
	rng := rand.New(rand.NewPCG(1, 5))
	var objects []*chunkObject
	for i := range 6 {
		o := &chunkObject{fmt.Sprint("object", i), make([]byte, 1<<20)}
		for j := range o.data {
			o.data[j] = byte(rng.Uint32())
		}
		if i == 5 {
			o.data = bytes.Clone(objects[0].data) // shares its chunks
		}
		if err := pool.WriteFull(ctx, o.name, o.data); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	until := func(what string, ok func() (bool, error)) {
		t.Helper()
		for {
			good, err := ok()
			if good {
				return
			}
			select {
			case <-ctx.Done():
				t.Fatalf("waited for %s: %v", what, err)
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
	held := func(osd placement.OSDID) (n int, err error) {
		list, _, err := pool.Shards().List(ctx, osd, nil, 1000)
		return len(list), err
	}
	entries := func() (layouts []chunk.Layout, err error) {
		names, _, err := pool.ListRecords(ctx, placement.ChunkEntry, client.Cursor{}, 1000)
		for _, n := range names {
			res, err := pool.DoRaw(ctx, n, new(client.Op).AsRecord().GetAttr(chunk.LayoutAttr))
			if err != nil {
				return nil, err
			}
			l, err := chunk.DecodeLayout(res.Items[0].Data)
			if err != nil {
				return nil, err
			}
			layouts = append(layouts, l)
		}
		return layouts, err
	}
	without := func(osd placement.OSDID) func() (bool, error) {
		return func() (bool, error) {
			all, err := entries()
			if err != nil {
				return false, err
			}
			for _, l := range all {
				if slices.Contains(l.Holders, osd) || slices.Contains(l.Holders, placement.NoOSD) {
					return false, fmt.Errorf("a chunk has the holders %v", l.Holders)
				}
			}
			return len(all) == 40, fmt.Errorf("%d chunks", len(all))
		}
	}

	rest, err := api.NewClient(api.ClientOptions{Addrs: c.AdminAddrs()})
	if err != nil {
		t.Fatal(err)
	}
	defer rest.Close()
	var listed []api.Chunk
	until("all chunks to be listed", func() (bool, error) { // the OSDs' care may be on its way still
		listed = nil
		for f := (api.ChunkFilter{Limit: 7}); ; {
			page, err := rest.Chunks(ctx, "data", f)
			if err != nil {
				return false, err
			}
			listed = append(listed, page.Chunks...)
			if f.After = page.After; f.After == "" {
				return len(listed) == 40, fmt.Errorf("%d chunks", len(listed))
			}
		}
	})
	if x, err := rest.ChunkVerify(ctx, "data", listed[3].Chunk); err != nil || !x.Verdict.OK || x.Verdict.Readable != 3 || len(x.Refs) == 0 {
		t.Fatalf("verify: %v %+v", err, x)
	}

	drained := c.OSD(4).ID()
	if n, err := held(drained); err != nil || n == 0 {
		t.Fatalf("%s holds %d shards: %v", drained, n, err)
	}
	if err := c.Mon(0).OSDDrain(ctx, []placement.OSDID{drained}, true); err != nil {
		t.Fatal(err)
	}
	until("the drained OSD to hold no shards", func() (bool, error) {
		n, err := held(drained)
		return n == 0 && err == nil, fmt.Errorf("%d shards: %v", n, err)
	})
	until("no chunk to be on it", without(drained))

	lost := c.OSD(0).ID()
	if err := c.KillOSD(0); err != nil {
		t.Fatal(err)
	}
	if err := c.Mon(0).OSDReweight(ctx, lost, 0); err != nil {
		t.Fatal(err)
	}
	until("all shards of the lost OSD to be made again", without(lost))
	for _, o := range objects {
		checkObject(t, ctx, pool, o, rng)
	}

	for _, o := range objects {
		if err := pool.Remove(ctx, o.name); err != nil {
			t.Fatal(err)
		}
	}
	until("nothing to be left", func() (bool, error) {
		for _, kind := range []placement.RecordKind{placement.ChunkEntry, placement.Outbox, placement.Condemned} {
			names, _, err := pool.ListRecords(ctx, kind, client.Cursor{}, 1000)
			if len(names) > 0 || err != nil {
				return false, fmt.Errorf("%d records of kind %c: %v", len(names), kind, err)
			}
		}
		for i := 1; i < c.OSDs(); i++ {
			if n, err := held(c.OSD(i).ID()); n > 0 || err != nil {
				return false, fmt.Errorf("%s holds %d shards: %v", c.OSD(i).ID(), n, err)
			}
		}
		return true, nil
	})
}
