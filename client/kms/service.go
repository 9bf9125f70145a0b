package kms

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/seal"
)

// ErrNoRoot says that a key's material cannot be made because the root key is not there.
var ErrNoRoot = errors.New("the root key is not there")

const (
	maxRoots     = 16
	maxRootFile  = 4 << 10
	maxCached    = 4096
	unknownAfter = time.Second // how long it is remembered that there is no key
)

// ReadRoots reads root keys from a file that only its owner may read: a key of 32 bytes in each line, as 64 hex
// digits or in base64. The first encrypts; the others are former ones, which still decrypt. Lines with # are comments.
func ReadRoots(path string) ([]seal.Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("root key file: %w; make one with: (umask 077; head -c 32 /dev/urandom | base64 > FILE)", err)
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("root key file: %w", err)
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("root key file %s: %w: not a regular file", path, fs.ErrInvalid)
	case st.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("root key file %s has mode %04o: others than its owner can get at it; chmod 0600 it", path, st.Mode().Perm())
	case st.Size() > maxRootFile:
		return nil, fmt.Errorf("root key file %s has %d bytes, at most %d", path, st.Size(), maxRootFile)
	}
	b := make([]byte, st.Size())
	if _, err := f.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("root key file: %w", err)
	}
	roots, err := parseRoots(b)
	if err != nil {
		return nil, fmt.Errorf("root key file %s: %w", path, err)
	}
	return roots, nil
}

func parseRoots(b []byte) (roots []seal.Key, err error) {
	n := 0
	for line := range bytes.Lines(b) {
		n++
		s := strings.TrimSpace(string(line))
		if s == "" || s[0] == '#' {
			continue
		}
		key, err := hex.DecodeString(s)
		if err != nil || len(key) != seal.KeyBytes {
			key, err = base64.StdEncoding.DecodeString(s)
		}
		if err != nil || len(key) != seal.KeyBytes {
			return nil, fmt.Errorf("line %d is no key: want 32 bytes as 64 hex digits or in base64", n) // the line itself stays secret
		}
		roots = append(roots, seal.Key(key))
	}
	if len(roots) == 0 || len(roots) > maxRoots {
		return nil, fmt.Errorf("it has %d keys, want 1 to %d", len(roots), maxRoots)
	}
	return roots, nil
}

// Options configures NewService.
type Options struct {
	Pool  client.Objects // required: has the records
	Roots []seal.Key     // the first encrypts; none: nothing does
	TTL   time.Duration  // how long records are remembered; default 10 s
	Now   func() time.Time
}

// Service makes the material of keys. It is safe for concurrent use.
type Service struct {
	o     Options
	store *Store

	mu    sync.Mutex // guards below
	cache map[string]cached
}

type cached struct {
	key   *Key // nil: there is none
	until time.Time
}

// NewService returns a service.
func NewService(o Options) *Service {
	if o.TTL == 0 {
		o.TTL = 10 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Service{o: o, store: NewStore(o.Pool), cache: map[string]cached{}}
}

// Store returns the records behind the service. What it changes the service notices within its TTL.
func (s *Service) Store() *Store { return s.store }

// Ready reports whether there is a root key.
func (s *Service) Ready() bool { return s != nil && len(s.o.Roots) > 0 }

// key finds a key, as it was at most a TTL ago.
func (s *Service) key(ctx context.Context, id string) (*Key, error) {
	now := s.o.Now()
	s.mu.Lock()
	c, ok := s.cache[id]
	s.mu.Unlock()
	if ok && now.Before(c.until) {
		if c.key == nil {
			return nil, fmt.Errorf("key %q: %w", id, ErrNoKey)
		}
		return c.key, nil
	}
	return s.load(ctx, id, now)
}

func (s *Service) load(ctx context.Context, id string, now time.Time) (*Key, error) {
	if err := CheckID(id); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoKey, err)
	}
	k, err := s.store.Get(ctx, id)
	if errors.Is(err, ErrNoKey) && (id == StoreKey || id == DefaultKey) {
		k, err = s.store.Create(ctx, id, "made by itself")
		if errors.Is(err, ErrKeyExists) { // by somebody else, just now
			k, err = s.store.Get(ctx, id)
		}
	}
	if err != nil && !errors.Is(err, ErrNoKey) {
		return nil, err
	}
	c := cached{key: k, until: now.Add(s.o.TTL)}
	if k == nil {
		c.until = now.Add(min(unknownAfter, s.o.TTL))
	}
	s.mu.Lock()
	if len(s.cache) >= maxCached {
		clear(s.cache)
	}
	s.cache[id] = c
	s.mu.Unlock()
	return k, err
}

// Encrypt returns what encrypts with a key now: a key-encryption key, and for the record the version and the name of the root key.
func (s *Service) Encrypt(ctx context.Context, id string) (kek seal.Key, version uint32, root [seal.RootBytes]byte, err error) {
	if !s.Ready() {
		return kek, 0, root, ErrNoRoot
	}
	k, err := s.key(ctx, id)
	if err != nil {
		return kek, 0, root, err
	}
	if k.Disabled {
		return kek, 0, root, fmt.Errorf("key %q: %w", id, ErrDisabled)
	}
	v := k.Versions[len(k.Versions)-1]
	return seal.DeriveMaster(s.o.Roots[0], v.Salt, id, v.Number), v.Number, seal.RootName(s.o.Roots[0]), nil
}

// Decrypt returns the key-encryption key of a record.
func (s *Service) Decrypt(ctx context.Context, id string, version uint32, root [seal.RootBytes]byte) (kek seal.Key, err error) {
	if !s.Ready() {
		return kek, ErrNoRoot
	}
	for _, r := range s.o.Roots {
		if seal.RootName(r) != root {
			continue
		}
		k, err := s.key(ctx, id)
		if err == nil && int(version) > len(k.Versions) { // rotated elsewhere, just now
			k, err = s.load(ctx, id, s.o.Now())
		}
		switch {
		case err != nil:
			return kek, err
		case k.Disabled:
			return kek, fmt.Errorf("key %q: %w", id, ErrDisabled)
		case version < 1 || int(version) > len(k.Versions):
			return kek, fmt.Errorf("version %d of key %q: %w", version, id, ErrNoKey)
		}
		return seal.DeriveMaster(r, k.Versions[version-1].Salt, id, version), nil
	}
	return kek, fmt.Errorf("%w: the one called %x is wanted; add it to the root key file", ErrNoRoot, root)
}
