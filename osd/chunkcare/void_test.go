package chunkcare

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// theEntry returns the only entry of the index.
func (w *repairWorld) theEntry(t *testing.T) *entry {
	t.Helper()
	names := w.Records(placement.ChunkEntry)
	if len(names) != 1 {
		t.Fatalf("%d entries", len(names))
	}
	fp, _ := chunk.FingerprintOf(names[0])
	e, err := w.care.entry(context.Background(), at{1, fp})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// forget has the only entry lose its references, as no rule allows, and condemns it long enough ago for GC.
func (w *repairWorld) forget(t *testing.T) *entry {
	t.Helper()
	ctx := context.Background()
	e := w.theEntry(t)
	op := new(client.Op)
	for _, kv := range e.refs {
		op.OmapRm(kv.Key)
	}
	res, err := w.Do(ctx, 1, e.fp.IndexName(), op)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.care.condemn(ctx, e.at(), res.Version); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Hour)
	return e
}

// gc deletes condemned chunks.
func (w *repairWorld) gc(t *testing.T) error {
	t.Helper()
	return w.care.gc(context.Background(), placement.PGID{Pool: 1}, 10*time.Minute)
}

// Whoever finds an object that refers to a chunk that is being deleted does not bring back its entry: shards of it may be
// dropped any moment.
func TestHealBesideDeletion(t *testing.T) {
	w := newRepairWorld(t, "2:1:xor", 5)
	w.write(t, "o", 1)
	w.forget(t)
	healing := 0
	w.hold.Before(func(ctx context.Context, call clienttest.HolderCall) error {
		if call.What == "drop" {
			if healing++; healing == 1 {
				_, err := w.care.auditObject(ctx, 1, "o", &finds{})
				if err != nil {
					t.Error(err)
				}
			}
		}
		return nil
	})
	if err := w.gc(t); err != nil {
		t.Fatal(err)
	}
	w.hold.Before(nil)
	if healing != 3 {
		t.Fatalf("%d shards were dropped", healing)
	}
	if n := w.lacks(t); n > 0 {
		t.Errorf("the index has an entry again that lacks %d shards", n)
	}
	if n := len(w.Records(placement.ChunkEntry)); n != 0 {
		t.Errorf("%d entries", n)
	}
}

// A chunk whose deletion got no further than its void record is as good as before, and can be deleted later.
func TestDeletionBegunAndNotMade(t *testing.T) {
	w := newRepairWorld(t, "2:1:xor", 5)
	w.write(t, "o", 1)
	w.forget(t)
	crash := errors.New("crashed")
	w.Before(func(_ context.Context, call clienttest.Call) error {
		for _, op := range call.Ops {
			if _, is := chunk.FingerprintOf(call.Object); is && op.Kind == wirepb.OpKind_REMOVE {
				return crash
			}
		}
		return nil
	})
	if err := w.gc(t); !errors.Is(err, crash) {
		t.Fatal(err)
	}
	w.Before(nil)
	if n := len(w.Records(placement.VoidChunk)); n != 1 {
		t.Fatalf("%d void records when the entry is about to be removed", n)
	}
	w.write(t, "again", 1)
	if st := w.ChunkStats(); st.Shared != 1 {
		t.Fatalf("%+v", st)
	}
	w.read(t, "again", 1)
	// Nearly a day later it is deleted after all: its void record is kept for a day from then on.
	w.now = w.now.Add(22 * time.Hour)
	w.forget(t)
	if err := w.gc(t); err != nil {
		t.Fatal(err)
	}
	if entries, shards := len(w.Records(placement.ChunkEntry)), w.hold.Count(); entries+shards > 0 {
		t.Errorf("%d entries, %d shards", entries, shards)
	}
	for _, x := range []struct {
		after time.Duration
		left  int
	}{{23 * time.Hour, 1}, {2 * time.Hour, 0}} {
		w.now = w.now.Add(x.after)
		if err := w.care.voids(context.Background(), placement.PGID{Pool: 1}, voidAge); err != nil {
			t.Fatal(err)
		}
		if n := len(w.Records(placement.VoidChunk)); n != x.left {
			t.Fatalf("%d void records, want %d", n, x.left)
		}
	}
}

// A void record that is needed again while it is about to be removed for its age stays.
func TestVoidRenewed(t *testing.T) {
	w := newRepairWorld(t, "2:1:xor", 5)
	void := chunk.VoidChunkName(7, chunk.Fingerprint{1})
	renew := func() {
		if _, err := w.Do(context.Background(), 1, void, new(client.Op).Create(false)); err != nil {
			t.Fatal(err)
		}
	}
	renew()
	w.now = w.now.Add(25 * time.Hour)
	w.Before(func(_ context.Context, call clienttest.Call) error {
		for _, op := range call.Ops {
			if op.Kind == wirepb.OpKind_REMOVE {
				w.Before(nil)
				renew()
			}
		}
		return nil
	})
	if err := w.care.voids(context.Background(), placement.PGID{Pool: 1}, voidAge); err != nil {
		t.Fatal(err)
	}
	if n := len(w.Records(placement.VoidChunk)); n != 1 {
		t.Errorf("%d void records", n)
	}
}
