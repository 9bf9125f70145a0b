package kms

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/internal/seal"
)

// Conditions that callers test with errors.Is.
var (
	ErrNoKey       = fmt.Errorf("no such key: %w", client.ErrNotFound)
	ErrKeyExists   = fmt.Errorf("the key exists: %w", client.ErrExists)
	ErrDisabled    = errors.New("the key is disabled")
	ErrEnabled     = fmt.Errorf("the key is enabled: %w", client.ErrConflict)
	ErrInvalidID   = fmt.Errorf("invalid key id: %w", client.ErrInvalid)
	ErrLimit       = fmt.Errorf("too many: %w", client.ErrInvalid)
	ErrNewerFormat = errors.New("written by a newer version of cairn")
	ErrCorrupt     = errors.New("a key's record makes no sense")
)

// Ids of keys that a gateway makes by itself when they are first needed.
const (
	StoreKey   = "aws/s3-store" // of SSE-S3
	DefaultKey = "aws/s3"       // of SSE-KMS where a client names no key
)

// Limits of keys.
const (
	MaxKeys     = 10_000
	MaxVersions = 1000

	object = "s3.kms"
	format = 1
)

// Key is a master key as it is known to everybody: nothing of it is secret.
type Key struct {
	ID          string    `json:"id"`
	Description string    `json:"description,omitempty"`
	Created     int64     `json:"created"` // unix ns
	Disabled    bool      `json:"disabled,omitempty"`
	Versions    []Version `json:"versions"` // the last one encrypts, all of them decrypt

	raw []byte
}

// Version is what a key's material is made of, beside a root key.
type Version struct {
	Number  uint32 `json:"number"` // from 1
	Salt    []byte `json:"salt"`
	Created int64  `json:"created"` // unix ns
}

// CheckID says whether a key may have this id.
func CheckID(id string) error {
	if id == "" || len(id) > seal.MaxKeyID {
		return fmt.Errorf("%w: %q: want 1 to %d characters", ErrInvalidID, id, seal.MaxKeyID)
	}
	for _, c := range id {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./@", c) {
			return fmt.Errorf("%w: %q: want letters, digits and -_./@", ErrInvalidID, id)
		}
	}
	return nil
}

// Store changes keys. Any number of processes may do it at the same time.
type Store struct {
	pool client.Objects
	now  func() time.Time
}

// NewStore returns the keys that a pool keeps.
func NewStore(pool client.Objects) *Store { return &Store{pool: pool, now: time.Now} }

func omapKey(id string) string { return "k" + id }

func encode(k *Key) ([]byte, error) {
	b, err := json.Marshal(k)
	return append([]byte{format}, b...), err
}

func decode(id string, b []byte) (*Key, error) {
	switch {
	case len(b) == 0:
		return nil, fmt.Errorf("key %q: %w", id, ErrCorrupt)
	case b[0] > format:
		return nil, fmt.Errorf("key %q: %w: format %d, this version knows %d", id, ErrNewerFormat, b[0], format)
	}
	k := &Key{raw: b}
	if err := json.Unmarshal(b[1:], k); err != nil {
		return nil, fmt.Errorf("key %q: %w: %w", id, ErrCorrupt, err)
	}
	if k.ID != id || len(k.Versions) == 0 {
		return nil, fmt.Errorf("key %q: %w", id, ErrCorrupt)
	}
	for i, v := range k.Versions {
		if v.Number != uint32(i+1) || len(v.Salt) != seal.SaltBytes {
			return nil, fmt.Errorf("key %q: %w: version %d", id, ErrCorrupt, v.Number)
		}
	}
	return k, nil
}

// Get returns a key.
func (s *Store) Get(ctx context.Context, id string) (*Key, error) {
	res, err := s.pool.Do(ctx, object, new(client.Op).OmapGet(omapKey(id)))
	if errors.Is(err, client.ErrNotFound) || err == nil && !res.Items[0].Found {
		return nil, fmt.Errorf("key %q: %w", id, ErrNoKey)
	}
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", id, err)
	}
	return decode(id, res.Items[0].Data)
}

