package testcluster_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/testcluster"
)

var outageFlag = flag.Duration("outage", time.Second, "how long the OSD of TestOutage is away")

// TestOutage takes an OSD away for a while from clients that write as fast as they can: parts of
// large objects, small objects anew, and keys of an index. What it is sent when it returns is
// hardly more than what was written. A longer outage is make outage SECONDS=60.
func TestOutage(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute+*outageFlag)
	defer cancel()
	c, _, pool := startPool(t, ctx, testcluster.Options{OSDs: 3}, api.PoolSpec{Size: 3})
	const writers, large, size, block, small, pairs, value = 4, 4, 4 << 20, 4 << 10, 8 << 10, 2000, 100
	key := func(i int) string { return fmt.Sprintf("key-%06d", i) }
	for w := range writers {
		for i := range large {
			if _, err := pool.Do(ctx, fmt.Sprintf("large-%d-%d", w, i), new(client.Op).WriteFull(make([]byte, size))); err != nil {
				t.Fatal(err)
			}
		}
		for i := 0; i < pairs; i += 500 {
			op := new(client.Op)
			for n := range 500 {
				op.OmapSet(key(i+n), make([]byte, value))
			}
			if _, err := pool.Do(ctx, fmt.Sprintf("index-%d", w), op); err != nil {
				t.Fatal(err)
			}
		}
	}

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	before := recovered(c)
	if err := c.KillOSD(1); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wrote, ops := make([]int, writers), make([]int, writers)
	stop := time.Now().Add(*outageFlag)
	for w := range writers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(w)))
			for i := 0; time.Now().Before(stop); i++ {
				name, op, n := fmt.Sprintf("large-%d-%d", w, r.IntN(large)), new(client.Op), block
				switch i % 3 {
				case 0:
					op.Write(uint64(r.IntN(size/block)*block), bytes.Repeat([]byte{byte(i)}, block))
				case 1:
					name, n = fmt.Sprintf("small-%d-%d", w, i), small
					op.WriteFull(bytes.Repeat([]byte{byte(i)}, small))
				case 2:
					k := key(r.IntN(pairs))
					name, n = fmt.Sprintf("index-%d", w), len(k)+value
					op.OmapSet(k, bytes.Repeat([]byte{byte(i)}, value))
				}
				if _, err := pool.Do(ctx, name, op); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				wrote[w], ops[w] = wrote[w]+n, ops[w]+1
			}
		})
	}
	wg.Wait()
	if err := c.StartOSD(ctx, 1); err != nil {
		t.Fatal(err)
	}
	clean(t, ctx, c, "after the OSD was away")
	written, count := 0, 0
	for w := range writers {
		written, count = written+wrote[w], count+ops[w]
	}
	moved := recovered(c) - before
	t.Logf("away for %s: clients wrote %d bytes in %d operations; %.0f bytes were sent: %.3f times as many",
		*outageFlag, written, count, moved, moved/float64(written))
	if moved > 1.2*float64(written) {
		t.Errorf("%.0f bytes were sent for %d that were written, want at most 1.2 times as many", moved, written)
	}
	for w := range writers {
		for _, name := range []string{fmt.Sprintf("large-%d-0", w), fmt.Sprintf("index-%d", w)} {
			if n := equalCopies(t, c, name); n != 3 {
				t.Errorf("%s has %d copies", name, n)
			}
		}
	}
}
