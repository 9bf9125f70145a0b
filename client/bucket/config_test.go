package bucket

import (
	"errors"
	"slices"
	"testing"
	"time"
)

func TestConfig(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	doc := func(b *Bucket, name string) string {
		t.Helper()
		c, err := b.Config(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return string(c.Doc(name))
	}
	set := func(b *Bucket, docs map[string][]byte) {
		t.Helper()
		if err := b.SetConfig(ctx, docs); err != nil {
			t.Fatal(err)
		}
	}
	other := f.bucket(f.service(nil))
	if got := doc(f.b, "policy"); got != "" || doc(other, "policy") != "" {
		t.Fatalf("a new bucket has a policy: %q", got)
	}
	set(f.b, map[string][]byte{"policy": []byte("{1}"), "cors": []byte("<c/>")})
	if got := doc(f.b, "policy"); got != "{1}" {
		t.Fatalf("a document just set is %q", got)
	}
	f.clock.add(settingsAge + time.Second)
	if got := doc(other, "cors"); got != "<c/>" {
		t.Fatalf("another process sees %q after ten seconds", got)
	}
	set(other, map[string][]byte{"cors": nil, "empty": {}})
	c, err := other.Config(ctx)
	if err != nil || !slices.Equal(c.Names(), []string{"empty", "policy"}) {
		t.Fatalf("documents %q, %v", c.Names(), err)
	}

	calls := 0
	parse := func([]byte) (any, error) { calls++; return calls, nil }
	for range 3 {
		if v, err := c.Parsed("policy", parse); v != 1 || err != nil {
			t.Fatalf("parsed %v, %v", v, err)
		}
	}
	if v, err := c.Parsed("nothing", parse); v != nil || err != nil || calls != 1 {
		t.Fatalf("a missing document: %v, %v, %d calls", v, err, calls)
	}

	if err := f.b.SetConfig(ctx, map[string][]byte{"x": make([]byte, MaxConfigBytes+1)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a document that is too large: %v", err)
	}
	if err := f.b.SetConfig(ctx, map[string][]byte{"": nil}); !errors.Is(err, ErrInvalidName) {
		t.Errorf("a document without a name: %v", err)
	}
	if err := f.svc.Delete(ctx, f.b.Name()); err != nil {
		t.Fatal(err)
	}
	f.clock.add(settingsAge + time.Second)
	f.sweep()
	if _, err := f.b.Config(ctx); !errors.Is(err, ErrNoSuchBucket) {
		t.Errorf("the configuration of a deleted bucket: %v", err)
	}
	if _, err := f.svc.Create(ctx, f.b.Name(), "alice", ""); err != nil {
		t.Fatal(err)
	}
	if got := doc(f.bucket(f.svc), "policy"); got != "" {
		t.Errorf("a new bucket of the same name has the old one's policy %q", got)
	}
}
