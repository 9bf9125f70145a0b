package chunkcare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/internal/wire/wirepb"
	"github.com/cairnstore/cairn/placement"
)

// settleWorld is a pool in memory with one PG, and its care.
type settleWorld struct {
	pool  *clienttest.Pool
	hold  *clienttest.Holders
	m     *placement.Map
	now   time.Time
	clean bool
	rules SettleRules
	care  *Care

	paused time.Duration
}

var settleStart = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func fixedPolicy() client.ChunkPolicy {
	return client.ChunkPolicy{Redundancy: placement.Redundancy{Codec: placement.ReedSolomon, K: 2, M: 1}, ChunkSize: 128 << 10}
}

func newSettleWorld(t testing.TB, pol client.ChunkPolicy) *settleWorld {
	t.Helper()
	pool := clienttest.New(t)
	hold := pool.MakeChunks(pol, 5)
	w := &settleWorld{pool: pool, hold: hold, now: settleStart, clean: true, rules: SettleRules{Every: time.Hour, Idle: time.Minute}}
	w.m = &placement.Map{Epoch: 1, Pools: []placement.Pool{{ID: 1, Name: "p", PGNum: 1, FirstPGNum: 1, PGNumTarget: 1, Chunks: pol}}}
	w.start(t)
	return w
}

// start begins anew, as after a restart of the OSD.
func (w *settleWorld) start(t testing.TB) {
	t.Helper()
	var err error
	w.care, err = New(Options{
		Cluster: w, Shards: noShards{}, Groups: w, Clock: w, Parallel: 1, Page: 2, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Chunks:      func(placement.PoolID) (Chunker, error) { return w.pool.Chunks(), nil },
		SettleRules: func(*placement.Map) SettleRules { return w.rules },
		Pause:       func(_ context.Context, d time.Duration) { w.paused += d },
	})
	if err != nil {
		t.Fatal(err)
	}
}

type noShards struct{ Shards }

func (w *settleWorld) Map() *placement.Map { return w.m }
func (w *settleWorld) Wall() time.Time     { return w.now }
func (w *settleWorld) Led() []Led {
	return []Led{{ID: placement.PGID{Pool: 1}, Clean: w.clean}}
}

func (w *settleWorld) Do(ctx context.Context, _ placement.PoolID, name string, op *client.Op) (*client.Result, error) {
	return w.pool.DoRaw(ctx, name, op)
}

func (w *settleWorld) Refs(context.Context, placement.PoolID, string) ([]chunk.Ref, error) {
	return nil, errors.New("not for settling")
}

func (w *settleWorld) Place(context.Context, placement.PGID, int, []placement.OSDID) ([]placement.OSDID, error) {
	return nil, errors.New("not for settling")
}

func (w *settleWorld) List(_ context.Context, _ placement.PGID, kind placement.RecordKind, after string, limit int) (names []string, more bool, err error) {
	if kind != 0 {
		return nil, false, errors.New("settling looks at objects only")
	}
	all := w.pool.Names()
	all = all[sort.SearchStrings(all, after+"\x00"):]
	return all[:min(limit, len(all))], len(all) > limit, nil
}

// write gives an object bytes of its own at the present.
func (w *settleWorld) write(t testing.TB, name string, off uint64, data []byte) {
	t.Helper()
	if _, err := w.pool.DoRaw(context.Background(), name, new(client.Op).Write(off, data).At(w.now)); err != nil {
		t.Fatal(err)
	}
}

// look lets an hour pass, in which everything becomes idle and due, and settles.
func (w *settleWorld) look(t testing.TB) SettleStatus {
	t.Helper()
	w.care.SettleStep(context.Background()) // takes in which PGs there are
	w.now = w.now.Add(time.Hour)
	w.care.SettleStep(context.Background())
	return w.care.SettleStatus(0)
}

