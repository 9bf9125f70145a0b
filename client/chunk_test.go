package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

func chunkPolicy(t testing.TB, redundancy string, tune ...func(*client.ChunkPolicy)) client.ChunkPolicy {
	t.Helper()
	r, err := placement.ParseRedundancy(redundancy)
	if err != nil {
		t.Fatal(err)
	}
	p := client.ChunkPolicy{Redundancy: r, ChunkSize: 128 << 10}
	for _, f := range tune {
		f(&p)
	}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	return p
}

// randomBytes are bytes that nothing compresses.
func randomBytes(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

func mustWrite(t testing.TB, p client.ChunkObjects, object string, data []byte) {
	t.Helper()
	if _, err := p.DoChunked(context.Background(), object, new(client.Op).WriteFull(data), client.ChunkOptions{}); err != nil {
		t.Fatalf("write %q: %v", object, err)
	}
}

func checkRead(t testing.TB, p client.Objects, object string, want []byte) {
	t.Helper()
	res, err := p.Do(context.Background(), object, new(client.Op).Read(0, 0))
	if err != nil {
		t.Fatalf("read %q: %v", object, err)
	}
	if !bytes.Equal(res.Items[0].Data, want) {
		t.Fatalf("read %q: wrong bytes (%d of %d)", object, len(res.Items[0].Data), len(want))
	}
	res.Release()
}

var redundancies = []string{"replica:1", "replica:3", "2:1:xor", "4:1:xor", "2:2:rs", "3:2:rs", "4:2:rs", "9:3:rs"}

// TestChunkModes writes in every mode, loses as many OSDs as it stands, and reads ranges.
func TestChunkModes(t *testing.T) {
	for _, red := range redundancies {
		for _, packing := range []placement.Packing{placement.PackNone, placement.PackS2} {
			t.Run(fmt.Sprintf("%s %s", red, packing), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					pol := chunkPolicy(t, red, func(p *client.ChunkPolicy) { p.Packing = packing })
					p := clienttest.New(t)
					h := p.MakeChunks(pol, 14)
					data := randomBytes(1, 700<<10+77)
					for i := range data[:300<<10] {
						data[i] &= 3 // can be packed
					}
					mustWrite(t, p, "o", data)
					if st := p.ChunkStats(); st.Written != 5 || p.Bytes() < int64(len(data)) {
						t.Fatalf("%+v, %d bytes", st, p.Bytes())
					}
					checkRead(t, p, "o", data)
					if st := p.ChunkStats(); st.Rebuilt+st.Hedged+st.BadShards != 0 {
						t.Fatalf("a read that all is well for: %+v", st)
					}
					rng := rand.New(rand.NewPCG(1, 2))
					ranges := func() {
						t.Helper()
						for range 40 {
							off := rng.IntN(len(data))
							n := 1 + rng.IntN(min(len(data)-off, 1<<(1+rng.IntN(19))))
							res, err := p.Do(context.Background(), "o", new(client.Op).Read(uint64(off), uint64(n)))
							if err != nil {
								t.Fatal(err)
							}
							if !bytes.Equal(res.Items[0].Data, data[off:off+n]) {
								t.Fatalf("%d bytes at %d are wrong", n, off)
							}
							res.Release()
						}
					}
					ranges()
					for i := range pol.Redundancy.M { // first they are down, then empty
						h.SetDown(placement.OSDID(i), true)
					}
					checkRead(t, p, "o", data)
					ranges()
					for i := range pol.Redundancy.M {
						h.SetDown(placement.OSDID(i), false)
						h.Lose(placement.OSDID(i))
					}
					checkRead(t, p, "o", data)
					ranges()
				})
			})
		}
	}
}

