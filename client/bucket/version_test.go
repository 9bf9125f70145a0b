package bucket

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// modelVersion is what the model has of a version; of each key the newest comes first.
type modelVersion struct {
	id     string
	body   []byte
	marker bool
	hold   bool
}

type versionModel map[string][]modelVersion

// add puts a version on top; the null version takes the place of the one before.
func (m versionModel) add(key string, v modelVersion) {
	if v.id == NullVersion {
		m[key] = slices.DeleteFunc(m[key], func(o modelVersion) bool { return o.id == NullVersion })
	}
	m[key] = append([]modelVersion{v}, m[key]...)
}

func TestVersionsAgreeWithModel(t *testing.T) {
	rng := seeded(t)
	f := newFixture(t, func(o *Options) { o.SplitEntries = 16 })
	ctx := t.Context()
	m := versionModel{}
	mode := VersioningOff
	keys := []string{"a", "a/b", "a/c", "b", "b/x", "c", "z"}
	for i := range 900 {
		key := keys[rng.IntN(len(keys))]
		switch what := rng.IntN(100); {
		case what < 3 && i > 60:
			mode = []Versioning{VersioningEnabled, VersioningEnabled, VersioningSuspended}[rng.IntN(3)]
			if err := f.svc.SetVersioning(ctx, "photos", mode); err != nil {
				t.Fatal(err)
			}
			f.b = f.bucket(f.svc)
		case what < 45:
			f.putVersion(m, mode, key, rng)
		case what < 60:
			f.deleteCurrent(m, mode, key)
		case what < 80:
			f.deleteSome(m, key, rng)
		case what < 88:
			f.hold(m, key, rng)
		case what < 90:
			if err := f.b.maybeSplitAll(ctx); err != nil {
				t.Fatal(err)
			}
		default:
			f.clock.add(time.Second)
		}
		f.wantVersions(m, key)
		if i%50 == 0 {
			f.listVersions(m, 1+rng.IntN(9))
		}
	}
	f.listVersions(m, MaxListEntries)
	f.sweep()
	n := 0
	for _, vs := range m {
		for _, v := range vs {
			if len(v.body) > f.svc.o.InlineBytes {
				n += (len(v.body) + f.svc.o.ChunkBytes - 1) / f.svc.o.ChunkBytes
			}
		}
	}
	f.wantData(n)
	if len(f.partitions()) < 2 {
		t.Error("nothing was split")
	}
	f.checkIndex()
}

func (f *fixture) putVersion(m versionModel, mode Versioning, key string, rng *rand.Rand) {
	f.t.Helper()
	want := randomBody(rng, []int{0, 20, 90, 500, 2500}[rng.IntN(5)])
	var o *Object
	if rng.IntN(4) == 0 {
		up, err := f.b.CreateUpload(f.t.Context(), key, UploadInput{})
		if err != nil {
			f.t.Fatal(err)
		}
		want = randomBody(rng, 150+rng.IntN(900))
		p := f.part(key, up, 3, want)
		if o, err = f.b.Complete(f.t.Context(), key, up, CompleteInput{Parts: []CompletePart{{Number: 3, ETag: p.ETag}}}); err != nil {
			f.t.Fatal(err)
		}
	} else {
		o = f.put(key, want)
	}
	if (o.Version == NullVersion) != (mode != VersioningEnabled) {
		f.t.Fatalf("put with versioning %v made version %s", mode, o.Version)
	}
	if mode == VersioningOff {
		m[key] = nil
	}
	m.add(key, modelVersion{id: o.Version, body: want})
}

func (f *fixture) deleteCurrent(m versionModel, mode Versioning, key string) {
	f.t.Helper()
	d, err := f.b.DeleteVersion(f.t.Context(), key, DeleteInput{})
	if err != nil {
		f.t.Fatal(err)
	}
	if mode == VersioningOff {
		delete(m, key)
		return
	}
	if !d.Marker || (d.Version == NullVersion) != (mode == VersioningSuspended) {
		f.t.Fatalf("a deletion made %+v", d)
	}
	m.add(key, modelVersion{id: d.Version, marker: true})
}

func (f *fixture) deleteSome(m versionModel, key string, rng *rand.Rand) {
	f.t.Helper()
	vs := m[key]
	if len(vs) == 0 {
		d, err := f.b.DeleteVersion(f.t.Context(), key, DeleteInput{Version: NullVersion})
		if err != nil || d.Marker {
			f.t.Fatalf("deleting a version that is not there: %+v, %v", d, err)
		}
		return
	}
	i := rng.IntN(len(vs))
	d, err := f.b.DeleteVersion(f.t.Context(), key, DeleteInput{Version: vs[i].id, Bypass: true})
	var le *LockedError
	if vs[i].hold {
		if !errors.As(err, &le) {
			f.t.Fatalf("a version under a legal hold was deleted: %v", err)
		}
		return
	}
	if err != nil || d.Marker != vs[i].marker || d.Version != vs[i].id {
		f.t.Fatalf("delete version %s of %q: %+v, %v", vs[i].id, key, d, err)
	}
	m[key] = slices.Delete(slices.Clone(vs), i, i+1)
}

