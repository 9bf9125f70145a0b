package kms

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/clienttest"
	"github.com/cairnstore/cairn/internal/seal"
)

// A rotated key encrypts with its new version and decrypts with all; a disabled one does neither; a removed one is gone for
// good, also if another is made under its id.
func TestLifeOfAKey(t *testing.T) {
	ctx, now := t.Context(), time.Unix(1_700_000_000, 0)
	pool := clienttest.NewPool("s3")
	service := func(roots ...seal.Key) *Service {
		return NewService(Options{Pool: pool, Roots: roots, Now: func() time.Time { return now }})
	}
	rootA, rootB := seal.Key{1}, seal.Key{2}
	s, other := service(rootA), service(rootA)
	if _, _, _, err := s.Encrypt(ctx, "k"); !errors.Is(err, ErrNoKey) {
		t.Fatalf("a key that is not there: %v", err)
	}
	if _, err := s.Store().Create(ctx, "k", ""); err != nil {
		t.Fatal(err)
	}
	now = now.Add(unknownAfter)
	one, v1, root, err := s.Encrypt(ctx, "k")
	if err != nil || v1 != 1 {
		t.Fatalf("version %d, %v", v1, err)
	}
	if k, err := other.Decrypt(ctx, "k", v1, root); err != nil || k != one {
		t.Fatalf("another gateway: %v", err)
	}
	if _, err := s.Store().Rotate(ctx, "k"); err != nil {
		t.Fatal(err)
	}
	now = now.Add(11 * time.Second)
	two, v2, _, err := s.Encrypt(ctx, "k")
	if err != nil || v2 != 2 || two == one {
		t.Fatalf("after rotation: version %d, %v", v2, err)
	}
	if k, err := s.Decrypt(ctx, "k", 1, root); err != nil || k != one {
		t.Errorf("the first version: %v", err)
	}
	// A gateway that has not heard of the rotation yet reads what the other one wrote.
	stale := service(rootA)
	if _, err := stale.Decrypt(ctx, "k", 1, root); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Store().Rotate(ctx, "k"); err != nil {
		t.Fatal(err)
	}
	if _, err := stale.Decrypt(ctx, "k", 3, root); err != nil {
		t.Errorf("a version newer than what is remembered: %v", err)
	}
	if _, err := s.Decrypt(ctx, "k", 4, root); !errors.Is(err, ErrNoKey) {
		t.Errorf("a version that is not there: %v", err)
	}
	// Root keys.
	if _, err := service(rootB).Decrypt(ctx, "k", 1, root); !errors.Is(err, ErrNoRoot) {
		t.Errorf("without its root key: %v", err)
	}
	if k, err := service(rootB, rootA).Decrypt(ctx, "k", 1, root); err != nil || k != one {
		t.Errorf("with a former root key: %v", err)
	}
	if k, _, r, err := service(rootB, rootA).Encrypt(ctx, "k"); err != nil || r == root || k == one {
		t.Errorf("a new root key makes other keys: %v", err)
	}
	if _, _, _, err := (*Service)(nil).Encrypt(ctx, "k"); !errors.Is(err, ErrNoRoot) {
		t.Errorf("no service: %v", err)
	}
	if _, err := service().Decrypt(ctx, "k", 1, root); !errors.Is(err, ErrNoRoot) {
		t.Errorf("no root key: %v", err)
	}
	// Disabled, and gone.
	if err := s.Store().Remove(ctx, "k"); !errors.Is(err, ErrEnabled) {
		t.Errorf("removed while enabled: %v", err)
	}
	if _, err := s.Store().SetDisabled(ctx, "k", true); err != nil {
		t.Fatal(err)
	}
	now = now.Add(11 * time.Second)
	if _, _, _, err := s.Encrypt(ctx, "k"); !errors.Is(err, ErrDisabled) {
		t.Errorf("disabled: %v", err)
	}
	if _, err := s.Decrypt(ctx, "k", 1, root); !errors.Is(err, ErrDisabled) {
		t.Errorf("disabled: %v", err)
	}
	if err := s.Store().Remove(ctx, "k"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Store().Create(ctx, "k", ""); err != nil {
		t.Fatal(err)
	}
	now = now.Add(11 * time.Second)
	if k, err := s.Decrypt(ctx, "k", 1, root); err != nil || k == one {
		t.Errorf("a key that was made again has the old material: %v", err)
	}
}

// The keys that nobody made are made when they are first needed, once.
func TestMadeByThemselves(t *testing.T) {
	pool := clienttest.NewPool("s3")
	a, b := NewService(Options{Pool: pool, Roots: []seal.Key{{1}}}), NewService(Options{Pool: pool, Roots: []seal.Key{{1}}})
	for _, id := range []string{StoreKey, DefaultKey} {
		x, _, _, err := a.Encrypt(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if y, _, _, err := b.Encrypt(t.Context(), id); err != nil || x != y {
			t.Errorf("%s differs between gateways: %v", id, err)
		}
	}
	if keys, err := a.Store().List(t.Context()); err != nil || len(keys) != 2 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
}

// The bytes of a record are what docs/formats/encryption.md says; what it does not know is refused.
func TestRecords(t *testing.T) {
	pool := clienttest.NewPool("s3")
	s := NewStore(pool)
	put := func(id, record string) {
		if _, err := pool.Do(t.Context(), object, new(client.Op).OmapSet("k"+id, []byte(record))); err != nil {
			t.Fatal(err)
		}
	}
	put("a", "\x01"+`{"id":"a","created":1764000000000000000,"disabled":true,"versions":[{"number":1,"salt":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","created":1}]}`)
	k, err := s.Get(t.Context(), "a")
	if err != nil || !k.Disabled || len(k.Versions) != 1 || k.Versions[0].Salt[31] != 1 {
		t.Fatalf("%+v, %v", k, err)
	}
	for record, want := range map[string]error{"\x02{}": ErrNewerFormat, "": ErrCorrupt, "\x01{": ErrCorrupt, "\x01" + `{"id":"b"}`: ErrCorrupt, "\x01" + `{"id":"b","versions":[{"number":2,"salt":""}]}`: ErrCorrupt} {
		put("b", record)
		if _, err := s.Get(t.Context(), "b"); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", record, err, want)
		}
	}
	for _, id := range []string{"", "a b", "é", strings.Repeat("x", 257)} {
		if id == "" {
			continue // one is made up
		}
		if _, err := s.Create(t.Context(), id, ""); !errors.Is(err, ErrInvalidID) {
			t.Errorf("id %q: %v", id, err)
		}
	}
}

// Only a file that nobody else can read is taken, and no error shows what is in it.
func TestReadRoots(t *testing.T) {
	dir := t.TempDir()
	hex, b64 := strings.Repeat("0a", 32), "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		keys int
		err  string
	}{
		"good":   {"# ours\n" + hex + "\n\n" + b64 + "\n", 0o600, 2, ""},
		"open":   {hex, 0o640, 0, "chmod 0600"},
		"empty":  {"# none\n", 0o600, 0, "has 0 keys"},
		"short":  {"secret-0a0a\n", 0o600, 0, "line 1 is no key"},
		"second": {hex + "\n" + hex[2:] + "\n", 0o400, 0, "line 2 is no key"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		keys, err := ReadRoots(path)
		if c.err == "" && (err != nil || len(keys) != c.keys) {
			t.Errorf("%s: %d keys, %v", name, len(keys), err)
		}
		if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "0a0a")) {
			t.Errorf("%s: %v, want %q and nothing of the key", name, err, c.err)
		}
	}
	if _, err := ReadRoots(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "make one with") {
		t.Errorf("no file: %v", err)
	}
}
