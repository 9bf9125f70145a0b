package admintest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cairnstore/cairn/internal/api"
)

// Delete has a bucket keep an object as deleted. The last one deleted comes first.
func (b *Buckets) Delete(name string, o api.DeletedObject) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.deleted == nil {
		b.deleted = map[string][]api.DeletedObject{}
	}
	b.deleted[name] = slices.Insert(b.deleted[name], 0, o)
}

// Deleted implements admin.Buckets. It knows of keys, not of ids, to go on behind.
func (b *Buckets) Deleted(ctx context.Context, name string, in api.DeletedQuery) (api.DeletedPage, error) {
	out := api.DeletedPage{Objects: []api.DeletedObject{}}
	if _, err := b.Stat(ctx, name); err != nil {
		return out, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	list := slices.Clone(b.deleted[name])
	slices.SortStableFunc(list, func(x, y api.DeletedObject) int { return strings.Compare(x.Key, y.Key) })
	for _, o := range list {
		switch {
		case !strings.HasPrefix(o.Key, in.Prefix) || in.After != "" && o.Key <= in.After:
		case len(out.Objects) == in.Limit:
			out.More = true
		default:
			out.Objects = append(out.Objects, o)
		}
	}
	return out, nil
}

// Undelete implements admin.Buckets. There is an object under every key "live".
func (b *Buckets) Undelete(ctx context.Context, name string, in api.Undelete) (api.Undeleted, error) {
	if _, err := b.Stat(ctx, name); err != nil {
		return api.Undeleted{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.deleted[name], func(o api.DeletedObject) bool { return o.Key == in.Key && (in.ID == "" || o.ID == in.ID) })
	switch {
	case i < 0:
		return api.Undeleted{}, fmt.Errorf("no deleted object %q: %w", in.Key, api.ErrNotFound)
	case in.Key == "live" && !in.Force:
		return api.Undeleted{}, fmt.Errorf("object %q: %w", in.Key, api.ErrExists)
	}
	o := b.deleted[name][i]
	b.deleted[name] = slices.Delete(b.deleted[name], i, i+1)
	return api.Undeleted{Bucket: name, Key: o.Key, Size: o.Size, ETag: o.ETag}, nil
}

// Purge implements admin.Buckets, one object at a time.
func (b *Buckets) Purge(ctx context.Context, name, prefix string) (api.Purged, error) {
	if _, err := b.Stat(ctx, name); err != nil {
		return api.Purged{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.deleted[name], func(o api.DeletedObject) bool { return strings.HasPrefix(o.Key, prefix) })
	if i < 0 {
		return api.Purged{}, nil
	}
	b.deleted[name] = slices.Delete(b.deleted[name], i, i+1)
	return api.Purged{Erased: 1, More: true}, nil
}
