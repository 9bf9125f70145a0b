package bucket

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
	"github.com/cairnstore/cairn/internal/chunk"
)

// Usage says what a bucket or an object takes, and what deduplication and compression save of it.
type Usage struct {
	Objects int64 // looked at
	Bytes   int64 // of their bodies
	Chunked int64 // of these, those that chunks have
	Refs    int64 // references to chunks

	Chunks      int64 // different ones
	ChunkBytes  int64 // of these
	SharedBytes int64 // of these, those that others refer to as well: other buckets, other objects, bodies about to be removed
	Stored      int64 // bytes that their shards were made of, after compression
	Physical    int64 // bytes of all their shards

	Kept      int64 // objects that were deleted and can be brought back; they are in none of the other numbers
	KeptBytes int64 // of their bodies

	Partial bool // a limit ended the look: it is about the first keys
}

// UsageLimits bound the work of a look at the usage. It takes an operation for each data object, and one for each chunk.
type UsageLimits struct {
	Chunks int           // different chunks; at least 1
	Time   time.Duration // for all of it
}

// usageAtOnce is how many operations of one look are under way at a time.
const usageAtOnce = 16

// usageBackRefs is how many of those who refer to a chunk are looked at for somebody outside.
const usageBackRefs = 1000

// usageWalk is a look at the usage.
type usageWalk struct {
	s      *Service
	limits UsageLimits
	until  time.Time

	mu     sync.Mutex // guards below
	u      Usage
	chunks map[chunk.Fingerprint]chunk.Layout
	bodies map[id]bool // of all data objects looked at
}

// Usage looks at what the objects of the bucket take, or the one under key unless that is "". The bucket's index keeps no
// such totals, so it reads the references of every data object, and the entry of every chunk.
func (b *Bucket) Usage(ctx context.Context, key string, limits UsageLimits) (Usage, error) {
	w := b.svc.usageWalk(limits)
	if key != "" {
		o, err := b.Get(ctx, key)
		if err == nil {
			err = w.object(ctx, o.entry, o.body)
		}
		if err != nil {
			return Usage{}, keyErr("look at the usage of", b, key, err)
		}
	} else if err := w.all(ctx, b); err != nil {
		return Usage{}, nameErr("look at the usage of", b.name, err)
	}
	if err := w.index(ctx); err != nil {
		return Usage{}, nameErr("look at the usage of", b.name, err)
	}
	return w.u, nil
}

// Usage looks at what all buckets of an owner take together. In a pool whose tenants share chunks with themselves nobody
// else refers to them.
func (s *Service) Usage(ctx context.Context, owner string, limits UsageLimits) (Usage, error) {
	fail := func(err error) (Usage, error) {
		return Usage{}, fmt.Errorf("look at the usage of %q: %w", owner, err)
	}
	infos, err := s.List(ctx, owner)
	if err != nil {
		return fail(err)
	}
	w := s.usageWalk(limits)
	for _, in := range infos {
		b, err := s.Bucket(ctx, in.Name)
		if err == nil {
			err = w.all(ctx, b)
		}
		if err != nil && !errors.Is(err, ErrNoSuchBucket) {
			return fail(err)
		}
	}
	if err := w.index(ctx); err != nil {
		return fail(err)
	}
	return w.u, nil
}

func (s *Service) usageWalk(limits UsageLimits) *usageWalk {
	return &usageWalk{s: s, limits: limits, until: s.o.Now().Add(limits.Time), chunks: map[chunk.Fingerprint]chunk.Layout{}, bodies: map[id]bool{}}
}

// full reports whether a limit is reached.
func (w *usageWalk) full() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.chunks) >= w.limits.Chunks || !w.s.o.Now().Before(w.until) {
		w.u.Partial = true
	}
	return w.u.Partial
}

// all takes in all objects of a bucket, and what it keeps of deleted ones.
func (w *usageWalk) all(ctx context.Context, b *Bucket) error {
	if err := w.live(ctx, b); err != nil || !keepsDeleted(b.rec.Load().Bucket) {
		return err
	}
	now := w.s.o.Now().UnixNano()
	return b.scan(ctx, kindKept, "", keyEnd, MaxListEntries, func(record string, value []byte) (string, bool, error) {
		if w.full() {
			return "", true, nil
		}
		key, name, err := splitKept(record)
		if err != nil {
			return "", false, err
		}
		k, err := parseKept(key, name, value)
		if err != nil {
			return "", false, keyErr("read deleted", b, key, err)
		}
		if k.Expires > now {
			w.u.Kept++
			w.u.KeptBytes += int64(k.Entry.Size)
		}
		return "", false, nil
	})
}

