package store

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

func block(n uint64) []byte {
	b := alignedBytes(blockBytes)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], n)
	}
	return b
}

func testCache(t testing.TB, blocks int64) *blockCache {
	t.Helper()
	c, err := newBlockCache(blocks * blockBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

// TestBlockCache holds the cache against what was last kept and not dropped: it may
// forget, but never say anything else, and never holds more than it may.
func TestBlockCache(t *testing.T) {
	rng := rand.New(rand.NewPCG(seedOf(t), 1))
	c := testCache(t, 256)
	version := map[uint64]uint64{} // what the disk holds
	dst := alignedBytes(blockBytes)
	hits := 0
	for i := range 100000 {
		p := 1 + uint64(rng.IntN(400))
		if rng.IntN(2) == 0 {
			p = 1 + p%100 // some are read more often
		}
		switch rng.IntN(20) {
		case 0:
			n := 1 + uint64(rng.IntN(2*cacheDropMany))
			c.drop(run{p, n})
			for q := p; q < p+n; q++ {
				version[q]++
			}
		default:
			want := block(p<<32 | version[p])
			sum := checksum(want)
			if c.get(p, sum, dst) {
				if hits++; !bytes.Equal(dst, want) {
					t.Fatalf("step %d: block %d: got version %x, want %x", i, p, dst[:8], want[:8])
				}
				continue
			}
			ticket := c.ticket(p)
			if rng.IntN(10) == 0 { // it changes between being read and being kept
				c.drop(run{p, 1})
				version[p]++
			}
			c.keep(p, sum, want, ticket)
		}
		if used := c.used.Load(); used < 0 || used > 256 {
			t.Fatalf("step %d: %d blocks are kept", i, used)
		}
	}
	if hits < 20000 {
		t.Errorf("%d hits", hits)
	}
	for i := range c.shards {
		s := &c.shards[i]
		live := 0
		for _, e := range s.entries {
			if e.phys != 0 {
				live++
			}
		}
		if live != len(s.at) || s.small.n+s.main.n+len(s.free) > len(s.entries) || len(s.ghost) > len(s.ghosts) {
			t.Errorf("shard %d: %d live, %d in the map, queues %d+%d+%d of %d", i, live, len(s.at), s.small.n, s.main.n, len(s.free), len(s.entries))
		}
	}
}

// TestBlockCacheNeverStale has writers change blocks while readers keep what they saw:
// with equal checksums, so that only the tickets tell old content from new.
func TestBlockCacheNeverStale(t *testing.T) {
	c := testCache(t, 64)
	const blocks = 32
	var view sync.RWMutex // as Disk.view
	var disk [blocks + 1]uint64
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(7, uint64(w)))
			dst := alignedBytes(blockBytes)
			for range 20000 {
				p := 1 + uint64(rng.IntN(blocks))
				if w == 0 {
					view.Lock()
					disk[p]++
					c.drop(run{p, 1})
					view.Unlock()
					continue
				}
				view.RLock()
				now := disk[p]
				ticket := c.ticket(p)
				s := c.shard(p)
				s.mu.Lock()
				if i, ok := s.at[p]; ok {
					if got := binary.LittleEndian.Uint64(s.slot(i)); got != now {
						t.Errorf("block %d: version %d is kept, %d is on disk", p, got, now)
					}
				}
				s.mu.Unlock()
				view.RUnlock()
				runtime.Gosched()
				binary.LittleEndian.PutUint64(dst, now)
				c.keep(p, 1, dst, ticket)
			}
		}()
	}
	wg.Wait()
}

// TestBlockCacheResistsScans: what is read again and again stays while much is read once.
func TestBlockCacheResistsScans(t *testing.T) {
	c := testCache(t, 800)
	dst := alignedBytes(blockBytes)
	b := block(1)
	sum := checksum(b)
	read := func(p uint64) bool {
		if c.get(p, sum, dst) {
			return true
		}
		c.keep(p, sum, b, c.ticket(p))
		return false
	}
	for range 3 {
		for p := range uint64(300) {
			read(1 + p)
		}
	}
	for p := range uint64(20000) { // a scan, and the others are read now and then
		read(1000 + p)
		if p%4 == 0 {
			read(1 + p/4%300)
		}
	}
	stayed := 0
	for p := range uint64(300) {
		if c.get(1+p, sum, dst) {
			stayed++
		}
	}
	if stayed < 280 {
		t.Errorf("%d of 300 blocks survived the scan", stayed)
	}
}

// TestBlockCacheBitFlip: damage in the cache's memory is noticed and read around.
func TestBlockCacheBitFlip(t *testing.T) {
	d, _ := newCachedFault(t, 1<<20, 0)
	apply(t, d, writeOp("a", 0, bytes.Repeat([]byte("a"), 3*blockBytes)))
	d.keeper.await(d)
	for range 2 {
		if _, err := d.Read(testKey("a"), 0, blockBytes); err != nil {
			t.Fatal(err)
		}
	}
	if d.blocks.hits.Load() != 1 {
		t.Fatalf("%d hits, want 1", d.blocks.hits.Load())
	}
	for i := range d.blocks.shards {
		d.blocks.shards[i].mem[5] ^= 1
	}
	wantRead(t, d, "a", 'a', 3*blockBytes)
	if got, err := d.Read(testKey("a"), 0, blockBytes); err != nil || !bytes.Equal(got, bytes.Repeat([]byte("a"), blockBytes)) {
		t.Errorf("after a bit flip in the cache: %v", err)
	}
	apply(t, d, writeOp("a", 100, []byte("b")))
	if got, err := d.Read(testKey("a"), 100, 1); err != nil || string(got) != "b" {
		t.Errorf("after an overwrite: %q, %v", got, err)
	}
	d.keeper.await(d)
	if got, err := d.Read(testKey("a"), 100, 1); err != nil || string(got) != "b" {
		t.Errorf("after an overwrite went home: %q, %v", got, err)
	}
}
