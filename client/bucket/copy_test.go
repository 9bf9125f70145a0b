package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

// gc does what the care for chunks does with those that nobody refers to, without waiting.
func (f *fixture) gc(h *clienttest.Holders) {
	f.t.Helper()
	f.care()
	for fp := range f.index() {
		// As the collector does it: only in the state in which it was seen without references.
		entry := func(op *client.Op) (*client.Result, error) {
			return f.data.DoRaw(f.t.Context(), fp.IndexName(), op.AsRecord())
		}
		seen, err := entry(new(client.Op).Stat())
		if err != nil {
			f.t.Fatal(err)
		}
		info, err := f.data.Chunks().Info(f.t.Context(), fp, 1)
		if err != nil {
			f.t.Fatal(err)
		}
		if len(info.Refs) > 0 {
			continue
		}
		_, err = entry(new(client.Op).AssertVersion(seen.Items[0].Version).Remove(false))
		if errors.Is(err, client.ErrConflict) {
			continue // it was referred to meanwhile
		}
		if err != nil {
			f.t.Fatal(err)
		}
		for i, osd := range info.Layout.Holders {
			if err := h.Drop(f.t.Context(), osd, []client.ShardID{{Chunk: fp, Gen: info.Layout.Gen, Index: i}}); err != nil {
				f.t.Fatal(err)
			}
		}
	}
	for osd := range placement.OSDID(chunkOSDs) { // as each looks for what no entry lists there: a shard that was late, say
		for _, id := range h.Shards(osd) {
			info, err := f.data.Chunks().Info(f.t.Context(), id.Chunk, 1)
			if err == nil && info.Layout.Gen == id.Gen && info.Layout.Holders[id.Index] == osd {
				continue
			}
			if err != nil && !errors.Is(err, client.ErrNotFound) {
				f.t.Fatal(err)
			}
			if err := h.Drop(f.t.Context(), osd, []client.ShardID{id}); err != nil {
				f.t.Fatal(err)
			}
		}
	}
}

// leftovers does what the audit does: it takes references out of the index that no object has.
func (f *fixture) leftovers() {
	f.t.Helper()
	f.care()
	has := map[chunk.BackRef]bool{}
	for _, object := range f.data.Names() {
		list, _, err := f.data.Chunks().Refs(f.t.Context(), object)
		if err != nil {
			f.t.Fatal(err)
		}
		for _, r := range list {
			has[chunk.BackRef{Nonce: r.Nonce, Pool: 1, Object: object}] = true
		}
	}
	for fp, refs := range f.index() {
		for b := range refs {
			if !has[b] {
				if _, err := f.data.DoRaw(f.t.Context(), fp.IndexName(), new(client.Op).AsRecord().OmapRm(b.Key())); err != nil {
					f.t.Fatal(err)
				}
			}
		}
	}
}

// moved counts the shards that are read and written.
type moved struct{ gets, puts atomic.Int64 }

func (m *moved) watch(h *clienttest.Holders) {
	m.gets.Store(0)
	m.puts.Store(0)
	h.Before(func(_ context.Context, c clienttest.HolderCall) error {
		switch c.What {
		case "get":
			m.gets.Add(1)
		case "put":
			m.puts.Add(1)
		}
		return nil
	})
}

func (m *moved) count() int64 { return m.gets.Load() + m.puts.Load() }

func (f *fixture) upload(key string, parts ...[]byte) *Object {
	f.t.Helper()
	up, err := f.b.CreateUpload(f.t.Context(), key, UploadInput{})
	if err != nil {
		f.t.Fatal(err)
	}
	var list []CompletePart
	for i, b := range parts {
		list = append(list, CompletePart{Number: i + 1, ETag: f.part(key, up, i+1, b).ETag})
	}
	o, err := f.b.Complete(f.t.Context(), key, up, CompleteInput{Parts: list})
	if err != nil {
		f.t.Fatal(err)
	}
	return o
}

func (f *fixture) source(key string) *Object {
	f.t.Helper()
	o, err := f.b.Get(f.t.Context(), key)
	if err != nil {
		f.t.Fatal(err)
	}
	return o
}

