package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// Info describes a bucket.
type Info struct {
	Name     string
	Owner    string
	Region   string
	Created  time.Time
	Settings map[string]string // its own ones, see SettingKeys; nil: none

	Versioning Versioning
	ObjectLock bool // versions may be locked
}

// record is a bucket's registry record as last read.
type record struct {
	raw  []byte
	read time.Time // when; zero: this process wrote it
	*bucketpb.Bucket
}

// Bucket is a handle on one bucket. It may outlive the bucket; operations then
// fail with ErrNoSuchBucket. It is safe for concurrent use.
type Bucket struct {
	svc  *Service
	name string
	rec  atomic.Pointer[record]
}

// Info describes the bucket as it was when the handle was made.
func (b *Bucket) Info() Info { return infoOf(b.rec.Load().Bucket) }

// Versioning says whether the bucket keeps versions, as far as this handle knows.
func (b *Bucket) Versioning() Versioning { return b.rec.Load().Versioning }

// ObjectLock reports whether the bucket's versions may be locked, as far as this handle knows.
func (b *Bucket) ObjectLock() bool { return b.rec.Load().ObjectLock }

// Name returns the bucket's name.
func (b *Bucket) Name() string { return b.name }

func (b *Bucket) id() (id, error) { return idOf(b.rec.Load().Id) }

func infoOf(r *bucketpb.Bucket) Info {
	in := Info{Name: r.Name, Owner: r.Owner, Region: r.Region, Created: time.Unix(0, r.Created), Versioning: r.Versioning, ObjectLock: r.ObjectLock}
	for _, p := range r.Settings {
		if in.Settings == nil {
			in.Settings = map[string]string{}
		}
		in.Settings[p.Name] = p.Value
	}
	return in
}

// staleDeletion is how long a deletion may hold a bucket closed before somebody
// who wants to write takes it for dead and opens the bucket again.
const staleDeletion = 15 * time.Second

// settingsAge is how long others' changes of a bucket's settings may go unnoticed.
const settingsAge = 10 * time.Second

// Bucket returns a handle. It may come from a cache: that is safe, because an
// index that was deleted gives the handle away at its first use.
func (s *Service) Bucket(ctx context.Context, name string) (*Bucket, error) {
	s.mu.Lock()
	r := s.buckets[name]
	s.mu.Unlock()
	if r == nil || s.o.Now().Sub(r.read) > settingsAge {
		var err error
		if r, err = s.lookup(ctx, name); err != nil {
			return nil, err
		}
	}
	b := &Bucket{svc: s, name: name}
	b.rec.Store(r)
	return b, nil
}

// Fresh is Bucket past the cache.
func (s *Service) Fresh(ctx context.Context, name string) (*Bucket, error) {
	s.uncache(name)
	return s.Bucket(ctx, name)
}

func (s *Service) uncache(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.buckets, name)
}

// lookup reads a visible bucket's record and caches it.
func (s *Service) lookup(ctx context.Context, name string) (*record, error) {
	if CheckName(name) != nil {
		return nil, nameErr("find", name, ErrNoSuchBucket)
	}
	r, err := s.readRecord(ctx, name)
	if err != nil {
		return nil, nameErr("find", name, err)
	}
	if r == nil || r.State == bucketpb.BucketState_CREATING {
		s.uncache(name)
		return nil, nameErr("find", name, ErrNoSuchBucket)
	}
	r.read = s.o.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.buckets) >= maxCachedBuckets {
		clear(s.buckets)
	}
	s.buckets[name] = r
	return r, nil
}

