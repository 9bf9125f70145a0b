package bucket

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
	"github.com/cairnstore/cairn/client/clienttest"
)

// keeping is a fixture whose bucket keeps what is deleted for a day.
func keeping(t *testing.T, change func(o *Options)) *fixture {
	t.Helper()
	f := newFixture(t, change)
	f.keep("1d")
	return f
}

func (f *fixture) keep(window string) {
	f.t.Helper()
	if err := f.svc.Set(f.t.Context(), "photos", "undelete", window); err != nil {
		f.t.Fatal(err)
	}
	f.b = f.bucket(f.svc)
}

func (f *fixture) deleted(prefix string) []*Kept {
	f.t.Helper()
	p, err := f.b.Deleted(f.t.Context(), DeletedInput{Prefix: prefix, Max: MaxListEntries})
	if err != nil || p.Truncated {
		f.t.Fatalf("list deleted: truncated %v, %v", p.Truncated, err)
	}
	return p.Objects
}

func (f *fixture) delete(key string) {
	f.t.Helper()
	if err := f.b.Delete(f.t.Context(), key, Cond{}); err != nil {
		f.t.Fatal(err)
	}
}

// pass lets time go by, without the windows of what was kept before being over, and sweeps.
func (f *fixture) pass(d time.Duration) (erased int) {
	f.t.Helper()
	f.clock.add(d)
	for range 3 {
		st, err := f.svc.Sweep(f.t.Context())
		if err != nil {
			f.t.Fatal(err)
		}
		erased += st.Erased
		f.clock.add(2 * time.Minute)
	}
	return erased
}

// wantKept checks the records of kept objects: each in the partition of its key, with its expiry, and with its body if
// that is in the index; no others. It returns how many there are.
func (f *fixture) wantKept() (n int) {
	f.t.Helper()
	for _, p := range f.partitions() {
		have := map[string]bool{}
		for _, kind := range []byte{kindKeptBody, kindExpiry, kindKept} {
			for from := string(kind); ; {
				res, err := f.meta.Do(f.t.Context(), p.object, new(client.Op).OmapList(from, prefixEnd(string(kind)), 1000))
				if err != nil {
					f.t.Fatal(err)
				}
				for _, kv := range res.Items[0].KVs {
					from = kv.Key + "\x00"
					have[kv.Key] = true
					if kind != kindKept {
						continue
					}
					key, name, err := splitKept(kv.Key[1:])
					if err != nil || key < p.start() || key >= p.end() {
						f.t.Fatalf("partition %s from %q to %q keeps %q, %v", p.object, p.start(), p.end(), kv.Key, err)
					}
					k, err := parseKept(key, name, kv.Value)
					if err != nil {
						f.t.Fatal(err)
					}
					body := keptKey(kindKeptBody, key, name)
					if expiry := expiryKey(k.Kept, key, name); !have[expiry] || have[body] != hasBody(k.Entry) {
						f.t.Fatalf("%q: expiry %v, body %v of layout %v", kv.Key, have[expiry], have[body], k.Entry.Layout)
					}
					delete(have, expiryKey(k.Kept, key, name))
					delete(have, body)
					delete(have, kv.Key)
					n++
				}
				if !res.Items[0].More {
					break
				}
			}
		}
		for key := range have {
			f.t.Fatalf("partition %s has the record %q of nothing that is kept", p.object, key)
		}
	}
	return n
}