// A copy refers to the chunks of its source: nothing of a body moves, whatever it is made of, and the copy is its own.
func TestCopyByReference(t *testing.T) {
	for _, set := range [][]string{{"chunks=4:2:rs", "chunk_size=64K", "cut=content"}, {"chunks=replica:2", "chunk_size=128K", "dedup=cluster", "compression=zstd"}} {
		t.Run(set[0], func(t *testing.T) {
			f, h := chunkedFixture(t, chunkPolicy(t, set...), func(o *Options) { o.ChunkedBytes = 700_000 })
			rng, ctx := seeded(t), t.Context()
			parts := [][]byte{randomBody(rng, MinPartBytes+33), randomBody(rng, 200_001)}
			bodies := map[string][]byte{"small": randomBody(rng, 64<<10), "one": randomBody(rng, 1<<20+477_777), "parts": bytes.Join(parts, nil), "tail": randomBody(rng, 700_000+100)}
			for _, key := range []string{"small", "one", "tail"} {
				f.put(key, bodies[key])
			}
			f.upload("parts", parts...)
			other, err := f.svc.Create(ctx, "others", "ann", "")
			if err != nil {
				t.Fatal(err)
			}
			var m moved
			m.watch(h)
			for key := range bodies {
				src := f.source(key)
				for _, b := range []*Bucket{f.b, other} {
					o, err := b.Copy(ctx, src, "copy of "+key, CopyInput{})
					if err != nil {
						t.Fatal(err)
					}
					if o.ETag() != src.ETag() || o.Size != src.Size || o.ID() == src.ID() || o.Parts != 0 {
						t.Errorf("copy of %s: etag %s, %d bytes, %d parts; the source has %s, %d", key, o.ETag(), o.Size, o.Parts, src.ETag(), src.Size)
					}
				}
			}
			if n := m.count(); n != 0 {
				t.Errorf("%d shards were read, %d written", m.gets.Load(), m.puts.Load())
			}
			if f.wantIndex() == 0 {
				t.Fatal("no references")
			}
			for key := range bodies {
				if err := f.b.Delete(ctx, key, Cond{}); err != nil {
					t.Fatal(err)
				}
			}
			f.sweep()
			f.gc(h)
			for key, want := range bodies {
				f.want("copy of "+key, want)
				if got, err := get(other, "copy of "+key); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s in the other bucket: %d bytes, %v", key, len(got), err)
				}
				for range 5 { // chunks that lie in two data objects now
					off := rng.IntN(len(want))
					n := 1 + rng.IntN(len(want)-off)
					r, err := f.source("copy of "+key).Open(ctx, int64(off), int64(n))
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(r)
					r.Close()
					if err != nil || !bytes.Equal(got, want[off:off+n]) {
						t.Fatalf("%s: bytes %d+%d of %d: %d bytes, %v", key, off, n, len(want), len(got), err)
					}
				}
			}
			for _, b := range []*Bucket{f.b, other} {
				for key := range bodies {
					if err := b.Delete(ctx, "copy of "+key, Cond{}); err != nil {
						t.Fatal(err)
					}
				}
			}
			f.sweep()
			f.gc(h)
			f.wantData(0)
			if n := h.Count(); n != 0 {
				t.Errorf("%d shards are left", n)
			}
		})
	}
}

