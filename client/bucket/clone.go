package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// A clone is a bucket that begins as a snapshot of another one. Its index is a copy of what the snapshot has; bodies that lie in data objects are
// not copied but borrowed: the clone's entries say so, and whoever removes one leaves its data alone. The snapshot says which clones it has and
// cannot be removed before them, so the data stays. The bucket is not visible before its index is whole; what a crash leaves of it is removed like any
// bucket that was begun and not finished.

// Limits of one operation that fills a clone.
const (
	cloneEntries = 128
	cloneBytes   = 256 << 10
)

// Clone makes a bucket of what is current in a snapshot of another one, for its owner unless another one is given. Settings, versions and configuration
// are not taken over. It takes time by the number of objects, none by their size, but for those that lie in the index.
func (s *Service) Clone(ctx context.Context, from, snapshot, name, owner string) (*Bucket, error) {
	b, err := s.clone(ctx, from, snapshot, name, owner)
	if err != nil {
		return nil, fmt.Errorf("clone snapshot %q of bucket %q as %q: %w", snapshot, from, name, err)
	}
	return b, nil
}

func (s *Service) clone(ctx context.Context, from, snapshot, name, owner string) (*Bucket, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	src, err := s.Fresh(ctx, from)
	if err != nil {
		return nil, err
	}
	view, err := src.At(ctx, snapshot)
	if err != nil {
		return nil, err
	}
	if owner == "" {
		owner = src.rec.Load().Owner
	}
	old, err := s.readRecord(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case old != nil && old.State != bucketpb.BucketState_CREATING:
		return nil, ErrBucketExists
	case old != nil:
		return nil, ErrBusy // it is being made, or will be swept
	}
	x, now := newID(), s.o.Now().UnixNano()
	next := &bucketpb.Bucket{
		Name: name, Id: x[:], Owner: owner, Region: src.rec.Load().Region, Created: now, State: bucketpb.BucketState_CREATING, Since: now,
		CloneOf: src.rec.Load().Id, CloneNumber: view.number,
	}
	r, changed, err := s.swap(ctx, name, nil, next)
	if err == nil && changed {
		err = ErrBusy
	}
	if err != nil {
		return nil, err
	}
	c := &cloning{s: s, view: view, b: &Bucket{svc: s, name: name}, r: r}
	c.b.rec.Store(r)
	if err = c.run(ctx); err != nil {
		undo, cancel := detached(ctx)
		defer cancel()
		if e := s.bury(undo, c.r); e != nil {
			s.log.Debug("clean up after a clone", "bucket", name, "err", e) // the sweep does
		}
		return nil, err
	}
	return c.b, nil
}

// cloning is a clone that is being made.
type cloning struct {
	s       *Service
	view    *View
	b       *Bucket
	r       *record
	renewed time.Time
}

func (c *cloning) run(ctx context.Context) error {
	if err := c.s.pin(ctx, c.r.Bucket, true); err != nil {
		return err
	}
	c.renewed = c.s.o.Now()
	x := id(c.r.Id)
	root := new(client.Op).Create(true).OmapSet(omapKey(kindChild, ""), encode(&bucketpb.Child{Id: firstPartition}))
	part := new(client.Op).Create(true).SetAttr(rangeAttr, newRange())
	for _, o := range []struct {
		name string
		op   *client.Op
	}{{rootObject(x), root}, {partObject(x, firstPartition), part}} {
		if _, err := c.s.meta.Do(ctx, o.name, o.op); err != nil && !errors.Is(err, client.ErrExists) {
			return err
		}
	}
	for in := (ListInput{Max: MaxListEntries}); ; {
		page, err := c.view.List(ctx, in)
		if err != nil {
			return err
		}
		if err := c.fill(ctx, page.Objects); err != nil {
			return err
		}
		if in.After = page.Last; !page.Truncated {
			break
		}
		if err := c.renew(ctx, bucketpb.BucketState_CREATING); err != nil {
			return err
		}
	}
	c.renewed = time.Time{}
	return c.renew(ctx, bucketpb.BucketState_ACTIVE)
}

// renew is the sign of life that keeps the sweep away, or makes the bucket visible.
func (c *cloning) renew(ctx context.Context, state bucketpb.BucketState) error {
	now := c.s.o.Now()
	if now.Sub(c.renewed) < c.s.o.KeepAlive {
		return nil
	}
	next := cloneRecord(c.r.Bucket)
	next.State, next.Since = state, now.UnixNano()
	r, changed, err := c.s.swap(ctx, next.Name, c.r, next)
	if err == nil && changed {
		err = fmt.Errorf("%w: it took too long between signs of life", ErrBusy)
	}
	if err != nil {
		return err
	}
	c.r, c.renewed = r, now
	c.b.rec.Store(r)
	return nil
}

