package bucket

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// AsPool is the value that takes a bucket's own setting back.
const AsPool = "pool"

// chunkKeys are the settings of how chunks are made, in the order in which they are applied.
var chunkKeys = []string{"chunks", "dedup", "cut", "chunk_size", "compression"}

// SettingKeys are the settings that a bucket can have of its own, sorted.
func SettingKeys() []string {
	keys := append(slices.Clone(chunkKeys), undeleteSetting)
	slices.Sort(keys)
	return keys
}

// policyOf is how chunks are made for a bucket in a pool with a policy.
func policyOf(pool client.ChunkPolicy, settings []*bucketpb.Pair) (client.ChunkPolicy, error) {
	for _, key := range chunkKeys {
		for _, p := range settings {
			if p.Name != key || pool.IsZero() && key != chunkKeys[0] {
				continue
			}
			if err := pool.Set(key, p.Value); err != nil {
				return pool, err
			}
		}
	}
	return pool, pool.Check()
}

// Policy says how chunks are made of the bodies that are put into the bucket, as far as this handle knows.
func (b *Bucket) Policy() client.ChunkPolicy {
	if b.svc.chunks == nil {
		return client.ChunkPolicy{}
	}
	pool := b.svc.chunks.Policy()
	pol, err := policyOf(pool, b.rec.Load().Settings)
	if err != nil { // they fitted the pool when they were set, and it has changed
		return pool
	}
	return pol
}

// Set changes a setting of a bucket, or takes its own one back with the value AsPool. It is in force for bodies put
// from then on, at other gateways within ten seconds; what is there stays as it is.
func (s *Service) Set(ctx context.Context, name, key, value string) error {
	bad := func(cond error, format string, args ...any) error {
		return nameErr("set "+key+" of", name, fmt.Errorf("%w: %s", cond, fmt.Sprintf(format, args...)))
	}
	if !slices.Contains(SettingKeys(), key) {
		return bad(client.ErrInvalid, "there is no such setting; want one of %s", strings.Join(SettingKeys(), ", "))
	}
	if key == undeleteSetting {
		if value == AsPool {
			value = "0"
		}
		if _, err := parseWindow(value); err != nil {
			return nameErr("set "+key+" of", name, err)
		}
	} else if s.chunks == nil {
		return bad(client.ErrUnsupported, "its pool cannot make chunks")
	}
	return s.alter(ctx, name, "set "+key+" of", func(r *bucketpb.Bucket) error {
		settings := slices.DeleteFunc(slices.Clone(r.Settings), func(p *bucketpb.Pair) bool { return p.Name == key })
		if value != AsPool {
			settings = append(settings, &bucketpb.Pair{Name: key, Value: value})
			slices.SortFunc(settings, func(a, b *bucketpb.Pair) int { return cmp.Compare(a.Name, b.Name) })
		}
		if key != undeleteSetting {
			if err := s.checkPolicy(key, value, settings); err != nil {
				return err
			}
		}
		r.Settings = settings
		return nil
	})
}

// checkPolicy says whether chunks can be made as settings say, of which key has just been changed.
func (s *Service) checkPolicy(key, value string, settings []*bucketpb.Pair) error {
	pool := s.chunks.Policy()
	pol, err := policyOf(pool, settings)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", client.ErrInvalid, err)
	case value != AsPool && key != chunkKeys[0] && pol.IsZero():
		return fmt.Errorf("%w: no chunks are made of what is put into it, so %s has no effect; say first how to keep them, with chunks 4:2:rs or replica:3, for example", client.ErrConflict, key)
	}
	if c, ok := s.o.Data.(interface {
		CheckPolicy(client.ChunkPolicy) error
	}); ok && pol != pool {
		return c.CheckPolicy(pol)
	}
	return nil
}
