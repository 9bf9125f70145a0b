package bucket

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/internal/chunk"
	"github.com/cairnstore/cairn/placement"
)

func TestSettings(t *testing.T) {
	f, h := chunkedFixture(t, client.ChunkPolicy{}, nil)
	ctx := t.Context()
	want := randomBody(seeded(t), 1<<20)
	policy := func(b *Bucket) string { return b.Policy().String() }
	f.put("plain", want)
	if h.Count() != 0 || policy(f.b) != "none" {
		t.Fatalf("a pool without chunks: %d shards, %s", h.Count(), policy(f.b))
	}
	for _, tt := range []struct {
		key, value string
		err        error
		text       string
	}{
		{"owner", "bob", client.ErrInvalid, "chunk_size, chunks"},
		{"dedup", "off", client.ErrConflict, "has no effect"},
		{"chunks", "9:1:rs:x", client.ErrInvalid, "redundancy"},
		{"chunks", "9:3:rs", client.ErrConflict, "want 12 OSDs"},
		{"chunks", "4:2:rs", nil, ""},
		{"chunk_size", "8K", client.ErrInvalid, "at least 16K"},
		{"chunk_size", "64K", nil, ""},
		{"dedup", "never", client.ErrInvalid, "tenant, cluster or off"},
		{"cut", "content", nil, ""},
		{"compression", "zstd", nil, ""},
		{"compression", AsPool, nil, ""},
	} {
		err := f.svc.Set(ctx, "photos", tt.key, tt.value)
		if !errors.Is(err, tt.err) || tt.err != nil && !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s %s: %v, want %v with %q", tt.key, tt.value, err, tt.err, tt.text)
		}
	}
	if err := f.svc.Set(ctx, "nowhere", "chunks", "none"); !errors.Is(err, ErrNoSuchBucket) {
		t.Errorf("settings of a bucket that does not exist: %v", err)
	}
	f.b = f.bucket(f.svc)
	const policyWant = "4:2:rs dedup tenant cut content chunk_size 64K compression none"
	if policy(f.b) != policyWant {
		t.Fatalf("policy %s, want %s", policy(f.b), policyWant)
	}
	if in := f.b.Info(); fmt.Sprint(in.Settings) != "map[chunk_size:64K chunks:4:2:rs cut:content]" {
		t.Errorf("settings %v", in.Settings)
	}
	f.put("chunked", want)
	f.want("plain", want)
	f.want("chunked", want)
	if h.Count() == 0 {
		t.Error("no shards")
	}
	f.wantIndex()

	// Another gateway hears of it within ten seconds, and a failed deletion keeps the settings.
	other := f.service(nil)
	if policy(f.bucket(other)) != policyWant {
		t.Fatal("another gateway does not see the settings")
	}
	if err := f.svc.Set(ctx, "photos", "chunks", "replica:3"); err != nil {
		t.Fatal(err)
	}
	f.clock.add(11 * time.Second)
	if b := f.bucket(other); b.Policy().Redundancy.String() != "replica:3" {
		t.Errorf("another gateway after ten seconds: %s", policy(b))
	}
	if err := f.svc.Delete(ctx, "photos"); !errors.Is(err, ErrBucketNotEmpty) {
		t.Fatal(err)
	}
	if err := f.svc.Set(ctx, "photos", "chunks", AsPool); err != nil {
		t.Fatal(err)
	}
	if f.b = f.bucket(f.svc); policy(f.b) != "none" || len(f.b.Info().Settings) != 2 {
		t.Errorf("policy %s, settings %v", policy(f.b), f.b.Info().Settings)
	}
	shards := h.Count()
	f.put("plain again", want)
	if h.Count() != shards {
		t.Error("chunks although neither the pool nor the bucket makes any")
	}
}

// A bucket's settings live through a deletion that begins and is given up.
func TestSettingsStayWhenDeletionFails(t *testing.T) {
	f, _ := chunkedFixture(t, client.ChunkPolicy{}, nil)
	if err := f.svc.Set(t.Context(), "photos", "chunks", "replica:2"); err != nil {
		t.Fatal(err)
	}
	r := f.bucket(f.svc).rec.Load()
	if got := cloneRecord(r.Bucket); len(got.Settings) != 1 || got.Settings[0].Value != "replica:2" {
		t.Errorf("settings %v", got.Settings)
	}
}

