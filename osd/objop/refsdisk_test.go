package objop_test

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/osd/objop"
	"github.com/cairnstore/cairn/osd/store"
)

// TestRefsOnDisk does the same to an object in the engine in memory, which is obviously right, and to one in the real engine: answers,
// changes and drops are the same. What the real one says of omaps are bounds, and it is asked for parts of them.
func TestRefsOnDisk(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d: go test ./osd/objop -run TestRefsOnDisk -seed %d", seed, seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	if err := store.Create(dir, store.CreateOptions{JournalBytes: 32 << 20, Capacity: 1 << 30, Log: log}); err != nil {
		t.Fatal(err)
	}
	disk, err := store.Open(dir, store.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	f, dropped := newFake(), 0
	const span = 300_000
	for n := uint64(1); n <= 250; n++ {
		var ops []o
		for range 1 + rng.IntN(3) {
			op := o{off: rng.Uint64N(span), n: 1 + rng.Uint64N(span/3)}
			switch k := rng.IntN(20); {
			case k < 7:
				r := someRef(rng.Uint32(), op.off, op.off+op.n, 0, uint32(op.n))
				op = setOp(r)
			case k < 13:
				op.k, op.n, op.data = write, 0, string(bytes.Repeat([]byte{byte(n)}, int(op.n)>>(2*rng.IntN(5))))
			case k < 14:
				op.k = zero
			case k < 15:
				op.k, op.n = truncate, 0
			case k < 17:
				op = o{k: omapSet, name: []string{"\x00a", "k"}[rng.IntN(2)], val: "v"}
			case k < 18:
				op = o{k: omapClear}
			case k < 19:
				op = o{k: omapRmRange, end: "l"}
			default:
				op = o{k: remove, flag: true}
			}
			ops = append(ops, op)
		}
		req, payload := request(ops)
		want, got := objop.Execute(f, key, req, payload), objop.Execute(disk, key, req, payload)
		if got.Code != want.Code || got.Removed != want.Removed || len(got.Drops) != len(want.Drops) {
			t.Fatalf("request %d: on disk %v %q removed %v, %d drops; want %v, %v, %d", n, got.Code, got.Text, got.Removed, len(got.Drops), want.Code, want.Removed, len(want.Drops))
		}
		for i := range got.Drops {
			if got.Drops[i] != want.Drops[i] {
				t.Fatalf("request %d drops %v, want %v", n, got.Drops, want.Drops)
			}
		}
		dropped += len(got.Drops)
		f.apply(want.Ops, n)
		f.mtime = int64(n)
		batch := got.Ops
		if !got.Removed {
			batch = append(batch, store.Op{Kind: store.OpSetVersion, Key: key, Version: store.Version{Term: 3, Seq: n}, Mtime: int64(n)})
		}
		if err := store.Apply(disk, &store.Batch{Ops: batch}); err != nil {
			t.Fatal(err)
		}
		for _, ask := range [][]o{{{k: stat}, {k: read}, {k: omapList}}, {{k: read, off: rng.Uint64N(span), n: 1 + rng.Uint64N(span)}}, {{k: read, flag: true, limit: 3}}} {
			req, _ := request(ask)
			want, got := objop.Execute(f, key, req, nil), objop.Execute(disk, key, req, nil)
			if got.Code != want.Code || !bytes.Equal(got.Payload, want.Payload) || !proto.Equal(got.Reply, want.Reply) {
				t.Fatalf("after request %d %+v: on disk %v %q %v\nwant %v %v", n, ask, got.Code, got.Text, short(got.Reply), want.Code, short(want.Reply))
			}
		}
	}
	if kvs, _, err := disk.OmapList(key, []byte(chunk.RefKeys), []byte(chunk.RefKeysEnd), 10); err == nil {
		t.Logf("%d references dropped; at the end there are %d or more", dropped, len(kvs))
	}
	if dropped == 0 {
		t.Error("nothing was ever dropped: the test tries nothing")
	}
}

func short(r *wirepb.OpReply) string {
	s := r.String()
	return s[:min(len(s), 600)]
}
