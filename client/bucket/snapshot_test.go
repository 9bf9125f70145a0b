package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
)

// past is what a snapshot must have: of each key that has an object its body and its tag.
type past map[string]pastObject

type pastObject struct {
	body []byte
	tag  string
}

func (f *fixture) take(name string) {
	f.t.Helper()
	if _, err := f.b.TakeSnapshot(f.t.Context(), name); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) at(name string) *View {
	f.t.Helper()
	v, err := f.b.At(f.t.Context(), name)
	if err != nil {
		f.t.Fatal(err)
	}
	return v
}

func getAt(v *View, key string) ([]byte, *Object, error) {
	o, err := v.Get(context.Background(), key)
	if err != nil {
		return nil, nil, err
	}
	r, err := o.Open(context.Background(), 0, -1)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	return got, o, err
}

// wantPast compares a snapshot with what it must have: in pages, and each object.
func (f *fixture) wantPast(name string, want past, page int) {
	f.t.Helper()
	v := f.at(name)
	var listed []string
	in := ListInput{Max: page}
	for {
		l, err := v.List(f.t.Context(), in)
		if err != nil {
			f.t.Fatal(err)
		}
		for _, o := range l.Objects {
			listed = append(listed, o.Key)
			if o.Size != int64(len(want[o.Key].body)) || o.Attrs.Tags["t"] != want[o.Key].tag {
				f.t.Fatalf("snapshot %s lists %q with %d bytes, tag %q; want %d, %q", name, o.Key, o.Size, o.Attrs.Tags["t"], len(want[o.Key].body), want[o.Key].tag)
			}
		}
		if !l.Truncated {
			break
		}
		in.After = l.Last
	}
	if keys := slices.Sorted(maps.Keys(want)); !slices.Equal(keys, listed) {
		f.t.Fatalf("snapshot %s lists %q, want %q", name, listed, keys)
	}
	for key, w := range want {
		got, o, err := getAt(v, key)
		if err != nil || !bytes.Equal(got, w.body) || o.Attrs.Tags["t"] != w.tag {
			f.t.Fatalf("snapshot %s has %q with %d bytes (%v), want %d", name, key, len(got), err, len(w.body))
		}
	}
	if _, _, err := getAt(v, "never"); !errors.Is(err, ErrNoSuchKey) {
		f.t.Fatalf("snapshot %s: %v", name, err)
	}
}

// Whatever becomes of a bucket, a snapshot stays as it was taken, and when all are removed nothing is left of what only they had.
func TestSnapshotsAgreeWithModel(t *testing.T) {
	rng := seeded(t)
	for _, mode := range []Versioning{VersioningOff, VersioningEnabled, VersioningSuspended} {
		for _, undelete := range []bool{false, true} {
			t.Run(fmt.Sprint(mode, undelete), func(t *testing.T) { snapshotModel(t, rand.New(rand.NewPCG(rng.Uint64(), 1)), mode, undelete) })
		}
	}
}

