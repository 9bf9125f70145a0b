package bucket

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
	"github.com/cairnstore/cairn/client/clienttest"
)

// checkCounts verifies that the counts of a partition at rest are those of its records.
func (f *fixture) checkCounts(p *partition) {
	f.t.Helper()
	c, err := f.b.readCounted(f.t.Context(), f.bid(), p.n)
	if err != nil {
		f.t.Fatal(err)
	}
	real, _, _, err := f.b.tallyFrom(f.t.Context(), c.partition, "", 1<<30)
	if errors.Is(err, errStale) { // by a job in the background
		f.checkCounts(p)
		return
	}
	if err != nil {
		f.t.Fatal(err)
	}
	if c.sum != real || !c.whole() {
		f.t.Fatalf("partition %s counts %v up to %q, it has %v", p.object, c.sum, c.Counted, real)
	}
}

func (f *fixture) bid() id {
	f.t.Helper()
	x, err := f.b.id()
	if err != nil {
		f.t.Fatal(err)
	}
	return x
}

func (f *fixture) wantCounts(want Counts) {
	f.t.Helper()
	got, err := f.b.Counts(f.t.Context())
	got.Partitions = want.Partitions
	if err != nil || got != want {
		f.t.Fatalf("counts %+v, %v; want %+v", got, err, want)
	}
}

func TestCounts(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.put("a", body(50, 1))
	f.put("b", body(3000, 1))
	f.put("a", body(70, 1))
	if _, err := f.b.CreateUpload(ctx, "u", UploadInput{}); err != nil {
		t.Fatal(err)
	}
	f.wantCounts(Counts{Objects: 2, Bytes: 3070, Uploads: 1})
	if err := f.svc.SetVersioning(ctx, "photos", VersioningEnabled); err != nil {
		t.Fatal(err)
	}
	f.b = f.bucket(f.svc)
	f.put("a", body(10, 1))
	if err := f.b.Delete(ctx, "b", Cond{}); err != nil {
		t.Fatal(err)
	}
	f.wantCounts(Counts{Objects: 3, Bytes: 3080, Versions: 2, VersionBytes: 3070, Markers: 1, Uploads: 1})
	if err := f.svc.Set(ctx, "photos", "undelete", "1h"); err != nil {
		t.Fatal(err)
	}
	f.b = f.bucket(f.svc)
	if _, err := f.b.DeleteVersion(ctx, "b", DeleteInput{Version: NullVersion}); err != nil {
		t.Fatal(err)
	}
	f.wantCounts(Counts{Objects: 2, Bytes: 80, Versions: 1, VersionBytes: 70, Markers: 1, Uploads: 1, Kept: 1, KeptBytes: 3000})
	f.checkIndex()
}

// uncount makes the index as it was before there were counts.
func (f *fixture) uncount() {
	f.t.Helper()
	for _, p := range f.partitions() {
		raw := p.with(func(r *bucketpb.Range) { r.Counted = nil })
		if raw[0] != Format {
			f.t.Fatalf("a partition without counts has format %d", raw[0])
		}
		if _, err := f.meta.Do(f.t.Context(), p.object, new(client.Op).SetAttr(rangeAttr, raw).OmapRm(countsKey)); err != nil {
			f.t.Fatal(err)
		}
	}
}

// An index from before there were counts is counted by sweeping, in steps, while it is changed, and after a crash at any of them.
func TestCountsOfOldIndex(t *testing.T) {
	for crash := 1; ; crash++ {
		f := newFixture(t, func(o *Options) { o.SplitEntries = 3000 })
		f.uncount()
		f.svc = f.service(nil)
		f.b = f.bucket(f.svc)
		for i := range 70 {
			f.put(fmt.Sprintf("k%04d", i), body(i, 1))
		}
		f.wantCounts(Counts{Partial: true})
		var writes atomic.Int64
		f.meta.Before(func(_ context.Context, c clienttest.Call) error {
			if !c.Writes {
				return nil
			}
			if writes.Add(1) >= int64(crash) {
				return client.ErrTimeout
			}
			return nil
		})
		p := f.partitions()[0]
		var err error
		for err == nil && !p.whole() {
			if err = f.b.countSome(t.Context(), p, 7); err == nil {
				p = f.partitions()[0]
			}
		}
		f.meta.Before(nil)
		f.put("k0001", body(5, 1)) // counted
		f.put("k0069", body(5, 1)) // perhaps not yet
		if err := f.b.Delete(t.Context(), "k0050", Cond{}); err != nil {
			t.Fatal(err)
		}
		f.sweep()
		f.checkIndex()
		f.wantCounts(Counts{Objects: 69, Bytes: 70*69/2 - 1 - 69 - 50 + 10})
		if err == nil {
			if crash < 5 {
				t.Fatalf("counting took %d operations", crash-1)
			}
			return
		}
	}
}

// Two who count at once, with writers in between, do not count anything twice.
func TestCountsOfOldIndexTogether(t *testing.T) {
	rng := seeded(t)
	f := newFixture(t, nil)
	f.uncount()
	f.svc = f.service(nil)
	f.b = f.bucket(f.svc)
	for i := range 300 {
		f.put(fmt.Sprintf("k%04d", i), body(i, 1))
	}
	n := 0
	other := f.bucket(f.service(nil))
	f.meta.Before(func(_ context.Context, c clienttest.Call) error {
		if n++; n < 60 && rng.IntN(4) == 0 {
			f.meta.Before(nil)
			p, err := other.readPartition(context.Background(), f.bid(), firstPartition)
			if err == nil {
				err = other.countSome(context.Background(), p, 1+rng.IntN(50))
			}
			if err != nil && !errors.Is(err, errStale) {
				t.Error(err)
			}
			if _, err := put(other, fmt.Sprintf("k%04d", rng.IntN(400)), body(rng.IntN(90), 2)); err != nil {
				t.Error(err)
			}
		}
		return nil
	})
	if err := f.b.count(t.Context(), firstPartition); err != nil {
		t.Fatal(err)
	}
	f.meta.Before(nil)
	f.clock.add(time.Second)
	f.checkIndex()
}

func TestCheckCounts(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.SplitEntries = 50 })
	ctx := t.Context()
	for i := range 200 {
		f.put(fmt.Sprintf("k%04d", i), body(i, 1))
	}
	if err := f.b.maybeSplitAll(ctx); err != nil {
		t.Fatal(err)
	}
	ps := f.partitions()
	if c, err := f.b.CheckCounts(ctx, false); err != nil || c.Partitions != len(ps) || len(ps) < 3 || len(c.Wrong)+c.Busy > 0 {
		t.Fatalf("check of %d partitions: %+v, %v", len(ps), c, err)
	}
	if _, err := f.meta.Do(ctx, ps[1].object, new(client.Op).OmapAdd(countsKey, []int64{1, 5})); err != nil {
		t.Fatal(err)
	}
	c, err := f.b.CheckCounts(ctx, false)
	if err != nil || len(c.Wrong) != 1 || c.Wrong[0].Partition != ps[1].object || c.Wrong[0].Stored.Objects != c.Wrong[0].Real.Objects+1 {
		t.Fatalf("check: %+v, %v", c, err)
	}
	if _, err := f.b.CheckCounts(ctx, true); err != nil {
		t.Fatal(err)
	}
	if c, err = f.b.CheckCounts(ctx, true); err != nil || len(c.Wrong) > 0 {
		t.Fatalf("check after repair: %+v, %v", c, err)
	}
	f.checkIndex()
	f.wantCounts(Counts{Objects: 200, Bytes: 200 * 199 / 2})
}
