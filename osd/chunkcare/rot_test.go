package chunkcare

import (
	"context"
	"fmt"
	"testing"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/chunk/ec"
	"github.com/cairnstore/cairn/placement"
)

// rotten is a world whose holders find some shards damaged when they read them, until they are stored again.
type rotten struct {
	shardsOf
	bad map[string]bool
}

func (r *rotten) name(at placement.OSDID, id ShardID) string { return fmt.Sprint(at, id) }

// Put implements Shards.
func (r *rotten) Put(ctx context.Context, at placement.OSDID, id ShardID, data []byte) error {
	if r.bad[r.name(at, id)] {
		delete(r.bad, r.name(at, id))
		if err := r.shardsOf.Drop(ctx, at, []ShardID{id}); err != nil {
			return err
		}
	}
	return r.shardsOf.Put(ctx, at, id, data)
}

func (r *rotten) Get(ctx context.Context, at placement.OSDID, id ShardID) ([]byte, error) {
	if r.bad[r.name(at, id)] {
		return nil, client.ErrCorrupt
	}
	return r.shardsOf.Get(ctx, at, id)
}

// Stat implements Shards.
func (r *rotten) Stat(ctx context.Context, at placement.OSDID, id ShardID, verify bool) (Held, error) {
	if verify && r.bad[r.name(at, id)] {
		return Held{}, client.ErrCorrupt
	}
	return r.shardsOf.Stat(ctx, at, id, verify)
}

// TestRot: a shard that is there but cannot be read is found by a deep look only, and made again where it is; with more of them
// than the chunk survives it is reported, and made good once there are enough again.
func TestRot(t *testing.T) {
	w := newRepairWorld(t, "2:1:xor", 5)
	r := &rotten{shardsOf{w}, map[string]bool{}}
	w.care.o.Shards = r
	w.write(t, "o", 1)
	fp, _ := chunk.FingerprintOf(w.Records(placement.ChunkEntry)[0])
	e, err := w.care.entry(context.Background(), at{1, fp})
	if err != nil {
		t.Fatal(err)
	}
	spoil := func(i int) { r.bad[r.name(e.layout.Holders[i], e.shard(i))] = true }
	spoil(1)
	if rep := w.ask(t, AskAudit); rep.Work.Repaired != 0 || rep.Chunks.Degraded != 0 {
		t.Errorf("a light look: %+v %+v", rep.Work, rep.Chunks)
	}
	if rep := w.ask(t, AskRepair); rep.Work.Repaired != 1 || rep.Chunks.Degraded != 0 || len(r.bad) != 0 {
		t.Errorf("a deep look: %+v %+v, %d shards are damaged still", rep.Work, rep.Chunks, len(r.bad))
	}
	spoil(0)
	spoil(2)
	rep := w.ask(t, AskRepair)
	if rep.Work.Repaired != 0 || rep.Chunks.Missing != 1 || len(rep.Problems) != 1 || rep.Problems[0].Kind != "unreadable" || rep.Problems[0].Name != fp.String() {
		t.Errorf("two of three damaged: %+v %+v %v", rep.Work, rep.Chunks, rep.Problems)
	}
	delete(r.bad, r.name(e.layout.Holders[0], e.shard(0))) // the disk reads it again
	if rep := w.ask(t, AskRepair); rep.Work.Repaired != 1 || rep.Chunks.Missing != 0 || len(rep.Problems) != 0 || len(r.bad) != 0 {
		t.Errorf("one of three damaged: %+v %+v %v", rep.Work, rep.Chunks, rep.Problems)
	}
	w.read(t, "o", 1)
}

// setBytes gives a chunk the shards of other bytes, which belong together.
func (w *repairWorld) setBytes(t *testing.T, e *entry, data []byte) {
	t.Helper()
	coder, err := ec.New(e.layout.Redundancy)
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range coder.Encode(data, make([]byte, coder.ExtraBytes(len(data)))) {
		at, id := e.layout.Holders[i], e.shard(i)
		if err := w.Drop(context.Background(), at, []ShardID{id}); err == nil {
			err = w.Put(context.Background(), at, id, b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestOtherBytes: shards that can be read and belong together, but have other bytes than the chunk is named for, are reported by
// name, and by every later look; nothing of them is removed, nobody else is given that chunk, and it is as good as any when
// its bytes are back.
func TestOtherBytes(t *testing.T) {
	for _, c := range []struct {
		redundancy string
		dedup      placement.Dedup
	}{{"2:1:xor", placement.DedupTenant}, {"replica:2", placement.DedupCluster}, {"replica:2", placement.DedupOff}} {
		t.Run(fmt.Sprint(c.redundancy, " ", c.dedup), func(t *testing.T) {
			w := newRepairWorld(t, c.redundancy, 5)
			r, _ := placement.ParseRedundancy(c.redundancy)
			w.policy = &client.ChunkPolicy{Redundancy: r, ChunkSize: 128 << 10, Dedup: c.dedup}
			w.write(t, "o", 1)
			fp, _ := chunk.FingerprintOf(w.Records(placement.ChunkEntry)[0])
			e, err := w.care.entry(context.Background(), at{1, fp})
			if err != nil {
				t.Fatal(err)
			}
			other := noise(1, 128<<10)
			other[99_999] ^= 4
			w.setBytes(t, e, other)
			if rep := w.ask(t, AskAudit); rep.Chunks.Damaged != 0 {
				t.Errorf("a light look read shards: %+v", rep.Chunks)
			}
			for _, what := range []string{AskRepair, AskAudit, AskGC} {
				rep := w.ask(t, what)
				if rep.Chunks.Damaged != 1 || len(rep.Problems) != 1 || rep.Problems[0].Kind != "damaged" || rep.Problems[0].Name != fp.String() {
					t.Errorf("%s: %+v %v", what, rep.Chunks, rep.Problems)
				}
			}
			if w.lacks(t) != 0 {
				t.Error("shards were removed")
			}
			w.write(t, "again", 1)
			w.read(t, "again", 1)
			if n := len(w.Records(placement.ChunkEntry)); n != 2 {
				t.Errorf("there are %d chunks", n)
			}
			w.setBytes(t, e, noise(1, 128<<10))
			if rep := w.ask(t, AskAudit); rep.Chunks.Damaged != 0 || len(rep.Problems) != 0 {
				t.Errorf("its bytes are back: %+v %v", rep.Chunks, rep.Problems)
			}
			w.write(t, "third", 1)
			if n := len(w.Records(placement.ChunkEntry)); n != 2 && c.dedup != placement.DedupOff {
				t.Errorf("there are %d chunks, one of which the third object might have used", n)
			}
		})
	}
}

// TestUnverifiable: an entry that an older version made does not say of which dedup domain its chunk is; that is no error, and
// the next hit puts it right.
func TestUnverifiable(t *testing.T) {
	w := newRepairWorld(t, "replica:2", 5)
	w.write(t, "o", 1)
	name := w.Records(placement.ChunkEntry)[0]
	if _, err := w.Do(context.Background(), 1, name, new(client.Op).RmAttr(chunk.DomainAttr)); err != nil {
		t.Fatal(err)
	}
	if rep := w.ask(t, AskRepair); rep.Chunks.Damaged != 0 || rep.Chunks.Unverifiable != 1 || len(rep.Problems) != 0 {
		t.Errorf("%+v %v", rep.Chunks, rep.Problems)
	}
	w.write(t, "again", 1)
	if rep := w.ask(t, AskRepair); rep.Chunks.Damaged != 0 || rep.Chunks.Unverifiable != 0 {
		t.Errorf("%+v %v", rep.Chunks, rep.Problems)
	}
}
