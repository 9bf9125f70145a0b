package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client/clienttest"
)

// A gateway dies at each step of a deletion, an undelete, an erasure or a split, or only its answers are lost: the object is
// there or kept, never both, and neither only when its window was over; nothing else is left.
func TestUndeleteCrash(t *testing.T) {
	first, second := body(2500, 1), body(50, 2)
	for name, c := range map[string]struct {
		before func(f *fixture)
		do     func(f *fixture, b *Bucket) error
		erases bool
	}{
		"delete":      {nil, func(_ *fixture, b *Bucket) error { return b.Delete(context.Background(), "k", Cond{}) }, false},
		"delete many": {nil, func(_ *fixture, b *Bucket) error { return b.DeleteMany(context.Background(), []string{"k"})[0] }, false},
		"undelete": {func(f *fixture) { f.delete("k") }, func(_ *fixture, b *Bucket) error {
			_, err := b.Undelete(context.Background(), "k", "", false)
			return err
		}, false},
		"undelete over": {func(f *fixture) { f.put("k", second) }, func(_ *fixture, b *Bucket) error {
			_, err := b.Undelete(context.Background(), "k", "", true)
			return err
		}, false},
		"erase": {func(f *fixture) { f.delete("k"); f.clock.add(25 * time.Hour) }, func(_ *fixture, b *Bucket) error {
			_, err := b.svc.Sweep(context.Background())
			return err
		}, true},
		"purge": {func(f *fixture) { f.delete("k") }, func(_ *fixture, b *Bucket) error {
			_, _, err := b.Purge(context.Background(), "", 1000)
			return err
		}, true},
		"split": {func(f *fixture) {
			for i := range 12 {
				f.put(fmt.Sprint("j", i), second)
				f.delete(fmt.Sprint("j", i))
			}
			f.delete("k")
		}, func(_ *fixture, b *Bucket) error { return b.maybeSplitAll(context.Background()) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, lose := range []bool{false, true} {
				for crash := 1; ; crash++ {
					f := keeping(t, nil)
					f.put("k", first)
					if c.before != nil {
						c.before(f)
					}
					doomed := f.bucket(f.service(func(o *Options) { o.SplitEntries = 6 }))
					if _, err := doomed.Head(t.Context(), "none"); !errors.Is(err, ErrNoSuchKey) {
						t.Fatal(err)
					}
					var n int
					for _, p := range []*Kept(f.deleted("")) {
						n += map[bool]int{true: 1}[p.Key == "k"]
					}
					if _, err := f.b.Head(t.Context(), "k"); err == nil {
						n++
					}
					crashAt(f, crash, lose)
					err := c.do(f, doomed)
					crashAt(f, 0, false)
					f.pass(0)
					left := 0
					for _, k := range f.deleted("") {
						left += map[bool]int{true: 1}[k.Key == "k"]
					}
					got, e := get(f.b, "k")
					if e == nil {
						left++
						if !bytes.Equal(got, first) && !bytes.Equal(got, second) {
							t.Fatalf("crash at %d: %d other bytes", crash, len(got))
						}
					}
					if left != n && !(c.erases && left == 0) || e != nil && !errors.Is(e, ErrNoSuchKey) {
						t.Fatalf("crash at %d (answers lost: %v): %d objects of %d are there, %v", crash, lose, left, n, e)
					}
					f.wantKept()
					for _, k := range f.deleted("k") {
						if _, err := f.b.Undelete(t.Context(), "k", k.ID, true); err != nil {
							t.Fatal(err)
						}
						f.want("k", map[int64][]byte{2500: first, 50: second}[k.Size])
					}
					if left > 0 {
						f.delete("k")
					}
					f.pass(25 * time.Hour)
					if n := f.wantKept(); n != 0 {
						t.Fatalf("crash at %d: %d are kept for ever", crash, n)
					}
					f.wantData(0)
					if err == nil {
						break
					}
				}
			}
		})
	}
}

