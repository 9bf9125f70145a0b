package bucket

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

var insertMiB = flag.Int("insert-mib", 0, "size of the body of TestChunkedInsert in MiB, with chunks of 1 MiB; 0: small")

func chunkPolicy(t testing.TB, set ...string) client.ChunkPolicy {
	t.Helper()
	var p client.ChunkPolicy
	for _, kv := range set {
		key, value, _ := strings.Cut(kv, "=")
		if err := p.Set(key, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	return p
}

const chunkOSDs = 8

// chunkedFixture is a fixture whose data pool makes chunks, on so many OSDs.
func chunkedFixture(t *testing.T, pol client.ChunkPolicy, change func(o *Options)) (*fixture, *clienttest.Holders) {
	t.Helper()
	var h *clienttest.Holders
	f := newFixture(t, func(o *Options) {
		h = o.Data.(*clienttest.Pool).MakeChunks(pol, chunkOSDs)
		o.ChunkBytes = 1 << 20
		o.ChunkedBytes = 1 << 20
		if change != nil {
			change(o)
		}
	})
	return f, h
}

func randomBody(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32())})
	_, _ = r.Read(b)
	return b
}

// index returns the back-references of all chunks: nonce and object, by chunk.
func (f *fixture) index() map[chunk.Fingerprint]map[chunk.BackRef]bool {
	f.t.Helper()
	out := map[chunk.Fingerprint]map[chunk.BackRef]bool{}
	for _, name := range f.data.Records(placement.ChunkEntry) {
		fp, ok := chunk.FingerprintOf(name)
		if !ok {
			f.t.Fatalf("record %q is no chunk's", name)
		}
		info, err := f.data.Chunks().Info(f.t.Context(), fp, 10_000)
		if err != nil {
			f.t.Fatal(err)
		}
		out[fp] = map[chunk.BackRef]bool{}
		for _, b := range info.Refs {
			b.At = 0
			out[fp][b] = true
		}
	}
	return out
}

// care does what the care for chunks does: it takes dropped references out of the index.
func (f *fixture) care() {
	f.t.Helper()
	for _, name := range f.data.Records(placement.Outbox) {
		res, err := f.data.DoRaw(f.t.Context(), name, new(client.Op).AsRecord().Read(0, 0))
		if err != nil {
			f.t.Fatal(err)
		}
		list, err := chunk.DecodeDropped(res.Items[0].Data)
		if err != nil {
			f.t.Fatal(err)
		}
		for _, d := range list {
			b := chunk.BackRef{Nonce: d.Nonce, Pool: 1, Object: placement.Locator(name)}
			if _, err := f.data.DoRaw(f.t.Context(), d.Chunk.IndexName(), new(client.Op).AsRecord().AssertExists().OmapRm(b.Key())); err != nil {
				f.t.Fatal(err)
			}
		}
		if _, err := f.data.DoRaw(f.t.Context(), name, new(client.Op).AsRecord().Remove(false)); err != nil {
			f.t.Fatal(err)
		}
	}
}

// audit does what the audit does: it takes references out of the index that no object has, which is how operations end
// of which nobody knows whether they took effect.
func (f *fixture) audit() {
	f.t.Helper()
	f.care()
	for fp, refs := range f.index() {
		for b := range refs {
			if _, err := f.data.DoRaw(f.t.Context(), b.Object, new(client.Op).Stat()); err == nil {
				f.t.Fatalf("object %s is there", b.Object)
			}
			if _, err := f.data.DoRaw(f.t.Context(), fp.IndexName(), new(client.Op).AsRecord().OmapRm(b.Key())); err != nil {
				f.t.Fatal(err)
			}
		}
	}
}

// wantIndex checks that the index lists exactly the references that objects have.
func (f *fixture) wantIndex() (refs int) {
	f.t.Helper()
	f.care()
	index := f.index()
	for _, object := range f.data.Names() {
		list, _, err := f.data.Chunks().Refs(f.t.Context(), object)
		if err != nil {
			f.t.Fatal(err)
		}
		for _, r := range list {
			b := chunk.BackRef{Nonce: r.Nonce, Pool: 1, Object: object}
			if !index[r.Chunk][b] {
				f.t.Fatalf("object %s refers to chunk %s with nonce %s, which the index does not know", object, r.Chunk, r.Nonce)
			}
			delete(index[r.Chunk], b)
			refs++
		}
	}
	for fp, left := range index {
		for b := range left {
			f.t.Fatalf("chunk %s lists %+v, which no object has", fp, b)
		}
	}
	return refs
}