// List returns all keys, by id.
func (s *Store) List(ctx context.Context) ([]*Key, error) {
	var out []*Key
	for from := "k"; ; {
		res, err := s.pool.Do(ctx, object, new(client.Op).OmapList(from, "l", 100))
		if errors.Is(err, client.ErrNotFound) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list keys: %w", err)
		}
		for _, kv := range res.Items[0].KVs {
			k, err := decode(kv.Key[1:], kv.Value)
			if err != nil {
				return nil, err
			}
			out = append(out, k)
			from = kv.Key + "\x00"
		}
		if !res.Items[0].More {
			return out, nil
		}
	}
}

func (s *Store) version(n int) Version {
	v := Version{Number: uint32(n), Salt: make([]byte, seal.SaltBytes), Created: s.now().UnixNano()}
	rand.Read(v.Salt) // never fails: crypto/rand stops the process instead
	return v
}

// Create makes a key; without an id one is made up.
func (s *Store) Create(ctx context.Context, id, description string) (*Key, error) {
	if id == "" {
		var b [16]byte
		rand.Read(b[:])
		b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
		h := hex.EncodeToString(b[:])
		id = strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
	}
	if err := CheckID(id); err != nil {
		return nil, err
	}
	if len(description) > 1024 {
		return nil, fmt.Errorf("%w: a description of %d bytes, at most 1024", ErrLimit, len(description))
	}
	all, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	if len(all) >= MaxKeys {
		return nil, fmt.Errorf("%w: there are %d keys", ErrLimit, len(all))
	}
	k := &Key{ID: id, Description: description, Created: s.now().UnixNano(), Versions: []Version{s.version(1)}}
	raw, err := encode(k)
	if err != nil {
		return nil, err
	}
	_, err = s.pool.Do(ctx, object, new(client.Op).CmpOmapAbsent(omapKey(id)).OmapSet(omapKey(id), raw))
	if errors.Is(err, client.ErrConflict) {
		return nil, fmt.Errorf("key %q: %w", id, ErrKeyExists)
	}
	if err != nil {
		return nil, fmt.Errorf("create key %q: %w", id, err)
	}
	k.raw = raw
	return k, nil
}

// change replaces a key's record by what f makes of it, if nobody else was faster; then it looks again.
func (s *Store) change(ctx context.Context, id string, f func(k *Key) error) (*Key, error) {
	for {
		k, err := s.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		old := k.raw
		if err := f(k); err != nil {
			return nil, fmt.Errorf("key %q: %w", id, err)
		}
		if k.raw, err = encode(k); err != nil {
			return nil, err
		}
		_, err = s.pool.Do(ctx, object, new(client.Op).CmpOmap(omapKey(id), old).OmapSet(omapKey(id), k.raw))
		if errors.Is(err, client.ErrConflict) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("change key %q: %w", id, err)
		}
		return k, nil
	}
}

// Rotate gives a key a new version, which encrypts from then on. What the older ones encrypted stays readable.
func (s *Store) Rotate(ctx context.Context, id string) (*Key, error) {
	return s.change(ctx, id, func(k *Key) error {
		switch {
		case k.Disabled:
			return fmt.Errorf("%w: %w", ErrDisabled, client.ErrConflict)
		case len(k.Versions) >= MaxVersions:
			return fmt.Errorf("%w: it has %d versions", ErrLimit, len(k.Versions))
		}
		k.Versions = append(k.Versions, s.version(len(k.Versions)+1))
		return nil
	})
}

// SetDisabled says whether a key may be used, also to decrypt. Gateways know it within their cache's time.
func (s *Store) SetDisabled(ctx context.Context, id string, disabled bool) (*Key, error) {
	return s.change(ctx, id, func(k *Key) error { k.Disabled = disabled; return nil })
}

// Remove removes a key, which must be disabled. What was encrypted with it cannot be read any more, ever.
func (s *Store) Remove(ctx context.Context, id string) error {
	for {
		k, err := s.Get(ctx, id)
		if err != nil {
			return err
		}
		if !k.Disabled {
			return fmt.Errorf("key %q: %w", id, ErrEnabled)
		}
		_, err = s.pool.Do(ctx, object, new(client.Op).CmpOmap(omapKey(id), k.raw).OmapRm(omapKey(id)))
		if errors.Is(err, client.ErrConflict) {
			continue
		}
		if err != nil {
			return fmt.Errorf("remove key %q: %w", id, err)
		}
		return nil
	}
}