// While a kept object is brought back or erased, somebody else does one of these, or puts an object, between any two steps:
// each object ends up in one place, whole, or was erased.
func TestUndeleteRace(t *testing.T) {
	ctx := t.Context()
	type act func(f *fixture, b *Bucket) (objects, erased int)
	undelete := func(f *fixture, b *Bucket) (int, int) {
		if _, err := b.Undelete(ctx, "k", "", true); err != nil && !errors.Is(err, ErrNotKept) {
			t.Error(err)
		}
		return 0, 0
	}
	purge := func(_ *fixture, b *Bucket) (int, int) {
		n, _, err := b.Purge(ctx, "", 1000)
		if err != nil {
			t.Error(err)
		}
		return 0, n
	}
	replace := func(_ *fixture, b *Bucket) (int, int) {
		if _, err := put(b, "k", body(1500, 7)); err != nil {
			t.Error(err)
		}
		return 1, 0
	}
	remove := func(_ *fixture, b *Bucket) (int, int) {
		if err := b.Delete(ctx, "k", Cond{}); err != nil {
			t.Error(err)
		}
		return 0, 0
	}
	acts := map[string]act{"undelete": undelete, "purge": purge, "put": replace, "delete": remove}
	for first, one := range acts {
		for second, other := range acts {
			for at := 1; ; at++ {
				f := keeping(t, nil)
				f.put("k", body(2500, 1))
				f.put("k", body(3500, 2))
				f.delete("k")
				b := f.bucket(f.service(nil))
				calls, reached := 0, false
				var objects, erased int
				f.meta.Before(func(context.Context, clienttest.Call) error {
					if calls++; calls == at {
						reached = true
						f.meta.Before(nil)
						objects, erased = other(f, b)
					}
					return nil
				})
				n, e := one(f, f.b)
				f.meta.Before(nil)
				if !reached {
					break
				}
				f.pass(0)
				objects, erased = objects+n+2, erased+e
				there := f.wantKept()
				if _, err := get(f.b, "k"); err == nil {
					there++
				} else if !errors.Is(err, ErrNoSuchKey) {
					t.Fatalf("%s, with %s at step %d: %v", first, second, at, err)
				}
				if there+erased != objects {
					t.Fatalf("%s, with %s at step %d: of %d objects %d are there, %d were erased", first, second, at, objects, there, erased)
				}
				for _, k := range f.deleted("") {
					if _, err := f.b.Undelete(ctx, "k", k.ID, true); err != nil {
						t.Fatal(err)
					}
					f.want("k", map[int64][]byte{2500: body(2500, 1), 3500: body(3500, 2), 1500: body(1500, 7)}[k.Size])
				}
				f.delete("k")
				f.pass(25 * time.Hour)
				f.wantKept()
				f.wantData(0)
			}
		}
	}
}

// What has expired is erased between any two steps of a split: nothing stays for ever.
func TestUndeleteSplitRace(t *testing.T) {
	full := keeping(t, nil)
	for i := range 3 {
		full.put(fmt.Sprint("a", i), body(150, 1))
	}
	for range 900 {
		full.put("k", []byte("x")) // more records than are copied at a time
	}
	full.put("l", body(150, 1))
	for _, key := range []string{"a1", "k", "l"} {
		full.delete(key)
	}
	full.clock.add(25 * time.Hour)
	for at := 1; ; at += 2 {
		f := &fixture{t: t, meta: full.meta.Clone(), data: full.data.Clone(), clock: full.clock}
		f.svc = f.service(nil)
		f.b = f.bucket(f.svc)
		splitter, other := f.bucket(f.service(func(o *Options) { o.SplitEntries = 6 })), f.bucket(f.service(nil))
		calls, reached := 0, false
		f.meta.Before(func(context.Context, clienttest.Call) error {
			if calls++; calls == at {
				reached = true
				f.meta.Before(nil)
				for _, p := range f.partitions() {
					if _, err := other.expire(t.Context(), p.n); err != nil {
						t.Error(err)
					}
				}
			}
			return nil
		})
		if err := splitter.maybeSplitAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.meta.Before(nil)
		f.pass(0)
		if n := f.wantKept(); n != 0 {
			t.Fatalf("expired at step %d of a split: %d are kept for ever", at, n)
		}
		f.wantData(2)
		if !reached {
			if at < 20 {
				t.Errorf("a split has %d steps", at)
			}
			break
		}
	}
}