func TestUsage(t *testing.T) {
	f, _ := chunkedFixture(t, chunkPolicy(t, "chunks=4:2:rs", "chunk_size=64K", "compression=zstd"), nil)
	ctx := t.Context()
	limits := UsageLimits{Chunks: 1000, Time: time.Hour}
	usage := func(b *Bucket, key string) Usage {
		t.Helper()
		u, err := b.Usage(ctx, key, limits)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	half := randomBody(seeded(t), 1<<20)
	f.put("small", body(10, 1))
	f.put("a", half)
	want := Usage{Objects: 1, Bytes: 1 << 20, Chunked: 1 << 20, Refs: 16, Chunks: 16, ChunkBytes: 1 << 20, Stored: 1 << 20, Physical: 3 << 19}
	if u := usage(f.b, "a"); u != want {
		t.Errorf("got %+v, want %+v", u, want)
	}
	f.put("b", append(half[:1<<19:1<<19], make([]byte, 1<<19+1000)...)) // shared, compressible and the same, and left in the object
	want.SharedBytes = 1 << 19
	if u := usage(f.b, "a"); u != want {
		t.Errorf("with half of it shared: got %+v, want %+v", u, want)
	}
	u := usage(f.b, "")
	if u.Objects != 3 || u.Bytes != 10+2<<20+1000 || u.Chunked != 2<<20 || u.Refs != 32 || u.Chunks != 17 || u.ChunkBytes != 1<<20+64<<10 || u.SharedBytes != 0 || u.Stored >= u.ChunkBytes-60<<10 || u.Partial {
		t.Errorf("bucket: %+v", u)
	}
	up, err := f.b.CreateUpload(ctx, "parts", UploadInput{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := f.b.UploadPart(ctx, "parts", up, 1, PartInput{Body: strings.NewReader(string(half)), Size: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.b.Complete(ctx, "parts", up, CompleteInput{Parts: []CompletePart{{Number: 1, ETag: p.ETag}}}); err != nil {
		t.Fatal(err)
	}
	if more := usage(f.b, ""); more.Refs != u.Refs+16 || more.Chunks != u.Chunks || more.Objects != 4 {
		t.Errorf("with the same in parts: %+v", more)
	}
	both := func(want int64) {
		t.Helper()
		u, err := f.svc.Usage(ctx, "ann", limits)
		if err != nil || u.Objects != want || u.Chunks != 17 || u.SharedBytes != 0 {
			t.Errorf("all buckets: %+v, %v; want %d objects", u, err, want)
		}
	}
	both(4)
	second, err := f.svc.Create(ctx, "second", "ann", "")
	if err != nil {
		t.Fatal(err)
	}
	bobs, err := f.svc.Create(ctx, "bobs", "bob", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []*Bucket{second, bobs} {
		if _, err := put(b, "copy", half); err != nil {
			t.Fatal(err)
		}
	}
	both(5)
	limits.Chunks = 5
	if u := usage(f.b, ""); !u.Partial || u.Objects >= 4 {
		t.Errorf("at most 5 chunks: %+v", u)
	}
	limits = UsageLimits{Chunks: 1000}
	if u := usage(f.b, ""); !u.Partial {
		t.Errorf("no time: %+v", u)
	}
	if _, err := f.b.Usage(ctx, "nothing", limits); !errors.Is(err, ErrNoSuchKey) {
		t.Errorf("usage of a missing key: %v", err)
	}
	plain := newFixture(t, nil)
	plain.put("k", body(5000, 1))
	if u, err := plain.b.Usage(ctx, "", limits); err != nil || u.Chunked != 0 {
		t.Errorf("a pool that cannot make chunks: %+v, %v", u, err)
	}
}

// TestSettleAsBucket: data objects with bytes of their own say how their bucket makes chunks, and for whom, so that settling needs not
// know of buckets; also those of a bucket that has none.
func TestSettleAsBucket(t *testing.T) {
	f, h := chunkedFixture(t, chunkPolicy(t, "chunks=4:2:rs", "chunk_size=64K"), nil)
	says := func() (all []chunk.Settle) {
		t.Helper()
		p := f.svc.o.Data.(*clienttest.Pool)
		for _, name := range p.Names() {
			if !strings.HasPrefix(name, "s3.data.") {
				continue
			}
			res, err := p.DoRaw(t.Context(), name, new(client.Op).GetAttr(chunk.SettleAttr).Stat())
			if err != nil {
				t.Fatal(err)
			}
			if !res.Items[0].Found {
				continue
			}
			s, err := chunk.DecodeSettle(res.Items[0].Data)
			if err != nil {
				t.Errorf("object %q of %d bytes: %v", name, res.Items[1].Size, err)
			}
			all = append(all, s)
		}
		return all
	}
	rng := seeded(t)
	f.put("chunks", randomBody(rng, 512<<10))
	if got := says(); len(got) != 0 {
		t.Errorf("an object of chunks alone says %v", got)
	}
	for i := range placement.OSDID(4) {
		h.SetDown(i, true)
	}
	f.put("own", randomBody(rng, 512<<10))
	want := []chunk.Settle{{Policy: f.b.Policy(), Tenant: f.b.Info().Owner}}
	if got := says(); !slices.Equal(got, want) || got[0].Tenant == "" {
		t.Errorf("got %v, want %v", got, want)
	}
	if err := f.svc.Set(t.Context(), "photos", "chunks", "none"); err != nil {
		t.Fatal(err)
	}
	f.b = f.bucket(f.svc)
	f.put("never", randomBody(rng, 512<<10))
	if got := says(); len(got) != 2 || !slices.Contains(got, chunk.Settle{Tenant: f.b.Info().Owner}) {
		t.Errorf("of a bucket without chunks: %v", got)
	}
}
