package bucket

import (
	"bytes"
	"crypto/md5"
	"errors"
	"io"
	"testing"
)

// stuffed is what a body is stored as here: an x behind every 1,000 bytes and one at the end.
func stuffed(b []byte) []byte {
	var out []byte
	for len(b) >= 1000 {
		out, b = append(append(out, b[:1000]...), 'x'), b[1000:]
	}
	return append(append(out, b...), 'x')
}

func sealedAs(b []byte, salt string) *Sealed {
	sum := md5.Sum(b)
	return &Sealed{Stored: int64(len(stuffed(b))), Salt: []byte(salt), Sum: func() []byte { return sum[:] }, Tag: func(s []byte) []byte { return append([]byte("tag"), s[:3]...) }}
}

func (f *fixture) putSealed(key string, b []byte) *Object {
	f.t.Helper()
	sum := md5.Sum(b)
	o, err := f.b.Put(f.t.Context(), key, PutInput{Body: bytes.NewReader(stuffed(b)), Size: int64(len(b)), MD5: sum[:], Sealed: sealedAs(b, "salt of "+key)})
	if err != nil {
		f.t.Fatal(err)
	}
	return o
}

// wantSealed checks an object and, if salts are given, its streams.
func (f *fixture) wantSealed(b *Bucket, key string, want []byte, stored []byte, salts ...string) {
	f.t.Helper()
	o, err := b.Get(f.t.Context(), key)
	if err != nil {
		f.t.Fatal(err)
	}
	if !o.Sealed() || o.Size != int64(len(want)) || o.Stored() != int64(len(stored)) {
		f.t.Fatalf("%s: sealed %v, %d bytes stored as %d; want %d as %d", key, o.Sealed(), o.Size, o.Stored(), len(want), len(stored))
	}
	if _, err := o.Open(f.t.Context(), 0, -1); !errors.Is(err, ErrSealed) {
		f.t.Errorf("%s opened as if it were not sealed: %v", key, err)
	}
	for _, r := range [][2]int64{{0, -1}, {o.Stored() / 2, min(5, o.Stored()/2)}, {o.Stored() - 1, 1}} {
		in, err := o.OpenStored(f.t.Context(), r[0], r[1])
		if err != nil {
			f.t.Fatal(err)
		}
		got, err := io.ReadAll(in)
		in.Close()
		to := r[0] + r[1]
		if r[1] < 0 {
			to = o.Stored()
		}
		if err != nil || !bytes.Equal(got, stored[r[0]:to]) {
			f.t.Errorf("%s: stored bytes %v: %d, %v", key, r, len(got), err)
		}
	}
	streams, err := o.Streams()
	if err != nil {
		f.t.Fatal(err)
	}
	var got []string
	for _, s := range streams {
		got = append(got, string(s.Salt))
	}
	if len(got) != len(salts) {
		f.t.Fatalf("%s: streams %q, want %q", key, got, salts)
	}
	for i := range got {
		if got[i] != salts[i] {
			f.t.Errorf("%s: streams %q, want %q", key, got, salts)
		}
	}
}

