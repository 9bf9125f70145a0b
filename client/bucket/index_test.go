package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
)

// page is a model's answer to List.
func page(keys []string, in ListInput) (objects, prefixes []string, truncated bool) {
	sorted := slices.Clone(keys)
	sort.Strings(sorted)
	last := ""
	for _, k := range sorted {
		if !strings.HasPrefix(k, in.Prefix) {
			continue
		}
		item, common := k, false
		if in.Delimiter != "" {
			if i := strings.Index(k[len(in.Prefix):], in.Delimiter); i >= 0 {
				item, common = k[:len(in.Prefix)+i+len(in.Delimiter)], true
			}
		}
		if item <= in.After || common && item == last {
			continue
		}
		if len(objects)+len(prefixes) == in.Max {
			return objects, prefixes, true
		}
		if common {
			prefixes = append(prefixes, item)
			last = item
		} else {
			objects = append(objects, item)
		}
	}
	return objects, prefixes, false
}

// List agrees with a model over random keys, prefixes, delimiters and pages, in
// a bucket of many partitions.
func TestListAgreesWithModel(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.SplitEntries = 20 })
	rng := seeded(t)
	word := func() string {
		var b strings.Builder
		for range rng.IntN(6) {
			b.WriteByte("ab/-\xc3\xa4"[0:4][rng.IntN(4)])
		}
		return b.String()
	}
	set := map[string]bool{}
	for range 400 {
		k := word() + word() + word()
		if k == "" {
			continue
		}
		if rng.IntN(5) == 0 {
			if err := f.b.Delete(t.Context(), k, Cond{}); err != nil {
				t.Fatal(err)
			}
			delete(set, k)
			continue
		}
		f.put(k, nil)
		set[k] = true
	}
	x, _ := f.b.id()
	if err := f.b.maybeSplitAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if roots, err := f.b.root(t.Context(), x, f.svc.view(x)); err != nil || len(roots) < 4 {
		t.Fatalf("%d partitions, %v: want several", len(roots), err)
	}
	var keys []string
	for k := range set {
		keys = append(keys, k)
	}
	for range 500 {
		in := ListInput{Prefix: word(), After: word(), Max: 1 + rng.IntN(20)}
		if rng.IntN(2) == 0 {
			in.Delimiter = []string{"/", "-", "a", "ab", "//"}[rng.IntN(5)]
		}
		if rng.IntN(2) == 0 {
			in.After = ""
		}
		l, err := f.b.List(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, o := range l.Objects {
			got = append(got, o.Key)
		}
		objects, prefixes, truncated := page(keys, in)
		if !slices.Equal(got, objects) || !slices.Equal(l.Prefixes, prefixes) || l.Truncated != truncated {
			t.Fatalf("list %+v:\n got %q %q %v\nwant %q %q %v", in, got, l.Prefixes, l.Truncated, objects, prefixes, truncated)
		}
	}
	// Following the pages gives everything once.
	var all []string
	in := ListInput{Max: 7}
	for {
		l, err := f.b.List(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range l.Objects {
			all = append(all, o.Key)
		}
		if !l.Truncated {
			break
		}
		in.After = l.Last
	}
	sort.Strings(keys)
	if !slices.Equal(all, keys) {
		t.Errorf("pages gave %d keys, want %d", len(all), len(keys))
	}
}

// maybeSplitAll splits every partition that is too large until none is.
func (b *Bucket) maybeSplitAll(ctx context.Context) error {
	x, err := b.id()
	if err != nil {
		return err
	}
	for n, again := 0, true; again && n < 20; n++ {
		var parts []uint64
		if err := b.walk(ctx, x, func(p *partition) error { parts = append(parts, p.n); return nil }); err != nil {
			return err
		}
		for _, n := range parts {
			if err := b.maybeSplit(ctx, n); err != nil {
				return err
			}
		}
		now := 0
		if err := b.walk(ctx, x, func(*partition) error { now++; return nil }); err != nil {
			return err
		}
		again = now > len(parts)
	}
	return nil
}

// A listing with a delimiter steps over what lies below a prefix instead of reading it.
func TestListSkipsPrefixes(t *testing.T) {
	f := newFixture(t, nil)
	for d := range 3 {
		for i := range 500 {
			f.put(fmt.Sprintf("dir%d/%04d", d, i), nil)
		}
	}
	before := f.meta.Calls()
	l, err := f.b.List(t.Context(), ListInput{Delimiter: "/", Max: 1000})
	if err != nil || !slices.Equal(l.Prefixes, []string{"dir0/", "dir1/", "dir2/"}) || len(l.Objects) > 0 {
		t.Fatalf("got %+v, %v", l, err)
	}
	if n := f.meta.Calls() - before; n > 4 {
		t.Errorf("%d operations for 3 prefixes", n)
	}
}

// While objects are written and partitions split, a listing shows every object
// that was there all the time, exactly once and in order.
func TestListDuringWritesAndSplits(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.SplitEntries = 30 })
	stable := map[string]bool{}
	for i := range 200 {
		k := fmt.Sprintf("s%04d", i*10)
		f.put(k, nil)
		stable[k] = true
	}
	other := f.bucket(f.service(func(o *Options) { o.SplitEntries = 30 }))
	ctx, cancel := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for w := range 3 {
		writers.Add(1)
		go func() {
			defer writers.Done()
			b := f.b
			if w == 1 {
				b = other
			}
			for i := w; ctx.Err() == nil; i += 3 {
				k := fmt.Sprintf("s%04dx%d", i%2000, w)
				if _, err := put(b, k, body(30, byte(w))); err != nil {
					t.Error(err)
				}
				if i%4 == 0 {
					if err := b.Delete(context.Background(), k, Cond{}); err != nil {
						t.Error(err)
					}
				}
			}
		}()
	}
	// On a fast machine the listings are through before the writers have written much.
	for round := 0; round < 30 || round < 100_000 && len(f.partitions()) < 4; round++ {
		lister := []*Bucket{f.b, other}[round%2]
		seen, last, in := 0, "", ListInput{Max: 50}
		for {
			l, err := lister.List(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range l.Objects {
				if o.Key <= last {
					t.Fatalf("%q after %q", o.Key, last)
				}
				last = o.Key
				if stable[o.Key] {
					seen++
				}
			}
			if !l.Truncated {
				break
			}
			in.After = l.Last
		}
		if seen != len(stable) {
			t.Fatalf("round %d: saw %d of the %d objects that were there", round, seen, len(stable))
		}
	}
	cancel()
	writers.Wait()
	if n := len(f.partitions()); n < 4 {
		t.Errorf("%d partitions: nothing was split", n)
	}
}