func (w *usageWalk) live(ctx context.Context, b *Bucket) error {
	return b.scanKinds(ctx, []byte{kindEntry, kindVersion}, "", keyEnd, MaxListEntries, func(_ byte, record string, value []byte) (string, bool, error) {
		key := keyOf(record)
		if w.full() {
			return "", true, nil
		}
		e := new(bucketpb.Entry)
		if err := decode(value, e); err != nil {
			return "", false, keyErr("read", b, key, err)
		}
		if e.Marker {
			return "", false, nil
		}
		var manifest []byte
		if e.Layout == bucketpb.Layout_PARTS {
			o, err := b.GetVersion(ctx, key, versionOf(e))
			if errors.Is(err, ErrNoSuchVersion) || err == nil && o.entry.Layout != bucketpb.Layout_PARTS {
				return "", false, nil // deleted meanwhile
			}
			if err != nil {
				return "", false, err
			}
			e, manifest = o.entry, o.body
		}
		return "", false, keyErr("look at", b, key, w.object(ctx, e, manifest))
	})
}

// object takes in an object.
func (w *usageWalk) object(ctx context.Context, e *bucketpb.Entry, manifest []byte) error {
	w.u.Objects++
	w.u.Bytes += int64(e.Size)
	refs, err := dataRefs(e, manifest)
	if err != nil || w.s.chunks == nil {
		return err
	}
	var names []string
	for _, r := range refs {
		x, err := idOf(r.Id)
		if err != nil {
			return err
		}
		w.bodies[x] = true
		for n := range r.Count {
			names = append(names, dataObject(x, n))
		}
	}
	return together(ctx, len(names), func(ctx context.Context, i int) error {
		if w.full() {
			return nil
		}
		refs, _, err := w.s.chunks.Refs(ctx, names[i])
		if errors.Is(err, client.ErrNotFound) {
			return nil // replaced or deleted meanwhile
		}
		if err != nil {
			return err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		for i := range refs {
			r := &refs[i]
			w.u.Refs++
			r.Bare(r.Range, func(x chunk.Range) { w.u.Chunked += int64(x.Len()) })
			w.chunks[r.Chunk] = r.Layout
		}
		return nil
	})
}

// index looks the chunks up.
func (w *usageWalk) index(ctx context.Context) error {
	fps := make([]chunk.Fingerprint, 0, len(w.chunks))
	for fp := range w.chunks {
		fps = append(fps, fp)
	}
	return together(ctx, len(fps), func(ctx context.Context, i int) error {
		info, err := w.s.chunks.Info(ctx, fps[i], usageBackRefs)
		if errors.Is(err, client.ErrNotFound) {
			return nil // all references to it are gone by now
		}
		if err != nil {
			return err
		}
		l := &info.Layout
		shared := info.More
		for _, r := range info.Refs {
			x, ok := bodyOf(r.Object)
			shared = shared || !ok || !w.bodies[x]
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.u.Chunks++
		w.u.ChunkBytes += int64(l.Size)
		w.u.Stored += int64(l.Stored)
		w.u.Physical += int64(l.ShardSize()) * int64(l.Redundancy.Shards())
		if shared {
			w.u.SharedBytes += int64(l.Size)
		}
		return nil
	})
}

// bodyOf returns which body a data object is of.
func bodyOf(object string) (x id, ok bool) {
	var hex string
	var n uint32
	if _, err := fmt.Sscanf(object, "s3.data.%32s.%x", &hex, &n); err != nil {
		return x, false
	}
	return parseID(hex)
}

// together calls f for 0 to n-1, some at a time, and returns the first error, which ends the others.
func together(ctx context.Context, n int, f func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, usageAtOnce)
	var all sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		all.Go(func() { // ends with its operation, which ctx bounds
			if err := f(ctx, i); err != nil {
				cancel(err)
			}
			<-slots
		})
	}
	all.Wait()
	return context.Cause(ctx)
}