// TestChunkModel compares an object under random writes with bytes in memory, on OSDs some of which fail.
func TestChunkModel(t *testing.T) {
	var all client.ChunkStats
	for seed := range uint64(6) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			pol := chunkPolicy(t, []string{"4:2:rs", "replica:2", "3:1:xor"}[seed%3], func(p *client.ChunkPolicy) {
				p.ChunkSize = 64 << 10
				p.Cut = placement.Cut(seed % 2)
				p.Packing = []placement.Packing{placement.PackNone, placement.PackS2, placement.PackLZ4}[seed/2%3] // zstd has channels, which a bubble does not like
			})
			p := clienttest.New(t)
			h := p.MakeChunks(pol, 9)
			var mu sync.Mutex
			h.Before(func(_ context.Context, c clienttest.HolderCall) error {
				mu.Lock()
				defer mu.Unlock()
				if rng.IntN(20) == 0 {
					return errors.New("the test says no")
				}
				return nil
			})
			var model []byte
			const most = 600 << 10
			intN := func(n int) int { mu.Lock(); defer mu.Unlock(); return rng.IntN(n) }
			for step := range 100 {
				op := new(client.Op)
				off, n := intN(most), 1+intN(1<<(8+intN(11)))
				data := randomBytes(uint64(step)+100*seed, n)
				for i := range data {
					if intN(2) == 0 {
						break
					}
					data[i] = 0
				}
				grow := func(to int) {
					if to > len(model) {
						model = append(model, make([]byte, to-len(model))...)
					}
				}
				switch k := intN(8); {
				case k == 0:
					model = slices.Clone(data)
					op.WriteFull(data)
				case k == 1 && len(model) > 0:
					to := intN(len(model))
					model = model[:to:to]
					op.Truncate(uint64(to))
				case k == 2 && len(model) > 0:
					from := intN(len(model))
					to := min(from+n, len(model))
					clear(model[from:to])
					op.Zero(uint64(from), uint64(to-from))
				default:
					grow(off + n)
					copy(model[off:], data)
					op.Write(uint64(off), data)
				}
				if _, err := p.DoChunked(context.Background(), "o", op, client.ChunkOptions{}); err != nil {
					t.Fatalf("seed %d, step %d: %v", seed, step, err)
				}
				off = intN(len(model) + 1)
				res, err := p.Do(context.Background(), "o", new(client.Op).Read(0, 0).Read(uint64(off), uint64(n)))
				if err != nil {
					t.Fatalf("seed %d, step %d: %v", seed, step, err)
				}
				if !bytes.Equal(res.Items[0].Data, model) || !bytes.Equal(res.Items[1].Data, model[off:min(off+n, len(model))]) {
					t.Fatalf("seed %d, step %d: wrong bytes", seed, step)
				}
				res.Release()
			}
			st := p.ChunkStats()
			all.Written += st.Written
			all.Replaced += st.Replaced
			all.Rebuilt += st.Rebuilt
		})
	}
	if all.Written < 20 || all.Replaced == 0 || all.Rebuilt < 10 {
		t.Errorf("the test did not do what it is for: %+v", all)
	}
}