func (f *fixture) partitions() []*partition {
	f.t.Helper()
	x, err := f.b.id()
	if err != nil {
		f.t.Fatal(err)
	}
	var all []*partition
	if err := f.b.walk(f.t.Context(), x, func(p *partition) error { all = append(all, p); return nil }); err != nil {
		f.t.Fatal(err)
	}
	return all
}

// checkIndex verifies that the partitions cover all keys once, that each holds
// only its own, and that no split is left over.
func (f *fixture) checkIndex() {
	f.t.Helper()
	at := ""
	for _, p := range f.partitions() {
		if p.start() != at || p.Split != nil || len(p.Closing) > 0 {
			f.t.Fatalf("partition %s: %v, want it to begin at %q and to be at rest", p.object, p.Range, at)
		}
		at = p.end()
		f.checkCounts(p)
		for _, kind := range movedKinds {
			res, err := f.meta.Do(f.t.Context(), p.object, new(client.Op).OmapList(string(kind), prefixEnd(string(kind)), 0))
			if err != nil {
				f.t.Fatal(err)
			}
			for _, kv := range res.Items[0].KVs {
				if k := keyOf(kv.Key[1:]); k < p.start() || k >= p.end() {
					f.t.Fatalf("partition %s [%q, %q) holds %q", p.object, p.start(), p.end(), kv.Key)
				}
			}
		}
	}
	if at != keyEnd {
		f.t.Fatalf("the partitions end at %q", at)
	}
}