// What is deleted, replaced or not, can be listed and brought back until the window is over, whatever its body is
// made of; then nothing is left of it. Other listings do not show it.
func TestUndelete(t *testing.T) {
	f := keeping(t, bigChunks)
	ctx := t.Context()
	bodies := map[string][]byte{"inline": body(60, 1), "data": body(5000, 2), "empty": nil, "parts": append(bigPart(1), body(77, 3)...)}
	tags := map[string]string{}
	for key, b := range bodies {
		if key == "parts" {
			tags[key] = f.upload(key, bigPart(1), body(77, 3)).ETag()
			continue
		}
		tags[key] = f.put(key, b).ETag()
	}
	put := f.clock.now()
	for i, key := range []string{"inline", "data", "empty", "parts"} {
		f.clock.add(time.Hour)
		if i%2 == 0 {
			f.delete(key)
		} else {
			f.put(key, body(80, 9))
			f.delete(key) // the newest of two
		}
	}
	f.pass(time.Hour)
	if l, err := f.b.List(ctx, ListInput{Max: 10}); err != nil || len(l.Objects) != 0 {
		t.Errorf("list: %+v, %v", l, err)
	}
	got := f.deleted("")
	var keys []string
	for _, k := range got {
		keys = append(keys, k.Key)
		if k.Size != 80 && (k.ETag != tags[k.Key] || k.Size != int64(len(bodies[k.Key])) || !k.Modified.Before(put)) || k.Expires.Sub(k.Deleted) != 24*time.Hour || !k.Deleted.After(put) {
			t.Errorf("deleted: %+v", k)
		}
	}
	if want := []string{"data", "data", "empty", "inline", "parts", "parts"}; !slices.Equal(keys, want) || f.wantKept() != 6 {
		t.Fatalf("deleted: %q, want %q", keys, want)
	}
	if got[0].Size != 80 || !got[0].Deleted.After(got[1].Deleted) {
		t.Errorf("the newest of a key is not the first: %+v, %+v", got[0], got[1])
	}
	if u, err := f.b.Usage(ctx, "", UsageLimits{Chunks: 1, Time: time.Hour}); err != nil || u.Objects != 0 || u.Kept != 6 || u.KeptBytes != 60+5000+MinPartBytes+77+2*80 {
		t.Errorf("usage %+v, %v", u, err)
	}
	if l := f.deleted("in"); len(l) != 1 || l[0].Key != "inline" {
		t.Errorf("with a prefix: %+v", l)
	}
	page, err := f.b.Deleted(ctx, DeletedInput{Max: 1})
	for i := range got {
		if err != nil || len(page.Objects) != 1 || page.Objects[0].ID != got[i].ID || page.Truncated != (i < 5) {
			t.Fatalf("page %d: %+v, %v", i, page, err)
		}
		page, err = f.b.Deleted(ctx, DeletedInput{Max: 1, After: got[i].Key, AfterID: got[i].ID})
	}
	if page, err = f.b.Deleted(ctx, DeletedInput{Max: 9, After: "data"}); err != nil || len(page.Objects) != 4 {
		t.Errorf("after a key: %+v, %v", page, err)
	}

	before := f.clock.now()
	for _, k := range got {
		if k.Size == 80 {
			continue
		}
		o, err := f.b.Undelete(ctx, k.Key, k.ID, false)
		if err != nil {
			t.Fatal(err)
		}
		if o.ETag() != tags[k.Key] || !o.Modified.After(before) {
			t.Errorf("undelete %s: etag %s, modified %v", k.Key, o.ETag(), o.Modified)
		}
		f.want(k.Key, bodies[k.Key])
		if _, err := f.b.Undelete(ctx, k.Key, k.ID, true); !errors.Is(err, ErrNotKept) {
			t.Errorf("undelete %s again: %v", k.Key, err)
		}
	}
	if n := f.wantKept(); n != 2 {
		t.Errorf("%d are kept", n)
	}
	if erased := f.pass(25 * time.Hour); erased != 2 || f.wantKept() != 0 {
		t.Errorf("%d were erased", erased)
	}
	for key, b := range bodies {
		f.want(key, b)
		f.delete(key)
	}
	f.pass(23 * time.Hour)
	if _, err := f.b.Undelete(ctx, "data", "", false); err != nil {
		t.Error(err)
	}
	f.want("data", bodies["data"])
	f.delete("data")
	if n := f.pass(25 * time.Hour); n != 4 || len(f.deleted("")) != 0 || f.wantKept() != 0 {
		t.Errorf("%d were erased", n)
	}
	f.wantData(0)
	if _, err := f.b.Undelete(ctx, "data", "", false); !errors.Is(err, ErrNotKept) {
		t.Errorf("undelete what was erased: %v", err)
	}
}