// refs returns the references of an object and its size.
func (w *settleWorld) refs(t testing.TB, name string) ([]chunk.Ref, uint64) {
	t.Helper()
	res, err := w.pool.DoRaw(context.Background(), name, new(client.Op).Stat().ReadRefs(0, 4096))
	if err != nil {
		t.Fatal(err)
	}
	return res.Items[1].Refs, res.Items[0].Size
}

// own is how many bytes an object has itself.
func (w *settleWorld) own(t testing.TB, name string) uint64 {
	t.Helper()
	refs, size := w.refs(t, name)
	return ownBytes(ownRanges(size, refs))
}

// check holds an object against its bytes, and makes sure that its chunks know of it.
func (w *settleWorld) check(t testing.TB, name string, want []byte) {
	t.Helper()
	ctx := context.Background()
	res, err := w.pool.Do(ctx, name, new(client.Op).Read(0, 0))
	if err != nil {
		t.Fatalf("object %s: %v", name, err)
	}
	if !bytes.Equal(res.Items[0].Data, want) {
		t.Fatalf("object %s has other bytes than were written", name)
	}
	refs, _ := w.refs(t, name)
	for _, r := range refs {
		back := chunk.BackRef{Nonce: r.Nonce, Pool: 0, Object: name}
		res, err := w.pool.DoRaw(ctx, r.Chunk.IndexName(), new(client.Op).AsRecord().OmapList("", "", 1000))
		if err != nil {
			t.Fatalf("entry of chunk %s, to which object %s refers: %v", r.Chunk, name, err)
		}
		if !slices.ContainsFunc(res.Items[0].KVs, func(kv client.KV) bool { return strings.HasPrefix(kv.Key, string(back.Nonce[:])) }) {
			t.Fatalf("chunk %s does not know of object %s", r.Chunk, name)
		}
	}
}

// backRefs counts the references that all entries list.
func (w *settleWorld) backRefs(t testing.TB) (n int) {
	t.Helper()
	for _, name := range w.pool.Records(placement.ChunkEntry) {
		res, err := w.pool.DoRaw(context.Background(), name, new(client.Op).AsRecord().OmapList("", "", 1000))
		if err != nil {
			t.Fatal(err)
		}
		n += len(res.Items[0].KVs)
	}
	return n
}

func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// TestSettle settles objects under several policies: their bytes and times stay, nearly nothing of their own is left, and
// what is the same is stored once.
func TestSettle(t *testing.T) {
	base := fixedPolicy()
	content := base
	content.Cut = placement.CutContent
	off := base
	off.Dedup = placement.DedupOff
	packed := base
	packed.Packing = placement.PackS2
	copies := base
	copies.Redundancy = placement.Redundancy{K: 1, M: 2}
	small := base
	small.ChunkSize = 16 << 10
	for name, pol := range map[string]client.ChunkPolicy{"fixed": base, "content": content, "off": off, "packed": packed, "copies": copies, "small": small} {
		t.Run(name, func(t *testing.T) {
			w := newSettleWorld(t, pol)
			data := noise(1, 1<<20+112<<10)
			for at := 0; at < len(data); at += 64 << 10 { // as small writes come
				w.write(t, "a", uint64(at), data[at:min(len(data), at+64<<10)])
			}
			w.write(t, "b", 0, data)
			w.write(t, "tiny", 0, data[:15<<10])
			w.write(t, "sparse", 12<<20, data[:100])
			s := w.look(t)
			if s.Settled != 2 || s.Bytes != 2*int64(len(data)) || s.Conflicts+s.Failed != 0 || s.Waiting != "" {
				t.Errorf("status: %+v", s)
			}
			for _, o := range []string{"a", "b"} {
				w.check(t, o, data)
				if n := w.own(t, o); n != 0 {
					t.Errorf("object %s has %d bytes itself", o, n)
				}
				res, err := w.pool.Do(context.Background(), o, new(client.Op).Stat())
				if err != nil || !res.Items[0].Mtime.Equal(settleStart) {
					t.Errorf("object %s was written at %s, by its time: %v", o, res.Items[0].Mtime, err)
				}
			}
			w.check(t, "tiny", data[:15<<10])
			w.check(t, "sparse", append(make([]byte, 12<<20), data[:100]...))
			shared := w.backRefs(t) == 2*len(w.pool.Records(placement.ChunkEntry))
			if want := pol.Dedup != placement.DedupOff; shared != want {
				t.Errorf("two objects of the same bytes share their chunks: %v, want %v", shared, want)
			}

			// What has not changed is only asked whether it has, also after a restart.
			again := w.look(t)
			calls := w.pool.Calls()
			if again = w.look(t); again.Settled != 2 || w.pool.Calls()-calls != 4 {
				t.Errorf("a further look: %d requests for four objects, %+v", w.pool.Calls()-calls, again)
			}
			w.start(t)
			if s := w.look(t); s.Settled != 0 {
				t.Errorf("after a restart %d objects were settled again", s.Settled)
			}
		})
	}
}