// A split that dies after any of its operations is finished by whoever comes
// next, and nothing is lost.
func TestSplitCrash(t *testing.T) {
	for crash := 1; ; crash++ {
		f := newFixture(t, nil)
		want := map[string][]byte{}
		for i := range 60 {
			k := fmt.Sprintf("k%03d", i)
			want[k] = body(50, byte(i))
			f.put(k, want[k])
		}
		up, err := f.b.CreateUpload(t.Context(), "k059", UploadInput{})
		if err != nil {
			t.Fatal(err)
		}
		doomed := f.service(func(o *Options) { o.SplitEntries = 10 })
		b := f.bucket(doomed)
		var writes atomic.Int64
		f.meta.Before(func(_ context.Context, c clienttest.Call) error {
			if c.Writes && writes.Add(1) >= int64(crash) {
				return client.ErrTimeout
			}
			return nil
		})
		err = b.maybeSplit(t.Context(), firstPartition)
		f.meta.Before(nil)
		done := err == nil
		// Readers and writers get through at once, from a service with no picture of the index.
		f.svc = f.service(nil)
		f.b = f.bucket(f.svc)
		for _, k := range []string{"k000", "k030", "k059"} {
			f.want(k, want[k])
			want[k] = body(60, 1)
			f.put(k, want[k])
		}
		if _, err := f.b.UploadPart(t.Context(), "k059", up, 1, PartInput{Body: strings.NewReader("x"), Size: 1}); err != nil {
			t.Fatal(err)
		}
		f.sweep()
		f.checkIndex()
		for k, v := range want {
			f.want(k, v)
		}
		if done {
			if crash < 5 {
				t.Fatalf("a split took %d operations", crash-1)
			}
			return
		}
	}
}

// Several services split the same partition at the same time.
func TestSplitTogether(t *testing.T) {
	f := newFixture(t, nil)
	for i := range 700 {
		f.put(fmt.Sprintf("k%04d", i), body(20, byte(i)))
	}
	var all sync.WaitGroup
	for range 4 {
		b := f.bucket(f.service(func(o *Options) { o.SplitEntries = 100 }))
		all.Add(1)
		go func() {
			defer all.Done()
			if err := b.maybeSplit(t.Context(), firstPartition); err != nil {
				t.Error(err)
			}
		}()
	}
	all.Wait()
	f.sweep()
	f.checkIndex()
	if n := len(f.partitions()); n < 2 {
		t.Errorf("%d partitions, want several", n)
	}
	for i := range 700 {
		f.want(fmt.Sprintf("k%04d", i), body(20, byte(i)))
	}
}

