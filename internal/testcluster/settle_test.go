package testcluster_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/testcluster"
	"github.com/cairnstore/cairn/osd/chunkcare"
	"github.com/cairnstore/cairn/placement"
)

// TestSettle writes small pieces all over objects of a pool with chunks while they are settled without a pause. Reads are
// right all the time, and in the end the objects have next to nothing themselves.
func TestSettle(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	restless := func(o *chunkcare.Options) {
		o.Tick = time.Millisecond
		o.SettleRules = func(*placement.Map) chunkcare.SettleRules { return chunkcare.SettleRules{Every: 1, Size: 1} }
	}
	_, _, pool := startPool(t, ctx, testcluster.Options{OSDs: 3, TuneCare: restless}, api.PoolSpec{Size: 2, MinSize: 1, Chunks: "2:1:xor", ChunkSize: 128 << 10, PGNum: 4})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	const size = 2 << 20
	objects := make([]*chunkObject, 4)
	rounds := func(n int) {
		var wg sync.WaitGroup
		for i, o := range objects {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(seed, uint64(n*100+i)))
				for range n {
					b := make([]byte, 1+rng.IntN(40<<10))
					for k := range b {
						b[k] = byte(rng.Uint32())
					}
					off := rng.IntN(size - len(b))
					if _, err := pool.Do(ctx, o.name, new(client.Op).Write(uint64(off), b)); err != nil {
						t.Error(err)
						return
					}
					copy(o.data[off:], b)
					off = rng.IntN(size - 100<<10)
					res, err := pool.Do(ctx, o.name, new(client.Op).Read(uint64(off), 100<<10))
					if err != nil || !bytes.Equal(res.Items[0].Data, o.data[off:off+100<<10]) {
						t.Errorf("%s: 100 KiB at %d are wrong while it is settled: %v", o.name, off, err)
						return
					}
					res.Release()
				}
			})
		}
		wg.Wait()
	}
	for i := range objects {
		objects[i] = &chunkObject{fmt.Sprint("object", i), bytes.Repeat([]byte("settled "), size/8)}
		if _, err := pool.Do(ctx, objects[i].name, new(client.Op).WriteFull(objects[i].data)); err != nil {
			t.Fatal(err)
		}
	}
	own := func(o *chunkObject) (n int) {
		res, err := pool.DoRaw(ctx, o.name, new(client.Op).Read(0, 0))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Release()
		return len(res.Items[0].Data)
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for !ok() {
			select {
			case <-ctx.Done():
				t.Fatalf("waited for %s", what)
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	until("settling to begin", func() bool { return own(objects[0]) == 0 })
	rounds(300)
	if t.Failed() {
		return
	}
	for _, o := range objects {
		// In each chunk less than 64 KiB may be the object's own.
		until("the end of settling of "+o.name, func() bool { return own(o) < size/(128<<10)*(64<<10) })
		got, err := pool.Read(ctx, o.name, 0, 0)
		if err != nil || !bytes.Equal(got, o.data) {
			t.Fatalf("%s has wrong bytes after it was settled: %v", o.name, err)
		}
	}
}
