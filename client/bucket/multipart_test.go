package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
	"github.com/cairnstore/cairn/client/clienttest"
)

// part body of the smallest size allowed.
func bigPart(seed byte) []byte { return body(MinPartBytes, seed) }

func (f *fixture) part(key, up string, n int, b []byte) *Part {
	f.t.Helper()
	p, err := f.b.UploadPart(f.t.Context(), key, up, n, PartInput{Body: bytes.NewReader(b), Size: int64(len(b))})
	if err != nil {
		f.t.Fatal(err)
	}
	return p
}

func bigChunks(o *Options) { o.ChunkBytes = 2 << 20 }

func TestMultipart(t *testing.T) {
	f := newFixture(t, bigChunks)
	ctx := t.Context()
	f.put("k", body(200, 1))
	up, err := f.b.CreateUpload(ctx, "k", UploadInput{Headers: Headers{ContentType: "a/b"}, Owner: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	f.part("k", up, 1, bigPart(9)) // replaced below
	p1, p3 := f.part("k", up, 1, bigPart(1)), f.part("k", up, 3, body(77, 3))
	f.part("k", up, 2, bigPart(2)) // not used
	l, err := f.b.Parts(ctx, "k", up, 0, 2)
	if err != nil || len(l.Parts) != 2 || !l.Truncated || l.Last != 2 {
		t.Errorf("parts: %+v, %v", l, err)
	}
	us, err := f.b.Uploads(ctx, UploadsInput{Max: 10})
	if err != nil || len(us.Uploads) != 1 || us.Uploads[0].ID != up {
		t.Errorf("uploads: %+v, %v", us, err)
	}
	complete := func(parts ...CompletePart) (*Object, error) {
		return f.b.Complete(ctx, "k", up, CompleteInput{Parts: parts})
	}
	one, three := CompletePart{Number: 1, ETag: p1.ETag}, CompletePart{Number: 3, ETag: p3.ETag}
	for name, c := range map[string]struct {
		parts []CompletePart
		want  error
	}{
		"order":   {[]CompletePart{three, one}, ErrInvalidPartOrder},
		"twice":   {[]CompletePart{one, one}, ErrInvalidPartOrder},
		"missing": {[]CompletePart{{Number: 7, ETag: p1.ETag}}, ErrInvalidPart},
		"etag":    {[]CompletePart{{Number: 1, ETag: p3.ETag}}, ErrInvalidPart},
		"small":   {[]CompletePart{three, {Number: 4, ETag: "x"}}, ErrPartTooSmall},
		"none":    {nil, ErrInvalidPart},
	} {
		if _, err := complete(c.parts...); !errors.Is(err, c.want) {
			t.Errorf("complete, %s: %v, want %v", name, err, c.want)
		}
	}
	o, err := complete(one, three)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(o.ETag(), "-2") || o.Headers.ContentType != "a/b" {
		t.Errorf("completed: %s %+v", o.ETag(), o.Headers)
	}
	if again, err := complete(one, three); err != nil || again.ETag() != o.ETag() {
		t.Errorf("complete again: %v", err)
	}
	want := append(bigPart(1), body(77, 3)...)
	f.want("k", want)
	got, _ := f.b.Get(ctx, "k")
	if off, size, err := got.Part(3); err != nil || off != MinPartBytes || size != 77 {
		t.Errorf("part 3 lies at %d+%d, %v", off, size, err)
	}
	r, err := got.Open(ctx, MinPartBytes-10, 20)
	if err != nil {
		t.Fatal(err)
	}
	across, err := io.ReadAll(r)
	r.Close()
	if err != nil || !bytes.Equal(across, want[MinPartBytes-10:MinPartBytes+10]) {
		t.Errorf("range across parts: %v", err)
	}
	if _, err := f.b.UploadPart(ctx, "k", up, 5, PartInput{Body: strings.NewReader("x"), Size: 1}); !errors.Is(err, ErrNoSuchUpload) {
		t.Errorf("part of a completed upload: %v", err)
	}
	f.sweep()
	f.wantData(4) // 3 chunks of part 1, 1 of part 3
	f.want("k", want)
	if errs := f.b.DeleteMany(ctx, []string{"k"}); errs[0] != nil {
		t.Fatal(errs[0])
	}
	f.sweep()
	f.wantData(0)
	if names := f.meta.Names(); len(names) != 3 { // registry, root, partition
		t.Errorf("left: %v", names)
	}
}

func TestAbortAndBucketDeletionEndUploads(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	var ups []string
	for i := range 3 {
		up, err := f.b.CreateUpload(ctx, fmt.Sprint("k", i), UploadInput{})
		if err != nil {
			t.Fatal(err)
		}
		f.part(fmt.Sprint("k", i), up, 1, body(2500, 1))
		ups = append(ups, up)
	}
	if err := f.b.Abort(ctx, "k0", ups[0]); err != nil {
		t.Fatal(err)
	}
	if err := f.b.Abort(ctx, "k0", ups[0]); !errors.Is(err, ErrNoSuchUpload) {
		t.Errorf("abort again: %v", err)
	}
	if _, err := f.b.UploadPart(ctx, "k0", ups[0], 1, PartInput{Body: strings.NewReader("x"), Size: 1}); !errors.Is(err, ErrNoSuchUpload) {
		t.Errorf("part of an aborted upload: %v", err)
	}
	for _, bad := range []string{"", "x", ups[1]} {
		if _, err := f.b.Parts(ctx, "k0", bad, 0, 10); !errors.Is(err, ErrNoSuchUpload) {
			t.Errorf("parts of upload %q: %v", bad, err)
		}
	}
	f.sweep()
	f.wantData(6)
	if err := f.svc.Delete(ctx, "photos"); err != nil { // uploads do not keep a bucket
		t.Fatal(err)
	}
	f.sweep()
	f.wantData(0)
	if names := f.meta.Names(); len(names) != 1 {
		t.Errorf("left: %v", names)
	}
}

// Two completions of one upload, and parts that arrive meanwhile.
func TestCompleteRace(t *testing.T) {
	f := newFixture(t, nil)
	for round := range 20 {
		up, err := f.b.CreateUpload(t.Context(), "k", UploadInput{})
		if err != nil {
			t.Fatal(err)
		}
		p := f.part("k", up, 1, body(1500, byte(round)))
		var all sync.WaitGroup
		for i := range 3 {
			all.Add(1)
			go func() {
				defer all.Done()
				if i == 2 {
					_, err := f.b.UploadPart(t.Context(), "k", up, 1, PartInput{Body: bytes.NewReader(body(2500, 99)), Size: 2500})
					if err != nil && !errors.Is(err, ErrNoSuchUpload) {
						t.Error(err)
					}
					return
				}
				_, err := f.b.Complete(t.Context(), "k", up, CompleteInput{Parts: []CompletePart{{Number: 1, ETag: p.ETag}}})
				if err != nil && !errors.Is(err, ErrInvalidPart) {
					t.Error(err)
				}
			}()
		}
		all.Wait()
		if _, err := f.b.Upload(t.Context(), "k", up); err == nil { // the part was replaced first
			if err := f.b.Abort(t.Context(), "k", up); err != nil {
				t.Error(err)
			}
		}
	}
	f.put("k", nil)
	f.sweep()
	f.wantData(0)
}

// An abandoned put's data goes when the intent is old, never before, and a put
// that comes back from the dead is refused.
func TestAbandonedPut(t *testing.T) {
	f := newFixture(t, nil)
	in, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := f.b.Put(context.Background(), "k", PutInput{Body: in, Size: 2000})
		done <- err
	}()
	if _, err := out.Write(body(1000, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.svc.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := f.intents(); n != 1 {
		t.Fatalf("%d intents, want 1", n)
	}
	f.sweep()
	if n := f.intents(); n != 0 {
		t.Fatalf("%d intents after their time", n)
	}
	if _, err := out.Write(body(1000, 2)); err != nil {
		t.Fatal(err)
	}
	out.Close()
	if err := <-done; !errors.Is(err, errAbandoned) {
		t.Errorf("put after it was given up: %v", err)
	}
	if _, err := f.b.Head(t.Context(), "k"); !errors.Is(err, ErrNoSuchKey) {
		t.Errorf("head: %v", err)
	}
}

// A put that takes very long gives signs of life and is left alone.
func TestLongPutIsKept(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.KeepAlive = 1 })
	in, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := f.b.Put(context.Background(), "k", PutInput{Body: in, Size: 5000})
		done <- err
	}()
	want := body(5000, 1)
	for i := range 5000 / 500 {
		// When a piece of the next chunk is taken, the put has dealt with the one before.
		if _, err := out.Write(want[i*500 : (i+1)*500]); err != nil {
			t.Fatal(err)
		}
		f.clock.add(15 * time.Minute)
		if _, err := f.svc.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	out.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	f.want("k", want)
	f.wantData(5)
}

// A creation that nobody finishes is cleaned up.
func TestAbandonedCreation(t *testing.T) {
	f := newFixture(t, nil)
	writes := 0
	f.meta.Before(func(_ context.Context, c clienttest.Call) error {
		if c.Writes {
			if writes++; writes > 3 { // all but the last step
				return client.ErrTimeout
			}
		}
		return nil
	})
	if _, err := f.svc.Create(t.Context(), "half", "ann", ""); err == nil {
		t.Fatal("created")
	}
	f.meta.Before(nil)
	f.sweep()
	if names := f.meta.Names(); len(names) != 3 { // the registry and one bucket
		t.Errorf("left: %v", names)
	}
	if _, err := f.svc.Create(t.Context(), "half", "bob", ""); err != nil {
		t.Error(err)
	}
}

func (f *fixture) intents() (n int) {
	f.t.Helper()
	for _, p := range f.partitions() {
		res, err := f.meta.Do(f.t.Context(), p.object, new(client.Op).OmapList(string(kindIntent), prefixEnd(string(kindIntent)), 0))
		if err != nil {
			f.t.Fatal(err)
		}
		n += len(res.Items[0].KVs)
	}
	return n
}

// Nothing that may lie in the cluster makes a decoder panic.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{1})
	f.Add(encode(&bucketpb.Range{Start: []byte("a"), End: []byte("b"), Split: &bucketpb.Split{To: 7}}))
	f.Add(encode(&bucketpb.Entry{Id: make([]byte, 16), Headers: &bucketpb.Headers{Meta: []*bucketpb.Pair{{Name: "a"}}}}))
	f.Add(encode(&bucketpb.Manifest{Parts: []*bucketpb.PartRef{{Number: 1, Id: make([]byte, 16), ChunkSize: 1}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e bucketpb.Entry
		if decode(b, &e) == nil {
			_, _ = dataRefs(&e, b)
			o := &Object{Size: int64(e.Size), entry: &e, body: b}
			_, _ = o.extents()
		}
		_ = decode(b, new(bucketpb.Range))
		_ = decode(b, new(bucketpb.Outbox))
		_, _, _ = splitKey(string(b))
		_, _, _ = splitKept(string(b))
		_, _, _, _ = splitExpiry(string(b))
		_, _ = parseKept("k", "", b)
		_, _ = parseWindow(string(b))
		_, _ = outboxDue(string(b))
		_, _ = parseRecord(b)
		_, _ = manifestOf(b)
	})
}

// An entry is stored byte for byte as docs/formats/bucket.md says.
func TestGoldenEntry(t *testing.T) {
	e := &bucketpb.Entry{
		Id: bytes.Repeat([]byte{7}, 16), Size: 5, Mtime: 1, Md5: bytes.Repeat([]byte{9}, 16), Layout: bucketpb.Layout_INLINE,
		Headers: &bucketpb.Headers{ContentType: "t", Meta: []*bucketpb.Pair{{Name: "n", Value: "v"}}}, Revision: 3,
	}
	const want = "010a100707070707070707070707070707070710051801221009090909090909090909090909090909" +
		"420b0a01743a060a016e1201765003"
	if got := fmt.Sprintf("%x", encode(e)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	back := new(bucketpb.Entry)
	if err := decode(encode(e), back); err != nil || back.Revision != 3 {
		t.Errorf("decode: %v", err)
	}
}

// So are the records of a deleted object.
func TestGoldenKept(t *testing.T) {
	e := &bucketpb.Entry{Id: bytes.Repeat([]byte{7}, 16), Size: 5, Layout: bucketpb.Layout_DATA, ChunkSize: 9}
	k := &bucketpb.Kept{Entry: e, Deleted: 0x0102030405060708, Expires: 0x1112131415161718}
	name := keptName(k.Deleted, e.Id)
	for got, want := range map[string]string{
		fmt.Sprintf("%x", encode(k)):       "010a18" + "0a10070707070707070707070707070707071005" + "30013809" + "10888e98a8c0e0808101" + "1898aed8a8c1e2848911",
		keptKey(kindKept, "a/b", name):     "xa/b\x00fefdfcfbfaf9f8f70707070707070707",
		keptKey(kindKeptBody, "a/b", name): "ya/b\x00fefdfcfbfaf9f8f70707070707070707",
		expiryKey(k, "a/b", name):          "t1112131415161718a/b\x00fefdfcfbfaf9f8f70707070707070707",
	} {
		if got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
	at, key, n, err := splitExpiry(expiryKey(k, "a/b", name))
	if at != k.Expires || key != "a/b" || n != name || err != nil {
		t.Errorf("expiry: %x %q %q %v", at, key, n, err)
	}
}