func TestBuckets(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	b, err := f.svc.Create(ctx, "photos", "bob", "")
	if !errors.Is(err, ErrBucketExists) || b.Info().Owner != "ann" {
		t.Errorf("create again: %v", err)
	}
	if _, err := f.svc.Create(ctx, "Bad", "bob", ""); !errors.Is(err, ErrInvalidName) {
		t.Errorf("create a bad name: %v", err)
	}
	if _, err := f.svc.Create(ctx, "bobs", "bob", ""); err != nil {
		t.Fatal(err)
	}
	for owner, want := range map[string]int{"ann": 1, "bob": 1, "": 2, "eve": 0} {
		if l, err := f.svc.List(ctx, owner); err != nil || len(l) != want {
			t.Errorf("buckets of %q: %v, %v", owner, l, err)
		}
	}
	f.put("k", nil)
	if err := f.svc.Delete(ctx, "photos"); !errors.Is(err, ErrBucketNotEmpty) {
		t.Errorf("delete: %v", err)
	}
	f.want("k", nil)
	if err := f.b.Delete(ctx, "k", Cond{}); err != nil {
		t.Fatal(err)
	}
	if err := f.svc.Delete(ctx, "photos"); err != nil {
		t.Fatal(err)
	}
	if _, err := put(f.b, "k", nil); !errors.Is(err, ErrNoSuchBucket) {
		t.Errorf("put into a deleted bucket: %v", err)
	}
	if _, err := f.svc.Bucket(ctx, "photos"); !errors.Is(err, ErrNoSuchBucket) {
		t.Errorf("find a deleted bucket: %v", err)
	}
	if err := f.svc.Delete(ctx, "photos"); !errors.Is(err, ErrNoSuchBucket) {
		t.Errorf("delete a deleted bucket: %v", err)
	}
	// The same owner's new bucket of that name takes over old handles; another's does not.
	if _, err := f.svc.Create(ctx, "photos", "ann", ""); err != nil {
		t.Fatal(err)
	}
	f.put("k2", nil)
	if err := f.b.Delete(ctx, "k2", Cond{}); err != nil {
		t.Fatal(err)
	}
	if err := f.svc.Delete(ctx, "photos"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.svc.Create(ctx, "photos", "eve", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := put(f.b, "k", nil); !errors.Is(err, ErrNoSuchBucket) {
		t.Errorf("put through an old handle into another's bucket: %v", err)
	}
	f.sweep()
	if names := f.meta.Names(); len(names) != 1+2*2 { // registry, two buckets of root and partition
		t.Errorf("left in the cluster: %v", names)
	}
}

// Objects put while their bucket is being deleted: either the put succeeds and
// the bucket stays, or the bucket goes and the put fails.
func TestDeleteBucketRace(t *testing.T) {
	for round := range 60 {
		f := newFixture(t, func(o *Options) { o.SplitEntries = 10 })
		if round%2 == 1 { // several partitions
			for i := range 25 {
				f.put(fmt.Sprint("k", i), nil)
			}
			if err := f.b.maybeSplitAll(t.Context()); err != nil {
				t.Fatal(err)
			}
			for i := range 25 {
				if err := f.b.Delete(t.Context(), fmt.Sprint("k", i), Cond{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		other := f.bucket(f.service(nil))
		size := []int{10, 1500}[round/2%2]
		var putErr, delErr error
		var all sync.WaitGroup
		all.Add(2)
		go func() { defer all.Done(); _, putErr = put(other, "k7", body(size, 1)) }()
		go func() { defer all.Done(); delErr = f.svc.Delete(context.Background(), "photos") }()
		all.Wait()
		switch {
		case putErr == nil && errors.Is(delErr, ErrBucketNotEmpty):
			f.want("k7", body(size, 1))
			f.put("later", nil) // and the bucket is open
		case delErr == nil && errors.Is(putErr, ErrNoSuchBucket):
			f.sweep()
			f.wantData(0)
		default:
			t.Fatalf("round %d: put %v, delete %v", round, putErr, delErr)
		}
	}
}

// A deletion that dies in the middle leaves a bucket that opens again.
func TestDeleteBucketCrash(t *testing.T) {
	for crash := 1; crash <= 3; crash++ {
		f := newFixture(t, nil)
		writes := 0
		f.meta.Before(func(_ context.Context, c clienttest.Call) error {
			if c.Writes {
				if writes++; writes > crash {
					return client.ErrTimeout
				}
			}
			return nil
		})
		err := f.svc.Delete(t.Context(), "photos")
		f.meta.Before(nil)
		if crash == 3 { // through: what is left is cleaning up
			if err != nil {
				t.Fatal(err)
			}
			f.sweep()
			if names := f.meta.Names(); len(names) != 1 {
				t.Errorf("left: %v", names)
			}
			return
		}
		if err == nil {
			t.Fatal("deleted without an answer")
		}
		f.clock.add(time.Hour)
		f.put("k", nil)
		f.want("k", nil)
	}
}

func TestCreateBucketCrash(t *testing.T) {
	f := newFixture(t, nil)
	for crash := range 4 {
		name := fmt.Sprint("new", crash)
		writes := 0
		f.meta.Before(func(_ context.Context, c clienttest.Call) error {
			if writes++; c.Writes && writes > crash {
				return client.ErrTimeout
			}
			return nil
		})
		if _, err := f.svc.Create(t.Context(), name, "ann", ""); err == nil {
			t.Fatal("created")
		}
		f.meta.Before(nil)
		if _, err := f.svc.Bucket(t.Context(), name); !errors.Is(err, ErrNoSuchBucket) {
			t.Errorf("half a bucket is visible: %v", err)
		}
		f.clock.add(time.Hour)
		owner := []string{"ann", "bob"}[crash%2]
		b, err := f.svc.Create(t.Context(), name, owner, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := put(b, "k", nil); err != nil {
			t.Error(err)
		}
	}
}

// Whatever operation a put dies at, an acknowledged body is whole and what was
// not acknowledged leaves nothing behind once the sweep came by.
func TestPutCrash(t *testing.T) {
	for _, lose := range []bool{false, true} { // the operation is not carried out, or only its answer is lost
		for crash := 1; ; crash++ {
			f := newFixture(t, nil)
			f.put("k", body(2500, 1))
			doomed := f.bucket(f.service(nil))
			if _, err := doomed.Head(t.Context(), "k"); err != nil {
				t.Fatal(err)
			}
			var writes atomic.Int64
			before := func(_ context.Context, c clienttest.Call) error {
				if n := writes.Add(1); c.Writes && (n > int64(crash) || n == int64(crash) && !lose) {
					return client.ErrTimeout
				}
				return nil
			}
			after := func(_ context.Context, c clienttest.Call, err error) error {
				if c.Writes && writes.Load() >= int64(crash) {
					return client.ErrTimeout
				}
				return err
			}
			for _, p := range []*clienttest.Pool{f.meta, f.data} {
				p.Before(before)
				if lose {
					p.After(after)
				}
			}
			_, err := put(doomed, "k", body(3500, 2))
			f.meta.Before(nil)
			f.meta.After(nil)
			f.data.Before(nil)
			f.data.After(nil)
			f.sweep()
			got, e := get(f.b, "k")
			if e != nil {
				t.Fatal(e)
			}
			old, neu := bytes.Equal(got, body(2500, 1)), bytes.Equal(got, body(3500, 2))
			if !old && !neu || err == nil && !neu {
				t.Fatalf("crash at %d: put %v, then read %d bytes", crash, err, len(got))
			}
			f.wantData((len(got) + 999) / 1000)
			if err == nil {
				break
			}
		}
	}
}

// What is moved by one operation must fit into one: with small bodies in the index their bytes, not their number, are what counts.
func TestSplitLargeInline(t *testing.T) {
	for _, size := range []int{4 << 10, 16 << 10, 256 << 10} {
		f := newFixture(t, func(o *Options) { o.InlineBytes = 256 << 10 })
		n := 3 << 20 / size
		for i := range n {
			f.put(fmt.Sprintf("k%05d", i), body(size, byte(i)))
		}
		small := f.service(func(o *Options) { o.InlineBytes, o.SplitBytes = 256<<10, 1<<20 })
		if err := f.bucket(small).maybeSplit(t.Context(), firstPartition); err != nil {
			t.Fatalf("bodies of %d bytes: %v", size, err)
		}
		f.b = f.bucket(f.service(nil))
		f.checkIndex()
		if p, err := f.b.readPartition(t.Context(), f.b.mustID(t), firstPartition); err != nil || p.Next == 0 || p.Split != nil {
			t.Fatalf("bodies of %d bytes: the partition was not split: %+v, %v", size, p, err)
		}
		for i := range n {
			f.want(fmt.Sprintf("k%05d", i), body(size, byte(i)))
		}
	}
}

func (b *Bucket) mustID(t *testing.T) id {
	t.Helper()
	x, err := b.id()
	if err != nil {
		t.Fatal(err)
	}
	return x
}