// layoutOf reads the layout of the only chunk.
func layoutOf(t testing.TB, p *clienttest.Pool, entry string) chunk.Layout {
	t.Helper()
	res, err := p.DoRaw(context.Background(), entry, new(client.Op).AsRecord().GetAttr(chunk.LayoutAttr))
	if err != nil {
		t.Fatal(err)
	}
	l, err := chunk.DecodeLayout(res.Items[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// backRefs lists who refers to a chunk by its entry.
func backRefs(t testing.TB, p *clienttest.Pool, entry string) int {
	t.Helper()
	res, err := p.DoRaw(context.Background(), entry, new(client.Op).AsRecord().OmapList("", "", 100))
	if err != nil {
		t.Fatal(err)
	}
	return len(res.Items[0].KVs)
}

// oneChunk makes a pool of 4:2:rs with so many OSDs, and bytes for one chunk.
func oneChunk(t testing.TB, osds int) (*clienttest.Pool, *clienttest.Holders, []byte) {
	p := clienttest.New(t)
	return p, p.MakeChunks(chunkPolicy(t, "4:2:rs"), osds), randomBytes(3, 128<<10)
}

func entries(p *clienttest.Pool) []string { return p.Records(placement.ChunkEntry) }

// TestChunkHolderFails: whatever a holder does, the chunk is whole and the object right, or the write fails.
func TestChunkHolderFails(t *testing.T) {
	refuse := errors.New("connection reset")
	for _, c := range []struct {
		name     string
		osds     int
		rig      func(*clienttest.Holders)
		local    int64 // pieces that stay in the object
		replaced bool
	}{
		{"dies before storing", 7, func(h *clienttest.Holders) {
			h.Before(func(_ context.Context, c clienttest.HolderCall) error {
				if c.What == "put" && c.OSD == 2 {
					return refuse
				}
				return nil
			})
		}, 0, true},
		{"dies after storing", 7, func(h *clienttest.Holders) {
			h.After(func(_ context.Context, c clienttest.HolderCall, err error) error {
				if c.What == "put" && c.OSD == 2 {
					return refuse
				}
				return err
			})
		}, 0, true},
		{"is full", 7, func(h *clienttest.Holders) { h.SetFull(2, true) }, 0, true},
		{"fails once, with no other", 6, func(h *clienttest.Holders) {
			var n atomic.Int32
			h.Before(func(_ context.Context, c clienttest.HolderCall) error {
				if c.What == "put" && c.OSD == 2 && n.Add(1) == 1 {
					return refuse
				}
				return nil
			})
		}, 0, false},
		{"fails for good, with no other", 6, func(h *clienttest.Holders) {
			h.Before(func(_ context.Context, c clienttest.HolderCall) error {
				if c.What == "put" && c.OSD == 2 {
					return refuse
				}
				return nil
			})
		}, 1, false},
		{"is down, with no other", 6, func(h *clienttest.Holders) { h.SetDown(5, true) }, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, h, data := oneChunk(t, c.osds)
				c.rig(h)
				for range 3 { // turns of holders
					mustWrite(t, p, "o", data)
					checkRead(t, p, "o", data)
					data = append(randomBytes(uint64(data[0]), len(data)-1), 0)
				}
				st := p.ChunkStats()
				if (st.Local > 0) != (c.local > 0) || (st.Replaced > 0) != c.replaced {
					t.Errorf("%+v", st)
				}
				for _, e := range entries(p) {
					l := layoutOf(t, p, e)
					fp, _ := chunk.FingerprintOf(e)
					for i, osd := range l.Holders {
						if !slices.Contains(h.Shards(osd), client.ShardID{Chunk: fp, Gen: l.Gen, Index: i}) {
							t.Errorf("shard %d is not on %s", i, osd)
						}
					}
					if s := slices.Sorted(slices.Values(l.Holders)); len(slices.Compact(s)) != 6 {
						t.Errorf("holders %v", l.Holders)
					}
				}
				if c.local > 0 && h.Count() > 0 {
					t.Errorf("%d shards are left of chunks that were given up", h.Count())
				}
			})
		})
	}
}

// TestChunkNoSpace: when nobody has room the write says so, and nothing is left.
func TestChunkNoSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, h, data := oneChunk(t, 8)
		for i := range 8 {
			h.SetFull(placement.OSDID(i), i > 1)
		}
		_, err := p.DoChunked(context.Background(), "o", new(client.Op).WriteFull(data), client.ChunkOptions{})
		if !errors.Is(err, client.ErrNoSpace) || h.Count() > 0 || len(entries(p)) > 0 || len(p.Names()) > 0 {
			t.Fatalf("%v, %d shards, %d entries, objects %v", err, h.Count(), len(entries(p)), p.Names())
		}
	})
}

func isCommit(c clienttest.Call) bool { return c.Has(wirepb.OpKind_ASSERT_NO_RECORD) }
func isAdopt(c clienttest.Call) bool {
	return placement.IsRecord(c.Object) && c.Has(wirepb.OpKind_ASSERT_EXISTS) && c.Has(wirepb.OpKind_OMAP_SET)
}
func isSetRef(c clienttest.Call) bool { return c.Has(wirepb.OpKind_SET_REF) }

