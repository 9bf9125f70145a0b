package bucket

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func written(old []byte, off int, b []byte) []byte {
	out := slices.Clone(old)
	if n := off + len(b); n > len(out) {
		out = append(out, make([]byte, n-len(out))...)
	}
	copy(out[off:], b)
	return out
}

func readSession(t *testing.T, s *Session, off, n int64) []byte {
	t.Helper()
	r, err := s.Open(t.Context(), off, n)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// Random blocks, appended and written anywhere, at once and in sessions, make what they make of a slice of bytes; nobody sees
// an open session; what is cancelled or idle leaves nothing.
func TestSessionsModel(t *testing.T) {
	for _, chunked := range []bool{false, true} {
		t.Logf("chunks: %v", chunked)
		rng, ctx := seeded(t), t.Context()
		f := newFixture(t, nil)
		least := 50
		if chunked {
			f, _ = chunkedFixture(t, chunkPolicy(t, "chunks=4:2:rs", "chunk_size=64K"), nil)
			least = smallEdit
		}
		if rng.IntN(2) == 0 {
			if err := f.svc.SetVersioning(ctx, "photos", VersioningEnabled); err != nil {
				t.Fatal(err)
			}
			f.b = f.bucket(f.svc)
		}
		block := func() []byte { return randomBody(rng, 1+rng.IntN(least/10)) }
		var model []byte
		if rng.IntN(2) == 0 || chunked {
			model = randomBody(rng, least+rng.IntN(5000))
			f.put("k", model)
		}
		current := func() *Object {
			o, err := f.b.Get(ctx, "k")
			if errors.Is(err, ErrNoSuchKey) {
				return nil
			}
			if err != nil {
				t.Fatal(err)
			}
			return o
		}
		at := func(size int) int {
			if rng.IntN(3) == 0 {
				return size
			}
			return rng.IntN(size + 1)
		}
		rounds := 25
		if chunked {
			rounds = 6
		}
		for round := range rounds {
			if rng.IntN(2) == 0 {
				b, off := block(), at(len(model))
				stale := current()
				o, err := f.b.Splice(ctx, "k", current(), int64(off), b, Headers{ContentType: "a/b"}, Attrs{})
				if err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				model = written(model, off, b)
				if o.Size != int64(len(model)) {
					t.Fatalf("round %d: %d bytes, want %d", round, o.Size, len(model))
				}
				f.want("k", model)
				if _, err := f.b.Splice(ctx, "k", stale, 0, b, Headers{}, Attrs{}); !errors.Is(err, ErrChanged) {
					t.Fatalf("round %d: written into what is no more: %v", round, err)
				}
				continue
			}
			id, err := f.b.StartSession(ctx, "k", SessionInput{Base: current(), Idle: time.Minute, Owner: "ann"})
			if err != nil {
				t.Fatal(err)
			}
			mine := slices.Clone(model)
			for range rng.IntN(8) {
				b, off := block(), at(len(mine))
				want := int64(off)
				if off == len(mine) {
					off = -1
				}
				if _, _, err := f.b.SessionWrite(ctx, "k", id, int64(len(mine)+1), nil, bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrRange) {
					t.Fatalf("a hole: %v", err)
				}
				wrong := int64(len(mine) + 1)
				if _, _, err := f.b.SessionWrite(ctx, "k", id, -1, &wrong, bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrPrecondition) {
					t.Fatalf("appended at another end: %v", err)
				}
				got, total, err := f.b.SessionWrite(ctx, "k", id, int64(off), nil, bytes.NewReader(b), int64(len(b)))
				if err != nil {
					t.Fatal(err)
				}
				mine = written(mine, int(want), b)
				if got != want || total != int64(len(mine)) {
					t.Fatalf("at %d of %d, want %d of %d", got, total, want, len(mine))
				}
				f.clock.add(30 * time.Second)
			}
			s, err := f.b.Session(ctx, "k", id)
			if err != nil {
				t.Fatal(err)
			}
			if got := readSession(t, s, 0, -1); !bytes.Equal(got, mine) {
				t.Fatalf("round %d: the session has %d bytes, want %d", round, len(got), len(mine))
			}
			if n := len(mine); n > 0 {
				off := rng.IntN(n)
				m := rng.IntN(n - off + 1)
				if got := readSession(t, s, int64(off), int64(m)); !bytes.Equal(got, mine[off:off+m]) {
					t.Fatalf("round %d: bytes %d+%d", round, off, m)
				}
			}
			if len(model) > 0 {
				f.want("k", model) // isolated
			}
			if l, err := f.b.Uploads(ctx, UploadsInput{Max: 10}); err != nil || len(l.Uploads) != 0 {
				t.Fatalf("a session is listed as upload: %v", err)
			}
			if _, err := f.b.UploadPart(ctx, "k", id, 1, PartInput{Body: bytes.NewReader(nil)}); !errors.Is(err, ErrNoSuchUpload) {
				t.Fatalf("a session takes parts: %v", err)
			}
			switch rng.IntN(4) {
			case 0:
				if err := f.b.Cancel(ctx, "k", id); err != nil {
					t.Fatal(err)
				}
			case 1:
				f.clock.add(2 * time.Minute)
				if _, err := f.b.Finalize(ctx, "k", id); !errors.Is(err, ErrNoSuchUpload) {
					t.Fatalf("an idle session: %v", err)
				}
			case 2:
				model = written(model, 0, []byte("meanwhile"))
				f.put("k", model)
				if _, err := f.b.Finalize(ctx, "k", id); !errors.Is(err, ErrChanged) {
					t.Fatalf("finalized over another body: %v", err)
				} // and left to the sweep
			default:
				o, err := f.b.Finalize(ctx, "k", id)
				if err != nil {
					t.Fatal(err)
				}
				again, err := f.b.Finalize(ctx, "k", id)
				if err != nil || again.ID() != o.ID() {
					t.Fatalf("asked again: %v", err)
				}
				model = mine
			}
			if o := current(); o != nil || len(model) > 0 {
				f.want("k", model)
			}
		}
		if _, err := f.b.Finalize(ctx, "k", newID().String()); !errors.Is(err, ErrNoSuchUpload) {
			t.Errorf("no session: %v", err)
		}
		for { // all versions
			l, err := f.b.Versions(ctx, VersionsInput{Max: 1000})
			if err != nil {
				t.Fatal(err)
			}
			if len(l.Versions) == 0 {
				break
			}
			for _, o := range l.Versions {
				if _, err := f.b.DeleteVersion(ctx, o.Key, DeleteInput{Version: o.Version}); err != nil {
					t.Fatal(err)
				}
			}
		}
		f.sweep()
		f.sweep()
		f.wantData(0)
		for _, name := range f.meta.Names() {
			if len(name) > 6 && name[:6] == "s3.up." {
				t.Errorf("%s is left", name)
			}
		}
	}
}

func TestOverlay(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var pieces []sessionPiece
		size := rng.IntN(20)
		if size > 0 {
			pieces = []sessionPiece{{nil, 0, int64(size)}}
		}
		total := int64(size)
		for range rng.IntN(10) {
			at, n := rng.Int64N(total+1), rng.Int64N(8)
			pieces = overlay(pieces, at, n, nil)
			total = max(total, at+n)
			var sum int64
			for _, p := range pieces {
				if p.n <= 0 {
					t.Fatalf("an empty piece: %+v", pieces)
				}
				sum += p.n
			}
			if sum != total {
				t.Fatalf("%d bytes, want %d: %+v", sum, total, pieces)
			}
		}
	}
}