// TestSettleOverwritten: what is written over chunks is there at once; a little of it stays the object's own, more is settled
// with what is left of the chunks.
func TestSettleOverwritten(t *testing.T) {
	for _, cut := range []placement.Cut{placement.CutFixed, placement.CutContent} {
		t.Run(cut.String(), func(t *testing.T) {
			pol := fixedPolicy()
			pol.Cut = cut
			w := newSettleWorld(t, pol)
			data := noise(1, 1<<20)
			w.write(t, "o", 0, data)
			w.look(t)
			before, _ := w.refs(t, "o")
			put := func(off, n int, seed byte) {
				copy(data[off:], noise(seed, n))
				w.write(t, "o", uint64(off), data[off:off+n])
				w.check(t, "o", data)
			}
			put(300_000, 4096, 2)
			w.look(t)
			if n := w.own(t, "o"); n != 4096 {
				t.Errorf("%d bytes of its own after 4 KiB were written over chunks, want these", n)
			}
			put(700_000, 65536, 3)
			w.look(t)
			w.check(t, "o", data)
			n := w.own(t, "o")
			if cut == placement.CutContent && n != 4096 || n >= 4096+65536 {
				t.Errorf("%d bytes of its own after 64 KiB more", n)
			}
			after, _ := w.refs(t, "o")
			same := 0
			for _, r := range after {
				if slices.ContainsFunc(before, func(b chunk.Ref) bool { return b.Nonce == r.Nonce }) {
					same++
				}
			}
			if same == 0 || same == len(before) {
				t.Errorf("%d of %d references stayed", same, len(before))
			}
		})
	}
}