// A live object is not overwritten by an undelete, unless that is forced; then it is kept in turn.
func TestUndeleteOverLive(t *testing.T) {
	f := keeping(t, nil)
	ctx := t.Context()
	f.put("k", body(5000, 1))
	f.put("k", body(50, 2))
	if _, err := f.b.Undelete(ctx, "k", "", false); !errors.Is(err, ErrPrecondition) {
		t.Fatalf("undelete over a live object: %v", err)
	}
	f.want("k", body(50, 2))
	for i := range 4 {
		if _, err := f.b.Undelete(ctx, "k", "", true); err != nil {
			t.Fatal(err)
		}
		f.want("k", [][]byte{body(5000, 1), body(50, 2)}[i%2])
		if n := f.wantKept(); n != 1 {
			t.Fatalf("%d are kept", n)
		}
	}
	for _, bad := range []string{"x", strings.Repeat("0", 32), strings.Repeat("Z", 32), strings.Repeat("a", 33)} {
		if _, err := f.b.Undelete(ctx, "k", bad, true); !errors.Is(err, ErrNotKept) {
			t.Errorf("undelete %q: %v", bad, err)
		}
	}
	if _, err := f.b.Undelete(ctx, "", "", true); !errors.Is(err, ErrInvalidName) {
		t.Errorf("no key: %v", err)
	}
}

// In a bucket that keeps versions what is kept for an undelete are versions deleted for good, and the null version when it is
// replaced. What is brought back becomes the newest version.
func TestUndeleteVersions(t *testing.T) {
	f := keeping(t, nil)
	ctx := t.Context()
	if err := f.svc.SetVersioning(ctx, "photos", VersioningEnabled); err != nil {
		t.Fatal(err)
	}
	f.b = f.bucket(f.svc)
	first, second := f.put("k", body(2500, 1)), f.put("k", body(50, 2))
	f.delete("k")
	if n := f.wantKept(); n != 0 {
		t.Fatalf("%d are kept of versions that are there", n)
	}
	for _, o := range []*Object{first, second} {
		if _, err := f.b.DeleteVersion(ctx, "k", DeleteInput{Version: o.Version}); err != nil {
			t.Fatal(err)
		}
	}
	l := f.deleted("")
	if len(l) != 2 || l[0].Size != 50 || l[1].Size != 2500 {
		t.Fatalf("deleted: %+v", l)
	}
	for i, want := range [][]byte{body(2500, 1), body(50, 2)} {
		o, err := f.b.Undelete(ctx, "k", l[1-i].ID, false) // over a delete marker, over a version
		if err != nil || o.Version == first.Version || o.Version == second.Version || o.Version == NullVersion {
			t.Fatalf("version %q, %v", o.Version, err)
		}
		if o := f.source("k"); !o.Latest || !o.Noncurrent.IsZero() {
			t.Errorf("what was brought back is not current: %+v", o)
		}
		f.want("k", want)
	}
	if p, err := f.b.Versions(ctx, VersionsInput{Max: 10}); err != nil || len(p.Versions) != 3 || p.Versions[1].Size != 2500 {
		t.Errorf("versions: %+v, %v", p.Versions, err)
	}
	if err := f.svc.SetVersioning(ctx, "photos", VersioningSuspended); err != nil {
		t.Fatal(err)
	}
	f.b = f.bucket(f.svc)
	f.put("k", body(1500, 3))
	f.put("k", body(60, 4)) // replaces the null version
	if l := f.deleted(""); len(l) != 1 || l[0].Size != 1500 || f.wantKept() != 1 {
		t.Fatalf("deleted: %+v", l)
	}
	if _, err := f.b.Undelete(ctx, "k", "", false); !errors.Is(err, ErrPrecondition) {
		t.Errorf("undelete over a null version: %v", err)
	}
	if _, err := f.b.Undelete(ctx, "k", "", true); err != nil {
		t.Fatal(err)
	}
	f.want("k", body(1500, 3))
	if l := f.deleted(""); len(l) != 1 || l[0].Size != 60 {
		t.Fatalf("deleted: %+v", l)
	}
	p, err := f.b.Versions(ctx, VersionsInput{Max: 10})
	if err != nil || len(p.Versions) != 4 {
		t.Fatalf("versions: %+v, %v", p.Versions, err)
	}
	for _, o := range p.Versions {
		if _, err := f.b.DeleteVersion(ctx, "k", DeleteInput{Version: o.Version}); err != nil {
			t.Fatal(err)
		}
	}
	f.wantData(3 + 2)
	f.pass(25 * time.Hour)
	if n := f.wantKept(); n != 0 {
		t.Errorf("%d are kept", n)
	}
	f.wantData(0)
}