// Parts copied from ranges of an object, by reference, make the object that their bytes make.
func TestCopyPartByReference(t *testing.T) {
	f, h := chunkedFixture(t, chunkPolicy(t, "chunks=2:1:xor", "chunk_size=128K"), nil)
	rng, ctx := seeded(t), t.Context()
	a, b := randomBody(rng, 6<<20+5), randomBody(rng, MinPartBytes)
	f.put("one", a)
	f.upload("two", b, a[:1<<20])
	two := append(bytes.Clone(b), a[:1<<20]...)
	var m moved
	m.watch(h)
	up, err := f.b.CreateUpload(ctx, "k", UploadInput{})
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	var list []CompletePart
	tags := map[string]bool{}
	for i := range 4 {
		key, of := "one", a
		if i%2 == 1 {
			key, of = "two", two
		}
		off := rng.IntN(len(of) - MinPartBytes)
		n := MinPartBytes + rng.IntN(len(of)-MinPartBytes-off)
		if i == 0 {
			off, n = 0, len(of)
		}
		p, err := f.b.CopyPart(ctx, "k", up, i+1, f.source(key), int64(off), int64(n), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := f.b.CopyPart(ctx, "k", up, i+1, f.source(key), int64(off), int64(n), nil, nil); err != nil || again.ETag != p.ETag || i == 0 && p.ETag != f.source(key).ETag() {
			t.Errorf("part %d: etag %s, then %s, %v", i+1, p.ETag, again.ETag, err)
		}
		tags[p.ETag] = true
		list = append(list, CompletePart{Number: i + 1, ETag: p.ETag})
		want = append(want, of[off:off+n]...)
	}
	if len(tags) != 4 {
		t.Errorf("%d different etags of 4 parts", len(tags))
	}
	if n := m.count(); n != 0 {
		t.Errorf("%d shards were read, %d written", m.gets.Load(), m.puts.Load())
	}
	for _, bad := range [][2]int64{{-1, 70_000}, {int64(len(a)) - 70_000, 70_001}, {0, int64(len(a)) + 1}} {
		if _, err := f.b.CopyPart(ctx, "k", up, 9, f.source("one"), bad[0], bad[1], nil, nil); !errors.Is(err, ErrRange) {
			t.Errorf("bytes %d+%d: %v", bad[0], bad[1], err)
		}
	}
	if _, err := f.b.Complete(ctx, "k", up, CompleteInput{Parts: list}); err != nil {
		t.Fatal(err)
	}
	for i, err := range f.b.DeleteMany(ctx, []string{"one", "two"}) {
		if err != nil {
			t.Fatal(i, err)
		}
	}
	f.sweep()
	f.gc(h)
	f.want("k", want)
	f.wantIndex()
}

// What must not be shared is read and stored again.
func TestCopyNotShared(t *testing.T) {
	for name, c := range map[string]struct {
		owner string // of the copy's bucket
		from  []string
		to    []string
		read  bool
	}{
		"another user's":            {"bob", nil, nil, true},
		"the cluster's":             {"bob", []string{"dedup=cluster"}, []string{"dedup=cluster"}, false},
		"the cluster's to a user's": {"ann", []string{"dedup=cluster"}, nil, true},
		"a user's to the cluster's": {"ann", nil, []string{"dedup=cluster"}, true},
		"to nobody":                 {"ann", nil, []string{"dedup=off"}, true},
		"nobody's to a user's":      {"ann", []string{"dedup=off"}, nil, false},
		"nobody's to another's":     {"bob", []string{"dedup=off"}, nil, true},
		"to stronger redundancy":    {"ann", []string{"chunks=2:1:xor"}, []string{"chunks=4:2:rs"}, true},
		"to weaker redundancy":      {"ann", []string{"chunks=4:2:rs"}, []string{"chunks=2:1:xor"}, true},
		"to the same another way":   {"ann", []string{"chunks=4:2:rs"}, []string{"chunks=replica:3"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f, h := chunkedFixture(t, chunkPolicy(t, "chunks=replica:3", "chunk_size=128K"), nil)
			ctx := t.Context()
			if _, err := f.svc.Create(ctx, "others", c.owner, ""); err != nil {
				t.Fatal(err)
			}
			for bucket, set := range map[string][]string{"photos": c.from, "others": c.to} {
				for _, kv := range set {
					key, value, _ := bytes.Cut([]byte(kv), []byte("="))
					if err := f.svc.Set(ctx, bucket, string(key), string(value)); err != nil {
						t.Fatal(err)
					}
				}
			}
			f.b = f.bucket(f.svc)
			other, err := f.svc.Bucket(ctx, "others")
			if err != nil {
				t.Fatal(err)
			}
			want := randomBody(seeded(t), 1<<20)
			f.put("k", want)
			var m moved
			m.watch(h)
			if _, err := other.Copy(ctx, f.source("k"), "copy", CopyInput{}); err != nil {
				t.Fatal(err)
			}
			if read := m.gets.Load() > 0; read != c.read || m.puts.Load() > 0 != c.read {
				t.Errorf("%d shards read, %d written", m.gets.Load(), m.puts.Load())
			}
			f.wantIndex()
			for _, object := range f.data.Names() {
				refs, _, err := f.data.Chunks().Refs(ctx, object)
				if err != nil {
					t.Fatal(err)
				}
				if x, _ := bodyOf(object); x.String() == f.source("k").ID() {
					continue
				}
				for _, r := range refs {
					if pol := other.Policy(); r.Layout.Redundancy.M < pol.Redundancy.M {
						t.Errorf("the copy is of chunks as %v, want %v", r.Layout.Redundancy, pol.Redundancy)
					}
				}
			}
			if got, err := get(other, "copy"); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// Chunks that are weaker than those of their body's domain are not shared, as after settling.
func TestCopyOfWeakerChunks(t *testing.T) {
	f, h := chunkedFixture(t, chunkPolicy(t, "chunks=replica:2", "chunk_size=128K", "dedup=off"), nil)
	want := randomBody(seeded(t), 1<<20)
	f.put("k", want) // unshared chunks, as settling makes
	if err := f.svc.Set(t.Context(), "photos", "chunks", "replica:3"); err != nil {
		t.Fatal(err)
	}
	if err := f.svc.Set(t.Context(), "photos", "dedup", "tenant"); err != nil {
		t.Fatal(err)
	}
	f.b = f.bucket(f.svc)
	var m moved
	m.watch(h)
	if _, err := f.b.Copy(t.Context(), f.source("k"), "copy", CopyInput{}); err != nil {
		t.Fatal(err)
	}
	if m.puts.Load() == 0 {
		t.Error("chunks with two copies are shared with those who want three")
	}
	f.want("copy", want)
	f.sweep()
	f.wantIndex()
}

// The source of a copy is deleted, its data removed and its chunks collected, at each step of the copy: the copy is
// whole or fails cleanly, and nothing that it says is there is gone.
func TestCopyRace(t *testing.T) {
	copied, failed := 0, 0
	want := randomBody(seeded(t), 500_000)
	for at := 1; ; at++ {
		f, h := chunkedFixture(t, chunkPolicy(t, "chunks=replica:1", "chunk_size=64K"), func(o *Options) { o.ChunkedBytes = 200_000 })
		ctx := t.Context()
		f.put("k", want)
		src := f.source("k")
		deleter := f.service(nil)
		var n atomic.Int64
		var reached atomic.Bool
		hook := func(context.Context, clienttest.Call) error {
			if n.Add(1) != int64(at) {
				return nil
			}
			reached.Store(true)
			f.meta.Before(nil)
			f.data.Before(nil)
			if err := f.bucket(deleter).Delete(ctx, "k", Cond{}); err != nil {
				t.Error(err)
			}
			// Only what was deleted, not what the copy has announced.
			f.clock.add(2 * deleter.o.Grace)
			if _, err := deleter.Sweep(ctx); err != nil {
				t.Error(err)
			}
			f.gc(h)
			return nil
		}
		f.meta.Before(hook)
		f.data.Before(hook)
		_, err := f.b.Copy(ctx, src, "copy", CopyInput{})
		f.meta.Before(nil)
		f.data.Before(nil)
		if !reached.Load() {
			break
		}
		switch {
		case err == nil:
			copied++
			f.want("copy", want)
		case errors.Is(err, ErrChanged):
			failed++
			if _, err := f.b.Head(ctx, "copy"); !errors.Is(err, ErrNoSuchKey) {
				t.Errorf("deleted at step %d: %v", at, err)
			}
		default:
			t.Errorf("deleted at step %d: %v", at, err)
		}
		f.sweep()
		f.wantIndex()
		f.gc(h)
		if err == nil {
			f.want("copy", want)
		} else if f.wantData(0); h.Count() != 0 {
			t.Errorf("deleted at step %d: %d shards are left", at, h.Count())
		}
	}
	if copied == 0 || failed == 0 {
		t.Errorf("%d copies went well, %d failed", copied, failed)
	}
}

// A gateway dies at each step of a copy, or only its answers are lost: the key has the old body or the copy, and once
// the audit has been by nothing is left of what was not finished.
func TestCopyCrash(t *testing.T) {
	src := randomBody(seeded(t), 400_000)
	for _, lose := range []bool{false, true} {
		for crash := 1; ; crash++ {
			f, h := chunkedFixture(t, chunkPolicy(t, "chunks=replica:1", "chunk_size=64K"), func(o *Options) { o.ChunkedBytes = 200_000 })
			f.put("k", src)
			f.put("copy", body(150, 9))
			doomed := f.bucket(f.service(func(o *Options) { o.ChunkBytes, o.ChunkedBytes = 1<<20, 200_000 }))
			o, err := doomed.Get(t.Context(), "k")
			if err != nil {
				t.Fatal(err)
			}
			crashAt(f, crash, lose)
			_, err = doomed.Copy(t.Context(), o, "copy", CopyInput{})
			crashAt(f, 0, false)
			f.sweep()
			f.leftovers()
			f.gc(h)
			f.wantIndex()
			f.want("k", src)
			got, e := get(f.b, "copy")
			old, neu := bytes.Equal(got, body(150, 9)), bytes.Equal(got, src)
			if e != nil || !old && !neu || err == nil && !neu {
				t.Fatalf("crash at %d: copy %v, then read %d bytes, %v", crash, err, len(got), e)
			}
			if want := map[bool]int{true: 2, false: 3}[neu]; h.Count() == 0 || !neu && len(f.data.Names()) != want {
				t.Fatalf("crash at %d: %d shards, data objects %v", crash, h.Count(), f.data.Names())
			}
			if err == nil {
				break
			}
		}
	}
}

// crashAt has nothing take effect from the nth write on, or only the answers be lost; 0: all is well again.
func crashAt(f *fixture, n int, lose bool) {
	var writes atomic.Int64
	for _, p := range []*clienttest.Pool{f.meta, f.data} {
		p.Before(nil)
		p.After(nil)
		if n == 0 {
			continue
		}
		p.Before(func(_ context.Context, c clienttest.Call) error {
			if !c.Writes {
				return nil
			}
			if w := writes.Add(1); w > int64(n) || w == int64(n) && !lose {
				return fmt.Errorf("%w: it crashed", client.ErrTimeout)
			}
			return nil
		})
		if lose {
			p.After(func(_ context.Context, c clienttest.Call, err error) error {
				if c.Writes && writes.Load() >= int64(n) {
					return client.ErrTimeout
				}
				return err
			})
		}
	}
}