// readRecord returns nil when there is no record.
func (s *Service) readRecord(ctx context.Context, name string) (*record, error) {
	res, err := s.meta.Do(ctx, registryObject, new(client.Op).OmapGet(omapKey(kindBucket, name)))
	if errors.Is(err, client.ErrNotFound) || err == nil && !res.Items[0].Found {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseRecord(res.Items[0].Data)
}

func parseRecord(raw []byte) (*record, error) {
	r := &record{raw: raw, Bucket: new(bucketpb.Bucket)}
	if err := decodeUpTo(FormatSnapshots, raw, r.Bucket); err != nil {
		return nil, err
	}
	if _, err := idOf(r.Id); err != nil {
		return nil, err
	}
	return r, nil
}

func encodeRecord(r *bucketpb.Bucket) []byte {
	raw := encode(r)
	switch {
	case len(r.CloneOf) > 0:
		raw[0] = FormatSnapshots
	case keepsDeleted(r):
		raw[0] = FormatKeeps
	}
	return raw
}

// swap replaces a bucket's record; old nil: there must be none. changed says that
// somebody else was faster.
func (s *Service) swap(ctx context.Context, name string, old *record, to *bucketpb.Bucket) (now *record, changed bool, err error) {
	key := omapKey(kindBucket, name)
	op := new(client.Op)
	if old == nil {
		op.CmpOmapAbsent(key)
	} else {
		op.CmpOmap(key, old.raw)
	}
	raw := encodeRecord(to)
	_, err = s.meta.Do(ctx, registryObject, op.OmapSet(key, raw))
	if errors.Is(err, client.ErrConflict) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	return &record{raw: raw, Bucket: to}, false, nil
}

// refresh looks the bucket up again after its index was not where it was.
func (b *Bucket) refresh(ctx context.Context) error {
	old := b.rec.Load()
	r, err := b.svc.lookup(ctx, b.name)
	if err != nil {
		return err
	}
	switch {
	case bytes.Equal(r.Id, old.Id):
		// The index goes only after the record has gone, so this cannot be a deletion.
		return nameErr("use", b.name, fmt.Errorf("%w: its index is missing", ErrCorrupt))
	case r.Owner != old.Owner:
		return nameErr("find", b.name, ErrNoSuchBucket) // another's bucket now: whoever asked must be checked again
	}
	b.rec.Store(r)
	return nil
}

// Create makes a bucket. ErrBucketExists comes with the existing bucket, so that
// the caller can tell whose it is.
func (s *Service) Create(ctx context.Context, name, owner, region string) (*Bucket, error) {
	return s.CreateAs(ctx, name, owner, region, NewBucket{})
}

// NewBucket is what a bucket has from its first moment on.
type NewBucket struct {
	Docs map[string][]byte // of its configuration
	Lock bool              // versions are kept, and can be locked
}

// CreateAs is Create for a bucket that is not seen without what it is to have.
func (s *Service) CreateAs(ctx context.Context, name, owner, region string, as NewBucket) (*Bucket, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if owner == "" {
		return nil, nameErr("create", name, fmt.Errorf("%w: an owner is needed", ErrInvalidName))
	}
	var wait backoff
	for {
		r, err := s.readRecord(ctx, name)
		if err != nil {
			return nil, nameErr("create", name, err)
		}
		switch {
		case r != nil && r.State != bucketpb.BucketState_CREATING:
			b := &Bucket{svc: s, name: name}
			b.rec.Store(r)
			return b, nameErr("create", name, ErrBucketExists)
		case r != nil && len(r.CloneOf) > 0: // a clone that is being made, or was given up
			if s.o.Now().Sub(time.Unix(0, r.Since)) <= s.o.IntentTTL {
				return nil, nameErr("create", name, ErrBusy)
			}
			if err := s.bury(ctx, r); err != nil && !errors.Is(err, ErrBusy) {
				return nil, nameErr("create", name, err)
			}
		case r != nil && r.Owner != owner && s.o.Now().Sub(time.Unix(0, r.Since)) < staleDeletion:
			return nil, nameErr("create", name, ErrBusy)
		default:
			// Announce it first, so that a crash leaves a record to go on from. A creation left
			// behind by another owner is taken over with a new id; its objects are cleaned up.
			fresh := &bucketpb.Bucket{
				Name: name, Owner: owner, Region: region, Created: s.o.Now().UnixNano(),
				State: bucketpb.BucketState_CREATING, Since: s.o.Now().UnixNano(),
			}
			if as.Lock {
				fresh.Versioning, fresh.ObjectLock = VersioningEnabled, true
			}
			x := newID()
			if r != nil && r.Owner == owner {
				x = id(r.Id) // parseRecord checked it
			} else if r != nil {
				if err := s.bury(ctx, r); err != nil {
					return nil, nameErr("create", name, err)
				}
				r = nil
			}
			fresh.Id = x[:]
			b, changed, err := s.create(ctx, r, fresh, as.Docs)
			if err != nil {
				return nil, nameErr("create", name, err)
			}
			if !changed {
				return b, nil
			}
		}
		if err := wait.sleep(ctx); err != nil {
			return nil, nameErr("create", name, err)
		}
	}
}

// create makes the index of a bucket and then makes it visible.
func (s *Service) create(ctx context.Context, old *record, fresh *bucketpb.Bucket, docs map[string][]byte) (b *Bucket, changed bool, err error) {
	r, changed, err := s.swap(ctx, fresh.Name, old, fresh)
	if err != nil || changed {
		return nil, changed, err
	}
	x := id(fresh.Id)
	root := new(client.Op).Create(true).OmapSet(omapKey(kindChild, ""), encode(&bucketpb.Child{Id: firstPartition}))
	for _, name := range slices.Sorted(maps.Keys(docs)) {
		root.SetAttr(configAttr+name, wrapDoc(docs[name]))
	}
	part := new(client.Op).Create(true).SetAttr(rangeAttr, newRange())
	for _, o := range []struct {
		name string
		op   *client.Op
	}{{rootObject(x), root}, {partObject(x, firstPartition), part}} {
		_, err := s.meta.Do(ctx, o.name, o.op)
		if err != nil && !errors.Is(err, client.ErrExists) {
			return nil, false, err
		}
		if err != nil && o.op == root {
			// Begun before, and not ended: perhaps as another bucket than this is to be.
			same, err := s.hasDocs(ctx, o.name, docs)
			if err != nil {
				return nil, false, err
			}
			if !same {
				if err := s.bury(ctx, r); err != nil && !errors.Is(err, ErrBusy) {
					return nil, false, err
				}
				return nil, true, nil
			}
		}
	}
	active := &bucketpb.Bucket{
		Name: fresh.Name, Id: fresh.Id, Owner: fresh.Owner, Region: fresh.Region, Created: fresh.Created,
		State: bucketpb.BucketState_ACTIVE, Since: fresh.Since, Settings: fresh.Settings,
		Versioning: fresh.Versioning, ObjectLock: fresh.ObjectLock,
	}
	r, changed, err = s.swap(ctx, fresh.Name, r, active)
	if err != nil || changed {
		return nil, changed, err
	}
	b = &Bucket{svc: s, name: fresh.Name}
	b.rec.Store(r)
	return b, false, nil
}

// hasDocs reports whether the root of a bucket has these configuration documents and no others.
func (s *Service) hasDocs(ctx context.Context, root string, docs map[string][]byte) (bool, error) {
	res, err := s.meta.Do(ctx, root, new(client.Op).GetAttrs())
	if errors.Is(err, client.ErrNotFound) {
		return false, nil // it is being cleaned up
	}
	if err != nil {
		return false, err
	}
	found := 0
	for _, kv := range res.Items[0].KVs {
		if name, ok := strings.CutPrefix(kv.Key, configAttr); ok {
			if doc, ok := docs[name]; !ok || !bytes.Equal(kv.Value, wrapDoc(doc)) {
				return false, nil
			}
			found++
		}
	}
	return found == len(docs), nil
}

// bury takes a record out of the namespace and leaves it to be cleaned up.
func (s *Service) bury(ctx context.Context, r *record) error {
	dead := string(kindDead) + id(r.Id).String()
	_, err := s.meta.Do(ctx, registryObject, new(client.Op).
		CmpOmap(omapKey(kindBucket, r.Name), r.raw).
		OmapRm(omapKey(kindBucket, r.Name)).
		OmapSet(dead, r.raw))
	if errors.Is(err, client.ErrConflict) {
		return ErrBusy
	}
	if err == nil {
		s.uncache(r.Name)
		s.jobs.add("clean bucket "+dead, 0, func(ctx context.Context) error { return s.cleanDead(ctx, dead) })
	}
	return err
}

// List returns the buckets of an owner ("" for all), by name.
func (s *Service) List(ctx context.Context, owner string) ([]Info, error) {
	var infos []Info
	err := s.records(ctx, kindBucket, func(_ string, r *record) error {
		if r.State != bucketpb.BucketState_CREATING && (owner == "" || r.Owner == owner) {
			infos = append(infos, infoOf(r.Bucket))
		}
		return nil
	})
	return infos, err
}

// records calls f with each record of the registry of one kind.
func (s *Service) records(ctx context.Context, kind byte, f func(key string, r *record) error) error {
	from := string(kind)
	for n := 0; ; {
		res, err := s.meta.Do(ctx, registryObject, new(client.Op).OmapList(from, prefixEnd(string(kind)), MaxListEntries))
		if errors.Is(err, client.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list buckets: %w", err)
		}
		for _, kv := range res.Items[0].KVs {
			r, err := parseRecord(kv.Value)
			if err != nil {
				return fmt.Errorf("registry record %q: %w", kv.Key, err)
			}
			if err := f(kv.Key, r); err != nil {
				return err
			}
			from = kv.Key + "\x00"
			n++
		}
		if !res.Items[0].More {
			return nil
		}
		if n >= MaxBucketsTotal {
			return fmt.Errorf("list buckets: more than %d", MaxBucketsTotal)
		}
	}
}

// Delete removes an empty bucket. An object put at the same time either makes it
// fail with ErrBucketNotEmpty or finds no bucket; it is never lost.
func (s *Service) Delete(ctx context.Context, name string) error {
	s.uncache(name)
	r, err := s.lookup(ctx, name)
	if err != nil {
		return err
	}
	b := &Bucket{svc: s, name: name}
	b.rec.Store(r)
	x := id(r.Id)
	// Look first: a bucket in use is never disturbed by a deletion that cannot succeed.
	if err = b.hasSnapshots(ctx, x); err == nil {
		err = b.walk(ctx, x, func(p *partition) error { _, err := b.empty(ctx, p); return err })
	}
	if err != nil {
		return nameErr("delete", name, deleteErr(err))
	}
	if r.State == bucketpb.BucketState_DELETING && s.o.Now().Sub(time.Unix(0, r.Since)) < staleDeletion {
		return nameErr("delete", name, ErrBusy)
	}
	token := newID()
	deleting := cloneRecord(r.Bucket)
	deleting.State, deleting.Token, deleting.Since = bucketpb.BucketState_DELETING, token[:], s.o.Now().UnixNano()
	mine, changed, err := s.swap(ctx, name, r, deleting)
	if err == nil && changed {
		err = ErrBusy
	}
	if err != nil {
		return nameErr("delete", name, err)
	}
	if err = b.closeAll(ctx, x, token); err == nil {
		err = s.bury(ctx, mine)
	}
	if err == nil {
		return nil
	}
	// Open it again. If this fails too, the first writer to come does it (heal).
	undo, cancel := detached(ctx)
	defer cancel()
	active := cloneRecord(r.Bucket)
	active.State, active.Token, active.Since = bucketpb.BucketState_ACTIVE, nil, s.o.Now().UnixNano()
	if _, changed, e := s.swap(undo, name, mine, active); e == nil && !changed {
		if e := b.openAll(undo, x, token); e != nil {
			s.log.Debug("open a bucket after a failed deletion", "bucket", name, "err", e)
		}
	}
	return nameErr("delete", name, deleteErr(err))
}

func deleteErr(err error) error {
	if errors.Is(err, errGone) || errors.Is(err, errStale) || errors.Is(err, errRaced) {
		return ErrBusy
	}
	return err
}

func cloneRecord(r *bucketpb.Bucket) *bucketpb.Bucket {
	return &bucketpb.Bucket{
		Name: r.Name, Id: r.Id, Owner: r.Owner, Region: r.Region, Created: r.Created,
		State: r.State, Token: r.Token, Since: r.Since, Settings: r.Settings,
		Versioning: r.Versioning, ObjectLock: r.ObjectLock, Quota: r.Quota, CloneOf: r.CloneOf, CloneNumber: r.CloneNumber,
	}
}

// empty returns ErrBucketNotEmpty when p holds an object, a version or a delete marker, ErrKeepsDeleted when it keeps what was
// deleted, else p's version at which it held nothing.
func (b *Bucket) empty(ctx context.Context, p *partition) (uint64, error) {
	op := p.guard()
	kinds := []byte{kindEntry, kindMarker, kindVersion, kindKept, kindHeld}
	for _, kind := range kinds {
		op.OmapList(string(kind), prefixEnd(string(kind)), 1)
	}
	res, err := b.svc.meta.Do(ctx, p.object, op.Stat())
	if err != nil {
		return 0, guardErr(err)
	}
	for i, kind := range kinds {
		switch n := len(res.Items[1+i].KVs); {
		case n > 0 && kind == kindKept:
			return 0, ErrKeepsDeleted
		case n > 0 && kind == kindHeld:
			return 0, ErrHasSnapshots
		case n > 0:
			return 0, ErrBucketNotEmpty
		}
	}
	return res.Items[1+len(kinds)].Version, nil
}

// closeAll closes every partition for writes, each only if it is empty at that moment.
func (b *Bucket) closeAll(ctx context.Context, x, token id) error {
	var wait backoff
	n := uint64(firstPartition)
	for n != 0 {
		p, err := b.readPartition(ctx, x, n)
		if err != nil {
			return err
		}
		if p.Freezing > 0 {
			if err := b.thaw(ctx, p); err != nil && !retryable(err) {
				return err
			}
		} else if p.Split != nil && p.Split.Moving {
			if err := b.advanceSplit(ctx, n); err != nil && !retryable(err) {
				return err
			}
		} else {
			version, err := b.empty(ctx, p)
			if err == nil {
				closed := p.with(func(r *bucketpb.Range) { r.Closing = token[:] })
				_, err = b.svc.meta.Do(ctx, p.object, new(client.Op).AssertVersion(version).SetAttr(rangeAttr, closed))
			}
			switch {
			case err == nil:
				n = p.Next
				continue
			case !errors.Is(err, client.ErrConflict) && !errors.Is(err, errStale):
				return err
			}
		}
		if err := wait.sleep(ctx); err != nil {
			return err
		}
	}
	return nil
}

// openAll opens what a deletion with this token closed.
func (b *Bucket) openAll(ctx context.Context, x, token id) error {
	return b.walk(ctx, x, func(p *partition) error {
		if !bytes.Equal(p.Closing, token[:]) {
			return nil
		}
		return b.reopen(ctx, p)
	})
}

func (b *Bucket) reopen(ctx context.Context, p *partition) error {
	_, err := b.svc.meta.Do(ctx, p.object, p.guard().SetAttr(rangeAttr, p.with(func(r *bucketpb.Range) { r.Closing = nil })))
	return guardErr(err)
}

// heal opens a partition whose deletion is no longer under way, or is taking so
// long that it must be dead. The deleter's commit compares the registry record,
// so a deleter that was only slow fails.
func (b *Bucket) heal(ctx context.Context, p *partition) error {
	r, err := b.svc.readRecord(ctx, b.name)
	if err != nil {
		return err
	}
	if r == nil || !bytes.Equal(r.Id, b.rec.Load().Id) {
		return errGone
	}
	if r.State == bucketpb.BucketState_DELETING && bytes.Equal(r.Token, p.Closing) {
		if b.svc.o.Now().Sub(time.Unix(0, r.Since)) < staleDeletion {
			return nil
		}
		active := cloneRecord(r.Bucket)
		active.State, active.Token = bucketpb.BucketState_ACTIVE, nil
		if _, changed, err := b.svc.swap(ctx, b.name, r, active); err != nil || changed {
			return err
		}
		b.svc.log.Info("opened a bucket whose deletion was abandoned", "bucket", b.name)
	}
	return b.reopen(ctx, p)
}