// The chunks of what is kept are referred to until it is erased: the collector leaves them, and nothing is read or stored again
// when it is brought back.
func TestUndeleteChunks(t *testing.T) {
	f, h := chunkedFixture(t, chunkPolicy(t, "chunks=2:1:xor", "chunk_size=64K"), nil)
	f.keep("1d")
	want := randomBody(seeded(t), 1<<20)
	f.put("k", want)
	if _, err := f.b.Copy(t.Context(), f.source("k"), "copy", CopyInput{}); err != nil {
		t.Fatal(err)
	}
	f.delete("k")
	f.delete("copy")
	f.pass(time.Hour)
	f.gc(h)
	var m moved
	m.watch(h)
	if _, err := f.b.Undelete(t.Context(), "copy", "", false); err != nil {
		t.Fatal(err)
	}
	if n := m.count(); n != 0 {
		t.Errorf("an undelete moved %d shards", n)
	}
	f.pass(25 * time.Hour) // the other one expires
	f.gc(h)
	f.want("copy", want)
	if f.wantIndex() == 0 || f.wantKept() != 0 {
		t.Error("no references, or something is kept")
	}
	f.delete("copy")
	f.pass(25 * time.Hour)
	f.gc(h)
	f.wantData(0)
	if n := h.Count(); n != 0 {
		t.Errorf("%d shards are left", n)
	}
}

// The window is a setting: off from the beginning; what was kept stays as long as it was promised, whatever is set later.
func TestUndeleteSetting(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.put("k", body(5000, 1))
	f.delete("k")
	if len(f.deleted("")) != 0 {
		t.Error("kept without a window")
	}
	for _, bad := range []string{"", "7", "-1d", "0d1", "d", "999999d", "4000d", "1ms", "1.5d", "7D", "d7", "never"} {
		if err := f.svc.Set(ctx, "photos", "undelete", bad); !errors.Is(err, client.ErrInvalid) {
			t.Errorf("window %q: %v", bad, err)
		}
	}
	for value, want := range map[string]time.Duration{"7d": 7 * 24 * time.Hour, "2w": 14 * 24 * time.Hour, "90m": 90 * time.Minute, "1h30m": 90 * time.Minute, "1s": time.Second, "3650d": MaxUndelete} {
		f.keep(value)
		if got, err := f.b.window(); err != nil || got != want {
			t.Errorf("window %s: %v, %v", value, got, err)
		}
	}
	f.keep("2h")
	f.put("k", body(5000, 1))
	f.delete("k")
	f.keep("0")
	f.put("gone", body(5000, 2))
	f.delete("gone")
	f.pass(time.Hour)
	if l := f.deleted(""); len(l) != 1 || l[0].Key != "k" {
		t.Errorf("kept: %+v", l)
	}
	f.wantData(5)
	if n := f.pass(time.Hour); n != 1 {
		t.Errorf("%d erased", n)
	}
	f.wantData(0)
	// Whoever does not know these records must not touch the bucket, from when it first had a window.
	for _, value := range []string{"0", AsPool} {
		f.keep(value)
		r, err := f.svc.readRecord(ctx, "photos")
		if err != nil || r.raw[0] != FormatKeeps {
			t.Errorf("the record has format %d, %v", r.raw[0], err)
		}
		if err := decode(r.raw, new(bucketpb.Bucket)); !errors.Is(err, ErrNewerFormat) {
			t.Errorf("an older version reads it: %v", err)
		}
		r.raw[0] = FormatSnapshots + 1
		if _, err := parseRecord(r.raw); !errors.Is(err, ErrNewerFormat) {
			t.Errorf("a newer one: %v", err)
		}
	}
	if in := f.b.Info(); in.Settings["undelete"] != "0" {
		t.Errorf("settings %v", in.Settings)
	}
}