func TestChunkedBodies(t *testing.T) {
	for _, set := range [][]string{
		{"chunks=replica:1", "chunk_size=64K"},
		{"chunks=4:2:rs", "chunk_size=64K", "cut=content"},
		{"chunks=2:1:xor", "chunk_size=128K", "cut=content", "dedup=off"},
		{"chunks=replica:2", "chunk_size=256K", "dedup=cluster", "compression=zstd"},
		{"chunks=replica:1", "chunk_size=1M", "cut=content"},
	} {
		t.Run(strings.Join(set, ","), func(t *testing.T) {
			f, _ := chunkedFixture(t, chunkPolicy(t, set...), func(o *Options) { o.Window = 2; o.ChunkedBytes = 700_000 })
			rng := seeded(t)
			for _, n := range []int{50_000, 64 << 10, 64<<10 + 1, 1 << 20, 3<<20 + 77_777, 6 << 20} {
				want := randomBody(rng, n)
				o := f.put("k", want)
				f.want("k", want)
				for range 10 {
					off := rng.IntN(n + 1)
					size := rng.IntN(n - off + 1)
					r, err := o.Open(t.Context(), int64(off), int64(size))
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(r)
					r.Close()
					if err != nil || !bytes.Equal(got, want[off:off+size]) {
						t.Fatalf("range %d+%d of %d: %d bytes, %v", off, size, n, len(got), err)
					}
				}
				if refs := f.wantIndex(); refs == 0 && n > 64<<10+1 {
					t.Errorf("%d bytes: no references", n)
				}
			}
			if err := f.b.Delete(t.Context(), "k", Cond{}); err != nil {
				t.Fatal(err)
			}
			f.sweep()
			f.wantData(0)
			if refs := f.wantIndex(); refs != 0 {
				t.Errorf("%d references left", refs)
			}
		})
	}
}

// Ten times the same body is stored once, also under other keys and by parts; another tenant's is stored again.
func TestChunkedTwice(t *testing.T) {
	for _, cut := range []string{"fixed", "content"} {
		t.Run(cut, func(t *testing.T) {
			f, h := chunkedFixture(t, chunkPolicy(t, "chunks=replica:2", "chunk_size=64K", "cut="+cut), nil)
			want := randomBody(seeded(t), 5<<20)
			f.put("k0", want)
			first, shards := f.data.ChunkStats(), h.Count()
			for i := 1; i < 10; i++ {
				f.put(fmt.Sprint("k", i), want)
			}
			u, err := f.b.CreateUpload(t.Context(), "parts", UploadInput{})
			if err != nil {
				t.Fatal(err)
			}
			p, err := f.b.UploadPart(t.Context(), "parts", u, 1, PartInput{Body: bytes.NewReader(want), Size: int64(len(want))})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.b.Complete(t.Context(), "parts", u, CompleteInput{Parts: []CompletePart{{Number: 1, ETag: p.ETag}}}); err != nil {
				t.Fatal(err)
			}
			f.want("parts", want)
			f.want("k9", want)
			if st := f.data.ChunkStats(); st.Written != first.Written || h.Count() != shards || first.Written < 40 {
				t.Errorf("%d chunks stored for the first, %d after ten more; %d shards, then %d", first.Written, st.Written, shards, h.Count())
			}
			f.wantIndex()

			bob, err := f.svc.Create(t.Context(), "bobs", "bob", "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := put(bob, "k", want); err != nil {
				t.Fatal(err)
			}
			if st := f.data.ChunkStats(); st.Written != 2*first.Written {
				t.Errorf("%d chunks stored for two tenants, want %d", st.Written, 2*first.Written)
			}
		})
	}
}