// TestChunkLostRace: who comes second uses what the first has stored, and drops its own shards.
func TestChunkLostRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, h, data := oneChunk(t, 8)
		once := false
		p.Before(func(_ context.Context, c clienttest.Call) error {
			if isCommit(c) && !once {
				once = true
				mustWrite(t, p, "first", data)
			}
			return nil
		})
		mustWrite(t, p, "second", data)
		st := p.ChunkStats()
		if st.LostRaces != 1 || st.Written != 1 || st.Shared != 1 || h.Count() != 6 || backRefs(t, p, entries(p)[0]) != 2 {
			t.Fatalf("%+v, %d shards, %d references", st, h.Count(), backRefs(t, p, entries(p)[0]))
		}
		checkRead(t, p, "first", data)
		checkRead(t, p, "second", data)
	})
}

// TestChunkUnknown: when nobody knows whether a step took effect, the write says so and takes nothing back.
func TestChunkUnknown(t *testing.T) {
	for name, step := range map[string]func(clienttest.Call) bool{"commit": isCommit, "adopt": isAdopt, "set": isSetRef} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, h, data := oneChunk(t, 8)
				shards, refs := 6, 1
				if name == "adopt" {
					mustWrite(t, p, "other", data)
					refs = 2
				}
				p.After(func(_ context.Context, c clienttest.Call, err error) error {
					if step(c) {
						return client.ErrTimeout
					}
					return err
				})
				_, err := p.DoChunked(context.Background(), "o", new(client.Op).WriteFull(data), client.ChunkOptions{})
				if !errors.Is(err, client.ErrTimeout) || h.Count() != shards || backRefs(t, p, entries(p)[0]) != refs {
					t.Fatalf("%v; %d shards, %d references", err, h.Count(), backRefs(t, p, entries(p)[0]))
				}
				p.After(nil)
				mustWrite(t, p, "o", data)
				checkRead(t, p, "o", data)
			})
		})
	}
}

// record makes a record as the audit does.
func record(t testing.TB, p *clienttest.Pool, name string) {
	t.Helper()
	if _, err := p.DoRaw(context.Background(), name, new(client.Op).AsRecord().Create(false)); err != nil {
		t.Fatal(err)
	}
}

// TestChunkVoid: what the audit has given up is made anew under another name.
func TestChunkVoid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, h, data := oneChunk(t, 8)
		voided := map[string]int{}
		p.Before(func(_ context.Context, c clienttest.Call) error {
			switch {
			case isCommit(c) && voided["chunk"] == 0:
				voided["chunk"]++
				for _, op := range c.Ops {
					if op.Kind == wirepb.OpKind_ASSERT_NO_RECORD {
						record(t, p, string(op.Name))
					}
				}
			case isSetRef(c) && voided["ref"] == 0:
				voided["ref"]++
				for _, op := range c.Ops {
					if op.Kind == wirepb.OpKind_SET_REF {
						ref, err := chunk.DecodeRef(op.Value)
						if err != nil {
							t.Error(err)
						}
						record(t, p, chunk.VoidRefName(ref.Nonce, "o"))
					}
				}
			}
			return nil
		})
		mustWrite(t, p, "o", data)
		if h.Count() != 6 || backRefs(t, p, entries(p)[0]) != 1 || voided["chunk"] != 1 || voided["ref"] != 1 {
			t.Fatalf("%d shards, %d references, %v", h.Count(), backRefs(t, p, entries(p)[0]), voided)
		}
		checkRead(t, p, "o", data)
	})
}

// TestChunkConditionFails: a write that fails for certain takes its references back.
func TestChunkConditionFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _, data := oneChunk(t, 8)
		op := new(client.Op).WriteFull(append(randomBytes(8, 128<<10), data...)).AssertVersion(77)
		_, err := p.DoChunked(context.Background(), "o", op, client.ChunkOptions{})
		var oe *client.OpError
		if !errors.Is(err, client.ErrConflict) || !errors.As(err, &oe) || oe.Index != 1 {
			t.Fatalf("%v, index %d", err, oe.Index)
		}
		for _, e := range entries(p) {
			if n := backRefs(t, p, e); n != 0 {
				t.Errorf("%d references are left", n)
			}
		}
		if len(entries(p)) != 2 {
			t.Errorf("%d entries", len(entries(p)))
		}
	})
}