// A bucket that keeps something is not deleted; when that was purged, it is.
func TestUndeleteAndBucketDeletion(t *testing.T) {
	f := keeping(t, nil)
	ctx := t.Context()
	for i := range 150 {
		f.put(fmt.Sprintf("a/%d", i), body(1+i*50, byte(i)))
	}
	f.put("b", body(10, 1))
	f.delete("b")
	var keys []string
	for i := range 150 {
		keys = append(keys, fmt.Sprintf("a/%d", i))
	}
	for i, err := range f.b.DeleteMany(ctx, keys) {
		if err != nil {
			t.Fatalf("delete %s: %v", keys[i], err)
		}
	}
	if n := f.wantKept(); n != 151 {
		t.Errorf("%d are kept", n)
	}
	if err := f.svc.Delete(ctx, "photos"); !errors.Is(err, ErrKeepsDeleted) || !errors.Is(err, ErrBucketNotEmpty) {
		t.Errorf("delete: %v", err)
	}
	if _, err := f.b.Undelete(ctx, "a/149", "", false); err != nil {
		t.Fatal(err)
	}
	f.want("a/149", body(1+149*50, 149))
	first, more, err := f.b.Purge(ctx, "a/", 70)
	if err != nil || !more || first < 70 || first >= 149 {
		t.Errorf("purge some: %d, more %v, %v", first, more, err)
	}
	if n, more, err := f.b.Purge(ctx, "a/", 1000); err != nil || more || n != 149-first {
		t.Errorf("purge: %d, more %v, %v", n, more, err)
	}
	f.delete("a/149")
	if n, _, err := f.b.Purge(ctx, "", 1000); err != nil || n != 2 {
		t.Errorf("purge: %d, %v", n, err)
	}
	if n := f.wantKept(); n != 0 {
		t.Errorf("%d are kept", n)
	}
	if err := f.svc.Delete(ctx, "photos"); err != nil {
		t.Error(err)
	}
	for range 3 {
		f.clock.add(2 * time.Hour)
		if _, err := f.svc.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
	}
	f.wantData(0)
	if names := f.meta.Names(); len(names) != 1 {
		t.Errorf("left: %q", names)
	}
}

// Readers that began before a deletion have the grace period, however short the window is.
func TestUndeleteShortWindow(t *testing.T) {
	f := newFixture(t, nil)
	f.keep("1s")
	f.put("k", body(5000, 1))
	o := f.source("k")
	f.delete("k")
	f.clock.add(2 * time.Second)
	if _, err := f.svc.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.wantKept() != 0 {
		t.Error("still kept")
	}
	f.wantData(5)
	r, err := o.Open(t.Context(), 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	f.pass(time.Minute)
	f.wantData(0)
}

// What a gateway kept is erased in time without a sweep, if it goes on running.
func TestUndeleteExpiresByItself(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Now, o.Grace = time.Now, -1 })
	f.keep("1s")
	f.put("k", body(5000, 1))
	gone := make(chan struct{})
	f.data.After(func(_ context.Context, c clienttest.Call, err error) error {
		if strings.HasSuffix(c.Object, ".4") {
			close(gone)
		}
		return err
	})
	f.delete("k")
	select {
	case <-gone:
	case <-time.After(time.Minute):
		t.Fatal("the data is still there")
	}
}

