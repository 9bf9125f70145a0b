package chunkcare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
	"github.com/cairnstore/cairn/placement/crush"
)

// repairWorld is a pool in memory with one PG, OSDs that hold shards, and the care of one that has none.
type repairWorld struct {
	*clienttest.Pool
	hold  *clienttest.Holders
	m     *placement.Map
	now   time.Time
	stuck string // an object that cannot be reached

	unclean bool // the PG lacks copies

	care *Care

	policy *client.ChunkPolicy // of writes, nil: the pool's
}

func newRepairWorld(t *testing.T, redundancy string, osds int) *repairWorld {
	t.Helper()
	r, err := placement.ParseRedundancy(redundancy)
	if err != nil {
		t.Fatal(err)
	}
	w := &repairWorld{Pool: clienttest.New(t), now: time.Now().Add(time.Hour)}
	w.hold = w.MakeChunks(client.ChunkPolicy{Redundancy: r, ChunkSize: 128 << 10}, osds)
	w.m = &placement.Map{Epoch: 1, Crush: crush.NewDefault(), NextOSD: placement.OSDID(osds), NextPool: 2,
		Pools: []placement.Pool{{ID: 1, Name: "p", Size: 3, MinSize: 1, PGNum: 1, FirstPGNum: 1, PGNumTarget: 1}}}
	for id := range osds {
		host := fmt.Sprintf("h%d", id)
		if err := w.m.Crush.AddDevice(id, "ssd", crush.WeightOne, crush.Location{"root": crush.DefaultRoot, "host": host}); err != nil {
			t.Fatal(err)
		}
		w.m.OSDs = append(w.m.OSDs, placement.OSD{ID: placement.OSDID(id), Class: "ssd", Up: true, Weight: placement.WeightOne, Capacity: 1 << 40, Addr: host})
	}
	w.care, err = New(Options{Self: 99, Cluster: w, Shards: shardsOf{w}, Groups: w, Clock: w, Parallel: 1, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *repairWorld) Map() *placement.Map { return w.m }
func (w *repairWorld) Wall() time.Time     { return w.now }
func (w *repairWorld) Led() []Led          { return []Led{{ID: placement.PGID{Pool: 1}, Clean: !w.unclean}} }

// Do implements Cluster.
func (w *repairWorld) Do(ctx context.Context, _ placement.PoolID, name string, op *client.Op) (*client.Result, error) {
	if placement.IsRecord(name) {
		op.AsRecord()
	}
	return w.DoRaw(ctx, name, op.At(w.now))
}

func (w *repairWorld) Refs(ctx context.Context, _ placement.PoolID, object string) ([]chunk.Ref, error) {
	if object == w.stuck {
		return nil, client.ErrTimeout
	}
	res, err := w.DoRaw(ctx, object, new(client.Op).ReadRefs(0, 1000))
	if errors.Is(err, client.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return res.Items[0].Refs, nil
}

// List implements Cluster.
func (w *repairWorld) List(_ context.Context, _ placement.PGID, kind placement.RecordKind, after string, limit int) (names []string, more bool, err error) {
	all := w.Names()
	if kind != 0 {
		all = w.Records(kind)
	}
	slices.Sort(all)
	all = slices.DeleteFunc(all, func(n string) bool { return n <= after })
	return all[:min(limit, len(all))], len(all) > limit, nil
}

func (w *repairWorld) Place(ctx context.Context, _ placement.PGID, count int, avoid []placement.OSDID) ([]placement.OSDID, error) {
	return w.hold.Place(ctx, "", count, nil, avoid)
}

func shardName(id ShardID) client.ShardID {
	return client.ShardID{Chunk: id.Chunk, Gen: id.Gen, Index: id.Index}
}

// Put implements Shards.
func (w *repairWorld) Put(ctx context.Context, at placement.OSDID, id ShardID, data []byte) error {
	return w.hold.Put(ctx, at, shardName(id), data, nil)
}

func (w *repairWorld) Get(ctx context.Context, at placement.OSDID, id ShardID) ([]byte, error) {
	d, err := w.hold.Get(ctx, at, shardName(id), 0, chunk.MaxBytes)
	return d.Data, err
}

// Stat implements Shards.
func (w *repairWorld) Stat(ctx context.Context, at placement.OSDID, id ShardID, _ bool) (Held, error) {
	data, err := w.Get(ctx, at, id)
	return Held{ID: id, Size: int64(len(data))}, err
}

func (w *repairWorld) Drop(ctx context.Context, at placement.OSDID, ids []ShardID) error {
	for _, id := range ids {
		if err := w.hold.Drop(ctx, at, []client.ShardID{shardName(id)}); err != nil {
			return err
		}
	}
	return nil
}

// shardsOf is what repairWorld has besides: List is another thing there.
type shardsOf struct{ *repairWorld }

// List implements Shards: the OSD itself has none.
func (shardsOf) List(context.Context, placement.OSDID, placement.PoolID, *ShardID, int) ([]Held, bool, error) {
	return nil, false, nil
}

func (w *repairWorld) write(t *testing.T, name string, seed byte) {
	t.Helper()
	if _, err := w.DoChunked(context.Background(), name, new(client.Op).WriteFull(noise(seed, 128<<10)), client.ChunkOptions{Policy: w.policy}); err != nil {
		t.Fatal(err)
	}
}

func (w *repairWorld) read(t *testing.T, name string, seed byte) {
	t.Helper()
	res, err := w.Pool.Do(context.Background(), name, new(client.Op).Read(0, 0))
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	if string(res.Items[0].Data) != string(noise(seed, 128<<10)) {
		t.Fatalf("read %s: other bytes", name)
	}
}

func (w *repairWorld) ask(t *testing.T, what string) *Report {
	t.Helper()
	r, err := w.care.Ask(context.Background(), what, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return r.(*Report)
}

// lacks counts the shards that entries list and holders do not have.
func (w *repairWorld) lacks(t *testing.T) (n int) {
	t.Helper()
	for _, name := range w.Records(placement.ChunkEntry) {
		fp, _ := chunk.FingerprintOf(name)
		e, err := w.care.entry(context.Background(), at{1, fp})
		if err != nil {
			t.Fatal(err)
		}
		for i, h := range e.layout.Holders {
			if _, err := w.Get(context.Background(), h, e.shard(i)); err != nil {
				n++
			}
		}
	}
	return n
}

// An object that cannot be reached keeps its own chunk from being audited, but none from being repaired.
func TestStuckObject(t *testing.T) {
	w := newRepairWorld(t, "2:1:xor", 5)
	for i := range byte(6) {
		w.write(t, fmt.Sprint("o", i), i)
	}
	w.hold.Lose(1)
	if w.lacks(t) == 0 {
		t.Fatal("nothing was lost")
	}
	w.stuck = "o3"
	r := w.ask(t, AskAudit)
	if len(r.Errors) == 0 {
		t.Error("the audit says nothing of an object that it cannot reach")
	}
	if n := w.lacks(t); n > 0 {
		t.Errorf("%d shards were not repaired: %q", n, r.Errors)
	}
	// Outbox records of others are worked off.
	for i := range 6 {
		if _, err := w.Do(context.Background(), 1, fmt.Sprint("o", i), new(client.Op).Remove(false)); err != nil {
			t.Fatal(err)
		}
	}
	before := len(w.Records(placement.Outbox))
	w.ask(t, AskAudit)
	if left := len(w.Records(placement.Outbox)); before != 6 || left != 1 {
		t.Errorf("%d outbox records of %d are left", left, before)
	}
}

// Who finds a condemned chunk in the index takes it as it is: it is repaired like others.
func TestCondemnedRepaired(t *testing.T) {
	w := newRepairWorld(t, "2:1:xor", 5)
	w.write(t, "o", 1)
	if _, err := w.Do(context.Background(), 1, "o", new(client.Op).Remove(false)); err != nil {
		t.Fatal(err)
	}
	w.ask(t, AskAudit)
	if n := len(w.Records(placement.Condemned)); n != 1 {
		t.Fatalf("%d chunks are condemned", n)
	}
	for osd := range placement.OSDID(5) {
		if len(w.hold.Shards(osd)) > 0 {
			w.hold.Lose(osd)
			break
		}
	}
	w.ask(t, AskRepair)
	w.write(t, "o", 1)
	if st := w.ChunkStats(); st.Shared != 1 {
		t.Fatalf("%+v", st)
	}
	if n := w.lacks(t); n != 0 {
		t.Errorf("the chunk lacks %d shards when it is used again", n)
	}
}

// A chunk whose bytes are lost is not taken for stored: who has them stores them again.
func TestLostChunkIsNotShared(t *testing.T) {
	w := newRepairWorld(t, "replica:2", 5)
	w.write(t, "o", 1)
	back := w.hold.Clone()
	for osd := range placement.OSDID(5) {
		w.hold.Lose(osd)
	}
	w.ask(t, AskRepair)
	w.write(t, "again", 1)
	w.read(t, "again", 1)
	// Its shards come back, and it is as good as any other.
	for osd := range placement.OSDID(5) {
		for _, id := range back.Shards(osd) {
			d, err := back.Get(context.Background(), osd, id, 0, chunk.MaxBytes)
			if err == nil {
				err = w.hold.Put(context.Background(), osd, id, d.Data, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	w.ask(t, AskRepair)
	w.read(t, "o", 1)
	before := w.ChunkStats().Shared
	w.write(t, "third", 1)
	if st := w.ChunkStats(); st.Shared != before+1 {
		t.Errorf("%+v", st)
	}
}