// A byte inserted in front leaves 98 % and more of a body's chunks what they were, also those that lie in two data
// objects. go test ./client/bucket -run TestChunkedInsert -insert-mib 256 -v measures it with chunks of 1 MiB.
func TestChunkedInsert(t *testing.T) {
	n, size, objects := 12<<20, "64K", 1<<20
	if *insertMiB > 0 {
		n, size, objects = *insertMiB<<20, "1M", 32<<20
	}
	f, h := chunkedFixture(t, chunkPolicy(t, "chunks=replica:1", "cut=content", "chunk_size="+size), func(o *Options) { o.ChunkedBytes = objects })
	want := randomBody(seeded(t), n+1)
	f.put("a", want[1:])
	first, moved := f.data.ChunkStats(), h.Bytes()
	f.put("b", want)
	f.want("b", want)
	st := f.data.ChunkStats()
	kept := 1 - float64(h.Bytes()-moved)/float64(n)
	t.Logf("%d bytes: %d chunks, %d more after the insertion; %.2f %% of the bytes deduplicated", n, first.Written, st.Written-first.Written, 100*kept)
	if kept < 0.98 {
		t.Errorf("only %.2f %% of the bytes are deduplicated", 100*kept)
	}
	f.wantIndex()
}

// What fails leaves nothing behind.
func TestChunkedAborts(t *testing.T) {
	for _, set := range [][]string{{"chunks=4:2:rs", "chunk_size=64K", "cut=content"}, {"chunks=replica:2", "chunk_size=64K", "dedup=off"}} {
		t.Run(set[0], func(t *testing.T) {
			f, _ := chunkedFixture(t, chunkPolicy(t, set...), nil)
			want := randomBody(seeded(t), 4<<20)
			broken := errors.New("the client went away")
			in := PutInput{Size: int64(len(want)), Body: io.MultiReader(bytes.NewReader(want[:3<<20]), errReader{broken})}
			if _, err := f.b.Put(t.Context(), "k", in); !errors.Is(err, broken) {
				t.Fatalf("a body that breaks off: %v", err)
			}
			in = PutInput{Size: int64(len(want)), Body: bytes.NewReader(want), MD5: make([]byte, 16)}
			if _, err := f.b.Put(t.Context(), "k", in); !errors.Is(err, ErrDigest) {
				t.Fatalf("a body with another digest: %v", err)
			}
			in = PutInput{Size: int64(len(want)) - 1, Body: bytes.NewReader(want)}
			if _, err := f.b.Put(t.Context(), "k", in); !errors.Is(err, ErrBodySize) {
				t.Fatalf("a body that goes on: %v", err)
			}
			f.sweep()
			f.wantData(0)
			if refs := f.wantIndex(); refs != 0 {
				t.Errorf("%d references", refs)
			}
			// A data object that does not take its references.
			f.data.Before(func(_ context.Context, c clienttest.Call) error {
				if strings.HasPrefix(c.Object, "s3.data.") && strings.HasSuffix(c.Object, ".2") && c.Ops[0].Kind.String() == "SET_REF" {
					return client.ErrNoSpace
				}
				return nil
			})
			if _, err := put(f.b, "k", want); !errors.Is(err, client.ErrNoSpace) {
				t.Fatalf("no space for a data object: %v", err)
			}
			f.data.Before(nil)
			f.sweep()
			f.wantData(0)
			ctx, cancel := context.WithCancel(t.Context())
			if _, err := f.b.Put(ctx, "k", PutInput{Size: int64(len(want)), Body: io.MultiReader(bytes.NewReader(want[:2<<20]), cancelReader(cancel), bytes.NewReader(want[2<<20:]))}); err == nil {
				t.Fatal("a put that was cancelled worked")
			}
			f.sweep()
			f.wantData(0)
			f.audit()
			f.put("k", want)
			f.want("k", want)
			f.wantIndex()
		})
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

type cancelReader context.CancelFunc

func (c cancelReader) Read([]byte) (int, error) { c(); return 0, io.EOF }

// With too few OSDs for the shards bytes stay in their data objects, and are no less there.
func TestChunkedFewHolders(t *testing.T) {
	f, h := chunkedFixture(t, chunkPolicy(t, "chunks=4:2:rs", "chunk_size=64K", "cut=content"), nil)
	want := randomBody(seeded(t), 3<<20)
	for i := range placement.OSDID(4) {
		h.SetDown(i, true)
	}
	f.put("k", want)
	f.want("k", want)
	if n := h.Count(); n != 0 {
		t.Errorf("%d shards on four OSDs", n)
	}
	h.SetDown(0, false)
	h.SetDown(1, false)
	f.put("k", want)
	f.want("k", want)
	if h.Count() == 0 {
		t.Error("no shards on six OSDs")
	}
	f.wantIndex()
}

// Many bodies at once with memory for few: nobody waits for ever, and none of it leaks.
func TestChunkedMemory(t *testing.T) {
	f, _ := chunkedFixture(t, chunkPolicy(t, "chunks=replica:1", "chunk_size=64K", "cut=content"), func(o *Options) {
		o.ChunkBytes, o.WriteBytes = 256<<10, 1<<20
	})
	rng := seeded(t)
	errs := make(chan error, 8)
	for i := range cap(errs) {
		b := randomBody(rng, 1<<20+i*100_000)
		go func() { // waited for below
			_, err := put(f.b, fmt.Sprint(i), b)
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if !f.svc.writes.TryAcquire(f.svc.o.WriteBytes) {
		t.Error("memory is still taken")
	}
	f.wantIndex()
}

// References of a body that comes slowly are set before they are taken for left behind.
func TestChunkedSlowBody(t *testing.T) {
	f, _ := chunkedFixture(t, chunkPolicy(t, "chunks=replica:1", "chunk_size=64K"), func(o *Options) { o.ChunkedBytes = 4 << 20 })
	want := randomBody(seeded(t), 2<<20)
	var sets atomic.Int32
	f.data.After(func(_ context.Context, c clienttest.Call, err error) error {
		if strings.HasPrefix(c.Object, "s3.data.") && c.Ops[0].Kind.String() == "SET_REF" {
			sets.Add(1)
		}
		return err
	})
	if _, err := f.b.Put(t.Context(), "k", PutInput{Body: slowReader{bytes.NewReader(want), f.clock}, Size: int64(len(want))}); err != nil {
		t.Fatal(err)
	}
	// At most 16 chunks are on their way at a time, so references waited when the second half came.
	if n := sets.Load(); n < 2 {
		t.Errorf("references were set in %d operations, want some before the end of the body", n)
	}
	f.want("k", want)
	f.wantIndex()
}

// slowReader needs a minute for every read.
type slowReader struct {
	r     io.Reader
	clock *clock
}

func (r slowReader) Read(b []byte) (int, error) {
	r.clock.add(time.Minute)
	return r.r.Read(b)
}

// TestSpans holds spans against single bytes.
func TestSpans(t *testing.T) {
	rng := seeded(t)
	for range 1000 {
		off, n, object := rng.Int64N(500), 1+rng.IntN(200), uint32(1+rng.IntN(90))
		at, from := off, uint32(0)
		for _, s := range spans(off, n, object) {
			if s.from != from || int64(s.object)*int64(object)+int64(s.off) != at || s.n == 0 || s.off+uint64(s.n) > uint64(object) {
				t.Fatalf("spans(%d, %d, %d): %+v at byte %d", off, n, object, s, at)
			}
			at, from = at+int64(s.n), from+s.n
		}
		if at != off+int64(n) {
			t.Fatalf("spans(%d, %d, %d) end at %d", off, n, object, at)
		}
	}
}

// Bodies written before the pool made chunks stay readable, and the etag is the same either way.
func TestChunkedLater(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.ChunkBytes = 200_000 })
	want := randomBody(seeded(t), 1<<20)
	old := f.put("old", want)
	f.data.MakeChunks(chunkPolicy(t, "chunks=replica:2", "chunk_size=64K"), 3)
	f.svc = f.service(func(o *Options) { o.ChunkBytes = 300_000 })
	f.b = f.bucket(f.svc)
	now := f.put("new", want)
	f.want("old", want)
	f.want("new", want)
	if old.ETag() != now.ETag() {
		t.Errorf("etags %s and %s", old.ETag(), now.ETag())
	}
	if refs := f.wantIndex(); refs != 16 {
		t.Errorf("%d references, want 16", refs)
	}
}