// Of one key that is replaced all the time the newest are kept.
func TestUndeleteOfOneKey(t *testing.T) {
	f := keeping(t, nil)
	const n = keptOfKey + 3*eraseBatch
	for i := range n + 1 {
		f.put("k", fmt.Appendf(nil, "%d", i))
	}
	if _, err := f.b.trim(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if kept := f.wantKept(); kept != keptOfKey {
		t.Fatalf("%d are kept", kept)
	}
	f.delete("k")
	if _, err := f.b.Undelete(t.Context(), "k", "", false); err != nil {
		t.Fatal(err)
	}
	f.want("k", fmt.Appendf(nil, "%d", n))
	page, err := f.b.Deleted(t.Context(), DeletedInput{Max: MaxListEntries})
	if err != nil || page.Objects[len(page.Objects)-1].Size != int64(len(fmt.Sprint(n-keptOfKey))) {
		t.Errorf("%+v, %v", page.Objects[len(page.Objects)-1], err)
	}
}

// Deletions, undeletes and expiries while partitions split under them, by several gateways, agree with a model.
func TestUndeleteModel(t *testing.T) {
	rng := seeded(t)
	f := keeping(t, func(o *Options) { o.SplitEntries = 8 })
	buckets := []*Bucket{f.b, f.bucket(f.service(func(o *Options) { o.SplitEntries = 8 })), f.bucket(f.service(func(o *Options) { o.SplitEntries = 8 }))}
	type old struct {
		body    []byte
		expires time.Time
	}
	live, dead := map[string][]byte{}, map[string][]old{} // newest last
	ctx := t.Context()
	forget := func() {
		now := f.clock.now()
		for key, l := range dead {
			dead[key] = slices.DeleteFunc(l, func(o old) bool { return !o.expires.After(now) })
		}
	}
	for i := range 700 {
		b := buckets[rng.IntN(len(buckets))]
		key := fmt.Sprintf("%02d", rng.IntN(30))
		retire := func() {
			if was, ok := live[key]; ok {
				dead[key] = append(dead[key], old{was, f.clock.now().Add(24 * time.Hour)})
				delete(live, key)
			}
		}
		switch rng.IntN(8) {
		case 0, 1, 2:
			neu := body(rng.IntN(3000), byte(i))
			if _, err := put(b, key, neu); err != nil {
				t.Fatal(err)
			}
			retire()
			live[key] = neu
		case 3, 4:
			if err := b.Delete(ctx, key, Cond{}); err != nil {
				t.Fatal(err)
			}
			retire()
		case 5:
			force := rng.IntN(2) == 0
			_, err := b.Undelete(ctx, key, "", force)
			forget()
			_, there := live[key]
			switch l := dead[key]; {
			case len(l) == 0:
				if !errors.Is(err, ErrNotKept) {
					t.Fatalf("step %d: undelete %s of nothing: %v", i, key, err)
				}
			case there && !force:
				if !errors.Is(err, ErrPrecondition) {
					t.Fatalf("step %d: undelete %s over another: %v", i, key, err)
				}
			case err != nil:
				t.Fatalf("step %d: undelete %s: %v", i, key, err)
			default:
				back := l[len(l)-1]
				dead[key] = l[:len(l)-1]
				retire()
				live[key] = back.body
			}
		case 6:
			f.clock.add(time.Duration(rng.IntN(120)) * time.Minute)
			if err := b.maybeSplitAll(ctx); err != nil {
				t.Fatal(err)
			}
		case 7:
			if _, err := b.svc.Sweep(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.pass(0)
	forget()
	f.checkIndex()
	f.wantKept()
	var want []string
	for key, l := range dead {
		for _, o := range l {
			want = append(want, fmt.Sprint(key, " ", len(o.body), " ", o.expires.Truncate(time.Second).Unix()))
		}
	}
	var got []string
	for _, k := range f.deleted("") {
		got = append(got, fmt.Sprint(k.Key, " ", k.Size, " ", k.Expires.Truncate(time.Second).Unix()))
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("kept\n%q, want\n%q", got, want)
	}
	data := 0
	for key, b := range live {
		f.want(key, b)
		if len(b) > 100 {
			data += (len(b) + 999) / 1000
		}
	}
	if len(f.partitions()) < 3 {
		t.Errorf("%d partitions", len(f.partitions()))
	}
	f.pass(25 * time.Hour)
	if n := f.wantKept(); n != 0 {
		t.Errorf("%d are kept for ever", n)
	}
	f.wantData(data)
}
