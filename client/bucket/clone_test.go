package bucket

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"
)

// cloneOf makes a handle of a clone.
func (f *fixture) clone(snapshot, name string) *Bucket {
	f.t.Helper()
	b, err := f.svc.Clone(f.t.Context(), "photos", snapshot, name, "")
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

func (f *fixture) wantBucket(b *Bucket, want past) {
	f.t.Helper()
	seen := 0
	for in := (ListInput{Max: 7}); ; {
		l, err := b.List(f.t.Context(), in)
		if err != nil {
			f.t.Fatal(err)
		}
		for _, o := range l.Objects {
			got, err := get(b, o.Key)
			if w, ok := want[o.Key]; !ok || err != nil || !bytes.Equal(got, w.body) {
				f.t.Fatalf("bucket %s has %q with %d bytes (%v), want %d, %v", b.name, o.Key, len(got), err, len(w.body), ok)
			}
			seen++
		}
		if in.After = l.Last; !l.Truncated {
			break
		}
	}
	if seen != len(want) {
		f.t.Fatalf("bucket %s has %d objects, want %d", b.name, seen, len(want))
	}
}

func TestClone(t *testing.T) {
	f, want := f30(t)
	ctx := t.Context()
	up, err := f.b.CreateUpload(ctx, "multi", UploadInput{})
	if err != nil {
		t.Fatal(err)
	}
	p := f.part("multi", up, 1, body(1500, 4))
	if _, err := f.b.Complete(ctx, "multi", up, CompleteInput{Parts: []CompletePart{{Number: 1, ETag: p.ETag}}}); err != nil {
		t.Fatal(err)
	}
	want["multi"] = pastObject{body: body(1500, 4)}
	f.take("one")
	before := len(f.data.Names())
	c := f.clone("one", "copy")
	f.wantBucket(c, want)
	if n := len(f.data.Names()); n != before {
		t.Errorf("the clone has %d data objects of its own", n-before)
	}
	if got, err := c.Counts(ctx); err != nil || got.Objects != int64(len(want)) {
		t.Errorf("counts %+v, %v", got, err)
	}
	// Both go their ways.
	orig, copied := maps.Clone(want), maps.Clone(want)
	for i := range 30 {
		k := fmt.Sprintf("k%02d", i)
		switch i % 4 {
		case 0:
			f.put(k, body(1200, 7))
			orig[k] = pastObject{body: body(1200, 7)}
		case 1:
			if _, err := put(c, k, body(1300, 8)); err != nil {
				t.Fatal(err)
			}
			copied[k] = pastObject{body: body(1300, 8)}
		case 2:
			if err := c.Delete(ctx, k, Cond{}); err != nil {
				t.Fatal(err)
			}
			delete(copied, k)
		default:
			o, err := c.Get(ctx, k) // of attributes alone
			if err == nil {
				_, err = c.Copy(ctx, o, k, CopyInput{Attrs: Attrs{Tags: map[string]string{"a": "b"}}})
			}
			if err == nil {
				err = f.b.Delete(ctx, k, Cond{})
			}
			if err != nil {
				t.Fatal(err)
			}
			delete(orig, k)
		}
	}
	f.sweep()
	f.wantBucket(f.b, orig)
	f.wantBucket(c, copied)
	f.wantPast("one", want, 5)
	// A clone of the clone.
	if _, err := c.TakeSnapshot(ctx, "two"); err != nil {
		t.Fatal(err)
	}
	cc, err := f.svc.Clone(ctx, "copy", "two", "copy2", "bob")
	if err != nil || cc.Info().Owner != "bob" {
		t.Fatal(cc, err)
	}
	f.wantBucket(cc, copied)
	if err := f.b.RemoveSnapshot(ctx, "one"); !errors.Is(err, ErrHasClones) {
		t.Errorf("remove a snapshot with a clone: %v", err)
	}
	if _, err := f.svc.Clone(ctx, "photos", "one", "copy", ""); !errors.Is(err, ErrBucketExists) {
		t.Errorf("clone to a bucket that exists: %v", err)
	}
	if _, err := f.svc.Clone(ctx, "photos", "none", "copy3", ""); !errors.Is(err, ErrNoSuchSnapshot) {
		t.Errorf("clone of nothing: %v", err)
	}
	// From the last to the first.
	for _, b := range []*Bucket{cc, c} {
		for in := (ListInput{Max: 100}); ; {
			l, err := b.List(ctx, in)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range l.Objects {
				if err := b.Delete(ctx, o.Key, Cond{}); err != nil {
					t.Fatal(err)
				}
			}
			if !l.Truncated {
				break
			}
		}
		if b == c {
			if err := b.RemoveSnapshot(ctx, "two"); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.svc.Delete(ctx, b.name); err != nil {
			t.Fatal(err)
		}
		f.sweep()
	}
	f.wantPast("one", want, 5)
	if err := f.b.RemoveSnapshot(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	f.sweep()
	f.wantBucket(f.b, orig)
	f.checkData()
}

// A clone whose maker dies is not visible, and is swept; the snapshot can be removed then.
func TestCloneCrash(t *testing.T) {
	for _, late := range []bool{false, true} {
		for crash := 1; ; crash++ {
			f, want := f30(t)
			f.take("one")
			err := f.crashing(crash, late, func() error {
				_, err := f.svc.Clone(t.Context(), "photos", "one", "copy", "")
				return err
			})
			f.svc = f.service(nil)
			f.b = f.bucket(f.svc)
			c, e := f.svc.Bucket(t.Context(), "copy")
			switch {
			case e == nil:
				f.wantBucket(c, want)
			case !errors.Is(e, ErrNoSuchBucket) || err == nil:
				t.Fatalf("crash %d: %v, %v", crash, err, e)
			}
			f.clock.add(3 * time.Hour)
			f.sweep()
			f.wantBucket(f.b, want)
			f.wantPast("one", want, 9)
			if e != nil {
				if e := f.b.RemoveSnapshot(t.Context(), "one"); e != nil {
					t.Fatalf("crash %d: %v", crash, e)
				}
				if _, e := f.svc.Create(t.Context(), "copy", "bob", ""); e != nil {
					t.Fatal(e)
				}
			}
			f.sweep()
			f.checkData()
			if err == nil {
				if crash < 6 {
					t.Fatalf("a clone took %d operations", crash-1)
				}
				break
			}
		}
	}
}

// A try whose answer was lost may have put fewer objects than the next one would, if the partition has another end by now: none is left out.
func TestCloneAgainAfterLostAnswer(t *testing.T) {
	f, want := f30(t)
	ctx := t.Context()
	f.take("one")
	view := f.at("one")
	page, err := view.List(ctx, ListInput{Max: MaxListEntries})
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.svc.Create(ctx, "copy", "bob", "")
	if err != nil {
		t.Fatal(err)
	}
	c := &cloning{s: f.svc, view: view, b: r, r: r.rec.Load()}
	if err := c.fill(ctx, page.Objects[3:9]); err != nil { // its answer was lost
		t.Fatal(err)
	}
	if err := c.fill(ctx, page.Objects[:3]); err != nil {
		t.Fatal(err)
	}
	if err := c.fill(ctx, page.Objects[3:]); err != nil {
		t.Fatal(err)
	}
	f.wantBucket(r, want)
	if n, err := r.Counts(ctx); err != nil || n.Objects != int64(len(want)) {
		t.Errorf("counts %+v, %v", n, err)
	}
}