// TestChunkMixedOp: results and conditions are those of the Op that the caller made.
func TestChunkMixedOp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _, data := oneChunk(t, 8)
		mustWrite(t, p, "o", []byte("small"))
		op := new(client.Op).AssertExists().Read(0, 3).Write(10, data).SetAttr("a", []byte("b")).Write(1, []byte("x")).Stat()
		res, err := p.DoChunked(context.Background(), "o", op, client.ChunkOptions{})
		if err != nil || len(res.Items) != 6 || string(res.Items[1].Data) != "sma" || res.Items[5].Size != 5 {
			t.Fatalf("%v, %+v", err, res)
		}
		want := append([]byte("sxall\x00\x00\x00\x00\x00"), data...)
		checkRead(t, p, "o", want)
	})
}

// TestChunkDedup: in a domain equal bytes are stored once; in another one again.
func TestChunkDedup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, h, data := oneChunk(t, 8)
		write := func(object, tenant string, shards int) {
			t.Helper()
			if _, err := p.DoChunked(context.Background(), object, new(client.Op).WriteFull(data), client.ChunkOptions{Tenant: tenant}); err != nil {
				t.Fatal(err)
			}
			if h.Count() != shards {
				t.Fatalf("%d shards after %s", h.Count(), object)
			}
			checkRead(t, p, object, data)
		}
		write("a", "ann", 6)
		write("b", "ann", 6)
		write("c", "bob", 12)
		// Who wants to survive more does not share with who is content with less.
		for i, c := range []struct {
			redundancy string
			shards     int
		}{{"replica:3", 12}, {"replica:2", 14}, {"2:1:xor", 14}} {
			pol := chunkPolicy(t, c.redundancy)
			if _, err := p.DoChunked(context.Background(), fmt.Sprint("r", i), new(client.Op).WriteFull(data), client.ChunkOptions{Tenant: "ann", Policy: &pol}); err != nil {
				t.Fatal(err)
			}
			if h.Count() != c.shards {
				t.Fatalf("%d shards after %s, want %d", h.Count(), c.redundancy, c.shards)
			}
		}
		off := chunkPolicy(t, "replica:2", func(p *client.ChunkPolicy) { p.Dedup = placement.DedupOff })
		for i := range 2 {
			if _, err := p.DoChunked(context.Background(), fmt.Sprint(i), new(client.Op).WriteFull(data), client.ChunkOptions{Tenant: "ann", Policy: &off}); err != nil {
				t.Fatal(err)
			}
		}
		if h.Count() != 18 {
			t.Fatalf("%d shards", h.Count())
		}
	})
}

// TestChunkRevived: who finds a condemned chunk keeps it from being deleted.
func TestChunkRevived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _, data := oneChunk(t, 8)
		mustWrite(t, p, "a", data)
		entry := entries(p)[0]
		if _, err := p.DoRaw(context.Background(), entry, new(client.Op).AsRecord().SetAttr(chunk.CondemnedAttr, make([]byte, 8))); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, p, "b", data)
		_, err := p.DoRaw(context.Background(), entry, new(client.Op).AsRecord().CmpAttr(chunk.CondemnedAttr, make([]byte, 8)).Remove(false))
		if !errors.Is(err, client.ErrConflict) {
			t.Fatalf("the chunk is deleted as if nobody referred to it: %v", err)
		}
		checkRead(t, p, "b", data)
	})
}

