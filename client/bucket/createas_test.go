package bucket

import (
	"context"
	"errors"
	"testing"

	"github.com/cairnstore/cairn/client/clienttest"
)

// TestCreateAs: a bucket is there with what it is to have, or is not there, wherever its creation breaks off; and
// what an attempt left behind does not become part of another one.
func TestCreateAs(t *testing.T) {
	broken := errors.New("broken")
	for _, after := range []bool{false, true} { // the operation fails before it took effect, or its answer is lost
		for at := 1; at < 20; at++ {
			f := newFixture(t, nil)
			ctx := t.Context()
			n := 0
			fail := func() error {
				if n++; n == at {
					return broken
				}
				return nil
			}
			if after {
				f.meta.After(func(_ context.Context, _ clienttest.Call, err error) error {
					if e := fail(); e != nil {
						return e
					}
					return err
				})
			} else {
				f.meta.Before(func(context.Context, clienttest.Call) error { return fail() })
			}
			_, err := f.svc.CreateAs(ctx, "films", "ann", "here", NewBucket{Docs: map[string][]byte{"acl": []byte("public"), "ownership": []byte("x")}, Lock: true})
			f.meta.Before(nil)
			f.meta.After(nil)
			if err == nil && n < at {
				if at < 4 {
					t.Fatalf("only %d operations", n)
				}
				break // no step is left to break off at
			}
			b, err := f.svc.Fresh(ctx, "films")
			want := map[string]string{"acl": "public", "ownership": "x"}
			if errors.Is(err, ErrNoSuchBucket) {
				want = map[string]string{"policy": "p"}
				if b, err = f.svc.CreateAs(ctx, "films", "ann", "here", NewBucket{Docs: map[string][]byte{"policy": []byte("p")}, Lock: true}); err != nil {
					t.Fatalf("again, after it broke off at operation %d: %v", at, err)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			cfg, err := b.Config(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for name, doc := range want {
				if string(cfg.Doc(name)) != doc {
					t.Errorf("broken off at operation %d (answer lost: %v): %s is %q, want %q", at, after, name, cfg.Doc(name), doc)
				}
			}
			if len(cfg.Names()) != len(want) || !b.ObjectLock() || b.Versioning() != VersioningEnabled {
				t.Errorf("broken off at operation %d (answer lost: %v): documents %q, lock %v", at, after, cfg.Names(), b.ObjectLock())
			}
		}
	}
}