func TestSettleRules(t *testing.T) {
	const own = 1 << 20
	start := settleStart
	for name, tt := range map[string]struct {
		rules          SettleRules
		written, since time.Duration // ago
		want           bool
	}{
		"none":           {SettleRules{}, time.Hour, time.Hour, false},
		"idle":           {SettleRules{Idle: time.Minute}, time.Minute, 0, true},
		"not idle":       {SettleRules{Idle: time.Minute}, time.Second, time.Hour, false},
		"old":            {SettleRules{Age: time.Minute}, 0, time.Minute, true},
		"not old":        {SettleRules{Age: time.Minute}, time.Hour, time.Second, false},
		"large":          {SettleRules{Size: own}, 0, 0, true},
		"not large":      {SettleRules{Size: own + 1}, time.Hour, time.Hour, false},
		"one is enough":  {SettleRules{Idle: time.Hour, Age: time.Hour, Size: own}, 0, 0, true},
		"of the future":  {SettleRules{Idle: time.Minute}, -time.Hour, 0, false},
		"all off but it": {SettleRules{Every: time.Minute, Idle: time.Second}, time.Minute, 0, true},
	} {
		if got := tt.rules.meet(start, start.Add(-tt.written), start.Add(-tt.since), own); got != tt.want {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
	m := &placement.Map{}
	if got, want := SettleRulesOf(m), (SettleRules{Every: time.Hour, Idle: time.Hour, Rate: 64 << 20}); got != want {
		t.Errorf("by default: got %+v, want %+v", got, want)
	}
}

// TestSettlePolicy: an object is settled as it says itself, or else as its pool says; whose an object of an S3 pool is that does not
// say so cannot be told, so its chunks are nobody's but its own.
func TestSettlePolicy(t *testing.T) {
	pool := fixedPolicy()
	with := func(f func(*client.ChunkPolicy)) client.ChunkPolicy { p := pool; f(&p); return p }
	cluster := with(func(p *client.ChunkPolicy) { p.Dedup = placement.DedupCluster })
	own := with(func(p *client.ChunkPolicy) {
		p.Redundancy.Codec, p.Redundancy.K, p.Packing = placement.Replica, 1, placement.PackS2
	})
	wide := with(func(p *client.ChunkPolicy) { p.Redundancy.M = 2 })
	settle := func(p client.ChunkPolicy) []byte { return (&chunk.Settle{Policy: p, Tenant: "acme"}).Append(nil) }
	for name, tt := range map[string]struct {
		app  string
		pool client.ChunkPolicy
		attr []byte
		want client.ChunkPolicy
		of   string
	}{
		"tenants":             {"s3", pool, nil, with(func(p *client.ChunkPolicy) { p.Dedup = placement.DedupOff }), ""},
		"tenants that share":  {"s3", cluster, nil, cluster, ""},
		"one tenant":          {"rbd", pool, nil, pool, ""},
		"its own":             {"s3", cluster, settle(own), own, "acme"},
		"of its tenant":       {"s3", pool, settle(pool), pool, "acme"},
		"never":               {"s3", pool, settle(client.ChunkPolicy{}), client.ChunkPolicy{}, "acme"},
		"too much for it":     {"rbd", pool, settle(wide), pool, ""},
		"of a newer version":  {"rbd", pool, append([]byte{9}, settle(own)[1:]...), pool, ""},
		"that makes no sense": {"rbd", pool, []byte{1, 99}, pool, ""},
		"that is empty":       {"rbd", pool, []byte{}, pool, ""},
	} {
		got := settlePolicy(&placement.Pool{Application: tt.app, Chunks: tt.pool, Size: 2}, tt.attr)
		if *got.Policy != tt.want || got.Tenant != tt.of {
			t.Errorf("%s: %s of %q, want %s of %q", name, got.Policy, got.Tenant, tt.want, tt.of)
		}
	}
}

// TestSettleAs: an object that says so is settled with another redundancy, among those of its tenant, or not at all.
func TestSettleAs(t *testing.T) {
	w := newSettleWorld(t, fixedPolicy())
	w.m.Pools[0].Application, w.m.Pools[0].Size = "s3", 2
	own := fixedPolicy()
	own.Redundancy = placement.Redundancy{Codec: placement.Replica, K: 1, M: 1}
	none := client.ChunkPolicy{}
	for name, opts := range map[string]client.ChunkOptions{
		"a": {Policy: &own, Tenant: "acme"}, "b": {Policy: &own, Tenant: "acme"}, "c": {Policy: &own, Tenant: "other"}, "never": {Policy: &none}, "pool": {},
	} {
		if _, err := w.pool.DoRaw(t.Context(), name, new(client.Op).WriteFull(noise(1, 128<<10)).SettleAs(opts).At(w.now)); err != nil {
			t.Fatal(err)
		}
	}
	w.care.SettleStep(t.Context()) // begins to count the hours
	w.now = w.now.Add(2 * time.Hour)
	w.care.SettleStep(t.Context())
	ref := func(name string) *chunk.Ref {
		t.Helper()
		res, err := w.pool.DoRaw(t.Context(), name, new(client.Op).ReadRefs(0, 10))
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Items[0].Refs) != 1 {
			return nil
		}
		return &res.Items[0].Refs[0]
	}
	a, b, c, pool := ref("a"), ref("b"), ref("c"), ref("pool")
	if a == nil || b == nil || c == nil || pool == nil || ref("never") != nil {
		t.Fatalf("settled: %v %v %v %v %v", a, b, c, pool, ref("never"))
	}
	if a.Layout.Redundancy != own.Redundancy || pool.Layout.Redundancy != fixedPolicy().Redundancy {
		t.Errorf("redundancy %s and %s", a.Layout.Redundancy, pool.Layout.Redundancy)
	}
	if a.Chunk != b.Chunk || a.Chunk == c.Chunk || pool.Chunk[0] != chunk.Own {
		t.Errorf("chunks %s %s %s %s", a.Chunk, b.Chunk, c.Chunk, pool.Chunk)
	}
}

// TestSettleWritten: a write between any two steps of settling wins, and what was made of the old bytes is given up.
func TestSettleWritten(t *testing.T) {
	data := noise(1, 512<<10)
	for step := 1; ; step++ {
		w := newSettleWorld(t, fixedPolicy())
		w.write(t, "o", 0, data)
		want := bytes.Clone(data)
		first, over := w.pool.Calls(), false
		w.pool.Before(func(_ context.Context, call clienttest.Call) error {
			if call.N == first+step {
				over = true
				w.pool.Before(nil)
				copy(want[1000:], "written meanwhile")
				w.write(t, "o", 1000, []byte("written meanwhile"))
			}
			return nil
		})
		s := w.look(t)
		w.pool.Before(nil)
		if !over {
			if step < 8 {
				t.Fatalf("settling took %d requests only", step-1)
			}
			return
		}
		w.check(t, "o", want)
		refs, _ := w.refs(t, "o")
		if s.Conflicts+s.Settled > 1 || s.Failed != 0 {
			t.Fatalf("a write before request %d: %+v", step, s)
		}
		if s.Conflicts > 0 && (len(refs) != 0 || w.backRefs(t) != 0) {
			t.Fatalf("a write before request %d: %d references are set, %d are listed", step, len(refs), w.backRefs(t))
		}
		w.look(t)
		w.check(t, "o", want)
		if own := w.own(t, "o"); own != 0 {
			t.Fatalf("a write before request %d: %d bytes are not settled by the next look", step, own)
		}
	}
}

// TestSettleAborted ends settling at every request, to the pool and to holders, in every way: at no point is anything but
// the object's bytes to be read, and the next look settles it.
func TestSettleAborted(t *testing.T) {
	data := noise(1, 320<<10)
	for _, how := range []string{"refused", "not sent", "answer lost", "killed before", "killed after"} {
		for step := 1; ; step++ {
			w := newSettleWorld(t, fixedPolicy())
			w.write(t, "o", 0, data)
			ctx, cancel := context.WithCancel(context.Background())
			at := w.pool.Calls() + step
			var hit atomic.Bool
			w.pool.Before(func(_ context.Context, call clienttest.Call) error {
				if call.N != at {
					return nil
				}
				hit.Store(true)
				switch how {
				case "refused":
					return client.ErrNotPermitted
				case "not sent":
					return client.ErrTimeout
				case "killed before":
					cancel()
				}
				return nil
			})
			w.pool.After(func(_ context.Context, call clienttest.Call, err error) error {
				switch {
				case call.N != at:
				case how == "answer lost":
					return client.ErrTimeout
				case how == "killed after":
					cancel()
				}
				return err
			})
			w.care.SettleStep(ctx)
			w.now = w.now.Add(time.Hour)
			w.care.SettleStep(ctx)
			cancel()
			w.pool.Before(nil)
			w.pool.After(nil)
			if !hit.Load() {
				if step < 8 {
					t.Fatalf("settling took %d requests only", step-1)
				}
				break
			}
			w.check(t, "o", data)
			refs, _ := w.refs(t, "o")
			if left := w.backRefs(t) - len(refs); left > 3 { // the object's chunks
				t.Fatalf("%s at request %d: %d references that no object has", how, step, left)
			}
			if strings.HasPrefix(how, "killed") {
				w.start(t)
			}
			w.look(t)
			w.check(t, "o", data)
			if own := w.own(t, "o"); own != 0 {
				t.Fatalf("%s at request %d: %d bytes are not settled by the next look", how, step, own)
			}
		}
	}
}

// TestSettleFewHolders: without enough holders objects stay as they are, and settling goes on when there are.
func TestSettleFewHolders(t *testing.T) {
	w := newSettleWorld(t, fixedPolicy())
	data := noise(1, 320<<10)
	w.write(t, "a", 0, data)
	w.write(t, "b", 0, data)
	h := w.hold
	for id := range placement.OSDID(3) {
		h.SetDown(id, true)
	}
	if s := w.look(t); s.Waiting == "" || s.Pending != 1 || s.Settled != 0 || s.Objects != 1 {
		t.Errorf("with two holders of three: %+v", s)
	}
	w.check(t, "a", data)
	w.care.SettleStep(context.Background())
	if s := w.care.SettleStatus(0); s.Objects != 1 {
		t.Error("it is tried again at once")
	}
	for id := range placement.OSDID(3) {
		h.SetDown(id, false)
	}
	if s := w.look(t); s.Waiting != "" || s.Pending != 0 || s.Settled != 2 {
		t.Errorf("with all holders: %+v", s)
	}
	if n := w.backRefs(t) - 2*len(w.pool.Records(placement.ChunkEntry)); n != 0 {
		t.Errorf("%d references too many", n)
	}
}

// TestSettleStuck: an object that cannot be settled does not keep others from it.
func TestSettleStuck(t *testing.T) {
	w := newSettleWorld(t, fixedPolicy())
	data := noise(1, 320<<10)
	for _, o := range []string{"a", "b", "c"} {
		w.write(t, o, 0, data)
	}
	w.pool.Before(func(_ context.Context, call clienttest.Call) error {
		switch {
		case call.Object == "a" && call.Has(wirepb.OpKind_SET_REF):
			return client.ErrInternal
		case call.Object == "b" && call.Has(wirepb.OpKind_SET_REF):
			return client.ErrTimeout
		}
		return nil
	})
	for range 6 {
		w.look(t)
	}
	if s := w.care.SettleStatus(0); s.Settled != 1 || s.Failed < 2 {
		t.Errorf("status: %+v", s)
	}
	if w.own(t, "c") != 0 {
		t.Error("the object behind those that fail is not settled")
	}
}

// TestSettleAsked: what is asked for is done at once and to the end, whatever the schedule and the rules.
func TestSettleAsked(t *testing.T) {
	ctx := context.Background()
	w := newSettleWorld(t, fixedPolicy())
	w.rules = SettleRules{}
	w.now = settleStart.Add(time.Hour) // by the clock of a client
	data := noise(1, 320<<10)
	w.write(t, "o", 0, data)
	w.now = settleStart
	w.look(t)
	if w.own(t, "o") == 0 {
		t.Fatal("it was settled without any rule")
	}
	ask := func(idle time.Duration) SettleStatus {
		t.Helper()
		got, err := w.care.Ask(ctx, AskSettle, 1, idle)
		if err != nil {
			t.Fatal(err)
		}
		return got.(SettleStatus)
	}
	if s := ask(-1); s.Pending != 0 {
		t.Errorf("a question began something: %+v", s)
	}
	w.clean = false
	if s := ask(0); s.Pending != 1 || s.PGs != 1 {
		t.Errorf("asked: %+v", s)
	}
	w.care.SettleStep(ctx)
	if s := ask(-1); s.Pending != 1 {
		t.Errorf("done in a PG that is not clean: %+v", s)
	}
	w.clean = true
	w.care.SettleStep(ctx)
	if s := ask(-1); s.Pending != 0 || s.Settled != 1 || w.own(t, "o") != 0 {
		t.Errorf("done: %+v, %d bytes are the object's own", s, w.own(t, "o"))
	}
	w.check(t, "o", data)
	w.m.Pools[0].Chunks = client.ChunkPolicy{}
	if _, err := w.care.Ask(ctx, AskSettle, 1, 0); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("a pool without chunks: %v", err)
	}
}

