package chunkcare

import (
	"context"
	"fmt"
	"testing"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/chunk"
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