// fill puts objects of the snapshot into the clone.
func (c *cloning) fill(ctx context.Context, objects []*Object) error {
	// What lies in the index comes along, the rest is borrowed.
	if err := together(ctx, len(objects), func(ctx context.Context, i int) error {
		if !hasBody(objects[i].entry) {
			return nil
		}
		o, err := c.view.Get(ctx, objects[i].Key)
		if err == nil {
			objects[i] = o
		}
		return err
	}); err != nil {
		return err
	}
	for len(objects) > 0 {
		n := 0
		err := c.b.onKey(ctx, objects[0].Key, true, func(v *view, p *partition) (err error) {
			n, err = c.put(ctx, v, p, objects)
			return err
		})
		if err != nil {
			return err
		}
		objects = objects[n:]
	}
	return nil
}

// put puts the first of some objects, as many as one operation may, into the partition of the first of them. Nobody else does anything to the
// clone's objects: what is there already is there from a try whose answer was lost.
func (c *cloning) put(ctx context.Context, v *view, p *partition, objects []*Object) (n int, err error) {
	op, sum, size := p.guard(), tally{}, int64(0)
	for n < len(objects) && n < cloneEntries && objects[n].Key < p.end() && (n == 0 || size < cloneBytes) {
		o := objects[n]
		e := cloneEntry(o.entry)
		e.Seq, e.Version, e.Noncurrent, e.NullBelow, e.NullSeq = 0, nil, 0, false, 0
		e.Born, e.Shared, e.Borrowed, e.Revision = 0, false, o.entry.Borrowed || e.Layout != bucketpb.Layout_INLINE, newRevision()
		raw := encode(e)
		at := omapKey(kindEntry, o.Key)
		op.CmpOmapAbsent(at).OmapSet(at, raw)
		size += int64(len(o.Key) + len(raw))
		if hasBody(e) {
			op.OmapSet(omapKey(kindBody, o.Key), o.body)
			size += int64(len(o.Key) + len(o.body))
		}
		sum.entry(e, true, 1)
		n++
	}
	sum.into(op, p)
	_, err = c.s.meta.Do(ctx, p.object, op)
	if i, conflict, _ := failed(err); conflict && i > 0 {
		res, e := c.s.meta.Do(ctx, p.object, p.guard().OmapGet(omapKey(kindEntry, objects[0].Key)))
		switch {
		case e != nil:
			return 0, guardErr(e)
		case res.Items[1].Found: // but how many came with it hangs on where the partition ended then
			return 1, nil
		}
	}
	if err != nil {
		return 0, guardErr(err)
	}
	c.b.grown(v, p, size)
	return n, nil
}

// pin notes a clone at its snapshot, or takes the note back.
func (s *Service) pin(ctx context.Context, clone *bucketpb.Bucket, on bool) error {
	src, err := idOf(clone.CloneOf)
	if err != nil {
		return err
	}
	b := &Bucket{svc: s, name: clone.Name}
	var wait backoff
	for {
		l, err := b.snapshotList(ctx, src)
		if errors.Is(err, errGone) && !on {
			return nil // with the bucket
		}
		if err != nil {
			return err
		}
		r := l.byNumber(clone.CloneNumber)
		switch {
		case r == nil && !on:
			return nil
		case r == nil || r.State != bucketpb.SnapshotState_TAKEN:
			return ErrNoSuchSnapshot
		}
		next := &bucketpb.Snapshot{Name: r.Name, Number: r.Number, State: r.State, Taken: r.Taken, Since: r.Since}
		for _, c := range r.Clones {
			if !bytes.Equal(c.Id, clone.Id) {
				next.Clones = append(next.Clones, c)
			}
		}
		if on {
			if len(next.Clones) >= maxClones {
				return fmt.Errorf("%w: the snapshot has %d clones, more are not allowed", client.ErrConflict, len(next.Clones))
			}
			next.Clones = append(next.Clones, &bucketpb.Clone{Id: clone.Id, Name: clone.Name})
		}
		err = b.onRoot(ctx, src, new(client.Op).CmpOmap(snapshotKey(r.Number), r.raw).OmapSet(snapshotKey(r.Number), encode(next)))
		if !errors.Is(err, errRaced) {
			return err
		}
		if err := wait.sleep(ctx); err != nil {
			return err
		}
	}
}
