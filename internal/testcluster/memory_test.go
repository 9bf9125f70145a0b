package testcluster_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/slab"
	"github.com/cairnstore/cairn/placement"
)

// TestMemoryIsNotReusedTooEarly writes and reads objects of many sizes while memory that everybody
// has released is overwritten: a socket, disk or batch that still needed it would send or keep
// something else than was verified on arrival, and checksums or contents would tell.
func TestMemoryIsNotReusedTooEarly(t *testing.T) {
	slab.Poison()
	d := newDecaying(t, nil)
	ctx, pool := d.ctx, d.pool
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	sizes := []int{1, 700, 4096, 5000, 16 << 10, 64 << 10, 100_000, 1 << 20, 4 << 20, 4<<20 + 3}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(w)))
			for i := range 10 {
				name := fmt.Sprintf("o-%d-%d", w, i%3)
				data := make([]byte, sizes[rnd.IntN(len(sizes))])
				for j := range data {
					data[j] = byte(rnd.Uint32())
				}
				off := []uint64{0, 4096, 1000}[rnd.IntN(3)]
				op := new(client.Op).Truncate(0).Write(off, data)
				if rnd.IntN(4) == 0 { // two pieces, of which the second begins anywhere
					cut := rnd.IntN(len(data) + 1)
					op = new(client.Op).Truncate(0).Write(off, data[:cut]).Write(off+uint64(cut), data[cut:])
				}
				if _, err := pool.Do(ctx, name, op); err != nil {
					t.Errorf("write %d of %d: %v", i, w, err)
					return
				}
				want := append(make([]byte, off), data...)
				for _, from := range []uint64{0, 4096, 5} {
					if from >= uint64(len(want)) {
						continue
					}
					res, err := pool.Do(ctx, name, new(client.Op).Read(from, 0).Read(0, 100))
					if err != nil || !bytes.Equal(res.Items[0].Data, want[from:]) || !bytes.Equal(res.Items[1].Data, want[:min(100, len(want))]) {
						t.Errorf("read %d of %d from %d: %v, or other bytes than were written", i, w, from, err)
						return
					}
					res.Release()
					if got, err := pool.Read(ctx, name, from, 0); err != nil || !bytes.Equal(got, want[from:]) {
						t.Errorf("read %d of %d from %d: %v, or other bytes than were written", i, w, from, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	scrubbed := map[placement.PGID]bool{}
	for w := range 4 {
		for i := range 3 { // nobody has read what the others keep
			if id, _ := d.where(fmt.Sprintf("o-%d-%d", w, i)); !scrubbed[id] {
				scrubbed[id] = true
				d.deepScrub(id)
			}
		}
	}
	if d.log.has("a scrub found a damaged copy") {
		t.Error("a member keeps other bytes than were verified on arrival")
	}
	if d.log.has("payload checksum") {
		t.Error("a frame arrived whose payload had changed after it was verified")
	}
}