// TestSettleRate: settling takes its time.
func TestSettleRate(t *testing.T) {
	w := newSettleWorld(t, fixedPolicy())
	w.rules.Rate = 1 << 20
	w.write(t, "large", 0, noise(1, 9<<20))
	w.write(t, "small", 0, noise(2, 1<<20))
	w.look(t)
	if w.paused != 10*time.Second {
		t.Errorf("10 MiB at 1 MiB/s took %s", w.paused)
	}
	w.look(t)
	if w.paused != 10*time.Second {
		t.Error("a look at what is settled takes time")
	}
}

// TestPlan holds the plan of an object against its bytes one by one.
func TestPlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pol := fixedPolicy()
		pol.Cut = rapid.SampledFrom([]placement.Cut{placement.CutFixed, placement.CutContent}).Draw(t, "cut")
		const unit = 16 << 10 // chunks of eight units, at least four to be settled
		size := rapid.Uint64Range(1, 60).Draw(t, "size")
		var refs []chunk.Ref
		own := make([]bool, size)
		for i := range own {
			own[i] = true
		}
		for at := uint64(0); ; {
			from := at + rapid.Uint64Range(0, 9).Draw(t, "gap")
			to := from + rapid.Uint64Range(1, 9).Draw(t, "length")
			if to > size {
				break
			}
			r := chunk.Ref{Range: chunk.Range{From: from * unit, To: to * unit}}
			for n := from; n < to; n++ {
				own[n] = rapid.Bool().Draw(t, "covered")
				if own[n] && r.Cover(chunk.Range{From: n * unit, To: (n + 1) * unit}) {
					own[n] = false // a reference with nothing left would not be there
					r.Covered = nil
					for k := from; k < n; k++ {
						r.Cover(chunk.Range{From: k * unit, To: (k + 1) * unit})
					}
				}
			}
			refs = append(refs, r)
			at = to
		}
		last := uint64(0)
		in := make([]bool, size)
		spans := plan(&pol, size*unit, refs)
		for _, s := range spans {
			if s.From < last || s.From >= s.To || s.To > size*unit {
				t.Fatalf("span %v behind %d, of %d", s.Range, last, size*unit)
			}
			last = s.To
			n := uint64(0)
			for u := s.From / unit; u < s.To/unit; u++ {
				in[u] = true
				if own[u] {
					n += unit
				}
			}
			if n != s.own || n < settleLeast {
				t.Fatalf("span %v is said to have %d bytes of its own, it has %d", s.Range, s.own, n)
			}
			if pol.Cut == placement.CutFixed && (s.From%uint64(pol.ChunkSize) != 0 || s.Len() > uint64(pol.ChunkSize)) {
				t.Fatalf("span %v is no cell", s.Range)
			}
			for _, r := range refs {
				if pol.Cut == placement.CutContent && r.Range.From < s.To && r.Range.To > s.From && (r.Range.From < s.From || r.Range.To > s.To) {
					t.Fatalf("span %v cuts reference %v", s.Range, r.Range)
				}
			}
		}
		// What is left out is little: less than the least in each cell, or in a row.
		for from := uint64(0); from < size; {
			to := from + 1
			if pol.Cut == placement.CutFixed {
				to = min(size, from+8)
			} else {
				for to < size && own[to] == own[from] {
					to++
				}
			}
			n := 0
			for u := from; u < to; u++ {
				if own[u] && !in[u] {
					n++
				}
			}
			if n*unit >= settleLeast {
				t.Fatalf("units %d to %d: %d are left out of %v", from, to, n, spans)
			}
			from = to
		}
		var all []chunk.Range
		for _, round := range rounds(&pol, spans) {
			n := uint64(0)
			for _, r := range round {
				all = append(all, r)
				n += r.Len()
			}
			if n == 0 || n > roundBytes+uint64(pol.ChunkSize) {
				t.Fatalf("a round of %d bytes", n)
			}
		}
		joined, spanned := "", ""
		for u := range in {
			joined += fmt.Sprint(slices.ContainsFunc(all, func(r chunk.Range) bool { return r.From <= uint64(u)*unit && uint64(u+1)*unit <= r.To }))
			spanned += fmt.Sprint(in[u])
		}
		if joined != spanned {
			t.Fatalf("rounds have other bytes than spans: %v, %v", all, spans)
		}
	})
}