// TestChunkMemory: shards under way are bounded, however much is written at a time.
func TestChunkMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 2 << 20
		raw, h := clienttest.New(t), clienttest.NewHolders(6)
		pol := chunkPolicy(t, "4:2:rs")
		x := client.NewChunks("p", 1, raw, h, func() client.ChunkPolicy { return pol }, client.NewChunkPlane(most, time.Minute, nil))
		var under, peak atomic.Int64
		h.Before(func(_ context.Context, c clienttest.HolderCall) error {
			if c.What == "put" {
				peak.Store(max(peak.Load(), under.Add(32<<10)))
				<-time.After(time.Millisecond) // of the bubble's time: all that may be under way is
			}
			return nil
		})
		h.After(func(_ context.Context, c clienttest.HolderCall, err error) error {
			if c.What == "put" {
				under.Add(-32 << 10)
			}
			return err
		})
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				data := randomBytes(uint64(i), 2<<20)
				if _, err := x.DoChunked(context.Background(), fmt.Sprint(i), new(client.Op).WriteFull(data), client.ChunkOptions{}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		// A chunk counts with its own bytes and those of its shards.
		if p := peak.Load(); p > most || p < most/4 {
			t.Fatalf("%d bytes of shards under way, the limit is %d", p, most)
		}
	})
}

// TestChunkMoved: a reference whose chunk care has moved is read by the index, and the next time at once.
func TestChunkMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, h, data := oneChunk(t, 14)
		mustWrite(t, p, "o", data)
		entry := entries(p)[0]
		fp, _ := chunk.FingerprintOf(entry)
		l := layoutOf(t, p, entry)
		for i, osd := range l.Holders[:4] {
			to := (osd + 7) % 14
			if !h.Move(client.ShardID{Chunk: fp, Gen: l.Gen, Index: i}, osd, to) {
				t.Fatal("no such shard")
			}
			l.Holders[i] = to
		}
		if _, err := p.DoRaw(context.Background(), entry, new(client.Op).AsRecord().SetAttr(chunk.LayoutAttr, l.Append(nil))); err != nil {
			t.Fatal(err)
		}
		checkRead(t, p, "o", data)
		if st := p.ChunkStats(); st.Moved != 1 || st.BadShards == 0 {
			t.Fatalf("%+v", st)
		}
		before := p.Calls()
		checkRead(t, p, "o", data)
		if n := p.Calls() - before; n != 1 {
			t.Fatalf("%d operations for a read whose layout is known", n)
		}
	})
}

// TestChunkGone: whoever finds a chunk gone reads the object again.
func TestChunkGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, h, old := oneChunk(t, 8)
		mustWrite(t, p, "o", old)
		data := randomBytes(9, 200<<10)
		var once sync.Once
		h.Before(func(_ context.Context, c clienttest.HolderCall) error {
			if c.What == "get" {
				once.Do(func() { // the object is written anew, and all that was is collected
					entry := entries(p)[0]
					mustWrite(t, p, "o", data)
					if _, err := p.DoRaw(context.Background(), entry, new(client.Op).AsRecord().Remove(false)); err != nil {
						t.Error(err)
					}
					fp, _ := chunk.FingerprintOf(entry)
					for i := range 8 {
						for _, id := range h.Shards(placement.OSDID(i)) {
							if id.Chunk == fp {
								_ = h.Drop(context.Background(), placement.OSDID(i), []client.ShardID{id})
							}
						}
					}
				})
			}
			return nil
		})
		checkRead(t, p, "o", data)
		if st := p.ChunkStats(); st.Reread == 0 {
			t.Fatalf("%+v", st)
		}
	})
}

// TestChunkLost: the error of what nobody can bring back says what is lost and who said so.
func TestChunkLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, h, data := oneChunk(t, 6)
		mustWrite(t, p, "o", data)
		for i := range 3 {
			h.Lose(placement.OSDID(i))
		}
		_, err := p.Do(context.Background(), "o", new(client.Op).Read(0, 0))
		if !errors.Is(err, client.ErrCorrupt) {
			t.Fatal(err)
		}
		fp, _ := chunk.FingerprintOf(entries(p)[0])
		for _, want := range []string{fp.String(), `object "o"`, "osd.0", "osd.1", "osd.2", "3 of its 6 shards", "cairn gc audit"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in: %v", want, err)
			}
		}
		if _, err := p.DoRaw(context.Background(), entries(p)[0], new(client.Op).AsRecord().Remove(false)); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Do(context.Background(), "o", new(client.Op).Read(0, 0)); !errors.Is(err, client.ErrCorrupt) || !strings.Contains(err.Error(), fp.String()) {
			t.Fatalf("without an entry: %v", err)
		}
	})
}

