package testcluster_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/testcluster"
	"github.com/cairnstore/cairn/osd"
	"github.com/cairnstore/cairn/osd/store"
)

// tardy is a store that says of batches some time later that they are durable.
type tardy struct {
	*store.Disk
	delay atomic.Int64 // nanoseconds
	late  chan tardyDone
}

type tardyDone struct {
	at   time.Time
	done func()
}

func newTardy(ctx context.Context, d *store.Disk) *tardy {
	s := &tardy{Disk: d, late: make(chan tardyDone, 1<<16)}
	go func() { // until ctx ends
		for {
			select {
			case l := <-s.late:
				<-time.After(time.Until(l.at))
				l.done()
			case <-ctx.Done():
				return
			}
		}
	}()
	return s
}

func (s *tardy) Submit(b *store.Batch, done func(error)) {
	s.Disk.Submit(b, func(err error) { // in order, so the channel is in order
		s.late <- tardyDone{time.Now().Add(time.Duration(s.delay.Load())), func() { done(err) }}
	})
}

// TestShards: chunks take little more room than their bytes times (k+m)/k, and shards make no PG; an OSD whose store is
// slow gets next to no shards of new chunks, and its share again when it is well; with the pool all shards go.
func TestShards(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var mu sync.Mutex
	var stores []*tardy
	c, _, p := startPool(t, ctx, testcluster.Options{OSDs: 5, TuneOSD: func(o *osd.Options) {
		mu.Lock()
		defer mu.Unlock()
		s := newTardy(t.Context(), o.Store.(*store.Disk))
		stores = append(stores, s)
		o.Store = s
	}}, api.PoolSpec{Size: 2, MinSize: 1, Chunks: "2:1:xor", PGNum: 16, ChunkSize: 256 << 10})
	slow := stores[slices.IndexFunc(stores, func(s *tardy) bool { return s.Disk == c.OSD(4).Store })]
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	n := 0
	write := func(size int) {
		t.Helper()
		data := make([]byte, size)
		for i := 0; i < size; i += 8 {
			binary.LittleEndian.PutUint64(data[i:], rng.Uint64())
		}
		n++
		if err := p.WriteFull(ctx, fmt.Sprint("object", n), data); err != nil {
			t.Fatal(err)
		}
	}
	sum := func() (all, shards, pgs int64) {
		t.Helper()
		for _, s := range stores {
			u := s.Usage()
			all, shards = all+u.Data+u.Omap, shards+u.InShards
			ids, err := s.PGs()
			if err != nil {
				t.Fatal(err)
			}
			pgs += int64(len(ids))
		}
		return all, shards, pgs
	}
	before, _, pgsBefore := sum()
	for range 4 {
		write(4 << 20)
	}
	after, shards, pgs := sum()
	const want = 16 << 20 * 3 / 2
	if shards != want || after-before > want*103/100 || pgs != pgsBefore {
		t.Errorf("%d bytes in shards, want %d; %d taken; %d PGs, before %d", shards, want, after-before, pgs, pgsBefore)
	}

	// share writes chunks and returns which part of a fair share the slow one gets of them.
	share := func() float64 {
		t.Helper()
		_, all, _ := sum()
		its := slow.Usage().InShards
		for range 5 {
			write(2 << 20)
		}
		_, now, _ := sum()
		return float64(slow.Usage().InShards-its) * float64(len(stores)) / float64(now-all)
	}
	until := func(what string, ok func(float64) bool) {
		t.Helper()
		began := time.Now()
		for {
			s := share()
			if ok(s) {
				t.Logf("%s: after %.1f s, %.2f of its share", what, time.Since(began).Seconds(), s)
				return
			}
			if ctx.Err() != nil {
				t.Fatalf("%s: still %.2f of its share", what, s)
			}
		}
	}
	slow.delay.Store(int64(150 * time.Millisecond))
	until("slow", func(s float64) bool { return s < 0.2 })
	slow.delay.Store(0)
	until("well again", func(s float64) bool { return s > 0.5 })

	if err := c.Mon(0).PoolRemove(ctx, p.Name()); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for shards > 0 {
		select {
		case <-tick.C:
			_, shards, _ = sum()
		case <-ctx.Done():
			t.Fatalf("%d bytes of shards of the removed pool", shards)
		}
	}
}