// TestSegments holds the parts that chunks are made of against the bytes.
func TestSegments(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pol := fixedPolicy()
		pol.Cut = rapid.SampledFrom([]placement.Cut{placement.CutFixed, placement.CutContent}).Draw(t, "cut")
		pol.ChunkSize = rapid.SampledFrom([]uint32{16 << 10, 128 << 10}).Draw(t, "chunk size")
		least := min(settleLeast, int(pol.ChunkSize))
		var data []byte
		for range rapid.IntRange(1, 8).Draw(t, "pieces") {
			piece := make([]byte, rapid.IntRange(1, 40).Draw(t, "blocks")*4096)
			if rapid.Bool().Draw(t, "filled") {
				for i := range piece {
					piece[i] = 1
				}
			}
			data = append(data, piece...)
		}
		data = data[:len(data)-rapid.IntRange(0, 4095).Draw(t, "end")]
		segs := segments(&pol, data)
		in, last := make([]bool, len(data)), uint64(0)
		for _, s := range segs {
			if s.From < last || s.From >= s.To || s.To > uint64(len(data)) {
				t.Fatalf("segments %v of %d bytes", segs, len(data))
			}
			last = s.To
			for i := s.From; i < s.To; i++ {
				in[i] = true
			}
			grid := uint64(pol.ChunkSize)
			if pol.Cut == placement.CutFixed && s.From/grid != (s.To-1)/grid && s.From%grid != 0 {
				t.Fatalf("segment %v is in several cells and not on the grid", s)
			}
		}
		// Zeros in a row inside of a cell, or of all, are not stored when there are many; what is left out otherwise is short.
		cell := len(data)
		if pol.Cut == placement.CutFixed {
			cell = int(pol.ChunkSize)
		}
		for from := 0; from < len(data); from += cell {
			to := min(len(data), from+cell)
			row, short := 0, 0
			for i := from; i < to; i++ {
				if row++; data[i] != 0 || !in[i] {
					row = 0
				}
				if row >= least+4096 {
					t.Fatalf("%d zeros up to byte %d are stored: %v", row, i, segs)
				}
				if short++; data[i] == 0 || in[i] {
					short = 0
				}
				if short >= least {
					t.Fatalf("%d bytes up to byte %d are not stored: %v", short, i, segs)
				}
			}
		}
	})
}

// TestRounds: one change of an object is bounded, whatever its size.
func TestRounds(t *testing.T) {
	pol := fixedPolicy()
	for _, cut := range []placement.Cut{placement.CutFixed, placement.CutContent} {
		for _, size := range []uint32{8 << 10, 4 << 20} {
			pol.Cut, pol.ChunkSize = cut, size
			total, most := uint64(0), min(roundBytes, roundChunks*uint64(size))
			for _, round := range rounds(&pol, plan(&pol, 64<<20, nil)) {
				if len(round) != 1 || round[0].Len() > most || round[0].From != total {
					t.Errorf("cut %s, size %d: round %v behind %d", cut, size, round, total)
				}
				total += round[0].Len()
			}
			if total != 64<<20 {
				t.Errorf("cut %s, size %d: %d bytes", cut, size, total)
			}
		}
	}
}
