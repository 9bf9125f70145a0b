package client_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// TestChunkHedgedPut: a shard that is late is given to another OSD as well, if there is one and not all are slow. Whoever
// has it first is its holder; the slow one is then left alone for a while.
func TestChunkHedgedPut(t *testing.T) {
	const slow, takes = placement.OSDID(2), 10 * time.Second
	for _, c := range []struct {
		name    string
		osds    int
		takes   func(placement.OSDID) time.Duration
		within  time.Duration
		hedged  int64
		without bool // slow holds nothing of the first chunk, and is not asked for the second
	}{
		{"one is slow", 7, func(osd placement.OSDID) time.Duration {
			if osd == slow {
				return takes
			}
			return 0
		}, time.Second, 1, true},
		{"the other one is slower", 7, func(osd placement.OSDID) time.Duration {
			switch osd {
			case slow:
				return time.Second
			case 6:
				return takes
			}
			return 0
		}, 2 * time.Second, 1, false},
		{"with no other", 6, func(osd placement.OSDID) time.Duration {
			if osd == slow {
				return takes
			}
			return 0
		}, takes + time.Second, 0, false},
		{"all are slow", 7, func(placement.OSDID) time.Duration { return takes }, takes + time.Second, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, h, data := oneChunk(t, c.osds)
				for c.osds == 7 { // until it is the turn of osd.0 to osd.5
					if osds, _ := h.Place(t.Context(), "", 6, nil, nil); osds[0] == 6 {
						break
					}
				}
				var slowPuts atomic.Int32
				h.Before(func(ctx context.Context, call clienttest.HolderCall) error {
					if call.What != "put" {
						return nil
					}
					if call.OSD == slow {
						slowPuts.Add(1)
					}
					timer := time.NewTimer(c.takes(call.OSD))
					defer timer.Stop()
					select {
					case <-timer.C:
					case <-ctx.Done():
					}
					return nil
				})
				began := time.Now()
				mustWrite(t, p, "o", data)
				if took := time.Since(began); took > c.within {
					t.Errorf("it took %s, want at most %s", took, c.within)
				}
				checkRead(t, p, "o", data)
				st := p.ChunkStats()
				if st.Hedged != c.hedged || st.Replaced != 0 {
					t.Errorf("%+v, want %d hedged", st, c.hedged)
				}
				e := entries(p)[0]
				l := layoutOf(t, p, e)
				fp, _ := chunk.FingerprintOf(e)
				for i, osd := range l.Holders {
					if !slices.Contains(h.Shards(osd), client.ShardID{Chunk: fp, Gen: l.Gen, Index: i}) {
						t.Errorf("shard %d is not on %s", i, osd)
					}
				}
				if slices.Contains(l.Holders, slow) == c.without {
					t.Errorf("the holders are %v", l.Holders)
				}
				before := slowPuts.Load()
				mustWrite(t, p, "o2", randomBytes(99, len(data)))
				if asked := slowPuts.Load() > before; c.without && asked {
					t.Error("the slow one was asked again at once")
				}
			})
		})
	}
}

// TestChunkAvoidsSlow: an OSD that is slow in the map gets no shards as long as there are others, even when some of these
// were late just now, nor when one of them fails; but it does rather than nobody.
func TestChunkAvoidsSlow(t *testing.T) {
	const slow = placement.OSDID(3)
	synctest.Test(t, func(t *testing.T) {
		p, h, _ := oneChunk(t, 8)
		h.SetSlow(slow)
		n := uint64(0)
		write := func() {
			t.Helper()
			n++
			mustWrite(t, p, fmt.Sprint(n), randomBytes(n, 1<<20))
		}
		none := func(what string) {
			t.Helper()
			if s := h.Shards(slow); len(s) > 0 {
				t.Fatalf("%s: the slow one has %d shards", what, len(s))
			}
		}
		for range 10 {
			write()
		}
		none("all others are well")
		tardy := map[placement.OSDID]bool{5: true, 6: true}
		h.Before(func(ctx context.Context, call clienttest.HolderCall) error {
			if call.What == "put" && tardy[call.OSD] {
				timer := time.NewTimer(time.Second)
				defer timer.Stop()
				select {
				case <-timer.C:
				case <-ctx.Done():
				}
			}
			return nil
		})
		for range 10 { // with two of seven avoided there are too few
			write()
		}
		none("two are late")
		h.Before(nil)
		<-time.After(time.Minute) // of the bubble's time: what was late is forgotten
		h.SetDown(1, true)
		for range 10 {
			write()
		}
		none("one is down")
		h.SetDown(2, true)
		write()
		if len(h.Shards(slow)) == 0 {
			t.Error("six are up, and one of them got nothing")
		}
		h.SetDown(2, false)
		h.SetDown(1, false)
		h.SetSlow(slow, 4)
		had := len(h.Shards(slow)) + len(h.Shards(4))
		h.Before(func(_ context.Context, call clienttest.HolderCall) error {
			if call.What == "put" && call.OSD == 0 {
				return client.ErrInternal
			}
			return nil
		})
		write() // six are well, of which one fails
		if now := len(h.Shards(slow)) + len(h.Shards(4)); now == had {
			t.Error("nobody took what osd.0 refused")
		}
	})
}

// TestChunkReadsAroundSlow: of a whole chunk the shards of OSDs that are slow in the map are not read as long as there are
// others; of a part of one shard they are, and so is everything when there is nobody else.
func TestChunkReadsAroundSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, h, data := oneChunk(t, 6) // 4:2, so all have a shard
		mustWrite(t, p, "o", data)
		gets := map[placement.OSDID]int{}
		var mu sync.Mutex
		h.Before(func(_ context.Context, call clienttest.HolderCall) error {
			if call.What == "get" {
				mu.Lock()
				defer mu.Unlock()
				gets[call.OSD]++
			}
			return nil
		})
		slow := layoutOf(t, p, entries(p)[0]).Holders[1] // a data shard
		for _, c := range []struct {
			name     string
			slow     []placement.OSDID
			off, n   int
			its, all int
		}{
			{"nobody is slow", nil, 0, len(data), 1, 4},
			{"one is", []placement.OSDID{slow}, 0, len(data), 0, 4},
			{"a part of its shard", []placement.OSDID{slow}, len(data)/4 + 4096, 4096, 1, 1},
			{"all are", []placement.OSDID{0, 1, 2, 3, 4, 5}, 0, len(data), -1, 4},
		} {
			h.SetSlow(c.slow...)
			clear(gets)
			res, err := p.Do(t.Context(), "o", new(client.Op).Read(uint64(c.off), uint64(c.n)))
			if err != nil || !bytes.Equal(res.Items[0].Data, data[c.off:c.off+c.n]) {
				t.Fatalf("%s: read: %v", c.name, err)
			}
			res.Release()
			all := 0
			for _, n := range gets {
				all += n
			}
			if c.its >= 0 && gets[slow] != c.its || all != c.all {
				t.Errorf("%s: %d requests, %d to the slow one; want %d and %d", c.name, all, gets[slow], c.all, c.its)
			}
		}
	})
}
