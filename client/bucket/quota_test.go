package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
)

func (f *fixture) setQuota(q Quota) {
	f.t.Helper()
	if err := f.svc.SetQuota(f.t.Context(), "photos", q); err != nil {
		f.t.Fatal(err)
	}
}

// A quota refuses what does not fit and nothing else, wherever in the index and through whichever gateway, also while
// the index splits and the quota is changed.
func TestQuotaAgreesWithModel(t *testing.T) {
	rng := seeded(t)
	f := newFixture(t, func(o *Options) { o.SplitEntries = 12 })
	ctx := t.Context()
	bs := []*Bucket{f.b, f.bucket(f.service(nil)), f.bucket(f.service(nil))}
	q := Quota{Objects: 60, Bytes: 6000}
	f.setQuota(q)
	have := map[string]int{}
	used := func() (n int64) {
		for _, size := range have {
			n += int64(size)
		}
		return n
	}
	refused := 0
	for i := range 1200 {
		b := bs[rng.IntN(len(bs))]
		key := fmt.Sprintf("k%02d", rng.IntN(90))
		f.clock.add(2 * refuseAge) // a refusal is remembered for a moment
		switch what := rng.IntN(100); {
		case what < 65:
			size := rng.IntN(300)
			old, there := have[key]
			grows := int64(size - old)
			fits := (q.Objects == 0 || there || int64(len(have)) < q.Objects) && (q.Bytes == 0 || grows <= 0 || used()+grows <= q.Bytes)
			_, err := put(b, key, body(size, 1))
			var qe *QuotaError
			switch {
			case fits && err != nil, !fits && (!errors.Is(err, ErrQuota) || !errors.As(err, &qe) || qe.User):
				t.Fatalf("put %d: %d bytes more to %d objects, %d bytes, fits %v in %+v: %v", i, grows, len(have), used(), fits, q, err)
			case fits:
				have[key] = size
			default:
				refused++
			}
		case what < 92:
			if err := b.Delete(ctx, key, Cond{}); err != nil {
				t.Fatal(err)
			}
			delete(have, key)
		case what < 96:
			if err := b.maybeSplitAll(ctx); err != nil {
				t.Fatal(err)
			}
		default:
			q = []Quota{{}, {Objects: 20}, {Bytes: 4000}, {Objects: 60, Bytes: 6000}, {Objects: 40, Bytes: 8000}}[rng.IntN(5)]
			f.setQuota(q)
		}
	}
	if n := len(f.partitions()); refused < 20 || n < 4 {
		t.Errorf("%d puts refused in %d partitions", refused, n)
	}
	f.sweep()
	f.checkIndex()
	f.wantCounts(Counts{Objects: int64(len(have)), Bytes: used()})
}