func snapshotModel(t *testing.T, rng *rand.Rand, mode Versioning, undelete bool) {
	f := newFixture(t, func(o *Options) { o.SplitEntries = 14 })
	ctx := t.Context()
	if undelete {
		if err := f.svc.Set(ctx, "photos", "undelete", "30m"); err != nil {
			t.Fatal(err)
		}
	}
	keys := []string{"a", "a/b", "a/c", "ab", "b", "b/x", "c", "d/1", "d/2", "z"}
	now := past{}
	snaps := map[string]past{}
	versions := map[string][]string{} // ids of what was put while versions are kept
	if mode == VersioningSuspended {
		for _, m := range []Versioning{VersioningEnabled, VersioningSuspended} {
			if err := f.svc.SetVersioning(ctx, "photos", m); err != nil {
				t.Fatal(err)
			}
		}
	}
	current := func(key string) { // after a deletion of a version
		o, err := f.b.Get(ctx, key)
		delete(now, key)
		if err == nil {
			b, err := get(f.b, key)
			if err != nil {
				t.Fatal(err)
			}
			now[key] = pastObject{b, o.Attrs.Tags["t"]}
		} else if !errors.Is(err, ErrNoSuchKey) {
			t.Fatal(err)
		}
	}
	for i := range 350 {
		if i == 60 && mode == VersioningEnabled { // what was put before there were versions is among them
			if err := f.svc.SetVersioning(ctx, "photos", mode); err != nil {
				t.Fatal(err)
			}
		}
		f.b = f.bucket(f.svc)
		key := keys[rng.IntN(len(keys))]
		switch what := rng.IntN(100); {
		case what < 40:
			want := randomBody(rng, []int{0, 20, 90, 500, 2500}[rng.IntN(5)])
			if rng.IntN(5) == 0 {
				up, err := f.b.CreateUpload(ctx, key, UploadInput{})
				if err != nil {
					t.Fatal(err)
				}
				want = randomBody(rng, 150+rng.IntN(900))
				p := f.part(key, up, 3, want)
				if _, err = f.b.Complete(ctx, key, up, CompleteInput{Parts: []CompletePart{{Number: 3, ETag: p.ETag}}}); err != nil {
					t.Fatal(err)
				}
			} else if o := f.put(key, want); o.Version != NullVersion {
				versions[key] = append(versions[key], o.Version)
			}
			now[key] = pastObject{body: want}
		case what < 52:
			if err := f.b.Delete(ctx, key, Cond{}); err != nil {
				t.Fatal(err)
			}
			delete(now, key)
		case what < 56:
			for _, err := range f.b.DeleteMany(ctx, keys[:3]) {
				if err != nil {
					t.Fatal(err)
				}
			}
			for _, k := range keys[:3] {
				delete(now, k)
			}
		case what < 64: // a version, which may not be the current one
			v := NullVersion
			if l := versions[key]; len(l) > 0 && rng.IntN(3) > 0 {
				v = l[rng.IntN(len(l))]
			}
			if _, err := f.b.DeleteVersion(ctx, key, DeleteInput{Version: v}); err != nil {
				t.Fatal(err)
			}
			current(key)
		case what < 74: // attributes in place
			if o, ok := now[key]; ok {
				o.tag = fmt.Sprint(i)
				if _, err := f.b.Update(ctx, key, "", func(_ *Object, a *Attrs) error { a.Tags = map[string]string{"t": o.tag}; return nil }); err != nil {
					t.Fatal(err)
				}
				now[key] = o
			}
		case what < 78: // onto itself
			if _, ok := now[key]; ok {
				o, err := f.b.Get(ctx, key)
				if err == nil {
					_, err = f.b.Copy(ctx, o, key, CopyInput{Attrs: Attrs{Tags: map[string]string{"t": "copied"}}})
				}
				if err != nil {
					t.Fatal(err)
				}
				now[key] = pastObject{now[key].body, "copied"}
			}
		case what < 80 && undelete:
			o, err := f.b.Undelete(ctx, key, "", true)
			if err != nil && !errors.Is(err, ErrNotKept) {
				t.Fatal(err)
			}
			if o != nil {
				current(key)
			}
		case what < 86 && len(snaps) < 6:
			name := fmt.Sprintf("s%d", i)
			f.take(name)
			snaps[name] = maps.Clone(now)
		case what < 90 && len(snaps) > 0:
			name := slices.Sorted(maps.Keys(snaps))[rng.IntN(len(snaps))]
			if rng.IntN(2) == 0 { // brings something back
				v := f.at(name)
				if o, err := v.Get(ctx, key); err == nil {
					if _, err := f.b.Copy(ctx, o, key, CopyInput{}); err != nil {
						t.Fatal(err)
					}
					now[key] = pastObject{body: snaps[name][key].body}
				}
				break
			}
			if err := f.b.RemoveSnapshot(ctx, name); err != nil {
				t.Fatal(err)
			}
			delete(snaps, name)
		case what < 93:
			if err := f.b.maybeSplitAll(ctx); err != nil {
				t.Fatal(err)
			}
		case what < 95:
			f.clock.add(20 * time.Minute)
			if _, err := f.svc.Sweep(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if i%25 == 0 || i > 340 {
			for name, want := range snaps {
				f.wantPast(name, want, 1+rng.IntN(5))
			}
			for key, w := range now {
				f.want(key, w.body)
			}
		}
	}
	for name := range snaps {
		if err := f.b.RemoveSnapshot(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	f.sweep()
	f.checkIndex()
	f.checkData()
	if c, err := f.b.Counts(ctx); err != nil || c.Held != 0 || c.HeldBytes != 0 {
		t.Errorf("counts %+v, %v", c, err)
	}
}

// checkData verifies that the data pool has what the records of the index refer to, and nothing else.
func (f *fixture) checkData() {
	f.t.Helper()
	want := map[string]bool{}
	for _, p := range f.partitions() {
		for _, kind := range []byte{kindEntry, kindVersion, kindHeld, kindKept} {
			res, err := f.meta.Do(f.t.Context(), p.object, new(client.Op).OmapList(string(kind), prefixEnd(string(kind)), 0))
			if err != nil {
				f.t.Fatal(err)
			}
			for _, kv := range res.Items[0].KVs {
				s, err := entryAt(kv)
				if err != nil {
					f.t.Fatal(err)
				}
				at := bodyKey(kv.Key)
				if kind == kindKept {
					at = string(kindKeptBody) + kv.Key[1:]
				}
				res, err := f.meta.Do(f.t.Context(), p.object, new(client.Op).OmapGet(at))
				if err != nil {
					f.t.Fatal(err)
				}
				refs, err := dataRefs(s, res.Items[0].Data)
				if err != nil {
					f.t.Fatal(err)
				}
				for _, r := range refs {
					for n := range r.Count {
						want[dataObject(id(r.Id), n)] = true
					}
				}
			}
		}
	}
	names := f.data.Names()
	if w := slices.Sorted(maps.Keys(want)); !slices.Equal(names, w) {
		f.t.Fatalf("the data pool has %d objects, the index refers to %d:\n%v\n%v", len(names), len(w), names, w)
	}
}

// Of a snapshot that is taken while many put and delete, everything acknowledged before is in it, nothing that was begun later, and nothing that
// came later than something that is not.
func TestSnapshotIsExact(t *testing.T) {
	f := newFixture(t, nil)
	for i := range 80 {
		f.put(fmt.Sprintf("%02d/0", i), nil)
	}
	f.b = f.bucket(f.service(func(o *Options) { o.SplitEntries = 12 }))
	if err := f.b.maybeSplitAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Each writer counts up, each number under another prefix, so that following ones lie in different partitions.
	const writers = 5
	var acked [writers]atomic.Int64
	var all sync.WaitGroup
	turns := make([]chan bool, writers) // how many they may put
	for w := range writers {
		turns[w] = make(chan bool, 1000)
		b := f.bucket(f.service(func(o *Options) { o.SplitEntries = 60 }))
		all.Go(func() {
			for n := int64(1); <-turns[w]; n++ {
				if _, err := put(b, fmt.Sprintf("%02d/w%d-%06d", (n*37)%80, w, n), nil); err != nil {
					t.Error(err)
					return
				}
				acked[w].Store(n)
			}
		})
	}
	for s := range 12 {
		name := fmt.Sprint("s", s)
		var before, after [writers]int64
		for w := range before {
			for range 40 {
				turns[w] <- true
			}
		}
		for w := range before {
			before[w] = acked[w].Load()
		}
		f.take(name)
		for w := range after {
			after[w] = acked[w].Load() + 1 // one may have begun before and not be acknowledged
		}
		var have [writers][]int64
		in := ListInput{Max: MaxListEntries}
		for {
			l, err := f.at(name).List(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range l.Objects {
				var p, w int
				var n int64
				if _, err := fmt.Sscanf(o.Key, "%d/w%d-%d", &p, &w, &n); err == nil {
					have[w] = append(have[w], n)
				}
			}
			if in.After = l.Last; !l.Truncated {
				break
			}
		}
		for w, ns := range have {
			slices.Sort(ns)
			last := int64(len(ns))
			if last > 0 && (ns[0] != 1 || ns[last-1] != last) || last < before[w] || last > after[w] {
				t.Fatalf("snapshot %d has %d numbers of writer %d, up to %v; %d were acknowledged before, %d after", s, last, w, ns[max(0, len(ns)-1):], before[w], after[w])
			}
		}
	}
	for _, c := range turns {
		close(c)
	}
	all.Wait()
	f.sweep()
	f.checkIndex()
}

// Whoever dies while a snapshot is taken leaves a snapshot that is right, or none, and nobody waits for ever.
func TestTakeSnapshotCrash(t *testing.T) {
	for _, late := range []bool{false, true} { // the operation that it dies in takes effect, or not
		for crash := 1; ; crash++ {
			f, want := f30(t)
			err := f.crashing(crash, late, func() error {
				_, err := f.b.TakeSnapshot(t.Context(), "snap")
				return err
			})
			f.svc = f.service(nil)
			f.b = f.bucket(f.svc)
			stop := make(chan struct{})
			var tick sync.WaitGroup
			tick.Go(func() { // those who wait see the time pass
				for {
					select {
					case <-stop:
						return
					default:
						f.clock.add(time.Millisecond)
					}
				}
			})
			for _, k := range []string{"k00", "k15", "k29"} {
				f.put(k, body(700, 9))
			}
			close(stop)
			tick.Wait()
			l, e := f.b.Snapshots(t.Context())
			if e != nil || err == nil && len(l) != 1 {
				t.Fatalf("crash %d: %v, %v", crash, l, e)
			}
			if len(l) == 1 {
				f.wantPast("snap", want, 7)
				if e := f.b.RemoveSnapshot(t.Context(), "snap"); e != nil {
					t.Fatal(e)
				}
			}
			f.sweep()
			f.checkIndex()
			f.checkData()
			for _, p := range f.partitions() {
				if p.Freezing != 0 || p.Snapshot != 0 {
					t.Fatalf("partition %v", p.Range)
				}
			}
			if err == nil {
				if crash < 6 {
					t.Fatalf("a snapshot took %d operations", crash-1)
				}
				break
			}
		}
	}
}

// f30 makes a bucket with three partitions and what a snapshot of it must have.
func f30(t *testing.T) (*fixture, past) {
	f := newFixture(t, func(o *Options) { o.SplitEntries = 12 })
	want := past{}
	for i := range 30 {
		k := fmt.Sprintf("k%02d", i)
		want[k] = pastObject{body: body(20+i*40, byte(i))}
		f.put(k, want[k].body)
	}
	if err := f.b.maybeSplitAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f, want
}

// crashing runs do, of which only so many operations that write take effect.
func (f *fixture) crashing(after int, late bool, do func() error) error {
	var writes atomic.Int64
	dead := func(c clienttest.Call) bool { return c.Writes && writes.Load() > int64(after) }
	hook := func(_ context.Context, c clienttest.Call) error {
		if c.Writes {
			writes.Add(1)
		}
		if n := writes.Load(); c.Writes && (n > int64(after) || n == int64(after) && !late) {
			return client.ErrTimeout
		}
		return nil
	}
	lose := func(_ context.Context, c clienttest.Call, err error) error {
		if c.Writes && writes.Load() >= int64(after) || dead(c) {
			return client.ErrTimeout
		}
		return err
	}
	for _, p := range []*clienttest.Pool{f.meta, f.data} {
		p.Before(hook)
		p.After(lose)
	}
	err := do()
	for _, p := range []*clienttest.Pool{f.meta, f.data} {
		p.Before(nil)
		p.After(nil)
	}
	return err
}

// Whoever dies while a snapshot is removed leaves it to the next sweep; another one has what it had.
func TestRemoveSnapshotCrash(t *testing.T) {
	for _, late := range []bool{false, true} {
		for crash := 1; ; crash++ {
			f, want := f30(t)
			f.take("one")
			f.put("k03", body(900, 1)) // in one only
			now := maps.Clone(want)
			now["k03"] = pastObject{body: body(900, 1)}
			f.take("two")
			for i := range 10 { // in both, or in two
				if err := f.b.Delete(t.Context(), fmt.Sprintf("k%02d", i), Cond{}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := f.b.Update(t.Context(), "k20", "", func(_ *Object, a *Attrs) error { a.Tags = map[string]string{"t": "x"}; return nil }); err != nil {
				t.Fatal(err)
			}
			err := f.crashing(crash, late, func() error { return f.b.RemoveSnapshot(t.Context(), "one") })
			f.svc = f.service(nil)
			f.b = f.bucket(f.svc)
			if _, e := f.b.At(t.Context(), "one"); e == nil {
				f.wantPast("one", want, 6)
				if e := f.b.RemoveSnapshot(t.Context(), "one"); e != nil {
					t.Fatal(e)
				}
			}
			f.wantPast("two", now, 4)
			f.sweep()
			f.wantPast("two", now, 4)
			f.checkIndex()
			f.checkData()
			if e := f.b.RemoveSnapshot(t.Context(), "two"); e != nil {
				t.Fatal(e)
			}
			f.sweep()
			f.checkData()
			if c, e := f.b.Counts(t.Context()); e != nil || c.Held != 0 {
				t.Fatalf("%+v, %v", c, e)
			}
			if err == nil {
				if crash < 4 {
					t.Fatalf("removing a snapshot took %d operations", crash-1)
				}
				break
			}
		}
	}
}

func TestSnapshotErrors(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.put("k", body(10, 1))
	for _, name := range []string{"", "A", "a/b", "a@b", string(make([]byte, 64))} {
		if _, err := f.b.TakeSnapshot(ctx, name); !errors.Is(err, ErrInvalidName) {
			t.Errorf("snapshot %q: %v", name, err)
		}
	}
	f.take("a")
	if _, err := f.b.TakeSnapshot(ctx, "a"); !errors.Is(err, ErrSnapshotExists) {
		t.Errorf("the same again: %v", err)
	}
	if _, err := f.b.At(ctx, "b"); !errors.Is(err, ErrNoSuchSnapshot) {
		t.Errorf("another one: %v", err)
	}
	if err := f.b.RemoveSnapshot(ctx, "b"); !errors.Is(err, ErrNoSuchSnapshot) {
		t.Errorf("remove another one: %v", err)
	}
	if err := f.b.Delete(ctx, "k", Cond{}); err != nil {
		t.Fatal(err)
	}
	if err := f.svc.Delete(ctx, "photos"); !errors.Is(err, ErrHasSnapshots) || !errors.Is(err, ErrBucketNotEmpty) {
		t.Errorf("delete a bucket with a snapshot: %v", err)
	}
	f.wantPast("a", past{"k": {body: body(10, 1)}}, 1)
	if err := f.b.RemoveSnapshot(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	f.take("a")
	if err := f.b.RemoveSnapshot(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if err := f.svc.Delete(ctx, "photos"); err != nil {
		t.Errorf("delete: %v", err)
	}
}

// A partition that a split had made, but not linked, when a snapshot was taken and a quota set, knows both when it gets keys.
func TestSnapshotBeforeLink(t *testing.T) {
	f := newFixture(t, nil)
	want := past{}
	for i := range 40 {
		k := fmt.Sprintf("k%02d", i)
		want[k] = pastObject{body: body(300, byte(i))}
		f.put(k, want[k].body)
	}
	f.svc = f.service(func(o *Options) { o.SplitEntries = 10 })
	f.b = f.bucket(f.svc)
	// The split is noted, the partition made, and nobody goes on.
	if err := f.crashing(2, true, func() error { return f.b.maybeSplit(t.Context(), firstPartition) }); err == nil {
		t.Fatal("the split went on")
	}
	f.take("one")
	f.setQuota(Quota{Objects: 40})
	if err := f.b.runSplit(t.Context(), firstPartition); err != nil {
		t.Fatal(err)
	}
	if n := len(f.partitions()); n != 2 {
		t.Fatalf("%d partitions", n)
	}
	for _, p := range f.partitions() {
		if p.Snapshot != 1 || p.Allotment.GetObjects() > 40 {
			t.Errorf("partition %v", p.Range)
		}
	}
	if _, err := put(f.b, "k99", nil); !errors.Is(err, ErrQuota) {
		t.Errorf("put above the quota: %v", err)
	}
	for k := range want {
		if err := f.b.Delete(t.Context(), k, Cond{}); err != nil {
			t.Fatal(err)
		}
	}
	f.sweep()
	f.wantPast("one", want, 9)
	f.checkIndex()
}