// hold puts a legal hold on a version, or takes it away. Only versions with an id of their own get one:
// the null version is replaced by puts.
func (f *fixture) hold(m versionModel, key string, rng *rand.Rand) {
	f.t.Helper()
	if len(m[key]) == 0 {
		return
	}
	v := &m[key][rng.IntN(len(m[key]))]
	if v.id == NullVersion {
		return
	}
	_, err := f.b.Update(f.t.Context(), key, v.id, func(_ *Object, a *Attrs) error { a.Lock.Hold = !v.hold; return nil })
	if v.marker {
		if !errors.Is(err, ErrMarker) {
			f.t.Fatalf("change of a delete marker: %v", err)
		}
		return
	}
	if err != nil {
		f.t.Fatal(err)
	}
	v.hold = !v.hold
}

// wantVersions compares all versions of a key with the model's.
func (f *fixture) wantVersions(m versionModel, key string) {
	f.t.Helper()
	vs := m[key]
	got, err := get(f.b, key)
	var marked *MarkedError
	switch {
	case len(vs) == 0:
		if !errors.Is(err, ErrNoSuchKey) || errors.As(err, &marked) {
			f.t.Fatalf("get %q, which never was there: %v", key, err)
		}
	case vs[0].marker:
		if !errors.Is(err, ErrNoSuchKey) || !errors.As(err, &marked) || marked.Version != vs[0].id {
			f.t.Fatalf("get %q, which marker %s deletes: %v", key, vs[0].id, err)
		}
	default:
		if err != nil || !bytes.Equal(got, vs[0].body) {
			f.t.Fatalf("get %q: %d bytes, %v; want %d", key, len(got), err, len(vs[0].body))
		}
	}
	for i, v := range vs {
		o, err := f.b.GetVersion(f.t.Context(), key, v.id)
		if err != nil || o.Version != v.id || o.Marker != v.marker || o.Latest != (i == 0) || o.Noncurrent.IsZero() != (i == 0) || o.Attrs.Lock.Hold != v.hold {
			f.t.Fatalf("version %s of %q: %+v, %v; want %+v at %d", v.id, key, o, err, v, i)
		}
		if v.marker {
			continue
		}
		r, err := o.Open(f.t.Context(), 0, -1)
		if err != nil {
			f.t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || !bytes.Equal(got, v.body) {
			f.t.Fatalf("version %s of %q: %d bytes, %v; want %d", v.id, key, len(got), err, len(v.body))
		}
	}
}

// listVersions compares the list of all versions, taken in pages, with the model's.
func (f *fixture) listVersions(m versionModel, size int) {
	f.t.Helper()
	var want, got, objects []string
	for _, key := range sortedKeys(names(m)) {
		for i, v := range m[key] {
			want = append(want, fmt.Sprint(key, " ", v.id, " ", v.marker, " ", i == 0))
		}
		if vs := m[key]; len(vs) > 0 && !vs[0].marker {
			objects = append(objects, key)
		}
	}
	in := VersionsInput{Max: size}
	for {
		page, err := f.b.Versions(f.t.Context(), in)
		if err != nil || len(page.Versions) > size {
			f.t.Fatal(len(page.Versions), err)
		}
		for _, o := range page.Versions {
			got = append(got, fmt.Sprint(o.Key, " ", o.Version, " ", o.Marker, " ", o.Latest))
		}
		if !page.Truncated {
			break
		}
		in.AfterKey, in.AfterVersion = page.LastKey, page.LastVersion
	}
	if !slices.Equal(got, want) {
		f.t.Fatalf("pages of %d:\n got %q\nwant %q", size, got, want)
	}
	l, err := f.b.List(f.t.Context(), ListInput{Max: MaxListEntries})
	if err != nil {
		f.t.Fatal(err)
	}
	var listed []string
	for _, o := range l.Objects {
		listed = append(listed, o.Key)
	}
	if !slices.Equal(listed, objects) {
		f.t.Fatalf("objects %q, want %q", listed, objects)
	}
}

func names(m versionModel) map[string]string {
	out := map[string]string{}
	for k := range m {
		out[k] = ""
	}
	return out
}

// Of many who delete, put and delete versions under one key at once, nobody loses or revives one.
func TestVersionsRace(t *testing.T) {
	rng := seeded(t)
	f := newFixture(t, nil)
	ctx := t.Context()
	if err := f.svc.SetVersioning(ctx, "photos", VersioningEnabled); err != nil {
		t.Fatal(err)
	}
	const workers, each = 6, 40
	var mu sync.Mutex
	have := map[string]bool{} // versions that must be there in the end
	var all sync.WaitGroup
	for w := range workers {
		b := f.bucket(f.service(nil))
		r := rand.New(rand.NewPCG(rng.Uint64(), uint64(w)))
		all.Go(func() {
			var mine []string
			for i := range each {
				switch {
				case r.IntN(3) > 0 || len(mine) == 0:
					o, err := put(b, "k", bytes.Repeat([]byte{byte(w)}, 10+200*r.IntN(2)))
					if err != nil {
						t.Errorf("put %d: %v", i, err)
						return
					}
					mine = append(mine, o.Version)
				case r.IntN(3) == 0:
					d, err := b.DeleteVersion(ctx, "k", DeleteInput{})
					if err != nil {
						t.Errorf("delete %d: %v", i, err)
						return
					}
					mine = append(mine, d.Version)
				default:
					n := r.IntN(len(mine))
					if _, err := b.DeleteVersion(ctx, "k", DeleteInput{Version: mine[n]}); err != nil {
						t.Errorf("delete version %d: %v", i, err)
						return
					}
					mine = slices.Delete(mine, n, n+1)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for _, v := range mine {
				have[v] = true
			}
		})
	}
	all.Wait()
	page, err := f.b.Versions(ctx, VersionsInput{Max: MaxListEntries})
	if err != nil {
		t.Fatal(err)
	}
	data := 0
	for i, o := range page.Versions {
		if !have[o.Version] || o.Latest != (i == 0) {
			t.Errorf("version %d is %s, latest %v, there is %v", i, o.Version, o.Latest, have[o.Version])
		}
		delete(have, o.Version)
		if o.Size > int64(f.svc.o.InlineBytes) {
			data++
		}
	}
	if len(have) > 0 {
		t.Errorf("%d versions are missing", len(have))
	}
	f.sweep()
	f.wantData(data)
}

func TestLocks(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	if err := f.svc.EnableObjectLock(ctx, "photos"); err == nil {
		t.Error("object lock without versions")
	}
	for _, err := range []error{f.svc.SetVersioning(ctx, "photos", VersioningEnabled), f.svc.EnableObjectLock(ctx, "photos")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.svc.SetVersioning(ctx, "photos", VersioningSuspended); err == nil {
		t.Error("versioning of a bucket with object lock was suspended")
	}
	f.b = f.bucket(f.svc)
	if in := f.b.Info(); in.Versioning != VersioningEnabled || !in.ObjectLock {
		t.Fatalf("bucket %+v", in)
	}
	until := f.clock.now().Add(time.Hour)
	locks := map[string]Lock{
		"free": {}, "held": {Hold: true}, "governed": {Mode: Governance, Until: until}, "comply": {Mode: Compliance, Until: until},
	}
	versions := map[string]string{}
	for name, lock := range locks {
		o, err := f.b.Put(ctx, name, PutInput{Body: strings.NewReader("x"), Size: 1, Attrs: Attrs{Lock: lock, Tags: map[string]string{"a": "b"}}})
		if err != nil {
			t.Fatal(err)
		}
		if o.Attrs.Lock.Mode != lock.Mode || o.Attrs.Tags["a"] != "b" {
			t.Errorf("attributes %+v, want %+v", o.Attrs, lock)
		}
		versions[name] = o.Version
	}
	try := func(bypass bool, gone ...string) {
		t.Helper()
		for name, v := range versions {
			_, err := f.b.DeleteVersion(ctx, name, DeleteInput{Version: v, Bypass: bypass})
			var le *LockedError
			if wants := slices.Contains(gone, name); wants != (err == nil) || !wants && (!errors.As(err, &le) || le.Version != v) {
				t.Errorf("delete %s with bypass %v: %v", name, bypass, err)
			}
		}
		for _, name := range gone {
			delete(versions, name)
		}
	}
	try(false, "free")
	f.put("held", []byte("y")) // a lock keeps a version, not its place
	try(true, "governed")
	f.clock.add(2 * time.Hour)
	try(false, "comply")
	if _, err := f.b.Update(ctx, "held", versions["held"], func(_ *Object, a *Attrs) error { a.Lock.Hold = false; return nil }); err != nil {
		t.Fatal(err)
	}
	try(false, "held")
}

// A process that does not know yet that versions are kept destroys none.
func TestVersioningUnknown(t *testing.T) {
	f := newFixture(t, nil)
	old := f.bucket(f.service(nil))
	if err := f.svc.SetVersioning(t.Context(), "photos", VersioningEnabled); err != nil {
		t.Fatal(err)
	}
	f.b = f.bucket(f.svc)
	first := f.put("k", []byte("first"))
	if _, err := put(old, "k", []byte("second")); err != nil {
		t.Fatal(err)
	}
	if err := old.Delete(t.Context(), "k", Cond{}); err != nil {
		t.Fatal(err)
	}
	page, err := f.b.Versions(t.Context(), VersionsInput{Max: 10})
	if err != nil || len(page.Versions) != 3 || page.Versions[2].Version != first.Version || !page.Versions[0].Marker {
		t.Fatalf("versions %+v, %v", page.Versions, err)
	}
	if err := f.svc.Delete(t.Context(), "photos"); !errors.Is(err, ErrBucketNotEmpty) {
		t.Errorf("a bucket with versions was deleted: %v", err)
	}
}