// TestChunkComesBack: shards that are out of reach are waited for.
func TestChunkComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, h, data := oneChunk(t, 6)
		mustWrite(t, p, "o", data)
		var asked atomic.Int32
		h.Before(func(context.Context, clienttest.HolderCall) error {
			if asked.Add(1) < 20 {
				return errors.New("connection refused")
			}
			return nil
		})
		checkRead(t, p, "o", data)
	})
}

// TestChunkSlow: one that does not answer is not waited for.
func TestChunkSlow(t *testing.T) {
	for _, red := range []string{"4:2:rs", "replica:2"} {
		synctest.Test(t, func(t *testing.T) {
			p := clienttest.New(t)
			h := p.MakeChunks(chunkPolicy(t, red), 6)
			data := randomBytes(3, 128<<10)
			mustWrite(t, p, "o", data)
			l := layoutOf(t, p, entries(p)[0])
			h.Before(func(ctx context.Context, c clienttest.HolderCall) error {
				if c.OSD == l.Holders[0] {
					<-ctx.Done()
				}
				return nil
			})
			for range 8 { // of copies any is asked first
				checkRead(t, p, "o", data)
			}
			if st := p.ChunkStats(); st.Hedged != 1 || st.Rebuilt == 0 || st.BadShards > 0 {
				t.Fatalf("%+v", st) // those after the first know better than to ask it
			}
		})
	}
}

// TestChunkCancelled: a read that is given up ends, and says whom it waited for.
func TestChunkCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, h, data := oneChunk(t, 6)
		mustWrite(t, p, "o", data)
		ctx, cancel := context.WithCancel(context.Background())
		var asked atomic.Int32
		h.Before(func(ctx context.Context, _ clienttest.HolderCall) error {
			if asked.Add(1) == 6 { // all have been asked by then, as those before are slow
				cancel()
			}
			<-ctx.Done()
			return ctx.Err()
		})
		_, err := p.Do(ctx, "o", new(client.Op).Read(0, 0))
		if !errors.Is(err, client.ErrTimeout) || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "has not answered") {
			t.Fatal(err)
		}
	})
}

// TestPutChunks: references of a stream, set by an Op of the caller's or given up.
func TestPutChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, h, _ := oneChunk(t, 8)
		ctx := context.Background()
		data := randomBytes(4, 300<<10)
		refs, err := p.Chunks().PutChunks(ctx, "o", data, client.ChunkOptions{Tenant: "ann"})
		if err != nil || len(refs) != 3 {
			t.Fatalf("%d references: %v", len(refs), err)
		}
		op := new(client.Op).Create(true)
		for _, r := range refs {
			op.SetRef(1000+r.Range.From, r.Range.Len(), r)
		}
		if _, err := p.Do(ctx, "o", op); err != nil {
			t.Fatal(err)
		}
		checkRead(t, p, "o", append(make([]byte, 1000), data...))
		refs, err = p.Chunks().PutChunks(ctx, "other", data, client.ChunkOptions{Tenant: "ann"})
		if err != nil || h.Count() != 18 {
			t.Fatalf("%d shards: %v", h.Count(), err)
		}
		p.Chunks().AbandonChunks(ctx, "other", refs)
		for _, e := range entries(p) {
			if n := backRefs(t, p, e); n != 1 {
				t.Errorf("%d references", n)
			}
		}
		if _, err := p.Chunks().PutChunks(ctx, "o", data, client.ChunkOptions{Policy: &client.ChunkPolicy{}}); !errors.Is(err, client.ErrInvalid) {
			t.Error(err)
		}
	})
}