// A sealed body keeps its shown size, its streams and its etag through puts, uploads, copies by reference and not, versions and deletions.
func TestSealed(t *testing.T) {
	for _, chunked := range []bool{false, true} {
		t.Logf("chunks: %v", chunked)
		f := newFixture(t, bigChunks)
		if chunked {
			f, _ = chunkedFixture(t, chunkPolicy(t, "chunks=4:2:rs", "chunk_size=64K"), nil)
		}
		ctx := t.Context()
		bodies := map[string][]byte{"empty": {}, "inline": body(50, 1), "data": body(3_000_000, 2)}
		for key, b := range bodies {
			o := f.putSealed(key, b)
			if sum := md5.Sum(b); o.ETag() != "746167"+hexOf(sum[:3]) {
				t.Errorf("etag %s", o.ETag())
			}
			f.wantSealed(f.b, key, b, stuffed(b), "salt of "+key)
		}
		up, err := f.b.CreateUpload(ctx, "parts", UploadInput{Attrs: Attrs{Encryption: []byte("how")}})
		if err != nil {
			t.Fatal(err)
		}
		one, two := body(MinPartBytes, 3), body(77, 4)
		var list []CompletePart
		for i, b := range [][]byte{one, two} {
			p, err := f.b.UploadPart(ctx, "parts", up, i+1, PartInput{Body: bytes.NewReader(stuffed(b)), Size: int64(len(b)), Sealed: sealedAs(b, string(rune('a'+i)))})
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, CompletePart{Number: i + 1, ETag: p.ETag})
		}
		if _, err := f.b.Complete(ctx, "parts", up, CompleteInput{Parts: list}); err != nil {
			t.Fatal(err)
		}
		stored := append(stuffed(one), stuffed(two)...)
		f.wantSealed(f.b, "parts", append(one, two...), stored, "a", "b")
		// Copies, by reference where there are chunks, and onto themselves with other headers.
		for key := range bodies {
			src := f.source(key)
			o, err := f.b.Copy(ctx, src, "copy of "+key, CopyInput{Attrs: Attrs{Encryption: []byte("other")}})
			if err != nil || o.ETag() != src.ETag() || string(o.Attrs.Encryption) != "other" {
				t.Fatalf("copy of %s: %v, %v", key, o, err)
			}
			f.wantSealed(f.b, "copy of "+key, bodies[key], stuffed(bodies[key]), "salt of "+key)
			if _, err := f.b.Copy(ctx, src, key, CopyInput{Headers: &Headers{ContentType: "a/b"}}); err != nil {
				t.Fatal(err)
			}
			f.wantSealed(f.b, key, bodies[key], stuffed(bodies[key]), "salt of "+key)
		}
		src := f.source("parts")
		o, err := f.b.Copy(ctx, src, "one", CopyInput{})
		if err != nil || o.ETag() != src.ETag() || o.Parts != 0 {
			t.Fatalf("copy of parts: %+v, %v", o, err)
		}
		f.wantSealed(f.b, "one", append(one, two...), stored, "a", "b")
		if _, err := f.b.CopyPart(ctx, "k", up, 1, src, 0, 10, nil, nil); !errors.Is(err, ErrSealed) {
			t.Errorf("part of a sealed body copied as if it were not: %v", err)
		}
		// Opened and sealed anew on the way, also onto itself.
		plain := func(r io.Reader) io.Reader { return bytes.NewReader(bodies["data"]) }
		if _, err := f.b.Copy(ctx, f.source("data"), "data", CopyInput{Recode: true, Wrap: plain}); err != nil {
			t.Fatal(err)
		}
		f.want("data", bodies["data"])
		seal := func(io.Reader) io.Reader { return bytes.NewReader(stuffed(bodies["data"])) }
		if _, err := f.b.Copy(ctx, f.source("data"), "data", CopyInput{Recode: true, Wrap: seal, Sealed: sealedAs(bodies["data"], "new")}); err != nil {
			t.Fatal(err)
		}
		f.wantSealed(f.b, "data", bodies["data"], stuffed(bodies["data"]), "new")
		// A body that was replaced meanwhile is not put back.
		old := f.source("data")
		f.putSealed("data", two)
		if _, err := f.b.Copy(ctx, old, "data", CopyInput{Recode: true, Wrap: plain}); !errors.Is(err, ErrChanged) {
			t.Errorf("recoded over another body: %v", err)
		}
		if _, err := f.b.Put(ctx, "bad", PutInput{Body: bytes.NewReader(stuffed(one)), Size: int64(len(one)), MD5: make([]byte, 16), Sealed: sealedAs(one, "s")}); !errors.Is(err, ErrDigest) {
			t.Errorf("a wrong Content-MD5 of what is sealed: %v", err)
		}
		// Nothing is left of all that.
		l, err := f.b.List(ctx, ListInput{Max: 100})
		if err != nil || len(l.Objects) != 8 {
			t.Fatalf("%d objects, %v", len(l.Objects), err)
		}
		for _, o := range l.Objects {
			if err := f.b.Delete(ctx, o.Key, Cond{}); err != nil {
				t.Fatal(err)
			}
		}
		f.sweep()
		f.wantData(0)
	}
}

func hexOf(b []byte) (s string) {
	for _, c := range b {
		s += string("0123456789abcdef"[c>>4]) + string("0123456789abcdef"[c&15])
	}
	return s
}