// Of many who fill a bucket up through several gateways, while it splits, none gets it above its quota, and they do not stop before it is full.
func TestQuotaRace(t *testing.T) {
	rng := seeded(t)
	f := newFixture(t, nil)
	const limit, largest, workers = 40_000, 150, 6
	for i := range 60 { // several partitions to begin with
		f.put(fmt.Sprintf("%02d", i), body(10, 1))
	}
	f.b = f.bucket(f.service(func(o *Options) { o.SplitEntries = 12 }))
	if err := f.b.maybeSplitAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.setQuota(Quota{Bytes: limit})
	var all sync.WaitGroup
	for w := range workers {
		b := f.bucket(f.service(func(o *Options) { o.SplitEntries = 40 }))
		r := rand.New(rand.NewPCG(rng.Uint64(), uint64(w)))
		all.Go(func() {
			for n := 0; n < 3; n++ { // until it is refused in a row
				key := fmt.Sprintf("%02d-%d-%d", r.IntN(60), w, r.IntN(1000))
				_, err := put(b, key, body(1+r.IntN(largest), 1))
				switch {
				case err == nil:
					n = -1
				case !errors.Is(err, ErrQuota):
					t.Error(err)
					return
				}
				if r.IntN(20) == 0 {
					if err := b.Delete(t.Context(), key, Cond{}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	f.sweep()
	f.checkIndex()
	c, err := f.b.Counts(t.Context())
	if err != nil || c.Bytes > limit {
		t.Fatalf("%d bytes, %v; the quota is %d", c.Bytes, err, limit)
	}
	// Deletions may have made room behind the last refusals.
	f.clock.add(2 * refuseAge)
	for left := limit - c.Bytes; left > 0; {
		n := min(left, 90)
		f.put(fmt.Sprintf("fill%d", left), body(int(n), 1))
		left -= n
	}
	if _, err := put(f.b, "one", body(1, 1)); !errors.Is(err, ErrQuota) {
		t.Errorf("put into a full bucket: %v", err)
	}
}

// A quota that was set by somebody who died at any step is in force after the next sweep, and nothing is refused wrongly.
func TestSetQuotaCrash(t *testing.T) {
	for crash := 1; ; crash++ {
		f := newFixture(t, func(o *Options) { o.SplitEntries = 10 })
		for i := range 30 {
			f.put(fmt.Sprintf("k%02d", i), body(10, 1))
		}
		if err := f.b.maybeSplitAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.setQuota(Quota{Objects: 31})
		var writes atomic.Int64
		f.meta.Before(func(_ context.Context, c clienttest.Call) error {
			if c.Writes && writes.Add(1) >= int64(crash) {
				return client.ErrTimeout
			}
			return nil
		})
		err := f.svc.SetQuota(t.Context(), "photos", Quota{Objects: 32})
		f.meta.Before(nil)
		f.svc = f.service(nil)
		f.b = f.bucket(f.svc)
		limit := 32
		if f.b.Quota().Objects == 31 {
			limit = 31
		}
		f.sweep()
		n := 0
		for ; n < 5; n++ {
			f.clock.add(2 * refuseAge)
			if _, err := put(f.b, fmt.Sprintf("new%d", n), nil); err != nil {
				if !errors.Is(err, ErrQuota) {
					t.Fatal(err)
				}
				break
			}
		}
		if n != limit-30 {
			t.Fatalf("after a crash at %d there was room for %d, want %d", crash, n, limit-30)
		}
		if err == nil {
			if crash < 5 {
				t.Fatalf("setting a quota took %d operations", crash-1)
			}
			return
		}
	}
}

func TestUserQuota(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	b2, err := f.svc.Create(ctx, "films", "ann", "")
	if err != nil {
		t.Fatal(err)
	}
	f.put("a", body(500, 1))
	if err := f.svc.SetUserQuota(ctx, "ann", Quota{Bytes: 1000, Objects: 4}); err != nil {
		t.Fatal(err)
	}
	if q, err := f.svc.UserQuota(ctx, "ann"); err != nil || q.Bytes != 1000 {
		t.Fatal(q, err)
	}
	wantErr := func(err error, what string) {
		t.Helper()
		var qe *QuotaError
		if !errors.As(err, &qe) || !qe.User || qe.What != what {
			t.Fatalf("got %v, want the quota of %s", err, what)
		}
	}
	if _, err := put(b2, "b", body(400, 1)); err != nil {
		t.Fatal(err)
	}
	_, err = put(f.b, "c", body(101, 1))
	wantErr(err, "bytes")
	for _, k := range []string{"c", "d"} {
		if _, err := put(f.b, k, nil); err != nil {
			t.Fatal(err)
		}
	}
	_, err = put(b2, "e", nil)
	wantErr(err, "objects")
	// Deletions through another gateway are noticed when a sum is older than a moment.
	other := f.bucket(f.service(nil))
	if err := other.Delete(ctx, "a", Cond{}); err != nil {
		t.Fatal(err)
	}
	f.clock.add(refuseAge)
	if _, err := put(b2, "e", body(600, 1)); err != nil {
		t.Fatal(err)
	}
	// What others put is noticed within ten seconds.
	if err := f.svc.SetUserQuota(ctx, "ann", Quota{Bytes: 2000}); err != nil {
		t.Fatal(err)
	}
	f.put("f", body(100, 1))
	if _, err := put(other, "g", body(850, 1)); err != nil {
		t.Fatal(err)
	}
	f.clock.add(useAge + time.Second)
	_, err = put(f.b, "h", body(60, 1))
	wantErr(err, "bytes")
	if err := f.svc.SetUserQuota(ctx, "ann", Quota{}); err != nil {
		t.Fatal(err)
	}
	f.put("h", body(60, 1))
	if c, err := f.svc.UserCounts(ctx, "ann"); err != nil || c.Objects != 7 || c.Bytes != 400+600+100+850+60 {
		t.Errorf("%+v, %v", c, err)
	}
}

// Versions count, and so do multipart uploads when they are completed.
func TestQuotaOfVersions(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	if err := f.svc.SetVersioning(ctx, "photos", VersioningEnabled); err != nil {
		t.Fatal(err)
	}
	f.setQuota(Quota{Bytes: 1000, WarnBytes: 800})
	f.b = f.bucket(f.svc)
	o := f.put("a", body(600, 1))
	if _, err := put(f.b, "a", body(600, 2)); !errors.Is(err, ErrQuota) {
		t.Fatalf("another version: %v", err)
	}
	f.want("a", body(600, 1))
	up, err := f.b.CreateUpload(ctx, "u", UploadInput{})
	if err != nil {
		t.Fatal(err)
	}
	p := f.part("u", up, 1, body(500, 3))
	in := CompleteInput{Parts: []CompletePart{{Number: 1, ETag: p.ETag}}}
	if _, err := f.b.Complete(ctx, "u", up, in); !errors.Is(err, ErrQuota) {
		t.Fatalf("complete: %v", err)
	}
	if _, err := f.b.DeleteVersion(ctx, "a", DeleteInput{Version: o.Version}); err != nil {
		t.Fatal(err)
	}
	f.clock.add(2 * refuseAge)
	if _, err := f.b.Complete(ctx, "u", up, in); err != nil { // it is still there
		t.Fatal(err)
	}
	f.put("b", body(300, 1))
	c, err := f.b.Counts(ctx)
	if err != nil || f.b.Quota().Warns(c) == "" {
		t.Errorf("%+v, %v: no warning", c, err)
	}
	got, err := get(f.b, "u")
	if err != nil || !bytes.Equal(got, body(500, 3)) || !slices.Contains([]int64{800}, c.Bytes) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := f.svc.SetQuota(ctx, "photos", Quota{Bytes: -1}); err == nil {
		t.Error("a negative quota was taken")
	}
}
