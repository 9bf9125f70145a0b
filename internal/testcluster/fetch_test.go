package testcluster_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/internal/testcluster"
	"github.com/cairnstore/cairn/osd/store"
)

// TestSmallReads reads small pieces of large objects at random, most of which are brought into the stores' caches for that,
// while pieces of them are overwritten: everybody who writes reads what he has written, whatever memory that was in.
func TestSmallReads(t *testing.T) {
	slab.Poison()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	_, _, pool := startPool(t, ctx, testcluster.Options{OSDs: 2, TuneStore: func(_ int, o *store.Options) {
		o.BlockCacheBytes, o.IndexCacheBytes = 256<<10, 4<<20
	}}, api.PoolSpec{Size: 2, PGNum: 4})
	const piece, pieces = 4096, 256
	content := func(name string, n, version int) []byte {
		b := make([]byte, piece)
		for i := 0; i < piece; i += 8 {
			binary.LittleEndian.PutUint64(b[i:], uint64(n)<<32|uint64(version)<<16|uint64(name[0]))
		}
		return b
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(w)))
			name := fmt.Sprint(w, "-large")
			var all []byte
			versions := make([]int, pieces)
			for n := range pieces {
				all = append(all, content(name, n, 0)...)
			}
			if _, err := pool.Do(ctx, name, new(client.Op).Write(0, all)); err != nil {
				t.Error(err)
				return
			}
			for range 300 {
				n, rows := rnd.IntN(pieces-4), 1+rnd.IntN(4)
				if rnd.IntN(8) == 0 {
					versions[n]++
					if _, err := pool.Do(ctx, name, new(client.Op).Write(uint64(n)*piece, content(name, n, versions[n]))); err != nil {
						t.Error(err)
						return
					}
				}
				var want []byte
				for i := range rows {
					want = append(want, content(name, n+i, versions[n+i])...)
				}
				off := uint64(n) * piece
				if rnd.IntN(4) == 0 { // not where blocks begin
					off, want = off+100, want[100:]
				}
				if got, err := pool.Read(ctx, name, off, uint64(len(want))); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes at %d: %v, or not what was written last", name, len(want), off, err)
					return
				}
			}
		})
	}
	wg.Wait()
}
